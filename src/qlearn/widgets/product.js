import { clamp, dequantize, fround, nextafter32, reciprocal, rint } from "./arithmetic.js";
import { asker, atRest, followWidth, frame, html, inflate, integer, legend, oncePerFrame, picker, picture, say, sayAll, setter, sketch, slider } from "./kit.js";

const PAIRS = 65536;
const away = (x) => Math.sign(x) * Math.floor(Math.abs(x) + 0.5);

// m as an integer of 31 bits and a power of two: M / 2^shift.
export function fixedPoint(m) {
  let shift = 31;
  while (m * 2 ** shift < 2 ** 30) shift += 1;
  while (m * 2 ** shift >= 2 ** 31) shift -= 1;
  const M = rint(m * 2 ** shift);
  return M === 2 ** 31 ? { M: M / 2, shift: shift - 1 } : { M, shift };
}

// Nine ways to the product of two codes, PyTorch's first. Each is made for p = { s1, z1, s2, z2, s, z }: its multiplier `m`,
// `scaled(c, q1, q2)`, the number in steps of the output that the rounding to an integer sees (less the zero point, if that
// went in before), and `whole`, the integer before the clamp. c = (q1 - z1)(q2 - z2).
const even = (z) => (y) => rint(y) + z;
const single = (name, how, multiplier) => ({ name, how, make: (p) => {
  const m = multiplier(fround(p.s1), fround(p.s2), p);
  return { m, scaled: (c) => fround(c * m), whole: even(p.z) }; // c·m needs 41 bits: float64 has it exactly, and rounds once
} });
const pytorch = (s1, s2, { s }) => fround(fround(s1 * s2) * reciprocal(s));
export const FORMULAS = [
  single("PyTorch", "m = (s₁s₂)·(1/s)", pytorch),
  single("divided", "m = (s₁s₂) / s", (s1, s2, { s }) => fround(fround(s1 * s2) / fround(s))),
  single("the other way round", "m = s₁·(s₂·(1/s))", (s1, s2, { s }) => fround(s1 * fround(s2 * reciprocal(s)))),
  single("m found in float64", "m = fl(s₁s₂/s)", (_, __, { s1, s2, s }) => fround((s1 * s2) / s)),
  { name: "all in float64", how: "s₁s₂c / s", make: ({ s1, s2, s, z }) => ({
    m: (s1 * s2) / s, scaled: (c) => (s1 * s2 * c) / s, whole: even(z),
  }) },
  { name: "like add", how: "(x̂₁·x̂₂)·(1/s)", make: ({ s1, z1, s2, z2, s, z }) => ({
    m: null, scaled: (_, q1, q2) => fround(fround(dequantize(q1, s1, z1) * dequantize(q2, s2, z2)) * reciprocal(s)), whole: even(z),
  }) },
  { name: "z before the rounding", how: "rint(c·m + z)", make: (p) => {
    const m = pytorch(fround(p.s1), fround(p.s2), p);
    return { m, scaled: (c) => fround(fround(c * m) + p.z) - p.z, whole: (y) => rint(y + p.z) };
  } },
  { name: "31-bit integer m", how: "rounded once", make: ({ s1, s2, s, z }) => {
    const { M, shift } = fixedPoint((s1 * s2) / s);
    return { m: M / 2 ** shift, scaled: (c) => (c * M) / 2 ** shift, whole: (y) => Math.floor(y + 0.5) + z };
  } },
  { name: "31-bit integer m", how: "rounded twice, gemmlowp", make: ({ s1, s2, s, z }) => {
    const { M, shift } = fixedPoint((s1 * s2) / s);
    const [left, right] = [Math.max(31 - shift, 0), Math.max(shift - 31, 0)];
    const high = (c) => { // the upper half of the doubled 64-bit product, rounded, as C divides
      const product = c * 2 ** left * M;
      return Math.trunc((product + (product >= 0 ? 2 ** 30 : 1 - 2 ** 30)) / 2 ** 31);
    };
    return { m: M / 2 ** shift, scaled: (c) => high(c) / 2 ** right, whole: (y) => away(y) + z };
  } },
];

export const PAPER = 4; // the place of the formula on paper

// What a formula makes of two codes: the number before the rounding, the integer, the code.
export function product({ scaled, whole }, { z1, z2 }, q1, q2) {
  const y = scaled((q1 - z1) * (q2 - z2), q1, q2);
  const free = whole(y);
  return { y, free, code: clamp(free, 0, 255) };
}

// All 65,536 codes, q1 by q2.
export function productTable({ scaled, whole }, { z1, z2 }) {
  const table = new Uint8ClampedArray(PAIRS);
  for (let i = 0; i < PAIRS; i += 1) {
    const [q1, q2] = [i >> 8, i & 255];
    table[i] = whole(scaled((q1 - z1) * (q2 - z2), q1, q2));
  }
  return table;
}

// PyTorch's codes of a preset: what is stored is added to the codes on paper, modulo 256.
export const restored = (stored, preset, onPaper) => onPaper.map((code, i) => (code + stored[preset * PAIRS + i]) & 255);

