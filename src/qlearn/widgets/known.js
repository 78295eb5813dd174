import { DTYPES, fround } from "./arithmetic.js";
import { climbing, ofDequantize, ofQuantize } from "./known_codes.js";
import { ofAverage, ofRequantize } from "./known_layers.js";
import { recipeOf } from "./known_recipes.js";
import { activationElsewhere, averageElsewhere, dequantizeElsewhere, productElsewhere, quantizeElsewhere, requantizeElsewhere, sumElsewhere } from "./known_runtimes.js";
import { ofActivation, ofClamp } from "./known_tables.js";
import { movedBy, ofProduct, ofScalarProduct, ofScalarSum, ofSum } from "./known_sums.js";

// The list of known arithmetics: of each operator PyTorch's own, the mistakes that people make, and other runtimes'. The same
// list, name for name, is qlearn.runtimes.known in Python.

const scale = (name, label, value) => ({ name, kind: "scale", label, value });
const zero = (name, label, value) => ({ name, kind: "zero", label, value });
const dtype = { name: "dtype", kind: "dtype", label: "dtype", value: "quint8", choices: ["quint8", "qint8"] };
const two = (s, z) => [
  scale("s1", "scale of a", 0.05), zero("z1", "zero point of a", 100), scale("s2", "scale of b", 0.05), zero("z2", "zero point of b", 100),
  scale("s", "scale of the result", s), zero("z", "zero point of the result", z), dtype,
];
const codes = [{ name: "q1", kind: "code", label: "code of a" }, { name: "q2", kind: "code", label: "code of b" }];
const real = (name, label, value) => ({ name, kind: "real", label, value });
const flag = (name, label) => ({ name, kind: "flag", label, value: false });
const count = (name, label, value) => ({ name, kind: "count", label, value });
const code = [{ name: "q", kind: "code", label: "code" }];
const layer = [
  scale("sx", "scale of the input", 0.02), scale("sw", "scale of the weight", 0.005), real("bias", "bias", 0.1), scale("s", "scale of the result", 0.1), zero("z", "zero point of the result", 60),
  flag("per_channel", "weight quantized per channel"), flag("relu", "fused ReLU"),
];
const result = (s, z) => [scale("so", "scale of the result", s), zero("zo", "zero point of the result", z)];
const accumulators = [{ name: "acc", kind: "int32", label: "accumulator" }];
const own = [scale("s", "scale", 0.05), zero("z", "zero point", 100), dtype];

export const OPERATORS = {
  quantize: { title: "quantize", params: own, inputs: [{ name: "x", kind: "float32", label: "real number" }], output: "code" },
  dequantize: { title: "dequantize", params: own, inputs: [{ name: "q", kind: "code", label: "code" }], output: "float32" },
  add: { title: "add", params: two(0.1, 128), inputs: codes, output: "code" },
  add_relu: { title: "add_relu", params: two(0.1, 3), inputs: codes, output: "code" },
  mul: { title: "mul", params: two(0.1, 128), inputs: codes, output: "code" },
  mul_relu: { title: "mul_relu", params: two(0.1, 3), inputs: codes, output: "code" },
  add_scalar: { title: "add_scalar", params: [...own.slice(0, 2), real("c", "number that is added", 20), dtype], inputs: code, output: "code" },
  mul_scalar: { title: "mul_scalar", params: [...own.slice(0, 2), real("c", "number to multiply by", -0.5), dtype], inputs: code, output: "code" },
  requantize_linear: { title: "linear, from its accumulator", params: layer, inputs: accumulators, output: "code" },
  requantize_conv: { title: "convolution, from its accumulator", params: layer, inputs: accumulators, output: "code" },
  avg_pool: { title: "average pool", params: [...own.slice(0, 2), count("kh", "height of the window", 2), count("kw", "width of the window", 2), dtype], inputs: [{ name: "window", kind: "codes", label: "codes of the window" }], output: "code" },
  sigmoid: { title: "sigmoid", params: [...own.slice(0, 2), ...result(2 ** -8, 0), dtype], inputs: code, output: "code" },
  tanh: { title: "tanh", params: own, inputs: code, output: "code" },
  hardswish: { title: "hardswish", params: [...own.slice(0, 2), ...result(0.03, 12), dtype], inputs: code, output: "code" },
  hardsigmoid: { title: "hardsigmoid", params: own, inputs: code, output: "code" },
  elu: { title: "elu", params: [...own.slice(0, 2), ...result(0.03, 34), real("alpha", "alpha", 1), dtype], inputs: code, output: "code" },
  leaky_relu: { title: "leaky_relu", params: [...own.slice(0, 2), ...result(0.03, 3), real("slope", "slope of negative numbers", 0.01), dtype], inputs: code, output: "code" },
  hardtanh: { title: "relu6, hardtanh, clamp", params: [...own.slice(0, 2), real("min", "lower bound", 0), real("max", "upper bound", 6), dtype], inputs: code, output: "code" },
};

