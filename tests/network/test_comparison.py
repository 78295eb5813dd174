"""comparison.py: the first layer that differs, at which element, by how much, and what only carries it on."""

from typing import Any

import numpy as np
import pytest

from qlearn import Machine, Network, QTensor
from qlearn.network import Step
from qlearn.network.mistakes import with_mistake

MACHINE = Machine("fbgemm", "AVX2", 1)


def network() -> Network:
    """Two convolutions, a sum and the end; scales that make ties."""
    rng = np.random.default_rng(2)

    def conv(name: str, source: str, into: int, scale: float) -> Step:
        weight = QTensor(rng.integers(-128, 128, (8, into, 3, 3)).astype(np.int8), 0.01, 0, "qint8")
        bias = (rng.integers(-900, 900, 8) * 0.00025).astype(np.float32)
        settings = {"weight": weight, "bias": bias, "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
        return Step(name, "conv2d", (source,), {**settings, "groups": 1, "scale": scale, "zero_point": 101})

    return Network(
        [
            Step("quant", "quantize", ("x",), {"scale": 0.05, "zero_point": 120, "dtype": "quint8"}),
            conv("one", "quant", 3, 0.512),
            conv("two", "one", 8, 8.192),
            Step("sum", "add", ("one", "two"), {"scale": 8.192, "zero_point": 99}),
            Step("end", "dequantize", ("sum",)),
        ],
        machine=MACHINE,
    )


X = (np.random.default_rng(1).normal(size=(2, 3, 9, 9)) * 2).astype(np.float32)


def values(net: Network) -> dict[str, Any]:
    """Each layer's numbers, to be changed."""
    return {
        name: np.array(value.int_repr() if isinstance(value, QTensor) else value)
        for name, value in net.run(X, keep=True).items()
    }


def carried_on(net: Network, theirs: dict[str, Any], start: str) -> dict[str, Any]:
    """The layers after a changed one, computed from it."""
    steps = [step.name for step in net.steps]
    found: dict[str, Any] = {}
    for step in net.steps:
        result = step.compute({"x": X, **found}, MACHINE)
        if steps.index(step.name) <= steps.index(start) and isinstance(result, QTensor):
            result = QTensor(theirs[step.name], result.q_scale(), result.q_zero_point(), result.dtype)
        found[step.name] = result
    return {name: value.int_repr() if isinstance(value, QTensor) else value for name, value in found.items()}


def test_equal_arrays() -> None:
    net = network()
    same = net.compare(values(net), X)
    assert (same.differing, same.first, same.explanations) == (0, None, ())
    assert same.compared == sum(row.elements for row in same.rows) > 0
    assert "0 differ" in str(same)


def test_first_difference_and_what_carries_it_on() -> None:
    net = network()
    theirs = values(net)
    theirs["one"][1, 2, 3, 4] += 2
    theirs = carried_on(net, theirs, "one")
    found = net.compare(theirs, X)
    assert found.first is not None
    assert (found.first.layer, found.first.index, found.first.theirs - found.first.ours) == ("one", (1, 2, 3, 4), 2)
    assert (found.first.differing, found.first.elements, found.first.least, found.first.most) == (1, 1296, 2, 2)
    assert found["one"].same_inputs == found["one"].from_start == 1
    assert found["two"].same_inputs == found["sum"].same_inputs == 0
    assert (found["two"].from_start or 0) + (found["sum"].from_start or 0) > 0
    assert found.explanations == ()
    assert "No known mistake" in str(found) and "one (conv2d)" in str(found)


def test_a_mistake_in_every_layer_of_a_kind() -> None:
    """Named in the first, found again in the later ones; their numbers are someone's whole network with it."""
    net = network()
    results: dict[str, Any] = {"x": X}
    for step in net.steps:
        result = step.compute(results, MACHINE)
        if step.op == "conv2d":
            codes = with_mistake(step, [results[name] for name in step.inputs], "truncation", MACHINE)
            result = QTensor(codes.astype(np.uint8), result.q_scale(), result.q_zero_point(), result.dtype)
        results[step.name] = result
    del results["x"]
    theirs = {name: value.int_repr() for name, value in results.items() if isinstance(value, QTensor)}
    found = net.compare(theirs, X)
    assert found.first is not None and found.first.layer == "one"
    assert [explanation.name for explanation in found.explanations] == ["truncation"]
    assert found.explained == {"truncation": ("two",)}
    assert "truncation: cut towards zero" in str(found) and "1 of the later layers as well" in str(found)
    assert found["end"].from_start is None


def test_layers_that_were_not_given() -> None:
    """The difference may have arisen in any layer since the last that was given."""
    net = network()
    theirs = values(net)
    theirs["one"][0, 0, 0, 0] ^= 1
    after = carried_on(net, theirs, "one")
    found = net.compare({"quant": after["quant"], "two": after["two"]}, X)
    assert found["one"].same_inputs is None and "not given" in str(found)
    assert found.first is not None and found.first.layer == "two" and found.first.unseen == ("one",)


def test_codes_that_do_not_fit() -> None:
    """Somebody who does not clamp: wider integers are compared as they are, and no next layer reads them."""
    net = network()
    theirs: dict[str, Any] = {name: value for name, value in values(net).items() if name in ("one", "two")}
    theirs["one"] = theirs["one"].astype(np.int32)
    theirs["one"][0, 0, 0, 0] = 300
    found = net.compare(theirs, X)
    assert found.first is not None and found.first.theirs == 300 and found["two"].same_inputs == 0


def test_real_numbers() -> None:
    """Codes may come as whole floats; the dequantized end is compared as real numbers, NaN too."""
    net = network()
    theirs = values(net)
    theirs["one"] = theirs["one"].astype(np.float64)
    theirs["end"] = theirs["end"].copy()
    theirs["end"][0, 0, 0, 0] = np.nan
    found = net.compare(theirs, X)
    assert found.first is not None and found.first.layer == "end" and found["end"].same_inputs == 1


def test_another_scale() -> None:
    net = network()
    one = net.run(X, keep=True)["one"]
    found = net.compare({"one": QTensor(one.int_repr(), one.q_scale() * 2, one.q_zero_point(), one.dtype)}, X)
    assert found["one"].same_inputs == one.size and "other scale" in found["one"].note
    assert str(found)


def test_another_machine() -> None:
    """The same network on qnnpack, beside fbgemm's numbers."""
    net = network()
    found = net.compare(values(net), X, machine=Machine("qnnpack", "AVX2", 1))
    assert found.first is not None and found.first.layer == "sum"
    assert "engine fbgemm" in [explanation.name for explanation in found.explanations]


def test_what_is_refused() -> None:
    net = network()
    with pytest.raises(KeyError, match="no step is named 'conv1'; the steps are quant, one, two"):
        net.compare({"conv1": np.zeros(3)}, X)
    with pytest.raises(ValueError, match=r"one must have shape \(2, 8, 9, 9\), as in PyTorch, got \(2, 9, 9, 8\)"):
        net.compare({"one": np.zeros((2, 9, 9, 8), np.uint8)}, X)
    with pytest.raises(ValueError, match="one must be integer codes, got float64 numbers that are not whole"):
        net.compare({"one": np.full((2, 8, 9, 9), 0.5)}, X)
    with pytest.raises(TypeError, match="one must be an array of numbers"):
        net.compare({"one": np.full((2, 8, 9, 9), "a")}, X)
    with pytest.raises(KeyError, match="no layer is named"):
        net.compare(values(net), X)["three"]
