// Who uses the page shows the operator's token.

import { accepts, forgetToken, keepToken } from "./api.js";
import { field, h, replace, wrong } from "./dom.js";

const ALLOWED = /^[\x21-\x7e]+$/;

/** Asks for the token. Resolves when the server takes one. */
export function login(main, said) {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", id: "token", autocomplete: "off", autocapitalize: "off", spellcheck: "false", required: true });
    const problem = h("div", { id: "login-problem" }, said && h("p", { class: "alert warn", role: "alert" }, said));
    const submit = h("button", { class: "primary wide" }, "Log in");
    const form = h("form", {
      class: "card login",
      onsubmit: async (event) => {
        event.preventDefault();
        submit.disabled = true;
        const text = input.value.trim();
        try {
          if (ALLOWED.test(text) && (await accepts(text))) {
            keepToken(text);
            resolve();
            return;
          }
          problem.replaceChildren(wrong("This is not the token of this server’s operator."));
          input.select();
          input.focus();
        } catch {
          problem.replaceChildren(wrong("The server does not answer. Is it running?"));
        } finally {
          submit.disabled = false;
        }
      },
    },
    h("img", { src: "icon.svg", alt: "", width: "44", height: "44" }),
    h("h1", {}, "Log in to Scorebox"),
    field("Operator’s token", input, "What is in the file of --admin-token-file. It is kept for this tab, until you log out or close it."),
    problem, submit);
    replace(main, form);
    input.focus();
  });
}

/** The head of each page. */
export function head(top, current, isIn) {
  const link = (href, text, name) => h("a", { href, "aria-current": current === name ? "page" : undefined }, text);
  const out = () => {
    forgetToken();
    location.assign("/console/");
    location.reload();
  };
  replace(top,
    h("a", { class: "brand", href: "/console/#/", "aria-label": "Scorebox" }, h("img", { src: "icon.svg", alt: "", width: "26", height: "26" }), h("span", {}, "Scorebox")),
    isIn && h("nav", { "aria-label": "Console" }, link("/console/#/", "Endpoints", "console"), link("/console/docs.html", "API", "docs")),
    isIn && h("button", { type: "button", class: "quiet small", onclick: out }, "Log out"));
}
