import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { ConversationRecord } from "../../lib/conversation/record.ts";
import { MAX_CONVERSATIONS } from "../../lib/conversation/conversation.ts";
import { openStore } from "../../lib/conversation/store.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { Random } from "../support/harness/random.ts";
import { anyConversation } from "../support/harness/store_writer.ts";
import { modeOf, onWindows, Place } from "../support/harness/ticket_fixture.ts";

Deno.test("conversations come back as they were, in the order of use", async () => {
  for (let seed = 0; seed < 30; seed++) {
    using place = new Place();
    const random = new Random(seed);
    const saved = new Map<string, ConversationRecord>();
    using store = await place.open();
    assertEquals(store.load(), []);
    for (let count = 0; count < 40; count++) {
      const one = anyConversation(random, { usedAt: count, ...random.pick([...saved.values(), {}]) });
      const newer = {
        ...anyConversation(random),
        owner: one.owner,
        agent: one.agent,
        id: one.id,
        createdAt: one.createdAt,
        usedAt: count,
      };
      const key = JSON.stringify([one.owner, one.agent, one.id]);
      if (random.below(5) === 0) {
        store.remove(one);
        saved.delete(key);
      } else {
        store.save(newer);
        saved.delete(key);
        saved.set(key, newer);
      }
    }
    assertEquals(store.load(), [...saved.values()]);
    store[Symbol.dispose]();
    assertEquals(await place.loaded(), [...saved.values()]);
    assertEquals(place.warnings, []);
  }
});

Deno.test("the key of the prints is made once", async () => {
  using place = new Place();
  using one = await place.open();
  using two = await place.open();
  assertEquals(one.key.length, 32);
  assertEquals(two.key, one.key);
  one[Symbol.dispose]();
  two[Symbol.dispose]();
  assertEquals((await place.open().then((store) => (store[Symbol.dispose](), store))).key, one.key);
  using other = new Place();
  using elsewhere = await other.open();
  assert(elsewhere.key.toHex() !== one.key.toHex());
});

Deno.test("a text that SQLite would change is not kept, and is taken for no other", async () => {
  using place = new Place();
  using store = await place.open();
  const random = new Random(7);
  const kept = anyConversation(random, { id: "a\ufffd" });
  store.save(kept);
  for (const id of ["a\0", "a\ud800"]) {
    store.save({ ...kept, id });
    store.remove({ ...kept, id });
    store.save({ ...kept, id: "b", sessionId: id as SessionId });
  }
  assertEquals(store.load(), [kept]);
  assertEquals(place.warnings, []);
});

Deno.test("what is forgotten is no longer in the file", async () => {
  using place = new Place();
  const [kept, forgotten] = await place.fill(2);
  const holds = (text: string) =>
    new TextDecoder("latin1").decode(Deno.readFileSync(place.path)).includes(text);
  assert(holds(kept!.program) && holds(forgotten!.program));
  const store = await place.open();
  store.remove(forgotten!);
  store[Symbol.dispose]();
  assert(holds(kept!.program) && !holds(forgotten!.program));
});

Deno.test("beyond the limit the oldest make room when they are loaded", async () => {
  using place = new Place();
  const saved = await place.fill(MAX_CONVERSATIONS + 3);
  assertEquals(await place.loaded(), saved.slice(3));
  place.change(
    "INSERT INTO conversations SELECT owner, agent, id || ' again', program, is_named, persona, is_persona_open, " +
      "turns, turns_before, reply, session_id, created_at, used_at + 5000 " +
      "FROM conversations ORDER BY used_at LIMIT 2",
  );
  const loaded = await place.loaded();
  assertEquals(loaded.slice(0, -2), saved.slice(5));
  assertEquals(place.count(), MAX_CONVERSATIONS);
});

