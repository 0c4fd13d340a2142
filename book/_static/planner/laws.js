// What laws say: the numbers of srtlib/laws/planner.py (`srt plan`), from the same resamples. No page, no network.
"use strict";

const Laws = (() => {
  const { exp, log, min, max } = Math;
  const forms = { // values of a form: parameters as in srtlib/laws/forms.py, inputs as logarithms
    log_linear: ([a, b], x) => a + b * x.C,
    power: ([k, a], x) => k * exp(a * x.C),
    saturating_power: ([E, A, a], x) => E - A * exp(-a * x.C),
    sigmoid: ([A, k, m, d], x) => A / (1 + exp(-k * (x.C - m))) - d,
    additive_power: ([E, A, B, alpha, beta], x) => E - A * exp(-alpha * x.N) - B * exp(-beta * x.D),
    additive_power_log_data: ([E, A, B, alpha], x) => E - A * exp(-alpha * x.N) + B * x.D,
    product_power: ([K, A, b, alpha], x) => K * exp(b * x.D - A * exp(-alpha * x.N)),
  };
  const LENGTHS = { log_linear: 2, power: 2, saturating_power: 3, sigmoid: 4, additive_power: 5, additive_power_log_data: 4, product_power: 4 };
  const TAILS = [0.025, 0.975];
  const STEPS = 60;
  const params = (law) => Object.values(law.params);
  const value = (law, x) => forms[law.form](params(law), x);

  function quantiles(values) { // linear between neighbours, as numpy's; null without resamples
    if (!values.length) return null;
    const sorted = Float64Array.from(values).sort();
    return TAILS.map((share) => {
      const at = share * (sorted.length - 1), low = Math.floor(at), next = min(low + 1, sorted.length - 1);
      return sorted[low] + (at - low) * (sorted[next] - sorted[low]);
    });
  }
  function nearest(values) { // of values that may be infinite
    if (!values.length) return null;
    const sorted = values.slice().sort((a, b) => (a === b ? 0 : a - b));
    return TAILS.map((share) => sorted[Math.round(share * (sorted.length - 1))]);
  }
  const band = (law, x) => quantiles(law.samples.map((p) => forms[law.form](p, x)));
  const split = ([kN, a, kD, b], C) => [kN * C ** a, kD * C ** b];
  function splitBand(allocation, C, which) {
    const logs = allocation.samples.map((p) => log(p[2 * which]) + p[2 * which + 1] * log(C));
    return quantiles(logs)?.map(exp) ?? null;
  }
  const bounded = (v, known) => (v > 10 ** PLANNER.reach * known ? Infinity : v);

  function width(model, N) {
    const points = model.widths, last = points.length - 1;
    if (N <= points[0][0]) return 4 * even(points[0][1] / 4);
    if (N >= points[last][0]) return 4 * even(points[last][1] / 4);
    const i = points.findIndex(([size]) => size > N), [[n0, d0], [n1, d1]] = [points[i - 1], points[i]];
    return 4 * even((d0 + ((d1 - d0) * (N - n0)) / (n1 - n0)) / 4);
  }
  function even(v) { // halves to the even neighbour, as numpy's
    const low = Math.floor(v);
    return v - low === 0.5 ? low + (low % 2) : Math.round(v);
  }

  function budget(model, C, targets) {
    const { compute, data, allocation, unique } = model;
    const most = data.ranges.D[1], mine = targets ?? most, [, , kD, b] = unique.params;
    const end = b > 1 / 30 ? (mine / kD) ** (1 / b) : Infinity;
    const used = min(C, max(end, compute.ranges.C[1]));
    const [N, seen] = split(allocation.params, used), wanted = split(unique.params, C)[1];
    const best = split(unique.params, used)[1], D = min(best, mine), has = min(best, most);
    const at = (d) => ({ N: log(N), D: log(d) });
    const byData = value(data, at(D)), carried = byData - value(data, at(has));
    const byCompute = value(compute, { C: log(used) }) + carried;
    const bands = [band(compute, { C: log(used) })?.map((v) => v + carried), band(data, at(D))];
    const within = (v) => min(1, max(0, v));
    const both = bands[0] && bands[1];
    const range = both ? [min(bands[0][0], bands[1][0]), max(bands[0][1], bands[1][1])].map(within) : null;
    const sizes = splitBand(allocation, used, 0), amounts = splitBand(unique, C, 1);
    return {
      C, used, end, N, D, wanted, seen, byCompute, byData, ndcg: (byCompute + byData) / 2, range,
      sizes: sizes && [sizes[0], bounded(sizes[1], N)], amounts: amounts && [amounts[0], bounded(amounts[1], wanted)],
      width: width(model, N),
    };
  }

  function enough(form, p, D) {
    const alpha = p[3], ratio = 2 ** -alpha;
    if (form !== "product_power") return ((p[1] * (1 - ratio)) / PLANNER.enough) ** (1 / alpha);
    const [K, A, b] = p, top = K * D ** b;
    const gain = (z) => top * (exp(-exp(z) * ratio) - exp(-exp(z)));
    let low = log(PLANNER.enough / (top * (1 - ratio))), high = log((alpha * Math.LN2) / (1 - ratio));
    if (!(gain(high) > PLANNER.enough)) return 0;
    for (let i = 0; i < STEPS; i++) {
      const middle = (low + high) / 2;
      if (gain(middle) < PLANNER.enough) low = middle; else high = middle;
    }
    return exp((log(A) - low) / alpha);
  }
  function more(form, p, N, D) { // additional D that raises the metric by 0.01
    if (form === "product_power") {
      const now = forms[form](p, { N: log(N), D: log(D) });
      return p[2] > 0 ? D * Math.expm1(Math.log1p(0.01 / now) / p[2]) : Infinity;
    }
    if (form === "additive_power_log_data") return p[2] > 0 ? D * Math.expm1(0.01 / p[2]) : Infinity;
    const left = p[2] * D ** -p[4] - 0.01;
    return left > 0 ? (left / p[2]) ** (-1 / p[4]) - D : Infinity;
  }

  function data(model, D, size) {
    const law = model.data, { N: sizes, D: amounts } = law.ranges, known = max(D, amounts[1]);
    const over = (f, limit) => ({
      value: bounded(f(params(law)), limit), range: nearest(law.samples.map(f))?.map((v) => bounded(v, limit)) ?? null,
    });
    const enoughs = over((p) => enough(law.form, p, D), sizes[1]);
    const N = size ?? min(max(enoughs.value, sizes[0]), sizes[1]), x = { N: log(N), D: log(D) };
    const range = band(law, x)?.map((v) => min(1, max(0, v))) ?? null;
    return { N, D, ndcg: value(law, x), range, enough: enoughs, more: over((p) => more(law.form, p, N, D), known) };
  }

  function wrong(laws) { // what is wrong with a file's laws, in words; nothing where they are right
    const number = Number.isFinite, list = (v, n) => Array.isArray(v) && v.length === n && v.every(number);
    const pair = (v) => list(v, 2) && v[0] > 0 && v[0] <= v[1];
    if (laws?.format !== "srtlib laws 1") return "it holds no laws; expected a file that srt plan --export wrote";
    for (const [part, inputs] of [["compute", "C"], ["data", "ND"]]) {
      const law = laws[part], length = LENGTHS[law?.form];
      if (!Object.hasOwn(forms, law?.form ?? "")) return `its law of ${part} has the form ${law?.form}, which this page does not know`;
      const takes = ["additive_power", "additive_power_log_data", "product_power"].includes(law.form) ? "ND" : "C";
      const whole = takes === inputs && typeof law.formula === "string" && list(params(law), length) && Array.isArray(law.samples) && law.samples.every((p) => list(p, length));
      if (!whole || ![...inputs].every((x) => pair(law.ranges?.[x]))) return `its law of ${part} is damaged`;
    }
    for (const part of ["allocation", "unique"]) {
      const rows = laws[part]?.samples;
      if (!list(laws[part]?.params, 4) || !Array.isArray(rows) || !rows.every((p) => list(p, 4))) return `its split of a budget (${part}) is damaged`;
    }
    const positive = [laws.runs, laws.items, laws.targets_per_interaction, laws.layers, laws.exact ?? 1].every((v) => number(v) && v > 0);
    const widths = Array.isArray(laws.widths) && laws.widths.length > 0 && laws.widths.every((v) => list(v, 2));
    return positive && widths && typeof laws.name === "string" ? "" : "it is damaged";
  }

  return { budget, data, wrong, value, band };
})();
