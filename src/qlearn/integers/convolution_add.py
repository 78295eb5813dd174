"""A convolution and another tensor's codes, added before one rounding, in integers (Chapter 9, Integers only).

oneDNN's conv2d_add has two variables, the accumulator and a code. For each code it is a step of the accumulator; the
steps are alike but for where they begin, so the channel's M and S serve them all: (acc * M + B[code]) >> S, with late
codes of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.integers.accumulators import Accumulators, Codes, of_convolution
from qlearn.integers.certificate import Unproven, prove
from qlearn.integers.forms import Ints, Steps
from qlearn.integers.requantization import Formula
from qlearn.integers.steps import steps_of
from qlearn.layers import requantize
from qlearn.layers.kernels import kernel_of
from qlearn.layers.linear import check_bias, w_scales
from qlearn.layers.windows import Geometry
from qlearn.machine.machine import Machine

__all__ = ["ConvolutionAdd", "convolution_add"]

CODES = 256
PART = 16
"""Channels that are looked at together: their 4,096 steps fit the cache."""


@dataclass(frozen=True, eq=False)
class ConvolutionAdd:
    """The integers of conv2d_add's last step, and all that proves them (Chapter 9).

    Args:
        accumulators, formula: as of ``Requantization``; the formula without the other tensor.
        added: scale and zero point of the other tensor, quint8.
        steps: of 256 columns a channel, one for each code of the other tensor: column c * 256 + code. M and S are a
            channel's own.
    """

    accumulators: Accumulators
    formula: Formula
    added: Codes
    steps: Steps

    def codes(self, acc: npt.ArrayLike, added: npt.ArrayLike) -> Ints:
        """Accumulators (..., C) and codes of their shape -> codes, int64."""
        acc = np.asarray(acc, np.int64)
        column = np.arange(acc.shape[-1]) * CODES + np.asarray(added, np.int64)
        return self.steps.codes(acc, column)

    def check(self) -> int:
        """Prove it again, from the weights and the float32 formula; how many points it looked at.

        Raises:
            Unproven: a code differs, or the range is not the one that the weights reach.
        """
        low, high = (np.repeat(end, CODES) for end in self.accumulators.reach())
        if not (np.array_equal(low, self.steps.low) and np.array_equal(high, self.steps.high)):
            raise Unproven("the weights reach another range of accumulators")
        every = np.arange(len(self.steps) // CODES)
        return sum(
            prove(part_of(self.steps, channels), formula_of(self.formula, self.added, channels))
            for channels in np.split(every, range(PART, every.size, PART))
        )


def convolution_add(
    x: Codes,
    added: Codes,
    weight: QTensor,
    bias: npt.ArrayLike | None,
    g: Geometry,
    scale: float,
    zero_point: int,
    machine: Machine,
    *,
    images: int = 1,
    relu: bool = False,
) -> ConvolutionAdd:
    """The integers of ``qlearn.conv2d_add``'s last step (Chapter 9).

    Args:
        x: the codes that come.
        added: scale and zero point of the tensor that is added, all 256 codes of it.
        weight, bias, scale, zero_point, machine, relu: as of ``qlearn.conv2d_add``.
        g, images: as of ``convolution``.

    Raises:
        NotImplementedError: as ``convolution``.
        ValueError: machine has another engine than onednn.
    """
    if machine.engine != "onednn":
        raise ValueError(f"machine must have the engine onednn, the only one with conv2d_add, got {machine.engine}")
    kernel = kernel_of(machine, weight, g, images)
    bias_, w_scale = check_bias(bias, weight.shape[0]), w_scales(weight)
    formula = Formula(kernel.steps, bias_, x.scale, w_scale, scale, zero_point, relu)
    accumulators = of_convolution(weight, g, kernel.pairs, x)
    low, high = accumulators.reach()
    formula.check(low, high)
    Formula(kernel.steps, bias_, added.scale, np.array(1.0), scale, zero_point, relu).check(low, high)
    every, codes = np.arange(len(low)), (zero_point if relu else 0, 255)
    parts = []
    for part in np.split(every, range(PART, every.size, PART)):
        ends = np.repeat(low[part], CODES), np.repeat(high[part], CODES)
        parts.append(steps_of(formula_of(formula, added, part), *ends, codes, together=CODES))
    return ConvolutionAdd(accumulators, formula, added, Steps.joined(parts))


def formula_of(f: Formula, added: Codes, channels: Ints) -> Callable[[Ints], npt.NDArray[np.uint8]]:
    """The float32 steps of some channels: accumulators (n, 256 * C), the code added being fastest -> codes."""
    w_scale = f.w_scale[channels] if f.w_scale.ndim else f.w_scale
    step = getattr(requantize, f.steps)

    def codes(acc: Ints) -> npt.NDArray[np.uint8]:
        last = acc.reshape(len(acc), len(channels), CODES).swapaxes(1, 2)  # channels are the last axis there
        addend = np.broadcast_to(np.arange(CODES, dtype=np.uint8)[:, None], last.shape)
        accum = addend, added.scale, added.zero_point
        found = step(last, f.bias[channels], f.x_scale, w_scale, f.scale, f.zero_point, relu=f.relu, accum=accum)
        return np.asarray(found.swapaxes(1, 2).reshape(acc.shape))

    return codes


def part_of(steps: Steps, channels: Ints) -> Steps:
    """The columns of some neighbouring channels."""
    start, stop = int(channels[0]) * CODES, (int(channels[-1]) + 1) * CODES
    columns = slice(start, stop)
    low, high, M, B, S, late = (getattr(steps, name)[columns] for name in ("low", "high", "M", "B", "S", "late"))
    thresholds = {c - start: form for c, form in steps.thresholds.items() if start <= c < stop}
    return Steps(low, high, M, B, S, late, steps.clip, thresholds)
