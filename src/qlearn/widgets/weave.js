import { addSteps, additionTable, clamp, fround } from "./arithmetic.js";
import { addPaper, BODY, parting } from "./adding.js";
import { arrows, asker, atRest, become, drag, followTheme, followWidth, frame, hover, html, inflate, legend, number, oncePerFrame, picture, sayAll, setter, sketch, slider, svg } from "./kit.js";

const LEFT = 42; // room for the axes' names and the codes beside them
const TOP = 32;
const NEAR = 4; // cells: a pointer so near to a dot means the dot

// The cell nearest to (row, column) where the two differ, within `reach` cells; that cell itself if there is none.
export function nearest(differ, row, column, reach) {
  let [found, least] = [[row, column], Infinity];
  for (let i = Math.max(row - reach, 0); i <= Math.min(row + reach, 255); i += 1) {
    for (let j = Math.max(column - reach, 0); j <= Math.min(column + reach, 255); j += 1) {
      const far = (i - row) ** 2 + (j - column) ** 2;
      if (differ[256 * i + j] !== 0 && far < least && far <= reach ** 2) [found, least] = [[i, j], far];
    }
  }
  return found;
}

// From a cell along its row or column to the next one where the two differ; the cell itself if there is none.
export function along(differ, row, column, down, right) {
  for (let [i, j] = [row + down, column + right]; i >= 0 && i < 256 && j >= 0 && j < 256; i += down, j += right) {
    if (differ[256 * i + j] !== 0) return [i, j];
  }
  return [row, column];
}

// Up to which character two numbers are written alike: all of them if they are the same.
export function alike(one, other) {
  let k = 0;
  while (k < one.length && one[k] === other[k]) k += 1;
  return k;
}

// The steps that are shown: a name, and its place among an adder's steps.
const SHOWN = [["a", 0], ["b", 1], ["a + b", 2], ["in steps", 3], ["rounded", 6]];
const PARTED = ["at a", "at b", "at the sum", "at the division", "", "at the rounding"];
const BESIDE = 576; // from this width on the steps stand beside the picture (kit.css); below it, and it shows fewer rows

