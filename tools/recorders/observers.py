"""Chapter 3: what PyTorch's observers pick for the five tensors of the recording "range"."""

import itertools
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from recorders.range import samples

KINDS = ("default", "avx2", "avx512")
DEPENDS = ()
EVERY_RELEASE = True
PER_TENSOR = ("MinMaxObserver", "MovingAverageMinMaxObserver", "HistogramObserver")
PER_CHANNEL = ("PerChannelMinMaxObserver", "MovingAveragePerChannelMinMaxObserver")
KEYS = {
    "tensor": "text (rows, 4): observer, dtype, qscheme, reduce_range of <i>/tensor; refused combinations have no row",
    "channel": "text (rows, 4): the same for <i>/channel",
    "<i>/tensor": "float64 (rows, 4): scale, zero point, min_val, max_val; tensor i of range, 10 batches of 400",
    "<i>/channel": "float64 (rows, 4, 8): the same of each channel; 2 batches, x.reshape(2, 8, 250), ch_axis 0",
    "<i>/histogram": "float32 (2, 2048): HistogramObserver's, after one batch of all 4000, and after 10 of 400",
    "<i>/chosen": "float64 (2, 3): low and high that its search chose, and the error of the bins kept",
}


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    warnings.filterwarnings("ignore", message="Please use quant_min")  # reduce_range is recorded, too
    found: dict[str, npt.NDArray[Any]] = {}
    for kind, observers in (("tensor", PER_TENSOR), ("channel", PER_CHANNEL)):
        options = _options(observers, f"per_{kind}")
        found[kind] = np.array(options, str)
        for i, x in enumerate(samples().values()):
            batches = torch.from_numpy(x.reshape(10, 400) if kind == "tensor" else x.reshape(2, 8, 250))
            found[f"{i}/{kind}"] = np.array([_picked(torch, batches, *row) for row in options])
    for i, x in enumerate(samples().values()):
        histograms = [_histogram(torch.from_numpy(x).reshape(n, -1)) for n in (1, 10)]
        found[f"{i}/histogram"] = np.array([histogram for histogram, _ in histograms])
        found[f"{i}/chosen"] = np.array([chosen for _, chosen in histograms])
    return found


def _options(observers: tuple[str, ...], kind: str) -> list[tuple[str, str, str, bool]]:
    """Observer, dtype, qscheme, reduce_range: all that PyTorch takes."""
    schemes = (f"{kind}_affine", f"{kind}_symmetric")
    every = itertools.product(observers, ("quint8", "qint8"), schemes, (False, True))
    refused = ("quint8", schemes[1], True)
    return [row for row in every if row[0] == "HistogramObserver" or row[1:] != refused]


def _picked(torch: Any, batches: Any, name: str, dtype: str, qscheme: str, reduce_range: bool) -> npt.NDArray[Any]:
    """Scale, zero point, min_val, max_val: (4,), or (4, C)."""
    observer = getattr(torch.ao.quantization, name)(
        dtype=getattr(torch, dtype), qscheme=getattr(torch, qscheme), reduce_range=reduce_range
    )
    for batch in batches:
        observer(batch)
    answers = [*observer.calculate_qparams(), observer.min_val, observer.max_val]
    return np.array([answer.numpy().astype(np.float64).ravel() for answer in answers]).squeeze()


def _histogram(batches: Any) -> tuple[npt.NDArray[np.float32], list[float]]:
    from torch.ao.quantization import HistogramObserver

    observer = HistogramObserver()
    for batch in batches:
        observer(batch)
    errors: list[float] = []
    compute = observer._compute_quantization_error

    def listening(start_bin: int, end_bin: int) -> float:
        errors.append(compute(start_bin, end_bin))
        return errors[-1]

    observer._compute_quantization_error = listening
    low, high = observer._non_linear_param_search()
    return observer.histogram.numpy(), [low.item(), high.item(), min(errors)]
