// A real HTTP and WebSocket server that speaks docs/protocol.md.

import { type IncomingHttpHeaders, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";

export const alertOf = (id: string, revision = 1) => ({
  id,
  revision,
  symbol: "BTCUSDT",
  method: "MAD",
  severity: "HIGH",
  timestamp: Date.now(),
});

/** A log of anomalies behind REST and `/ws`: `since` replays what came after it. */
export class Peer {
  log: { offset: number; data: { id: string; revision: number } }[] = [];
  epoch = 1;
  received: Record<string, unknown>[] = [];
  sockets = new Set<WebSocket>();
  connections = 0;
  fetches = 0;
  /** What every GET answers. */
  restStatus = 200;
  /** What `POST …/review` answers: the status, and the requests it was asked with. */
  reviewStatus = 200;
  reviews: { url: string; headers: IncomingHttpHeaders; body: string }[] = [];
  /** The addresses of all requests. */
  urls: string[] = [];
  /** What `/alerts/summary` answers; null as from a server of before, which has no such alert. */
  summary: object | null = null;
  /** False as from a server of before: 400. */
  knowsFields = true;
  /** How a list is sent: at once, unless a test has its own way. */
  deliver: (response: ServerResponse, text: string) => void = (response, text) => void response.end(text);
  /** The token that reading needs; empty: none. */
  token = "";
  private known = new Set<WebSocket>();
  deaf = false;
  /** Runs between the backfill and the answer to `subscribe`: what happens there must not be lost. */
  beforeSubscribed: () => void = () => undefined;
  private http: Server;
  private ws: WebSocketServer;

  constructor() {
    this.http = createServer((request, response) => {
      this.fetches += 1;
      this.urls.push(request.url!);
      if (request.method === "POST") {
        let body = "";
        request.on("data", (part: Buffer) => (body += part.toString()));
        request.on("end", () => {
          this.reviews.push({ url: request.url!, headers: request.headers, body });
          response.statusCode = this.reviewStatus;
          const change = JSON.parse(body) as object;
          response.end(JSON.stringify({ reviewed_by: "ann", reviewed_at: 1_621_424_220_000, ...change }));
        });
        return;
      }
      const refused = this.token && request.headers.authorization !== `Bearer ${this.token}`;
      if (refused) {
        response.statusCode = 401;
        return response.end('{"detail":"send a token"}');
      }
      response.statusCode = this.restStatus;
      if (request.url === "/sectors")
        return response.end('{"results":[{"sector":"Meme","size":2,"symbols":["DOGEUSDT","PEPEUSDT"]}]}');
      const { pathname, searchParams: query } = new URL(request.url!, "http://peer");
      response.setHeader("content-type", "application/json");
      const known =
        pathname === "/alerts/summary" ? this.summary : this.latest().find(({ id }) => pathname === `/alerts/${id}`);
      if (/^\/alerts\/./.test(pathname)) {
        if (!known) response.statusCode = 404;
        return response.end(JSON.stringify(known ?? { detail: "Not found." }));
      }
      if (query.has("fields") && !this.knowsFields) {
        response.statusCode = 400;
        return response.end('{"fields":["Unknown parameter."]}');
      }
      // A page begins after the row `before` names.
      const rows = pathname === "/alerts" ? this.latest() : [];
      const from = rows.findIndex(({ id }) => id === query.get("before")) + 1;
      const results = rows.slice(from, from + Number(query.get("limit") ?? 100));
      const isLast = from + results.length >= rows.length;
      query.set("before", results.at(-1)?.id ?? "");
      const next = isLast ? null : `http://behind-a-proxy${pathname}?${query.toString()}`;
      this.deliver(response, JSON.stringify({ results, next, cursor: this.cursor }));
    });
    this.ws = new WebSocketServer({ server: this.http });
    this.ws.on("connection", (socket) => {
      this.connections += 1;
      socket.on("message", (text: Buffer) =>
        this.answer(socket, JSON.parse(text.toString()) as Record<string, unknown>),
      );
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
  publish(data: ReturnType<typeof alertOf> & Record<string, unknown>): void {
    this.log.push({ offset: this.log.length + 1, data });
    for (const socket of this.sockets) socket.send(this.frame(this.log[this.log.length - 1]!));
  }
  private frame = ({ offset, data }: Peer["log"][number]) =>
    JSON.stringify({ type: "alert", channel: "alerts", offset, data });
  private answer(socket: WebSocket, request: Record<string, unknown>): void {
    this.received.push(request);
    if (this.deaf) return;
    if (request.type === "auth" && request.token === this.token) this.known.add(socket);
    if (this.token && !this.known.has(socket)) return socket.close(4401, "reading needs a token here");
    if (request.type === "auth") return;
    if (request.type === "ping") return socket.send('{"type":"pong"}');
    this.beforeSubscribed();
    const since = request.since as Peer["cursor"] | undefined;
    const recovered = since?.epoch === this.epoch && since.offset <= this.log.length;
    socket.send(
      JSON.stringify({
        type: "subscribed",
        filters: request.filters,
        cursor: recovered ? since : this.cursor,
        recovered,
        warnings: [],
      }),
    );
    if (recovered) for (const entry of this.log.slice(since.offset)) socket.send(this.frame(entry));
    this.sockets.add(socket);
  }
}
