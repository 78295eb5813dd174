import { addQnnpack, cvtps2dq, DTYPES, dequantizeFused, fma32, fround, reciprocal, rint } from "./arithmetic.js";
import { arithmetic, constant, finish, halfAway, IN_FLOAT64, low8Bits, mistaken, ONE_STEP, step, within } from "./known_codes.js";
import { FIXED_POINT, fits, fixedPoint } from "./known_fixed.js";

// Sums and products of two codes, and of a code and a real number.

const same = (x) => x;
const operands = (names, hows, type, functions) => names.map((name, i) => step(name, hows[i], type, functions[i]));
const REALS = ["x₁", "x₂"];
const DIFFERENCES = ["(q₁ − z₁)·s₁", "(q₂ − z₂)·s₂"];
const least = (relu, { z, dtype }) => (relu ? z : DTYPES[dtype][0]); // the lowest code of the result
const clampedTo = (p, relu) => step("code", "clamp", "code", within(least(relu, p), DTYPES[p.dtype][1]));

// Codes as float32 numbers, as the tails have them.
const subtracting = ({ s1, z1, s2, z2 }) => operands(REALS, DIFFERENCES, "float32",
  [[s1, z1], [s2, z2]].map(([s, z]) => ((scale) => (q) => fround((q - z) * scale))(fround(s))));
const fusing = ({ s1, z1, s2, z2 }) => operands(REALS, ["fma(s₁, q₁, −s₁z₁)", "fma(s₂, q₂, −s₂z₂)"], "float32",
  [dequantizeFused(s1, z1), dequantizeFused(s2, z2)]);
const inFloat64 = ({ s1, z1, s2, z2 }) => operands(REALS, DIFFERENCES, "float64", [(q) => (q - z1) * s1, (q) => (q - z2) * s2]);
const scalesOf = ({ s1, s2 }) => [constant("s₁", "float32", "float32", fround(s1)), constant("s₂", "float32", "float32", fround(s2))];
const zeroPointsOf = ({ s1, z1, s2, z2 }) => [
  constant("−s₁z₁", "−s₁·z₁", "float32", fround(fround(s1) * -z1)), constant("−s₂z₂", "−s₂·z₂", "float32", fround(fround(s2) * -z2)),
];
const inverseOf = ({ s }) => constant("r", "1/s", "float32", reciprocal(s));

const single = { sum: step("x", "x₁ + x₂", "float32", (a, b) => fround(a + b)), cut: step("max(x, 0)", "max(x, 0)", "float32", (x) => Math.max(x, 0)) };
const double = { sum: step("x", "x₁ + x₂", "float64", (a, b) => a + b), cut: step("max(x, 0)", "max(x, 0)", "float64", (x) => Math.max(x, 0)) };
const timesInverse = ({ s }) => ((r) => step("v", "x·r", "float32", (x) => fround(x * r)))(reciprocal(s));
const roundedLast = ({ z }) => step("integer", "rint(v) + z", "int32", (v) => rint(v) + z);

// Whether QNNPACK refuses two scales and that of their sum.
const refused = (p, relu) => addQnnpack(p) === null || (relu && p.z === 255);

