import { addBody, addDefault, addDefault213, addQnnpack, addTail, addTail213, fma32, fround, rint } from "./arithmetic.js";

// The sums that the figures compare: PyTorch's, and those that people write.

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
