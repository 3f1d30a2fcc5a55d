// The two keys of an endpoint.

import { address, put } from "./api.js";
import { button, copyButton, dialog, h, moment } from "./dom.js";

/** Shows keys, which nobody can see again. */
export function showKeys(title, keys) {
  const shown = Object.entries(keys).map(([name, key]) => {
    const text = h("code", { class: "key", tabindex: "0", "aria-label": `${name} key` }, key);
    return h("div", { class: "field" }, h("span", { class: "label" }, `${name} key`), h("div", { class: "row" }, text, copyButton(key, `${name.toLowerCase()} key`, () => text)));
  });
  const note = h("p", { class: "alert warn" }, "Copy what you need now: the server keeps only a hash of it, and it is not shown again.");
  return dialog(title, [note, shown], { confirm: "I have it", cancel: null });
}

export function keys(panel, context) {
  const { endpoint, tenant, name, reload } = context;
  const rotate = async (slot, title) => {
    const key = await dialog(`Rotate the ${slot} key?`,
      h("p", {}, `A new key takes its place at once. Whoever still uses the ${slot} key is refused from then on; the ${slot === "primary" ? "secondary" : "primary"} key goes on.`),
      { confirm: "Rotate", danger: true, act: async () => (await put(`${address(tenant, name)}/keys/${slot}`, {}, { etag: context.etag })).value.key });
    if (!key) return;
    await showKeys(`The new ${slot} key`, { [title]: key });
    await reload();
  };
  panel.replaceChildren(
    h("p", { class: "lead" }, "A request shows one of these, as ", h("code", {}, "Authorization: Bearer KEY"), " or ", h("code", {}, "api-key: KEY"),
      ". There are two, so that clients can go on with one while the other is replaced."),
    h("div", { class: "pair" }, [["primary", "Primary"], ["secondary", "Secondary"]].map(([slot, title]) =>
      h("section", { class: "card", "aria-labelledby": `key-${slot}` },
        h("h3", { id: `key-${slot}` }, `${title} key`),
        h("p", { class: "muted" }, "Made ", moment(endpoint.keys[slot])),
        button("Rotate", () => rotate(slot, title), { id: `rotate-${slot}`, "aria-label": `Rotate the ${slot} key` })))));
}
