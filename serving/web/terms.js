// The query as the index sees it: a chip for every word and every added term, to weigh up, weigh
// down or leave out.

import { $, el } from "./dom.js";
import { byWord } from "./words.js";

const STEPS = [0.25, 0.5, 1, 2, 4];
const weightOf = (terms) => terms.reduce((sum, term) => sum + term.weight, 0);

/** Connect the chips; `search` runs the edited query, `encode` turns a word into terms. */
export function setUpTerms({ search, encode }) {
  let boost = new Map(), dropped = new Map(), added = new Map();
  let open = null;

  function reset() {
    [boost, dropped, added, open] = [new Map(), new Map(), new Map(), null];
  }

  function edit() {
    if (!boost.size && !dropped.size && !added.size) return null;
    return {
      boost: Object.fromEntries(boost), drop: [...dropped.keys()], add: Object.fromEntries(added),
    };
  }

  function change(action) {
    action();
    search();
  }

  function chip({ label, terms }, largest) {
    const [first] = terms;
    const factor = boost.get(first.token) ?? 1;
    const off = terms.every(({ token }) => dropped.has(token));
    const weight = weightOf(terms);
    const inQuery = terms.some((term) => term.in_query !== false);
    const pieces = terms.length > 1 || first.token !== label
      ? ` (${terms.map((term) => `${term.token} ${term.weight.toFixed(2)}`).join(", ")})` : "";
    const name = el(
      "button", {
        type: "button", class: "name", "aria-expanded": String(open === first.token),
        title: off ? "Left out"
          : `Weight ${weight.toFixed(3)}${pieces}${inQuery ? "" : ", added by the encoder"}`,
        onclick: () => {
          open = open === first.token ? null : first.token;
          draw();
          $("chips").querySelector(`[aria-expanded="true"]`)?.focus();
        },
      },
      el("span", {}, label), el("small", {}, off ? "off" : weight.toFixed(2)),
    );
    const level = el(
      "span", { class: `level ${inQuery ? "original" : "added"}`, "aria-hidden": "true" },
    );
    level.style.inlineSize = off ? "0" : `${Math.min(100, (100 * weight) / largest)}%`;
    const mine = terms.some(({ token }) => added.has(token));
    const made = el("li", { class: `chip${off ? " off" : ""}${mine ? " mine" : ""}` }, name, level);
    if (open === first.token) made.append(...controls(label, terms, factor, { off, mine }));
    return made;
  }

  /** Return the buttons of a chip: what they change, they change for all pieces of the word. */
  function controls(word, terms, factor, { off, mine }) {
    const button = (label, text, action, disabled = false) => el("button", {
      type: "button", class: "step", "aria-label": `${label} ${word}`, title: label, disabled,
      onclick: () => change(() => terms.forEach(action)),
    }, text);
    const at = STEPS.indexOf(factor);
    const set = (value) => ({ token }) =>
      (value === 1 ? boost.delete(token) : boost.set(token, value));
    if (off) return [button("Take back", "+", ({ token }) => dropped.delete(token))];
    return [
      button("Weigh down", "−", set(STEPS[at - 1]), at === 0 || mine),
      el("span", { class: "factor" }, `×${factor}`),
      button("Weigh up", "+", set(STEPS[at + 1]), at === STEPS.length - 1 || mine),
      button("Leave out", "✕", (term) => {
        if (!added.delete(term.token)) dropped.set(term.token, term);
        boost.delete(term.token);
      }),
    ];
  }

  let current = [], query = "";

  function draw() {
    const shown = [...current, ...dropped.values()];
    const off = ({ terms }) => Number(terms.every(({ token }) => dropped.has(token)));
    const words = byWord(shown, query)
      .sort((a, b) => off(a) - off(b) || weightOf(b.terms) - weightOf(a.terms));
    const largest = Math.max(...words.map(({ terms }) => weightOf(terms)), 1e-9);
    $("chips").replaceChildren(
      ...words.map((word) => chip(word, largest)), adder(),
      ...(edit() ? [el("li", {}, el("button", {
        type: "button", class: "link", onclick: () => change(reset),
      }, "Undo edits"))] : []),
    );
    $("terms").hidden = shown.length === 0;
  }

  function adder() {
    const input = el("input", {
      class: "adder", placeholder: "+ term", "aria-label": "Add a term to the query", size: "7",
      maxlength: "200",
      onkeydown: async (event) => {
        if (event.key !== "Enter" || !input.value.trim()) return;
        event.preventDefault();
        event.stopPropagation();
        const encoded = await encode(input.value).catch(() => ({ terms: [] }));
        if (!encoded.terms.length) {
          input.setCustomValidity("The encoder knows no such word.");
          input.reportValidity();
          return;
        }
        change(() => {
          for (const { token, weight } of encoded.terms) {
            dropped.delete(token);
            added.set(token, weight);
          }
        });
      },
      oninput: () => input.setCustomValidity(""),
    });
    return el("li", {}, input);
  }

  return {
    edit,
    reset,
    render(terms, text) {
      [current, query] = [terms, text];
      draw();
    },
  };
}
