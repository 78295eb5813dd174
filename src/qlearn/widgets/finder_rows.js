import { columnsOfFile, Malformed, sideBySide } from "./finder_files.js";
import { rangeOf } from "./finder_numbers.js";
import { wrongWindow } from "./finder_state.js";
import { arithmetics, OPERATORS } from "./known.js";

// Many numbers: which column is which input, and how many rows differ from each known arithmetic. It runs in a worker.

// The places of an operator's inputs among the columns, and of yours, null where nothing says so; an input that is a whole
// window of codes has a list of places. By name where there are names, else in order.
export function placed(operator, names, count) {
  const { inputs } = OPERATORS[operator];
  const window = inputs.findIndex(({ kind }) => kind === "codes");
  const free = new Set(Array(count).keys());
  const take = (at) => { free.delete(at); return at; };
  const called = (...words) => {
    const at = names?.findIndex((name, i) => free.has(i) && words.includes(name.trim().toLowerCase())) ?? -1;
    return at < 0 ? null : take(at);
  };
  let yours = called("yours", "mine", "ours", "actual", "got", "out", "output", "result", "y", "q");
  const places = inputs.map(({ name, label }, i) => (i === window ? null : called(name, label.toLowerCase())));
  const open = places.filter((at, i) => at === null && i !== window).length;
  if (yours === null && free.size > (window < 0 ? open : open + 1)) yours = take(window < 0 ? [...free][open] : [...free].at(-1));
  inputs.forEach((_, i) => { if (places[i] === null && i !== window && free.size > 0) places[i] = take([...free][0]); });
  if (window >= 0) places[window] = free.size > 0 ? [...free] : null;
  return { inputs: places, yours };
}

// What is wrong with a place for every column, in words; null if nothing is.
export function misplaced(operator, { inputs }) {
  const missing = OPERATORS[operator].inputs.find((_, i) => inputs[i] === null || inputs[i] === undefined);
  return missing ? `No column is the ${missing.label}.` : null;
}

// The first number that an input or the output cannot be, in words.
function unfit(operator, table, places, dtype) {
  const { inputs, output } = OPERATORS[operator];
  for (const [i, input] of inputs.entries()) {
    const range = rangeOf(input, dtype);
    for (const at of [places.inputs[i]].flat()) {
      const column = table.columns[at];
      const row = range ? column.findIndex((x) => !(x >= range[0] && x <= range[1] && Number.isInteger(x))) : -1;
      if (row >= 0) return `Row ${row + 1}: the ${input.label} is ${column[row]}; it must be a whole number from ${range[0]} to ${range[1]}.`;
    }
  }
  if (places.yours === null || output !== "code") return null;
  const row = table.columns[places.yours].findIndex((x) => !Number.isInteger(x));
  return row < 0 ? null : `Row ${row + 1}: yours is ${table.columns[places.yours][row]}; it must be a whole number.`;
}

// Numbers that come again and again: { distinct, index }, index[i] the place of column[i] among the distinct ones. Null if most
// are new.
export function repeated(column) {
  const places = new Map();
  const index = new Int32Array(column.length);
  const most = column.length / 2;
  for (let i = 0; i < column.length; i += 1) {
    let at = places.get(column[i]);
    if (at === undefined) {
      at = places.size;
      if (at > most) return null;
      places.set(column[i], at);
    }
    index[i] = at;
  }
  return { distinct: [...places.keys()], index };
}

// How to compute many rows: what is given an arithmetic's `of` gives a function of the row. What can be looked up is: of two codes
// there are 65,536 pairs, and of single numbers few are new.
function byRow(inputs, columns, dtype) {
  const table = (of, size, keyOf, compute) => {
    const known = new Float64Array(size);
    const there = new Uint8Array(size);
    return (i) => {
      const key = keyOf(i);
      if (there[key] === 0) {
        there[key] = 1;
        known[key] = compute(of, i) ?? NaN;
      }
      return known[key];
    };
  };
  if (inputs[0].kind === "codes") {
    const [window] = columns;
    const codes = window.map(() => 0);
    return (of) => (i) => {
      for (let k = 0; k < codes.length; k += 1) codes[k] = window[k][i];
      return of(codes);
    };
  }
  const [a, b] = columns;
  if (b) {
    const low = rangeOf(inputs[0], dtype)[0];
    return (of) => table(of, 65536, (i) => (a[i] - low) * 256 + b[i] - low, (f, i) => f(a[i], b[i]));
  }
  const few = repeated(a);
  if (few) return (of) => table(of, few.distinct.length, (i) => few.index[i], (f, i) => f(a[i]));
  return (of) => (i) => of(a[i]);
}

