"""Chapter 6: linear layers on each engine, near ties, with activations over 7 and 8 bits."""

from typing import Any

import numpy as np
import numpy.typing as npt

from recorders import each_engine, kinds_of_layer

KINDS = ("avx2", "avx512", "without_vnni")
DEPENDS = ("cpu",)
EVERY_RELEASE = False
ROWS, INNER, OUTPUTS = 48, 9, 20
PRESETS = (  # of x, scale and zero point; of the weight, scale; of the result, scale and zero point
    (0.05, 60, 0.02, 0.05 * 0.02 * 128, 101),
    (0.037, 3, 0.0185, 0.037 * 0.0185 * 64, 128),
    (0.8225926913684073, 56, 0.06585627266382849, 0.8225926913684073 * 0.06585627266382849 * 32, 0),
    (0.0173, 127, 0.0091, 0.0203, 77),
)
KEYS = {
    "presets": "float64 (4, 5): of x, scale and zero point; of the weight, scale; of the result, scale and zero point",
    "x/<bits>": "uint8 (48, 9): codes over 7 and over 8 bits",
    "weight": "int8 (20, 9): codes; zero point 0",
    "factors": "float64 (20,): per channel, the weight's scales are these times that of the preset",
    "bias/<i>": "float32 (20,): multiples of the accumulator's step",
    "<engine>/<bits>/tensor/<i>": "uint8 (48, 20): torch.ops.quantized.linear, the weight quantized per tensor",
    "<engine>/<bits>/channel/<i>": "uint8 (48, 20): torch.ops.quantized.linear, the weight quantized per channel",
    "<engine>/<bits>/relu/<i>": "uint8 (48, 20): torch.ops.quantized.linear_relu, per channel",
}

Arrays = dict[str, npt.NDArray[Any]]


def record() -> Arrays:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    found = inputs()
    for engine in each_engine():
        for i, (x_scale, x_zero_point, w_scale, scale, zero_point) in enumerate(PRESETS):
            bias = torch.from_numpy(found[f"bias/{i}"])
            for bits in (7, 8):
                real = torch.from_numpy(found[f"x/{bits}"])
                x = torch._make_per_tensor_quantized_tensor(real, x_scale, x_zero_point)
                for name, weight, operator in kinds_of_layer("linear", found["weight"], w_scale, found["factors"]):
                    packed = torch.ops.quantized.linear_prepack(weight, bias)
                    out = operator(x, packed, scale, zero_point)
                    found[f"{engine}/{bits}/{name}/{i}"] = out.int_repr().numpy()
    return found


def inputs() -> Arrays:
    """Those of each layer."""
    rng = np.random.default_rng(6)
    found: Arrays = {"presets": np.array(PRESETS), "factors": 2.0 ** rng.integers(-1, 2, OUTPUTS)}
    found["x/8"] = rng.integers(0, 256, (ROWS, INNER), dtype=np.uint8)
    found["x/7"] = found["x/8"] // 2
    found["weight"] = rng.integers(-128, 128, (OUTPUTS, INNER), dtype=np.int8)
    for i, (x_scale, _, w_scale, _, _) in enumerate(PRESETS):
        step = x_scale * w_scale * found["factors"]
        found[f"bias/{i}"] = (rng.integers(-2000, 2000, OUTPUTS) * step).astype(np.float32)
    return found
