"use strict";
const figures = JSON.parse(document.getElementById("charts").textContent);
const WIDE = 640;  // from here on a line carries its name at its end; below, the names are under the chart
const LINE = 18;   // pixels between two names

const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = slot => css(`--c${slot % 7}`);
// plotly reads tags in its texts
const plain = text => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const see = (hex, alpha) => {
  const full = hex.length === 4 ? [...hex.slice(1)].map(c => c + c).join("") : hex.slice(1);
  return `rgba(${[0, 2, 4].map(i => parseInt(full.slice(i, i + 2), 16)).join(",")},${alpha})`;
};

function range(chart, axis) {
  if (axis === "x" && chart.names.length) return [0.5, chart.names.length + 0.5];
  const log = axis === "x" ? chart.logX : chart.logY;
  const values = chart.series.flatMap(s => axis === "x" ? s.x : [...s.y, ...s.low, ...s.high]);
  const marks = chart.marks.filter(m => m.axis === axis).map(m => m.value);
  const seen = [...values, ...marks].filter(v => v !== null && !(log && v <= 0)).map(v => log ? Math.log10(v) : v);
  if (!seen.length) return [0, 1];
  const low = seen.reduce((a, b) => Math.min(a, b)), high = seen.reduce((a, b) => Math.max(a, b));
  const pad = (high - low || 1) * (axis === "x" && !chart.series.some(s => s.dots) ? 0 : 0.05);
  return [low - pad, high + pad];
}

// 1, 2, 5, 10, ... between two powers of ten
function steps(low, high) {
  const powers = Array.from({length: Math.ceil(high) - Math.floor(low) + 1}, (_, i) => 10 ** (Math.floor(low) + i));
  return powers.flatMap(p => [p, 2 * p, 5 * p]).filter(v => v >= 10 ** low && v <= 10 ** high);
}

function traces(chart) {
  const floor = chart.logY ? 10 ** range(chart, "y")[0] : -Infinity;
  const bands = chart.series.filter(s => s.low.length).map(s => {
    const kept = s.x.map((_, i) => i).filter(i => s.low[i] !== null && s.high[i] !== null);
    const back = [...kept].reverse();
    return {
      x: [...kept, ...back].map(i => s.x[i]),
      y: [...kept.map(i => s.high[i]), ...back.map(i => s.low[i])].map(v => Math.max(v, floor)),
      fill: "toself", fillcolor: see(colour(s.slot), 0.18), line: {width: 0}, mode: "lines",
      hoverinfo: "skip", showlegend: false,
    };
  });
  const lines = chart.series.map(s => ({
    x: s.x, y: s.y, name: plain(s.label), mode: s.dots ? "markers" : "lines",
    line: {color: colour(s.slot), width: 2.2, dash: ["solid", "6px 3px", "2px 3px"][Math.min(2, Math.floor(s.slot / 3))]},
    marker: {color: colour(s.slot), size: 7, opacity: s.x.length > 40 ? 0.55 : 0.9},
    customdata: s.x.map((_, i) => s.low.length && s.low[i] !== null && s.high[i] !== null
      ? ` (${+s.low[i].toPrecision(4)} to ${+s.high[i].toPrecision(4)})` : ""),
    hovertemplate: chart.names.length ? `${plain(s.label)}: %{y:.4~g}%{customdata}<extra></extra>`
      : s.dots ? "%{x:.4~g}, %{y:.4~g}" : "%{y:.4~g}%{customdata}",
  }));
  return [...bands, ...lines];
}

function marks(chart, ink, beside, width) {
  const short = label => width < WIDE ? label.split(": ")[0] : label;
  return chart.marks.map(m => ({
    type: "line", layer: "below", line: {color: ink, width: 1.2, dash: "dot"},
    ...(m.axis === "y" ? {xref: "paper", x0: 0, x1: 1, y0: m.value, y1: m.value}
                       : {yref: "paper", y0: 0, y1: 1, x0: m.value, x1: m.value}),
    label: {text: beside && m.axis === "y" ? "" : plain(short(m.label)), textangle: 0, font: {color: ink, size: 12}, xanchor: "left",
      ...(m.axis === "y" ? {textposition: "start", yanchor: "bottom"} : {textposition: "end", yanchor: "top"})},
  }));
}

// a name at the end of each line and mark, moved apart where they end close together
function names(chart, [low, high], height, ink) {
  const lines = chart.series.map(s => ({
    at: s.y.findLast(v => v !== null && !(chart.logY && v <= 0)) ?? low, text: s.label, sign: "●", colour: colour(s.slot),
  }));
  const rules = chart.marks.filter(m => m.axis === "y").map(m => ({at: m.value, text: m.label, sign: "┄", colour: ink}));
  const ends = [...lines, ...rules]
    .map(end => ({...end, at: ((chart.logY ? Math.log10(end.at) : end.at) - low) / (high - low) * height}))
    .sort((a, b) => a.at - b.at);
  ends.forEach((end, i) => { if (i) end.at = Math.max(end.at, ends[i - 1].at + LINE); });
  for (let i = ends.length - 1, roof = height; i >= 0; i--, roof -= LINE) ends[i].at = Math.min(ends[i].at, roof);
  return ends.map(end => ({
    xref: "paper", yref: "paper", x: 1, y: end.at / height, xanchor: "left", yanchor: "middle", xshift: 4, showarrow: false,
    text: `<span style="color:${end.colour}">${end.sign}</span> ${plain(end.text)}`, align: "left", font: {size: 13},
  }));
}

