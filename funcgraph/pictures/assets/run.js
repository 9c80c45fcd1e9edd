// The recorded run: what is known after so many steps. Nothing here touches the page.

const data = JSON.parse(document.getElementById("data").textContent);

// The events in their order: all steps forth, the cotangent of the result, all steps back.
const forward = data.forward.map(([path, turn]) => ({ kind: "forward", path, turn }));
const backward = data.backward.map(([path, turn]) => ({ kind: "backward", path, turn }));
const events = Object.keys(data.arrivals).length
  ? [...forward, { kind: "seed", path: "", turn: "" }, ...backward]
  : forward;
const seeded = forward.length + 1; // how many events are over once the result has its cotangent

// For each step how many events are over when it is; for each turn of a graph, when it begins.
const done = { forward: {}, backward: {} };
const begun = { forward: {}, backward: {} };
events.forEach(({ kind, path, turn }, k) => {
  if (kind === "seed") return;
  done[kind][`${path}|${turn}`] = k + 1;
  const home = `${path.split("/").slice(0, -1).join("/")}|${turn}`;
  begun[kind][home] ??= k + 1;
});

const state = {
  position: events.length, // how many events are over
  selected: null, // the id of a node
  path: null, // the equation whose details are shown
  key: null, // or the variable
  focus: null, // a path and a turn of a loop around it, if the reader chose one
  shown: new Map(), // by path of a graph: which turn is shown now
};

const currentEvent = () => (state.position > 0 ? events[state.position - 1] : null);
// Before anything was stepped through, and after the last step, no step is the current one.
const isStepping = () => state.position < events.length;

// The loops around an equation or a graph: the paths of their equations, from the outermost one.
function loopsAround(path) {
  const depth = (run) => (data.runs[run]?.[0] ? data.runs[run][0].split(",").length : 0);
  const parts = path.split("/");
  const found = [];
  for (let n = 2; n <= parts.length; n += 2) {
    const [run, outer] = [parts.slice(0, n), parts.slice(0, n - 2)].map((part) => part.join("/"));
    if (depth(run) > depth(outer)) found.push(parts.slice(0, n - 1).join("/"));
  }
  return found;
}

// Which turn of a graph is shown: the one that the reader or the current step is in, or the last
// one; null if the graph did not run in it.
function shownTurn(home) {
  if (home === "") return "";
  if (!state.shown.has(home)) state.shown.set(home, findTurn(home));
  return state.shown.get(home);
}

function findTurn(home) {
  const turns = data.runs[home] ?? [];
  const focus = state.focus ?? (isStepping() ? currentEvent() : null);
  if (!focus) return turns.at(-1) ?? null;
  const [loops, around] = [loopsAround(home), loopsAround(focus.path)];
  let common = 0;
  while (common < loops.length && loops[common] === around[common]) common += 1;
  const start = focus.turn.split(",").slice(0, common);
  const fits = turns.filter((turn) => start.every((part, k) => turn.split(",")[k] === part));
  return fits.at(-1) ?? null;
}

const homeOf = (path) => path.split("/").slice(0, -1).join("/");
const turnOfPath = (path) => shownTurn(homeOf(path));

// --- values

function isKnown(key) {
  const v = data.vars[key];
  const turn = shownTurn(v.home);
  if (v.maker !== null) return (done.forward[`${v.maker}|${turn}`] ?? Infinity) <= state.position;
  if (v.home === "") return true;
  return (begun.forward[`${v.home}|${turn}`] ?? Infinity) <= state.position;
}

// The summary of a value in the turn that is shown; null before it is computed.
function valueOf(key) {
  if (!isKnown(key)) return null;
  const found = data.values[key]?.[shownTurn(data.vars[key].home)];
  return found === undefined || found === null ? null : data.summaries[found];
}

// --- cotangents

// What has reached a variable on the way back so far, in this order.
function arrivalsOf(key) {
  const { home } = data.vars[key];
  const turn = shownTurn(home);
  const rows = data.arrivals[key]?.[turn] ?? [];
  const start = home === "" ? seeded : (begun.backward[`${home}|${turn}`] ?? Infinity);
  const at = (sender) => (sender === "" ? start : (done.backward[`${sender}|${turn}`] ?? Infinity));
  return rows
    .filter(([sender]) => at(sender) <= state.position)
    .map(([sender, place, value, total]) => ({
      sender, place, value: data.summaries[value], total: data.summaries[total],
    }));
}

// How many contributions reach a variable in the end.
const arrivalsInAll = (key) =>
  (data.arrivals[key]?.[shownTurn(data.vars[key].home)] ?? []).length;

function cotangentOf(key) {
  const rows = arrivalsOf(key);
  return rows.length ? rows[rows.length - 1].total : null;
}

// --- words

const nameOf = (atom) => (typeof atom === "string" ? data.vars[atom].name : atom[0]);
const numberOf = (path) => {
  const parts = path.split("/").map((part) => (/^\d+$/.test(part) ? Number(part) + 1 : null));
  return parts.filter((part) => part !== null).join(".");
};
// A number, or the norm of an array: the label of an edge, which the layout has made room for.
const labelOf = (key) => {
  const s = valueOf(key);
  const shape = data.vars[key].shape.join("×");
  return s === null ? shape : [shape, s.label].filter(Boolean).join("  ");
};
const grouped = (n) => n.toLocaleString("en-US").replaceAll(",", "\u202f");
const shapeOf = (s) => (s.shape.length ? `${s.dtype}[${s.shape.join(",")}]` : s.dtype);

// The turn of the innermost loop, in words.
const turnText = (turn) => (turn ? `iteration ${turn.split(",").at(-1)}` : "");
