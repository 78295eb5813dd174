import { cvtps2dq, DTYPES, dequantizeFused, fma32, fround, reciprocal, rint } from "./arithmetic.js";
import { arithmetic, constant, finish, mistaken, ROUNDED_OTHERWISE, step, within } from "./known_codes.js";
import { glibcExp, glibcExpm1, glibcTanh, portableExp, portableExpm1, portableTanh, sleefExp, sleefExpm1, sleefTanh } from "./known_exponential.js";

// Activations: a function of one code, dequantized and quantized as add does. The exponentials are float32 and float64
// arithmetic alone, so that every lane is here.

const cut6 = (x) => fround(Math.min(Math.max(fround(x + 3), 0), 6));
const FUNCTIONS = {
  sigmoidOfSleef: ["1 / (1 + exp(−x)), exp by Sleef", (x) => fround(1 / fround(1 + sleefExp(-x)))],
  sigmoidOfGlibc: ["1 / (1 + exp(−x)), exp by glibc", (x) => fround(1 / fround(1 + glibcExp(-x)))],
  sigmoidInDouble: ["1 / (1 + exp(−x)), exp by glibc, the rest in float64", (x) => fround(1 / (1 + glibcExp(-x)))],
  tanhOfSleef: ["tanh(x) by Sleef", sleefTanh],
  tanhOfGlibc: ["tanh(x) by glibc", glibcTanh],
  hardsigmoid: ["min(max(x + 3, 0), 6) / 6", (x) => fround(cut6(x) / 6)],
  hardswish: ["x·min(max(x + 3, 0), 6) / 6", (x) => fround(fround(x * cut6(x)) / 6)],
};
const elu = (how, expm1, alpha) => [`x > 0 ? x : (${how})·alpha`, (x) => (x > 0 ? x : fround(expm1(x) * alpha))];
const leaky = (slope) => ["x > 0 ? x : x·slope", (x) => (x > 0 ? x : fround(x * slope))];

// Scale and zero point of results that the operator chooses itself.
export const chosen = { sigmoid: { quint8: [2 ** -8, 0], qint8: [2 ** -8, -128] }, tanh: { quint8: [2 ** -7, 128], qint8: [2 ** -7, 0] } };

// The real function in float64.
const EXACT = {
  sigmoid: () => (x) => 1 / (1 + portableExp(-x)),
  tanh: () => portableTanh,
  hardsigmoid: () => (x) => Math.min(Math.max(x + 3, 0), 6) / 6,
  hardswish: () => (x) => (x * Math.min(Math.max(x + 3, 0), 6)) / 6,
  elu: ({ alpha }) => (x) => (x > 0 ? x : alpha * portableExpm1(Math.min(x, 0))),
  leaky_relu: ({ slope }) => (x) => (x > 0 ? x : x * slope),
};

const TAIL_213 = "the zero point goes in before the rounding, after the product";
const NAMES = {
  body: "vector body of AVX2 and AVX512", tail: "tail, and DEFAULT; all but 2.13", "tail-2.13": "tail, 2.13", "default-2.13": "vector body of DEFAULT, 2.13",
};
const WORDS = {
  body: "fbgemm, x86, onednn: whole blocks of 64 elements, every release", tail: "fbgemm, x86, onednn: elements that fill no block, and all of a CPU without AVX2",
  "tail-2.13": TAIL_213, "default-2.13": "the zero point goes in with the product",
};

// The paths that a kernel has: [key, its function, name, words]; "body..." computes as AVX2's vectors, "default" as DEFAULT's.
function pathsOf(operator, p) {
  const both = (body, tail) => [["body", body], ["tail", tail], ["tail-2.13", tail], ["default-2.13", tail]];
  const F = FUNCTIONS;
  const or = (qnnpack) => (p.dtype === "quint8" ? [`tail, 2.13; qnnpack`, `${TAIL_213}; qnnpack so in every release`] : []);
  if (operator === "sigmoid") {
    return [
      ["body", F.sigmoidOfSleef, "vector body of AVX2 and AVX512, since 2.2", "fbgemm, x86, onednn: dequantized (q − z)·s"],
      ["body-2.1", F.sigmoidOfSleef, "vector body of AVX2 and AVX512, up to 2.1", "fbgemm, x86, onednn: dequantized fma(s, q, −s·z)"],
      ["tail", F.sigmoidInDouble, "tail, all but 2.13", "elements that fill no block: sum and quotient in float64"],
      ["default", F.sigmoidOfGlibc, "vector body of DEFAULT, all but 2.13", "a CPU without AVX2: sum and quotient in float32"],
      ["tail-2.13", F.sigmoidInDouble], ["default-2.13", F.sigmoidOfGlibc],
    ];
  }
  if (operator === "tanh") return both(F.tanhOfSleef, F.tanhOfGlibc);
  if (operator === "leaky_relu") return both(leaky(fround(p.slope)), leaky(fround(p.slope)));
  if (operator === "elu") {
    const alpha = fround(p.alpha);
    const [sleef, glibc] = [elu("exp(x) − 1 by Sleef", sleefExpm1, alpha), elu("exp(x) − 1 by glibc", glibcExpm1, alpha)];
    const [sleefOld, glibcOld] = [elu("exp(x), then − 1, by Sleef", (x) => fround(sleefExp(x) - 1), alpha), elu("exp(x), then − 1, by glibc", (x) => fround(glibcExp(x) - 1), alpha)];
    return [
      ["body", sleef, "vector body of AVX2 and AVX512, since 2.11", "every engine: whole blocks of 64 elements"],
      ["body-2.10", sleefOld, "vector body of AVX2 and AVX512, up to 2.10", "every engine: exp(x), then a difference"],
      ["tail", glibc, "tail, and DEFAULT; since 2.11 but 2.13", "every engine: elements that fill no block, and all of a CPU without AVX2"],
      ["tail-2.10", glibcOld, "tail, and DEFAULT; up to 2.10", "every engine: exp(x), then a difference"],
      ["tail-2.13", glibc], ["default-2.13", glibc],
    ];
  }
  return both(F[operator], F[operator]).map(([key, real]) => (key === "tail-2.13" ? [key, real, ...or()] : [key, real]));
}

