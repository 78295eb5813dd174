"""PyTorch's own arithmetics of an operator: one for each formula, with whom it serves (Find my wrong integer).

All of them are functions of ``qlearn``, asked for an engine, a capability, a path and a release.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from qlearn.codes.affine import DTYPES, QTensor, quantize_per_channel, quantize_per_tensor
from qlearn.elementwise import activations, scalars, sums_and_products
from qlearn.elementwise.qnnpack_add import fixed_point, qnnpack_add
from qlearn.layers import adaptive_avg_pool2d, avg_pool2d, requantize
from qlearn.machine.machine import Machine
from qlearn.runtimes.arithmetic import Arrange, Array, Known, Parameters, code_range, in_bodies, in_tails

__all__ = ["ACTIVATIONS", "ENGINES"]

ACTIVATIONS = ("sigmoid", "tanh", "hardswish", "hardsigmoid", "elu", "leaky_relu")
"""The tabled ones."""
AVX2 = Machine("fbgemm", "AVX2", 1)
DEFAULT = Machine("fbgemm", "DEFAULT", 1)
AVX2_213, DEFAULT_213 = (Machine("fbgemm", capability, 1, release="2.13") for capability in ("AVX2", "DEFAULT"))
UP_TO_212 = Machine("qnnpack", "AVX2", 1, release="2.12")


def pytorch(name: str, words: str, codes: Callable[..., Array], key: str = "") -> Known:
    """An arithmetic of PyTorch."""
    return Known(name, words, "pytorch", codes, key)


def _quantize(p: Parameters) -> list[Known]:
    s, z, dtype = p["s"], p["z"], p["dtype"]

    def per_tensor(machine: Machine, x: Array) -> Array:
        return quantize_per_tensor(x, s, z, dtype, machine=machine).int_repr().astype(np.int64)

    def per_channel(machine: Machine, x: Array) -> Array:
        return (
            quantize_per_channel(x[None], [s], [z], 0, dtype, machine=machine).int_repr().reshape(-1).astype(np.int64)
        )

    tensor, channel = ("quantize_per_tensor of every engine and CPU", "quantize_per_channel of every engine and CPU")
    first = "the zero point goes in"
    return [
        pytorch("per tensor, all but 2.13", tensor, partial(per_tensor, AVX2)),
        pytorch("per tensor, 2.13", f"{tensor}: {first} with the product", partial(per_tensor, AVX2_213)),
        pytorch("per channel, all but 2.13", channel, partial(per_channel, AVX2)),
        pytorch("per channel, 2.13", f"{channel}: {first} before the rounding", partial(per_channel, AVX2_213)),
    ]


def _dequantize(p: Parameters) -> list[Known]:
    s, z, dtype = p["s"], p["z"], p["dtype"]

    def per_tensor(q: Array) -> Array:
        return QTensor(q.astype(DTYPES[dtype]), s, z, dtype).dequantize()

    def per_channel(q: Array) -> Array:
        return QTensor(q.astype(DTYPES[dtype])[None], [s], [z], dtype, 0).dequantize().reshape(-1)

    def in_body(q: Array) -> Array:
        return sums_and_products.dequantize_fused(q, np.float32(s), z)

    everywhere = "dequantize of every engine, CPU and release"
    return [
        pytorch("per tensor", f"{everywhere}; and within the scalar tails", per_tensor),
        pytorch("per channel", f"{everywhere}: the scale stays float64", per_channel),
        pytorch(
            "within the vector bodies of AVX2 and AVX512",
            "the real number that add, hardswish and others compute with",
            in_body,
        ),
    ]


def _pair(p: Parameters, arrange: Arrange, q1: Array, q2: Array) -> tuple[QTensor, QTensor]:
    return arrange(q1, p["s1"], p["z1"], p["dtype"]), arrange(q2, p["s2"], p["z2"], p["dtype"])


def _of_pair(operator: str, p: Parameters, arrange: Arrange, machine: Machine) -> Callable[[Array, Array], Array]:
    """The codes of a function of two tensors, all on one path."""
    function = getattr(sums_and_products, operator)

    def codes(q1: Array, q2: Array) -> Array:
        a, b = _pair(p, arrange, q1, q2)
        result: QTensor = function(a, b, p["s"], p["z"], machine=machine)
        return result.int_repr()[: len(q1)].astype(np.int64)

    return codes


def _sum(operator: str, p: Parameters) -> list[Known]:
    of = partial(_of_pair, operator, p)
    others = "fbgemm, x86, onednn"
    body, tail = of(in_bodies, AVX2), of(in_tails, AVX2)
    found = [
        pytorch(
            "vector body of AVX2 and AVX512", f"{others}: whole blocks of 64 elements, every release", body, "body"
        ),
        pytorch(
            "tail, and DEFAULT; all but 2.13",
            f"{others}: elements that fill no block, and all of a CPU without AVX2",
            tail,
            "tail",
        ),
        pytorch(
            "tail, 2.13",
            "the zero point goes in before the rounding, after the product",
            of(in_tails, AVX2_213),
            "tail-2.13",
        ),
        pytorch(
            "vector body of DEFAULT, 2.13",
            "the zero point goes in with the product",
            of(in_bodies, DEFAULT_213),
            "default-2.13",
        ),
    ]
    return [*found, *(_sum_of_qnnpack(operator, p) if p["dtype"] == "quint8" else _sum_of_xnnpack(operator, p))]


def _sum_of_qnnpack(operator: str, p: Parameters) -> list[Known]:
    """QNNPACK's sum, where it does not refuse; its scalar code apart where that computes otherwise."""
    relu = operator.endswith("_relu")

    def codes(arrange: Arrange, q1: Array, q2: Array) -> Array:
        a, b = _pair(p, arrange, q1, q2)
        return qnnpack_add(a, b, p["s"], p["z"], relu=relu).int_repr()[: len(q1)].astype(np.int64)

    def alone(q1: Array, q2: Array) -> Array:
        return np.concatenate([codes(in_tails, q1[i : i + 7], q2[i : i + 7]) for i in range(0, len(q1), 7)])

    try:
        codes(in_bodies, np.zeros(1), np.zeros(1))
    except ValueError:
        return []
    words = "the engine qnnpack, every release and CPU: integers, ties away from zero"
    found = [pytorch("qnnpack", words, partial(codes, in_bodies))]
    if fixed_point(p["s1"], p["s2"], p["s"])[2] >= 32:
        words = "the scalar code of the engine qnnpack, whose shift is taken modulo 32"
        found.append(pytorch("qnnpack, the last 1 to 7 elements", words, alone, "qnnpack-last"))
    return found


