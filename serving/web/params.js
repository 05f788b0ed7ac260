// A control for every search parameter of an index's layout; none for layouts without any.

import { el } from "./dom.js";

/** Fill `place` with the controls of an index. */
export function renderParams(place, info) {
  place.replaceChildren(...(info?.parameters ?? []).map(control));
}

/** Return the values that differ from the defaults. */
export function readParams(place) {
  const values = {};
  for (const input of place.querySelectorAll("[data-name]")) {
    const value = input.type === "checkbox" ? input.checked : Number(input.value);
    if (String(value) !== input.dataset.default) values[input.dataset.name] = value;
  }
  return values;
}

/** Return the filter that an input holds; null while it is empty or not JSON yet. */
export function readFilter(input) {
  input.setCustomValidity("");
  if (!input.value.trim()) return null;
  try {
    const filter = JSON.parse(input.value);
    if (filter && typeof filter === "object") return filter;
  } catch { /* told below */ }
  input.setCustomValidity("A filter is a JSON object.");
  return null;
}

function control({ name, type, default: value, minimum, maximum, description }) {
  const label = name.replaceAll("_", " ");
  const shared = { "data-name": name, "data-default": String(value), title: description };
  if (type === "boolean") {
    return el("label", { class: "field" },
      el("input", { ...shared, type: "checkbox", checked: value }), el("span", {}, label));
  }
  // A bound of millions would leave no room on the slider for what is useful.
  const top = Math.min(maximum ?? Infinity, Math.max(1, value * 10));
  const input = el("input", {
    ...shared, type: "range", min: minimum ?? 0, max: top,
    step: type === "integer" ? 1 : 0.01, value,
  });
  const output = el("output", {}, String(value));
  input.addEventListener("input", () => (output.value = input.value));
  return el("label", { class: "field slider", title: description },
    el("span", {}, label), input, output);
}
