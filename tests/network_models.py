"""Converted models that the tests of networks look at, made in PyTorch's processes (oracle.ask)."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

BOOK = str(Path(__file__).parents[1] / "book")
SMALL: dict[str, dict[str, Any]] = {
    "resnet18": {"channels": 8, "blocks": (1, 1), "classes": 10},
    "resnet18, add_relu": {"channels": 8, "blocks": (1, 1), "classes": 10, "add_relu": True},
    "mobilenet_v2": {"stages": ((1, 8, 1, 1), (6, 16, 2, 2), (6, 24, 1, 1)), "first": 16, "last": 40, "classes": 10},
    "mobilenet_v2, relu6": {"stages": ((1, 8, 1, 1), (6, 8, 2, 2)), "first": 16, "last": 40, "relu6": True},
}


def converted(name: str, how: str, size: int, seed: int) -> tuple[Any, np.ndarray]:
    """A small network of book/models.py, converted by ``how``, and two images."""
    sys.path.insert(0, BOOK)
    import models

    images = models.images(2, size, seed)
    model = getattr(models, name.split(",")[0])(seed, size, **SMALL[name])
    return getattr(models, how)(model, images), images.numpy()


def compared(name: str, how: str, size: int, seed: int) -> Any:
    """Rows of the comparison, and whether what is returned is what PyTorch returns."""
    import torch

    from qlearn import Network

    model, images = converted(name, how, size, seed)
    net = Network.from_torch(model)
    with torch.no_grad():
        theirs = model(torch.from_numpy(images)).numpy()
    ours = net(images)
    return list(net.compare(model, images).rows), bool(np.array_equal(ours, theirs)), ours.strides == theirs.strides


def saved(name: str, how: str) -> Any:
    """The bytes of a saved network, its printed form, images, PyTorch's outputs, and the integers of each layer."""
    import torch

    from qlearn import Network, QTensor

    model, images = converted(name, how, 40, 1)
    net = Network.from_torch(model)
    with torch.no_grad():
        theirs = model(torch.from_numpy(images)).numpy()
    layers = {
        layer: value.int_repr() if isinstance(value, QTensor) else value
        for layer, value in net.run(images, keep=True).items()
    }
    with tempfile.TemporaryDirectory() as folder:
        net.save(Path(folder) / "net.npz")
        return (Path(folder) / "net.npz").read_bytes(), str(net), images, theirs, layers


# Operators and models of a few layers


def _tail(of: Callable[..., Any] | None = None, layer: Any = None, *, apart: bool = False) -> Any:
    """quantize, a convolution of 3 to 8 channels, a layer, what ``of`` does with both results, dequantize.

    ``apart``: ``of`` itself calls the layer.
    """
    import torch
    from torch import nn
    from torch.ao import quantization as tq

    class Tail(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)
            self.layer = nn.Identity() if layer is None else layer
            self.joined = torch.ao.nn.quantized.FloatFunctional()

        def forward(self, x: Any) -> Any:
            x = self.conv(self.quant(x))
            y = x if apart else self.layer(x)
            return self.dequant(y if of is None else of(self, x, y))

    return Tail()


def convert(model: Any, x: Any, qconfig: Any = None) -> Any:
    """Calibrated on x and converted in eager mode."""
    import torch
    from torch.ao import quantization as tq

    model.eval()
    model.qconfig = qconfig or tq.get_default_qconfig(torch.backends.quantized.engine)
    tq.prepare(model, inplace=True)
    model(x)
    return tq.convert(model, inplace=True)


