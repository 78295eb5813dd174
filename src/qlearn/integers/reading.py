"""From a network's step to the piece of a program that stands for it (Chapter 9, Integers only).

A layer's forms come from its weights. Of the other operators the functions themselves are asked: with each of 256
codes, with tensors that hold the places of their own elements, with windows of every sum that a form needs to know. So
the kernels' ways, their vectors and their tails stand in one place, where the network has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.integers import pools
from qlearn.integers.accumulators import Codes
from qlearn.integers.addition import addition
from qlearn.integers.averages import of_mean, of_pool
from qlearn.integers.certificate import Unproven
from qlearn.integers.forms import Form, Steps
from qlearn.integers.pairs import all_pairs, prove_pair
from qlearn.integers.pieces import (
    Arrays,
    Average,
    Joined,
    Largest,
    Layer,
    Lookup,
    Moved,
    OfProduct,
    Pairwise,
    Piece,
    forms_of,
    pairs_of,
)
from qlearn.integers.products import multiplication
from qlearn.integers.requantization import convolution, linear
from qlearn.layers.linear import even_halves
from qlearn.layers.windows import Geometry, geometry, matrices
from qlearn.machine.layout import in_memory_order, laid_out
from qlearn.machine.machine import BODY, TAIL, Machine
from qlearn.network.operators import MOVING, OPERATORS, SIZES
from qlearn.network.step import Step, resolved

__all__ = ["Reader"]

Ints = npt.NDArray[np.int64]
Table = npt.NDArray[np.uint8]
Way = Callable[[int, npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]]
LAYERS = {f"{name}{relu}" for name in ("conv1d", "conv2d", "conv3d", "linear") for relu in ("", "_relu")}
PAIRWISE = ("add", "add_relu", "mul", "mul_relu")
UNARY = (
    *("relu", "relu6", "hardtanh", "clamp", "hardsigmoid", "hardswish", "leaky_relu", "elu", "sigmoid", "tanh"),
    *("prelu", "add_scalar", "add_scalar_relu", "mul_scalar", "mul_scalar_relu"),
)
JOINED = ("cat", "cat_alike")
AVERAGES = ("avg_pool2d", "adaptive_avg_pool2d", "mean")
LISTS = ("chunk", "split")
MOVED = (*(function.__name__ for function in MOVING if function.__name__ not in LISTS), "channel_shuffle")
OUTSIDE = ("dequantize", "size", "ndim", *(f"{name}_of_sizes" for name in SIZES))


@dataclass(frozen=True)
class Source:
    """A value of the network: a tensor with its layout, and what codes it can hold."""

    name: str
    tensor: QTensor
    bounds: tuple[int, int]

    @property
    def codes(self) -> Codes:
        """As a layer takes them."""
        return Codes(self.tensor.q_scale(), self.tensor.q_zero_point(), *self.bounds)


class Reader:
    """Reads the steps of a network, one after the other.

    Args:
        machine: of the network.
        values: all that the network computes of some input: of these the layouts count, and the parameters.
        forms: of each step, from a file; None makes them.
    """

    def __init__(self, machine: Machine, values: Mapping[str, Any], forms: Mapping[str, Arrays] | None = None) -> None:
        self.machine, self.values, self.given = machine, values, forms
        self.sources: dict[str, Source] = {}
        self.lists: dict[str, list[Moved]] = {}

    def add_input(self, name: str) -> None:
        """The quantized input."""
        self.sources[name] = Source(name, _quint8(self.values[name]), (0, 255))

    def read(self, step: Step) -> list[Piece]:
        """The pieces of a step: one as a rule.

        Raises:
            NotImplementedError: integers cannot be proved to be the step; names it, and says why.
        """
        try:
            pieces = list(self._read(step))
            if self.given is None and pieces and pieces[-1].name == step.name:
                self._rehearse(step, pieces)
        except (NotImplementedError, ValueError, TypeError) as error:
            reason = str(error) or type(error).__name__
            raise NotImplementedError(f"layer {step.name} ({step.op}) has no integers: {reason}") from error
        for piece in pieces:
            value = self.values.get(piece.name)
            if isinstance(value, QTensor):
                self.sources[piece.name] = Source(piece.name, _quint8(value), piece.bounds)
        return pieces

    def _read(self, step: Step) -> Iterator[Piece]:
        op = step.op.removesuffix("_")  # in place: the same codes
        settings = resolved(step.settings, self.values)
        if op in LISTS or (op == "item" and isinstance(self.values[step.name], list)):
            self.lists[step.name] = self._list(step, settings)
        elif op == "item":
            if step.inputs[0] in self.lists:
                yield replace(self.lists[step.inputs[0]][settings["index"]], name=step.name)
        elif op in LAYERS:
            yield self._layer(step, settings)
        elif op in PAIRWISE:
            yield self._pairwise(step, settings)
        elif op in UNARY:
            yield from self._lookup(step, settings)
        elif op in JOINED:
            yield from self._joined(step, settings)
        elif op in AVERAGES:
            yield self._average(step, settings)
        elif op in ("max_pool2d", "max_pool1d"):
            yield self._largest(step, settings)
        elif op in MOVED or (op == "interpolate" and settings.get("mode", "nearest").startswith("nearest")):
            yield self._moved(step, settings)
        elif op == "interpolate":
            raise NotImplementedError("it weighs four pixels with float32 numbers, each in its own place")
        elif op not in OUTSIDE:
            raise NotImplementedError(f"nothing is known of {op} with {', '.join(map(str, settings))}")

    def _rehearse(self, step: Step, pieces: list[Piece]) -> None:
        """Refuse pieces that do otherwise with drawn codes than the network's own function."""
        known = {name: self.sources[name] for piece in pieces for name in piece.inputs if name in self.sources}
        values = {name: drawn_codes(source) for name, source in known.items()}
        tensors = {name: like(source.tensor, values[name]) for name, source in known.items()}
        for piece in pieces:
            values[piece.name] = piece.run(*(values[name] for name in piece.inputs))
        lists = {
            name: [like(t, part.run(values[part.inputs[0]])) for t, part in zip(self.values[name], parts, strict=True)]
            for name, parts in self.lists.items()
            if name in step.inputs
        }
        theirs = step.compute({**self.values, **tensors, **lists}, self.machine)
        if not np.array_equal(values[step.name], theirs.int_repr()):
            raise NotImplementedError("on drawn codes the integers are others than the network's own")

    def _given(self, name: str) -> Arrays | None:
        return None if self.given is None else self.given[name]

    def _asked(self, step: Step, settings: Mapping[str, Any], *inputs: Any) -> Any:
        """What the network's own function makes of inputs."""
        return OPERATORS[step.op](*inputs, **settings, machine=self.machine)

    # Layers

    def _layer(self, step: Step, settings: Mapping[str, Any]) -> Layer:
        x, out = self.sources[step.inputs[0]], _quint8(self.values[step.name])
        weight, relu = settings["weight"], step.op.endswith("relu")
        parameters = x.codes, weight, settings["bias"]
        to = settings["scale"], settings["zero_point"], self.machine
        given = self._given(step.name)
        steps = None if given is None else Steps.of_arrays(given)
        if step.op.startswith("linear"):
            shape: tuple[int, ...] = (prod(x.tensor.shape[:-1]), x.tensor.shape[-1], 1)
            g = Geometry((1,), (1,), (1,), (0,), (1,), 1)
            requantization = linear(*parameters, *to, rows=shape[0], relu=relu, steps=steps)
        else:
            n, shape = len(x.tensor.shape) - 2, x.tensor.shape
            where = (settings[key] for key in ("stride", "padding", "dilation", "groups"))
            g = geometry(n, shape, weight.shape, *where)
            requantization = convolution(*parameters, g, *to, images=shape[0], relu=relu, steps=steps)
        w = matrices(weight.int_repr().reshape(*weight.shape[:2], *g.kernel), g.groups)
        order = order_of(requantization.accumulators.pairs, w.shape[1], weight.shape[1], self.machine)
        return Layer(
            *(step.name, step.op, step.inputs, out.shape, requantization.steps.clip),
            *(requantization, w, g, shape, order),
        )

    # Two tensors

    def _pairwise(self, step: Step, settings: Mapping[str, Any]) -> Pairwise:
        (a, b), out = (self.sources[name] for name in (step.inputs * 2)[:2]), _quint8(self.values[step.name])
        scale, zero_point = settings["scale"], settings["zero_point"]
        codes = (zero_point if step.op.endswith("relu") else 0, 255)
        of_a, of_b = ((t.q_scale(), t.q_zero_point()) for t in (a.tensor, b.tensor))
        relu = step.op.endswith("relu")
        if step.op.startswith("add"):
            alike = a.tensor.shape == b.tensor.shape
            sums = addition(of_a, of_b, scale, zero_point, self.machine, relu=relu, alike=alike)
            kernel: Way = sums.kernel
            forms: tuple[Any, ...] = (sums.body, sums.tail)
        else:
            product = multiplication(of_a, of_b, scale, zero_point, self.machine, relu=relu)
            kernel = lambda path, x, y: product.kernel(path, product.multiply(x, y))  # noqa: E731
            forms = tuple(OfProduct(of_a[1], of_b[1], form) for form in (product.body, product.tail))
        body, tail = (partial(kernel, path) for path in (BODY, TAIL))
        every = all_pairs("quint8")
        ways = [body] if np.array_equal(body(*every), tail(*every)) else [body, tail]

        def which() -> Ints:
            """0 in the body, 1 in the tail, where they differ; of any two codes for which they do, the function is
            asked."""
            if len(ways) == 1:
                return np.zeros((1,) * len(out.shape), np.int64)
            first, second = every
            of_body, of_tail = (np.asarray(way(first, second)).astype(np.int64) for way in ways)
            i = int(np.argmax(of_body != of_tail))
            asked = self._asked(step, settings, filled(a.tensor, first[i]), filled(b.tensor, second[i])).int_repr()
            return in_brief(np.where(asked == of_body[i], 0, 1))

        def proof(piece: Pairwise) -> int:
            if len(piece.pairs) != len(ways):
                raise Unproven(f"the kernel has {len(ways)} ways, the program {len(piece.pairs)}")
            points = sum(proved(pair, way) for pair, way in zip(piece.pairs, ways, strict=True))
            check_places(piece.which, which(), out.shape)
            return points

        given = self._given(step.name)
        pairs = forms[: len(ways)] if given is None else pairs_of(given)
        places = which() if given is None else given["which"]
        return Pairwise(step.name, step.op, (a.name, b.name), out.shape, codes, pairs, places, proof)

    # One tensor, code by code

    def _lookup(self, step: Step, settings: Mapping[str, Any]) -> Iterator[Piece]:
        x, out = self.sources[step.inputs[0]], _quint8(self.values[step.name])
        others = [self.values[name] for name in step.inputs[1:]]

        def ask(q: QTensor) -> Any:
            return self._asked(step, settings, q, *others).int_repr()

        def proof() -> tuple[Table, Ints, int]:
            return tables_of(ask, x.tensor)

        tables, which = proof()[:2] if (given := self._given(step.name)) is None else (given["tables"], given["which"])
        drawn = drawn_codes(x)
        index = np.arange(x.tensor.size).reshape(x.tensor.shape)
        source = x.name
        if not np.array_equal(tables[which, drawn], ask(like(x.tensor, drawn))):
            # qnnpack reads some tensors as they lie in memory, and writes a contiguous one
            index = in_memory_order(laid_out(index, x.tensor.strides)).reshape(index.shape)
            source = f"{step.name}, as {x.name} lies"
            yield Moved(source, "in_memory_order", (x.name,), x.tensor.shape, x.bounds, index)
        yield Lookup(step.name, step.op, (source,), out.shape, bounds_of(tables, x.bounds), tables, which, proof)

    def _joined(self, step: Step, settings: Mapping[str, Any]) -> Iterator[Piece]:
        names = list(step.inputs)
        if names[0] in self.lists:
            for i, moved in enumerate(self.lists[names[0]]):
                piece = replace(moved, name=f"{names[0]}[{i}]")
                self.sources[piece.name] = Source(piece.name, self.values[names[0]][i], piece.bounds)
                yield piece
            names = [f"{names[0]}[{i}]" for i in range(len(self.lists[names[0]]))]
        sources, out = [self.sources[name] for name in names], _quint8(self.values[step.name])
        axis = settings["dim"] % len(out.shape)
        cuts = np.cumsum([0, *(source.tensor.shape[axis] for source in sources)])
        parts, given = [], self._given(step.name)
        for i, source in enumerate(sources):
            at = (*[slice(None)] * axis, slice(cuts[i], cuts[i + 1]))
            proof = partial(self._part, step, settings, sources, i, at)
            tables, which = proof()[:2] if given is None else (given[f"{i}/tables"], given[f"{i}/which"])
            bounds = bounds_of(tables, source.bounds)
            shape = source.tensor.shape
            parts.append(Lookup(source.name, step.op, (source.name,), shape, bounds, tables, which, proof))
        bounds = min(part.bounds[0] for part in parts), max(part.bounds[1] for part in parts)
        yield Joined(step.name, step.op, tuple(names), out.shape, bounds, tuple(parts), axis)

    def _part(
        self, step: Step, settings: Mapping[str, Any], sources: list[Source], i: int, at: tuple[slice, ...]
    ) -> tuple[Table, Ints, int]:
        """The tables of one of the tensors that are joined."""

        def asked(q: QTensor) -> Any:
            tensors = [q if j == i else source.tensor for j, source in enumerate(sources)]
            return self._asked(step, settings, *tensors).int_repr()[at]

        return tables_of(asked, sources[i].tensor)

    # Windows

    def _average(self, step: Step, settings: Mapping[str, Any]) -> Average:
        x, out = self.sources[step.inputs[0]], _quint8(self.values[step.name])
        if step.op == "mean":
            kinds, which, windows = of_mean(x.tensor, x.codes, out, settings, self.machine)
        else:
            kinds, which, windows = of_pool(step.op, x.tensor, x.codes, out, settings, self.machine)
        forms = [kind.form for kind in kinds]
        once = sorted({forms.index(form) for form in forms})
        which = in_brief(np.array([once.index(forms.index(form)) for form in forms])[which])
        averages = [kinds[i] for i in once]

        def proof(piece: Average) -> int:
            if len(piece.kinds) != len(averages):
                raise Unproven(f"there are {len(averages)} kinds of windows, not {len(piece.kinds)}")
            check_places(piece.which, which, out.shape)
            return sum(prove_average(form, average) for form, average in zip(piece.kinds, averages, strict=True))

        mine, places = tuple(average.form for average in averages), which
        if (given := self._given(step.name)) is not None:
            mine, places = forms_of(given), given["which"]
        ends = np.concatenate([form.codes([form.low, form.high]) for form in mine])
        bounds = int(ends.min()), int(ends.max())
        offset = averages[0].offset
        return Average(step.name, step.op, (x.name,), out.shape, bounds, mine, places, windows, offset, proof)

    def _largest(self, step: Step, settings: Mapping[str, Any]) -> Largest:
        x, out = self.sources[step.inputs[0]], _quint8(self.values[step.name])
        wide = step.op == "max_pool2d"
        kernel, padding, dilation = (
            two(settings.get(key) if settings.get(key) is not None else default, wide)
            for key, default in (("kernel_size", None), ("padding", 0), ("dilation", 1))
        )
        stride = kernel if settings.get("stride") is None else two(settings["stride"], wide)
        lengths = (x.tensor.shape[-2] if wide else 1, x.tensor.shape[-1])
        outs = out.shape[-2:] if wide else (1, out.shape[-1])
        if not wide:
            kernel, stride, padding, dilation = (1, kernel[1]), (1, stride[1]), (0, padding[1]), (1, dilation[1])
        nearest = self.machine.engine == "qnnpack" and not settings.get("ceil_mode")
        rows, columns = (
            taps(*where, nearest=nearest)
            for where in zip(lengths, outs, kernel, stride, padding, dilation, strict=True)
        )
        return Largest(step.name, step.op, (x.name,), out.shape, x.bounds, lengths, rows, columns)

    # Places

    def _moved(self, step: Step, settings: Mapping[str, Any]) -> Moved:
        x, out = self.sources[step.inputs[0]], _quint8(self.values[step.name])
        index = places(lambda q: [self._asked(step, settings, q)], x.tensor)[0]
        return Moved(step.name, step.op, (x.name,), out.shape, x.bounds, index)

    def _list(self, step: Step, settings: Mapping[str, Any]) -> list[Moved]:
        """The tensors of a list, each as what it is of the one that was cut."""
        if step.op == "item":
            return list(self.lists[step.inputs[0]][settings["index"]])
        x = self.sources[step.inputs[0]]
        indices = places(lambda q: self._asked(step, settings, q), x.tensor)
        return [Moved(step.name, step.op, (x.name,), index.shape, x.bounds, index) for index in indices]


