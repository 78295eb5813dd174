"""What a network's steps call: functions of ``qlearn`` by name, and the few that take their arguments otherwise."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from qlearn import activations, affine, concatenate, conv, elementwise, linear, pooling, scalars, shapes
from qlearn.affine import QTensor
from qlearn.machine import Machine

__all__ = ["OPERATORS"]


def quantize(x: Any, *, scale: float, zero_point: int, dtype: str, machine: Machine) -> QTensor:
    """``quantize_per_tensor``, the same on every machine."""
    return affine.quantize_per_tensor(x, scale, zero_point, dtype)


def dequantize(x: QTensor, *, machine: Machine) -> Any:
    """``QTensor.dequantize``, the same on every machine."""
    return x.dequantize()


def cat(*tensors: QTensor, scale: float, zero_point: int, dim: int, machine: Machine) -> QTensor:
    """``qlearn.cat`` of the inputs: torch.ops.quantized.cat."""
    return concatenate.cat(tensors, scale, zero_point, dim, machine=machine)


def cat_alike(*tensors: QTensor, dim: int, machine: Machine) -> QTensor:
    """torch.cat of quantized tensors, which must share their parameters and leaves them: ``cat_quantized_cpu``."""
    first, *rest = tensors
    for t in rest:
        if t.q_zero_point() != first.q_zero_point() or not abs(t.q_scale() - first.q_scale()) < 1e-4:
            raise ValueError("tensors must share scale and zero point to be concatenated by torch.cat")
    return concatenate.cat(tensors, first.q_scale(), first.q_zero_point(), dim, machine=machine)


def item(values: Any, *, index: Any, machine: Machine) -> Any:
    """values[index], of a list of tensors or of lengths."""
    return values[index]


def size(x: Any, *, dim: int | None = None, machine: Machine) -> Any:
    """x.size(dim): one length, or all of them."""
    return tuple(x.shape) if dim is None else x.shape[dim]


def ndim(x: Any, *, machine: Machine) -> int:
    """x.dim()"""
    return len(x.shape)


def _of_integers(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def compute(*, a: Any, b: Any, machine: Machine) -> Any:
        return function(a, b)

    return compute


_MODULES = (elementwise, scalars, linear, conv, pooling, shapes, activations)

OPERATORS: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (quantize, dequantize, cat, cat_alike, item, size, ndim)},
    **{f"{name}_of_sizes": _of_integers(getattr(operator, name)) for name in ("add", "sub", "mul", "floordiv")},
    **{name: getattr(module, name) for module in _MODULES for name in module.__all__},
}
"""An operator's name -> function(*inputs, **settings, machine=machine)."""
