"""A program as C: one freestanding file, C99, integers alone, no heap, no library (Chapter 9, Integers only).

Codes lie in PyTorch's order (N, C, H, W). What the layers hand on lies in one static array, whose places are used
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatchmethod
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.integers.c_functions import HEAD, needed
from qlearn.integers.c_text import bytes_, dense, identifier, loops, numbers
from qlearn.integers.forms import Form, Thresholds
from qlearn.integers.pairs import Affine, OfSum, Table, TwoTables
from qlearn.integers.pieces import Average, Joined, Largest, Layer, Lookup, Moved, OfProduct, Pairwise, Piece

__all__ = ["Emitted", "emit"]

FEW = 8  # a map of kinds is written if it has so many times fewer entries than there are elements


class Emitted:
    """What ``emit`` made.

    Args:
        text: of the C file, but for its head.
        memory: bytes of the static array of codes.
        sums: bytes of the static array of sums.
    """

    def __init__(self, text: str, memory: int, sums: int) -> None:
        self.text, self.memory, self.sums = text, memory, sums


def emit(name: str, pieces: Sequence[Piece], source: str, outputs: Sequence[str], shapes: dict[str, Any]) -> Emitted:
    """The C of a program whose function is called name.

    Args:
        pieces, source, outputs: as of ``Program``.
        shapes: of all codes, by name.

    Raises:
        NotImplementedError: a step that does not fit what the C computes with; names it.
    """
    writer = _Writer(shapes)
    for piece in pieces:
        try:
            writer.step(piece)
        except NotImplementedError as error:
            raise NotImplementedError(f"layer {piece.name} ({piece.op}) is not there in C: {error}") from error
    where, memory = places(pieces, writer.alias, outputs, shapes)
    at = {key: "x" if writer.root(key) == source else in_memory(where[writer.root(key)]) for key in shapes}
    body = "".join(f"  /* {step.replace('*/', '* /')}: {op} */\n{fill(text, at)}" for step, op, text in writer.body)
    start = 0
    for output in outputs:
        n = prod(shapes[output])
        body += f"  for (int i = 0; i < {n}; i++) y[{f'{start} + ' if start else ''}i] = {at[output]}[i];\n"
        start += n
    functions = needed(writer.needs, slope=writer.slope, sums=writer.sums)
    text = f"{HEAD}{functions}\n{''.join(writer.constants)}\nstatic uint8_t memory[{max(memory, 1)}];\n\n"
    text += f"void {name}_run(const uint8_t *x, uint8_t *y) {{\n{body}}}\n"
    return Emitted(text, memory, 4 * writer.sums if "layer" in writer.needs else 0)


def in_memory(place: int) -> str:
    """A place of the static array."""
    return f"(memory + {place})" if place else "memory"


def fill(text: str, at: dict[str, str]) -> str:
    """Text with <<name>> replaced by where the codes of that name lie."""
    for key in {part.split(">>")[0] for part in text.split("<<")[1:]}:
        text = text.replace(f"<<{key}>>", at[key])
    return text


def places(
    pieces: Sequence[Piece], alias: dict[str, str], outputs: Sequence[str], shapes: dict[str, Any]
) -> tuple[dict[str, int], int]:
    """Where in the static array each piece's codes lie, the first place that is free long enough; bytes in all."""

    def root(name: str) -> str:
        return root(alias[name]) if name in alias else name

    last = {root(piece.name): step for step, piece in enumerate(pieces)}
    for step, piece in enumerate(pieces):
        last |= {root(name): step for name in piece.inputs}
    last |= {root(name): len(pieces) for name in outputs}
    found: dict[str, int] = {}
    busy: list[tuple[int, int, int]] = []  # first byte, the byte behind the last, the step that is the last to read
    memory = 0
    for step, piece in enumerate(pieces):
        if piece.name in alias:
            continue
        busy = sorted(place for place in busy if place[2] >= step)
        at, size = 0, prod(shapes[piece.name])
        for first, end, _ in busy:
            if first - at >= size:
                break
            at = max(at, end)
        found[piece.name] = at
        busy.append((at, at + size, last[piece.name]))
        memory = max(memory, at + size)
    return found, memory


