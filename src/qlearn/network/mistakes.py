"""What goes wrong in re-implementations, each as arithmetic, so that numbers can be traced to it (Chapter 10).

``explain`` computes a layer with each known mistake, alone and two at a time, and names those that give exactly the
numbers it is shown. A mistake replaces a step of the layer's own arithmetic and leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, combinations, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.machine.layout import dense_strides, laid_out
from qlearn.machine.machine import CAPABILITIES, ENGINES, Machine
from qlearn.machine.releases import HISTORY, RELEASES
from qlearn.network import flawed
from qlearn.network.arithmetic import Arithmetic

if TYPE_CHECKING:
    from qlearn.network.step import Step

__all__ = ["MISTAKES", "Explanation", "Mistake", "explain", "with_mistake"]

Array = npt.NDArray[Any]


class Mistake(NamedTuple):
    """A way to be wrong."""

    name: str
    words: str


class Explanation(NamedTuple):
    """Mistakes that together give somebody's numbers: one, or two."""

    mistakes: tuple[Mistake, ...]

    @property
    def name(self) -> str:
        """The mistakes' names."""
        return " + ".join(mistake.name for mistake in self.mistakes)

    def __str__(self) -> str:
        return "; and ".join(f"{mistake.name}: {mistake.words}" for mistake in self.mistakes)


MISTAKES: dict[str, tuple[str, tuple[dict[str, Any], ...]]] = {
    "float64": (
        "every step in float64, where PyTorch rounds each to float32",
        tuple({"double": True} | more | order for more in ({}, {"divide": True}) for order in ({}, {"order": "last"})),
    ),
    "divide": ("a division by the scale, where PyTorch multiplies by its reciprocal", ({"divide": True},)),
    "zero point": (
        "the zero point before the rounding where PyTorch adds it after, or the reverse",
        ({"order": "other"},),
    ),
    "bias": (
        "the bias rounded to int32 where the engine keeps it real, or the reverse",
        ({"bias": "real"}, {"bias": "double"}, {"bias": "divide"}, {"bias": "multiply"}),
    ),
    "truncation": ("cut towards zero, where PyTorch rounds", ({"rounding": "truncate"},)),
    "floor": ("rounded down, where PyTorch rounds to the nearest", ({"rounding": "floor"},)),
    "half away from zero": ("ties away from zero, as C's round, where PyTorch's go to even", ({"rounding": "away"},)),
    "half up": ("ties up, as floor(x + 0.5), where PyTorch's go to even", ({"rounding": "up"},)),
    "gemmlowp": (
        "an integer multiplier of 31 bits and a rounding right shift, as gemmlowp and TensorFlow Lite have them",
        ({"fixed_point": "gemmlowp"},),
    ),
    "single rounding": (
        "an integer multiplier of 31 bits, rounded once, as newer TensorFlow Lite has it",
        ({"fixed_point": "single"},),
    ),
    "padding": ("code 0 in the padding, where real zero, the zero point, belongs", ({"padding": True},)),
    "int16 saturation": (
        "sums of two products clamped to int16 where the machine has exact ones, or the reverse",
        ({"saturation": True},),
    ),
    "scales inverted once": (
        "the scales as they are, where PyTorch hands oneDNN their reciprocals, to be inverted again",
        ({"plain": True},),
    ),
    "two roundings": (
        "the product rounded before the zero point is added, where one instruction does both",
        ({"fused": False},),
    ),
    "no clamp": ("the low 8 bits of what does not fit, where PyTorch clamps", ({"wrap": True},)),
    "ReLU at code 0": ("negative results cut at code 0, where real zero is the zero point", ({"relu": True},)),
}
"""Name -> in words, and the ways to make it: which steps of a layer's arithmetic are replaced, and by what."""


