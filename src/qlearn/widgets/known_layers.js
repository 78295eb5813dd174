import { clamp, cvtps2dq, DTYPES, fma32, fround, reciprocal, rint } from "./arithmetic.js";
import { arithmetic, constant, finish, IN_FLOAT64, mistaken, ROUNDED_OTHERWISE, step, within } from "./known_codes.js";
import { FIXED_POINT, fits, times } from "./known_fixed.js";

// From an accumulator to a code; the accumulator itself, from rows of codes and weights; and averages of windows.

const RANGE = DTYPES.quint8;
const inverted = (scale) => reciprocal(1 / scale); // 1 / float32(1 / s), the inner division in float64
const asReal = step("acc", "float32", "float32", fround);
const roundThenAdd = (z) => step("integer", "rint(v) + z", "int32", (v) => cvtps2dq(v) + z);
const toCode = (least) => step("code", "clamp", "code", within(least, 255));

// An int32 next to a bias in its steps, wrapping.
const wrapping = (bias) => step("acc + b", "acc + b, in int32", "int32", (acc) => (acc + bias) | 0);
const toInt32 = (steps) => (Number.isNaN(steps) ? -(2 ** 31) : clamp(rint(steps), -(2 ** 31), 2 ** 31 - 1));

function fbgemmLane({ sx, sw, bias, s, z, per_channel: channel, relu }, depthwise) {
  const [t, b] = [fround(fround(sx) * fround(sw)), fround(bias)];
  const [m, r] = [fround(t / fround(s)), reciprocal(t)];
  const part = fround(channel ? b / t : b * r);
  const fused = !channel && !depthwise;
  const total = fused ? step("sum", "fma(bias, r, acc)", "float32", (acc) => fma32(b, r, acc)) : step("sum", "acc + b", "float32", (acc) => fround(acc + part));
  return {
    constants: [constant("t", "sx·sw", "float32", t), ...(channel ? [] : [constant("r", "1/t", "float32", r)]), ...(fused ? [] : [constant("b", channel ? "bias / t" : "bias·r", "float32", part)]), constant("m", "t/s", "float32", m)],
    then: [asReal, total, step("v", "sum·m", "float32", (sum) => fround(sum * m)), roundThenAdd(z), toCode(relu ? z : 0)],
  };
}

function qnnpackLane({ sx, sw, bias, s, z, relu }) {
  const b = toInt32(fround(fround(bias) * reciprocal(sw * sx)));
  const m = fround(fround(fround(sw) * fround(sx)) * reciprocal(s));
  return {
    constants: [constant("b", "rint(bias·(1/(sw·sx)))", "int32", b), constant("m", "(sw·sx)·(1/s)", "float32", m)],
    then: [wrapping(b), step("sum", "float32", "float32", fround), step("v", "sum·m", "float32", (sum) => fround(sum * m)), roundThenAdd(z), toCode(relu ? z : 0)],
  };
}

// The weight's scale as oneDNN has it: inverted twice in a linear layer.
const scaleOfWeight = (sw, channel, conv) => (conv ? fround(sw) : channel ? reciprocal(reciprocal(sw)) : inverted(sw));

function onednnLane({ sx, sw, bias, s, z, per_channel: channel, relu }, conv, { together = false, divided = false } = {}) {
  const [x, w, out, b] = [inverted(sx), scaleOfWeight(sw, channel, conv), inverted(s), fround(bias)];
  const [both, r] = [fround(x * w), reciprocal(out)];
  const scaled = together ? [step("real", "acc·(x·w)", "float32", (acc) => fround(acc * both))]
    : [step("acc·x", "acc·x", "float32", (acc) => fround(acc * x)), step("real", "(acc·x)·w", "float32", (y) => fround(y * w))];
  const add = relu ? step("y", "max(real + bias, 0)", "float32", (y) => Math.max(fround(y + b), 0)) : step("y", "real + bias", "float32", (y) => fround(y + b));
  const v = divided ? step("v", "y / R(s)", "float32", (y) => fround(y / out)) : step("v", "y·(1/R(s))", "float32", (y) => fround(y * r));
  return {
    constants: [constant("x", "R(sx)", "float32", x), constant("w", conv ? "sw" : "sw, inverted twice", "float32", w), ...(together ? [constant("x·w", "x·w", "float32", both)] : []), constant("R(s)", "1 / float32(1/s)", "float32", out)],
    then: [asReal, ...scaled, add, v, step("with z", "v + z", "float32", (u) => fround(u + z)), step("code", "rint, clamp", "code", (u) => within(0, 255)(rint(u)))],
  };
}

