import { assert, assertEquals } from "@std/assert";
import { Known, MAX_KNOWN, Memory } from "../../lib/conversation/known.ts";
import { type Continuation, NEW, PASSED } from "../../lib/conversation/align.ts";
import type { KnownConversation, Store, TurnState } from "../../lib/conversation/memory.ts";
import { MAX_TURNS } from "../../lib/conversation/print.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { type Line, PRINTER, talk } from "./prints.ts";
import { image, user } from "./said.ts";

const SESSION = "session" as SessionId;
const [OWNER, PROGRAM, OTHER_PROGRAM] = [
  PRINTER.print("owner", ""),
  PRINTER.print("program", "a"),
  PRINTER.print("program", "b"),
];
const print = (...lines: Line[]) => PRINTER.transcript(talk(...lines));
const how = (places: readonly number[], isAgain = false): Continuation => ({ places, isAgain });

function begun(...lines: Line[]): Known {
  return new Memory(undefined).begin(origin("a"), print(...lines), 7);
}

function origin(id: string) {
  return { id, owner: OWNER, agent: "openab", program: PROGRAM, isNamed: false };
}

/** A conversation whose turns came so far. */
function after(...states: TurnState[]): Known {
  const known = begun();
  known.turns.push(...states.map((state, turn) => {
    const { words, media } = print(`u: turn ${turn}`).turns[0]!;
    return { words, media, state };
  }));
  return known;
}
const statesOf = ({ turns }: Known) => turns.map(({ state }) => state);

