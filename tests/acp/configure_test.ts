import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { McpServer } from "../../lib/acp/wire.ts";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { Session } from "../../lib/turn/agent.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import type { Json } from "../support/agents/agent_io.ts";
import { appErrorOf, nextTask, TurnRecorder } from "../support/harness/turn_recorder.ts";
import { ScriptedAgentHarness } from "../support/harness/agent_process_harness.ts";
import { rawAgent, TEST_TIMEOUTS } from "../support/harness/json_rpc_harness.ts";
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

const BACK = withCapabilities({ sessionCapabilities: { close: {}, resume: {} } });
/** The messages of the warnings that were logged. */
const warningsOf = ({ recorder }: AcpHarness) =>
  recorder.entries.filter(({ level }) => level === "warn").map(({ message }) => message);

/** Opens a session, closes it, and resumes it. Only what the agent receives after the close is kept. */
async function reopen(harness: AcpHarness): Promise<Session | undefined> {
  const session = await harness.agent.newSession();
  session.close();
  await harness.running.waitFor("session/close");
  harness.running.received.length = 0;
  return await harness.agent.resumeSession(session.id);
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
    const warnings = warningsOf(harness);
    assertEquals(warnings.length, warning ? 1 : 0, "one warning, however many sessions");
    if (warning) assertStringIncludes(warnings[0]!, warning);
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
    timeouts: { ...TEST_TIMEOUTS, resumeMs: 10 },
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
    assertEquals(warningsOf(harness).map((message) => /"(.*)"/.exec(message)?.[1]), omitted);
    assert(!JSON.stringify(harness.recorder.entries).includes("secret"));
  });
}

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
    const resumed = await reopen(harness);
    assertEquals(harness.running.summary(...SETS), sent);
    assertEquals(resumed?.model, "b");
    assertEquals(warningsOf(harness), []);
  });
}

