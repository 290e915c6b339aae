import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { oneByOne, saying } from "../support/agents/memory_agent.ts";
import { checkWireProfile, parseFrames } from "../support/harness/wire_profile.ts";
import { errorOf, readWrites, startApp, Writes } from "../support/harness/app_harness.ts";

/** What OpenAI's clients send with the first try, and with those after it. */
const TRY = ["0", "1", "2"].map((count) => ({ headers: { "x-stainless-retry-count": count } }));
const [FIRST, SECOND, THIRD] = TRY as [typeof TRY[0], typeof TRY[0], typeof TRY[0]];
const key = (name: string) => ({ headers: { "idempotency-key": name } });

async function contentOf(response: Response): Promise<string> {
  const { choices: [choice] } = await response.json();
  return choice.message.content;
}

Deno.test("retry: a request that is sent again while it runs joins its turn, from the start", async () => {
  await using app = startApp();
  await using first = new Writes(await app.stream({}, FIRST));
  const prompt = await app.agent.nextPrompt();
  prompt.say("Hel");
  const second = await app.stream({}, SECOND);
  prompt.say("lo.\n");
  const third = await app.stream({}, THIRD);
  prompt.end();
  assertEquals(parseFrames(await first.rest()).text, "Hello.\n");
  for (const response of [second, third]) {
    const writes = await readWrites(response);
    assertEquals(checkWireProfile(writes), []);
    const text = writes.map((write) => new TextDecoder().decode(write)).join("");
    assertEquals(parseFrames(text).text, "Hello.\n");
  }
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("retry: a request that is sent again after its end is told it again", async () => {
  await using app = startApp({ script: saying("Hel", "lo.") });
  assertEquals(await contentOf(await app.chat({}, FIRST)), "Hello.\n");
  assertEquals(await contentOf(await app.chat({}, SECOND)), "Hello.\n");
  assertEquals(await contentOf(await app.chat({}, THIRD)), "Hello.\n");
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("retry: of completions too", async () => {
  await using app = startApp({ script: saying("Hello.") });
  for (const headers of TRY) {
    const { choices: [choice] } = await (await app.post("/v1/completions", { prompt: "Hi" }, headers)).json();
    assertEquals(choice.text, "Hello.\n");
  }
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("retry: a second that joined keeps the turn alive when the first hangs up", async () => {
  await using app = startApp();
  const first = await app.stream({}, FIRST);
  const prompt = await app.agent.nextPrompt();
  prompt.say("Hel");
  const second = await app.stream({}, SECOND);
  await first.body!.cancel();
  prompt.say("lo.\n");
  prompt.end();
  assertEquals(parseFrames(await second.text()).text, "Hello.\n");
  assertEquals([prompt.cancelCount, app.agent.prompts.length], [0, 1]);
});

Deno.test("retry: when both hang up, the turn is cancelled", async () => {
  await using app = startApp();
  const first = await app.stream({}, FIRST);
  const second = await app.stream({}, SECOND);
  const prompt = await app.agent.nextPrompt();
  await first.body!.cancel();
  assertEquals(prompt.cancelCount, 0);
  await second.body!.cancel();
  await prompt.cancelled;
});

Deno.test("retry: what was cancelled by a hang-up is not run again", async () => {
  await using app = startApp();
  const first = await app.stream({}, FIRST);
  const prompt = await app.agent.nextPrompt();
  await first.body!.cancel();
  await prompt.cancelled;
  const again = await app.stream({}, SECOND);
  const error = await errorOf(again);
  assertEquals([error.status, error.code], [409, "turn_cancelled"]);
  assertEquals(again.headers.get("x-should-retry"), "false");
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("retry: a failure is told again, not run again", async () => {
  await using app = startApp();
  app.agent.script = (prompt) => {
    prompt.say("On my wa");
    prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true }));
  };
  for (const headers of TRY) {
    const response = await app.chat({}, headers);
    assertEquals([response.status, response.headers.get("x-should-retry")], [502, "false"]);
    assertEquals((await errorOf(response)).code, "agent_crashed");
  }
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("retry: what failed before the prompt is tried again", async () => {
  await using app = startApp({ script: saying("Hello.") });
  app.agent.openError = new AppError("agent_unavailable", "Not yet.", { retryAfterSecs: 1 });
  const refused = await app.chat({}, FIRST);
  assertEquals([refused.status, refused.headers.get("retry-after")], [503, "1"]);
  await refused.body?.cancel();
  app.agent.openError = undefined;
  assertEquals(await contentOf(await app.chat({}, SECOND)), "Hello.\n");
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("retry: one that nobody has seen before runs", async () => {
  await using app = startApp({ script: saying("Hello.") });
  assertEquals(await contentOf(await app.chat({}, SECOND)), "Hello.\n");
});

Deno.test("retry: what is said twice on purpose runs twice", async () => {
  await using app = startApp({ script: oneByOne(saying("One."), saying("Two."), saying("Three.")) });
  assertEquals(await contentOf(await app.chat({}, FIRST)), "One.\n");
  assertEquals(await contentOf(await app.chat({}, FIRST)), "Two.\n");
  assertEquals(await contentOf(await app.chat()), "Three.\n");
  assertEquals(app.agent.prompts.length, 3);
});

Deno.test("retry: another body is another request", async () => {
  await using app = startApp({ script: oneByOne(saying("One."), saying("Two.")) });
  await (await app.chat({ model: "a" }, FIRST)).text();
  assertEquals(await contentOf(await app.chat({ model: "b" }, SECOND)), "Two.\n");
});

Deno.test("retry: a stop that cut the reply cuts it again", async () => {
  await using app = startApp({ script: saying("one STOP two") });
  for (const headers of TRY) {
    assertEquals(await contentOf(await app.chat({ stop: "STOP" }, headers)), "one \n");
  }
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("retry: agent events are told again too", async () => {
  await using app = startApp({
    script(prompt) {
      prompt.tool();
      prompt.say("Done.");
      prompt.usage({ inputTokens: 12, outputTokens: 5 });
      prompt.end();
    },
  });
  const body = { stream_options: { include_agent_events: true, include_usage: true } };
  const withoutHead = (text: string) => text.replace(/"id":"chatcmpl-\w+"|"created":\d+/g, "");
  const first = withoutHead(await (await app.stream(body, FIRST)).text());
  assertEquals(withoutHead(await (await app.stream(body, SECOND)).text()), first);
});

Deno.test("retry: in a named conversation it does not supersede itself", async () => {
  await using app = startApp();
  const headers = (count: string) => ({
    headers: { "x-session-id": "mao", "x-stainless-retry-count": count },
  });
  const first = await app.stream({}, headers("0"));
  const prompt = await app.agent.nextPrompt();
  const second = await app.stream({}, headers("1"));
  prompt.say("Hello.\n");
  prompt.end();
  for (const response of [first, second]) assertEquals(parseFrames(await response.text()).text, "Hello.\n");
  assertEquals([prompt.cancelCount, app.agent.prompts.length], [0, 1]);
});

Deno.test("idempotency key: the same request runs once, whether it runs or has ended", async () => {
  await using app = startApp();
  const answers = [app.stream({}, key("k1")), app.stream({}, key("k1"))];
  const prompt = await app.agent.nextPrompt();
  prompt.say("Hello.\n");
  prompt.end();
  answers.push(app.stream({}, key("k1")));
  for (const answer of answers) assertEquals(parseFrames(await (await answer).text()).text, "Hello.\n");
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("idempotency key: another request under it is refused", async () => {
  await using app = startApp({ script: saying("Hello.") });
  await (await app.chat({}, key("k1"))).text();
  const bodies = [{ model: "other" }, { stream: true }, { messages: [{ role: "user", content: "Bye" }] }];
  for (const body of bodies) {
    const response = await app.chat(body, key("k1"));
    const error = await errorOf(response);
    assertEquals([error.status, error.code], [409, "idempotency_key_conflict"]);
    assertEquals(response.headers.get("x-should-retry"), "false");
  }
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("idempotency key: on another path it is another request", async () => {
  await using app = startApp({ script: saying("Hello.") });
  await (await app.chat({ prompt: "Hi" }, key("k1"))).text();
  const body = { messages: [{ role: "user", content: "Hi" }], prompt: "Hi" };
  assertEquals((await errorOf(await app.post("/v1/completions", body, key("k1")))).status, 409);
});

Deno.test("idempotency key: another key runs again", async () => {
  await using app = startApp({ script: oneByOne(saying("One."), saying("Two.")) });
  assertEquals(await contentOf(await app.chat({}, key("k1"))), "One.\n");
  assertEquals(await contentOf(await app.chat({}, key("k2"))), "Two.\n");
});

Deno.test("idempotency key: one without end is refused", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const error = await errorOf(await app.chat({}, key("x".repeat(257))));
  assertEquals([error.status, error.code, error.param], [400, "invalid_value", "Idempotency-Key"]);
  assertEquals((await app.chat({}, key("x".repeat(256)))).status, 200);
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("idempotency key: a failure before the prompt does not use it up", async () => {
  await using app = startApp({ script: saying("Hello.") });
  app.agent.promptError = new AppError("agent_unavailable", "Not yet.");
  assertEquals((await errorOf(await app.chat({}, key("k1")))).status, 503);
  app.agent.promptError = undefined;
  assertEquals(await contentOf(await app.chat({}, key("k1"))), "Hello.\n");
});

const OBJECT = { response_format: { type: "json_object" } };

Deno.test("retry: an answer in a format that had to be asked for twice is told again, not asked for again", async () => {
  await using app = startApp({ script: oneByOne(saying("Sure!"), saying('{"a":1}')) });
  assertEquals(await contentOf(await app.chat(OBJECT, FIRST)), '{"a":1}');
  const again = app.chat(OBJECT, SECOND);
  // An agent that is asked once more has nothing more to say: it ends, so that the test does.
  app.agent.script = saying("No.");
  const response = await again;
  assertEquals(response.status, 200);
  assertEquals(await contentOf(response), '{"a":1}');
  assertEquals(app.agent.prompts.length, 2);
});

Deno.test("retry: one that joins an answer in a format while it is asked for again gets the same", async () => {
  await using app = startApp();
  const first = app.chat(OBJECT, FIRST);
  const asked = await app.agent.nextPrompt();
  const second = app.chat(OBJECT, SECOND);
  asked.say("Sure!");
  asked.end();
  app.agent.script = saying('{"a":1}');
  const repair = await app.agent.nextPrompt();
  repair.say('{"a":1}');
  repair.end();
  assertEquals([await contentOf(await first), await contentOf(await second)], ['{"a":1}', '{"a":1}']);
  assertEquals(app.agent.prompts.length, 2);
});

Deno.test("retry: an answer in a format that was left while it was asked for again is not made again", async () => {
  await using app = startApp();
  const gone = new AbortController();
  const first = app.chat(OBJECT, { ...FIRST, signal: gone.signal });
  const asked = await app.agent.nextPrompt();
  asked.say("Sure!");
  asked.end();
  const repair = await app.agent.nextPrompt();
  gone.abort();
  assertEquals((await first).status, 499);
  await repair.cancelled;
  const again = await app.chat(OBJECT, SECOND);
  const error = await errorOf(again);
  assertEquals([error.status, error.code], [409, "turn_cancelled"]);
  assertEquals(again.headers.get("x-should-retry"), "false");
  assertEquals(app.agent.prompts.length, 2);
});

Deno.test("retry: an answer in a format lives on in whoever joined it", async () => {
  await using app = startApp();
  const first = await app.stream(OBJECT, FIRST);
  const asked = await app.agent.nextPrompt();
  const second = await app.stream(OBJECT, SECOND);
  asked.say("Sure!");
  asked.end();
  const repair = await app.agent.nextPrompt();
  await first.body!.cancel();
  repair.say('{"a":1}');
  repair.end();
  assertEquals(parseFrames(await second.text()).text, '{"a":1}\n');
  assertEquals([repair.cancelCount, app.agent.prompts.length], [0, 2]);
  assertEquals(app.agent.sessions.map(({ closed }) => closed.aborted), [true]);
});

Deno.test("a notification that is posted back is answered the same when it is sent again, and no agent is asked", async () => {
  await using app = startApp({ script: saying("The agent's.") });
  app.hub.subscribe({ send() {}, backlog: 0, close() {} });
  const notified = await app.post("/v1/vtuber/notifications", { text: "The build is green." });
  await notified.body?.cancel();
  for (const _time of ["first", "again"]) {
    const response = await app.chat(
      { messages: [{ role: "user", content: "The build is green." }] },
      { headers: { "idempotency-key": "k1" } },
    );
    assertEquals((await response.json()).choices[0].message.content, "The build is green.\n");
  }
  assertEquals(app.agent.prompts.length, 0);
});
