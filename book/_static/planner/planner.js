// Draws the laws of data.js (written by srtlib.laws.planner.write_planner). No library, no network.
"use strict";

const forms = { // values of a form: parameters as in srtlib/laws/forms.py, inputs as logarithms
  log_linear: ([a, b], x) => a + b * x.C,
  power: ([k, a], x) => k * Math.exp(a * x.C),
  saturating_power: ([E, A, a], x) => E - A * Math.exp(-a * x.C),
  sigmoid: ([A, k, m, d], x) => A / (1 + Math.exp(-k * (x.C - m))) - d,
  additive_power: ([E, A, B, alpha, beta], x) => E - A * Math.exp(-alpha * x.N) - B * Math.exp(-beta * x.D),
  additive_power_log_data: ([E, A, B, alpha], x) => E - A * Math.exp(-alpha * x.N) + B * x.D,
};
const units = { flops: "FLOPs", flops_paper: "FLOPs, the paper's count" };
const BEYOND = 2; // decades that the sliders reach past the runs
const REACH = 3; // decades above what is known, beyond which a number says only that the runs do not bound it
const el = (id) => document.getElementById(id);
let model;

function short(value) {
  if (value >= 1e12 || value < 1e-3) return value.toExponential(1).replace(".0", "").replace("e+", "e");
  for (const [power, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "K"]]) {
    if (value >= power) return Number((value / power).toPrecision(3)) + letter;
  }
  return String(Number(value.toPrecision(3)));
}

function interval(values) { // 95% percentile interval, or nothing without resamples
  if (!values.length) return null;
  const sorted = values.slice().sort((a, b) => a - b);
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  return [at(0.025), at(0.975)];
}

function evaluate(law, x) {
  const value = forms[law.form](law.params, x);
  return { value, range: interval(law.samples.map((p) => forms[law.form](p, x))) };
}

function show(id, { value, range }, format) {
  const text = range ? `${format(range[0])} to ${format(range[1])}` : "no interval";
  el(id).innerHTML = `${format(value)}<small>${text}</small>`;
}

const upTo = (known) => (value) => (value > 10 ** REACH * known ? "not bounded by these runs" : short(value));
const ndcg = (value) => (value >= 0 && value <= 1 ? value.toFixed(4) : "outside [0, 1]");
const log = Math.log;
const reach = (range) => [log(range[0]), log(range[1]) + BEYOND * Math.LN10];
const place = (id, [low, high]) => low + (high - low) * (el(id).value / 1000);
const decades = (x, [low, high]) => Math.max(0, x - log(high), log(low) - x) / Math.LN10;

function flag(id, beyond, value) {
  const far = `${beyond.toFixed(1)} decades beyond the runs: an extrapolation, not a finding.`;
  el(id).textContent = value < 0 || value > 1 ? "The law leaves [0, 1] here: it does not hold." : beyond > 1 ? far : "";
}

function chart(id, law, span, runs, at, input, title) {
  const points = Array.from({ length: 81 }, (_, i) => span[0] + ((span[1] - span[0]) * i) / 80);
  const found = points.map((x) => evaluate(law, input(x)));
  const here = evaluate(law, input(at)).value;
  const shown = found.flatMap((f) => [f.value, ...(f.range || [])]).filter((v) => v >= 0 && v <= 1);
  const top = Math.max(here, ...shown, 1e-3) * 1.08;
  const X = (x) => 74 + (546 * (x - span[0])) / (span[1] - span[0]);
  const Y = (y) => 242 - (222 * Math.min(Math.max(y, 0), top)) / top;
  const path = (values) => values.map((y, i) => `${X(points[i]).toFixed(1)},${Y(y).toFixed(1)}`);
  const parts = [];
  const end = X(log(runs[1]));
  parts.push(`<rect class="beyond" x="${end}" y="20" width="${620 - end}" height="222"/>`);
  const step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2].find((s) => top / s <= 5.5) || 0.5;
  for (let y = 0; y <= top; y += step) {
    parts.push(`<line class="grid" x1="74" x2="620" y1="${Y(y)}" y2="${Y(y)}"/>`);
    parts.push(`<text x="66" y="${Y(y) + 5}" text-anchor="end">${Number(y.toFixed(3))}</text>`);
  }
  const first = Math.ceil(span[0] / Math.LN10), last = Math.floor(span[1] / Math.LN10);
  for (let d = first; d <= last; d += Math.ceil((last - first + 1) / 6)) {
    parts.push(`<text x="${X(d * Math.LN10)}" y="266" text-anchor="middle">${short(10 ** d)}</text>`);
  }
  if (found[0].range) {
    const band = [...path(found.map((f) => f.range[0])), ...path(found.map((f) => f.range[1])).reverse()];
    parts.push(`<polygon class="band" points="${band.join(" ")}"/>`);
  }
  const curve = path(found.map((f) => f.value)).filter((_, i) => found[i].value >= 0 && found[i].value <= 1);
  parts.push(`<polyline class="curve" points="${curve.join(" ")}"/>`);
  parts.push(`<circle class="mark" cx="${X(at)}" cy="${Y(here)}" r="9"/>`);
  parts.push(`<text x="347" y="294" text-anchor="middle">${title}</text><text x="8" y="15">NDCG@5</text>`);
  el(id).innerHTML = parts.join("");
}

