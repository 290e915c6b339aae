import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { AppError } from "../../../lib/core/errors.ts";
import { ResponseBuilder, type ResponseObject } from "../../../lib/openai/responses/events.ts";
import { type HistoryItem, itemId } from "../../../lib/openai/responses/items.ts";
import { type KeptResponse, type NewResponse, ResponseStore } from "../../../lib/openai/responses/store.ts";
import type { Transcripts } from "../../../lib/openai/responses/transcripts.ts";
import type { ContentSize } from "../../../lib/openai/wire.ts";
import { FakeClock } from "../../support/harness/fake_clock.ts";
import { ownHeapBytes } from "../../support/harness/inspector.ts";
import { HEAD } from "../../support/harness/response_fixture.ts";
import { nextTask } from "../../support/harness/turn_recorder.ts";
import { START, TranscriptsFixture } from "../../support/harness/transcripts_fixture.ts";

const HOUR_MS = 3_600_000;
const OWNER = "keys.stage";

/** The size of a request without content. */
const NOTHING: ContentSize = { parts: 0, chars: 0 };

/** A response without output. */
const EMPTY = new ResponseBuilder(HEAD).toResponse();

function said(text: string): HistoryItem {
  return { type: "message", role: "user", parts: [{ type: "text", text }] };
}

/** Makes a response with one message. */
function saying(id: string, text: string, status: "in_progress" | "completed" = "completed"): ResponseObject {
  const content = [{ type: "output_text", text, annotations: [] }] as const;
  return {
    ...EMPTY,
    status,
    output: [{ id: itemId("message", id, 0), type: "message", status, role: "assistant", content }],
  };
}

interface Options extends Partial<NewResponse> {
  conversation?: string;
}

/** Starts a response in its conversation. */
function start(
  store: ResponseStore,
  id: string,
  { conversation = "mao", ...fields }: Options = {},
) {
  const running = store.start({
    ...{
      id,
      owner: OWNER,
      agent: "openab",
      previousId: undefined,
      createdAt: START + 1_000,
      store: undefined,
    },
    ...{ input: [said(`${id}?`)], current: () => saying(id, "Half", "in_progress"), cancel() {} },
    ...fields,
  });
  running.attach({ conversation, resolvedModel: `${fields.agent ?? "openab"}/fast` });
  return running;
}

/** Runs a response to its end. */
async function run(
  store: ResponseStore,
  id: string,
  { response = saying(id, `${id}!`), ...options }: Options & { response?: ResponseObject } = {},
): Promise<void> {
  await start(store, id, options).finish(response);
}

function createStore(transcripts?: Transcripts, warnings: string[] = []): ResponseStore {
  return new ResponseStore({ transcripts, log: { warn: (message) => void warnings.push(message) } });
}

/** Lists the texts of items. */
function textsOf(items: readonly HistoryItem[]): string[] {
  return items.flatMap((item) => {
    if (item.type !== "message") return [];
    const parts: readonly object[] = "parts" in item ? item.parts : item.content;
    return parts.map((part) => "text" in part ? String(part.text) : "?");
  });
}

function ids(store: ResponseStore, all: readonly string[], owner = OWNER): string[] {
  return all.filter((id) => store.get(owner, id) !== undefined);
}

Deno.test("responses: one that runs is shown as it is now, and then as it ended", async () => {
  await using store = createStore();
  let text = "";
  let cancelled = 0;
  const running = store.start({
    ...{ id: "resp_1", owner: OWNER, agent: "openab", previousId: "resp_0", input: [], createdAt: START },
    ...{ store: undefined, current: () => saying("resp_1", text, "in_progress"), cancel: () => cancelled++ },
  });
  const shown = () => store.require(OWNER, "resp_1");
  assertEquals([shown().isRunning, shown().conversation], [true, undefined]);
  running.attach({ conversation: "mao", resolvedModel: "openab/fast" });
  text = "Hello";
  assertEquals(shown().response, saying("resp_1", "Hello", "in_progress"));
  shown().cancel();
  await running.finish(saying("resp_1", "Hello!"));
  shown().cancel();
  const { cancel: _, ...kept } = shown();
  assertEquals<unknown>(
    (({ chars: _chars, expiresAt: _expiresAt, ended: _ended, ...rest }) => rest)({
      ...{ chars: 0, expiresAt: 0, ended: undefined },
      ...kept,
    }),
    {
      ...{ id: "resp_1", owner: OWNER, agent: "openab", conversation: "mao" },
      ...{ previousId: "resp_0", input: [], createdAt: START, isRunning: false },
      response: saying("resp_1", "Hello!"),
    },
  );
  assertEquals(cancelled, 1);
});

