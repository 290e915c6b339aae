import { assert, assertEquals } from "@std/assert";
import * as sdk from "npm:@agentclientprotocol/sdk@2.4.0";
import type { AcpAgent, AcpAgentOptions } from "../../lib/acp/agent.ts";
import type { PromptBlock } from "../../lib/turn/agent.ts";
import { isObject, type Json } from "../support/agents/agent_io.ts";
import { TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";
import { memoryProcess, streamPair } from "../support/harness/json_rpc_harness.ts";
import { schemaViolation, schemaViolations } from "../support/harness/acp_schema.ts";
import { AcpHarness } from "../support/agents/memory_acp_agent.ts";

const PNG: PromptBlock = { type: "image", mimeType: "image/png", data: "iVBORw0KGgo=" };
const TOOL = { toolCallId: "t1", title: "rm -rf", kind: "execute", status: "pending" } as const;
const CHOICES: sdk.PermissionOption[] = [
  { optionId: "never", name: "Never", kind: "reject_always" },
  { optionId: "always", name: "Always", kind: "allow_always" },
  { optionId: "no", name: "No", kind: "reject_once" },
  { optionId: "yes", name: "Yes", kind: "allow_once" },
];

/** Options of every session. */
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

/** Answers a prompt. */
type PromptHandler = (
  params: sdk.PromptRequest,
  client: sdk.AgentContext,
  cancelled: Promise<void>,
) => Promise<sdk.PromptResponse>;

/** An `AcpAgent` over an agent of the official SDK, which checks every message that it receives. */
class SdkHarness implements AsyncDisposable {
  readonly agent: AcpAgent;
  /** Requests and notifications that passed the SDK's checks. */
  readonly accepted: [string, unknown][] = [];
  /** Messages of this program, and of the agent, as written. */
  readonly sent: Json[] = [];
  readonly received: Json[] = [];
  /** Resolves when a session was closed. */
  readonly closed: Promise<void>;
  readonly #close: () => void;
  readonly #cancels = new Map<string, () => void>();
  readonly #onPrompt: PromptHandler;
  readonly #connection: sdk.AgentConnection;
  readonly #options: { authRequired?: boolean };

  constructor(onPrompt: PromptHandler, options: Partial<AcpAgentOptions> & { authRequired?: boolean } = {}) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#close = resolve;
    this.#onPrompt = onPrompt;
    this.#options = options;
    const [mine, theirs] = streamPair();
    const output = recordWrites(theirs.writable, this.received);
    const input = theirs.readable.pipeThrough(recordMessages(this.sent));
    this.#connection = this.#app().connect(sdk.ndJsonStream(output, input));
    const { authRequired: _, ...agentOptions } = options;
    this.agent = new AcpHarness({}, {
      launch: () => memoryProcess(mine, () => this.#connection.close()),
      cwd: Deno.cwd(),
      version: "1.2.3",
      variables: new Set(["API_KEY"]),
      ...agentOptions,
    }).agent;
  }

  #app(): sdk.AgentApp {
    const { agent } = sdk.methods;
    const accept = (method: string, params: unknown) => this.accepted.push([method, params]);
    let loggedIn = false;
    return sdk.agent({ name: "official" })
      .onNotification(agent.session.cancel, ({ params }) => {
        accept(agent.session.cancel, params);
        this.#cancels.get(params.sessionId)?.();
      })
      .onRequest(agent.initialize, ({ params }) => {
        accept(agent.initialize, params);
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
        accept(agent.authenticate, params);
        loggedIn = true;
        return {};
      })
      .onRequest(agent.session.new, ({ params }) => {
        accept(agent.session.new, params);
        if (this.#options.authRequired && !loggedIn) throw sdk.RequestError.authRequired();
        return { sessionId: `sdk-${this.accepted.length}`, ...SETTINGS };
      })
      .onRequest(agent.session.resume, ({ params }) => {
        accept(agent.session.resume, params);
        return SETTINGS;
      })
      .onRequest(agent.session.setMode, ({ params }) => {
        accept(agent.session.setMode, params);
        return {};
      })
      .onRequest(agent.session.setConfigOption, ({ params }) => {
        accept(agent.session.setConfigOption, params);
        return { configOptions: SETTINGS.configOptions };
      })
      .onRequest(agent.session.delete, ({ params }) => {
        accept(agent.session.delete, params);
        this.#close();
        return {};
      })
      .onRequest(agent.session.close, ({ params }) => {
        accept(agent.session.close, params);
        this.#close();
        return {};
      })
      .onRequest(agent.session.prompt, ({ params, client }) => {
        accept(agent.session.prompt, params);
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#cancels.set(params.sessionId, resolve);
        return this.#onPrompt(params, client, promise);
      });
  }

  /** Parameters of the accepted messages of a method. */
  paramsOf(method: string): unknown[] {
    return this.accepted.flatMap(([accepted, params]) => accepted === method ? [params] : []);
  }

  /** Violations of the published schema by this program. */
  get violations(): string[] {
    return schemaViolations("client", this.sent, this.received);
  }

  /** Error answers of the SDK. */
  get refusals(): Json[] {
    return this.received.filter(({ error }) => error !== undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await waitFor(this.agent[Symbol.asyncDispose](), "the agent's end");
    await waitFor(this.#connection.closed, "the connection's end");
  }
}

/** Passes bytes on, and records their messages. */
function recordMessages(seen: Json[]): TransformStream<Uint8Array, Uint8Array> {
  const decoder = new TextDecoder();
  let partial = "";
  return new TransformStream({
    transform(bytes, controller) {
      const lines = (partial + decoder.decode(bytes, { stream: true })).split("\n");
      partial = lines.pop() ?? "";
      for (const line of lines) seen.push(JSON.parse(line));
      controller.enqueue(bytes);
    },
  });
}

function recordWrites(writable: WritableStream<Uint8Array>, seen: Json[]): WritableStream<Uint8Array> {
  const through = recordMessages(seen);
  through.readable.pipeTo(writable).catch(() => {});
  return through.writable;
}

const sendText = (client: sdk.AgentContext, sessionId: string, text: string) =>
  client.notify(sdk.methods.client.session.update, {
    sessionId,
    update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text } },
  });

Deno.test("against the official SDK: initialize, a session, a prompt of text and image, close", async () => {
  const heard = new TurnRecorder();
  await using harness = new SdkHarness(async ({ sessionId }, client) => {
    for (const text of ["one ", "two ", "three"]) await sendText(client, sessionId, text);
    return { stopReason: "end_turn" };
  });
  const session = await harness.agent.newSession();
  const blocks: PromptBlock[] = [{ type: "text", text: 'What is\n"this"? ä😀\u2028' }, PNG];
  await session.prompt(blocks, heard.reader);
  assertEquals(await heard.lastSummary(), "end end_turn");
  assertEquals(heard.text, "one two three");
  session.close();
  await waitFor(harness.closed, "the session's close");
  assertEquals(harness.paramsOf("initialize").length, 1);
  assertEquals(harness.sent[0]?.params, {
    protocolVersion: 1,
    clientCapabilities: {
      fs: { readTextFile: false, writeTextFile: false },
      terminal: false,
      elicitation: { form: {}, url: {} },
    },
    clientInfo: { name: "oab-vtuber", title: "oab-vtuber", version: "1.2.3" },
  });
  assertEquals(harness.paramsOf("session/new")[0], { cwd: Deno.cwd(), mcpServers: [] });
  assertEquals(harness.paramsOf("session/prompt"), [{ sessionId: session.id, prompt: blocks }]);
  assertEquals(harness.paramsOf("session/close"), [{ sessionId: session.id }]);
  assertEquals([harness.refusals, harness.violations], [[], []]);
});

for (const [permissions, optionId] of [["allow", "yes"], ["deny", "no"]] as const) {
  Deno.test(`against the official SDK: a permission, ${permissions}`, async () => {
    const heard = new TurnRecorder();
    const outcomes: unknown[] = [];
    await using harness = new SdkHarness(async ({ sessionId }, client) => {
      const request: sdk.RequestPermissionRequest = { sessionId, toolCall: TOOL, options: CHOICES };
      outcomes.push(await client.request(sdk.methods.client.session.requestPermission, request));
      return { stopReason: "end_turn" };
    }, { permissions });
    const session = await harness.agent.newSession();
    await session.prompt([{ type: "text", text: "Go" }], heard.reader);
    assertEquals(await heard.lastSummary(), "end end_turn");
    assertEquals(outcomes, [{ outcome: { outcome: "selected", optionId } }]);
    assertEquals(heard.summaries[0], "tool rm -rf execute pending");
    assertEquals([harness.refusals, harness.violations], [[], []]);
  });
}

Deno.test("against the official SDK: answers methods that are not offered with -32601", async () => {
  const heard = new TurnRecorder();
  const codes: number[] = [];
  await using harness = new SdkHarness(async ({ sessionId }, client) => {
    const requests = [
      client.request(sdk.methods.client.fs.readTextFile, { sessionId, path: "/etc/passwd" }),
      client.request(sdk.methods.client.fs.writeTextFile, { sessionId, path: "/a", content: "" }),
      client.request(sdk.methods.client.terminal.create, { sessionId, command: "ls" }),
      client.request("vendor/ask", {}),
    ];
    for (const result of await Promise.allSettled(requests)) {
      if (result.status === "rejected") codes.push(result.reason.code);
    }
    return { stopReason: "end_turn" };
  });
  const session = await harness.agent.newSession();
  await session.prompt([{ type: "text", text: "Go" }], heard.reader);
  assertEquals(await heard.lastSummary(), "end end_turn");
  assertEquals(codes, [-32601, -32601, -32601, -32601]);
  assertEquals(harness.violations, []);
});

Deno.test("against the official SDK: a session with a log-in, a mode, a model and MCP servers, cancelled, resumed and deleted", async () => {
  const files = { name: "files", command: "/bin/files", args: ["."], env: [{ name: "A", value: "b" }] };
  const web = { type: "http", name: "web", url: "https://x.example", headers: [] } as const;
  const events = new TurnRecorder();
  await using harness = new SdkHarness(async ({ sessionId }, client, cancelled) => {
    await sendText(client, sessionId, "working");
    await cancelled;
    return { stopReason: "cancelled" };
  }, {
    authRequired: true,
    mode: "code",
    mcpServers: [files, web],
  });
  const session = await harness.agent.newSession();
  await session.setModel("b");
  const prompt = await session.prompt([{ type: "text", text: "Go" }], events.reader);
  await events.untilText("working");
  prompt.cancel();
  assertEquals(await events.lastSummary(), "end cancelled");
  session.close();
  await waitFor(harness.closed, "the session's close");
  const { id: sessionId } = session;
  assertEquals((await harness.agent.resumeSession(sessionId))?.id, sessionId);
  assertEquals(harness.paramsOf("session/new").at(-1), { cwd: Deno.cwd(), mcpServers: [files, web] });
  assertEquals(harness.paramsOf("session/resume"), [{
    sessionId,
    cwd: Deno.cwd(),
    mcpServers: [files, web],
  }]);
  assertEquals(harness.paramsOf("authenticate"), [{ methodId: "api-key" }]);
  assertEquals(harness.paramsOf("session/cancel"), [{ sessionId }]);
  assertEquals(harness.paramsOf("session/set_mode").at(-1), { sessionId, modeId: "code" });
  assertEquals(harness.paramsOf("session/set_config_option"), [{ sessionId, configId: "m", value: "b" }]);
  harness.agent.deleteSession(sessionId);
  // The resume waits for the delete.
  await harness.agent.resumeSession(sessionId);
  assertEquals(harness.paramsOf("session/delete"), [{ sessionId }]);
  assertEquals(harness.refusals.map(({ error }) => isObject(error) && error.code), [-32000]);
  assertEquals(harness.violations, []);
});

Deno.test("schemaViolations: finds violations of the schema", () => {
  const valid = { jsonrpc: "2.0", id: 1, method: "session/new", params: { cwd: "/", mcpServers: [] } };
  assertEquals(schemaViolations("client", [valid], []), []);
  const invalid: Json[] = [
    { ...valid, params: { cwd: "/" } },
    { ...valid, jsonrpc: undefined },
    { ...valid, id: {} },
    { ...valid, method: "session/newer" },
    { jsonrpc: "2.0", method: "session/cancel", params: {} },
    { jsonrpc: "2.0", id: 7, result: {} },
    { jsonrpc: "2.0", id: 7, error: "no" },
  ];
  for (const message of invalid) {
    const violations = schemaViolations("client", [message], [{
      id: 7,
      method: "session/request_permission",
    }]);
    assertEquals(violations.length, 1, JSON.stringify(message));
  }
  assertEquals(schemaViolation("ContentBlock", { type: "text", text: "Hi" }), undefined);
  assert(schemaViolation("ContentBlock", { type: "text" }));
});
