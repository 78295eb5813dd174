import { integer, many, power, say, sayAll } from "./kit.js";

// What the finder says, in sentences, and two computations side by side.

const listed = (names, and = "and") => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} ${and} ${names.at(-1)}`);
const few = (names) => (names.length <= 3 ? listed(names) : `${names.slice(0, 2).join(", ")} and ${names.length - 2} more`);
const distinct = (codes) => [...new Set(codes)];

// The same number, NaN too.
export const same = (a, b) => a === b || (Number.isNaN(a) && Number.isNaN(b));

// A mistake is called by its name in quotes.
const called = ({ name, kind }) => (kind === "mistake" ? `“${name}”` : name);
const sentence = (words) => (words ? `${words[0].toUpperCase()}${words.slice(1)}.` : "");

// A headline is a list of texts and of numbers, { torch: "96" } or { ours: "97" }.
export const wordsOf = (headline) => headline.map((one) => one.torch ?? one.ours ?? one).join("");

// Whose integer yours is: the headline, and a line under it. `lanes` are the known arithmetics, each with its `code`, null where
// it refuses.
export function verdict(lanes, yours, show = sayAll) {
  const theirs = lanes.filter(({ kind, code }) => kind === "pytorch" && code !== null);
  if (theirs.length === 0) return [["PyTorch refuses these numbers."], ""];
  const codes = distinct(theirs.map(({ code }) => code));
  const numbers = codes.flatMap((code, i) => [...(i === 0 ? [] : [i === codes.length - 1 ? " or " : ", "]), { torch: show(code) }]);
  const gives = ["PyTorch gives ", ...numbers, codes.length === 1 ? "." : ", by its path."];
  if (yours === null) return [gives, "Type the number that you got under “yours”, and see whose it is."];
  const mine = [...gives, " Yours, ", { ours: show(yours) }, ","];
  const paths = theirs.filter(({ code }) => same(code, yours));
  if (paths.length === theirs.length) return [[...mine, " is right."], theirs.length === 1 ? sentence(theirs[0].words || theirs[0].name) : "Every engine, CPU and release in the list gives it."];
  if (paths.length > 0) {
    const which = paths.length === 1 ? paths[0].name : `${paths.length} of its ${theirs.length} paths`;
    return [[...mine, " is one of them."], sentence(`it is that of ${which}. Engine, CPU, release, and the element's place in memory choose the path`).replace("'", "’")];
  }
  const others = lanes.filter(({ kind, code }) => kind !== "pytorch" && code !== null && same(code, yours));
  if (others.length === 0) return [[...mine, " is what none of the known arithmetics gives."], "What to do then is told below the frame."];
  const first = others.find(({ kind }) => kind === "runtime") ?? others[0];
  if (others.length === 1) return [[...mine, ` is what ${called(first)} gives.`], sentence(first.words)];
  const rest = others.filter((one) => one !== first);
  if (others.length === 2) return [[...mine, ` is what ${called(first)} gives, and ${called(rest[0])}.`], "With more numbers, one of the two may fall away."];
  return [[...mine, ` is what ${called(first)} gives, and ${rest.length} others.`], "One number has several explanations; of many numbers few are left."];
}

// Of many rows: the arithmetic that all but a few follow, null if none comes so near.
export const nearly = (lanes, rows) => {
  const nearest = lanes.reduce((a, b) => (b.differ < a.differ ? b : a));
  return nearest.differ > 0 && nearest.differ <= rows / 100 ? nearest : null;
};

