import { clamp, DTYPES, fma32, fround, reciprocal, rint } from "./arithmetic.js";
import { arithmetic, constant, halfAway, step, within } from "./known_codes.js";
import { portableExp, portableTanh } from "./known_exponential.js";
import { fits, high, highMultiply, multiplierOf, times } from "./known_fixed.js";

// Other runtimes' arithmetics, as qlearn.runtimes has them: onnxruntime, litert, arm_compute. LiteRT's codes are int8; of quint8
// its kernels are given codes and zero points less 128, which only differences of both do not feel.

const lane = (name, words, chain) => arithmetic({ kind: "runtime", name, words, ...chain });
const off = ({ dtype = "quint8" }) => (dtype === "quint8" ? 128 : 0);
const rangeOf = ({ dtype = "quint8" }) => DTYPES[dtype];
const int8 = (p, words) => `int8${off(p) ? ": codes and zero points less 128" : ""}${words ? `; ${words}` : ""}`;
const REST = "whole blocks of 16; the rest as the reference";
const [ARM, ON_ARM] = ["Arm Compute Library", "PyTorch 2.9 on ARM, engine onednn"];
const nearest = (x) => Math.floor(x + 0.5); // of what is not negative
const plus = (z) => step("integer", "+ z", "int64", (w) => w + z);
const clampTo = (p, least = rangeOf(p)[0]) => step("code", "clamp", "code", within(least, rangeOf(p)[1]));
// A step that clips to what leaves room for the zero point, rounds, and adds it.
const clipped = (p, z, least = rangeOf(p)[0]) => [
  step("clipped", "clip(v, low − z, high − z)", "float32", (v) => Math.min(Math.max(v, rangeOf(p)[0] - z), rangeOf(p)[1] - z)),
  step("integer", "rint + z", "int32", (v) => rint(v) + z), clampTo(p, least),
];
const pair = (names, hows, type, functions) => names.map((name, i) => step(name, hows[i], type, functions[i]));
const DIFFERENCES = ["q₁ − z₁", "q₂ − z₂"];
const differences = ({ z1, z2 }) => pair(DIFFERENCES, DIFFERENCES, "int32", [(q) => q - z1, (q) => q - z2]);

export function quantizeElsewhere(p) {
  const { s, z } = p;
  const [scale, r] = [fround(s), reciprocal(s)];
  const [low, top] = rangeOf(p);
  const real = step("x", "float32", "float32", fround);
  const divided = step("v", "x / s", "float32", (x) => fround(x / scale));
  const multiplied = step("v", "x·(1/s)", "float32", (x) => fround(x * r));
  const held = (sign, round) => [
    step("rounded", sign, "int32", (v) => { const w = round(v); return w >= -(2 ** 31) && w < 2 ** 31 ? w : -(2 ** 31); }),
    step("integer", "+ z, in int32", "int32", (w) => (w + (z - off(p))) | 0),
    step("code", "clamp", "code", (w) => clamp(w, -128, 127) + off(p)),
  ];
  const least = (v) => (Number.isNaN(v) ? low - z : v);
  const most = (v) => (v < top - z ? v : top - z); // NaN too
  return [
    lane("ONNX Runtime", "QuantizeLinear", { then: [real, divided, step("not NaN", "NaN is the lowest", "float32", least), ...clipped(p, z)] }),
    lane("LiteRT, reference", int8(p, "ties away"), { then: [real, divided, ...held("round, ties away", halfAway)] }),
    lane("LiteRT, optimized", int8(p), { then: [real, multiplied, ...held("rint", rint)] }),
    lane("LiteRT, XNNPACK", int8(p), { then: [real, multiplied, step("clipped", "min(v, high − z)", "float32", most), step("integer", "rint(max(·, low − z)) + z", "int32", (v) => rint(Math.max(v, low - z)) + z), clampTo(p)] }),
  ];
}

export function dequantizeElsewhere(p) {
  const { s, z } = p;
  const scale = fround(s);
  const c = fround(fround(-(z - off(p))) * scale);
  const plain = { then: [step("q − z", "q − z", "int32", (q) => q - z), step("x", "(q − z)·s", "float32", (d) => fround(d * scale))] };
  return [
    lane("ONNX Runtime", "DequantizeLinear", plain),
    lane("LiteRT, reference and XNNPACK", int8(p), plain),
    lane("LiteRT, optimized", int8(p, REST), {
      constants: [constant("−z·s", "−z·s", "float32", c)],
      then: [step("q·s", "q·s", "float32", (q) => fround((q - off(p)) * scale)), step("x", "q·s − z·s", "float32", (x) => fround(x + c))],
    }),
  ];
}

