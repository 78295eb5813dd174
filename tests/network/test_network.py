"""network.py: converted models in NumPy, every integer of every layer, on each engine; saved, printed, refused."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import live_layers
import network_models
from network_models import SMALL
from oracle import COMPARED, DIFFERING, HIGHEST, Asked, ask, unavailable
from qlearn import Machine, Network, QTensor
from qlearn.network import Progress, Ref, Step


def threads_of(asked: Asked) -> int:
    """Two, since sums are cut there; one where oneDNN has no AVX-512, whose strided 1 x 1 convolutions race on two."""
    lesser = asked.cpu or live_layers.ONEDNN == "AVX2"
    return 1 if lesser and asked.engine in ("onednn", "x86") else 2


def counted(elements: int, differing: int) -> None:
    COMPARED["network"] += elements
    DIFFERING["network"] += differing


def all_equal(found: tuple[int, int, Any], least: int, *what: object) -> None:
    """Of a network that was compared: so many elements or more, none that differs, nothing noted."""
    compared, differing, notes = found
    counted(compared, differing)
    assert compared > least and differing == 0 and not notes, (*what, found)


@pytest.mark.torch
@pytest.mark.parametrize(("name", "how"), [*((name, "quantize") for name in SMALL), ("resnet18", "quantize_fx")])
def test_every_layer(name: str, how: str, asked: Asked) -> None:
    """Given the same inputs and from the start, on two threads where that is the same twice; and what is returned."""
    model = (network_models.compared, name, how, 64, 3)
    found, same, same_strides = ask(asked.capability, *model, **asked._asdict(), threads=threads_of(asked))
    assert len(found) > 12 and same and same_strides
    for row in found:
        counted(row.elements, row.from_start)
        assert (row.same_inputs, row.from_start, row.note) == (0, 0, ""), row


@pytest.mark.torch
def test_lower_capabilities() -> None:
    """The kernels for AVX2 and those without."""
    for capability in (c for c in ("DEFAULT", "AVX2") if not unavailable(c)):
        for name in ("resnet18", "mobilenet_v2"):
            found, same, _ = ask(capability, network_models.compared, name, "quantize_fx", 40, 5)
            counted(sum(row.elements for row in found), sum(row.from_start for row in found))
            assert same and all(row.same_inputs == row.from_start == 0 and not row.note for row in found)


@pytest.mark.torch
def test_operators(asked: Asked) -> None:
    """Small models, one for each operator that a network may hold."""
    names = list(network_models.operators())
    found = ask(asked.capability, network_models.compare_operators, names, **asked._asdict())
    refused = {name for name, answer in found.items() if isinstance(answer, str)}
    assert refused <= ({"AdaptiveAvgPool2d", "Conv3d"} if asked.engine == "qnnpack" else set()), found
    if asked.engine == "qnnpack":
        unread = "of layer layer is not there yet"
        assert "whose weights PyTorch does not hand out" in found["Conv3d"] and found["Conv3d"].endswith(unread)
    for name in set(names) - refused:
        all_equal(found[name], 500, name)


@pytest.mark.torch
def test_random_chains(asked: Asked, rng: np.random.Generator) -> None:
    """Layers behind one another in any order, joined with their inputs or not, on one thread and two."""
    for threads in range(1, threads_of(asked) + 1):
        seed = int(rng.integers(2**31))
        for words, compared, differing, notes in ask(
            asked.capability, network_models.random_chains, seed, 5, **asked._asdict(), threads=threads
        ):
            all_equal((compared, differing, notes), 500, seed, words)


@pytest.mark.torch
def test_several_outputs() -> None:
    for ours, theirs in zip(*ask("DEFAULT", network_models.several_outputs), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.torch
def test_by_torch_fx(asked: Asked) -> None:
    """What only its graphs hold: real numbers that are moved, and packed weights."""
    found, operators = ask(asked.capability, network_models.by_torch_fx, **asked._asdict())
    for answer in found:
        all_equal(answer, 1000)
    assert {"chunk", "item", "conv2d_relu", "linear"} <= set(operators) and operators.count("dequantize") == 3


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it raises ImportError
import numpy as np
from qlearn import Network, QTensor
net = Network.load("net.npz")
x = np.load("x.npy")
layers = {name: v.int_repr() if isinstance(v, QTensor) else v for name, v in net.run(x, keep=True).items()}
np.savez("layers.npz", **layers)
np.save("y.npy", net(x))
print(net)
"""


