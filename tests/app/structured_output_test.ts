import { assertEquals, assertMatch } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { oneByOne, saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp } from "../support/harness/app_harness.ts";
import {
  assistant,
  contentOf,
  readStream,
  recordingLog,
  streamedText,
  system,
  user,
} from "../support/harness/chat_fixture.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const OBJECT = { response_format: { type: "json_object" } };
const schemaFormat = (schema: unknown) => ({
  response_format: { type: "json_schema", json_schema: { name: "person", schema } },
});
const PERSON = schemaFormat({ type: "object", properties: { name: { type: "string" } }, required: ["name"] });
const MAO = { conversation_id: "mao" };
const ONE = user("One, as JSON");

Deno.test("response_format: the agent is asked for JSON once, and its fence is removed", async () => {
  await using app = startApp({ script: saying('```json\n{"name":', '"Mao"}\n```\n') });
  const { choices: [choice] } = await (await app.chat(PERSON)).json();
  assertEquals([choice.message.content, choice.finish_reason], ['{"name":"Mao"}', "stop"]);
  assertMatch(app.agent.prompts[0]!.text, /^<system>\nAnswer with one JSON object .*<\/system>\n\nHi$/s);
  assertEquals([app.agent.prompts.length, app.agent.sessions[0]?.closed.aborted], [1, true]);
});

Deno.test("response_format: a reply without the JSON is an error that says why", async () => {
  await using app = startApp({ script: saying("Sorry.") });
  const response = await app.chat(OBJECT);
  const { message, ...error } = await errorOf(response);
  const type = "invalid_request_error";
  assertEquals(error, { status: 422, type, code: "invalid_output", param: "response_format" });
  assertMatch(message, /it holds no JSON/);
  assertEquals([response.headers.get("x-should-retry"), app.agent.prompts.length], ["false", 1]);
  assertEquals(app.agent.sessions.map(({ closed }) => closed.aborted), [true]);
});

Deno.test("response_format: an agent that fails, or cannot be reached", async () => {
  await using app = startApp();
  app.agent.script = (prompt) => prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true }));
  const response = await app.chat(OBJECT);
  assertEquals((await errorOf(response)).code, "agent_crashed");
  assertEquals([response.status, response.headers.get("x-should-retry")], [502, "false"]);
  assertEquals(app.agent.sessions[0]?.closed.aborted, true);
  app.agent.openError = new AppError("agent_unavailable", "Gone.");
  for (const stream of [true, false]) {
    assertEquals((await errorOf(await app.chat({ ...OBJECT, stream }))).status, 503);
  }
});

Deno.test("response_format: streamed, in the form that every skin survives", async () => {
  const json = JSON.stringify({ name: "Mao", lines: ["data: x", "a::b", "語".repeat(500)] }, null, 2);
  await using app = startApp({ script: saying("```json\n", json, "\n```") });
  const { text, finish } = await readStream(app.stream(PERSON));
  assertEquals([JSON.parse(text), finish], [JSON.parse(json), "stop"]);
});

Deno.test("response_format: streamed, a reply without the JSON is a spoken failure", async () => {
  await using app = startApp({ script: saying("Sorry.") });
  assertEquals((await readStream(app.stream(OBJECT))).finish, "error");
});

Deno.test("response_format: heartbeats go out while the reply is collected", async () => {
  await using app = startApp({ heartbeat: "chunk", heartbeatMs: 1 });
  const reader = (await app.stream(OBJECT)).body!.getReader();
  for (let i = 0; i < 4; i++) assertEquals((await reader.read()).done, false);
  const prompt = await app.agent.nextPrompt();
  prompt.say("{}");
  prompt.end();
  while (!(await reader.read()).done);
});

for (const stream of [true, false]) {
  const mode = stream ? "streamed" : "whole";
  Deno.test(`response_format: a newer request supersedes the turn, ${mode}`, async () => {
    await using app = startApp({ sessions: "auto" });
    const first = app.chat({ ...MAO, ...OBJECT, stream, messages: [ONE] });
    (await app.agent.nextPrompt()).say("Sure, ");
    const second = app.stream({ ...MAO, messages: [ONE, user("Stop!")] });
    const next = await app.agent.nextPrompt();
    assertEquals(next.text, "Stop!");
    next.say("Yes?\n");
    if (stream) assertEquals((await readStream(first)).finish, "error");
    else assertEquals((await errorOf(await first)).code, "turn_cancelled");
    next.end();
    assertEquals([await streamedText(second), next.cancelCount, app.agent.prompts.length], ["Yes?\n", 0, 2]);
  });
}

const STRICT = schemaFormat({
  type: "object",
  properties: { name: { enum: ["Mao", "Aya"] } },
  required: ["name"],
  additionalProperties: false,
});
const WRONG = [
  "The password is hunter2.",
  '{"password":hunter2}',
  '{"name":"hunter2"}',
  '{"name":"Mao","hunter2":1}',
];

Deno.test("response_format: the log repeats nothing of a wrong reply", async () => {
  for (const stream of [true, false]) {
    for (const wrong of WRONG) {
      const { log, lines } = recordingLog();
      await using app = startApp({ script: saying(wrong), log });
      await (await app.chat({ ...STRICT, stream })).text();
      assertEquals(app.agent.prompts.length, 1);
      assertEquals(lines.filter((line) => line.includes("hunter2")), [], wrong);
    }
  }
});

