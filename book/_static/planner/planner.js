// The page: reads what is typed, asks laws.js, and writes the answer. Its state is its address.
"use strict";

const PLANNER = window.PLANNER;
const el = (id) => document.getElementById(id);
const log = Math.log;
const UNITS = { flops: "FLOPs", flops_paper: "FLOPs, the paper's count" };
const BEYOND = 2; // decades that the sliders and charts reach past the runs
const POINTS = 61;
const models = PLANNER.models.slice();
const TEXTS = ["compute", "data", "peak", "utilisation", "price", "items", "n"];
const SLIDERS = { compute: "compute-slider", data: "data-slider", n: "n-slider" };
let model = models[0];
let valid = {}; // the last amounts that could be read
let said = ""; // what a file, or a link, was told

// Words

function short(value) {
  for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (value >= size && value < 1e12) return Number((value / size).toPrecision(3)) + letter;
  }
  if (value >= 1e12 || value < 1e-3) return scientific(value);
  return String(Number(value.toPrecision(3)));
}
function scientific(value) {
  const [digits, exponent] = value.toExponential(2).split("e");
  return `${Number(digits)}\u00a0×\u00a0${power(Number(exponent))}`;
}
const typed = (value) => (value >= 1e9 ? value.toExponential(2).replace("e+", "e").replace(/\.?0+e/, "e") : short(value));
const duration = (hours) => {
  const [name, unit] = [["days", 24, 48], ["hours", 1, 1.5], ["minutes", 1 / 60, 1.5 / 60], ["seconds", 1 / 3600, 0]].find((u) => hours >= u[2]);
  return `${short(hours / unit)} ${name}`;
};
const usd = (money) => (money < 0.01 ? "under 0.01 USD" : money < 100 ? `${money.toFixed(2)} USD` : `${short(money)} USD`);
const floor = (value) => { // to three digits: rounded up it would lie beyond the runs
  const unit = 10 ** (Math.floor(Math.log10(value)) - 2);
  return Math.floor(value / unit + 1e-9) * unit;
};
const UNBOUNDED = "not bounded by these runs";
const bounded = (value) => (Number.isFinite(value) ? short(value) : UNBOUNDED);
const ndcg = (value) => (value >= 0 && value <= 1 ? value.toFixed(4) : "outside [0, 1]");
function outside(value, [low, high], words = short) {
  return value > high * (1 + 1e-9) || value < low * (1 - 1e-9) ? `extrapolated: the runs had ${words(low)} to ${words(high)}` : "";
}
function amount(text) { // as `srt plan` reads one
  const found = /^\s*(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)\s*([KMB]?)\s*$/i.exec(text);
  const value = found ? Number(found[1]) * { "": 1, K: 1e3, M: 1e6, B: 1e9 }[found[2].toUpperCase()] : NaN;
  return value > 0 && Number.isFinite(value) ? value : NaN;
}
function show(id, value, words, range, format, notes = []) {
  const element = el(id), small = (text, kind) => {
    const line = document.createElement("small");
    line.textContent = text;
    line.className = kind;
    return line;
  };
  element.replaceChildren(words);
  element.dataset.value = value;
  if (range !== undefined) element.append(small(range ? `${format(range[0])} to ${format(range[1])}` : "no interval", ""));
  for (const [text, kind] of notes) if (text) element.append(small(text, kind));
}

// What was typed

