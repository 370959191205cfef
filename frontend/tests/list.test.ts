import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import {
  type Alert,
  type Entry,
  type ListOptions,
  type MarketAnomaly,
  HEIGHTS,
  INITIAL,
  KEPT_ALERTS,
  Store,
  acceptOf,
  TOUCH_HEIGHTS,
  badgeOf,
  byGravity,
  holdOf,
  itemAt,
  layoutList,
  listCounts,
  normaliseAlert,
  normaliseMarket,
  orderOf,
  unionOf,
} from "../tealstreet/component";

const NOW = 1_621_424_200_000;
const alert = (fields: Record<string, unknown>): Alert =>
  normaliseAlert(
    {
      // A row is a symbol: most tests want one for each alert.
      symbol: typeof fields.id === "string" ? `${fields.id}USDT` : "BTCUSDT",
      method: "MAD",
      severity: "HIGH",
      score: 5,
      change_pct: 1,
      timestamp: NOW,
      ...fields,
    },
    NOW,
  )!;
const incident = (id: string): MarketAnomaly =>
  normaliseMarket({ id, type: "SYNCHRONIZED_MOVEMENT", severity: "HIGH", direction: "DOWN", timestamp: NOW }, NOW)!;
const options = (more: Partial<ListOptions> = {}): ListOptions => ({
  layout: "compact",
  sort: { key: "severity", down: true },
  accepts: () => true,
  cutoff: Infinity,
  pins: true,
  held: null,
  incidents: new Map(),
  unfolded: new Set(),
  folded: new Set(),
  expanded: null,
  expandedHeight: 300,
  touch: false,
  ...more,
});
const filled = (alerts: Alert[]): Store => {
  const store = new Store();
  for (const item of alerts) store.addAlert(item);
  return store;
};
const ids = (entries: Entry[], more?: Partial<ListOptions>) =>
  layoutList(entries, options(more)).items.map((item) => item.key);

describe("store", () => {
  it("reports as news what is new, has a higher severity or the opposite direction, and nothing else", () => {
    const store = new Store();
    const added = (fields: Record<string, unknown>) => store.addAlert(alert({ id: "a", direction: "UP", ...fields }));
    expect(added({ revision: 1, severity: "LOW" })).toBe("news");
    expect(added({ revision: 2, severity: "HIGH" })).toBe("news");
    expect(added({ revision: 3, severity: "HIGH" })).toBe("updated");
    expect(added({ revision: 5, severity: "HIGH", direction: "DOWN" })).toBe("news");
    expect(added({ revision: 4, severity: "CRITICAL" })).toBe("old");
    expect(added({ revision: 6, severity: "CRITICAL", direction: "DOWN", state: "CLOSED" })).toBe("updated");
  });
  it("keeps the latest revision, and every client lists the same order, whatever it received first", () => {
    const frames = [1, 2, 3].flatMap((revision) =>
      ["a", "b", "c"].map((id, i) =>
        alert({ id, revision, score: revision, timestamp: NOW + revision * 10_000 * (3 - i) }),
      ),
    );
    fc.assert(
      fc.property(fc.shuffledSubarray(frames, { minLength: frames.length }), (received) => {
        const store = filled(received);
        expect(["a", "b", "c"].map((id) => store.byId.get(id)!.alert.score)).toEqual([3, 3, 3]);
        expect(ids(store.entries)).toEqual(["a", "b", "c"]);
        expect(ids(store.entries, { sort: { key: "age", down: false } })).toEqual(["c", "b", "a"]);
      }),
    );
  });

  it("lets a signed message replace an unsigned one of any revision, and never the other way round", () => {
    const frames = [
      alert({ id: "a", symbol: "ETHUSDT", revision: 2_147_483_647, state: "CLOSED" }),
      alert({ id: "a", symbol: "BTCUSDT", source: "live" }),
      alert({ id: "a", symbol: "BTCUSDT", source: "live", revision: 2 }),
    ];
    const markets = [9, 1].map((revision) =>
      normaliseMarket(
        { id: "m", type: "MARKET_STRESS", severity: "HIGH", revision, source: revision < 9 ? "live" : null },
        NOW,
      ),
    );
    fc.assert(
      fc.property(
        fc.shuffledSubarray(frames, { minLength: 3 }),
        fc.shuffledSubarray(markets, { minLength: 2 }),
        (a, m) => {
          const store = filled(a);
          for (const item of m) store.addMarket(item!);
          expect(store.byId.get("a")!.alert).toMatchObject({ symbol: "BTCUSDT", source: "live", revision: 2 });
          expect(store.market.get("m")!.revision).toBe(1);
          expect(store.symbols.has("BTCUSDT")).toBe(true);
        },
      ),
    );
  });

  it("remembers the review, which the stream does not know of", () => {
    const store = filled([alert({ id: "a", review_state: "acknowledged" })]);
    store.addAlert(alert({ id: "a", revision: 2 }));
    expect(store.byId.get("a")!.alert).toMatchObject({ revision: 2, review: { state: "ACKNOWLEDGED" } });
    store.addAlert(alert({ id: "a", revision: 3, review_state: "resolved" }));
    store.setReview("a", null);
    expect(store.byId.get("a")!.alert.review).toBeNull();
  });

  it("is bounded: the oldest leave", () => {
    const store = filled(
      Array.from({ length: KEPT_ALERTS + 1_200 }, (_, i) => alert({ id: `a${i}`, timestamp: NOW + i })),
    );
    expect(store.entries.length).toBeLessThan(KEPT_ALERTS + 500);
    expect(store.byId.size).toBe(store.entries.length);
    expect(store.byId.has("a0")).toBe(false);
    expect(store.byId.has(`a${KEPT_ALERTS + 1_199}`)).toBe(true);
  });
});

