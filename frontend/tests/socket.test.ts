// The PAD socket against a real HTTP and WebSocket server that speaks docs/protocol.md.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Pad, type Scope, type Timing } from "../tealstreet/component";
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