Deno.test("configure: with no options known, a resumed session gets the mode, and warns of the model", async () => {
  await using harness = new AcpHarness(
    offering({}, { "initialize": BACK, "session/resume": () => ({}) }),
    { mode: "plan", model: "b" },
  );
  assert(await harness.agent.resumeSession("old" as SessionId));
  assertEquals(harness.running.summary(...SETS), ["session/set_mode plan"]);
  assertEquals(warningsOf(harness), [
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
  assert(await reopen(harness));
  assertEquals(harness.running.summary(...SETS), []);
});

/** Handlers of an agent that resumes sessions and offers models. */
const offeringModels = (more: Readonly<Record<string, Handler>> = {}) =>
  offering(OPTION, { initialize: BACK, ...more });

for (const by of ["option", "set_model", "both"] as const) {
  Deno.test(`AcpSession.setModel: sets a model by ${by}, another one, and the default`, async () => {
    await using harness = new ScriptedAgentHarness({ models: { ids: ["a", "b", "c"], by } });
    assertEquals(harness.agent.models, []);
    const session = await harness.agent.newSession();
    assertEquals(harness.agent.models, ["a", "b", "c"].map((id) => ({ id, name: `Model ${id}` })));
    assertEquals(session.model, "a");
    for (const model of ["a", "b", "b", "c", undefined, undefined, "a"]) {
      await session.setModel(model);
      assertEquals(session.model, model ?? "a");
    }
    const sent = by === "set_model"
      ? ["b", "c", "a"].map((modelId) => ["session/set_model", { sessionId: session.id, modelId }])
      : ["b", "c", "a"].map((
        value,
      ) => ["session/set_config_option", { sessionId: session.id, configId: "model", value }]);
    assertEquals(
      harness.received.flatMap(({ method, params }) =>
        String(method).startsWith("session/set") ? [[method, params]] : []
      ),
      sent,
    );
  });
}

Deno.test("AcpSession.setModel: rejects a model that is not offered, and names some that are", async () => {
  await using harness = new AcpHarness(offeringModels());
  const session = await harness.agent.newSession();
  const failure = await appErrorOf(session.setModel("Model x"));
  assertEquals([failure.code, failure.param, failure.prompted], ["model_not_found", "model", false]);
  assertStringIncludes(failure.message, "a, b, c");
  assertEquals(harness.running.count("session/set_config_option"), 0);
});

Deno.test("AcpSession.setModel: an agent that offers no models has only its default", async () => {
  await using harness = new AcpHarness();
  const session = await harness.agent.newSession();
  await session.setModel(undefined);
  assertEquals((await appErrorOf(session.setModel("a"))).code, "model_not_found");
  assertEquals([session.model, harness.agent.models], [undefined, []]);
});

Deno.test("AcpSession.setModel: the options in the answer tell the current model", async () => {
  await using harness = new AcpHarness(offeringModels({
    "session/set_config_option": () => ({ configOptions: [modelOption("c")] }),
  }));
  const session = await harness.agent.newSession();
  await session.setModel("b");
  assertEquals(session.model, "c");
});

Deno.test("AcpSession.setModel: a change that is not answered in time is an agent_error", async () => {
  await using harness = new AcpHarness(offeringModels({ "session/set_config_option": neverAnswers }), {
    timeouts: { ...TEST_TIMEOUTS, resumeMs: 10 },
  });
  const session = await harness.agent.newSession();
  const failure = await appErrorOf(session.setModel("b"));
  assertEquals(failure.code, "agent_error");
  assertEquals(
    failure.message,
    'The agent did not confirm the model "b": ' +
      "The agent did not answer session/set_config_option within 0.01 seconds.",
  );
});

Deno.test("AcpSession.setModel: fails if the session is closed or its process exits", async () => {
  await using harness = new AcpHarness(offeringModels({
    "session/set_config_option": exits,
  }));
  const session = await harness.agent.newSession();
  assertEquals((await appErrorOf(session.setModel("b"))).code, "agent_unavailable");
  assertEquals((await appErrorOf(session.setModel("a"))).code, "agent_unavailable");
});

Deno.test("AcpSession.setModel: without a model it returns to the configured one", async () => {
  await using harness = new AcpHarness(offeringModels(), { model: "Model b" });
  const session = await harness.agent.newSession();
  assertEquals(session.model, "b");
  await session.setModel("c");
  await session.setModel(undefined);
  assertEquals(session.model, "b");
});

const DEFAULTS: readonly { name: string; model?: string; answer: Json; expected: string | undefined }[] = [
  { name: "the agent's own", answer: { configOptions: [modelOption("c")] }, expected: "a" },
  { name: "the configured one", model: "b", answer: { configOptions: [modelOption("c")] }, expected: "b" },
  { name: "the agent's own, if resume tells no options", answer: {}, expected: "a" },
  { name: "the configured one, if resume tells no options", model: "b", answer: {}, expected: "b" },
];
for (const { name, model, answer, expected } of DEFAULTS) {
  Deno.test(`AcpSession.setModel: in a resumed session the default is ${name}`, async () => {
    await using harness = new AcpHarness(offeringModels({ "session/resume": () => answer }), { model });
    (await harness.agent.newSession()).close();
    const session = await harness.agent.resumeSession("session-1" as SessionId);
    await session?.setModel(undefined);
    assertEquals(session?.model, expected);
  });
}

Deno.test("AcpSession.model: follows config_option_update, in a turn and outside", async () => {
  await using harness = new AcpHarness(offeringModels({
    "session/prompt": ({ sessionId }, running) => {
      running.update(sessionId, { sessionUpdate: "config_option_update", configOptions: [modelOption("b")] });
      return { stopReason: "end_turn" };
    },
  }));
  const session = await harness.agent.newSession();
  harness.running.update(session.id, {
    sessionUpdate: "config_option_update",
    configOptions: [modelOption("c")],
  });
  await nextTask();
  assertEquals(session.model, "c");
  await new Promise<void>((resolve) => session.prompt(PROMPT, ({ type }) => type === "end" && resolve()));
  assertEquals(session.model, "b");
  for (const configOptions of [[], "nonsense", undefined]) {
    harness.running.update(session.id, { sessionUpdate: "config_option_update", configOptions });
    await nextTask();
    assertEquals(session.model, "b");
  }
});

Deno.test("AcpSession.model: an update in the same write as the session/new answer is newer", async () => {
  const { agent, remote } = rawAgent();
  await using _agent = agent;
  const opening = agent.newSession();
  await remote.send({ id: (await remote.receive())?.id, result: { protocolVersion: 1 } });
  const update = { sessionUpdate: "config_option_update", configOptions: [modelOption("b")] };
  await remote.send(
    { id: (await remote.receive())?.id, result: { sessionId: "s", configOptions: [modelOption("a")] } },
    { method: "session/update", params: { sessionId: "s", update } },
  );
  assertEquals((await opening).model, "b");
});

Deno.test("AcpSession.setModel: a refusal is an agent_error, and leaves the model as it was", async () => {
  let isRefusing = true;
  await using harness = new AcpHarness(offeringModels({
    "session/set_config_option": ({ value }) => {
      if (isRefusing) throw new RpcError(RPC.internalError, "No credit.");
      return { configOptions: [modelOption(value)] };
    },
  }));
  const session = await harness.agent.newSession();
  const failure = await appErrorOf(session.setModel("b"));
  assertEquals(failure.code, "agent_error");
  assertStringIncludes(failure.message, "No credit.");
  await session.setModel("a");
  await session.setModel(undefined);
  assertEquals(harness.running.count("session/set_config_option"), 1);
  isRefusing = false;
  await session.setModel("b");
  assertEquals(session.model, "b");
});

Deno.test("AcpSession.setModel: a session resumed by a new process returns to the default model", async () => {
  let current = "a";
  await using harness = new AcpHarness(offeringModels({
    "session/set_config_option": ({ value }) => {
      current = value;
      return { configOptions: [modelOption(value)] };
    },
    "session/resume": () => ({ configOptions: [modelOption(current)] }),
  }));
  const session = await harness.agent.newSession();
  await session.setModel("b");
  harness.nowMs = 60_000;
  harness.running.exit();
  await nextTask();
  const resumed = await harness.agent.resumeSession(session.id);
  assertEquals([harness.starts.length, resumed?.model], [2, "b"]);
  await resumed?.setModel(undefined);
  assertEquals([resumed?.model, current], ["a", "a"]);
});
