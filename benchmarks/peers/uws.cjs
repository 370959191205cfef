// uWebSockets servers to be held against, fed by NATS as ours is.
//   node uws.cjs PORT NATS_URL loop     iterate the sockets, test each one's filter, ws.send: how such servers are usually written
//   node uws.cjs PORT NATS_URL topic    a topic per symbol and severity, publish: its best case, it coalesces per loop iteration
const uWS = require("uwebsockets");
const { connect } = require("nats");

const [port, natsUrl, mode] = [Number(process.argv[2]), process.argv[3], process.argv[4]];
const SEVERITIES = ["LOW", "MEDIUM", "HIGH", "CRITICAL"];
const sockets = new Set();

const app = uWS.App().ws("/ws", {
  maxBackpressure: 64 << 20,
  idleTimeout: 0,
  open: (ws) => sockets.add(ws),
  close: (ws) => sockets.delete(ws),
  message: (ws, message) => {
    const { filters } = JSON.parse(Buffer.from(message).toString());
    const data = ws.getUserData ? ws.getUserData() : ws;
    data.symbols = filters.symbols && new Set(filters.symbols);
    data.severities = filters.severities && new Set(filters.severities);
    if (mode === "topic") {
      if (!filters.symbols) ws.subscribe("all");
      else for (const symbol of filters.symbols) for (const severity of filters.severities) ws.subscribe(`${symbol}/${severity}`);
    }
    ws.send('{"type":"subscribed"}');
  },
});

app.listen("127.0.0.1", port, async (ok) => {
  if (!ok) process.exit(1);
  const nats = await connect({ servers: natsUrl });
  const decoder = new TextDecoder();
  let offset = 0;
  nats.subscribe("bench.alerts", {
    callback: (error, message) => {
      const text = decoder.decode(message.data);
      const alert = JSON.parse(text);
      const frame = `{"type":"alert","channel":"alerts","offset":${++offset},"data":${text}}`;
      if (mode === "topic") {
        app.publish("all", frame);
        app.publish(`${alert.symbol}/${alert.severity}`, frame);
        return;
      }
      for (const ws of sockets) {
        const data = ws.getUserData ? ws.getUserData() : ws;
        if (data.symbols && !data.symbols.has(alert.symbol)) continue;
        if (data.severities && !data.severities.has(alert.severity)) continue;
        ws.send(frame);
      }
    },
  });
  await nats.flush();
  console.log("listening");
});