// A table of columns, asked about an operator and its parameters: { rows, count(k, from, to), next(k, after), row(i) }.
export function question({ operator, p, dtype, table, places }) {
  const { inputs, output } = OPERATORS[operator];
  const window = places.inputs.find(Array.isArray);
  const short = window ? wrongWindow(p, window.length) : null;
  const wrong = misplaced(operator, places) ?? (short && `Columns of the window: ${short}`) ?? unfit(operator, table, places, dtype);
  if (wrong) throw new Malformed(wrong);
  const single = (column, { kind }) => (kind === "float32" ? Float32Array.from(column) : column);
  const columns = inputs.map((input, i) => (Array.isArray(places.inputs[i]) ? places.inputs[i].map((at) => table.columns[at]) : single(table.columns[places.inputs[i]], input)));
  const rows = table.columns[0].length;
  const yours = places.yours === null ? null : output === "float32" ? Float32Array.from(table.columns[places.yours]) : table.columns[places.yours];
  const rowOf = byRow(inputs, columns, dtype);
  const known = arithmetics(operator, p).map(({ key, of }) => ({ key, at: rowOf(of) }));
  const differs = (code, i) => code !== yours[i] && !(Number.isNaN(code) && Number.isNaN(yours[i]));
  return {
    rows, known,
    // How many of the rows from..to differ from arithmetic k, and the first that does, or -1.
    count(k, from, to) {
      let [many, first] = [0, -1];
      if (!yours) return { many, first };
      const { at } = known[k];
      for (let i = from; i < to; i += 1) {
        if (differs(at(i), i)) {
          if (many === 0) first = i;
          many += 1;
        }
      }
      return { many, first };
    },
    // The next row after one that differs from arithmetic k, in either direction; -1 if there is none.
    next(k, after, step) {
      for (let i = after + step; yours && i >= 0 && i < rows; i += step) if (differs(known[k].at(i), i)) return i;
      return -1;
    },
    row: (i) => ({ inputs: columns.map((column) => (Array.isArray(column) ? column.map((one) => one[i]) : column[i])), yours: yours ? yours[i] : null }),
  };
}

const BATCH = 65536;
const rest = () => new Promise((go) => { setTimeout(go); });

// A worker's life: it reads files, compares, and finds rows. Each message has an id, which the answers carry; a later one that
// reads or compares ends an earlier comparison.
export function serve(scope) {
  let [table, asked, last] = [null, null, 0];
  const answer = {
    async read({ files }, tell) {
      asked = null;
      const tables = [];
      for (const [f, { name, bytes }] of files.entries()) {
        tables.push(await columnsOfFile(name, bytes, (share) => tell({ kind: "progress", of: "Reading", share: (f + share) / files.length })));
      }
      table = sideBySide(tables);
      const { names, columns } = table;
      return { kind: "table", names, rows: columns[0].length, first: columns.map((column) => column[0]) };
    },
    async compare(message, tell, current) {
      asked = question({ ...message, table });
      const { rows, known } = asked;
      const found = known.map(({ key }) => ({ key, many: 0, first: -1 }));
      let since = performance.now();
      for (let k = 0; k < known.length; k += 1) {
        for (let from = 0; from < rows; from += BATCH) {
          const { many, first } = asked.count(k, from, Math.min(from + BATCH, rows));
          found[k].many += many;
          if (found[k].first < 0) found[k].first = first;
          if (performance.now() - since > 40) {
            tell({ kind: "progress", of: "Comparing", share: (k + Math.min(from + BATCH, rows) / rows) / known.length });
            await rest();
            if (!current()) return null;
            since = performance.now();
          }
        }
      }
      return { kind: "compared", rows, found };
    },
    async row({ key, after, step }) {
      const at = step === 0 ? after : asked.next(asked.known.findIndex((one) => one.key === key), after, step);
      return at < 0 ? { kind: "row", at } : { kind: "row", at, ...asked.row(at) };
    },
  };
  scope.onmessage = async ({ data: { id, kind, ...message } }) => {
    if (kind !== "row") last = id;
    if (kind === "stop") return;
    const tell = (said) => scope.postMessage({ id, ...said });
    try {
      const said = await answer[kind](message, tell, () => last === id);
      if (said) tell(said);
    } catch (error) {
      tell({ kind: "malformed", why: error.message });
      if (!(error instanceof Malformed)) throw error;
    }
  };
}
