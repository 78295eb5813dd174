"""The mistakes of ``network.mistakes`` as arithmetics of one operator, one for each way to make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from qlearn.codes.affine import DTYPES
from qlearn.elementwise.activations import FROM_0_TO_1, FROM_MINUS_1_TO_1
from qlearn.machine.machine import Machine
from qlearn.network import flawed, in_float64
from qlearn.network.arithmetic import Arithmetic, codes_of
from qlearn.network.flawed_layers import Requantization
from qlearn.network.mistakes import MISTAKES
from qlearn.network.step import Step
from qlearn.runtimes import portable
from qlearn.runtimes.arithmetic import Arrange, Array, Known, Parameters, code_range, in_bodies, in_tails

__all__ = ["FIXED_POINT", "MISTAKEN", "ONE_STEP", "ROUNDED_OTHERWISE", "Way", "fits", "mistaken"]

Way = tuple[str, str, dict[str, Any]]
"""A mistake, which of its variants, and the steps of ``network.arithmetic.Arithmetic`` that it replaces."""

IN_FLOAT64: tuple[Way, ...] = (
    ("float64", "times 1/s", {"double": True}),
    ("float64", "divided by s", {"double": True, "divide": True}),
)
ROUNDED_OTHERWISE: tuple[Way, ...] = (
    ("truncation", "", {"rounding": "truncate"}),
    ("floor", "", {"rounding": "floor"}),
    ("half away from zero", "", {"rounding": "away"}),
    ("half up", "", {"rounding": "up"}),
)
ONE_STEP: tuple[Way, ...] = (
    ("divide", "", {"divide": True}),
    ("zero point", "", {"order": "other"}),
    *ROUNDED_OTHERWISE,
    ("no clamp", "", {"wrap": True}),
)
FIXED_POINT: tuple[Way, ...] = (
    ("gemmlowp", "", {"fixed_point": "gemmlowp"}),
    ("single rounding", "", {"fixed_point": "single"}),
)
ACTIVATIONS = ("sigmoid", "tanh", "hardswish", "hardsigmoid", "elu", "leaky_relu")
AVX2 = Machine("fbgemm", "AVX2", 1)


def fits(multiplier: float, most: float = 1) -> bool:
    """Whether the fixed points are there for a multiplier: below 1 the product with 32 bits stays within 63."""
    return 2.0**-30 <= multiplier < most


def mistaken(way: Way, where: str, codes: Callable[..., Array]) -> Known:
    """A mistake's place in the list: its name says the variant, and whose arithmetic it was made in."""
    mistake, variant, _ = way
    name = f"{mistake}{variant and f', {variant}'}{where and f' ({where})'}"
    return Known(name, MISTAKES[mistake][0], "mistake", codes)


def made(way: Way) -> Arithmetic:
    """The arithmetic with the mistake's steps replaced."""
    return replace(Arithmetic(), **way[2])


def _quantize(p: Parameters) -> Iterator[Known]:
    step = Step("theirs", "quantize", ("x",), {"scale": p["s"], "zero_point": p["z"], "dtype": p["dtype"]})

    def codes(way: Way, x: Array) -> Array:
        return computed(step, [x], way)

    for way in (*IN_FLOAT64, *ONE_STEP):
        yield mistaken(way, "", partial(codes, way))


def computed(step: Step, inputs: list[Any], way: Way) -> Array:
    """A step's codes with a mistake made, int64."""
    found = flawed.of(step, inputs, AVX2)
    assert found is not None
    return found[0](made(way)).astype(np.int64)


def _of_pair(operator: str, p: Parameters, arrange: Arrange, way: Way) -> Callable[[Array, Array], Array]:
    step = Step("theirs", operator, ("a", "b"), {"scale": p["s"], "zero_point": p["z"]})

    def codes(q1: Array, q2: Array) -> Array:
        pair = [arrange(q, p[f"s{i}"], p[f"z{i}"], p["dtype"]) for i, q in ((1, q1), (2, q2))]
        return computed(step, pair, way)[: len(q1)]

    return codes


def _sum(operator: str, p: Parameters) -> Iterator[Known]:
    for way in IN_FLOAT64:
        yield mistaken(way, "", _of_pair(operator, p, in_tails, way))
    for where, arrange in (("vector body", in_bodies), ("tail", in_tails)):
        for way in ONE_STEP:
            yield mistaken(way, where, _of_pair(operator, p, arrange, way))


def _product(operator: str, p: Parameters) -> Iterator[Known]:
    ways: list[Way] = [EXACT, *ONE_STEP]
    ways += FIXED_POINT if fits(p["s1"] * p["s2"] / p["s"], 2.0**14) else ()
    if operator.endswith("_relu") and p["z"] != 0:
        ways.append(("ReLU at code 0", "", {"relu": True}))
    for way in ways:
        yield mistaken(way, "", _of_pair(operator, p, in_tails, way))


BIAS: tuple[Way, ...] = (
    ("bias", "rounded in float64", {"bias": "double"}),
    ("bias", "divided in float32", {"bias": "divide"}),
    ("bias", "times the inverse", {"bias": "multiply"}),
)
LAST = tuple((name, f"{variant}, zero point last", how | {"order": "last"}) for name, variant, how in IN_FLOAT64)


