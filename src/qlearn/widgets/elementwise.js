import { addSteps, additionTable, clamp, RELEASE_NAMES, RELEASES, releaseLike } from "./arithmetic.js";
import { FORMULAS, parting, PATHS, STEPS } from "./adding.js";
import { arrows, asker, atRest, comparison, drag, followTheme, followWidth, frame, hover, html, inflate, integer, legend, number, oncePerFrame, picker, picture, setter, sketch, slider } from "./kit.js";

const CELLS = 65536;
const LEFT = 26; // room for the axes' names
const TOP = 24;
const BOX = 28; // a cell under the lens
const GAP = 18; // between the table and the lens

// Where two tables differ: how many cells of `theirs` are higher, how many lower.
export function compare(theirs, ours) {
  let [higher, lower] = [0, 0];
  for (let i = 0; i < CELLS; i += 1) {
    if (theirs[i] > ours[i]) higher += 1;
    else if (theirs[i] < ours[i]) lower += 1;
  }
  return { higher, lower };
}

// The next cell that differs after cell i, or i if there is none.
export function nextDifference(theirs, ours, i) {
  for (let step = 1; step <= CELLS; step += 1) {
    const k = (i + step) % CELLS;
    if (theirs[k] !== ours[k]) return k;
  }
  return i;
}

// The recorded tables: presets x releases x paths of 65,536 codes each. All but a preset's first are stored as what to add to
// that one, modulo 256.
export async function unpack(view) {
  const all = await inflate(view);
  const paths = PATHS[RELEASES[0]].length;
  const ofPreset = RELEASES.length * paths;
  for (let i = 0; i < all.length; i += 1) {
    const place = i % (ofPreset * CELLS);
    if (place >= CELLS) all[i] += all[i - place + (place % CELLS)];
  }
  return (preset, release, path) => {
    const table = preset * ofPreset + RELEASES.indexOf(release) * paths + path;
    return all.subarray(table * CELLS, (table + 1) * CELLS);
  };
}

// "#1d2027" -> one pixel, as a little-endian Uint32 of red, green, blue and alpha.
const channels = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
const pixel = ([red, green, blue]) => (255 << 24) | (blue << 16) | (green << 8) | red;

