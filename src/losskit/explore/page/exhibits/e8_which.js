// Which loss? The answers of losskit.choose by task and data, and cards to quiz oneself with, whose answers are computed.
{
  const { map, shared } = RECORDED.which, TASKS = Object.keys(map);
  const WORDS = { binary: "yes or no", multiclass: "one of several classes", multilabel: "several labels at once", regression: "a number", count: "a count",
    embedding: "vectors that lie near each other", ranking: "the order of a list", language: "the next token" };
  const leafOf = (state) => map[state.task][state[`data_${state.task}`]] ?? Object.values(map[state.task])[0];
  const dataOf = (state) => (map[state.task][state[`data_${state.task}`]] ? state[`data_${state.task}`] : Object.keys(map[state.task])[0]);
  // right: which option; py: the expression that gives it; the other options are what people say
  const CARDS = [
    { ask: "Ten classes, a fresh model. Which cross-entropy should the first step show?", options: [0.1, 1, Math.log(10), 10], right: 2, py: 'losskit.reference("cross_entropy", num_classes=10).chance', why: "ln 10: every class gets a tenth." },
    { ask: "Label smoothing 0.1 with ten classes. What is the lowest loss there is?", options: [0, 0.1, -(0.91 * Math.log(0.91) + 0.09 * Math.log(0.01)), 1], right: 2, py: 'losskit.reference("cross_entropy", num_classes=10, label_smoothing=0.1).floor', why: "The entropy of the smoothed target. Stuck there is finished, not sick." },
    { ask: "Softmax, then cross-entropy, ten classes. Where does the loss end?", options: [0, Math.log(Math.E + 9) - 1, Math.log(10), 0.5], right: 1, py: "losskit.cross_entropy(torch.eye(10, dtype=torch.float64)[:1], torch.tensor([0]))", why: "A second softmax sees probabilities from 0 to 1 as scores: ln(e + 9) − 1 at best." },
    { ask: "One in a hundred is positive. Which loss shows a model that says one per cent of everything?", options: [Math.log(2), 0.01, -(0.01 * Math.log(0.01) + 0.99 * Math.log1p(-0.01)), 4.6], right: 2, py: 'losskit.reference("binary_cross_entropy_with_logits", prior=0.01).constant', why: "The entropy of the prior: small, and nothing is learned." },
    { ask: "CLIP with 256 pairs, nothing learned. Which loss?", options: [0, Math.log(256), 256, 1], right: 1, py: 'losskit.reference("clip_loss", batch_size=256).chance', why: "ln 256: it depends on the batch, so that losses of two batch sizes cannot be compared." },
    { ask: "A language model gives each right token a probability of one quarter. Its perplexity?", options: [0.25, Math.log(4), 4, 16], right: 2, py: "math.exp(losskit.cross_entropy(torch.zeros(1, 4, dtype=torch.float64), torch.tensor([0])))", why: "As confused as between four equally likely tokens." },
    { ask: "Errors of 1 and of 10. How many times more does the second cost in squared error?", options: [3.1622776601683795, 10, 100, 1000], right: 2, py: "losskit.mse_loss(zero + 10, zero) / losskit.mse_loss(zero + 1, zero)", why: "The square. In absolute error it is 10 times." },
    { ask: "The right class has a probability of 0.01. How many times stronger does cross-entropy pull than squared error?", options: [2, 5.6, 1 / (2 * 0.01 * 0.99), 1000], right: 2, py: "1 / (2 * 0.01 * (1 - 0.01))", why: "1 / (2 p (1 − p)): squared error shrugs where cross-entropy screams." },
    { ask: "Focal loss with gamma 2, an easy example right by 90 %. Which part of its cross-entropy is left?", options: [0.9, 0.1, (1 - 0.9) ** 2, 0.5], right: 2, py: "losskit.binary_focal_loss(nine, nine * 0 + 1, gamma=2.0) / losskit.binary_cross_entropy_with_logits(nine, nine * 0 + 1)", why: "(1 − p)²: a hundredth." },
    { ask: "Batches of 10 tokens at 0.1 nats and 100 tokens at 3 nats. The perplexity of both?", options: [Math.exp(1.55), (Math.exp(0.1) + Math.exp(3)) / 2, Math.exp((10 * 0.1 + 100 * 3) / 110), Math.exp(3.1)], right: 2, py: "both.compute()", why: "Per token. The mean of the batches' losses weighs the short one as much as the long one." },
  ];
  const level = (leaf, name, words) => (leaf.levels[name] === null ? "" : `<div><dt>${words}</dt><dd>${num(leaf.levels[name], { py: `advice.first.${name}`, kind: "sig", digits: 4 })}</dd></div>`);
  const listed = (title, pairs) => (pairs.length ? `<h3>${title}</h3><ul>${pairs.map(([loss, reason]) => `<li><code>${escaped(loss)}</code>: ${figured(reason)}</li>`).join("")}</ul>` : "");
  // sentences of losskit.choose hold numbers; they stay as text
  const figured = (text) => escaped(text);
  exhibit({
    id: "which",
    title: "Which loss?",
    claim: "The task names a family, the data choose within it. These are the answers of losskit.choose; where the data do not decide, it asks.",
    controls: [
      { name: "task", label: "What is predicted?", kind: "choice", value: "binary", options: TASKS.map((t) => [t, WORDS[t]]) },
      ...TASKS.map((t) => ({ name: `data_${t}`, label: "What do the data look like?", kind: "choice", value: Object.keys(map[t])[0], options: Object.keys(map[t]).map((d) => [d, d]), when: (s) => s.task === t })),
      { name: "card", label: "Quiz: card", kind: "range", value: 1, low: 1, high: CARDS.length, step: 1 },
      { name: "answer", label: "Quiz: your answer", kind: "choice", value: "", options: [["", "not yet"], ["0", "A"], ["1", "B"], ["2", "C"], ["3", "D"]] },
    ],
    view(state) {
      const leaf = leafOf(state), card = CARDS[state.card - 1], told = state.answer !== "", good = Number(state.answer) === card.right;
      const options = card.options.map((value, k) => `<li><button type="button" data-answer="${k}" class="${told && k === card.right ? "right" : told && k === Number(state.answer) ? "wrong" : ""}"><b>${"ABCD"[k]}</b>
        ${num(value, { kind: "sig", digits: 4, ...(k === card.right ? { py: card.py } : {}) })}</button></li>`);
      const path = `<ol class="path"><li>${escaped(WORDS[state.task])}</li><li>${escaped(dataOf(state))}</li><li><code>${escaped(leaf.loss)}</code></li></ol>`;
      return `${path}<p>${figured(leaf.reason)}</p><dl class="big">${level(leaf, "start", "expect at the start")}${level(leaf, "constant", "the best constant answer")}${level(leaf, "best", "at best")}</dl>
        ${leaf.warning ? `<p class="note">${figured(leaf.warning)}</p>` : ""}<pre>${escaped(leaf.code)}</pre>
        ${leaf.questions.map(([asks, answers]) => `<p><b>${figured(asks)}</b></p><ul>${Object.entries(answers).map(([a, b]) => `<li>${figured(a)}: ${figured(b)}</li>`).join("")}</ul>`).join("")}
        ${listed("Also", leaf.alternatives)}${listed("Not", leaf.avoid)}
        <h3>Quiz, card ${num(state.card, { kind: "int" })} of ${num(CARDS.length, { kind: "int" })}</h3><p>${escaped(card.ask)}</p><ul class="options">${options.join("")}</ul>
        ${told ? `<p role="status"><b>${good ? "Right." : `No: ${"ABCD"[card.right]}.`}</b> ${escaped(card.why)}</p>` : '<p class="soft">Choose A, B, C or D.</p>'}`;
    },
    drag(view, state, again) {
      for (const button of view.querySelectorAll("[data-answer]"))
        button.addEventListener("click", () => {
          state.answer = button.dataset.answer;
          again();
          view.querySelector(`[data-answer="${state.answer}"]`).focus(); // the button was drawn anew
        });
    },
    after(state, name) {
      if (name === "card") state.answer = "";
    },
    code(state) {
      const leaf = leafOf(state);
      return `
import math, torch, losskit
${leaf.call.includes("TEXTS") || leaf.call.includes("LISTS") ? `${shared}\n` : ""}advice = ${leaf.call}
print(advice)

# the quiz
zero = torch.zeros(1, dtype=torch.float64)
nine = torch.tensor([math.log(0.9 / 0.1)], dtype=torch.float64)  # the score of a probability of 0.9
both = losskit.Perplexity()
both.update_sum(10 * 0.1, 10)
both.update_sum(100 * 3.0, 100)`;
    },
  });
}
