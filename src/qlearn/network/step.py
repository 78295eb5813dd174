"""One layer of a network, as a call of one function of ``qlearn`` (Chapter 10, ResNet-18)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.machine.machine import Machine
from qlearn.network.operators import OPERATORS

__all__ = ["Ref", "Step", "Value", "in_brief", "names_in", "resolved"]

Value = Any  # a QTensor, a float32 array after the last step of the integers, a list of QTensors, an integer


@dataclass(frozen=True)
class Ref:
    """The result of a step, or an input of the network, by its name."""

    name: str


@dataclass(frozen=True)
class Step:
    """One layer: what it is called in the model, which function of ``qlearn`` computes it, from what.

    Args:
        name: the layer's name in the model, such as "features.3.conv.1"; of functions, a name made from theirs.
        op: the function, such as "conv2d_relu".
        inputs: names of the steps whose results are its first arguments.
        settings: its other arguments by name: scale, zero_point, weight (a QTensor), bias, stride and so on.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scale(self) -> float | None:
        """The result's scale, where the step sets one."""
        return self.settings.get("scale")

    @property
    def zero_point(self) -> int | None:
        """The result's zero point, where the step sets one."""
        return self.settings.get("zero_point")

    @property
    def weight(self) -> QTensor | None:
        """The integer weights with their scales, of a linear layer or convolution."""
        return self.settings.get("weight")

    @property
    def bias(self) -> npt.NDArray[np.float32] | None:
        """The bias, real numbers, of a linear layer or convolution; None is no bias."""
        return self.settings.get("bias")

    @cached_property
    def needs(self) -> frozenset[str]:
        """The names of everything that the step reads."""
        return frozenset(self.inputs) | self._read_by_settings

    @cached_property
    def _read_by_settings(self) -> frozenset[str]:
        return frozenset(names_in(tuple(self.settings.values())))

    def compute(self, values: Mapping[str, Value], machine: Machine) -> Value:
        """The step's result from those of the steps before it."""
        settings = resolved(self.settings, values) if self._read_by_settings else self.settings
        return OPERATORS[self.op](*(values[name] for name in self.inputs), **settings, machine=machine)

    def __str__(self) -> str:
        """Like the call that it is; arrays by dtype and shape."""
        settings = (f"{name}={in_brief(value)}" for name, value in self.settings.items() if value is not None)
        return f"{self.name} = {self.op}({', '.join([*self.inputs, *settings])})"


def names_in(value: Any) -> list[str]:
    """The names of all Refs within value."""
    if isinstance(value, Ref):
        return [value.name]
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, slice):
        value = (value.start, value.stop, value.step)
    return [name for part in value for name in names_in(part)] if isinstance(value, (tuple, list)) else []


def resolved(value: Any, values: Mapping[str, Value]) -> Any:
    """Value with each Ref replaced by what it names."""
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, Mapping):
        return {key: resolved(part, values) for key, part in value.items()}
    if isinstance(value, slice):
        return slice(*(resolved(part, values) for part in (value.start, value.stop, value.step)))
    return type(value)(resolved(part, values) for part in value) if isinstance(value, (tuple, list)) else value


def in_brief(value: Any) -> str:
    """A setting in few words."""
    if isinstance(value, Ref):
        return value.name
    if isinstance(value, QTensor):
        per = f" per channel {value.q_per_channel_axis()}" if value.qscheme() == "per_channel_affine" else ""
        return f"{value.dtype}{list(value.shape)}{per}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {in_brief(part)}' for key, part in value.items())}}}"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(in_brief(part) for part in value)})"
    return f"{value:.9g}" if isinstance(value, float) else repr(value)
