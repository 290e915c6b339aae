import { assertEquals, assertStringIncludes } from "@std/assert";
import type { TurnRequest } from "../../lib/conversation/registry.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { Caller } from "../../lib/turn/caller.ts";
import type { QuestionId } from "../../lib/turn/event.ts";
import { type MemoryPrompt, saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, TestApp, type TestAppOptions } from "../support/harness/app_harness.ts";
import { assistant, system, user } from "../support/harness/chat_fixture.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { StoreFixture } from "../support/harness/store_fixture.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const OBS = withKey("obs");
const MAO = { conversation_id: "mao" };
const REPLY = "Answer one, which is a long one.";
const FIRST = [system("Mao"), user("one")];
const SECOND = [...FIRST, assistant(REPLY), user("two")];
const TASK = [user("### Task:\nGenerate a concise title.\n<chat_history>\nUSER: one\n</chat_history>")];

const obsKey = (limits: Partial<Caller>) => apiKey("obs", ["chat", "events", "operator"], limits);

/** An app with a key that has a budget. */
function start(options: TestAppOptions = {}, limits: Partial<Caller> = { turnsPerDay: 50 }) {
  const store = new MemoryStore();
  const app = startApp({ sessions: "auto", store, access: { keys: [obsKey(limits)] }, ...options });
  return { app, store };
}

/** The codes of responses, and how many have each. */
async function countCodes(responses: readonly Response[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const response of responses) {
    const code = response.ok ? "ok" : (await errorOf(response)).code;
    if (response.ok) await response.body?.cancel();
    counts[code] = (counts[code] ?? 0) + 1;
  }
  return counts;
}

Deno.test("budget: of 200 requests at once with turns_per_day = 50, 50 reach the agent and 150 are told so", async () => {
  using file = new StoreFixture();
  const store = await file.open();
  const { app } = start({ store, maxInFlight: 200, script: saying("Yes.\n") });
  {
    await using _app = app;
    const responses = await Promise.all(
      Array.from(
        { length: 200 },
        (_, number) => app.chat({ stream: number % 2 === 0, messages: [user(`Question ${number}`)] }, OBS),
      ),
    );
    const refused = responses.find(({ status }) => status === 429)!;
    const { headers } = refused;
    assertEquals([headers.get("x-should-retry"), headers.get("retry-after")], ["false", null]);
    assertEquals(await countCodes(responses), { ok: 50, insufficient_quota: 150 });
    assertEquals([app.agent.prompts.length, store.turnCounts.read("keys.obs")?.count], [50, 50]);
  }
  using again = await file.open();
  assertEquals(again.turnCounts.read("keys.obs")?.count, 50);
});

/** Sends a request whose second prompt, in a fresh session, fails. Returns the sessions that were opened. */
async function failSecondPrompt(app: TestApp, part: "promptError" | "openError"): Promise<number> {
  app.agent.resumes = true;
  await whole(app.chat({ ...MAO, messages: FIRST }, OBS));
  app.agent.sessions[0]!.close();
  app.agent.script = (prompt) => {
    app.agent[part] = new AppError("agent_unavailable", "Gone.");
    prompt.end("refusal");
  };
  await whole(app.chat({ ...MAO, messages: SECOND }, OBS));
  return app.agent.sessions.length;
}

/** A prompt of the program itself. */
const PROGRAM: TurnRequest = {
  messages: [{ role: "user", parts: [{ type: "text", text: "Anything new?" }] }],
  unsolicited: true,
  record: false,
};

interface Case {
  readonly options?: TestAppOptions;
  readonly limits?: Partial<Caller>;
  /** The count, and the prompts that the agent got. */
  readonly expected: readonly [count: number, prompts: number];
  run(app: TestApp): Promise<unknown>;
}

const ended = async (response: Response | Promise<Response>) => {
  const { status, body } = await response;
  await body?.cancel();
  return status;
};
const answer = (prompt: MemoryPrompt) => {
  prompt.say(REPLY);
  prompt.end();
};
/** Holds new sessions of the agent back. */
const holdAgent = (app: TestApp) => app.agent.openGate = new Promise(() => {});
const whole = (response: Response | Promise<Response>) => Promise.resolve(response).then((got) => got.text());

