"""machine.py: where bodies and tails lie, as PyTorch's own sums show; settings that do not exist are refused."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import live_layers
import oracle
from oracle import ask, compare
from qlearn import Machine
from qlearn.machine import _cpu
from qlearn.machine.machine import ENGINES
from qlearn.machine.releases import BOOK
from recorded import Source, sources


def recorded_paths() -> list[tuple[Source, int, int]]:
    keys = [(source, *key.split("/")) for source in sources("machine") for key in source.arrays]
    return [(source, int(key[0]), int(key[1])) for source, kind, *key in keys if kind == "paths"]


@pytest.mark.parametrize(("source", "n", "threads"), recorded_paths(), ids=str)
def test_paths_are_those_that_pytorch_took(source: Source, n: int, threads: int) -> None:
    """The recorded sums of one repeated pair, which change value where the path changes."""
    body = np.zeros(n, bool)
    for start, stop, is_body in source.arrays[f"paths/{n}/{threads}"]:
        body[start:stop] = is_body
    compare("paths, recorded", source.machine(threads=threads).in_body(n), body)


@settings(deadline=None)
@given(st.integers(0, 300_000), st.integers(1, 9))
def test_paths_cover_all_elements_once(n: int, threads: int) -> None:
    machine = Machine("x86", "AVX2", threads)
    paths = machine.paths(n)
    assert [start for start, *_ in paths] == [0, *(stop for _, stop, _ in paths)][: len(paths)]
    assert (paths[-1][1] if paths else 0) == n
    assert all((stop - start) % 64 == 0 for start, stop, path in paths if path == "body")
    assert all(0 < stop - start < 64 for start, stop, path in paths if path == "tail")
    assert machine.in_body(n).sum() == sum(stop - start for start, stop, path in paths if path == "body")


def test_paths_of_known_sizes() -> None:
    one, two = Machine("x86", "AVX2", 1), Machine("x86", "AVX2", 2)
    assert one.paths(0) == []
    assert one.paths(63) == [(0, 63, "tail")]
    assert one.paths(64) == [(0, 64, "body")]
    assert one.paths(65) == [(0, 64, "body"), (64, 65, "tail")]
    assert two.paths(32768) == one.paths(32768) == [(0, 32768, "body")]
    assert two.paths(65573) == [
        (0, 32768, "body"), (32768, 32787, "tail"), (32787, 65555, "body"), (65555, 65573, "tail")
    ]  # fmt: skip


def test_default_is_fixed() -> None:
    assert Machine.default() == Machine("x86", "AVX512", 1, True, BOOK)


WITHOUT = {"avx2", "fma"}
SKYLAKE = WITHOUT | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
ICELAKE = SKYLAKE | {"avx512vnni"}
ALDERLAKE = WITHOUT | {"avxvnni"}
SAPPHIRE = ICELAKE | {"avxvnni", "amxint8"}


@pytest.mark.torch
@pytest.mark.parametrize("cpu", ["", "AVX2", "AVX512"])
@pytest.mark.parametrize("engine", ENGINES)
def test_from_torch(capability: str, engine: str, cpu: str) -> None:
    """What the libraries use, and what the CPU has, under the switches that lower one or the other."""
    live_layers.need(engine, cpu)
    found = ask(capability, oracle.machine, engine=engine, threads=2, cpu=cpu)
    assert (found.engine, found.capability, found.threads) == (engine, capability, 2)
    assert found.release == ".".join(version("torch").split(".")[:2])
    flags = {flag.replace("_", "") for flag in oracle.cpu_flags()}
    environ = os.environ | oracle.LESSER[cpu]
    uses = (_cpu.onednn if engine == "onednn" else _cpu.fbgemm)(flags, environ)
    assert (found.vnni, found.avx512) == (uses == "VNNI", uses != "AVX2")
    assert found.cpu == _cpu.level(flags)
    if uses == found.cpu and (uses != "AVX512" or capability == "AVX512"):
        assert found == Machine(engine, capability, 2, uses == "VNNI", found.release)


def torch_of(**parts: Any) -> Any:
    """A torch that has these, and no more."""
    return SimpleNamespace(__version__="2.0.1", backends=SimpleNamespace(), **parts)


def test_what_the_cpu_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By PyTorch, else by Linux; their names are one."""
    says = {"avx512_f": True, "avx512_vnni": False, "avx_vnni": True, "l2_cache_size": 1, "cpu_name": "avx2"}
    new = torch_of(cpu=SimpleNamespace(get_capabilities=lambda: says))
    assert _cpu.features(new) == {"avx512f", "avxvnni"}
    monkeypatch.setattr(_cpu, "CPUINFO", tmp_path / "cpuinfo")
    with pytest.raises(NotImplementedError, match=r"neither PyTorch 2.0.1 nor \w+ says it"):
        _cpu.features(torch_of())
    _cpu.CPUINFO.write_text("model name\t: x\nflags\t\t: fpu avx2 avx512f avx512_vnni avx_vnni\nflags\t\t: fpu\n")
    assert _cpu.features(torch_of()) == {"fpu", "avx2", "avx512f", "avx512vnni", "avxvnni"}


@pytest.mark.parametrize(
    ("said", "cpu", "capability"),
    [
        *(("DEFAULT", WITHOUT, "DEFAULT"), ("NO AVX", ICELAKE, "DEFAULT"), ("AVX2", ICELAKE, "AVX2")),
        *(("AVX512", SKYLAKE, "AVX512"), ("AVX512", ALDERLAKE, "AVX2"), ("VSX", WITHOUT, "VSX")),
    ],
)
def test_capability(said: str, cpu: set[str], capability: str) -> None:
    """In the words of each release; an AVX-512 that the CPU lacks is not believed."""
    new, old = torch_of(), torch_of(__config__=SimpleNamespace(show=lambda: f"  - CPU capability usage: {said}\n  - C"))
    new.backends.cpu = SimpleNamespace(get_cpu_capability=lambda: said)
    assert _cpu.capability(new, cpu) == _cpu.capability(old, cpu) == capability


