// What the scorer of a deployment says, as it says it. It is the scorer's text, so it is never anything but text.

import { address, list } from "./api.js";
import { h, replace, wrong } from "./dom.js";

/** Lines that are shown. */
const KEPT = 1000;

export function logs(panel, context) {
  const { tenant, name, signal } = context;
  const names = context.deployments.map((status) => status.name);
  if (names.length === 0) return replace(panel, h("p", { class: "card empty" }, "There is no deployment yet, so nothing was said."));
  const of = names.includes(context.deployment) ? context.deployment : names[0];
  const pick = h("select", { id: "log-of", "aria-label": "Deployment", onchange: () => (location.hash = `#/${tenant}/${name}/logs/${pick.value}`) },
    names.map((other) => h("option", { value: other, selected: other === of }, other)));
  const follow = h("input", { type: "checkbox", id: "follow", checked: true });
  const lines = h("ol", { class: "log", tabindex: "0", role: "log", "aria-label": `Log of ${of}` });
  const state = h("div");
  replace(panel, h("div", { class: "title small" }, h("label", { for: "log-of" }, "Deployment"), pick,
    h("label", { class: "check" }, follow, "Keep the end in view"), h("span", { class: "muted" }, "The last 64 KiB since the server started.")), state, lines);
  return poll(address(tenant, name, of), lines, follow, state, signal);
}

async function poll(path, lines, follow, state, signal) {
  let after = 0;
  (async () => {
    while (!signal.aborted) {
      try {
        const said = await list(`${path}/logs?after=${after}&limit=${KEPT}&wait=${after ? 20 : 0}`, { signal });
        replace(state, !after && said.length === 0 && h("p", { class: "muted" }, "Nothing yet. New lines appear by themselves."));
        if (said.length === 0 && after === 0) await new Promise((resolve) => setTimeout(resolve, 1500));
        for (const line of said) after = line.number;
        lines.append(...said.map(row));
        while (lines.childElementCount > KEPT) lines.firstElementChild.remove();
        if (follow.checked && said.length) lines.scrollTop = lines.scrollHeight;
      } catch (error) {
        if (signal.aborted || error.status === 401) return;
        replace(state, wrong(error));
        if (error.status === 404) return;
        await new Promise((resolve) => setTimeout(resolve, 3000));
      }
    }
  })();
}

function row(line) {
  const time = new Date(line.time);
  return h("li", { class: `level-${line.level}` },
    h("time", { datetime: line.time, title: line.time }, time.toLocaleTimeString(undefined, { hour12: false })),
    h("b", {}, line.level),
    h("span", { class: "text" }, line.text, line.request_id && h("small", { title: "Request" }, line.request_id)));
}
