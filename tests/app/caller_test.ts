/** What the key of a request changes in its turn. @module */

import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import type { ApiKey } from "../../lib/http/access.ts";
import { type Caller, SCOPES } from "../../lib/turn/caller.ts";
import { MemoryAgent, saying } from "../support/agents/memory_agent.ts";
import { errorOf, type SendOptions, startApp } from "../support/harness/app_harness.ts";
import { contentOf } from "../support/harness/chat_fixture.ts";

/** A key with every scope; its secret is its name. */
function apiKey(name: string, caller: Partial<Caller> = {}): ApiKey {
  const sha256 = createHash("sha256").update(name).digest("hex");
  return { name, sha256, caller: { id: `keys.${name}`, scopes: new Set(SCOPES), ...caller } };
}
const said = async (answer: Response | Promise<Response>) => (await contentOf(answer)).trim();
const as = (key: string): SendOptions => ({ headers: { authorization: `Bearer ${key}` } });

/** Starts an app with two agents, the second of which alone answers the key "live". */
function startTwo(strictModels = false) {
  const viewers = new MemoryAgent("viewers");
  viewers.models = [{ id: "small", name: "Small" }];
  viewers.script = saying("From viewers.");
  const keys = [apiKey("owner"), apiKey("live", { agent: "viewers" })];
  const app = startApp({ script: saying("From openab."), agents: [viewers], access: { keys }, strictModels });
  app.agent.models = [{ id: "big", name: "Big" }];
  return { app, viewers };
}

Deno.test("agent of a key: answers it, whatever the model; other keys have all agents", async () => {
  const { app } = startTwo();
  await using _ = app;
  for (
    const model of [
      undefined,
      "default",
      "gpt-4o",
      "openab",
      "openab/big",
      "openab@mao",
      "Big",
      "viewers/small",
    ]
  ) {
    const response = await app.chat({ model }, as("live"));
    assertEquals(response.headers.get("x-resolved-model"), "viewers/small");
    assertEquals(await said(response), "From viewers.");
  }
  assertEquals(await said(app.chat({}, as("owner"))), "From openab.");
  assertEquals(await said(app.chat({ model: "viewers" }, as("owner"))), "From viewers.");
  const { model } = await (await app.chat({}, as("live"))).json();
  assertEquals(model, "viewers");
  const named = await app.chat({ model: "viewers@mao" }, as("live"));
  assertEquals([named.headers.get("x-session-id"), await said(named)], ["mao", "From viewers."]);
});

Deno.test("agent of a key: with strict names another agent is unknown, and no error lists it", async () => {
  const { app, viewers } = startTwo(true);
  await using _ = app;
  const refused = async (model: string) => {
    const { status, code, message } = await errorOf(await app.chat({ model }, as("live")));
    return [status, code, message];
  };
  for (const model of ["openab", "openab/big", "openab@mao", "Big", "gpt-4o"]) {
    const message = `There is no model "${model}"; there is viewers, viewers/small.`;
    assertEquals(await refused(model), [404, "model_not_found", message]);
  }
  // The agent lists its models with its first session, which then refuses the model.
  const { models } = viewers;
  viewers.models = [];
  const open = viewers.newSession.bind(viewers);
  viewers.newSession = (signal) => {
    viewers.models = models;
    return open(signal);
  };
  const message = 'There is no model "viewers/huge"; there is viewers, viewers/small.';
  assertEquals(await refused("viewers/huge"), [404, "model_not_found", message]);
  assertEquals([app.agent.prompts.length, viewers.prompts.length], [0, 0]);
  assertEquals(await said(app.chat({ model: "small" }, as("live"))), "From viewers.");
});

Deno.test("agent of a key: GET /v1/models shows this agent only", async () => {
  const { app } = startTwo();
  await using _ = app;
  const list = async (key: string) => {
    const { data }: { data: { id: string }[] } = await (await app.get("/v1/models", as(key))).json();
    return data.map(({ id }) => id);
  };
  assertEquals(await list("owner"), ["openab", "openab/big", "viewers", "viewers/small"]);
  assertEquals(await list("live"), ["viewers", "viewers/small"]);
  const described = async (id: string) => (await (await app.get(`/v1/models/${id}`, as("live"))).json()).id;
  assertEquals([await described("default"), await described("Small")], ["viewers", "viewers/small"]);
  for (const id of ["openab", "openab/big", "Big"]) {
    const { status, message } = await errorOf(await app.get(`/v1/models/${id}`, as("live")));
    assertEquals([status, message], [404, `There is no model "${id}"; there is viewers, viewers/small.`]);
  }
});

Deno.test("agent of a key: a request without an agent goes to it", async () => {
  const { app, viewers } = startTwo();
  await using _ = app;
  const messages = [{ role: "user", parts: [{ type: "text", text: "Hi" }] }] as const;
  const { caller } = apiKey("live", { agent: "viewers" });
  for (const request of [{ caller }, {}]) {
    const turn = await app.conversations.startTurn({
      ...request,
      messages,
      unsolicited: true,
      record: false,
    });
    turn.read(() => {});
    await turn.ended;
  }
  assertEquals([viewers.prompts.length, app.agent.prompts.length], [1, 1]);
});
