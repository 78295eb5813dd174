import { parse } from "./finder_numbers.js";
import { OPERATORS, refuses } from "./known.js";

// What a reader has put in: a text for each field of an operator, and what these texts mean. And its link.

// The fields of an operator: its parameters, its inputs, and yours.
export function fieldsOf(operator) {
  const { params, inputs, output } = OPERATORS[operator];
  const real = output === "float32";
  return [...params, ...inputs, { name: "yours", kind: real ? "float32" : "code", label: "yours", optional: true, free: !real }];
}
export const isTyped = ({ kind }) => kind !== "flag" && kind !== "dtype";

export const dtypeOf = (operator, p) => p[OPERATORS[operator].params.find(({ kind }) => kind === "dtype")?.name] ?? "quint8";

// The text of a number in a field.
export const textOf = (value) => (value === null || value === undefined ? "" : Array.isArray(value) ? value.join(" ") : String(value));

const EXAMPLES = { code: [36, 101], int32: [1234], float32: [0.125], codes: [[3, 200, 17, 90]] };

// Texts for the fields that have none: the operator's own values.
export function completed(operator, texts) {
  const { params, inputs } = OPERATORS[operator];
  const whole = { yours: "", ...texts };
  for (const field of params) whole[field.name] ??= isTyped(field) ? textOf(field.value) : field.value;
  inputs.forEach(({ name, kind, value }, i) => { whole[name] ??= textOf(value ?? EXAMPLES[kind][i] ?? EXAMPLES[kind][0]); });
  return whole;
}

// What the texts mean: { p, dtype, inputs, yours, errors }, errors a Map from a field's name to words, "" for all together.
export function understood(operator, texts) {
  const { params, inputs } = OPERATORS[operator];
  const [values, errors] = [{}, new Map()];
  for (const { name, value } of params.filter((field) => !isTyped(field))) values[name] = texts[name] ?? value;
  const dtype = dtypeOf(operator, values);
  for (const field of fieldsOf(operator).filter(isTyped)) {
    const { value, error } = parse(field, texts[field.name] ?? "", dtype);
    if (error) errors.set(field.name, error);
    values[field.name] = value;
  }
  const p = Object.fromEntries(params.map(({ name }) => [name, values[name]]));
  for (const { name, kind, label } of inputs) {
    const wrong = kind === "codes" && values[name] ? wrongWindow(p, values[name].length) : null;
    if (wrong) errors.set(name, `${label[0].toUpperCase()}${label.slice(1)}: ${wrong}`);
  }
  if (!params.some(({ name }) => errors.has(name))) {
    const wrong = refuses(operator, p);
    if (wrong) errors.set("", `${wrong[0].toUpperCase()}${wrong.slice(1)}.`);
  }
  return { p, dtype, inputs: inputs.map(({ name }) => values[name]), yours: values.yours ?? null, errors };
}

// What is wrong with a window of so many codes, null if nothing is: it has kh · kw.
export function wrongWindow({ kh, kw }, count) {
  return count === kh * kw || !(kh * kw > 0) ? null : `${count} stand there, a window of ${kh} × ${kw} has ${kh * kw}.`;
}

// Whether the parameters alone are in order: many numbers bring their own inputs.
export const paramsHold = (operator, { errors }) => ![...errors.keys()].some((name) => name === "" || OPERATORS[operator].params.some((field) => field.name === name));

// The state in the page's address: #find=add&s1=0.05&…. Other fragments are the page's own.
export function linkOf(operator, entries) {
  const said = Object.entries(entries).filter(([, text]) => text !== null && text !== undefined && text !== "");
  const escaped = (text) => encodeURIComponent(text).replaceAll("%2F", "/").replaceAll("%20", "+").replaceAll("%2C", ",");
  return `#find=${[operator, ...said.map(([name, text]) => `${name}=${escaped(text)}`)].join("&")}`;
}
export function stateOf(fragment) {
  if (!fragment.startsWith("#find=")) return null;
  const [operator, ...said] = fragment.slice(6).split("&");
  if (!Object.hasOwn(OPERATORS, operator)) return null;
  const entries = {};
  for (const one of said) {
    const at = one.indexOf("=");
    try {
      if (at > 0) entries[one.slice(0, at)] = decodeURIComponent(one.slice(at + 1).replaceAll("+", " "));
    } catch (error) {
      if (!(error instanceof URIError)) throw error; // a link that was cut: what can be read is read
    }
  }
  return { operator, entries };
}

// The texts of a link's entries; what it lacks, or has wrongly, is left to the operator.
export function textsOf(operator, entries) {
  const texts = {};
  for (const { name, kind, choices } of fieldsOf(operator)) {
    if (!(name in entries)) continue;
    if (kind === "flag") texts[name] = entries[name] === "true";
    else if (kind !== "dtype" || choices.includes(entries[name])) texts[name] = entries[name];
  }
  return texts;
}
