import { assertEquals, assertThrows } from "@std/assert";
import type { PermissionId, PermissionOption, PermissionQuestion, PermissionRequest, PermissionResolution, ToolCallId, TurnEvent } from "../../lib/turn/event.ts";
import { AppError } from "../../lib/core/errors.ts";
import { type PermissionAnswer, PermissionBroker } from "../../lib/turn/permission.ts";
import { summarize, nextTask, waitFor } from "../support/harness/turn_recorder.ts";
import { beginTurn, recordTurn } from "../support/harness/turn_fixture.ts";

/** Longer than any test: an answer comes, or nothing does. */
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

interface Asked {
  readonly told: TurnEvent[];
  readonly request: PermissionRequest;
  readonly done: Promise<PermissionResolution | undefined>;
}

function desk(timeoutMs = NEVER_MS, isSomeoneThere = () => true): PermissionBroker {
  return new PermissionBroker({ timeoutMs, canAnyoneAnswer: isSomeoneThere, now: () => 1_000_000 });
}

/** Asks at a desk where somebody is. */
function ask(at: PermissionBroker, what = question(), signal = NEVER): Asked {
  const told: TurnEvent[] = [];
  const done = at.ask(what, (event) => void told.push(event), signal);
  const [first] = told;
  if (first?.type !== "permission") throw new Error("It was not asked");
  return { told, request: first.request, done };
}

function refusal(at: PermissionBroker, id: string, answer: PermissionAnswer): AppError {
  return assertThrows(() => at.answer(id, answer, "me"), AppError);
}

Deno.test("PermissionDesk: what is asked is told at once, with an id and the time it has", async () => {
  const at = desk(60_000);
  const { request, told, done } = ask(at);
  assertEquals(request, { ...question(), id: request.id, expiresAt: 1_060_000 });
  assertEquals(told.length, 1);
  at.answer(request.id, { decision: "reject" }, "me");
  await done;
});

