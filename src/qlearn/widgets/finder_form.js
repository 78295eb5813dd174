import { html, uniqueId } from "./kit.js";
import { parse, rangeOf, shortest, stepped } from "./finder_numbers.js";
import { fieldsOf, isTyped } from "./finder_state.js";
import { OPERATORS } from "./known.js";

// The fields in which an operator's numbers stand, and one slider that steps the field that was last touched.

// "scale of a" -> ["scale", "a"]: what several fields say of one thing stands in one row.
const halves = (label) => {
  const at = label.lastIndexOf(" of ");
  return at < 0 ? [label, ""] : [label.slice(0, at), label.slice(at + 4)];
};

// The rows of fields: [whose, [[field, its label there], …]]; yours beside what is said of the result, flags in a row of their own.
export function rowsOf(fields) {
  const groups = new Map();
  const add = (whose, field, label) => groups.set(whose, [...(groups.get(whose) ?? []), [field, label]]);
  const alone = (whose) => fields.filter(({ kind, label }) => kind !== "flag" && halves(label)[1] === whose).length < 2;
  for (const field of fields.filter(({ kind, name }) => kind !== "dtype" && kind !== "flag" && name !== "yours")) {
    const [what, whose] = halves(field.label);
    if (whose === "" || alone(whose)) add("", field, field.label);
    else add(whose, field, what);
  }
  const result = [...groups].filter(([whose, row]) => whose !== "" && row.some(([{ kind }]) => kind === "scale")).at(-1)?.[0] ?? "";
  for (const field of fields.filter(({ name }) => name === "yours")) add(result, field, "yours");
  const flags = fields.filter(({ kind }) => kind === "flag").map((field) => [field, field.label]);
  return [...groups, ...(flags.length > 0 ? [["", flags]] : [])];
}

