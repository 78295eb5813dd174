"""program.py, pieces.py, reading.py: networks in integers, beside the network and PyTorch; proved, saved, refused."""

import io
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import numpy as np
import pytest

import program_models
from oracle import COMPARED, DIFFERING, Asked, ask
from program_models import MACHINES, SHAPE, network
from qlearn import Machine, Network
from qlearn.integers import Program, Unproven
from qlearn.integers.pieces import Layer
from qlearn.network import Ref, Step


def answer(asked: Asked, function: Callable[..., Any], *args: Any) -> Any:
    return ask(asked.capability, function, *args, engine=asked.engine, cpu=asked.cpu)


def check(found: dict[str, int], what: object) -> None:
    """No code differs between program, network, PyTorch and C; counted for the summary."""
    COMPARED["program"] += found["codes"]
    DIFFERING["program"] += found["network"] + found["PyTorch"] + found["C"]
    assert found["codes"] > 0 and found["network"] == found["PyTorch"] == found["C"] == 0, (what, found)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["resnet18, add_relu", "mobilenet_v2, relu6"])
def test_networks(name: str, asked: Asked) -> None:
    """44 pixels: the mean of MobileNetV2 is over 11 x 11."""
    check(answer(asked, program_models.whole, name, "quantize", 44, 1), name)


EVEN = "a mean of 110 codes added in float32 has ties, which the order of the sum decides"
WEIGHED = "it weighs four pixels with float32 numbers, each in its own place"


@pytest.mark.torch
@pytest.mark.parametrize("asked", [Asked("fbgemm"), Asked("qnnpack")], ids=str, indirect=True)
def test_operators(asked: Asked) -> None:
    found = answer(asked, program_models.operators, asked == Asked("fbgemm"))
    refused = {name: found.pop(name) for name in list(found) if isinstance(found[name], str)}
    unpacked = {name for name, why in refused.items() if "does not hand out" in why}  # Conv3d on qnnpack
    assert unpacked <= {"Conv1d", "Conv3d"}
    means = () if asked.engine == "qnnpack" else ("mean", "squeeze", "squeeze and excitation")
    expected = {name: f"layer mean (mean) has no integers: {EVEN}" for name in means}
    expected["Upsample, bilinear"] = f"layer layer (interpolate) has no integers: {WEIGHED}"
    assert {name: why for name, why in refused.items() if name not in unpacked} == expected
    assert len(found) > 25
    for name, each in found.items():
        check(each, name)


@pytest.mark.torch
@pytest.mark.parametrize("asked", [Asked("x86"), Asked("fbgemm", "AVX2")], ids=str, indirect=True)
def test_chains(asked: Asked) -> None:
    done = 0
    for words, found in answer(asked, program_models.chains, 5, 3):
        if isinstance(found, str):
            assert WEIGHED in found, (words, found)
        else:
            check(found, words)
            done += 1
    assert done > 1


@pytest.mark.torch
@pytest.mark.parametrize("asked", [Asked("fbgemm"), Asked("onednn", "AVX2")], ids=str, indirect=True)
def test_face_detector(asked: Asked) -> None:
    """P-Net, with trained weights (pnet.md), and two results."""
    check(answer(asked, program_models.faces), "P-Net")


@pytest.mark.torch
@pytest.mark.parametrize("asked", [Asked("onednn")], ids=str, indirect=True)
def test_trained_here(asked: Asked) -> None:
    found, share = answer(asked, program_models.trained, 1)
    assert share > 0.8
    check(found, "trained here")


# What a program does, without PyTorch


X = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def real(net: Network, codes: Any) -> Any:
    """Numbers that the network's first step gives these codes."""
    first = net.steps[0]
    return ((codes.astype(np.float64) - first.zero_point) * first.scale).astype(np.float32)


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_other_machines(machine: Machine) -> None:
    """Also those that are not here: saturating sums, another release."""
    net = network(machine=machine)
    program = Program.of(net, SHAPE)
    ours, mine = net.run(real(net, X), keep=True), program.run(X, keep=True)
    assert list(mine) == ["one", "two", "sum", "swish", "pool", "flat", "fc"]
    for name, codes in mine.items():
        assert codes.dtype == np.uint8 and np.array_equal(codes, ours[name].int_repr()), name
    assert np.array_equal(program.run(X), mine["fc"])


def test_saturating_sums_are_part_of_it() -> None:
    net = network(machine=MACHINES[0])
    program, exact = (
        Program.of(Network(net.steps, net.inputs, net.output, machine), SHAPE)
        for machine in (MACHINES[0], Machine("fbgemm", "AVX2", 1))
    )
    layer = program["one"]
    assert isinstance(layer, Layer) and layer.order is not None and layer.saturating.size
    assert not np.array_equal(program.run(X, keep=True)["one"], exact.run(X, keep=True)["one"])