def operators() -> dict[str, Callable[[], Any]]:
    """Small models by the operator that they are about; those that overwrite their input use it again."""
    import torch
    from torch import nn
    from torch.ao import quantization as tq
    from torch.nn import functional as F

    def join(self: Any, x: Any, y: Any) -> Any:
        return self.joined.add(x, y)

    def cat(self: Any, x: Any, y: Any) -> Any:
        return self.joined.cat([x, y], 1)

    def prelu() -> Any:
        """Its weight has the dtype of what it is applied to."""
        layer, weight = nn.PReLU(8), tq.MinMaxObserver.with_args(dtype=torch.quint8)
        layer.qconfig = tq.QConfig(activation=tq.HistogramObserver, weight=weight)
        return layer

    def shuffle(self: Any, x: Any, y: Any) -> Any:
        n, c, h, w = y.size()
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)

    def turned(self: Any, x: Any, y: Any) -> Any:
        return torch.cat(y.chunk(2, 1)[::-1], 1)

    def split(self: Any, x: Any, y: Any) -> Any:
        left, right = y.split(4, dim=1)
        return self.joined.mul(left, right)

    return {
        "ReLU": lambda: _tail(layer=nn.ReLU()),
        "ReLU in place": lambda: _tail(join, nn.ReLU(inplace=True)),
        "ReLU6": lambda: _tail(layer=nn.ReLU6()),
        "ReLU6 in place": lambda: _tail(join, nn.ReLU6(inplace=True)),
        "Hardtanh in place": lambda: _tail(join, nn.Hardtanh(inplace=True)),
        "Hardswish": lambda: _tail(join, nn.Hardswish()),
        "Hardsigmoid": lambda: _tail(layer=nn.Hardsigmoid()),
        "ReLU in place, by position": lambda: _tail(lambda self, x, y: self.joined.add(F.relu(y, True), x)),
        "relu_": lambda: _tail(lambda self, x, y: self.joined.add(x.relu_(), y)),
        "LeakyReLU, unconverted": lambda: _tail(lambda self, x, y: self.joined.add(F.leaky_relu(y, 0.2), x)),
        "PReLU": lambda: _tail(layer=prelu()),
        "Sigmoid": lambda: _tail(join, nn.Sigmoid()),
        "Tanh": lambda: _tail(join, nn.Tanh()),
        "ELU": lambda: _tail(join, nn.ELU(0.7)),
        "LeakyReLU": lambda: _tail(layer=nn.LeakyReLU(0.1)),
        "Dropout": lambda: _tail(layer=nn.Dropout()),
        "MaxPool2d": lambda: _tail(layer=nn.MaxPool2d(3, 2, 1)),
        "AvgPool2d": lambda: _tail(layer=nn.AvgPool2d(2)),
        "AdaptiveAvgPool2d": lambda: _tail(layer=nn.AdaptiveAvgPool2d((3, 2))),
        "Upsample": lambda: _tail(layer=nn.Upsample(scale_factor=2)),
        "Upsample, bilinear": lambda: _tail(layer=nn.Upsample(size=(9, 13), mode="bilinear")),
        "Flatten": lambda: _tail(layer=nn.Flatten()),
        "ChannelShuffle": lambda: _tail(layer=nn.ChannelShuffle(2)),
        "squeeze and excitation": lambda: _tail(_excited, nn.Hardsigmoid()),
        "mean": lambda: _tail(lambda self, x, y: y.mean([2, 3])),
        "cat": lambda: _tail(cat, nn.MaxPool2d(3, 1, 1)),
        "shuffle by hand": lambda: _tail(shuffle),
        "chunk": lambda: _tail(turned),
        "split and mul": lambda: _tail(split),
        "scalars": lambda: _tail(lambda self, x, y: self.joined.add_scalar(self.joined.mul_scalar(y, -0.5), 0.3)),
        "permute": lambda: _tail(lambda self, x, y: y.permute(0, 2, 3, 1).reshape(y.shape[0], -1)),
        "squeeze": lambda: _tail(lambda self, x, y: y.mean([2, 3], keepdim=True).squeeze(-1).unsqueeze(0)),
        "slices": lambda: _tail(lambda self, x, y: y[:, 1:7:2, ..., 3]),
        "functions": lambda: _tail(lambda self, x, y: F.relu(F.max_pool2d(F.relu6(y), 2)).clamp(0.1, 2.0)),
        "interpolate": lambda: _tail(lambda self, x, y: F.interpolate(y, size=x.shape[2:], mode="nearest")),
        "Conv1d": lambda: _tail(lambda self, x, y: self.layer(x.flatten(2)), nn.Conv1d(8, 5, 3), apart=True),
        "Conv3d": lambda: _tail(lambda self, x, y: self.layer(x.unsqueeze(2)), nn.Conv3d(8, 4, (1, 3, 3)), apart=True),
        "Linear": lambda: _tail(layer=nn.Linear(10, 7)),
        "twice": lambda: _tail(lambda self, x, y: self.joined.add(self.layer(y), x), nn.ReLU()),
        "dict": _several,
    }


