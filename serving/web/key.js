// The API key: asked for when the service wants one, with the reason if it refused the last.

import { setKey } from "./api.js";
import { $ } from "./dom.js";

/** Connect the dialog; `onKey()` is called when a key was entered. */
export function setUpKey(onKey) {
  $("key-form").addEventListener("submit", () => {
    setKey($("key").value.trim());
    onKey();
  });
}

/** Ask for a key; `error` is the refusal, with the key that was refused, if there was one. */
export function askForKey(error) {
  const refused = Boolean(error.key);
  $("key-refused").textContent = refused ? `${error.message} ${error.hint}` : "";
  $("key-refused").hidden = !refused;
  $("key").setAttribute("aria-invalid", refused);
  // Several requests may be refused at once; what is being typed stays.
  if ($("key-dialog").open) return;
  $("key-dialog").showModal();
  $("key").select();
}
