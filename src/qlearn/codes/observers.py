"""Choosing scale and zero point as ``torch.ao.quantization`` does (Chapter 3, Choosing scale and zero point).

An observer looks at float32 tensors, remembers a range ``[min_val, max_val]``, and turns it into a scale and a zero
point with :func:`choose_qparams`. Three ways to remember a range: its extremes (MinMax), a moving average of the
extremes of each batch (MovingAverage), a histogram that is searched for the range of least squared error (Histogram).

Sources of the arithmetic: ``torch/ao/quantization/observer.py`` and ``utils.py``; below them
``aten/src/ATen/native/cpu/`` ``HistogramKernel.cpp``, ``RangeFactoriesKernel.cpp`` and ``SumKernel.cpp``.
Scales and zero points are equal to PyTorch's to the last bit.

Where PyTorch warns, or returns something nobody can use, these observers raise ``ValueError``: values that are not
finite (PyTorch: a NaN or infinite scale; its HistogramObserver drops infinities with a warning), a range wider than
float32 holds, an observer that has seen nothing, one of ``quant_min`` and ``quant_max`` without the other (PyTorch
ignores it), integers outside the dtype, a qint32 zero point whose computation leaves int32 (PyTorch returns 0).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from qlearn.codes.rounding import fma
from qlearn.machine.machine import Machine
from qlearn.machine.releases import (
    HISTC_DIVIDES_FIRST,
    HISTC_WIDENS_BY_ONE,
    HISTOGRAM_FORGETS,
    HISTOGRAM_RATIO_FIRST,
    HISTOGRAM_STRETCHED,
    HISTOGRAM_WEIGHT_OF_NEW,
    HISTOGRAM_WHOLE_ENDS,
    LINSPACE_IN_VECTORS,
    SUM_IN_16_LANES,
)

__all__ = [
    "HistogramObserver",
    "MinMaxObserver",
    "MovingAverageMinMaxObserver",
    "MovingAveragePerChannelMinMaxObserver",
    "Options",
    "PerChannelMinMaxObserver",
    "RangeSearch",
    "choose_qparams",
    "quant_range",
]

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]

f32 = np.float32
EPS = float(np.finfo(np.float32).eps)  # 2**-23, the smallest scale unless told otherwise
LARGEST = float(np.finfo(np.float32).max)
THIN = 128  # thin bins in one of HistogramObserver's, up to PyTorch 2.4
MEMORY = 2**40  # bytes that PyTorch may take for them

DTYPES = {"quint8": (0, 255), "qint8": (-128, 127), "qint32": (-(2**31), 2**31 - 1)}
REDUCED = {"quint8": (0, 127), "qint8": (-64, 63), "qint32": (-(2**31), 2**31 - 1)}
PER_TENSOR = ("per_tensor_affine", "per_tensor_symmetric")
PER_CHANNEL = ("per_channel_affine", "per_channel_symmetric")


# ---------------------------------------------------------------------------------------------- range to scale


def quant_range(
    dtype: str = "quint8", reduce_range: bool = False, quant_min: int | None = None, quant_max: int | None = None
) -> tuple[int, int]:
    """The integers that an observer maps its range to: ``(quant_min, quant_max)``, both included.

    ``reduce_range`` gives up one bit: (0, 127) for quint8, (-64, 63) for qint8, nothing for qint32; integers of one's
    own are halved, rounding down. Chapter 3. Source: ``utils.py``, ``calculate_qmin_qmax``.

    Raises ValueError when the integers do not fit the dtype, do not include 0, or are fewer than two.
    """
    if not isinstance(reduce_range, bool):
        raise TypeError(f"reduce_range is {reduce_range!r}; True or False is needed")
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; allowed are {', '.join(map(repr, DTYPES))}")
    if quant_min is None and quant_max is None:
        return (REDUCED if reduce_range else DTYPES)[dtype]
    if quant_min is None or quant_max is None:
        raise ValueError(f"quant_min is {quant_min} and quant_max is {quant_max}; give both, or neither")
    low, high = _integer("quant_min", quant_min), _integer("quant_max", quant_max)
    lowest, highest = DTYPES[dtype]
    if not lowest <= low <= 0 <= high <= highest:
        raise ValueError(
            f"quant_min is {quant_min} and quant_max is {quant_max}; {dtype} takes integers from {lowest} to "
            f"{highest}, and 0 must lie between the two"
        )
    if reduce_range:
        low, high = low // 2, high // 2
    if low == high:
        raise ValueError(f"quant_min is {quant_min} and quant_max is {quant_max}: that leaves a single integer")
    return low, high


def choose_qparams(
    min_val: Any,
    max_val: Any,
    *,
    dtype: str = "quint8",
    qscheme: str = "per_tensor_affine",
    reduce_range: bool = False,
    quant_min: int | None = None,
    quant_max: int | None = None,
    eps: float = EPS,
) -> tuple[Float32Array, Int64Array]:
    """The scale and zero point of a range; per channel, of one range for each channel.

    min_val, max_val: float32, shape () or (1,) per tensor, (C,) per channel. Returns scale (float32) and zero point
    (int64), shape (1,) or (C,). Each step is float32. The range is widened to include 0, so that 0 is represented
    exactly; ``eps`` is the smallest scale. The zero point is rounded half to even.

        affine:     scale = (max - min) / (quant_max - quant_min)      zero_point = quant_min - round(min / scale)
        symmetric:  scale = max(-min, max) / ((quant_max - quant_min) / 2)      zero_point = 0, for quint8 128

    Chapter 3. Source: ``observer.py``, ``UniformQuantizationObserverBase._calculate_qparams`` (whose affine zero
    point is int32, and symmetric int64: the values are the same here, the dtype is always int64).

    Raises ValueError for a range that is not finite, that is upside down, or whose width or zero point overflows.
    """
    low, high = quant_range(dtype, reduce_range, quant_min, quant_max)
    symmetric = _is_symmetric(qscheme, PER_TENSOR + PER_CHANNEL)
    smallest = _smallest_scale(eps)
    minimum, maximum = np.atleast_1d(_float32("min_val", min_val)), np.atleast_1d(_float32("max_val", max_val))
    if minimum.shape != maximum.shape or minimum.ndim != 1 or (qscheme in PER_TENSOR and minimum.size != 1):
        needed = "one of each" if qscheme in PER_TENSOR else "one of each a channel"
        raise ValueError(f"min_val has shape {minimum.shape} and max_val {maximum.shape}; {qscheme} needs {needed}")
    if np.any(minimum > maximum):
        raise ValueError(f"min_val is {minimum} and max_val is {maximum}: the minimum is above the maximum")

    minimum = np.minimum(minimum, f32(0))  # (C,) the range includes 0
    maximum = np.maximum(maximum, f32(0))
    if symmetric:
        half: Float32Array = np.maximum(-minimum, maximum)
        scale: Float32Array = half / f32((high - low) / 2)
        scale = np.maximum(scale, smallest)
        middle = 0 if dtype != "quint8" else 128 if quant_min is None else (low + high) // 2
        return scale, np.full(scale.shape, middle, np.int64)

    with np.errstate(over="ignore"):
        width = maximum - minimum
    if not np.all(np.isfinite(width)):
        raise ValueError(f"min_val is {minimum} and max_val is {maximum}: the width of the range overflows float32")
    scale = width / f32(high - low)
    scale = np.maximum(scale, smallest)
    steps_below_zero = np.rint(minimum / scale).astype(np.int64)
    zero_point = low - steps_below_zero
    if np.any(steps_below_zero < -(2**31)) or np.any(zero_point > 2**31 - 1):
        raise ValueError(f"min_val is {minimum}: PyTorch's zero point for {dtype} overflows int32 on this range")
    return scale, np.clip(zero_point, low, high)


# ------------------------------------------------------------------------------------------------ the observers


class Options(TypedDict, total=False):
    """The options that every observer takes, all by name.

    dtype "quint8" (default), "qint8" or "qint32". qscheme "per_tensor_affine" (default) or "per_tensor_symmetric";
    per channel "per_channel_affine" (default) or "per_channel_symmetric". ``quant_min`` and ``quant_max``, both or
    neither, replace the dtype's integers; ``reduce_range`` gives up a bit of them; ``eps`` is the smallest scale.
    """

    dtype: str
    qscheme: str
    reduce_range: bool
    quant_min: int | None
    quant_max: int | None
    eps: float


class _Observer:
    """What all observers share: the integers to map to, checked options, and the way from range to scale."""

    qschemes: ClassVar[tuple[str, ...]] = PER_TENSOR

    def __init__(
        self,
        *,
        dtype: str = "quint8",
        qscheme: str | None = None,
        reduce_range: bool = False,
        quant_min: int | None = None,
        quant_max: int | None = None,
        eps: float = EPS,
    ) -> None:
        self.dtype = dtype
        self.qscheme = self.qschemes[0] if qscheme is None else qscheme
        self.reduce_range = reduce_range
        self.eps = eps
        self.quant_min, self.quant_max = quant_range(dtype, reduce_range, quant_min, quant_max)
        self._given_integers = {"quant_min": quant_min, "quant_max": quant_max}
        _is_symmetric(self.qscheme, self.qschemes)
        _smallest_scale(eps)
        self.min_val: Float32Array = np.array(np.inf, f32)
        self.max_val: Float32Array = np.array(-np.inf, f32)

    def _qparams(self, min_val: Any, max_val: Any) -> tuple[Float32Array, Int64Array]:
        return choose_qparams(
            min_val,
            max_val,
            dtype=self.dtype,
            qscheme=self.qscheme,
            reduce_range=self.reduce_range,
            eps=self.eps,
            **self._given_integers,
        )

    def _has_seen_nothing(self) -> bool:
        return not np.any(np.isfinite(self.min_val))

    def _require_values(self) -> None:
        if self._has_seen_nothing():
            raise ValueError(f"{type(self).__name__} has observed no values yet: call it with a tensor first")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(min_val={self.min_val}, max_val={self.max_val})"


class _Extremes(_Observer):
    """The smallest and the largest value seen so far: one pair, or one for each channel."""

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        if self.dtype == "quint8" and self.qscheme.endswith("symmetric") and self.reduce_range:
            raise NotImplementedError(f"reduce_range=True with dtype 'quint8' and qscheme {self.qscheme!r}")

    def _update(self, x_min: Any, x_max: Any) -> None:
        if self._has_seen_nothing():
            self.min_val, self.max_val = np.asarray(x_min), np.asarray(x_max)
        else:
            self.min_val, self.max_val = self._combine(x_min, x_max)

    def _combine(self, x_min: Any, x_max: Any) -> tuple[Float32Array, Float32Array]:
        return np.asarray(np.minimum(self.min_val, x_min)), np.asarray(np.maximum(self.max_val, x_max))

    def calculate_qparams(self) -> tuple[Float32Array, Int64Array]:
        """The scale (float32) and zero point (int64) of the range seen so far, both of shape (1,) or (C,)."""
        self._require_values()
        return self._qparams(self.min_val, self.max_val)


class _MovingAverage(_Extremes):
    """old + averaging_constant * (new - old), each step rounded to float32. The first batch counts in full."""

    def __init__(self, *, averaging_constant: float = 0.01, **options: Any) -> None:
        super().__init__(**options)
        self.averaging_constant = _number("averaging_constant", averaging_constant)
        if not 0 <= self.averaging_constant <= 1:
            raise ValueError(f"averaging_constant is {averaging_constant}; 0 to 1 is allowed")

    def _combine(self, x_min: Any, x_max: Any) -> tuple[Float32Array, Float32Array]:
        with np.errstate(over="ignore"):
            change_of_min, change_of_max = x_min - self.min_val, x_max - self.max_val
        if not (np.all(np.isfinite(change_of_min)) and np.all(np.isfinite(change_of_max))):
            raise ValueError(f"x has extremes {x_min} and {x_max}: their distance from the average overflows float32")
        weight = f32(self.averaging_constant)
        return np.asarray(self.min_val + weight * change_of_min), np.asarray(self.max_val + weight * change_of_max)


class MinMaxObserver(_Extremes):
    """The smallest and the largest value seen so far; options are those of ``Options``.

    Chapter 3. Source: ``observer.py``, ``MinMaxObserver``. Raises NotImplementedError, as PyTorch does, for
    ``reduce_range`` with dtype "quint8" and a symmetric qscheme.
    """

    def __call__(self, x: Float32Array) -> Float32Array:
        """Observes x (float32, finite, any shape; an empty one changes nothing) and returns it."""
        _check_values(x)
        if x.size:
            self._update(x.min(), x.max())
        return x


class MovingAverageMinMaxObserver(_MovingAverage, MinMaxObserver):
    """A moving average of each batch's extremes; options are averaging_constant (0 to 1, 0.01) and ``Options``.

    Chapter 3. Source: ``observer.py``, ``MovingAverageMinMaxObserver``.
    """


class PerChannelMinMaxObserver(_Extremes):
    """The smallest and the largest value of each channel; options are ch_axis (0) and those of ``Options``.

    min_val and max_val have shape (C,), or (0,) before the first batch.
    Chapter 3. Source: ``observer.py``, ``PerChannelMinMaxObserver``.
    """

    qschemes = PER_CHANNEL

    def __init__(self, *, ch_axis: int = 0, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.ch_axis = _integer("ch_axis", ch_axis)
        self.min_val, self.max_val = np.empty(0, f32), np.empty(0, f32)

    def __call__(self, x: Float32Array) -> Float32Array:
        """Observes x (float32, finite, two axes or more, always the same C) and returns it."""
        _check_values(x)
        if x.ndim < 2 or not -x.ndim <= self.ch_axis < x.ndim:
            raise ValueError(f"x has shape {x.shape}; two axes or more are needed, and an axis ch_axis={self.ch_axis}")
        if not x.size:
            return x
        rows = np.moveaxis(x, self.ch_axis, 0).reshape(x.shape[self.ch_axis], -1)  # (C, elements of a channel)
        if self.min_val.size not in (0, len(rows)):
            raise ValueError(f"x has {len(rows)} channels; the batches before it had {self.min_val.size}")
        self._update(rows.min(axis=1), rows.max(axis=1))
        return x


class MovingAveragePerChannelMinMaxObserver(_MovingAverage, PerChannelMinMaxObserver):
    """A moving average of each channel's extremes; options are averaging_constant, ch_axis and ``Options``.

    Chapter 3. Source: ``observer.py``, ``MovingAveragePerChannelMinMaxObserver``.
    """


@dataclass(frozen=True)
class RangeSearch:
    """What HistogramObserver.search found. Bins start_bin to end_bin (both included) are kept, the others clipped."""

    min_val: np.float32
    max_val: np.float32
    start_bin: int
    end_bin: int
    steps: tuple[
        tuple[int, int, float], ...
    ]  # (start_bin, end_bin, error) of each range tried, the last perhaps refused


class HistogramObserver(_Observer):
    """A histogram of all values seen, and a search for the range with the least squared error.

    bins: 1 to 32,767. The other options are MinMaxObserver's. ``histogram`` (float32, shape (bins,)) spans
    ``[min_val, max_val]``; ``bin_edges()``, ``bin_errors()`` and ``search()`` show the way to the scale.
    Chapter 3. Source: ``observer.py``, ``HistogramObserver``.

    The machine's release says how a range grows (``qlearn.machine.releases`` has the changes one by one):

        2.9 to 2.15  to the extremes; 16 thin bins in each of the old ones, each goes where its middle lies
        2.5 to 2.8   likewise, but a value that was the only one weighs as much as the whole next batch
        2.4          as 2.3, but batches within the range are not kept, and narrow ranges are forgotten
        2.0 to 2.3   stretched until whole numbers of 128 thin bins an old one fill the new ones; one value is forgotten
        1.13         likewise, but counted between the ends cut to whole numbers

    Its capability says how sums are rounded: since 2.5, where the range grows, ``linspace`` rounds the product and the
    sum on "DEFAULT", and once, a fused multiply-add, on "AVX2" and "AVX512"; up to 2.0, "AVX512" adds errors in 16
    lanes. Engine and threads change nothing.

    The search assumes 256 integers (quint8, qint8) even if ``reduce_range`` or ``quant_min`` leave fewer: PyTorch's
    way. Raises ValueError when the range times ``bins`` overflows float32, where PyTorch counts every value in bin 0;
    up to 2.9 for one value beyond 2**53 alone, and in 1.13 beyond int64, where PyTorch ends in an error; up to 2.3
    where a range grows so much that PyTorch would need a terabyte.
    """

    def __init__(self, *, bins: int = 2048, machine: Machine | None = None, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.bins = _integer("bins", bins)
        if bins < 1:
            raise ValueError(f"bins is {bins}; at least 1 is needed")
        if bins >= 2**15:
            raise NotImplementedError(f"bins is {bins}; from 32768 on PyTorch's sums depend on the threads")
        if not isinstance(machine, Machine | None):
            raise TypeError(f"machine is {machine!r}; a qlearn.Machine is needed, or None for Machine.default()")
        self.machine = Machine.default() if machine is None else machine
        self.histogram: Float32Array = np.zeros(self.bins, f32)

    def __call__(self, x: Float32Array) -> Float32Array:
        """Observes x (float32, finite, any shape; an empty one changes nothing) and returns it."""
        _check_values(x)
        if not x.size:
            return x
        if self._begins():
            self._begin(x)
        elif self.machine.has(HISTOGRAM_STRETCHED):
            self._stretch(x)
        else:
            self._grow(x)
        return x

    def _begins(self) -> bool:
        """Whether the next batch counts as the first one."""
        if self._has_seen_nothing():
            return True
        width = f32(self.max_val) - f32(self.min_val)
        one_value = self.machine.has(HISTOGRAM_STRETCHED) and width == 0
        return bool(one_value or (self.machine.has(HISTOGRAM_FORGETS) and width < f32(1e-6)))

    def _begin(self, x: Float32Array) -> None:
        """The histogram of x alone."""
        self._keep(x.min(), x.max(), self._count(x, x.min(), x.max()))

    def _keep(self, low: Any, high: Any, histogram: Float32Array) -> None:
        self.min_val, self.max_val, self.histogram = np.asarray(low), np.asarray(high), histogram

    def _count(self, x: Any, low: Any, high: Any) -> Float32Array:
        if self.machine.has(HISTOGRAM_WHOLE_ENDS):
            low, high = np.trunc(low), np.trunc(high)
            if not -(2.0**63) <= low <= high < 2.0**63:
                raise ValueError(f"x widens the range to [{low}, {high}]: PyTorch 1.13 needs ends within int64")
        return _histc(x, self.bins, low, high, self.machine)

    # Since 2.5: the range grows to the extremes; thin bins go where their middles lie

    def _grow(self, x: Float32Array) -> None:
        """Adds the counts of x on the range that contains all values."""
        low, high = np.minimum(self.min_val, x.min()), np.maximum(self.max_val, x.max())
        counts = self._count(x, low, high)
        self._keep(low, high, self._moved_to(low, high, counts) + counts)

    def _moved_to(self, low: f32, high: f32, counts: Float32Array) -> Float32Array:
        """The histogram so far, on the range [low, high] that contains the range so far and has new counts."""
        if low == self.min_val and high == self.max_val:
            return self.histogram
        if self.min_val == self.max_val:
            weight = _sum(counts if self.machine.has(HISTOGRAM_WEIGHT_OF_NEW) else self.histogram, self.machine)
            return self._count(self.min_val, low, high) * weight
        # Each bin is cut into 16 thin ones, and each thin one goes where its middle lies.
        thin = np.repeat(self.histogram, 16) / f32(16)  # (16 * bins,)
        width = (self.max_val - self.min_val) / f32(16 * self.bins)
        middles = self._linspace(self.min_val, self.max_val, 16 * self.bins + 1)[:-1] + f32(0.5) * width
        bins = _upper_bound(self._linspace(low, high, self.bins + 1), middles) - 1
        moved = np.zeros(self.bins, f32)
        np.add.at(moved, np.clip(bins, 0, self.bins - 1), thin)  # one after the other, in float32
        return moved

    # Up to 2.4: the range is stretched until whole numbers of thin bins fill its bins

    def _stretch(self, x: Float32Array) -> None:
        """Adds the counts of x on a range that contains all values, or a little more."""
        low, high = np.minimum(self.min_val, x.min()), np.maximum(self.max_val, x.max())
        high, rate, shift = self._stretched(low, high)
        grows = bool(low != self.min_val or high != self.max_val)
        forgets = self.machine.has(HISTOGRAM_FORGETS)
        if grows and forgets and 4 * self.bins * rate > 1e9:
            self._begin(x)
        elif grows:
            self._keep(low, high, self._count(x, low, high) + self._gathered(rate, shift))
        elif not forgets:
            self._keep(low, high, self._count(x, low, high) + self.histogram)

    def _stretched(self, low: f32, high: f32) -> tuple[f32, int, int]:
        """The new upper end, how many thin bins make a new one, and how many lie before the range so far.

        Three ways to write one formula, which float32 rounds differently: a rate of ceil(128 * new / old) thin bins
        fills the range rate / 128 * old, and min_val is (min_val - low) / old * 128 * bins thin bins above low.
        """
        bins, thin = f32(self.bins), f32(THIN)
        old, new, before = f32(self.max_val) - f32(self.min_val), high - low, f32(self.min_val) - low
        with np.errstate(all="ignore"):
            if self.machine.has(HISTOGRAM_WHOLE_ENDS):
                width = old / (bins * thin)
                rate = np.ceil(new / (bins * width))
                filled, shift = rate * (bins * width), before / width
            elif not self.machine.has(HISTOGRAM_RATIO_FIRST):
                rate = np.ceil(new * thin / old)
                filled, shift = rate * old / thin, before * bins * thin / old
            else:
                rate = np.ceil(new / old * thin)
                filled, shift = rate / thin * old, before / old * bins * thin
            high = high + (filled - new)
        if not np.all(np.isfinite([rate, shift, high])):
            raise ValueError(f"x widens the range from {old} to {new}: their ratio overflows float32")
        return high, int(rate), int(np.rint(shift))

    def _gathered(self, rate: int, shift: int) -> Float32Array:
        """The histogram so far, each bin cut into 128, behind ``shift`` empty thin bins, ``rate`` of which make one.

        Sums are float64 from the first thin bin on; of two neighbours the lower one is rounded to float32 before their
        difference is taken. PyTorch stores bins * rate thin ones, in float32 and again in float64; here the empty ones
        take no memory.
        """
        if 12 * self.bins * rate > MEMORY:
            raise ValueError(f"x widens the range {rate / THIN:.3g}-fold: PyTorch needs {12 * self.bins * rate} bytes")
        if shift + THIN * self.bins > rate * self.bins:
            raise ValueError(
                f"x widens the range {rate / THIN}-fold: {shift} thin bins below the old one leave no room"
            )
        cumulated = np.cumsum(np.repeat(self.histogram, THIN), dtype=np.float64)
        ends = np.arange(1, self.bins + 1) * rate - shift  # (bins,) thin bins of the range so far below each edge
        below = np.where(ends > 0, cumulated[np.clip(ends, 1, cumulated.size) - 1], 0)
        rounded = np.concatenate([[0], below[:-1]]).astype(f32)
        return ((below - rounded) / THIN).astype(f32)

    def calculate_qparams(self) -> tuple[Float32Array, Int64Array]:
        """The scale (float32, shape (1,)) and zero point (int64, shape (1,)) of the range that the search chose."""
        found = self.search()
        return self._qparams(found.min_val, found.max_val)

    def bin_edges(self) -> Float32Array:
        """Where the bins begin and end (float32, shape (bins + 1,))."""
        self._require_values()
        return self._linspace(self.min_val, self.max_val, self.bins + 1)

    def search(self) -> RangeSearch:
        """Cuts outliers off at the end that costs the fewer values a bin, until the error grows.

        Both ends walk inwards over the cumulated histogram, 1e-5 of all values at a step.
        Source: ``HistogramObserver._non_linear_param_search``. Quantiles are float64, rounded to float32 to compare.
        """
        self._require_values()
        cumulated = np.cumsum(self.histogram, dtype=np.float64).astype(f32).tolist()
        total = float(_sum(self.histogram, self.machine))
        alpha, beta, step = 0.0, 1.0, 1e-5
        start, end = 0, self.bins - 1
        least = math.inf
        steps: list[tuple[int, int, float]] = []
        while alpha < beta:
            left = bisect_left(cumulated, f32((alpha + step) * total), start, end)
            right = max(start, bisect_right(cumulated, f32((beta - step) * total), start, end + 1) - 1)
            if left - start > end - right:
                candidate = left, end
                alpha += step
            else:
                candidate = start, right
                beta -= step
            if candidate == (start, end):
                continue
            error = float(_sum(self.bin_errors(*candidate), self.machine))
            steps.append((*candidate, error))
            if error > least:
                break
            least = error
            start, end = candidate
        width = (self.max_val - self.min_val) / f32(self.bins)
        min_val = self.min_val + width * f32(start)
        max_val = self.min_val + width * f32(end + 1)
        return RangeSearch(f32(min_val), f32(max_val), start, end, tuple(steps))

    def bin_errors(self, start_bin: int, end_bin: int) -> Float32Array:
        """The squared error of each bin (float32, shape (bins,)) if bins start_bin to end_bin are the range.

        A bin's values are taken as spread evenly over it. The integral of the squared distance to the middle of the
        quantized step: the part up to the end of the first step, the whole steps between, the part in the last step.
        Widths are float64, rounded to float32 where they meet an array.
        Source: ``HistogramObserver._compute_quantization_error``.
        """
        self._require_values()
        if not 0 <= start_bin <= end_bin < self.bins:
            raise ValueError(f"start_bin is {start_bin} and end_bin is {end_bin}; there are bins 0 to {self.bins - 1}")
        levels = 2**32 if self.dtype == "qint32" else 256
        width64 = (float(self.max_val) - float(self.min_val)) / self.bins
        step64 = width64 * (end_bin - start_bin + 1) / levels
        if step64 == 0.0:
            return np.zeros(self.bins, f32)
        width, step, half = f32(width64), f32(step64), f32(step64 / 2)
        errors: Float32Array
        with np.errstate(all="ignore"):  # in ranges of a few subnormals the widths are 0 and errors NaN, as in PyTorch
            begins = np.arange(-start_bin, self.bins - start_bin).astype(f32) * width  # (bins,)
            ends = begins + width
            first = np.clip(np.floor_divide(begins, step), f32(0), f32(levels - 1))
            last = np.clip(np.floor_divide(ends, step), f32(0), f32(levels - 1))
            density = self.histogram / width
            errors = density * _square_integral(begins - (first + f32(0.5)) * step, half)
            errors += (last - first - f32(1)) * (density * _square_integral(-half, half))
            errors += density * _square_integral(-half, ends - (last * step + half))
        return errors

    def _linspace(self, start: Any, stop: Any, points: int) -> Float32Array:
        return _linspace(f32(start), f32(stop), points, fused=self.machine.capability != "DEFAULT")


# ---------------------------------------------------------------------------------- PyTorch's steps, one by one


def _histc(x: Any, bins: int, low: Any, high: Any, machine: Machine) -> Float32Array:
    """How many values lie in each of the bins: truncate((x - low) * bins / (high - low)). ``torch.histc``.

    Values outside [low, high] are not counted. Where the two are equal, the extremes of x take their place. A range of
    one value is widened by 1 to each side, since 2.10 to the next float32 where that is more.
    """
    if low == high:
        low, high = np.min(x), np.max(x)
    left, right = f32(low), f32(high)
    if left == right:
        below, above = float(low) - 1, float(high) + 1
        if not machine.has(HISTC_WIDENS_BY_ONE):
            below = min(below, float(np.nextafter(left, f32(-LARGEST))))
            above = max(above, float(np.nextafter(right, f32(LARGEST))))
        if not below < above:
            raise ValueError(f"x is {low} throughout: 1 to each side of it is no range in float64")
        left, right = f32(below), f32(above)
    with np.errstate(over="ignore"):
        width = right - left
        if not np.isfinite(width * f32(bins)):
            raise ValueError(f"x widens the range to [{low}, {high}]: its width times bins={bins} overflows float32")
    if machine.has(LINSPACE_IN_VECTORS):
        right = _last_of_vectors(left, right, bins, machine)
        width = right - left
    x = np.ravel(x)
    distances = x[(x >= left) & (x <= right)] - left
    if width == 0:
        places = distances  # all in the first bin
    elif machine.has(HISTC_DIVIDES_FIRST):
        places = distances / width * f32(bins)
    else:
        places = distances * f32(bins) / width
    counts = np.bincount(np.minimum(places.astype(np.int64), bins - 1), minlength=bins)
    if counts.max() > 2**24:
        raise NotImplementedError(f"x puts {counts.max()} values in one bin: PyTorch's float32 counts end at {2**24}")
    return counts.astype(f32)


def _last_of_vectors(start: f32, stop: f32, bins: int, machine: Machine) -> f32:
    """The last of bins + 1 points of ``torch.linspace`` in 1.13: stop, unless a vector ends there.

    A vector's first point is counted down from stop, the others up from it; two vectors are taken at a time.
    """
    lanes = 16 if machine.capability == "AVX512" else 8
    if (bins + 1) % (2 * lanes):
        return stop
    step, steps = (stop - start) / f32(bins), f32(lanes - 1)
    first = stop - step * steps if machine.capability == "DEFAULT" else fma(-step, steps, stop)
    return f32(first + step * steps)


def _linspace(start: f32, stop: f32, points: int, *, fused: bool) -> Float32Array:
    """The first half counted up from start, the second down from stop. ``torch.linspace``."""
    step = (stop - start) / f32(points - 1)
    index = np.arange(points, dtype=f32)
    if fused:
        up, down = fma(step, index, start), fma(-step, index[::-1], stop)
    else:
        up, down = start + step * index, stop - step * index[::-1]
    return np.where(index < points // 2, up, down)


def _upper_bound(edges: Float32Array, values: Float32Array) -> Int64Array:
    """How many edges are <= each value, by halving, as ``torch.bucketize(right=True)`` does it.

    np.searchsorted is the same on rising edges. In a range of a few thousand subnormals linspace does not rise
    everywhere, and then the order of the comparisons decides.
    """
    low, high = np.zeros(values.shape, np.int64), np.full(values.shape, edges.size, np.int64)
    while np.any(low < high):
        middle = low + (high - low) // 2
        is_above = edges[np.minimum(middle, edges.size - 1)] > values
        searching = low < high
        low = np.where(searching & ~is_above, middle + 1, low)
        high = np.where(searching & is_above, middle, high)
    return low


def _square_integral(begin: Any, end: Any) -> Any:
    """The integral of x * x from begin to end, in float32."""
    return (end * end * end - begin * begin * begin) / f32(3)


def _sum(values: Float32Array, machine: Machine) -> f32:
    """The float32 sum of up to 32,767 values in the order of ``torch.sum``.

    Eight lanes make a vector (up to 2.0 sixteen on AVX512), four vectors a row. Rows are added 16 at a time, and the
    results again 16 at a time: partial sums of like size. What is left over comes first, then the four vectors, last
    the lanes. Fewer values than lanes are added in a single lane.
    """
    lanes = 16 if machine.capability == "AVX512" and machine.has(SUM_IN_16_LANES) else 8
    lanes = lanes if values.size >= lanes else 1
    vectors = values.size // lanes
    rows = vectors // 4
    table = values[: rows * 4 * lanes].reshape(rows, 4, lanes)
    blocks = _in_order(table[: rows // 16 * 16].reshape(-1, 16, 4, lanes), axis=1)
    groups = _in_order(blocks[: len(blocks) // 16 * 16].reshape(-1, 16, 4, lanes), axis=1)
    partial = _in_order(table[rows // 16 * 16 :]) + _in_order(blocks[len(blocks) // 16 * 16 :]) + _in_order(groups)
    whole = values[rows * 4 * lanes : vectors * lanes].reshape(-1, lanes)
    vector = _in_order(np.concatenate([partial[:1], whole, partial[1:]]))
    return f32(_in_order(np.concatenate([values[vectors * lanes :], vector])))


def _in_order(values: Float32Array, axis: int = 0) -> Float32Array:
    """A float32 sum along an axis, one value after the other from the first on."""
    if values.shape[axis] == 0:
        return np.zeros(values.shape[:axis] + values.shape[axis + 1 :], f32)
    total: Float32Array = np.take(np.add.accumulate(values, axis=axis), -1, axis=axis)
    return total


# ------------------------------------------------------------------------------------------------------- checks


def _check_values(x: object) -> None:
    if not isinstance(x, np.ndarray):
        raise TypeError(f"x is a {type(x).__name__}; a NumPy array is needed")
    if x.dtype != np.float32:
        raise TypeError(f"x has dtype {x.dtype}; float32 is needed: x.astype(np.float32)")
    bad = x.size - int(np.count_nonzero(np.isfinite(x)))
    if bad:
        raise ValueError(f"x has {bad} values that are NaN or infinite; all of its {x.size} must be finite")


def _float32(name: str, value: Any) -> Float32Array:
    array = np.asarray(value)
    if array.dtype != np.float32:
        raise TypeError(f"{name} has dtype {array.dtype}; float32 is needed")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} is {value}; it must be finite")
    return array


def _is_symmetric(qscheme: str, allowed: tuple[str, ...]) -> bool:
    if qscheme == "per_channel_affine_float_qparams":
        raise NotImplementedError("qscheme 'per_channel_affine_float_qparams' has a float zero point; not supported")
    if qscheme not in allowed:
        raise ValueError(f"qscheme is {qscheme!r}; allowed are {', '.join(map(repr, allowed))}")
    return qscheme.endswith("symmetric")


def _smallest_scale(eps: float) -> f32:
    if not 0 < _number("eps", eps) <= LARGEST or f32(eps) == 0:
        raise ValueError(f"eps is {eps}; it must be positive and finite in float32")
    return f32(eps)


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {value!r}; an integer is needed")
    return int(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is {value!r}; a number is needed")
    return float(value)
