"""Other runtimes' arithmetics of an operator (Find my wrong integer).

LiteRT's codes are int8. For quint8 its kernels are given codes and zero points less 128, as its converters do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from qlearn.codes.affine import DTYPES
from qlearn.codes.rounding import saturate
from qlearn.runtimes import arm_compute, litert, onnxruntime
from qlearn.runtimes.arithmetic import Array, Known, Parameters, code_range
from qlearn.runtimes.mistaken import fits

__all__ = ["RUNTIMES"]

REST = "whole blocks of 16; the rest as the reference"
ARM = "Arm Compute Library"
ON_ARM = "PyTorch 2.9 on ARM, engine onednn"


def runtime(name: str, words: str, codes: Callable[..., Array]) -> Known:
    """An arithmetic of another runtime."""
    return Known(name, words, "runtime", codes)


def _offset(p: Parameters) -> int:
    """What is taken from codes and zero points to have int8."""
    return 128 if p.get("dtype", "quint8") == "quint8" else 0


def less(p: Parameters, words: str = "") -> str:
    """The words of a lane of LiteRT's."""
    int8 = "int8: codes and zero points less 128" if _offset(p) else "int8"
    return f"{int8}; {words}" if words else int8


def _int8(p: Parameters, *codes: Array) -> Iterator[Array]:
    for q in codes:
        yield (q - _offset(p)).astype(np.int8)


def _pair(p: Parameters, number: str = "") -> tuple[float, int]:
    """Scale and zero point in int8."""
    return p[f"s{number}"], p[f"z{number}"] - _offset(p)


def _zero(p: Parameters, name: str = "z") -> Any:
    """A zero point that says its dtype."""
    return DTYPES[p["dtype"]](p[name])


def _back(p: Parameters, codes: Array) -> Array:
    return codes.astype(np.int64) + _offset(p)


def _quantize(p: Parameters) -> Iterator[Known]:
    def of_onnx(x: Array) -> Array:
        return onnxruntime.quantize_linear(x, p["s"], _zero(p)).astype(np.int64)

    def of_litert(kernel: str, x: Array) -> Array:
        return _back(p, litert.quantize(x, *_pair(p), kernel=kernel))

    yield runtime("ONNX Runtime", "QuantizeLinear", of_onnx)
    for kernel, words in (("reference", "ties away"), ("optimized", ""), ("XNNPACK", "")):
        yield runtime(f"LiteRT, {kernel}", less(p, words), partial(of_litert, kernel.lower()))


def _dequantize(p: Parameters) -> Iterator[Known]:
    def of_onnx(q: Array) -> Array:
        return onnxruntime.dequantize_linear(q, p["s"], _zero(p))

    def of_litert(kernel: str, q: Array) -> Array:
        (codes,) = _int8(p, np.concatenate([q, np.zeros(-len(q) % 16, q.dtype)]))
        return litert.dequantize(codes, *_pair(p), kernel=kernel)[: len(q)]

    yield runtime("ONNX Runtime", "DequantizeLinear", of_onnx)
    yield runtime("LiteRT, reference and XNNPACK", less(p), partial(of_litert, "reference"))
    yield runtime("LiteRT, optimized", less(p, REST), partial(of_litert, "optimized"))


def _of_litert(operator: str, kernel: str, p: Parameters, relu: bool) -> Callable[[Array, Array], Array]:
    """ADD or MUL, in whole blocks of 16."""

    def codes(q1: Array, q2: Array) -> Array:
        padded = (np.concatenate([q, np.full(-len(q) % 16, p["z"])]) for q in (q1, q2))
        function = getattr(litert, operator)
        a, b = _int8(p, *padded)
        return _back(p, function(a, b, _pair(p, "1"), _pair(p, "2"), _pair(p), kernel=kernel, relu=relu))[: len(q1)]

    return codes


