import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { checkWireProfile, parseFrames } from "../support/harness/wire_profile.ts";
import { errorOf, readWrites, startApp, type TestApp, Writes } from "../support/harness/app_harness.ts";

const said = (role: string, content: string) => ({ role, content });
const named = (name: string) => ({ headers: { "x-session-id": name } });

async function textOf(answer: Response | Promise<Response>): Promise<string> {
  return parseFrames(await (await answer).text()).text;
}

const NAMINGS: [name: string, ask: (app: TestApp, name: string, messages: unknown[]) => Promise<Response>][] =
  [
    ["X-Session-Id", (app, name, messages) => app.chat({ messages }, named(name))],
    ["conversation_id", (app, name, messages) => app.chat({ messages, conversation_id: name })],
  ];

for (const [naming, ask] of NAMINGS) {
  Deno.test(`${naming}: one session for all of a conversation, and only what is new is said to it`, async () => {
    await using app = startApp({ script: saying("[happy] Hello.") });
    const first = [said("system", "You are Mao."), said("user", "Hi")];
    const response = await ask(app, "mao", first);
    assertEquals(response.headers.get("x-session-id"), "mao");
    const reply = (await response.json()).choices[0].message;
    await (await ask(app, "mao", [...first, reply, said("user", "How are you?")])).text();
    assertEquals(app.agent.sessions.length, 1);
    assertEquals(app.agent.prompts.map(({ text }) => text), [
      "<system>\nYou are Mao.\n</system>\n\nHi",
      "How are you?",
    ]);
    assertEquals(app.agent.sessions[0]?.closed.aborted, false);
    await (await ask(app, "other", first)).text();
    assertEquals(app.agent.sessions.length, 2);
  });
}

Deno.test("X-Session-Id and conversation_id: the same name is the same conversation, and the header wins", async () => {
  await using app = startApp({ script: saying("Hello.") });
  await (await app.chat({ conversation_id: "mao" })).text();
  await (await app.chat({}, named("mao"))).text();
  await (await app.chat({ conversation_id: "other" }, named("mao"))).text();
  await (await app.chat({ conversation_id: "mao" }, { headers: { "x-session-id": "  " } })).text();
  assertEquals(app.agent.sessions.length, 1);
});

Deno.test("no name: each request gets a session of its own, closed when it is done", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const responses = [await app.chat(), await app.chat()];
  for (const response of responses) await response.text();
  assertEquals(responses.map(({ headers }) => headers.get("x-session-id")), ["session-1", "session-2"]);
  assertEquals(app.agent.sessions.map(({ closed }) => closed.aborted), [true, true]);
});

Deno.test("a name that is longer than its limit is refused", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const error = await errorOf(await app.chat({}, named("x".repeat(257))));
  assertEquals([error.status, error.code, error.param], [400, "invalid_value", "X-Session-Id"]);
  assertEquals((await app.chat({}, named("x".repeat(256)))).status, 200);
  assertEquals(app.agent.prompts.length, 1);
});

for (const name of ["マオ", "a\nb", "a\u0000b", "😀", "\ud83d", "%", "a b"]) {
  Deno.test(`a conversation may be called ${JSON.stringify(name)}`, async () => {
    await using app = startApp({ script: saying("Hello.") });
    const response = await app.chat({ conversation_id: name });
    assertEquals(response.status, 200);
    assertEquals(response.headers.has("x-session-id"), true);
    await response.text();
    await (await app.chat({ conversation_id: name })).text();
    assertEquals(app.agent.sessions.length, 1);
  });
}

Deno.test("barge-in: a newer request of the conversation cancels the one that runs, and is not refused", async () => {
  await using app = startApp({ maxInFlight: 1 });
  const first = await app.stream({}, named("mao"));
  const old = await app.agent.nextPrompt();
  old.say("Once upon");
  const second = app.stream({ messages: [said("user", "Hi"), said("user", "Stop!")] }, named("mao"));
  await old.cancelled;
  const now = await app.agent.nextPrompt();
  assertEquals(now.text, "Stop!");
  now.say("Yes?\n");
  now.end();
  const writes = await readWrites(first);
  assertEquals(checkWireProfile(writes), []);
  const { text, chunks } = parseFrames(writes.map((write) => new TextDecoder().decode(write)).join(""));
  assertEquals([text, chunks.at(-1)?.choices?.[0]?.finish_reason], ["Once upon\n", "stop"]);
  assertEquals(await textOf(second), "Yes?\n");
  assertEquals(app.agent.sessions.length, 1);
});

Deno.test("barge-in: what the old turn still says never reaches the new one", async () => {
  await using app = startApp();
  app.agent.answersCancels = false;
  const first = await app.stream({}, named("mao"));
  const old = await app.agent.nextPrompt();
  const second = app.stream({ messages: [said("user", "Stop!")] }, named("mao"));
  await old.cancelled;
  assertEquals(app.agent.prompts.length, 1, "one prompt at a time");
  old.say("late");
  old.end("cancelled");
  const now = await app.agent.nextPrompt();
  old.say("later still");
  now.say("Yes?\n");
  now.end();
  assertEquals(await textOf(second), "Yes?\n");
  assertEquals(await textOf(first), "late\n");
});

