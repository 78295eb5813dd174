"""The quantized convolution in one, two and three dimensions (Chapter 7, Convolution)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn import requantize
from qlearn.accumulate import saturation_loss, to_int32
from qlearn.affine import QTensor, check_scale, check_zero_point
from qlearn.layout import dense_strides, laid_out
from qlearn.linear import check_bias, check_onednn, check_symmetric, check_weight, check_x, w_scales, w_zero_points
from qlearn.machine import Machine
from qlearn.windows import Geometry, accumulate, columns, geometry, matrices, windows

__all__ = ["conv1d", "conv1d_relu", "conv2d", "conv2d_relu", "conv3d", "conv3d_relu"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int32]
Lengths = int | Sequence[int]


def conv1d(
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
    """``conv2d`` in one dimension: torch.ops.quantized.conv1d (Chapter 7).

    Args, returns, raises: as ``conv2d``, with x and weight of shape (N, C, L) and (M, C / groups, kL).
    """
    where = (stride, padding, dilation, groups)
    return _conv(1, x, weight, bias, where, scale, zero_point, machine, relu=False)


def conv1d_relu(
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
    """``conv1d``, with negative results made 0: torch.ops.quantized.conv1d_relu (Chapter 7).

    Args, returns, raises: as ``conv1d``.
    """
    where = (stride, padding, dilation, groups)
    return _conv(1, x, weight, bias, where, scale, zero_point, machine, relu=True)


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
    ``qlearn.requantize``. x86 takes oneDNN where the CPU has VNNI, groups <= 100 and all weight zero points are 0;
    FBGEMM otherwise. The capability, the memory format of x and the number of threads do not matter. Source:
    ``qconv.cpp`` apply_impl; FBGEMM ``FbgemmConv.cc``; QNNPACK ``q8conv``, ``q8dwconv``.

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
            group, groups that do not fill its vectors; depthwise in three dimensions but 3 x 3 x 3); the engine onednn
            with AVX-512 but without VNNI.
    """
    where = (stride, padding, dilation, groups)
    return _conv(2, x, weight, bias, where, scale, zero_point, machine, relu=False)