Deno.test("responses: two callers never meet", async () => {
  using fixture = new TranscriptsFixture();
  await using transcripts = await fixture.open();
  await using store = createStore(transcripts);
  const other = "keys.other";
  const running = start(store, "resp_running");
  await run(store, "resp_ended");
  await run(store, "resp_stored", { store: true });
  await run(store, "resp_unstored", { store: false });
  // A request of another caller that names a response of the first one.
  await run(store, "resp_other", { owner: other, previousId: "resp_ended" });
  for (const id of ["resp_running", "resp_ended", "resp_stored", "resp_unstored"]) {
    assertEquals(store.get(other, id), undefined);
    assertEquals(store.createItemFinder(other)(itemId("message", id, 0)), undefined);
    assertEquals(store.createItemFinder(other)(itemId("message", id, 0, "input")), undefined);
    assertEquals(store.chain(other, id, NOTHING), []);
    const unknown =
      `There is no response "${id}". Without "store": true, a response is kept for an hour at most.`;
    await assertRejects(() => store.delete(other, id), AppError, unknown);
    assertThrows(() => store.require(other, id), AppError, unknown);
    assertThrows(() => store.requirePrevious(other, id), AppError, unknown);
  }
  assertEquals(textsOf(store.chain(other, "resp_other", NOTHING)), ["resp_other?", "resp_other!"]);
  assertEquals([store.listConversations(other), store.listConversations(OWNER).length], [[], 1]);
  await store.deleteConversation(other, "mao");
  await store.deleteConversation(other, undefined);
  assertEquals(ids(store, ["resp_running", "resp_ended", "resp_stored"]).length, 3);
  assertEquals(store.get(other, "resp_other"), undefined);
  await running.finish(saying("resp_running", ""));
});

Deno.test("responses: without store, one is kept for an hour after its end, and then forgotten without a request", async () => {
  using clock = new FakeClock();
  await using store = createStore();
  const running = start(store, "resp_long");
  clock.advance(2 * HOUR_MS);
  await run(store, "resp_1");
  clock.advance(HOUR_MS / 2);
  await running.finish(saying("resp_long", ""));
  assertEquals(ids(store, ["resp_1", "resp_long"]), ["resp_1", "resp_long"]);
  clock.advance(HOUR_MS / 2);
  assertEquals(ids(store, ["resp_1", "resp_long"]), ["resp_long"]);
  assertEquals(clock.waits.length, 1);
  clock.advance(HOUR_MS / 2);
  assertEquals([ids(store, ["resp_1", "resp_long"]), clock.waits], [[], []]);
  await run(store, "resp_2");
  assertEquals(clock.waits.length, 1);
});

Deno.test("responses: 1,000 are kept: none of another key, and none that runs, is forgotten for a key that has many", async () => {
  await using store = createStore();
  const running = start(store, "resp_running");
  const all = Array.from({ length: 1_010 }, (_, index) => `resp_${index}`);
  await run(store, "resp_other", { owner: "other" });
  for (const id of all) await run(store, id, { owner: "one" });
  assertEquals([ids(store, ["resp_other"], "other"), ids(store, all, "one")], [
    ["resp_other"],
    all.slice(11),
  ]);
  assertEquals(store.get(OWNER, "resp_running")?.isRunning, true);
  await running.finish(saying("resp_running", ""));
  assertEquals([store.get(OWNER, "resp_running")?.isRunning, store.get("one", "resp_11")], [
    false,
    undefined,
  ]);
});

Deno.test("responses: one that waits for its turn is forgotten with the conversation that it names", async () => {
  await using store = createStore();
  const waiting = store.start({
    ...{ id: "resp_1", owner: OWNER, agent: "openab", previousId: undefined, input: [], createdAt: START },
    ...{ conversation: "mao", store: undefined, current: () => saying("resp_1", ""), cancel() {} },
  });
  await store.deleteConversation(OWNER, "mao");
  await waiting.finish(saying("resp_1", ""));
  assertEquals(store.get(OWNER, "resp_1"), undefined);
});

