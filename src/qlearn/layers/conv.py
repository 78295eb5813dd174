"""The quantized convolution in one, two and three dimensions (Chapter 7, Convolution)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor, check_scale, check_zero_point
from qlearn.elementwise.sums_and_products import check_per_tensor
from qlearn.layers import requantize
from qlearn.layers.accumulate import can_saturate, saturation_loss, to_int32
from qlearn.layers.kernels import Kernel, kernel_of
from qlearn.layers.linear import check_bias, check_weight, check_x, w_scales
from qlearn.layers.window_sums import in_pieces
from qlearn.layers.windows import Geometry, columns, geometry, matrices, pad
from qlearn.machine.layout import channels_to_first, channels_to_last
from qlearn.machine.machine import Machine

__all__ = ["conv1d", "conv1d_relu", "conv2d", "conv2d_add", "conv2d_add_relu", "conv2d_relu", "conv3d", "conv3d_relu"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int32]
Lengths = int | Sequence[int]
F = TypeVar("F", bound=Callable[..., QTensor])


def conv2d(
    x: QTensor,
    weight: QTensor,
    bias: npt.ArrayLike | None,
    stride: Lengths,
    padding: Lengths,
    dilation: Lengths,
    groups: int,
    scale: float,
    zero_point: int,
    *,
    machine: Machine | None = None,
) -> QTensor:
    """Convolve images, as torch.ops.quantized.conv2d does: what torch.nn.Conv2d calls convolution (Chapter 7).

    For output channel m and window o, acc = sum over taps and the channels of m's group of
    (x - x_zero_point) * (w - w_zero_point) in int32, where x is x_zero_point in the padding; then the engine's
    ``qlearn.layers.requantize``. x86 takes oneDNN where the CPU has VNNI, groups <= 100 and all weight zero points are
    0; FBGEMM otherwise. The capability, the memory format of x and the number of threads do not matter; but on several
    threads oneDNN's kernel for AVX2 races on 1 x 1 kernels with strides, and PyTorch then gives other integers now and
    then. These are the right ones.

    Source: ``qconv.cpp`` apply_impl; FBGEMM ``FbgemmConv.cc``; QNNPACK ``q8conv``, ``q8dwconv``.

    Args:
        x: quint8, per tensor, shape (N, C, H, W), any strides.
        weight: qint8, shape (M, C / groups, kH, kW), per tensor or per channel along axis 0.
        bias: float32, shape (M,), real numbers; None stands for zeros.
        stride, padding, dilation: one integer, or one for each of H and W.
        groups: divides C and M.
        scale: of the result; positive and finite, as float32 too.
        zero_point: of the result, 0 to 255.
        machine: whose arithmetic; None is ``Machine.default()``.

    Returns:
        quint8, shape (N, M, H_out, W_out), channels_last.

    Raises:
        TypeError: x or weight is not a QTensor, bias is not float32, an integer is not one, machine is not a Machine.
        ValueError: shapes that do not fit, an empty x (but for N) or weight, a kernel larger than the padded x,
            groups that do not divide, x not quint8 or weight not qint8, another channel axis than 0, scale or
            zero_point out of its range, what the engine refuses (``linear``).
        NotImplementedError: shapes for which FBGEMM writes outside its memory (3 x 3, padding 1, 2 or 4 channels a
            group, groups that do not fill its vectors; depthwise in three dimensions but 3 x 3 x 3), or oneDNN reads
            what nobody wrote, with AVX-512 (one channel a group into several; padding that hides x from every window
            of a row), or sums wrongly, with VNNI (depthwise rows of padding); oneDNN with AVX-512 and without VNNI for
            one channel a group. See ``qlearn.layers.kernels``.
    """
    where = (stride, padding, dilation, groups)
    return _conv(2, x, weight, bias, where, scale, zero_point, machine, relu=False)


def conv2d_add(
    x: QTensor,
    accum: QTensor,
    weight: QTensor,
    bias: npt.ArrayLike | None,
    stride: Lengths,
    padding: Lengths,
    dilation: Lengths,
    groups: int,
    scale: float,
    zero_point: int,
    *,
    machine: Machine | None = None,
) -> QTensor:
    """``conv2d`` and the sum with another tensor in one, as torch.ops.quantized.conv2d_add on onednn (Chapter 7).

    The real numbers of accum are added before the result is quantized, so there is one rounding to 8 bits where conv2d
    and then add have two. The other engines have no such operator. Source: ``qconv.cpp``
    PackedConvWeightsOnednn::apply_add; oneDNN's post-op sum.

    Args, returns: as ``conv2d``, and accum: quint8, per tensor, of the result's shape.

    Raises:
        TypeError, ValueError: as ``conv2d``; accum is not such a tensor; machine has another engine.
        NotImplementedError: as ``conv2d``.
    """
    where = (stride, padding, dilation, groups)
    check_added(accum, Machine.of(machine))
    return _conv(2, x, weight, bias, where, scale, zero_point, machine, relu=False, accum=accum)


def conv2d_add_relu(
    x: QTensor,
    accum: QTensor,
    weight: QTensor,
    bias: npt.ArrayLike | None,
    stride: Lengths,
    padding: Lengths,
    dilation: Lengths,
    groups: int,
    scale: float,
    zero_point: int,
    *,
    machine: Machine | None = None,
) -> QTensor:
    """``conv2d_add``, with negative sums made 0: torch.ops.quantized.conv2d_add_relu (Chapter 7).

    Args, returns, raises: as ``conv2d_add``.
    """
    where = (stride, padding, dilation, groups)
    check_added(accum, Machine.of(machine))
    return _conv(2, x, weight, bias, where, scale, zero_point, machine, relu=True, accum=accum)


def _conv(
    n: int,
    x: QTensor,
    weight: QTensor,
    bias: Any,
    where: tuple[Any, Any, Any, Any],
    scale: Any,
    zero_point: Any,
    machine: Machine | None,
    *,
    relu: bool,
    accum: QTensor | None = None,
) -> QTensor:
    machine = Machine.of(machine)
    check_x(x)
    check_weight(weight)
    g = geometry(n, x.shape, weight.shape, *where)
    scale, zero_point = check_scale(scale), check_zero_point(zero_point, "quint8")
    real_bias = check_bias(bias, weight.shape[0])
    kernel = weight.once(_kernel, machine, g, x.shape[0])
    if accum is not None and accum.shape != (x.shape[0], weight.shape[0], *g.out):
        raise ValueError(f"accum must have shape {(x.shape[0], weight.shape[0], *g.out)}, got {accum.shape}")

    lost = loss(x, weight, g, kernel.pairs) if kernel.pairs else None  # (N, *out, M)
    step = getattr(requantize, kernel.steps)
    parameters = real_bias, x.q_scale(), w_scales(weight), scale, zero_point
    codes_of = requantize.together(step, *parameters, relu=relu)
    codes = np.empty((x.shape[0], *g.out, weight.shape[0]), np.uint8)
    for piece, acc in in_pieces(x, weight, g):
        sums = acc if lost is None else to_int32(acc) - lost[piece]
        if accum is None:
            codes[piece] = codes_of(sums)
        else:
            addend = channels_to_last(accum.int_repr())[piece], accum.q_scale(), accum.q_zero_point()
            codes[piece] = step(sums, *parameters, relu=relu, accum=addend)
    return QTensor.of_new(channels_to_first(codes), scale, zero_point, "quint8")


def _alike(signature: F, name: str, n: int, doc: str, *, relu: bool) -> F:
    """Another function of ``conv2d``'s arguments, in n dimensions."""

    def function(
        x: QTensor,
        weight: QTensor,
        bias: npt.ArrayLike | None,
        stride: Lengths,
        padding: Lengths,
        dilation: Lengths,
        groups: int,
        scale: float,
        zero_point: int,
        *,
        machine: Machine | None = None,
    ) -> QTensor:
        where = (stride, padding, dilation, groups)
        return _conv(n, x, weight, bias, where, scale, zero_point, machine, relu=relu)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return cast(F, function)


