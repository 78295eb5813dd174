import { addSteps, bits32, clamp, RELEASE_NAMES, RELEASES, releaseLike } from "./arithmetic.js";
import { PATHS } from "./adding.js";
import { asker, comparison, drag, followWidth, frame, html, integer, legend, many, oncePerFrame, picker, picture, say, sayAll, setter, sketch, slider, typed } from "./kit.js";

export const CAPABILITY = ["DEFAULT", "AVX2", "AVX512"];
export const FORMAT = ["contiguous", "channels_last"];
export const BLOCK = 64; // elements: one turn of the vector loop
export const GRAIN = 32768; // elements: fewer are not worth a thread

const up = (a, b) => Math.ceil(a / b);

// n elements -> each thread's chunk of memory: where it starts, where its tail starts, where it stops.
export function chunksOf(n, threads) {
  const tasks = Math.max(1, Math.min(threads, up(n, GRAIN)));
  const share = Math.max(1, up(n, tasks));
  const chunks = [];
  for (let start = 0; start < n; start += share) {
    const stop = Math.min(start + share, n);
    chunks.push({ start, tail: stop - ((stop - start) % BLOCK), stop });
  }
  return chunks;
}

// The same as Machine.paths: [start, stop, "body" or "tail"], in memory order.
export const pathsOf = (n, threads) => chunksOf(n, threads).flatMap(({ start, tail, stop }) =>
  [[start, tail, "body"], [tail, stop, "tail"]].filter(([from, to]) => from < to));

// A position in memory -> channel and pixel (counted row by row), and back.
export const placeOf = (m, { channels, pixels }, last) =>
  last ? { c: m % channels, p: Math.floor(m / channels) } : { c: Math.floor(m / pixels), p: m % pixels };
export const positionOf = (c, p, { channels, pixels }, last) => (last ? p * channels + c : c * pixels + p);

// The pixels of channel c that lie in memory from start to stop: they follow one another too.
export function pixelsOf(start, stop, c, { channels, pixels }, last) {
  const pixel = (m) => clamp(last ? up(m - c, channels) : m - c * pixels, 0, pixels);
  return [pixel(start), pixel(stop)];
}

// The steps by which a path of a release adds two codes: both numbers, their sum, what gets rounded, the zero point if it is
// added only afterwards, and the code. `parameters` are scale and zero point of both inputs and of the sum.
export function stepsOfSum([qa, qb], parameters, release, capability, path) {
  const [[s1, z1], [s2, z2], [s, z]] = parameters;
  const [body, tail, inDefault] = PATHS[release];
  const { make } = path === "tail" ? tail : capability === "DEFAULT" ? inDefault : body;
  const [a, b, sum, scaled, shifted, whole, code] = addSteps(make({ s1, z1, s2, z2, s, z }), qa, qb);
  const after = shifted === null ? z : 0;
  return { a, b, sum, last: shifted ?? scaled, whole: whole - after, after, code };
}

const GUTTER = (width) => (width < 480 ? 50 : 70); // for addresses, left of the rows
const ROW = 15;
const HEAD = 20;
const GAP = 9; // between two chunks

// Which rows of memory are drawn: all of a small tensor; of a large one each chunk's first, its last block, its tail.
export function rowsOf(chunks) {
  const all = chunks.length === 1 && up(chunks[0].stop, BLOCK) <= 9;
  const rows = [];
  let y = 0;
  for (const [i, { start, tail, stop }] of chunks.entries()) {
    rows.push({ kind: "head", chunk: i, y, height: HEAD, start, stop });
    y += HEAD;
    const push = (kind, from, to, height = ROW) => {
      if (from < to) rows.push({ kind, chunk: i, y, height, start: from, stop: to });
      if (from < to) y += height;
    };
    if (all || tail - start <= 3 * BLOCK) for (let m = start; m < tail; m += BLOCK) push("body", m, m + BLOCK);
    else {
      push("body", start, start + BLOCK);
      push("skip", start + BLOCK, tail - BLOCK, 17);
      push("body", tail - BLOCK, tail);
    }
    push("tail", tail, stop);
    y += GAP;
  }
  return { rows, height: y - GAP };
}

