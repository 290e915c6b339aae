/** One ACP session: its prompts, one at a time, and what the agent says in answer. @module */

import { AppError } from "../core/errors.ts";
import { settlesWithin } from "../core/deadline.ts";
import type { Log } from "../core/log.ts";
import type { PromptBlock, PromptCapabilities, RunningPrompt, Session } from "../turn/agent.ts";
import type { SessionId, ToolCall, ToolCallId, TurnEvent, TurnReader } from "../turn/event.ts";
import { chooseOption, type PermissionBroker, type PermissionQuestion } from "../turn/permission.ts";
import { type AgentCommands, neutraliseCommands } from "./command_guard.ts";
import { ClosedError, explain, type JsonRpcPeer, RPC, RpcError } from "./json_rpc.ts";
import {
  AlwaysDecisions,
  evaluatePolicy,
  type PermissionOutcome,
  type PermissionPolicy,
  toOutcome,
  toQuestion,
} from "./permission.ts";
import type { SessionConfig } from "./session_config.ts";
import { UpdateTranslator } from "./update.ts";
import { parsePromptResult, parseSessionUpdate, type PermissionRequest, type SessionUpdate } from "./wire.ts";

/** What a session needs of its connection. */
export interface SessionDeps {
  readonly peer: JsonRpcPeer;
  readonly promptCapabilities: PromptCapabilities;
  readonly permissions: PermissionPolicy;
  /** Where a person is asked. */
  readonly broker: Pick<PermissionBroker, "ask">;
  readonly log: Log;
  /** The commands of the agent, which no prompt may trigger. */
  readonly commands: AgentCommands;
  /** Whether a path exists, seen from the session's working directory. */
  pathExists(path: string): boolean;
  /** How long an agent may take to read a prompt, in milliseconds. */
  readonly promptTimeoutMs: number;
  /** How long an agent may take to answer a cancelled prompt, in milliseconds. */
  readonly cancelGraceMs: number;
  /** The failure that tells how to log in to the agent. */
  authRequired(why: string): AppError;
  /** The agent did not read or answer in that time; `why` says which. */
  onUnresponsive(session: AcpSession, why: string): void;
  /** A prompt was answered, or can no longer be. */
  onPromptEnd(session: AcpSession, answered: boolean): void;
  /** The session serves no more; it may still be busy. */
  onClose(session: AcpSession): void;
}

/** The prompt that is running. */
interface Running {
  readonly reader: TurnReader;
  readonly translator: UpdateTranslator;
  readonly done: () => void;
  /** Aborts when the turn is cancelled or over: its permission requests are withdrawn. */
  readonly leaving: AbortController;
  cancelled: boolean;
  refused: boolean;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** A session of an ACP agent. */
export class AcpSession implements Session {
  readonly id: SessionId;
  readonly promptCapabilities: PromptCapabilities;
  readonly closed: AbortSignal;
  /** Its model and its mode. */
  readonly config: SessionConfig;

  readonly #link: SessionDeps;
  readonly #closing = new AbortController();
  readonly #remembered = new AlwaysDecisions();
  #running: Running | undefined;
  /** Settles when the last prompt that was put, or waits, has ended. */
  #queue: Promise<void> = Promise.resolve();

