// What a row and its details show of an alert: figures that agree with each other, whatever a publisher sends.

import fc from "fast-check";
import React from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it, test } from "vitest";
import {
  type Alert,
  type ChartPoint,
  CardRow,
  Chart,
  CompactRow,
  TableRow,
  alertSentence,
  chartRanges,
  alertText,
  duration,
  mainFeed,
  marketLinks,
  moveOf,
  normaliseAlert,
  normaliseFeed,
  partsText,
  percent,
  rarityText,
  scoreText,
  scoreWords,
  sparkTitle,
  windowText,
} from "../tealstreet/component";

const NOW = 1_621_424_200_000;
const NBSP = "\u00a0";
const plainly = (text: string) => text.replaceAll(NBSP, " ");
const alertOf = (fields: Record<string, unknown> = {}): Alert =>
  normaliseAlert({ id: "a", symbol: "BTCUSDT", method: "MAD", severity: "HIGH", timestamp: NOW, ...fields }, NOW)!;

const number = fc.oneof(
  fc.double({ noNaN: true }),
  fc.double({ min: -0.01, max: 0.01, noNaN: true }),
  fc.double({ min: -150, max: 150, noNaN: true }),
  fc.constantFrom(0, -0, 5e-324, -1e308, 1e308, 0.005, -0.005, null),
);
const someAlert = fc
  .record({
    direction: fc.constantFrom("UP", "DOWN", null, "sideways"),
    change_pct: number,
    excess_pct: number,
    rarity_days: number,
    price: number,
    expected: number,
    lower: number,
    upper: number,
    score: number,
    threshold: number,
    spark: fc.array(number, { maxLength: 60 }),
    state: fc.constantFrom("OPEN", "CLOSED"),
    severity: fc.constantFrom("LOW", "HIGH", "CRITICAL", "huge"),
    method: fc.constantFrom("MAD", "VOLUME", "VOLATILITY", "CUSUM", "RESIDUAL", "other"),
    interval: fc.constantFrom("1s", "1m", "5m"),
    explanation: fc.record({ window: fc.constantFrom("1m", "35m", "1h", "0m", "soon", null) }),
  })
  .map(alertOf);

const nothing = () => undefined;
const act = {
  toggle: nothing,
  open: nothing,
  focus: nothing,
  chart: nothing,
  copy: nothing,
  mute: nothing,
  review: nothing,
  fold: nothing,
  unfold: nothing,
};
const rowsOf = (alert: Alert) => {
  const props = {
    alert,
    count: 1,
    named: false,
    reviewMode: "open" as const,
    age: "3m",
    nested: false,
    expanded: false,
    focused: false,
    fresh: false,
    step: undefined,
    listed: false,
    act,
  };
  return [<CompactRow {...props} />, <CardRow {...props} width={600} />, <TableRow {...props} />].map((row) =>
    renderToStaticMarkup(row),
  );
};
const chartOf = (alert: Alert, candles: ChartPoint[] = [], earlier: ChartPoint[] = []) =>
  renderToStaticMarkup(<Chart alert={alert} candles={candles} earlier={earlier} width={600} step={undefined} />);
const all = (markup: string, pattern: RegExp) => [...markup.matchAll(pattern)].map(([, found]) => found);

