// The deployments of an endpoint: what answers, what failed and why, and what can answer again.

import { address, put, read, remove } from "./api.js";
import { button, confirmed, h, moment, replace, say } from "./dom.js";
import { duration, latest, onSample, rate } from "./metrics.js";

/** What is done at each stage, for people. */
const STAGES = {
  loading: "loading the bundle", "compiling-runtime": "compiling the runtime", compiling: "compiling",
  initialising: "running init()", sealing: "sealing",
};

/** What is done to make the last revision ready. */
export const stage = (status) => STAGES[status.stage] ?? status.stage ?? "waiting for its turn";

/** Why a revision failed. */
export function failure(status, revision, role) {
  const reason = h("pre", { class: "reason", tabindex: "0", "aria-label": `Why revision ${revision.number} failed` }, revision.state.reason);
  const goes = status.current === null ? "Nothing answers in its place." : `Revision ${status.current} goes on answering.`;
  return h("div", { class: "alert bad", role }, h("p", {}, `Revision ${revision.number} of ${status.name} failed. ${goes}`), reason);
}

export function deployments(panel, context) {
  const numbers = new Set();
  const show = () => {
    numbers.clear();
    const { tenant, name } = context;
    replace(panel, context.deployments.length
      ? context.deployments.map((status) => card(status, context, numbers))
      : h("div", { class: "card empty" }, h("h2", {}, "No deployments yet"), h("p", {}, "A deployment is a scorer that answers: a score.py, a component, or a bundle."),
        h("p", {}, h("a", { class: "button primary", href: `#/${tenant}/${name}/deploy` }, "Deploy a scorer"))));
    numbers.forEach((update) => update());
  };
  show();
  context.changed.add(show);
  onSample(context.signal, () => numbers.forEach((update) => update()));
}

/** The state of a deployment in a word, and how it looks. */
export function state(status) {
  const last = status.revisions.at(-1);
  if (!last) return ["empty", "muted"];
  if (last.state.state === "pending") return [stage(status), "busy"];
  if (last.state.state === "failed") return ["failed", "bad"];
  return status.answering === null ? ["not loaded", "bad"] : ["ready", "good"];
}

function card(status, context, numbers) {
  const { tenant, name, endpoint } = context;
  const of = status.name;
  const path = `${tenant}/${name}/${of}`;
  const [word, kind] = state(status);
  const share = endpoint.traffic[of] ?? 0;
  const copies = endpoint.mirror[of];
  const live = h("dl", { class: "numbers" });
  numbers.add(() => {
    const now = latest((other) => other === path);
    replace(live, [["Requests/s", rate(now?.requests)], ["p50", duration(now?.p50)], ["p99", duration(now?.p99)], ["Errors/s", rate(now?.errors)]]
      .map(([label, value]) => h("div", { class: label === "Errors/s" && now?.errors > 0 ? "bad" : "" }, h("dt", {}, label), h("dd", {}, value))));
  });
  const failed = status.revisions.at(-1)?.state.state === "failed" && status.revisions.at(-1);
  const drop = () => confirmed(`Delete deployment ${of}?`, "All its revisions go with it.", "Delete deployment", async () => {
    await remove(address(tenant, name, of));
    await context.reload();
  });
  return h("section", { class: "card deployment", "aria-labelledby": `deployment-${of}`, "data-deployment": of },
    h("div", { class: "title small" },
      h("i", { class: `swatch series-${context.series(of)}` }),
      h("h2", { id: `deployment-${of}` }, of),
      h("span", { class: `badge ${kind}`, "data-state": word }, word),
      h("span", { class: "muted" }, status.current === null ? "does not answer yet" : `revision ${status.current} answers`),
      h("span", { class: "share grow" }, copies ? `gets copies of ${copies} %` : `${share} % of the traffic`),
      h("div", { class: "actions" },
        h("a", { class: "button small", href: `#/${tenant}/${name}/test/${of}`, "aria-label": `Test ${of}` }, "Test"),
        h("a", { class: "button small", href: `#/${tenant}/${name}/logs/${of}`, "aria-label": `Logs of ${of}` }, "Logs"),
        h("a", { class: "button small", href: `#/${tenant}/${name}/deploy/${of}`, "aria-label": `New revision of ${of}` }, "New revision"),
        share === 0 && !copies && button("Delete", drop, { class: "quiet small", "aria-label": `Delete deployment ${of}` }))),
    live,
    failed && failure(status, failed),
    h("details", { id: `revisions-${of}`, open: status.revisions.length > 1 },
      h("summary", {}, `${status.revisions.length} ${status.revisions.length === 1 ? "revision" : "revisions"}`),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Revisions of ${of}` }, h("table", {},
        h("thead", {}, h("tr", {}, ["Revision", "State", "Version", "Created", "Bundle", ""].map((title) => h("th", { scope: "col" }, title || h("span", { class: "hidden" }, "Actions"))))),
        h("tbody", {}, [...status.revisions].reverse().map((revision) => row(revision, status, context)))))));
}

function row(revision, status, context) {
  const is = revision.number === status.current;
  const shown = is ? ["answers", "good"] : { pending: ["pending", "busy"], ready: ["ready", "muted"], failed: ["failed", "bad"] }[revision.state.state];
  const back = async () => {
    const path = address(context.tenant, context.name, status.name);
    const seen = await read(path);
    await put(`${path}/current`, { revision: revision.number }, { etag: seen.etag });
    say(`Revision ${revision.number} of ${status.name} answers`);
    await context.reload();
  };
  const label = revision.number < status.current ? "Roll back" : "Answer with this";
  return h("tr", {},
    h("td", {}, String(revision.number)), h("td", {}, h("span", { class: `badge ${shown[1]}` }, shown[0])),
    h("td", {}, revision.spec.version ?? "–"), h("td", {}, moment(revision.created)),
    h("td", {}, h("code", { title: revision.spec.bundle }, revision.spec.bundle.slice(0, 12))),
    h("td", {}, !is && revision.state.state === "ready" &&
      button(label, back, { class: "small", id: `rollback-${status.name}-${revision.number}`, "aria-label": `${label}: revision ${revision.number} of ${status.name}` })));
}
