"""Test vectors: what operators are called with and PyTorch's integers, row by row, from the committed recordings.

``sets()`` has one for each operator, engine and path. ``files()`` writes them as .csv, as .hex for Verilog's $readmemh
and as .npz, all rows and the ties among them. The same recordings give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qlearn import recordings
from qlearn.machine.releases import BOOK

__all__ = ["ROWS", "TIES", "WIDTHS", "Vectors", "digest", "files", "hex_words", "sets"]

Array = npt.NDArray[Any]
Columns = dict[str, Any]

ROWS, TIES = 448, 224
"""At most so many rows of a set, and of its ties."""
NEAR = 2.0**-20
"""A tie: the exact result lies no further from the middle between two codes, as a part of itself or of one code."""
WIDTHS = {"uint8": 2, "int8": 2, "int32": 8, "float32": 8, "float64": 16}
"""Of a column in a .hex file, in hexadecimal digits; negative integers in two's complement, floats as their bits."""
CODES = np.arange(256, dtype=np.uint8)
EVERY_PAIR = CODES.repeat(256), np.tile(CODES, 256)
REACH = 12_400
"""Accumulators that are looked at, to both sides; the staircase was asked as far as 12,500."""
ACTIVATIONS = {
    "clamp": ("low", "high"),
    "hardswish": ("s", "z"),
    "hardsigmoid": (),
    "leaky_relu": ("slope", "s", "z"),
    "sigmoid": ("s", "z"),
    "tanh": (),
    "elu": ("s", "z", "alpha"),
}
"""What the recorded cases hold after scale and zero point of x."""


