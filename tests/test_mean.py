"""mean.py: PyTorch's means on each path, whatever the axes, the memory format and the number of threads."""

import numpy as np
import pytest

from conformance import assert_equal
from qlearn.machine import ENGINES


@pytest.mark.torch
@pytest.mark.parametrize("engine", ENGINES)
def test_live(capability: str, engine: str, rng: np.random.Generator) -> None:
    """Some axes of one to five; large ones are shared by threads."""
    draws = [{"threads": t, "n": n} for n in (50, 500, 3001) for t in (1, 2, 5) for _ in range(20)]
    draws += [{"threads": t, "large": True} for t in (1, 2, 3, 5) for _ in range(6)]
    assert_equal("mean", engine, capability, rng, draws)
