/** Several agents behind one address, as a configuration file declares them. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { readEntries } from "../support/agents/agent_io.ts";
import { agentCommand, type ScriptedAgentOptions } from "../support/agents/scripted_agent.ts";
import {
  agentPids,
  createDataDir,
  type DataDir,
  listConversations,
} from "../support/harness/data_dir_fixture.ts";
import {
  type AgentMessage,
  promptsOf,
  runStep,
  script,
  type ServerOptions,
  type ServerProcess,
  startServer,
  until,
} from "../support/harness/server_process.ts";
import { answer, ChatClient, firstPrompt, question } from "../support/skins/chat_client.ts";

/** An agent's table in the file: its options, and further lines. */
interface AgentTable {
  readonly agent?: ScriptedAgentOptions;
  readonly lines?: string;
}

const ALPHA = { models: { ids: ["opus", "haiku"], by: "option" }, modes: ["ask", "code"] } as const;
const BETA = { models: { ids: ["gpt-5", "gpt-5-mini"], by: "set_model" } } as const;
const THREE = { agent: {}, "agents.alpha": { agent: ALPHA }, "agents.beta": { agent: BETA } };
const MODELS = ["openab", "alpha", "alpha/opus", "alpha/haiku", "beta", "beta/gpt-5", "beta/gpt-5-mini"];
/** Variables for a file without an `[agent]` table. */
const NO_DEFAULT = { OPENAB_AGENT_COMMAND: "" };

/** Starts a server whose file has these tables; each agent logs its messages under the name of its table. */
async function startWith(
  dataDir: DataDir,
  tables: Record<string, AgentTable>,
  options: ServerOptions = {},
): Promise<ServerProcess> {
  const path = `${dataDir.path}/config.toml`;
  const text = Object.entries(tables).map(([name, { agent = {}, lines = "" }]) => {
    const { command, args } = agentCommand({ log: `${dataDir.path}/${name}.jsonl`, ...agent });
    return `[${name}]\ncommand = ${JSON.stringify(command)}\nargs = ${JSON.stringify(args)}\n${lines}`;
  });
  await Deno.writeTextFile(path, text.join("\n"));
  return await startServer({ dataDir: dataDir.path, args: ["--config", path], ...options });
}

/** The messages that an agent received. */
async function receivedBy(dataDir: DataDir, table: string): Promise<AgentMessage[]> {
  return readEntries(await Deno.readTextFile(`${dataDir.path}/${table}.jsonl`));
}

async function modelsOf(server: ServerProcess): Promise<string[]> {
  return (await server.get("/v1/models")).data.map(({ id }: { id: string }) => id);
}

/** Resolves once the models of every agent are listed. */
async function untilReady(server: ServerProcess): Promise<void> {
  await until(() => modelsOf(server), ({ length }) => length === MODELS.length);
}