def _sum(relu: bool, p: Parameters) -> Iterator[Known]:
    def of_onnx(q1: Array, q2: Array) -> Array:
        z1, z2, z = (_zero(p, name) for name in ("z1", "z2", "z"))
        codes = onnxruntime.qlinear_add(q1, p["s1"], z1, q2, p["s2"], z2, p["s"], z)
        return np.broadcast_to(codes, q1.shape).astype(np.int64)

    def of_arm(q1: Array, q2: Array) -> Array:
        kind = DTYPES[p["dtype"]]
        pairs = ((p[f"s{i}"], p[f"z{i}"]) for i in ("1", "2", ""))
        return arm_compute.add(q1.astype(kind), q2.astype(kind), *pairs).astype(np.int64)

    of = partial(_of_litert, "add", p=p, relu=relu)
    ratios = [float(np.float32(p[f"s{i}"]) / np.float32(p["s"])) for i in (1, 2)]
    if not relu:
        yield runtime("ONNX Runtime", "QLinearAdd on a CPU with AVX2 and FMA", of_onnx)
    yield runtime("LiteRT, reference", less(p), of(kernel="reference"))
    yield runtime("LiteRT, optimized", less(p, REST), of(kernel="optimized"))
    if min(ratios) >= 2.0**-10 and max(ratios) < 2.0**8:
        yield runtime("LiteRT, XNNPACK", less(p, "ties up"), of(kernel="xnnpack"))
    if not relu and max(ratios) <= arm_compute.LARGEST:
        yield runtime(ARM, f"{ON_ARM}, tensors of one shape", of_arm)


def _product(relu: bool, p: Parameters) -> Iterator[Known]:
    def of_onnx(q1: Array, q2: Array) -> Array:
        z1, z2, z = (_zero(p, name) for name in ("z1", "z2", "z"))
        return onnxruntime.qlinear_mul(q1, p["s1"], z1, q2, p["s2"], z2, p["s"], z).astype(np.int64)

    of = partial(_of_litert, "mul", p=p, relu=relu)
    multiplier = np.float32(p["s1"]) * np.float32(p["s2"]) / np.float32(p["s"])
    if not relu:
        yield runtime("ONNX Runtime", "QLinearMul: the zero point goes in before the rounding", of_onnx)
    if multiplier >= 2.0**-30:
        yield runtime("LiteRT, reference and optimized", less(p), of(kernel="reference"))
    if 2.0**-16 <= multiplier < 2.0**8:
        yield runtime("LiteRT, XNNPACK", less(p), of(kernel="xnnpack"))


def _requantized(conv: bool, p: Parameters) -> Iterator[Known]:
    product = p["sx"] * p["sw"]
    bias = int(saturate(np.rint(np.asarray(np.float64(p["bias"]) / product)), np.int32))
    least = p["z"] if p["relu"] else 0

    def with_bias(acc: Array) -> Array:
        return acc.astype(np.int32) + np.int32(bias)  # wraps

    def of_onnx(acc: Array) -> Array:
        codes = onnxruntime.requantize(with_bias(acc), p["sx"], p["sw"], p["s"], np.uint8(p["z"]))
        return np.maximum(codes.astype(np.int64), least)

    def of_litert(kernel: str, acc: Array) -> Array:
        operator = "conv_2d" if conv else "fully_connected"
        how = {"operator": operator, "per_channel": p["per_channel"], "relu": p["relu"]}
        return _back(p, litert.requantize(with_bias(acc), p["sx"], p["sw"], _pair(p), kernel=kernel, **how))

    def of_arm(acc: Array) -> Array:
        parameters = p["bias"], p["sx"], p["sw"], p["s"], p["z"]
        return arm_compute.linear(acc.astype(np.int32), *parameters, relu=p["relu"]).astype(np.int64)

    rounded = "the bias rounded to int32"
    yield runtime("ONNX Runtime", f"{'QLinearConv' if conv else 'QGemm, QLinearMatMul'}, {rounded}", of_onnx)
    if not fits(product / p["s"]):
        return
    how = ("two roundings, ties up, then away", "two roundings, ties up")
    first = how[0] if conv else "float64, ties away"
    for kernel, words in (("reference", first), ("optimized", how[1]), ("XNNPACK", "float32")):
        yield runtime(f"LiteRT, {kernel}", less(p, f"{rounded}; {words}"), partial(of_litert, kernel.lower()))
    if not conv and not p["per_channel"] and abs(p["bias"] / product) < arm_compute.MOST:
        yield runtime(ARM, ON_ARM, of_arm)