function qnnpackSum(p, relu, last) {
  const { m1, m2, shift } = addQnnpack(p);
  const bits = shift % 32;
  const half = bits === 0 ? 0 : 2 ** (bits - 1) - 1; // of the bits that are shifted out
  const by = 2 ** (last ? bits : Math.min(shift, 31));
  // A shift below 32 is a division, rounded to the nearest, ties away from zero; what C leaves open beyond is done as x86 does it.
  const round = shift < 32 ? (x) => halfAway(x / 2 ** shift) : (x) => Math.floor(x / by) + ((x & (2 ** bits - 1)) - (x < 0 ? 1 : 0) > half ? 1 : 0);
  return arithmetic({
    kind: "pytorch", name: last ? "qnnpack, the last 1 to 7 elements" : "qnnpack", key: last ? "qnnpack-last" : "qnnpack",
    words: last ? "the scalar code of the engine qnnpack, whose shift is taken modulo 32" : "the engine qnnpack, every release and CPU: integers, ties away from zero",
    constants: [constant("n", "21 − exponent", "int32", shift), constant("m₁", "rint(s₁/s·2ⁿ)", "int32", m1), constant("m₂", "rint(s₂/s·2ⁿ)", "int32", m2)],
    first: operands(["m₁(q₁ − z₁)", "m₂(q₂ − z₂)"], ["m₁(q₁ − z₁)", "m₂(q₂ − z₂)"], "int32", [(q) => m1 * (q - p.z1), (q) => m2 * (q - p.z2)]),
    join: step("sum·2ⁿ", "sum", "int32", (a, b) => a + b),
    then: [step("rounded", "sum / 2ⁿ, ties away from zero", "int32", round), step("integer", "+ z", "int32", (w) => w + p.z), clampedTo(p, relu)],
  });
}

// XNNPACK's, of qint8: with one bit less than qnnpack's, and ties up.
export function xnnpackSum({ s1, z1, s2, z2, s, z, dtype }, relu, about) {
  const ratios = [s1, s2].map((scale) => fround(fround(scale) / fround(s)));
  const shift = 20 - Math.floor(Math.log2(Math.max(...ratios)));
  const [m1, m2] = ratios.map((ratio) => rint(ratio * 2 ** shift));
  const half = 2 ** ((shift - 1) % 32);
  return arithmetic({
    ...about,
    constants: [constant("n", "20 − exponent", "int32", shift), constant("m₁", "rint(s₁/s·2ⁿ)", "int32", m1), constant("m₂", "rint(s₂/s·2ⁿ)", "int32", m2)],
    first: operands(["m₁(q₁ − z₁)", "m₂(q₂ − z₂)"], ["m₁(q₁ − z₁)", "m₂(q₂ − z₂)"], "int32", [(q) => m1 * (q - z1), (q) => m2 * (q - z2)]),
    join: step("sum·2ⁿ", "sum", "int32", (a, b) => a + b),
    then: [step("rounded", "(sum + 2ⁿ⁻¹) >> n", "int32", (x) => ((x + half) | 0) >> Math.min(shift, 31)), step("integer", "+ z", "int32", (w) => w + z), clampedTo({ z, dtype }, relu)],
  });
}

export function ofSum(p, relu) {
  const [range, r] = [DTYPES[p.dtype], reciprocal(p.s)];
  const cut = relu ? [single.cut] : [];
  const pytorch = (name, key, words, constants, first, ...then) =>
    arithmetic({ kind: "pytorch", name, key, words, constants: [...constants, inverseOf(p)], first: first(p), join: single.sum, then: [...cut, ...then, clampedTo(p, false)] });
  const found = [
    pytorch("vector body of AVX2 and AVX512", "body", "fbgemm, x86, onednn: whole blocks of 64 elements, every release", [...scalesOf(p), ...zeroPointsOf(p)], fusing, timesInverse(p), roundedLast(p)),
    pytorch("tail, and DEFAULT; all but 2.13", "tail", "fbgemm, x86, onednn: elements that fill no block, and all of a CPU without AVX2", scalesOf(p), subtracting, timesInverse(p), roundedLast(p)),
    pytorch("tail, 2.13", "tail-2.13", "the zero point goes in before the rounding, after the product", scalesOf(p), subtracting, timesInverse(p),
      step("with z", "v + z", "float32", (v) => fround(v + p.z)), step("integer", "rint", "int32", rint)),
    pytorch("vector body of DEFAULT, 2.13", "default-2.13", "the zero point goes in with the product", scalesOf(p), subtracting,
      step("with z", "fma(x, r, z)", "float32", (x) => fma32(x, r, p.z)), step("integer", "rint", "int32", cvtps2dq)),
  ];
  if (p.dtype === "quint8" && !refused(p, relu)) {
    found.push(qnnpackSum(p, relu, false));
    if (addQnnpack(p).shift >= 32) found.push(qnnpackSum(p, relu, true));
  }
  if (p.dtype === "qint8") {
    found.push(xnnpackSum(p, relu, { kind: "pytorch", name: "qnnpack, up to 2.12", key: "xnnpack", words: "XNNPACK, of qint8 on the engine qnnpack, contiguous tensors" }));
  }
  const wrong = (first, { double: wide, divide, order, rounding, wrap }) => {
    const [number, type, kit] = wide ? [same, "float64", double] : [fround, "float32", single];
    const [scale, inverse] = [number(p.s), number(1 / number(p.s))];
    const v = divide ? step("v", "x/s", type, (x) => number(x / scale)) : step("v", "x·(1/s)", type, (x) => number(x * inverse));
    const then = [...(relu ? [kit.cut] : []), v, ...finish(p.z, range, { first: order === "other", rounding, double: wide, wrap })];
    return { first: (wide ? inFloat64 : first)(p), join: kit.sum, then };
  };
  found.push(...IN_FLOAT64.map((way) => mistaken(way, "", (how) => wrong(inFloat64, how))));
  for (const [where, first] of [["vector body", fusing], ["tail", subtracting]]) {
    found.push(...ONE_STEP.map((way) => mistaken(way, where, (how) => wrong(first, how))));
  }
  return [...found, ...writtenSums(p, relu)];
}

