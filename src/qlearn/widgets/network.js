import { clamp, RELEASES } from "./arithmetic.js";
import { asker, comparison, drag, followWidth, frame, html, inflate, integer, keys, legend, many, oncePerFrame, picker, picture, setter, sketch, slider } from "./kit.js";

const SCALES = ["as observers choose them", "powers of two"];
const LABELS = { divide: "division by the scale", "zero point": "zero point and rounding swapped", bias: "int32 bias", truncation: "cut towards zero", padding: "code 0 in the padding" };
const OPS = { conv2d_relu: "convolution with ReLU", conv2d: "convolution", add: "sum", max_pool2d: "max pooling", adaptive_avg_pool2d: "average pooling", mean: "mean", flatten: "reshape", linear: "linear layer", relu: "ReLU" };

// What was recorded: for a kind of scales, a mistake and the layer it is made in, how many integers of each layer differ, and the
// logits. `counts` and `logits` are Int32Arrays; `size` is how many mistakes and layers there are.
export function recorded(counts, logits, { mistakes, layers }) {
  return (scales, mistake, layer) => {
    const at = (scales * mistakes + mistake) * layers + layer;
    const all = Array.from(counts.subarray(at * layers, (at + 1) * layers));
    return all[layer] < 0 ? null : { counts: all, most: logits[2 * at], top: logits[2 * at + 1] };
  };
}

// The next layer after this one in which the mistake changes an integer, going round; -1 if there is none.
export function nextShown(look, scales, mistake, layer, layers) {
  for (let step = 1; step <= layers; step += 1) {
    const i = (layer + step) % layers;
    if (look(scales, mistake, i)?.counts[i] > 0) return i;
  }
  return -1;
}

// The part of the height at which a count stands: 1 just above the ground, ten times as many a step higher.
export const heightOf = (count, largest) => (count <= 0 ? 0 : (Math.log10(count) + 0.35) / (Math.log10(largest) + 0.35));

// By how many degrees a domino leans: not at all if nothing differs, further the larger the share that does.
export const lean = (count, elements) => (count <= 0 ? 0 : 12 + 48 * clamp(1 + Math.log10(count / elements) / 4, 0, 1));

