import { assertEquals, assertThrows } from "@std/assert";
import type { AgentModel } from "../../lib/turn/agent.ts";
import { ModelRouter } from "../../lib/turn/model_router.ts";
import { AppError } from "../../lib/core/errors.ts";
import { MemoryAgent } from "../support/agents/memory_agent.ts";

const model = (id: string, name = id): AgentModel => ({ id, name });

function agent(name: string, ...models: AgentModel[]): MemoryAgent {
  return Object.assign(new MemoryAgent(name), { models });
}

/** The default agent offers nothing, `coder` some, `quiet` has not told what it offers. */
function house(isStrict = false): ModelRouter {
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

/** What names mean, strictly or not. */
const KNOWN: readonly Row[] = [
  ["nothing", "", ["openab"]],
  ["the default", "default", ["openab"]],
  ["the default agent", "openab", ["openab"]],
  ["another agent", "coder", ["coder"]],
  ["an agent that did not tell its models", "quiet", ["quiet"]],
  ["a model of an agent", "coder/fast", ["coder", "fast"]],
  ["a model with a slash", "coder/gpt-5/high", ["coder", "gpt-5/high"]],
  ["a model with an at sign", "coder/kimi@k2", ["coder", "kimi@k2"]],
  ["a model by its id", "fast", ["coder", "fast"]],
  ["a model by its id with a slash", "gpt-5/high", ["coder", "gpt-5/high"]],
  ["a model by its id with an at sign", "kimi@k2", ["coder", "kimi@k2"]],
  ["a model by its name", "GPT-5 (high)", ["coder", "gpt-5/high"]],
  ["a model by its name in other letters", "FAST", ["coder", "fast"]],
  ["a model by its name, of an agent", "coder/GPT-5 (high)", ["coder", "gpt-5/high"]],
  ["a model by its name in other letters, of an agent", "Coder/FAST", ["coder", "fast"]],
  ["a model by its name, of an agent, in a conversation", "coder/Fast@mao", ["coder", "fast", "mao"]],
  ["a model that two offer", "base", ["openab", "base"]],
  ["a model that two offer, of the second", "coder/base", ["coder", "base"]],
  ["a model of an agent that did not tell", "quiet/any/model", ["quiet", "any/model"]],
  ["a conversation", "@mao", ["openab", undefined, "mao"]],
  ["a conversation of the default", "default@mao", ["openab", undefined, "mao"]],
  ["a conversation of an agent", "coder@mao", ["coder", undefined, "mao"]],
  ["a conversation with a slash", "coder@mao/1", ["coder", undefined, "mao/1"]],
  ["a conversation with a model", "coder/fast@mao", ["coder", "fast", "mao"]],
  ["a conversation with a model that has an at sign", "coder/kimi@k2@mao", ["coder", "kimi@k2", "mao"]],
  ["a conversation with a model by its name", "Fast@mao", ["coder", "fast", "mao"]],
  ["a conversation with a model of an agent that did not tell", "quiet/any@mao", ["quiet", "any", "mao"]],
  ["a conversation with an at sign", "coder@ann@example.com", ["coder", undefined, "ann@example.com"]],
  ["a conversation with an at sign, with a model", "coder/fast@ann@example.com", [
    "coder",
    "fast",
    "ann@example.com",
  ]],
  ["spaces around", " coder/fast\t", ["coder", "fast"]],
  ["nothing but spaces", "  ", ["openab"]],
  ["an agent in other letters", "CODER", ["coder"]],
  ["an agent in other letters, with a model", "Coder/fast", ["coder", "fast"]],
  ["an agent in other letters, with a conversation", "Coder@Mao", ["coder", undefined, "Mao"]],
  ["an agent in other letters that did not tell its models", "Quiet/any", ["quiet", "any"]],
  ["the default in other letters", "DEFAULT", ["openab"]],
  ["an agent without its model", "coder/", ["coder"]],
  ["an agent without its conversation", "coder@", ["coder"]],
  ["an agent without either", "coder/@", ["coder"]],
  ["an agent without its model, with a conversation", "coder/@mao", ["coder", undefined, "mao"]],
  ["a model without its conversation", "coder/fast@", ["coder", "fast"]],
  ["a model with an at sign without its conversation", "coder/kimi@k2@", ["coder", "kimi@k2"]],
  ["a model of an agent that did not tell, without its conversation", "quiet/any@", ["quiet", "any"]],
  ["a model of an agent that did not tell, with a slash too many", "quiet/any/", ["quiet", "any"]],
  ["the default without its conversation", "default@", ["openab"]],
];
for (const [name, wanted, expected] of KNOWN) {
  Deno.test(`resolve: ${name}`, () => {
    for (const isStrict of [false, true]) assertEquals(resolved(house(isStrict), wanted), expected);
  });
}

/** What names mean that mean nothing strictly. */
const GUESSED: readonly Row[] = [
  ["a name that skins hard-code", "gpt-4o", ["openab"]],
  ["a model that the agent does not offer", "coder/slow", ["coder"]],
  ["a model that the agent does not offer, in a conversation", "coder/slow@mao", ["coder", undefined, "mao"]],
  ["a model of an agent that is not there", "nobody/fast", ["openab"]],
  ["a model without an agent", "/fast", ["openab"]],
  ["a name with an at sign that skins hard-code", "gpt-4o@2024", ["openab"]],
  ["a conversation of an agent that is not there", "nobody@mao", ["openab"]],
];
for (const [name, wanted, expected] of GUESSED) {
  Deno.test(`resolve: ${name} is guessed, or refused strictly`, () => {
    assertEquals(resolved(house(), wanted), expected);
    const failure = assertThrows(() => house(true).resolve(wanted), AppError);
    assertEquals([failure.code, failure.param], ["model_not_found", "model"]);
    assertEquals(
      failure.message,
      `There is no model "${wanted}"; there is openab, openab/base, coder, coder/fast, ` +
        "coder/gpt-5/high, coder/kimi@k2, coder/base, quiet.",
    );
  });
}

Deno.test("resolve: an id comes before a name", () => {
  const first = agent("one", model("a", "b"));
  assertEquals(resolved(new ModelRouter([agent("one", model("a", "b"), model("b", "c"))]), "b"), [
    "one",
    "b",
  ]);
  assertEquals(resolved(new ModelRouter([first, agent("two", model("b"))]), "b"), ["two", "b"]);
});

Deno.test("resolve: an agent comes before a model, and a listed id before what it could be taken for", () => {
  const agents = new ModelRouter([agent("one", model("two"), model("two/x")), agent("two", model("x"))]);
  assertEquals(resolved(agents, "two"), ["two"]);
  assertEquals(resolved(agents, "two/x"), ["two", "x"]);
  assertEquals(resolved(agents, "one/two/x"), ["one", "two/x"]);
  // A name that says everything means that, whatever else it could mean.
  assertEquals(resolved(new ModelRouter([agent("a"), agent("a@b")]), "a@b"), ["a@b"]);
});

Deno.test("resolve: the default agent may have any name, and its models are found all the same", () => {
  const agents = new ModelRouter([agent("mao/fast", model("x")), agent("coder")]);
  assertEquals(agents.models, ["mao/fast", "mao/fast/x", "coder"]);
  assertEquals(resolved(agents, "mao/fast"), ["mao/fast"]);
  assertEquals(resolved(agents, "mao/fast/x"), ["mao/fast", "x"]);
  assertEquals(resolved(agents, "mao/fast@ann"), ["mao/fast", undefined, "ann"]);
});

Deno.test("resolve: what is meant to the letter comes before what is not", () => {
  const agents = new ModelRouter([
    agent("one", model("Two"), model("big", "THREE"), model("x", "Default")),
    agent("two", model("x")),
    agent("three"),
    agent("Two/x"),
    agent("four/"),
    agent("four"),
  ]);
  assertEquals(resolved(agents, "Two"), ["one", "Two"]);
  assertEquals(resolved(agents, "TWO"), ["one", "Two"]);
  assertEquals(resolved(agents, "three"), ["three"]);
  assertEquals(resolved(agents, "Three"), ["one", "big"]);
  assertEquals(resolved(agents, "two/x"), ["two", "x"]);
  assertEquals(resolved(agents, "Two/x"), ["Two/x"]);
  assertEquals(resolved(agents, "TWO/x"), ["two", "x"]);
  assertEquals(resolved(agents, "four/"), ["four/"]);
});

Deno.test("resolve: a model's name behind an agent comes after ids, and before that of another's", () => {
  const agents = new ModelRouter([
    agent("one", model("a", "two/X")),
    agent("two", model("b", "X"), model("c", "Y"), model("y")),
    agent("three", model("two/Y")),
  ]);
  assertEquals(resolved(agents, "two/X"), ["two", "b"]);
  assertEquals(resolved(agents, "two/y"), ["two", "y"]);
  assertEquals(resolved(agents, "two/Y"), ["three", "two/Y"]);
});

Deno.test("resolve: the default is the default agent, whatever models are called", () => {
  const agents = new ModelRouter([
    agent("one", model("default")),
    agent("two", model("x", "Default"), model("DEFAULT")),
  ]);
  for (const wanted of ["default", "Default", "DEFAULT", "Default@"]) {
    assertEquals(resolved(agents, wanted), ["one"], wanted);
  }
  assertEquals(resolved(agents, "two/Default"), ["two", "x"]);
});

Deno.test("find: what a name is known to mean, and nothing for one that is guessed", () => {
  for (const isStrict of [false, true]) {
    const agents = house(isStrict);
    for (const wanted of ["", "Default", "CODER", "Fast", "coder/Fast", "coder/kimi@k2@mao", " coder/ "]) {
      assertEquals(agents.find(wanted), agents.resolve(wanted), wanted);
    }
    for (const wanted of ["gpt-4o", "coder/slow", "quiet/any", "nobody@mao"]) {
      assertEquals(agents.find(wanted), undefined, wanted);
    }
  }
});

Deno.test("resolve: what an agent told meanwhile counts", () => {
  const quiet = agent("quiet");
  const agents = new ModelRouter([agent("openab"), quiet]);
  assertEquals(resolved(agents, "big"), ["openab"]);
  quiet.models = [model("big")];
  assertEquals(resolved(agents, "big"), ["quiet", "big"]);
});

Deno.test("Agents: the default is the first, and the others are found by their names", () => {
  const agents = house();
  assertEquals(agents.default.name, "openab");
  assertEquals(agents.byName("coder"), agents.all[1]);
  assertEquals(agents.byName("nobody"), undefined);
});

Deno.test("notFound lists some of many models", () => {
  const many = Array.from({ length: 30 }, (_, index) => model(`m${index}`));
  const { message } = new ModelRouter([agent("openab", ...many)]).notFound("x");
  assertEquals(message.endsWith("openab/m17, openab/m18, and 11 more."), true, message);
});

function resolved(agents: ModelRouter, wanted: string): Expected {
  const { agent, model, conversation } = agents.resolve(wanted);
  if (conversation !== undefined) return [agent.name, model, conversation];
  return model === undefined ? [agent.name] : [agent.name, model];
}
