import { assertEquals, assertThrows } from "@std/assert";
import type {
  PermissionOption,
  PermissionQuestion,
  PermissionRequest,
  PermissionResolution,
  ToolCallId,
  TurnEvent,
} from "../../lib/turn/event.ts";
import { AppError } from "../../lib/core/errors.ts";
import { type PermissionAnswer, PermissionBroker } from "../../lib/turn/permission.ts";
import { nextTask, summarize, waitFor } from "../support/harness/turn_recorder.ts";

/** Longer than any test. */
const NEVER_MS = 3_600_000;
const NEVER = new AbortController().signal;

const option = (kind: string, id = kind): PermissionOption => ({ id, name: kind, kind });
const FOUR = ["allow_once", "allow_always", "reject_once", "reject_always"].map((kind) => option(kind));

function question(
  options: readonly PermissionOption[] = FOUR,
  id = "t1",
  title = "rm -r",
): PermissionQuestion {
  return {
    tool: { id: id as ToolCallId, title, kind: "execute", status: "pending" },
    detail: "rm -r /tmp/x",
    options,
  };
}

interface OpenRequest {
  readonly events: TurnEvent[];
  readonly request: PermissionRequest;
  readonly done: Promise<PermissionResolution | undefined>;
}

function createBroker(timeoutMs = NEVER_MS, canAnyoneAnswer = () => true): PermissionBroker {
  return new PermissionBroker({ timeoutMs, canAnyoneAnswer, now: () => 1_000_000 });
}

/** Asks a broker, and returns the open request. */
function ask(broker: PermissionBroker, about = question(), signal = NEVER): OpenRequest {
  const events: TurnEvent[] = [];
  const done = broker.ask(about, (event) => void events.push(event), signal);
  const [first] = events;
  if (first?.type !== "permission") throw new Error("No request was opened");
  return { events, request: first.request, done };
}

function refusal(broker: PermissionBroker, id: string, answer: PermissionAnswer): AppError {
  return assertThrows(() => broker.answer(id, answer, "me"), AppError);
}

Deno.test("ask: emits the request at once, with an id and its expiry", async () => {
  const broker = createBroker(60_000);
  const { request, events, done } = ask(broker);
  assertEquals(request, { ...question(), id: request.id, expiresAt: 1_060_000 });
  assertEquals(events.length, 1);
  broker.answer(request.id, { decision: "reject" }, "me");
  await done;
});

Deno.test("ask: two requests of one tool call are answered separately", async () => {
  const broker = createBroker();
  const [first, second] = [ask(broker), ask(broker)];
  assertEquals(first.request.id === second.request.id, false);
  assertEquals(first.request.tool.id, second.request.tool.id);
  broker.answer(second.request.id, { decision: "allow" }, "me");
  await nextTask();
  assertEquals([first.events.length, second.events.length], [1, 2]);
  broker.answer(first.request.id, { decision: "reject" }, "me");
  assertEquals([(await first.done)?.outcome, (await second.done)?.outcome], ["rejected", "allowed"]);
});

type Answer = readonly [
  name: string,
  options: readonly PermissionOption[],
  answer: PermissionAnswer,
  outcome: string,
  optionId: string | undefined,
];
const ANSWERS: readonly Answer[] = [
  ["allow", FOUR, { decision: "allow" }, "allowed", "allow_once"],
  ["allow always", FOUR, { decision: "allow_always" }, "allowed", "allow_always"],
  ["reject", FOUR, { decision: "reject" }, "rejected", "reject_once"],
  ["reject always", FOUR, { decision: "reject_always" }, "rejected", "reject_always"],
  ["an option by its id", FOUR, { optionId: "allow_always" }, "allowed", "allow_always"],
  ["allow, in any order", FOUR.toReversed(), { decision: "allow" }, "allowed", "allow_once"],
  ["reject, in any order", FOUR.toReversed(), { decision: "reject" }, "rejected", "reject_once"],
  [
    "an id that looks like another kind",
    [option("reject_once", "allow_once"), option("allow_once", "no")],
    { optionId: "allow_once" },
    "rejected",
    "allow_once",
  ],
  [
    "allow always where there is only once",
    [option("allow_once")],
    { decision: "allow_always" },
    "allowed",
    "allow_once",
  ],
  ["reject where nothing rejects", [option("allow_once")], { decision: "reject" }, "rejected", undefined],
  ["reject where nothing is offered", [], { decision: "reject" }, "rejected", undefined],
  [
    "a kind that is newer than this program",
    [option("ask_later")],
    { optionId: "ask_later" },
    "rejected",
    "ask_later",
  ],
];

