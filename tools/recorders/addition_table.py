"""Chapter 4: the addition table, all sums of two codes for each preset, in bodies, in tails and on qnnpack."""

from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = ("default", "avx2", "avx512")
DEPENDS = ()
EVERY_RELEASE = True
PRESETS = (  # of x1, x2 and their sum: scale, zero point
    ((0.009925744496285915, 75), (0.02780967578291893, 61), (0.03012925386428833, 56)),  # the question's
    ((0.040562573820352554, 112), (0.08881603181362152, 126), (0.09029635787010193, 124)),  # pytorch issue 37343
    ((0.02, 100), (0.02, 60), (0.02, 40)),
    ((0.05, 128), (0.05, 128), (0.1, 128)),  # body and tail part in 2.13 alone
    ((0.037, 90), (0.0185, 30), (0.074, 100)),
    ((0.03, 77), (0.03, 51), (0.04, 101)),
    ((1 / 16, 75), (1 / 16, 61), (1 / 8, 57)),
    ((0.05, 100), (0.05, 100), (0.1, 128)),  # body and tail part in every release
)
KEYS = {
    "presets": "float64 (8, 3, 2): of x1, x2 and their sum, scale and zero point; quint8",
    "<i>/body": "uint8 (256, 256): torch.ops.quantized.add of every pair of codes, [x1, x2], in the vector body",
    "<i>/tail": "uint8 (256, 256): the same, each pair in a scalar tail",
    "<i>/qnnpack": "uint8 (256, 256): the same with the engine qnnpack, one tensor of 65,536 elements",
}


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    def add(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8], preset: Any) -> npt.NDArray[Any]:
        qa, qb = (
            torch._make_per_tensor_quantized_tensor(torch.from_numpy(q), s, z)
            for q, (s, z) in zip((a, b), preset, strict=False)
        )
        total: npt.NDArray[Any] = torch.ops.quantized.add(qa, qb, *preset[2]).int_repr().numpy()
        return total

    codes = np.arange(256, dtype=np.uint8)
    a, b = codes.repeat(256), np.tile(codes, 256)
    found: dict[str, npt.NDArray[Any]] = {"presets": np.array(PRESETS)}
    engine = torch.backends.quantized.engine
    for i, preset in enumerate(PRESETS):
        tails = [add(a[k : k + 63], b[k : k + 63], preset) for k in range(0, a.size, 63)]
        tables = {"body": add(a, b, preset), "tail": np.concatenate(tails)}
        try:
            torch.backends.quantized.engine = "qnnpack"
            tables["qnnpack"] = add(a, b, preset)
        finally:
            torch.backends.quantized.engine = engine
        found |= {f"{i}/{name}": table.reshape(256, 256) for name, table in tables.items()}
    return found
