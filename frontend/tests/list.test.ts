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
  badgeOf,
  itemAt,
  layoutList,
  normaliseAlert,
  normaliseMarket,
  unionOf,
} from "../tealstreet/component";

const NOW = 1_621_424_200_000;
const alert = (fields: Record<string, unknown>): Alert =>
  normaliseAlert(
    { symbol: "BTCUSDT", method: "MAD", severity: "HIGH", score: 5, change_pct: 1, timestamp: NOW, ...fields },
    NOW,
  )!;
const incident = (id: string): MarketAnomaly =>
  normaliseMarket({ id, type: "SYNCHRONIZED_MOVEMENT", severity: "HIGH", direction: "DOWN", timestamp: NOW }, NOW)!;
const options = (more: Partial<ListOptions> = {}): ListOptions => ({
  layout: "compact",
  sort: { key: "age", down: true },
  accepts: () => true,
  cutoff: Infinity,
  incidents: new Map(),
  unfolded: new Set(),
  folded: new Set(),
  expanded: null,
  expandedHeight: 300,
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
  it("keeps the latest revision whatever the order, and never moves a row that is updated", () => {
    const revisions = fc.shuffledSubarray([1, 2, 3, 4, 5], { minLength: 5 });
    fc.assert(
      fc.property(revisions, (order) => {
        const store = filled([alert({ id: "a", timestamp: NOW }), alert({ id: "b", timestamp: NOW + 1000 })]);
        for (const revision of order)
          store.addAlert(alert({ id: "a", revision, timestamp: NOW + revision * 10_000, score: revision }));
        expect(store.byId.get("a")!.alert.score).toBe(5);
        expect(ids(store.entries)).toEqual(["b", "a"]);
      }),
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

  it("folds what an incident explains under it, by |score|, at the place of the newest", () => {
    const store = filled(
      [1, 9, 3, 7, 5].map((score, i) => alert({ id: `s${score}`, incident: "i1", score: -score, timestamp: NOW + i })),
    );
    store.addAlert(alert({ id: "alone", timestamp: NOW + 2.5 }));
    const incidents = new Map([["i1", incident("i1")]]);
    expect(ids(store.entries, { incidents })).toEqual(["incident:i1", "s9", "s7", "s5", "more:i1", "alone"]);
    expect(ids(store.entries, { incidents, folded: new Set(["i1"]) })).toEqual(["incident:i1", "alone"]);
    expect(ids(store.entries, { incidents, layout: "table" })).toHaveLength(6);
    expect(ids(store.entries)).not.toContain("incident:i1");
  });

  it("lets what comes while reading wait behind the pill", () => {
    const store = filled([alert({ id: "old" })]);
    const cutoff = store.seq;
    store.addAlert(alert({ id: "new", severity: "CRITICAL", timestamp: NOW + 1 }));
    const list = layoutList(store.entries, options({ cutoff }));
    expect(list.items.map((item) => item.key)).toEqual(["old"]);
    expect([list.waiting, list.waitingCritical]).toEqual([1, 1]);
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
