"""What a network's steps call: functions of ``qlearn`` by name, and the few that take their arguments otherwise."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from qlearn.codes.affine import QTensor, quantize_per_tensor
from qlearn.elementwise.activations import (
    clamp,
    elu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    relu6,
    sigmoid,
    tanh,
)
from qlearn.elementwise.concatenate import cat
from qlearn.elementwise.prelu import prelu
from qlearn.elementwise.scalars import add_scalar, add_scalar_relu, mul_scalar, mul_scalar_relu, relu
from qlearn.elementwise.shapes import (
    channel_shuffle,
    chunk,
    contiguous,
    flatten,
    getitem,
    permute,
    reshape,
    split,
    squeeze,
    transpose,
    unsqueeze,
    view,
)
from qlearn.elementwise.sums_and_products import add, add_relu, mul, mul_relu
from qlearn.layers.conv import conv1d, conv1d_relu, conv2d, conv2d_relu, conv3d, conv3d_relu
from qlearn.layers.interpolate import interpolate
from qlearn.layers.linear import linear, linear_relu
from qlearn.layers.mean import mean
from qlearn.layers.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool1d, max_pool2d
from qlearn.machine.layout import laid_out
from qlearn.machine.machine import Machine

__all__ = ["MOVING", "OPERATORS", "SIZES"]


Operator = Callable[..., Any]


def quantize(x: Any, *, scale: float, zero_point: int, dtype: str, machine: Machine) -> QTensor:
    """``quantize_per_tensor`` under the name of its layer."""
    return quantize_per_tensor(x, scale, zero_point, dtype, machine=machine)


def dequantize(x: QTensor) -> Any:
    """``QTensor.dequantize``"""
    return x.dequantize()


def cat_of_inputs(*tensors: Any, scale: float, zero_point: int, dim: int, machine: Machine) -> QTensor:
    """``qlearn.cat`` of the inputs, or of one list of them: torch.ops.quantized.cat."""
    return cat(_several(tensors), scale, zero_point, dim, machine=machine)


def cat_alike(*tensors: Any, dim: int, machine: Machine) -> QTensor:
    """torch.cat of quantized tensors, which must share their parameters and leaves them: ``cat_quantized_cpu``."""
    first, *rest = _several(tensors)
    for t in rest:
        if t.q_zero_point() != first.q_zero_point() or not abs(t.q_scale() - first.q_scale()) < 1e-4:
            raise ValueError("tensors must share scale and zero point to be concatenated by torch.cat")
    return cat([first, *rest], first.q_scale(), first.q_zero_point(), dim, machine=machine)


def _several(tensors: tuple[Any, ...]) -> list[QTensor]:
    return list(tensors[0] if isinstance(tensors[0], list) else tensors)


def item(values: Any, *, index: Any) -> Any:
    """values[index], of a list of tensors or of lengths."""
    return values[index]


def size(x: Any, *, dim: int | None = None) -> Any:
    """x.size(dim): one length, or all of them."""
    return tuple(x.shape) if dim is None else x.shape[dim]


def ndim(x: Any) -> int:
    """x.dim()"""
    return len(x.shape)


def _of_sizes(function: Callable[[Any, Any], Any]) -> Operator:
    return lambda *, a, b: function(a, b)


def _everywhere(function: Operator) -> Operator:
    """The same on every machine."""
    return lambda *inputs, machine, **settings: function(*inputs, **settings)


def _moving(function: Operator) -> Operator:
    """A function that only moves codes, of real numbers too: their 32 bits are moved as if they were codes."""

    def compute(x: Any, *, machine: Machine, **settings: Any) -> Any:
        if isinstance(x, QTensor):
            return function(x, **settings)
        moved = function(QTensor(np.asarray(x, np.float32).view(np.int32), 1.0, 0, "qint32"), **settings)
        return [_reals(part) for part in moved] if isinstance(moved, list) else _reals(moved)

    return compute


def _reals(bits: QTensor) -> Any:
    return bits.int_repr().view(np.float32)


def _in_place(function: Operator) -> Operator:
    """The result where x was: with x's strides."""

    def compute(x: QTensor, **settings: Any) -> QTensor:
        out = function(x, **settings)
        return QTensor(laid_out(out.int_repr(), x.strides), out.q_scale(), out.q_zero_point(), out.dtype)

    return compute


_COMPUTED = (
    *(add, add_relu, mul, mul_relu, add_scalar, add_scalar_relu, mul_scalar, mul_scalar_relu, relu),
    *(conv1d, conv1d_relu, conv2d, conv2d_relu, conv3d, conv3d_relu, linear, linear_relu),
    *(adaptive_avg_pool2d, avg_pool2d, max_pool1d, max_pool2d, mean, interpolate),
    *(clamp, elu, hardsigmoid, hardswish, hardtanh, leaky_relu, relu6, sigmoid, tanh, prelu),
    cat_alike,
    quantize,
)
_EVERYWHERE = (dequantize, item, size, ndim, channel_shuffle)
MOVING = (chunk, contiguous, flatten, getitem, permute, reshape, split, squeeze, transpose, unsqueeze, view)
"""Functions that only move numbers, quantized or real."""

_OVERWRITING = (relu, relu6, hardtanh, clamp, hardsigmoid, leaky_relu)

SIZES = ("add", "sub", "mul", "floordiv")
"""Functions of ``operator`` that a model computes lengths with."""

OPERATORS: dict[str, Operator] = {
    **{function.__name__: function for function in _COMPUTED},
    **{function.__name__: _everywhere(function) for function in _EVERYWHERE},
    **{function.__name__: _moving(function) for function in MOVING},
    **{f"{name}_of_sizes": _everywhere(_of_sizes(getattr(operator, name))) for name in SIZES},
    **{f"{function.__name__}_": _in_place(function) for function in _OVERWRITING},
    "cat": cat_of_inputs,
}
"""An operator's name -> function(*inputs, **settings, machine=machine)."""