describe("of every alert, in every layout", () => {
  it("sign, class, arrow, sparkline and chart agree", () => {
    fc.assert(
      fc.property(someAlert, (alert) => {
        const move = moveOf(alert.changePct);
        const sign = { up: "+", down: "−", flat: "" }[move];
        for (const markup of rowsOf(alert)) {
          expect(all(markup, /class="chg (\w+)/g)).toEqual([move === "flat" ? "t2" : move]);
          expect(all(markup, /data-arrow="(\w+)"/g)).toEqual(move === "flat" ? [] : [move]);
          const [text] = all(markup, /class="chg.*?>([^<>]*%|–)</g);
          expect(text!.startsWith(sign) && (sign !== "" || !/^[+−]/.test(text!))).toBe(true);
          for (const other of ["up", "down"]) if (other !== move) expect(markup).not.toContain(`var(--${other})`);
        }
        const chart = chartOf(alert);
        for (const other of ["up", "down"]) if (other !== move) expect(chart).not.toContain(`var(--${other})`);
      }),
      { numRuns: 100 },
    );
  });

  it("a change has its window beside it", () => {
    fc.assert(
      fc.property(someAlert, (alert) => {
        const expected = alert.changePct === null ? [] : [` · ${windowText(alert.window || "–")}`];
        for (const markup of rowsOf(alert)) expect(all(markup, /class="win"[^>]*>([^<]*)</g)).toEqual(expected);
        expect(alert.window).toMatch(/^(|[1-9]\d*[smhd])$/);
      }),
      { numRuns: 50 },
    );
  });

  it("no drawing has a number that is none", () => {
    const point = fc.record({
      timestamp: fc.integer({ min: NOW - 4e6, max: NOW + 1e3 }),
      close: number.map((value) => value ?? 1),
      expected: number,
      lower: number,
      upper: number,
    });
    const points = fc.array(point, { maxLength: 30 });
    fc.assert(
      fc.property(someAlert, points, points, (alert, candles, earlier) => {
        const markup = [...rowsOf(alert), chartOf(alert, candles, earlier)].join("");
        for (const [svg] of markup.matchAll(/<svg.*?<\/svg>/g)) expect(svg).not.toMatch(/NaN|Infinity|undefined/);
      }),
      { numRuns: 100 },
    );
  });
});

test("a change that is shown as zero has neither sign nor colour", () => {
  expect([-0.004, 0.004, 0, null].map(moveOf)).toEqual(["flat", "flat", "flat", "flat"]);
  expect([-0.006, 0.006, -140.2].map(moveOf)).toEqual(["down", "up", "down"]);
  expect(percent(-0.004)).toBe("0.00%");
});

test("a rarity that is not of the price's change says of what it is", () => {
  const rare = { change_pct: -3, rarity_days: 12, window: "5m" };
  for (const row of rowsOf(alertOf({ ...rare, method: "VOLUME" }))) expect(row).toContain("volume once in 12 days");
  for (const row of rowsOf(alertOf({ ...rare, method: "VOLATILITY" }))) expect(row).toContain("range once in 12 days");
  for (const row of rowsOf(alertOf({ ...rare, method: "MAD" }))) expect(row).toContain(">once in 12 days");
});

test("the window is the publisher's own, or is not given", () => {
  expect(alertOf({ interval: "1s", explanation: { window: "35m" } }).window).toBe("35m");
  expect(alertOf({ interval: "1s", window: "2h" }).window).toBe("2h");
  const none = alertOf({ change_pct: -3, interval: "5m", spark: [1, 2, 3], explanation: { window: "a while" } });
  expect(none.window).toBe("");
  expect(plainly(alertSentence(none))).toBe("BTCUSDT fell 3.00 % (window not given).");
  expect(plainly(alertText(none, ""))).toContain("BTCUSDT −3.00 % (window not given), ");
  for (const row of rowsOf(none)) expect(row).toContain('title="Window not given"> · –</span>');
  expect(sparkTitle(none)).toMatch(/; window not given$/);
  expect(chartRanges(none)).toEqual([]);
  expect(chartOf(alertOf({ ...none, spark: [1, 2, 3] }))).not.toContain("shaded");
});

test("how rare it is has one wording", () => {
  const texts = [null, 0, 0.01, 0.2, 0.4, 0.95, 1, 1.4, 1.6, 12.2, 99.6, 124, 1240].map((days) => rarityText(days));
  expect(texts).toEqual([
    "",
    "several times an hour",
    "several times an hour",
    "several times a day",
    "once in 10 hours",
    "once in 23 hours",
    "once a day",
    "once a day",
    "once in 2 days",
    "once in 12 days",
    "once in 100 days",
    "once in 120 days",
    "once in 1,200 days",
  ]);
  expect(rarityText(90, true)).toBe("rarer than once in 90 days");
  expect(rarityText(90, true, true)).toBe("once in 90+ days");
  expect(rarityText(0.2, false, true)).toBe("several a day");
  expect([0.01, 0.2, 0.5, 1].map((days) => rarityText(days, true, true))).toEqual([
    "once in 1+ hour",
    "once in 5+ hours",
    "once in 12+ hours",
    "once in 1+ day",
  ]);
  expect(rarityText(0.01, true)).toBe("rarer than once an hour");
});

test("a rarity that is the most the calibration can show is a bound", () => {
  const of = (rarity_days: number, most_days: unknown) =>
    alertOf({ rarity_days, explanation: { parameters: { rarity: { most_days } } } });
  expect(of(90, 90)).toMatchObject({ rarityDays: 90, rarityCapped: true });
  expect(of(12, 90)).toMatchObject({ rarityDays: 12, rarityCapped: false });
  expect(of(12, "x").rarityCapped).toBe(false);
  expect(alertOf({ rarity_days: -1 }).rarityDays).toBeNull();
  expect(alertOf()).toMatchObject({ rarityDays: null, rarityCapped: false, excessPct: null, source: "" });
});

describe("the sentence", () => {
  const said = (fields: Record<string, unknown>, step?: number) => plainly(alertSentence(alertOf(fields), step));
  it("has the change, its window and the market's part", () => {
    const fall = { change_pct: -22.7, explanation: { window: "35m" }, price: 33_000.4 };
    expect(said({ ...fall, excess_pct: 5.1 })).toBe(
      "BTCUSDT fell 22.70 % in 35 min, 5.1 pp less than the market, to 33,000.4.",
    );
    expect(said({ ...fall, excess_pct: -5.1 })).toContain(", 5.1 pp more than the market,");
    expect(said({ ...fall, excess_pct: 0.01 })).toContain(", like the market,");
    expect(said({ ...fall, excess_pct: -22.7 })).toContain(", while the market did not move,");
    expect(said({ ...fall, excess_pct: -25 })).toContain(", while the market rose 2.30 %,");
    expect(said(fall)).toBe("BTCUSDT fell 22.70 % in 35 min, to 33,000.4.");
    expect(said({ change_pct: 3, window: "1m", excess_pct: 1 })).toBe(
      "BTCUSDT rose 3.00 % in 1 min, 1.0 pp more than the market.",
    );
    expect(said({ change_pct: 3, direction: "DOWN" })).toContain("rose");
    expect(said({})).toBe("BTCUSDT moved.");
  });
  it("is the server's if it sends one, with the price as everywhere in the panel", () => {
    const source = "live";
    const sentence = "XUSDT rose 9.00 % in 1 min, to 0.000012346. Usual 1 min range: ±1.00 %.";
    expect(said({ source, price: 0.0000123456, explanation: { sentence } })).toBe(
      sentence.replace("0.000012346", "0.0₄1235"),
    );
    const listed = "BTCUSDT fell 2.14 % in 1 min, to 38,012.5. Usual 1-min range: ±0.36 %.";
    expect(said({ source, price: 38_012.5, explanation: { sentence: listed } }, 0.01)).toBe(
      listed.replace("38,012.5", "38,012.50"),
    );
    expect(said({ source, explanation: { sentence: listed } })).toBe(listed);
  });
  it("is quoted after the figures if it is another publisher's, or contradicts them", () => {
    const fall = { change_pct: -2.5, window: "5m", price: 38_000 };
    const own = "BTCUSDT fell 2.50 % in 5 min, to 38,000.0.";
    expect(said({ ...fall, message: "BTC rose 9 % today!" })).toBe(`${own} Publisher: “BTC rose 9 % today!”`);
    expect(said({ ...fall, message: "Whale alert" })).toBe(`${own} Publisher: “Whale alert”`);
    expect(said({ ...fall, source: "live", message: "BTC rose 9 %" })).toBe(`${own} Publisher: “BTC rose 9 %”`);
    expect(said({ ...fall, source: "live", message: "BTC fell 2.5 %" })).toBe("BTC fell 2.5 %");
  });
  it("of a wick is about the wick, whatever the candle did from close to close", () => {
    const sentence = "BTCUSDT fell 31.00 % and came back within 1 min; the price rose 0.20 %, to 38,000.0.";
    const wick = { source: "live", change_pct: 0.2, excursion_pct: -31, price: 38_000, explanation: { sentence } };
    expect(said(wick)).toBe(sentence);
    const [compact, card] = rowsOf(alertOf(wick)).map(plainly);
    expect(compact).toContain("wick −31.00 %");
    expect(card).toContain("wick −31.00 %");
  });
});

test("a copied alert can be read without the panel", () => {
  const alert = alertOf({
    id: "7f3a:1",
    change_pct: -22.66,
    excess_pct: 5.13,
    rarity_days: 12,
    price: 33_000.4,
    explanation: { window: "35m" },
  });
  expect(plainly(alertText(alert, "http://host:3001"))).toBe(
    "BTCUSDT −22.66 % in 35 min, +5.1 pp against the market, high, once in 12 days, at 33,000.4, " +
      "2021-05-19 11:36:40 UTC\nhttp://host:3001/alerts/7f3a%3A1",
  );
});

test("σ and × are explained where they stand", () => {
  const about = (method: string, threshold: number | null = 6) =>
    plainly(scoreWords(alertOf({ method, threshold, explanation: { window: "5m" } })));
  expect(about("VOLUME")).toBe("times its usual volume in 5 min; alerts from 6.0×");
  expect(about("RESIDUAL")).toBe("σ: its usual deviations from its market and sector in 5 min; alerts from 6.0σ");
  expect(about("EXTERNAL", null)).toBe("in the units of its publisher");
  expect(scoreText(0, "")).toBe("–"); // the publisher gave none
  expect(about("something", null)).toBe("in the units of its publisher");
});

test("a sparkline says what it spans", () => {
  const spark = Array.from({ length: 60 }, (_, i) => i);
  expect(plainly(sparkTitle(alertOf({ spark, explanation: { window: "15m" } })))).toBe(
    "Last 59 min; shaded: the 15 min of the change",
  );
  expect(plainly(sparkTitle(alertOf({ spark, interval: "1s", explanation: { window: "35m" } })))).toBe(
    "Last 59 s of the 35 min of the change",
  );
  expect([30e3, 600e3, 6300e3, 7200e3, 36e5 * 30, 864e5 * 3].map((ms) => plainly(duration(ms)))).toEqual([
    "30 s",
    "10 min",
    "105 min",
    "2 h",
    "30 h",
    "3 d",
  ]);
});

test("a chart reaches back three windows: candles are fetched where the closes of the frame do not", () => {
  const spark = Array.from({ length: 60 }, (_, i) => i);
  const ranges = (interval: string, window: string) =>
    chartRanges(alertOf({ interval, spark, explanation: { window } }));
  expect(ranges("1m", "15m")).toEqual([]);
  expect(ranges("1m", "35m")).toEqual([{ interval: "1m", from: NOW - 140 * 60_000, to: NOW }]);
  // Candles of a second are kept for an hour; minutes stay.
  expect(ranges("1s", "1m").map(({ interval }) => interval)).toEqual(["1s", "1m"]);
  expect(ranges("1s", "35m").map(({ interval }) => interval)).toEqual(["1m"]);
});

describe("one click to the market", () => {
  const pages = [
    ["binance", "1000CATUSDT", "https://www.binance.com/en/trade/1000CAT_USDT?type=spot", "BINANCE:1000CATUSDT"],
    ["binanceusdm", "BTCUSDT", "https://www.binance.com/en/futures/BTCUSDT", "BINANCE:BTCUSDT.P"],
    ["bybit", "BTCUSDC", "https://www.bybit.com/en/trade/spot/BTC/USDC", "BYBIT:BTCUSDC"],
    ["bybit-swap", "SOLUSDT", "https://www.bybit.com/trade/usdt/SOLUSDT", "BYBIT:SOLUSDT.P"],
    ["bybit-swap", "SOLUSDC", null, "BYBIT:SOLUSDC.P"],
    ["okx", "BTCUSDT", "https://www.okx.com/trade-spot/btc-usdt", "OKX:BTCUSDT"],
    ["okx-swap", "BTCUSDT", "https://www.okx.com/trade-swap/btc-usdt-swap", "OKX:BTCUSDT.P"],
    ["coinbase", "BTCUSD", "https://www.coinbase.com/advanced-trade/spot/BTC-USD", "COINBASE:BTCUSD"],
    ["kraken", "XRPEUR", "https://pro.kraken.com/app/trade/xrp-eur", "KRAKEN:XRPEUR"],
    ["hyperliquid", "KPEPEUSDC", "https://app.hyperliquid.xyz/trade/kPEPE", "HYPERLIQUID:KPEPEUSDC.P"],
    ["kucoin", "BTCUSDT", "https://www.kucoin.com/trade/BTC-USDT", "KUCOIN:BTCUSDT"],
    ["bitget", "BTCUSDT", "https://www.bitget.com/spot/BTCUSDT", "BITGET:BTCUSDT"],
    ["bitget-swap", "ETHUSDT", "https://www.bitget.com/futures/usdt/ETHUSDT", "BITGET:ETHUSDT.P"],
    ["gate", "BTCUSDT", "https://www.gate.com/trade/BTC_USDT", "GATE:BTCUSDT"],
    ["gate-swap", "BTCUSDT", "https://www.gate.com/futures/USDT/BTC_USDT", "GATE:BTCUSDT.P"],
    ["mexc", "BTCUSDT", "https://www.mexc.com/exchange/BTC_USDT", "MEXC:BTCUSDT"],
    ["simulated", "BTCUSDT", null, "BTCUSDT"],
    ["constructor", "BTCUSDT", null, "BTCUSDT"],
    ["binance", "UNKNOWN", null, "BINANCE:UNKNOWN"],
    ["okx-swap-replay", "BTCUSDT", "https://www.okx.com/trade-swap/btc-usdt-swap", "OKX:BTCUSDT.P"],
  ] as const;
  test.each(pages)("%s %s", (venue, symbol, page, name) => {
    const links = marketLinks(venue, symbol);
    expect(links.exchange?.href ?? null).toBe(page);
    expect(links.tradingView).toBe(`https://www.tradingview.com/chart/?symbol=${encodeURIComponent(name)}`);
  });

  it("never leads elsewhere, whatever a symbol is", () => {
    const venues = fc.constantFrom(...pages.map(([venue]) => venue));
    fc.assert(
      fc.property(venues, fc.string(), (venue, symbol) => {
        const [links, known] = [marketLinks(venue, `${symbol}USDT`), marketLinks(venue, "BTCUSDT")];
        if (links.exchange) expect(new URL(links.exchange.href).origin).toBe(new URL(known.exchange!.href).origin);
        expect(new URL(links.tradingView).origin).toBe("https://www.tradingview.com");
      }),
    );
  });
});

test("numbers that no row can hold are bounded, with their sign", () => {
  expect(percent(1e308)).toBe("+999,999+%");
  expect(percent(-1e308)).toBe("−999,999+%");
  expect(moveOf(-1e308)).toBe("down");
  expect(rarityText(1e308, false, true)).toBe("once in 1,000,000+ days");
  expect(chartRanges(alertOf({ explanation: { window: "9999d" } }))).toEqual([]);
});

test("of several venues the panel is about the largest that still reports", () => {
  const feed = (venue: string, symbols: number, age = 0) => ({
    ...normaliseFeed({ venue, symbols, source: "live", state: "ok" }, NOW)!,
    receivedAt: NOW - age,
  });
  expect(mainFeed([feed("okx", 7), feed("binance", 320)], NOW)!.venue).toBe("binance");
  expect(mainFeed([feed("okx", 7), feed("binance", 320, 120_000)], NOW)!.venue).toBe("okx");
  expect(mainFeed([], NOW)).toBeNull();
});

test("an incident says how many of its alerts are loaded", () => {
  expect(partsText({ count: 12, anomaly: { alertCount: 10 } })).toBe("12 alerts grouped");
  expect(partsText({ count: 1, anomaly: { alertCount: null } })).toBe("1 alert grouped");
  expect(partsText({ count: 45, anomaly: { alertCount: 1318 } })).toBe("45 of 1,318 alerts loaded");
});
