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
    what="kernels are compiled for AVX-512, too, which only ATEN_CPU_CAPABILITY=avx512 chooses: blocks of 128 elements",
    affects="element-wise operators on AVX512; cat, averages, mean and bilinear interpolate are refused there",
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
ONEDNN_DIVIDES = Change(
    "2.15",
    "2.15",
    what="oneDNN's linear layer on AVX-512 divides by the result's scale; before it multiplied by the inverse",
    affects="linear and linear_relu on onednn, on CPUs with AVX-512",
    source="oneDNN 3.13 jit_brgemm_kernel.cpp",
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
HISTOGRAM_WHOLE_ENDS = Change(
    "1.13",
    "1.13",
    what="HistogramObserver counts between the range's ends cut to whole numbers and loses what lies outside; how much "
    "the range grows it measures in thin bins",
    affects="HistogramObserver",
    source="torch/ao/quantization/observer.py HistogramObserver.forward, _adjust_min_max",
)
LINSPACE_IN_VECTORS = Change(
    "1.13",
    "1.13",
    what="torch.linspace counts each vector up from its first point, so that the last point may miss the end",
    affects="torch.histc, and with it HistogramObserver, where bins + 1 is a multiple of 16, on AVX512 of 32",
    source="aten/src/ATen/native/cpu/RangeFactoriesKernel.cpp linspace_kernel",
)
HISTC_DIVIDES_FIRST = Change(
    "1.13",
    "1.13",
    what="torch.histc finds a value's bin by (x - min) / (max - min) * bins; since 2.0 the product comes first",
    affects="HistogramObserver: values within a rounding of a bin's edge, where bins is no power of two",
    source="aten/src/ATen/native/cpu/HistogramKernel.cpp",
)
SUM_IN_16_LANES = Change(
    "1.13",
    "2.0",
    what="torch.sum adds 16 lanes instead of 8 on capability AVX512",
    affects="HistogramObserver on AVX512: the errors that its search compares",
    source="aten/src/ATen/native/cpu/SumKernel.cpp, its registration for AVX-512",
)
HISTOGRAM_STRETCHED = Change(
    "1.13",
    "2.4",
    what="HistogramObserver cuts a bin into 128 thin ones and stretches the new range until whole numbers of them fill "
    "its bins; one value seen so far is forgotten",
    affects="HistogramObserver from the second batch on",
    source="torch/ao/quantization/observer.py HistogramObserver._adjust_min_max, _combine_histograms",
)
HISTOGRAM_RATIO_FIRST = Change(
    "2.3",
    "2.4",
    what="HistogramObserver divides the ranges by each other before it multiplies with 128 * bins; up to 2.2 after",
    affects="HistogramObserver from the second batch on, where bins is no power of two",
    source="torch/ao/quantization/observer.py HistogramObserver._adjust_min_max",
)
HISTOGRAM_FORGETS = Change(
    "2.4",
    "2.4",
    what="HistogramObserver does not keep the counts of a batch within the range, and starts anew where the range so "
    "far is narrower than 1e-6 or the thin bins would take more than 1e9 bytes",
    affects="HistogramObserver from the second batch on",
    source="torch/ao/quantization/observer.py HistogramObserver.forward",
)
HISTOGRAM_WEIGHT_OF_NEW = Change(
    "2.5",
    "2.8",
    what="HistogramObserver counts a value that was the only one so far as often as there are values in the new batch; "
    "since 2.9 as often as it was seen",
    affects="HistogramObserver whose first batches hold a single value",
    source="torch/ao/quantization/observer.py HistogramObserver._combine_histograms",
)
HISTC_WIDENS_BY_ONE = Change(
    "1.13",
    "2.9",
    what="torch.histc widens a range of one value by 1 to each side even where float32 has no such neighbours; since "
    "2.10 to the neighbours at least",
    affects="the histogram of a HistogramObserver that saw nothing but one value of 2**24 or more, not its scale; "
    "beyond 2**53 PyTorch ends in an error",
    source="aten/src/ATen/native/Histogram.cpp histc_select_outer_bin_edges",
)

HISTORY: tuple[Change, ...] = (
    HISTOGRAM_WHOLE_ENDS,
    LINSPACE_IN_VECTORS,
    HISTC_DIVIDES_FIRST,
    AVX512_BODIES,
    ONEDNN_SCALES_IN_ONE,
    SUM_IN_16_LANES,
    SIGMOID_FUSED,
    XNNPACK_NEEDS_A_RANGE,
    PADDING_OF_THE_UNDILATED,
    MULTIPLIED_IN_FLOAT,
    HISTOGRAM_STRETCHED,
    HISTOGRAM_RATIO_FIRST,
    HISTOGRAM_FORGETS,
    HISTOGRAM_WEIGHT_OF_NEW,
    HISTC_WIDENS_BY_ONE,
    ONEDNN_SCALES_TOGETHER,
    ELU_BY_EXP,
    EMPTY_IMAGES,
    XNNPACK,
    XNNPACK_GRAPHS,
    ZERO_POINT_FIRST,
    DEPTHWISE_BIAS_FUSED,
    ONEDNN_DIVIDES,
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
