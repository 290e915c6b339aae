import { assertEquals } from "@std/assert";
import { NEW } from "../../lib/conversation/align.ts";
import { type Known, MAX_KNOWN, Memory } from "../../lib/conversation/known.ts";
import { MemoryStore } from "../fakes/memory_store.ts";
import { PRINTER, talk } from "./prints.ts";

const ORIGIN = { owner: PRINTER.print("owner", ""), agent: "openab", program: PRINTER.print("program", "") };
const nobody = () => false;

/** A memory that remembers these, the oldest first, and is full with others that went on for some turns. */
class Full {
  readonly store = new MemoryStore();
  readonly memory = new Memory(this.store);
  readonly #before: readonly string[];

  constructor(...before: readonly (readonly [id: string, turns: number, isNamed?: boolean])[]) {
    for (const each of before) this.add(...each);
    while (this.memory.all.size < MAX_KNOWN) this.add(`talk ${this.memory.all.size}`, 2);
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
  add(id: string, turns: number, isNamed = false, isBusy: (known: Known) => boolean = nobody): void {
    const lines = Array.from({ length: turns }, (_, turn) => `u: turn ${turn}`);
    const transcript = PRINTER.transcript(talk(...lines));
    const known = this.memory.begin({ ...ORIGIN, id, isNamed }, transcript, 0);
    known.bring(transcript, { places: transcript.turns.map(() => NEW), isAgain: false });
    this.memory.use(known, 0, isBusy);
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
    assertEquals(full.memory.all.size, MAX_KNOWN);
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
  const isBusy = ({ id }: Known) => id === "busy";
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
  for (let text = 0; text < 2 * MAX_KNOWN; text++) full.add(`text ${text}`, 1);
  assertEquals(full.forgotten, ["long ago", "talk 1"]);
});
