"use strict";
// Draws the figures of a page: inflates plotly.js, puts the colours of the page in place of their names, and draws all
// again when the page turns dark or is printed.

const CONFIG = {
  responsive: true,
  displaylogo: false,
  showTips: false,
  plotlyServerURL: "",
  modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]], // none that sends data anywhere
  toImageButtonOptions: { format: "png", scale: 2, filename: "vestim_pl" },
};
const PAPER = 690; // pixels of width that A4 and Letter have within their margins
const drawn = new Map(); // element -> figure

/** Read a JSON script of the page. */
function content(id) {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : null;
}

/** Bytes of text that Python compressed with zlib and wrote in Base64. */
async function inflate(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Run plotly.js, which the page holds compressed. */
async function startPlotly() {
  const source = document.getElementById("plotly");
  if (!source) return false;
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await inflate(source.textContent.trim()));
  document.head.append(script);
  return typeof Plotly !== "undefined";
}

/** Colour of the page by its name in report.css; other values as they are. */
function colour(name) {
  if (!String(name).startsWith("--")) return name;
  const [variable, opacity] = name.split("/"); // "--blue/0.2" is a translucent blue
  const value = getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
  return opacity ? value + Math.round(255 * opacity).toString(16).padStart(2, "0") : value;
}

/** A copy of a figure with the colours of the page. */
function coloured(node, key = "") {
  if (Array.isArray(node)) return /color$/.test(key) ? node.map(colour) : node.map((each) => coloured(each));
  if (node && typeof node === "object" && !ArrayBuffer.isView(node)) {
    return Object.fromEntries(Object.entries(node).map(([name, value]) => [name, coloured(value, name)]));
  }
  return typeof node === "string" && /color$/.test(key) ? colour(node) : node;
}

function template() {
  const axis = {
    gridcolor: "--line", linecolor: "--soft", zerolinecolor: "--soft", zerolinewidth: 1, ticks: "outside",
    tickcolor: "--soft", ticklen: 4, automargin: true, exponentformat: "e", spikethickness: -2, // thin and without an outline
    spikecolor: "--soft", spikedash: "solid", minorloglabels: "complete", title: { font: { size: 12.5 } },
  };
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: "--ink", size: 12.5, family: "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif" },
    hoverlabel: { bgcolor: "--panel", bordercolor: "--line", font: { color: "--ink" }, namelength: -1 },
    legend: { orientation: "h", x: 1, xanchor: "right", y: 1, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
    margin: { l: 56, r: 34, t: 44, b: 44 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "--soft", activecolor: "--blue", orientation: "v" },
    annotationdefaults: { font: { size: 13 } },
    xaxis: axis,
    yaxis: axis,
  };
}

/** Draw a figure, or draw it again; zoom and hidden traces stay where `uirevision` is the same. */
function draw(element, figure) {
  const first = !drawn.has(element);
  if (first) element.replaceChildren(); // the words for a page without scripts
  drawn.set(element, figure);
  element.style.minHeight = `${figure.layout.height}px`;
  const width = document.documentElement.classList.contains("printing") ? { width: PAPER } : {};
  const layout = { uirevision: "same", ...figure.layout, ...width, template: { layout: template() } };
  Plotly.react(element, coloured(figure.data), coloured(layout), { ...CONFIG, ...figure.config });
}

function drawAll() {
  for (const [element, figure] of drawn) draw(element, figure);
}

/** Draw each figure of the page into the element that names it. */
function drawFigures() {
  const figures = content("plots") ?? {};
  for (const element of document.querySelectorAll("[data-plot]")) {
    const figure = figures[element.dataset.plot];
    if (figure) draw(element, figure);
  }
}

function followTheme() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  const open = [];
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing"); // light colours, and the width of paper
    drawAll();
    for (const details of document.querySelectorAll("details.figures:not([open])")) {
      details.open = true;
      open.push(details);
    }
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    while (open.length) open.pop().open = false;
    drawAll();
    for (const element of drawn.keys()) Plotly.Plots.resize(element);
  });
}
