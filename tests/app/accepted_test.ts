import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { startApp } from "../support/harness/app_harness.ts";
import { assistant, contentOf, system, user } from "../support/harness/chat_fixture.ts";

/** Fields that clients send beside a chat, and the ignored ones among them. */
const FIELDS: [fields: Record<string, unknown>, ignored: string | null][] = [
  [{ max_tokens: -1, temperature: 1, n: 1, tool_choice: "auto", logprobs: false, tools: [] }, null],
  [{ max_tokens: "200", temperature: "0.7", seed: "", conversation_id: 7 }, "temperature"],
  [
    { response_format: { type: "json_schema", json_schema: { name: "x", strict: true, schema: {} } } },
    "response_format.json_schema.strict",
  ],
  [{ n: 3, logprobs: true, top_logprobs: 5 }, "n, logprobs, top_logprobs"],
  [{ tools: [{ type: "function" }], tool_choice: "required" }, "tools, tool_choice"],
  [{ tool_choice: { type: "function", function: { name: "f\r\nx: y" } }, "x\r\ny: z": 1 }, "tool_choice"],
];
for (const [fields, ignored] of FIELDS) {
  Deno.test(`accepted: ${JSON.stringify(fields)}`, async () => {
    await using app = startApp({ script: saying(fields.response_format ? "[1]" : "Hello.") });
    for (const stream of [true, false]) {
      const response = await app.chat({ ...fields, stream });
      assertEquals([response.status, response.headers.get("x-vtuber-ignored")], [200, ignored]);
      if (stream) await response.text();
      else {
        const { choices } = await response.json();
        assertEquals([choices.length, choices[0].logprobs], [1, null]);
      }
    }
  });
}

Deno.test("accepted: a part that cannot be read is refused in the newest message, and a note in older ones", async () => {
  await using app = startApp({ script: saying("Hello."), sessions: "auto" });
  const file = { role: "user", content: [{ type: "text", text: "Read this:" }, { type: "file", file: {} }] };
  const remote = {
    role: "user",
    content: [{ type: "image_url", image_url: { url: "https://example.com/a.png" } }],
  };
  const thought = {
    role: "assistant",
    content: [{ type: "thinking", thinking: "Hm." }, { type: "text", text: "Well." }],
  };
  assertEquals((await app.chat({ messages: [file] })).status, 400);
  await contentOf(app.chat({ messages: [file, remote, thought, user("So?")] }));
  const { text } = app.agent.prompts.at(-1)!;
  assertEquals(text.match(/\[A part of this message was left out: \w+\.\]/g), [
    "[A part of this message was left out: file.]",
    "[A part of this message was left out: image_url.]",
    "[A part of this message was left out: thinking.]",
  ]);
});

Deno.test("accepted: half a character is sent to the agent as U+FFFD", async () => {
  await using app = startApp({ script: saying("Hello.") });
  await contentOf(app.chat({ messages: [system("a\ud83d"), { ...user("hi \ud83d"), name: "\ude00" }] }));
  const { text } = app.agent.prompts[0]!;
  assertEquals([text.isWellFormed(), text.match(/\ufffd/g)?.length], [true, 3]);
});

Deno.test("accepted: with system messages alone the character speaks first", async () => {
  await using app = startApp({ script: saying("Welcome, dear traveller!"), sessions: "auto" });
  const opening = [system("You are Mao. Greet the user."), system("")];
  const greeting = await contentOf(app.chat({ messages: opening }));
  assertEquals(app.agent.prompts[0]!.text, "<system>\nYou are Mao. Greet the user.\n</system>");
  await contentOf(app.chat({ messages: [...opening, assistant(greeting), user("Hi!")] }));
  assertEquals(app.agent.prompts.at(-1)!.text.endsWith("Hi!"), true);
});
