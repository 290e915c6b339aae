import { assertEquals } from "@std/assert";
import { markDelivered, mergeTranscript, unseenParts } from "../../lib/conversation/conversation.ts";
import { MAX_TURNS, withInterrupted } from "../../lib/conversation/fingerprint.ts";
import { type Continuation, SKIPPED, UNMATCHED } from "../../lib/conversation/match.ts";
import { textOf } from "../../lib/conversation/message.ts";
import { promptMessages } from "../../lib/conversation/prompt.ts";
import type { ConversationRecord, DeliveryState } from "../../lib/conversation/record.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import {
  FINGERPRINTER,
  messagesOf,
  newConversation,
  type TranscriptLine,
} from "../support/harness/fingerprint_fixture.ts";
import { image, user } from "../support/harness/message_fixture.ts";

const [SESSION, OTHER_SESSION] = ["session", "other"].map((id) => ({
  sessionId: id as SessionId,
  program: FINGERPRINTER.fingerprint("program", id),
})) as [Session, Session];
type Session = Parameters<typeof markDelivered>[2];
const fingerprints = (...lines: TranscriptLine[]) => FINGERPRINTER.transcript(messagesOf(...lines));
const at = (positions: readonly number[], isRetry = false): Continuation => ({ positions, isRetry });
const statesOf = ({ turns }: ConversationRecord) => turns.map(({ state }) => state);

/** A conversation whose turns came so far. */
function withStates(...states: DeliveryState[]): ConversationRecord {
  const conversation = newConversation();
  conversation.turns.push(...states.map((state, turn) => {
    const { words, media } = fingerprints(`u: turn ${turn}`).turns[0]!;
    return { words, media, state };
  }));
  return conversation;
}

Deno.test("create: a new conversation has the persona; a reply before the first turn is a greeting", () => {
  const { persona, isPersonaOpen, turns, reply } = newConversation("s: Mao / u: hi");
  assertEquals([persona, isPersonaOpen], [[FINGERPRINTER.fingerprint("system", "Mao")], true]);
  assertEquals([turns, reply], [[], undefined]);
  assertEquals(newConversation("a: Welcome! / u: hi").reply, undefined);
  assertEquals(newConversation("u: hi / a: Hello! / u: so").reply, FINGERPRINTER.reply("Hello!"));
});

interface Merge {
  readonly name: string;
  readonly before: readonly DeliveryState[];
  readonly request: string;
  readonly alignment: Continuation;
  /** The message indexes to send. */
  readonly pending: readonly number[];
  /** The states before and after the delivery. */
  readonly states: readonly [readonly DeliveryState[], readonly DeliveryState[]];
}
const MERGES: readonly Merge[] = [
  {
    name: "the turns of a new history are answered where it has replies, but for the last",
    before: [],
    request: "s: Mao / u: one / a: 1 / u: two / u: three / a: 3 / u: four / a: Well,",
    alignment: at([UNMATCHED, UNMATCHED, UNMATCHED, UNMATCHED]),
    pending: [1, 3, 4, 6],
    states: [["pending", "pending", "pending", "pending"], [
      "answered",
      "delivered",
      "answered",
      "delivered",
    ]],
  },
  {
    name: "matched turns keep their state, skipped ones are left out",
    before: ["answered", "delivered", "answered"],
    request: "u: x / u: turn 0 / u: turn 2 / u: new",
    alignment: at([SKIPPED, 0, 2, UNMATCHED]),
    pending: [3],
    states: [["answered", "delivered", "answered", "pending"], [
      "answered",
      "delivered",
      "answered",
      "delivered",
    ]],
  },
  {
    name: "a pending turn is sent with the next one",
    before: ["answered", "pending"],
    request: "u: turn 0 / a: 0 / u: turn 1 / u: new",
    alignment: at([0, 1, UNMATCHED]),
    pending: [2, 3],
    states: [["answered", "pending", "pending"], ["answered", "delivered", "delivered"]],
  },
  {
    name: "a pending turn that the client dropped is not sent",
    before: ["answered", "pending"],
    request: "u: turn 0 / a: 0 / u: new",
    alignment: at([0, UNMATCHED]),
    pending: [2],
    states: [["answered", "pending", "pending"], ["answered", "pending", "delivered"]],
  },
  {
    name: "an answered turn that the client leaves out is no longer required",
    before: ["answered", "answered"],
    request: "u: turn 1 / a: 1 / u: new",
    alignment: { ...at([1, UNMATCHED]), omitted: [0] },
    pending: [2],
    states: [["delivered", "answered", "pending"], ["delivered", "answered", "delivered"]],
  },
  {
    name: "an answered turn that is sent again is open",
    before: ["answered", "answered"],
    request: "u: turn 0 / a: 0 / u: turn 1",
    alignment: at([0, 1], true),
    pending: [2],
    states: [["answered", "answered"], ["answered", "delivered"]],
  },
  {
    name: "a request without turns sends none",
    before: ["answered"],
    request: "s: Mao",
    alignment: at([]),
    pending: [],
    states: [["answered"], ["answered"]],
  },
];
for (const { name, before, request, alignment, states, pending } of MERGES) {
  Deno.test(`mergeTranscript: ${name}`, () => {
    const conversation = withStates(...before);
    const delta = mergeTranscript(conversation, fingerprints(request), alignment);
    assertEquals([statesOf(conversation), unseenParts(conversation, delta).turns], [states[0], pending]);
    markDelivered(conversation, delta, SESSION);
    assertEquals(statesOf(conversation), states[1]);
  });
}

