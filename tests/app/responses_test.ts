import { assert, assertEquals, assertMatch } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import type { ResponseObject } from "../../lib/openai/responses/events.ts";
import { oneByOne, saying, type Script } from "../support/agents/memory_agent.ts";
import {
  errorOf,
  type SendOptions,
  startApp,
  type TestApp,
  WriteReader,
} from "../support/harness/app_harness.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { TranscriptsFixture } from "../support/harness/transcripts_fixture.ts";
import { parseEvents } from "../support/harness/response_events.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const PATH = "/v1/responses";

/** Posts a request for a response; `body` overrides fields of the shortest one. */
function post(app: TestApp, body: Record<string, unknown> = {}, options?: SendOptions): Promise<Response> {
  return app.post(PATH, { input: "Hi", ...body }, options);
}

async function read(answer: Response | Promise<Response>): Promise<ResponseObject> {
  const response = await answer;
  const body = await response.text();
  assertEquals(response.status, 200, body);
  return JSON.parse(body);
}

const create = (app: TestApp, body?: Record<string, unknown>, options?: SendOptions) =>
  read(post(app, body, options));
const retrieve = (app: TestApp, id: string, options?: SendOptions) => read(app.get(`${PATH}/${id}`, options));
const cancel = (app: TestApp, id: string) => read(app.post(`${PATH}/${id}/cancel`, {}));

function textOf({ output }: ResponseObject): string {
  return output.flatMap((item) => item.type === "message" ? item.content : [])
    .map((part) => part.type === "refusal" ? part.refusal : part.text).join("");
}

async function readStream(answer: Response | Promise<Response>) {
  const response = await answer;
  const text = await response.text();
  assertEquals(response.status, 200, text);
  const events = parseEvents(text);
  return { events, types: events.map(({ type }) => type), final: events.at(-1)!.response! };
}

Deno.test("responses: a response as JSON, with the headers of chat", async () => {
  await using app = startApp({ script: saying("[joy] Hello.") });
  const answer = await post(app, {
    model: "gpt-4o",
    conversation: { id: "mao" },
    instructions: "Be brief.",
    temperature: 2,
  });
  const names = ["x-session-id", "x-resolved-model", "x-vtuber-ignored", "x-usage-estimated"];
  assertEquals(names.map((name) => answer.headers.get(name)), ["mao", "openab", "temperature", "true"]);
  const response = await read(answer);
  assertEquals(response.id, `resp_${answer.headers.get("x-request-id")}`);
  assertEquals([response.status, response.model, textOf(response)], ["completed", "gpt-4o", "[joy] Hello."]);
  assertEquals([response.conversation, response.instructions], [{ id: "mao" }, "Be brief."]);
  assertMatch(app.agent.prompts[0]!.text, /Be brief\..*Hi/s);
  assertEquals(await retrieve(app, response.id), response);
});

Deno.test("responses: a stream has named events, and ends with the response that is kept", async () => {
  await using app = startApp({
    script(prompt) {
      prompt.think("Hm.");
      prompt.tool({ status: "in_progress" });
      prompt.tool({ status: "completed" });
      prompt.plan({ content: "Look", priority: "high", status: "pending" });
      prompt.say("Done.");
      prompt.end();
    },
  });
  const { types, final } = await readStream(post(app, { stream: true }));
  assertEquals(types.slice(0, 2), ["response.created", "response.in_progress"]);
  assertEquals(types.at(-1), "response.completed");
  assertEquals(final.output.map(({ type }) => type), ["reasoning", "mcp_call", "reasoning", "message"]);
  assertEquals(await retrieve(app, final.id), final);
});

Deno.test("responses: max_output_tokens cuts the reply, and leaves the response incomplete", async () => {
  await using app = startApp({ script: saying("1234", "56789", "0") });
  for (const stream of [false, true]) {
    const answer = post(app, { max_output_tokens: 2, stream });
    const response = stream ? (await readStream(answer)).final : await read(answer);
    assertEquals([response.status, response.incomplete_details?.reason], ["incomplete", "max_output_tokens"]);
    assertEquals(textOf(response), "12345678");
  }
});

