/** `GET /v1/responses/{id}?stream=true`: the events of a response in the background, from any of them on. */

import { assertEquals } from "@std/assert";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import { saying } from "../support/agents/memory_agent.ts";
import {
  errorOf,
  type SendOptions,
  startApp,
  type TestApp,
  WriteReader,
} from "../support/harness/app_harness.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { parseEvents, type ResponseEvent } from "../support/harness/response_events.ts";
import { TranscriptsFixture } from "../support/harness/transcripts_fixture.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const PATH = "/v1/responses";

async function startInBackground(app: TestApp, more: Record<string, unknown> = {}): Promise<string> {
  const answer = await app.post(PATH, { input: "Hi", background: true, ...more });
  return (await answer.json()).id;
}

const streamOf = (app: TestApp, id: string, query = "", options?: SendOptions) =>
  app.get(`${PATH}/${id}?stream=true${query}`, options);
const eventsOf = async (answer: Promise<Response>) => parseEvents(await (await answer).text());
const typesOf = (events: readonly ResponseEvent[]) => events.map(({ type }) => type);
const textOf = (events: readonly ResponseEvent[]) =>
  events.flatMap(({ type, delta = "" }) => type === "response.output_text.delta" ? [delta] : []).join("");

/** Plays a turn, with a pause between its halves. */
function firstHalf(prompt: MemoryPrompt): void {
  prompt.think("Hm.");
  prompt.tool({ status: "completed" });
  prompt.say("Hel");
}
function secondHalf(prompt: MemoryPrompt): void {
  prompt.say("lo.");
  prompt.end();
}

Deno.test("stream again: the same events with the same numbers, during the turn and after it", async () => {
  await using app = startApp();
  const { promise, resolve } = Promise.withResolvers<void>();
  app.agent.openGate = promise;
  const id = await startInBackground(app);
  const queued = eventsOf(streamOf(app, id));
  resolve();
  const prompt = await app.agent.nextPrompt();
  firstHalf(prompt);
  const joined = eventsOf(streamOf(app, id));
  await nextTask();
  secondHalf(prompt);
  const all = await queued;
  assertEquals(await joined, all);
  assertEquals(await eventsOf(streamOf(app, id)), all);
  assertEquals(typesOf(all).slice(0, 3), ["response.created", "response.queued", "response.in_progress"]);
  assertEquals([typesOf(all).at(-1), textOf(all)], ["response.completed", "Hello."]);
  assertEquals(all.map(({ sequence_number }) => sequence_number), [...all.keys()]);
  assertEquals(all.at(-1)!.response, await (await app.get(`${PATH}/${id}`)).json());
});

Deno.test("stream again: starting_after goes on behind any event, without a gap", async () => {
  await using app = startApp();
  const id = await startInBackground(app);
  const prompt = await app.agent.nextPrompt();
  firstHalf(prompt);
  const running = [0, 3, 5].map((after) => eventsOf(streamOf(app, id, `&starting_after=${after}`)));
  await nextTask();
  secondHalf(prompt);
  const rests = await Promise.all(running);
  const all = await eventsOf(streamOf(app, id));
  assertEquals(rests, [0, 3, 5].map((after) => all.slice(after + 1)));
  for (const after of all.keys()) {
    assertEquals(await eventsOf(streamOf(app, id, `&starting_after=${after}`)), all.slice(after + 1));
  }
});

Deno.test("stream again: a lost stream goes on, and its client ends nothing", async () => {
  await using app = startApp();
  const answer = await app.post(PATH, { input: "Hi", background: true, stream: true });
  const first = new WriteReader(answer);
  const seen = parseEvents((await first.next())!);
  const { id } = seen[0]!.response!;
  const prompt = await app.agent.nextPrompt();
  await first.cancel();
  firstHalf(prompt);
  for (let count = 0; count < 20; count++) await (await streamOf(app, id)).body!.cancel();
  await nextTask();
  const rest = eventsOf(streamOf(app, id, `&starting_after=${seen.at(-1)!.sequence_number}`));
  secondHalf(prompt);
  assertEquals([textOf(await rest), prompt.cancelCount], ["Hello.", 0]);
});

