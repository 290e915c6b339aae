import { assert, assertEquals } from "@std/assert";
import { Conversation, ConversationIndex, MAX_CONVERSATIONS } from "../../lib/conversation/conversation.ts";
import { type Continuation, SKIPPED, UNMATCHED } from "../../lib/conversation/align.ts";
import type { ConversationRecord, DeliveryState, Store } from "../../lib/conversation/record.ts";
import { MAX_TURNS } from "../../lib/conversation/fingerprint.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { type Line, PRINTER, talk } from "../support/harness/fingerprint_fixture.ts";
import { image, user } from "../support/harness/message_fixture.ts";

const SESSION = "session" as SessionId;
const [OWNER, PROGRAM, OTHER_PROGRAM] = [
  PRINTER.fingerprint("owner", ""),
  PRINTER.fingerprint("program", "a"),
  PRINTER.fingerprint("program", "b"),
];
const print = (...lines: Line[]) => PRINTER.transcript(talk(...lines));
const how = (places: readonly number[], isAgain = false): Continuation => ({
  positions: places,
  isRetry: isAgain,
});

function begun(...lines: Line[]): Conversation {
  return new ConversationIndex(undefined).create(origin("a"), print(...lines), 7);
}

function origin(id: string) {
  return { id, owner: OWNER, agent: "openab", program: PROGRAM, isNamed: false };
}

/** A conversation whose turns came so far. */
function after(...states: DeliveryState[]): Conversation {
  const known = begun();
  known.turns.push(...states.map((state, turn) => {
    const { words, media } = print(`u: turn ${turn}`).turns[0]!;
    return { words, media, state };
  }));
  return known;
}
const statesOf = ({ turns }: Conversation) => turns.map(({ state }) => state);

Deno.test("known: what begins has said nothing yet", () => {
  const known = begun("s: Mao / u: hi");
  assertEquals({ ...known }, {
    ...origin("a"),
    persona: [PRINTER.fingerprint("system", "Mao")],
    isPersonaOpen: true,
    turns: [],
    turnsBefore: 0,
    reply: undefined,
    sessionId: undefined,
    createdAt: 7,
    usedAt: 7,
  });
});

Deno.test("known: what is new is asked, then told, then answered", () => {
  const known = begun();
  const brought = known.merge(print("u: one"), how([UNMATCHED]));
  assertEquals([statesOf(known), known.pendingTurns(brought)], [["pending"], [0]]);
  known.markDelivered(brought, SESSION, OTHER_PROGRAM);
  assertEquals([statesOf(known), known.sessionId, known.program], [["delivered"], SESSION, OTHER_PROGRAM]);
  known.setLastState(brought, "answered");
  assertEquals(statesOf(known), ["answered"]);
});

Deno.test("known: of a whole history what has an answer is answered", () => {
  const known = begun();
  const brought = known.merge(
    print("s: Mao / u: one / a: 1 / u: two / u: three / a: 3 / u: four / a: Well,"),
    how([UNMATCHED, UNMATCHED, UNMATCHED, UNMATCHED]),
  );
  assertEquals(known.pendingTurns(brought), [1, 3, 4, 6]);
  known.markDelivered(brought, SESSION, PROGRAM);
  assertEquals(statesOf(known), ["answered", "delivered", "answered", "delivered"]);
});

Deno.test("known: what is known stays, what is passed is left out", () => {
  const known = after("answered", "delivered", "answered");
  const brought = known.merge(
    print("u: x / u: turn 0 / u: turn 2 / u: new"),
    how([SKIPPED, 0, 2, UNMATCHED]),
  );
  assertEquals(statesOf(known), ["answered", "delivered", "answered", "pending"]);
  assertEquals(brought.turns.map(({ index }) => index), [1, 2, 3]);
  assertEquals(known.pendingTurns(brought), [3]);
});

Deno.test("known: what never reached the agent is put with the next turn", () => {
  const known = after("answered", "pending");
  const brought = known.merge(print("u: turn 0 / a: 0 / u: turn 1 / u: new"), how([0, 1, UNMATCHED]));
  assertEquals(known.pendingTurns(brought), [2, 3]);
  known.markDelivered(brought, SESSION, PROGRAM);
  assertEquals(statesOf(known), ["answered", "delivered", "delivered"]);
});

Deno.test("known: what the caller dropped is not put, though it never reached the agent", () => {
  const known = after("answered", "pending");
  const brought = known.merge(print("u: turn 0 / a: 0 / u: new"), how([0, UNMATCHED]));
  assertEquals(known.pendingTurns(brought), [2]);
});

Deno.test("known: a turn that is asked again is put once more, whatever its state", () => {
  for (const state of ["pending", "delivered", "answered"] as const) {
    const known = after("answered", state);
    const brought = known.merge(print("u: turn 0 / a: 0 / u: turn 1"), how([0, 1], true));
    assertEquals([known.turns.length, known.pendingTurns(brought)], [2, [2]]);
    known.markDelivered(brought, SESSION, PROGRAM);
    known.setLastState(brought, "answered");
    assertEquals(statesOf(known), ["answered", "answered"]);
  }
});

