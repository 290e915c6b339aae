/**
 * A scripted ACP agent over stdin and stdout. Its steps in a turn stand in the prompt, as a `[[{"steps":[...]}]]`
 * directive in the last text block. Without a directive it echoes the prompt.
 *
 * It imports nothing of the program, so that it starts fast and shares no mistake with the code under test.
 */

import {
  aborted,
  type ChildCommand,
  denoCommand,
  DRAIN_MS,
  isObject,
  type Json,
  line,
  openLog,
  Output,
  readEntries,
  readMessages,
  sleep,
} from "./agent_io.ts";
import { findSteps, type Step } from "./agent_steps.ts";

/** Options of the whole agent. */
export interface ScriptedAgentOptions {
  /** Delay before anything is read. */
  readonly startDelayMs?: number;
  /** Delay before session/new is answered. */
  readonly sessionDelayMs?: number;
  /** Exits at once with this code. */
  readonly dieOnStart?: number;
  /** Protocol version in the answer to initialize. Default: 1. */
  readonly protocolVersion?: number;
  /** Capability promptCapabilities.image. Default: false. */
  readonly image?: boolean;
  /** Capability loadSession; session/load then takes every id that starts with `fake-`. Default: false. */
  readonly loadSession?: boolean;
  /** Capability sessionCapabilities.resume; session/resume takes the same ids as session/load. Default: false. */
  readonly resume?: boolean;
  /** Capability sessionCapabilities.delete. Default: false. */
  readonly delete?: boolean;
  /** Answers session/load and session/resume with -32002. */
  readonly forgetful?: boolean;
  /**
   * File that keeps sessions and their prompts: session/load and session/resume then take only ids in it. Several
   * processes may share it.
   */
  readonly memory?: string;
  /** Models of each session, the first one set: as a config option, with session/set_model, or both. */
  readonly models?: { readonly ids: readonly string[]; readonly by: "option" | "set_model" | "both" };
  /** Modes of each session, the first one set, for session/set_mode. */
  readonly modes?: readonly string[];
  /** Capability mcpCapabilities.http. Default: false. */
  readonly mcpOverHttp?: boolean;
  /** Authentication methods: ids or whole objects. */
  readonly authMethods?: readonly (string | Readonly<Json>)[];
  /** Answers session/new with -32000 until authenticate has succeeded. */
  readonly authRequired?: boolean;
  /** Text on stderr at the start. */
  readonly stderr?: string;
  /** File that gets every received message as a JSON line, and `{"eof":true}` and `{"signal":...}`. */
  readonly log?: string;
  /** Keeps running after stdin ended. */
  readonly ignoreEof?: boolean;
  /** Keeps running after SIGTERM (not on Windows, which has none). */
  readonly ignoreSigterm?: boolean;
}

/** Builds the command that starts the scripted agent. */
export function agentCommand(options: ScriptedAgentOptions = {}): ChildCommand {
  const mayWrite = options.log !== undefined || options.memory !== undefined;
  return denoCommand(import.meta.url, mayWrite, [JSON.stringify(options)]);
}

/** Polls until the file exists or the signal aborts. */
async function waitForFile(path: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && !await Deno.stat(path).catch(() => undefined)) await sleep(20, signal);
}

/** An error answer to a request. */
class RpcError extends Error {
  constructor(readonly code: number, message: string, readonly data?: unknown) {
    super(message);
  }
}

interface Turn {
  readonly abort: AbortController;
  ignoreCancel: boolean;
}

interface Session {
  readonly id: string;
  turn: Turn | undefined;
  model: string | undefined;
  mode: string | undefined;
}

/** The sessions that can be resumed, with their prompts, of this process or in a file. */
class ScriptedMemory {
  readonly #path: string | undefined;
  readonly #append: (entry: Json) => void;
  readonly #entries: Json[] = [];

  constructor(path: string | undefined) {
    this.#path = path;
    this.#append = path === undefined ? (entry) => this.#entries.push(entry) : openLog(path);
  }