async function render({ model, el }) {
  const [names, presets] = [model.get("names"), model.get("presets")];
  const recorded = await unpack(model.get("tables"));
  const computed = new Map(); // "preset/formula" -> the formula's table
  const compared = new Map(); // the same and whose integers are right -> where they differ
  let live = null; // the running PyTorch's answer to the present state

  const params = (preset) => {
    const [[s1, z1], [s2, z2], [s, z]] = presets[preset];
    return { s1, z1, s2, z2, s, z };
  };
  const once = (known, key, make) => (known.has(key) ? known : known.set(key, make())).get(key);
  const state = () => {
    const [preset, release, path, formula, q1, q2] = ["preset", "release", "path", "formula", "q1", "q2"].map((name) => model.get(name));
    const p = params(preset);
    const theirs = recorded(preset, release, path);
    const ours = once(computed, `${preset}/${formula}`, () => additionTable(FORMULAS[formula].make(p)));
    const key = `${preset}/${formula}/${release}/${path}`;
    return { preset, release, path, formula, q1, q2, p, theirs, ours, key, counts: once(compared, key, () => compare(theirs, ours)) };
  };
  const set = setter(model);
  const goTo = (q1, q2) => { model.set("q1", clamp(q1, 0, 255)); model.set("q2", clamp(q2, 0, 255)); };

  const choices = [
    picker(model, "preset", "Scales and zero points", names),
    picker(model, "release", "PyTorch’s release", RELEASE_NAMES, RELEASES),
    picker(model, "path", "PyTorch’s integers", PATHS[RELEASES[0]].map(({ name }) => name)),
    picker(model, "formula", "Formula", FORMULAS.map(({ name }) => name)),
  ];
  const sliders = ["q1", "q2"].map((name, i) => slider({
    label: ["code q₁ ↓", "code q₂ →"][i], steps: 255, position: model.get(name), show: (q) => q, move: (q) => set(name, q),
  }));

  // The table itself, one pixel a cell, painted anew only when it is another one.
  const canvas = html("canvas", { width: 256, height: 256, class: "ql-pixels", "aria-hidden": "true" });
  let painted = ""; // what the canvas shows
  let palette = null; // the page's present colours, and its font for numbers
  const look = () => {
    if (palette) return palette;
    const style = getComputedStyle(canvas);
    palette = Object.fromEntries(["card", "ink", "torch", "ours", "mono"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    return palette;
  };
  const paint = ({ theirs, ours, key }) => {
    if (key === painted || !canvas.isConnected) return;
    painted = key;
    const [card, ink, torch, mine] = ["card", "ink", "torch", "ours"].map((name) => channels(look()[name]));
    const shades = Uint32Array.from({ length: 256 }, (_, q) => pixel(card.map((c, i) => Math.round(c + (ink[i] - c) * (0.05 + (0.33 * q) / 255)))));
    const [higher, lower] = [pixel(torch), pixel(mine)];
    const image = new ImageData(256, 256);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < CELLS; i += 1) pixels[i] = theirs[i] > ours[i] ? higher : theirs[i] < ours[i] ? lower : shades[theirs[i]];
    canvas.getContext("2d").putImageData(image, 0, 0);
  };

  // A cell is a whole number of the screen's pixels wide. The lens stands beside the table or under it.
  const plan = (width) => {
    const dots = globalThis.devicePixelRatio || 1;
    const size = (256 * Math.max(1, Math.floor(Math.min((width - LEFT) * dots, 520 * dots) / 256))) / dots;
    const room = width - LEFT - size - GAP;
    const beside = room >= 3 * BOX;
    const columns = clamp(2 * Math.floor(((beside ? room : width) / BOX - 1) / 2) + 1, 3, beside ? 5 : 13);
    const rows = beside ? Math.min(columns === 3 ? 15 : 9, 2 * Math.floor(((size - 22) / BOX - 1) / 2) + 1) : 5;
    const [lensX, lensY] = beside ? [LEFT + size + GAP, TOP + 22] : [0, TOP + size + 38];
    return { size, cell: size / 256, columns, rows, lensX, lensY, height: beside ? TOP + size + 4 : lensY + rows * BOX + 4 };
  };
  // What the lens shows around a cell: PyTorch's codes, with an arrow to the higher of two that differ; nothing beyond the table.
  // A canvas too, since all of it changes with each cell.
  const lens = html("canvas", { "aria-hidden": "true" });
  const paintLens = ({ q1, q2, theirs, ours }, { columns, rows, lensX, lensY }) => {
    const dots = globalThis.devicePixelRatio || 1;
    const [width, height] = [columns * BOX, rows * BOX];
    Object.assign(lens, { width: Math.round(width * dots), height: Math.round(height * dots) }); // which clears it too
    Object.assign(lens.style, { left: `${lensX}px`, top: `${lensY}px`, width: `${width}px`, height: `${height}px` });
    const pen = lens.getContext("2d");
    pen.scale(dots, dots);
    pen.textAlign = "center";
    const { ink, torch, ours: mine, mono } = look();
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const [i, j] = [q1 + row - (rows - 1) / 2, q2 + column - (columns - 1) / 2];
        if (i < 0 || i > 255 || j < 0 || j > 255) continue;
        const [their, our] = [theirs[256 * i + j], ours[256 * i + j]];
        const [left, top] = [column * BOX, row * BOX];
        const [x, y, up] = [left + BOX / 2, top + BOX / 2, Math.sign(their - our)];
        pen.fillStyle = ink;
        pen.globalAlpha = 0.04 + (0.2 * their) / 255;
        pen.fillRect(left + 1, top + 1, BOX - 2, BOX - 2);
        pen.globalAlpha = 1;
        pen.fillStyle = up > 0 ? torch : up < 0 ? mine : ink;
        if (up !== 0) pen.fill(new Path2D(`M${x - 4} ${y - up * 6} h8 l-4 ${-5 * up} Z`));
        pen.font = `${up === 0 ? 400 : 600} 11.5px ${mono}`;
        pen.fillText(their, x, y + 4 + 3.5 * up);
      }
    }
  };
  const draw = (width) => {
    const now = state();
    const { q1, q2 } = now;
    const layout = plan(width);
    const { size, cell, columns, rows, lensX, lensY, height } = layout;
    Object.assign(canvas.style, { left: `${LEFT}px`, top: `${TOP}px`, width: `${size}px`, height: `${size}px` });
    const { shapes, add } = sketch();
    const [x, y] = [LEFT + q2 * cell, TOP + q1 * cell];

    add("text", { x: LEFT, y: 15 }, "q₂ →");
    add("text", { x: 2, y: TOP + 12 }, "q₁");
    add("text", { x: 5, y: TOP + 28 }, "↓");
    for (const q of [128, 255]) {
      add("text", { x: LEFT + (q + 0.5) * cell, y: 15, class: "ql-number", "text-anchor": q === 255 ? "end" : "middle" }, q);
      add("text", { x: LEFT - 4, y: TOP + (q + 0.5) * cell + (q === 255 ? 0 : 4), class: "ql-number", "text-anchor": "end" }, q);
    }
    // the cell that is looked at, in the table and in the lens
    add("path", { d: `M${LEFT} ${y + cell / 2} H${x - 6} M${x + cell + 6} ${y + cell / 2} H${LEFT + size} M${x + cell / 2} ${TOP} V${y - 6} M${x + cell / 2} ${y + cell + 6} V${TOP + size}`, stroke: "var(--ink)", "stroke-width": 1, opacity: 0.5 });
    add("rect", { x: x - 4.5, y: y - 4.5, width: cell + 9, height: cell + 9, fill: "none", stroke: "var(--ink)", "stroke-width": 1.6, rx: 2 });

    add("text", { x: lensX, y: lensY - 9 }, `around ${q1}, ${q2}`);
    add("rect", { x: lensX + ((columns - 1) / 2) * BOX + 0.5, y: lensY + ((rows - 1) / 2) * BOX + 0.5, width: BOX - 1, height: BOX - 1, rx: 3, fill: "none", stroke: "var(--ink)", "stroke-width": 1.6 });
    paintLens(now, layout);
    return { height, children: shapes };
  };
  const { root, redraw } = picture("All 65,536 sums of two codes, and where a formula gives another integer than PyTorch", draw);
  const cellAt = (px, py) => {
    const { size, cell, columns, rows, lensX, lensY } = plan(root.clientWidth);
    const inside = px >= LEFT && px < LEFT + size && py >= TOP && py < TOP + size;
    if (inside) return [Math.floor((py - TOP) / cell), Math.floor((px - LEFT) / cell)];
    const [row, column] = [Math.floor((py - lensY) / BOX), Math.floor((px - lensX) / BOX)];
    if (row < 0 || row >= rows || column < 0 || column >= columns) return null;
    return [model.get("q1") + row - (rows - 1) / 2, model.get("q2") + column - (columns - 1) / 2];
  };
  drag(root, (startX, startY) => {
    const start = cellAt(startX, startY);
    return (px, py) => {
      const { size } = plan(root.clientWidth);
      const inLens = px > LEFT + size || py > TOP + size;
      if (start && (!inLens || (px === startX && py === startY))) goTo(...(px === startX && py === startY ? start : cellAt(px, py) ?? [model.get("q1"), model.get("q2")]));
    };
  });
  hover(root, (px, py) => {
    const { size } = plan(root.clientWidth);
    if (px < LEFT + size && py < TOP + size) { const at = cellAt(px, py); if (at) goTo(...at); }
  });
  arrows(root, (down, right, shift) => {
    const step = shift ? 16 : 1;
    goTo(model.get("q1") + down * step, model.get("q2") + right * step);
  });
  const next = html("button", { type: "button", class: "ql-button", onclick: () => {
    const { q1, q2, theirs, ours } = state();
    const i = nextDifference(theirs, ours, 256 * q1 + q2);
    goTo(i >> 8, i & 255);
  } }, "Next difference");

  const steps = comparison([], "ql-steps");
  const scalesLine = html("p", { class: "ql-legend ql-scales" });
  const [ofPreset, ofRelease, ofPath, ofFormula] = choices.map((one) => one.root);
  const words = frame(el, ofPreset, scalesLine, html("div", { class: "ql-choices" }, ofRelease, ofPath), ofFormula, html("div", { class: "ql-stack" }, canvas, lens, root),
    legend([["torch", "▲"], "PyTorch’s integer is higher"], [["ours", "▼"], "the formula’s is higher"]),
    html("div", { class: "ql-controls" }, ...sliders.map((one) => one.root)), next, steps.root);

  const cell = (value, how, digits) => [value === null ? "–" : number(value, digits), how];
  const show = oncePerFrame(() => {
    const now = state();
    const { release, path, formula, q1, q2, p, theirs, ours, counts } = now;
    paint(now);
    redraw();
    choices.forEach((one) => one.update());
    [q1, q2].forEach((q, i) => sliders[i].update(q));
    const total = counts.higher + counts.lower;
    next.disabled = total === 0;
    const together = (text) => text.replaceAll(" ", "\u00a0"); // not broken over two lines
    scalesLine.textContent = [`s₁ = ${p.s1}, z₁ = ${p.z1};`, `s₂ = ${p.s2}, z₂ = ${p.z2};`, `s = ${p.s}, z = ${p.z}`].map(together).join(" ");

    const [one, other] = [PATHS[release][path], FORMULAS[formula]];
    const said = [one, other].map(({ make }) => addSteps(make(p), q1, q2));
    const part = parting(...said, one.unit === other.unit);
    steps.update(STEPS.map((step, k) => {
      const how = k < 6 ? [one.how[k], other.how[k]] : ["clamp", "clamp"];
      return [part === k ? [step, "they part"] : step, part === k ? "wrong" : "plain", cell(said[0][k], how[0], one.digits), cell(said[1][k], how[1], other.digits)];
    }), ["step", `PyTorch ${release}, ${one.name}`, other.name]);

    const at = 256 * q1 + q2;
    const share = (100 * total) / CELLS;
    const count = total === 0 ? `In all ${integer(CELLS)} sums the two give the same integer.`
      : `The two differ in ${integer(total)} of ${integer(CELLS)} sums (${share < 0.1 ? "under 0.1" : share.toFixed(1)} %): PyTorch ${release}’s integer is higher in ${integer(counts.higher)}, the formula’s in ${integer(counts.lower)}.`;
    const here = theirs[at] === ours[at] ? `both say ${theirs[at]}` : `PyTorch ${release} says ${theirs[at]}, the formula ${ours[at]}`;
    const running = live ? runningWords(live, path, (itsPath) => addSteps(itsPath.make(p), q1, q2)[6]) : "";
    words.textContent = `${count} For codes ${q1} and ${q2} ${here}.${running}`;
  });
  const ask = asker(model, (answer) => { live = answer; show(); });
  const asking = atRest(200, () => ask({ codes: [model.get("q1"), model.get("q2")], preset: presets[model.get("preset")] }));
  const changed = () => {
    live = null;
    show();
    asking.ask();
  };
  for (const name of ["preset", "release", "path", "formula", "q1", "q2"]) model.on(`change:${name}`, changed);
  changed();
  const ends = [followWidth(el, show), followTheme(() => { painted = ""; palette = null; show(); })];
  document.fonts?.ready.then(show);
  return () => { asking.end(); ends.forEach((end) => end()); };
}

// What the running PyTorch says on this path, if it has it: it has one of the two bodies. `codeOf` says what a path gives.
export function runningWords({ version, capability, body, tail, qnnpack }, path, codeOf) {
  const has = [capability === "DEFAULT" ? null : body, tail, capability === "DEFAULT" ? body : null, qnnpack][path];
  if (has === null) return ` The running PyTorch ${version} (${capability}) has no such path.`;
  const own = codeOf(PATHS[releaseLike(version)][path]);
  return ` The running PyTorch ${version} says ${has}, ${has === own ? "as its formula does" : `and its formula ${own}`}.`;
}

export default { render };
