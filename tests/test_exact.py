"""tools/exact.py: the conformance run counts what differs, says where, and fails; the recorded table is complete."""

import json
import os
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drawing
import exact
import known
import networks
import operators
from apart import apart
from known import Known
from oracle import ask, other_library
from qlearn import Machine, QTensor, recordings
from qlearn.machine.machine import CAPABILITIES

PARAMS = (0.1, 3)
NETWORK = {"network": "ResNet-18", "compared": 5, "differing": 0, "outputs_differing": 0}
CASE = drawing.Case((drawing.Operand(np.arange(64, dtype=np.uint8), (64,), (1,), *PARAMS),), ())


def constant(codes: Any, scale: float = 0.1) -> Any:
    """An operator's answer that is known."""
    return lambda *args: drawing.answer(QTensor(codes, scale, 3, "quint8"))


def refuses(error: type[Exception]) -> Any:
    """An operator that refuses its input."""

    def call(*args: Any) -> Any:
        raise error("no")

    return call


def operator(torch: Any, qlearn: Any) -> drawing.Operator:
    return drawing.Operator(lambda rng: CASE, torch, qlearn)


def test_compare_counts_differences() -> None:
    machine, codes = Machine.default(), np.arange(64, dtype=np.uint8)
    other = codes.copy()
    other[5], other[63] = 6, 1
    assert drawing.compare(operator(constant(codes), constant(codes)), CASE, machine) == (64, 0, "")
    compared, differing, words = drawing.compare(operator(constant(codes), constant(other)), CASE, machine)
    assert (compared, differing) == (64, 2)
    assert f"2 differ, at (5,): PyTorch {np.uint8(5)!r}, qlearn {np.uint8(6)!r}" in words
    assert drawing.compare(operator(constant(codes), constant(codes, 0.2)), CASE, machine)[:2] == (64, 64)
    assert drawing.compare(operator(constant(codes), constant(codes[:8])), CASE, machine)[:2] == (64, 64)
    transposed = drawing.compare(
        operator(constant(codes.reshape(8, 8)), constant(codes.reshape(8, 8).T.copy().T)), CASE, machine
    )
    assert transposed[:2] == (64, 64)  # other strides


def test_compare_counts_one_sided_refusals() -> None:
    machine, codes = Machine.default(), np.arange(64, dtype=np.uint8)
    both = operator(refuses(RuntimeError), refuses(ValueError))
    assert drawing.compare(both, CASE, machine) == (0, 0, "")
    for one in (operator(refuses(RuntimeError), constant(codes)), operator(constant(codes), refuses(ValueError))):
        compared, differing, words = drawing.compare(one, CASE, machine)
        assert (compared, differing) == (1, 1) and "refused: no" in words


@pytest.mark.torch
def test_main_fails_if_anything_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(differing: int) -> Any:
        row = {"operator": "add", "engine": "x86", "compared": 10, "refused_by_both": 0, "seconds": 0.1}
        return lambda capability, *args: [row | {"capability": capability, "differing": differing}]

    monkeypatch.setattr(exact, "TABLE", tmp_path / "conformance.json")
    monkeypatch.setattr(networks, "run", lambda *args: [NETWORK])
    for differing, code in ((0, 0), (1, 1)):
        monkeypatch.setattr(exact, "run", rows(differing))
        assert exact.main(100, 7) == code
        table = json.loads((tmp_path / "conformance.json").read_text())[exact.torch_version()]
        assert [row["differing"] for row in table["rows"]] == [differing] * 3
        assert (table["seed"], table["outputs"], table["date"]) == (7, 100, date.today().isoformat())
        assert table["command"] == f"make exact TORCH={exact.torch_version()} N=100 SEED=7"
        assert f"35 outputs compared, {3 * differing} differ" in capsys.readouterr().out
    monkeypatch.setattr(exact, "run", rows(0))
    for wrong in ("differing", "outputs_differing"):
        monkeypatch.setattr(networks, "run", lambda *args, wrong=wrong: [NETWORK | {wrong: 1}])
        assert exact.main(100, 7) == 1


@pytest.mark.torch
def test_the_tables_of_other_releases_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One table a release, the book's first, each row on a line."""
    monkeypatch.setattr(exact, "TABLE", tmp_path / "conformance.json")
    monkeypatch.setattr(networks, "run", lambda *args: [])
    row = {"operator": "add", "compared": 1, "differing": 0, "known": {"a reason": 3}}
    monkeypatch.setattr(exact, "run", lambda capability, *args: [row | {"capability": capability}])
    for release in ("2.4.1", "2.14.1", "1.13.1", "2.4.1"):
        monkeypatch.setattr(exact, "torch_version", lambda release=release: release)
        assert exact.main(100, 7) == 0
    tables = json.loads((tmp_path / "conformance.json").read_text())
    assert list(tables) == ["2.14.1", "1.13.1", "2.4.1"]
    assert all(table["rows"] == tables["2.14.1"]["rows"] and len(table["rows"]) == 3 for table in tables.values())
    assert (tmp_path / "conformance.json").read_text().count("\n{") == 9


