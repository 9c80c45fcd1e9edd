// What the reader does: selects, steps, plays, searches, pans and zooms, with pointer or keys.

const byId = (id) => document.getElementById(id);
const slider = byId("slider"), where = byId("where"), search = byId("search"), keys = byId("keys");

function refresh() {
  state.shown.clear();
  paint();
  fillPanel();
  const event = currentEvent();
  const backwards = event !== null && event.kind !== "forward";
  document.querySelector("footer").classList.toggle("backward", backwards);
  slider.value = state.position;
  where.replaceChildren(...whereText(event));
  for (const id of ["first", "back"]) byId(id).disabled = state.position === 0;
  for (const id of ["next", "last"]) byId(id).disabled = state.position === events.length;
}

function whereText(event) {
  if (event === null) return [make("b", {}, "inputs"), "  before the first step"];
  if (!isStepping()) {
    const back = backward.length ? ` and ${backward.length} backward` : "";
    return [make("b", {}, "done"), `  ${forward.length} steps forward${back}`];
  }
  if (event.kind === "seed") return [make("b", {}, "backward"), "  the result has its cotangent"];
  const [count, at] = event.kind === "forward"
    ? [forward.length, state.position]
    : [backward.length, state.position - seeded];
  const turn = turnText(event.turn);
  const text = data.equations[event.path].text;
  return [make("b", {}, `${event.kind} ${at} of ${count}`), `  ${turn ? `${turn}: ` : ""}${text}`];
}

// --- selection

function present(id, path, key) {
  Object.assign(state, { selected: id !== null && picture().nodes[id] ? id : null, path, key });
  refresh();
}

function select(id) {
  const { paths = [], var: key = null } = picture().nodes[id] ?? {};
  present(id, paths.length === 1 ? paths[0] : null, key);
}

function selectPath(path) {
  const id = partOf(path);
  if (id !== null) centre(id);
  present(id, path, null);
}

function selectVar(key) {
  if (data.vars[key].maker !== null) return selectPath(data.vars[key].maker);
  const id = nodeOfVar(key);
  if (id !== null) centre(id);
  present(id, null, key);
}

function chooseTurn(home, turn) {
  state.focus = { path: `${home}/0`, turn };
  refresh();
  byId("turn")?.focus();
}

// --- steps

function goTo(position) {
  state.position = Math.min(Math.max(position, 0), events.length);
  state.focus = null;
  const event = currentEvent();
  if (isStepping() && event !== null && event.path !== "") selectPath(event.path);
  else if (isStepping()) select(null);
  else refresh();
}

let timer = null;

function play(on) {
  if (timer !== null) clearInterval(timer);
  timer = null;
  if (on && state.position === events.length) goTo(0);
  if (on) {
    timer = setInterval(() => {
      goTo(neighbour(1));
      if (state.position === events.length) play(false);
    }, 900);
  }
  byId("play").textContent = on ? "⏸ pause" : "▶ play";
  byId("play").setAttribute("aria-label", on ? "Pause" : "Play");
}

// The next position whose step is in the picture: those inside of what is closed are not.
function neighbour(by) {
  let at = state.position + by;
  const isDrawn = ({ kind, path }) => kind === "seed" || picture().nodeOf.has(path);
  while (at > 0 && at < events.length && !isDrawn(events[at - 1])) at += by;
  return at;
}

const step = (by) => {
  play(false);
  goTo(neighbour(by));
};

const jump = (position) => {
  play(false);
  goTo(position);
};

// --- search

let hits = [], hit = -1;

function textOf(node) {
  const parts = node.paths.map((path) => data.equations[path]).filter(Boolean);
  const names = node.var === null ? [] : [nameOf(node.var)];
  const words = parts.flatMap((e) => [e.op, e.text, e.line, e.source, e.scope]);
  return [...names, ...words].join("\n").toLowerCase();
}

function find() {
  const word = search.value.trim().toLowerCase();
  const p = picture();
  hits = word ? Object.keys(p.nodes).filter((id) => textOf(p.nodes[id]).includes(word)) : [];
  hit = -1;
  p.svg.classList.toggle("searching", word !== "");
  for (const id of Object.keys(p.nodes)) {
    p.elements.get(id).classList.toggle("hit", hits.includes(id));
  }
  byId("hits").textContent = word ? String(hits.length) : "";
  if (hits.length) nextHit(1);
}

