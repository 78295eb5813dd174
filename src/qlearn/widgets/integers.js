import { clamp, codeAt } from "./arithmetic.js";
import { asker, atRest, comparison, drag, followWidth, frame, hover, html, integer, keys, legend, many, oncePerFrame, picker, picture, say, sayAll, setter, sketch, slider } from "./kit.js";

// The line (acc * M + B) >> S through the first accumulators of a layer's codes. All numbers stay below 2^53, so that a
// float64 holds them: M * acc is at most 2^12 * 2^S for these layers, and S at most 40.

const LANES = ["fbgemm/x86", "onednn (VNNI)", "onednn (AVX2)", "qnnpack"];
const SHIFTS = 40;

// What binds a line. Of the codes k that are reached after the lowest accumulator: T, the first accumulator of each. At the
// ends: `lowest`, the code there unless it is 0, must be reached; `highest`, one more than the code there unless it is 255,
// must not.
export function bounds(first, low, high) {
  const points = first.map((T, i) => ({ k: i + 1, T })).filter(({ T }) => T > low && T <= high);
  const [lowest, highest] = [codeAt(first, low), codeAt(first, high) + 1];
  return { first, low, high, points, lowest: lowest > 0 ? { k: lowest, T: low } : null, highest: highest < 256 ? { k: highest, T: high + 1 } : null };
}

// How far B may go for a slope: the least with which all codes are reached in time, and the largest with which none is early,
// or, with late codes, by no more than one accumulator. There is a line where least <= most.
export function offsets({ points, lowest, highest }, M, S, late) {
  const unit = 2 ** S;
  const [reach, keep] = [lowest ? [...points, lowest] : points, points];
  const least = Math.max(...reach.map(({ k, T }) => k * unit - T * M));
  const most = Math.min(...keep.map(({ k, T }) => k * unit - (T - 1 - late) * M - 1), ...(late ? keep.map(({ k, T }) => (k + 1) * unit - T * M - 1) : []),
    ...(highest ? [highest.k * unit - (highest.T - 1) * M - 1] : []));
  return { least, most };
}

// The spacing x at which the strip around the points is thinnest, and its height R there, by thirds: the height is convex.
export function thinnest({ points }) {
  const height = (x) => {
    const h = points.map(({ k, T }) => k * x - T);
    return Math.max(...h) - Math.min(...h);
  };
  const [a, b] = [points[0], points.at(-1)];
  let [low, high] = [0.5, 1.5].map((share) => (share * (b.T - a.T)) / (b.k - a.k));
  for (let i = 0; i < 200; i += 1) {
    const [left, right] = [low + (high - low) / 3, high - (high - low) / 3];
    if (height(left) <= height(right)) high = right;
    else low = left;
  }
  return { x: (low + high) / 2, R: height((low + high) / 2) };
}

// The best line for S: of the two integers next to 2^S / x the one that leaves B more room; B with which nothing is late if
// that can be, or as little as can be.
export function fit(found, x, S, late) {
  const near = Math.floor(2 ** S / x);
  const tried = [near, near + 1].filter((M) => M > 0).flatMap((M) => (late ? [0, 1] : [0]).map((allowed) => ({ M, allowed, ...offsets(found, M, S, allowed) })));
  const fits = tried.filter(({ least, most }) => least <= most);
  const best = (fits.length ? fits : tried).sort((a, b) => a.allowed - b.allowed || (b.most - b.least) / b.M - (a.most - a.least) / a.M)[0];
  const B = fits.length === 0 || best.allowed === 0 ? Math.floor((best.least + best.most) / 2) : best.least;
  return { M: best.M, B, fits: fits.length > 0 };
}

// The least S that has a line; null where there is none up to SHIFTS.
export function leastShift(found, x, late) {
  for (let S = 0; S <= SHIFTS; S += 1) if (fit(found, x, S, late).fits) return S;
  return null;
}

