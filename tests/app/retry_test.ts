import { assertEquals } from "@std/assert";
import { BUSY_MODES } from "../../lib/conversation/turn_queue.ts";
import { AppError } from "../../lib/core/errors.ts";
import { oneByOne, saying } from "../support/agents/memory_agent.ts";
import { errorOf, type SendOptions, startApp, WriteReader } from "../support/harness/app_harness.ts";
import { contentOf, RETRIES, streamedText, user } from "../support/harness/chat_fixture.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";
import { parseFrames } from "../support/harness/wire_profile.ts";

/** The first try of OpenAI's clients, and the two after it. */
const attempt = (count: string): SendOptions => ({ headers: { "x-stainless-retry-count": count } });
const TRIES = [attempt("0"), attempt("1"), attempt("2")] as const;
const [FIRST, SECOND, THIRD] = TRIES;
const key = (key: string): SendOptions => ({ headers: { "idempotency-key": key } });

const MAO = { conversation_id: "mao" };
const STORY = [user("Tell me a story.")];
const STOP = [...STORY, user("Stop!")];

Deno.test("retry: joins the running turn, from its start", async () => {
  await using app = startApp();
  await using first = new WriteReader(await app.stream({}, FIRST));
  const prompt = await app.agent.nextPrompt();
  prompt.say("Hel");
  const second = await app.stream({}, SECOND);
  prompt.say("lo.\n");
  const third = await app.stream({}, THIRD);
  prompt.end();
  assertEquals(parseFrames(await first.rest()).text, "Hello.\n");
  assertEquals([await streamedText(second), await streamedText(third)], ["Hello.\n", "Hello.\n"]);
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("retry: replays the turn that has ended, of either endpoint, with events, usage and a stop", async () => {
  await using app = startApp({
    script(prompt) {
      prompt.tool();
      prompt.say("Done. STOP Not this.");
      prompt.usage({ inputTokens: 12, outputTokens: 5 });
      prompt.end();
    },
  });
  const body = {
    stop: "STOP",
    stream: true,
    stream_options: { include_agent_events: true, include_usage: true },
  };
  const withoutHead = (text: string) => text.replace(/"id":"\w+-\w+"|"created":\d+/g, "");
  for (
    const [path, fields] of [["/v1/chat/completions", { messages: [user("Hi")] }], ["/v1/completions", {
      prompt: "Hi",
    }]]
  ) {
    const texts = [];
    for (const options of TRIES) {
      texts.push(
        withoutHead(await (await app.post(path as string, { ...body, ...fields as object }, options)).text()),
      );
    }
    assertEquals([new Set(texts).size, texts[0]!.includes("Not this")], [1, false]);
  }
  assertEquals(app.agent.prompts.length, 2);
});

Deno.test("retry: the turn goes on until the last of its clients hangs up", async () => {
  await using app = startApp();
  const [first, second] = [await app.stream({}, FIRST), await app.stream({}, SECOND)];
  const prompt = await app.agent.nextPrompt();
  prompt.say("Hel");
  const third = await app.stream({}, THIRD);
  await first.body!.cancel();
  await second.body!.cancel();
  prompt.say("lo.\n");
  assertEquals(prompt.cancelCount, 0);
  await third.body!.cancel();
  await prompt.cancelled;
  const again = await app.stream({}, SECOND);
  const error = await errorOf(again);
  assertEquals([error.status, error.code], [409, "turn_cancelled"], "an abandoned turn does not run again");
  assertEquals([again.headers.get("x-should-retry"), app.agent.prompts.length], ["false", 1]);
});

Deno.test("retry: a failure after the prompt is replayed", async () => {
  await using app = startApp();
  app.agent.script = (prompt) => {
    prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true }));
  };
  for (const options of TRIES) {
    const response = await app.chat({}, options);
    assertEquals([response.status, response.headers.get("x-should-retry")], [502, "false"]);
    assertEquals((await errorOf(response)).code, "agent_crashed");
  }
  assertEquals(app.agent.prompts.length, 1);
});

for (const [how, first, second] of RETRIES) {
  Deno.test(`retry: with ${how}, a turn that failed before the prompt runs`, async () => {
    await using app = startApp({ script: saying("Hello.") });
    app.agent.openError = new AppError("agent_unavailable", "Not yet.", { retryAfterSecs: 1 });
    const refused = await app.chat({}, { headers: first });
    assertEquals([refused.status, refused.headers.get("retry-after")], [503, "1"]);
    await refused.body?.cancel();
    app.agent.openError = undefined;
    assertEquals(await contentOf(app.chat({}, { headers: second })), "Hello.\n");
    assertEquals(app.agent.prompts.length, 1);
  });
}

Deno.test("retry: an unknown retry, a repeated first try and another body are new requests", async () => {
  const scripts = ["One.", "Two.", "Three.", "Four.", "Five."].map((text) => saying(text));
  await using app = startApp({ script: oneByOne(...scripts) });
  assertEquals(await contentOf(app.chat({ model: "a" }, SECOND)), "One.\n");
  assertEquals(await contentOf(app.chat({}, FIRST)), "Two.\n");
  assertEquals(await contentOf(app.chat({}, FIRST)), "Three.\n");
  assertEquals(await contentOf(app.chat()), "Four.\n");
  assertEquals(await contentOf(app.chat({ model: "b" }, SECOND)), "Five.\n");
});

