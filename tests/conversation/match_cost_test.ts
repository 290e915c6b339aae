import { assert } from "@std/assert";
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
/** Comparisons of each turn of each conversation at most; trying every start would take a hundred. */
const MAX_COMPARISONS = { answered: 8, delivered: 24 };

/** A turn that counts how often its words are compared. */
class CountedTurn implements TurnRecord {
  readonly media = "";
  readonly state: "answered" | "delivered";
  readonly #words = FINGERPRINTER.transcript(messagesOf("u: go on")).turns[0]!.words;
  comparisons = 0;

  constructor(state: "answered" | "delivered") {
    this.state = state;
  }

  get words(): TurnRecord["words"] {
    this.comparisons++;
    return this.#words;
  }
}

/** Makes the largest number of conversations, which consist of this turn only. */
function conversationsOf(turn: TurnRecord, reply: string): ConversationRecord[] {
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
    reply: FINGERPRINTER.reply(reply),
    sessionId: undefined,
    createdAt: usedAt,
    usedAt,
  }));
}

/** Requests of equal turns and this last one. */
const REQUESTS: readonly [name: string, turns: number, last: TranscriptLine][] = [
  ["a short request with a new turn", 3, "u: And now?"],
  ["a short request with an equal turn", 3, "u: go on"],
  ["a long request with a new turn", MAX_TURNS, "u: And now?"],
  ["a long request with an equal turn", MAX_TURNS, "u: go on"],
];

for (const [name, turns, last] of REQUESTS) {
  Deno.test(`match: ${name} compares each of many equal turns a few times only`, () => {
    for (
      const [state, reply] of [["answered", "ok"], ["answered", longReply(1)], ["delivered", "ok"]] as const
    ) {
      const turn = new CountedTurn(state);
      const conversation = conversationsOf(turn, reply);
      const before = Array.from({ length: turns - 1 }, () => ["u: go on", `a: ${reply}`]).flat();
      const transcript = FINGERPRINTER.transcript(messagesOf(...before, last));
      turn.comparisons = 0;
      match({ ...transcript, owner: OWNER, agent: "openab" }, conversation);
      const comparisons = turn.comparisons / (conversation.length * conversation[0]!.turns.length);
      assert(comparisons <= MAX_COMPARISONS[state], `${comparisons} comparisons at each turn, with ${reply}`);
    }
  });
}
