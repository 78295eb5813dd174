"""shapes.py: the same codes as PyTorch's views and copies, and the same strides."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import qlearn
from conformance import assert_equal
from oracle import ask
from qlearn import QTensor
from qlearn.elementwise import shapes
from strategies import not_integers

X = QTensor(np.arange(120, dtype=np.uint8).reshape(2, 3, 4, 5), 0.5, 3, "quint8")


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["x86", "qnnpack"])
def test_live(engine: str, rng: np.random.Generator) -> None:
    """Each function, on tensors of up to five axes with any strides."""
    assert_equal("shapes", engine, "DEFAULT", rng, [{"n": n} for n in (10, 100, 1000) * 150])


# What PyTorch makes of the strides; asked, and known without it

LAST = (60, 1, 15, 3)  # channels_last strides of (2, 3, 4, 5)
STRIDES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {  # shape and strides of the result
    "flatten of channels_last": ((2, 60), (60, 1)),
    "flatten of channels_last, H and W": ((2, 3, 20), (60, 1, 3)),
    "flatten of a pixel": ((2, 3), (3, 1)),
    "reshape of channels_last": ((2, 3, 2, 2, 5), (60, 1, 30, 15, 3)),
    "reshape of channels_last, copied": ((6, 20), (20, 1)),
    "permute": ((2, 4, 5, 3), (60, 15, 3, 1)),
    "unsqueeze of channels_last": ((2, 1, 3, 4, 5), (60, 3, 1, 15, 3)),
    "contiguous of a channels_last pixel": ((2, 3, 1, 1), (3, 1, 3, 3)),
    "channel_shuffle of channels_last": ((2, 4, 1, 3), (12, 1, 12, 4)),
    "channel_shuffle of a contiguous pixel": ((2, 4, 1, 1), (4, 1, 4, 4)),
}


def cases(zeros: Any, call: Any) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The same calls for PyTorch and qlearn: zeros(shape, strides) makes a tensor, call(name) finds a function."""
    last, pixel = zeros((2, 3, 4, 5), LAST), zeros((2, 3, 1, 1), (3, 1, 3, 3))
    found = {
        "flatten of channels_last": call("flatten")(last, 1),
        "flatten of channels_last, H and W": call("flatten")(last, 2),
        "flatten of a pixel": call("flatten")(pixel, 1),
        "reshape of channels_last": call("reshape")(last, (2, 3, 2, 2, 5)),
        "reshape of channels_last, copied": call("reshape")(last, (6, 20)),
        "permute": call("permute")(last, (0, 2, 3, 1)),
        "unsqueeze of channels_last": call("unsqueeze")(last, 1),
        "contiguous of a channels_last pixel": call("contiguous")(pixel),
        "channel_shuffle of channels_last": call("channel_shuffle")(zeros((2, 4, 1, 3), (12, 1, 12, 4)), 2),
        "channel_shuffle of a contiguous pixel": call("channel_shuffle")(zeros((2, 4, 1, 1), (4, 1, 1, 1)), 2),
    }
    return {
        name: (tuple(t.shape), tuple(t.stride() if hasattr(t, "stride") else t.strides)) for name, t in found.items()
    }


