"""The networks of Chapters 10 and 11: ResNet-18 and MobileNetV2, with weights and images drawn from a seed.

No download. The weights are random, but what flows through the networks has the statistics of a trained one: their
batch norms have seen images. ``quantize`` calibrates and converts in eager mode, ``quantize_fx`` with torch.fx; both
for the engine that torch.backends.quantized.engine names at that moment.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.ao import quantization as tq
from torch.ao.nn.quantized import FloatFunctional
from torch.ao.quantization import quantize_fx as fx

__all__ = ["MobileNetV2", "ResNet", "images", "mobilenet_v2", "quantize", "quantize_fx", "resnet18"]

Net = TypeVar("Net", bound=nn.Module)


def images(n: int, size: int = 224, seed: int = 0) -> torch.Tensor:
    """n pictures of shapes on textures, float32 of shape (n, 3, size, size), channels of mean 0 and deviation 1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size  # (size, size), 0 to 1
    pictures = np.empty((n, 3, size, size))
    for picture in pictures:
        light, way = rng.normal(size=(3, 1, 1)), rng.uniform(0, 2 * np.pi)
        picture[...] = light + rng.normal(size=(3, 1, 1)) * (np.cos(way) * x + np.sin(way) * y)  # a slope of light
        for _ in range(3):  # waves: cloth, water, brick
            u, v, start = rng.uniform(-40, 40), rng.uniform(-40, 40), rng.uniform(0, 2 * np.pi)
            picture += 0.4 * rng.normal(size=(3, 1, 1)) * np.sin(u * x + v * y + start)
        for _ in range(6):  # discs and boxes, one before the other
            cx, cy, rx, ry = rng.uniform([0, 0, 0.05, 0.05], [1, 1, 0.4, 0.4])
            inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 if rng.random() < 0.5 else None
            if inside is None:
                inside = np.maximum(np.abs(x - cx) / rx, np.abs(y - cy) / ry)
            cover = 1 / (1 + np.exp(np.clip(30 * (inside - 1), -50, 50)))  # 1 within, 0 outside
            picture += cover * (1.5 * rng.normal(size=(3, 1, 1)) - picture)
        picture += 0.05 * rng.normal(size=picture.shape)  # grain
    pictures -= pictures.mean(axis=(2, 3), keepdims=True)
    pictures /= pictures.std(axis=(2, 3), keepdims=True)
    return torch.from_numpy(pictures.astype(np.float32))


class ResidualBlock(nn.Module):
    """relu(conv(relu(conv(x))) + x), a batch norm after each convolution; x passes a 1x1 convolution if it must."""

    def __init__(self, into: int, out_of: int, stride: int, *, add_relu: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out_of, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_of)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_of, out_of, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_of)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or into != out_of:
            self.downsample = nn.Sequential(nn.Conv2d(into, out_of, 1, stride, bias=False), nn.BatchNorm2d(out_of))
        self.skip = FloatFunctional()
        self.relu2 = None if add_relu else nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, into, H, W) -> (N, out_of, H / stride, W / stride)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.downsample is not None:
            x = self.downsample(x)
        return self.skip.add_relu(y, x) if self.relu2 is None else self.relu2(self.skip.add(y, x))

    def fuse(self) -> None:
        """Put batch norms and ReLUs into the convolutions before them."""
        names = [["conv1", "bn1", "relu1"], ["conv2", "bn2"]]
        tq.fuse_modules(self, names, inplace=True)
        if self.downsample is not None:
            tq.fuse_modules(self.downsample, ["0", "1"], inplace=True)


class ResNet(nn.Module):
    """He, Zhang, Ren and Sun's residual network of two-layer blocks: with 64 channels and 2 blocks a stage, ResNet-18.

    add_relu sums with FloatFunctional.add_relu; else a sum is a step and its ReLU another.
    """

    def __init__(
        self, channels: int = 64, blocks: Sequence[int] = (2, 2, 2, 2), classes: int = 1000, *, add_relu: bool = False
    ) -> None:
        super().__init__()
        self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
        self.conv1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        stages: list[nn.Module] = []
        into = channels
        for i, length in enumerate(blocks):
            out_of = channels * 2**i
            strides = [1 if i == 0 else 2] + [1] * (length - 1)
            stage = []
            for stride in strides:
                stage.append(ResidualBlock(into, out_of, stride, add_relu=add_relu))
                into = out_of
            stages.append(nn.Sequential(*stage))
        self.layers = nn.Sequential(*stages)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(into, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.quant(x)))))
        x = torch.flatten(self.avgpool(self.layers(x)), 1)
        return self.dequant(self.fc(x))

    def fuse(self) -> None:
        """Put batch norms and ReLUs into the convolutions before them."""
        tq.fuse_modules(self, ["conv1", "bn1", "relu"], inplace=True)
        for block in self.modules():
            if isinstance(block, ResidualBlock):
                block.fuse()