conv2d_relu = _alike(
    conv2d,
    "conv2d_relu",
    2,
    """``conv2d``, with negative results made 0: torch.ops.quantized.conv2d_relu (Chapter 7).

    Args, returns, raises: as ``conv2d``.
    """,
    relu=True,
)
conv1d = _alike(
    conv2d,
    "conv1d",
    1,
    """``conv2d`` in one dimension: torch.ops.quantized.conv1d (Chapter 7).

    Args, returns, raises: as ``conv2d``, with x and weight of shape (N, C, L) and (M, C / groups, kL).
    """,
    relu=False,
)
conv1d_relu = _alike(
    conv2d,
    "conv1d_relu",
    1,
    """``conv1d``, with negative results made 0: torch.ops.quantized.conv1d_relu (Chapter 7).

    Args, returns, raises: as ``conv1d``.
    """,
    relu=True,
)
conv3d = _alike(
    conv2d,
    "conv3d",
    3,
    """``conv2d`` in three dimensions: torch.ops.quantized.conv3d (Chapter 7).

    Args, returns, raises: as ``conv2d``, with x and weight of shape (N, C, D, H, W) and (M, C / groups, kD, kH, kW).
    """,
    relu=False,
)
conv3d_relu = _alike(
    conv2d,
    "conv3d_relu",
    3,
    """``conv3d``, with negative results made 0: torch.ops.quantized.conv3d_relu (Chapter 7).

    Args, returns, raises: as ``conv3d``.
    """,
    relu=True,
)


