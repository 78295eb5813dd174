"""The quantized convolution in one, two and three dimensions (Chapter 7, Convolution)."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn import requantize
from qlearn.accumulate import saturation_loss, sums_of_products
from qlearn.affine import QTensor, check_scale, check_zero_point
from qlearn.layout import dense_strides, laid_out
from qlearn.linear import check_bias, check_onednn, check_symmetric, check_weight, check_x, w_scales, w_zero_points
from qlearn.machine import Machine

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


@dataclass(frozen=True)
class Geometry:
    """Where the windows of a convolution lie; one number for each spatial dimension."""

    lengths: tuple[int, ...]  # of x
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def out(self) -> tuple[int, ...]:
        """floor((length + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1."""
        each = zip(self.lengths, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in each)


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
        acc -= loss(x, weight, g, kernels)
    step = getattr(requantize, kernels)
    last = step(acc, real_bias, x.q_scale(), w_scales(weight), scale, zero_point, relu=relu)  # (N, *out, M)
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


def accumulate(x: QTensor, weight: QTensor, g: Geometry) -> Ints:
    """The exact sums of (x - x_zero_point) * (w - w_zero_point), int32, shape (N, *out, M)."""
    centered = x.int_repr().astype(np.int16) - np.int16(x.q_zero_point())
    zero_points = w_zero_points(weight).reshape(-1, *[1] * (weight.ndim - 1))
    w = matrices(weight.int_repr() - zero_points, g)  # (G, K, M / G)
    seen = windows(centered, g, fill=0)  # (N, *out, *kernel, G, C / G)
    acc = sums_each_tap(seen, w, g) if weight.shape[1] == 1 else sums_of_products(columns(seen, g), w)
    return np.moveaxis(acc, 0, 1).reshape(x.shape[0], *g.out, weight.shape[0])


def loss(x: QTensor, weight: QTensor, g: Geometry, kernels: str) -> Ints:
    """What 16-bit saturation takes from the sums (``accumulate.saturation_loss``), shape (N, *out, M).

    FBGEMM pairs neighbours among all taps and channels, (tap, channel) with the channel fastest, and pads x with its
    zero point. oneDNN pairs channels at each tap, and pads with nothing.
    """
    codes, w, fill = x.int_repr(), weight.int_repr(), x.q_zero_point()
    if kernels == "onednn_avx2":
        codes, w, fill = even(codes, g.groups), even(w, 1), 0
    lost = saturation_loss(columns(windows(codes, g, fill=fill), g), matrices(w, g))
    return np.moveaxis(lost, 0, 1).reshape(x.shape[0], *g.out, weight.shape[0])


def even(a: Array, groups: int) -> Array:
    """a with a channel of zeros more in each group, along axis 1, where a group has an odd number of them."""
    n, channels = a.shape[0], a.shape[1] // groups
    split = a.reshape(n, groups, channels, *a.shape[2:])
    more = np.zeros((n, groups, channels % 2, *a.shape[2:]), a.dtype)
    padded = np.concatenate([split, more], axis=2)
    return padded.reshape(n, groups * padded.shape[2], *a.shape[2:])


def windows(a: Array, g: Geometry, fill: int) -> Array:
    """(N, C, *lengths) -> (N, *out, *kernel, G, C / G): what each window sees, as a view of the padded array."""
    n, channels = a.shape[:2]
    padded = np.full((n, *(s + 2 * p for s, p in zip(g.lengths, g.padding, strict=True)), channels), fill, a.dtype)
    inner = tuple(slice(p, p + s) for s, p in zip(g.lengths, g.padding, strict=True))
    padded[(slice(None), *inner)] = np.moveaxis(a, 1, -1)
    steps = padded.strides[1:-1]
    strides = [
        padded.strides[0],
        *(s * step for s, step in zip(g.stride, steps, strict=True)),
        *(d * step for d, step in zip(g.dilation, steps, strict=True)),
        channels // g.groups * a.itemsize,
        a.itemsize,
    ]
    shape = (n, *g.out, *g.kernel, g.groups, channels // g.groups)
    return np.lib.stride_tricks.as_strided(padded, shape, strides, writeable=False)


def columns(seen: Array, g: Geometry) -> Array:
    """(N, *out, *kernel, G, C / G) -> (G, N * prod(out), prod(kernel) * C / G), the channel fastest (im2col)."""
    by_group = np.moveaxis(seen, -2, 0)
    return by_group.reshape(g.groups, seen.shape[0] * prod(g.out), prod(g.kernel) * seen.shape[-1])


def matrices(w: Array, g: Geometry) -> Array:
    """(M, C / G, *kernel) -> (G, prod(kernel) * C / G, M / G), rows in the order of ``columns``."""
    rows = np.moveaxis(w, 1, -1).reshape(g.groups, w.shape[0] // g.groups, w[0].size)
    return rows.transpose(0, 2, 1)


def sums_each_tap(seen: Array, w: Array, g: Geometry) -> Ints:
    """``sums_of_products(columns(seen), w)`` for one channel a group: too small for BLAS, so one tap at a time."""
    acc = np.zeros((*seen.shape[: 1 + len(g.out)], *w.shape[::2]), np.int32)  # (N, *out, G, M / G)
    for k, tap in enumerate(product(*map(range, g.kernel))):
        everywhere: tuple[slice | int, ...] = (slice(None),) * (1 + len(g.out))
        x = seen[everywhere + tap]  # (N, *out, G, 1)
        acc += np.multiply(x, w[:, k], dtype=np.int32)
    return np.moveaxis(acc.reshape(-1, *acc.shape[-2:]), 1, 0)


def geometry(
    n: int, x: tuple[int, ...], w: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: Any
) -> Geometry:
    """The Geometry of x (N, C, *lengths) and w (M, C / groups, *kernel), or an error that names what is wrong."""
    if len(x) != n + 2:
        raise ValueError(f"x must have {n + 2} dimensions: N, C and {n} lengths, got shape {x}")
    if len(w) != n + 2:
        raise ValueError(f"weight must have {n + 2} dimensions: M, C / groups and {n} lengths, got shape {w}")
    stride, padding, dilation = (
        _lengths(name, value, n, least)
        for name, value, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1))
    )
    groups = _integer("groups", groups)
    if groups < 1 or x[1] % groups or w[0] % groups:
        raise ValueError(f"groups must divide the channels of x and of weight, {x[1]} and {w[0]}, got {groups}")
    if w[1] * groups != x[1]:
        raise ValueError(f"weight must have {x[1] // groups} channels, those of x / groups, got shape {w}")
    if 0 in x[1:] or 0 in w:
        raise ValueError(f"x and weight must not be empty, but for the batch of x, got shapes {x} and {w}")
    g = Geometry(x[2:], w[2:], stride, padding, dilation, groups)
    if min(g.out) < 1:
        raise ValueError(f"weight must not be larger than the padded x: kernel {g.kernel}, dilation {dilation}, x {x}")
    return g


def _lengths(name: str, value: Any, n: int, least: int) -> tuple[int, ...]:
    given = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * n
    lengths = tuple(_integer(name, v) for v in given)
    if len(lengths) != n or min(lengths) < least:
        raise ValueError(f"{name} must be an integer or {n} of them, at least {least}, got {value!r}")
    return lengths


def _integer(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer or a sequence of them, got {value!r}") from None
