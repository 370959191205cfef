// @vitest-environment jsdom
// What the panel states about the market: now over one window, incidents as dated facts, and no two of them at odds.

import fc from "fast-check";
import React from "react";
import { type Root, createRoot } from "react-dom/client";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import {
  windowText,
  type Breadth,
  type MarketAnomaly,
  type WindowMove,
  Pad,
  WINDOWS,
  ZONES,
  breadthText,
  confirms,
  gapText,
  headline,
  incidentSentence,
  incidentState,
  incidentWay,
  intervalMs,
  leadingIncident,
  marketEvents,
  marketSentence,
  nearestWindow,
  normaliseMarket,
  normaliseStress,
  nowSentence,
  percent,
  sectorSentence,
  shownWindows,
  sideOf,
  signed,
  stressCurve,
  stressText,
  tilesOf,
  verdict,
  wayOf,
  zoneOf,
} from "../tealstreet/component";
import { eventually } from "./eventually";
import { Peer, alertOf } from "./peer";

const NBSP = "\u00a0";
const CRASH = new Date(2021, 4, 19, 12, 53).getTime();
const MINUTE = 60_000;

const moveOf = (window: string, change: Partial<WindowMove> = {}): WindowMove => ({
  window,
  returnPct: null,
  breadth: null,
  sectors: [],
  majors: [],
  ...change,
});
const fall = (change: Record<string, unknown> = {}): MarketAnomaly =>
  normaliseMarket(
    {
      type: "SYNCHRONIZED_MOVEMENT",
      id: "fall",
      severity: "CRITICAL",
      direction: "DOWN",
      timestamp: CRASH,
      state: "OPEN",
      window: "10m",
      universe: 29,
      synchronization_ratio: 1,
      average_change_pct: -23.6,
      affected_symbols: Array.from({ length: 29 }, (_, i) => `S${i}USDT`),
      ...change,
    },
    CRASH,
  )!;

// Whatever a server may send, well or ill: small numbers, so that signs and halves meet often.
const changes = fc.oneof(
  fc.double({ min: -30, max: 30, noNaN: true }),
  fc.constantFrom(-0.004, 0, 0.004, -0.005, 0.005, -99.999, 1e9),
);
const breadths = fc.record({ up: fc.nat(30), flat: fc.nat(30), down: fc.nat(30) });
const rawWindows = fc.record(
  { return_pct: changes, breadth: breadths, majors: fc.dictionary(fc.constantFrom("BTC", "ETH"), changes) },
  { requiredKeys: [] },
);
const windowNames = fc.constantFrom("1m", "5m", "15m", "1h", "3m", "10m", "", "soon", "1d");
const stresses = fc
  .record(
    {
      stress_index: fc.double({ min: -5, max: 120, noNaN: true }),
      timestamp: fc.integer({ min: CRASH - 3_600_000, max: CRASH + 3_600_000 }),
      windows: fc.dictionary(windowNames, rawWindows),
      window: windowNames,
      breadth: breadths,
    },
    { requiredKeys: ["stress_index"] },
  )
  .map((raw) => normaliseStress(raw, CRASH)!);
const incidents = fc
  .record(
    {
      id: fc.string({ minLength: 1 }),
      state: fc.constantFrom("OPEN", "ESCALATED", "CLOSED", "ODD"),
      direction: fc.constantFrom("UP", "DOWN", null),
      average_change_pct: fc.oneof(changes, fc.constant(null)),
      window: windowNames,
      timestamp: fc.integer({ min: CRASH - 3_600_000, max: CRASH + 3_600_000 }),
    },
    { requiredKeys: ["id", "timestamp"] },
  )
  .map((raw) => fall({ direction: undefined, average_change_pct: undefined, ...raw }));
const nows = fc.integer({ min: CRASH - 3_600_000, max: CRASH + 3 * 3_600_000 });

