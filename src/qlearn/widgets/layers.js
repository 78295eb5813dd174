import { clamp, cvtps2dq, fma32, fround, reciprocal, rint } from "./arithmetic.js";

// From a layer's int32 accumulator to its code, one function for each engine, as qlearn.requantize has them. Each is made
// for p = { sx, sw, bias, s, z, channel, conv, relu }: the scales of input, weight and output, a bias, the output's zero
// point, whether the weight is quantized per channel, whether the layer is a convolution, and whether a ReLU is fused.
// It returns every number on the way, the code last.

const single = (acc) => fround(acc); // beyond 2^24 not every integer is a float32
const code = (whole, low = 0) => (whole > low ? Math.min(whole, 255) : low); // NaN becomes low

// [the bias in steps of the accumulator, null per tensor; their sum; in steps of the output; rounded; code]
export function fbgemmSteps({ sx, sw, bias, s, z, channel, relu }) {
  const [t, b] = [fround(fround(sx) * fround(sw)), fround(bias)];
  const [m, r, part] = [fround(t / fround(s)), reciprocal(t), channel ? fround(b / t) : null];
  const total = channel ? (a) => fround(a + part) : (a) => fma32(b, r, a);
  return (acc) => {
    const sum = total(single(acc));
    const v = fround(sum * m);
    return [part, sum, v, cvtps2dq(v), code(cvtps2dq(v) + z, relu ? z : 0)];
  };
}

// [the bias as an integer; the accumulator with it; in steps of the output; rounded; code]
export function qnnpackSteps({ sx, sw, bias, s, z, relu }) {
  const whole = rint(fround(fround(bias) * reciprocal(sw * sx)));
  const b = Number.isNaN(whole) ? -(2 ** 31) : clamp(whole, -(2 ** 31), 2 ** 31 - 1);
  const m = fround(fround(fround(sw) * fround(sx)) * reciprocal(s));
  return (acc) => {
    const sum = (acc + b) | 0;
    const v = fround(single(sum) * m);
    return [b, sum, v, cvtps2dq(v), code(cvtps2dq(v) + z, relu ? z : 0)];
  };
}

const twiceInverted = (scale) => reciprocal(1 / scale); // 1 / float32(1 / s), the inner division in float64

// oneDNN makes a real number of an accumulator, then quantizes it. On a CPU with VNNI it multiplies by one scale after the
// other, in its kernels for AVX2 by their product.
// [by x's scale, null for AVX2; by both; with the bias; after the ReLU; in steps of the output; with the zero point; code]
function onednnSteps({ sx, sw, bias, s, z, channel, conv, relu }, avx2) {
  const w = conv ? fround(sw) : channel ? reciprocal(reciprocal(sw)) : twiceInverted(sw);
  const [x, b, r] = [twiceInverted(sx), fround(bias), reciprocal(twiceInverted(s))];
  const both = fround(x * w);
  return (acc) => {
    const scaled = avx2 ? null : fround(single(acc) * x);
    const real = fround(avx2 ? single(acc) * both : scaled * w);
    const y = fround(real + b);
    const positive = relu && !(y > 0) ? 0 : y; // of NaN too
    const v = fround(positive * r);
    const shifted = fround(v + z);
    return [scaled, real, y, positive, v, shifted, Number.isNaN(shifted) && !avx2 ? 255 : code(rint(shifted))];
  };
}
export const onednnVnniSteps = (p) => onednnSteps(p, false);
export const onednnAvx2Steps = (p) => onednnSteps(p, true);

const last = (steps) => (p) => {
  const each = steps(p);
  return (acc) => each(acc).at(-1);
};
export const [fbgemm, qnnpack, onednnVnni, onednnAvx2] = [fbgemmSteps, qnnpackSteps, onednnVnniSteps, onednnAvx2Steps].map(last);

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
