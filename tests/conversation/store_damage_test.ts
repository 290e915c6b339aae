import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { modeOf, onWindows, StoreFixture } from "../support/harness/store_fixture.ts";

Deno.test("store: a file of a newer version stays as it is", async () => {
  using fixture = new StoreFixture();
  await fixture.fill(1);
  fixture.change(
    `DROP TABLE meta; PRAGMA journal_mode = DELETE; PRAGMA user_version = 99`,
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
  "has no key": (fixture) => fixture.change("DROP TABLE meta"),
  "has a key that is too short": (fixture) => fixture.change("UPDATE meta SET value = x'0102'"),
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
    await store.save(one!);
    store[Symbol.dispose]();
    const aside = fixture.files().find((name) => /^conversations\.db\.corrupt-[\dTZ-]+$/.test(name)) ??
      "none";
    assertEquals(fixture.warnings.length, 1);
    assertStringIncludes(fixture.warnings[0]!, `${fixture.folder}/${aside}`);
    assertStringIncludes(fixture.warnings[0]!, "Counts of turns begin at 0");
    assertEquals(fixture.files().filter((name) => !name.startsWith(aside)), ["conversations.db"]);
    assertEquals(await fixture.load(), [one!]);
    assertEquals(fixture.warnings.length, 1);
    if (!onWindows) {
      assertEquals([modeOf(fixture.path), modeOf(`${fixture.folder}/${aside}`)], ["600", "600"]);
    }
  });
}

Deno.test("store: the three newest damaged files are kept", async () => {
  using fixture = new StoreFixture();
  const old = ["2026-01-01", "2026-01-02", "2026-01-03"].map((day) =>
    `conversations.db.corrupt-${day}T00-00-00-000Z`
  );
  await fixture.fill(1);
  for (const name of old) Deno.writeTextFileSync(`${fixture.folder}/${name}`, "damaged");
  Deno.writeTextFileSync(`${fixture.folder}/${old[0]}-wal`, "damaged");
  Deno.writeTextFileSync(fixture.path, "Dear diary, ".repeat(1000));
  (await fixture.open())[Symbol.dispose]();
  const kept = fixture.files().filter((name) => name.includes(".corrupt-"));
  assertEquals(kept.slice(0, 2), old.slice(1));
  assertEquals(kept.length, 3);
});
