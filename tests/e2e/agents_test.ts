/** Several agents behind one address, as a configuration file names them. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { agentCommand, type ScriptedAgentOptions, readEntries } from "../support/agents/scripted_agent.ts";
import { agentsOf, type Home, makeHome, sessionsOf } from "../support/harness/data_dir_fixture.ts";
import {
  script,
  type Server,
  type ServerOptions,
  startServer,
  until,
} from "../support/harness/server_process.ts";
import { answer, opening, promptsOf, question, Talker } from "../support/skins/chat_client.ts";

/** An agent in the file: what it is, and what else its table says. */
interface Table {
  readonly agent?: ScriptedAgentOptions;
  readonly more?: string;
}

const ALPHA = { models: { ids: ["opus", "haiku"], by: "option" }, modes: ["ask", "code"] } as const;
const BETA = { models: { ids: ["gpt-5", "gpt-5-mini"], by: "set_model" } } as const;
const THREE = { agent: {}, "agents.alpha": { agent: ALPHA }, "agents.beta": { agent: BETA } };
const IDS = [
  "openab",
  "alpha",
  "alpha/opus",
  "alpha/haiku",
  "beta",
  "beta/gpt-5",
  "beta/gpt-5-mini",
];

/** Starts a server whose file has these tables; each agent writes down what it receives under its own name. */
async function startWith(
  home: Home,
  tables: Record<string, Table>,
  options: ServerOptions = {},
): Promise<Server> {
  const path = `${home.path}/config.toml`;
  const text = Object.entries(tables).map(([name, { agent = {}, more = "" }]) => {
    const { command, args } = agentCommand({ log: logOf(home, name), ...agent });
    const settings = `command = ${JSON.stringify(command)}\nargs = ${JSON.stringify(args)}\n`;
    return `[${name}]\n${settings}${more}`;
  });
  await Deno.writeTextFile(path, text.join("\n"));
  for (const name of Object.keys(tables)) await Deno.writeTextFile(logOf(home, name), "", { append: true });
  return await startServer({ home: home.path, args: ["--config", path], ...options });
}

function logOf(home: Home, name: string): string {
  return `${home.path}/${name}.jsonl`;
}

/** What an agent received. */
async function receivedBy(home: Home, name: string): Promise<Record<string, unknown>[]> {
  return readEntries(await Deno.readTextFile(logOf(home, name)));
}

/** What an agent was told. */
async function toldTo(home: Home, name: string): Promise<string[]> {
  return promptsOf(await receivedBy(home, name)).map(({ text }) => text);
}

async function modelsOf(server: Server): Promise<string[]> {
  const { data } = await (await fetch(`${server.url}/v1/models`)).json();
  return data.map(({ id }: { id: string }) => id);
}

/** Waits until every agent told its models. */
async function allReady(server: Server): Promise<void> {
  await until(async () => (await modelsOf(server)).length === IDS.length);
}

Deno.test("GET /v1/models lists each agent, and the models that it offers", async () => {
  await using home = await makeHome();
  await using server = await startWith(home, THREE);
  await allReady(server);
  assertEquals(await modelsOf(server), IDS);
  const one = await fetch(`${server.url}/v1/models/beta%2Fgpt-5`);
  assertEquals([one.status, (await one.json()).id], [200, "beta/gpt-5"]);
});

const WANTED: readonly [model: string, agent: string, servedBy: string][] = [
  ["", "agent", "openab"],
  ["openab", "agent", "openab"],
  ["default", "agent", "openab"],
  ["gpt-4o", "agent", "openab"],
  ["alpha", "agents.alpha", "alpha/opus"],
  ["alpha/opus", "agents.alpha", "alpha/opus"],
  ["alpha/haiku", "agents.alpha", "alpha/haiku"],
  ["haiku", "agents.alpha", "alpha/haiku"],
  ["alpha/no-such-model", "agents.alpha", "alpha/opus"],
  ["beta", "agents.beta", "beta/gpt-5"],
  ["beta/gpt-5-mini", "agents.beta", "beta/gpt-5-mini"],
  ["gpt-5-mini", "agents.beta", "beta/gpt-5-mini"],
];