// What a line makes of a layer: where it comes to each code (`at`), which codes are late, and the first accumulator that gets
// a wrong code, null if none does.
export function judge({ first, low, high, points, lowest, highest }, { M, B, S }, late) {
  const unit = 2 ** S;
  const reaches = (k) => Math.ceil((k * unit - B) / M);
  const at = points.map(({ k, T }) => ({ k, T, by: T - reaches(k) })); // 0: right; 1: late; else wrong
  const lates = late ? at.filter(({ by }) => by === 1).map(({ k }) => k) : [];
  const wrong = at.filter(({ by }) => !(by === 0 || (late && by === 1)));
  const failing = wrong.map(({ T, by }) => (by > 0 ? T - by : T));
  if (lowest && reaches(lowest.k) > low) failing.push(low);
  if (highest && reaches(highest.k) <= high) failing.push(reaches(highest.k));
  const set = new Set(lates);
  const code = (acc) => {
    const v = acc * M + B;
    const q = Math.floor(v / unit);
    return clamp(q - (set.has(q) && v - q * unit < M ? 1 : 0), 0, 255);
  };
  return { at, lates, wrong, failing: failing.length ? clamp(Math.min(...failing), low, high) : null, code, right: (acc) => codeAt(first, acc) };
}

export const bits = (n) => (n === 0 ? 0 : Math.floor(Math.log2(Math.abs(n))) + 1);