const factor = () => (el("unit").value === "interactions" ? 1 / model.targets_per_interaction : 1);
const spans = () => {
  const reach = ([low, high]) => [log(low), log(high) + BEYOND * Math.LN10];
  const data = reach(model.data.ranges.D);
  return { compute: reach(model.compute.ranges.C), data: data.map((v) => v + log(factor())), targets: data, n: reach(model.data.ranges.N) };
};
function read() {
  let trouble = "";
  for (const id of TEXTS) {
    const text = el(id).value, value = id === "n" && !text.trim() ? null : amount(text);
    const bad = value !== null && (Number.isNaN(value) || (id === "utilisation" && value > 100));
    el(id).setAttribute("aria-invalid", bad);
    if (!bad) valid[id] = value;
    else trouble ||= `“${text}” is no ${id === "utilisation" ? "share in %" : "amount"}; expected ${id === "utilisation" ? "a number up to 100" : "such as 1e15, 500K or 5M"}.`;
  }
  el("said").textContent = trouble || said;
}
function place() { // sliders follow what was typed
  for (const [id, slider] of Object.entries(SLIDERS)) {
    const [low, high] = spans()[id], value = valid[id] ?? Laws.data(model, targets(), null).N;
    el(slider).value = Math.round((1000 * (log(value) - low)) / (high - low));
    const unit = { compute: UNITS[model.unit] ?? "FLOPs", data: el("unit").value === "targets" ? "unique targets" : "interactions", n: "parameters" }[id];
    el(slider).setAttribute("aria-valuetext", `${id === "compute" ? scientific(value) : short(value)} ${unit}`);
  }
}
const targets = () => valid.data / factor();

// The answer

const points = (span, f) => Array.from({ length: POINTS }, (_, i) => f(span[0] + ((span[1] - span[0]) * i) / (POINTS - 1)));

