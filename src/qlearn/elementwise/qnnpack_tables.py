"""The engine qnnpack's own activations of quint8 tensors: one table of 256 codes each (Chapter 11, MobileNetV2).

Every number is computed once for each code, in C, and the codes are looked up: body and tail are the same. A tensor of
another dtype goes through the kernels of the other engines (``qlearn.elementwise.activations``).

Source: ``qclamp.cpp`` qnnpack_clamp and its sisters; QNNPACK ``clamp.c``, ``hardswish.c``, ``hardsigmoid.c``,
``sigmoid.c``, ``tanh.c``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.codes.rounding import reciprocal, round_half_even, saturate
from qlearn.elementwise.exponential import glibc_expf, glibc_tanhf
from qlearn.machine.layout import dense_strides, in_memory_order, laid_out, like_channels_last, new_strides
from qlearn.machine.machine import Machine

__all__ = ["check_shape", "clamp_in_memory_order", "looked_up", "of_qnnpack", "shifted", "sigmoid", "tanh"]

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]
TINY = np.finfo(np.float32).tiny  # the smallest float32 that is not subnormal


def of_qnnpack(x: QTensor, machine: Machine) -> bool:
    """Whether the engine's own table computes x."""
    return machine.engine == "qnnpack" and x.dtype == "quint8"


def looked_up(x: QTensor, function: Callable[[Floats], Floats], scale: float, zero_point: int) -> QTensor:
    """rint(clamp(function(s * (q - z)), 0, 255)) of each code q, in float32; the function scales and shifts too.

    Raises:
        ValueError: the scale of x, or scale, is subnormal as float32; x as in ``check_shape``.
    """
    check_shape(x)
    for name, value in (("the scale of x", x.q_scale()), ("scale", scale)):
        if np.float32(value) < TINY:
            raise ValueError(f"{name} must be at least {TINY} as float32 on qnnpack, got {value}")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        real = np.float32(x.q_scale()) * (np.arange(256) - x.q_zero_point()).astype(np.float32)
        table = saturate(round_half_even(np.clip(function(real), np.float32(0), np.float32(255))), np.uint8)
    codes = x.int_repr()
    return QTensor(laid_out(table[codes], new_strides(codes)), scale, zero_point, "quint8")


def shifted(function: Callable[[Floats], Floats], scale: float, zero_point: int) -> Callable[[Floats], Floats]:
    """function(x) * (1 / scale) + zero_point, each step in float32."""
    return lambda x: function(x) * reciprocal(scale) + np.float32(zero_point)


def sigmoid(x: Floats) -> Floats:
    """256 / (1 + exp(-x)) in float32, exp by the C library."""
    return np.float32(256) / (np.float32(1) + glibc_expf(-x))


def tanh(x: Floats) -> Floats:
    """128 * tanh(x) + 128 in float32, tanh by the C library."""
    return np.float32(128) * glibc_tanhf(x) + np.float32(128)


def clamp_in_memory_order(x: QTensor, low: int, high: int) -> QTensor:
    """Codes clamped to [low, high], as they lie in memory, in a contiguous tensor: channels_last is lost on the way.

    Raises:
        ValueError: low > high; x as in ``check_shape``.
    """
    if low > high:
        raise ValueError(f"min must not have a larger code than max on qnnpack, got codes {low} and {high}")
    check_shape(x)
    codes = x.int_repr()
    if like_channels_last(codes):
        codes = in_memory_order(laid_out(codes, new_strides(codes))).reshape(x.shape)
    clamped = np.clip(codes, np.uint8(low), np.uint8(high))
    return QTensor(laid_out(clamped, dense_strides(x.shape)), x.q_scale(), x.q_zero_point(), "quint8")


def check_shape(x: QTensor, *, empty: bool = True) -> None:
    """Refuse an x without dimensions or with an empty axis after the first, and without ``empty`` the first too."""
    if x.ndim == 0 or 0 in x.shape[1:]:
        raise ValueError(f"x must have dimensions, and none empty after the first, on qnnpack, got shape {x.shape}")
    if not empty and x.size == 0:
        raise ValueError(f"x must not be empty on qnnpack, got shape {x.shape}")
