// Softmax bench: scores to probabilities, loss and gradient, with label smoothing, class weights and temperature.
{
  const MOST = 8;
  const SCORES = [2, 1, 0.1, 0, 0, 0, 0, 0], WEIGHTS = [1, 1, 1, 1, 1, 1, 1, 1];
  const bench = (state) => {
    const n = state.classes, right = Math.min(Number(state.target), n - 1), { eps, temperature } = state;
    const scores = Array.from({ length: n }, (_, k) => state[`z${k}`] / temperature);
    const weights = Array.from({ length: n }, (_, k) => (state.weighted ? state[`w${k}`] : 1));
    const lse = logsumexp(scores), probabilities = softmax(scores);
    // torch's rule: weights multiply inside the smoothing, the mean is over the weight of the right class
    const share = weights.map((w, k) => (w * ((k === right ? 1 - eps : 0) + eps / n)) / weights[right]);
    const plainLoss = crossEntropy(scores, right);
    const smooth = sum(share.map((s, k) => s * (lse - scores[k])));
    const loss = eps === 0 ? plainLoss : smooth;
    const total = sum(share);
    const gradient = scores.map((_, k) => (eps === 0 && k === right ? -sum(probabilities.filter((_, j) => j !== k)) : total * probabilities[k] - share[k]) / temperature);
    const q = (k) => (k === right ? 1 - eps : 0) + eps / n;
    const floor = eps === 0 ? 0 : -sum(scores.map((_, k) => (q(k) ? q(k) * Math.log(q(k)) : 0)));
    return { n, right, scores, weights, probabilities, loss, gradient, floor, gap: Math.log(q(right) / (eps / n)) };
  };
  exhibit({
    id: "softmax",
    title: "Softmax bench",
    claim: "The gradient of cross-entropy is what the model said minus what is true: it sums to 0 over the classes. Smoothing gives it a floor above 0.",
    controls: [
      { name: "classes", label: "Classes", kind: "range", value: 3, low: 3, high: MOST, step: 1 },
      { name: "target", label: "Right class", kind: "choice", value: "0", options: Array.from({ length: MOST }, (_, k) => [String(k), `class ${k}`]) },
      ...SCORES.map((value, k) => ({ name: `z${k}`, label: `Score of class ${k}`, kind: "range", value, low: -10, high: 10, step: 0.1, when: (state) => k < state.classes })),
      { name: "eps", label: "Label smoothing", kind: "range", value: 0, low: 0, high: 0.5, step: 0.01 },
      { name: "temperature", label: "Temperature", kind: "range", value: 1, low: 0.05, high: 5, scale: "log" },
      { name: "weighted", label: "Class weights", kind: "switch", value: false },
      ...WEIGHTS.map((value, k) => ({ name: `w${k}`, label: `Weight of class ${k}`, kind: "range", value, low: 0.1, high: 10, scale: "log", when: (state) => state.weighted && k < state.classes })),
    ],
    view(state) {
      const now = bench(state), wide = 560, row = 34, left = 92, right = 172, zero = left + (wide - left - right) / 2;
      const reach = Math.max(1, ...now.gradient.map(Math.abs));
      const bars = now.probabilities.map((p, k) => {
        const y = 40 + k * row, g = now.gradient[k] / reach, half = (wide - left - right) / 2 - 6;
        return `<text class="${k === now.right ? "strong" : ""}" x="0" y="${y + 16}">class ${k}${k === now.right ? ", right" : ""}</text>
          <rect class="bar ${k === now.right ? "a" : "b"}" x="${g < 0 ? zero + g * half : zero}" y="${y + 2}" width="${Math.max(Math.abs(g) * half, 0.5).toFixed(2)}" height="19" rx="2"/>
          ${mark(wide - 96, y + 16, p, { py: `probabilities[${k}]`, class: "end", digits: 3 })}${mark(wide - 4, y + 16, now.gradient[k], { py: `gradient[${k}]`, class: "end", digits: 3 })}`;
      });
      const high = 48 + now.n * row;
      const svg = `<svg class="picture" viewBox="0 0 ${wide} ${high}" role="img" aria-label="The gradient on each score">
        <text class="middle" x="${zero}" y="22">gradient on the score</text><text class="end" x="${wide - 96}" y="22">probability</text><text class="end" x="${wide - 4}" y="22">gradient</text>
        <line class="grid zero" x1="${zero}" x2="${zero}" y1="34" y2="${high - 6}"/>${bars.join("")}</svg>`;
      const floor = state.weighted ? "" : `<div><dt>at best</dt><dd>${num(now.floor, { py: "floor" })}</dd></div>`;
      const gap = state.eps > 0 && !state.weighted ? `<p>At its floor the right score stands ${num(now.gap * state.temperature, { py: "gap" })} above each other one; without smoothing it would grow for ever.
        Here eps is spread over all ${num(now.n, { kind: "int" })} classes, as torch does; papers that spread it over the wrong ones alone mean eps / (K − 1).</p>` : "";
      return `<dl class="big"><div><dt>loss</dt><dd>${num(now.loss, { py: "loss" })}</dd></div>
        <div><dt>of equal scores, without weights: ln ${num(now.n, { kind: "int" })}</dt><dd>${num(Math.log(now.n), { py: "chance" })}</dd></div>${floor}
        <div><dt>sum of the gradient</dt><dd>${num(Math.abs(sum(now.gradient)) < 1e-12 ? 0 : sum(now.gradient), { py: "gradient.sum()" })}</dd></div></dl>${svg}${gap}`;
    },
    code(state) {
      const now = bench(state), options = [];
      if (state.eps > 0) options.push(`label_smoothing=${python(state.eps)}`);
      if (state.weighted) options.push("weight=weight");
      return `
import math, torch, losskit
scores = torch.tensor([${python(now.scores.map((_, k) => state[`z${k}`]))}], dtype=torch.float64, requires_grad=True)
right, temperature = torch.tensor([${now.right}]), ${python(state.temperature)}
${state.weighted ? `weight = torch.tensor(${python(now.weights)}, dtype=torch.float64)\n` : ""}loss = losskit.cross_entropy(scores / temperature, right${options.map((o) => `, ${o}`).join("")})
gradient = torch.autograd.grad(loss, scores)[0][0]
probabilities = (scores / temperature).softmax(1)[0]
chance = losskit.reference("cross_entropy", num_classes=${now.n}).chance
floor = losskit.reference("cross_entropy", num_classes=${now.n}, label_smoothing=${python(state.eps)}).floor
${state.eps > 0 ? `gap = temperature * math.log((1 - ${python(state.eps)} + ${python(state.eps)} / ${now.n}) / (${python(state.eps)} / ${now.n}))` : ""}`;
    },
  });
}