const ROUTES: readonly [model: string, table: string, resolved: string][] = [
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

Deno.test("three agents", async (t) => {
  await using dataDir = await createDataDir();
  await using server = await startWith(dataDir, THREE);
  await untilReady(server);
  /** Returns the prompts that an agent receives during some work. */
  const promptsDuring = async (table: string, work: () => Promise<unknown>) => {
    const before = promptsOf(await receivedBy(dataDir, table)).length;
    await work();
    return promptsOf(await receivedBy(dataDir, table)).slice(before);
  };

  await runStep(t, "GET /v1/models lists each agent, and the models that it offers", async () => {
    assertEquals(await modelsOf(server), MODELS);
    assertEquals((await server.get("/v1/models/beta%2Fgpt-5")).id, "beta/gpt-5");
  });

  await runStep(
    t,
    "the request's model chooses agent and model, and x-resolved-model names them",
    async () => {
      for (const [turn, [model, table, resolved]] of ROUTES.entries()) {
        const prompts = await promptsDuring(table, async () => {
          const reply = await new ChatClient({ model }).send(server, question(turn));
          assertEquals([reply.text, reply.model], [answer(turn), resolved], model);
        });
        assertEquals(prompts.map(({ text }) => text), [firstPrompt(question(turn))], model);
      }
    },
  );

  await runStep(
    t,
    "another model of the agent keeps the session; another agent gets the whole history",
    async () => {
      const persona = "You change your mind.";
      let client = new ChatClient({ persona });
      const conversations: string[] = [];
      const send = async (model: string, turn: number, resolved: string) => {
        client = new ChatClient({ persona, model, history: client.history });
        const reply = await client.send(server, question(turn));
        assertEquals([reply.text, reply.model], [answer(turn), resolved]);
        conversations.push(reply.conversation);
      };
      const from = (await receivedBy(dataDir, "agents.alpha")).length;
      await send("alpha", 1, "alpha/opus");
      await send("alpha/haiku", 2, "alpha/haiku");
      await send("alpha", 3, "alpha/opus");
      assertEquals(new Set(conversations).size, 1);
      const received = (await receivedBy(dataDir, "agents.alpha")).slice(from);
      const prompts = promptsOf(received);
      const texts = [firstPrompt(question(1), persona), question(2), question(3)];
      assertEquals(prompts.map(({ text }) => text), texts);
      const { sessionId } = prompts[0]!;
      assertEquals(prompts.every((prompt) => prompt.sessionId === sessionId), true);
      const options = received.filter(({ method }) => method === "session/set_config_option");
      assertEquals(
        options.map(({ params }) => params),
        ["haiku", "opus"].map((value) => ({ sessionId, configId: "model", value })),
      );

      const [other] = await promptsDuring("agents.beta", () => send("beta", 4, "beta/gpt-5"));
      assertEquals(other!.text, client.transcript());
      const listed = (await listConversations(server)).slice(0, 2);
      assertEquals(listed.map(({ id, agent, turns }) => [id, agent, turns]), [
        [conversations[3]!, "beta", 4],
        [conversations[0]!, "alpha", 3],
      ]);
    },
  );

  await runStep(t, "agent@conversation names both", async () => {
    const prompts = await promptsDuring("agents.beta", async () => {
      for (
        const [model, resolved] of [["beta@mao", "beta/gpt-5"], ["beta/gpt-5-mini@mao", "beta/gpt-5-mini"]]
      ) {
        const reply = await new ChatClient({ model: model! }).send(server, question(1));
        assertEquals([reply.conversation, reply.model], ["mao", resolved]);
      }
    });
    assertEquals([prompts.length, new Set(prompts.map(({ sessionId }) => sessionId)).size], [2, 1]);
  });
});

Deno.test("VTUBER_STRICT_MODELS: an unknown model is a 404 that lists the models", async () => {
  await using dataDir = await createDataDir();
  await using server = await startWith(dataDir, THREE, { env: { VTUBER_STRICT_MODELS: "true" } });
  await untilReady(server);
  for (const model of ["gpt-4o", "alpha/no-such-model", "gamma", "gamma@mao"]) {
    const response = await server.chat("hello", { model });
    const { error } = await response.json();
    assertEquals([response.status, error.code, error.param], [404, "model_not_found", "model"], model);
    assertStringIncludes(error.message, "beta/gpt-5-mini");
  }
  for (const model of ["", "default", "openab", "alpha/haiku", "gpt-5"]) {
    assertEquals((await new ChatClient({ model }).send(server, question(1))).text, answer(1));
  }
});

Deno.test("MCP servers, mode and model of the file are set in every session, also in a resumed one", async () => {
  await using dataDir = await createDataDir();
  const lines = `mode = "code"
model = "haiku"
[agents.alpha.mcp_servers.files]
command = "files-mcp"
args = ["--root", "/tmp"]
env = { TOKEN = "\${FILES_TOKEN}" }
[agents.alpha.mcp_servers.web]
url = "https://mcp.example/"
`;
  const tables = { "agents.alpha": { agent: { ...ALPHA, ...dataDir.agent }, lines } };
  const start = () => startWith(dataDir, tables, { env: { FILES_TOKEN: "the-token", ...NO_DEFAULT } });
  const client = new ChatClient({ model: "alpha" });
  const conversations = new Set<string>();
  for (const turn of [1, 2]) {
    await using server = await start();
    const reply = await client.send(server, question(turn));
    assertEquals([reply.text, reply.model], [answer(turn), "alpha/haiku"]);
    conversations.add(reply.conversation);
    // The scripted agent takes no MCP servers over HTTP.
    await server.logged("web");
    assert(!server.log().includes("the-token"));
  }
  assertEquals(conversations.size, 1);

  const received = await receivedBy(dataDir, "agents.alpha");
  const { sessionId } = promptsOf(received)[0]!;
  const mcpServers = [{
    name: "files",
    command: "files-mcp",
    args: ["--root", "/tmp"],
    env: [{ name: "TOKEN", value: "the-token" }],
  }];
  for (const { method, params } of received) {
    if (method !== "session/new" && method !== "session/resume") continue;
    assertEquals((params as { mcpServers: unknown }).mcpServers, mcpServers);
  }
  const ofSession = received.filter(({ params }) =>
    (params as { sessionId?: string } | undefined)?.sessionId === sessionId
  );
  const settings = [
    ["session/set_mode", { sessionId, modeId: "code" }],
    ["session/set_config_option", { sessionId, configId: "model", value: "haiku" }],
  ];
  const names = ["session/set_mode", "session/set_config_option", "session/prompt"];
  assertEquals(ofSession.map(({ method }) => method).filter((method) => method !== "session/close"), [
    ...names,
    "session/resume",
    ...names,
  ]);
  assertEquals(
    ofSession.filter(({ method }) => `${method}`.startsWith("session/set")).map((m) => [m.method, m.params]),
    [...settings, ...settings],
  );
});

Deno.test({
  name: "an agent gets only the basic variables and those of its own table, and never the key",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using dataDir = await createDataDir();
    const key = "the-key-of-this-server";
    const tables = {
      agent: { lines: 'inherit_env = ["INHERITED"]\n' },
      "agents.alpha": { lines: 'env = { GREETING = "${SOURCE} there" }\ninherit_env = ["ALSO"]\n' },
      "agents.beta": {},
    };
    const env = { INHERITED: "yes", ALSO: "too", SOURCE: "hello", WITHHELD: "no", USER: "mao" };
    await using server = await startWith(dataDir, tables, { env: { ...env, VTUBER_AUTH_KEY: key } });
    // A process that has just been forked still has the environment of the server.
    await until(() => server.log().split('"message":"session opened"').length > 3);
    const environments = [];
    for (const pid of await agentPids(server, 3)) {
      const text = await Deno.readTextFile(`/proc/${pid}/environ`);
      assert(!text.includes(key));
      const own = text.split("\0").filter((line) =>
        line !== "" && !/^(PATH|HOME|USER|OAB_VTUBER_AGENT_MARK)=/.test(line)
      );
      environments.push(own.sort().join(" "));
    }
    assertEquals(environments.sort(), ["", "ALSO=too GREETING=hello there", "INHERITED=yes"]);
    const names = ["GREETING", "INHERITED", "WITHHELD", "VTUBER_AUTH_KEY", "USER"];
    const { text } = await new ChatClient({ model: "alpha", key }).send(server, script({ env: names }));
    assertEquals(JSON.parse(text), {
      GREETING: "hello there",
      INHERITED: null,
      WITHHELD: null,
      VTUBER_AUTH_KEY: null,
      USER: "mao",
    });
    assert(!server.log().includes(key));
  },
});

