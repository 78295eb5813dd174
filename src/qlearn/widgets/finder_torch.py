"""The running PyTorch's numbers for one question of the finder: by each engine, in a vector body and in a tail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

Said = list[tuple[str, int | float | None]]
"""Where it was computed, and the number; None where PyTorch refuses."""
BODY, TAIL = 64, 1  # elements
LARGEST = 127  # code and weight of which two products stay within 16 bits


def numbers(torch: Any, operator: str, values: dict[str, Any]) -> Said:
    """What the running PyTorch gives, wherever it may give another number.

    Args:
        torch: the module.
        operator: of ``qlearn.runtimes.known``.
        values: the operator's parameters and inputs, by their names.
    """
    return ASKED[operator](torch, values)


@contextmanager
def _engine(torch: Any, name: str) -> Iterator[None]:
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def _one(make: Callable[[], Any]) -> int | float | None:
    """The first element of a tensor: its code, or its number."""
    try:
        tensor = make()
    except RuntimeError:
        return None
    number: int | float = (tensor.int_repr() if tensor.is_quantized else tensor).flatten()[0].item()
    return number


def _engines(torch: Any, *wanted: str) -> list[str]:
    return [name for name in wanted if name in torch.backends.quantized.supported_engines]


def _codes(torch: Any, code: int, count: int, scale: float, zero_point: int, dtype: str) -> Any:
    kind = torch.uint8 if dtype == "quint8" else torch.int8
    return torch._make_per_tensor_quantized_tensor(torch.full((count,), code, dtype=kind), scale, zero_point)


def _elementwise(torch: Any, make: Callable[[int], Any]) -> Said:
    """Blocks of 64 and single elements; one kernel serves all engines but qnnpack."""
    found: Said = []
    capability = torch.backends.cpu.get_cpu_capability()
    if default := _engines(torch, "fbgemm", "x86"):
        with _engine(torch, default[0]):
            found += [(f"vector body, {capability}", _one(partial(make, BODY))), ("tail", _one(partial(make, TAIL)))]
    if _engines(torch, "qnnpack"):
        with _engine(torch, "qnnpack"):
            found.append(("qnnpack", _one(partial(make, BODY))))
    return found


def _of_two(name: str, torch: Any, v: dict[str, Any]) -> Said:
    def make(count: int) -> Any:
        a, b = (_codes(torch, v[f"q{i}"], count, v[f"s{i}"], v[f"z{i}"], v["dtype"]) for i in (1, 2))
        return getattr(torch.ops.quantized, name)(a, b, v["s"], v["z"])

    return _elementwise(torch, make)


def _of_scalar(name: str, torch: Any, v: dict[str, Any]) -> Said:
    def make(count: int) -> Any:
        return getattr(torch.ops.quantized, name)(_codes(torch, v["q"], count, v["s"], v["z"], v["dtype"]), v["c"])

    return _elementwise(torch, make)


def _activation(make: Callable[[Any, Any, dict[str, Any]], Any], torch: Any, v: dict[str, Any]) -> Said:
    return _elementwise(torch, lambda count: make(torch, _codes(torch, v["q"], count, v["s"], v["z"], v["dtype"]), v))


ACTIVATIONS: dict[str, Callable[[Any, Any, dict[str, Any]], Any]] = {
    "sigmoid": lambda torch, x, v: torch.ops.quantized.sigmoid(x, v["so"], v["zo"]),
    "tanh": lambda torch, x, v: torch.tanh(x),
    "hardswish": lambda torch, x, v: torch.ops.quantized.hardswish(x, v["so"], v["zo"]),
    "hardsigmoid": lambda torch, x, v: torch.nn.functional.hardsigmoid(x),
    "elu": lambda torch, x, v: torch.ops.quantized.elu(x, v["so"], v["zo"], v["alpha"]),
    "leaky_relu": lambda torch, x, v: torch.ops.quantized.leaky_relu(x, v["slope"], False, v["so"], v["zo"]),
    "hardtanh": lambda torch, x, v: torch.ops.quantized.clamp(x, v["min"], v["max"]),
}


def _quantize(torch: Any, v: dict[str, Any]) -> Said:
    x, dtype = torch.full((1, BODY), v["x"], dtype=torch.float32), getattr(torch, v["dtype"])
    scales, zeros = torch.tensor([v["s"]], dtype=torch.float64), torch.tensor([v["z"]])
    return [
        ("quantize_per_tensor", _one(lambda: torch.quantize_per_tensor(x, v["s"], v["z"], dtype))),
        ("quantize_per_channel", _one(lambda: torch.quantize_per_channel(x, scales, zeros, 0, dtype))),
    ]


def _dequantize(torch: Any, v: dict[str, Any]) -> Said:
    codes = _codes(torch, v["q"], BODY, v["s"], v["z"], v["dtype"])
    scales, zeros = torch.tensor([v["s"]], dtype=torch.float64), torch.tensor([v["z"]])
    channel = torch._make_per_channel_quantized_tensor(codes.int_repr()[None], scales, zeros, 0)
    return [("dequantize", _one(codes.dequantize)), ("dequantize, per channel", _one(channel.dequantize))]


def row_of(acc: int) -> tuple[list[int], list[int]]:
    """Codes and weights whose sum of products is this accumulator, no pair of products beyond 16 bits."""
    sign, rest = (-1 if acc < 0 else 1), abs(acc)
    whole, rest = divmod(rest, LARGEST * LARGEST)
    codes = [LARGEST] * (whole + 1) + [rest % LARGEST]
    weights = [sign * LARGEST] * whole + [sign * (rest // LARGEST), sign]
    return codes, weights


def _layer(conv: bool, torch: Any, v: dict[str, Any]) -> Said:
    """A layer of one output whose accumulator is the one asked for."""
    codes, weights = row_of(v["acc"])
    shape = (1, len(codes), 1, 1) if conv else (1, len(codes))
    x = torch._make_per_tensor_quantized_tensor(torch.tensor(codes, dtype=torch.uint8).reshape(shape), v["sx"], 0)
    whole = torch.tensor(weights, dtype=torch.int8).reshape(shape)
    scales = torch.tensor([v["sw"]], dtype=torch.float64)
    bias = torch.tensor([v["bias"]], dtype=torch.float32)
    ops = torch.ops.quantized

    def make() -> Any:
        if v["per_channel"]:
            weight = torch._make_per_channel_quantized_tensor(whole, scales, torch.zeros(1, dtype=torch.int64), 0)
        else:
            weight = torch._make_per_tensor_quantized_tensor(whole, v["sw"], 0)
        if conv:
            packed = ops.conv2d_prepack(weight, bias, [1, 1], [0, 0], [1, 1], 1)
            return (ops.conv2d_relu if v["relu"] else ops.conv2d)(x, packed, v["s"], v["z"])
        packed = ops.linear_prepack(weight, bias)
        return (ops.linear_relu if v["relu"] else ops.linear)(x, packed, v["s"], v["z"])

    found: Said = []
    for name in _engines(torch, "fbgemm", "x86", "onednn", "qnnpack"):
        with _engine(torch, name):
            found.append((name, _one(make)))
    return found


def _average(torch: Any, v: dict[str, Any]) -> Said:
    kind = torch.uint8 if v["dtype"] == "quint8" else torch.int8
    codes = torch.tensor(v["window"], dtype=kind).reshape(1, 1, v["kh"], v["kw"]).repeat(1, BODY, 1, 1)
    images: dict[str, Any] = {"contiguous": codes, "channels_last": codes.contiguous(memory_format=torch.channels_last)}
    kernel = (v["kh"], v["kw"])
    found: Said = []
    for engine in _engines(torch, "fbgemm", "qnnpack"):
        with _engine(torch, engine):
            for layout, image in images.items():
                x, where = torch._make_per_tensor_quantized_tensor(image, v["s"], v["z"]), f"{layout}, {engine}"
                averaged = partial(torch.nn.functional.avg_pool2d, x, kernel)
                adapted = partial(torch.nn.functional.adaptive_avg_pool2d, x, 1)
                found += [(f"avg_pool2d, {where}", _one(averaged)), (f"adaptive_avg_pool2d, {where}", _one(adapted))]
    return found


ASKED: dict[str, Callable[[Any, dict[str, Any]], Said]] = {
    "quantize": _quantize,
    "dequantize": _dequantize,
    **{name: partial(_of_two, name) for name in ("add", "add_relu", "mul", "mul_relu")},
    **{name: partial(_of_scalar, name) for name in ("add_scalar", "mul_scalar")},
    "requantize_linear": partial(_layer, False),
    "requantize_conv": partial(_layer, True),
    "avg_pool": _average,
    **{name: partial(_activation, make) for name, make in ACTIVATIONS.items()},
}
"""Operator -> how PyTorch is asked."""
