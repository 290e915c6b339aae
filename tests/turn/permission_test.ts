import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import type {
  PermissionOption,
  PermissionQuestion,
  PermissionRequest,
  PermissionResolution,
  ToolCallId,
  TurnEvent,
  TurnReader,
} from "../../lib/turn/event.ts";
import { type PermissionAnswer, PermissionBroker } from "../../lib/turn/permission.ts";
import { nextTask, summarize, waitFor } from "../support/harness/turn_recorder.ts";

/** Longer than any test. */
const NEVER_MS = 3_600_000;
const NEVER = new AbortController().signal;

const option = (kind: string, id = kind): PermissionOption => ({ id, name: kind, kind });
const ALL = ["allow_once", "allow_always", "reject_once", "reject_always"].map((kind) => option(kind));

function question(options: readonly PermissionOption[] = ALL): PermissionQuestion {
  const tool = { id: "t1" as ToolCallId, title: "rm -r", kind: "execute", status: "pending" } as const;
  return { tool, detail: "rm -r /tmp/x", options };
}

interface OpenRequest {
  readonly events: TurnEvent[];
  readonly request: PermissionRequest;
  readonly done: Promise<PermissionResolution | undefined>;
}

function createBroker(timeoutMs = NEVER_MS, canAnyoneAnswer = () => true): PermissionBroker {
  return new PermissionBroker(timeoutMs, canAnyoneAnswer);
}

/** Opens a request. */
function ask(broker: PermissionBroker, options = ALL, signal = NEVER): OpenRequest {
  const events: TurnEvent[] = [];
  const done = broker.ask(question(options), (event) => void events.push(event), signal);
  const [first] = events;
  if (first?.type !== "permission") throw new Error("No request was opened");
  return { events, request: first.request, done };
}

/** Returns the error of an answer. */
function errorOf(
  broker: PermissionBroker,
  id: string,
  answer: PermissionAnswer = { decision: "allow" },
): AppError {
  return assertThrows(() => broker.answer(id, answer, "me"), AppError);
}

/** Asks when nobody answers. @returns The result and the number of events. */
async function askInVain(broker: PermissionBroker): Promise<[result: unknown, events: number]> {
  let events = 0;
  return [await broker.ask(question(), () => void events++, NEVER), events];
}

Deno.test("ask: emits the request at once, with an id and its expiry", async () => {
  const broker = createBroker(60_000);
  const { request: { id, expiresAt, ...rest }, events, done } = ask(broker);
  assertEquals([rest, events.length], [question(), 1]);
  assertAlmostEquals(expiresAt, Date.now() + 60_000, 30_000);
  broker.answer(id, { decision: "reject" }, "me");
  await done;
});

Deno.test("ask: two requests of one tool call are answered separately", async () => {
  const broker = createBroker();
  const [first, second] = [ask(broker), ask(broker)];
  broker.answer(second.request.id, { decision: "allow" }, "me");
  await nextTask();
  assertEquals([first.events.length, second.events.length], [1, 2]);
  broker.answer(first.request.id, { decision: "reject" }, "me");
  assertEquals([(await first.done)?.outcome, (await second.done)?.outcome], ["rejected", "allowed"]);
});

Deno.test("ask: resolves without an event if nobody can answer", async () => {
  assertEquals(await askInVain(createBroker(NEVER_MS, () => false)), [undefined, 0]);
});

Deno.test("ask: expires without an answer", async () => {
  const broker = createBroker(1);
  const { request, events, done } = ask(broker);
  assertEquals(await waitFor(done, "the expiry"), { id: request.id, outcome: "expired", by: "timeout" });
  assertEquals(events.map(summarize), ["permission rm -r", "permission expired by timeout"]);
  assertEquals(errorOf(broker, request.id).code, "permission_resolved");
});

