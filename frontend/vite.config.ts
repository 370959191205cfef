import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// The page at `/`: fixed file names, so that the template names them and a build of the same source is the same bytes.
export default defineConfig({
  base: "./",
  publicDir: false,

  build: {
    outDir: fileURLToPath(new URL("static/frontend/panel", import.meta.url)),
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    rollupOptions: {
      input: fileURLToPath(new URL("host/web.tsx", import.meta.url)),
      output: { entryFileNames: "panel.js", assetFileNames: "[name][extname]", codeSplitting: false },
    },
  },
});