  /** Adds a new session, a prompt, or the deletion of a session. */
  add(entry: { sessionId: string; prompt?: string; isDeleted?: true }): void {
    this.#append(entry);
  }

  /** Returns the prompts of a session; undefined for an unknown one. */
  prompts(sessionId: string): string[] | undefined {
    const all = this.#path === undefined ? this.#entries : readEntries(Deno.readTextFileSync(this.#path));
    const entries = all.filter((entry) => entry.sessionId === sessionId);
    const known = entries.slice(entries.findLastIndex(({ isDeleted }) => isDeleted === true) + 1);
    if (known.length === 0) return undefined;
    return known.flatMap(({ prompt }) => typeof prompt === "string" ? [prompt] : []);
  }
}

/** The body of the answer to a prompt. */
type Answer = { result: Json } | { error: Json };

/** The agent: its sessions and pending requests. */
class ScriptedAgent {
  readonly #options: ScriptedAgentOptions;
  readonly #output: Output;
  readonly #sessions = new Map<string, Session>();
  readonly #pending = new Map<unknown, (answer: Json) => void>();
  readonly #memory: ScriptedMemory;
  #authenticated = false;
  #requestCount = 0;

  constructor(options: ScriptedAgentOptions, output: Output) {
    this.#options = options;
    this.#output = output;
    this.#memory = new ScriptedMemory(options.memory);
  }

  /** Handles a message, without waiting. */
  receive(message: Json): void {
    const { id, method } = message;
    const params = isObject(message.params) ? message.params : {};
    if (typeof method !== "string") {
      this.#pending.get(id)?.(message);
      this.#pending.delete(id);
    } else if (id === undefined) {
      if (method === "session/cancel") this.#cancel(params);
    } else if (method === "session/prompt") {
      this.#prompt(id, params);
    } else {
      this.#answer(id, method, params);
    }
  }

