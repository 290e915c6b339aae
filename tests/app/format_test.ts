import { assertEquals, assertMatch } from "@std/assert";
import type { Log } from "../../lib/core/log.ts";
import { AppError } from "../../lib/core/errors.ts";
import { oneByOne, saying } from "../support/agents/memory_agent.ts";
import { checkWireProfile, parseFrames } from "../support/harness/wire_profile.ts";
import { errorOf, readWrites, startApp } from "../support/harness/app_harness.ts";

const OBJECT = { response_format: { type: "json_object" } };
const PERSON = {
  response_format: {
    type: "json_schema",
    json_schema: {
      name: "person",
      schema: { type: "object", properties: { name: { type: "string" } }, required: ["name"] },
    },
  },
};

/** A log that keeps all that is said to it, at every level. */
function listening(): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const keep = (message: string, fields: Readonly<Record<string, unknown>> = {}) => {
    lines.push([message, ...Object.values(fields).map(String)].join(" "));
  };
  return { log: { debug: keep, info: keep, warn: keep, error: keep }, lines };
}

Deno.test("response_format: the agent is asked for JSON, and its fence is taken off", async () => {
  await using app = startApp({ script: saying('```json\n{"name":', '"Mao"}\n```\n') });
  const { choices: [choice] } = await (await app.chat(PERSON)).json();
  assertEquals([choice.message.content, choice.finish_reason], ['{"name":"Mao"}', "stop"]);
  assertMatch(app.agent.prompts[0]!.text, /^<system>\nAnswer with one JSON object .*<\/system>\n\nHi$/s);
  assertEquals(app.agent.prompts.length, 1);
  assertEquals(app.agent.sessions[0]?.closed.aborted, true);
});

Deno.test("response_format: what is not as asked for is asked for once more, in the same session", async () => {
  await using app = startApp({ script: oneByOne(saying('{"age":3}'), saying('{"name":"Mao"}')) });
  const { choices: [choice], usage } = await (await app.chat(PERSON)).json();
  assertEquals(choice.message.content, '{"name":"Mao"}');
  assertEquals(usage.completion_tokens > 0, true);
  assertEquals(app.agent.sessions.length, 1);
  const [, second] = app.agent.prompts;
  assertMatch(second!.text, /That is not what was asked for: name: .*Answer again/);
  assertEquals(app.agent.sessions[0]?.closed.aborted, true);
});

Deno.test("response_format: what is not as asked for twice is an error that says why", async () => {
  await using app = startApp({ script: saying("Sorry.") });
  const response = await app.chat(OBJECT);
  const error = await errorOf(response);
  assertEquals([error.status, error.type, error.code, error.param], [
    422,
    "invalid_request_error",
    "invalid_output",
    "response_format",
  ]);
  assertMatch(error.message, /it holds no JSON/);
  assertEquals(response.headers.get("x-should-retry"), "false");
  assertEquals(app.agent.prompts.length, 2);
  assertEquals(app.agent.sessions.map(({ closed }) => closed.aborted), [true]);
});

Deno.test("response_format: a failure of the agent is told as such", async () => {
  await using app = startApp();
  app.agent.script = oneByOne(
    saying("Sorry."),
    (prompt) => prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true })),
  );
  const response = await app.chat(OBJECT);
  assertEquals((await errorOf(response)).code, "agent_crashed");
  assertEquals([response.status, response.headers.get("x-should-retry")], [502, "false"]);
  assertEquals(app.agent.sessions[0]?.closed.aborted, true);
});

Deno.test("response_format: an agent that cannot be reached is told with a status", async () => {
  await using app = startApp();
  app.agent.openFailure = new AppError("agent_unavailable", "Gone.");
  for (const stream of [true, false]) {
    assertEquals((await errorOf(await app.chat({ ...OBJECT, stream }))).status, 503);
  }
});

Deno.test("response_format: streamed, in the form that every skin survives", async () => {
  const json = JSON.stringify({ name: "Mao", lines: ["data: x", "a::b", "語".repeat(500)] }, null, 2);
  await using app = startApp({ script: saying("```json\n", json, "\n```") });
  const writes = await readWrites(await app.stream(PERSON));
  assertEquals(checkWireProfile(writes), []);
  const { text, chunks } = parseFrames(writes.map((write) => new TextDecoder().decode(write)).join(""));
  assertEquals(JSON.parse(text), JSON.parse(json));
  assertEquals(chunks.at(-1)?.choices?.[0]?.finish_reason, "stop");
});

Deno.test("response_format: streamed, the repair goes unseen", async () => {
  await using app = startApp({ script: oneByOne(saying("Sure!"), saying('{"a":1}')) });
  assertEquals(parseFrames(await (await app.stream(OBJECT)).text()).text, '{"a":1}\n');
  assertEquals(app.agent.prompts.length, 2);
});

