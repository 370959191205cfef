// The live page: alerts on the left, the market on the right, and a badge that says how true both are.
// Messages change plain state; one animation frame later `render` shows it. Rows are kept by id and rebuilt only
// when their revision changes.

import { Stream } from "./stream.js";
import { age, amount, ageOf, clock, factsOf, h, percent, sentenceOf, severityGlyph, signed, span, sparkline, words } from "./format.js";

const KEPT_ALERTS = 500;
const KEPT_MARKET = 100;
const SEVERITIES = ["CRITICAL", "HIGH", "MEDIUM", "LOW"];
const STALE_AFTER_MS = 15_000;
const METHODS = { Z_SCORE: "Z-score", VOLUME: "Volume", VOLATILITY: "Range", RESIDUAL: "Residual" };
const SOURCES = { live: "LIVE", replay: "REPLAY", simulated: "SIMULATED" };

const $ = (id) => document.getElementById(id);
const alerts = new Map();
const market = new Map();
const rows = new Map();
const view = { hidden: new Set(JSON.parse(localStorage.getItem("hidden-severities") ?? "[]")), symbol: "", open: null };
const connection = { online: false, attempt: 0, since: null, retryAt: null, loaded: false };
let feed = null; // the last feed frame, with `at`: when it came, on our clock
let stress = null;
let skewMs = 0; // server clock minus ours
let lastTime = 0; // newest candle time seen: the only clock a replay has
let announcedAt = 0;

// --- Messages into state ----------------------------------------------------------------------------------------------

function keep(store, message, limit) {
  const known = store.get(message.id);
  if (known && known.revision >= message.revision) return false;
  store.set(message.id, message);
  lastTime = Math.max(lastTime, message.timestamp);
  if (store.size > limit) {
    const oldest = [...store.values()].reduce((a, b) => (a.timestamp <= b.timestamp ? a : b));
    store.delete(oldest.id);
  }
  return true;
}

function receive(frame) {
  const data = frame.data;
  if (frame.type === "alert" && data?.id) {
    const isNew = !alerts.has(data.id);
    if (keep(alerts, data, KEPT_ALERTS) && isNew) announce(data);
  } else if (frame.type === "market" && data?.id) keep(market, data, KEPT_MARKET);
  else if (frame.type === "stress" && data) stress = data;
  else if (frame.type === "feed" && data) {
    feed = { ...data, at: Date.now() };
    skewMs = data.timestamp - Date.now();
  } else if (frame.type === "heartbeat" && frame.ts) skewMs = frame.ts - Date.now();
  schedule();
}

function snapshot(alertList, marketList) {
  for (const item of alertList) keep(alerts, item, KEPT_ALERTS);
  for (const item of marketList) keep(market, item, KEPT_MARKET);
  connection.loaded = true;
  schedule();
}

// A screen reader hears what matters, and not faster than it can speak.
function announce(alert) {
  if (!["HIGH", "CRITICAL"].includes(alert.severity) || Date.now() - announcedAt < 5_000) return;
  announcedAt = Date.now();
  $("announce").textContent = `${alert.severity.toLowerCase()}: ${sentenceOf(alert)}`;
}

// --- State on screen --------------------------------------------------------------------------------------------------

let scheduled = false;
function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    render();
  });
}

