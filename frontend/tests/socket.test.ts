// The PAD socket against a real HTTP and WebSocket server that speaks docs/protocol.md.

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { Pad, type Scope, type Timing } from "../tealstreet/component";

const TIMING: Timing = { pingAfterMs: 120, closeAfterMs: 300, firstBackoffMs: 10, mostBackoffMs: 40, fetchMs: 2_000, lingerMs: 20 };
const ALL: Scope = { channels: [], severities: [], symbols: [] };
const alertOf = (id: string, revision = 1) => ({ id, revision, symbol: "BTCUSDT", method: "MAD", severity: "HIGH", timestamp: Date.now() });

/** A log of anomalies behind REST and `/ws`: `since` replays what came after it. */
class Peer {
  log: { offset: number; data: { id: string; revision: number } }[] = [];
  epoch = 1;
  received: Record<string, unknown>[] = [];
  sockets = new Set<WebSocket>();
  connections = 0;
  fetches = 0;
  deaf = false;
  /** Runs between the backfill and the answer to `subscribe`: what happens there must not be lost. */
  beforeSubscribed: () => void = () => undefined;
  private http: Server;
  private ws: WebSocketServer;

  constructor() {
    this.http = createServer((request, response) => {
      this.fetches += 1;
      const results = request.url!.startsWith("/alerts?") ? this.latest() : [];
      response.setHeader("content-type", "application/json").end(JSON.stringify({ results, cursor: this.cursor }));
    });
    this.ws = new WebSocketServer({ server: this.http });
    this.ws.on("connection", (socket) => {
      this.connections += 1;
      socket.on("message", (text) => this.answer(socket, JSON.parse(String(text))));
      socket.on("close", () => this.sockets.delete(socket));
    });
  }

