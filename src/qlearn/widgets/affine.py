"""The grid (Chapter 1): a value, the code it snaps to, and what the code gives back."""

from __future__ import annotations

from typing import Any

import traitlets

from qlearn import recordings
from qlearn.widgets.base import Widget, finite, module, within


class Grid(Widget):
    """Drag a real value; see the code it becomes, the value it comes back as, and where it clamps.

    ``x`` is the value, ``scale`` and ``zero_point`` count along the recorded ones: ``scales[scale]``,
    ``zero_points[zero_point]``. PyTorch's side is its recorded thresholds: for each code k from 1 to 255 the smallest
    float32 that becomes k or more, which settles the code of every value between them.
    """

    _esm = module("affine.js")
    x = traitlets.Float(0.693).tag(sync=True)
    scale = traitlets.Int(4).tag(sync=True)
    zero_point = traitlets.Int(3).tag(sync=True)
    scales = traitlets.List(traitlets.Float()).tag(sync=True)
    zero_points = traitlets.List(traitlets.Int()).tag(sync=True)
    thresholds = traitlets.Bytes().tag(sync=True)  # float32, scales x zero points x 255

    def __init__(self, **traits: Any) -> None:
        recorded = recordings.load("affine")
        thresholds = recorded["avx2/grid/thresholds"]
        super().__init__(
            scales=recorded["avx2/grid/scales"].tolist(),
            zero_points=recorded["avx2/grid/zero_points"].tolist(),
            thresholds=thresholds.astype("<f4").tobytes(),
            **traits,
        )

    _recorded = within(scale=lambda grid: grid.scales, zero_point=lambda grid: grid.zero_points)
    _finite = finite("x")

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        x = torch.tensor(question["x"], dtype=torch.float32)
        q = torch.quantize_per_tensor(x, question["scale"], question["zero_point"], torch.quint8)
        return {"code": int(q.int_repr()), "value": float(q.dequantize())}