function drawCompute() {
  const law = model.compute, runs = law.ranges.C, span = reach(runs);
  const C = place("compute", span), found = evaluate(law, { C });
  const rule = (i) => ({
    value: model.allocation.params[i] * Math.exp(model.allocation.params[i + 1] * C),
    range: interval(model.allocation.samples.map((p) => p[i] * Math.exp(p[i + 1] * C))),
  });
  const size = rule(0), seen = rule(2), unique = (v) => v / law.epochs;
  el("compute-value").textContent = `${short(Math.exp(C))} ${units[law.unit]}`;
  show("compute-ndcg", found, ndcg);
  show("compute-size", size, upTo(size.value));
  show("compute-data", { value: unique(seen.value), range: seen.range.map(unique) }, upTo(unique(seen.value)));
  flag("compute-flag", decades(C, runs), found.value);
  chart("compute-chart", law, span, runs, C, (x) => ({ C: x }), units[law.unit]);
}

function enough(p) { // A N^-alpha (1 - 2^-alpha) = 0.001
  const alpha = p[3];
  return ((p[1] * (1 - 2 ** -alpha)) / window.PLANNER.enough) ** (1 / alpha);
}

function more(form, p, D) { // additional D that raises the metric by 0.01
  if (form === "additive_power_log_data") return p[2] > 0 ? D * Math.expm1(0.01 / p[2]) : Infinity;
  const left = p[2] * D ** -p[4] - 0.01;
  return left > 0 ? (left / p[2]) ** (-1 / p[4]) - D : Infinity;
}

function drawData() {
  const law = model.data, runs = law.ranges, span = reach(runs.D), sizes = reach(runs.N);
  const D = place("data", span), N = place("size", sizes), found = evaluate(law, { N, D });
  const both = (f) => ({ value: f(law.params), range: interval(law.samples.map(f)) });
  el("data-value").textContent = short(Math.exp(D));
  el("size-value").textContent = short(Math.exp(N));
  show("data-ndcg", found, ndcg);
  show("data-enough", both((p) => enough(p)), upTo(runs.N[1]));
  show("data-more", both((p) => more(law.form, p, Math.exp(D))), upTo(Math.max(Math.exp(D), runs.D[1])));
  flag("data-flag", Math.max(decades(D, runs.D), decades(N, runs.N)), found.value);
  chart("data-chart", law, span, runs.D, D, (x) => ({ N, D: x }), "training targets");
}

function choose() {
  model = window.PLANNER.models[el("model").value];
  for (const part of ["compute", "data"]) {
    const law = model[part], values = law.names.map((name, i) => `${name} ${Number(law.params[i].toPrecision(3))}`);
    const bound = law.at_bound.length ? ` (${law.at_bound.join(", ")} at the edge of the search: no finding)` : "";
    el(`${part}-formula`).textContent = `NDCG@5 = ${law.formula}; ${values.join(", ")}${bound}`;
  }
  drawCompute();
  drawData();
}

window.PLANNER.models.forEach((m, i) => el("model").add(new Option(m.name, i)));
el("model").addEventListener("change", choose);
el("compute").addEventListener("input", drawCompute);
for (const id of ["data", "size"]) el(id).addEventListener("input", drawData);
choose();
