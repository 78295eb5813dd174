"""The steps of a program: what each does with codes, in NumPy's integers alone (Chapter 9, Integers only).

Codes are uint8, in PyTorch's order (N, C, H, W), contiguous. ``run`` computes; ``check`` proves again what ``run``
takes for granted, from the float32 formulas, and says how many points it looked at; ``arrays`` are the forms, for a
file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.integers.certificate import Unproven
from qlearn.integers.forms import Form, Line, LineLate, Steps, Thresholds
from qlearn.integers.pairs import Affine, OfSum, Pair, Table, TwoTables
from qlearn.integers.requantization import Requantization
from qlearn.layers.accumulate import saturation_loss
from qlearn.layers.windows import Geometry, columns, pad
from qlearn.machine.layout import channels_to_first, channels_to_last

__all__ = ["Average", "Joined", "Largest", "Layer", "Lookup", "Moved", "Pairwise", "Piece"]

Codes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Piece:
    """One step of a program.

    Args:
        name, op: as in the network.
        inputs: names of the pieces, or of the program's input, whose codes it takes.
        shape: of its own codes.
        bounds: the least and the largest code that it can give.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    bounds: tuple[int, int]

    def run(self, *codes: Codes) -> Codes:
        """Its codes from those of its inputs."""
        raise NotImplementedError

    def check(self) -> int:
        """Prove its forms again; how many points that took.

        Raises:
            Unproven: says where.
        """
        return 0

    def arrays(self) -> Arrays:
        """Its forms."""
        return {}

    def forms(self) -> dict[str, int]:
        """How many there are of each form."""
        return {}

    def bits(self) -> int:
        """Of all its forms' parameters."""
        return 0


@dataclass(frozen=True, eq=False)
class Layer(Piece):
    """A linear layer or a convolution: an exact sum, what 16 bits lose of it, a form for each channel.

    Args:
        requantization: the weights as a matrix, the forms and their proof.
        w: int8 (G, K, M / G), the weights as they are stored, the channel fastest in K.
        geometry: of the windows; a linear layer is a convolution of rows 1 long.
        x_shape: (N, C, *lengths), what its input is read as.
        order: which rows of weights share 16 bits, (P, 2), -1 where a product stands alone; None for exact sums.
    """

    requantization: Requantization
    w: npt.NDArray[np.int8]
    geometry: Geometry
    x_shape: tuple[int, ...]
    order: Ints | None

    @property
    def steps(self) -> Steps:
        """The forms of the channels."""
        return self.requantization.steps

    @cached_property
    def w_zero_points(self) -> Ints:
        """(M,)"""
        return self.requantization.accumulators.zero_points

    @cached_property
    def centered(self) -> npt.NDArray[np.int32]:
        """The weights without their zero points, (G, M / G, K)."""
        zero_points = self.w_zero_points.reshape(self.geometry.groups, 1, -1)
        return np.ascontiguousarray((self.w - zero_points).swapaxes(1, 2).astype(np.int32))

    @property
    def zero_point(self) -> int:
        """Of x."""
        return self.requantization.accumulators.x.zero_point

    @property
    def padding_code(self) -> int:
        """What FBGEMM and oneDNN read in the padding where sums saturate."""
        return self.zero_point if self.requantization.accumulators.pairs == "taps" else 0

    def accumulators(self, x: Codes) -> npt.NDArray[np.int32]:
        """int32 (B, M): windows, or rows, and channels."""
        last, g, z = channels_to_last(x.reshape(self.x_shape)), self.geometry, self.zero_point
        seen = columns(pad(last, g.padded, g.padding, z, np.int32, less=z), g)  # (G, B, K)
        acc = np.einsum("gbk,gmk->bgm", seen, self.centered)
        if self.order is not None and (at := self.saturating).size:
            codes = columns(pad(last, g.padded, g.padding, self.padding_code, np.uint8), g)[at]
            lost = saturation_loss(in_pairs(codes, self.order, 2), in_pairs(self.w[at], self.order, 1))
            acc[:, at] -= lost.swapaxes(0, 1)
        return np.asarray(acc.reshape(len(acc), -1))

    @cached_property
    def pairs_that_saturate(self) -> npt.NDArray[np.bool_]:
        """(G, P, M / G)"""
        assert self.order is not None
        w = in_pairs(self.w, self.order, 1).astype(np.int32)
        pairs = w.reshape(len(w), -1, 2, w.shape[2]) * max(self.requantization.accumulators.x.most, self.padding_code)
        up, down = np.maximum(pairs, 0).sum(axis=2), np.minimum(pairs, 0).sum(axis=2)
        return np.asarray((up > 2**15 - 1) | (down < -(2**15)))

    @cached_property
    def saturating(self) -> npt.NDArray[np.intp]:
        """The groups in which something can."""
        return np.flatnonzero(self.pairs_that_saturate.any(axis=(1, 2)))

    def run(self, *codes: Codes) -> Codes:
        q = self.steps.codes(self.accumulators(codes[0])).astype(np.uint8)
        q = channels_to_first(q.reshape(self.x_shape[0], *self.geometry.out, q.shape[1]))
        return np.ascontiguousarray(q).reshape(self.shape)

    def check(self) -> int:
        return self.requantization.check()

    def arrays(self) -> Arrays:
        return self.steps.arrays()

    def forms(self) -> dict[str, int]:
        return self.steps.count()

    def bits(self) -> int:
        return sum(form.bits for form in self.steps)


