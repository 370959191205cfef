// Every time the panel writes, and the clock of a replay.

import fc from "fast-check";
import { expect, test } from "vitest";
import { clock, sourceLine, speedOf, zoneName } from "../tealstreet/component";

const AT = Date.UTC(2021, 4, 19, 12, 53, 7);
const utc = { zone: "utc", today: AT } as const;
const moments = fc.integer({ min: Date.UTC(1990, 0), max: Date.UTC(2090, 0) });

test("a time of today is the clock alone; any other has its date and zone, and its year if that is another", () => {
  expect(clock(AT, false, utc)).toBe("12:53");
  expect(clock(AT, true, utc)).toBe("12:53:07");
  expect(clock(AT, false, { zone: "utc", today: AT + 864e5 })).toBe("19 May 12:53 UTC");
  expect(clock(AT, false, { zone: "utc", today: Date.UTC(2026, 0) })).toBe("19 May 2021 12:53 UTC");
  expect(clock(AT, true, { ...utc, full: true })).toBe("19 May 2021 12:53:07 UTC");
});

test("today is that of the zone: midnight divides", () => {
  const midnight = Date.UTC(2021, 4, 20);
  expect(clock(midnight - 1, false, { zone: "utc", today: midnight })).toBe("19 May 23:59 UTC");
  expect(clock(midnight, false, { zone: "utc", today: midnight })).toBe("00:00");
});

test("UTC and local agree with the Date of this browser, at any moment", () => {
  fc.assert(
    fc.property(moments, (at) => {
      const date = new Date(at);
      const two = (value: number) => String(value).padStart(2, "0");
      const options = { today: at };
      expect(clock(at, false, { ...options, zone: "utc" })).toBe(date.toISOString().slice(11, 16));
      expect(clock(at, false, { ...options, zone: "local" })).toBe(`${two(date.getHours())}:${two(date.getMinutes())}`);
      expect(zoneName(at, "utc")).toBe("UTC");
      expect(zoneName(at, "local")).toMatch(/^UTC([+−]\d\d?(:\d\d)?)?$/);
    }),
  );
});

test("what is not a moment is unknown, whatever a publisher sends", () => {
  for (const at of [NaN, Infinity, -Infinity, 1e300]) expect(clock(at)).toBe("–");
});

test("the speed of a replay is its clock against the wall clock", () => {
  const clocks = (speed: number) => [-900, 0, 1_000, 2_000, 3_000].map((at) => ({ at, timestamp: AT + at * speed }));
  expect(speedOf(clocks(60))).toBe(60);
  expect(speedOf(clocks(0.5))).toBe(0.5);
  expect(speedOf(clocks(0))).toBeNull();
  expect(speedOf([])).toBeNull();
  expect(speedOf(clocks(60).slice(0, 3))).toBeNull();
  // What the server had when the panel connected is older than it looks.
  expect(speedOf([{ at: -10, timestamp: AT - 900_000 }, ...clocks(60).slice(1)])).toBe(60);
});

test("a replay has its date, clock, speed and place; the simulation has its reason; the live market has no line", () => {
  const feed = {
    venue: "binance",
    source: "replay",
    state: "ok",
    interval: "1s",
    symbols: 29,
    ageMs: 10,
    timestamp: Date.now(),
    progress: 0.434,
    reason: "",
  };
  const replay = { timestamp: AT, speed: 60 };
  expect(sourceLine(feed, replay, false)).toMatch(
    /^19 May 2021 \d\d:\d\d:07 UTC\S* · 60× · 43\u00a0% · replay of binance$/,
  );
  expect(sourceLine({ ...feed, interval: "1m", venue: "replay" }, replay, false)).toMatch(/ \d\d:53 UTC.* · replay$/);
  expect(sourceLine(feed, { timestamp: AT, speed: 6_109 }, false)).toContain(" · 6,109× · ");
  expect(sourceLine(feed, { timestamp: AT, speed: 0.5 }, false)).toContain(" · 0.5× · ");
  expect(sourceLine({ ...feed, state: "ended" }, replay, true)).toMatch(/ · ended · replay of binance$/);
  expect(sourceLine({ ...feed, venue: "okx-swap-replay" }, replay, true)).toMatch(/ · replay of okx-swap$/);
  expect(sourceLine(feed, null, false)).toBe("43\u00a0% · replay of binance");
  const simulated = { ...feed, source: "simulated", progress: null };
  expect(sourceLine({ ...simulated, reason: "binance does not answer" }, null, false)).toBe(
    "Simulated market: these are not real prices. Binance does not answer.",
  );
  expect(sourceLine(simulated, null, false)).toBe("Simulated market: these are not real prices.");
  expect(sourceLine({ ...feed, source: "live" }, null, false)).toBe("");
  expect(sourceLine(null, null, false)).toBe("");
});
