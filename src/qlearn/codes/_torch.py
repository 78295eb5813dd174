"""What a QTensor is made of, from and to torch.Tensor; torch is imported when a function is called."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from qlearn.machine.layout import has_strides, like_channels_last, strides_of

if TYPE_CHECKING:
    import torch


class Parts(NamedTuple):
    """The arguments of a QTensor."""

    codes: Any
    scale: Any
    zero_point: Any
    dtype: str
    axis: int | None


def parts_of(t: torch.Tensor, dtypes: Collection[str]) -> Parts:
    """Of a tensor of one of these dtypes; the codes share its memory. See ``qlearn.from_torch``."""
    import torch

    if not isinstance(t, torch.Tensor) or not t.is_quantized:
        raise TypeError(f"t must be a quantized torch.Tensor, got {getattr(t, 'dtype', type(t).__name__)}")
    dtype = str(t.dtype).removeprefix("torch.")
    if dtype not in dtypes:
        raise NotImplementedError(f"t must be of dtype {', '.join(dtypes)}, got {dtype}")
    integers = torch.empty(0, dtype=getattr(torch, dtype.removeprefix("q")))
    codes = integers.set_(_storage(t), t.storage_offset(), t.shape, t.stride()).numpy()
    with quietly():
        if t.qscheme() == torch.per_tensor_affine:
            return Parts(codes, t.q_scale(), t.q_zero_point(), dtype, None)
        if t.qscheme() == torch.per_channel_affine:
            scales, zero_points = t.q_per_channel_scales().numpy(), t.q_per_channel_zero_points().numpy()
            return Parts(codes, scales, zero_points, dtype, t.q_per_channel_axis())
    raise NotImplementedError(f"t must be per_tensor_affine or per_channel_affine, got {t.qscheme()}")


def tensor_of(parts: Parts) -> torch.Tensor:
    """A tensor of its own memory, with the strides of the codes. See ``QTensor.to_torch``."""
    import torch

    codes, scale, zero_point, name, axis = parts
    shape, strides, dtype = codes.shape, strides_of(codes), getattr(torch, name)
    with quietly():
        if axis is None:
            extent = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) if codes.size else 0
            flat = torch._empty_affine_quantized([extent], scale=scale, zero_point=zero_point, dtype=dtype)
            t = flat.as_strided(shape, strides)
        else:
            last = torch.channels_last if codes.ndim == 4 else torch.channels_last_3d
            t = torch._empty_per_channel_affine_quantized(
                shape,
                scales=torch.from_numpy(scale.copy()),
                zero_points=torch.from_numpy(zero_point.copy()),
                axis=axis,
                dtype=dtype,
                memory_format=last if like_channels_last(codes) else torch.contiguous_format,
            )
    if not has_strides(codes, t.stride()):
        raise NotImplementedError(
            f"PyTorch holds per-channel tensors contiguous or channels_last only, got strides {strides}"
        )
    integers = torch.empty(0, dtype=getattr(torch, codes.dtype.name))
    integers.set_(_storage(t), 0, t.shape, t.stride()).numpy()[...] = codes
    return t


def _storage(t: torch.Tensor) -> Any:
    """The bytes that t lies in; PyTorch 1.13 has another name for them."""
    return t.untyped_storage() if hasattr(t, "untyped_storage") else t.storage().untyped()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """PyTorch warns that quantized tensors are deprecated; the reader knows."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*deprecated", category=UserWarning)
        yield
