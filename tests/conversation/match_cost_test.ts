import { assert } from "@std/assert";
import { ConversationIndex, MAX_CONVERSATIONS } from "../../lib/conversation/conversation.ts";
import { MAX_TURNS } from "../../lib/conversation/fingerprint.ts";
import { match } from "../../lib/conversation/match.ts";
import {
  FINGERPRINTER,
  longReply,
  messagesOf,
  newConversation,
} from "../support/harness/fingerprint_fixture.ts";

/** Comparisons of each turn of each conversation at most; trying every start would take a hundred. */
const MAX_COMPARISONS = { answered: 8, delivered: 24 };
const { owner, agent } = newConversation();
const { words } = FINGERPRINTER.transcript(messagesOf("u: go on")).turns[0]!;

for (const last of ["And now?", "go on"]) {
  for (const turns of [3, MAX_TURNS]) {
    Deno.test(`match: ${turns} turns that end with "${last}" compare each of many equal turns a few times only`, () => {
      for (
        const [state, reply] of [["answered", "ok"], ["answered", longReply(1)], ["delivered", "ok"]] as const
      ) {
        let comparisons = 0;
        const turn = {
          media: "" as const,
          state,
          get words() {
            comparisons++;
            return words;
          },
        };
        const index = new ConversationIndex(undefined);
        for (let id = 0; id < MAX_CONVERSATIONS; id++) {
          const conversation = newConversation("", index, `${id}`);
          conversation.turns.push(...Array.from({ length: MAX_TURNS - 1 }, () => turn));
          conversation.reply = FINGERPRINTER.reply(reply);
        }
        const before = Array.from({ length: turns - 1 }, () => `u: go on / a: ${reply}`);
        const transcript = FINGERPRINTER.transcript(messagesOf(...before, `u: ${last}`));
        match({ ...transcript, owner, agent }, index.all);
        const average = comparisons / (MAX_CONVERSATIONS * (MAX_TURNS - 1));
        assert(average <= MAX_COMPARISONS[state], `${average} comparisons at each turn, with ${reply}`);
      }
    });
  }
}
