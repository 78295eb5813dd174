"""The line (Chapter 9): the first accumulator of each code as a pixel, and the line of integers that draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from qlearn import recordings
from qlearn.machine import _cpu
from qlearn.widgets.base import Widget, module, within

LAYERS = (  # scales of input and weight, bias, scale and zero point of the output, the accumulators from and to
    (0.0243137, 0.0031291, 0.05, 0.0173219, 118, -30_000, 30_000),
    (0.05, 0.02, 0.0, 0.016, 101, -30_000, 30_000),
    (0.037, 0.0185, 2871.0, 0.89, 3, -4_194_303, -3_870_000),
    (0.0243137, 0.0031291, -1404.0, 1.0, 118, 0, 2**25),
)
NAMES = ("ordinary", "ties", "a large bias", "too large a bias")
LANES = ("fbgemm", "onednn", "onednn_avx2", "qnnpack")
"""Whose thresholds are recorded: engines, oneDNN's on a CPU with VNNI and without."""
SHIFTS = 40
"""The largest S."""
HIGH = 127
"""The largest code and weight that are put in, so that no CPU's pairs of products saturate."""


class PixelLine(Widget):
    """Draw the line through the first accumulators of a layer's codes, in integers, and see where it fails.

    ``layer`` counts along the recorded layers, ``lane`` along ``LANES``; ``late`` is whether codes may be late. ``S``,
    ``M`` and ``B`` are the line's; with M = 0 the best line for S is taken. ``code`` is the one that is looked at.
    """

    _esm = module("integers.js")
    layer = traitlets.Int(0).tag(sync=True)
    lane = traitlets.Int(0).tag(sync=True)
    late = traitlets.Int(1).tag(sync=True)
    S = traitlets.Int(27).tag(sync=True)
    M = traitlets.Int(0).tag(sync=True)
    B = traitlets.Int(0).tag(sync=True)
    code = traitlets.Int(128).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    layers = traitlets.List(traitlets.List()).tag(sync=True)  # layers x what stands in LAYERS
    first = traitlets.List(traitlets.List(traitlets.List())).tag(sync=True)  # layers x lanes x codes 1 to 255

    def __init__(self, **traits: Any) -> None:
        found = recordings.load("integers")
        first = np.stack([found[f"avx2/{lane}"] for lane in LANES], axis=1).tolist()
        super().__init__(names=list(NAMES), layers=[list(layer) for layer in LAYERS], first=first, **traits)

    _there = within(
        layer=range(len(LAYERS)), lane=range(len(LANES)), late=range(2), S=range(SHIFTS + 1), code=range(1, 256)
    )

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        backend, lane = torch.backends.quantized, LANES[question["lane"]]
        if lane.startswith("onednn"):
            own = "onednn_avx2" if _cpu.nearest(_cpu.onednn(_cpu.features(torch))) == "AVX2" else "onednn"
            if lane != own:
                return {"first": None}
        engine = backend.engine
        try:
            backend.engine = lane.removesuffix("_avx2")
            return {"first": pytorch_thresholds(torch, *LAYERS[question["layer"]]).tolist()}
        finally:
            backend.engine = engine


def inputs(acc: npt.NDArray[np.int64], terms: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int8]]:
    """Codes with zero point 0, shape (n, 2 * (terms + 1)), and weights, whose sums of products are acc (n,).

    Each term gives up to HIGH**2 of one sign, the last HIGH * code plus a weight of 1.
    """
    whole, rest = np.divmod(np.abs(acc), HIGH)
    each = np.clip(whole[:, None] - HIGH * np.arange(terms), 0, HIGH)  # (n, terms)
    up, down = (np.where(side[:, None], np.column_stack([each, rest]), 0) for side in (acc > 0, acc < 0))
    weights = np.append(np.full(terms, HIGH), 1)
    return np.hstack([up, down]).astype(np.uint8), np.append(weights, -weights).astype(np.int8)


def pytorch_thresholds(
    torch: Any, sx: float, sw: float, b: float, s: float, z: int, low: int, high: int
) -> npt.NDArray[np.int64]:
    """The least accumulator from low to high + 1 that gives each code or more, by the running PyTorch: (255,)."""
    terms = max(-low, high) // HIGH**2 + 1
    weight = torch._make_per_tensor_quantized_tensor(torch.from_numpy(inputs(np.zeros(1, int), terms)[1][None]), sw, 0)
    packed = torch.ops.quantized.linear_prepack(weight, torch.tensor([b], dtype=torch.float32))

    def codes(acc: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        x = torch._make_per_tensor_quantized_tensor(torch.from_numpy(inputs(acc, terms)[0]), sx, 0)
        found: npt.NDArray[np.int64] = torch.ops.quantized.linear(x, packed, s, z).int_repr().numpy()[:, 0].astype(int)
        return found

    k = np.arange(1, 256)
    below, at = np.full(255, low - 1), np.full(255, high + 1)
    while (at - below > 1).any():
        middle = np.clip((below + at) // 2, low, high)
        reached = codes(middle) >= k
        open_ = at - below > 1
        at, below = np.where(open_ & reached, middle, at), np.where(open_ & ~reached, middle, below)
    return at
