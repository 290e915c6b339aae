import { assertEquals, assertMatch } from "@std/assert";
import { SESSION_MODES } from "../../lib/conversation/resolve.ts";
import {
  type Caller,
  FINGERPRINTER,
  longReply,
  MatchHarness,
  messagesOf,
} from "../support/harness/fingerprint_fixture.ts";

const OPENING = messagesOf("s: Mao / u: hi");
const NEXT = messagesOf(`s: Mao / u: hi / a: ${longReply(1)} / u: so`);
const OTHER = messagesOf("s: Kai / u: Something else.");

/** Returns the decision about a request after the opening. */
function decide(mode: MatchHarness["mode"], first: Caller, next: Caller, messages = NEXT): string {
  const harness = new MatchHarness(mode);
  if (harness.resolve(OPENING, first) === undefined) {
    return harness.resolve(messages, next)?.decision ?? "none";
  }
  harness.send(OPENING, longReply(1), first);
  return harness.resolve(messages, next)?.decision ?? "none";
}

interface Case {
  readonly name: string;
  readonly first?: Caller;
  readonly next?: Caller;
  readonly messages?: ReturnType<typeof messagesOf>;
  /** In each of the modes `auto`, `persistent`, `stateless`. */
  readonly decisions: readonly [string, string, string];
}
const MAO = { name: "mao" };
const CASES: readonly Case[] = [
  { name: "a history that continues", decisions: ["continue", "continue", "none"] },
  { name: "something else", messages: OTHER, decisions: ["new", "continue", "none"] },
  { name: "the same opening", messages: OPENING, decisions: ["new", "continue", "none"] },
  { name: "another owner", next: { owner: "b" }, decisions: ["new", "new", "none"] },
  { name: "another agent", next: { agent: "coder" }, decisions: ["new", "new", "none"] },
  { name: "a name for an unnamed conversation", next: MAO, decisions: ["new", "new", "new"] },
  { name: "no name for a named conversation", first: MAO, decisions: ["new", "new", "none"] },
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
  Deno.test(`resolveConversation: ${name}`, () => {
    assertEquals(SESSION_MODES.map((mode) => decide(mode, first, next, messages)), decisions);
  });
}

Deno.test("resolveConversation: an unnamed conversation gets an id that cannot be guessed", () => {
  const harness = new MatchHarness();
  const ids = [1, 2].map(() => harness.resolve(OPENING)!.identity.id);
  for (const id of ids) assertMatch(id, /^conv_[0-9a-f]{32}$/);
  assertEquals(new Set(ids).size, 2);
});

Deno.test("resolveConversation: the generated id finds the conversation as a name", () => {
  const harness = new MatchHarness();
  harness.send(OPENING, longReply(1));
  const [conversation] = harness.index.all;
  const found = harness.resolve(OTHER, { name: conversation!.id });
  assertEquals([found?.decision, found?.conversation?.isNamed], ["continue", false]);
  assertEquals(harness.resolve(OTHER, { name: conversation!.id, owner: "b" })?.decision, "new");
});

Deno.test("resolveConversation: the identity of a new conversation holds hashes of the key and the program", () => {
  const harness = new MatchHarness();
  const { identity } = harness.resolve(OPENING, { owner: "key-1", name: "mao", agent: "coder" })!;
  assertEquals(identity, {
    id: "mao",
    owner: FINGERPRINTER.fingerprint("owner", "key-1"),
    agent: "coder",
    program: FINGERPRINTER.fingerprint("program", "memory"),
    isNamed: true,
  });
});

Deno.test("resolveConversation: resolving changes nothing", () => {
  const harness = new MatchHarness();
  harness.send(OPENING, longReply(1));
  const before = JSON.stringify([...harness.index.all]);
  for (const messages of [OPENING, NEXT, OTHER, []]) {
    for (const caller of [{}, MAO, { owner: "b" }]) harness.resolve(messages, caller);
  }
  assertEquals(JSON.stringify([...harness.index.all]), before);
});
