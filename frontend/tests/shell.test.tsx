// @vitest-environment jsdom
// The frame around list and market, on the page at `/`: chips, links, keys, dialogs, counts, banners.

import React from "react";
import { type Root, createRoot } from "react-dom/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { eventually } from "./eventually";
import { Peer, alertOf } from "./peer";

declare const jsdom: { reconfigure: (change: { url: string }) => void };

class ResizeObserver {
  observe() {}
  disconnect() {}
}
Object.assign(globalThis, {
  ResizeObserver,
  CSS: { escape: (text: string) => text },
});
if (!("replaceSync" in CSSStyleSheet.prototype))
  Object.assign(CSSStyleSheet.prototype, { replaceSync: () => undefined });
(document as { adoptedStyleSheets?: unknown[] }).adoptedStyleSheets ??= [];
// Without a layout every element counts as visible.
Element.prototype.getClientRects = () => [new DOMRect()] as unknown as DOMRectList;
globalThis.DOMRect ??= class {} as unknown as typeof DOMRect;

let peer: Peer;
let root: Root;
let origin: string;
beforeEach(async () => {
  peer = new Peer();
  origin = await peer.listen();
  peer.publish(alertOf("btc"));
  peer.publish({ ...alertOf("eth"), symbol: "ETHUSDT", severity: "LOW" });
});
afterEach(async () => {
  root.unmount();
  await peer.close();
  localStorage.clear();
});

async function load(query = "", settings: object = {}): Promise<void> {
  jsdom.reconfigure({ url: `${origin}/${query}` });
  localStorage.setItem("anomaly-panel", JSON.stringify(settings));
  document.body.innerHTML = `<div id="root"></div><p id="toast"></p>`;
  vi.resetModules();
  await import("../host/web-api");
  const { default: Panel } = await import("../tealstreet/component");
  root = createRoot(document.getElementById("root")!);
  root.render(<Panel />);
  await eventually(() => expect(document.querySelector(".ft")!.textContent).toContain("open"));
}
const rows = () =>
  [...document.querySelectorAll("article[data-key]")].map((row) => row.getAttribute("data-key")).sort();
const named = (name: string) =>
  [...document.querySelectorAll<HTMLElement>("button")].find(
    (button) => button.getAttribute("aria-label") === name || button.textContent === name,
  );
const press = (name: string) => named(name)!.click();
const key = (name: string, target: Element = document.activeElement ?? document.body, shiftKey = false) =>
  target.dispatchEvent(new KeyboardEvent("keydown", { key: name, shiftKey, bubbles: true, cancelable: true }));
const dialog = () => document.querySelector<HTMLElement>("[role=dialog]");

test("a link restores its view; what is changed then is in the address, and mutes never are", async () => {
  await load("?symbol=ETHUSDT&layout=table", { hiddenSeverities: ["LOW"], muted: { BTCUSDT: Date.now() + 60_000 } });
  await eventually(() => expect(rows()).toEqual(["eth"]));
  expect(named("Layout: table")).toBeDefined();
  press("Remove the filter: “ETHUSDT”");
  await eventually(() => expect(location.search).toBe("?layout=table&window=15m&sort=-severity"));
  expect(location.search).not.toContain("BTC");
  // The stored settings changed by what was changed, not by the link that was opened.
  expect(JSON.parse(localStorage.getItem("anomaly-panel")!)).toMatchObject({ hiddenSeverities: ["LOW"] });
});

test("the alert of a link is expanded, and the expanded alert is in the link", async () => {
  await load("?alert=btc");
  await eventually(() => expect(document.querySelector("[aria-label^='Details of BTCUSDT']")).not.toBeNull());
  document.querySelector<HTMLElement>("article[data-key=btc]")!.click();
  await eventually(() => expect(location.search).toBe(""));
  document.querySelector<HTMLElement>("article[data-key=eth]")!.click();
  await eventually(() => expect(location.search).toMatch(/^\?alert=eth&/));
});

test("an alert that the server does not have is reported", async () => {
  await load("?alert=gone");
  await eventually(() => expect(document.getElementById("toast")!.textContent).toContain("does not have the alert"));
});

test("going back restores the view of that address", async () => {
  await load("?symbol=ETHUSDT");
  await eventually(() => expect(rows()).toEqual(["eth"]));
  history.pushState(null, "", "/?symbol=BTCUSDT");
  dispatchEvent(new PopStateEvent("popstate"));
  await eventually(() => expect(rows()).toEqual(["btc"]));
});

test("a link to a sector needs its name alone", async () => {
  peer.publish({ ...alertOf("doge"), symbol: "1000DOGEUSDC" });
  await load("?sector=Meme");
  await eventually(() => expect(rows()).toEqual(["doge"]));
});

