import { numberOf } from "./finder_numbers.js";
import { many } from "./kit.js";

// Columns of numbers out of a text or NumPy's files: { names, columns }, names null where there are none, each column a Float64Array.

export class Malformed extends Error {}

// What a file holds, told by its first bytes: an .npz, an .npy, or a text.
export async function columnsOfFile(name, bytes, tell = () => {}) {
  if (bytes.length === 0) throw new Malformed(`${name} is empty.`);
  if (startsWith(bytes, "PK\x03\x04") || startsWith(bytes, "PK\x05\x06")) return columnsOfNpz(name, bytes);
  if (startsWith(bytes, "\x93NUMPY")) return columnsOfArray(name, name.replace(/\.npy$/i, ""), arrayOf(name, bytes));
  if (/\.np[yz]$/i.test(name)) throw new Malformed(`${name} is no file of NumPy’s: it does not begin as one.`);
  return columnsOfText(bytes, tell);
}

const startsWith = (bytes, text) => [...text].every((c, i) => bytes[i] === c.charCodeAt(0));
const textOf = (bytes) => new TextDecoder().decode(bytes);

// Several files side by side: each column by its file's name and its own.
export function sideBySide(tables) {
  if (tables.length === 1) return tables[0];
  const names = tables.flatMap(({ names, columns }, t) => columns.map((_, i) => names?.[i] ?? `file ${t + 1}, column ${i + 1}`));
  return sameLength({ names, columns: tables.flatMap(({ columns }) => columns) });
}

function sameLength(table) {
  const { names, columns } = table;
  const other = columns.findIndex((column) => column.length !== columns[0].length);
  if (other < 0) return table;
  throw new Malformed(`${names[other]} has ${columns[other].length} numbers, ${names[0]} has ${columns[0].length}.`);
}

// ---- text: columns parted by tabs, semicolons, commas or spaces, with a line of names or none, # before a comment ----

const [TAB, LF, CR, SPACE, HASH, PLUS, MINUS, POINT] = [9, 10, 13, 32, 35, 43, 45, 46];
const [COMMA, SEMICOLON] = [44, 59];

export function columnsOfText(bytes, tell = () => {}) {
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) throw new Malformed("The text is UTF-16; save it as UTF-8.");
  let at = startsWith(bytes, "\xef\xbb\xbf") ? 3 : 0;
  let [line, names, columns, separator, rows] = [0, null, null, 0, 0];
  let said = null; // the cells of a comment above the numbers, which may be their names
  while (at < bytes.length) {
    line += 1;
    let end = bytes.indexOf(LF, at);
    if (end < 0) end = bytes.length;
    const next = end + 1;
    while (end > at && isBlank(bytes[end - 1])) end -= 1; // a CR too; a tab at the end is an empty cell that nobody meant
    while (at < end && (bytes[at] === SPACE || (bytes[at] === TAB && separator !== TAB))) at += 1;
    if (at < end && bytes[at] === HASH) {
      if (!columns) said = textOf(bytes.subarray(at + 1, end)).trim();
    } else if (at < end) {
      if (!columns) {
        separator = separatorOf(bytes, at, end);
        const cells = cellsOf(textOf(bytes.subarray(at, end)), separator);
        columns = cells.map(() => new Float64Array(1024));
        if (cells.some(isName) && cells.every((cell) => cell === "" || isName(cell))) { // "1, 2, x" is malformed, no line of names
          names = cells;
          at = next;
          continue;
        }
        const above = said === null ? [] : cellsOf(said, separatorOfText(said));
        if (above.length === cells.length) names = above;
      }
      if (rows === columns[0].length) columns = columns.map((column) => larger(column));
      readLine(bytes, at, end, separator, columns, rows, line);
      rows += 1;
      if (rows % 65536 === 0) tell(next / bytes.length);
    }
    at = next;
  }
  if (rows === 0) throw new Malformed("There is no line of numbers.");
  return { names, columns: columns.map((column) => column.slice(0, rows)) };
}

const isBlank = (byte) => byte === SPACE || byte === TAB || byte === CR;
const isName = (cell) => cell !== "" && Number.isNaN(numberOf(cell)) && !/^nan$/i.test(cell);
const larger = (column) => {
  const twice = new Float64Array(2 * column.length);
  twice.set(column);
  return twice;
};
const separatorOfText = (text) => [TAB, SEMICOLON, COMMA].find((byte) => text.includes(String.fromCharCode(byte))) ?? SPACE;
const separatorOf = (bytes, at, end) => separatorOfText(textOf(bytes.subarray(at, end)));
const cellsOf = (text, separator) => (separator === SPACE ? text.trim().split(/\s+/) : text.split(String.fromCharCode(separator))).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1"));

