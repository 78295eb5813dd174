"""From the accumulator of a linear layer or a convolution to the code, in integers (Chapter 9, Integers only).

The float32 formula is the very function of ``qlearn.layers.requantize`` that the layer calls; the accumulators are
those that its weights can reach. Each channel gets a form of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.integers.accumulators import Accumulators, Codes, of_convolution, of_linear
from qlearn.integers.certificate import Unproven, prove
from qlearn.integers.forms import Ints, Steps
from qlearn.integers.steps import steps_of
from qlearn.layers import requantize
from qlearn.layers.kernels import kernel_of
from qlearn.layers.linear import check_bias, requantize_of, scales_of, w_scales
from qlearn.layers.windows import Geometry
from qlearn.machine.machine import Machine

__all__ = ["Formula", "Requantization", "convolution", "linear"]

TINY, HUGE = 1e-37, 1e37
"""Between them no step of a formula becomes infinite, nor a product with it NaN."""
Floats = npt.NDArray[np.float32]
ROUND_ALONE = ("fbgemm", "fbgemm_depthwise", "qnnpack")
"""Functions of ``qlearn.layers.requantize`` in which a number beyond int32 becomes the lowest code."""


@dataclass(frozen=True, eq=False)
class Formula:
    """The float32 steps of a layer: accumulators (..., C) -> codes (Chapter 9).

    Args:
        steps: a function of ``qlearn.layers.requantize``; the others are its arguments.
    """

    steps: str
    bias: Floats
    x_scale: float
    w_scale: npt.NDArray[np.floating[Any]]
    scale: float
    zero_point: int
    relu: bool

    def __call__(self, acc: Ints) -> npt.NDArray[np.uint8]:
        parameters = self.bias, self.x_scale, self.w_scale, self.scale, self.zero_point
        codes: npt.NDArray[np.uint8] = getattr(requantize, self.steps)(acc, *parameters, relu=self.relu)
        return codes

    def check(self, low: Ints, high: Ints) -> None:
        """Refuse numbers with which the formula does not rise from low to high.

        Each step of it rises: conversions, products with positive numbers, sums and roundings. But infinities may
        become NaN, and some kernels turn what int32 does not hold into the lowest code.

        Raises:
            NotImplementedError: names the number.
        """
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            x, w, out = np.float32(self.x_scale), self.w_scale.astype(np.float32), np.float32(self.scale)
            numbers = {"x_scale": x, "w_scale": w, "scale": out, "x_scale * w_scale": x * w}
            numbers |= {"x_scale * w_scale / scale": x * w / out}
        for name, number in numbers.items():
            values = np.asarray(number, np.float64)
            if not ((values > TINY) & (values < HUGE)).all():
                raise NotImplementedError(f"{name} must lie between {TINY} and {HUGE} for integers, got {values}")
        if not np.isfinite(self.bias).all():
            raise NotImplementedError("bias must be finite for integers, got infinities or NaN")
        if self.steps not in ROUND_ALONE:
            return
        total = np.stack([low, high]) + self.bias / np.asarray(x * w, np.float64)
        if self.steps == "qnnpack" and not np.abs(total).max(initial=0) < 2**31 - 2:
            raise NotImplementedError(f"acc and bias together must not leave int32, got {np.abs(total).max():.0f}")
        most = float((total[1] * (x * w / np.float64(out))).max(initial=0))
        if not most < 2**31 - 2**12:
            raise NotImplementedError(f"the result must not leave int32, in steps of scale, got {most:.0f}")


@dataclass(frozen=True, eq=False)
class Requantization:
    """The integers of a layer's last step, and all that proves them (Chapter 9).

    Args:
        accumulators: what the channels sum, and how.
        formula: the float32 steps.
        steps: the integers, a form for each channel.
    """

    accumulators: Accumulators
    formula: Formula
    steps: Steps

    @classmethod
    def of(cls, accumulators: Accumulators, formula: Formula, steps: Steps | None = None) -> Requantization:
        """The cheapest forms for all that the accumulators reach, proved; or those that are given, for ``check``.

        Raises:
            NotImplementedError: an accumulator beyond int32; a formula that does not rise.
        """
        low, high = accumulators.reach()
        formula.check(low, high)
        if steps is None:
            steps = steps_of(formula, low, high, (formula.zero_point if formula.relu else 0, 255))
        return cls(accumulators, formula, steps)

    def codes(self, acc: npt.ArrayLike) -> Ints:
        """Accumulators (..., C), integers -> codes, int64."""
        return self.steps.codes(acc)

    def check(self) -> int:
        """Prove it again, from the weights and the float32 formula; how many accumulators it looked at.

        Raises:
            Unproven: a code differs, or the range is not the one that the weights reach.
        """
        low, high = self.accumulators.reach()
        self.formula.check(low, high)
        clip = (self.formula.zero_point if self.formula.relu else 0, 255)
        for name, mine, wanted in (("low", self.steps.low, low), ("high", self.steps.high, high)):
            if not np.array_equal(mine, wanted):
                c = int(np.argmax(mine != wanted))
                raise Unproven(f"channel {c} reaches {name} = {wanted[c]}, not {mine[c]}")
        if self.steps.clip != clip:
            raise Unproven(f"codes reach from {clip[0]} to {clip[1]}, not from {self.steps.clip}")
        return prove(self.steps, self.formula)


def linear(
    x: Codes,
    weight: QTensor,
    bias: npt.ArrayLike | None,
    scale: float,
    zero_point: int,
    machine: Machine,
    *,
    rows: int = 1,
    relu: bool = False,
    steps: Steps | None = None,
) -> Requantization:
    """The integers of ``qlearn.linear``'s last step (Chapter 9).

    Args:
        x: the codes that come.
        weight, bias, scale, zero_point, machine, relu: as of ``qlearn.linear``.
        rows: of x, which matters to oneDNN with AMX.
        steps: the forms, where they are known: ``check`` proves them.

    Raises:
        NotImplementedError: as ``Requantization.of``.
    """
    name = requantize_of(machine, weight, rows).__name__
    real_bias = check_bias(bias, weight.shape[0])
    formula = Formula(name, real_bias, x.scale, scales_of(machine, weight), scale, zero_point, relu)
    return Requantization.of(of_linear(machine, weight, x), formula, steps)


def convolution(
    x: Codes,
    weight: QTensor,
    bias: npt.ArrayLike | None,
    g: Geometry,
    scale: float,
    zero_point: int,
    machine: Machine,
    *,
    images: int = 1,
    relu: bool = False,
    steps: Steps | None = None,
) -> Requantization:
    """The integers of a convolution's last step, in one, two or three dimensions (Chapter 9).

    Args:
        x: the codes that come.
        weight, bias, scale, zero_point, machine, relu: as of ``qlearn.conv2d``.
        g: where its windows lie, and its groups.
        images: which matters to oneDNN with AMX.
        steps: as of ``linear``.

    Raises:
        NotImplementedError: as ``Requantization.of`` and ``qlearn.conv2d``.
    """
    kernel = kernel_of(machine, weight, g, images)
    formula = Formula(
        kernel.steps, check_bias(bias, weight.shape[0]), x.scale, w_scales(weight), scale, zero_point, relu
    )
    return Requantization.of(of_convolution(weight, g, kernel.pairs, x), formula, steps)
