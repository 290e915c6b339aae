/**
 * A program that keeps conversations and says what it kept, to be killed while it does: `FOLDER NAME [COUNT]`. It stops
 * when it cannot keep one.
 *
 * @module
 */

import {
  type ConversationRecord,
  DELIVERY_STATES,
  type Fingerprint,
} from "../../../lib/conversation/record.ts";
import { openStore } from "../../../lib/conversation/store.ts";
import type { SessionId } from "../../../lib/turn/event.ts";
import { Random } from "./random.ts";

const PRINT_SIGNS = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"];
const PRINT_LENGTH = 16;
/** As many as it writes over and over. */
const CONVERSATIONS = 20;

/** Some print. */
export function anyPrint(random: Random): Fingerprint {
  return Array.from({ length: PRINT_LENGTH }, () => random.pick(PRINT_SIGNS)).join("") as Fingerprint;
}

/** Some conversation, of up to so many turns. */
export function anyConversation(
  random: Random,
  more: Partial<ConversationRecord> = {},
  mostTurns = 8,
): ConversationRecord {
  const print = () => anyPrint(random);
  const maybe = <T>(value: T) => random.below(2) === 0 ? undefined : value;
  const some = <T>(most: number, make: () => T) => Array.from({ length: random.below(most + 1) }, make);
  return {
    id: random.text(["conv_", "ü", "😀", "'", " ", "%", "\\", '"', "会"], 12),
    owner: print(),
    agent: random.pick(["default", "claude code", "o'agent"]),
    program: print(),
    isNamed: random.below(2) === 0,
    persona: some(3, print),
    isPersonaOpen: random.below(2) === 0,
    turns: some(mostTurns, () => ({
      words: print(),
      media: random.below(4) === 0 ? print() : "",
      state: random.pick(DELIVERY_STATES),
    })),
    turnsBefore: random.below(1000),
    reply: maybe(random.below(2) === 0 ? print() : print() + print() as Fingerprint),
    sessionId: maybe(random.text(["ses_", "a", "-", "é"], 9) as SessionId),
    createdAt: random.below(2 ** 31) * 1000,
    usedAt: random.below(2 ** 31) * 1000,
    ...more,
  };
}

/** What the writer of this name keeps as its nth. */
export function writtenAs(name: string, nth: number): ConversationRecord {
  const seed = [...name].reduce((sum, sign) => sum * 31 + sign.charCodeAt(0), nth);
  return anyConversation(new Random(seed), {
    id: `${name} ${nth % CONVERSATIONS}`,
    owner: "0123456789abcdef" as Fingerprint,
    agent: "default",
    createdAt: nth % CONVERSATIONS,
    usedAt: nth,
  }, 256);
}

if (import.meta.main) {
  const [folder = "", name = "", count = "Infinity"] = Deno.args;
  const say = (line: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
  let isFailing = false;
  const log = {
    warn(message: string, fields: Readonly<Record<string, unknown>>) {
      console.error(message, fields);
      isFailing = true;
    },
  };
  say("begin");
  using store = await openStore(folder, log);
  say(`key ${store.key.toHex()}`);
  for (let nth = 0; nth < Number(count); nth++) {
    store.save(writtenAs(name, nth));
    if (isFailing) break;
    say(`saved ${nth}`);
  }
}