Deno.test("responses: the agent of one is that of its turn", async () => {
  await using store = createStore();
  const running = start(store, "resp_1", { agent: "other" });
  running.attach({ conversation: "mao", resolvedModel: "coder/gpt-5/high" });
  assertEquals(store.get(OWNER, "resp_1")?.agent, "coder");
  await running.finish(saying("resp_1", ""));
});

Deno.test("responses: 64 MiB are kept, counting images and a great many small items", async () => {
  await using store = createStore();
  const image = { type: "image", mimeType: "image/png", data: "A".repeat(15 * 1024 * 1024) } as const;
  const all = Array.from({ length: 6 }, (_, index) => `resp_${index}`);
  for (const id of all) await run(store, id, { input: [{ type: "message", role: "user", parts: [image] }] });
  assertEquals(ids(store, all), all.slice(2));
  const many = Array.from({ length: 500_000 }, () => said(""));
  await run(store, "resp_many", { input: many });
  assertEquals(ids(store, [...all, "resp_many"]), []);
  await run(store, "resp_after");
  assertEquals(ids(store, ["resp_after"]), ["resp_after"]);
});

Deno.test("responses: with store false only the id is known, for an error that says so", async () => {
  using fixture = new TranscriptsFixture();
  await using transcripts = await fixture.open();
  await using store = createStore(transcripts);
  const running = start(store, "resp_1", { store: false });
  assertEquals(store.get(OWNER, "resp_1"), undefined);
  await running.finish(saying("resp_1", "secret"));
  assertEquals(store.get(OWNER, "resp_1"), undefined);
  const previous = assertThrows(() => store.requirePrevious(OWNER, "resp_1"), AppError);
  assertEquals(
    [previous.code, previous.param, previous.message],
    [
      "previous_response_not_found",
      "previous_response_id",
      'The response "resp_1" was not kept, because its request had "store": false. ' +
      'Send the whole conversation as "input" instead.',
    ],
  );
  assertEquals(assertThrows(() => store.require(OWNER, "resp_1"), AppError).code, "not_found");
  assertEquals(fixture.files(), []);
});

Deno.test("responses: with store true one is in the file, beyond the hour and the program's end", async () => {
  using fixture = new TranscriptsFixture();
  using clock = new FakeClock();
  const before: KeptResponse[] = [];
  {
    await using transcripts = await fixture.open();
    await using store = createStore(transcripts);
    await run(store, "resp_0");
    await run(store, "resp_1", { store: true, previousId: "resp_0" });
    await run(store, "resp_2", { store: true, previousId: "resp_1" });
    before.push(store.require(OWNER, "resp_2"));
    clock.advance(HOUR_MS);
    assertEquals(ids(store, ["resp_0", "resp_1", "resp_2"]), ["resp_1", "resp_2"]);
    assertEquals(store.isNewest(store.require(OWNER, "resp_2")), true);
  }
  await using transcripts = await fixture.open();
  await using store = createStore(transcripts);
  const after = store.require(OWNER, "resp_2");
  for (
    const field of ["agent", "conversation", "previousId", "input", "response", "createdAt"] as const
  ) {
    assertEquals(after[field], before[0]![field], field);
  }
  assertEquals([after.isRunning, store.isNewest(after)], [false, true]);
  assertEquals(store.isNewest(store.require(OWNER, "resp_1")), false);
  const chain = textsOf(store.chain(OWNER, "resp_2", NOTHING));
  assertEquals(chain, ["resp_1?", "resp_1!", "resp_2?", "resp_2!"]);
  const find = store.createItemFinder(OWNER);
  assertEquals(textsOf([find("msg_1_0")!, find("msg_2_in0")!]), ["resp_1!", "resp_2?"]);
});

Deno.test("responses: without a file, store true keeps as long as without it", async () => {
  using clock = new FakeClock();
  await using store = createStore();
  await run(store, "resp_1", { store: true });
  assertEquals([ids(store, ["resp_1"]), store.listConversations(OWNER)], [["resp_1"], []]);
  clock.advance(HOUR_MS);
  assertEquals(ids(store, ["resp_1"]), []);
});

