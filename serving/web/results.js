// One result: title, score, passage with marks, a bar for every term; opened, the whole of it.

import { ask, indexPath } from "./api.js";
import { copy, el, number } from "./dom.js";
import { bar, marked, passage } from "./text.js";
import { isPiece, joined, wholeWord } from "./words.js";

const PASSAGE = 340;
const BARS = 6;

/** Terms count as original where both texts show them; the encoder added the others. */
export const isAdded = (term) => !term.in_query || term.in_document === false;

/** Return the list item of a hit. */
export function resultItem(hit, { index, best, words, onEncode }) {
  const document_ = hit.document ?? {};
  const explanation = hit.explanation ?? [];
  const byToken = new Map(explanation.map((term) => [term.token, term]));
  const lines = barsOf(explanation, new Map([...surfaceForms(hit), ...queryForms(words)]));
  const titleId = `hit-${hit.rank}`;

  const toggle = el(
    "button", { type: "button", class: "title", id: titleId, "aria-expanded": "false" },
    ...titleNodes(hit, byToken),
  );
  const text = el("p", { class: "passage" });
  const bars = el("ol", { class: "bars", "aria-label": "Share of each term in the score" });
  const more = el("div", { class: "more", hidden: true });
  const item = el(
    "li", { class: "hit", tabindex: "-1", "aria-labelledby": titleId },
    el(
      "div", { class: "head" },
      el("span", { class: "rank", "aria-hidden": "true" }, String(hit.rank)),
      toggle,
      hit.parts
        ? el("span", { class: "score", title: "Score: the sum of both halves' shares" },
          number(hit.score, 4))
        : el("span", { class: "score", title: "Score: the sum of the bars" }, number(hit.score)),
    ),
    scoreLine(hit, best),
    hit.parts && halves(hit.parts),
    el("div", { class: "body" }, el("div", { class: "words" }, text, idLine(hit)), bars),
    more,
  );

  const points = Array.from(document_.text ?? "");
  const spans = pieces(hit, "text", byToken);
  const mark = (span, words) => markNode(span.terms, words);
  const weightOf = (span) => span.terms.reduce((sum, term) => sum + term.contribution, 0);
  const origins = originWords(hit);

  function show(open) {
    toggle.setAttribute("aria-expanded", String(open));
    item.classList.toggle("open", open);
    const [from, to] = open ? [0, points.length] : passage(points, spans, PASSAGE, weightOf);
    text.replaceChildren(
      ...(from > 0 ? ["… "] : []), ...marked(points, spans, from, to, mark),
      ...(to < points.length ? [" …"] : []),
    );
    text.hidden = points.length === 0;
    const shown = open ? lines : lines.slice(0, BARS);
    const largest = lines[0]?.contribution ?? 1;
    bars.replaceChildren(
      ...shown.map(({ label, terms, contribution }) => showingOrigin(
        bar(label, contribution, largest, {
          added: terms.every(isAdded),
          title: terms.map((term) => barTitle(term, origins.get(term.token))).join("\n"),
        }), terms.map((term) => term.token), item,
      )),
      ...(shown.length < lines.length
        ? [el("li", { class: "rest" }, `and ${lines.length - shown.length} more`)] : []),
    );
    more.hidden = !open;
    if (open && !more.hasChildNodes()) more.append(...detail(hit, { index, onEncode, explanation }));
  }

  toggle.addEventListener("click", () => {
    show(!item.classList.contains("open"));
    item.focus();
  });
  item.addEventListener("lsr-open", (event) => show(event.detail));
  item.addEventListener("lsr-encode", () => onEncode(hit));
  show(false);
  return item;
}

function titleNodes(hit, byToken) {
  const title = hit.document?.title;
  if (!title) return [hit.doc_id];
  const points = Array.from(title);
  return marked(points, pieces(hit, "title", byToken), 0, points.length, (span, words) =>
    markNode(span.terms, words));
}

