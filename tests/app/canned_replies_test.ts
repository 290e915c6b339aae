import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { startApp } from "../support/harness/app_harness.ts";

const NEWS = "The build is done.";
const HI = { role: "user", content: "Hi" };

/** Requests that end with what was sent to a client, and whether that is answered as a notification is. */
const REQUESTS: readonly [name: string, body: Record<string, unknown>, isPrepared: boolean][] = [
  ["a user", { messages: [HI, { role: "user", content: NEWS }] }, true],
  ["a user, with spaces around it", { messages: [{ role: "user", content: ` ${NEWS}\n` }] }, true],
  ["a system", { messages: [HI, { role: "system", content: NEWS }] }, false],
  ["an assistant", { messages: [HI, { role: "assistant", content: NEWS }] }, false],
  ["a tool", { messages: [HI, { role: "tool", tool_call_id: "ci", content: NEWS }] }, false],
  ["a user before another message", { messages: [{ role: "user", content: NEWS }, HI] }, false],
  ["a user who asks for JSON", {
    messages: [{ role: "user", content: NEWS }],
    response_format: { type: "json_object" },
  }, false],
];

for (const [name, body, isPrepared] of REQUESTS) {
  Deno.test(`a notification's words, said by ${name}, are ${isPrepared ? "" : "not "}answered as prepared`, async () => {
    await using app = startApp({ script: saying("{}") });
    app.hub.subscribe({ send() {}, backlog: 0, close() {} });
    await (await app.post("/v1/vtuber/notifications", { text: `[happy] ${NEWS}` })).body?.cancel();
    const { choices: [choice] } = await (await app.chat(body)).json();
    assertEquals(choice.message.content.trim(), isPrepared ? `[happy] ${NEWS}` : "{}");
    assertEquals(app.agent.prompts.length, isPrepared ? 0 : 1);
    // Whoever was not answered so may still be.
    const again = await (await app.chat({ messages: [{ role: "user", content: NEWS }] })).json();
    assertEquals(again.choices[0].message.content.trim(), isPrepared ? "{}" : `[happy] ${NEWS}`);
  });
}
