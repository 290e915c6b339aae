import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { McpServer } from "../../lib/acp/wire.ts";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import type { Json } from "../support/agents/scripted_agent.ts";
import { failureOf, Heard, settled } from "../support/harness/turn_recorder.ts";
import {
  AcpHarness,
  type Handler,
  neverAnswers,
  PROMPT,
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

/** An agent whose sessions offer this, and which takes everything. */
function offering(settings: Json, more: Readonly<Record<string, Handler>> = {}): Record<string, Handler> {
  return {
    "session/new": (_params, running) => ({ sessionId: `session-${running.nextSession++}`, ...settings }),
    "session/set_config_option": ({ value }) => ({ configOptions: [modelOption(value)] }),
    "session/set_model": () => ({}),
    "session/set_mode": () => ({}),
    ...more,
  };
}

const CONFIGURED: readonly {
  name: string;
  settings: Json;
  mode?: string;
  model?: string;
  asked: string[];
  warns?: string;
}[] = [
  { name: "nothing is configured", settings: { modes: MODES, models: LIST }, asked: [] },
  { name: "a mode", settings: { modes: MODES }, mode: "code", asked: ["session/set_mode code"] },
  { name: "a mode by its name", settings: { modes: MODES }, mode: "CODE!", asked: ["session/set_mode code"] },
  { name: "the mode that is set", settings: { modes: MODES }, mode: "ask", asked: [] },
  {
    name: "a mode that is an option",
    settings: { configOptions: [modeOption] },
    mode: "yolo",
    asked: ["session/set_config_option o yolo"],
  },
  {
    name: "a mode that both ways offer",
    settings: { modes: { ...MODES, currentModeId: "code" }, configOptions: [modeOption] },
    mode: "ask",
    asked: ["session/set_mode ask"],
  },
  {
    name: "a mode that only the option offers",
    settings: { modes: MODES, configOptions: [modeOption] },
    mode: "yolo",
    asked: ["session/set_config_option o yolo"],
  },
  {
    name: "a mode that is not there",
    settings: { modes: MODES },
    mode: "dance",
    asked: [],
    warns: 'no mode "dance"; it offers ask, code.',
  },
  { name: "a mode where there is none", settings: {}, mode: "code", asked: [], warns: "it offers none" },
  {
    name: "a model that is an option",
    settings: { configOptions: [modelOption("a")] },
    model: "b",
    asked: ["session/set_config_option m b"],
  },
  {
    name: "a model by its name",
    settings: { configOptions: [modelOption("a")] },
    model: "model B",
    asked: ["session/set_config_option m b"],
  },
  {
    name: "a model of the older list",
    settings: { models: LIST },
    model: "c",
    asked: ["session/set_model c"],
  },
  {
    name: "a model that both ways offer",
    settings: { models: LIST, configOptions: [modelOption("a")] },
    model: "c",
    asked: ["session/set_config_option m c"],
  },
  { name: "the model that is set", settings: { models: LIST }, model: "a", asked: [] },
  {
    name: "the model that is set, and not offered",
    settings: { models: { ...LIST, currentModelId: "own" } },
    model: "own",
    asked: [],
  },
  {
    name: "a model that is not there",
    settings: { models: LIST },
    model: "gpt-4o",
    asked: [],
    warns: 'no model "gpt-4o"; it offers a, b, c.',
  },
  {
    name: "a mode and a model",
    settings: { modes: MODES, models: LIST },
    mode: "code",
    model: "b",
    asked: ["session/set_mode code", "session/set_model b"],
  },
];
for (const { name, settings, mode, model, asked, warns } of CONFIGURED) {
  Deno.test(`Setup: ${name}`, async () => {
    await using house = new AcpHarness(offering(settings), { mode, model });
    await house.agent.newSession();
    await house.agent.newSession();
    assertEquals(house.running.summary(...SETS), [...asked, ...asked]);
    const warnings = house.recorder.entries.filter(({ level }) => level === "warn");
    assertEquals(warnings.length, warns ? 1 : 0, "one warning, however many sessions");
    if (warns) assertStringIncludes(warnings[0]!.message, warns);
  });
}

Deno.test("Setup: what the agent refuses is a warning, and the session serves", async () => {
  const no = () => Promise.reject(new RpcError(RPC.internalError, "Not today."));
  const heard = new Heard();
  await using house = new AcpHarness(
    offering({ modes: MODES, models: LIST }, { "session/set_mode": no, "session/set_model": no }),
    { mode: "code", model: "b" },
  );
  const session = await house.agent.newSession();
  await session.prompt(PROMPT, heard.reader);
  assertEquals([await heard.last(), session.model], ["end end_turn", "a"]);
  for (const what of ['mode "code"', 'model "b"']) {
    assertStringIncludes((await house.recorder.waitFor(new RegExp(what))).message, "Not today.");
  }
});

Deno.test("Setup: an agent that does not answer is not waited for", async () => {
  await using house = new AcpHarness(offering({ modes: MODES }, { "session/set_mode": neverAnswers }), {
    mode: "code",
    timeouts: { setupMs: 60_000, resumeMs: 10, cancelMs: 60_000 },
  });
  await house.agent.newSession();
  const { message } = await house.recorder.waitFor(/mode "code"/);
  assertStringIncludes(message, "The agent did not confirm the");
});

Deno.test("Setup: an agent that dies while it is configured is not ready", async () => {
  await using house = new AcpHarness(
    offering({ modes: MODES }, {
      "session/set_mode": (params, running) => {
        running.exit();
        return neverAnswers(params, running);
      },
    }),
    { mode: "code" },
  );
  assertEquals((await failureOf(house.agent.newSession())).code, "agent_unavailable");
});

Deno.test("Setup: a session that is made ahead is configured ahead", async () => {
  await using house = new AcpHarness(offering({ modes: MODES }), { mode: "code" });
  house.agent.warm();
  await settled();
  await house.running.waitFor("session/set_mode");
  await house.agent.newSession();
  assertEquals(house.running.summary(...SETS), ["session/set_mode code"]);
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
const MCP: readonly {
  name: string;
  can: Json | undefined;
  sent: McpServer[];
  left: string[];
}[] = [
  { name: "none", can: undefined, sent: [STDIO], left: ["web", "old"] },
  { name: "http", can: { http: true }, sent: [STDIO, HTTP], left: ["old"] },
  { name: "sse", can: { sse: true, http: null }, sent: [STDIO, SSE], left: ["web"] },
  { name: "both", can: { http: true, sse: true }, sent: [STDIO, HTTP, SSE], left: [] },
];
for (const { name, can, sent, left } of MCP) {
  Deno.test(`Setup: MCP servers for an agent that connects by ${name}`, async () => {
    const capabilities = { mcpCapabilities: can, sessionCapabilities: { close: {}, resume: {} } };
    await using house = new AcpHarness({
      initialize: withCapabilities(capabilities),
      "session/resume": () => ({}),
    }, {
      mcpServers: [STDIO, HTTP, SSE],
    });
    const session = await house.agent.newSession();
    await house.agent.newSession();
    session.close();
    assert(await house.agent.resumeSession(session.id));
    const told = house.running.received.flatMap(({ params }) => params.mcpServers ? [params.mcpServers] : []);
    assertEquals(told as unknown, [sent, sent, sent]);
    const warnings = house.recorder.entries.filter(({ level }) => level === "warn");
    assertEquals(warnings.map(({ message }) => /"(.*)"/.exec(message)?.[1]), left);
    assert(!JSON.stringify(house.recorder.entries).includes("secret"));
  });
}

const HASTY = { setupMs: 60_000, resumeMs: 20, cancelMs: 60_000 };

Deno.test("Setup: behind a mode that takes too long, no model is asked for", async () => {
  const mode = Promise.withResolvers<void>();
  await using house = new AcpHarness(
    offering({ modes: MODES, models: LIST }, { "session/set_mode": () => mode.promise.then(() => ({})) }),
    { mode: "code", model: "b", timeouts: HASTY },
  );
  const session = await house.agent.newSession();
  mode.resolve();
  await session.setModel("c");
  await settled();
  assertEquals(house.running.summary(...SETS), ["session/set_mode code", "session/set_model c"]);
  assertEquals(session.model, "c");
  assertStringIncludes((await house.recorder.waitFor(/mode "code"/)).message, "0.02 seconds");
  assertStringIncludes((await house.recorder.waitFor(/model "b"/)).message, "was not requested");
});

Deno.test("Setup: a model that takes too long serves when it comes, unless another was chosen", async () => {
  for (const other of [false, true]) {
    const answers: (() => void)[] = [];
    await using house = new AcpHarness(
      offering({ models: LIST }, {
        "session/set_model": ({ modelId }) =>
          modelId === "b" ? new Promise((resolve) => answers.push(() => resolve({}))) : {},
      }),
      { model: "b", timeouts: HASTY },
    );
    const session = await house.agent.newSession();
    assertEquals(session.model, undefined);
    await session.setModel(undefined);
    assertEquals(house.running.summary(...SETS), ["session/set_model b"], "it serves, whatever it has");
    if (other) await session.setModel("c");
    answers[0]?.();
    await settled();
    assertEquals(session.model, other ? undefined : "b");
  }
});

const BACK = withCapabilities({ sessionCapabilities: { close: {}, resume: {} } });
const FORGETFUL: readonly { name: string; settings: Json; asked: string[] }[] = [
  {
    name: "by their methods",
    settings: { modes: MODES, models: LIST },
    asked: ["session/set_mode code", "session/set_model b"],
  },
  {
    name: "by options",
    settings: {
      configOptions: [modelOption("a"), { ...modeOption, options: [{ value: "code" }, { value: "ask" }] }],
    },
    asked: ["session/set_config_option o code", "session/set_config_option m b"],
  },
  {
    name: "that new ones begin with",
    settings: { modes: { ...MODES, currentModeId: "code" }, models: { ...LIST, currentModelId: "b" } },
    asked: ["session/set_mode code", "session/set_model b"],
  },
  {
    name: "that new ones begin with and nothing names",
    settings: {
      modes: { currentModeId: "code", availableModes: [] },
      models: { currentModelId: "b", availableModels: [] },
    },
    asked: ["session/set_mode code", "session/set_model b"],
  },
];
for (const { name, settings, asked } of FORGETFUL) {
  Deno.test(`Setup: a session of which nothing is told gets back its mode and model ${name}`, async () => {
    await using house = new AcpHarness(
      offering(settings, { "initialize": BACK, "session/resume": () => ({}) }),
      { mode: "code", model: "b" },
    );
    const session = await house.agent.newSession();
    session.close();
    await house.running.waitFor("session/close");
    house.running.received.length = 0;
    const again = await house.agent.resumeSession(session.id);
    assertEquals(house.running.summary(...SETS), asked);
    assertEquals(again?.model, "b");
    assertEquals(house.recorder.entries.filter(({ level }) => level === "warn"), []);
  });
}

Deno.test("Setup: before any session was new, the mode is asked for as it is configured; of the model it says so", async () => {
  await using house = new AcpHarness(
    offering({}, { "initialize": BACK, "session/resume": () => ({}) }),
    { mode: "plan", model: "b" },
  );
  assert(await house.agent.resumeSession("old" as SessionId));
  assertEquals(house.running.summary(...SETS), ["session/set_mode plan"]);
  const warnings = house.recorder.entries.filter(({ level }) => level === "warn");
  assertEquals(warnings.map(({ message }) => message.slice(0, 32)), ['The model "b" was not requested:']);
});

Deno.test("Setup: what the agent tells of a session that was brought back is what counts", async () => {
  const told = {
    modes: { ...MODES, currentModeId: "code" },
    configOptions: [{ ...modelOption("b"), id: "n" }],
  };
  await using house = new AcpHarness(
    offering({ models: LIST }, { "initialize": BACK, "session/resume": () => told }),
    { mode: "code", model: "b" },
  );
  const session = await house.agent.newSession();
  session.close();
  await house.running.waitFor("session/close");
  house.running.received.length = 0;
  assert(await house.agent.resumeSession(session.id));
  assertEquals(house.running.summary(...SETS), []);
});