describe("list", () => {
  it("stacks items without a gap, so that the item at a height is found by counting", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(null, "i1", "i2"), { maxLength: 60 }), fc.boolean(), (adopted, folded) => {
        const store = filled(adopted.map((by, i) => alert({ id: `a${i}`, incident: by, timestamp: NOW + i })));
        const incidents = new Map([["i1", incident("i1")]]);
        const list = layoutList(
          store.entries,
          options({ incidents, folded: new Set(folded ? ["i1"] : []), expanded: "a3" }),
        );
        list.items.forEach((item, i) => {
          expect(list.tops[i]! + item.height).toBe(list.tops[i + 1] ?? list.height);
          expect(itemAt(list.tops, list.tops[i]!)).toBe(i);
          expect(itemAt(list.tops, list.tops[i]! + item.height - 1)).toBe(i);
        });
      }),
    );
  });

  it("folds what an incident explains under it, in the order of the list", () => {
    const store = filled(
      [1, 9, 3, 7, 5].map((rare, i) =>
        alert({ id: `s${rare}`, incident: "i1", rarity_days: rare, timestamp: NOW + i }),
      ),
    );
    store.addAlert(alert({ id: "alone", rarity_days: 8 }));
    const incidents = new Map([["i1", incident("i1")]]);
    const unfolded = ["incident:i1", "s9", "s7", "s5", "more:i1"];
    // Its severity is sorted by, as everybody's; its rarity is unknown.
    expect(ids(store.entries, { incidents })).toEqual(["alone", ...unfolded]);
    expect(ids(store.entries, { incidents, sort: { key: "rarity", down: true } })).toEqual([...unfolded, "alone"]);
    const critical = new Map([["i1", { ...incident("i1"), severity: "CRITICAL" }]]);
    expect(ids(store.entries, { incidents: critical })).toEqual([...unfolded, "alone"]);
    expect(ids(store.entries, { incidents, folded: new Set(["i1"]) })).toEqual(["alone", "incident:i1"]);
    expect(ids(store.entries, { incidents, layout: "table" })).toEqual(["s9", "alone", "s7", "s5", "s3", "s1"]);
    expect(ids(store.entries)).not.toContain("incident:i1");
  });

  it("sorts by severity, then rarity, then the newest; what is closed comes last", () => {
    const store = filled([
      alert({ id: "closed", severity: "CRITICAL", state: "CLOSED" }),
      alert({ id: "low", severity: "LOW", rarity_days: 900 }),
      alert({ id: "unknown", timestamp: NOW + 60_000 }),
      alert({ id: "older", rarity_days: 3 }),
      alert({ id: "newer", rarity_days: 3, timestamp: NOW + 1 }),
      alert({ id: "rare", rarity_days: 12 }),
      alert({ id: "critical", severity: "CRITICAL" }),
    ]);
    const order = ["critical", "rare", "newer", "older", "unknown", "low", "closed"];
    for (const layout of ["compact", "cards", "table"] as const) expect(ids(store.entries, { layout })).toEqual(order);
    const turned = ids(store.entries, { sort: { key: "severity", down: false } });
    expect([turned[0], turned[turned.length - 1]]).toEqual(["low", "closed"]);
  });

  it("sorts by every key in every layout, unknown values last both ways", () => {
    const store = filled([
      alert({ id: "A", change_pct: -3, rarity_days: 2, price: 5, score: -9 }),
      alert({ id: "B", change_pct: null, rarity_days: null, price: null, score: null, timestamp: NOW + 1 }),
      alert({ id: "C", change_pct: 2, rarity_days: 7, price: 1, score: 4, timestamp: NOW + 2 }),
    ]);
    const sorted = (key: string, down: boolean) =>
      ids(store.entries, { layout: "cards", sort: { key: key as "age", down } }).join("");
    for (const [key, falling, rising] of [
      ["age", "CBA", "ABC"],
      ["symbol", "CBA", "ABC"],
      ["change", "CAB", "ACB"],
      ["rarity", "CAB", "ACB"],
      ["score", "ACB", "CAB"],
      ["price", "ACB", "CAB"],
      ["no such key", "CAB", "CAB"],
    ] as const)
      expect([sorted(key, true), key === "no such key" ? rising : sorted(key, false)], key).toEqual([falling, rising]);
  });

  it("has an order that is total: no two alerts are equal, and it does not depend on where one starts", () => {
    const some = fc.record({
      id: fc.constantFrom("a", "b", "c", "d"),
      severity: fc.constantFrom("LOW", "HIGH", "CRITICAL"),
      rarity_days: fc.constantFrom(null, 1, 2),
      state: fc.constantFrom("OPEN", "CLOSED"),
      change_pct: fc.constantFrom(null, -1, 1),
      timestamp: fc.constantFrom(NOW, NOW + 1),
    });
    const keys = fc.constantFrom("severity", "age", "symbol", "change", "rarity", "score", "price");
    fc.assert(
      fc.property(fc.uniqueArray(some, { selector: ({ id }) => id }), keys, fc.boolean(), (fields, key, down) => {
        const order = orderOf({ key: key, down });
        const alerts = fields.map(alert);
        const sorted = [...alerts].sort(order).map(({ id }) => id);
        expect(
          [...alerts]
            .reverse()
            .sort(order)
            .map(({ id }) => id),
        ).toEqual(sorted);
      }),
    );
  });

  it("has one row per venue of a symbol, and then says that there are several", () => {
    const at = (id: string, venue: string) => alert({ id, symbol: "BTCUSDT", venue });
    const { entries } = filled([at("a", "binance"), at("b", "okx-swap"), at("c", "binance")]);
    const list = layoutList(entries, options());
    expect(list.items.map((item) => item.kind === "alert" && item.count)).toEqual([2, 1]);
    expect(list).toMatchObject({ venues: true, open: { alerts: 3, symbols: 1 } });
    expect(layoutList(filled([at("a", "okx")]).entries, options()).venues).toBe(false);
  });

  it("has one row per symbol: the gravest that is open on top, the others inside with theirs", () => {
    const store = filled([
      alert({ id: "first", symbol: "BTCUSDT", severity: "LOW" }),
      alert({ id: "gravest", symbol: "BTCUSDT", severity: "HIGH", timestamp: NOW + 1 }),
      alert({ id: "ended", symbol: "BTCUSDT", severity: "CRITICAL", state: "CLOSED", timestamp: NOW + 2 }),
      alert({ id: "eth", symbol: "ETHUSDT", severity: "MEDIUM", timestamp: NOW + 3 }),
    ]);
    const list = layoutList(store.entries, options());
    expect(list.items.map((item) => item.key)).toEqual(["gravest", "eth"]);
    expect([list.shown, list.open]).toEqual([4, { alerts: 3, symbols: 2 }]);
    // Whichever of them is looked at, its symbol's row is the one that opens.
    const [row] = layoutList(store.entries, options({ expanded: "ended" })).items;
    if (row?.kind !== "alert") throw new Error("an alert was expected");
    expect([row.key, row.expanded, row.count, row.shown.alert.id]).toEqual(["gravest", true, 3, "ended"]);
    expect(row.all.map((entry) => entry.alert.id)).toEqual(["gravest", "first", "ended"]);
    expect(row.height).toBe(HEIGHTS.compact + 300);
  });

  it("shows each accepted alert once: as a row, inside one, pinned or waiting", () => {
    const some = fc.record({
      symbol: fc.constantFrom("AUSDT", "BUSDT", "CUSDT", "DUSDT"),
      severity: fc.constantFrom("LOW", "HIGH", "CRITICAL"),
      state: fc.constantFrom("OPEN", "CLOSED"),
      incident: fc.constantFrom(null, "i1"),
    });
    fc.assert(
      fc.property(fc.array(some, { maxLength: 40 }), fc.nat(40), fc.boolean(), (fields, cutoff, table) => {
        const store = filled(fields.map((one, i) => alert({ ...one, id: `a${i}`, timestamp: NOW + i })));
        const incidents = new Map([["i1", incident("i1")]]);
        const layout = table ? "table" : "cards";
        const list = layoutList(store.entries, options({ cutoff, incidents, layout, unfolded: new Set(["i1"]) }));
        const rows = list.items.filter((item) => item.kind === "alert");
        expect(rows.reduce((sum, row) => sum + row.count, 0) + list.pinned.length + list.waiting).toBe(fields.length);
        expect(new Set(rows.map((row) => row.entry.alert.symbol)).size).toBe(rows.length);
        for (const row of list.units.flatMap((unit) => unit.rows))
          for (const { alert: other } of row) expect(byGravity(row[0].alert, other)).toBeLessThanOrEqual(0);
      }),
    );
  });

  it("holds its order while somebody reads, whatever is updated or adopted meanwhile", () => {
    const store = filled([
      alert({ id: "a", severity: "HIGH" }),
      alert({ id: "b", severity: "MEDIUM" }),
      alert({ id: "c", severity: "LOW" }),
      alert({ id: "c2", symbol: "cUSDT", severity: "LOW", timestamp: NOW - 1 }),
    ]);
    const incidents = new Map([["i1", incident("i1")]]);
    const held = holdOf(layoutList(store.entries, options({ incidents })));
    store.addAlert(alert({ id: "c", revision: 2, severity: "CRITICAL", incident: "i1" }));
    store.addAlert(alert({ id: "c2", symbol: "cUSDT", revision: 2, severity: "CRITICAL", timestamp: NOW + 9 }));
    store.addAlert(alert({ id: "a", revision: 2, state: "CLOSED" }));
    store.addAlert(alert({ id: "d", severity: "HIGH" }));
    expect(ids(store.entries, { held, incidents, cutoff: 4 })).toEqual(["a", "b", "c"]);
    expect(ids(store.entries, { held, incidents })).toEqual(["a", "b", "c", "d"]);
    expect(ids(store.entries, { incidents })).toEqual(["c2", "d", "b", "a"]);
    // An incident holds its place as well, with those it had.
    store.addAlert(alert({ id: "b", revision: 2, severity: "MEDIUM", incident: "i1" }));
    const under = holdOf(layoutList(store.entries, options({ incidents })));
    const ended = new Map([["i1", { ...incident("i1"), state: "CLOSED" }]]);
    expect(ids(store.entries, { incidents: ended, held: under })).toEqual(["c2", "d", "incident:i1", "b", "a"]);
    expect(ids(store.entries, { incidents: ended })).toEqual(["c2", "d", "a", "incident:i1", "b"]);
  });

  it("pins new critical alerts above a list that is being read, unless everything is paused", () => {
    const store = filled([alert({ id: "old", severity: "CRITICAL" })]);
    const cutoff = store.seq;
    for (let i = 1; i <= 5; i += 1) store.addAlert(alert({ id: `c${i}`, severity: "CRITICAL", timestamp: NOW + i }));
    store.addAlert(alert({ id: "high", timestamp: NOW + 9 }));
    const list = layoutList(store.entries, options({ cutoff, expanded: "old" }));
    expect(list.pinned.map((entry) => entry.alert.id)).toEqual(["c5", "c4", "c3"]);
    expect([list.items.length, list.waiting, list.waitingCritical]).toEqual([1, 3, 2]);
    const paused = layoutList(store.entries, options({ cutoff, pins: false }));
    expect([paused.pinned.length, paused.waiting, paused.waitingCritical]).toEqual([0, 6, 5]);
    // A pinned one that is opened is listed.
    expect(ids(store.entries, { cutoff, expanded: "c5" })).toEqual(["c5", "old"]);
  });

  it("says what is open by the server's counts, and how many of them it can sort", () => {
    const counts = (symbols: number, alerts: number, more = false, partial = true) => ({
      symbols,
      alerts,
      more,
      partial,
    });
    expect(listCounts({ alerts: 24, symbols: 18 }, counts(18, 24))).toEqual(["18 symbols, 24 alerts", ""]);
    expect(listCounts({ alerts: 1, symbols: 1 }, counts(1, 1))).toEqual(["1 symbol, 1 alert", ""]);
    expect(listCounts({ alerts: 100, symbols: 80 }, counts(310, 1240))).toEqual([
      "310 symbols, 1,240 alerts",
      "100 newest of 1,240",
    ]);
    // The server's counts are a little older than the stream; the panel has the same ones everywhere.
    expect(listCounts({ alerts: 25, symbols: 19 }, counts(18, 24))).toEqual(["18 symbols, 24 alerts", ""]);
    expect(listCounts({ alerts: 23, symbols: 18 }, counts(18, 24, false, false))[1]).toBe("");
    // Without the server's counts, older alerts may be open as well.
    expect(listCounts({ alerts: 1, symbols: 1 }, counts(1, 1, true))).toEqual(["1+ symbols, 1+ alerts", ""]);
    expect(listCounts({ alerts: 0, symbols: 0 }, counts(0, 0))).toEqual(["none open", ""]); // those below are over
  });

  it("gives a finger room", () => {
    const store = filled([alert({ id: "a" })]);
    for (const layout of ["compact", "cards", "table"] as const) {
      expect(layoutList(store.entries, options({ touch: true, layout })).height).toBe(TOUCH_HEIGHTS[layout]);
      expect(TOUCH_HEIGHTS[layout]).toBeGreaterThanOrEqual(44);
    }
  });

  it("lets what comes while reading wait behind the pill", () => {
    const store = filled([alert({ id: "old" })]);
    const cutoff = store.seq;
    store.addAlert(alert({ id: "new", timestamp: NOW + 1 }));
    const list = layoutList(store.entries, options({ cutoff }));
    expect(list.items.map((item) => item.key)).toEqual(["old"]);
    expect([list.waiting, list.waitingCritical]).toEqual([1, 0]);
  });

  it("counts what the filters hide, and grows by what is expanded", () => {
    const store = filled([alert({ id: "a" }), alert({ id: "b", severity: "LOW", timestamp: NOW + 1 })]);
    const { accepts } = acceptOf({ ...INITIAL, hiddenSeverities: ["LOW"] }, { active: "", positions: new Set() }, NOW);
    const list = layoutList(store.entries, options({ accepts, expanded: "a" }));
    expect([list.shown, list.hidden, list.height]).toEqual([1, 1, HEIGHTS.compact + 300]);
  });
});

