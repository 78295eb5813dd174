"""PyTorch's releases from 1.13 to 2.15: what changed in their arithmetic, as a history (Chapter 8, The last bit).

Each change is one constant: the releases in which it holds, what is done otherwise there, to whom it happens, and where
that is written. A kernel that it touches asks ``Machine.has``; all else is the same in every release.
"""

from __future__ import annotations

import re
import warnings
from typing import Any, NamedTuple

__all__ = ["BOOK", "HISTORY", "RELEASES", "Change", "release_of"]

RELEASES = ("1.13", *(f"2.{minor}" for minor in range(16)))
"""The releases whose arithmetic is known, oldest first; a patch level changes nothing."""
BOOK = "2.14"
"""The release that the book runs on; its arithmetic is that of most."""


class Change(NamedTuple):
    """What some releases do otherwise than the rest."""

    first: str
    last: str  # included
    what: str
    affects: str
    source: str

    def holds(self, release: str) -> bool:
        """Whether it is so in a release, one of ``RELEASES``."""
        return RELEASES.index(self.first) <= RELEASES.index(release) <= RELEASES.index(self.last)


ZERO_POINT_FIRST = Change(
    "2.13",
    "2.13",
    what="quantize adds the zero point before it rounds, and in FBGEMM's vectors in one step with the product",
    affects="quantize_per_tensor, quantize_per_channel; scalar tails and DEFAULT's bodies of element-wise kernels; "
    "bounds of clamp; cat; averages of channels_last",
    source="FBGEMM QuantUtils.h, QuantUtilsAvx2.cc: the argument LEGACY, dropped by one repository while it was true "
    "by default in the other",
)

DEPTHWISE_BIAS_FUSED = Change(
    "1.13",
    "2.13",
    what="FBGEMM's depthwise kernel adds the bias per tensor in one fused step, fma(bias, 1 / t, acc); later in two",
    affects="depthwise convolutions on fbgemm, and on x86 where that takes FBGEMM",
    source="FBGEMM FbgemmI8DepthwiseAvx2-inl.h requantize_: the compiler's choice, since its files were rearranged",
)

AVX512_BODIES = Change(
    "1.13",
    "2.0",
    what="element-wise kernels have bodies of their own for AVX-512, which only ATEN_CPU_CAPABILITY=avx512 chooses",
    affects="the capability AVX512: refused here",
    source="QuantizedOpKernels.cpp REGISTER_DISPATCH; pull request 104165",
)
XNNPACK = Change(
    "1.13",
    "2.12",
    what="XNNPACK adds qint8 in integers on the engine qnnpack, and multiplies qint8 on every engine",
    affects="add and add_relu of qint8 on qnnpack; mul and mul_relu of qint8 with a zero point below 127",
    source="BinaryOps.cpp xnnp_add, qmul.cpp _mul_out_xnnpack; pull requests 73663, 86040, gone with 185297",
)
XNNPACK_NEEDS_A_RANGE = Change(
    "1.13",
    "2.2",
    what="XNNPACK refuses a ReLU that leaves a single code",
    affects="add_relu of qint8 with zero point 127 on qnnpack: what is refused",
    source="XNNPACK binary-elementwise-nd.c",
)
XNNPACK_GRAPHS = Change(
    "2.6",
    "2.12",
    what="XNNPACK is handed the inputs' own memory, read as if it were contiguous; up to 2.5 a contiguous copy",
    affects="the same, of inputs that are sliced, transposed or of two memory formats: refused here",
    source="qmul.cpp xnnp_define_q_tensor, pull request 136850",
)
ONEDNN_SCALES_IN_ONE = Change(
    "1.13",
    "2.0",
    what="oneDNN 2 adds the bias in steps of the accumulator and multiplies once: (acc + b * t) * m + zero_point",
    affects="linear and convolutions on onednn, convolutions on x86 where that takes oneDNN",
    source="ideep matmul.hpp, conv.hpp op_scales and bias_scales",
)
ONEDNN_SCALES_TOGETHER = Change(
    "2.1",
    "2.10",
    what="oneDNN's kernels for AVX-512 multiply by the product of both scales, as those for AVX2; later one by one",
    affects="linear and convolutions on onednn, convolutions on x86 where that takes oneDNN, on CPUs with AVX-512",
    source="oneDNN scale_utils.cpp precompute_scales",
)
SIGMOID_FUSED = Change(
    "1.13",
    "2.1",
    what="the vector body of sigmoid dequantizes with fma(scale, q, scale * -zero_point), as add's",
    affects="sigmoid",
    source="QuantizedOpKernels.cpp qsigmoid_kernel; pull request 114098",
)
ELU_BY_EXP = Change(
    "1.13",
    "2.10",
    what="elu computes exp(x) - 1, in two steps; later expm1(x)",
    affects="elu",
    source="QuantizedOpKernels.cpp qelu_kernel",
)
MULTIPLIED_IN_FLOAT = Change(
    "1.13",
    "2.4",
    what="scalar code rounds an integer to float32 before it multiplies; later it multiplies in float64",
    affects="prelu of qint32, in scalar tails, where integers leave 24 bits",
    source="AffineQuantizerBase.cpp requantize_from_int, and its compiler",
)
PADDING_OF_THE_UNDILATED = Change(
    "1.13",
    "2.2",
    what="qnnpack's max pool takes a padding up to half of the kernel as it is given; later, of the dilated one",
    affects="max_pool1d, max_pool2d on qnnpack: what is refused",
    source="Pooling.cpp check_maxpool2d_params",
)
EMPTY_IMAGES = Change(
    "1.13",
    "2.10",
    what="interpolate returns an empty image where a scale factor leaves no row of pixels; later that is refused",
    affects="interpolate: what is refused",
    source="UpSample.cpp compute_output_size, UpSample.h",
)

HISTORY: tuple[Change, ...] = (
    ONEDNN_SCALES_IN_ONE,
    AVX512_BODIES,
    SIGMOID_FUSED,
    XNNPACK_NEEDS_A_RANGE,
    PADDING_OF_THE_UNDILATED,
    MULTIPLIED_IN_FLOAT,
    ELU_BY_EXP,
    EMPTY_IMAGES,
    ONEDNN_SCALES_TOGETHER,
    XNNPACK,
    XNNPACK_GRAPHS,
    DEPTHWISE_BIAS_FUSED,
    ZERO_POINT_FIRST,
)
"""Every change, in the order in which they ended."""


def release_of(version: Any) -> str:
    """The release that a version names: "2.14.1+cu130" is "2.14".

    Warns:
        UserWarning: the version is newer than every release that is known; it is taken for the newest.

    Raises:
        TypeError: version is not a string.
        ValueError: it is no version, or older than 1.13.
    """
    known = f"{RELEASES[0]} to {RELEASES[-1]}"
    if not isinstance(version, str):
        raise TypeError(f"release must be a string, {known}, got {version!r}")
    found = re.match(r"(\d+)\.(\d+)(?![\d])", version)
    if not found:
        raise ValueError(f"release must be one of PyTorch's, {known}, got {version!r}")
    release = f"{int(found[1])}.{int(found[2])}"
    if release in RELEASES:
        return release
    if (int(found[1]), int(found[2])) < (1, 13):
        raise ValueError(f"release must be one of PyTorch's, {known}, got {version!r}")
    warnings.warn(f"release {version!r} is taken for {RELEASES[-1]}: newer ones are unproven", stacklevel=3)
    return RELEASES[-1]
