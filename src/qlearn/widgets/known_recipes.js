import { addQnnpack, DTYPES, fround, rint } from "./arithmetic.js";
import { movedBy } from "./known_sums.js";

// PyTorch's arithmetics in about ten lines of NumPy and of C99, with the reader's numbers. Each is run by a test.

// A float64 as both languages write it; and the float32 that it rounds to.
const real = (x) => (/[.e]/.test(String(x)) ? String(x) : `${x}.0`);
const pyFloat = (x) => `f(${real(x)})`;
const cFloat = (x) => `(float)${real(x)}`;
const lowHigh = ({ dtype = "quint8" }) => DTYPES[dtype];

const FMA = [
  "def fma(product, c):  # float32(product + c), rounded once; the product of two float32 is exact in float64",
  "    s = product + np.float64(c)",
  "    t = s - product",
  "    lost = (product - (s - t)) + (np.float64(c) - t)",
  "    odd = (lost != 0) & (s.view(np.int64) & 1 == 0)",
  "    return np.where(odd, np.nextafter(s, np.copysign(np.inf, lost)), s).astype(f)", "",
];

// The lines of a function's body become the two programs.
function programs({ args = ["q"], python, c, fused = false, type = "int", returns = "int" }) {
  const name = returns === "int" ? ["codes", "code"] : ["reals", "real"];
  const given = args.map((arg) => `${type} ${type.endsWith("*") ? "" : ""}${arg}`.replace("* ", "*"));
  return {
    numpy: ["import numpy as np", "", "f = np.float32", "", ...(fused ? [...FMA] : []), `def ${name[0]}(${args.join(", ")}):`, ...python.map((line) => `    ${line}`), ""].join("\n"),
    c: ["#include <math.h>", "#include <stdint.h>", "/* C99, without fused contractions: gcc -std=c99 */", `${returns} ${name[1]}(${given.join(", ")}) {`, ...c.map((line) => `    ${line}`), "}", ""].join("\n"),
  };
}

const plusMinus = (z) => (z < 0 ? `+ ${-z}` : `- ${z}`);
const plus = (z) => (z < 0 ? `- ${-z}` : `+ ${z}`);
const clipped = (whole, low, high) => [`return np.clip(${whole}, ${low}, ${high})`];
const clippedC = (whole, low, high) => [`int w = ${whole};`, `return w < ${low} ? ${low} : w > ${high} ? ${high} : w;`];
// From v, in steps of the result: round, then the zero point.
const last = (z, [low, high], v = "v") => [clipped(`np.rint(${v}).astype(np.int64) ${plus(z)}`, low, high), clippedC(`(int)rintf(${v}) ${plus(z)}`, low, high)];
const lastFirst = (z, [low, high], v = "v") => [clipped(`np.rint(${v} + f(${z})).astype(np.int64)`, low, high), clippedC(`(int)rintf(${v} + ${z})`, low, high)];

function quantizeRecipe(key, { s, z, dtype }) {
  const [low, high] = DTYPES[dtype];
  const ends = {
    "per-tensor-all-but-2-13": [
      ["v = np.fmin(x * (f(1) / s), f(2147483520))", "w = np.where(v >= -(2**31), np.rint(v), -(2.0**31)).astype(np.int64)", `return np.clip((w ${plus(z)}).astype(np.int32), ${low}, ${high})`],
      ["float v = fminf(x * (1.0f / s), 2147483520.0f);", "int64_t w = v >= -2147483648.0f ? (int64_t)rintf(v) : INT32_MIN;", `int32_t q = (int32_t)(w ${plus(z)});`, `return q < ${low} ? ${low} : q > ${high} ? ${high} : q;`],
    ],
    "per-tensor-2-13": [
      [`v = np.fmin(fma(x.astype(np.float64) * (f(1) / s), ${z}), f(2147483520))`, `return np.clip(np.rint(v), ${low}, ${high}).astype(np.int64)`],
      [`float v = rintf(fminf(fmaf(x, 1.0f / s, ${z}), 2147483520.0f));`, `return v < ${low} ? ${low} : v > ${high} ? ${high} : (int)v;`],
    ],
    "per-channel-all-but-2-13": [
      [`w = np.clip(np.rint(x * (f(1) / s)) + f(${z}), ${low}, ${high})`, "return np.where(np.isnan(w), 0, w).astype(np.int64)"],
      [`float w = rintf(x * (1.0f / s)) + ${z};`, `return isnan(w) ? 0 : w < ${low} ? ${low} : w > ${high} ? ${high} : (int)w;`],
    ],
    "per-channel-2-13": [
      [`w = np.clip(np.rint(x * (f(1) / s) + f(${z})), ${low}, ${high})`, "return np.where(np.isnan(w), 0, w).astype(np.int64)"],
      [`float w = rintf(x * (1.0f / s) + ${z});`, `return isnan(w) ? 0 : w < ${low} ? ${low} : w > ${high} ? ${high} : (int)w;`],
    ],
  };
  const [python, c] = ends[key];
  return programs({ args: ["x"], type: "float", fused: key === "per-tensor-2-13", python: [`s = ${pyFloat(s)}`, ...python], c: [`float s = ${cFloat(s)};`, ...c] });
}