def _quint8(value: Any) -> QTensor:
    if not isinstance(value, QTensor) or value.dtype != "quint8":
        kind = value.dtype if isinstance(value, QTensor) else type(value).__name__
        raise NotImplementedError(f"programs compute with quint8, got {kind}")
    return value


def order_of(pairs: str, K: int, channels: int, machine: Machine) -> Ints | None:
    """Which of the K rows of a layer's weights share 16 bits, (P, 2), -1 for none; None where sums are exact.

    Args:
        pairs: as of ``layers.kernels.Kernel``, or "features".
        channels: of a group: rows are taps, the channels of each behind one another.
    """
    if not pairs:
        return None
    rows = np.arange(K)
    if pairs == "channels" and channels % 2:
        rows = np.insert(rows.reshape(-1, channels), channels, -1, axis=1).ravel()
    elif pairs == "features" and machine.engine == "onednn" and not machine.avx512:
        rows = even_halves(rows + 1, 0) - 1
    return np.pad(rows, (0, len(rows) % 2), constant_values=-1).reshape(-1, 2)


def filled(t: QTensor, code: int) -> QTensor:
    """A tensor laid out like t, of one code."""
    return like(t, np.full(t.shape, code, np.uint8))


def like(t: QTensor, codes: npt.NDArray[Any]) -> QTensor:
    """A tensor laid out like t, of other codes."""
    return QTensor(laid_out(codes.astype(np.uint8), t.strides), t.q_scale(), t.q_zero_point(), "quint8")


