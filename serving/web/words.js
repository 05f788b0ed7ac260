// Word pieces put together: an encoder may know “Kafka” as ka, ##fk, ##a; people read whole words.

const CONTINUES = "##";

export const isPiece = (token) => token.startsWith(CONTINUES);

/** Join spans of which each goes on where the one before ends: `[{start, end, spans}]`. */
export function joined(spans, tokenOf = (span) => span.token) {
  const made = [];
  for (const span of [...spans].sort((a, b) => a.start - b.start || a.end - b.end)) {
    const last = made.at(-1);
    if (last && isPiece(tokenOf(span)) && span.start === last.end) {
      last.end = span.end;
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
 * Return a query's terms by word, `[{label, terms}]` in the order of their first: the tokens of
 * `terms` that together spell a word of `text` belong together.
 */
export function byWord(terms, text) {
  const left = new Map(terms.map((term) => [term.token, term]));
  const groupOf = new Map();
  const plain = text.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "");
  for (const word of plain.match(/[\p{L}\p{N}]+/gu) ?? []) {
    const spelled = spell(word, left);
    if (spelled.length < 2) continue;
    const group = { label: word, terms: spelled.map((token) => left.get(token)) };
    for (const token of spelled) {
      groupOf.set(token, group);
      left.delete(token);
    }
  }
  const groups = terms.map((term) => groupOf.get(term.token) ?? { label: term.token, terms: [term] });
  return [...new Set(groups)];
}

/** Return the tokens that spell a word, the longest first as WordPiece does; none if they do not. */
function spell(word, tokens) {
  const found = [];
  for (let at = 0; at < word.length;) {
    let end = word.length;
    const token = () => (at ? CONTINUES : "") + word.slice(at, end);
    while (end > at && !tokens.has(token())) end--;
    if (end === at) return [];
    found.push(token());
    at = end;
  }
  return found;
}