Deno.test("a request's model chooses the agent and its model, and the answer says which it was", async () => {
  await using home = await makeHome();
  await using server = await startWith(home, THREE);
  await allReady(server);
  const told: Record<string, string[]> = { agent: [], "agents.alpha": [], "agents.beta": [] };
  for (const [turn, [model, agent, servedBy]] of WANTED.entries()) {
    const skin = new Talker({ model });
    const heard = await skin.say(server, question(turn));
    assertEquals([heard.text, heard.servedBy], [answer(turn), servedBy], model);
    told[agent]!.push(opening(question(turn)));
  }
  for (const [name, texts] of Object.entries(told)) assertEquals(await toldTo(home, name), texts, name);
});

Deno.test("a skin that goes on with another model of the agent stays in its session, with another agent it does not", async () => {
  await using home = await makeHome();
  await using server = await startWith(home, THREE);
  await allReady(server);
  const history: Talker["history"] = [];
  const says = async (model: string, turn: number) => {
    const skin = new Talker({ model });
    skin.history.push(...history);
    const heard = await skin.say(server, question(turn));
    assertEquals(heard.text, answer(turn));
    history.splice(0, Infinity, ...skin.history);
    return { ...heard, transcript: skin.transcript() };
  };
  const first = await says("alpha", 1);
  const second = await says("alpha/haiku", 2);
  const third = await says("alpha", 3);
  assertEquals([first, second, third].map(({ servedBy }) => servedBy), [
    "alpha/opus",
    "alpha/haiku",
    "alpha/opus",
  ]);
  assertEquals(new Set([first, second, third].map(({ conversation }) => conversation)).size, 1);
  const prompts = promptsOf(await receivedBy(home, "agents.alpha"));
  assertEquals(prompts.map(({ text }) => text), [opening(question(1)), question(2), question(3)]);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
  const chosen = (await receivedBy(home, "agents.alpha")).filter(({ method }) =>
    method === "session/set_config_option"
  );
  assertEquals(
    chosen.map(({ params }) => params),
    ["haiku", "opus"].map((value) => ({
      sessionId: prompts[0]!.sessionId,
      configId: "model",
      value,
    })),
  );

  const other = await says("beta", 4);
  assertEquals(other.servedBy, "beta/gpt-5");
  assertEquals(await toldTo(home, "agents.beta"), [other.transcript]);
  const listed = (await sessionsOf(server)).map(({ id, agent, turns }) => ({ id, agent, turns }));
  assertEquals(listed, [
    { id: other.conversation, agent: "beta", turns: 4 },
    { id: first.conversation, agent: "alpha", turns: 3 },
  ]);
});

Deno.test("agent@conversation names both", async () => {
  await using home = await makeHome();
  await using server = await startWith(home, THREE);
  await allReady(server);
  for (const [model, servedBy] of [["beta@mao", "beta/gpt-5"], ["beta/gpt-5-mini@mao", "beta/gpt-5-mini"]]) {
    const heard = await new Talker({ model: model! }).say(server, question(1));
    assertEquals([heard.conversation, heard.servedBy], ["mao", servedBy]);
  }
  const used = promptsOf(await receivedBy(home, "agents.beta")).map(({ sessionId }) => sessionId);
  assertEquals([used.length, new Set(used).size], [2, 1]);
});

