import { comparison, html, integer, uniqueId } from "./kit.js";
import { DTYPES } from "./arithmetic.js";
import { parse } from "./finder_numbers.js";
import { accumulator } from "./known_layers.js";

// An accumulator from a row of codes and a row of weights, summed exactly and as CPUs without VNNI sum it.

const SUMS = [
  ["exact", "", "a CPU with VNNI, qnnpack, and every sum in int32"],
  ["pairs clamped to 16 bits", "fbgemm", "fbgemm, x86 and onednn’s convolutions on a CPU without VNNI, if the weights stand in this order"],
  ["pairs clamped, the row in halves", "onednn", "onednn’s linear layer on a CPU without VNNI: rows of 257 to 767"],
];

// The sums of a row: { error } in words, or { sums }: one of each of SUMS.
export function sumsOf(codes, weights, zero) {
  const found = [["codes", "codes", codes, "quint8"], ["codes", "weights", weights, "qint8"], ["zero", "zero point of the input", zero, "quint8"]]
    .map(([kind, label, text, dtype]) => parse({ kind, label }, text, dtype));
  const wrong = found.find(({ error }) => error);
  if (wrong) return wrong;
  const [x, w, zx] = found.map(({ value }) => value);
  if (x.length !== w.length) return { error: `There are ${integer(x.length)} codes and ${integer(w.length)} weights.` };
  return { sums: SUMS.map(([, pairs]) => accumulator(x, w, { zx, pairs })) };
}

// `use(sum)` is told which sum is to be the accumulator.
export function rowOfCodes(use) {
  const field = (label, kind, value) => {
    const id = uniqueId("row");
    const input = html("input", { type: "text", id, autocomplete: "off", spellcheck: "false", value, oninput: () => show() });
    return [input, html("div", { class: `ql-find-field ql-find-row-${kind}` }, html("label", { for: id }, label), input)];
  };
  const [codes, codesField] = field(`codes of the input, ${DTYPES.quint8.join(" to ")}`, "codes", "");
  const [weights, weightsField] = field(`weights, ${DTYPES.qint8.join(" to ")}`, "codes", "");
  const [zero, zeroField] = field("zero point of the input", "zero", "0");
  const wrong = html("p", { class: "ql-error", role: "status" });
  const table = comparison([]);
  const uses = html("div", { class: "ql-find-acts" });
  function show() {
    const empty = codes.value.trim() === "" && weights.value.trim() === "";
    const { error, sums } = empty ? {} : sumsOf(codes.value, weights.value, zero.value);
    wrong.textContent = error ?? "";
    table.root.hidden = uses.hidden = !sums;
    if (!sums) return;
    const apart = SUMS.map((sum, i) => [...sum, sums[i]]).filter(([, , , sum], i) => i === 0 || sums.indexOf(sum) === i || i === 1);
    table.update(apart.map(([name, , whose, sum]) => [[name, whose], "plain", integer(sum)]), ["the sum", "accumulator"]);
    uses.replaceChildren(...apart.filter(([, , , sum], i) => apart.findIndex((one) => one[3] === sum) === i).map(([, , , sum]) =>
      html("button", { type: "button", class: "ql-button", onclick: () => use(sum) }, `Take ${integer(sum)}`)));
  }
  table.root.hidden = uses.hidden = true;
  return { root: html("details", { class: "ql-more" }, html("summary", {}, "The accumulator, from a row of codes and weights"), codesField, weightsField, zeroField, wrong, table.root, uses) };
}
