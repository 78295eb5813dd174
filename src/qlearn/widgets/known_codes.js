import { cvtps2dq, DTYPES, fma32, fround, reciprocal, rint } from "./arithmetic.js";

// What a known arithmetic is: a chain of steps, each with a name, a formula and the type of its number. Two chains that give
// a step the same name mean the same quantity by it.

export const step = (name, how, type, f) => ({ name, how, type, f });
export const constant = (name, how, type, value) => ({ name, how, type, value, constant: true });

// Functions of one number, one after the other.
function inTurn(functions) {
  const [a, b, c, d, e, f, g, h] = functions;
  switch (functions.length) {
    case 1: return a;
    case 2: return (x) => b(a(x));
    case 3: return (x) => c(b(a(x)));
    case 4: return (x) => d(c(b(a(x))));
    case 5: return (x) => e(d(c(b(a(x)))));
    case 6: return (x) => f(e(d(c(b(a(x))))));
    case 7: return (x) => g(f(e(d(c(b(a(x)))))));
    case 8: return (x) => h(g(f(e(d(c(b(a(x))))))));
    default: throw new RangeError(`a chain has 1 to 8 steps, not ${functions.length}`);
  }
}

// `first` is a step for each input, and `join` makes one number of theirs, where there are two inputs. `then` follows.
// `of` computes the last number alone, `steps` all of them, the constants before them.
export function arithmetic({ name, words, kind, key = slug(name), constants = [], first = [], join = null, then }) {
  const run = inTurn((join ? then : [...first, ...then]).map(({ f }) => f));
  const [one, two] = first.map(({ f }) => f);
  const joined = join?.f;
  const said = ({ name, how, type }, value) => ({ name, how, value, type });
  const steps = (...inputs) => {
    const found = constants.map((each) => ({ ...said(each, each.value), constant: true }));
    let value = inputs[0];
    if (join) {
      const values = first.map(({ f }, i) => f(inputs[i]));
      found.push(...first.map((each, i) => ({ ...said(each, values[i]), operand: true })));
      value = joined(...values);
      found.push(said(join, value));
    }
    for (const each of join ? then : [...first, ...then]) {
      value = each.f(value);
      found.push(said(each, value));
    }
    return found;
  };
  return { name, words, kind, key, steps, of: join ? (a, b) => run(joined(one(a), two(b))) : run };
}

// A function from integers to codes that never falls between low and high, asked for many: from the 2,000th call on it is looked
// up, by the integer at which each of its codes begins. Codes climb evenly, so that a guess is at most a few off.
export function climbing(of, low, high) {
  let calls = 0;
  let begins = null;
  let [least, first, slope] = [0, 0, 0];
  function prepare() {
    least = of(low);
    const most = of(high);
    begins = new Float64Array(most - least + 2).fill(Infinity);
    begins[0] = -Infinity;
    const between = (a, codeOfA, b, codeOfB) => {
      if (codeOfA === codeOfB) return;
      if (b - a === 1) { begins.fill(b, codeOfA - least + 1, codeOfB - least + 1); return; }
      const middle = Math.floor((a + b) / 2);
      const code = of(middle);
      between(a, codeOfA, middle, code);
      between(middle, code, b, codeOfB);
    };
    between(low, least, high, most);
    first = most > least ? begins[1] : 0;
    slope = most - least > 1 ? (most - least - 1) / Math.max(begins[most - least] - first, 1) : 0;
  }
  return (x) => {
    if (calls < 2000) { calls += 1; return of(x); }
    if (!(x >= low && x <= high)) return of(x);
    if (begins === null) prepare();
    let k = Math.floor((x - first) * slope) + 1;
    k = k < 0 ? 0 : k > begins.length - 2 ? begins.length - 2 : k;
    while (begins[k] > x) k -= 1;
    while (begins[k + 1] <= x) k += 1;
    return least + k;
  };
}

// A name as a part of a URL.
const ASCII = { "₁": "1", "₂": "2", "·": "times", "+": "plus", "−": "minus", "′": "", "×": "times", "’": "" };
export const slug = (name) => name.toLowerCase().replace(/[₁₂·+−′×’]/g, (sign) => ASCII[sign]).replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");

