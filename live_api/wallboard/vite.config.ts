import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

const server = "http://127.0.0.1:8000";

/** `streamgauge serve` puts this into the page, so that addresses are relative to its root from `/board/<name>` too. */
const baseOfServer: Plugin = {
  name: "base-of-server",
  apply: "serve",
  transformIndexHtml: () => [{ tag: "base", attrs: { href: "/" }, injectTo: "head-prepend" }],
};

export default defineConfig({
  base: "./",
  plugins: [svelte(), baseOfServer],
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
