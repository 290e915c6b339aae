/** One ACP session: its prompts, one at a time, with their updates, permission requests and results. @module */

import { settlesWithin } from "../core/deadline.ts";
import { AppError, type ErrorReason } from "../core/errors.ts";
import type { PromptBlock, PromptCapabilities, RunningPrompt, Session } from "../turn/agent.ts";
import type { SessionId, TurnEvent, TurnReader } from "../turn/event.ts";
import type { PermissionPolicy } from "../turn/permission.ts";
import { isAuthRequired } from "./auth.ts";
import { type AgentCommands, neutraliseCommands, pathExists } from "./command_guard.ts";
import { type ElicitationResult, SessionQuestions } from "./elicitation.ts";
import type { AgentSettings } from "./handshake.ts";
import { ClosedError, explain, type JsonRpcPeer } from "./json_rpc.ts";
import { MessageOwners, QuietPeriod, type QuietTimes } from "./late_updates.ts";
import { type PermissionOutcome, SessionPermissions } from "./permission.ts";
import { classifyProviderError } from "./provider_error.ts";
import type { SessionConfig } from "./session_config.ts";
import { UpdateTranslator } from "./update.ts";
import {
  type ElicitationRequest,
  parsePromptResult,
  type PermissionRequest,
  type PromptResult,
  type SessionUpdate,
} from "./wire.ts";

/** A session's dependencies, and its events for the connection that owns it. */
export interface SessionDeps
  extends Pick<AgentSettings, "cwd" | "home" | "permissions" | "broker" | "questions" | "log" | "timeouts"> {
  readonly peer: JsonRpcPeer;
  readonly promptCapabilities: PromptCapabilities;
  /** The agent's commands, which no prompt may trigger. */
  readonly commands: AgentCommands;
  /** Creates the error that explains how to log in to the agent. */
  authRequired(why: string): AppError;
  /**
   * The agent did not read a prompt in time, or did not answer a cancelled one.
   *
   * @param isLost Whether the session is given up.
   */
  onUnresponsive(why: string, isLost: boolean): void;
  /** A prompt ended, answered by the agent or not. */
  onPromptEnd(answered: boolean): void;
  /** The session was closed. Its last prompt may still be running. */
  onClose(session: AcpSession): void;
}

/** Characters of text with an earlier prompt's `messageId` that are kept until the prompt ends. */
const MAX_LATE_CHARS = 8 * 1024 * 1024;
/** Characters that each piece of it counts beside its text. */
const PIECE_CHARS = 100;

/** Why `closed` aborts. One for all sessions, because each new error costs a stack trace. */
const SESSION_CLOSED = new Error("The session is closed.");

type TextUpdate = SessionUpdate & { readonly sessionUpdate: "agent_message_chunk" | "agent_thought_chunk" };

/** The state of the running prompt. */
class PromptState {
  readonly reader: TurnReader;
  /** Decides the agent's permission requests and questions while the prompt runs. */
  readonly permissions: PermissionPolicy;
  /** Lets the session's next prompt start. */
  readonly release: () => void;
  readonly translator = new UpdateTranslator();
  /** Whether `prompt()` has returned, so that the reader gets every further error. */
  isTaken = false;
  /** Whether the connection closed before `prompt()` returned. */
  isLost = false;
  isCancelled = false;
  /** Whether a permission was refused. */
  isRefused = false;
  /** Withdraws the requests to people when the prompt is cancelled or ends. Made for the first request. */
  withdrawal: AbortController | undefined;
  cancelTimer: ReturnType<typeof setTimeout> | undefined;
  /** Text that came with the `messageId` of an earlier prompt. */
  readonly late: TextUpdate[] = [];
  lateChars = 0;
  /** The prompt's last events, once the agent has answered. Late updates still come before them. */
  lastEvents: readonly TurnEvent[] | undefined;

  constructor(reader: TurnReader, permissions: PermissionPolicy, release: () => void) {
    this.reader = reader;
    this.permissions = permissions;
    this.release = release;
  }