def _sum_of_xnnpack(operator: str, p: Parameters) -> list[Known]:
    words = "XNNPACK, of qint8 on the engine qnnpack, contiguous tensors"
    return [pytorch("qnnpack, up to 2.12", words, _of_pair(operator, p, in_bodies, UP_TO_212), "xnnpack")]


def _product(operator: str, p: Parameters) -> list[Known]:
    of, quint8 = partial(_of_pair, operator, p, in_bodies), p["dtype"] == "quint8"
    words = "vector body and tail alike" if quint8 else "vector body and tail alike, but for XNNPACK up to 2.12"
    found = [pytorch("every engine, path and release", words, of(AVX2), "all")]
    if not quint8 and p["z"] < 127:
        words = "XNNPACK, of qint8 with a zero point below 127, contiguous tensors"
        found.append(pytorch("every engine, up to 2.12", words, of(UP_TO_212), "xnnpack"))
    return found


def _of_scalar(operator: str, p: Parameters) -> list[Known]:
    function = getattr(scalars, operator)

    def codes(q: Array) -> Array:
        result: QTensor = function(in_bodies(q, p["s"], p["z"], p["dtype"]), p["c"])
        return result.int_repr()[: len(q)].astype(np.int64)

    words = "scale and zero point do the work"
    if operator == "add_scalar":
        info = np.iinfo(DTYPES[p["dtype"]])
        stays = info.min <= p["z"] - round(p["c"] / p["s"]) <= info.max
        words = "the codes stay, the zero point moves" if stays else "the codes are requantized to a wider scale"
    return [pytorch("every engine, path and release", words, codes, "all")]


