/** Many turns, ended and aborted, after which nothing is left of them. `deno task soak` is the long run with random inputs. */

import { assert, assertEquals } from "@std/assert";
import { agentPids, listConversations } from "../support/harness/data_dir_fixture.ts";
import { freePort, heapMb } from "../support/harness/inspector.ts";
import {
  inConversation,
  replyOf,
  script,
  type ServerProcess,
  startServer,
  until,
} from "../support/harness/server_process.ts";

/** Clients at once, each with a conversation of its own. */
const CLIENTS = 10;
const MAX_GROWTH_MB = 3;
const MAX_STORED_BYTES = 2e6;

/** Runs so many turns of each client, and aborts as many after their first words. */
async function churn(server: ServerProcess, rounds: number): Promise<void> {
  const client = async (name: string) => {
    for (let round = 0; round < rounds; round++) {
      const { text } = await replyOf(
        server.chat(script({ text: "[happy] Done." }), {}, inConversation(name)),
      );
      assertEquals(text, "[happy] Done.\n");
      const hanging = script({ tool: { id: "t", title: "ls" } }, { text: "Once" }, { hang: true });
      const reader = (await server.chat(hanging, {}, inConversation(name))).body!.getReader();
      await reader.read();
      await reader.cancel();
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, index) => client(`client-${index}`)));
}

/** Forgets all conversations, so that only what should not be kept is left. */
async function forgetAll(server: ServerProcess): Promise<void> {
  await until(async () => (await server.get("/v1/vtuber/state")).state === "idle");
  const response = await fetch(`${server.url}/v1/vtuber/sessions?all=true`, { method: "DELETE" });
  assertEquals(await response.json(), { forgotten: CLIENTS });
  assertEquals(await listConversations(server), []);
}

function countDescriptors({ pid }: ServerProcess): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

Deno.test({
  name: "500 turns and 500 aborted ones: heap, descriptors, children and database are back to the start",
  ignore: Deno.build.os !== "linux" || Deno.env.has("OAB_VTUBER_EXECUTABLE"),
  async fn() {
    const dataDir = await Deno.makeTempDir();
    const inspectorPort = freePort();
    {
      await using server = await startServer({ inspectorPort, dataDir, env: { VTUBER_LOG: "info" } });
      await churn(server, 10);
      await forgetAll(server);
      const heap = await heapMb(inspectorPort);
      const descriptors = countDescriptors(server);

      await churn(server, 50);
      await forgetAll(server);
      const growth = await heapMb(inspectorPort) - heap;
      assert(growth < MAX_GROWTH_MB, `the heap grew by ${growth} MB`);
      await until(() => countDescriptors(server), (count) => count <= descriptors);
      await agentPids(server, 1);
    }
    const { size } = await Deno.stat(`${dataDir}/data/conversations.db`);
    assert(size < MAX_STORED_BYTES, `${size} bytes`);
    await Deno.remove(dataDir, { recursive: true });
  },
});

/** Clients at once for each kind of request for a response. */
const CLIENTS_PER_KIND = 5;
/** Characters of a response's reply. */
const REPLY_CHARS = 2_000;

/** Makes so many responses: three of four are kept. */
async function respond(server: ServerProcess, count: number): Promise<void> {
  const kinds = [{}, { stream: true }, { background: true }, { store: false }];
  const clients = Array.from({ length: CLIENTS_PER_KIND }, () => kinds).flat();
  const input = script({ big: REPLY_CHARS });
  await Promise.all(clients.map(async (fields) => {
    for (let round = 0; round < count / clients.length; round++) {
      const response = await server.post("/v1/responses", { input, ...fields });
      const body = await response.text();
      assertEquals(response.status, 200, body);
      if (!("background" in fields)) continue;
      const { id } = JSON.parse(body);
      await until(() => server.get(`/v1/responses/${id}`), ({ status }) => status === "completed");
    }
  }));
}

Deno.test({
  name: "5,000 responses: once 1,000 are kept, the heap does not grow",
  ignore: Deno.build.os !== "linux" || Deno.env.has("OAB_VTUBER_EXECUTABLE"),
  async fn() {
    const inspectorPort = freePort();
    // Without conversations to keep, which have a limit of their own.
    const env = { VTUBER_LOG: "info", VTUBER_DATA_DIR: "none", VTUBER_SESSIONS: "stateless" };
    await using server = await startServer({ inspectorPort, env });
    await respond(server, 2_400);
    const heap = await heapMb(inspectorPort);
    await respond(server, 2_600);
    // What the last connections leave is gone a little later.
    await until(async () => await heapMb(inspectorPort) - heap, (growth) => growth < MAX_GROWTH_MB);
  },
});
