// How many choices? Perplexity of four tokens, and of two documents averaged rightly and wrongly.
{
  const FIRST = [0.25, 0.5, 0.125, 0.5], WORDS = ["The", "cat", "sat", "down"];
  const nats = (p) => -Math.log(p);
  const UNITS = { perplexity: ["perplexity", (n) => Math.exp(n), ""], nats: ["nats a token", (n) => n, ""], bits: ["bits a token", (n) => n / Math.LN2, ""] };
  const PY = { perplexity: (expr) => `math.exp(${expr})`, nats: (expr) => expr, bits: (expr) => `${expr} / math.log(2)` };
  exhibit({
    id: "choices",
    title: "How many choices?",
    claim: "Perplexity says between how many equally likely tokens a model is confused. It is taken over tokens: the average of batches is another number.",
    controls: [
      ...FIRST.map((value, k) => ({ name: `p${k}`, label: `Probability given to “${WORDS[k]}”`, kind: "range", value, low: 0.001, high: 1, scale: "log" })),
      { name: "unit", label: "Shown as", kind: "choice", value: "perplexity", options: [["perplexity", "perplexity"], ["nats", "nats"], ["bits", "bits"]] },
      { name: "even", label: "A model that spreads evenly over k tokens: k", kind: "range", value: 50, low: 1, high: 50257, scale: "log", step: 1 },
      { name: "n0", label: "Short document: tokens", kind: "range", value: 10, low: 1, high: 1000, scale: "log", step: 1 },
      { name: "l0", label: "Short document: nats a token", kind: "range", value: 0.1, low: 0, high: 8, step: 0.1 },
      { name: "n1", label: "Long document: tokens", kind: "range", value: 100, low: 1, high: 1000, scale: "log", step: 1 },
      { name: "l1", label: "Long document: nats a token", kind: "range", value: 3, low: 0, high: 8, step: 0.1 },
    ],
    view(state) {
      const p = FIRST.map((_, k) => state[`p${k}`]), [words, to] = UNITS[state.unit];
      const all = mean(p.map(nats)), right = (state.n0 * state.l0 + state.n1 * state.l1) / (state.n0 + state.n1);
      const batches = (state.l0 + state.l1) / 2, documents = (Math.exp(state.l0) + Math.exp(state.l1)) / 2;
      const wide = 560, left = 62, strip = 300, row = 42;
      const strips = p.map((q, k) => {
        const y = 34 + k * row, x = left + strip * q;
        return `<text class="strong" x="0" y="${y + 18}">${WORDS[k]}</text>
          <rect class="bar a" x="${left}" y="${y}" width="${(strip * q).toFixed(2)}" height="26" rx="2"/>
          <rect class="bar rest" x="${x.toFixed(2)}" y="${y}" width="${(strip * (1 - q)).toFixed(2)}" height="26" rx="2"/>
          ${mark(wide - 108, y + 18, q, { py: `p[${k}]`, kind: "sig", digits: 3, class: "end" })}
          ${mark(wide - 4, y + 18, to(nats(q)), { py: PY[state.unit](`nll[${k}]`), kind: "sig", digits: 3, class: "end" })}`;
      });
      const svg = `<svg class="picture" viewBox="0 0 ${wide} ${38 + 4 * row}" role="img" aria-label="The share of probability that each token got">
        <text class="end" x="${wide - 108}" y="18">probability</text><text class="end" x="${wide - 4}" y="18">${words}</text>${strips.join("")}</svg>`;
      return `<dl class="big"><div><dt>perplexity of these four tokens</dt><dd>${num(Math.exp(all), { py: "perplexity", digits: 3 })}</dd></div>
        <div><dt>nats a token</dt><dd>${num(all, { py: "nll.mean()" })}</dd></div><div><dt>bits a token</dt><dd>${num(all / Math.LN2, { py: "nll.mean() / math.log(2)" })}</dd></div></dl>${svg}
        <p>A model that spreads evenly over ${num(state.even, { kind: "int" })} tokens pays ln ${num(state.even, { kind: "int" })} = ${num(Math.log(state.even), { py: "even_nats" })} nats for each:
        perplexity ${num(state.even, { py: "even", kind: "sig", digits: 6 })}.</p>
        <h3>Two documents of different length</h3>
        ${table(["of both together", "nats a token", "perplexity"], [
          ["per token: right", num(right, { py: "total / tokens" }), num(Math.exp(right), { py: "together", digits: 2 })],
          ["average of the two losses, then exp", num(batches, { py: "batches" }), num(Math.exp(batches), { py: "math.exp(batches)", digits: 2 })],
          ["average of the two perplexities", num(Math.log(documents), { py: "math.log(documents)" }), num(documents, { py: "documents", digits: 2 })]])}`;
    },
    code(state) {
      return `
import math, torch, losskit
p = ${python(FIRST.map((_, k) => state[`p${k}`]))}
metric = losskit.Perplexity()
nll = -torch.tensor(p, dtype=torch.float64).log()
metric.update_nll(nll)
perplexity = metric.compute()

knows_nothing = torch.zeros(1, ${state.even}, dtype=torch.float64)
even_nats = losskit.cross_entropy(knows_nothing, torch.tensor([0]))
even = math.exp(even_nats)

documents = [(${state.n0}, ${python(state.l0)}), (${state.n1}, ${python(state.l1)})]  # tokens, nats a token
metric = losskit.Perplexity()
for tokens, nats in documents:
    metric.update_sum(tokens * nats, tokens)
together = metric.compute()
total, tokens = sum(n * l for n, l in documents), sum(n for n, _ in documents)
batches = sum(l for _, l in documents) / 2                # mean of the batches' means
documents = sum(math.exp(l) for _, l in documents) / 2    # mean of perplexities`;
    },
  });
}
