import { assertEquals } from "@std/assert";
import { waitFor } from "../harness/turn_recorder.ts";
import { replayCommand } from "./replayed_agent.ts";
import { type ChildCommand, isObject, type Json, line, readLines } from "./agent_io.ts";
import { directive, findSteps, type Step } from "./agent_steps.ts";
import { agentCommand, type ScriptedAgentOptions } from "./scripted_agent.ts";

const PARAMS = { cwd: Deno.build.os === "windows" ? "C:\\" : "/", mcpServers: [] };
const CANCELLED = { stopReason: "cancelled" };
const END = { stopReason: "end_turn" };

/** A plain ACP client of a child, which keeps every message. */
class Client implements AsyncDisposable {
  readonly child: Deno.ChildProcess;
  readonly messages: Json[] = [];
  readonly invalidLines: string[] = [];
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reading: Promise<void>;
  #changed = Promise.withResolvers<void>();
  #nextId = 0;

  constructor({ command, args }: ChildCommand, env: Record<string, string> = {}) {
    this.child = new Deno.Command(command, { args, env, stdin: "piped", stdout: "piped", stderr: "null" })
      .spawn();
    this.#writer = this.child.stdin.getWriter();
    this.#reading = this.#read();
  }

  async #read(): Promise<void> {
    for await (const text of readLines(this.child.stdout)) {
      try {
        this.messages.push(JSON.parse(text));
      } catch {
        this.invalidLines.push(text);
      }
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    }
  }

  /** Resolves to the first message, past or future, that fits. */
  async waitFor(fits: (message: Json) => boolean): Promise<Json> {
    for (;;) {
      const message = this.messages.find(fits);
      if (message) return message;
      await waitFor(this.#changed.promise, "a message of the agent");
    }
  }

  async send(message: Json): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(line({ jsonrpc: "2.0", ...message })));
  }

  /** Sends a request, and resolves to its result or error code. */
  async request(method: string, params: Json): Promise<unknown> {
    const id = this.#nextId++;
    await this.send({ id, method, params });
    const { result, error } = await this.waitFor((message) =>
      message.id === id && message.method === undefined
    );
    return isObject(error) ? error.code : result;
  }

  async newSession(): Promise<string> {
    return String((await this.request("session/new", PARAMS) as Json).sessionId);
  }

  prompt(sessionId: string, prompt: string | Step[]): Promise<unknown> {
    const text = typeof prompt === "string" ? prompt : directive(...prompt);
    return this.request("session/prompt", { sessionId, prompt: [{ type: "text", text }] });
  }

  cancel(sessionId: string): Promise<void> {
    return this.send({ method: "session/cancel", params: { sessionId } });
  }

  updates(): Json[] {
    return this.messages.flatMap(({ method, params }) =>
      method === "session/update" && isObject(params) && isObject(params.update) ? [params.update] : []
    );
  }

  texts(): string[] {
    return this.updates().flatMap((update) => textOf(update) ?? []);
  }

  async waitForText(text: string): Promise<void> {
    await this.waitFor(({ params }) => isObject(params) && textOf(params.update) === text);
  }

  /** Ends the agent's input, and resolves when the agent has ended. */
  async end(): Promise<Deno.CommandStatus> {
    await this.#writer.close().catch(() => {});
    await this.#reading;
    return await this.child.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

function textOf(update: unknown): string | undefined {
  return isObject(update) && update.sessionUpdate === "agent_message_chunk" && isObject(update.content)
    ? String(update.content.text)
    : undefined;
}

const scripted = (options?: ScriptedAgentOptions, env?: Record<string, string>) =>
  new Client(agentCommand(options), env);

Deno.test("findSteps: finds the directive anywhere in a text", () => {
  const steps: Step[] = [{ text: "a ]] b [[ c" }, { plan: [] }];
  const cases: readonly (readonly [string, Step[] | undefined])[] = [
    ["no directive", undefined],
    ["[[not json]] [happy]", undefined],
    [directive(...steps), steps],
    [`before [[ ${directive(...steps)} after`, steps],
    [`user: ${directive({ text: "" })}\nuser: ${directive(...steps)}\n`, steps],
  ];
  for (const [text, expected] of cases) assertEquals(findSteps(text), expected, text);
});

Deno.test("scripted agent: a cancel ends every wait, unless it is ignored", async () => {
  await using client = scripted();
  const sessionId = await client.newSession();
  const waits: Step[] = [
    { hang: true },
    { waitFor: "/no/such/file" },
    { sleepMs: 600_000 },
    { tokens: 1000, delayMs: 10_000 },
  ];
  for (const wait of waits) {
    const mark = `begun ${JSON.stringify(wait)}`;
    const result = client.prompt(sessionId, [{ text: mark }, wait, { text: "never" }]);
    await client.waitForText(mark);
    await client.cancel(sessionId);
    assertEquals(await result, CANCELLED);
  }
  const result = client.prompt(sessionId, [
    { ignoreCancel: true },
    { request: { method: "ping" } },
    { text: "still here" },
  ]);
  const { id } = await client.waitFor(({ method }) => method === "ping");
  await client.cancel(sessionId);
  await client.send({ id, result: { pong: true } });
  assertEquals(await result, END);
  assertEquals(client.texts().slice(-2), [`answer:{"pong":true}`, "still here"]);
});

Deno.test("scripted agent: a permission waits for its outcome, also in a cancelled turn", async () => {
  await using client = scripted();
  const sessionId = await client.newSession();
  const options = [{ optionId: "yes", name: "Allow", kind: "allow_once" }];
  const steps: Step[] = [{ permission: { toolCall: { toolCallId: "c1" }, options } }];

  const allowed = client.prompt(sessionId, steps);
  const first = await client.waitFor(({ method }) => method === "session/request_permission");
  assertEquals(first.params, { sessionId, toolCall: { toolCallId: "c1" }, options });
  await client.send({ id: first.id, result: { outcome: { outcome: "selected", optionId: "yes" } } });
  assertEquals(await allowed, END);
  assertEquals(client.texts(), [`permission:{"outcome":"selected","optionId":"yes"}`]);

  let isEnded = false;
  const cancelled = client.prompt(sessionId, steps).finally(() => isEnded = true);
  const second = await client.waitFor(({ method, id }) =>
    method === "session/request_permission" && id !== first.id
  );
  await client.cancel(sessionId);
  assertEquals(await client.request("session/nonsense", {}), -32601);
  assertEquals(isEnded, false);
  await client.send({ id: second.id, result: { outcome: { outcome: "cancelled" } } });
  assertEquals(await cancelled, CANCELLED);
});

Deno.test("scripted agent: steps of afterAnswer follow the answer, also of a cancelled turn", async () => {
  await using client = scripted();
  const sessionId = await client.newSession();
  const late: Step = {
    afterAnswer: [{ text: "late" }, { thought: "later" }, { sleepMs: 1 }, { text: "latest" }],
  };
  assertEquals(await client.prompt(sessionId, [{ text: "in time" }, { stop: "end_turn" }, late]), END);
  await client.waitForText("latest");
  const order = client.messages.slice(-5).map(({ params }) =>
    isObject(params) && isObject(params.update) && isObject(params.update.content)
      ? params.update.content.text
      : "answer"
  );
  assertEquals(order, ["in time", "answer", "late", "later", "latest"]);
  const cancelled = client.prompt(sessionId, [{ text: "waits" }, { hang: true }, {
    afterAnswer: [{ text: "too late" }],
  }]);
  await client.waitForText("waits");
  await client.cancel(sessionId);
  assertEquals(await cancelled, CANCELLED);
  await client.waitForText("too late");
});

Deno.test("replayed agent: takes recorded and other cancels, and makes up missing answers", async () => {
  await using client = new Client(replayCommand("gemini-cancel", { cancelWaitMs: 600_000 }));
  const sessionId = await client.newSession();
  const recorded = client.prompt(sessionId, "count");
  await client.waitFor(({ method }) => method === "session/update");
  await client.cancel(sessionId);
  assertEquals(await recorded, CANCELLED);
  assertEquals((await client.prompt(sessionId, "again") as Json).stopReason, "end_turn");
  assertEquals(await client.request("session/close", { sessionId }), {});

  await using other = new Client(replayCommand("gemini-tools"));
  const session = await other.newSession();
  const cancelled = other.prompt(session, "work");
  const { id } = await other.waitFor(({ method }) => method === "session/request_permission");
  await other.cancel(session);
  await other.send({ id, result: { outcome: { outcome: "cancelled" } } });
  assertEquals(await cancelled, CANCELLED);
});

Deno.test("replayed agent: goes on if a recorded cancel does not come", async () => {
  await using client = new Client(replayCommand("codex2-cancel", { cancelWaitMs: 1 }));
  assertEquals((await client.prompt(await client.newSession(), "count") as Json).stopReason, "cancelled");
});