// The differences, shifted left by 20 and multiplied by 31 bits; LiteRT's "optimized" shifts by the exponent before it multiplies.
function litertSum(p, relu, optimized) {
  const { s1, z1, s2, z2, s, z } = p;
  const wide = [s1, s2, s].map(fround);
  const twice = 2 * Math.max(wide[0], wide[1]);
  const operand = (scale, zero) => {
    const [q, e] = smallOr0(scale / twice);
    if (optimized) { const [by, multiply] = [2 ** (20 + e), highMultiply(q)]; return (code) => multiply(Math.floor((code - zero) * by)); }
    const [multiply, right] = [highMultiply(q), 2 ** -e];
    return (code) => halfAway(multiply((code - zero) * 2 ** 20) / right);
  };
  const names = ["a·2²⁰", "b·2²⁰"];
  const how = optimized ? "shifted by 20 + e, then multiplied" : "shifted by 20, multiplied, shifted back, ties away";
  return {
    first: pair(names, [how, how], "int32", [operand(wide[0], z1), operand(wide[1], z2)]), join: step("sum·2²⁰", "sum", "int32", (a, b) => a + b),
    then: [step("v", "·m: rounded at 31 bits, then to an integer", "int32", times(twice / (2 ** 20 * wide[2]), "gemmlowp", nearest)), plus(z), clampTo(p, relu ? z : undefined)],
  };
}
const smallOr0 = (real) => { const [q, e] = multiplierOf(real, nearest); return e < -31 ? [0, 0] : [q, e]; };

function xnnpackSumOfLitert({ s1, z1, s2, z2, s, z, dtype }, relu) {
  const ratios = [s1, s2].map((scale) => fround(fround(scale) / fround(s)));
  const shift = 20 - (multiplierOf(Math.max(...ratios))[1] - 1);
  const [m1, m2] = ratios.map((ratio) => rint(ratio * 2 ** shift));
  const names = ["m₁(q₁ − z₁)", "m₂(q₂ − z₂)"];
  return {
    constants: [constant("n", "20 − exponent", "int32", shift), constant("m₁", "rint(s₁/s·2ⁿ)", "int32", m1), constant("m₂", "rint(s₂/s·2ⁿ)", "int32", m2)],
    first: pair(names, names, "int32", [(q) => m1 * (q - z1), (q) => m2 * (q - z2)]), join: step("sum·2ⁿ", "sum", "int32", (a, b) => a + b),
    then: [step("rounded", "(sum + 2ⁿ⁻¹) >> n", "int32", (x) => Math.floor((x + 2 ** (shift - 1)) / 2 ** shift)), plus(z), clampTo({ dtype }, relu ? z : undefined)],
  };
}

function armSum(p) {
  const { s1, z1, s2, z2, s, z, dtype } = p;
  const [k1, k2] = [s1, s2].map((scale) => fround(fround(scale) / fround(s)));
  const offset = fround(fround(z - fround(k1 * z1)) - fround(k2 * z2));
  const [n1, n2, fixed] = [k1, k2, offset].map((v) => halfAway(fround(v * 2048)));
  const [least, most] = dtype === "quint8" ? [0, 65535] : [-32768, 32767];
  const names = ["2048·x₁", "2048·x₂"];
  return {
    constants: [constant("K₁", "lround(2048·s₁/s)", "int32", n1), constant("K₂", "lround(2048·s₂/s)", "int32", n2), constant("offset", "lround(2048·(z − k₁z₁ − k₂z₂))", "int32", fixed)],
    first: pair(names, ["K₁·q₁", "K₂·q₂"], "int32", [(q) => n1 * q, (q) => n2 * q]), join: step("acc", "sum + offset", "int32", (a, b) => a + b + fixed),
    then: [step("16 bits", "(acc + 4) >> 3, saturated", "int32", (acc) => clamp(Math.floor((acc + 4) / 8), least, most)), step("integer", "(· + 128) >> 8", "int32", (t) => (t + 128) >> 8), clampTo(p)],
  };
}

