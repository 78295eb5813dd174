"""Whose kernel convolves, as far as it changes an integer; and the shapes on which a kernel goes wrong (Chapter 7).

An engine is a library, and a library has many kernels. They differ in the order of the last steps and, without VNNI, in
the products that share 16 bits. Some read or write memory that is not theirs; PyTorch's integers are then anything, and
qlearn refuses.
"""

from __future__ import annotations

from dataclasses import dataclass

from qlearn.affine import QTensor
from qlearn.linear import check_onednn, check_symmetric, w_zero_points
from qlearn.machine import Machine
from qlearn.windows import Geometry

__all__ = ["Kernel", "kernel_of"]


@dataclass(frozen=True)
class Kernel:
    """A kernel's arithmetic: its last steps, and which neighbouring products are clamped to 16 bits together."""

    steps: str
    """A function of ``qlearn.requantize``."""
    pairs: str = ""
    """``channels`` at each tap; or all ``taps``, with the channels within a tap; or none: sums are exact."""


def kernel_of(machine: Machine, weight: QTensor, g: Geometry) -> Kernel:
    """The kernel that the engine takes for a weight and its Geometry.

    x86 takes oneDNN with VNNI, up to 100 groups and weight zero points of 0; FBGEMM otherwise.

    Raises:
        ValueError: weight zero points other than 0 on oneDNN.
        NotImplementedError: a shape on which the library uses memory that is not its own.
    """
    engine, shape = machine.engine, Shape(weight.shape[1], weight.shape[0] // g.groups, g)
    if engine == "x86":
        engine = "onednn" if machine.vnni and g.groups <= 100 and not w_zero_points(weight).any() else "fbgemm"
    if engine == "qnnpack":
        return Kernel("qnnpack")
    if engine == "fbgemm":
        shape.check_fbgemm(16 if machine.vnni or machine.capability == "AVX512" else 8)
        return Kernel("fbgemm", "taps" if shape.fbgemm_depthwise or not machine.vnni else "")
    check_symmetric(weight)
    check_onednn(machine)
    return shape.onednn_avx512() if machine.vnni else shape.onednn_avx2()


@dataclass(frozen=True)
class Shape:
    """What a library looks at to choose a kernel: the channels of a group, and the Geometry."""

    into: int
    out_of: int
    g: Geometry

    @property
    def depthwise(self) -> bool:
        """One channel a group, in and out."""
        return self.into == self.out_of == 1 < self.g.groups

    # FBGEMM

    @property
    def fbgemm_depthwise(self) -> bool:
        """Whether FBGEMM takes its depthwise kernel, which saturates to 16 bits on any CPU: takeDepthWiseFastPath."""
        g = self.g
        return (
            (self.into == 1 and self.out_of in (1, 2) and g.groups % 8 == 0)
            and (len(g.kernel) > 1 and g.kernel[-1] == g.kernel[-2] and all(k in (3, 5, 7) for k in g.kernel))
            and all(s in (1, 2) for s in g.stride)
            and all(d == 1 for d in g.dilation)
            and all(p == (k - 1) // 2 for p, k in zip(g.padding, g.kernel, strict=True))
        )

    def check_fbgemm(self, at_once: int) -> None:
        """Refuse the shapes for which FBGEMM writes outside its memory: its results there are anything, or a crash.

        Its kernel for 2 or 4 channels a group takes as many groups at once as fill a vector of at_once channels (8 with
        AVX2, 16 with AVX-512), and does not mind a rest (fbgemmOptimizedGConv). Its depthwise kernel in three
        dimensions is for 3 x 3 x 3 only.
        """
        g, together = self.g, at_once // self.into
        small = len(g.kernel) > 1 and set(g.kernel) == {3} and set(g.padding) == {1} == set(g.dilation)
        small = small and self.into == self.out_of and self.into in (2, 4) and g.stride[-1] == g.stride[-2] <= 2
        if small and g.groups > together and g.groups % together:
            raise NotImplementedError(
                f"groups must be a multiple of {together} for {self.into} channels a group and kernel 3 on FBGEMM, "
                f"whose kernel writes outside its memory otherwise, got {g.groups}"
            )
        if len(g.kernel) == 3 and set(g.kernel) != {3} and self.fbgemm_depthwise:
            raise NotImplementedError(
                f"weight must have kernel (3, 3, 3) to be convolved depthwise in three dimensions on FBGEMM, whose "
                f"kernel writes outside its memory otherwise, got {g.kernel}"
            )

    # oneDNN

    def onednn_avx2(self) -> Kernel:
        """oneDNN on a CPU with AVX2 alone.

        It has kernels for one group, for channels a group that are multiples of 4 on both sides, and for depthwise
        convolutions in one or two dimensions; else it runs its reference.
        """
        depthwise = self.into == self.out_of == 1 and len(self.g.kernel) < 3
        if self.g.groups == 1 or depthwise or (self.into % 4 == 0 == self.out_of % 4):
            return Kernel("onednn_avx2", "channels")
        return Kernel("onednn_reference")

    def onednn_avx512(self) -> Kernel:
        """oneDNN on a CPU with AVX-512 and VNNI: one order of steps, but for the kernel that multiplies matrices.

        That one convolves depthwise with dilation in three dimensions. Source: ``cpu_convolution_list.cpp``,
        ``jit_brdgmm_dw_conv.cpp``, ``jit_brgemm_conv_utils.cpp``, ``jit_avx512_core_x8s8s32x_conv_kernel.cpp``.
        """
        if self.depthwise:
            return Kernel("onednn_gemm" if len(self.g.kernel) == 3 and set(self.g.dilation) != {1} else "onednn_vnni")
        if self.g.groups == 1 or self.into > 16 or self.into % 4 or self.out_of % 4:
            self.check_brgemm()
        return Kernel("onednn_vnni")

    def check_brgemm(self) -> None:
        """Refuse the shapes for which oneDNN's matrix kernels for AVX-512 read memory that nobody wrote, or crash.

        With one channel a group they lay the taps of a row side by side, or all taps of a window (is_relo_wi,
        is_relo_whi); windows in the padding have no sums of weights (get_comp_offset).
        """
        g, hidden = self.g, windows_in_padding(self.g)
        if hidden[-1] == g.out[-1]:
            raise NotImplementedError(
                f"padding must leave a window that sees x along the last dimension on oneDNN, whose kernel reads "
                f"outside its memory otherwise, got padding {g.padding} for lengths {g.lengths}, kernel {g.kernel}"
            )
        if self.into != 1 or g.dilation[-1] != 1 or len(g.kernel) == 1:
            return
        planes = len(g.kernel) == 2 and set(g.dilation) == {1} and g.kernel[0] > 1 and g.out[1] > 4
        if planes and hidden[0]:
            raise NotImplementedError(
                f"padding must be smaller than the kernel for one channel a group on oneDNN, whose kernel reads memory "
                f"that nobody wrote otherwise, got padding {g.padding} and kernel {g.kernel}"
            )
        if not planes and g.kernel[-1] > 1 and g.out[-1] == 1 == g.stride[-2] < g.stride[-1] and g.out[-2] > 1:
            raise NotImplementedError(
                f"stride must be 1 along the last dimension, where the result has length 1, for one channel a group on "
                f"oneDNN, whose kernel reads memory that nobody wrote otherwise, got {g.stride}"
            )
        if len(g.kernel) == 3 and g.lengths[0] == 1 < min(g.kernel[0], g.kernel[-1]):
            raise NotImplementedError(
                f"weight must have depth 1 for x of depth 1 and one channel a group on oneDNN, whose kernel reads "
                f"memory that nobody wrote otherwise, got kernel {g.kernel}"
            )


def windows_in_padding(g: Geometry) -> tuple[int, ...]:
    """How many windows lie wholly in the padding, or step over x, along each dimension."""
    each = zip(g.lengths, g.kernel, g.stride, g.padding, g.dilation, g.out, strict=True)
    return tuple(
        sum(not any(0 <= o * s - p + t * d < n for t in range(k)) for o in range(out)) for n, k, s, p, d, out in each
    )
