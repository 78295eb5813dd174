"""machine.py: where bodies and tails lie, as PyTorch's own sums show; settings that do not exist are refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from oracle import ask, compare
from qlearn import Machine
from qlearn.releases import BOOK
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


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["fbgemm", "x86", "onednn", "qnnpack"])
def test_from_torch(capability: str, engine: str) -> None:
    found = ask(capability, oracle.machine, engine=engine, threads=2)
    assert (found.engine, found.capability, found.threads) == (engine, capability, 2)
    assert found.vnni == ("avx512_vnni" in oracle.cpu_flags())


@pytest.mark.parametrize(
    ("machine", "has", "words"),
    [
        (Machine("x86", "AVX512", 1), ("avx512_f", "avx512_vnni", "amx_int8"), "for AMX"),
        (Machine("onednn", "AVX2", 1), ("avx512_f", "avx512_vnni", "amx_int8"), "for AMX"),
        (Machine("fbgemm", "AVX2", 1), ("avx512_f", "avx512_vnni", "amx_int8"), ""),
        (Machine("onednn", "AVX2", 1, vnni=False), ("avx_vnni",), "for AVX-VNNI"),
        (Machine("x86", "AVX2", 1, vnni=False), ("avx_vnni",), ""),  # FBGEMM, which has no kernels for it
        (Machine("onednn", "AVX2", 1, vnni=False), ("avx512_f",), "for AVX-512 without VNNI"),
        (Machine("onednn", "AVX512", 1, vnni=False), ("avx512_f",), ""),
        (Machine("onednn", "AVX2", 1, vnni=False), (), ""),
        (Machine("onednn", "AVX512", 1), ("avx512_f", "avx512_vnni"), ""),
    ],
)
def test_kernels_that_were_not_compared(machine: Machine, has: tuple[str, ...], words: str) -> None:
    """Machine.from_torch warns of them."""
    cpu = {name: name in has for name in ("avx512_f", "avx512_vnni", "avx_vnni", "amx_int8")}
    found = machine._unproven(cpu)
    assert found.startswith(words) and bool(found) == bool(words)


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
