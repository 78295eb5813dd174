"""ResNet-18 and MobileNetV2 at a quarter of their width, drawn in integers: the same on every CPU (Chapters 10 and 11).

Weights, scales and the image come from a seed by exact arithmetic, and each layer's scale and zero point from the range
of its own results, over 7 bits as PyTorch's default for fbgemm has it. So a recording made here holds elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.layers import window_sums, windows
from qlearn.machine import Machine
from qlearn.network import Network, Step

MACHINE = Machine("fbgemm", "AVX2", 1)
SIDE, CLASSES = 96, 100
STAGES = ((1, 8, 1, 1), (6, 8, 2, 2), (6, 8, 3, 2), (6, 16, 4, 2), (6, 24, 3, 1), (6, 40, 3, 2), (6, 80, 1, 1))
"""MobileNetV2's rows of (widen, channels, blocks, stride), the channels a quarter and multiples of 8."""


def image() -> QTensor:
    """Three channels of discs and boxes on a slope, over 7 bits, (1, 3, 96, 96)."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIDE, :SIDE]
    codes = rng.integers(-3, 4, (3, SIDE, SIDE)) + 64 + (y - x) * rng.integers(-2, 3, (3, 1, 1)) // 6
    for k in range(12):
        cy, cx, ry, rx = *rng.integers(0, SIDE, 2), *rng.integers(6, 30, 2)
        if k % 2:
            inside = ((y - cy) * rx) ** 2 + ((x - cx) * ry) ** 2 < (rx * ry) ** 2
        else:
            inside = (abs(y - cy) < ry) & (abs(x - cx) < rx)
        codes = np.where(inside, rng.integers(10, 118, (3, 1, 1)) + codes % 5, codes)
    return QTensor(np.clip(codes, 0, 127).astype(np.uint8)[None], 1 / 32, 60, "quint8")


class Drawing:
    """A network in the making: each layer is computed once, and its scale chosen.

    Args:
        seed: of the weights.
        twos: scales are powers of two, as hardware likes them.
    """

    def __init__(self, seed: int, twos: bool) -> None:
        self.rng, self.twos = np.random.default_rng(seed), twos
        self.steps: list[Step] = []
        self.values: dict[str, Any] = {"x": image()}

    def conv(
        self, name: str, source: str, out_of: int, kernel: int, stride: int = 1, groups: int = 1, *, relu: bool = True
    ) -> str:
        """A convolution with batch norm folded in; a depthwise one if groups are the channels."""
        x = self.values[source]
        weight, bias = self.weights((out_of, x.shape[1] // groups, kernel, kernel), x)
        where = {"stride": (stride,) * 2, "padding": (kernel // 2,) * 2, "dilation": (1, 1), "groups": groups}
        acc = window_sums.accumulate(x, weight, windows.geometry(2, x.shape, weight.shape, *where.values()))
        real = acc * (x.q_scale() * weight.q_per_channel_scales()) + bias  # (1, H, W, M)
        settings = {"weight": weight, "bias": bias, **where, **self.parameters(np.maximum(real, 0) if relu else real)}
        return self.step(name, "conv2d_relu" if relu else "conv2d", (source,), settings)

    def linear(self, name: str, source: str, out_of: int) -> str:
        """A linear layer."""
        x = self.values[source]
        weight, bias = self.weights((out_of, x.shape[1]), x)
        acc = (x.int_repr().astype(np.int64) - x.q_zero_point()) @ weight.int_repr().T.astype(np.int64)
        real = acc * (x.q_scale() * weight.q_per_channel_scales()) + bias
        return self.step(name, "linear", (source,), {"weight": weight, "bias": bias, **self.parameters(real)})

    def add(self, name: str, a: str, b: str) -> str:
        """A skip connection."""
        real = sum(self.values[n].dequantize().astype(np.float64) for n in (a, b))
        return self.step(name, "add", (a, b), self.parameters(np.asarray(real)))

    def step(self, name: str, op: str, inputs: tuple[str, ...], settings: Mapping[str, Any]) -> str:
        """Any step; its name."""
        self.steps.append(Step(name, op, inputs, settings))
        self.values[name] = self.steps[-1].compute(self.values, MACHINE)
        return name

    def weights(self, shape: tuple[int, ...], x: QTensor) -> tuple[QTensor, npt.NDArray[np.float32]]:
        """Codes distributed much like normal numbers; scales and biases of all sizes."""
        codes = self.rng.integers(-42, 43, (3, *shape)).sum(0).astype(np.int8)
        fan = int(np.prod(shape[1:]))
        scales = self.rng.integers(64, 128, shape[0]) / 64 / 2.0 ** (6 + fan.bit_length() // 2)
        scales = self.scale(scales)
        bias = x.q_scale() * scales * self.rng.integers(-60_000, 60_000, shape[0]) * fan.bit_length() / 128
        return QTensor(codes, scales, np.zeros(shape[0], int), "qint8", 0), bias.astype(np.float32)

    def parameters(self, real: npt.NDArray[np.float64]) -> dict[str, Any]:
        """Scale and zero point for numbers of this range, over the codes 0 to 127."""
        low, high = min(0.0, float(real.min())), max(0.0, float(real.max()))
        scale = self.scale(np.float64((high - low) / 127))
        return {"scale": float(scale), "zero_point": int(np.rint(-low / scale))}

    def scale(self, s: Any) -> Any:
        """A scale as PyTorch has it, a float32; the nearest power of two above, where they must be."""
        return 2.0 ** np.ceil(np.log2(s)) if self.twos else np.float64(np.float32(s))

    def network(self) -> Network:
        """What has been drawn."""
        return Network(self.steps, machine=MACHINE)


def resnet18(twos: bool = True) -> Network:
    """Of 16, 32, 64 and 128 channels."""
    d = Drawing(18, twos)
    x = d.conv("conv1", "x", 16, 7, 2)
    pool = {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 1, "ceil_mode": False}
    x = d.step("maxpool", "max_pool2d", (x,), pool)
    for stage in range(4):
        for block in range(2):
            at, out_of, stride = f"layers.{stage}.{block}", 16 * 2**stage, 1 + (stage > 0 and block == 0)
            y = d.conv(f"{at}.conv1", x, out_of, 3, stride)
            y = d.conv(f"{at}.conv2", y, out_of, 3, relu=False)
            x = d.conv(f"{at}.downsample", x, out_of, 1, stride, relu=False) if stride > 1 else x
            x = d.step(f"{at}.relu2", "relu", (d.add(f"{at}.skip", y, x),), {})
    x = d.step("avgpool", "adaptive_avg_pool2d", (x,), {"output_size": 1})
    x = d.step("flatten", "flatten", (x,), {"start_dim": 1, "end_dim": -1})
    d.linear("fc", x, CLASSES)
    return d.network()


def mobilenet_v2(twos: bool = False) -> Network:
    """Of 8 to 80 channels, and 320 at the end."""
    d = Drawing(2, twos)
    x, number = d.conv("features.0", "x", 8, 3, 2), 1
    for widen, out_of, blocks, stride in STAGES:
        for block in range(blocks):
            at, into, source = f"features.{number}", d.values[x].shape[1], x
            step = stride if block == 0 else 1
            y = x if widen == 1 else d.conv(f"{at}.wide", x, into * widen, 1)
            y = d.conv(f"{at}.depthwise", y, into * widen, 3, step, into * widen)
            x = d.conv(f"{at}.narrow", y, out_of, 1, relu=False)
            x = d.add(f"{at}.skip", source, x) if step == 1 and into == out_of else x
            number += 1
    x = d.conv(f"features.{number}", x, 320, 1)
    x = d.step("mean", "mean", (x,), {"dim": (2, 3), "keepdim": False})
    d.linear("classifier", x, CLASSES)
    return d.network()