Deno.test("responses: text.format gives the JSON alone, and its lack is an error", async () => {
  await using app = startApp({ script: saying('```json\n{"name":', '"Mao"}\n```') });
  const text = { format: { type: "json_object" } };
  assertEquals(textOf(await create(app, { text })), '{"name":"Mao"}');
  assertEquals(textOf((await readStream(post(app, { text, stream: true }))).final), '{"name":"Mao"}');
  assertMatch(app.agent.prompts[0]!.text, /Answer with one JSON object/);
  app.agent.script = saying("Sorry.");
  const error = await errorOf(await post(app, { text }));
  assertEquals([error.status, error.code, error.param], [422, "invalid_output", "text.format"]);
  const { final, types } = await readStream(post(app, { text, stream: true }));
  assertEquals([types.at(-1), final.error?.type], ["response.failed", "invalid_output"]);
});

Deno.test("responses: a long field is not repeated, so that the events fit into the stream", async () => {
  await using app = startApp({ script: saying('{"name":"Mao"}') });
  // 9 MB in UTF-8 each: a stream is cut off once 8 MiB wait.
  const format = { type: "json_object", note: "A".repeat(9_000_000) };
  for (const fields of [{ instructions: "あ".repeat(3_000_000) }, { text: { format } }]) {
    const { final } = await readStream(post(app, { stream: true, ...fields }));
    assertEquals([final.status, textOf(final)], ["completed", '{"name":"Mao"}']);
  }
});

Deno.test("responses: previous_response_id goes on in its conversation, with the new words only", async () => {
  await using app = startApp({ sessions: "auto", script: oneByOne(saying("One."), saying("Two.")) });
  const first = await create(app, { input: "First" });
  const answer = await post(app, { input: "Second", previous_response_id: first.id });
  const second = await read(answer);
  assertEquals([textOf(second), second.previous_response_id], ["Two.", first.id]);
  assertEquals(app.agent.prompts.map(({ text }) => text), ["First", "Second"]);
  assertEquals(app.agent.sessions.length, 1);
});

Deno.test("responses: a response that is not the newest one starts a new conversation, with the chain", async () => {
  for (const sessions of ["auto", "stateless", "persistent"] as const) {
    await using app = startApp({ sessions, script: saying("Ok.") });
    const first = await create(app, { input: "First" });
    const sessionOf = async (input: string, previous: string) => {
      const answer = await post(app, { input, previous_response_id: previous });
      await read(answer);
      return answer.headers.get("x-session-id");
    };
    const one = await sessionOf("Second", first.id);
    const two = await sessionOf("Branch", first.id);
    assert(one !== two, sessions);
    const text = app.agent.prompts.at(-1)!.text;
    assertEquals([/First.*Ok\..*Branch/s.test(text), text.includes("Second")], [true, false], sessions);
  }
});

Deno.test("responses: a chain too long for a request loses its oldest responses, and only new input is refused", async () => {
  const filler = {
    text: [{ type: "input_text", text: "A".repeat(1.5 * 1024 * 1024) }],
    parts: Array.from({ length: 4_000 }, () => ({ type: "input_text", text: "A" })),
  };
  for (const [kind, content] of Object.entries(filler)) {
    await using app = startApp({ sessions: "auto", script: saying("Ok.") });
    const input = (...words: string[]) => [{
      role: "user",
      content: [...words.map((text) => ({ type: "input_text", text })), ...content],
    }];
    const first = await create(app, { input: input("First") });
    const second = await create(app, { input: input("Second"), previous_response_id: first.id });
    const third = await create(app, { input: input("Third"), previous_response_id: second.id });
    const prompt = () => app.agent.prompts.at(-1)!.text;
    const found = () => ["First", "Second", "Third", "Branch"].filter((word) => prompt().includes(word));
    assertEquals([app.agent.sessions.length, found()], [1, ["Third"]], kind);
    await create(app, { input: input("Branch"), previous_response_id: second.id });
    assertEquals([app.agent.sessions.length, found()], [2, ["Second", "Branch"]], kind);
    const large = [...input("a"), ...input("b"), ...input("c")];
    const error = await errorOf(await post(app, { input: large, previous_response_id: third.id }));
    assertEquals([error.status, error.param], [400, "input"], kind);
  }
});

Deno.test("responses: after one that was cut off, the conversation goes on from it and from the one before it", async () => {
  for (const fromCut of [false, true]) {
    await using app = startApp({ sessions: "auto", script: saying("One.") });
    const { id } = await create(app, { input: "First" });
    app.agent.script = undefined;
    const cut = new WriteReader(
      await post(app, { input: "Second", previous_response_id: id, stream: true }),
    );
    const [created] = parseEvents((await cut.next())!);
    while (app.agent.prompts.length === 1) await nextTask();
    await cut.cancel();
    await app.agent.prompts[1]!.cancelled;
    app.agent.script = saying("Three.");
    const previous_response_id = fromCut ? created!.response!.id : id;
    await create(app, { input: "Third", previous_response_id });
    assertEquals([app.agent.sessions.length, app.agent.prompts.at(-1)!.text], [1, "Third"]);
  }
});

