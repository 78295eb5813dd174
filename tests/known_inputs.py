"""Parameters and inputs on which the known arithmetics of an operator part."""

from typing import Any

import numpy as np

from strategies import INTEGERS, TIE_RICH, hard_reals, zero_points

TABLE = np.arange(256)


def preset(operator: str, rng: np.random.Generator, dtype: str, kind: int) -> dict[str, Any]:
    """Parameters: tie-rich (kind 0), of any size that is allowed (1), or at an edge (2)."""
    low, high = np.iinfo(INTEGERS[dtype]).min, np.iinfo(INTEGERS[dtype]).max

    def zero() -> int:
        return zero_points(rng, dtype) if kind else int(rng.choice([0, 3, 43, 75, 100, 127, 128, 255])) + int(low)

    return PRESETS[operator.removesuffix("_relu")](rng, dtype, kind, zero)


def _scale(rng: np.random.Generator, kind: int) -> float:
    if kind == 0:
        return float(rng.choice(TIE_RICH))
    return float(np.exp(rng.uniform(-7, 0))) if kind == 1 else float(rng.choice([2.0**-126, 2.0**126, 1e-30, 1e30, 0.1]))


def _own(rng, dtype, kind, zero):
    return {"s": _scale(rng, kind), "z": zero(), "dtype": dtype}


def _sum(rng, dtype, kind, zero):
    s = _scale(rng, min(kind, 1))
    if kind == 0:
        s1, s2, out = [(s, s, 2 * s), (s, 2 * s, 2 * s), (s, 3 * s, 4 * s), (2 * s, s, s), (s, s, s)][rng.integers(5)]
    elif kind == 1:
        s1, s2, out = s, s * float(np.exp(rng.uniform(-3, 3))), s * float(np.exp(rng.uniform(-1, 3)))
    else:
        out = s
        s1, s2 = (out * 2.0 ** float(rng.choice([-24, -15, -14, -12.5, -11, -10, 0, 7.9, 8, 19.9])) for _ in "ab")
    return {"s1": s1, "z1": zero(), "s2": s2, "z2": zero(), "s": out, "z": zero(), "dtype": dtype}


def _product(rng, dtype, kind, zero):
    s1, s2 = (_scale(rng, min(kind, 1)) for _ in "ab")
    out = s1 * s2 * float(rng.choice([1, 2, 4, 16, 64]) if kind == 0 else np.exp(rng.uniform(-1, 6)))
    if kind == 2:
        out = s1 * s2 * 2.0 ** float(rng.choice([-13.9, -5, 29, 30, 31, 33, 50]))
    return {"s1": s1, "z1": zero(), "s2": s2, "z2": zero(), "s": out, "z": zero(), "dtype": dtype}


PRESETS = {"quantize": _own, "dequantize": _own, "add": _sum, "mul": _product}


def inputs(operator: str, p: dict[str, Any], rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    """n rows of an operator's inputs: all codes where they are few enough, else drawn, hard ones among them."""
    codes = TABLE + np.iinfo(INTEGERS[p["dtype"]]).min if "dtype" in p else TABLE
    if operator == "quantize":
        return (hard_reals(rng, n, p["s"], p["z"], p["dtype"]),)
    if operator in ("add", "add_relu", "mul", "mul_relu"):
        return tuple(rng.choice(codes, n) for _ in "ab")
    return (codes,)
