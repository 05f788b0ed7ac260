// Texts with marked pieces. The service counts code points, JavaScript counts UTF-16 units, so
// a text is split into code points once and put together again from those.

import { el } from "./dom.js";

/**
 * Return nodes for `points[from:to]` with its spans wrapped by `wrap(span, text)`.
 * Overlapping spans: the first one wins.
 */
export function marked(points, spans, from, to, wrap) {
  const nodes = [];
  let at = from;
  for (const span of spans) {
    if (span.start < at || span.end > to) continue;
    if (span.start > at) nodes.push(points.slice(at, span.start).join(""));
    nodes.push(wrap(span, points.slice(span.start, span.end).join("")));
    at = span.end;
  }
  if (at < to) nodes.push(points.slice(at, to).join(""));
  return nodes;
}

/** Return [from, to] of the part of about `size` code points whose spans weigh most. */
export function passage(points, spans, size, weightOf) {
  if (points.length <= size * 1.25) return [0, points.length];
  let best = 0, bestWeight = -1;
  for (let i = 0; i < spans.length; i++) {
    const seen = new Set();
    let weight = 0;
    for (let j = i; j < spans.length && spans[j].end <= spans[i].start + size; j++) {
      // A word that comes again tells less than another word.
      weight += weightOf(spans[j]) * (seen.has(spans[j].token) ? 0.2 : 1);
      seen.add(spans[j].token);
    }
    if (weight > bestWeight) [best, bestWeight] = [spans[i].start, weight];
  }
  // A sentence's start is the best start; else some words before the first match.
  let from = Math.max(0, Math.min(best - size / 5, points.length - size) | 0);
  for (let i = best; i > Math.max(0, best - size / 3); i--) {
    if (i === 1 || (/[.!?\n]/.test(points[i - 2] ?? "") && /\s/.test(points[i - 1]))) {
      from = i === 1 ? 0 : i;
      break;
    }
  }
  if (best < size / 4) from = 0;
  while (from > 0 && !/\s/.test(points[from - 1])) from--;
  let to = Math.min(points.length, from + size);
  while (to < points.length && !/\s/.test(points[to])) to++;
  return [from, to];
}

/** Return a line of a bar chart: label, bar, value. */
export function bar(label, value, largest, { added, title, digits = 2 }) {
  const fill = el("span", { class: "fill" });
  fill.style.inlineSize = `${Math.max(1.5, (100 * value) / largest)}%`;
  return el(
    "li", { class: added ? "added" : "original", title },
    el("span", { class: "token" }, label),
    el("span", { class: "track", "aria-hidden": "true" }, fill),
    el("span", { class: "value" }, value.toFixed(digits)),
  );
}