def _average(p: Parameters) -> Iterator[Known]:
    def of_onnx(beside: int, windows: Array) -> Array:
        z, size = _zero(p), (p["kh"], p["kw"])
        padded = np.concatenate([windows, windows[: len(windows) % 2]]).astype(z.dtype)
        images = padded.reshape(-1, beside, *size).swapaxes(1, 2).reshape(-1, 1, size[0], beside * size[1])
        codes = onnxruntime.qlinear_average_pool(images, p["s"], z, p["s"], z, size)
        return codes.reshape(-1)[: len(windows)].astype(np.int64)

    def of_litert(windows: Array) -> Array:
        (q,) = _int8(p, windows)
        return _back(p, litert.average_pool_2d(q, kernel="reference"))

    summed = "real numbers summed one by one; the zero point goes in before the rounding"
    yield runtime("ONNX Runtime, QLinearAveragePool", summed, partial(of_onnx, 2))
    words = "the integer sum times s / (s·n); QLinearAveragePool of a whole image too"
    yield runtime("ONNX Runtime, QLinearGlobalAveragePool", words, partial(of_onnx, 1))
    yield runtime(
        "LiteRT, reference and optimized", less(p, "the codes’ sum divided in integers, ties away"), of_litert
    )


def _activation(operator: str, p: Parameters) -> Iterator[Known]:
    low = code_range(p)[0]

    def of_onnx(q: Array) -> Array:
        function = getattr(onnxruntime, f"qlinear_{operator}")
        more = (p["slope"],) if operator == "leaky_relu" else ()
        codes: Array = function(q, p["s"], _zero(p), p["so"], _zero(p, "zo"), *more)
        return codes.astype(np.int64)

    def of_litert(codes: Callable[[Array], Array], q: Array) -> Array:
        (narrow,) = _int8(p, q)
        return _back(p, codes(narrow))

    if operator == "sigmoid":
        yield runtime("ONNX Runtime", "QLinearSigmoid", of_onnx)
    if operator == "leaky_relu":
        yield runtime("ONNX Runtime", "QLinearLeakyRelu", of_onnx)
    if operator == "tanh" or (operator == "sigmoid" and np.float32(p["so"]) == 2.0**-8 and p["zo"] == low):
        function = litert.tanh if operator == "tanh" else litert.logistic
        each = partial(function, scale=p["s"], zero_point=p["z"] - _offset(p), kernel="reference")
        yield runtime("LiteRT", less(p, "all kernels: exact, then rounded"), partial(of_litert, each))
    if operator in ("hardswish", "leaky_relu") and _within_16_bits(p):
        out = (p["so"], p["zo"] - _offset(p))
        if operator == "hardswish":
            each = partial(litert.hard_swish, q_quantization=_pair(p), quantization=out, kernel="reference")
            words = less(p, "16-bit fixed point")
        elif p["slope"] > 0:
            how = {"q_quantization": _pair(p), "quantization": out, "alpha": p["slope"], "kernel": "reference"}
            each, words = partial(litert.leaky_relu, **how), less(p)
        else:
            return
        yield runtime("LiteRT, reference and optimized", words, partial(of_litert, each))


def _within_16_bits(p: Parameters) -> bool:
    """Whether LiteRT's shifts stay small."""
    ratio, slope = p["s"] / p["so"], p.get("slope", 1)
    return bool(2.0**-20 < ratio < 2.0**5 and 2.0**-20 < p["s"] < 2.0**16 and abs(slope) < 2.0**10)


def _none(p: Parameters) -> Iterator[Known]:
    return iter(())


RUNTIMES: dict[str, Callable[[Any], Iterator[Known]]] = {
    "quantize": _quantize,
    "dequantize": _dequantize,
    "add": partial(_sum, False),
    "add_relu": partial(_sum, True),
    "mul": partial(_product, False),
    "mul_relu": partial(_product, True),
    "add_scalar": _none,
    "mul_scalar": _none,
    "requantize_linear": partial(_requantized, False),
    "requantize_conv": partial(_requantized, True),
    "avg_pool": _average,
    **{operator: partial(_activation, operator) for operator in ("sigmoid", "tanh", "hardswish", "leaky_relu")},
    **dict.fromkeys(("hardsigmoid", "elu", "hardtanh"), _none),
}
"""Operator -> its parameters -> other runtimes' arithmetics."""
