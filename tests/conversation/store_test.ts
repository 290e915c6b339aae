import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { ConversationRecord } from "../../lib/conversation/record.ts";
import { FileInUseError } from "../../lib/conversation/sqlite.ts";
import { openStore } from "../../lib/conversation/store.ts";
import { Random } from "../support/harness/random.ts";
import { modeOf, onWindows, randomRecord, StoreFixture } from "../support/harness/store_fixture.ts";

Deno.test("store: conversations come back unchanged, in the order of use", async () => {
  for (let seed = 0; seed < 30; seed++) {
    using fixture = new StoreFixture();
    const random = new Random(seed);
    const saved = new Map<string, ConversationRecord>();
    using store = await fixture.open();
    assertEquals(store.load(), []);
    for (let usedAt = 0; usedAt < 40; usedAt++) {
      const record = random.pick([...saved.values(), randomRecord(random)]);
      const { owner, agent, id } = record;
      Object.assign(record, { ...randomRecord(random), owner, agent, id, usedAt });
      const key = JSON.stringify([owner, agent, id]);
      saved.delete(key);
      if (random.below(5) === 0) store.remove(record);
      else {
        if (random.below(2) === 0) await store.save(record);
        else store.saveSoon(record);
        saved.set(key, record);
      }
    }
    await Promise.all([...saved.values()].map((record) => store.save(record)));
    assertEquals(store.load(), [...saved.values()]);
    store[Symbol.dispose]();
    assertEquals(await fixture.load(), [...saved.values()]);
    assertEquals(fixture.warnings, []);
  }
});

