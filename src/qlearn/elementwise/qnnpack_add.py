"""The engine qnnpack's add: integers only, in fixed point (Chapter 4, Adding; Chapter 9, Integers only).

Both scales, divided by the result's, become integers of at most 22 bits with one common shift. Codes are multiplied,
summed and shifted back, with ties away from zero. Equal for every capability, element and number of threads, as long as
the shift stays below 32: it does if the larger of both scales is at least 2**-10 of the result's.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.machine.layout import from_memory_order, laid_out, new_strides

__all__ = ["fixed_point", "qnnpack_add", "shift_right"]

Ints = npt.NDArray[np.int32]
SMALLEST, LARGEST = 2.0**-14, 2.0**8  # of an input's scale over the result's; the largest is excluded
TILE, EIGHT = 4096, 8  # elements


def qnnpack_add(a: QTensor, b: QTensor, scale: float, zero_point: int, *, relu: bool) -> QTensor:
    """Add two quint8 tensors of one shape as QNNPACK does (Chapter 4).

    With (ma, mb, shift) of ``fixed_point``: ``shift_right(ma * (qa - za) + mb * (qb - zb), shift) + zero_point`` in
    int32, clamped to [0, 255], or with relu to [zero_point, 255]. Elements are taken 4,096 at a time, in memory order;
    1 to 7 that are left at the end go the scalar way (``shift_right``). Source: ``BinaryOps.cpp`` qnnpack_add; QNNPACK
    ``add.c``, ``operator-run.c``, ``requantization.h`` pytorch_qnnp_compute_add_quantization_params,
    ``q8vadd/sse2.c``.

    Returns:
        A QTensor of the inputs' shape, in a's memory format.

    Raises:
        ValueError: what QNNPACK refuses: no dimensions; an empty tensor whose first axis is not; relu with zero_point
            255; a scale that is subnormal as float32; a scale over the result's that is not in [2**-14, 2**8).
    """
    _check(a, b, scale, zero_point, relu=relu)
    if a.size == 0:
        return QTensor(np.empty(a.shape, np.uint8), scale, zero_point, "quint8")
    ma, mb, shift = fixed_point(a.q_scale(), b.q_scale(), scale)
    x, y = (t.int_repr().astype(np.int32) - t.q_zero_point() for t in (a, b))  # int32, exact
    x = ma * x + mb * y  # below 2**31 in magnitude
    total = np.where(_last(a), shift_right(x, shift, vector=False), shift_right(x, shift, vector=True))
    codes = np.clip(total + zero_point, zero_point if relu else 0, 255).astype(np.uint8)
    return QTensor(laid_out(codes, new_strides(a.int_repr())), scale, zero_point, "quint8")


def _last(a: QTensor) -> npt.NDArray[np.bool_]:
    """Which elements are left at the end, fewer than 8 of them; of a's shape."""
    left = a.size % TILE
    in_order = np.arange(a.size) >= a.size - (left if left < EIGHT else 0)
    return from_memory_order(in_order, like=a.int_repr())


def fixed_point(a_scale: float, b_scale: float, scale: float) -> tuple[int, int, int]:
    """Integer multipliers of a and b, and the shift: scale ratio = multiplier * 2**-shift, nearly.

    With the ratios ra = float32(a_scale) / float32(scale) and rb in float32, shift is 21 minus the exponent of the
    larger one, and a multiplier is rint(ratio * 2**shift): the larger one lies in [2**21, 2**22].
    """
    ratios = np.array([a_scale, b_scale], dtype=np.float32) / np.float32(scale)
    shift = 21 - (int(np.frexp(ratios.max())[1]) - 1)
    ma, mb = np.rint(np.ldexp(ratios, shift)).astype(int).tolist()  # the product with 2**shift is exact
    return ma, mb, shift


def shift_right(x: Any, shift: int, *, vector: bool) -> Ints:
    """x / 2**shift, rounded to the nearest integer, ties away from zero; x int32, shift 14 to 35.

    The bits that are shifted out are compared with one half: for x < 0 they count from the integer below, so one is
    taken off to send a tie down.

    C leaves a shift of 32 or more open, and QNNPACK does not exclude it. On x86 the scalar instructions, among them the
    one that finds the mask of those bits, take it modulo 32; the vector instruction psrad leaves the sign alone.
    """
    x, bits = np.asarray(x, dtype=np.int64), shift % 32
    mask = (1 << bits) - 1
    remainder = (x & mask) - (x < 0)
    shifted = x >> (min(shift, 31) if vector else bits)
    return np.asarray(shifted + (remainder > mask >> 1)).astype(np.int32)


def _check(a: QTensor, b: QTensor, scale: float, zero_point: int, *, relu: bool) -> None:
    if a.ndim == 0:
        raise ValueError("a and b must have at least one dimension on the engine qnnpack, got none")
    if a.size == 0:
        if a.shape[0] != 0:
            raise ValueError(f"a and b must not be empty on the engine qnnpack, got shape {a.shape}")
        return
    if relu and zero_point == 255:
        raise ValueError("zero_point must be below 255 for add_relu on the engine qnnpack, got 255")
    for name, value in (("a.q_scale()", a.q_scale()), ("b.q_scale()", b.q_scale()), ("scale", scale)):
        if np.float32(value) < np.finfo(np.float32).tiny:
            raise ValueError(f"{name} must be a normal float32 number on the engine qnnpack, got {value}")
    for name, value in (("a", a.q_scale()), ("b", b.q_scale())):
        with np.errstate(over="ignore"):
            ratio = float(np.float32(value) / np.float32(scale))
        if not SMALLEST <= ratio < LARGEST:
            raise ValueError(
                f"{name}.q_scale() / scale must be in [2**-14, 2**8) on the engine qnnpack, got {value} / {scale}"
            )
