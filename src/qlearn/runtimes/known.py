"""The list of known arithmetics: PyTorch's own, the mistakes people make, other runtimes' (Find my wrong integer).

The same list, name for name, stands in ``widgets/known.js``, which the page computes with; a test takes both through the
same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite, log2
from typing import Any

import numpy as np

from qlearn.codes.affine import DTYPES
from qlearn.runtimes.arithmetic import Array, Known, Parameters
from qlearn.runtimes.engines import ENGINES
from qlearn.runtimes.mistaken import MISTAKEN
from qlearn.runtimes.others import RUNTIMES
from qlearn.runtimes.written import WRITTEN

__all__ = ["OPERATORS", "Known", "arithmetics", "refuses"]

OWN = {"s": "scale", "z": "zero", "dtype": "dtype"}
PAIR = {"s1": "scale", "z1": "zero", "s2": "scale", "z2": "zero", **OWN}
WITH_NUMBER = {"s": "scale", "z": "zero", "c": "real", "dtype": "dtype"}
LAYER = {
    "sx": "scale",
    "sw": "scale",
    "bias": "real",
    "s": "scale",
    "z": "zero",
    "per_channel": "flag",
    "relu": "flag",
}
DTYPE = {"dtype": "dtype"}
ACTIVATION = {"s": "scale", "z": "zero", "so": "scale", "zo": "zero"}
OPERATORS: dict[str, dict[str, str]] = {
    "quantize": OWN,
    "dequantize": OWN,
    "add": PAIR,
    "add_relu": PAIR,
    "mul": PAIR,
    "mul_relu": PAIR,
    "add_scalar": WITH_NUMBER,
    "mul_scalar": WITH_NUMBER,
    "requantize_linear": LAYER,
    "requantize_conv": LAYER,
    "avg_pool": {"s": "scale", "z": "zero", "kh": "count", "kw": "count", "dtype": "dtype"},
    "sigmoid": ACTIVATION | DTYPE,
    "tanh": OWN,
    "hardswish": ACTIVATION | DTYPE,
    "hardsigmoid": OWN,
    "elu": {**ACTIVATION, "alpha": "real", **DTYPE},
    "leaky_relu": {**ACTIVATION, "slope": "real", **DTYPE},
    "hardtanh": {"s": "scale", "z": "zero", "min": "real", "max": "real", **DTYPE},
}
"""Operator -> its parameters: name -> kind. 1 and 2 are the inputs, the plain letters are the result."""


def arithmetics(operator: str, parameters: Parameters) -> tuple[Known, ...]:
    """Every known arithmetic of an operator, PyTorch's first.

    Args:
        operator: a key of ``OPERATORS``.
        parameters: a value for each of the operator's names; dtype is "quint8" or "qint8".

    Raises:
        ValueError: what ``refuses`` says.
    """
    if wrong := refuses(operator, parameters):
        raise ValueError(wrong)
    lists = (ENGINES, MISTAKEN, WRITTEN, RUNTIMES)
    return tuple(known for each in lists for known in each[operator](parameters))


def refuses(operator: str, parameters: Parameters) -> str | None:
    """What is wrong with the parameters, in words; None if nothing is."""
    if operator not in OPERATORS:
        return f"operator must be one of {', '.join(OPERATORS)}, got {operator}"
    for name, kind in OPERATORS[operator].items():
        if name not in parameters:
            return f"parameters must have {', '.join(OPERATORS[operator])}; {name} is missing"
        if wrong := CHECKS[kind](parameters[name], parameters):
            return f"{name} must be {wrong}, got {parameters[name]}"
    return TOGETHER[operator](parameters) if operator in TOGETHER else None


def _number(value: Any, *, whole: bool = False) -> bool:
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    return isinstance(value, kinds) and not isinstance(value, bool)


def _scale(value: Any, p: Parameters) -> str | None:
    with np.errstate(over="ignore", under="ignore"):
        fits = _number(value) and 2.0**-126 <= np.float32(value) <= 2.0**126
    return None if fits else "from 2^-126 to 2^126, a normal float32 whose inverse is one"


def _zero(value: Any, p: Parameters) -> str | None:
    dtype = p.get("dtype", "quint8")
    info = np.iinfo(DTYPES[dtype] if dtype in DTYPES else np.uint8)
    fits = _number(value, whole=True) and info.min <= value <= info.max
    return None if fits else f"a whole number from {info.min} to {info.max}, as {dtype} is"


def _real(value: Any, p: Parameters) -> str | None:
    with np.errstate(over="ignore"):
        return None if _number(value) and isfinite(np.float32(value)) else "finite, as float32 too"


def _flag(value: Any, p: Parameters) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _count(value: Any, p: Parameters) -> str | None:
    return None if _number(value, whole=True) and 1 <= value <= 64 else "a whole number from 1 to 64"


def _dtype(value: Any, p: Parameters) -> str | None:
    return None if value in ("quint8", "qint8") else "quint8 or qint8"


CHECKS: dict[str, Callable[[Any, Parameters], str | None]] = {
    "scale": _scale,
    "zero": _zero,
    "real": _real,
    "flag": _flag,
    "count": _count,
    "dtype": _dtype,
}


def _between(names: str, value: float, least: float, most: float) -> str | None:
    if least <= value < most:
        return None
    return f"{names} must be from 2^{log2(least):.0f} to below 2^{log2(most):.0f}, got {value}"


def _of_sum(p: Parameters) -> str | None:
    """Sums stay within int32, so that its overflow parts no paths."""
    ratios = (_between(f"s{i} / s", p[f"s{i}"] / p["s"], 2.0**-24, 2.0**20) for i in (1, 2))
    return next(filter(None, ratios), None)


def _of_product(p: Parameters) -> str | None:
    """Products stay within int32 and float32."""
    product = p["s1"] * p["s2"]
    within = _between("s1 · s2", product, 2.0**-120, 2.0**120)
    return within or _between("s1 · s2 / s", product / p["s"], 2.0**-60, 2.0**14)


def _of_scalar_sum(p: Parameters) -> str | None:
    """The codes that are requantized are exact in float32."""
    if not abs(p["c"] / p["s"]) < 2.0**23:
        return f"c must be less than 2^23 steps of s, got {p['c']}"
    wider = moved_scale(p)
    return None if np.float32(wider) <= 2.0**126 else f"c must leave the result a scale of at most 2^126, got {wider}"


def moved_scale(p: Parameters) -> float:
    """The scale that add_scalar gives its result."""
    info = np.iinfo(DTYPES[p["dtype"]])
    low, high = int(info.min), int(info.max)
    moved = p["z"] - round(p["c"] / p["s"])
    reach = high - moved if moved < low else moved - low
    return float(p["s"] if low <= moved <= high else reach / (high - low) * p["s"])


def _of_scalar_product(p: Parameters) -> str | None:
    scale = abs(p["c"]) * p["s"]
    with np.errstate(over="ignore", under="ignore"):
        fits = p["c"] == 0 or 2.0**-126 <= np.float32(scale) <= 2.0**126
    return None if fits else f"|c| · s must be 0 or from 2^-126 to 2^126, got {scale}"


def _of_layer(p: Parameters) -> str | None:
    """No number on the way overflows float32 to become none at all."""
    product = p["sx"] * p["sw"]
    wrong = _between("sx · sw", product, 2.0**-100, 2.0**100)
    if wrong := wrong or _between("sx · sw / s", product / p["s"], 2.0**-100, 2.0**20):
        return wrong
    fits = max(abs(p["bias"] / p["s"]), abs(p["bias"] / product)) < 2.0**100
    return None if fits else f"bias must be less than 2^100 steps of s, and of sx · sw, got {p['bias']}"


def _of_activation(largest: Callable[[Parameters], float], p: Parameters) -> str | None:
    """No number leaves int32."""
    if p["s"] > 2.0**60:
        return f"s must be at most 2^60, got {p['s']}"
    most, scale = largest(p), p.get("so", 1)
    if most / scale < 2.0**28:
        return None
    return f"so must be more than 2^-28 of the largest number, {most}, got {scale}"


def _of_clamp(p: Parameters) -> str | None:
    return None if p["min"] <= p["max"] else f"min must not be larger than max, got {p['min']} and {p['max']}"


def _of_average(p: Parameters) -> str | None:
    return None if 2.0**-100 <= p["s"] <= 2.0**100 else f"s must be from 2^-100 to 2^100, got {p['s']}"


LARGEST: dict[str, Callable[[Parameters], float]] = {
    "sigmoid": lambda p: 1,
    "tanh": lambda p: 1,
    "hardsigmoid": lambda p: 1,
    "hardswish": lambda p: 255 * p["s"],
    "elu": lambda p: max(255 * p["s"], abs(p["alpha"])),
    "leaky_relu": lambda p: 255 * p["s"] * max(1, abs(p["slope"])),
}
"""The largest real number of a result, or a bound of it."""
TOGETHER: dict[str, Callable[[Parameters], str | None]] = {
    "add": _of_sum,
    "add_relu": _of_sum,
    "mul": _of_product,
    "mul_relu": _of_product,
    "add_scalar": _of_scalar_sum,
    "mul_scalar": _of_scalar_product,
    "requantize_linear": _of_layer,
    "requantize_conv": _of_layer,
    "avg_pool": _of_average,
    **{operator: partial(_of_activation, largest) for operator, largest in LARGEST.items()},
    "hardtanh": _of_clamp,
}
