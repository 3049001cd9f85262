// The mathematics of the page, in float64: each function gives what losskit gives for the same input.
const sum = (xs) => xs.reduce((a, b) => a + b, 0);
const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
const sigmoid = (z) => (z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z)));
const logit = (p) => Math.log(p) - Math.log1p(-p);
const logsumexp = (zs) => {
  const top = Math.max(...zs);
  return top === -Infinity ? top : top + Math.log(sum(zs.map((z) => Math.exp(z - top))));
};
const softmax = (zs) => {
  const lse = logsumexp(zs);
  return zs.map((z) => Math.exp(z - lse));
};
// both tails keep their digits: y * softplus(-z) + (1 - y) * softplus(z)
const binaryCrossEntropy = (z, y) => y * softplus(-z) + (1 - y) * softplus(z);
const crossEntropy = (zs, target) => softplus(logsumexp(zs.filter((_, j) => j !== target)) - zs[target]);
const mean = (xs) => sum(xs) / xs.length;
const median = (xs) => {
  const sorted = [...xs].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};
