// @vitest-environment jsdom
// The page at `/` as a whole: the web host and the panel in a document, against a real server of its own origin.

import React from "react";
import { type Root, createRoot } from "react-dom/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { eventually } from "./eventually";
import { Peer, alertOf } from "./peer";

declare const jsdom: { reconfigure: (change: { url: string }) => void };

// What jsdom lacks: it has no layout, so nothing ever changes its size.
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

let peer: Peer;
let root: Root;
beforeEach(async () => {
  peer = new Peer();
  jsdom.reconfigure({ url: await peer.listen() });
});
afterEach(async () => {
  root.unmount();
  await peer.close();
  localStorage.clear();
});

/** The page, loaded by `reviewer` (null: nobody is signed in), with one alert in sight. */
async function load(reviewer: string | null): Promise<void> {
  document.body.innerHTML = `<div id="root"></div><p id="toast"></p>`;
  const place = document.getElementById("root")!;
  if (reviewer !== null) place.dataset.reviewer = reviewer;
  document.cookie = "csrftoken=the-token";
  peer.publish(alertOf("btc"));
  vi.resetModules();
  await import("../host/web-api");
  const { default: Panel } = await import("../tealstreet/component");
  root = createRoot(place);
  root.render(<Panel />);
  await eventually(() => expect(row("btc")).not.toBeNull());
}
const row = (id: string) => document.querySelector<HTMLElement>(`article[data-key="${id}"]`);
const button = (name: string) =>
  [...document.querySelectorAll<HTMLElement>("button")].find(({ textContent }) => textContent === name) ?? null;
const press = (element: HTMLElement | null) => element!.click();
/** On the row of btc, once it has the focus. */
async function pressKey(key: string): Promise<void> {
  row("btc")!.focus();
  await new Promise((resolve) => setTimeout(resolve, 50));
  row("btc")!.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
}
const send = (frame: object) => peer.sockets.forEach((socket) => socket.send(JSON.stringify(frame)));

test("a signed-in reviewer acknowledges in the panel, once", async () => {
  await load("ann");
  press(row("btc"));
  await eventually(() => press(button("Acknowledge")));
  await eventually(() => expect(document.body.textContent).toContain("Acknowledged by ann"));
  expect(row("btc")!.textContent).toContain("ack");
  expect(button("Acknowledge")).toBeNull();
  expect(peer.reviews).toMatchObject([{ url: "/alerts/btc/review", headers: { "x-csrftoken": "the-token" } }]);
  peer.publish({ ...alertOf("btc", 2), severity: "CRITICAL" });
  await eventually(() => expect(row("btc")!.className).toContain("CRITICAL"));
  expect(row("btc")!.textContent).toContain("ack");
  await pressKey("a");
  expect(peer.reviews).toHaveLength(1);
});

test("an alert that changes direction is announced, one that continues is not", async () => {
  await load(null);
  const announced = () => document.querySelector("[aria-live]")!.textContent;
  peer.publish({ ...alertOf("btc", 2), change_pct: 4.2, window: "1m" });
  await eventually(() => expect(row("btc")!.textContent).toContain("+4.20% · 1\u00a0m"));
  expect(announced()).toBe("");
  peer.publish({ ...alertOf("btc", 3), direction: "DOWN", change_pct: -2 });
  await eventually(() => expect(announced()).toContain("fell 2.00\u00a0%"));
});

test("an expired session shows an error and the sign-in button", async () => {
  await load("ann");
  peer.reviewStatus = 403;
  press(row("btc"));
  await eventually(() => press(button("Acknowledge")));
  await eventually(() => expect(button("Sign in to review")).not.toBeNull());
  expect(document.getElementById("toast")!.textContent).toContain("signed out");
  expect(row("btc")!.textContent).not.toContain("ack");
});

