/** The character speaks up by itself. The shortest interval is a minute, so this takes one. */

import { assertEquals } from "@std/assert";
import { script, type Server, startServer } from "../support/harness/server_process.ts";
import { watch } from "../support/harness/event_client.ts";

const PROMPT = script({ text: "[shy] It " }, { text: "rains." });

function startAmbient(mode: "agent" | "text"): Promise<Server> {
  return startServer({
    env: {
      VTUBER_AMBIENT_ENABLED: "true",
      VTUBER_AMBIENT_INTERVAL_SECS: "60",
      VTUBER_AMBIENT_URGENCY: "low",
      VTUBER_AMBIENT_PROMPT: PROMPT,
      VTUBER_AMBIENT_MODE: mode,
    },
  });
}

Deno.test("after a minute the agent is asked, and what it says goes out, or the prompt, whose answer is ready", async () => {
  await using agent = await startAmbient("agent");
  await using text = await startAmbient("text");
  await using hearsAgent = await watch(agent, { events: ["notification", "emotion"] });
  await using hearsText = await watch(text, { events: ["notification"] });

  const said = await hearsAgent.first("notification");
  assertEquals([said.text, said.urgency], ["It rains.", "low"]);
  assertEquals(hearsAgent.of("emotion").map(({ tag }) => tag), ["shy"]);

  const prompt = await hearsText.first("notification");
  assertEquals([prompt.text, prompt.urgency], [PROMPT, "low"]);
  const response = await text.chat(String(prompt.text), { stream: false });
  assertEquals((await response.json()).choices[0].message.content, "[shy] It rains.\n");

  for (const server of [agent, text]) {
    const asked = (await server.received()).filter(({ method }) => method === "session/prompt");
    assertEquals(asked.length, 1);
  }
});