// oneDNN 2: the bias in steps of the accumulator, and one multiplier.
function onednn2Lane({ sx, sw, bias, s, z, per_channel: channel, relu }) {
  const t = fround(fround(1 / sx) * (channel ? reciprocal(sw) : fround(1 / sw)));
  const [m, b] = [fround(fround(1 / s) / t), fround(fround(bias) * t)];
  const v = relu ? step("v", "max(sum·m, 0)", "float32", (sum) => Math.max(fround(sum * m), 0)) : step("v", "sum·m", "float32", (sum) => fround(sum * m));
  return {
    constants: [constant("t", "(1/sx)·(1/sw)", "float32", t), constant("b", "bias·t", "float32", b), constant("m", "(1/s) / t", "float32", m)],
    then: [asReal, step("sum", "acc + b", "float32", (acc) => fround(acc + b)), v, step("with z", "v + z", "float32", (u) => fround(u + z)), step("code", "rint, clamp", "code", (u) => within(0, 255)(rint(u)))],
  };
}

// An engine's arithmetic with steps replaced, as qlearn.network.flawed_layers has it.
function flawedLane(kernel, p, conv, { double, divide, order, bias = "", rounding, fixed, plain, wrap, relu: atZero }) {
  const { sx, sw, s, z, per_channel: channel, relu } = p;
  const onednn = kernel.startsWith("onednn");
  const [number, type] = double ? [(x) => x, "float64"] : [fround, "float32"];
  const w = onednn && !conv && !plain && !double ? scaleOfWeight(sw, channel, conv) : sw;
  const product = w * sx;
  const real = fround(p.bias);
  const whole = Boolean(fixed) || (bias ? bias !== "real" : kernel === "qnnpack");
  const steps = bias === "double" || double || fixed ? real / product : bias === "divide" ? fround(real / fround(product)) : fround(real * reciprocal(product));
  const b = toInt32(steps);
  const start = whole ? [wrapping(b)] : [];
  const constants = whole ? [constant("b", "bias in steps of the accumulator", "int32", b)] : [];
  const left = whole ? 0 : real; // of the bias
  const least = relu && !atZero ? z : 0;
  const ends = (first, wide) => finish(z, RANGE, { first: order === "other" ? !first : first && order !== "last", rounding, double: wide, wrap, least });
  if (fixed) {
    const run = times(product / s, fixed);
    return { constants: [...constants, constant("m", "sx·sw/s", "float64", product / s)], then: [...start, step("v", fixed === "gemmlowp" ? "acc·m: rounded at 31 bits, then to an integer" : "acc·m in integers, ties up", "int64", run), ...ends(false, true)] };
  }
  const acc = double ? step("acc", "float64", "float64", (a) => a) : asReal;
  if (onednn) {
    const [x, out] = plain || double ? [number(sx), number(s)] : [inverted(sx), inverted(s)];
    const factor = number(w);
    const [both, r] = [number(x * factor), number(1 / out)];
    const scaled = kernel === "onednn_avx2" ? step("real", "acc·(x·w)", type, (a) => number(a * both)) : step("real", "(acc·x)·w", type, (a) => number(number(a * x) * factor));
    const add = relu && !atZero ? step("y", "max(real + bias, 0)", type, (y) => Math.max(number(y + left), 0)) : step("y", "real + bias", type, (y) => number(y + left));
    const v = divide ? step("v", "y / s", type, (y) => number(y / out)) : step("v", "y·(1/s)", type, (y) => number(y * r));
    return { constants, then: [...start, acc, scaled, add, v, ...ends(true, double)] };
  }
  const [t, scale] = [number(number(sx) * number(w)), number(s)];
  if (double && divide) {
    return { constants, then: [...start, acc, step("y", "acc·t + bias", type, (a) => a * t + left), step("v", "y / s", type, (y) => y / scale), ...ends(false, double)] };
  }
  const part = number(left / t);
  const r = reciprocal(t);
  const sum = whole ? [] : [!channel && !double && kernel === "fbgemm" ? step("sum", "fma(bias, 1/t, acc)", type, (a) => fma32(left, r, a)) : step("sum", "acc + bias/t", type, (a) => number(a + part))];
  const fbgemm = kernel === "fbgemm";
  const m = fbgemm || divide ? number(t / scale) : number(t * number(1 / scale));
  const v = divide && fbgemm ? step("v", "(sum·t) / s", type, (a) => number(number(a * t) / scale)) : step("v", "sum·m", type, (a) => number(a * m));
  return { constants, then: [...start, acc, ...sum, v, ...ends(false, double)] };
}

