// The query as the index sees it: a chip for every term, to weigh up, weigh down or leave out.

import { $, el } from "./dom.js";

const STEPS = [0.25, 0.5, 1, 2, 4];

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

  function chip({ token, weight, in_query }, largest) {
    const factor = boost.get(token) ?? 1;
    const off = dropped.has(token);
    const name = el(
      "button", {
        type: "button", class: "name", "aria-expanded": String(open === token),
        title: off ? "Left out"
          : `Weight ${weight.toFixed(3)}${in_query === false ? ", added by the encoder" : ""}`,
        onclick: () => {
          open = open === token ? null : token;
          draw();
          $("chips").querySelector(`[aria-expanded="true"]`)?.focus();
        },
      },
      el("span", {}, token), el("small", {}, off ? "off" : weight.toFixed(2)),
    );
    const kind = in_query === false ? "added" : "original";
    const level = el("span", { class: `level ${kind}`, "aria-hidden": "true" });
    level.style.inlineSize = off ? "0" : `${Math.min(100, (100 * weight) / largest)}%`;
    const made = el(
      "li", { class: `chip${off ? " off" : ""}${added.has(token) ? " mine" : ""}` }, name, level,
    );
    if (open === token) made.append(...controls(token, weight, factor, off));
    return made;
  }

  function controls(token, weight, factor, off) {
    const button = (label, text, action, disabled = false) => el("button", {
      type: "button", class: "step", "aria-label": `${label} ${token}`, title: label, disabled,
      onclick: () => change(action),
    }, text);
    const at = STEPS.indexOf(factor);
    const set = (value) => () => (value === 1 ? boost.delete(token) : boost.set(token, value));
    if (off) return [button("Take back", "+", () => dropped.delete(token))];
    return [
      button("Weigh down", "−", set(STEPS[at - 1]), at === 0 || added.has(token)),
      el("span", { class: "factor" }, `×${factor}`),
      button("Weigh up", "+", set(STEPS[at + 1]), at === STEPS.length - 1 || added.has(token)),
      button("Leave out", "✕", () => {
        if (!added.delete(token)) dropped.set(token, weight);
        boost.delete(token);
      }),
    ];
  }

  let current = [];

  function draw() {
    const shown = [...current];
    for (const [token, weight] of dropped) shown.push({ token, weight });
    const largest = Math.max(...shown.map((term) => term.weight), 1e-9);
    $("chips").replaceChildren(
      ...shown.map((term) => chip(term, largest)), adder(),
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
    render(terms) {
      current = terms;
      draw();
    },
  };
}
