"""Chapter 7: convolutions on each engine: dense, pointwise, depthwise and in groups; over 7 and 8 bits."""

from typing import Any

import numpy as np
import numpy.typing as npt

from recorders import each_engine, kinds_of_layer, switched

KINDS = ("avx2", "avx512", "without_vnni")
DEPENDS = ("cpu",)
EVERY_RELEASE = False
SHAPES = {  # of x and the weight; stride, padding, dilation, groups
    "dense": ((1, 5, 9, 8), (6, 5, 3, 3), (1, 1, 1, 1)),
    "strided": ((2, 4, 9, 9), (5, 4, 3, 2), (2, 1, 2, 1)),
    "pointwise": ((1, 7, 6, 6), (9, 7, 1, 1), (1, 0, 1, 1)),
    "depthwise": ((1, 16, 7, 7), (16, 1, 3, 3), (1, 1, 1, 16)),
    "grouped": ((1, 16, 6, 6), (16, 8, 3, 3), (1, 1, 1, 2)),
    "odd": ((1, 9, 6, 6), (15, 3, 3, 3), (1, 1, 1, 3)),
}
X_SCALE, X_ZERO_POINT, W_SCALE, ZERO_POINT = 0.037, 60, 0.0185, 101
KEYS = {
    "parameters": "float64 (4,): of x, scale and zero point; of the weight, scale; of the result, zero point",
    "<shape>/x/<bits>": "uint8: codes over 7 and over 8 bits",
    "<shape>/weight": "int8: codes; zero point 0",
    "<shape>/geometry": "int64 (4,): stride, padding, dilation, groups",
    "<shape>/factors": "float64 (M,): per channel, the weight's scales are these times that scale",
    "<shape>/bias": "float32 (M,): multiples of the accumulator's step",
    "<shape>/scale": "float64 (): of the result",
    "<engine>/<shape>/<bits>/tensor": "uint8: torch.ops.quantized.conv2d, the weight quantized per tensor",
    "<engine>/<shape>/<bits>/channel": "uint8: torch.ops.quantized.conv2d, the weight quantized per channel",
    "<engine>/<shape>/<bits>/relu": "uint8: torch.ops.quantized.conv2d_relu, per channel",
}

Arrays = dict[str, npt.NDArray[Any]]


def record() -> Arrays:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    found = inputs()
    for engine in each_engine():
        for shape in SHAPES:
            if switched() and (engine, shape) == ("fbgemm", "grouped"):
                continue  # FBGEMM's kernel for small groups goes by the CPU, whatever it is told
            stride, padding, dilation, groups = found[f"{shape}/geometry"].tolist()
            geometry = [stride] * 2, [padding] * 2, [dilation] * 2, groups
            bias, scale = torch.from_numpy(found[f"{shape}/bias"]), float(found[f"{shape}/scale"])
            weight = found[f"{shape}/weight"], W_SCALE, found[f"{shape}/factors"]
            for bits in (7, 8):
                real = torch.from_numpy(found[f"{shape}/x/{bits}"])
                x = torch._make_per_tensor_quantized_tensor(real, X_SCALE, X_ZERO_POINT)
                for name, w, operator in kinds_of_layer("conv2d", *weight):
                    packed = torch.ops.quantized.conv2d_prepack(w, bias, *geometry)
                    out = operator(x, packed, scale, ZERO_POINT)
                    found[f"{engine}/{shape}/{bits}/{name}"] = out.int_repr().numpy()
    return found


def inputs() -> Arrays:
    """Those of each convolution."""
    rng = np.random.default_rng(7)
    found: Arrays = {"parameters": np.array([X_SCALE, X_ZERO_POINT, W_SCALE, ZERO_POINT])}
    for shape, (x, weight, geometry) in SHAPES.items():
        found[f"{shape}/x/8"] = rng.integers(0, 256, x, dtype=np.uint8)
        found[f"{shape}/x/7"] = found[f"{shape}/x/8"] // 2
        found[f"{shape}/weight"] = rng.integers(-128, 128, weight, dtype=np.int8)
        found[f"{shape}/geometry"] = np.array(geometry)
        found[f"{shape}/factors"] = 2.0 ** rng.integers(-1, 2, weight[0])
        step = X_SCALE * W_SCALE
        bias = rng.integers(-2000, 2000, weight[0]) * step * found[f"{shape}/factors"]
        found[f"{shape}/bias"] = bias.astype(np.float32)
        inner = int(np.prod(weight[1:]))
        found[f"{shape}/scale"] = np.array(step * 2.0 ** int(np.ceil(np.log2(50 * np.sqrt(inner)))))
    return found
