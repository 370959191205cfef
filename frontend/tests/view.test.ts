// What a link restores, what hides rows, and what the header has room for: pure functions.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type Control,
  type Extra,
  FIELDS,
  INITIAL,
  METHODS,
  PAGE,
  SEVERITIES,
  type Settings,
  WINDOWS,
  chipsOf,
  countText,
  headerOf,
  methodsOf,
  normaliseCounts,
  queryOf,
  viewOf,
  wantedOf,
} from "../tealstreet/component";

const NOW = Date.UTC(2026, 0, 1, 12);
const host = { active: "", positions: new Set<string>() };
const symbols = fc.uniqueArray(fc.stringMatching(/^[A-Z]{2,6}USDT$/), { minLength: 1, maxLength: 5 });
const settings: fc.Arbitrary<Settings> = fc.record({
  ...(Object.fromEntries(Object.entries(INITIAL).map(([key, value]) => [key, fc.constant(value)])) as {
    [Key in keyof Settings]: fc.Arbitrary<Settings[Key]>;
  }),
  hiddenSeverities: fc.subarray([...SEVERITIES]),
  methods: fc.subarray(["MAD", "VOLUME", "Z_SCORE"]),
  channels: fc.subarray(["alerts", "market"], { maxLength: 1 }),
  search: symbols.map((found) => found.join(", ")),
  onlyActive: fc.boolean(),
  onlyPositions: fc.boolean(),
  hideClosed: fc.boolean(),
  layout: fc.constantFrom("compact", "cards", "table"),
  window: fc.constantFrom(...WINDOWS),
  sort: fc.record({ key: fc.constantFrom("age", "symbol", "change"), down: fc.boolean() }),
});
const groups = fc.option(fc.record({ label: fc.constantFrom("Synchronized move", "A & B, 100 %"), symbols }));

test("a link restores filters, layout, window, sort and selection", () => {
  const alerts = fc.option(fc.stringMatching(/^[A-Za-z0-9.:&%+ -]{1,40}$/));
  fc.assert(
    fc.property(settings, groups, alerts, fc.constantFrom("alerts", "market"), (given, group, id, tab) => {
      const shown = { ...given, group, search: group ? "" : given.search };
      const alert = id?.trim() ? id : null;
      const view = viewOf(queryOf(shown, { tab, alert }));
      expect({ ...INITIAL, ...view.settings }).toEqual(shown);
      expect(view).toMatchObject({ tab, alert });
    }),
  );
});

test("a fresh panel has a plain address, and a plain address leaves everybody their own settings", () => {
  expect(queryOf(INITIAL)).toBe("");
  expect(viewOf("")).toEqual({ settings: null, tab: "alerts", alert: null });
  expect(viewOf("?utm_source=mail").settings).toBeNull();
});

test("a link by hand filters by what it names, and keeps the reader's layout", () => {
  const { settings: found } = viewOf("?symbol=btc-usdt&severity=high,CRITICAL&state=open");
  expect(found).toMatchObject({
    search: "BTCUSDT",
    hiddenSeverities: ["MEDIUM", "LOW"],
    hideClosed: true,
    methods: [],
  });
  expect(found).not.toHaveProperty("layout");
  expect(viewOf("?sector=Layer+1").settings!.group).toEqual({ label: "Layer 1", symbols: [] });
  expect(viewOf("?layout=huge&window=2y&sort=drop+table&channels=x").settings).toMatchObject({ channels: [] });
});

test("no query breaks it", () => {
  fc.assert(
    fc.property(fc.webQueryParameters(), fc.string(), (query, text) => {
      for (const each of [query, text, `symbol=${text}&sort=${text}&layout=${text}&group=${text}`])
        expect(() => queryOf({ ...INITIAL, ...viewOf(each).settings })).not.toThrow();
    }),
    { numRuns: 40 },
  );
});

test("a sector's link is its name: the reader's server has the symbols", () => {
  const group = { label: "Meme", symbols: ["DOGEUSDT"] };
  expect(queryOf({ ...INITIAL, group }, { sectors: new Map([["Meme", ["DOGEUSDT"]]]) })).toMatch(/^sector=Meme&layout/);
  expect(queryOf({ ...INITIAL, group })).toMatch(/^group=Meme&symbols=DOGEUSDT&/);
});

