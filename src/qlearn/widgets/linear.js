import { clamp, codeAt } from "./arithmetic.js";
import { expected, fbgemm, onednnAvx2, onednnVnni, onPaper, qnnpack, thresholds } from "./layers.js";
import { asker, atRest, comparison, drag, followWidth, frame, hover, html, inflate, integer, keys, legend, oncePerFrame, picker, picture, say, setter, sketch, slider } from "./kit.js";

// Paper first; the others in the order in which they are recorded.
export const LANES = [
  { key: "paper", name: "on paper", make: onPaper },
  { key: "fbgemm", name: "fbgemm/x86", make: fbgemm },
  { key: "onednn", name: "onednn (VNNI)", make: onednnVnni },
  { key: "onednn_avx2", name: "onednn (AVX2)", make: onednnAvx2 },
  { key: "qnnpack", name: "qnnpack", make: qnnpack },
];
const CODES = 255; // thresholds of a lane
const REACH = 12500; // the accumulators shown: -REACH to REACH

// The recorded thresholds: at(state, lane) for lanes 1 to 4.
export function recordings(steps, { scales, zeroPoints, biases }) {
  return ({ pair, channel, scale, zeroPoint, bias, p }, lane) => {
    const index = ((((pair * 2 + channel) * scales + scale) * zeroPoints + zeroPoint) * (LANES.length - 1) + lane - 1) * biases + bias;
    return Int32Array.from({ length: CODES }, (_, i) => expected(p, i + 1) + steps[index * CODES + i]);
  };
}

// Where a run of accumulators with one code begins and ends: null where nothing bounds it.
export const run = (found, code) => [code === 0 ? null : found[code - 1], code === CODES ? null : found[code] - 1];

// The accumulators, in order, at which a step begins on some of the lanes and not on all.
export function partings(lanes) {
  const places = new Set();
  for (let i = 0; i < CODES; i += 1) {
    const [low, high] = [Math.min(...lanes.map((found) => found[i])), Math.max(...lanes.map((found) => found[i]))];
    if (low < high && Math.abs(low) <= REACH) places.add(low);
  }
  return Int32Array.from(places).sort();
}

// The first of them after acc, going around; acc if there is none.
export const nextOf = (places, acc) => places.find((at) => at > acc) ?? places[0] ?? acc;

