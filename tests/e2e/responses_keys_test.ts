/** Responses of two keys, in memory, in the file, and while they run. */

import { assert, assertEquals } from "@std/assert";
import type { Step } from "../support/agents/agent_steps.ts";
import { script, type ServerProcess, startServer, until } from "../support/harness/server_process.ts";

const CONFIG = `
[keys.one]
key = "key-one"
scopes = ["chat"]
[keys.two]
key = "key-two"
scopes = ["chat"]
`;

type Key = "key-one" | "key-two";
// deno-lint-ignore no-explicit-any
type Answer = { status: number; body: any };

async function send(
  { url }: ServerProcess,
  key: Key,
  method: string,
  path: string,
  body?: Record<string, unknown>,
): Promise<Answer> {
  const response = await fetch(`${url}/v1/responses${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  return { status: response.status, body: await response.json() };
}

/** Checks that the second key can neither see, change nor use a response of the first one. */
async function checkSecret(server: ServerProcess, id: string): Promise<void> {
  const read = () => send(server, "key-one", "GET", `/${id}`);
  const readInput = () => send(server, "key-one", "GET", `/${id}/input_items`);
  const [response, input] = [await read(), await readInput()];
  assertEquals([response.status, input.status], [200, 200]);
  const items = [response.body.output[0].id, input.body.data[0].id];
  const prompts = (await server.prompts()).length;

  const hello = { role: "user", content: "Hello" };
  const requests: [method: string, path: string, body?: Record<string, unknown>][] = [
    ["GET", `/${id}`],
    ["GET", `/${id}/input_items`],
    ["GET", `/${id}/input_items?after=${items[1]}`],
    ["POST", `/${id}/cancel`],
    ["DELETE", `/${id}`],
    ["POST", "", { previous_response_id: id, input: "Hello" }],
    ...items.map((item): [string, string, Record<string, unknown>] => [
      ...["POST", ""] as const,
      { input: [{ type: "item_reference", id: item }, hello] },
    ]),
  ];
  for (const [method, path, body] of requests) {
    const { status, body: { error } } = await send(server, "key-two", method, path, body);
    const expected = body?.previous_response_id ? [400, "previous_response_not_found"] : [404, "not_found"];
    assertEquals([status, error.code], expected, `${method} ${path} ${JSON.stringify(body)}`);
    assert(!JSON.stringify(error).includes("secret"));
  }
  assertEquals((await server.prompts()).length, prompts);
  assertEquals([await read(), await readInput()], [response, input]);
}

Deno.test("two keys never meet: each response is for its own key", async () => {
  const dataDir = await Deno.makeTempDir();
  await Deno.writeTextFile(`${dataDir}/config.toml`, CONFIG);
  const start = () =>
    startServer({ dataDir, args: ["--config", `${dataDir}/config.toml`], env: { VTUBER_AUTH_KEY: "" } });
  const words = (...more: Step[]) => `secret ${script({ text: "secret" }, ...more)}`;
  let stored = "";
  try {
    {
      await using server = await start();
      const create = async (key: Key, body: Record<string, unknown>) => {
        const answer = await send(server, key, "POST", "", body);
        assertEquals(answer.status, 200);
        return answer.body;
      };
      const same = { conversation: "same", input: words() };
      const { id } = await create("key-one", same);
      await checkSecret(server, id);

      const running = await create("key-one", { background: true, input: words({ hang: true }) });
      await until(
        () => send(server, "key-one", "GET", `/${running.id}`),
        ({ body }) => body.output[0]?.content[0]?.text === "secret",
      );
      await checkSecret(server, running.id);
      assertEquals((await send(server, "key-one", "POST", `/${running.id}/cancel`)).body.status, "cancelled");

      stored = (await create("key-one", { store: true, input: words() })).id;
      await checkSecret(server, stored);

      // The same name is another conversation for another key.
      const prompts = await server.prompts();
      await create("key-two", { conversation: "same", input: script({ text: "Hi." }) });
      const [prompt] = (await server.prompts()).slice(prompts.length);
      assert(!prompts.some(({ sessionId }) => sessionId === prompt!.sessionId));
      assert(!prompt!.text.includes("secret"));
    }
    await using server = await start();
    await checkSecret(server, stored);
    assertEquals((await send(server, "key-one", "DELETE", `/${stored}`)).status, 200);
    assertEquals((await send(server, "key-one", "GET", `/${stored}`)).status, 404);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});