describe("for whatever the server sends", () => {
  it("an incident that leads is contradicted by nothing of its own window, is recent, and is the newest such", () => {
    fc.assert(
      fc.property(fc.array(incidents, { maxLength: 5 }), stresses, nows, (items, { windows }, now) => {
        const lead = leadingIncident(items, windows, now);
        const happening = items.filter((item) => !incidentState(item, windows, now).over);
        expect(lead === null).toBe(happening.length === 0);
        if (!lead) return;
        const way = incidentWay(lead.item)!;
        expect(lead.item.timestamp).toBe(Math.max(...happening.map((item) => item.timestamp)));
        expect(lead.item.state).not.toBe("CLOSED");
        const window = /^\d+[mhd]$/.test(lead.item.window) ? lead.item.window : "15m";
        expect(now - lead.item.timestamp).toBeLessThanOrEqual(intervalMs(window));
        // The headline has its time, and the verb of the sign of the change beside it.
        const text = incidentSentence(lead.item, now);
        expect(text).toMatch(/^(Rose|Fell) together · (.*)\d\d:\d\d.*, \d+\u00a0\w+ ago/);
        expect(text.startsWith(way === "UP" ? "Rose" : "Fell")).toBe(true);
        if (lead.item.averageChangePct !== null) expect(text.includes("−")).toBe(way === "DOWN");
        // What it is shown beside agrees: the median, the counts, and the statement made of them.
        if (!lead.beside) {
          expect(windows).toEqual([]);
          return;
        }
        const { returnPct, breadth } = lead.beside;
        expect([way, null]).toContain(wayOf(returnPct));
        if (breadth) {
          const going = way === "UP" ? breadth.up : breadth.down;
          expect(2 * going).toBeGreaterThanOrEqual(breadth.up + breadth.flat + breadth.down);
        }
        expect([way, null]).toContain(sideOf(lead.beside));
      }),
      { numRuns: 2_000 },
    );
  });

  it("headline, strip and breadth are of one window, and agree", () => {
    const held = fc.option(fc.constantFrom("a", "b"), { nil: null });
    const named = fc
      .array(incidents, { maxLength: 4 })
      .map((items) => items.map((item, i) => ({ ...item, id: "ab"[i % 2]! })));
    fc.assert(
      fc.property(named, stresses, nows, fc.constantFrom(...WINDOWS), held, (items, { windows }, now, window, id) => {
        const { move, lead } = headline(items, windows, now, window, id);
        expect(move === null).toBe(windows.length === 0);
        if (move && window !== "15m") expect(move).toBe(nearestWindow(windows, window));
        if (!move || !lead) return;
        expect(confirms(move, lead.item)).toBe(true);
        const way = incidentWay(lead.item);
        expect([way, null]).toContain(wayOf(move.returnPct));
        expect([way, null]).toContain(sideOf(move));
        if (move.breadth) {
          const { up, flat, down } = move.breadth;
          expect(2 * (way === "UP" ? up : down)).toBeGreaterThanOrEqual(up + flat + down);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it("a statement about the market agrees with its own figures, and every figure has its window", () => {
    fc.assert(
      fc.property(stresses, ({ windows }) => {
        for (const move of windows) {
          const text = nowSentence(move);
          if (text) expect(text).toContain(` in ${move.window.replace(/^(\d+).*/, "$1")}${NBSP}`);
          const stated = /^[\d,]+ of [\d,]+ (rose|fell) in/.exec(text)?.[1];
          if (stated === "rose") expect(text).not.toContain("−");
          if (stated === "fell") expect(text).not.toContain("+");
          if (stated && move.breadth) {
            const { up, flat, down } = move.breadth;
            expect(2 * (stated === "rose" ? up : down)).toBeGreaterThan(up + flat + down);
          }
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it("windows come once each, shortest first, with counts a chart can draw", () => {
    const any = fc.dictionary(windowNames, fc.oneof(rawWindows, fc.anything()));
    fc.assert(
      fc.property(any, fc.anything(), fc.anything(), (windows, breadth, sectors) => {
        const stress = normaliseStress({ stress_index: 10, windows, breadth, sectors }, CRASH)!;
        const lengths = stress.windows.map((move) => intervalMs(move.window));
        expect(lengths).toEqual([...new Set(lengths)].sort((a, b) => a - b));
        for (const { breadth: counts } of stress.windows)
          if (counts) {
            const total = counts.up + counts.flat + counts.down;
            expect(Number.isFinite(total) && total > 0).toBe(true);
          }
      }),
    );
  });

  it("the way of a number is the sign it is shown with", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const sign = { "−": "DOWN", "+": "UP" }[percent(value).charAt(0)] ?? null;
        expect(wayOf(value)).toBe(sign);
        expect(wayOf(value, signed(value, 1))).toBe({ "−": "DOWN", "+": "UP" }[signed(value, 1).charAt(0)] ?? null);
      }),
    );
  });

  it("a sector above the market shows the larger change, one below the smaller", () => {
    fc.assert(
      fc.property(changes, changes, fc.double({ min: -9, max: 9, noNaN: true }), (own, market, deviation) => {
        const sectors = [{ sector: "Meme", performancePct: own, deviation, members: 9 }];
        const [tile] = tilesOf(moveOf("5m", { returnPct: market, sectors }), new Map());
        const text = gapText(tile!.gap!);
        if (text.endsWith("above")) expect(own).toBeGreaterThan(market);
        else if (text.endsWith("below")) expect(own).toBeLessThan(market);
        else expect(Math.abs(own - market)).toBeLessThan(0.0501);
      }),
    );
  });

  it("the zone is that of the number shown", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 100, noNaN: true }), (index) => {
        expect(zoneOf(index)).toBe(ZONES.find((zone) => Math.round(index) < zone.below));
      }),
    );
    expect([39.4, 39.6, 59.5, 79.5, 100].map((index) => zoneOf(index).name)).toEqual([
      "Calm",
      "Elevated",
      "High",
      "Extreme",
      "Extreme",
    ]);
  });

  it("the stress curve is in order of time and ends at the reading shown beside it", () => {
    const points = fc.record({ timestamp: fc.integer({ min: 0, max: 2 * CRASH }), index: fc.nat(100) });
    fc.assert(
      fc.property(fc.array(points), (series) => {
        const sorted = [...series].sort((a, b) => a.timestamp - b.timestamp);
        const curve = stressCurve(sorted, { timestamp: CRASH, index: 50 });
        expect(curve[curve.length - 1]).toEqual({ timestamp: CRASH, index: 50 });
        expect(curve.every((point, i) => i === 0 || curve[i - 1]!.timestamp <= point.timestamp)).toBe(true);
      }),
    );
  });
});

describe("an incident", () => {
  const falling = [
    moveOf("1m", { returnPct: 0.4 }),
    moveOf("15m", { returnPct: -18.2, breadth: { up: 1, flat: 0, down: 28 } }),
  ];

  it("leads while the market still does the same over the nearest window", () => {
    const state = incidentState(fall(), falling, CRASH + 7 * MINUTE);
    expect(state).toEqual({ over: "", beside: falling[1] });
    expect(incidentSentence(fall(), CRASH + 7 * MINUTE).replace(/ [^·]* (?=\d\d:53)/, " ")).toContain(
      `, 7${NBSP}min ago · −23.60${NBSP}% in 10${NBSP}min · 29 of 29`,
    );
  });

  it("steps back when it is closed, contradicted, left by the most, or has had no news", () => {
    const market = (returnPct: number | null, breadth: Breadth | null) => [moveOf("15m", { returnPct, breadth })];
    const down = { up: 1, flat: 0, down: 28 };
    const over = (item: MarketAnomaly, windows: WindowMove[], minutes = 7) =>
      incidentState(item, windows, CRASH + minutes * MINUTE).over;
    expect(over(fall({ state: "CLOSED" }), market(-18, down))).toBe("closed");
    expect(over(fall(), market(-18, down), 10)).toBe("");
    expect(over(fall(), market(-18, down), 11)).toBe("silent");
    expect(over(fall(), market(0.3, down))).toBe("reversed");
    expect(over(fall(), market(0.3, null))).toBe("reversed");
    expect(over(fall(), market(-0.3, { up: 10, flat: 5, down: 14 }))).toBe("few");
    expect(over(fall(), market(null, { up: 15, flat: 0, down: 14 }))).toBe("few");
    expect(over(fall(), market(0, down))).toBe("");
    expect(over(fall(), [])).toBe("");
  });

  it("takes the usual window with it while it leads, but no window that was chosen", () => {
    const bounce = fall({ id: "bounce", window: "5m", average_change_pct: 19, direction: "UP" });
    const up = moveOf("5m", { returnPct: 7.3, breadth: { up: 27, flat: 0, down: 2 } });
    const down = moveOf("15m", { returnPct: -11.7, breadth: { up: 0, flat: 0, down: 29 } });
    const at = (window: string, held: string | null = null) => {
      const { move, lead } = headline([bounce], [up, down], CRASH, window, held);
      return [move?.window, lead?.item.id ?? null];
    };
    expect(at("15m")).toEqual(["5m", "bounce"]);
    // Below "29 of 29 fell in 15 min" nothing rises in the headline.
    expect(at("15m", "bounce")).toEqual(["15m", null]);
    expect(at("1h")).toEqual(["15m", null]);
    expect(at("5m")).toEqual(["5m", "bounce"]);
    expect(at("15m", "another")).toEqual(["5m", "bounce"]);
  });

  it("goes by the sign of its change, whatever direction it was sent with", () => {
    const rise = fall({ average_change_pct: 19 });
    expect(incidentSentence(rise, CRASH)).toMatch(/^Rose together · .*\+19\.00/);
    expect(incidentState(rise, falling, CRASH).over).toBe("reversed");
    expect(incidentWay(fall({ average_change_pct: null }))).toBe("DOWN");
    expect(incidentState(fall({ average_change_pct: 0.001 }), [], CRASH).over).toBe("few");
  });

  it("is judged by both neighbours where its own window is not sent", () => {
    const [five, fifteen] = [
      moveOf("5m", { returnPct: 3, breadth: { up: 20, flat: 0, down: 9 } }),
      moveOf("15m", { returnPct: -2.7 }),
    ];
    const rise = fall({ average_change_pct: 3.47, window: "10m" });
    expect(incidentState(rise, [five, fifteen], CRASH)).toEqual({ over: "", beside: five });
    expect(incidentState(rise, [moveOf("5m", { returnPct: -3 }), fifteen], CRASH).over).toBe("reversed");
    expect(incidentState(fall({ window: "15m" }), [five, moveOf("15m", { returnPct: 1 })], CRASH).over).toBe(
      "reversed",
    );
  });

  it("without an average goes its direction, and shows no change", () => {
    const sent = fall({ average_change_pct: 0, direction: "down" });
    expect(incidentWay(sent)).toBe("DOWN");
    expect(incidentSentence(sent, CRASH)).not.toContain("0.00");
  });

  it("is one entry with the stress reading of its time", () => {
    const stress = (id: string, timestamp: number) =>
      normaliseMarket({ type: "MARKET_STRESS", id, timestamp, stress_index: 91, metric: "breadth" }, CRASH)!;
    const items = [
      stress("later", CRASH + 5 * MINUTE),
      fall(),
      stress("same", CRASH),
      stress("near", CRASH - MINUTE / 2),
      fall({ id: "older", timestamp: CRASH - 9 * MINUTE }),
    ];
    expect(marketEvents(items).map(({ item, stress: reading }) => [item.id, reading?.id])).toEqual([
      ["later", undefined],
      ["fall", "same"],
      ["near", undefined],
      ["older", undefined],
    ]);
    expect(marketSentence(fall())).toBe(`Fell together · −23.60${NBSP}% in 10${NBSP}min · 29 of 29`);
  });
});

test("nothing unusual is stated with figures, as far as the detectors look back", () => {
  const calm = moveOf("15m", { returnPct: -1.2, breadth: { up: 0, flat: 0, down: 29 } });
  expect(nowSentence(calm) + verdict(calm, 12, false)).toBe(
    `29 of 29 fell in 15${NBSP}min, −1.20${NBSP}% median: within the usual`,
  );
  expect(verdict(calm, 12, true)).toBe("");
  expect(verdict(calm, null, false)).toBe("");
  expect(verdict(moveOf("1h"), 12, false)).toBe("");
  expect(verdict(calm, 39.7, false)).toBe(": elevated stress, 40 of 100");
  expect(breadthText(moveOf("1m", { returnPct: 0.02, breadth: { up: 13, flat: 2, down: 14 } }))).toBe(
    "13 of 29 rose, 14 fell",
  );
  expect(breadthText(moveOf("1m", { returnPct: 0, breadth: { up: 3, flat: 20, down: 6 } }))).toBe("20 of 29 unchanged");
  expect(nowSentence(moveOf("5m", { returnPct: 2 }))).toBe(`+2.00${NBSP}% median in 5${NBSP}min`);
});

test("a window that is not there is replaced by the nearest that is", () => {
  const found = (have: string[], window: string) =>
    nearestWindow(
      have.map((name) => moveOf(name)),
      window,
    )?.window;
  expect(found([...WINDOWS], "10m")).toBe("15m");
  expect(found([...WINDOWS], "3m")).toBe("5m");
  expect(found(["15m"], "1m")).toBe("15m");
  expect(found(["15m", "1h"], "30m")).toBe("15m");
  expect(found([], "15m")).toBeUndefined();
  expect(windowText("15m")).toBe(`15${NBSP}m`);
});

test("the window of a movement is shown while it is in use", () => {
  const windows = ["5m", "10m", "15m"].map((name) => moveOf(name));
  expect(shownWindows(windows, windows[0]!).map((move) => move.window)).toEqual(["5m", "15m"]);
  expect(shownWindows(windows, windows[1]!)).toEqual(windows);
});

test("a sector is shown by its distance from the market, with its window and time", () => {
  const sector = (change: object) =>
    normaliseMarket(
      {
        type: "SECTOR_ANOMALY",
        sector: "Meme",
        timestamp: CRASH,
        window: "5m",
        performance_pct: -4.82,
        deviation: -3.4,
        ...change,
      },
      CRASH,
    )!;
  expect(sectorSentence(sector({ excess_pct: -2.13 }))).toMatch(
    new RegExp(`^Meme 2\\.1${NBSP}pp below the market, 5${NBSP}min to .*12:53`),
  );
  expect(sectorSentence(sector({}))).toMatch(/^Meme 3\.4σ below the market, 5/);
  expect(marketSentence(sector({ excess_pct: -2.13 }))).toBe(
    `Meme 2.1${NBSP}pp below the market · −4.82${NBSP}% in 5${NBSP}min`,
  );
  expect(gapText(0.04)).toBe("level with");
});

test("servers of 0.1 have the one window they send", () => {
  const old = normaliseStress({ stress_index: 12, window: "15m", breadth: { up: 1, flat: 1, down: 8 } }, CRASH)!;
  expect(old.windows).toEqual([moveOf("15m", { breadth: { up: 1, flat: 1, down: 8 } })]);
  const both = normaliseStress(
    { stress_index: 12, window: "15m", breadth: { up: 1, flat: 1, down: 8 }, windows: { "15m": { return_pct: -1 } } },
    CRASH,
  )!;
  expect(both.windows).toEqual([moveOf("15m", { returnPct: -1 })]);
});

test("a stress reading and the severity beside it never contradict each other", () => {
  const reading = (fields: object) =>
    normaliseMarket(
      { type: "MARKET_STRESS", timestamp: CRASH, severity: "CRITICAL", stress_index: 88, ...fields },
      CRASH,
    )!;
  const said = (fields: object) => marketSentence(reading(fields));
  expect(said({ metric: "breadth" })).toBe("Extreme stress 88 · led by breadth");
  expect(said({ stress_index: 66 })).toBe("Stress extreme at its peak, then 66");
  expect(said({ stress_index: 37, severity: "MEDIUM", state: "CLOSED" })).toBe(
    "Stress elevated at its peak, 37 at the end",
  );
  expect(said({ stress_index: 88, severity: "LOW" })).toBe("Stress 88 of 100");
  expect(stressText(reading({}), "CRITICAL")).toBe("extreme stress 88");
  expect(stressText(reading({}), "HIGH")).toBe("stress 88 of 100");
});

test("the market's time is the server's clock, and in a replay that of the newest stress frame", () => {
  const pad = new Pad("http://nowhere.invalid");
  const apply = (frame: object) => (pad as unknown as { apply: (frame: object, now: number) => void }).apply(frame, 0);
  pad.skewMs = 500;
  expect(pad.marketNow(1_000)).toBe(1_500);
  apply({ type: "feed", data: { source: "replay", timestamp: Date.now() } });
  pad.store.newest = CRASH - MINUTE;
  expect(pad.marketNow()).toBe(CRASH - MINUTE);
  const loaded = vi.spyOn(globalThis, "fetch").mockRejectedValue(new Error("no server"));
  apply({ type: "stress", data: { stress_index: 1, timestamp: CRASH } });
  pad.store.newest = CRASH + 86_400_000;
  expect(pad.marketNow()).toBe(CRASH);
  loaded.mockRestore();
});

// The market side in a document, against a real server of its own origin.

declare const jsdom: { reconfigure: (change: { url: string }) => void };
class Observer {
  observe() {}
  disconnect() {}
}

describe("in the panel", () => {
  let peer: Peer;
  let root: Root;
  beforeEach(async () => {
    Object.assign(globalThis, { ResizeObserver: Observer, CSS: { escape: (text: string) => text } });
    if (!("replaceSync" in CSSStyleSheet.prototype))
      Object.assign(CSSStyleSheet.prototype, { replaceSync: () => undefined });
    (document as { adoptedStyleSheets?: unknown[] }).adoptedStyleSheets ??= [];
    peer = new Peer();
    const url = await peer.listen();
    jsdom.reconfigure({ url });
    localStorage.setItem("anomaly-panel", JSON.stringify({ server: url }));
    peer.publish(alertOf("btc"));
    vi.resetModules();
    const { default: Panel } = await import("../tealstreet/component");
    document.body.innerHTML = `<div id="root"></div>`;
    root = createRoot(document.getElementById("root")!);
    root.render(<Panel />);
    await eventually(() => expect(peer.sockets.size).toBe(1));
  });
  afterEach(async () => {
    root.unmount();
    await peer.close();
    localStorage.clear();
  });
  const send = (type: string, data: object) =>
    peer.sockets.forEach((socket) => socket.send(JSON.stringify({ type, channel: "market", data })));
  const feed = (change: object = {}) =>
    send("feed", { venue: "binance", source: "live", state: "ok", interval: "1s", timestamp: Date.now(), ...change });
  const text = (selector: string) => document.querySelector(selector)?.textContent ?? "";
  const tone = (selector: string) => [...document.querySelectorAll(selector)].map(({ className }) => className);
  const window = (returnPct: number, down: number) => ({
    return_pct: returnPct,
    breadth: { up: 29 - down, flat: 0, down },
    majors: { BTC: -1.5, ETH: 0.25 },
    sectors: [{ sector: "Meme", performance_pct: returnPct - 2, deviation: 1.4, members: 14 }],
  });
  const stress = (change: object = {}) =>
    send("stress", {
      stress_index: 91,
      interval: "1s",
      timestamp: Date.now(),
      components: {},
      windows: { "1m": window(0.4, 10), "15m": window(-18.2, 28) },
      ...change,
    });
  const openMarket = () =>
    [...document.querySelectorAll<HTMLElement>("[role=tab]")]
      .find(({ textContent }) => textContent === "Market")!
      .click();

  it("one switch drives strip, breadth and sectors", async () => {
    feed();
    stress();
    await eventually(() => expect(text(".strip")).toContain(`−18.20% median · 15${NBSP}m · 28 of 29 fell`));
    openMarket();
    await eventually(() => expect(text(".nowline")).toContain(`28 of 29 fell · 15${NBSP}m`));
    expect(text(".majors")).toBe(`BTC −1.50%ETH +0.25%· 15${NBSP}m`);
    expect(text(".tile")).toContain(`2.0${NBSP}pp below`);
    expect(tone(".majors .chg")).toEqual(["chg down", "chg up"]);
    document.querySelector<HTMLElement>(".wins button")!.click();
    await eventually(() => expect(text(".nowline")).toContain(`19 of 29 rose · 1${NBSP}m`));
    expect(document.querySelector<HTMLElement>(".breadth")!.dataset.window).toBe("1m");
    expect(text(".tile")).toContain("now −1.60%");
    expect(text(".strip")).toContain(`+0.40% median · 1${NBSP}m · 19 of 29 rose`);
    expect(document.querySelector(".wins [aria-pressed=true]")!.textContent).toContain(`1${NBSP}m`);
  });

  it("marks the tile of the sector that is listed, which lists all again", async () => {
    feed();
    stress();
    openMarket();
    const tile = () => document.querySelector<HTMLButtonElement>(".tile:not(.sk)")!;
    await eventually(() => expect(tile().disabled).toBe(false));
    expect(tile().getAttribute("aria-pressed")).toBe("false");
    tile().click();
    await eventually(() => expect(document.querySelector(".col-mkt")).toBeNull());
    openMarket();
    await eventually(() => expect(tile().getAttribute("aria-pressed")).toBe("true"));
    tile().click();
    await eventually(() => expect(document.querySelector(".col-mkt")).toBeNull());
    openMarket();
    await eventually(() => expect(tile().getAttribute("aria-pressed")).toBe("false"));
  });

  it("an incident leads with its time, and steps back when the market turns", async () => {
    feed();
    stress();
    send("market", { ...rawFall(), timestamp: Date.now() });
    openMarket();
    await eventually(() => expect(text(".say")).toMatch(/^Fell together · \d\d:\d\d, \d+\u00a0s ago · −23\.60/));
    expect(text(".say")).toContain(`Now: 28 of 29 fell in 15${NBSP}min, −18.20${NBSP}% median.`);
    expect(document.querySelector<HTMLElement>(".say")!.dataset.lead).toBe("fall");
    stress({ windows: { "15m": window(0.8, 4) } });
    await eventually(() => expect(text(".say")).toMatch(/^25 of 29 rose in 15/));
    expect(text(".say")).toContain("Earlier: Fell together ·");
    expect(text(".col-mkt")).toContain("The market has turned since. Now: 25 of 29 rose in 15");
  });

  it("an incident that the market contradicts steps back in the list, too", async () => {
    feed();
    stress();
    send("market", { ...rawFall(), timestamp: Date.now() });
    send("alert", { ...alertOf("part"), incident: "fall", change_pct: -20 });
    await eventually(() => expect(text(".inc-hd b")).toBe("Fell together"));
    stress({ windows: { "15m": window(0.8, 4) } });
    await eventually(() => expect(text(".inc-hd b")).toBe("Over: fell together"));
  });

  it("figures of a feed without prices are in grey, with their time and without “now”", async () => {
    feed();
    stress();
    openMarket();
    await eventually(() => expect(text(".asof")).toMatch(/^Now \d\d:\d\d:\d\d/));
    feed({ state: "stale", age_ms: 90_000 });
    await eventually(() => expect(document.querySelector(".summary.past")).not.toBeNull());
    expect(text(".strip .asof")).toMatch(/^at \d\d:\d\d:\d\d/);
    for (const part of [".summary", ".gauge", ".heat"]) expect(text(part)).not.toMatch(/\bnow\b/i);
  });

  const rawFall = () => ({
    type: "SYNCHRONIZED_MOVEMENT",
    id: "fall",
    severity: "CRITICAL",
    direction: "DOWN",
    state: "OPEN",
    window: "10m",
    universe: 29,
    synchronization_ratio: 1,
    average_change_pct: -23.6,
    affected_symbols: Array.from({ length: 29 }, (_, i) => `S${i}USDT`),
  });
});
