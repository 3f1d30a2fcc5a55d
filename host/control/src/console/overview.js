// All endpoints of all tenants.

import { address, list, put, remove } from "./api.js";
import { shareBar, spark } from "./charts.js";
import { button, confirmed, dialog, every, field, h, replace, say } from "./dom.js";
import { showKeys } from "./keys.js";
import { duration, history, latest, onSample, rate } from "./metrics.js";

const PERIOD = 5000;

export async function overview(main, signal) {
  document.title = "Endpoints · Scorebox";
  let shown;
  const body = h("div");
  const load = async () => {
    const tenants = await list("/tenants", { signal });
    const endpoints = await Promise.all(tenants.map((tenant) => list(`${address(tenant.name)}/endpoints`, { signal }).catch(() => [])));
    const found = tenants.map((tenant, index) => ({ tenant, endpoints: endpoints[index] }));
    const text = JSON.stringify(found);
    if (text === shown || signal.aborted) return;
    shown = text;
    updates.clear();
    replace(body, found.length ? found.map((one) => section(one, updates, load)) : nothing(load));
    for (const update of updates) update();
  };
  const updates = new Set();
  await load();
  replace(main,
    h("div", { class: "title" }, h("h1", {}, "Endpoints"),
      h("div", { class: "actions" }, button("New tenant", () => newTenant(load), { id: "new-tenant" }),
        button("New endpoint", () => newEndpoint(load), { id: "new-endpoint", class: "primary" }))),
    body);
  onSample(signal, () => updates.forEach((update) => update()));
  every(PERIOD, signal, () => load().catch(() => {}));
}

function nothing(load) {
  return h("div", { class: "card empty" }, h("h2", {}, "Nothing is served yet"),
    h("p", {}, "A tenant has endpoints; an endpoint has an address, two keys, and deployments that answer."),
    button("New endpoint", () => newEndpoint(load), { class: "primary" }));
}

function section({ tenant, endpoints }, updates, load) {
  const quotas = Object.entries(tenant.quotas ?? {}).map(([name, value]) => `${name.replaceAll("_", " ")} ${value.toLocaleString()}`);
  const drop = () => confirmed(`Delete tenant ${tenant.name}?`, "It has no endpoints. Its quotas go with it.", "Delete", async () => {
    await remove(address(tenant.name));
    await load();
  });
  return h("section", { "aria-labelledby": `tenant-${tenant.name}` },
    h("div", { class: "title small" },
      h("h2", { id: `tenant-${tenant.name}` }, tenant.name),
      h("p", { class: "muted grow" }, [tenant.description, ...quotas].filter(Boolean).join(" · ")),
      endpoints.length === 0 && button("Delete", drop, { class: "quiet small", "aria-label": `Delete tenant ${tenant.name}` })),
    endpoints.length === 0
      ? h("p", { class: "muted" }, "No endpoints.")
      : h("ul", { class: "tiles" }, endpoints.map((endpoint) => tile(endpoint, updates))));
}

function tile(endpoint, updates) {
  const path = `${endpoint.tenant}/${endpoint.name}/`;
  const takes = (deployment) => deployment.startsWith(path);
  const numbers = h("dl", { class: "numbers" });
  const line = h("div");
  updates.add(() => {
    const now = latest(takes);
    replace(numbers, [["Requests/s", rate(now?.requests)], ["p99", duration(now?.p99)], ["Errors/s", rate(now?.errors)]]
      .map(([name, value]) => h("div", { class: name === "Errors/s" && now?.errors > 0 ? "bad" : "" }, h("dt", {}, name), h("dd", {}, value))));
    replace(line, spark(history(takes).map((sample) => sample.requests)));
  });
  const names = Object.keys(endpoint.traffic).sort();
  return h("li", { class: "card tile" },
    h("h3", {}, h("a", { href: `#/${endpoint.tenant}/${endpoint.name}`, class: "cover" }, endpoint.name)),
    h("p", { class: "muted" }, endpoint.description || `/${endpoint.tenant}/${endpoint.name}/score`),
    line, numbers, shareBar(names, endpoint.traffic),
    h("p", { class: "muted small" }, names.map((name) => `${name} ${endpoint.traffic[name]} %`).join(" · ") || "No traffic yet"));
}

const name = (label, value = "") => h("input", { id: `new-${label}`, required: true, value, pattern: "[a-z0-9]([a-z0-9\\-]{0,61}[a-z0-9])?", autocapitalize: "off", spellcheck: "false", autocomplete: "off" });
const RULE = "1 to 63 lower-case letters, digits and hyphens.";

async function newTenant(load) {
  const [input, description] = [name("tenant-name"), h("input", { autocomplete: "off", id: "new-tenant-description" })];
  const done = await dialog("New tenant", [field("Name", input, RULE), field("Description", description)], {
    confirm: "Create",
    act: () => put(address(input.value), { description: description.value }, { headers: { "if-none-match": "*" } }),
  });
  if (!done) return;
  say(`Tenant ${input.value} is there`);
  await load();
}

async function newEndpoint(load) {
  const tenants = await list("/tenants");
  const options = h("datalist", { id: "tenants" }, tenants.map((tenant) => h("option", { value: tenant.name })));
  const tenant = name("endpoint-tenant", tenants.length === 1 ? tenants[0].name : "");
  tenant.setAttribute("list", "tenants");
  const [input, description] = [name("endpoint-name"), h("input", { autocomplete: "off", id: "new-endpoint-description" })];
  const created = await dialog("New endpoint",
    [field("Tenant", tenant, "It is created where there is none of the name."), options, field("Name", input, RULE), field("Description", description)], {
      confirm: "Create",
      act: async () => {
        if (!tenants.some((other) => other.name === tenant.value)) {
          await put(address(tenant.value), {}, { headers: { "if-none-match": "*" } }).catch((error) => {
            // Somebody else has created it meanwhile: it stays as it is.
            if (error.status !== 412) throw error;
          });
        }
        return put(address(tenant.value, input.value), { description: description.value }, { headers: { "if-none-match": "*" } });
      },
    });
  if (!created) return;
  await showKeys(`Endpoint ${input.value} is there`, { Primary: created.value.primary_key, Secondary: created.value.secondary_key });
  location.hash = `#/${tenant.value}/${input.value}/deploy`;
}