  async #answer(id: unknown, method: string, params: Json): Promise<void> {
    try {
      const result = await this.#result(method, params);
      this.#output.send({ jsonrpc: "2.0", id, result });
    } catch (error) {
      this.#output.send({ jsonrpc: "2.0", id, error: errorBody(error) });
    }
  }

  async #result(method: string, params: Json): Promise<Json> {
    const options = this.#options;
    switch (method) {
      case "initialize":
        return initializeResult(options);
      case "authenticate": {
        const isKnown = methodObjects(options).some(({ id }) => id === params.methodId);
        if (!isKnown) throw new RpcError(-32602, `Unknown authentication method: ${params.methodId}`);
        this.#authenticated = true;
        return {};
      }
      case "session/new": {
        checkSessionParams(params);
        if (options.authRequired && !this.#authenticated) {
          throw new RpcError(-32000, "Authentication required");
        }
        if (options.sessionDelayMs) await sleep(options.sessionDelayMs);
        const session = this.#open(`fake-${crypto.randomUUID()}`);
        this.#memory.add({ sessionId: session.id });
        return { sessionId: session.id, ...settingsOf(options, session) };
      }
      case "session/load": {
        if (!options.loadSession) break;
        const session = this.#resume(params);
        this.#output.send(update(session.id, chunk("user_message_chunk", "An earlier question.")));
        this.#output.send(update(session.id, chunk("agent_message_chunk", "An earlier answer.")));
        return settingsOf(options, session);
      }
      case "session/resume":
        if (!options.resume) break;
        return settingsOf(options, this.#resume(params));
      case "session/delete": {
        if (!options.delete) break;
        const sessionId = String(params.sessionId);
        this.#sessions.get(sessionId)?.turn?.abort.abort();
        this.#sessions.delete(sessionId);
        this.#memory.add({ sessionId, isDeleted: true });
        return {};
      }
      case "session/set_config_option": {
        if (options.models === undefined || options.models.by === "set_model") break;
        if (params.configId !== "model") throw new RpcError(-32602, `Unknown option: ${params.configId}`);
        return this.#setModel(params, params.value);
      }
      case "session/set_model": {
        if (options.models === undefined || options.models.by === "option") break;
        this.#setModel(params, params.modelId);
        return {};
      }
      case "session/set_mode": {
        if (options.modes === undefined) break;
        const mode = options.modes.find((mode) => mode === params.modeId);
        if (mode === undefined) throw new RpcError(-32602, `Unknown mode: ${params.modeId}`);
        this.#session(params).mode = mode;
        return {};
      }
      case "session/close": {
        const session = this.#session(params);
        session.turn?.abort.abort();
        this.#sessions.delete(session.id);
        return {};
      }
    }
    throw new RpcError(-32601, `Method not found: ${method}`);
  }

  #open(id: string): Session {
    const { models, modes } = this.#options;
    const session: Session = { id, turn: undefined, model: models?.ids[0], mode: modes?.[0] };
    this.#sessions.set(id, session);
    return session;
  }

  #resume(params: Json): Session {
    const { forgetful, memory, authRequired } = this.#options;
    checkSessionParams(params);
    if (authRequired && !this.#authenticated) throw new RpcError(-32000, "Authentication required");
    const id = String(params.sessionId);
    const isKnown = memory === undefined ? id.startsWith("fake-") : this.#memory.prompts(id) !== undefined;
    if (forgetful || !isKnown) throw new RpcError(-32002, `Session not found: ${id}`);
    return this.#sessions.get(id) ?? this.#open(id);
  }

  #setModel(params: Json, wanted: unknown): Json {
    const session = this.#session(params);
    const model = this.#options.models?.ids.find((id) => id === wanted);
    if (model === undefined) throw new RpcError(-32602, `Unknown model: ${wanted}`);
    session.model = model;
    return { configOptions: settingsOf(this.#options, session).configOptions };
  }

  #session(params: Json): Session {
    const session = this.#sessions.get(String(params.sessionId));
    if (session === undefined) throw new RpcError(-32602, `Unknown session: ${params.sessionId}`);
    return session;
  }

  #cancel(params: Json): void {
    const turn = this.#sessions.get(String(params.sessionId))?.turn;
    if (turn !== undefined && !turn.ignoreCancel) turn.abort.abort();
  }

  async #prompt(id: unknown, params: Json): Promise<void> {
    let session: Session;
    let steps: Step[];
    try {
      session = this.#session(params);
      if (session.turn !== undefined) throw new RpcError(-32603, "A turn is already running in this session");
      const texts = promptTexts(params.prompt);
      steps = findSteps(texts.at(-1) ?? "") ?? echo(texts);
      this.#memory.add({ sessionId: session.id, prompt: texts.join("\n") });
    } catch (error) {
      this.#output.send({ jsonrpc: "2.0", id, error: errorBody(error) });
      return;
    }
    const turn: Turn = { abort: new AbortController(), ignoreCancel: false };
    session.turn = turn;
    let answer: Answer;
    try {
      answer = await this.#run(steps, session.id, turn);
    } catch (error) {
      answer = { error: errorBody(error) };
    }
    session.turn = undefined;
    const late = steps.flatMap((step) => "afterAnswer" in step ? step.afterAnswer : []);
    let text = line({ jsonrpc: "2.0", id, ...answer });
    let sent = 0;
    for (const step of late) {
      const lines = immediate(step, session.id);
      if (lines === undefined) break;
      text += lines;
      sent++;
    }
    this.#output.write(text);
    await this.#run(late.slice(sent), session.id, { abort: new AbortController(), ignoreCancel: true });
  }

  async #run(steps: Step[], sessionId: string, turn: Turn): Promise<Answer> {
    const signal = turn.abort.signal;
    for (const step of steps) {
      if (signal.aborted) break;
      const lines = immediate(step, sessionId);
      if (lines !== undefined) this.#output.write(lines);
      else if ("recall" in step) {
        const before = this.#memory.prompts(sessionId)?.slice(0, -1) ?? [];
        this.#output.write(textLine(sessionId, JSON.stringify(before)));
      } else if ("ignoreCancel" in step) turn.ignoreCancel = true;
      else if ("stop" in step) {
        const { stop, ...rest } = step;
        return { result: { stopReason: stop, ...rest } };
      } else if ("error" in step) return { error: step.error };
      else if (!("afterAnswer" in step)) await this.#act(step, sessionId, signal);
    }
    return { result: { stopReason: signal.aborted ? "cancelled" : "end_turn" } };
  }

  /** Runs a step that takes time or acts on the process. */
  async #act(step: Step, sessionId: string, signal: AbortSignal): Promise<void> {
    const send = (text: string) => this.#output.write(textLine(sessionId, text));
    if ("tokens" in step) await this.#tokens(step, sessionId, signal);
    else if ("tools" in step) await this.#tools(step, sessionId);
    else if ("permissions" in step) {
      send(`permissions:${JSON.stringify(await this.#askAtOnce(step.permissions, sessionId))}`);
    } else if ("stderrLines" in step) writeStderr("a line of the agent's log\n".repeat(step.stderrLines));
    else if ("sleepMs" in step) await sleep(step.sleepMs, signal);
    else if ("hang" in step) await aborted(signal);
    else if ("waitFor" in step) await waitForFile(step.waitFor, signal);
    else if ("permission" in step) {
      const answer = await this.#request("session/request_permission", { sessionId, ...step.permission });
      const outcome = isObject(answer.result) ? answer.result.outcome : { error: answer.error };
      if (!signal.aborted) send(`permission:${JSON.stringify(outcome)}`);
    } else if ("request" in step) {
      const answered = this.#request(step.request.method, { sessionId, ...step.request.params });
      const answer = await Promise.race([answered, aborted(signal)]);
      if (answer !== undefined) send(`answer:${JSON.stringify(answer.result ?? { error: answer.error })}`);
    } else if ("split" in step) {
      this.#output.writeParts(cut(new TextEncoder().encode(textLine(sessionId, step.split)), step.cuts));
    } else if ("spawn" in step) {
      send(`pid:${spawn(step)}`);
    } else if ("exit" in step) {
      await this.#output.drained();
      Deno.exit(step.exit);
    } else if ("kill" in step) {
      await this.#output.drained();
      Deno.kill(Deno.pid, "SIGKILL");
      await new Promise(() => {});
    } else {
      throw new RpcError(-32602, `Unknown step: ${JSON.stringify(step)}`);
    }
  }

  /** Sends chunks on a schedule, or in batches of about 64 KB. */
  async #tokens(
    step: { tokens: number; delayMs?: number; text?: string },
    sessionId: string,
    signal: AbortSignal,
  ): Promise<void> {
    const token = textLine(sessionId, step.text ?? "tok ");
    const delayMs = step.delayMs ?? 0;
    const batch = Math.max(1, Math.floor(65_536 / token.length));
    const start = performance.now();
    for (let sent = 0; sent < step.tokens && !signal.aborted;) {
      const dueCount = delayMs > 0 ? 1 + Math.floor((performance.now() - start) / delayMs) : sent + batch;
      const until = Math.min(step.tokens, dueCount, sent + batch);
      if (until > sent) {
        this.#output.write(token.repeat(until - sent));
        sent = until;
        await this.#output.drained();
      }
      if (delayMs > 0 && sent < step.tokens) await sleep(start + sent * delayMs - performance.now(), signal);
    }
  }

  async #tools(
    { tools, titleChars }: { tools: number; titleChars: number },
    sessionId: string,
  ): Promise<void> {
    for (let number = 1; number <= tools; number++) {
      const tool = {
        id: `tool-${number}`,
        title: "t".repeat(titleChars),
        kind: "other",
        status: "in_progress",
      };
      this.#output.send(update(sessionId, toolUpdate("tool_call", tool)));
      await this.#output.drained();
    }
  }

  /** Asks for permissions at once, and counts the answers by outcome. */
  async #askAtOnce(count: number, sessionId: string): Promise<Record<string, number>> {
    const options = [
      { optionId: "yes", name: "Yes", kind: "allow_once" },
      { optionId: "no", name: "No", kind: "reject_once" },
    ];
    const answers = await Promise.all(Array.from({ length: count }, (_, number) => {
      const toolCall = { toolCallId: `asked-${number}`, title: "rm", kind: "delete" };
      return this.#request("session/request_permission", { sessionId, toolCall, options });
    }));
    const outcomes = answers.map(({ result }) => {
      const outcome = isObject(result) && isObject(result.outcome) ? result.outcome : {};
      return String(outcome.optionId ?? outcome.outcome);
    });
    return Object.fromEntries(
      Map.groupBy(outcomes, (outcome) => outcome).entries().map(([outcome, all]) => [outcome, all.length]),
    );
  }

  #request(method: string, params: Json): Promise<Json> {
    const id = `fake-request-${++this.#requestCount}`;
    this.#output.send({ jsonrpc: "2.0", id, method, params });
    return new Promise((resolve) => this.#pending.set(id, resolve));
  }
}

