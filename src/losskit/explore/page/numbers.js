// How a number is shown: its text is rounded, data-value keeps every digit, data-py is the Python that gives it.
const MINUS = "\u2212", THIN = "\u2009";
const grouped = (digits) => digits.replace(/\B(?=(\d{3})+(?!\d))/g, THIN);
const signed = (text) => text.replace("-", MINUS);

// kinds: fix (decimals), sig (significant digits), int, pct (a share as %), times (a factor)
function shown(value, kind = "fix", digits = 4) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : MINUS + "∞";
  if (kind === "int") return signed(grouped(String(Math.round(value))));
  if (kind === "pct") return `${signed((100 * value).toFixed(digits))}${THIN}%`;
  if (kind === "sig") {
    const size = Math.abs(value);
    if (value === 0) return "0";
    return signed(size >= 1e-4 && size < 1e6 ? String(Number(value.toPrecision(digits))) : value.toExponential(digits - 1));
  }
  const text = signed(value.toFixed(digits));
  return kind === "times" ? `${text}×` : text;
}

// value as Python writes it
const python = (value) =>
  Array.isArray(value) ? `[${value.map(python).join(", ")}]`
  : typeof value === "string" ? JSON.stringify(value)
  : typeof value === "boolean" ? (value ? "True" : "False")
  : Number.isNaN(value) ? 'float("nan")' : Number.isFinite(value) ? String(value) : value > 0 ? 'float("inf")' : '-float("inf")';

const plain = (value) => (Number.isNaN(value) ? "nan" : Number.isFinite(value) ? String(value) : value > 0 ? "inf" : "-inf");
const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");

// py: an expression over the exhibit's Python; recorded: where in the recorded runs the number stands, e.g. "shrug.mse.15"
function attributes(value, { py = "", recorded = "", kind = "fix", digits = 4 } = {}) {
  const origin = py ? ` data-py="${escaped(py)}" title="${escaped(py)} = ${plain(value)}"` : recorded ? ` data-recorded="${escaped(recorded)}"` : "";
  return `data-value="${plain(value)}" data-kind="${kind}" data-digits="${digits}"${origin}`;
}
// a number in text
const num = (value, options = {}) =>
  `<span class="num" ${attributes(value, options)}>${shown(value, options.kind, options.digits)}</span>`;
// a number in an SVG
const mark = (x, y, value, options = {}) =>
  `<text x="${x.toFixed(2)}" y="${y.toFixed(2)}" class="num ${options.class ?? ""}" ${attributes(value, options)}>${options.before ?? ""}${shown(value, options.kind, options.digits)}</text>`;