async function render({ model, el }) {
  const [names, layers, first] = ["names", "layers", "first"].map((name) => model.get(name));
  let live = null; // the running PyTorch's thresholds for the present layer and lane
  const known = {}; // by layer and lane: what does not depend on the line

  const layerOf = () => {
    const [layer, lane] = [model.get("layer"), model.get("lane")];
    const key = `${layer} ${lane}`;
    if (!known[key]) {
      const [low, high] = layers[layer].slice(5);
      const found = bounds(first[layer][lane], low, high);
      const thin = thinnest(found);
      known[key] = { found, ...thin, least: [0, 1].map((late) => leastShift(found, thin.x, late)) };
    }
    return known[key];
  };
  const lineOf = () => {
    const [S, M, B, late] = ["S", "M", "B", "late"].map((name) => model.get(name));
    return M > 0 ? { M, B, S } : { ...fit(layerOf().found, layerOf().x, S, late), S };
  };
  const set = setter(model);
  const choose = (changes) => { for (const [name, value] of Object.entries(changes)) model.set(name, value); model.save_changes(); };
  const best = () => choose({ M: 0, B: 0 });

  // The strip: how long after the line comes to a code its first accumulator follows, code by code. The frame is that of the
  // thinnest strip, where the line through the middle lies flat.
  const [LEFT, RIGHT, TOP, BOTTOM] = [42, 10, 26, 234];
  const frameOf = () => {
    const { found: { points }, x, R } = layerOf();
    const highest = Math.max(...points.map(({ k, T }) => k * x - T));
    const reach = Math.max(3.6, R + 1.8);
    return { zero: (k) => k * x - highest, from: -0.9, to: reach - 0.9, k0: points[0].k, k1: points.at(-1).k };
  };
  const scales = (width) => {
    const { zero, from, to, k0, k1 } = frameOf();
    const px = (k) => LEFT + 6 + ((k - k0) / (k1 - k0)) * (width - LEFT - RIGHT - 12);
    const py = (y) => BOTTOM - ((y - from) / (to - from)) * (BOTTOM - TOP);
    return { zero, from, to, k0, k1, px, py };
  };
  const strip = picture("The first accumulator of each code beside the line: within one accumulator of it, or late, or beyond", (width) => {
    const { zero, from, to, k0, k1, px, py } = scales(width);
    const line = lineOf();
    const late = model.get("late");
    const judged = judge(layerOf().found, line, late);
    const { shapes, add } = sketch();
    const crossing = (k) => (k * 2 ** line.S - line.B) / line.M - zero(k); // of the line, in the frame
    const y = (k, more) => py(crossing(k) + more);
    const band = (low, high, color, opacity) => add("path", {
      d: `M${px(k0) - 6} ${y(k0, low)}L${px(k1) + 6} ${y(k1, low)}L${px(k1) + 6} ${y(k1, high)}L${px(k0) - 6} ${y(k0, high)}Z`, fill: `var(--${color})`, opacity,
    });
    for (let tick = Math.ceil(from); tick <= to; tick += 1) {
      add("line", { x1: LEFT, x2: width - RIGHT, y1: py(tick), y2: py(tick), stroke: "var(--rule)", "stroke-width": 0.8 });
      add("text", { x: LEFT - 8, y: py(tick) + 4, "text-anchor": "end", class: "ql-number" }, sayAll(tick));
    }
    if (late) band(1, 2, "tie", 0.13);
    band(0, 1, "ours", 0.16);
    for (const more of [0, 1]) add("line", { x1: px(k0) - 6, x2: px(k1) + 6, y1: y(k0, more), y2: y(k1, more), stroke: "var(--ours)", "stroke-width": more ? 1 : 2, "stroke-dasharray": more ? "4 3" : null });
    const size = clamp((width - LEFT - RIGHT) / (k1 - k0 + 1) - 0.4, 1.6, 6);
    for (const [color, of] of [["ours", (by) => by === 0], ["tie", (by) => late && by === 1], ["wrong", (by) => !(by === 0 || (late && by === 1))]]) {
      const d = judged.at.filter(({ by }) => of(by)).map(({ k, T }) => {
        const at = T - zero(k);
        const inside = clamp(at, from + 0.08, to - 0.08);
        return at === inside ? `M${(px(k) - size / 2).toFixed(1)} ${(py(at) - 2.2).toFixed(1)}h${size.toFixed(1)}v4.4h-${size.toFixed(1)}z` : "";
      }).join("");
      if (d) add("path", { d, fill: `var(--${color})` });
    }
    const code = model.get("code");
    if (code >= k0 && code <= k1) add("line", { x1: px(code), x2: px(code), y1: TOP - 6, y2: BOTTOM + 4, stroke: "var(--ink)", "stroke-width": 1, opacity: 0.55 });
    add("rect", { x: 0, y: -400, width, height: 400 + TOP - 8, fill: "var(--card)" });
    add("rect", { x: 0, y: BOTTOM + 6, width, height: 400, fill: "var(--card)" });
    for (const k of [k0, 64, 128, 192, k1].filter((k, i, all) => k >= k0 && k <= k1 && (k === k0 || k === k1 || (k - k0 > 20 && k1 - k > 20)) && all.indexOf(k) === i)) add("text", { x: px(k), y: BOTTOM + 22, "text-anchor": "middle", class: "ql-number" }, k);
    add("text", { x: LEFT, y: 12 }, width < 480 ? "↑ accumulators after the line" : "↑ accumulators from where the line comes to the code");
    add("text", { x: width - RIGHT, y: 12, "text-anchor": "end" }, "code →");
    return { height: BOTTOM + 26, children: shapes };
  });
  strip.root.style.overflow = "hidden";
  strip.root.style.touchAction = "none"; // it is dragged up and down

  // The line through two heights at the first and the last code: M and B as near as S allows.
  const through = (at0, at1) => {
    const { zero, k0, k1 } = frameOf();
    const S = model.get("S");
    const [a0, a1] = [at0 + zero(k0), at1 + zero(k1)];
    const M = Math.max(1, Math.round((2 ** S * (k1 - k0)) / (a1 - a0)));
    const anchor = (k0 + k1) / 2;
    choose({ M, B: Math.round(anchor * 2 ** S - ((a0 + a1) / 2) * M) });
  };
  const heights = () => {
    const { zero, k0, k1 } = frameOf();
    const { M, B, S } = lineOf();
    return [k0, k1].map((k) => (k * 2 ** S - B) / M - zero(k));
  };
  const codeUnder = (x) => {
    const { k0, k1 } = frameOf();
    const width = strip.root.clientWidth;
    return clamp(Math.round(k0 + ((x - LEFT - 6) / (width - LEFT - RIGHT - 12)) * (k1 - k0)), Math.max(1, k0), Math.min(255, k1));
  };
  drag(strip.root, (x0, y0) => {
    const { py } = scales(strip.root.clientWidth);
    const perUnit = py(0) - py(1);
    const [left, right] = heights();
    const share = (x0 - LEFT) / (strip.root.clientWidth - LEFT - RIGHT);
    set("code", codeUnder(x0));
    return (_, y) => {
      const by = (y0 - y) / perUnit;
      if (by === 0) return;
      through(left + (share < 0.67 ? by : 0), right + (share > 0.33 ? by : 0));
    };
  });
  hover(strip.root, (x) => { const code = codeUnder(x); if (code !== model.get("code")) set("code", code); });
  const step = (slope, offset) => (fast) => {
    const { M, B } = lineOf();
    const much = fast ? 10 : 1;
    if (offset) choose({ M, B: B + Math.sign(offset) * Math.max(1, Math.round(M / 16)) * much });
    else {
      const { k0, k1, zero } = frameOf();
      const acc = zero((k0 + k1) / 2); // the middle stays where it is
      const turned = Math.max(1, M + slope * much);
      choose({ M: turned, B: Math.round(B - (turned - M) * acc) });
    }
  };
  keys(strip.root, { ArrowUp: step(0, -1), ArrowDown: step(0, 1), ArrowLeft: step(-1, 0), ArrowRight: step(1, 0) });
  strip.root.setAttribute("role", "application");
  strip.root.setAttribute("aria-label", "The strip: arrow up and down move the line, left and right turn it; with Shift ten times as far");

  // The pixels around the code that is looked at.
  const pixels = picture("The accumulators around one code as pixels: PyTorch’s codes, and the line through them", (width) => {
    const { found, x } = layerOf();
    const line = lineOf();
    const judged = judge(found, line, model.get("late"));
    const narrow = width < 480;
    const cell = narrow ? 9 : 10.5;
    const columns = Math.floor((width - LEFT - RIGHT) / cell);
    const code = clamp(model.get("code"), found.points[0].k, found.points.at(-1).k);
    const T = found.first[code - 1];
    const from = T - Math.floor(columns / 2);
    const rows = clamp(Math.ceil(columns / x / 2), 1, 3);
    const [top, high] = [8, 26];
    const bottom = top + (2 * rows) * high;
    const px = (acc) => LEFT + (acc - from) * cell;
    const py = (q) => bottom - (q - (code - rows)) * high; // the lower edge of a code's row
    const { shapes, add } = sketch();
    for (let q = code - rows; q < code + rows; q += 1) if (q >= 0 && q < 256) add("text", { x: LEFT - 8, y: py(q) - high / 2 + 4, "text-anchor": "end", class: "ql-number" }, q);
    const inRows = (q) => q >= code - rows && q < code + rows;
    for (let i = 0; i < columns; i += 1) {
      const acc = from + i;
      if (acc < found.low || acc > found.high) continue;
      const [right, mine] = [judged.right(acc), judged.code(acc)];
      const begins = acc > found.low && judged.right(acc - 1) < right;
      if (inRows(right)) add("rect", { x: px(acc) + 0.5, y: py(right) - high + 0.5, width: cell - 1, height: high - 1, rx: 1.5, fill: begins ? "var(--torch)" : "var(--soft)", opacity: begins ? 0.85 : 0.2 });
      if (mine !== right && inRows(mine)) add("rect", { x: px(acc) + 1.3, y: py(mine) - high + 1.3, width: cell - 2.6, height: high - 2.6, rx: 1.5, fill: "none", stroke: "var(--wrong)", "stroke-width": 2 });
      const early = model.get("late") && mine === right && Math.floor((acc * line.M + line.B) / 2 ** line.S) === right + 1 && inRows(right + 1);
      if (early) add("rect", { x: px(acc) + 1.3, y: py(right + 1) - high + 1.3, width: cell - 2.6, height: high - 2.6, rx: 1.5, fill: "none", stroke: "var(--tie)", "stroke-width": 2, "stroke-dasharray": "3 2" });
    }
    const value = (acc) => clamp((acc * line.M + line.B) / 2 ** line.S, code - rows, code + rows);
    const ends = [from, from + columns].map((acc) => (acc * line.M + line.B) / 2 ** line.S);
    const cut = (q) => clamp(from + ((q - ends[0]) / (ends[1] - ends[0] || 1)) * columns, from, from + columns);
    const [a, b] = [cut(code - rows), cut(code + rows)];
    if (ends[1] > code - rows && ends[0] < code + rows) add("line", { x1: px(a), y1: py(value(a)), x2: px(b), y2: py(value(b)), stroke: "var(--ours)", "stroke-width": 2 });
    add("text", { x: px(T) + cell / 2, y: bottom + 16, "text-anchor": "middle", class: "ql-number ql-strong" }, integer(T));
    add("line", { x1: px(T) + cell / 2, x2: px(T) + cell / 2, y1: bottom, y2: bottom + 5, stroke: "var(--ink)" });
    add("text", { x: width - RIGHT, y: bottom + 16, "text-anchor": "end" }, "accumulator →");
    return { height: bottom + 22, children: shapes };
  });

  const shift = slider({ label: "S", steps: SHIFTS, position: 0, show: (S) => `${S} bits`, move: (S) => choose({ S, M: 0, B: 0 }) });
  const code = slider({ label: "code", steps: 254, position: 0, show: (i) => i + 1, move: (i) => set("code", i + 1) });
  const choices = [
    picker(model, "layer", "Layer", names),
    picker(model, "lane", "PyTorch’s engine", LANES),
    picker(model, "late", "Form", ["a line alone", "with late codes"]),
  ];
  const button = (text, act) => html("button", { type: "button", class: "ql-button", onclick: act }, text);
  const smallest = button("Least S", () => choose({ S: layerOf().least[model.get("late")] ?? model.get("S"), M: 0, B: 0 }));
  const again = button("Best line for this S", best);
  const fails = button("Where it fails first", () => {
    const { failing } = judge(layerOf().found, lineOf(), model.get("late"));
    const { first: T } = layerOf().found;
    if (failing !== null) set("code", clamp(codeAt(T, failing) + (T[codeAt(T, failing)] - failing < failing - (T[codeAt(T, failing) - 1] ?? -Infinity) ? 1 : 0), 1, 255));
  });
  const table = comparison(["", "M", "B", "S", "late", "wrong"]);
  const words = frame(el, html("div", { class: "ql-choices" }, ...choices.map((one) => one.root)), strip.root,
    legend([["ours", "■"], "on the line"], [["tie", "■"], "one accumulator after it: late"], [["wrong", "■"], "neither: wrong codes"]), pixels.root,
    legend([["torch", "■"], "the first accumulator of a code, PyTorch’s"], [["ours", "╱"], "the line"], [["wrong", "□"], "where it says another code"], [["tie", "□"], "where it is early and the code late"]),
    html("div", { class: "ql-controls" }, shift.root, code.root), html("div", { class: "ql-options" }, smallest, again, fails), table.root);

  const show = () => {
    const known = layerOf();
    const [line, late] = [lineOf(), model.get("late")];
    const judged = judge(known.found, line, late);
    strip.redraw();
    pixels.redraw();
    choices.forEach((one) => one.update());
    shift.update(line.S);
    code.update(model.get("code") - 1);
    const least = known.least[late];
    smallest.disabled = least === null || (model.get("M") === 0 && line.S === least);
    again.disabled = model.get("M") === 0;
    fails.disabled = judged.failing === null;
    table.update([["the line", "ours", ...[line.M, line.B].map((n) => [integer(n), `${bits(n)} bits`, ""]), line.S, judged.lates.length, judged.wrong.length]]);
    words.textContent = sentence(known, line, judged, late, live);
  };
  const later = oncePerFrame(show);
  const ask = asker(model, (answer) => { live = answer.first ? answer : null; later(); });
  const asking = atRest(200, () => ask({ layer: model.get("layer"), lane: model.get("lane") }));
  const changed = () => {
    live = null;
    later();
    asking.ask();
  };
  for (const name of ["layer", "lane"]) model.on(`change:${name}`, () => { changed(); if (model.get("M") !== 0) best(); });
  for (const name of ["late", "S", "M", "B", "code"]) model.on(`change:${name}`, later);
  changed();
  const end = followWidth(el, later);
  return () => { asking.end(); end(); };
}

