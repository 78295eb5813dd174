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

// float32 fused multiply-add, rounded once. The product of two float32 is exact in float64. The sum may need more than
// 53 bits: what it loses is found (TwoSum) and, if it is not 0, the sum is moved to the neighbour with an odd last bit,
// which no second rounding can mistake for a tie.
export function fma32(a, b, c) {
  const product = a * b;
  let sum = product + c;
  const back = sum - product;
  const lost = product - (sum - back) + (c - back);
  if (lost !== 0 && Number.isFinite(sum)) {
    f64[0] = sum;
    if ((u64[0] & 1n) === 0n) sum = nextafter64(sum, lost > 0 ? 1 : -1);
  }
  return fround(sum);
}

export const reciprocal = (scale) => fround(1 / fround(scale));

export const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

// A float32 x -> its code, before the clamp: rint(fma(x, 1/s, z)).
export const unclamped = (x, scale, zeroPoint) => rint(fma32(fround(x), reciprocal(scale), zeroPoint));

export const quantize = (x, scale, zeroPoint, dtype) => clamp(unclamped(x, scale, zeroPoint), ...DTYPES[dtype]);

// A code -> the float32 it stands for: (q - z) * s.
export const dequantize = (q, scale, zeroPoint) => fround(fround(q - zeroPoint) * fround(scale));

const EPS = 2 ** -23; // an observer's smallest scale

// A range of reals -> scale and zero point, each step float32: the range is widened to include 0 and spread over `codes`.
// (The float64 quotient of two float32 rounds to the float32 quotient: 53 bits are more than twice 24.)
export function paramsOfRange(low, high, { codes: [first, last], dtype, symmetric }) {
  const [min, max] = [Math.min(fround(low), 0), Math.max(fround(high), 0)];
  if (symmetric) return { scale: Math.max(fround(Math.max(-min, max) / ((last - first) / 2)), EPS), zeroPoint: dtype === "quint8" ? 128 : 0 };
  const scale = Math.max(fround(fround(max - min) / (last - first)), EPS);
  return { scale, zeroPoint: clamp(first - rint(fround(min / scale)), first, last) };
}

// As fake_quantize has it, before its clamp: rint(x * (1/s)) + z.
export const fakeQuantize = (x, scale, zeroPoint) => rint(fround(fround(x) * reciprocal(scale))) + zeroPoint;
