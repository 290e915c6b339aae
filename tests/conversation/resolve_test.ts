import { assertEquals, assertMatch } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import { SESSION_MODES } from "../../lib/conversation/resolve.ts";
import {
  type Caller,
  FINGERPRINTER,
  longReply,
  MatchHarness,
  messagesOf,
} from "../support/harness/fingerprint_fixture.ts";
import { system, user } from "../support/harness/message_fixture.ts";

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

const TASK = "### Task:\nGenerate a concise, 3-5 word title.\n<chat_history>\nUSER: hi\n</chat_history>";
const IMPERSONATION =
  "[Write your next reply from the point of view of Ann, using the chat history so far as a guideline.]";
const SUMMARY =
  "Summarize the most important facts and events in the story so far. Limit the summary to 200 words.";
const TASKS: readonly (readonly [name: string, messages: Message[], isTask: boolean])[] = [
  ["a title", [user(TASK)], true],
  ["a title with a persona", [system("Mao"), user(`\n${TASK}`)], true],
  ["a question about tasks", [user("### Task: what does it mean?")], false],
  ["a task behind a chat", messagesOf("u: hi / a: ok", user(TASK)), false],
  ["an impersonation", messagesOf("s: Mao / u: hi / a: ok", system(IMPERSONATION)), true],
  [
    "a summary",
    messagesOf("s: Mao / u: hi / a: ok", system(`Ignore previous instructions. ${SUMMARY}`)),
    true,
  ],
  [
    "an older summary",
    messagesOf("s: Mao / u: hi / a: ok", system(`[Pause your roleplay. ${SUMMARY}]`)),
    true,
  ],
  ["a summary that the user asks for", messagesOf("u: hi / a: ok", user(SUMMARY)), false],
  ["a nudge", messagesOf("s: Mao / u: hi / a: ok / s: [Write the next reply only as Mao.]"), false],
];
Deno.test("resolveConversation: known tasks are side jobs, whatever the mode and the name", () => {
  for (const [what, messages, isTask] of TASKS) {
    for (const mode of SESSION_MODES) {
      for (const caller of [{}, MAO]) {
        const harness = new MatchHarness(mode);
        const decision = harness.resolve(messages, caller)?.decision;
        assertEquals(decision === "side_job", isTask, `${what}, ${mode}`);
      }
    }
  }
});

/** A named conversation whose client sends its history. */
function echoed(): MatchHarness {
  const harness = new MatchHarness();
  harness.send(OPENING, longReply(1), MAO);
  harness.send(NEXT, longReply(2), MAO);
  return harness;
}
const TITLE = messagesOf("s: Write a title. / u: hi");
const [TITLED, ADOPTED] = ["ok", "The weather"].map((reply) =>
  messagesOf(`s: Write a title. / u: hi / a: ${reply} / u: And?`)
) as [Message[], Message[]];

const SIDE_JOBS:
  readonly (readonly [name: string, harness: () => MatchHarness, messages: Message[], decision: string])[] = [
    ["another first system message and no reply", echoed, TITLE, "side_job"],
    ["another first system message and other replies", echoed, TITLED, "side_job"],
    [
      "another first system message and the last reply",
      echoed,
      messagesOf(...NEXT, `a: ${longReply(2)} / u: go`).with(0, system("Kai")),
      "continue",
    ],
    ["the same first system message", echoed, messagesOf("s: Mao / u: new"), "continue"],
    ["no system message", echoed, messagesOf("u: new"), "continue"],
    [
      "a client that never sent a reply back",
      () => {
        const harness = new MatchHarness();
        harness.send(OPENING, longReply(1), MAO);
        harness.send(messagesOf("s: Mao / u: so"), longReply(2), MAO);
        return harness;
      },
      TITLE,
      "continue",
    ],
  ];
for (const [what, harness, messages, decision] of SIDE_JOBS) {
  Deno.test(`resolveConversation: of a named conversation, ${what}: ${decision}`, () => {
    assertEquals(harness().resolve(messages, MAO)?.decision, decision);
  });
}

Deno.test("resolveConversation: a side job whose reply comes back was the first turn with a new persona", () => {
  const harness = echoed();
  const [conversation] = harness.index.all;
  const { transcript, conversation: of } = harness.resolve(TITLE, MAO)!;
  assertEquals(of, conversation);
  of!.sideJob = { system: transcript.persona[0]!, reply: FINGERPRINTER.reply("The weather") };
  assertEquals(harness.resolve(TITLE, MAO)?.decision, "side_job");
  assertEquals(harness.resolve(TITLED, MAO)?.decision, "side_job");
  assertEquals(harness.send(ADOPTED, longReply(3), MAO), {
    decision: "continue",
    conversation: 0,
    sent: ["hi", "And?"],
    isRetry: false,
  });
  assertEquals(harness.sent, ADOPTED);
  const next = messagesOf(...ADOPTED, `a: ${longReply(3)} / u: last`);
  assertEquals(harness.send(next, "ok", MAO).sent, ["last"]);
});
