"""Formulas that people write for one operator, no slips in PyTorch's but their own (Find my wrong integer)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from qlearn.codes.affine import DTYPES, QTensor
from qlearn.codes.rounding import reciprocal
from qlearn.elementwise.scalars import add_scalar, mul_scalar
from qlearn.network.arithmetic import Arithmetic, codes_of
from qlearn.runtimes.arithmetic import Array, Known, Parameters, code_range

__all__ = ["WRITTEN"]

EVERYTHING = -(2**62)
"""A lower bound for numbers that are to wrap at both ends."""


def written(name: str, words: str, codes: Callable[..., Array]) -> Known:
    """A formula of the list."""
    return Known(name, words, "mistake", codes)


def _dequantize(p: Parameters) -> Iterator[Known]:
    s, z = np.float32(p["s"]), p["z"]
    yield written(
        "q·s − z·s",
        "both products rounded, then their difference",
        lambda q: q.astype(np.float32) * s + s * np.float32(-z),
    )
    yield written("the zero point forgotten", "q·s", lambda q: q.astype(np.float32) * s)


def _codes(y: Array, p: Parameters, zero_point: int | None = None, **how: Any) -> Array:
    """Real numbers in steps of the result as codes, int64: ``network.arithmetic.codes_of``."""
    first, z = how.pop("first", False), p["z"] if zero_point is None else zero_point
    low = EVERYTHING if how.get("wrap") else code_range(p)[0]
    return codes_of(y, z, Arithmetic(**how), first=first, low=low, kind=DTYPES[p["dtype"]])


def _reals(p: Parameters, dtype: Any, q1: Array, q2: Array) -> tuple[Array, Array]:
    """Both operands as real numbers, the scales and each step in dtype."""
    a, b = ((q - p[f"z{i}"]).astype(dtype) * dtype(p[f"s{i}"]) for i, q in ((1, q1), (2, q2)))
    return a, b


def _sum(relu: bool, p: Parameters) -> Iterator[Known]:
    (s1, z1), (s2, z2), (s, z) = ((p[f"s{i}"], p[f"z{i}"]) for i in ("1", "2", ""))
    low, high = code_range(p)

    def formula(name: str, words: str, codes: Callable[[Array, Array], Array]) -> Known:
        return written(name, words, _then_relu(codes, relu, z))

    def clamped(whole: Array) -> Array:
        return np.clip(whole, low, high).astype(np.int64)

    def double(q1: Array, q2: Array, **how: Any) -> Array:
        a, b = _reals(p, np.float64, q1, q2)
        return _codes((a + b) / s, p, **how)

    def single(q1: Array, q2: Array) -> Array:
        a, b = _reals(p, np.float32, q1, q2)
        return _codes((a + b) / np.float32(s), p, rounding="away")

    def ratios(q1: Array, q2: Array) -> Array:
        return clamped(np.rint(s1 / s) * (q1 - z1) + np.rint(s2 / s) * (q2 - z2) + z)

    def rescaled(q1: Array, q2: Array) -> Array:
        return clamped(np.rint(s1 * (q1 - z1) / s) + np.rint(s2 * (q2 - z2) / s) + z)

    yield formula("q₁ + q₂, clamped", "the codes themselves, whatever they stand for", lambda q1, q2: clamped(q1 + q2))
    yield formula(
        "q₁ + q₂, wrapped to 8 bits",
        "the codes themselves in an 8-bit register",
        lambda q1, q2: (q1 + q2 - low) % 256 + low,
    )
    yield formula(
        "integer sum around the zero points",
        "right only if all three scales are equal",
        lambda q1, q2: clamped(q1 - z1 + q2 - z2 + z),
    )
    yield formula("scale ratios rounded to whole numbers", "each scale over the result's, as an integer", ratios)
    yield formula("each input rescaled and rounded, then added", "two roundings, where one is due", rescaled)
    yield formula(
        "the inputs’ zero points forgotten",
        "codes times scales, in float64",
        lambda q1, q2: _codes((s1 * q1 + s2 * q2) / s, p),
    )
    yield formula("the output’s zero point forgotten", "in float64", partial(double, zero_point=0))
    yield formula("float64, truncated", "in float64, cut towards zero", partial(double, rounding="truncate"))
    yield formula("float64, floor", "in float64, rounded down", partial(double, rounding="floor"))
    yield formula("float64, ties away from zero", "in float64, as C's round", partial(double, rounding="away"))
    yield formula("float64, ties up", "in float64, floor(v + 0.5)", partial(double, rounding="up"))
    yield formula(
        "float64, not clamped, wrapped to 8 bits",
        "in float64, the low 8 bits of the integer",
        partial(double, wrap=True),
    )
    yield formula("float64, zero point before the rounding", "in float64, rint(v + z)", partial(double, first=True))
    yield formula("float32, ties away from zero", "in float32, divided by the scale, rounded as C's roundf", single)


def _product(relu: bool, p: Parameters) -> Iterator[Known]:
    (s1, z1), (s2, z2), (s, z) = ((p[f"s{i}"], p[f"z{i}"]) for i in ("1", "2", ""))
    low, high = code_range(p)

    def formula(name: str, words: str, codes: Callable[[Array, Array], Array]) -> Known:
        return written(name, words, _then_relu(codes, relu, z))

    def double(q1: Array, q2: Array) -> Array:
        a, b = _reals(p, np.float64, q1, q2)
        return _codes(a * b / s, p, zero_point=0)

    def single(in_steps: Callable[[Array], Array], q1: Array, q2: Array) -> Array:
        a, b = _reals(p, np.float32, q1, q2)
        return _codes(in_steps(a * b), p)

    yield formula(
        "q₁·q₂, clamped",
        "the codes themselves, whatever they stand for",
        lambda q1, q2: np.clip(q1 * q2, low, high),
    )
    yield formula(
        "integer product around the zero points",
        "right only if s₁·s₂ = s",
        lambda q1, q2: np.clip((q1 - z1) * (q2 - z2) + z, low, high),
    )
    yield formula(
        "the inputs’ zero points forgotten",
        "codes times scales, in float64",
        lambda q1, q2: _codes(s1 * q1 * (s2 * q2) / s, p),
    )
    yield formula("the output’s zero point forgotten", "in float64", double)
    more = "two more roundings than mul has"
    yield formula(
        "dequantize, multiply, quantize_per_tensor",
        f"float32, as PyTorch's parts: {more}",
        partial(single, lambda x: x * reciprocal(s)),
    )
    yield formula(
        "dequantize, multiply, divide by the scale",
        f"float32: {more}",
        partial(single, lambda x: x / np.float32(s)),
    )


def _added(p: Parameters) -> Iterator[Known]:
    s, z, c = p["s"], p["z"], p["c"]
    low, high = code_range(p)
    k = round(c / s)
    result = add_scalar(QTensor([0], s, z, p["dtype"]), c)
    scale, zero_point = result.q_scale(), result.q_zero_point()

    def double(in_scale: float, in_zero_point: int, q: Array) -> Array:
        return _codes(((q - z) * s + c) / in_scale, p, in_zero_point)

    def single(q: Array) -> Array:
        x = (q - z).astype(np.float32) * np.float32(s) + np.float32(c)
        return _codes(x * reciprocal(scale), p, zero_point)

    yield written(
        "the code moved by rint(c/s), clamped", "a’s scale and zero point kept", lambda q: np.clip(q + k, low, high)
    )
    yield written("float64, in a’s scale and zero point", "rint(((q − z)·s + c)/s) + z", partial(double, s, z))
    yield written(
        "float64, in the result’s scale and zero point",
        "c not rounded to steps of s",
        partial(double, scale, zero_point),
    )
    yield written("dequantize, add, quantize_per_tensor", "float32, in the result’s scale and zero point", single)


def _multiplied(p: Parameters) -> Iterator[Known]:
    s, z, c = p["s"], p["z"], p["c"]
    low, high = code_range(p)
    result = mul_scalar(QTensor([0], s, z, p["dtype"]), c)
    scale, zero_point = result.q_scale(), result.q_zero_point()

    def single(q: Array) -> Array:
        x = (q - z).astype(np.float32) * np.float32(s) * np.float32(c)
        return _codes(x * reciprocal(scale), p, zero_point)

    if c < 0:
        yield written(
            "the zero point not turned around",
            "the code mirrored at a’s zero point",
            lambda q: np.clip(2 * z - q, low, high),
        )
    yield written(
        "float64, in a’s scale and zero point", "rint((q − z)·c) + z", lambda q: _codes((q - z) * float(c), p)
    )
    yield written("dequantize, multiply, quantize_per_tensor", "float32, in the result’s scale and zero point", single)


def _average(p: Parameters) -> Iterator[Known]:
    n = p["kh"] * p["kw"]
    yield written("Σq // n", "the codes’ sum divided in integers, rounded down", lambda q: q.sum(1) // n)
    yield written(
        "(Σq + n // 2) // n", "the codes’ sum divided in integers, ties up", lambda q: (q.sum(1) + n // 2) // n
    )


def _clamp(p: Parameters) -> Iterator[Known]:
    s, z = p["s"], p["z"]
    low, high = code_range(p)

    def between(whole: Callable[[float], float]) -> Callable[[Array], Array]:
        least, most = (int(np.clip(whole(p[name]), low, high)) for name in ("min", "max"))
        return lambda q: np.minimum(np.maximum(q, least), most)

    def quantized(q: Array) -> Array:
        return _codes(np.clip((q - z) * s, p["min"], p["max"]) / s, p)

    yield written(
        "the bounds divided by the scale",
        "in float64, where PyTorch multiplies by a float32 inverse",
        between(lambda bound: np.rint(bound / s) + z),
    )
    yield written(
        "the bounds truncated", "in float64, cut towards zero", between(lambda bound: np.trunc(bound / s) + z)
    )
    yield written("dequantized, clamped, quantized", "in float64", quantized)
    yield written(
        "the bounds’ zero point forgotten", "rint(bound / s) as a code", between(lambda bound: np.rint(bound / s))
    )


def _then_relu(codes: Callable[..., Array], relu: bool, zero_point: int) -> Callable[..., Array]:
    """A ReLU as people write it: max(code, z)."""
    return (lambda *inputs: np.maximum(codes(*inputs), zero_point)) if relu else codes


def _none(p: Parameters) -> Iterator[Known]:
    return iter(())


WRITTEN: dict[str, Callable[[Any], Iterator[Known]]] = {
    "quantize": _none,
    "dequantize": _dequantize,
    "add": partial(_sum, False),
    "add_relu": partial(_sum, True),
    "mul": partial(_product, False),
    "mul_relu": partial(_product, True),
    "add_scalar": _added,
    "mul_scalar": _multiplied,
    "requantize_linear": _none,
    "requantize_conv": _none,
    "avg_pool": _average,
    **dict.fromkeys(("sigmoid", "tanh", "hardswish", "hardsigmoid", "elu", "leaky_relu"), _none),
    "hardtanh": _clamp,
}
"""Operator -> its parameters -> formulas."""
