// How numbers, times and shapes look. Pure: nothing here knows the page.

const SVG = "http://www.w3.org/2000/svg";
const MINUS = "−";

export function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

function s(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value != null) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== ""));
  return element;
}

const SHAPES = {
  LOW: () => [s("circle", { cx: 7, cy: 7, r: 4.2, fill: "none", stroke: "currentColor", "stroke-width": 1.8 })],
  MEDIUM: () => [s("path", { d: "M7 1.8 12.2 7 7 12.2 1.8 7Z", fill: "none", stroke: "currentColor", "stroke-width": 1.8 })],
  HIGH: () => [s("rect", { x: 2, y: 2, width: 10, height: 10, rx: 1, fill: "currentColor" })],
  CRITICAL: () => [
    s("path", { d: "M4.3.5h5.4l3.8 3.8v5.4l-3.8 3.8H4.3L.5 9.7V4.3Z", fill: "currentColor" }),
    s("path", { d: "M7 3.4v4.2M7 9.4v1.4", stroke: "var(--bg1)", "stroke-width": 1.8 }),
  ],
};

export function severityGlyph(severity, size = 14) {
  return s("svg", { width: size, height: size, viewBox: "0 0 14 14", role: "img", "aria-label": words(severity) }, ...(SHAPES[severity] ?? SHAPES.LOW)());
}

// `NOT_LIKE_THIS` → `Not like this`
export function words(name) {
  const text = String(name).replaceAll("_", " ").toLowerCase();
  return text[0].toUpperCase() + text.slice(1);
}

export function amount(value, digits) {
  return value == null ? "–" : value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function signed(value, digits) {
  if (value == null) return "–";
  const text = amount(Math.abs(value), digits);
  return `${value < 0 ? MINUS : "+"}${text}`;
}

export function percent(value, gap = "") {
  return value == null ? "–" : `${signed(value, Math.abs(value) >= 100 ? 0 : 2)}${gap}%`;
}

export function price(value) {
  if (value == null) return "–";
  if (Math.abs(value) >= 1000) return value.toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  return value.toLocaleString("en-US", { minimumSignificantDigits: 4, maximumSignificantDigits: 5 });
}

export function age(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

// `1m` → `1 min`
export function span(interval) {
  const unit = { s: "s", m: "min", h: "h", d: "d" }[String(interval).slice(-1)];
  return unit ? `${parseInt(interval, 10)} ${unit}` : String(interval);
}

export const ageOf = (timestamp, now) => now - timestamp;

export function clock(timestamp) {
  return new Date(timestamp).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

export function sentenceOf(alert) {
  if (alert.explanation?.sentence) return alert.explanation.sentence;
  const verb = alert.direction === "DOWN" ? "fell" : "rose";
  const by = alert.change_pct == null ? "" : ` ${amount(Math.abs(alert.change_pct), 2)} %`;
  return `${alert.symbol} ${verb}${by} in ${span(alert.interval)}${alert.price == null ? "" : `, to ${price(alert.price)}`}.`;
}

export function factsOf(alert) {
  const why = alert.explanation ?? {};
  const others = (why.methods ?? []).filter((other) => other.method !== alert.method).map((other) => `${words(other.method)} ${signed(other.score, 1)}σ`);
  return [
    ["Price", price(alert.price)],
    ["Expected", price(alert.expected)],
    ["Band", alert.lower == null || alert.upper == null ? "–" : `${price(alert.lower)}–${price(alert.upper)}`],
    ["Score / threshold", `${signed(alert.score, 1)}σ / ${amount(alert.threshold, 1)}σ`],
    ["Also seen by", others.join(", ") || "–"],
    ["Baseline", why.baseline_size ? `${amount(why.baseline_size, 0)} candles` : "–"],
  ];
}

// The closes over the expected band; the end that left the band takes the direction's colour.
export function sparkline(alert, width, height) {
  const points = alert.spark ?? [];
  const svg = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  if (points.length < 2) return svg;
  const band = alert.lower != null && alert.upper != null;
  const all = band ? [...points, alert.lower, alert.upper] : points;
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const x = (i) => 1 + (i * (width - 3)) / (points.length - 1);
  const y = (value) => 2 + ((high - value) * (height - 4)) / (high - low || 1);
  if (band) {
    svg.append(s("rect", { class: "band", x: 1, width: width - 3, y: y(alert.upper), height: Math.max(1, y(alert.lower) - y(alert.upper)) }));
    if (alert.expected != null && height > 40) svg.append(s("line", { class: "expect", x1: 1, x2: width - 2, y1: y(alert.expected), y2: y(alert.expected) }));
  }
  const path = (from, to) => points.slice(from, to + 1).map((value, i) => `${i ? "L" : "M"}${x(from + i).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  svg.append(s("path", { class: "line", d: path(0, points.length - 1), "vector-effect": "non-scaling-stroke" }));
  if (!band) return svg;
  // The band is the present one: it judges the end of the line, not what came before.
  const last = points.length - 1;
  const side = points[last] > alert.upper ? "up" : points[last] < alert.lower ? "down" : "";
  const outside = (value) => (side === "up" ? value > alert.upper : value < alert.lower);
  let from = last;
  while (from > 0 && outside(points[from])) from -= 1;
  if (side) svg.append(s("path", { class: `line ${side}`, d: path(from, last), "vector-effect": "non-scaling-stroke" }));
  return svg;
}