Deno.test("idempotency key: another request, or another path, is a conflict", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const body = { messages: [user("Hi")], prompt: "Hi" };
  await (await app.chat(body, key("k1"))).text();
  const others = [
    ...[{ model: "other" }, { stream: true }, { messages: [user("Bye")] }].map((body) =>
      app.chat(body, key("k1"))
    ),
    app.post("/v1/completions", body, key("k1")),
  ];
  for (const answer of others) {
    const response = await answer;
    const error = await errorOf(response);
    assertEquals([error.status, error.code], [409, "idempotency_key_conflict"]);
    assertEquals(response.headers.get("x-should-retry"), "false");
  }
  assertEquals(app.agent.prompts.length, 1);
  assertEquals(await contentOf(app.chat(body, key("k2"))), "Hello.\n", "under another key it runs");
});

Deno.test("idempotency key: has a longest length", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const error = await errorOf(await app.chat({}, key("x".repeat(257))));
  assertEquals([error.status, error.code, error.param], [400, "invalid_value", "Idempotency-Key"]);
  assertEquals((await app.chat({}, key("x".repeat(256)))).status, 200);
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("retry: the same body in another conversation is another request, or a conflict under the same key", async () => {
  const naming = ["x-session-id", "x-hermes-session-id", "x-openclaw-session-key"];
  for (const header of naming) {
    await using app = startApp({ script: oneByOne(saying("Hi Ann."), saying("Hi Bob.")) });
    const chat = (count: string, header: string, name: string) =>
      app.chat({}, { headers: { "x-stainless-retry-count": count, [header]: name } });
    await contentOf(chat("0", header, "ann"));
    await contentOf(chat("1", header, "bob"));
    for (const [name, text] of [["ann", "Hi Ann.\n"], ["bob", "Hi Bob.\n"]] as const) {
      // The same name in another header is the same request.
      for (const other of naming) {
        const response = await chat("1", other, name);
        assertEquals([response.headers.get("x-session-id"), await contentOf(response)], [name, text]);
      }
    }
    const keyed = (name: string) => app.chat({}, { headers: { "idempotency-key": "k1", [header]: name } });
    app.agent.script = saying("Hi Ann.");
    await contentOf(keyed("ann"));
    assertEquals((await errorOf(await keyed("bob"))).code, "idempotency_key_conflict");
    assertEquals([app.agent.prompts.length, app.agent.sessions.length], [3, 2]);
  }
});

for (const [how, first, again] of RETRIES) {
  Deno.test(`DELETE sessions: a retry with ${how} does not replay what is forgotten`, async () => {
    for (const path of ["/ann", "?id=ann", "?all=true"]) {
      await using app = startApp({ script: oneByOne(saying("One."), saying("Two.")) });
      const ann = { conversation_id: "ann" };
      for (const headers of [first, again]) {
        assertEquals(await contentOf(app.chat(ann, { headers })), "One.\n");
      }
      assertEquals((await app.send(`/v1/vtuber/sessions${path}`, { method: "DELETE" })).status, 200);
      for (const _ of [1, 2]) assertEquals(await contentOf(app.chat(ann, { headers: again })), "Two.\n");
      assertEquals([app.agent.prompts.length, app.agent.sessions.length], [2, 2]);
    }
  });

  for (const onBusy of BUSY_MODES) {
    Deno.test(`retry: with ${how} and onBusy ${onBusy}, joins its own turn`, async () => {
      for (const name of [{}, MAO]) {
        await using app = startApp({ sessions: "auto", onBusy });
        const answers = [await app.stream({ ...name, messages: STORY }, { headers: first })];
        const prompt = await app.agent.nextPrompt();
        prompt.say("Once upon ");
        answers.push(await app.stream({ ...name, messages: STORY }, { headers: again }));
        prompt.say("a time.\n");
        prompt.end();
        const ids = answers.map(({ headers }) => headers.get("x-session-id"));
        for (const answer of answers) assertEquals(await streamedText(answer), "Once upon a time.\n");
        assertEquals(ids[0], ids[1]);
        assertEquals([prompt.cancelCount, app.agent.prompts.length, app.agent.sessions.length], [0, 1, 1]);
      }
    });
  }

  Deno.test(`retry: with ${how}, a request waits once in the queue`, async () => {
    await using app = startApp({ sessions: "auto", onBusy: "queue" });
    const running = await app.stream({ messages: STORY });
    const prompt = await app.agent.nextPrompt();
    const answers = [first, again].map((headers) => app.stream({ messages: STOP }, { headers }));
    app.agent.script = saying("Yes?\n");
    prompt.end();
    await running.text();
    for (const answer of answers) assertEquals(await streamedText(answer), "Yes?\n");
    assertEquals(app.agent.prompts.length, 2);
  });

  for (const end of ["superseded", "forgotten", "interrupted"] as const) {
    Deno.test(`retry: with ${how}, a waiting request that is ${end} does not start through its retry`, async () => {
      await using app = startApp();
      const { promise, resolve: open } = Promise.withResolvers<void>();
      app.agent.openGate = promise;
      app.agent.script = saying("Yes?\n");
      const answers = [first, again].map((headers) => app.stream({ ...MAO, messages: STORY }, { headers }));
      const newer = end === "superseded" ? app.stream({ ...MAO, messages: STOP }) : undefined;
      const { conversations } = app;
      const stop = () =>
        end === "forgotten" ? conversations.forget("", "mao") : conversations.interrupt("mao");
      while (newer === undefined && stop() === 0) await nextTask();
      for (const answer of answers) assertEquals((await errorOf(await answer)).code, "turn_cancelled");
      open();
      if (newer) assertEquals(await streamedText(newer), "Yes?\n");
      const texts = app.agent.prompts.map(({ text }) => text.replace(/<user>\n(.*)\n<\/user>/, "$1"));
      assertEquals(texts, newer ? ["Tell me a story.\n\nStop!"] : []);
    });
  }
}
