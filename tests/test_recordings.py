"""recordings: qlearn gives the recorded outputs without torch; the recorder, run now, gives them too."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
import qlearn
from oracle import ask, compare
from qlearn import Machine, QTensor, recordings

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import record  # the recorder: NumPy only

NAMES = ("affine", "elementwise", "machine", "rounding", "sliding_window", "staircase")
RECORDED = [(name, capability) for name, about in recordings.manifest().items() for capability in about["capabilities"]]
DTYPES = ("quint8", "qint8")


def of(name: str, capability: str) -> dict[str, Any]:
    """The arrays of one capability, without its prefix."""
    return {k.removeprefix(f"{capability}/"): v for k, v in recordings.load(name).items() if k.startswith(capability)}


@pytest.mark.parametrize("capability", recordings.manifest()["affine"]["capabilities"])
def test_affine(capability: str) -> None:
    r = of("affine", capability)
    for i, (scale, zero_point, kind) in enumerate(r["presets"]):
        dtype = DTYPES[int(kind)]
        q = qlearn.quantize_per_tensor(r[f"sweep/{i}/x"], scale, int(zero_point), dtype)
        compare("quantize_per_tensor, recorded", q.int_repr(), r[f"sweep/{i}/q"])
        real = QTensor(r[f"codes/{i}/q"], scale, int(zero_point), dtype).dequantize()
        compare("dequantize, recorded", real, r[f"codes/{i}/x"])
    c = qlearn.quantize_per_channel(r["channels/x"], r["channels/scales"], r["channels/zero_points"], 0, "quint8")
    compare("quantize_per_channel, recorded", c.int_repr(), r["channels/q"])
    compare("dequantize, recorded", c.dequantize(), r["channels/real"])
    for dtype in (*DTYPES, "qint32"):
        tensor = qlearn.quantize_per_tensor(r["special/x"], 1.0, 3, dtype)
        compare("quantize_per_tensor, recorded", tensor.int_repr(), r[f"special/{dtype}/tensor"])
        channel = qlearn.quantize_per_channel(r["special/x"][None], [1.0], [3], 0, dtype)
        compare("quantize_per_channel, recorded", channel.int_repr()[0], r[f"special/{dtype}/channel"])


@pytest.mark.parametrize("capability", recordings.manifest()["rounding"]["capabilities"])
def test_rounding(capability: str) -> None:
    r = of("rounding", capability)
    for i, (scale, zero_point) in enumerate(r["presets"]):
        x, z = r[f"ties/{i}/x"], int(zero_point)
        tensor = qlearn.quantize_per_tensor(x, scale, z, "quint8")
        compare("quantize_per_tensor, recorded", tensor.int_repr(), r[f"ties/{i}/tensor"])
        qint32 = qlearn.quantize_per_tensor(x, scale, z, "qint32")
        compare("quantize_per_tensor, recorded", qint32.int_repr(), r[f"ties/{i}/qint32"])
        channel = qlearn.quantize_per_channel(x, [scale] * len(x), [z] * len(x), 0, "quint8")
        compare("quantize_per_channel, recorded", channel.int_repr(), r[f"ties/{i}/channel"])


@pytest.mark.parametrize("capability", recordings.manifest()["elementwise"]["capabilities"])
def test_elementwise(capability: str) -> None:
    r = of("elementwise", capability)
    machine = Machine("fbgemm", capability.upper(), 1)

    def total(a: Any, b: Any, preset: int) -> Any:
        params = [(scale, int(zero_point)) for scale, zero_point in r["presets"][preset]]
        qa, qb = (QTensor(q, *p, "quint8") for q, p in zip((a, b), params, strict=False))
        return qlearn.add(qa, qb, *params[2], machine=machine).int_repr()

    codes = np.arange(256, dtype=np.uint8)
    for i in range(len(r["presets"])):
        a, b = codes.repeat(256), np.tile(codes, 256)
        compare("add, recorded", total(a, b, i), r[f"add/{i}/body"].ravel())
        tails = [total(a[k : k + 63], b[k : k + 63], i) for k in range(0, a.size, 63)]
        compare("add, recorded", np.concatenate(tails), r[f"add/{i}/tail"].ravel())
    x1, x2, printed = (r[f"question/{name}"] for name in ("x1", "x2", "printed"))
    compare("add, recorded", total(np.resize(x1, 64), np.resize(x2, 64), 2)[:18], r["question/body"])
    compare("add, recorded", total(x1, x2, 2), r["question/tail"])
    assert np.array_equal(r["question/body"], printed)


@pytest.mark.torch
@pytest.mark.parametrize(("name", "capability"), RECORDED)
def test_live_torch_gives_the_recorded_arrays(name: str, capability: str) -> None:
    source = recordings.manifest()[name]["capabilities"][capability]
    reason = oracle.unavailable(source["capability"])
    if reason:
        pytest.skip(reason)
    cpu = set(source["cpu"])
    if name in ("linear", "conv", "staircase", "sliding_window") and cpu != oracle.cpu_flags() & set(record.FLAGS):
        pytest.skip("FBGEMM and oneDNN choose their kernels by the CPU, and this is another")
    if name == "activations" and oracle.other_library():
        pytest.skip(oracle.other_library())
    live = ask(source["capability"], run_recorder, name)
    recorded = of(name, capability)
    assert live.keys() == recorded.keys()
    for key, array in recorded.items():
        compare(f"{name}, recorded and live", live[key], array, key)


def run_recorder(name: str) -> Any:
    return record.load(name).record()


@pytest.mark.parametrize("name", NAMES)
def test_manifest_names_every_key_and_source(name: str) -> None:
    about = recordings.manifest()[name]
    patterns = [key.replace("<i>", "").replace("<n>", "").replace("<threads>", "") for key in about["keys"]]
    for key in recordings.load(name):
        capability, rest = key.split("/", 1)
        assert capability in about["capabilities"]
        parts = ["" if part.isdigit() else part for part in rest.split("/")]
        if parts[0] == "special" and len(parts) == 3:
            parts[1] = "<dtype>"
        assert "/".join(parts) in patterns, key
    for source in about["capabilities"].values():
        assert source["torch"].startswith("2.") and source["engine"] == "fbgemm" and source["threads"] == 1
        assert isinstance(source["cpu"], list)


def test_the_whole_set_is_small() -> None:
    folder = Path(recordings.__file__).parent
    assert sum(path.stat().st_size for path in folder.glob("*.npz")) < 5_000_000


def test_the_same_arrays_give_the_same_bytes() -> None:
    arrays = {"b": np.arange(3), "a": np.zeros((), np.uint8)}
    again = dict(reversed(arrays.items()))
    assert record.npz(arrays) == record.npz(again)
    assert {k: v.tolist() for k, v in record.read_npz(record.npz(arrays)).items()} == {"a": 0, "b": [0, 1, 2]}


def test_a_capability_that_the_cpu_lacks_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded elsewhere, kept here: the arrays and what the manifest says of them."""
    monkeypatch.setattr(record, "RECORDINGS", tmp_path)
    monkeypatch.setattr(record, "cpu_flags", lambda: {"sse4_1"})
    monkeypatch.setattr(record, "run", lambda name, c: ({"x": np.array([1])}, {"torch": "here"}, {"x": "one"}))
    (tmp_path / "affine.npz").write_bytes(record.npz({"avx512/x": np.array([2]), "default/x": np.array([0])}))
    (tmp_path / "manifest.json").write_text(json.dumps({"affine": {"capabilities": {"avx512": {"torch": "there"}}}}))
    record.update("affine")
    arrays = record.read_npz((tmp_path / "affine.npz").read_bytes())
    assert {k: v.tolist() for k, v in arrays.items()} == {"avx512/x": [2], "default/x": [1]}
    capabilities = json.loads((tmp_path / "manifest.json").read_text())["affine"]["capabilities"]
    assert capabilities == {"avx512": {"torch": "there"}, "default": {"torch": "here"}}


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"name must be one of .*affine.*, got 'nothing'"):
        recordings.load("nothing")
    script = Path(record.__file__)
    done = subprocess.run([sys.executable, script, "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "no recorder named nothing" in done.stderr
