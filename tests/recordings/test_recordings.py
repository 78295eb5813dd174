"""recordings: qlearn gives the outputs of every release without torch; the recorder, run now, gives them too."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drawing
import frozen
import operators
import oracle
import qlearn
import record
from known import known
from oracle import ask, compare
from qlearn import Machine, QTensor, recordings
from qlearn.codes import quantize
from qlearn.machine.releases import AVX512_BODIES, XNNPACK, ZERO_POINT_FIRST, release_of
from recorders.operators import ANYTHING, ENDED, LACKING, NOT_ASKED, PAIRS

RECORDERS = tuple(recordings.manifest())
DTYPES = ("quint8", "qint8")


def each(name: str) -> Any:
    """A test for each release and kind of machine of a recording."""
    found = [(release, kind) for release in recordings.releases(name) for kind in recordings.sources(name, release)]
    return pytest.mark.parametrize(("release", "kind"), found)


def of(name: str, release: str, kind: str) -> dict[str, Any]:
    """The arrays of one kind, without its prefix."""
    start = f"{kind}/"
    return {k.removeprefix(start): v for k, v in recordings.load(name, release).items() if k.startswith(start)}


def machine_of(name: str, release: str, kind: str) -> Machine:
    """The machine that gave them."""
    source = recordings.sources(name, release)[kind]
    return Machine(source["engine"], source["capability"], source["threads"], source["vnni"], source["torch"])


@each("affine")
def test_affine(release: str, kind: str) -> None:
    r, machine = of("affine", release, kind), machine_of("affine", release, kind)
    for i, (scale, zero_point, k) in enumerate(r["presets"]):
        dtype = DTYPES[int(k)]
        q = qlearn.quantize_per_tensor(r[f"sweep/{i}/x"], scale, int(zero_point), dtype, machine=machine)
        compare("quantize_per_tensor, recorded", q.int_repr(), r[f"sweep/{i}/q"])
        real = QTensor(r[f"codes/{i}/q"], scale, int(zero_point), dtype).dequantize()
        compare("dequantize, recorded", real, r[f"codes/{i}/x"])
    c = qlearn.quantize_per_channel(
        r["channels/x"], r["channels/scales"], r["channels/zero_points"], 0, "quint8", machine=machine
    )
    compare("quantize_per_channel, recorded", c.int_repr(), r["channels/q"])
    compare("dequantize, recorded", c.dequantize(), r["channels/real"])
    for dtype in (*DTYPES, "qint32"):
        tensor = qlearn.quantize_per_tensor(r["special/x"], 1.0, 3, dtype, machine=machine)
        compare("quantize_per_tensor, recorded", tensor.int_repr(), r[f"special/{dtype}/tensor"])
        channel = qlearn.quantize_per_channel(r["special/x"][None], [1.0], [3], 0, dtype, machine=machine)
        compare("quantize_per_channel, recorded", channel.int_repr()[0], r[f"special/{dtype}/channel"])


@each("rounding")
def test_rounding(release: str, kind: str) -> None:
    r, machine = of("rounding", release, kind), machine_of("rounding", release, kind)
    for i, (scale, zero_point) in enumerate(r["presets"]):
        x, z = r[f"ties/{i}/x"], int(zero_point)
        tensor = qlearn.quantize_per_tensor(x, scale, z, "quint8", machine=machine)
        compare("quantize_per_tensor, recorded", tensor.int_repr(), r[f"ties/{i}/tensor"])
        qint32 = qlearn.quantize_per_tensor(x, scale, z, "qint32", machine=machine)
        compare("quantize_per_tensor, recorded", qint32.int_repr(), r[f"ties/{i}/qint32"])
        channel = qlearn.quantize_per_channel(x, [scale] * len(x), [z] * len(x), 0, "quint8", machine=machine)
        compare("quantize_per_channel, recorded", channel.int_repr(), r[f"ties/{i}/channel"])


@each("elementwise")
def test_elementwise(release: str, kind: str) -> None:
    r, machine = of("elementwise", release, kind), machine_of("elementwise", release, kind)

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
    compare("add, recorded", total(np.resize(x1, 128), np.resize(x2, 128), 2)[:18], r["question/body"])
    compare("add, recorded", total(x1, x2, 2), r["question/tail"])
    assert np.array_equal(r["question/body"], printed)


def recorded_calls(name: str, release: str, kind: str) -> Iterator[tuple[str, Machine, list[Any], list[Any]]]:
    """Each operator and machine of a recording of operators, with the cases and what PyTorch answered."""
    r = of(name, release, kind)
    for key in r:
        engine, operator, what = key.split("/")
        if what == "answers":
            cases = frozen.thaw((r[f"inputs/{operator}/data"], r[f"inputs/{operator}/cases"]))
            answers = frozen.thaw((r[f"{engine}/{operator}/data"], r[key]))
            yield operator, replace(machine_of(name, release, kind), engine=engine), cases, answers


def differing(operator: str, machine: Machine, case: Any, answer: Any) -> tuple[int, int, str]:
    """``operators.compare`` with a recorded answer; what PyTorch lacked, or answered with anything, counts 0."""

    def recorded(case: Any) -> Any:
        if answer == drawing.REFUSED:
            raise RuntimeError("recorded")
        return answer

    if isinstance(answer, str) and answer in (LACKING, NOT_ASKED, ENDED, ANYTHING):
        return 0, 0, ""
    return drawing.compare(replace(operators.OPERATORS[operator], torch=recorded), case, machine)


def refused_by_name(machine: Machine, operator: str) -> bool:
    """Whether qlearn may refuse what PyTorch answered: XNNPACK's qint8, kernels of their own for AVX-512."""
    of_old = machine.has(AVX512_BODIES) and machine.capability == "AVX512"
    return of_old or (machine.has(XNNPACK) and operator in PAIRS)


