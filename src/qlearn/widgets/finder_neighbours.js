import { drag, picture, sayAll, sketch } from "./kit.js";
import { rangeOf, stepped } from "./finder_numbers.js";
import { same } from "./finder_words.js";

// The inputs next to this one: PyTorch's integers there, and those of the computation beside it.

const CELL = 36;
const ROW = 25;

// Up to `half` neighbours of input k on each side: [{ value, offset }], the input itself at offset 0.
export function neighboursOf(field, value, half, dtype) {
  const [low, high] = rangeOf(field, dtype) ?? [-Infinity, Infinity];
  const found = [{ value, offset: 0 }];
  let [down, up] = [value, value];
  for (let i = 1; i <= half; i += 1) {
    [down, up] = field.kind === "float32" ? [stepped(field, down, -1), stepped(field, up, 1)] : [down - 1, up + 1];
    if (down >= low) found.unshift({ value: down, offset: -i });
    if (up <= high) found.push({ value: up, offset: i });
  }
  return found;
}

// `go(field, value)` is told of a neighbour that is pointed at.
export function neighbourhood(go) {
  let shown = null; // what the picture shows
  const plan = (width) => {
    const side = width < 480 ? 0 : 150;
    return { side, top: side ? 0 : 20, room: Math.max(3, Math.floor((width - side) / CELL)), left: (n) => side + (width - side - n * CELL) / 2 };
  };
  const { root, redraw } = picture("The inputs next to this one: PyTorch’s integers, and those of the computation beside it", (width) => {
    const { shapes, add } = sketch();
    if (!shown) return { height: 0, children: [] };
    const { field, cells, one, other } = shown;
    const { side, top, left } = plan(width);
    const [x0, rows] = [left(cells.length), other ? 3 : 2];
    const short = (name) => (name.length > 23 ? `${name.slice(0, 22)}…` : name);
    if (side) [field.kind === "code" ? field.label : `${field.label}, ±`, "PyTorch", other?.name ?? ""].forEach((name, i) => add("text", { x: 0, y: 17 + i * ROW }, short(name)));
    else add("text", { x: 0, y: 13 }, `${field.label}${field.kind === "code" ? "" : ", ±"}; PyTorch${other ? `; ${other.name}` : ""}`.slice(0, Math.floor(width / 6.4)));
    cells.forEach((cell, i) => {
      const [x, differs] = [x0 + i * CELL, other && !same(cell.one, cell.other)];
      const say = (row, text, kind) => add("text", { x: x + CELL / 2, y: top + 17 + row * ROW, "text-anchor": "middle", class: `ql-number ${kind}` }, text);
      if (differs) add("rect", { x: x + 2, y: top + ROW + 1, width: CELL - 4, height: 2 * ROW - 2, rx: 4, fill: "var(--wrong)", opacity: 0.14 });
      say(0, field.kind === "code" ? sayAll(cell.value) : cell.offset === 0 ? "0" : `${cell.offset > 0 ? "+" : "−"}${Math.abs(cell.offset)}`, "");
      say(1, cell.one === null ? "–" : sayAll(cell.one), "ql-of-torch");
      if (other) say(2, cell.other === null ? "–" : sayAll(cell.other), "ql-of-ours");
    });
    const at = cells.findIndex(({ offset }) => offset === 0);
    add("rect", { x: x0 + at * CELL + 0.7, y: top + 0.7, width: CELL - 1.4, height: rows * ROW - 1.4, rx: 6, fill: "none", stroke: "var(--ink)", "stroke-width": 1.4 });
    return { height: top + 3 * ROW, children: shapes };
  });
  drag(root, () => {
    if (!shown) return () => {};
    const { field, cells } = shown; // as they stood when the pointer went down
    const x0 = plan(root.clientWidth).left(cells.length);
    return (x) => { const cell = cells[Math.floor((x - x0) / CELL)]; if (cell) go(field, cell.value); };
  });
  // Around input k, by the computation `one` and, if there is one, by `other`.
  const update = (field, k, inputs, one, other, dtype) => {
    root.style.display = field ? "" : "none";
    shown = null;
    if (field && root.clientWidth > 0) {
      const half = (plan(root.clientWidth).room - 1) >> 1;
      const by = (lane, value) => lane.of(...inputs.map((input, i) => (i === k ? value : input))) ?? null;
      const cells = neighboursOf(field, inputs[k], half, dtype).map((cell) => ({ ...cell, one: by(one, cell.value), other: other ? by(other, cell.value) : null }));
      shown = { field, cells, one, other };
    }
    redraw();
  };
  return { root, update };
}
