import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import {
  type Alert,
  type Feed,
  type MarketAnomaly,
  type Stress,
  alertSentence,
  canonical,
  chartPoints,
  coinOf,
  marketSentence,
  normaliseAlert,
  normaliseFeed,
  normaliseMarket,
  normaliseSectors,
  normaliseStress,
  ordinal,
  percent,
  price,
  roundTogether,
  scoreText,
  signed,
  span,
  splitSymbol,
  toTime,
} from "../tealstreet/component";

interface Row {
  name: string;
  canonical: boolean;
  expect: Record<string, unknown>;
  frame: { type: string; data: Record<string, unknown> };
}
const NOW = 1_621_424_200_000;
const rows = readFileSync(new URL("../../tests/data/frames.jsonl", import.meta.url), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Row);
const readers: Record<string, (raw: unknown, now: number) => object | null> = {
  alert: normaliseAlert,
  market: normaliseMarket,
  stress: normaliseStress,
  feed: normaliseFeed,
};
const read = (frame: Row["frame"]) =>
  readers[frame.type]!(frame.data, NOW) as Alert | MarketAnomaly | Stress | Feed | null;
const camel = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

describe("golden frames, the same that pytest reads", () => {
  test.each(rows.map((row) => [row.name, row] as const))("%s", (_, row) => {
    const message = read(row.frame) as unknown as Record<string, unknown>;
    expect(message).not.toBeNull();
    for (const [key, value] of Object.entries(row.canonical ? row.frame.data : row.expect)) {
      const name = camel(key);
      if (name in message && typeof value !== "object") expect(message[name], key).toEqual(value);
    }
  });

  test.each(rows.filter((row) => row.canonical).map((row) => [row.name, row] as const))(
    "%s: camelCase keys mean the same",
    (_, row) => {
      const foreign = {
        ...row.frame,
        data: Object.fromEntries(Object.entries(row.frame.data).map(([key, value]) => [camel(key), value])),
      };
      expect(read(foreign)).toEqual(read(row.frame));
    },
  );
});

describe("whatever a publisher sends", () => {
  const isShowable = (value: unknown): boolean =>
    typeof value === "number"
      ? Number.isFinite(value)
      : Array.isArray(value)
        ? value.every(isShowable)
        : typeof value === "object" && value !== null
          ? Object.values(value).every(isShowable)
          : true;

  it("becomes something that can be shown, or null", () => {
    fc.assert(
      fc.property(fc.anything(), (raw) => {
        for (const normalise of [normaliseAlert, normaliseMarket, normaliseStress, normaliseFeed]) {
          const message = normalise(raw, NOW);
          expect(isShowable(message)).toBe(true);
        }
      }),
    );
  });

  it("and so does a golden frame with any one field replaced by anything", () => {
    const mutations = fc.tuple(fc.constantFrom(...rows), fc.nat(), fc.anything());
    fc.assert(
      fc.property(mutations, ([row, at, junk]) => {
        const keys = Object.keys(row.frame.data);
        const message = read({ ...row.frame, data: { ...row.frame.data, [keys[at % keys.length]!]: junk } });
        expect(isShowable(message)).toBe(true);
        if (message && "symbol" in message) expect(typeof alertSentence(message)).toBe("string");
        else if (message && "universe" in message) expect(typeof marketSentence(message)).toBe("string");
      }),
      { numRuns: 500 },
    );
  });

  it("has its time understood in any unit", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1_000_000_000, max: 4_000_000_000 }), (seconds) => {
        const ms = seconds * 1000;
        for (const form of [
          seconds,
          ms,
          ms * 1e3,
          String(seconds),
          new Date(ms).toISOString(),
          new Date(ms).toISOString().replace("Z", ""),
        ])
          expect(toTime(form)).toBe(ms);
      }),
    );
  });
});

test("what each symbol of a synchronized move did, of those who send it for all of them", () => {
  const frame = rows.find((row) => row.name === "synchronized movement")!.frame;
  const changesOf = (data: object) => [
    ...(read({ ...frame, data: { ...frame.data, ...data } }) as MarketAnomaly).changes,
  ];
  expect(changesOf({})).toEqual([
    ["BTCUSDT", -1.62],
    ["ETHUSDT", -2.14],
    ["SOLUSDT", -3.17],
  ]);
  for (const changes_pct of [undefined, [], [-1.62], [-1.62, null, -3.17]])
    expect(changesOf({ changes_pct })).toEqual([]);
});

