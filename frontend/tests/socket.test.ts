// The PAD socket against a real HTTP and WebSocket server that speaks docs/protocol.md.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FIELDS, PAGE, Pad, type Scope, type Timing, keepToken } from "../tealstreet/component";
import { eventually } from "./eventually";
import { Peer, alertOf } from "./peer";

const TIMING: Timing = {
  pingAfterMs: 120,
  closeAfterMs: 300,
  firstBackoffMs: 10,
  mostBackoffMs: 40,
  fetchMs: 2_000,
  lingerMs: 20,
  countEveryMs: 40,
  aheadMs: 400,
};
const ALL: Scope = { channels: [], severities: [], symbols: [] };

let peer: Peer;
let pad: Pad;
let panels: { release: () => void }[];
const mount = (scope = ALL) => {
  const panel = pad.retain(scope);
  panels.push(panel);
  return panel;
};
const known = () => [...pad.store.byId.keys()].sort();

beforeEach(async () => {
  peer = new Peer();
  pad = new Pad(await peer.listen(), TIMING);
  panels = [];
});
afterEach(async () => {
  for (const panel of panels) panel.release();
  await eventually(() => expect(pad.status.online).toBe(false));
  await peer.close();
});

test("backfills, then goes on without a gap or a double", async () => {
  peer.publish(alertOf("before"));
  peer.beforeSubscribed = () => {
    peer.beforeSubscribed = () => undefined;
    peer.publish(alertOf("between"));
  };
  mount();
  await eventually(() => expect(known()).toEqual(["before", "between"]));
  peer.publish(alertOf("after"));
  await eventually(() => expect(known()).toEqual(["after", "before", "between"]));
  expect(pad.store.entries).toHaveLength(3);
});

test("any number of panels share one socket; it closes when the last has gone", async () => {
  mount();
  mount();
  const third = mount({ ...ALL, channels: ["alerts"] });
  await eventually(() => expect(pad.status.online).toBe(true));
  expect(peer.connections).toBe(1);
  third.release();
  panels.splice(0).forEach((panel) => panel.release());
  await eventually(() => expect(peer.sockets.size).toBe(0));
  mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  expect(peer.connections).toBe(2);
});

test("the page has one connection per server, however often the module is evaluated", () => {
  expect(Pad.of("http://127.0.0.1:1")).toBe(Pad.of("http://127.0.0.1:1"));
  expect(Pad.of("http://127.0.0.1:1")).not.toBe(Pad.of("http://127.0.0.1:2"));
});

test("a wider panel widens the subscription and fetches the past it needs", async () => {
  mount({ ...ALL, channels: ["market"] });
  await eventually(() => expect(pad.status.online).toBe(true));
  peer.publish(alertOf("a"));
  const before = peer.fetches;
  mount({ ...ALL, channels: ["alerts"] });
  await eventually(() =>
    expect(peer.received.at(-1)).toMatchObject({ type: "update_filters", filters: { channels: ["alerts", "market"] } }),
  );
  await eventually(() => expect(peer.fetches).toBeGreaterThan(before));
  expect(peer.connections).toBe(1);
});

test("a channel switched on while offline is backfilled on return", async () => {
  peer.publish(alertOf("before"));
  const panel = mount({ ...ALL, channels: ["market"] });
  await eventually(() => expect(pad.status.online).toBe(true));
  expect(known()).toEqual([]);
  const [port, { log }] = [Number(new URL(pad.server).port), peer];
  await peer.close();
  await eventually(() => expect(pad.status.online).toBe(false));
  panel.change(ALL);
  peer = new Peer();
  peer.log = log;
  await peer.listen(port);
  await eventually(() => expect(known()).toEqual(["before"]));
});

test("a channel switched on while the first backfill is under way is backfilled as well", async () => {
  peer.publish(alertOf("before"));
  mount({ ...ALL, channels: ["market"] }).change(ALL);
  await eventually(() => expect(known()).toEqual(["before"]));
});

test("a channel whose backfill failed is backfilled before the next connection", async () => {
  peer.publish(alertOf("before"));
  const panel = mount({ ...ALL, channels: ["market"] });
  await eventually(() => expect(pad.status.online).toBe(true));
  peer.restStatus = 503;
  panel.change(ALL);
  await eventually(() => expect(pad.status.attempt).toBeGreaterThan(1));
  expect(pad.status).toMatchObject({ online: false, error: "/alerts returned 503" });
  peer.restStatus = 200;
  await eventually(() => expect(known()).toEqual(["before"]));
});

