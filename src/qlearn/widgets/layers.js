import { clamp, cvtps2dq, fma32, fround, reciprocal, rint } from "./arithmetic.js";

// From a layer's int32 accumulator to its code, one function for each engine, as qlearn.requantize has them. Each is made
// for p = { sx, sw, bias, s, z, channel }: the scales of input, weight and output, a bias, the output's zero point, and
// whether the weight is quantized per channel.

const single = (acc) => fround(acc); // beyond 2^24 not every integer is a float32
const code = (whole, nan = 0) => (Number.isNaN(whole) ? nan : clamp(whole, 0, 255));

export function fbgemm({ sx, sw, bias, s, z, channel }) {
  const [t, b] = [fround(fround(sx) * fround(sw)), fround(bias)];
  const [m, r, part] = [fround(t / fround(s)), reciprocal(t), fround(b / t)];
  const total = channel ? (acc) => fround(single(acc) + part) : (acc) => fma32(b, r, single(acc));
  return (acc) => code(cvtps2dq(fround(total(acc) * m)) + z);
}

export function qnnpack({ sx, sw, bias, s, z }) {
  const b = clamp(rint(fround(fround(bias) * reciprocal(sw * sx))), -(2 ** 31), 2 ** 31 - 1);
  const m = fround(fround(fround(sw) * fround(sx)) * reciprocal(s));
  return (acc) => code(cvtps2dq(fround(single((acc + b) | 0) * m)) + z);
}

const twiceInverted = (scale) => reciprocal(1 / scale); // 1 / float32(1 / s), the inner division in float64

// What oneDNN has: `make` gives the real number of an accumulator, which then is quantized; `nan` is the code of NaN.
function onednn({ sw, s, z, channel }, make, nan) {
  const real = make(channel ? reciprocal(reciprocal(sw)) : twiceInverted(sw));
  const r = reciprocal(twiceInverted(s));
  return (acc) => code(rint(fround(fround(real(single(acc)) * r) + z)), nan);
}

// oneDNN on a CPU with VNNI: the accumulator is multiplied by one scale after the other.
export function onednnVnni(p) {
  const [x, b] = [twiceInverted(p.sx), fround(p.bias)];
  return onednn(p, (w) => (a) => fround(fround(fround(a * x) * w) + b), 255);
}

// oneDNN's kernels for AVX2: by the product of the scales.
export function onednnAvx2(p) {
  const [x, b] = [twiceInverted(p.sx), fround(p.bias)];
  return onednn(p, (w) => { const both = fround(x * w); return (a) => fround(fround(a * both) + b); });
}

// On paper, as people write it in float64: round, then the zero point.
export const onPaper = ({ sx, sw, bias, s, z }) => (acc) => code(rint((acc * sx * sw + bias) / s) + z);

// Where a threshold lies if nothing is rounded but the float64 numbers themselves: the least accumulator with code q.
export const expected = ({ sx, sw, bias, s, z }, q) => Math.ceil(((q - 0.5 - z) * s - bias) / (sx * sw));

// The least accumulator that gives each code 1 to 255 or more. Every step of every engine keeps the order of its numbers,
// so that the codes never go down while the accumulator goes up, and these 255 integers are the whole function.
export function thresholds(requantize, p) {
  return Int32Array.from({ length: 255 }, (_, i) => {
    let acc = expected(p, i + 1);
    while (requantize(acc) > i) acc -= 1;
    while (requantize(acc) <= i) acc += 1;
    return acc;
  });
}

// The code at an accumulator: how many thresholds it has reached.
export function codeAt(found, acc) {
  let [low, high] = [0, found.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (found[middle] <= acc) low = middle + 1;
    else high = middle;
  }
  return low;
}
