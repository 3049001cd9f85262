// What curves say, as losskit.doctor's statistics have it: medians of blocks, noise, slopes with an interval, levels, climbs, spikes.
// A log in the page has at most 20,000 points, below which the doctor thins no curve; each point stands for one step.
const Curves = (() => {
  const NORMAL = 1.4826, MEDIAN = 1.2533; // sigma / MAD; the error of a median / that of a mean
  const ordered = (xs) => Float64Array.from(xs).sort();
  const finite = (xs) => xs.filter(Number.isFinite);
  const lower = (xs) => (xs.length ? ordered(xs)[(xs.length - 1) >> 1] : NaN); // torch's median
  const middle = (xs) => {
    const sorted = ordered(xs), half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : sorted.length ? (sorted[half - 1] + sorted[half]) / 2 : NaN;
  };
  const median = (xs) => middle(finite(xs));
  const kth = (xs, k) => ordered(xs)[k - 1];
  const least = (xs) => xs.reduce((a, b) => Math.min(a, b), Infinity), most = (xs) => xs.reduce((a, b) => Math.max(a, b), -Infinity);
  const search = (steps, step, right = false) => { // as torch.searchsorted
    let low = 0, high = steps.length;
    while (low < high) {
      const at = (low + high) >> 1;
      if (steps[at] < step || (right && steps[at] === step)) low = at + 1; else high = at;
    }
    return low;
  };
  const lagged = (xs, lag) => xs.slice(lag).map((x, k) => x - xs[k]);
  const mad = (xs) => {
    if (xs.length < 2) return 0;
    const at = lower(xs);
    return NORMAL * lower(xs.map((x) => Math.abs(x - at)));
  };
  const noise = (xs) => mad(lagged(finite(xs), 1)) / Math.SQRT2;
  function autocorrelation(xs) {
    const one = mad(lagged(xs, 1)), two = mad(lagged(xs, 2));
    return xs.length < 8 || one <= 0 ? 0 : Math.min(Math.max((two / one) ** 2 - 1, 0), 0.99);
  }
  function effective(xs) {
    const rho = autocorrelation(xs);
    return Math.min(xs.length, Math.max(1, (xs.length * (1 - rho)) / (1 + rho)));
  }
  function spread(xs) {
    const lags = [1, 2, 4, 8, 16, 32, 64].filter((lag) => 8 * lag <= xs.length);
    if (!lags.length) lags.push(1);
    const lasting = lags.at(-1) < 64 ? noise(xs) / Math.sqrt(1 - autocorrelation(xs)) : 0;
    return Math.max(lasting, ...lags.map((lag) => mad(lagged(xs, lag)) / Math.SQRT2));
  }
  function inBlocks(steps, values, count = 40, few = 1) {
    const size = Math.max(few, Math.ceil(values.length / count), 1), number = Math.floor(values.length / size), skip = values.length - number * size;
    const at = Array.from({ length: number }, (_, k) => skip + k * size);
    const level = at.map((k) => middle(values.slice(k, k + size)));
    const worth = Math.max(1, (effective(values) * size) / Math.max(values.length, 1));
    const alone = spread(values) * (size > 2 ? MEDIAN / Math.sqrt(worth) : 1);
    return { level, size, first: at.map((k) => steps[k]), last: at.map((k) => steps[k + size - 1]), sigma: Math.max(alone, noise(level)) };
  }
  const pairwise = (left, right) => median(right.flatMap((r) => left.map((l) => r - l)));

  // torch's generator with seed 0 (MT19937), for the same resamples as the doctor's
  const twister = () => {
    const key = new Uint32Array(624);
    for (let k = 1; k < 624; k++) key[k] = Math.imul(1812433253, key[k - 1] ^ (key[k - 1] >>> 30)) + k;
    let at = 624;
    return () => {
      if (at === 624) {
        for (let k = 0; k < 624; k++) {
          const y = (key[k] & 0x80000000) | (key[(k + 1) % 624] & 0x7fffffff);
          key[k] = key[(k + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
        }
        at = 0;
      }
      let y = key[at++];
      y ^= y >>> 11; y ^= (y << 7) & 0x9d2c5680; y ^= (y << 15) & 0xefc60000;
      return (y ^ (y >>> 18)) >>> 0;
    };
  };
  const RESAMPLES = 200, RUN = 4, FLAT = 0.02, draws = new Map();
  function drawn(count) {
    if (!draws.has(count)) {
      const length = Math.min(RUN, Math.max(1, count >> 2)), next = twister();
      draws.set(count, Array.from({ length: RESAMPLES }, () =>
        Array.from({ length: Math.ceil(count / length) }, () => next() % (count - length + 1)).flatMap((s) => Array.from({ length }, (_, k) => s
          + k)).slice(0, count)));
    }
    return draws.get(count);
  }
  // Theil-Sen over block medians with a moving-block bootstrap
  function slope(given, steps = null) {
    const keep = given.map((_, k) => k).filter((k) => Number.isFinite(given[k])), values = keep.map((k) => given[k]);
    if (values.length < 3) return { value: NaN, low: NaN, high: NaN, flat: true, rises: false, falls: false };
    const parts = inBlocks(steps ? keep.map((k) => steps[k]) : keep, values), n = parts.level.length;
    const at = parts.first.map((f, k) => (f + parts.last[k]) / 2), pairs = (n * (n - 1)) / 2, slopes = new Float64Array(pairs);
    const theil = (level) => {
      for (let i = 0, k = 0; i < n; i++) for (let j = i + 1; j < n; j++, k++) slopes[k] = (level[j] - level[i]) / Math.max(at[j] - at[i], 1e-12);
      return slopes.slice().sort()[(pairs - 1) >> 1];
    };
    const value = theil(parts.level), centre = sum(at) / n, line = at.map((a) => value * (a - centre));
    const residual = parts.level.map((l, k) => l - line[k]);
    const sorted = ordered(drawn(n).map((places) => theil(places.map((p, k) => line[k] + residual[p]))));
    const low = sorted[5], high = sorted[RESAMPLES - 6], change = Math.abs(value) * (at[n - 1] - at[0]);
    return { value, low, high, rises: low > 0, falls: high < 0, flat: (low <= 0 && high >= 0) || change < FLAT * Math.abs(lower(parts.level)) };
  }
  // whether the last max(40, 25 %) points stand at a number
  function standsAt(values, level) {
    const { WINDOW, SHARE, NEAR, FAR, ZERO } = RECORDED.clinic.constants.level;
    let places = values.map((_, k) => k).filter((k) => Number.isFinite(values[k]));
    if (places.length < WINDOW || !Number.isFinite(level)) return null;
    places = places.slice(-Math.max(WINDOW, Math.floor(SHARE * places.length)));
    const shown = places.map((k) => values[k]), parts = inBlocks(places, shown), at = median(shown);
    const delta = Math.max(NEAR * Math.abs(level), (3 * parts.sigma) / Math.sqrt(parts.level.length));
    if (Math.abs(at - level) > delta || delta > Math.max(FAR * Math.abs(level), ZERO)) return null;
    const trend = slope(shown);
    if (!trend.flat || Math.abs(trend.value) * shown.length > 2 * delta) return null;
    return { median: at, delta, start: places[0], n: shown.length };
  }

  // a run's curves: series {name, kind, steps, values}, the main one of a kind first
  const of = (run, kind) => run.series.filter((s) => s.kind === kind);
  const main = (run, kind) => of(run, kind)[0] ?? null;
  const picked = (s, keep) => ({ ...s, steps: s.steps.filter((_, k) => keep(k)), values: s.values.filter((_, k) => keep(k)) });
  const onlyFinite = (s) => picked(s, (k) => Number.isFinite(s.values[k]));
  function curveOf(run, few = 20) {
    const whole = main(run, "train_loss"), s = whole && whole.values.length >= few ? onlyFinite(whole) : null;
    if (!s || s.values.length < few) return null;
    const spacing = Math.max(1, (s.steps.at(-1) - s.steps[0]) / (s.values.length - 1));
    return { steps: s.steps, values: s.values, spacing, first: s.values[0], start: median(s.values.slice(0, 5)) };
  }
  const since = (curve, step) => {
    const at = search(curve.steps, step);
    return { ...curve, steps: curve.steps.slice(at), values: curve.values.slice(at) };
  };
  const stride = (steps) => steps[0] + Math.min(50, Math.floor(0.1 * (steps.at(-1) - steps[0])));
  const ratesOf = (run) => {
    const rates = main(run, "lr") && onlyFinite(main(run, "lr"));
    return rates && rates.values.length ? rates : null;
  };
  const ratesAt = (rates, steps) => steps.map((s) => rates.values[Math.max(0, search(rates.steps, s, true) - 1)]);
  function rateRises(run, step, before, after) {
    const rates = ratesOf(run);
    if (!rates) return 1;
    const [low, mid, high] = [step - before, step, step + after].map((s) => search(rates.steps, s, true));
    const old = rates.values.slice(Math.max(low - 1, 0), Math.max(mid, 1)), now = rates.values.slice(Math.max(low - 1, 0), Math.max(high, 1));
    return !old.length || !now.length || most(now) <= 0 ? 1 : most(now) / Math.max(least(old), 1e-12 * most(now));
  }
  function warming(values) {
    const rates = finite(values);
    return rates.length >= 3 && lagged(rates, 1).every((d) => d >= 0) && rates.at(-1) > rates.at(-1 - Math.max(1, Math.floor(rates.length / 10)));
  }
  function steadyFrom(run) {
    const losses = main(run, "train_loss") ?? main(run, "eval_loss");
    if (!losses || !losses.steps.length) return 0;
    const start = stride(losses.steps), rates = main(run, "lr");
    if (!rates || !rates.values.length) return start;
    if (warming(rates.values)) return losses.steps.at(-1) + 1;
    const top = Math.max(0, most(finite(rates.values))), risen = rates.values.findIndex((r) => r >= 0.5 * top);
    return risen >= 0 && top > 0 ? Math.max(start, rates.steps[risen]) : start;
  }
  // evaluations beside the training loss of the same time
  function evaluations(run) {
    const shown = main(run, "eval_loss") && onlyFinite(main(run, "eval_loss"));
    if (!shown || shown.values.length < 3) return null;
    const count = shown.values.length, losses = main(run, "train_loss") && onlyFinite(main(run, "train_loss"));
    if (!losses || !losses.values.length) return { ...shown, train: shown.values.map(() => NaN), close: shown.values.map(() => NaN) };
    const n = losses.values.length, first = losses.steps[0], last = losses.steps.at(-1);
    let places = shown.steps.map((s) => search(losses.steps, s, true));
    if (shown.steps.at(-1) < first + 0.1 * (last - first)) places = shown.steps.map((_, k) => Math.floor(((k + 1) * n) / count));
    const reach = Math.max(1, Math.min(20, Math.floor(n / (2 * count)))), few = Math.max(1, Math.min(5, Math.floor(n / count)));
    const before = (width) => places.map((at) => median(losses.values.slice(Math.max(0, at - width), Math.max(at, 1))));
    return { ...shown, train: before(2 * reach), close: before(few) };
  }
  return { finite, lower, middle, median, kth, least, most, search, lagged, mad, noise, inBlocks, pairwise, slope, standsAt, of, main, picked, onlyFinite,
    curveOf, since, stride, ratesOf, ratesAt, rateRises, steadyFrom, evaluations };
})();
