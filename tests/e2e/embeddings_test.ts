/** Embeddings of the program: the official client in front, and an OpenAI-compatible server behind. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import OpenAI from "npm:openai@7.55.0";
import { FakeUpstream, vectorOf } from "../support/harness/fake_upstream.ts";
import { startServer } from "../support/harness/server_process.ts";

Deno.test("embeddings: from the file's server, for keys with their scope, and no secret is told", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using upstream = new FakeUpstream();
    const [key, query] = ["upstream-key-1", "query-secret-1"];
    await Deno.writeTextFile(
      `${folder}/config.toml`,
      `[embeddings]
base_url = "${upstream.url}/?api-key=${query}"
key = "\${EMBEDDINGS_KEY}"
model = "nomic"
[keys.search]
key = "key-of-search"
scopes = ["embeddings"]
[keys.skin]
key = "key-of-skin"
scopes = ["chat"]
`,
    );
    await using server = await startServer({
      args: ["--config", `${folder}/config.toml`],
      env: { EMBEDDINGS_KEY: key, VTUBER_AUTH_KEY: "" },
    });
    const embed = async (apiKey: string) => {
      const openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 });
      return await openai.embeddings.create({ model: "any", input: ["one", "two"] });
    };
    const { data, model } = await embed("key-of-search");
    assertEquals(data.map(({ embedding }) => embedding), [vectorOf(0), vectorOf(1)]);
    assertEquals([model, upstream.call.path, upstream.call.authorization], [
      "served-nomic",
      `/v1/embeddings?api-key=${query}`,
      `Bearer ${key}`,
    ]);
    const refused = await assertRejects(() => embed("key-of-skin"), OpenAI.PermissionDeniedError);
    assertEquals([refused.code, upstream.calls.length], ["insufficient_scope", 1]);
    upstream.script = () => Response.json({ error: { message: `No ${query} for ${key}.` } }, { status: 500 });
    const failed = await assertRejects(() => embed("key-of-search"), OpenAI.InternalServerError);
    assertStringIncludes(failed.message, "(status 500): No [secret] for [secret].");
    await server.logged("/v1/embeddings");
    assert(!new RegExp(`${key}|${query}`).test(server.log()), server.log());
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("embeddings: without the table, the client is told at once what to set", async () => {
  await using server = await startServer();
  const openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "any", maxRetries: 2 });
  const error = await assertRejects(
    () => openai.embeddings.create({ model: "any", input: "one" }),
    OpenAI.InternalServerError,
  );
  assertEquals([error.status, error.code], [501, "not_configured"]);
  assertStringIncludes(error.message, "base_url of [embeddings]");
});