for (const [reason, by] of [["turn", "turn"], [new Error("withdrawn"), "agent"]] as const) {
  Deno.test(`ask: an abort by the ${by} withdraws its own request only`, async () => {
    const broker = createBroker();
    const controller = new AbortController();
    const [own, other] = [ask(broker, ALL, controller.signal), ask(broker)];
    controller.abort(reason);
    assertEquals(own.events.map(summarize), ["permission rm -r", `permission cancelled by ${by}`]);
    assertEquals(await own.done, { id: own.request.id, outcome: "cancelled", by });
    assertEquals(errorOf(broker, own.request.id).code, "permission_resolved");
    assertEquals(other.events.length, 1);
    broker.answer(other.request.id, { decision: "allow" }, "me");
    await other.done;
  });
}

Deno.test("ask: a signal that has aborted withdraws the request at once", async () => {
  const { events, done } = ask(createBroker(), ALL, AbortSignal.abort("turn"));
  assertEquals(events.map(summarize), ["permission rm -r", "permission cancelled by turn"]);
  assertEquals((await done)?.outcome, "cancelled");
});

Deno.test("ask: refuses the 1001st open request", async () => {
  const broker = createBroker();
  const open = Array.from({ length: 1_000 }, () => ask(broker));
  assertEquals(await askInVain(broker), [undefined, 0]);
  broker.answer(open[0]!.request.id, { decision: "reject" }, "me");
  const late = ask(broker);
  for (const { request } of [...open.slice(1), late]) broker.answer(request.id, { decision: "reject" }, "me");
  await Promise.all([...open, late].map(({ done }) => done));
});

Deno.test("answer: a detail of more than 4000 characters has to be seen whole before it is allowed", async () => {
  const broker = createBroker();
  const asked = { ...question(), detail: "x".repeat(5_000) };
  let id = "";
  const reader = (event: TurnEvent) => void (event.type === "permission" && (id = event.request.id));
  const done = broker.ask(asked, reader, NEVER);
  for (
    const answer of [{ decision: "allow" }, { optionId: "allow_always" }, {
      decision: "allow",
      detailChars: 4_000,
    }]
  ) {
    const error = errorOf(broker, id, answer as PermissionAnswer);
    assertEquals([error.code, error.param], ["invalid_value", "detail_chars"]);
  }
  assertEquals(broker.answer(id, { decision: "allow", detailChars: 5_000 }, "me").outcome, "allowed");
  await done;
  const rejected = broker.ask(asked, reader, NEVER);
  assertEquals(broker.answer(id, { decision: "reject" }, "me").outcome, "rejected");
  await rejected;
});

const SWAPPED = [option("reject_once", "allow_once"), option("allow_once", "no")];
const ONCE = [option("allow_once")];
const ALWAYS = [option("allow_always")];
const ANSWERS: readonly [
  name: string,
  options: PermissionOption[],
  answer: PermissionAnswer,
  outcome: string,
  optionId: string | undefined,
  isOnce?: true,
][] = [
  ["allow", ALL, { decision: "allow" }, "allowed", "allow_once"],
  ["allow always", ALL, { decision: "allow_always" }, "allowed", "allow_always"],
  ["reject", ALL, { decision: "reject" }, "rejected", "reject_once"],
  ["reject always", ALL, { decision: "reject_always" }, "rejected", "reject_always"],
  ["an option by its id", ALL, { optionId: "allow_always" }, "allowed", "allow_always"],
  ["allow, in any order", ALL.toReversed(), { decision: "allow" }, "allowed", "allow_once"],
  [
    "allow, with allow always twice (qwen)",
    [...ALWAYS, option("allow_always", "user"), ...ONCE],
    {
      decision: "allow",
    },
    "allowed",
    "allow_once",
  ],
  [
    "reject, offered always only",
    [option("reject_always")],
    { decision: "reject" },
    "rejected",
    "reject_always",
    true,
  ],
  ["an id that looks like another kind", SWAPPED, { optionId: "allow_once" }, "rejected", "allow_once"],
  ["allow always, offered once only", ONCE, { decision: "allow_always" }, "allowed", "allow_once"],
  ["allow, offered always only", ALWAYS, { decision: "allow" }, "allowed", "allow_always", true],
  ["reject, which is not offered", ONCE, { decision: "reject" }, "rejected", undefined],
  ["reject without any option", [], { decision: "reject" }, "rejected", undefined],
  ["a kind that is newer than this program", [option("later")], { optionId: "later" }, "rejected", "later"],
];
for (const [name, options, answer, outcome, optionId, isOnce] of ANSWERS) {
  Deno.test(`answer: ${name}: ${outcome}`, async () => {
    const broker = createBroker();
    const { request, events, done } = ask(broker, options);
    const resolution = broker.answer(request.id, answer, "Mao");
    const option = options.find(({ id }) => id === optionId);
    assertEquals(resolution, {
      id: request.id,
      outcome: outcome as "allowed",
      ...(option ? { option } : {}),
      ...(isOnce ? { isOnce } : {}),
      by: "Mao",
    });
    assertEquals(events[1], { type: "permission_resolved", resolution });
    assertEquals(await done, resolution);
  });
}

