import { assertEquals, assertNotEquals } from "@std/assert";
import { BUSY_MODES } from "../../lib/conversation/turn_queue.ts";
import { AppError } from "../../lib/core/errors.ts";
import { oneByOne, saying } from "../support/agents/memory_agent.ts";
import {
  errorOf,
  type SendOptions,
  startApp,
  type TestApp,
  WriteReader,
} from "../support/harness/app_harness.ts";
import { contentOf, RETRIES, streamedText, user } from "../support/harness/chat_fixture.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";
import { parseFrames } from "../support/harness/wire_profile.ts";

/** The first try of OpenAI's clients, and the two after it. */
const attempt = (count: string): SendOptions => ({ headers: { "x-stainless-retry-count": count } });
const TRIES = [attempt("0"), attempt("1"), attempt("2")] as const;
const [FIRST, SECOND, THIRD] = TRIES;
const key = (key: string): SendOptions => ({ headers: { "idempotency-key": key } });
const withHeaders = (...headers: Record<string, string>[]): SendOptions => ({
  headers: Object.assign({}, ...headers),
});

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

Deno.test("retry: replays the turn that has ended, of either endpoint", async () => {
  await using app = startApp({ script: saying("Hel", "lo.") });
  for (const options of TRIES) assertEquals(await contentOf(app.chat({}, options)), "Hello.\n");
  for (const options of TRIES) {
    const { choices: [choice] } = await (await app.post("/v1/completions", { prompt: "Hi" }, options)).json();
    assertEquals(choice.text, "Hello.\n");
  }
  assertEquals(app.agent.prompts.length, 2);
});

