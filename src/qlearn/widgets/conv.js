import { clamp, RELEASES } from "./arithmetic.js";
import { fbgemmSteps, onednnAvx2Steps, onednnVnniSteps, qnnpackSteps } from "./layers.js";
import { arrows, asker, comparison, drag, followWidth, frame, html, legend, many, number, oncePerFrame, picker, picture, sayAll, setter, sketch, slider, typed } from "./kit.js";

const KERNEL = 3; // rows and columns

// How many positions a window has along an edge of n cells.
export const positions = (n, { stride, dilation, padding }) => Math.floor((n + 2 * padding - dilation * (KERNEL - 1) - 1) / stride) + 1;

// The nine cells that the window of output (row, column) covers; those in the padding hold `fill`, a code.
export function windowAt(x, n, weight, row, column, { stride, dilation, padding }, zeroPoint, fill) {
  return Array.from(weight, (w, tap) => {
    const [i, j] = [row * stride - padding + Math.floor(tap / KERNEL) * dilation, column * stride - padding + (tap % KERNEL) * dilation];
    const inside = i >= 0 && i < n && j >= 0 && j < n;
    const q = inside ? x[i * n + j] : fill;
    return { i, j, inside, q, w, product: (q - zeroPoint) * w };
  });
}

export const accumulate = (taps) => taps.reduce((sum, { product }) => sum + product, 0);

// What each library does for an output channel of a weight that is quantized per channel, and how each step is called. A
// step without a name is not shown.
const ROUNDED = ["rounded", "plus z, clamped"];
export const LIBRARIES = {
  FBGEMM: { make: fbgemmSteps, names: ["the bias in steps of the sum, bias / t", "sum + bias / t", "times (t / s)", ...ROUNDED] },
  QNNPACK: { make: qnnpackSteps, names: ["the bias as an integer", "sum + bias", "times (t · (1 / s))", ...ROUNDED] },
  oneDNN: { make: onednnVnniSteps, names: ["sum times the scale of x", "times the scale of w", "plus the bias, a real number", "0 if that is negative", "times (1 / s)", "plus z", "rounded, clamped"] },
};
LIBRARIES["oneDNN for AVX2"] = { make: onednnAvx2Steps, names: [null, "sum times both scales", ...LIBRARIES.oneDNN.names.slice(2)] };

// Whose kernels an engine takes for this layer, with one group and weight zero points of 0.
export const libraryOf = (engine, vnni) =>
  ({ fbgemm: "FBGEMM", onednn: vnni ? "oneDNN" : "oneDNN for AVX2", qnnpack: "QNNPACK", x86: vnni ? "oneDNN" : "FBGEMM" })[engine];

// All outputs of one channel, row by row.
export function outputs(layer, geometry, library, { relu, fill }) {
  const side = positions(layer.n, geometry);
  const steps = LIBRARIES[library].make({ ...layer.parameters, relu });
  return Array.from({ length: side * side }, (_, k) => {
    const taps = windowAt(layer.x, layer.n, layer.weight, Math.floor(k / side), k % side, geometry, layer.zeroPoint, fill);
    return steps(accumulate(taps)).at(-1);
  });
}

const NUMBERS = ["None", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "All nine"];

