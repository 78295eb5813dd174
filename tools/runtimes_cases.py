"""What ONNX Runtime and LiteRT are asked, and what ``qlearn.runtimes`` says to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from qlearn.runtimes import litert, onnxruntime

CODES = {"quint8": 0, "qint8": -128}
KINDS = {"quint8": np.uint8, "qint8": np.int8}


@dataclass(frozen=True)
class Case:
    """One call."""

    operator: str
    runtime: str
    """"onnxruntime" or "litert reference" and its like."""
    p: dict[str, Any]
    rows: int


def inputs(case: Case) -> tuple[Any, ...]:
    """The rows, the same for the same parameters: codes that meet each other, numbers and accumulators around ties."""
    p, k = case.p, np.arange(case.rows)
    low = CODES[p.get("dtype", "quint8")]
    if case.operator == "quantize":
        x = ((k - case.rows // 2 + 0.5) / 4 * p["s"]).astype(np.float32)
        x = (x.view(np.int32) + (k % 5 - 2).astype(np.int32)).view(np.float32)
        x[:12] = [np.nan, np.inf, -np.inf, 0, -0.0, 1e30, -1e30, *(np.array([2, -2, 1, -1, 3]) * 2.0**30 * p["s"])]
        return (x,)
    if case.operator.startswith(("add", "mul")):
        return (k * 37 + 11) % 256 + low, (k * 101 + k // 256 * 7) % 256 + low
    if case.operator.endswith("avg_pool"):
        n = p["kh"] * p["kw"]
        grid = k[:, None] * 53 + np.arange(n) * (k[:, None] % 13 + 1)
        return (grid % 256 + low,)
    if case.operator.startswith("requantize"):
        m = p["sx"] * p["sw"] / p["s"]
        return (np.clip(np.rint((k - case.rows // 2) / case.rows * 700 / m + k % 3), -(2**30), 2**30).astype(np.int64),)
    return (k % 256 + low,)


def cases(rows: int, seed: int) -> Iterator[Case]:
    """All of them: tie-rich scales and others."""
    rng = np.random.default_rng(seed)
    runtimes = ("onnxruntime", *(f"litert {kernel}" for kernel in litert.KERNELS))

    def scale(tie: bool) -> float:
        return float(np.float32(rng.choice([0.0625, 0.25, 0.5, 0.037]) if tie else np.exp(rng.uniform(-5, -1))))

    for number in range(8):
        tie, dtype = number % 2 == 0, ("quint8", "qint8")[number // 2 % 2]
        z1, z2, z = (int(v) + CODES[dtype] for v in rng.integers(0, 256, 3) | 1)  # odd: a tie falls otherwise after it
        s = scale(tie)
        s1, s2, out = (
            [(s, s, 2 * s), (s, 2 * s, 2 * s), (s, 3 * s, 4 * s)][number % 3]
            if tie
            else (s, scale(False), scale(False) * 3)
        )
        own = {"s": s, "z": z, "dtype": dtype}
        pair = {"s1": s1, "z1": z1, "s2": s2, "z2": z2, "s": out, "z": z, "dtype": dtype}
        sx, sw = (2.0**-6, 2.0**-7) if tie else (scale(False), scale(False) / 8)
        wider = 2.0 ** int(rng.integers(4, 9)) if tie else float(np.exp(rng.uniform(3, 7)))
        layer = {
            "sx": sx, "sw": sw, "bias": 0.0, "s": sx * sw * wider,
            "z": int(rng.integers(0, 256)) | 1, "per_channel": number % 4 > 1, "relu": number % 3 == 1,
        }  # fmt: skip
        so = s if tie else scale(False)
        for runtime in runtimes:
            onnx, xnnpack = runtime == "onnxruntime", runtime == "litert xnnpack"
            yield Case("quantize", runtime, own, rows)
            yield Case("dequantize", runtime, own, min(rows, 256))
            for operator in ("add", "mul") if onnx else ("add", "add_relu", "mul", "mul_relu"):
                p = pair if operator.startswith("add") else pair | {"s": s1 * s2 * (4 if tie else 37.0)}
                yield Case(operator, runtime, p, rows)
            yield Case("requantize_linear", runtime, layer | ({"relu": False} if onnx else {}), rows)
            yield Case("requantize_conv", runtime, layer | ({"relu": False} if onnx else {}), rows)
            if not xnnpack:
                size = {"kh": int(rng.integers(2, 5)), "kw": int(rng.integers(2, 4))}
                yield Case("avg_pool", runtime, {"s": s, "z": z, **size, "dtype": dtype}, min(rows, 256))
                if onnx:
                    yield Case("global_avg_pool", runtime, {"s": s, "z": z, **size, "dtype": dtype}, min(rows, 256))
                slope = float(np.float32(rng.choice([0.01, 0.25, 0.1])))
                yield Case(
                    "leaky_relu", runtime, {"s": s, "z": z1, "so": so, "zo": z, "slope": slope, "dtype": dtype}, 256
                )
            if onnx:
                unit = {"so": 2.0**-8, "zo": CODES[dtype]} if tie else {"so": scale(False), "zo": z}
                yield Case("sigmoid", runtime, {"s": s, "z": z1, **unit, "dtype": dtype}, 256)
            else:
                yield Case("sigmoid", runtime, {"s": s, "z": z1, "dtype": dtype}, 256)
                yield Case("tanh", runtime, {"s": s, "z": z1, "dtype": dtype}, 256)
            if not onnx and not xnnpack:
                yield Case("hardswish", runtime, {"s": s, "z": z1, "so": so, "zo": z, "dtype": dtype}, 256)


def windows_of(case: Case, codes: Any) -> Any:
    """Images (N, 1, H, W): two windows side by side, or one, which another operator takes."""
    kh, kw = case.p["kh"], case.p["kw"]
    beside = 1 if case.operator == "global_avg_pool" else 2
    images = codes.reshape(-1, beside, kh, kw).swapaxes(1, 2)
    return np.ascontiguousarray(images.reshape(-1, 1, kh, beside * kw))


def ours(case: Case) -> Any:
    """What ``qlearn.runtimes`` says."""
    return _of_onnx(case) if case.runtime == "onnxruntime" else _of_litert(case, case.runtime.split(" ")[1])


def _of_onnx(case: Case) -> Any:
    p, given = case.p, inputs(case)
    kind = KINDS[p.get("dtype", "quint8")]
    if case.operator.startswith("requantize"):
        return onnxruntime.requantize(given[0], p["sx"], p["sw"], p["s"], np.uint8(p["z"]))
    z = {name: kind(p[name]) for name in ("z", "z1", "z2", "zo") if name in p}
    if case.operator == "quantize":
        return onnxruntime.quantize_linear(given[0], p["s"], z["z"])
    q = [a.astype(kind) for a in given]
    if case.operator == "dequantize":
        return onnxruntime.dequantize_linear(q[0], p["s"], z["z"])
    if case.operator in ("add", "mul"):
        function = getattr(onnxruntime, f"qlinear_{case.operator}")
        return function(q[0], p["s1"], z["z1"], q[1], p["s2"], z["z2"], p["s"], z["z"])
    if case.operator.endswith("avg_pool"):
        size, x = (p["kh"], p["kw"]), windows_of(case, q[0])
        return onnxruntime.qlinear_average_pool(x, p["s"], z["z"], p["s"], z["z"], size).reshape(-1)
    more = (p["slope"],) if case.operator == "leaky_relu" else ()
    return getattr(onnxruntime, f"qlinear_{case.operator}")(q[0], p["s"], z["z"], p["so"], z["zo"], *more)


def _of_litert(case: Case, kernel: str) -> Any:
    p, given = case.p, inputs(case)
    off = 128 if p.get("dtype", "quint8") == "quint8" else 0
    if case.operator.startswith("requantize"):
        operator = "conv_2d" if case.operator.endswith("conv") else "fully_connected"
        how = {"per_channel": p["per_channel"], "relu": p["relu"], "operator": operator, "kernel": kernel}
        return litert.requantize(given[0], p["sx"], p["sw"], (p["s"], p["z"] - 128), **how)
    if case.operator == "quantize":
        return litert.quantize(given[0], p["s"], p["z"] - off, kernel=kernel)
    q = [(a - off).astype(np.int8) for a in given]
    own = {number: (p[f"s{number}"], p[f"z{number}"] - off) for number in ("", "1", "2", "o") if f"s{number}" in p}
    if case.operator == "dequantize":
        return litert.dequantize(q[0], *own[""], kernel=kernel)
    if case.operator.startswith(("add", "mul")):
        function = getattr(litert, case.operator.removesuffix("_relu"))
        return function(*q, own["1"], own["2"], own[""], kernel=kernel, relu=case.operator.endswith("_relu"))
    if case.operator == "avg_pool":
        return litert.average_pool_2d(q[0], kernel=kernel)
    if case.operator in ("sigmoid", "tanh"):
        return {"sigmoid": litert.logistic, "tanh": litert.tanh}[case.operator](q[0], *own[""], kernel=kernel)
    if case.operator == "hardswish":
        return litert.hard_swish(q[0], own[""], own["o"], kernel=kernel)
    return litert.leaky_relu(q[0], own[""], own["o"], p["slope"], kernel=kernel)


def report(about: list[dict[str, Any]], arrays: dict[str, Any]) -> None:
    """Print how many differ, by operator and runtime."""
    counts: dict[tuple[str, str], list[int]] = {}
    for entry in about:
        case = Case(*(entry[name] for name in ("operator", "runtime", "p", "rows")))
        theirs, mine = arrays[entry["key"]], ours(case)
        count = counts.setdefault((case.operator, case.runtime), [0, 0])
        count[0] += theirs.size
        differ = int((theirs != mine).sum())
        count[1] += differ
        if differ:
            print("   ", case.operator, case.runtime, case.p, differ)
    for key, (total, differ) in sorted(counts.items()):
        print(f"{key[0]:20s}{key[1]:20s}{total:>10,d}{differ:>8,d}")
