"""The mistakes of ``network.mistakes`` as arithmetics of one operator, one for each way to make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from qlearn.machine.machine import Machine
from qlearn.network import flawed
from qlearn.network.arithmetic import Arithmetic
from qlearn.network.mistakes import MISTAKES
from qlearn.network.step import Step
from qlearn.runtimes.arithmetic import Array, Arrange, Known, Parameters, in_bodies, in_tails

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
AVX2 = Machine("fbgemm", "AVX2", 1)


def fits(multiplier: float) -> bool:
    """Whether the fixed points of an accumulator are there for a multiplier: 31 bits hold it with few to spare."""
    return 2.0**-30 <= multiplier < 1


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
    ways: list[Way] = [("float64", "", {"double": True}), *ONE_STEP]
    ways += FIXED_POINT if fits(p["s1"] * p["s2"] / p["s"]) else ()
    if operator.endswith("_relu") and p["z"] != 0:
        ways.append(("ReLU at code 0", "", {"relu": True}))
    for way in ways:
        yield mistaken(way, "", _of_pair(operator, p, in_tails, way))


MISTAKEN: dict[str, Callable[[Any], Iterator[Known]]] = {
    "quantize": _quantize,
    "dequantize": lambda p: iter(()),
    "add": partial(_sum, "add"),
    "add_relu": partial(_sum, "add_relu"),
    "mul": partial(_product, "mul"),
    "mul_relu": partial(_product, "mul_relu"),
}
"""Operator -> its parameters -> the mistakes that can be made in it."""