// Sums that people write; a ReLU is then max(code, z).
const written = (name, words, chain) => arithmetic({ kind: "mistake", name, words, ...chain });
const cutAtZ = (relu, z) => (relu ? [step("max(code, z)", "max(code, z)", "code", (code) => Math.max(code, z))] : []);

function writtenSums(p, relu) {
  const { s1, z1, s2, z2, s, z, dtype } = p;
  const range = DTYPES[dtype];
  const codes = (one, two) => operands(["q₁", "q₂"], ["q₁", "q₂"], "code", [one ?? same, two ?? same]);
  const ends = (...then) => [...then, ...cutAtZ(relu, z)];
  const clamp = step("code", "clamp", "code", within(...range));
  const wrapped = step("code", "the low 8 bits", "code", low8Bits(range, -Infinity));
  const sum = step("q₁ + q₂", "sum", "int32", (a, b) => a + b);
  const plusZ = step("integer", "+ z", "int32", (w) => w + z);
  const inSteps = step("v", "x / s", "float64", (x) => x / s);
  const reals = (name, words, how) => written(name, words, { first: inFloat64(p), join: double.sum, then: ends(inSteps, ...finish(z, range, { double: true, ...how })) });
  const [scale1, scale2, scale] = [s1, s2, s].map(fround);
  return [
    written("q₁ + q₂, clamped", "the codes themselves, whatever they stand for", { first: codes(), join: sum, then: ends(clamp) }),
    written("q₁ + q₂, wrapped to 8 bits", "the codes themselves in an 8-bit register", { first: codes(), join: sum, then: ends(wrapped) }),
    written("integer sum around the zero points", "right only if all three scales are equal",
      { first: operands(["q₁ − z₁", "q₂ − z₂"], ["q₁ − z₁", "q₂ − z₂"], "int32", [(q) => q - z1, (q) => q - z2]), join: sum, then: ends(plusZ, clamp) }),
    written("scale ratios rounded to whole numbers", "each scale over the result's, as an integer", {
      constants: [constant("rint(s₁/s)", "rint(s₁/s)", "float64", rint(s1 / s)), constant("rint(s₂/s)", "rint(s₂/s)", "float64", rint(s2 / s))],
      first: operands(["k₁(q₁ − z₁)", "k₂(q₂ − z₂)"], ["rint(s₁/s)·(q₁ − z₁)", "rint(s₂/s)·(q₂ − z₂)"], "float64", [s1, s2].map((each, i) => ((k, from) => (q) => k * (q - from))(rint(each / s), [z1, z2][i]))),
      join: step("sum", "sum", "float64", (a, b) => a + b), then: ends(plusZ, clamp),
    }),
    written("each input rescaled and rounded, then added", "two roundings, where one is due", {
      first: operands(["rounded x₁", "rounded x₂"], ["rint(s₁(q₁ − z₁)/s)", "rint(s₂(q₂ − z₂)/s)"], "float64", [(q) => rint((s1 * (q - z1)) / s), (q) => rint((s2 * (q - z2)) / s)]),
      join: step("sum", "sum", "float64", (a, b) => a + b), then: ends(plusZ, clamp),
    }),
    written("the inputs’ zero points forgotten", "codes times scales, in float64",
      { first: operands(REALS, ["s₁·q₁", "s₂·q₂"], "float64", [(q) => s1 * q, (q) => s2 * q]), join: double.sum, then: ends(inSteps, ...finish(z, range, { double: true })) }),
    written("the output’s zero point forgotten", "in float64", { first: inFloat64(p), join: double.sum, then: ends(inSteps, ...finish(0, range, { double: true })) }),
    reals("float64, truncated", "in float64, cut towards zero", { rounding: "truncate" }),
    reals("float64, floor", "in float64, rounded down", { rounding: "floor" }),
    reals("float64, ties away from zero", "in float64, as C's round", { rounding: "away" }),
    reals("float64, ties up", "in float64, floor(v + 0.5)", { rounding: "up" }),
    reals("float64, not clamped, wrapped to 8 bits", "in float64, the low 8 bits of the integer", { wrap: true, least: -Infinity }),
    reals("float64, zero point before the rounding", "in float64, rint(v + z)", { first: true }),
    written("float32, ties away from zero", "in float32, divided by the scale, rounded as C's roundf", {
      first: subtracting({ s1: scale1, z1, s2: scale2, z2 }), join: single.sum,
      then: ends(step("v", "x / s", "float32", (x) => fround(x / scale)), ...finish(z, range, { rounding: "away" })),
    }),
  ];
}