export function sumElsewhere(p, relu) {
  const { s1, z1, s2, z2, s, z } = p;
  const ratios = [s1, s2].map((scale) => fround(fround(scale) / fround(s)));
  const [r1, r2] = ratios;
  const fixed = fround(z - fma32(r1, z1, fround(r2 * z2)));
  const found = [];
  if (!relu) {
    found.push(lane("ONNX Runtime", "QLinearAdd on a CPU with AVX2 and FMA", {
      constants: [constant("r₁", "s₁/s", "float32", r1), constant("r₂", "s₂/s", "float32", r2), constant("F", "z − fma(r₁, z₁, r₂·z₂)", "float32", fixed)],
      first: pair(["q₁", "b"], ["q₁", "fma(q₂, r₂, F)"], "float32", [(q) => q, (q) => fma32(q, r2, fixed)]), join: step("with z", "fma(q₁, r₁, b)", "float32", (q, b) => fma32(q, r1, b)),
      then: [step("integer", "rint", "float32", rint), clampTo(p)],
    }));
  }
  found.push(lane("LiteRT, reference", int8(p), litertSum(p, relu, false)), lane("LiteRT, optimized", int8(p, REST), litertSum(p, relu, true)));
  if (Math.min(...ratios) >= 2 ** -10 && Math.max(...ratios) < 2 ** 8) found.push(lane("LiteRT, XNNPACK", int8(p, "ties up"), xnnpackSumOfLitert(p, relu)));
  if (!relu && Math.max(...ratios) <= 15) found.push(lane(ARM, `${ON_ARM}, tensors of one shape`, armSum(p)));
  return found;
}

export function productElsewhere(p, relu) {
  const { s1, s2, s, z } = p;
  const m = fround(fround(fround(s1) * fround(s2)) / fround(s));
  const join = step("c", "(q₁ − z₁)(q₂ − z₂)", "int32", (a, b) => a * b);
  const chain = (...then) => ({ constants: [constant("m", "s₁·s₂ / s", "float32", m)], first: differences(p), join, then });
  const v = step("v", "c·m", "float32", (c) => fround(c * m));
  const least = relu ? z : undefined;
  const found = [];
  if (!relu) found.push(lane("ONNX Runtime", "QLinearMul: the zero point goes in before the rounding", chain(v, step("with z", "v + z", "float32", (x) => fround(x + z)), step("integer", "rint", "float32", rint), clampTo(p))));
  if (m >= 2 ** -30) found.push(lane("LiteRT, reference and optimized", int8(p), chain(step("v", "c·m: rounded at 31 bits, then to an integer", "int64", times(m, "gemmlowp", nearest)), plus(z), clampTo(p, least))));
  if (m >= 2 ** -16 && m < 2 ** 8) found.push(lane("LiteRT, XNNPACK", int8(p), chain(v, step("integer", "rint(v) + z", "int32", (x) => rint(x) + z), clampTo(p, least))));
  return found;
}