def conv2d_relu(
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
    """``conv2d``, with negative results made 0: torch.ops.quantized.conv2d_relu (Chapter 7).

    Args, returns, raises: as ``conv2d``.
    """
    where = (stride, padding, dilation, groups)
    return _conv(2, x, weight, bias, where, scale, zero_point, machine, relu=True)


def conv3d(
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
    """``conv2d`` in three dimensions: torch.ops.quantized.conv3d (Chapter 7).

    Args, returns, raises: as ``conv2d``, with x and weight of shape (N, C, D, H, W) and (M, C / groups, kD, kH, kW).
    """
    where = (stride, padding, dilation, groups)
    return _conv(3, x, weight, bias, where, scale, zero_point, machine, relu=False)


def conv3d_relu(
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
    """``conv3d``, with negative results made 0: torch.ops.quantized.conv3d_relu (Chapter 7).

    Args, returns, raises: as ``conv3d``.
    """
    where = (stride, padding, dilation, groups)
    return _conv(3, x, weight, bias, where, scale, zero_point, machine, relu=True)


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
) -> QTensor:
    machine = Machine.of(machine)
    check_x(x)
    check_weight(weight)
    g = geometry(n, x.shape, weight.shape, *where)
    scale, zero_point = check_scale(scale), check_zero_point(zero_point, "quint8")
    real_bias = check_bias(bias, weight.shape[0])
    kernels = kernels_of(machine, weight, g)
    if kernels.startswith("onednn"):
        check_symmetric(weight)
        check_onednn(machine)
    if kernels == "fbgemm":
        check_memory(machine, weight, g)

    acc = accumulate(x, weight, g)  # (N, *out, M)
    if kernels == "onednn_avx2" or (kernels == "fbgemm" and (not machine.vnni or is_depthwise(weight, g))):
        acc = to_int32(acc) - loss(x, weight, g, kernels)
    step = getattr(requantize, kernels)
    parameters = real_bias, x.q_scale(), w_scales(weight), scale, zero_point
    last = requantize.in_pieces(step, acc, *parameters, relu=relu)  # (N, *out, M)
    codes = np.moveaxis(last, -1, 1)
    return QTensor(laid_out(codes, dense_strides(codes.shape, channels_last=True)), scale, zero_point, "quint8")


def kernels_of(machine: Machine, weight: QTensor, g: Geometry) -> str:
    """Whose kernels the engine uses, as a function of ``qlearn.requantize``.

    x86 takes oneDNN's with VNNI, up to 100 groups and weight zero points of 0. Without VNNI, oneDNN has kernels for one
    group, for channels a group that are multiples of 4 on both sides, and for depthwise convolutions in one or two
    dimensions; else it runs its reference.
    """
    engine = machine.engine
    if engine == "x86":
        engine = "onednn" if machine.vnni and g.groups <= 100 and not w_zero_points(weight).any() else "fbgemm"
    if engine != "onednn":
        return engine
    if machine.vnni:
        return "onednn_vnni"
    into, out_of = channels_a_group(weight, g)
    depthwise = into == out_of == 1 and len(g.kernel) < 3
    return "onednn_avx2" if g.groups == 1 or depthwise or (into % 4 == 0 == out_of % 4) else "onednn_reference"


def is_depthwise(weight: QTensor, g: Geometry) -> bool:
    """Whether FBGEMM takes its depthwise kernel, which saturates to 16 bits on any CPU: takeDepthWiseFastPath."""
    into, out_of = channels_a_group(weight, g)
    return (
        (into == 1 and out_of in (1, 2) and g.groups % 8 == 0)
        and (len(g.kernel) > 1 and g.kernel[-1] == g.kernel[-2] and all(k in (3, 5, 7) for k in g.kernel))
        and all(s in (1, 2) for s in g.stride)
        and all(d == 1 for d in g.dilation)
        and all(p == (k - 1) // 2 for p, k in zip(g.padding, g.kernel, strict=True))
    )


def check_memory(machine: Machine, weight: QTensor, g: Geometry) -> None:
    """Refuse the shapes for which FBGEMM writes outside its memory: its results there are anything, or a crash.

    Its kernel for 2 or 4 channels a group takes as many groups at once as fill a vector, 8 channels with AVX2 and 16
    with AVX-512, and does not mind a rest (fbgemmOptimizedGConv). Its depthwise kernel in three dimensions is for
    3 x 3 x 3 only.
    """
    into, out_of = channels_a_group(weight, g)
    at_once = 16 if machine.vnni or machine.capability == "AVX512" else 8  # channels
    small = len(g.kernel) > 1 and set(g.kernel) == {3} and set(g.padding) == {1} == set(g.dilation)
    if small and into == out_of and into in (2, 4) and g.stride[-1] == g.stride[-2] <= 2:
        together = at_once // into
        if g.groups > together and g.groups % together:
            raise NotImplementedError(
                f"groups must be a multiple of {together} for {into} channels a group and kernel 3 on FBGEMM, whose "
                f"kernel writes outside its memory otherwise, got {g.groups}"
            )
    if len(g.kernel) == 3 and set(g.kernel) != {3} and is_depthwise(weight, g):
        raise NotImplementedError(
            f"weight must have kernel (3, 3, 3) to be convolved depthwise in three dimensions on FBGEMM, whose kernel "
            f"writes outside its memory otherwise, got {g.kernel}"
        )


def channels_a_group(weight: QTensor, g: Geometry) -> tuple[int, int]:
    """Input and output channels of one group."""
    return weight.shape[1], weight.shape[0] // g.groups


def loss(x: QTensor, weight: QTensor, g: Geometry, kernels: str) -> Ints:
    """What 16-bit saturation takes from the sums (``accumulate.saturation_loss``), shape (N, *out, M).

    FBGEMM pairs neighbours among all taps and channels, (tap, channel) with the channel fastest, and pads x with its
    zero point. oneDNN pairs channels at each tap, and pads with nothing.
    """
    codes, w, fill = x.int_repr(), weight.int_repr(), x.q_zero_point()
    if kernels == "onednn_avx2":
        codes, w, fill = even(codes, g.groups), even(w, 1), 0
    lost = saturation_loss(columns(windows(codes, g, fill=fill), g), matrices(w, g.groups))
    return np.moveaxis(lost, 0, 1).reshape(x.shape[0], *g.out, weight.shape[0])


def even(a: Array, groups: int) -> Array:
    """a with a channel of zeros more in each group, along axis 1, where a group has an odd number of them."""
    n, channels = a.shape[0], a.shape[1] // groups
    split = a.reshape(n, groups, channels, *a.shape[2:])
    more = np.zeros((n, groups, channels % 2, *a.shape[2:]), a.dtype)
    padded = np.concatenate([split, more], axis=2)
    return padded.reshape(n, groups * padded.shape[2], *a.shape[2:])