  get cursor() {
    return { epoch: this.epoch, offset: this.log.length };
  }
  latest() {
    return [...new Map(this.log.map(({ data, offset }) => [data.id, { ...data, offset }])).values()].reverse();
  }
  async listen(port = 0): Promise<string> {
    await new Promise<void>((resolve) => this.http.listen(port, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.http.address() as AddressInfo).port}`;
  }
  async close(): Promise<void> {
    for (const client of this.ws.clients) client.terminate();
    this.ws.close();
    this.http.closeAllConnections();
    await new Promise((resolve) => this.http.close(resolve));
  }
  publish(data: ReturnType<typeof alertOf>): void {
    this.log.push({ offset: this.log.length + 1, data });
    for (const socket of this.sockets) socket.send(this.frame(this.log[this.log.length - 1]!));
  }
  private frame = ({ offset, data }: Peer["log"][number]) => JSON.stringify({ type: "alert", channel: "alerts", offset, data });
  private answer(socket: WebSocket, request: Record<string, unknown>): void {
    this.received.push(request);
    if (this.deaf) return;
    if (request.type === "ping") return socket.send('{"type":"pong"}');
    this.beforeSubscribed();
    const since = request.since as Peer["cursor"] | undefined;
    const recovered = since?.epoch === this.epoch && since.offset <= this.log.length;
    socket.send(JSON.stringify({ type: "subscribed", filters: request.filters, cursor: recovered ? since : this.cursor, recovered, warnings: [] }));
    if (recovered) for (const entry of this.log.slice(since.offset)) socket.send(this.frame(entry));
    this.sockets.add(socket);
  }
}

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
  await vi.waitFor(() => expect(pad.status.online).toBe(false));
  await peer.close();
});

test("backfills, then goes on without a gap or a double", async () => {
  peer.publish(alertOf("before"));
  peer.beforeSubscribed = () => {
    peer.beforeSubscribed = () => undefined;
    peer.publish(alertOf("between"));
  };
  mount();
  await vi.waitFor(() => expect(known()).toEqual(["before", "between"]));
  peer.publish(alertOf("after"));
  await vi.waitFor(() => expect(known()).toEqual(["after", "before", "between"]));
  expect(pad.store.entries).toHaveLength(3);
});

test("any number of panels share one socket; it closes when the last has gone", async () => {
  mount();
  mount();
  const third = mount({ ...ALL, channels: ["alerts"] });
  await vi.waitFor(() => expect(pad.status.online).toBe(true));
  expect(peer.connections).toBe(1);
  third.release();
  panels.splice(0).forEach((panel) => panel.release());
  await vi.waitFor(() => expect(peer.sockets.size).toBe(0));
  mount();
  await vi.waitFor(() => expect(pad.status.online).toBe(true));
  expect(peer.connections).toBe(2);
});

test("the page has one connection per server, however often the module is evaluated", () => {
  expect(Pad.of("http://127.0.0.1:1")).toBe(Pad.of("http://127.0.0.1:1"));
  expect(Pad.of("http://127.0.0.1:1")).not.toBe(Pad.of("http://127.0.0.1:2"));
});

test("a wider panel widens the subscription and fetches the past it needs", async () => {
  mount({ ...ALL, channels: ["market"] });
  await vi.waitFor(() => expect(pad.status.online).toBe(true));
  peer.publish(alertOf("a"));
  const before = peer.fetches;
  mount({ ...ALL, channels: ["alerts"] });
  await vi.waitFor(() => expect(peer.received.at(-1)).toMatchObject({ type: "update_filters", filters: { channels: ["alerts", "market"] } }));
  await vi.waitFor(() => expect(peer.fetches).toBeGreaterThan(before));
  expect(peer.connections).toBe(1);
});

test("after a break it resumes from its cursor and has what it missed", async () => {
  mount();
  await vi.waitFor(() => expect(pad.status.online).toBe(true));
  peer.publish(alertOf("a"));
  await vi.waitFor(() => expect(known()).toEqual(["a"]));
  const fetches = peer.fetches;
  for (const socket of peer.sockets) socket.terminate();
  peer.sockets.clear();
  peer.publish(alertOf("missed"));
  peer.publish(alertOf("a", 2));
  await vi.waitFor(() => expect(known()).toEqual(["a", "missed"]));
  await vi.waitFor(() => expect(pad.store.byId.get("a")!.alert.revision).toBe(2));
  expect(peer.received.filter(({ type }) => type === "subscribe").at(-1)).toMatchObject({ since: { epoch: 1, offset: 1 } });
  expect(peer.fetches).toBe(fetches);
});

test("when the stream is another one it loads everything afresh", async () => {
  mount();
  await vi.waitFor(() => expect(pad.status.online).toBe(true));
  for (const socket of peer.sockets) socket.terminate();
  peer.sockets.clear();
  peer.epoch = 2;
  peer.log = [];
  peer.publish(alertOf("of-the-new-stream"));
  await vi.waitFor(() => expect(known()).toEqual(["of-the-new-stream"]));
  await vi.waitFor(() => expect(pad.status.online).toBe(true));
});

test("it keeps trying, says since when, and comes back", async () => {
  mount();
  await vi.waitFor(() => expect(pad.status.online).toBe(true));
  const port = Number(new URL(pad.server).port);
  await peer.close();
  await vi.waitFor(() => expect(pad.status.attempt).toBeGreaterThan(2));
  expect(pad.status).toMatchObject({ online: false, loaded: true });
  expect(pad.status.lostAt).not.toBeNull();
  peer = new Peer();
  await peer.listen(port);
  await vi.waitFor(() => expect(pad.status).toMatchObject({ online: true, attempt: 0, lostAt: null }));
});

test("a peer that fell silent is asked, then left", async () => {
  mount();
  await vi.waitFor(() => expect(pad.status.online).toBe(true));
  peer.deaf = true;
  await vi.waitFor(() => expect(peer.received).toContainEqual({ type: "ping" }));
  await vi.waitFor(() => expect(pad.status.error).toBe("the server went silent"), 2_000);
  peer.deaf = false;
  await vi.waitFor(() => expect(pad.status.online).toBe(true), 2_000);
});

test("what is not JSON or means nothing is skipped and counted", async () => {
  mount();
  await vi.waitFor(() => expect(peer.sockets.size).toBe(1));
  const [socket] = peer.sockets;
  for (const text of ["not json", "[]", '{"type":"alert","channel":"alerts","data":{"score":1}}', '{"type":"stress","data":{}}']) socket!.send(text);
  peer.publish(alertOf("good"));
  await vi.waitFor(() => expect(known()).toEqual(["good"]));
  expect(pad.store.skipped).toBe(4);
});
