"""tools/exact.py: the conformance run counts what differs, says where, and fails; the recorded table is complete."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact
import networks
import operators
from oracle import ask, other_library
from qlearn import Machine, QTensor, recordings
from qlearn.machine import CAPABILITIES

PARAMS = (0.1, 3)
NETWORK = {"network": "ResNet-18", "compared": 5, "differing": 0, "outputs_differing": 0}
CASE = operators.Case((operators.Operand(np.arange(64, dtype=np.uint8), (64,), (1,), *PARAMS),), ())


def constant(codes: Any, scale: float = 0.1) -> Any:
    """An operator's answer that is known."""
    return lambda *args: operators.answer(QTensor(codes, scale, 3, "quint8"))


def refuses(error: type[Exception]) -> Any:
    """An operator that refuses its input."""

    def call(*args: Any) -> Any:
        raise error("no")

    return call


def operator(torch: Any, qlearn: Any) -> operators.Operator:
    return operators.Operator(lambda rng: CASE, torch, qlearn)


def test_compare_counts_differences() -> None:
    machine, codes = Machine.default(), np.arange(64, dtype=np.uint8)
    other = codes.copy()
    other[5], other[63] = 6, 1
    assert operators.compare(operator(constant(codes), constant(codes)), CASE, machine) == (64, 0, "")
    compared, differing, words = operators.compare(operator(constant(codes), constant(other)), CASE, machine)
    assert (compared, differing) == (64, 2)
    assert f"2 differ, at (5,): PyTorch {np.uint8(5)!r}, qlearn {np.uint8(6)!r}" in words
    assert operators.compare(operator(constant(codes), constant(codes, 0.2)), CASE, machine)[:2] == (64, 64)
    assert operators.compare(operator(constant(codes), constant(codes[:8])), CASE, machine)[:2] == (64, 64)
    transposed = operators.compare(
        operator(constant(codes.reshape(8, 8)), constant(codes.reshape(8, 8).T.copy().T)), CASE, machine
    )
    assert transposed[:2] == (64, 64)  # other strides


def test_compare_counts_one_sided_refusals() -> None:
    machine, codes = Machine.default(), np.arange(64, dtype=np.uint8)
    both = operator(refuses(RuntimeError), refuses(ValueError))
    assert operators.compare(both, CASE, machine) == (0, 0, "")
    for one in (operator(refuses(RuntimeError), constant(codes)), operator(constant(codes), refuses(ValueError))):
        compared, differing, words = operators.compare(one, CASE, machine)
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
        table = json.loads((tmp_path / "conformance.json").read_text())
        assert [row["differing"] for row in table["rows"]] == [differing] * 3
        assert (table["seed"], table["outputs"], table["command"]) == (7, 100, "make exact N=100 SEED=7")
        assert f"35 outputs compared, {3 * differing} differ" in capsys.readouterr().out
    monkeypatch.setattr(exact, "run", rows(0))
    for wrong in ("differing", "outputs_differing"):
        monkeypatch.setattr(networks, "run", lambda *args, wrong=wrong: [NETWORK | {wrong: 1}])
        assert exact.main(100, 7) == 1


@pytest.mark.torch
def test_a_process_that_the_cpu_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No rows, and the table says why."""
    monkeypatch.setattr(networks, "run", lambda *args: [])
    monkeypatch.setattr(exact, "TABLE", tmp_path / "conformance.json")
    monkeypatch.setattr(exact, "run", lambda capability, *args: None if capability == "AVX512" else [])
    assert exact.main(100, 7) == 0
    table = json.loads((tmp_path / "conformance.json").read_text())
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


def test_recorded_table_is_complete() -> None:
    """Every operator, engine and capability; nothing differs."""
    table = json.loads((Path(recordings.__file__).parent / "conformance.json").read_text())
    found = {(row["operator"], row["engine"], row["capability"]) for row in table["rows"]}
    missing_here = table["capabilities"]["AVX512"] == exact.DISPATCH_ALONE
    for name, operator in operators.OPERATORS.items():
        for capability in CAPABILITIES:
            if capability != "AVX512" or operator.elementwise or not missing_here:
                assert {(name, engine, capability) for engine in operator.engines} <= found
    assert all(row["compared"] > 0 and row["differing"] == 0 for row in table["rows"])
    assert {"torch", "numpy", "cpu", "cpu_model", "seed", "outputs", "command"} <= table.keys()


@pytest.mark.torch
def test_networks_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Both networks on every engine, on small images; nothing differs."""
    assert exact.networks_of(50_000_000) == (224, 3) and exact.networks_of(100) == (64, 1)
    for name in networks.NAMES:
        row = ask("AVX2", networks.row, name, "fbgemm", 64, 1, 5, engine="fbgemm")
        assert row["compared"] > 100_000 and row["differing"] == row["outputs_differing"] == 0, row.get("first")
        assert networks.in_words(row).startswith(f"{networks.NAMES[name]:13}fbgemm   AVX2")
