"""The cheat sheet's lines: one list, which the page prints and the tests execute, every line of it.

A line has a formula in TeX, an expression in NumPy and one in C99, both written in the steps of ``STEPS`` and in the
variables of ``TYPES``. Of several lines of code the last is the expression.
"""

import re
from typing import NamedTuple

__all__ = ["INCLUDES", "SECTIONS", "STEPS", "TYPES", "Line", "Section", "Step", "lines", "preamble", "tex"]


class Line(NamedTuple):
    """One integer on one path."""

    key: str
    title: str
    who: str
    """The engines, the capabilities and the place that it is for."""
    tex: str
    numpy: str
    c: str


class Section(NamedTuple):
    """Lines of one kind."""

    key: str
    lines: tuple[Line, ...]
    given: tuple[str, str] = ("", "")
    """What the page defines above them, in NumPy and in C."""


class Step(NamedTuple):
    """A function that the lines call; ``first`` is what it is in PyTorch 2.13, in NumPy and in C, if another."""

    name: str
    what: str
    tex: str
    numpy: str
    c: str
    first: tuple[str, str] | None = None


INCLUDES = (
    "import numpy as np\nfrom numpy import rint, float32 as f\nfrom qlearn.codes.rounding import fma\n",
    "#include <math.h>\nstatic float f(double v) { return (float)v; }\n",
)
"""What stands above the steps, in NumPy and in C."""

STEPS = (
    Step(
        "R",
        "inverse, in float32",
        r"R(s) = 1 / \fl(s)",
        "def R(s): return f(1) / f(s)",
        "static float R(double s) { return 1 / f(s); }",
    ),
    Step(
        "D",
        "inverse, in float64",
        r"D(s) = \fl(1 / s)",
        "def D(s): return f(1 / np.float64(s))",
        "static float D(double s) { return f(1 / s); }",
    ),
    Step(
        "clip",
        "clamp to quint8",
        r"\clip(v) = \min(\max(v, 0), 255)",
        "def clip(v): return np.clip(v, 0, 255)",
        "static float clip(float v) { return fminf(fmaxf(v, 0), 255); }",
    ),
    Step(
        "T",
        "dequantize, scalar",
        r"T = (q - z)\,s",
        "def T(q, s, z): return f(q - z) * f(s)",
        "static float T(int q, double s, int z) { return f(q - z) * f(s); }",
    ),
    Step(
        "B",
        "dequantize, vector body",
        r"B = \fma(s,\ q,\ s \cdot (-z))",
        "def B(q, s, z): return fma(f(s), f(q), f(s) * f(-z))",
        "static float B(int q, double s, int z) { return fmaf(f(s), f(q), f(s) * f(-z)); }",
    ),
    Step(
        "Q",
        "quantize",
        r"Q(x, r) = \clip(\rint(x\,r) + z)",
        "def Q(x, r, z): return clip(rint(x * r) + f(z))",
        "static float Q(float x, float r, int z) { return clip(rintf(x * r) + f(z)); }",
    ),
    Step(
        "Qs",
        "the same, in scalar code",
        r"Q^s = Q; \text{ in 2.13: } \clip(\rint(x\,r + z))",
        "Qs = Q",
        "#define Qs Q",
        (
            "def Qs(x, r, z): return clip(rint(x * r + f(z)))",
            "static float Qs(float x, float r, int z) { return clip(rintf(x * r + f(z))); }",
        ),
    ),
    Step(
        "Qf",
        "the same, in FBGEMM’s vectors",
        r"Q^f = Q; \text{ in 2.13: } \clip(\rint(\fma(x, r, z)))",
        "Qf = Q",
        "#define Qf Q",
        (
            "def Qf(x, r, z): return clip(rint(fma(x, r, f(z))))",
            "static float Qf(float x, float r, int z) { return clip(rintf(fmaf(x, r, f(z)))); }",
        ),
    ),
)

TYPES = {
    **dict.fromkeys(("q", "qa", "qb", "z", "za", "zb", "zx", "acc", "S", "n", "kh", "kw"), "int"),
    **dict.fromkeys(("x0", "x1", "w0", "w1"), "int"),
    **dict.fromkeys(("s", "sa", "sb", "sx", "sw", "c", "low", "high", "a"), "double"),
    **dict.fromkeys(("x", "b", "w", "y"), "float"),
}
"""Of the variables in the lines, as C has them; in NumPy "int" is int64, "float" float32."""

