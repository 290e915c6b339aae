import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { McpServer } from "../../lib/acp/wire.ts";
import { RPC } from "../../lib/acp/json_rpc.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import type { Json } from "../support/agents/agent_io.ts";
import { appErrorOf, nextTask, TurnRecorder } from "../support/harness/turn_recorder.ts";
import {
  AcpHarness,
  exits,
  type Handler,
  neverAnswers,
  PROMPT,
  refuses,
  withCapabilities,
} from "../support/agents/memory_acp_agent.ts";

const MODES = { currentModeId: "ask", availableModes: ["ask", "code"].map((id) => ({ id, name: `${id}!` })) };
const modelOption = (currentValue: string) => ({
  id: "m",
  name: "Model",
  category: "model",
  type: "select",
  currentValue,
  options: ["a", "b", "c"].map((value) => ({ value, name: `Model ${value}` })),
});
const modeOption = {
  ...modelOption("ask"),
  id: "o",
  category: "mode",
  options: [{ value: "ask", name: "Ask" }, { value: "yolo", name: "Yolo" }],
};
const LIST = {
  currentModelId: "a",
  availableModels: ["a", "b", "c"].map((id) => ({ modelId: id, name: id })),
};
const SETS = ["session/set_mode", "session/set_model", "session/set_config_option"];

/** Handlers of an agent whose sessions offer these settings, and which takes every change. */
function offering(settings: Json, more: Readonly<Record<string, Handler>> = {}): Record<string, Handler> {
  return {
    "session/new": (_params, running) => ({ sessionId: `session-${running.nextSession++}`, ...settings }),
    "session/set_config_option": ({ value }) => ({ configOptions: [modelOption(value)] }),
    "session/set_model": () => ({}),
    "session/set_mode": () => ({}),
    ...more,
  };
}

const OPTION = { configOptions: [modelOption("a")] };
const CONFIGURED: readonly (readonly [
  name: string,
  settings: Json,
  configured: { mode?: string; model?: string },
  sent: string[],
  warning?: string,
])[] = [
  ["nothing is configured", { modes: MODES, models: LIST }, {}, []],
  ["a mode", { modes: MODES }, { mode: "code" }, ["session/set_mode code"]],
  ["a mode by its name", { modes: MODES }, { mode: "CODE!" }, ["session/set_mode code"]],
  ["the mode that is set", { modes: MODES }, { mode: "ask" }, []],
  [
    "a mode that is an option, whether or not the agent lists modes too",
    { modes: MODES, configOptions: [modeOption] },
    { mode: "yolo" },
    ["session/set_config_option o yolo"],
  ],
  [
    "a mode that is not there",
    { modes: MODES },
    { mode: "dance" },
    [],
    'no mode "dance"; it offers ask, code.',
  ],
  ["a mode where there is none", {}, { mode: "code" }, [], "offers no modes"],
  ["a model that is an option", OPTION, { model: "b" }, ["session/set_config_option m b"]],
  ["a model by its name", OPTION, { model: "model B" }, ["session/set_config_option m b"]],
  ["a model of the older list", { models: LIST }, { model: "c" }, ["session/set_model c"]],
  ["a model that both ways offer", { models: LIST, ...OPTION }, { model: "c" }, [
    "session/set_config_option m c",
  ]],
  ["the model that is set", { models: LIST }, { model: "a" }, []],
  [
    "the model that is set, and not offered",
    { models: { ...LIST, currentModelId: "own" } },
    { model: "own" },
    [],
  ],
  [
    "a model that is not there",
    { models: LIST },
    { model: "gpt-4o" },
    [],
    'no model "gpt-4o"; it offers a, b, c.',
  ],
  [
    "a mode and a model",
    { modes: MODES, models: LIST },
    { mode: "code", model: "b" },
    ["session/set_mode code", "session/set_model b"],
  ],
];
for (const [name, settings, configured, sent, warning] of CONFIGURED) {
  Deno.test(`configure: ${name}`, async () => {
    await using harness = new AcpHarness(offering(settings), configured);
    await harness.agent.newSession();
    await harness.agent.newSession();
    assertEquals(harness.running.summary(...SETS), [...sent, ...sent]);
    const warnings = harness.recorder.entries.filter(({ level }) => level === "warn");
    assertEquals(warnings.length, warning ? 1 : 0, "one warning, however many sessions");
    if (warning) assertStringIncludes(warnings[0]!.message, warning);
  });
}

Deno.test("configure: a refusal is a warning, and the session serves", async () => {
  const no = refuses(RPC.internalError, "Not today.");
  const heard = new TurnRecorder();
  await using harness = new AcpHarness(
    offering({ modes: MODES, models: LIST }, { "session/set_mode": no, "session/set_model": no }),
    { mode: "code", model: "b" },
  );
  const session = await harness.agent.newSession();
  await session.prompt(PROMPT, heard.reader);
  assertEquals([await heard.lastSummary(), session.model], ["end end_turn", "a"]);
  for (const what of ['mode "code"', 'model "b"']) {
    assertStringIncludes((await harness.recorder.waitFor(new RegExp(what))).message, "Not today.");
  }
});

Deno.test("configure: a change that is not answered in time is a warning", async () => {
  await using harness = new AcpHarness(offering({ modes: MODES }, { "session/set_mode": neverAnswers }), {
    mode: "code",
    timeouts: { setupMs: 60_000, resumeMs: 10, cancelMs: 60_000 },
  });
  await harness.agent.newSession();
  const { message } = await harness.recorder.waitFor(/mode "code"/);
  assertStringIncludes(message, "The agent did not confirm the");
});

