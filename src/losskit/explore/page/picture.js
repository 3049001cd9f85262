// A picture is an SVG string over two axes; exhibits draw in the coordinates of their data.
function ticksOf(low, high, most = 5) {
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((s) => s * power >= raw - 1e-12);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, k) => Number(((first + k) * step).toPrecision(12)));
}
const decades = (low, high) => {
  const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
  const every = Math.max(1, Math.ceil((last - first) / 5));
  return Array.from({ length: Math.floor((last - first) / every) + 1 }, (_, k) => 10 ** (first + k * every));
};

// {x: {low, high, label, log, ticks, kind, digits}, y: {...}, label, width, height}: at(x, y) gives the place on the paper
class Picture {
  constructor({ x, y, label, width = 560, height = 320, left = 58, right = 18, top = 32, bottom = 50 }) {
    Object.assign(this, { x, y, label, width, height, left, right, top, bottom, parts: [] });
    this.axes();
  }
  along(axis, value) {
    const f = axis.log ? Math.log : (v) => v;
    return (f(value) - f(axis.low)) / (f(axis.high) - f(axis.low));
  }
  at(x, y) {
    return [this.left + this.along(this.x, x) * (this.width - this.left - this.right),
      this.height - this.bottom - this.along(this.y, y) * (this.height - this.top - this.bottom)];
  }
  axes() {
    const { left, right, top, bottom, width, height } = this;
    const tick = (axis, v, x, y, name) => mark(x, y, v, { class: `tick ${name}`, kind: axis.kind ?? "sig", digits: axis.digits ?? 3 });
    for (const v of this.x.ticks ?? (this.x.log ? decades(this.x.low, this.x.high) : ticksOf(this.x.low, this.x.high))) {
      const [px] = this.at(v, this.y.low);
      this.parts.push(`<line class="grid" x1="${px.toFixed(2)}" x2="${px.toFixed(2)}" y1="${top}" y2="${height - bottom}"/>`, tick(this.x, v, px, height - bottom + 18, "x"));
    }
    for (const v of this.y.ticks ?? (this.y.log ? decades(this.y.low, this.y.high) : ticksOf(this.y.low, this.y.high))) {
      const [, py] = this.at(this.x.low, v);
      this.parts.push(`<line class="grid${v === 0 ? " zero" : ""}" x1="${left}" x2="${width - right}" y1="${py.toFixed(2)}" y2="${py.toFixed(2)}"/>`, tick(this.y, v, left - 8, py + 4, "y"));
    }
    this.parts.push(`<text class="axis" x="${(left + width - right) / 2}" y="${height - 8}">${escaped(this.x.label)}</text>`,
      `<text class="axis up" x="4" y="15">${escaped(this.y.label)}</text>`);
  }
  clipped(y) { return Math.min(Math.max(y, this.y.low), this.y.high); }
  line(points, name) {
    const path = points.filter(([, y]) => Number.isFinite(y)).map(([x, y]) => this.at(x, this.clipped(y)).map((v) => v.toFixed(2)).join(",")).join(" ");
    this.parts.push(`<polyline class="line ${name}" points="${path}"/>`);
    return this;
  }
  curve(f, name, points = 161) {
    const { low, high, log } = this.x;
    const x = (t) => (log ? low * (high / low) ** t : low + (high - low) * t);
    return this.line(Array.from({ length: points }, (_, k) => x(k / (points - 1))).map((v) => [v, f(v)]), name);
  }
  dot(x, y, name, r = 6) {
    const [px, py] = this.at(x, this.clipped(y));
    this.parts.push(`<circle class="dot ${name}" cx="${px.toFixed(2)}" cy="${py.toFixed(2)}" r="${r}"/>`);
    return this;
  }
  rule(axis, value, name) {
    const [px, py] = axis === "x" ? this.at(value, this.y.low) : this.at(this.x.low, this.clipped(value));
    this.parts.push(axis === "x" ? `<line class="rule ${name}" x1="${px.toFixed(2)}" x2="${px.toFixed(2)}" y1="${this.top}" y2="${this.height - this.bottom}"/>`
      : `<line class="rule ${name}" x1="${this.left}" x2="${this.width - this.right}" y1="${py.toFixed(2)}" y2="${py.toFixed(2)}"/>`);
    return this;
  }
  words(x, y, text, name = "", dx = 0, dy = 0) {
    const [px, py] = this.at(x, this.clipped(y));
    this.parts.push(`<text class="${name}" x="${(px + dx).toFixed(2)}" y="${(py + dy).toFixed(2)}">${escaped(text)}</text>`);
    return this;
  }
  number(x, y, value, options = {}) {
    const [px, py] = this.at(x, this.clipped(y));
    this.parts.push(mark(px + (options.dx ?? 0), py + (options.dy ?? 0), value, options));
    return this;
  }
  raw(svg) { this.parts.push(svg); return this; }
  svg() {
    return `<svg class="picture" viewBox="0 0 ${this.width} ${this.height}" role="img" aria-label="${escaped(this.label)}">${this.parts.join("")}</svg>`;
  }
}
// names and colours of lines, as text under a picture: [["mse", "squared error"], ...]
const legend = (names) => `<ul class="legend">${names.map(([name, words]) => `<li><span class="key ${name}"></span>${escaped(words)}</li>`).join("")}</ul>`;
const table = (head, rows) =>
  `<div class="wide"><table><thead><tr>${head.map((h) => `<th scope="col">${h}</th>`).join("")}</tr></thead><tbody>${rows
    .map(([first, ...rest]) => `<tr><th scope="row">${first}</th>${rest.map((c) => `<td>${c}</td>`).join("")}</tr>`).join("")}</tbody></table></div>`;