function dequantizeRecipe(key, { s, z }) {
  const ways = {
    "per-tensor": [[`return (q ${plusMinus(z)}).astype(f) * ${pyFloat(s)}`], [`return (float)(q ${plusMinus(z)}) * ${cFloat(s)};`]],
    "per-channel": [[`return ((q ${plusMinus(z)}) * ${real(s)}).astype(f)`], [`return (float)((q ${plusMinus(z)}) * ${real(s)});`]],
    "within-the-vector-bodies-of-avx2-and-avx512": [
      [`s = ${pyFloat(s)}`, `return (np.float64(s) * q + np.float64(s * f(${-z}))).astype(f)  # fused: exact in float64, rounded once`],
      [`float s = ${cFloat(s)};`, `return fmaf(s, (float)q, s * ${-z});`],
    ],
  };
  const [python, c] = ways[key];
  return programs({ python, c, returns: "float" });
}

const integersPy = ({ z1, z2 }, one = "", two = "") => `${one}(q1 ${plusMinus(z1)}) ${one ? "+" : "*"} ${two}(q2 ${plusMinus(z2)})`;

// Integer sums of qnnpack and XNNPACK.
function fixedSum(key, p, relu) {
  const { s1, s2, s, z, dtype } = p;
  const [low, high] = [relu ? z : DTYPES[dtype][0], DTYPES[dtype][1]];
  const ratios = [s1, s2].map((scale) => fround(fround(scale) / fround(s)));
  const adder = key === "xnnpack" ? null : addQnnpack(p);
  const n = adder ? adder.shift : 20 - Math.floor(Math.log2(Math.max(...ratios)));
  const [m1, m2] = adder ? [adder.m1, adder.m2] : ratios.map((ratio) => rint(ratio * 2 ** n));
  const x = integersPy(p, `${m1} * `, `${m2} * `);
  const start = [[`x = ${x}`], [`int64_t x = ${x.replaceAll(/(\d+) \* /g, "(int64_t)$1 * ")};`]];
  const bits = n % 32;
  let round;
  if (!adder) round = [[`w = (x + ${2 ** ((n - 1) % 32)}).astype(np.int32) >> ${Math.min(n, 31)}`], [`int32_t r = (int32_t)(x + INT64_C(${2 ** ((n - 1) % 32)})) >> ${Math.min(n, 31)};`]];
  else if (n < 32) round = [[`w = np.sign(x) * ((np.abs(x) + ${2 ** (n - 1)}) >> ${n})  # ties away from zero`], [`int64_t r = x < 0 ? -((-x + INT64_C(${2 ** (n - 1)})) >> ${n}) : (x + INT64_C(${2 ** (n - 1)})) >> ${n};`]];
  else {
    const [by, mask] = [key === "qnnpack-last" ? bits : 31, 2 ** bits - 1];
    const half = Math.floor(mask / 2);
    round = [[`w = (x >> ${by}) + ((x & ${mask}) - (x < 0) > ${half})  # a shift of ${n}, as x86 takes it`], [`int64_t r = (x >> ${by}) + ((x & ${mask}) - (x < 0) > ${half});`]];
  }
  return programs({ args: ["q1", "q2"], python: [...start[0], ...round[0], `return np.clip(w ${plus(z)}, ${low}, ${high})`], c: [...start[1], ...round[1], ...clippedC(`(int)r ${plus(z)}`, low, high)] });
}