// `texts` holds what stands in each field; `now()` is { operator, many, dtype }; `changed(name)` is told of each change.
export function numbersForm({ texts, now, changed }) {
  const controls = new Map(); // a field's name -> its control
  let active = null; // the name of the field that the slider steps
  const message = uniqueId("message");
  const root = html("div", { class: "ql-find-form" });
  const kinds = html("span", { class: "ql-find-kinds" }); // the dtype
  const field = (name) => fieldsOf(now().operator).find((one) => one.name === name);
  const valueOf = (one) => parse(one, texts[one.name] ?? "", now().dtype).value;

  const put = (name, value) => {
    texts[name] = Number.isInteger(value) ? String(value) : shortest(value);
    fill();
    changed(name);
  };
  function step(name, direction, ten) {
    const value = valueOf(field(name));
    if (typeof value === "number") put(name, stepped(field(name), value, direction, ten, now().dtype));
    return typeof value === "number";
  }

  function control(one, label) {
    const id = uniqueId("field");
    const { name, kind } = one;
    const set = (value) => { texts[name] = value; changed(name); };
    if (kind === "flag") {
      const box = html("input", { type: "checkbox", id, onchange: () => set(box.checked) });
      controls.set(name, box);
      return html("label", { class: "ql-find-flag" }, box, ` ${label}`);
    }
    const node = kind === "dtype"
      ? html("select", { id, onchange: () => set(node.value) }, ...one.choices.map((choice) => html("option", {}, choice)))
      : html("input", {
        type: "text", id, autocomplete: "off", autocapitalize: "off", spellcheck: "false", "aria-describedby": message,
        ...(label === one.label ? {} : { "aria-label": one.label }),
        oninput: () => set(node.value),
        onfocus: () => { if (active !== name && name !== "yours") { active = name; changed(null); } },
        onkeydown: (event) => {
          const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
          if (direction && !event.altKey && !event.ctrlKey && !event.metaKey && step(name, direction, event.shiftKey)) event.preventDefault();
        },
        onpaste: (event) => spread(event, one),
      });
    controls.set(name, node);
    return html("div", { class: `ql-find-field ql-find-${name === "yours" ? "yours" : kind}` }, html("label", { for: id }, label), node);
  }

  // Several numbers that are pasted into one field go into those after it, too.
  function spread(event, one) {
    const pasted = (event.clipboardData?.getData("text/plain") ?? "").trim();
    const numbers = pasted.split(/[\s;,]+/);
    if (numbers.length < 2 || one.kind === "codes" || /^[−-]?\d+,\d+$/.test(pasted)) return; // the last is a decimal comma
    event.preventDefault();
    const shown = [...root.querySelectorAll("input[type=text]")];
    const names = [...controls.keys()].sort((a, b) => shown.indexOf(controls.get(a)) - shown.indexOf(controls.get(b))).filter((name) => shown.includes(controls.get(name)));
    names.slice(names.indexOf(one.name)).forEach((name, i) => { if (i < numbers.length) texts[name] = numbers[i]; });
    fill();
    changed(one.name);
  }

  function build() {
    controls.clear();
    const { operator, many } = now();
    const fields = many ? OPERATORS[operator].params : fieldsOf(operator);
    kinds.replaceChildren(...fields.filter(({ kind }) => kind === "dtype").map((one) => control(one, one.label)));
    const kindOf = (whose, row) => (row[0][0].kind === "flag" ? "ql-find-flags" : row.some(([{ kind }]) => kind === "scale") && whose ? "" : whose ? "ql-find-loose" : "ql-find-free");
    root.replaceChildren(...rowsOf(fields).map(([whose, row]) => html("div", {
      class: `ql-find-row ${kindOf(whose, row)}`, ...(whose ? { role: "group", "aria-label": whose } : {}),
    }, ...(whose ? [html("span", { class: "ql-find-whose", "aria-hidden": "true" }, whose)] : []), ...row.map(([one, label]) => control(one, label)))));
    if (!controls.has(active)) active = null;
    fill();
  }
  function fill() {
    for (const [name, node] of controls) {
      if (node.type === "checkbox") node.checked = Boolean(texts[name]);
      else if (node.value !== (texts[name] ?? "")) node.value = texts[name] ?? "";
    }
  }

  // The slider: over all of a code's values, or so many steps to either side of what was typed.
  const AROUND = 128;
  let anchor = { name: null };
  const chosen = () => {
    const { inputs, params } = OPERATORS[now().operator];
    return field(active ?? [...inputs, ...params].find((one) => isTyped(one) && one.kind !== "codes").name);
  };
  const whole = (one) => { const range = one.free ? null : rangeOf(one, now().dtype); return range && range[1] - range[0] < 1000 ? range : null; };
  const slider = html("input", { type: "range", id: uniqueId("step"), step: 1, oninput: () => {
    const [one, moved] = [chosen(), Number(slider.value)];
    if (whole(one)) { put(one.name, moved); return; }
    let value = anchor.value;
    for (let i = 0; i < Math.abs(moved); i += 1) value = stepped(one, value, Math.sign(moved), false, now().dtype);
    anchor.moved = value;
    put(one.name, value);
  } });
  const label = html("label", { for: slider.id });
  const button = (direction, sign, words) => html("button", {
    type: "button", class: "ql-button ql-find-one", "aria-label": words,
    onpointerdown: (event) => event.preventDefault(), // the field keeps the focus
    onclick: (event) => step(chosen().name, direction, event.shiftKey),
  }, sign);
  const bar = html("div", { class: "ql-find-step" }, label, button(-1, "−", "one down"), slider, button(1, "+", "one up"));

  function draw(errors) {
    for (const [name, node] of controls) if (node.type === "text") node.setAttribute("aria-invalid", String(errors.has(name)));
    const one = chosen();
    const value = valueOf(one);
    label.textContent = `step the ${one.label}`;
    slider.disabled = typeof value !== "number";
    if (slider.disabled) return;
    if (whole(one)) {
      const [min, max] = whole(one);
      Object.assign(slider, { min, max });
      slider.value = value;
    } else if (anchor.name !== one.name || anchor.moved !== value) {
      anchor = { name: one.name, value, moved: value };
      Object.assign(slider, { min: -AROUND, max: AROUND });
      slider.value = 0;
    }
    slider.setAttribute("aria-valuetext", texts[one.name]);
  }
  return { root, kinds, bar, message, build, fill, draw, put, chosen };
}
