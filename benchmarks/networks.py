"""Whole networks: ours, PyTorch's float32 and its int8 engines. A network is one entry of NETWORKS."""

import copy
import sys
from functools import partial
from pathlib import Path

import torch

from benchmarks.layers import ENGINES, FORMATS
from benchmarks.timing import Work
from qlearn import Network

sys.path.insert(0, str(Path(__file__).parent.parent / "book"))
import models

OTHERS = ["float32", "fused", *ENGINES]
NETWORKS = {"ResNet-18": models.resnet18, "MobileNetV2": models.mobilenet_v2}


def contestants(name: str) -> dict[str, Work]:
    """The network of the book at 224 x 224, batch 1, image to logits; ours with the arithmetic of the engine x86."""
    model, images = NETWORKS[name](), models.images(2)
    image = images[:1]
    found: dict[str, Work] = {"qlearn": lambda: None}  # the first
    for label, memory_format in FORMATS.items():
        x = image.contiguous(memory_format=memory_format)
        found[f"float32{label}"] = partial(floats(model, memory_format, fuse=False), x)
        found[f"fused{label}"] = partial(floats(model, memory_format, fuse=True), x)
    for engine in ENGINES:
        torch.backends.quantized.engine = engine
        converted = models.quantize(model, images)
        found[engine] = partial(run, converted, image, engine)
        if engine == "x86":
            found["qlearn"] = partial(Network.from_torch(converted), image.numpy())
    return found


def floats(model: torch.nn.Module, memory_format: torch.memory_format, *, fuse: bool) -> torch.nn.Module:
    """The float32 model as it is written, or with its batch norms in the convolutions, as it is quantized."""
    model = copy.deepcopy(model).eval()
    if fuse:
        model.fuse()
    return model.to(memory_format=memory_format)


def run(model: torch.nn.Module, image: torch.Tensor, engine: str) -> torch.Tensor:
    """The converted model on its engine."""
    torch.backends.quantized.engine = engine
    result: torch.Tensor = model(image)
    return result