const COUNTS: Readonly<Record<string, Case>> = {
  "a whole reply": { expected: [1, 1], run: (app) => whole(app.chat({}, OBS)) },
  "a stream": { expected: [1, 1], run: (app) => whole(app.stream({}, OBS)) },
  "/v1/completions": {
    expected: [1, 1],
    run: (app) => whole(app.post("/v1/completions", { prompt: "Hi" }, OBS)),
  },
  "a response, whole and as a stream": {
    expected: [2, 2],
    async run(app) {
      for (const stream of [false, true]) {
        await whole(app.post("/v1/responses", { input: "Hi", stream }, OBS));
      }
    },
  },
  "a response in the background": {
    expected: [1, 1],
    async run(app) {
      app.agent.script = undefined;
      await whole(app.post("/v1/responses", { input: "Hi", background: true }, OBS));
      const prompt = await app.agent.nextPrompt();
      const [turn] = app.conversations.running;
      answer(prompt);
      await turn!.ended;
    },
  },
  "a side job beside a chat": {
    expected: [2, 2],
    async run(app) {
      await whole(app.chat({ ...MAO, messages: FIRST }, OBS));
      await whole(app.chat({ ...MAO, messages: TASK }, OBS));
    },
  },
  "a notification that the agent answers": {
    expected: [1, 1],
    run: (app) => whole(app.post("/v1/vtuber/notifications", { text: "Hi", mode: "agent" }, OBS)),
  },
  "the second prompt of a request whose session is replaced": {
    expected: [3, 3],
    async run(app) {
      app.agent.resumes = true;
      await whole(app.chat({ ...MAO, messages: FIRST }, OBS));
      app.agent.sessions[0]!.close();
      app.agent.script = (prompt) =>
        prompt.session === app.agent.sessions[2] ? answer(prompt) : prompt.end("refusal");
      assertStringIncludes(await whole(app.chat({ ...MAO, messages: SECOND }, OBS)), REPLY);
    },
  },
  "a prompt that the agent answers with an error": {
    expected: [1, 1],
    async run(app) {
      app.agent.script = (prompt) => prompt.fail(new AppError("agent_error", "No.", { prompted: true }));
      assertEquals(await ended(app.chat({}, OBS)), 502);
    },
  },
  "a prompt at which the agent's process ends": {
    expected: [1, 0],
    async run(app) {
      app.agent.promptError = new AppError("agent_crashed", "Gone.", { prompted: true });
      assertEquals(await ended(app.chat({}, OBS)), 502);
    },
  },
  "a turn whose client hangs up": {
    expected: [1, 1],
    async run(app) {
      app.agent.script = undefined;
      const response = await app.stream({}, OBS);
      const prompt = await app.agent.nextPrompt();
      await response.body?.cancel();
      await prompt.cancelled;
    },
  },
  "a turn that is superseded, and the one that supersedes it": {
    expected: [2, 2],
    async run(app) {
      app.agent.script = undefined;
      const first = await app.stream(MAO, OBS);
      const old = await app.agent.nextPrompt();
      const second = app.stream({ ...MAO, messages: [user("Stop!")] }, OBS);
      await old.cancelled;
      answer(await app.agent.nextPrompt());
      await Promise.all([whole(first), whole(second)]);
    },
  },
};

