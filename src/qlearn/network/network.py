"""A converted PyTorch model as a plain list of steps, run in NumPy (Chapter 10, ResNet-18; Chapter 11, MobileNetV2).

``Network.from_torch`` reads the model; what it makes needs no torch. Each step calls one function of ``qlearn`` with
the integers of the steps before it, so a network printed is a program that could be typed.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.machine.layout import laid_out
from qlearn.machine.machine import Machine
from qlearn.network import files
from qlearn.network.comparison import Comparison, compare
from qlearn.network.operators import OPERATORS
from qlearn.network.step import Ref, Step, Value, in_brief, names_in, resolved
from qlearn.network.trace import trace

if TYPE_CHECKING:
    import torch

__all__ = ["Network", "Progress"]


class Progress(NamedTuple):
    """A step that has just run: the how-manieth of how many, and how long it took."""

    number: int
    steps: int
    step: Step
    seconds: float

    def __str__(self) -> str:
        return f"{self.number:>4}/{self.steps}  {self.step.name:<36}{self.step.op:<22}{self.seconds * 1e3:>10.2f} ms"


class Network:
    """A quantized network: steps in the order they run (Chapters 10 and 11).

    Made by ``from_torch`` or ``load``; steps can also be put together by hand. ``str(net)`` is the program.

    Args:
        steps: each reads inputs of the network or results of earlier steps; names are unique.
        inputs: names of the arguments of ``net(x)``.
        output: what ``net(x)`` returns: a Ref, or tuples, lists and dicts of them.
        machine: whose arithmetic; None is ``Machine.default()``.

    Raises:
        NotImplementedError: a step's op is not a function that networks can call; names it and the step.
        ValueError: a step reads what no earlier step computes, or a name is there twice.
    """

    def __init__(
        self, steps: Sequence[Step], inputs: Sequence[str] = ("x",), output: Any = None, machine: Machine | None = None
    ) -> None:
        self.steps, self.inputs, self.machine = tuple(steps), tuple(inputs), Machine.of(machine)
        self.output = Ref(self.steps[-1].name if self.steps else self.inputs[0]) if output is None else output
        self.timings: dict[str, float] = {}
        """Seconds of each step in the last run, by name."""
        self._check()

    @classmethod
    def from_torch(cls, model: torch.nn.Module, *, machine: Machine | None = None) -> Network:
        """The network of a converted model: of torch.ao.quantization.convert, or of convert_fx (needs torch).

        The arithmetic of a layer depends on the engine that was set when the model was converted, and, for layers
        without weights, on the one that is set when it runs: torch.backends.quantized.engine must stay the same.

        Args:
            model: all that lies between quantizing and dequantizing must be an operator of ``qlearn``.
            machine: whose arithmetic; None is ``Machine.from_torch()``, what the running torch would use now.

        Raises:
            NotImplementedError: the model holds an operator that is not there; names the operator and the layer.
            TypeError: the model is not converted, or is not a module that can be traced; says what to do.
            ValueError: the model runs its layers in an order that depends on the data.
        """
        found = trace(model)
        machine = Machine.from_torch() if machine is None else machine
        return cls(found.steps, found.inputs, found.output, machine)

    def __call__(
        self, *x: Any, machine: Machine | None = None, progress: bool | Callable[[Progress], object] = False
    ) -> Any:
        """What the model returns for x, of the same shape.

        Args:
            x: a float32 array for each of ``inputs``.
            machine: whose arithmetic, in the place of ``net.machine``.
            progress: True prints a line after each step; a function is called with a ``Progress``.

        Raises:
            TypeError, ValueError: what the steps do not take; the message names the step.
        """
        values = self.run(*x, machine=machine, progress=progress)
        return resolved(self.output, values)

    def run(
        self,
        *x: Any,
        keep: bool = False,
        given: Mapping[str, npt.ArrayLike] | None = None,
        machine: Machine | None = None,
        progress: bool | Callable[[Progress], object] = False,
    ) -> dict[str, Value]:
        """Run the steps one after the other; their results by name: QTensors, whose ``int_repr()`` are the integers.

        Args:
            x, machine, progress: as for a call.
            keep: whether to keep every step's result, for test benches; otherwise only what ``output`` names.
            given: codes by layer name, to be used in the place of what these layers compute: to see how far a
                difference spreads.

        Raises:
            KeyError, ValueError: given names no layer, or codes of another shape or outside of the layer's dtype.
        """
        if len(x) != len(self.inputs):
            raise TypeError(f"the network takes {len(self.inputs)} inputs ({', '.join(self.inputs)}), got {len(x)}")
        machine = self.machine if machine is None else Machine.of(machine)
        report = print if progress is True else progress or None
        values: dict[str, Value] = dict(zip(self.inputs, x, strict=True))
        wanted, last = set(names_in(self.output)), self.last_uses
        for name in given or {}:
            self[name]  # KeyError for an unknown one
        self.timings = {}
        for number, step in enumerate(self.steps, 1):
            start = time.perf_counter()
            values[step.name] = self.compute(step, values, machine)
            if given and step.name in given:
                values[step.name] = replaced(step.name, values[step.name], given[step.name])
            self.timings[step.name] = seconds = time.perf_counter() - start
            if not keep:
                for name in last[step.name] - wanted:
                    del values[name]
            if report:
                report(Progress(number, len(self.steps), step, seconds))
        kept = {step.name for step in self.steps} if keep else wanted
        return {name: value for name, value in values.items() if name in kept}

    def compare(self, other: Any, *x: Any, machine: Machine | None = None) -> Comparison:
        """Compare each layer's integers with PyTorch's, or with arrays of somebody else (Chapters 10 and 11).

        A layer is computed twice: from the network's input, as ``run`` does, and from the other's own inputs of this
        layer. Where the second differs, the layer's arithmetic does; where only the first differs, the difference came
        from a layer before it. For the first layer whose arithmetic differs, the mistakes that give the other's
        numbers, every one of them, are named (``qlearn.network.mistakes``).

        Args:
            other: the model that this network was made from (needs torch), or a dict of arrays by layer name. The
                arrays hold integer codes, or real numbers of a dequantized layer, in PyTorch's shape (N, C, H, W);
                layers may be left out.
            x: as for a call.
            machine: whose arithmetic, in the place of ``net.machine``.

        Returns:
            A Comparison: rows, the first layer that differs, the known mistakes; printable.

        Raises:
            KeyError, ValueError: an array's name is no layer's, its shape is another, or the model is another one.
        """
        return compare(self, other, x, self.machine if machine is None else Machine.of(machine))

    def __getitem__(self, name: str) -> Step:
        """The step of a name."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(f"no step is named {name!r}; the steps are {', '.join(step.name for step in self.steps)}")

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        weights = sum(step.weight.size for step in self.steps if step.weight is not None)
        head = (
            f"Network({', '.join(self.inputs)}): {len(self.steps)} steps, {weights:,} integer weights, {self.machine}"
        )
        return "\n".join([head, *(f"  {step}" for step in self.steps), f"  return {in_brief(self.output)}"])

    def __repr__(self) -> str:
        return str(self).splitlines()[0]

    # Files

    def save(self, path: str | PathLike[str] | io.BufferedIOBase) -> None:
        """Write the network to one .npz file: arrays, and the steps as JSON. No pickle; needs no torch to be read."""
        files.save(path, files.Program(self.steps, self.inputs, self.output, self.machine))

    @classmethod
    def load(cls, path: str | PathLike[str] | io.BufferedIOBase) -> Network:
        """Read a file that ``save`` wrote.

        Raises:
            ValueError: it is no such file, or one of a newer qlearn.
            NotImplementedError: a step of it is not there in this qlearn.
        """
        return cls(*files.load(path))

    # Running

    def compute(self, step: Step, values: Mapping[str, Value], machine: Machine) -> Value:
        """A step's result from those before it; an error names the step."""
        try:
            return step.compute(values, machine)
        except (TypeError, ValueError, NotImplementedError) as error:
            error.add_note(f"in step {str(step)[:300]}")
            raise

    @cached_property
    def last_uses(self) -> dict[str, set[str]]:
        """For each step, what no later step reads, of that which it reads and what it makes."""
        last = {step.name: step.name for step in self.steps}
        for step in self.steps:
            last |= dict.fromkeys(step.needs, step.name)
        unread: dict[str, set[str]] = {step.name: set() for step in self.steps}
        for name, user in last.items():
            unread[user].add(name)
        return unread

    def _check(self) -> None:
        known = set(self.inputs)
        for step in self.steps:
            if step.op not in OPERATORS:
                raise NotImplementedError(f"the operator {step.op} of layer {step.name} is not there yet")
            if missing := sorted(step.needs - known):
                raise ValueError(f"step {step.name} reads {', '.join(missing)}, which no earlier step computes")
            if step.name in known:
                raise ValueError(f"two steps, or a step and an input, are named {step.name}")
            known.add(step.name)
        if missing := sorted({*names_in(self.output)} - known):
            raise ValueError(f"output names {', '.join(missing)}, which no step computes")


def replaced(name: str, result: Value, codes: npt.ArrayLike) -> QTensor:
    """A layer's result with other codes in the same places of memory, of the same scale, zero point and dtype."""
    array = np.asarray(codes)
    if not isinstance(result, QTensor) or array.shape != result.shape:
        shape = getattr(result, "shape", "none, as it has no codes")
        raise ValueError(f"given[{name!r}] must have shape {shape}, got {array.shape}")
    return QTensor(laid_out(array, result.strides), result.q_scale(), result.q_zero_point(), result.dtype)
