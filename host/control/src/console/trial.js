// Trying an endpoint out: a form by the schema of its scorer, and what the endpoint answers.

import { post, read } from "./api.js";
import { copyButton, h, replace, wrong } from "./dom.js";

export async function trial(panel, context) {
  const { tenant, name } = context;
  const ready = context.deployments.filter((status) => status.answering !== null).map((status) => status.name);
  if (ready.length === 0) {
    return replace(panel, h("p", { class: "card empty" }, "No deployment answers yet. ", h("a", { href: `#/${tenant}/${name}/deploy` }, "Deploy a scorer first.")));
  }
  const has = Object.values(context.endpoint.traffic).some((share) => share > 0);
  let of = ready.includes(context.deployment) ? context.deployment : has ? "" : ready[0];
  const pick = h("select", { id: "test-of" },
    h("option", { value: "", selected: of === "", disabled: !has }, has ? "As the traffic says" : "As the traffic says (there is none)"),
    ready.map((other) => h("option", { value: other, selected: other === of }, other)));
  const [fields, result] = [h("div", { id: "test-fields" }), h("section", { class: "card result", id: "test-result", "aria-label": "Answer", "aria-live": "polite" }, h("p", { class: "muted" }, "The answer appears here."))];
  const send = h("button", { class: "primary", id: "test-send" }, "Send");
  let input;
  const load = async () => {
    of = pick.value;
    const query = of ? `?deployment=${of}` : "";
    const document = await read(`${context.path}/swagger.json${query}`, { signal: context.signal }).then((seen) => seen.value, () => null);
    input = inputOf(fields, document);
  };
  pick.addEventListener("change", load);
  replace(panel, h("div", { class: "test" },
    h("form", {
      class: "card",
      onsubmit: async (event) => {
        event.preventDefault();
        send.disabled = true;
        try {
          const { body, type } = input.get();
          await ask(context, of, body, type, result);
        } catch (error) {
          replace(result, wrong(error));
        } finally {
          send.disabled = false;
        }
      },
    },
    h("h2", {}, "Request"),
    h("div", { class: "field" }, h("label", { for: "test-of" }, "Deployment"), pick),
    fields,
    h("div", { class: "actions" }, send)), result));
  await load();
}