@pytest.mark.parametrize(
    ("cpu", "told", "uses"),
    [
        *((WITHOUT, "", "AVX2"), (WITHOUT, "AVX512", "AVX2"), (ALDERLAKE, "", "AVX2"), (SKYLAKE, "", "AVX512")),
        *((SKYLAKE, "AVX2", "AVX2"), (SKYLAKE, "AVX512_E1", "AVX512"), (ICELAKE, "", "VNNI"), (ICELAKE, "no", "VNNI")),
        *((ICELAKE, "avx2", "AVX2"), (ICELAKE, "AVX512", "AVX512"), (ICELAKE, "AVX512_256", "AVX512")),
        *((SAPPHIRE, "AVX512_E1_256", "VNNI"), (SKYLAKE - {"avx512vl"}, "", "AVX2")),
    ],
)
def test_what_fbgemm_uses(cpu: set[str], told: str, uses: str) -> None:
    assert _cpu.fbgemm(cpu, {"FBGEMM_ENABLE_INSTRUCTIONS": told} if told else {}) == uses


@pytest.mark.parametrize(
    ("cpu", "told", "uses"),
    [
        *(
            (WITHOUT, "", "AVX2"),
            (WITHOUT, "AVX512_CORE", "AVX2"),
            (ALDERLAKE, "", "AVX-VNNI"),
            (SKYLAKE, "", "AVX512"),
        ),
        *((ALDERLAKE, "AVX2", "AVX2"), (SKYLAKE, "avx2", "AVX2"), (SKYLAKE, "AVX512_CORE_VNNI", "AVX512")),
        *(
            (ICELAKE, "", "VNNI"),
            (ICELAKE, "none", "VNNI"),
            (ICELAKE, "AVX512_CORE", "AVX512"),
            (ICELAKE, "AVX", "AVX"),
        ),
        *((ICELAKE, "AVX512_CORE_AMX", "VNNI"), (SAPPHIRE, "", "AMX"), (SAPPHIRE, "AVX512_CORE_FP16", "VNNI")),
        *((SAPPHIRE, "AVX2_VNNI", "AVX-VNNI"), (ICELAKE, "AVX2_VNNI", "AVX2"), (SAPPHIRE, "SSE41", "SSE41")),
    ],
)
def test_what_onednn_uses(cpu: set[str], told: str, uses: str) -> None:
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        assert _cpu.onednn(cpu, {name: told} if told else {}) == uses


@pytest.mark.parametrize(
    ("engine", "has", "fbgemm", "onednn", "words"),
    [
        *((engine, "VNNI", "VNNI", "VNNI", "") for engine in ENGINES),
        *((engine, "VNNI", "AVX2", "AVX2", "") for engine in ENGINES),
        *((engine, "VNNI", "VNNI", "AMX", "oneDNN with AMX") for engine in ("x86", "onednn")),
        *((engine, "VNNI", "VNNI", "AMX", "") for engine in ("fbgemm", "qnnpack")),
        ("onednn", "AVX2", "AVX2", "AVX-VNNI", "oneDNN with AVX-VNNI"),
        ("x86", "AVX2", "AVX2", "AVX-VNNI", ""),  # which takes FBGEMM without AVX512_VNNI
        ("onednn", "VNNI", "AVX2", "VNNI", ""),
        ("x86", "VNNI", "AVX2", "VNNI", "FBGEMM with AVX2 beside oneDNN with VNNI"),
    ],
)
def test_kernels_that_were_not_compared(engine: str, has: str, fbgemm: str, onednn: str, words: str) -> None:
    """Machine.from_torch warns of them."""
    assert _cpu.unproven(engine, has, fbgemm, onednn, "2.13") == words


def test_x86_on_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    assert _cpu.unproven("x86", "VNNI", "VNNI", "VNNI", BOOK).startswith("x86 on Windows")
    for engine, level in (("x86", "AVX2"), ("fbgemm", "VNNI")):
        assert _cpu.unproven(engine, level, level, level, BOOK) == ""


def test_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Machine.default().threads = 2  # type: ignore[misc]


@given(st.text())
def test_unknown_engine(engine: str) -> None:
    with pytest.raises(ValueError, match="engine must be one of fbgemm, x86, onednn, qnnpack, got"):
        Machine(engine + "?", "AVX2", 1)


@given(st.sampled_from(["avx2", "AVX", "avx512", "", "VSX", "NEON"]))
def test_unknown_capability(capability: str) -> None:
    with pytest.raises(ValueError, match="capability must be one of DEFAULT, AVX2, AVX512, got"):
        Machine("x86", capability, 1)


@given(st.integers(max_value=0))
def test_too_few_threads(threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads must be at least 1, got {threads}"):
        Machine("x86", "AVX2", threads)


@given(st.one_of(st.floats(), st.text(), st.none(), st.booleans()))
def test_threads_that_are_no_integer(threads: Any) -> None:
    with pytest.raises(TypeError, match="threads must be an integer, got"):
        Machine("x86", "AVX2", threads)


@pytest.mark.parametrize("vnni", [1, None, "yes"])
def test_vnni_that_is_no_bool(vnni: Any) -> None:
    with pytest.raises(TypeError, match="vnni must be True or False, got"):
        Machine("x86", "AVX2", 1, vnni)


@given(st.integers(max_value=-1))
def test_negative_size(n: int) -> None:
    with pytest.raises(ValueError, match=f"n must not be negative, got {n}"):
        Machine.default().paths(n)
