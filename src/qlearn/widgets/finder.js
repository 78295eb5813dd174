import { asker, atRest, become, choice, comparison, followWidth, html, integer, many, oncePerFrame, part, sayAll, uniqueId } from "./kit.js";
import { laneChoice, onPaper, partedWords, stepsTable, whoseTable } from "./finder_answers.js";
import { numbersForm } from "./finder_form.js";
import { manyBox } from "./finder_many.js";
import { neighbourhood } from "./finder_neighbours.js";
import { rangeOf, shortest } from "./finder_numbers.js";
import { copy } from "./finder_rest.js";
import { rowOfCodes } from "./finder_row.js";
import { completed, fieldsOf, isTyped, linkOf, paramsHold, stateOf, textOf, textsOf, understood } from "./finder_state.js";
import { finding, nearly, nearTie, same, verdict, verdictOfMany } from "./finder_words.js";
import { arithmetics, OPERATORS, recipe } from "./known.js";

// Find my wrong integer: an operator's numbers go in; PyTorch's integers, every number on the way, and whose arithmetic gives
// yours come out.

const HINT = "In a field, ↑ and ↓ go one on, with Shift ten. A scale may be a fraction, such as 1/255.";

function render({ model, el }) {
  const inPage = document.querySelector('script[type="application/vnd.jupyter.widget-view+json"]') !== null; // no notebook: the address is ours
  const start = Object.fromEntries(["operator", "values", "yours", "many", "bits"].map((name) => [name, model.get(name)]));
  const texts = {}; // what stands in each field, by its name
  const taken = { left: null, right: null }; // the computations that the reader chose to take apart, by their keys
  let lanes = []; // the known arithmetics with their numbers for what is shown
  let live = null; // what the running PyTorch says
  let rows = null; // the comparison of many rows: { rows, found, withYours }
  let at = null; // which of them is shown
  let own = false; // whether we set the model ourselves

  const operator = () => model.get("operator");
  const inRows = () => model.get("many");
  const means = () => understood(operator(), texts);
  const set = (name, value) => {
    if (JSON.stringify(model.get(name)) === JSON.stringify(value)) return;
    own = true;
    model.set(name, value);
    model.save_changes();
    own = false;
  };
  const shown = (code) => (code === null ? "nothing" : OPERATORS[operator()].output === "float32" ? shortest(code).replace("-", "−") : sayAll(code));

  let prepared = { key: "", lanes: [] }; // what depends on the parameters alone is made once
  const known = ({ p }) => {
    const key = JSON.stringify([operator(), p]);
    if (prepared.key !== key) prepared = { key, lanes: arithmetics(operator(), p) };
    return prepared.lanes;
  };

  // ---- the parts ----
  const form = numbersForm({ texts, now: () => ({ operator: operator(), many: inRows(), dtype: means().dtype }), changed: (name) => { if (name === null) show(); else changed(); } });
  const operators = html("select", { id: uniqueId("operator"), onchange: () => choose(operators.value) }, ...Object.entries(OPERATORS).map(([name, { title }]) => html("option", { value: name }, title)));
  const mode = choice({ label: "", options: ["One number", "Many numbers"], chosen: 0, choose: (i) => set("many", i === 1) || turned() });
  mode.root.setAttribute("aria-label", "how many numbers there are");
  mode.root.querySelector("legend").remove();
  const row = rowOfCodes((sum) => form.put("acc", sum));
  const wrong = html("p", { class: "ql-error", id: form.message, role: "alert" });
  const headline = html("p", { class: "ql-words ql-find-verdict" });
  const note = html("p", { class: "ql-find-note" });
  const voice = html("p", { class: "ql-find-hidden", "aria-live": "polite" });
  const whose = whoseTable(() => show());
  const near = neighbourhood((field, value) => form.put(field.name, value));
  const [left, right] = [["PyTorch’s", "left"], ["beside", "right"]].map(([label, side]) => laneChoice(label, (key) => { taken[side] = key; show(); touch(); }));
  const steps = stepsTable();
  const tie = html("p", { class: "ql-find-note" });
  const bits = html("input", { type: "checkbox", onchange: () => { set("bits", bits.checked); show(); touch(); } });
  const code = ["NumPy", "C99"].map((language) => [html("h4", {}, language), html("pre", { tabindex: "0" })]);
  const lines = html("details", { class: "ql-more", ontoggle: () => show() }, html("summary", {}, "The same in NumPy and in C, with these numbers"), ...code.flat());

  const rowTable = comparison([], "ql-find-counts");
  const restTable = comparison([], "ql-find-counts");
  const restOfRows = html("details", { class: "ql-more", ontoggle: () => show() }, html("summary", {}, "The other arithmetics"), restTable.root);
  const place = html("span", { class: "ql-find-place" });
  let walked = null; // the arithmetic from which the rows that are walked through differ, if the reader chose one
  const against = laneChoice("row that differs from", (key) => { walked = key; box.ask(key, -1, 1); });
  const hop = (direction, words) => html("button", { type: "button", class: "ql-button", onclick: () => box.ask(against.key(), at ?? -1, direction) }, words);
  const walk = html("div", { class: "ql-find-walk" }, place, hop(-1, "‹ previous"), hop(1, "next ›"), against.root);
  const box = manyBox({
    source: () => model.get("_esm"),
    asked: () => { const now = means(); return paramsHold(operator(), now) ? { operator: operator(), p: now.p, dtype: now.dtype } : null; },
    compared(result, withYours) {
      [rows, at, walked] = [result && { ...result, withYours }, null, null];
      if (rows) {
        const counted = counts();
        const first = nearly(counted, rows.rows) ?? counted.find((one) => one.first >= 0);
        box.ask(null, first?.first ?? 0, 0);
      }
      show();
      remember.ask();
    },
    row({ at: found, inputs, yours }) {
      if (found < 0) { tell("No further row differs."); return; }
      at = found;
      OPERATORS[operator()].inputs.forEach(({ name }, i) => { texts[name] = textOf(inputs[i]); });
      texts.yours = textOf(yours);
      changed();
    },
  });

  // ---- what to take along ----
  const told = html("span", { class: "ql-find-told", role: "status" });
  const silence = atRest(2500, () => { told.textContent = ""; });
  const tell = (words) => { told.textContent = words; silence.ask(); };
  const pytorchs = () => lanes.find(({ key }) => key === left.key());
  const beside = () => lanes.find(({ key }) => key === right.key());
  const copying = (words, what, make) => html("button", { type: "button", class: "ql-button", onclick: async () => tell((await copy(make())) ? `${what} copied.` : "The browser lets nothing be copied.") }, words);
  const written = () => recipe(operator(), left.key(), means().p);
  const takeAlong = html("div", { class: "ql-find-acts" },
    copying("Copy the finding", "The finding is", report), copying("Copy as NumPy", "The lines are", () => written().numpy), copying("Copy as C", "The lines are", () => written().c),
    ...(inPage ? [copying("Copy the link", "The link is", address)] : []));
  const acts = html("div", { class: "ql-find-acts ql-find-end" }, html("button", { type: "button", class: "ql-button", onclick: reset }, "Reset"), told);

  const fragment = () => {
    const entries = Object.fromEntries(fieldsOf(operator()).map((field) => [field.name, isTyped(field) ? texts[field.name]?.trim() : texts[field.name]]));
    return linkOf(operator(), { ...entries, at: taken.left, with: taken.right, bits: model.get("bits") ? 1 : null, many: inRows() ? 1 : null });
  };
  // Of a page that was opened from a file only its name, since the path is the reader's own.
  function address() {
    return (location.protocol === "file:" ? location.pathname.split("/").at(-1) : location.href.replace(/#.*$/, "")) + fragment();
  }
  function report() {
    const { inputs, yours } = means();
    const given = fieldsOf(operator()).filter(({ name }) => name !== "yours").map(({ name, label }) => `${label} ${texts[name]}`).join(", ");
    return finding({
      title: `PyTorch’s quantized ${OPERATORS[operator()].title}`, given, lanes, yours, show: shown,
      headline: inRows() && rows ? `${many(rows.rows, "row")}; row ${at + 1} is the one above. ${headline.textContent}` : headline.textContent,
      note: note.textContent, parted: beside() ? partedWords(pytorchs(), beside(), inputs) : "", link: inPage ? address() : "",
    });
  }

  const hint = html("p", { class: "ql-find-hint" }, HINT);
  const results = html("div", { class: "ql-results" }, html("div", { class: "ql-find-play" }, form.bar, near.root, hint), takeAlong,
    html("h3", {}, "Whose number"), whose.root, whose.more,
    html("h3", {}, "Every number on the way"), tie, html("div", { class: "ql-find-two" }, left.root, right.root), steps.root,
    html("label", { class: "ql-check" }, bits, " show the bits"), lines);
  const ofRows = html("div", {}, rowTable.root, restOfRows, walk);
  el.replaceChildren(html("div", { class: "ql-widget ql-finder" },
    html("div", { class: "ql-find-top" }, html("label", { for: operators.id }, "Operator"), operators, form.kinds, mode.root),
    form.root, row.root, box.root, wrong, headline, note, ofRows, results, acts, voice));

  // ---- what is seen ----
  function draw() {
    const now = means();
    const ready = inRows() ? paramsHold(operator(), now) && rows !== null && at !== null : now.errors.size === 0;
    form.draw(now.errors);
    wrong.textContent = [...now.errors].filter(([name]) => !inRows() || name === "" || OPERATORS[operator()].params.some((field) => field.name === name)).map(([, words]) => words).join(" ");
    box.root.hidden = !inRows();
    row.root.hidden = inRows() || !OPERATORS[operator()].inputs.some(({ kind }) => kind === "int32");
    for (const one of [headline, note, results]) one.hidden = !ready;
    ofRows.hidden = !ready || !inRows() || !rows.withYours;
    bits.checked = model.get("bits");
    if (!ready) return;
    lanes = known(now).map((lane) => ({ ...lane, code: lane.of(...now.inputs) ?? null }));
    if (inRows()) drawRows();
    const [said, more] = inRows() && rows.withYours ? verdictOfMany(lanes, rows.rows) : verdict(lanes, now.yours, shown);
    become(headline, said.map((one) => (typeof one === "string" ? one : part("b", { class: one.torch ? "ql-of-torch" : "ql-of-ours" }, one.torch ?? one.ours))));
    const none = !inRows() && OPERATORS[operator()].output === "code" && now.yours !== null ? outside(now) : "";
    note.textContent = none || more;

    left.update(lanes.filter(({ kind }) => kind === "pytorch"), taken.left);
    const others = lanes.filter(({ key }) => key !== left.key());
    right.update(others, taken.right ?? explanation(others, now.yours)?.key);
    whose.update(lanes, now.yours, live, shown);
    steps.update(pytorchs(), beside(), now.inputs, model.get("bits"));
    tie.textContent = nearTie(onPaper(lanes, now.inputs));
    const { inputs } = OPERATORS[operator()];
    const field = inRows() || OPERATORS[operator()].output !== "code" ? null : [form.chosen(), ...inputs].find((one) => inputs.includes(one) && one.kind !== "codes") ?? null;
    near.root.parentNode.hidden = inRows();
    near.update(field, inputs.indexOf(field), now.inputs, pytorchs(), beside(), now.dtype);
    if (lines.open) {
      const { numpy, c } = written();
      [numpy, c].forEach((text, i) => { code[i][1].textContent = text; });
    }
  }
  function outside({ dtype, yours }) {
    const [low, high] = rangeOf({ kind: "code" }, dtype);
    return yours < low || yours > high ? `${dtype} has the codes ${sayAll(low)} to ${high}: ${sayAll(yours)} is not one of them.` : "";
  }
  // What to lay beside PyTorch's: whatever gives yours, in all rows if there are many; or else differs from it.
  function explanation(others, yours) {
    const all = others.find(({ differ }) => differ === 0) ?? (inRows() && rows?.withYours ? nearly(others, rows.rows) : null);
    if (all) return all;
    const theirs = pytorchs()?.code;
    const giving = others.filter((lane) => yours !== null && lane.code !== null && same(lane.code, yours));
    return giving.find(({ kind }) => kind === "runtime") ?? giving[0] ?? others.find((lane) => lane.code !== null && !same(lane.code, theirs)) ?? others[0];
  }
  function counts(of = known(means())) {
    const by = new Map(rows.found.map((one) => [one.key, one]));
    return of.map((lane) => ({ ...lane, differ: by.get(lane.key).many, first: by.get(lane.key).first }));
  }
  function drawRows() {
    lanes = counts(lanes);
    const near = lanes.some(({ differ }) => differ === 0) ? null : nearly(lanes, rows.rows);
    const first = ({ key, kind, differ }) => kind === "pytorch" || differ === 0 || key === near?.key;
    const row = ({ name, words, kind, differ, first: where }) => [words ? [name, words] : name, differ === 0 ? "ours" : kind === "pytorch" ? "torch" : "plain", differ === 0 ? "none" : integer(differ), where < 0 ? "" : integer(where + 1)];
    const head = ["whose", "rows that differ", "first"];
    rowTable.update(lanes.filter(first).map(row), head);
    restOfRows.hidden = lanes.every(first);
    if (restOfRows.open) restTable.update(lanes.filter((lane) => !first(lane)).sort((a, b) => a.differ - b.differ).map(row), head);
    const differing = lanes.filter(({ differ }) => differ > 0);
    against.update(differing, walked ?? near?.key);
    walk.classList.toggle("ql-find-still", differing.length === 0);
    place.textContent = `Row ${integer(at + 1)}: ${OPERATORS[operator()].inputs.map(({ name, label }) => `${label} ${texts[name]}`).join(", ")}${texts.yours ? `; yours ${texts.yours}` : ""}`;
  }
  const show = oncePerFrame(draw);

  // ---- what follows a change ----
  const compareAgain = atRest(250, () => box.compare());
  const ask = asker(model, (answer) => { live = answer; show(); });
  const asking = atRest(300, () => ask({ operator: operator(), values: model.get("values") }));
  let touched = false; // the address is left alone until the reader has changed something
  const remember = atRest(400, () => {
    voice.textContent = headline.hidden ? "" : `${headline.textContent} ${note.textContent}`;
    if (inPage && touched) history.replaceState(history.state, "", fragment());
  });
  const touch = () => { touched = true; remember.ask(); };
  function changed() {
    live = null;
    const { p, inputs, yours, errors } = means();
    if (errors.size === 0 && inputs.flat().every(Number.isFinite)) { // what JSON holds
      set("values", { ...p, ...Object.fromEntries(OPERATORS[operator()].inputs.map(({ name }, i) => [name, inputs[i]])) });
      set("yours", yours);
      asking.ask();
    }
    show();
    touch();
  }
  form.root.addEventListener("input", () => { if (inRows()) compareAgain.ask(); });
  form.kinds.addEventListener("change", () => { if (inRows()) compareAgain.ask(); });

  function fill(now) { // all texts anew
    for (const name of Object.keys(texts)) delete texts[name];
    Object.assign(texts, completed(operator(), now));
    operators.value = operator();
    form.build();
    box.show(operator());
  }
  function choose(name) {
    Object.assign(taken, { left: null, right: null });
    [rows, at] = [null, null];
    set("operator", name);
    fill({ ...Object.fromEntries(fieldsOf(name).filter((field) => fits(field)).map((field) => [field.name, texts[field.name]])) });
    changed();
    if (inRows()) box.place();
  }
  const fits = ({ name }) => texts[name] !== undefined && name !== "yours";
  function turned() {
    mode.update(inRows() ? 1 : 0);
    form.build();
    if (inRows()) box.place();
    changed();
  }
  const textsOfModel = ({ operator: name, values, yours }) => ({
    ...Object.fromEntries(fieldsOf(name).filter((field) => field.name in values).map((field) => [field.name, isTyped(field) ? textOf(values[field.name]) : values[field.name]])), yours: textOf(yours),
  });
  function restore() {
    const state = inPage ? stateOf(location.hash) : null;
    if (!state && inPage && location.hash.startsWith("#find=")) tell("The link names no operator of this page.");
    if (!state) return false;
    const { entries } = state;
    set("operator", state.operator);
    set("bits", entries.bits === "1");
    set("many", entries.many === "1");
    Object.assign(taken, { left: entries.at ?? null, right: entries.with ?? null });
    fill(textsOf(state.operator, entries));
    turned();
    if (inRows() && !box.has()) box.remind();
    return true;
  }
  function reset() {
    for (const name of ["operator", "many", "bits"]) set(name, start[name]);
    Object.assign(taken, { left: null, right: null });
    box.clear();
    fill(textsOfModel(start));
    turned();
    remember.end();
    touched = false;
    if (inPage) history.replaceState(history.state, "", location.pathname + location.search);
  }
  for (const name of ["operator", "values", "yours", "many", "bits"]) {
    model.on(`change:${name}`, () => {
      if (own) return;
      if (name === "operator") choose(operator());
      else if (name === "many") turned();
      else if (name === "bits") show();
      else { fill({ ...texts, ...textsOfModel({ operator: operator(), values: model.get("values"), yours: model.get("yours") }) }); changed(); }
    });
  }

  fill(textsOfModel(start));
  mode.update(inRows() ? 1 : 0);
  if (!restore()) changed();
  else if (el.getBoundingClientRect().top > innerHeight / 2) el.scrollIntoView();
  touched = false;
  draw();
  addEventListener("hashchange", restore);
  const end = followWidth(el, show);
  return () => {
    for (const one of [compareAgain, asking, remember, silence]) one.end();
    removeEventListener("hashchange", restore);
    box.end();
    end();
  };
}

export default { render };
