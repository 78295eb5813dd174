import { clamp, dequantize, fround, paramsOfRange, RELEASES, unclamped } from "./arithmetic.js";
import { asker, choice, comparison, drag, followWidth, frame, html, integer, legend, oncePerFrame, picker, picture, power, say, sayAll, sketch, slider, svg, typed, uniqueId } from "./kit.js";

// How a range becomes codes. `codes` are those that the range is spread over, `clamp` those that a value can get:
// quantize_per_tensor knows nothing of reduce_range and clamps where its dtype ends.
export const GRIDS = [
  { name: "quint8, 0 … 255", dtype: "quint8", codes: [0, 255], clamp: [0, 255], symmetric: false },
  { name: "reduce_range, 0 … 127", dtype: "quint8", codes: [0, 127], clamp: [0, 255], symmetric: false },
  { name: "symmetric, −128 … 127", dtype: "qint8", codes: [-128, 127], clamp: [-128, 127], symmetric: true },
  { name: "four bits, 0 … 15", dtype: "quint8", codes: [0, 15], clamp: [0, 15], symmetric: false },
];

export const OBSERVERS = ["MinMax", "moving average", "Histogram"];

// What it costs to quantize `values` on a grid over the range low to high: the squared errors of the values that only
// get rounded and of those that get clipped, added in float64 one after the other, over how many values there are.
export function cost(values, low, high, grid) {
  const { scale, zeroPoint } = paramsOfRange(low, high, grid);
  const [first, last] = grid.clamp;
  const found = { scale, zeroPoint, total: 0, rounding: 0, clipping: 0, clipped: 0, above: 0, used: 0 };
  const used = new Set();
  for (const x of values) {
    const free = unclamped(x, scale, zeroPoint);
    const code = clamp(free, first, last);
    const error = fround(x - dequantize(code, scale, zeroPoint));
    const square = error * error;
    found.total += square;
    if (free === code) found.rounding += square;
    else { found.clipping += square; found.clipped += 1; }
    if (code > grid.codes[1]) found.above += 1;
    used.add(code);
  }
  for (const name of ["total", "rounding", "clipping"]) found[name] /= values.length;
  found.used = used.size;
  return found;
}

// The sliders' positions: whole steps, and 0 is one of them.
export const position = (sample, value) => clamp(Math.round(value / sample.step), -sample.negative, sample.positive);
export const valueAt = (sample, place) => fround(place * sample.step);

// PyTorch's recorded scale, zero point and error for a range whose two ends were recorded: the sliders' positions and
// what observers picked. PyTorch widens each range to include 0, and so are the ends here.
export function recorded(sample, tables, grid, low, high) {
  const [i, j] = [sample.lows.indexOf(Math.min(low, 0)), sample.highs.indexOf(Math.max(high, 0))];
  if (i < 0 || j < 0) return null;
  const at = sample.offset + (grid * sample.lows.length + i) * sample.highs.length + j;
  return { scale: tables.scales[at], zeroPoint: tables.zeroPoints[at], error: tables.errors[at] };
}

const SIDE = 16; // pixels left and right of the picture
const [CURVE_TOP, CURVE_END, TOP, BASE, RULER, GRIP] = [26, 104, 124, 232, 243, 280];

// The pattern of what is clipped.
const hatching = (id) => svg("defs", {}, svg("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
  svg("line", { x1: 0, y1: 0, x2: 0, y2: 6, stroke: "var(--clamped)", "stroke-width": 1.6 })));

