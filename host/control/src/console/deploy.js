// From files to a deployment that answers.

import { address, authorization, put, read, url } from "./api.js";
import { digest, pack } from "./bundle.js";
import { failure, stage } from "./deployments.js";
import { field, h, replace, say, wrong } from "./dom.js";

const MIB = 1024 * 1024;

export function deploy(panel, context) {
  const { tenant, name } = context;
  const names = context.deployments.map((status) => status.name);
  const first = ["blue", "green"].find((free) => !names.includes(free)) ?? "";
  const to = h("input", { id: "deploy-name", required: true, list: "deployments", value: context.deployment ?? first, pattern: "[a-z0-9]([a-z0-9\\-]{0,61}[a-z0-9])?", autocapitalize: "off", autocomplete: "off", spellcheck: "false" });
  const files = h("input", { id: "deploy-files", type: "file", multiple: true, required: true });
  const model = h("input", { id: "deploy-model", type: "file", multiple: true });
  const version = h("input", { id: "deploy-version", autocomplete: "off" });
  const environment = h("textarea", { id: "deploy-environment", rows: "3", spellcheck: "false", placeholder: "NAME=value" });
  const memory = h("input", { id: "deploy-memory", type: "number", min: "1", step: "1", inputmode: "numeric" });
  const timeout = h("input", { id: "deploy-timeout", type: "number", min: "1", step: "1", inputmode: "numeric" });
  const all = h("input", { type: "checkbox", id: "deploy-all-traffic", checked: Object.keys(context.endpoint.traffic).length === 0 });
  const [progress, problem] = [h("div", { id: "deploy-progress" }), h("div", { id: "deploy-problem" })];
  const submit = h("button", { class: "primary", id: "deploy-submit" }, "Deploy");

  const spec = (bundle) => ({
    bundle,
    ...(version.value && { version: version.value }),
    environment: variables(environment.value),
    limits: { ...(memory.value && { memory: memory.value * MIB }), ...(timeout.value && { timeout_ms: timeout.value * 1000 }) },
  });
  const run = async () => {
    // Over this the traffic is given: not over what somebody else has changed since. What is deployed does not change it.
    const seen = context.etag;
    const steps = stepsOf(progress);
    variables(environment.value);
    steps.at("Packing");
    const bundle = await pack([...files.files], [...model.files]);
    steps.at("Reading", 0);
    const hash = await digest(bundle, (done) => steps.at("Reading", done));
    steps.at("Uploading", 0);
    await upload(bundle, hash, (done) => steps.at("Uploading", done));
    steps.at("Deploying");
    const path = address(tenant, name, to.value);
    let { value: status } = await put(path, spec(hash));
    const { number, created } = status.revisions.at(-1);
    // Numbers begin anew where somebody deletes the deployment and deploys another of its name.
    const revision = () => status.revisions.find((other) => other.number === number && other.created === created);
    while (revision()?.state.state === "pending") {
      steps.at(`Deploying: ${stage(status)}`);
      status = (await read(`${path}?wait=1`, { signal: context.signal })).value;
    }
    await context.reload();
    if (!revision()) throw new Error(`Revision ${number} of ${to.value} is not there any more. Somebody else has changed the deployment meanwhile.`);
    if (revision().state.state === "failed") {
      replace(problem, failure(status, revision(), "alert"));
      return;
    }
    if (all.checked) {
      try {
        await put(`${context.path}/traffic`, { traffic: { [to.value]: 100 } }, { etag: seen });
      } catch (error) {
        if (error.status !== 412) throw error;
        const left = new Error(`Revision ${number} of ${to.value} is ready. Somebody else has changed this endpoint meanwhile, so its traffic was left as it is.`);
        replace(problem, wrong(left), h("p", {}, h("a", { class: "button", href: `#/${tenant}/${name}/traffic` }, "Show what it is now")));
        return;
      }
    }
    say(`Revision ${number} of ${to.value} answers`);
    location.hash = `#/${tenant}/${name}/deployments`;
  };
  replace(panel, h("form", {
    class: "card deploy",
    onsubmit: async (event) => {
      event.preventDefault();
      submit.disabled = true;
      replace(problem);
      try {
        await run();
      } catch (error) {
        if (!context.signal.aborted) replace(problem, wrong(error));
      } finally {
        submit.disabled = false;
        replace(progress);
      }
    },
  },
  h("h2", {}, "Deploy a scorer"),
  h("datalist", { id: "deployments" }, names.map((other) => h("option", { value: other }))),
  field("Deployment", to, "A name that is there gets a new revision; what answers goes on until that is ready."),
  h("div", { class: "drop" }, field("Scorer", files, "A score.py and the files beside it, a component (.wasm), or a bundle of scorebox build (.scorebox).")),
  field("Model’s files (optional)", model, "They are in the folder that AZUREML_MODEL_DIR names."),
  h("details", { id: "deploy-more" }, h("summary", {}, "Version, environment, limits"),
    field("Version", version, "In your words; the scorer is told."),
    field("Environment variables", environment, "One a line. A scorer sees these, and nothing of the server’s."),
    h("div", { class: "pair" }, field("Memory, in MiB", memory, "Left out: the server’s limit."), field("Time for a request, in seconds", timeout, "Left out: the server’s limit."))),
  h("label", { class: "check" }, all, "Give it all traffic when it is ready"),
  problem, progress, h("div", { class: "actions" }, submit)));
}