def floats_in(compute: Callable[[], Any]) -> set[str]:
    """The variables of qlearn's functions that hold real numbers while something is computed."""
    found: set[str] = set()

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and f"{os.sep}qlearn{os.sep}" in frame.f_code.co_filename:
            for name, value in frame.f_locals.items():
                kind = value.dtype.kind if isinstance(value, (np.ndarray, np.generic)) else ""
                if isinstance(value, float) or kind in ("f", "c"):
                    found.add(f"{frame.f_code.co_name}: {name}")

    sys.setprofile(look)
    try:
        compute()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_no_float_is_computed_with(machine: Machine) -> None:
    net = network(machine=machine)
    program = Program.of(net, SHAPE)
    assert floats_in(lambda: program.run(X)) == set()
    assert len(floats_in(lambda: net.run(real(net, X)))) > 20


def test_proof_and_report() -> None:
    program = Program.of(network(), SHAPE)
    proof, report = program.check(), program.report()
    assert [row.name for row in proof.rows] == [piece.name for piece in program.pieces] == [r.name for r in report.rows]
    assert proof.points > 21 * 256 and f"{proof.points:,} points" in str(proof)
    assert report.forms.total() >= 21 + 1 + 1 + 1  # channels, the sum, the activation, the average
    first = report.rows[0]
    assert first.weights == 3 * 8 * 9 and sum(first.forms.values()) == 8 and 8 <= first.M_bits <= 32
    assert "weights" in str(report) and str(report) in str(program) and "Program of 7 steps" in repr(program)


def file_of(program: Program) -> dict[str, Any]:
    file = io.BytesIO()
    program.save(file)
    file.seek(0)
    with np.load(file) as arrays:
        return dict(arrays)


def load(arrays: dict[str, Any]) -> Program:
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    return Program.load(file)


def test_saved_and_loaded(tmp_path: Any) -> None:
    program = Program.of(network(), SHAPE)
    program.save(tmp_path / "program.npz")
    again = Program.load(tmp_path / "program.npz")
    assert again.check() == program.check() and str(again) == str(program)
    assert all(np.array_equal(a, again.run(X, keep=True)[name]) for name, a in program.run(X, keep=True).items())
    program.net.save(tmp_path / "net.npz")
    with pytest.raises(ValueError, match=r"a file that Program\.save wrote"):
        Program.load(tmp_path / "net.npz")
    arrays = file_of(program)
    arrays["program"] = np.array(str(arrays["program"]).replace('"format": 1', '"format": 2'))
    with pytest.raises(ValueError, match="format 2"):
        load(arrays)


def test_each_form_is_there() -> None:
    forms = Program.of(network(32), SHAPE).report().forms
    assert forms["line"] and forms["late"] and forms["table of 256"] and (forms["plane"] or forms["step of a sum"])


# One wrong bit in a file. Some bits are free: an offset may be one more, and the codes are the same.


@pytest.mark.parametrize("key", ["M", "B", "S"])
def test_wrong_bits_of_lines(key: str) -> None:
    layer = Program.of(network(), SHAPE)["one"]
    assert isinstance(layer, Layer)
    refused, mine = 0, layer.steps
    for channel in range(len(mine)):
        acc = np.arange(mine.low[channel], mine.high[channel] + 1)
        for bit in range(6 if key == "S" else 20):
            wrong = getattr(mine, key).copy()
            wrong[channel] ^= 1 << bit
            steps = replace(mine, **{key: wrong})
            if (key != "S" or wrong[channel] < 63) and np.array_equal(
                steps[channel].codes(acc), mine[channel].codes(acc)
            ):
                replace(layer, requantization=replace(layer.requantization, steps=steps)).check()
                continue
            with pytest.raises(Unproven, match=f"channel {channel} "):
                replace(layer, requantization=replace(layer.requantization, steps=steps)).check()
            refused += 1
    assert refused > 40


def test_a_wrong_bit_is_refused_by_layer() -> None:
    arrays = file_of(Program.of(network(), SHAPE))
    wrong = arrays["one/M"].copy()
    wrong[2] ^= 1
    with pytest.raises(Unproven, match=r"layer one \(conv2d_relu\): channel 2 gives code"):
        load(arrays | {"one/M": wrong}).check()


def test_wrong_late_code() -> None:
    program = Program.of(network(32), SHAPE)
    arrays = file_of(program)
    name = next(name for name in ("one", "two") if arrays[f"{name}/late"].any())
    late = np.unpackbits(arrays[f"{name}/late"], axis=1)
    channel, place = np.argwhere(late)[0]
    late[channel, place] = 0
    with pytest.raises(Unproven, match=f"layer {name}"):
        load(arrays | {f"{name}/late": np.packbits(late, axis=1)}).check()


