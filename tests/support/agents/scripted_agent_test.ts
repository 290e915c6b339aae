import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import {
  agentCommand,
  type ChildCommand,
  directive,
  type ScriptedAgentOptions,
  findSteps,
  isObject,
  type Json,
  line,
  readLines,
  type Step,
} from "./scripted_agent.ts";
import { readRecording, replayCommand } from "./replayed_agent.ts";

const SERVER = { cwd: Deno.build.os === "windows" ? "C:\\" : "/", mcpServers: [] };
const OPTIONS = [{ optionId: "yes", name: "Allow", kind: "allow_once" }];

/** A plain ACP client: it keeps every line it reads and lets a test wait for the one it needs. */
class Client implements AsyncDisposable {
  readonly child: Deno.ChildProcess;
  readonly messages: Json[] = [];
  readonly garbage: string[] = [];
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reading: Promise<void>;
  #wake = Promise.withResolvers<void>();
  #ended = false;
  #requestCount = 0;

  constructor({ command, args }: ChildCommand, env: Record<string, string> = {}) {
    const piped = { stdin: "piped", stdout: "piped", stderr: "null" } as const;
    this.child = new Deno.Command(command, { args, env, ...piped }).spawn();
    this.#writer = this.child.stdin.getWriter();
    this.#reading = this.#read();
  }