def in_pairs(a: npt.NDArray[Any], order: Ints, axis: int) -> npt.NDArray[Any]:
    """What is multiplied, so that neighbours along an axis share 16 bits; zeros where a product stands alone."""
    if np.array_equal(order.ravel(), np.arange(a.shape[axis])):
        return a
    zero = np.zeros((*a.shape[:axis], 1, *a.shape[axis + 1 :]), a.dtype)
    return np.take(np.concatenate([a, zero], axis), order.ravel(), axis)  # -1 is the last


@dataclass(frozen=True)
class OfProduct:
    """form.codes((a - a_zero_point) * (b - b_zero_point)): a step of a product."""

    a_zero_point: int
    b_zero_point: int
    form: Form

    def codes(self, a: npt.ArrayLike, b: npt.ArrayLike) -> Ints:
        """Of codes that broadcast, int64."""
        c = (np.asarray(a, np.int64) - self.a_zero_point) * (np.asarray(b, np.int64) - self.b_zero_point)
        return self.form.codes(c)

    @property
    def bits(self) -> int:
        """Of the form's parameters, 8 for each zero point."""
        return 16 + self.form.bits


TwoCodes = Pair | OfProduct
NAMES = {
    Affine: "plane",
    OfSum: "step of a sum",
    OfProduct: "step of a product",
    TwoTables: "two tables",
    Table: "table of 65,536",
    Line: "line",
    LineLate: "late",
    Thresholds: "thresholds",
}
"""What ``forms`` calls a form."""


@dataclass(frozen=True, eq=False)
class Pairwise(Piece):
    """A sum or a product of two tensors: one form, or two, for the body and the tail of a kernel.

    Args:
        pairs: the forms.
        which: the form of each element, an index that broadcasts to shape.
        proof: proves forms and indices, and counts.
    """

    pairs: tuple[TwoCodes, ...]
    which: Ints
    proof: Callable[[Pairwise], int]

    def run(self, *codes: Codes) -> Codes:
        a, b = codes[0], codes[-1]
        out = np.broadcast_to(self.pairs[0].codes(a, b), self.shape).astype(np.uint8)
        for i, pair in enumerate(self.pairs[1:], 1):
            at = np.nonzero(np.broadcast_to(self.which == i, self.shape))
            out[at] = pair.codes(np.broadcast_to(a, self.shape)[at], np.broadcast_to(b, self.shape)[at])
        return out

    def check(self) -> int:
        return self.proof(self)

    def arrays(self) -> Arrays:
        found: Arrays = {"which": self.which, "pairs": np.array(len(self.pairs))}
        for i, pair in enumerate(self.pairs):
            found |= {f"{i}/{name}": array for name, array in _of_pair(pair).items()}
        return found

    def forms(self) -> dict[str, int]:
        return dict(Counter(NAMES[type(pair)] for pair in self.pairs))

    def bits(self) -> int:
        return sum(pair.bits for pair in self.pairs)


def _of_pair(pair: TwoCodes) -> Arrays:
    if isinstance(pair, Affine):
        return {"affine": np.array([pair.M1, pair.M2, pair.C, pair.S, *pair.clip], np.int64)}
    if isinstance(pair, OfSum):
        return {"sum": np.array([pair.M1, pair.M2], np.int64), **Steps.of(pair.form).arrays()}
    if isinstance(pair, OfProduct):
        return {"product": np.array([pair.a_zero_point, pair.b_zero_point], np.int64), **Steps.of(pair.form).arrays()}
    if isinstance(pair, TwoTables):
        return {"A": pair.A, "B": pair.B, "tables": np.array([pair.S, pair.least, *pair.clip], np.int64)}
    return {"table": pair.table.astype(np.uint8), "least": np.array(pair.least)}


