"""Chapter 5's widget, the product: every product of two codes, with scales that tell one multiplier from another."""

from typing import Any

import numpy as np
import numpy.typing as npt

from recorders.elementwise import quantized

KINDS = ("default", "avx2", "avx512")
DEPENDS = ()
EVERY_RELEASE = False
PRESETS = (
    ((0.02, 128), (0.03, 128), (0.06, 128)),  # the chapter's
    ((0.04, 100), (0.05, 60), (0.02, 127)),
    ((0.12, 128), (0.21, 30), (0.14, 101)),
    ((0.09, 90), (0.15, 128), (0.06, 128)),
    ((0.5, 128), (0.5, 100), (0.5, 127)),
)
KEYS = {
    "presets": "float64 (5, 3, 2): of two tensors and their product, scale and zero point; quint8",
    "mul/<i>/body": "uint8 (256, 256): torch.ops.quantized.mul of every pair of codes, [x1, x2], in the vector body",
    "mul/<i>/tail": "uint8 (256, 256): the same, each pair in a scalar tail",
}


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    codes = np.arange(256, dtype=np.uint8)
    pairs = np.repeat(codes, 256), np.tile(codes, 256)
    found: dict[str, npt.NDArray[Any]] = {"presets": np.array(PRESETS)}
    for i, (*inputs, product) in enumerate(PRESETS):
        body = [quantized(torch, q, *own) for q, own in zip(pairs, inputs, strict=True)]
        apart = [quantized(torch, np.repeat(q, 2), *own)[::2] for q, own in zip(pairs, inputs, strict=True)]
        for path, (a, b) in (("body", body), ("tail", apart)):
            out = torch.ops.quantized.mul(a, b, *product).int_repr()
            found[f"mul/{i}/{path}"] = out.numpy().reshape(256, 256)
    return found