Deno.test("responses: one that never got to its agent is in the file too, in a conversation of its own", async () => {
  using fixture = new TranscriptsFixture();
  {
    await using transcripts = await fixture.open();
    await using store = createStore(transcripts);
    const running = store.start({
      ...{ id: "resp_1", owner: OWNER, agent: "openab", previousId: undefined, input: [], createdAt: START },
      ...{ store: true, current: () => saying("resp_1", ""), cancel() {} },
    });
    await running.finish({ ...EMPTY, status: "failed" });
  }
  await using transcripts = await fixture.open();
  await using store = createStore(transcripts);
  const { response, conversation } = store.require(OWNER, "resp_1");
  assertEquals([response.status, conversation], ["failed", "resp_1"]);
});

Deno.test("responses: the end of the program cancels one that does not end in 5 seconds, and it is in the file", async () => {
  using fixture = new TranscriptsFixture();
  {
    await using transcripts = await fixture.open();
    using clock = new FakeClock();
    const store = createStore(transcripts);
    const running = store.start({
      ...{ id: "resp_1", owner: OWNER, agent: "openab", previousId: undefined, input: [], createdAt: START },
      ...{ store: true, current: () => saying("resp_1", "Half", "in_progress") },
      cancel: () => void running.finish({ ...saying("resp_1", "Half"), status: "cancelled" }),
    });
    const end = store[Symbol.asyncDispose]();
    clock.advance(5_000);
    await end;
  }
  await using transcripts = await fixture.open();
  await using store = createStore(transcripts);
  assertEquals(store.require(OWNER, "resp_1").response.status, "cancelled");
});

Deno.test("responses: an image that the file has no room for is a note there, and a longer text is in memory only", async () => {
  using fixture = new TranscriptsFixture();
  const warnings: string[] = [];
  const parts = [
    { type: "text", text: "Look!" },
    { type: "image", mimeType: "image/png", data: "A".repeat(2 ** 20) },
  ] as const;
  {
    await using transcripts = await fixture.open();
    await using store = createStore(transcripts, warnings);
    await run(store, "resp_image", { store: true, input: [{ type: "message", role: "user", parts }] });
    await run(store, "resp_text", { store: true, input: [said("A".repeat(2 ** 20))] });
    assertEquals(store.require(OWNER, "resp_image").input, [{ type: "message", role: "user", parts }]);
    assertEquals(ids(store, ["resp_text"]), ["resp_text"]);
  }
  await using transcripts = await fixture.open();
  await using store = createStore(transcripts);
  assertEquals(textsOf(store.require(OWNER, "resp_image").input), [
    "Look!",
    "[An image or sound was too large to be kept.]",
  ]);
  assertEquals(ids(store, ["resp_text"]), []);
  assertEquals(warnings, ["a response is too long for the file, and is kept in memory only"]);
});

Deno.test("responses: a deleted one is gone, in memory and in the file, also if it still runs", async () => {
  using fixture = new TranscriptsFixture();
  await using transcripts = await fixture.open();
  await using store = createStore(transcripts);
  const running = start(store, "resp_running", { store: true });
  await run(store, "resp_stored", { store: true });
  await run(store, "resp_kept");
  for (const id of ["resp_running", "resp_stored", "resp_kept"]) {
    await store.delete(OWNER, id);
    const error = await assertRejects(() => store.delete(OWNER, id), AppError);
    assertEquals([error.code, store.get(OWNER, id)], ["not_found", undefined]);
  }
  await running.finish(saying("resp_running", "late"));
  assertEquals([store.get(OWNER, "resp_running"), fixture.has("late"), fixture.has("resp_stored")], [
    undefined,
    false,
    false,
  ]);
});

