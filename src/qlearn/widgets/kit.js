// What the widgets share: elements, controls, one redraw a frame, and the question to a running PyTorch.

let made = 0; // so that ids stay unique with several widgets on a page

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.replace(/^on/, ""), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

// A part of a picture or of a table as plain data: its tag, attributes, and the parts and texts in it. `become` makes the nodes.
export const part = (tag, attributes = {}, ...children) => ({ tag, attributes, children });
export const svg = part;

// The parts of a picture in the making: `add` puts one more into `shapes`.
export function sketch() {
  const shapes = [];
  const add = (tag, attributes, text) => shapes.push(part(tag, attributes, ...(text === undefined ? [] : [text])));
  const line = (x1, y1, x2, y2, color, more = {}) => add("line", { x1, y1, x2, y2, stroke: `var(--${color})`, ...more });
  return { shapes, add, line };
}

// Make these parts what stands in a node. Where a part of the same tag stood the node stays, and only what is new of it is
// written: a picture that follows the pointer touches few nodes.
const standing = new WeakMap(); // node -> the nodes in it, and the parts that they were made from
export function become(parent, parts) {
  const { nodes, before } = standing.get(parent) ?? { nodes: [], before: [] };
  const now = parts.filter((one) => one !== null && one !== undefined).map((one) => (one.tag ? one : String(one)));
  now.forEach((one, i) => {
    if (one === before[i]) return;
    const stays = i < nodes.length && one.tag === before[i].tag;
    if (!stays) {
      const node = one.tag ? document.createElementNS(parent.namespaceURI, one.tag) : document.createTextNode(one);
      if (i < nodes.length) nodes[i].replaceWith(node);
      else parent.append(node);
      nodes[i] = node;
    }
    if (one.tag) {
      write(nodes[i], one.attributes, stays ? before[i].attributes : {});
      become(nodes[i], one.children);
    } else if (stays) nodes[i].data = one;
  });
  nodes.splice(now.length).forEach((node) => node.remove());
  standing.set(parent, { nodes, before: now });
}

// The attributes that are new or others than before; null stands for one that is not there.
function write(node, attributes, before) {
  for (const name in before) if ((attributes[name] ?? null) === null) node.removeAttribute(name);
  for (const name in attributes) {
    if (attributes[name] !== before[name] && (attributes[name] ?? null) !== null) node.setAttribute(name, attributes[name]);
  }
}

export const uniqueId = (stem) => `ql-${stem}-${(made += 1)}`;

// A number as readers like it: a true minus sign, no more digits than asked for.
export const say = (x, digits = 4) => trim(Number(x).toPrecision(digits)).replace("-", "−");
export const sayAll = (x) => String(x).replace("-", "−");
export const integer = (n) => n.toLocaleString("en-US").replace("-", "−");
export const many = (n, one) => `${integer(n)} ${one}${n === 1 ? "" : "s"}`;
export const number = (x, digits) => (Number.isInteger(x) && Math.abs(x) < 1e12 ? sayAll(x) : say(x, digits));
const trim = (text) => (text.includes("e") || !text.includes(".") ? text : text.replace(/\.?0+$/, ""));

// A number with its power of ten: 1.66·10⁻⁷ is written as readers write it.
export function power(x, digits = 3) {
  const [mantissa, exponent] = Number(x).toExponential(digits - 1).split("e");
  if (x === 0 || (exponent >= -3 && exponent < 4)) return say(x, digits);
  const raised = [...String(Number(exponent))].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");
  return digits === 1 && mantissa === "1" ? `10${raised}` : `${mantissa.replace("-", "−")}·10${raised}`;
}

