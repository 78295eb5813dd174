"""The staircase (Chapter 6): from the accumulator to the code, each engine's 255 thresholds, PyTorch's beside them."""

from __future__ import annotations

import functools
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from qlearn import recordings
from qlearn.machine import _cpu
from qlearn.widgets.base import Widget, module, within

NAMES = ("0.05 × 0.02", "0.037 × 0.0185", "0.8226 × 0.065", "1/16 × 1/32")
"""What the recorded pairs of scales are called, the input's and the weight's."""
LANES = ("fbgemm", "onednn", "onednn_avx2", "qnnpack")
"""Whose thresholds are recorded: engines, oneDNN's on a CPU with VNNI and without."""
REACH = 12500
"""The accumulators that PyTorch is asked about are -REACH to REACH."""
WEIGHTS = (127, 1, -127, -1)


class Staircase(Widget):
    """See which code each accumulator becomes, and where the engines' steps are not the same.

    ``pair`` counts along the recorded pairs of scales, ``channel`` is whether the weight is quantized per tensor (0) or
    per channel (1); ``scale``, ``zero_point`` and ``bias`` count along the recorded ones. ``acc`` is the accumulator
    that is looked at.
    """

    _esm = module("linear.js")
    pair = traitlets.Int(0).tag(sync=True)
    channel = traitlets.Int(0).tag(sync=True)
    scale = traitlets.Int(3).tag(sync=True)
    zero_point = traitlets.Int(2).tag(sync=True)
    bias = traitlets.Int(4).tag(sync=True)
    acc = traitlets.Int(1000).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    pairs = traitlets.List(traitlets.List()).tag(sync=True)  # pairs x (input's scale, weight's)
    scales = traitlets.List(traitlets.List()).tag(sync=True)  # pairs x scales
    biases = traitlets.List(traitlets.List()).tag(sync=True)  # pairs x biases
    zero_points = traitlets.List(traitlets.Int()).tag(sync=True)
    steps = traitlets.Bytes().tag(sync=True)  # zlib; int8, pairs x channel x scale x zero point x lane x bias x 255

    def __init__(self, **traits: Any) -> None:
        found = recordings.load("staircase")
        known = {name: found[f"avx2/{name}"].tolist() for name in ("pairs", "scales", "biases", "zero_points")}
        super().__init__(names=list(NAMES), steps=packed_steps(), **known, **traits)

    _recorded = within(
        pair=lambda stairs: stairs.pairs,
        channel=range(2),
        scale=lambda stairs: stairs.scales[0],
        zero_point=lambda stairs: stairs.zero_points,
        bias=lambda stairs: stairs.biases[0],
        acc=range(-REACH, REACH + 1),
    )

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        backend, asked = torch.backends.quantized, {}
        engine, bias = backend.engine, np.array([question["bias"]], np.float32)
        try:
            for name in ("fbgemm", "onednn", "qnnpack"):
                backend.engine = name
                sx, sw, s, z = (question[part] for part in ("sx", "sw", "s", "z"))
                found = pytorch_thresholds(torch, sx, sw, s, z, bias, per_channel=question["channel"] == 1)
                asked[name] = found[0].tolist()
        finally:
            backend.engine = engine
        if _cpu.nearest(_cpu.onednn(_cpu.features(torch))) == "AVX2":
            asked["onednn_avx2"] = asked.pop("onednn")
        return {"thresholds": asked}


@functools.cache
def packed_steps() -> bytes:
    """What ``Staircase.steps`` holds."""
    found = recordings.load("staircase")
    return zlib.compress(np.stack([found[f"avx2/{lane}"] for lane in LANES], axis=4).tobytes(), 9)


def inputs() -> npt.NDArray[np.uint8]:
    """Codes with zero point 0, shape (2 * REACH + 1, 4), whose sums with WEIGHTS are -REACH, ..., REACH.

    No code is above 127, so that no CPU's pairs of products saturate.
    """
    acc = np.arange(-REACH, REACH + 1)
    high, low = np.divmod(np.abs(acc), 127)
    up = acc > 0
    return np.stack([high * up, low * up, high * ~up, low * ~up], axis=1).astype(np.uint8)


def pytorch_thresholds(
    torch: Any, sx: float, sw: float, s: float, z: int, bias: npt.NDArray[np.float32], *, per_channel: bool
) -> npt.NDArray[np.int64]:
    """The least accumulator that gives each code 1 to 255 or more, by the running PyTorch and its engine.

    Args:
        torch: the module.
        sx, sw, s: the scales of input, weight and output.
        z: the output's zero point.
        bias: shape (M,).
        per_channel: whether the weight is quantized per channel, each with the scale sw.

    Returns:
        shape (M, 255).
    """
    x = torch._make_per_tensor_quantized_tensor(torch.from_numpy(inputs()), sx, 0)
    w = torch.tensor([WEIGHTS] * len(bias), dtype=torch.int8)
    if per_channel:
        scales, zeros = torch.full((len(bias),), sw, dtype=torch.float64), torch.zeros(len(bias), dtype=torch.int64)
        weight = torch._make_per_channel_quantized_tensor(w, scales, zeros, 0)
    else:
        weight = torch._make_per_tensor_quantized_tensor(w, sw, 0)
    packed = torch.ops.quantized.linear_prepack(weight, torch.from_numpy(bias))
    codes = torch.ops.quantized.linear(x, packed, s, z).int_repr().numpy()  # (2 * REACH + 1, M)
    if (codes[1:] < codes[:-1]).any():
        raise ValueError("a code went down while the accumulator went up: 255 thresholds do not say what PyTorch does")
    fewer = np.stack([np.bincount(column, minlength=256)[:255] for column in codes.T])
    return np.cumsum(fewer, axis=1) - REACH