test("the market at a glance, of those who send it", () => {
  const [full, alone] = rows.filter((row) => row.frame.type === "stress").map((row) => read(row.frame) as Stress);
  expect(full).toMatchObject({ index: 71.4, window: "15m", breadth: { up: 39, flat: 14, down: 327 } });
  expect(full!.sectors).toEqual([
    { sector: "Layer 1", performancePct: -2.38, deviation: -0.21, members: 47 },
    { sector: "Meme", performancePct: -4.82, deviation: null, members: 14 },
  ]);
  expect(alone).toMatchObject({ index: 71.4, window: "", breadth: null, sectors: [] });
  expect(
    normaliseSectors({
      results: [{ sector: "Meme", symbols: ["doge-usdt", 7, null] }, { symbols: ["BTCUSDT"] }, null],
    }),
  ).toEqual(new Map([["Meme", ["DOGEUSDT", "7"]]]));
});

test("the chart goes on after the opening; each band stays with the price it belongs to", () => {
  const alert = normaliseAlert(
    { symbol: "BTCUSDT", interval: "1m", timestamp: NOW, spark: [9, 10, 11, 12], lower: 8, upper: 10 },
    NOW,
  )!;
  const candles = [3, 2].map((back) => ({
    timestamp: NOW - back * 60_000,
    close: 10 - back,
    expected: null,
    lower: 1,
    upper: 2,
  }));
  expect(chartPoints(alert, candles).map(({ close, upper }) => [close, upper])).toEqual([
    [7, 2],
    [8, 2],
    [11, null],
    [12, 10],
  ]);
  expect(chartPoints(alert, []).map(({ close }) => close)).toEqual([9, 10, 11, 12]);
  const none = { expected: null, lower: null, upper: null };
  const earlier = [90, 4, 3].map((back) => ({ timestamp: NOW - back * 60_000, close: back, ...none }));
  // The stored candle of a time counts, and nothing that lies further back than the chart.
  expect(chartPoints(alert, candles, earlier).map(({ close }) => close)).toEqual([4, 7, 8, 11, 12]);
});

test("symbols of the terminal and of the stream are one", () => {
  for (const name of ["BTC-USDT", "BTC/USDT:USDT", "btcusdt", "BTCUSDT"]) expect(canonical(name)).toBe("BTCUSDT");
  expect(canonical("龙虾/usdt")).toBe("龙虾USDT");
  expect(splitSymbol("1000PEPEUSDT")).toEqual(["1000PEPE", "USDT"]);
  expect(splitSymbol("USDT")).toEqual(["USDT", ""]);
  expect(["1000PEPEUSDC", "1MBABYDOGEUSDT", "PEPEUSDT", "1INCHUSDT"].map(coinOf)).toEqual([
    "PEPE",
    "BABYDOGE",
    "PEPE",
    "1INCH",
  ]);
});

test("numbers are signed, missing ones say so", () => {
  expect(percent(-2.136)).toBe("−2.14%");
  expect(percent(140.4)).toBe("+140%");
  expect(percent(null)).toBe("–");
  expect(scoreText(-36.55)).toBe("−36.6σ");
  expect(scoreText(12.54, "×")).toBe("12.5×");
  expect(scoreText(null, "×")).toBe("–");
  expect([-0.04, 0, 0.06].map((value) => signed(value, 1))).toEqual(["0.0", "0.0", "+0.1"]);
  expect(price(63412.53)).toBe("63,412.5");
  expect(price(0.052741)).toBe("0.052741");
  expect(price(18.206, 0.01)).toBe("18.21");
  expect(price(0.00000079456)).toBe("0.0₆7946");
  expect(price(0.0000123)).toBe("0.0₄1230");
  expect(span("15m")).toBe("15\u00a0min");
  expect([1, 2, 3, 11, 93, 96].map(ordinal)).toEqual(["1st", "2nd", "3rd", "11th", "93rd", "96th"]);
});

test("rounded contributions add up to the index they explain", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 30, noNaN: true }), { minLength: 1, maxLength: 6 }), (parts) => {
      const total = parts.reduce((sum, part) => sum + part, 0);
      const rounded = roundTogether(parts, total);
      expect(Math.abs(rounded.reduce((sum, part) => sum + part, 0) - total)).toBeLessThanOrEqual(0.0501);
      rounded.forEach((part, i) => expect(Math.abs(part - parts[i]!)).toBeLessThanOrEqual(0.1001));
    }),
  );
});
