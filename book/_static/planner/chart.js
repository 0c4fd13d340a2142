// Draws a law with its band, and where one stands on it.
"use strict";

const SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const power = (d) => `10${d < 0 ? "⁻" : ""}${[...String(Math.abs(d))].map((c) => SUPERSCRIPT[c]).join("")}`;

// curve: [{x, y, range}], x as logarithms; faint: another curve, dashed; span, runs: logarithms; here: {x, y}
function drawChart(svg, { curve, faint, faintName, span, runs, here, stop, title, summary }) {
  const W = Math.max(250, svg.clientWidth || 560), H = 290, left = 46, right = W - 8, top = 26, bottom = H - 46;
  const shown = curve.concat(faint || []).flatMap((p) => [p.y, ...(p.range || [])]).filter((v) => v >= 0 && v <= 1);
  const highest = Math.max(here.y, ...shown, 1e-3) * 1.1;
  const X = (x) => left + ((right - left) * (x - span[0])) / (span[1] - span[0]);
  const Y = (y) => bottom - ((bottom - top) * Math.min(Math.max(y, 0), highest)) / highest;
  const line = (points) => points.filter((p) => p.y >= 0 && p.y <= 1).map((p) => `${X(p.x).toFixed(1)},${Y(p.y).toFixed(1)}`).join(" ");
  const parts = [];
  const ground = (from, to, words) => {
    const [a, b] = [Math.max(X(from), left), Math.min(X(to), right)];
    if (b <= a) return;
    parts.push(`<rect class="beyond" x="${a}" y="${top}" width="${b - a}" height="${bottom - top}"/>`);
    if (b - a > 60) parts.push(`<text class="faint" x="${(a + b) / 2}" y="${bottom - 8}" text-anchor="middle">${words}</text>`);
  };
  ground(span[0], runs[0], "");
  ground(runs[1], span[1], "not run");
  const step = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2].find((s) => highest / s <= 5.5) || 0.5;
  for (let y = 0; y <= highest; y += step) {
    parts.push(`<line class="grid" x1="${left}" x2="${right}" y1="${Y(y)}" y2="${Y(y)}"/>`);
    parts.push(`<text x="${left - 6}" y="${Y(y) + 4}" text-anchor="end">${Number(y.toFixed(3))}</text>`);
  }
  const first = Math.ceil(span[0] / Math.LN10), last = Math.floor(span[1] / Math.LN10);
  for (let d = first; d <= last; d += Math.ceil((last - first + 1) / (W < 400 ? 4 : 7))) {
    parts.push(`<text x="${X(d * Math.LN10)}" y="${bottom + 18}" text-anchor="middle">${power(d)}</text>`);
  }
  if (curve[0].range) {
    const edge = (i) => curve.map((p) => `${X(p.x).toFixed(1)},${Y(p.range[i]).toFixed(1)}`);
    parts.push(`<polygon class="band" points="${[...edge(0), ...edge(1).reverse()].join(" ")}"/>`);
  }
  if (faint?.length > 1) {
    const end = faint[faint.length - 1];
    parts.push(`<polyline class="faint-curve" points="${line(faint)}"/>`);
    if (right - X(faint[0].x) > 90) parts.push(`<text class="faint" x="${right}" y="${Math.max(Y(end.y) - 8, top - 4)}" text-anchor="end">${faintName}</text>`);
  }
  parts.push(`<polyline class="curve" points="${line(curve)}"/>`);
  if (stop > span[0] && stop < span[1]) {
    const side = X(stop) > (left + right) / 2 ? ["end", -6] : ["start", 6];
    parts.push(`<line class="stop" x1="${X(stop)}" x2="${X(stop)}" y1="${top}" y2="${bottom}"/>`);
    parts.push(`<text class="faint" x="${X(stop) + side[1]}" y="${top + 12}" text-anchor="${side[0]}">your data run out</text>`);
  }
  parts.push(`<circle class="mark" cx="${X(here.x)}" cy="${Y(here.y)}" r="7"/>`);
  parts.push(`<text x="${(left + right) / 2}" y="${H - 8}" text-anchor="middle">${title}</text><text x="0" y="14">NDCG@5</text>`);
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
  svg.setAttribute("aria-label", summary);
  svg.innerHTML = parts.join("");
}