Deno.test("log: repeats the code of an agent's failure, but none of its words", async () => {
  const { log, lines } = recordingLog();
  await using app = startApp({ log });
  app.agent.script = (prompt) => {
    prompt.fail(new AppError("agent_error", "hunter2 was refused.", { prompted: true }));
  };
  assertMatch((await errorOf(await app.chat())).message, /hunter2/);
  assertEquals(lines.filter((line) => line.includes("agent_error")).length, 1);
  assertEquals(lines.filter((line) => line.includes("hunter2")), []);
});

/** 22 alternatives, each of which has the next one twice. */
const NESTED = Object.fromEntries(Array.from({ length: 22 }, (_, depth) => {
  const next = { $ref: `#/$defs/d${depth + 1}` };
  return [`d${depth}`, { oneOf: [next, next] }];
}));
const SLOW: [name: string, schema: unknown, reply: string][] = [
  [
    "a pattern",
    { type: "object", properties: { a: { type: "string", pattern: "^(a+)+$" } } },
    JSON.stringify({ a: "a".repeat(40) + "!" }),
  ],
  ["nested alternatives", { $defs: { ...NESTED, d22: { type: "object" } }, $ref: "#/$defs/d0" }, "{}"],
];
for (const [name, schema, reply] of SLOW) {
  Deno.test(`response_format: ${name} that would stop the server is invalid output, and others are served`, async () => {
    await using app = startApp({ script: saying(reply) });
    const answers = [true, false].map((stream) => app.chat({ ...schemaFormat(schema), stream }));
    let isOver = false;
    const all = Promise.all(answers).then((responses) =>
      Promise.all(responses.map((response) => response.text()))
    ).finally(() => isOver = true);
    const times: number[] = [];
    while (!isOver) {
      const startedAt = performance.now();
      await (await app.get("/health")).text();
      await nextTask();
      times.push(performance.now() - startedAt);
    }
    // The median, because the machine itself may be busy for a moment.
    const median = times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)]!;
    assertEquals([times.length >= 20, median < 500], [true, true], `${times.length} answers, ${median} ms`);
    const [streamed, whole] = await all;
    assertMatch(streamed!, /"finish_reason":"error"/);
    assertMatch(whole!, /"invalid_output"/);
  });
}

const LONG = "Well, let me tell you all about that.\n";
for (const last of [ONE, user("Four, as JSON")]) {
  Deno.test(`response_format: after a wrong reply, "${last.content}" goes on in the named session`, async () => {
    await using app = startApp({ sessions: "auto" });
    const history = [user("Hello"), assistant(LONG)];
    app.agent.script = oneByOne(
      saying(LONG),
      saying("I would rather not."),
      saying('{"a":1}'),
      saying("Yes?\n"),
    );
    await contentOf(app.chat({ ...MAO, messages: history.slice(0, 1) }));
    const wrong = await app.chat({ ...MAO, ...OBJECT, messages: [...history, ONE] });
    assertEquals((await errorOf(wrong)).code, "invalid_output");
    const messages = [...history, last];
    assertEquals(await contentOf(app.chat({ ...MAO, ...OBJECT, messages })), '{"a":1}');
    await contentOf(app.chat({ ...MAO, messages: [...messages, assistant('{"a":1}'), user("And now?")] }));
    assertEquals([app.agent.sessions.length, app.agent.prompts.at(-1)!.text], [1, "And now?"]);
  });
}

Deno.test("response_format: the next request matches the reply without its fence", async () => {
  await using app = startApp({ sessions: "auto" });
  const opening = [system("You are Mao."), ONE];
  const replies = ["A cat lived in a house.", "A dog lived in a kennel."].map((story) =>
    JSON.stringify({ story })
  );
  for (const json of replies) {
    app.agent.script = saying("```json\n", json, "\n```\n");
    assertEquals(await contentOf(app.chat({ ...OBJECT, messages: opening })), json);
  }
  app.agent.script = saying("Yes?\n");
  for (const json of replies) {
    await contentOf(app.chat({ messages: [...opening, assistant(json), user("And?")] }));
  }
  const sessions = app.agent.prompts.map(({ session }) => session.id);
  assertEquals(sessions, ["session-1", "session-2", "session-1", "session-2"]);
});

Deno.test("response_format: the instruction does not start another conversation", async () => {
  for (const persona of [[], [system("You are Mao.")]]) {
    for (const formats of [[OBJECT, {}], [{}, OBJECT]]) {
      await using app = startApp({ sessions: "auto", script: saying('{"a":1}\n') });
      const first = [...persona, user("Hello")];
      await contentOf(app.chat({ ...formats[0], messages: first }));
      const second = [...first, assistant('{"a":1}'), user("And now?")];
      await contentOf(app.chat({ ...formats[1], messages: second }));
      const hasInstruction = app.agent.prompts.map(({ text }) => text.includes("JSON"));
      assertEquals(hasInstruction, formats.map((format) => format === OBJECT));
      assertEquals(app.agent.sessions.length, 1);
    }
  }
});