// A labelled slider over the positions 0 … steps; `show` words the position for eyes and for screen readers.
export function slider({ label, steps, position, show, move }) {
  const id = uniqueId("slider");
  const output = html("output", { for: id });
  const input = html("input", { id, type: "range", min: 0, max: steps, step: 1, oninput: () => move(Number(input.value)) });
  const update = (value) => {
    input.value = value;
    output.textContent = show(value);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  update(position);
  return { root: html("div", { class: "ql-slider" }, html("label", { for: id }, label), input, output), input, update };
}

// A few named choices in a row, one of them on.
export function choice({ label, options, chosen, choose }) {
  const name = uniqueId("choice");
  const inputs = options.map((text, i) => {
    const input = html("input", { type: "radio", name, id: `${name}-${i}`, value: i, onchange: () => choose(i) });
    input.checked = i === chosen;
    return input;
  });
  const labels = options.map((text, i) => html("label", { for: `${name}-${i}` }, text));
  const row = html("div", { class: "ql-options" }, ...inputs.flatMap((input, i) => [input, labels[i]]));
  const update = (i) => { if (inputs[i]) inputs[i].checked = true; else inputs.forEach((input) => (input.checked = false)); };
  return { root: html("fieldset", { class: "ql-choice" }, html("legend", {}, label), row), update };
}

export const setter = (model) => (name, value) => { model.set(name, value); model.save_changes(); };

// Choices that set a trait to the value at their place; `update` shows the trait's present one.
export function picker(model, name, label, options, values = [...options.keys()]) {
  const at = () => values.indexOf(model.get(name));
  const { root, update } = choice({ label, options, chosen: at(), choose: (i) => setter(model)(name, values[i]) });
  return { root, update: () => update(at()) };
}

// Bytes that came from Python, as the typed array that they are.
export const typed = (view, Type) => new Type(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

// Calls of the returned function draw at most once a frame.
export function oncePerFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
}

// A picture that is drawn for each width: `draw(width)` returns the SVG's parts and its height.
export function picture(describe, draw) {
  const root = fill(document.createElementNS("http://www.w3.org/2000/svg", "svg"), { class: "ql-picture", role: "img", "aria-label": describe }, []);
  const redraw = () => {
    const width = root.clientWidth; // its own, without the padding around it
    if (width === 0) return;
    const { height, children } = draw(width);
    root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    root.setAttribute("height", height);
    become(root, children);
  };
  return { root, redraw };
}

// Where a pointer is, in CSS pixels from the node's corner.
function within(node, event) {
  const box = node.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

// Follow the pointer over `node`: `press(x, y)`, in CSS pixels from the node's corner, returns what to do with each
// position from then on, the first included.
export function drag(node, press) {
  let move = null;
  node.addEventListener("pointerdown", (event) => {
    node.setPointerCapture(event.pointerId);
    move = press(...within(node, event));
    move(...within(node, event));
  });
  node.addEventListener("pointermove", (event) => move?.(...within(node, event)));
  for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => (move = null));
}

// Follow a mouse over `node` that presses no button.
export function hover(node, move) {
  node.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && event.buttons === 0) move(...within(node, event));
  });
}

// Give a node the keyboard: what each key does, by its name, told whether it is pressed with Shift.
export function keys(node, acts) {
  node.setAttribute("tabindex", "0");
  node.addEventListener("keydown", (event) => {
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key](event.shiftKey);
  });
}

// The same with the four arrows: `go` is told how many rows down and columns to the right.
export const arrows = (node, go) => keys(node, {
  ArrowUp: (shift) => go(-1, 0, shift), ArrowDown: (shift) => go(1, 0, shift),
  ArrowLeft: (shift) => go(0, -1, shift), ArrowRight: (shift) => go(0, 1, shift),
});

// A line under a picture: each entry a coloured mark and what it means.
export const legend = (...entries) => html("p", { class: "ql-legend" }, ...entries.map(([[color, mark], text]) =>
  html("span", {}, html("b", { style: `color: var(--${color})`, "aria-hidden": "true" }, mark), ` ${text}`)));

// A table of who says what: rows of [name, class, cells…]. A name or a cell is a text, or [a text, a note under it, the note's
// class].
export function comparison(head, kind = "") {
  const [top, body] = [html("tr"), html("tbody")];
  const root = html("div", { class: `ql-table ${kind}` }, html("table", {}, html("thead", {}, top), body));
  const noted = (said) => (Array.isArray(said) ? [part("span", {}, said[0]), part("small", { class: said[2] }, said[1])] : [said]);
  const update = (rows, titles = head) => {
    become(top, titles.map((title) => part("th", { scope: "col" }, title)));
    become(body, rows.map(([name, of, ...cells]) =>
      part("tr", { class: `ql-${of}` }, part("th", { scope: "row" }, ...noted(name)), ...cells.map((cell) => part("td", {}, ...noted(cell))))));
  };
  return { root, update };
}

// The frame of a widget: what it shows, its controls, and one sentence that says the same in words.
export function frame(el, ...parts) {
  const words = html("p", { class: "ql-words", "aria-live": "polite" });
  el.replaceChildren(html("div", { class: "ql-widget" }, ...parts, words));
  return words;
}

// Does once what is asked of it, so many milliseconds after the last call.
export function atRest(milliseconds, act) {
  let waiting = 0;
  const ask = (...about) => { clearTimeout(waiting); waiting = setTimeout(() => act(...about), milliseconds); };
  return { ask, end: () => clearTimeout(waiting) };
}

// Ask the kernel's PyTorch, if there is one; `heard` gets its answer, unless a later question was asked meanwhile.
export function asker(model, heard) {
  let last = 0;
  model.on("change:answer", () => {
    const answer = model.get("answer");
    if (answer.id === last) heard(answer);
  });
  return (question) => {
    last += 1;
    model.set("question", { id: last, ...question });
    model.save_changes();
  };
}

// What Python's zlib.compress packed, as a Uint8Array.
export async function inflate(view) {
  const packed = new Blob([new Uint8Array(view.buffer, view.byteOffset, view.byteLength)]);
  return new Uint8Array(await new Response(packed.stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
}

// Redraw when the page turns dark or light, for what is painted on a canvas; returns what ends it.
export function followTheme(redraw) {
  const observer = new MutationObserver(redraw);
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  return () => observer.disconnect();
}

// Redraw when the widget's width changes, and stop when the widget goes.
export function followWidth(el, redraw) {
  let width = el.clientWidth; // its height changes with the words
  const observer = new ResizeObserver(() => { if (el.clientWidth !== width) { width = el.clientWidth; redraw(); } });
  observer.observe(el);
  return () => observer.disconnect();
}
