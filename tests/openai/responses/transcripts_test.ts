import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { MAX_CHARS } from "../../../lib/openai/responses/transcripts.ts";
import { FakeClock } from "../../support/harness/fake_clock.ts";
import { lastSaved, modeOf, onWindows, writeUntilKilled } from "../../support/harness/store_fixture.ts";
import { idsOf, summaryOf, TranscriptsFixture, wordsOf } from "../../support/harness/transcripts_fixture.ts";
import { nextTask } from "../../support/harness/turn_recorder.ts";

const DAY_MS = 86_400_000;

Deno.test("transcripts: responses come back as they were, in the order of their ends", async () => {
  using fixture = new TranscriptsFixture();
  const first = summaryOf("resp_1", { createdAt: 2_000_000_000_001 });
  const second = summaryOf("resp_2", {
    previousId: "resp_1",
    conversation: "マオ's",
    owner: "",
  });
  {
    await using transcripts = await fixture.open();
    const added = [first, second].map((summary) => transcripts.add(summary, wordsOf(summary.id)));
    assertEquals(transcripts.read("resp_1"), wordsOf("resp_1"));
    await Promise.all(added);
    assertEquals(transcripts.read("resp_2"), wordsOf("resp_2"));
  }
  await using transcripts = await fixture.open();
  for (const summary of [first, second]) {
    const { chars, ...found } = transcripts.get(summary.id) as ReturnType<typeof summaryOf> & {
      chars: number;
    };
    assertEquals(found, summary);
    assertEquals(chars, Object.values(wordsOf(summary.id)).join("").length);
    assertEquals(transcripts.read(summary.id), wordsOf(summary.id));
  }
  assertEquals([idsOf(transcripts), transcripts.get("resp_3"), transcripts.read("resp_3")], [
    ["resp_1", "resp_2"],
    undefined,
    undefined,
  ]);
  assertEquals(fixture.warnings, []);
});

Deno.test("transcripts: without a response there is no file, and nothing in the folder", async () => {
  using fixture = new TranscriptsFixture();
  const folder = `${fixture.folder}/new/folder`;
  {
    await using transcripts = await fixture.open(folder);
    assertEquals([idsOf(transcripts), await transcripts.delete(["resp_1"])], [[], true]);
    assertEquals(fixture.files(), []);
    await transcripts.add(summaryOf("resp_1"), wordsOf("resp_1"));
    if (!onWindows) {
      const paths = ["", "/transcripts.db", "/transcripts.db-wal"].map((path) => folder + path);
      assertEquals(paths.map(modeOf), ["700", "600", "600"]);
    }
  }
  if (!onWindows) assertEquals(modeOf(`${folder}/transcripts.db`), "600");
});

Deno.test("transcripts: what waits is written when the program ends", async () => {
  using fixture = new TranscriptsFixture();
  {
    await using transcripts = await fixture.open();
    transcripts.add(summaryOf("resp_1"), wordsOf("resp_1"));
  }
  assertEquals(await fixture.load(), ["resp_1"]);
  const closed = await fixture.open();
  await closed[Symbol.asyncDispose]();
  await closed.add(summaryOf("resp_2"), wordsOf("resp_2"));
  await closed[Symbol.asyncDispose]();
  assertEquals([await fixture.load(), fixture.files()], [["resp_1"], ["transcripts.db"]]);
});

Deno.test("transcripts: a deleted response is in no file, not even while the file is open", async () => {
  using fixture = new TranscriptsFixture();
  const ids = Array.from({ length: 30 }, (_, index) => `resp_${index}.`);
  await fixture.fill(...ids);
  await using transcripts = await fixture.open();
  await transcripts.add(summaryOf("resp_new"), wordsOf("resp_new"));
  const kept = ["resp_7.", "resp_29."];
  const deleted = [...ids.filter((id) => !kept.includes(id)), "resp_new"];
  assert(deleted.every((id) => fixture.has(`question of ${id}`)));
  assertEquals(await transcripts.delete([...deleted, "unknown"]), true);
  assertEquals([...ids, "resp_new"].filter((id) => fixture.has(`question of ${id}`)), kept);
  assertEquals([...ids, "resp_new"].filter((id) => fixture.has(`answer to ${id}`)), kept);
  assertEquals(idsOf(transcripts), kept);
});

Deno.test("transcripts: a response that is deleted before it is written reaches no file", async () => {
  using fixture = new TranscriptsFixture();
  await using transcripts = await fixture.open();
  const added = ["resp_1", "resp_2"].map((id) => transcripts.add(summaryOf(id), wordsOf(id)));
  assertEquals([await transcripts.delete(["resp_1"]), transcripts.read("resp_1")], [true, undefined]);
  await Promise.all(added);
  assertEquals([fixture.has("question of resp_1"), fixture.has("question of resp_2")], [false, true]);
});