  /** Returns a signal that aborts with `signal`, or with the reason `"turn"` when the prompt is cancelled or ends. */
  untilWithdrawn(signal: AbortSignal): AbortSignal {
    this.withdrawal ??= new AbortController();
    return AbortSignal.any([signal, this.withdrawal.signal]);
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
  readonly #permissions: SessionPermissions;
  readonly #messages = new MessageOwners();
  /** Prompts so far. */
  #promptCount = 0;
  readonly #questions: SessionQuestions;
  #running: PromptState | undefined;
  /** Waits for late updates. */
  #quiet: QuietPeriod | undefined;
  #idle: Promise<void> = Promise.resolve();

  constructor(id: SessionId, config: SessionConfig, deps: SessionDeps) {
    this.id = id;
    this.config = config;
    this.promptCapabilities = deps.promptCapabilities;
    this.closed = AbortSignal.any([deps.peer.closed, this.#closing.signal]);
    this.#deps = deps;
    this.#permissions = new SessionPermissions(id, deps);
    this.#questions = new SessionQuestions(id, deps);
  }

  /** Whether a prompt is running. */
  get isBusy(): boolean {
    return this.#running !== undefined;
  }

  get hasBeenPrompted(): boolean {
    return this.#promptCount > 0;
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

  async prompt(
    blocks: readonly PromptBlock[],
    reader: TurnReader,
    permissions: PermissionPolicy = this.#deps.permissions,
  ): Promise<RunningPrompt> {
    const previous = this.#idle;
    const { promise, resolve: release } = Promise.withResolvers<void>();
    this.#idle = promise;
    await previous;
    if (this.closed.aborted) {
      release();
      throw sessionClosedError();
    }
    const prompt = this.#running = new PromptState(reader, permissions, release);
    this.#promptCount++;
    const { peer, timeouts: { readMs } } = this.#deps;
    const sent = peer.call("session/prompt", { sessionId: this.id, prompt: this.#neutralise(blocks) }, {
      resolve: (result) => this.#onResult(prompt, result),
      reject: (error) => this.#onError(prompt, error),
    });
    try {
      if (!await settlesWithin(readMs, sent)) {
        this.#deps.onUnresponsive("the agent does not read a prompt", false);
        // The agent may still read it, while other turns keep its process alive.
        const message = `The agent did not read the prompt within ${readMs / 1000} seconds.`;
        throw new AppError("agent_unavailable", message, { prompted: true });
      }
    } catch (cause) {
      this.#end(prompt, [], false);
      this.close();
      if (cause instanceof AppError) throw cause;
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
    this.#closing.abort(SESSION_CLOSED);
    if (this.#running) this.#cancel(this.#running);
    this.#deps.onClose(this);
  }

  /** Resolves once the agent is silent: it may still repeat the session's history, which no turn gets. */
  async untilQuiet(times: QuietTimes): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#callWhenQuiet(times, resolve);
    await promise;
  }

  /**
   * Handles a `session/update`. Outside a prompt only settings are read, because the rest belongs to no turn.
   *
   * @param update `undefined` for an update that is of no use but as a sign of life.
   */
  onUpdate(update: SessionUpdate | undefined): void {
    this.#quiet?.touch();
    if (update === undefined) return;
    if (update.sessionUpdate === "config_option_update") this.config.update(update.configOptions);
    const prompt = this.#running;
    const isText = update.sessionUpdate === "agent_message_chunk" ||
      update.sessionUpdate === "agent_thought_chunk";
    if (isText && prompt?.isCancelled) return;
    if (isText && this.#messages.isOfEarlierPrompt(update.messageId, prompt ? this.#promptCount : 0)) {
      if (prompt) keepLate(prompt, update);
    } else prompt?.translator.translate(update, prompt.reader);
  }

  /** Passes late text on if the prompt got no other text. The agent's message ids are then useless, and ignored. */
  #acceptLate({ late, translator, reader }: PromptState): void {
    if (late.length === 0 || translator.hasText) return;
    this.#messages.ignoreIds();
    for (const update of late) translator.translate(update, reader);
  }

  /** The running prompt, if its agent may still ask a person. */
  get #askingPrompt(): PromptState | undefined {
    const prompt = this.#running;
    return prompt?.isCancelled || prompt?.lastEvents ? undefined : prompt;
  }

  /**
   * Handles a `session/request_permission`.
   *
   * @param signal Aborts when the agent withdraws the request.
   */
  async onPermissionRequest(request: PermissionRequest, signal: AbortSignal): Promise<PermissionOutcome> {
    const prompt = this.#askingPrompt;
    if (prompt === undefined) return { outcome: "cancelled" };
    return await this.#permissions.decide(request, prompt, prompt.untilWithdrawn(signal));
  }

  /**
   * Handles an `elicitation/create`.
   *
   * @param signal Aborts when the agent withdraws the question.
   */
  async onElicitation(request: ElicitationRequest, signal: AbortSignal): Promise<ElicitationResult> {
    const prompt = this.#askingPrompt;
    if (prompt === undefined) return { action: "cancel" };
    return await this.#questions.ask(
      request,
      prompt,
      (text) => this.#neutraliseText(text),
      prompt.untilWithdrawn(signal),
    );
  }

  #neutralise(blocks: readonly PromptBlock[]): PromptBlock[] {
    const { commands, cwd, home, log } = this.#deps;
    const onPassed = () =>
      log.info("a message may trigger commands of the agent: its key has the scope commands", {
        session: this.id,
      });
    return neutraliseCommands(blocks, commands, (path) => pathExists(path, cwd, home), onPassed);
  }

  #neutraliseText(text: string): string {
    const [block] = this.#neutralise([{ type: "text", text }]);
    return block?.type === "text" ? block.text : "";
  }