// The picture in words.
export function sentence({ found, x, R, least }, { S }, judged, late, live) {
  const parts = [`${many(found.points.length, "step")}, ${say(x, 6)} accumulators each; R = ${say(R, 4)}.`];
  if (least[0] !== null) parts.push(`A line needs ${many(least[0], "bit")} of S${least[1] !== null && least[1] < least[0] ? `, one with late codes ${least[1]}` : ""}.`);
  else if (least[1] !== null) parts.push(`No line, but one with late codes from S = ${least[1]} on.`);
  else parts.push("No line, and none with late codes: thresholds.");
  if (judged.failing !== null) parts.push(`This one, with ${many(S, "bit")}, gives the accumulator ${integer(judged.failing)} the code ${judged.code(judged.failing)}; it is ${judged.right(judged.failing)}.`);
  else parts.push(`This one, with ${many(S, "bit")}, is right at every accumulator from ${integer(found.low)} to ${integer(found.high)}${late && judged.lates.length ? `, with ${many(judged.lates.length, "late code")}` : ""}.`);
  if (live) {
    const differ = live.first.filter((T, i) => T !== found.first[i]).length;
    parts.push(differ === 0 ? `The running PyTorch ${live.version} has the same steps.` : `The running PyTorch ${live.version} differs in ${differ} steps.`);
  }
  return parts.join(" ");
}

export default { render };
