import { assertEquals, assertThrows } from "@std/assert";
import type { AgentModel } from "../../lib/turn/agent.ts";
import { ModelRouter } from "../../lib/turn/model_router.ts";
import { AppError } from "../../lib/core/errors.ts";
import { MemoryAgent } from "../support/agents/memory_agent.ts";

const model = (id: string, name = id): AgentModel => ({ id, name });

function agent(name: string, ...models: AgentModel[]): MemoryAgent {
  return Object.assign(new MemoryAgent(name), { models });
}

/** Three agents: the default one, `coder` with several models, and `quiet` without a list of models. */
function createRouter(isStrict = false): ModelRouter {
  return new ModelRouter([
    agent("openab", model("base", "Base model")),
    agent(
      "coder",
      model("fast", "Fast"),
      model("gpt-5/high", "GPT-5 (high)"),
      model("kimi@k2"),
      model("base"),
    ),
    agent("quiet"),
  ], isStrict);
}

type Expected = readonly [agent: string, model?: string | undefined, conversation?: string];
type Row = readonly [name: string, wanted: string, expected: Expected];

/** Names that mean the same whether names are strict or not. */
const CERTAIN: readonly Row[] = [
  ["nothing", "", ["openab"]],
  ["the default", "default", ["openab"]],
  ["the default agent", "openab", ["openab"]],
  ["another agent", "coder", ["coder"]],
  ["an agent without a list", "quiet", ["quiet"]],
  ["a model of an agent", "coder/fast", ["coder", "fast"]],
  ["a model with a slash", "coder/gpt-5/high", ["coder", "gpt-5/high"]],
  ["a model with an at sign", "coder/kimi@k2", ["coder", "kimi@k2"]],
  ["a model by its id", "fast", ["coder", "fast"]],
  ["a model by its id with a slash", "gpt-5/high", ["coder", "gpt-5/high"]],
  ["a model by its id with an at sign", "kimi@k2", ["coder", "kimi@k2"]],
  ["a model by its name", "GPT-5 (high)", ["coder", "gpt-5/high"]],
  ["a model by its name in another case", "FAST", ["coder", "fast"]],
  ["a model by its name, of an agent", "coder/GPT-5 (high)", ["coder", "gpt-5/high"]],
  ["a model by its name, of an agent, in a conversation", "coder/Fast@mao", ["coder", "fast", "mao"]],
  ["a model that two agents offer", "base", ["openab", "base"]],
  ["a model that two agents offer, of the second", "coder/base", ["coder", "base"]],
  ["a model of an agent without a list", "quiet/any/model", ["quiet", "any/model"]],
  ["a conversation", "@mao", ["openab", undefined, "mao"]],
  ["a conversation of an agent", "coder@mao", ["coder", undefined, "mao"]],
  ["a conversation with a slash", "coder@mao/1", ["coder", undefined, "mao/1"]],
  ["a conversation with a model", "coder/fast@mao", ["coder", "fast", "mao"]],
  ["a conversation with a model that has an at sign", "coder/kimi@k2@mao", ["coder", "kimi@k2", "mao"]],
  ["a conversation with a model by its name", "Fast@mao", ["coder", "fast", "mao"]],
  ["a conversation with a model of an agent without a list", "quiet/any@mao", ["quiet", "any", "mao"]],
  ["a conversation with an at sign", "coder@ann@example.com", ["coder", undefined, "ann@example.com"]],
  ["a conversation with an at sign, with a model", "coder/fast@ann@example.com", [
    "coder",
    "fast",
    "ann@example.com",
  ]],
  ["spaces around", " coder/fast\t", ["coder", "fast"]],
  ["an agent in another case", "CODER", ["coder"]],
  ["an agent in another case, with a model", "Coder/fast", ["coder", "fast"]],
  ["an agent in another case, with a conversation", "Coder@Mao", ["coder", undefined, "Mao"]],
  ["the default in another case", "DEFAULT", ["openab"]],
  ["an agent without its conversation", "coder@", ["coder"]],
];
for (const isStrict of [false, true]) {
  Deno.test(`resolve: certain names, ${isStrict ? "strict" : "not strict"}`, () => {
    for (const [name, wanted, expected] of CERTAIN) {
      assertEquals(resolved(createRouter(isStrict), wanted), expected, name);
    }
  });
}

/** Names that are refused if names are strict. */
const UNCERTAIN: readonly Row[] = [
  ["a name that skins hard-code", "gpt-4o", ["openab"]],
  ["a model that the agent does not offer", "coder/slow", ["coder"]],
  ["a model that the agent does not offer, in a conversation", "coder/slow@mao", ["coder", undefined, "mao"]],
  ["a model of an unknown agent", "unknown/fast", ["openab"]],
  ["a model without an agent", "/fast", ["openab"]],
  ["a name with an at sign that skins hard-code", "gpt-4o@2024", ["openab"]],
  ["a conversation of an unknown agent", "unknown@mao", ["openab"]],
];
for (const [name, wanted, expected] of UNCERTAIN) {
  Deno.test(`resolve: ${name} is guessed, or refused if names are strict`, () => {
    assertEquals(resolved(createRouter(), wanted), expected);
    const failure = assertThrows(() => createRouter(true).resolve(wanted), AppError);
    assertEquals([failure.code, failure.param], ["model_not_found", "model"]);
    assertEquals(
      failure.message,
      `There is no model "${wanted}"; there is openab, openab/base, coder, coder/fast, ` +
        "coder/gpt-5/high, coder/kimi@k2, coder/base, quiet.",
    );
  });
}