function sumRecipe(key, p, relu) {
  if (key.startsWith("qnnpack") || key === "xnnpack") return fixedSum(key, p, relu);
  const { s1, z1, s2, z2, s, z, dtype } = p;
  const scales = [[`s1, s2, r = ${pyFloat(s1)}, ${pyFloat(s2)}, f(1) / ${pyFloat(s)}`], [`float s1 = ${cFloat(s1)}, s2 = ${cFloat(s2)}, r = 1.0f / ${cFloat(s)};`]];
  const body = key === "body";
  const reals = body
    ? [[1, 2].map((i) => `x${i} = (np.float64(s${i}) * q${i} + np.float64(s${i} * f(${-p[`z${i}`]}))).astype(f)  # fused: exact in float64, rounded once`), [`float x = fmaf(s1, (float)q1, s1 * ${-z1}) + fmaf(s2, (float)q2, s2 * ${-z2});`]]
    : [[1, 2].map((i) => `x${i} = (q${i} ${plusMinus(p[`z${i}`])}).astype(f) * s${i}`), [`float x = (float)(q1 ${plusMinus(z1)}) * s1 + (float)(q2 ${plusMinus(z2)}) * s2;`]];
  const sum = [relu ? "x = np.maximum(x1 + x2, f(0))" : "x = x1 + x2"];
  const cut = relu ? ["if (x < 0) x = 0;"] : [];
  const fused = key === "default-2.13";
  const [python, c] = fused ? [clipped(`np.rint(fma(x.astype(np.float64) * r, ${z})).astype(np.int64)`, ...DTYPES[dtype]), clippedC(`(int)rintf(fmaf(x, r, ${z}))`, ...DTYPES[dtype])]
    : key === "tail-2.13" ? lastFirst(z, DTYPES[dtype], "x * r") : last(z, DTYPES[dtype], "x * r");
  return programs({ args: ["q1", "q2"], fused, python: [...scales[0], ...reals[0], ...sum, ...python], c: [...scales[1], ...reals[1], ...cut, ...c] });
}

function productRecipe(key, p, relu) {
  const { s1, s2, s, z, dtype } = p;
  const range = [relu ? z : DTYPES[dtype][0], DTYPES[dtype][1]];
  const [python, c] = last(z, range);
  const m = key === "xnnpack" ? [`m = ${pyFloat(s1)} * ${pyFloat(s2)} / ${pyFloat(s)}`, `float m = ${cFloat(s1)} * ${cFloat(s2)} / ${cFloat(s)};`]
    : [`m = ${pyFloat(s1)} * ${pyFloat(s2)} * (f(1) / ${pyFloat(s)})`, `float m = ${cFloat(s1)} * ${cFloat(s2)} * (1.0f / ${cFloat(s)});`];
  return programs({ args: ["q1", "q2"], python: [m[0], `v = (${integersPy(p)}).astype(f) * m`, ...python], c: [m[1], `float v = (float)(${integersPy(p)}) * m;`, ...c] });
}

function scalarSumRecipe(key, p) {
  const { k, scale, zero, stays } = movedBy(p);
  const about = `the result’s scale is ${scale}, its zero point ${zero}`;
  if (stays) return programs({ python: [`return q  # ${about}`], c: [`return q; /* ${about} */`] });
  const [python, c] = last(zero, DTYPES[p.dtype]);
  return programs({
    python: [`# ${about}`, `m = ${pyFloat(p.s)} * (f(1) / ${pyFloat(scale)})`, `v = (q ${plus(k - p.z)}).astype(f) * m`, ...python],
    c: [`/* ${about} */`, `float m = ${cFloat(p.s)} * (1.0f / ${cFloat(scale)});`, `float v = (float)(q ${plus(k - p.z)}) * m;`, ...c],
  });
}

