"""network.py: converted models in NumPy, every integer of every layer, on each engine."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import layers
from layers import ENGINES
from oracle import COMPARED, DIFFERING, ask

BOOK = str(Path(__file__).parents[1] / "book")
SMALL: dict[str, dict[str, Any]] = {
    "resnet18": {"channels": 8, "blocks": (1, 1), "classes": 10},
    "resnet18, add_relu": {"channels": 8, "blocks": (1, 1), "classes": 10, "add_relu": True},
}


def rows(name: str, how: str, size: int, seed: int) -> list[tuple[str, str, int, int, int, str]]:
    """In PyTorch's process: a network of book/models.py and a comparison of each layer."""
    sys.path.insert(0, BOOK)
    import models

    from qlearn import Network

    images = models.images(3, size, seed)
    model = getattr(models, name.split(",")[0])(seed, size, **SMALL[name])
    model = getattr(models, how)(model, images)
    return list(Network.from_torch(model).compare(model, images.numpy()).rows)


@pytest.mark.torch
@pytest.mark.parametrize("how", ["quantize", "quantize_fx"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", SMALL)
def test_every_layer(name: str, engine: str, how: str) -> None:
    if not layers.known(engine):
        pytest.skip("oneDNN's kernels for AVX-512 without VNNI are not modelled")
    capability = "AVX512" if "avx512f" in layers.cpu_flags() else "AVX2"
    found = ask(capability, rows, name, how, 64, 3, engine=engine, threads=2)
    assert len(found) > 12
    for layer, op, elements, same_inputs, from_start, note in found:
        COMPARED["network"] += elements
        DIFFERING["network"] += from_start
        assert (same_inputs, from_start, note) == (0, 0, ""), (layer, op)


def test_a_layers_integers() -> None:
    """run(keep=True) without torch."""
    from qlearn import Network
    from qlearn.network import Step

    params = {"scale": 0.1, "zero_point": 3}
    net = Network(
        [Step("quant", "quantize", ("x",), {**params, "dtype": "quint8"}), Step("out", "dequantize", ("quant",))]
    )
    x = np.float32([0.1, 0.25, -1])
    assert net.run(x, keep=True)["quant"].int_repr().tolist() == [4, 6, 0]
    assert net(x).tolist() == np.float32([0.1, 0.3, -0.3]).tolist()