  #cancel(prompt: PromptState): void {
    if (this.#running !== prompt || prompt.isCancelled) return;
    if (prompt.lastEvents) return this.#end(prompt, prompt.lastEvents, true);
    prompt.isCancelled = true;
    this.#deps.peer.notify("session/cancel", { sessionId: this.id });
    prompt.withdrawal?.abort("turn");
    prompt.cancelTimer = setTimeout(() => this.#giveUp(prompt), this.#deps.timeouts.cancelMs);
  }

  /**
   * Ends a cancelled prompt that the agent does not end. The agent may still work on it, so that the session is lost.
   */
  #giveUp(prompt: PromptState): void {
    this.#end(prompt, [{ type: "end", reason: "cancelled" }], false);
    this.close();
    this.#deps.onUnresponsive("the agent does not answer a cancelled prompt: its session is given up", true);
  }

  #onResult(prompt: PromptState, result: unknown): void {
    let parsed: PromptResult;
    try {
      parsed = parsePromptResult(result);
    } catch (error) {
      return this.#onError(prompt, error);
    }
    const { usage } = parsed;
    // Some agents answer a cancelled prompt with another stop reason.
    const reason = prompt.isCancelled ? "cancelled" : parsed.stopReason;
    // Some agents end the turn as cancelled when they are refused a permission.
    const isStoppedByRefusal = reason === "cancelled" && prompt.isRefused && !prompt.isCancelled;
    const last: TurnEvent = isStoppedByRefusal
      ? failure("agent_cancelled", "The agent stopped, because it was refused a permission.")
      : { type: "end", reason };
    this.#onAnswer(prompt, usage ? [{ type: "usage", usage }, last] : [last]);
  }

  #onError(prompt: PromptState, error: unknown): void {
    if (!(error instanceof ClosedError)) return this.#onAnswer(prompt, [this.#errorEvent(prompt, error)]);
    // Before prompt() has returned, its caller gets the error instead of the reader.
    prompt.isLost = !prompt.isTaken;
    this.#end(prompt, prompt.isLost ? [] : [this.#errorEvent(prompt, error)], false);
  }

  /** Returns the last event of a prompt that failed. */
  #errorEvent({ isCancelled }: PromptState, error: unknown): TurnEvent {
    // Some agents answer a prompt that is cancelled early with an error.
    if (isCancelled) return { type: "end", reason: "cancelled" };
    if (error instanceof ClosedError) {
      return failure("agent_crashed", "The agent's process ended in the middle of the turn.");
    }
    const message = explain(error);
    this.#deps.log.warn("the agent answered a prompt with an error", { session: this.id, error: message });
    const kind = classifyProviderError(message);
    const isLogin = kind === "login" || kind === "unknown" && isAuthRequired(error);
    return isLogin
      ? { type: "failure", failure: this.#deps.authRequired(message).afterPrompt() }
      : failure("agent_error", `The agent answered with an error: ${message}`, kind);
  }

  /**
   * Ends an answered prompt after its last updates. The agent may also answer one that was given up; that changes
   * nothing.
   */
  #onAnswer(prompt: PromptState, lastEvents: readonly TurnEvent[]): void {
    if (this.#running !== prompt) return;
    clearTimeout(prompt.cancelTimer);
    prompt.lastEvents = lastEvents;
    this.#callWhenQuiet(this.#deps.timeouts.afterPrompt, () => this.#end(prompt, lastEvents, true));
  }

  #callWhenQuiet(times: QuietTimes, onEnd: () => void): void {
    if (times.silenceMs === 0) return onEnd();
    this.#quiet = new QuietPeriod(times, onEnd);
  }

  /** Ends a prompt with these events, after those that close its open tools. Without events the reader gets nothing. */
  #end(prompt: PromptState, events: readonly TurnEvent[], answered: boolean): void {
    if (this.#running !== prompt) return;
    clearTimeout(prompt.cancelTimer);
    this.#quiet?.[Symbol.dispose]();
    prompt.withdrawal?.abort("turn");
    this.#running = undefined;
    const last = events.at(-1);
    const isComplete = last?.type === "end" && last.reason === "end_turn";
    if (isComplete) this.#acceptLate(prompt);
    const closing = last ? prompt.translator.closeTools(isComplete ? "completed" : "failed") : [];
    for (const event of [...closing, ...events]) prompt.reader(event);
    prompt.release();
    this.#deps.onPromptEnd(answered);
  }
}

/** Keeps text with the `messageId` of an earlier prompt, as far as there is room. */
function keepLate(prompt: PromptState, update: TextUpdate): void {
  const chars = (update.content.text?.length ?? 0) + PIECE_CHARS;
  if (prompt.lateChars + chars > MAX_LATE_CHARS) return;
  prompt.lateChars += chars;
  prompt.late.push(update);
}

function failure(
  code: "agent_crashed" | "agent_error" | "agent_cancelled",
  message: string,
  reason?: ErrorReason,
): TurnEvent {
  return { type: "failure", failure: new AppError(code, message, { reason, prompted: true }) };
}

function sessionClosedError(): AppError {
  return new AppError("agent_unavailable", "The agent's session is closed.", { retryAfterSecs: 1 });
}