def explain(step: Step, inputs: Sequence[Any], theirs: Array, machine: Machine) -> tuple[Explanation, ...]:
    """Every known mistake with which the step gives exactly these numbers; pairs of mistakes if no single one does.

    Args:
        step: of a network.
        inputs: of the step.
        theirs: somebody's result, of the right result's shape.
        machine: whose arithmetic is right.
    """
    right = _computed(step, inputs, machine)
    singles = [*_arithmetics(step, inputs, machine, 1), *_machines(step, inputs, machine)]
    for possible in (singles, _arithmetics(step, inputs, machine, 2)):
        found = dict.fromkeys(mistakes for mistakes, make in possible if _same(make, right, theirs))
        if found:
            return tuple(map(Explanation, found))
    return ()


def explains(explanation: Explanation, step: Step, inputs: Sequence[Any], theirs: Array, machine: Machine) -> bool:
    """Whether the same mistakes give somebody's numbers in another step, too."""
    right = _computed(step, inputs, machine)
    made = [*_arithmetics(step, inputs, machine, len(explanation.mistakes))]
    made += _machines(step, inputs, machine) if len(explanation.mistakes) == 1 else []
    return any(_same(make, right, theirs) for mistakes, make in made if mistakes == explanation.mistakes)


def with_mistake(step: Step, inputs: Sequence[Any], name: str, machine: Machine | None = None) -> Array:
    """The step's numbers with one mistake made, int64 or float; to show what it changes.

    Raises:
        KeyError: no mistake of that name can be made in this step.
    """
    machine = Machine.of(machine)
    for mistakes, make in chain(_arithmetics(step, inputs, machine, 1), _machines(step, inputs, machine)):
        if mistakes[0].name == name:
            return make()
    raise KeyError(f"no mistake {name!r} can be made in {step.name} ({step.op})")


Make = Callable[[], Array]
Made = tuple[tuple[Mistake, ...], Make]


def _same(make: Make, right: Array, theirs: Array) -> bool:
    made = make()
    return np.array_equal(made, theirs, equal_nan=made.dtype.kind == "f") and not np.array_equal(made, right)


def _computed(step: Step, inputs: Sequence[Any], machine: Machine) -> Array:
    """The step's numbers: codes, or real ones."""
    value = step.compute(dict(zip(step.inputs, inputs, strict=True)), machine)
    return value.int_repr() if isinstance(value, QTensor) else np.asarray(value)


def _arithmetics(step: Step, inputs: Sequence[Any], machine: Machine, many: int) -> Iterator[Made]:
    """So many mistakes at a time, in different steps of the arithmetic."""
    found = flawed.of(step, inputs, machine)
    if found is None:
        return
    compute, steps = found
    possible = {
        Mistake(name, words): [way for way in ways if all(v in steps.get(key, ()) for key, v in way.items())]
        for name, (words, ways) in MISTAKES.items()
    }
    for mistakes in combinations(possible, many):
        for ways in product(*(possible[mistake] for mistake in mistakes)):
            changes: dict[str, Any] = {}
            for way in ways:
                changes |= way
            if len(changes) == sum(map(len, ways)):
                yield mistakes, partial(compute, replace(Arithmetic(), **changes))


ELEMENTWISE = ("add", "add_relu", "mul", "mul_relu", "hardswish", "hardsigmoid", "leaky_relu", "sigmoid", "tanh", "elu")
"""Operators whose kernels have a vector body and a scalar tail."""


def _machines(step: Step, inputs: Sequence[Any], machine: Machine) -> Iterator[Made]:
    """The right arithmetic of another machine, or of another path of the same kernel."""
    for engine in ENGINES:
        if engine != machine.engine:
            words = f"the arithmetic of the engine {engine}, where {machine.engine} runs"
            yield from _on(Mistake(f"engine {engine}", words), step, inputs, replace(machine, engine=engine))
    for capability in CAPABILITIES:
        if capability != machine.capability:
            words = f"the kernels for {capability}, where those for {machine.capability} run"
            mistake = Mistake(f"capability {capability}", words)
            yield from _on(mistake, step, inputs, replace(machine, capability=capability))
    yield from _releases(step, inputs, machine)
    if machine.threads > 1:
        words = f"one thread, where {machine.threads} cut the tensor, each with a tail of its own"
        yield from _on(Mistake("one thread", words), step, inputs, replace(machine, threads=1))
    if all(isinstance(x, QTensor) for x in inputs):
        yield from _bodies_and_tails(step, inputs, machine)
        yield from _memory_orders(step, inputs, machine)


