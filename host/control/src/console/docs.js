// The document of the API, for people.

import { forgetToken, onUnauthorized, read, token } from "./api.js";
import { h, replace, wrong } from "./dom.js";
import { head, login } from "./login.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
/** Parts that come first, in this order. */
const ORDER = ["tenants", "endpoints", "deployments", "bundles", "state"];
const main = document.getElementById("main");
const top = document.getElementById("top");

async function start(said) {
  head(top, "docs", false);
  if (!token()) await login(main, said);
  head(top, "docs", true);
  try {
    show((await read("/openapi.json")).value);
  } catch (error) {
    if (error.status !== 401) replace(main, wrong(error));
  }
}

function show(document_) {
  const base = document_.servers?.[0]?.url ?? "";
  const tags = new Map(ORDER.map((tag) => [tag, []]));
  for (const [path, item] of Object.entries(document_.paths)) {
    for (const method of METHODS.filter((one) => item[one])) {
      const tag = item[method].tags?.[0] ?? "other";
      if (!tags.has(tag)) tags.set(tag, []);
      tags.get(tag).push({ path: base + path, method, ...item[method] });
    }
  }
  const schemas = Object.entries(document_.components?.schemas ?? {});
  const jump = (id, text) => h("li", {}, h("a", { href: `#${id}` }, text));
  replace(main,
    h("div", { class: "title" }, h("h1", {}, `${document_.info.title} API`), h("span", { class: "muted" }, document_.info.version)),
    h("p", { class: "lead" }, document_.info.description),
    h("p", {}, "Each request shows the operator’s token: ", h("code", {}, "Authorization: Bearer TOKEN"), ". Answers have an ", h("code", {}, "ETag"), "; a change with ", h("code", {}, "If-Match"),
      " is refused with 412 when somebody else has changed the resource since, and ", h("code", {}, "If-None-Match: *"), " creates only."),
    h("nav", { class: "jump", "aria-label": "On this page" }, h("ul", {}, [...tags.keys()].map((tag) => jump(`tag-${tag}`, tag)), jump("schemas", "schemas"))),
    [...tags].map(([tag, operations]) => h("section", { "aria-labelledby": `tag-${tag}` }, h("h2", { id: `tag-${tag}` }, tag), operations.map(operation))),
    h("section", { "aria-labelledby": "schemas" }, h("h2", { id: "schemas" }, "schemas"), schemas.map(([name, schema]) =>
      h("article", { class: "card schema", "aria-labelledby": `schema-${name}` }, h("h3", { id: `schema-${name}` }, h("code", {}, name)), h("p", { class: "muted" }, schema.description), shape(schema)))));
  // The parts were not there yet when the browser went to the one that is in the address.
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

function operation({ path, method, summary, description, parameters = [], requestBody, responses }) {
  const row = (...cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell)));
  const body = requestBody && Object.entries(requestBody.content ?? {})[0];
  return h("article", { class: "card operation" },
    h("h3", {}, h("span", { class: `method ${method}` }, method.toUpperCase()), h("code", {}, path)),
    h("p", {}, summary || description),
    parameters.length > 0 && table("Parameters", ["Name", "In", "Type", "What it is"], parameters.map((one) =>
      row(h("code", {}, one.name), one.in, type(one.schema ?? {}), one.description ?? ""))),
    body && h("p", {}, h("b", {}, "Body "), h("code", {}, body[0]), " ", body[1].schema && type(body[1].schema), requestBody.description && ` ${requestBody.description}`),
    table("Answers", ["Status", "Body", "What it means"], Object.entries(responses ?? {}).map(([status, answer]) => {
      const content = Object.values(answer.content ?? {})[0];
      return row(h("code", {}, status), content?.schema ? type(content.schema) : "–", answer.description ?? "");
    })));
}

const table = (title, heads, rows) => h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
  h("table", {}, h("thead", {}, h("tr", {}, heads.map((one) => h("th", { scope: "col" }, one)))), h("tbody", {}, rows)));

/** A type in words, with links to the schemas. */
function type(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    return h("a", { href: `#schema-${name}` }, name);
  }
  const any = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (any) return h("span", {}, any.filter((one) => one.type !== "null").flatMap((one, index) => [index ? " or " : "", type(one)]));
  if (schema.enum) return h("code", {}, schema.enum.join(" | "));
  const types = [schema.type].flat().filter((one) => one && one !== "null");
  if (types[0] === "array") return h("span", {}, "array of ", type(schema.items ?? {}));
  if (types[0] === "object" && schema.additionalProperties) return h("span", {}, "map of ", type(schema.additionalProperties));
  if (types[0] === "object" && schema.properties) return h("span", {}, `{ ${Object.keys(schema.properties).join(", ")} }`);
  return h("span", {}, types.join(" or ") || "any", schema.format ? ` (${schema.format})` : "");
}

/** The properties of a schema, as a table. */
function shape(schema) {
  const parts = schema.allOf ?? schema.oneOf ?? [schema];
  return parts.map((part) => {
    if (!part.properties) return h("p", {}, type(part));
    const rows = Object.entries(part.properties).map(([name, property]) => h("tr", {},
      h("td", {}, h("code", {}, name), (part.required ?? []).includes(name) ? "" : h("small", { class: "muted" }, " optional")), h("td", {}, type(property)), h("td", {}, property.description ?? "")));
    return [part !== schema && part.description && h("p", {}, part.description), table("Properties", ["Property", "Type", "What it is"], rows)];
  });
}

document.title = "API · Scorebox";
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
onUnauthorized(() => {
  if (!token()) return;
  forgetToken();
  start("The server no longer takes this token. Log in again.");
});
start();
