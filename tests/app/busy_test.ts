import { assertEquals } from "@std/assert";
import { BUSY_MODES } from "../../lib/conversation/turn_queue.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { checkWireProfile, parseFrames } from "../support/harness/wire_profile.ts";
import { errorOf, readWrites, startApp } from "../support/harness/app_harness.ts";

const said = (role: string, content: string) => ({ role, content });
const MAO = said("system", "You are Mao.");
const FIRST = [MAO, said("user", "Tell me a story.")];
const SECOND = [...FIRST, said("user", "Stop!")];

async function textOf(answer: Response | Promise<Response>): Promise<string> {
  return parseFrames(await (await answer).text()).text;
}

Deno.test("supersede: without a name the newer request is found to be the same conversation, and the older stream ends", async () => {
  await using app = startApp({ sessions: "auto" });
  app.agent.answersCancels = false;
  const first = await app.stream({ messages: FIRST });
  const old = await app.agent.nextPrompt();
  old.say("Once upon");
  const second = app.stream({ messages: SECOND });
  await old.cancelled;
  old.say(" a time");
  old.end("cancelled");
  const now = await app.agent.nextPrompt();
  assertEquals([now.text, now.session], ["Stop!", old.session]);
  now.say("Yes?\n");
  now.end();
  const writes = await readWrites(first);
  assertEquals(checkWireProfile(writes), []);
  const text = writes.map((write) => new TextDecoder().decode(write)).join("");
  const { chunks } = parseFrames(text);
  assertEquals([parseFrames(text).text, chunks.at(-1)?.choices?.[0]?.finish_reason], [
    "Once upon a time\n",
    "stop",
  ]);
  assertEquals(text.endsWith("data: [DONE]\n\n"), true);
  assertEquals([(await second).headers.get("x-session-id"), await textOf(second)], [
    first.headers.get("x-session-id"),
    "Yes?\n",
  ]);
});

Deno.test("queue: the newer request waits for the running one, which says all that it has to say", async () => {
  await using app = startApp({ sessions: "auto", onBusy: "queue" });
  const first = await app.stream({ messages: FIRST });
  const old = await app.agent.nextPrompt();
  const second = app.stream({ messages: SECOND });
  old.say("Once upon a time.\n");
  assertEquals([old.cancelCount, app.agent.prompts.length], [0, 1]);
  old.end();
  const now = await app.agent.nextPrompt();
  assertEquals([now.text, now.session], ["Stop!", old.session]);
  now.say("Yes?\n");
  now.end();
  assertEquals([await textOf(first), await textOf(second)], ["Once upon a time.\n", "Yes?\n"]);
});

Deno.test("queue: of nine that would wait one is refused, and says when to come back", async () => {
  await using app = startApp({ onBusy: "queue" });
  const name = { conversation_id: "mao" };
  const running = await app.stream(name);
  const others = Array.from({ length: 9 }, () => app.stream(name));
  // Whichever it is: the first that is answered while the turn runs.
  const ninth = await Promise.race(others);
  const error = await errorOf(ninth);
  assertEquals([error.status, error.type, error.code], [409, "invalid_request_error", "session_busy"]);
  assertEquals([ninth.headers.get("retry-after"), ninth.headers.get("x-should-retry")], ["3", null]);
  app.agent.script = saying("Yes.\n");
  app.agent.prompts[0]!.end();
  await running.text();
  const texts = await Promise.all(
    (await Promise.all(others)).filter((other) => other !== ninth).map((other) => textOf(other)),
  );
  assertEquals([texts, app.agent.prompts.length], [Array(8).fill("Yes.\n"), 9]);
});

Deno.test("queue: one that waits and hangs up is never asked", async () => {
  await using app = startApp({ onBusy: "queue" });
  const name = { conversation_id: "mao" };
  const running = await app.stream(name);
  const prompt = await app.agent.nextPrompt();
  const hangUp = new AbortController();
  const left = app.stream({ ...name, messages: SECOND }, { signal: hangUp.signal });
  const next = app.stream({ ...name, messages: [...SECOND, said("user", "Hello?")] });
  hangUp.abort();
  assertEquals((await left).status, 499);
  prompt.end();
  const now = await app.agent.nextPrompt();
  now.say("Yes?\n");
  now.end();
  assertEquals([await textOf(running), await textOf(next)], ["", "Yes?\n"]);
  assertEquals(app.agent.prompts.length, 2);
});

