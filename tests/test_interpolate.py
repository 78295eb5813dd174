"""interpolate.py: PyTorch's larger and smaller images, in each mode."""

from typing import Any

import numpy as np
import pytest

from conformance import assert_equal


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["x86", "qnnpack"])
def test_live(capability: str, engine: str, rng: np.random.Generator) -> None:
    """Each dtype, mode and memory format, by size and by factor; sliced, no batch."""
    draws: list[dict[str, Any]] = [
        {"dtype": dtype, "layout": layout, "n": 200, "threads": 1 + i % 2}
        for dtype in ("quint8", "qint8", "qint32")
        for layout in ("contiguous", "channels_last", "")
        for i in range(20)
    ]
    assert_equal("interpolate", engine, capability, rng, draws)
