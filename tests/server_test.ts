import { assert, assertEquals } from "@std/assert";
import { LOCAL_CALLER } from "../lib/http/access.ts";
import { HANG_UP_MS } from "../lib/server.ts";
import { MemoryAgent } from "./support/agents/memory_agent.ts";
import { startApp } from "./support/harness/app_harness.ts";

Deno.test("GET /: describes the server with the named endpoints of its routes", async () => {
  await using app = startApp({ model: "mao" });
  const { description, ...facts } = await (await app.get("/")).json();
  assertEquals(typeof description, "string");
  assertEquals(facts, {
    name: "oab-vtuber",
    version: "1.2.3",
    model: "mao",
    speech: true,
    transcription: false,
    endpoints: {
      chat: "POST /v1/chat/completions",
      completions: "POST /v1/completions",
      embeddings: "POST /v1/embeddings",
      speech: "POST /v1/audio/speech",
      transcriptions: "POST /v1/audio/transcriptions",
      models: "GET /v1/models",
      watch: "GET /v1/vtuber/ws",
      events: "GET /v1/vtuber/events",
      state: "GET /v1/vtuber/state",
      permissions: "GET /v1/vtuber/permissions",
      question: "POST /v1/vtuber/questions/{id}",
      permission: "POST /v1/vtuber/permissions/{id}",
      interrupt: "POST /v1/vtuber/interrupt",
      notifications: "POST /v1/vtuber/notifications",
      responses: "POST /v1/responses",
      sessions: "GET /v1/vtuber/sessions",
      forget: "DELETE /v1/vtuber/sessions/{id}",
      health: "GET /health",
      ready: "GET /readyz",
      metrics: "GET /metrics",
    },
  });
});

Deno.test("GET /: gives browsers the page", async () => {
  await using app = startApp();
  const response = await app.get("/", { headers: { accept: "text/html,application/json;q=0.9" } });
  assertEquals(response.headers.get("content-type"), "text/html; charset=utf-8");
  assertEquals(response.headers.get("vary")?.toLowerCase().includes("accept"), true);
  await response.body?.cancel();
});

Deno.test("dispose: a slow client and a slow agent are waited for at the same time", async () => {
  const isEnding = Promise.withResolvers<void>();
  class SlowAgent extends MemoryAgent {
    override [Symbol.asyncDispose](): Promise<void> {
      isEnding.resolve();
      return super[Symbol.asyncDispose]();
    }
  }
  const app = startApp({ agents: [new SlowAgent("slow")] });
  // The client hangs up once the agent is asked to end.
  app.hub.subscribe({ send() {}, backlog: 0, close: () => isEnding.promise }, LOCAL_CALLER);
  const startedAt = performance.now();
  await app[Symbol.asyncDispose]();
  assert(performance.now() - startedAt < HANG_UP_MS);
});