const COUNTS_NOT: Readonly<Record<string, Case>> = {
  "a repeated request that joins its turn, and one that replays it": {
    expected: [1, 1],
    async run(app) {
      app.agent.script = undefined;
      const send = (count: string) =>
        app.stream({}, { headers: { ...OBS.headers, "x-stainless-retry-count": count } });
      const first = await send("0");
      const second = await send("1");
      answer(await app.agent.nextPrompt());
      for (const response of [first, second, await send("2")]) {
        assertStringIncludes(await whole(response), REPLY);
      }
    },
  },
  "a canned reply, and the notification before it": {
    expected: [0, 0],
    async run(app) {
      app.hub.subscribe({ send() {}, backlog: 0, close() {} }, obsKey({}).caller);
      await whole(app.post("/v1/vtuber/notifications", { text: "The build is green." }, OBS));
      assertStringIncludes(await whole(app.chat({ messages: [user("The build is green.")] }, OBS)), "green");
    },
  },
  "an answer to a question of the agent": {
    expected: [1, 1],
    async run(app) {
      app.agent.script = undefined;
      const first = await app.stream({ ...MAO, messages: FIRST }, OBS);
      const prompt = await app.agent.nextPrompt();
      const words: string[] = [];
      const request = {
        ...{ id: "q" as QuestionId, message: "Which branch?", fields: [], isPrivate: false, isShown: false },
        expiresAt: Date.now() + 3_600_000,
        answerInWords: (text: string) => words.push(text) > 0,
        cancel() {},
      };
      prompt.emit({ type: "question", request });
      await whole(first);
      const second = app.stream(
        { ...MAO, messages: [...FIRST, assistant("Which branch?"), user("main")] },
        OBS,
      );
      await second;
      prompt.emit({
        type: "question_resolved",
        resolution: { id: request.id, outcome: "answered", by: "chat" },
      });
      answer(prompt);
      assertStringIncludes(await whole(second), REPLY);
      assertEquals(words, ["main"]);
    },
  },
  "a prompt of the program itself": {
    expected: [0, 1],
    run: (app) => app.conversations.startTurn(PROGRAM),
  },
  "a body that is refused": {
    expected: [0, 0],
    run: async (app) => assertEquals(await ended(app.chat({ messages: [] }, OBS)), 400),
  },
};

