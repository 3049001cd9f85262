// Loss clinic: recorded curves to guess at, the doctor's finding drawn into them, and a person's own log diagnosed in the page.
{
  const { runs, rules } = RECORDED.clinic;
  const ILLNESSES = {
    healthy: "healthy: leave it alone", floor: "healthy, and as low as this loss can be", twice: "on a plateau: softmax before cross-entropy",
    chance: "at chance: nothing is learned", diverges: "diverges: the steps are too long", nan: "a value that is no number came in",
    rate: "the learning rate ended too early", overfit: "overfits: learns its data by heart", sign: "the loss has the wrong sign",
    hidden: "sick, and the curve does not show it",
  };
  const KNOWN = { none: "nothing more", classes: "the number of classes", tokens: "the size of the vocabulary", pairs: "pairs in a batch (InfoNCE, CLIP)" };
  const LINES = { level: "level", low: "lowest", start: "at the start", before: "before", chance: "chance", best: "best" }; // what a finding draws
  const MOST_SHOWN = 60000; // characters of a log that still stand in the Python
  const NUMBER = /(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?(%?)/g;
  const isOwn = (state) => state.patient === "own";

  function factsOf({ known, count, smoothing }) {
    if (known === "classes") return { loss: "cross_entropy", num_classes: count, ...(smoothing ? { label_smoothing: smoothing } : {}) };
    return known === "tokens" ? { loss: "cross_entropy", vocab_size: count } : known === "pairs" ? { loss: "info_nce_loss", batch_size: count } : {};
  }
  const whole = new Map(); // what a text was before it was cut
  function cut(text) {
    const { text: kept, ...size } = TrainingLog.head(text);
    if (size.cut) whole.set(kept, size);
    return kept;
  }
  const logs = new Map();
  // {log, levels, findings, facts, exact: whether the Python below has the log}
  function seen(state) {
    const run = isOwn(state) ? null : runs[Number(state.patient) - 1], text = run ? run.log : state.log, facts = run ? run.facts : factsOf(state);
    const key = `${JSON.stringify(facts)}${text}`;
    if (!logs.has(key)) {
      if (logs.size > 30) logs.clear();
      const found = Doctor.diagnose(text, facts);
      Object.assign(found.log, whole.get(text));
      logs.set(key, { facts, ...found });
    }
    const found = logs.get(key);
    return { ...found, person: run, findings: run ? run.findings : found.findings, exact: found.log.text.length <= MOST_SHOWN && !found.log.cut };
  }
  const main = (log) => log.run && (Curves.main(log.run, "train_loss") ?? Curves.main(log.run, "eval_loss"));

  // the numbers of a sentence, each with the Python that reads it from the same sentence
  function marked({ code, said }, exact) {
    let html = "", at = 0, k = 0;
    for (const match of said.matchAll(NUMBER)) {
      const share = match[1] === "%", text = match[0].replace("%", ""), digits = (/\.(\d+)/.exec(text)?.[1] ?? "").length;
      const py = exact ? `said["${code}"][${k++}]${share ? " / 100" : ""}` : "", kind = share ? "pct" : /e/.test(text) ? "sig" : "fix";
      html += `${escaped(said.slice(at, match.index))}<span class="num"`
        + ` ${attributes(Number(text) / (share ? 100 : 1), { py, kind, digits: kind === "sig" ? 15 : digits })}>${match[0]}</span>`;
      at = match.index + match[0].length;
    }
    return html + escaped(said.slice(at));
  }
  const steps = (text) => { // sentences, one a line; code stays a line of its own
    const parts = text.split(/(?<=[.;:])\s+(?=[A-Z][a-z])|\n/).map((part) => part.trim()).filter(Boolean);
    return parts.length > 1 ? `<ol>${parts.map((part) => `<li>${escaped(part)}</li>`).join("")}</ol>` : `<p>${escaped(text)}</p>`;
  };
  const WORDS = { error: "sick", warning: "look at this", info: "worth knowing" };
  function findingOf(one, exact) {
    const rule = rules[one.code];
    return `<article class="finding ${one.severity}" data-code="${one.code}" data-own="${one.own}" data-step="${one.step ?? ""}"`
      + ` data-said="${escaped(one.said)}" data-fix="${escaped(one.fix)}">
      <h3>${escaped(rule.name)} <span class="soft">${one.code}, ${WORDS[one.severity]}</span></h3><p>${marked(one, exact)}.</p>
      <h4>Why</h4><p>${escaped(rule.cause)}</p><h4>How to mend it</h4>${steps(one.fix)}
      <h4>How to be sure</h4><p>${escaped(rule.confirm)}</p>
      ${one.under.map((c) => `<p class="soft" data-code="${c.code}" data-own="${c.own}" data-step="${c.step ?? ""}" data-said="${escaped(c.said)}"`
        + ` data-fix="${escaped(c.fix)}">It
        explains ${c.code}, ${escaped(rules[c.code].name)}: ${marked(c, exact)}.</p>`).join("")}
      <p class="soft">More in a terminal: <code>losskit show ${one.code}</code></p></article>`;
  }
  // at most about a thousand points reach the paper: of each run of neighbours the lowest and the highest
  function thinned(points) {
    const size = Math.ceil(points.length / 500);
    if (size < 3) return points;
    return Array.from({ length: Math.ceil(points.length / size) }, (_, k) => points.slice(k * size, (k + 1) * size))
      .flatMap((some) => [some.reduce((a, b) => (b[1] < a[1] ? b : a)), some.reduce((a, b) => (b[1] > a[1] ? b : a))].sort((a, b) => a[0] - b[0]));
  }
  const pairs = (series) => (series ? series.steps.map((s, k) => [s, series.values[k]]).filter(([, v]) => Number.isFinite(v) && Math.abs(v) < 1e300) : []);
  function rangeOf(values, level) { // with room for the name of a level below it
    const low = Curves.least(values), high = Curves.most(values);
    if (low > 0 && high / low > 50) return { low: low / 1.3, high: high * 1.6, log: true, digits: 1 };
    const gap = high - low || Math.abs(high) || 1;
    return { low: low - (level ? 0.14 : 0.04) * gap, high: high + 0.14 * gap, digits: 3 };
  }
  // a word and its number beside a line
  function tagged(picture, x, y, words, value, { dx, dy, end, ...options }) {
    const [px, py] = picture.at(x, picture.clipped(y)), shape = { kind: "sig", digits: 15, ...options };
    picture.raw(`<text class="strong halo ${end ? "end" : ""}" x="${(px + dx).toFixed(2)}" y="${(py + dy).toFixed(2)}">${words} <tspan class="num"`
      + ` ${attributes(value, shape)}>${shown(value, shape.kind, shape.digits)}</tspan></text>`);
  }
  function pictureOf(log, finding, exact) {
    const loss = main(log), validation = Curves.main(log.run, "eval_loss"), other = validation === loss ? null : validation;
    const curve = pairs(loss), evaluated = pairs(other), level = finding?.level ?? null;
    const values = [...curve, ...evaluated].map(([, v]) => v), ends = [loss, other].filter(Boolean).flatMap((s) => [s.steps[0], s.steps.at(-1)]);
    if (!values.length) return "<p>No value of the loss is a number: there is nothing to draw.</p>";
    const first = Math.min(...ends), last = Math.max(...ends, first + 1);
    const y = { ...rangeOf(level && Math.abs(level[1]) < 1e300 ? [...values, level[1]] : values, level), label: "loss" };
    const picture = new Picture({ label: `Loss against step, ${curve.length} points`, y, left: y.log ? 72 : 58, x: { low: first, high: last, label: "step",
      digits: 6 } });
    if (level) picture.rule("y", level[1], "");
    if (finding && finding.step !== null) picture.rule("x", finding.step, "");
    picture.line(thinned(curve), "a");
    if (evaluated.length) {
      picture.line(thinned(evaluated), "b");
      if (evaluated.length < 60) evaluated.forEach(([x, y]) => picture.dot(x, y, "b", 4));
    }
    const py = (path) => (exact ? { py: `found["${finding.code}"].${path}` } : {}), right = finding && finding.step !== null
      && (finding.step - first) / (last - first) > 0.6;
    if (finding && finding.step !== null) tagged(picture, finding.step, picture.y.high, "step", finding.step, { ...py("step"), kind: "int", dx: right ? -6
      : 6, dy: 15, end: right });
    if (level) {
      const [, at] = picture.at(first, picture.clipped(level[1])), below = at < 90 || (at < 250 && curve.length && curve.at(-1)[1] >= level[1]);
      tagged(picture, right ? first : last, level[1], LINES[level[0]], level[1], { ...py(`numbers["${level[0]}"]`), digits: 5, dx: right ? 6 : -6, dy: below
        ? 19 : -7, end: !right });
    }
    return picture.svg() + legend([["a", `${loss.name}`], ...(other ? [["b", other.name]] : [])]) + ratePicture(log, first, last);
  }
  function ratePicture(log, first, last) { // only a rate that moves is worth a look
    const points = pairs(Curves.main(log.run, "lr")), high = Curves.most(points.map(([, v]) => v));
    if (points.length < 2 || points.every(([, v]) => v === points[0][1])) return "";
    return new Picture({ label: "Learning rate against step", height: 150, x: { low: first, high: last, label: "step", digits: 6 }, y: { low: 0,
      high: 1.08 * high || 1, label: "learning rate", ticks: ticksOf(0, high || 1, 2) } })
      .line(thinned(points), "c").svg();
  }
  function figures({ log, exact }) {
    const loss = main(log), known = loss.values.filter(Number.isFinite), py = (path) => (exact ? { py: path } : {}), shown = { kind: "sig", digits: 6 };
    return `<dl class="big"><div><dt>points of the loss</dt><dd>${num(loss.values.length, { ...py("len(loss)"), kind: "int" })}</dd></div>
      <div><dt>first</dt><dd>${num(loss.values[0], { ...py("loss.values[0]"), ...shown })}</dd></div><div><dt>last</dt><dd>${num(loss.values.at(-1),
        { ...py("loss.values[-1]"), ...shown })}</dd></div>
      ${known.length ? `<div><dt>lowest</dt><dd>${num(Curves.least(known), { ...py("loss.finite().values.min()"), ...shown })}</dd></div>` : ""}</dl>`;
  }
  const count = (path, value) => num(value, { recorded: `clinic.${path}`, kind: "int" });
  function knownOf(k, { num_classes: c, vocab_size: v, batch_size: n, label_smoothing: e }) {
    const at = (name, value, kind = "int") => num(value, { recorded: `clinic.runs.${k}.facts.${name}`, kind });
    const of = c ? `Cross-entropy over ${at("num_classes", c)} classes` : v ? `Cross-entropy over ${at("vocab_size", v)} tokens` : n
      ? `InfoNCE over ${at("batch_size", n)} pairs` : "Squared error of a regression";
    return `${of}${e ? `, label smoothing ${at("label_smoothing", e, "sig")}` : ""}.`;
  }
  const nothing = () => `<p class="verdict" data-silent>Nothing found by these ${count("ported", RECORDED.clinic.ported)} rules. <code>losskit doctor`
    + ` FILE</code> asks ${count("more", RECORDED.clinic.more)} more.</p>`;
  function patientView(state, now) {
    const k = Number(state.patient) - 1, { illness, was } = now.person, right = state.guess === illness, open = state.open;
    const picture = `<p>${knownOf(k, now.facts)}</p>${figures(now)}${pictureOf(now.log, open ? now.findings[0] : null, now.exact)}`;
    if (!open) return `${picture}<p class="verdict">What ails it? ${state.guess ? "Your guess is in: show the diagnosis." : "Guess first, then show"
      + " the diagnosis."}</p>`;
    const said = state.guess === "" ? "The diagnosis:" : right ? "Right:" : "Not that, but:";
    const why = { healthy: "The doctor says nothing, as it should.",
      hidden: "The log says nothing, and the doctor of logs with it. <code>losskit.doctor.check(model, batch, loss_fn)</code> sees it before the first step: "
      + "(N, 1) against (N,) is broadcast to N × N (<code>losskit show D106</code>)." }[illness] ?? "";
    return `${picture}<p class="verdict" data-right="${right}"><strong>${said} ${escaped(ILLNESSES[illness])}.</strong> The run: ${escaped(was)}.`
      + ` ${why}</p>${now.findings.map((one) => findingOf(one, now.exact)).join("")}`;
  }
  function ownView(state, now) {
    const { log, findings } = now;
    if (log.format === "empty") return '<p class="verdict" data-silent>Paste a log on the left: it is drawn and diagnosed here, and never leaves this'
      + ' page.</p>';
    const cut = log.cut ? `<p class="note" data-cut>The log has ${num(log.lines, { kind: "int" })} lines; the page reads the first`
      + ` ${num(log.kept, { kind: "int" })}. <code>losskit doctor FILE</code> reads them all.</p>` : "";
    const skipped = log.skipped ? `<p class="note">Lines that could not be read: ${num(log.skipped, { kind: "int" })}.</p>` : "";
    const loss = main(log), shown = loss ? figures(now) + pictureOf(log, findings[0], now.exact) : "<p>No loss was found in this text.</p>";
    return cut + skipped + shown + (findings.length ? findings.map((one) => findingOf(one, now.exact)).join("") : nothing());
  }
  exhibit({
    id: "clinic",
    title: "Loss clinic",
    claim: "A curve that falls may be sick, and one that stands may be as low as it can be. What tells them apart is a number: where the loss should"
      + " stand. The first patient is opened; guess the others.",
    controls: [
      { name: "patient", label: "Curve", kind: "choice", value: "1", options: [...runs.map((_, k) => [String(k + 1), `Patient ${k + 1}`]), ["own",
        "Your own log: paste it"]] },
      { name: "paste", label: "Diagnose your own log", kind: "button", when: (s) => !isOwn(s) },
      { name: "guess", label: "What ails it?", kind: "choice", value: "", options: [["", "choose …"], ...Object.entries(ILLNESSES)], when: (s) => !isOwn(s) },
      { name: "open", label: "Show the diagnosis", kind: "switch", value: true, when: (s) => !isOwn(s) },
      { name: "log", label: "Your log: JSON lines, CSV, printed lines, or numbers", kind: "text", value: "", rows: 10, unshared: true, when: isOwn, cut,
        hint: "step 100 loss 2.31 lr 0.001\n{'loss': 2.31, 'epoch': 0.1}\n{\"step\": 100, \"loss\": 2.31}\nstep,loss,val_loss\n2.31" },
      { name: "known", label: "What is known of the loss", kind: "choice", value: "none", options: Object.entries(KNOWN), when: isOwn },
      { name: "count", label: "How many", kind: "range", value: 10, low: 2, high: 200000, scale: "log", step: 1, when: (s) => isOwn(s) && s.known !== "none" },
      { name: "smoothing", label: "Label smoothing", kind: "range", value: 0, low: 0, high: 0.5, step: 0.01, when: (s) => isOwn(s) && s.known === "classes" },
    ],
    act: { paste(state) { state.patient = "own"; } },
    after(state, name) {
      if (name === "patient") Object.assign(state, { guess: "", open: false });
    },
    view: (state) => (isOwn(state) ? ownView : patientView)(state, seen(state)),
    code(state) {
      const { log, facts, exact } = seen(state), { text } = log, refs = Object.keys(facts).length
        ? `, refs={${Object.entries(facts).map(([name, value]) => `"${name}": ${python(value)}`).join(", ")}}` : "";
      if (log.format === "empty" || !exact) return `\nimport losskit.doctor\nreport = losskit.doctor.diagnose("train.log"${refs})  # your log as a`
        + ` file\nprint(report)`;
      const plain = /^[\t\n\x20-\x7e]*$/.test(text) && !text.includes("'''") && !/['\\]$/.test(text);
      return `
import pathlib, re, tempfile, losskit.doctor
log = ${plain ? `r'''${text}'''` : python(text)}
path = pathlib.Path(tempfile.mkdtemp(), "${log.format === "numbers" ? "log.csv" : "log.txt"}")
path.write_text(log, encoding="utf-8")
report = losskit.doctor.diagnose(path${refs})
print(report)
run = report.cases[0].run
loss = run.main("train_loss") or run.main("eval_loss")
findings = [one for top in report.findings for one in (top, *top.consequences)]
found = {one.code: one.hit for one in findings}
said = {one.code: [float(n) for n in re.findall(r"(?<![\\w.])[-+]?\\d+(?:\\.\\d+)?(?:e[-+]\\d+)?", one.hit.said)] for one in findings}`;
    },
  });
}
