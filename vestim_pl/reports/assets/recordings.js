// Shows the traces of the chosen recording: voltage, error, current, temperature and SOC on one time axis.

const CHECKPOINT_COLOURS = ["--vermilion", "--blue", "--green", "--purple", "--orange", "--sky"];

const HOVER = {
  voltage: "4f} V", error: "1f} mV", current: "2f} A", temperature: "1f} °C", soc: "1f} %",
}; // digits and unit

/** Series of a recording by name, as `pack` of recording_traces.py wrote them. */
async function unpack(recording) {
  const bytes = await inflate(recording.data);
  const series = {};
  let at = 0;
  for (const column of recording.columns) {
    const rows = recording.kept;
    const values = new Float64Array(rows);
    const mask = column.bytes === 2 ? 0xffff : 0xffffffff;
    let place = 0;
    for (let row = 0; row < rows; row++) {
      let change = 0;
      for (let plane = 0; plane < column.bytes; plane++) change += bytes[at + plane * rows + row] * 2 ** (8 * plane);
      place = column.bytes === 2 ? (place + change) & mask : (place + change) >>> 0;
      values[row] = column.bytes === 2 && place === 0xffff ? NaN : column.low + column.step * place;
    }
    series[column.name] = values;
    at += column.bytes * rows;
  }
  return series;
}

const plus = (values, offsets, scale) => values.map((value, row) => value + scale * offsets[row]);

/** Times in the unit of the axis, and what they count from. */
function timeAxis(recording, time) {
  const late = time[0] > time[time.length - 1] - time[0]; // the clock started long before
  const origin = late ? time[0] : 0;
  return {
    at: (seconds) => (seconds - origin) / recording.seconds,
    title: `Time${late ? ` since ${origin.toFixed(0)} s` : ""} [${recording.unit}]`,
  };
}

function recordingFigure(recording, series, checkpoints) {
  const axis = timeAxis(recording, series.time);
  const x = series.time.map(axis.at);
  const panels = [
    { key: "voltage", title: "Voltage [V]", height: 2.4 },
    ...(series["error.0"] ? [{ key: "error", title: "Error [mV], estimated minus measured", height: 1.5 }] : []),
    ...(series.current ? [{ key: "current", title: "Current [A]", height: 1 }] : []),
    ...(series.temperature ? [{ key: "temperature", title: "Temperature [°C]", height: 1 }] : []),
    ...(series.soc ? [{ key: "soc", title: "SOC [%]", height: 1 }] : []),
  ];
  const total = panels.reduce((sum, panel) => sum + panel.height, 0);
  const layout = { height: 100 + 95 * total, annotations: [], legend: { y: 1 + 22 / (95 * total) } };
  const place = {};
  const gap = 0.055;
  const free = 1 - gap * (panels.length - 1);
  let top = 1;
  panels.forEach((panel, index) => {
    const low = Math.max(0, top - (free * panel.height) / total);
    place[panel.key] = `y${index ? index + 1 : ""}`;
    layout[`yaxis${index ? index + 1 : ""}`] = { domain: [low, top], fixedrange: false };
    layout.annotations.push({
      text: panel.title, xref: "paper", yref: "paper", x: 0, y: top, xanchor: "left", yanchor: "bottom", showarrow: false,
    });
    top = low - gap;
  });
  const data = [];
  const add = (panel, name, y, color, more = {}) =>
    data.push({
      type: "scatter", mode: "lines", x, y, name, xaxis: "x", yaxis: place[panel],
      line: { color, width: 1.2 }, hovertemplate: `%{y:.${HOVER[panel]}`, ...more,
    });
  const hidden = { showlegend: false };
  if (!series["error.0"]) add("voltage", "measured", series.measured, "--blue"); // a page without estimates
  (series["error.0"] ? (checkpoints.length ? checkpoints : ["estimated"]) : []).forEach((name, number) => {
    const color = CHECKPOINT_COLOURS[number % CHECKPOINT_COLOURS.length];
    const error = series[`error.${number}`];
    const estimated = plus(series.measured, error, 1e-3);
    const band = { line: { width: 0 }, hoverinfo: "skip", hovertemplate: null };
    if (series[`below.${number}`]) {
      const visible = checkpoints.length ? "legendonly" : true; // several at once hide the lines
      const own = { ...band, visible, legendgroup: `band${number}` };
      const fill = { ...own, fill: "tonexty", fillcolor: `${color}/0.22` };
      add("voltage", "lower", plus(estimated, series[`below.${number}`], -1e-3), color, { ...own, ...hidden });
      add("voltage", `${checkpoints.length ? `${name}: ` : ""}interval`, plus(estimated, series[`above.${number}`], 1e-3), color, fill);
      // the measured voltage is within the interval where the error is within these
      add("error", "lower", series[`above.${number}`].map((value) => -value), color, { ...own, ...hidden });
      add("error", "upper", series[`below.${number}`], color, { ...fill, ...hidden });
    }
    add("error", checkpoints.length ? name : "error", error, checkpoints.length ? color : "--blue", hidden);
    if (number === 0) add("voltage", "measured", series.measured, "--grey", { line: { color: "--grey", width: 2.4 } });
    add("voltage", name, estimated, color);
  });
  if (series.current) add("current", "current", series.current, "--ink", hidden);
  if (series.temperature) add("temperature", "temperature", series.temperature, "--orange", hidden);
  if (series.soc) add("soc", "SOC", series.soc.map((value) => 100 * value), "--green", hidden);
  const span = (from, to, fillcolor) => ({
    type: "rect", xref: "x", yref: "paper", x0: axis.at(from), x1: axis.at(to), y0: 0, y1: 1, fillcolor,
    line: { width: 0 }, layer: "below",
  });
  const swatch = (name, color) =>
    data.push({
      type: "scatter", mode: "markers", x: [null], y: [null], name, hoverinfo: "skip",
      marker: { symbol: "square", size: 12, color },
    });
  if (recording.worst) swatch("worst minute", "--orange/0.45");
  if (recording.outside.length) swatch("outside the training range", "--grey/0.35");
  layout.shapes = [
    ...recording.outside.map(([from, to]) => span(from, Math.max(to, from + recording.seconds / 60), "--grey/0.25")),
    ...(recording.worst ? [span(recording.worst.start, recording.worst.end, "--orange/0.28")] : []),
  ];
  layout.xaxis = { anchor: place[panels.at(-1).key], title: { text: axis.title }, range: [x[0], x.at(-1)], unifiedhovertitle: { text: `%{x:.2f} ${recording.unit}` } };
  layout.hovermode = "x unified";
  layout.hoversubplots = "axis";
  layout.uirevision = recording.name;
  return { figure: { data, layout, config: { doubleClick: false } }, axis };
}

