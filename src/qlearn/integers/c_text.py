"""Numbers, strings and loops of the C that a program becomes (Chapter 9, Integers only)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["bytes_", "dense", "identifier", "loops", "numbers"]

WIDTH = 116


def _literal(byte: int) -> str:
    """A byte within a string: itself, or three octal digits. A question mark may begin a trigraph."""
    plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
    return chr(byte) if plain else f"\\{byte:03o}"


LITERALS = [_literal(byte) for byte in range(256)]
AT_ONCE = 64  # bytes in a line


def bytes_(kind: str, name: str, values: npt.NDArray[Any]) -> str:
    """An array of 8-bit integers as a string, which compilers read much faster than numbers."""
    raw = np.ascontiguousarray(values).tobytes()
    lines = (raw[i : i + AT_ONCE] for i in range(0, max(len(raw), 1), AT_ONCE))
    body = "\n".join('  "' + "".join([LITERALS[byte] for byte in line]) + '"' for line in lines)
    return f"static const {kind} {name}[] =\n{body};\n"


def numbers(kind: str, name: str, values: Any) -> str:
    """An array of integers."""
    suffix = "LL" if kind == "int64_t" else "u" if kind == "uint32_t" else ""
    words = [_number(int(value), suffix) for value in np.asarray(values).ravel()] or ["0"]
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) + 2 > WIDTH:
            lines.append(line)
            line = ""
        line += (" " if line else "") + word + ","
    body = "\n".join(f"  {line}" for line in [*lines, line])
    return f"static const {kind} {name}[] = {{\n{body}\n}};\n"


def _number(value: int, suffix: str) -> str:
    if value == -(2**31):
        return f"(-2147483647{suffix} - 1)"
    return f"{value}{suffix}"


def identifier(name: str, taken: set[str]) -> str:
    """A layer's name as one of C that is not taken yet; it is then."""
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
    plain = plain if plain[:1].isalpha() else f"n{plain}"
    found, count = plain, 1
    while found in taken:
        count += 1
        found = f"{plain}_{count}"
    taken.add(found)
    return found


def dense(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of contiguous elements."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def loops(shape: Sequence[int], strides: Mapping[str, Sequence[int]], body: str, indent: str = "  ") -> str:
    """Nested loops over a shape; in body, [name] stands for the index of a tensor with these strides.

    Axes that lie behind one another in all tensors are one loop.
    """
    axes: list[tuple[int, dict[str, int]]] = []  # length, and the stride of each tensor
    for axis, length in enumerate(shape):
        if length == 1:
            continue
        steps = {name: step[axis] for name, step in strides.items()}
        if axes and all(axes[-1][1][name] == length * steps[name] for name in steps):
            axes[-1] = (axes[-1][0] * length, steps)
        else:
            axes.append((length, steps))
    text = ""
    for depth, (length, _) in enumerate(axes):
        text += f"{indent}{'  ' * depth}for (int i{depth} = 0; i{depth} < {length}; i{depth}++)\n"
    for name in strides:
        body = body.replace(f"[{name}]", f"[{_index([steps[name] for _, steps in axes])}]")
    return text + f"{indent}{'  ' * len(axes)}{body}\n"


def _index(steps: Sequence[int]) -> str:
    terms = [f"i{depth}" + (f" * {step}" if step != 1 else "") for depth, step in enumerate(steps) if step]
    return " + ".join(terms) or "0"
