"""The range (Chapter 3): what a scale costs in rounding, what a range costs in clipping."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import traitlets

from qlearn import recordings
from qlearn.widgets.base import Widget, finite, module, within

GRIDS: tuple[dict[str, Any], ...] = (
    {"dtype": "quint8"},
    {"dtype": "quint8", "reduce_range": True},
    {"dtype": "qint8", "qscheme": "per_tensor_symmetric"},
    {"dtype": "quint8", "quant_min": 0, "quant_max": 15},
)
"""How a range becomes codes: options of PyTorch's observers, in the order of the widget's choice."""


class Range(Widget):
    """Drag the range that the codes are spread over; see the scale, the zero point, and what each end costs.

    ``sample`` counts along the recorded tensors, ``grid`` along ``GRIDS``; ``low`` and ``high`` are the range in real
    numbers. PyTorch's side is its scale, zero point and mean squared error for every pair of slider positions and for
    the ranges that its observers pick, recorded.
    """

    _esm = module("observers.js")
    sample = traitlets.Int(0).tag(sync=True)
    grid = traitlets.Int(0).tag(sync=True)
    low = traitlets.Float().tag(sync=True)
    high = traitlets.Float().tag(sync=True)
    samples = traitlets.List(traitlets.Dict()).tag(sync=True)
    values = traitlets.Bytes().tag(sync=True)  # float32, samples x values
    scales = traitlets.Bytes().tag(sync=True)  # float32, for each sample grids x lows x highs
    zero_points = traitlets.Bytes().tag(sync=True)  # int16, likewise
    errors = traitlets.Bytes().tag(sync=True)  # float64, likewise

    def __init__(self, **traits: Any) -> None:
        arrays = {key.removeprefix("avx2/"): array for key, array in recordings.load("range").items()}
        names = [str(name) for name in arrays["names"]]
        samples = [_about(name, {part: arrays[f"{i}/{part}"] for part in PARTS}) for i, name in enumerate(names)]

        def packed(part: str, kind: str) -> bytes:
            return b"".join(arrays[f"{i}/{part}"].astype(kind).tobytes() for i in range(len(names)))

        super().__init__(
            samples=samples,
            values=packed("x", "<f4"),
            scales=packed("scale", "<f4"),
            zero_points=packed("zero_point", "<i2"),
            errors=packed("error", "<f8"),
            **traits,
        )
        low, high = self.samples[self.sample]["picks"][0]  # what MinMaxObserver picks
        self.low, self.high = traits.get("low", low), traits.get("high", high)

    _finite = finite("low", "high")
    _recorded = within(sample=lambda chosen: chosen.samples, grid=range(len(GRIDS)))

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        from torch.ao.quantization import MinMaxObserver

        warnings.filterwarnings("ignore", message="Please use quant_min")  # reduce_range is the subject here
        options = {name: getattr(torch, str(value), value) for name, value in GRIDS[question["grid"]].items()}
        x = torch.from_numpy(
            np.frombuffer(self.values, "<f4").reshape(len(self.samples), -1)[question["sample"]].copy()
        )
        observer = MinMaxObserver(**options)
        observer(torch.tensor([question["low"], question["high"]], dtype=torch.float32))
        scale, zero_point = (number.item() for number in observer.calculate_qparams())
        if "quant_max" in options:  # quantize_per_tensor clamps where the dtype ends, fake_quantize where it is told
            back = torch.fake_quantize_per_tensor_affine(
                x, scale, zero_point, options["quant_min"], options["quant_max"]
            )
        else:
            back = torch.quantize_per_tensor(x, scale, zero_point, options["dtype"]).dequantize()
        error = (x - back).numpy().astype(np.float64)
        return {"scale": scale, "zero_point": zero_point, "error": float(np.cumsum(error * error)[-1] / x.numel())}


PARTS = ("step", "lows", "highs", "picks")


def _about(name: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """One sample as the page needs it: the ends that were recorded, and the ranges that the observers pick."""
    return {"name": name, **{part: array.tolist() for part, array in arrays.items()}}
