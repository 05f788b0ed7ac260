// The API's documentation, drawn from /openapi.json; nothing is loaded from elsewhere.

import { curl } from "./api.js";
import { $, copy, el } from "./dom.js";

const spec = await fetch("openapi.json").then((response) => response.json());

/** Text with `code` in it. */
function prose(text = "") {
  return text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return [el("a", { href: `#schema-${name}` }, name)];
  }
  if (schema.anyOf) return join(schema.anyOf.map(typeOf), " or ");
  if (schema.type === "array") return ["list of ", ...[typeOf(schema.items)].flat()];
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" or ")];
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.additionalProperties?.type) return [`object of ${schema.additionalProperties.type}`];
  return [schema.type ?? "any"];
}

function join(parts, between) {
  return parts.flatMap((part, at) => (at ? [between, ...part] : part));
}

function limits(schema) {
  const found = [];
  if (schema.default !== undefined) found.push(`default ${JSON.stringify(schema.default)}`);
  for (const [low, high, unit] of [
    ["minimum", "maximum", ""], ["minLength", "maxLength", " characters"],
    ["minItems", "maxItems", " items"],
  ]) {
    if (schema[low] !== undefined) found.push(`at least ${schema[low].toLocaleString("en")}${unit}`);
    if (schema[high] !== undefined) found.push(`at most ${schema[high].toLocaleString("en")}${unit}`);
  }
  return found.length ? ` (${found.join(", ")})` : "";
}

function row(name, schema, required, description) {
  return el("tr", {},
    el("th", { scope: "row" }, el("code", {}, name),
      required ? el("span", { class: "required" }, "required") : null),
    el("td", {}, ...[typeOf(schema)].flat()),
    el("td", {}, ...prose(description ?? schema.description), limits(schema)));
}

function route(path, method, operation) {
  const body = operation.requestBody?.content["application/json"]?.schema;
  const example = exampleOf(body);
  const sample = path.replace("{name}", "demo").replace("{doc_id}", "ID");
  const command = example ? curl(sample.slice(1), example)
    : `curl -s '${new URL(sample.slice(1), document.baseURI).href}${queryOf(operation)}'`;
  const parameters = operation.parameters ?? [];
  return el("section", { class: "route", id: operation.operationId },
    el("h3", {}, operation.summary),
    el("p", { class: "call" },
      el("span", { class: `method ${method}` }, method.toUpperCase()), " ", path),
    el("p", {}, ...prose(operation.description)),
    ...(parameters.length ? [el("h4", {}, "Parameters"), el("table", {}, el("tbody", {},
      ...parameters.map((p) => row(p.name, p.schema, p.required, p.description))))] : []),
    ...(body ? [el("h4", {}, "Body"), el("p", {}, ...[typeOf(body)].flat())] : []),
    el("h4", {}, "Example"), el("pre", { tabindex: "0" }, command),
    el("button", { type: "button", class: "link", onclick: () => copy(command, "Command") }, "Copy"),
    el("h4", {}, "Answers"),
    el("table", {}, el("tbody", {}, ...Object.entries(operation.responses).map(([status, answer]) =>
      el("tr", {}, el("th", { scope: "row" }, status),
        el("td", {}, ...[typeOf(answer.content?.["application/json"]?.schema)].flat()),
        el("td", {}, answer.description))))));
}

function exampleOf(schema) {
  const model = schema?.$ref && spec.components.schemas[schema.$ref.split("/").pop()];
  if (!model) return null;
  if (model.examples) return model.examples[0];
  const made = {};
  for (const name of model.required ?? []) {
    made[name] = model.properties[name].examples?.[0] ?? "…";
  }
  return made;
}

function queryOf(operation) {
  const wanted = (operation.parameters ?? []).filter((p) => p.in === "query" && p.required);
  return wanted.length ? `?${wanted.map((p) => `${p.name}=super+bowl`).join("&")}` : "";
}

function schema(name, model) {
  return el("section", { class: "schema", id: `schema-${name}` },
    el("h3", {}, name), el("p", {}, ...prose(model.description)),
    el("table", {}, el("tbody", {}, ...Object.entries(model.properties ?? {}).map(([key, value]) =>
      row(key, value, model.required?.includes(key))))));
}

$("title").textContent = `${spec.info.title} API ${spec.info.version}`;
$("description").append(...spec.info.description.trim().split("\n\n").map((paragraph) =>
  el("p", {}, ...prose(paragraph.replaceAll("\n", " ")))));
let tag = "";
for (const [path, methods] of Object.entries(spec.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    if (operation.tags[0] !== tag) $("contents").append(el("h2", {}, (tag = operation.tags[0])));
    $("contents").append(el("a", { href: `#${operation.operationId}` }, operation.summary));
    $("routes").append(route(path, method, operation));
  }
}
$("contents").append(el("a", { href: "#schemas-title" }, "Schemas"));
$("schemas").append(...Object.entries(spec.components.schemas)
  .filter(([name]) => !name.startsWith("HTTPValidation") && name !== "ValidationError")
  .map(([name, model]) => schema(name, model)));