def _of_kernel(kernel: str, conv: bool, fixed: tuple[Way, ...]) -> tuple[Way, ...]:
    """The ways to be wrong in an engine's arithmetic, without those that are wrong in the same way before it."""
    two_steps, no_clamp = ONE_STEP[:2], ONE_STEP[-1]
    if kernel == "fbgemm":
        return (*IN_FLOAT64, *two_steps, *BIAS, *ROUNDED_OTHERWISE, *fixed, no_clamp)
    if kernel == "qnnpack":
        real: Way = ("bias", "kept real", {"bias": "real"})
        return (*IN_FLOAT64, *two_steps, real, *ROUNDED_OTHERWISE, no_clamp)
    plain: Way = ("scales inverted once", "", {"plain": True})
    if kernel == "onednn_avx2":  # in float64 the order of two products is no arithmetic of its own
        return (*two_steps, *BIAS, *ROUNDED_OTHERWISE, plain, no_clamp)
    own = () if conv else fixed
    return (*IN_FLOAT64, *LAST, *two_steps, *BIAS, *ROUNDED_OTHERWISE, *own, plain, no_clamp)


KERNELS = {
    "fbgemm": "fbgemm",
    "qnnpack": "qnnpack",
    "onednn_vnni": "onednn, AVX-512",
    "onednn_avx2": "onednn, AVX2",
}
"""Function of ``layers.requantize`` -> whose arithmetic that is."""


def _requantized(conv: bool, p: Parameters) -> Iterator[Known]:
    scales, bias = np.array([p["sw"]] if p["per_channel"] else p["sw"]), np.array([p["bias"]], np.float32)
    fixed = FIXED_POINT if fits(p["sx"] * p["sw"] / p["s"]) else ()

    def codes(requantization: Requantization, way: Way, acc: Array) -> Array:
        return requantization.codes(acc.astype(np.int32)[:, None], made(way))[:, 0]

    for kernel, where in KERNELS.items():
        of = Requantization(kernel, not conv, p["sx"], scales, bias, p["s"], p["z"], p["relu"])
        ways = _of_kernel(kernel, conv, fixed)
        for way in (*ways, *((("ReLU at code 0", "", {"relu": True}),) if of.clamps else ())):
            yield mistaken(way, where, partial(codes, of, way))


def _average(p: Parameters) -> Iterator[Known]:
    def codes(way: Way, windows: Array) -> Array:
        mean = (windows.astype(np.int64) - p["z"]).sum(1) / (p["kh"] * p["kw"])
        low, kind = code_range(p)[0], DTYPES[p["dtype"]]
        return codes_of(mean, p["z"], made(way), first=False, low=low, kind=kind)

    for way in (EXACT, *ROUNDED_OTHERWISE):
        yield mistaken(way, "", partial(codes, way))


def _activation(operator: str, p: Parameters) -> Iterator[Known]:
    if operator in CHOSEN:
        scale, zero_point = CHOSEN[operator][p["dtype"]]
    else:
        scale, zero_point = p["so"], p["zo"]
    settings = {"alpha": p.get("alpha"), "negative_slope": p.get("slope")}
    real = PORTABLE.get(operator) or in_float64.ACTIVATIONS[operator]

    def codes(way: Way, q: Array) -> Array:
        y = real((q.astype(np.float64) - p["z"]) * p["s"], settings) / scale
        low, kind = code_range(p)[0], DTYPES[p["dtype"]]
        return codes_of(y, zero_point, made(way), first=False, low=low, kind=kind)

    for way in (EXACT, *ROUNDED_OTHERWISE):
        yield mistaken(way, "", partial(codes, way))


def _sigmoid(x: Array, _: Any) -> Array:
    return np.asarray(1 / (1 + portable.exp(-x)))


def _tanh(x: Array, _: Any) -> Array:
    return portable.tanh(x)


def _elu(x: Array, settings: Any) -> Array:
    return np.where(x > 0, x, settings["alpha"] * portable.expm1(np.minimum(x, 0)))


PORTABLE = {"sigmoid": _sigmoid, "tanh": _tanh, "elu": _elu}
"""``network.in_float64.ACTIVATIONS`` whose exponential has the same bits on every machine."""
CHOSEN = {"hardsigmoid": FROM_0_TO_1, "tanh": FROM_MINUS_1_TO_1}
"""Scale and zero point that the operator gives its result."""
EXACT: Way = ("float64", "", {"double": True})


MISTAKEN: dict[str, Callable[[Any], Iterator[Known]]] = {
    "quantize": _quantize,
    "dequantize": lambda p: iter(()),
    "add": partial(_sum, "add"),
    "add_relu": partial(_sum, "add_relu"),
    "mul": partial(_product, "mul"),
    "mul_relu": partial(_product, "mul_relu"),
    "add_scalar": lambda p: iter(()),
    "mul_scalar": lambda p: iter(()),
    "requantize_linear": partial(_requantized, False),
    "requantize_conv": partial(_requantized, True),
    "avg_pool": _average,
    **{operator: partial(_activation, operator) for operator in ACTIVATIONS},
    "hardtanh": lambda p: iter(()),
}
"""Operator -> its parameters -> the mistakes that can be made in it."""
