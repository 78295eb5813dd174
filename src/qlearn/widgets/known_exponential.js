import { fma32, fround, rint } from "./arithmetic.js";

// exp, exp - 1 and tanh in float32, to the last bit, as Sleef and glibc compute them: qlearn.elementwise.exponential, which
// says where from. `f` rounds to float32.

const f = fround;
const scaled = (x, exponent) => f(x * 2 ** exponent); // ldexp: the product is exact in float64
const nearest = (x) => { const whole = rint(Math.min(Math.max(x, -1000), 1000)); return Number.isNaN(whole) ? 0 : whole; };

const LOG2_E = f(1.4426950408889634);
const [LN2_HIGH, LN2_LOW] = [0.693145751953125, f(1.428606765330187e-6)];
const EXP = [0.000198527617612853646278381, 0.00139304355252534151077271, 0.00833336077630519866943359, 0.0416664853692054748535156, 0.166666671633720397949219, 0.5].map(f);
const EXP_OF_PAIR = [0.1980960224e-3, 0.1394256484e-2, 0.8333456703e-2, 0.4166637361e-1].map(f);
const SIXTH = f(0.166666659414234244790680580464);

export function sleefExp(x) {
  if (x < -104) return 0;
  if (x > 100) return Infinity;
  const q = nearest(f(x * LOG2_E));
  const s = fma32(q, -LN2_LOW, fma32(q, -LN2_HIGH, x));
  let u = EXP[0];
  for (const coefficient of EXP.slice(1)) u = fma32(u, s, coefficient);
  return scaled(f(1 + fma32(f(s * s), u, s)), q);
}

// A number as the sum of two float32; each sum is rounded after each step, from left to right.
function plus([high, low], y) {
  const s = f(high + y);
  const v = f(s - high);
  return [s, f(f(f(high - f(s - v)) + f(y - v)) + low)];
}
function plusPair(x, y) {
  const s = f(x[0] + y[0]);
  const v = f(s - x[0]);
  return [s, f(f(f(x[0] - f(s - v)) + f(y[0] - v)) + f(x[1] + y[1]))];
}
function plusSmaller(x, y) {
  const s = f(x[0] + y[0]);
  return [s, f(f(f(f(x[0] - s) + y[0]) + x[1]) + y[1])];
}
function onePlus(x) {
  const s = f(1 + x[0]);
  return [s, f(f(f(1 - s) + x[0]) + x[1])];
}
function productOf(x, y) {
  const s = f(x[0] * y[0]);
  return [s, fma32(x[0], y[1], fma32(x[1], y[0], fma32(x[0], y[0], -s)))];
}
function squareOf(x) {
  const s = f(x[0] * x[0]);
  return [s, fma32(f(x[0] + x[0]), x[1], fma32(x[0], x[0], -s))];
}
function inverseOfPair(x) {
  const s = f(1 / x[0]);
  return [s, f(s * fma32(-x[1], s, fma32(-x[0], s, 1)))];
}
function quotientOf(x, y) {
  const t = f(1 / y[0]);
  const s = f(x[0] * t);
  const u = fma32(t, x[0], -s);
  const v = fma32(-y[1], t, fma32(-y[0], t, 1));
  return [s, fma32(s, v, fma32(x[1], t, u))];
}

function expOfPair(x) {
  const q = nearest(f(x * LOG2_E));
  const s = plus(plus([x, 0], f(q * -LN2_HIGH)), f(q * -LN2_LOW));
  let u = EXP_OF_PAIR[0];
  for (const coefficient of EXP_OF_PAIR.slice(1)) u = fma32(u, s[0], coefficient);
  let t = plus(productOf(s, [u, 0]), SIXTH);
  t = plus(productOf(s, t), 0.5);
  t = onePlus(plusPair(s, productOf(squareOf(s), t)));
  return x < -104 ? [0, 0] : [scaled(t[0], q), scaled(t[1], q)];
}

export function sleefExpm1(x) {
  if (x === 0) return x;
  if (x > f(88.72283172607421875)) return Infinity;
  if (x < f(-16.635532333438687426013570)) return -1;
  const [high, low] = plus(expOfPair(x), -1);
  return f(high + low);
}

export function sleefTanh(x) {
  const e = expOfPair(Math.abs(x));
  const inverse = inverseOfPair(e);
  const [high, low] = quotientOf(plusSmaller(e, inverse.map((part) => -part)), plusSmaller(e, inverse));
  const y = f(high + low);
  const size = Math.abs(x) > f(8.664339742) || Number.isNaN(y) ? 1 : Math.abs(y);
  return x < 0 || Object.is(x, -0) ? -size : size;
}

