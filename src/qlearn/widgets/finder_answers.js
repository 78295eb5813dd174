import { comparison, html, number, uniqueId } from "./kit.js";
import { bitsOf } from "./finder_numbers.js";
import { same, stepPairs } from "./finder_words.js";
import { parts } from "./known.js";

// The tables of the answer: whose integer it is, and every number on the way of two computations.

const KINDS = { pytorch: "PyTorch", runtime: "other runtimes", mistake: "what people write" };

// A choice among arithmetics, by their keys, in groups; the one that was chosen stays as long as it is there.
export function laneChoice(label, chosen) {
  const id = uniqueId("lane");
  const select = html("select", { id, onchange: () => chosen(select.value) });
  let offered = "";
  const update = (lanes, key) => {
    const now = lanes.map((lane) => lane.key).join(" ");
    if (now !== offered) {
      offered = now;
      const kinds = Object.keys(KINDS).filter((kind) => lanes.some((lane) => lane.kind === kind));
      select.replaceChildren(...kinds.map((kind) => html("optgroup", { label: KINDS[kind] },
        ...lanes.filter((lane) => lane.kind === kind).map((lane) => html("option", { value: lane.key }, lane.name)))));
    }
    select.value = lanes.some((lane) => lane.key === key) ? key : lanes[0]?.key ?? "";
  };
  return { root: html("div", { class: "ql-find-field" }, html("label", { for: id }, label), select), update, key: () => select.value };
}

const MOST = 4; // explanations in the first table; more of one number are no news

// Whose integer: PyTorch's lanes, what the running PyTorch says, and the arithmetics that give yours; the others folded.
export function whoseTable(redraw) {
  const [first, others] = [comparison([]), comparison([])];
  const summary = html("summary");
  const more = html("details", { class: "ql-more", ontoggle: redraw }, summary, others.root);
  const update = (lanes, yours, live, show) => {
    const gives = ({ code }) => yours !== null && code !== null && same(code, yours);
    const said = (code) => (code === null ? "refused" : show(code));
    const row = (lane) => [lane.words ? [lane.name, lane.words] : lane.name, gives(lane) ? "ours" : lane.kind === "pytorch" ? "torch" : "plain", said(lane.code), gives(lane) ? "= yours" : ""];
    const theirs = lanes.filter(({ kind }) => kind === "pytorch");
    const running = (live?.says ?? []).map(([where, code]) => {
      const like = theirs.filter((lane) => code !== null && same(lane.code, code)).map(({ name }) => name);
      const as = code === null ? "" : like.length === 0 ? "as none of the lines above" : like.length > 2 ? `as ${like.length} of the lines above` : `as: ${like.join("; ")}`;
      return [[`PyTorch ${live.version}, running: ${where}`, as], code === null || like.length > 0 ? "plain" : "wrong", said(code), gives({ code }) ? "= yours" : ""];
    });
    const rest = lanes.filter(({ kind }) => kind !== "pytorch");
    const giving = rest.filter(gives).sort((a, b) => (b.kind === "runtime") - (a.kind === "runtime"));
    const shown = theirs.some(gives) ? [] : giving.slice(0, MOST);
    first.update([...theirs.map(row), ...running, ...shown.map(row)], ["whose", "number", ""]);
    const folded = [...giving.filter((lane) => !shown.includes(lane)), ...rest.filter((lane) => !gives(lane))];
    more.hidden = folded.length === 0;
    const also = giving.length - shown.length;
    summary.textContent = `${folded.length} other arithmetics${yours === null ? "" : also === 0 ? " give other numbers" : `, ${also} of which give${also === 1 ? "s" : ""} ${show(yours)} too`}`;
    if (more.open) others.update(folded.map(row), ["whose", "number", ""]);
  };
  return { root: first.root, more, update };
}

// Every number on the way of one computation, and of another beside it; where they part is marked.
export function stepsTable() {
  const table = comparison([], "ql-steps");
  const cell = (step, bits) => {
    if (!step) return "";
    if (step.value === null) return ["–", step.how];
    const value = number(step.value, step.type === "float64" ? 17 : 9);
    return bits ? [value, bitsOf(step.value, step.type), "ql-bits"] : step.how ? [value, step.how] : value;
  };
  const update = (one, other, inputs, bits) => {
    const [a, b] = [one.steps(...inputs), other ? other.steps(...inputs) : []];
    const apart = other ? parts(a, b) : null;
    table.update(stepPairs(a, b).map(([i, j]) => {
      const here = apart && ((i !== null && i === apart[0]) || (j !== null && j === apart[1]));
      const { name, constant } = a[i] ?? b[j];
      return [here ? [name, "they part"] : name, here ? "wrong" : constant ? "constant" : "plain", cell(a[i], bits), ...(other ? [cell(b[j], bits)] : [])];
    }), ["step", one.name, ...(other ? [other.name] : [])]);
  };
  return { root: table.root, update };
}

// The real number that is rounded, in float64, by the first arithmetic that has it so; null if none has.
export function onPaper(lanes, inputs) {
  for (const lane of lanes) {
    const v = lane.kind === "mistake" && lane.name.startsWith("float64") ? lane.steps(...inputs).find(({ name, type }) => name === "v" && type === "float64") : null;
    if (v) return v.value;
  }
  return null;
}

// Where two computations part, in words; "" where they end alike.
export function partedWords(one, other, inputs) {
  const [a, b] = [one.steps(...inputs), other.steps(...inputs)];
  const apart = parts(a, b);
  if (!apart) return "";
  const [x, y] = [a[apart[0]], b[apart[1]]];
  return `They part at ${x.name} = ${x.how}: ${x.value} in PyTorch’s ${one.name}; ${y.name} = ${y.how}: ${y.value} in ${other.name}.`;
}