Deno.test("known: what begins has said nothing yet", () => {
  const known = begun("s: Mao / u: hi");
  assertEquals({ ...known }, {
    ...origin("a"),
    persona: [PRINTER.print("system", "Mao")],
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
  const brought = known.bring(print("u: one"), how([NEW]));
  assertEquals([statesOf(known), known.unheard(brought)], [["asked"], [0]]);
  known.told(brought, SESSION, OTHER_PROGRAM);
  assertEquals([statesOf(known), known.sessionId, known.program], [["told"], SESSION, OTHER_PROGRAM]);
  known.ended(brought, "answered");
  assertEquals(statesOf(known), ["answered"]);
});

Deno.test("known: of a whole history what has an answer is answered", () => {
  const known = begun();
  const brought = known.bring(
    print("s: Mao / u: one / a: 1 / u: two / u: three / a: 3 / u: four / a: Well,"),
    how([NEW, NEW, NEW, NEW]),
  );
  assertEquals(known.unheard(brought), [1, 3, 4, 6]);
  known.told(brought, SESSION, PROGRAM);
  assertEquals(statesOf(known), ["answered", "told", "answered", "told"]);
});

Deno.test("known: what is known stays, what is passed is left out", () => {
  const known = after("answered", "told", "answered");
  const brought = known.bring(print("u: x / u: turn 0 / u: turn 2 / u: new"), how([PASSED, 0, 2, NEW]));
  assertEquals(statesOf(known), ["answered", "told", "answered", "asked"]);
  assertEquals(brought.turns.map(({ index }) => index), [1, 2, 3]);
  assertEquals(known.unheard(brought), [3]);
});

Deno.test("known: what never reached the agent is put with the next turn", () => {
  const known = after("answered", "asked");
  const brought = known.bring(print("u: turn 0 / a: 0 / u: turn 1 / u: new"), how([0, 1, NEW]));
  assertEquals(known.unheard(brought), [2, 3]);
  known.told(brought, SESSION, PROGRAM);
  assertEquals(statesOf(known), ["answered", "told", "told"]);
});

Deno.test("known: what the caller dropped is not put, though it never reached the agent", () => {
  const known = after("answered", "asked");
  const brought = known.bring(print("u: turn 0 / a: 0 / u: new"), how([0, NEW]));
  assertEquals(known.unheard(brought), [2]);
});

Deno.test("known: a turn that is asked again is put once more, whatever its state", () => {
  for (const state of ["asked", "told", "answered"] as const) {
    const known = after("answered", state);
    const brought = known.bring(print("u: turn 0 / a: 0 / u: turn 1"), how([0, 1], true));
    assertEquals([known.turns.length, known.unheard(brought)], [2, [2]]);
    known.told(brought, SESSION, PROGRAM);
    known.ended(brought, "answered");
    assertEquals(statesOf(known), ["answered", "answered"]);
  }
});

Deno.test("known: a picture that comes when a turn is asked again is its picture", () => {
  const known = after("answered");
  const shown = print(user("turn 0", image()));
  known.bring(shown, how([0], true));
  assertEquals(known.turns[0]!.media, shown.turns[0]!.media);
  known.bring(print("u: turn 0"), how([0], true));
  assertEquals(known.turns[0]!.media, shown.turns[0]!.media);
});

Deno.test("known: there is always something to put", () => {
  const known = after("answered", "told");
  const brought = known.bring(print("u: turn 0 / a: 0 / u: turn 1 / a: 1"), how([0, 1]));
  assertEquals(known.unheard(brought), [2]);
  assertEquals(known.unheard({ ...brought, turns: [] }), []);
});

for (const state of ["answered", "told"] as const) {
  Deno.test(`known: the last turn ends ${state}, the others stay as they are`, () => {
    for (const before of ["answered", "told"] as const) {
      const known = after(before, "told");
      known.ended(known.bring(print("u: turn 0 / u: turn 1"), how([0, 1])), state);
      assertEquals(statesOf(known), [before, state]);
    }
  });
}

Deno.test("known: an answer that nobody was given counts as told, and what was never told as that", () => {
  for (const [state, then] of [["answered", "told"], ["told", "told"], ["asked", "asked"]] as const) {
    const known = after("answered", state);
    known.unanswered(known.bring(print("u: turn 0 / a: 0 / u: turn 1"), how([0, 1])));
    assertEquals(statesOf(known), ["answered", then]);
  }
});

Deno.test("known: a turn that was answered is open while it is asked again", () => {
  const known = after("answered", "answered");
  known.told(known.bring(print("u: turn 0 / a: 0 / u: turn 1"), how([0, 1], true)), SESSION, PROGRAM);
  assertEquals(statesOf(known), ["answered", "told"]);
});

Deno.test("known: what an agent was told that died is taken back", () => {
  const known = begun("s: Mao / u: turn 0");
  known.told(known.bring(print("s: Mao / u: turn 0"), how([NEW])), SESSION, PROGRAM);
  const brought = known.bring(print("s: Kai / u: turn 0 / u: turn 1 / a: 1 / u: turn 2"), how([0, NEW, NEW]));
  const before = structuredClone({ ...known });
  const takeBack = known.told(brought, "other" as SessionId, OTHER_PROGRAM);
  assertEquals(statesOf(known), ["told", "answered", "told"]);
  takeBack();
  assertEquals({ ...known }, before);
  assertEquals(statesOf(known), ["told", "asked", "asked"]);
  const next = known.bring(
    print("s: Kai / u: turn 0 / u: turn 1 / u: turn 2 / u: turn 3"),
    how([0, 1, 2, NEW]),
  );
  assertEquals(known.unheard(next), [2, 3, 4]);
});

Deno.test("known: of what a session was told by somebody else, the one in its place heard nothing", () => {
  for (
    const [session, states] of [[SESSION, ["answered", "told", "told"]], ["other", ["asked", "told", "told"]]]
  ) {
    const known = after("answered", "told");
    known.sessionId = SESSION;
    known.told(known.bring(print("u: turn 1 / u: new"), how([1, NEW])), session as SessionId, PROGRAM);
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
  Deno.test(`known: a persona that is ${name} is ${isOther ? "told" : "not told"} again`, () => {
    const known = begun(first);
    const brought = known.bring(print(next), how([0, NEW]));
    assertEquals(known.hasOtherPersona(brought), isOther);
    const before = known.persona;
    known.told(brought, SESSION, PROGRAM);
    assertEquals(known.persona, brought.persona.length > 0 ? brought.persona : before);
    assertEquals(known.hasOtherPersona(brought), false);
  });
}

Deno.test("known: the oldest turns are left out beyond a limit, and counted", () => {
  const known = begun();
  for (let turn = 0; turn < MAX_TURNS + 5; turn++) known.bring(print(`u: turn ${turn}`), how([NEW]));
  assertEquals([known.turns.length, known.turnsBefore], [MAX_TURNS, 5]);
  assertEquals(known.turns[0]!.words, print("u: turn 5").turns[0]!.words);
  assertEquals(known.turns.at(-1)!.words, print(`u: turn ${MAX_TURNS + 4}`).turns[0]!.words);
});

Deno.test("known: a request whose turns are left out at once still puts them", () => {
  const known = after(...Array.from({ length: MAX_TURNS }, () => "answered" as const));
  const lines = ["u: turn 0", ...Array.from({ length: 3 }, (_, turn) => `u: new ${turn}`)];
  const brought = known.bring(print(...lines), how([0, NEW, NEW, NEW]));
  assertEquals(brought.turns.map(({ turn }) => turn.state), ["answered", "asked", "asked", "asked"]);
  assertEquals([known.unheard(brought), known.turnsBefore], [[1, 2, 3], 3]);
});

Deno.test("known: what is made of what was stored changes nothing in it", () => {
  const stored: KnownConversation = { ...after("answered") };
  const known = new Known(stored);
  assertEquals({ ...known }, { ...stored });
  known.bring(print("u: turn 0 / u: two"), how([0, NEW]));
  known.turns[0]!.state = "told";
  assertEquals(stored.turns.map(({ state }) => state), ["answered"]);
});

/** A store that counts what it is given. */
class Shelf implements Store {
  readonly key = new Uint8Array(32);
  readonly saved: string[] = [];
  readonly removed: string[] = [];
  readonly #stored: readonly KnownConversation[];

  constructor(...stored: KnownConversation[]) {
    this.#stored = stored;
  }

  load(): KnownConversation[] {
    return [...this.#stored];
  }

  save({ id }: KnownConversation): boolean {
    this.saved.push(id);
    return true;
  }

  remove({ id }: Pick<KnownConversation, "id">): boolean {
    this.removed.push(id);
    return true;
  }

  removeAll(): boolean {
    return true;
  }

  [Symbol.dispose](): void {}
}

Deno.test("memory: what is stored is there, the one that was used last at the end", () => {
  const memory = new Memory(new Shelf({ ...begun(), id: "a" }, { ...begun(), id: "b" }));
  assertEquals([...memory.all].map(({ id }) => id), ["a", "b"]);
});

Deno.test("memory: a conversation is found by its owner, its agent and its name", () => {
  const memory = new Memory(undefined);
  const known = memory.begin(origin("a"), print(), 0);
  assertEquals(memory.find(OWNER, "openab", "a"), known);
  assertEquals(memory.find(OWNER, "openab", "b"), undefined);
  assertEquals(memory.find(OWNER, "coder", "a"), undefined);
  assertEquals(memory.find(PRINTER.print("owner", "other"), "openab", "a"), undefined);
});

Deno.test("memory: what is used is the last, with its time", () => {
  const memory = new Memory(undefined);
  const [a] = ["a", "b"].map((id) => memory.begin(origin(id), print(), 0));
  memory.use(a!, 9, () => false);
  assertEquals([...memory.all].map(({ id, usedAt }) => [id, usedAt]), [["b", 0], ["a", 9]]);
});

Deno.test("memory: beyond the limit who was used longest ago is forgotten, but for who is busy", () => {
  const shelf = new Shelf();
  const memory = new Memory(shelf);
  const isBusy = ({ id }: Known) => id === "0" || id === "2";
  for (let each = 0; each < MAX_KNOWN + 3; each++) {
    memory.use(memory.begin(origin(`${each}`), print(), each), each, isBusy);
  }
  assertEquals([memory.all.size, shelf.removed], [MAX_KNOWN, ["1", "3", "4"]]);
  assert(memory.find(OWNER, "openab", "0"));
});

Deno.test("memory: as long as all are busy there may be more", () => {
  const memory = new Memory(undefined);
  for (let each = 0; each < MAX_KNOWN + 3; each++) {
    memory.use(memory.begin(origin(`${each}`), print(), each), each, () => true);
  }
  assertEquals(memory.all.size, MAX_KNOWN + 3);
  memory.use([...memory.all][5]!, 0, () => false);
  assertEquals(memory.all.size, MAX_KNOWN);
});

Deno.test("memory: what is forgotten is removed once, and not stored any more", () => {
  const shelf = new Shelf();
  const memory = new Memory(shelf);
  const known = memory.begin(origin("a"), print(), 0);
  memory.save(known);
  memory.forget(known);
  memory.forget(known);
  memory.save(known);
  assertEquals([shelf.saved, shelf.removed, memory.all.size], [["a"], ["a"], 0]);
});
