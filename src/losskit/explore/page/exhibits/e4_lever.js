// The outlier lever: one point moved far away, and what it does to the line that each loss fits.
{
  // twenty points near y = 1 + 0.5 x; the scatter is fixed
  const NOISE = [0.3, -0.5, 0.1, 0.6, -0.2, -0.4, 0.5, 0.0, -0.3, 0.4, -0.6, 0.2, 0.3, -0.1, -0.5, 0.6, -0.2, 0.1, 0.4, -0.4];
  const X = NOISE.map((_, k) => 0.5 * (k + 1)), Y = X.map((x, k) => Number((1 + 0.5 * x + NOISE[k]).toFixed(3)));
  const LOSSES = {
    mse: { words: "squared error", name: "b", pull: (r) => 2 * r, value: (r) => r * r },
    l1: { words: "absolute error", name: "a", pull: (r) => Math.sign(r), value: (r) => Math.abs(r) },
    huber: { words: "Huber", name: "c", pull: (r, s) => Math.max(-s.delta, Math.min(s.delta, r)),
      value: (r, s) => (Math.abs(r) <= s.delta ? 0.5 * r * r : s.delta * (Math.abs(r) - 0.5 * s.delta)) },
    quantile: { words: "quantile", name: "d", pull: (r, s) => (r > 0 ? 1 - s.tau : r < 0 ? -s.tau : 0), value: (r, s) => (r > 0 ? (1 - s.tau) * r : -s.tau * r) },
  };
  const value = (one, line, points, s) => mean(points.map(([x, y]) => one.value(line[0] + line[1] * x - y, s)));
  // absolute and quantile error have a best line through two of the points
  function throughTwo(one, points, s) {
    let best = null, least = Infinity;
    for (let i = 0; i < points.length; i++)
      for (let j = i + 1; j < points.length; j++) {
        const slope = (points[j][1] - points[i][1]) / (points[j][0] - points[i][0]);
        if (!Number.isFinite(slope)) continue;
        const line = [points[i][1] - slope * points[i][0], slope], now = value(one, line, points, s);
        if (now < least - 1e-12) { least = now; best = line; }
      }
    return best;
  }
  function weighted(points, weights) {
    const total = sum(weights), mx = sum(points.map(([x], k) => weights[k] * x)) / total, my = sum(points.map(([, y], k) => weights[k] * y)) / total;
    const slope = sum(points.map(([x, y], k) => weights[k] * (x - mx) * (y - my))) / sum(points.map(([x], k) => weights[k] * (x - mx) ** 2));
    return [my - slope * mx, slope];
  }
  // Huber: least squares again and again, each point weighed by delta / |residual| where that is below 1; then the line is exact to rounding
  function huber(points, s) {
    let line = weighted(points, points.map(() => 1));
    for (let k = 0; k < 4000; k++) {
      const next = weighted(points, points.map(([x, y]) => Math.min(1, s.delta / Math.abs(line[0] + line[1] * x - y))));
      const moved = Math.abs(next[0] - line[0]) + Math.abs(next[1] - line[1]);
      line = next;
      if (moved < 1e-15) break;
    }
    return line;
  }
  const fit = (name, points, s) => (name === "mse" ? weighted(points, points.map(() => 1)) : name === "huber" ? huber(points, s) : throughTwo(LOSSES[name], points, s));
  const call = (name, s) => ({ mse: "losskit.mse_loss", l1: "losskit.l1_loss", huber: `partial(losskit.huber_loss, delta=${python(s.delta)})`, quantile: `partial(losskit.quantile_loss, quantile=${python(s.tau)})` })[name];
  const NAMES = Object.keys(LOSSES);
  exhibit({
    id: "lever",
    title: "The outlier lever",
    claim: "Squared error gives a point a pull that grows with its distance: one slip of the decimal point turns the whole line. Absolute error and Huber cap the pull.",
    controls: [
      { name: "x", label: "The stray point: x", kind: "range", value: 9, low: 0, high: 10.5, step: 0.05 },
      { name: "y", label: "The stray point: y", kind: "range", value: 40, low: -60, high: 60, step: 0.5 },
      { name: "delta", label: "Huber's delta", kind: "range", value: 1, low: 0.1, high: 10, scale: "log" },
      { name: "tau", label: "Quantile", kind: "range", value: 0.9, low: 0.05, high: 0.95, step: 0.05 },
    ],
    view(state) {
      const points = [...X.map((x, k) => [x, Y[k]]), [state.x, state.y]];
      const picture = new Picture({
        label: "Twenty points, one stray point, and the line that each loss fits", height: 360,
        x: { low: 0, high: 11, label: "x" }, y: { low: Math.min(-4, state.y - 4), high: Math.max(10, state.y + 4), label: "y" },
      });
      picture.stray = true;
      const fits = NAMES.map((name) => [name, fit(name, points, state), fit(name, points.slice(0, -1), state)]);
      for (const [name, line] of fits) picture.line([[0, line[0]], [11, line[0] + 11 * line[1]]], LOSSES[name].name);
      X.forEach((x, k) => picture.dot(x, Y[k], "", 4));
      const [px, py] = picture.at(state.x, state.y);
      picture.raw(`<circle class="dot b grab" data-grab="" cx="${px.toFixed(2)}" cy="${py.toFixed(2)}" r="9"/>`);
      const rows = fits.map(([name, line]) => {
        const r = line[0] + line[1] * state.x - state.y, one = LOSSES[name];
        return [one.words, num(line[1], { py: `slope["${name}"]`, digits: 3 }), num(line[0], { py: `start["${name}"]`, digits: 3 }),
          num(value(one, line, points, state), { py: `loss["${name}"]`, digits: 3 }), num(one.pull(r, state), { py: `pull["${name}"]`, digits: 2 })];
      });
      const five = [1, 2, 3, 4, 100];
      return `${picture.svg()}${legend(NAMES.map((name) => [LOSSES[name].name, LOSSES[name].words]))}
        ${table(["loss", "slope", "at x = 0", "mean loss", "pull of the stray point"], rows)}
        <p>The other twenty points follow a slope of 0.5. The smallest such case: of 1, 2, 3, 4 and 100 the best single answer is ${num(mean(five), { py: "constant.mean()", kind: "sig" })}
        for squared error, the mean, and ${num(median(five), { py: "constant.median()", kind: "sig" })} for absolute error, the median.</p>`;
    },
    drag(view, state, again) {
      const svg = view.querySelector(".picture"), point = view.querySelector("[data-grab]");
      point.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        const low = Math.min(-4, state.y - 4), high = Math.max(10, state.y + 4); // the axes as they were when the drag began
        const moved = (e) => {
          const box = svg.getBoundingClientRect(), scale = 560 / box.width;
          const x = (((e.clientX - box.left) * scale - 58) / (560 - 58 - 18)) * 11, y = low + ((360 - 50 - (e.clientY - box.top) * scale) / (360 - 50 - 32)) * (high - low);
          state.x = Math.min(10.5, Math.max(0, Number(x.toFixed(2)))); state.y = Math.min(60, Math.max(-60, Number(y.toFixed(1))));
          point.setAttribute("cx", (e.clientX - box.left) * scale); point.setAttribute("cy", (e.clientY - box.top) * scale);
        };
        const up = () => { removeEventListener("pointermove", moved); removeEventListener("pointerup", up); removeEventListener("pointercancel", up); again(); };
        addEventListener("pointermove", moved); addEventListener("pointerup", up); addEventListener("pointercancel", up);
      });
    },
    code(state) {
      const points = [...X.map((x, k) => [x, Y[k]]), [state.x, state.y]];
      const lines = NAMES.map((name) => `    "${name}": (${call(name, state)}, ${python(fit(name, points, state))}),`);
      return `
from functools import partial
import torch, losskit
x = torch.tensor(${python(points.map(([x]) => x))}, dtype=torch.float64)
y = torch.tensor(${python(points.map(([, y]) => y))}, dtype=torch.float64)
fits = {  # the loss, and the line that minimises it: value at 0, slope
${lines.join("\n")}
}
loss, start, slope, pull = {}, {}, {}, {}
for name, (function, line) in fits.items():
    at = torch.tensor(line, dtype=torch.float64)
    start[name], slope[name] = at
    prediction = (at[0] + at[1] * x).requires_grad_()
    loss[name] = function(prediction, y)
    pull[name] = torch.autograd.grad(loss[name], prediction)[0][-1] * len(x)
constant = torch.tensor([1.0, 2, 3, 4, 100], dtype=torch.float64)`;
    },
  });
}