def _excited(self: Any, x: Any, y: Any) -> Any:
    """x times the hard sigmoid of each channel's average."""
    return self.joined.mul(self.layer(x.mean([2, 3], keepdim=True)), x)


def _several() -> Any:
    """A model that returns a dict of a quantized tensor, a tuple and real numbers."""
    from torch import nn
    from torch.ao import quantization as tq

    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x: Any) -> Any:
            q = self.quant(x)
            y = self.conv(q)
            real = self.dequant(y)
            moved = real.permute(0, 2, 3, 1).reshape(real.shape[0], -1).chunk(2, 1)[1]
            return {"codes": y, "both": (real, self.dequant(q)), "moved": moved[:, ::3]}

    return Several()


def compare_operators(names: list[str]) -> dict[str, Any]:
    """By name: elements compared, how many differ, notes; or the message of a refusal."""
    import torch

    from qlearn import Network

    torch.manual_seed(1)
    x = torch.randn(2, 3, 11, 10)
    found: dict[str, Any] = {}
    for name in names:
        try:
            model = convert(operators()[name](), x)
            with torch.no_grad():
                model(x)
        except RuntimeError as error:
            found[name] = f"PyTorch: {error}".splitlines()[0]
            continue
        try:
            net = Network.from_torch(model)
        except NotImplementedError as error:
            found[name] = str(error)
            continue
        comparison = net.compare(model, x.numpy())
        assert len(comparison.rows) >= 3
        found[name] = comparison.compared, comparison.differing, [row.note for row in comparison.rows if row.note]
    return found


