"""Chapter 3's widget, the range: five tensors, and what PyTorch makes of every range that its sliders reach."""

from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = ("avx2",)
DEPENDS = ()
EVERY_RELEASE = False
KEYS = {
    "names": "text (5,): what the tensors are",
    "grids": "text (4,): how a range becomes codes, the options of the observer",
    "<i>/x": "float32 (4000,): a tensor",
    "<i>/step": "float64 (): from one slider position to the next; 0 is a position",
    "<i>/lows": "float32 (lows,): the low ends: the slider's positions up to 0, and those that observers pick",
    "<i>/highs": "float32 (highs,): the high ends, likewise",
    "<i>/picks": "float32 (3, 2): the range of MinMaxObserver, MovingAverageMinMaxObserver (10 batches of 400) and "
    "HistogramObserver",
    "<i>/scale": "float32 (4, lows, highs): calculate_qparams() of each range",
    "<i>/zero_point": "int16 (4, lows, highs)",
    "<i>/error": "float64 (4, lows, highs): mean squared difference of x and x quantized and dequantized, the squares "
    "added one after the other",
}
GRIDS: tuple[dict[str, Any], ...] = (
    {"dtype": "quint8"},
    {"dtype": "quint8", "reduce_range": True},
    {"dtype": "qint8", "qscheme": "per_tensor_symmetric"},
    {"dtype": "quint8", "quant_min": 0, "quant_max": 15},
)
VALUES, POSITIONS = 4000, 52


def samples() -> dict[str, npt.NDArray[np.float32]]:
    """Five kinds of values, each float32 of shape (4000,)."""
    rng = np.random.default_rng(2)
    left, right = rng.normal(-1, 0.12, VALUES // 2), rng.normal(2.5, 0.3, VALUES // 2)
    drawn = {
        "weights": rng.normal(0, 0.05, VALUES),
        "after a ReLU": np.maximum(rng.normal(0.2, 1, VALUES), 0),
        "heavy tails": rng.standard_t(3, VALUES) / 2,
        "far from zero": rng.normal(5, 0.6, VALUES),
        "two clusters": rng.permutation(np.concatenate([left, right])),
    }
    return {name: x.astype(np.float32) for name, x in drawn.items()}


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import warnings

    warnings.filterwarnings("ignore", message="Please use quant_min")  # reduce_range is one of the subjects
    found: dict[str, npt.NDArray[Any]] = {
        "names": np.array(list(samples())),
        "grids": np.array([", ".join(f"{k}={v}" for k, v in grid.items()) for grid in GRIDS]),
    }
    for i, x in enumerate(samples().values()):
        found |= {f"{i}/{part}": np.asarray(array) for part, array in _sample(x).items()}
    return found


def _sample(x: npt.NDArray[np.float32]) -> dict[str, Any]:
    picks = _picks(x)  # (observers, 2)
    least, most = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    step = float(f"{(most - least) / POSITIONS:.1e}")
    below, above = (0 if end == 0 else int(abs(end) / step) + 2 for end in (least, most))
    lows = np.union1d((np.arange(-below, 1) * step).astype(np.float32), np.minimum(picks[:, 0], 0))
    highs = np.union1d((np.arange(above + 1) * step).astype(np.float32), np.maximum(picks[:, 1], 0))
    scale, zero_point, error = (np.empty((len(GRIDS), len(lows), len(highs)), t) for t in ("f4", "i2", "f8"))
    for at in np.ndindex(scale.shape):
        grid, low, high = at
        scale[at], zero_point[at], error[at] = _cost(x, np.float32(lows[low]), np.float32(highs[high]), GRIDS[grid])
    return {
        "x": x,
        "step": step,
        "lows": lows,
        "highs": highs,
        "picks": picks,
        "scale": scale,
        "zero_point": zero_point,
        "error": error,
    }


def _picks(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The range of each observer, which does not depend on the codes."""
    import torch
    from torch.ao.quantization import HistogramObserver, MinMaxObserver, MovingAverageMinMaxObserver

    whole, moving, histogram = MinMaxObserver(), MovingAverageMinMaxObserver(), HistogramObserver()
    values = torch.from_numpy(x)
    whole(values)
    histogram(values)
    for batch in values.reshape(10, -1):
        moving(batch)
    ranges = ((whole.min_val, whole.max_val), (moving.min_val, moving.max_val), histogram._non_linear_param_search())
    return np.array([[float(end) for end in ends] for ends in ranges], np.float32)


def _cost(
    x: npt.NDArray[np.float32], low: np.float32, high: np.float32, grid: dict[str, Any]
) -> tuple[float, int, float]:
    """Scale, zero point and mean squared error of one range."""
    import torch
    from torch.ao.quantization import MinMaxObserver

    options = {name: getattr(torch, str(value), value) for name, value in grid.items()}
    observer, values = MinMaxObserver(**options), torch.from_numpy(x)
    observer(torch.tensor([low, high]))
    scale, zero_point = (number.item() for number in observer.calculate_qparams())
    if "quant_max" in grid:  # quantize_per_tensor clamps where the dtype ends, fake_quantize where it is told
        back = torch.fake_quantize_per_tensor_affine(values, scale, zero_point, grid["quant_min"], grid["quant_max"])
    else:
        back = torch.quantize_per_tensor(values, scale, zero_point, options["dtype"]).dequantize()
    error = (values - back).numpy().astype(np.float64)
    return scale, zero_point, float(np.cumsum(error * error)[-1] / x.size)
