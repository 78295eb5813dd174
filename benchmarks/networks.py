"""Whole networks: ours, PyTorch's float32 and its int8 engines. A network is one entry of NETWORKS."""

import copy
import sys
from functools import partial
from pathlib import Path

import torch

from benchmarks.layers import ENGINES, FLOATS
from benchmarks.timing import Work
from qlearn import Network

sys.path.insert(0, str(Path(__file__).parent.parent / "book"))
import models

NETWORKS = {"ResNet-18": models.resnet18, "MobileNetV2": models.mobilenet_v2}


def contestants(name: str) -> dict[str, Work]:
    """The network of the book at 224 x 224, batch 1, image to logits; ours with the arithmetic of the engine x86."""
    model, images = NETWORKS[name](), models.images(2)
    image = images[:1]
    found: dict[str, Work] = {"qlearn": lambda: None}  # the first
    for label, memory_format in zip(FLOATS, (torch.contiguous_format, torch.channels_last), strict=True):
        found[label] = partial(fused(model, memory_format), image.contiguous(memory_format=memory_format))
    for engine in ENGINES:
        torch.backends.quantized.engine = engine
        converted = models.quantize(model, images)
        found[engine] = partial(run, converted, image, engine)
        if engine == "x86":
            found["qlearn"] = partial(Network.from_torch(converted), image.numpy())
    return found


def fused(model: torch.nn.Module, memory_format: torch.memory_format) -> torch.nn.Module:
    """The float32 model with its batch norms in the convolutions, as before it is quantized."""
    floats = copy.deepcopy(model).eval()
    floats.fuse()
    return floats.to(memory_format=memory_format)


def run(model: torch.nn.Module, image: torch.Tensor, engine: str) -> torch.Tensor:
    """The converted model on its engine."""
    torch.backends.quantized.engine = engine
    result: torch.Tensor = model(image)
    return result
