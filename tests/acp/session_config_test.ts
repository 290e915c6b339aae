import { assertEquals } from "@std/assert";
import {
  findValue,
  notOffered,
  type OptionKind,
  readOptions,
  type SessionOption,
  setRequest,
} from "../../lib/acp/session_config.ts";
import { parseSessionSettings } from "../../lib/acp/wire.ts";
import { isObject, type Json } from "../support/agents/scripted_agent.ts";
import { readRecording } from "../support/agents/replayed_agent.ts";

/** The options of a kind in an answer, in short: how each is set, its current value, its values. */
function read(kind: OptionKind, answer: unknown): string[] {
  return readOptions(parseSessionSettings(answer)).filter((option) => option.kind === kind).map((option) => {
    const values = option.values.map(({ id, name }) => `${id} (${name})`).join(", ");
    return `${option.configId ?? "own"}: ${option.current} of ${values}`;
  });
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
const LIST = {
  currentModelId: "x",
  availableModels: [{ modelId: "x", name: "X" }, { modelId: "y", name: "Y" }],
};

const MODELS: readonly (readonly [name: string, answer: unknown, expected: string | undefined])[] = [
  ["nothing", {}, undefined],
  ["no answer", null, undefined],
  ["words", "models", undefined],
  ["nulls", { configOptions: null, models: null, modes: null }, undefined],
  ["an option", { configOptions: [option()] }, "m: a of a (A), b (B)"],
  ["an option among others", {
    configOptions: [option({ id: "effort", category: "thought_level" }), option()],
  }, "m: a of a (A), b (B)"],
  ["an option in groups", {
    configOptions: [option({
      options: [
        { group: "g", name: "G", options: [{ value: "a", name: "A" }] },
        { group: "h", name: "H", options: [{ value: "b", name: "B" }, { value: "c", name: "C" }] },
      ],
    })],
  }, "m: a of a (A), b (B), c (C)"],
  ["an option in empty groups", {
    configOptions: [option({ options: [{ group: "g", name: "G", options: [] }] })],
  }, "m: a of "],
  ["an option without a category, by its id", {
    configOptions: [option({ id: "model", category: null })],
  }, "model: a of a (A), b (B)"],
  ["an option of that id and another category", {
    configOptions: [option({ id: "model", category: "mode" })],
  }, undefined],
  ["an option that is a switch", {
    configOptions: [option({ type: "boolean", currentValue: true, options: undefined })],
  }, undefined],
  ["an option without a type", { configOptions: [option({ type: undefined })] }, "m: a of a (A), b (B)"],
  ["an option that does not tell what is set", {
    configOptions: [option({ currentValue: null })],
  }, "m: undefined of a (A), b (B)"],
  ["values that cannot be read", {
    configOptions: [
      option({ options: [7, null, { value: "" }, { value: "b" }, { value: "b", name: "again" }] }),
      "nonsense",
    ],
  }, "m: a of b (b)"],
  ["an id that is too long", {
    configOptions: [
      option({ options: [{ value: "x".repeat(501), name: "long" }, { value: "b", name: "B" }] }),
    ],
  }, "m: a of b (B)"],
  ["the older list", { models: LIST }, "own: x of x (X), y (Y)"],
  ["both", { models: LIST, configOptions: [option()] }, "m: a of a (A), b (B)"],
  ["the older list, and options of other kinds", {
    models: LIST,
    configOptions: [option({ category: "mode" })],
  }, "own: x of x (X), y (Y)"],
  ["the older list without names", {
    models: { currentModelId: null, availableModels: [{ modelId: "x" }, {}, null] },
  }, "own: undefined of x (x)"],
  ["an older list that is none", { models: { availableModels: "x" } }, undefined],
];
for (const [name, answer, expected] of MODELS) {
  Deno.test(`readOptions: model, ${name}`, () => assertEquals(read("model", answer)[0], expected));
}

const MODES = {
  currentModeId: "ask",
  availableModes: [{ id: "ask", name: "Ask" }, { id: "code", name: "Code" }],
};
const MODE_OPTION = option({ id: "o", category: "mode" });
const MODE_CASES: readonly (readonly [name: string, answer: unknown, expected: readonly string[]])[] = [
  ["nothing", {}, []],
  ["its own list", { modes: MODES }, ["own: ask of ask (Ask), code (Code)"]],
  ["an option", { configOptions: [MODE_OPTION] }, ["o: a of a (A), b (B)"]],
  ["both", { modes: MODES, configOptions: [MODE_OPTION] }, [
    "own: ask of ask (Ask), code (Code)",
    "o: a of a (A), b (B)",
  ]],
];
for (const [name, answer, expected] of MODE_CASES) {
  Deno.test(`readOptions: mode, ${name}`, () => assertEquals(read("mode", answer), expected));
}

Deno.test("readOptions: keeps no more than a thousand values", () => {
  const options = Array.from({ length: 5_000 }, (_, index) => ({ value: `m${index}`, name: "M" }));
  const [model] = readOptions(parseSessionSettings({ configOptions: [option({ options })] }));
  assertEquals([model?.values.length, model?.values.at(-1)?.id], [1_000, "m999"]);
});

/** The options in a recorded agent's answer to a method. */
function recordedOptions(recording: string, method: string): SessionOption[] {
  const messages = readRecording(recording).flatMap(({ msg }) => isObject(msg) ? [msg] : []);
  const requestId = messages.find((message) => message.method === method)?.id;
  const answer = messages.find(({ id, result }) => id === requestId && result !== undefined);
  return readOptions(parseSessionSettings(answer?.result));
}

const RECORDED: readonly {
  recording: string;
  methods: string[];
  option: string | undefined;
  model: string;
  some: string;
  modes: [string | undefined, string][];
}[] = [
  {
    recording: "claude-load",
    methods: ["session/new", "session/load", "session/resume"],
    option: "model",
    model: "claude-sonnet-4-5",
    some: "opus",
    modes: [[undefined, "default"], ["mode", "default"]],
  },
  {
    recording: "codex2-load",
    methods: ["session/new", "session/load", "session/resume"],
    option: "model",
    model: "gpt-5",
    some: "gpt-6-astra",
    modes: [[undefined, "agent"], ["mode", "agent"]],
  },
  {
    recording: "gemini-tools",
    methods: ["session/new"],
    option: undefined,
    model: "gemini-2.5-flash",
    some: "gemini-3-flash-preview",
    modes: [[undefined, "default"]],
  },
];
for (const { recording, methods, option, model, some, modes } of RECORDED) {
  for (const method of methods) {
    Deno.test(`readOptions: ${recording}, ${method}`, () => {
      const options = recordedOptions(recording, method);
      assertEquals(options.map(({ kind, configId, current }) => [kind, configId, current]), [
        ["model", option, model],
        ...modes.map(([configId, current]) => ["mode", configId, current]),
      ]);
      assertEquals(findValue(options[0]!, some), some);
    });
  }
}

const OPTION: SessionOption = {
  kind: "model",
  configId: undefined,
  current: "a",
  values: [
    { id: "a", name: "B" },
    { id: "B", name: "Opus 5" },
    { id: "c", name: "c" },
    { id: "plan", name: "Think first" },
    { id: "ask", name: "Ask" },
    { id: "ASK", name: "Ask louder" },
    { id: "go", name: "Go on" },
    { id: "GO", name: "Go away" },
  ],
};
for (
  const [wanted, expected] of [
    ["a", "a"],
    ["B", "B"],
    ["b", "a"],
    ["opus 5", "B"],
    ["C", "c"],
    ["Plan", "plan"],
    ["ASK", "ASK"],
    ["Ask", "ask"],
    ["Go", undefined],
    ["d", undefined],
    ["", undefined],
  ]
) {
  Deno.test(`findValue: "${wanted}" is ${expected ?? "not found"}`, () =>
    assertEquals(findValue(OPTION, wanted!), expected));
}

const REQUESTS: readonly (readonly [OptionKind, string | undefined, string, Json])[] = [
  ["model", "m", "session/set_config_option", { sessionId: "s", configId: "m", value: "v" }],
  ["mode", "o", "session/set_config_option", { sessionId: "s", configId: "o", value: "v" }],
  ["model", undefined, "session/set_model", { sessionId: "s", modelId: "v" }],
  ["mode", undefined, "session/set_mode", { sessionId: "s", modeId: "v" }],
];
for (const [kind, configId, method, params] of REQUESTS) {
  Deno.test(`setRequest: a ${kind} by ${method}`, () => {
    assertEquals(setRequest({ ...OPTION, kind, configId }, "s", "v"), { method, params });
  });
}

Deno.test("notOffered: names some of what there is", () => {
  const values = Array.from({ length: 12 }, (_, index) => ({ id: `m${index}`, name: "M" }));
  assertEquals(
    notOffered("model", "x", values),
    'The agent has no model "x"; it offers m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, and 2 more.',
  );
  assertEquals(
    notOffered("mode", "x", values.slice(0, 2)),
    'The agent has no mode "x"; it offers m0, m1.',
  );
  assertEquals(notOffered("model", "x", []), 'The agent has no model "x"; it offers none.');
});
