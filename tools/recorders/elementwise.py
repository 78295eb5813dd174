"""Chapters 4 and 5: every sum and product of two 8-bit codes, scalars, cat; the question's own numbers."""

from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = ("default", "avx2", "avx512")
DEPENDS = ()
EVERY_RELEASE = True
PRESETS = (
    ((0.05, 128), (0.05, 128), (0.1, 128)),
    ((0.037, 90), (0.0185, 30), (0.074, 100)),
    ((0.009925744496285915, 75), (0.02780967578291893, 61), (0.03012925386428833, 56)),
)
FIXED_POINT = (*PRESETS, ((0.044, 128), (0.231, 128), (0.55, 128)))
PRODUCTS = (
    ((0.5, 128), (0.5, 128), (0.5, 127)),
    ((0.5, 128), (0.5, 100), (1.5, 127)),
    ((0.037, 90), (0.0185, 30), (0.01369, 101)),
    ((0.009925744496285915, 75), (0.02780967578291893, 61), (0.03012925386428833, 56)),
)
CATS = (((0.05, 128), (0.1, 128)), ((0.0049, 77), (0.0098, 3)), ((0.237, 185), (0.474, 197)))
SCALARS = (
    (0.05, 128, 7.0),
    (0.037, 90, -6.66),
    (0.3821, 128, -57.99),
    (0.1, 3, -0.25),
    (0.1, 3, 0.25000001),
    (0.5, 128, 0.25),
    (0.5, 128, 0.75),
    (0.1, 3, 0.0),
)
X1 = (69, 70, 61, 69, 68, 74, 66, 75, 68, 81, 66, 72, 64, 76, 75, 71, 67, 73)
X2 = (66, 55, 60, 53, 59, 57, 61, 55, 59, 63, 65, 51, 66, 67, 62, 69, 76, 64)
PRINTED = (59, 49, 50, 47, 52, 52, 53, 50, 52, 60, 57, 46, 57, 62, 57, 62, 67, 58)
KEYS = {
    "presets": "float64 (3, 3, 2): of x1, x2 and their sum, scale and zero point; quint8; the last are the question's",
    "add/<i>/body": "uint8 (256, 256): torch.ops.quantized.add of every pair of codes, [x1, x2], in the vector body",
    "add/<i>/tail": "uint8 (256, 256): the same, each pair in a scalar tail",
    "qnnpack": "float64 (4, 3, 2): scale and zero point of two tensors and their sum; the first three are presets",
    "qnnpack/<i>": "uint8 (256, 256): torch.ops.quantized.add of every pair of codes on the engine qnnpack",
    "add_relu/<i>/body": "uint8 (256, 256): torch.ops.quantized.add_relu of every pair, in the vector body",
    "add_relu/<i>/tail": "uint8 (256, 256): the same in a scalar tail",
    "products": "float64 (4, 3, 2): of two tensors and their product, scale and zero point; quint8",
    "mul/<i>/body": "uint8 (256, 256): torch.ops.quantized.mul of every pair of codes, [a, b], in the vector body",
    "mul/<i>/tail": "uint8 (256, 256): the same in a scalar tail",
    "cats": "float64 (3, 2, 2): of a tensor and of the result, scale and zero point; quint8",
    "cat/<i>/body": "uint8 (256,): torch.ops.quantized.cat of every code, channels_last, among the first 8 channels",
    "cat/<i>/tail": "uint8 (256,): the same in the channel after them",
    "cat/<i>/contiguous": "uint8 (256,): the same of a contiguous tensor",
    "scalars": "float64 (8, 3): scale, zero point, and the real number c; quint8",
    "add_scalar/<i>": "uint8 (256,): torch.ops.quantized.add_scalar of every code and c",
    "add_scalar/<i>/about": "float64 (2,): its scale and zero point",
    "mul_scalar/<i>": "uint8 (256,): torch.ops.quantized.mul_scalar of every code and c",
    "mul_scalar/<i>/about": "float64 (2,): its scale and zero point",
    "question/x1": "uint8 (18,): the codes that the question prints of x1",
    "question/x2": "uint8 (18,): of x2",
    "question/printed": "uint8 (18,): of out1, as the question prints them",
    "question/body": "uint8 (18,): torch.ops.quantized.add of them in the vector body",
    "question/tail": "uint8 (18,): and in the scalar tail",
}