for (const [name, options, answer, outcome, optionId] of ANSWERS) {
  Deno.test(`answer: ${name}: ${outcome}`, async () => {
    const broker = createBroker();
    const { request, events, done } = ask(broker, question(options));
    const resolution = broker.answer(request.id, answer, "Mao");
    const chosen = options.find(({ id }) => id === optionId);
    assertEquals(resolution, {
      id: request.id,
      outcome: outcome as "allowed",
      ...(chosen ? { option: chosen } : {}),
      by: "Mao",
    });
    assertEquals(events[1], { type: "permission_resolved", resolution });
    assertEquals(await done, resolution);
  });
}

const REFUSED: readonly [
  name: string,
  options: readonly PermissionOption[],
  answer: PermissionAnswer,
  param: string,
][] = [
  ["an option that is not there", FOUR, { optionId: "yes" }, "option_id"],
  [
    "the name of a kind, which is no id",
    [option("allow_once", "a")],
    { optionId: "allow_once" },
    "option_id",
  ],
  ["allow where nothing allows", [option("reject_once")], { decision: "allow" }, "decision"],
  ["allow where nothing is offered", [], { decision: "allow_always" }, "decision"],
];

for (const [name, options, answer, param] of REFUSED) {
  Deno.test(`answer: refuses ${name}, and the request stays open`, async () => {
    const broker = createBroker();
    const { request, events, done } = ask(broker, question(options));
    const failure = refusal(broker, request.id, answer);
    assertEquals([failure.code, failure.param], ["invalid_value", param]);
    for (const { id } of options) assertEquals(failure.message.includes(JSON.stringify(id)), true);
    assertEquals(events.length, 1);
    broker.answer(request.id, { decision: "reject" }, "me");
    assertEquals((await done)?.outcome, "rejected");
  });
}

Deno.test("answer: the first one counts, the second is too late", async () => {
  const broker = createBroker();
  const { request, events, done } = ask(broker);
  broker.answer(request.id, { decision: "allow" }, "first");
  assertEquals(refusal(broker, request.id, { decision: "reject" }).code, "permission_resolved");
  assertEquals([(await done)?.outcome, (await done)?.by, events.length], ["allowed", "first", 2]);
  assertEquals(refusal(broker, request.id, { decision: "reject" }).code, "permission_resolved");
});

Deno.test("answer: an unknown request is not found", () => {
  assertEquals(refusal(createBroker(), "nope", { decision: "allow" }).code, "not_found");
});

Deno.test("ask: resolves without an event if nobody can answer", async () => {
  const events: TurnEvent[] = [];
  const answer = await createBroker(NEVER_MS, () => false).ask(
    question(),
    (event) => void events.push(event),
    NEVER,
  );
  assertEquals([answer, events], [undefined, []]);
});

Deno.test("ask: expires without an answer", async () => {
  const broker = createBroker(1);
  const { request, events, done } = ask(broker);
  assertEquals(await waitFor(done, "the expiry"), {
    id: request.id,
    outcome: "expired",
    by: "timeout",
  });
  assertEquals(events.map(summarize), ["permission rm -r", "permission expired by timeout"]);
  assertEquals(refusal(broker, request.id, { decision: "allow" }).code, "permission_resolved");
});

