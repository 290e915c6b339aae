/** The file of stored responses, and the servers that use it. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { summaryOf, TranscriptsFixture, wordsOf } from "../support/harness/transcripts_fixture.ts";
import { createGate } from "../support/harness/data_dir_fixture.ts";
import {
  inConversation,
  script,
  type ServerProcess,
  startServer,
  until,
} from "../support/harness/server_process.ts";

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

Deno.test("VTUBER_DATA_DIR=none: a response with store true is in memory, and no file is made", async () => {
  const home = await Deno.makeTempDir();
  try {
    const env = { VTUBER_DATA_DIR: "none", XDG_DATA_HOME: `${home}/data` };
    await using server = await startServer({ env, dataDir: await Deno.makeTempDir({ dir: home }) });
    const id = await respond(server, script({ text: "Kept." }));
    await until(() => server.get(`/v1/responses/${id}`), ({ status }) => status === "completed");
    assertEquals((await server.get("/v1/vtuber/sessions")).sessions[0].stored_responses, 0);
    await server.end("SIGTERM");
    assertEquals((await filesIn(home)).map((path) => path.split("/").at(-1)), ["agent.jsonl"]);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

/** Lists the files below a folder. */
async function filesIn(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    files.push(...isDirectory ? await filesIn(path) : [path]);
  }
  return files.sort();
}

/** Starts a response in the background. Returns its id. */
async function respond(server: ServerProcess, input: string, init?: RequestInit): Promise<string> {
  return (await (await server.post("/v1/responses", { input, store: true, background: true }, init)).json())
    .id;
}

/** Waits until a response has said this. */
async function untilText(server: ServerProcess, id: string, text: string): Promise<void> {
  await until(() => server.get(`/v1/responses/${id}`), ({ output }) => JSON.stringify(output).includes(text));
}

Deno.test("a response in the background, at SIGTERM: it ends or fails, and the next server has it", async () => {
  using fixture = new TranscriptsFixture();
  await using gate = await createGate();
  const env = { VTUBER_DATA_DIR: fixture.folder, VTUBER_SHUTDOWN_GRACE_SECS: "2", VTUBER_ON_BUSY: "queue" };
  const ids: string[] = [];
  {
    await using server = await startServer({ env });
    ids.push(await respond(server, script({ text: "to" }, gate.step, { text: "gether" })));
    ids.push(await respond(server, script({ text: "endless" }, { hang: true }), inConversation("mao")));
    ids.push(await respond(server, script({ text: "never" }), inConversation("mao")));
    await untilText(server, ids[0]!, "to");
    await untilText(server, ids[1]!, "endless");
    server.signal("SIGTERM");
    await server.logged("shutting down");
    await gate.open();
    await server.exited;
  }
  await using server = await startServer({ env });
  const found = await Promise.all(ids.map((id) => server.get(`/v1/responses/${id}`)));
  assertEquals(
    found.map(({ status, output }) => [status, output[0]?.content[0]?.text]),
    [["completed", "together"], ["failed", "endless"], ["failed", undefined]],
  );
});

Deno.test("a response in the background, at SIGKILL: those that had ended are there, and none seems to run", async () => {
  using fixture = new TranscriptsFixture();
  let ended: string, running: string;
  {
    await using server = await startIn(fixture);
    ended = await respond(server, script({ text: "whole" }));
    running = await respond(server, script({ text: "half" }, { hang: true }));
    await untilText(server, running, "half");
    await until(() => fixture.has("whole"));
    await server.end("SIGKILL");
  }
  await using server = await startIn(fixture);
  assertEquals((await server.get(`/v1/responses/${ended}`)).status, "completed");
  assertEquals((await server.get(`/v1/responses/${running}`)).error.code, "not_found");
});