def drawn_chains(seed: int, many: int) -> Iterator[tuple[str, Any, Any]]:
    """Random chains of convolutions and layers, each perhaps joined with its input: in words, the model, x."""
    import torch
    from torch import nn
    from torch.ao import quantization as tq

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    keeping: list[Callable[[], Any]] = [
        *(nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.ELU, nn.LeakyReLU, nn.Dropout),
        *(lambda: nn.ReLU(inplace=True), lambda: nn.ReLU6(inplace=True), lambda: nn.Hardtanh(inplace=True)),
        *(lambda: nn.MaxPool2d(3, 1, 1), lambda: nn.AvgPool2d(3, 1, 1)),
    ]
    resizing: list[Callable[[], Any]] = [
        *(lambda: nn.MaxPool2d(2), lambda: nn.AvgPool2d(2)),
        *(lambda: nn.Upsample(scale_factor=1.5), lambda: nn.Upsample(size=(9, 14), mode="bilinear")),
    ]

    class Part(nn.Module):
        def __init__(self, into: int, out_of: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(into, out_of, int(rng.choice([1, 3])), padding=1)
            layers, joins = (
                (keeping, ("", "add", "add_relu", "mul", "cat")) if rng.random() < 0.8 else (resizing, ("",))
            )
            self.layer, self.join = layers[int(rng.integers(len(layers)))](), str(rng.choice(joins))
            self.joined = torch.ao.nn.quantized.FloatFunctional()

        def forward(self, x: Any) -> Any:
            x = self.conv(x)
            y = self.layer(x)
            if self.join == "cat":
                return self.joined.cat([x, y], 1)
            return getattr(self.joined, self.join)(x, y) if self.join else y

    for _ in range(many):
        channels = int(rng.integers(1, 10))
        parts: list[Any] = [tq.QuantStub()]
        x = torch.randn(int(rng.integers(1, 3)), channels, int(rng.integers(8, 20)), int(rng.integers(8, 20)))
        for _ in range(int(rng.integers(2, 5))):
            parts.append(Part(channels, out_of := int(rng.integers(1, 30))))
            channels = out_of * (2 if parts[-1].join == "cat" else 1)
        if rng.random() < 0.4:
            x = x.contiguous(memory_format=torch.channels_last)
        words = f"{[(type(part.layer).__name__, part.join) for part in parts[1:]]}, {tuple(x.shape)}, {x.stride()}"
        yield words, convert(nn.Sequential(*parts, tq.DeQuantStub()), x), x


def random_chains(seed: int, many: int) -> list[tuple[str, int, int, list[str]]]:
    """Of each drawn chain: in words, then as above."""
    from qlearn import Network

    found = []
    for words, model, x in drawn_chains(seed, many):
        comparison = Network.from_torch(model).compare(model, x.numpy())
        notes = [row.note for row in comparison.rows if row.note]
        found.append((words, comparison.compared, comparison.differing, notes))
    return found


def several_outputs() -> tuple[Any, Any]:
    """What the network returns and what the model does, as arrays."""
    import torch

    from qlearn import Network

    torch.manual_seed(1)
    x = torch.randn(2, 3, 11, 10)
    model = convert(_several(), x)
    with torch.no_grad():
        theirs = model(x)
    ours = Network.from_torch(model)(x.numpy())
    assert list(ours) == list(theirs) == ["codes", "both", "moved"] and isinstance(ours["both"], tuple)
    return (
        (ours["codes"].int_repr(), *ours["both"], ours["moved"]),
        (theirs["codes"].int_repr().numpy(), *(part.numpy() for part in (*theirs["both"], theirs["moved"]))),
    )


def by_torch_fx() -> tuple[list[tuple[int, int, list[str]]], list[str]]:
    """A chunk, which torch.fx leaves in floating point; functions, whose weights it packs. Operators after that."""
    import torch
    from torch import nn
    from torch.ao import quantization as tq
    from torch.ao.quantization import quantize_fx as fx
    from torch.nn import functional as F

    from qlearn import Network

    class Functions(nn.Module):
        """Weights in attributes, which torch.fx packs."""

        def __init__(self) -> None:
            super().__init__()
            self.w, self.v = nn.Parameter(torch.randn(6, 3, 3, 3)), nn.Parameter(torch.randn(4, 8))
            self.b = nn.Parameter(torch.randn(6))

        def forward(self, x: Any) -> Any:
            x = F.relu(F.conv2d(x, self.w, self.b, (2, 1), (1, 1), (1, 1), 1))
            return F.linear(x, self.v)

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = nn.Conv2d(3, 8, 3), nn.Conv2d(4, 5, 3)

        def forward(self, x: Any) -> Any:
            return self.after(self.before(x).chunk(2, 1)[1])

    torch.manual_seed(1)
    x = torch.randn(2, 3, 11, 8)
    found, operators = [], []
    for model in (Halves(), Functions()):
        prepared = fx.prepare_fx(model.eval(), tq.get_default_qconfig_mapping(torch.backends.quantized.engine), (x,))
        prepared(x)
        converted = fx.convert_fx(prepared)
        net = Network.from_torch(converted)
        operators += [step.op for step in net.steps]
        comparison = net.compare(converted, x.numpy())
        notes = [row.note for row in comparison.rows if row.note]
        found.append((comparison.compared, comparison.differing, notes))
    return found, operators


# What is refused


def refusals() -> dict[str, str]:
    """What from_torch says to models that it does not take."""
    import torch
    from torch import nn
    from torch.ao import quantization as tq
    from torch.ao.quantization import quantize_fx as fx
    from torch.nn import functional as F

    from qlearn import Network

    x = torch.randn(2, 3, 8, 8)

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x: Any) -> Any:
            return self.dequant(self.conv(self.quant(x)))

    class Late(nn.Module):
        """What only the converted model does: PyTorch itself would not take it."""

        def __init__(self, of: Any) -> None:
            super().__init__()
            self.quant, self.dequant, self.of, self.on = tq.QuantStub(), tq.DeQuantStub(), of, False
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x: Any) -> Any:
            x = self.conv(self.quant(x))
            return self.dequant(self.of(x) if self.on else x)

    class Decides(Plain):
        def forward(self, x: Any) -> Any:
            x = super().forward(x)
            return x if x.sum() > 0 else -x

    class Softmax(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x: Any) -> Any:
            return torch.softmax(self.conv(x), 1)

    def late(of: Any) -> Any:
        model = convert(Late(of), x)
        model.on = True
        return model

    def in_training(model: Any) -> Any:
        model.train()
        model.qconfig = tq.get_default_qat_qconfig("fbgemm")
        return tq.prepare_qat(model)

    def prepared(model: Any) -> Any:
        model.eval()
        model.qconfig = tq.get_default_qconfig("fbgemm")
        return tq.prepare(model)

    def random(model: Any) -> Any:
        model.layer = nn.Dropout()
        return model.train()

    mapping, example = tq.get_default_qconfig_mapping("fbgemm"), (x,)
    per_tensor = tq.default_qconfig
    wrong: dict[str, Any] = {
        "no module": np.ones(3),
        "float": Plain(),
        "in training": in_training(Plain()),
        "prepared": prepared(Plain()),
        "prepared by fx": fx.prepare_fx(Softmax().eval(), mapping, example),
        "scripted": torch.jit.script(convert(nn.Sequential(tq.QuantStub(), nn.Conv2d(3, 8, 3), tq.DeQuantStub()), x)),
        "traced": torch.jit.trace(convert(Plain(), x), x),
        "decides": convert(Decides(), x),
        "random": random(convert(_tail(), x)),
        "dynamic": tq.quantize_dynamic(nn.Sequential(nn.Linear(3, 4)), {nn.Linear}),
        "BatchNorm2d": convert(_tail(layer=nn.BatchNorm2d(8)), x),
        "GroupNorm": convert(_tail(layer=nn.GroupNorm(2, 8)), x, per_tensor),
        "ConvTranspose2d": convert(_tail(layer=nn.ConvTranspose2d(8, 8, 3)), x, per_tensor),
        "softmax by fx": fx.convert_fx(fx.prepare_fx(Softmax().eval(), mapping, example)),
        "plus": late(lambda x: x + x),
        "pad": late(lambda x: F.pad(x, (1, 1))),
        "bicubic": late(lambda x: F.interpolate(x, scale_factor=2, mode="bicubic")),
        "topk": late(lambda x: x.topk(2)[0]),
        "views": late(_overwritten),
        "real numbers": convert(nn.Sequential(tq.QuantStub(), nn.Conv2d(3, 8, 3), tq.DeQuantStub(), nn.ReLU()), x),
    }
    found = {}
    for name, model in wrong.items():
        try:
            found[name] = repr(Network.from_torch(model))
        except (TypeError, NotImplementedError, ValueError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    model = convert(Plain(), x)
    try:
        found["another model"] = repr(Network.from_torch(model).compare(convert(_tail(), x), x.numpy()))
    except ValueError as error:
        found["another model"] = f"ValueError: {error}"
    return found


def _overwritten(x: Any) -> Any:
    """A ReLU in place on a part of x, and x again."""
    import torch
    from torch.nn import functional as F

    F.relu(x[:, :4], inplace=True)
    return torch.flatten(x, 1)
