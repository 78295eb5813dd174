"""Parameters and inputs on which the known arithmetics of an operator part."""

from typing import Any

import numpy as np

from strategies import INTEGERS, TIE_RICH, hard_reals, zero_points

TABLE = np.arange(256)


def preset(operator: str, rng: np.random.Generator, dtype: str, kind: int) -> dict[str, Any]:
    """Parameters: tie-rich (kind 0), of any size that is allowed (1), or at an edge (2)."""
    low = np.iinfo(INTEGERS[dtype]).min

    def zero() -> int:
        return zero_points(rng, dtype) if kind else int(rng.choice([0, 3, 43, 75, 100, 127, 128, 255])) + int(low)

    return PRESETS[operator.removesuffix("_relu") if operator in ("add_relu", "mul_relu") else operator](
        rng, dtype, kind, zero
    )


def _scale(rng: np.random.Generator, kind: int) -> float:
    if kind == 0:
        return float(rng.choice(TIE_RICH))
    return (
        float(np.exp(rng.uniform(-7, 0))) if kind == 1 else float(rng.choice([2.0**-126, 2.0**126, 1e-30, 1e30, 0.1]))
    )


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


def _add_scalar(rng, dtype, kind, zero):
    s = _scale(rng, min(kind, 1))
    steps = float(rng.choice([0, 0.5, 1, 1.5, -2.5, 255, 400.5, -300]) if kind == 0 else rng.normal(0, 300))
    return {
        "s": s,
        "z": zero(),
        "c": s * (steps if kind < 2 else float(rng.choice([2.0**22, -(2.0**22), 1e5, -77777]))),
        "dtype": dtype,
    }


def _mul_scalar(rng, dtype, kind, zero):
    return {
        "s": _scale(rng, min(kind, 1)),
        "z": zero(),
        "c": float(rng.choice([0, 0.5, -0.5, 1, -1, 3, -1.7, rng.normal()])),
        "dtype": dtype,
    }


def _layer(rng, dtype, kind, zero):
    sx, sw = (
        (2.0 ** -float(rng.integers(3, 9)), 2.0 ** -float(rng.integers(3, 9)))
        if kind == 0
        else (_scale(rng, 1), _scale(rng, 1))
    )
    ratio = 2.0 ** -float(rng.integers(3, 12)) if kind == 0 else float(np.exp(rng.uniform(-10, -1)))
    if kind == 2:
        ratio = 2.0 ** float(rng.choice([-99, -31, -30, -29.5, -2, -1, 0, 0.5, 7, 19]))
    s = sx * sw / ratio
    bias = float(
        rng.choice([0, 0.1, -1, 12.5])
        if kind == 0
        else rng.normal(0, 30 * s)
        if kind == 1
        else rng.choice([0, 1e4 * min(s, sx * sw * 2.0**60), -1e12 * sx * sw, 2.0**31 * sx * sw])
    )
    return {
        "sx": sx,
        "sw": sw,
        "bias": bias,
        "s": s,
        "z": zero_points(rng, "quint8"),
        "per_channel": bool(rng.integers(2)),
        "relu": bool(rng.integers(2)),
    }


def _pool(rng, dtype, kind, zero):
    kh, kw = (int(n) for n in rng.integers(2, 8 if kind < 2 else 12, 2))
    return {"s": _scale(rng, min(kind, 1)) if kind < 2 else 1e-30, "z": zero(), "kh": kh, "kw": kw, "dtype": dtype}


def _activation(*more):
    def of(rng, dtype, kind, zero):
        s = _scale(rng, min(kind, 1))
        so = float(rng.choice([s, s / 2, 2.0**-7, 2.0**-8]) if kind == 0 else np.exp(rng.uniform(-7, 0)))
        numbers = {"alpha": rng.choice([1, 0.5, -0.3, 1.7]), "slope": rng.choice([0.01, 0.5, 0.25, -0.1, 1.5])}
        result = {"so": so, "zo": zero()} if "so" in more else {}
        return {
            "s": s,
            "z": zero(),
            **result,
            **{name: float(numbers[name]) for name in more if name in numbers},
            "dtype": dtype,
        }

    return of


def _sigmoid(rng, dtype, kind, zero):
    found = _activation("so")(rng, dtype, kind, zero)
    return found | ({"so": 2.0**-8, "zo": 0 if dtype == "quint8" else -128} if rng.random() < 0.5 else {})


def _clamp(rng, dtype, kind, zero):
    s = _scale(rng, min(kind, 1))
    low, high = sorted(float(b) for b in rng.integers(-300, 300, 2) / 2 * s) if kind else (0.0, 6.0)
    return {"s": s, "z": zero(), "min": low, "max": high if kind < 2 else 1e30, "dtype": dtype}


PRESETS = {
    "sigmoid": _sigmoid,
    "tanh": _activation(),
    "hardswish": _activation("so"),
    "hardsigmoid": _activation(),
    "elu": _activation("so", "alpha"),
    "leaky_relu": _activation("so", "slope"),
    "hardtanh": _clamp,
    "add_scalar": _add_scalar,
    "mul_scalar": _mul_scalar,
    "requantize_linear": _layer,
    "requantize_conv": _layer,
    "avg_pool": _pool,
    "quantize": _own,
    "dequantize": _own,
    "add": _sum,
    "mul": _product,
}


def inputs(operator: str, p: dict[str, Any], rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    """n rows of an operator's inputs: all codes where they are few enough, else drawn, hard ones among them."""
    codes = TABLE + np.iinfo(INTEGERS[p["dtype"]]).min if "dtype" in p else TABLE
    if operator == "quantize":
        return (hard_reals(rng, n, p["s"], p["z"], p["dtype"]),)
    if operator in ("add", "add_relu", "mul", "mul_relu"):
        return tuple(rng.choice(codes, n) for _ in "ab")
    if operator.startswith("requantize"):
        return (accumulators(p, rng, n),)
    if operator == "avg_pool":
        spread = rng.integers(2, 256, (n, 1))  # of a window's codes
        middle = rng.choice(codes, (n, 1))
        drawn = middle + rng.integers(-spread, spread + 1, (n, p["kh"] * p["kw"])) // 2
        return (np.clip(drawn, codes[0], codes[-1]),)
    return (codes,)


def accumulators(p: dict[str, Any], rng: np.random.Generator, n: int) -> Any:
    """int32: most next to where a code begins, or half of it; some of any size."""
    m = p["sx"] * p["sw"] / p["s"]
    steps = rng.integers(-600, 600, n) / 2 - p["bias"] / p["s"]
    near = np.clip(np.rint(steps / m) + rng.integers(-2, 3, n), -(2.0**31), 2.0**31 - 1).astype(np.int64)
    anywhere = rng.integers(-(2**31), 2**31, n) >> rng.integers(0, 31, n)
    edges = rng.choice([-(2**31), 2**31 - 1, 0, 1, -1, 2**24, 2**24 + 1], n)
    return np.select([rng.random(n) < 0.7, rng.random(n) < 0.9], [near, anywhere], edges)