Deno.test("a store that is closed does nothing any more", async () => {
  using place = new Place();
  const [one] = await place.fill(1);
  const store = await place.open();
  store[Symbol.dispose]();
  store[Symbol.dispose]();
  store.remove(one!);
  store.save({ ...one!, id: "another" });
  assertEquals(store.load(), []);
  assertEquals(await place.loaded(), [one!]);
  assertEquals(place.warnings, []);
  assertEquals(place.files(), ["conversations.db"]);
});

Deno.test({
  name: "only its owner can read what a store makes",
  ignore: onWindows,
  async fn() {
    using place = new Place();
    const folder = `${place.folder}/not/there`;
    using store = await openStore(folder, { warn() {} });
    store.save(anyConversation(new Random(1)));
    assertEquals([modeOf(`${place.folder}/not`), modeOf(folder)], ["700", "700"]);
    for (const suffix of ["", "-wal", "-shm"]) {
      assertEquals(modeOf(`${folder}/conversations.db${suffix}`), "600");
    }
  },
});

Deno.test({
  name: "a file that others can read is closed to them, and so are those beside it; the folder is left alone",
  ignore: onWindows,
  async fn() {
    using place = new Place();
    await place.fill(1);
    Deno.chmodSync(place.folder, 0o755);
    Deno.chmodSync(place.path, 0o644);
    Deno.writeFileSync(`${place.path}-wal`, new Uint8Array(), { mode: 0o644 });
    using _store = await place.open();
    assertEquals([modeOf(place.folder), modeOf(place.path), modeOf(`${place.path}-wal`)], [
      "755",
      "600",
      "600",
    ]);
  },
});

Deno.test("where nothing can be kept the setting is named", async () => {
  using place = new Place();
  Deno.mkdirSync(place.path);
  await assertRejects(() => place.open(), Error, "VTUBER_DATA_DIR: ");
  Deno.removeSync(place.path);
  await place.fill(1);
  await assertRejects(() => openStore(place.path, { warn() {} }), Error, "VTUBER_DATA_DIR: ");
  assertEquals([place.files(), place.warnings], [["conversations.db"], []]);
});

Deno.test("that nothing can be written is said once, until something can be", async () => {
  using place = new Place();
  const [one] = await place.fill(1);
  using store = await place.open();
  using another = place.raw();
  for (const count of [1, 2]) {
    another.exec("BEGIN EXCLUSIVE");
    for (const id of ["lost", "lost as well"]) store.save({ ...one!, id });
    for (let again = 0; again < 2; again++) assertEquals(store.remove(one!), false);
    assertEquals(store.load(), [{ ...one!, usedAt: count - 1 }]);
    assertEquals(place.warnings.length, 2 * count);
    assertStringIncludes(place.warnings[2 * count - 2]!, "conversations cannot be written");
    assertStringIncludes(place.warnings[2 * count - 1]!, "a conversation cannot be removed");
    another.exec("ROLLBACK");
    store.save({ ...one!, usedAt: count });
  }
  assertEquals([place.warnings.length, store.remove(one!)], [4, true]);
});

Deno.test("removing what was never kept is no sign that something can be written", async () => {
  using place = new Place();
  const [one] = await place.fill(1);
  using store = await place.open();
  place.change("CREATE TRIGGER full BEFORE INSERT ON conversations BEGIN SELECT RAISE(FAIL, 'full'); END");
  for (const id of ["lost", "lost as well"]) {
    store.save({ ...one!, id });
    store.remove({ ...one!, id });
    assertEquals(store.load(), [one!]);
  }
  assertEquals(place.warnings.length, 1);
});

Deno.test("opening waits for another program that writes", async () => {
  using place = new Place();
  const saved = await place.fill(2);
  using another = place.raw();
  another.exec("BEGIN EXCLUSIVE");
  // Only fires while the opening waits and does not stand still.
  setTimeout(() => another.exec("ROLLBACK"));
  assertEquals(await place.loaded(), saved);
  assertEquals(place.warnings, []);
});