// What the recording holds: for each capability, shape, format and number of threads, PyTorch's tails.
export function tailsRecorded({ counts, tails, all, sides }) {
  const known = new Map();
  let at = 0;
  counts.forEach((count, i) => {
    known.set(i, Array.from({ length: count }, (_, k) => [tails[2 * (at + k)], tails[2 * (at + k) + 1]]));
    at += count;
  });
  return (capability, channels, side, format, threads) =>
    known.get((((capability * all.length + channels) * sides.length + side) * FORMAT.length + format) * 4 + threads - 1);
}

function render({ model, el }) {
  const [all, sides, pairs, parameters] = ["all_channels", "sides", "pairs", "parameters"].map((name) => model.get(name));
  const values = typed(model.get("values"), Uint8Array);
  const tailsFor = tailsRecorded({ counts: typed(model.get("counts"), Uint8Array), tails: typed(model.get("tails"), Int32Array), all, sides });
  let live = null; // the running PyTorch's answer to the present state

  const state = () => {
    const [channelsAt, sideAt, format, threads, capabilityAt, release, pairAt] =
      ["channels", "side", "memory_format", "threads", "capability", "release", "pair"].map((name) => model.get(name));
    const side = sides[sideAt];
    const shape = { channels: all[channelsAt], side, pixels: side * side };
    const n = shape.channels * shape.pixels;
    const last = format === 1;
    const capability = CAPABILITY[capabilityAt];
    const chunks = chunksOf(n, threads);
    const place = Math.min(model.get("place"), n - 1);
    const chunk = chunks.findIndex(({ stop }) => place < stop);
    const releaseAt = RELEASES.indexOf(release);
    const at = 2 * ((releaseAt * CAPABILITY.length + capabilityAt) * pairs.length + pairAt);
    const theirs = {
      values: values.subarray(at, at + 2),
      tails: tailsFor(capabilityAt, channelsAt, sideAt, format, threads),
    };
    const path = place < chunks[chunk].tail ? "body" : "tail";
    return { sideAt, format, threads, shape, n, last, capability, release, chunks, place, chunk, path, theirs, pair: pairs[pairAt] };
  };
  const set = setter(model);
  const goTo = (m) => set("place", clamp(Math.round(m), 0, state().n - 1));

  const tint = (chunk) => ({ fill: "var(--ours)", opacity: chunk % 2 ? 0.46 : 0.26 });

  // Memory, 64 elements a row.
  const memory = picture("The tensor's memory, 64 elements a row: whole rows are vector bodies, each thread's last row its tail", (width) => {
    const { chunks, threads, place, theirs, n } = state();
    const { rows, height } = rowsOf(chunks);
    const left = GUTTER(width);
    const cell = (width - left - 2) / BLOCK;
    const { shapes, add } = sketch();
    const x = (k) => left + k * cell;
    const isTheirs = (m) => theirs.tails.some(([start, stop]) => start <= m && m < stop);
    for (const { kind, chunk, y, height: tall, start, stop } of rows) {
      if (kind === "head") {
        const blocks = (chunks[chunk].tail - start) / BLOCK;
        const rest = stop - chunks[chunk].tail;
        const who = chunks.length > 1 ? `thread ${chunk + 1}: ` : "";
        add("text", { x: left, y: y + 14, class: "ql-strong" }, `${who}${many(blocks, "block")}, ${rest === 0 ? "no tail" : `a tail of ${rest}`}`);
        continue;
      }
      if (kind === "skip") {
        add("line", { x1: left, x2: x(BLOCK), y1: y + tall / 2, y2: y + tall / 2, stroke: "var(--ours)", "stroke-width": 2, "stroke-dasharray": "1 6", "stroke-linecap": "round", opacity: 0.7 });
        const words = `${many((stop - start) / BLOCK, "more block")}`;
        add("text", { x: x(BLOCK / 2), y: y + tall / 2 + 4, "text-anchor": "middle", style: "paint-order: stroke; stroke: var(--card); stroke-width: 7px" }, words);
        if (start <= place && place < stop) {
          const cx = left + ((place - start) / (stop - start)) * (x(BLOCK) - left);
          add("circle", { cx, cy: y + tall / 2, r: 5, fill: "var(--card)", stroke: "var(--ink)", "stroke-width": 2 });
        }
        continue;
      }
      add("text", { x: left - 8, y: y + 11, class: "ql-number", "text-anchor": "end" }, integer(start));
      if (kind === "body") {
        for (const half of [0, 32]) add("rect", { x: x(half) + 0.5, y: y + 2, width: 32 * cell - 1, height: tall - 4, rx: 2, ...tint(chunk) });
      } else {
        add("rect", { x: x(0) + 0.5, y: y + 2.5, width: BLOCK * cell - 1, height: tall - 5, rx: 2, fill: "none", stroke: "var(--rule)", "stroke-dasharray": "2 3" });
        for (let m = start; m < stop; m += 1) add("rect", { x: x(m - start) + 0.4, y: y + 2, width: cell - 0.8, height: tall - 4, rx: 1, fill: "var(--tie)" });
      }
      for (let m = start; m < stop; m += 1) if (isTheirs(m)) add("circle", { cx: x(m - start + 0.5), cy: y + tall / 2, r: Math.min(2, cell * 0.32), fill: "var(--card)", stroke: "var(--torch)", "stroke-width": 1.1 });
      if (start <= place && place < stop) add("rect", { x: x(place - start) - 0.6, y: y + 0.4, width: cell + 1.2, height: tall - 0.8, rx: 1.5, fill: kind === "body" ? "var(--card)" : "none", stroke: "var(--ink)", "stroke-width": 2 });
    }
    if (threads > 1 && chunks.length === 1) add("text", { x: width, y: 14, "text-anchor": "end" }, width < 480 ? "one thread is enough" : `one thread: no more than ${integer(GRAIN)} elements`);
    return { height: height + 4, children: shapes };
  });
  drag(memory.root, () => (px, py) => {
    const { chunks } = state();
    const { rows } = rowsOf(chunks);
    const row = rows.filter(({ kind }) => kind !== "head").reduce((best, r) => (Math.abs(py - r.y - r.height / 2) < Math.abs(py - best.y - best.height / 2) ? r : best));
    const width = memory.root.clientWidth;
    const share = clamp((px - GUTTER(width)) / (width - GUTTER(width) - 2), 0, 0.9999);
    const m = row.kind === "skip" ? row.start + Math.floor(share * (row.stop - row.start)) : row.start + Math.floor(share * BLOCK);
    goTo(Math.min(m, row.stop - 1));
  });

  // The image, one tile a channel.
  const tiling = (width, { channels, side }) => {
    const columns = { 1: 1, 3: 3, 8: 4, 16: width < 480 ? 4 : 8 }[channels];
    const gap = width < 480 ? 8 : 12;
    const cap = { 1: 232, 3: 224, 8: 118, 16: 90 }[channels];
    let size = Math.min(cap, (width - (columns - 1) * gap) / columns);
    if (side < size) size = Math.min(size, 46 * side);
    return { columns, gap, size, cell: size / side, pitch: size + 20, rows: channels / columns };
  };
  // Pixels from..to of a tile as a path: a part of a row, whole rows, a part of a row.
  const region = (from, to, side, cell, x, y) => {
    const box = (row, a, b, rows = 1) => (a < b ? `M${x + a * cell} ${y + row * cell}h${(b - a) * cell}v${rows * cell}H${x + a * cell}Z` : "");
    const [first, end] = [Math.floor(from / side), Math.floor(to / side)];
    if (first === end) return box(first, from % side, to % side);
    return box(first, from % side, side) + (end > first + 1 ? box(first + 1, 0, side, end - first - 1) : "") + box(end, 0, to % side);
  };
  const image = picture("The same tensor as an image, one square a channel, with the elements of the tails marked", (width) => {
    const { shape, chunks, last, place, theirs } = state();
    const { channels, side } = shape;
    const { columns, gap, size, cell, pitch, rows } = tiling(width, shape);
    const { shapes, add } = sketch();
    for (let c = 0; c < channels; c += 1) {
      const [x, y] = [(c % columns) * (size + gap), 18 + Math.floor(c / columns) * pitch];
      add("text", { x, y: y - 5, class: "ql-number" }, channels === 1 ? "the only channel" : size < 60 ? c : `channel ${c}`);
      chunks.forEach(({ start, tail, stop }, i) => {
        const [body, rest] = [pixelsOf(start, tail, c, shape, last), pixelsOf(tail, stop, c, shape, last)];
        if (body[0] < body[1]) add("path", { d: region(...body, side, cell, x, y), ...tint(i) });
        if (rest[0] < rest[1]) add("path", { d: region(...rest, side, cell, x, y), fill: "var(--tie)", ...(cell < 3 ? { stroke: "var(--tie)", "stroke-width": 3 - cell, "stroke-linejoin": "round" } : {}) });
      });
      if (cell >= 5) {
        const grid = Array.from({ length: side + 1 }, (_, k) => `M${x} ${y + k * cell}h${size}M${x + k * cell} ${y}v${size}`).join("");
        add("path", { d: grid, stroke: "var(--card)", "stroke-width": Math.min(1.2, cell / 8), fill: "none" });
      }
      for (const [start, stop] of theirs.tails) {
        const [from, to] = pixelsOf(start, stop, c, shape, last);
        for (let p = from; p < to; p += 1) {
          add("circle", { cx: x + ((p % side) + 0.5) * cell, cy: y + (Math.floor(p / side) + 0.5) * cell, r: clamp(cell * 0.22, 0.8, 3), fill: "var(--card)", stroke: "var(--torch)", "stroke-width": clamp(cell * 0.12, 0.5, 1.4) });
        }
      }
    }
    const { c, p } = placeOf(place, shape, last);
    const [x, y] = [(c % columns) * (size + gap), 18 + Math.floor(c / columns) * pitch];
    const reach = Math.max(cell, 7);
    add("rect", { x: x + ((p % side) + 0.5) * cell - reach / 2, y: y + (Math.floor(p / side) + 0.5) * cell - reach / 2, width: reach, height: reach, rx: 1.5, fill: "none", stroke: "var(--ink)", "stroke-width": 2 });
    return { height: rows * pitch + 4, children: shapes };
  });
  drag(image.root, () => (px, py) => {
    const { shape, last } = state();
    const { columns, gap, size, cell, pitch, rows } = tiling(image.root.clientWidth, shape);
    const [column, row] = [clamp(Math.floor(px / (size + gap)), 0, columns - 1), clamp(Math.floor((py - 10) / pitch), 0, rows - 1)];
    const at = (v) => clamp(Math.floor(v / cell), 0, shape.side - 1);
    const p = at(py - 18 - row * pitch) * shape.side + at(px - column * (size + gap));
    goTo(positionOf(row * columns + column, p, shape, last));
  });

  const heading = (text) => html("p", { class: "ql-caption" }, text);
  const choices = {
    channels: picker(model, "channels", "Channels", all.map(String)),
    threads: picker(model, "threads", "Threads", ["1", "2", "3", "4"], [1, 2, 3, 4]),
    memory_format: picker(model, "memory_format", "Memory format", FORMAT),
    capability: picker(model, "capability", "Capability", CAPABILITY),
    release: picker(model, "release", "Release", RELEASE_NAMES, RELEASES),
    pair: picker(model, "pair", "Codes to add, everywhere", pairs.map(([a, b]) => `${a} + ${b}`)),
  };
  const sizes = slider({
    label: "size", steps: sides.length - 1, position: model.get("side"),
    show: (i) => `${sides[i]} × ${sides[i]}`, move: (i) => set("side", i),
  });
  const places = slider({ label: "element", steps: state().n - 1, position: state().place, show: integer, move: goTo });
  const table = comparison(["", "in the body", "in the tail"]);
  const words = frame(el,
    heading("In memory, 64 elements a row"), memory.root, heading("As an image"), image.root,
    legend([["ours", "▬"], "vector body"], [["tie", "■"], "scalar tail"], [["torch", "○"], "PyTorch’s tails, recorded"], [["ink", "□"], "the marked element"]),
    html("div", { class: "ql-controls" }, sizes.root, places.root),
    html("div", { class: "ql-choices" },
      choices.channels.root, choices.threads.root, choices.memory_format.root, choices.capability.root, choices.release.root),
    choices.pair.root, table.root);

  const show = oncePerFrame(() => {
    const now = state();
    memory.redraw();
    image.redraw();
    sizes.update(now.sideAt);
    places.input.max = now.n - 1;
    places.update(now.place);
    for (const one of Object.values(choices)) one.update();
    const sums = (release, capability) => ["body", "tail"].map((path) => stepsOfSum(now.pair, parameters, release, capability, path));
    const [body, tail] = sums(now.release, now.capability);
    const row = (name, kind, cell) => [name, kind, cell(body), cell(tail)];
    const float = (x) => [say(x, 9), bits32(x), "ql-bits"];
    const rows = [
      row(`${now.pair[0]} stands for`, "plain", ({ a }) => float(a)),
      row(`${now.pair[1]} stands for`, "plain", ({ b }) => float(b)),
      row("their sum", "plain", ({ sum }) => float(sum)),
      row("gets rounded", "plain", ({ last }) => float(last)),
      row("becomes", "plain", ({ whole, after }) => (after ? `${sayAll(whole)} + ${after}` : sayAll(whole))),
      row("this page", "ours", ({ code }) => code),
      [`PyTorch ${now.release}, recorded`, "torch", ...now.theirs.values],
    ];
    if (live) {
      const own = sums(releaseLike(live.version), live.capability).map(({ code }) => code);
      const says = String(own) === String(live.values) ? "as its formula says" : `its formula says ${own.join(" and ")}`;
      rows.push([[`PyTorch ${live.version}, running ${live.capability}`, says], "torch", ...live.values]);
    }
    table.update(rows);
    words.textContent = sentence(now, body.code, tail.code);
  });
  const ask = asker(model, (answer) => { live = answer; show(); });
  const changed = () => {
    live = null;
    const { shape, format, threads, pair } = state();
    ask({ channels: shape.channels, side: shape.side, memory_format: format, threads, pair });
    show();
  };
  for (const name of ["channels", "side", "memory_format", "threads", "capability", "release", "pair"]) model.on(`change:${name}`, changed);
  model.on("change:place", show);
  changed();
  return followWidth(el, show);
}

