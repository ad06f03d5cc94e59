/// <reference types="node" />
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

const server = "http://127.0.0.1:8000";

/** `streamgauge serve` puts this into the page, so that addresses are relative to its root from `/board/<name>` too. */
const baseOfServer: Plugin = {
  name: "base-of-server",
  apply: "serve",
  transformIndexHtml: () => [{ tag: "base", attrs: { href: "/" }, injectTo: "head-prepend" }],
};

/** What `public/apidocs/page.html` shows the API with: files as they come, as bundling them again gains nothing. */
const apiPage: Plugin = {
  name: "api-page",
  apply: "build",
  generateBundle() {
    const { resolve } = createRequire(import.meta.url);
    for (const name of ["swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css", "LICENSE", "NOTICE"]) {
      const source = readFileSync(resolve(`swagger-ui-dist/${name}`));
      this.emitFile({ type: "asset", fileName: `apidocs/${name}`, source });
    }
  },
};

export default defineConfig({
  base: "./",
  plugins: [svelte(), baseOfServer, apiPage],
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