// Products

const integers = ({ z1, z2 }) => operands(["q₁ − z₁", "q₂ − z₂"], ["q₁ − z₁", "q₂ − z₂"], "int32", [(q) => q - z1, (q) => q - z2]);
const product = step("c", "(q₁ − z₁)(q₂ − z₂)", "int32", (a, b) => a * b);

export function ofProduct(p, relu) {
  const { s1, z1, s2, z2, s, z, dtype } = p;
  const range = DTYPES[dtype];
  const both = fround(fround(s1) * fround(s2));
  const [m, quotient] = [fround(both * reciprocal(s)), fround(both / fround(s))];
  const constants = [constant("s₁s₂", "s₁·s₂", "float32", both), constant("r", "1/s", "float32", reciprocal(s)), constant("m", "s₁s₂·r", "float32", m)];
  const times = (factor) => step("v", "c·m", "float32", (c) => fround(c * factor));
  const found = [arithmetic({
    kind: "pytorch", name: "every engine, path and release", key: "all", words: dtype === "quint8" ? "vector body and tail alike" : "vector body and tail alike, but for XNNPACK up to 2.12",
    constants, first: integers(p), join: product, then: [times(m), roundedLast(p), clampedTo(p, relu)],
  })];
  if (dtype === "qint8" && z < 127) {
    found.push(arithmetic({
      kind: "pytorch", name: "every engine, up to 2.12", key: "xnnpack", words: "XNNPACK, of qint8 with a zero point below 127, contiguous tensors",
      constants: [constant("s₁s₂", "s₁·s₂", "float32", both), constant("m", "s₁s₂ / s", "float32", quotient)],
      first: integers(p), join: product, then: [times(quotient), roundedLast(p), clampedTo(p, relu)],
    }));
  }
  const wide = (s1 * s2) / s;
  const chain = ({ double: isDouble, divide, order, rounding, wrap, fixed, relu: atZero }) => {
    const [factor, number, type] = isDouble ? [wide, same, "float64"] : [divide ? quotient : m, fround, "float32"];
    const v = fixed ? fixedPoint(fixed, wide, "v") : step("v", "c·m", type, (c) => number(c * factor));
    const how = { first: order === "other", rounding, double: isDouble || Boolean(fixed), wrap, least: atZero ? range[0] : least(relu, p) };
    return { constants: [constant("m", "multiplier", fixed ? "float64" : type, fixed ? wide : factor)], first: integers(p), join: product, then: [v, ...finish(z, range, how)] };
  };
  const ways = [["float64", "", { double: true }], ...ONE_STEP, ...(fits(wide, 2 ** 14) ? FIXED_POINT : []), ...(relu && z !== 0 ? [["ReLU at code 0", "", { relu: true }]] : [])];
  found.push(...ways.map((way) => mistaken(way, "", chain)));
  return [...found, ...writtenProducts(p, relu)];
}