test("filters: mutes end, groups and positions narrow, every filter has a name", () => {
  const host = { active: "BTCUSDT", positions: new Set(["ETHUSDT"]) };
  const accepted = (settings: Partial<typeof INITIAL>, symbol: string) =>
    acceptOf({ ...INITIAL, ...settings }, host, NOW).accepts(alert({ symbol }));
  expect(accepted({ muted: { BTCUSDT: NOW + 1 } }, "BTCUSDT")).toBe(false);
  expect(accepted({ muted: { BTCUSDT: NOW - 1 } }, "BTCUSDT")).toBe(true);
  expect(accepted({ restMuted: { until: NOW + 1, symbols: ["BTCUSDT"] } }, "ETHUSDT")).toBe(false);
  expect(accepted({ onlyActive: true }, "ETHUSDT")).toBe(false);
  expect(accepted({ onlyPositions: true }, "ETHUSDT")).toBe(true);
  expect(accepted({ search: "eth" }, "ETHUSDT")).toBe(true);
  expect(accepted({ search: "btc, eth" }, "ETHUSDT")).toBe(true);
  expect(accepted({ search: "btc sol" }, "ETHUSDT")).toBe(false);
  expect(accepted({ group: { label: "Meme", symbols: ["PEPEUSDT"] } }, "1000PEPEUSDC")).toBe(true);
  expect(accepted({ group: { label: "Meme", symbols: ["PEPEUSDT"] } }, "ETHUSDT")).toBe(false);
  expect(acceptOf({ ...INITIAL, search: "x", onlyActive: true, methods: ["MAD"] }, host, NOW).names).toHaveLength(3);
});