Deno.test("resolve: an id comes before a display name", () => {
  const first = agent("one", model("a", "b"));
  assertEquals(resolved(new ModelRouter([agent("one", model("a", "b"), model("b", "c"))]), "b"), [
    "one",
    "b",
  ]);
  assertEquals(resolved(new ModelRouter([first, agent("two", model("b"))]), "b"), ["two", "b"]);
});

Deno.test("resolve: an agent comes before a model, and a listed id before another reading", () => {
  const router = new ModelRouter([agent("one", model("two"), model("two/x")), agent("two", model("x"))]);
  assertEquals(resolved(router, "two"), ["two"]);
  assertEquals(resolved(router, "two/x"), ["two", "x"]);
  assertEquals(resolved(router, "one/two/x"), ["one", "two/x"]);
  assertEquals(resolved(new ModelRouter([agent("a"), agent("a@b")]), "a@b"), ["a@b"]);
});

Deno.test("resolve: finds the models of a default agent with any name", () => {
  const router = new ModelRouter([agent("mao/fast", model("x")), agent("coder")]);
  assertEquals(router.models, ["mao/fast", "mao/fast/x", "coder"]);
  assertEquals(resolved(router, "mao/fast"), ["mao/fast"]);
  assertEquals(resolved(router, "mao/fast/x"), ["mao/fast", "x"]);
  assertEquals(resolved(router, "mao/fast@ann"), ["mao/fast", undefined, "ann"]);
});

Deno.test("resolve: the same letters come before another case", () => {
  const router = new ModelRouter([
    agent("one", model("Two"), model("x", "Default")),
    agent("two", model("x")),
  ]);
  assertEquals(resolved(router, "Two"), ["one", "Two"]);
  assertEquals(resolved(router, "TWO"), ["two"]);
  assertEquals(resolved(router, "TWO/X"), ["two", "x"]);
});

Deno.test("resolve: a display name behind an agent comes after ids, and before another agent's display name", () => {
  const router = new ModelRouter([
    agent("one", model("a", "two/X")),
    agent("two", model("b", "X"), model("c", "Y"), model("y")),
    agent("three", model("two/Y")),
  ]);
  assertEquals(resolved(router, "two/X"), ["two", "b"]);
  assertEquals(resolved(router, "two/y"), ["two", "y"]);
  assertEquals(resolved(router, "two/Y"), ["three", "two/Y"]);
});

Deno.test("resolve: `default` is the default agent, even if a model has that name", () => {
  const router = new ModelRouter([
    agent("one", model("default")),
    agent("two", model("x", "Default"), model("DEFAULT")),
  ]);
  for (const wanted of ["default", "Default", "DEFAULT", "Default@"]) {
    assertEquals(resolved(router, wanted), ["one"], wanted);
  }
  assertEquals(resolved(router, "two/Default"), ["two", "x"]);
});

Deno.test("find: resolves certain names only", () => {
  for (const isStrict of [false, true]) {
    const router = createRouter(isStrict);
    for (const wanted of ["", "Default", "CODER", "Fast", "coder/Fast", "coder/kimi@k2@mao", " coder "]) {
      assertEquals(router.find(wanted), router.resolve(wanted), wanted);
    }
    for (const wanted of ["gpt-4o", "coder/slow", "quiet/any", "unknown@mao"]) {
      assertEquals(router.find(wanted), undefined, wanted);
    }
  }
});

Deno.test("resolve: uses the models that an agent lists later", () => {
  const quiet = agent("quiet");
  const router = new ModelRouter([agent("openab"), quiet]);
  assertEquals(resolved(router, "big"), ["openab"]);
  quiet.models = [model("big")];
  assertEquals(resolved(router, "big"), ["quiet", "big"]);
});

for (const isStrict of [false, true]) {
  Deno.test(`for: the router of a caller knows its only agent alone, ${isStrict ? "strict" : "not strict"}`, () => {
    const agents = createRouter(isStrict);
    const router = agents.for({ agent: "coder" });
    assertEquals(router.models, ["coder", "coder/fast", "coder/gpt-5/high", "coder/kimi@k2", "coder/base"]);
    for (
      const [wanted, expected] of [
        ["", ["coder"]],
        ["default", ["coder"]],
        ["coder/fast@mao", ["coder", "fast", "mao"]],
        ["@mao", ["coder", undefined, "mao"]],
        ["base", ["coder", "base"]],
      ] as const
    ) {
      assertEquals(resolved(router, wanted), expected, wanted);
    }
    for (const other of ["openab", "OPENAB", "openab/base", "openab@mao", "quiet", "quiet/any"]) {
      assertEquals(router.find(other), undefined, other);
      if (!isStrict) assertEquals(resolved(router, other), ["coder"], other);
      else {
        const { message } = assertThrows(() => router.resolve(other), AppError);
        assertEquals(message, `There is no model "${other}"; there is ${router.models.join(", ")}.`);
      }
    }
    for (const caller of [undefined, {}]) assertEquals(agents.for(caller), agents);
    assertThrows(() => agents.for({ agent: "Coder" }), TypeError, 'There is no agent "Coder".');
  });
}

Deno.test("notFound: lists some of many models", () => {
  const many = Array.from({ length: 30 }, (_, index) => model(`m${index}`));
  const { message } = new ModelRouter([agent("openab", ...many)]).notFound("x");
  assertEquals(message.endsWith("openab/m17, openab/m18, and 11 more."), true, message);
});

function resolved(router: ModelRouter, wanted: string): Expected {
  const { agent, model, conversation } = router.resolve(wanted);
  if (conversation !== undefined) return [agent.name, model, conversation];
  return model === undefined ? [agent.name] : [agent.name, model];
}