Deno.test("responses: an unknown response, and that of another key, are not found", async () => {
  const keys = [apiKey("one"), apiKey("two")];
  await using app = startApp({ script: saying("Hi."), access: { keys } });
  const { id, output: [item] } = await create(app, {}, withKey("one"));
  for (const [key, unknown] of [["two", id], ["one", "resp_0"]] as const) {
    const options = withKey(key);
    const answers = [
      await app.get(`${PATH}/${unknown}`, options),
      await app.get(`${PATH}/${unknown}/input_items`, options),
      await app.post(`${PATH}/${unknown}/cancel`, {}, options),
      await app.send(`${PATH}/${unknown}`, { method: "DELETE", ...options }),
    ];
    for (const answer of answers) {
      const error = await errorOf(answer);
      assertEquals([error.status, error.code], [404, "not_found"]);
    }
    const error = await errorOf(await post(app, { previous_response_id: unknown }, options));
    const { status, code, param } = error;
    assertEquals([status, code, param], [400, "previous_response_not_found", "previous_response_id"]);
  }
  const reference = [{ type: "item_reference", id: item!.id }, { role: "user", content: "And?" }];
  const refused = await errorOf(await post(app, { input: reference }, withKey("two")));
  assertEquals([refused.status, refused.param], [404, "input[0].id"]);
  await create(app, { input: reference }, withKey("one"));
  assertMatch(app.agent.prompts.at(-1)!.text, /Hi\..*And\?/s);
});

Deno.test("responses: with store false nothing is kept, and a later request is told so", async () => {
  await using app = startApp({ script: saying("Hi.") });
  const { id } = await create(app, { store: false });
  assertMatch((await errorOf(await app.get(`${PATH}/${id}`))).message, /"store": false/);
  assertMatch((await errorOf(await post(app, { previous_response_id: id }))).message, /"store": false/);
});

Deno.test("responses: one in the background goes on without its client, and shows how far it is", async () => {
  for (const stream of [false, true]) {
    await using app = startApp();
    const answer = await post(app, { background: true, stream });
    let id = "";
    if (stream) {
      await using writes = new WriteReader(answer);
      const [created, queued] = parseEvents((await writes.next())!);
      assertEquals([created?.type, queued?.type], ["response.created", "response.queued"]);
      id = created!.response!.id;
    } else {
      const response = await read(answer);
      assertEquals([response.status, response.background], ["queued", true]);
      id = response.id;
    }
    const prompt = await app.agent.nextPrompt();
    prompt.say("Hel");
    await nextTask();
    const partial = await retrieve(app, id);
    assertEquals([partial.status, textOf(partial)], ["in_progress", "Hel"]);
    prompt.say("lo.");
    prompt.end();
    await nextTask();
    const done = await retrieve(app, id);
    assertEquals([done.status, textOf(done), prompt.cancelCount], ["completed", "Hello.", 0]);
  }
});

/** A response in the background when the server ends: its request, and what the agent does, if it is asked. */
interface Interrupted {
  readonly fields?: Record<string, unknown>;
  readonly script?: Script;
  readonly expected: readonly [status: string, text: string, code?: string];
}

const schema = { type: "object", properties: { name: { type: "string" } } };
const INTERRUPTED: Readonly<Record<string, Interrupted>> = {
  "one that has just ended": { script: saying("Hi."), expected: ["completed", "Hi."] },
  "one whose JSON is still checked": {
    fields: { text: { format: { type: "json_schema", name: "character", schema } } },
    script: saying('{"name":"Mao"}'),
    expected: ["completed", '{"name":"Mao"}'],
  },
  "one that takes too long": {
    script: (prompt) => prompt.say("Hal"),
    expected: ["failed", "Hal", "shutting_down"],
  },
  "one that never got to its agent": { expected: ["failed", "", "shutting_down"] },
};

for (const [name, { fields, script, expected }] of Object.entries(INTERRUPTED)) {
  Deno.test(`responses: the end of the server finds ${name}, and the next one has it as it ended`, async () => {
    using fixture = new TranscriptsFixture();
    fixture.now = Date.now();
    let id: string;
    {
      await using transcripts = await fixture.open();
      const app = startApp({ transcripts, script, shutdownGraceMs: 1 });
      if (!script) app.agent.openGate = new Promise(() => {});
      ({ id } = await create(app, { background: true, store: true, ...fields }));
      if (script) await app.agent.nextPrompt();
      await app.end();
    }
    await using transcripts = await fixture.open();
    await using app = startApp({ transcripts });
    const response = await retrieve(app, id);
    const { status, error } = response;
    assertEquals([status, textOf(response), error?.type], [expected[0], expected[1], expected[2]]);
  });
}