def _requantized(conv: bool, p: Parameters) -> list[Known]:
    per_channel = p["per_channel"]
    scale = np.array([p["sw"]] if per_channel else p["sw"])
    of_weight = scale if conv else requantize.onednn_linear_scale(scale)

    def of(step: Callable[..., Array], w: Array) -> Callable[[Array], Array]:
        bias = np.array([p["bias"]], np.float32)

        def codes(acc: Array) -> Array:
            sums = acc.astype(np.int32)[:, None]
            return step(sums, bias, p["sx"], w, p["s"], p["z"], relu=p["relu"])[:, 0].astype(np.int64)

        return codes

    at_once, apart = "both scales at once", "one scale after the other"
    x86 = "and x86 where the CPU has VNNI"
    found = [
        pytorch(
            "fbgemm, and x86 where it takes FBGEMM" if conv else "fbgemm, and x86",
            "every release and CPU; depthwise up to 2.13" if conv else "every release and CPU",
            of(requantize.fbgemm, scale),
            "fbgemm",
        )
    ]
    if conv and not per_channel:
        words = "the bias is multiplied, then added"
        step = of(requantize.fbgemm_depthwise, scale)
        found.append(pytorch("fbgemm, depthwise since 2.14", words, step, "fbgemm-depthwise"))
    return [
        *found,
        pytorch(
            "qnnpack",
            "every release and CPU: the bias becomes an integer first",
            of(requantize.qnnpack, scale),
            "qnnpack",
        ),
        pytorch(
            "onednn, AVX-512",
            f"2.11 and newer, {x86}: {apart}" if conv else f"2.11 to 2.14: {apart}",
            of(requantize.onednn_vnni, of_weight),
            "onednn-avx512",
        ),
        pytorch(
            "onednn, AVX2; AVX-512 up to 2.10, or AMX",
            f"2.1 and newer, {x86}; kernels that multiply matrices too: {at_once}"
            if conv
            else f"2.1 and newer: {at_once}",
            of(requantize.onednn_avx2, of_weight),
            "onednn-avx2",
        ),
        pytorch(
            "onednn, without a kernel for the shape",
            "grouped convolutions on AVX2: divided by the scale",
            of(requantize.onednn_reference, of_weight),
            "onednn-reference",
        )
        if conv
        else pytorch(
            "onednn, AVX-512, 2.15",
            "divided by the scale",
            of(requantize.onednn_divided, of_weight),
            "onednn-2.15",
        ),
        pytorch(
            "onednn, 1.13 and 2.0",
            "oneDNN 2: the bias in steps of the accumulator, and one multiplier",
            of(requantize.onednn_2, scale),
            "onednn-2.0",
        ),
    ]


def _average(p: Parameters) -> list[Known]:
    """Each window is an image of its own channel."""
    size = (p["kh"], p["kw"])

    def images(windows: Array, *, last: bool, channels: int = 1) -> QTensor:
        """(n, kh kw) -> (1, n + what fills the channels, kh, kw)."""
        q = windows.astype(DTYPES[p["dtype"]]).reshape(-1, *size)
        q = np.concatenate([q, np.zeros((-len(q) % channels, *size), q.dtype)])[None]
        codes = np.ascontiguousarray(np.moveaxis(q, 1, -1)) if last else q
        return QTensor(np.moveaxis(codes, -1, 1) if last else codes, p["s"], p["z"], p["dtype"])

    def pooled(windows: Array, machine: Machine, **how: Any) -> Array:
        result = avg_pool2d(images(windows, **how), size, machine=machine)
        return result.int_repr().reshape(-1)[: len(windows)].astype(np.int64)

    def adapted(windows: Array, machine: Machine, **how: Any) -> Array:
        result = adaptive_avg_pool2d(images(windows, **how), 1, machine=machine)
        return result.int_repr().reshape(-1)[: len(windows)].astype(np.int64)

    qnnpack = replace(AVX2, engine="qnnpack")
    found = [
        pytorch(
            "channels_last",
            "avg_pool2d and adaptive_avg_pool2d; in 2.13 the vectors of avg_pool2d alone",
            partial(pooled, machine=AVX2, last=True, channels=8),
        ),
        pytorch(
            "avg_pool2d, contiguous",
            "the zero point goes in before the rounding; in 2.13 in tails of channels_last too",
            partial(pooled, machine=AVX2, last=False),
            "contiguous",
        ),
        pytorch(
            "adaptive_avg_pool2d, contiguous",
            "the codes themselves are averaged",
            partial(adapted, machine=AVX2, last=False),
            "adaptive-contiguous",
        ),
        pytorch(
            "adaptive_avg_pool2d, channels_last, 2.13",
            "vectors: the zero point goes in with the product",
            partial(adapted, machine=AVX2_213, last=True, channels=8),
            "adaptive-2.13",
        ),
    ]
    if p["dtype"] == "quint8" and size != (1, 1):
        found.append(pytorch("qnnpack", "m = s / (s·n), not 1/n", partial(pooled, machine=qnnpack, last=False)))
    return found


BODY = ("vector body of AVX2 and AVX512", "fbgemm, x86, onednn: whole blocks of 64 elements, every release")
TAIL_WORDS = "fbgemm, x86, onednn: elements that fill no block, and all of a CPU without AVX2"
FIRST = "the zero point goes in before the rounding, after the product"