Deno.test("reject: the newer request is refused, whether its conversation is named or found", async () => {
  await using app = startApp({ sessions: "auto", onBusy: "reject" });
  const running = await app.stream({ messages: FIRST });
  const prompt = await app.agent.nextPrompt();
  const named = { headers: { "x-session-id": running.headers.get("x-session-id")! } };
  for (const stream of [true, false]) {
    for (const options of [{}, named]) {
      const refused = await app.chat({ stream, messages: SECOND }, options);
      const error = await errorOf(refused);
      assertEquals([error.status, error.code, error.param], [409, "session_busy", null]);
      assertEquals([refused.headers.get("retry-after"), refused.headers.get("x-should-retry")], ["3", null]);
    }
  }
  prompt.say("The end.\n");
  prompt.end();
  assertEquals(await textOf(running), "The end.\n");
  assertEquals([prompt.cancelCount, app.agent.prompts.length], [0, 1]);
  app.agent.script = saying("Yes?\n");
  assertEquals(await textOf(app.stream({ messages: SECOND })), "Yes?\n");
});

Deno.test("supersede: requests take their places in the order in which they came, whatever their size and their header", async () => {
  for (const header of ["x-title", "x-stainless-retry-count", "idempotency-key"]) {
    for (let round = 0; round < 10; round++) {
      await using app = startApp();
      const name = { conversation_id: "mao" };
      const long = said("user", "Tell me a story. ".repeat(50_000));
      const first = app.stream({ ...name, messages: [long] }, { headers: { [header]: "0" } });
      const last = app.stream({ ...name, messages: [said("user", "Stop!")] }, {
        headers: { [header]: "00" },
      });
      app.agent.script = saying("Yes?\n");
      assertEquals(await textOf(last), "Yes?\n");
      assertEquals([(await first).status, app.agent.prompts.at(-1)!.text], [409, "Stop!"]);
      await (await first).text();
    }
  }
});

/** How clients say that they send a request again. */
const AGAIN: readonly [how: string, first: Record<string, string>, second: Record<string, string>][] = [
  ["X-Stainless-Retry-Count", { "x-stainless-retry-count": "0" }, { "x-stainless-retry-count": "1" }],
  ["Idempotency-Key", { "idempotency-key": "k1" }, { "idempotency-key": "k1" }],
];

for (const onBusy of BUSY_MODES) {
  for (const [how, first, second] of AGAIN) {
    Deno.test(`${onBusy}: a request that is sent again with ${how} joins its turn, and is not refused as busy`, async () => {
      await using app = startApp({ sessions: "auto", onBusy });
      const answers = [await app.stream({ messages: FIRST }, { headers: first })];
      const prompt = await app.agent.nextPrompt();
      prompt.say("Once upon ");
      answers.push(await app.stream({ messages: FIRST }, { headers: second }));
      prompt.say("a time.\n");
      prompt.end();
      for (const answer of answers) {
        assertEquals([answer.status, await textOf(answer)], [200, "Once upon a time.\n"]);
        assertEquals(answer.headers.get("x-session-id"), answers[0]!.headers.get("x-session-id"));
      }
      assertEquals([prompt.cancelCount, app.agent.prompts.length, app.agent.sessions.length], [0, 1, 1]);
    });
  }
}

for (const [how, first, second] of AGAIN) {
  Deno.test(`reject: a request that was refused and is sent again with ${how} is run once there is room`, async () => {
    await using app = startApp({ sessions: "auto", onBusy: "reject" });
    const running = await app.stream({ messages: FIRST });
    const prompt = await app.agent.nextPrompt();
    const refused = await app.stream({ messages: SECOND }, { headers: first });
    assertEquals((await errorOf(refused)).code, "session_busy");
    prompt.end();
    await running.text();
    app.agent.script = saying("Yes?\n");
    assertEquals(await textOf(app.stream({ messages: SECOND }, { headers: second })), "Yes?\n");
  });

  Deno.test(`queue: a request that waits and is sent again with ${how} waits once`, async () => {
    await using app = startApp({ sessions: "auto", onBusy: "queue" });
    const running = await app.stream({ messages: FIRST });
    const prompt = await app.agent.nextPrompt();
    const answers = [
      app.stream({ messages: SECOND }, { headers: first }),
      app.stream({ messages: SECOND }, { headers: second }),
    ];
    app.agent.script = saying("Yes?\n");
    prompt.end();
    await running.text();
    for (const answer of answers) assertEquals(await textOf(answer), "Yes?\n");
    assertEquals(app.agent.prompts.length, 2);
  });
}

Deno.test("supersede: a turn that was to answer in a format does not come back for it", async () => {
  await using app = startApp({ sessions: "auto" });
  const format = { response_format: { type: "json_object" } };
  for (const stream of [true, false]) {
    const name = { conversation_id: `mao ${stream}` };
    const first = app.chat({ ...name, ...format, stream, messages: FIRST });
    const old = await app.agent.nextPrompt();
    old.say("Sure, ");
    const second = app.stream({ ...name, messages: SECOND });
    const now = await app.agent.nextPrompt();
    assertEquals(now.text, "Stop!");
    now.say("Yes?\n");
    await (await first).text();
    assertEquals(now.cancelCount, 0);
    now.end();
    assertEquals(await textOf(second), "Yes?\n");
  }
  assertEquals(app.agent.prompts.length, 4);
});
