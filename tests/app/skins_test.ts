import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { Random } from "../support/harness/random.ts";
import { SKIN_REQUESTS } from "../support/skins/skin_requests.ts";
import { readLive, type SkinName, type SkinReader, SKINS } from "../support/skins/skins.ts";
import { checkWireProfile, parseFrames } from "../support/harness/wire_profile.ts";
import { readWrites, startApp } from "../support/harness/app_harness.ts";

const REPLY = [
  "\n[happy] Hello! I am Mao.\n",
  "[sad]\nThe file src/data.rs says data: std::fmt, and a URL: https://example.com/?a=b::c\n",
  '{"error": null, "tool_calls": []} is JSON; `data: [DONE]` is not.\n\n',
  "[relaxed]こんにちは。元気？😀👩‍👩‍👧‍👦\u2028そうですか。\n\n",
  "| a | b |\n|---|---|\n\n```ts\nconst a = 1;\n```\n",
  "That is all",
].join("");
const TEXT = withoutLeads(REPLY.slice(1).replace("[sad]\n", "[sad]") + "\n");

/** Spaces that lead in a line break and what separates lines without being one are for readers, and no text. */
function withoutLeads(text: string): string {
  return text.replace(/[\u2028\u2029]/g, "\n").replace(/ +(?=\n)/g, "");
}

for (const [name, reader] of Object.entries(SKINS) as [SkinName, SkinReader][]) {
  Deno.test(`${name} gets the whole text, however the agent says it`, async () => {
    const random = new Random(name.length);
    const cuts = [[REPLY], Array.from(REPLY), ...Array.from({ length: 8 }, () => random.cut(REPLY))];
    for (const pieces of cuts) {
      await using app = startApp({ script: saying(...pieces) });
      const { text, died, errors, logged } = await readLive(reader, await app.stream());
      assertEquals([died, errors, logged], [undefined, [], []]);
      assertEquals(withoutLeads(text), TEXT);
    }
  });
}

Deno.test("every skin gets the whole text, event by event and in bursts", async () => {
  for (const pause of [true, false]) {
    await using app = startApp();
    const answer = app.stream();
    const prompt = await app.agent.nextPrompt();
    const reading = readWrites(await answer);
    for (const piece of new Random(3).cut(REPLY, 40)) {
      prompt.say(piece);
      if (pause) { for (let i = 0; i < 5; i++) await Promise.resolve(); }
    }
    prompt.end();
    const writes = await reading;
    assertEquals(checkWireProfile(writes), []);
    for (const [name, reader] of Object.entries(SKINS)) {
      assertEquals(withoutLeads(reader(writes).text), TEXT, name);
    }
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
  for (const [name, reader] of Object.entries(SKINS)) {
    const { text, died } = reader(writes);
    assertEquals(died, undefined, name);
    assertEquals(text, "On my way\nSorry, my agent stopped unexpectedly. Please try again.\n", name);
  }
});

Deno.test("every skin survives heartbeats, thoughts, tools and plans", async () => {
  await using app = startApp({ stream: { heartbeatMs: 1 } });
  const answer = app.stream({ stream_options: { include_agent_events: true } });
  const prompt = await app.agent.nextPrompt();
  const reader = (await answer).body!.getReader();
  const writes: Uint8Array[] = [];
  for (let i = 0; i < 3; i++) writes.push((await reader.read()).value!);
  prompt.think("data: ::");
  prompt.plan({ content: "Look", priority: "low", status: "pending" });
  prompt.tool({ title: "std::fs" });
  prompt.say("Done.\n");
  prompt.end();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    writes.push(value!);
  }
  for (const [name, reader] of Object.entries(SKINS)) {
    const { text, died, errors, logged } = reader(writes);
    assertEquals([text, died, errors, logged], ["Done.\n", undefined, [], []], name);
  }
});

for (const { name, path, headers, body, reads, says } of SKIN_REQUESTS) {
  Deno.test(`the request of ${name} is answered as it reads`, async () => {
    await using app = startApp({ script: saying("[happy] Hi!") });
    const response = await app.post(path, body, { headers });
    assertEquals(response.status, 200);
    assertEquals(response.headers.get("access-control-allow-origin"), headers.origin ?? null);
    const said = app.agent.prompts[0]!.text;
    assertEquals(said.includes(says), true, said);
    if (reads === "json") {
      const { choices: [choice], model } = await response.json();
      assertEquals(typeof choice.message.content, "string");
      assertEquals(model, body.model ?? "openab");
    } else {
      const { text, chunks } = parseFrames(await response.text());
      assertEquals(text, "[happy] Hi!\n");
      assertEquals(chunks[0]?.model, body.model ?? "openab");
    }
  });
}

const BROWSERS = SKIN_REQUESTS.filter(({ headers }) => headers.origin !== undefined);

for (const { name, path, headers } of BROWSERS) {
  Deno.test(`the preflight of ${name} lets its headers through`, async () => {
    await using app = startApp();
    const { origin, ...others } = headers;
    const wanted = ["content-type", ...Object.keys(others)].join(",");
    const response = await app.send(path, {
      method: "OPTIONS",
      headers: {
        origin: origin!,
        "access-control-request-method": "POST",
        "access-control-request-headers": wanted,
      },
    });
    assertEquals(response.status, 204);
    assertEquals(response.headers.get("access-control-allow-headers"), wanted);
    assertEquals(response.headers.get("access-control-allow-methods")?.includes("POST"), true);
  });
}