Deno.test("known: a picture that comes when a turn is asked again is its picture", () => {
  const known = after("answered");
  const shown = print(user("turn 0", image()));
  known.merge(shown, how([0], true));
  assertEquals(known.turns[0]!.media, shown.turns[0]!.media);
  known.merge(print("u: turn 0"), how([0], true));
  assertEquals(known.turns[0]!.media, shown.turns[0]!.media);
});

Deno.test("known: there is always something to put", () => {
  const known = after("answered", "delivered");
  const brought = known.merge(print("u: turn 0 / a: 0 / u: turn 1 / a: 1"), how([0, 1]));
  assertEquals(known.pendingTurns(brought), [2]);
  assertEquals(known.pendingTurns({ ...brought, turns: [] }), []);
});

for (const state of ["answered", "delivered"] as const) {
  Deno.test(`known: the last turn ends ${state}, the others stay as they are`, () => {
    for (const before of ["answered", "delivered"] as const) {
      const known = after(before, "delivered");
      known.setLastState(known.merge(print("u: turn 0 / u: turn 1"), how([0, 1])), state);
      assertEquals(statesOf(known), [before, state]);
    }
  });
}

Deno.test("known: an answer that nobody was given counts as told, and what was never told as that", () => {
  for (
    const [state, then] of [["answered", "delivered"], ["delivered", "delivered"], [
      "pending",
      "pending",
    ]] as const
  ) {
    const known = after("answered", state);
    known.markUnanswered(known.merge(print("u: turn 0 / a: 0 / u: turn 1"), how([0, 1])));
    assertEquals(statesOf(known), ["answered", then]);
  }
});

Deno.test("known: a turn that was answered is open while it is asked again", () => {
  const known = after("answered", "answered");
  known.markDelivered(
    known.merge(print("u: turn 0 / a: 0 / u: turn 1"), how([0, 1], true)),
    SESSION,
    PROGRAM,
  );
  assertEquals(statesOf(known), ["answered", "delivered"]);
});

Deno.test("known: what an agent was told that died is taken back", () => {
  const known = begun("s: Mao / u: turn 0");
  known.markDelivered(known.merge(print("s: Mao / u: turn 0"), how([UNMATCHED])), SESSION, PROGRAM);
  const brought = known.merge(
    print("s: Kai / u: turn 0 / u: turn 1 / a: 1 / u: turn 2"),
    how([0, UNMATCHED, UNMATCHED]),
  );
  const before = structuredClone({ ...known });
  const takeBack = known.markDelivered(brought, "other" as SessionId, OTHER_PROGRAM);
  assertEquals(statesOf(known), ["delivered", "answered", "delivered"]);
  takeBack();
  assertEquals({ ...known }, before);
  assertEquals(statesOf(known), ["delivered", "pending", "pending"]);
  const next = known.merge(
    print("s: Kai / u: turn 0 / u: turn 1 / u: turn 2 / u: turn 3"),
    how([0, 1, 2, UNMATCHED]),
  );
  assertEquals(known.pendingTurns(next), [2, 3, 4]);
});

Deno.test("known: of what a session was told by somebody else, the one in its place heard nothing", () => {
  for (
    const [session, states] of [[SESSION, ["answered", "delivered", "delivered"]], ["other", [
      "pending",
      "delivered",
      "delivered",
    ]]]
  ) {
    const known = after("answered", "delivered");
    known.sessionId = SESSION;
    known.markDelivered(
      known.merge(print("u: turn 1 / u: new"), how([1, UNMATCHED])),
      session as SessionId,
      PROGRAM,
    );
    assertEquals(statesOf(known), states);
  }
});

const PERSONAS: readonly (readonly [name: string, first: string, next: string, isOther: boolean])[] = [
  ["the same", "s: Mao / u: one", "s: Mao / u: one / u: two", false],
  ["another", "s: Mao / u: one", "s: Kai / u: one / u: two", true],
  ["one more", "s: Mao / u: one", "s: Mao / s: kind / u: one / u: two", true],
  ["gone", "s: Mao / u: one", "u: one / u: two", false],
  ["new", "u: one", "s: Mao / u: one / u: two", true],
  ["without what was for the first turn", "s: Mao / s: late / u: one", "s: Mao / u: one / u: two", false],
  ["of a window", "s: Mao / u: one / a: 1 / u: two", "s: Mao / s: late / u: two", true],
];
for (const [name, first, next, isOther] of PERSONAS) {
  Deno.test(`known: a persona that is ${name} is ${isOther ? "delivered" : "not told"} again`, () => {
    const known = begun(first);
    const brought = known.merge(print(next), how([0, UNMATCHED]));
    assertEquals(known.personaChanged(brought), isOther);
    const before = known.persona;
    known.markDelivered(brought, SESSION, PROGRAM);
    assertEquals(known.persona, brought.persona.length > 0 ? brought.persona : before);
    assertEquals(known.personaChanged(brought), false);
  });
}