// The picture in words.
export function sentence({ shape, n, chunks, last, place, chunk, path, theirs, pair, capability, release, threads }, inBody, inTail) {
  const { channels, side } = shape;
  const tails = chunks.reduce((total, { tail, stop }) => total + stop - tail, 0);
  const parts = [`A tensor of shape (1, ${channels}, ${side}, ${side}) has ${many(n, "element")}.`];
  if (chunks.length > 1) parts.push(`${chunks.length} threads take up to ${integer(chunks[0].stop)} of them each.`);
  else if (threads > 1) parts.push(n === 1 ? "A second thread would have nothing to do." : "They are too few for a second thread.");
  if (n === 1) parts.push("It is in the tail.");
  else parts.push(tails === 0 ? "Nothing is left over: every element is in a body." : `${integer(tails)} of them ${tails === 1 ? "is" : "are"} in ${chunks.length > 1 ? "tails" : "the tail"}.`);
  const { c, p } = placeOf(place, shape, last);
  const where = `channel ${c}, row ${Math.floor(p / side)}, column ${p % side}`;
  parts.push(`The marked element is number ${integer(place)} in memory (${where})${chunks.length > 1 ? `, computed by thread ${chunk + 1}` : ""}, and lies in ${path === "body" ? "a body" : "a tail"}.`);
  const sum = `${pair[0]} + ${pair[1]}`;
  if (inBody === inTail) parts.push(`With ${capability} in ${release}, ${sum} is ${inBody} on both paths.`);
  else parts.push(`There ${sum} is ${path === "body" ? inBody : inTail}; in a ${path === "body" ? "tail" : "body"} it would be ${path === "body" ? inTail : inBody}.`);
  if (capability === "AVX512" && release !== "2.13") parts.push("PyTorch 1.13 and 2.0 took 128 elements at a time with AVX512, so that their tails were up to 127 long.");
  const ours = chunks.filter(({ tail, stop }) => tail < stop).map(({ tail, stop }) => [tail, stop]);
  const same = theirs.values[0] === inBody && theirs.values[1] === inTail && String(ours) === String(theirs.tails);
  parts.push(same ? `The recorded sums of PyTorch ${release} are the same, in the same places.` : `The recorded sums of PyTorch ${release} are others: a defect of this page.`);
  return parts.join(" ");
}

export default { render };