def _on(mistake: Mistake, step: Step, inputs: Sequence[Any], machine: Machine) -> Iterator[Made]:
    """The step's numbers there; none where it is refused."""
    try:
        numbers = _computed(step, inputs, machine)
    except (ValueError, NotImplementedError):
        return
    yield (mistake,), lambda: numbers


def _releases(step: Step, inputs: Sequence[Any], machine: Machine) -> Iterator[Made]:
    """Releases whose numbers are those of no newer one."""
    seen: list[Array] = []
    for release in _others(machine.release):
        words = f"the arithmetic of PyTorch {release}, where that of {machine.release} is meant"
        other = replace(machine, release=release)
        for mistakes, make in _on(Mistake(f"release {release}", words), step, inputs, other):
            if not any(np.array_equal(make(), numbers) for numbers in seen):
                seen.append(make())
                yield mistakes, make


def _bodies_and_tails(step: Step, inputs: Sequence[QTensor], machine: Machine) -> Iterator[Made]:
    """One of the two formulas of an elementwise kernel for all elements."""
    if len({x.shape for x in inputs}) != 1 or step.op not in ELEMENTWISE:
        return
    spread = [_spread(x) for x in inputs]
    words = "the formula of the scalar tail everywhere, where a vector body computes most elements"
    yield from _on(Mistake("tail for body", words), step, spread, machine)
    padded = [_whole_blocks(x) for x in inputs]
    alone = replace(machine, threads=1)
    x = inputs[0]
    words = "the formula of the vector body everywhere, where the last elements of each chunk are a scalar tail"
    yield (Mistake("body for tail", words),), lambda: _computed(step, padded, alone)[: x.size].reshape(x.shape)


def _memory_orders(step: Step, inputs: Sequence[QTensor], machine: Machine) -> Iterator[Made]:
    """The same images in the other order of memory."""
    if not inputs or any(x.ndim != 4 for x in inputs):
        return
    for name, last in (("contiguous", False), ("channels_last", True)):
        other = [_laid_out(x, dense_strides(x.shape, channels_last=last)) for x in inputs]
        if any(o.strides != x.strides for o, x in zip(other, inputs, strict=True)):
            words = f"the path of {name} tensors, where these lie otherwise in memory"
            yield from _on(Mistake(f"{name} path", words), step, other, machine)


def _others(release: str) -> list[str]:
    """Releases of another arithmetic, the newest of each, newest first."""
    newest: dict[tuple[bool, ...], str] = {}
    for other in RELEASES:
        newest[tuple(change.holds(other) for change in HISTORY)] = other
    newest.pop(tuple(change.holds(release) for change in HISTORY))
    return sorted(newest.values(), key=RELEASES.index, reverse=True)


def _laid_out(x: QTensor, strides: Sequence[int]) -> QTensor:
    return QTensor(laid_out(x.int_repr(), strides), x.q_scale(), x.q_zero_point(), x.dtype)


def _spread(x: QTensor) -> QTensor:
    """x with a gap after each element: no two are neighbors in memory, so no vector holds them."""
    return _laid_out(x, [2 * stride for stride in dense_strides(x.shape)])


def _whole_blocks(x: QTensor) -> QTensor:
    """x's codes in one row, with as many more as fill the last block of 64."""
    flat = np.ascontiguousarray(x.int_repr()).reshape(-1)
    codes = np.concatenate([flat, np.zeros(-len(flat) % 64, flat.dtype)])
    return QTensor(codes, x.q_scale(), x.q_zero_point(), x.dtype)
