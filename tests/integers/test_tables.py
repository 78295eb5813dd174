"""tables.py: functions of one code are qlearn's, in whatever place of a tensor the code lies."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import qlearn
from qlearn import Machine, QTensor
from qlearn.integers import Unproven, lookup
from qlearn.machine.machine import BODY, CAPABILITIES, ENGINES, TAIL

FUNCTIONS: dict[str, Any] = {
    "relu": lambda x, m: qlearn.relu(x, machine=m),
    "clamp": lambda x, m: qlearn.clamp(x, -1.0, 2.0, machine=m),
    "hardswish": lambda x, m: qlearn.hardswish(x, 0.021, 9, machine=m),
    "hardsigmoid": lambda x, m: qlearn.hardsigmoid(x, machine=m),
    "sigmoid": lambda x, m: qlearn.sigmoid(x, machine=m),
    "tanh": lambda x, m: qlearn.tanh(x, machine=m),
    "elu": lambda x, m: qlearn.elu(x, 0.02, 90, machine=m),
    "leaky_relu": lambda x, m: qlearn.leaky_relu(x, 0.1, 0.02, 90, machine=m),
    "add_scalar": lambda x, m: qlearn.add_scalar(x, 7.3, machine=m),
    "mul_scalar": lambda x, m: qlearn.mul_scalar(x, -0.3, machine=m),
    "another scale": lambda x, m: qlearn.quantize_per_tensor(x.dequantize(), 0.013, 77, x.dtype, machine=m),
    "cat": lambda x, m: qlearn.cat([x], 0.013, 77, 0, machine=m),
}


def machine_of(rng: np.random.Generator, engine: str) -> Machine:
    return Machine(engine, str(rng.choice(CAPABILITIES)), 1, release=str(rng.choice(["2.14", "2.13", "2.1"])))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_code(engine: str, name: str, rng: np.random.Generator) -> None:
    """In tensors of a body and a tail."""
    machine, dtype = machine_of(rng, engine), str(rng.choice(["quint8", "qint8"]))
    z = int(rng.integers(0, 127))

    def function(x: QTensor) -> QTensor:
        result = FUNCTIONS[name](x, machine)
        assert isinstance(result, QTensor)
        return result

    found = lookup(function, 0.031, z, dtype=dtype)
    assert found.check((0.031, z), dtype) == 512
    codes = np.arange(256) + found.least
    q = np.concatenate([rng.permutation(codes) for _ in range(4)])[: int(rng.integers(960, 1024))]
    wanted = function(QTensor(q, 0.031, z, dtype))
    paths = machine.path_map(q.shape)
    for path in (BODY, TAIL):
        assert np.array_equal(found.codes(path, q[paths == path]), wanted.int_repr()[paths == path])
    assert (found.scale, found.zero_point, found.dtype) == (wanted.q_scale(), wanted.q_zero_point(), wanted.dtype)


def test_cat_along_the_channels(rng: np.random.Generator) -> None:
    """Of channels_last: eights of channels, and those left over."""
    for capability in CAPABILITIES:
        machine = Machine("fbgemm", capability, 1)

        def function(x: QTensor, machine: Machine = machine) -> QTensor:
            return qlearn.cat([x], 0.0185, 77, 1, machine=machine)

        found = lookup(function, 0.037, 30, layout="channels_last")
        x = np.moveaxis(rng.integers(0, 256, (2, 5, 9, 19), dtype=np.uint8), -1, 1)  # 19 channels
        wanted = function(QTensor(x, 0.037, 30, "quint8")).int_repr()
        assert np.array_equal(found.codes(BODY, x[:, :16]), wanted[:, :16])
        assert np.array_equal(found.codes(TAIL, x[:, 16:]), wanted[:, 16:])


def test_body_and_tail_may_differ() -> None:
    """hardswish with ties: the tail has another inverse."""
    machine = Machine("fbgemm", "AVX2", 1)
    differ = [lookup(lambda x, s=s: qlearn.hardswish(x, s, 30, machine=machine), 0.037, 90) for s in (0.0185, 0.03)]
    assert any(not np.array_equal(found.body, found.tail) for found in differ)


def test_a_wrong_code_is_refused(rng: np.random.Generator) -> None:
    machine = Machine("fbgemm", "AVX2", 1)
    found = lookup(lambda x: qlearn.hardswish(x, 0.02, 30, machine=machine), 0.037, 90, dtype="qint8")
    for path in ("body", "tail"):
        q = int(rng.integers(256))
        table = getattr(found, path).copy()
        table[q] ^= 1
        with pytest.raises(Unproven, match=f"code {q - 128} gives -?\\d+ in the {path}"):
            replace(found, **{path: table}).check((0.037, 90), "qint8")
    with pytest.raises(ValueError, match="layout must be one of contiguous, channels_last, got 'sideways'"):
        lookup(lambda x: x, 0.1, 0, layout="sideways")
