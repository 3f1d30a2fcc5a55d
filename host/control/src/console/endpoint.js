// One endpoint: what is the same on all of its pages, and which page it is.

import { address, list, read, remove } from "./api.js";
import { chart } from "./charts.js";
import { button, confirmed, copyButton, every, h, replace, wrong } from "./dom.js";
import { deploy } from "./deploy.js";
import { deployments } from "./deployments.js";
import { keys } from "./keys.js";
import { logs } from "./logs.js";
import { duration, history, onSample, rate } from "./metrics.js";
import { traffic } from "./traffic.js";
import { trial } from "./trial.js";

const PERIOD = 3000;
const PAGES = [
  ["deployments", "Deployments", deployments], ["deploy", "Deploy", deploy], ["traffic", "Traffic", traffic],
  ["test", "Test", trial], ["logs", "Logs", logs], ["keys", "Keys", keys],
];

/** What a page knows: the endpoint as it was read last, and its deployments. */
export async function endpoint(main, signal, [tenant, name, page = "deployments", deployment]) {
  document.title = `${name} · ${tenant} · Scorebox`;
  const found = PAGES.find(([key]) => key === page) ?? PAGES[0];
  const path = address(tenant, name);
  const panel = h("div", { class: "panel" });
  const context = { tenant, name, deployment, signal, path, changed: new Set(), takes: (other) => other.startsWith(`${tenant}/${name}/`) };
  context.series = (of) => context.deployments.findIndex((other) => other.name === of) % 6;
  context.reload = async () => {
    const [seen, all] = await Promise.all([read(path, { signal }), list(`${path}/deployments`, { signal })]);
    const text = JSON.stringify([seen.value, all]);
    Object.assign(context, { endpoint: seen.value, etag: seen.etag, deployments: all });
    if (text !== context.text && context.text !== undefined) context.changed.forEach((act) => act());
    context.text = text;
  };
  await context.reload();
  if (signal.aborted) return;

  const address_ = h("code", { tabindex: "0", "aria-label": "Address" }, `/${tenant}/${name}/score`);
  const drop = () => confirmed(`Delete endpoint ${name}?`, `Its ${context.deployments.length} deployments and both keys go with it, at once. Clients are refused from then on.`, "Delete endpoint", async () => {
    await remove(path);
    location.hash = "#/";
  });
  const { charts, update } = chartsOf(context);
  replace(main,
    h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: "#/" }, "Endpoints"), h("span", { "aria-hidden": "true" }, "/"), h("span", {}, tenant)),
    h("div", { class: "title" }, h("h1", {}, name),
      h("div", { class: "row grow address" }, address_, copyButton(`/${tenant}/${name}/score`, "address", () => address_), context.endpoint.hosts.map((host) => h("code", {}, host))),
      button("Delete", drop, { class: "quiet", "aria-label": `Delete endpoint ${name}` })),
    context.endpoint.description && h("p", { class: "lead" }, context.endpoint.description),
    h("nav", { class: "tabs", "aria-label": "Endpoint" }, PAGES.map(([key, title]) =>
      h("a", { href: `#/${tenant}/${name}/${key}`, "aria-current": key === found[0] ? "page" : undefined }, title))),
    found[0] === "deployments" && charts,
    panel,
    found[0] === "traffic" && charts);
  onSample(signal, update);
  const open = document.querySelector(".tabs [aria-current]");
  open.parentElement.scrollLeft = open.offsetLeft - 40;
  await found[2](panel, context);
  const lost = h("div");
  panel.before(lost);
  every(PERIOD, signal, async () => {
    try {
      await context.reload();
      replace(lost);
    } catch (error) {
      if (!signal.aborted) replace(lost, wrong(error));
    }
  });
}

function chartsOf(context) {
  const requests = chart("Requests per second", rate, 1);
  const latency = chart("Latency, p50 (dotted) and p99", duration, 0.002);
  const errors = chart("Errors per second", rate, 1);
  const update = () => {
    const lines = context.deployments.map(({ name }) => {
      const path = `${context.tenant}/${context.name}/${name}`;
      return { name, kind: `series-${context.series(name)}`, points: history((other) => other === path) };
    });
    const of = (value) => lines.map((line) => ({ ...line, points: line.points.map((point) => ({ time: point.time, value: point[value] })) }));
    requests.update(of("requests"));
    const medians = of("p50").map((line) => ({ ...line, kind: `${line.kind} dashed`, shown: "" }));
    latency.update([...medians, ...of("p99").map((line, index) => {
      const [p50, p99] = [medians[index], line].map(({ points }) => points.at(-1)?.value ?? null);
      return { ...line, shown: p99 === null ? "–" : `${duration(p50)} / ${duration(p99)}` };
    })]);
    errors.update(of("errors"));
  };
  return { charts: h("div", { class: "charts" }, requests.card, latency.card, errors.card), update };
}
