"""Lines of the cheat sheet, executed as they are printed, in NumPy and in C.

A case is what some lines are called with, one after the other, and what they should give.
"""

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

import sheet
from qlearn import Machine
from qlearn.machine.releases import ZERO_POINT_FIRST

Array = npt.NDArray[Any]
Steps = tuple[tuple[str, str], ...]
Run = Callable[[str, Mapping[str, Any]], Array]
NUMPY, C = range(2)
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class Case(NamedTuple):
    """Lines to execute one after the other, each with the name that its result has for those after it."""

    steps: Steps
    values: Mapping[str, Any]
    expected: Array
    machine: Machine
    recorded: bool = True
    dtype: str = "quint8"


# The two languages

GIVEN = {line.key: section.given for section in sheet.SECTIONS for line in section.lines}


def code_of(line: sheet.Line, language: int) -> tuple[list[str], str, tuple[str, ...]]:
    """A line's statements, its expression, and the variables that it takes."""
    *statements, expression = (line.numpy, line.c)[language].split("\n")
    given = GIVEN[line.key][language]
    words = set(re.findall(r"[A-Za-z_]\w*", " ".join([*statements, expression])))
    if given and "t" in words:
        statements = [given, *statements]
        words |= set(re.findall(r"\w+", given))
    made = set(re.findall(r"\b(\w+) = ", " ".join(statements)))
    return statements, expression, tuple(name for name in sheet.TYPES if name in words - made)


def preamble(language: int, machine: Machine, dtype: str) -> str:
    """The sheet's steps, for one release and dtype; the page says what changes for qint8."""
    text = sheet.preamble(language, zero_point_first=machine.has(ZERO_POINT_FIRST))
    if dtype == "qint8":
        for right, other in (("v, 0, 255", "v, -128, 127"), ("fmaxf(v, 0), 255", "fmaxf(v, -128), 127")):
            text = text.replace(right, other)
    return text


def numpy_of(machine: Machine, dtype: str, lines: Mapping[str, sheet.Line], steps: tuple[str, str]) -> Run:
    """Executes a line of NumPy as it is printed; some exchanged, or a text in the steps."""
    named: dict[str, Any] = {}
    exec(preamble(NUMPY, machine, dtype).replace(*steps), named)
    found = sheet.lines() | lines

    def run(key: str, values: Mapping[str, Any]) -> Array:
        statements, expression, taken = code_of(found[key], NUMPY)
        space = named | {name: of_numpy(name, values[name]) for name in taken}
        for statement in statements:
            exec(statement, space)
        return np.asarray(eval(expression, space))

    return run


def of_numpy(name: str, value: Any) -> Any:
    """A variable as the page says that NumPy has it."""
    kind = {"int": np.int64, "float": np.float32, "double": np.float64}[sheet.TYPES[name]]
    array = np.asarray(value).astype(kind)
    return array if array.ndim or kind is np.float32 else array.item()


@cache
def library(text: str) -> ctypes.CDLL:
    """C code, compiled."""
    if COMPILER is None:
        pytest.skip("there is no C compiler here")
    folder = Path(tempfile.mkdtemp(prefix="sheet"))
    (folder / "sheet.c").write_text(text)
    command = [COMPILER, *STRICT, *("-O1", "-shared", "-fPIC"), "-o", folder / "sheet.so", folder / "sheet.c", "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(folder / "sheet.so"))
    shutil.rmtree(folder)
    return loaded


def c_text(machine: Machine, dtype: str, lines: Mapping[str, sheet.Line], steps: tuple[str, str]) -> str:
    """A C file with a function for each line, and one that calls it for many values."""
    parts = [preamble(C, machine, dtype).replace(*steps)]
    for key, line in lines.items():
        statements, expression, taken = code_of(line, C)
        arguments = ", ".join(f"{sheet.TYPES[name]} {name}" for name in taken)
        columns = ", ".join(f"({sheet.TYPES[name]})columns[{i}][k]" for i, name in enumerate(taken))
        parts.append(
            f"static double line_{key}({arguments})\n{{\n    "
            + "\n    ".join([*statements, f"return {expression};"])
            + f"\n}}\nvoid all_{key}(long count, const double *const *columns, double *out)\n"
            f"{{\n    for (long k = 0; k < count; k++) out[k] = line_{key}({columns});\n}}\n"
        )
    return "\n".join(parts)


def c_of(machine: Machine, dtype: str, lines: Mapping[str, sheet.Line], steps: tuple[str, str]) -> Run:
    """Executes a line of C as it is printed; some exchanged, or a text in the steps."""
    found = sheet.lines() | lines
    loaded = library(c_text(machine, dtype, found, steps))

    def run(key: str, values: Mapping[str, Any]) -> Array:
        taken = code_of(found[key], C)[2]
        arrays = np.broadcast_arrays(*(np.asarray(values[name], np.float64) for name in taken))
        columns = [np.ascontiguousarray(array) for array in arrays]
        out = np.empty(columns[0].shape)
        pointers = (ctypes.POINTER(ctypes.c_double) * len(columns))(
            *(column.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for column in columns)
        )
        function = getattr(loaded, f"all_{key}")
        function.argtypes, function.restype = [ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p], None
        function(out.size, pointers, out.ctypes.data)
        return out

    return run


def executed(case: Case, run: Run) -> Array:
    """What the last of its lines gives."""
    values = dict(case.values)
    for key, name in case.steps:
        values[name] = run(key, values)
    return np.asarray(values[case.steps[-1][1]])


@cache
def runner(language: int, release: str, dtype: str, *exchanged: sheet.Line, steps: tuple[str, str] = ("", "")) -> Run:
    """Executes the lines of one release, some of them exchanged; or with another text in the steps."""
    machine, lines = Machine("x86", "AVX2", 1, release=release), {line.key: line for line in exchanged}
    return (numpy_of, c_of)[language](machine, dtype, lines, steps)


def differing(case: Case, run: Run) -> tuple[int, str]:
    """How many numbers differ, and the first in words."""
    ours = executed(case, run).astype(np.float64)
    theirs = np.broadcast_to(case.expected, ours.shape).astype(np.float64)
    differ = np.flatnonzero(ours != theirs)
    first = f"{ours.flat[differ[0]]}, and not {theirs.flat[differ[0]]}" if len(differ) else ""
    return len(differ), f"{case.steps} {case.machine}: {len(differ)} of {ours.size} differ, the first is {first}"