test("an alert is marked a false positive and gets a note, without leaving the page", async () => {
  await load("ann");
  press(row("btc"));
  await eventually(() => press(button("Note")));
  const note = await eventually(() => {
    const found = document.querySelector<HTMLTextAreaElement>("textarea")!;
    expect(found.getAttribute("aria-label")).toBe("Note on BTCUSDT");
    return found;
  });
  Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value")!.set!.call(note, " fat finger ");
  note.dispatchEvent(new Event("input", { bubbles: true }));
  await eventually(() => expect(note.value).toBe(" fat finger "));
  press(button("Save note"));
  await eventually(() => expect(peer.reviews).toHaveLength(1));
  await eventually(() => press(button("False positive")));
  await eventually(() => expect(peer.reviews).toHaveLength(2));
  expect(peer.reviews.map(({ url, body }) => [url, JSON.parse(body) as object])).toEqual([
    ["/alerts/btc/review", { review_state: "new", review_note: "fat finger" }],
    ["/alerts/btc/review", { review_state: "false_positive" }],
  ]);
});

test("a server that fails leaves the alert as it was", async () => {
  await load("ann");
  peer.reviewStatus = 500;
  press(row("btc"));
  await pressKey("a");
  await eventually(() =>
    expect(document.getElementById("toast")!.textContent).toContain("could not be reviewed (500)"),
  );
  expect(button("Acknowledge")).not.toBeNull();
});

test("without a session the button opens the sign-in page beside this one, which tries the session afterwards", async () => {
  const open = vi.spyOn(window, "open").mockImplementation(() => null);
  await load(null);
  press(row("btc"));
  await eventually(() => press(button("Sign in to review")));
  expect(button("Acknowledge")).toBeNull();
  expect(open.mock.calls[0]).toEqual(["/accounts/login/?next=/", "_blank", "noopener"]);
  window.dispatchEvent(new Event("focus"));
  await eventually(() => press(button("Acknowledge")));
  await eventually(() => expect(peer.reviews).toHaveLength(1));
});

test("another server's alerts are reviewed on their own page: no session goes there", async () => {
  const other = new Peer();
  const address = await other.listen();
  localStorage.setItem("anomaly-panel", JSON.stringify({ server: address }));
  other.publish(alertOf("btc"));
  const open = vi.spyOn(window, "open").mockImplementation(() => null);
  await load("ann");
  press(row("btc"));
  await eventually(() => press(button("Review")));
  expect(open.mock.calls[0]![0]).toBe(`${address}/alerts/btc`);
  expect([...peer.reviews, ...other.reviews]).toEqual([]);
  root.unmount();
  await other.close();
});

test("every sector and the breadth are live, and a sector leads to its alerts", async () => {
  await load(null);
  peer.publish({ ...alertOf("doge"), symbol: "1000DOGEUSDC" });
  await eventually(() => expect(row("doge")).not.toBeNull());
  const frame = {
    type: "stress",
    channel: "market",
    data: {
      stress_index: 12,
      timestamp: Date.now(),
      components: {},
      window: "15m",
      breadth: { up: 30, flat: 10, down: 60 },
      sectors: [{ sector: "Meme", performance_pct: -0.5, deviation: null, members: 14 }, { sector: 3 }],
    },
  };
  send(frame);
  send({
    type: "feed",
    channel: "market",
    data: {
      venue: "binance",
      source: "live",
      state: "ok",
      interval: "1s",
      symbols: 100,
      age_ms: 10,
      timestamp: Date.now(),
    },
  });
  press(button("Market"));
  const breadth = await eventually(() => document.querySelector(".breadth")!.parentElement!.textContent);
  expect(breadth).toContain("60\u00a0% fell10\u00a0% flat30\u00a0% rose");
  const tiles = await eventually(() => {
    const found = [...document.querySelectorAll<HTMLButtonElement>(".tile")];
    expect(found[0]!.disabled).toBe(false);
    return found;
  });
  expect(tiles.map(({ textContent }) => textContent)).toEqual(["Meme−0.50%–14"]);
  press(tiles[0]!);
  await eventually(() => expect(row("doge")).not.toBeNull());
  expect(row("btc")).toBeNull();
});