async function render({ model, el }) {
  const [names, pairs, scales, biases, zeroPoints] = ["names", "pairs", "scales", "biases", "zero_points"].map((name) => model.get(name));
  const packed = await inflate(model.get("steps"));
  const theirs = recordings(new Int8Array(packed.buffer), { scales: scales[0].length, zeroPoints: zeroPoints.length, biases: biases[0].length });
  let live = null; // the running PyTorch's answer to the present state
  let known = {}; // what follows from the present state without its accumulator

  const state = () => {
    const [pair, channel, scale, zeroPoint, bias] = ["pair", "channel", "scale", "zero_point", "bias"].map((name) => model.get(name));
    const key = [pair, channel, scale, zeroPoint, bias].join();
    if (known.key !== key) {
      const p = { sx: pairs[pair][0], sw: pairs[pair][1], s: scales[pair][scale], z: zeroPoints[zeroPoint], bias: biases[pair][bias], channel: channel === 1 };
      const ours = LANES.map(({ make }) => thresholds(make(p), p));
      const recorded = LANES.map((_, lane) => (lane === 0 ? null : theirs({ pair, channel, scale, zeroPoint, bias, p }, lane)));
      known = { key, pair, channel, scale, zeroPoint, bias, p, ours, recorded, apart: partings(ours.slice(1)) };
    }
    return { ...known, acc: model.get("acc") };
  };
  const set = setter(model);
  const goTo = (acc) => set("acc", clamp(Math.round(acc), -REACH, REACH));

  // The whole staircase.
  const TOP = 14;
  const AXIS = 212; // code 0
  const left = 34;
  const across = (width) => (acc) => left + ((acc + REACH) / (2 * REACH)) * (width - left - 8);
  const stairs = picture("The code of each accumulator, from −12,500 to 12,500: a staircase of 256 steps", (width) => {
    const { ours, recorded, apart, acc } = state();
    const [px, py] = [across(width), (code) => AXIS - (code / CODES) * (AXIS - TOP)];
    const { shapes, add } = sketch();
    for (const code of [0, 64, 128, 192, 255]) {
      add("line", { x1: left, x2: width - 8, y1: py(code), y2: py(code), stroke: "var(--rule)", "stroke-width": 0.8 });
      add("text", { x: left - 7, y: py(code) + 4, "text-anchor": "end", class: "ql-number" }, code);
    }
    for (const at of width < 480 ? [-10000, 0, 10000] : [-10000, -5000, 0, 5000, 10000]) {
      add("line", { x1: px(at), x2: px(at), y1: AXIS, y2: AXIS + 5, stroke: "var(--soft)" });
      add("text", { x: px(at), y: AXIS + 19, "text-anchor": "middle", class: "ql-number" }, integer(at));
    }
    add("text", { x: left + 5, y: TOP + 11 }, "code ↑");
    add("text", { x: width - 8, y: AXIS - 12, "text-anchor": "end" }, "accumulator →");
    const rug = Array.from(apart, (at) => `M${px(at).toFixed(1)} ${AXIS}v-7`).join("");
    if (rug) add("path", { d: rug, stroke: "var(--tie)", "stroke-width": 1, fill: "none" });
    const corners = Array.from(ours[1], (at, i) => `H${px(clamp(at, -REACH, REACH)).toFixed(2)}V${py(i + 1).toFixed(2)}`).join("");
    add("path", { d: `M${px(-REACH)} ${py(0)}${corners}H${px(REACH)}`, fill: "none", stroke: "var(--ours)", "stroke-width": 1.6 });
    for (let i = 7; i < CODES; i += 16) add("circle", { cx: px(recorded[1][i]), cy: py(i + 1), r: 2.6, fill: "var(--card)", stroke: "var(--torch)", "stroke-width": 1.4 });
    const code = codeAt(ours[1], acc);
    add("path", { d: `M${px(acc)} ${TOP}V${AXIS + 5}`, stroke: "var(--ink)", "stroke-width": 1.2 });
    add("circle", { cx: px(acc), cy: py(code), r: 5, fill: "var(--ink)", stroke: "var(--card)", "stroke-width": 1.5 });
    const near = px(acc) > width - 130;
    add("text", { x: px(acc) + (near ? -10 : 10), y: clamp(py(code) + (code > 200 ? 20 : -8), TOP + 10, AXIS - 8), "text-anchor": near ? "end" : "start", class: "ql-number ql-strong", style: "paint-order: stroke; stroke: var(--card); stroke-width: 4px" }, `${integer(acc)} → ${code}`);
    return { height: AXIS + 26, children: shapes };
  });
  drag(stairs.root, () => (x) => {
    const width = stairs.root.clientWidth;
    goTo(((x - left) / (width - left - 8)) * 2 * REACH - REACH);
  });

  // Some accumulators around the one that is looked at, a cell each, a row for each engine.
  let first = null; // the leftmost accumulator
  const plan = (width) => {
    const narrow = width < 480;
    const [gutter, cell] = [narrow ? 0 : 110, narrow ? 13 : 15];
    const cells = Math.floor((width - gutter) / cell);
    return { narrow, gutter, cell: (width - gutter) / cells, cells, pitch: narrow ? 44 : 32, top: narrow ? 34 : 22 };
  };
  const lens = picture("The code of each accumulator near the one that is looked at, on paper and on each engine", (width) => {
    const { ours, recorded, acc } = state();
    const { narrow, gutter, cell, cells, pitch, top } = plan(width);
    if (first === null || acc < first || acc >= first + cells) first = clamp(acc - Math.floor(cells / 2), -REACH, REACH - cells + 1);
    const { shapes, add } = sketch();
    const px = (at) => gutter + (at - first) * cell;
    const bottom = top + LANES.length * pitch;
    LANES.forEach(({ name }, lane) => {
      const y = top + lane * pitch;
      add("text", narrow ? { x: 0, y: y - 4 } : { x: 0, y: y + 16, class: lane === 0 ? null : "ql-strong" }, name);
      let [from, code] = [first, codeAt(ours[lane], first)];
      for (let at = first; at < first + cells; at += 1) {
        const [here, paper] = [codeAt(ours[lane], at), codeAt(ours[0], at)];
        add("rect", { x: px(at) + 0.6, y, width: cell - 1.2, height: 23, rx: 2, fill: here === paper ? "var(--ours)" : "var(--tie)", opacity: here === paper ? (here % 2 ? 0.4 : 0.17) : here % 2 ? 0.85 : 0.5 });
        const next = codeAt(ours[lane], at + 1);
        if (next === code && at < first + cells - 1) continue;
        const words = String(code).length * 7.5;
        if ((at + 1 - from) * cell > words) add("text", { x: (px(from) + px(at + 1)) / 2, y: y + 16, "text-anchor": "middle", class: "ql-number ql-strong", "pointer-events": "none", style: "paint-order: stroke; stroke: var(--card); stroke-width: 3px; stroke-opacity: 0.75" }, code);
        [from, code] = [at + 1, next];
      }
      for (const at of recorded[lane] ?? []) {
        if (at > first && at < first + cells) add("path", { d: `M${px(at)} ${y - 3}V${y + 26}`, stroke: "var(--torch)", "stroke-width": 2.2, "stroke-linecap": "round" });
      }
    });
    const x = px(acc);
    add("rect", { x, y: top - (narrow ? 18 : 5), width: cell, height: bottom - top + (narrow ? 6 : 2), rx: 3, fill: "none", stroke: "var(--ink)", "stroke-width": 1.8 });
    const place = clamp(x + cell / 2, gutter + 24, width - 24);
    add("text", { x: place, y: 12, "text-anchor": "middle", class: "ql-number ql-strong" }, integer(acc));
    for (const [at, anchor] of [[first, "start"], [first + cells - 1, "end"]]) {
      if (Math.abs(px(at) + cell / 2 - place) > 70) add("text", { x: anchor === "start" ? px(at) : px(at) + cell, y: 12, "text-anchor": anchor, class: "ql-number" }, integer(at));
    }
    return { height: bottom, children: shapes };
  });
  const cellAt = (x) => {
    const { gutter, cell, cells } = plan(lens.root.clientWidth);
    return first + clamp(Math.floor((x - gutter) / cell), 0, cells - 1);
  };
  drag(lens.root, () => (x) => goTo(cellAt(x)));
  hover(lens.root, (x) => {
    if (x >= plan(lens.root.clientWidth).gutter) goTo(cellAt(x));
  });
  const along = (by) => (shift) => goTo(state().acc + by * (shift ? 10 : 1));
  const runBeside = (by) => {
    const { acc, ours } = state();
    return run(ours[1], clamp(codeAt(ours[1], acc) + by, 0, CODES));
  };
  keys(lens.root, { ArrowLeft: along(-1), ArrowRight: along(1), ArrowUp: () => goTo(runBeside(1)[0]), ArrowDown: () => goTo(runBeside(-1)[1]) });

  const choices = [
    picker(model, "pair", "Scales of input and weight", names),
    picker(model, "channel", "The weight’s scale", ["per tensor", "per channel"]),
  ];
  const sliders = {
    acc: slider({ label: "accumulator", steps: 2 * REACH, position: 0, show: (i) => integer(i - REACH), move: (i) => goTo(i - REACH) }),
    scale: slider({ label: "output scale", steps: scales[0].length - 1, position: 0, show: (i) => say(scales[model.get("pair")][i], 5), move: (i) => set("scale", i) }),
    bias: slider({
      label: "bias, in steps", steps: biases[0].length - 1, position: 0, move: (i) => set("bias", i),
      show: (i) => { const [sx, sw] = pairs[model.get("pair")]; return say(Number((biases[model.get("pair")][i] / (sx * sw)).toFixed(2)), 6); },
    }),
    zero_point: slider({ label: "zero point", steps: zeroPoints.length - 1, position: 0, show: (i) => zeroPoints[i], move: (i) => set("zero_point", i) }),
  };
  const next = html("button", { type: "button", class: "ql-button", onclick: () => { const { apart, acc } = state(); goTo(nextOf(apart, acc)); } }, "Next place where the engines differ");
  const table = comparison(["", "code", "from", "to", "recorded from"]);
  const words = frame(el, ...choices.map((one) => one.root), stairs.root, lens.root,
    legend([["ours", "■"], "one accumulator, shaded by its code"], [["tie", "■"], "another code than on paper"], [["torch", "┃"], "PyTorch’s step, recorded"], [["tie", "╷╷╷"], "where not all engines agree"]),
    html("div", { class: "ql-controls" }, ...Object.values(sliders).map((one) => one.root)), next, table.root);

  const show = oncePerFrame(() => {
    const now = state();
    stairs.redraw();
    lens.redraw();
    choices.forEach((one) => one.update());
    sliders.acc.update(now.acc + REACH);
    for (const name of ["scale", "bias", "zero_point"]) sliders[name].update(model.get(name));
    next.disabled = nextOf(now.apart, now.acc) === now.acc;
    const bound = (at) => (at === null ? "…" : integer(at));
    const cells = (found) => { const code = codeAt(found, now.acc); return [code, ...run(found, code).map(bound)]; };
    const rows = LANES.map(({ name }, lane) => [name, lane === 0 ? "plain" : "ours", ...cells(now.ours[lane]),
      lane === 0 ? "–" : bound(run(now.recorded[lane], codeAt(now.recorded[lane], now.acc))[0])]);
    for (const { key, name } of LANES) if (live?.thresholds[key]) rows.push([`PyTorch ${live.version}, running: ${name}`, "torch", ...cells(live.thresholds[key]), "–"]);
    table.update(rows);
    words.textContent = sentence(now, live);
  });
  const ask = asker(model, (answer) => { live = answer; show(); });
  const asking = atRest(200, () => {
    const { p, channel } = state();
    ask({ sx: p.sx, sw: p.sw, s: p.s, z: p.z, bias: p.bias, channel });
  });
  const changed = () => {
    live = null;
    show();
    asking.ask();
  };
  for (const name of ["pair", "channel", "scale", "bias", "zero_point"]) model.on(`change:${name}`, changed);
  model.on("change:acc", show);
  changed();
  const end = followWidth(el, show);
  return () => { asking.end(); end(); };
}