const GIVEN_BACK: Readonly<Record<string, Case>> = {
  "the agent cannot be started": {
    expected: [0, 0],
    async run(app) {
      app.agent.openError = new AppError("agent_unavailable", "Not yet.");
      assertEquals(await ended(app.chat({}, OBS)), 503);
    },
  },
  "the agent does not take the prompt": {
    expected: [0, 0],
    async run(app) {
      app.agent.promptError = new AppError("agent_unavailable", "Gone.");
      assertEquals(await ended(app.chat({}, OBS)), 503);
    },
  },
  "the model is not found": {
    options: { strictModels: true },
    expected: [0, 0],
    run: async (app) => assertEquals(await ended(app.chat({ model: "openab/none" }, OBS)), 404),
  },
  "the client hangs up before the agent has opened a session": {
    expected: [0, 0],
    async run(app) {
      holdAgent(app);
      const hangUp = new AbortController();
      const response = app.chat({}, { ...OBS, signal: hangUp.signal });
      await nextTask();
      assertEquals(app.conversations.runningCount, 1);
      hangUp.abort();
      assertEquals(await ended(response), 499);
    },
  },
  "the client hangs up in the queue": {
    options: { onBusy: "queue" },
    expected: [1, 1],
    async run(app) {
      app.agent.script = undefined;
      const first = await app.stream(MAO, OBS);
      const prompt = await app.agent.nextPrompt();
      const hangUp = new AbortController();
      const second = app.chat(MAO, { ...OBS, signal: hangUp.signal });
      await nextTask();
      hangUp.abort();
      assertEquals(await ended(second), 499);
      answer(prompt);
      await whole(first);
    },
  },
  "a newer request supersedes one that waits": {
    expected: [2, 2],
    async run(app) {
      app.agent.script = undefined;
      app.agent.answersCancels = false;
      const first = await app.stream(MAO, OBS);
      const old = await app.agent.nextPrompt();
      const second = app.chat({ ...MAO, messages: [user("Two")] }, OBS);
      await old.cancelled;
      const third = app.chat({ ...MAO, messages: [user("Three")] }, OBS);
      assertEquals(await ended(second), 409);
      old.end("cancelled");
      answer(await app.agent.nextPrompt());
      await Promise.all([whole(first), whole(third)]);
    },
  },
  "somebody interrupts a request that waits for its agent": {
    expected: [0, 0],
    async run(app) {
      holdAgent(app);
      const response = app.chat(MAO, OBS);
      await nextTask();
      assertEquals(await ended(app.post("/v1/vtuber/interrupt", {}, OBS)), 200);
      assertEquals(await ended(response), 409);
    },
  },
  "the conversation is busy, in mode reject": {
    options: { onBusy: "reject" },
    expected: [1, 1],
    async run(app) {
      app.agent.script = undefined;
      const first = await app.stream(MAO, OBS);
      assertEquals(await ended(app.chat(MAO, OBS)), 409);
      answer(await app.agent.nextPrompt());
      await whole(first);
    },
  },
  "all turns are in use": {
    options: { maxInFlight: 1 },
    expected: [1, 1],
    async run(app) {
      app.agent.script = undefined;
      const first = await app.stream({}, OBS);
      assertEquals(await ended(app.chat({ messages: [user("Another")] }, OBS)), 429);
      answer(await app.agent.nextPrompt());
      await whole(first);
    },
  },
  "all turns of the key are in use": {
    limits: { turnsPerDay: 50, concurrentTurns: 1 },
    expected: [1, 1],
    async run(app) {
      app.agent.script = undefined;
      const first = await app.stream({}, OBS);
      const refused = await app.chat({ messages: [user("Another")] }, OBS);
      assertEquals([refused.status, refused.headers.get("retry-after")], [429, "3"]);
      const { code, message } = await errorOf(refused);
      assertEquals(code, "rate_limit_exceeded");
      assertStringIncludes(message, "concurrent_turns of [keys.obs]");
      answer(await app.agent.nextPrompt());
      await whole(first);
    },
  },
  "all turns of the key are in use when its wait is over": {
    options: { onBusy: "queue" },
    limits: { turnsPerDay: 50, concurrentTurns: 1 },
    expected: [2, 2],
    async run(app) {
      app.agent.script = undefined;
      const first = await app.stream(MAO, OBS);
      const waiting = app.chat(MAO, OBS);
      await nextTask();
      const [turn] = app.conversations.running;
      const { caller } = obsKey({ turnsPerDay: 50, concurrentTurns: 1 });
      // Another conversation takes the place as soon as the turn has ended.
      const other = turn!.ended.then(() => app.conversations.startTurn({ ...PROGRAM, caller }));
      answer(await app.agent.nextPrompt());
      await Promise.all([whole(first), other]);
      assertEquals((await errorOf(await waiting)).code, "rate_limit_exceeded");
    },
  },
  "the server shuts down": {
    expected: [0, 0],
    async run(app) {
      holdAgent(app);
      const response = app.chat({}, OBS);
      await nextTask();
      app.conversations.fail(new AppError("shutting_down", "The server is shutting down."));
      assertEquals(await ended(response), 503);
      assertEquals(await ended(app.chat({}, OBS)), 503);
    },
  },
  "the second prompt of a request cannot be sent": {
    expected: [2, 2],
    run: async (app) => assertEquals(await failSecondPrompt(app, "promptError"), 3),
  },
  "the second prompt of a request gets no session": {
    expected: [2, 2],
    run: async (app) => assertEquals(await failSecondPrompt(app, "openError"), 2),
  },
};

for (
  const [group, cases] of Object.entries({
    counts: COUNTS,
    "does not count": COUNTS_NOT,
    "is given back": GIVEN_BACK,
  })
) {
  for (const [what, { options, limits, expected, run }] of Object.entries(cases)) {
    Deno.test(`budget, ${group}: ${what}`, async () => {
      const { app, store } = start(options, limits);
      await using _app = app;
      app.agent.script = answer;
      await run(app);
      await nextTask();
      assertEquals([store.counts.get("keys.obs")?.count ?? 0, app.agent.prompts.length], expected);
    });
  }
}

Deno.test("budget: a request whose budget is spent cancels no turn, opens no session and is remembered nowhere", async () => {
  const { app, store } = start({}, { turnsPerDay: 1 });
  await using _app = app;
  const running = await app.stream({ ...MAO, messages: FIRST }, OBS);
  const prompt = await app.agent.nextPrompt();
  const calls = store.calls.length;
  for (const body of [{ ...MAO, messages: SECOND }, { messages: SECOND }, { ...MAO, messages: TASK }]) {
    const refused = await app.stream(body, OBS);
    assertEquals([refused.status, refused.headers.get("x-should-retry")], [429, "false"]);
    assertEquals((await errorOf(refused)).code, "insufficient_quota");
  }
  const refused = await app.post("/v1/vtuber/notifications", { text: "Hi", mode: "agent" }, OBS);
  assertEquals((await errorOf(refused)).code, "insufficient_quota");
  assertEquals([prompt.cancelCount, app.agent.sessions.length, store.calls.length], [0, 1, calls]);
  answer(prompt);
  assertStringIncludes(await whole(running), REPLY);
});