for (const [name, method, path] of [["cancel", "POST", "/cancel"], ["DELETE", "DELETE", ""]] as const) {
  Deno.test(`stream again: ${name} ends it`, async () => {
    await using app = startApp();
    const id = await startInBackground(app);
    const prompt = await app.agent.nextPrompt();
    prompt.say("Hel");
    const reading = eventsOf(streamOf(app, id));
    await nextTask();
    await (await app.send(`${PATH}/${id}${path}`, { method })).body!.cancel();
    const last = (await reading).at(-1);
    assertEquals([last?.type, last?.response?.status], ["response.failed", "cancelled"]);
  });
}

Deno.test("stream again: a silent one says that it is alive", async () => {
  await using app = startApp({ heartbeatMs: 1 });
  const id = await startInBackground(app);
  await app.agent.nextPrompt();
  await using reader = new WriteReader(await streamOf(app, id));
  let text = "";
  while (!text.includes(": keepalive\n\n")) text += await reader.next();
});

Deno.test("stream again: only of a response in the background, in memory, of this key, 16 at once", async () => {
  const keys = [apiKey("one"), apiKey("two")];
  using fixture = new TranscriptsFixture();
  let id = "";
  const one = withKey("one");
  const start = async (app: TestApp, body: Record<string, unknown>) =>
    (await (await app.post(PATH, { input: "Hi", ...body }, one)).json()).id;
  const refusalOf = async (app: TestApp, id: string, query?: string, key = one) => {
    const { status, code, param } = await errorOf(await streamOf(app, id, query, key));
    return [status, code, param];
  };
  {
    await using app = startApp({
      access: { keys },
      transcripts: await fixture.open(),
      script: saying("Hi."),
    });
    const plain = await start(app, {});
    assertEquals(await refusalOf(app, plain), [400, "unsupported_parameter", "stream"]);
    id = await start(app, { background: true, store: true });
    assertEquals(typesOf(await eventsOf(streamOf(app, id, "", one))).at(-1), "response.completed");
    assertEquals(await refusalOf(app, id, "", withKey("two")), [404, "not_found", null]);
    for (const after of ["x", "-2", "1.5", "", "999"]) {
      const expected = [400, "invalid_value", "starting_after"];
      assertEquals(await refusalOf(app, id, `&starting_after=${after}`), expected);
    }
    app.agent.script = undefined;
    const running = await start(app, { background: true });
    const streams = await Promise.all(Array.from({ length: 16 }, () => streamOf(app, running, "", one)));
    assertEquals(await refusalOf(app, running), [429, "rate_limit_exceeded", null]);
    assertEquals(await refusalOf(app, running, "&starting_after=999"), [
      400,
      "invalid_value",
      "starting_after",
    ]);
    for (const stream of streams) await stream.body!.cancel();
  }
  await using app = startApp({ access: { keys }, transcripts: await fixture.open() });
  assertEquals(await refusalOf(app, id), [400, "unsupported_parameter", "stream"]);
});

Deno.test("stream again: a response that is too long can only be read whole, and goes on for those who read it", async () => {
  await using app = startApp();
  const id = await startInBackground(app);
  const prompt = await app.agent.nextPrompt();
  const reading = eventsOf(streamOf(app, id));
  await nextTask();
  for (let count = 0; count < 12_000; count++) {
    prompt.say("x");
    if (count % 100 === 0) await nextTask();
  }
  const error = await errorOf(await streamOf(app, id));
  assertEquals([error.status, error.param], [400, "stream"]);
  prompt.end();
  const all = await reading;
  assertEquals([textOf(all).length, typesOf(all).at(-1)], [12_000, "response.completed"]);
  assertEquals((await (await app.get(`${PATH}/${id}`)).json()).status, "completed");
});