test("every chip removes what it names, and all of them leave nothing hidden", () => {
  fc.assert(
    fc.property(settings, groups, symbols, (given, group, muted) => {
      const until = NOW + 60_000;
      const full = {
        ...given,
        group,
        muted: { ...Object.fromEntries(muted.map((symbol) => [symbol, until])), OLDUSDT: NOW - 1 },
        restMuted: { until, symbols: muted },
      };
      let left: Settings = full;
      for (let i = 0; i < 20 && chipsOf(left, NOW).length; i += 1) {
        const [chip] = chipsOf(left, NOW);
        left = { ...left, ...chip!.remove };
        expect(chipsOf(left, NOW).map(({ key }) => key)).not.toContain(chip!.key);
      }
      expect(chipsOf(left, NOW)).toEqual([]);
      expect(wantedOf(left, host, [])).toEqual({ query: "", severities: [] });
    }),
  );
});

test("a mute is not a filter", () => {
  const muted = { BTCUSDT: NOW + 1 };
  const [chip] = chipsOf({ ...INITIAL, muted }, NOW);
  expect(chip).toMatchObject({ mute: true, remove: { muted: {} } });
  expect(chipsOf({ ...INITIAL, hiddenSeverities: ["LOW"] }, NOW)).toMatchObject([
    { label: "Critical, High, Medium", mute: false },
  ]);
});

test("the server counts what the list shows: parts of symbols become whole ones", () => {
  const known = ["BTCUSDT", "BTCUSDC", "ETHUSDT", "1000DOGEUSDC"];
  const of = (change: Partial<Settings>) => wantedOf({ ...INITIAL, ...change }, host, known);
  expect(of({})).toEqual({ query: "", severities: [] });
  expect(of({ search: "btc" })!.query).toBe("symbols=BTCUSDC,BTCUSDT");
  expect(of({ search: "XYZUSDT" })!.query).toBe("symbols=XYZUSDT");
  expect(of({ search: "nothing" })).toBeNull();
  expect(of({ group: { label: "Meme", symbols: ["DOGEUSDT"] } })!.query).toBe("symbols=1000DOGEUSDC,DOGEUSDT");
  expect(of({ hiddenSeverities: ["LOW"], methods: ["MAD"], hideClosed: true })).toEqual({
    query: "methods=MAD&state=OPEN,ESCALATED",
    severities: ["CRITICAL", "HIGH", "MEDIUM"],
  });
  expect(of({ hiddenSeverities: [...SEVERITIES] })).toBeNull();
});

test("counts are grouped, and those of loaded rows are marked", () => {
  expect([countText(1240), countText(500, true), countText(0)]).toEqual(["1,240", "500+", "0"]);
  const counts = { alerts: 24, symbols: 18, severities: { HIGH: 4, LOW: "20", FOREIGN: 1 } };
  expect(normaliseCounts({ open: counts, last_24h: counts })!.open).toEqual({
    alerts: 24,
    symbols: 18,
    severities: { CRITICAL: 0, HIGH: 4, MEDIUM: 0, LOW: 20 },
  });
  for (const raw of [null, [], {}, { open: counts }, { open: { alerts: "many" }, last_24h: counts }])
    expect(normaliseCounts(raw)).toBeNull();
});

test("at any width every control is in the header or in its menu", () => {
  const all: [Control, number][] = (["filter", "pause", "layout", "settings", "sound"] as const).map((name) => [
    name,
    34,
  ]);
  const extras: [Extra, number][] = [
    ["severities", 160],
    ["title", 78],
  ];
  fc.assert(
    fc.property(fc.integer({ min: 34, max: 1_600 }), (available) => {
      const { controls, extras: added, more } = headerOf(available, all, extras);
      expect(controls.size === all.length || more).toBe(true);
      const used = [...all.filter(([name]) => controls.has(name)), ...extras.filter(([name]) => added.has(name))];
      expect(used.reduce((sum, [, width]) => sum + width, more ? 34 : 0)).toBeLessThanOrEqual(available);
    }),
  );
  expect([...headerOf(100, all, extras).controls]).toEqual(["filter"]);
  expect(headerOf(5 * 34 + 160, all, extras)).toMatchObject({ more: false, extras: new Set(["severities"]) });
});

test("the page loads the panel's first request ahead of it: the same address, byte for byte", () => {
  const page = readFileSync(new URL("../templates/frontend/index.html", import.meta.url), "utf8");
  expect(page).toContain(`href="/alerts?limit=${PAGE}&amp;fields=${FIELDS}" as="fetch" crossorigin>`);
});

test("methods of detectors of one's own can be filtered by, after ours, by their names", () => {
  expect(methodsOf(["Z_SCORE", "WHALE", "GAP", "GAP"])).toEqual([...METHODS, "GAP", "WHALE"]);
  expect(methodsOf([])).toEqual(METHODS);
  const [chip] = chipsOf({ ...INITIAL, methods: ["GAP"] }, NOW);
  expect(chip!.label).toContain("GAP");
});
