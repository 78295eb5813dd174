import { clamp, fma32, fround, reciprocal, RELEASE_NAMES, RELEASES, releaseLike, rint } from "./arithmetic.js";
import { asker, drag, followWidth, frame, html, legend, oncePerFrame, picker, picture, say, sayAll, setter, sketch, slider, typed } from "./kit.js";

// Six ways to write "divide by the scale, round, add the zero point": three round before they add, three after. `last` is
// the number that the rounding to an integer sees, `whole` the integer before the clamp.
const after = (name, how, last, digits = 9) => ({ name, how, last, whole: (y, z) => rint(y) + z, digits });
const before = (name, how, last) => ({ name, how, last, whole: rint, digits: 9 });
export const FORMULAS = [
  after("divide in float64, round, add z", "x / s", (x, s) => x / s, 16),
  after("divide in float32, round, add z", "x / s", (x, s) => fround(x / fround(s))),
  after("multiply, round, add z", "x·r", (x, s) => fround(x * reciprocal(s))),
  before("multiply, add z, round", "x·r + z", (x, s, z) => fround(fround(x * reciprocal(s)) + z)),
  before("multiply and add in float64", "x·r + z", (x, s, z) => fround(x * reciprocal(s) + z)),
  before("fused multiply-add", "x·r + z", (x, s, z) => fma32(x, reciprocal(s), z)),
];

// PyTorch's formula, by release: per tensor and per channel.
export const PYTORCH = { "2.14": [2, 2], "2.13": [5, 3] };

// What a formula makes of x: the last number before the integer, the integer, and the code it clamps to.
export function apply({ last, whole }, x, s, z) {
  const y = last(x, s, z);
  const free = whole(y, z);
  return { y, free, code: clamp(free, 0, 255) };
}

// The recorded cases, in their order: a name, and what there is to see.
const CASES = [
  ["no zero point", "A power of two divides without error, and there is no zero point to add. All six agree: the tie itself goes to the even code, and the next float32 to the odd one."],
  ["odd zero point", "At the tie, and nowhere else, it matters whether an odd zero point goes in before the rounding or after it: the even neighbour is another one."],
  ["divide or multiply", "The inverse r = 1/s is rounded, so x·r is not x/s. Here the product is a tie and the quotient is not."],
  ["scale in float64", "Python holds 1/255 in float64; every kernel takes its float32. Dividing by the better number gives the worse answer."],
  ["adding makes a tie", "Where x·r lies, float32 has small steps; where x·r + 127 lies, steps eight times as large. The sum rounds to the tie for several x in a row, and only formulas that add before they round notice."],
  ["one rounding or two", "The scale and zero point of the question’s x1. Whoever adds the zero point first can round product and sum together or one after the other: PyTorch 2.13 did the one per tensor, the other per channel."],
  ["float64 is not enough", "x·r + 128 does not even fit into float64. Rounded to float64 it becomes a float32 tie that it was not, and the second rounding goes the wrong way: one code that is not the fused multiply-add’s."],
  ["beyond the last code", "Code 256 does not exist. The formulas step at different places, and the clamp hides it."],
];
const SCHEMES = ["per tensor", "per channel"];
const REACH = 12;
const COUNT = 2 * REACH + 1;
const WIDE = 560; // from this width on, the names stand beside the dots
const ROOM = 58; // for the codes on the right
const HALO = "paint-order: stroke; stroke: var(--card); stroke-width: 4px; stroke-linejoin: round";

const signed = (step) => (step > 0 ? `+${step}` : sayAll(step));