Deno.test("responses: one that the file still has after its deletion is an error that says so", async () => {
  using fixture = new TranscriptsFixture();
  await fixture.fill();
  {
    await using transcripts = await fixture.open();
    await using store = createStore(transcripts);
    await run(store, "resp_1", { store: true });
  }
  fixture.change("CREATE TRIGGER no BEFORE DELETE ON responses BEGIN SELECT RAISE(FAIL, 'full'); END");
  await using transcripts = await fixture.open();
  await using store = createStore(transcripts);
  const error = await assertRejects(
    () => store.delete(OWNER, "resp_1"),
    AppError,
    "until the next start only",
  );
  assertEquals([error.code, store.get(OWNER, "resp_1")], ["internal_error", undefined]);
});

Deno.test("responses: a file that cannot be read is an error that says so, and no lack of the response", async () => {
  using fixture = new TranscriptsFixture();
  const warnings: string[] = [];
  // More than SQLite has in its cache.
  const all = Array.from({ length: 4 }, (_, index) => `resp_${index}`);
  {
    await using transcripts = await fixture.open();
    await using store = createStore(transcripts);
    for (const id of all) await run(store, id, { store: true, input: [said("A".repeat(900_000))] });
  }
  await using transcripts = await fixture.open();
  await using store = createStore(transcripts, warnings);
  Deno.truncateSync(fixture.path, 8_192);
  const unreadable = 'The response "resp_1" cannot be read';
  const reads = [
    () => store.require(OWNER, "resp_1"),
    () => store.requirePrevious(OWNER, "resp_1"),
    () => store.chain(OWNER, "resp_1", NOTHING),
    () => store.createItemFinder(OWNER)("msg_1_0"),
  ];
  for (const read of reads) assertEquals(assertThrows(read, AppError, unreadable).code, "internal_error");
  assertEquals(store.get("keys.other", "resp_1"), undefined);
  const error = await assertRejects(() => store.delete(OWNER, "resp_1"), AppError, "cannot be written");
  assertEquals([error.code, store.get(OWNER, "resp_1"), warnings], ["internal_error", undefined, []]);
});

Deno.test("chain: oldest first, up to a response that is no longer kept, and without circles", async () => {
  await using store = createStore();
  await run(store, "resp_1");
  await run(store, "resp_2", { previousId: "resp_1" });
  const running = start(store, "resp_3", { previousId: "resp_2" });
  await run(store, "resp_fork", { previousId: "resp_1" });
  await run(store, "resp_a", { previousId: "resp_b" });
  await run(store, "resp_b", { previousId: "resp_a" });
  const chains: Readonly<Record<string, string[]>> = {
    resp_1: ["resp_1?", "resp_1!"],
    resp_3: ["resp_1?", "resp_1!", "resp_2?", "resp_2!", "resp_3?", "Half"],
    resp_fork: ["resp_1?", "resp_1!", "resp_fork?", "resp_fork!"],
    resp_b: ["resp_a?", "resp_a!", "resp_b?", "resp_b!"],
    resp_unknown: [],
  };
  for (const [id, expected] of Object.entries(chains)) {
    assertEquals(textsOf(store.chain(OWNER, id, NOTHING)), expected, id);
  }
  await running.finish(saying("resp_3", "Whole"));
  await store.delete(OWNER, "resp_1");
  assertEquals(textsOf(store.chain(OWNER, "resp_3", NOTHING)), ["resp_2?", "resp_2!", "resp_3?", "Whole"]);
});

Deno.test("chain: at most 20 MiB, older images as notes", async () => {
  await using store = createStore();
  const data = "A".repeat(9 * 1024 * 1024);
  const image = { type: "image", mimeType: "image/png", data } as const;
  for (let index = 1; index <= 4; index++) {
    const parts = [{ type: "text", text: `picture ${index}` }, image] as const;
    await run(store, `resp_${index}`, {
      input: [{ type: "message", role: "user", parts }],
      ...(index > 1 ? { previousId: `resp_${index - 1}` } : {}),
    });
  }
  const items = store.chain(OWNER, "resp_4", NOTHING);
  const note = "[An image or sound was too large to be kept.]";
  assertEquals(textsOf(items).filter((text) => !text.endsWith("!")), [
    ...["picture 1", note, "picture 2", note, "picture 3", "?", "picture 4", "?"],
  ]);
  await run(store, "resp_5", { previousId: "resp_4", input: [said("A".repeat(21 * 1024 * 1024))] });
  assertEquals(store.chain(OWNER, "resp_5", NOTHING), []);
});

