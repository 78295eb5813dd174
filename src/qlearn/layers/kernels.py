"""Whose kernel convolves, as far as it changes an integer; and the shapes on which a kernel goes wrong (Chapter 7).

An engine is a library, and a library has many kernels. They differ in the order of the last steps and, without VNNI, in
the products that share 16 bits. Some read or write memory that is not theirs; PyTorch's integers are then anything, and
qlearn refuses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from qlearn.codes.affine import QTensor
from qlearn.layers import amx
from qlearn.layers.linear import check_symmetric, w_zero_points
from qlearn.layers.windows import Geometry, windows_in_padding
from qlearn.machine.machine import Machine
from qlearn.machine.releases import DEPTHWISE_BIAS_FUSED, ONEDNN_SCALES_IN_ONE, ONEDNN_SCALES_TOGETHER

__all__ = ["Kernel", "kernel_of"]


@dataclass(frozen=True)
class Kernel:
    """A kernel's arithmetic: its last steps, and which neighbouring products are clamped to 16 bits together."""

    steps: str
    """A function of ``qlearn.layers.requantize``."""
    pairs: str = ""
    """Of "channels" at each tap; of "taps", or only "taps inside" x, the channels within a tap; "" for exact sums."""


def kernel_of(machine: Machine, weight: QTensor, g: Geometry, images: int = 1) -> Kernel:
    """The kernel that the engine takes for a weight and its Geometry; with AMX the number of images matters too.

    x86 takes oneDNN with VNNI, up to 100 groups and weight zero points of 0; FBGEMM otherwise.

    Raises:
        ValueError: weight zero points other than 0 on oneDNN.
        NotImplementedError: a shape on which the library uses memory that is not its own.
    """
    engine, shape = machine.engine, Shape(weight.shape[1], weight.shape[0] // g.groups, g)
    if engine == "x86":
        engine = "onednn" if machine.cpu == "VNNI" and g.groups <= 100 and not w_zero_points(weight).any() else "fbgemm"
    if engine == "qnnpack":
        return Kernel("qnnpack")
    if engine == "fbgemm":
        shape.check_fbgemm(machine)
        if shape.fbgemm_depthwise:
            return Kernel("fbgemm" if machine.has(DEPTHWISE_BIAS_FUSED) else "fbgemm_depthwise", "taps")
        exact = machine.cpu == "VNNI" if shape.fbgemm_grouped(machine) else machine.vnni
        return Kernel("fbgemm", "" if exact else "taps")
    check_symmetric(weight)
    if machine.amx and (steps := amx.Convolution(shape.into, shape.out_of, g, images, machine.threads).steps()):
        return Kernel(steps)
    kernel = shape.onednn_avx512(machine.vnni) if machine.avx512 else shape.onednn_avx2()
    if machine.has(ONEDNN_SCALES_IN_ONE):
        return replace(kernel, steps="onednn_2")
    together = machine.has(ONEDNN_SCALES_TOGETHER) and kernel.steps == "onednn_vnni"
    return replace(kernel, steps="onednn_gemm") if together else kernel


@dataclass(frozen=True)
class Shape:
    """What a library looks at to choose a kernel: the channels of a group, and the Geometry."""

    into: int
    out_of: int
    g: Geometry

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

    def fbgemm_together(self, machine: Machine) -> int:
        """How many groups FBGEMM's kernel for small groups takes at once: 8 channels with AVX2, 16 with AVX-512."""
        return max(1, (8 if machine.cpu == "AVX2" else 16) // self.into) if self.into < 8 else 1

    def fbgemm_grouped(self, machine: Machine) -> bool:
        """Whether FBGEMM takes its kernel for small groups, which goes by the CPU itself: fbgemmOptimizedGConv."""
        g = self.g
        return (
            (len(g.kernel) > 1 and set(g.kernel) == {3} and set(g.padding) == {1} == set(g.dilation))
            and (self.into == self.out_of and self.into in (2, 4, 8, 16))
            and (g.stride[-1] == g.stride[-2] <= 2 and g.groups >= self.fbgemm_together(machine))
        )

    def check_fbgemm(self, machine: Machine) -> None:
        """Refuse the shapes for which FBGEMM writes outside its memory: its results there are anything, or a crash.

        Its kernel for small groups does not mind groups that do not fill its vectors. How it saturates with AVX-512
        alone could not be measured. Its depthwise kernel in three dimensions is for 3 x 3 x 3 only.
        """
        g, together, grouped = self.g, self.fbgemm_together(machine), self.fbgemm_grouped(machine)
        if grouped and g.groups % together:
            raise NotImplementedError(
                f"groups must be a multiple of {together} for {self.into} channels a group and kernel 3 on FBGEMM, "
                f"whose kernel writes outside its memory otherwise, got {g.groups}"
            )
        if grouped and machine.cpu == "AVX512":
            raise NotImplementedError(
                f"weight must not have kernel 3 and 2, 4, 8 or 16 channels a group on FBGEMM with AVX-512 and without "
                f"VNNI, which was not measured; got {self.into} channels in each of {g.groups} groups"
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

    def onednn_avx512(self, vnni: bool) -> Kernel:
        """oneDNN on a CPU with AVX-512: one order of steps, but for the kernel that multiplies matrices.

        That one convolves depthwise in three dimensions, with VNNI only if dilated; in one or two, nothing saturates.
        Source: ``cpu_convolution_list.cpp``, ``jit_brdgmm_dw_conv.cpp``, ``jit_brgemm_conv_utils.cpp``,
        ``jit_avx512_core_x8s8s32x_conv_kernel.cpp``.
        """
        if self.into == self.out_of == 1 < self.g.groups:
            if len(self.g.kernel) < 3 or (vnni and set(self.g.dilation) == {1}):
                if vnni:
                    self.check_rows_of_padding()
                return Kernel("onednn_vnni")
            return Kernel("onednn_gemm", "" if vnni else "taps inside")
        if self.g.groups == 1 or self.into > 16 or self.into % 4 or self.out_of % 4:
            self.check_brgemm(vnni)
        return Kernel("onednn_vnni", "" if vnni else "channels")

    def check_rows_of_padding(self) -> None:
        """Refuse the shapes for which oneDNN's depthwise kernel with VNNI sums wrongly.

        Groups in sixteens, where whole rows of the result see padding alone, a kernel 1 high steps over them, and no
        column is padded: other rows than those are wrong then, for some lengths.
        """
        g = self.g
        rows = zip(g.kernel[:-1], g.padding[:-1], strict=True)
        if g.groups % 16 == 0 and g.padding[-1] == 0 and any(k == 1 and p > 0 for k, p in rows):
            raise NotImplementedError(
                f"padding must be 0 where the kernel is 1 long, or pad the last dimension too, for depthwise groups in "
                f"sixteens on oneDNN with VNNI, whose sums are wrong otherwise; got {g.padding} for kernel {g.kernel}"
            )

    def check_brgemm(self, vnni: bool) -> None:
        """Refuse the shapes for which oneDNN's matrix kernels for AVX-512 use memory that is not theirs, or crash.

        For one channel a group they lay the taps of a row side by side, or all taps of a window (try_relo_wi,
        try_relo_whi); in groups, or from a copy of x (exec_trans), another kernel follows where their buffers are too
        large for the tensors (init_scratchpad).
        """
        g, n, hidden = self.g, len(self.g.kernel), windows_in_padding(self.g)
        by_window = self.into == 1 and n == 2 and set(g.dilation) == {1} and g.kernel[0] > 1 and g.out[1] > 4
        by_row = self.into == 1 and g.dilation[-1] == 1 < g.kernel[-1]
        fault = "oneDNN's kernel uses memory that is not its own otherwise"
        if hidden[-1] == g.out[-1]:
            raise NotImplementedError(
                f"padding must leave a window that sees x along the last dimension, {fault}; got {g.padding} for "
                f"lengths {g.lengths} and kernel {g.kernel}"
            )
        if (by_window or by_row) and (g.groups > 1 or not vnni):
            least = "be 1" if vnni else "be as many as the channels of x"
            raise NotImplementedError(
                f"groups must {least} where one channel is convolved with kernel {g.kernel} by oneDNN with AVX-512"
                f"{'' if vnni else ' and without VNNI'}: its kernel depends on more than the shape; got {g.groups}"
            )
        copied = (
            g.kernel[-1] == g.out[-1] == 1
            and (n < 3 or g.out[0] == 1)
            and (set(g.kernel), set(g.padding)) != ({1}, {0})
        )
        if copied and g.groups > 1 and (self.into % 4 or self.out_of % 4):
            raise NotImplementedError(
                f"groups must be 1, or channels a group multiples of 4, where kernel and result are 1 wide on oneDNN: "
                f"its kernel depends on more than the shape; got {g.groups} of {self.into} and {self.out_of}"
            )
        if by_window and hidden[0]:
            raise NotImplementedError(
                f"padding must leave x in each window of one channel, {fault}; got {g.padding} for kernel {g.kernel}"
            )
        if by_row and n > 1 and g.out[-1] == 1 == g.stride[-2] < g.stride[-1]:
            raise NotImplementedError(
                f"stride must be 1 along the last dimension for one channel and a result of width 1, {fault}; "
                f"got {g.stride}"
            )
        if by_row and n == 3 and g.lengths[0] == 1 < g.kernel[0]:
            raise NotImplementedError(
                f"weight must have depth 1 for one channel of depth 1, {fault}; got kernel {g.kernel}"
            )