CODES = Section(
    "codes",
    (
        Line(
            "quantize",
            "quantize_per_tensor",
            "every engine, body and tail",
            r"Q^f(x, R(s))",
            "Qf(x, R(s), z)",
            "Qf(x, R(s), z)",
        ),
        Line(
            "quantize_channel",
            "quantize_per_channel",
            "every engine, body and tail",
            r"Q^s(x, R(s))",
            "Qs(x, R(s), z)",
            "Qs(x, R(s), z)",
        ),
        Line("dequantize", "dequantize", "per tensor", r"T", "T(q, s, z)", "T(q, s, z)"),
        Line(
            "dequantize_channel",
            "dequantize",
            "per channel: the product in float64",
            r"\fl\big((q - z)\,s\big)",
            "f((q - z) * np.float64(s))",
            "f((q - z) * s)",
        ),
    ),
)

PAIRS = Section(
    "pairs",
    (
        Line(
            "add_body",
            "add",
            "body, AVX2 and AVX512",
            r"Q(B_a + B_b,\ R(s))",
            "Q(B(qa, sa, za) + B(qb, sb, zb), R(s), z)",
            "Q(B(qa, sa, za) + B(qb, sb, zb), R(s), z)",
        ),
        Line(
            "add_tail",
            "add",
            "tail, every capability",
            r"Q^s(T_a + T_b,\ R(s))",
            "Qs(T(qa, sa, za) + T(qb, sb, zb), R(s), z)",
            "Qs(T(qa, sa, za) + T(qb, sb, zb), R(s), z)",
        ),
        Line(
            "add_default",
            "add",
            "body, DEFAULT",
            r"Q^f(T_a + T_b,\ R(s))",
            "Qf(T(qa, sa, za) + T(qb, sb, zb), R(s), z)",
            "Qf(T(qa, sa, za) + T(qb, sb, zb), R(s), z)",
        ),
        Line(
            "add_qnnpack",
            "add",
            "qnnpack, integers alone; the larger of sa / s and sb / s from 2⁻¹⁰ to below 2⁸",
            r"\begin{aligned} n &= 21 - \lfloor \log_2 \max(s_a, s_b) / s \rfloor \\"
            r" m_i &= \rint(2^n s_i / s) \\"
            r" v &= m_a (a - z_a) + m_b (b - z_b) \\"
            r" q &= \clip\big(\operatorname{sgn} v \,\lfloor (|v| + 2^{n-1}) / 2^n \rfloor + z\big) \end{aligned}",
            "n = 22 - np.frexp(max(f(sa), f(sb)) / f(s))[1]\n"
            "ma, mb = (int(rint(np.ldexp(f(i) / f(s), n))) for i in (sa, sb))\n"
            "v = ma * (qa - za) + mb * (qb - zb)\n"
            "clip(np.sign(v) * ((abs(v) + (1 << n - 1)) >> n) + z)",
            "int n = 21 - ilogbf(fmaxf(f(sa), f(sb)) / f(s));\n"
            "long ma = lrintf(ldexpf(f(sa) / f(s), n)), mb = lrintf(ldexpf(f(sb) / f(s), n));\n"
            "long long v = ma * (qa - za) + mb * (qb - zb), h = 1LL << (n - 1);\n"
            "clip((v < 0 ? -((h - v) >> n) : (v + h) >> n) + z)",
        ),
        Line(
            "mul",
            "mul",
            "every engine and capability, body and tail",
            r"Q\big((a - z_a)(b - z_b),\ (s_a s_b) R(s)\big)",
            "Q(f((qa - za) * (qb - zb)), f(sa) * f(sb) * R(s), z)",
            "Q(f((qa - za) * (qb - zb)), f(sa) * f(sb) * R(s), z)",
        ),
    ),
)