// Whole numbers.
const floorUp = (number) => (x) => Math.floor(number(x + 0.5));
export const halfAway = (x) => Math.sign(x) * Math.floor(Math.abs(x)) + Math.sign(x) * (Math.abs(x) - Math.floor(Math.abs(x)) >= 0.5);
const ROUNDED = {
  even: ["rint", () => rint], truncate: ["trunc", () => Math.trunc], floor: ["floor", () => Math.floor],
  away: ["round, ties away from zero,", () => halfAway], up: ["floor(· + ½)", floorUp],
};

// A whole number into [low, high]; NaN becomes `nan`.
export const within = (low, high, nan = low) => (w) => (w > low ? (w < high ? w + 0 : high) : w <= low ? low : nan);

// The low 8 bits of a whole number that is not below `least`; what int64 does not hold counts as its lowest.
export function low8Bits([low], least = low) {
  return (w) => {
    const whole = Math.max(w >= -(2 ** 63) && w < 2 ** 63 ? w : -(2 ** 63), least);
    return (((((whole % 256) - low) % 256) + 256) % 256) + low;
  };
}

// From real numbers in steps of the result to codes, as qlearn.network.arithmetic.codes_of has it. `first`: the zero point
// goes in before the rounding; `double`: in float64; `least`: where a ReLU cuts; `wrap`: no clamp.
export function finish(z, range, { first = false, rounding = "even", double = false, wrap = false, least = range[0] } = {}) {
  const [number, type] = double ? [(x) => x, "float64"] : [fround, "float32"];
  const [sign, make] = ROUNDED[rounding];
  const whole = make(number);
  const code = wrap ? step("code", "the low 8 bits", "code", low8Bits(range, least)) : step("code", "clamp", "code", within(least, range[1], 0));
  if (first) return [step("with z", "v + z", type, (v) => number(v + z)), step("integer", `${sign}(v + z)`, type, whole), code];
  return [step("integer", `${sign}(v) + z`, type, (v) => number(whole(v) + z)), code];
}

// What goes wrong in re-implementations: qlearn.network.mistakes.MISTAKES, name -> in words.
export const MISTAKES = {
  float64: "every step in float64, where PyTorch rounds each to float32",
  divide: "a division by the scale, where PyTorch multiplies by its reciprocal",
  "zero point": "the zero point before the rounding where PyTorch adds it after, or the reverse",
  bias: "the bias rounded to int32 where the engine keeps it real, or the reverse",
  truncation: "cut towards zero, where PyTorch rounds",
  floor: "rounded down, where PyTorch rounds to the nearest",
  "half away from zero": "ties away from zero, as C's round, where PyTorch's go to even",
  "half up": "ties up, as floor(x + 0.5), where PyTorch's go to even",
  gemmlowp: "an integer multiplier of 31 bits and a rounding right shift, as gemmlowp and TensorFlow Lite have them",
  "single rounding": "an integer multiplier of 31 bits, rounded once, as newer TensorFlow Lite has it",
  "scales inverted once": "the scales as they are, where PyTorch hands oneDNN their reciprocals, to be inverted again",
  "no clamp": "the low 8 bits of what does not fit, where PyTorch clamps",
  "ReLU at code 0": "negative results cut at code 0, where real zero is the zero point",
};

// Ways to be wrong: [mistake, variant, which steps are replaced and by what].
export const IN_FLOAT64 = [["float64", "times 1/s", { double: true }], ["float64", "divided by s", { double: true, divide: true }]];
export const ROUNDED_OTHERWISE = [
  ["truncation", "", { rounding: "truncate" }], ["floor", "", { rounding: "floor" }],
  ["half away from zero", "", { rounding: "away" }], ["half up", "", { rounding: "up" }],
];
export const ONE_STEP = [["divide", "", { divide: true }], ["zero point", "", { order: "other" }], ...ROUNDED_OTHERWISE, ["no clamp", "", { wrap: true }]];