// The picture in words.
export function sentence({ p, ours, recorded, acc }, live) {
  const parts = [];
  const real = (acc * p.sx * p.sw + p.bias) / p.s;
  const codes = ours.map((found) => codeAt(found, acc));
  parts.push(`On paper the accumulator ${integer(acc)} is ${say(real, 7)} steps of the output, and ${say(real + p.z, 7)} with the zero point.`);
  const groups = new Map();
  codes.forEach((code, lane) => { if (lane > 0) groups.set(code, [...(groups.get(code) ?? []), LANES[lane].name]); });
  const list = (names) => [names.slice(0, -1).join(", "), names.at(-1)].filter(Boolean).join(" and ");
  if (groups.size === 1) parts.push(`All engines make ${codes[1]} of it.`);
  else parts.push(`${[...groups].map(([code, names]) => `${code} on ${list(names)}`).join("; ")}.`);
  const others = (lane) => ours[lane].filter((at, i) => at !== ours[1][i]).length;
  const counts = LANES.map(({ name }, lane) => [name, lane, others(lane)]).filter(([, lane, count]) => lane > 1 && count > 0);
  parts.push(counts.length === 0 ? "All 255 steps begin at the same accumulators on every engine."
    : `Of the 255 steps, ${counts.map(([name, , count]) => `${count} on ${name}`).join(", ")} begin elsewhere than on fbgemm.`);
  const wrong = recorded.slice(1).reduce((sum, found, i) => sum + found.filter((at, k) => at !== ours[i + 1][k]).length, 0);
  parts.push(wrong === 0 ? `All ${integer(4 * CODES)} recorded thresholds of PyTorch are those of this page.` : `${wrong} of PyTorch’s recorded thresholds are others: a defect of this page.`);
  if (live) {
    const differ = LANES.reduce((sum, { key }, lane) => sum + (live.thresholds[key] ?? []).filter((at, i) => at !== ours[lane][i]).length, 0);
    parts.push(differ === 0 ? `The running PyTorch ${live.version} has the same.` : `The running PyTorch ${live.version} differs in ${differ}.`);
  }
  return parts.join(" ");
}

export default { render };