Deno.test("responses: cancel ends one in the background, before and while its turn runs", async () => {
  await using app = startApp();
  const running = await create(app, { background: true });
  const prompt = await app.agent.nextPrompt();
  prompt.say("Hel");
  await nextTask();
  const cancelled = await cancel(app, running.id);
  assertEquals([cancelled.status, textOf(cancelled)], ["cancelled", "Hel"]);
  await prompt.cancelled;
  assertEquals(await cancel(app, running.id), cancelled);
  assertEquals(await retrieve(app, running.id), cancelled);

  const { promise, resolve } = Promise.withResolvers<void>();
  app.agent.openGate = promise;
  const waiting = await create(app, { background: true });
  assertEquals((await cancel(app, waiting.id)).status, "cancelled");
  resolve();
  await nextTask();
  assertEquals(app.agent.prompts.length, 1);
});

Deno.test("responses: cancel leaves a response as it is that has ended", async () => {
  await using app = startApp({ script: saying("Hi.") });
  const response = await create(app);
  assertEquals(await cancel(app, response.id), response);
});

Deno.test("responses: one in the background that cannot start has failed, with the error", async () => {
  await using app = startApp();
  const { promise, resolve } = Promise.withResolvers<void>();
  app.agent.openGate = promise;
  const { id } = await create(app, { background: true });
  app.agent.openError = new AppError("agent_unavailable", "It broke.");
  resolve();
  await nextTask();
  const { status, error } = await retrieve(app, id);
  assertEquals([status, error?.type], ["failed", "agent_unavailable"]);
});

Deno.test("responses: beyond the limit of turns, one in the background is refused at once", async () => {
  await using app = startApp({ maxInFlight: 1 });
  await create(app, { background: true });
  const error = await errorOf(await post(app, { background: true }));
  assertEquals([error.status, error.code], [429, "rate_limit_exceeded"]);
});

Deno.test("responses: a client that hangs up cancels its turn, and the response", async () => {
  await using app = startApp();
  const writes = new WriteReader(await post(app, { stream: true }));
  const [created] = parseEvents((await writes.next())!);
  const streamed = await app.agent.nextPrompt();
  streamed.say("Hel");
  await writes.cancel();
  await streamed.cancelled;
  const { status, output } = await retrieve(app, created!.response!.id);
  assertEquals([status, output.length], ["cancelled", 1]);

  const hangUp = new AbortController();
  const answer = post(app, {}, { signal: hangUp.signal });
  const prompt = await app.agent.nextPrompt();
  hangUp.abort();
  assertEquals((await answer).status, 499);
  await prompt.cancelled;
});

Deno.test("responses: a client that hangs up before its turn begins is not waited for", async () => {
  await using app = startApp({ headMs: 1 });
  const { promise, resolve } = Promise.withResolvers<void>();
  app.agent.openGate = promise;
  const response = await post(app, { stream: true });
  await response.body!.cancel();
  resolve();
  await (await app.agent.nextPrompt()).cancelled;
});

Deno.test("responses: a client whose request is aborted before its turn begins is no fault of the program", async () => {
  await using app = startApp({ headMs: 1 });
  const { promise, resolve } = Promise.withResolvers<void>();
  app.agent.openGate = promise;
  const hangUp = new AbortController();
  const response = await post(app, { stream: true }, { signal: hangUp.signal });
  hangUp.abort();
  const events = parseEvents(await response.text().catch(() => ""));
  assertEquals(events.at(-1)?.response?.status !== "completed", true);
  resolve();
  await nextTask();
});

Deno.test("responses: a silent stream says that it is alive", async () => {
  await using app = startApp({ headMs: 1, heartbeatMs: 1 });
  const { promise, resolve } = Promise.withResolvers<void>();
  app.agent.openGate = promise;
  app.agent.script = saying("Hi.");
  await using writes = new WriteReader(await post(app, { stream: true }));
  const head = [await writes.next(), await writes.next()].join("");
  assertEquals(parseEvents(head).map(({ type }) => type), ["response.created", "keepalive"]);
  resolve();
  const events = parseEvents(await writes.rest());
  assertEquals(events.at(-1)?.response?.status, "completed");
});

