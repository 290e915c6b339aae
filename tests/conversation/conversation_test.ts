import { assertEquals } from "@std/assert";
import { type Continuation, SKIPPED, UNMATCHED } from "../../lib/conversation/align.ts";
import { Conversation } from "../../lib/conversation/conversation.ts";
import { MAX_TURNS } from "../../lib/conversation/fingerprint.ts";
import type { ConversationRecord, DeliveryState } from "../../lib/conversation/record.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import {
  FINGERPRINTER,
  messagesOf,
  newConversation,
  type TranscriptLine,
} from "../support/harness/fingerprint_fixture.ts";
import { image, user } from "../support/harness/message_fixture.ts";

const SESSION = "session" as SessionId;
const [PROGRAM, OTHER_PROGRAM] = ["", "b"].map((program) => FINGERPRINTER.fingerprint("program", program));
const fingerprints = (...lines: TranscriptLine[]) => FINGERPRINTER.transcript(messagesOf(...lines));
const at = (positions: readonly number[], isRetry = false): Continuation => ({ positions, isRetry });
const statesOf = ({ turns }: Conversation) => turns.map(({ state }) => state);

/** A conversation whose turns came so far. */
function withStates(...states: DeliveryState[]): Conversation {
  const conversation = newConversation();
  conversation.turns.push(...states.map((state, turn) => {
    const { words, media } = fingerprints(`u: turn ${turn}`).turns[0]!;
    return { words, media, state };
  }));
  return conversation;
}

Deno.test("Conversation: a new one has the persona and no turns", () => {
  const { persona, isPersonaOpen, turns, reply, sessionId } = newConversation("s: Mao / u: hi");
  assertEquals([persona, isPersonaOpen], [[FINGERPRINTER.fingerprint("system", "Mao")], true]);
  assertEquals([turns, reply, sessionId], [[], undefined, undefined]);
});

Deno.test("Conversation: the reply before the first turn is a greeting, a later one is the last reply", () => {
  assertEquals(newConversation("a: Welcome! / u: hi").reply, undefined);
  assertEquals(newConversation("u: hi / a: Hello! / u: so").reply, FINGERPRINTER.reply("Hello!"));
});

Deno.test("Conversation: a turn is pending, then delivered, then answered", () => {
  const conversation = newConversation();
  const delta = conversation.merge(fingerprints("u: one"), at([UNMATCHED]));
  assertEquals([statesOf(conversation), conversation.pendingTurns(delta)], [["pending"], [0]]);
  conversation.markDelivered(delta, SESSION, OTHER_PROGRAM!);
  assertEquals(statesOf(conversation), ["delivered"]);
  assertEquals([conversation.sessionId, conversation.program], [SESSION, OTHER_PROGRAM]);
  conversation.setLastState(delta, "answered");
  assertEquals(statesOf(conversation), ["answered"]);
});

Deno.test("Conversation: the answered turns of a delivered history are answered", () => {
  const conversation = newConversation();
  const delta = conversation.merge(
    fingerprints("s: Mao / u: one / a: 1 / u: two / u: three / a: 3 / u: four / a: Well,"),
    at([UNMATCHED, UNMATCHED, UNMATCHED, UNMATCHED]),
  );
  assertEquals(conversation.pendingTurns(delta), [1, 3, 4, 6]);
  conversation.markDelivered(delta, SESSION, PROGRAM!);
  assertEquals(statesOf(conversation), ["answered", "delivered", "answered", "delivered"]);
});

const MERGES: readonly {
  readonly name: string;
  readonly before: readonly DeliveryState[];
  readonly request: string;
  readonly alignment: Continuation;
  readonly states: readonly DeliveryState[];
  readonly pending: readonly number[];
}[] = [
  {
    name: "matched turns keep their state, skipped ones are left out",
    before: ["answered", "delivered", "answered"],
    request: "u: x / u: turn 0 / u: turn 2 / u: new",
    alignment: at([SKIPPED, 0, 2, UNMATCHED]),
    states: ["answered", "delivered", "answered", "pending"],
    pending: [3],
  },
  {
    name: "a pending turn is sent with the next one",
    before: ["answered", "pending"],
    request: "u: turn 0 / a: 0 / u: turn 1 / u: new",
    alignment: at([0, 1, UNMATCHED]),
    states: ["answered", "pending", "pending"],
    pending: [2, 3],
  },
  {
    name: "a pending turn that the client dropped is not sent",
    before: ["answered", "pending"],
    request: "u: turn 0 / a: 0 / u: new",
    alignment: at([0, UNMATCHED]),
    states: ["answered", "pending", "pending"],
    pending: [2],
  },
  {
    name: "an answered turn that the client leaves out is no longer required",
    before: ["answered", "answered"],
    request: "u: turn 1 / a: 1 / u: new",
    alignment: { ...at([1, UNMATCHED]), omitted: [0] },
    states: ["delivered", "answered", "pending"],
    pending: [2],
  },
  {
    name: "at least the last turn is sent",
    before: ["answered", "delivered"],
    request: "u: turn 0 / a: 0 / u: turn 1 / a: 1",
    alignment: at([0, 1]),
    states: ["answered", "delivered"],
    pending: [2],
  },
];
for (const { name, before, request, alignment, states, pending } of MERGES) {
  Deno.test(`Conversation, merge: ${name}`, () => {
    const conversation = withStates(...before);
    const delta = conversation.merge(fingerprints(request), alignment);
    assertEquals([statesOf(conversation), conversation.pendingTurns(delta)], [[...states], [...pending]]);
  });
}

