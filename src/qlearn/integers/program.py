"""A whole network in integers: run, proved again, reported, saved (Chapter 9, Integers only).

``Program.of(net, shape)`` reads a ``qlearn.Network`` step by step. What it makes runs in NumPy's integers alone, from
the codes of the quantized input to the last codes. Quantizing the input and dequantizing the output are outside of it.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.integers.c import emit
from qlearn.integers.c_files import Source, compiled, write
from qlearn.integers.certificate import Unproven
from qlearn.integers.forms import Steps
from qlearn.integers.pieces import Arrays, Average, Codes, Layer, Piece
from qlearn.integers.reading import Reader
from qlearn.network.files import Path, about_of, savez
from qlearn.network.network import Network
from qlearn.network.step import names_in

__all__ = ["Certificate", "Program", "Proof", "Report"]

FORMAT = 1


class Certificate(NamedTuple):
    """What ``Program.check`` looked at in a step."""

    name: str
    op: str
    points: int


class Row(NamedTuple):
    """What ``Program.report`` says of a step."""

    name: str
    op: str
    forms: Mapping[str, int]
    M_bits: int
    B_bits: int
    S: int
    late: int
    parameters: int
    """Bytes of the forms' parameters."""
    weights: int
    """Bytes."""


@dataclass(frozen=True, repr=False)
class Proof:
    """What ``Program.check`` found: that every step is what float32 gives, and at how many points it looked."""

    rows: tuple[Certificate, ...]

    @property
    def points(self) -> int:
        """Of all steps."""
        return sum(row.points for row in self.rows)

    def __str__(self) -> str:
        width = max([5, *(len(row.name) for row in self.rows)])
        lines = [f"{'layer':{width}}  {'op':<20}{'points':>14}"]
        lines += [f"{row.name:{width}}  {row.op:<20}{row.points:>14,}" for row in self.rows]
        return "\n".join([*lines, f"{len(self.rows)} steps proved, {self.points:,} points compared with float32"])

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class Report:
    """The forms of a program, step by step; ``str()`` is a table."""

    rows: tuple[Row, ...]

    @cached_property
    def forms(self) -> Counter[str]:
        """How many there are of each form."""
        return sum((Counter(row.forms) for row in self.rows), Counter[str]())

    def __str__(self) -> str:
        width = max([5, *(len(row.name) for row in self.rows)])
        head = f"{'layer':{width}}  {'op':<20}{'M bits':>7}{'B bits':>7}{'S':>4}{'late':>6}{'bytes':>9}{'weights':>11}"
        lines = [head + "  forms"]
        for row in self.rows:
            numbers = f"{row.M_bits:>7}{row.B_bits:>7}{row.S:>4}{row.late:>6}{row.parameters:>9,}{row.weights:>11,}"
            forms = ", ".join(f"{n:,} {form}" for form, n in row.forms.items() if n)
            lines.append(f"{row.name:{width}}  {row.op:<20}{numbers}  {forms}".rstrip())
        every = self.forms.total()
        shares = ", ".join(f"{form} {n:,} ({n / every:.1%})" for form, n in self.forms.most_common() if n)
        parameters, weights = (sum(getattr(row, name) for row in self.rows) for name in ("parameters", "weights"))
        lines.append(f"{every:,} forms: {shares}; {parameters:,} bytes of parameters, {weights:,} of weights")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


