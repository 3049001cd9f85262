// The doctor in the page: those of its rules that curves alone decide, with their sentences. RECORDED.clinic.rules has their texts.
const Doctor = (() => {
  const { finite, lower, median, least, noise, slope, standsAt } = Curves;
  const { of, main, picked, onlyFinite, since, steadyFrom } = Curves;
  const { wordsOf, kindOf, placeInKind } = TrainingLog, py = pythonic;
  const { rules: RULES, fixes: FIXES, constants: K } = RECORDED.clinic;
  const hit = (said, more) => ({ said, step: null, severity: null, confidence: 1, fix: "", ...more });
  const plural = (count, word) => `${grouped3(count)} ${word}${count === 1 ? "" : "s"}`, grouped3 = (n) => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  const filled = (text, step) => text.replace("{step:,}", grouped3(step)).replaceAll("{step}", String(step));
  const positive = (run, kind) => run.levels.filter((level) => level.kind === kind && level.value > 0);

  // ------------------------------------------------------------------ levels, from what the person knows
  function levelsOf({ loss, num_classes, vocab_size, batch_size, label_smoothing = 0 }) {
    const found = [], add = (formula, value, meaning, kind, code = "") =>
      found.push({ name: `${formula ? `${formula} = ` : ""}${py(value, ".4f")}: ${meaning}`, value, kind, code });
    if (loss === "info_nce_loss") {
      if (batch_size > 1) add(`ln ${batch_size}`, Math.log(batch_size), `each of ${batch_size} candidates is as likely, the embeddings say nothing`, "chance",
        "D702");
      return found;
    }
    const count = vocab_size ?? num_classes;
    if (count === undefined) return found;
    if (count > 1) add(`ln ${count}`, Math.log(count), `chance among ${count} ${vocab_size ? "tokens" : "classes"}`, "chance", vocab_size ? "D804" : "");
    const other = label_smoothing / count, own = 1 - label_smoothing + other, floor = label_smoothing && count > 1
      ? -own * Math.log(own) - (count - 1) * other * Math.log(other) : 0;
    if (floor) add("", floor, `the floor of label smoothing ${py(label_smoothing, ".6g")}`, "floor");
    else found.push({ name: "0: at best", value: 0, kind: "floor", code: "" });
    if (!vocab_size && count > 1) add(`ln(e + ${count - 1}) - ${py(own, ".4g")}`, Math.log(Math.E + count - 1) - own, "every row is right and goes through a softmax twice",
      "plateau", "D101");
    return found;
  }
  const AGAINST = /(^|[^a-z])(d|g|dis|disc|gen|gan|adv|critic|discriminator|generator|adversarial)([^a-z]|$)/;
  function needNotFall(run) { // names that speak of two networks against each other, or of a policy and its reward
    const has = (name, ...words) => wordsOf(name).some((w) => words.includes(w)), first = main(run, "train_loss") ?? main(run, "eval_loss");
    if (first && AGAINST.test(first.name.toLowerCase())) return true;
    const names = [...run.seen, ...run.series.map((s) => s.name)], losses = names.filter((n) => ["train_loss", "eval_loss"].includes(kindOf(n)));
    if (losses.some((n) => has(n, "g", "gen", "generator")) && losses.some((n) => has(n, "d", "dis", "disc", "discriminator", "critic"))) return true;
    if (names.some((n) => has(n, "chosen", "rejected", "accuracies", "margins"))) return false;
    return names.some((n) => has(n, "reward", "rewards", "rew") || (has(n, "return", "returns") && has(n, "ep", "episode", "episodes", "episodic",
      "discounted", "cumulative"))
      || (has(n, "policy", "td", "actor", "entropy") && has(n, "loss") && !has(n, "cross")));
  }
  // ------------------------------------------------------------------ standing at a level
  const lossOf = (run) => {
    const loss = main(run, "train_loss") ?? main(run, "eval_loss"), other = main(run, "perplexity");
    return loss ?? (other && { ...other, kind: "train_loss", values: other.values.map(Math.log) });
  };
  const CLASSES = new Set("cls class classes classification classifier ce xent nll lm mlm seg crossentropy".split(" "));
  function ofClasses(run, whole) { // of a total with parts, the part that levels are those of
    const { PART, WHOLE } = K.levels_standing;
    const says = (name) => wordsOf(name).some((w) => CLASSES.has(w)) || ["cross", "entropy"].every((w) => wordsOf(name).includes(w));
    const tail = (s) => lower(finite(s.values.slice(-Math.max(20, s.values.length >> 2))).map(Math.abs)) || NaN, part = (s) => placeInKind(s.name, 0)[1] > 0;
    if (whole.kind !== "train_loss" || says(whole.name)) return whole;
    const all = tail(whole), share = (s) => tail(s) / all;
    const parts = of(run, "train_loss").filter((s) => s !== whole && part(s) && ((share(s) > PART && share(s) < WHOLE) || (part(whole)
      && tail(s) * WHOLE > all)));
    return parts.length ? parts.find((s) => says(s.name)) ?? null : whole;
  }
  function excused(numbers, level, standing) {
    const { BLOCKS, LEARNED } = K.levels_standing;
    if (level.kind === "plateau" || level.kind === "floor") {
      const size = Math.max(1, Math.floor(numbers.length / BLOCKS));
      const blocks = size > 1 ? Array.from({ length: Math.floor(numbers.length / size) }, (_, k) => lower(numbers.slice(k * size, (k + 1) * size))) : [];
      return least(blocks) < level.value - 2 * standing.delta;
    }
    const trend = slope(numbers.slice(-standing.n));
    return trend.falls && -trend.value * standing.n > LEARNED * level.value;
  }
  function stuck(run) {
    let series = run.adversarial ? null : lossOf(run);
    series = series && ofClasses(run, series);
    if (!series || AGAINST.test(series.name.toLowerCase())) return null;
    const from = steadyFrom(run), { steps, values } = picked(series, (k) => series.steps[k] >= from);
    if (values.length < 3 || !Number.isFinite(values.at(-1))) return null;
    const numbers = finite(values), at = median(numbers.slice(-Math.max(20, numbers.length >> 2)));
    const found = run.levels.filter((l) => l.value > 0 && Math.abs(l.value - at) <= K.levels_standing.NEAR * l.value).map((level) => [level, standsAt(values, level.value)])
      .filter(([level, standing]) => standing && !excused(numbers, level, standing)).sort((a,
        b) => Math.abs(a[1].median - a[0].value) - Math.abs(b[1].median - b[0].value))[0];
    if (!found) return null;
    const [level, standing] = found, size = Math.max(1, Math.floor(standing.n / 10));
    let first = standing.start, left = false;
    while (first - size >= 0 && !left) {
      const block = finite(values.slice(first - size, first));
      left = block.length > 0 && Math.abs(median(block) - level.value) > Math.max(K.levels_standing.WAY * level.value, 2 * standing.delta);
      if (!left) first -= size;
    }
    if (!left && first < size) first = 0;
    const begin = steps[first], end = steps.at(-1), share = (end - begin) / Math.max(1, end - steps[0]);
    const owner = level.kind === "floor" ? "D404" : ["D702", "D804"].includes(level.code) ? level.code : "D403";
    return { level, standing, series, owner, begin, end, window: steps[standing.start], share, error: (3 * 1.2533 * noise(values.slice(-standing.n))) / Math.sqrt(standing.n) };
  }
  function standing(found, meaning, more = {}) {
    const { level, standing: s } = found, below = level.value - s.median > Math.max(K.levels_standing.A_LITTLE * level.value, found.error);
    const lost = found.share >= K.levels_standing.HALF && level.kind === "chance" && !below;
    const words = below && level.kind === "chance" ? `${meaning}, or next to nothing (${py(1 - s.median / level.value, ".1%")} below)` : meaning;
    return hit(`${found.series.name} stands at ${level.name}. Its median over the last ${s.n} points, steps ${found.window} to ${found.end},`
      + ` is ${py(s.median, ".4f")}, and up to ${py(s.delta, ".4f")} from the level`
      + ` (${s.delta <= 1.001 * K.level.NEAR * level.value ? "2 % of it" : "3 standard errors"}) counts as there; so it has been since`
      + ` step ${found.begin} (${py(found.share, ".0%")} of the run, warm-up not counted): ${words}`, { step: found.begin, severity: lost ? "error" : null, level: ["level", level.value], ...more });
  }
  const ownedBy = (code, meaning) => function* (run) {
    const found = run.stuck;
    if (found?.owner === code) yield standing(found, typeof meaning === "string" ? meaning : meaning(found), code === "D404" ? { severity: "info" } : {});
  };
  const MEANING = { chance: "the model predicts nothing, whatever it is shown", plateau: FIXES.may };
  function* atALevel(run) {
    const found = run.stuck, plateau = found?.level.kind === "plateau";
    if (found?.owner === "D403") yield standing(found, MEANING[found.level.kind] ?? "it does not move", plateau ? { fix: FIXES.plateau,
      severity: "info" } : {});
  }
  // ------------------------------------------------------------------ values that are no numbers, or cannot be
  function* notFinite(run) {
    const train = main(run, "train_loss"), validation = main(run, "eval_loss");
    for (const [series, what] of [[train, "train loss"], [validation, "eval loss"]]) {
      if (!series || !series.values.length) continue;
      const { steps, values } = series, bad = values.map((v) => !Number.isFinite(v)), at = bad.indexOf(true);
      if (at < 0 || (series === train && validation && rowsOfEvaluations(series, bad, validation))) continue;
      const count = bad.filter(Boolean).length, after = values.length - at, step = steps[at];
      const lives = count <= Math.max(1, K.D301.FEW * after) && after > 1 && !bad.at(-1);
      const before = at ? `, after ${py(values[at - 1], ".4g")} at step ${steps[at - 1]}` : "", end = lives ? "the others are finite again"
        : `${count} of the ${after} points from there on are not finite`;
      yield hit(`the ${what} "${series.name}" is ${py(values[at], ".4g")} for the first time at step ${step}${before}: ${lives ? `${count} in all,`
        + ` ` : ""}${end}`,
        { step, severity: lives ? "warning" : "error", confidence: 0.9, fix: filled(FIXES.log, step) });
      return;
    }
  }
  function rowsOfEvaluations({ steps, values }, bad, validation) {
    if (values.some((v) => Math.abs(v) === Infinity) || bad.every(Boolean)) return false;
    const there = new Set(validation.steps), shared = steps.map((s) => there.has(s)), count = (f) => steps.filter((_, k) => f(k)).length;
    return 2 * count((k) => bad[k] && shared[k]) > count((k) => shared[k]) && !shared.every(Boolean) && !count((k) => bad[k] && !shared[k])
      && bad.slice(bad.indexOf(true)).includes(false);
  }
  function* hidesNan(run) {
    const losses = main(run, "train_loss"), norms = main(run, "grad_norm");
    if (!losses || !losses.values.length) return;
    const { values, steps } = losses, beside = Boolean(norms?.values.length), at = new Map(beside ? norms.steps.map((s, k) => [s, norms.values[k]]) : []);
    const bad = steps.map((s) => at.has(s) && !Number.isFinite(at.get(s)));
    let places = [];
    if (beside) places = bad.map((_, k) => k).filter((k) => bad[k] && Number.isFinite(values[k]) && (values[k] === 0 || (k > 0 && values[k] === values[k - 1])));
    else if (run.hidesNan) {
      const other = values.findLastIndex((v) => v !== 0);
      if (other < 0 || Math.abs(values[other]) >= K.D901.FELL_FROM) places = values.map((_, k) => k).slice(other + 1);
    }
    if (places.length < (beside ? K.D901.LINES : K.D901.ZEROS)) return;
    const first = beside && places[0] && bad[places[0] - 1] ? places[0] - 1 : places[0], zeros = places.filter((k) => values[k] === 0).length;
    yield hit(`${losses.name} is exactly 0 or repeats at ${places.length} lines (${zeros} of them 0.0) from step ${steps[places[0]]} on, `
      + `${beside ? "while the gradient norm is not finite" : "to the end of the log"}: the true loss there is NaN`, { step: steps[first], confidence: beside
        ? 1 : 0.8 });
  }
  function* negative(run) {
    const series = lossOf(run), { loss } = run.facts;
    if (!series || !["cross_entropy", "linear_cross_entropy"].includes(loss)) return;
    const { values, steps, name } = series;
    if (loss === "cross_entropy" && values.length >= K.D405.ALWAYS && values.every((v) => v === 0)) {
      yield hit(`${name} is exactly 0 at all ${values.length} points: ${loss} has nothing to decide, or adds up nothing`, { severity: "warning" });
      return;
    }
    const below = values.map((_, k) => k).filter((k) => values[k] < -K.D405.ROUNDING), first = below[0];
    if (below.length) yield hit(`${name} is ${py(values[first], ".4f")} at step ${steps[first]} and below 0 at ${below.length} of ${values.length}`
      + ` points, and ${loss} is never negative`, { step: steps[first] });
  }
  function* noLoss(run) {
    const { FEW, SHOWN, LONGEST } = K.D903;
    const losses = ["train_loss", "eval_loss", "perplexity"].flatMap((kind) => of(run, kind));
    const longest = losses.reduce((a, b) => (a && a.values.length >= b.values.length ? a : b), null), points = longest ? longest.values.length : 0;
    if (points >= FEW) return;
    const names = run.seen.slice(0, SHOWN).map((n) => n.slice(0, LONGEST)).join(", ") || "nothing",
      more = run.seen.length > SHOWN ? ` and ${run.seen.length - SHOWN} more` : "";
    yield points ? hit(`the longest loss curve, ${longest.name.slice(0, LONGEST)}, has ${plural(points, "point")}; curves are judged from ${FEW} on`,
      { severity: "info" })
      : hit(`no loss among ${plural(run.seen.length, "curve")}: the log has ${names}${more}`, { severity: "warning" });
  }
  // ------------------------------------------------------------------ findings in order, each with what it explains
  const ASKED = [["D301", notFinite], ["D403", atALevel], ["D404", ownedBy("D404", "as low as this loss can be")], ["D405", negative],
    ["D702", ownedBy("D702", "no query can tell its own key from the others")],
    ["D804", ownedBy("D804", ({ standing: s }) => `a perplexity of ${py(Math.exp(Math.min(s.median, 700)), ".0f")}, as if every token were as likely`
      + ` as any other`)],
    ["D901", hidesNan], ["D903", noLoss]];
  const WORST = ["error", "warning", "info"], own = (one) => one.severity ?? RULES[one.code].severity;
  const severity = (one) => WORST[Math.min(...[one, ...(one.under ?? [])].map((c) => WORST.indexOf(own(c))))];
  const explains = (cause, code) => RULES[cause.code].explains.some((e) => code.startsWith(e.replace(/x+$/, "")));
  function explained(effect, cause) {
    if ((own(cause) === "info") !== (own(effect) === "info") || !explains(cause, effect.code) || cause.code === effect.code) return false;
    return effect.step === null || cause.step === null || cause.step <= effect.step;
  }
  const keys = (one) => [WORST.indexOf(severity(one)), one.step ?? -1, -one.confidence, one.code];
  const order = (a, b) => {
    const [x, y] = [keys(a), keys(b)], k = x.findIndex((v, i) => v !== y[i]);
    return k < 0 ? 0 : x[k] < y[k] ? -1 : 1;
  };
  function fold(found) {
    const causes = [...found].sort(order), above = (one) => causes.filter((c) => c !== one && explained(one, c) && !explained(c, one));
    const tops = causes.filter((one) => !above(one).length).map((one) => ({ ...one, under: [] }));
    for (const one of causes.filter((c) => above(c).length)) {
      const seen = new Set([one]);
      let root = one;
      for (let up = above(root); up.length; up = above(root).filter((c) => !seen.has(c))) { [root] = up; seen.add(root); }
      tops.find((top) => top.code === root.code).under.push(one);
    }
    return tops.sort(order);
  }
  // what the ported rules say of a text: {log, levels, findings}; a finding has code, said, step, severity, fix, under
  function diagnose(text, facts = {}) {
    const log = TrainingLog.read(text), levels = levelsOf(facts);
    if (!log.run) return { log, levels, findings: [] };
    const run = { ...log.run, facts, levels, adversarial: false };
    run.adversarial = needNotFall(run);
    run.stuck = stuck(run);
    const asked = [...ASKED, ...Object.entries(Trends)];
    const found = asked.flatMap(([code, rule]) => [...rule(run)].map((one) => ({ code, ...one, fix: one.fix || RULES[code].fix })));
    return { log, levels, findings: fold(found).map((top) => ({ ...top, severity: severity(top), own: own(top), under: top.under.map((c) => ({ ...c,
      own: own(c) })) })) };
  }
  return { diagnose, levelsOf, hit, filled, positive, lossOf, severity, codes: () => [...ASKED.map(([code]) => code), ...Object.keys(Trends)].sort() };
})();
