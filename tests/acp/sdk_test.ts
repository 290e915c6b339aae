import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import * as sdk from "npm:@agentclientprotocol/sdk@2.4.0";
import { AcpAgent, type AcpAgentOptions } from "../../lib/acp/agent.ts";
import type { PromptBlock } from "../../lib/turn/agent.ts";
import { isObject, type Json } from "../support/agents/scripted_agent.ts";
import { Heard, soon } from "../support/harness/turn_recorder.ts";
import { LogRecorder, memoryProcess, streamPair } from "../support/harness/json_rpc_harness.ts";
import { wrongAs, wrongMessages } from "../support/harness/acp_schema.ts";
import { NO_BROKER } from "../support/harness/no_broker.ts";

const PNG: PromptBlock = { type: "image", mimeType: "image/png", data: "iVBORw0KGgo=" };
const TOOL = { toolCallId: "t1", title: "rm -rf", kind: "execute", status: "pending" } as const;
const CHOICES: sdk.PermissionOption[] = [
  { optionId: "never", name: "Never", kind: "reject_always" },
  { optionId: "always", name: "Always", kind: "allow_always" },
  { optionId: "no", name: "No", kind: "reject_once" },
  { optionId: "yes", name: "Yes", kind: "allow_once" },
];

/** What every session of the agent offers. */
const SETTINGS: Pick<sdk.NewSessionResponse, "modes"> & { configOptions: sdk.SessionConfigOption[] } = {
  modes: { currentModeId: "ask", availableModes: [{ id: "ask", name: "Ask" }, { id: "code", name: "Code" }] },
  configOptions: [{
    type: "select",
    id: "m",
    name: "Model",
    category: "model",
    currentValue: "a",
    options: [{ group: "g", name: "G", options: [{ value: "a", name: "A" }, { value: "b", name: "B" }] }],
  }],
};

/** What an agent of the official SDK does with a prompt. */
type Script = (
  params: sdk.PromptRequest,
  client: sdk.AgentContext,
  cancelled: Promise<void>,
) => Promise<sdk.PromptResponse>;

/** An agent made with the official SDK, which checks every message that it gets, and this program's client of it. */
class Duo implements AsyncDisposable {
  readonly agent: AcpAgent;
  /** The requests and notifications that passed the SDK's checks, by method. */
  readonly accepted: [string, unknown][] = [];
  /** The messages of both ends, as they were written. */
  readonly sent: Json[] = [];
  readonly received: Json[] = [];
  /** Resolves when a session was closed. */
  readonly closed: Promise<void>;
  readonly #close: () => void;
  readonly #cancels = new Map<string, () => void>();
  readonly #script: Script;
  readonly #connection: sdk.AgentConnection;
  readonly #options: { authRequired?: boolean };

  constructor(script: Script, options: Partial<AcpAgentOptions> & { authRequired?: boolean } = {}) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#close = resolve;
    this.#script = script;
    this.#options = options;
    const [mine, theirs] = streamPair();
    const output = messagesOf(theirs.writable, this.received);
    const input = theirs.readable.pipeThrough(messagesThrough(this.sent));
    this.#connection = this.#app().connect(sdk.ndJsonStream(output, input));
    this.agent = new AcpAgent({
      name: "sdk",
      program: "agent",
      launch: () => memoryProcess(mine, () => this.#connection.close()),
      cwd: Deno.cwd(),
      permissions: options.permissions ?? "allow",
      broker: NO_BROKER,
      version: "1.2.3",
      variables: new Set(["API_KEY"]),
      log: new LogRecorder().log,
      mode: options.mode,
      mcpServers: options.mcpServers,
    });
  }

  #app(): sdk.AgentApp {
    const { agent } = sdk.methods;
    const take = (method: string, params: unknown) => this.accepted.push([method, params]);
    let loggedIn = false;
    return sdk.agent({ name: "official" })
      .onNotification(agent.session.cancel, ({ params }) => {
        take(agent.session.cancel, params);
        this.#cancels.get(params.sessionId)?.();
      })
      .onRequest(agent.initialize, ({ params }) => {
        take(agent.initialize, params);
        return {
          protocolVersion: sdk.PROTOCOL_VERSION,
          agentCapabilities: {
            promptCapabilities: { image: true },
            mcpCapabilities: { http: true },
            sessionCapabilities: { close: {}, resume: {}, delete: {} },
          },
          authMethods: [{ id: "api-key", name: "API key" }],
        };
      })
      .onRequest(agent.authenticate, ({ params }) => {
        take(agent.authenticate, params);
        loggedIn = true;
        return {};
      })
      .onRequest(agent.session.new, ({ params }) => {
        take(agent.session.new, params);
        if (this.#options.authRequired && !loggedIn) throw sdk.RequestError.authRequired();
        return { sessionId: `sdk-${this.accepted.length}`, ...SETTINGS };
      })
      .onRequest(agent.session.resume, ({ params }) => {
        take(agent.session.resume, params);
        return SETTINGS;
      })
      .onRequest(agent.session.setMode, ({ params }) => {
        take(agent.session.setMode, params);
        return {};
      })
      .onRequest(agent.session.setConfigOption, ({ params }) => {
        take(agent.session.setConfigOption, params);
        return { configOptions: SETTINGS.configOptions };
      })
      .onRequest(agent.session.delete, ({ params }) => {
        take(agent.session.delete, params);
        this.#close();
        return {};
      })
      .onRequest(agent.session.close, ({ params }) => {
        take(agent.session.close, params);
        this.#close();
        return {};
      })
      .onRequest(agent.session.prompt, ({ params, client }) => {
        take(agent.session.prompt, params);
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#cancels.set(params.sessionId, resolve);
        return this.#script(params, client, promise);
      });
  }

