// The API of the server. The token is kept for this tab only, and sent as a header: there is no cookie that another site
// could have the browser send.

const KEY = "scorebox-token";
const BASE = "/admin/v1";

/** What the server refuses, in its words. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const token = () => sessionStorage.getItem(KEY);
export const keepToken = (text) => sessionStorage.setItem(KEY, text);
export const forgetToken = () => sessionStorage.removeItem(KEY);

let unauthorized = () => {};
/** What is to be done when the token is no longer that of the server. */
export const onUnauthorized = (act) => (unauthorized = act);

/** Where a tenant, an endpoint or a deployment is. */
export function address(...names) {
  const kinds = ["tenants", "endpoints", "deployments"];
  return names.map((name, index) => `/${kinds[index]}/${encodeURIComponent(name)}`).join("");
}

export const url = (path) => BASE + path;
export const authorization = () => ({ authorization: `Bearer ${token()}` });

async function send(method, path, { body, headers = {}, etag, signal } = {}) {
  const all = { ...authorization(), ...headers };
  if (etag) all["if-match"] = etag;
  let response;
  try {
    response = await fetch(path, { method, body, headers: all, signal, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer. Is it running?");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401) unauthorized();
  throw new Refused(response.status, problem.detail ?? `The server answered ${response.status}.`);
}

/** A resource, and its entity tag. */
export async function read(path, options) {
  const response = await send("GET", BASE + path, options);
  return { value: await response.json(), etag: response.headers.get("etag") };
}

/** The resources of a list. */
export const list = async (path, options) => (await read(path, options)).value.items;

/** Puts a resource. With an entity tag only over what has been seen. */
export async function put(path, value, options = {}) {
  const headers = { "content-type": "application/json", ...options.headers };
  const response = await send("PUT", BASE + path, { ...options, headers, body: JSON.stringify(value) });
  return { value: await response.json(), etag: response.headers.get("etag"), status: response.status };
}

export const remove = (path) => send("DELETE", BASE + path);

/** Posts a body as it is. */
export async function post(path, body, headers) {
  return (await send("POST", BASE + path, { body, headers })).json();
}

/** All that the server measures. */
export const metrics = async (signal) => (await send("GET", "/metrics", { signal })).text();

/** Whether the server takes a token. */
export async function accepts(text) {
  const response = await fetch(url("/tenants"), { headers: { authorization: `Bearer ${text}` }, cache: "no-store", credentials: "omit" });
  return response.ok;
}