test("a channel switched off for a while has what it missed", async () => {
  const panel = mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  panel.change({ ...ALL, channels: ["market"] });
  await eventually(() => expect(peer.received.at(-1)).toMatchObject({ filters: { channels: ["market"] } }));
  peer.log.push({ offset: 1, data: alertOf("missed") });
  panel.change(ALL);
  await eventually(() => expect(known()).toEqual(["missed"]));
});

test("after a break it resumes from its cursor and has what it missed", async () => {
  mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  peer.publish(alertOf("a"));
  await eventually(() => expect(known()).toEqual(["a"]));
  const fetches = peer.fetches;
  for (const socket of peer.sockets) socket.terminate();
  peer.sockets.clear();
  peer.publish(alertOf("missed"));
  peer.publish(alertOf("a", 2));
  await eventually(() => expect(known()).toEqual(["a", "missed"]));
  await eventually(() => expect(pad.store.byId.get("a")!.alert.revision).toBe(2));
  expect(peer.received.filter(({ type }) => type === "subscribe").at(-1)).toMatchObject({
    since: { epoch: 1, offset: 1 },
  });
  expect(peer.fetches).toBe(fetches);
});

test("a break inside a message of several brings the whole message again", async () => {
  mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  const frame = { type: "alert", channel: "alerts", offset: 1, more: true, data: alertOf("first of two") };
  for (const socket of peer.sockets) socket.send(JSON.stringify(frame));
  await eventually(() => expect(known()).toEqual(["first of two"]));
  for (const socket of peer.sockets) socket.terminate();
  await eventually(() =>
    expect(peer.received.filter(({ type }) => type === "subscribe").at(-1)).toMatchObject({
      since: { epoch: 1, offset: 0 },
    }),
  );
});

test("when the stream is another one it loads everything afresh", async () => {
  mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  for (const socket of peer.sockets) socket.terminate();
  peer.sockets.clear();
  peer.epoch = 2;
  peer.log = [];
  peer.publish(alertOf("of-the-new-stream"));
  await eventually(() => expect(known()).toEqual(["of-the-new-stream"]));
  await eventually(() => expect(pad.status.online).toBe(true));
});

test("it keeps trying, says since when, and comes back", async () => {
  mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  const port = Number(new URL(pad.server).port);
  await peer.close();
  await eventually(() => expect(pad.status.attempt).toBeGreaterThan(2));
  expect(pad.status).toMatchObject({ online: false, loaded: true });
  expect(pad.status.lostAt).not.toBeNull();
  peer = new Peer();
  await peer.listen(port);
  await eventually(() => expect(pad.status).toMatchObject({ online: true, attempt: 0, lostAt: null }));
});

test("a panel that is mounted again while offline starts no second connection", async () => {
  await peer.close();
  pad = new Pad(pad.server, { ...TIMING, firstBackoffMs: 60_000, mostBackoffMs: 60_000 });
  const panel = mount();
  await eventually(() => expect(pad.status.attempt).toBe(1));
  const timers = vi.spyOn(globalThis, "setInterval");
  panel.release();
  mount();
  expect(timers).not.toHaveBeenCalled();
  expect(pad.status.attempt).toBe(1);
});

test("a peer that fell silent is asked, then left", async () => {
  mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  peer.deaf = true;
  await eventually(() => expect(peer.received).toContainEqual({ type: "ping" }));
  await eventually(() => expect(pad.status.error).toBe("the server stopped responding"));
  peer.deaf = false;
  await eventually(() => expect(pad.status.online).toBe(true));
});

test("what is not JSON or means nothing is skipped and counted", async () => {
  mount();
  await eventually(() => expect(peer.sockets.size).toBe(1));
  const [socket] = peer.sockets;
  for (const text of [
    "not json",
    "[]",
    '{"type":"alert","channel":"alerts","data":{"score":1}}',
    '{"type":"stress","data":{}}',
  ])
    socket!.send(text);
  peer.publish(alertOf("good"));
  await eventually(() => expect(known()).toEqual(["good"]));
  expect(pad.store.skipped).toBe(4);
});

const counts = (alerts: number) => {
  const part = { alerts, symbols: 3, severities: { LOW: 0, MEDIUM: 0, HIGH: alerts, CRITICAL: 0 } };
  return { timestamp: Date.now(), open: part, last_24h: part };
};
const summaries = () => peer.urls.filter((url) => url.startsWith("/alerts/summary"));

test("it asks for one page and for the fields it draws", async () => {
  mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  expect(peer.urls).toContain(`/alerts?limit=${PAGE}&fields=${FIELDS}`);
});

test("a server that does not know the fields is asked for whole rows", async () => {
  peer.knowsFields = false;
  peer.publish(alertOf("a"));
  mount();
  await eventually(() => expect(known()).toEqual(["a"]));
  expect(peer.urls).toContain(`/alerts?limit=${PAGE}`);
  await eventually(() => expect(pad.status.online).toBe(true));
});

