import { assertEquals } from "@std/assert";
import {
  findValue,
  notOffered,
  type OptionKind,
  readOptions,
  type SessionOption,
} from "../../lib/acp/session_config.ts";
import { parseSessionSettings } from "../../lib/acp/wire.ts";
import { isObject, type Json } from "../support/agents/agent_io.ts";
import { readRecording } from "../support/agents/replayed_agent.ts";

/** The option of a kind in an answer, in short: how it is set, its current value, its values. */
function read(kind: OptionKind, answer: unknown): string | undefined {
  const option = readOptions(parseSessionSettings(answer)).find((option) => option.kind === kind);
  if (option === undefined) return undefined;
  const values = option.values.map(({ id, name }) => `${id} (${name})`).join(", ");
  return `${option.configId ?? "own"}: ${option.current} of ${values}`;
}

const option = (fields: Json = {}) => ({
  id: "m",
  name: "Model",
  category: "model",
  type: "select",
  currentValue: "a",
  options: [{ value: "a", name: "A" }, { value: "b", name: "B" }],
  ...fields,
});
const offering = (fields: Json) => ({ configOptions: [option(fields)] });
const models = {
  currentModelId: "x",
  availableModels: [{ modelId: "x", name: "X" }, { modelId: "y", name: "Y" }],
};
const modes = {
  currentModeId: "ask",
  availableModes: [{ id: "ask", name: "Ask" }, { id: "code", name: "Code" }],
};

const CASES: readonly (readonly [string, OptionKind, unknown, string | undefined])[] = [
  ["nothing", "model", {}, undefined],
  ["no answer", "model", null, undefined],
  ["words", "model", "models", undefined],
  ["nulls", "model", { configOptions: null, models: null, modes: null }, undefined],
  ["an option", "model", offering({}), "m: a of a (A), b (B)"],
  ["an option among others", "model", {
    configOptions: [option({ id: "effort", category: "thought_level" }), option()],
  }, "m: a of a (A), b (B)"],
  [
    "an option in groups",
    "model",
    offering({
      options: [
        { group: "g", name: "G", options: [{ value: "a", name: "A" }] },
        { group: "h", name: "H", options: [{ value: "b", name: "B" }, { value: "c", name: "C" }] },
      ],
    }),
    "m: a of a (A), b (B), c (C)",
  ],
  [
    "an option without a category, by its id",
    "model",
    offering({ id: "model", category: null }),
    "model: a of a (A), b (B)",
  ],
  [
    "an option of that id and another category",
    "model",
    offering({ id: "model", category: "mode" }),
    undefined,
  ],
  [
    "an option that is a switch",
    "model",
    offering({ type: "boolean", currentValue: true, options: undefined }),
    undefined,
  ],
  ["an option without a type", "model", offering({ type: undefined }), "m: a of a (A), b (B)"],
  [
    "an option without a current value",
    "model",
    offering({ currentValue: null }),
    "m: undefined of a (A), b (B)",
  ],
  ["malformed values", "model", {
    configOptions: [option({ options: [7, null, { value: "" }, { value: "b" }] }), "nonsense"],
  }, "m: a of b (b)"],
  [
    "an id that is too long",
    "model",
    offering({ options: [{ value: "x".repeat(501) }, { value: "b" }] }),
    "m: a of b (b)",
  ],
  ["the older list", "model", { models }, "own: x of x (X), y (Y)"],
  ["both, of which the option counts", "model", { models, ...offering({}) }, "m: a of a (A), b (B)"],
  [
    "the older list, and options of other kinds",
    "model",
    { models, ...offering({ category: "mode" }) },
    "own: x of x (X), y (Y)",
  ],
  ["the older list without names", "model", {
    models: { currentModelId: null, availableModels: [{ modelId: "x" }, {}, null] },
  }, "own: undefined of x (x)"],
  ["a malformed older list", "model", { models: { availableModels: "x" } }, undefined],
  ["modes", "mode", { modes }, "own: ask of ask (Ask), code (Code)"],
  [
    "both, of which the option counts",
    "mode",
    { modes, ...offering({ category: "mode" }) },
    "m: a of a (A), b (B)",
  ],
];
for (const [name, kind, answer, expected] of CASES) {
  Deno.test(`readOptions: ${kind}, ${name}`, () => assertEquals(read(kind, answer), expected));
}

Deno.test("readOptions: keeps no more than a thousand values", () => {
  const options = Array.from({ length: 5_000 }, (_, index) => ({ value: `m${index}`, name: "M" }));
  const [model] = readOptions(parseSessionSettings(offering({ options })));
  assertEquals([model?.values.length, model?.values.at(-1)?.id], [1_000, "m999"]);
});

const LOADING = ["session/new", "session/load", "session/resume"];
const RECORDED: readonly (readonly [
  recording: string,
  methods: string[],
  mode: string[],
  model: string[],
  other: string,
])[] = [
  ["claude-load", LOADING, ["mode", "default"], ["model", "claude-sonnet-4-5"], "opus"],
  ["codex2-load", LOADING, ["mode", "agent"], ["model", "gpt-5"], "gpt-6-astra"],
  [
    "gemini-tools",
    ["session/new"],
    ["own", "default"],
    ["own", "gemini-2.5-flash"],
    "gemini-3-flash-preview",
  ],
];
for (const [recording, methods, mode, model, other] of RECORDED) {
  Deno.test(`readOptions: ${recording}`, () => {
    const messages = readRecording(recording).flatMap(({ msg }) => isObject(msg) ? [msg] : []);
    for (const method of methods) {
      const requestId = messages.find((message) => message.method === method)?.id;
      const answer = messages.find(({ id, result }) => id === requestId && result !== undefined);
      const options = readOptions(parseSessionSettings(answer?.result));
      assertEquals(
        options.map(({ configId, current }) => [configId ?? "own", current]),
        [mode, model],
        method,
      );
      assertEquals(findValue(options[1]!, other), other);
    }
  });
}

const OPTION: SessionOption = {
  kind: "model",
  configId: undefined,
  current: "a",
  values: [
    { id: "a", name: "B" },
    { id: "B", name: "Opus 5" },
    { id: "plan", name: "Think first" },
    { id: "ask", name: "Ask" },
    { id: "ASK", name: "Ask louder" },
  ],
};
for (
  const [wanted, expected] of [
    ["a", "a"],
    ["B", "B"],
    ["b", "a"],
    ["opus 5", "B"],
    ["Plan", "plan"],
    ["ASK", "ASK"],
    ["Ask", "ask"],
    ["d", undefined],
    ["", undefined],
  ] as const
) {
  Deno.test(`findValue: "${wanted}" is ${expected ?? "not found"}`, () =>
    assertEquals(findValue(OPTION, wanted), expected));
}

Deno.test("notOffered: names ten of what there is", () => {
  const values = Array.from({ length: 12 }, (_, index) => ({ id: `m${index}`, name: "M" }));
  assertEquals(
    notOffered("model", "x", values),
    'The agent has no model "x"; it offers m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, and 2 more.',
  );
});
