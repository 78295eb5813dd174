"""Which layer is the first to differ: a network beside PyTorch, or beside somebody's own arrays (Chapters 10 and 11).

A layer's integers can differ because its arithmetic does, or because its inputs already did. So each layer is computed
twice, from the network's input on, and from the other's own inputs of that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor
from qlearn.machine.layout import has_strides, laid_out
from qlearn.machine.machine import Machine
from qlearn.network.mistakes import Explanation, explain, explains
from qlearn.network.step import Step
from qlearn.network.torch_values import torch_values

__all__ = ["Comparison", "Difference", "Row", "compare"]

Array = npt.NDArray[Any]


class Row(NamedTuple):
    """One layer: how many of its elements differ."""

    name: str
    op: str
    elements: int
    same_inputs: int | None
    """Given the other's own inputs of this layer: what its arithmetic changes. None if it was not given."""
    from_start: int | None
    """As run from the network's input: that, and what comes from the layers before. None if it was not given."""
    note: str = ""
    """Another scale, zero point, dtype or memory layout, in words."""


@dataclass(frozen=True)
class Difference:
    """The first element of the first layer whose arithmetic differs."""

    layer: str
    op: str
    index: tuple[int, ...]
    ours: Any
    theirs: Any
    differing: int
    elements: int
    least: Any
    """The smallest of theirs - ours, over the elements that differ."""
    most: Any
    """The largest of theirs - ours."""
    unseen: tuple[str, ...] = ()
    """Layers before it that were not given, in which the difference may have arisen instead."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """What ``Network.compare`` found; ``str()`` is a table and its reading."""

    rows: tuple[Row, ...]
    first: Difference | None
    """None if every layer that was given is equal."""
    explanations: tuple[Explanation, ...]
    """Every known mistake that gives the other's numbers in the first layer that differs; () for an unknown one."""
    explained: dict[str, tuple[str, ...]]
    """By the name of each explanation, the later layers whose own differences it explains, too."""
    machine: Machine
    other: str
    """Whose numbers these were compared with."""

    @property
    def compared(self) -> int:
        """Elements that were compared."""
        return sum(row.elements for row in self.rows if row.from_start is not None)

    @property
    def differing(self) -> int:
        """Elements that differ, as run from the start."""
        return sum(row.from_start or 0 for row in self.rows)

    def __getitem__(self, name: str) -> Row:
        """The row of a layer."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no layer is named {name!r}; the layers are {', '.join(row.name for row in self.rows)}")

    def __str__(self) -> str:
        width = max([5, *(len(row.name) for row in self.rows)])
        lines = [f"{self.machine} beside {self.other}"]
        lines.append(f"{'layer':{width}}  {'op':<20}{'elements':>12}{'same inputs':>14}{'from the start':>16}")
        for row in self.rows:
            counts = ("not given" if n is None else f"{n:,}" for n in (row.same_inputs, row.from_start))
            marked = "  <- first" if self.first and row.name == self.first.layer else ""
            line = "{:>14}{:>16}".format(*counts) + marked + (f"  {row.note}" if row.note else "")
            lines.append(f"{row.name:{width}}  {row.op:<20}{row.elements:>12,}{line}")
        lines.append(f"{self.compared:,} elements compared, {self.differing:,} differ")
        return "\n".join([*lines, *self._reading()])

    def __repr__(self) -> str:
        return str(self)

    def _reading(self) -> list[str]:
        """The first difference and what explains it, in sentences."""
        if self.first is None:
            return []
        found = self.first
        place = f"at {found.index} theirs is {found.theirs}, ours {found.ours}"
        by = f"{found.least:+}" if found.least == found.most else f"{found.least:+} to {found.most:+}"
        lines = [
            f"The first layer whose arithmetic differs is {found.layer} ({found.op}): {place}. "
            f"{found.differing:,} of its {found.elements:,} elements differ, by {by}."
        ]
        if found.unseen:
            lines.append(f"Not given, and as well where it may have arisen: {', '.join(found.unseen)}.")
        if self.explanations:
            pairs, several = len(self.explanations[0].mistakes) > 1, len(self.explanations) > 1
            one = "Two known mistakes together give" if pairs else "A known mistake gives"
            each = "Each of these pairs of known mistakes gives" if pairs else "Each of these known mistakes gives"
            lines.append(f"{each if several else one} exactly these numbers:")
            for explanation in self.explanations:
                also = len(self.explained[explanation.name])
                lines.append(f"  - {explanation}" + (f" ({also} of the later layers as well)" if also else ""))
        else:
            lines.append("No known mistake, nor two of them together, gives these numbers.")
        later = [row for row in self.rows if row.name != found.layer]
        others = sum(bool(row.same_inputs) for row in later)
        carried = sum(row.same_inputs == 0 < (row.from_start or 0) for row in later)
        lines.append(
            f"Later layers whose arithmetic differs, too: {others}; that only carry differences on: {carried}."
        )
        return lines


class Steps(Protocol):
    """What a comparison asks of a ``Network``."""

    @property
    def steps(self) -> tuple[Step, ...]: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def last_uses(self) -> Mapping[str, set[str]]: ...
    def __getitem__(self, name: str) -> Step: ...
    def compute(self, step: Step, values: Mapping[str, Any], machine: Machine) -> Any: ...


def compare(net: Steps, other: Any, x: Sequence[Any], machine: Machine) -> Comparison:
    """See ``Network.compare``."""
    if isinstance(other, Mapping):
        if unknown := [name for name in other if name not in {step.name for step in net.steps}]:
            net[unknown[0]]  # KeyError, with the names there are
        theirs, whose = dict(other), "the arrays given"
    else:
        theirs, whose = torch_values(other, net.steps, x)
    return _Walk(net, theirs, machine).compare(x, whose)


class _Walk:
    """The network's steps, once from the start and once from the other's values."""

    def __init__(self, net: Steps, theirs: Mapping[str, Any], machine: Machine) -> None:
        self.net, self.theirs, self.machine = net, theirs, machine
        self.rows: list[Row] = []
        self.first: Difference | None = None
        self.explanations: tuple[Explanation, ...] = ()
        self.explained: dict[str, tuple[str, ...]] = {}

    def compare(self, x: Sequence[Any], whose: str) -> Comparison:
        """All steps; results that no later step reads are dropped on the way."""
        ours: dict[str, Any] = dict(zip(self.net.inputs, x, strict=True))
        given = dict(ours)
        same = set(ours)  # names whose value in given is that in ours
        unseen: dict[str, tuple[str, ...]] = {name: () for name in ours}  # what lies between it and values given
        last = self.net.last_uses
        for step in self.net.steps:
            ours[step.name] = self.net.compute(step, ours, self.machine)
            again = ours[step.name] if step.needs <= same else self.net.compute(step, given, self.machine)
            before = tuple(dict.fromkeys(name for need in sorted(step.needs) for name in unseen[need]))
            given[step.name], unseen[step.name] = again, (*before, step.name)
            equal = again is ours[step.name]
            if step.name in self.theirs:
                value = self.theirs[step.name]
                if _is_numbers(again):
                    given[step.name], equal = self.row(step, value, ours[step.name], again, given, before)
                else:
                    given[step.name], equal = value, False
                unseen[step.name] = ()
            elif _is_numbers(again):
                self.rows.append(Row(step.name, step.op, np.size(_numbers(again)), None, None))
            if equal:
                same.add(step.name)
            for name in last[step.name]:
                del ours[name], given[name]
        return Comparison(tuple(self.rows), self.first, self.explanations, self.explained, self.machine, whose)

    def row(
        self, step: Step, value: Any, ours: Any, again: Any, given: Mapping[str, Any], before: tuple[str, ...]
    ) -> tuple[Any, bool]:
        """One layer that was given; the value to go on with, and whether it is what ours is."""
        theirs, note, incomparable = _as_given(step.name, value, again)
        if incomparable:
            arithmetic = all_in_all = theirs.size
        else:
            arithmetic, all_in_all = (int((~_equal(_numbers(mine), theirs)).sum()) for mine in (again, ours))
        self.rows.append(Row(step.name, step.op, theirs.size, arithmetic, all_in_all, note))
        if arithmetic:
            if self.first is None:
                self.first = _difference(step, again, theirs, before)
            self.explain(step, [given[name] for name in step.inputs], theirs)
        usable = _like(theirs, value, again)
        return (again if usable is None else usable), not (arithmetic or all_in_all or note)

    def explain(self, step: Step, inputs: Sequence[Any], theirs: Array) -> None:
        """The mistakes in the first layer that differs; in a later one, which of them are made again."""
        if self.first and self.first.layer == step.name:
            self.explanations = explain(step, inputs, theirs, self.machine)
            self.explained = {explanation.name: () for explanation in self.explanations}
            return
        for explanation in self.explanations:
            if explains(explanation, step, inputs, theirs, self.machine):
                self.explained[explanation.name] += (step.name,)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, (QTensor, np.ndarray))


def _numbers(value: Any) -> Array:
    """The codes of a QTensor; an array as it is."""
    return value.int_repr() if isinstance(value, QTensor) else np.asarray(value)


def _equal(ours: Array, theirs: Array) -> npt.NDArray[np.bool_]:
    return np.asarray((ours == theirs) | ((ours != ours) & (theirs != theirs)))


class _Given(NamedTuple):
    """Somebody's numbers for a layer."""

    numbers: Array
    note: str = ""
    """In words what else is not as ours."""
    incomparable: bool = False
    """Whether equal codes stand for other real numbers."""