class Program:
    """A network in integers (Chapter 9). Made by ``of`` or ``load``.

    Args:
        net: the network, whose float32 steps prove the integers.
        shape: of the input.
        pieces: the steps, in their order.
        source: the name of the quantized input.
        outputs: names of what is returned.
    """

    def __init__(
        self, net: Network, shape: tuple[int, ...], pieces: Sequence[Piece], source: str, outputs: Sequence[str]
    ) -> None:
        self.net, self.shape, self.pieces = net, shape, tuple(pieces)
        self.source, self.outputs = source, tuple(outputs)

    @classmethod
    def of(cls, net: Network, shape: Sequence[int]) -> Program:
        """The integers of a network, each form proved.

        Args:
            net: its one input is quantized to quint8 by its first step; real numbers come after dequantize alone.
            shape: of the input, such as (1, 3, 224, 224): which kernel computes a layer, and which part of it an
                element, depends on it. The input lies contiguous.

        Raises:
            NotImplementedError: a step cannot be proved; names the layer, and the reason.
            ValueError: a network with several inputs, or whose first step is another.
        """
        return cls._read(net, shape, None)

    @classmethod
    def _read(cls, net: Network, shape: Sequence[int], forms: Mapping[str, Arrays] | None) -> Program:
        first = net.steps[0] if net.steps else None
        if len(net.inputs) != 1 or first is None or first.op != "quantize" or first.inputs != net.inputs:
            raise ValueError(
                f"net must quantize its one input in its first step, got inputs {', '.join(net.inputs)} and first step "
                f"{first}"
            )
        values = net.run(np.zeros(tuple(shape), np.float32), keep=True)
        reader = Reader(net.machine, values, forms)
        reader.add_input(first.name)
        real, outputs, pieces = set(net.inputs), [], []
        for step in net.steps[1:]:
            if step.op == "dequantize":
                outputs.append(step.inputs[0])
            if step.op == "quantize":
                raise NotImplementedError(
                    f"layer {step.name} (quantize) has no integers: it quantizes real numbers within the network"
                )
            if step.op == "dequantize" or set(step.inputs) & real:
                real.add(step.name)  # real numbers, which are moved at most: outside of the program
                continue
            pieces += reader.read(step)
        outputs += [name for name in names_in(net.output) if isinstance(values[name], QTensor)]
        if not outputs or any(isinstance(values[name], list) for name in names_in(net.output)):
            raise NotImplementedError(f"net must return tensors of codes, or their real numbers, got {net.output}")
        return cls(net, tuple(shape), pieces, first.name, list(dict.fromkeys(outputs)))

    def run(self, codes: npt.ArrayLike, *, keep: bool = False) -> Any:
        """From the codes of the quantized input to the last codes, in integers.

        Args:
            codes: uint8, of the program's shape.
            keep: whether to return every step's codes, by name.

        Returns:
            The last codes, uint8, as PyTorch's int_repr() has them; a tuple of them if the network returns several
            tensors. With keep a dict.

        Raises:
            TypeError, ValueError: codes are not uint8, or of another shape.
        """
        x = np.asanyarray(codes)
        if x.dtype != np.uint8:
            raise TypeError(f"codes must be uint8, got {x.dtype}")
        if x.shape != self.shape:
            raise ValueError(f"codes must have shape {self.shape}, got {x.shape}")
        values = {self.source: np.ascontiguousarray(x) if type(x) is np.ndarray else x}
        for piece in self.pieces:
            values[piece.name] = piece.run(*(values[name] for name in piece.inputs))
            if not keep:
                for name in self.last_uses[piece.name]:
                    del values[name]
        if keep:
            return {piece.name: values[piece.name] for piece in self.pieces}
        found = tuple(values[name] for name in self.outputs)
        return found if len(found) > 1 else found[0]

    @cached_property
    def last_uses(self) -> dict[str, set[str]]:
        """By piece: what no later one reads, nor the outputs, of that which it reads and what it makes."""
        last = {piece.name: piece.name for piece in self.pieces}
        for piece in self.pieces:
            last |= dict.fromkeys(piece.inputs, piece.name)
        unread: dict[str, set[str]] = {piece.name: set() for piece in self.pieces}
        for name, user in last.items():
            if name not in self.outputs:
                unread[user].add(name)
        return unread

    def __getitem__(self, name: str) -> Piece:
        """The piece of a name."""
        for piece in self.pieces:
            if piece.name == name:
                return piece
        raise KeyError(f"no piece is named {name!r}; they are {', '.join(piece.name for piece in self.pieces)}")

    def __len__(self) -> int:
        return len(self.pieces)

    def check(self) -> Proof:
        """Prove each step again, from the weights and the float32 formulas.

        Raises:
            Unproven: names the first layer whose integers are not what float32 gives, and says where.
        """
        rows = []
        for piece in self.pieces:
            try:
                rows.append(Certificate(piece.name, piece.op, piece.check()))
            except Unproven as error:
                raise Unproven(f"layer {piece.name} ({piece.op}): {error}") from error
        return Proof(tuple(rows))

    def report(self) -> Report:
        """Step by step: the forms, their bits, late codes and bytes; printable."""
        return Report(tuple(_row(piece) for piece in self.pieces))

    # C

    def to_c(self, folder: str | PathLike[str], *, name: str = "network", vectors: int = 2) -> list[FilePath]:
        """Write the program as C: one freestanding C99 file, no float, no heap, no library (Chapter 9).

        ``void network_run(const uint8_t *x, uint8_t *y)`` takes the codes of the quantized input in PyTorch's order and
        gives the last codes, those of several outputs behind one another. Beside it a header with the sizes, vectors,
        a main that checks them, and a Makefile: ``make check``.

        Args:
            folder: made if it is not there.
            name: of the files and of the function.
            vectors: how many inputs to draw, for which the codes are written down, too.

        Returns:
            The files.

        Raises:
            NotImplementedError: a step that the C does not hold, such as sums that leave int32 on the way.
            ValueError: name is no name in C.
        """
        rng = np.random.default_rng(0)
        inputs = rng.integers(0, 256, (vectors, *self.shape), dtype=np.uint8)
        found = [self.run(x) for x in inputs]
        outputs = [np.concatenate([np.ravel(y) for y in (ys if isinstance(ys, tuple) else (ys,))]) for ys in found]
        return write(FilePath(folder), self._source(name), inputs, np.array(outputs, np.uint8))

    def compile(self, options: Sequence[str] = ("-O3", "-march=native")) -> Callable[[Codes], Any]:
        """The same C, by the system's compiler, as a function on codes like ``run`` (Chapter 9).

        Its buffers are static: one call at a time.

        Args:
            options: of the compiler.

        Raises:
            FileNotFoundError: there is no cc, gcc or clang.
            NotImplementedError: as ``to_c``.
        """
        return compiled(self._source("network"), options)

    def _source(self, name: str) -> Source:
        if not (name.isidentifier() and name.isascii()):
            raise ValueError(f"name must be a name in C, got {name!r}")
        shapes = {self.source: self.shape} | {piece.name: piece.shape for piece in self.pieces}
        emitted = emit(name, self.pieces, self.source, self.outputs, shapes)
        outputs = tuple((output, shapes[output]) for output in self.outputs)
        first = self.net[self.source]
        words = [
            f"{self.net.machine}.",
            f"x: a code q stands for (q - {first.zero_point}) * {first.scale!r}.",
            *(f"y: {output} of shape {shapes[output]}{self._stands_for(output)}." for output in self.outputs),
        ]
        return Source(name, emitted, self.shape, outputs, words)

    def _stands_for(self, name: str) -> str:
        step = next((step for step in self.net.steps if step.name == name), None)
        if step is None or step.scale is None:
            return ""
        return f"; a code q stands for (q - {step.zero_point}) * {step.scale!r}"

    def __str__(self) -> str:
        shape = ", ".join(map(str, self.shape))
        return f"Program of {len(self.pieces)} steps for codes ({shape}), {self.net.machine}\n{self.report()}"

    def __repr__(self) -> str:
        return str(self).splitlines()[0]

    # Files

    def save(self, path: Path) -> None:
        """Write the program to one .npz file without pickle: the forms, and the network that they stand for."""
        about = {"format": FORMAT, "shape": self.shape}
        network = io.BytesIO()
        self.net.save(network)
        arrays = {f"{piece.name}/{key}": array for piece in self.pieces for key, array in piece.arrays().items()}
        arrays |= {"program": np.array(json.dumps(about)), "network": np.frombuffer(network.getvalue(), np.uint8)}
        savez(path, arrays)

    @classmethod
    def load(cls, path: Path) -> Program:
        """Read a file that ``save`` wrote. ``check`` proves what it holds.

        Raises:
            ValueError: it is no such file, or one of a newer qlearn.
        """
        with np.load(path, allow_pickle=False) as file:
            about = about_of(file, "program", "Program", FORMAT)
            net = Network.load(io.BytesIO(file["network"].tobytes()))
            forms: dict[str, Arrays] = {step.name: {} for step in net.steps}
            for name in file.files:
                if "/" in name:
                    step, key = _split(name, forms)
                    forms[step][key] = file[name]
        return cls._read(net, tuple(about["shape"]), forms)


def _split(name: str, steps: Mapping[str, Any]) -> tuple[str, str]:
    """An array's name as a step's and the rest: the longest step that it begins with."""
    step = max((step for step in steps if name.startswith(f"{step}/")), key=len)
    return step, name.removeprefix(f"{step}/")


def _row(piece: Piece) -> Row:
    steps = [piece.steps] if isinstance(piece, Layer) else []
    if isinstance(piece, Average):
        steps = [Steps.of(form) for form in piece.kinds]
    weights = piece.w.size if isinstance(piece, Layer) else 0
    M, B = (max((int(np.abs(getattr(s, name)).max()).bit_length() for s in steps), default=0) for name in "MB")
    S = max((int(s.S.max()) for s in steps), default=0)
    late = sum(int(s.late.sum()) for s in steps)
    return Row(piece.name, piece.op, piece.forms(), M, B + bool(steps), S, late, -(-piece.bits() // 8), weights)
