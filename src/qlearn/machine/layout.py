"""Where the elements of an array lie in memory, by PyTorch's rules (Chapter 8, The last bit).

Strides count elements, not bytes. Two arrays with equal elements can take different paths through a kernel, and so
give different integers, because their elements lie in another order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "channels_to_first",
    "channels_to_last",
    "dense_strides",
    "from_memory_order",
    "has_strides",
    "in_memory_order",
    "is_channels_last",
    "laid_out",
    "like_channels_last",
    "made_contiguous",
    "new_strides",
    "strides_in_order",
    "strides_of",
    "with_strides",
]

Array = npt.NDArray[Any]


def strides_of(array: Array) -> tuple[int, ...]:
    """The strides of array, in elements."""
    return tuple(stride // array.itemsize for stride in array.strides)


def channels_to_last(array: Array) -> Array:
    """(N, C, ...) -> (N, ..., C), a view."""
    return array.transpose(0, *range(2, array.ndim), 1)


def channels_to_first(array: Array) -> Array:
    """(N, ..., C) -> (N, C, ...), a view."""
    return array.transpose(0, array.ndim - 1, *range(1, array.ndim - 1))


def laid_out(array: Array, strides: Sequence[int]) -> Array:
    """A copy of array with the given non-negative strides, in elements."""
    extent = 1 + sum((length - 1) * stride for length, stride in zip(array.shape, strides, strict=True))
    buffer = np.empty(max(extent, 1), dtype=array.dtype)
    copy = with_strides(buffer, array.shape, strides)
    copy[...] = array
    return copy


def new_strides(array: Array) -> tuple[int, ...]:
    """The strides, in elements, of a new tensor that PyTorch makes like array: channels_last if array is."""
    return dense_strides(array.shape, channels_last=like_channels_last(array))


def dense_strides(shape: Sequence[int], *, channels_last: bool = False) -> tuple[int, ...]:
    """The strides, in elements, of a tensor without gaps: contiguous, or channels_last for 4 or 5 dimensions."""
    inner_to_outer = list(range(len(shape) - 1, -1, -1))
    if channels_last:
        inner_to_outer = [1, *range(len(shape) - 1, 1, -1), 0]  # C, then W, H, (D), then N
    return strides_in_order(shape, inner_to_outer)


def strides_in_order(shape: Sequence[int], inner_to_outer: Sequence[int]) -> tuple[int, ...]:
    """The strides, in elements, of a tensor without gaps whose axes lie in this order, the fastest first."""
    strides = [0] * len(shape)
    step = 1
    for axis in inner_to_outer:
        strides[axis] = step
        step *= max(shape[axis], 1)
    return tuple(strides)


def like_channels_last(array: Array) -> bool:
    """Whether PyTorch takes 4 or 5 dimensions for channels_last: c10 ``MemoryFormat.h`` is_channels_last_strides."""
    if array.ndim not in (4, 5) or array.size == 0 or array.strides[1] == 0:
        return False
    smallest = 0
    for axis in (1, *range(array.ndim - 1, 1, -1), 0):  # C, then W, H, (D), then N
        stride = array.strides[axis]
        if stride < smallest or (axis == 0 and smallest == array.strides[1]):
            return False
        smallest = stride * array.shape[axis]
    return True


def is_channels_last(array: Array) -> bool:
    """Whether 4 dimensions lie dense as channels_last; with one channel, or one pixel, an array may do so in two ways.

    The same as ``is_contiguous(memory_format=torch.channels_last)``: c10 ``Contiguity.h``.
    """
    if array.ndim != 4:
        return False
    expected = 1
    for axis in (1, 3, 2, 0):  # C, W, H, N
        if array.shape[axis] != 1:
            if array.strides[axis] != expected * array.itemsize:
                return False
            expected *= array.shape[axis]
    return True


def has_strides(array: Array, strides: Sequence[int]) -> bool:
    """Whether array has the given strides, in elements; an axis of length 1 may have any."""
    ours = zip(array.shape, strides_of(array), strides, strict=True)
    return array.size == 0 or all(length == 1 or mine == theirs for length, mine, theirs in ours)


def made_contiguous(array: Array, *, channels_last: bool = False) -> Array:
    """PyTorch's ``contiguous``: array itself if it lies dense in that format, else a copy that does.

    So an array with one pixel keeps the strides of channels_last when it is made contiguous: it is both.
    """
    strides = dense_strides(array.shape, channels_last=channels_last)
    dense = is_channels_last(array) if channels_last else has_strides(array, strides)
    return array if dense else laid_out(array, strides)


def in_memory_order(array: Array, strides: Sequence[int] | None = None) -> Array:
    """The elements of a dense array, shape (size,), in the order they lie in memory, or would with other strides."""
    strides = strides_of(array) if strides is None else strides
    outer_to_inner = sorted(range(array.ndim), key=lambda axis: -strides[axis])
    return array.transpose(outer_to_inner).reshape(-1)


def with_strides(flat: Array, shape: Sequence[int], strides: Sequence[int]) -> Array:
    """Elements in memory order, shape (size,), as a tensor without gaps of the given strides, in elements."""
    return np.ndarray(shape, flat.dtype, flat, 0, [stride * flat.itemsize for stride in strides])


def from_memory_order(flat: Array, like: Array) -> Array:
    """Elements in memory order, shape (like.size,), as a new tensor laid out as ``new_strides(like)``."""
    return with_strides(flat, like.shape, new_strides(like))