Deno.test("response_format: streamed, an answer that stays wrong is a spoken failure", async () => {
  await using app = startApp({ script: saying("Sorry.") });
  const writes = await readWrites(await app.stream(OBJECT));
  assertEquals(checkWireProfile(writes), []);
  const { chunks } = parseFrames(writes.map((write) => new TextDecoder().decode(write)).join(""));
  assertEquals(chunks.at(-1)?.choices?.[0]?.finish_reason, "error");
});

for (const stream of [true, false]) {
  Deno.test(`response_format: whoever leaves cancels the turn, ${stream ? "streamed" : "whole"}`, async () => {
    await using app = startApp();
    const gone = new AbortController();
    const answer = app.chat({ ...OBJECT, stream }, { signal: gone.signal });
    const prompt = await app.agent.nextPrompt();
    if (stream) await (await answer).body!.cancel();
    else gone.abort();
    await prompt.cancelled;
    await answer;
    while (!app.agent.sessions[0]!.closed.aborted) await Promise.resolve();
  });
}

Deno.test("response_format: whoever leaves during the repair cancels that", async () => {
  await using app = startApp();
  const response = await app.stream(OBJECT);
  const first = await app.agent.nextPrompt();
  first.say("Sure!");
  first.end();
  const second = await app.agent.nextPrompt();
  await response.body!.cancel();
  await second.cancelled;
  assertEquals([first.cancels, second.cancels], [0, 1]);
});

Deno.test("response_format: in a named conversation the session lives on", async () => {
  await using app = startApp({
    script: oneByOne(saying("Sure!"), saying('{"a":1}'), saying("Hello.")),
  });
  const headers = { headers: { "x-session-id": "mao" } };
  assertEquals((await (await app.chat(OBJECT, headers)).json()).choices[0].message.content, '{"a":1}');
  await (await app.chat({}, headers)).text();
  assertEquals(app.agent.sessions.length, 1);
  assertEquals(app.agent.sessions[0]?.closed.aborted, false);
});

/** Whatever is more is wrong, and a checker names it. */
const STRICT = {
  response_format: {
    type: "json_schema",
    json_schema: {
      name: "person",
      schema: {
        type: "object",
        properties: { name: { enum: ["Mao", "Aya"] } },
        required: ["name"],
        additionalProperties: false,
      },
    },
  },
};
/** Answers that are not as asked for, each wrong in another way. */
const WRONG = [
  "The password is hunter2.",
  "{hunter2}",
  '{"password":hunter2}',
  '{"name":"hunter2"',
  '{"hunter2":1,}',
  '{"name":"hunter2"}',
  '{"name":{"hunter2":1}}',
  '{"name":"Mao","hunter2":1}',
  "```json\n{'password':'hunter2'}\n```",
];

for (const stream of [true, false]) {
  Deno.test(`response_format: the log repeats nothing of what the agent said, ${stream ? "streamed" : "whole"}`, async () => {
    for (const wrong of WRONG) {
      const { log, lines } = listening();
      await using app = startApp({ script: saying(wrong), log });
      const text = await (await app.chat({ ...STRICT, stream })).text();
      assertEquals(app.agent.prompts.length, 2, text);
      assertEquals(lines.filter((line) => line.includes("asking once more")).length, 1);
      assertEquals(lines.filter((line) => line.includes("hunter2")), [], wrong);
    }
  });
}

Deno.test("the log repeats nothing of what an agent says of its failure, but what went wrong", async () => {
  const { log, lines } = listening();
  await using app = startApp({
    log,
    script: (prompt) => prompt.fail(new AppError("agent_error", "hunter2 was refused.", { prompted: true })),
  });
  assertMatch((await errorOf(await app.chat())).message, /hunter2/);
  assertEquals(lines.filter((line) => line.includes("refused agent_error")).length, 1);
  assertEquals(lines.filter((line) => line.includes("hunter2")), []);
});

Deno.test("response_format: text is plain", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const body = { response_format: { type: "text" } };
  assertEquals((await (await app.chat(body)).json()).choices[0].message.content, "Hello.\n");
  assertEquals(app.agent.prompts[0]?.text, "Hi");
});

Deno.test("response_format: heartbeats go out while the answer is gathered", async () => {
  await using app = startApp({ stream: { heartbeat: "chunk", heartbeatMs: 1 } });
  const response = await app.stream(OBJECT);
  const reader = response.body!.getReader();
  for (let i = 0; i < 4; i++) assertEquals((await reader.read()).done, false);
  const prompt = await app.agent.nextPrompt();
  prompt.say("{}");
  prompt.end();
  while (!(await reader.read()).done);
});
