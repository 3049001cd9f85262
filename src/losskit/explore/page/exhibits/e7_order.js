// Points as a log has them to curves: one value a step, in order, whatever restarts and counters of epochs made of the steps.
const curvesOf = (() => {
  const ORDER = ["train_loss", "eval_loss", "perplexity", "lr", "grad_norm", "loss_scale", "epoch", "metric"], LOSSES = ORDER.slice(0, 3);
  const LARGEST = 2 ** 53, FEW = 3, MANY = 0.1;
  const { lower, search } = Curves;
  const nanmedian = (xs) => lower(xs.filter((x) => !Number.isNaN(x)));
  const pick = (raw, keep) => ({ ...raw, rows: raw.rows.filter((_, k) => keep(k)), steps: raw.steps.filter((_, k) => keep(k)), values: raw.values.filter((_,
    k) => keep(k)) });
  const reordered = (raw, order) => ({ ...raw, rows: order.map((k) => raw.rows[k]), steps: order.map((k) => raw.steps[k]),
    values: order.map((k) => raw.values[k]) });
  const backs = (steps) => steps.map((_, k) => k).filter((k) => k > 0 && steps[k] < steps[k - 1]);
  const at = (epochs, rows) => rows.map((row) => {
    const place = search(epochs.rows, row, true) - 1;
    return place >= 0 ? epochs.values[place] : NaN;
  });
  function bare(raw, { bareKind, kindOf }) { // "train" and "val" in a log without any loss, if they fall
    const kinds = new Map(raw.map((one) => [one.name, bareKind(one.name)]).filter(([, kind]) => kind));
    if (new Set(kinds.values()).size !== 2 || raw.some((one) => LOSSES.includes(kindOf(one.name)))) return new Map();
    for (const one of raw.filter((r) => kinds.has(r.name))) {
      const few = Math.max(1, one.values.length >> 2);
      if (!(nanmedian(one.values.slice(0, few)) > nanmedian(one.values.slice(-few)))) return new Map();
    }
    return kinds;
  }
  function counted(raw, epochs, kindOf) { // whole steps for every point
    const whole = [], without = [];
    for (const one of raw) {
      const good = one.steps.map((s) => Math.abs(s) < LARGEST), steps = one.steps.filter((_, k) => good[k]);
      const unset = steps.length > 1 && steps.every((s) => s === steps[0]);
      if (steps.length / good.length > 0.5 && !unset && steps.every(Number.isInteger)) whole.push(pick(one, (k) => good[k]));
      else without.push(one);
    }
    if (!without.length) return whole;
    const guides = whole.filter((one) => kindOf(one.name) !== "epoch");
    if (guides.length) {
      const guide = guides.reduce((a, b) => (b.rows.length > a.rows.length ? b : a));
      return [...whole, ...without.map((one) => ({ ...one, steps: one.rows.map((row) => guide.steps[Math.max(0, search(guide.rows, row, true) - 1)]) }))];
    }
    if (epochs) {
      const places = without.map((one) => at(epochs, one.rows));
      if (places.every((e) => e.every((v, k) => Number.isInteger(v) && (k === 0 || v > e[k - 1])))) return [...whole, ...without.map((one, k) => ({ ...one,
        steps: places[k] }))];
    }
    const rows = [...new Set(without.flatMap((one) => one.rows))].sort((a, b) => a - b);
    return [...whole, ...without.map((one) => ({ ...one, steps: one.rows.map((row) => search(rows, row)) }))];
  }
  function eachEpoch(raw, back, epochs) { // the counter went back because an epoch ended, not because the run began again
    if (epochs) {
      const now = at(epochs, raw.rows);
      return back.every((k) => now[k] > now[k - 1]);
    }
    const ends = [...back, raw.steps.length], lengths = ends.slice(1).map((e, k) => e - ends[k]);
    if (back.length < 2 || !lengths.slice(0, -1).every((l) => l === back[0]) || !back.every((k) => raw.steps[k] === raw.steps[0])) return false;
    const n = back[0], few = Math.max(1, Math.floor(n / 10));
    const [first, last, again] = [raw.values.slice(0, few), raw.values.slice(n - few, n), raw.values.slice(n, n + few)].map(nanmedian);
    return Math.abs(again - last) <= Math.abs(again - first);
  }
  function unwound(raw, epochs, kindOf) {
    if (!raw.length) return raw;
    const rank = (one) => [kindOf(one.name) === "train_loss" ? 1 : 0, one.values.length];
    const longest = raw.reduce((a, b) => (rank(b)[0] > rank(a)[0] || (rank(b)[0] === rank(a)[0] && rank(b)[1] > rank(a)[1]) ? b : a));
    const back = backs(longest.steps);
    if (!back.length || !eachEpoch(longest, back, epochs)) return raw;
    const ahead = longest.steps.slice(1).map((s, k) => s - longest.steps[k]).filter((d) => d > 0), gap = ahead.length ? lower(ahead) : 1;
    const offsets = [0];
    for (const k of back) offsets.push(offsets.at(-1) + longest.steps[k - 1] - longest.steps[k] + gap);
    const breaks = back.map((k) => longest.rows[k]);
    return raw.map((one) => ({ ...one, steps: one.steps.map((s, k) => s + offsets[search(breaks, one.rows[k], true)]) }));
  }
  function inOrder(raw) { // lines out of order are sorted, unless what went back is a restart
    const { steps } = raw, back = backs(steps);
    if (!back.length) return raw;
    if (back.length === steps.length - 1 && steps.every((s) => s <= 0)) return { ...raw, steps: steps.map((s) => -s) };
    const order = steps.map((_, k) => k).sort((a, b) => steps[a] - steps[b] || a - b);
    return back.length > Math.max(1, MANY * steps.length) || apart(steps, back) ? reordered(raw, order) : raw;
  }
  function apart(steps, back) {
    const bounds = [0, ...back, steps.length];
    const ends = bounds.slice(1).map((b, k) => [steps[bounds[k]], steps[b - 1]]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    return ends.slice(1).every(([low], k) => ends[k][1] < low) && steps.length - bounds.at(-2) >= FEW;
  }
  function latest(raw) { // [one value a step, steps gone back to, points lost]
    const { steps } = raw, n = steps.length, back = backs(steps);
    if (!back.length && !steps.some((s, k) => k > 0 && s === steps[k - 1])) return [raw, [], 0];
    if (back.length) {
      const last = back.at(-1), replaced = steps.slice(0, last).filter((s) => s >= steps[last]).length;
      if (n - last < FEW && replaced > n >> 1) {
        const [one, restarts, lost] = latest(pick(raw, (k) => k < last));
        return [one, restarts, lost + n - last];
      }
    }
    const later = new Array(n);
    for (let k = n - 1, low = Infinity; k >= 0; k--) { later[k] = low; low = Math.min(low, steps[k]); }
    return [pick(raw, (k) => steps[k] < later[k]), back.map((k) => steps[k]), 0];
  }
  const before = (a, b) => {
    const k = a.findIndex((v, i) => v !== b[i]);
    return k < 0 ? 0 : a[k] < b[k] ? -1 : 1;
  };
  return ({ table, hidesNan }, names) => {
    const raw = [...table.points.values()], { kindOf, placeInKind } = names, known = bare(raw, names);
    const epochs = raw.find((one) => kindOf(one.name) === "epoch") ?? null;
    const restarts = new Set(), places = new Map();
    const series = unwound(counted(raw, epochs, kindOf), epochs, kindOf).map((one) => {
      const kind = known.get(one.name) ?? kindOf(one.name), sorted = inOrder(one), [kept, back, lost] = latest(sorted);
      places.set(one.name, one.rows.length - kept.rows.length - lost);
      if (["train_loss", "eval_loss", "lr", "grad_norm"].includes(kind)) back.forEach((s) => restarts.add(s));
      return { name: one.name, kind, steps: kept.steps, values: kept.values };
    });
    series.sort((a, b) => before([ORDER.indexOf(a.kind), ...placeInKind(a.name, a.values.length)], [ORDER.indexOf(b.kind), ...placeInKind(b.name,
      b.values.length)]));
    return { series, hidesNan, seen: raw.map((one) => one.name), restarts: [...restarts].sort((a, b) => a - b), repeated: series.length
      ? places.get(series[0].name) : 0 };
  };
})();
