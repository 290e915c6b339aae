import { assert, assertEquals } from "@std/assert";
import { MAX_CONVERSATIONS } from "../../lib/conversation/conversation.ts";
import { match } from "../../lib/conversation/match.ts";
import type { ConversationRecord, TurnRecord } from "../../lib/conversation/record.ts";
import { MAX_TURNS } from "../../lib/conversation/fingerprint.ts";
import {
  FINGERPRINTER,
  longReply,
  messagesOf,
  type TranscriptLine,
} from "../support/harness/fingerprint_fixture.ts";

const OWNER = FINGERPRINTER.fingerprint("owner", "");
/** How often each turn of each conversation is looked at, at most: to look at it from every beginning takes a hundred. */
const MAX_LOOKS = { answered: 8, delivered: 24 };

/** A turn that is the same everywhere, and counts how often its words are looked at. */
class CountedTurn implements TurnRecord {
  readonly media = "";
  readonly state: "answered" | "delivered";
  readonly #words = FINGERPRINTER.transcript(messagesOf("u: go on")).turns[0]!.words;
  looks = 0;

  constructor(state: "answered" | "delivered") {
    this.state = state;
  }

  get words(): TurnRecord["words"] {
    this.looks++;
    return this.#words;
  }
}

/** As many conversations as there can be, of nothing but this turn. */
function conversationsOf(turn: TurnRecord, answer: string): ConversationRecord[] {
  return Array.from({ length: MAX_CONVERSATIONS }, (_, usedAt) => ({
    id: `${usedAt}`,
    owner: OWNER,
    agent: "openab",
    program: FINGERPRINTER.fingerprint("program", ""),
    isNamed: false,
    persona: [],
    isPersonaOpen: false,
    turns: Array.from({ length: MAX_TURNS - 1 }, () => turn),
    turnsBefore: 0,
    reply: FINGERPRINTER.reply(answer),
    sessionId: undefined,
    createdAt: usedAt,
    usedAt,
  }));
}

/** Requests that say the same again and again, and at last this. */
const REQUESTS: readonly [name: string, turns: number, last: TranscriptLine][] = [
  ["a short one that says something new", 3, "u: And now?"],
  ["a short one that says the same", 3, "u: go on"],
  ["a long one that says something new", MAX_TURNS, "u: And now?"],
  ["a long one that says the same", MAX_TURNS, "u: go on"],
];

for (const [name, turns, last] of REQUESTS) {
  Deno.test(`match: where all questions are alike ${name} costs no more than a few looks at each`, () => {
    for (
      const [state, answer] of [["answered", "ok"], ["answered", longReply(1)], ["delivered", "ok"]] as const
    ) {
      const turn = new CountedTurn(state);
      const known = conversationsOf(turn, answer);
      const before = Array.from({ length: turns - 1 }, () => ["u: go on", `a: ${answer}`]).flat();
      const transcript = FINGERPRINTER.transcript(messagesOf(...before, last));
      turn.looks = 0;
      const { type } = match({ ...transcript, owner: OWNER, agent: "openab" }, known);
      assertEquals(type, state === "answered" ? "fork" : "new");
      const looks = turn.looks / (known.length * known[0]!.turns.length);
      assert(looks <= MAX_LOOKS[state], `${looks} looks at each turn, with ${answer}`);
    }
  });
}