async function render({ model, el }) {
  const [[rowFrom, rowCount], [columnFrom, columnCount]] = [model.get("rows"), model.get("columns")];
  const [[s1, z1], [s2, z2], [s, z]] = model.get("preset");
  const p = { s1, z1, s2, z2, s, z };
  const [paper, torch] = [addPaper(p), BODY.make(p)];
  const ours = additionTable(paper);
  const theirs = await inflate(model.get("sums"));
  const differ = Int8Array.from(theirs, (code, i) => code - ours[i]);
  let live = null; // the running PyTorch's answer to the present state
  const from = { rows: 0, row: 0, column: columnFrom }; // what is shown: it follows what is looked at

  const goTo = ([q1, q2]) => { model.set("q1", clamp(q1, 0, 255)); model.set("q2", clamp(q2, 0, 255)); };
  const set = setter(model);
  const sliders = ["q1", "q2"].map((name, i) => slider({
    label: ["a’s code ↓", "b’s code →"][i], steps: 255, position: model.get(name), show: (q) => q, move: (q) => set(name, q),
  }));

  const canvas = html("canvas", { "aria-hidden": "true" });
  const plan = (width) => {
    const beside = el.clientWidth === 0 || el.querySelector(".ql-beside").clientWidth >= BESIDE;
    const [cell, rows] = [(width - LEFT) / columnCount, beside ? rowCount : Math.min(rowCount, columnCount >> 1)];
    return { cell, rows, height: TOP + rows * cell };
  };
  let painted = ""; // what the canvas shows
  const paint = (cell, rows) => {
    const dots = globalThis.devicePixelRatio || 1;
    const key = [from.row, from.column, cell, rows, dots].join();
    if (key === painted || !canvas.isConnected) return;
    painted = key;
    const [width, height] = [columnCount * cell, rows * cell];
    Object.assign(canvas, { width: Math.round(width * dots), height: Math.round(height * dots) }); // which clears it too
    Object.assign(canvas.style, { left: `${LEFT}px`, top: `${TOP}px`, width: `${width}px`, height: `${height}px` });
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    pen.scale(dots * cell, dots * cell);
    for (const [sign, color] of [[1, "--torch"], [-1, "--ours"]]) {
      pen.fillStyle = style.getPropertyValue(color).trim();
      pen.beginPath();
      for (let row = 0; row < rows; row += 1) {
        for (let column = 0; column < columnCount; column += 1) {
          if (differ[256 * (from.row + row) + from.column + column] !== sign) continue;
          pen.moveTo(column + 0.95, row + 0.5);
          pen.arc(column + 0.5, row + 0.5, 0.45, 0, 2 * Math.PI);
        }
      }
      pen.fill();
    }
  };
  const follow = (first, count, q) => clamp(first, Math.max(q - count + 1, 0), Math.min(q, 256 - count));
  const draw = (width) => {
    const [q1, q2] = [model.get("q1"), model.get("q2")];
    const { cell, rows, height } = plan(width);
    if (from.rows !== rows) Object.assign(from, { rows, row: rowFrom + ((rowCount - rows) >> 1) });
    from.row = follow(from.row, rows, q1);
    from.column = follow(from.column, columnCount, q2);
    paint(cell, rows);
    const { shapes, add, line } = sketch();
    const [x, y] = [LEFT + (q2 - from.column + 0.5) * cell, TOP + (q1 - from.row + 0.5) * cell];
    const [right, bottom] = [LEFT + columnCount * cell, height];
    const middle = (TOP + bottom) / 2;
    add("text", { x: (LEFT + right) / 2, y: 12, "text-anchor": "middle" }, "b’s code →");
    add("text", { x: 10, y: middle, transform: `rotate(-90 10 ${middle})`, "text-anchor": "middle" }, "← a’s code");
    const thin = { "stroke-width": 1, opacity: 0.55 };
    line(LEFT, y, x - 7, y, "ink", thin);
    line(x, TOP, x, y - 7, "ink", thin);
    add("circle", { cx: x, cy: y, r: 6.5, fill: "none", stroke: "var(--ink)", "stroke-width": 1.8 });
    // the codes beside the axes: the two that are looked at, and the first and last where there is room
    const ticks = (q, first, count) => [q, ...[first, first + count - 1].filter((end) => Math.abs(end - q) * cell > 26)];
    const kind = (code, q) => (code === q ? "ql-number ql-strong" : "ql-number");
    for (const code of ticks(q2, from.column, columnCount)) {
      add("text", { x: clamp(LEFT + (code - from.column + 0.5) * cell, LEFT + 8, right - 10), y: TOP - 4, class: kind(code, q2), "text-anchor": "middle" }, code);
    }
    for (const code of ticks(q1, from.row, rows)) {
      add("text", { x: LEFT - 5, y: clamp(TOP + (code - from.row + 0.5) * cell + 4, TOP + 9, bottom), class: kind(code, q1), "text-anchor": "end" }, code);
    }
    return { height, children: shapes };
  };
  const { root, redraw } = picture("The sums of two codes for which the formula on paper and PyTorch differ, each a dot", draw);
  root.setAttribute("role", "application"); // it takes the arrow keys
  root.setAttribute("aria-roledescription", "picture to walk in");
  const cellAt = (px, py) => {
    const { cell, rows } = plan(root.clientWidth);
    const [row, column] = [Math.floor((py - TOP) / cell), Math.floor((px - LEFT) / cell)];
    return [from.row + clamp(row, 0, rows - 1), from.column + clamp(column, 0, columnCount - 1)];
  };
  drag(root, () => (px, py) => goTo(nearest(differ, ...cellAt(px, py), 2 * NEAR)));
  hover(root, (px, py) => { if (px >= LEFT && py >= TOP) goTo(nearest(differ, ...cellAt(px, py), NEAR)); });
  arrows(root, (down, right, shift) => {
    const [q1, q2] = [model.get("q1"), model.get("q2")];
    goTo(shift ? [q1 + down, q2 + right] : along(differ, q1, q2, down, right));
  });

  const body = html("tbody");
  const table = html("table", { class: "ql-pair" }, html("caption", {}, "Each step of both computations"), body);
  const words = frame(el,
    html("div", { class: "ql-beside" },
      html("div", {}, html("div", { class: "ql-stack" }, canvas, root),
        legend([["torch", "●"], "PyTorch’s is one higher"], [["ours", "●"], "one lower"]),
        html("p", { class: "ql-legend" }, "Point at a dot, touch one, or walk with the arrow keys.")),
      html("div", {}, table)),
    html("div", { class: "ql-controls" }, ...sliders.map((one) => one.root)));
  table.before(words); // the answer first

  // A step's two numbers, one above the other, bold from where they are written differently, if they are two float32.
  const WHO = [["ours", "formula"], ["torch", "PyTorch"]];
  const lines = (name, how, one, other, parts) => {
    const written = [sayAll(one), number(other, 9)];
    const same = fround(one) === fround(other) ? Infinity : alike(...written);
    return written.map((text, i) => svg("tr", { class: parts ? "ql-parts" : null },
      i === 0 ? svg("th", { scope: "row", rowspan: 2 }, svg("span", {}, name), svg("small", {}, how)) : null,
      svg("td", { class: `ql-by-${WHO[i][0]}` }, WHO[i][1]),
      svg("td", {}, text.slice(0, same), same < text.length ? svg("b", {}, text.slice(same)) : null)));
  };
  const show = () => {
    const [q1, q2] = [model.get("q1"), model.get("q2")];
    redraw();
    [q1, q2].forEach((q, i) => sliders[i].update(q));
    const said = [paper, torch].map((adder) => addSteps(adder, q1, q2));
    const part = parting(...said, true);
    const hows = [`${s1}·(${q1} − ${z1})`, `${s2}·(${q2} − ${z2})`, "the sum", `divided by ${s}`, `plus ${z}`];
    become(body, SHOWN.flatMap(([name, k], i) => lines(name, hows[i], said[0][k], said[1][k], part === Math.min(k, 5))));
    const [our, their] = [ours[256 * q1 + q2], theirs[256 * q1 + q2]];
    const running = live ? ` The running PyTorch ${live.version} (${live.capability}) gives ${live.body}.` : "";
    const [first, second] = our === their ? [`Both give ${our}.`, `Codes ${q1} and ${q2} do not part.`]
      : [`The formula gives ${our}, PyTorch ${their}.`, `Codes ${q1} and ${q2} part ${PARTED[part]}.`];
    become(words, [svg("b", {}, first), svg("br"), second, running]);
  };
  const later = oncePerFrame(show);
  const ask = asker(model, (answer) => { live = answer; later(); });
  const asking = atRest(200, () => ask({ codes: [model.get("q1"), model.get("q2")] }));
  const changed = () => {
    live = null;
    later();
    asking.ask();
  };
  for (const name of ["q1", "q2"]) model.on(`change:${name}`, changed);
  show();
  changed();
  const ends = [followWidth(el, later), followTheme(() => { painted = ""; later(); })];
  return () => { asking.end(); ends.forEach((end) => end()); };
}

export default { render };
