// Says what the committed build was made from, in the format of sha256sum. A Python test compares it with the sources, so
// a stale build is found on machines without Node.

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const SOURCES = [
  "tealstreet/component.tsx",
  "host/web.tsx",
  "host/web-api.ts",
  "host/panel-page.css",
  "scripts/build-component.mjs",
  "vite.config.ts",
  "package-lock.json",
];

const lines = SOURCES.map(
  (path) =>
    `${createHash("sha256")
      .update(readFileSync(root + path))
      .digest("hex")}  ${path}`,
);
writeFileSync(`${root}static/frontend/panel/sources.sha256`, `${lines.join("\n")}\n`);
