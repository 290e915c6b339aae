/** One ACP session: its prompts, one at a time, with their updates, permission requests and results. @module */

import { settlesWithin } from "../core/deadline.ts";
import { AppError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { PromptBlock, PromptCapabilities, RunningPrompt, Session } from "../turn/agent.ts";
import type { PermissionQuestion, SessionId, ToolCall, TurnEvent, TurnReader } from "../turn/event.ts";
import { chooseOption, type PermissionBroker } from "../turn/permission.ts";
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

/** A session's dependencies, and its events for the connection that owns it. */
export interface SessionDeps {
  readonly peer: JsonRpcPeer;
  readonly promptCapabilities: PromptCapabilities;
  readonly permissions: PermissionPolicy;
  readonly broker: Pick<PermissionBroker, "ask">;
  readonly log: Log;
  /** The agent's commands, which no prompt may trigger. */
  readonly commands: AgentCommands;
  /** Whether a path exists, seen from the session's working directory. */
  pathExists(path: string): boolean;
  /** Longest wait until the agent reads a prompt. */
  readonly promptTimeoutMs: number;
  /** Longest wait until the agent answers a cancelled prompt. */
  readonly cancelGraceMs: number;
  /** Creates the error that explains how to log in to the agent. */
  authRequired(why: string): AppError;
  /** The agent did not read or answer a prompt in time. */
  onUnresponsive(session: AcpSession, why: string): void;
  /** A prompt ended, answered by the agent or not. */
  onPromptEnd(session: AcpSession, answered: boolean): void;
  /** The session was closed. Its last prompt may still be running. */
  onClose(session: AcpSession): void;
}

/** The state of the running prompt. */
class PromptState {
  readonly reader: TurnReader;
  /** Lets the session's next prompt start. */
  readonly release: () => void;
  readonly translator = new UpdateTranslator();
  /** Whether `prompt()` has returned, so that the reader gets every further error. */
  isTaken = false;
  /** Whether the connection closed before that. */
  isLost = false;
  isCancelled = false;
  /** Whether a permission was refused. */
  isRefused = false;
  /** Withdraws the prompt's permission requests when it is cancelled or ends. */
  withdrawal: AbortController | undefined;
  cancelTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(reader: TurnReader, release: () => void) {
    this.reader = reader;
    this.release = release;
  }
}

/** A session of an ACP agent. */
export class AcpSession implements Session {
  readonly id: SessionId;
  readonly promptCapabilities: PromptCapabilities;
  readonly closed: AbortSignal;
  /** The session's model and mode. */
  readonly config: SessionConfig;

  readonly #deps: SessionDeps;
  readonly #closing = new AbortController();
  readonly #alwaysDecisions = new AlwaysDecisions();
  #running: PromptState | undefined;
  #idle: Promise<void> = Promise.resolve();

  constructor(id: SessionId, config: SessionConfig, deps: SessionDeps) {
    this.id = id;
    this.config = config;
    this.promptCapabilities = deps.promptCapabilities;
    this.closed = AbortSignal.any([deps.peer.closed, this.#closing.signal]);
    this.#deps = deps;
  }

  /** Whether a prompt is running. */
  get isBusy(): boolean {
    return this.#running !== undefined;
  }

  /** Settles when the prompts so far, running and waiting, have ended. */
  get idle(): Promise<void> {
    return this.#idle;
  }

  get model(): string | undefined {
    return this.config.model;
  }

  async setModel(model: string | undefined): Promise<void> {
    if (this.closed.aborted) throw sessionClosedError();
    try {
      await this.config.setModel(model);
    } catch (error) {
      throw error instanceof ClosedError ? sessionClosedError() : error;
    }
  }

  async prompt(blocks: readonly PromptBlock[], reader: TurnReader): Promise<RunningPrompt> {
    const previous = this.#idle;
    const { promise, resolve: release } = Promise.withResolvers<void>();
    this.#idle = promise;
    await previous;
    if (this.closed.aborted) {
      release();
      throw sessionClosedError();
    }
    const prompt = this.#running = new PromptState(reader, release);
    const { commands, pathExists, peer, promptTimeoutMs } = this.#deps;
    const params = { sessionId: this.id, prompt: neutraliseCommands(blocks, commands, pathExists) };
    const { sent } = peer.call("session/prompt", params, {
      resolve: (result) => this.#onResult(prompt, result),
      reject: (error) => this.#onError(prompt, error),
    });
    try {
      if (!await settlesWithin(promptTimeoutMs, sent)) {
        this.#deps.onUnresponsive(this, "the agent does not read a prompt");
        throw new Error(`The agent did not read it within ${promptTimeoutMs / 1000} seconds.`);
      }
    } catch (cause) {
      if (this.#running === prompt) this.#end(prompt, [], false);
      const message = "The prompt could not be sent to the agent.";
      throw new AppError("agent_unavailable", message, { cause, retryAfterSecs: 1 });
    }
    if (prompt.isLost) {
      const message = "The agent's process ended just as it received the prompt.";
      throw new AppError("agent_crashed", message, { prompted: true });
    }
    prompt.isTaken = true;
    return { cancel: () => this.#cancel(prompt) };
  }

  close(): void {
    if (this.closed.aborted) return;
    this.#closing.abort();
    if (this.#running) this.#cancel(this.#running);
    this.#deps.onClose(this);
  }

  /** Handles a `session/update`. Outside a prompt only settings are read, because the rest belongs to no turn. */
  onUpdate(update: unknown): void {
    const prompt = this.#running;
    if (prompt === undefined) {
      const { sessionUpdate } = update as { sessionUpdate?: unknown };
      if (sessionUpdate === "config_option_update") this.#read(update);
      return;
    }
    const event = textOf(update) ?? this.#translate(prompt, update);
    if (event) prompt.reader(event);
  }

  /**
   * Handles a `session/request_permission`. Answers at once if no person has to be asked.
   *
   * @param signal Aborts when the agent withdraws the request.
   */
  onPermissionRequest(
    request: PermissionRequest,
    signal: AbortSignal,
  ): PermissionOutcome | Promise<PermissionOutcome> {
    const prompt = this.#running;
    if (prompt === undefined || prompt.isCancelled) return { outcome: "cancelled" };
    const { toolCall } = request;
    const { tool, isChanged } = prompt.translator.upsertTool(toolCall);
    if (isChanged) prompt.reader({ type: "tool", tool });
    const question = toQuestion(request, tool);
    const shown = [toolCall.rawInput, toolCall.content, toolCall.locations];
    const policy = evaluatePolicy(this.#deps.permissions, tool.kind);
    const decision = policy === "ask" ? this.#alwaysDecisions.decisionOf(question, shown) : policy;
    if (decision === undefined) return this.#ask(prompt, question, shown, signal);
    if (decision !== "allow") {
      const why = policy === "ask"
        ? "a person rejected it for the whole session"
        : "VTUBER_PERMISSIONS is deny";
      this.#refuse(prompt, tool, why);
    }
    return toOutcome(chooseOption(question.options, decision));
  }

  async #ask(
    prompt: PromptState,
    question: PermissionQuestion,
    shown: unknown,
    signal: AbortSignal,
  ): Promise<PermissionOutcome> {
    const { tool, options } = question;
    prompt.withdrawal ??= new AbortController();
    const withdrawn = AbortSignal.any([signal, prompt.withdrawal.signal]);
    const resolution = await this.#deps.broker.ask(question, prompt.reader, withdrawn);
    if (resolution === undefined) {
      this.#refuse(
        prompt,
        tool,
        "no client is connected that can answer; VTUBER_PERMISSIONS=allow would allow it",
      );
      return toOutcome(chooseOption(options, "reject"));
    }
    const { outcome, option, by } = resolution;
    switch (outcome) {
      case "cancelled":
        return { outcome: "cancelled" };
      case "expired":
        this.#refuse(prompt, tool, "nobody answered in time; VTUBER_PERMISSIONS=allow would allow it");
        break;
      case "rejected":
        this.#refuse(prompt, tool, `rejected by ${by}`);
        break;
      case "allowed":
        this.#deps.log.info("allowed a permission", { ...this.#logFields(tool), by });
        break;
      default:
        return outcome satisfies never;
    }
    if (option && !resolution.isOnce) this.#alwaysDecisions.remember(question, option, shown);
    return toOutcome(option ?? chooseOption(options, "reject"));
  }

  #refuse(prompt: PromptState, tool: ToolCall, why: string): void {
    prompt.isRefused = true;
    prompt.translator.markRefused(tool.id);
    this.#deps.log.info(`refused a permission: ${why}`, this.#logFields(tool));
  }

  #logFields({ title, kind }: ToolCall): Record<string, unknown> {
    return { tool: title, kind, session: this.id };
  }

  #translate(prompt: PromptState, update: unknown): TurnEvent | undefined {
    const known = this.#read(update);
    if (known) return prompt.translator.translate(known);
    this.#deps.log.debug("ignored an unknown update of the agent", { update });
    return undefined;
  }

  #read(update: unknown): SessionUpdate | undefined {
    const known = parseSessionUpdate(update);
    if (known?.sessionUpdate === "config_option_update") this.config.update(known.configOptions);
    return known;
  }

  #cancel(prompt: PromptState): void {
    if (this.#running !== prompt || prompt.isCancelled) return;
    prompt.isCancelled = true;
    this.#deps.peer.notify("session/cancel", { sessionId: this.id });
    prompt.withdrawal?.abort("turn");
    prompt.cancelTimer = setTimeout(
      () => this.#deps.onUnresponsive(this, "the agent does not answer a cancelled prompt"),
      this.#deps.cancelGraceMs,
    );
  }

  #onResult(prompt: PromptState, result: unknown): void {
    let events: TurnEvent[];
    try {
      events = resultEvents(prompt, result);
    } catch (error) {
      return this.#onError(prompt, error);
    }
    this.#end(prompt, events, true);
  }

  #onError(prompt: PromptState, error: unknown): void {
    const isAnswer = !(error instanceof ClosedError);
    if (!isAnswer && !prompt.isTaken) {
      // The caller of prompt() gets the error instead of the reader.
      prompt.isLost = true;
      return this.#end(prompt, [], false);
    }
    if (isAnswer && !prompt.isCancelled) {
      const fields = { session: this.id, error: explain(error) };
      this.#deps.log.warn("the agent answered a prompt with an error", fields);
    }
    this.#end(prompt, errorEvents(prompt, error, this.#deps.authRequired), isAnswer);
  }

  #end(prompt: PromptState, events: TurnEvent[], answered: boolean): void {
    clearTimeout(prompt.cancelTimer);
    prompt.withdrawal?.abort("turn");
    this.#running = undefined;
    for (const event of events) prompt.reader(event);
    prompt.release();
    this.#deps.onPromptEnd(this, answered);
  }
}