class ConvNormActivation(nn.Sequential):
    """A convolution, a batch norm, a ReLU or ReLU6."""

    def __init__(self, into: int, out_of: int, kernel: int, stride: int, groups: int, *, relu6: bool) -> None:
        super().__init__(
            nn.Conv2d(into, out_of, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_of),
            nn.ReLU6() if relu6 else nn.ReLU(),
        )


class InvertedResidual(nn.Module):
    """Widen (1x1), convolve depthwise (3x3), narrow (1x1, no ReLU); plus x where the shape stays."""

    def __init__(self, into: int, out_of: int, stride: int, widen: int, *, relu6: bool) -> None:
        super().__init__()
        wide = into * widen
        layers: list[nn.Module] = [] if widen == 1 else [ConvNormActivation(into, wide, 1, 1, 1, relu6=relu6)]
        layers.append(ConvNormActivation(wide, wide, 3, stride, wide, relu6=relu6))
        layers += [nn.Conv2d(wide, out_of, 1, bias=False), nn.BatchNorm2d(out_of)]
        self.conv = nn.Sequential(*layers)
        self.skip = FloatFunctional() if stride == 1 and into == out_of else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, into, H, W) -> (N, out_of, H / stride, W / stride)."""
        return self.conv(x) if self.skip is None else self.skip.add(x, self.conv(x))


class MobileNetV2(nn.Module):
    """Sandler, Howard, Zhu, Zhmoginov and Chen's network; ``stages`` are rows of (widen, channels, blocks, stride)."""

    STAGES = (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )

    def __init__(
        self,
        stages: Sequence[tuple[int, int, int, int]] = STAGES,
        first: int = 32,
        last: int = 1280,
        classes: int = 1000,
        *,
        relu6: bool = False,
    ) -> None:
        super().__init__()
        self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
        features: list[nn.Module] = [ConvNormActivation(3, first, 3, 2, 1, relu6=relu6)]
        into = first
        for widen, out_of, blocks, stride in stages:
            for i in range(blocks):
                features.append(InvertedResidual(into, out_of, stride if i == 0 else 1, widen, relu6=relu6))
                into = out_of
        features.append(ConvNormActivation(into, last, 1, 1, 1, relu6=relu6))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, classes)."""
        x = self.features(self.quant(x))
        x = x.mean([2, 3])
        return self.dequant(self.classifier(x))

    def fuse(self) -> None:
        """Put batch norms and ReLUs into the convolutions before them; a ReLU6 stays a step of its own."""
        for module in self.modules():
            if isinstance(module, ConvNormActivation):
                names = ["0", "1", "2"] if isinstance(module[2], nn.ReLU) else ["0", "1"]
                tq.fuse_modules(module, names, inplace=True)
            elif isinstance(module, InvertedResidual):
                n = len(module.conv)
                tq.fuse_modules(module.conv, [str(n - 2), str(n - 1)], inplace=True)


def resnet18(seed: int = 0, size: int = 224, **changes: Any) -> ResNet:
    """ResNet-18 with random weights, in eval mode; ``changes`` to ResNet make a smaller one."""
    torch.manual_seed(seed)
    return _settled(ResNet(**changes), seed, size)


def mobilenet_v2(seed: int = 0, size: int = 224, **changes: Any) -> MobileNetV2:
    """MobileNetV2 with random weights, in eval mode; ``changes`` to MobileNetV2 make a smaller one."""
    torch.manual_seed(seed)
    return _settled(MobileNetV2(**changes), seed, size)


def _settled(model: Net, seed: int, size: int) -> Net:
    """He's weights; batch norms with factors about 1, offsets about 0, and the statistics of eight images."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            module.momentum = None  # the statistics are the mean over all that is seen
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, module.in_features**-0.5)
            nn.init.normal_(module.bias, 0, 0.1)
    model.train()
    with torch.no_grad():
        model(images(8, size, seed + 1000))
    return model.eval()


def quantize(model: ResNet | MobileNetV2, calibration: torch.Tensor, qconfig: tq.QConfig | None = None) -> nn.Module:
    """The model in integers: fused, calibrated on images, converted in eager mode, for the engine that is set now.

    qconfig: how to choose scales and zero points; None is PyTorch's default for the engine.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what PyTorch is going to remove, and of oneDNN without VNNI
        model = copy.deepcopy(model).eval()
        model.fuse()
        model.qconfig = qconfig or tq.get_default_qconfig(torch.backends.quantized.engine)
        tq.prepare(model, inplace=True)
        _show(model, [calibration])
        return tq.convert(model, inplace=True)


def quantize_fx(model: ResNet | MobileNetV2, calibration: torch.Tensor) -> torch.fx.GraphModule:
    """``quantize`` with torch.fx: prepare_fx and convert_fx, which find sums and fusions themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = copy.deepcopy(model).eval()
        model.quant = model.dequant = nn.Identity()  # it places its own
        mapping = tq.get_default_qconfig_mapping(torch.backends.quantized.engine)
        prepared = fx.prepare_fx(model, mapping, (calibration[:1],))
        _show(prepared, [calibration])
        return fx.convert_fx(prepared)


def _show(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    with torch.no_grad():
        for batch in batches:
            model(batch)
