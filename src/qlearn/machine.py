"""Whose arithmetic: engine, capability, threads; where vector bodies and tails lie (Chapter 8, The last bit)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["CAPABILITIES", "ENGINES", "Machine"]

ENGINES = ("fbgemm", "x86", "onednn", "qnnpack")
"""torch.backends.quantized.engine"""
CAPABILITIES = ("DEFAULT", "AVX2", "AVX512")
"""torch.backends.cpu.get_cpu_capability(); the environment variable ATEN_CPU_CAPABILITY lowers it."""

BLOCK = 64  # elements: two vectors of 32 eight-bit codes
GRAIN = 32768  # elements: fewer are not worth a thread


@dataclass(frozen=True)
class Machine:
    """An x86-64 machine and PyTorch's settings on it, as far as they change an integer (Chapter 8).

    Args:
        engine: "fbgemm", "x86", "onednn" or "qnnpack": torch.backends.quantized.engine.
        capability: "DEFAULT", "AVX2" or "AVX512": torch.backends.cpu.get_cpu_capability().
        threads: torch.get_num_threads(), at least 1.
        vnni: whether the CPU multiplies 8-bit integers without saturation (AVX512_VNNI).

    Raises:
        ValueError, TypeError: one of them is not among these.
    """

    engine: str
    capability: str
    threads: int
    vnni: bool = True

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

    @classmethod
    def default(cls) -> Machine:
        """PyTorch's default engine, x86, on a server CPU of the last years: AVX-512 with VNNI. Needs no torch.

        One thread, so that an answer does not depend on the reader's number of cores; more threads change only
        element-wise operators above 32,768 elements.
        """
        return cls("x86", "AVX512", threads=1, vnni=True)

    @classmethod
    def from_torch(cls) -> Machine:
        """What the running torch would use now: its engine, capability, threads and the CPU's VNNI.

        Raises:
            NotImplementedError: the CPU is not x86-64, or the engine or capability is one that qlearn does not know.
        """
        import platform

        import torch

        engine, capability = torch.backends.quantized.engine, torch.backends.cpu.get_cpu_capability()
        if platform.machine().lower() not in ("x86_64", "amd64"):
            raise NotImplementedError(f"qlearn knows the arithmetic of x86-64, this CPU is {platform.machine()}")
        if engine not in ENGINES or capability not in CAPABILITIES:
            raise NotImplementedError(f"qlearn knows no engine {engine!r} with capability {capability!r}")
        return cls(engine, capability, torch.get_num_threads(), bool(torch.cpu._is_vnni_supported()))

    def paths(self, n: int) -> list[tuple[int, int, str]]:
        """Where an element-wise kernel computes n elements: (start, stop, "body" or "tail"), in memory order.

        Up to 32,768 elements are one chunk; more are cut in ceil(n / tasks) with tasks = min(threads, ceil(n / 32768)).
        In each chunk whole blocks of 64 elements are the vector body, the rest, up to 63, is the scalar tail. Source:
        ``Parallel.h`` divup, ``ParallelOpenMP.h``, ``native/cpu/Loops.h`` vectorized_loop.

        Raises:
            ValueError: n is negative.
        """
        if n < 0:
            raise ValueError(f"n must not be negative, got {n}")
        found = []
        for start, stop in self._chunks(n):
            tail = stop - (stop - start) % BLOCK
            found += [(start, tail, "body"), (tail, stop, "tail")]
        return [(start, stop, path) for start, stop, path in found if start < stop]

    def in_body(self, n: int) -> npt.NDArray[np.bool_]:
        """``paths(n)`` as booleans, shape (n,): True in a vector body, False in a tail."""
        body = np.zeros(n, dtype=np.bool_)
        for start, stop, path in self.paths(n):
            body[start:stop] = path == "body"
        return body

    def _chunks(self, n: int) -> list[tuple[int, int]]:
        tasks = max(1, min(self.threads, -(-n // GRAIN)))
        length = max(1, -(-n // tasks))
        return [(start, min(start + length, n)) for start in range(0, n, length)]
