import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { openDatabase } from "../../lib/conversation/sqlite.ts";
import type { ConversationRecord } from "../../lib/conversation/record.ts";
import { Random } from "../support/harness/random.ts";
import { anyConversation, anyPrint } from "../support/harness/store_writer.ts";
import { Place } from "../support/harness/ticket_fixture.ts";

/** Two programs that have the same folder, each of which knows a conversation that is kept there. */
async function twoWith(place: Place) {
  const [kept] = await place.fill(1);
  const [one, two] = [await place.open(), await place.open()];
  assertEquals([one.load(), two.load()], [[kept!], [kept!]]);
  return { kept: kept!, one, two };
}

const later = (conversation: ConversationRecord, usedAt: number) => ({ ...conversation, usedAt });

Deno.test("what one program forgot another that knows it does not write back, and may begin one of its name", async () => {
  using place = new Place();
  const { kept, one, two } = await twoWith(place);
  using _one = one, _two = two;
  assertEquals([two.save(later(kept, 1)), one.remove(kept)], [true, true]);
  assertEquals([two.save(later(kept, 2)), one.load()], [false, []]);
  assertEquals([two.save(later(kept, 3)), one.load()], [true, [later(kept, 3)]]);
  assertEquals(place.warnings, []);
});

Deno.test("what a program wrote itself is not written back either, once another forgot it", async () => {
  using place = new Place();
  using one = await place.open();
  using two = await place.open();
  const written = anyConversation(new Random(1));
  assertEquals([two.save(written), two.save(later(written, 1))], [true, true]);
  one.remove(written);
  assertEquals([two.save(written), place.count()], [false, 0]);
});

Deno.test("one that was begun anew under the name of a forgotten one is not overwritten with it", async () => {
  using place = new Place();
  const { kept, one, two } = await twoWith(place);
  using _one = one, _two = two;
  one.remove(kept);
  const anew = { ...anyConversation(new Random(9)), owner: kept.owner, agent: kept.agent, id: kept.id };
  assertNotEquals(anew.createdAt, kept.createdAt);
  assertEquals([one.save(anew), two.save(kept), one.load()], [true, false, [anew]]);
});

Deno.test("two programs that begin one of the same name share it, and either forgets it for both", async () => {
  using place = new Place();
  using one = await place.open();
  using two = await place.open();
  const begun = anyConversation(new Random(1), { createdAt: 1, usedAt: 1 });
  const other = { ...begun, createdAt: 2, usedAt: 2 };
  assertEquals([one.save(begun), two.save(other)], [true, true]);
  assertEquals(await place.loaded(), [{ ...other, createdAt: 1 }]);
  assertEquals([one.save(later(begun, 3)), two.save(later(other, 4))], [true, true]);
  assertEquals(await place.loaded(), [{ ...later(other, 4), createdAt: 1 }]);
  two.remove(other);
  assertEquals([one.save(begun), place.count()], [false, 0]);
});

Deno.test("all of an owner are removed, also those that another program wrote since, and nobody else's", async () => {
  using place = new Place();
  using one = await place.open();
  using two = await place.open();
  const random = new Random(1);
  const owner = anyPrint(random);
  const [hers, hersElsewhere] = [1, 2].map((usedAt) => anyConversation(random, { owner, usedAt }));
  const others = anyConversation(random);
  one.save(hers!);
  two.save(hersElsewhere!);
  two.save(others);
  assertEquals([one.removeAll(owner), two.load()], [true, [others]]);
  assertEquals([one.save(hers!), two.save(hersElsewhere!), two.save(others)], [false, false, true]);
  assertEquals([one.removeAll(owner), place.warnings], [true, []]);
});

Deno.test("who writes waits for another program that does, for a time that nobody minds", async () => {
  using place = new Place();
  const timeoutMs = await openDatabase(place.folder, { warn() {} }, (database) => {
    const timeout = database.prepare("PRAGMA busy_timeout").get()?.timeout;
    database.close();
    return Number(timeout);
  });
  assert(timeoutMs >= 100 && timeoutMs <= 1_000, `${timeoutMs} ms`);
});

Deno.test("what cannot be written now is not taken for forgotten", async () => {
  using place = new Place();
  const { kept, one, two } = await twoWith(place);
  using _one = one;
  {
    using another = place.raw();
    another.exec("BEGIN EXCLUSIVE");
    assertEquals([two.save(later(kept, 1)), two.removeAll(kept.owner)], [true, false]);
    another.exec("ROLLBACK");
  }
  assertEquals([two.save(later(kept, 2)), one.load()], [true, [later(kept, 2)]]);
  two[Symbol.dispose]();
  assertEquals([two.save(later(kept, 3)), two.removeAll(kept.owner)], [true, false]);
});
