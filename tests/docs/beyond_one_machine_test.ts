/** The load balancers of "Beyond one machine". `tests/e2e/load_balancer_test.ts` runs them, where they are installed. */

import { assert, assertEquals } from "@std/assert";
import { startApp } from "../support/harness/app_harness.ts";
import { codeBlocks, firstCells, partOf, readPage } from "../support/harness/docs.ts";

const PAGE = readPage("beyond-one-machine");
const NGINX = codeBlocks(PAGE, "nginx").map(({ text }) => text).join("\n");
const CADDY = codeBlocks(PAGE, "text").find(({ text }) => text.includes("reverse_proxy"))!.text;

/** Lists what a pattern's group finds, once and in order. */
function found(text: string, pattern: RegExp): string[] {
  return [...new Set([...text.matchAll(pattern)].map(([, name = ""]) => name))].sort();
}

Deno.test("beyond-one-machine.md: both load balancers have the same servers", () => {
  const servers = found(NGINX, /server ([\d.:]+);/g);
  assertEquals(servers.length, 2);
  assertEquals(found(CADDY, / ([\d.]+:\d+)\b/g), servers);
});

Deno.test("beyond-one-machine.md: nginx has what its block names", () => {
  assertEquals(found(NGINX, /(\$vtuber_\w+)(?: consistent)?;/g), found(NGINX, /^map \S+ (\$vtuber_\w+) /gm));
  assertEquals(found(NGINX, /proxy_pass http:\/\/(\w+);/g), found(NGINX, /^upstream (\w+) /gm));
  const site = codeBlocks(readPage("proxy"), "nginx")[0]!.text;
  assert(
    site.includes("proxy_pass http://127.0.0.1:8080;"),
    "the page about proxies has the line to replace",
  );
});

Deno.test("beyond-one-machine.md: no load balancer repeats a request that was sent", () => {
  for (const option of ["non_idempotent", "lb_retry_match"]) {
    assert(PAGE.includes(`\`${option}\``), option);
    assert(!NGINX.includes(option) && !CADDY.includes(option), option);
  }
});

Deno.test("beyond-one-machine.md: the headers that name a conversation do so", () => {
  const names = firstCells(partOf(readPage("conversations"), "names"))
    .map((way) => way.split(": ")[0]!.toLowerCase());
  const used = [
    ...found(PAGE, /\$http_(x_\w+)/g).map((name) => name.replaceAll("_", "-")),
    ...found(PAGE, /header\.(X-[\w-]+)/g).map((name) => name.toLowerCase()),
  ];
  assertEquals(new Set(used), new Set(["x-session-id", "x-openwebui-chat-id"]));
  for (const name of used) assert(names.includes(name), name);
});

Deno.test("beyond-one-machine.md: the health check is an endpoint that needs no key", async () => {
  await using app = startApp({ access: { authKey: "secret" } });
  const [path = ""] = found(CADDY, /health_uri (\S+)/g);
  const response = await app.get(path);
  assertEquals([response.status, (await response.json()).status], [200, "ready"]);
});
