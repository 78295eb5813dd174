"""Chapter 9's widget, the line: where the codes of a few layers begin, by PyTorch."""

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
SWITCH = "ONEDNN_MAX_CPU_ISA"  # oneDNN reads it when it starts
FIRST = (
    "int32 (4, 255): by layer, code 1 to 255: the least accumulator for which {} gives this code or a higher one; the "
    "lowest accumulator of the layer if it is there, one more than the highest if none is"
)
KEYS = {
    "layers": "float64 (4, 7): scales of input and weight, bias, scale and zero point of the output, the lowest "
    "accumulator and the highest",
    "fbgemm": FIRST.format("the engine fbgemm"),
    "onednn": FIRST.format("the engine onednn, on a CPU with VNNI (where the kind has one),"),
    "onednn_avx2": FIRST.format(f"the engine onednn, told by {SWITCH} to use AVX2,"),
    "qnnpack": FIRST.format("the engine qnnpack"),
}


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    from qlearn.widgets.integers import LANES, LAYERS

    lanes = [lane for lane in LANES if lane != "onednn_avx2" and not (lane == "onednn" and switched())]
    found = {"layers": np.array(LAYERS, float)} | {lane: thresholds(lane) for lane in lanes}
    torch.backends.quantized.engine = "fbgemm"
    return found | {"onednn_avx2": on_avx2()}


def thresholds(engine: str) -> npt.NDArray[np.int32]:
    """Those of one engine."""
    import torch

    from qlearn.widgets.integers import LAYERS, pytorch_thresholds

    torch.backends.quantized.engine = engine
    return np.array([pytorch_thresholds(torch, *layer) for layer in LAYERS], np.int32)


def on_avx2() -> npt.NDArray[np.int32]:
    """Those of oneDNN's kernels for AVX2, in a process of its own."""
    env = os.environ | {SWITCH: "AVX2", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = (
        "import sys; from recorders import integers; sys.stdout.buffer.write(integers.thresholds('onednn').tobytes())"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.int32).reshape(-1, 255)