/** Environment variables, one a line. */
function variables(text) {
  const found = {};
  for (const line of text.split("\n").filter((other) => other.trim())) {
    const at = line.indexOf("=");
    if (at < 1) throw new Error(`“${line}” is no environment variable; write NAME=value.`);
    found[line.slice(0, at).trim()] = line.slice(at + 1);
  }
  return found;
}

/** Shows how far something has got. */
function stepsOf(progress) {
  const bar = h("progress", { max: "1", "aria-label": "Progress" });
  const text = h("p", { class: "step", role: "status" });
  replace(progress, text, bar);
  return {
    at(step, done) {
      const shown = done === undefined ? `${step} …` : `${step} … ${Math.floor(done * 100)} %`;
      if (text.textContent !== shown) text.textContent = shown;
      if (done === undefined) bar.removeAttribute("value");
      else bar.value = done;
    },
  };
}

/** Uploads a bundle, from where an upload of it broke off. Only this kind of request says how far it has got. */
async function upload(bundle, hash, progress) {
  if (bundle.size === 0) throw new Error("The file is empty. Choose another one.");
  const address_ = url(`/bundles/${hash}`);
  const options = { cache: "no-store", credentials: "omit" };
  const there = await fetch(address_, { ...options, headers: authorization() });
  if (there.ok) return;
  let offset = Number(there.headers.get("upload-offset") ?? 0);
  if (offset === bundle.size) {
    // All of it has come, but was not made a bundle.
    const headers = { ...authorization(), "content-range": `bytes */${bundle.size}` };
    if ((await fetch(address_, { ...options, method: "PUT", headers })).ok) return;
  }
  // What is no part of this bundle is uploaded anew.
  if (offset >= bundle.size) offset = 0;
  await new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", address_);
    for (const [header, value] of Object.entries(authorization())) request.setRequestHeader(header, value);
    request.setRequestHeader("content-type", "application/octet-stream");
    if (offset > 0) request.setRequestHeader("content-range", `bytes ${offset}-${bundle.size - 1}/${bundle.size}`);
    request.upload.addEventListener("progress", (event) => progress((offset + event.loaded) / bundle.size));
    request.addEventListener("load", () => {
      if (request.status < 300) return resolve();
      let detail;
      try {
        detail = JSON.parse(request.responseText).detail;
      } catch {
        detail = undefined;
      }
      return reject(new Error(detail ?? `The server answered ${request.status}.`));
    });
    request.addEventListener("error", () => reject(new Error("The upload broke off. Deploy again: it goes on from there.")));
    request.send(bundle.slice(offset));
  });
}
