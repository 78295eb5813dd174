"""Which accumulators a layer's channels can reach, from its weights and the codes that come (Chapter 9).

A form has to be right for these alone, and a channel with small weights reaches few. Where 16 bits saturate, two
products at a time, the sums that are left are what reaches the rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.layers.conv import even
from qlearn.layers.linear import even_halves, w_zero_points
from qlearn.layers.windows import Geometry, matrices
from qlearn.machine.machine import Machine

__all__ = ["Accumulators", "Codes", "of_convolution", "of_linear"]

Ints = npt.NDArray[np.int64]
INT16 = np.iinfo(np.int16)
INT32 = np.iinfo(np.int32)


class Codes(NamedTuple):
    """The quint8 codes that a layer may get: their parameters, the least and the largest."""

    scale: float
    zero_point: int
    least: int = 0
    most: int = 255


@dataclass(frozen=True, eq=False)
class Accumulators:
    """What the channels of a layer sum up (Chapter 9).

    Args:
        weight: int8 codes (K, C): neighbouring rows share 16 bits where ``pairs`` says so.
        zero_points: of the weight, (C,).
        x: the codes that come.
        pairs: which neighbouring products are clamped to 16 bits together, as ``layers.kernels.Kernel`` has it, or
            "features" of a linear layer; "" for exact sums.
        padded: whether a window may see padding.
    """

    weight: npt.NDArray[np.int8]
    zero_points: Ints
    x: Codes
    pairs: str
    padded: bool

    def reach(self) -> tuple[Ints, Ints]:
        """The least and the largest accumulator of each channel, (C,) each: all that come lie between them.

        They come themselves, but where padding is seen, or weights that saturate have a zero point.

        Raises:
            NotImplementedError: one leaves int32.
        """
        low, high = self._of_pairs() if self.pairs else self._exact()
        for end in (int(low.min(initial=0)), int(high.max(initial=0))):
            if not INT32.min <= end <= INT32.max:
                raise NotImplementedError(f"weight and x must not reach accumulators beyond int32, got {end}")
        return low, high

    def _differences(self) -> tuple[int, int]:
        """The least and the largest x - x_zero_point; 0 in the padding."""
        low, high = self.x.least - self.x.zero_point, self.x.most - self.x.zero_point
        return (min(low, 0), max(high, 0)) if self.padded else (low, high)

    def _exact(self) -> tuple[Ints, Ints]:
        w = self.weight.astype(np.int64) - self.zero_points
        low, high = self._differences()
        up, down = np.maximum(w, 0).sum(axis=0), np.minimum(w, 0).sum(axis=0)
        return up * low + down * high, up * high + down * low

    def _of_pairs(self) -> tuple[Ints, Ints]:
        """The sums of the least and of the largest that each pair gives.

        A pair gives clamp(x_0 w_0 + x_1 w_1), less what the zero points put in. FBGEMM's padding has x's zero point as
        any code; oneDNN's counts for nothing.
        """
        odd = len(self.weight) % 2
        w, centered = (
            np.pad(a, ((0, odd), (0, 0))).reshape(-1, 2, a.shape[1])  # (P, 2, C)
            for a in (self.weight.astype(np.int64), self.weight - self.zero_points)
        )
        z, least, most = self.x.zero_point, self.x.least, self.x.most
        if self.padded and self.pairs == "taps":
            least, most = min(least, z), max(most, z)
        a, b = w * least, w * most
        low, high = np.minimum(a, b).sum(axis=1), np.maximum(a, b).sum(axis=1)  # (P, C)
        saturates = (low < INT16.min) | (high > INT16.max)
        offset = z * w.sum(axis=1)
        low, high = (np.clip(end, INT16.min, INT16.max) - offset for end in (low, high))
        shift = self.zero_points * (2 * np.array([[least - z], [most - z]]))  # (2, C): what weights' zero points take
        low, high = low - shift.max(axis=0), high - shift.min(axis=0)
        a, b = centered * (least - z), centered * (most - z)
        each_low, each_high = np.minimum(a, b), np.maximum(a, b)  # (P, 2, C)
        low = np.where(saturates, low, each_low.sum(axis=1))
        high = np.where(saturates, high, each_high.sum(axis=1))
        if self.padded and self.pairs != "taps":
            alone = self.pairs == "taps inside"  # one tap of a pair may see padding, or both
            low = np.minimum(low, np.minimum(each_low.min(axis=1) if alone else 0, 0))
            high = np.maximum(high, np.maximum(each_high.max(axis=1) if alone else 0, 0))
        return low.sum(axis=0), high.sum(axis=0)


def of_linear(machine: Machine, weight: QTensor, x: Codes) -> Accumulators:
    """Those of a linear layer."""
    w = weight.int_repr().T  # (K, M)
    pairs = "" if machine.vnni or machine.engine == "qnnpack" else "features"
    if pairs and machine.engine == "onednn" and not machine.avx512:
        w = even_halves(w, 0)
    return Accumulators(w, _zero_points(weight), x, pairs, padded=False)


def of_convolution(weight: QTensor, g: Geometry, pairs: str, x: Codes) -> Accumulators:
    """Those of a convolution, whose kernel pairs products as ``layers.kernels.Kernel`` says."""
    w = even(weight.int_repr(), 1) if pairs == "channels" else weight.int_repr()
    rows: npt.NDArray[Any] = np.moveaxis(matrices(w, g.groups), 0, 1)  # (K, G, M / G)
    return Accumulators(rows.reshape(len(rows), -1), _zero_points(weight), x, pairs, padded=max(g.padding) > 0)


def _zero_points(weight: QTensor) -> Ints:
    return np.broadcast_to(w_zero_points(weight).astype(np.int64), weight.shape[:1])
