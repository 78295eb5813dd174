import { addSteps, bits32, fround, reciprocal, RELEASE_NAMES, RELEASES, releaseLike } from "./arithmetic.js";
import { BODY, PATHS, QNNPACK, STEPS, USUAL } from "./adding.js";
import { asker, comparison, followWidth, frame, html, number, oncePerFrame, picker, power, say, sayAll, setter, uniqueId } from "./kit.js";

const NAMES = ["s1", "z1", "q1", "s2", "z2", "q2", "s", "z", "yours"];
const WHAT = {
  s1: "scale of x₁", z1: "zero point of x₁", q1: "code of x₁", s2: "scale of x₂", z2: "zero point of x₂", q2: "code of x₂",
  s: "scale of the sum", z: "zero point of the sum", yours: "your integer",
};
const WHERE = [
  "fbgemm, x86, onednn: vector body of AVX2 and AVX512", "fbgemm, x86, onednn: tail", "fbgemm, x86, onednn: body of DEFAULT",
  "qnnpack",
];

// What a text means for a field: { value } or { error }, the error in words for the reader.
export function parse(name, text) {
  const typed = text.trim().replace("−", "-");
  const what = `The ${WHAT[name]}`.replace("The your", "Your");
  if (name === "yours" && typed === "") return { value: null };
  if (typed === "") return { error: `${what} is missing.` };
  if (/^[^,]*\d,\d[^,]*$/.test(typed)) return { error: `${what}: write the decimal comma as a point.` };
  const [above, below, more] = typed.split("/").map((part) => (part.trim() === "" ? NaN : Number(part)));
  const value = below === undefined ? above : above / below;
  if (more !== undefined || Number.isNaN(value)) return { error: `${what} is not a number: “${typed}”.` };
  if (name.startsWith("s")) {
    if (!(value > 0)) return { error: `${what} must be positive.` };
    if (!(fround(value) > 0 && fround(value) < Infinity)) return { error: `${what} does not fit into float32.` };
    return { value };
  }
  if (!Number.isInteger(value)) return { error: `${what} must be a whole number.` };
  if (name !== "yours" && (value < 0 || value > 255)) return { error: `${what} must be from 0 to 255, as quint8 is.` };
  if (Math.abs(value) > 2 ** 31) return { error: `${what} is larger than any integer here.` };
  return { value };
}

// PyTorch's code on each path of a release, null where it refuses.
const codesOf = (p, release) => PATHS[release].map(({ make }) => { const adder = make(p); return adder ? addSteps(adder, p.q1, p.q2)[6] : null; });

// PyTorch's codes in the release that is asked for and in the other one; and the usual formulas that give `yours`.
export function answers(p) {
  const usual = USUAL.map(([name, gives]) => [name, gives(p, p.q1, p.q2)]);
  const [codes, others] = [p.release, otherThan(p.release)].map((release) => codesOf(p, release));
  return { codes, others, usual, matches: usual.filter(([, code]) => code === p.yours).map(([name]) => name) };
}
const otherThan = (release) => RELEASES[1 - RELEASES.indexOf(release)];
const NAMED = { "2.14": "every release but 2.13", "2.13": "release 2.13" };

// How far the quotient on paper is from a tie, in words.
export function nearTie({ s1, z1, q1, s2, z2, q2, s }) {
  const v = (s1 * (q1 - z1) + s2 * (q2 - z2)) / s;
  const off = v - (Math.floor(v) + 0.5);
  const quotient = `On paper the sum is ${say(v, 10)} steps of the output`;
  if (Math.abs(off) < 4e-15 * Math.max(1, Math.abs(v))) return `${quotient}: a tie, as far as float64 can tell.`;
  return `${quotient}, ${power(Math.abs(off))} ${off < 0 ? "below" : "above"} a tie.`;
}

