import { assertEquals, assertThrows } from "@std/assert";
import { type Model, modelHandler, modelsHandler } from "../../lib/openai/models.ts";
import { ModelRouter } from "../../lib/turn/model_router.ts";
import { AppError } from "../../lib/core/errors.ts";
import { MemoryAgent } from "../support/agents/memory_agent.ts";

const REQUEST = new Request("http://127.0.0.1/v1/models");
const CREATED = 1_700_000_000;

function house(): { agents: ModelRouter; coder: MemoryAgent } {
  const coder = new MemoryAgent("coder");
  return { agents: new ModelRouter([new MemoryAgent("openab"), coder]), coder };
}

async function idsOf(agents: ModelRouter): Promise<string[]> {
  const response = await modelsHandler(agents, CREATED)(REQUEST, { requestId: "1", rest: "" });
  const { object, data }: { object: string; data: Model[] } = await response.json();
  assertEquals(object, "list");
  for (const model of data) {
    assertEquals(model, { id: model.id, object: "model", created: CREATED, owned_by: "acp" });
  }
  return data.map(({ id }) => id);
}

Deno.test("models: each agent, and the models it offers as soon as it tells", async () => {
  const { agents, coder } = house();
  assertEquals(await idsOf(agents), ["openab", "coder"]);
  coder.models = [{ id: "fast", name: "Fast" }, { id: "gpt-5/high", name: "GPT-5 (high)" }];
  assertEquals(await idsOf(agents), ["openab", "coder", "coder/fast", "coder/gpt-5/high"]);
});

Deno.test("models: every id that is listed is found, and means what it says", async () => {
  const { agents, coder } = house();
  coder.models = [{ id: "fast", name: "Fast" }, { id: "gpt-5/high", name: "GPT-5 (high)" }];
  for (const id of await idsOf(agents)) {
    const response = await modelHandler(agents, CREATED)(REQUEST, { requestId: "1", rest: id });
    assertEquals(await response.json(), { id, object: "model", created: CREATED, owned_by: "acp" });
    const { agent, model } = agents.resolve(id);
    assertEquals(model === undefined ? agent.name : `${agent.name}/${model}`, id);
  }
});

Deno.test("models: the default is the default agent", async () => {
  const { agents } = house();
  for (const rest of ["default", "Default"]) {
    const response = await modelHandler(agents, CREATED)(REQUEST, { requestId: "1", rest });
    assertEquals(await response.json(), { id: "openab", object: "model", created: CREATED, owned_by: "acp" });
  }
});

const MEANT: [name: string, rest: string, id: string][] = [
  ["an agent in other letters", "Coder", "coder"],
  ["an agent and a model in other letters", "CODER/FAST", "coder/fast"],
  ["a model", "fast", "coder/fast"],
  ["a model by its name", "GPT-5 (high)", "coder/gpt-5/high"],
  ["a model by its name, of an agent", "coder/Fast", "coder/fast"],
  ["an agent with a conversation", "coder@mao", "coder"],
  ["the default where a model is called so", "DEFAULT", "openab"],
];
for (const [name, rest, id] of MEANT) {
  Deno.test(`models: ${name} is what a chat with that name is served by`, async () => {
    const { agents, coder } = house();
    coder.models = [
      { id: "fast", name: "Fast" },
      { id: "gpt-5/high", name: "GPT-5 (high)" },
      { id: "x", name: "Default" },
    ];
    const response = await modelHandler(agents, CREATED)(REQUEST, { requestId: "1", rest });
    assertEquals(await response.json(), { id, object: "model", created: CREATED, owned_by: "acp" });
    const { agent, model } = agents.resolve(rest);
    assertEquals(model === undefined ? agent.name : `${agent.name}/${model}`, id);
  });
}

Deno.test("models: one that is not there", () => {
  const { agents } = house();
  for (const rest of ["gpt-4o", "coder/fast", "nobody@mao"]) {
    const failure = assertThrows(
      () => void modelHandler(agents, CREATED)(REQUEST, { requestId: "1", rest }),
      AppError,
    );
    assertEquals([failure.code, failure.param], ["model_not_found", "model"]);
    assertEquals(failure.message, `There is no model "${rest}"; there is openab, coder.`);
  }
});
