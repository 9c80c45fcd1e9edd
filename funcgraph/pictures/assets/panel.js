// The panel beside the graph: all that is known of what is selected.

const panel = document.getElementById("panel");

const heading = (text, name = "") => make("h3", { class: name }, text);
const faint = (text) => make("p", { class: "faint" }, text);
const facts = (pairs) => table([], pairs.map((cells) => ({ cells })));
const link = (text, action) => (
  make("button", { class: "link", type: "button", onclick: action }, text)
);
const links = (children) => make("div", { class: "links" }, ...children);

const linkToStep = (path, text) => link(text, () => selectPath(path));
const linkToEquation = (path) => linkToStep(path, data.equations[path]?.text ?? path);
const linkToVar = (key) => link(data.vars[key].name, () => selectVar(key));

function readersOf(keys) {
  const paths = new Set(keys.flatMap((key) => data.vars[key].readers.map(([path]) => path)));
  return paths.size ? [heading("read by"), links([...paths].map(linkToEquation))] : [];
}

// --- values

function valueSection(key, title) {
  const value = valueOf(key);
  const { name, type } = data.vars[key];
  return [
    heading(title, "forth"),
    make("p", { class: "mono" }, `${name}: ${value ? shapeOf(value) : type}`),
    value ? numbers(value) : faint("not computed yet"),
  ];
}

// --- cotangents

function senderOf({ sender }, home) {
  if (sender === "") return home === "" ? "the result" : "outside of the graph that is run";
  return linkToStep(sender, `step ${numberOf(sender)}`);
}

// How the cotangent of a variable comes together: contributions and their running sum.
function cotangentSection(key, title) {
  const rows = arrivalsOf(key);
  const all = arrivalsInAll(key);
  const { home } = data.vars[key];
  if (!all) return [];
  const count = all === 1 ? "" : ` (${rows.length} of ${all} contributions)`;
  const out = [heading(title + count, "back")];
  if (!rows.length) return [...out, faint("nothing has come back yet")];
  out.push(numbers(rows[rows.length - 1].total, "back"));
  if (all === 1) return [...out, make("p", {}, "from ", senderOf(rows[0], home))];
  const event = currentEvent();
  out.push(table(["from", "contribution", "sum so far"], rows.map((a) => ({
    now: isStepping() && event?.path === a.sender,
    cells: [senderOf(a, home), a.value.label, a.total.label],
  }))));
  return out;
}

// What a step does on the way back: local derivatives, contributions, sums at the arguments.
function sweepSection(path) {
  const e = data.equations[path];
  const locals = data.locals[path]?.[turnOfPath(path)] ?? [];
  const sends = ({ atom, place }) => (
    typeof atom === "string" && (locals[place] || e.rules[place] || arrivalsInAll(atom))
  );
  const rows = e.in.map((atom, place) => ({ atom, place })).filter(sends).map(({ atom, place }) => {
    const sent = arrivalsOf(atom).find((a) => a.sender === path && a.place === place);
    const rule = new Set([e.rules[place], locals[place]].filter(Boolean));
    const local = make("span", { class: "wrap" }, [...rule].join(" = "));
    return { cells: [nameOf(atom), local, sent?.value.label ?? "", sent?.total.label ?? ""] };
  });
  if (!rows.length) return [];
  return [
    heading("local derivatives and what they send back", "back"),
    table(["by", "local derivative", "contribution", "sum so far"], rows),
  ];
}

// --- what is selected

function turnSlider(home) {
  const turns = data.runs[home] ?? [];
  if (turns.length < 2) return null;
  const at = turns.indexOf(shownTurn(home));
  const range = make("input", {
    id: "turn", type: "range", min: 0, max: turns.length - 1, "aria-label": "Iteration of the loop",
    oninput: () => chooseTurn(home, turns[Number(range.value)]),
  });
  range.value = at;
  const text = make("output", { class: "mono" }, turnText(turns[at]) || "not in this iteration");
  return make("div", { class: "turn" }, range, text);
}

function equationView(path) {
  const e = data.equations[path];
  const event = currentEvent();
  const isBack = isStepping() && event?.kind === "backward" && event.path === path;
  const name = (key) => (e.out.length > 1 ? `result ${nameOf(key)}` : "result");
  const values = e.out.flatMap((key) => valueSection(key, name(key)));
  const back = e.out.flatMap((key) => cotangentSection(key, `cotangent of ${nameOf(key)}`));
  back.push(...sweepSection(path));
  const costs = [["FLOPs", grouped(e.flops)], ["bytes moved", grouped(e.bytes)]];
  const reads = e.in.map((atom) => (
    typeof atom === "string" ? linkToVar(atom) : make("span", { class: "mono" }, atom[0])
  ));
  return [
    make("h2", {}, e.text),
    e.line ? faint([e.line, e.scope ? `in ${e.scope}` : ""].filter(Boolean).join("  ")) : null,
    e.source ? make("pre", {}, e.source) : null,
    turnSlider(homeOf(path)),
    ...(isBack ? [...back, ...values] : [...values, ...back]),
    heading("operation"),
    facts([["operation", e.op], ...e.attrs, ...costs]),
    heading("reads"),
    links(reads),
    ...readersOf(e.out),
  ];
}

function varView(key) {
  const { name, kind, home } = data.vars[key];
  return [
    make("h2", {}, name),
    faint(kind),
    turnSlider(home),
    ...valueSection(key, "value"),
    ...cotangentSection(key, home === "" && kind === "input" ? "gradient" : "cotangent"),
    ...readersOf([key]),
  ];
}

function groupView(paths) {
  return [make("h2", {}, `${paths.length} operations`), links(paths.map(linkToEquation))];
}

const INTRODUCTION = "Select an operation for its details. Step through the run with the arrow "
  + "keys: forwards, values are computed; backwards, cotangents are sent from the result to the "
  + "inputs, and what reaches an input adds up to its gradient.";

function overview() {
  const top = Object.entries(data.equations).filter(([path]) => !path.includes("/"));
  const sum = (name) => grouped(top.reduce((total, [, e]) => total + e[name], 0));
  const rows = data.inputs.map(({ key, varies }) => ({
    cells: [
      linkToVar(key), data.vars[key].type, valueOf(key)?.label ?? "",
      varies ? cotangentOf(key)?.label ?? "" : "none",
    ],
  }));
  return [
    make("h2", {}, document.title),
    make("p", {}, INTRODUCTION),
    heading("inputs"),
    table(["input", "type", "value", "gradient"], rows),
    heading("work"),
    facts([
      ["operations", grouped(top.length)], ["FLOPs", sum("flops")], ["bytes moved", sum("bytes")],
    ]),
  ];
}

function panelContent() {
  const node = state.selected === null ? null : picture().nodes[state.selected];
  if (state.path !== null && data.equations[state.path]) return equationView(state.path);
  if (state.key !== null) return varView(state.key);
  if (!node || !node.paths.length) return overview();
  const paths = node.paths.filter((path) => data.equations[path]);
  return paths.length ? groupView(paths) : [make("h2", {}, "This did not run.")];
}

function fillPanel() {
  panel.replaceChildren(...panelContent().filter((child) => child !== null));
}