function readLine(bytes, from, end, separator, columns, row, line) {
  let [at, k] = [from, 0];
  for (;;) {
    while (at < end && (bytes[at] === SPACE || (bytes[at] === TAB && separator !== TAB))) at += 1;
    const start = at;
    while (at < end && bytes[at] !== separator && !(separator === SPACE && bytes[at] === TAB)) at += 1;
    let last = at;
    while (last > start && isBlank(bytes[last - 1])) last -= 1;
    if (k < columns.length) columns[k][row] = cellNumber(bytes, start, last, line, k);
    k += 1;
    if (at >= end) break;
    at += 1;
  }
  if (k !== columns.length) throw new Malformed(`Line ${line} has ${many(k, "column")}, those above have ${columns.length}.`);
}

// The number in a cell. A short decimal, the usual case, is a whole number over a power of ten, which float64 divides as exactly as
// it reads; any other is left to the browser.
const TENS = Array.from({ length: 16 }, (_, i) => 10 ** i);
function cellNumber(bytes, from, to, line, k) {
  let [whole, point, at] = [0, -1, from];
  const signed = bytes[at] === MINUS || bytes[at] === PLUS;
  if (signed) at += 1;
  const start = at;
  for (; at < to; at += 1) {
    const digit = bytes[at] - 48;
    if (digit >= 0 && digit <= 9) whole = 10 * whole + digit;
    else if (bytes[at] === POINT && point < 0) point = at;
    else break;
  }
  const digits = at - start - (point < 0 ? 0 : 1);
  if (at === to && digits > 0 && digits < 16) {
    const value = point < 0 ? whole : whole / TENS[at - point - 1];
    return signed && bytes[from] === MINUS ? -value : value;
  }
  const text = String.fromCharCode.apply(null, bytes.subarray(from, Math.min(to, from + 400)));
  const value = text === "" ? NaN : Number(text);
  return Number.isNaN(value) ? oddNumber(textOf(bytes.subarray(from, to)), line, k) : value;
}
function oddNumber(text, line, k) {
  const value = numberOf(text.replace(/^"(.*)"$/, "$1"));
  if (text === "") throw new Malformed(`Line ${line}, column ${k + 1} is empty.`);
  if (/^"?[+-]?\d+,\d+"?$/.test(text)) throw new Malformed(`Line ${line}, column ${k + 1} is “${text.slice(0, 40)}”: write a decimal comma as a point.`);
  if (Number.isNaN(value) && !/^[+-]?nan$/i.test(text)) throw new Malformed(`Line ${line}, column ${k + 1} is not a number: “${text.slice(0, 40)}”.`);
  return value;
}

// ---- .npy: the numbers of one array, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html ----

const ARRAYS = {
  b1: Uint8Array, u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, u4: Uint32Array, i4: Int32Array,
  u8: BigUint64Array, i8: BigInt64Array, f2: Uint16Array, f4: Float32Array, f8: Float64Array,
};

// -> { values: Float64Array in the order of the file, shape, fortran }.
export function arrayOf(name, bytes) {
  const bad = (why) => new Malformed(`${name}: ${why}.`);
  if (bytes.length < 12) throw bad(`an .npy of ${bytes.length} bytes is cut off`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = bytes[6];
  if (version < 1 || version > 3) throw bad(`version ${version} of .npy is not known here; 1 to 3 are`);
  const [size, start] = version === 1 ? [view.getUint16(8, true), 10] : [view.getUint32(8, true), 12];
  if (start + size > bytes.length) throw bad("its header is cut off");
  const header = textOf(bytes.subarray(start, start + size));
  const descr = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const fortran = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1];
  if (descr === undefined && /'descr':\s*\[/.test(header)) throw bad("its dtype has fields; save each as an array of its own, by np.savez");
  if (descr === undefined || fortran === undefined || shape === undefined) throw bad("its header is not one of NumPy’s");
  const kind = /^([<>|=]?)([biuf][1248])$/.exec(descr);
  if (!kind || !ARRAYS[kind[2]]) throw bad(`the dtype ${descr} is not one of bool, int, uint and float`);
  const sizes = shape.split(",").map((text) => text.trim()).filter((text) => text !== "").map(Number);
  if (sizes.some((n) => !Number.isSafeInteger(n) || n < 0)) throw bad(`its shape is (${shape})`);
  const count = sizes.reduce((a, b) => a * b, 1);
  const of = ARRAYS[kind[2]];
  const [from, wide] = [start + size, of.BYTES_PER_ELEMENT];
  if (bytes.length - from !== count * wide) throw bad(`a shape of (${shape}) and ${descr} are ${count * wide} bytes, the file has ${bytes.length - from}`);
  const own = bytes.slice(from); // aligned
  if (kind[1] === ">" && wide > 1) swapEnds(own, wide);
  const raw = new of(own.buffer, 0, count);
  const values = kind[2] === "f2" ? Float64Array.from(raw, halfOf) : of === BigInt64Array || of === BigUint64Array ? exactly(raw, bad) : new Float64Array(raw);
  return { values, shape: sizes, fortran: fortran === "True" };
}

function swapEnds(bytes, wide) {
  for (let at = 0; at < bytes.length; at += wide) bytes.subarray(at, at + wide).reverse();
}

function exactly(raw, bad) {
  const values = new Float64Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) {
    values[i] = Number(raw[i]);
    if (!Number.isSafeInteger(values[i])) throw bad(`element ${i}, ${raw[i]}, is beyond 2⁵³`);
  }
  return values;
}