const marketClock = () => (feed?.source === "replay" ? lastTime : Date.now() + skewMs);
const feedAge = () => (feed ? feed.age_ms + (Date.now() - feed.at) : null);
const isStale = () => Boolean(feed) && (feed.state === "stale" || (feed.state === "ok" && feedAge() > staleAfter()));
const staleAfter = () => Math.max(STALE_AFTER_MS, 3 * intervalMs(feed.interval));
const intervalMs = (name) => (parseInt(name, 10) || 1) * ({ s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[name?.slice(-1)] ?? 1e3);
const venue = () => (feed ? feed.venue[0].toUpperCase() + feed.venue.slice(1) : "");
const shown = (alert) => !view.hidden.has(alert.severity) && alert.symbol.includes(view.symbol);

function render() {
  renderBadge();
  renderBanner();
  renderSeverities();
  renderList();
  renderStrip();
  renderMarket();
}

function renderBadge() {
  const badge = $("badge");
  const source = SOURCES[feed?.source] ?? null;
  let state = source ?? "CONNECTED";
  let note = "";
  if (!connection.online) [state, note] = connection.since ? ["OFFLINE", age(Date.now() - connection.since)] : ["Connecting…", ""];
  else if (!feed) note = "no price feed yet";
  else if (isStale()) [state, note] = ["STALE", age(feedAge())];
  else if (feed.state === "warming") note = "warming up";
  else if (feed.state === "ended") note = "ended";
  else if (source === "LIVE") note = feedAge() < 9_950 ? `${(feedAge() / 1000).toFixed(1)} s` : age(feedAge());
  else if (feed.progress != null) note = `${Math.round(feed.progress * 100)} %`;
  const prefix = source && source !== "LIVE" && source !== state && state !== "Connecting…" ? `${source} · ` : "";
  badge.className = `badge ${state}`;
  badge.replaceChildren(prefix + state, note ? h("i", {}, note) : "");
  const sourceText = feed ? `${venue()} · ${span(feed.interval)} candles · ${feed.symbols} symbols` : "";
  $("source").textContent = feed?.source === "simulated" ? `${sourceText} · not real prices` : sourceText;
  $("source").title = $("source").textContent;
  document.body.classList.toggle("offline", !connection.online || isStale());
}

function renderBanner() {
  const banner = $("banner");
  const lost = !connection.online && connection.since;
  banner.hidden = !lost && !isStale();
  banner.classList.toggle("off", Boolean(lost));
  if (lost) {
    const wait = Math.max(0, Math.ceil((connection.retryAt - Date.now()) / 1000));
    const text = `Connection lost ${clock(connection.since)}. ${wait ? `Next try in ${wait} s.` : "Trying again…"}`;
    if (!banner.querySelector(".btn")) {
      const retry = h("button", { type: "button", class: "btn" }, "Retry now");
      retry.onclick = () => stream.retryNow();
      banner.replaceChildren(h("span", { title: connection.error }), retry);
    }
    banner.firstChild.textContent = text;
  } else if (isStale()) {
    const text = `No prices from ${venue()} for ${age(feedAge())}: no new alert can appear.`;
    if (banner.textContent !== text) banner.replaceChildren(h("span", {}, text));
  }
}

function renderSeverities() {
  const open = { CRITICAL: 0, HIGH: 0, MEDIUM: 0, LOW: 0 };
  for (const alert of alerts.values()) if (alert.state !== "CLOSED" && alert.severity in open) open[alert.severity] += 1;
  for (const severity of SEVERITIES) {
    const button = $(`sev-${severity}`);
    button.lastChild.textContent = open[severity];
    button.setAttribute("aria-pressed", String(!view.hidden.has(severity)));
    button.setAttribute("aria-label", `${words(severity)}: ${open[severity]} open`);
  }
}

function renderList() {
  const visible = [...alerts.values()].filter(shown).sort((a, b) => b.timestamp - a.timestamp || (a.id < b.id ? 1 : -1));
  const list = $("list");
  const wanted = new Set(visible.map((alert) => alert.id));
  for (const [id, row] of rows) {
    if (!wanted.has(id)) {
      row.element.remove();
      rows.delete(id);
    }
  }
  let place = list.firstElementChild;
  for (const alert of visible) {
    const element = rowOf(alert);
    if (element === place) place = place.nextElementSibling;
    else list.insertBefore(element, place);
  }
  list.setAttribute("aria-busy", String(!connection.loaded));
  const open = [...alerts.values()].filter((alert) => alert.state !== "CLOSED").length;
  $("count").textContent = open;
  const hidden = alerts.size - visible.length;
  $("summary").textContent = connection.loaded
    ? `${open} open · ${alerts.size - open} closed${hidden ? ` · ${hidden} hidden by filters` : ""}`
    : "Loading…";
  document.title = open ? `(${open}) Anomalies` : "Anomalies";
  renderEmpty(visible.length, hidden);
  renderAges();
}

function renderEmpty(visible, hidden) {
  const place = $("state");
  const kind = visible ? "none" : !connection.loaded ? (connection.since ? "error" : "loading") : hidden ? `filtered ${hidden}` : `quiet ${feed?.symbols} ${feed?.state}`;
  if (place.dataset.kind === kind) return;
  place.dataset.kind = kind;
  place.hidden = kind === "none";
  const watched = feed ? `Watching ${feed.symbols} symbols on ${venue()}.` : "Waiting for the first prices.";
  const texts = {
    error: ["Cannot reach the alert server", "Start it with manage.py up; this page keeps trying."],
    filtered: ["No alert matches the filters", `${hidden} ${hidden === 1 ? "is" : "are"} hidden.`],
    quiet: ["All quiet", feed?.state === "warming" ? `${watched} Detectors are warming up.` : watched],
    loading: ["Loading the latest alerts…", ""],
  }[kind.split(" ")[0]];
  if (!texts) return place.replaceChildren();
  const reset = h("button", { type: "button", class: "btn" }, "Reset filters");
  reset.onclick = resetFilters;
  place.replaceChildren(h("h2", {}, texts[0]), h("p", {}, texts[1]), kind.startsWith("filtered") ? reset : "");
}

function rowOf(alert) {
  const known = rows.get(alert.id);
  const expanded = view.open === alert.id;
  if (known?.revision === alert.revision && known.expanded === expanded) return known.element;
  const element = known?.element ?? h("article", {});
  if (!known && connection.online) element.classList.add("fresh");
  const closed = alert.state === "CLOSED";
  const direction = alert.direction === "DOWN" ? "down" : "up";
  element.className = `item r-${alert.severity}${closed ? " closed" : ""}${element.classList.contains("fresh") ? " fresh" : ""}`;
  const [base, quote] = splitSymbol(alert.symbol);
  const head = h(
    "button",
    { type: "button", class: "row", "aria-expanded": String(expanded), "aria-label": `${words(alert.severity)}, ${sentenceOf(alert)}` },
    h("span", { class: `gl s-${alert.severity}`, title: words(alert.severity) }, severityGlyph(alert.severity)),
    h("span", { class: "sym" }, h("b", {}, base), quote, alert.state === "ESCALATED" ? h("span", { class: "tag", title: "Escalated" }, "↑↑") : ""),
    h("span", { class: "spark" }, sparkline(alert, 72, 20)),
    h("span", { class: `chg ${direction}` }, h("small", {}, direction === "up" ? "▲" : "▼"), percent(alert.change_pct)),
    h("span", { class: "sc" }, alert.score == null ? "–" : `${signed(alert.score, 1)}σ`),
    h("span", { class: "me ell" }, METHODS[alert.method] ?? alert.method),
    h("time", { class: "ag" }),
  );
  head.onclick = () => {
    view.open = view.open === alert.id ? null : alert.id;
    schedule();
  };
  // The button that has the focus stays in place: only its inside is replaced.
  const old = element.querySelector(".row");
  if (old) {
    old.replaceChildren(...head.childNodes);
    for (const name of ["aria-expanded", "aria-label"]) old.setAttribute(name, head.getAttribute(name));
  } else element.append(head);
  element.querySelector(".exp")?.remove();
  if (expanded) element.append(detailsOf(alert));
  rows.set(alert.id, { element, revision: alert.revision, expanded, timestamp: alert.timestamp });
  return element;
}

function detailsOf(alert) {
  const facts = factsOf(alert).flatMap(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
  const steps = [`opened ${clock(alert.timestamp)}`, ...(alert.explanation?.escalations ?? []).map((step) => `${words(step.severity)} ${clock(step.timestamp)}`)];
  return h(
    "div",
    { class: "exp" },
    h("p", {}, sentenceOf(alert)),
    alert.spark?.length > 1 ? h("div", { class: "chart" }, sparkline(alert, 560, 132)) : "",
    h("dl", { class: "facts" }, ...facts),
    h("span", { class: "t3" }, `${steps.join(" → ")} · ${alert.venue} · ${alert.interval} · revision ${alert.revision}`),
  );
}

// Known quote assets, longest first; whatever else is shown whole.
function splitSymbol(symbol) {
  const quote = ["FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD", "EUR", "BTC", "ETH", "BNB"].find((q) => symbol.endsWith(q) && symbol.length > q.length);
  return quote ? [symbol.slice(0, -quote.length), quote] : [symbol, ""];
}

function renderAges() {
  const now = marketClock();
  for (const row of rows.values()) {
    const place = row.element.querySelector(".ag");
    const text = age(ageOf(row.timestamp, now));
    if (place.textContent !== text) place.textContent = text;
    place.title = new Date(row.timestamp).toISOString();
  }
}

// --- The market panel -------------------------------------------------------------------------------------------------

function newestFirst() {
  return [...market.values()].sort((a, b) => b.timestamp - a.timestamp);
}

// The live index when it flows, else the last stress anomaly.
function currentStress() {
  const last = newestFirst().find((item) => item.type === "MARKET_STRESS");
  const data = stress ?? last;
  const index = data?.stress_index ?? data?.index;
  return index == null ? null : { index: Math.round(index), components: data.components ?? {}, timestamp: data.timestamp, live: Boolean(stress) };
}

const zone = (index) => (index < 40 ? ["Calm", "LOW"] : index < 60 ? ["Elevated", "MEDIUM"] : index < 80 ? ["High", "HIGH"] : ["Extreme", "CRITICAL"]);

function renderStrip() {
  const now = currentStress();
  const sync = newestFirst().find((item) => item.type === "SYNCHRONIZED_MOVEMENT" && item.state !== "CLOSED");
  const fading = !connection.online || isStale();
  if (!now) return $("strip").replaceChildren(h("span", { class: "t3" }, "Stress"), h("b", { class: "t3" }, "–"), h("span", { class: "t3 ell" }, "not known yet"));
  const [name, severity] = zone(now.index);
  const colour = fading || !now.live ? "t3" : `s-${severity}`;
  const bar = h("i", {});
  bar.style.width = `${now.index}%`;
  return $("strip").replaceChildren(
    h("span", { class: colour }, severityGlyph(severity)),
    h("span", { class: "t3" }, "Stress"),
    h("b", { class: colour }, now.index),
    h("span", { class: `mini ${colour}` }, bar),
    h("span", { class: "t2 ell" }, now.live && !fading ? name : `${name} at ${clock(now.timestamp)}`),
    sync ? h("b", { class: sync.direction === "DOWN" ? "down" : "up" }, `${sync.direction === "DOWN" ? "▼" : "▲"} ${Math.round(sync.synchronization_ratio * 100)} %`) : "",
    sync ? h("span", { class: "t2 together" }, "together") : "",
  );
}

function renderMarket() {
  const items = newestFirst();
  const open = items.filter((item) => item.state !== "CLOSED");
  const worst = SEVERITIES.find((severity) => open.some((item) => item.severity === severity));
  $("market-flag").replaceChildren(worst ? h("span", { class: `s-${worst}` }, severityGlyph(worst, 10)) : "");
  const cards = [stressCard(), ...open.filter((item) => item.type === "SYNCHRONIZED_MOVEMENT").slice(0, 3).map(syncCard)];
  const sectors = open.filter((item) => item.type === "SECTOR_ANOMALY").sort((a, b) => Math.abs(b.deviation) - Math.abs(a.deviation));
  cards.push(listCard("Sectors that part from the market", sectors.slice(0, 12), "No sector parts from the market."));
  const shownAbove = new Set([...open.filter((item) => item.type !== "MARKET_STRESS")].map((item) => item.id));
  cards.push(listCard("Earlier market anomalies", items.filter((item) => !shownAbove.has(item.id)).slice(0, 20), "None yet."));
  const panel = $("market");
  const scrolled = panel.scrollTop;
  panel.replaceChildren(...cards);
  panel.scrollTop = scrolled;
}

function stressCard() {
  const now = currentStress();
  if (!now) return h("article", { class: "mc" }, h("h2", {}, "Market stress"), h("p", {}, "The index appears once enough candles are in."));
  const [name, severity] = zone(now.index);
  const parts = Object.entries(now.components).sort((a, b) => b[1].points - a[1].points);
  return h(
    "article",
    { class: "mc" },
    h("h2", {}, "Market stress", h("span", { class: "t3" }, now.live ? "percentile · points" : `at ${clock(now.timestamp)}`)),
    h(
      "div",
      { class: "gauge" },
      h("div", {}, h("div", { class: `idx s-${severity}` }, now.index), h("b", { class: `s-${severity}` }, name), h("span", { class: "t3" }, " of 100")),
      h("div", {}, ...parts.map(([metric, part], i) => {
        const bar = h("i", {});
        bar.style.width = `${part.percentile}%`;
        return h("div", { class: `comp${i ? "" : " lead"}` }, h("span", {}, words(metric)), h("span", { class: "bar" }, bar), h("span", { class: "sc pc" }, amount(part.percentile, 0)), h("span", { class: "sc" }, amount(part.points, 1)));
      })),
    ),
  );
}

function syncCard(item) {
  const down = item.direction === "DOWN";
  const usual = item.usual_ratio == null ? "" : ` Usual: ${Math.round(item.usual_ratio * 100)} %.`;
  const chips = item.affected_symbols.slice(0, 12).map((symbol) => {
    const chip = h("button", { type: "button", class: "chip", title: `Show only ${symbol}` }, splitSymbol(symbol)[0]);
    chip.onclick = () => filterSymbol(symbol);
    return chip;
  });
  const more = item.affected_symbols.length - chips.length;
  return h(
    "article",
    { class: `mc ${item.severity}` },
    h("h2", {}, h("span", { class: `s-${item.severity}` }, severityGlyph(item.severity)), "Synchronized move", h("span", { class: "t3" }, age(ageOf(item.timestamp, marketClock())))),
    h("p", {}, `${item.affected_symbols.length} of ${item.universe} symbols (${Math.round(item.synchronization_ratio * 100)} %) ${down ? "fell" : "rose"} together in ${span(item.window)}, `, h("b", { class: down ? "down" : "up" }, percent(item.average_change_pct, " ")), ` on average.${usual}`),
    h("div", { class: "chips" }, ...chips, more > 0 ? h("span", { class: "t3" }, `+${more}`) : ""),
  );
}

function listCard(title, items, nothing) {
  const lines = items.map((item) =>
    h("div", { class: "mrow" }, h("span", { class: `s-${item.severity}`, title: words(item.severity) }, severityGlyph(item.severity, 12)), h("span", { class: "ell" }, ...marketLine(item)), h("time", { class: "t3" }, clock(item.timestamp))),
  );
  return h("article", { class: "mc" }, h("h2", {}, title), ...(lines.length ? lines : [h("p", {}, nothing)]));
}

function marketLine(item) {
  const colour = (value) => (value < 0 ? "down" : "up");
  if (item.type === "SECTOR_ANOMALY")
    return [`${item.sector} `, h("b", { class: colour(item.performance_pct) }, percent(item.performance_pct, " ")), h("span", { class: "t2" }, ` · ${amount(Math.abs(item.deviation), 1)}σ ${item.deviation < 0 ? "worse" : "better"} than the market · ${item.members_moving} of ${item.members}`)];
  if (item.type === "SYNCHRONIZED_MOVEMENT")
    return [`${Math.round(item.synchronization_ratio * 100)} % ${item.direction === "DOWN" ? "fell" : "rose"} together · `, h("span", { class: colour(item.average_change_pct) }, percent(item.average_change_pct, " ")), " on average"];
  if (item.type === "MARKET_STRESS") return [`${zone(item.stress_index)[0]} stress ${Math.round(item.stress_index)}`, h("span", { class: "t2" }, ` · led by ${item.metric}`)];
  return [words(item.type ?? "Unknown")];
}

// --- Controls ---------------------------------------------------------------------------------------------------------

function filterSymbol(text) {
  view.symbol = text.trim().toUpperCase();
  if ($("symbol").value.trim().toUpperCase() !== view.symbol) $("symbol").value = text;
  showTab("alerts");
  schedule();
}

function resetFilters() {
  view.hidden.clear();
  localStorage.removeItem("hidden-severities");
  filterSymbol("");
}

function showTab(name) {
  document.body.dataset.tab = name;
  for (const tab of ["alerts", "market"]) $(`tab-${tab}`).setAttribute("aria-selected", String(tab === name));
}

for (const severity of SEVERITIES) {
  const button = h("button", { type: "button", id: `sev-${severity}`, title: words(severity) }, h("span", { class: `s-${severity}` }, severityGlyph(severity, 12)), h("span", {}, "0"));
  button.onclick = () => {
    if (!view.hidden.delete(severity)) view.hidden.add(severity);
    localStorage.setItem("hidden-severities", JSON.stringify([...view.hidden]));
    schedule();
  };
  $("severities").append(button);
}
$("symbol").oninput = (event) => filterSymbol(event.target.value);
for (const tab of ["alerts", "market"]) $(`tab-${tab}`).onclick = () => showTab(tab);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && view.open) {
    view.open = null;
    schedule();
  } else if (event.key === "/" && document.activeElement !== $("symbol")) {
    event.preventDefault();
    $("symbol").focus();
  }
});

const stream = new Stream(
  {
    snapshot,
    message: receive,
    status(status) {
      if (!status.online) feed = feed && { ...feed, age_ms: feedAge(), at: Date.now() };
      Object.assign(connection, { since: null, error: "" }, status);
      schedule();
    },
  },
  KEPT_ALERTS / 2,
);
setInterval(() => {
  renderBadge();
  renderBanner();
  renderAges();
}, 1_000);
render();
stream.start();
