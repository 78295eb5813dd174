"""convolution_add.py: conv2d_add in integers is qlearn's, for each code that is added."""

from dataclasses import replace

import numpy as np
import pytest

from drawn_layers import Layer, answer, draw_conv, with_accum
from qlearn import Machine
from qlearn.integers import Codes, ConvolutionAdd, Unproven, convolution_add
from qlearn.integers.convolution_add import CODES, formula_of
from qlearn.layers.conv import loss
from qlearn.layers.window_sums import accumulate
from qlearn.layers.windows import geometry

MACHINES = [
    Machine("onednn", "AVX512", 1),
    Machine("onednn", "AVX2", 1, vnni=False),
    Machine("onednn", "AVX2", 1, release="2.0"),
    Machine("onednn", "AVX512", 1, _used="AMX"),
]


def drawn(rng: np.random.Generator, machine: Machine) -> tuple[Layer, ConvolutionAdd, np.ndarray]:
    """A layer of few channels, its integers, and the accumulators of its own x."""
    while True:
        layer = with_accum(rng, draw_conv(rng, 2, machine, bits=8, symmetric=True, longest=8))
        x, weight = layer.tensors()
        if weight.shape[0] > 3 or layer.accum is None:
            continue
        g = geometry(2, x.shape, weight.shape, *layer.geometry)
        to = (weight, layer.bias, g, layer.scale, layer.zero_point, machine)
        codes, added = Codes(layer.x_scale, layer.x_zero_point), Codes(*layer.accum[1:])
        relu = layer.operator.endswith("relu")
        try:
            found = convolution_add(codes, added, *to, images=x.shape[0], relu=relu)
        except NotImplementedError:  # AMX with the images of this layer
            continue
        lost = loss(x, weight, g, found.accumulators.pairs) if found.accumulators.pairs else None
        return layer, found, accumulate(x, weight, g).astype(np.int64) - (0 if lost is None else lost)


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_every_code_that_is_added(machine: Machine, rng: np.random.Generator) -> None:
    """The layer's own codes; and for all 256 of them accumulators from end to end, or those near the thresholds."""
    layer, found, acc = drawn(rng, machine)
    assert layer.accum is not None
    added = np.moveaxis(layer.accum[0], 1, -1)
    assert np.array_equal(found.codes(acc, added), np.moveaxis(answer(layer, machine).int_repr(), 1, -1))
    channels = len(found.steps) // CODES
    f = formula_of(found.formula, found.added, np.arange(channels))
    low, high = found.steps.low, found.steps.high
    grid = np.linspace(low, high, 400).astype(np.int64)
    changes = np.where(np.diff(f(grid).astype(int), axis=0) != 0, grid[1:], low)
    reached = np.clip(np.concatenate([grid, *(changes + near for near in (-1, 0, 1))]), low, high)
    by_code = reached.reshape(-1, channels, CODES).swapaxes(1, 2)
    codes = np.broadcast_to(np.arange(CODES)[:, None], by_code.shape)
    assert np.array_equal(found.codes(by_code, codes).swapaxes(1, 2).reshape(reached.shape), f(reached))
    least, most = found.steps.clip
    assert found.check() == len(found.steps) * 2 * (1 + most - least)


def test_a_channel_has_one_slope(rng: np.random.Generator) -> None:
    """M and S are shared, the offset rises with the code."""
    _, found, _ = drawn(rng, MACHINES[0])
    M, S, B = (a.reshape(-1, CODES) for a in (found.steps.M, found.steps.S, found.steps.B))
    assert not found.steps.thresholds
    assert (M[:, :1] == M).all() and (S[:, :1] == S).all()
    assert (np.diff(B[:, 1::2]) > -(2 ** S[:, :1])).all()


def test_a_wrong_bit_and_a_wrong_engine_are_refused(rng: np.random.Generator) -> None:
    reached = np.zeros(1)
    while reached.max() < 50:
        _, found, _ = drawn(rng, MACHINES[0])
        reached = np.diff(found.steps.codes(np.stack([found.steps.low, found.steps.high])), axis=0)[0]
    one = (np.arange(len(found.steps)) == reached.argmax()).astype(np.int64)
    for name, bit in (("M", int(found.steps.M.max()).bit_length() - 1), ("S", 0)):
        with pytest.raises(Unproven):
            replace(found, steps=replace(found.steps, **{name: getattr(found.steps, name) ^ (one << bit)})).check()
    with pytest.raises(Unproven, match="another range"):
        replace(found, steps=replace(found.steps, low=found.steps.low - one)).check()
    layer = with_accum(rng, draw_conv(rng, 2, MACHINES[0], bits=8, symmetric=True))
    x, weight = layer.tensors()
    g = geometry(2, x.shape, weight.shape, *layer.geometry)
    with pytest.raises(ValueError, match="the only one with conv2d_add, got fbgemm"):
        convolution_add(Codes(0.1, 0), Codes(0.1, 0), weight, None, g, 0.1, 0, Machine("fbgemm", "AVX2", 1))
