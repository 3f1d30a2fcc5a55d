// Elements of names, attributes and children. A text becomes a text: nothing in the console makes markup of one.

const SVG = "http://www.w3.org/2000/svg";

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    // Styles that are set by script are no inline styles to the content security policy.
    else if (name === "style") for (const [property, set] of Object.entries(value)) element.style.setProperty(property, set);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element of HTML. */
export const h = (name, attributes = {}, ...children) => build(document.createElement(name), attributes, children);

/** An element of SVG. */
export const s = (name, attributes = {}, ...children) => build(document.createElementNS(SVG, name), attributes, children);

/** Puts other children into an element. What has the focus or is open stays so, by its id. */
export function replace(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
  const open = [...element.querySelectorAll("details[id]")].filter((details) => details.open).map((details) => details.id);
  element.replaceChildren(...children.flat(Infinity).filter(Boolean));
  for (const id of open) element.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
  if (focused) element.querySelector(`#${CSS.escape(focused)}`)?.focus();
}

/** A field with its label; what explains it is read out with it. */
export function field(label, input, hint) {
  input.id ||= `field-${label.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  const explained = hint && h("p", { class: "hint", id: `${input.id}-hint` }, hint);
  if (explained) input.setAttribute("aria-describedby", explained.id);
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, explained);
}

/** Says something, to the eyes and to screen readers. */
export function say(text, kind = "good") {
  const said = document.getElementById("said");
  const toast = h("p", { class: `toast ${kind}` }, text);
  said.replaceChildren(toast);
  setTimeout(() => toast.remove(), 6000);
}

/** What went wrong, where it was asked for. */
export const wrong = (error) => h("p", { class: "alert bad", role: "alert" }, error.message ?? String(error));

/** A point in time, for people; the title has all of it. */
export function moment(text) {
  const time = new Date(text);
  const shown = time.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  return h("time", { datetime: text, title: time.toISOString() }, shown);
}

/** A button that cannot be pressed twice while what it does goes on; what fails is said. */
export function button(label, act, attributes = {}) {
  const element = h("button", { type: "button", ...attributes }, label);
  element.addEventListener("click", async () => {
    element.disabled = true;
    try {
      await act();
    } catch (error) {
      say(error.message, "bad");
    } finally {
      element.disabled = false;
    }
  });
  return element;
}

/** A button that copies a text. Where the browser gives no access to the clipboard, the text is selected. */
export function copyButton(text, label, source) {
  return button("Copy", async () => {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      say(`${label} copied`);
    } else {
      getSelection().selectAllChildren(source());
      say("Selected; copy it with the keyboard");
    }
  }, { class: "quiet small", "aria-label": `Copy ${label}` });
}

/** A window above the page. Resolves with what `form` is submitted for, or with nothing where it is dismissed. */
export function dialog(title, body, { confirm = "OK", danger = false, act = async () => true, cancel = "Cancel" } = {}) {
  return new Promise((resolve) => {
    let result;
    const problem = h("div");
    const submit = h("button", { type: "submit", class: danger ? "danger" : "primary" }, confirm);
    const form = h("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        submit.disabled = true;
        try {
          result = (await act()) ?? true;
          window.close();
        } catch (error) {
          problem.replaceChildren(wrong(error));
        } finally {
          submit.disabled = false;
        }
      },
    },
    h("h2", { id: "dialog-title" }, title), body, problem,
    h("div", { class: "actions" }, cancel && h("button", { type: "button", class: "quiet", onclick: () => window.close() }, cancel), submit));
    const window = h("dialog", { "aria-labelledby": "dialog-title" }, form);
    window.addEventListener("close", () => {
      window.remove();
      resolve(result);
    });
    document.body.append(window);
    window.showModal();
  });
}

/** Asks whether something is to be done that cannot be taken back. */
export const confirmed = (title, text, confirm, act) => dialog(title, h("p", {}, text), { confirm, act, danger: true });

/** Does something now and again, until the signal; not while nobody sees the page. */
export async function every(milliseconds, signal, act) {
  while (!signal.aborted) {
    const start = performance.now();
    if (!document.hidden) await act();
    // A server that is slow is asked less often.
    const pause = Math.max(milliseconds, 5 * (performance.now() - start));
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
