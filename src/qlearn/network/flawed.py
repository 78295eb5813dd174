"""Layers with one step of their arithmetic replaced, for ``network.mistakes``; with none replaced they are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor
from qlearn.codes.rounding import fma, reciprocal, saturate
from qlearn.elementwise import xnnpack
from qlearn.elementwise.sums_and_products import BLOCKS, dequantize_fused, dequantize_subtract, multiplier_of_product
from qlearn.layers import conv as convolution
from qlearn.layers import requantize, window_sums, windows
from qlearn.layers.kernels import kernel_of
from qlearn.layers.linear import requantize_of, w_scales, w_zero_points
from qlearn.machine.iteration import broadcast_strides
from qlearn.machine.layout import dense_strides, like_channels_last
from qlearn.machine.machine import BODY, TAIL, Machine
from qlearn.machine.releases import ZERO_POINT_FIRST
from qlearn.network import in_float64 as float64

if TYPE_CHECKING:
    from qlearn.network.step import Step

__all__ = ["Arithmetic", "of"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Arithmetic:
    """Which steps of a layer's arithmetic are replaced; as it stands, none is."""

    double: bool = False
    divide: bool = False
    order: str = ""
    bias: str = ""
    rounding: str = "even"
    fixed_point: str = ""
    padding: bool = False
    saturation: bool = False
    plain: bool = False
    fused: bool = True
    wrap: bool = False
    relu: bool = False

    @property
    def real(self) -> type[np.floating[Any]]:
        """The dtype of real numbers."""
        return np.float64 if self.double else np.float32


Flawed = Callable[[Arithmetic], Array]
Steps = dict[str, tuple[Any, ...]]
"""Which steps of an arithmetic can be replaced, and by what."""
ROUNDINGS = ("truncate", "floor", "away", "up")
COMMON: Steps = {
    "double": (True,),
    "divide": (True,),
    "order": ("other", "last"),
    "rounding": ROUNDINGS,
    "wrap": (True,),
}


def of(step: Step, inputs: Sequence[Any], machine: Machine) -> tuple[Flawed, Steps] | None:
    """The step as a function of its arithmetic, and the steps of it that can be replaced; None if none can."""
    if step.op.startswith(("conv", "linear")):
        return _layer(step, inputs[0], machine)
    if step.op in ("add", "add_relu"):
        return _sum(step, inputs[0], inputs[1], machine)
    if step.op in ("mul", "mul_relu"):
        return _product(step, inputs[0], inputs[1])
    if step.op == "quantize":
        return _quantize(step, np.asarray(inputs[0]), machine)
    return _in_float64(step, inputs, machine)


def rounded(y: Array, how: str) -> Array:
    """Whole numbers of y's dtype."""
    if how == "even":
        return np.asarray(np.rint(y))
    if how == "truncate":
        return np.asarray(np.trunc(y))
    if how == "floor":
        return np.asarray(np.floor(y))
    if how == "up":
        return np.asarray(np.floor(y + y.dtype.type(0.5)))
    whole = np.trunc(y)
    return np.asarray(whole + np.sign(y) * (np.abs(y - whole) >= 0.5))


def codes_of(y: Array, zero_point: int, how: Arithmetic, *, first: bool, low: int = 0, kind: Any = np.uint8) -> Array:
    """Real numbers in steps of the result as codes, int64; ``first``: the zero point goes in before the rounding."""
    first = not first if how.order == "other" else first and how.order != "last"
    with np.errstate(invalid="ignore", over="ignore"):
        if first:
            whole = rounded(y + y.dtype.type(zero_point), how.rounding)
        else:
            whole = rounded(y, how.rounding) + y.dtype.type(zero_point)
        info = np.iinfo(kind)
        if how.wrap:
            return np.maximum(whole.astype(np.int64), low).astype(kind).astype(np.int64)
        return saturate(np.clip(whole, low, info.max), kind).astype(np.int64)


# Linear layers and convolutions


