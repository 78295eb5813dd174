// The arithmetic of the book in JavaScript, tested on the recordings that the Python tests use.
// A JavaScript number is a float64; Math.fround rounds it to float32, ties to even.

export const fround = Math.fround;

export const DTYPES = {
  quint8: [0, 255],
  qint8: [-128, 127],
  qint32: [-2147483648, 2147483647],
};

// The integer nearest to x, ties to even (Math.round sends ties up). From 2^52 on a float64 has no fraction: adding 2^52
// rounds the fraction off, as every float64 sum rounds, and taking it away again is exact.
export function rint(x) {
  if (!(Math.abs(x) < 2 ** 52)) return x;
  const big = x < 0 ? -(2 ** 52) : 2 ** 52;
  return x + big - big;
}

const f64 = new Float64Array(1);
const u64 = new BigUint64Array(f64.buffer);
const halves = new Uint32Array(f64.buffer); // the low one first
const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

// The float64 next to x, towards +infinity (direction 1) or -infinity (-1).
export function nextafter64(x, direction) {
  if (x === 0) return direction * 2 ** -1074;
  f64[0] = x;
  u64[0] += x > 0 === direction > 0 ? 1n : -1n;
  return f64[0];
}

// The float32 next to x, towards +infinity (direction 1) or -infinity (-1).
export function nextafter32(x, direction) {
  if (x === 0) return direction * 2 ** -149;
  f32[0] = x;
  u32[0] += x > 0 === direction > 0 ? 1 : -1;
  return f32[0];
}

// The bits of a float32, in hexadecimal.
export function bits32(x) {
  f32[0] = x;
  return `0x${u32[0].toString(16).padStart(8, "0")}`;
}

// float32 fused multiply-add, rounded once. The product of two float32 is exact in float64. The sum may need more than 53
// bits, and its rounding to float32 is then a second one, which goes wrong only if the first has landed halfway between two
// float32, or among the subnormal ones. There, what the sum lost is found (TwoSum) and, if it is not 0, the sum is moved to
// the neighbour with an odd last bit, which no second rounding can mistake for a tie.
export function fma32(a, b, c) {
  const product = a * b;
  let sum = product + c;
  f64[0] = sum;
  if ((halves[0] & 0x1fffffff) !== 0x10000000 && Math.abs(sum) >= 2 ** -125) return fround(sum);
  const back = sum - product;
  const lost = product - (sum - back) + (c - back);
  if (lost !== 0 && Number.isFinite(sum) && (halves[0] & 1) === 0) sum = nextafter64(sum, lost > 0 ? 1 : -1);
  return fround(sum);
}

export const reciprocal = (scale) => fround(1 / fround(scale));

export const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

// PyTorch's releases by where the zero point goes in: after the rounding in 2.14 and all others from 1.13 to 2.15, before
// it in 2.13 alone (qlearn.machine.releases.ZERO_POINT_FIRST). `releaseLike` says for any version which of the two it is like.
export const RELEASES = ["2.14", "2.13"];
export const RELEASE_NAMES = ["all but 2.13", "2.13"];
export const releaseLike = (version) => RELEASES[/^2\.13(?!\d)/.test(version) ? 1 : 0];

// A float32 x -> its code, before the clamp, per tensor and per channel alike: rint(x·r) + z with r = 1/s.
export const unclamped = (x, scale, zeroPoint) => rint(fround(fround(x) * reciprocal(scale))) + zeroPoint;

// The same in 2.13, per tensor: rint(fma(x, r, z)).
export const unclamped213 = (x, scale, zeroPoint) => rint(fma32(fround(x), reciprocal(scale), zeroPoint));

export const quantize = (x, scale, zeroPoint, dtype) => clamp(unclamped(x, scale, zeroPoint), ...DTYPES[dtype]);

// A code -> the float32 it stands for: (q - z) * s.
export const dequantize = (q, scale, zeroPoint) => fround(fround(q - zeroPoint) * fround(scale));

// The code at x: how many thresholds it has reached.
export function codeAt(thresholds, x) {
  let [low, high] = [0, thresholds.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (thresholds[middle] <= x) low = middle + 1;
    else high = middle;
  }
  return low;
}

const EPS = 2 ** -23; // an observer's smallest scale

// A range of reals -> scale and zero point, each step float32: the range is widened to include 0 and spread over `codes`.
// (The float64 quotient of two float32 rounds to the float32 quotient: 53 bits are more than twice 24.)
export function paramsOfRange(low, high, { codes: [first, last], dtype, symmetric }) {
  const [min, max] = [Math.min(fround(low), 0), Math.max(fround(high), 0)];
  if (symmetric) return { scale: Math.max(fround(Math.max(-min, max) / ((last - first) / 2)), EPS), zeroPoint: dtype === "quint8" ? 128 : 0 };
  const scale = Math.max(fround(fround(max - min) / (last - first)), EPS);
  return { scale, zeroPoint: clamp(first - rint(fround(min / scale)), first, last) };
}

