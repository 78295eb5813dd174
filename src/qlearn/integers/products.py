"""Products of two codes in integers: mul and PReLU as steps of an exact integer product (Chapter 9, Integers only)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor
from qlearn.elementwise import xnnpack
from qlearn.elementwise.activations import code_of
from qlearn.elementwise.prelu import sloped
from qlearn.elementwise.sums_and_products import multiplier_of_product, requantize
from qlearn.integers.addition import Parameters
from qlearn.integers.certificate import Unproven, prove_form
from qlearn.integers.forms import Form, Ints
from qlearn.integers.pairs import check_dtype
from qlearn.integers.steps import step_of
from qlearn.machine.machine import BODY, TAIL, Machine

__all__ = ["Product", "multiplication", "prelu"]

Kernel = Callable[[int, Ints], npt.NDArray[Any]]  # of the path, BODY or TAIL, and products
LARGEST = 2.0**30
"""A result, in steps of its scale, that int32 holds with room: beyond it the kernels turn to other codes."""


@dataclass(frozen=True, eq=False)
class Product:
    """The integers of mul, mul_relu or prelu: steps of the product c that ``multiply`` gives (Chapter 9).

    Args:
        multiply: two codes that broadcast -> c, in int64.
        body, tail: c -> codes, on the paths of ``Machine.path_map``.
        kernel: the float32 steps: kernel(path, c).
    """

    multiply: Callable[[npt.ArrayLike, npt.ArrayLike], Ints]
    body: Form
    tail: Form
    kernel: Kernel

    def codes(self, path: int, a: npt.ArrayLike, b: npt.ArrayLike) -> Ints:
        """Of two codes, or of x and its slope, on a path."""
        return self.on(path).codes(self.multiply(a, b))

    def on(self, path: int) -> Form:
        """Of BODY or TAIL."""
        return self.body if path == BODY else self.tail

    def check(self) -> int:
        """Prove both again; how many products it looked at.

        Raises:
            Unproven: a code differs.
        """
        return sum(prove_form(self.on(path), partial(self.kernel, path)) for path in (BODY, TAIL))


def multiplication(
    a: Parameters,
    b: Parameters,
    scale: float,
    zero_point: int,
    machine: Machine,
    *,
    dtype: str = "quint8",
    relu: bool = False,
) -> Product:
    """The integers of ``qlearn.mul``, with relu of ``qlearn.mul_relu``: c = (qa - za) * (qb - zb) (Chapter 9).

    Args:
        a, b: scale and zero point of the inputs.
        scale, zero_point, machine: as of ``qlearn.mul``.
        dtype: "quint8" or "qint8".

    Raises:
        NotImplementedError: another dtype; a product beyond int32, in steps of scale.
    """
    check_dtype(dtype)
    multiplier = multiplier_of_product(a[0], b[0], scale)
    if of_xnnpack := xnnpack.multiplies(machine, dtype, zero_point):
        with np.errstate(over="ignore", under="ignore"):
            multiplier = np.float32(np.float32(a[0]) * np.float32(b[0]) / np.float32(scale))
    info = np.iinfo(DTYPES[dtype])
    least, most = (zero_point if relu else int(info.min)), int(info.max)

    def kernel(path: int, c: Ints) -> npt.NDArray[Any]:
        if of_xnnpack:
            whole = np.rint(c.astype(np.float32) * multiplier) + np.float32(zero_point)
        else:
            whole = requantize(path, machine, c.astype(np.int32), multiplier, zero_point, dtype)
        return np.asarray(np.clip(whole, least, most))

    def multiply(x: npt.ArrayLike, y: npt.ArrayLike) -> Ints:
        return np.asarray((np.asarray(x, np.int64) - a[1]) * (np.asarray(y, np.int64) - b[1]))

    edges = np.array([info.min, info.max])
    return _product(multiply, multiply(edges[:, None], edges), kernel, multiplier, (least, most))


def prelu(
    x: Parameters, weight: QTensor, scale: float, zero_point: int, machine: Machine, *, dtype: str = "quint8"
) -> Product:
    """The integers of ``qlearn.prelu``: x and the code of its channel's slope become c (Chapter 9).

    c is ``qlearn.elementwise.prelu.sloped``: (x - z) * (code of 1 - zw) where x > z, else (x - z) * (w - zw).

    Args:
        x: scale and zero point.
        weight, scale, zero_point, machine: as of ``qlearn.prelu``.

    Raises:
        NotImplementedError: as ``multiplication``.
    """
    check_dtype(dtype)
    multiplier = multiplier_of_product(x[0], weight.q_scale(), scale)
    one, info = code_of(np.float32(1), weight, machine), np.iinfo(DTYPES[dtype])

    def kernel(path: int, c: Ints) -> npt.NDArray[Any]:
        return np.asarray(requantize(path, machine, c.astype(np.int32), multiplier, zero_point, dtype))

    def multiply(q: npt.ArrayLike, w: npt.ArrayLike) -> Ints:
        return sloped(np.asarray(q), x[1], np.asarray(w), weight.q_zero_point(), one).astype(np.int64)

    edges = np.array([info.min, x[1], info.max])[:, None], weight.int_repr().astype(np.int64).ravel()
    return _product(multiply, multiply(*edges), kernel, multiplier, (int(info.min), int(info.max)))


def _product(
    multiply: Callable[[npt.ArrayLike, npt.ArrayLike], Ints],
    ends: Ints,
    kernel: Kernel,
    multiplier: np.float32,
    codes: tuple[int, int],
) -> Product:
    """The forms for all products between those of the ends."""
    low, high = int(ends.min()), int(ends.max())
    largest = float(max(abs(low), abs(high)) * np.float64(multiplier))
    if not (largest < LARGEST and multiplier >= 0):
        raise NotImplementedError(f"a product must not leave int32, in steps of scale, for integers, got {largest:.3g}")
    body = step_of(partial(kernel, BODY), low, high, codes)
    try:
        prove_form(body, partial(kernel, TAIL))
        tail = body
    except Unproven:
        tail = step_of(partial(kernel, TAIL), low, high, codes)
    return Product(multiply, body, tail, kernel)
