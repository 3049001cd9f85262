// The rare class: who is heard, and where the loss puts the line between rare and frequent.
{
  const ROWS = 10000, SPREAD = 0.45;
  // one measurement of each example: classes a distance of 2 apart, the quantiles of a logistic distribution, no chance
  const quantiles = (n, centre) => Array.from({ length: n }, (_, k) => centre + SPREAD * logit((k + 0.5) / n));
  const focal = (u, gamma) => sigmoid(-u) ** gamma * softplus(-u);
  const focalSlope = (u, gamma) => -(sigmoid(-u) ** gamma) * (sigmoid(-u) + gamma * sigmoid(u) * softplus(-u));
  const NAMES = { ce: "cross-entropy", weighted: "weighted cross-entropy", focal: "focal loss", adjusted: "logit-adjusted" };
  function setting(state) {
    const rare = Math.max(2, Math.round(state.rate * ROWS)), many = ROWS - rare, odds = Math.log(rare / many);
    const forms = {
      ce: { rare: 1, many: 1, gamma: 0, shift: 0 }, weighted: { rare: many / rare, many: 1, gamma: 0, shift: 0 },
      focal: { rare: state.balanced ? state.alpha : 1, many: state.balanced ? 1 - state.alpha : 1, gamma: state.gamma, shift: 0 },
      adjusted: { rare: 1, many: 1, gamma: 0, shift: odds },
    };
    return { rare, many, odds, form: forms[state.loss], s: [...quantiles(rare, 1), ...quantiles(many, -1)] };
  }
  const total = (at, { s, rare, form }) => sum(s.map((x, k) => {
    const z = at[0] * x + at[1] + form.shift;
    return k < rare ? form.rare * focal(z, form.gamma) : form.many * focal(-z, form.gamma);
  }));
  function slope(at, { s, rare, form }) {
    let a = 0, b = 0;
    s.forEach((x, k) => {
      const z = at[0] * x + at[1] + form.shift;
      const d = k < rare ? form.rare * focalSlope(z, form.gamma) : -form.many * focalSlope(-z, form.gamma);
      a += d * x; b += d;
    });
    return [a, b];
  }
  // Newton's method on two parameters, halved where it would climb
  const fitted = new Map();
  function fit(now, key) {
    if (fitted.has(key)) return fitted.get(key);
    let at = [1.5, now.odds - now.form.shift], value = total(at, now);
    for (let k = 0; k < 200; k++) {
      const g = slope(at, now), h = 1e-5;
      const ga = slope([at[0] + h, at[1]], now), gb = slope([at[0], at[1] + h], now);
      let [haa, hab, hbb] = [(ga[0] - g[0]) / h, ((ga[1] - g[1]) / h + (gb[0] - g[0]) / h) / 2, (gb[1] - g[1]) / h];
      if (haa * hbb - hab * hab <= 0 || haa <= 0) { haa = Math.abs(haa) + 1; hbb = Math.abs(hbb) + 1; hab = 0; } // not convex here
      const det = haa * hbb - hab * hab, step = [(hbb * g[0] - hab * g[1]) / det, (haa * g[1] - hab * g[0]) / det];
      let rate = 1, next = at, low = value;
      for (; rate > 1e-12; rate /= 2) {
        next = [at[0] - rate * step[0], at[1] - rate * step[1]];
        low = total(next, now);
        if (low < value) break;
      }
      if (!(low < value)) break;
      at = next; value = low;
    }
    at = at.map((v) => Number(v.toPrecision(10)));
    if (fitted.size > 200) fitted.clear();
    fitted.set(key, at);
    return at;
  }
  const keyOf = (state) => [state.rate, state.loss, ...(state.loss === "focal" ? [state.gamma, state.balanced, state.alpha] : [])].join(" ");
  function judged(state) {
    const now = setting(state), at = fit(now, keyOf(state)), line = logit(state.threshold);
    const z = now.s.map((x) => at[0] * x + at[1]);
    const hit = z.filter((v, k) => k < now.rare && v > line).length, false_ = z.filter((v, k) => k >= now.rare && v > line).length;
    return { ...now, at, z, hit, false_, loss: total(at, now) / ROWS, recall: hit / now.rare, precision: hit + false_ ? hit / (hit + false_) : NaN,
      balanced: (hit / now.rare + 1 - false_ / now.many) / 2 };
  }
  const entropy = (p) => -p * Math.log(p) - (1 - p) * Math.log1p(-p);
  exhibit({
    id: "rare",
    title: "The rare class",
    claim: "Where one class is rare, the sum of the loss belongs to the easy crowd, and a threshold of one half finds few of the rare. The loss moves that line; it need not be the loss that moves it.",
    controls: [
      { name: "rate", label: "Share of the rare class", kind: "range", value: 0.01, low: 0.001, high: 0.5, scale: "log" },
      { name: "loss", label: "Trained with", kind: "choice", value: "ce", options: Object.entries(NAMES) },
      { name: "gamma", label: "Focal loss: gamma", kind: "range", value: 2, low: 0, high: 5, step: 0.1 },
      { name: "balanced", label: "Focal loss: alpha for the rare class", kind: "switch", value: false, when: (s) => s.loss === "focal" },
      { name: "alpha", label: "Alpha", kind: "range", value: 0.9, low: 0.05, high: 0.95, step: 0.05, when: (s) => s.loss === "focal" && s.balanced },
      { name: "threshold", label: "Called rare from a probability of", kind: "range", value: 0.5, low: 0.001, high: 0.999, scale: "logit" },
    ],
    view(state) {
      const now = judged(state), p = now.rare / ROWS;
      const sorted = now.s.map((x, k) => [x, k < now.rare]).sort((a, b) => b[0] - a[0]);
      let hits = 0;
      const curve = sorted.flatMap(([, rare], k) => (rare ? [[++hits / now.rare, hits / (k + 1)]] : []));
      const picture = new Picture({ label: "Precision against recall", height: 280, x: { low: 0, high: 1, label: "recall: of the rare, how many are found" }, y: { low: 0, high: 1, label: "precision: of those called rare, how many are" } });
      picture.line(curve, "a").rule("y", p, "");
      if (Number.isFinite(now.precision)) picture.dot(now.recall, now.precision, "b");
      const easy = 0.95, hard = 0.1, crowd = 990, few = 10;
      const heard = (g) => [crowd * (1 - easy) ** g * -Math.log(easy), few * (1 - hard) ** g * -Math.log(hard)];
      const plainHeard = heard(0), focalHeard = heard(state.gamma);
      return `<dl class="big"><div><dt>recall</dt><dd>${num(now.recall, { py: "recall", kind: "pct", digits: 1 })}</dd></div>
        <div><dt>precision</dt><dd>${now.hit + now.false_ ? num(now.precision, { py: "precision", kind: "pct", digits: 1 }) : "none called"}</dd></div>
        <div><dt>balanced accuracy</dt><dd>${num(now.balanced, { py: "balanced", kind: "pct", digits: 1 })}</dd></div>
        <div><dt>loss</dt><dd>${num(now.loss, { py: "loss" })}</dd></div></dl>${picture.svg()}
        ${legend([["a", "every threshold: the same curve for every loss, since one measurement ranks alike"]])}
        ${table([`${num(ROWS, { kind: "int" })} examples`, "called rare", "called frequent"], [
          ["rare", num(now.hit, { py: "hit", kind: "int" }), num(now.rare - now.hit, { py: "rare - hit", kind: "int" })],
          ["frequent", num(now.false_, { py: "false", kind: "int" }), num(now.many - now.false_, { py: "many - false", kind: "int" })]])}
        <p>A model that says “${num(p, { py: `rare / ${ROWS}`, kind: "pct", digits: 1 })} rare” of everything shows a cross-entropy of ${num(entropy(p), { py: "constant" })}:
        a small loss, and nothing learned.</p>
        <h3>Who is heard?</h3>
        ${table(["sum of the loss", "cross-entropy", `focal, gamma ${num(state.gamma, { kind: "sig" })}`], [
          [`${num(crowd, { kind: "int" })} easy examples of the crowd, right by ${num(easy, { kind: "pct", digits: 0 })}`, num(plainHeard[0], { py: "heard(990, 0.95, 0)", digits: 1 }), num(focalHeard[0], { py: "heard(990, 0.95, gamma)", digits: 3 })],
          [`${num(few, { kind: "int" })} hard rare ones, right by ${num(hard, { kind: "pct", digits: 0 })}`, num(plainHeard[1], { py: "heard(10, 0.1, 0)", digits: 1 }), num(focalHeard[1], { py: "heard(10, 0.1, gamma)", digits: 2 })]])}`;
    },
    code(state) {
      const now = judged(state);
      const both = "torch.stack([torch.zeros_like(z), z], 1)";
      const call = {
        ce: "losskit.binary_cross_entropy_with_logits(z, y)",
        weighted: 'losskit.binary_cross_entropy_with_logits(z, y, pos_weight=torch.tensor(many / rare, dtype=torch.float64), reduction="sum") / 10000',
        focal: `losskit.binary_focal_loss(z, y, gamma=gamma${state.balanced ? `, alpha=${python(state.alpha)}` : ""}, reduction="sum") / ${ROWS}`,
        adjusted: `losskit.logit_adjusted_loss(${both}, y.long(), prior=torch.tensor([many, rare], dtype=torch.float64))`,
      }[state.loss];
      return `
import math, torch, losskit
rare, many, gamma = ${now.rare}, ${now.many}, ${python(state.gamma)}
def quantiles(n, centre):  # of a logistic distribution of width ${SPREAD}
    return centre + ${SPREAD} * ((torch.arange(n, dtype=torch.float64) + 0.5) / n).logit()
s = torch.cat([quantiles(rare, 1.0), quantiles(many, -1.0)])
y = torch.cat([torch.ones(rare, dtype=torch.float64), torch.zeros(many, dtype=torch.float64)])
a, b = ${python(now.at)}  # what minimises the loss
z = a * s + b
loss = ${call}
called = z > ${state.threshold === 0.5 ? "0.0" : `math.log(${python(state.threshold)} / (1 - ${python(state.threshold)}))`}
hit, false = (called & (y == 1)).sum().double(), (called & (y == 0)).sum().double()
recall, precision = hit / rare, hit / (hit + false)
balanced = (recall + 1 - false / many) / 2
constant = losskit.reference("binary_cross_entropy_with_logits", prior=rare / ${ROWS}).constant
def heard(count, p, gamma):
    score = torch.tensor([math.log(p / (1 - p))], dtype=torch.float64)
    return count * losskit.binary_focal_loss(score, torch.ones_like(score), gamma=gamma)`;
    },
  });
}