def _activation(operator: str, p: Parameters) -> list[Known]:
    function = getattr(activations, operator)
    more = {"elu": ("alpha",), "leaky_relu": ("slope",)}.get(operator, ())

    def of(arrange: Arrange, machine: Machine) -> Callable[[Array], Array]:
        result = (p["so"], p["zo"]) if "so" in p else ()
        numbers = [p[name] for name in more]
        given = (*numbers, *result) if operator == "leaky_relu" else (*result, *numbers)

        def codes(q: Array) -> Array:
            found: QTensor = function(arrange(q, p["s"], p["z"], p["dtype"]), *given, machine=machine)
            return found.int_repr()[: len(q)].astype(np.int64)

        def table(q: Array) -> Array:
            """Looked up in the codes of 32 at a time, which fill no block."""
            low, high = code_range(p)
            every = np.concatenate([codes(piece) for piece in np.split(np.arange(low, high + 1), 8)])
            return np.take(every, q - low)

        return table if arrange is in_tails else codes

    older = partial(replace, AVX2)
    with_z = "the zero point goes in with the product"
    tail_213 = pytorch("tail, 2.13", FIRST, of(in_tails, AVX2_213), "tail-2.13")
    last = pytorch("vector body of DEFAULT, 2.13", with_z, of(in_bodies, DEFAULT_213), "default-2.13")
    body, name = BODY
    if operator == "sigmoid":
        others = "fbgemm, x86, onednn"
        found = [
            pytorch(f"{body}, since 2.2", f"{others}: dequantized (q − z)·s", of(in_bodies, AVX2), "body"),
            pytorch(
                f"{body}, up to 2.1",
                f"{others}: dequantized fma(s, q, −s·z)",
                of(in_bodies, older(release="2.1")),
                "body-2.1",
            ),
            pytorch(
                "tail, all but 2.13",
                "elements that fill no block: sum and quotient in float64",
                of(in_tails, AVX2),
                "tail",
            ),
            pytorch(
                "vector body of DEFAULT, all but 2.13",
                "a CPU without AVX2: sum and quotient in float32",
                of(in_bodies, DEFAULT),
                "default",
            ),
            tail_213,
            last,
        ]
    elif operator == "elu":
        difference, of_210 = "every engine: exp(x), then a difference", older(release="2.10")
        found = [
            pytorch(f"{body}, since 2.11", "every engine: whole blocks of 64 elements", of(in_bodies, AVX2), "body"),
            pytorch(f"{body}, up to 2.10", difference, of(in_bodies, of_210), "body-2.10"),
            pytorch(
                "tail, and DEFAULT; since 2.11 but 2.13",
                "every engine: elements that fill no block, and all of a CPU without AVX2",
                of(in_tails, AVX2),
                "tail",
            ),
            pytorch("tail, and DEFAULT; up to 2.10", difference, of(in_tails, of_210), "tail-2.10"),
            tail_213,
            last,
        ]
    else:
        if operator in ("hardswish", "hardsigmoid") and p["dtype"] == "quint8":
            words = f"{FIRST}; qnnpack so in every release"
            tail_213 = pytorch("tail, 2.13; qnnpack", words, of(in_tails, AVX2_213), "tail-2.13")
        found = [
            pytorch(body, name, of(in_bodies, AVX2), "body"),
            pytorch("tail, and DEFAULT; all but 2.13", TAIL_WORDS, of(in_tails, AVX2), "tail"),
            tail_213,
            last,
        ]
    own = operator == "sigmoid" and np.float32(p["so"]) == 2.0**-8 and p["zo"] == 0
    if p["dtype"] == "quint8" and (operator == "tanh" or own):
        words = "every release and CPU: scaled within the function"
        found.append(pytorch("qnnpack", words, of(in_bodies, older(engine="qnnpack"))))
    return found


def _clamp(p: Parameters) -> list[Known]:
    def codes(machine: Machine, q: Array) -> Array:
        x = in_bodies(q, p["s"], p["z"], p["dtype"])
        result = activations.hardtanh(x, p["min"], p["max"], machine=machine)
        return result.int_repr()[: len(q)].astype(np.int64)

    words = "every engine, CPU and path"
    return [
        pytorch("all but 2.13", words, partial(codes, AVX2)),
        pytorch("2.13", f"{words}: the bounds’ zero point goes in before the rounding", partial(codes, AVX2_213)),
    ]


ENGINES: dict[str, Callable[[Any], list[Known]]] = {
    "quantize": _quantize,
    "dequantize": _dequantize,
    "add": partial(_sum, "add"),
    "add_relu": partial(_sum, "add_relu"),
    "mul": partial(_product, "mul"),
    "mul_relu": partial(_product, "mul_relu"),
    "add_scalar": partial(_of_scalar, "add_scalar"),
    "mul_scalar": partial(_of_scalar, "mul_scalar"),
    "requantize_linear": partial(_requantized, False),
    "requantize_conv": partial(_requantized, True),
    "avg_pool": _average,
    **{operator: partial(_activation, operator) for operator in ACTIVATIONS},
    "hardtanh": _clamp,
}
"""Operator -> its parameters -> PyTorch's arithmetics."""