const list = (names) => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join("; ")}; and ${names.at(-1)}`);

// Where your integer comes from.
export function verdict({ yours, release }, { codes, others, matches }) {
  if (yours === null) return "Type the integer that you got, and see which formula gives it.";
  const where = (found) => PATHS[release].filter((_, i) => found[i] === yours).map(({ name }) => name);
  const [paths, alsoOn] = [where(codes), where(others.map((code, i) => (code === codes[i] ? null : code)))];
  const who = codes.every((code, i) => code === others[i]) ? "every release" : NAMED[release];
  const here = paths.length === codes.length ? `Your ${yours} is the integer of ${who} on every path.`
    : paths.length > 0 ? `Your ${yours} is what ${who} gives here: ${list(paths)}. Elsewhere it gives another integer.`
    : `Your ${sayAll(yours)} is the integer of ${who} on no path.`;
  const there = NAMED[otherThan(release)];
  const theirs = alsoOn.length === 0 ? here : `${here} ${there[0].toUpperCase()}${there.slice(1)} gives it here too: ${list(alsoOn)}.`;
  if (matches.length === 0) return `${theirs} None of the usual formulas gives it.`;
  if (matches.length > 4) return `${theirs} Of the ${USUAL.length} usual formulas ${matches.length} give it; they are listed at the end.`;
  return `${theirs} Of the usual formulas ${matches.length === 1 ? "one gives it" : `${matches.length} give it`}: ${list(matches)}.`;
}

// What a path works out before it sees a code: a value for each of CONSTANTS, null for one that it does not need.
const CONSTANTS = ["s₁", "s₂", "r = 1/s", "−s₁z₁", "−s₂z₂", "n", "m₁", "m₂"];
function constants(path, { s1, z1, s2, z2, s }, adder) {
  const none = [null, null, null];
  if (path === QNNPACK) return [...none, null, null, adder.shift, adder.m1, adder.m2];
  const products = path === BODY ? [fround(fround(s1) * -z1), fround(fround(s2) * -z2)] : [null, null];
  return [fround(s1), fround(s2), reciprocal(s), ...products, ...none];
}

function render({ model, el }) {
  let live = null;
  const set = setter(model);
  const message = uniqueId("message");
  const errors = new Map(); // field -> what is wrong with what was typed
  const inputs = Object.fromEntries(NAMES.map((name) => [name, html("input", {
    type: "text", inputmode: "decimal", autocomplete: "off", spellcheck: "false", "aria-label": WHAT[name], "aria-describedby": message,
    oninput: () => read(name),
  })]));
  const text = (value) => (value === null || value === undefined ? "" : String(value));
  const read = (name) => {
    const { value, error } = parse(name, inputs[name].value);
    if (error) errors.set(name, error);
    else errors.delete(name);
    inputs[name].setAttribute("aria-invalid", error ? "true" : "false");
    if (!error && model.get(name) !== value) set(name, value);
    show();
  };
  const follow = (name) => { // what Python set, unless it is what was typed
    if (parse(name, inputs[name].value).value !== model.get(name)) { inputs[name].value = text(model.get(name)); read(name); }
  };
  const row = (label, ...names) => [html("span", {}, label), ...names.map((name) => inputs[name])];
  const form = html("div", { class: "ql-form" },
    ...["", "scale", "zero point", "code"].map((label) => html("span", {}, label)),
    ...row("x₁", "s1", "z1", "q1"), ...row("x₂", "s2", "z2", "q2"), ...row("sum", "s", "z", "yours"),
    html("span", {}), html("span", {}), html("span", {}), html("span", {}, "↑ yours"));
  const wrong = html("p", { class: "ql-error", id: message, role: "alert" });

  const releases = picker(model, "release", "PyTorch’s release", RELEASE_NAMES, RELEASES);
  const table = comparison([]);
  const box = html("input", { type: "checkbox", onchange: () => set("bits", box.checked) });
  const bits = html("label", { class: "ql-check" }, box, " show the bits of each float32");
  const steps = comparison(["step", ...PATHS[RELEASES[0]].map(({ name }) => name)], "ql-wide");
  const usual = comparison(["formula", "gives"]);
  const more = html("details", { class: "ql-more" }, html("summary", {}, "What the usual formulas give"), usual.root);
  const results = html("div", { class: "ql-results" }, releases.root, table.root, steps.root, bits, more);
  const words = frame(el, form, wrong, results);
  el.querySelector(".ql-widget").insertBefore(words, results); // the verdict first

  const drawSteps = (p, withBits) => {
    const columns = PATHS[p.release].map((path) => {
      const adder = path.make(p);
      if (!adder) return [...CONSTANTS, ...STEPS].map(() => "refused");
      const single = path !== QNNPACK; // float32 numbers; the last two steps are integers
      const cell = (value, how, isFloat) => (value === null ? "–"
        : isFloat && withBits ? [number(value, path.digits), bits32(value), "ql-bits"] : [number(value, path.digits), how]);
      return [
        ...constants(path, p, adder).map((value) => cell(value, "", single)),
        ...addSteps(adder, p.q1, p.q2).map((value, k) => cell(value, [...path.how, "clamp"][k], single && k < 5)),
      ];
    });
    steps.update([...CONSTANTS, ...STEPS].map((step, k) => [step, step === "code" ? "torch" : "plain", ...columns.map((column) => column[k])]));
  };
  const show = oncePerFrame(() => {
    wrong.textContent = [...errors.values()].join(" ");
    results.hidden = errors.size > 0;
    if (errors.size > 0) { words.textContent = ""; return; }
    const p = Object.fromEntries([...NAMES, "release"].map((name) => [name, model.get(name) ?? null]));
    const withBits = model.get("bits");
    const found = answers(p);
    const mark = (code) => (p.yours === null ? "" : code === p.yours ? "= yours" : "≠");
    const rows = WHERE.map((where, i) => [where, "torch", found.codes[i] ?? "refused", mark(found.codes[i])]);
    if (live) {
      const { version, capability } = live;
      const own = codesOf(p, releaseLike(version));
      const says = (code, formula) => (code === formula ? "as its formula says" : `its formula says ${formula ?? "nothing"}`);
      rows.push(...[["body", `vector body, ${capability}`, capability === "DEFAULT" ? 2 : 0], ["tail", "tail", 1], ["qnnpack", "qnnpack", 3]].map(([key, where, path]) =>
        [[`PyTorch ${version}, running: ${where}`, says(live[key], own[path])], "plain", live[key] ?? "refused", mark(live[key])]));
    }
    releases.update();
    table.update(rows, [`PyTorch, ${RELEASE_NAMES[RELEASES.indexOf(p.release)]}`, "integer", "yours"]);
    box.checked = withBits;
    drawSteps(p, withBits);
    const first = [...found.usual].sort((a, b) => (b[1] === p.yours) - (a[1] === p.yours));
    usual.update(first.map(([name, code]) => [name, code === p.yours ? "ours" : "plain", `${sayAll(code)}${code === p.yours ? " = yours" : ""}`]));
    words.textContent = `${nearTie(p)} ${verdict(p, found)}`;
  });
  let rest = 0;
  const ask = asker(model, (answer) => { live = answer; show(); });
  const changed = () => {
    live = null;
    show();
    clearTimeout(rest); // a running PyTorch is asked when the typing rests
    rest = setTimeout(() => {
      const [s1, z1, q1, s2, z2, q2, s, z] = NAMES.slice(0, 8).map((name) => model.get(name));
      ask({ codes: [q1, q2], preset: [[s1, z1], [s2, z2], [s, z]] });
    }, 300);
  };
  for (const name of NAMES) {
    inputs[name].value = text(model.get(name));
    model.on(`change:${name}`, () => { follow(name); changed(); });
  }
  for (const name of ["bits", "release"]) model.on(`change:${name}`, show);
  changed();
  const end = followWidth(el, show);
  return () => { clearTimeout(rest); end(); };
}

export default { render };
