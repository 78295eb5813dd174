"""The tie (Chapter 2): 25 float32 numbers in a row, six formulas, and the code that each gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import traitlets

from qlearn import recordings
from qlearn.widgets.base import RELEASES, Widget, module, release_trait, within

REACH = 12  # float32 numbers on either side of the middle one


class Tie(Widget):
    """Step a float32 value through a tie, one float32 at a time; see which formulas give PyTorch's code.

    ``case`` counts along the recorded cases (a scale and a zero point each, ``scales`` and ``zero_points``), ``step``
    is the value's place, -12 to 12 float32 numbers from the middle one. ``scheme`` and ``release`` say whose codes are
    right: 0 is torch.quantize_per_tensor, 1 is torch.quantize_per_channel; "2.14" is like all releases but one, which
    is "2.13". All of them are recorded for the 25 values of a case.
    """

    _esm = module("rounding.js")
    case = traitlets.Int(0).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    scheme = traitlets.Int(0).tag(sync=True)
    release = release_trait()
    scales = traitlets.List(traitlets.Float()).tag(sync=True)
    zero_points = traitlets.List(traitlets.Int()).tag(sync=True)
    values = traitlets.Bytes().tag(sync=True)  # float32, cases x 25
    codes = traitlets.Bytes().tag(sync=True)  # uint8, releases x (per tensor, per channel) x cases x 25

    def __init__(self, **traits: Any) -> None:
        recorded = [recordings.load("rounding", release) for release in RELEASES]
        scales, zero_points = recorded[0]["avx2/cases"].T
        codes = [found[f"avx2/cases/{scheme}"] for found in recorded for scheme in ("tensor", "channel")]
        super().__init__(
            scales=scales.tolist(),
            zero_points=zero_points.astype(int).tolist(),
            values=recorded[0]["avx2/cases/x"].astype("<f4").tobytes(),
            codes=np.stack(codes).tobytes(),
            **traits,
        )

    _recorded = within(case=lambda tie: tie.scales, step=range(-REACH, REACH + 1), scheme=range(2))

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        x, scale, zero_point = torch.tensor([question["x"]]), question["scale"], question["zero_point"]
        scales, zero_points = torch.tensor([scale], dtype=torch.float64), torch.tensor([zero_point])
        tensor = torch.quantize_per_tensor(x, scale, zero_point, torch.quint8)
        channel = torch.quantize_per_channel(x, scales, zero_points, 0, torch.quint8)
        return {"codes": [int(tensor.int_repr()), int(channel.int_repr())]}