/** Returns the lines of a step that only writes; undefined for other steps. */
function immediate(step: Step, sessionId: string): string | undefined {
  if ("notify" in step) {
    const { method, params } = step.notify;
    return line({ jsonrpc: "2.0", method, params: { sessionId, ...params } });
  }
  if ("raw" in step) return step.raw.endsWith("\n") ? step.raw : step.raw + "\n";
  const content = updateOf(step);
  return content && line(update(sessionId, content));
}

/** Returns the session/update of a step that is one; undefined for other steps. */
function updateOf(step: Step): Json | undefined {
  if ("tokens" in step || "spawn" in step) return undefined;
  if ("text" in step) return chunk("agent_message_chunk", step.text);
  if ("thought" in step) return chunk("agent_thought_chunk", step.thought);
  if ("big" in step) {
    const { big, of = "x" } = step;
    return chunk("agent_message_chunk", of.repeat(Math.ceil(big / of.length)).slice(0, big));
  }
  if ("tool" in step) return toolUpdate("tool_call", step.tool);
  if ("toolUpdate" in step) return toolUpdate("tool_call_update", step.toolUpdate);
  if ("planValues" in step) return { sessionUpdate: "plan", entries: Array(step.planValues).fill(0) };
  if ("plan" in step) return { sessionUpdate: "plan", entries: step.plan };
  if ("update" in step) return step.update;
  if (!("env" in step)) return undefined;
  const values = step.env.map((name) => [name, Deno.env.get(name) ?? null]);
  return chunk("agent_message_chunk", JSON.stringify(Object.fromEntries(values)));
}