def pairs_of(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[TwoCodes, ...]:
    """The forms that ``Pairwise.arrays`` gave."""
    return tuple(_pair_of(_under(f"{i}/", arrays)) for i in range(int(arrays["pairs"])))


def _pair_of(arrays: Mapping[str, npt.NDArray[Any]]) -> TwoCodes:
    if "affine" in arrays:
        M1, M2, C, S, least, most = arrays["affine"].tolist()
        return Affine(M1, M2, C, S, (least, most))
    if "sum" in arrays:
        M1, M2 = arrays["sum"].tolist()
        return OfSum(M1, M2, Steps.of_arrays(arrays)[0])
    if "product" in arrays:
        za, zb = arrays["product"].tolist()
        return OfProduct(za, zb, Steps.of_arrays(arrays)[0])
    if "tables" in arrays:
        S, first, least, most = arrays["tables"].tolist()
        return TwoTables(arrays["A"], arrays["B"], S, first, (least, most))
    return Table(arrays["table"].astype(np.int64), int(arrays["least"]))


@dataclass(frozen=True, eq=False)
class Lookup(Piece):
    """A function of one code: a table of 256, or several, for channels or for the body and the tail of a kernel.

    Args:
        tables: uint8 (n, 256).
        which: the table of each element, an index that broadcasts to shape.
        proof: tables and indices as the float32 steps give them, and how many points that took.
    """

    tables: Codes
    which: Ints
    proof: Callable[[], tuple[Codes, Ints, int]]

    def run(self, *codes: Codes) -> Codes:
        return self.tables[self.which, codes[0]]

    def check(self) -> int:
        tables, which, points = self.proof()
        shape = self.shape
        for i in range(256):
            mine = np.broadcast_to(self.tables[self.which, i], shape)
            wanted = np.broadcast_to(tables[which, i], shape)
            if (different := np.argwhere(mine != wanted)).size:
                at = tuple(different[0])
                raise Unproven(f"code {i} gives {mine[at]} at {at}, where float32 gives {wanted[at]}")
        return points

    def arrays(self) -> Arrays:
        return {"tables": self.tables, "which": self.which}

    def forms(self) -> dict[str, int]:
        return {"table of 256": len(self.tables)}

    def bits(self) -> int:
        return 8 * self.tables.size


@dataclass(frozen=True, eq=False)
class Joined(Piece):
    """Tensors behind one another along an axis, each through its own ``Lookup``."""

    parts: tuple[Lookup, ...]
    axis: int

    def run(self, *codes: Codes) -> Codes:
        return np.concatenate([part.run(q) for part, q in zip(self.parts, codes, strict=True)], self.axis)

    def check(self) -> int:
        return sum(part.check() for part in self.parts)

    def arrays(self) -> Arrays:
        return {f"{i}/{key}": array for i, part in enumerate(self.parts) for key, array in part.arrays().items()}

    def forms(self) -> dict[str, int]:
        return {"table of 256": sum(len(part.tables) for part in self.parts)}

    def bits(self) -> int:
        return sum(part.bits() for part in self.parts)


@dataclass(frozen=True, eq=False)
class Average(Piece):
    """A sum of whole numbers over windows, then a form.

    Args:
        kinds: a form for each kind of window.
        which: the kind of each element, an index that broadcasts to shape.
        windows: along each of x's axes where elements begin and end, (out, 2); None where an axis stays.
        offset: what is taken from each code.
        proof: proves forms and indices, and counts.
    """

    kinds: tuple[Form, ...]
    which: Ints
    windows: tuple[Ints | None, ...]
    offset: int
    proof: Callable[[Average], int]

    def sums(self, x: Codes) -> Ints:
        """Of x - offset, of x's axes, the windows' in the place of the lengths."""
        s = x.astype(np.int64) - self.offset
        for axis, window in enumerate(self.windows):
            if window is not None:
                parts = [np.take(s, range(first, last), axis).sum(axis=axis) for first, last in window.tolist()]
                s = np.stack(parts, axis)
        return s

    def run(self, *codes: Codes) -> Codes:
        s = self.sums(codes[0]).reshape(self.shape)
        out = self.kinds[0].codes(s).astype(np.uint8)
        for i, form in enumerate(self.kinds[1:], 1):
            at = np.nonzero(np.broadcast_to(self.which == i, self.shape))
            out[at] = form.codes(s[at])
        return out

    def check(self) -> int:
        return self.proof(self)

    def arrays(self) -> Arrays:
        found: Arrays = {"which": self.which, "kinds": np.array(len(self.kinds))}
        for i, form in enumerate(self.kinds):
            found |= {f"{i}/{name}": array for name, array in Steps.of(form).arrays().items()}
        return found

    def forms(self) -> dict[str, int]:
        return dict(Counter(NAMES[type(form)] for form in self.kinds))

    def bits(self) -> int:
        return sum(form.bits for form in self.kinds)


def forms_of(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Form, ...]:
    """The forms that ``Average.arrays`` gave."""
    return tuple(Steps.of_arrays(_under(f"{i}/", arrays))[0] for i in range(int(arrays["kinds"])))


def _under(start: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """The arrays whose names begin so, without that."""
    return {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}


@dataclass(frozen=True, eq=False)
class Largest(Piece):
    """The largest code of each window.

    Args:
        lengths: of x, its height and width; one dimension has a height of 1.
        rows, columns: the indices that a window sees along both, (out, kernel); what lies outside of x is named again
            by an index inside.
    """

    lengths: tuple[int, int]
    rows: Ints
    columns: Ints

    def run(self, *codes: Codes) -> Codes:
        x = codes[0].reshape(-1, *self.lengths)[:, self.rows, :].max(axis=-2)
        return np.ascontiguousarray(x[..., self.columns].max(axis=-1)).reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Moved(Piece):
    """Codes in other places.

    Args:
        index: where each element comes from, in x's order; of shape.
    """

    index: Ints

    @cached_property
    def stays(self) -> bool:
        """Whether all codes keep their order."""
        return np.array_equal(self.index.ravel(), np.arange(self.index.size))

    def run(self, *codes: Codes) -> Codes:
        return codes[0].reshape(-1)[self.index]