Deno.test("transcripts: responses go after 30 days, at a start and while the program runs", async () => {
  using fixture = new TranscriptsFixture();
  using clock = new FakeClock();
  await fixture.fill("resp_old");
  fixture.now += 20 * DAY_MS;
  await fixture.fill("resp_new");
  fixture.now += 10 * DAY_MS;
  assertEquals(await fixture.load(), ["resp_old", "resp_new"]);
  fixture.now += 1;
  {
    await using transcripts = await fixture.open();
    assertEquals([idsOf(transcripts), fixture.has("question of resp_old")], [["resp_new"], false]);
    fixture.now += 20 * DAY_MS;
    assertEquals(clock.waits.length, 1);
    clock.advance(3_600_000);
    await nextTask();
    assertEquals([idsOf(transcripts), fixture.has("question of resp_new")], [[], false]);
    assertEquals(clock.waits.length, 1);
  }
  assertEquals([clock.waits, await fixture.load()], [[], []]);
});

Deno.test("transcripts: the 1,000 newest are kept", async () => {
  using fixture = new TranscriptsFixture();
  const ids = Array.from({ length: 1_010 }, (_, index) => `resp_${index}.`);
  await fixture.fill(...ids.slice(0, 995));
  await fixture.fill(...ids.slice(995));
  assertEquals(await fixture.load(), ids.slice(-1_000));
  assertEquals(ids.filter((id) => fixture.has(`question of ${id}`)), ids.slice(-1_000));
});

Deno.test("transcripts: no words of a response that makes room are left, not even while the file is open", async () => {
  using fixture = new TranscriptsFixture();
  const ids = Array.from({ length: 1_002 }, (_, index) => `resp_${index}.`);
  await fixture.fill(...ids.slice(0, 999));
  await using transcripts = await fixture.open();
  for (const id of ids.slice(999)) await transcripts.add(summaryOf(id), wordsOf(id));
  assertEquals(ids.filter((id) => !fixture.has(`question of ${id}`)), ids.slice(0, 2));
});

Deno.test("transcripts: all together have 64 MiB, and one has 1 MiB", async () => {
  using fixture = new TranscriptsFixture();
  {
    await using transcripts = await fixture.open();
    const response = "{}";
    const add = (id: string, chars: number) =>
      transcripts.add(summaryOf(id), { input: "x".repeat(chars - response.length), response });
    await add("resp_large", MAX_CHARS + 1);
    assertEquals(idsOf(transcripts), []);
    for (let index = 0; index < 66; index++) await add(`resp_${index}`, MAX_CHARS);
    assertEquals(idsOf(transcripts), Array.from({ length: 64 }, (_, index) => `resp_${index + 2}`));
  }
  assertEquals((await fixture.load()).length, 64);
  // Freed pages are used again.
  assert(Deno.statSync(fixture.path).size < 70 * MAX_CHARS);
});

Deno.test("transcripts: another server's file is left alone, with one warning", async () => {
  using fixture = new TranscriptsFixture();
  await fixture.fill("resp_1");
  await using _first = await fixture.open();
  await using second = await fixture.open();
  await second.add(summaryOf("resp_2"), wordsOf("resp_2"));
  await second.add(summaryOf("resp_3"), wordsOf("resp_3"));
  assertEquals([idsOf(second), second.read("resp_2"), fixture.warnings.length], [[], undefined, 1]);
  assertMatch(
    fixture.warnings[0]!,
    /^responses with "store": true are kept only until this program ends Error: VTUBER_DATA_DIR: another program uses .*transcripts\.db/,
  );
});

Deno.test("transcripts: a folder that cannot be used is named once, and every response is accepted", async () => {
  using fixture = new TranscriptsFixture();
  Deno.writeTextFileSync(`${fixture.folder}/file`, "");
  await using transcripts = await fixture.open(`${fixture.folder}/file/data`);
  for (const id of ["resp_1", "resp_2"]) await transcripts.add(summaryOf(id), wordsOf(id));
  assertEquals([idsOf(transcripts), fixture.warnings.length], [[], 1]);
  assertStringIncludes(fixture.warnings[0]!, "VTUBER_DATA_DIR: responses cannot be stored in");
});

Deno.test({
  name: "transcripts: a link in place of the file is not followed",
  ignore: onWindows,
  async fn() {
    using fixture = new TranscriptsFixture();
    Deno.symlinkSync(`${fixture.folder}/diary`, fixture.path);
    await using transcripts = await fixture.open();
    await transcripts.add(summaryOf("resp_1"), wordsOf("resp_1"));
    assertEquals([idsOf(transcripts), fixture.files(), fixture.warnings.length], [[], ["transcripts.db"], 1]);
    assertStringIncludes(fixture.warnings[0]!, "transcripts.db is a link");
  },
});