Deno.test("budget: without a budget for it, a prompt is not sent a second time", async () => {
  const { app } = start({}, { turnsPerDay: 2 });
  await using _app = app;
  app.agent.resumes = true;
  app.agent.script = answer;
  await whole(app.chat({ ...MAO, messages: FIRST }, OBS));
  app.agent.sessions[0]!.close();
  app.agent.script = (prompt) => prompt.end("refusal");
  await whole(app.chat({ ...MAO, messages: SECOND }, OBS));
  assertEquals(app.agent.prompts.length, 2);
});

Deno.test("budget: a store that fails fails the request before anything happens, and nothing is counted", async () => {
  const { app, store } = start();
  await using _app = app;
  app.agent.script = answer;
  store.isFull = true;
  for (const stream of [true, false]) {
    const refused = await app.chat({ stream }, OBS);
    assertEquals([refused.status, refused.headers.get("x-should-retry")], [500, "false"]);
    const { code, message } = await errorOf(refused);
    assertEquals(code, "internal_error");
    assertStringIncludes(message, "Free disk space");
  }
  assertEquals([app.agent.sessions.length, store.counts.size, app.conversations.runningCount], [0, 0, 0]);
  store.isFull = false;
  assertStringIncludes(await whole(app.chat({}, OBS)), REPLY);
  assertEquals(store.counts.get("keys.obs")?.count, 1);
});

Deno.test("budget: a store that fails while a turn is given back changes nothing of the response", async () => {
  const { app, store } = start();
  await using _app = app;
  holdAgent(app);
  const response = app.chat(MAO, OBS);
  await nextTask();
  store.isFull = true;
  await ended(app.post("/v1/vtuber/interrupt", {}, OBS));
  assertEquals([(await errorOf(await response)).code, store.counts.get("keys.obs")?.count], [
    "turn_cancelled",
    1,
  ]);
});

Deno.test("budget: the count is the one write before the head, and only for keys with a budget", async () => {
  for (const [limits, written] of [[{ turnsPerDay: 5 }, ["count keys.obs 1"]], [{}, []]] as const) {
    const { app, store } = start({}, limits);
    await using _app = app;
    app.agent.promptGate = new Promise(() => {});
    const response = app.stream(MAO, OBS);
    await nextTask();
    assertEquals([app.agent.sessions.length, store.calls], [1, [...written]]);
    app.agent.finish();
    await whole(response);
  }
});

Deno.test("concurrent_turns: a request that supersedes is not refused; the place is free once the agent has ended the turn", async () => {
  const { app } = start({}, { concurrentTurns: 1 });
  await using _app = app;
  app.agent.answersCancels = false;
  const first = await app.stream(MAO, OBS);
  const old = await app.agent.nextPrompt();
  const second = app.stream({ ...MAO, messages: [user("Stop!")] }, OBS);
  await old.cancelled;
  const other = () => app.chat({ messages: [user("Another")] }, OBS);
  assertEquals(await ended(other()), 429);
  old.end("cancelled");
  const next = await app.agent.nextPrompt();
  assertEquals([next.text, await ended(other())], ["Stop!", 429]);
  app.agent.script = answer;
  answer(next);
  await Promise.all([whole(first), whole(second)]);
  await nextTask();
  assertEquals(await ended(other()), 200);
});

Deno.test("concurrent_turns: side jobs count, other keys do not", async () => {
  const { app } = start({ access: { keys: [obsKey({ concurrentTurns: 1 }), apiKey("bot")] } });
  await using _app = app;
  const other = await app.stream({}, withKey("bot"));
  const side = await app.stream({ messages: TASK }, OBS);
  assertEquals([other.status, side.status, await ended(app.chat({}, OBS))], [200, 200, 429]);
  app.agent.finish();
  await Promise.all([whole(side), whole(other)]);
});
