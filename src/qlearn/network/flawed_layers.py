"""Linear layers and convolutions with steps of their arithmetic replaced, for ``network.flawed``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.codes.rounding import fma, reciprocal, saturate
from qlearn.layers import conv, window_sums, windows
from qlearn.layers.kernels import kernel_of
from qlearn.layers.linear import requantize_of, w_scales, w_zero_points
from qlearn.layers.requantize import onednn_linear_scale
from qlearn.machine.machine import Machine
from qlearn.network.arithmetic import COMMON, Arithmetic, Flawed, Steps, codes_of, fixed_point

if TYPE_CHECKING:
    from qlearn.network.step import Step

__all__ = ["Requantization", "of_convolution", "of_linear", "replaceable"]

Array = npt.NDArray[Any]
Sums = Callable[[bool, bool], Array]


def of_linear(step: Step, x: QTensor, machine: Machine) -> tuple[Flawed, Steps] | None:
    """See ``flawed.of``; computed as a convolution with one tap."""
    weight = step.settings["weight"]
    rows = QTensor(x.int_repr().reshape(-1, x.shape[-1], 1), x.q_scale(), x.q_zero_point(), x.dtype)
    axis = 0 if weight.qscheme() == "per_channel_affine" else None
    taps = QTensor(weight.int_repr()[..., None], w_scales(weight), w_zero_points(weight), weight.dtype, axis)
    g = windows.geometry(1, rows.shape, taps.shape, 1, 0, 1, 1)
    kernels = requantize_of(machine, weight, rows.shape[0]).__name__
    if kernels == "onednn_2":
        return None
    sums = _sums(rows, taps, g, kernels, saturates=not machine.vnni and kernels != "qnnpack")
    requantization = Requantization.of(step, x, taps, kernels, linear=True)

    def compute(how: Arithmetic) -> Array:
        codes = requantization.codes(sums(how.padding, how.saturation), how)
        return codes.reshape(*x.shape[:-1], taps.shape[0])

    return compute, replaceable(kernels, relu=requantization.clamps, padding=False)


def of_convolution(step: Step, x: QTensor, machine: Machine) -> tuple[Flawed, Steps] | None:
    """See ``flawed.of``."""
    weight = step.settings["weight"]
    where = (step.settings[name] for name in ("stride", "padding", "dilation", "groups"))
    g = windows.geometry(x.ndim - 2, x.shape, weight.shape, *where)
    kernel = kernel_of(machine, weight, g, x.shape[0])
    if kernel.steps == "onednn_2":
        return None
    sums = _sums(x, weight, g, kernel.steps, saturates=bool(kernel.pairs))
    requantization = Requantization.of(step, x, weight, kernel.steps, linear=False)

    def compute(how: Arithmetic) -> Array:
        return np.moveaxis(requantization.codes(sums(how.padding, how.saturation), how), -1, 1)

    padding = any(g.padding) and x.q_zero_point() != 0
    return compute, replaceable(kernel.steps, relu=requantization.clamps, padding=padding)


def replaceable(kernels: str, *, relu: bool, padding: bool) -> Steps:
    """Which steps of these kernels make a difference."""
    whole = ("real",) if kernels == "qnnpack" else ("double", "divide", "multiply")
    steps = COMMON | {"bias": whole, "fixed_point": ("gemmlowp", "single")}
    for name, there in (
        ("padding", padding),
        ("saturation", kernels != "qnnpack"),
        ("plain", kernels.startswith("onednn")),
        ("relu", relu),
    ):
        steps |= {name: (True,)} if there else {}
    return steps


def _sums(x: QTensor, weight: QTensor, g: windows.Geometry, kernels: str, *, saturates: bool) -> Sums:
    """The accumulators, int32, (N, *out, M): with code 0 in the padding or not, with the other saturation or not."""
    pairing = "channels" if kernels.startswith("onednn") else "taps"

    @cache
    def sums(code_0: bool, other_saturation: bool) -> Array:
        t, where = x, g
        if code_0 and any(g.padding):
            codes = np.pad(x.int_repr(), [(0, 0), (0, 0), *((p, p) for p in g.padding)])
            t = QTensor(codes, x.q_scale(), x.q_zero_point(), x.dtype)
            where = windows.geometry(x.ndim - 2, t.shape, weight.shape, g.stride, 0, g.dilation, g.groups)
        total = np.asarray(window_sums.accumulate(t, weight, where)).astype(np.int32)
        lost = conv.loss(t, weight, where, pairing) if saturates != other_saturation else None
        return total if lost is None else total - lost

    return sums


@dataclass(frozen=True)
class Requantization:
    """``qlearn.layers.requantize`` with steps replaced."""

    kernels: str
    linear: bool
    x_scale: float
    w_scales: Array
    """Of no dimension, or (M,)."""
    bias: npt.NDArray[np.float32]
    scale: float
    zero_point: int
    relu: bool

    @classmethod
    def of(cls, step: Step, x: QTensor, weight: QTensor, kernels: str, *, linear: bool) -> Requantization:
        """Of a step with its weight in the shape of a convolution's."""
        s = step.settings
        bias = np.zeros(weight.shape[0], np.float32) if s["bias"] is None else s["bias"]
        relu = step.op.endswith("_relu")
        return cls(kernels, linear, x.q_scale(), w_scales(weight), bias, s["scale"], s["zero_point"], relu)

    @property
    def clamps(self) -> bool:
        """Whether its ReLU cuts at another code than 0."""
        return self.relu and self.zero_point != 0

    def codes(self, acc: Array, how: Arithmetic) -> Array:
        """Accumulators (..., M) as codes, int64."""
        low = self.zero_point if self.relu and not how.relu else 0
        onednn = self.kernels.startswith("onednn")
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            bias = self.bias.astype(how.real)
            whole = self.bias_is_whole(how)
            if whole:
                acc, bias = acc + self.whole_bias(how), bias * 0
            if how.fixed_point:
                y = fixed_point(acc, self.product(how) / self.scale, how.fixed_point).astype(np.float64)
            elif onednn:
                y = self.by_onednn(acc.astype(how.real), bias, how)
            else:
                y = self.by_fbgemm_or_qnnpack(acc.astype(how.real), bias, how, added=whole)
        return codes_of(y, self.zero_point, how, first=onednn and not how.fixed_point, low=low)

    def w(self, how: Arithmetic) -> Array:
        """The weight's scales, as the kernel has them."""
        if self.kernels.startswith("onednn") and self.linear and not how.plain and not how.double:
            return onednn_linear_scale(self.w_scales)
        return self.w_scales

    def product(self, how: Arithmetic) -> Array:
        """What the accumulator counts in, float64."""
        return np.asarray(self.w(how).astype(np.float64) * self.x_scale)

    def bias_is_whole(self, how: Arithmetic) -> bool:
        """Whether the bias is rounded to int32 and added to the accumulator."""
        if how.fixed_point:
            return True
        return how.bias != "real" if how.bias else self.kernels == "qnnpack"

    def whole_bias(self, how: Arithmetic) -> Array:
        """The bias in steps of the accumulator, int32."""
        product = self.product(how)
        if how.bias == "double" or how.double or how.fixed_point:
            steps: Array = self.bias.astype(np.float64) / product
        elif how.bias == "divide":
            steps = self.bias.astype(np.float32) / product.astype(np.float32)
        else:
            steps = self.bias.astype(np.float32) * reciprocal(product)
        return saturate(np.rint(steps), np.int32)

    def by_onednn(self, acc: Array, bias: Array, how: Arithmetic) -> Array:
        """Real numbers in steps of the result."""
        real = how.real
        x_scale, scale, w = real(self.x_scale), real(self.scale), self.w(how).astype(real)
        if not (how.plain or how.double):
            x_scale, scale = (np.float32(1) / np.float32(1.0 / s) for s in (self.x_scale, self.scale))
        scales_first = self.kernels in ("onednn_avx2", "onednn_gemm")
        y = (acc * (x_scale * w) if scales_first else (acc * x_scale) * w) + bias
        if self.relu and not how.relu:
            y = np.maximum(y, real(0))
        divides = how.divide or self.kernels in ("onednn_reference", "onednn_divided")
        return np.asarray(y / scale if divides else y * (real(1) / scale))

    def by_fbgemm_or_qnnpack(self, acc: Array, bias: Array, how: Arithmetic, *, added: bool) -> Array:
        """Real numbers in steps of the result; ``added``: the accumulator has the bias already."""
        real = how.real
        scale, t = real(self.scale), real(self.x_scale) * self.w(how).astype(real)
        if how.double and how.divide:
            return np.asarray((acc * t + bias) / scale)
        total = acc if added else self.with_bias(acc, bias, t, how)
        fbgemm = self.kernels.startswith("fbgemm")
        if how.divide:
            return np.asarray(total * t / scale if fbgemm else total * (t / scale))
        return np.asarray(total * (t / scale if fbgemm else t * (real(1) / scale)))

    def with_bias(self, acc: Array, bias: Array, t: Array, how: Arithmetic) -> Array:
        """The sum, in steps of t."""
        if t.ndim == 0 and not how.double:
            if self.kernels == "fbgemm":
                return fma(bias, reciprocal(t), acc)
            if self.kernels == "fbgemm_depthwise":
                return acc + bias * reciprocal(t)
        return np.asarray(acc + bias / t)