function writtenProducts(p, relu) {
  const { s1, z1, s2, z2, s, z, dtype } = p;
  const range = DTYPES[dtype];
  const ends = (...then) => [...then, ...cutAtZ(relu, z)];
  const clamp = step("code", "clamp", "code", within(...range));
  const codes = operands(["q₁", "q₂"], ["q₁", "q₂"], "code", [same, same]);
  const [scale, r] = [fround(s), reciprocal(s)];
  const real = step("x", "x₁·x₂", "float32", (a, b) => fround(a * b));
  const wide = step("x", "x₁·x₂", "float64", (a, b) => a * b);
  const inSteps = step("v", "x / s", "float64", (x) => x / s);
  return [
    written("q₁·q₂, clamped", "the codes themselves, whatever they stand for", { first: codes, join: step("q₁·q₂", "product", "int32", (a, b) => a * b), then: ends(clamp) }),
    written("integer product around the zero points", "right only if s₁·s₂ = s", { first: integers(p), join: product, then: ends(step("integer", "+ z", "int32", (w) => w + z), clamp) }),
    written("the inputs’ zero points forgotten", "codes times scales, in float64",
      { first: operands(REALS, ["s₁·q₁", "s₂·q₂"], "float64", [(q) => s1 * q, (q) => s2 * q]), join: wide, then: ends(inSteps, ...finish(z, range, { double: true })) }),
    written("the output’s zero point forgotten", "in float64", { first: inFloat64(p), join: wide, then: ends(inSteps, ...finish(0, range, { double: true })) }),
    written("dequantize, multiply, quantize_per_tensor", "float32, as PyTorch's parts: two more roundings than mul has",
      { first: subtracting(p), join: real, then: ends(step("v", "x·r", "float32", (x) => fround(x * r)), ...finish(z, range)) }),
    written("dequantize, multiply, divide by the scale", "float32: two more roundings than mul has",
      { first: subtracting(p), join: real, then: ends(step("v", "x / s", "float32", (x) => fround(x / scale)), ...finish(z, range)) }),
  ];
}

// A code and a real number c

// What add_scalar gives its result: [k, scale, zero point], and whether the codes stay.
export function movedBy({ s, z, c, dtype }) {
  const [low, high] = DTYPES[dtype];
  const k = rint(c / s);
  if (z - k >= low && z - k <= high) return { k, scale: s, zero: z - k, stays: true };
  const reach = z - k < low ? high - (z - k) : z - k - low;
  return { k, scale: (reach / (high - low)) * s, zero: z - k < low ? low : high, stays: false };
}

