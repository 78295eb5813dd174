"""shapes.py: the same codes as PyTorch's views and copies, and the same strides."""

import numpy as np
import pytest

from conformance import assert_equal


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["x86", "qnnpack"])
def test_live(engine: str, rng: np.random.Generator) -> None:
    """Each function, on tensors of up to five axes with any strides."""
    assert_equal("shapes", engine, "DEFAULT", rng, [{"n": n} for n in (10, 100, 1000) * 200])