@pytest.mark.parametrize("name", ["operators", "layers"])
@pytest.mark.parametrize("release", recordings.releases("operators"))
def test_operators(name: str, release: str) -> None:
    """Every operator, engine and kind of machine gives what this release gave.

    What is known to differ is counted apart; what qlearn may refuse by name is ``refused_by_name``.
    """
    wrong = []
    for kind in recordings.sources(name, release):
        for operator, machine, cases, answers in recorded_calls(name, release, kind):
            for case, answer in zip(cases, answers, strict=True):
                compared, differ, words = differing(operator, machine, case, answer)
                reason = known(machine, operator, case) if differ else ""
                labels = [f"{operator}, recorded", f"{name}, recorded with PyTorch {release}"]
                for label in [f"known difference: {reason}"] if reason else labels:
                    oracle.COMPARED[label] += compared
                    oracle.DIFFERING[label] += differ
                if not compared and isinstance(answer, drawing.Answer) and answer.values.size:
                    assert refused_by_name(machine, operator), (machine, operator, case)
                if differ and not reason:
                    wrong.append(f"{kind} {operator} {words}")
    assert not wrong, "\n".join([f"{len(wrong)} calls differ", *(words[:400] for words in wrong[:20])])


@pytest.mark.parametrize("release", recordings.releases("operators"))
def test_the_place_of_the_zero_point_shows(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded before the zero point in 2.13, or after it in another release: some recorded integer is another."""
    elsewhere = ("2.15", "2.15") if ZERO_POINT_FIRST.holds(release_of(release)) else ("1.13", "2.15")
    flipped = ZERO_POINT_FIRST._replace(first=elsewhere[0], last=elsewhere[1])
    before = differing_of_fbgemm(release)
    monkeypatch.setattr(quantize, "ZERO_POINT_FIRST", flipped)
    after = differing_of_fbgemm(release)
    for name in ("quantize_per_tensor", "quantize_per_channel", "add", "cat"):
        assert after[name] > before[name], name


def differing_of_fbgemm(release: str) -> Counter[str]:
    """Operator -> how many integers differ from those recorded with fbgemm on AVX2."""
    found: Counter[str] = Counter()
    for operator, machine, cases, answers in recorded_calls("operators", release, "avx2"):
        if machine.engine == "fbgemm":
            pairs = zip(cases, answers, strict=True)
            found[operator] += sum(differing(operator, machine, case, answer)[1] for case, answer in pairs)
    return found


def test_the_question_on_every_release() -> None:
    """The 18 integers that the question prints, in all releases and on all kinds of machines."""
    seen = 0
    for release in recordings.releases("elementwise"):
        for kind in recordings.sources("elementwise", release):
            r = of("elementwise", release, kind)
            compare("the question's integers, recorded", r["question/printed"], r["question/body"], (release, kind))
            seen += 1
    assert seen >= 24


@pytest.mark.torch
@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in RECORDERS for kind in record.load(name).KINDS])
def test_live_torch_gives_the_recorded_arrays(name: str, kind: str) -> None:
    """Wherever this CPU is one of the recorded kinds, or can be made one."""
    capability = record.CAPABILITY[kind]
    depends = recordings.manifest()[name]["depends"]
    if reason := oracle.unavailable(capability) or record.lacking(kind, depends):
        pytest.skip(reason)
    release = record.torch_version()
    if release not in recordings.releases(name):
        pytest.skip(f"{name} was not recorded with {release}")
    source = recordings.sources(name, release)[kind]
    if (
        "cpu" in depends
        and kind != record.WITHOUT_VNNI
        and set(source["cpu"]) & set(record.FLAGS) != oracle.cpu_flags() & set(record.FLAGS)
    ):
        pytest.skip("FBGEMM and oneDNN choose their kernels by the CPU, and this is another")
    if "libc" in depends and oracle.other_library():
        pytest.skip(f"{oracle.other_library()}")
    live = ask(capability, run_recorder, name, cpu="AVX2" if kind == record.WITHOUT_VNNI else "")
    recorded = of(name, release, kind)
    if source["switches"]:
        assert live.keys() == recorded.keys()
    else:  # on a CPU that has no more, x86 and FBGEMM's small groups were asked too
        assert live.keys() <= recorded.keys()
    for key, array in live.items():
        compare(f"{name}, recorded and live", array, recorded[key], key)


def run_recorder(name: str) -> Any:
    return record.load(name).record()


@pytest.mark.parametrize("name", RECORDERS)
def test_manifest_names_every_key_and_source(name: str) -> None:
    about, recorder = recordings.manifest()[name], record.load(name)
    assert about["keys"] == recorder.KEYS and about["depends"] == list(recorder.DEPENDS)
    assert set(about["depends"]) <= {"cpu", "libc"}
    patterns = [re.compile(re.sub(r"<[a-z\\ ]+>", "[^/]+", re.escape(key))) for key in about["keys"]]
    for release in recordings.releases(name):
        sources = recordings.sources(name, release)
        for key in recordings.load(name, release):
            kind, rest = key.split("/", 1)
            assert kind in sources and any(pattern.fullmatch(rest) for pattern in patterns), key
        for kind, source in sources.items():
            assert source["torch"].partition("+")[0] == release and source["capability"] == record.CAPABILITY[kind]
            assert (source["engine"], source["threads"]) == ("fbgemm", 1) and source["libc"].startswith("glibc 2.")
            assert source["vnni"] == ("avx512_vnni" in source["cpu"] and not source["switches"])
            assert kind != record.WITHOUT_VNNI or not source["vnni"]
    assert not recorder.EVERY_RELEASE or recordings.releases(name) == recordings.releases("rounding")


def test_the_whole_set_is_small() -> None:
    folder = Path(recordings.__file__).parent
    assert sum(path.stat().st_size for path in folder.glob("*.npz")) < 8_000_000


def test_the_same_arrays_give_the_same_bytes() -> None:
    arrays = {"b": np.arange(3), "a": np.zeros((), np.uint8)}
    again = dict(reversed(arrays.items()))
    assert record.npz(arrays) == record.npz(again)
    assert {k: v.tolist() for k, v in record.read_npz(record.npz(arrays)).items()} == {"a": 0, "b": [0, 1, 2]}


def test_equal_arrays_are_stored_once() -> None:
    """The book's under their key, those of other releases under key@release; all come back, with their dtype."""
    one, two = np.arange(3, dtype=np.uint8), np.arange(3, dtype=np.int8)
    releases = {
        "1.13.1": {"avx2/x": one, "avx2/out": two, "avx512/out": one},
        "2.13.0": {"avx2/x": one, "avx2/out": two},
        "2.14.1": {"avx2/x": one, "avx2/out": one, "avx512/out": two},
    }
    data = record.packed(releases)
    assert set(record.read_npz(data)) == {"avx2/out", "avx512/out", recordings.INDEX}
    back = record.read(data)
    assert {release: dict(sorted(arrays.items())) for release, arrays in back.items()}.keys() == releases.keys()
    for release, arrays in releases.items():
        assert back[release].keys() == arrays.keys()
        assert all(back[release][k].dtype == v.dtype and (back[release][k] == v).all() for k, v in arrays.items())
    del releases["2.14.1"]
    assert set(record.read_npz(record.packed(releases))) == {"avx2/out@1.13.1", "avx2/x@1.13.1", recordings.INDEX}


def test_a_kind_that_the_cpu_cannot_be_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded elsewhere, or of another release, kept here: the arrays and what the manifest says of them."""
    monkeypatch.setattr(record, "RECORDINGS", tmp_path)
    monkeypatch.setattr(record, "MANIFEST", tmp_path / "manifest.json")
    monkeypatch.setattr(record, "cpu_flags", lambda: {"sse4_1"})
    monkeypatch.setattr(record, "run", lambda name, kind: ({"x": np.array([1])}, {"torch": "here", "vnni": True}))
    before = {"2.13.0": {"avx512/x": np.array([2]), "default/x": np.array([0])}, "2.4.1": {"avx2/x": np.array([3])}}
    (tmp_path / "affine.npz").write_bytes(record.packed(before))
    there = {"releases": {"2.13.0": {"avx512": {"torch": "there"}}, "2.4.1": {"avx2": {"torch": "there"}}}}
    (tmp_path / "manifest.json").write_text(json.dumps({"affine": there}))
    record.update("affine", "2.13.0")
    arrays = record.read((tmp_path / "affine.npz").read_bytes())
    found = {release: {k: v.tolist() for k, v in arrays[release].items()} for release in arrays}
    assert found == {"2.13.0": {"avx512/x": [2], "default/x": [1]}, "2.4.1": {"avx2/x": [3]}}
    releases = json.loads((tmp_path / "manifest.json").read_text())["affine"]["releases"]
    assert releases == {
        "2.13.0": {"avx512": {"torch": "there"}, "default": {"torch": "here", "vnni": True}},
        "2.4.1": {"avx2": {"torch": "there"}},
    }


def test_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a CPU can be, and what it can be made."""
    for switch in record.SWITCHES:
        monkeypatch.delenv(switch, raising=False)
    server, older = {"sse4_1", "avx2", "avx512f", "avx512_vnni"}, {"sse4_1", "avx2"}
    for flags, can in ((server, {"default", "avx2", "avx512", "without_vnni"}), (older, {"default", "without_vnni"})):
        monkeypatch.setattr(record, "cpu_flags", lambda flags=flags: flags)
        assert {kind for kind in record.CAPABILITY if not record.lacking(kind, ("cpu",))} - {"default"} == can - {
            "default"
        }
    assert not record.lacking("avx2", ()) and record.lacking("avx512", ()) == "this CPU has no avx512f"
    monkeypatch.setattr(record, "cpu_flags", lambda: server)
    assert record.vnni()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not record.vnni() and record.lacking("avx2", ("cpu",)) and not record.lacking("without_vnni", ("cpu",))


def test_releases_and_names() -> None:
    """By minor release or with any patch level; what is not there is named with what is."""
    assert recordings.releases("rounding")[-2:] == ("2.14.1", "2.15.0")
    for release in ("2.13", "2.13.0", "2.13.1+cpu"):
        assert recordings.load("rounding", release).keys() == recordings.load("rounding", "2.13.0").keys()
        assert recordings.sources("rounding", release)["avx2"]["torch"].startswith("2.13.0")
    assert (
        recordings.load("rounding")["avx2/ties/1/tensor"] != recordings.load("rounding", "2.13")["avx2/ties/1/tensor"]
    ).any()
    for unknown in ("2.3", "2.14x", "nonsense", ""):
        with pytest.raises(
            ValueError, match=rf"release must be one that rounding was .*1\.13\.1.*2\.15\.0, got '{unknown}'"
        ):
            recordings.load("rounding", unknown)
    with pytest.raises(TypeError, match=r"release must be a string, .*got 2\.14"):
        recordings.load("rounding", 2.14)  # type: ignore[arg-type]
    for function in (recordings.load, recordings.sources, recordings.releases):
        with pytest.raises(ValueError, match=r"name must be one of .*affine.*, got 'nothing'"):
            function("nothing")
    script = Path(record.__file__)
    done = subprocess.run([sys.executable, script, "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "no recorder named nothing" in done.stderr
