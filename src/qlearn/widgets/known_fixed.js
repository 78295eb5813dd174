import { rint } from "./arithmetic.js";
import { halfAway, step } from "./known_codes.js";

// Integers times a real number with integers alone: the number becomes 31 bits and a power of two. A float64 holds integers up
// to 2^53, so that the product of 31 and more bits is cut into two halves, each exact.

export const FIXED_POINT = [["gemmlowp", "", { fixed: "gemmlowp" }], ["single rounding", "", { fixed: "single" }]];

// A real number -> [q, e] with q · 2^(e − 31), q rounded to an integer from 2^30 on and below 2^31.
export function multiplierOf(real, round = rint) {
  let e = Math.floor(Math.log2(real)) + 1;
  if (real / 2 ** e >= 1) e += 1;
  if (real / 2 ** e < 0.5) e -= 1;
  const q = round((real / 2 ** e) * 2 ** 31);
  return q === 2 ** 31 ? [2 ** 30, e + 1] : [q, e];
}

// Which multipliers the fixed points are written for: below 1 for an accumulator of 32 bits.
export const fits = (real, most = 1) => real >= 2 ** -30 && real < most;

// floor((a · q + nudge) / 2^31), for an integer a below 2^37 and q below 2^31.
export function high(q, nudge) {
  const [upper, lower] = [Math.floor(q / 65536), q % 65536];
  return (a) => {
    const large = a * upper;
    const whole = Math.floor(large / 32768);
    return whole + Math.floor(((large - whole * 32768) * 65536 + a * lower + nudge) / 2 ** 31);
  };
}

// The saturating rounding doubling high multiply, to the nearest, ties up.
export const highMultiply = (q) => high(q, 2 ** 30);

// a · real, rounded twice: gemmlowp's, ties away in the second; "ruy", ties up in both; or once, ties up: "single".
export function times(real, rule, round = rint) {
  const [q, e] = multiplierOf(real, round);
  const [left, right] = [2 ** Math.max(e, 0), 2 ** Math.max(-e, 0)];
  if (rule === "single") {
    const cut = high(q, 0);
    const rounded = high(q, 2 ** 30);
    if (right > 1) return (a) => Math.floor((cut(a) + right / 2) / right);
    return (a) => rounded(a * left);
  }
  const multiply = highMultiply(q);
  if (rule === "ruy") return (a) => Math.floor((multiply(a * left) + (right > 1 ? right / 2 : 0)) / right);
  return (a) => halfAway(multiply(a * left) / right);
}

const HOW = { gemmlowp: "a·m: rounded at 31 bits, then to an integer, ties away", single: "a·m in integers, ties up", ruy: "a·m: rounded at 31 bits, then to an integer, ties up" };
export const fixedPoint = (rule, real, name, round = rint) => step(name, HOW[rule], "int64", times(real, rule, round));
