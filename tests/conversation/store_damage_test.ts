import { assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { migrate, MIGRATIONS } from "../../lib/conversation/sqlite.ts";
import { modeOf, onWindows, StoreFixture } from "../support/harness/store_fixture.ts";

Deno.test("migrate: a file of an older version gets the newest schema, and keeps its rows", async () => {
  using fixture = new StoreFixture();
  const saved = await fixture.fill(3);
  using database = fixture.raw();
  const steps = [...MIGRATIONS, ["ALTER TABLE conversations ADD mood TEXT DEFAULT 'calm'"], [
    "DELETE FROM meta",
  ]];
  migrate(database, steps);
  migrate(database, steps);
  const rows = database.prepare("SELECT id, mood FROM conversations ORDER BY used_at").all();
  assertEquals(rows.map((row) => ({ ...row })), saved.map(({ id }) => ({ id, mood: "calm" })));
  assertEquals({ ...database.prepare("PRAGMA user_version").get() }, { user_version: MIGRATIONS.length + 2 });
});

Deno.test("migrate: a migration that fails leaves the file as it was", async () => {
  using fixture = new StoreFixture();
  const saved = await fixture.fill(3);
  const database = fixture.raw();
  assertThrows(() => migrate(database, [...MIGRATIONS, ["DELETE FROM conversations", "SELECT nonsense"]]));
  database.close();
  assertEquals(await fixture.load(), saved);
  assertEquals(fixture.warnings, []);
});

Deno.test("store: a file of a newer version stays as it is", async () => {
  using fixture = new StoreFixture();
  await fixture.fill(1);
  fixture.change(
    `DROP TABLE meta; PRAGMA journal_mode = DELETE; PRAGMA user_version = ${MIGRATIONS.length + 1}`,
  );
  const before = Deno.readFileSync(fixture.path);
  const error = await assertRejects(() => fixture.open(), Error, "a newer version of the program wrote it");
  assertMatch(error.message, /^VTUBER_DATA_DIR: conversations cannot be stored in .*conversations\.db: /);
  assertEquals(Deno.readFileSync(fixture.path), before);
  assertEquals([fixture.files(), fixture.warnings], [["conversations.db"], []]);
});

const DAMAGES: Readonly<Record<string, (fixture: StoreFixture) => void>> = {
  "is no database": ({ path }) => Deno.writeTextFileSync(path, "Dear diary, ".repeat(1000)),
  "is cut off": ({ path }) => Deno.truncateSync(path, 5000),
  "has other bytes at its beginning": ({ path }) => overwrite(path, 4096 + 8),
  "has other bytes at its end": ({ path }) => overwrite(path, Deno.statSync(path).size - 8192),
  "has no conversations": (fixture) => fixture.change("DROP TABLE conversations"),
  "has conversations of another kind": (fixture) =>
    fixture.change("ALTER TABLE conversations DROP COLUMN turns"),
  "has no fixture for the key": (fixture) => fixture.change("DROP TABLE meta"),
  "has a key that is too short": (fixture) => fixture.change("UPDATE meta SET value = x'0102'"),
  "is of another program": (fixture) => fixture.change("PRAGMA user_version = 0"),
  "has an impossible version": (fixture) => fixture.change("PRAGMA user_version = -1"),
};

/** Puts two pages of other bytes into a file. */
function overwrite(path: string, offset: number): void {
  using file = Deno.openSync(path, { write: true });
  file.seekSync(offset, Deno.SeekMode.Start);
  file.writeSync(new Uint8Array(8192).fill(0xa5));
}

for (const [what, damage] of Object.entries(DAMAGES)) {
  Deno.test(`store: a file that ${what} is quarantined`, async () => {
    using fixture = new StoreFixture();
    const [one] = await fixture.fill(40);
    damage(fixture);
    Deno.writeTextFileSync(`${fixture.path}-wal`, "written last");
    using store = await fixture.open();
    assertEquals(store.load(), []);
    store.save(one!);
    store[Symbol.dispose]();
    const aside = fixture.files().find((name) => /^conversations\.db\.corrupt-[\dTZ-]+$/.test(name)) ??
      "none";
    assertEquals(fixture.warnings.length, 1);
    assertStringIncludes(fixture.warnings[0]!, `${fixture.folder}/${aside}`);
    assertEquals(fixture.files().filter((name) => !name.startsWith(aside)), ["conversations.db"]);
    assertEquals(await fixture.load(), [one!]);
    assertEquals(fixture.warnings.length, 1);
    if (!onWindows) {
      assertEquals([modeOf(fixture.path), modeOf(`${fixture.folder}/${aside}`)], ["600", "600"]);
    }
  });
}

Deno.test("store: only the three newest quarantined files are kept, and all other files", async () => {
  using fixture = new StoreFixture();
  const name = (year: number) => `conversations.db.corrupt-${year}-01-01T00-00-00-000Z`;
  const others = ["conversations.db.corrupt-mine", "diary.txt"];
  const old = [name(2001), `${name(2001)}-wal`, name(2002), name(2003), `${name(2003)}-wal`];
  for (const each of [...old, ...others]) Deno.writeTextFileSync(`${fixture.folder}/${each}`, each);
  Deno.writeTextFileSync(fixture.path, "Dear diary");
  assertEquals(await fixture.load(), []);
  const now = fixture.warnings[0]?.match(/conversations\.db\.corrupt-[\dTZ-]+/)?.[0];
  assertEquals(
    fixture.files(),
    [...old.slice(2), ...others, "conversations.db", now!].sort(),
  );
});

Deno.test("store: a damaged row is forgotten with one warning, and the others stay", async () => {
  const values = [
    ["turns", "'2tooshort'"],
    ["turns", "'9AAAAAAAAAAAAAAAA'"],
    ["turns", "'2AAAAAAAAAAAAAAAAB'"],
    ["turns", "'2AAAAAAAAAAAAAAAA '"],
    ["persona", "'a word'"],
    ["owner", "'nobody'"],
    ["program", "CAST(x'ff00ff' AS TEXT)"],
    ["reply", "''"],
    ["used_at", "1 << 60"],
    ["created_at", "-1"],
  ];
  for (const [column, value] of values) {
    using fixture = new StoreFixture();
    const [damaged, ...others] = await fixture.fill(4);
    fixture.change(`UPDATE conversations SET ${column} = ${value} WHERE program = '${damaged!.program}'`);
    assertEquals(await fixture.load(), others, `${column} = ${value}`);
    assertEquals(fixture.warnings, ["some conversations were damaged and are forgotten 1"]);
    assertEquals(await fixture.load(), others);
    assertEquals(fixture.warnings.length, 1);
  }
});

Deno.test({
  name: "store: a link to a missing file is not followed, since SQLite would make that readable for everyone",
  ignore: onWindows,
  async fn() {
    using fixture = new StoreFixture();
    Deno.symlinkSync(`${fixture.folder}/elsewhere.db`, fixture.path);
    await assertRejects(() => fixture.open(), Error, "a link to a file that does not exist");
    assertEquals(fixture.files(), ["conversations.db"]);
  },
});
