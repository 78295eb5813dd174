"""Adding two quantized tensors in integers, in the vector body and in the scalar tail (Chapter 9, Integers only)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import DTYPES, QTensor
from qlearn.elementwise import xnnpack
from qlearn.elementwise.qnnpack_add import fixed_point, qnnpack_add, shift_right
from qlearn.elementwise.sums_and_products import Pairwise, sum_of
from qlearn.integers.certificate import Unproven
from qlearn.integers.pairs import Pair, check_dtype, pair_of, prove_pair
from qlearn.machine.machine import BODY, TAIL, Machine

__all__ = ["Sum", "addition"]

Array = npt.NDArray[Any]
Parameters = tuple[float, int]  # scale and zero point
Kernel = Callable[[int, Array, Array], Array]  # of the path, BODY or TAIL, and two codes each


@dataclass(frozen=True, eq=False)
class Sum:
    """The integers of add, or of add_relu (Chapter 9).

    Args:
        body, tail: what ``Machine.path_map`` calls so; on qnnpack the last 1 to 7 elements are the tail.
        kernel: the float32 steps, or qnnpack's integers: kernel(path, a, b).
        dtype: of all three tensors.
    """

    body: Pair
    tail: Pair
    kernel: Kernel
    dtype: str

    def on(self, path: int) -> Pair:
        """Of BODY or TAIL."""
        return self.body if path == BODY else self.tail

    def check(self) -> int:
        """Prove both again, at all pairs; how many it looked at.

        Raises:
            Unproven: a code differs.
        """
        return sum(prove_pair(self.on(path), partial(self.kernel, path), self.dtype) for path in (BODY, TAIL))


def addition(
    a: Parameters,
    b: Parameters,
    scale: float,
    zero_point: int,
    machine: Machine,
    *,
    dtype: str = "quint8",
    relu: bool = False,
    alike: bool = True,
) -> Sum:
    """The integers of ``qlearn.add``, with relu of ``qlearn.add_relu`` (Chapter 9).

    Args:
        a, b: scale and zero point of the inputs.
        scale, zero_point, machine: as of ``qlearn.add``.
        dtype: "quint8" or "qint8".
        alike: whether a and b have one shape; the engine qnnpack adds others as fbgemm does.

    Raises:
        ValueError: as ``qlearn.add``.
        NotImplementedError: qint32, whose pairs are too many.
    """
    check_dtype(dtype)
    kernel = kernel_of(a, b, (scale, zero_point), dtype, machine, relu=relu, alike=alike)
    info = np.iinfo(DTYPES[dtype])
    codes = (zero_point if relu else int(info.min)), int(info.max)
    multiples = small_ratio(a[0], b[0])
    body = pair_of(partial(kernel, BODY), dtype, codes, multiples)
    try:
        prove_pair(body, partial(kernel, TAIL), dtype)
        tail = body
    except Unproven:
        tail = pair_of(partial(kernel, TAIL), dtype, codes, multiples)
    return Sum(body, tail, kernel, dtype)


def small_ratio(a_scale: float, b_scale: float) -> tuple[int, int] | None:
    """Two integers up to 256 in the ratio of the scales, as float32; None where there are none."""
    exact = Fraction(float(np.float32(a_scale))) / Fraction(float(np.float32(b_scale)))
    return exact.as_integer_ratio() if max(exact.as_integer_ratio()) <= 256 else None


def kernel_of(
    a: Parameters, b: Parameters, to: Parameters, dtype: str, machine: Machine, *, relu: bool, alike: bool
) -> Kernel:
    """The kernel that ``qlearn.add`` takes."""

    def tensors(x: Array, y: Array) -> tuple[QTensor, QTensor]:
        return QTensor(x, *a, dtype), QTensor(y, *b, dtype)

    if machine.engine == "qnnpack" and dtype == "quint8" and alike:
        qnnpack_add(*tensors(*[np.zeros(1, np.uint8)] * 2), *to, relu=relu)  # refuses what it does not take
        ma, mb, shift = fixed_point(a[0], b[0], to[0])

        def of_qnnpack(path: int, x: Array, y: Array) -> Array:
            total = ma * (x.astype(np.int32) - a[1]) + mb * (y.astype(np.int32) - b[1])
            return np.clip(shift_right(total, shift, vector=path == BODY) + to[1], to[1] if relu else 0, 255)

        return of_qnnpack
    if xnnpack.adds(machine, dtype):
        return lambda path, x, y: xnnpack.sum_of(*tensors(x, y), *to, machine, relu=relu).int_repr()
    pairwise = Pairwise(sum_of, a, b, to, dtype, machine, relu)

    def of_floats(path: int, x: Array, y: Array) -> Array:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return pairwise(path, x, y)

    return of_floats