const INT32_CAP = 2147483520; // the largest float32 below 2^31
const capInt32 = (x) => (x < INT32_CAP ? x : INT32_CAP); // the instruction minps: NaN gives the cap
export const cvtps2dq = (x) => { // float32 -> int32; what int32 does not hold becomes -2^31
  const whole = rint(x);
  return whole >= -(2 ** 31) && whole < 2 ** 31 ? whole : -(2 ** 31);
};

// Sums of two quint8 codes. An adder is made for p = { s1, z1, s2, z2, s, z } and is a chain of steps: first(q1) and
// second(q2), what each code contributes; total(a, b); scaled(x), in steps of the output; shifted(v), with the zero point;
// whole(w), the integer before the clamp. A step that a formula does not have is null.
const float32Sum = (a, b) => fround(a + b);
const subtracted = ({ s1, z1, s2, z2 }) => ({
  first: (q) => dequantize(q, s1, z1), second: (q) => dequantize(q, s2, z2), total: float32Sum,
});

// s·q - s·z with the product s·z rounded first and then a fused multiply-add, which float64 and fround are: the exact sum
// fits into 53 bits.
export function dequantizeFused(scale, zeroPoint) {
  const s = fround(scale);
  const c = fround(s * -zeroPoint);
  return (q) => fround(s * q + c);
}

// The vector body of AVX2 and AVX512, in every release.
export function addBody({ s1, z1, s2, z2, s, z }) {
  const r = reciprocal(s);
  return {
    first: dequantizeFused(s1, z1), second: dequantizeFused(s2, z2), total: float32Sum,
    scaled: (x) => fround(x * r), shifted: null, whole: (v) => (cvtps2dq(capInt32(v)) + z) | 0,
  };
}

// The scalar tail, on every capability.
export function addTail(p) {
  const r = reciprocal(p.s);
  return { ...subtracted(p), scaled: (x) => fround(x * r), shifted: null, whole: (v) => rint(v) + p.z };
}

// The vector body of DEFAULT: the tail's sum, quantized as the other body does.
export const addDefault = (p) => ({ ...addBody(p), ...subtracted(p) });

// The same two in 2.13: the zero point before the rounding, in the tail after the product, in the body in one step with it.
export const addTail213 = (p) => ({ ...addTail(p), shifted: (v) => fround(v + p.z), whole: rint });

export function addDefault213(p) {
  const r = reciprocal(p.s);
  return { ...subtracted(p), scaled: null, shifted: (x) => fma32(x, r, p.z), whole: (w) => cvtps2dq(capInt32(w)) };
}

// The engine qnnpack: integers only, ties away from zero. Null where it refuses: an input's scale over the output's must be
// in [2^-14, 2^8), and no scale subnormal.
export function addQnnpack({ s1, z1, s2, z2, s, z }) {
  const scales = [s1, s2, s].map(fround);
  const ratios = scales.slice(0, 2).map((scale) => fround(scale / scales[2]));
  if (Math.min(...scales) < 2 ** -126 || !ratios.every((ratio) => ratio >= 2 ** -14 && ratio < 2 ** 8)) return null;
  f32[0] = Math.max(...ratios);
  const shift = 21 - ((u32[0] >>> 23) - 127);
  const [m1, m2] = ratios.map((ratio) => rint(ratio * 2 ** shift));
  return {
    m1, m2, shift,
    first: (q) => m1 * (q - z1), second: (q) => m2 * (q - z2), total: (a, b) => a + b,
    scaled: (x) => x / 2 ** shift, shifted: null, whole: (v) => Math.sign(v) * Math.floor(Math.abs(v) + 0.5) + z,
  };
}

// What each step of an adder gives: [first, second, total, scaled, shifted, whole, code]; null where it has no such step.
export function addSteps({ first, second, total, scaled, shifted, whole }, q1, q2) {
  const [a, b] = [first(q1), second(q2)];
  const x = total(a, b);
  const v = scaled ? scaled(x) : null;
  const w = shifted ? shifted(v ?? x) : null;
  const free = whole(w ?? v ?? x);
  return [a, b, x, v, w, free, free > 0 ? Math.min(free, 255) : 0]; // NaN becomes 0
}

// All 65,536 codes that an adder gives, q1 by q1. What each code contributes is worked out once.
export function additionTable({ first, second, total, scaled, shifted, whole }) {
  const firsts = Float64Array.from({ length: 256 }, (_, q) => first(q));
  const seconds = Float64Array.from({ length: 256 }, (_, q) => second(q));
  const table = new Uint8ClampedArray(65536);
  for (let i = 0; i < 65536; i += 1) {
    let x = total(firsts[i >> 8], seconds[i & 255]);
    if (scaled) x = scaled(x);
    if (shifted) x = shifted(x);
    table[i] = whole(x);
  }
  return table;
}