test("a sector's incident says on which side of the market it is, a move how many go along", async () => {
  await load(null);
  peer.publish({ ...alertOf("uni"), symbol: "UNIUSDT", incident: "dex" });
  peer.publish({ ...alertOf("eth"), symbol: "ETHUSDT", incident: "fall" });
  await eventually(() => expect(row("eth")).not.toBeNull());
  const common = {
    channel: "market",
    revision: 1,
    severity: "HIGH",
    direction: "DOWN",
    state: "OPEN",
    timestamp: Date.now(),
    universe: 320,
  };
  send({
    type: "market",
    channel: "market",
    data: {
      ...common,
      id: "dex",
      type: "SECTOR_ANOMALY",
      sector: "DEX",
      performance_pct: -2.15,
      deviation: 20.4,
      members: 30,
    },
  });
  send({
    type: "market",
    channel: "market",
    data: {
      ...common,
      id: "fall",
      type: "SYNCHRONIZED_MOVEMENT",
      // Against its own figures, as foreign publishers may send it: the figures count.
      direction: "UP",
      window: "15m",
      average_change_pct: -4.98,
      affected_symbols: ["ETHUSDT", "UNIUSDT"],
    },
  });
  const incident = (title: string) => document.querySelector(`[aria-label^="Incident: ${title}"]`)?.textContent;
  await eventually(() => expect(incident("DEX sector")).toContain("−2.15% median · 20.4σ above the market · 1 alert"));
  await eventually(() =>
    expect(incident("Fell together")).toContain("−4.98% · 15\u00a0m avg · 2 of 320 symbols · 1 alert"),
  );
});

test("a symbol has one row, and its other alerts are one click away", async () => {
  await load(null);
  peer.publish({ ...alertOf("low"), severity: "LOW", change_pct: -0.4 });
  await eventually(() => expect(row("btc")!.textContent).toContain("+1"));
  expect(row("low")).toBeNull();
  expect(document.querySelector(".listhd")!.textContent).toContain("1 symbol, 2 alerts");
  press(row("btc"));
  const others = await eventually(() => {
    const found = document.querySelectorAll<HTMLElement>("[aria-label='Alerts of BTCUSDT'] button");
    expect(found).toHaveLength(2);
    return found;
  });
  press(others[1]!);
  await eventually(() => expect(document.querySelector(".exp")!.className).toContain("r-LOW"));
  press(row("btc"));
  await eventually(() => expect(document.querySelector(".exp")).toBeNull());
});

test("a critical alert is seen at once, though a row is open", async () => {
  await load(null);
  press(row("btc"));
  await eventually(() => expect(document.querySelector(".exp")).not.toBeNull());
  peer.publish({ ...alertOf("high"), symbol: "ETHUSDT" });
  peer.publish({ ...alertOf("critical"), symbol: "SOLUSDT", severity: "CRITICAL" });
  await eventually(() => expect(row("critical")).not.toBeNull());
  expect(row("high")).toBeNull();
  expect(document.querySelector(".pill")!.textContent).toBe("1new");
  press(row("critical"));
  await eventually(() => expect(document.querySelector(".exp")!.getAttribute("aria-label")).toBe("Details of SOLUSDT"));
});

test("without a chart of its own the host opens TradingView, with the venue's name", async () => {
  const open = vi.spyOn(window, "open").mockImplementation(() => null);
  await load(null);
  peer.publish({ ...alertOf("eth"), symbol: "ETHUSDT", venue: "okx-swap" });
  await eventually(() => expect(row("eth")).not.toBeNull());
  press(row("eth")!.querySelector<HTMLElement>(".lnk"));
  expect(open.mock.calls[0]).toEqual([
    "https://www.tradingview.com/chart/?symbol=OKX%3AETHUSDT.P",
    "_blank",
    "noopener",
  ]);
  press(row("eth"));
  const links = await eventually(() => {
    const found = [...document.querySelectorAll<HTMLAnchorElement>(".exp a")];
    expect(found.length).toBeGreaterThan(2);
    return found;
  });
  expect(links.map(({ textContent, rel }) => [textContent, rel])).toEqual([
    ["OKX Perpetuals", "noopener"],
    ["TradingView", "noopener"],
    ["Open page", "noopener"],
  ]);
  expect(links[0]!.href).toBe("https://www.okx.com/trade-swap/eth-usdt-swap");
  expect(links[2]!.href).toBe(`${location.origin}/alerts/eth`);
});
