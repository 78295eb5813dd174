"""functional.py: QFunctional gives what PyTorch's object of that name gives."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

import qlearn
from oracle import ask, compare, running
from qlearn import Machine, QFunctional, QTensor
from strategies import bad_scales

PARAMS = ((0.05, 128), (0.037, 90), (0.1, 128))
CALLS = ("add", "add_relu", "mul", "cat", "add_scalar", "mul_scalar")


def results(a: Any, b: Any) -> list[Any]:
    """PyTorch's QFunctional, every method but matmul."""
    import torch

    functional = torch.ao.nn.quantized.QFunctional()
    functional.scale, functional.zero_point = PARAMS[2]
    x, y = (
        torch._make_per_tensor_quantized_tensor(torch.from_numpy(codes), *own)
        for codes, own in zip((a, b), PARAMS, strict=False)
    )
    second: dict[str, Any] = {"add_scalar": 3.7, "mul_scalar": -0.3}
    found = []
    for name in CALLS:
        out = functional.cat([x, y]) if name == "cat" else getattr(functional, name)(x, second.get(name, y))
        found.append((out.int_repr().numpy(), out.q_scale(), out.q_zero_point()))
    return found


@pytest.mark.torch
def test_live(dispatch: str, rng: np.random.Generator) -> None:
    a, b = rng.integers(0, 256, (2, 5, 100), dtype=np.uint8)
    functional = QFunctional(*PARAMS[2], machine=running("x86", dispatch))
    x, y = (QTensor(codes, *own, "quint8") for codes, own in zip((a, b), PARAMS, strict=False))
    second: dict[str, Any] = {"add_scalar": 3.7, "mul_scalar": -0.3}
    theirs = ask(dispatch, results, a, b, engine="x86", elementwise=True)
    for name, (codes, scale, zero_point) in zip(CALLS, theirs, strict=True):
        out = functional.cat([x, y]) if name == "cat" else getattr(functional, name)(x, second.get(name, y))
        compare(f"QFunctional.{name}", out.int_repr(), codes)
        assert (out.q_scale(), out.q_zero_point()) == (scale, zero_point)


def test_defaults_are_pytorchs() -> None:
    functional = QFunctional()
    assert (functional.scale, functional.zero_point, functional.machine) == (1.0, 0, Machine.default())
    assert repr(functional).startswith("QFunctional(scale=1.0, zero_point=0, machine=Machine(")


def test_matmul_is_not_there() -> None:
    x = QTensor([[1]], 0.5, 3, "quint8")
    with pytest.raises(NotImplementedError, match=r"QFunctional\.matmul is not there yet"):
        QFunctional().matmul(x, x)


@given(bad_scales)
def test_bad_scale(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        QFunctional(scale, 0)


def test_bad_machine() -> None:
    with pytest.raises(TypeError, match="machine must be a Machine or None, got str"):
        qlearn.QFunctional(1.0, 0, "x86")  # type: ignore[arg-type]