Deno.test("VTUBER_STRICT_MODELS: a name that means nothing is a 404 that says what there is", async () => {
  await using home = await makeHome();
  await using server = await startWith(home, THREE, { env: { VTUBER_STRICT_MODELS: "true" } });
  await allReady(server);
  for (const model of ["gpt-4o", "alpha/no-such-model", "gamma", "gamma@mao"]) {
    const response = await server.chat("hello", { model });
    const { error } = await response.json();
    assertEquals([response.status, error.code, error.param], [404, "model_not_found", "model"], model);
    assertStringIncludes(error.message, "beta/gpt-5-mini");
  }
  for (const model of ["", "default", "openab", "alpha/haiku", "gpt-5"]) {
    assertEquals((await new Talker({ model }).say(server, question(1))).text, answer(1));
  }
});

Deno.test("MCP servers, mode and model of the file reach every session, also one that comes back", async () => {
  await using home = await makeHome();
  const more = `mode = "code"
model = "haiku"
[agents.alpha.mcp_servers.files]
command = "files-mcp"
args = ["--root", "/tmp"]
env = { TOKEN = "\${FILES_TOKEN}" }
[agents.alpha.mcp_servers.web]
url = "https://mcp.example/"
`;
  const agent = { ...ALPHA, resume: true, memory: `${home.path}/sessions` };
  const start = () =>
    startWith(home, { "agents.alpha": { agent, more } }, {
      // Without a command of its own there is no other agent.
      env: { FILES_TOKEN: "the-token", OPENAB_AGENT_COMMAND: "" },
    });
  const mcpServers = [{
    name: "files",
    command: "files-mcp",
    args: ["--root", "/tmp"],
    env: [{ name: "TOKEN", value: "the-token" }],
  }];
  const skin = new Talker({ model: "alpha" });
  let conversation: string;
  {
    await using server = await start();
    const heard = await skin.say(server, question(1));
    conversation = heard.conversation;
    assertEquals([heard.text, heard.servedBy], [answer(1), "alpha/haiku"]);
    // This agent takes no MCP servers over HTTP.
    await server.logged("web");
    assert(!server.log().includes("the-token"));
  }
  await using server = await start();
  const heard = await skin.say(server, question(2));
  assertEquals([heard.conversation, heard.servedBy], [conversation, "alpha/haiku"]);

  const received = await receivedBy(home, "agents.alpha");
  const { sessionId } = promptsOf(received)[0]!;
  const made = received.filter(({ method }) => method === "session/new" || method === "session/resume");
  for (const { params } of made) assertEquals((params as { mcpServers: unknown }).mcpServers, mcpServers);
  const ours = received.filter(({ params }) =>
    (params as { sessionId?: string } | undefined)?.sessionId === sessionId
  );
  const setUp = ["session/set_mode", "session/set_config_option"];
  const each = [...setUp, "session/prompt"];
  assertEquals(ours.map(({ method }) => method).filter((method) => method !== "session/close"), [
    ...each,
    "session/resume",
    ...each,
  ]);
  assertEquals(ours.filter(({ method }) => setUp.includes(method as string)).map(({ params }) => params), [
    { sessionId, modeId: "code" },
    { sessionId, configId: "model", value: "haiku" },
    { sessionId, modeId: "code" },
    { sessionId, configId: "model", value: "haiku" },
  ]);
});