// Every step from an accumulator to its code keeps the order of its numbers, but where int32 wraps: not where the accumulator, the
// bias in its steps and the result in its own are small; nor where codes are not clamped.
function climbingAll(p, lanes) {
  const product = p.sx * p.sw;
  const most = Math.floor(Math.min(2 ** 30, (2 ** 29 * p.s) / product));
  if (Math.abs(p.bias / p.s) > 2 ** 29 || Math.abs(p.bias / product) > 2 ** 30) return lanes;
  return lanes.map((lane) => (lane.key.startsWith("no-clamp") ? lane : { ...lane, of: climbing(lane.of, -most, most) }));
}

const LISTS = {
  quantize: (p) => [...ofQuantize(p), ...quantizeElsewhere(p)],
  dequantize: (p) => [...ofDequantize(p), ...dequantizeElsewhere(p)],
  add: (p) => [...ofSum(p, false), ...sumElsewhere(p, false)],
  add_relu: (p) => [...ofSum(p, true), ...sumElsewhere(p, true)],
  mul: (p) => [...ofProduct(p, false), ...productElsewhere(p, false)],
  mul_relu: (p) => [...ofProduct(p, true), ...productElsewhere(p, true)],
  add_scalar: ofScalarSum,
  mul_scalar: ofScalarProduct,
  requantize_linear: (p) => climbingAll(p, [...ofRequantize(p, false), ...requantizeElsewhere(p, false)]),
  requantize_conv: (p) => climbingAll(p, [...ofRequantize(p, true), ...requantizeElsewhere(p, true)]),
  avg_pool: (p) => [...ofAverage(p), ...averageElsewhere(p)],
  hardtanh: ofClamp,
};
for (const operator of ["sigmoid", "tanh", "hardswish", "hardsigmoid", "elu", "leaky_relu"]) {
  LISTS[operator] = (p) => [...ofActivation(operator, p), ...activationElsewhere(operator, p)];
}

// An arithmetic of PyTorch's in about ten lines of NumPy and of C99, with these parameters in them: { numpy, c }.
export function recipe(operator, key, p) {
  const lane = arithmetics(operator, p).find((each) => each.kind === "pytorch" && each.key === key);
  if (!lane) throw new RangeError(`key must be one of PyTorch’s arithmetics of ${operator}, got ${key}`);
  return recipeOf(operator, lane, p);
}

// Every known arithmetic of an operator with these parameters, PyTorch's first. A RangeError for what `refuses` refuses.
export function arithmetics(operator, p) {
  const wrong = refuses(operator, p);
  if (wrong) throw new RangeError(wrong);
  return LISTS[operator](p);
}

// What is wrong with the parameters, in words; null if nothing is.
export function refuses(operator, p) {
  if (!(operator in OPERATORS)) return `operator must be one of ${Object.keys(OPERATORS).join(", ")}, got ${operator}`;
  for (const { name, kind, label, choices } of OPERATORS[operator].params) {
    const wrong = CHECKS[kind](p[name], p, choices);
    if (wrong) return `${name}, the ${label}, must be ${wrong}, got ${p[name]}`;
  }
  return (TOGETHER[operator] ?? (() => null))(p);
}

const CHECKS = {
  scale: (value) => (typeof value === "number" && fround(value) >= 2 ** -126 && fround(value) <= 2 ** 126 ? null : "from 2^-126 to 2^126, a normal float32 whose inverse is one"),
  zero: (value, p) => (Number.isInteger(value) && value >= DTYPES[p.dtype ?? "quint8"][0] && value <= DTYPES[p.dtype ?? "quint8"][1] ? null
    : `a whole number from ${DTYPES[p.dtype ?? "quint8"].join(" to ")}, as ${p.dtype ?? "quint8"} is`),
  real: (value) => (typeof value === "number" && Number.isFinite(fround(value)) ? null : "finite, as float32 too"),
  flag: (value) => (typeof value === "boolean" ? null : "true or false"),
  count: (value) => (Number.isInteger(value) && value >= 1 && value <= 64 ? null : "a whole number from 1 to 64"),
  dtype: (value, p, choices) => (choices.includes(value) ? null : choices.join(" or ")),
};