function answerBudget() {
  const found = Laws.budget(model, valid.compute, targets()), { C: runs } = model.compute.ranges, { N: sizes, D: amounts } = model.data.ranges;
  const flags = [outside(valid.compute, runs, scientific), outside(found.N, sizes), outside(found.D, amounts)];
  const laws = `by compute ${ndcg(found.byCompute)}, by size and data ${ndcg(found.byData)}`;
  const far = flags[0] ? `${flags[0]} FLOPs` : flags.some(Boolean) ? "extrapolated: see below" : "";
  show("ndcg", found.ndcg, ndcg(found.ndcg), found.range, ndcg, [[laws, ""], [far, "flag"]]);
  const limited = Number.isFinite(found.end) && found.wanted > targets() * (1 + 1e-12);
  const end = `more compute must become more data from ${scientific(found.end)} FLOPs on`;
  const unused = found.used < valid.compute ? ` What exceeds ${scientific(found.used)} FLOPs is not counted.` : "";
  el("limit").textContent = limited ? `Your data run out: ${end}.${unused}` : "";
  el("limit").dataset.value = found.end;
  const depth = `width ${found.width}, ${model.layers} ${model.layers === 1 ? "layer" : "layers"}`;
  show("size", found.N, short(found.N), found.sizes, bounded, [[depth, ""], [flags[1], "flag"]]);
  const wish = limited ? `this budget would want ${short(found.wanted)}` : "";
  show("targets", found.D, short(found.D), limited ? undefined : found.amounts, bounded, [[wish, "excess"], [limited ? outside(found.wanted, amounts) : flags[2], "flag"]]);
  show("seen", found.seen, short(found.seen), undefined, short, [[`${short(found.seen / found.D)} passes`, ""]]);
  const exact = model.exact, hours = exact && (found.used * exact) / (valid.peak * (valid.utilisation / 100) * 3600);
  show("hours", hours ?? "", exact ? duration(hours) : "not known", undefined, short, [[exact ? `one ${el("gpu").value}` : "these runs do not tell exact FLOPs", ""]]);
  show("money", hours ? hours * valid.price : "", exact ? usd(hours * valid.price) : "not known");
  const bytes = valid.items * found.width * 4, ids = valid.items * found.width;
  show("catalogue", bytes, bytes >= 1e9 ? `${short(bytes / 1e9)} GB` : `${short(bytes / 1e6)} MB`, undefined, short,
    [[`of ${short(valid.items)} items; a table of IDs would be ${short(ids)} parameters`, ""]]);
  drawBudget(found);
}
function drawBudget(found) {
  const span = spans().compute, stop = Math.max(found.end, model.compute.ranges.C[1]);
  const at = (mine) => (x) => { const f = Laws.budget(model, Math.exp(x), mine); return { x, y: f.ndcg, range: f.range }; };
  const free = points(span, at(1e30)).filter((p) => p.x > log(found.end)).map(({ x, y }) => ({ x, y }));
  drawChart(el("budget-chart"), {
    curve: points(span, at(targets())), faint: free, faintName: "with more data", span, runs: model.compute.ranges.C.map(log), stop: log(found.end),
    here: { x: Math.min(Math.max(log(valid.compute), span[0]), span[1]), y: found.ndcg }, title: `training compute, ${UNITS[model.unit] ?? "FLOPs"}`,
    summary: `NDCG@5 against training compute, with your data: ${ndcg(found.ndcg)} at ${scientific(valid.compute)} FLOPs; flat beyond ${scientific(stop)}; dashed, what more data would bring`,
  });
}
function answerData() {
  const D = targets(), found = Laws.data(model, D, valid.n), { N: sizes, D: amounts } = model.data.ranges;
  const flags = [outside(D, amounts), outside(found.N, sizes)];
  show("data-ndcg", found.ndcg, ndcg(found.ndcg), found.range, ndcg, [[`with ${short(found.N)} parameters on ${short(D)} unique targets`, ""], [flags[0] && `${flags[0]} targets`, "flag"], [flags[1] && `${flags[1]} parameters`, "flag"]]);
  show("enough", found.enough.value, bounded(found.enough.value), found.enough.range, bounded, [[outside(found.enough.value, sizes), "flag"]]);
  show("more", found.more.value, bounded(found.more.value), found.more.range, bounded, [[outside(D + found.more.value, amounts), "flag"]]);
  const span = spans().targets, at = (x) => { const f = Laws.data(model, Math.exp(x), found.N); return { x, y: f.ndcg, range: f.range }; };
  drawChart(el("data-chart"), {
    curve: points(span, at), span, runs: amounts.map(log), here: { x: Math.min(Math.max(log(D), span[0]), span[1]), y: found.ndcg }, title: "unique targets",
    summary: `NDCG@5 against unique targets at ${short(found.N)} parameters: ${ndcg(found.ndcg)} at ${short(D)}`,
  });
}
function describe() {
  const law = (part) => {
    const { formula, params, at_bound } = model[part];
    const values = Object.entries(params).map(([name, value]) => `${name} = ${Number(value.toPrecision(3))}`).join(", ");
    return `NDCG@5 = ${formula}; ${values}${at_bound?.length ? ` (${at_bound.join(", ")} at the edge of the search: no finding)` : ""}.`;
  };
  el("laws").textContent = `${model.runs} runs. By compute C: ${law("compute")} By size N and unique targets D: ${law("data")} The answer is the mean of the two, the first carried to your data by the second.`;
  el("compute-unit").textContent = UNITS[model.unit] ?? "FLOPs";
  el("machine-said").textContent = `one ${el("gpu").value} at ${short(valid.utilisation)}% of its peak, ${valid.price} USD an hour; ${short(valid.items)} items`;
  const machine = PLANNER.machines.find((m) => m.name === el("gpu").value);
  const own = Math.abs(valid.utilisation / 100 - machine.utilisation) > 1e-12;
  el("utilisation-source").textContent = `Utilisation ${own ? "your own" : machine.source}. Prices are round figures: enter your own.`;
}
function update() {
  read();
  place();
  describe();
  answerBudget();
  answerData();
  remember();
}

// State

