// An exhibit: {id, title, claim, controls, view(state) -> html, code(state) -> Python, act?: {name(state, again)}, drag?, after?(state, name moved)}.
// A control: {name, label, kind: "range" | "choice" | "switch" | "button" | "text", value, low, high, step, scale: "linear" | "log" | "logit",
//   options: [[value, words]], unit, when(state), cut(text) -> text, unshared}. State is plain values; the address keeps those that differ from the first ones.
const EXHIBITS = [];
const STATES = {};
const exhibit = (one) => EXHIBITS.push(one);
const STEPS = 1000;
const SCALES = {
  linear: [(v) => v, (v) => v], log: [Math.log, Math.exp], logit: [logit, sigmoid],
};
const firstState = (one) => Object.fromEntries(one.controls.filter((c) => c.kind !== "button").map((c) => [c.name, c.value]));
const place = (c, value) => {
  const [to] = SCALES[c.scale ?? "linear"];
  return Math.round((STEPS * (to(value) - to(c.low))) / (to(c.high) - to(c.low)));
};
// three digits are enough to point at, and make the Python readable
const valueAt = (c, position) => {
  if (position <= 0) return c.low;
  if (position >= STEPS) return c.high;
  const [to, from] = SCALES[c.scale ?? "linear"];
  const exact = from(to(c.low) + (position / STEPS) * (to(c.high) - to(c.low)));
  if (c.step) return Number((c.low + Math.round((exact - c.low) / c.step) * c.step).toFixed(10));
  return c.scale === "logit" && exact > 0.5 ? Number((1 - Number((1 - exact).toPrecision(3))).toFixed(10)) : Number(exact.toPrecision(3));
};
const bounded = (c, value) => (Number.isFinite(value) ? Math.min(Math.max(c.step === 1 ? Math.round(value) : value, c.low), c.high) : c.value);

function controlOf(one, c) {
  const id = `${one.id}-${c.name}`, row = document.createElement("div");
  row.className = `control ${c.kind}`;
  row.dataset.control = c.name;
  if (c.kind === "range")
    row.innerHTML = `<label for="${id}">${escaped(c.label)}</label><input type="range" id="${id}" ${c.step && (c.scale ?? "linear") === "linear"
      ? `min="${c.low}" max="${c.high}" step="${c.step}"` : `min="0" max="${STEPS}" step="1" data-scaled=""`}>
      <input type="number" id="${id}-number" aria-label="${escaped(c.label)}, as a number" step="any" min="${c.low}" max="${c.high}">`;
  else if (c.kind === "choice")
    row.innerHTML = `<label for="${id}">${escaped(c.label)}</label><select id="${id}">${c.options.map(([v, words]) => `<option value="${escaped(v)}">${escaped(words)}</option>`).join("")}</select>`;
  else if (c.kind === "switch") row.innerHTML = `<label for="${id}"><input type="checkbox" id="${id}"> ${escaped(c.label)}</label>`;
  else if (c.kind === "text") row.innerHTML = `<label for="${id}">${escaped(c.label)}</label><textarea id="${id}" rows="${c.rows ?? 6}" spellcheck="false" placeholder="${escaped(c.hint ?? "")}"></textarea>`;
  else row.innerHTML = `<button type="button" id="${id}">${escaped(c.label)}</button>`;
  row.addEventListener(c.kind === "button" ? "click" : "input", (event) => changed(one, c, event.target));
  if (c.kind === "range") row.addEventListener("change", () => sync(one, true));
  if (c.cut) row.addEventListener("paste", (event) => pasted(one, c, event));
  return row;
}
// a browser takes a minute to lay out a million lines: what a control cuts is cut before the field has it
function pasted(one, c, event) {
  const given = event.clipboardData.getData("text"), kept = c.cut(given);
  if (kept === given) return;
  event.preventDefault();
  event.target.value = kept;
  changed(one, c, event.target);
}
function changed(one, c, input) {
  const state = STATES[one.id];
  if (c.kind === "button") one.act[c.name](state, () => draw(one));
  else if (c.kind === "switch") state[c.name] = input.checked;
  else if (c.kind === "range" && input.type === "range") state[c.name] = "scaled" in input.dataset ? valueAt(c, Number(input.value)) : Number(input.value);
  else if (c.kind === "range") state[c.name] = input.value === "" ? state[c.name] : bounded(c, Number(input.value));
  else {
    const kept = c.cut ? c.cut(input.value) : input.value;
    if (kept !== input.value) input.value = kept;
    state[c.name] = kept;
  }
  if (one.after) one.after(state, c.name);
  draw(one, input);
  remember();
}
// the inputs show the state; the field that is being typed in is left alone until it is left
function sync(one, typed = false, busy = null) {
  const state = STATES[one.id];
  for (const c of one.controls) {
    const row = one.element.querySelector(`[data-control="${c.name}"]`);
    row.hidden = c.when ? !c.when(state) : false;
    if (c.kind === "range") {
      const [slider, field] = row.querySelectorAll("input");
      slider.value = "scaled" in slider.dataset ? place(c, state[c.name]) : state[c.name];
      slider.setAttribute("aria-valuetext", `${state[c.name]}${c.unit ?? ""}`);
      if (typed || field !== busy) field.value = state[c.name];
    } else if (c.kind === "switch") row.querySelector("input").checked = state[c.name];
    else if (c.kind === "choice") row.querySelector("select").value = state[c.name];
    else if (c.kind === "text" && row.querySelector("textarea") !== busy) row.querySelector("textarea").value = state[c.name];
  }
}
function draw(one, busy = null) {
  const state = STATES[one.id];
  sync(one, false, busy);
  one.element.querySelector(".view").innerHTML = one.view(state);
  one.element.querySelector(".code code").textContent = one.code(state).trim();
  if (one.drag) one.drag(one.element.querySelector(".view"), state, () => { draw(one); remember(); });
}
function built(one, order) {
  const section = document.createElement("section");
  section.id = one.id;
  section.setAttribute("aria-labelledby", `${one.id}-title`);
  section.innerHTML = `<h2 id="${one.id}-title"><span class="order">${order}</span>${escaped(one.title)}</h2><p class="claim">${one.claim}</p>
    <div class="bench"><form class="controls" aria-label="${escaped(one.title)}: controls"></form><div class="view"></div></div>
    <details class="code"><summary>The Python for these numbers</summary><button type="button" class="quiet copy">Copy</button><pre><code></code></pre></details>`;
  const form = section.querySelector("form");
  form.append(...one.controls.map((c) => controlOf(one, c)));
  const reset = document.createElement("button");
  reset.type = "button"; reset.className = "quiet reset"; reset.textContent = "Back to the start";
  reset.addEventListener("click", () => { STATES[one.id] = firstState(one); draw(one); remember(); });
  form.append(reset);
  form.addEventListener("submit", (event) => event.preventDefault());
  section.querySelector(".copy").addEventListener("click", () => copied(section.querySelector(".code code").textContent));
  one.element = section;
  return section;
}
function copied(text) {
  const box = document.createElement("textarea");
  box.value = text; document.body.append(box); box.select();
  document.execCommand("copy"); // navigator.clipboard is not there for a file
  box.remove(); say("Copied.");
}
const say = (words) => { document.getElementById("said").textContent = words; };

