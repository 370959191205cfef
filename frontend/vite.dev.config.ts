import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Every save of component.tsx also writes component-ready.tsx, the text to paste. */
const component: Plugin = {
  name: "component-ready",
  configureServer(server) {
    const build = () =>
      execFile(process.execPath, [here("scripts/build-component.mjs")], (error, out, err) =>
        server.config.logger.info((error ? err : out).trim()),
      );
    build();
    server.watcher.on("change", (path) => path === here("tealstreet/component.tsx") && build());
  },
};

// The local iterator: the component in a faux TealStreet, against a running server (ALERTS, default localhost:3001).
// In mode `pasted` it is not the module that is mounted but the text to paste, evaluated as the terminal does it.
export default defineConfig(({ mode }) => ({
  root: here("host"),
  base: "./",
  plugins: [component],
  resolve: {
    alias: mode === "pasted" ? [{ find: "../tealstreet/component", replacement: here("host/pasted.tsx") }] : [],
  },
  define: { __ALERTS__: JSON.stringify(process.env.ALERTS ?? "http://localhost:3001") },
  server: { host: "127.0.0.1", port: 5173, fs: { allow: [here(".")] } },
}));