const BIAS = [["bias", "rounded in float64", { bias: "double" }], ["bias", "divided in float32", { bias: "divide" }], ["bias", "times the inverse", { bias: "multiply" }]];
const NO_CLAMP = ["no clamp", "", { wrap: true }];
const TWO_STEPS = [["divide", "", { divide: true }], ["zero point", "", { order: "other" }]];
const LAST = IN_FLOAT64.map(([name, variant, how]) => [name, `${variant}, zero point last`, { ...how, order: "last" }]);
const PLAIN = ["scales inverted once", "", { plain: true }];

// Whose arithmetic the mistakes are made in, and which can be made there and nowhere before.
const KERNELS = [
  ["fbgemm", "fbgemm", (fixed) => [...IN_FLOAT64, ...TWO_STEPS, ...BIAS, ...ROUNDED_OTHERWISE, ...fixed, NO_CLAMP]],
  ["qnnpack", "qnnpack", () => [...IN_FLOAT64, ...TWO_STEPS, ["bias", "kept real", { bias: "real" }], ...ROUNDED_OTHERWISE, NO_CLAMP]],
  ["onednn_vnni", "onednn, AVX-512", (fixed, conv) => [...IN_FLOAT64, ...LAST, ...TWO_STEPS, ...BIAS, ...ROUNDED_OTHERWISE, ...(conv ? [] : fixed), PLAIN, NO_CLAMP]],
  ["onednn_avx2", "onednn, AVX2", () => [...TWO_STEPS, ...BIAS, ...ROUNDED_OTHERWISE, PLAIN, NO_CLAMP]],
];

export function ofRequantize(p, conv) {
  const { sx, sw, s, z, per_channel: channel, relu } = p;
  const pytorch = (name, key, words, chain) => arithmetic({ kind: "pytorch", name, key, words, ...chain });
  const found = [
    pytorch(conv ? "fbgemm, and x86 where it takes FBGEMM" : "fbgemm, and x86", "fbgemm", conv ? "every release and CPU; depthwise up to 2.13" : "every release and CPU", fbgemmLane(p)),
    ...(conv && !channel ? [pytorch("fbgemm, depthwise since 2.14", "fbgemm-depthwise", "the bias is multiplied, then added", fbgemmLane(p, true))] : []),
    pytorch("qnnpack", "qnnpack", "every release and CPU: the bias becomes an integer first", qnnpackLane(p)),
    pytorch("onednn, AVX-512", "onednn-avx512", conv ? "2.11 and newer, and x86 where the CPU has VNNI: one scale after the other" : "2.11 to 2.14: one scale after the other", onednnLane(p, conv)),
    pytorch("onednn, AVX2; AVX-512 up to 2.10, or AMX", "onednn-avx2", conv ? "2.1 and newer, and x86 where the CPU has VNNI; kernels that multiply matrices too: both scales at once" : "2.1 and newer: both scales at once", onednnLane(p, conv, { together: true })),
    conv ? pytorch("onednn, without a kernel for the shape", "onednn-reference", "grouped convolutions on AVX2: divided by the scale", onednnLane(p, conv, { divided: true }))
      : pytorch("onednn, AVX-512, 2.15", "onednn-2.15", "divided by the scale", onednnLane(p, conv, { divided: true })),
    pytorch("onednn, 1.13 and 2.0", "onednn-2.0", "oneDNN 2: the bias in steps of the accumulator, and one multiplier", onednn2Lane(p)),
  ];
  const fixed = fits((sx * sw) / s) ? FIXED_POINT : [];
  for (const [kernel, where, waysOf] of KERNELS) {
    const ways = [...waysOf(fixed, conv), ...(relu && z !== 0 ? [["ReLU at code 0", "", { relu: true }]] : [])];
    found.push(...ways.map((way) => mistaken(way, where, (how) => flawedLane(kernel, p, conv, how))));
  }
  return found;
}