/** An id for a request. The browser's own is not there without TLS. */
function newId() {
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

async function ask(context, of, body, type, result) {
  const start = performance.now();
  const answer = await post(`${context.path}/test${of ? `?deployment=${of}` : ""}`, body, { "content-type": type, "x-ms-client-request-id": newId() });
  const took = performance.now() - start;
  const header = (name) => answer.headers.find((other) => other.name === name)?.value;
  const milliseconds = (value) => (value === undefined ? undefined : `${Number(value).toFixed(value < 10 ? 2 : 1)} ms`);
  const facts = [
    ["Answered by", header("azureml-model-deployment")],
    ["run()", milliseconds(header("x-ms-run-fn-exec-ms"))],
    ["In the server", milliseconds(answer.took_ms)],
    ["Round trip", milliseconds(took)],
    ["Size", `${answer.size.toLocaleString()} bytes${answer.truncated ? ", and more that is not shown" : ""}`],
  ];
  const ids = [["x-ms-request-id", header("x-ms-request-id") ?? header("x-request-id")], ["x-ms-client-request-id", header("x-ms-client-request-id")]];
  const kind = answer.status < 300 ? "good" : answer.status < 500 ? "warn" : "bad";
  const list = (rows) => rows.filter(([, value]) => value !== undefined).map(([title, value]) => h("div", {}, h("dt", {}, title), h("dd", {}, value)));
  const id = ([title, value]) => {
    const code = h("code", {}, value);
    return [title, [code, copyButton(value, title, () => code)]];
  };
  const text = answer.body === null ? "(no text)" : pretty(answer.body);
  replace(result,
    h("div", { class: "title small" }, h("h2", {}, "Answer"), h("span", { class: `badge ${kind}`, id: "test-status" }, String(answer.status))),
    h("dl", { class: "numbers" }, list(facts)),
    h("pre", { class: "body", tabindex: "0", id: "test-body", "aria-label": "Body of the answer" }, text),
    h("dl", { class: "ids" }, list(ids.filter(([, value]) => value !== undefined).map(id))),
    h("details", { id: "test-headers" }, h("summary", {}, `${answer.headers.length} headers`),
      h("pre", { tabindex: "0", "aria-label": "Headers of the answer" }, answer.headers.map(({ name, value }) => `${name}: ${value}`).join("\n"))));
}

// --- the request ---

/** Fields for the input that a document describes, or an editor where it describes none. `get` gives the body. */
function inputOf(fields, document) {
  const { schema, resolve } = schemaOf(document);
  const properties = schema?.type === "object" && schema.properties ? Object.entries(schema.properties) : [];
  const sample = schema?.example ?? (properties.length ? undefined : sampleOf(schema, resolve));
  const values = properties.map(([name, property]) => [name, resolve(property), sample?.[name] ?? sampleOf(resolve(property), resolve)]);
  const inputs = values.map(([name, property, value]) => inputFor(name, property, value));
  const whole = sample ?? Object.fromEntries(values.map(([name, , value]) => [name, value]));
  const editor = h("textarea", { id: "test-json", rows: "10", spellcheck: "false", value: schema ? pretty(JSON.stringify(whole)) : "{}" });
  const type = h("input", { id: "test-type", value: "application/json", autocomplete: "off", spellcheck: "false" });
  const parts = { form: h("div", {}, inputs.map((input) => input.element)), json: h("div", {}, labelled("Body", editor), labelled("Content type", type)) };
  let mode = inputs.length > 0 ? "form" : "json";
  const show = () => {
    parts.form.hidden = mode !== "form";
    parts.json.hidden = mode !== "json";
  };
  const body = () => `{${inputs.map((input) => input.get()).filter(Boolean).join(", ")}}`;
  const choose = (value, title) => h("label", { class: "choice" }, h("input", {
    type: "radio", name: "test-mode", value, id: `test-mode-${value}`, checked: mode === value,
    onchange: () => {
      // What has been typed into the form is not to be typed again.
      if (value === "json") try { editor.value = pretty(body()); } catch { /* What is wrong is said when it is sent. */ }
      mode = value;
      show();
    },
  }), title);
  replace(fields,
    inputs.length > 0 && h("fieldset", { class: "choices" }, h("legend", { class: "hidden" }, "How to write the request"), choose("form", "Form"), choose("json", "JSON")),
    !schema && h("p", { class: "hint" }, "The scorer does not say what it takes, so write it yourself."),
    parts.form, parts.json);
  show();
  return {
    get() {
      if (mode === "form") return { body: body(), type: "application/json" };
      if (type.value.includes("json")) check(editor, editor.value);
      return { body: editor.value, type: type.value };
    },
  };
}

const labelled = (title, input, hint) => h("div", { class: "field" }, h("label", { for: input.id }, title, hint && h("small", {}, hint)), input);

/** What a document says of the body of a request, and how its references are followed. */
function schemaOf(document) {
  const resolve = (schema, depth = 0) => {
    if (!schema?.$ref || depth > 20) return schema ?? {};
    const found = schema.$ref.replace(/^#\//, "").split("/").reduce((value, key) => value?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], document);
    return resolve(found, depth + 1);
  };
  const operation = document?.paths?.["/score"]?.post ?? Object.entries(document?.paths ?? {}).find(([path]) => path.endsWith("/score"))?.[1]?.post;
  const given = operation?.requestBody?.content?.["application/json"]?.schema ?? operation?.parameters?.find((parameter) => parameter.in === "body")?.schema;
  const schema = given && resolve(given);
  return { schema: schema && Object.keys(schema).length ? schema : undefined, resolve };
}

/** A value that fits a schema. */
function sampleOf(schema, resolve, depth = 0) {
  const of = resolve(schema);
  if (of.example !== undefined) return of.example;
  if (of.default !== undefined) return of.default;
  if (of.enum) return of.enum[0];
  if (depth > 8) return null;
  if (of.type === "object") return Object.fromEntries(Object.entries(of.properties ?? {}).map(([name, property]) => [name, sampleOf(property, resolve, depth + 1)]));
  if (of.type === "array") return of.items ? [sampleOf(of.items, resolve, depth + 1)] : [];
  return { integer: 0, number: 0, boolean: false, string: "" }[of.type] ?? null;
}

/** What a type is, in words. */
function typeOf(schema) {
  const format = schema.format && !["double", "int64", "int32", "float"].includes(schema.format) ? `, ${schema.format}` : "";
  if (schema.type === "array") return `array of ${typeOf(schema.items ?? {})}${format}`;
  return (schema.type ?? "JSON") + format;
}

/** An input for a property: one of its type, or a small editor. `get` gives `"name": value`, or nothing where it is left out. */
function inputFor(name, schema, value) {
  const id = `test-field-${name.replace(/[^\w-]/g, "_")}`;
  const named = (json) => `${JSON.stringify(name)}: ${json}`;
  const labelOf = (input) => labelled(name, input, typeOf(schema));
  const text = value === undefined || value === null ? "" : String(value);
  if (schema.enum) {
    const input = h("select", { id }, schema.enum.map((one) => h("option", { value: JSON.stringify(one), selected: one === value }, String(one))));
    return { element: labelOf(input), get: () => named(input.value) };
  }
  if (schema.type === "boolean") {
    const input = h("select", { id }, ["true", "false"].map((one) => h("option", { value: one, selected: one === text }, one)));
    return { element: labelOf(input), get: () => named(input.value) };
  }
  if (schema.type === "integer" || schema.type === "number") {
    const input = h("input", { id, type: "number", step: schema.type === "integer" ? "1" : "any", value: text });
    // As it was typed: a number of JavaScript's would round a large one.
    return { element: labelOf(input), get: () => (input.value === "" ? "" : named(input.value)) };
  }
  if (schema.type === "string") {
    const input = h(text.length > 60 ? "textarea" : "input", { id, value: text, autocomplete: "off" });
    return { element: labelOf(input), get: () => named(JSON.stringify(input.value)) };
  }
  const shown = value === undefined ? "" : pretty(JSON.stringify(value));
  const input = h("textarea", { id, rows: String(Math.min(12, Math.max(3, shown.split("\n").length + 1))), spellcheck: "false", class: "code", value: shown });
  return {
    element: labelOf(input),
    get: () => (input.value.trim() === "" ? "" : named(check(input, input.value))),
  };
}

/** Says where a text is no JSON, else gives it as it is. */
function check(input, text) {
  try {
    JSON.parse(text);
    input.removeAttribute("aria-invalid");
    return text;
  } catch (error) {
    input.setAttribute("aria-invalid", "true");
    input.focus();
    throw new Error(`This is not JSON: ${error.message}`);
  }
}

/** JSON with line breaks, its values as they are; what is no JSON stays. What is short stays on a line. */
export function pretty(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[[\]{}:,]|[^\s[\]{}:,"]+/g) ?? [];
  let at = 0;
  const value = (indent) => {
    const token = tokens[at++];
    if (token !== "[" && token !== "{") return token;
    const close = token === "[" ? "]" : "}";
    const items = [];
    while (tokens[at] !== close) {
      if (tokens[at] === ",") at += 1;
      let item = value(`${indent}  `);
      if (tokens[at] === ":") {
        at += 1;
        item += `: ${value(`${indent}  `)}`;
      }
      items.push(item);
    }
    at += 1;
    const line = `${token}${items.join(", ")}${close}`;
    if (line.length + indent.length <= 72 && !line.includes("\n")) return line;
    return `${token}\n${items.map((item) => `${indent}  ${item}`).join(",\n")}\n${indent}${close}`;
  };
  return value("");
}