function render({ model, el }) {
  const array = (name, Type) => typed(model.get(name), Type);
  const tables = { scales: array("scales", Float32Array), zeroPoints: array("zero_points", Int16Array), errors: array("errors", Float64Array) };
  const numbers = array("values", Float32Array);
  const count = numbers.length / model.get("samples").length;
  let offset = 0;
  const samples = model.get("samples").map((about, i) => {
    const [negative, positive] = [Math.round(-about.lows[0] / about.step), Math.round(about.highs.at(-1) / about.step)];
    const sample = { ...about, negative, positive, offset, values: numbers.subarray(i * count, (i + 1) * count) };
    offset += GRIDS.length * about.lows.length * about.highs.length;
    const bins = new Array(negative + positive).fill(0);
    for (const x of sample.values) bins[clamp(Math.floor(x / about.step) + negative, 0, bins.length - 1)] += 1;
    return { ...sample, bins };
  });
  const hatch = uniqueId("hatch");
  let live = null; // the running PyTorch's answer to the present state

  const state = () => {
    const sample = samples[model.get("sample")];
    const grid = GRIDS[model.get("grid")];
    const low = fround(model.get("low"));
    const high = fround(Math.max(low, model.get("high")));
    return { sample, grid, low, high };
  };
  const move = (low, high) => { model.set("low", low); model.set("high", high); model.save_changes(); };
  const moveTo = (end, place) => {
    const { sample, low, high } = state();
    const value = valueAt(sample, place); // an end that meets the other pushes it
    if (end === "low") move(value, Math.max(value, high));
    else move(Math.min(low, value), value);
  };
  const pick = (sample, i) => move(...sample.picks[i]);

  // The error with one end moved along all positions and the other end where it is, worked out once for each place of it.
  const known = new Map();
  const curve = (end, { sample, grid, low, high }) => {
    const still = end === "low" ? Math.max(high, 0) : Math.min(low, 0);
    const key = [end, sample.name, grid.name, still].join();
    if (!known.has(key)) {
      if (known.size > 40) known.clear();
      known.set(key, (end === "low" ? sample.lows : sample.highs).map((at) => {
        const [a, b] = end === "low" ? [at, still] : [still, at];
        return { at, ours: cost(sample.values, a, b, grid).total, theirs: recorded(sample, tables, GRIDS.indexOf(grid), a, b)?.error };
      }));
    }
    return known.get(key);
  };

  const draw = (width) => {
    const { sample, grid, low, high } = state();
    const { scale, zeroPoint, total } = cost(sample.values, low, high, grid);
    const [left, right] = [-sample.negative * sample.step, sample.positive * sample.step];
    const px = (v) => SIDE + ((v - left) / (right - left)) * (width - 2 * SIDE);
    const inside = (v) => clamp(px(v), SIDE, width - SIDE);
    const { shapes, add, line } = sketch();
    const word = (x, y, text, more = {}) => {
      const [anchor, aside] = x < 46 ? ["start", 7] : x > width - 46 ? ["end", -7] : ["middle", 0];
      add("text", { x: x + aside, y, "text-anchor": anchor, ...more }, text);
    };

    // what the codes reach, and beyond: clamped
    const reach = [(grid.clamp[0] - zeroPoint) * scale, (grid.clamp[1] - zeroPoint) * scale];
    const [from, to] = reach.map(inside);
    shapes.push(hatching(hatch));
    add("rect", { x: from, y: TOP, width: Math.max(1, to - from), height: BASE - TOP, fill: "var(--wash)" });
    for (const [a, b] of [[SIDE, from], [to, width - SIDE]]) {
      if (b > a) add("rect", { x: a, y: TOP, width: b - a, height: BASE - TOP, fill: `url(#${hatch})`, opacity: 0.3 });
    }

    // the histogram: what is clipped stands hatched
    const tallest = Math.max(...sample.bins);
    sample.bins.forEach((n, i) => {
      if (n === 0) return;
      const [a, b] = [px(left + i * sample.step) + 0.5, px(left + (i + 1) * sample.step) - 0.5];
      const y = BASE - Math.max(1.5, (n / tallest) * (BASE - TOP - 8));
      const bar = (x1, x2, fill, opacity) => x2 > x1 && add("rect", { x: x1, y, width: x2 - x1, height: BASE - y, fill, opacity });
      bar(a, Math.min(b, from), `url(#${hatch})`, 1);
      bar(Math.max(a, from), Math.min(b, to), "var(--ours)", 0.62);
      bar(Math.max(a, to), b, `url(#${hatch})`, 1);
    });
    if (from - SIDE > 60) word((SIDE + from) / 2, TOP + 14, "clamped");
    if (width - SIDE - to > 60) word((to + width - SIDE) / 2, TOP + 14, "clamped");
    line(SIDE, BASE, width - SIDE, BASE, "ink");

    // the codes: where each stands for a number
    const cell = px(scale) - px(0);
    const codes = [Math.max(grid.clamp[0], Math.ceil(left / scale) + zeroPoint), Math.min(grid.clamp[1], Math.floor(right / scale) + zeroPoint)];
    if (cell >= 2.2) for (let c = codes[0]; c <= codes[1]; c += 1) line(px((c - zeroPoint) * scale), BASE + 3, px((c - zeroPoint) * scale), RULER, c > grid.codes[1] ? "tie" : "ink", { "stroke-width": cell > 5 ? 1.4 : 0.8 });
    else add("rect", { x: from, y: BASE + 3, width: Math.max(1, to - from), height: RULER - BASE - 3, fill: "var(--soft)", opacity: 0.75 });
    word(px(0), RULER + 14, `0 is code ${sayAll(zeroPoint)}`, { class: "ql-strong" });
    line(px(0), BASE - 4, px(0), RULER, "ink", { "stroke-width": 2 });

    // a range that leaves 0 out is stretched to it
    for (const [a, b] of [[0, low], [high, 0]]) {
      if (a >= b) continue;
      const [x1, x2] = [inside(a), inside(b)];
      line(x1, TOP + 8, x2, TOP + 8, "tie", { "stroke-width": 2, "stroke-dasharray": "5 4" });
      if (x2 - x1 > 120) word((x1 + x2) / 2, TOP + 26, "stretched to reach 0", { style: "fill: var(--tie)" });
    }

    // the error, were an end elsewhere
    const sides = ["low", "high"].map((end) => curve(end, state())).filter((side) => side.length > 1);
    const logs = [...sides.flat().map((p) => p.ours), total].map((e) => Math.log10(Math.max(e, 1e-30)));
    const [most, least] = [Math.max(...logs), Math.min(...logs)];
    const py = (e) => CURVE_TOP + ((most - Math.log10(Math.max(e, 1e-30))) / Math.max(most - least, 0.1)) * (CURVE_END - CURVE_TOP);
    for (let d = Math.ceil(least); d <= most; d += Math.ceil((most - least) / 4)) {
      line(SIDE, py(10 ** d), width - SIDE, py(10 ** d), "rule", { "stroke-width": 0.8 });
      add("text", { x: width - SIDE, y: py(10 ** d) - 3, "text-anchor": "end", class: "ql-number" }, power(10 ** d, 1));
    }
    add("text", { x: SIDE, y: 13 }, "mean squared error, were an end of the range here");
    for (const side of sides) {
      add("path", { d: `M${side.map((p) => `${px(p.at).toFixed(1)} ${py(p.ours).toFixed(1)}`).join(" L")}`, fill: "none", stroke: "var(--ours)", "stroke-width": 1.6 });
      for (const p of side) if (p.theirs !== undefined) add("circle", { cx: px(p.at), cy: py(p.theirs), r: 1.7, fill: "var(--torch)" });
    }

    // the handles
    for (const [end, value] of [["low", low], ["high", high]]) {
      const x = inside(value);
      line(x, py(total), x, GRIP, "ink", { "stroke-width": 1.6 });
      add("circle", { cx: x, cy: py(total), r: 4.5, fill: "var(--ours)", stroke: "var(--card)", "stroke-width": 1.5 });
      add("circle", { cx: x, cy: GRIP, r: 10, fill: "var(--ink)", style: "cursor: ew-resize" });
      add("path", { d: `M${x - 2} ${GRIP - 4} l-4 4 l4 4 M${x + 2} ${GRIP - 4} l4 4 l-4 4`, fill: "none", stroke: "var(--card)", "stroke-width": 1.5, "pointer-events": "none" });
      const close = px(high) - px(low) < 70;
      add("text", { x, y: GRIP + 28, class: "ql-number ql-strong", "text-anchor": x < 58 ? "start" : x > width - 58 ? "end" : close ? (end === "low" ? "end" : "start") : "middle" }, say(value, 4));
    }
    return { height: GRIP + 34, children: shapes };
  };
  const { root, redraw } = picture("A histogram of the values, and the range that the codes are spread over", draw);
  drag(root, (startX) => {
    const { sample, low, high } = state();
    const [left, right] = [-sample.negative, sample.positive];
    const place = (x) => Math.round(left + ((x - SIDE) / (root.clientWidth - 2 * SIDE)) * (right - left));
    const at = place(startX) * sample.step;
    const end = Math.abs(at - low) < Math.abs(at - high) || (low === high && at < low) ? "low" : "high";
    return (x) => moveTo(end, clamp(place(x), left, right));
  });

  // rounding and clipping, and their sum
  const { root: bars, redraw: redrawBars } = picture("The rounding error, the clipping error, and their sum", (width) => {
    const { sample, grid, low, high } = state();
    const { rounding, clipping, total } = cost(sample.values, low, high, grid);
    const whole = recorded(sample, tables, model.get("grid"), ...sample.picks[0]).error;
    const [from, to] = [72, width - 84];
    const length = (e) => (e / Math.max(total, whole)) * (to - from);
    const id = uniqueId("hatch");
    const { shapes, add } = sketch();
    shapes.push(hatching(id));
    [["rounding", rounding, 0], ["clipping", 0, clipping], ["sum", rounding, clipping]].forEach(([name, blue, grey], i) => {
      const y = 20 + i * 24;
      add("text", { x: from - 10, y: y + 12, "text-anchor": "end", class: i === 2 ? "ql-strong" : null }, name);
      add("rect", { x: from, y, width: length(blue), height: 15, fill: "var(--ours)", opacity: 0.75 });
      add("rect", { x: from + length(blue), y, width: length(grey), height: 15, fill: `url(#${id})` });
      add("text", { x: width, y: y + 12, "text-anchor": "end", class: i === 2 ? "ql-number ql-strong" : "ql-number" }, power(blue + grey, 3));
    });
    const x = from + length(whole);
    add("line", { x1: from, y1: 16, x2: from, y2: 86, stroke: "var(--ink)" });
    add("line", { x1: x, y1: 16, x2: x, y2: 86, stroke: "var(--torch)", "stroke-dasharray": "3 3", "stroke-width": 1.4 });
    add("text", { x: Math.max(x, from + 20), y: 11, "text-anchor": x > from + 90 ? "end" : "start", style: "fill: var(--torch)" }, "MinMax’s sum");
    return { height: 90, children: shapes };
  });

  const places = (sample) => sample.negative + sample.positive;
  const ends = ["low", "high"].map((end) => slider({
    label: `${end} end`, steps: places(state().sample), position: 0, show: () => say(state()[end], 4),
    move: (p) => moveTo(end, p - state().sample.negative),
  }));
  const sampleChoice = choice({
    label: "Values", options: samples.map((sample) => sample.name), chosen: model.get("sample"),
    choose: (i) => { model.set("sample", i); pick(samples[i], 0); },
  });
  const observerChoice = choice({ label: "The range that an observer picks", options: OBSERVERS, chosen: -1, choose: (i) => pick(state().sample, i) });
  const gridChoice = picker(model, "grid", "Codes", GRIDS.map((grid) => grid.name));
  const table = comparison(["who", "scale", "zero point", "squared error"]);
  const words = frame(el, sampleChoice.root, root, legend([["ours", "━"], "this page"], [["torch", "•"], `PyTorch ${RELEASES[0]}, recorded`], [["clamped", "▨"], "clipped"]),
    html("div", { class: "ql-controls" }, ...ends.map((end) => end.root)), observerChoice.root, gridChoice.root, bars, table.root);

  const show = oncePerFrame(() => {
    const { sample, grid, low, high } = state();
    const found = cost(sample.values, low, high, grid);
    const theirs = recorded(sample, tables, model.get("grid"), low, high);
    redraw();
    redrawBars();
    ends.forEach((end, i) => {
      end.input.max = places(sample);
      end.update(position(sample, [low, high][i]) + sample.negative);
    });
    sampleChoice.update(model.get("sample"));
    gridChoice.update();
    observerChoice.update(sample.picks.findIndex(([a, b]) => a === low && b === high));
    const row = (name, kind, { scale, zeroPoint, error }) => [name, kind, scale.toPrecision(9), sayAll(zeroPoint), power(error, 5)];
    const rows = [row("this page", "ours", { ...found, error: found.total })];
    const recordedBy = `PyTorch ${RELEASES[0]}, recorded`;
    rows.push(theirs ? row(recordedBy, "torch", theirs) : [recordedBy, "torch", "–", "–", "–"]);
    if (live) rows.push(row(`PyTorch ${live.version}, running`, "torch", live));
    table.update(rows);
    words.textContent = sentence(sample, grid, low, high, found, theirs);
  });
  const ask = asker(model, ({ scale, zero_point, error, version }) => { live = { scale, zeroPoint: zero_point, error, version }; show(); });
  const changed = () => {
    live = null;
    const { low, high } = state();
    ask({ sample: model.get("sample"), grid: model.get("grid"), low, high });
    show();
  };
  for (const name of ["sample", "grid", "low", "high"]) model.on(`change:${name}`, changed);
  changed();
  return followWidth(el, show);
}

