"""The same codes in another shape: flatten, reshape, permute, split, channel_shuffle (Chapter 10).

No integer changes here, but where it lies in memory does, and that decides which path of the next kernel computes it.
So strides are PyTorch's, those of axes of length 1 too: a tensor with one pixel can be channels_last or not by them.
"""

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.elementwise.sums_and_products import check_per_tensor
from qlearn.machine.layout import dense_strides, laid_out, like_channels_last, made_contiguous

__all__ = [
    "axes_of",
    "channel_shuffle",
    "chunk",
    "contiguous",
    "flatten",
    "getitem",
    "permute",
    "reshape",
    "split",
    "squeeze",
    "transpose",
    "unsqueeze",
    "view",
]

Codes = npt.NDArray[Any]
Shape = tuple[int, ...]


def reshape(x: QTensor, shape: Sequence[int]) -> QTensor:
    """torch.reshape: x's strides where they allow the new shape, a contiguous copy where they do not (Chapter 10).

    Source: ``TensorShape.cpp`` reshape, ``TensorUtils.cpp`` computeStride.

    Args:
        x: a per-tensor QTensor of any shape and strides.
        shape: as many elements as x has; one length may be -1, to be found.

    Raises:
        TypeError: x is not a QTensor, shape is not integers.
        ValueError: x is per channel, or shape does not hold its elements.
    """
    check_per_tensor("x", x)
    wanted = _wanted(shape, x.size)
    strides = _view_strides(x, wanted)
    if strides is None:
        return _like(x, np.ascontiguousarray(x.int_repr()).reshape(wanted))
    return _like(x, _strided(x.int_repr(), wanted, strides))


def view(x: QTensor, shape: Sequence[int]) -> QTensor:
    """x.view(shape): ``reshape``, where x's strides allow the new shape without a copy (Chapter 10).

    Raises:
        TypeError: as ``reshape``.
        ValueError: as ``reshape``, and where it would have to copy.
    """
    reshaped = reshape(x, shape)
    if _view_strides(x, reshaped.shape) is None:
        raise ValueError(f"x of shape {x.shape} and strides {x.strides} has no view of shape {reshaped.shape}: reshape")
    return reshaped


