// A real HTTP and WebSocket server that speaks docs/protocol.md.

import { type IncomingHttpHeaders, type Server, createServer } from "node:http";
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
  reviews: { url: string; headers: IncomingHttpHeaders }[] = [];
  deaf = false;
  /** Runs between the backfill and the answer to `subscribe`: what happens there must not be lost. */
  beforeSubscribed: () => void = () => undefined;
  private http: Server;
  private ws: WebSocketServer;

  constructor() {
    this.http = createServer((request, response) => {
      this.fetches += 1;
      if (request.method === "POST") {
        this.reviews.push({ url: request.url!, headers: request.headers });
        response.statusCode = this.reviewStatus;
        return response.end('{"review_state":"acknowledged","reviewed_by":"ann","reviewed_at":1621424220000}');
      }
      response.statusCode = this.restStatus;
      if (request.url === "/sectors")
        return response.end('{"results":[{"sector":"Meme","size":2,"symbols":["DOGEUSDT","PEPEUSDT"]}]}');
      const results = request.url!.startsWith("/alerts?") ? this.latest() : [];
      response.setHeader("content-type", "application/json").end(JSON.stringify({ results, cursor: this.cursor }));
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