// The next pair after i for which one of the tables has another code than `theirs`, or i if there is none.
export function nextParting(theirs, tables, i) {
  for (let step = 1; step <= PAIRS; step += 1) {
    const k = (i + step) % PAIRS;
    if (tables.some((table) => table[k] !== theirs[k])) return k;
  }
  return i;
}

const WIDE = 560; // from this width on, the names stand beside the dots
const CODE = 68; // room for the codes on the right
const REACH = { m: 4, y: 6 }; // float32 steps on either side

const HALO = "paint-order: stroke; stroke: var(--card); stroke-width: 5px";

async function render({ model, el }) {
  const presets = model.get("presets");
  const stored = await inflate(model.get("tables"));
  const parameters = (preset) => {
    const [[s1, z1], [s2, z2], [s, z]] = presets[preset];
    return { s1, z1, s2, z2, s, z };
  };
  const known = new Map(); // preset -> what its formulas give for every pair
  const prepared = (preset) => {
    if (!known.has(preset)) {
      const p = parameters(preset);
      const made = FORMULAS.map(({ make }) => make(p));
      const tables = made.map((one) => productTable(one, p));
      const theirs = restored(stored, preset, tables[PAPER]);
      const wrong = tables.map((table) => table.reduce((n, code, i) => n + (code !== theirs[i]), 0));
      known.set(preset, { p, made, tables, theirs, wrong });
    }
    return known.get(preset);
  };
  let live = null; // the running PyTorch's answer to the present state

  const state = () => {
    const [preset, q1, q2] = ["preset", "q1", "q2"].map((name) => model.get(name));
    const { p, made, tables, theirs, wrong } = prepared(preset);
    const c = (q1 - p.z1) * (q2 - p.z2);
    const low = Math.floor(made[PAPER].scaled(c)); // the integers on either side of the nearest tie: low, low + 1, less z
    const tie = low + 0.5;
    const step = Math.abs(nextafter32(Math.abs(tie), 1) - Math.abs(tie)); // a float32's, at the tie
    const mStep = nextafter32(made[0].m, 1) - made[0].m;
    const rows = made.map((one, i) => {
      const said = product(one, p, q1, q2);
      return { ...FORMULAS[i], ...said, wrong: wrong[i], fromTie: (said.y - tie) / step, fromM: one.m === null ? null : (one.m - made[0].m) / mStep };
    });
    return { preset, q1, q2, p, c, tables, theirs, rows, tie, low, right: theirs[256 * q1 + q2], m: made[0].m };
  };
  const set = setter(model);
  const names = presets.map(([[s1], [s2], [s]]) => `${s1} · ${s2} / ${s}`);
  const choices = picker(model, "preset", "Scales s₁ · s₂ / s", names);
  const sliders = ["q1", "q2"].map((name, i) => slider({
    label: ["code q₁", "code q₂"][i], steps: 255, position: model.get(name), show: (q) => q, move: (q) => set(name, q),
  }));
  const next = html("button", { type: "button", class: "ql-button", style: "justify-self: start", onclick: () => {
    const { q1, q2, theirs, tables } = state();
    const i = nextParting(theirs, tables, 256 * q1 + q2);
    model.set("q1", i >> 8);
    model.set("q2", i & 255);
  } }, "Next pair on which they part");

  // Two panels of dots: where the multipliers lie, and where the products.
  const plan = (width) => {
    const wide = width >= WIDE;
    const left = wide ? 178 : 6;
    const room = width - left - CODE - (wide ? 30 : 18);
    const [m, y] = [room * 0.42, room * 0.58];
    const panel = (start, size, reach) => ({ start, end: start + size, x: (steps) => start + size / 2 + (steps / (reach + 0.6)) * (size / 2) });
    return { wide, left, m: panel(left, m, REACH.m), y: panel(width - CODE - y, y, REACH.y) };
  };
  const draw = (width) => {
    const { rows, tie, low, right, p } = state();
    const { wide, m, y } = plan(width);
    const [first, pitch] = wide ? [52, 36] : [62, 46];
    const rowY = (i) => first + i * pitch + (i > 0 ? 8 : 0);
    const bottom = rowY(rows.length - 1) + 16;
    const { shapes, add, line } = sketch();
    for (const [panel, reach, title] of [[m, REACH.m, "multiplier m"], [y, REACH.y, "product c·m"]]) {
      add("text", { x: panel.start, y: 12, class: "ql-strong" }, title);
      for (let k = -reach; k <= reach; k += 1) line(panel.x(k), 27, panel.x(k), k === 0 ? 18 : 22, "soft");
      line(panel.start, 27, panel.end, 27, "rule");
    }
    line(m.x(0), 27, m.x(0), bottom, "rule");
    line(y.x(0), 18, y.x(0), bottom, "tie", { "stroke-width": 1.6, "stroke-dasharray": "1 3.5", "stroke-linecap": "round" });
    add("path", { d: `M${y.x(0)} 27 l-4.5 -7 h9 Z`, fill: "var(--tie)" });
    add("text", { x: y.x(0) + 8, y: 12, style: "fill: var(--tie)" }, `tie ${sayAll(tie)}`);
    line(0, (rowY(0) + rowY(1)) / 2, width, (rowY(0) + rowY(1)) / 2, "rule");
    rows.forEach(({ name, how, wrong, fromM, fromTie, free, code }, i) => {
      const mid = rowY(i);
      const differs = code !== right;
      const color = i === 0 ? "torch" : differs ? "wrong" : "ours";
      if (wide) {
        add("text", { x: 0, y: mid - 2, class: "ql-strong" }, name);
        add("text", { x: 0, y: mid + 12, style: "font-size: 11.5px" }, how);
      } else {
        add("text", { x: 0, y: mid - 14, class: "ql-strong", style: HALO }, name);
        add("text", { x: width - CODE - 12, y: mid - 14, "text-anchor": "end", style: `font-size: 11.5px; ${HALO}` }, how);
      }
      for (const panel of [m, y]) line(panel.start, mid, panel.end, mid, "rule", { "stroke-dasharray": "1 3" });
      const dot = (panel, steps, reach, filled) => {
        const x = panel.x(clamp(steps, -reach - 0.4, reach + 0.4));
        if (Math.abs(steps) > reach + 0.4) add("path", { d: `M${x + Math.sign(steps) * 6} ${mid} l${-Math.sign(steps) * 8} -5 v10 Z`, fill: filled ? `var(--${color})` : "var(--card)", stroke: `var(--${color})`, "stroke-width": 1.6 });
        else if (differs) add("path", { d: `M${x} ${mid - 6.5} l6.5 6.5 l-6.5 6.5 l-6.5 -6.5 Z`, fill: filled ? `var(--${color})` : "var(--card)", stroke: `var(--${color})`, "stroke-width": 1.8 });
        else add("circle", { cx: x, cy: mid, r: 5, fill: filled ? `var(--${color})` : "var(--card)", stroke: `var(--${color})`, "stroke-width": 1.8 });
      };
      if (fromM === null) add("text", { x: m.x(0), y: mid + 4, "text-anchor": "middle", style: HALO }, "no single m");
      else dot(m, fromM, REACH.m, true);
      dot(y, fromTie, REACH.y, free > low + p.z);
      add("text", { x: width, y: mid + (i > 0 ? 2.5 : 4.5), "text-anchor": "end", class: "ql-number ql-strong", style: `font-size: 13px; fill: var(--${color})` }, differs ? `≠ ${code}` : code);
      if (i > 0) add("text", { x: width, y: mid + 17, "text-anchor": "end", style: "font-size: 11px" }, `${wrong === 0 ? "none" : integer(wrong)} wrong`);
    });
    return { height: bottom + 4, children: shapes };
  };
  const { root, redraw } = picture("Nine multipliers in float32 steps from PyTorch’s, and the products that they give in steps from the nearest tie", draw);
  const marks = html("div");
  const words = frame(el, choices.root, html("div", { class: "ql-controls" }, ...sliders.map((one) => one.root), next), root, marks);

  const show = () => {
    const { q1, q2, p, c, rows, low, right, tie } = state();
    redraw();
    choices.update();
    [q1, q2].forEach((q, i) => sliders[i].update(q));
    marks.replaceChildren(legend(
      ...[low, low + 1].map((whole, i) => [["ink", "○●"[i]], `gives ${sayAll(whole + p.z)}${clamp(whole + p.z, 0, 255) === whole + p.z ? "" : ", clamped"}`]), [["wrong", "◇ ◆"], "not PyTorch’s code"],
      [["tie", "▾"], "the tie"], [["soft", "|"], "a step: one float32"], [["soft", "◂ ▸"], "further out"], [["soft", "n wrong"], "of all 65,536 pairs"],
    ));
    const rivals = rows.slice(1);
    const differ = rivals.filter(({ code }) => code !== right).length;
    const off = Math.abs(rows[PAPER].y - tie) < 1e-9 * Math.max(1, Math.abs(tie)) ? "a tie on paper" : `${say(rows[PAPER].y, 8)} on paper`;
    const here = differ === 0 ? "all eight others too" : `${differ} of the eight others ${differ === 1 ? "gives" : "give"} another code`;
    const beyond = (low + p.z < 0 && right === 0) || (low + p.z + 1 > 255 && right === 255) ? " The clamp hides what they do." : "";
    const running = live ? ` The running PyTorch ${live.version} gives ${live.code}${live.code === right ? "" : `, and ${right} is recorded`}.` : "";
    words.textContent = `c = (${q1} − ${p.z1})(${q2} − ${p.z2}) = ${sayAll(c)}, and c·m is ${off}. PyTorch gives ${right}, ${here}.${beyond}${running}`;
  };
  const later = oncePerFrame(show);
  const ask = asker(model, (answer) => { live = answer; later(); });
  const asking = atRest(200, () => ask({ codes: [model.get("q1"), model.get("q2")], preset: presets[model.get("preset")] }));
  const changed = () => {
    live = null;
    later();
    asking.ask();
  };
  for (const name of ["preset", "q1", "q2"]) model.on(`change:${name}`, changed);
  changed();
  const end = followWidth(el, later);
  return () => { asking.end(); end(); };
}

export default { render };