function scalarProductRecipe(key, { s, z, c, dtype }) {
  const turned = DTYPES[dtype][0] + DTYPES[dtype][1];
  const [scale, zero] = c === 0 ? [1, 0] : [Math.abs(c) * s, c < 0 ? turned - z : z];
  const about = `the result’s scale is ${scale}, its zero point ${zero}`;
  const code = c === 0 ? "0 * q" : c < 0 ? `${turned} - q` : "q";
  return programs({ python: [`return ${code}  # ${about}`], c: [`return ${code}; /* ${about} */`] });
}

const R = (s, language) => (language === "c" ? `1.0f / (float)(1.0 / ${real(s)})` : `f(1) / f(1.0 / ${real(s)})`);

function layerRecipe(key, { sx, sw, bias, s, z, per_channel: channel, relu }, conv) {
  const range = [relu ? z : 0, 255];
  const b = [pyFloat(bias), cFloat(bias)];
  const ends = (python, c, fused = false) => programs({ args: ["acc"], type: "int32_t", fused, python, c });
  if (key.startsWith("fbgemm")) {
    const t = [`t = ${pyFloat(sx)} * ${pyFloat(sw)}`, `float t = ${cFloat(sx)} * ${cFloat(sw)};`];
    const fused = !channel && key === "fbgemm";
    const sum = fused ? [`total = fma(np.float64(${b[0]}) * (f(1) / t), acc.astype(f))`, `float total = fmaf(${b[1]}, 1.0f / t, (float)acc);`]
      : channel ? [`total = acc.astype(f) + ${b[0]} / t`, `float total = (float)acc + ${b[1]} / t;`] : [`total = acc.astype(f) + ${b[0]} * (f(1) / t)`, `float total = (float)acc + ${b[1]} * (1.0f / t);`];
    const v = [`v = total * (t / ${pyFloat(s)})`, `float v = total * (t / ${cFloat(s)});`];
    return ends([t[0], sum[0], v[0], "v = np.where(np.abs(v) < 2**31, v, f(-(2**31)))  # what int32 does not hold", ...clipped(`np.rint(v).astype(np.int64) ${plus(z)}`, ...range)],
      [t[1], sum[1], v[1], "int64_t r = fabsf(v) < 2147483648.0f ? (int64_t)rintf(v) : INT32_MIN;", `r += ${z};`, `return r < ${range[0]} ? ${range[0]} : r > 255 ? 255 : (int)r;`], fused);
  }
  if (key === "qnnpack") {
    const b32 = [`b = np.rint(${b[0]} * (f(1) / f(${real(sw)} * ${real(sx)})))`, `float b = rintf(${b[1]} * (1.0f / (float)(${real(sw)} * ${real(sx)})));`];
    const m = [`m = ${pyFloat(sw)} * ${pyFloat(sx)} * (f(1) / ${pyFloat(s)})`, `float m = ${cFloat(sw)} * ${cFloat(sx)} * (1.0f / ${cFloat(s)});`];
    return ends([b32[0], "b = np.int64(np.clip(np.float64(b), -(2**31), 2**31 - 1))", m[0], "v = (acc + b).astype(np.int32).astype(f) * m", "v = np.where(np.abs(v) < 2**31, v, f(-(2**31)))", ...clipped(`np.rint(v).astype(np.int64) ${plus(z)}`, ...range)],
      [b32[1], "int64_t whole = b >= 2147483648.0f ? INT32_MAX : b < -2147483648.0f ? INT32_MIN : (int64_t)b;", m[1], "float v = (float)(int32_t)(acc + whole) * m;", "int64_t r = fabsf(v) < 2147483648.0f ? (int64_t)rintf(v) : INT32_MIN;", `r += ${z};`, `return r < ${range[0]} ? ${range[0]} : r > 255 ? 255 : (int)r;`]);
  }
  const end = (first) => [
    [`y = ${relu ? "np.maximum(y, f(0))" : "y"}`, ...first[0], `return np.clip(np.rint(v + f(${z})), 0, 255).astype(np.int64)`],
    [...(relu ? ["if (y < 0) y = 0;"] : []), ...first[1], `v = rintf(v + ${z});`, "return v < 0 ? 0 : v > 255 ? 255 : (int)v;"],
  ];
  if (key === "onednn-2.0") {
    const w = channel ? [`f(1) / ${pyFloat(sw)}`, `1.0f / ${cFloat(sw)}`] : [`f(1.0 / ${real(sw)})`, `(float)(1.0 / ${real(sw)})`];
    const [python, c] = end([["v = y"], ["float v = y;"]]);
    return ends([`t = f(1.0 / ${real(sx)}) * (${w[0]})`, `m = f(1.0 / ${real(s)}) / t`, `y = (acc.astype(f) + ${b[0]} * t) * m`, ...python],
      [`float t = (float)(1.0 / ${real(sx)}) * (${w[1]});`, `float m = (float)(1.0 / ${real(s)}) / t;`, `float y = ((float)acc + ${b[1]} * t) * m;`, ...c]);
  }
  const w = conv ? [pyFloat(sw), cFloat(sw)] : channel ? [`f(1) / (f(1) / ${pyFloat(sw)})`, `1.0f / (1.0f / ${cFloat(sw)})`] : [R(sw), R(sw, "c")];
  const start = [[`x, w, out = ${R(sx)}, ${w[0]}, ${R(s)}`], [`float x = ${R(sx, "c")}, w = ${w[1]}, out = ${R(s, "c")};`]];
  const y = key === "onednn-avx2" ? [`y = acc.astype(f) * (x * w) + ${b[0]}`, `float y = (float)acc * (x * w) + ${b[1]};`] : [`y = acc.astype(f) * x * w + ${b[0]}`, `float y = (float)acc * x * w + ${b[1]};`];
  const divides = key === "onednn-2.15" || key === "onednn-reference";
  const [python, c] = end([[divides ? "v = y / out" : "v = y * (f(1) / out)"], [divides ? "float v = y / out;" : "float v = y * (1.0f / out);"]]);
  return ends([...start[0], y[0], ...python], [...start[1], y[1], ...c]);
}

