"""The table of torch.ops.quantized: each entry has PyTorch's own signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qlearn.network.call import Call, one_by_one, params, weights
from qlearn.network.functions import relu6

__all__ = ["QUANTIZED"]


def _of_two(op: str, with_number: str) -> Callable[..., Call]:
    def entry(qa: Any, qb: Any, scale: Any = None, zero_point: Any = None) -> Call:
        if isinstance(qb, (int, float)) and scale is None:  # the overload Scalar
            return _of_number(with_number)(qa, qb)
        return Call(op, (qa, qb), params(scale, zero_point))

    return entry


def _of_number(op: str) -> Callable[..., Call]:
    return lambda qa, b: Call(op, (qa,), {"c": float(b)})


def cat(qx: Sequence[Any], dim: int = 0, scale: Any = None, zero_point: Any = None) -> Call:
    return Call("cat", one_by_one(qx), {**params(scale, zero_point), "dim": dim})


def _conv(op: str) -> Callable[..., Call]:
    def entry(qx: Any, packed: Any, scale: Any, zero_point: Any) -> Call:
        where = {name: tuple(getattr(packed, name)()) for name in ("stride", "padding", "dilation")}
        unpacked = weights(*packed.unpack())
        if op.startswith("conv1d"):
            where = {name: lengths[-1:] for name, lengths in where.items()}
            if unpacked["weight"].ndim == 4:
                raise TypeError
        return Call(op, (qx,), {**unpacked, **where, "groups": int(packed.groups()), **params(scale, zero_point)})

    return entry


def _linear(op: str) -> Callable[..., Call]:
    def entry(x: Any, packed: Any, scale: Any, zero_point: Any) -> Call:
        return Call(op, (x,), {**weights(*packed.unpack()), **params(scale, zero_point)})

    return entry


def hardswish(input: Any, output_scale: Any, output_zero_point: Any) -> Call:
    return Call("hardswish", (input,), params(output_scale, output_zero_point))


def sigmoid(input: Any, output_scale: Any, output_zero_point: Any) -> Call:
    return Call("sigmoid", (input,), params(output_scale, output_zero_point))


def leaky_relu(qx: Any, negative_slope: float, inplace: bool, output_scale: Any, output_zero_point: Any) -> Call:
    settings = {"negative_slope": float(negative_slope), **params(output_scale, output_zero_point)}
    return Call("leaky_relu", (qx,), settings)


def elu(self: Any, output_scale: Any, output_zero_point: Any, alpha: float = 1, *rest: Any) -> Call:
    if any(value != 1 for value in rest):
        raise TypeError
    return Call("elu", (self,), {**params(output_scale, output_zero_point), "alpha": float(alpha)})


QUANTIZED: dict[str, Callable[..., Call]] = {
    "quantized.add": _of_two("add", "add_scalar"),
    "quantized.add_relu": _of_two("add_relu", "add_scalar_relu"),
    "quantized.mul": _of_two("mul", "mul_scalar"),
    "quantized.mul_relu": _of_two("mul_relu", "mul_scalar_relu"),
    **{f"quantized.{op}": _of_number(op) for op in ("add_scalar", "add_scalar_relu", "mul_scalar", "mul_scalar_relu")},
    "quantized.cat": cat,
    **{f"quantized.conv{n}d{relu}": _conv(f"conv{n}d{relu}") for n in (1, 2, 3) for relu in ("", "_relu")},
    **{f"quantized.linear{relu}": _linear(f"linear{relu}") for relu in ("", "_relu")},
    "quantized.relu6": relu6,
    "quantized.hardswish": hardswish,
    "quantized.sigmoid": sigmoid,
    "quantized.leaky_relu": leaky_relu,
    "quantized.elu": elu,
}
"""An operator's name -> entry with its signature."""