function render({ model, el }) {
  const [engines, strides, dilations, paddings, kernels, wScales, bias] =
    ["engines", "strides", "dilations", "paddings", "kernels", "w_scales", "bias"].map((name) => model.get(name));
  const [xScale, xZeroPoint, scale, zeroPoint] = model.get("parameters");
  const [x, weights, recorded] = [["x", Uint8Array], ["weight", Int8Array], ["codes", Uint8Array]].map(([name, Type]) => typed(model.get(name), Type));
  const vnni = model.get("vnni");
  const n = Math.sqrt(x.length);
  const largest = positions(n, { stride: 1, dilation: 1, padding: Math.max(...paddings) });
  let live = null; // the running PyTorch's answer to the present state

  const recordedCodes = (engine, { relu, strideAt, dilationAt, paddingAt, kernel, side }) => {
    const at = [[engine, engines.length], [relu, 2], [strideAt, strides.length], [dilationAt, dilations.length], [paddingAt, paddings.length], [kernel, kernels.length]]
      .reduce((index, [i, length]) => index * length + i, 0) * largest * largest;
    return Array.from({ length: side * side }, (_, k) => recorded[at + Math.floor(k / side) * largest + (k % side)]);
  };
  // What is chosen, and the window that is looked at.
  const state = () => {
    const [engine, kernel, strideAt, dilationAt, paddingAt, relu] = ["engine", "kernel", "stride", "dilation", "padding", "relu"].map((name) => model.get(name));
    const mistake = model.get("mistake");
    const geometry = { stride: strides[strideAt], dilation: dilations[dilationAt], padding: paddings[paddingAt] };
    const side = positions(n, geometry);
    const place = Math.min(model.get("place"), side * side - 1);
    const weight = weights.subarray(kernel * KERNEL ** 2, (kernel + 1) * KERNEL ** 2);
    const parameters = { sx: xScale, sw: wScales[kernel], bias: bias[kernel], s: scale, z: zeroPoint, channel: true, conv: true };
    const fill = mistake ? 0 : xZeroPoint;
    const [row, column] = [Math.floor(place / side), place % side];
    const taps = windowAt(x, n, weight, row, column, geometry, xZeroPoint, fill);
    return { engine, kernel, strideAt, dilationAt, paddingAt, relu, mistake, geometry, side, place, row, column, fill, taps, layer: { x, n, weight, zeroPoint: xZeroPoint, parameters } };
  };
  // All outputs on each engine, this page's and PyTorch's; computed when the choice is another one.
  let known = {};
  const results = (now) => {
    const key = ["kernel", "strideAt", "dilationAt", "paddingAt", "relu", "mistake"].map((name) => now[name]).join();
    if (known.key !== key) {
      const ours = engines.map((name) => outputs(now.layer, now.geometry, libraryOf(name, vnni), now));
      const theirs = engines.map((_, e) => recordedCodes(e, now));
      const apart = theirs[0].map((q, k) => theirs.some((all) => all[k] !== q));
      known = { key, ours, theirs, apart };
    }
    const { ours, theirs } = known;
    return { ...known, wrong: ours[now.engine].filter((q, k) => q !== theirs[now.engine][k]).length };
  };
  const set = setter(model);
  const goTo = (row, column) => {
    const { side } = state();
    set("place", clamp(row, 0, side - 1) * side + clamp(column, 0, side - 1));
  };

  // Where things lie: the padded image, the result beside it or below, the nine products under both.
  const TOP = 22;
  const plan = (width) => {
    const { geometry: { padding }, side } = state();
    const beside = width >= 560;
    const padded = n + 2 * Math.max(...paddings);
    const cell = Math.min(30, (width - 2) / (beside ? padded + largest + 1.6 : padded));
    const image = beside ? { x: (Math.max(...paddings) - padding) * cell + 1, y: TOP + (Math.max(...paddings) - padding) * cell } : { x: (width - (n + 2 * padding) * cell) / 2, y: TOP };
    const result = beside ? { x: (padded + 1.6) * cell + 1, y: TOP + ((padded - side) * cell) / 2 } : { x: (width - side * cell) / 2, y: image.y + (n + 2 * padding) * cell + TOP + 14 };
    const bottom = beside ? TOP + padded * cell : result.y + side * cell;
    const term = Math.min(38, (width - 2) / 11.2); // a cell of the products
    return { cell, image, result, strip: bottom + 34, term, height: bottom + 34 + 3 * term + 4 };
  };
  const grid = picture("A quantized image with its padding, the window over it, the result, and the nine products of the window", (width) => {
    const now = state();
    const { geometry: { dilation, padding }, side, place, taps, mistake, fill } = now;
    const { apart, ...all } = results(now);
    const [ours, theirs] = [all.ours[now.engine], all.theirs[now.engine]];
    const { cell, image, result, strip, term, height } = plan(width);
    const { shapes, add } = sketch();
    const box = (left, top, size, attributes) => add("rect", { x: left + 0.5, y: top + 0.5, width: size - 1, height: size - 1, rx: 2, ...attributes });
    const label = (left, top, size, text, color = "ink", weight = 400) =>
      add("text", { x: left + size / 2, y: top + size / 2 + 4, class: "ql-number", "text-anchor": "middle", style: `fill: var(--${color}); font-weight: ${weight}` }, sayAll(text));
    const shade = (q, low, high) => ({ fill: "var(--ink)", opacity: 0.03 + (0.36 * (q - low)) / (high - low) });

    add("text", { x: image.x, y: image.y - 8 }, padding ? `the image and ${padding === 1 ? "a ring" : "two rings"} of padding` : "the image, no padding");
    for (let i = -padding; i < n + padding; i += 1) {
      for (let j = -padding; j < n + padding; j += 1) {
        const [left, top] = [image.x + (j + padding) * cell, image.y + (i + padding) * cell];
        if (i >= 0 && i < n && j >= 0 && j < n) {
          box(left, top, cell, shade(x[i * n + j], 0, 90));
          label(left, top, cell, x[i * n + j]);
        } else {
          box(left, top, cell, { fill: mistake ? "none" : "var(--wash)", stroke: mistake ? "var(--wrong)" : "var(--ours)", "stroke-width": 0.8, "stroke-dasharray": "2 2.4" });
          label(left, top, cell, fill, mistake ? "wrong" : "ours");
        }
      }
    }
    const [top, left] = [image.y + (taps[0].i + padding) * cell, image.x + (taps[0].j + padding) * cell];
    const reach = (dilation * (KERNEL - 1) + 1) * cell;
    if (dilation > 1) add("rect", { x: left, y: top, width: reach, height: reach, rx: 3, fill: "none", stroke: "var(--torch)", "stroke-width": 1.2, "stroke-dasharray": "4 3" });
    for (const { i, j } of taps) box(image.x + (j + padding) * cell + 0.4, image.y + (i + padding) * cell + 0.4, cell - 0.8, { fill: "none", stroke: "var(--torch)", "stroke-width": 1.8 });

    add("text", { x: result.x, y: result.y - 8 }, `the result, ${side} × ${side}`);
    ours.forEach((q, k) => {
      const [at, up] = [result.x + (k % side) * cell, result.y + Math.floor(k / side) * cell];
      const wrong = q !== theirs[k];
      box(at, up, cell, wrong ? { fill: "var(--wrong)", opacity: 0.16 } : shade(q, 0, 255));
      label(at, up, cell, q, wrong ? "wrong" : "ink", wrong ? 600 : 400);
      if (apart[k]) add("circle", { cx: at + cell - 4.6, cy: up + 4.6, r: 1.9, fill: "var(--tie)" });
      if (k === place) box(at - 0.2, up - 0.2, cell + 0.4, { fill: "none", stroke: "var(--torch)", "stroke-width": 2.2 });
    });

    // (x − z) · w = products, three squares of nine
    const pitch = 3 * term + term * 0.95;
    const from = (width - (2 * pitch + 3 * term)) / 2;
    const squares = [["code − zero point", ({ q }) => q - xZeroPoint, ({ inside }) => (inside ? "ink" : mistake ? "wrong" : "ours")], ["kernel", ({ w }) => w, () => "ink"], ["products", ({ product }) => product, ({ inside }) => (!inside && mistake ? "wrong" : "ink")]];
    squares.forEach(([name, value, color], s) => {
      const x0 = from + s * pitch;
      add("text", { x: x0 + 1.5 * term, y: strip - 8, "text-anchor": "middle" }, name);
      if (s) add("text", { x: x0 - 0.47 * term, y: strip + 1.5 * term + 5, "text-anchor": "middle", class: "ql-strong" }, s === 1 ? "×" : "=");
      taps.forEach((tap, t) => {
        const [at, down] = [x0 + (t % KERNEL) * term, strip + Math.floor(t / KERNEL) * term];
        box(at, down, term, tap.inside || s === 1 ? { fill: "var(--ink)", opacity: 0.05 } : { fill: mistake ? "none" : "var(--wash)", stroke: mistake ? "var(--wrong)" : "var(--ours)", "stroke-width": 0.8, "stroke-dasharray": "2 2.4" });
        label(at, down, term, value(tap), color(tap), color(tap) === "wrong" ? 600 : 400);
      });
    });
    return { height, children: shapes };
  });
  const root = grid.root;
  const pointed = (px, py, inImage) => {
    const { cell, image, result } = plan(root.clientWidth);
    const { geometry: { stride, dilation } } = state();
    if (!inImage) return [Math.floor((py - result.y) / cell), Math.floor((px - result.x) / cell)];
    const middle = (dilation * (KERNEL - 1) + 1) / 2; // of a window, in cells from its corner
    return [(py - image.y) / cell, (px - image.x) / cell].map((at) => Math.round((at - middle) / stride));
  };
  drag(root, (startX, startY) => {
    const { cell, image, result, strip } = plan(root.clientWidth);
    const { geometry: { padding }, side } = state();
    const within = ({ x: left, y: top }, cells) => startX >= left && startX < left + cells * cell && startY >= top && startY < top + cells * cell;
    const inImage = within(image, n + 2 * padding);
    if (!inImage && !within(result, side)) return () => {};
    return (px, py) => { if (py < strip || inImage) goTo(...pointed(px, py, inImage)); };
  });
  arrows(root, (down, right) => {
    const { row, column } = state();
    goTo(row + down, column + right);
  });

  const choices = {
    kernel: picker(model, "kernel", "Kernel: an output channel each", kernels),
    engine: picker(model, "engine", "Engine", engines),
    stride: picker(model, "stride", "Stride", strides.map(String)),
    dilation: picker(model, "dilation", "Dilation", dilations.map(String)),
    padding: picker(model, "padding", "Padding", paddings.map(String)),
    relu: picker(model, "relu", "ReLU", ["none", "fused"]),
  };
  const place = slider({
    label: "row, column", steps: state().side ** 2 - 1, position: state().place,
    show: (k) => `${Math.floor(k / state().side)}, ${k % state().side}`, move: (k) => set("place", k),
  });
  const mistakeInput = html("input", { type: "checkbox", onchange: () => set("mistake", mistakeInput.checked) });
  const mistake = html("label", { class: "ql-check" }, mistakeInput, " Pad with the code 0 instead: a mistake");
  const steps = comparison(["step", "value"]);
  const codes = comparison(["this output", ...engines]);
  const words = frame(el, choices.kernel.root, choices.engine.root, html("div", {}, root),
    legend([["ours", "▢"], "padding"], [["torch", "▢"], "the window and its output"], [["tie", "●"], "PyTorch’s engines differ"], [["wrong", "■"], "not PyTorch’s integer"]),
    html("div", { class: "ql-controls" }, place.root, mistake),
    html("div", { class: "ql-controls", style: "grid-template-columns: repeat(auto-fit, minmax(min(100%, 7.4rem), 1fr)); margin-top: 0" },
      choices.stride.root, choices.dilation.root, choices.padding.root, choices.relu.root),
    steps.root, codes.root);

  const show = oncePerFrame(() => {
    const now = state();
    const { ours, theirs, apart, wrong } = results(now);
    grid.redraw();
    for (const one of Object.values(choices)) one.update();
    place.input.max = now.side ** 2 - 1;
    place.update(now.place);
    mistakeInput.checked = now.mistake;
    const library = libraryOf(engines[now.engine], vnni);
    const acc = accumulate(now.taps);
    const { make, names } = LIBRARIES[library];
    const passed = make({ ...now.layer.parameters, relu: now.relu })(acc).map((v, k) => [names[k], v])
      .filter(([name]) => name !== null && (now.relu || name !== "0 if that is negative"));
    steps.update([["the nine products, summed", "plain", number(acc, 9)], ...passed.map(([name, v], k) => [name, k === passed.length - 1 ? "ours" : "plain", number(v, 9)])]);
    const rows = [["this page", "ours", ...ours.map((all) => all[now.place])], [`PyTorch ${RELEASES[0]}, recorded`, "torch", ...theirs.map((all) => all[now.place])]];
    if (live) rows.push([`PyTorch ${live.version}, running`, "torch", ...engines.map((_, e) => live.codes[e]?.[now.place] ?? "–")]);
    codes.update(rows);
    words.textContent = sentence({ ...now, ours, theirs, apart, wrong, name: engines[now.engine], library, acc, xZeroPoint });
  });
  const ask = asker(model, (answer) => { live = answer; show(); });
  const changed = () => {
    live = null;
    const { kernel, geometry, relu } = state();
    ask({ kernel, ...geometry, relu });
    show();
  };
  for (const name of ["kernel", "stride", "dilation", "padding", "relu"]) model.on(`change:${name}`, changed);
  for (const name of ["engine", "place", "mistake"]) model.on(`change:${name}`, show);
  changed();
  return followWidth(el, show);
}