SINGLES = Section(
    "singles",
    (
        Line(
            "relu",
            "relu, and every fused ReLU",
            "every engine and path: of the code without it",
            r"\max(q, z)",
            "np.maximum(q, z)",
            "q > z ? q : z",
        ),
        Line(
            "add_scalar",
            "add_scalar",
            "every engine; c real, all of v and s in float64. The result has scale s and zero point clip(v)",
            r"\begin{aligned} k &= \rint(c / s_x),\quad v = z_x - k \\"
            r" s &= \tfrac{\max(255 - v,\ v,\ 255)}{255}\, s_x \\"
            r" q' &= Q\big(q - z_x + k,\ s_x R(s)\big),\ z = \clip(v) \end{aligned}",
            "k = int(rint(c / sx))\n"
            "v = zx - k\n"
            "s = max(255 - v, v, 255) / 255 * sx\n"
            "Q(f(q - zx + k), f(sx) * R(s), clip(v))",
            "int k = (int)rint(c / sx), v = zx - k;\n"
            "double s = fmax(fmax(255. - v, v), 255) / 255 * sx;\n"
            "Q(f(q - zx + k), f(sx) * R(s), (int)clip(v))",
        ),
        Line(
            "mul_scalar",
            "mul_scalar",
            "every engine; scale |c| · s, and 1 where c = 0; the zero point turns around as a code does",
            r"q \text{ if } c > 0,\ 255 - q \text{ if } c < 0,\ 0 \text{ if } c = 0",
            "np.where(c > 0, q, 255 - q) * (c != 0)",
            "c > 0 ? q : c < 0 ? 255 - q : 0",
        ),
        Line(
            "clamp",
            "clamp, hardtanh, relu6",
            "every engine: bounds become codes",
            r"\begin{aligned} & \min(\max(q, l), h),\ l = Q^s(\mathit{low}, R(s)), \\"
            r" & h = Q^s(\mathit{high}, R(s)) \end{aligned}",
            "np.minimum(np.maximum(q, Qs(f(low), R(s), z)), Qs(f(high), R(s), z))",
            "fminf(fmaxf(f(q), Qs(f(low), R(s), z)), Qs(f(high), R(s), z))",
        ),
        Line(
            "cat_body",
            "cat",
            "channels_last along channels, whole eights of channels, AVX2 and AVX512; equal parameters: a copy",
            r"Q(B,\ D(s))",
            "Q(B(q, sx, zx), D(s), z)",
            "Q(B(q, sx, zx), D(s), z)",
        ),
        Line(
            "cat_tail",
            "cat",
            "channels_last: the channels left over",
            r"Q^s(T,\ R(s))",
            "Qs(T(q, sx, zx), R(s), z)",
            "Qs(T(q, sx, zx), R(s), z)",
        ),
        Line(
            "cat_contiguous",
            "cat",
            "any other, and DEFAULT",
            r"Q^f(T,\ R(s))",
            "Qf(T(q, sx, zx), R(s), z)",
            "Qf(T(q, sx, zx), R(s), z)",
        ),
        Line(
            "hardswish_body",
            "hardswish",
            "body, AVX2 and AVX512",
            r"\begin{aligned} & Q\big(x \min(\max(x + 3, 0), 6) / 6,\ D(s)\big), \\ & x = B \end{aligned}",
            "x = B(q, sx, zx)\nQ(x * np.clip(x + f(3), 0, 6) / f(6), D(s), z)",
            "float x = B(q, sx, zx);\nQ(x * fminf(fmaxf(x + 3, 0), 6) / 6, D(s), z)",
        ),
        Line(
            "hardswish_tail",
            "hardswish",
            "tail",
            r"\begin{aligned} & Q^s\big(x \min(\max(x + 3, 0), 6) / 6,\ R(s)\big), \\ & x = T \end{aligned}",
            "x = T(q, sx, zx)\nQs(x * np.clip(x + f(3), 0, 6) / f(6), R(s), z)",
            "float x = T(q, sx, zx);\nQs(x * fminf(fmaxf(x + 3, 0), 6) / 6, R(s), z)",
        ),
        Line(
            "hardswish_qnnpack",
            "hardswish",
            "qnnpack: the zero point before the rounding",
            r"\begin{aligned} & \rint\big(\clip(h \cdot R(s) + z)\big), \\"
            r" & h = x \min(\max(x + 3, 0), 6) / 6,\ x = T \end{aligned}",
            "x = T(q, sx, zx)\nrint(clip(x * np.clip(x + f(3), 0, 6) / f(6) * R(s) + f(z)))",
            "float x = T(q, sx, zx);\nrintf(clip(x * fminf(fmaxf(x + 3, 0), 6) / 6 * R(s) + f(z)))",
        ),
        Line(
            "hardsigmoid_body",
            "hardsigmoid",
            "body, AVX2 and AVX512; scale 1/256, zero point 0",
            r"Q\big(\min(\max(B + 3, 0), 6) / 6,\ 256\big)",
            "Q(np.clip(B(q, sx, zx) + f(3), 0, 6) / f(6), f(256), 0)",
            "Q(fminf(fmaxf(B(q, sx, zx) + 3, 0), 6) / 6, 256, 0)",
        ),
        Line(
            "hardsigmoid_tail",
            "hardsigmoid",
            "tail; all on qnnpack",
            r"Q^s\big(\min(\max(T + 3, 0), 6) / 6,\ 256\big)",
            "Qs(np.clip(T(q, sx, zx) + f(3), 0, 6) / f(6), f(256), 0)",
            "Qs(fminf(fmaxf(T(q, sx, zx) + 3, 0), 6) / 6, 256, 0)",
        ),
        Line(
            "leaky_relu_body",
            "leaky_relu",
            "body, AVX2 and AVX512; slope a",
            r"Q(x > 0\ ?\ x : x\,a,\ R(s)),\ x = B",
            "x = B(q, sx, zx)\nQ(np.where(x > 0, x, x * f(a)), R(s), z)",
            "float x = B(q, sx, zx);\nQ(x > 0 ? x : x * f(a), R(s), z)",
        ),
        Line(
            "leaky_relu_tail",
            "leaky_relu",
            "tail",
            r"Q^s(x > 0\ ?\ x : x\,a,\ R(s)),\ x = T",
            "x = T(q, sx, zx)\nQs(np.where(x > 0, x, x * f(a)), R(s), z)",
            "float x = T(q, sx, zx);\nQs(x > 0 ? x : x * f(a), R(s), z)",
        ),
    ),
)

