// The pictures: which one is shown, pan and zoom, and what the steps mark in it.

const stage = document.getElementById("stage");
const pictures = data.scenes.map((parts, k) => {
  const svg = stage.querySelectorAll(":scope > svg")[k];
  svg.removeAttribute("width");
  svg.removeAttribute("height");
  svg.setAttribute("role", "group");
  svg.querySelector(".background")?.remove();
  const tags = svg.appendChild(drawn("g", {}));
  const ids = Object.keys({ ...parts.nodes, ...parts.edges, ...parts.boxes });
  const elements = new Map(ids.map((id) => [id, document.getElementById(id)]));
  const [nodeOf, ends] = [nodesByPath(parts), endsOf(parts)];
  return { ...parts, svg, tags, elements, view: null, nodeOf, ends };
});
let level = data.level;
const picture = () => pictures[level];

// The node (or else the box) that stands for an equation: its own, or the one it was closed into.
function nodesByPath(parts) {
  const found = new Map();
  for (const [id, { paths }] of Object.entries({ ...parts.boxes, ...parts.nodes })) {
    for (const path of paths) found.set(path, id);
  }
  return found;
}

function partOf(path) {
  for (let p = path; p !== ""; p = p.split("/").slice(0, -1).join("/")) {
    const id = picture().nodeOf.get(p);
    if (id !== undefined) return id;
  }
  return null;
}

// The node that gives a variable.
function nodeOfVar(key) {
  const { maker } = data.vars[key];
  if (maker !== null) return partOf(maker);
  const entries = Object.entries(picture().nodes);
  return entries.find(([, node]) => node.var === key)?.[0] ?? null;
}

// --- pan and zoom

// How large the picture is; `chosen`: by the reader, so that stepping leaves it as it is.
function setView(x, y, scale, chosen = picture().view?.chosen ?? false) {
  const p = picture();
  p.view = { x, y, chosen, scale: Math.min(Math.max(scale, 0.02), 6) };
  const { clientWidth: w, clientHeight: h } = stage;
  p.svg.setAttribute("viewBox", `${x} ${y} ${w / p.view.scale} ${h / p.view.scale}`);
  p.svg.classList.toggle("far", p.view.scale < 0.55);
}

function fit(chosen = true) {
  const { width, height } = picture();
  const { clientWidth: w, clientHeight: h } = stage;
  const scale = Math.min(w / width, h / height, 1.8);
  setView((width - w / scale) / 2, (height - h / scale) / 2, scale, chosen);
}

// Zoom about a point of the stage (default: its centre).
function zoom(factor, px = stage.clientWidth / 2, py = stage.clientHeight / 2) {
  const { x, y, scale } = picture().view;
  const next = Math.min(Math.max(scale * factor, 0.02), 6);
  setView(x + px / scale - px / next, y + py / scale - py / next, next, true);
}

// Move the picture so that a part is well inside of the stage, and large enough to be read.
function centre(id) {
  const box = picture().elements.get(id)?.getBBox();
  if (!box) return;
  const { x, y, scale, chosen } = picture().view;
  const { clientWidth: w, clientHeight: h } = stage;
  const left = (box.x - x) * scale, top = (box.y - y) * scale;
  const inside = left > 30 && top > 30
    && left + box.width * scale < w - 30 && top + box.height * scale < h - 30;
  const next = chosen || scale > 0.7 ? scale : 1;
  if (inside && next === scale) return;
  setView(box.x + box.width / 2 - w / 2 / next, box.y + box.height / 2 - h / 2 / next, next);
}

// --- levels

function showLevel(k) {
  level = k;
  pictures.forEach((p, i) => p.svg.classList.toggle("shown", i === k));
  if (!picture().view) fit(false);
}

// --- marks

function paint() {
  const p = picture();
  const event = currentEvent();
  const current = event && isStepping() && event.path !== "" ? partOf(event.path) : null;
  p.svg.classList.toggle("backward", event !== null && event.kind !== "forward");
  for (const [id, node] of Object.entries(p.nodes)) {
    const element = p.elements.get(id);
    element.classList.toggle("future", !isReached(node));
    element.classList.toggle("current", id === current);
    element.classList.toggle("selected", id === state.selected);
  }
  for (const id of Object.keys(p.boxes)) {
    p.elements.get(id).classList.toggle("current", id === current);
  }
  p.tags.replaceChildren();
  for (const [id, edge] of Object.entries(p.edges)) paintEdge(p, id, edge, event);
  paintSums(p);
}

// Where several cotangents meet, their sum stands beside the node.
function paintSums(p) {
  for (const { sums, x, y } of Object.values(p.nodes)) {
    for (const key of sums) {
      const rows = arrivalsOf(key);
      if (!rows.length || arrivalsInAll(key) < 2) continue;
      tag(p, "tag ct sum", x, y, `Σ ${rows.at(-1).total.label}`);
    }
  }
}

function isReached({ paths, var: key }) {
  if (!paths.length) return key === null || isKnown(key);
  return paths.some((path) => (data.equations[path]?.out ?? []).some(isKnown));
}

// An edge shows the value that flows, and the contribution that came back along it.
function paintEdge(p, id, edge, event) {
  const element = p.elements.get(id);
  const known = edge.key !== null && isKnown(edge.key);
  const arrived = edge.key === null ? [] : arrivalsOf(edge.key);
  const sent = arrived.filter((a) => edge.senders.includes(a.sender));
  const isNow = isStepping() && event !== null && edge.senders.includes(event.path);
  element.classList.toggle("future", !known);
  element.classList.toggle("sent", sent.length > 0);
  element.classList.toggle("now", isNow && event.kind === "backward" && sent.length > 0);
  element.classList.toggle("read", isNow && event.kind === "forward");
  if (edge.label && edge.key !== null) {
    tag(p, known ? "tag" : "tag unknown", ...edge.label, labelOf(edge.key));
  }
  if (sent.length) {
    const [x, y, anchor] = p.ends.get(id);
    tag(p, `tag ct ${anchor}`, x, y, sent.map((a) => a.value.label).join(" + "));
  }
}

function tag(p, name, x, y, content) {
  if (content === "") return;
  const text = drawn("text", { class: name, x, y });
  text.textContent = content;
  p.tags.append(text);
}

// Where contributions are written: beside the tip of the edge, outside of those next to it.
function endsOf(parts) {
  const ends = new Map();
  const byTarget = {};
  for (const entry of Object.entries(parts.edges)) (byTarget[entry[1].target] ??= []).push(entry);
  for (const edges of Object.values(byTarget)) {
    edges.sort(([, a], [, b]) => a.end[0] - b.end[0]);
    edges.forEach(([id, { end: [x, y] }], k) => {
      const left = edges.length > 1 && k === 0;
      const between = !left && k < edges.length - 1;
      ends.set(id, [left ? x - 4 : x + 5, y - 5 - (between ? 11 * k : 0), left ? "left" : ""]);
    });
  }
  return ends;
}