Deno.test("chain: its oldest responses are left out beyond 4 Mi characters or 10,000 parts, with those of the request", async () => {
  await using store = createStore();
  const text = "A".repeat(2 * 1024 * 1024 - 100);
  const parts = Array.from({ length: 4_999 }, () => ({ type: "text", text: "A" } as const));
  const inputs = { chars: said(text), parts: { type: "message", role: "user", parts } } as const;
  for (const [kind, item] of Object.entries(inputs)) {
    for (let index = 1; index <= 3; index++) {
      const previousId = index > 1 ? `resp_${kind}${index - 1}` : undefined;
      await run(store, `resp_${kind}${index}`, { input: [item], previousId });
    }
  }
  const counts = (own: ContentSize) =>
    Object.keys(inputs).map((kind) => store.chain(OWNER, `resp_${kind}3`, own).length / 2);
  assertEquals(counts(NOTHING), [2, 2]);
  assertEquals(counts({ parts: 1, chars: 1_000 }), [1, 1]);
  assertEquals(counts({ parts: 9_000, chars: 3 * 1024 * 1024 }), [0, 0]);
});

Deno.test("isNewest: the last response that started in the conversation, also if it is not kept or deleted", async () => {
  await using store = createStore();
  const newest = (id: string) => store.isNewest(store.require(OWNER, id));
  await run(store, "resp_1");
  await run(store, "resp_other", { conversation: "aya" });
  await run(store, "resp_same_name", { owner: "keys.other" });
  await run(store, "resp_same_name_2", { agent: "other" });
  assertEquals([newest("resp_1"), newest("resp_other"), newest("resp_same_name_2")], [true, true, true]);
  await run(store, "resp_2", { store: false });
  assertEquals(newest("resp_1"), false);
  const running = start(store, "resp_3");
  assertEquals(newest("resp_3"), true);
  await running.finish(saying("resp_3", ""));
  assertEquals(newest("resp_3"), true);
  const third = store.require(OWNER, "resp_3");
  await run(store, "resp_4", { previousId: "resp_3" });
  await store.delete(OWNER, "resp_4");
  assertEquals(store.isNewest(third), false);
});

Deno.test("isNewest: after a response that is cut off, the one before it too, until the next one starts", async () => {
  await using store = createStore();
  const newest = (...ids: string[]) => ids.filter((id) => store.isNewest(store.require(OWNER, id)));
  await run(store, "resp_1");
  await run(store, "resp_2", { previousId: "resp_1" });
  const cut = start(store, "resp_3", { previousId: "resp_2" });
  assertEquals(newest("resp_1", "resp_2", "resp_3"), ["resp_3"]);
  cut.cutOff();
  await cut.finish(saying("resp_3", "Half"));
  assertEquals(newest("resp_1", "resp_2", "resp_3"), ["resp_2", "resp_3"]);
  const next = start(store, "resp_4", { previousId: "resp_2" });
  cut.cutOff();
  assertEquals(newest("resp_2", "resp_3", "resp_4"), ["resp_4"]);
  await next.finish(saying("resp_4", "Whole"));
  const branch = start(store, "resp_5", { previousId: "resp_1", conversation: "resp_5" });
  branch.cutOff();
  await branch.finish(saying("resp_5", ""));
  assertEquals(newest("resp_1", "resp_4", "resp_5"), ["resp_4", "resp_5"]);
  const early = start(store, "resp_6", { previousId: "resp_4" });
  early.cutOff();
  // Its client hung up before its turn began.
  early.attach({ conversation: "mao", resolvedModel: "openab/fast" });
  assertEquals(newest("resp_3", "resp_4", "resp_6"), ["resp_4", "resp_6"]);
  await early.finish(saying("resp_6", ""));
});

