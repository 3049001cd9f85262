// The doctor's rules about how a curve moves: explosion, climb, spikes, overfitting, a rate that is gone, no improvement.
const Trends = (() => {
  const { finite, lower, median, kth, least, most, search, lagged, mad, noise, inBlocks, pairwise, slope, standsAt } = Curves;
  const { main, picked, onlyFinite, curveOf, since, stride, ratesOf, ratesAt, rateRises, steadyFrom, evaluations } = Curves;
  const { hit, filled, positive } = Doctor, py = pythonic, { fixes: FIXES, constants: K } = RECORDED.clinic;
  const indices = (xs, keep) => xs.map((_, k) => k).filter((k) => keep(xs[k], k));

  function* rateGone(run) {
    const series = main(run, "lr") && onlyFinite(main(run, "lr"));
    if (!series || series.values.length < K.D214.POINTS) return;
    const { steps } = series, rates = series.values.map(Math.abs), first = steps[0], end = steps.at(-1), peak = most(rates);
    for (const [level, before, severity] of [[K.D214.ZERO, K.D214.BEFORE_ZERO, "error"], [K.D214.SMALL, K.D214.BEFORE_SMALL, "warning"]]) {
      const bar = peak > 0 ? level * peak : 0, begin = rates.findLastIndex((r) => (bar > 0 ? r > bar * (1 - 1e-6) : r > 0)) + 1;
      if (begin >= rates.length || rates.length - begin < K.D214.POINTS) continue;
      const share = (steps[begin] - first) / Math.max(1, end - first), rate = most(rates.slice(begin));
      if (share >= before || (peak === 0 && end - first < K.D214.LIVE_STEPS)) continue;
      yield hit(`the learning rate is ${py(rate, ".3g")} from step ${steps[begin]} to step ${end}, where the log ends: after ${py(share, ".0%")} of the run `
        + `nothing is learned any more (its peak was ${py(peak, ".3g")})`, { step: steps[begin], severity });
      return;
    }
  }
  function* explodingGradients(run) {
    const { BLOCKS, LEAST, SIGMAS, TENFOLD, LOSS, LAST } = K.D309;
    const losses = main(run, "train_loss"), norms = main(run, "grad_norm");
    if (!norms || !losses || !losses.values.length) return;
    const at = losses.values.findIndex((v) => !Number.isFinite(v)), end = at < 0 ? Infinity : losses.steps[at], steady = steadyFrom(run);
    const start = steady > losses.steps.at(-1) ? losses.steps[0] : steady;
    const usable = picked(norms, (k) => Number.isFinite(norms.values[k]) && norms.values[k] > 0 && norms.steps[k] >= start && norms.steps[k] < end);
    const parts = inBlocks(usable.steps, usable.values.map(Math.log10), BLOCKS, LEAST), n = parts.level.length;
    if (n < 4 * LAST) return;
    const before = parts.level.slice(0, -LAST), last = parts.level.slice(-LAST), usual = median(before.slice(0, (n >> 1) + 1));
    if (least(last) <= usual + Math.max(SIGMAS * parts.sigma, TENFOLD) || last.at(-1) < last[0]) return;
    const step = parts.last[parts.level.findLastIndex((l) => l <= usual + TENFOLD / 3)], known = onlyFinite(losses);
    const then = median(known.values.filter((_, k) => known.steps[k] <= step).slice(-40)), now = median(known.values.slice(-5));
    if (!(now - then > LOSS * Math.abs(then))) return;
    yield hit(`the gradient norm was ${py(10 ** usual, ".3g")}, leaves that at step ${step} and is ${py(10 ** (last.at(-1) - usual), ".3g")} times as large; `
      + `the loss goes from ${py(then, ".4g")} to ${py(now, ".4g")}`, { step });
  }
  function* noGradient(run) {
    const { POINTS, SHARE, FELL } = K.D904;
    const norms = main(run, "grad_norm"), losses = main(run, "train_loss");
    if (!norms || !losses || norms.values.length < 2 * POINTS) return;
    const half = norms.steps[norms.values.length >> 1], late = norms.values.filter((_, k) => norms.steps[k] >= half);
    const bad = late.filter((v) => !Number.isFinite(v)).length, share = bad / late.length, values = losses.values.filter((_, k) => losses.steps[k] >= half);
    if (late.length < POINTS || share <= SHARE || !values.length || !values.every(Number.isFinite)) return;
    const trend = slope(values), level = lower(values);
    if (trend.falls && -trend.value * values.length > FELL * Math.abs(level)) return;
    const first = norms.steps[norms.values.findIndex((v) => !Number.isFinite(v))];
    yield hit(`${norms.name} is not finite at ${bad} of the last ${late.length} points (${py(share, ".0%")}, the first at step ${first}), and`
      + ` ${losses.name} stays at `
      + `${py(level, ".4f")}: these steps are left out`, { step: norms.values.some(Number.isFinite) ? half : first });
  }
  // ------------------------------------------------------------------ divergence
  function growth(values) { // of the 20 points before the first that is no number
    const bad = values.findIndex((v) => !Number.isFinite(v)), shown = bad < 0 ? [] : values.slice(Math.max(0, bad - 20), bad);
    if (shown.length < 2) return null;
    const begun = median(shown.slice(0, Math.max(1, shown.length >> 1))), ended = least(shown.slice(-Math.min(3, shown.length >> 1))), last = shown.at(-1);
    if (begun <= 0 || (ended < K.rising.FAR * begun && last < K.rising.LEAP * begun)) return null;
    const calm = values.slice(Math.max(0, bad - 40), Math.max(0, bad - 20)), level = calm.length >= K.rising.LEAST ? median(calm) : begun;
    return [level > 0 ? Math.min(begun, level) : begun, last];
  }
  function aboveStart(curve) {
    const half = curve.values.slice(curve.values.length >> 1);
    if (half.length < 2 * K.rising.LEAST || curve.first <= 0 || curve.start <= 0) return null;
    const lowest = kth(half, Math.max(1, Math.floor(half.length / 10)));
    const found = [[curve.start, K.rising.TWICE], [curve.first, K.rising.FAR]].find(([start, times]) => lowest > times * start);
    return found ? [found[0], median(half)] : null;
  }
  function climb(run, curve) { // the lowest block left for good
    const { SIGMAS, MOST_LAST, LEAST, BLOCKS, SINCE, PART, HALF, SAME_RATE, NEAR, TWICE } = K.rising;
    const parts = inBlocks(curve.steps, curve.values, BLOCKS, LEAST), { level } = parts, n = level.length, rates = ratesOf(run);
    if (n < SINCE + 2) return null;
    const at = rates && ratesAt(rates, parts.last), lows = at ? level.map((l, k) => (at[k] < SAME_RATE * at[n - 1] ? Infinity : l)) : level;
    const where = lows.indexOf(least(lows)), low = level[where], now = Math.min(...level.slice(-2)), after = level.slice(where), gap = now - low,
      way = curve.start - low;
    let { sigma } = parts;
    if (where >= SINCE && low > 0) {
      const before = (where + 1) * parts.size, calm = inBlocks(curve.steps.slice(0, before), curve.values.slice(0, before), BLOCKS, parts.size).sigma;
      sigma = Math.min(sigma, calm * Math.max(1, now / low));
    }
    if (gap < Math.max(SIGMAS * sigma, HALF * Math.abs(low), PART * way)) return null;
    if (!(curve.start > 0 && now > TWICE * curve.start) && !goesOn(after, gap, way)) return null;
    const edge = low + Math.min(gap / 10, NEAR * Math.max(Math.abs(low), way)), near = after.findLastIndex((l) => l <= edge) + where;
    const left = leftAt(curve, parts.first[near], parts.last[Math.min(near + 1, n - 1)], edge);
    const last = median(curve.values.slice(-Math.min(MOST_LAST, Math.max(LEAST, Math.floor(curve.values.length / 100)))));
    return { low, at: Math.max(parts.first[where], Math.min(parts.last[where], left)), left, now, last, whole: gap >= Math.abs(low) && gap >= way / 2 };
  }
  function goesOn(after, gap, way) {
    const rise = most(after) - after[0], { SINCE, TOP, JUMP, LOST } = K.rising;
    if (after.length <= SINCE || gap < TOP * rise) return false;
    if (way > 0 && gap >= LOST * way && !slope(after.slice(-SINCE)).falls) return true;
    return most(lagged(after, 1)) <= JUMP * rise && slope(after).rises;
  }
  function leftAt({ steps, values }, begin, end, level) {
    const low = search(steps, begin), some = values.slice(low, search(steps, end + 1)), calm = Array.from({ length: Math.max(0, some.length - 8) }, (_,
      k) => lower(some.slice(k, k + 9)));
    const at = calm.findLastIndex((m) => m <= level);
    return some.length < 9 || at < 0 ? begin : steps[low + at];
  }
  function* diverges(run) {
    const losses = main(run, "train_loss");
    if (!losses) return;
    for (const one of divergence(run, losses)) yield one.fix || one.step !== losses.steps[0] ? { ...one, fix: one.fix ?? "" } : { ...one,
      fix: filled(FIXES.no_checkpoint, one.step) };
  }
  function* divergence(run, losses) {
    const grown = growth(losses.values), curve = curveOf(run);
    if (grown) {
      const bad = losses.values.findIndex((v) => !Number.isFinite(v)), end = losses.steps[bad], sooner = losses.values.slice(0, bad);
      const calm = sooner.findLastIndex((v) => v <= K.D501.ABOVE * grown[0]), begin = losses.steps[calm < 0 ? 0 : Math.min(calm + 1, bad - 1)];
      yield hit(`the loss grows from ${py(grown[0], ".4g")} to ${py(grown[1], ".4g")} from step ${begin} on and is no number at step ${end}`, { step: begin,
        level: ["before", grown[0]] });
      return;
    }
    if (!curve || run.adversarial) return;
    const high = aboveStart(curve);
    if (high) {
      const calm = curve.values.slice(0, curve.values.length >> 1), at = indices(calm, (v) => v <= K.D501.ABOVE * high[0]), left = at.length > K.D501.FEW
        ? curve.steps[at.at(-1)] : null;
      yield hit(`the loss was ${py(high[0], ".4g")} at the start and its median over the last half is ${py(high[1], ".4g")}`,
        { step: curve.steps[0], confidence: 0.9, fix: left === null ? "" : filled(FIXES.checkpoint, left), level: ["start", high[0]] });
      return;
    }
    const settled = since(curve, stride(curve.steps)), found = settled.values.length ? climb(run, settled) : null;
    if (found && found.now >= Math.abs(found.low)) {
      yield hit(`the loss was ${py(found.low, ".4g")} at step ${found.at}, leaves it after step ${found.left} and is ${py(found.last, ".4g")} now`,
        { step: found.left, severity: found.whole ? null : "warning", confidence: found.whole ? 0.9 : 0.7, level: ["low", found.low] });
    } else yield* allAlong(run, curve);
  }
  function* allAlong(run, curve) { // a log that begins after the explosion
    const guesses = positive(run, "chance").sort((a, b) => b.value - a.value), [highest] = guesses;
    if (!highest || curve.start <= 0) return;
    const { SUMS, VAST, SIGMAS, FIRST } = K.D501;
    const lowest = kth(curve.values, Math.max(1, Math.floor(curve.values.length / 10))), now = median(curve.values.slice(curve.values.length >> 1)),
      error = (1.2533 * noise(curve.values)) / Math.sqrt(FIRST);
    if (lowest <= VAST * highest.value || now < curve.start - SIGMAS * error || slope(curve.values).falls) return;
    const vast = lowest > SUMS * highest.value;
    yield hit(`the loss is ${py(curve.start, ".4g")} at the first logged step and ${py(now, ".4g")} over the last half,`
      + ` ${py(now / highest.value, ".2g")} times ${highest.name}: `
      + `it may be a sum over samples or tokens, or another loss than the facts say; if it is neither, the run exploded before the log begins`,
    { step: curve.steps[0], severity: vast ? "warning" : "info", confidence: vast ? 0.6 : 0.4, level: ["level", highest.value] });
  }
  // ------------------------------------------------------------------ spikes
  const size = (level, start) => Math.max(Math.abs(level), (start - level) / 10);
  function candidates(values, lows, start) {
    const { HISTORY, SHARE, SIGMAS, EDGE, LOOKS } = K.excursions;
    const count = Math.floor(values.length / HISTORY), rows = Array.from({ length: count }, (_, k) => values.slice(k * HISTORY, (k + 1) * HISTORY)), blocks = rows.map(lower);
    const rough = rows.map((row, k) => 1.4826 * lower(row.map((v) => Math.abs(v - blocks[k])))), shifted = (xs) => xs.map((x, k) => Math.min(x, xs[Math.max(0,
      k - 1)]));
    const base = shifted(blocks), calmer = shifted(rough), which = (k) => Math.min(Math.floor(k / HISTORY), count - 1), above = lows.slice(HISTORY).map((l,
      k) => l - base[which(k)]);
    const hot = above.map((a, k) => a > SHARE * Math.max(Math.abs(base[which(k)]), (start - base[which(k)]) / 2) && a > (SIGMAS / 2) * calmer[which(k)]);
    const record = new Array(lows.length).fill(0);
    let highest = 0;
    above.forEach((a, k) => {
      highest = Math.max(highest, a / Math.max(size(base[which(k)], start), 1e-300), 0);
      if (k + HISTORY + (HISTORY >> 2) < record.length) record[k + HISTORY + (HISTORY >> 2)] = highest;
    });
    return { places: indices(hot, (h, k) => h && !(k >= EDGE && hot[k - EDGE])).map((k) => k + HISTORY).slice(0, LOOKS), record };
  }
  function look(curve, at, low, clear, limit) {
    const { HISTORY, NOISE, SHARE, SIGMAS } = K.excursions, begin = Math.max(0, at - NOISE), past = curve.values.slice(begin, at).filter((_, k) => clear[begin + k]);
    if (past.length < HISTORY) return null;
    const history = past.slice(-HISTORY), before = median(history), sigma = Math.max(mad(history), mad(past.slice(HISTORY >> 1).slice(0, past.length - (HISTORY >> 1)).map((v,
      k) => v - past[k])) / 1.2);
    const scale = Math.max(Math.abs(before), (curve.start - before) / 2), height = low - before;
    if (height <= SHARE * scale || height <= SIGMAS * sigma) return null;
    const rest = curve.values.slice(at, at + limit), level = before + Math.max(height / 3, 2 * sigma);
    const home = Array.from({ length: Math.max(0, rest.length - 2) }, (_, k) => lower(rest.slice(k, k + 3))).findIndex((m) => m <= level);
    const back = home < 0 ? null : home + Number(rest[home] > level), inside = rest.slice(0, back || rest.length), stop = back === null ? null : at + back;
    return { start: at, stop, before, peak: most(inside), after: median(inside.slice(inside.length >> 1)), height, scale, over: stop !== null
      || rest.length >= limit };
  }
  function excursions(curve) {
    const { RECORD, RETURN_STEPS, RETURN_POINTS, EDGE, MOST } = K.excursions;
    const { values, start } = curve, n = values.length, lows = Array.from({ length: Math.max(0, n - 3) }, (_, k) => Math.min(values[k], values[k + 1],
      values[k + 2], values[k + 3]));
    if (n < 44) return [];
    const { places, record } = candidates(values, lows, start), limit = Math.max(RETURN_POINTS, Math.min(Math.floor(RETURN_STEPS / curve.spacing), Math.floor(n / 10)));
    const found = [], clear = new Array(n).fill(true);
    let free = 0;
    for (const at of places) {
      if (at < free || found.length >= MOST) continue;
      const one = look(curve, at, lows[at], clear, limit), old = found.at(-1);
      if (!one || (!found.length && one.height <= RECORD * record[at] * size(one.before, start))) continue;
      if (old && old.stop !== null && one.start - old.stop <= EDGE)
        found[found.length - 1] = { ...old, stop: one.stop, peak: Math.max(old.peak, one.peak), after: one.after, height: Math.max(old.height, one.height),
          over: one.over };
      else found.push(one);
      free = one.stop ?? Math.min(at + limit, n);
      clear.fill(false, at, free);
      if (one.stop === null) { clear.fill(false, 0, at); clear.fill(true, (at + free) >> 1, free); }
    }
    return found;
  }
  function* spikes(run) {
    const whole = curveOf(run);
    if (!whole || run.adversarial) return;
    const curve = since(whole, steadyFrom(run)), { steps, spacing } = curve, reach = Math.max(1, Math.floor(20 * spacing));
    const found = excursions(curve).filter((one) => (one.stop !== null || (!one.over && curve.values.length - one.start >= K.D502.LEAST)) && rateRises(run,
      steps[one.start], reach, reach >> 2) < K.curve.RISE);
    if (!found.length) return;
    const worst = found.reduce((a, b) => (b.height / b.scale > a.height / a.scale ? b : a)), step = steps[worst.start], ratio = normAround(run, step,
      Math.max(1, Math.floor(5 * spacing)));
    const end = worst.stop === null ? " and is not back yet" : ` and is back after ${steps[worst.stop] - step} steps`;
    yield hit(`the loss jumps from ${py(worst.before, ".4g")} to ${py(worst.peak, ".4g")} at step ${step}${end}${found.length > 1 ? `; ${found.length}`
      + ` spikes like that` : ""}`
      + `${ratio === null ? "" : `; the gradient norm is ${py(ratio, ".3g")} times its usual one there`}`,
    { step: steps[found[0].start], severity: found.length === 1 && worst.stop !== null && worst.height < K.D502.SMALL * worst.scale ? "info" : null, level: ["before",
      worst.before] });
  }
  function normAround(run, step, reach) {
    const norms = main(run, "grad_norm") && onlyFinite(main(run, "grad_norm"));
    if (!norms) return null;
    const [low, mid, high] = [step - 10 * reach, step - reach, step + reach].map((s) => search(norms.steps, s)), old = norms.values.slice(low, mid),
      now = norms.values.slice(mid, high);
    return old.length < 5 || !now.length || lower(old) <= 0 ? null : most(now) / lower(old);
  }
  // ------------------------------------------------------------------ slow, or not at all
  function* straightLine(run) {
    const { POINTS, NEAR, DECAYED } = K.D504;
    const whole = main(run, "train_loss"), chance = run.levels.find((level) => level.kind === "chance")?.value;
    if (!whole || chance === undefined || chance <= 0 || run.adversarial) return;
    const loss = onlyFinite(whole), from = steadyFrom(run), { steps, values } = picked(loss, (k) => loss.steps[k] >= from), rates = main(run, "lr");
    if (values.length < POINTS || (rates && rates.values.length && !(rates.values.at(-1) > 0 && rates.values.at(-1) >= DECAYED * most(rates.values)))) return;
    const half = values.length >> 1, start = lower(values.slice(0, Math.floor(half / 5))), end = lower(values.slice(Math.floor(-half / 5)));
    const [first, second] = [slope(values.slice(0, half), steps.slice(0, half)), slope(values.slice(half), steps.slice(half))],
      pace = second.value / first.value;
    if (lower(loss.values.slice(0, 5)) - start > start - end || !(first.falls && second.falls && pace > 0.5 && pace < 2)) return;
    if (Math.abs(start - chance) > NEAR * chance || start - end > 0.1 * start || start - end <= 0) return;
    yield hit(`the loss falls along a straight line from ${py(start, ".4g")} to ${py(end, ".4g")}, ${py((start - end) / start, ".1%")} in`
      + ` ${steps.at(-1) - steps[0]} steps`, { step: steps[0], confidence: 0.7, level: ["start", start] });
  }
  function* noImprovement(run) {
    const { EARLY, LATE, LITTLE, SURE, POINTS, BELOW } = K.D505, curve = curveOf(run, POINTS), losses = main(run, "train_loss");
    if (!curve || run.adversarial || !Number.isFinite(losses.values.at(-1)) || (!run.levels.length && curve.values.some((v) => v < 0))) return;
    const rest = since(curve, steadyFrom(run));
    if (rest.values.length < (3 * POINTS) >> 2 || run.levels.some((level) => level.kind === "floor" && standsAt(curve.values, level.value))) return;
    const parts = inBlocks(rest.steps, rest.values, POINTS), n = parts.level.length, early = parts.level.slice(0, Math.max(1, Math.floor(EARLY * n))),
      late = parts.level.slice(Math.floor(LATE * n));
    const shift = pairwise(early, late), error = parts.sigma * Math.sqrt(1 / early.length + 1 / late.length), now = lower(late),
      point = parts.sigma * Math.sqrt(parts.size);
    const fell = Math.max(curve.first - now - Math.max(SURE * Math.abs(now), 3 * point), curve.start - now - Math.max(LITTLE * Math.abs(now),
      (3 * point) / Math.sqrt(5)));
    if (!Number.isFinite(error) || fell > 0 || shift - 2 * error < -SURE * Math.abs(now) || shift < -Math.max(2 * error, LITTLE * Math.abs(now))) return;
    if (!slope(late).flat && !(shift > 0)) return;
    const knows = positive(run, "chance").some((level) => now < BELOW * level.value);
    const skip = rest.values.length - parts.size * n, end = skip + parts.size * early.length, from = skip + parts.size * Math.floor(LATE * n);
    const first = median(rest.values.slice(skip, end)), last = median(rest.values.slice(from)), little = LITTLE * Math.abs(last);
    yield hit(`the median of the loss is ${py(first, ".4g")} over steps ${rest.steps[skip]} to ${rest.steps[end - 1]} (the first 15 %`
      + `${rest.values.length === curve.values.length ? "" : " after the warm-up"}) and ${py(last, ".4g")} over steps ${rest.steps[from]} to`
      + ` ${rest.steps.at(-1)} (the last half): no fall, or one below `
      + (2 * error > little ? `${py(2 * error, ".2g")} (two standard errors)` : `${py(little, ".2g")} (1 % of it)`), { step: rest.steps.at(-1), severity: knows ? "info"
        : null, confidence: knows ? 0.5 : 0.8, level: ["start", curve.start] });
  }
  // ------------------------------------------------------------------ beside evaluations
  function* overfits(run) {
    const found = evaluations(run);
    const { AFTER, WORSE, WAY, SIGMAS, FALLING } = K.D601;
    if (!found || found.values.length <= AFTER || run.adversarial) return;
    const { values, steps, train, close } = found, low = least(values), best = values.indexOf(low), now = median(values.slice(-AFTER)), rise = now - low;
    const chance = (SIGMAS + Math.sqrt(2 * Math.log(values.length))) * Curves.noise(values);
    if (values.length - best <= AFTER || rise <= Math.max(WORSE * Math.abs(low), WAY * (values[0] - low), chance)) return;
    const said = `the evaluation was best at step ${steps[best]} with ${py(low, ".4g")} and is ${py(now, ".4g")} over the last ${AFTER}, `;
    if (!main(run, "train_loss")) {
      yield hit(`${said}and the log has no training loss that would tell overfitting from a divergence`, { step: steps[best], confidence: 0.5, level: ["best",
        low] });
      return;
    }
    const then = train[best], last = median(train.slice(-AFTER));
    if (!(last < then - FALLING * Math.abs(then))) return;
    const fell = close.at(-1) < close[best] ? [close[best], close.at(-1)] : [then, last];
    if (!(now < fell[1])) yield hit(`${said}while the training loss went from ${py(fell[0], ".4g")} to ${py(fell[1], ".4g")}`, { step: steps[best],
      level: ["best", low] });
  }
  function* neverBelowChance(run) {
    const found = evaluations(run), named = positive(run, "chance").map((level) => level.value), chance = least(named);
    if (!found || !named.length) return;
    const { CHANCE, FITS, PASSING } = K.D604;
    const best = least(found.values), training = median(found.train.slice(-3));
    if (best < CHANCE * chance || !(training < FITS * chance)) return;
    const passing = found.train.some((t) => t > FITS * chance && t < PASSING * chance);
    yield hit(`no evaluation of ${found.values.length} is below ${py(best, ".4g")} (chance is ${py(chance, ".4g")}), while the training loss is`
      + ` ${py(training, ".4g")}`,
      { step: found.steps[0], severity: passing ? null : "warning", confidence: passing ? 0.9 : 0.6, level: ["chance", chance] });
  }
  return { D214: rateGone, D309: explodingGradients, D501: diverges, D502: spikes, D504: straightLine, D505: noImprovement, D601: overfits,
    D604: neverBelowChance, D904: noGradient };
})();
