// Which view is shown: the address after `#` says so.

import { forgetToken, onUnauthorized, token } from "./api.js";
import { h, replace, wrong } from "./dom.js";
import { endpoint } from "./endpoint.js";
import { head, login } from "./login.js";
import { watch } from "./metrics.js";
import { overview } from "./overview.js";

const main = document.getElementById("main");
const top = document.getElementById("top");
let view = new AbortController();
let watching = new AbortController();

async function show() {
  view.abort();
  view = new AbortController();
  const { signal } = view;
  const names = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  try {
    if (names.length < 2) await overview(main, signal);
    else await endpoint(main, signal, names);
  } catch (error) {
    if (signal.aborted || error.status === 401) return;
    document.title = "Scorebox";
    replace(main, h("div", { class: "card" }, h("h1", {}, "This cannot be shown"), wrong(error), h("p", {}, h("a", { href: "#/" }, "All endpoints"))));
  }
}

/** Shows the login, and what it is for after it. */
async function start(said) {
  head(top, "console", false);
  document.title = "Log in · Scorebox";
  if (!token()) await login(main, said);
  head(top, "console", true);
  watching = new AbortController();
  watch(watching.signal);
  await show();
}

onUnauthorized(() => {
  if (!token()) return;
  forgetToken();
  view.abort();
  watching.abort();
  start("The server no longer takes this token. Log in again.");
});
addEventListener("hashchange", () => token() && show());
// The address is that of the view, so that the link must not change it.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
start();