const DAMAGES: Readonly<Record<string, (fixture: TranscriptsFixture) => void>> = {
  "is no database": ({ path }) => Deno.writeTextFileSync(path, "Dear diary, ".repeat(1000)),
  "is cut off": ({ path }) => Deno.truncateSync(path, 5000),
  "has no responses": (fixture) => fixture.change("DROP TABLE responses"),
  "has responses of another kind": (fixture) => fixture.change("ALTER TABLE responses DROP COLUMN chars"),
};
for (const [what, damage] of Object.entries(DAMAGES)) {
  Deno.test(`transcripts: a file that ${what} is quarantined`, async () => {
    using fixture = new TranscriptsFixture();
    await fixture.fill(...Array.from({ length: 40 }, (_, index) => `resp_${index}`));
    damage(fixture);
    await fixture.fill("resp_new");
    const aside = fixture.files().filter((name) => name !== "transcripts.db");
    assertMatch(aside.join(" "), /^transcripts\.db\.corrupt-[\dTZ-]+$/);
    assertEquals([await fixture.load(), fixture.warnings.length], [["resp_new"], 1]);
    assertStringIncludes(fixture.warnings[0]!, `${fixture.folder}/${aside[0]}`);
    assertStringIncludes(fixture.warnings[0]!, "the file of responses is damaged");
    assertStringIncludes(fixture.warnings[0]!, "The renamed file may still have their words");
    if (!onWindows) assertEquals(modeOf(`${fixture.folder}/${aside[0]}`), "600");
  });
}

Deno.test("transcripts: a file of an older version is migrated", async () => {
  using fixture = new TranscriptsFixture();
  await fixture.fill("resp_1");
  fixture.change("ALTER TABLE responses ADD COLUMN model TEXT NOT NULL DEFAULT ''; PRAGMA user_version = 1");
  await fixture.fill("resp_2");
  assertEquals([await fixture.load(), fixture.warnings], [["resp_1", "resp_2"], []]);
});

Deno.test("transcripts: failed writes are logged once, and their responses are in no file", async () => {
  using fixture = new TranscriptsFixture();
  await fixture.fill("full 0");
  const fail = (event: string, row: string) =>
    `CREATE TRIGGER no_${event} BEFORE ${event} ON responses WHEN ${row}.id LIKE 'full%' ` +
    "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END;";
  fixture.change(fail("INSERT", "NEW") + fail("DELETE", "OLD"));
  await using transcripts = await fixture.open();
  const add = (id: string) => transcripts.add(summaryOf(id), wordsOf(id));
  for (const count of [1, 2]) {
    for (let times = 0; times < 2; times++) {
      await Promise.all([add("full 1"), add(`beside ${count}`)]);
      assertEquals([idsOf(transcripts).includes(`beside ${count}`), fixture.warnings.length], [false, count]);
    }
    assertStringIncludes(fixture.warnings[count - 1]!, "responses cannot be written to transcripts.db");
    await add(`good ${count}`);
  }
  assertEquals(idsOf(transcripts), ["full 0", "good 1", "good 2"]);
  assertEquals(await transcripts.delete(["good 1", "full 0"]), false);
  assertEquals([idsOf(transcripts), fixture.warnings.length], [["good 2"], 3]);
  await transcripts[Symbol.asyncDispose]();
  // The next start has them again, as its log and the answer to the deletion say.
  assertEquals(await fixture.load(), ["full 0", "good 1", "good 2"]);
});

Deno.test("transcripts: whenever the program is killed, its lock is free and all that it stored is there", async () => {
  using fixture = new TranscriptsFixture();
  fixture.now = Date.now();
  const stored: string[] = [];
  // The second writer is killed while it opens the file.
  for (const [round, lines] of [8, 1, 15].entries()) {
    const printed = await writeUntilKilled("transcripts_writer.ts", fixture.folder, `${round}`, lines);
    const last = lastSaved(printed);
    for (let nth = 0; nth <= last; nth++) stored.push(`${round}.${nth}`);
    await using transcripts = await fixture.open();
    for (const id of stored) assertEquals(transcripts.read(id), wordsOf(id));
    const unprinted = idsOf(transcripts).filter((id) => !stored.includes(id));
    assert(unprinted.every((id) => transcripts.read(id)?.response === wordsOf(id).response));
  }
  assert(stored.length > 10);
  assertEquals(fixture.warnings, []);
});
