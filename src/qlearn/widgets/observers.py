"""The range (Chapter 3): what a scale costs in rounding, what a range costs in clipping."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import traitlets

from .. import recordings
from .base import Widget, module

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

    _esm = module("arithmetic.js", "kit.js", "observers.js")
    sample = traitlets.Int(0).tag(sync=True)
    grid = traitlets.Int(0).tag(sync=True)
    low = traitlets.Float().tag(sync=True)
    high = traitlets.Float().tag(sync=True)
    samples = traitlets.List(traitlets.Dict()).tag(sync=True)
    values = traitlets.Bytes().tag(sync=True)  # float32, samples x values
    scales = traitlets.Bytes().tag(sync=True)  # float32, for each sample grids x low positions x high positions
    zero_points = traitlets.Bytes().tag(sync=True)  # int16, likewise
    errors = traitlets.Bytes().tag(sync=True)  # float64, likewise

    def __init__(self, **traits: Any) -> None:
        recorded = recordings.load("observers")
        names = [str(name) for name in recorded["avx2/range/names"]]
        of = [{part: recorded[f"avx2/range/{i}/{part}"] for part in PARTS} for i in range(len(names))]
        samples = [_about(name, arrays) for name, arrays in zip(names, of, strict=True)]
        start = samples[traits.get("sample", 0)]["picks"][0]
        super().__init__(
            samples=samples,
            values=b"".join(a["x"].astype("<f4").tobytes() for a in of),
            scales=b"".join(a["scale"].astype("<f4").tobytes() for a in of),
            zero_points=b"".join(a["zero_point"].astype("<i2").tobytes() for a in of),
            errors=b"".join(a["error"].astype("<f8").tobytes() for a in of),
            **{"low": start["low"], "high": start["high"], **traits},
        )

    @traitlets.validate("low", "high")
    def _finite(self, proposal: dict[str, Any]) -> float:
        if not np.isfinite(proposal["value"]):
            raise traitlets.TraitError(f"{proposal['trait'].name} must be finite; got {proposal['value']}")
        return float(proposal["value"])

    @traitlets.validate("sample", "grid")
    def _among_recorded(self, proposal: dict[str, Any]) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        choices = len(GRIDS) if name == "grid" else len(self.samples)
        if choices and not 0 <= value < choices:
            raise traitlets.TraitError(f"{name} must be 0 to {choices - 1}; got {value}")
        return int(value)

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        from torch.ao.quantization import MinMaxObserver

        warnings.filterwarnings("ignore", message="Please use quant_min")  # reduce_range is the subject here
        options = {name: getattr(torch, str(value), value) for name, value in GRIDS[question["grid"]].items()}
        x = torch.from_numpy(np.frombuffer(self.values, "<f4").reshape(len(self.samples), -1)[question["sample"]].copy())
        observer = MinMaxObserver(**options)
        observer(torch.tensor([question["low"], question["high"]], dtype=torch.float32))
        scale, zero_point = (number.item() for number in observer.calculate_qparams())
        if "quant_max" in options:  # quantize_per_tensor clamps where the dtype ends, fake_quantize where it is told
            back = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, options["quant_min"], options["quant_max"])
        else:
            back = torch.quantize_per_tensor(x, scale, zero_point, options["dtype"]).dequantize()
        error = (x - back).numpy().astype(np.float64)
        return {"scale": scale, "zero_point": zero_point, "error": float(np.cumsum(error * error)[-1] / x.numel())}


PARTS = ("x", "lattice", "scale", "zero_point", "error", "pick_ranges", "pick_scale", "pick_zero_point", "pick_error")


def _about(name: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """One sample as the page needs it: the lattice of slider positions, and what each observer picks."""
    step, negative, positive = arrays["lattice"].tolist()
    cells = zip(arrays["pick_scale"], arrays["pick_zero_point"], arrays["pick_error"], strict=True)
    picks = [
        {
            "low": float(low),
            "high": float(high),
            "grids": [
                {"scale": float(s), "zeroPoint": int(z), "error": float(e)}
                for s, z, e in zip(scales, zero_points, errors, strict=True)
            ],
        }
        for (low, high), (scales, zero_points, errors) in zip(arrays["pick_ranges"], cells, strict=True)
    ]
    return {"name": name, "step": step, "negative": int(negative), "positive": int(positive), "picks": picks}
