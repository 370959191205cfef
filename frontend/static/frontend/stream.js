// One connection to the alert server: backfill over REST, then `/ws` from exactly where the backfill ended.
//
// No gap and no duplicate: both REST answers carry a cursor, the subscription names the older one in `since`, and whoever
// applies messages ignores revisions it already has. After a break the last cursor resumes; when the server cannot
// (`recovered:false`), everything is fetched again.

const CHANNELS = ["alerts", "market"];
const SILENCE_PING_MS = 20_000;
const SILENCE_CLOSE_MS = 30_000;
const BACKOFF_MS = { first: 500, most: 30_000 };

async function fetchJson(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(10_000) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

export class Stream {
  // handlers: snapshot(alerts, market), message(frame), status({online, attempt, retryAt, since, error})
  constructor(handlers, limit) {
    this.handlers = handlers;
    this.limit = limit;
    this.cursor = null;
    this.attempt = 0;
    this.refusals = 0;
    this.lostAt = null;
  }

  start() {
    addEventListener("online", () => this.retryNow());
    setInterval(() => this.watch(), 5_000);
    this.connect();
  }

  retryNow() {
    if (this.socket || this.busy) return;
    clearTimeout(this.timer);
    this.connect();
  }

  async connect() {
    this.busy = true;
    try {
      if (!this.cursor) await this.backfill();
      this.open();
    } catch (error) {
      this.lost(error.message);
    } finally {
      this.busy = false;
    }
  }

  async backfill() {
    const [alerts, market] = await Promise.all([
      fetchJson(`/alerts?limit=${this.limit}`),
      fetchJson(`/market?limit=100`),
    ]);
    this.handlers.snapshot(alerts.results, market.results);
    const [a, b] = [alerts.cursor, market.cursor];
    this.cursor = a && b && a.epoch === b.epoch ? (a.offset <= b.offset ? a : b) : (a ?? b ?? null);
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    this.socket = socket;
    this.heardAt = Date.now();
    socket.onopen = () => this.subscribe();
    socket.onmessage = (event) => {
      this.heardAt = Date.now();
      let frame;
      try {
        frame = JSON.parse(event.data);
      } catch {
        return;
      }
      this.receive(frame);
    };
    socket.onclose = (event) => {
      if (this.socket !== socket) return;
      this.socket = null;
      this.lost(event.reason || `closed with code ${event.code}`);
    };
  }

  subscribe() {
    const request = { type: "subscribe", filters: { channels: CHANNELS } };
    if (this.cursor) request.since = this.cursor;
    this.sentSince = Boolean(this.cursor);
    this.send(request);
  }

  async receive(frame) {
    if (frame.type === "subscribed") {
      if (this.sentSince && frame.recovered === false && this.refusals < 2) {
        this.refusals += 1;
        try {
          await this.backfill();
          this.subscribe();
        } catch {
          this.socket?.close();
        }
        return;
      }
      // With `since`, the missed frames follow this one: our own cursor moves with them, not ahead of them.
      if (!this.sentSince || frame.recovered === false) this.cursor = frame.cursor ?? null;
      this.attempt = this.refusals = 0;
      this.lostAt = null;
      this.handlers.status({ online: true });
    } else if (frame.type === "heartbeat" && frame.cursor) {
      this.cursor = frame.cursor;
    } else if (typeof frame.offset === "number" && this.cursor) {
      this.cursor = { ...this.cursor, offset: Math.max(this.cursor.offset, frame.offset) };
    }
    this.handlers.message(frame);
  }

  lost(error) {
    this.lostAt ??= Date.now();
    this.attempt += 1;
    const most = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** (this.attempt - 1));
    const delay = most * (0.5 + Math.random() / 2);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), delay);
    this.handlers.status({ online: false, error, attempt: this.attempt, retryAt: Date.now() + delay, since: this.lostAt });
  }

  // A dead peer does not always close: ask after a silence, hang up after a longer one.
  watch() {
    if (!this.socket) return;
    const silence = Date.now() - this.heardAt;
    if (silence > SILENCE_CLOSE_MS) {
      const socket = this.socket;
      this.socket = null;
      socket.close();
      this.lost("the server went silent");
    } else if (silence > SILENCE_PING_MS) {
      this.send({ type: "ping" });
    }
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}
