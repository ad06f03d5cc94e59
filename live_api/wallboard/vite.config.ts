import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

const server = "http://127.0.0.1:8000";

export default defineConfig({
  base: "./",
  plugins: [svelte()],
  build: {
    outDir: "../static",
    emptyOutDir: true,
    target: "es2023",
    assetsInlineLimit: 0, // a data: URL would need its own line in a content security policy
    license: { fileName: "licenses.md" },
  },
  // `npm run dev` shows the sources as they are edited, against a `streamgauge serve` on its usual port.
  server: { proxy: { "/v1": { target: server, ws: true } } },
});