PARAMS: dict[str, Callable[[QTensor], Any]] = {
    "dtype": lambda q: q.dtype,
    "scale": lambda q: q.q_scale(),
    "zero_point": lambda q: q.q_zero_point(),
}


def _as_given(name: str, value: Any, ours: Any) -> _Given:
    theirs = _checked(name, _numbers(value), ours)
    if isinstance(value, QTensor) and isinstance(ours, QTensor):
        for what, of in PARAMS.items():
            if of(value) != of(ours):
                return _Given(theirs, f"other {what}: {of(value)}, not {of(ours)}", incomparable=True)
        if not has_strides(theirs, ours.strides):
            return _Given(theirs, f"strides {value.strides}, not {ours.strides}")
    if isinstance(ours, QTensor) and theirs.dtype.kind == "f" and not (np.rint(theirs) == theirs).all():
        raise ValueError(f"{name} must be integer codes, got {theirs.dtype} numbers that are not whole")
    return _Given(theirs)


def _checked(name: str, theirs: Array, ours: Any) -> Array:
    if theirs.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be an array of numbers, got {theirs.dtype}")
    if theirs.shape != ours.shape:
        raise ValueError(f"{name} must have shape {ours.shape}, as in PyTorch, got {theirs.shape}")
    return theirs


def _like(theirs: Array, value: Any, ours: Any) -> Any:
    """Somebody's numbers as the next layer's input, laid out like ours; None if they are no codes of that dtype."""
    if isinstance(value, QTensor) or not isinstance(ours, QTensor):
        return value
    info = np.iinfo(DTYPES[ours.dtype])
    if theirs.size and not (info.min <= theirs.min() and theirs.max() <= info.max):
        return None
    return QTensor(laid_out(theirs.astype(info.dtype), ours.strides), ours.q_scale(), ours.q_zero_point(), ours.dtype)


def _difference(step: Step, ours: Any, theirs: Array, before: tuple[str, ...]) -> Difference:
    mine = _numbers(ours)
    places = np.argwhere(~_equal(mine, theirs))
    if not len(places):  # equal integers of another scale or zero point
        return Difference(step.name, step.op, (), None, None, theirs.size, theirs.size, 0, 0, before)
    index = tuple(int(i) for i in places[0])
    wide = np.int64 if mine.dtype.kind in "iu" else np.float64
    by = (theirs.astype(wide) - mine.astype(wide))[tuple(places.T)]
    return Difference(
        *(step.name, step.op, index, mine[index].item(), theirs[index].item()),
        *(len(places), theirs.size, by.min().item(), by.max().item(), before),
    )
