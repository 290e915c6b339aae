import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { LOCAL_CALLER } from "../../lib/http/access.ts";
import { modelHandler, modelsHandler } from "../../lib/openai/models.ts";
import { ModelRouter } from "../../lib/turn/model_router.ts";
import { AppError } from "../../lib/core/errors.ts";
import { MemoryAgent } from "../support/agents/memory_agent.ts";

const REQUEST = new Request("http://127.0.0.1/v1/models");
const CREATED = 1_700_000_000;

const MODELS = [{ id: "fast", name: "Fast" }, { id: "gpt-5/high", name: "GPT-5 (high)" }];

/** A router with a default agent and one with these models. */
function createRouter(models = MODELS): ModelRouter {
  const coder = new MemoryAgent("coder");
  coder.models = models;
  return new ModelRouter([new MemoryAgent("openab"), coder]);
}

async function list(router: ModelRouter): Promise<string[]> {
  const response = await modelsHandler(router, CREATED)(REQUEST, {
    requestId: "1",
    rest: "",
    caller: LOCAL_CALLER,
  });
  const { object, data }: { object: string; data: { id: string }[] } = await response.json();
  assertEquals(object, "list");
  for (const model of data) {
    assertEquals(model, { id: model.id, object: "model", created: CREATED, owned_by: "acp" });
  }
  return data.map(({ id }) => id);
}

/** Checks that this name is described under this id, and that a chat request with this name gets that model. */
async function assertDescribed(router: ModelRouter, name: string, id: string): Promise<void> {
  const response = await modelHandler(router, CREATED)(REQUEST, {
    requestId: "1",
    rest: name,
    caller: LOCAL_CALLER,
  });
  assertEquals(await response.json(), { id, object: "model", created: CREATED, owned_by: "acp" });
  const { agent, model } = router.resolve(name);
  assertEquals(model === undefined ? agent.name : `${agent.name}/${model}`, id);
}

Deno.test("modelsHandler: lists the agents, and the models that they have reported", async () => {
  assertEquals(await list(createRouter([])), ["openab", "coder"]);
  assertEquals(await list(createRouter()), ["openab", "coder", "coder/fast", "coder/gpt-5/high"]);
});

Deno.test("modelHandler: describes every id of the list", async () => {
  const router = createRouter();
  for (const id of await list(router)) await assertDescribed(router, id, id);
});

Deno.test("modelHandler: describes the model of any name that a chat request can have", async () => {
  const router = createRouter([...MODELS, { id: "x", name: "Default" }]);
  await assertDescribed(router, "Default", "openab");
  await assertDescribed(router, "coder@mao", "coder");
  await assertDescribed(router, "GPT-5 (high)", "coder/gpt-5/high");
});

Deno.test("modelHandler: an unknown name is model_not_found", () => {
  for (const rest of ["gpt-4o", "coder/fast", "nobody@mao"]) {
    const handler = modelHandler(createRouter([]), CREATED);
    const error = assertThrows(
      () => void handler(REQUEST, { requestId: "1", rest, caller: LOCAL_CALLER }),
      AppError,
    );
    assertEquals([error.code, error.param], ["model_not_found", "model"]);
    assertEquals(error.message.includes(`"${rest}"`), true);
    assertMatch(error.message, /openab, coder/);
  }
});