// the names at the places of the x axis: in lines where each of their parts has room, else turned
function written(chart, room) {
  const ruler = document.createElement("canvas").getContext("2d");
  ruler.font = `13px ${getComputedStyle(document.body).fontFamily}`;
  const size = text => ruler.measureText(text.trimEnd()).width, parts = name => name.split(/(?<=[ -])/);
  const level = chart.names.flatMap(parts).every(part => size(part) < room - 4);
  const lines = name => parts(name).reduce(([...all], part) => {
    if (all.length && size(all.at(-1) + part) < room - 4) all.push(all.pop() + part); else all.push(part);
    return all;
  }, []);
  const broken = chart.names.map(name => level ? lines(name) : [name]);
  const deep = level ? 18 * Math.max(...broken.map(all => all.length)) : 0.87 * Math.max(...chart.names.map(size)) + 12;
  return {tickvals: chart.names.map((_, i) => i + 1), ticktext: broken.map(all => all.map(plain).join("<br>")),
    tickangle: level ? 0 : -60, deep: deep + 14};
}

function layout(chart, width) {
  const ink = css("--ink"), soft = css("--soft"), rule = css("--rule");
  const longest = Math.max(0, ...[...chart.series, ...chart.marks].map(one => one.label.length)) * 7.2 + 32;
  const named = chart.names.length > 0, beside = !named && width >= WIDE && longest < width * 0.4 && !chart.series.some(s => s.dots);
  const under = named || beside || chart.series.length < 2 ? 0 : 12 + 20 * (width < WIDE ? chart.series.length : 1);
  const margin = {l: 56, r: beside ? longest : 14, t: 34, b: 52 + under}, inner = 320, y = range(chart, "y");
  const {deep, ...ticks} = named ? written(chart, (width - margin.l - margin.r) / chart.names.length) : {deep: margin.b};
  margin.b = deep;
  const axis = {gridcolor: rule, linecolor: soft, zerolinecolor: rule, tickfont: {color: soft}, ticks: "outside",
    tickcolor: rule, automargin: false};
  const powers = ([low, high]) => high - low > 3 ? {dtick: Math.ceil((high - low) / 10), exponentformat: "power"} : {tickvals: steps(low, high)};
  const unit = {xref: "paper", yref: "paper", x: 0, y: 1, xanchor: "left", yanchor: "bottom", xshift: -margin.l + 4, yshift: 8,
    showarrow: false, text: plain(chart.y), font: {size: 13, color: soft}};
  return {
    width, height: inner + margin.t + margin.b, margin, paper_bgcolor: css("--page"), plot_bgcolor: css("--page"),
    font: {family: getComputedStyle(document.body).fontFamily, color: ink, size: 13},
    hovermode: named || chart.series.some(s => s.dots) ? "closest" : "x unified",
    hoverlabel: {bgcolor: css("--panel"), bordercolor: rule, font: {color: ink}}, dragmode: width < WIDE ? false : "zoom",
    xaxis: {...axis, ...ticks, ...(chart.logX ? powers(range(chart, "x")) : {}), type: chart.logX ? "log" : "linear", range: range(chart, "x"),
      showgrid: false, title: {text: named ? "" : plain(chart.x), font: {color: soft, size: 13}, standoff: 8}, showline: true},
    yaxis: {...axis, ...(chart.logY ? powers(y) : {}), type: chart.logY ? "log" : "linear", range: y},
    showlegend: under > 0,
    legend: {orientation: width < WIDE ? "v" : "h", x: 0, xanchor: "left", y: -54 / inner, yanchor: "top"},
    shapes: marks(chart, soft, beside, width), annotations: [unit, ...(beside ? names(chart, y, inner, soft) : [])],
  };
}

function show(place, figure) {
  const plot = place.plot, chart = figure.charts[place.now], width = plot.clientWidth;
  if (!width) return;  // in a part that is closed
  place.buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === place.now)));
  const labels = chart.series.map(s => s.label).join(", ");
  plot.setAttribute("aria-label", `${figure.title}: ${chart.y} against ${chart.x}, for ${labels}`);
  Plotly.react(plot, traces(chart), layout(chart, width), {displayModeBar: false, doubleClick: "reset"});
}

const places = [...document.querySelectorAll(".plot")].map(plot => {
  const figure = figures[plot.dataset.figure], choice = plot.previousElementSibling;
  const place = {plot, figure, now: figure.first, buttons: []};
  if (figure.charts.length > 1) {
    place.buttons = figure.charts.map((chart, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = chart.name;
      button.addEventListener("click", () => { place.now = i; show(place, figure); });
      return button;
    });
    choice.append(...place.buttons);
    choice.hidden = false;
  }
  plot.hidden = false;
  return place;
});

const draw = () => places.forEach(place => show(place, place.figure));
document.querySelectorAll("details").forEach(part => part.addEventListener("toggle", draw));
let later = 0;
addEventListener("resize", () => { clearTimeout(later); later = setTimeout(draw, 120); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