test("the badge never lies: the worst of socket and feed, and no fake money in disguise", () => {
  const online = { online: true, loaded: true, attempt: 0, lostAt: null, retryAt: null, error: "" };
  const feed = {
    venue: "binance",
    source: "live",
    state: "ok",
    interval: "1s",
    symbols: 380,
    ageMs: 400,
    timestamp: NOW,
    progress: null,
    reason: "",
  };
  expect(badgeOf(online, feed, 400, false, NOW)).toEqual({ tone: "LIVE", text: "LIVE", note: "0.4 s" });
  expect(badgeOf(online, null, null, false, NOW).text).toBe("CONNECTED");
  expect(badgeOf(online, feed, 42_000, true, NOW).text).toBe("STALE");
  expect(badgeOf({ ...online, online: false, lostAt: NOW - 5_000 }, feed, 400, false, NOW)).toEqual({
    tone: "OFFLINE",
    text: "OFFLINE",
    note: "5s",
  });
  expect(badgeOf(online, feed, 400, false, NOW, null)).toMatchObject({ tone: "LIVE", text: "LIVE", main: "binance" });
  expect(badgeOf(online, feed, 400, false, NOW, { venue: "okx", ageMs: 180_000 })).toEqual({
    tone: "STALE",
    text: "okx STALE",
    note: "3\u00a0min",
    main: "binance LIVE ·",
  });
  expect(badgeOf(online, { ...feed, source: "replay" }, 400, false, NOW, { venue: "okx", ageMs: 0 }).text).toBe(
    "REPLAY · okx STALE",
  );
  for (const source of ["simulated", "replay"]) {
    for (const [status, stale] of [
      [online, false],
      [online, true],
      [{ ...online, online: false, lostAt: NOW }, false],
    ] as const) {
      expect(badgeOf(status, { ...feed, source }, 400, stale, NOW).text).toContain(source.toUpperCase());
    }
  }
});

test("the union of what panels want covers each of them", () => {
  const list = fc.subarray(["HIGH", "LOW", "CRITICAL"]);
  const scope = fc.record({
    channels: fc.subarray(["alerts", "market"]),
    severities: list,
    symbols: fc.subarray(["A", "B"]),
  });
  fc.assert(
    fc.property(fc.array(scope, { minLength: 1, maxLength: 4 }), (scopes) => {
      const union = unionOf(scopes);
      for (const one of scopes)
        for (const name of ["channels", "severities", "symbols"] as const) {
          if (one[name].length === 0) expect(union[name]).toEqual([]);
          else if (union[name].length) expect(union[name]).toEqual(expect.arrayContaining(one[name]));
        }
    }),
  );
});