@pytest.mark.torch
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_saved_and_run_without_torch(name: str, tmp_path: Path) -> None:
    """In an interpreter where torch cannot be imported: the same integers in each layer, and PyTorch's output."""
    data, printed, images, theirs, expected = ask(HIGHEST, network_models.saved, name, "quantize", engine="x86")
    (tmp_path / "net.npz").write_bytes(data)
    np.save(tmp_path / "x.npy", images)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == printed
    assert np.array_equal(np.load(tmp_path / "y.npy"), theirs)
    with np.load(tmp_path / "layers.npz") as layers_file:
        assert set(layers_file) == set(expected)
        for layer, values in expected.items():
            assert layers_file[layer].dtype == values.dtype
            assert np.array_equal(layers_file[layer], values), layer


REFUSED = {
    "no module": "TypeError: model must be a torch.nn.Module, got ndarray",
    "float": "TypeError: model must be quantized, this one is in floating point: fuse it, torch.ao.quantization.pr",
    "in training": "TypeError: model is in quantization-aware training (FusedMovingAvgObsFakeQuantize at quant.act",
    "prepared": "TypeError: model is prepared, but not converted (HistogramObserver at quant.activation_post_proce",
    "prepared by fx": "TypeError: model is prepared, but not converted (HistogramObserver at activation_post_proce",
    "scripted": "TypeError: model must not be scripted or traced: pass the converted model that torch.jit was given",
    "traced": "TypeError: model must not be scripted or traced: pass the converted model that torch.jit was given",
    "decides": "ValueError: model must run the same layers for every input, since torch.fx reads it without one",
    "random": "ValueError: model must be in evaluation mode, or its dropout is random: call model.eval()",
    "dynamic": "NotImplementedError: the operator torch.ao.nn.quantized.dynamic.modules.linear.Linear of layer 0 i",
    "BatchNorm2d": "NotImplementedError: the operator torch.ao.nn.quantized.modules.batchnorm.BatchNorm2d of layer",
    "GroupNorm": "NotImplementedError: the operator torch.ao.nn.quantized.modules.normalization.GroupNorm of lay",
    "ConvTranspose2d": "NotImplementedError: the operator torch.ao.nn.quantized.modules.conv.ConvTranspose2d of la",
    "softmax by fx": "NotImplementedError: the operator softmax of layer softmax is not there yet",
    "plus": "NotImplementedError: the operator operator.add (FloatFunctional has one for quantized tensors) of lay",
    "pad": "NotImplementedError: the operator pad of layer pad is not there yet",
    "bicubic": "NotImplementedError: the operator interpolate in mode 'bicubic' of layer interpolate is not there",
    "topk": "NotImplementedError: the operator Tensor.topk of layer topk is not there yet",
    "views": "NotImplementedError: layer relu changes getitem in place, and conv, used later, shares its memory",
    "real numbers": "NotImplementedError: the operator torch.nn.modules.activation.ReLU, in floating point after 2",
    "another model": "ValueError: model must be the one that the network was made from, but the network has conv = ",
}


@pytest.mark.torch
def test_refusals() -> None:
    """Each says what the model is and what to do, or names the operator and its layer."""
    found = ask("DEFAULT", network_models.refusals, engine="fbgemm")
    assert found.keys() == REFUSED.keys()
    for name, message in REFUSED.items():
        assert found[name].startswith(message), (name, found[name])


# Without torch


