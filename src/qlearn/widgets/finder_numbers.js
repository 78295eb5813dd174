import { bits32, DTYPES, fround, nextafter32 } from "./arithmetic.js";

// What a reader types into a field, and how a number is written for one.

// A text -> the number that it writes, NaN if none. A fraction such as 1/255; hexadecimal integers, and C's hexadecimal floats,
// which write a float32 exactly: 0x1.99999ap-5.
export function numberOf(text) {
  const parts = text.trim().replace("−", "-").split("/");
  if (parts.length > 2) return NaN;
  const [above, below] = parts.map(plainNumber);
  return below === undefined ? above : above / below;
}

const HEX = /^([+-]?)0x([\da-f]+)(?:\.([\da-f]*))?(?:p([+-]?\d+))?$/i;
const NAMED_NUMBERS = { nan: NaN, inf: Infinity, "+inf": Infinity, "-inf": -Infinity, infinity: Infinity, "-infinity": -Infinity };
function plainNumber(text) {
  const typed = text.trim().toLowerCase();
  if (typed === "") return NaN;
  const hex = HEX.exec(typed);
  if (!hex) return typed in NAMED_NUMBERS ? NAMED_NUMBERS[typed] : Number(typed.replace(/f$/, ""));
  const [, sign, whole, fraction = "", exponent = "0"] = hex;
  const size = parseInt(whole + fraction, 16) * 2 ** (Number(exponent) - 4 * fraction.length);
  return sign === "-" ? -size : size;
}

// The shortest decimal that means this float32; an integer as it is.
export function shortest(x) {
  if (!Number.isFinite(x) || fround(x) !== x) return String(x);
  for (let digits = 1; digits < 9; digits += 1) {
    const text = String(Number(x.toPrecision(digits)));
    if (fround(Number(text)) === x) return text;
  }
  return String(Number(x.toPrecision(9)));
}

// From which to which integer a field may go; null for one that holds real numbers.
export function rangeOf({ kind }, dtype = "quint8") {
  if (kind === "code" || kind === "codes" || kind === "zero") return DTYPES[dtype];
  if (kind === "int32") return DTYPES.qint32;
  return kind === "count" ? [1, 65536] : null;
}

// What a text means for a field { kind, label, … }: { value } or { error }, the error in words for the reader.
export function parse(field, text, dtype) {
  const typed = text.trim();
  const what = `${field.label[0].toUpperCase()}${field.label.slice(1)}`;
  if (typed === "") return field.optional ? { value: null } : { error: `${what} is missing.` };
  if (field.kind === "codes") return parseAll(field, what, typed, dtype);
  if (/^[^,]*\d,\d[^,]*$/.test(typed)) return { error: `${what}: write the decimal comma as a point.` };
  const value = numberOf(typed);
  if (Number.isNaN(value) && !(field.kind === "float32" && /^nan$/i.test(typed))) return { error: `${what} is not a number: “${typed}”.` };
  if (field.kind === "scale") {
    if (!(value > 0)) return { error: `${what} must be positive; it is ${typed}.` };
    if (!(fround(value) > 0 && fround(value) < Infinity)) return { error: `${what} does not fit into float32: ${typed}.` };
    return { value };
  }
  const range = field.free ? null : rangeOf(field, dtype);
  if ((range || field.free) && !Number.isInteger(value)) return { error: `${what} must be a whole number; it is ${typed}.` };
  if (range && (value < range[0] || value > range[1])) return { error: outside(what, value, range, field, dtype) };
  if (field.free && Math.abs(value) > 2 ** 53) return { error: `${what} is larger than any integer here.` };
  return { value };
}

const outside = (what, value, [low, high], { kind }, dtype) =>
  `${what} must be from ${low} to ${high}${kind === "count" ? "" : `, as ${kind === "int32" ? "int32" : dtype} is`}; it is ${value}.`;

function parseAll(field, what, typed, dtype) {
  const value = typed.split(/[\s,;]+/).filter((one) => one !== "").map(numberOf);
  const [range, wrong] = [rangeOf(field, dtype), value.findIndex((one) => !Number.isInteger(one))];
  if (wrong >= 0) return { error: `${what}: number ${wrong + 1} is not a whole number.` };
  const off = value.findIndex((one) => one < range[0] || one > range[1]);
  return off < 0 ? { value } : { error: outside(`${what}, number ${off + 1},`, value[off], range, field, dtype) };
}

// The neighbour of a field's number: one integer on, one float32 on; ten with Shift.
export function stepped(field, value, direction, many, dtype) {
  const times = many ? 10 : 1;
  const range = rangeOf(field, dtype);
  if (range || field.free) {
    const [low, high] = range && !field.free ? range : [-(2 ** 53), 2 ** 53];
    return Math.min(Math.max(value + direction * times, low), high);
  }
  let x = fround(value);
  for (let i = 0; i < times; i += 1) x = nextafter32(x, direction);
  return field.kind === "scale" && !(x > 0) ? value : x;
}

// The bits of a number of a type, in hexadecimal; of an integer in two's complement.
const wide = new DataView(new ArrayBuffer(8));
export function bitsOf(value, type) {
  if (type === "float32") return bits32(value);
  if (type === "float64") {
    wide.setFloat64(0, value);
    return `0x${wide.getBigUint64(0).toString(16).padStart(16, "0")}`;
  }
  const digits = { int64: 16, code: 2 }[type] ?? 8;
  return Number.isInteger(value) && (type !== "code" || (value >= -128 && value < 256)) ? `0x${BigInt.asUintN(4 * digits, BigInt(value)).toString(16).padStart(digits, "0")}` : "";
}