// The accumulator of a row of codes and a row of weights: sum (x − zx)(w − zw). With `pairs`, as a CPU without VNNI sums it: the
// two products of each two neighbours, of codes as they are stored, clamped to 16 bits. "onednn": those of oneDNN's linear
// layer for AVX2, which cuts rows of 257 to 767 in two halves.
export function accumulator(x, w, { zx, zw = 0, pairs = "" }) {
  let sum = 0;
  for (let k = 0; k < x.length; k += 1) sum += (x[k] - zx) * (w[k] - zw);
  const half = (x.length + 1) >> 1;
  const cut = pairs === "onednn" && x.length > 256 && x.length < 768 && half % 2 === 1 ? half : -1;
  for (let k = 0; pairs && k < x.length; k += 2) {
    if (k + 1 === cut) { k -= 1; continue; } // the last of the first half is alone
    const two = x[k] * w[k] + (k + 1 < x.length ? x[k + 1] * w[k + 1] : 0);
    sum -= two - clamp(two, -32768, 32767);
  }
  return sum | 0;
}

// Averages

const sumOf = (z) => step("S", "Σ(q − z)", "int32", (codes) => { let sum = 0; for (const q of codes) sum += q - z; return sum; });

export function ofAverage({ s, z, kh, kw, dtype }) {
  const range = DTYPES[dtype];
  const n = kh * kw;
  const [m, sides, qnnpack] = [reciprocal(n), fround(reciprocal(kh) / kw), fround(fround(s) / fround(fround(s) * n))];
  const sum = sumOf(z);
  const inSteps = (factor) => step("v", "S·m", "float32", (total) => fround(total * factor));
  const inverse = constant("m", "1/n", "float32", m);
  const last = [step("integer", "rint(v) + z", "int32", (v) => rint(v) + z), step("code", "clamp", "code", within(...range))];
  const withZ = [step("integer", "rint", "int32", rint), last[1]];
  const lane = (name, key, words, constants, ...then) => arithmetic({ kind: "pytorch", name, key, words, constants, then });
  const found = [
    lane("channels_last", "channels-last", "avg_pool2d and adaptive_avg_pool2d; in 2.13 the vectors of avg_pool2d alone", [inverse], sum, inSteps(m), ...last),
    lane("avg_pool2d, contiguous", "contiguous", "the zero point goes in before the rounding; in 2.13 in tails of channels_last too", [inverse], sum, inSteps(m), step("with z", "v + z", "float32", (v) => fround(v + z)), ...withZ),
    lane("adaptive_avg_pool2d, contiguous", "adaptive-contiguous", "the codes themselves are averaged", [constant("m", "(1/kh) / kw", "float32", sides)],
      step("Σq", "Σq", "int32", sumOf(0).f), step("v of codes", "Σq·m", "float32", (total) => fround(total * sides)), ...withZ),
    lane("adaptive_avg_pool2d, channels_last, 2.13", "adaptive-2.13", "vectors: the zero point goes in with the product", [inverse], sum, step("with z", "fma(S, m, z)", "float32", (total) => fma32(total, m, z)), ...withZ),
  ];
  if (dtype === "quint8") found.push(lane("qnnpack", "qnnpack", "m = s / (s·n), not 1/n", [constant("m", "s / (s·n)", "float32", qnnpack)], sum, inSteps(qnnpack), ...last));
  const mean = step("v", "S / n", "float64", (total) => total / n);
  const exact = [["float64", "", { double: true }], ...ROUNDED_OTHERWISE];
  found.push(...exact.map((way) => mistaken(way, "", ({ rounding }) => ({ then: [sum, mean, ...finish(z, range, { double: true, rounding })] }))));
  const raw = step("Σq", "Σq", "int32", sumOf(0).f);
  const written = (name, words, ...then) => arithmetic({ kind: "mistake", name, words, then });
  return [
    ...found,
    written("Σq // n", "the codes’ sum divided in integers, rounded down", raw, step("code", "floor(Σq / n)", "code", (total) => Math.floor(total / n))),
    written("(Σq + n // 2) // n", "the codes’ sum divided in integers, ties up", raw, step("code", "floor((Σq + n//2) / n)", "code", (total) => Math.floor((total + Math.floor(n / 2)) / n))),
  ];
}
