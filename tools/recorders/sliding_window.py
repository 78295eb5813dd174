"""Chapter 7's widget, the sliding window: a small image, three kernels, every geometry and engine."""

from typing import Any

import numpy as np
import numpy.typing as npt

from recorders import engines

KINDS = ("avx2", "without_vnni")
DEPENDS = ("cpu",)
EVERY_RELEASE = False
STRIDES, DILATIONS, PADDINGS = (1, 2, 3), (1, 2), (0, 1, 2)
KERNELS = ("edges left to right", "edges top to bottom", "blur")
WEIGHT = (((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), ((-1, -2, -1), (0, 0, 0), (1, 2, 1)), ((1, 2, 1), (2, 4, 2), (1, 2, 1)))
SIDE, LARGEST = 8, 10  # of the image and of the largest result
X_SCALE, X_ZERO_POINT, W_SCALES = 0.03, 43, (0.03, 0.03, 0.015)
SCALE, ZERO_POINT = 2 * 0.03 * 0.03, 101  # two steps of the first accumulators, so that every other sum is a tie
KEYS = {
    "x": "uint8 (8, 8): the image's codes, over 7 bits",
    "weight": "int8 (3, 3, 3): the kernels' codes, one output channel each; zero points 0",
    "kernels": "text (3,): what the kernels do",
    "w_scales": "float64 (3,): of each output channel",
    "bias": "float32 (3,)",
    "parameters": "float64 (4,): of x, scale and zero point; of the result, scale and zero point",
    "engines": "text (4,), or without x86 (3,)",
    "strides": "int64 (3,)",
    "dilations": "int64 (2,)",
    "paddings": "int64 (3,)",
    "codes": "uint8 (engines, relu, strides, dilations, paddings, 3, 10, 10): torch.ops.quantized.conv2d and "
    "conv2d_relu of x, weight, bias; 0 beyond the result",
}


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    found = inputs()
    x = torch._make_per_tensor_quantized_tensor(torch.from_numpy(found["x"])[None, None], X_SCALE, X_ZERO_POINT)
    scales, zero_points = torch.from_numpy(found["w_scales"]), torch.zeros(3, dtype=torch.int64)
    weight = torch.from_numpy(found["weight"])[:, None]
    weight = torch._make_per_channel_quantized_tensor(weight, scales, zero_points, 0)
    ops, bias = torch.ops.quantized, torch.from_numpy(found["bias"])
    sizes = (len(engines()), 2, len(STRIDES), len(DILATIONS), len(PADDINGS))
    codes = np.zeros((*sizes, len(KERNELS), LARGEST, LARGEST), np.uint8)
    for e, r, s, d, p in np.ndindex(sizes):
        torch.backends.quantized.engine = engines()[e]
        packed = ops.conv2d_prepack(weight, bias, [STRIDES[s]] * 2, [PADDINGS[p]] * 2, [DILATIONS[d]] * 2, 1)
        out = (ops.conv2d_relu if r else ops.conv2d)(x, packed, SCALE, ZERO_POINT).int_repr()[0]
        codes[e, r, s, d, p, :, : out.shape[1], : out.shape[2]] = out
    torch.backends.quantized.engine = "fbgemm"
    return found | {"codes": codes}


def inputs() -> dict[str, npt.NDArray[Any]]:
    """Those of each convolution: a bright disc before a slope, darker at the bottom."""
    i, j = np.mgrid[:SIDE, :SIDE]
    disc = (i - 3) ** 2 + (j - 4.2) ** 2 < 6.5
    real = 0.1 * (j - 3.5) + np.where(disc, 0.9, -0.25) - 0.15 * (i > 5)
    w_scales = np.array(W_SCALES)
    return {
        "x": np.clip(np.rint(real / X_SCALE) + X_ZERO_POINT, 0, 127).astype(np.uint8),
        "weight": np.array(WEIGHT, np.int8),
        "kernels": np.array(KERNELS),
        "w_scales": w_scales,
        "bias": (X_SCALE * w_scales * [7, -5, 9]).astype(np.float32),
        "parameters": np.array([X_SCALE, X_ZERO_POINT, SCALE, ZERO_POINT]),
        "engines": np.array(engines()),
        "strides": np.array(STRIDES),
        "dilations": np.array(DILATIONS),
        "paddings": np.array(PADDINGS),
    }
