"""In which order an element-wise kernel visits the elements of tensors with any strides (Chapter 8, The last bit).

PyTorch's TensorIterator sorts the axes by their strides, merges those that lie behind one another in memory, and calls
the kernel for one row after the other. Only a row whose elements are neighbors in memory is computed in vectors. Here
are the axes from the innermost to the outermost, and the rows. Strides count elements; the result's come first.

Source: ``ATen/TensorIterator.cpp`` reorder_dimensions, coalesce_dimensions, fast_set_up; ``native/cpu/Loops.h``.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.machine.layout import dense_strides, strides_of

__all__ = ["as_visited", "broadcast_strides", "inner_to_outer", "row_length", "rows_are_vectors"]

Shape = Sequence[int]
Strides = Sequence[int]


def broadcast_strides(array: npt.NDArray[Any], shape: Shape) -> tuple[int, ...]:
    """The strides of array when it is read as one of the given shape: 0 along an axis that is repeated."""
    missing = len(shape) - array.ndim
    own = zip(array.shape, shape[missing:], strides_of(array), strict=True)
    return (0,) * missing + tuple(0 if length == 1 != wanted else stride for length, wanted, stride in own)


def inner_to_outer(shape: Shape, operands: Sequence[Strides]) -> list[int]:
    """The axes in the order they are visited, the fastest first: by stride, the first operand that tells decides.

    An insertion sort, as the comparison is no total order: a repeated axis (stride 0) compares equal to every other.
    """
    order = list(range(len(shape) - 1, -1, -1))
    for i in range(1, len(order)):
        place = i
        for before in range(i - 1, -1, -1):
            comparison = _compare(order[before], order[place], shape, operands)
            if comparison > 0:
                order[before], order[place] = order[place], order[before]
                place = before
            elif comparison < 0:
                break
    return order


def _compare(axis: int, other: int, shape: Shape, operands: Sequence[Strides]) -> int:
    """-1 if axis is visited faster than other, 1 if slower, 0 if no operand tells."""
    for strides in operands:
        if 0 in (strides[axis], strides[other]):
            continue
        if strides[axis] != strides[other]:
            return -1 if strides[axis] < strides[other] else 1
        if shape[axis] > shape[other]:
            return 1
    return 0


def row_length(shape: Shape, operands: Sequence[Strides], order: Sequence[int]) -> int:
    """The number of elements that the innermost loop visits, after neighboring axes have been merged."""
    return _innermost(shape, operands, order)[0]


def rows_are_vectors(shape: Shape, operands: Sequence[Strides], order: Sequence[int]) -> bool:
    """Whether the innermost loop runs in vectors: all strides are 1, but for at most one input that is repeated."""
    result, *inputs = _innermost(shape, operands, order)[1]
    return result == 1 and sorted(inputs) in ([0] + [1] * (len(inputs) - 1), [1] * len(inputs))


def _innermost(shape: Shape, operands: Sequence[Strides], order: Sequence[int]) -> tuple[int, list[int]]:
    """Length of the innermost loop, and the stride of each operand in it."""
    if _in_one_row(shape, operands):
        return prod(shape), [1] * len(operands)
    inner, *outer = order
    length, steps = shape[inner], [strides[inner] for strides in operands]
    for axis in outer:
        next_steps = [strides[axis] for strides in operands]
        if length == 1:
            steps = next_steps
        elif shape[axis] != 1 and next_steps != [length * step for step in steps]:
            break
        length *= shape[axis]
    return length, steps


def _in_one_row(shape: Shape, operands: Sequence[Strides]) -> bool:
    """Whether all operands are contiguous, or all channels_last: then they are read as one dimension."""
    formats = [dense_strides(shape)]
    if len(shape) in (4, 5):
        formats.append(dense_strides(shape, channels_last=True))
    long = [axis for axis, length in enumerate(shape) if length != 1]
    return any(all(strides[axis] == dense[axis] for strides in operands for axis in long) for dense in formats)


def as_visited(values: npt.NDArray[Any], shape: Shape, order: Sequence[int]) -> npt.NDArray[Any]:
    """Values in visiting order, shape (n,), as an array of the given shape."""
    outer_to_inner = list(reversed(order))
    return values.reshape([shape[axis] for axis in outer_to_inner]).transpose(np.argsort(outer_to_inner))