def flatten(x: QTensor, start_dim: int = 0, end_dim: int = -1) -> QTensor:
    """torch.flatten: the axes from start_dim to end_dim as one, in their order, by ``reshape`` (Chapter 10).

    Raises:
        TypeError: x is not a QTensor, an axis not an integer.
        ValueError: x is per channel, an axis is out of range or start_dim after end_dim.
    """
    check_per_tensor("x", x)
    start, end = _axis("start_dim", start_dim, max(x.ndim, 1)), _axis("end_dim", end_dim, max(x.ndim, 1))
    if start > end:
        raise ValueError(f"start_dim must not come after end_dim, got {start_dim} and {end_dim}")
    if x.ndim and start == end:
        return x
    return reshape(x, (*x.shape[:start], prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def permute(x: QTensor, dims: Sequence[int]) -> QTensor:
    """torch.permute: the axes in another order, as a view (Chapter 10).

    Raises:
        TypeError: x is not a QTensor, dims are not integers.
        ValueError: x is per channel, dims are not each axis once.
    """
    check_per_tensor("x", x)
    order = axes_of("dims", dims, x.ndim)
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"dims must name each of the {x.ndim} axes once, got {tuple(dims)}")
    return _like(x, x.int_repr().transpose(order))


def transpose(x: QTensor, dim0: int, dim1: int) -> QTensor:
    """torch.transpose: two axes exchanged, as a view (Chapter 10).

    Raises:
        TypeError, ValueError: as ``permute``.
    """
    check_per_tensor("x", x)
    axes = (_axis("dim0", dim0, max(x.ndim, 1)), _axis("dim1", dim1, max(x.ndim, 1)))
    return _like(x, x.int_repr().swapaxes(*axes) if x.ndim else x.int_repr())


def squeeze(x: QTensor, dim: int | Sequence[int] | None = None) -> QTensor:
    """torch.squeeze: without the axes of length 1, all of them or those named (Chapter 10).

    Raises:
        TypeError, ValueError: as ``flatten``.
    """
    check_per_tensor("x", x)
    named = list(range(x.ndim))
    if dim is not None:
        named = axes_of("dim", dim if isinstance(dim, Sequence) else (dim,), max(x.ndim, 1))
    return _like(x, x.int_repr().squeeze(tuple(d for d in named if d < x.ndim and x.shape[d] == 1)))


def unsqueeze(x: QTensor, dim: int) -> QTensor:
    """torch.unsqueeze: a new axis of length 1 before axis dim, with the stride that steps over that axis (Chapter 10).

    Raises:
        TypeError, ValueError: as ``flatten``, for -ndim - 1 <= dim <= ndim.
    """
    check_per_tensor("x", x)
    axis = _axis("dim", dim, x.ndim + 1)
    step = x.shape[axis] * x.strides[axis] if axis < x.ndim else 1
    shape, strides = ((*t[:axis], new, *t[axis:]) for t, new in ((x.shape, 1), (x.strides, step)))
    return _like(x, _strided(x.int_repr(), shape, strides))


def split(x: QTensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> list[QTensor]:
    """torch.split: views of so many indices each, the last of what is left; or of the given numbers (Chapter 10).

    Raises:
        TypeError: x is not a QTensor, a number is not an integer.
        ValueError: x is per channel or has no dimensions, dim is out of range, numbers that do not add up to x's
            length along dim, or a size below 1.
    """
    check_per_tensor("x", x)
    axis = _axis("dim", dim, x.ndim)
    length = x.shape[axis]
    if isinstance(split_size_or_sections, Sequence):
        sections = _integers("split_size_or_sections", split_size_or_sections)
        if sum(sections) != length or min(sections, default=0) < 0:
            raise ValueError(f"split_size_or_sections must add up to x's length along dim, {length}, got {sections}")
    else:
        (size,) = _integers("split_size_or_sections", [split_size_or_sections])
        if size < 1:
            raise ValueError(f"split_size_or_sections must be at least 1, got {size}")
        sections = [min(size, length - start) for start in range(0, length, size)] or [0]
    stops = np.cumsum(sections).tolist()
    parts = [slice(stop - n, stop) for n, stop in zip(sections, stops, strict=True)]
    return [_like(x, x.int_repr()[(slice(None),) * axis + (part,)]) for part in parts]


def chunk(x: QTensor, chunks: int, dim: int = 0) -> list[QTensor]:
    """torch.chunk: ``split`` in ceil(length / chunks) indices each, which may give fewer than chunks (Chapter 10).

    Raises:
        TypeError, ValueError: as ``split``; chunks is below 1.
    """
    check_per_tensor("x", x)
    (count,) = _integers("chunks", [chunks])
    if count < 1:
        raise ValueError(f"chunks must be at least 1, got {chunks}")
    length = x.shape[_axis("dim", dim, x.ndim)]
    return split(x, -(-length // count) if length else [0] * count, dim)


def getitem(x: QTensor, index: Any) -> QTensor:
    """x[index] of integers, slices with positive steps and one ..., as a view (Chapter 10).

    Raises:
        TypeError: x is not a QTensor.
        NotImplementedError: index holds anything else.
        ValueError: x is per channel, an integer is out of range, too many indices, or a step below 1.
    """
    check_per_tensor("x", x)
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if isinstance(part, bool) or not (part is ... or isinstance(part, int | np.integer | slice)):
            raise NotImplementedError(f"index must be of integers, slices and ..., got {part!r}")
        if isinstance(part, slice) and part.step is not None and part.step < 1:
            raise ValueError(f"index must have positive steps, got {part}")
    try:
        return _like(x, np.asarray(x.int_repr()[parts]))
    except IndexError as error:
        raise ValueError(f"index must fit x's shape {x.shape}: {error}") from None


def contiguous(x: QTensor, memory_format: str = "contiguous_format") -> QTensor:
    """x.contiguous(memory_format): x itself if it lies so already, a copy that does otherwise (Chapter 10).

    Args:
        x: a per-tensor QTensor.
        memory_format: "contiguous_format", or of four dimensions "channels_last".

    Raises:
        TypeError: x is not a QTensor.
        ValueError: x is per channel, or has other dimensions; memory_format is none of these.
    """
    check_per_tensor("x", x)
    if memory_format not in ("contiguous_format", "channels_last"):
        raise ValueError(f"memory_format must be contiguous_format or channels_last, got {memory_format!r}")
    last = memory_format == "channels_last"
    if last and x.ndim != 4:
        raise ValueError(f"x must have 4 dimensions to be channels_last, got shape {x.shape}")
    return _like(x, made_contiguous(x.int_repr(), channels_last=last))


def channel_shuffle(x: QTensor, groups: int) -> QTensor:
    """torch.channel_shuffle: the channels dealt out over the groups, one of each in turn (Chapter 11, MobileNetV2).

    Channel g * (C / groups) + k becomes k * groups + g. On every engine QNNPACK's kernel does it. Source:
    ``ChannelShuffle.cpp`` quantized_channel_shuffle_impl.

    Args:
        x: a per-tensor quint8 QTensor (N, C, H, W).
        groups: a divisor of C.

    Returns:
        A QTensor of x's shape, channels_last if x is, contiguous otherwise.

    Raises:
        TypeError: x is not a QTensor, groups not an integer.
        ValueError: x is per channel, of another dtype or of other dimensions, groups do not divide its channels.
    """
    check_per_tensor("x", x)
    (count,) = _integers("groups", [groups])
    if x.dtype != "quint8":
        raise ValueError(f"x must be quint8, got {x.dtype}")
    if x.ndim != 4:
        raise ValueError(f"x must have 4 dimensions, N, C, H and W, got shape {x.shape}")
    if count < 1 or x.shape[1] == 0 or x.shape[1] % count:
        raise ValueError(f"groups must divide the channels of x, {x.shape[1]}, got {groups}")
    n, channels, h, w = x.shape
    grouped = np.ascontiguousarray(x.int_repr()).reshape(n, count, channels // count, h, w)
    shuffled = laid_out(grouped.swapaxes(1, 2).reshape(x.shape), dense_strides(x.shape, channels_last=True))
    return _like(x, made_contiguous(shuffled, channels_last=like_channels_last(x.int_repr())))


def _view_strides(x: QTensor, shape: Shape) -> Shape | None:
    """The strides with which x's memory can be read in another shape, or None.

    Axes that lie behind one another in memory are a chunk. Each new axis must lie within one chunk.
    """
    if x.size == 0:
        return x.strides if x.shape == shape else dense_strides(shape)
    strides: list[int] = []
    left = list(shape)
    for length, step in _chunks(x.shape, x.strides):
        taken = 1
        while left and (taken < length or left[-1] == 1):
            strides.append(taken * step)
            taken *= left.pop()
        if taken != length:
            return None
    return tuple(reversed(strides))


def _chunks(shape: Shape, strides: Shape) -> list[tuple[int, int]]:
    """(number of elements, stride) of the axes that can be read as one, the innermost first."""
    if not shape:
        return [(1, 1)]
    found: list[tuple[int, int]] = []
    length, step = 1, strides[-1]
    for axis in range(len(shape) - 1, -1, -1):
        length *= shape[axis]
        if axis == 0 or (shape[axis - 1] != 1 and strides[axis - 1] != length * step):
            found.append((length, step))
            length, step = 1, strides[axis - 1]
    return found


def _wanted(shape: Any, size: int) -> Shape:
    """The shape, with -1 found."""
    lengths = _integers("shape", shape)
    known = prod(n for n in lengths if n != -1)
    if lengths.count(-1) == 1 and known > 0 and size % known == 0:
        lengths = [size // known if n == -1 else n for n in lengths]
    if min(lengths, default=0) < 0 or prod(lengths) != size:
        raise ValueError(f"shape must hold x's {size} elements, got {tuple(shape)}")
    return tuple(lengths)


def _integers(name: str, values: Any) -> list[int]:
    try:
        if any(isinstance(value, bool) for value in values):
            raise TypeError
        return [operator.index(value) for value in values]
    except TypeError:
        raise TypeError(f"{name} must be integers, got {values!r}") from None


def _axis(name: str, dim: Any, ndim: int) -> int:
    return axes_of(name, [dim], ndim)[0]


def axes_of(name: str, dims: Sequence[int], ndim: int) -> list[int]:
    """Axes from 0 to ndim - 1, of integers that may count from the end, or an error that names the argument."""
    axes = _integers(name, dims)
    for axis in axes:
        if not -ndim <= axis < ndim:
            raise ValueError(f"{name} must be in [{-ndim}, {ndim}), got {axis}")
    return [axis % ndim for axis in axes]


def _strided(codes: Codes, shape: Shape, strides: Shape) -> Codes:
    return np.lib.stride_tricks.as_strided(codes, shape, [step * codes.itemsize for step in strides], writeable=False)


def _like(x: QTensor, codes: Codes) -> QTensor:
    return QTensor(codes, x.q_scale(), x.q_zero_point(), x.dtype)
