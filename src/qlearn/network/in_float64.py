"""Averages, activations and cat in float64, as somebody may have written them, for ``qlearn.network.mistakes``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor

if TYPE_CHECKING:
    from qlearn.network.step import Step

__all__ = ["in_steps"]

Reals = npt.NDArray[np.float64]


def in_steps(step: Step, inputs: Sequence[Any], out: QTensor) -> Reals | None:
    """The real result in steps of its scale, the zero point not added; None for a step that is not known here.

    Args:
        step: of a network.
        inputs: of the step.
        out: the right result, whose scale counts.
    """
    tensors = list(inputs[0]) if inputs and isinstance(inputs[0], list) else list(inputs)
    if not tensors or not all(isinstance(t, QTensor) and t.qscheme() == "per_tensor_affine" for t in tensors):
        return None
    real = [(t.int_repr().astype(np.float64) - t.q_zero_point()) * t.q_scale() for t in tensors]
    if step.op in AVERAGES:
        q = tensors[0].int_repr().astype(np.float64) - tensors[0].q_zero_point()
        return AVERAGES[step.op](q, step.settings)
    if step.op in ACTIVATIONS:
        with np.errstate(over="ignore"):
            return np.asarray(ACTIVATIONS[step.op](real[0], step.settings) / out.q_scale())
    if step.op in ("cat", "cat_alike"):
        return np.asarray(np.concatenate(real, axis=step.settings["dim"]) / out.q_scale())
    return None


def _adaptive(q: Reals, settings: Any) -> Reals | None:
    size = settings["output_size"]
    height, width = size if isinstance(size, tuple) else (size, size)
    if height is None or width is None:
        return None
    rows, columns = (
        [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
        for n, m in zip(q.shape[-2:], (height, width), strict=True)
    )
    return np.stack([np.stack([q[..., a:b, c:d].mean((-2, -1)) for c, d in columns], -1) for a, b in rows], -2)


def _average(q: Reals, settings: Any) -> Reals | None:
    kernel = settings["kernel_size"]
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    stride = settings["stride"] or kernel
    stride = stride if isinstance(stride, tuple) else (stride, stride)
    if settings["padding"] not in (0, (0, 0)) or settings["ceil_mode"] or settings["divisor_override"]:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(q, kernel, axis=(-2, -1))
    return np.asarray(windows[..., :: stride[0], :: stride[1], :, :].mean((-2, -1)))


def _mean(q: Reals, settings: Any) -> Reals:
    dim = settings["dim"]
    axes = tuple(dim) if isinstance(dim, tuple) else dim
    return np.asarray(q.mean(axis=axes, keepdims=settings["keepdim"]))


def _elu(x: Reals, settings: Any) -> Reals:
    return np.where(x > 0, x, settings["alpha"] * np.expm1(np.minimum(x, 0)))


AVERAGES: dict[str, Callable[[Reals, Any], Reals | None]] = {
    "adaptive_avg_pool2d": _adaptive,
    "avg_pool2d": _average,
    "mean": _mean,
}
ACTIVATIONS: dict[str, Callable[[Reals, Any], Reals]] = {
    "hardsigmoid": lambda x, _: np.clip(x + 3, 0, 6) / 6,
    "hardswish": lambda x, _: x * np.clip(x + 3, 0, 6) / 6,
    "leaky_relu": lambda x, settings: np.where(x > 0, x, x * settings["negative_slope"]),
    "elu": _elu,
    "sigmoid": lambda x, _: 1 / (1 + np.exp(-x)),
    "tanh": lambda x, _: np.tanh(x),
}