def _kernel(weight: QTensor, machine: Machine, g: Geometry, images: int) -> Kernel:
    return kernel_of(machine, weight, g, images)


def check_added(accum: QTensor, machine: Machine) -> None:
    """Refuse an engine that adds nothing in a convolution, and what is not quint8 per tensor."""
    if machine.engine != "onednn":
        raise ValueError(f"machine must have the engine onednn, the only one with conv2d_add, got {machine.engine}")
    check_per_tensor("accum", accum)
    if accum.dtype != "quint8":
        raise ValueError(f"accum must be quint8, got {accum.dtype}")


def loss(x: QTensor, weight: QTensor, g: Geometry, pairs: str) -> Ints | None:
    """What 16-bit saturation takes from the sums (``accumulate.saturation_loss``), shape (N, *out, M); None: nothing.

    Pairs of taps are neighbours among all (tap, channel) with the channel fastest; FBGEMM pads x with its zero point,
    oneDNN with nothing. Pairs of channels are neighbours at one tap. Only groups with a pair that the largest code can
    make saturate are looked at.
    """
    codes, fill = x.int_repr(), x.q_zero_point() if pairs == "taps" else 0
    at = weight.once(groups_that_saturate, g.groups, pairs, max(int(codes.max(initial=0)), fill))
    if not at:
        return None
    w, groups = weight.int_repr(), g.groups
    codes, w, g = of_groups(codes, 1, groups, at), of_groups(w, 0, groups, at), replace(g, groups=len(at))
    if pairs == "channels":
        codes, w = even(codes, g.groups), even(w, 1)
    seen = columns(pad(channels_to_last(codes), g.padded, g.padding, fill, codes.dtype), g)
    some = saturation_loss(seen, matrices(w, g.groups))
    lost = np.zeros((x.shape[0] * prod(g.out), groups, weight.shape[0] // groups), np.int32)
    lost[:, at] = np.moveaxis(some, 0, 1)
    return lost.reshape(x.shape[0], *g.out, weight.shape[0])


def groups_that_saturate(weight: QTensor, groups: int, pairs: str, largest: int) -> list[int]:
    """Those with two weights side by side that leave int16 with codes up to largest."""
    w = weight.int_repr()
    reached = can_saturate(matrices(even(w, 1) if pairs == "channels" else w, groups), largest)
    return [int(group) for group in np.flatnonzero(reached.any(axis=(1, 2)))]


def of_groups(a: Array, axis: int, groups: int, at: list[int]) -> Array:
    """The part of a that belongs to some of the groups along an axis."""
    split = a.reshape(*a.shape[:axis], groups, a.shape[axis] // groups, *a.shape[axis + 1 :])
    some = np.take(split, at, axis)
    return some.reshape(*a.shape[:axis], -1, *a.shape[axis + 1 :])


def even(a: Array, groups: int) -> Array:
    """a with a channel of zeros more in each group, along axis 1, where a group has an odd number of them."""
    n, channels = a.shape[0], a.shape[1] // groups
    split = a.reshape(n, groups, channels, *a.shape[2:])
    more = np.zeros((n, groups, channels % 2, *a.shape[2:]), a.dtype)
    padded = np.concatenate([split, more], axis=2)
    return padded.reshape(n, groups * padded.shape[2], *a.shape[2:])
