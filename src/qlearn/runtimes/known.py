"""The list of known arithmetics: PyTorch's own, the mistakes people make, other runtimes' (Find my wrong integer).

The same list, name for name, stands in ``widgets/known.js``, which the page computes with; a test takes both through
the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite, log2
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES
from qlearn.layers.accumulate import saturation_loss
from qlearn.layers.linear import even_halves
from qlearn.runtimes.arithmetic import Array, Known, Parameters
from qlearn.runtimes.engines import ENGINES
from qlearn.runtimes.mistaken import MISTAKEN
from qlearn.runtimes.others import RUNTIMES
from qlearn.runtimes.written import WRITTEN

__all__ = ["INPUTS", "OPERATORS", "Explanation", "Known", "accumulators", "arithmetics", "explain", "refuses"]

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


INPUTS: dict[str, tuple[str, ...]] = {
    "quantize": ("x",),
    **dict.fromkeys(("add", "add_relu", "mul", "mul_relu"), ("q1", "q2")),
    **dict.fromkeys(("requantize_linear", "requantize_conv"), ("acc",)),
    "avg_pool": ("window",),
}
"""Operator -> its inputs, where they are not one code, q."""


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


@dataclass(frozen=True)
class Explanation:
    """Whose numbers somebody's are."""

    names: tuple[str, ...]
    """Every known arithmetic that gives exactly these numbers, in the list's order; none if no one does."""
    differing: dict[str, int]
    """Of each of the others, the nearest first: how many of its numbers are not these."""
    rows: int

    def __str__(self) -> str:
        if self.names:
            return f"given by {'; '.join(self.names)}"
        name, count = next(iter(self.differing.items()))
        return f"given by no known arithmetic; the nearest is {name}: {count:,} of {self.rows:,} differ"


def explain(
    operator: str, parameters: Parameters, inputs: Sequence[npt.ArrayLike], theirs: npt.ArrayLike
) -> Explanation:
    """Which known arithmetics give exactly these numbers.

    Args:
        operator, parameters: as of ``arithmetics``.
        inputs: an array of shape (n,) for each of ``INPUTS``: float32 numbers of ``quantize``, int32 accumulators,
            codes of anything else; of ``avg_pool`` the codes of each window, (n, kh * kw).
        theirs: somebody's codes, (n,); float32 numbers of ``dequantize``.

    Raises:
        ValueError: what ``refuses`` says; inputs or theirs of another number or length.
    """
    knowns = arithmetics(operator, parameters)
    given = [_input(operator, name, values) for name, values in zip(*_together(operator, inputs), strict=True)]
    numbers = np.asarray(theirs, np.float32) if operator == "dequantize" else np.asarray(theirs)
    rows = len(given[0])
    if numbers.shape != (rows,) or any(len(values) != rows for values in given):
        lengths = ", ".join(str(np.shape(values)) for values in (*inputs, theirs))
        raise ValueError(f"inputs and theirs must have one length, got {lengths}")
    if operator == "avg_pool" and given[0].shape[1:] != (parameters["kh"] * parameters["kw"],):
        raise ValueError(
            f"window must have kh * kw = {parameters['kh'] * parameters['kw']} codes, got {given[0].shape}"
        )
    wrong = {known.name: _differing(known.codes(*given), numbers) for known in knowns}
    names = tuple(name for name, count in wrong.items() if count == 0)
    others = sorted(((name, count) for name, count in wrong.items() if count), key=lambda each: each[1])
    return Explanation(names, dict(others), rows)


def _together(operator: str, inputs: Sequence[Any]) -> tuple[tuple[str, ...], Sequence[Any]]:
    names = INPUTS.get(operator, ("q",))
    if len(inputs) != len(names):
        raise ValueError(f"inputs of {operator} must be {', '.join(names)}, got {len(inputs)} of them")
    return names, inputs


def _input(operator: str, name: str, values: Any) -> Array:
    """An operator's input as its arithmetics take it."""
    array = np.asarray(values)
    if name == "x":
        return array.astype(np.float32)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} of {operator} must be integers, got {array.dtype}")
    return array.astype(np.int64)


def _differing(ours: Array, theirs: Array) -> int:
    same = (ours == theirs) | ((ours != ours) & (theirs != theirs))
    return int(np.count_nonzero(~same))


def accumulators(
    x: npt.ArrayLike, w: npt.ArrayLike, x_zero_point: int, w_zero_point: int = 0, *, pairs: str = ""
) -> npt.NDArray[np.int32]:
    """The accumulator of each row of codes with each row of weights: sum (x - x_zero_point)(w - w_zero_point).

    Args:
        x: quint8 codes, (B, K); of a convolution, each window in the kernel's order, x_zero_point in the padding.
        w: qint8 codes, (M, K), in the same order.
        x_zero_point, w_zero_point: of both.
        pairs: "" for exact sums; "fbgemm" where the products of each two neighbours are clamped to 16 bits, as on a
            CPU without VNNI; "onednn" for oneDNN's linear layer for AVX2, which cuts rows of 257 to 767 in two halves.

    Returns:
        int32, (B, M).

    Raises:
        ValueError: an unknown pairs; rows of different lengths.
    """
    if pairs not in ("", "fbgemm", "onednn"):
        raise ValueError(f'pairs must be "", "fbgemm" or "onednn", got {pairs!r}')
    codes, weights = np.asarray(x), np.asarray(w)
    if codes.ndim != 2 or weights.ndim != 2 or codes.shape[1] != weights.shape[1]:
        raise ValueError(f"x and w must have rows of one length, got {codes.shape} and {weights.shape}")
    total = (codes.astype(np.int64) - x_zero_point) @ (weights.astype(np.int64) - w_zero_point).T
    if pairs:
        seen, taps = codes[None], weights.T[None]
        if pairs == "onednn":
            seen, taps = even_halves(seen, 2), even_halves(taps, 1)
        total = total - saturation_loss(seen, taps)[0]
    return total.astype(np.int32)


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
    info = np.iinfo(DTYPES.get(dtype, np.uint8))
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
    return f"so must be more than 2^-28 of the largest real number, got {scale}"


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
