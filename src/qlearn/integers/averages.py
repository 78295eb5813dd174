"""Which form of an average each element of a pool's result takes (Chapter 9, Integers only).

Windows at the edges see fewer pixels, or divide by another number; the channels of whole vectors are computed in
another way than those left over. Each such kind is an ``Average`` of ``qlearn.integers.pools``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.integers import pools
from qlearn.integers.accumulators import Codes
from qlearn.layers.pooling import EIGHT, VECTOR, adaptive_spans, geometry, regular_spans
from qlearn.machine.layout import dense_strides, has_strides, is_channels_last
from qlearn.machine.machine import BODY, TAIL, Machine

__all__ = ["Averages", "of_mean", "of_pool"]

Ints = npt.NDArray[np.int64]


class Averages(NamedTuple):
    """The kinds of average in a result, the kind of each element (broadcasts), and the windows along x's axes."""

    kinds: tuple[pools.Average, ...]
    which: Ints
    windows: tuple[Ints | None, ...]


def of_pool(op: str, x: QTensor, codes: Codes, out: QTensor, settings: Mapping[str, Any], machine: Machine) -> Averages:
    """Of avg_pool2d and adaptive_avg_pool2d.

    Raises:
        NotImplementedError: a window that sees padding alone.
    """
    adaptive, lengths, sizes = op == "adaptive_avg_pool2d", x.shape[-2:], out.shape[-2:]
    margins: tuple[int, ...] = (0, 0)
    if adaptive:
        spans = [adaptive_spans(*where) for where in zip(lengths, sizes, strict=True)]
    else:
        where = settings["kernel_size"], settings.get("stride"), settings.get("padding", 0)
        kernel, stride, padding, _ = geometry(x, *where, 1)
        spans = [regular_spans(*where) for where in zip(sizes, kernel, stride, padding, strict=True)]
        if settings.get("count_include_pad", True):
            margins = padding
    windows = [np.clip(span, 0, n) for span, n in zip(spans, lengths, strict=True)]
    if min(int(counts(window).min()) for window in windows) < 1:
        raise NotImplementedError("a window sees padding alone")
    seen = [counts(window) for window in windows]
    counted = [counts(np.clip(span, -m, n + m)) for span, m, n in zip(spans, margins, lengths, strict=True)]
    last = is_channels_last(x.int_repr())
    qnnpack = machine.engine == "qnnpack" and not settings.get("ceil_mode")
    if adaptive:
        whole = all(n % size == 0 for n, size in zip(lengths, sizes, strict=True))
        qnnpack = qnnpack and lengths != sizes and whole
    vector = (EIGHT if machine.capability != "DEFAULT" else 0) if adaptive else VECTOR[machine.capability]
    whole_vectors = x.shape[-3] // vector * vector if vector and last and not qnnpack else 0
    path = np.where(np.arange(x.shape[-3]) < whole_vectors, BODY, TAIL)
    others = Machine("fbgemm", machine.capability, machine.threads, machine.vnni, machine.release)

    def kind(rows: int, columns: int, n: int, path: int) -> pools.Average:
        if qnnpack:
            pixels = rows * columns if adaptive else kernel[0] * kernel[1]
            return pools.avg_pool2d(codes, pixels, pixels, path, machine, channels_last=last)
        if adaptive:
            return pools.adaptive_avg_pool2d(codes, (rows, columns), path, others, channels_last=last)
        divisor = settings.get("divisor_override")
        return pools.avg_pool2d(codes, divisor or n, rows * columns, path, others, channels_last=last)

    keys = np.stack(
        np.broadcast_arrays(
            *(seen[0][:, None], seen[1], counted[0][:, None] * counted[1], path[:, None, None]),
        ),
        axis=-1,
    )  # (C, H_out, W_out, 4)
    each, which = np.unique(keys.reshape(-1, 4), axis=0, return_inverse=True)
    which = which.reshape((1,) * (x.ndim - 3) + keys.shape[:-1])
    return Averages(tuple(kind(*key) for key in each.tolist()), which, (*[None] * (x.ndim - 2), *windows))


def of_mean(x: QTensor, codes: Codes, out: QTensor, settings: Mapping[str, Any], machine: Machine) -> Averages:
    """Of mean.

    Raises:
        NotImplementedError: as ``pools.mean``.
    """
    given = settings.get("dim")
    dims = tuple(given) if isinstance(given, Sequence) else () if given is None else (given,)
    axes = sorted(axis % x.ndim for axis in dims) or list(range(x.ndim))
    n = int(np.prod([x.shape[axis] for axis in axes]))
    if machine.engine == "qnnpack" and x.ndim == 4 and dims == (2, 3):
        kind = pools.avg_pool2d(codes, n, n, TAIL, machine, channels_last=False)
    else:
        last = axes == list(range(x.ndim - len(axes), x.ndim))
        inner = last and has_strides(x.int_repr(), dense_strides(x.shape))
        kind = pools.mean(codes, n, machine, inner=inner)
    windows = tuple(np.array([[0, length]]) if axis in axes else None for axis, length in enumerate(x.shape))
    return Averages((kind,), np.zeros((1,) * out.ndim, np.int64), windows)


def counts(window: Ints) -> Ints:
    """How many indices each window has."""
    return np.asarray(window[:, 1] - window[:, 0])
