"""The activations' lines of ``operators.OPERATORS``: one quantized tensor anywhere in memory, and a few numbers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import drawing
import qlearn
from drawing import Answer, Case, Operator, answer
from qlearn import Machine
from qlearn.codes.affine import DTYPES

Generator = np.random.Generator
Numbers = Callable[[Generator, str, float], tuple[Any, ...]]  # rng, dtype, scale of x -> arguments
Scale = Callable[[Generator], float]


def any_scale(rng: Generator) -> float:
    """A scale of x."""
    return drawing.scales(rng, 1)[0]


def draw(
    rng: Generator,
    numbers: Numbers,
    scale_of: Scale = any_scale,
    *,
    dtype: str | None = None,
    n: int = 0,
    layout: str = "",
) -> Case:
    """A tensor, its scale by scale_of(rng), and what numbers(rng, dtype, scale) draws."""
    dtype = dtype or str(rng.choice(np.array(["quint8", "qint8", "qint32"]), p=[0.45, 0.45, 0.1]))
    place = drawing.places(rng, n or drawing.size(rng), layout or str(rng.choice(drawing.LAYOUTS)))[0]
    scale = scale_of(rng)
    return Case((drawing.operand(rng, place, dtype, scale),), numbers(rng, dtype, scale))


def nothing(rng: Generator, dtype: str, scale: float) -> tuple[Any, ...]:
    """No arguments."""
    return ()


def bounds(rng: Generator, dtype: str, scale: float) -> tuple[Any, ...]:
    """Two real numbers, most of them near a tie between codes, as a rule in order; now and then only one, or infinity.

    The engine qnnpack refuses one alone.
    """
    near = (rng.integers(-300, 301, 2) + rng.choice([0, 0.5, 0.5, rng.random()], 2)) * scale
    found: list[Any] = near.tolist() if rng.random() < 0.05 else sorted(near.tolist())
    if rng.random() < 0.1:
        found[int(rng.integers(2))] = rng.choice(np.array([None, np.inf, -np.inf], object))
    return tuple(found)


def two_bounds(rng: Generator, dtype: str, scale: float) -> tuple[Any, ...]:
    """``bounds``, in order and none of them None."""
    low, high = bounds(rng, dtype, scale)
    return tuple(sorted((-np.inf if low is None else low, np.inf if high is None else high)))


def result(rng: Generator, dtype: str, scale: float) -> tuple[Any, ...]:
    """Scale and zero point of the result, the scale often related to that of x."""
    related = scale * 2.0 ** int(rng.integers(-3, 4))
    return (related if rng.random() < 0.5 else drawing.scales(rng, 1)[0], drawing.zero_point(rng, dtype))


def slope(rng: Generator, dtype: str, scale: float) -> tuple[Any, ...]:
    """A slope of leaky ReLU."""
    return (float(rng.choice(np.array([0.01, 0.1, 0.2, 0.25, 0.5, 0.0, -1.0, rng.normal(), 10.0 * rng.normal()]))),)


def slope_and_result(rng: Generator, dtype: str, scale: float) -> tuple[Any, ...]:
    """A slope, scale and zero point; now and then the slope alone."""
    return slope(rng, dtype, scale) + (() if rng.random() < 0.2 else result(rng, dtype, scale))


def near(rng: Generator, value: float) -> float:
    """value as float32, up to two steps away."""
    return float((np.array(value, np.float32).view(np.int32) + np.int32(rng.integers(-2, 3))).view(np.float32))


def scale_of_tanh(rng: Generator) -> float:
    """A scale with which tanh of some code is near a tie of the result, every other time."""
    if rng.random() < 0.5:
        return any_scale(rng)
    return near(rng, np.arctanh((rng.integers(1, 127) + 0.5) / 128) / rng.integers(1, 128))


def scale_of_hardsigmoid(rng: Generator) -> float:
    """A scale with which hardsigmoid of some code is near a tie of the result, every other time."""
    if rng.random() < 0.5:
        return any_scale(rng)
    return near(rng, abs(6 * (rng.integers(256) + 0.5) / 256 - 3) / rng.integers(1, 128))


def tie(rng: Generator, value: float) -> float:
    """A scale of the result with which value is near a tie."""
    return near(rng, value / (rng.integers(1, 127) + 0.5))


def maybe_result(rng: Generator, dtype: str, scale: float) -> tuple[Any, ...]:
    """Scale and zero point of sigmoid's result, or none; the engine qnnpack takes one pair alone for quint8."""
    kind = rng.integers(3)
    if kind == 0:
        return ()
    real = np.clip(scale * rng.integers(-128, 128), -80, 80)
    return (2.0**-8, 0) if kind == 1 else (tie(rng, 1 / (1 + np.exp(-real))), drawing.zero_point(rng, dtype))


