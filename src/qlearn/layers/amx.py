"""oneDNN on a CPU with AMX: which layers its kernels for AMX take, and where those go wrong (Chapter 7).

Their sums are exact, as with VNNI, but most of them multiply by the product of both scales. oneDNN 3.12, of PyTorch
2.14, chooses by the shape, the number of images and the threads. Source: ``brgemm_matmul_utils.cpp``
init_brgemm_matmul_conf; ``cpu_convolution_list.cpp``, ``jit_brgemm_conv_utils.cpp`` init_jcp, init_conf, init_1x1_conf,
init_scratchpad.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from qlearn.layers.windows import Geometry, windows_in_padding

__all__ = ["Convolution", "takes_linear"]

L1 = 48 * 1024 * 7 // 8  # bytes of the cache that oneDNN counts on; all CPUs with AMX have 48 KB
TILE = 64  # bytes of a tile's row: channels, or channels and taps, that are multiplied at once


def takes_linear(rows: int, features: int, outputs: int) -> bool:
    """Whether a linear layer is taken: all but small ones."""
    small = (rows == 1 and features == 256) or (rows <= 32 and rows * outputs <= 256) or features <= 16
    return not small


@dataclass(frozen=True)
class Convolution:
    """What oneDNN looks at: the channels of a group, the Geometry, the number of images, the threads."""

    into: int
    out_of: int
    g: Geometry
    images: int
    threads: int

    def steps(self) -> str:
        """The function of ``qlearn.layers.requantize`` that a kernel for AMX computes; "" where one for VNNI is taken.

        Two kernels multiply by the scales one by one: that for wide images, and with several threads that for one
        image of 1 x 1 convolutions.

        Raises:
            NotImplementedError: a shape on which the kernel uses memory that is not its own, or is wrong, or on which
                the choice depends on more than this.
        """
        if self.into == self.out_of == 1 < self.g.groups:
            return ""
        if self.small:
            self.check_regrouped()
            return ""
        if self.pointwise:
            return self.pointwise_steps()
        if self.slow or self.padded_away:
            return ""
        self.check_memory()
        self.check_buffers()
        return "onednn_gemm" if self.g.out[-1] < self.widest else "onednn_vnni"

    # The choice

    @property
    def pointwise(self) -> bool:
        """Whether the kernel is 1 x 1, without padding."""
        return (set(self.g.kernel), set(self.g.padding)) == ({1}, {0})

    @property
    def small(self) -> bool:
        """Whether it is too small for AMX: a few pixels of a few channels, or a large volume of hardly any."""
        g, into = self.g, self.into * self.joined
        few = prod(g.out) <= 4 and into <= 512
        volume = len(g.out) == 3 and into * self.out_of <= 32 and min(g.out) >= 128
        most = L1 // 2 if self.pointwise else L1
        return volume or (few and self.images * g.groups * into * self.out_of <= most)

    @property
    def slow(self) -> bool:
        """Whether it is one of the layers of known networks that oneDNN found slower with AMX."""
        g = self.g
        sides, kernel = set(g.out[-2:]), set(g.kernel[-2:])
        resnet34 = self.into == self.out_of and self.into in (128, 256) and sides == {150}
        first = self.out_of == 32 and self.into < 32 and sides | set(g.lengths[-2:]) == {640} and kernel == {3}
        return len(g.out) > 1 and (resnet34 or first)

    @property
    def padded_away(self) -> bool:
        """Whether the first window, or at the end of a row the last one, lies wholly in the padding."""
        g = self.g
        reach = [(k - 1) * d + 1 for k, d in zip(g.kernel, g.dilation, strict=True)]
        before = zip(g.padding[:-1], reach[:-1], strict=True)
        return self.right >= reach[-1] or any(padding >= length for padding, length in before)

    def pointwise_steps(self) -> str:
        """As ``steps``; channels must come in fours, or be copied because of a stride."""
        g, strided = self.g, max(self.g.stride) > 1
        if self.into % 4 and (self.into > TILE or not strided):
            return ""
        if strided:
            self.check_buffers()
        height = g.out[-2] if len(g.out) > 1 else 1
        light = self.into * height <= 28 * 1024 and self.out_of * height <= 14 * 1024
        alone = self.threads > 1 and self.images == 1 and not strided
        return "onednn_vnni" if alone and light else "onednn_gemm"

    @property
    def right(self) -> int:
        """How much padding the last window reaches at the end of a row; negative where it leaves pixels out."""
        g = self.g
        reach = (g.out[-1] - 1) * g.stride[-1] + (g.kernel[-1] - 1) * g.dilation[-1] + 1
        return reach - g.lengths[-1] - g.padding[-1]

    @cached_property
    def joined(self) -> int:
        """How many pixels of a row become one of so many times the channels, where strides and lengths allow it."""
        g, sides = self.g, (self.g.kernel[-1], self.g.stride[-1], self.g.lengths[-1])
        if g.groups > 1 or g.dilation[-1] > 1 or min(sides) == 1 or g.padding[-1] or self.right > 0 or self.ragged(1):
            return 1
        each = range(1, min(sides) + 1)
        return max(i for i in each if all(side % i == 0 for side in sides) and not self.ragged(i))

    def ragged(self, times: int) -> bool:
        """Whether so many times the channels are not in fours, or more than a tile's row and not whole rows."""
        many = self.into * times
        return bool(self.into % 4 or (many > TILE and many % TILE))

    @property
    def lowered(self) -> bool:
        """Whether few channels are laid side by side with the taps of a row, or of a column (try_relo_wi, _whi)."""
        g, tall = self.g, self.g.kernel[-2] if len(self.g.kernel) > 1 else 1
        if self.into >= TILE // 2 or self.joined > 1 or g.dilation[-1] > 1:
            return False
        if g.kernel[-1] > 1:
            return len(g.lengths) < 3 or g.lengths[0] == 1 or not self.ragged(g.kernel[-1])
        column = tall * self.into
        fuller = column * TILE > self.into * (column + -column % TILE)
        return len(g.kernel) == 2 and tall > 1 and g.dilation[0] == 1 and fuller

    @property
    def widest(self) -> float:
        """From which width of the result on the kernel is not unrolled, so that its last steps are VNNI's."""
        g = self.g
        if self.lowered:
            return float("inf")
        in_place = not g.padding[-1] and self.right <= 0 and not self.ragged(self.joined) and g.out[-1] > 50
        return 8192 if in_place else 256

    # The faults

    def check_regrouped(self) -> None:
        """Refuse small layers in groups, whose weight PyTorch packed for AMX: it is packed again, wrongly."""
        if self.g.groups > 1 and self.out_of > 16:
            raise NotImplementedError(
                f"groups must be 1, or give at most 16 channels each, for a small result on oneDNN with AMX, whose "
                f"sums are wrong otherwise; got {self.g.groups} of {self.out_of}"
            )

    def check_memory(self) -> None:
        """Refuse the shapes for which a kernel for AMX uses memory that is not its own, or lays out weights wrongly."""
        g, n, fault = self.g, len(self.g.kernel), "oneDNN's kernel for AMX uses memory that is not its own otherwise"
        few = self.into < TILE // 2 and g.dilation[-1] == 1
        if any(windows_in_padding(g)):
            raise NotImplementedError(
                f"padding must leave x in each window along each dimension, {fault}; got {g.padding} for lengths "
                f"{g.lengths} and kernel {g.kernel}"
            )
        if g.out[-1] == 1 < max(g.out) and g.stride[-1] > 1 < g.kernel[-1]:
            raise NotImplementedError(
                f"stride must be 1 along the last dimension for a result of width 1, {fault}; got {g.stride}"
            )
        if any(k > 3 and d > 1 for k, d in zip(g.kernel[:-1], g.dilation[:-1], strict=True)):
            raise NotImplementedError(
                f"dilation must be 1 where the kernel is longer than 3, but along the last dimension, {fault}; got "
                f"{g.dilation} for kernel {g.kernel}"
            )
        if few and n == 3 and g.kernel[-1] > 1 and g.lengths[0] == 1 < g.kernel[0]:
            raise NotImplementedError(
                f"weight must have depth 1 for few channels of depth 1, {fault}; got kernel {g.kernel}"
            )
        if few and g.groups > 1 and max(g.kernel[-2:]) > 1 and self.out_of > 16:
            raise NotImplementedError(
                f"groups must be 1, or give at most 16 channels each, where fewer than 32 are convolved by oneDNN with "
                f"AMX, whose sums are wrong otherwise; got {g.groups} of {self.out_of}"
            )

    def check_buffers(self) -> None:
        """Refuse tensors so small that oneDNN may find its buffers too large for them, and take VNNI's kernel.

        The buffers may have 64 times the bytes of all tensors; what they need here is more than they do.
        """
        g = self.g
        pixels = self.images * g.groups * (self.into * prod(g.lengths) + self.out_of * prod(g.out))
        tensors = pixels + g.groups * self.out_of * self.into * prod(g.kernel)
        unit = 4 if self.into <= TILE else TILE
        sides = zip(g.lengths, g.kernel, g.padding, g.dilation, strict=True)
        padded = prod(length + 4 * p + (k - 1) * d + 1 for length, k, p, d in sides)
        if 64 * tensors < 2**16 + 3 * padded * g.stride[-1] * g.groups * (self.into + -self.into % unit):
            raise NotImplementedError(
                f"x and weight must be larger for oneDNN with AMX, whose choice of a kernel depends on more than the "
                f"shape otherwise; got {tensors} bytes in all"
            )
