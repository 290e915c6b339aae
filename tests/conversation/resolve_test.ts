import { assertEquals, assertMatch } from "@std/assert";
import { SESSION_MODES } from "../../lib/conversation/resolve.ts";
import { Fingerprinter } from "../../lib/conversation/fingerprint.ts";
import { type Asking, long, PRINTER, Room, talk } from "../support/harness/fingerprint_fixture.ts";

const OPENING = talk("s: Mao / u: hi");
const NEXT = talk(`s: Mao / u: hi / a: ${long(1)} / u: so`);
const OTHER = talk("s: Kai / u: Something else.");

/** What a request is to a house that had the opening. */
function found(mode: Room["mode"], first: Asking, next: Asking, messages = NEXT): string {
  const room = new Room({ mode });
  if (room.find(OPENING, first) === undefined) return room.find(messages, next)?.decision ?? "nobody's";
  room.ask(OPENING, long(1), first);
  return room.find(messages, next)?.decision ?? "nobody's";
}

interface Case {
  readonly name: string;
  readonly first?: Asking;
  readonly next?: Asking;
  readonly messages?: ReturnType<typeof talk>;
  /** In each of the modes `auto`, `persistent`, `stateless`. */
  readonly decisions: readonly [string, string, string];
}
const MAO = { name: "mao" };
const CASES: readonly Case[] = [
  { name: "what goes on", decisions: ["continue", "continue", "nobody's"] },
  { name: "something else", messages: OTHER, decisions: ["new", "continue", "nobody's"] },
  { name: "the same opening", messages: OPENING, decisions: ["new", "continue", "nobody's"] },
  { name: "another owner", next: { owner: "b" }, decisions: ["new", "new", "nobody's"] },
  { name: "another agent", next: { agent: "coder" }, decisions: ["new", "new", "nobody's"] },
  { name: "a name for what has none", next: MAO, decisions: ["new", "new", "new"] },
  { name: "no name for what has one", first: MAO, decisions: ["new", "new", "nobody's"] },
  { name: "the same name", first: MAO, next: MAO, decisions: ["continue", "continue", "continue"] },
  {
    name: "the same name and something else",
    first: MAO,
    next: MAO,
    messages: OTHER,
    decisions: ["continue", "continue", "continue"],
  },
  { name: "another name", first: MAO, next: { name: "kai" }, decisions: ["new", "new", "new"] },
  {
    name: "the same name of another owner",
    first: MAO,
    next: { ...MAO, owner: "b" },
    decisions: ["new", "new", "new"],
  },
  {
    name: "the same name of another agent",
    first: MAO,
    next: { ...MAO, agent: "coder" },
    decisions: ["new", "new", "new"],
  },
];
for (const { name, first = {}, next = {}, messages, decisions } of CASES) {
  Deno.test(`findConversation: ${name}`, () => {
    assertEquals(SESSION_MODES.map((mode) => found(mode, first, next, messages)), decisions);
  });
}

Deno.test("findConversation: a conversation without a name gets one that nobody guesses", () => {
  const room = new Room();
  const ids = [1, 2].map(() => room.find(OPENING)!.identity.id);
  for (const id of ids) assertMatch(id, /^conv_[0-9a-f]{32}$/);
  assertEquals(new Set(ids).size, 2);
});

Deno.test("findConversation: the name that a conversation got finds it again", () => {
  const room = new Room();
  room.ask(OPENING, long(1));
  const [known] = room.index.all;
  const found = room.find(OTHER, { name: known!.id });
  assertEquals([found?.decision, found?.conversation?.isNamed], ["continue", false]);
  assertEquals(room.find(OTHER, { name: known!.id, owner: "b" })?.decision, "new");
});

Deno.test("findConversation: what begins says whose it is, and not in words", () => {
  const room = new Room();
  const { identity } = room.find(OPENING, { owner: "key-1", name: "mao", agent: "coder" })!;
  assertEquals(identity, {
    id: "mao",
    owner: PRINTER.fingerprint("owner", "key-1"),
    agent: "coder",
    program: PRINTER.fingerprint("program", "memory"),
    isNamed: true,
  });
});

Deno.test("findConversation: why it was decided is told", () => {
  const room = new Room();
  assertMatch(room.find(OPENING)!.reason, /first turn/);
  assertMatch(room.find(OPENING, MAO)!.reason, /named/);
  assertMatch(new Room({ mode: "persistent" }).find(OPENING)!.reason, /one for each key and agent/);
  room.ask(OPENING, long(1));
  assertMatch(room.find(NEXT)!.reason, /1 of its turns are there, and its last answer/);
});

Deno.test("findConversation: what is not known is all new", () => {
  const { alignment, conversation } = new Room().find(talk("u: one / a: 1 / u: two"))!;
  assertEquals([alignment, conversation], [{ positions: [-1, -1], isRetry: false }, undefined]);
});

Deno.test("findConversation: to look changes nothing", () => {
  const room = new Room();
  room.ask(OPENING, long(1));
  const before = JSON.stringify([...room.index.all]);
  for (const messages of [OPENING, NEXT, OTHER, []]) {
    for (const asking of [{}, MAO, { owner: "b" }]) room.find(messages, asking);
  }
  assertEquals(JSON.stringify([...room.index.all]), before);
});

Deno.test("findConversation: what was printed with another key is not known", () => {
  const room = new Room();
  room.ask(OPENING, long(1));
  const other = new Room({ printer: new Fingerprinter(new Uint8Array(32).fill(1)) });
  for (const known of room.index.all) other.index.create(known, PRINTER.transcript(OPENING), 0);
  assertEquals(other.find(NEXT)?.decision, "new");
});