Deno.test("createItemFinder: finds what the API shows, of the output and of the input", async () => {
  await using store = createStore();
  const input: HistoryItem[] = [said("First"), { ...said("Named"), id: "msg_own" } as HistoryItem];
  await run(store, "resp_1", { input });
  await run(store, "resp_2", { input: [{ ...said("Mine"), id: "msg_2_in0" } as HistoryItem] });
  const running = start(store, "resp_3");
  const find = store.createItemFinder(OWNER);
  const table: Readonly<Record<string, string | undefined>> = {
    [itemId("message", "resp_1", 0, "input")]: "First",
    [itemId("message", "resp_1", 1, "input")]: undefined,
    [itemId("message", "resp_1", 0)]: "resp_1!",
    [itemId("message", "resp_1", 1)]: undefined,
    [itemId("reasoning", "resp_1", 0)]: undefined,
    [itemId("message", "resp_3", 0)]: "Half",
    msg_2_in0: "Mine",
    msg_own: undefined,
    resp_1: undefined,
    "": undefined,
  };
  for (const [id, expected] of Object.entries(table)) {
    const item = find(id);
    assertEquals(item && textsOf([item])[0], expected, id);
  }
  await running.finish(saying("resp_3", ""));
});

Deno.test("createItemFinder: a request refers to at most 20 MiB, however often it names an item", async () => {
  await using store = createStore();
  await run(store, "resp_1", { input: [said("A".repeat(5 * 1024 * 1024))] });
  const find = store.createItemFinder(OWNER);
  for (let times = 0; times < 3; times++) assert(find("msg_1_in0"));
  const error = assertThrows(() => find("msg_1_in0"), AppError, "more than 20971520 characters");
  assertEquals([error.code, error.param], ["invalid_value", "input"]);
  assert(store.createItemFinder(OWNER)("msg_1_in0"));
});

Deno.test("conversations: those with responses in the file are listed with their number, and deleted", async () => {
  using fixture = new TranscriptsFixture();
  await using transcripts = await fixture.open();
  await using store = createStore(transcripts);
  await run(store, "resp_1", { store: true, createdAt: START + 1_000 });
  await run(store, "resp_2", { store: true, createdAt: START + 2_000, conversation: "aya" });
  await run(store, "resp_3", { store: true, createdAt: START + 3_000 });
  await run(store, "resp_4", { createdAt: START + 4_000 });
  await run(store, "resp_5", { store: true, createdAt: START + 5_000, agent: "other" });
  await run(store, "resp_6", { conversation: "memory" });
  const running = start(store, "resp_7", { store: true });
  assertEquals(store.listConversations(OWNER), [
    { id: "mao", agent: "openab", responses: 2, createdAt: START + 1_000, usedAt: START + 3_000 },
    { id: "aya", agent: "openab", responses: 1, createdAt: START + 2_000, usedAt: START + 2_000 },
    { id: "mao", agent: "other", responses: 1, createdAt: START + 5_000, usedAt: START + 5_000 },
  ]);
  await store.deleteConversation(OWNER, "mao");
  await running.finish(saying("resp_7", "late"));
  const all = Array.from({ length: 7 }, (_, index) => `resp_${index + 1}`);
  assertEquals(ids(store, all), ["resp_2", "resp_6"]);
  assertEquals(all.filter((id) => fixture.has(`${id}?`) || fixture.has(`${id}!`)), ["resp_2"]);
  await store.deleteConversation(OWNER, undefined);
  assertEquals([ids(store, all), store.listConversations(OWNER), fixture.has("resp_2")], [[], [], false]);
});

/** Growth of the heap from 1,000 to 5,000 responses of 13 kB each, which are 53 MB. */
const MAX_GROWTH_BYTES = 8 * 1024 * 1024;

Deno.test("responses: 5,000 of them need the memory of 1,000, also if all are in the file", async () => {
  for (const isStored of [undefined, true]) {
    using fixture = new TranscriptsFixture();
    await using transcripts = await fixture.open();
    await using store = createStore(transcripts);
    let heap = 0;
    for (let hundred = 1; hundred <= 50; hundred++) {
      await Promise.all(Array.from({ length: 100 }, (_, index) => {
        // A text that shares its memory with no other one.
        const text = crypto.getRandomValues(new Uint8Array(10_000)).toBase64();
        const options = { store: isStored, input: [said(text)], conversation: `${hundred} ${index}` };
        return run(store, `resp_${hundred}x${index}`, options);
      }));
      await nextTask();
      if (hundred === 10) heap = ownHeapBytes();
    }
    const growth = ownHeapBytes() - heap;
    assert(growth < MAX_GROWTH_BYTES, `the heap grew by ${Math.round(growth / 1024)} KiB`);
  }
});