function nextHit(by) {
  if (!hits.length) return;
  hit = (hit + by + hits.length) % hits.length;
  centre(hits[hit]);
  byId("hits").textContent = `${hit + 1}/${hits.length}`;
  select(hits[hit]);
}

// --- pointer

function listenToPointer() {
  let from = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("#keys")) return;
    const { clientX, clientY, target } = event;
    from = { x: clientX, y: clientY, target, view: picture().view, moved: false };
  });
  addEventListener("pointermove", (event) => {
    if (!from) return;
    const dx = event.clientX - from.x, dy = event.clientY - from.y;
    if (!from.moved && Math.hypot(dx, dy) < 4) return;
    from.moved = true;
    stage.classList.add("drag");
    const { x, y, scale } = from.view;
    setView(x - dx / scale, y - dy / scale, scale);
  });
  addEventListener("pointerup", () => {
    stage.classList.remove("drag");
    if (from && !from.moved) select(from.target.closest(".node")?.id ?? null);
    from = null;
  });
  addEventListener("pointercancel", () => { from = null; });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { left, top } = stage.getBoundingClientRect();
    const factor = Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015));
    zoom(factor, event.clientX - left, event.clientY - top);
  }, { passive: false });
}

// --- keys

function showKeys(on) {
  keys.hidden = !on;
  byId("help").setAttribute("aria-expanded", String(on));
}

const ACTIONS = {
  ArrowRight: () => step(1),
  ArrowLeft: () => step(-1),
  " ": () => play(timer === null),
  Home: () => jump(0),
  End: () => jump(events.length),
  "+": () => zoom(1.25),
  "=": () => zoom(1.25),
  "-": () => zoom(0.8),
  0: () => fit(),
  "/": () => search.focus(),
  "?": () => showKeys(keys.hidden),
  Escape: () => { showKeys(false); search.value = ""; find(); select(null); },
};

// Keys that a control needs for itself while it has the focus.
const MOVES = ["ArrowLeft", "ArrowRight", "Home", "End"];
function ownKeys(target) {
  if (target.matches("select, input")) return [...MOVES, " ", "Enter"];
  return target.matches("button") ? [" ", "Enter"] : [];
}

function listenToKeys() {
  search.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") nextHit(event.shiftKey ? -1 : 1);
    if (event.key !== "Escape") return;
    ACTIONS.Escape();
    search.blur();
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (ownKeys(event.target).includes(event.key)) return;
    const node = ["Enter", " "].includes(event.key) ? event.target.closest(".node") : null;
    const action = node ? () => select(node.id) : ACTIONS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

// --- start

function start() {
  slider.max = events.length;
  slider.style.setProperty("--split", `${(100 * forward.length) / Math.max(events.length, 1)}%`);
  slider.addEventListener("input", () => jump(Number(slider.value)));
  byId("first").addEventListener("click", ACTIONS.Home);
  byId("last").addEventListener("click", ACTIONS.End);
  byId("back").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("play").addEventListener("click", () => play(timer === null));
  byId("zoom-in").addEventListener("click", () => zoom(1.25));
  byId("zoom-out").addEventListener("click", () => zoom(0.8));
  byId("fit").addEventListener("click", () => fit());
  byId("help").addEventListener("click", () => showKeys(keys.hidden));
  search.addEventListener("input", find);
  startLevels();
  for (const p of pictures) {
    for (const [id, node] of Object.entries(p.nodes)) {
      const element = p.elements.get(id);
      element.setAttribute("tabindex", "0");
      element.setAttribute("role", "button");
      const path = node.paths.length === 1 ? data.equations[node.paths[0]] : null;
      if (path) element.setAttribute("aria-label", path.text);
    }
  }
  listenToPointer();
  listenToKeys();
  addEventListener("resize", () => {
    const { x, y, scale } = picture().view;
    setView(x, y, scale);
  });
  showLevel(level);
  refresh();
}

function startLevels() {
  const choice = byId("level");
  byId("levels").hidden = pictures.length < 2;
  pictures.forEach((p, k) => {
    const count = Object.keys(p.nodes).length;
    choice.append(make("option", { value: k }, `${k + 1} of ${pictures.length} (${count} nodes)`));
  });
  choice.value = level;
  choice.addEventListener("change", () => {
    showLevel(Number(choice.value));
    const { path, key } = state;
    find();
    if (path !== null) selectPath(path);
    else if (key !== null) selectVar(key);
    else select(null);
  });
}

start();