test("counts are the server's, with the filters of the list; the severities are counted without theirs", async () => {
  peer.summary = counts(1240);
  mount();
  pad.want({ query: "methods=MAD", severities: ["HIGH"] });
  await eventually(() => expect(pad.summary?.open).toMatchObject({ alerts: 1240, symbols: 3 }));
  expect(summaries().sort()).toEqual(["/alerts/summary?methods=MAD", "/alerts/summary?methods=MAD&severities=HIGH"]);
});

test("it counts again after new alerts, and at once for other filters", async () => {
  peer.summary = counts(1);
  mount();
  pad.want({ query: "", severities: [] });
  await eventually(() => expect(pad.summary?.open.alerts).toBe(1));
  peer.summary = counts(2);
  for (let i = 0; i < 20; i += 1) peer.publish(alertOf(`a${i}`));
  await eventually(() => expect(pad.summary?.open.alerts).toBe(2));
  expect(summaries().length).toBeLessThan(6);
  pad.want({ query: "methods=MAD", severities: [] });
  expect(pad.summary).toBeNull();
  await eventually(() => expect(pad.summary?.open.alerts).toBe(2));
  pad.want(null);
  expect(pad.summary).toBeNull();
});

test("a server without a summary is asked once a connection", async () => {
  mount();
  pad.want({ query: "", severities: [] });
  await eventually(() => expect(summaries()).toHaveLength(1));
  peer.publish(alertOf("a"));
  await eventually(() => expect(known()).toEqual(["a"]));
  peer.publish(alertOf("b"));
  await eventually(() => expect(known()).toEqual(["a", "b"]));
  expect(summaries()).toHaveLength(1);
  expect(pad.summary).toBeNull();
});

test("older alerts come page by page, to the last, and never wait behind the pill", async () => {
  for (let i = 0; i < 2 * PAGE + 7; i += 1) peer.publish(alertOf(`a${i}`));
  mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  expect(pad.store.entries).toHaveLength(PAGE);
  expect(pad.olderOf("")).toMatchObject({ more: true, loading: false, error: "" });
  const newest = pad.store.seq;
  await pad.loadOlder("");
  expect(pad.store.entries).toHaveLength(2 * PAGE);
  await pad.loadOlder("");
  expect(pad.store.entries).toHaveLength(2 * PAGE + 7);
  expect(pad.olderOf("").more).toBe(false);
  expect(Math.max(...pad.store.entries.map(({ seq }) => seq))).toBe(newest);
});

test("a list with filters is read from its newest row on, past what is here already", async () => {
  for (let i = 0; i < PAGE + 3; i += 1) peer.publish(alertOf(`a${i}`));
  mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  await pad.loadOlder("methods=MAD");
  expect(peer.urls).toContain(`/alerts?limit=${PAGE}&methods=MAD&fields=${FIELDS}`);
  expect(pad.store.entries).toHaveLength(PAGE + 3);
  expect(pad.olderOf("methods=MAD").more).toBe(false);
  expect(pad.olderOf("").more).toBe(true);
});

test("a page of older alerts that fails can be asked for again", async () => {
  for (let i = 0; i < PAGE + 1; i += 1) peer.publish(alertOf(`a${i}`));
  mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  peer.restStatus = 503;
  peer.deliver = (response) => void response.end("{}");
  await pad.loadOlder("");
  expect(pad.olderOf("")).toMatchObject({ more: true, loading: false, error: "/alerts returned 503" });
  peer.restStatus = 200;
  peer.deliver = (response, text) => void response.end(text);
  await pad.loadOlder("");
  expect(pad.store.entries).toHaveLength(PAGE + 1);
});

test("the alert of a link is fetched if it is not among the newest", async () => {
  for (let i = 0; i < PAGE + 1; i += 1) peer.publish(alertOf(`a${i}`));
  mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  expect(await pad.load("a0")).toBe(true);
  expect(await pad.load("none")).toBe(false);
  expect(pad.store.byId.get("a0")!.alert.symbol).toBe("BTCUSDT");
});