// A mistake's place in the list: its name says the variant and whose arithmetic it was made in.
export function mistaken([mistake, variant, how], where, chain) {
  const name = `${mistake}${variant && `, ${variant}`}${where && ` (${where})`}`;
  return arithmetic({ name, words: MISTAKES[mistake], kind: "mistake", ...chain(how) });
}

// The numbers

const float32 = step("x", "float32", "float32", fround);
const capped = (x) => cvtps2dq(x < 2147483520 ? x : 2147483520);

export function ofQuantize({ s, z, dtype }) {
  const [r, range] = [reciprocal(s), DTYPES[dtype]];
  const constants = [constant("r", "1/s", "float32", r)];
  const product = step("v", "x·r", "float32", (x) => fround(x * r));
  const [code, codeOrZero] = [0, 1].map((zero) => step("code", "clamp", "code", within(...range, zero ? 0 : range[0])));
  const pytorch = (name, words, ...then) => arithmetic({ name, words, kind: "pytorch", constants, then: [float32, ...then] });
  const ways = [...IN_FLOAT64, ...ONE_STEP];
  return [
    pytorch("per tensor, all but 2.13", "quantize_per_tensor of every engine and CPU", product,
      step("integer", "rint(v) + z, in int32", "int32", (v) => (capped(v) + z) | 0), code),
    pytorch("per tensor, 2.13", "quantize_per_tensor of every engine and CPU: the zero point goes in with the product",
      step("with z", "fma(x, r, z)", "float32", (x) => fma32(x, r, z)), step("integer", "rint", "int32", capped), code),
    pytorch("per channel, all but 2.13", "quantize_per_channel of every engine and CPU", product,
      step("integer", "rint(v) + z", "float32", (v) => fround(rint(v) + z)), codeOrZero),
    pytorch("per channel, 2.13", "quantize_per_channel of every engine and CPU: the zero point goes in before the rounding", product,
      step("with z", "v + z", "float32", (v) => fround(v + z)), step("integer", "rint", "float32", rint), codeOrZero),
    ...ways.map((way) => mistaken(way, "", ({ double, divide, order, rounding, wrap }) => {
      const [number, type] = double ? [(x) => x, "float64"] : [fround, "float32"];
      const [scale, inverse] = [number(s), number(1 / number(s))];
      const v = divide ? step("v", "x/s", type, (x) => number(x / scale)) : step("v", "x·(1/s)", type, (x) => number(x * inverse));
      return { then: [float32, v, ...finish(z, range, { first: order === "other", rounding, double, wrap })] };
    })),
  ];
}

export function ofDequantize({ s, z }) {
  const [scale, difference] = [fround(s), step("q − z", "q − z", "int32", (q) => q - z)];
  const c = fround(scale * -z);
  const lane = (kind, name, words, constants, ...then) => arithmetic({ kind, name, words, constants, then });
  return [
    lane("pytorch", "per tensor", "dequantize of every engine, CPU and release; and within the scalar tails", [constant("s", "float32", "float32", scale)],
      difference, step("x", "(q − z)·s", "float32", (d) => fround(d * scale))),
    lane("pytorch", "per channel", "dequantize of every engine, CPU and release: the scale stays float64", [constant("s", "as given", "float64", s)],
      difference, step("product", "(q − z)·s", "float64", (d) => d * s), step("x", "float32", "float32", fround)),
    lane("pytorch", "within the vector bodies of AVX2 and AVX512", "the real number that add, hardswish and others compute with", [constant("s", "float32", "float32", scale), constant("−s·z", "−s·z", "float32", c)],
      step("x", "fma(s, q, −s·z)", "float32", (q) => fround(scale * q + c))),
    lane("mistake", "q·s − z·s", "both products rounded, then their difference", [constant("s", "float32", "float32", scale), constant("−s·z", "−s·z", "float32", c)],
      step("q·s", "q·s", "float32", (q) => fround(q * scale)), step("x", "q·s − z·s", "float32", (x) => fround(x + c))),
    lane("mistake", "the zero point forgotten", "q·s", [constant("s", "float32", "float32", scale)], step("x", "q·s", "float32", (q) => fround(q * scale))),
  ];
}