  /** The parameters of the requests of a method that passed. */
  of(method: string): unknown[] {
    return this.accepted.flatMap(([accepted, params]) => accepted === method ? [params] : []);
  }

  /** What the published schema finds wrong with what this program wrote. */
  get wrong(): string[] {
    return wrongMessages("client", this.sent, this.received);
  }

  /** The errors with which the SDK answered. */
  get refusals(): Json[] {
    return this.received.filter(({ error }) => error !== undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await soon(this.agent[Symbol.asyncDispose](), "the agent's end");
    await soon(this.#connection.closed, "the connection's end");
  }
}

/** Takes the messages out of what goes through. */
function messagesThrough(seen: Json[]): TransformStream<Uint8Array, Uint8Array> {
  const decoder = new TextDecoder();
  let begun = "";
  return new TransformStream({
    transform(bytes, controller) {
      const lines = (begun + decoder.decode(bytes, { stream: true })).split("\n");
      begun = lines.pop() ?? "";
      for (const line of lines) seen.push(JSON.parse(line));
      controller.enqueue(bytes);
    },
  });
}

function messagesOf(writable: WritableStream<Uint8Array>, seen: Json[]): WritableStream<Uint8Array> {
  const through = messagesThrough(seen);
  through.readable.pipeTo(writable).catch(() => {});
  return through.writable;
}

const say = (client: sdk.AgentContext, sessionId: string, text: string) =>
  client.notify(sdk.methods.client.session.update, {
    sessionId,
    update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text } },
  });

Deno.test("against the official SDK: initialize, a session, a prompt of text and image, close", async () => {
  const heard = new Heard();
  await using duo = new Duo(async ({ sessionId }, client) => {
    for (const text of ["one ", "two ", "three"]) await say(client, sessionId, text);
    return { stopReason: "end_turn" };
  });
  const session = await duo.agent.newSession();
  const blocks: PromptBlock[] = [{ type: "text", text: 'What is\n"this"? ä😀\u2028' }, PNG];
  await session.prompt(blocks, heard.reader);
  assertEquals(await heard.last(), "end end_turn");
  assertEquals(heard.text, "one two three");
  session.close();
  await soon(duo.closed, "the session's close");
  assertEquals(duo.of("initialize").length, 1);
  assertEquals(duo.sent[0]?.params, {
    protocolVersion: 1,
    clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
    clientInfo: { name: "oab-vtuber", title: "oab-vtuber", version: "1.2.3" },
  });
  assertEquals(duo.of("session/new")[0], { cwd: Deno.cwd(), mcpServers: [] });
  assertEquals(duo.of("session/prompt"), [{ sessionId: session.id, prompt: blocks }]);
  assertEquals(duo.of("session/close"), [{ sessionId: session.id }]);
  assertEquals([duo.refusals, duo.wrong], [[], []]);
});

Deno.test("against the official SDK: a cancel", async () => {
  const heard = new Heard();
  await using duo = new Duo(async ({ sessionId }, client, cancelled) => {
    await say(client, sessionId, "working");
    await cancelled;
    return { stopReason: "cancelled" };
  });
  const session = await duo.agent.newSession();
  const prompting = await session.prompt([{ type: "text", text: "Go" }], heard.reader);
  await heard.untilText("working");
  prompting.cancel();
  assertEquals(await heard.last(), "end cancelled");
  assertEquals(duo.of("session/cancel"), [{ sessionId: session.id }]);
  assertEquals([duo.refusals, duo.wrong], [[], []]);
});

for (const [permissions, optionId] of [["allow", "yes"], ["ask", "no"], ["deny", "no"]] as const) {
  Deno.test(`against the official SDK: a permission, ${permissions}`, async () => {
    const heard = new Heard();
    const outcomes: unknown[] = [];
    await using duo = new Duo(async ({ sessionId }, client) => {
      const request: sdk.RequestPermissionRequest = { sessionId, toolCall: TOOL, options: CHOICES };
      outcomes.push(await client.request(sdk.methods.client.session.requestPermission, request));
      return { stopReason: "end_turn" };
    }, { permissions });
    const session = await duo.agent.newSession();
    await session.prompt([{ type: "text", text: "Go" }], heard.reader);
    assertEquals(await heard.last(), "end end_turn");
    assertEquals(outcomes, [{ outcome: { outcome: "selected", optionId } }]);
    assertEquals(heard.briefs[0], "tool rm -rf execute pending");
    assertEquals([duo.refusals, duo.wrong], [[], []]);
  });
}

