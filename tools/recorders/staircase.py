"""Chapter 6's widget, the staircase: where PyTorch's codes change along the accumulators of a linear layer."""

import itertools
import os
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from recorders import switched

KINDS = ("avx2", "without_vnni")
DEPENDS = ("cpu",)
EVERY_RELEASE = False
PAIRS = ((0.05, 0.02), (0.037, 0.0185), (0.8225926913684073, 0.065), (1 / 16, 1 / 32))
RATIOS = (8, 10, 12.5, 16, 20, 23.7, 28, 32, 40)  # the output's scale over the product of the others
BIASES = (-2000, -750.5, -100, -0.5, 0, 0.3, 0.5, 0.75, 2.5, 250.25, 2000)  # in steps of the accumulator
ZERO_POINTS = (0, 3, 101, 128, 255)
SWITCH = "ONEDNN_MAX_CPU_ISA"  # oneDNN reads it when it starts
STEPS = (
    "int8 (4, 2, 9, 5, 11, 255): by pair, weight per tensor and per channel, scale, zero point, bias, code 1 to 255: "
    "the least accumulator for which {} gives this code or a higher one, less ceil(((code - 0.5 - z) * s - bias) / "
    "(sx * sw)) in float64"
)
KEYS = {
    "pairs": "float64 (4, 2): scales of the input and of the weight",
    "scales": "float64 (4, 9): of the output, by pair",
    "biases": "float64 (4, 11): float32 numbers, by pair",
    "zero_points": "int64 (5,): of the output",
    "fbgemm": STEPS.format("the engine fbgemm"),
    "onednn": STEPS.format("the engine onednn, on a CPU with VNNI (where the kind has one),"),
    "onednn_avx2": STEPS.format(f"the engine onednn, told by {SWITCH} to use AVX2,"),
    "qnnpack": STEPS.format("the engine qnnpack"),
}

Arrays = dict[str, npt.NDArray[Any]]


def record() -> Arrays:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    from qlearn.widgets.linear import LANES

    lanes = [lane for lane in LANES if lane != "onednn_avx2" and not (lane == "onednn" and switched())]
    found = inputs() | {lane: thresholds(lane) for lane in lanes}
    torch.backends.quantized.engine = "fbgemm"
    return found | {"onednn_avx2": on_avx2()}


def inputs() -> Arrays:
    """The scales, biases and zero points."""
    products = np.array([sx * sw for sx, sw in PAIRS])[:, None]
    biases = (products * BIASES).astype(np.float32).astype(float)
    return {
        "pairs": np.array(PAIRS),
        "scales": products * RATIOS,
        "biases": biases,
        "zero_points": np.array(ZERO_POINTS),
    }


def thresholds(engine: str) -> npt.NDArray[np.int8]:
    """Those of one engine."""
    import torch

    from qlearn.widgets.linear import pytorch_thresholds

    torch.backends.quantized.engine = engine
    about, codes = inputs(), np.arange(1, 256)
    found = np.empty((len(PAIRS), 2, len(RATIOS), len(ZERO_POINTS), len(BIASES), len(codes)), np.int8)
    for pair, channel, scale, zero_point in itertools.product(*map(range, found.shape[:4])):
        (sx, sw), s, z = PAIRS[pair], float(about["scales"][pair, scale]), ZERO_POINTS[zero_point]
        bias = about["biases"][pair]
        theirs = pytorch_thresholds(torch, sx, sw, s, z, bias.astype(np.float32), per_channel=channel == 1)
        found[pair, channel, scale, zero_point] = theirs - np.ceil(((codes - 0.5 - z) * s - bias[:, None]) / (sx * sw))
    return found


def on_avx2() -> npt.NDArray[np.int8]:
    """Those of oneDNN's kernels for AVX2, in a process of its own."""
    env = os.environ | {SWITCH: "AVX2", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = (
        "import sys; from recorders import staircase; sys.stdout.buffer.write(staircase.thresholds('onednn').tobytes())"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, check=True)
    shape = len(PAIRS), 2, len(RATIOS), len(ZERO_POINTS), len(BIASES), 255
    return np.frombuffer(done.stdout, np.int8).reshape(shape)
