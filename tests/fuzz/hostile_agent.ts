/** An ACP agent in memory that answers as it should, until an input makes it say anything else. @module */

import type { AgentProcess } from "../../lib/acp/process.ts";
import { isObject, type Json, readLines } from "../support/agents/agent_io.ts";
import { memoryProcess, streamPair } from "../support/harness/json_rpc_harness.ts";
import type { Random } from "../support/harness/random.ts";
import { damage, join, mutate } from "./mutation.ts";

/** Answers of a well-behaved agent. */
const RESULTS: Readonly<Record<string, Json>> = {
  "initialize": {
    protocolVersion: 1,
    agentCapabilities: {
      loadSession: true,
      promptCapabilities: { image: true, audio: true },
      sessionCapabilities: { close: {}, resume: {}, delete: {} },
    },
    authMethods: [],
    agentInfo: { name: "hostile", version: "1" },
  },
  "session/new": {
    models: { currentModelId: "a", availableModels: [{ modelId: "a", name: "A" }] },
    modes: { currentModeId: "ask", availableModes: [{ id: "ask", name: "Ask" }] },
    configOptions: [{
      id: "model",
      name: "Model",
      category: "model",
      type: "select",
      currentValue: "a",
      options: [{ value: "a" }],
    }],
  },
};
const OPTIONS = [{ optionId: "yes", name: "Yes", kind: "allow_once" }, {
  optionId: "no",
  name: "No",
  kind: "reject_once",
}];
const TOOL = {
  toolCallId: "t1",
  title: "rm -rf /tmp/x",
  kind: "execute",
  status: "pending",
  rawInput: { command: "rm" },
};
/** Updates of a session, as agents send them. */
const UPDATES: readonly Json[] = [
  { sessionUpdate: "agent_message_chunk", content: { type: "text", text: "[happy] Words. " } },
  { sessionUpdate: "agent_message_chunk", messageId: "m1", content: { type: "text", text: "`code` | a |" } },
  { sessionUpdate: "agent_message_chunk", content: { type: "image", data: "AAAA", mimeType: "image/png" } },
  { sessionUpdate: "agent_thought_chunk", content: { type: "text", text: "Hm." } },
  { sessionUpdate: "user_message_chunk", content: { type: "text", text: "Hello" } },
  { sessionUpdate: "tool_call", ...TOOL },
  {
    sessionUpdate: "tool_call_update",
    toolCallId: "t1",
    status: "completed",
    content: [{ type: "content", content: { type: "text", text: "x" } }],
  },
  { sessionUpdate: "plan", entries: [{ content: "Do", priority: "high", status: "pending" }] },
  { sessionUpdate: "available_commands_update", availableCommands: [{ name: "init", description: "" }] },
  { sessionUpdate: "config_option_update", configOptions: [] },
  { sessionUpdate: "current_mode_update", currentModeId: "code" },
  { sessionUpdate: "usage_update", used: 5, size: 100, cost: { amount: 1, currency: "USD" } },
];
/** Requests of an agent, without their sessions. */
const REQUESTS: readonly (readonly [method: string, params: Json])[] = [
  ["session/request_permission", { toolCall: TOOL, options: OPTIONS }],
  ["elicitation/create", {
    mode: "form",
    message: "Which?",
    requestedSchema: { type: "object", properties: { a: { type: "string" } } },
  }],
  ["fs/read_text_file", { path: "/etc/passwd" }],
  ["terminal/create", { command: "sh" }],
  ["no/such", {}],
];
const PROMPT_RESULTS: readonly Json[] = [
  ...["end_turn", "max_tokens", "refusal", "cancelled"].map((stopReason) => ({ result: { stopReason } })),
  { result: { stopReason: "end_turn", usage: { inputTokens: 3, outputTokens: 4, totalTokens: 7 } } },
  ...[-32603, -32000, -32002, 429].map((code) => ({
    error: { code, message: "quota exceeded", data: { message: "sign in" } },
  })),
];
const MOST_MESSAGES = 12;
const encoder = new TextEncoder();

/** The agent: every process that is started, and what disturbs its next answers. */
export class HostileAgent {
  /** Input for a prompt that contains its mark, such as `fuzz-12`. */
  readonly inputOf: (mark: string) => Random | undefined;
  readonly #disturbed = new Map<string, Random>();
  #sessions = 0;

  constructor(inputOf: (mark: string) => Random | undefined) {
    this.inputOf = inputOf;
  }

  /** Changes the next answer to a request of this method. */
  disturb(method: string, random: Random): void {
    this.#disturbed.set(method, random);
  }

  /** Ends all disturbances. */
  calm(): void {
    this.#disturbed.clear();
  }