def torch_strides() -> dict[str, Any]:
    """PyTorch's."""
    import torch

    def zeros(shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
        flat = torch._make_per_tensor_quantized_tensor(torch.zeros(200, dtype=torch.uint8), 0.5, 3)
        return flat.as_strided(shape, strides)

    return cases(zeros, lambda name: getattr(torch, name) if hasattr(torch, name) else torch.Tensor.contiguous)


@pytest.mark.torch
def test_known_strides_are_pytorchs() -> None:
    assert ask("DEFAULT", torch_strides) == STRIDES


def test_known_strides() -> None:
    def zeros(shape: tuple[int, ...], strides: tuple[int, ...]) -> QTensor:
        return QTensor(np.lib.stride_tricks.as_strided(np.zeros(200, np.uint8), shape, strides), 0.5, 3, "quint8")

    assert cases(zeros, lambda name: getattr(qlearn, name)) == STRIDES


def test_codes_stay_in_order() -> None:
    """The codes of each function, known from NumPy's."""
    q = X.int_repr()
    assert np.array_equal(qlearn.flatten(X, 1).int_repr(), q.reshape(2, 60))
    assert np.array_equal(qlearn.reshape(X, (6, -1)).int_repr(), q.reshape(6, 20))
    assert np.array_equal(qlearn.permute(X, (0, 2, 3, 1)).int_repr(), q.transpose(0, 2, 3, 1))
    assert np.array_equal(qlearn.transpose(X, 1, -1).int_repr(), q.swapaxes(1, -1))
    assert np.array_equal(qlearn.getitem(X, (0, slice(1, None), ..., -1)).int_repr(), q[0, 1:, ..., -1])
    assert [part.shape[1] for part in qlearn.chunk(X, 2, 1)] == [2, 1]
    assert [part.shape[3] for part in qlearn.split(X, 2, 3)] == [2, 2, 1]
    assert [part.shape[3] for part in qlearn.split(X, [4, 0, 1], -1)] == [4, 0, 1]
    shuffled = qlearn.channel_shuffle(QTensor(np.arange(6, dtype=np.uint8).reshape(1, 6, 1, 1), 0.5, 3, "quint8"), 2)
    assert shuffled.int_repr().ravel().tolist() == [0, 3, 1, 4, 2, 5]
    for y in (qlearn.flatten(X), qlearn.squeeze(X), shuffled):
        assert (y.q_scale(), y.q_zero_point(), y.dtype) == (0.5, 3, "quint8")


@pytest.mark.parametrize(("step", "wrong"), [
    ("_view_strides", lambda x, shape: None),  # always a copy
    ("dense_strides", lambda shape, channels_last=False: tuple([1] * len(shape))),
    ("made_contiguous", lambda array, channels_last=False: np.ascontiguousarray(array)),
    ("like_channels_last", lambda array: False),
    ("_chunks", lambda shape, strides: list(zip(shape, strides, strict=True))[::-1]),
])  # fmt: skip
def test_step_is_needed(step: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The known strides tell each wrong step from the right one."""
    monkeypatch.setattr(shapes, step, wrong)
    with pytest.raises((AssertionError, ValueError)):
        test_known_strides()


# Bad input is refused, by name


@given(not_integers)
def test_what_is_no_integer(wrong: Any) -> None:
    for name, call in (
        ("dim", partial(qlearn.unsqueeze, X)), ("dim0", partial(qlearn.transpose, X, dim1=0)),
        ("chunks", partial(qlearn.chunk, X)), ("groups", partial(qlearn.channel_shuffle, X)),
        ("start_dim", partial(qlearn.flatten, X)),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=f"{name} must be integers, got"):
            call(wrong)


def test_what_does_not_fit() -> None:
    channels = QTensor(X.int_repr(), [0.5] * 3, [0] * 3, "quint8", 1)
    refused: list[tuple[str, Any]] = [
        ("x must be quantized per tensor", partial(qlearn.flatten, channels)),
        (r"start_dim must be in \[-4, 4\), got 4", partial(qlearn.flatten, X, 4)),
        ("start_dim must not come after end_dim, got 2 and 1", partial(qlearn.flatten, X, 2, 1)),
        (r"shape must hold x's 120 elements, got \(7, -1\)", partial(qlearn.reshape, X, (7, -1))),
        (r"shape must hold x's 120 elements, got \(-1, -1\)", partial(qlearn.reshape, X, (-1, -1))),
        (r"dims must name each of the 4 axes once, got \(0, 1\)", partial(qlearn.permute, X, (0, 1))),
        (r"dims must be in \[-4, 4\), got 7", partial(qlearn.permute, X, (0, 1, 2, 7))),
        (r"dim must be in \[-5, 5\), got 5", partial(qlearn.unsqueeze, X, 5)),
        ("split_size_or_sections must be at least 1, got 0", partial(qlearn.split, X, 0)),
        ("split_size_or_sections must add up to x's length along dim, 2", partial(qlearn.split, X, [1, 2])),
        ("chunks must be at least 1, got 0", partial(qlearn.chunk, X, 0)),
        ("index must have positive steps", partial(qlearn.getitem, X, slice(None, None, -1))),
        (r"index must fit x's shape \(2, 3, 4, 5\)", partial(qlearn.getitem, X, 2)),
        ("memory_format must be contiguous_format or channels_last", partial(qlearn.contiguous, X, "preserve")),
        (
            "x must have 4 dimensions to be channels_last",
            partial(qlearn.contiguous, qlearn.flatten(X), "channels_last"),
        ),
        ("groups must divide the channels of x, 3, got 2", partial(qlearn.channel_shuffle, X, 2)),
        ("x must have 4 dimensions", partial(qlearn.channel_shuffle, qlearn.flatten(X), 2)),
        ("x must be quint8, got qint8", partial(qlearn.channel_shuffle, QTensor([[[[0]]]], 0.5, 0, "qint8"), 1)),
    ]
    for message, call in refused:
        with pytest.raises(ValueError, match=message):
            call()
    for wrong in ([0, 1], None, True, np.array([True, False])):
        with pytest.raises(NotImplementedError, match=r"index must be of integers, slices and \.\.\., got"):
            qlearn.getitem(X, wrong)
    with pytest.raises(TypeError, match="x must be a QTensor, got int"):
        qlearn.reshape(1, (1,))  # type: ignore[arg-type]