/** Fit every y axis to what the time range shows. */
function fitHeights(data, from, to) {
  const ranges = {};
  for (const trace of data) {
    if (trace.x.length < 2 || trace.visible === "legendonly") continue;
    const range = (ranges[trace.yaxis] ??= [Infinity, -Infinity]);
    for (let row = 0; row < trace.x.length; row++) {
      const value = trace.y[row];
      if (trace.x[row] < from || trace.x[row] > to || !Number.isFinite(value)) continue;
      range[0] = Math.min(range[0], value);
      range[1] = Math.max(range[1], value);
    }
  }
  const update = {};
  for (const [axis, [low, high]] of Object.entries(ranges)) {
    if (low > high) continue;
    const margin = 0.06 * (high - low) || 0.5;
    update[`${axis.replace("y", "yaxis")}.range`] = [low - margin, high + margin];
  }
  return update;
}

async function showRecordings() {
  const held = content("recordings");
  const section = document.querySelector(".recordings");
  if (!held || !section) return;
  const choice = section.querySelector("select");
  const plot = section.querySelector(".plot");
  const note = section.querySelector("output");
  let shown, latest;

  const zoom = (from, to) => {
    const all = shown.figure.data[0].x;
    const [first, last] = [all[0], all.at(-1)];
    const width = Math.min(to - from, last - first);
    const start = Math.min(Math.max(from, first), last - width);
    return Plotly.relayout(plot, {
      "xaxis.range": [start, start + width],
      ...fitHeights(shown.figure.data, start, start + width),
    });
  };
  const range = () => plot.layout.xaxis.range.map(Number);
  const scaled = (factor) => {
    const [from, to] = range();
    const middle = (from + to) / 2;
    zoom(middle - ((to - from) * factor) / 2, middle + ((to - from) * factor) / 2);
  };
  const moved = (share) => {
    const [from, to] = range();
    zoom(from + share * (to - from), to + share * (to - from));
  };
  const actions = {
    worst: () => {
      const { start, end } = shown.recording.worst;
      zoom(shown.axis.at(start - 30), shown.axis.at(end + 30));
    },
    whole: () => zoom(-Infinity, Infinity),
    in: () => scaled(0.5),
    out: () => scaled(2),
    earlier: () => moved(-0.5),
    later: () => moved(0.5),
  };

  const show = async () => {
    const recording = held.recordings[choice.selectedIndex];
    latest = recording;
    const series = await unpack(recording);
    if (latest !== recording) return; // another one was chosen meanwhile
    shown = { recording, ...recordingFigure(recording, series, held.checkpoints) };
    draw(plot, shown.figure);
    await actions.whole();
    const { rmse, start } = recording.worst ?? {};
    const thinned = recording.kept < recording.rows;
    const words = [
      recording.worst ? `Worst minute from ${start.toFixed(0)} s: ${rmse === null ? "not finite" : `RMSE ${rmse.toFixed(1)} mV`}` : "",
      recording.outside_rows ? `rows outside the training range: ${recording.outside_rows.toLocaleString("en")}` : "",
      thinned ? `${recording.kept.toLocaleString("en")} of ${recording.rows.toLocaleString("en")} rows drawn, extremes kept` : "",
    ];
    note.textContent = words.filter(Boolean).join("; ");
  };

  for (const button of section.querySelectorAll("button[data-zoom]")) {
    button.addEventListener("click", () => actions[button.dataset.zoom]());
  }
  for (const button of section.querySelectorAll("button[data-move]")) {
    button.addEventListener("click", () => {
      const count = choice.options.length;
      choice.selectedIndex = (choice.selectedIndex + Number(button.dataset.move) + count) % count;
      show();
    });
  }
  choice.addEventListener("change", show);
  for (const link of document.querySelectorAll("a[data-recording]")) {
    link.addEventListener("click", () => {
      choice.selectedIndex = held.recordings.findIndex((each) => each.name === link.dataset.recording);
      show();
    });
  }
  await show();
  plot.on("plotly_doubleclick", actions.whole);
  plot.on("plotly_relayout", (change) => {
    // a drag along the time alone: the heights follow
    if ("xaxis.range[0]" in change && !Object.keys(change).some((key) => key.startsWith("yaxis"))) {
      zoom(change["xaxis.range[0]"], change["xaxis.range[1]"]);
    }
  });
}
