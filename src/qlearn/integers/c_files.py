"""The files around a network in C: header, test vectors, a main that checks them, a Makefile (Chapter 9).

And the same C as a function on NumPy arrays, by the system's compiler.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qlearn.integers.c import Emitted
from qlearn.integers.c_text import bytes_

__all__ = ["FLAGS", "Source", "compiled", "write"]

Codes = npt.NDArray[np.uint8]
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-ffreestanding")
"""With which each file compiles; so does it with -mgeneral-regs-only, where the compiler has that."""
COMPILERS = ("cc", "gcc", "clang")

MAKEFILE = """\
# make check compiles NAME.c and runs it on the vectors; for another machine with, for example,
# CC=arm-linux-gnueabi-gcc RUN="qemu-arm -L /usr/arm-linux-gnueabi". GENERAL= is for compilers without this option: it
# keeps the network from registers of floating-point numbers, which it does not need.
CC = cc
CFLAGS = -O2
GENERAL = -mgeneral-regs-only
STRICT = -std=c99 -Wall -Wextra -Werror
RUN =

check: NAME_test
\t$(RUN) ./NAME_test

NAME.o: NAME.c NAME.h
\t$(CC) $(STRICT) -ffreestanding $(GENERAL) $(CFLAGS) -c NAME.c

NAME_test: NAME_test.c NAME_vectors.h NAME.o
\t$(CC) $(STRICT) $(CFLAGS) -o $@ NAME_test.c NAME.o

clean:
\trm -f NAME.o NAME_test

.PHONY: check clean
"""

TEST = """\
/* Runs the network on the vectors and counts the codes that differ; exit code 1 if any does. */
#include <stdio.h>

#include "NAME.h"
#include "NAME_vectors.h"

static uint8_t y[GUARD_OUTPUT_SIZE];

int main(void) {
  long different = 0;
  for (int i = 0; i < GUARD_VECTORS; i++) {
    NAME_run(NAME_inputs + (long)i * GUARD_INPUT_SIZE, y);
    for (long j = 0; j < GUARD_OUTPUT_SIZE; j++) different += y[j] != NAME_outputs[i * (long)GUARD_OUTPUT_SIZE + j];
  }
  printf("%d inputs, %ld codes, %ld differ\\n", GUARD_VECTORS, (long)GUARD_VECTORS * GUARD_OUTPUT_SIZE, different);
  return different != 0;
}
"""


class Source(NamedTuple):
    """What a header says: shapes, and what codes stand for, as words."""

    name: str
    emitted: Emitted
    shape: tuple[int, ...]
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    words: Sequence[str]

    @property
    def guard(self) -> str:
        """The name in capitals."""
        return self.name.upper()

    @property
    def output_size(self) -> int:
        """Codes of all outputs."""
        return sum(prod(shape) for _, shape in self.outputs)

    def header(self) -> str:
        """The header."""
        macros = {"INPUT_SIZE": prod(self.shape), "OUTPUT_SIZE": self.output_size}
        macros |= {f"INPUT_LENGTH_{axis}": length for axis, length in enumerate(self.shape)}
        start = 0
        for i, (_, shape) in enumerate(self.outputs):
            of = f"OUTPUT{i if len(self.outputs) > 1 else ''}"
            macros |= {f"{of}_LENGTH_{axis}": length for axis, length in enumerate(shape)}
            if len(self.outputs) > 1:
                macros[f"{of}_START"] = start
            start += prod(shape)
        macros |= {"BYTES_OF_CODES": self.emitted.memory, "BYTES_OF_SUMS": self.emitted.sums}
        lines = [f"#define {self.guard}_{key} {value}" for key, value in macros.items()]
        words = "\n".join(f"   {line}" for line in self.words)
        return (
            f"/* A quantized network in integers.\n\n{words} */\n#ifndef {self.guard}_H\n#define {self.guard}_H\n\n"
            "#include <stdint.h>\n\n"
            + "\n".join(lines)
            + f"\n\n/* Codes in PyTorch's order, contiguous: x {self.shape}, y what the network returns, one output\n"
            f"   behind the other. Its buffers are static: one call at a time. */\n"
            f"void {self.name}_run(const uint8_t *x, uint8_t *y);\n\n#endif\n"
        )

    def code(self) -> str:
        """The C file."""
        return f'/* {self.words[0]} See {self.name}.h. */\n#include "{self.name}.h"\n{self.emitted.text}'


def write(folder: Path, source: Source, inputs: Codes, outputs: Codes) -> list[Path]:
    """Write all files: the network, its header, vectors (n, ...), the main that checks them, the Makefile."""
    folder.mkdir(parents=True, exist_ok=True)
    name = source.name
    vectors = f"#define {source.guard}_VECTORS {len(inputs)}\n\n"
    vectors += bytes_("uint8_t", f"{name}_inputs", inputs) + "\n" + bytes_("uint8_t", f"{name}_outputs", outputs)
    files = {
        f"{name}.c": source.code(),
        f"{name}.h": source.header(),
        f"{name}_vectors.h": vectors,
        f"{name}_test.c": TEST.replace("GUARD", source.guard).replace("NAME", name),
        "Makefile": MAKEFILE.replace("NAME", name),
    }
    for file, text in files.items():
        (folder / file).write_text(text)
    return [folder / file for file in files]


def compiled(source: Source, options: Sequence[str]) -> Callable[[Codes], Any]:
    """The network's C as a function on arrays."""
    compiler = next((found for found in map(shutil.which, COMPILERS) if found), None)
    if compiler is None:
        raise FileNotFoundError(f"a C compiler is needed, one of {', '.join(COMPILERS)}; none is there")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{source.name}.c").write_text(source.code())
        (Path(folder) / f"{source.name}.h").write_text(source.header())
        library = Path(folder) / f"{source.name}.so"
        command = [compiler, *FLAGS, *options, "-shared", "-fPIC", "-o", str(library), f"{source.name}.c"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[:2000]}")
        function = getattr(ctypes.CDLL(str(library)), f"{source.name}_run")
    function.restype = None

    def run(codes: Codes) -> Any:
        x = np.ascontiguousarray(codes)
        if x.dtype != np.uint8 or x.shape != source.shape:
            raise ValueError(f"codes must be uint8 of shape {source.shape}, got {x.dtype} of {x.shape}")
        y = np.empty(source.output_size, np.uint8)
        function(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
        ends = np.cumsum([prod(shape) for _, shape in source.outputs])
        found = [part.reshape(shape) for part, (_, shape) in zip(np.split(y, ends[:-1]), source.outputs, strict=True)]
        return tuple(found) if len(found) > 1 else found[0]

    return run
