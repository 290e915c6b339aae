import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { readWrites, startApp } from "../support/harness/app_harness.ts";
import { contentOf, readStream } from "../support/harness/chat_fixture.ts";
import { Random } from "../support/harness/random.ts";
import { checkWireProfile } from "../support/harness/wire_profile.ts";
import { SKIN_REQUESTS } from "../support/skins/skin_requests.ts";
import { readLive, type SkinName, type SkinReader, SKINS } from "../support/skins/skins.ts";

const SKIN_LIST = Object.entries(SKINS) as [SkinName, SkinReader][];
const REPLY = [
  "\n[happy] Hello! I am Mao.\n",
  "[sad]\nThe file src/data.rs says data: std::fmt, and a URL: https://example.com/?a=b::c\n",
  '{"error": null, "tool_calls": []} is JSON; `data: [DONE]` is not.\n\n',
  "[relaxed]こんにちは。元気？😀👩‍👩‍👧‍👦\u2028そうですか。\n\n",
  "| a | b |\n|---|---|\n\n```ts\nconst a = 1;\n```\n",
  "That is all",
].join("");
const TEXT = withoutLeads(REPLY.slice(1).replace("[sad]\n", "[sad]") + "\n");

/** Removes the spaces before line breaks, and turns line separators into line breaks, as the server may do. */
function withoutLeads(text: string): string {
  return text.replace(/[\u2028\u2029]/g, "\n").replace(/ +(?=\n)/g, "");
}

for (const [name, reader] of SKIN_LIST) {
  Deno.test(`${name} gets the whole text, however the agent's text is cut`, async () => {
    const random = new Random(name.length);
    for (
      const pieces of [
        [REPLY],
        Array.from(REPLY),
        ...Array.from({ length: 8 }, () => random.cut(REPLY)),
      ]
    ) {
      await using app = startApp({ script: saying(...pieces) });
      const { text, died, errors, logged } = await readLive(reader, await app.stream());
      assertEquals([died, errors, logged, withoutLeads(text)], [undefined, [], [], TEXT]);
    }
  });
}

Deno.test("every skin gets the whole text, event by event and in bursts", async () => {
  for (const pauses of [true, false]) {
    await using app = startApp();
    const answer = app.stream();
    const prompt = await app.agent.nextPrompt();
    const reading = readWrites(await answer);
    for (const piece of new Random(3).cut(REPLY, 40)) {
      prompt.say(piece);
      for (let i = 0; pauses && i < 5; i++) await Promise.resolve();
    }
    prompt.end();
    const writes = await reading;
    assertEquals(checkWireProfile(writes), []);
    for (const [name, reader] of SKIN_LIST) assertEquals(withoutLeads(reader(writes).text), TEXT, name);
  }
});

Deno.test("every skin shows the sentence of a failure", async () => {
  await using app = startApp();
  const answer = app.stream();
  const prompt = await app.agent.nextPrompt();
  const reading = readWrites(await answer);
  prompt.say("On my way");
  prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true }));
  const writes = await reading;
  const expected = "On my way\nSorry, my agent stopped unexpectedly. Please try again.\n";
  for (const [name, reader] of SKIN_LIST) {
    const { text, died } = reader(writes);
    assertEquals([text, died], [expected, undefined], name);
  }
});

Deno.test("every skin survives heartbeats, thoughts, tools and plans", async () => {
  await using app = startApp({ heartbeatMs: 1 });
  const answer = app.stream({ stream_options: { include_agent_events: true } });
  const prompt = await app.agent.nextPrompt();
  const writes: Uint8Array[] = [];
  for await (const write of (await answer).body!) {
    // The first three writes are the role and two heartbeats.
    if (writes.push(write) !== 3) continue;
    prompt.think("data: ::");
    prompt.plan({ content: "Look", priority: "low", status: "pending" });
    prompt.tool({ title: "std::fs" });
    prompt.say("Done.\n");
    prompt.end();
  }
  for (const [name, reader] of SKIN_LIST) {
    const { text, died, errors, logged } = reader(writes);
    assertEquals([text, died, errors, logged], ["Done.\n", undefined, [], []], name);
  }
});

for (const { name, path, headers, body, reads, says } of SKIN_REQUESTS) {
  Deno.test(`the request of ${name} gets the response that it reads`, async () => {
    await using app = startApp({ script: saying("[happy] Hi!") });
    const response = await app.post(path, body, { headers });
    assertEquals(response.status, 200);
    assertEquals(response.headers.get("access-control-allow-origin"), headers.origin ?? null);
    const prompt = app.agent.prompts[0]!.text;
    assertEquals(prompt.includes(says), true, prompt);
    if (reads === "json") {
      assertEquals(typeof await contentOf(response), "string");
    } else {
      const { text, chunks } = await readStream(response, { usage: "stream_options" in body });
      assertEquals([text, chunks[0]?.model], ["[happy] Hi!\n", body.model ?? "openab"]);
    }
    const { origin, ...others } = headers;
    if (origin === undefined) return;
    const requested = ["content-type", ...Object.keys(others)].join(",");
    const preflight = await app.send(path, {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": requested,
      },
    });
    assertEquals([preflight.status, preflight.headers.get("access-control-allow-headers")], [204, requested]);
    assertEquals(preflight.headers.get("access-control-allow-methods")?.includes("POST"), true);
  });
}