/** Reads a text chunk. Most updates are text, so that they are recognised without a schema. */
function textOf(update: unknown): TurnEvent | undefined {
  const { sessionUpdate, content } = update as {
    sessionUpdate?: unknown;
    content?: { type?: unknown; text?: unknown };
  };
  if (sessionUpdate !== "agent_message_chunk" || content?.type !== "text") return undefined;
  const { text } = content;
  return typeof text === "string" && text !== "" ? { type: "text", text } : undefined;
}

/** Returns the last events of an answered prompt. @throws {TypeError} if the result cannot be read. */
function resultEvents({ translator, isCancelled, isRefused }: PromptState, result: unknown): TurnEvent[] {
  const { stopReason, usage } = parsePromptResult(result);
  const events = translator.closeTools(stopReason === "end_turn" ? "completed" : "failed");
  if (usage) events.push({ type: "usage", usage });
  // Some agents end the turn as cancelled when they are refused a permission.
  const isStoppedByRefusal = stopReason === "cancelled" && isRefused && !isCancelled;
  events.push(
    isStoppedByRefusal
      ? failure("agent_cancelled", "The agent stopped, because it was refused a permission.")
      : { type: "end", reason: stopReason },
  );
  return events;
}

/** Returns the last events of a failed prompt. */
function errorEvents(
  { translator, isCancelled }: PromptState,
  error: unknown,
  authRequired: (why: string) => AppError,
): TurnEvent[] {
  const tools = translator.closeTools("failed");
  if (error instanceof ClosedError) {
    return [...tools, failure("agent_crashed", "The agent's process ended in the middle of the turn.")];
  }
  // Some agents answer a prompt that is cancelled early with an error.
  if (isCancelled) return [...tools, { type: "end", reason: "cancelled" }];
  const message = explain(error);
  if (error instanceof RpcError && error.code === RPC.authRequired) {
    return [...tools, { type: "failure", failure: authRequired(message).afterPrompt() }];
  }
  return [...tools, failure("agent_error", `The agent answered with an error: ${message}`)];
}

function failure(code: "agent_crashed" | "agent_error" | "agent_cancelled", message: string): TurnEvent {
  return { type: "failure", failure: new AppError(code, message, { prompted: true }) };
}

function sessionClosedError(): AppError {
  return new AppError("agent_unavailable", "The agent's session is closed.", { retryAfterSecs: 1 });
}
