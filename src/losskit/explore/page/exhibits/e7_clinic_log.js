// A pasted log to curves, as losskit.doctor reads the same text: JSON lines, CSV, what programs print, or bare numbers.
const TrainingLog = (() => {
  const MOST_LINES = 20000, MOST_CHARACTERS = 4e6, LONGEST = 4096;
  const STEPS = ("global_step trainer/global_step train/global_step step steps _step iter iteration iterations iters update updates num_updates "
    + "train_step training_step total_steps it batch batch_idx").split(" ");
  const CLOCKS = "_timestamp wall_time walltime timestamp wall".split(" ");
  const set = (text) => new Set(text.split(" "));
  const EVAL = set("val valid validation eval evaluation test dev heldout holdout"), LOSS = set("loss losses nll xent crossentropy objective");
  const NOT = set("weight scale scaler best lambda coef coeff time count num number ratio std var grad");
  const OF_CLASSES = set("cross crossentropy binary categorical softmax sigmoid nll");
  const AGGREGATED = set("epoch avg average ema smooth smoothed mean running min max median");
  const PLAIN = new Set([...EVAL, ..."train training trainer step total all the lm".split(" ")]);
  const any = (words, ...names) => words.some((w) => names.some((n) => (n instanceof Set ? n.has(w) : n === w)));
  const wordsOf = (name) => name.slice(0, 200).replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase().match(/[a-z]+|[0-9.]+/g) ?? [];

  const DIGITS = "\\d+(?:_\\d+)*", SHAPE = new RegExp(`^[+-]?(?:${DIGITS}\\.?(?:${DIGITS})?|\\.${DIGITS})(?:e[+-]?${DIGITS})?$`);
  function number(cell) {
    if (typeof cell === "number") return cell;
    if (typeof cell !== "string" || cell.length >= 64) return null;
    const text = cell.trim().toLowerCase();
    const named = /^([+-]?)(?:(nan)|inf(?:inity)?)$/.exec(text);
    if (named) return named[2] ? NaN : named[1] === "-" ? -Infinity : Infinity;
    return SHAPE.test(text) ? Number(text.replace(/_/g, "")) : null;
  }
  function roleOf(name) {
    const plain = name.trim().toLowerCase().replace(/[ -]/g, "_");
    return STEPS.includes(plain) ? ["step", STEPS.indexOf(plain)] : CLOCKS.includes(plain) ? ["clock", CLOCKS.indexOf(plain)] : ["curve", 0];
  }
  const isLoss = (said) => {
    if (any(said, NOT) || (said.includes("entropy") && !any(said, OF_CLASSES))) return false;
    return any(said, LOSS) || (said.includes("cross") && said.includes("entropy")) || said.some((w) => w.length < 24 && w.endsWith("loss"));
  };
  function kindOf(name) {
    const said = wordsOf(name);
    if (any(said, "lr", "learningrate") || (said.includes("learning") && said.includes("rate"))) return "lr";
    if (said.at(-1) === "epoch" && !any(said, LOSS, "ppl", "perplexity", "acc", "accuracy") && said.length <= 2) return "epoch";
    if (any(said, "scale", "scaler") && any(said, "loss", "grad", "amp", "scaler", "gradient")) return "loss_scale";
    if (said.includes("gnorm") || (said.includes("norm") && any(said, "grad", "grads", "gradient", "gradients", "total")))
      return any(said, "weight", "bias", "layer", "layers", "clipped") ? "metric" : "grad_norm";
    if (any(said, "ppl", "perplexity")) return "perplexity";
    return isLoss(said) ? (any(said, EVAL) ? "eval_loss" : "train_loss") : "metric";
  }
  function bareKind(name) {
    const said = wordsOf(name);
    return said.length !== 1 ? null : said[0] === "train" || said[0] === "training" ? "train_loss" : EVAL.has(said[0]) ? "eval_loss" : null;
  }
  function placeInKind(name, points) { // the main curve of a kind sorts first
    const said = wordsOf(name), plain = said.filter((w) => !PLAIN.has(w));
    const parts = plain.filter((w) => !AGGREGATED.has(w)).length - 1;
    return [said.filter((w) => AGGREGATED.has(w)).length + Number(said.includes("test")), Math.max(parts, 0), -points, name];
  }

  // points by name: {rows, steps, values}
  class Table {
    constructor() { this.points = new Map(); this.rows = 0; }
    add(entries, place) { // one row: [[name, cell], ...]
      const counters = entries.map(([name, cell]) => [roleOf(name), number(cell)]).filter(([[role], v]) => role === "step" && v !== null).sort((a,
        b) => a[0][1] - b[0][1]);
      const step = counters.length ? counters[0][1] : NaN;
      for (const [name, cell] of entries) {
        const value = roleOf(name)[0] === "curve" ? number(cell) : null;
        if (value === null) continue;
        if (!this.points.has(name)) this.points.set(name, { name, rows: [], steps: [], values: [] });
        const to = this.points.get(name);
        to.rows.push(place); to.steps.push(step); to.values.push(value);
      }
    }
  }
  function flat(row, prefix = "", depth = 0) {
    return Object.entries(row).flatMap(([key, value]) => (value !== null && typeof value === "object" && !Array.isArray(value)
      ? (depth < 3 ? flat(value, `${prefix}${key}/`, depth + 1) : []) : [[`${prefix}${key}`, value]]));
  }
  function object(line) { // Python's JSON has NaN and Infinity
    try {
      const row = JSON.parse(line.replace(/"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g, (m) => (m[0] === '"' ? m : `"${m}"`)));
      return row !== null && typeof row === "object" && !Array.isArray(row) ? row : null;
    } catch { return null; }
  }
  function jsonLines(lines, log) {
    for (const line of lines.filter((l) => l.trim())) {
      const row = object(line);
      if (row) log.table.add(flat(row), log.table.rows++);
      else log.skipped++;
    }
  }
  function cells(line, delimiter) { // one line of CSV
    const found = [];
    let cell = "", quoted = false;
    for (let k = 0; k < line.length; k++) {
      const c = line[k];
      if (quoted && c === '"' && line[k + 1] === '"') { cell += c; k++; }
      else if (quoted ? c === '"' : c === '"' && cell === "") quoted = !quoted;
      else if (!quoted && c === delimiter) { found.push(cell); cell = ""; }
      else cell += c;
    }
    return [...found, cell];
  }
  const delimiterOf = (line) => [",", "\t", ";"].reduce((best, d) => (line.split(d).length > line.split(best).length ? d : best));
  function csv(lines, log) {
    let some = lines.filter(Boolean);
    const delimiter = delimiterOf(some[0]), header = cells(some[0], delimiter).map((name) => name.trim());
    some = some.slice(1);
    const text = some.slice(0, 1000).join("\n");
    if (delimiter !== "," && /(?<![\d,])\d+,\d+(?![\d,])/.test(text) && !/\d\.\d/.test(text)) some = some.map((line) => line.replace(/,/g, "."));
    const rows = some.map((line) => cells(line, delimiter)), whole = rows.filter((row) => row.length === header.length);
    log.skipped += rows.length - whole.length;
    // one counter serves all rows: the best that has numbers at all
    const counters = header.map((name, k) => [roleOf(name), k]).filter(([[role], k]) => role === "step"
      && whole.some((row) => number(row[k]) !== null)).sort((a, b) => a[0][1] - b[0][1]);
    const keep = header.map((name, k) => k).filter((k) => roleOf(header[k])[0] !== "step" || (counters.length && k === counters[0][1]));
    for (const row of whole) log.table.add(keep.map((k) => [header[k], row[k]]), log.table.rows++);
  }
  const NUMBER = "[-+]?(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?(?:nan|NaN|NAN|inf|Inf|INF|infinity|Infinity)",
    WORD = "[A-Za-z_][A-Za-z0-9_./@-]{0,60}";
  const ENTRY = new RegExp(`(?<![\\w./])(${WORD}(?: ${WORD}){0,3}?)["']?\\]?(?:\\s{0,8}[:=]+\\s{0,12}|\\s{1,8}|\\s?\\[\\s{0,8}|\\()["']?(?:tensor\\()?`
    + `(${NUMBER})(?!,[0-9]|(?!(?:nats?|bits?)\\b)[A-Za-z0-9_]|\\.[A-Za-z0-9])`, "dg");
  const CURVE = /loss|nll|xent|entropy|objective|ppl|perplex|norm|lr|learning|scale|epoch|tensor\(/i;
  const PRINTED = new RegExp(`^tensor\\((?:${NUMBER})(?:, (?!grad_fn)[^,()]{1,40})*,(?:\\s{0,8}$| grad_fn=<)`);
  const OF_A_LOSS = /^tensor\([^()]{1,120}grad_fn=<\w{0,60}(?:Loss|CrossEntropy)/;
  const HELD_OUT = /^[^A-Za-z]{0,40}(?:\[[^\]]{0,40}\]\W{0,4})?(val|valid|validation|eval|evaluation|test|dev)\b(?![./\\])/i;
  const HEADING = /^[\s|]*(?:epoch|step|iter)[\s|]{2,40}[\w\s|./]*loss[\w\s|./]*$/i;
  const EMPTY = set("is of at to the in after for from on and with than about");
  function nameOf(said) {
    const words = said.replace(/^[ .-]+|[ .-]+$/g, "").split(/\s+/).filter(Boolean);
    while (words.length && EMPTY.has(words.at(-1).toLowerCase())) words.pop();
    return words.join(" ").replace(/^[-./]+|[-./]+$/g, "");
  }
  function entriesOf(line) { // [[name, text, place], ...] of the numbers that count
    if (!CURVE.test(line) || !/\d|nan|inf/i.test(line)) return [];
    const found = new Map(), heldOut = HELD_OUT.exec(line), note = (name, text, at) => { if (!found.has(name)) found.set(name, [name, text, at]); };
    for (const match of line.matchAll(ENTRY)) {
      let name = nameOf(match[1]);
      const [begin] = match.indices[2];
      if (name && heldOut && heldOut[0].length <= match.indices[1][1] && kindOf(name) === "train_loss") name = `${heldOut[1].toLowerCase()} ${name}`;
      if (name === "tensor" && PRINTED.test(line.slice(match.index))) {
        name = "printed loss";
        const numbered = /^\W{0,4}(\d{1,15})\W{1,4}tensor\(/d.exec(line);
        if (numbered) note("step", numbered[1], numbered.indices[1][0]);
      } else if (name && kindOf(name) === "metric" && roleOf(name)[0] === "curve" && OF_A_LOSS.test(line.slice(Math.max(0, begin - 7)))) name = `${name} loss`;
      if (name) note(name, match[2], begin);
    }
    const bare = new Set([...found.keys()].filter((name) => bareKind(name)));
    const both = new Set([...bare].map(bareKind)).size === 2;
    const entries = [...found.values()].filter(([name]) => roleOf(name)[0] !== "curve" || kindOf(name) !== "metric" || (both && bare.has(name)));
    const curves = entries.filter(([name]) => roleOf(name)[0] === "curve");
    if (!curves.length) return [];
    const begins = curves.filter(([name]) => kindOf(name) !== "epoch").map(([, , at]) => at), begin = begins.length ? Math.min(...begins) : 0;
    const bars = begin ? [...line.slice(0, begin).matchAll(/(?<![\w./])(\d{1,15})\s?\/\s?(\d{1,15})(?![\w./])/g)] : [];
    if (!entries.some(([name]) => roleOf(name)[0] === "step") && bars.length) {
      entries.push(["batch_idx", bars.at(-1)[1], bars.at(-1).index]);
      const named = [...found.keys()].some((name) => name.toLowerCase() === "epoch"), lead = line.slice(0, bars[0].index).toLowerCase().trimEnd();
      if (bars.length > 1 && !named && /(?:\[|\(|epoch)$/.test(lead)) entries.push(["epoch", bars[0][1], bars[0].index]);
    }
    return entries.sort((a, b) => a[2] - b[2]);
  }
  function printed(lines, log) {
    let heading = [];
    const parts = (line) => line.replace(/^[ |\t]+|[ |\t]+$/g, "").split(/[\s|]+/);
    lines.forEach((whole, place) => {
      const line = whole.slice(0, LONGEST);
      if (line.includes("'train_runtime'")) return;
      const entries = entriesOf(line);
      if (entries.length) {
        log.hidesNan ||= line.startsWith("{'loss': ");
        log.table.add(entries, place);
      } else if (line.length < 500 && HEADING.test(line)) heading = parts(line);
      else if (heading.length && parts(line).length === heading.length && number(parts(line)[0]) !== null) log.table.add(heading.map((name, k) => [name,
        parts(line)[k]]), place);
    });
    log.table.rows = lines.length;
    const losses = log.table.points.get("loss");
    log.hidesNan = log.hidesNan && Boolean(losses) && losses.values.every(Number.isFinite);
  }
  function isTable(text) {
    const lines = text.split("\n").slice(0, 4).filter((l) => l.trim());
    if (lines.length < 2) return false;
    return [",", "\t", ";"].some((d) => {
      const [header, first] = lines.slice(0, 2).map((line) => cells(line, d));
      return header.length > 1 && first.length === header.length && header.every((c) => c.trim() && number(c.trim()) === null)
        && first.some((c) => number(c) !== null);
    });
  }
  // the first lines of a text, how many they are, and how many there are in all
  function head(text) {
    let count = 0, end = text.length, kept = 0;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) {
      count++;
      if (count === MOST_LINES && at < end) end = at + 1;
      if (at < MOST_CHARACTERS && count <= MOST_LINES) kept = at + 1;
    }
    if (text.length > MOST_CHARACTERS) end = Math.min(end, kept || MOST_CHARACTERS);
    const lines = count + Number(text.length > 0 && !text.endsWith("\n")), cut = end < text.length;
    return { text: text.slice(0, end), lines, kept: cut ? text.slice(0, end).trimEnd().split("\n").length : lines, cut };
  }
  const bareNumbers = (text) => {
    const lines = text.split("\n").filter((l) => l.trim());
    return lines.length > 0 && lines.every((line) => number(line) !== null);
  };
  // {format, text (as a file would have it), lines, kept, cut, run}; a column of bare numbers gets the heading that it lacks
  function read(given) {
    const { text: cut, ...size } = head(given), log = { table: new Table(), skipped: 0, hidesNan: false };
    const text = bareNumbers(cut) ? `loss\n${cut.replace(/^[^\S\n]*\n/gm, "")}` : cut, start = text.replace(/^[\ufeff \t\r\n]+/, "");
    const format = !text.length ? "empty" : bareNumbers(cut) ? "numbers" : start.startsWith("{") && start.slice(0, 65536).includes('"') ? "jsonl"
      : isTable(start) ? "csv" : "stdout";
    const clean = text.replace(/^\ufeff/, "").replace(/\0+/g, "\n").replace(/\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)/g, "");
    const rows = (format === "stdout" ? clean.replace(/\r/g, "\n") : clean.replace(/\r\n/g, "\n")).split("\n");
    if (format === "jsonl") jsonLines(rows, log);
    else if (format === "csv" || format === "numbers") csv(rows, log);
    else if (format === "stdout") printed(rows, log);
    return { format, text, ...size, skipped: log.skipped, run: format === "empty" ? null : curvesOf(log, { kindOf, bareKind,
      placeInKind }) };
  }
  return { read, head, kindOf, wordsOf, placeInKind };
})();
