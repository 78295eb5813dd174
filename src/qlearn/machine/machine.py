"""Whose arithmetic: engine, capability, threads; where vector bodies and tails lie (Chapter 8, The last bit)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt

from qlearn.machine import _cpu
from qlearn.machine.iteration import as_visited, inner_to_outer, row_length, rows_are_vectors
from qlearn.machine.layout import dense_strides
from qlearn.machine.releases import AVX512_BODIES, BOOK, Change, release_of

__all__ = ["BODY", "CAPABILITIES", "ENGINES", "TAIL", "Machine"]

ENGINES = ("fbgemm", "x86", "onednn", "qnnpack")
"""torch.backends.quantized.engine"""
CAPABILITIES = ("DEFAULT", "AVX2", "AVX512")
"""torch.backends.cpu.get_cpu_capability(); the environment variable ATEN_CPU_CAPABILITY lowers it."""

BLOCK = 64  # elements: two vectors of 32 eight-bit codes
GRAIN = 32768  # elements: fewer are not worth a thread
TAIL, BODY = 0, 1


@dataclass(frozen=True)
class Machine:
    """An x86-64 machine and PyTorch's settings on it, as far as they change an integer (Chapter 8).

    Args:
        engine: "fbgemm", "x86", "onednn" or "qnnpack": torch.backends.quantized.engine.
        capability: "DEFAULT", "AVX2" or "AVX512": torch.backends.cpu.get_cpu_capability().
        threads: torch.get_num_threads(), at least 1.
        vnni: whether the CPU multiplies 8-bit integers without saturation (AVX512_VNNI). Without, a CPU of capability
            AVX512 has AVX-512, any other has AVX2.
        release: of PyTorch, "1.13" to "2.15" with any patch level (``qlearn.machine.releases``); a newer one is taken
        for the
            newest that is known, with a warning.

    Raises:
        ValueError, TypeError: one of them is not among these.
    """

    engine: str
    capability: str
    threads: int
    vnni: bool = True
    release: str = BOOK
    # Set by from_torch alone: what FBGEMM and oneDNN use, where vnni and capability say otherwise, and what the CPU
    # has, where they use less of it; of _cpu.LEVELS. AMX is what oneDNN uses alone, and stands beside vnni.
    _used: str = field(default="", kw_only=True, repr=False)
    _has: str = field(default="", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}")
        if self.capability not in CAPABILITIES:
            raise ValueError(f"capability must be one of {', '.join(CAPABILITIES)}, got {self.capability!r}")
        if not isinstance(self.threads, int) or isinstance(self.threads, bool):
            raise TypeError(f"threads must be an integer, got {self.threads!r}")
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")
        if not isinstance(self.vnni, bool):
            raise TypeError(f"vnni must be True or False, got {self.vnni!r}")
        object.__setattr__(self, "release", release_of(self.release))

    def has(self, change: Change) -> bool:
        """Whether a change of ``qlearn.machine.releases`` holds in this release."""
        return change.holds(self.release)

    @property
    def wider(self) -> int:
        """How many of AVX2's blocks an element-wise body takes at once: 2 where it is made for AVX-512."""
        return 2 if self.capability == "AVX512" and self.has(AVX512_BODIES) else 1

    def check_bodies(self) -> None:
        """Refuse the kernels made for AVX-512 that take channels or sums in vectors, which were not compared.

        Raises:
            NotImplementedError: the capability is AVX512, of PyTorch 1.13 or 2.0.
        """
        if self.wider > 1:
            raise NotImplementedError(
                f"capability must be DEFAULT or AVX2 for this operator of release {self.release}, whose own kernel for "
                f"AVX512 was not compared; got {self.capability}"
            )

    @property
    def avx512(self) -> bool:
        """Whether FBGEMM and oneDNN use AVX-512, whatever the capability: with VNNI, or AVX512."""
        return self.vnni or (self._used or self.capability) == "AVX512"

    @property
    def amx(self) -> bool:
        """Whether oneDNN uses AMX, as ``from_torch`` alone finds it."""
        return self._used == "AMX"

    @property
    def cpu(self) -> str:
        """What the CPU has: "VNNI", "AVX512" or "AVX2". Engine x86 and one kernel of FBGEMM ask it alone."""
        return self._has or ("VNNI" if self.vnni else "AVX512" if self.avx512 else "AVX2")

    @classmethod
    def default(cls) -> Machine:
        """PyTorch's default engine, x86, on a server CPU of the last years: AVX-512 with VNNI. Needs no torch.

        One thread, so that an answer does not depend on the reader's number of cores; more threads change only
        element-wise operators above 32,768 elements.
        """
        return cls("x86", "AVX512", threads=1, vnni=True)

    @classmethod
    def of(cls, machine: Machine | None) -> Machine:
        """The machine that an operator was given, ``Machine.default()`` for None, or a TypeError."""
        if machine is None:
            return cls.default()
        if not isinstance(machine, cls):
            raise TypeError(f"machine must be a Machine or None, got {type(machine).__name__}")
        return machine

    @classmethod
    def from_torch(cls) -> Machine:
        """What the running torch would use now: its engine, capability, threads and release, and the CPU's VNNI.

        A capability AVX512 is AVX2 on a CPU without AVX-512, whatever ATEN_CPU_CAPABILITY says. Where
        FBGEMM_ENABLE_INSTRUCTIONS and ONEDNN_MAX_CPU_ISA have the libraries use less than the CPU has, or oneDNN uses
        AMX, the machine knows it, and is equal to none that can be written down. They are read from the environment as
        it is now; PyTorch reads them once, when a layer first runs.

        Warns:
            UserWarning: layers on this engine may differ, since they take kernels that were not compared: oneDNN's
                with AMX in another release than 2.14, with AVX-VNNI but no AVX-512, or with less than AVX2; on x86 two
                libraries that use different instructions, or, with VNNI, another system than Linux. Or the release is
                newer than all that are known.

        Raises:
            NotImplementedError: the CPU is not x86-64, or the engine or capability is one that qlearn does not know,
                or nobody says what the CPU has.
        """
        import platform
        import warnings

        import torch

        if not _cpu.is_x86():
            raise NotImplementedError(
                f"qlearn knows PyTorch's arithmetic on x86-64, this CPU is {platform.machine()}; "
                f"name a machine instead, as Machine.default() does"
            )
        cpu = _cpu.features(torch)
        engine, capability = torch.backends.quantized.engine, _cpu.capability(torch, cpu)
        if engine not in ENGINES or capability not in CAPABILITIES:
            raise NotImplementedError(f"qlearn knows no engine {engine!r} with capability {capability!r}")
        has, fbgemm, onednn = _cpu.level(cpu), _cpu.fbgemm(cpu), _cpu.onednn(cpu)
        release = release_of(torch.__version__)
        unproven = _cpu.unproven(engine, has, fbgemm, onednn, release)
        if unproven:
            warnings.warn(f"layers on {engine} may differ: {unproven} was not compared", stacklevel=2)
        used = _cpu.nearest(onednn) if engine == "onednn" else fbgemm
        amx = onednn == "AMX" and engine in ("x86", "onednn") and not unproven
        usual = "VNNI" if used == "VNNI" else "AVX512" if capability == "AVX512" else "AVX2"
        return cls(
            *(engine, capability, torch.get_num_threads(), used == "VNNI", release),
            _used="AMX" if amx else "" if used == usual else used,
            _has="" if used == has else has,
        )

    def paths(self, n: int) -> list[tuple[int, int, str]]:
        """Where an element-wise kernel computes n elements: (start, stop, "body" or "tail"), in memory order.

        Up to 32,768 elements are one chunk; more are cut in ceil(n / tasks) with tasks = min(threads, ceil(n / 32768)).
        In each chunk whole blocks of 64 elements are the vector body, the rest, up to 63, is the scalar tail; blocks
        are of 128 for AVX512 in PyTorch 1.13 and 2.0. Source:
        ``Parallel.h`` divup, ``ParallelOpenMP.h``, ``native/cpu/Loops.h`` vectorized_loop.

        Raises:
            ValueError: n is negative.
        """
        if n < 0:
            raise ValueError(f"n must not be negative, got {n}")
        cuts = self._cuts(n, row=n)
        found = []
        for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            tail = stop - (stop - start) % (BLOCK * self.wider)
            found += [(start, tail, "body"), (tail, stop, "tail")]
        return [(start, stop, path) for start, stop, path in found if start < stop]

    def in_body(self, n: int) -> npt.NDArray[np.bool_]:
        """``paths(n)`` as booleans, shape (n,): True in a vector body, False in a tail."""
        body = np.zeros(n, dtype=np.bool_)
        for start, stop, path in self.paths(n):
            body[start:stop] = path == "body"
        return body

    def path_map(self, shape: Sequence[int], *strides: Sequence[int], block: int = BLOCK) -> npt.NDArray[np.int8]:
        """Which path of an element-wise kernel computes each element: BODY (1) or TAIL (0), int8 of the given shape.

        TensorIterator visits the elements row after row (``qlearn.machine.iteration``); the rows are cut once more
        where a thread's share begins. Of each piece, whole blocks are the vector body and the rest is the tail. Rows
        whose elements are no neighbors in memory are all tail.

        Args:
            shape: of the result.
            strides: of the result, then of each input, in elements, 0 along an axis that is repeated; none stands for
                contiguous tensors.
            block: elements that the vector loop takes at once: 64 for 8-bit codes, 16 for qint32.

        Raises:
            ValueError: strides are not as many as the axes of shape, or a length is negative.
        """
        shape = tuple(shape)
        if any(length < 0 for length in shape):
            raise ValueError(f"shape must not have negative lengths, got {shape}")
        operands = [tuple(s) for s in strides] or [dense_strides(shape)]
        if any(len(s) != len(shape) for s in operands):
            raise ValueError(f"strides must have {len(shape)} numbers each, one for each axis, got {strides}")
        n = prod(shape)
        order = inner_to_outer(shape, operands)
        if n == 0 or not rows_are_vectors(shape, operands, order):
            return np.full(shape, TAIL, dtype=np.int8)
        pieces = np.diff(self._cuts(n, row_length(shape, operands, order)))  # (pieces,), their lengths
        left = pieces % (block * self.wider)
        lengths = np.stack([pieces - left, left], axis=1)  # (pieces, 2)
        paths = np.tile(np.array([BODY, TAIL], dtype=np.int8), len(pieces))
        return as_visited(np.repeat(paths, lengths.ravel()), shape, order)

    def _cuts(self, n: int, row: int) -> npt.NDArray[np.int64]:
        """Where rows and threads begin among n elements in visiting order, and n at the end."""
        tasks = max(1, min(self.threads, -(-n // GRAIN)))
        share = max(1, -(-n // tasks))
        starts = [np.arange(0, n, share), np.arange(0, n, max(row, 1)), np.array([n])]
        return np.unique(np.concatenate(starts)).astype(np.int64)