function update(sessionId: string, update: Json): Json {
  return { jsonrpc: "2.0", method: "session/update", params: { sessionId, update } };
}

function chunk(sessionUpdate: string, text: string): Json {
  return { sessionUpdate, content: { type: "text", text } };
}

function textLine(sessionId: string, text: string): string {
  return line(update(sessionId, chunk("agent_message_chunk", text)));
}

function toolUpdate(sessionUpdate: string, { id, ...fields }: { id: string } & Json): Json {
  return { sessionUpdate, toolCallId: id, ...fields };
}

function cut(bytes: Uint8Array, cuts: number[]): Uint8Array[] {
  const at = cuts.map((offset) => offset < 0 ? bytes.length + offset : offset).sort((a, b) => a - b);
  const parts = [0, ...at].map((from, index) => bytes.subarray(from, at[index] ?? bytes.length));
  return parts.filter((part) => part.length > 0);
}

function spawn({ spawn, setsid, inherit }: { spawn: string; setsid?: boolean; inherit?: boolean }): number {
  const [program = "", ...args] = spawn.split(" ");
  const stdout = inherit ? "inherit" : "null";
  const command = new Deno.Command(program, {
    args,
    stdin: "null",
    stdout,
    stderr: stdout,
    detached: setsid ?? false,
  });
  const child = command.spawn();
  child.unref();
  return child.pid;
}