let own = ""; // the address as we wrote it
function remember() {
  const parts = [];
  for (const one of EXHIBITS)
    for (const [name, value] of Object.entries(firstState(one)))
      if (STATES[one.id][name] !== value && !one.controls.find((c) => c.name === name).unshared) parts.push(`${one.id}.${name}=${encodeURIComponent(STATES[one.id][name])}`);
  own = `#${parts.join("&") || "exhibits"}`;
  if (location.hash !== own && (parts.length || location.hash)) location.replace(own);
}
function recall() {
  const given = new Map(location.hash.slice(1).split("&").map((part) => part.split("=")).filter((pair) => pair.length === 2));
  for (const one of EXHIBITS) {
    STATES[one.id] = firstState(one);
    for (const c of one.controls) {
      const text = given.get(`${one.id}.${c.name}`);
      if (text === undefined || c.kind === "button") continue;
      let value;
      try { value = decodeURIComponent(text); } catch { continue; } // half an escape: the first value stays
      if (c.kind === "range") STATES[one.id][c.name] = value.trim() === "" ? c.value : bounded(c, Number(value));
      else if (c.kind === "switch") STATES[one.id][c.name] = value === "true";
      else if (c.kind === "choice") STATES[one.id][c.name] = c.options.some(([v]) => String(v) === value) ? value : c.value;
      else STATES[one.id][c.name] = value;
    }
  }
}
function themed(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  const button = document.getElementById("theme");
  button.setAttribute("aria-pressed", String(dark));
  button.textContent = dark ? "Light page" : "Dark page";
}
function start() {
  document.documentElement.classList.add("js");
  recall();
  const main = document.getElementById("exhibits");
  main.replaceChildren(...EXHIBITS.map((one, k) => built(one, k + 1)));
  document.getElementById("contents").innerHTML = EXHIBITS.map((one) => `<li><a href="#${one.id}">${escaped(one.title)}</a></li>`).join("");
  for (const one of EXHIBITS) draw(one);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  themed(dark.matches);
  dark.addEventListener("change", () => themed(dark.matches));
  document.getElementById("theme").addEventListener("click", () => themed(document.documentElement.dataset.theme !== "dark"));
  addEventListener("hashchange", () => {
    if (location.hash === own || !location.hash.includes("=")) return;
    recall();
    for (const one of EXHIBITS) draw(one);
  });
}
