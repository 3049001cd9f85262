// Batch of pairs: queries and keys on a circle, the table of their similarities, and what each loss makes of it.
{
  const MOST = 8, SCATTER = [0.1, -0.2, 0.3, -0.1, 0.25, -0.3, 0.05, 0.2]; // each key's angle beside its query's, in radians
  const fixed = (v) => Number(v.toFixed(4));
  const LOSSES = { info_nce: "InfoNCE, multiple negatives", clip: "CLIP: both directions", triplet: "triplet, next key as negative", contrastive: "pairs with a margin" };
  const needsTemperature = (s) => s.loss === "info_nce" || s.loss === "clip";
  function batch(state) {
    const n = state.pairs;
    const query = Array.from({ length: n }, (_, k) => fixed((2 * Math.PI * k) / n));
    const key = query.map((a, k) => fixed(a + state.scatter * SCATTER[k] + (k === 0 ? state.turn : 0)));
    if (state.twin && n > 1) { query[1] = query[0]; key[1] = key[0]; } // the same pair twice
    const unit = (a) => [Math.cos(a), Math.sin(a)];
    const s = query.map((a) => key.map((b) => { const [x, y] = unit(a), [u, v] = unit(b); return x * u + y * v; }));
    const alike = (i, j) => state.twin && state.known && i !== j && i < 2 && j < 2;
    const seen = (i) => s[i].map((v, j) => (alike(i, j) ? -Infinity : v / state.temperature));
    const column = (j) => s.map((row, i) => (alike(i, j) ? -Infinity : row[j] / state.temperature));
    const rows = query.map((_, i) => {
      const next = (i + 1) % n;
      if (state.loss === "info_nce") return crossEntropy(seen(i), i);
      if (state.loss === "clip") return (crossEntropy(seen(i), i) + crossEntropy(column(i), i)) / 2;
      if (state.loss === "triplet") return Math.max(0, 1 - s[i][i] - (1 - s[i][next]) + state.margin);
      return ((1 - s[i][i]) ** 2 / 2 + Math.max(0, state.margin - (1 - s[i][next])) ** 2 / 2) / 2;
    });
    return { n, query, key, s, rows, loss: mean(rows), own: softmax(seen(0))[0], alike };
  }
  function circle(now) {
    const size = 300, middle = size / 2, r = 104;
    const at = (a, radius) => [middle + radius * Math.cos(a), middle - radius * Math.sin(a)].map((v) => v.toFixed(2));
    const parts = now.query.map((a, k) => {
      const [qx, qy] = at(a, r), [kx, ky] = at(now.key[k], r + 22), [tx, ty] = at(a, r - 24);
      const name = now.alike(1, 0) && k === 1 ? "" : `<text class="middle" x="${tx}" y="${Number(ty) + 4}">${String.fromCharCode(65 + k)}</text>`;
      return `<line class="grid" x1="${qx}" y1="${qy}" x2="${kx}" y2="${ky}"/><circle class="dot a" cx="${qx}" cy="${qy}" r="6"/><rect class="bar b" x="${kx - 8}" y="${ky - 8}" width="16" height="16" rx="2"/><text class="inside" x="${kx}" y="${Number(ky) + 4}">${String.fromCharCode(65 + k)}</text>${name}`;
    });
    return `<svg class="picture circle" viewBox="0 0 ${size} ${size}" role="img" aria-label="Queries and keys on a circle"><circle class="ring" cx="${middle}" cy="${middle}" r="${r}"/>${parts.join("")}</svg>`;
  }
  function heat(now) {
    const letter = (k) => String.fromCharCode(65 + k);
    const cell = (i, j) => {
      const v = now.s[i][j], level = (v + 1) / 2;
      return `<td class="heat${i === j ? " own" : ""}${now.alike(i, j) ? " out" : ""}" style="--level:${level.toFixed(3)}">${num(v, { py: `similarity[${i}, ${j}]`, digits: 2 })}</td>`;
    };
    return `<div class="wide"><table class="heats"><thead><tr><th scope="col"><span class="hidden">query, key</span></th>${now.key.map((_, j) => `<th scope="col">${letter(j)}</th>`).join("")}</tr></thead>
      <tbody>${now.query.map((_, i) => `<tr><th scope="row">${letter(i)}</th>${now.key.map((_, j) => cell(i, j)).join("")}</tr>`).join("")}</tbody></table></div>`;
  }
  exhibit({
    id: "pairs",
    title: "Batch of pairs",
    claim: "Each query has to find its own key among the keys of the whole batch. A batch that knows nothing shows ln N; a low temperature makes the hardest wrong key all that counts.",
    controls: [
      { name: "loss", label: "Loss", kind: "choice", value: "info_nce", options: Object.entries(LOSSES) },
      { name: "pairs", label: "Pairs in the batch", kind: "range", value: 8, low: 2, high: MOST, step: 1 },
      { name: "turn", label: "Turn key A away (radians)", kind: "range", value: 0.6, low: -3.14, high: 3.14, step: 0.02 },
      { name: "scatter", label: "Scatter of the keys", kind: "range", value: 1, low: 0, high: 5, step: 0.1 },
      { name: "temperature", label: "Temperature", kind: "range", value: 0.1, low: 0.01, high: 5, scale: "log", when: needsTemperature },
      { name: "margin", label: "Margin", kind: "range", value: 0.5, low: 0, high: 5, step: 0.1, when: (s) => !needsTemperature(s) },
      { name: "twin", label: "Pair B is pair A again", kind: "switch", value: false },
      { name: "known", label: "Tell the loss (the same id)", kind: "switch", value: true, when: (s) => s.twin && needsTemperature(s) },
    ],
    view(state) {
      const now = batch(state), softmaxed = needsTemperature(state);
      const figures = softmaxed
        ? `<div><dt>probability of A's own key</dt><dd>${num(now.own, { py: "own", digits: 3 })}</dd></div><div><dt>all scores equal: ln ${num(now.n, { kind: "int" })}</dt><dd>${num(Math.log(now.n), { py: "chance" })}</dd></div>`
        : `<div><dt>all vectors equal</dt><dd>${num(state.loss === "triplet" ? state.margin : state.margin ** 2 / 4, { py: "collapsed" })}</dd></div>`;
      const unreached = !softmaxed && state.margin > 2 ? `<p class="note">A cosine distance is at most ${num(2, { kind: "int" })}: with a margin of ${num(state.margin, { kind: "sig" })} the loss cannot reach 0.
        At best it is ${num(state.loss === "triplet" ? state.margin - 2 : (state.margin - 2) ** 2 / 4, { py: "least" })}.</p>` : "";
      const sims = [0.8, 0.3, 0.1, -0.2], taus = [1, 0.5, 0.1];
      return `<dl class="big"><div><dt>loss</dt><dd>${num(now.loss, { py: "loss" })}</dd></div><div><dt>loss of pair A</dt><dd>${num(now.rows[0], { py: "rows[0]" })}</dd></div>${figures}</dl>${unreached}
        <div class="pair">${circle(now)}${heat(now)}</div><p class="soft">Left: queries (dots) on the circle and their keys (squares) just outside it. Right: similarity of each query (row) with each key (column); its own key is framed.</p>
        <h3>What a temperature does</h3>
        ${table([`similarities ${sims.map((v) => num(v, { kind: "sig" })).join(", ")}`, "loss", "probability of the first"], taus.map((t, k) => [`temperature ${num(t, { kind: "sig" })}`,
          num(crossEntropy(sims.map((v) => v / t), 0), { py: `tempered[${k}][0]` }), num(softmax(sims.map((v) => v / t))[0], { py: `tempered[${k}][1]`, digits: 3 })]))}`;
    },
    code(state) {
      const now = batch(state), ids = state.twin && state.known ? `, query_ids=ids, key_ids=ids` : "";
      const call = {
        info_nce: `losskit.info_nce_loss(query, key, temperature=${python(state.temperature)}${ids}, reduction="none")`,
        clip: `losskit.clip_loss(query, key, logit_scale=1 / ${python(state.temperature)}${ids}, reduction="none")`,
        triplet: `losskit.triplet_margin_loss(query, key, key.roll(-1, 0), margin=${python(state.margin)}, distance="cosine", reduction="none")`,
        contrastive: `(losskit.contrastive_loss(query, key, same, margin=${python(state.margin)}, reduction="none")
        + losskit.contrastive_loss(query, key.roll(-1, 0), 1 - same, margin=${python(state.margin)}, reduction="none")) / 2`,
      }[state.loss];
      return `
import math, torch, losskit
def on_the_circle(angles):
    angles = torch.tensor(angles, dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], 1)
query = on_the_circle(${python(now.query)})
key = on_the_circle(${python(now.key)})
similarity = query @ key.T
same = torch.ones(${now.n}, dtype=torch.float64)
ids = torch.tensor(${python(now.query.map((_, k) => (state.twin && k === 1 ? 0 : k)))})
rows = ${call}
loss = rows.mean()
chance = losskit.reference("info_nce_loss", batch_size=${now.n}).chance
own = math.exp(-losskit.info_nce_loss(query, key, temperature=${python(state.temperature)}${ids}, reduction="none")[0])
one, other = on_the_circle([0.0]), on_the_circle([math.pi])
def at_best(positive, negative, margin=${python(state.margin)}):
    if ${python(state.loss === "triplet")}:
        return losskit.triplet_margin_loss(one, positive, negative, margin=margin, distance="cosine")
    yes = torch.ones(1, dtype=torch.float64)
    return (losskit.contrastive_loss(one, positive, yes, margin=margin) + losskit.contrastive_loss(one, negative, 1 - yes, margin=margin)) / 2
collapsed, least = at_best(one, one), at_best(one, other)
scores = torch.tensor([[0.8, 0.3, 0.1, -0.2]], dtype=torch.float64)
tempered = [(losskit.cross_entropy(scores / t, torch.tensor([0])), (scores / t).softmax(1)[0, 0]) for t in (1.0, 0.5, 0.1)]`;
    },
  });
}