function averageRecipe(key, { s, z, kh, kw, dtype }) {
  const range = DTYPES[dtype];
  const n = kh * kw;
  const sum = (zero) => [`S = (q ${plusMinus(zero)}).sum(1).astype(f)  # q: (windows, ${n})`, `int total = 0; for (int i = 0; i < ${n}; i++) total += q[i] ${plusMinus(zero)};`];
  const v = (m) => [`v = S * (${m[0]})`, `float v = (float)total * (${m[1]});`];
  const inverse = [`f(1) / f(${n})`, `1.0f / ${n}`];
  const make = (zero, m, [python, c], fused = false) => programs({ args: ["q"], type: "const int *", fused, python: [sum(zero)[0], ...(m ? [v(m)[0]] : []), ...python], c: [sum(zero)[1], ...(m ? [v(m)[1]] : []), ...c] });
  if (key === "channels-last") return make(z, inverse, last(z, range));
  if (key === "contiguous") return make(z, inverse, lastFirst(z, range));
  if (key === "adaptive-contiguous") return make(0, [`f(1) / f(${kh}) / f(${kw})`, `1.0f / ${kh} / ${kw}`], last(0, range));
  if (key === "qnnpack") return make(z, [`${pyFloat(s)} / (${pyFloat(s)} * f(${n}))`, `${cFloat(s)} / (${cFloat(s)} * ${n})`], last(z, range));
  return make(z, null, [clipped(`np.rint(fma(S.astype(np.float64) * (f(1) / f(${n})), ${z})).astype(np.int64)`, ...range), clippedC(`(int)rintf(fmaf((float)total, 1.0f / ${n}, ${z}))`, ...range)], true);
}

// A function of one code that is a table: its exponential is a hundred lines.
function tableRecipe(lane, { dtype }) {
  const [low, high] = DTYPES[dtype];
  const codes = Array.from({ length: high - low + 1 }, (_, i) => lane.of(low + i));
  const rows = Array.from({ length: 8 }, (_, i) => `    ${codes.slice(32 * i, 32 * i + 32).join(", ")},`);
  return {
    numpy: ["import numpy as np", "", "TABLE = np.array([", ...rows, "])", "", "def codes(q):", `    return TABLE[q ${plusMinus(low)}]`, ""].join("\n"),
    c: ["static const short table[256] = {", ...rows, "};", `int code(int q) { return table[q ${plusMinus(low)}]; }`, ""].join("\n"),
  };
}

