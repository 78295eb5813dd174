"""QTensor from and to torch.Tensor; the one module, beside machine.py, that imports torch, when it is called."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from qlearn.affine import QTensor


def from_torch(t: torch.Tensor) -> QTensor:
    """See ``qlearn.from_torch``."""
    import torch

    from qlearn.affine import DTYPES, QTensor

    if not isinstance(t, torch.Tensor) or not t.is_quantized:
        raise TypeError(f"t must be a quantized torch.Tensor, got {getattr(t, 'dtype', type(t).__name__)}")
    dtype = str(t.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise NotImplementedError(f"t must be of dtype {', '.join(DTYPES)}, got {dtype}")
    integers = torch.empty(0, dtype=getattr(torch, np.dtype(DTYPES[dtype]).name))
    codes = integers.set_(_storage(t), t.storage_offset(), t.shape, t.stride()).numpy()
    with quietly():
        if t.qscheme() == torch.per_tensor_affine:
            return QTensor(codes, t.q_scale(), t.q_zero_point(), dtype)
        if t.qscheme() == torch.per_channel_affine:
            scales, zero_points = t.q_per_channel_scales().numpy(), t.q_per_channel_zero_points().numpy()
            return QTensor(codes, scales, zero_points, dtype, t.q_per_channel_axis())
    raise NotImplementedError(f"t must be per_tensor_affine or per_channel_affine, got {t.qscheme()}")


def to_torch(q: QTensor) -> torch.Tensor:
    """See ``QTensor.to_torch``."""
    import torch

    from qlearn.layout import has_strides, like_channels_last

    codes = q.int_repr()
    dtype = getattr(torch, q.dtype)
    with quietly():
        if q.qscheme() == "per_tensor_affine":
            extent = 1 + sum((n - 1) * stride for n, stride in zip(q.shape, q.strides, strict=True)) if q.size else 0
            flat = torch._empty_affine_quantized([extent], scale=q.q_scale(), zero_point=q.q_zero_point(), dtype=dtype)
            t = flat.as_strided(q.shape, q.strides)
        else:
            last = torch.channels_last if q.ndim == 4 else torch.channels_last_3d
            t = torch._empty_per_channel_affine_quantized(
                q.shape,
                scales=torch.from_numpy(q.q_per_channel_scales().copy()),
                zero_points=torch.from_numpy(q.q_per_channel_zero_points().copy()),
                axis=q.q_per_channel_axis(),
                dtype=dtype,
                memory_format=last if like_channels_last(codes) else torch.contiguous_format,
            )
    if not has_strides(codes, t.stride()):
        raise NotImplementedError(
            f"PyTorch holds per-channel tensors contiguous or channels_last only, got strides {q.strides}"
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