@pytest.mark.torch
def test_what_is_known_is_counted_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reason holds for its releases, operators, engines and dtypes; main does not fail for it."""
    here = Machine("x86", "AVX2", 1, release="2.4")
    reason = Known("why", "2.0", "2.4", ("add",), ("x86",), dtypes=("uint8",))
    monkeypatch.setattr(known, "KNOWN", (reason,))
    assert known.known(here, "add", CASE) == "why"
    others = [("add", replace(here, release="2.5")), ("mul", here), ("add", replace(here, engine="fbgemm"))]
    assert not any(known.known(machine, name, CASE) for name, machine in others)
    signed = drawing.Case((CASE.operands[0]._replace(flat=np.zeros(64, np.int8)),), ())
    assert not known.known(here, "add", signed) and not known.known(here, "add")
    row = {"operator": "add", "compared": 9, "differing": 0, "known": {"why": 4}, "seconds": 1.0}
    monkeypatch.setattr(exact, "TABLE", tmp_path / "conformance.json")
    monkeypatch.setattr(exact, "run", lambda capability, *args: [row | {"capability": capability, "engine": "x86"}])
    monkeypatch.setattr(networks, "run", lambda *args: [])
    assert exact.main(100, 7) == 0
    assert "12 more differ for a known reason: why" in capsys.readouterr().out
    assert "4 more differ: why" in exact.in_words(row | {"engine": "x86", "capability": "AVX2"})


@pytest.mark.torch
def test_a_process_that_an_input_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row says so; main fails, unless it is known."""
    assert apart(max, 1, 2) == (2, "")
    assert apart(os.abort) == (None, "SIGABRT")
    with pytest.raises(RuntimeError, match="int failed in its process"):
        apart(int, "no number")
    monkeypatch.setattr(exact, "TABLE", tmp_path / "conformance.json")
    monkeypatch.setattr(networks, "run", lambda *args: [])
    monkeypatch.setattr(exact, "run", lambda c, *args: [exact.ended("mul", "x86", c, "SIGABRT")])
    assert exact.main(100, 7) == 1
    monkeypatch.setattr(known, "KNOWN", (Known("why", "1.13", "2.15", ("mul",)),))
    assert exact.main(100, 7) == 0


@pytest.mark.torch
def test_a_process_that_the_cpu_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No rows, and the table says why."""
    monkeypatch.setattr(networks, "run", lambda *args: [])
    monkeypatch.setattr(exact, "TABLE", tmp_path / "conformance.json")
    monkeypatch.setattr(exact, "run", lambda capability, *args: None if capability == "AVX512" else [])
    assert exact.main(100, 7) == 0
    table = json.loads((tmp_path / "conformance.json").read_text())[exact.torch_version()]
    assert table["capabilities"]["AVX512"] == "not run: PyTorch's process ended"


def test_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without AVX-512, its dispatch is asked only for operators that have no kernel of it."""
    monkeypatch.setattr(exact, "cpu_flags", lambda: {"sse4_1", "avx2"})
    assert exact.scope("AVX2") == (list(operators.OPERATORS), "all operators")
    names, words = exact.scope("AVX512")
    assert words == exact.DISPATCH_ALONE and {"add", "quantize_per_tensor"} <= set(names)
    assert not {"dequantize_per_channel", "observers"} & set(names)
    monkeypatch.setattr(exact, "cpu_flags", lambda: {"sse4_1"})
    assert exact.scope("AVX512") == ([], "this CPU has no avx512f")


@pytest.mark.torch
@pytest.mark.parametrize("name", operators.OPERATORS)
def test_each_operator_runs(name: str) -> None:
    """A few outputs of each line of the table; none differs."""
    if name in ("tanh", "elu") and other_library():
        pytest.skip(other_library())
    for capability in ("DEFAULT", "AVX2"):
        engine = "x86" if "x86" in operators.OPERATORS[name].engines else "onednn"
        row = ask(capability, exact.row, name, engine, capability, 300_000, 11)
        assert row["compared"] > 0 and row["differing"] == 0, row.get("first")
        assert exact.in_words(row).startswith(f"{name:24}{engine:9}{capability}")


@pytest.mark.parametrize("release", recordings.conformance())
def test_recorded_table_is_complete(release: str) -> None:
    """Every operator, engine and capability; nothing differs that has no name."""
    table = recordings.conformance()[release]
    found = {(row["operator"], row["engine"], row["capability"]) for row in table["rows"]}
    missing_here = table["capabilities"]["AVX512"] == exact.DISPATCH_ALONE
    for name, operator in operators.OPERATORS.items():
        for capability in CAPABILITIES:
            if capability != "AVX512" or operator.elementwise or not missing_here:
                assert {(name, engine, capability) for engine in operator.engines} <= found
    assert all((row["compared"] > 0 or "ended" in row) and row["differing"] == 0 for row in table["rows"])
    assert all(row["known"] for row in table["rows"] if "ended" in row)
    assert {"torch", "numpy", "cpu", "cpu_model", "seed", "outputs", "command"} <= table.keys()
    assert date.fromisoformat(table["date"]) <= date.today()


@pytest.mark.torch
def test_networks_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Both networks on every engine, on small images; nothing differs."""
    assert exact.networks_of(50_000_000) == (224, 3) and exact.networks_of(100) == (64, 1)
    for name in networks.NAMES:
        row = ask("AVX2", networks.row, name, "fbgemm", 64, 1, 5, engine="fbgemm")
        assert row["compared"] > 100_000 and row["differing"] == row["outputs_differing"] == 0, row.get("first")
        assert networks.in_words(row).startswith(f"{networks.NAMES[name]:13}fbgemm   AVX2")
