"""PyTorch's sum of float32 numbers: which addition comes after which (Chapter 10).

A floating-point addition rounds, so the order of additions is part of the answer. PyTorch adds in a cascade: 16 terms
(more, of a long sum) make a block, 16 blocks a larger one, so that numbers of one size meet. Several such sums run side
by side, in vectors or one after another, and how many depends on where the numbers lie.

Source: ``SumKernel.cpp`` cascade_sum, ``TensorIteratorReduce.cpp`` parallel_reduce.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qlearn.machine.layout import strides_of
from qlearn.machine.machine import GRAIN

__all__ = ["cascade_sum", "multi_row_sum", "row_sum", "vector_sum"]

Floats = npt.NDArray[np.float32]
Axes = list[tuple[int, int]]  # (length, stride in elements), the fastest first

LEVELS = 4
ROWS = 4  # sums that run side by side
VECTOR = 8  # float32 numbers, on every capability: the sum has no AVX-512 version
COLUMNS = 32  # float32 numbers: threads share neighboring columns in pieces of 128 bytes


def cascade_sum(real: Floats, dims: Sequence[int], threads: int) -> Floats:
    """The sum over the axes dims, as torch.sum adds it.

    Args:
        real: float32, dense: contiguous or channels_last; not empty.
        dims: axes from 0 to ndim - 1, each once.
        threads: torch.get_num_threads(). They share 32,768 terms or more, and each share is a sum with blocks of its
            own.

    Returns:
        float32, of real's shape with length 1 along dims.
    """
    shape = tuple(1 if axis in dims else length for axis, length in enumerate(real.shape))
    reduced, kept = _axes(real, dims)
    if not reduced:
        return np.ascontiguousarray(real.sum(axis=tuple(dims), keepdims=True))  # of one number each
    parallel = threads > 1 and real.size >= GRAIN
    if parallel and not kept:
        return np.full(shape, _sum_of_all(_view(real, reduced), reduced[0][1], threads), np.float32)
    (length, step), *outer = reduced
    (columns, across), *others = kept or [(1, 0)]
    axes = [*outer[::-1], (length, step), *others[::-1], (columns, across)]
    a = _view(real, axes).reshape(-1, length, *(n for n, _ in axes[len(outer) + 1 :]))  # (outer, length, ..., columns)
    total = np.zeros((*a.shape[2:-1], columns), np.float32)
    for rows in a:
        if outer:  # one after the other is added to the result
            total += vector_sum(rows) if step == 1 and length >= VECTOR else row_sum(rows)
            continue
        for start, stop in _pieces(kept, threads) if parallel else [(0, columns)]:
            total[..., start:stop] = sum_of_columns(rows[..., start:stop], step, across)
    return total.reshape(shape)


def sum_of_columns(a: Floats, step: int, across: int) -> Floats:
    """(n, ..., columns) -> (..., columns): a sum for each column; step and across are the strides of n and columns."""
    n, columns = len(a), a.shape[-1]
    if step == 1 and n >= VECTOR:
        return vector_sum(a)
    if across == 1 and columns >= VECTOR:
        together = columns // (ROWS * VECTOR) * (ROWS * VECTOR)
    else:
        together = 0 if step < across else columns // ROWS * ROWS
    return np.concatenate([multi_row_sum(a[..., :together]), row_sum(a[..., together:])], axis=-1)


def vector_sum(a: Floats) -> Floats:
    """(n, ...) -> (...): whole vectors as ``row_sum``, what is left over one by one, then each lane of the vector."""
    vectors = len(a) // VECTOR
    lanes = row_sum(a[: vectors * VECTOR].reshape(vectors, VECTOR, *a.shape[1:]))  # (VECTOR, ...)
    return _one_by_one([*a[vectors * VECTOR :], *lanes])


def row_sum(a: Floats) -> Floats:
    """(n, ...) -> (...): four sums of every fourth term, what is left over added to the first, then the other three."""
    whole = len(a) // ROWS
    first, *others = multi_row_sum(a[: whole * ROWS].reshape(whole, ROWS, *a.shape[1:]))
    return _one_by_one([first, *a[whole * ROWS :], *others])


def multi_row_sum(a: Floats) -> Floats:
    """(n, ...) -> (...): the cascade. Terms go to blocks of 2**power, blocks to larger blocks, four levels in all."""
    power = max(4, _ceil_log2(len(a)) // LEVELS)
    blocks, size = len(a) >> power, 1 << power
    sums = _one_by_one(np.moveaxis(a[: blocks * size].reshape(blocks, size, *a.shape[1:]), 1, 0))
    levels = [np.zeros(a.shape[1:], np.float32) for _ in range(LEVELS)]
    for done, block in enumerate(sums, start=1):
        levels[1] = levels[1] + block
        for level in range(2, LEVELS):
            if done % (1 << power * (level - 1)):
                break
            levels[level] = levels[level] + levels[level - 1]
            levels[level - 1] = np.zeros_like(block)
    levels[0] = _one_by_one([levels[0], *a[blocks * size :]])
    return _one_by_one(levels)


def _one_by_one(terms: Sequence[Floats] | Floats) -> Floats:
    """0 + terms[0] + terms[1] + ..., each addition rounded to float32."""
    total: Floats = np.zeros_like(terms[0])
    for term in terms:
        total = total + term
    return total


def _sum_of_all(flat: Floats, step: int, threads: int) -> Floats:
    """Of numbers in one row (n,): each thread's share, then the shares of all threads, 0 for one that has none."""
    shares = np.zeros((threads, 1), np.float32)
    for i, (start, stop) in enumerate(_shares(len(flat), threads, GRAIN)):
        shares[i] = sum_of_columns(flat[start:stop, None], step, 0)
    total: Floats = sum_of_columns(shares, 1, 0)
    return total


