// How the requests of an endpoint are shared out. It is saved over what was seen, and over nothing else.

import { put } from "./api.js";
import { shareBar } from "./charts.js";
import { h, replace, say, wrong } from "./dom.js";

const MOST_COPIES = 50;

/** A slider with a field for the same number. */
function slider(id, label, most, value, change) {
  const range = h("input", { type: "range", id, min: "0", max: String(most), step: "1", value: String(value), "aria-label": label });
  const number = h("input", { type: "number", min: "0", max: String(most), step: "1", value: String(value), "aria-label": `${label}, as a number`, inputmode: "numeric" });
  const set = (to) => {
    range.value = to;
    number.value = range.value;
    range.setAttribute("aria-valuetext", `${range.value} percent`);
  };
  set(value);
  range.addEventListener("input", () => (set(range.value), change()));
  number.addEventListener("change", () => (set(Math.round(Number(number.value)) || 0), change()));
  return { range, number, set, get: () => Number(range.value) };
}

export function traffic(panel, context) {
  const show = () => replace(panel, context.deployments.length
    ? form(context, show)
    : h("p", { class: "card empty" }, "There is no deployment that could get traffic. ", h("a", { href: `#/${context.tenant}/${context.name}/deploy` }, "Deploy one first.")));
  show();
  let names = String(context.deployments.map((status) => status.name));
  context.changed.add(() => {
    const now = String(context.deployments.map((status) => status.name));
    if (now !== names) show();
    names = now;
  });
}

function form(context, again) {
  const { endpoint } = context;
  // Over this it is saved: not over what somebody else has changed while the sliders were moved.
  const seen = context.etag;
  const names = context.deployments.map((status) => status.name);
  const [sum, bar, problem] = [h("output", { class: "sum" }), h("div"), h("div", { id: "traffic-problem" })];
  const save = h("button", { class: "primary", id: "save-traffic" }, "Save");
  const sliders = new Map();
  const shares = () => Object.fromEntries(names.map((name) => [name, sliders.get(name).get()]).filter(([, share]) => share > 0));
  const check = () => {
    const all = Object.values(shares()).reduce((a, b) => a + b, 0);
    const fits = all === 0 || all === 100;
    sum.value = fits ? (all === 0 ? "No traffic: every request is answered with 404." : "100 % in all.") : `${all} % in all: it has to be 100, or 0.`;
    sum.className = fits ? "sum" : "sum bad";
    save.disabled = !fits;
    replace(bar, shareBar(names, shares()));
  };
  for (const name of names) {
    sliders.set(name, slider(`share-${name}`, `Traffic of ${name}`, 100, endpoint.traffic[name] ?? 0, () => {
      // Of two, one gets what the other does not.
      if (names.length === 2) sliders.get(names.find((other) => other !== name)).set(100 - sliders.get(name).get());
      check();
    }));
  }
  const [mirrored, percent] = Object.entries(endpoint.mirror)[0] ?? ["", 0];
  const to = h("select", { id: "mirror-to", "aria-label": "Who gets copies of requests" }, h("option", { value: "" }, "Nobody"), names.map((name) => h("option", { value: name, selected: name === mirrored }, name)));
  const copies = slider("mirror-share", "Copies of requests", MOST_COPIES, percent, () => {});
  const enable = () => [copies.range, copies.number].forEach((input) => (input.disabled = !to.value));
  to.addEventListener("change", () => {
    if (to.value && copies.get() === 0) copies.set(10);
    enable();
  });
  enable();
  check();
  return h("form", {
    class: "card traffic",
    onsubmit: async (event) => {
      event.preventDefault();
      save.disabled = true;
      try {
        const mirror = to.value && copies.get() > 0 ? { [to.value]: copies.get() } : {};
        await put(`${context.path}/traffic`, { traffic: shares(), mirror }, { etag: seen });
        await context.reload();
        say("Traffic saved");
        again();
      } catch (error) {
        const reload = h("button", { type: "button", onclick: () => context.reload().then(again) }, "Show what it is now");
        replace(problem, wrong(error.status === 412 ? new Error("Somebody else has changed this endpoint since you opened this page. Nothing was saved.") : error), error.status === 412 && reload);
        check();
      }
    },
  },
  h("h2", {}, "Traffic"), bar,
  names.map((name) => {
    const { range, number } = sliders.get(name);
    return h("div", { class: `slider series-${context.series(name)}` }, h("label", { for: range.id }, h("i", { class: `swatch series-${context.series(name)}` }), name), range, h("span", { class: "unit" }, number, "%"));
  }),
  h("p", {}, sum),
  h("h2", {}, "Mirror"),
  h("p", { class: "muted" }, "One deployment without traffic can get copies of up to 50 % of the requests. Its answers are dropped."),
  h("div", { class: "slider" }, to, copies.range, h("span", { class: "unit" }, copies.number, "%")),
  problem, h("div", { class: "actions" }, save));
}