class _Writer:
    """Writes constants and statements of one step after the other."""

    def __init__(self, shapes: dict[str, Any]) -> None:
        self.shapes = shapes
        self.constants: list[str] = []
        self.body: list[tuple[str, str, str]] = []
        self.alias: dict[str, str] = {}
        self.needs: set[str] = set()
        self.taken: set[str] = {"x", "y", "memory", "sums", "layer", "largest", "product"}
        self.slope, self.sums = "int32_t", 1

    def root(self, name: str) -> str:
        """Whose place a name's codes have."""
        return self.root(self.alias[name]) if name in self.alias else name

    def add(self, piece: Piece, text: str) -> None:
        """Statements."""
        self.body.append((piece.name, piece.op, text))

    @singledispatchmethod
    def step(self, piece: Piece) -> None:
        """Write a piece."""
        raise NotImplementedError(f"nothing writes {type(piece).__name__}")

    # Forms

    def forms(self, name: str, forms: Sequence[Form], clip: tuple[int, int]) -> str:
        """Write arrays of forms; the initializer of a Forms."""
        self.needs.add("forms")
        lines = [form for form in forms if not isinstance(form, Thresholds)]
        M = [(-1 if form.falling else 1) if isinstance(form, Thresholds) else form.M for form in forms]
        B = [form.first if isinstance(form, Thresholds) else form.B for form in forms]
        S = [255 if isinstance(form, Thresholds) else form.S for form in forms]
        late = [list(getattr(form, "late", ())) for form in forms]
        cuts = [list(form.at) if isinstance(form, Thresholds) else [] for form in forms]
        if any(abs(m) >= 2**31 for m in M):
            self.slope = "int64_t"
        if any(abs(t) >= 2**31 for cut in cuts for t in cut):
            raise NotImplementedError("a threshold leaves int32")
        fields = {"M": f"{name}_M", "B": f"{name}_B", "S": f"{name}_S"}
        self.constants += [numbers("Slope", f"{name}_M", M), numbers("int64_t", f"{name}_B", B)]
        self.constants += [numbers("uint8_t", f"{name}_S", S)]
        for field, kind, lists in (("late", "uint8_t", late), ("cut", "int32_t", cuts)):
            if any(lists):
                values = f"{name}_{field}" + ("s" if field == "cut" else "")
                fields |= {f"{field}_at": f"{name}_{field}_at", "cuts" if field == "cut" else field: values}
                at = np.cumsum([0, *(len(part) for part in lists)])
                self.constants.append(numbers("uint32_t", f"{name}_{field}_at", at))
                self.constants.append(numbers(kind, values, [v for part in lists for v in part]))
        least, most = clip if lines else (0, 255)
        fields |= {"least": str(least), "most": str(most)}
        return "{" + ", ".join(f".{field} = {value}" for field, value in fields.items()) + "}"

    # Layers

    @step.register
    def _layer(self, piece: Layer) -> None:
        self.needs |= {"layer", "run layer"}
        name, g = identifier(piece.name, self.taken), piece.geometry
        acc = piece.requantization.accumulators
        z, zw = piece.zero_point, piece.w_zero_points
        taps, into = prod(g.kernel), piece.x_shape[1] // g.groups
        reach = np.abs(piece.centered.astype(np.int64)).sum(axis=-1).max(initial=0) * max(z, 255 - z)
        if max(int(reach), 255 * 128 * taps * into) >= 2**31:
            raise NotImplementedError("its sums may leave int32 on the way")
        w = piece.w.reshape(g.groups, taps, into, -1).transpose(0, 3, 2, 1)  # groups, channels, into, taps
        self.constants.append(bytes_("int8_t", f"{name}_w", w))
        where = (g.lengths, g.kernel, g.stride, g.padding, g.dilation, g.out)
        if {*g.kernel, *g.stride} == {1} and not any(g.padding):  # the pixels are one row
            row = (prod(g.lengths),)
            where = (row, (1,), (1,), (0,), (1,), row)
        names = ("length", "kernel", "stride", "padding", "dilation", "out")
        fields = {"images": piece.x_shape[0], "groups": g.groups, "into": into, "out_of": w.shape[1]}
        text = ", ".join(f".{field} = {value}" for field, value in fields.items())
        fills = (1, 1, 1, 0, 1, 1)
        text += ",\n  " + ", ".join(
            f".{field} = {{{', '.join(map(str, (*[one] * (3 - len(value)), *value)))}}}"
            for field, value, one in zip(names, where, fills, strict=True)
        )
        text += f",\n  .zero_point = {z}, .w = {name}_w"
        if zw.any():
            self.constants.append(numbers("int8_t", f"{name}_z", zw))
            text += f", .w_zero_point = {name}_z"
        if piece.order is not None and piece.saturating.size:
            self.needs.add("pairs")
            order = np.where(piece.order >= 0, piece.order % into * taps + piece.order // into, -1)
            pairs = [order[at] for group in piece.pairs_that_saturate for at in group.T]  # of each channel, (n, 2)
            starts = np.cumsum([0, *(len(pair) for pair in pairs)])
            self.constants.append(numbers("uint32_t", f"{name}_pair_at", starts))
            self.constants.append(numbers("int32_t", f"{name}_pairs", np.concatenate(pairs)))
            text += f",\n  .pair_at = {name}_pair_at, .pairs = {name}_pairs, .padding_code = {piece.padding_code}"
        assert acc.zero_points.shape == (len(piece.steps),)
        text += f",\n  .forms = {self.forms(name, list(piece.steps), piece.steps.clip)}"
        self.constants.append(f"static const Layer {name}_layer = {{\n  {text}\n}};\n\n")
        self.sums = max(self.sums, prod(g.out))
        self.add(piece, f"  layer(<<{piece.inputs[0]}>>, <<{piece.name}>>, &{name}_layer);\n")

    # Two tensors

    @step.register
    def _pairwise(self, piece: Pairwise) -> None:
        name, (a, b) = identifier(piece.name, self.taken), piece.inputs
        shape = piece.shape
        strides = {key: broadcast(self.shapes[at], shape) for key, at in (("a", a), ("b", b))}
        flat = np.broadcast_to(piece.which, shape).ravel()
        kinds = sorted(set(flat.tolist()), key=lambda kind: -int((flat == kind).sum()))
        of = {kind: self.pair(name if not kind else f"{name}_tail", piece.pairs[kind]) for kind in kinds}
        most, *others = kinds
        body = f"<<{piece.name}>>[y] = {of[most]('<<' + a + '>>[a]', '<<' + b + '>>[b]')};"
        text = loops(shape, {"y": dense(shape), **strides}, body)
        for kind in others:
            at = np.flatnonzero(flat == kind)
            self.constants.append(numbers("uint32_t", f"{name}_at_{kind}", at))
            index = {"a": f"{name}_at_{kind}[i]", "b": f"{name}_at_{kind}[i]"}
            for key in "ab":
                if strides[key] != dense(shape):
                    places = sum(
                        (i * step for i, step in zip(np.unravel_index(at, shape), strides[key], strict=True)),
                        start=np.zeros(len(at), np.int64),
                    )
                    self.constants.append(numbers("uint32_t", f"{name}_{key}_{kind}", places))
                    index[key] = f"{name}_{key}_{kind}[i]"
            codes = of[kind](f"<<{a}>>[{index['a']}]", f"<<{b}>>[{index['b']}]")
            text += f"  for (int i = 0; i < {len(at)}; i++)\n    <<{piece.name}>>[{name}_at_{kind}[i]] = {codes};\n"
        self.add(piece, text)

    def pair(self, name: str, pair: Any) -> Callable[[str, str], str]:
        """Write a function of two codes; what calls it."""
        name = identifier(f"{name}_of_two", self.taken)
        if isinstance(pair, Affine):
            wide = "int32_t" if 255 * (abs(pair.M1) + abs(pair.M2)) + abs(pair.C) < 2**31 else "int64_t"
            sums = f"a * ({wide}){_c(pair.M1)} + b * ({wide}){_c(pair.M2)} + {_c(pair.C)}"
            text = _clipped(f"  {wide} q = ({sums}) >> {pair.S};\n", pair.clip)
        elif isinstance(pair, TwoTables):
            self.constants += [numbers("int32_t", f"{name}_{key}", getattr(pair, key)) for key in "AB"]
            text = _clipped(f"  int32_t q = ({name}_A[a] + {name}_B[b]) >> {pair.S};\n", pair.clip)
        elif isinstance(pair, Table):
            self.constants.append(bytes_("uint8_t", f"{name}_table", pair.table.astype(np.uint8)))
            text = f"  return {name}_table[a * 256 + b];\n"
        elif isinstance(pair, (OfSum, OfProduct)):
            clip = getattr(pair.form, "clip", (0, 255))
            self.constants.append(f"static const Forms {name}_forms = {self.forms(name, [pair.form], clip)};\n")
            sums = (
                f"a * {_c(pair.M1)} + b * {_c(pair.M2)}"
                if isinstance(pair, OfSum)
                else f"(a - {pair.a_zero_point}) * (b - {pair.b_zero_point})"
            )
            text = f"  return code_of({sums}, &{name}_forms, 0);\n"
        else:
            raise NotImplementedError(f"nothing writes {type(pair).__name__}")
        self.constants.append(f"static uint8_t {name}(int32_t a, int32_t b) {{\n{text}}}\n\n")
        return lambda a, b: f"{name}({a}, {b})"

    # One tensor

    def lookup(self, piece: Lookup, name: str, source: str, to: str, strides: Sequence[int]) -> str:
        """Statements that look codes up; to: where the result's first element lies, with these strides."""
        self.constants.append(bytes_("uint8_t", f"{name}_codes", piece.tables))
        shape, own = piece.shape, {"x": dense(piece.shape), "y": tuple(strides)}
        if len(piece.tables) == 1:
            return loops(shape, own, f"{to}[y] = {name}_codes[<<{source}>>[x]];")
        which, steps = self.map(name, piece.which, shape)
        return loops(shape, {**own, "k": steps}, f"{to}[y] = {name}_codes[{which}[k] * 256 + <<{source}>>[x]];")

    def map(self, name: str, which: npt.NDArray[np.int64], shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        """Write which kind each element is; its name, and its strides over shape."""
        if int(which.max(initial=0)) > 255:
            self.constants.append(numbers("uint16_t", f"{name}_which", which))
        else:
            self.constants.append(bytes_("uint8_t", f"{name}_which", which.astype(np.uint8)))
        return f"{name}_which", broadcast(which.shape, shape)

    @step.register
    def _lookup(self, piece: Lookup) -> None:
        name = identifier(piece.name, self.taken)
        self.add(piece, self.lookup(piece, name, piece.inputs[0], f"<<{piece.name}>>", dense(piece.shape)))

    @step.register
    def _joined(self, piece: Joined) -> None:
        name, strides, start, text = identifier(piece.name, self.taken), dense(piece.shape), 0, ""
        for i, (part, source) in enumerate(zip(piece.parts, piece.inputs, strict=True)):
            to = f"(<<{piece.name}>> + {start})" if start else f"<<{piece.name}>>"
            text += self.lookup(part, f"{name}_{i}", source, to, strides)
            start += part.shape[piece.axis] * strides[piece.axis]
        self.add(piece, text)

    # Windows

    @step.register
    def _average(self, piece: Average) -> None:
        name, source = identifier(piece.name, self.taken), piece.inputs[0]
        x = self.shapes[source]
        least = max((form.clip[0] for form in piece.kinds if not isinstance(form, Thresholds)), default=0)
        forms = self.forms(name, piece.kinds, (least, 255))
        self.constants.append(f"static const Forms {name}_forms = {forms};\n")
        outer = tuple(n if window is None else len(window) for n, window in zip(x, piece.windows, strict=True))
        which, steps = "", (0,) * len(outer)
        if len(piece.kinds) > 1:
            full = np.broadcast_to(piece.which, piece.shape).reshape(outer)
            which, steps = self.map(name, full if piece.which.ndim != len(outer) else piece.which, outer)
        strides, inner, index, text = dense(x), [], [], ""
        for axis, (length, window) in enumerate(zip(outer, piece.windows, strict=True)):
            text += f"  {'  ' * axis}for (int i{axis} = 0; i{axis} < {length}; i{axis}++)"
            text += " {\n" if axis == len(outer) - 1 else "\n"
            if window is None:
                index.append(f"i{axis} * {strides[axis]}")
            else:
                ends, j = f"{name}_{axis}", f"j{axis}"
                self.constants.append(numbers("int32_t", ends, window))
                inner.append(f"for (int {j} = {ends}[2 * i{axis}]; {j} < {ends}[2 * i{axis} + 1]; {j}++)")
                index.append(f"j{axis} * {strides[axis]}")
        indent = "  " * (len(outer) + 1)
        kind = "0" if not which else f"{which}[{' + '.join(f'i{a} * {step}' for a, step in enumerate(steps) if step)}]"
        y = " + ".join(f"i{axis} * {step}" for axis, step in enumerate(dense(outer)))
        text += f"{indent}int32_t sum = 0;\n"
        for depth, loop in enumerate(inner):
            text += f"{indent}{'  ' * depth}{loop}\n"
        text += f"{indent}{'  ' * len(inner)}sum += <<{source}>>[{' + '.join(index)}] - {piece.offset};\n"
        text += f"{indent}<<{piece.name}>>[{y}] = code_of(sum, &{name}_forms, {kind});\n"
        text += f"{indent[2:]}}}\n"
        self.add(piece, text)

    @step.register
    def _largest(self, piece: Largest) -> None:
        self.needs.add("largest")
        name, tables = identifier(piece.name, self.taken), (piece.rows, piece.columns)
        planes = prod(piece.shape) // (len(piece.rows) * len(piece.columns))
        sizes = {
            "length": piece.lengths,
            "out": (len(piece.rows), len(piece.columns)),
            "kernel": (piece.rows.shape[1], piece.columns.shape[1]),
        }
        for key, size in sizes.items():
            self.constants.append(f"static const int {name}_{key}[] = {{{size[0]}, {size[1]}}};\n")
        for key, table in zip(("rows", "columns"), tables, strict=True):
            self.constants.append(numbers("uint16_t", f"{name}_{key}", table))
        arguments = ", ".join(f"{name}_{key}" for key in (*sizes, "rows", "columns"))
        self.add(piece, f"  largest(<<{piece.inputs[0]}>>, <<{piece.name}>>, {planes}, {arguments});\n")

    # Places

    @step.register
    def _moved(self, piece: Moved) -> None:
        source = piece.inputs[0]
        if piece.stays and piece.index.size == prod(self.shapes[source]):
            self.alias[piece.name] = source
            return
        if (found := affine(piece.index)) is not None:
            start, strides = found
            at = f"(<<{source}>> + {start})" if start else f"<<{source}>>"
            body = f"<<{piece.name}>>[y] = {at}[x];"
            self.add(piece, loops(piece.shape, {"y": dense(piece.shape), "x": strides}, body))
            return
        name = identifier(piece.name, self.taken)
        self.constants.append(numbers("uint32_t", f"{name}_from", piece.index))
        body = f"  for (int i = 0; i < {piece.index.size}; i++) <<{piece.name}>>[i] = <<{source}>>[{name}_from[i]];\n"
        self.add(piece, body)


def broadcast(shape: Sequence[int], to: Sequence[int]) -> tuple[int, ...]:
    """The strides of contiguous elements that are read as of a larger shape: 0 where they are repeated."""
    own = (1,) * (len(to) - len(shape)) + tuple(shape)
    return tuple(0 if n == 1 != m else step for n, m, step in zip(own, to, dense(own), strict=True))


def affine(index: npt.NDArray[np.int64]) -> tuple[int, tuple[int, ...]] | None:
    """start and strides with index = start + the sum of each axis' place times its stride; None if there are none."""
    if not index.size:
        return None
    start, strides = int(index.flat[0]), []
    for axis, length in enumerate(index.shape):
        strides.append(int(np.take(index, 1, axis).flat[0]) - start if length > 1 else 0)
    grid = np.full(index.shape, start, np.int64)
    for axis, step in enumerate(strides):
        grid += (np.arange(index.shape[axis]) * step).reshape(-1, *[1] * (index.ndim - 1 - axis))
    return (start, tuple(strides)) if np.array_equal(grid, index) else None


def _c(value: int) -> str:
    """A constant in C, in brackets if it is negative; of 64 bits if it must."""
    text = f"{value}LL" if abs(value) >= 2**31 else str(value)
    return f"({text})" if value < 0 else text


def _clipped(text: str, clip: tuple[int, int]) -> str:
    least, most = clip
    return f"{text}  return (uint8_t)(q < {least} ? {least} : q > {most} ? {most} : q);\n"