def _layer(step: Step, x: QTensor, machine: Machine) -> tuple[Flawed, Steps] | None:
    s, weight, relu = step.settings, step.settings["weight"], step.op.endswith("_relu")
    is_linear = step.op.startswith("linear")
    shape = x.shape
    if is_linear:  # as a convolution with one tap
        rows = x.int_repr().reshape(-1, x.shape[-1], 1)
        x = QTensor(rows, x.q_scale(), x.q_zero_point(), x.dtype)
        axis = 0 if weight.qscheme() == "per_channel_affine" else None
        w_codes, w_zeros = weight.int_repr()[..., None], w_zero_points(weight)
        weight = QTensor(w_codes, w_scales(weight), w_zeros, weight.dtype, axis)
    where = (1, 0, 1, 1) if is_linear else tuple(s[name] for name in ("stride", "padding", "dilation", "groups"))
    n = x.ndim - 2
    g = windows.geometry(n, x.shape, weight.shape, *where)
    if is_linear:
        kernels = requantize_of(machine, s["weight"], prod(shape[:-1])).__name__
        saturates = not machine.vnni and kernels != "qnnpack"
    else:
        kernel = kernel_of(machine, weight, g, x.shape[0])
        kernels, saturates = kernel.steps, bool(kernel.pairs)
    pairing = "channels" if kernels.startswith("onednn") else "taps"

    @cache
    def acc(padding: bool, saturation: bool) -> Array:
        """int32, (N, *out, M)"""
        t, where = x, g
        if padding and any(g.padding):
            codes = np.pad(x.int_repr(), [(0, 0), (0, 0), *((p, p) for p in g.padding)])
            t = QTensor(codes, x.q_scale(), x.q_zero_point(), x.dtype)
            where = windows.geometry(n, t.shape, weight.shape, g.stride, 0, g.dilation, g.groups)
        total = np.asarray(window_sums.accumulate(t, weight, where)).astype(np.int32)
        if saturates != saturation:
            lost = convolution.loss(t, weight, where, pairing)
            total = total if lost is None else total - lost
        return total

    def compute(how: Arithmetic) -> Array:
        total = acc(how.padding, how.saturation)
        w: npt.NDArray[np.floating[Any]] = w_scales(weight)
        if kernels.startswith("onednn") and is_linear and not how.plain and not how.double:
            w = requantize.onednn_linear_scale(w)
        bias = np.zeros(weight.shape[0], np.float32) if s["bias"] is None else s["bias"]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            codes = _requantized(total, bias, x.q_scale(), w, s["scale"], s["zero_point"], kernels, relu, how)
        if is_linear:
            return codes.reshape(*shape[:-1], weight.shape[0])
        return np.moveaxis(codes, -1, 1)

    whole = ("real",) if kernels == "qnnpack" else ("double", "divide", "multiply")
    steps = COMMON | {"bias": whole, "fixed_point": ("gemmlowp", "single")}
    for name, there in (
        ("padding", any(g.padding) and x.q_zero_point()),
        ("saturation", kernels != "qnnpack"),
        ("plain", kernels.startswith("onednn")),
        ("relu", relu and s["zero_point"]),
    ):
        steps |= {name: (True,)} if there else {}
    return None if kernels == "onednn_2" else (compute, steps)


def _requantized(
    acc: Array,
    bias: Array,
    x_scale: float,
    w_scale: Array,
    scale: float,
    zero_point: int,
    kernels: str,
    relu: bool,
    how: Arithmetic,
) -> Array:
    """``qlearn.layers.requantize`` with steps replaced; acc (..., M)."""
    real = how.real
    sx, sw, so, b = real(x_scale), w_scale.astype(real), real(scale), bias.astype(real)
    low = zero_point if relu and not how.relu else 0
    whole_bias = how.bias not in ("", "real") or how.fixed_point or (kernels == "qnnpack" and not how.bias)
    if whole_bias:
        product = w_scale.astype(np.float64) * x_scale
        if how.bias == "double" or how.double or how.fixed_point:
            steps = bias.astype(np.float64) / product
        elif how.bias == "divide":
            steps = b / product.astype(np.float32)
        else:
            steps = b * reciprocal(product)
        acc = acc + saturate(np.rint(steps), np.int32)
        b = b * 0
    if how.fixed_point:
        y = _fixed_point(acc, product / scale, how.fixed_point)
        return codes_of(y.astype(np.float64), zero_point, how, first=False, low=low)
    a = acc.astype(real)
    if kernels.startswith("onednn"):
        once, one = how.plain or how.double, real(1)
        rx = sx if once else one / np.float32(1.0 / x_scale)
        ro = so if once else one / np.float32(1.0 / scale)
        y = (a * (rx * sw) if kernels in ("onednn_avx2", "onednn_gemm") else (a * rx) * sw) + b
        y = np.maximum(y, real(0)) if relu and not how.relu else y
        y = y / ro if how.divide or kernels in ("onednn_reference", "onednn_divided") else y * (one / ro)
        return codes_of(y, zero_point, how, first=True, low=low)
    t = sx * sw
    if how.double and how.divide:
        return codes_of((a * t + b) / so, zero_point, how, first=False, low=low)
    if whole_bias:
        total = a
    elif w_scale.ndim == 0 and not how.double and kernels == "fbgemm":
        total = fma(b, reciprocal(t), a)
    elif w_scale.ndim == 0 and not how.double and kernels == "fbgemm_depthwise":
        total = a + b * reciprocal(t)
    else:
        total = a + b / t
    if how.divide:
        y = total * t / so if kernels.startswith("fbgemm") else total * (t / so)
    else:
        y = total * (t / so if kernels.startswith("fbgemm") else t * (real(1) / so))
    return codes_of(y, zero_point, how, first=False, low=low)


