"""XNNPACK's add and mul of qint8, which PyTorch took until 2.12 (Chapter 4, Adding; Chapter 8, The last bit).

The engine qnnpack handed it sums, and every engine products whose zero point is below 127. Equal for every capability,
element and number of threads: a sum is one of integers, a product is rounded once.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.machine.layout import dense_strides, has_strides, laid_out, like_channels_last, made_contiguous
from qlearn.machine.machine import Machine
from qlearn.machine.releases import XNNPACK, XNNPACK_GRAPHS, XNNPACK_NEEDS_A_RANGE

__all__ = ["adds", "multiplies", "product", "sum_of"]

Codes = npt.NDArray[Any]
SMALLEST, LARGEST = 2.0**-10, 2.0**8  # of an input's scale over the sum's; the largest is excluded
LEAST, MOST = 2.0**-16, 2.0**8  # of the inputs' scales over the product's


def adds(machine: Machine, dtype: str) -> bool:
    """Whether XNNPACK computes a sum of this dtype: ``BinaryOps.cpp`` qadd."""
    return machine.has(XNNPACK) and machine.engine == "qnnpack" and dtype == "qint8"


def multiplies(machine: Machine, dtype: str, zero_point: int) -> bool:
    """Whether XNNPACK computes a product of this dtype and zero point: ``qmul.cpp`` QMul."""
    return machine.has(XNNPACK) and dtype == "qint8" and zero_point < 127


def sum_of(a: QTensor, b: QTensor, scale: float, zero_point: int, machine: Machine, *, relu: bool) -> QTensor:
    """The sum of two qint8 tensors in integers, as qnnpack's ``add``, with one bit less and ties up.

    With the ratios r = float32(input's scale) / float32(scale) in float32, shift = 20 minus the exponent of the larger,
    and multipliers rint(r * 2**shift): (ma * (qa - za) + mb * (qb - zb) + 2**(shift - 1)) >> shift, plus zero_point,
    clamped; with relu at zero_point. A graph is not asked for its scales: from a shift of 32 on the sum wraps in int32,
    its sign alone is left, and the half is 2**((shift - 1) % 32). Source: ``BinaryOps.cpp`` xnnp_add; XNNPACK
    ``microparams-init.c`` xnn_init_qs8_add_minmax_params, ``qs8-vadd``.

    Raises:
        ValueError: inputs without dimensions; scales too far apart.
        NotImplementedError: inputs whose memory PyTorch misreads (``_in_order``), or far above the sum in scale.
    """
    x, y = _in_order(a, b, machine)
    if relu and zero_point == 127 and machine.has(XNNPACK_NEEDS_A_RANGE):
        raise ValueError("zero_point must be below 127 for XNNPACK's ReLU of qint8, got 127")
    with np.errstate(over="ignore", under="ignore"):
        ratios = np.array([a.q_scale(), b.q_scale()], np.float32) / np.float32(scale)
    if not machine.has(XNNPACK_GRAPHS) and not (ratios.min() >= SMALLEST and ratios.max() < LARGEST):
        raise ValueError(
            f"a.q_scale() / scale and b.q_scale() / scale must be in [2**-10, 2**8) for XNNPACK's sums of qint8, got "
            f"{ratios[0]} and {ratios[1]}"
        )
    shift = 20 - (int(np.frexp(ratios.max())[1]) - 1)
    if shift < 1:
        raise NotImplementedError(f"scale must not be so small that an input's is {ratios.max()} times as large")
    ma, mb = np.rint(np.ldexp(ratios, shift)).astype(np.int64).tolist()
    total = ma * (x.astype(np.int64) - a.q_zero_point()) + mb * (y.astype(np.int64) - b.q_zero_point())
    total = (total + (1 << (shift - 1) % 32)).astype(np.int32)
    codes = (total >> min(shift, 31)).astype(np.int64) + zero_point
    return _new(codes, a, scale, zero_point, relu)


def product(a: QTensor, b: QTensor, scale: float, zero_point: int, machine: Machine, *, relu: bool) -> QTensor:
    """The product of two qint8 tensors: ``mul``, with a division in the multiplier.

    clamp(rint(float32((qa - za) * (qb - zb)) * m) + zero_point) with m = (sa * sb) / scale, each scale and each step in
    float32. Source: ``qmul.cpp`` _mul_out_xnnpack; XNNPACK ``qs8-vmul`` minmax_fp32.

    Raises:
        ValueError, NotImplementedError: as ``sum_of``.
    """
    x, y = _in_order(a, b, machine)
    with np.errstate(over="ignore", under="ignore"):
        multiplier = np.float32(np.float32(a.q_scale()) * np.float32(b.q_scale()) / np.float32(scale))
    if not machine.has(XNNPACK_GRAPHS) and not LEAST <= multiplier < MOST:
        raise ValueError(
            f"a.q_scale() * b.q_scale() / scale must be in [2**-16, 2**8) for XNNPACK's products of qint8, got "
            f"{multiplier}"
        )
    c = (x.astype(np.int32) - a.q_zero_point()) * (y.astype(np.int32) - b.q_zero_point())
    codes = np.rint(c.astype(np.float32) * multiplier) + np.float32(zero_point)
    return _new(codes, a, scale, zero_point, relu)


def _in_order(a: QTensor, b: QTensor, machine: Machine) -> tuple[Codes, Codes]:
    """The codes of both, broadcast; or a refusal.

    PyTorch asks for copies that lie as a's memory format wants it; in releases that hand XNNPACK a graph it then gives
    the addresses of the originals, and reads their memory in that order all the same.
    """
    if a.ndim == 0:
        raise ValueError("a must have at least one dimension for XNNPACK, got none")
    last = like_channels_last(a.int_repr())
    if last and b.ndim != a.ndim:
        raise ValueError(f"b must have {a.ndim} dimensions, as a, which is channels_last, got {b.ndim}")
    if machine.has(XNNPACK_GRAPHS):
        for name, t in (("a", a), ("b", b)):
            if not has_strides(t.int_repr(), dense_strides(t.shape, channels_last=last)):
                raise NotImplementedError(
                    f"{name} must lie {'channels_last' if last else 'contiguous'} in memory, as PyTorch "
                    f"{machine.release} reads qint8 as if it did, got strides {t.strides}"
                )
    if last != like_channels_last(made_contiguous(b.int_repr(), channels_last=last)):
        raise NotImplementedError(
            f"b must not lie both contiguous and channels_last, for XNNPACK is told another order of its axes, got "
            f"shape {b.shape}, strides {b.strides}"
        )
    x, y = np.broadcast_arrays(a.int_repr(), b.int_repr())
    return x, y


def _new(codes: Codes, a: QTensor, scale: float, zero_point: int, relu: bool) -> QTensor:
    """Whole numbers, clamped, in a's memory format."""
    clamped = np.clip(codes, zero_point if relu else -128, 127).astype(np.int8)
    strides = dense_strides(clamped.shape, channels_last=like_channels_last(a.int_repr()))
    return QTensor(laid_out(clamped, strides), scale, zero_point, "qint8")