test("chips name what hides rows; resetting the filters leaves mutes alone", async () => {
  await load("", {
    hiddenSeverities: ["LOW"],
    methods: ["MAD"],
    muted: { BTCUSDT: Date.now() + 60_000 },
  });
  await eventually(() => expect(document.querySelector(".chipbar")!.textContent).toContain("2 hidden"));
  expect([...document.querySelectorAll(".fchip")].map(({ textContent }) => textContent.slice(0, 14))).toEqual([
    "Critical, High",
    "MAD",
    "BTCUSDT muted ",
  ]);
  press("Reset filters");
  await eventually(() => expect(rows()).toEqual(["eth"]));
  const [chip, ...others] = document.querySelectorAll<HTMLElement>(".fchip");
  expect(others).toEqual([]);
  chip!.click();
  await eventually(() => expect(rows()).toEqual(["btc", "eth"]));
  expect(document.querySelector(".chipbar")).toBeNull();
});

test("alerts that are off have a banner, which switches them on", async () => {
  await load("", { channels: ["market"] });
  await eventually(() => expect(document.querySelector(".banner")!.textContent).toContain("Alerts are off"));
  press("Switch on");
  await eventually(() => expect(rows()).toEqual(["btc", "eth"]));
  expect(document.querySelector(".banner")).toBeNull();
});

test("counts are the server's, with their thousands grouped", async () => {
  const part = { alerts: 1240, symbols: 1, severities: { HIGH: 1239, LOW: 1 } };
  peer.summary = { open: part, last_24h: { ...part, alerts: 5000 } };
  await load();
  await eventually(() =>
    expect(document.querySelector(".ft")!.textContent).toContain("1,240 open · 5,000 alerts in 24 h"),
  );
  expect(named("High, 1,239 open")).toBeDefined();
});

test("without the server's counts those of the loaded rows are marked where there are more", async () => {
  for (let i = 0; i < 120; i += 1) peer.publish(alertOf(`a${i}`));
  await load();
  await eventually(() => expect(document.querySelector(".ft")!.textContent).toContain("100+ open · 100 loaded"));
  press("Load older");
  await eventually(() => expect(document.querySelector(".ft")!.textContent).toContain("122 open · 122 loaded"));
  expect(document.querySelector(".list")!.textContent).toContain("No older alerts.");
});

test("the keys work on the fresh page, and not behind a dialog", async () => {
  await load();
  expect(document.activeElement).toBe(document.body);
  key("l");
  await eventually(() => expect(named("Layout: cards")).toBeDefined());
  key("?");
  await eventually(() => expect(dialog()!.getAttribute("aria-label")).toBe("Keys"));
  expect(dialog()!.textContent).toContain("anywhere on this page");
  key("l");
  key("Escape");
  await eventually(() => expect(dialog()).toBeNull());
  expect(named("Layout: cards")).toBeDefined();
});

test("a dialog keeps the focus inside and gives it back", async () => {
  await load();
  const opener = named("Settings")!;
  opener.focus();
  opener.click();
  const box = await eventually(() => {
    expect(dialog()!.contains(document.activeElement)).toBe(true);
    return dialog()!;
  });
  const stops = [...box.querySelectorAll<HTMLElement>("a[href],button:not(:disabled),input,select")];
  stops.at(-1)!.focus();
  key("Tab");
  expect(document.activeElement).toBe(stops[0]);
  key("Tab", stops[0], true);
  expect(document.activeElement).toBe(stops.at(-1));
  key("Escape");
  await eventually(() => expect(dialog()).toBeNull());
  expect(document.activeElement).toBe(named("Settings"));
});

test("theme and zone are switched in the settings; the zone is shared with the server's pages", async () => {
  await load();
  const panel = document.querySelector<HTMLElement>(".aa")!;
  expect([panel.dataset.theme, panel.dir]).toEqual(["dark", "ltr"]);
  press("Settings");
  await eventually(() => press("Light"));
  await eventually(() => expect(panel.dataset.theme).toBe("light"));
  press("UTC");
  await eventually(() => expect(localStorage.getItem("anomaly-timezone")).toBe("utc"));
  await eventually(() => expect(named("UTC")!.getAttribute("aria-pressed")).toBe("true"));
});

test("what needs an account or a chart is not offered without one", async () => {
  await load();
  press("Filters");
  await eventually(() => expect(dialog()).not.toBeNull());
  for (const name of ["Active symbol", "My positions"]) expect(named(name)).toBeUndefined();
  key("Escape");
  press("Settings");
  await eventually(() => expect(dialog()!.textContent).toContain("Theme"));
  expect(dialog()!.textContent).not.toContain("Order buttons");
});