Deno.test("Conversation: a request without turns sends none", () => {
  const conversation = withStates("answered");
  assertEquals(conversation.pendingTurns(conversation.merge(fingerprints("s: Mao"), at([]))), []);
});

for (const state of ["pending", "delivered", "answered"] as const) {
  Deno.test(`Conversation: a ${state} turn that is sent again is open until it is answered`, () => {
    const conversation = withStates("answered", state);
    const delta = conversation.merge(fingerprints("u: turn 0 / a: 0 / u: turn 1"), at([0, 1], true));
    assertEquals([conversation.turns.length, conversation.pendingTurns(delta)], [2, [2]]);
    conversation.markDelivered(delta, SESSION, PROGRAM!);
    assertEquals(statesOf(conversation), ["answered", "delivered"]);
    conversation.setLastState(delta, "answered");
    assertEquals(statesOf(conversation), ["answered", "answered"]);
  });
}

Deno.test("Conversation: a turn that is sent again with an image keeps the image", () => {
  const conversation = withStates("answered");
  const withImage = fingerprints(user("turn 0", image()));
  for (const request of [withImage, fingerprints("u: turn 0")]) {
    conversation.merge(request, at([0], true));
    assertEquals(conversation.turns[0]!.media, withImage.turns[0]!.media);
  }
});

Deno.test("Conversation: a delivery to an agent that exited can be undone", () => {
  const conversation = newConversation("s: Mao / u: turn 0");
  const first = conversation.merge(fingerprints("s: Mao / u: turn 0"), at([UNMATCHED]));
  conversation.markDelivered(first, SESSION, PROGRAM!);
  const request = fingerprints("s: Kai / u: turn 0 / u: turn 1 / a: 1 / u: turn 2");
  const delta = conversation.merge(request, at([0, UNMATCHED, UNMATCHED]));
  const before = structuredClone({ ...conversation });
  const undo = conversation.markDelivered(delta, "other" as SessionId, OTHER_PROGRAM!);
  assertEquals(statesOf(conversation), ["delivered", "answered", "delivered"]);
  conversation.setLastState(delta, "delivered");
  undo();
  assertEquals({ ...conversation }, before);
  assertEquals(statesOf(conversation), ["delivered", "pending", "pending"]);
});

Deno.test("Conversation: a new session does not have the turns that another client sent to the old one", () => {
  for (const [session, first] of [[SESSION, "answered"], ["other", "pending"]] as const) {
    const conversation = withStates("answered", "delivered");
    conversation.sessionId = SESSION;
    const delta = conversation.merge(fingerprints("u: turn 1 / u: new"), at([1, UNMATCHED]));
    conversation.markDelivered(delta, session as SessionId, PROGRAM!);
    assertEquals(statesOf(conversation), [first, "delivered", "delivered"]);
  }
});

const PERSONAS: readonly (readonly [name: string, first: string, next: string, hasChanged: boolean])[] = [
  ["the same", "s: Mao / u: one", "s: Mao / u: one / u: two", false],
  ["another", "s: Mao / u: one", "s: Kai / u: one / u: two", true],
  ["one message longer", "s: Mao / u: one", "s: Mao / s: kind / u: one / u: two", true],
  ["gone", "s: Mao / u: one", "u: one / u: two", false],
  ["new", "u: one", "s: Mao / u: one / u: two", true],
  ["without the text for the first turn", "s: Mao / s: late / u: one", "s: Mao / u: one / u: two", false],
  ["of a window", "s: Mao / u: one / a: 1 / u: two", "s: Mao / s: late / u: two", true],
];
for (const [name, first, next, hasChanged] of PERSONAS) {
  Deno.test(`Conversation: a persona that is ${name} is ${hasChanged ? "sent" : "not sent"}`, () => {
    const conversation = newConversation(first);
    const delta = conversation.merge(fingerprints(next), at([0, UNMATCHED]));
    assertEquals(conversation.personaChanged(delta), hasChanged);
    const before = conversation.persona;
    conversation.markDelivered(delta, SESSION, PROGRAM!);
    assertEquals(conversation.persona, delta.persona.length > 0 ? delta.persona : before);
    assertEquals(conversation.personaChanged(delta), false);
  });
}

Deno.test("Conversation: turns beyond the limit are dropped and counted, and still sent", () => {
  const conversation = withStates(...Array.from({ length: MAX_TURNS }, () => "answered" as const));
  const lines = ["u: turn 0", "u: new 0", "u: new 1", "u: new 2"];
  const delta = conversation.merge(fingerprints(...lines), at([0, UNMATCHED, UNMATCHED, UNMATCHED]));
  assertEquals([conversation.turns.length, conversation.turnsBefore], [MAX_TURNS, 3]);
  assertEquals(conversation.turns[0]!.words, fingerprints("u: turn 3").turns[0]!.words);
  assertEquals(delta.turns.map(({ turn }) => turn.state), ["answered", "pending", "pending", "pending"]);
  assertEquals(conversation.pendingTurns(delta), [1, 2, 3]);
});

Deno.test("Conversation: changes do not reach the record that it was made of", () => {
  const record: ConversationRecord = { ...withStates("answered") };
  const conversation = new Conversation(record);
  assertEquals({ ...conversation }, { ...record });
  conversation.merge(fingerprints("u: turn 0 / u: two"), at([0, UNMATCHED]));
  conversation.turns[0]!.state = "delivered";
  assertEquals(record.turns.map(({ state }) => state), ["answered"]);
});