function writeStderr(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let written = 0; written < bytes.length;) written += Deno.stderr.writeSync(bytes.subarray(written));
}

function promptTexts(prompt: unknown): string[] {
  if (!Array.isArray(prompt)) throw new RpcError(-32602, "Invalid params: prompt must be an array");
  return prompt.filter(isObject).filter((block) => block.type === "text").map(({ text }) => String(text));
}

/** Builds the settings in the answers about a session. */
function settingsOf({ models, modes }: ScriptedAgentOptions, session: Session): Json {
  const byOption = models !== undefined && models.by !== "set_model";
  const bySetModel = models !== undefined && models.by !== "option";
  return {
    ...modes && {
      modes: { currentModeId: session.mode, availableModes: modes.map((id) => ({ id, name: `Mode ${id}` })) },
    },
    ...bySetModel && {
      models: {
        currentModelId: session.model,
        availableModels: models.ids.map((id) => ({ modelId: id, name: `Model ${id}` })),
      },
    },
    ...byOption && {
      configOptions: [{
        id: "model",
        name: "Model",
        category: "model",
        type: "select",
        currentValue: session.model,
        options: models.ids.map((id) => ({ value: id, name: `Model ${id}` })),
      }],
    },
  };
}

function echo(texts: string[]): Step[] {
  const tokens = `You said: ${texts.join("|")}`.match(/\S+\s*/g) ?? [];
  return tokens.map((text) => ({ text }));
}

function checkSessionParams(params: Json): void {
  const { cwd, mcpServers } = params;
  if (typeof cwd !== "string" || !/^(\/|[A-Za-z]:[\\/]|\\\\)/.test(cwd)) {
    throw new RpcError(-32602, "Invalid params: cwd must be an absolute path");
  }
  if (!Array.isArray(mcpServers)) throw new RpcError(-32602, "Invalid params: mcpServers must be an array");
}

function methodObjects(options: ScriptedAgentOptions): Readonly<Json>[] {
  return (options.authMethods ?? []).map((method) =>
    typeof method === "string" ? { id: method, name: method } : method
  );
}

function initializeResult(options: ScriptedAgentOptions): Json {
  return {
    protocolVersion: options.protocolVersion ?? 1,
    agentCapabilities: {
      loadSession: options.loadSession ?? false,
      promptCapabilities: { image: options.image ?? false, embeddedContext: true },
      mcpCapabilities: { http: options.mcpOverHttp ?? false },
      sessionCapabilities: {
        close: {},
        ...options.resume && { resume: {} },
        ...options.delete && { delete: {} },
      },
    },
    authMethods: methodObjects(options),
    agentInfo: { name: "fake-agent", title: "Fake agent", version: "1.0.0" },
  };
}

function errorBody(error: unknown): Json {
  if (error instanceof RpcError) return { code: error.code, message: error.message, data: error.data };
  return { code: -32603, message: error instanceof Error ? error.message : String(error) };
}

async function main(options: ScriptedAgentOptions): Promise<void> {
  if (options.stderr) writeStderr(options.stderr);
  if (options.dieOnStart !== undefined) Deno.exit(options.dieOnStart);
  const log = openLog(options.log);
  if (options.ignoreSigterm && Deno.build.os !== "windows") {
    Deno.addSignalListener("SIGTERM", () => log({ signal: "SIGTERM" }));
  }
  if (options.startDelayMs) await sleep(options.startDelayMs);
  const output = new Output();
  const agent = new ScriptedAgent(options, output);
  for await (const message of readMessages(log)) agent.receive(message);
  if (options.ignoreEof) {
    setInterval(() => {}, 1_000_000); // keeps the process alive
    return;
  }
  await Promise.race([output.drained(), sleep(DRAIN_MS)]);
  Deno.exit(0);
}

if (import.meta.main) await main(JSON.parse(Deno.args[0] ?? "{}"));