function render({ model, el }) {
  const [scales, zeroPoints] = [model.get("scales"), model.get("zero_points")];
  const values = typed(model.get("values"), Float32Array);
  const codes = typed(model.get("codes"), Uint8Array);
  const recorded = (release, scheme, i) => {
    const row = (RELEASES.indexOf(release) * SCHEMES.length + scheme) * scales.length + i;
    return codes.subarray(row * COUNT, (row + 1) * COUNT);
  };
  let live = null; // the running PyTorch's answer to the present state

  const state = () => {
    const [i, step, scheme, release] = ["case", "step", "scheme", "release"].map((name) => model.get(name));
    const [s, z] = [scales[i], zeroPoints[i]];
    const x = values.subarray(i * COUNT, (i + 1) * COUNT);
    const torch = recorded(release, scheme, i);
    const low = Math.floor(x[REACH] / s + z); // the codes on either side: low, low + 1
    const tie = ((low + 0.5 - z) * s - x[REACH]) / (x[REACH + 1] - x[REACH]); // in steps from the middle
    const said = FORMULAS.map((f) => Array.from(x, (v) => apply(f, v, s, z)));
    return { i, step, scheme, release, s, z, x, torch, low, tie, said, at: step + REACH };
  };
  const set = setter(model);
  const goTo = (step) => set("step", clamp(Math.round(step), -REACH, REACH));

  const cases = picker(model, "case", "Where", CASES.map(([name]) => name));
  const schemes = picker(model, "scheme", "PyTorch’s codes", SCHEMES);
  const releases = picker(model, "release", "PyTorch’s release", RELEASE_NAMES, RELEASES);
  const steps = slider({
    label: "value x", steps: COUNT - 1, position: REACH, show: (p) => say(state().x[p], 9),
    move: (p) => goTo(p - REACH),
  });

  const plan = (width) => {
    const wide = width >= WIDE;
    const left = wide ? 246 : 8;
    const gap = (width - left - ROOM) / (COUNT - 1);
    return { wide, left, gap, column: (step) => left + (step + REACH) * gap };
  };
  const draw = (width) => {
    const { step, at, scheme, release, torch, low, tie, said } = state();
    const { wide, left, gap, column } = plan(width);
    const pitch = wide ? 40 : 42;
    const first = wide ? 74 : 90;
    const rowY = (row) => first + row * pitch;
    const above = live ? 2 : 1; // PyTorch's rows
    const bottom = rowY(FORMULAS.length + above - 1) + 16;
    const { shapes, add } = sketch();

    // the value's column, the axis, the exact tie
    add("rect", { x: column(step) - gap / 2, y: 20, width: gap, height: bottom - 20, rx: 5, fill: "var(--wash)" });
    for (let k = -REACH; k <= REACH; k += 1) {
      const length = k % 4 === 0 ? 9 : 5;
      add("line", { x1: column(k), x2: column(k), y1: 40, y2: 40 - length, stroke: "var(--soft)" });
      if (k % 4 === 0 && Math.abs(k - step) * gap > 26) add("text", { x: column(k), y: 16, class: "ql-number", "text-anchor": "middle" }, k === 0 ? "0" : signed(k));
    }
    add("text", { x: column(step), y: 16, class: "ql-number ql-strong", "text-anchor": "middle" }, step === 0 ? "0" : signed(step));
    if (wide) add("text", { x: 0, y: 16 }, "float32 steps from the middle");
    add("line", { x1: column(-REACH) - 6, x2: column(REACH) + 6, y1: 40, y2: 40, stroke: "var(--rule)" });
    if (Math.abs(tie) <= REACH) {
      add("line", { x1: column(tie), x2: column(tie), y1: 24, y2: bottom, stroke: "var(--tie)", "stroke-width": 1.6, "stroke-dasharray": "1 3.5", "stroke-linecap": "round" });
      add("path", { d: `M${column(tie)} 40 l-4.5 -7 h9 Z`, fill: "var(--tie)" });
    } else {
      const text = `${Math.round(Math.abs(tie))} steps to the exact tie`;
      add("text", { x: tie < 0 ? left : column(REACH), y: 56, "text-anchor": tie < 0 ? "start" : "end", style: "fill: var(--tie)" }, tie < 0 ? `← ${text}` : `${text} →`);
    }

    const heading = (row, name, value, color) => {
      const y = rowY(row);
      add("text", { x: wide ? 0 : 2, y: wide ? y - 2 : y - 14, class: "ql-strong", style: `fill: var(--${color}); ${HALO}` }, name);
      add("text", { x: wide ? 0 : width - 2, y: wide ? y + 14 : y - 14, class: "ql-number", "text-anchor": wide ? "start" : "end", style: HALO }, value);
    };
    const dot = (k, row, { high, wrong, color }) => {
      const [cx, cy] = [column(k), rowY(row)];
      const size = Math.min(4.6, gap * 0.36);
      const look = { fill: high ? `var(--${color})` : "var(--card)", stroke: `var(--${color})`, "stroke-width": 1.5 };
      if (wrong) add("path", { d: `M${cx} ${cy - size - 1.6} l${size + 1.6} ${size + 1.6} l${-size - 1.6} ${size + 1.6} l${-size - 1.6} ${-size - 1.6} Z`, ...look });
      else add("circle", { cx, cy, r: size, ...look });
    };
    const result = (row, text, color) => add("text", { x: width - 2, y: rowY(row) + 4.5, class: "ql-number ql-strong", "text-anchor": "end", style: `fill: var(--${color}); font-size: 13px` }, text);

    heading(0, `PyTorch ${release}, recorded`, `quantize_${SCHEMES[scheme].replace(" ", "_")}`, "torch");
    torch.forEach((code, j) => dot(j - REACH, 0, { high: code > low, wrong: false, color: "torch" }));
    result(0, torch[at], "torch");
    if (live) {
      const code = live.codes[scheme];
      const own = PYTORCH[releaseLike(live.version)][scheme];
      const right = code === said[own][at].code;
      heading(1, `PyTorch ${live.version}, running`, right ? "as its formula says" : "not as its formula says", "torch");
      dot(step, 1, { high: code > low, wrong: !right, color: right ? "torch" : "wrong" });
      result(1, code, "torch");
    }
    const rule = rowY(above - 1) + (wide ? 22 : 13);
    add("line", { x1: 0, x2: width, y1: rule, y2: rule, stroke: "var(--rule)" });
    FORMULAS.forEach(({ name, how, digits }, i) => {
      const row = i + above;
      said[i].forEach(({ free, code }, j) => {
        const wrong = code !== torch[j];
        dot(j - REACH, row, { high: free > low, wrong, color: wrong ? "wrong" : free !== code ? "clamped" : "ours" });
      });
      const { y, code } = said[i][at];
      const right = code === torch[at];
      heading(row, name, `${wide ? `${how} ` : ""}= ${say(y, digits)}`, "ink");
      result(row, right ? code : `≠ ${code}`, right ? "ours" : "wrong");
    });
    return { height: bottom + 4, children: shapes };
  };
  const { root, redraw } = picture("25 float32 values in a row and the code that each formula gives them", draw);
  drag(root, () => (px) => {
    const { left, gap } = plan(root.clientWidth);
    goTo((px - left) / gap - REACH);
  });

  const marks = html("div");
  const words = frame(el, cases.root, html("div", { class: "ql-choices" }, releases.root, schemes.root), root, marks,
    html("div", { class: "ql-controls" }, steps.root));
  const show = oncePerFrame(() => {
    const { i, release, torch, low, said, step, at } = state();
    redraw();
    steps.update(at);
    for (const one of [cases, schemes, releases]) one.update();
    const past = low >= 255;
    marks.replaceChildren(legend(
      [["ink", "○"], past ? `${low}, before the clamp` : `code ${low}`], [["ink", "●"], past ? `${low + 1}, before the clamp` : `code ${low + 1}`],
      [["wrong", "◇ ◆"], `not PyTorch ${release}’s code`], [["tie", "▾"], "the exact tie"], ...(past ? [[["clamped", "●"], "clamped"]] : []),
    ));
    const differ = said.filter((row) => row[at].code !== torch[at]).length;
    const never = FORMULAS.filter((_, row) => said[row].every(({ code }, j) => code === torch[j])).map(({ name }) => name);
    const here = differ === 0 ? `all six give PyTorch ${release}’s code` : `${differ} of six ${differ === 1 ? "gives" : "give"} another code than the ${torch[at]} of PyTorch ${release}`;
    const place = step === 0 ? "In the middle" : `${Math.abs(step)} float32 ${Math.abs(step) === 1 ? "step" : "steps"} ${step < 0 ? "below" : "above"} the middle`;
    const all = never.length === 6 ? "all six" : never.join("; ") || "none";
    words.textContent = `${CASES[i][1]} ${place}, ${here}. Right at all ${COUNT} values: ${all}.`;
  });
  const ask = asker(model, (answer) => { live = answer; show(); });
  const changed = () => {
    live = null;
    const { s, z, x, at } = state();
    ask({ x: x[at], scale: s, zero_point: z });
    show();
  };
  for (const name of ["case", "step", "scheme", "release"]) model.on(`change:${name}`, changed);
  changed();
  return followWidth(el, show);
}

export default { render };
