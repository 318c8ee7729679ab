import { svelte } from "@sveltejs/vite-plugin-svelte";
import { loadEnv } from "vite";
import { defineConfig } from "vitest/config";

export default defineConfig(({ mode }) => {
  const gateway = loadEnv(mode, ".", "GATEWAY_").GATEWAY_URL ?? "http://127.0.0.1:8080";
  return {
    plugins: [svelte()],
    build: {
      target: "es2022",
      // data: URLs for small assets would break `font-src 'self'`
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
    },
    server: { proxy: { "/api": { target: gateway, ws: true } } },
    test: { include: ["src/**/*.test.ts"], environment: "node" },
  };
});