Deno.test("ask: an abort by the turn withdraws its own request only", async () => {
  const broker = createBroker();
  const controller = new AbortController();
  const [mine, other] = [ask(broker, question(), controller.signal), ask(broker)];
  controller.abort("turn");
  assertEquals(mine.events.map(summarize), ["permission rm -r", "permission cancelled by turn"]);
  assertEquals((await mine.done)?.outcome, "cancelled");
  assertEquals(refusal(broker, mine.request.id, { decision: "allow" }).code, "permission_resolved");
  assertEquals(other.events.length, 1);
  broker.answer(other.request.id, { decision: "allow" }, "me");
  await other.done;
});

Deno.test("ask: a signal that has aborted withdraws the request at once", async () => {
  const broker = createBroker();
  const { request, events, done } = ask(broker, question(), AbortSignal.abort("turn"));
  assertEquals(events.map(summarize), ["permission rm -r", "permission cancelled by turn"]);
  assertEquals(await done, { id: request.id, outcome: "cancelled", by: "turn" });
});

Deno.test("answer: marks a decision that counts once although the option is for always", async () => {
  const broker = createBroker();
  const always = [{ id: "a", name: "Always", kind: "allow_always" }];
  for (
    const [answer, isOnce] of [
      [{ decision: "allow" }, true],
      [{ decision: "allow_always" }, undefined],
      [{ optionId: "a" }, undefined],
    ] as const
  ) {
    const { request, done } = ask(broker, { ...question(), options: always });
    broker.answer(request.id, answer, "me");
    assertEquals([(await done)?.outcome, (await done)?.isOnce], ["allowed", isOnce]);
  }
});

Deno.test("ask: an abort for another reason is a withdrawal by the agent", async () => {
  const broker = createBroker();
  const controller = new AbortController();
  const { events, done } = ask(broker, question(), controller.signal);
  controller.abort(new Error("The agent asks no longer."));
  assertEquals(events.map(summarize), ["permission rm -r", "permission cancelled by agent"]);
  assertEquals((await done)?.by, "agent");
});

Deno.test("ask: an abort after the answer changes nothing", async () => {
  const broker = createBroker();
  const controller = new AbortController();
  const { request, events, done } = ask(broker, question(), controller.signal);
  broker.answer(request.id, { decision: "allow" }, "me");
  controller.abort("turn");
  assertEquals([(await done)?.outcome, events.length], ["allowed", 2]);
});

Deno.test("answer: works during the event of the request", async () => {
  const broker = createBroker();
  const events: string[] = [];
  const resolution = await broker.ask(question(), (event) => {
    events.push(summarize(event));
    if (event.type === "permission") broker.answer(event.request.id, { decision: "allow" }, "reflex");
  }, NEVER);
  assertEquals([resolution?.outcome, resolution?.by], ["allowed", "reflex"]);
  assertEquals(events, ["permission rm -r", "permission allowed by reflex"]);
});

Deno.test("ask: refuses the 101st open request", async () => {
  const broker = createBroker();
  const open = Array.from({ length: 100 }, () => ask(broker));
  const events: TurnEvent[] = [];
  const beyond = () => broker.ask(question(), (event) => void events.push(event), NEVER);
  assertEquals([await beyond(), events], [undefined, []]);
  broker.answer(open[0]!.request.id, { decision: "reject" }, "me");
  const late = ask(broker);
  for (const { request } of [...open.slice(1), late]) broker.answer(request.id, { decision: "reject" }, "me");
  await Promise.all([...open, late].map(({ done }) => done));
});

Deno.test("answer: recognises the last 200 resolved requests", async () => {
  const broker = createBroker();
  const ids: string[] = [];
  for (let i = 0; i < 201; i++) {
    const { request, done } = ask(broker);
    broker.answer(request.id, { decision: "reject" }, "me");
    await done;
    ids.push(request.id);
  }
  assertEquals(refusal(broker, ids[0]!, { decision: "allow" }).code, "not_found");
  assertEquals(refusal(broker, ids[1]!, { decision: "allow" }).code, "permission_resolved");
  assertEquals(refusal(broker, ids[200]!, { decision: "allow" }).code, "permission_resolved");
});