const ratioBelow = (names, value, least, most) => (value >= least && value < most ? null : `${names} must be from 2^${Math.log2(least)} to below 2^${Math.log2(most)}, got ${value}`);
const ofSums = ({ s1, s2, s }) => ratioBelow("s1 / s", s1 / s, 2 ** -24, 2 ** 20) ?? ratioBelow("s2 / s", s2 / s, 2 ** -24, 2 ** 20);
const ofProducts = ({ s1, s2, s }) => ratioBelow("s1 · s2", s1 * s2, 2 ** -120, 2 ** 120) ?? ratioBelow("s1 · s2 / s", (s1 * s2) / s, 2 ** -60, 2 ** 14);
const ofScalarSums = (p) => {
  const steps = Math.abs(p.c / p.s);
  if (!(steps < 2 ** 23)) return `c must be less than 2^23 steps of s, got ${p.c}`;
  const { scale: wider } = movedBy(p);
  return fround(wider) <= 2 ** 126 ? null : `c must leave the result a scale of at most 2^126, got ${wider}`;
};
const ofScalarProducts = ({ s, c }) => (c === 0 || (fround(Math.abs(c) * s) >= 2 ** -126 && fround(Math.abs(c) * s) <= 2 ** 126) ? null : `|c| · s must be 0 or from 2^-126 to 2^126, got ${Math.abs(c) * s}`);
const ofLayers = ({ sx, sw, s, bias }) => ratioBelow("sx · sw", sx * sw, 2 ** -100, 2 ** 100) ?? ratioBelow("sx · sw / s", (sx * sw) / s, 2 ** -100, 2 ** 20)
  ?? (Math.abs(bias / s) < 2 ** 100 && Math.abs(bias / (sx * sw)) < 2 ** 100 ? null : `bias must be less than 2^100 steps of s, and of sx · sw, got ${bias}`);
// The largest real number of a result, in its steps.
const ofActivations = (factor) => (p) => (p.s > 2 ** 60 ? `s must be at most 2^60, got ${p.s}` : (({ so, most }) => (most / so < 2 ** 28 ? null : `so must be more than 2^-28 of the largest real number, got ${so}`))({ so: p.so ?? 1, most: factor(p) }));
const ofClamps = ({ min, max }) => (min <= max ? null : `min must not be larger than max, got ${min} and ${max}`);
const TOGETHER = {
  avg_pool: ({ s }) => (s >= 2 ** -100 && s <= 2 ** 100 ? null : `s must be from 2^-100 to 2^100, got ${s}`),
  sigmoid: ofActivations(() => 1), tanh: ofActivations(() => 1), hardsigmoid: ofActivations(() => 1), hardswish: ofActivations(({ s }) => 255 * s),
  elu: ofActivations(({ s, alpha }) => Math.max(255 * s, Math.abs(alpha))), leaky_relu: ofActivations(({ s, slope }) => 255 * s * Math.max(1, Math.abs(slope))), hardtanh: ofClamps,
  add_scalar: ofScalarSums, mul_scalar: ofScalarProducts, requantize_linear: ofLayers, requantize_conv: ofLayers,
  add: ofSums, add_relu: ofSums, mul: ofProducts, mul_relu: ofProducts };

// Where two computations of one operator part: the index in each of the step from which on they never meet again, which is the
// one after the last number they share (to the 24 bits of a float32); null if they end alike.
export function parts(one, other) {
  const last = (steps) => steps.at(-1).value;
  if (Object.is(last(one), last(other))) return null;
  const places = (steps) => steps.map((each, i) => ({ ...each, i })).filter((each) => !each.constant);
  const [ours, theirs] = [places(one), places(other)];
  const partner = ({ name }) => theirs.find((each) => each.name === name);
  const after = (steps, i) => steps.find((each) => each.i > i)?.i ?? steps.at(-1).i;
  const isMet = (mine) => { const match = partner(mine); return match !== undefined && fround(match.value) === fround(mine.value); };
  const met = ours.findLast((each) => !each.operand && isMet(each));
  if (met) return [after(ours, met.i), after(theirs, partner(met).i)];
  const operands = ours.filter((each) => each.operand && partner(each));
  const differs = operands.find((each) => !isMet(each));
  if (differs) return [differs.i, partner(differs).i];
  if (operands.length > 0 && operands.length === theirs.filter((each) => each.operand).length) return [after(ours, operands.at(-1).i), after(theirs, partner(operands.at(-1)).i)];
  return [ours[0].i, theirs[0].i];
}