def small() -> Network:
    """A network of every kind of setting: arrays, tensors with and without channels, tuples, references, slices."""
    rng = np.random.default_rng(4)
    w = QTensor(rng.integers(-128, 128, (4, 3, 2, 2)).astype(np.int8), [0.01, 0.02, 0.01, 0.03], [0] * 4, "qint8", 0)
    where = {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 1), "groups": 1}
    params = {"scale": 0.1, "zero_point": 3}
    conv = {"weight": w, "bias": None, **where, "scale": 0.7, "zero_point": 99}
    full = QTensor(rng.integers(-128, 128, (5, 4)).astype(np.int8), 0.013, 0, "qint8")
    linear = {"weight": full, "bias": np.float32([0.1, 0.2, -0.3, 0, 1e9]), **params}
    return Network(
        [
            Step("quant", "quantize", ("x",), {**params, "dtype": "quint8"}),
            Step("conv", "conv2d_relu", ("quant",), conv),
            Step("size", "size", ("conv",), {"dim": 0}),
            Step("row", "getitem", ("conv",), {"index": (slice(None), slice(None), 0, ...)}),
            Step("again", "reshape", ("row",), {"shape": (Ref("size"), 4, -1)}),
            Step("mean", "mean", ("again",), {"dim": (2,), "keepdim": False}),
            Step("linear", "linear", ("mean",), linear),
            Step("out", "dequantize", ("linear",)),
        ],
        output={"codes": Ref("linear"), "both": (Ref("out"), Ref("mean"))},
        machine=Machine("fbgemm", "AVX2", 3, vnni=False),
    )


X = np.random.default_rng(5).normal(size=(2, 3, 7, 9)).astype(np.float32)


def test_file(tmp_path: Path) -> None:
    """Everything comes back: what is printed, the machine, every output; from a path, a name or an open file."""
    net = small()
    net.save(tmp_path / "net")
    net.save(str(tmp_path / "named.bin"))
    buffer = io.BytesIO()
    net.save(buffer)
    buffer.seek(0)
    for again in (Network.load(tmp_path / "net"), Network.load(str(tmp_path / "named.bin")), Network.load(buffer)):
        assert str(again) == str(net) and again.machine == net.machine and again.output == net.output
        ours, theirs = net(X), again(X)
        assert list(theirs) == ["codes", "both"] and isinstance(theirs["both"], tuple)
        assert np.array_equal(ours["codes"].int_repr(), theirs["codes"].int_repr())
        assert np.array_equal(ours["both"][0], theirs["both"][0])
        for mine, other in zip(net.steps, again.steps, strict=True):
            if mine.weight is not None:
                assert np.array_equal(mine.weight.int_repr(), other.weight.int_repr())
                assert mine.weight.qscheme() == other.weight.qscheme()
                assert (mine.bias is None) == (other.bias is None)