/** Return the pieces of a field in reading order, each with the terms it belongs to. */
function pieces(hit, field, byToken) {
  const found = new Map();
  for (const span of hit.highlights ?? []) {
    if (span.field !== field) continue;
    const key = `${span.start} ${span.end}`;
    const piece = found.get(key) ?? { start: span.start, end: span.end, terms: [] };
    piece.terms.push({ contribution: 0, ...byToken.get(span.token), token: span.token });
    found.set(key, piece);
  }
  const marks = [...found.values()].map((piece) => ({ ...piece, token: piece.terms[0].token }));
  return joined(marks).map(({ start, end, spans }) => ({
    start, end, token: spans[0].token, terms: spans.flatMap((span) => span.terms),
  }));
}

/** A piece is marked as original where it shows one of its terms and the query has it. */
function markNode(terms, words) {
  const original = terms.some((term) => term.in_query !== false && term.in_document !== false);
  const made = terms.filter((term) => term.in_document === false).map((term) => term.token);
  return el("mark", {
    class: original ? "original" : "added",
    title: made.length ? `Gave the document ${made.join(", ")}` : null,
    "data-terms": JSON.stringify(terms.map((term) => term.token)),
  }, words);
}

/** Map tokens to the words that gave them their weight, where the index kept that. */
function originWords(hit) {
  return new Map((hit.highlights ?? []).filter((span) => span.origin).map((span) => [
    span.token,
    wholeWord(Array.from(hit.document?.[span.field] ?? ""), span.start, span.end),
  ]));
}

/** Let the bar of some terms show, while it is pointed at, which words they come from. */
function showingOrigin(line, tokens, item) {
  const toggle = (on) => {
    for (const mark of item.querySelectorAll("mark[data-terms]")) {
      const given = JSON.parse(mark.dataset.terms);
      mark.classList.toggle("from", on && tokens.some((token) => given.includes(token)));
    }
  };
  line.addEventListener("pointerenter", () => toggle(true));
  line.addEventListener("pointerleave", () => toggle(false));
  return line;
}

function barTitle(term, origin) {
  const places = [];
  if (!term.in_query) places.push("the encoder added it to the query");
  if (term.in_document === false) places.push("the encoder added it to the document");
  return `${term.token}: query ${number(term.query_weight)} × document ${number(term.document_weight)}`
    + (places.length ? ` (${places.join(", ")})` : "")
    + (origin ? `; it comes from “${origin}”` : "");
}

/**
 * Map tokens to how the document shows them most often: a word, and the tokens that together are it.
 */
function surfaceForms(hit) {
  const counts = new Map();
  for (const field of ["title", "text"]) {
    const points = Array.from(hit.document?.[field] ?? "");
    const shown = (hit.highlights ?? []).filter((span) => span.field === field && !span.origin);
    for (const { start, end, spans } of joined(shown)) {
      const tokens = spans.map((span) => span.token);
      const word = tokens.some(isPiece)
        ? wholeWord(points, start, end) : points.slice(start, end).join("");
      const form = { word: word.toLowerCase(), tokens };
      for (const token of tokens) {
        const forms = counts.get(token) ?? new Map();
        const key = `${form.word} ${tokens.join(" ")}`;
        forms.set(key, { ...form, count: (forms.get(key)?.count ?? 0) + 1 });
        counts.set(token, forms);
      }
    }
  }
  const most = (forms) => [...forms.values()].sort((a, b) => b.count - a.count)[0];
  return new Map([...counts].map(([token, forms]) => [token, most(forms)]));
}

/** Map tokens that a word of the query shows to the word, and to all its tokens. */
function queryForms(words) {
  return new Map(words.filter(({ terms }) => terms[0].in_query).flatMap(({ label, terms }) => {
    const tokens = terms.map((term) => term.token);
    return tokens.map((token) => [token, { word: label, tokens }]);
  }));
}