test("an answer that still arrives is waited for, one that stops is not; only silence is called no answer", async () => {
  pad = new Pad(pad.server, { ...TIMING, fetchMs: 150 });
  peer.publish(alertOf("a"));
  // Longer than the limit as a whole, but never silent for that long.
  peer.deliver = (response, text) => {
    const parts = text.match(/[^]{1,40}/g)!;
    const timer = setInterval(
      () => (parts.length ? response.write(parts.shift()) : (clearInterval(timer), response.end())),
      25,
    );
  };
  mount();
  await eventually(() => expect(known()).toEqual(["a"]));
  await eventually(() => expect(pad.status.online).toBe(true));
  panels.splice(0).forEach((panel) => panel.release());
  await eventually(() => expect(pad.status.online).toBe(false));

  pad = new Pad(pad.server, { ...TIMING, fetchMs: 150 });
  peer.deliver = (response, text) => void response.write(text.slice(0, 30));
  mount();
  await eventually(() => expect(`${pad.status.answered} ${pad.status.error}`).toMatch(/^true .* stopped after/));
  panels.splice(0).forEach((panel) => panel.release());

  pad = new Pad(pad.server, { ...TIMING, fetchMs: 150 });
  peer.deliver = () => undefined;
  mount();
  await eventually(() => expect(`${pad.status.answered} ${pad.status.error}`).toMatch(/^false no answer for/));
});

test("an answer that is not JSON is an answer", async () => {
  peer.deliver = (response) => void response.end("<html>Sign in to the network</html>");
  mount();
  await eventually(() => expect(pad.status).toMatchObject({ error: "/alerts returned no JSON", answered: true }));
});

test("a page that comes back to sight connects at once", async () => {
  const page = Object.assign(new EventTarget(), { hidden: false });
  vi.stubGlobal("document", page);
  await peer.close();
  pad = new Pad(pad.server, { ...TIMING, firstBackoffMs: 60_000, mostBackoffMs: 60_000 });
  const port = Number(new URL(pad.server).port);
  mount();
  await eventually(() => expect(pad.status.attempt).toBe(1));
  peer = new Peer();
  await peer.listen(port);
  page.hidden = true;
  page.dispatchEvent(new Event("visibilitychange"));
  expect(peer.fetches).toBe(0);
  page.hidden = false;
  page.dispatchEvent(new Event("visibilitychange"));
  await eventually(() => expect(pad.status.online).toBe(true));
  vi.unstubAllGlobals();
});

const MINUTE = 60_000;
test("an alert of a replay waits until its clock has reached it, and not for ever", async () => {
  const start = Date.UTC(2021, 4, 19, 12, 50);
  const send = (type: string, data: object) => {
    for (const socket of peer.sockets) socket.send(JSON.stringify({ type, channel: "market", data }));
  };
  const play = (minutes: number) =>
    send("stress", { venue: "binance", stress_index: 20, interval: "1m", timestamp: start + minutes * MINUTE });
  const at = (id: string, minutes: number, revision = 1) =>
    peer.publish({ ...alertOf(id, revision), timestamp: start + minutes * MINUTE });
  mount();
  await eventually(() => expect(pad.status.online).toBe(true));
  send("feed", { venue: "binance", source: "replay", symbols: 2, timestamp: Date.now() });
  play(0);
  at("a", 0);
  at("b", 2);
  at("b", 3, 2);
  await eventually(() => expect(known()).toEqual(["a"]));
  play(2);
  await eventually(() => expect(known()).toEqual(["a", "b"]));
  expect(pad.store.byId.get("b")!.alert.revision).toBe(1);
  play(3);
  await eventually(() => expect(pad.store.byId.get("b")!.alert.revision).toBe(2));
  // Of another run, an hour later in the recording: the clock does not get there.
  at("later", 60);
  await eventually(() => expect(known()).toEqual(["a", "b", "later"]));
  expect(pad.marketNow()).toBe(start + 3 * MINUTE);
});

test("a token is shown over HTTP and on the socket, and never in an address", async () => {
  const kept = new Map<string, string>();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
  });
  peer.token = "ank_secret";
  peer.publish(alertOf("one"));
  mount();
  await eventually(() => expect(pad.status).toMatchObject({ online: false, refused: true, answered: true }));
  expect(pad.status.error).toContain("needs a token");
  keepToken(pad.server, "ank_wrong");
  pad.reconnect();
  await eventually(() => expect(pad.status.error).toContain("refused the token"));
  keepToken(pad.server, "ank_secret");
  pad.reconnect();
  await eventually(() => expect(pad.status.online).toBe(true));
  expect(known()).toEqual(["one"]);
  expect(peer.received[0]).toEqual({ type: "auth", token: "ank_secret" });
  expect(peer.urls.join()).not.toContain("ank_");
  expect([...kept.keys()]).toEqual(["anomaly-tokens"]);
  peer.token = "ank_another";
  for (const socket of peer.sockets) socket.close(4401, "This token was revoked.");
  await eventually(() => expect(pad.status).toMatchObject({ online: false, refused: true }));
  keepToken(pad.server, "");
  expect(kept.get("anomaly-tokens")).toBe("{}");
  vi.unstubAllGlobals();
});