@pytest.mark.parametrize("key", ["low", "high"])
@pytest.mark.parametrize("name", ["one", "fc", "pool"])
def test_wrong_end(name: str, key: str) -> None:
    arrays = file_of(Program.of(network(), SHAPE))
    key = f"{name}/0/{key}" if name == "pool" else f"{name}/{key}"
    wrong = arrays[key].copy()
    wrong[0] += 1
    with pytest.raises(Unproven, match=f"layer {name}"):
        load(arrays | {key: wrong}).check()


def test_wrong_tables_and_planes() -> None:
    arrays = file_of(Program.of(network(), SHAPE))
    for key, place, name in (
        *((f"sum/0/{key}", 0, "sum") for key in ("affine", "sum") if f"sum/0/{key}" in arrays),
        ("sum/which", 0, "sum"),
        ("swish/tables", 77, "swish"),
        ("pool/0/M", 0, "pool"),
    ):
        wrong = arrays[key].copy()
        wrong.flat[place] ^= 1
        if key == "sum/which" and len(file_pairs(arrays)) == 1:
            continue
        with pytest.raises(Unproven, match=f"layer {name}"):
            load(arrays | {key: wrong}).check()


def file_pairs(arrays: dict[str, Any]) -> range:
    return range(int(arrays["sum/pairs"]))


# What is refused


def test_unprovable_steps_are_refused_by_layer_and_reason() -> None:
    net = network()
    steps = {step.name: step for step in net.steps}

    def refused(**changes: Step) -> str:
        changed = [changes.get(step.name, step) for step in net.steps]
        with pytest.raises(NotImplementedError) as error:
            Program.of(Network(changed, machine=net.machine), SHAPE)
        return str(error.value)

    mean = Step("pool", "mean", ("swish",), {"dim": (2, 3), "keepdim": True})
    assert refused(pool=mean).startswith("layer pool (mean) has no integers: a mean of 72 codes")
    large = dict(steps["pool"].settings)
    bilinear = Step("pool", "interpolate", ("swish",), {"size": (1, 1), "mode": "bilinear"})
    assert "layer pool (interpolate) has no integers: it weighs four pixels" in refused(pool=bilinear)
    tiny = replace(steps["fc"], settings={**steps["fc"].settings, "scale": 1e-38})
    assert refused(fc=tiny).startswith("layer fc (linear) has no integers: ")
    infinite = replace(steps["two"], settings={**steps["two"].settings, "bias": np.full(8, np.inf, np.float32)})
    assert refused(two=infinite).startswith("layer two (conv2d) has no integers: bias must be finite")
    assert large == {"output_size": (1, 1)}


def test_networks_of_another_kind_are_refused() -> None:
    net = network()
    signed = Step("quant", "quantize", ("x",), {"scale": 0.03, "zero_point": 0, "dtype": "qint8"})
    with pytest.raises(NotImplementedError, match="programs compute with quint8, got qint8"):
        Program.of(Network([signed], machine=net.machine), SHAPE)
    halves = Step("halves", "chunk", ("quant",), {"chunks": 2, "dim": 2})
    with pytest.raises(NotImplementedError, match="net must return tensors of codes"):
        Program.of(Network([net.steps[0], halves], machine=net.machine), SHAPE)
    again = Step("again", "quantize", ("real",), {"scale": 0.03, "zero_point": 0, "dtype": "quint8"})
    with pytest.raises(
        NotImplementedError, match=r"layer again \(quantize\) has no integers: it quantizes real numbers"
    ):
        Program.of(Network([*net.steps, again], machine=net.machine), SHAPE)
    with pytest.raises(ValueError, match="must quantize its one input in its first step"):
        Program.of(Network(net.steps, ("x", "y"), machine=net.machine), SHAPE)
    with pytest.raises(ValueError, match="first step relu"):
        Program.of(Network([Step("relu", "relu", ("x",))], machine=net.machine), SHAPE)


def test_codes_of_another_kind_are_refused() -> None:
    program = Program.of(network(), SHAPE)
    with pytest.raises(TypeError, match="codes must be uint8, got int64"):
        program.run(X.astype(np.int64))
    with pytest.raises(ValueError, match=r"codes must have shape \(1, 3, 9, 8\)"):
        program.run(X[..., :-1])
    with pytest.raises(KeyError, match="no piece is named"):
        program["three"]


def test_several_outputs() -> None:
    net = network()
    both = Network(net.steps, net.inputs, {"sum": Ref("sum"), "fc": Ref("real")}, net.machine)
    program = Program.of(both, SHAPE)
    fc, total = program.run(X)
    kept = program.run(X, keep=True)
    assert program.outputs == ("fc", "sum")
    assert np.array_equal(fc, kept["fc"]) and np.array_equal(total, kept["sum"])