  constructor(id: SessionId, chosen: SessionConfig, link: SessionDeps) {
    this.id = id;
    this.config = chosen;
    this.promptCapabilities = link.promptCapabilities;
    this.closed = AbortSignal.any([link.peer.closed, this.#closing.signal]);
    this.#link = link;
  }

  /** Whether a prompt is running. */
  get isBusy(): boolean {
    return this.#running !== undefined;
  }

  /** Settles when the prompts that were put have ended. */
  get idle(): Promise<void> {
    return this.#queue;
  }

  get model(): string | undefined {
    return this.config.model;
  }

  async setModel(model: string | undefined): Promise<void> {
    if (this.closed.aborted) throw sessionClosedError();
    try {
      await this.config.choose(model);
    } catch (error) {
      throw error instanceof ClosedError ? sessionClosedError() : error;
    }
  }

  async prompt(blocks: readonly PromptBlock[], reader: TurnReader): Promise<RunningPrompt> {
    const before = this.#queue;
    const { promise, resolve: done } = Promise.withResolvers<void>();
    this.#queue = promise;
    await before;
    if (this.closed.aborted) {
      done();
      throw sessionClosedError();
    }
    const running: Running = {
      reader,
      translator: new UpdateTranslator(),
      done,
      leaving: new AbortController(),
      cancelled: false,
      refused: false,
      timer: undefined,
    };
    this.#running = running;
    let [taken, lost] = [false, false];
    const { commands, pathExists } = this.#link;
    const prompt = neutraliseCommands(blocks, commands, pathExists);
    const { sent } = this.#link.peer.call("session/prompt", { sessionId: this.id, prompt }, {
      resolve: (result) => this.#answered(running, result),
      reject: (error) => {
        if (taken || !(error instanceof ClosedError)) return this.#failed(running, error);
        // Nobody was told yet that the prompt was taken: it is the caller who is told.
        lost = true;
        this.#end(running, [], false);
      },
    });
    try {
      if (!await settlesWithin(this.#link.promptTimeoutMs, sent)) {
        this.#link.onUnresponsive(this, "the agent does not read a prompt");
        throw new Error(`It was not read within ${this.#link.promptTimeoutMs / 1000} seconds.`);
      }
    } catch (error) {
      if (this.#running === running) this.#end(running, [], false);
      throw new AppError("agent_unavailable", "The agent could not be given the prompt.", {
        cause: error,
        retryAfterSecs: 1,
      });
    }
    if (lost) {
      throw new AppError("agent_crashed", "The agent's process ended just as it was given the prompt.", {
        prompted: true,
      });
    }
    taken = true;
    return { cancel: () => this.#cancel(running) };
  }

  close(): void {
    if (this.closed.aborted) return;
    this.#closing.abort();
    if (this.#running) this.#cancel(this.#running);
    this.#link.onClose(this);
  }

  /** Not for callers: a `session/update` came. What is said outside a prompt belongs to no turn. */
  onUpdate(update: unknown): void {
    const running = this.#running;
    if (running === undefined) {
      if ((update as { sessionUpdate?: unknown }).sessionUpdate === "config_option_update") {
        this.#read(update);
      }
      return;
    }
    const event = spokenText(update) ?? this.#translate(running, update);
    if (event) running.reader(event);
  }

  /**
   * Not for callers: a `session/request_permission` came. Answered at once where nobody has to be asked.
   *
   * @param signal The agent takes the request back.
   */
  onPermissionRequest(
    request: PermissionRequest,
    signal: AbortSignal,
  ): PermissionOutcome | Promise<PermissionOutcome> {
    const { toolCall } = request;
    const running = this.#running;
    if (running === undefined || running.cancelled) return { outcome: "cancelled" };
    const event = running.translator.upsertTool(toolCall);
    if (event) running.reader(event);
    const tool: ToolCall = event?.tool ?? running.translator.known(toolCall.toolCallId) ?? {
      id: toolCall.toolCallId as ToolCallId,
      title: "tool",
      kind: "other",
      status: "pending",
    };
    const question = toQuestion(request, tool);
    const shown = [toolCall.rawInput, toolCall.content, toolCall.locations];
    const policy = evaluatePolicy(this.#link.permissions, tool.kind);
    const verdict = policy === "ask" ? this.#remembered.decisionOf(question, shown) ?? "ask" : policy;
    if (verdict === "ask") return this.#ask(running, question, shown, signal);
    if (verdict !== "allow") {
      refuse(running, tool);
      const why = policy === "ask" ? "a person said so for always" : "VTUBER_PERMISSIONS says so";
      this.#link.log.info(`refused a permission: ${why}`, this.#fields(tool));
    }
    return toOutcome(chooseOption(question.options, verdict));
  }

  async #ask(
    running: Running,
    question: PermissionQuestion,
    shown: unknown,
    signal: AbortSignal,
  ): Promise<PermissionOutcome> {
    const { broker, log } = this.#link;
    const leaving = AbortSignal.any([signal, running.leaving.signal]);
    const resolution = await broker.ask(question, running.reader, leaving);
    const { tool, options } = question;
    if (resolution?.outcome === "cancelled") return { outcome: "cancelled" };
    if (resolution?.outcome !== "allowed") refuse(running, tool);
    if (resolution?.option) {
      if (!resolution.isOnce) this.#remembered.remember(question, resolution.option, shown);
      log.info(`a permission was ${resolution.outcome}`, { ...this.#fields(tool), by: resolution.by });
      return toOutcome(resolution.option);
    }
    if (resolution?.outcome !== "rejected") {
      const why = resolution ? "nobody answered in time" : "nobody is there to ask";
      log.info(`refused a permission: ${why}; VTUBER_PERMISSIONS=allow would give it`, this.#fields(tool));
    }
    return toOutcome(chooseOption(options, "reject"));
  }

  #fields(tool: ToolCall): Record<string, unknown> {
    return { tool: tool.title, kind: tool.kind, session: this.id };
  }

  #translate(running: Running, update: unknown): TurnEvent | undefined {
    const known = this.#read(update);
    if (known) return running.translator.translate(known);
    this.#link.log.debug("ignored an update of the agent", { update });
    return undefined;
  }

  #read(update: unknown): SessionUpdate | undefined {
    const known = parseSessionUpdate(update);
    if (known?.sessionUpdate === "config_option_update") this.config.update(known.configOptions);
    return known;
  }

  #cancel(running: Running): void {
    if (this.#running !== running || running.cancelled) return;
    running.cancelled = true;
    this.#link.peer.notify("session/cancel", { sessionId: this.id });
    running.leaving.abort("turn");
    running.timer = setTimeout(
      () => this.#link.onUnresponsive(this, "the agent does not answer a cancelled prompt"),
      this.#link.cancelGraceMs,
    );
  }

  #answered(running: Running, result: unknown): void {
    let events: TurnEvent[];
    try {
      events = answeredEnding(result, running);
    } catch (error) {
      return this.#failed(running, error);
    }
    this.#end(running, events, true);
  }

  #failed(running: Running, error: unknown): void {
    const isGone = error instanceof ClosedError;
    if (!isGone && !running.cancelled) {
      const fields = { session: this.id, error: explain(error) };
      this.#link.log.warn("the agent answered a prompt with an error", fields);
    }
    this.#end(running, failedEnding(error, running, this.#link.authRequired), !isGone);
  }

  #end(running: Running, events: TurnEvent[], answered: boolean): void {
    clearTimeout(running.timer);
    running.leaving.abort("turn");
    this.#running = undefined;
    for (const event of events) running.reader(event);
    running.done();
    this.#link.onPromptEnd(this, answered);
  }
}

function refuse(running: Running, { id }: ToolCall): void {
  running.refused = true;
  running.translator.markRefused(id);
}

/** The token path: by far the most updates are text, and are recognised by hand instead of by a schema. */
function spokenText(update: unknown): TurnEvent | undefined {
  const { sessionUpdate, content } = update as {
    sessionUpdate?: unknown;
    content?: { type?: unknown; text?: unknown };
  };
  if (sessionUpdate !== "agent_message_chunk" || content?.type !== "text") return undefined;
  const { text } = content;
  return typeof text === "string" && text !== "" ? { type: "text", text } : undefined;
}

/** What is known of a prompt at its end. */
export interface Ended {
  readonly translator: UpdateTranslator;
  /** It was cancelled from here. */
  readonly cancelled: boolean;
  /** A permission was refused in it. */
  readonly refused: boolean;
}

/** The end of a prompt that was answered. @throws {TypeError} if the answer cannot be read. */
export function answeredEnding(result: unknown, { translator, cancelled, refused }: Ended): TurnEvent[] {
  const { stopReason, usage } = parsePromptResult(result);
  const events = translator.closeTools(stopReason === "end_turn" ? "completed" : "failed");
  if (usage) events.push({ type: "usage", usage });
  if (stopReason === "cancelled" && refused && !cancelled) {
    events.push(failed("agent_cancelled", "The agent stopped, because it was refused a permission."));
  } else {
    events.push({ type: "end", reason: stopReason });
  }
  return events;
}

/** The end of a prompt that failed; `loginNeeded` makes the failure that tells how to log in. */
export function failedEnding(
  error: unknown,
  { translator, cancelled }: Ended,
  loginNeeded: (why: string) => AppError,
): TurnEvent[] {
  const tools = translator.closeTools("failed");
  if (error instanceof ClosedError) {
    return [...tools, failed("agent_crashed", "The agent's process ended in the middle of the turn.")];
  }
  // Some agents answer a prompt that is cancelled early with an error.
  if (cancelled) return [...tools, { type: "end", reason: "cancelled" }];
  const message = explain(error);
  if (error instanceof RpcError && error.code === RPC.authRequired) {
    return [...tools, { type: "failure", failure: loginNeeded(message).afterPrompt() }];
  }
  return [...tools, failed("agent_error", `The agent answered with an error: ${message}`)];
}

/** The failure of whoever asks something of a session that is closed. */
function sessionClosedError(): AppError {
  return new AppError("agent_unavailable", "The agent's session is gone.", { retryAfterSecs: 1 });
}

function failed(code: "agent_crashed" | "agent_error" | "agent_cancelled", message: string): TurnEvent {
  return { type: "failure", failure: new AppError(code, message, { prompted: true }) };
}