/** Return what the bars show, largest first: terms, those of one word's pieces together. */
function barsOf(explanation, forms) {
  const byLabel = new Map();
  for (const term of explanation) {
    // A piece that the document does not show is not the word that the query has.
    const form = term.in_document === false ? null : forms.get(term.token);
    const key = form && form.tokens.length > 1 ? form.tokens.join(" ") : term.token;
    const line = byLabel.get(key) ?? { label: form?.word ?? term.token, terms: [], contribution: 0 };
    line.terms.push(term);
    line.contribution += term.contribution;
    byLabel.set(key, line);
  }
  return [...byLabel.values()].sort((a, b) => b.contribution - a.contribution);
}

function idLine(hit) {
  return el(
    "p", { class: "id" },
    el("button", {
      type: "button", class: "plain", title: "Copy the identifier",
      onclick: () => copy(hit.doc_id, "Identifier"),
    }, hit.doc_id),
  );
}

/**
 * The score as a line: its length against the best hit's, its colours by kind of term, and of a
 * hybrid search what the dense half gave.
 */
function scoreLine(hit, best) {
  const line = el("div", { class: "scoreline", "aria-hidden": "true" });
  const terms = hit.explanation ?? [];
  const sum = (chosen) => chosen.reduce((total, term) => total + term.contribution, 0);
  // The terms make up the sparse half's score, which the fusion scales to its share.
  const scale = hit.parts ? hit.parts.sparse.share / (sum(terms) || 1) : 1;
  const shares = {
    original: scale * sum(terms.filter((term) => !isAdded(term))),
    added: scale * sum(terms.filter(isAdded)),
    dense: hit.parts?.dense.share ?? 0,
  };
  for (const [kind, share] of Object.entries(shares)) {
    const part = el("span", { class: kind });
    part.style.inlineSize = `${(100 * share) / best}%`;
    line.append(part);
  }
  return line;
}

/** What each half of a hybrid search gave: its rank, its score, its share. */
function halves(parts) {
  const told = Object.entries(parts).map(([half, { rank, score, share }]) => el(
    "span", {}, `${half} `,
    rank ? `${ordinal(rank)} with ${number(score, 3)}, gives ${number(share, 4)}` : "did not find it",
  ));
  return el("p", { class: "halves quiet" }, ...told);
}

const ordinal = (n) => {
  const last = n % 100 > 10 && n % 100 < 14 ? 0 : n % 10;
  return `${n}${["th", "st", "nd", "rd"][last] ?? "th"}`;
};

function detail(hit, { index, onEncode, explanation }) {
  const rows = explanation.map((term) => el(
    "tr", { class: isAdded(term) ? "added" : "original" },
    el("th", { scope: "row" }, term.token),
    el("td", {}, number(term.query_weight, 3)),
    el("td", {}, number(term.document_weight, 3)),
    el("td", {}, number(term.contribution, 3)),
  ));
  const table = el(
    "table", {},
    el("caption", {}, "Where the score comes from"),
    el("thead", {}, el("tr", {}, ...["Term", "Query", "Document", "Share"].map((name) =>
      el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...rows),
    el("tfoot", {}, el(
      "tr", {}, el("th", { scope: "row", colspan: "3" }, hit.parts ? "Sparse score" : "Score"),
      el("td", {}, number(explanation.reduce((sum, term) => sum + term.contribution, 0), 3)),
    )),
  );
  const metadata = el("dl", { class: "metadata" });
  ask(`${indexPath(index)}/documents/${hit.doc_id.split("/").map(encodeURIComponent).join("/")}`)
    .then((whole) => {
      for (const [name, value] of Object.entries(whole.metadata ?? {})) {
        const shown = typeof value === "string" ? value : JSON.stringify(value);
        // Only addresses become links: a document must not bring "javascript:" into the page.
        const address = /^https?:\/\//.test(shown);
        const content = address ? el("a", { href: shown, rel: "noreferrer" }, shown) : shown;
        metadata.append(el("dt", {}, name), el("dd", {}, content));
      }
    })
    .catch(() => metadata.remove());
  return [
    table, metadata,
    hit.document && el("p", {}, el("button", {
      type: "button", class: "link", onclick: () => onEncode(hit),
    }, "See how this document is encoded")),
  ].filter(Boolean);
}
