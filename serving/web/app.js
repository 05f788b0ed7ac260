// The page: state, instant search, keyboard. Rendering is in results.js, encode.js and terms.js.

import { ApiError, ask, curl, indexPath } from "./api.js";
import { $, copy, el, milliseconds, number, toast } from "./dom.js";
import { setUpEncode } from "./encode.js";
import { askForKey, setUpKey } from "./key.js";
import { readFilter, readParams, renderParams } from "./params.js";
import { isAdded, resultItem } from "./results.js";
import { setUpTerms } from "./terms.js";
import { byWord } from "./words.js";

const state = { indexes: null, request: null, loading: null, waiting: null, timer: 0 };

const indexInfo = () => state.indexes?.find((info) => info.name === $("index").value);

// --- search ---------------------------------------------------------------------------------

const terms = setUpTerms({
  search: () => search(),
  // A word that a user adds goes through the encoder: it knows which terms the word becomes.
  encode: (text) => ask(`${indexPath($("index").value)}/encode`, { text, side: "query" }),
});

function requestBody() {
  const body = { query: $("q").value, k: Number($("k").value), explain: true, highlight: true };
  const params = readParams($("params"));
  if (Object.keys(params).length) body.params = params;
  const hybrid = readHybrid();
  if (hybrid) body.hybrid = hybrid;
  else if ($("compare").checked && indexInfo().parameters.length) body.compare_exact = true;
  const filter = readFilter($("filter"));
  if (filter && hasFields()) body.filter = filter;
  const edit = terms.edit();
  if (edit) body.edit = edit;
  return body;
}

/** Return how the halves are fused; null for a search of the sparse one alone. */
function readHybrid() {
  if (!$("hybrid").checked || !indexInfo().dense) return null;
  const dense = Number($("dense-share").value);
  return { fusion: $("fusion").value, weights: { sparse: 1 - dense, dense } };
}

function soon(delay) {
  clearTimeout(state.timer);
  state.timer = setTimeout(search, delay);
}

async function search() {
  clearTimeout(state.timer);
  state.waiting?.abort();
  // No key yet, or no service: try again.
  if (!state.indexes) {
    load();
    return;
  }
  const info = indexInfo();
  if (!info) {
    showWelcome();
    return;
  }
  remember();
  if (!$("q").value.trim()) {
    showWelcome();
    return;
  }
  const waiting = (state.waiting = new AbortController());
  const path = `${indexPath(info.name)}/search`;
  const body = requestBody();
  const started = performance.now();
  try {
    const answer = await ask(path, body, waiting.signal);
    state.request = { path, body };
    render(answer, performance.now() - started);
  } catch (error) {
    if (error.name !== "AbortError") {
      clear();
      showProblem(error, $("problem"));
    }
  }
}

/** Append the next results behind those that are shown. */
async function showMore() {
  const { path, body } = state.request;
  const shown = items().length;
  try {
    const answer = await ask(path, { ...body, offset: shown });
    if (state.request.body !== body) return;
    append(answer);
    items()[shown]?.focus();
    $("more").hidden = answer.hits.length < body.k;
  } catch (error) {
    $("more").hidden = true;
    showProblem(error, $("problem"));
  }
}

function append({ hits, query }) {
  const words = byWord(query.terms, state.request.body.query);
  $("results").append(...hits.map((hit) => resultItem(hit, {
    index: indexInfo().name, best: state.best, words, onEncode: showEncoded,
  })));
}

function clear() {
  const parts = ["terms", "summary", "legend", "problem", "welcome", "curl", "comparison", "more"];
  for (const id of parts) $(id).hidden = true;
  $("results").replaceChildren();
}

function render(answer, roundTrip) {
  clear();
  const info = indexInfo();
  terms.render(answer.query.terms, state.request.body.query);
  state.best = answer.hits[0]?.score ?? 1;
  append(answer);
  const count = answer.hits.length;
  $("more").hidden = count < state.request.body.k;
  $("status").textContent = count
    ? `${count} best of ${info.n_documents.toLocaleString("en")} documents`
    : answer.query.terms.length
      ? "No document has one of these terms."
      : "The encoder knows no word of this query.";
  renderTimes(answer.took_ms, roundTrip);
  renderComparison(answer);
  $("summary").hidden = false;
  const hybrid = answer.hits.some((hit) => hit.parts);
  $("legend").hidden = !hybrid && !answer.hits.some((hit) => hit.explanation.some(isAdded));
  $("dense-key").hidden = !hybrid;
  $("curl").hidden = false;
}

