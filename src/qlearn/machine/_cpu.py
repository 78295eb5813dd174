"""What the CPU has, and how much of it PyTorch's libraries use: for ``Machine.from_torch`` (Chapter 8, The last bit).

FBGEMM and oneDNN look at the CPU when they start, and at an environment variable each that has them use less of it.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

__all__ = [
    *("LEVELS", "capability", "fbgemm", "features", "is_x86", "level", "nearest", "of_linux", "onednn", "unproven"),
    "without_amx",
]

CPUINFO = Path("/proc/cpuinfo")
LEVELS = ("AVX2", "AVX512", "VNNI")
"""The instructions that a library's kernels are made of, as far as their integers are known."""
AMX = "2.14"
"""The release in which the integers of oneDNN with AMX are known too."""

FBGEMM = {"AVX2": "AVX2", "AVX512": "AVX512", "AVX512_256": "AVX512", "AVX512_E1": "VNNI", "AVX512_E1_256": "VNNI"}
"""Values of FBGEMM_ENABLE_INSTRUCTIONS; vectors of 256 bits give the same integers."""

ONEDNN = (
    *("sse41", "avx", "avx2", "avx2_vnni", "avx2_vnni_2", "avx512_core", "avx512_core_vnni", "avx512_core_bf16"),
    *("avx512_core_fp16", "avx512_core_amx", "avx512_core_amx_fp16", "default"),
)
"""Values of ONEDNN_MAX_CPU_ISA, or DNNL_MAX_CPU_ISA, from the least to the most."""

Features = Collection[str]


def is_x86() -> bool:
    """Whether the CPU is x86-64, whose arithmetic is known."""
    return platform.machine().lower() in ("x86_64", "amd64")


def features(torch: Any) -> frozenset[str]:
    """What the CPU has, by Linux's names without underscores: "avx2", "avx512f", "avx512vnni", "avxvnni", "amxint8".

    PyTorch says it since 2.8, as its libraries see it; before, Linux does.

    Raises:
        NotImplementedError: neither says it.
    """
    if hasattr(getattr(torch, "cpu", None), "get_capabilities"):
        names = [name for name, has in torch.cpu.get_capabilities().items() if has is True]
        return frozenset(name.replace("_", "") for name in names)
    found = of_linux()
    if not found:
        raise NotImplementedError(
            f"qlearn cannot see what this CPU has: neither PyTorch {torch.__version__} nor {platform.system()} says it"
        )
    return found


def of_linux() -> frozenset[str]:
    """What the CPU has, as Linux says it; nothing on another system."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flag.replace("_", "") for flag in flags.partition(":")[2].split())


def capability(torch: Any, cpu: Features) -> str:
    """PyTorch's capability; AVX2 where ATEN_CPU_CAPABILITY claims an AVX-512 that the CPU lacks."""
    if hasattr(getattr(torch.backends, "cpu", None), "get_cpu_capability"):
        said = torch.backends.cpu.get_cpu_capability()
    else:  # up to 2.0
        found = re.search(r"CPU capability usage: (.*)", torch.__config__.show())
        said = found[1].strip() if found else "unknown"
    if said == "NO AVX":  # up to 2.4
        return "DEFAULT"
    return "AVX2" if said == "AVX512" and level(cpu) == "AVX2" else str(said)


def level(cpu: Features) -> str:
    """Which of the ``LEVELS`` the CPU has."""
    if not {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(cpu):
        return "AVX2"
    return "VNNI" if "avx512vnni" in cpu else "AVX512"


def fbgemm(cpu: Features, environ: Mapping[str, str] = os.environ) -> str:
    """Which of the ``LEVELS`` FBGEMM uses. Source: FBGEMM ``Utils.cc`` fbgemmEnvGetIsa, fbgemmInstructionSet."""
    told = FBGEMM.get(environ.get("FBGEMM_ENABLE_INSTRUCTIONS", "").upper(), "VNNI")
    return min(told, level(cpu), key=LEVELS.index)


def onednn(cpu: Features, environ: Mapping[str, str] = os.environ) -> str:
    """What oneDNN uses: one of the ``LEVELS``, "AMX", or "AVX-VNNI", "AVX", "SSE41", whose integers are not known.

    Source: oneDNN ``cpu_isa_traits.cpp`` init_max_cpu_isa, ``utils.cpp`` getenv_string_user.
    """
    told = (environ.get("ONEDNN_MAX_CPU_ISA") or environ.get("DNNL_MAX_CPU_ISA") or "").lower()
    most = ONEDNN.index(told if told in ONEDNN else "default")
    wide = level(cpu)
    if most >= ONEDNN.index("avx512_core") and wide != "AVX2":
        if most >= ONEDNN.index("avx512_core_amx") and "amxint8" in cpu:
            return "AMX"
        return "AVX512" if most == ONEDNN.index("avx512_core") else wide
    if most >= ONEDNN.index("avx2_vnni") and "avxvnni" in cpu:
        return "AVX-VNNI"
    return "AVX2" if most >= ONEDNN.index("avx2") else ONEDNN[most].upper()


def without_amx() -> dict[str, str]:
    """What keeps oneDNN from AMX where this CPU would take it, for the environment in which PyTorch starts."""
    return {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16"} if onednn(of_linux(), os.environ) == "AMX" else {}


def nearest(name: str) -> str:
    """The one of the ``LEVELS`` that stands in for what oneDNN uses."""
    return name if name in LEVELS else "VNNI" if name == "AMX" else "AVX2"


def unproven(engine: str, has: str, fbgemm: str, onednn: str, release: str) -> str:
    """Which kernels an engine takes that were not compared, in words; "" for none.

    Args:
        engine: one of PyTorch's.
        has: the level of the CPU; with VNNI, x86 gives convolutions to oneDNN.
        fbgemm, onednn: what the libraries use.
        release: of PyTorch.
    """
    both = engine == "x86" and has == "VNNI"
    if (engine == "onednn" or both) and onednn not in LEVELS and (onednn, release) != ("AMX", AMX):
        return f"oneDNN with {onednn}"
    if both and fbgemm != nearest(onednn):
        return f"FBGEMM with {fbgemm} beside oneDNN with {onednn}"
    if both and platform.system() != "Linux":
        return f"x86 on {platform.system()}, where FBGEMM has all convolutions,"
    return ""