export function ofActivation(operator, p) {
  const { s, z, dtype } = p;
  const range = DTYPES[dtype];
  const own = operator === "hardsigmoid" || operator === "tanh";
  const [so, zo] = own ? chosen[operator === "tanh" ? "tanh" : "sigmoid"][dtype] : [p.so, p.zo];
  const [single, r] = [fround(s), reciprocal(so)];
  const byDouble = operator === "hardswish" || operator === "sigmoid" ? fround(1 / so) : r; // the bodies' inverse
  const subtract = step("x", "(q − z)·s", "float32", (q) => fround((q - z) * single));
  const fused = step("x", "fma(s, q, −s·z)", "float32", dequantizeFused(s, z));
  const clampIt = step("code", "clamp", "code", within(...range));
  const last = [step("integer", "rint(v) + z′", "int32", (v) => rint(v) + zo), clampIt];
  const found = pathsOf(operator, p).map(([key, [how, real], name = NAMES[key], words = WORDS[key]]) => {
    const body = key.startsWith("body");
    const inverse = body ? byDouble : r;
    const x = body && !(operator === "sigmoid" && key === "body") ? fused : subtract;
    const product = step("v", "y·(1/s′)", "float32", (y) => fround(y * inverse));
    const then = key === "default-2.13" ? [step("with z", "fma(y, 1/s′, z′)", "float32", (y) => fma32(y, r, zo)), step("integer", "rint", "int32", cvtps2dq), clampIt]
      : key === "tail-2.13" ? [product, step("with z", "v + z′", "float32", (v) => fround(v + zo)), step("integer", "rint", "int32", rint), clampIt] : [product, ...last];
    return arithmetic({ kind: "pytorch", key, name, words, constants: [constant("1/s′", body && byDouble !== r ? "divided in float64" : "1/s′", "float32", inverse)], then: [x, step("y", how, "float32", real), ...then] });
  });
  if (dtype === "quint8" && (operator === "tanh" || (operator === "sigmoid" && fround(so) === 2 ** -8 && zo === 0))) {
    const [how, real] = operator === "tanh" ? ["128·tanh(x) + 128, by glibc", (x) => fround(fround(128 * glibcTanh(x)) + 128)] : ["256 / (1 + exp(−x)), exp by glibc", (x) => fround(256 / fround(1 + glibcExp(-x)))];
    found.push(arithmetic({ kind: "pytorch", key: "qnnpack", name: "qnnpack", words: "every release and CPU: scaled within the function", then: [subtract, step("with z", how, "float32", real), step("integer", "rint", "int32", rint), clampIt] }));
  }
  const exact = step("y", "in float64", "float64", EXACT[operator](p));
  const wide = [step("x", "(q − z)·s", "float64", (q) => (q - z) * s), exact, step("v", "y / s′", "float64", (y) => y / so)];
  const ways = [["float64", "", { double: true }], ...ROUNDED_OTHERWISE];
  found.push(...ways.map((way) => mistaken(way, "", ({ rounding }) => ({ then: [...wide, ...finish(zo, range, { double: true, rounding })] }))));
  return found;
}

// relu6, hardtanh, clamp: the bounds become codes.
export function ofClamp({ s, z, min, max, dtype }) {
  const range = DTYPES[dtype];
  const r = reciprocal(s);
  const bounds = (toWhole) => [min, max].map((bound) => within(...range)(toWhole(bound)));
  const lane = (kind, name, words, [low, high]) => arithmetic({
    kind, name, words, constants: [constant("low", "code of min", "code", low), constant("high", "code of max", "code", high)],
    then: [step("max(q, low)", "max(q, low)", "code", (q) => Math.max(q, low)), step("code", "min(·, high)", "code", (q) => Math.min(q, high))],
  });
  const [x, last] = [step("x", "(q − z)·s", "float64", (q) => (q - z) * s), finish(z, range, { double: true })];
  return [
    lane("pytorch", "all but 2.13", "every engine, CPU and path", bounds((bound) => rint(fround(fround(bound) * r)) + z)),
    lane("pytorch", "2.13", "every engine, CPU and path: the bounds’ zero point goes in before the rounding", bounds((bound) => rint(fround(fround(fround(bound) * r) + z)))),
    lane("mistake", "the bounds divided by the scale", "in float64, where PyTorch multiplies by a float32 inverse", bounds((bound) => rint(bound / s) + z)),
    lane("mistake", "the bounds truncated", "in float64, cut towards zero", bounds((bound) => Math.trunc(bound / s) + z)),
    arithmetic({ kind: "mistake", name: "dequantized, clamped, quantized", words: "in float64", then: [x, step("y", "min(max(x, min), max)", "float64", (y) => Math.min(Math.max(y, min), max)), step("v", "y / s", "float64", (y) => y / s), ...last] }),
    arithmetic({ kind: "mistake", name: "the bounds’ zero point forgotten", words: "rint(bound / s) as a code", ...(([low, high]) => ({ then: [step("max(q, low)", "max(q, low)", "code", (q) => Math.max(q, low)), step("code", "min(·, high)", "code", (q) => Math.min(q, high))] }))(bounds((bound) => rint(bound / s))) }),
  ];
}
