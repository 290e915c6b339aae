/** Ambient prompts in the whole server, on a clock that the test moves. */

import { assertEquals } from "@std/assert";
import { loadConfig } from "../../lib/config/load.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { ServedApp } from "../support/harness/served_app.ts";

const { ambient } = loadConfig({
  env: {
    VTUBER_AMBIENT_ENABLED: "true",
    VTUBER_AMBIENT_INTERVAL_SECS: "60",
    VTUBER_AMBIENT_URGENCY: "low",
    VTUBER_AMBIENT_PROMPT: "Anything new?",
  },
}).config;

Deno.test("ambient prompts: after a minute, the shortest interval, and again after the next", async () => {
  using clock = new FakeClock();
  await using served = ServedApp.start({ ambient, script: saying("[shy] It ", "rains.") });
  served.app.start();
  const client = await served.connect("notification", "emotion");
  clock.advance(30_000);
  await client.sync();
  assertEquals(served.app.agent.prompts.length, 0);
  clock.advance(30_000);
  const first = await client.first("notification");
  assertEquals([first.text, first.urgency], ["It rains.", "low"]);
  // The next interval begins when the reply has been announced.
  while (!clock.waits.some((ms) => ms > 30_000 && ms <= 60_000)) await client.sync();
  assertEquals(served.app.agent.prompts.length, 1);
  clock.advance(60_000);
  await client.first("notification", undefined, client.frames.indexOf(first) + 1);
  assertEquals(served.app.agent.prompts.length, 2);
  assertEquals(client.of("emotion").map(({ tag }) => tag), ["shy", "shy"]);
});