Deno.test("against the official SDK: a permission with nothing that fits is answered with cancelled", async () => {
  const heard = new Heard();
  const outcomes: unknown[] = [];
  await using duo = new Duo(async ({ sessionId }, client) => {
    const request = {
      sessionId,
      toolCall: TOOL,
      options: CHOICES.filter(({ kind }) => kind.startsWith("allow")),
    };
    outcomes.push(await client.request(sdk.methods.client.session.requestPermission, request));
    return { stopReason: "end_turn" };
  }, { permissions: "deny" });
  const session = await duo.agent.newSession();
  await session.prompt([{ type: "text", text: "Go" }], heard.reader);
  await heard.last();
  assertEquals(outcomes, [{ outcome: { outcome: "cancelled" } }]);
  assertEquals(duo.wrong, []);
});

Deno.test("against the official SDK: what was not offered is refused with -32601", async () => {
  const heard = new Heard();
  const codes: number[] = [];
  await using duo = new Duo(async ({ sessionId }, client) => {
    const asked = [
      client.request(sdk.methods.client.fs.readTextFile, { sessionId, path: "/etc/passwd" }),
      client.request(sdk.methods.client.fs.writeTextFile, { sessionId, path: "/a", content: "" }),
      client.request(sdk.methods.client.terminal.create, { sessionId, command: "ls" }),
      client.request("vendor/ask", {}),
    ];
    for (const result of await Promise.allSettled(asked)) {
      if (result.status === "rejected") codes.push(result.reason.code);
    }
    return { stopReason: "end_turn" };
  });
  const session = await duo.agent.newSession();
  await session.prompt([{ type: "text", text: "Go" }], heard.reader);
  assertEquals(await heard.last(), "end end_turn");
  assertEquals(codes, [-32601, -32601, -32601, -32601]);
  assertEquals(duo.wrong, []);
});

Deno.test("against the official SDK: a log-in by key", async () => {
  await using duo = new Duo(() => Promise.resolve({ stopReason: "end_turn" }), { authRequired: true });
  const session = await duo.agent.newSession();
  assertStringIncludes(session.id, "sdk-");
  assertEquals(duo.of("authenticate"), [{ methodId: "api-key" }]);
  assertEquals(duo.refusals.map(({ error }) => isObject(error) && error.code), [-32000]);
  assertEquals(duo.wrong, []);
});

Deno.test("against the official SDK: a session with a mode, a model and MCP servers, brought back and deleted", async () => {
  const files = { name: "files", command: "/bin/files", args: ["."], env: [{ name: "A", value: "b" }] };
  const web = { type: "http", name: "web", url: "https://x.example", headers: [] } as const;
  await using duo = new Duo(() => Promise.resolve({ stopReason: "end_turn" }), {
    mode: "code",
    mcpServers: [files, web],
  });
  const session = await duo.agent.newSession();
  await session.setModel("b");
  session.close();
  await soon(duo.closed, "the session's close");
  const { id: sessionId } = session;
  assertEquals((await duo.agent.resumeSession(sessionId))?.id, sessionId);
  assertEquals(duo.of("session/new")[0], { cwd: Deno.cwd(), mcpServers: [files, web] });
  assertEquals(duo.of("session/resume"), [{ sessionId, cwd: Deno.cwd(), mcpServers: [files, web] }]);
  assertEquals(duo.of("session/set_mode").at(-1), { sessionId, modeId: "code" });
  assertEquals(duo.of("session/set_config_option"), [{ sessionId, configId: "m", value: "b" }]);
  duo.agent.deleteSession(sessionId);
  // It stands in line behind the delete.
  await duo.agent.resumeSession(sessionId);
  assertEquals(duo.of("session/delete"), [{ sessionId }]);
  assertEquals([duo.refusals, duo.wrong], [[], []]);
});

Deno.test("the schema that these tests go by finds what is wrong", () => {
  const fine = { jsonrpc: "2.0", id: 1, method: "session/new", params: { cwd: "/", mcpServers: [] } };
  assertEquals(wrongMessages("client", [fine], []), []);
  const wrong: Json[] = [
    { ...fine, params: { cwd: "/" } },
    { ...fine, jsonrpc: undefined },
    { ...fine, id: {} },
    { ...fine, method: "session/newer" },
    { jsonrpc: "2.0", method: "session/cancel", params: {} },
    { jsonrpc: "2.0", id: 7, result: {} },
    { jsonrpc: "2.0", id: 7, error: "no" },
  ];
  for (const message of wrong) {
    const faults = wrongMessages("client", [message], [{ id: 7, method: "session/request_permission" }]);
    assertEquals(faults.length, 1, JSON.stringify(message));
  }
  assertEquals(wrongAs("ContentBlock", { type: "text", text: "Hi" }), undefined);
  assert(wrongAs("ContentBlock", { type: "text" }));
});