  /** Starts a process. */
  launch(): AgentProcess {
    const [mine, theirs] = streamPair();
    const writer = theirs.writable.getWriter();
    const end = () => void writer.close().catch(() => {});
    const process = memoryProcess(mine, end);
    const write = (bytes: Uint8Array) => void writer.write(bytes).catch(() => {});
    this.#serve(theirs.readable, write, () => process.kill()).catch(() => {});
    return process;
  }

  async #serve(
    input: ReadableStream<Uint8Array>,
    write: (bytes: Uint8Array) => void,
    exit: () => void,
  ): Promise<void> {
    /** Prompts that wait for a cancel, by session. */
    const open = new Map<unknown, unknown>();
    for await (const text of readLines(input)) {
      const { id, method, params } = JSON.parse(text) as Json;
      if (typeof method !== "string") continue;
      const sessionId = isObject(params) ? params.sessionId : undefined;
      if (method === "session/cancel" && open.has(sessionId)) {
        write(line({ id: open.get(sessionId), result: { stopReason: "cancelled" } }));
        open.delete(sessionId);
      }
      if (id === undefined) continue;
      const mark = /fuzz-\d+/.exec(text)?.[0];
      const random = method === "session/prompt" ? mark && this.inputOf(mark) : this.#disturbed.get(method);
      this.#disturbed.delete(method);
      if (!random) {
        write(this.#answer(id, method, sessionId));
      } else if (method === "session/prompt") {
        if (!this.#misbehave(random, id, sessionId, write, exit)) open.set(sessionId, id);
      } else {
        this.#answerOddly(random, id, method, write, exit);
      }
    }
  }

  #answer(id: unknown, method: string, sessionId: unknown): Uint8Array {
    if (method !== "session/prompt") return line({ id, result: this.#resultOf(method) });
    const update = { sessionUpdate: "agent_message_chunk", content: { type: "text", text: "Fine." } };
    return join(
      line({ method: "session/update", params: { sessionId, update } }),
      line({ id, result: { stopReason: "end_turn" } }),
    );
  }

  #resultOf(method: string): Json {
    const result = RESULTS[method] ?? {};
    return method === "session/new" ? { sessionId: `session-${++this.#sessions}`, ...result } : result;
  }

  /** Answers a request with anything, or not at all. */
  #answerOddly(
    random: Random,
    id: unknown,
    method: string,
    write: (bytes: Uint8Array) => void,
    exit: () => void,
  ): void {
    if (random.once(8)) return exit();
    if (random.once(8)) return;
    const answer = random.once(4)
      ? { id, error: { code: random.pick([-32000, -32603, -32601]), message: "No." } }
      : { id, result: mutate(random, this.#resultOf(method)) };
    write(random.once(10) ? damage(random, line(answer)) : line(answer));
  }

  /** Plays an input in a turn. @returns Whether the turn ends by itself. */
  #misbehave(
    random: Random,
    id: unknown,
    sessionId: unknown,
    write: (bytes: Uint8Array) => void,
    exit: () => void,
  ): boolean {
    let bytes = new Uint8Array();
    const say = (message: unknown) => {
      const encoded = line(random.once(2) ? message : mutate(random, message));
      bytes = join(bytes, random.once(12) ? damage(random, encoded) : encoded) as Uint8Array<ArrayBuffer>;
    };
    const talk = () => {
      for (let count = random.below(MOST_MESSAGES); count > 0; count--) say(messageOf(random, sessionId));
    };
    talk();
    const answers = random.pick([1, 1, 1, 1, 1, 1, 2, 0]);
    for (let count = answers; count > 0; count--) say({ id, ...random.pick(PROMPT_RESULTS) });
    // Some agents send their last text behind the answer.
    if (random.once(4)) talk();
    for (const piece of cut(random, bytes)) write(piece);
    if (random.once(12)) exit();
    return answers > 0;
  }
}

function messageOf(random: Random, sessionId: unknown): Json {
  const session = { sessionId: random.once(8) ? "session-1" : sessionId };
  if (random.once(5)) {
    const [method, params] = random.pick(REQUESTS);
    return { id: `agent-${random.below(20)}`, method, params: { ...session, ...params } };
  }
  if (random.once(12)) return { id: random.below(50), result: {} };
  return { method: "session/update", params: { ...session, update: random.pick(UPDATES) } };
}

/** Cuts bytes into some writes. */
function cut(random: Random, bytes: Uint8Array): Uint8Array[] {
  const at = random.below(bytes.length + 1);
  return [bytes.subarray(0, at), bytes.subarray(at)].filter(({ length }) => length > 0);
}

function line(message: unknown): Uint8Array {
  const text = isObject(message)
    ? JSON.stringify({ jsonrpc: "2.0", ...message })
    : JSON.stringify(message) ?? "";
  return encoder.encode(text + "\n");
}