// glibc's exp: a table and a cubic in float64, rounded to float32 at the end.
const POWERS = [
  1.0, 1.0218971486541166, 1.0442737824274138, 1.0671404006768237, 1.0905077326652577, 1.1143867425958924, 1.1387886347566916, 1.1637248587775775,
  1.189207115002721, 1.215247359980469, 1.241857812073484, 1.2690509571917332, 1.2968395546510096, 1.3252366431597413, 1.3542555469368927, 1.383909881963832,
  1.4142135623730951, 1.4451808069770467, 1.4768261459394993, 1.5091644275934228, 1.5422108254079407, 1.5759808451078865, 1.6104903319492543, 1.645755478153965,
  1.681792830507429, 1.718619298122478, 1.7562521603732995, 1.7947090750031072, 1.8340080864093424, 1.8741676341103, 1.9152065613971474, 1.9571441241754002,
]; // 2^(i/32)
const STEPS_PER_E = 46.16624130844683; // 32 / ln 2
const EXP2 = [1.6938359250920212e-6, 0.00023459809789509004, 0.021660849396613134];
const FIRST_BITS = rint(STEPS_PER_E * 2 ** 23) / 2 ** 23;

export function glibcExp(x) {
  const wide = Math.min(Math.max(x, -200), 200);
  const k = rint(STEPS_PER_E * wide);
  const r = (FIRST_BITS * wide - k) + (STEPS_PER_E - FIRST_BITS) * wide; // one rounding
  const y = (EXP2[0] * r + EXP2[1]) * (r * r) + (EXP2[2] * r + 1);
  const turn = Math.floor(k / 32);
  return f(y * (POWERS[k - 32 * turn] * 2 ** turn));
}

// glibc's expm1 and tanh, from fdlibm: each step in float32.
const EXPM1 = [4.0082177293e-6, -7.936507609e-5, 1.5873016091e-3, -3.3333335072e-2, 1].map(f);
const REDUCED = [f(6.9313812256e-1), f(9.0580006145e-6)];
const [HALF_LN2, THREE_HALVES_LN2, FAR, LARGEST] = [0.3465735912322998, 1.0397207736968994, 18.71497344970703, 88.72283935546875].map(f);

export function glibcExpm1(x) {
  const size = Math.abs(x);
  if (x <= -FAR) return -1;
  if (x >= LARGEST) return Infinity;
  if (size < 2 ** -25) return x;
  const sign = Math.sign(x);
  const far = Math.trunc(f(f(LOG2_E * x) + f(0.5 * sign)));
  const k = size <= HALF_LN2 ? 0 : size < THREE_HALVES_LN2 ? sign : far;
  const [high, low] = [f(x - f(k * REDUCED[0])), f(k * REDUCED[1])];
  const r = f(high - low);
  return expm1OfReduced(r, f(f(high - r) - low), k);
}

function expm1OfReduced(x, c, k) {
  const half = f(0.5 * x);
  const square = f(x * half);
  let p = EXPM1[0];
  for (const coefficient of EXPM1.slice(1)) p = f(f(square * p) + coefficient);
  const t = f(3 - f(p * half));
  let e = f(square * f(f(p - t) / f(6 - f(x * t))));
  e = f(f(f(x * f(e - c)) - c) - square);
  if (k === 0) return f(x - e);
  if (k === -1) return f(f(0.5 * f(x - e)) - 0.5);
  if (k === 1) return x < -0.25 ? f(-2 * f(e - f(x + 0.5))) : f(1 + f(2 * f(x - e)));
  if (k < -1 || k > 56) return f(scaled(f(1 - f(e - x)), k) - 1);
  const lower = f(2 ** -k);
  if (k < 23) return scaled(f(f(1 - lower) - f(e - x)), k);
  return scaled(f(f(x - f(e + lower)) + 1), k);
}

export function glibcTanh(x) {
  const size = Math.abs(x);
  let y;
  if (size >= 22) y = 1;
  else if (size < 2 ** -55) y = size;
  else {
    const t = glibcExpm1(f((size >= 1 ? 2 : -2) * size));
    y = size >= 1 ? f(1 - f(2 / f(t + 2))) : f(-t / f(t + 2));
  }
  return x < 0 || Object.is(x, -0) ? -y : y;
}

// exp, exp - 1 and tanh in float64 of sums and products alone, so that every machine and language has the same bits; right to
// within a few of the last place. qlearn.runtimes.portable has them in Python.
const LN2 = [0.6931471803691238, 1.9082149292705877e-10];

function reduced(x) { // [k, r] with x = k ln 2 + r
  const wide = Math.min(Math.max(x, -700), 700);
  const k = rint(wide * 1.4426950408889634);
  return [k, (wide - k * LN2[0]) - k * LN2[1]];
}

function series(r) { // (exp(r) - 1) / r
  let y = 1;
  for (let n = 13; n > 1; n -= 1) y = 1 + (r * y) / n;
  return y;
}

export function portableExp(x) {
  const [k, r] = reduced(x);
  return (1 + r * series(r)) * 2 ** k;
}

export function portableExpm1(x) {
  const [k, r] = reduced(x);
  const near = r * series(r);
  return k === 0 ? near : (1 + near) * 2 ** k - 1;
}

export function portableTanh(x) {
  const size = Math.abs(x);
  const t = portableExpm1(2 * Math.min(size, 22));
  const y = size < 1 ? t / (t + 2) : 1 - 2 / (t + 2);
  return x < 0 ? -y : y;
}