export function ofScalarSum(p) {
  const { s, z, c, dtype } = p;
  const range = DTYPES[dtype];
  const { k, scale, zero, stays } = movedBy(p);
  const [m, r, single] = [fround(fround(s) * reciprocal(scale)), reciprocal(scale), fround(s)];
  const result = [constant("k", "rint(c/s)", "float64", k), constant("s′", "scale of the result", "float64", scale), constant("z′", "zero point of the result", "int32", zero)];
  const clamp = step("code", "clamp", "code", within(...range));
  const difference = step("q − z + k", "q − z + k", "int32", (q) => q - z + k);
  const plusZ = step("integer", "rint(v) + z′", "int32", (v) => rint(v) + zero);
  return [
    arithmetic({
      kind: "pytorch", name: "every engine, path and release", key: "all", words: stays ? "the codes stay, the zero point moves" : "the codes are requantized to a wider scale",
      constants: [...result, ...(stays ? [] : [constant("m", "s·(1/s′)", "float32", m)])],
      then: stays ? [step("code", "as it is", "code", same)] : [difference, step("v", "(q − z + k)·m", "float32", (d) => fround(d * m)), plusZ, clamp],
    }),
    written("the code moved by rint(c/s), clamped", "a’s scale and zero point kept", { constants: [result[0]], then: [step("q + k", "q + k", "float64", (q) => q + k), clamp] }),
    written("float64, in a’s scale and zero point", "rint(((q − z)·s + c)/s) + z", {
      then: [step("x", "(q − z)·s", "float64", (q) => (q - z) * s), step("x + c", "x + c", "float64", (x) => x + c), step("v", "x / s", "float64", (x) => x / s), ...finish(z, range, { double: true })],
    }),
    written("float64, in the result’s scale and zero point", "c not rounded to steps of s", {
      constants: result.slice(1),
      then: [step("x", "(q − z)·s", "float64", (q) => (q - z) * s), step("x + c", "x + c", "float64", (x) => x + c), step("v", "x / s′", "float64", (x) => x / scale), ...finish(zero, range, { double: true })],
    }),
    written("dequantize, add, quantize_per_tensor", "float32, in the result’s scale and zero point", {
      constants: result.slice(1),
      then: [step("x", "(q − z)·s", "float32", (q) => fround((q - z) * single)), step("x + c", "x + c", "float32", ((added) => (x) => fround(x + added))(fround(c))), step("v", "x·(1/s′)", "float32", (x) => fround(x * r)), ...finish(zero, range)],
    }),
  ];
}

export function ofScalarProduct({ s, z, c, dtype }) {
  const range = DTYPES[dtype];
  const turned = range[0] + range[1];
  const [scale, zero] = c === 0 ? [1, 0] : [Math.abs(c) * s, c < 0 ? turned - z : z];
  const [factor, single, r] = [fround(c), fround(s), reciprocal(scale)];
  const result = [constant("s′", "scale of the result", "float64", scale), constant("z′", "zero point of the result", "int32", zero)];
  const code = c === 0 ? step("code", "0", "code", () => 0) : c > 0 ? step("code", "as it is", "code", same) : step("code", "high + low − q", "code", (q) => turned - q);
  const found = [arithmetic({ kind: "pytorch", name: "every engine, path and release", key: "all", words: "scale and zero point do the work", constants: result, then: [code] })];
  if (c < 0) {
    found.push(written("the zero point not turned around", "the code mirrored at a’s zero point", { then: [step("integer", "−(q − z) + z", "int32", (q) => 2 * z - q), step("code", "clamp", "code", within(...range))] }));
  }
  return [
    ...found,
    written("float64, in a’s scale and zero point", "rint((q − z)·c) + z", { then: [step("v", "(q − z)·c", "float64", (q) => (q - z) * c), ...finish(z, range, { double: true })] }),
    written("dequantize, multiply, quantize_per_tensor", "float32, in the result’s scale and zero point", {
      constants: result,
      then: [step("x", "(q − z)·s", "float32", (q) => fround((q - z) * single)), step("x·c", "x·c", "float32", (x) => fround(x * factor)), step("v", "x·(1/s′)", "float32", (x) => fround(x * r)), ...finish(zero, range)],
    }),
  ];
}