function renderTimes(took, roundTrip) {
  const stages = Object.entries(took).filter(([, value]) => value > 0);
  const total = stages.reduce((sum, [, value]) => sum + value, 0);
  const line = el("span", { class: "timeline", "aria-hidden": "true" });
  for (const [stage, value] of stages) {
    const part = el("span", { class: `stage-${stage}` });
    part.style.flexGrow = value / total;
    line.append(part);
  }
  const labels = stages.map(([stage, value]) =>
    el("span", { class: `time stage-${stage}` }, `${stage} `, el("b", {}, milliseconds(value))));
  $("times").replaceChildren(
    line, ...labels,
    el("span", { class: "time", title: "From key stroke to answer, with network and page" },
      "round trip ", el("b", {}, milliseconds(roundTrip))),
  );
}

function renderComparison({ exact }) {
  if (!exact) return;
  const missed = exact.missed.length
    ? `, missed ${exact.missed.slice(0, 5).join(", ")}${exact.missed.length > 5 ? " …" : ""}` : "";
  $("comparison").replaceChildren(
    el("b", {}, `overlap@${state.request.body.k} with exact search: ${number(exact.overlap, 2)}`),
    `${missed} · exact took ${milliseconds(exact.took_ms)}`,
  );
  $("comparison").hidden = false;
}

const hasFields = () => Object.keys(indexInfo()?.fields ?? {}).length > 0;

function showIndex() {
  const info = indexInfo();
  renderParams($("params"), info);
  $("hybrid-field").hidden = !info?.dense;
  $("dense-name").textContent = info?.dense ? `with ${info.dense}` : "";
  $("compare-field").hidden = !info?.parameters.length;
  $("filter-field").hidden = !hasFields();
  $("filter-fields").textContent = Object.entries(info?.fields ?? {})
    .map(([name, type]) => `${name} (${type})`).join(", ");
  $("tuning").hidden = ["hybrid-field", "compare-field", "filter-field"]
    .every((id) => $(id).hidden);
}

function showWelcome() {
  clear();
  const info = indexInfo();
  const examples = info?.examples ?? [];
  $("welcome").replaceChildren(
    el("p", { class: "big" }, info
      ? `${info.n_documents.toLocaleString("en")} documents` : "Nothing to search yet"),
    el("p", {}, info ? describe(info) : "Make a collection: POST v1/indexes."),
    ...(examples.length ? [el("p", { class: "quiet" }, "Try one of these")] : []),
    el("ul", { class: "examples" }, ...examples.map((query) => el("li", {}, el("button", {
      type: "button",
      onclick: () => {
        $("q").value = query;
        terms.reset();
        search();
        $("q").focus();
      },
    }, query)))),
  );
  $("welcome").hidden = false;
}

function describe(info) {
  const encoder = info.encoder ? `${info.encoder} encoder` : "no encoder";
  const kind = info.updatable ? "live collection" : `${info.layout} index`;
  return `${encoder} · ${info.vocabulary_size.toLocaleString("en")} terms · ${kind}`
    + ` · ${number(info.bytes / 1e6, 1)} MB${info.dense ? ` · dense half by ${info.dense}` : ""}`;
}

function showProblem(error, place) {
  if (!(error instanceof ApiError)) throw error;
  if (error.status === 401) {
    askForKey(error);
    return;
  }
  place.replaceChildren(el("strong", {}, error.message), error.hint ? ` ${error.hint}` : "");
  place.hidden = false;
}

// --- views ----------------------------------------------------------------------------------

const encodeView = setUpEncode(() => $("index").value, showProblem);

function showView() {
  const encode = location.hash === "#encode";
  $("view-search").hidden = encode;
  $("view-encode").hidden = !encode;
  $("tab-search").toggleAttribute("aria-current", !encode);
  $("tab-encode").toggleAttribute("aria-current", encode);
  for (const tab of [$("tab-search"), $("tab-encode")]) {
    if (tab.hasAttribute("aria-current")) tab.setAttribute("aria-current", "page");
  }
  if (encode && !$("text").value && $("q").value) encodeView.show($("q").value, "query");
  $(encode ? "text" : "q").focus({ preventScroll: true });
}

function showEncoded(hit) {
  const text = [hit.document?.title, hit.document?.text].filter(Boolean).join("\n");
  encodeView.show(text, indexInfo().encodes_documents ? "document" : "query");
  location.hash = "#encode";
}

// --- what survives a reload --------------------------------------------------------------------