Deno.test("retry: replays agent events, usage and a stop as well", async () => {
  await using app = startApp({
    script(prompt) {
      prompt.tool();
      prompt.say("Done. STOP Not this.");
      prompt.usage({ inputTokens: 12, outputTokens: 5 });
      prompt.end();
    },
  });
  const body = { stop: "STOP", stream_options: { include_agent_events: true, include_usage: true } };
  const withoutHead = (text: string) => text.replace(/"id":"chatcmpl-\w+"|"created":\d+/g, "");
  const first = withoutHead(await (await app.stream(body, FIRST)).text());
  assertEquals(withoutHead(await (await app.stream(body, SECOND)).text()), first);
  assertEquals([app.agent.prompts.length, first.includes("Not this")], [1, false]);
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
    prompt.say("On my wa");
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

Deno.test("idempotency key: the same request runs once, whether it runs or has ended", async () => {
  await using app = startApp();
  const answers = [app.stream({}, key("k1")), app.stream({}, key("k1"))];
  const prompt = await app.agent.nextPrompt();
  prompt.say("Hello.\n");
  prompt.end();
  answers.push(app.stream({}, key("k1")));
  for (const answer of answers) assertEquals(await streamedText(answer), "Hello.\n");
  assertEquals(app.agent.prompts.length, 1);
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

/** Headers that name a conversation. */
const NAMING: ((name: string) => Record<string, string>)[] = [
  (name) => ({ "x-session-id": name }),
  (name) => ({ "x-hermes-session-id": name }),
  (name) => ({ "x-openclaw-session-key": name }),
];

for (const naming of NAMING) {
  const [header] = Object.keys(naming(""));
  const [[, first, again], [, firstKey, againKey]] = RETRIES as [typeof RETRIES[0], typeof RETRIES[0]];

  Deno.test(`retry: the same body in another conversation, named by ${header}, is another request`, async () => {
    await using app = startApp({ script: oneByOne(saying("Hi Ann."), saying("Hi Bob.")) });
    await contentOf(app.chat({}, withHeaders(first, naming("ann"))));
    await contentOf(app.chat({}, withHeaders(again, naming("bob"))));
    for (const [name, text] of [["ann", "Hi Ann.\n"], ["bob", "Hi Bob.\n"]] as const) {
      // The same name in another header is the same request.
      for (const headers of NAMING) {
        const response = await app.chat({}, withHeaders(again, headers(name)));
        assertEquals([response.headers.get("x-session-id"), await contentOf(response)], [name, text]);
      }
    }
    assertEquals([app.agent.prompts.length, app.agent.sessions.length], [2, 2]);
  });

  Deno.test(`idempotency key: another conversation, named by ${header}, is a conflict`, async () => {
    await using app = startApp({ script: saying("Hi Ann.") });
    await contentOf(app.chat({}, withHeaders(firstKey, naming("ann"))));
    for (const options of [withHeaders(againKey, naming("bob")), withHeaders(againKey)]) {
      const error = await errorOf(await app.chat({}, options));
      assertEquals([error.status, error.code], [409, "idempotency_key_conflict"]);
    }
    assertEquals(await contentOf(app.chat({}, withHeaders(againKey, naming("ann")))), "Hi Ann.\n");
    assertEquals(app.agent.prompts.length, 1);
  });
}

Deno.test("retry: does not join the running turn of another conversation", async () => {
  await using app = startApp();
  const [, first, again] = RETRIES[0]!;
  const ann = await app.stream({}, withHeaders(first, { "x-session-id": "ann" }));
  const annPrompt = await app.agent.nextPrompt();
  const bob = await app.stream({}, withHeaders(again, { "x-session-id": "bob" }));
  const bobPrompt = await app.agent.nextPrompt();
  assertNotEquals(bobPrompt.session, annPrompt.session);
  annPrompt.say("Hi Ann.\n");
  bobPrompt.say("Hi Bob.\n");
  for (const prompt of [annPrompt, bobPrompt]) prompt.end();
  assertEquals([await streamedText(ann), await streamedText(bob)], ["Hi Ann.\n", "Hi Bob.\n"]);
});

const PATH = "/v1/vtuber/sessions";

for (const [how, first, again] of RETRIES) {
  for (const path of [`${PATH}/ann`, `${PATH}?id=ann`, `${PATH}?all=true`]) {
    Deno.test(`DELETE ${path}: a retry with ${how} does not replay what is forgotten`, async () => {
      await using app = startApp({ script: oneByOne(saying("One."), saying("Two.")) });
      const ann = { conversation_id: "ann" };
      for (const headers of [first, again]) {
        assertEquals(await contentOf(app.chat(ann, { headers })), "One.\n");
      }
      assertEquals((await app.send(path, { method: "DELETE" })).status, 200);
      for (const _ of [1, 2]) assertEquals(await contentOf(app.chat(ann, { headers: again })), "Two.\n");
      assertEquals([app.agent.prompts.length, app.agent.sessions.length], [2, 2]);
    });
  }

  Deno.test(`DELETE ${PATH}/ann: a retry with ${how} replays the turns of other conversations`, async () => {
    await using app = startApp({ script: oneByOne(saying("Hi Ann."), saying("Hi Bob.")) });
    const bobOptions = (headers: Record<string, string>) =>
      withHeaders(headers, "idempotency-key" in headers ? { "idempotency-key": "k2" } : {});
    const bob = { conversation_id: "bob" };
    await contentOf(app.chat({ conversation_id: "ann" }, withHeaders(first)));
    assertEquals(await contentOf(app.chat(bob, bobOptions(first))), "Hi Bob.\n");
    assertEquals((await app.send(`${PATH}/ann`, { method: "DELETE" })).status, 200);
    assertEquals(await contentOf(app.chat(bob, bobOptions(again))), "Hi Bob.\n");
    assertEquals(app.agent.prompts.length, 2);
  });
}

Deno.test("DELETE sessions: a retry does not replay a conversation without a name", async () => {
  await using app = startApp({
    script: oneByOne(saying("One, and a long one."), saying("Two.")),
    sessions: "auto",
  });
  const response = await app.chat({}, key("k1"));
  const id = response.headers.get("x-session-id");
  assertEquals(await contentOf(response), "One, and a long one.\n");
  assertEquals((await app.send(`${PATH}/${id}`, { method: "DELETE" })).status, 200);
  assertEquals(await contentOf(app.chat({}, key("k1"))), "Two.\n");
});

Deno.test("DELETE sessions: a retry joins the turn that is being cancelled", async () => {
  await using app = startApp();
  app.agent.answersCancels = false;
  const ann = { conversation_id: "ann" };
  const running = await app.stream(ann, key("k1"));
  const prompt = await app.agent.nextPrompt();
  prompt.say("Half.\n");
  assertEquals((await app.send(`${PATH}/ann`, { method: "DELETE" })).status, 200);
  const joined = await app.stream(ann, key("k1"));
  prompt.end("cancelled");
  for (const response of [running, joined]) assertEquals(await streamedText(response), "Half.\n");
  assertEquals([prompt.cancelCount, app.agent.prompts.length], [1, 1]);
});

for (const [how, first, second] of RETRIES) {
  for (const onBusy of BUSY_MODES) {
    Deno.test(`retry: with ${how} and onBusy ${onBusy}, joins its own turn`, async () => {
      for (const name of [{}, MAO]) {
        await using app = startApp({ sessions: "auto", onBusy });
        const answers = [await app.stream({ ...name, messages: STORY }, { headers: first })];
        const prompt = await app.agent.nextPrompt();
        prompt.say("Once upon ");
        answers.push(await app.stream({ ...name, messages: STORY }, { headers: second }));
        prompt.say("a time.\n");
        prompt.end();
        const ids = answers.map(({ headers }) => headers.get("x-session-id"));
        for (const answer of answers) assertEquals(await streamedText(answer), "Once upon a time.\n");
        assertEquals(ids[0], ids[1]);
        assertEquals([prompt.cancelCount, app.agent.prompts.length, app.agent.sessions.length], [0, 1, 1]);
      }
    });
  }

  Deno.test(`retry: with ${how}, a request that was refused as busy runs when there is room`, async () => {
    await using app = startApp({ sessions: "auto", onBusy: "reject" });
    const running = await app.stream({ messages: STORY });
    const prompt = await app.agent.nextPrompt();
    const refused = await app.stream({ messages: STOP }, { headers: first });
    assertEquals((await errorOf(refused)).code, "session_busy");
    prompt.end();
    await running.text();
    app.agent.script = saying("Yes?\n");
    assertEquals(await streamedText(app.stream({ messages: STOP }, { headers: second })), "Yes?\n");
  });

  Deno.test(`retry: with ${how}, a request waits once in the queue`, async () => {
    await using app = startApp({ sessions: "auto", onBusy: "queue" });
    const running = await app.stream({ messages: STORY });
    const prompt = await app.agent.nextPrompt();
    const answers = [first, second].map((headers) => app.stream({ messages: STOP }, { headers }));
    app.agent.script = saying("Yes?\n");
    prompt.end();
    await running.text();
    for (const answer of answers) assertEquals(await streamedText(answer), "Yes?\n");
    assertEquals(app.agent.prompts.length, 2);
  });

  /** Sends a request and its retry, which wait for a session until `open` is called. */
  const startWaiting = (app: TestApp) => {
    const { promise, resolve: open } = Promise.withResolvers<void>();
    app.agent.openGate = promise;
    app.agent.script = saying("Yes?\n");
    const hangUp = new AbortController();
    const body = { ...MAO, messages: STORY };
    const retried = app.stream(body, { headers: first });
    return { retried, retry: app.stream(body, { headers: second, signal: hangUp.signal }), hangUp, open };
  };

  for (const isGone of [false, true]) {
    const client = isGone ? "client has gone" : "client waits";
    Deno.test(`retry: with ${how}, a waiting request is superseded, though its retry's ${client}`, async () => {
      await using app = startApp();
      const { retried, retry, hangUp, open } = startWaiting(app);
      const newer = app.stream({ ...MAO, messages: STOP });
      if (isGone) hangUp.abort();
      assertEquals((await errorOf(await retried)).code, "turn_cancelled");
      open();
      assertEquals(await streamedText(newer), "Yes?\n");
      assertEquals((await errorOf(await retry)).code, "turn_cancelled");
      const texts = app.agent.prompts.map(({ text }) => text.replace(/<user>\n(.*)\n<\/user>/, "$1"));
      assertEquals(texts, ["Tell me a story.\n\nStop!"]);
    });
  }

  for (const end of ["forgotten", "interrupted"] as const) {
    Deno.test(`retry: with ${how}, a waiting request that is ${end} does not start through its retry`, async () => {
      await using app = startApp();
      const { retried, retry, open } = startWaiting(app);
      const { conversations } = app;
      const stop = () =>
        end === "forgotten" ? conversations.forget("", "mao") : conversations.interrupt("mao");
      while (stop() === 0) await nextTask();
      for (const answer of [retried, retry]) {
        assertEquals((await errorOf(await answer)).code, "turn_cancelled");
      }
      open();
      assertEquals([app.agent.prompts.length, conversations.list("").length], [
        0,
        end === "forgotten" ? 0 : 1,
      ]);
    });
  }
}
