// Lines over the last minutes, as SVG.

import { h, replace, s } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [370, 140, 46, 20, 8];
/** Milliseconds from the left to the right: as much as there is, between these. */
const [LEAST, MOST] = [60 * 1000, 5 * 60 * 1000];

/** A number at or above another that is easy to read. */
function nice(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * [1, 2, 5, 10].find((step) => value <= step * unit);
}

/**
 * A card with a chart, whose lines `update` changes: each with a name, a class, and points of time and value. The legend has
 * the last value, or what `shown` says; not the line where that is nothing.
 */
export function chart(title, format, least) {
  const [drawing, legend] = [h("div", { class: "drawing" }), h("ul", { class: "legend" })];
  const card = h("figure", { class: "card chart" }, h("figcaption", {}, title), drawing, legend);
  const update = (lines) => {
    const now = Math.max(performance.now() - 1500, ...lines.flatMap((line) => line.points.map((point) => point.time)));
    const first = Math.min(now, ...lines.flatMap((line) => line.points.map((point) => point.time)));
    const span = Math.min(MOST, Math.max(LEAST, Math.ceil((now - first) / LEAST) * LEAST));
    const values = lines.flatMap((line) => line.points.map((point) => point.value ?? 0));
    const most = nice(Math.max(least, ...values) * 1.02);
    const x = (time) => WIDTH - 4 - ((now - time) / span) * (WIDTH - LEFT - 4);
    const y = (value) => HEIGHT - BOTTOM - (value / most) * (HEIGHT - BOTTOM - TOP);
    const grid = [0, 0.5, 1].map((part) => s("g", {},
      s("line", { class: "grid", x1: LEFT, x2: WIDTH - 4, y1: y(most * part), y2: y(most * part) }),
      s("text", { class: "axis end", x: LEFT - 6, y: y(most * part) + 3.5 }, format(most * part))));
    const times = [[LEFT, "axis", `${span / LEAST} min ago`], [WIDTH - 4, "axis end", "now"]].map(([at, kind, text]) =>
      s("text", { class: kind, x: at, y: HEIGHT - 5 }, text));
    const drawn = lines.map((line) => {
      let [path, pen] = ["", false];
      for (const { time, value } of line.points) {
        const is = value !== null && now - time <= span;
        // A point that stands alone is drawn as one.
        if (is) path += `${pen ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}${pen ? "" : "h0"}`;
        pen = is;
      }
      const last = line.points.at(-1);
      const dot = last && last.value !== null && s("circle", { class: `dot ${line.kind}`, cx: x(last.time), cy: y(last.value), r: 2.6 });
      return [path && s("path", { class: `line ${line.kind}`, d: path }), dot];
    });
    const latest = (line) => line.shown ?? format(line.points.at(-1)?.value ?? null);
    const named = lines.filter((line) => line.shown !== "");
    const summary = named.map((line) => `${line.name} ${latest(line)}`).join(", ");
    replace(drawing, s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${summary || "nothing yet"}` }, grid, times, drawn));
    replace(legend, named.map((line) => h("li", {}, h("i", { class: `swatch ${line.kind}` }), h("span", {}, line.name), h("b", {}, latest(line)))));
  };
  return { card, update };
}

/** A small line without axes. */
export function spark(values) {
  const most = Math.max(1, ...values);
  const points = values.map((value, index) => `${index ? "L" : "M"}${((index / Math.max(1, values.length - 1)) * 100).toFixed(1)} ${(24 - (value / most) * 22).toFixed(1)}`);
  return s("svg", { class: "spark", viewBox: "0 0 100 26", preserveAspectRatio: "none", "aria-hidden": "true" }, s("path", { class: "line series-0", d: points.join("") || "M0 24L100 24" }));
}

/** Who gets which part of the requests, as a bar. */
export function shareBar(names, traffic) {
  const parts = names.filter((name) => traffic[name] > 0);
  const text = parts.map((name) => `${name} ${traffic[name]} %`).join(", ") || "no traffic";
  return h("div", { class: "shares", role: "img", "aria-label": `Traffic: ${text}` },
    parts.map((name) => h("i", { class: `series-${names.indexOf(name) % 6}`, style: { "flex-grow": String(traffic[name]) } })));
}