ACCUMULATORS = Section(
    "accumulators",
    (
        Line(
            "fbgemm",
            "fbgemm",
            "weight per tensor; linear on x86; convolution on x86 where that takes FBGEMM",
            r"Q\big(\fma(b,\ R(t),\ \mathrm{acc}),\ t / s\big)",
            "Q(fma(b, R(t), f(acc)), t / f(s), z)",
            "Q(fmaf(b, R(t), f(acc)), t / f(s), z)",
        ),
        Line(
            "fbgemm_channel",
            "fbgemm",
            "weight per channel; the same places",
            r"Q\big(\mathrm{acc} + b / t,\ t / s\big)",
            "Q(f(acc) + b / t, t / f(s), z)",
            "Q(f(acc) + b / t, t / f(s), z)",
        ),
        Line(
            "fbgemm_depthwise",
            "fbgemm, depthwise",
            "weight per tensor, from 2.14 on; earlier, and per channel, as the lines above",
            r"Q\big(\mathrm{acc} + b\,R(t),\ t / s\big)",
            "Q(f(acc) + b * R(t), t / f(s), z)",
            "Q(f(acc) + b * R(t), t / f(s), z)",
        ),
        Line(
            "pair",
            "16-bit pairs",
            "neighbours in a sum, on CPUs without VNNI (fbgemm, x86, onednn), in FBGEMM’s depthwise on every CPU. "
            "acc is the sum of these, less zx times the sum of w",
            r"\min(\max(x_0 w_0 + x_1 w_1, -2^{15}), 2^{15} - 1)",
            "np.clip(x0 * w0 + x1 * w1, -32768, 32767)",
            "fminf(fmaxf(f(x0 * w0 + x1 * w1), -32768), 32767)",
        ),
        Line(
            "onednn_avx512",
            "onednn: y",
            "VNNI, AVX-512; convolution on x86 with VNNI",
            r"y = \mathrm{acc} \cdot R(D(s_x)) \cdot w + b",
            "f(acc) * R(D(sx)) * w + b",
            "f(acc) * R(D(sx)) * w + b",
        ),
        Line(
            "onednn_avx2",
            "onednn: y",
            "AVX2 but for its reference kernel, AMX; in 2.1 to 2.10 everywhere",
            r"y = \mathrm{acc} \cdot (R(D(s_x)) \cdot w) + b",
            "f(acc) * (R(D(sx)) * w) + b",
            "f(acc) * (R(D(sx)) * w) + b",
        ),
        Line("onednn_w", "onednn: w", "linear, weight per tensor", r"w = R(D(s_w))", "R(D(sw))", "R(D(sw))"),
        Line(
            "onednn_w_channel",
            "onednn: w",
            "linear, per channel; in a convolution w = f(sw)",
            r"w = R(R(s_w))",
            "R(R(sw))",
            "R(R(sw))",
        ),
        Line(
            "onednn_code",
            "onednn: code",
            "from y; the zero point before the rounding in every release",
            r"\clip\big(\rint(y\, R(R(D(s))) + z)\big)",
            "clip(rint(y * R(R(D(s))) + f(z)))",
            "clip(rintf(y * R(R(D(s))) + f(z)))",
        ),
        Line(
            "onednn_divided",
            "onednn: code",
            "linear on AVX-512 and VNNI in 2.15",
            r"\clip\big(\rint(y / R(D(s)) + z)\big)",
            "clip(rint(y / R(D(s)) + f(z)))",
            "clip(rintf(y / R(D(s)) + f(z)))",
        ),
        Line(
            "onednn_2",
            "onednn, all",
            "1.13 and 2.0; weight per tensor, per channel with R(sw) for D(sw)",
            r"\begin{aligned} & \clip\big(\rint((\mathrm{acc} + b\,u) (D(s) / u) + z)\big), \\"
            r" & u = D(s_x)\,D(s_w) \end{aligned}",
            "u = D(sx) * D(sw)\nclip(rint((f(acc) + b * u) * (D(s) / u) + f(z)))",
            "float u = D(sx) * D(sw);\nclip(rintf((f(acc) + b * u) * (D(s) / u) + f(z)))",
        ),
        Line(
            "qnnpack",
            "qnnpack",
            "every layer, per tensor and per channel; the scales’ first product in float64",
            r"Q\big(\mathrm{acc} + \rint(b\,R(s_w s_x)),\ (s_w s_x) R(s)\big)",
            "Q(f(acc + rint(b * R(sw * sx)).astype(int)), f(sw) * f(sx) * R(s), z)",
            "Q(f(acc + lrintf(b * R(sw * sx))), f(sw) * f(sx) * R(s), z)",
        ),
    ),
    ("t = f(sx) * f(sw)", "float t = f(sx) * f(sw);"),
)