def places(ask: Callable[[QTensor], list[QTensor]], t: QTensor) -> list[Ints]:
    """Where the elements of what ask makes of t come from, in t's order: the bytes of their places are moved."""
    places = np.arange(t.size).reshape(t.shape)
    found: list[Ints] = []
    for byte in range(0, max(1, (t.size - 1).bit_length()), 8):
        parts = [part.int_repr().astype(np.int64) << byte for part in ask(like(t, places >> byte & 255))]
        found = [a + b for a, b in zip(found, parts, strict=True)] if found else parts
    return found


def tables_of(ask: Callable[[QTensor], Any], t: QTensor) -> tuple[Table, Ints, int]:
    """What ask makes of each code in each place: tables (n, 256), the table of each element, how many it looked at."""
    kinds, tables = np.zeros(t.shape, np.int64), np.zeros((1, 256), np.uint8)
    for code in range(256):
        out = np.asarray(ask(filled(t, code)))
        tables[0, code] = out.flat[0]
        if out.min() != out.max():
            kinds = np.unique(kinds.reshape(out.shape) * 256 + out, return_inverse=True)[1].reshape(out.shape)
    if kinds.any():
        first = np.unique(kinds, return_index=True)[1]
        tables = np.stack([np.asarray(ask(filled(t, code))).ravel()[first] for code in range(256)], 1)
    return tables, in_brief(kinds), 256 * t.size


