"""Integer forms of every channel of a network: how long they take to be found, and to be proved again."""

from collections import Counter
from time import perf_counter
from typing import Any, NamedTuple

import torch

from benchmarks.networks import NETWORKS, models
from qlearn import Network
from qlearn.integers import Codes, Requantization, convolution, linear
from qlearn.layers.windows import geometry


class Found(NamedTuple):
    """What a network's layers came to."""

    forms: Counter[str]
    points: int  # that the certificates looked at
    found: float  # seconds
    proved: float


def steps_of(name: str, engine: str) -> Found:
    """Of the book's network at 224 x 224, for what all 256 codes reach."""
    torch.backends.quantized.engine = engine
    images = models.images(2)
    net = Network.from_torch(models.quantize(NETWORKS[name](), images))
    values = net.run(images[:1].numpy(), keep=True)
    layers = [(step, values[step.inputs[0]]) for step in net.steps if step.weight is not None]
    start = perf_counter()
    made = [integers_of(net, step, x) for step, x in layers]
    middle = perf_counter()
    points = sum(found.check() for found in made)
    end = perf_counter()
    forms: Counter[str] = Counter()
    for found in made:
        forms.update(found.steps.count())
    return Found(forms, points, middle - start, end - middle)


def integers_of(net: Network, step: Any, x: Any) -> Requantization:
    """The integers of one step."""
    s, codes, relu = step.settings, Codes(x.q_scale(), x.q_zero_point()), step.op.endswith("relu")
    to = step.scale, step.zero_point, net.machine
    if step.op.startswith("linear"):
        return linear(codes, step.weight, step.bias, *to, rows=x.size // x.shape[-1], relu=relu)
    where = (s[name] for name in ("stride", "padding", "dilation", "groups"))
    g = geometry(x.ndim - 2, x.shape, step.weight.shape, *where)
    return convolution(codes, step.weight, step.bias, g, *to, images=x.shape[0], relu=relu)
