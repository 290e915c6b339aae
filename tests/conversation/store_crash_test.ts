import { assert, assertEquals } from "@std/assert";
import type { ConversationRecord } from "../../lib/conversation/record.ts";
import { Random } from "../support/harness/random.ts";
import { lastSaved, StoreFixture, writeUntilKilled } from "../support/harness/store_fixture.ts";
import { CONVERSATIONS, writtenRecord } from "../support/harness/store_writer.ts";

/** Checks that each conversation is stored as it was saved last, or newer. */
function assertSaved(records: readonly ConversationRecord[], name: string, last: number): void {
  const byId = new Map(records.map((record) => [record.id, record]));
  for (let nth = Math.max(0, last - CONVERSATIONS + 1); nth <= last; nth++) {
    const { id } = writtenRecord(name, nth);
    const usedAt = byId.get(id)?.usedAt ?? -1;
    assert(usedAt >= nth, `${name} ${nth} is lost`);
    assertEquals(byId.get(id), writtenRecord(name, usedAt));
  }
}

Deno.test("store: whenever the program is killed, its lock is free and all that it saved is there", async () => {
  using fixture = new StoreFixture();
  const random = new Random(20);
  const rounds: [name: string, last: number][] = [];
  let firstKey: string | undefined;
  for (let round = 0; round < 8; round++) {
    // Some writers are killed while they open the store, after the first line.
    const lines = round % 4 === 0 ? 1 : 2 + random.below(1500);
    const printed = await writeUntilKilled("store_writer.ts", fixture.folder, `${round}`, lines);
    const key = printed.find((line) => line.startsWith("key "))?.slice(4);
    const last = lastSaved(printed);
    rounds.push([`${round}`, last]);
    using store = await fixture.open();
    firstKey ??= store.key.toHex();
    assertEquals([store.key.toHex(), key ?? firstKey], [firstKey, firstKey]);
    const records = store.load();
    for (const [name, last] of rounds) assertSaved(records, name, last);
  }
  assert(rounds.some(([, last]) => last > 0));
  assertEquals(fixture.warnings, []);
});
