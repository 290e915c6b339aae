/**
 * A program that saves conversations in a folder, `FOLDER NAME`, and prints what it saved, to be killed while it does.
 * Stops when a conversation cannot be saved.
 *
 * @module
 */

import type { ConversationRecord, Fingerprint } from "../../../lib/conversation/record.ts";
import { openStore } from "../../../lib/conversation/store.ts";
import { Random } from "./random.ts";
import { randomRecord } from "./store_fixture.ts";
import { runWriter } from "./writer.ts";

/** Conversations that the program overwrites in turn. */
export const CONVERSATIONS = 20;

/** Makes the nth record of the writer of this name. */
export function writtenRecord(name: string, nth: number): ConversationRecord {
  const seed = [...name].reduce((sum, char) => sum * 31 + char.charCodeAt(0), nth);
  return randomRecord(new Random(seed), {
    id: `${name} ${nth % CONVERSATIONS}`,
    owner: "0123456789abcdef" as Fingerprint,
    agent: "default",
    createdAt: nth % CONVERSATIONS,
    usedAt: nth,
  }, 256);
}

if (import.meta.main) {
  const [folder = "", name = ""] = Deno.args;
  await runWriter(async (log, print) => {
    print("start");
    const store = await openStore(folder, log);
    print(`key ${store.key.toHex()}`);
    return (nth) => Promise.resolve(store.save(writtenRecord(name, nth)));
  });
}