def _pieces(kept: Axes, threads: int) -> list[tuple[int, int]]:
    """Where threads cut the columns, the first of the kept axes: the outermost axis that is long enough is shared."""
    best = len(kept) - 1
    for axis in range(best, -1, -1):
        if kept[axis][0] >= threads:
            best = axis
            break
        if kept[axis][0] > kept[best][0]:
            best = axis
    columns, across = kept[0]
    if best != 0:
        return [(0, columns)]
    shares = _shares(columns, threads, 1)
    if across != 1:
        return shares
    rounded = [(start - start % COLUMNS, stop if stop == columns else stop - stop % COLUMNS) for start, stop in shares]
    return [(start, stop) for start, stop in rounded if start < stop]


def _shares(n: int, threads: int, grain: int) -> list[tuple[int, int]]:
    """The parts of n that threads take, at least grain each but for the last: ``ParallelOpenMP.h``."""
    share = -(-n // min(threads, -(-n // grain)))
    return [(start, min(start + share, n)) for start in range(0, n, share)]


def _axes(real: Floats, dims: Sequence[int]) -> tuple[Axes, Axes]:
    """The axes that are added up and those that stay, as TensorIterator visits them: sorted and merged.

    The former are sorted by their strides; the latter stand in the result's order, the last axis first.
    """
    long = list(zip(real.shape, strides_of(real), strict=True))
    inner_to_outer = sorted(dims, key=lambda axis: long[axis][1])
    kept = [axis for axis in reversed(range(real.ndim)) if axis not in dims]
    reduced, stay = ([long[axis] for axis in axes if long[axis][0] > 1] for axes in (inner_to_outer, kept))
    return _merged(reduced), _merged(stay)


def _merged(axes: Axes) -> Axes:
    """Those that lie behind one another in memory as one."""
    found: Axes = []
    for length, stride in axes:
        if found and found[-1][0] * found[-1][1] == stride:
            found[-1] = found[-1][0] * length, found[-1][1]
        else:
            found.append((length, stride))
    return found


def _view(real: Floats, axes: Axes) -> Floats:
    """The numbers along these axes, in this order."""
    shape, strides = ([each[i] for each in axes] for i in (0, 1))
    return np.lib.stride_tricks.as_strided(real, shape, [stride * real.itemsize for stride in strides])


def _ceil_log2(n: int) -> int:
    return 1 if n <= 2 else (n - 1).bit_length()