// The bits of a float16 -> its number.
function halfOf(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

// An array of two dimensions is a table, its shorter side the columns; any other is one column.
function columnsOfArray(file, name, { values, shape, fortran }) {
  if (values.length === 0) throw new Malformed(`${file} holds no numbers.`);
  if (shape.length !== 2) return { names: [name], columns: [fortran && shape.length > 2 ? inOrderOfC(values, shape) : values] };
  const wideTable = shape[1] > shape[0]; // a row for each column
  const [rows, count] = wideTable ? [shape[1], shape[0]] : shape;
  const side = wideTable !== fortran; // a column's numbers lie side by side
  const columns = Array.from({ length: count }, (_, k) =>
    (side ? values.slice(k * rows, (k + 1) * rows) : Float64Array.from({ length: rows }, (_, i) => values[i * count + k])));
  return { names: null, columns };
}

// Fortran's order of the elements -> C's.
function inOrderOfC(values, shape) {
  const strides = shape.map((_, d) => shape.slice(0, d).reduce((a, b) => a * b, 1));
  const place = shape.map(() => 0);
  return values.map(() => {
    const value = values[place.reduce((sum, at, d) => sum + at * strides[d], 0)];
    for (let d = shape.length - 1; d >= 0; d -= 1) {
      place[d] += 1;
      if (place[d] < shape[d]) break;
      place[d] = 0;
    }
    return value;
  });
}

// ---- .npz: a zip of .npy, stored or deflated ----

export async function columnsOfNpz(name, bytes) {
  const bad = (why) => new Malformed(`${name}: ${why}.`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end -= 1;
  if (end < 0) throw bad("the end of the archive is missing, as if it were cut off");
  let at = view.getUint32(end + 16, true);
  const tables = [];
  for (let i = 0; i < view.getUint16(end + 10, true); i += 1) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== 0x02014b50) throw bad(`entry ${i + 1} of the archive’s directory is malformed`);
    const [flags, method, packed, size] = [view.getUint16(at + 8, true), view.getUint16(at + 10, true), view.getUint32(at + 20, true), view.getUint32(at + 24, true)];
    const [nameSize, more, comment, local] = [view.getUint16(at + 28, true), view.getUint16(at + 30, true), view.getUint16(at + 32, true), view.getUint32(at + 42, true)];
    const entry = textOf(bytes.subarray(at + 46, at + 46 + nameSize));
    at += 46 + nameSize + more + comment;
    if (entry.endsWith("/")) continue;
    if (flags & 1) throw bad(`${entry} is encrypted`);
    if (method !== 0 && method !== 8) throw bad(`${entry} is packed by method ${method}; stored and deflated can be read`);
    if (local + 30 > bytes.length || view.getUint32(local, true) !== 0x04034b50) throw bad(`${entry} is not where the directory says`);
    const from = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    if (from + packed > bytes.length) throw bad(`${entry} is cut off`);
    const data = bytes.subarray(from, from + packed);
    const whole = method === 0 ? data : await inflated(data).catch(() => { throw bad(`${entry} cannot be unpacked`); });
    if (whole.length !== size) throw bad(`${entry} has ${whole.length} bytes, the directory says ${size}`);
    if (!startsWith(whole, "\x93NUMPY")) throw bad(`${entry} is no .npy`);
    const own = entry.replace(/\.npy$/, "");
    const table = columnsOfArray(`${name}, ${own}`, own, arrayOf(`${name}, ${own}`, whole));
    tables.push({ ...table, names: table.names ?? table.columns.map((_, k) => `${own}, column ${k + 1}`) });
  }
  if (tables.length === 0) throw bad("it holds no array");
  return sameLength({ names: tables.flatMap(({ names }) => names), columns: tables.flatMap(({ columns }) => columns) });
}

async function inflated(data) {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