Deno.test("known: the oldest turns are left out beyond a limit, and counted", () => {
  const known = begun();
  for (let turn = 0; turn < MAX_TURNS + 5; turn++) known.merge(print(`u: turn ${turn}`), how([UNMATCHED]));
  assertEquals([known.turns.length, known.turnsBefore], [MAX_TURNS, 5]);
  assertEquals(known.turns[0]!.words, print("u: turn 5").turns[0]!.words);
  assertEquals(known.turns.at(-1)!.words, print(`u: turn ${MAX_TURNS + 4}`).turns[0]!.words);
});

Deno.test("known: a request whose turns are left out at once still puts them", () => {
  const known = after(...Array.from({ length: MAX_TURNS }, () => "answered" as const));
  const lines = ["u: turn 0", ...Array.from({ length: 3 }, (_, turn) => `u: new ${turn}`)];
  const brought = known.merge(print(...lines), how([0, UNMATCHED, UNMATCHED, UNMATCHED]));
  assertEquals(brought.turns.map(({ turn }) => turn.state), ["answered", "pending", "pending", "pending"]);
  assertEquals([known.pendingTurns(brought), known.turnsBefore], [[1, 2, 3], 3]);
});

Deno.test("known: what is made of what was stored changes nothing in it", () => {
  const stored: ConversationRecord = { ...after("answered") };
  const known = new Conversation(stored);
  assertEquals({ ...known }, { ...stored });
  known.merge(print("u: turn 0 / u: two"), how([0, UNMATCHED]));
  known.turns[0]!.state = "delivered";
  assertEquals(stored.turns.map(({ state }) => state), ["answered"]);
});

/** A store that counts what it is given. */
class Shelf implements Store {
  readonly key = new Uint8Array(32);
  readonly saved: string[] = [];
  readonly removed: string[] = [];
  readonly #stored: readonly ConversationRecord[];

  constructor(...stored: ConversationRecord[]) {
    this.#stored = stored;
  }

  load(): ConversationRecord[] {
    return [...this.#stored];
  }

  save({ id }: ConversationRecord): boolean {
    this.saved.push(id);
    return true;
  }

  remove({ id }: Pick<ConversationRecord, "id">): boolean {
    this.removed.push(id);
    return true;
  }

  removeAll(): boolean {
    return true;
  }

  [Symbol.dispose](): void {}
}

Deno.test("memory: what is stored is there, the one that was used last at the end", () => {
  const memory = new ConversationIndex(new Shelf({ ...begun(), id: "a" }, { ...begun(), id: "b" }));
  assertEquals([...memory.all].map(({ id }) => id), ["a", "b"]);
});

Deno.test("memory: a conversation is found by its owner, its agent and its name", () => {
  const memory = new ConversationIndex(undefined);
  const known = memory.create(origin("a"), print(), 0);
  assertEquals(memory.find(OWNER, "openab", "a"), known);
  assertEquals(memory.find(OWNER, "openab", "b"), undefined);
  assertEquals(memory.find(OWNER, "coder", "a"), undefined);
  assertEquals(memory.find(PRINTER.fingerprint("owner", "other"), "openab", "a"), undefined);
});

Deno.test("memory: what is used is the last, with its time", () => {
  const memory = new ConversationIndex(undefined);
  const [a] = ["a", "b"].map((id) => memory.create(origin(id), print(), 0));
  memory.touch(a!, 9, () => false);
  assertEquals([...memory.all].map(({ id, usedAt }) => [id, usedAt]), [["b", 0], ["a", 9]]);
});

Deno.test("memory: beyond the limit who was used longest ago is forgotten, but for who is busy", () => {
  const shelf = new Shelf();
  const memory = new ConversationIndex(shelf);
  const isBusy = ({ id }: Conversation) => id === "0" || id === "2";
  for (let each = 0; each < MAX_CONVERSATIONS + 3; each++) {
    memory.touch(memory.create(origin(`${each}`), print(), each), each, isBusy);
  }
  assertEquals([memory.all.size, shelf.removed], [MAX_CONVERSATIONS, ["1", "3", "4"]]);
  assert(memory.find(OWNER, "openab", "0"));
});

Deno.test("memory: as long as all are busy there may be more", () => {
  const memory = new ConversationIndex(undefined);
  for (let each = 0; each < MAX_CONVERSATIONS + 3; each++) {
    memory.touch(memory.create(origin(`${each}`), print(), each), each, () => true);
  }
  assertEquals(memory.all.size, MAX_CONVERSATIONS + 3);
  memory.touch([...memory.all][5]!, 0, () => false);
  assertEquals(memory.all.size, MAX_CONVERSATIONS);
});

Deno.test("memory: what is forgotten is removed once, and not stored any more", () => {
  const shelf = new Shelf();
  const memory = new ConversationIndex(shelf);
  const known = memory.create(origin("a"), print(), 0);
  memory.save(known);
  memory.forget(known);
  memory.forget(known);
  memory.save(known);
  assertEquals([shelf.saved, shelf.removed, memory.all.size], [["a"], ["a"], 0]);
});
