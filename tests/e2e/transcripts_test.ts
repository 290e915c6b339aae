/** The file of stored responses, and the servers that use it. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { summaryOf, TranscriptsFixture, wordsOf } from "../support/harness/transcripts_fixture.ts";
import { type ServerProcess, startServer } from "../support/harness/server_process.ts";

const LOST = "conversations and responses are kept only until this program ends";

/** Starts a server whose data is in the folder. */
function startIn({ folder }: TranscriptsFixture): Promise<ServerProcess> {
  return startServer({ env: { VTUBER_DATA_DIR: folder } });
}

/** Stores a response of this machine's programs. */
async function storeResponse(fixture: TranscriptsFixture): Promise<void> {
  fixture.now = Date.now();
  await using transcripts = await fixture.open();
  await transcripts.add(summaryOf("resp_1", { owner: "", createdAt: fixture.now }), wordsOf("resp_1"));
}

Deno.test("stored responses are listed and deleted by the next server, but not by one beside it", async () => {
  using fixture = new TranscriptsFixture();
  await storeResponse(fixture);
  await using first = await startIn(fixture);
  await using second = await startIn(fixture);
  await second.logged(LOST);
  assertEquals((await second.get("/v1/vtuber/sessions")).sessions, []);
  assertEquals(second.log().split('"level":"warn"').length - 1, 1, second.log());
  const { sessions } = await first.get("/v1/vtuber/sessions");
  assertEquals(sessions.map(({ id, stored_responses }: Record<string, unknown>) => [id, stored_responses]), [
    ["mao", 1],
  ]);
  assert(fixture.has("question of resp_1"));
  const response = await fetch(`${first.url}/v1/vtuber/sessions/mao`, { method: "DELETE" });
  assertEquals(await response.json(), { forgotten: 1 });
  assert(!fixture.has("question of resp_1"));
});

Deno.test("a server without stored responses makes no file for them", async () => {
  using fixture = new TranscriptsFixture();
  {
    await using _server = await startIn(fixture);
  }
  await assertRejects(() => Deno.stat(fixture.path), Deno.errors.NotFound);
});