async function render({ model, el }) {
  const [names, does, layers, ops, elements, tops, title] = ["names", "words", "layers", "ops", "elements", "top", "title"].map((name) => model.get(name));
  const ints = async (name) => new Int32Array((await inflate(model.get(name))).buffer);
  const look = recorded(await ints("counts"), await ints("logits"), { mistakes: names.length, layers: layers.length });
  const largest = Math.max(...elements);
  let live = null; // the running PyTorch's answer to the present state

  const state = () => {
    const [scales, mistake, layer] = ["scales", "mistake", "layer"].map((name) => model.get(name));
    return { scales, mistake, layer, found: look(scales, mistake, layer) };
  };
  const set = setter(model);
  const goTo = (layer) => set("layer", clamp(layer, 0, layers.length - 1));

  const [LEFT, RIGHT, TOP, BARS, ROW] = [46, 24, 26, 190, 58]; // on the right, room for the last domino to fall
  const pitchOf = (width) => (width - LEFT - RIGHT) / layers.length;
  const row = picture(`The layers of ${title}: above, how many integers of each differ, on a logarithmic scale; below, a row of dominoes`, (width) => {
    const { layer, found } = state();
    const pitch = pitchOf(width);
    const ground = TOP + BARS;
    const { shapes, add } = sketch();
    const middle = (i) => LEFT + (i + 0.5) * pitch;
    add("rect", { x: LEFT + layer * pitch, y: TOP - 6, width: Math.max(pitch, 3), height: BARS + ROW + 2, fill: "var(--wash)" });
    for (let n = 1; n <= largest; n *= 10) {
      const y = ground - BARS * heightOf(n, largest);
      add("line", { x1: LEFT, x2: width, y1: y, y2: y, stroke: "var(--rule)", "stroke-width": 1 });
      add("text", { x: LEFT - 7, y: y + 4, class: "ql-number", "text-anchor": "end" }, n >= 1000 ? `${n / 1000}k` : n);
    }
    const wide = Math.max(pitch * 0.72, 2);
    elements.forEach((all, i) => {
      const count = Math.max(found?.counts[i] ?? 0, 0);
      const tall = BARS * heightOf(all, largest);
      add("rect", { x: middle(i) - wide / 2, y: ground - tall, width: wide, height: tall, rx: Math.min(2, wide / 3), fill: "var(--ours)", opacity: 0.14 });
      const red = BARS * heightOf(count, largest);
      if (count) add("rect", { x: middle(i) - wide / 2, y: ground - red, width: wide, height: red, rx: Math.min(2, wide / 3), fill: "var(--wrong)" });
    });
    add("line", { x1: LEFT, x2: width, y1: ground, y2: ground, stroke: "var(--soft)", "stroke-width": 1 });
    const foot = ground + ROW - 10;
    const stone = clamp(pitch * 0.34, 1.6, 5);
    elements.forEach((all, i) => {
      const count = Math.max(found?.counts[i] ?? 0, 0);
      const angle = i < layer ? 0 : lean(count, all);
      add("rect", { x: middle(i) - stone / 2, y: foot - 30, width: stone, height: 30, rx: Math.min(1.5, stone / 3), fill: count ? "var(--wrong)" : "var(--ours)", opacity: count ? 1 : 0.55, transform: `rotate(${angle.toFixed(1)} ${middle(i) + stone / 2} ${foot})` });
    });
    add("line", { x1: LEFT, x2: width, y1: foot + 0.5, y2: foot + 0.5, stroke: "var(--rule)", "stroke-width": 1 });
    const at = middle(layer);
    const end = at > width / 2;
    add("text", { x: at, y: TOP - 12, class: "ql-strong", "text-anchor": end ? "end" : "start" }, layers[layer]);
    add("path", { d: `M${at - 5} ${foot + 10}h10l-5 -8z`, fill: "var(--ink)" });
    return { height: foot + 12, children: shapes };
  });
  const { root } = row;
  drag(root, () => (px) => goTo(Math.floor((px - LEFT) / pitchOf(root.clientWidth))));
  const along = (by) => () => goTo(state().layer + by);
  keys(root, { ArrowRight: along(1), ArrowUp: along(1), ArrowLeft: along(-1), ArrowDown: along(-1), Home: () => goTo(0), End: () => goTo(layers.length - 1) });

  const mistakes = picker(model, "mistake", "What is done to one layer", names.map((name) => LABELS[name] ?? name));
  const scales = picker(model, "scales", "Scales of the network", SCALES);
  const place = slider({ label: "layer", steps: layers.length - 1, position: model.get("layer"), show: (i) => `${i + 1} of ${layers.length}`, move: goTo });
  const next = html("button", { class: "ql-button", type: "button", onclick: () => { const { scales: s, mistake, layer } = state(); goTo(nextShown(look, s, mistake, layer, layers.length)); } }, "next layer where it shows");
  const table = comparison(["integers that differ", "in the layer", "after it", "logits", "top-1"]);
  const words = frame(el, mistakes.root, html("div", {}, root),
    legend([["ours", "▮"], "all integers of a layer"], [["wrong", "▮"], "those that differ"], [["ink", "▲"], "the layer that is changed"]),
    html("div", { class: "ql-controls" }, place.root, html("div", {}, next)), scales.root, table.root);

  const line = (name, found, layer) => {
    if (!found) return [name, "torch", "–", "–", "–", "–"];
    const after = found.counts.slice(layer + 1);
    return [name, "torch", integer(found.counts[layer]), integer(after.reduce((a, b) => a + b, 0)), integer(found.counts.at(-1)), found.top];
  };
  const show = oncePerFrame(() => {
    const now = state();
    row.redraw();
    mistakes.update();
    scales.update();
    place.update(now.layer);
    const following = nextShown(look, now.scales, now.mistake, now.layer, layers.length);
    next.disabled = following < 0 || following === now.layer;
    const rows = [line(`PyTorch ${RELEASES[0]}, recorded`, now.found, now.layer)];
    if (live) rows.push(line(`PyTorch ${live.version}, running`, live.found, now.layer));
    table.update(rows);
    const shown = layers.filter((_, i) => look(now.scales, now.mistake, i)?.counts[i] > 0).length;
    words.textContent = sentence({ ...now, does: does[now.mistake], layers, ops, elements, top: tops[now.scales], shown });
  });
  const ask = asker(model, (answer) => { live = answer; show(); });
  const changed = () => {
    live = null;
    const { scales: s, mistake, layer } = state();
    ask({ scales: s, mistake, layer });
    show();
  };
  for (const name of ["scales", "mistake", "layer"]) model.on(`change:${name}`, changed);
  changed();
  return followWidth(el, show);
}

// The picture in words.
export function sentence({ does, layers, ops, elements, layer, found, top, shown }) {
  const kind = OPS[ops[layer]] ?? ops[layer];
  const parts = [`${layers[layer]} is a ${kind}. What is done to it: ${does}.`];
  const elsewhere = `With these scales it shows in ${shown} of the ${layers.length} layers.`;
  if (found === null) return [...parts, "This layer has no such step.", elsewhere].join(" ");
  const own = found.counts[layer];
  if (own === 0) return [...parts, `It changes none of the layer’s ${integer(elements[layer])} integers: no real number here lies so near to half-way.`, elsewhere].join(" ");
  parts.push(`It changes ${integer(own)} of the layer’s ${many(elements[layer], "integer")}.`);
  const after = found.counts.map((n, i) => [n, i]).slice(layer + 1).filter(([n]) => n > 0);
  const left = layers.length - 1 - layer;
  if (left === 0) parts.push("No layer comes after it.");
  else if (after.length === 0) parts.push("The next layer rounds it away: nothing after it differs.");
  else {
    const share = ([n, i]) => n / elements[i];
    const worst = after.reduce((a, b) => (share(b) > share(a) ? b : a));
    const percent = 100 * share(worst);
    const hit = after.length === left ? `All ${many(left, "layer")} after it differ` : `Of the ${many(left, "layer")} after it ${after.length} ${after.length === 1 ? "differs" : "differ"}`;
    parts.push(`${hit} too, most of all ${layers[worst[1]]}, in ${integer(worst[0])} of ${many(elements[worst[1]], "integer")} (${percent < 0.1 ? "less than 0.1" : percent.toFixed(1)} %).`);
  }
  const last = found.counts.at(-1);
  if (last === 0) parts.push("The logits do not.");
  else parts.push(`${integer(last)} of the ${integer(elements.at(-1))} logits differ, by at most ${many(found.most, "code")}, and the largest is ${found.top === top ? `still number ${top}` : `number ${found.top} instead of ${top}`}.`);
  parts.push(elsewhere);
  return parts.join(" ");
}

export default { render };
