"""Networks that the tests of programs look at, made and compared in PyTorch's processes (oracle.ask)."""

import io
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

import network_models
from integers import compared
from qlearn import Machine, Network, QTensor
from qlearn.network import Step

BOOK = str(Path(__file__).parents[1] / "book")
WEIGHTS = Path(__file__).parent / "integers" / "pnet.npz"
COUNTS = ("codes", "network", "PyTorch", "C", "points")


def counts(model: Any, x: Any, in_c: bool = True) -> dict[str, int]:
    """Of a model and an x (n, ...): codes of layers, how many differ, points that prove them."""
    found = compared(model, np.asarray(x), ("-O0",) if in_c and shutil.which("cc") else None)
    return {key: found[key] for key in COUNTS}


def whole(name: str, how: str, size: int, seed: int) -> dict[str, int]:
    """A small ResNet or MobileNetV2."""
    return counts(*network_models.converted(name, how, size, seed))


def saved(name: str, size: int, seed: int = 1) -> tuple[bytes, Any]:
    """The bytes of a small network, and two images."""
    model, images = network_models.converted(name, "quantize", size, seed)
    file = io.BytesIO()
    Network.from_torch(model).save(file)  # type: ignore[arg-type]
    return file.getvalue(), images


def operators(in_c: bool) -> dict[str, Any]:
    """By operator of ``network_models.operators``: counts, or why there are no integers."""
    import torch

    torch.manual_seed(1)
    x = torch.randn(2, 3, 11, 10)
    found: dict[str, Any] = {}
    for name, make in network_models.operators().items():
        try:
            model = network_models.convert(make(), x)
            model(x)
            found[name] = counts(model, x, in_c)
        except RuntimeError as error:
            if not isinstance(error, NotImplementedError):
                continue  # PyTorch's own refusal
            found[name] = str(error)
    return found


def chains(seed: int, many: int) -> list[tuple[str, Any]]:
    """Of drawn chains: in words, and counts or a refusal."""
    found: list[tuple[str, Any]] = []
    for words, model, x in network_models.drawn_chains(seed, many):
        try:
            found.append((words, counts(model, x.contiguous())))
        except NotImplementedError as error:
            found.append((words, str(error)))
    return found


def pnet() -> Any:
    """The face detector P-Net, with the weights that facenet-pytorch ships, in floating point."""
    import torch
    from torch import nn
    from torch.ao import quantization as tq

    class PNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
            self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
            self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
            self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
            self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
            self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

        def forward(self, x: Any) -> Any:
            x = self.pool1(self.prelu1(self.conv1(self.quant(x))))
            x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
            return self.dequant(self.conv4_1(x)), self.dequant(self.conv4_2(x))

    model = PNet()
    with np.load(WEIGHTS) as arrays:
        model.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    slopes = tq.MinMaxObserver.with_args(dtype=torch.quint8)
    for layer in (model.prelu1, model.prelu2, model.prelu3):
        layer.qconfig = tq.QConfig(activation=tq.HistogramObserver, weight=slopes)
    return model


def faces() -> dict[str, int]:
    """P-Net, quantized with weights per tensor."""
    from torch.ao import quantization as tq

    sys.path.insert(0, BOOK)
    import models

    images = models.images(2, 60, 3)
    return counts(network_models.convert(pnet(), images, tq.default_qconfig), images)


def trained(seed: int) -> tuple[dict[str, int], float]:
    """A network that learns to tell discs from boxes on pictures that it is drawn; counts, and what share it knows."""
    import torch
    from torch import nn
    from torch.ao import quantization as tq
    from torch.nn import functional as F

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
            self.skip = torch.ao.nn.quantized.FloatFunctional()
            self.conv1, self.conv2 = nn.Conv2d(1, 12, 3, 2, 1), nn.Conv2d(12, 12, 3, 1, 1)
            self.conv3, self.relu, self.fc = nn.Conv2d(12, 24, 3, 2, 1), nn.ReLU(), nn.Linear(24, 2)
            self.pool = nn.AdaptiveAvgPool2d(1)

        def forward(self, x: Any) -> Any:
            x = self.relu(self.conv1(self.quant(x)))
            x = self.skip.add_relu(self.conv2(x), x)
            return self.dequant(self.fc(torch.flatten(self.pool(self.relu(self.conv3(x))), 1)))

    def drawn(n: int) -> tuple[Any, Any]:
        y, x = np.mgrid[0:20, 0:20]
        label, radius = rng.integers(0, 2, n), rng.uniform(4, 7, n)[:, None, None]
        cx, cy = rng.uniform(7, 13, (2, n, 1, 1))
        far = np.where(label[:, None, None] == 1, np.hypot(x - cx, y - cy), np.maximum(abs(x - cx), abs(y - cy)))
        pictures = (far < radius) + 0.2 * rng.normal(size=(n, 20, 20))
        return torch.from_numpy(pictures[:, None].astype(np.float32)), torch.from_numpy(label)

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(120):
        pictures, label = drawn(64)
        optimizer.zero_grad()
        F.cross_entropy(model(pictures), label).backward()
        optimizer.step()
    pictures, label = drawn(200)
    quantized = network_models.convert(model, pictures)
    with torch.no_grad():
        share = float((quantized(pictures).argmax(1) == label).float().mean())
    return counts(quantized, pictures[:3]), share


# Without PyTorch


def network(
    channels: int = 8, bias: float = 0.5, machine: Machine | None = None, scale: float = 0.1, weights: int = 127
) -> Network:
    """quantize, two convolutions, their sum, an average, a linear layer."""
    rng = np.random.default_rng(channels)

    def weight(*shape: int) -> QTensor:
        codes = rng.integers(-weights, weights + 1, shape)
        return QTensor(codes, rng.uniform(0.002, 0.01, shape[0]), np.zeros(shape[0], int), "qint8", axis=0)

    def conv(name: str, of: str, into: int, op: str) -> Step:
        where = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
        parameters = {"weight": weight(channels, into, 3, 3), "bias": normal(channels), "scale": scale, "zero_point": 9}
        return Step(name, op, (of,), parameters | where)

    def normal(n: int) -> np.ndarray[Any, Any]:
        return (bias * rng.normal(size=n)).astype(np.float32)

    last = {"weight": weight(5, channels), "bias": normal(5), "scale": 0.05, "zero_point": 120}
    return Network(
        [
            Step("quant", "quantize", ("x",), {"scale": 0.03, "zero_point": 128, "dtype": "quint8"}),
            conv("one", "quant", 3, "conv2d_relu"),
            conv("two", "one", channels, "conv2d"),
            Step("sum", "add", ("two", "one"), {"scale": 0.137, "zero_point": 70}),
            Step("swish", "hardswish", ("sum",), {"scale": 0.11, "zero_point": 3}),
            Step("pool", "adaptive_avg_pool2d", ("swish",), {"output_size": (1, 1)}),
            Step("flat", "flatten", ("pool",), {"start_dim": 1, "end_dim": -1}),
            Step("fc", "linear", ("flat",), last),
            Step("real", "dequantize", ("fc",), {}),
        ],
        machine=machine or Machine("fbgemm", "AVX2", 1),
    )


SHAPE = (1, 3, 9, 8)
MACHINES = [
    Machine("fbgemm", "AVX2", 1, vnni=False),
    Machine("onednn", "AVX2", 1, vnni=False),
    Machine("x86", "AVX512", 2),
    Machine("qnnpack", "AVX2", 1),
    Machine("fbgemm", "DEFAULT", 1, release="2.13"),
]
