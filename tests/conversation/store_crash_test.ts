import { assert, assertEquals } from "@std/assert";
import type { ConversationRecord } from "../../lib/conversation/record.ts";
import { Random } from "../support/harness/random.ts";
import { writtenAs } from "../support/harness/store_writer.ts";
import { Place } from "../support/harness/ticket_fixture.ts";

/** What a writer said, and how it ended. */
interface Written {
  readonly key: string | undefined;
  /** The last number that it kept; -1 without any. */
  readonly last: number;
  readonly status: Deno.CommandStatus;
}

/** Runs the program that keeps conversations; it is killed once it has said so many lines. */
async function write(folder: string, name: string, count: number, killAfter = Infinity): Promise<Written> {
  const program = new URL("../support/harness/store_writer.ts", import.meta.url).href;
  const permissions = ["--no-prompt", "--allow-read", "--allow-write", "--allow-env"];
  await using child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", ...permissions, program, folder, name, `${count}`],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  let said = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    const enough = said.split("\n").length > killAfter;
    said += text;
    if (!enough && said.split("\n").length > killAfter) child.kill("SIGKILL");
  }
  const lines = said.split("\n").slice(0, -1);
  const key = lines.find((line) => line.startsWith("key "))?.slice(4);
  const last = lines.findLast((line) => line.startsWith("saved "))?.slice(6) ?? -1;
  return { key, last: Number(last), status: await child.status };
}

/** All that the writer said it kept is there, or something newer. */
function assertKept(known: readonly ConversationRecord[], name: string, last: number): void {
  const byId = new Map(known.map((each) => [each.id, each]));
  for (let nth = Math.max(0, last - 19); nth <= last; nth++) {
    const said = writtenAs(name, nth);
    const usedAt = byId.get(said.id)?.usedAt ?? -1;
    assert(usedAt >= nth, `${name} ${nth} is lost`);
    assertEquals(byId.get(said.id), writtenAs(name, usedAt));
  }
}

Deno.test("whenever the program is killed, all that it kept is there", async () => {
  using place = new Place();
  const random = new Random(20);
  const lasts: [name: string, last: number][] = [];
  let key: string | undefined;
  for (let round = 0; round < 12; round++) {
    // Some are killed while they open: the first line comes before that.
    const killAfter = round % 4 === 0 ? 1 : 2 + random.below(1500);
    const written = await write(place.folder, `${round}`, Infinity, killAfter);
    assert(!written.status.success);
    lasts.push([`${round}`, written.last]);
    using store = await place.open();
    key ??= store.key.toHex();
    assertEquals([store.key.toHex(), written.key ?? key], [key, key]);
    const known = store.load();
    for (const [name, last] of lasts) assertKept(known, name, last);
  }
  assert(lasts.some(([, last]) => last > 0));
  assertEquals(place.warnings, []);
});

Deno.test("two programs share a folder, from the first moment on", async () => {
  using place = new Place();
  const [one, two] = await Promise.all([write(place.folder, "one", 300), write(place.folder, "two", 300)]);
  assert(one.status.success && two.status.success);
  assertEquals(one.key, two.key);
  using store = await place.open();
  assertEquals(store.key.toHex(), one.key);
  const known = store.load();
  assertKept(known, "one", one.last);
  assertKept(known, "two", two.last);
  assertEquals(place.warnings, []);
});
