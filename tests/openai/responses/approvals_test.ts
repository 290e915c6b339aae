import { assert, assertEquals } from "@std/assert";
import { Approvals } from "../../../lib/openai/responses/approvals.ts";
import { type ApprovalResponse, itemId } from "../../../lib/openai/responses/items.ts";
import { type Caller, SCOPES } from "../../../lib/turn/caller.ts";
import { FakeClock } from "../../support/harness/fake_clock.ts";
import { ownHeapBytes } from "../../support/harness/inspector.ts";
import { beginTurn, permissionRequest, recordTurn } from "../../support/harness/turn_fixture.ts";

const NO_BROKER = {
  answer: () => {
    throw new Error("not asked");
  },
};
const caller = (id: string): Caller => ({ id, scopes: new Set(SCOPES) });
const answerTo = (id: string): ApprovalResponse => ({
  type: "mcp_approval_response",
  approval_request_id: id,
  approve: true,
});
const idOf = (number: number) => itemId("mcp_approval_request", `resp_${number}`, 0);

/** Runs a turn that asks, and adds it. @returns The turn, and the prompt with which the test ends it. */
async function addAsking(approvals: Approvals, number: number, owner: string, detail?: string) {
  const { turn, prompt } = await beginTurn({ asksReaders: true });
  recordTurn(turn);
  const permission = permissionRequest(`p${number}`, detail);
  prompt.emit({ type: "permission", request: permission });
  approvals.add({ id: idOf(number), owner, turn, permission });
  return { turn, prompt };
}

/** Whether the turn of an approval request can still be read on: as long as its answer may not stand before others. */
function isKept(approvals: Approvals, number: number, owner: string): boolean {
  try {
    approvals.find(caller(owner), [answerTo(idOf(number)), answerTo("mcpr_0_0")]);
    return false;
  } catch {
    return true;
  }
}

Deno.test("Approvals: no words of a permission are kept", async () => {
  using approvals = new Approvals(NO_BROKER);
  const before = ownHeapBytes();
  for (let number = 1; number <= 50; number++) {
    // Numbers make a text of its own of each.
    const detail = Array.from({ length: 200_000 }, (_, index) => index * number).join().slice(0, 1_000_000);
    const { turn, prompt } = await addAsking(approvals, number, "a", detail);
    approvals.find(caller("a"), [answerTo(idOf(number))]);
    turn.cancel();
    prompt.end();
    await turn.ended;
  }
  const grown = ownHeapBytes() - before;
  assert(grown < 10e6, `${grown} bytes`);
  assertEquals(approvals.find(caller("a"), [answerTo(idOf(50))])?.approval?.detailChars, 1_000_000);
});

Deno.test("Approvals: of the turns that have ended 100 are kept, and none makes room among another caller's", async () => {
  using approvals = new Approvals(NO_BROKER);
  for (let number = 1; number <= 103; number++) {
    const { turn, prompt } = await addAsking(approvals, number, number < 3 ? "a" : "b");
    prompt.end();
    await turn.ended;
  }
  const kept = [1, 2, 3, 4, 5, 6, 103].filter((number) => isKept(approvals, number, number < 3 ? "a" : "b"));
  assertEquals(kept, [1, 2, 6, 103]);
});

Deno.test("Approvals: an ended turn is kept for an hour, also if none comes after it", async () => {
  using clock = new FakeClock();
  using approvals = new Approvals(NO_BROKER);
  const { turn, prompt } = await addAsking(approvals, 1, "a");
  prompt.end();
  await turn.ended;
  for (const [minutes, isKept] of [[59, true], [1, false]] as const) {
    clock.advance(minutes * 60_000);
    const answer = approvals.find(caller("a"), [answerTo(idOf(1))]);
    assertEquals(answer?.approval?.turn !== undefined, isKept);
  }
  assertEquals(clock.waits, []);
});

Deno.test("Approvals: 1,000 requests are known", async () => {
  using approvals = new Approvals(NO_BROKER);
  const { turn, prompt } = await addAsking(approvals, 1, "a");
  for (let number = 2; number <= 1_010; number++) {
    const permission = permissionRequest(`p${number}`);
    approvals.add({ id: idOf(number), owner: "b", turn, permission });
  }
  const isKnown = (number: number, owner: string) =>
    approvals.find(caller(owner), [answerTo(idOf(number))])?.approval !== undefined;
  assertEquals([isKnown(1, "a"), isKnown(2, "b"), isKnown(12, "b"), isKnown(1_010, "b")], [
    ...[true, false, true, true],
  ]);
  prompt.end();
  await turn.ended;
});
