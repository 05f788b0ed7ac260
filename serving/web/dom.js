// Building elements: text only ever goes in as text, so nothing a document holds can be markup.

export const $ = (id) => document.getElementById(id);

/** Return a new element. Properties starting with "on" are listeners, the rest attributes. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

let toastTimer = 0;

/** Show a short message for a moment. */
export function toast(message) {
  $("toast").textContent = message;
  $("toast").classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("shown"), 2200);
}

/** Copy text, also where the page is not on localhost and the clipboard API is closed to it. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { class: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(`${what} copied`);
}

export const number = (value, digits = 2) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const milliseconds = (value) =>
  value < 0.995 ? `${Math.round(value * 1000)} µs` : `${number(value, value < 10 ? 1 : 0)} ms`;