// The picture in words.
export function sentence(sample, grid, low, high, found, theirs) {
  const { scale, zeroPoint, total, clipping, clipped, above, used, values } = { ...found, values: sample.values.length };
  const parts = [];
  if (low > 0 || high < 0) parts.push(`The range ${say(low, 3)} to ${say(high, 3)} leaves out 0, so it is stretched to it.`);
  const all = grid.clamp[1] - grid.clamp[0] + 1;
  parts.push(`A step is ${say(scale, 4)}; the values take ${used} of ${all} codes.`);
  parts.push(clipped === 0
    ? "None is clipped: all of the error is rounding."
    : `${integer(clipped)} of ${integer(values)} ${clipped === 1 ? "is" : "are"} clipped, and ${clipped === 1 ? "makes" : "make"} ${say((100 * clipping) / total, 3)} % of the error.`);
  if (above > 0) parts.push(`${integer(above)} get${above === 1 ? "s" : ""} a code above ${grid.codes[1]}: reduce_range widens the step, it clamps nothing.`);
  if (theirs) {
    const same = theirs.scale === scale && theirs.zeroPoint === zeroPoint && theirs.error === total;
    parts.push(same ? "PyTorch’s three numbers are the same, to the last bit." : "PyTorch’s numbers are others: a defect of this page.");
  }
  return parts.join(" ");
}

export default { render };