const slug = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
function defaults() {
  const [low, high] = model.compute.ranges.C;
  return { compute: typed(Number((high / 3).toPrecision(2))), data: typed(floor(model.data.ranges.D[1] * factor())), items: typed(model.items), n: "", low };
}
function setMachine() {
  const machine = PLANNER.machines.find((m) => m.name === el("gpu").value);
  el("peak").value = typed(machine.peak);
  el("utilisation").value = String(Number((100 * machine.utilisation).toPrecision(6)));
  el("price").value = String(machine.price);
}
function choose(index) { // another set of laws: amounts start from its runs
  model = models[index];
  el("model").value = String(index);
  const start = defaults();
  for (const id of ["compute", "data", "items", "n"]) el(id).value = start[id];
}
function remember() {
  const state = new URLSearchParams({ runs: models.indexOf(model) < PLANNER.models.length ? slug(model.name) : "own" });
  for (const id of ["compute", "data", "unit", "gpu", ...TEXTS.slice(2)]) if (el(id).value) state.set(id, el(id).value);
  try { history.replaceState(null, "", `#${state}`); } catch { /* a page that may not keep its state still answers */ }
  el("link").href = `${location.href.split("#")[0]}#${state}`;
}
function restore() {
  const state = new URLSearchParams(location.hash.slice(1)), runs = state.get("runs");
  const index = models.findIndex((m) => slug(m.name) === runs);
  said = runs && index < 0 ? "The link is of laws that are not here: open their file." : "";
  el("unit").value = state.get("unit") === "targets" ? "targets" : "interactions";
  choose(Math.max(index, 0));
  el("gpu").value = PLANNER.machines.some((m) => m.name === state.get("gpu")) ? state.get("gpu") : PLANNER.machines[0].name;
  setMachine();
  const usual = Object.fromEntries(TEXTS.map((id) => [id, el(id).value]));
  for (const id of TEXTS) if (state.has(id)) el(id).value = state.get(id);
  read();
  for (const id of TEXTS) valid[id] ??= id === "n" ? null : amount(usual[id]);
  update();
}
async function openLaws(file) { // a wrong file changes nothing
  let laws;
  try { laws = JSON.parse(await file.text()); } catch { laws = null; }
  const trouble = Laws.wrong(laws);
  said = trouble ? `${file.name} was not opened: ${trouble}.` : "";
  if (!trouble) {
    models.push(laws);
    el("model").add(new Option(`${laws.name} (${file.name})`, models.length - 1));
    choose(models.length - 1);
  }
  el("file").value = "";
  update();
}

// In the book: a frame as high as this page, and the book's theme, where it may be looked at

function follow() {
  if (window.parent === window) return;
  new ResizeObserver(() => window.parent.postMessage({ planner: document.body.scrollHeight + 8 }, "*")).observe(document.body);
  try {
    const root = window.parent.document.documentElement;
    const apply = () => { if (root.dataset.theme) document.documentElement.dataset.theme = root.dataset.theme; };
    apply();
    new MutationObserver(apply).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  } catch { /* opened from a folder, where every file is an origin of its own: the system's theme */ }
}

models.forEach((m, i) => el("model").add(new Option(m.name, i)));
PLANNER.machines.forEach((m) => el("gpu").add(new Option(m.name)));
el("model").addEventListener("change", () => { said = ""; choose(Number(el("model").value)); update(); });
el("gpu").addEventListener("change", () => { setMachine(); update(); });
el("unit").addEventListener("change", () => { // the same data in the other unit
  el("data").value = typed(valid.data * (el("unit").value === "targets" ? model.targets_per_interaction : 1 / model.targets_per_interaction));
  update();
});
el("file").addEventListener("change", () => el("file").files.length && openLaws(el("file").files[0]));
for (const id of TEXTS) el(id).addEventListener("input", () => { said = ""; update(); });
for (const [id, slider] of Object.entries(SLIDERS)) {
  el(slider).addEventListener("input", () => {
    const [low, high] = spans()[id];
    el(id).value = typed(Number(Math.exp(low + ((high - low) * el(slider).value) / 1000).toPrecision(3)));
    update();
  });
}
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", restore);
let wide = 0;
window.addEventListener("resize", () => { if (window.innerWidth !== wide) { wide = window.innerWidth; update(); } });
follow();
restore();
