// Shrug and scream: what a confident mistake does to the gradient of squared error and of cross-entropy.
{
  const runs = RECORDED.shrug; // steps to 90 % of the test digits, for each start bias; null: never within `limit` steps
  const parts = (p, two) => {
    const own = p, slope = p * (1 - p);
    // two: softmax over two classes, squared error over both probabilities
    return { mse: (two ? 2 : 1) * (1 - own) ** 2, ce: -Math.log(own), mseGradient: (two ? 2 : 1) * 2 * (own - 1) * slope, ceGradient: own - 1 };
  };
  const steps = (loss, bias) => {
    const value = runs[loss].steps[bias];
    return value === null ? `never in ${num(runs.limit, { recorded: "shrug.limit", kind: "int" })}` : num(value, { recorded: `shrug.${loss}.steps.${bias}`, kind: "int" });
  };
  exhibit({
    id: "shrug",
    title: "Shrug and scream",
    claim: "A model that is sure and wrong should learn most. Cross-entropy pulls its score with almost 1; squared error lets go, on both sides.",
    controls: [
      { name: "p", label: "Probability given to the right class", kind: "range", value: 0.01, low: 0.0001, high: 0.9999, scale: "logit" },
      { name: "output", label: "Output", kind: "choice", value: "sigmoid", options: [["sigmoid", "sigmoid, one score"], ["softmax", "softmax, two scores"]] },
      { name: "bias", label: "Digits: how sure of a wrong class at the start", kind: "range", value: 15, low: 0, high: 15, step: 1 },
    ],
    view({ p, output, bias }) {
      const two = output === "softmax", now = parts(p, two);
      const picture = new Picture({
        label: `Gradient on the score against the probability of the right class: squared error ${now.mseGradient}, cross-entropy ${now.ceGradient}`,
        x: { low: 0, high: 1, label: "probability of the right class", ticks: [0, 0.25, 0.5, 0.75, 1] },
        y: { low: -1, high: 0, label: "gradient on its score" },
      });
      picture.curve((q) => parts(q, two).ceGradient, "a").curve((q) => parts(q, two).mseGradient, "b").rule("x", p, "");
      picture.dot(p, now.ceGradient, "a").dot(p, now.mseGradient, "b");
      return `<dl class="big"><div><dt>cross-entropy pulls</dt><dd>${num(now.ceGradient, { py: "ce_gradient" })}</dd></div>
        <div><dt>squared error pulls</dt><dd>${num(now.mseGradient, { py: "mse_gradient" })}</dd></div>
        <div><dt>cross-entropy is stronger</dt><dd>${num(now.ceGradient / now.mseGradient, { py: "ce_gradient / mse_gradient", kind: "times", digits: 1 })}</dd></div></dl>
        ${picture.svg()}${legend([["a", "cross-entropy: p − 1"], ["b", two ? "squared error: 4 (p − 1) p (1 − p)" : "squared error: 2 (p − 1) p (1 − p)"]])}
        ${table(["the same prediction", "loss", "gradient"], [
          ["cross-entropy", num(now.ce, { py: "ce" }), num(now.ceGradient, { py: "ce_gradient" })],
          ["squared error", num(now.mse, { py: "mse" }), num(now.mseGradient, { py: "mse_gradient" })]])}
        <h3>The same on real digits</h3>
        <p>A linear classifier of 8×8 digits, trained with one learning rate for both losses (the README's picture gives each its best), starts sure of a wrong class by a bias of ${num(bias, { kind: "int" })}. Steps until it reads
        ${num(runs.goal, { recorded: "shrug.goal", kind: "pct", digits: 0 })} of the test digits: cross-entropy ${steps("ce", bias)}, squared error ${steps("mse", bias)}.</p>`;
    },
    code({ p, output }) {
      const scores = output === "softmax" ? "[0.0, math.log(p / (1 - p))]" : "[math.log(p / (1 - p))]";
      return output === "softmax" ? `
import math, torch, losskit
p = ${python(p)}
scores = torch.tensor([${scores}], dtype=torch.float64, requires_grad=True)
right = torch.tensor([1])
ce = losskit.cross_entropy(scores, right)
ce_gradient = torch.autograd.grad(ce, scores)[0][0, 1]
mse = losskit.mse_loss(scores.softmax(1), torch.eye(2, dtype=torch.float64)[right], reduction="sum")
mse_gradient = torch.autograd.grad(mse, scores)[0][0, 1]`
        : `
import math, torch, losskit
p = ${python(p)}
score = torch.tensor(${scores}, dtype=torch.float64, requires_grad=True)
right = torch.ones(1, dtype=torch.float64)
ce = losskit.binary_cross_entropy_with_logits(score, right)
ce_gradient = torch.autograd.grad(ce, score)[0][0]
mse = losskit.mse_loss(score.sigmoid(), right)
mse_gradient = torch.autograd.grad(mse, score)[0][0]`;
    },
  });
}
