// Word pieces put together: an encoder may know “Kafka” as ka, ##fk, ##a; people read whole words.

const CONTINUES = "##";

export const isPiece = (token) => token.startsWith(CONTINUES);

/**
 * Join spans that are of one word, `[{start, end, spans}]`: those that share letters, and pieces that
 * go on where the one before ends.
 */
export function joined(spans, tokenOf = (span) => span.token) {
  const made = [];
  for (const span of [...spans].sort((a, b) => a.start - b.start || a.end - b.end)) {
    const last = made.at(-1);
    if (last && (span.start < last.end || (isPiece(tokenOf(span)) && span.start === last.end))) {
      last.end = Math.max(last.end, span.end);
      last.spans.push(span);
    } else {
      made.push({ start: span.start, end: span.end, spans: [span] });
    }
  }
  return made;
}

/** Return the whole word around `points[start:end]`. */
export function wholeWord(points, start, end) {
  const letter = (at) => /[\p{L}\p{M}\p{N}]/u.test(points[at] ?? "");
  while (letter(start - 1) && letter(start)) start--;
  while (letter(end) && letter(end - 1)) end++;
  return points.slice(start, end).join("");
}

/**
 * Return a query's terms by word, `[{label, terms}]` in the order of their first: those that the same
 * word of `text` shows belong together.
 */
export function byWord(terms, text) {
  const points = Array.from(text);
  const spans = terms.flatMap((term) =>
    (term.spans ?? []).map(([start, end]) => ({ start, end, token: term.token, term })));
  const groupOf = new Map();
  for (const word of joined(spans)) {
    const label = points.slice(word.start, word.end).join("").toLowerCase();
    const group = { label, terms: [] };
    for (const { term } of word.spans) {
      if (groupOf.has(term)) continue;
      groupOf.set(term, group);
      group.terms.push(term);
    }
  }
  const groups = terms.map((term) => groupOf.get(term) ?? { label: term.token, terms: [term] });
  return [...new Set(groups)];
}
