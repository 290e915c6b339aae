import { assertEquals } from "@std/assert";
import { UNMATCHED } from "../../lib/conversation/align.ts";
import {
  type Conversation,
  ConversationIndex,
  MAX_CONVERSATIONS,
} from "../../lib/conversation/conversation.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { PRINTER, talk } from "../support/harness/fingerprint_fixture.ts";

const ORIGIN = {
  owner: PRINTER.fingerprint("owner", ""),
  agent: "openab",
  program: PRINTER.fingerprint("program", ""),
};
const nobody = () => false;

/** A memory that remembers these, the oldest first, and is full with others that went on for some turns. */
class Full {
  readonly store = new MemoryStore();
  readonly memory = new ConversationIndex(this.store);
  readonly #before: readonly string[];

  constructor(...before: readonly (readonly [id: string, turns: number, isNamed?: boolean])[]) {
    for (const each of before) this.add(...each);
    while (this.memory.all.size < MAX_CONVERSATIONS) this.add(`talk ${this.memory.all.size}`, 2);
    this.#before = this.ids;
  }

  get ids(): string[] {
    return [...this.memory.all].map(({ id }) => id);
  }

  /** Those that made room, in no order. */
  get forgotten(): string[] {
    const kept = [...this.store.kept.values()].map(({ id }) => id);
    assertEquals(kept.toSorted(), this.ids.toSorted(), "what is stored is what is remembered");
    return this.#before.filter((id) => !this.ids.includes(id));
  }

  /** Uses one more. */
  add(id: string, turns: number, isNamed = false, isBusy: (known: Conversation) => boolean = nobody): void {
    const lines = Array.from({ length: turns }, (_, turn) => `u: turn ${turn}`);
    const transcript = PRINTER.transcript(talk(...lines));
    const known = this.memory.create({ ...ORIGIN, id, isNamed }, transcript, 0);
    known.merge(transcript, { positions: transcript.turns.map(() => UNMATCHED), isRetry: false });
    this.memory.touch(known, 0, isBusy);
    this.memory.save(known);
  }
}

Deno.test("memory: beyond the limit those of one question make room before those that went on, the oldest first", () => {
  const full = new Full(["went on", 2], ["asked once", 1], ["went on too", 3], ["asked once too", 1]);
  for (
    const forgotten of [
      ["asked once"],
      ["asked once", "asked once too"],
      ["went on", "asked once", "asked once too"],
      ["went on", "asked once", "went on too", "asked once too"],
    ]
  ) {
    full.add(`more ${forgotten.length}`, 2);
    assertEquals(full.forgotten, forgotten);
    assertEquals(full.memory.all.size, MAX_CONVERSATIONS);
  }
});

Deno.test("memory: one of one question that has a name stays as long as those that went on", () => {
  const full = new Full(["went on", 2], ["named", 1, true], ["asked once", 1]);
  for (const forgotten of [["asked once"], ["went on", "asked once"], ["went on", "named", "asked once"]]) {
    full.add(`more ${forgotten.length}`, 2);
    assertEquals(full.forgotten, forgotten);
  }
});

Deno.test("memory: one of one question that is busy stays, and so does the one that is used now", () => {
  const full = new Full(["went on", 2], ["busy", 1], ["asked once", 1]);
  const isBusy = ({ id }: Conversation) => id === "busy";
  full.add("new", 1, false, isBusy);
  assertEquals(full.forgotten, ["asked once"]);
  full.add("newer", 1, false, isBusy);
  assertEquals([full.forgotten, full.ids.includes("new")], [["asked once"], false]);
  full.add("long", 2, false, isBusy);
  assertEquals([full.forgotten, full.ids.includes("newer")], [["asked once"], false]);
  full.add("last", 1, false, isBusy);
  assertEquals([full.forgotten, full.ids.includes("last")], [["went on", "asked once"], true]);
});

Deno.test("memory: a translator that asks without end costs nobody a conversation", () => {
  const full = new Full(["long ago", 2]);
  full.add("first", 2);
  assertEquals(full.forgotten, ["long ago"]);
  for (let text = 0; text < 2 * MAX_CONVERSATIONS; text++) full.add(`text ${text}`, 1);
  assertEquals(full.forgotten, ["long ago", "talk 1"]);
});