Deno.test("configure: a process that exits meanwhile makes no session", async () => {
  await using harness = new AcpHarness(offering({ modes: MODES }, { "session/set_mode": exits }), {
    mode: "code",
  });
  assertEquals((await appErrorOf(harness.agent.newSession())).code, "agent_unavailable");
});

Deno.test("configure: configures the warm session in advance", async () => {
  await using harness = new AcpHarness(offering({ modes: MODES }), { mode: "code" });
  harness.agent.warm();
  await nextTask();
  await harness.running.waitFor("session/set_mode");
  await harness.agent.newSession();
  assertEquals(harness.running.summary(...SETS), ["session/set_mode code"]);
});

const STDIO: McpServer = {
  name: "files",
  command: "mcp-files",
  args: ["--all"],
  env: [{ name: "TOKEN", value: "secret" }],
};
const HTTP: McpServer = {
  type: "http",
  name: "web",
  url: "https://secret.example",
  headers: [{ name: "Authorization", value: "Bearer secret" }],
};
const SSE: McpServer = { ...HTTP, type: "sse", name: "old" };
const MCP:
  readonly (readonly [name: string, can: Json | undefined, usable: McpServer[], omitted: string[]])[] = [
    ["none", undefined, [STDIO], ["web", "old"]],
    ["http", { http: true }, [STDIO, HTTP], ["old"]],
    ["sse", { sse: true, http: null }, [STDIO, SSE], ["web"]],
    ["both", { http: true, sse: true }, [STDIO, HTTP, SSE], []],
  ];
for (const [name, can, usable, omitted] of MCP) {
  Deno.test(`session/new: MCP servers of an agent that connects by ${name}`, async () => {
    const capabilities = { mcpCapabilities: can, sessionCapabilities: { close: {}, resume: {} } };
    await using harness = new AcpHarness({
      initialize: withCapabilities(capabilities),
      "session/resume": () => ({}),
    }, {
      mcpServers: [STDIO, HTTP, SSE],
    });
    const session = await harness.agent.newSession();
    await harness.agent.newSession();
    session.close();
    assert(await harness.agent.resumeSession(session.id));
    const servers = harness.running.received.flatMap(({ params }) =>
      params.mcpServers ? [params.mcpServers] : []
    );
    assertEquals(servers as unknown, [usable, usable, usable]);
    const warnings = harness.recorder.entries.filter(({ level }) => level === "warn");
    assertEquals(warnings.map(({ message }) => /"(.*)"/.exec(message)?.[1]), omitted);
    assert(!JSON.stringify(harness.recorder.entries).includes("secret"));
  });
}

const BACK = withCapabilities({ sessionCapabilities: { close: {}, resume: {} } });
const EITHER_MODE = { ...modeOption, options: [{ value: "code" }, { value: "ask" }] };
const SET_BOTH = ["session/set_mode code", "session/set_model b"];
const WITHOUT_OPTIONS: readonly (readonly [name: string, settings: Json, sent: string[]])[] = [
  ["by their methods", { modes: MODES, models: LIST }, SET_BOTH],
  [
    "by options",
    { configOptions: [modelOption("a"), EITHER_MODE] },
    ["session/set_config_option o code", "session/set_config_option m b"],
  ],
  [
    "that new ones begin with",
    { modes: { ...MODES, currentModeId: "code" }, models: { ...LIST, currentModelId: "b" } },
    SET_BOTH,
  ],
];
for (const [name, settings, sent] of WITHOUT_OPTIONS) {
  Deno.test(`configure: a resumed session without options gets its mode and model back ${name}`, async () => {
    await using harness = new AcpHarness(
      offering(settings, { "initialize": BACK, "session/resume": () => ({}) }),
      { mode: "code", model: "b" },
    );
    const session = await harness.agent.newSession();
    session.close();
    await harness.running.waitFor("session/close");
    harness.running.received.length = 0;
    const resumed = await harness.agent.resumeSession(session.id);
    assertEquals(harness.running.summary(...SETS), sent);
    assertEquals(resumed?.model, "b");
    assertEquals(harness.recorder.entries.filter(({ level }) => level === "warn"), []);
  });
}

Deno.test("configure: with no options known, a resumed session gets the mode, and warns of the model", async () => {
  await using harness = new AcpHarness(
    offering({}, { "initialize": BACK, "session/resume": () => ({}) }),
    { mode: "plan", model: "b" },
  );
  assert(await harness.agent.resumeSession("old" as SessionId));
  assertEquals(harness.running.summary(...SETS), ["session/set_mode plan"]);
  const warnings = harness.recorder.entries.filter(({ level }) => level === "warn");
  assertEquals(warnings.map(({ message }) => message), [
    'The agent offers no models to choose from, so "b" cannot be set.',
  ]);
});

Deno.test("configure: the options in the resume answer count", async () => {
  const answer = {
    modes: { ...MODES, currentModeId: "code" },
    configOptions: [{ ...modelOption("b"), id: "n" }],
  };
  await using harness = new AcpHarness(
    offering({ models: LIST }, { "initialize": BACK, "session/resume": () => answer }),
    { mode: "code", model: "b" },
  );
  const session = await harness.agent.newSession();
  session.close();
  await harness.running.waitFor("session/close");
  harness.running.received.length = 0;
  assert(await harness.agent.resumeSession(session.id));
  assertEquals(harness.running.summary(...SETS), []);
});