export function requantizeElsewhere(p, conv) {
  const { sx, sw, s, z, relu, per_channel: channel } = p;
  const real = fround(p.bias);
  const inSteps = rint(p.bias / (sx * sw));
  const b = clamp(inSteps, -(2 ** 31), 2 ** 31 - 1);
  const least = relu ? z : 0;
  const [x, w, out] = [sx, sw, s].map(fround);
  const m = fround(fround(x * w) / out);
  const added = step("acc + b", "acc + b, in int32", "int32", (acc) => (acc + b) | 0);
  const [b32, single] = [constant("b", "rint(bias/(sx·sw))", "int32", b), step("v", "float32(acc)·m", "float32", (acc) => fround(fround(acc) * m))];
  const rounded = "the bias rounded to int32";
  const found = [lane("ONNX Runtime", `${conv ? "QLinearConv" : "QGemm, QLinearMatMul"}, ${rounded}`, { constants: [b32, constant("m", "sx·sw / s", "float32", m)], then: [added, single, ...clipped(p, z, least)] })];
  if (!fits((sx * sw) / s)) return found;
  const exact = (x * w) / out; // the product of two float32 is exact in float64
  const optimized = conv || channel ? exact : fround(x * w) / out;
  const chain = (how, factor, f) => ({ constants: [b32, constant("m", "sx·sw / s", "float64", factor)], then: [added, step("v", how, "int64", f), plus(z), clampTo(p, least)] });
  const TWICE = ["acc·m: rounded at 31 bits, then to an integer, ties away", "acc·m: rounded at 31 bits, then to an integer, ties up"];
  found.push(
    conv ? lane("LiteRT, reference", int8(p, `${rounded}; two roundings, ties up, then away`), chain(TWICE[0], exact, times(exact, "gemmlowp", nearest)))
      : lane("LiteRT, reference", int8(p, `${rounded}; float64, ties away`), chain("round(acc·m), ties away", exact, (acc) => halfAway(acc * exact))),
    lane("LiteRT, optimized", int8(p, `${rounded}; two roundings, ties up`), chain(TWICE[1], optimized, times(optimized, "ruy", nearest))),
    lane("LiteRT, XNNPACK", int8(p, `${rounded}; float32`), { constants: [b32, constant("m", "sx·sw / s", "float32", m)], then: [added, single, step("clipped", "min(v, high − z)", "float32", (v) => Math.min(v, 255 - z)), step("integer", "rint + z", "int32", (v) => rint(v) + z), clampTo(p, least)] }),
  );
  if (!conv && !channel && Math.abs(p.bias / (sx * sw)) < 2 ** 30) {
    const factor = fround((sx * sw) / s);
    const [q, e] = multiplierOf(factor, nearest);
    const bias = halfAway(p.bias / (sx * sw));
    const [cut, right] = [high(q, 0), 2 ** -e];
    found.push(lane(ARM, ON_ARM, {
      constants: [constant("b", "lround(bias/(sx·sw))", "int64", bias), constant("m", "sx·sw / s", "float32", factor)],
      then: [step("acc + b", "acc + b", "int64", (acc) => acc + bias), step("cut", "(acc·M) >> 31", "int64", cut), step("v", "rounding right shift, ties up", "int64", e < 0 ? (h) => Math.floor((h + right / 2) / right) : (h) => h), plus(z), clampTo(p, least)],
    }));
  }
  return found;
}

export function averageElsewhere(p) {
  const { s, z, kh, kw } = p;
  const n = kh * kw;
  const scale = fround(s);
  const m = fround(scale / fround(scale * n));
  const real = step("sum", "Σ(q − z)·s, one by one", "float32", (codes) => { let sum = 0; for (const q of codes) sum = fround(sum + fround((q - z) * scale)); return sum; });
  const total = step("S", "Σ(q − z)", "int32", (codes) => { let sum = 0; for (const q of codes) sum += q - z; return sum; });
  const raw = step("Σq", "Σq", "int32", (codes) => { let sum = 0; for (const q of codes) sum += q - off(p); return sum; });
  const half = Math.floor(n / 2);
  return [
    lane("ONNX Runtime, QLinearAveragePool", "real numbers summed one by one; the zero point goes in before the rounding", {
      then: [real, step("mean", "sum / n", "float32", (sum) => fround(sum / n)), step("v", "mean / s", "float32", (mean) => fround(mean / scale)), step("with z", "v + z", "float32", (v) => fround(v + z)), step("integer", "rint", "float32", rint), clampTo(p)],
    }),
    lane("ONNX Runtime, QLinearGlobalAveragePool", "the integer sum times s / (s·n); QLinearAveragePool of a whole image too", { constants: [constant("m", "s / (s·n)", "float32", m)], then: [total, step("v", "S·m", "float32", (sum) => fround(sum * m)), ...clipped(p, z)] }),
    lane("LiteRT, reference and optimized", int8(p, "the codes’ sum divided in integers, ties away"), {
      then: [raw, step("integer", "Σq / n, ties away", "int32", (sum) => (sum > 0 ? Math.floor((sum + half) / n) : -Math.floor((half - sum) / n))), step("code", "clamp", "code", (w) => clamp(w, -128, 127) + off(p))],
    }),
  ];
}

// Activations

const clampOf8 = (p) => step("code", "clamp", "code", (w) => clamp(w, -128, 127) + off(p));