function clampRecipe(key, { s, z, min, max, dtype }) {
  const [low, high] = DTYPES[dtype];
  const first = key === "2-13";
  const bound = (x) => [
    `np.clip(np.rint(${pyFloat(x)} * (f(1) / ${pyFloat(s)})${first ? ` + f(${z}))` : `) + f(${z})`}, ${low}, ${high}).astype(np.int64)`,
    `fminf(fmaxf(rintf(${cFloat(x)} * (1.0f / ${cFloat(s)})${first ? ` + ${z})` : `) + ${z}`}, ${low}), ${high})`,
  ];
  return programs({
    python: [`low = ${bound(min)[0]}`, `high = ${bound(max)[0]}`, "return np.minimum(np.maximum(q, low), high)"],
    c: [`int low = (int)${bound(min)[1]};`, `int high = (int)${bound(max)[1]};`, "int w = q > low ? q : low;", "return w < high ? w : high;"],
  });
}

function activationRecipe(operator, key, p) {
  const { s, z, dtype } = p;
  const range = DTYPES[dtype];
  const [so, zo] = operator === "hardsigmoid" ? [2 ** -8, dtype === "quint8" ? 0 : -128] : [p.so, p.zo];
  const x = key === "body" ? [[`s = ${pyFloat(s)}`, `x = (np.float64(s) * q + np.float64(s * f(${-z}))).astype(f)  # fused: exact in float64, rounded once`], [`float s = ${cFloat(s)};`, `float x = fmaf(s, (float)q, s * ${-z});`]]
    : [[`x = (q ${plusMinus(z)}).astype(f) * ${pyFloat(s)}`], [`float x = (float)(q ${plusMinus(z)}) * ${cFloat(s)};`]];
  const six = ["np.minimum(np.maximum(x + f(3), f(0)), f(6))", "fminf(fmaxf(x + 3.0f, 0.0f), 6.0f)"];
  const y = operator === "hardsigmoid" ? [`y = ${six[0]} / f(6)`, `float y = ${six[1]} / 6.0f;`] : operator === "hardswish" ? [`y = x * ${six[0]} / f(6)`, `float y = x * ${six[1]} / 6.0f;`]
    : [`y = np.where(x > 0, x, x * ${pyFloat(p.slope)})`, `float y = x > 0 ? x : x * ${cFloat(p.slope)};`];
  const byDouble = key === "body" && operator === "hardswish";
  const r = byDouble ? [`r = f(1.0 / ${real(so)})`, `float r = (float)(1.0 / ${real(so)});`] : [`r = f(1) / ${pyFloat(so)}`, `float r = 1.0f / ${cFloat(so)};`];
  const fused = key === "default-2.13";
  const [python, c] = fused ? [clipped(`np.rint(fma(y.astype(np.float64) * r, ${zo})).astype(np.int64)`, ...range), clippedC(`(int)rintf(fmaf(y, r, ${zo}))`, ...range)]
    : key === "tail-2.13" ? lastFirst(zo, range, "y * r") : last(zo, range, "y * r");
  return programs({ fused, python: [...x[0], y[0], r[0], ...python], c: [...x[1], y[1], r[1], ...c] });
}

const RECIPES = {
  quantize: quantizeRecipe, dequantize: dequantizeRecipe, add: (key, p) => sumRecipe(key, p, false), add_relu: (key, p) => sumRecipe(key, p, true),
  mul: (key, p) => productRecipe(key, p, false), mul_relu: (key, p) => productRecipe(key, p, true), add_scalar: scalarSumRecipe, mul_scalar: scalarProductRecipe,
  requantize_linear: (key, p) => layerRecipe(key, p, false), requantize_conv: (key, p) => layerRecipe(key, p, true), avg_pool: averageRecipe, hardtanh: clampRecipe,
  hardswish: (key, p) => activationRecipe("hardswish", key, p), hardsigmoid: (key, p) => activationRecipe("hardsigmoid", key, p), leaky_relu: (key, p) => activationRecipe("leaky_relu", key, p),
};

export const recipeOf = (operator, lane, p) => (RECIPES[operator] ? RECIPES[operator](lane.key, p) : tableRecipe(lane, p));