class Vectors(NamedTuple):
    """The rows of one operator on one path."""

    name: str
    operator: str
    path: str
    source: tuple[str, str, str]
    """Recording, kind of machine, release."""
    engine: str
    columns: dict[str, Array]
    """The inputs, then what PyTorch gives; of one length."""
    outputs: int
    """How many of them PyTorch gives."""
    tied: npt.NDArray[np.bool_]
    """Which rows are ties."""

    def about(self) -> str:
        """Who gave these integers."""
        recording, kind, release = self.source
        made = recordings.sources(recording, release)[kind]
        cpu = "AVX-512 and VNNI" if made["vnni"] else "AVX2, or told to use no more"
        return (
            f"PyTorch {made['torch']}, engine {self.engine}, capability {made['capability']}, a CPU with {cpu}; "
            f"asked by make record NAMES={recording}"
        )

    def some(self) -> dict[str, Array]:
        """At most ROWS rows: as many ties as fill half of them, and others."""
        ties, others = np.flatnonzero(self.tied), np.flatnonzero(~self.tied)
        half = spread(ties, ROWS // 2)
        return self.at(np.sort(np.concatenate([half, spread(others, ROWS - len(half))])))

    def ties(self) -> dict[str, Array]:
        """At most TIES rows, ties alone."""
        return self.at(spread(np.flatnonzero(self.tied), TIES))

    def at(self, rows: Array) -> dict[str, Array]:
        """Some rows."""
        return {name: column[rows] for name, column in self.columns.items()}


def spread(rows: Array, most: int) -> Array:
    """At most so many of the rows, scattered among them: in the order of multiples of the golden ratio."""
    order = np.argsort(np.arange(len(rows), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15), kind="stable")
    return np.sort(rows[order[:most]])


def near_tie(exact: Any) -> npt.NDArray[np.bool_]:
    """Whether real numbers lie as good as in the middle between two codes, none of which is beyond the last."""
    exact = np.asarray(exact, np.float64)
    from_tie = np.abs(exact - np.floor(exact) - 0.5)
    return np.asarray((from_tie <= NEAR * np.maximum(1, np.abs(exact))) & (exact > 0) & (exact < 255))


def vectors(
    name: str,
    operator: str,
    path: str,
    source: tuple[str, str, str],
    engine: str,
    columns: Columns,
    exact: Any,
    outputs: int = 1,
) -> Vectors:
    """A set of columns, each an array or one number for all rows; ``exact`` is the result in codes."""
    typed = {key: typed_column(key, column) for key, column in columns.items()}
    arrays = dict(zip(typed, (a.ravel() for a in np.broadcast_arrays(*typed.values())), strict=True))
    rows = len(next(iter(arrays.values())))
    tied = np.zeros(rows, np.bool_) if exact is None else np.broadcast_to(near_tie(exact).ravel(), rows)
    return Vectors(name, operator, path, source, engine, arrays, outputs, tied)


def typed_column(name: str, column: Any) -> Array:
    """By its name: scales and real parameters float64, zero points and codes uint8, accumulators int32."""
    if name in ("x", "b", "real"):
        return np.asarray(column, np.float32)
    if name[0] in "sc" or name in ("low", "high", "slope", "alpha"):
        return np.asarray(column, np.float64)
    if name in ("acc", "S", "n", "kh", "kw"):
        return np.asarray(column, np.int32)
    return np.asarray(column, np.int8 if name[0] == "w" else np.uint8)


def joined(parts: list[tuple[Columns, Any]]) -> tuple[Columns, Any]:
    """Columns of several calls, one after the other."""
    whole = [np.broadcast_arrays(*(np.asarray(v) for v in columns.values())) for columns, _ in parts]
    names = parts[0][0]
    columns = {name: np.concatenate([w[i].ravel() for w in whole]) for i, name in enumerate(names)}
    exact = None if parts[0][1] is None else np.concatenate([np.asarray(e).ravel() for _, e in parts])
    return columns, exact


@cache
def sets() -> tuple[Vectors, ...]:
    """All of them."""
    return (*of_codes(), *of_pairs(), *of_single_tensors(), *of_accumulators(), *of_sums(), *of_averages())


@cache
def recorded(name: str, kind: str = "avx2", release: str = BOOK) -> tuple[dict[str, Array], tuple[str, str, str]]:
    """The arrays of one kind of machine, and where they come from."""
    arrays = loaded(name, release)
    return {k.split("/", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{kind}/")}, (name, kind, release)


loaded = cache(recordings.load)


def of_codes() -> Iterator[Vectors]:
    """Real numbers to codes and back."""
    for release in (BOOK, "2.13"):
        r, source = recorded("rounding", release=release)
        wide, _ = recorded("affine", release=release)
        for operator, there in (("quantize_per_tensor", "tensor"), ("quantize_per_channel", "channel")):
            parts: list[tuple[Columns, Any]] = []
            for i, (s, z) in enumerate(r["presets"]):
                x = r[f"ties/{i}/x"]
                parts.append(({"x": x, "s": s, "z": z, "q": r[f"ties/{i}/{there}"]}, x / s + z))
            columns, exact = joined(parts)
            of = "" if release == BOOK else "_2_13"
            where = "body and tail" + (", release 2.13" if of else "")
            yield vectors(f"{operator}{of}", operator, where, source, "fbgemm", columns, exact)
        if release == BOOK:
            parts = [
                ({"q": wide[f"codes/{i}/q"], "s": s, "z": z, "real": wide[f"codes/{i}/x"]}, None)
                for i, (s, z, signed) in enumerate(wide["presets"])
                if not signed
            ]
            yield vectors(
                "dequantize", "dequantize", "per tensor", ("affine", *source[1:]), "fbgemm", joined(parts)[0], None
            )


def of_pairs() -> Iterator[Vectors]:
    """Sums and products of two codes."""
    a, b = EVERY_PAIR
    for release, kind, name, path in (
        *((BOOK, "avx2", name, path) for name in ("add", "add_relu") for path in ("body", "tail")),
        (BOOK, "avx2", "qnnpack", "on qnnpack"),
        ("2.13", "avx2", "add", "tail"),
        (BOOK, "avx2", "mul", "body"),
    ):
        r, source = recorded("elementwise", kind, release)
        parts = []
        for i, ((sa, za), (sb, zb), (s, z)) in enumerate(
            r[{"mul": "products", "qnnpack": "qnnpack"}.get(name, "presets")]
        ):
            q = r[f"{name}/{i}" if name == "qnnpack" else f"{name}/{i}/{path}"]
            real = (a - za) * sa * (b - zb) * sb if name == "mul" else (a - za) * sa + (b - zb) * sb
            exact = (np.maximum(real, 0) if name == "add_relu" else real) / s + z
            columns = {"qa": a, "qb": b, "sa": sa, "za": za, "sb": sb, "zb": zb, "s": s, "z": z, "q": q.ravel()}
            parts.append((columns, exact))
        operator, engine = ("add", "qnnpack") if name == "qnnpack" else (name, "fbgemm")
        of = "" if release == BOOK else "_2_13"
        called = "mul" if name == "mul" else f"{operator}_{'qnnpack' if engine == 'qnnpack' else path}{of}"
        where = ("body and tail" if name == "mul" else path) + (", release 2.13" if of else "")
        yield vectors(called, operator, where, source, engine, *joined(parts))


def of_single_tensors() -> Iterator[Vectors]:
    """Scalars, cat and activations of every code."""
    r, source = recorded("elementwise")
    for path in ("body", "tail"):
        parts: list[tuple[Columns, Any]] = []
        for i, ((sx, zx), (s, z)) in enumerate(r["cats"]):
            columns = {"qx": CODES, "sx": sx, "zx": zx, "s": s, "z": z, "q": r[f"cat/{i}/{path}"]}
            parts.append((columns, (CODES - zx) * sx / s + z))
        where = "channels_last, " + ("eights of channels" if path == "body" else "channels left over")
        yield vectors(f"cat_{path}", "cat", where, source, "fbgemm", *joined(parts))
    for name in ("add_scalar", "mul_scalar"):
        parts = []
        for i, (sx, zx, c) in enumerate(r["scalars"]):
            s, z = r[f"{name}/{i}/about"]
            columns = {"qx": CODES, "sx": sx, "zx": zx, "c": c, "s": s, "z": z, "q": r[f"{name}/{i}"]}
            parts.append((columns, None))
        yield vectors(name, name, "body and tail", source, "fbgemm", *joined(parts), outputs=3)
    r, source = recorded("activations")
    for name, arguments in ACTIVATIONS.items():
        for path in ("body", "tail", "qnnpack"):
            parts = []
            for i, (dtype, sx, zx, *args) in enumerate(r[f"cases/{name}"]):
                key = f"qnnpack/{name}/{i}" if path == "qnnpack" else f"{name}/{i}/{path}"
                if dtype == 0 and key in r:
                    given = dict(zip(arguments, args, strict=True))
                    columns = {"qx": CODES, "sx": sx, "zx": zx, **given, "q": r[key]}
                    parts.append((columns, in_codes(name, (CODES - zx) * sx, given)))
            where = "on qnnpack" if path == "qnnpack" else path
            engine = "qnnpack" if path == "qnnpack" else "fbgemm"
            same = name in ("elu", "leaky_relu", "clamp") and path == "qnnpack"  # the other engines' kernels
            if not same:
                yield vectors(f"{name}_{path}", name, where, source, engine, *joined(parts))


def in_codes(name: str, x: Array, given: dict[str, float]) -> Any:
    """The exact result of an activation, in codes; None for those of an exponential, which has no ties."""
    if name == "hardswish":
        return x * np.clip(x + 3, 0, 6) / 6 / given["s"] + given["z"]
    if name == "hardsigmoid":
        return np.clip(x + 3, 0, 6) / 6 * 256
    if name == "leaky_relu":
        return np.where(x > 0, x, x * given["slope"]) / given["s"] + given["z"]
    return None


def of_accumulators() -> Iterator[Vectors]:
    """Accumulators on either side of each step of a linear layer's staircase."""
    for lane, engine, kind in (
        ("fbgemm", "fbgemm", "avx2"),
        ("onednn", "onednn", "avx2"),
        ("onednn_avx2", "onednn", "without_vnni"),
        ("qnnpack", "qnnpack", "avx2"),
    ):
        r, source = recorded("staircase", kind)
        for channel, weight in enumerate(("tensor", "channel")):
            parts: list[tuple[Columns, Any]] = []
            for pair, scale, zero_point, bias in np.ndindex(4, 9, 5, 11):
                if (scale + zero_point + bias) % 12:  # a twelfth of them
                    continue
                (sx, sw), s, z = r["pairs"][pair], r["scales"][pair, scale], int(r["zero_points"][zero_point])
                b, codes = r["biases"][pair, bias], np.arange(1, 256)
                estimate = np.ceil(((codes - 0.5 - z) * s - b) / (sx * sw))
                first = (estimate + r[lane][pair, channel, scale, zero_point, bias]).astype(int)
                known = np.abs(estimate) < REACH
                acc = np.concatenate([first[known], first[known] - 1])
                q = np.concatenate([codes[known], codes[known] - 1])
                columns = {"acc": acc, "b": b, "sx": sx, "sw": sw, "s": s, "z": z, "q": q}
                parts.append((columns, (acc * sx * sw + b) / s + z))
            columns, exact = joined(parts)
            library = {"onednn_avx2": "onednn on AVX2", "onednn": "onednn with VNNI"}.get(lane, lane)
            name, where = f"requantize_{lane}_{weight}", f"linear, {library}, weight per {weight}"
            yield vectors(name, "requantize", where, source, engine, columns, exact)


def of_sums() -> Iterator[Vectors]:
    """Linear layers from their codes: 9 products and the last steps."""
    for name, kind, where in (
        ("linear_exact", "avx2", "sums exact"),
        ("linear_saturating", "without_vnni", "pairs of products clamped to 16 bits"),
    ):
        r, source = recorded("linear", kind)
        row, output = (at.ravel() for at in np.indices((48, 20)))
        parts = []
        for i, (sx, zx, sw, s, z) in enumerate(r["presets"]):
            columns = {f"x{k}": r["x/8"][row, k] for k in range(9)} | {
                f"w{k}": r["weight"][output, k] for k in range(9)
            }
            columns |= {"zx": zx, "b": r[f"bias/{i}"][output], "sx": sx, "sw": sw, "s": s, "z": z}
            parts.append((columns | {"q": r[f"fbgemm/8/tensor/{i}"].ravel()}, None))
        yield vectors(name, "linear", f"weight per tensor, {where}", source, "fbgemm", *joined(parts))


def of_averages() -> Iterator[Vectors]:
    """Windows of 2 x 3 pixels: S is the sum of q - z, where a kernel has no zero point that of q."""
    r, source = recorded("pooling")
    x = r["x"].astype(int)
    sums, whole = x.reshape(1, 25, 6, 2, 4, 3).sum((3, 5)), 2 * 3
    for name, start in (("avg_pool2d", 2200), ("adaptive_avg_pool2d", 4500)):  # where their answers begin
        for engine, layout in (("fbgemm", "channels_last"), ("fbgemm", "contiguous"), ("qnnpack", "channels_last")):
            channels = 24 if (engine, layout) == ("fbgemm", "channels_last") else 25
            parts: list[tuple[Columns, Any]] = []
            for z in (3, 128):
                q = r[f"{engine}/{layout}/{z}"][start : start + sums.size].reshape(sums.shape)
                if (name, layout) == ("adaptive_avg_pool2d", "contiguous"):
                    columns: Columns = {"S": sums, "kh": 2, "kw": 3, "q": q}
                else:
                    columns = {"S": sums - whole * z, "n": whole, "s": 0.05, "z": z, "q": q}
                some = {k: v[:, :channels] if isinstance(v, np.ndarray) else v for k, v in columns.items()}
                parts.append((some, sums[:, :channels] / whole))
            where = (
                "channels_last, eights of channels"
                if channels == 24
                else "on qnnpack"
                if engine == "qnnpack"
                else layout
            )
            called = f"{name}_{'qnnpack' if engine == 'qnnpack' else layout}"
            yield vectors(called, name, where, source, engine, *joined(parts))


# The files


@cache
def files() -> dict[str, bytes]:
    """Name -> contents: three files for each set and for its ties, an index and the checksums of all."""
    found: dict[str, bytes] = {}
    index = []
    for v in sets():
        for name, columns in ((v.name, v.some()), (f"{v.name}_ties", v.ties())):
            rows = len(next(iter(columns.values())))
            if not rows:
                continue
            about = f"{v.operator}, {v.path}{', ties' if name != v.name else ''}. {v.about()}"
            made = {
                f"{name}.csv": csv(columns),
                f"{name}.hex": readmemh(columns, about),
                f"{name}.npz": npz(columns, about),
            }
            found |= made
            index.append(
                {
                    "name": name,
                    "about": about,
                    "rows": rows,
                    "columns": {key: column.dtype.name for key, column in columns.items()},
                    "outputs": list(columns)[-v.outputs :],
                    "sha256": {file: digest(data) for file, data in made.items()},
                }
            )
    found["index.json"] = (json.dumps(index, indent=1) + "\n").encode()
    found["SHA256SUMS"] = "".join(f"{digest(data)}  {name}\n" for name, data in sorted(found.items())).encode()
    return found


def digest(data: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def csv(columns: dict[str, Array]) -> bytes:
    """A line of names, then one a row; a float has the digits that give it back."""
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(repr, row)) for row in rows), ""]).encode()


def readmemh(columns: dict[str, Array], about: str) -> bytes:
    """A word a row, the first column in its upper bits."""
    bits = ", ".join(f"{name} {4 * WIDTHS[column.dtype.name]}" for name, column in columns.items())
    return "\n".join([f"// {about}", f"// bits: {bits}", *hex_words(columns), ""]).encode()


def hex_words(columns: dict[str, Array]) -> list[str]:
    """Each row in hexadecimal digits, with _ between the columns."""
    parts = []
    for column in columns.values():
        width = WIDTHS[column.dtype.name]
        bits = np.ascontiguousarray(column).view(f"u{column.dtype.itemsize}")
        parts.append([f"{value:0{width}x}" for value in bits.tolist()])
    return ["_".join(row) for row in zip(*parts, strict=True)]


def npz(columns: dict[str, Array], about: str) -> bytes:
    """The columns by their names, each of its dtype, and ``about``."""
    whole = io.BytesIO()
    np.savez_compressed(whole, **columns, about=np.array(about))
    return whole.getvalue()