// The same for many rows: each of `lanes` has `differ`, in how many rows it gives another number than yours, and `first`.
export function verdictOfMany(lanes, rows) {
  const theirs = lanes.filter(({ kind }) => kind === "pytorch");
  const right = theirs.filter(({ differ }) => differ === 0);
  const all = rows === 1 ? "The one row is" : `All ${integer(rows)} rows are`;
  if (right.length === theirs.length) return [[`${all} PyTorch’s, on every path.`], ""];
  if (right.length > 0) return [[`${all} PyTorch’s.`], `By ${few(right.map(({ name }) => name))}. On its other paths some are others.`];
  const [least, most] = [Math.min, Math.max].map((end) => end(...theirs.map(({ differ }) => differ)));
  const counted = least === most ? many(least, "row") : `${integer(least)} to ${integer(most)} rows`;
  const differs = ["PyTorch differs from yours in ", { torch: counted }, ` of ${integer(rows)}${least === most ? "." : ", by its path."}`];
  const others = lanes.filter(({ kind, differ }) => kind !== "pytorch" && differ === 0);
  if (others.length === 0) {
    const near = nearly(lanes, rows);
    if (!near) return [[...differs, " No known arithmetic gives ", { ours: "yours" }, ", nor comes near."], "Is each column what it is taken for, and each scale and zero point right? What else to do is told below the frame."];
    const where = near.differ === 1 ? `row ${integer(near.first + 1)}` : `${integer(near.differ)} rows, the first of them row ${integer(near.first + 1)}`;
    const whose = near.kind === "pytorch" ? `PyTorch’s (${near.name})` : `what ${called(near)} gives`;
    const before = near.kind === "pytorch" ? ["All of "] : [...differs, " All of "];
    return [[...before, { ours: "yours" }, ` are ${whose} but ${where}.`], sentence(near.kind === "pytorch" ? "" : near.words)];
  }
  const first = others.find(({ kind }) => kind === "runtime") ?? others[0];
  const explained = [...differs, " All of ", { ours: "yours" }, ` are what ${called(first)} gives`];
  if (others.length === 1) return [[...explained, "."], sentence(first.words)];
  return [[...explained, ` (so ${others.length === 2 ? "does" : "do"} ${few(others.filter((one) => one !== first).map(called))}).`], "These rows do not tell them apart."];
}

// How far a real number in steps of the result is from a tie, in words; "" where there is none.
export function nearTie(v) {
  if (v === null || !(Math.abs(v) < 2 ** 31)) return "";
  const off = v - (Math.floor(v) + 0.5);
  const said = `On paper the result is ${say(v, 10)} of its steps`;
  if (Math.abs(off) < 4e-15 * Math.max(1, Math.abs(v))) return `${said}: a tie, as far as float64 can tell.`;
  return `${said}, ${power(Math.abs(off))} ${off < 0 ? "below" : "above"} a tie.`;
}

// Two lists of steps as one list of pairs: steps of one name stand side by side, null where one computation has no such step.
export function stepPairs(one, other) {
  const pairs = [];
  let [i, j] = [0, 0];
  const later = (steps, from, { name }) => steps.slice(from).some((step) => step.name === name);
  while (i < one.length || j < other.length) {
    if (i < one.length && j < other.length && one[i].name === other[j].name) pairs.push([i++, j++]);
    else if (i < one.length && (j >= other.length || !later(other, j, one[i]))) pairs.push([i++, null]);
    else pairs.push([null, j++]);
  }
  return pairs;
}

const TOLD = 8; // explanations in a report

// Plain text for a bug report.
export function finding({ title, given, lanes, yours, headline, note, parted, link, show = sayAll }) {
  const theirs = lanes.filter(({ kind, code }) => kind === "pytorch" && code !== null);
  const who = (code) => theirs.filter((lane) => same(lane.code, code)).map(({ name }) => name).join("; ");
  const explained = lanes.filter(({ kind, code }) => kind !== "pytorch" && code !== null && yours !== null && same(code, yours));
  return [
    `${title}: ${given}`,
    ...distinct(theirs.map(({ code }) => code)).map((code) => `PyTorch: ${show(code)} (${who(code)})`),
    yours === null ? "" : `Mine: ${show(yours)}`,
    headline, note,
    ...explained.slice(0, TOLD).map(({ name, words }) => `  ${name}${words ? `: ${words}` : ""}`),
    explained.length > TOLD ? `  and ${explained.length - TOLD} others` : "",
    parted, link,
  ].filter(Boolean).join("\n");
}
