"""pooling.py: every integer of PyTorch's pools, on each engine and capability, and where it lies."""

from typing import Any

import numpy as np
import pytest

from conformance import assert_equal
from qlearn.machine import ENGINES

POOLS = ("max_pool1d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d")


@pytest.mark.torch
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", POOLS)
def test_live(capability: str, engine: str, name: str, rng: np.random.Generator) -> None:
    """Each dtype and memory format, with padding, dilation, ceil_mode and divisors of all kinds; sliced, no batch."""
    dtypes = ("quint8", "qint8", "qint32")
    draws: list[dict[str, Any]] = [
        {"dtype": dtype, "layout": layout, "n": n, "threads": 1 + n % 2}
        for dtype in dtypes
        for layout in ("contiguous", "channels_last", "")
        for n in (50, 500, 3001) * 2
    ]
    assert_equal(name, engine, capability, rng, draws)