def _fixed_point(acc: Array, multiplier: Any, how: str) -> npt.NDArray[np.int64]:
    """acc * multiplier with integers: the multiplier as 31 bits and a power of two, (..., M)."""
    fraction, exponent = np.frexp(np.asarray(multiplier, np.float64))
    q = np.rint(fraction * 2.0**31).astype(np.int64)
    full = q == 2**31
    q, exponent = np.where(full, q // 2, q), exponent.astype(np.int64) + full
    a = acc.astype(np.int64)
    if how == "single":
        shift = 31 - exponent
        return np.asarray((a * q + (np.int64(1) << (shift - 1))) >> shift)
    product = (a << np.maximum(exponent, 0)) * q
    nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
    high = np.sign(nudged) * (np.abs(nudged) >> 31)  # towards zero, as C divides
    right = np.maximum(-exponent, 0)
    mask = (np.int64(1) << right) - 1
    up = (high & mask) > (mask >> 1) + (high < 0)
    return np.asarray((high >> right) + up)


# Sums, products, and the quantization of the input


def _sum(step: Step, a: QTensor, b: QTensor, machine: Machine) -> tuple[Flawed, Steps] | None:
    if a.dtype == "qint32":
        return None
    scale, zero_point, relu = step.settings["scale"], step.settings["zero_point"], step.op.endswith("_relu")
    shape = np.broadcast_shapes(a.shape, b.shape)
    qa, qb = np.broadcast_arrays(a.int_repr(), b.int_repr())
    inputs = [broadcast_strides(t.int_repr(), shape) for t in (a, b)]
    result = dense_strides(shape, channels_last=like_channels_last(a.int_repr()))
    paths = machine.path_map(shape, result, *inputs, block=BLOCKS[a.dtype])
    in_integers = machine.engine == "qnnpack" and a.dtype == "quint8" and a.shape == b.shape
    in_integers = in_integers or xnnpack.adds(machine, a.dtype)

    def compute(how: Arithmetic) -> Array:
        found = [_sum_on(path, qa, qb, a, b, scale, zero_point, machine, relu, how) for path in (TAIL, BODY)]
        return np.where(paths == BODY, found[BODY], found[TAIL])

    def compute_integers(how: Arithmetic) -> Array:
        """Nothing of qnnpack's sum is real; this is what real numbers give instead."""
        if how == Arithmetic():
            return _numbers_of(step, a, b, machine)
        return compute(replace(how, double=True))

    if in_integers:
        return compute_integers, {"double": (True,), "rounding": ROUNDINGS}
    return compute, COMMON


def _numbers_of(step: Step, a: QTensor, b: QTensor, machine: Machine) -> Array:
    codes: Array = step.compute(dict(zip(step.inputs, (a, b), strict=True)), machine).int_repr()
    return codes.astype(np.int64)


def _sum_on(
    path: int,
    qa: Array,
    qb: Array,
    a: QTensor,
    b: QTensor,
    scale: float,
    zero_point: int,
    machine: Machine,
    relu: bool,
    how: Arithmetic,
) -> Array:
    """``qlearn.add`` on one path with steps replaced."""
    default = machine.capability == "DEFAULT"
    first = machine.has(ZERO_POINT_FIRST) and (path == TAIL or default)

    def real(q: Array, t: QTensor) -> Array:
        s = how.real(t.q_scale())
        if how.double:
            return np.asarray((q.astype(np.float64) - t.q_zero_point()) * s)
        fused = path == BODY and not default
        every = np.arange(256, dtype=np.uint8).view(q.dtype)
        table = (dequantize_fused if fused else dequantize_subtract)(every, np.float32(s), t.q_zero_point())
        return table[np.ascontiguousarray(q).view(np.uint8)]

    x = real(qa, a) + real(qb, b)
    x = np.maximum(x, x.dtype.type(0)) if relu else x
    one, so = x.dtype.type(1), x.dtype.type(scale)
    kind = DTYPES[a.dtype]
    if path == BODY and first and not (how.double or how.divide or how.order):
        fused_sum = np.asarray(fma(x, reciprocal(scale), zero_point))
        return codes_of(fused_sum, 0, how, first=False, low=np.iinfo(kind).min, kind=kind)
    y = x / so if how.divide else x * (one / so)
    return codes_of(y, zero_point, how, first=first, low=np.iinfo(kind).min, kind=kind)


def _product(step: Step, a: QTensor, b: QTensor) -> tuple[Flawed, Steps] | None:
    if a.dtype == "qint32":
        return None
    scale, zero_point = step.settings["scale"], step.settings["zero_point"]
    c = (a.int_repr().astype(np.int32) - a.q_zero_point()) * (b.int_repr().astype(np.int32) - b.q_zero_point())
    kind = DTYPES[a.dtype]

    def compute(how: Arithmetic) -> Array:
        low = zero_point if step.op.endswith("_relu") and not how.relu else np.iinfo(kind).min
        if how.fixed_point:
            y: Array = _fixed_point(c, a.q_scale() * b.q_scale() / scale, how.fixed_point).astype(np.float64)
        elif how.divide:
            y = c.astype(how.real) * (how.real(a.q_scale()) * how.real(b.q_scale()) / how.real(scale))
        elif how.double:
            y = c * (a.q_scale() * b.q_scale() / scale)
        else:
            y = c.astype(np.float32) * multiplier_of_product(a.q_scale(), b.q_scale(), scale)
        return codes_of(y, zero_point, how, first=False, low=low, kind=kind)

    relu: Steps = {"relu": (True,)} if step.op.endswith("_relu") and zero_point else {}
    return compute, COMMON | {"fixed_point": ("gemmlowp", "single")} | relu


def _quantize(step: Step, x: Array, machine: Machine) -> tuple[Flawed, Steps] | None:
    scale, zero_point, dtype = (step.settings[name] for name in ("scale", "zero_point", "dtype"))
    if dtype == "qint32":
        return None
    kind, first = DTYPES[dtype], machine.has(ZERO_POINT_FIRST)

    def compute(how: Arithmetic) -> Array:
        low = np.iinfo(kind).min
        if first and how.fused and not (how.double or how.divide or how.order):
            return codes_of(np.asarray(fma(x, reciprocal(scale), zero_point)), 0, how, first=False, low=low, kind=kind)
        real, so = x.astype(how.real), how.real(scale)
        y = real / so if how.divide else real * (how.real(1) / so)
        return codes_of(y, zero_point, how, first=first, low=low, kind=kind)

    return compute, COMMON | ({"fused": (False,)} if first else {})


def _in_float64(step: Step, inputs: Sequence[Any], machine: Machine) -> tuple[Flawed, Steps] | None:
    """Other layers: what real numbers in float64 would give, rounded in any way."""
    if step.op not in (*float64.AVERAGES, *float64.ACTIVATIONS, "cat", "cat_alike"):
        return None
    right: QTensor = step.compute(dict(zip(step.inputs, inputs, strict=True)), machine)
    y = float64.in_steps(step, inputs, right)
    if y is None or right.dtype == "qint32":
        return None
    kind = DTYPES[right.dtype]

    def compute(how: Arithmetic) -> Array:
        if how == Arithmetic():
            return right.int_repr().astype(np.int64)
        return codes_of(y, right.q_zero_point(), how, first=False, low=np.iinfo(kind).min, kind=kind)

    return compute, {"double": (True,), "rounding": ROUNDINGS, "order": ("last",)}
