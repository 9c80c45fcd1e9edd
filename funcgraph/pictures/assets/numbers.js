// How arrays are shown: their elements, statistics and a histogram.

// An element with attributes and children; texts are never read as HTML.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function drawn(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Rows of cells; `now` marks a row, the first cell of a row may be broken into lines.
function table(titles, rows) {
  const titleCells = titles.map((title) => make("th", {}, title));
  const head = titleCells.length ? make("tr", {}, ...titleCells) : null;
  const body = rows.map(({ cells, now }) => {
    const tds = cells.map((cell, k) => make("td", k ? {} : { class: "wrap" }, cell));
    return make("tr", now ? { class: "now" } : {}, ...tds);
  });
  return make("table", {}, head, ...body);
}

function histogram({ hist, min, max }) {
  const most = Math.max(...hist);
  const svg = drawn("svg", {
    class: "hist", viewBox: `0 0 ${hist.length} 1`, preserveAspectRatio: "none", role: "img",
    "aria-label": `Histogram from ${min} to ${max}: ${hist.join(", ")}`,
  });
  hist.forEach((count, k) => {
    const height = count / most;
    svg.append(drawn("rect", { x: k + 0.06, y: 1 - height, width: 0.88, height }));
  });
  const ends = [min, max].map((x) => make("span", {}, String(x)));
  return make("div", {}, svg, make("div", { class: "ends" }, ...ends));
}

function elements({ shape, values }) {
  if (shape.length === 1) {
    return make("div", { class: "numbers flat" }, ...values.map((x) => make("span", {}, x)));
  }
  const text = (x) => (Array.isArray(x) ? `[${x.map(text).join(" ")}]` : x);
  const rows = (shape.length ? values : [[values]]).map((row) => (
    make("tr", {}, ...row.map((x) => make("td", {}, text(x))))
  ));
  return make("div", { class: "numbers" }, make("table", {}, ...rows));
}

function statistics(s) {
  const shown = { min: s.min, max: s.max, mean: s.mean, std: s.std, norm: s.norm };
  shown.zeros = `${+(100 * s.zeros).toPrecision(3)}%`;
  const cells = Object.entries(shown)
    .filter(([, value]) => value !== undefined)
    .flatMap(([title, value]) => [make("span", {}, title), make("div", {}, String(value))]);
  return make("div", { class: "stats" }, ...cells);
}

// Everything that is known of the numbers of an array.
function numbers(s, name = "") {
  const size = s.shape.reduce((n, k) => n * k, 1);
  const box = make("div", { class: name });
  if (s.values !== undefined && size) box.append(elements(s));
  else if (s.first) box.append(make("pre", {}, `[${s.first.join(" ")} … ]`));
  if (s.norm === undefined) return box;
  box.append(statistics(s));
  if (s.bad) box.append(make("p", { class: "bad" }, `${grouped(s.bad)} elements are not finite`));
  if (s.hist && size >= 8) box.append(histogram(s));
  return box;
}
