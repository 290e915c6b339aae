/** Many turns, ended and aborted, after which nothing is left of them. `deno task soak` is the long run with random inputs. */

import { assert, assertEquals } from "@std/assert";
import { loadWithResponses } from "../fuzz/response_load.ts";
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
      await churn(server, 20);
      await forgetAll(server);
      const heap = await heapMb(inspectorPort);
      const descriptors = countDescriptors(server);

      await churn(server, 50);
      await forgetAll(server);
      // What the last connections leave is gone a little later.
      await until(async () => await heapMb(inspectorPort) - heap, (growth) => growth < MAX_GROWTH_MB);
      await until(() => countDescriptors(server), (count) => count <= descriptors);
      await agentPids(server, 1);
    }
    const { size } = await Deno.stat(`${dataDir}/data/conversations.db`);
    assert(size < MAX_STORED_BYTES, `${size} bytes`);
    await Deno.remove(dataDir, { recursive: true });
  },
});

Deno.test({
  name:
    "5,000 responses, in memory, in the file, in chains, in the background, with approvals: the heap does not grow",
  ignore: Deno.build.os !== "linux" || Deno.env.has("OAB_VTUBER_EXECUTABLE"),
  fn: async () => void await loadWithResponses(5_000),
});