Deno.test({
  name: "an agent's environment holds what is always handed on, and what its own table names",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using home = await makeHome();
    const key = "the-key-of-this-house";
    const tables = {
      agent: { more: 'inherit_env = ["HANDED_ON"]\n' },
      "agents.alpha": {
        more: 'env = { GIVEN = "${SOURCE} there" }\ninherit_env = ["ALSO"]\n',
      },
      "agents.beta": {},
    };
    const own = { HANDED_ON: "yes", ALSO: "too", SOURCE: "hello", KEPT_BACK: "no", USER: "mao" };
    await using server = await startWith(home, tables, { env: { ...own, VTUBER_AUTH_KEY: key } });
    // A process that has just been started still has the environment of this one.
    await until(() => server.log().split('"message":"session opened"').length > 3);
    const found = [];
    for (const pid of await agentsOf(server, 3)) {
      const text = await Deno.readTextFile(`/proc/${pid}/environ`);
      assert(!text.includes(key));
      const named = text.split("\0").filter((line) =>
        line !== "" && !/^(PATH|HOME|USER|OAB_VTUBER_AGENT_MARK)=/.test(line)
      );
      found.push(named.sort().join(" "));
    }
    const alpha = "ALSO=too GIVEN=hello there";
    assertEquals(found.sort(), ["", alpha, "HANDED_ON=yes"].sort());
    const skin = new Talker({ model: "alpha", key });
    const names = ["GIVEN", "HANDED_ON", "KEPT_BACK", "VTUBER_AUTH_KEY", "USER"];
    const { text } = await skin.say(server, script({ env: names }));
    assertEquals(JSON.parse(text), {
      GIVEN: "hello there",
      HANDED_ON: null,
      KEPT_BACK: null,
      VTUBER_AUTH_KEY: null,
      USER: "mao",
    });
    assert(!server.log().includes(key));
  },
});

Deno.test("one agent that cannot be started leaves the others alone", async () => {
  await using home = await makeHome();
  const tables = { "agents.well": {}, "agents.ill": { agent: { dieOnStart: 3 } } };
  await using server = await startWith(home, tables, { env: { OPENAB_AGENT_COMMAND: "" } });
  const ill = await server.chat("hello", { model: "ill" });
  assertEquals([ill.status, (await ill.json()).error.code], [503, "agent_unavailable"]);
  const skin = new Talker({ model: "well" });
  assertEquals((await skin.say(server, question(1))).text, answer(1));
});

Deno.test("GET /readyz tells which agents can serve a turn", async () => {
  await using home = await makeHome();
  const tables = {
    "agents.well": {},
    "agents.ill": { agent: { dieOnStart: 3 } },
    "agents.unknown": { agent: { authRequired: true, authMethods: ["browser"] } },
    "agents.silent": { agent: { sessionDelayMs: 3_600_000 } },
  };
  await using server = await startWith(home, tables, { env: { OPENAB_AGENT_COMMAND: "" } });
  const checks = {
    "agent:well": "ok",
    "agent:ill": "failing",
    "agent:unknown": "failing",
    "agent:silent": "starting",
  };
  let told: { status: number; body: unknown } | undefined;
  await until(async () => {
    const response = await fetch(`${server.url}/readyz`);
    told = { status: response.status, body: await response.json() };
    return JSON.stringify(told.body).includes(JSON.stringify(checks));
  });
  assertEquals(told, { status: 503, body: { status: "degraded", checks } });
});

Deno.test("every line of the log that is about an agent says which", async () => {
  await using home = await makeHome();
  const agent = { stderr: "A word of mine.\n", authMethods: ["browser"] };
  const tables = {
    "agents.one": { agent },
    "agents.two": { agent },
    "agents.three": { agent: { ...agent, authRequired: true } },
  };
  await using server = await startWith(home, tables, { env: { OPENAB_AGENT_COMMAND: "" } });
  const failing = script({ raw: "npm warn" }, { error: { code: -32603, message: "Not today." } });
  for (const model of ["one", "two"]) await (await server.chat(failing, { model })).text();
  const served = ["one", "two"];
  const expected = {
    "agent ready": [...served, "three"],
    "agent stderr": [...served, "three"],
    "session opened": served,
    "skipped a line of the agent": served,
    "the agent answered a prompt with an error": served,
    "could not open a session in advance": ["three"],
  };
  for (const [message, names] of Object.entries(expected)) {
    const lines = () => server.log().split("\n").slice(0, -1);
    const told = () => lines().filter((line) => line.includes(`"message":"${message}"`));
    const seen = () => new Set(told().map((line) => JSON.parse(line).agent));
    await until(() => names.every((name) => seen().has(name)));
    assertEquals([...seen()].sort(), [...names].sort(), message);
  }
});