Deno.test("responses: a turn that fails before any text has the status of chat, else it leaves the text", async () => {
  for (const stream of [false, true]) {
    await using app = startApp();
    app.agent.openError = new AppError("agent_unavailable", "It broke.");
    const refused = await post(app, { stream });
    assertEquals([refused.status, (await errorOf(refused)).code], [503, "agent_unavailable"]);
    app.agent.openError = undefined;
    app.agent.script = (prompt) => {
      prompt.say("Half");
      prompt.fail(new AppError("agent_crashed", "It ended."));
    };
    const answer = post(app, { stream });
    const half = stream ? (await readStream(answer)).final : await read(answer);
    assertEquals([half.status, textOf(half), half.error?.type], ["failed", "Half", "agent_crashed"]);
  }
  await using app = startApp({ script: (prompt) => prompt.fail(new AppError("agent_error", "No.")) });
  const failed = await post(app);
  assertEquals([failed.status, failed.headers.get("x-should-retry")], [502, "false"]);
  await failed.text();
});

Deno.test("responses: a repeated request joins its turn, also as a continuation", async () => {
  await using app = startApp({ sessions: "auto", script: saying("One.") });
  const { id } = await create(app);
  app.agent.script = undefined;
  for (const body of [{ input: "Again" }, { input: "More", previous_response_id: id }]) {
    const before = app.agent.prompts.length;
    const tries = ["0", "1"].map((count) =>
      create(app, body, { headers: { "x-stainless-retry-count": count } })
    );
    while (app.agent.prompts.length === before) await nextTask();
    const prompt = app.agent.prompts.at(-1)!;
    prompt.say("Ok.");
    prompt.end();
    assertEquals((await Promise.all(tries)).map(textOf), ["Ok.", "Ok."]);
    const late = await create(app, body, { headers: { "x-stainless-retry-count": "2" } });
    assertEquals([textOf(late), app.agent.prompts.length], ["Ok.", before + 1]);
  }
});

Deno.test("responses: input_items lists the items of the request, in pages", async () => {
  await using app = startApp({ script: saying("Hi.") });
  const input = ["a", "b", "c"].map((content) => ({ role: "user", content }));
  const { id } = await create(app, { input });
  const list = async (query: string) => (await app.get(`${PATH}/${id}/input_items${query}`)).json();
  const all = await list("?order=asc");
  const texts = ({ data }: { data: { content: { text: string }[] }[] }) =>
    data.map(({ content }) => content[0]!.text).join("");
  assertEquals([all.object, texts(all), all.has_more], ["list", "abc", false]);
  assertEquals([all.first_id, all.last_id], [all.data[0].id, all.data[2].id]);
  assertEquals(texts(await list("")), "cba");
  const page = await list("?order=asc&limit=2");
  assertEquals([texts(page), page.has_more], ["ab", true]);
  const next = await list(`?order=asc&limit=2&after=${page.last_id}`);
  assertEquals([texts(next), next.has_more], ["c", false]);
  assertEquals(await list(`?after=${all.first_id}`), {
    ...{ object: "list", data: [], first_id: null, last_id: null, has_more: false },
  });
  for (
    const [query, param] of [["limit=0", "limit"], ["limit=x", "limit"], ["order=up", "order"], [
      "after=x",
      "after",
    ]]
  ) {
    const error = await errorOf(await app.get(`${PATH}/${id}/input_items?${query}`));
    assertEquals([error.status, error.param], [400, param]);
  }
});

Deno.test("responses: DELETE forgets a response, and ends one that is being made", async () => {
  await using app = startApp();
  const { id } = await create(app, { background: true });
  const prompt = await app.agent.nextPrompt();
  const answer = await app.send(`${PATH}/${id}`, { method: "DELETE" });
  assertEquals(await answer.json(), { id, object: "response.deleted", deleted: true });
  await prompt.cancelled;
  assertEquals((await app.get(`${PATH}/${id}`)).status, 404);
  assertEquals((await app.send(`${PATH}/${id}`, { method: "DELETE" })).status, 404);
});

Deno.test("responses: only a key with the scope commands can run a command of the agent", async () => {
  const keys = [apiKey("may"), apiKey("not", ["chat"])];
  await using app = startApp({ script: saying("Hi."), access: { keys } });
  for (const key of ["may", "not"]) await create(app, { input: "/clear" }, withKey(key));
  const found = app.agent.prompts.map(({ blocks }) =>
    blocks.some((block) => block.type === "text" && block.mayCommand)
  );
  assertEquals(found, [true, false]);
});
