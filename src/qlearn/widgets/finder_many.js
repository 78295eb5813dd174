import { atRest, html, many, uniqueId } from "./kit.js";
import { placed } from "./finder_rows.js";
import { OPERATORS } from "./known.js";

// The box for many numbers: paste columns, drop or choose files; a worker reads and compares them.

const LONG = 20_000; // characters; a longer text is not put into the field, where it would freeze the page

// A worker from the widget's own source, which holds `serve`. A Blob's address works from file:, too.
function started(source, heard) {
  const script = `${source.replace(/^export\s+default .*$/m, "")}\nserve(globalThis);`;
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const worker = new Worker(address);
  worker.onmessage = ({ data }) => heard(data);
  worker.onerror = ({ message }) => heard({ kind: "malformed", why: `The comparison failed: ${message}` });
  return { worker, end: () => { worker.terminate(); URL.revokeObjectURL(address); } };
}

// `source()` is the widget's JavaScript; `asked()` the operator with its valid parameters { operator, p, dtype }, or null;
// `compared(result)` hears { rows, found }, or null when there is none; `row({ at, inputs, yours })` hears a row.
export function manyBox({ source, asked, compared, row, yoursLabel = "yours" }) {
  let [running, id, reading, table, places] = [null, 0, null, null, null];
  const post = (message, transfer = []) => {
    running ??= started(source(), hear);
    id += 1;
    running.worker.postMessage({ id, ...message }, transfer);
  };

  const typed = atRest(250, () => readText(text.value));
  const field = uniqueId("rows");
  const text = html("textarea", {
    id: field, rows: 4, spellcheck: "false", autocomplete: "off", class: "ql-find-text",
    oninput: () => typed.ask(),
    onpaste: (event) => {
      const pasted = event.clipboardData?.getData("text/plain") ?? "";
      if (pasted.length <= LONG) return;
      event.preventDefault();
      readText(pasted);
    },
  });
  const chooser = html("input", { type: "file", multiple: true, accept: ".csv,.tsv,.txt,.npy,.npz", class: "ql-find-hidden", tabindex: "-1", "aria-hidden": "true", onchange: () => { readFiles([...chooser.files]); chooser.value = ""; } });
  const choose = html("button", { type: "button", class: "ql-button", onclick: () => chooser.click() }, "Choose files");
  const label = html("label", { for: field }, "");
  const drop = html("div", {
    class: "ql-find-drop",
    ondragover: (event) => { event.preventDefault(); drop.classList.add("ql-find-over"); },
    ondragleave: () => drop.classList.remove("ql-find-over"),
    ondrop: (event) => { event.preventDefault(); drop.classList.remove("ql-find-over"); readFiles([...event.dataTransfer.files]); },
  }, label, text, html("p", { class: "ql-find-files" }, choose, chooser, html("span", {}, "or drop them here: .csv, .npy, .npz. They are read in this page and sent nowhere.")));

  const bar = html("progress", { max: 1, value: 0 });
  const barText = html("span", {});
  const cancel = html("button", { type: "button", class: "ql-button", onclick: () => {
    const half = reading === null;
    if (half) post({ kind: "stop" });
    else forget();
    progress.hidden = true;
    say("Cancelled.");
    again.hidden = !half;
  } }, "Cancel");
  const again = html("button", { type: "button", class: "ql-button", hidden: true, onclick: () => compare() }, "Compare again");
  const progress = html("p", { class: "ql-find-progress", hidden: true }, bar, barText, cancel);
  const status = html("p", { class: "ql-find-status" });
  const wrong = html("p", { class: "ql-error", role: "alert" });
  const columns = html("div", { class: "ql-find-columns" });
  const say = (words, error = "") => { status.textContent = words; wrong.textContent = error; again.hidden = true; };

  function forget() {
    running?.end();
    [running, reading, table, places] = [null, null, null, null];
    columns.replaceChildren();
    compared(null);
  }

  function read(name, files) {
    reading = name;
    table = null;
    compared(null);
    say("Reading …");
    post({ kind: "read", files }, files.map(({ bytes }) => bytes.buffer));
  }
  const readText = (pasted) => {
    if (pasted.trim() === "") { forget(); say(""); return; }
    read("The pasted text", [{ name: "The text", bytes: new TextEncoder().encode(pasted) }]);
  };
  async function readFiles(files) {
    if (files.length === 0) return;
    text.value = "";
    say("Reading …");
    read(files.map(({ name }) => name).join(", "), await Promise.all(files.map(async (file) => ({ name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) }))));
  }

  function hear(said) {
    if (said.id !== undefined && said.id !== id) return;
    if (said.kind === "progress") {
      progress.hidden = false;
      bar.value = said.share;
      barText.textContent = `${said.of} … ${Math.floor(100 * said.share)} %`;
      return;
    }
    if (said.kind === "row") { row(said); return; }
    progress.hidden = true;
    if (said.kind === "malformed") {
      if (reading) { table = null; columns.replaceChildren(); }
      reading = null;
      say("", said.why);
      compared(null);
    } else if (said.kind === "table") {
      table = { ...said, name: reading };
      reading = null;
      place();
    } else if (said.kind === "compared") {
      say(statusOf());
      compared(said, places.yours !== null);
    }
  }
  const statusOf = () => (table ? `${table.name}: ${many(table.rows, "row")}, ${many(table.first.length, "column")}.` : "");

  // Which column is what, told by their names or their order; the reader may choose otherwise.
  function place() {
    if (!table) return;
    const { operator } = asked() ?? {};
    if (!operator) return;
    places = placed(operator, table.names, table.first.length);
    const called = table.first.map((_, i) => table.names?.[i] ?? `column ${i + 1}`);
    const select = (what, at, none, set) => {
      const one = html("select", { "aria-label": `column of ${what}`, onchange: () => { set(one.value === "" ? null : Number(one.value)); compare(); } },
        ...(none ? [html("option", { value: "" }, "none")] : []), ...called.map((name, i) => html("option", { value: i }, name)));
      one.value = at ?? "";
      return html("label", {}, html("span", {}, what), one);
    };
    columns.replaceChildren(
      ...OPERATORS[operator].inputs.map((input, i) => (input.kind === "codes"
        ? html("label", {}, html("span", {}, input.label), html("output", {}, places.inputs[i] ? `${places.inputs[i].length} columns` : "none"))
        : select(input.label, places.inputs[i], true, (at) => { places.inputs[i] = at; }))),
      select(yoursLabel, places.yours, true, (at) => {
        places.yours = at;
        OPERATORS[operator].inputs.forEach((input, i) => {
          if (input.kind === "codes") places.inputs[i] = table.first.map((_, k) => k).filter((k) => k !== at && !places.inputs.includes(k));
        });
      }));
    compare();
  }

  function compare() {
    const question = asked();
    if (!table || !places || !question) { if (table) { post({ kind: "stop" }); progress.hidden = true; compared(null); } return; }
    say(statusOf());
    post({ kind: "compare", ...question, places });
  }

  function show(operator) {
    const names = [...OPERATORS[operator].inputs.map(({ label: one }) => one), yoursLabel];
    label.textContent = `Paste columns: ${names.join(", ")}`;
    text.setAttribute("placeholder", OPERATORS[operator].inputs.map(({ name }) => name).concat("yours").join(", "));
  }

  return {
    root: html("div", { class: "ql-find-many" }, drop, status, again, progress, wrong, columns),
    show, place, compare, forget,
    has: () => table !== null,
    ask: (key, after, step) => { if (running && table) running.worker.postMessage({ id, kind: "row", key, after, step }); },
    remind: () => say("A link holds the scales and zero points, and no rows: paste or choose them again."),
    clear: () => { text.value = ""; forget(); say(""); progress.hidden = true; },
    end: () => { typed.end(); running?.end(); },
  };
}
