import { addBody, addDefault, addDefault213, addQnnpack, addSteps, addTail, addTail213, dequantize, fma32, fround, rint } from "./arithmetic.js";

// The sums that the addition table and the calculator compare: PyTorch's, and those that people write.

const float64Sum = (a, b) => a + b;
const subtract = ["(q₁ − z₁)·s₁", "(q₂ − z₂)·s₂", "x̂₁ + x̂₂"];

// `how` says each step of the adder in symbols. What the codes contribute and its sum are real numbers in some formulas and
// something else in others: they can be compared where the `unit`s agree. `digits`: what a number of the formula needs.
export const BODY = {
  name: "vector body", make: addBody, unit: "real", digits: 9,
  how: ["fma(s₁, q₁, −s₁z₁)", "fma(s₂, q₂, −s₂z₂)", "x̂₁ + x̂₂", "x·r", "", "rint(v) + z"],
};
export const TAIL = { name: "tail", make: addTail, unit: "real", digits: 9, how: [...subtract, "x·r", "", "rint(v) + z"] };
export const DEFAULT = { ...TAIL, name: "DEFAULT body", make: addDefault };
export const TAIL_213 = { ...TAIL, make: addTail213, how: [...subtract, "x·r", "v + z", "rint"] };
export const DEFAULT_213 = { ...DEFAULT, make: addDefault213, how: [...subtract, "", "fma(x, r, z)", "rint"] };
export const QNNPACK = {
  name: "qnnpack", make: addQnnpack, unit: "shifted", digits: 12,
  how: ["m₁(q₁ − z₁)", "m₂(q₂ − z₂)", "sum", "sum / 2ⁿ", "", "ties away, + z"],
};
export const PATHS = { "2.14": [BODY, TAIL, DEFAULT, QNNPACK], "2.13": [BODY, TAIL_213, DEFAULT_213, QNNPACK] }; // by release

export function addPaper({ s1, z1, s2, z2, s, z }) {
  return {
    first: (q) => s1 * (q - z1), second: (q) => s2 * (q - z2), total: float64Sum,
    scaled: (x) => x / s, shifted: null, whole: (v) => rint(v) + z,
  };
}

// ONNX Runtime's QLinearAdd on AVX2: scales over the output's, and all zero points in one constant; its compiler has made
// the first product and the sum of that constant one fma.
export function addOnnxRuntime({ s1, z1, s2, z2, s, z }) {
  const [r1, r2] = [fround(fround(s1) / fround(s)), fround(fround(s2) / fround(s))];
  const constant = fround(z - fma32(r1, z1, fround(r2 * z2)));
  return {
    first: (q) => q, second: (q) => fma32(q, r2, constant), total: (a, b) => fma32(a, r1, b),
    scaled: null, shifted: null, whole: rint,
  };
}

export function addIntegers({ z1, z2, z }) {
  return { first: (q) => q - z1, second: (q) => q - z2, total: float64Sum, scaled: null, shifted: null, whole: (x) => x + z };
}

const PAPER = { name: "on paper, float64", make: addPaper, unit: "real", digits: 17, how: ["s₁(q₁ − z₁)", "s₂(q₂ − z₂)", "x̂₁ + x̂₂", "x / s", "", "rint(v) + z"] };
const ONNX = { name: "ONNX Runtime", make: addOnnxRuntime, unit: "ratio", digits: 9, how: ["q₁", "fma(q₂, s₂/s, c)", "fma(q₁, s₁/s, ·)", "", "", "rint"] };
const INTEGERS = { name: "integer sum", make: addIntegers, unit: "code", digits: 9, how: ["q₁ − z₁", "q₂ − z₂", "sum", "", "", "+ z"] };
// dequantize, add, quantize_per_tensor are what tails and DEFAULT's body do; in 2.13 what its DEFAULT body does.
const PARTS = { ...TAIL, name: "PyTorch’s parts = tail" };
const PARTS_213 = { ...DEFAULT_213, name: "2.13’s parts" };
export const FORMULAS = [INTEGERS, PAPER, PARTS, ONNX, BODY, QNNPACK, PARTS_213, { ...TAIL_213, name: "2.13’s tail" }];