Deno.test("store: saveSoon writes within 50 ms, as the conversation is then", async () => {
  using fixture = new StoreFixture();
  using store = await fixture.open();
  const record = { ...randomRecord(new Random(1)) };
  store.saveSoon(record);
  assertEquals(store.load(), []);
  const changed = { ...record, usedAt: 7 };
  Object.assign(record, changed);
  while (store.load().length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(store.load(), [changed]);
});

Deno.test("store: save and close write what saveSoon has not written, but for removed conversations", async () => {
  using fixture = new StoreFixture();
  const random = new Random(1);
  const [soon, removed, now, last] = [1, 2, 3, 4].map((usedAt) => randomRecord(random, { usedAt }));
  {
    using store = await fixture.open();
    store.saveSoon(soon!);
    store.saveSoon(removed!);
    assertEquals(store.remove(removed!), true);
    await store.save(now!);
    assertEquals(store.load(), [soon!, now!]);
    store.saveSoon(last!);
  }
  assertEquals(await fixture.load(), [soon!, now!, last!]);
});

Deno.test("store: the key of the fingerprints is made once", async () => {
  const keyOf = async (fixture: StoreFixture) => {
    using store = await fixture.open();
    return store.key.toHex();
  };
  using one = new StoreFixture();
  using other = new StoreFixture();
  const key = await keyOf(one);
  assertEquals([key.length, await keyOf(one)], [64, key]);
  assert(await keyOf(other) !== key);
});

Deno.test("store: a second program does not open the file, and the warning names the setting", async () => {
  using fixture = new StoreFixture();
  const saved = await fixture.fill(2);
  {
    using store = await fixture.open();
    const error = await assertRejects(() => fixture.open(), FileInUseError, "VTUBER_DATA_DIR: ");
    assertStringIncludes(error.message, "another program uses");
    assertEquals(store.load(), saved);
  }
  assertEquals(await fixture.load(), saved);
  assertEquals(fixture.warnings, []);
});

Deno.test("store: a removed conversation is wiped out of the file", async () => {
  using fixture = new StoreFixture();
  const [stored, removed] = await fixture.fill(2);
  const fileHas = (text: string) =>
    new TextDecoder("latin1").decode(Deno.readFileSync(fixture.path)).includes(text);
  assert(fileHas(stored!.program) && fileHas(removed!.program));
  {
    using store = await fixture.open();
    store.remove(removed!);
  }
  assert(fileHas(stored!.program) && !fileHas(removed!.program));
});

Deno.test("store: a closed store writes nothing", async () => {
  using fixture = new StoreFixture();
  const [record] = await fixture.fill(1);
  const store = await fixture.open();
  for (let times = 0; times < 2; times++) store[Symbol.dispose]();
  store.remove(record!);
  await store.save({ ...record!, id: "another" });
  store.saveSoon({ ...record!, id: "another" });
  assertEquals(await fixture.load(), [record!]);
  assertEquals([fixture.warnings, fixture.files()], [[], ["conversations.db"]]);
});

Deno.test({
  name: "store: only its user can read new files",
  ignore: onWindows,
  async fn() {
    using fixture = new StoreFixture();
    const folder = `${fixture.folder}/new/folder`;
    using store = await openStore(folder, { warn() {} });
    await store.save(randomRecord(new Random(1)));
    assertEquals([modeOf(`${fixture.folder}/new`), modeOf(folder)], ["700", "700"]);
    for (const suffix of ["", "-wal"]) assertEquals(modeOf(`${folder}/conversations.db${suffix}`), "600");
  },
});

Deno.test({
  name: "store: files that others can read are closed to them; the folder stays as it is",
  ignore: onWindows,
  async fn() {
    using fixture = new StoreFixture();
    await fixture.fill(1);
    Deno.chmodSync(fixture.folder, 0o755);
    Deno.chmodSync(fixture.path, 0o644);
    Deno.writeFileSync(`${fixture.path}-wal`, new Uint8Array(), { mode: 0o644 });
    using _store = await fixture.open();
    const modes = [fixture.folder, fixture.path, `${fixture.path}-wal`].map(modeOf);
    assertEquals(modes, ["755", "600", "600"]);
  },
});

const LINKS: Readonly<Record<string, (target: string, path: string) => void>> = {
  "symbolic link": (target, path) => Deno.symlinkSync(target, path),
  "link to a file that does not exist": (target, path) => Deno.symlinkSync(`${target}.new`, path),
  "hard link": (target, path) => {
    Deno.writeTextFileSync(target, "mine");
    Deno.linkSync(target, path);
  },
};
for (const [what, link] of Object.entries(LINKS)) {
  Deno.test({
    name: `store: a ${what} in place of the file, or of one beside it, is refused and followed nowhere`,
    ignore: onWindows,
    async fn() {
      for (const suffix of ["", "-wal"]) {
        using fixture = new StoreFixture();
        using elsewhere = new StoreFixture();
        const target = `${elsewhere.folder}/diary`;
        link(target, fixture.path + suffix);
        await assertRejects(() => fixture.open(), Error, `conversations.db${suffix} is a link`);
        assertEquals(elsewhere.files().filter((name) => name !== "diary"), []);
        assertEquals(fixture.warnings, []);
      }
    },
  });
}

Deno.test("store: an error names the setting", async () => {
  using fixture = new StoreFixture();
  Deno.mkdirSync(fixture.path);
  await assertRejects(() => fixture.open(), Error, "VTUBER_DATA_DIR: ");
  Deno.removeSync(fixture.path);
  await fixture.fill(1);
  await assertRejects(() => openStore(fixture.path, { warn() {} }), Error, "VTUBER_DATA_DIR: ");
  assertEquals([fixture.files(), fixture.warnings], [["conversations.db"], []]);
});

Deno.test("store: failed writes are logged once, and made up for; a failed removal is reported", async () => {
  using fixture = new StoreFixture();
  const [stored] = await fixture.fill(1);
  const fail = (event: string, row: string) =>
    `CREATE TRIGGER no_${event} BEFORE ${event} ON conversations WHEN ${row}.id LIKE 'full%' ` +
    "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END;";
  fixture.change(fail("INSERT", "NEW") + fail("DELETE", "OLD") + "UPDATE conversations SET id = 'full 0'");
  using store = await fixture.open();
  const ids = () => store.load().map(({ id }) => id);
  const failing = { ...stored!, id: "full 1" };
  for (const count of [1, 2]) {
    for (let times = 0; times < 2; times++) {
      await Promise.all([store.save(failing), store.save({ ...stored!, id: `good ${count}` })]);
    }
    assertEquals(store.remove({ ...stored!, id: "full 0" }), false);
    assertEquals(fixture.warnings.length, count);
    assertStringIncludes(fixture.warnings[count - 1]!, "conversations cannot be written");
    // A batch is written whole or not at all.
    assertEquals(ids().includes(`good ${count}`), false);
    store.remove(failing);
    await store.save(stored!);
    assertEquals(ids().includes(`good ${count}`), true);
  }
});

Deno.test("store: a file of the first schema is read, and its conversation changed", async () => {
  using fixture = new StoreFixture();
  fixture.change(`
    CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE conversations (
      owner TEXT NOT NULL, agent TEXT NOT NULL, id TEXT NOT NULL, program TEXT NOT NULL,
      is_named INTEGER NOT NULL, persona TEXT NOT NULL, is_persona_open INTEGER NOT NULL,
      turns TEXT NOT NULL, turns_before INTEGER NOT NULL, reply TEXT, session_id TEXT,
      created_at INTEGER NOT NULL, used_at INTEGER NOT NULL, PRIMARY KEY (owner, agent, id)
    ) STRICT;
    CREATE INDEX conversations_by_use ON conversations (used_at);
    INSERT INTO meta VALUES ('key', zeroblob(32));
    INSERT INTO conversations VALUES ('_sHhYNcJ6-6NHDml', 'openab', 'old talk', '8F24NdnYMa1kZAEc', 1, '', 0,
      '2uUuAC71CUjsctgS2', 0, 'quXlGY37hb_2NFizj2IdWHJjWfhCbS0_', 'demo-6a8d9eb9', 1796087271203, 1796087271204);
    PRAGMA user_version = 1`);
  const [old, ...others] = await fixture.load();
  assertEquals(others, []);
  assertEquals(
    [old?.id, old?.isNamed, old?.sessionId, old?.reply, old?.turns.map(({ state, words }) => [state, words])],
    ["old talk", true, "demo-6a8d9eb9", "quXlGY37hb_2NFizj2IdWHJjWfhCbS0_", [[
      "answered",
      "uUuAC71CUjsctgS2",
    ]]],
  );
  {
    using store = await fixture.open();
    assertEquals(store.key, new Uint8Array(32));
    await store.save({ ...old!, usedAt: old!.usedAt + 1 });
  }
  assertEquals(await fixture.load(), [{ ...old!, usedAt: old!.usedAt + 1 }]);
  assertEquals(fixture.warnings, []);
});