export function activationElsewhere(operator, p) {
  const { s, z, so, zo } = p;
  const [low] = rangeOf(p);
  const [scale, out] = [fround(s), fround(so ?? 1)];
  const found = [];
  const real = step("x", "(q − z)·s", "float32", (q) => fround((q - z) * scale));
  const onnx = (words, how, f) => lane("ONNX Runtime", words, { then: [real, step("y", how, "float32", f), step("v", "y / s′", "float32", (y) => fround(y / out)), ...clipped(p, zo)] });
  if (operator === "sigmoid") found.push(onnx("QLinearSigmoid", "1 / (1 + exp(−x)), exact", (x) => fround(1 / (1 + portableExp(-x)))));
  if (operator === "leaky_relu") { const slope = fround(p.slope); found.push(onnx("QLinearLeakyRelu", "x ≥ 0 ? x : x·slope", (x) => (x >= 0 ? x : fround(x * slope)))); }
  const exact = step("x", "(q − z)·s", "float64", (q) => (q - z) * scale);
  const whole = (w) => step("integer", w, "float64", rint);
  if (operator === "tanh") {
    found.push(lane("LiteRT", int8(p, "all kernels: exact, then rounded"), {
      then: [exact, step("v", "128·tanh(x)", "float64", (x) => 128 * portableTanh(x)), whole("rint"), clampOf8(p)],
    }));
  }
  if (operator === "sigmoid" && out === 2 ** -8 && zo === low) {
    found.push(lane("LiteRT", int8(p, "all kernels: exact, then rounded"), { then: [exact, step("v", "256 / (1 + exp(−x))", "float64", (x) => 256 / (1 + portableExp(-x))), whole("rint"), step("integer", "− 128", "float64", (w) => w - 128), clampOf8(p)] }));
  }
  const ratio = s / so;
  const small = ratio > 2 ** -20 && ratio < 2 ** 5 && s > 2 ** -20 && s < 2 ** 16 && Math.abs(p.slope ?? 1) < 2 ** 10;
  if (operator === "hardswish" && small) found.push(lane("LiteRT, reference and optimized", int8(p, "16-bit fixed point"), litertHardSwish(p)));
  if (operator === "leaky_relu" && small && p.slope > 0) {
    const [by, slope] = [times(scale / out, "gemmlowp", nearest), timesSmall(fround(scale * fround(p.slope)) / out)];
    found.push(lane("LiteRT, reference and optimized", int8(p), { then: [step("q − z", "q − z", "int32", (q) => q - z), step("v", "· s/s′ or · s·slope/s′: rounded at 31 bits, then to an integer", "int32", (d) => (d >= 0 ? by(d) : slope(d))), plus(zo), clampTo(p)] }));
  }
  return found;
}
const timesSmall = (real) => (multiplierOf(real, nearest)[1] < -31 ? () => 0 : times(real, "gemmlowp", nearest));

const int16 = (x) => clamp(x, -32768, 32767);
const high16 = (q) => (a) => int16(Math.floor((a * q + 2 ** 14) / 2 ** 15));

function litertHardSwish(p) {
  const { s, z, so, zo } = p;
  const fine = fround(fround(1 / 128) * fround(s));
  const of16Bits = (real) => { const [q, e] = smallOr0(real); return [Math.min(Math.floor((q + 2 ** 15) / 2 ** 16), 2 ** 15 - 1), e]; };
  const [[mOut, eOut], [m, e]] = [fround(so), fround(3 / 32768)].map((to) => of16Bits(fround(fine / to)));
  const [scaleUp, gateBy] = [high16(mOut), high16(m)];
  function gate(v) {
    let g = e > 0 ? int16(v * 2 ** (e - 1)) : v;
    g = gateBy(g);
    g = e > 0 ? int16(g * 2) : halfAway(g / 2 ** -e);
    return Math.floor((g + 2 ** 15) / 2);
  }
  return {
    constants: [constant("M′", "1/128·s / s′, 15 bits", "int32", mOut), constant("M", "1/128·s / (3/32768), 15 bits", "int32", m)],
    then: [step("v", "(q − z)·128", "int32", (q) => (q - z) * 128), step("product", "v·M′ times (x + 3)/6 within 0 and 1, 15 bits", "int32", (v) => Math.trunc((gate(v) * scaleUp(v)) / 2 ** 15)), step("rounded", "shifted, ties away", "int32", (x) => halfAway(x / 2 ** -eOut)), plus(zo), clampTo(p)],
  };
}