def test_other_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", a=np.ones(3))
    with pytest.raises(ValueError, match=r"path must be a file that Network.save wrote, got one with a"):
        Network.load(tmp_path / "weights.npz")
    newer = '{"format": 99, "steps": [], "inputs": ["x"]}'
    np.savez(tmp_path / "newer.npz", network=np.array(newer))
    with pytest.raises(ValueError, match="path is of format 99; this qlearn reads up to format 1"):
        Network.load(tmp_path / "newer.npz")
    np.savez(tmp_path / "pickled.npz", network=np.array({"format": 1}, dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        Network.load(tmp_path / "pickled.npz")
    with pytest.raises(TypeError, match="quant/thing must be a number"):
        Network([Step("quant", "quantize", ("x",), {"thing": object()})]).save(tmp_path / "bad.npz")


def test_printed() -> None:
    lines = str(small()).splitlines()
    assert lines[0].startswith("Network(x): 8 steps, 68 integer weights, Machine(engine='fbgemm'")
    assert lines[1] == "  quant = quantize(x, scale=0.1, zero_point=3, dtype='quint8')"
    assert "conv = conv2d_relu(quant, weight=qint8[4, 3, 2, 2] per channel 0, stride=(2, 1)" in lines[2]
    assert lines[5] == "  again = reshape(row, shape=(size, 4, -1))"
    assert lines[-1] == "  return {codes: linear, both: (out, mean)}"
    assert repr(small()) == lines[0] and len(small()) == 8


def test_a_layers_integers() -> None:
    net = small()
    kept = net.run(X, keep=True)
    assert list(kept) == [step.name for step in net.steps]
    assert kept["conv"].int_repr().dtype == np.uint8 and kept["size"] == 2
    assert set(net.run(X)) == {"linear", "out", "mean"}
    assert np.array_equal(net(X)["codes"].int_repr(), kept["linear"].int_repr())
    assert net["conv"].scale == 0.7 and net["conv"].zero_point == 99 and net["conv"].bias is None
    with pytest.raises(KeyError, match="no step is named 'fc'"):
        net["fc"]


def test_another_machine() -> None:
    net = small()
    other = Machine("qnnpack", "AVX2", 1)
    expected = Network(net.steps, net.inputs, net.output, other)(X)["codes"].int_repr()
    assert np.array_equal(net(X, machine=other)["codes"].int_repr(), expected)
    assert net.machine.engine == "fbgemm"
    with pytest.raises(TypeError, match="machine must be a Machine or None"):
        net(X, machine="qnnpack")  # type: ignore[arg-type]


def test_given_codes() -> None:
    """One integer changed in a layer, and what comes of it: later layers alone differ, in the same memory order."""
    net = small()
    right = net.run(X, keep=True)
    codes = right["conv"].int_repr().astype(np.int64)
    codes[1, 2, 0] = 200  # the row that the next steps read
    changed = net.run(X, keep=True, given={"conv": codes})
    assert np.array_equal(changed["conv"].int_repr(), codes) and changed["conv"].strides == right["conv"].strides
    differ = [
        name for name in right if name != "size" and not np.array_equal(_codes(right[name]), _codes(changed[name]))
    ]
    assert differ[:2] == ["conv", "row"] and "quant" not in differ
    assert np.array_equal(_codes(changed["row"])[0], _codes(right["row"])[0])  # the other image is as it was
    with pytest.raises(KeyError, match="no step is named 'fc'"):
        net.run(X, given={"fc": codes})
    with pytest.raises(ValueError, match=r"given\['quant'\] must have shape \(2, 3, 7, 9\), got \(2, 4, 3, 10\)"):
        net.run(X, given={"quant": codes})
    with pytest.raises(ValueError, match=r"given\['size'\] must have shape none, as it has no codes"):
        net.run(X, given={"size": codes})
    with pytest.raises(ValueError, match=r"values must be in \[0, 255\] for quint8, got 300"):
        net.run(X, given={"conv": codes + 100 * (codes == 200)})


def _codes(value: Any) -> Any:
    return value.int_repr() if isinstance(value, QTensor) else value


def test_progress_and_timings(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Progress] = []
    net = small()
    net(X, progress=seen.append)
    assert [(p.number, p.steps, p.step.name) for p in seen] == [
        (i + 1, 8, step.name) for i, step in enumerate(net.steps)
    ]
    assert net.timings == {p.step.name: p.seconds for p in seen} and all(p.seconds > 0 for p in seen)
    assert capsys.readouterr().out == ""
    net(X, progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and lines[1].split()[:3] == ["2/8", "conv", "conv2d_relu"] and lines[1].endswith(" ms")


def test_wrong_steps() -> None:
    with pytest.raises(NotImplementedError, match="the operator softmax of layer last is not there yet"):
        Network([Step("last", "softmax", ("x",))])
    with pytest.raises(ValueError, match="step b reads a, which no earlier step computes"):
        Network([Step("b", "relu", ("a",)), Step("a", "relu", ("x",))])
    with pytest.raises(ValueError, match="step b reads n, which no earlier step computes"):
        Network([Step("b", "reshape", ("x",), {"shape": (Ref("n"), 3)})])
    with pytest.raises(ValueError, match="two steps, or a step and an input, are named x"):
        Network([Step("x", "relu", ("x",))])
    with pytest.raises(ValueError, match="output names y, which no step computes"):
        Network([Step("a", "relu", ("x",))], output=(Ref("a"), Ref("y")))


def test_wrong_inputs() -> None:
    """The message says in which step."""
    with pytest.raises(TypeError, match=r"the network takes 1 inputs \(x\), got 2"):
        small()(X, X)
    with pytest.raises(TypeError, match="x must be float32, got float64") as caught:
        small()(X.astype(np.float64))
    assert caught.value.__notes__ == ["in step quant = quantize(x, scale=0.1, zero_point=3, dtype='quint8')"]
    with pytest.raises(ValueError) as found:
        small()(X[:, :2])
    assert found.value.__notes__[0].startswith("in step conv = conv2d_relu(quant")


def test_no_steps() -> None:
    """A network without layers returns its input."""
    value: Any = Network([])(X)
    assert value is X
