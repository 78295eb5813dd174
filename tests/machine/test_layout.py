"""layout.py: PyTorch's memory formats, read off the strides."""

import numpy as np
import pytest

from qlearn.machine.layout import (
    from_memory_order,
    has_strides,
    in_memory_order,
    laid_out,
    like_channels_last,
    new_strides,
    strides_of,
)
from strategies import arranged

NCHW = np.arange(120).reshape(2, 3, 4, 5)
NHWC = arranged(NCHW, "channels_last")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (NCHW, False),
        (NHWC, True),
        (NHWC[:, :2], True),  # sliced, but still channels first in memory
        (NHWC[:, :, ::2], True),
        (NCHW.transpose(0, 3, 1, 2), True),
        (NCHW.transpose(0, 2, 1, 3), False),
        (NHWC[0], False),  # three dimensions: PyTorch never says channels_last
        (np.zeros((4, 1, 1, 1)), False),  # ambiguous: contiguous
        (np.zeros((4, 1, 1, 6))[..., :1], False),
        (np.zeros((4, 3, 1, 1)), False),
        (laid_out(np.zeros((4, 3, 1, 1)), (3, 1, 3, 3)), True),
        (np.zeros((0, 3, 4, 5)), False),
        (np.broadcast_to(np.zeros((2, 1, 4, 5)), (2, 3, 4, 5)), False),
        (np.zeros((2, 4, 5, 6, 3)).transpose(0, 4, 1, 2, 3), True),  # channels_last_3d
    ],
)
def test_like_channels_last(array: np.ndarray, expected: bool) -> None:
    assert like_channels_last(array) == expected


def test_memory_order_and_back() -> None:
    assert in_memory_order(NCHW).tolist() == list(range(120))
    assert in_memory_order(NHWC)[:3].tolist() == NCHW[0, :, 0, 0].tolist()
    for array in (NCHW, NHWC, np.array(7), np.zeros((3, 0))):
        again = from_memory_order(in_memory_order(array), like=array)
        assert np.array_equal(again, array)
        assert has_strides(again, new_strides(array)) and has_strides(array, strides_of(again))


def test_has_strides_ignores_axes_of_length_one() -> None:
    assert has_strides(np.zeros((1, 3)), (99, 1))
    assert not has_strides(np.zeros((2, 3)), (99, 1))