export const STEPS = ["first", "second", "sum", "in steps", "with z", "integer", "code"];

// Which step makes two formulas' integers differ: the first from which on they never agree again, to the 24 bits of a float32.
// -1 if the integers agree.
export function parting(one, other, sameUnit) {
  if (one[5] === other[5]) return -1;
  const differ = (k) => fround(one[k]) !== fround(other[k]);
  const both = (k) => one[k] !== null && other[k] !== null && (k > 2 || sameUnit);
  let step = 5;
  for (const k of [4, 3, 2]) {
    if (!both(k)) continue;
    if (!differ(k)) break;
    step = k;
  }
  if (step === 2) return differ(0) ? 0 : differ(1) ? 1 : 2;
  if (step === 5 && (one[4] === null) !== (other[4] === null)) return 4; // only one of them adds the zero point first
  return step;
}

// Formulas that people write, for the calculator: a name and the integer that it gives.
const clamped = (x) => Math.min(Math.max(x, 0), 255);
const away = (x) => Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
const exact = ({ s1, z1, s2, z2 }, q1, q2) => s1 * (q1 - z1) + s2 * (q2 - z2); // float64
const singleSum = ({ s1, z1, s2, z2 }, q1, q2) => fround(dequantize(q1, s1, z1) + dequantize(q2, s2, z2)); // float32
const by = (make) => (p, q1, q2) => addSteps(make(p), q1, q2)[6];
export const USUAL = [
  ["q₁ + q₂, clamped", (p, q1, q2) => clamped(q1 + q2)],
  ["q₁ + q₂, wrapped to 8 bits", (p, q1, q2) => (q1 + q2) & 255],
  ["integer sum around the zero points", by(addIntegers)],
  ["scale ratios rounded to whole numbers", (p, q1, q2) => clamped(rint(p.s1 / p.s) * (q1 - p.z1) + rint(p.s2 / p.s) * (q2 - p.z2) + p.z)],
  ["each input rescaled and rounded, then added", (p, q1, q2) => clamped(rint((p.s1 * (q1 - p.z1)) / p.s) + rint((p.s2 * (q2 - p.z2)) / p.s) + p.z)],
  ["the inputs’ zero points forgotten", (p, q1, q2) => clamped(rint((p.s1 * q1 + p.s2 * q2) / p.s) + p.z)],
  ["the output’s zero point forgotten", (p, q1, q2) => clamped(rint(exact(p, q1, q2) / p.s))],
  ["float64, truncated", (p, q1, q2) => clamped(Math.trunc(exact(p, q1, q2) / p.s) + p.z)],
  ["float64, floor", (p, q1, q2) => clamped(Math.floor(exact(p, q1, q2) / p.s) + p.z)],
  ["float64, ties away from zero", (p, q1, q2) => clamped(away(exact(p, q1, q2) / p.s) + p.z)],
  ["float64, not clamped, wrapped to 8 bits", (p, q1, q2) => (rint(exact(p, q1, q2) / p.s) + p.z) & 255],
  ["float64, ties to even (on paper)", by(addPaper)],
  ["float64, zero point before the rounding", (p, q1, q2) => clamped(rint(exact(p, q1, q2) / p.s + p.z))],
  ["float32, divided by the scale", (p, q1, q2) => clamped(rint(fround(singleSum(p, q1, q2) / fround(p.s))) + p.z)],
  ["float32, ties away from zero", (p, q1, q2) => clamped(away(fround(singleSum(p, q1, q2) / fround(p.s))) + p.z)],
  ["dequantize, add, quantize_per_tensor", by(addTail)],
  ["dequantize, add, 2.13’s quantize_per_tensor", by(addDefault213)],
  ["2.13’s tail: float32, zero point before the rounding", by(addTail213)],
  ["ONNX Runtime’s QLinearAdd", by(addOnnxRuntime)],
];
