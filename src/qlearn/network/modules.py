"""The table of torch's modules: each entry takes a module and what its forward takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qlearn.codes.affine import from_torch
from qlearn.network.call import Call, NotThere, params, short_name, weights
from qlearn.network.functions import (
    adaptive_avg_pool2d,
    avg_pool2d,
    channel_shuffle,
    dropout,
    flatten,
    hardsigmoid,
    hardtanh,
    interpolate,
    leaky_relu,
    max_pool1d,
    max_pool2d,
    relu,
    relu6,
    sigmoid,
    tanh,
)

__all__ = ["MODULES"]

Entry = Callable[..., Any]


def _params(module: Any) -> dict[str, Any]:
    return params(module.scale, module.zero_point)


def _conv(op: str) -> Entry:
    def entry(module: Any, x: Any) -> Call:
        mode = getattr(module, "padding_mode", "zeros")
        if mode != "zeros" or isinstance(module.padding, str):
            raise NotThere(f"{type(module).__name__} with padding {module.padding!r}, mode {mode!r}")
        where = {name: tuple(getattr(module, name)) for name in ("stride", "padding", "dilation")}
        packed = weights(module.weight(), module.bias())
        return Call(op, (x,), {**packed, **where, "groups": int(module.groups), **_params(module)})

    return entry


def _linear(op: str) -> Entry:
    return lambda m, x: Call(op, (x,), {**weights(m.weight(), m.bias()), **_params(m)})


def _max_pool(function: Entry) -> Entry:
    return lambda m, x: function(x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)


def _avg_pool2d(m: Any, x: Any) -> Call:
    return avg_pool2d(x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override)


def _dropout(module: Any, x: Any) -> Any:
    return dropout(x, training=module.training)


def _upsample(module: Any, x: Any) -> Call:
    return interpolate(x, module.size, module.scale_factor, module.mode, module.align_corners)


MODULES: dict[str, Entry] = {
    "quantized.Quantize": lambda m, x: Call("quantize", (x,), {**_params(m), "dtype": short_name(m.dtype)}),
    "quantized.DeQuantize": lambda m, x: Call("dequantize", (x,)),
    **{f"quantized.Conv{n}d": _conv(f"conv{n}d") for n in (1, 2, 3)},
    **{f"quantized.ConvReLU{n}d": _conv(f"conv{n}d_relu") for n in (1, 2, 3)},
    "quantized.Linear": _linear("linear"),
    "quantized.LinearReLU": _linear("linear_relu"),
    "quantized.Dropout": lambda m, x: x,
    "nn.Dropout": _dropout,
    "nn.Dropout2d": _dropout,
    "nn.Identity": lambda m, x: x,
    "nn.ReLU": lambda m, x: relu(x, m.inplace),
    "nn.ReLU6": lambda m, x: relu6(x, m.inplace),
    "quantized.ReLU6": lambda m, x: relu6(x, m.inplace),
    "nn.Hardtanh": lambda m, x: hardtanh(x, m.min_val, m.max_val, m.inplace),
    "quantized.Hardswish": lambda m, x: Call("hardswish", (x,), _params(m)),
    "quantized.LeakyReLU": lambda m, x: Call("leaky_relu", (x,), {"negative_slope": m.negative_slope, **_params(m)}),
    "nn.LeakyReLU": lambda m, x: leaky_relu(x, m.negative_slope, m.inplace),
    "quantized.ELU": lambda m, x: Call("elu", (x,), {**_params(m), "alpha": float(m.alpha)}),
    "quantized.PReLU": lambda m, x: Call("prelu", (x,), {"weight": from_torch(m.weight), **_params(m)}),
    "quantized.Sigmoid": lambda m, x: Call("sigmoid", (x,), params(m.output_scale, m.output_zero_point)),
    "nn.Sigmoid": lambda m, x: sigmoid(x),
    "nn.Tanh": lambda m, x: tanh(x),
    "nn.Hardsigmoid": lambda m, x: hardsigmoid(x, m.inplace),
    "nn.MaxPool1d": _max_pool(max_pool1d),
    "nn.MaxPool2d": _max_pool(max_pool2d),
    "nn.AvgPool2d": _avg_pool2d,
    "nn.AdaptiveAvgPool2d": lambda m, x: adaptive_avg_pool2d(x, m.output_size),
    "nn.Flatten": lambda m, x: flatten(x, m.start_dim, m.end_dim),
    "nn.ChannelShuffle": lambda m, x: channel_shuffle(x, m.groups),
    "nn.Upsample": _upsample,
    "nn.UpsamplingNearest2d": _upsample,
    "nn.UpsamplingBilinear2d": _upsample,
}
"""A module's class -> entry(module, *what its forward takes)."""