POOLS = Section(
    "pools",
    (
        Line(
            "avg_vector",
            "avg_pool2d",
            "channels_last, whole eights of channels on AVX2, sixteens on AVX512",
            r"Q(S,\ R(n))",
            "Q(f(S), R(n), z)",
            "Q(f(S), R(n), z)",
        ),
        Line(
            "avg_left",
            "avg_pool2d, adaptive",
            "channels_last: the channels left over; all on DEFAULT",
            r"Q^s(S,\ R(n))",
            "Qs(f(S), R(n), z)",
            "Qs(f(S), R(n), z)",
        ),
        Line(
            "avg_contiguous",
            "avg_pool2d",
            "any other layout, every release",
            r"\clip(\rint(S\,R(n) + z))",
            "clip(rint(f(S) * R(n) + f(z)))",
            "clip(rintf(f(S) * R(n) + f(z)))",
        ),
        Line(
            "adaptive_vector",
            "adaptive_avg_pool2d",
            "channels_last, whole eights of channels, AVX2 and AVX512",
            r"Q^f(S,\ R(n))",
            "Qf(f(S), R(n), z)",
            "Qf(f(S), R(n), z)",
        ),
        Line(
            "adaptive_contiguous",
            "adaptive_avg_pool2d",
            "any other layout; here S is the sum of q, and no zero point",
            r"\rint\big(S \cdot (R(k_h) / k_w)\big)",
            "rint(f(S) * (R(kh) / f(kw)))",
            "rintf(f(S) * (R(kh) / f(kw)))",
        ),
        Line(
            "avg_qnnpack",
            "both",
            "qnnpack, quint8; n is the whole kernel",
            r"Q\big(S,\ s / (s\,n)\big)",
            "Q(f(S), f(s) / (f(s) * f(n)), z)",
            "Q(f(S), f(s) / (f(s) * f(n)), z)",
        ),
    ),
)

SECTIONS = (CODES, PAIRS, SINGLES, ACCUMULATORS, POOLS)


def lines() -> dict[str, Line]:
    """Every line of the sheet, by its key."""
    return {line.key: line for section in SECTIONS for line in section.lines}


def tex(text: str) -> str:
    """A formula with the sheet's own names in TeX's words."""
    return re.sub(r"\\(fl|clip|rint|fma)\b", r"\\operatorname{\1}", text)


def preamble(language: int, *, zero_point_first: bool = False) -> str:
    """What stands above the lines, in NumPy (0) or in C (1); of PyTorch 2.13 or of any other release."""
    steps = [(step.first if zero_point_first and step.first else (step.numpy, step.c))[language] for step in STEPS]
    return INCLUDES[language] + "\n".join(steps) + "\n"
