import { assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { DamagedFileError, migrate, MIGRATIONS, openDatabase } from "../../lib/conversation/sqlite.ts";
import { modeOf, onWindows, Place } from "../support/harness/ticket_fixture.ts";

Deno.test("a file of an older version is brought to the newest, with all that it holds", async () => {
  using place = new Place();
  const saved = await place.fill(3);
  using database = place.raw();
  const steps = [...MIGRATIONS, ["ALTER TABLE conversations ADD mood TEXT DEFAULT 'calm'"], [
    "DELETE FROM meta",
  ]];
  migrate(database, steps);
  migrate(database, steps);
  const rows = database.prepare("SELECT id, mood FROM conversations ORDER BY used_at").all();
  assertEquals(rows.map((row) => ({ ...row })), saved.map(({ id }) => ({ id, mood: "calm" })));
  assertEquals({ ...database.prepare("PRAGMA user_version").get() }, { user_version: MIGRATIONS.length + 2 });
});

Deno.test("a step that breaks leaves the file as it was", async () => {
  using place = new Place();
  const saved = await place.fill(3);
  const database = place.raw();
  assertThrows(() => migrate(database, [...MIGRATIONS, ["DELETE FROM conversations", "SELECT nonsense"]]));
  database.close();
  assertEquals(await place.loaded(), saved);
  assertEquals(place.warnings, []);
});

Deno.test("a file of a newer version is left alone", async () => {
  using place = new Place();
  await place.fill(1);
  place.change(
    `DROP TABLE meta; PRAGMA journal_mode = DELETE; PRAGMA user_version = ${MIGRATIONS.length + 1}`,
  );
  const before = Deno.readFileSync(place.path);
  const error = await assertRejects(() => place.open(), Error, "a newer version of the program wrote it");
  assertMatch(error.message, /^VTUBER_DATA_DIR: conversations cannot be kept in .*conversations\.db: /);
  assertEquals(Deno.readFileSync(place.path), before);
  assertEquals([place.files(), place.warnings], [["conversations.db"], []]);
});

const DAMAGES: Readonly<Record<string, (place: Place) => void>> = {
  "is no database": ({ path }) => Deno.writeTextFileSync(path, "Dear diary, ".repeat(1000)),
  "is cut off": ({ path }) => Deno.truncateSync(path, 5000),
  "has other bytes at its beginning": ({ path }) => overwrite(path, 4096 + 8),
  "has other bytes at its end": ({ path }) => overwrite(path, Deno.statSync(path).size - 8192),
  "has no conversations": (place) => place.change("DROP TABLE conversations"),
  "has conversations of another kind": (place) => place.change("ALTER TABLE conversations DROP COLUMN turns"),
  "has no place for the key": (place) => place.change("DROP TABLE meta"),
  "has a key that is too short": (place) => place.change("UPDATE meta SET value = x'0102'"),
  "is of another program": (place) => place.change("PRAGMA user_version = 0"),
  "has an impossible version": (place) => place.change("PRAGMA user_version = -1"),
};

/** Puts two pages of other bytes into a file. */
function overwrite(path: string, offset: number): void {
  using file = Deno.openSync(path, { write: true });
  file.seekSync(offset, Deno.SeekMode.Start);
  file.writeSync(new Uint8Array(8192).fill(0xa5));
}

for (const [what, damage] of Object.entries(DAMAGES)) {
  Deno.test(`a file that ${what} is set aside`, async () => {
    using place = new Place();
    const [one] = await place.fill(40);
    damage(place);
    Deno.writeTextFileSync(`${place.path}-wal`, "what was written last");
    using store = await place.open();
    assertEquals(store.load(), []);
    store.save(one!);
    store[Symbol.dispose]();
    const aside = place.files().find((name) => /^conversations\.db\.corrupt-[\dTZ-]+$/.test(name)) ?? "none";
    assertEquals(place.warnings.length, 1);
    assertStringIncludes(place.warnings[0]!, `${place.folder}/${aside}`);
    assertEquals(place.files().filter((name) => !name.startsWith(aside)), ["conversations.db"]);
    assertEquals(await place.loaded(), [one!]);
    assertEquals(place.warnings.length, 1);
    if (!onWindows) assertEquals([modeOf(place.path), modeOf(`${place.folder}/${aside}`)], ["600", "600"]);
  });
}

Deno.test({
  name:
    "a damaged file is set aside with what was written last, and whoever has it open stays out of the new one",
  // Files that are open keep their names there.
  ignore: onWindows,
  async fn() {
    using place = new Place();
    const [one] = await place.fill(1);
    const another = place.raw();
    another.exec("DROP TABLE meta");
    using store = await place.open();
    store.save(one!);
    another.exec("DELETE FROM conversations");
    assertEquals(
      place.files().map((name) => name.replace(/-\d+-.*Z/, "")),
      ["", "-shm", "-wal"].flatMap((
        suffix,
      ) => [`conversations.db${suffix}`, `conversations.db.corrupt${suffix}`])
        .sort(),
    );
    another.close();
    assertEquals(store.load(), [one!]);
    store[Symbol.dispose]();
    assertEquals(await place.loaded(), [one!]);
    assertEquals(place.warnings.length, 1);
  },
});

Deno.test({
  name: "a damaged file that another program just set aside is not set aside once more, with the new one",
  // Files that are open keep their names there.
  ignore: onWindows,
  async fn() {
    using place = new Place();
    const [one] = await place.fill(1);
    const aside = `${place.folder}/aside`;
    let uses = 0;
    const count = await openDatabase(
      place.folder,
      { warn: () => place.warnings.push("warned") },
      (database) => {
        if (++uses === 1) {
          for (const suffix of ["-shm", "-wal", ""]) Deno.renameSync(place.path + suffix, aside + suffix);
          Deno.copyFileSync(aside, place.path);
          throw new DamagedFileError("its key is not whole");
        }
        return database.prepare("SELECT count(*) AS count FROM conversations").get()?.count;
      },
    );
    assertEquals([uses, count, place.warnings], [2, 1, []]);
    assertEquals(place.files().filter((name) => name.includes("corrupt")), []);
    assertEquals(await place.loaded(), [one!]);
  },
});

Deno.test("no more than three damaged files are kept, and nobody else's", async () => {
  using place = new Place();
  const name = (year: number) => `conversations.db.corrupt-${year}-01-01T00-00-00-000Z`;
  const others = ["conversations.db.corrupt-mine", "diary.txt"];
  const old = [name(2001), `${name(2001)}-wal`, name(2002), name(2003), `${name(2003)}-wal`];
  for (const each of [...old, ...others]) Deno.writeTextFileSync(`${place.folder}/${each}`, each);
  Deno.writeTextFileSync(place.path, "Dear diary");
  assertEquals(await place.loaded(), []);
  const now = place.warnings[0]?.match(/conversations\.db\.corrupt-[\dTZ-]+/)?.[0];
  assertEquals(
    place.files(),
    [...old.slice(2), ...others, "conversations.db", now!].sort(),
  );
});

Deno.test("a row that cannot be understood is forgotten, with one warning, and the others stay", async () => {
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
    using place = new Place();
    const [damaged, ...others] = await place.fill(4);
    place.change(`UPDATE conversations SET ${column} = ${value} WHERE program = '${damaged!.program}'`);
    assertEquals(await place.loaded(), others, `${column} = ${value}`);
    assertEquals(place.warnings, ["some conversations were damaged and are forgotten 1"]);
    assertEquals(await place.loaded(), others);
    assertEquals(place.warnings.length, 1);
  }
});

Deno.test({
  name: "a link to a file that is not there is not followed: SQLite would make it for everybody to read",
  ignore: onWindows,
  async fn() {
    using place = new Place();
    Deno.symlinkSync(`${place.folder}/elsewhere.db`, place.path);
    await assertRejects(() => place.open(), Error, "a link to a file that is not there");
    assertEquals(place.files(), ["conversations.db"]);
  },
});