// The picture in words.
export function sentence({ geometry: { padding }, side, row, column, taps, mistake, name, library, acc, ours, theirs, engine, place, wrong, apart, xZeroPoint }) {
  const outside = taps.filter(({ inside }) => !inside).length;
  const parts = [`The window of row ${row}, column ${column} in the ${side} × ${side} outputs.`];
  if (outside === 0) parts.push("It lies within the image.");
  else if (mistake) parts.push(`${NUMBERS[outside]} of its cells lie in the padding, which holds the code 0 by mistake: ${many(xZeroPoint, "step")} below real zero.`);
  else parts.push(`${NUMBERS[outside]} of its cells ${outside === 1 ? "lies" : "lie"} in the padding and ${outside === 1 ? "adds" : "add"} nothing.`);
  parts.push(`The products sum to ${sayAll(acc)}, of which the engine ${name}, by ${library}, makes ${ours[engine][place]}; PyTorch’s recorded integer is ${theirs[engine][place]}.`);
  const others = apart.filter(Boolean).length;
  if (wrong === 0) parts.push(mistake && padding === 0 ? "Without padding the mistake has no consequence." : `All ${side * side} outputs are PyTorch’s.`);
  else if (mistake) parts.push(`With 0 in the padding, ${wrong} of the ${side * side} outputs are wrong.`);
  else parts.push(`${wrong} of the ${side * side} outputs are not PyTorch’s: a defect of this page.`);
  parts.push(others === 0 ? "PyTorch’s engines agree in all outputs." : `PyTorch’s engines do not agree in ${others} of them.`);
  return parts.join(" ");
}

export default { render };
