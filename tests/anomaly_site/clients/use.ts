// Compiled against the types that openapi-typescript generates from /schema, and run by node against a server.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type MarketRow = components["schemas"]["StoredMarketAnomaly"];

const client = createClient<paths>({ baseUrl: process.argv[2] });

function words(row: MarketRow): string {
  if (row.type === "MARKET_STRESS") return `${row.id} stress ${row.stress_index?.toFixed(0)} of ${row.universe}`;
  if (row.type === "SECTOR_ANOMALY") return `${row.id} ${row.sector} ${row.deviation}`;
  if (row.type === "SYNCHRONIZED_MOVEMENT") return `${row.id} ${row.direction} ${row.affected_symbols.join(" ")}`;
  return `${row.id} other ${row.review_state}`;
}

const market = await client.GET("/market", { params: { query: { limit: 10 } } });
const rows = market.data?.results ?? [];
const alerts = await client.GET("/alerts", { params: { query: { severity: ["HIGH"] } } });
const alert = alerts.data?.results[0];
const window: unknown = alert?.explanation.parameters?.["window_ms"];
const isNew: boolean = alert?.method === "A_METHOD_OF_LATER";
const refused = await client.GET("/alerts", { params: { query: { limit: 0 } } });
const missing = await client.GET("/market/{id}", { params: { path: { id: "none" } } });

console.log(
  JSON.stringify({
    market: rows.map(words),
    alert: [alert?.symbol, alert?.change_pct, alert?.method, isNew, window],
    refused: refused.error,
    missing: missing.response.status,
  }),
);