const REFUSED: readonly [
  name: string,
  options: PermissionOption[],
  answer: PermissionAnswer,
  param: string,
][] = [
  ["an unknown option", ALL, { optionId: "yes" }, "option_id"],
  ["a kind instead of an id", [option("allow_once", "a")], { optionId: "allow_once" }, "option_id"],
  ["allow, which is not offered", [option("reject_once")], { decision: "allow" }, "decision"],
  ["allow, if the kind is unknown", [option("allow_later")], { decision: "allow" }, "decision"],
];
for (const [name, options, answer, param] of REFUSED) {
  Deno.test(`answer: refuses ${name}, and the request stays open`, async () => {
    const broker = createBroker();
    const { request, events, done } = ask(broker, options);
    const error = errorOf(broker, request.id, answer);
    assertEquals([error.code, error.param], ["invalid_value", param]);
    for (const { id } of options) assertEquals(error.message.includes(JSON.stringify(id)), true);
    assertEquals(events.length, 1);
    broker.answer(request.id, { decision: "reject" }, "me");
    assertEquals((await done)?.outcome, "rejected");
  });
}

Deno.test("answer: the first one counts, the second is too late", async () => {
  const broker = createBroker();
  const { request, events, done } = ask(broker);
  broker.answer(request.id, { decision: "allow" }, "first");
  assertEquals(errorOf(broker, request.id, { decision: "reject" }).code, "permission_resolved");
  assertEquals([(await done)?.outcome, (await done)?.by, events.length], ["allowed", "first", 2]);
});

Deno.test("answer: recognises the last 200 resolved requests, and no unknown one", async () => {
  const broker = createBroker();
  const ids: string[] = [];
  for (let i = 0; i < 201; i++) {
    const { request, done } = ask(broker);
    broker.answer(request.id, { decision: "reject" }, "me");
    await done;
    ids.push(request.id);
  }
  const codes = ["unknown", ids[0]!, ids[1]!, ids[200]!].map((id) => errorOf(broker, id).code);
  assertEquals(codes, ["not_found", "not_found", "permission_resolved", "permission_resolved"]);
});

Deno.test("PermissionBroker.ask: the readers of a reply can answer although no client is connected", async () => {
  for (const isAsked of [true, false]) {
    const broker = createBroker(NEVER_MS, () => false);
    const reader: TurnReader = Object.assign((event: TurnEvent) => {
      if (event.type === "permission") broker.answer(event.request.id, { decision: "allow" }, "it");
    }, { answersPermissions: () => isAsked });
    const resolution = await broker.ask(question(), reader, NEVER);
    assertEquals(resolution?.outcome, isAsked ? "allowed" : undefined);
  }
});
