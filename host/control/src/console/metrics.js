// What the server measures, asked for again and again: rates and percentiles are what lies between two answers.

import { metrics } from "./api.js";
import { every } from "./dom.js";

/** Milliseconds between two answers. */
const PERIOD = 2000;
/** Answers that are kept: five minutes. */
const KEPT = 150;
const LINE = /^scorebox_(requests_total|request_duration_seconds_bucket)\{([^}]*)\} ([^ ]+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

let samples = [];
const listeners = new Set();

/** The counters of each deployment in the text of an answer. */
export function parse(text) {
  const deployments = new Map();
  for (const line of text.split("\n")) {
    const found = LINE.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries([...found[2].matchAll(LABEL)].map(([, name, value]) => [name, value]));
    const key = `${labels.tenant}/${labels.endpoint}/${labels.deployment}`;
    if (!deployments.has(key)) deployments.set(key, { answered: 0, errors: 0, buckets: new Map() });
    const deployment = deployments.get(key);
    const value = Number(found[3]);
    if (found[1] === "requests_total") deployment[labels.outcome === "answered" ? "answered" : "errors"] += value;
    else {
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      deployment.buckets.set(bound, (deployment.buckets.get(bound) ?? 0) + value);
    }
  }
  return deployments;
}

/** Asks until the signal. */
export function watch(signal) {
  samples = [];
  every(PERIOD, signal, async () => {
    try {
      samples.push({ time: performance.now(), deployments: parse(await metrics(signal)) });
    } catch {
      return; // What is shown stays as it is; the views say what is wrong.
    }
    if (samples.length > KEPT) samples.shift();
    for (const listener of listeners) listener();
  });
}

/** Is called after each answer, and at once, until the signal. */
export function onSample(signal, act) {
  listeners.add(act);
  signal.addEventListener("abort", () => listeners.delete(act));
  act();
}

/** What lies between two answers, for the deployments whose path a filter takes. */
function between(before, after, takes) {
  const seconds = (after.time - before.time) / 1000;
  let [answered, errors] = [0, 0];
  const buckets = new Map();
  for (const [path, now] of after.deployments) {
    if (!takes(path)) continue;
    const then = before.deployments.get(path);
    // A counter that is less than it was began again.
    const grown = (a, b) => (b !== undefined && a >= b ? a - b : a);
    answered += grown(now.answered, then?.answered);
    errors += grown(now.errors, then?.errors);
    for (const [bound, count] of now.buckets) {
      buckets.set(bound, (buckets.get(bound) ?? 0) + grown(count, then?.buckets.get(bound)));
    }
  }
  return {
    time: after.time,
    requests: (answered + errors) / seconds,
    errors: errors / seconds,
    p50: quantile(buckets, 0.5),
    p99: quantile(buckets, 0.99),
  };
}

/** Seconds that a part of the requests took at most; within a bucket they are taken to lie evenly. None without requests. */
export function quantile(buckets, part) {
  const bounds = [...buckets].sort(([a], [b]) => a - b);
  const all = bounds.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  let [low, below] = [0, 0];
  for (const [bound, count] of bounds) {
    if (count >= all * part) {
      if (bound === Infinity) return low;
      return low + ((bound - low) * (all * part - below)) / (count - below);
    }
    [low, below] = [bound, count];
  }
  return low;
}

/** The course of what a filter takes. */
export const history = (takes) => samples.slice(1).map((sample, index) => between(samples[index], sample, takes));

/** The last ten seconds of it; none before there are two answers. */
export function latest(takes) {
  if (samples.length < 2) return null;
  return between(samples[Math.max(0, samples.length - 6)], samples.at(-1), takes);
}

/** Seconds for people. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.01) return `${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return `${seconds.toFixed(1)} s`;
}

/** A rate for people. */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(1) : String(Math.round(value));
}
