"""PyTorch's own arithmetics of an operator: one for each formula, with whom it serves (Find my wrong integer).

All of them are functions of ``qlearn``, asked for an engine, a capability, a path and a release.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from qlearn.codes.affine import DTYPES, QTensor, quantize_per_channel, quantize_per_tensor
from qlearn.elementwise import sums_and_products
from qlearn.elementwise.qnnpack_add import fixed_point, qnnpack_add
from qlearn.machine.machine import Machine
from qlearn.runtimes.arithmetic import Array, Arrange, Known, Parameters, in_bodies, in_tails

__all__ = ["ENGINES"]

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
        return quantize_per_channel(x[None], [s], [z], 0, dtype, machine=machine).int_repr()[0].astype(np.int64)

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
        return QTensor(q.astype(DTYPES[dtype])[None], [s], [z], dtype, 0).dequantize()[0]

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


ENGINES: dict[str, Callable[[Any], list[Known]]] = {
    "quantize": _quantize,
    "dequantize": _dequantize,
    "add": partial(_sum, "add"),
    "add_relu": partial(_sum, "add_relu"),
    "mul": partial(_product, "mul"),
    "mul_relu": partial(_product, "mul_relu"),
}
"""Operator -> its parameters -> PyTorch's arithmetics."""