  async #read(): Promise<void> {
    for await (const text of readLines(this.child.stdout)) {
      try {
        this.messages.push(JSON.parse(text));
      } catch {
        this.garbage.push(text);
      }
      this.#wake.resolve();
      this.#wake = Promise.withResolvers();
    }
    this.#ended = true;
    this.#wake.resolve();
  }

  /** The first message, past or future, that fits. */
  async until(fits: (message: Json) => boolean): Promise<Json> {
    for (let at = 0;; at++) {
      while (at >= this.messages.length) {
        if (this.#ended) throw new Error("The agent ended before the message came");
        await this.#wake.promise;
      }
      const message = this.messages[at];
      if (message !== undefined && fits(message)) return message;
    }
  }

  async send(message: Json): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(line({ jsonrpc: "2.0", ...message })));
  }

  /** Sends a request and resolves with its answer. */
  async request(method: string, params: Json): Promise<Json> {
    const id = this.#requestCount++;
    await this.send({ id, method, params });
    return await this.until((message) => message.id === id && message.method === undefined);
  }

  async newSession(): Promise<string> {
    const { result } = await this.request("session/new", SERVER);
    return String(object(result).sessionId);
  }

  prompt(sessionId: string, ...texts: string[]): Promise<Json> {
    const prompt = texts.map((text) => ({ type: "text", text }));
    return this.request("session/prompt", { sessionId, prompt });
  }

  cancel(sessionId: string): Promise<void> {
    return this.send({ method: "session/cancel", params: { sessionId } });
  }

  updates(sessionId?: string): Json[] {
    return this.messages.flatMap(({ method, params }) =>
      method === "session/update" && isObject(params) && isObject(params.update) &&
        (sessionId === undefined || params.sessionId === sessionId)
        ? [params.update]
        : []
    );
  }

  texts(sessionId?: string): string[] {
    return textsOf(this.updates(sessionId));
  }

  untilText(text: string): Promise<Json> {
    return this.until(({ params }) => textsOf([object(params).update]).includes(text));
  }

  /** Closes stdin and resolves once the agent is gone. */
  async end(): Promise<Deno.CommandStatus> {
    await this.#writer.close().catch(() => {});
    const status = await this.child.status;
    await this.#reading;
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

function textsOf(updates: unknown[]): string[] {
  return updates.flatMap((update) =>
    isObject(update) && update.sessionUpdate === "agent_message_chunk" && isObject(update.content)
      ? [String(update.content.text)]
      : []
  );
}

/** A value as an object; one without fields when it is none. */
function object(value: unknown): Json {
  return isObject(value) ? value : {};
}

function fake(options: ScriptedAgentOptions = {}): Client {
  return new Client(agentCommand(options));
}

Deno.test("findSteps reads the directive wherever it stands", () => {
  const steps: Step[] = [{ text: "a ]] b [[ c" }, { plan: [] }];
  const cases: readonly (readonly [string, Step[] | undefined])[] = [
    ["no directive", undefined],
    ["[[not json]] [happy]", undefined],
    [directive(...steps), steps],
    [`before [[ ${directive(...steps)} after`, steps],
    [`user: ${directive({ empty: true })}\nuser: ${directive(...steps)}\n`, steps],
    [JSON.parse(JSON.stringify({ content: directive(...steps) })).content, steps],
  ];
  for (const [text, expected] of cases) assertEquals(findSteps(text), expected, text);
});

Deno.test("fake agent: echoes token by token and exits at the end of stdin", async () => {
  const client = fake({ image: true });
  const { result } = await client.request("initialize", { protocolVersion: 1, clientCapabilities: {} });
  assertEquals(object(result).protocolVersion, 1);
  assertEquals(object(object(result).agentCapabilities).promptCapabilities, {
    image: true,
    audio: false,
    embeddedContext: true,
  });
  const sessionId = await client.newSession();
  const answer = await client.prompt(sessionId, "hello", "big  world");
  assertEquals(answer.result, { stopReason: "end_turn" });
  assertEquals(client.texts(), ["You ", "said: ", "hello|big  ", "world"]);
  assertEquals((await client.end()).code, 0);
});

Deno.test("fake agent: every step says what it is to say, in order", async () => {
  await using client = new Client(agentCommand(), { FAKE_AGENT_TEST: "yes" });
  const sessionId = await client.newSession();
  const answer = await client.prompt(
    sessionId,
    "ignored",
    directive(
      { text: "one " },
      { tokens: 3, text: "t" },
      { tokens: 2, delayMs: 1 },
      { thought: "hm" },
      { empty: true },
      { tool: { id: "c1", title: "ls", kind: "execute", status: "pending" } },
      { toolUpdate: { id: "c1", status: "completed" } },
      { plan: [{ content: "do", priority: "high", status: "pending" }] },
      { usage_update: { used: 1, size: 2 } },
      { update: { sessionUpdate: "novelty" } },
      { notify: { method: "_vendor/news", params: { a: 1 } } },
      { env: ["FAKE_AGENT_TEST", "FAKE_AGENT_UNSET"] },
      { raw: "npm warn" },
      { split: "é😀", cuts: [5, -8, -7, -6] },
      { big: 70_000 },
      { stop: "max_tokens", usage: { totalTokens: 3 } },
      { text: "never" },
    ),
  );
  const text = (text: string, sessionUpdate = "agent_message_chunk") => ({
    sessionUpdate,
    content: { type: "text", text },
  });
  assertEquals(client.updates(), [
    text("one "),
    text("t"),
    text("t"),
    text("t"),
    text("tok "),
    text("tok "),
    text("hm", "agent_thought_chunk"),
    text(""),
    { sessionUpdate: "tool_call", toolCallId: "c1", title: "ls", kind: "execute", status: "pending" },
    { sessionUpdate: "tool_call_update", toolCallId: "c1", status: "completed" },
    { sessionUpdate: "plan", entries: [{ content: "do", priority: "high", status: "pending" }] },
    { sessionUpdate: "usage_update", used: 1, size: 2 },
    { sessionUpdate: "novelty" },
    text(`{"FAKE_AGENT_TEST":"yes","FAKE_AGENT_UNSET":null}`),
    text("é😀"),
    text("x".repeat(70_000)),
  ]);
  const news = client.messages.find(({ method }) => method === "_vendor/news");
  assertEquals(news?.params, { sessionId, a: 1 });
  assertEquals(client.garbage, ["npm warn"]);
  assertEquals(answer.result, { stopReason: "max_tokens", usage: { totalTokens: 3 } });
});

Deno.test("fake agent: a cancel ends a turn at once, unless it is ignored", async () => {
  await using client = fake();
  const sessionId = await client.newSession();
  for (
    const slow of [
      { hang: true },
      { waitFor: "/no/such/file" },
      { sleepMs: 600_000 },
      { tokens: 1000, delayMs: 10_000 },
    ] satisfies Step[]
  ) {
    const mark = `begun ${JSON.stringify(slow)}`;
    const answer = client.prompt(sessionId, directive({ text: mark }, slow, { text: "never" }));
    await client.untilText(mark);
    await client.cancel(sessionId);
    assertEquals((await answer).result, { stopReason: "cancelled" });
  }
  const steps: Step[] = [{ ignoreCancel: true }, { request: { method: "ping" } }, { text: "still here" }];
  const answer = client.prompt(sessionId, directive(...steps));
  const ping = await client.until(({ method }) => method === "ping");
  await client.cancel(sessionId);
  await client.send({ id: ping.id, result: { pong: true } });
  assertEquals((await answer).result, { stopReason: "end_turn" });
  assertEquals(client.texts().slice(-2), [`answer:{"pong":true}`, "still here"]);
});

Deno.test("fake agent: a permission waits for its outcome, also when the turn is cancelled", async () => {
  await using client = fake();
  const sessionId = await client.newSession();
  const steps = directive({ permission: { toolCall: { toolCallId: "c1" }, options: OPTIONS } });

  const allowed = client.prompt(sessionId, steps);
  const first = await client.until(({ method }) => method === "session/request_permission");
  assertEquals(first.params, { sessionId, toolCall: { toolCallId: "c1" }, options: OPTIONS });
  assertEquals(typeof first.id, "string");
  await client.send({ id: first.id, result: { outcome: { outcome: "selected", optionId: "yes" } } });
  assertEquals((await allowed).result, { stopReason: "end_turn" });
  assertEquals(client.texts(), [`permission:{"outcome":"selected","optionId":"yes"}`]);

  const cancelled = client.prompt(sessionId, steps);
  const second = await client.until(({ method, id }) =>
    method === "session/request_permission" && id !== first.id
  );
  await client.cancel(sessionId);
  const outOfOrder = await client.request("session/nonsense", {});
  assertEquals(object(outOfOrder.error).code, -32601);
  assertEquals(client.messages.at(-1), outOfOrder, "the turn is not over before the outcome");
  await client.send({ id: second.id, result: { outcome: { outcome: "cancelled" } } });
  assertEquals((await cancelled).result, { stopReason: "cancelled" });
});

Deno.test("fake agent: late updates follow the answer, also that of a cancelled turn", async () => {
  await using client = fake();
  const sessionId = await client.newSession();
  const late: Step = {
    afterAnswer: [{ text: "late" }, { thought: "later" }, { sleepMs: 1 }, { text: "latest" }],
  };
  const answer = await client.prompt(sessionId, directive({ text: "in time" }, { stop: "end_turn" }, late));
  await client.untilText("latest");
  const kinds = client.messages.slice(client.messages.indexOf(answer) - 1).map(({ params }) => {
    return object(object(object(params).update).content).text ?? "answer";
  });
  assertEquals(kinds, ["in time", "answer", "late", "later", "latest"]);

  const cancelled = client.prompt(
    sessionId,
    directive({ text: "waits" }, { hang: true }, {
      afterAnswer: [{ text: "too late" }],
    }),
  );
  await client.untilText("waits");
  await client.cancel(sessionId);
  assertEquals((await cancelled).result, { stopReason: "cancelled" });
  await client.untilText("too late");
});

Deno.test("fake agent: sessions run side by side, one turn each", async () => {
  await using client = fake({ loadSession: true });
  const [one, two] = [await client.newSession(), await client.newSession()];
  assertNotEquals(one, two);
  const hanging = client.prompt(one, directive({ text: "begun" }, { hang: true }));
  await client.untilText("begun");
  assertEquals((await client.prompt(two, "hi")).result, { stopReason: "end_turn" });
  assertEquals(client.texts(two).join(""), "You said: hi");
  const errors = [
    await client.prompt(one, "again"),
    await client.prompt("nobody", "hi"),
    await client.prompt(two, directive({ error: { code: 429, message: "slow down" } })),
    await client.request("session/new", { ...SERVER, cwd: "." }),
    await client.request("session/new", { cwd: SERVER.cwd }),
    await client.request("session/load", { ...SERVER, sessionId: "gone" }),
  ].map(({ error }) => object(error).code);
  assertEquals(errors, [-32603, -32602, 429, -32602, -32602, -32002]);
  assertEquals((await client.request("session/close", { sessionId: one })).result, {});
  assertEquals((await hanging).result, { stopReason: "cancelled" });
  assertEquals((await client.request("session/load", { ...SERVER, sessionId: "fake-old" })).result, {});
  assertEquals(client.texts("fake-old"), ["An earlier answer."]);
});

Deno.test("fake agent: brings back what it is told to, and recalls the prompts of a session", async () => {
  await using client = fake({ resume: true, loadSession: true, delete: true });
  const sessionId = await client.newSession();
  await client.prompt(sessionId, "one", "and two");
  await client.prompt(sessionId, "three");
  await client.request("session/close", { sessionId });
  assertEquals((await client.request("session/resume", { ...SERVER, sessionId })).result, {});
  await client.prompt(sessionId, directive({ recall: true }));
  assertEquals(client.texts(sessionId).at(-1), JSON.stringify(["one\nand two", "three"]));
  assertEquals((await client.request("session/delete", { sessionId })).result, {});
  const codes = [
    await client.prompt(sessionId, "gone"),
    await client.request("session/resume", { ...SERVER, sessionId: "gone" }),
    await client.request("session/resume", { sessionId }),
  ].map(({ error }) => object(error).code);
  assertEquals(codes, [-32602, -32002, -32602]);

  await using forgetful = fake({ resume: true, loadSession: true, forgetful: true });
  for (const method of ["session/resume", "session/load"]) {
    const { error } = await forgetful.request(method, { ...SERVER, sessionId: await forgetful.newSession() });
    assertEquals(object(error).code, -32002);
  }
});

Deno.test("fake agent: what is in its memory outlives it, and nothing else", async () => {
  const memory = await Deno.makeTempFile();
  const killed = fake({ memory, resume: true, delete: true });
  const [kept, deleted] = [await killed.newSession(), await killed.newSession()];
  await killed.prompt(kept, "remember me");
  await killed.request("session/delete", { sessionId: deleted });
  killed.child.kill("SIGKILL");
  await killed.end();
  await using next = fake({ memory, resume: true });
  assertEquals((await next.request("session/resume", { ...SERVER, sessionId: kept })).result, {});
  await next.prompt(kept, directive({ recall: true }));
  assertEquals(next.texts(), ['["remember me"]']);
  for (const sessionId of [deleted, "fake-other"]) {
    const { error } = await next.request("session/resume", { ...SERVER, sessionId });
    assertEquals(object(error).code, -32002);
  }
  await Deno.remove(memory);
});

for (const by of ["option", "set_model", "both"] as const) {
  Deno.test(`fake agent: models by ${by}, and modes`, async () => {
    await using client = fake({ models: { ids: ["a", "b"], by }, modes: ["ask", "code"] });
    const { result } = await client.request("session/new", SERVER);
    const { sessionId, models, modes, configOptions } = object(result);
    assertEquals([models !== undefined, configOptions !== undefined], [by !== "option", by !== "set_model"]);
    assertEquals(object(modes).currentModeId, "ask");
    const ask = async (method: string, params: Json) =>
      object((await client.request(method, { sessionId, ...params })).error).code;
    const option = { configId: "model", value: "b" };
    const [offered, missing] = [undefined, -32601];
    assertEquals(
      [
        await ask("session/set_config_option", option),
        await ask("session/set_model", { modelId: "b" }),
        await ask("session/set_mode", { modeId: "code" }),
        await ask("session/set_mode", { modeId: "c" }),
      ],
      [by === "set_model" ? missing : offered, by === "option" ? missing : offered, offered, -32602],
    );
  });
}

Deno.test("fake agent: authentication, when it is asked for", async () => {
  await using client = fake({ authRequired: true, authMethods: ["key"], close: false });
  const code = ({ error }: Json) => object(error).code;
  assertEquals(code(await client.request("session/new", SERVER)), -32000);
  assertEquals(code(await client.request("authenticate", { methodId: "other" })), -32602);
  assertEquals((await client.request("authenticate", { methodId: "key" })).result, {});
  const sessionId = await client.newSession();
  assertMatch(sessionId, /^fake-/);
  assertEquals(code(await client.request("session/close", { sessionId })), -32601);
  await using refusing = fake({ authMethods: ["key"], authFails: true });
  assertEquals(code(await refusing.request("authenticate", { methodId: "key" })), -32000);
});

Deno.test("fake agent: dies in the ways it is told to", async () => {
  const atStart = new Deno.Command(agentCommand().command, {
    args: agentCommand({ dieOnStart: 3, stderr: "no key\n" }).args,
  });
  const output = await atStart.output();
  assertEquals([output.code, new TextDecoder().decode(output.stderr)], [3, "no key\n"]);

  await using exiting = fake();
  exiting.prompt(await exiting.newSession(), directive({ text: "last words" }, { exit: 7 })).catch(() => {});
  assertEquals((await exiting.child.status).code, 7);
  await exiting.untilText("last words");

  if (Deno.build.os === "windows") return;
  await using killed = fake();
  killed.prompt(await killed.newSession(), directive({ kill: true })).catch(() => {});
  assertEquals((await killed.child.status).signal, "SIGKILL");
});

Deno.test({
  name: "fake agent: outlives signals, and its grandchildren outlive it",
  ignore: Deno.build.os === "windows",
  async fn() {
    const log = await Deno.makeTempFile();
    const client = fake({ log, ignoreEof: true, ignoreSigterm: true });
    using cleanup = new DisposableStack();
    cleanup.defer(() => client.child.kill("SIGKILL"));
    const sessionId = await client.newSession();
    await client.prompt(sessionId, directive({ spawn: "sleep 1000", setsid: true }, { spawn: "sleep 1000" }));
    const pids = client.texts().map((text) => Number(text.replace("pid:", "")));
    const watcher = Deno.watchFs(log);
    const ended = client.end();
    client.child.kill("SIGTERM");
    const entries = () => Deno.readTextFileSync(log).trimEnd().split("\n").map((text) => JSON.parse(text));
    const survived = () => ["eof", "signal"].every((key) => entries().some((entry) => key in entry));
    if (!survived()) { for await (const _ of watcher) if (survived()) break; }
    cleanup.dispose();
    assertEquals((await ended).signal, "SIGKILL");
    for (const pid of pids) Deno.kill(pid, "SIGKILL"); // throws when it is gone
    assertEquals(pids.length, 2);
    assertEquals(entries().slice(0, 2).map(({ method }) => method), ["session/new", "session/prompt"]);
    await Deno.remove(log);
  },
});

for (const recording of ["claude-tools", "gemini-tools", "codex2-tools"]) {
  Deno.test(`replay: ${recording} arrives whole`, async () => {
    const recorded = readRecording(recording).filter(({ dir }) => dir === "a2c").map(({ msg }) =>
      msg as Json
    );
    const expected = recorded.flatMap(({ method, params }) =>
      method === "session/update" && isObject(params) ? [params.update] : []
    );
    const client = new Client(replayCommand(recording));
    await client.request("initialize", { protocolVersion: 1 });
    const spare = await client.newSession();
    const sessionId = await client.newSession();
    assertNotEquals(spare, sessionId);
    const prompted = client.prompt(sessionId, "Please do it.");
    for (const { id, method } of recorded.filter(({ method }) => method === "session/request_permission")) {
      const live = await client.until((message) => message.id === id && message.method === method);
      assertEquals(object(live.params).sessionId, sessionId);
      await client.send({ id, result: { outcome: { outcome: "selected", optionId: "any" } } });
    }
    const { result } = await prompted;
    assertEquals(object(result).stopReason, "end_turn");
    assertEquals((await client.end()).code, 0);
    assertEquals(client.texts(sessionId), textsOf(expected));
    assertEquals(client.updates(), expected);
  });
}

Deno.test("replay: cancels, recorded and not, and what the recording has not", async () => {
  await using client = new Client(replayCommand("gemini-cancel", { cancelWaitMs: 600_000 }));
  const sessionId = await client.newSession();
  const recorded = client.prompt(sessionId, "count");
  await client.until(({ method }) => method === "session/update");
  await client.cancel(sessionId);
  assertEquals((await recorded).result, { stopReason: "cancelled" });
  const { result } = await client.prompt(sessionId, "again");
  assertEquals(object(result).stopReason, "end_turn");
  assertEquals((await client.request("session/close", { sessionId })).result, {});

  await using other = new Client(replayCommand("gemini-tools"));
  const session = await other.newSession();
  const cancelled = other.prompt(session, "work");
  const { id } = await other.until(({ method }) => method === "session/request_permission");
  await other.cancel(session);
  await other.send({ id, result: { outcome: { outcome: "cancelled" } } });
  assertEquals((await cancelled).result, { stopReason: "cancelled" });
});

Deno.test("replay: goes on where a recorded cancel does not come", async () => {
  await using client = new Client(replayCommand("codex2-cancel", { cancelWaitMs: 1 }));
  const { result } = await client.prompt(await client.newSession(), "count");
  assertEquals(object(result).stopReason, "cancelled");
});
