"""Layers with one step of their arithmetic replaced, for ``network.mistakes``; with none replaced they are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor
from qlearn.codes.rounding import fma, reciprocal
from qlearn.elementwise import xnnpack
from qlearn.elementwise.sums_and_products import BLOCKS, dequantize_fused, dequantize_subtract, multiplier_of_product
from qlearn.machine.iteration import broadcast_strides
from qlearn.machine.layout import dense_strides, like_channels_last
from qlearn.machine.machine import BODY, TAIL, Machine
from qlearn.machine.releases import ZERO_POINT_FIRST
from qlearn.network import in_float64 as float64
from qlearn.network.arithmetic import COMMON, ROUNDINGS, Arithmetic, Flawed, Steps, codes_of, fixed_point
from qlearn.network.flawed_layers import of_convolution, of_linear

if TYPE_CHECKING:
    from qlearn.network.step import Step

__all__ = ["Arithmetic", "of"]

Array = npt.NDArray[Any]


def of(step: Step, inputs: Sequence[Any], machine: Machine) -> tuple[Flawed, Steps] | None:
    """The step as a function of its arithmetic, and the steps of it that can be replaced; None if none can."""
    if step.op.startswith("linear"):
        return of_linear(step, inputs[0], machine)
    if step.op.startswith("conv"):
        return of_convolution(step, inputs[0], machine)
    if step.op in ("add", "add_relu"):
        return _sum(step, inputs[0], inputs[1], machine)
    if step.op in ("mul", "mul_relu"):
        return _product(step, inputs[0], inputs[1])
    if step.op == "quantize":
        return _quantize(step, np.asarray(inputs[0]), machine)
    return _in_float64(step, inputs, machine)


def _sum(step: Step, a: QTensor, b: QTensor, machine: Machine) -> tuple[Flawed, Steps] | None:
    if a.dtype == "qint32":
        return None
    total = _Sum(a, b, step.settings["scale"], step.settings["zero_point"], step.op.endswith("_relu"), machine)

    def compute_integers(how: Arithmetic) -> Array:
        """Nothing of qnnpack's sum is real; this is what real numbers give instead."""
        if how == Arithmetic():
            return _right(step, (a, b), machine).int_repr().astype(np.int64)
        return total.codes(replace(how, double=True))

    in_integers = machine.engine == "qnnpack" and a.dtype == "quint8" and a.shape == b.shape
    if in_integers or xnnpack.adds(machine, a.dtype):
        return compute_integers, {"double": (True,), "rounding": ROUNDINGS}
    return total.codes, COMMON


def _right(step: Step, inputs: Sequence[Any], machine: Machine) -> QTensor:
    result: QTensor = step.compute(dict(zip(step.inputs, inputs, strict=True)), machine)
    return result


@dataclass(frozen=True)
class _Sum:
    """``qlearn.add`` in real numbers with steps replaced."""

    a: QTensor
    b: QTensor
    scale: float
    zero_point: int
    relu: bool
    machine: Machine

    @cached_property
    def paths(self) -> Array:
        """Which path computes each element."""
        operands = [t.int_repr() for t in (self.a, self.b)]
        shape = np.broadcast_shapes(self.a.shape, self.b.shape)
        result = dense_strides(shape, channels_last=like_channels_last(operands[0]))
        inputs = [broadcast_strides(codes, shape) for codes in operands]
        return self.machine.path_map(shape, result, *inputs, block=BLOCKS[self.a.dtype])

    def codes(self, how: Arithmetic) -> Array:
        """Each element by its path, int64."""
        return np.where(self.paths == BODY, self.on(BODY, how), self.on(TAIL, how))

    def on(self, path: int, how: Arithmetic) -> Array:
        """All elements on one path."""
        default = self.machine.capability == "DEFAULT"
        first = self.machine.has(ZERO_POINT_FIRST) and (path == TAIL or default)
        fused = path == BODY and not default
        x = self.real(self.a, how, fused=fused) + self.real(self.b, how, fused=fused)
        x = np.maximum(x, x.dtype.type(0)) if self.relu else x
        one, scale = x.dtype.type(1), x.dtype.type(self.scale)
        kind = DTYPES[self.a.dtype]
        low = np.iinfo(kind).min
        if path == BODY and first and not (how.double or how.divide or how.order):
            fused_sum = np.asarray(fma(x, reciprocal(self.scale), self.zero_point))
            return codes_of(fused_sum, 0, how, first=False, low=low, kind=kind)
        y = x / scale if how.divide else x * (one / scale)
        return codes_of(y, self.zero_point, how, first=first, low=low, kind=kind)

    def real(self, t: QTensor, how: Arithmetic, *, fused: bool) -> Array:
        """An operand as real numbers."""
        q = t.int_repr()
        if how.double:
            return np.asarray((q.astype(np.float64) - t.q_zero_point()) * t.q_scale())
        every = np.arange(256, dtype=np.uint8).view(q.dtype)
        dequantize = dequantize_fused if fused else dequantize_subtract
        return dequantize(every, np.float32(t.q_scale()), t.q_zero_point())[np.ascontiguousarray(q).view(np.uint8)]


def _product(step: Step, a: QTensor, b: QTensor) -> tuple[Flawed, Steps] | None:
    if a.dtype == "qint32":
        return None
    scale, zero_point = step.settings["scale"], step.settings["zero_point"]
    c = (a.int_repr().astype(np.int32) - a.q_zero_point()) * (b.int_repr().astype(np.int32) - b.q_zero_point())
    kind = DTYPES[a.dtype]

    def compute(how: Arithmetic) -> Array:
        low = zero_point if step.op.endswith("_relu") and not how.relu else np.iinfo(kind).min
        if how.fixed_point:
            y: Array = fixed_point(c, a.q_scale() * b.q_scale() / scale, how.fixed_point).astype(np.float64)
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
    right = _right(step, inputs, machine)
    y = float64.in_steps(step, inputs, right)
    if y is None or right.dtype == "qint32":
        return None
    kind = DTYPES[right.dtype]

    def compute(how: Arithmetic) -> Array:
        if how == Arithmetic():
            return right.int_repr().astype(np.int64)
        return codes_of(y, right.q_zero_point(), how, first=False, low=np.iinfo(kind).min, kind=kind)

    return compute, {"double": (True,), "rounding": ROUNDINGS, "order": ("last",)}