Deno.test("PermissionDesk: two requests have two ids, also of one tool call, and are answered apart", async () => {
  const at = desk();
  const [first, second] = [ask(at), ask(at)];
  assertEquals(first.request.id === second.request.id, false);
  assertEquals(first.request.tool.id, second.request.tool.id);
  at.answer(second.request.id, { decision: "allow" }, "me");
  await nextTask();
  assertEquals([first.told.length, second.told.length], [1, 2]);
  at.answer(first.request.id, { decision: "reject" }, "me");
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
  ["a kind to come", [option("ask_later")], { optionId: "ask_later" }, "rejected", "ask_later"],
];

for (const [name, options, answer, outcome, optionId] of ANSWERS) {
  Deno.test(`PermissionDesk: the answer is ${name}: ${outcome}`, async () => {
    const at = desk();
    const { request, told, done } = ask(at, question(options));
    const resolution = at.answer(request.id, answer, "Mao");
    const chosen = options.find(({ id }) => id === optionId);
    assertEquals(resolution, {
      id: request.id,
      outcome: outcome as "allowed",
      ...(chosen ? { option: chosen } : {}),
      by: "Mao",
    });
    assertEquals(told[1], { type: "permission_resolved", resolution });
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
  Deno.test(`PermissionDesk: refused: ${name}; it stays open`, async () => {
    const at = desk();
    const { request, told, done } = ask(at, question(options));
    const failure = refusal(at, request.id, answer);
    assertEquals([failure.code, failure.param], ["invalid_value", param]);
    for (const { id } of options) assertEquals(failure.message.includes(JSON.stringify(id)), true);
    assertEquals(told.length, 1);
    at.answer(request.id, { decision: "reject" }, "me");
    assertEquals((await done)?.outcome, "rejected");
  });
}

Deno.test("PermissionDesk: who answers first, wins; the second is told that it is too late", async () => {
  const at = desk();
  const { request, told, done } = ask(at);
  at.answer(request.id, { decision: "allow" }, "first");
  assertEquals(refusal(at, request.id, { decision: "reject" }).code, "permission_resolved");
  assertEquals([(await done)?.outcome, (await done)?.by, told.length], ["allowed", "first", 2]);
  assertEquals(refusal(at, request.id, { decision: "reject" }).code, "permission_resolved");
});

Deno.test("PermissionDesk: a request that never was is not found", () => {
  assertEquals(refusal(desk(), "nope", { decision: "allow" }).code, "not_found");
});

Deno.test("PermissionDesk: nobody is there: nothing is told, and nothing waits", async () => {
  const told: TurnEvent[] = [];
  const answer = await desk(NEVER_MS, () => false).ask(question(), (event) => void told.push(event), NEVER);
  assertEquals([answer, told], [undefined, []]);
});

Deno.test("PermissionDesk: nobody answers in time: it has expired", async () => {
  const at = desk(1);
  const { request, told, done } = ask(at);
  assertEquals(await waitFor(done, "the end of its time"), {
    id: request.id,
    outcome: "expired",
    by: "timeout",
  });
  assertEquals(told.map(summarize), ["permission rm -r", "permission expired by timeout"]);
  assertEquals(refusal(at, request.id, { decision: "allow" }).code, "permission_resolved");
});

Deno.test("PermissionDesk: a turn that is cancelled withdraws what it asks, at once", async () => {
  const at = desk();
  const leaving = new AbortController();
  const [mine, other] = [ask(at, question(), leaving.signal), ask(at)];
  leaving.abort("turn");
  assertEquals(mine.told.map(summarize), ["permission rm -r", "permission cancelled by turn"]);
  assertEquals((await mine.done)?.outcome, "cancelled");
  assertEquals(refusal(at, mine.request.id, { decision: "allow" }).code, "permission_resolved");
  assertEquals(other.told.length, 1);
  at.answer(other.request.id, { decision: "allow" }, "me");
  await other.done;
});

Deno.test("PermissionDesk: what a cancelled turn asks is withdrawn as soon as it is told", async () => {
  const at = desk();
  const { request, told, done } = ask(at, question(), AbortSignal.abort("turn"));
  assertEquals(told.map(summarize), ["permission rm -r", "permission cancelled by turn"]);
  assertEquals(await done, { id: request.id, outcome: "cancelled", by: "turn" });
});

Deno.test("PermissionDesk: an answer for once, where the agent offers it for always only, is told as such", async () => {
  const at = desk();
  const always = [{ id: "a", name: "Always", kind: "allow_always" }];
  for (
    const [answer, isOnce] of [
      [{ decision: "allow" }, true],
      [{ decision: "allow_always" }, undefined],
      [{ optionId: "a" }, undefined],
    ] as const
  ) {
    const { request, done } = ask(at, { ...question(), options: always });
    at.answer(request.id, answer, "me");
    assertEquals([(await done)?.outcome, (await done)?.isOnce], ["allowed", isOnce]);
  }
});

Deno.test("PermissionDesk: what the agent takes back is withdrawn by it", async () => {
  const at = desk();
  const leaving = new AbortController();
  const { told, done } = ask(at, question(), leaving.signal);
  leaving.abort(new Error("The agent asks no longer."));
  assertEquals(told.map(summarize), ["permission rm -r", "permission cancelled by agent"]);
  assertEquals((await done)?.by, "agent");
});

Deno.test("PermissionDesk: a turn that is cancelled after the answer changes nothing", async () => {
  const at = desk();
  const leaving = new AbortController();
  const { request, told, done } = ask(at, question(), leaving.signal);
  at.answer(request.id, { decision: "allow" }, "me");
  leaving.abort("turn");
  assertEquals([(await done)?.outcome, told.length], ["allowed", 2]);
});

Deno.test("PermissionDesk: it can be answered while it is told", async () => {
  const at = desk();
  const told: string[] = [];
  const resolution = await at.ask(question(), (event) => {
    told.push(summarize(event));
    if (event.type === "permission") at.answer(event.request.id, { decision: "allow" }, "reflex");
  }, NEVER);
  assertEquals([resolution?.outcome, resolution?.by], ["allowed", "reflex"]);
  assertEquals(told, ["permission rm -r", "permission allowed by reflex"]);
});

Deno.test("PermissionDesk: no more than 100 are open at once; what is asked beyond it is refused", async () => {
  const at = desk();
  const open = Array.from({ length: 100 }, () => ask(at));
  const told: TurnEvent[] = [];
  const beyond = () => at.ask(question(), (event) => void told.push(event), NEVER);
  assertEquals([await beyond(), told], [undefined, []]);
  at.answer(open[0]!.request.id, { decision: "reject" }, "me");
  const late = ask(at);
  for (const { request } of [...open.slice(1), late]) at.answer(request.id, { decision: "reject" }, "me");
  await Promise.all([...open, late].map(({ done }) => done));
});

Deno.test("PermissionDesk: of the resolved ones the last 200 are remembered", async () => {
  const at = desk();
  const ids: string[] = [];
  for (let i = 0; i < 201; i++) {
    const { request, done } = ask(at);
    at.answer(request.id, { decision: "reject" }, "me");
    await done;
    ids.push(request.id);
  }
  assertEquals(refusal(at, ids[0]!, { decision: "allow" }).code, "not_found");
  assertEquals(refusal(at, ids[1]!, { decision: "allow" }).code, "permission_resolved");
  assertEquals(refusal(at, ids[200]!, { decision: "allow" }).code, "permission_resolved");
});

const permission = (id: string) =>
  ({ type: "permission", request: { ...question(), id: id as PermissionId, expiresAt: 0 } }) as const;
const resolved = (id: string) =>
  ({
    type: "permission_resolved",
    resolution: { id: id as PermissionId, outcome: "allowed", by: "me" },
  }) as const;

Deno.test("Turn: what is still asked when it ends counts as cancelled, before its last event", async () => {
  const { turn, prompt } = await beginTurn();
  const heard = recordTurn(turn);
  prompt.emit(permission("p1"));
  prompt.emit(permission("p2"));
  prompt.emit(resolved("p1"));
  prompt.end();
  assertEquals(heard.summaries, [
    "permission rm -r",
    "permission rm -r",
    "permission allowed by me",
    "permission cancelled by turn",
    "end end_turn",
  ]);
  assertEquals(
    heard.events.flatMap((event) => event.type === "permission_resolved" ? [event.resolution.id] : []),
    [
      "p1",
      "p2",
    ] as PermissionId[],
  );
});

Deno.test("Turn: what is still asked when it fails counts as cancelled, before the failure", async () => {
  const { turn, prompt } = await beginTurn();
  const heard = recordTurn(turn);
  prompt.emit(permission("p1"));
  turn.fail(new AppError("agent_timeout", "Too long."));
  assertEquals(heard.summaries, ["permission rm -r", "permission cancelled by turn", "failure agent_timeout"]);
  prompt.emit(resolved("p1"));
  assertEquals(heard.summaries.length, 3);
  prompt.end("cancelled");
});

Deno.test("Turn: the silence of a person is not that of the agent", async () => {
  const limits = { replyTimeoutMs: 5, turnTimeoutMs: 0 };
  const asking = await beginTurn({ limits });
  const heard = recordTurn(asking.turn);
  asking.prompt.emit(permission("p1"));
  // Others, begun later, are found silent: then this one was looked at before.
  for (let i = 0; i < 3; i++) {
    const silent = await beginTurn({ limits });
    assertEquals(await recordTurn(silent.turn).lastSummary(), "failure agent_timeout");
    silent.prompt.end("cancelled");
  }
  assertEquals([asking.turn.isOver, heard.summaries], [false, ["permission rm -r"]]);
  asking.prompt.emit(resolved("p1"));
  assertEquals(await heard.lastSummary(), "failure agent_timeout");
  asking.prompt.end("cancelled");
});