Deno.test("mergeTranscript: a turn that is sent again with an image keeps the image", () => {
  const conversation = withStates("answered");
  const withImage = fingerprints(user("turn 0", image()));
  for (const request of [withImage, fingerprints("u: turn 0")]) {
    mergeTranscript(conversation, request, at([0], true));
    assertEquals(conversation.turns[0]!.media, withImage.turns[0]!.media);
  }
});

Deno.test("mergeTranscript: turns beyond the limit are dropped and counted, and still sent", () => {
  const conversation = withStates(...Array.from({ length: MAX_TURNS }, () => "answered" as const));
  const request = fingerprints("u: turn 0 / u: new 0 / u: new 1 / u: new 2");
  const delta = mergeTranscript(conversation, request, at([0, UNMATCHED, UNMATCHED, UNMATCHED]));
  assertEquals([conversation.turns.length, conversation.turnsBefore], [MAX_TURNS, 3]);
  assertEquals(conversation.turns[0]!.words, fingerprints("u: turn 3").turns[0]!.words);
  assertEquals(unseenParts(conversation, delta).turns, [1, 2, 3]);
});

Deno.test("markDelivered: a delivery to an agent that exited can be undone", () => {
  const conversation = newConversation("s: Mao / u: turn 0");
  const first = mergeTranscript(conversation, fingerprints("s: Mao / u: turn 0"), at([UNMATCHED]));
  markDelivered(conversation, first, SESSION);
  const request = fingerprints("s: Kai / u: turn 0 / u: turn 1 / a: 1 / u: turn 2");
  const delta = mergeTranscript(conversation, request, at([0, UNMATCHED, UNMATCHED]));
  const before = structuredClone(conversation);
  const undo = markDelivered(conversation, delta, OTHER_SESSION);
  assertEquals(statesOf(conversation), ["delivered", "answered", "delivered"]);
  assertEquals(conversation.sessionId, OTHER_SESSION.sessionId);
  undo();
  assertEquals(conversation, before);
});

Deno.test("markDelivered: a new session does not have the turns that another client sent to the old one", () => {
  for (const [session, first] of [[SESSION, "answered"], [OTHER_SESSION, "pending"]] as const) {
    const conversation = withStates("answered", "delivered");
    conversation.sessionId = SESSION.sessionId;
    const delta = mergeTranscript(conversation, fingerprints("u: turn 1 / u: new"), at([1, UNMATCHED]));
    markDelivered(conversation, delta, session);
    assertEquals(statesOf(conversation), [first, "delivered", "delivered"]);
  }
});

const PERSONAS: readonly (readonly [name: string, first: string, next: string, unseen: readonly number[]])[] =
  [
    ["the same", "s: Mao / u: one", "s: Mao / u: one / u: two", []],
    ["another", "s: Mao / u: one", "s: Kai / u: one / u: two", [0]],
    ["one message longer", "s: Mao / u: one", "s: Mao / s: kind / u: one / u: two", [1]],
    ["another second message", "s: Mao / s: dry / u: one", "s: Mao / s: Mao / s: wet / u: one / u: two", [2]],
    ["gone", "s: Mao / u: one", "u: one / u: two", []],
    ["new", "u: one", "s: Mao / u: one / u: two", [0]],
    ["without the text for the first turn", "s: Mao / s: late / u: one", "s: Mao / u: one / u: two", []],
    ["of a window", "s: Mao / u: one / a: 1 / u: two", "s: Mao / s: late / u: two", [1]],
  ];
Deno.test("unseenParts: only new messages of a persona are sent, once", () => {
  for (const [name, first, next, unseen] of PERSONAS) {
    const conversation = newConversation(first);
    const delta = mergeTranscript(conversation, fingerprints(next), at([UNMATCHED, UNMATCHED]));
    assertEquals(unseenParts(conversation, delta).persona, unseen, name);
    markDelivered(conversation, delta, SESSION);
    assertEquals(unseenParts(conversation, delta).persona, [], name);
  }
});

const OTHER = "The reply of the other server.";
const OWN = FINGERPRINTER.reply("The reply of this server.");
/** Requests whose first turn came so far; the newest one is not sent yet. */
const MOVED: readonly (readonly [
  name: string,
  state: DeliveryState,
  request: string,
  sent: readonly string[],
  interrupted?: string,
])[] = [
  ["another server replied to a turn that was cut", "delivered", `u: turn 0 / a: ${OTHER} / u: new`, [
    OTHER,
    "new",
  ]],
  ["and to a later one", "delivered", `u: turn 0 / a: ok / u: two / a: ${OTHER} / u: new`, [
    "ok",
    "two",
    OTHER,
    "new",
  ]],
  ["it replied to a later turn only", "answered", `u: turn 0 / a: ok / u: two / a: ${OTHER} / u: new`, [
    "two",
    OTHER,
    "new",
  ]],
  ["a turn that was cut has no reply", "delivered", "u: turn 0 / u: new", ["new"]],
  ["a skin keeps a mark for it", "delivered", "u: turn 0 / a: [interrupted] / u: new", ["new"]],
  [
    "a skin keeps what this server said of it",
    "delivered",
    `u: turn 0 / a: ${OTHER} / u: new`,
    ["new"],
    "The reply of the other s",
  ],
];
for (const [name, state, request, sent, interrupted] of MOVED) {
  Deno.test(`unseenParts: ${name}`, () => {
    const conversation = withStates(state);
    const said = interrupted && FINGERPRINTER.reply(interrupted);
    conversation.reply = said ? withInterrupted(OWN, said) : OWN;
    const messages = messagesOf(request);
    const transcript = FINGERPRINTER.transcript(messages);
    const positions = transcript.turns.map((_turn, index) => index === 0 ? 0 : UNMATCHED);
    const delta = mergeTranscript(conversation, transcript, at(positions));
    assertEquals(promptMessages(messages, unseenParts(conversation, delta)).map(textOf), sent);
  });
}
