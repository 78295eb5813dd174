import { clamp, codeAt, dequantize, fround, quantize, releaseLike, RELEASES, unclamped, unclamped213 } from "./arithmetic.js";
import { asker, comparison, drag, followWidth, frame, html, legend, oncePerFrame, picture, say, setter, sketch, slider, typed } from "./kit.js";

const STEPS = 2000; // positions of the slider for x
const REACH = 1.25; // the slider goes this far beyond what the codes can hold
const OVERVIEW = 76; // pixels from the top: the whole range; below lies the lens
const codesUnderLens = (width) => clamp(Math.floor(width / 62), 5, 13);

function render({ model, el }) {
  const scales = model.get("scales");
  const zeroPoints = model.get("zero_points");
  const tables = typed(model.get("thresholds"), Float32Array);
  let live = null; // the running PyTorch's answer to the present state

  const state = () => {
    const [i, j] = [model.get("scale"), model.get("zero_point")];
    const [s, z] = [scales[i], zeroPoints[j]];
    const thresholds = tables.subarray((i * zeroPoints.length + j) * 255, (i * zeroPoints.length + j + 1) * 255);
    const middle = (127.5 - z) * s;
    const [left, right] = [middle - REACH * 127.5 * s, middle + REACH * 127.5 * s];
    const x = fround(clamp(model.get("x"), left, right));
    const code = quantize(x, s, z, "quint8");
    return { s, z, x, left, right, code, free: unclamped(x, s, z), back: dequantize(code, s, z), thresholds };
  };

  const set = setter(model);
  const xSlider = slider({
    label: "value x", steps: STEPS, position: 0, show: () => say(state().x),
    move: (p) => { const { left, right } = state(); set("x", left + (right - left) * (p / STEPS)); },
  });
  const scaleSlider = slider({
    label: "scale s", steps: scales.length - 1, position: model.get("scale"), show: (p) => say(scales[p]),
    move: (p) => set("scale", p),
  });
  const zeroSlider = slider({
    label: "zero point z", steps: zeroPoints.length - 1, position: model.get("zero_point"), show: (p) => zeroPoints[p],
    move: (p) => set("zero_point", p),
  });

  // The whole range, and under it a lens on the codes around x.
  const draw = (width) => {
    const { s, z, x, left, right, code, free, back, thresholds } = state();
    const [low, high] = [dequantize(0, s, z), dequantize(255, s, z)];
    const whole = (v) => 8 + ((v - left) / (right - left)) * (width - 16);
    const span = codesUnderLens(width);
    const first = clamp(free, -2, 257) - span / 2;
    const lens = (v) => 8 + ((v / s + z - first) / span) * (width - 16);
    const real = (c) => (c - z) * s;
    const { shapes, add, line } = sketch();

    // overview
    const y = 38;
    add("rect", { x: whole(left), y: y - 9, width: whole(low) - whole(left), height: 18, fill: "var(--clamped)", opacity: 0.28 });
    add("rect", { x: whole(high), y: y - 9, width: whole(right) - whole(high), height: 18, fill: "var(--clamped)", opacity: 0.28 });
    add("rect", { x: whole(low), y: y - 9, width: whole(high) - whole(low), height: 18, fill: "var(--wash)" });
    add("text", { x: whole(low), y: y - 16, class: "ql-number" }, say(low, 3));
    add("text", { x: whole(high), y: y - 16, class: "ql-number", "text-anchor": "end" }, say(high, 3));
    add("text", { x: whole(low), y: y + 26 }, "code 0");
    add("text", { x: whole(high), y: y + 26, "text-anchor": "end" }, "code 255");
    if (left < 0 && right > 0) {
      line(whole(0), y - 9, whole(0), y + 9, "ink", { "stroke-width": 1 });
      const room = Math.min(whole(0) - whole(low), whole(high) - whole(0)) > 60;
      if (room) add("text", { x: whole(0), y: y - 16, class: "ql-number", "text-anchor": "middle" }, "0");
    }
    add("circle", { cx: whole(x), cy: y, r: 6, fill: "var(--ours)", stroke: "var(--card)", "stroke-width": 1.5 });

    // the lens' edges
    const [top, reals, codes] = [84, 128, 196];
    const from = clamp(whole(real(first)), 8, width - 8);
    const to = clamp(whole(real(first + span)), 8, width - 8);
    add("path", { d: `M${from} ${y + 10} L8 ${top} H${width - 8} L${to} ${y + 10} Z`, fill: "var(--wash)", opacity: 0.45 });

    // the codes' cells, bounded by PyTorch's thresholds
    for (let c = Math.ceil(first); c <= first + span; c += 1) {
      const valid = c >= 0 && c <= 255;
      const a = clamp(lens(c === 0 ? real(first - 1) : c > 0 && c <= 255 ? thresholds[c - 1] : real(c - 0.5)), 8, width - 8);
      const b = clamp(lens(c === 255 ? real(first + span + 1) : c >= 0 && c < 255 ? thresholds[c] : real(c + 0.5)), 8, width - 8);
      if (valid && c === code) add("rect", { x: a, y: reals - 16, width: Math.max(0, b - a), height: codes - reals + 32, fill: "var(--wash)" });
      if (valid && c >= 1) line(a, reals - 16, a, codes + 16, "torch", { "stroke-dasharray": "2 3", "stroke-width": 1.2 });
      const at = lens(dequantize(c, s, z));
      if (at < 8 || at > width - 8) continue;
      const edge = at < 30 ? "start" : at > width - 30 ? "end" : "middle";
      line(at, reals - 5, at, reals + 5, valid ? "ink" : "clamped");
      add("circle", { cx: at, cy: codes, r: 3, fill: valid ? "var(--ink)" : "none", stroke: "var(--clamped)", "stroke-width": valid ? 0 : 1 });
      add("text", { x: at, y: codes + 28, class: c === code ? "ql-number ql-strong" : "ql-number", "text-anchor": edge }, valid ? c : "·");
      if (valid) add("text", { x: at, y: reals - 24, class: c === code ? "ql-number ql-strong" : "ql-number", "text-anchor": edge }, say(dequantize(c, s, z), 3));
    }
    line(8, reals, width - 8, reals, "ink");
    line(8, codes, width - 8, codes, "rule");

    // x, its code, and the way back
    const [px, pb] = [clamp(lens(x), 8, width - 8), clamp(lens(back), 8, width - 8)];
    const error = free === code ? "ours" : "wrong";
    line(px, reals, pb, reals, error, { "stroke-width": 5, "stroke-linecap": "round", opacity: 0.55 });
    add("path", { d: `M${px} ${reals + 8} C ${px} ${(reals + codes) / 2}, ${pb} ${(reals + codes) / 2}, ${pb} ${codes - 9}`, fill: "none", stroke: `var(--${error})`, "stroke-width": 1.6 });
    add("path", { d: `M${pb - 4} ${codes - 12} L${pb} ${codes - 5} L${pb + 4} ${codes - 12} Z`, fill: `var(--${error})` });
    add("circle", { cx: px, cy: reals, r: 6.5, fill: `var(--${error})`, stroke: "var(--card)", "stroke-width": 1.5 });
    return { height: codes + 34, children: shapes };
  };
  const { root, redraw } = picture("A real value and the grid of codes around it", draw);
  drag(root, (startX, startY) => {
    const { s, x, left, right } = state();
    const room = root.clientWidth - 16;
    if (startY < OVERVIEW) return (px) => set("x", left + clamp((px - 8) / room, 0, 1) * (right - left));
    return (px) => set("x", x + ((px - startX) / room) * codesUnderLens(root.clientWidth) * s);
  });

  const table = comparison(["who", "code q", "back: (q − z)·s", "x − back"]);
  const words = frame(el, root, legend(
    [["ink", "┼"], "the reals that codes stand for"], [["ink", "•"], "their codes"], [["torch", "┊"], "where PyTorch's code steps up"],
  ), html("div", { class: "ql-controls" }, xSlider.root, scaleSlider.root, zeroSlider.root), table.root);
  const show = oncePerFrame(() => {
    const { s, z, x, left, right, code, free, back, thresholds } = state();
    redraw();
    xSlider.update(Math.round(((x - left) / (right - left)) * STEPS));
    scaleSlider.update(model.get("scale"));
    zeroSlider.update(model.get("zero_point"));
    const theirs = codeAt(thresholds, x);
    const theirBack = dequantize(theirs, s, z);
    const rows = [
      ["this page", "ours", code, say(back, 6), say(x - back, 3)],
      [`PyTorch ${RELEASES[0]}, recorded`, "torch", theirs, say(theirBack, 6), say(x - theirBack, 3)],
    ];
    const own = live && clamp((releaseLike(live.version) === "2.13" ? unclamped213 : unclamped)(x, s, z), 0, 255);
    if (live) rows.push([[`PyTorch ${live.version}, running`, own === live.code ? "as its formula says" : `its formula says ${own}`], "torch", live.code, say(live.value, 6), say(x - live.value, 3)]);
    table.update(rows);
    words.textContent = free === code
      ? `${say(x)} becomes code ${code}; code ${code} gives back ${say(back, 6)}. The rounding error is ${say(Math.abs(x - back), 3)}, at most half a scale: ${say(s / 2, 3)}.`
      : `${say(x)} would need code ${say(free, 6)}, which quint8 does not have. It clamps to ${code} and comes back as ${say(back, 6)}: an error of ${say(Math.abs(x - back), 3)}, and no bound on it.`;
  });
  const ask = asker(model, (answer) => { live = answer; show(); });
  const changed = () => {
    live = null;
    const { s, z, x } = state();
    ask({ x, scale: s, zero_point: z });
    show();
  };
  for (const name of ["x", "scale", "zero_point"]) model.on(`change:${name}`, changed);
  changed();
  return followWidth(el, show);
}

export default { render };
