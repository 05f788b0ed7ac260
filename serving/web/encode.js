// The second view: a text, its terms by weight, and which pieces of the text show them.

import { ask, indexPath } from "./api.js";
import { $, el, milliseconds } from "./dom.js";
import { bar, marked } from "./text.js";

let waiting = null;
let timer = 0;

const side = () => $("encode-form").elements.side.value;

/** Connect the form; `index()` names the index, `onProblem` shows an error. */
export function setUpEncode(index, onProblem) {
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(() => encode(index(), onProblem), 150);
  };
  $("text").addEventListener("input", later);
  for (const input of $("encode-form").elements.side) input.addEventListener("change", later);
  return {
    refresh: later,
    show(text, which) {
      $("text").value = text;
      $("encode-form").elements.side.value = which;
      later();
    },
  };
}

async function encode(index, onProblem) {
  waiting?.abort();
  const text = $("text").value;
  $("encode-problem").hidden = true;
  if (!text.trim()) {
    $("encoded").hidden = true;
    return;
  }
  waiting = new AbortController();
  try {
    const body = { text, side: side() };
    render(text, await ask(`${indexPath(index)}/encode`, body, waiting.signal));
  } catch (error) {
    if (error.name === "AbortError") return;
    $("encoded").hidden = true;
    onProblem(error, $("encode-problem"));
  }
}

function render(text, answer) {
  const points = Array.from(text);
  const largest = answer.terms[0]?.weight ?? 1;
  const spans = [];
  for (const term of answer.terms) {
    for (const [start, end] of term.spans) spans.push({ start, end, terms: [term] });
  }
  spans.sort((a, b) => a.start - b.start || b.end - a.end);
  for (let at = 1; at < spans.length;) {
    const outer = spans[at - 1];
    if (spans[at].end > outer.end) at++;
    else outer.terms.push(...spans.splice(at, 1)[0].terms); // within another piece: marked with it
  }
  const shaded = marked(points, spans, 0, points.length, (span, words) => {
    const mark = el("mark", {
      class: "original shade", "data-tokens": JSON.stringify(span.terms.map((term) => term.token)),
      title: span.terms.map((term) => `${term.token}: ${term.weight.toFixed(2)}`).join("\n"),
    }, words);
    const weight = Math.max(...span.terms.map((term) => term.weight));
    mark.style.setProperty("--strength", (0.15 + (0.85 * weight) / largest).toFixed(3));
    return mark;
  });
  $("shaded").replaceChildren(...shaded);
  const added = answer.terms.filter((term) => term.spans.length === 0).length;
  $("encode-summary").textContent =
    `${answer.terms.length} terms, ${added} of them added · ${answer.encoder} · `
    + milliseconds(answer.took_ms);
  $("weights").replaceChildren(...answer.terms.map((term) => {
    const line = bar(term.token, term.weight, largest, { added: term.spans.length === 0 });
    const point = (on) => {
      for (const mark of $("shaded").querySelectorAll("mark")) {
        mark.classList.toggle("pointed", on && JSON.parse(mark.dataset.tokens).includes(term.token));
      }
    };
    line.addEventListener("pointerenter", () => point(true));
    line.addEventListener("pointerleave", () => point(false));
    return line;
  }));
  $("encoded").hidden = false;
}
