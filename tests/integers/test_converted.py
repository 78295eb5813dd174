"""Converted models: layers, sums and the last average in integers are the integers that PyTorch's layers gave."""

import io
from collections import Counter
from typing import Any

import numpy as np
import pytest

import live_layers
import network_models
from oracle import CAPABILITIES, ask, unavailable
from qlearn import Network, QTensor
from qlearn.integers import Codes, addition, convolution, linear
from qlearn.layers.conv import loss
from qlearn.layers.linear import centered_weight
from qlearn.layers.window_sums import accumulate
from qlearn.layers.windows import geometry
from qlearn.machine.machine import ENGINES

CAPABILITY = next((name for name in CAPABILITIES[::-1] if not unavailable(name)), CAPABILITIES[0])


def layer_in_integers(net: Network, step: Any, x: QTensor) -> Any:
    """The codes of a linear layer or a convolution, channels first."""
    s, codes = step.settings, Codes(x.q_scale(), x.q_zero_point())
    to, relu = (step.scale, step.zero_point, net.machine), step.op.endswith("relu")
    if step.op.startswith("linear"):
        acc = (x.int_repr().astype(np.int64) - x.q_zero_point()) @ centered_weight(step.weight).T.astype(np.int64)
        return linear(codes, step.weight, step.bias, *to, rows=len(acc), relu=relu).codes(acc)
    g = geometry(2, x.shape, step.weight.shape, *(s[name] for name in ("stride", "padding", "dilation", "groups")))
    found = convolution(codes, step.weight, step.bias, g, *to, images=len(x.int_repr()), relu=relu)
    pairs = found.accumulators.pairs
    lost = loss(x, step.weight, g, pairs) if pairs else None
    acc = accumulate(x, step.weight, g).astype(np.int64) - (0 if lost is None else lost)
    return np.moveaxis(found.codes(acc), -1, 1)


def sum_in_integers(net: Network, step: Any, a: QTensor, b: QTensor, y: QTensor) -> Any:
    """The codes of a sum, on the path that each lies on."""
    inputs = (a.q_scale(), a.q_zero_point()), (b.q_scale(), b.q_zero_point())
    found = addition(*inputs, step.scale, step.zero_point, net.machine, relu=step.op.endswith("relu"))
    paths = net.machine.path_map(y.shape, y.strides, a.strides, b.strides)
    codes = a.int_repr(), b.int_repr()
    return np.where(paths, found.body.codes(*codes), found.tail.codes(*codes))


@pytest.mark.torch
@pytest.mark.parametrize("name", ["resnet18, add_relu", "mobilenet_v2"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_layer_by_layer(engine: str, name: str) -> None:
    """From the integers before each layer, which are PyTorch's (tests/network)."""
    live_layers.need(engine)
    data, _, images, theirs, layers = ask(CAPABILITY, network_models.saved, name, "quantize", engine=engine)
    net, met = Network.load(io.BytesIO(data)), Counter[str]()
    assert np.array_equal(net(images), theirs)
    values = net.run(images, keep=True)
    for step in net.steps:
        y, inputs = values[step.name], [values.get(source) for source in step.inputs]
        if step.weight is not None:
            codes = layer_in_integers(net, step, *inputs)
        elif step.op in ("add", "add_relu"):
            codes = sum_in_integers(net, step, *inputs, y)
        else:
            continue
        assert np.array_equal(codes, layers[step.name]), step
        met[step.op] += 1
    assert sum(met.values()) > 5 and met["add"] + met["add_relu"] > 0