def in_brief(which: Ints) -> Ints:
    """Indices with each axis 1 long along which they do not change."""
    for axis in range(which.ndim):
        first = np.take(which, [0], axis)
        if (which == first).all():
            which = first
    return which


def check_places(mine: Ints, wanted: Ints, shape: tuple[int, ...]) -> None:
    """Refuse elements that a program computes in another way than the kernel does."""
    if (different := np.argwhere(np.broadcast_to(mine, shape) != np.broadcast_to(wanted, shape))).size:
        raise Unproven(f"element {tuple(different[0].tolist())} is computed by another part of the kernel")


def bounds_of(tables: Table, x: tuple[int, int]) -> tuple[int, int]:
    """The least and the largest code that tables give of the codes that come."""
    reached = tables[:, x[0] : x[1] + 1]
    return int(reached.min()), int(reached.max())


def proved(pair: Any, way: Callable[..., Any]) -> int:
    """Prove a form of two codes; how many pairs it looked at."""
    return int(prove_pair(pair, way, "quint8"))


def prove_average(form: Form, average: pools.Average) -> int:
    """Prove a form of window sums; how many it looked at."""
    if (form.low, form.high) != (average.form.low, average.form.high):
        raise Unproven(
            f"windows sum up to {average.form.low} to {average.form.high}, the form is for {form.low} to {form.high}"
        )
    return replace(average, form=form).check()


def drawn_codes(x: Source) -> Table:
    """Some codes of a tensor, drawn."""
    rng = np.random.default_rng(0)
    return rng.integers(x.bounds[0], x.bounds[1] + 1, x.tensor.shape, dtype=np.uint8)


def two(value: Any, wide: bool) -> tuple[int, int]:
    """A length for rows and one for columns; of one dimension the rows' is of no account."""
    given = tuple(value) if isinstance(value, Sequence) else (value,) * 2
    return (given[0], given[1]) if wide else (given[-1], given[-1])


def taps(length: int, out: int, kernel: int, stride: int, padding: int, dilation: int, *, nearest: bool) -> Ints:
    """The indices that windows see of an axis, (out, kernel): for what is outside another that the window sees.

    qnnpack, as ``nearest`` says, takes the nearest index.
    """
    at = np.arange(out)[:, None] * stride - padding + np.arange(kernel) * dilation
    inside = (at >= 0) & (at < length)
    if nearest:
        return np.asarray(np.clip(at, 0, length - 1))
    if not inside.any(axis=1).all():
        raise NotImplementedError("a window sees padding alone")
    return np.asarray(np.where(inside, at, np.take_along_axis(at, inside.argmax(axis=1)[:, None], 1)))