Deno.test("an agent that cannot start leaves the others alone, and GET /readyz shows the state of each", async () => {
  await using dataDir = await createDataDir();
  const tables = {
    "agents.good": {},
    "agents.exits": { agent: { dieOnStart: 3 } },
    "agents.locked": { agent: { authRequired: true, authMethods: ["browser"] } },
    "agents.slow": { agent: { sessionDelayMs: 3_600_000 } },
  };
  await using server = await startWith(dataDir, tables, { env: NO_DEFAULT });
  const failed = await server.chat("hello", { model: "exits" });
  assertEquals([failed.status, (await failed.json()).error.code], [503, "agent_unavailable"]);
  assertEquals((await new ChatClient({ model: "good" }).send(server, question(1))).text, answer(1));
  const checks = {
    "agent:good": "ok",
    "agent:exits": "failing",
    "agent:locked": "failing",
    "agent:slow": "starting",
  };
  const expected = JSON.stringify([503, { status: "degraded", checks }]);
  await until(async () => {
    const response = await fetch(`${server.url}/readyz`);
    return JSON.stringify([response.status, await response.json()]);
  }, (found) => found === expected);
});

Deno.test("every log line about an agent names the agent", async () => {
  await using dataDir = await createDataDir();
  const agent = { stderr: "A line of the agent.\n", authMethods: ["browser"] };
  const tables = {
    "agents.one": { agent },
    "agents.two": { agent },
    "agents.three": { agent: { ...agent, authRequired: true } },
  };
  await using server = await startWith(dataDir, tables, { env: NO_DEFAULT });
  const failing = script({ raw: "npm warn" }, { error: { code: -32603, message: "Not today." } });
  for (const model of ["one", "two"]) await (await server.chat(failing, { model })).text();
  const good = ["one", "two"];
  const expected = {
    "agent ready": [...good, "three"],
    "agent stderr": [...good, "three"],
    "session opened": good,
    "skipped a line of the agent": good,
    "the agent answered a prompt with an error": good,
    "could not open a session in advance": ["three"],
  };
  for (const [message, names] of Object.entries(expected)) {
    const agentsOf = () => {
      const lines = server.log().split("\n").slice(0, -1);
      const found = lines.filter((line) => line.includes(`"message":"${message}"`));
      return [...new Set(found.map((line) => JSON.parse(line).agent))].sort();
    };
    await until(() => names.every((name) => agentsOf().includes(name)));
    assertEquals(agentsOf(), [...names].sort(), message);
  }
});