Deno.test("barge-in: of three in a row the one in the middle is told that it was passed by", async () => {
  await using app = startApp();
  app.agent.answersCancels = false;
  const first = await app.stream({}, named("mao"));
  const old = await app.agent.nextPrompt();
  const second = app.stream({ messages: [said("user", "Two")] }, named("mao"));
  await old.cancelled;
  const third = app.stream({ messages: [said("user", "Three")] }, named("mao"));
  const passed = await second;
  const error = await errorOf(passed);
  assertEquals([error.status, error.code], [409, "turn_cancelled"]);
  assertEquals(passed.headers.get("x-should-retry"), "false");
  old.end("cancelled");
  const now = await app.agent.nextPrompt();
  assertEquals(now.text, "Two\n\nThree");
  now.say("Yes?\n");
  now.end();
  assertEquals(await textOf(third), "Yes?\n");
  assertEquals(await textOf(first), "");
  assertEquals(app.agent.prompts.length, 2);
});

Deno.test("barge-in: other conversations go on", async () => {
  await using app = startApp();
  const mao = await app.stream({}, named("mao"));
  const first = await app.agent.nextPrompt();
  const aya = await app.stream({}, named("aya"));
  const second = await app.agent.nextPrompt();
  first.say("I am Mao.\n");
  second.say("I am Aya.\n");
  first.end();
  second.end();
  assertEquals([await textOf(mao), await textOf(aya)], ["I am Mao.\n", "I am Aya.\n"]);
  assertEquals([first.cancelCount, second.cancelCount], [0, 0]);
});

Deno.test("in flight: the 33rd turn is told when to come back, and comes in when one has ended", async () => {
  await using app = startApp();
  const streams = await Promise.all(Array.from({ length: 32 }, () => app.stream()));
  assertEquals(app.agent.prompts.length, 32);
  for (const stream of [true, false]) {
    const refused = await app.chat({ stream });
    const error = await errorOf(refused);
    assertEquals([error.status, error.type, error.code], [429, "rate_limit_error", "rate_limit_exceeded"]);
    assertEquals(refused.headers.get("retry-after"), "3");
    assertEquals(refused.headers.get("x-should-retry"), null);
  }
  assertEquals(app.agent.sessions.length, 32, "the agent was not bothered");
  app.agent.prompts[7]!.end();
  await streams[7]!.text();
  const late = await app.stream();
  assertEquals(late.status, 200);
  for (const prompt of app.agent.prompts) prompt.end();
  for (const response of [...streams, late]) if (!response.bodyUsed) await response.text();
});

Deno.test("in flight: a turn that failed to begin gives its slot back", async () => {
  await using app = startApp({ maxInFlight: 1, script: saying("Hello.") });
  app.agent.newSession = () => Promise.reject(new Error("no"));
  assertEquals((await app.chat()).status, 500);
  Reflect.deleteProperty(app.agent, "newSession");
  assertEquals((await app.chat()).status, 200);
});

Deno.test("a session that closed under a conversation is replaced, and told everything", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const messages = [said("system", "You are Mao."), said("user", "Hi")];
  await (await app.chat({ messages }, named("mao"))).text();
  app.agent.sessions[0]!.close();
  const more = [...messages, said("assistant", "Hello."), said("user", "Again")];
  await (await app.chat({ messages: more }, named("mao"))).text();
  assertEquals(app.agent.sessions.length, 2);
  assertEquals(
    app.agent.prompts[1]?.text,
    "<system>\nYou are Mao.\n</system>\n\n<user>\nHi\n</user>\n\n<assistant>\nHello.\n</assistant>\n\nAgain",
  );
});

Deno.test("draining: what runs goes on, what comes is refused", async () => {
  await using app = startApp();
  await using running = new Writes(await app.stream());
  const prompt = await app.agent.nextPrompt();
  const drained = app.conversations.drain();
  const refused = await app.stream();
  assertEquals([refused.status, refused.headers.get("retry-after")], [503, "5"]);
  assertEquals((await errorOf(refused)).code, "shutting_down");
  prompt.say("Bye.\n");
  prompt.end();
  assertEquals(parseFrames(await running.rest()).text, "Bye.\n");
  await drained;
});

Deno.test("pictures reach an agent that takes them, and are named to one that does not", async () => {
  const content = [
    { type: "text", text: "Look:" },
    { type: "image_url", image_url: { url: "data:image/png;base64,QUJD" } },
  ];
  for (const image of [true, false]) {
    await using app = startApp({ script: saying("Nice.") });
    app.agent.promptCapabilities = { image, audio: false };
    await (await app.chat({ messages: [{ role: "user", content }] })).text();
    assertEquals(
      app.agent.prompts[0]?.blocks,
      image
        ? [{ type: "text", text: "Look:" }, { type: "image", mimeType: "image/png", data: "QUJD" }]
        : [{ type: "text", text: "Look:\n[An image was left out: this agent takes no images.]" }],
    );
  }
});