def result_and_alpha(rng: Generator, dtype: str, scale: float) -> tuple[Any, ...]:
    """Scale, zero point and alpha of ELU; every other time the result of some code is near a tie."""
    if rng.random() < 0.5:
        real = -min(scale * float(rng.integers(1, 128)), 80.0)
        return (tie(rng, -np.expm1(real)), drawing.zero_point(rng, dtype), 1.0)
    return (*result(rng, dtype, scale), float(rng.choice(np.array([1.0, 0.5, 1.5, rng.normal()]))))


# PyTorch's functions, with qlearn's arguments


def _relu6(x: Any) -> Any:
    import torch

    return torch.ops.quantized.relu6(x)


def _clamp(x: Any, low: float | None, high: float | None) -> Any:
    import torch

    return torch.ops.quantized.clamp(x, low, high)


def _hardtanh(x: Any, low: float, high: float) -> Any:
    import torch

    return torch.nn.functional.hardtanh(x, low, high)


def _hardswish(x: Any, scale: float, zero_point: int) -> Any:
    import torch

    return torch.ops.quantized.hardswish(x, scale, zero_point)


def _hardsigmoid(x: Any) -> Any:
    import torch

    return torch.nn.functional.hardsigmoid(x)


def _leaky_relu(x: Any, negative_slope: float, *result: Any) -> Any:
    import torch

    if result:
        return torch.ops.quantized.leaky_relu(x, negative_slope, False, *result)
    return torch.nn.functional.leaky_relu(x, negative_slope)


def _sigmoid(x: Any, *result: Any) -> Any:
    import torch

    return torch.ops.quantized.sigmoid(x, *result) if result else torch.sigmoid(x)


def _tanh(x: Any) -> Any:
    import torch

    return torch.tanh(x)


def _elu(x: Any, scale: float, zero_point: int, alpha: float) -> Any:
    import torch

    return torch.ops.quantized.elu(x, scale, zero_point, alpha)


def draw_prelu(rng: Generator, *, dtype: str | None = None, n: int = 0, layout: str = "") -> Case:
    """A tensor, one slope or one for each channel, scale and zero point; the scale of slopes reaches 1 as a rule."""
    case = draw(rng, result, dtype=dtype, n=n, layout=layout)
    (x,) = case.operands
    name = next(name for name, kind in DTYPES.items() if kind == x.flat.dtype)
    channels = x.shape[1] if len(x.shape) > 1 and rng.random() < 0.6 else 1
    slopes = (drawing.codes(rng, channels, name), (channels,), (1,))
    own = (float(rng.choice(np.array([1 / 128, 0.01, 0.1, 0.003]))), drawing.zero_point(rng, name))
    return Case((x, drawing.Operand(*slopes, *own)), case.args)


def _prelu_torch(case: Case) -> Answer:
    import torch

    return answer(torch.ops.quantized.prelu(*(t.torch() for t in case.operands), *case.args))


def _prelu_qlearn(case: Case, machine: Machine) -> Answer:
    x, weight = (t.qtensor() for t in case.operands)
    return answer(qlearn.prelu(x, weight, *case.args, machine=machine))


def operator(name: str, torch: Callable[..., Any], numbers: Numbers = nothing, scale_of: Scale = any_scale) -> Operator:
    """PyTorch's function beside qlearn's of the given name."""

    def theirs(case: Case) -> Answer:
        return answer(torch(case.operands[0].torch(), *case.args))

    def ours(case: Case, machine: Machine) -> Answer:
        return answer(getattr(qlearn, name)(case.operands[0].qtensor(), *case.args, machine=machine))

    return Operator(partial(draw, numbers=numbers, scale_of=scale_of), theirs, ours)


ACTIVATIONS: dict[str, Operator] = {
    "relu6": operator("relu6", _relu6),
    "clamp": operator("clamp", _clamp, bounds),
    "hardtanh": operator("hardtanh", _hardtanh, two_bounds),
    "hardswish": operator("hardswish", _hardswish, result),
    "hardsigmoid": operator("hardsigmoid", _hardsigmoid, scale_of=scale_of_hardsigmoid),
    "leaky_relu": operator("leaky_relu", _leaky_relu, slope_and_result),
    "sigmoid": operator("sigmoid", _sigmoid, maybe_result),
    "tanh": operator("tanh", _tanh, scale_of=scale_of_tanh),
    "elu": operator("elu", _elu, result_and_alpha),
    "prelu": Operator(draw_prelu, _prelu_torch, _prelu_qlearn),
}
"""A name -> its line of the conformance table."""
