/* Put a live chart in the place of each picture, and let tables be sorted. */
"use strict";

const charts = JSON.parse(document.getElementById("charts").textContent);

function drawChart(figure, chart) {
  const place = document.createElement("div");
  place.className = "chart";
  figure.append(place);
  const options = {
    mode: "vega-lite", renderer: "svg", actions: false, ast: true, tooltip: { theme: "page" },
    config: { font: getComputedStyle(document.body).fontFamily },
  };
  vegaEmbed(place, chart, options).then(({ view }) => {
    figure.querySelector(".picture").remove();
    place.setAttribute("aria-hidden", "true");
    if (JSON.stringify(chart).includes('"zoom"')) addZoom(figure.closest("figure"), view);
  }, (error) => {
    place.remove();
    console.error(error);
  });
}

function addZoom(figure, view) {
  const tools = document.createElement("p");
  tools.className = "tools";
  const title = figure.querySelector("figcaption").textContent;
  for (const [sign, words, factor] of [["+", "Zoom in", 0.6], ["−", "Zoom out", 1 / 0.6], ["⟲", "Reset", 0]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = sign;
    button.title = words;
    button.setAttribute("aria-label", `${words}: ${title}`);
    button.addEventListener("click", () => zoom(view, factor));
    tools.append(button);
  }
  figure.prepend(tools);
}

/* Show `factor` of the horizontal axis around its middle, or all of it where that is 0. */
function zoom(view, factor) {
  const scale = view.scale("x");
  const [from, to] = scale.domain().map((end) => (scale.type === "log" ? Math.log(end) : end));
  const middle = (from + to) / 2, half = ((to - from) / 2) * factor;
  const ends = [middle - half, middle + half].map((end) => (scale.type === "log" ? Math.exp(end) : end));
  view.signal("zoom_x", factor ? ends : null).runAsync();
}

/* Sort by a column: first ascending where it has words, first descending where it has numbers. */
function sortTable(table, index) {
  const heading = table.tHead.rows[0].cells[index];
  const rows = [...table.tBodies[0].rows];
  const values = new Map(rows.map((row) => [row, row.cells[index].dataset.value ?? row.cells[index].textContent]));
  const isNumeric = rows.some((row) => row.cells[index].dataset.value !== undefined);
  const last = heading.getAttribute("aria-sort");
  const sign = last ? (last === "ascending" ? -1 : 1) : isNumeric ? -1 : 1;
  const compare = (one, other) => {
    const [a, b] = [values.get(one), values.get(other)];
    if (!isNumeric) return sign * a.localeCompare(b, "en", { numeric: true });
    return a === "" || b === "" ? (a === "") - (b === "") : sign * (a - b);
  };
  for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  table.tBodies[0].append(...rows.sort(compare));
}

for (const figure of document.querySelectorAll("[data-chart]")) {
  drawChart(figure, charts[figure.dataset.chart]);
}
for (const table of document.querySelectorAll("table")) {
  if (table.tBodies[0].rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((heading, index) => {
    if (!heading.textContent) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortTable(table, index));
    heading.append(button);
  });
}