Codes = npt.NDArray[np.uint8]


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    def pairs(a: Codes, b: Codes, preset: Any, name: str) -> npt.NDArray[Any]:
        qa, qb = (quantized(torch, q, *own) for q, own in zip((a, b), preset, strict=False))
        found: npt.NDArray[Any] = getattr(torch.ops.quantized, name)(qa, qb, *preset[2]).int_repr().numpy()
        return found

    def in_body(a: Codes, b: Codes, preset: Any, name: str = "add") -> npt.NDArray[Any]:
        blocks = -(-a.size // 128) * 128  # AVX-512 takes so many at once up to 2.1
        return pairs(np.resize(a, blocks), np.resize(b, blocks), preset, name)[: a.size]

    def in_tail(a: Codes, b: Codes, preset: Any, name: str = "add") -> npt.NDArray[Any]:
        return np.concatenate([pairs(a[i : i + 63], b[i : i + 63], preset, name) for i in range(0, a.size, 63)])

    found: dict[str, npt.NDArray[Any]] = {"presets": np.array(PRESETS)}
    codes = np.arange(256, dtype=np.uint8)
    a, b = np.repeat(codes, 256), np.tile(codes, 256)
    for i, preset in enumerate(PRESETS):
        found[f"add/{i}/body"] = in_body(a, b, preset).reshape(256, 256)
        found[f"add/{i}/tail"] = in_tail(a, b, preset).reshape(256, 256)
        found[f"add_relu/{i}/body"] = in_body(a, b, preset, "add_relu").reshape(256, 256)
        found[f"add_relu/{i}/tail"] = in_tail(a, b, preset, "add_relu").reshape(256, 256)
    found["qnnpack"] = np.array(FIXED_POINT)
    torch.backends.quantized.engine = "qnnpack"
    for i, preset in enumerate(FIXED_POINT):
        found[f"qnnpack/{i}"] = in_body(a, b, preset).reshape(256, 256)
    torch.backends.quantized.engine = "fbgemm"
    found["products"] = np.array(PRODUCTS)
    for i, preset in enumerate(PRODUCTS):
        found[f"mul/{i}/body"] = in_body(a, b, preset, "mul").reshape(256, 256)
        found[f"mul/{i}/tail"] = in_tail(a, b, preset, "mul").reshape(256, 256)
    found |= _cats(torch, codes) | _scalars(torch, codes)
    x1, x2 = np.array(X1, np.uint8), np.array(X2, np.uint8)
    found |= {"question/x1": x1, "question/x2": x2, "question/printed": np.array(PRINTED, np.uint8)}
    found["question/body"] = in_body(x1, x2, PRESETS[2])
    found["question/tail"] = in_tail(x1, x2, PRESETS[2])
    return found


def quantized(torch: Any, q: Codes, scale: float, zero_point: int) -> Any:
    """Codes as a quantized torch.Tensor."""
    return torch._make_per_tensor_quantized_tensor(torch.from_numpy(q), scale, zero_point)


def _cats(torch: Any, codes: Codes) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {"cats": np.array(CATS)}
    nine = np.repeat(codes[:, None, None, None], 9, axis=1)  # (256, 9, 1, 1): eight channels and one
    for i, (own, (scale, zero_point)) in enumerate(CATS):
        q = quantized(torch, nine, *own)
        last = q.contiguous(memory_format=torch.channels_last)
        out = torch.ops.quantized.cat([last], 1, scale, zero_point).int_repr().numpy()[:, :, 0, 0]
        found[f"cat/{i}/body"], found[f"cat/{i}/tail"] = out[:, 0].copy(), out[:, 8].copy()
        flat = quantized(torch, codes, *own)
        found[f"cat/{i}/contiguous"] = torch.ops.quantized.cat([flat], 0, scale, zero_point).int_repr().numpy()
    return found


def _scalars(torch: Any, codes: Codes) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {"scalars": np.array(SCALARS)}
    for i, (scale, zero_point, c) in enumerate(SCALARS):
        for name in ("add_scalar", "mul_scalar"):
            out = getattr(torch.ops.quantized, name)(quantized(torch, codes, scale, zero_point), c)
            found[f"{name}/{i}"] = out.int_repr().numpy()
            found[f"{name}/{i}/about"] = np.array([out.q_scale(), out.q_zero_point()])
    return found