function remember() {
  const query = new URLSearchParams();
  if ($("q").value) query.set("q", $("q").value);
  if (state.indexes.length > 1) query.set("index", $("index").value);
  if ($("k").value !== "10") query.set("k", $("k").value);
  const suffix = query.size ? `?${query}` : "";
  history.replaceState(null, "", location.pathname + suffix + location.hash);
}

function recall() {
  const query = new URLSearchParams(location.search);
  $("q").value ||= query.get("q") ?? "";
  const has = (select, value) => [...select.options].some((option) => option.value === value);
  for (const id of ["index", "k"]) {
    if (has($(id), query.get(id))) $(id).value = query.get(id);
  }
}

const THEMES = ["automatic", "light", "dark"];

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").setAttribute("aria-label", `Colour theme: ${theme}`);
  localStorage.setItem("lsr-theme", theme);
}

// --- keyboard -----------------------------------------------------------------------------------

const items = () => [...$("results").children];

function move(step) {
  const list = items();
  if (!list.length) return;
  const at = list.indexOf(document.activeElement.closest?.(".hit"));
  const next = at + step;
  if (next < 0) $("q").focus();
  else (list[Math.min(next, list.length - 1)]).focus();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input, textarea, select");
  const hit = event.target.closest(".hit");
  const inBox = event.target === $("q");
  if (event.key === "Escape") {
    if (hit?.classList.contains("open")) open(hit, false);
    else if (inBox) {
      $("q").value = "";
      terms.reset();
      search();
    } else $(location.hash === "#encode" ? "text" : "q").focus();
  } else if (event.key === "ArrowDown" && (inBox || hit)) move(1);
  else if (event.key === "ArrowUp" && hit) move(-1);
  else if (event.key === "Enter" && event.target === hit) open(hit, !hit.classList.contains("open"));
  else if (event.key === "e" && event.target === hit) hit.dispatchEvent(new Event("lsr-encode"));
  else if (event.key === "/" && !typing) {
    if (location.hash === "#encode") location.hash = "#search";
    $("q").focus();
    $("q").select();
  } else if (event.key === "?" && !typing) $("help-dialog").showModal();
  else return;
  event.preventDefault();
}

function open(hit, wanted) {
  hit.dispatchEvent(new CustomEvent("lsr-open", { detail: wanted }));
}

// --- start --------------------------------------------------------------------------------------

function connect() {
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  $("q").addEventListener("input", () => {
    terms.reset();
    soon(60);
  });
  $("k").addEventListener("change", search);
  $("tuning").addEventListener("input", () => {
    $("dense-shown").value = $("dense-share").value;
    soon(30);
  });
  $("more").addEventListener("click", showMore);
  $("index").addEventListener("change", () => {
    terms.reset();
    showIndex();
    search();
    encodeView.refresh();
  });
  $("curl").addEventListener("click", () =>
    copy(curl(state.request.path, state.request.body), "Command"));
  $("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % 3];
    setTheme(next);
    toast(`Colours: ${next}`);
  });
  $("help").addEventListener("click", () => $("help-dialog").showModal());
  setUpKey(load);
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", showView);
  // Collections come and go while the page is open.
  $("index").addEventListener("focus", () => listIndexes().catch(() => {}));
}

/** Fill the chooser: live collections apart from what does not change. */
async function listIndexes(signal) {
  const chosen = $("index").value;
  state.indexes = (await ask("v1/indexes", null, signal)).indexes;
  const names = state.indexes.map(({ name }) => name).join("\n");
  if (names === $("index").dataset.names) return;
  $("index").dataset.names = names;
  const group = (label, updatable) => {
    const options = state.indexes.filter((info) => info.updatable === updatable)
      .map(({ name }) => el("option", {}, name));
    return options.length ? [el("optgroup", { label }, ...options)] : [];
  };
  $("index").replaceChildren(...group("Indexes", false), ...group("Live collections", true));
  if (state.indexes.some(({ name }) => name === chosen)) $("index").value = chosen;
}

/** Start, at first and again with each key that is entered. */
async function load() {
  state.loading?.abort();
  const { signal } = (state.loading = new AbortController());
  try {
    await listIndexes(signal);
    recall();
    showIndex();
    $("about").textContent = `lsr ${(await ask("healthz", null, signal)).version}`;
  } catch (error) {
    if (error.name !== "AbortError") showProblem(error, $("problem"));
    return;
  }
  showView();
  search();
}

setTheme(localStorage.getItem("lsr-theme") ?? "automatic");
connect();
load();
