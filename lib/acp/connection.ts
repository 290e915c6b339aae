/** One agent process: its JSON-RPC connection, and the sessions that it opens, resumes and ends. @module */

import { untilAborted } from "../core/abortable.ts";
import { BoundedMap } from "../core/bounded_map.ts";
import { settlesWithin } from "../core/deadline.ts";
import { AppError, messageOf } from "../core/errors.ts";
import { createDedupe, limitRate, type Log } from "../core/log.ts";
import type { SessionId } from "../turn/event.ts";
import type { AgentCommands } from "./command_guard.ts";
import { type AgentSettings, initialize, type InitializedAgent, toUnavailable } from "./handshake.ts";
import { explain, isTimeout, JsonRpcPeer, RPC, RpcError } from "./json_rpc.ts";
import type { AgentProcess } from "./process.ts";
import { AcpSession } from "./session.ts";
import { readOptions, type SendChange, SessionConfig, type SessionDefaults } from "./session_config.ts";
import { describeUnaskedMode } from "./unasked_modes.ts";
import {
  parseElicitationRequest,
  parseNewSessionResult,
  parsePermissionRequest,
  parseSessionSettings,
  parseSessionUpdate,
} from "./wire.ts";

/** Time for the last output of an ended process to be read, in milliseconds. */
const DRAIN_MS = 500;
/** Closed sessions that stay open in an agent that cannot close them. Beyond it the oldest is not resumed from here. */
const MAX_UNCLOSED = 100;
/** Names of agents that start a process for each session, of 120 to 180 MB. */
const PROCESS_PER_SESSION = /claude-agent-acp|claude-code-acp|^pi-acp/;
/** Sessions of such an agent that stay open. */
const MAX_PROCESSES = 4;
/** Different warnings about settings that are logged per process. */
const MAX_WARNINGS = 100;
/** Characters of an invalid line that are logged and reported, before the agent serves. */
const INVALID_LINE_CHARS = 200;
/** Characters of an invalid line in the error of an agent that is no ACP agent. */
const REPORTED_CHARS = 100;
/**
 * Invalid lines of a process that are warnings: an agent that writes its log to stdout would flood this program's log.
 */
const MAX_INVALID_WARNINGS = 5;
/** Further invalid lines that are logged in a period. */
const INVALID_LINE_RATE = { max: 200, ms: 10_000 };

/** Dependencies of a {@linkcode Connection}. */
export interface ConnectionOptions extends AgentSettings {
  readonly process: AgentProcess;
  /** Options of new sessions, kept from one process to the next. */
  readonly defaults: SessionDefaults;
  /** The agent's commands, kept from one process to the next. */
  readonly commands: AgentCommands;
  /** Called when a prompt was answered, or can no longer be. */
  onPromptEnd(answered: boolean): void;
  /**
   * Called when the agent does not read a prompt, or does not answer a cancelled one: the process should serve no more.
   *
   * @param lost The session that cannot be used any more, in any process.
   */
  onUnresponsive(lost: SessionId | undefined): void;
}

/** A connection to one agent process, usable once {@linkcode Connection.initialize} has resolved. */
export class Connection {
  readonly process: AgentProcess;
  readonly #options: ConnectionOptions;
  readonly #peer: JsonRpcPeer;
  #agent!: InitializedAgent;
  readonly #isNewWarning = createDedupe(Infinity, MAX_WARNINGS);
  /** In the order of use. */
  readonly #sessions = new Map<SessionId, AcpSession>();
  readonly #unclosed = new BoundedMap<SessionId, SessionConfig>(MAX_UNCLOSED);
  /** The end of the queue of each session that is being resumed or ended. Each step has a time limit. */
  readonly #queues = new Map<SessionId, Promise<unknown>>();
  #invalidLines = 0;
  /** The first line that is not ACP. */
  #invalidLine: string | undefined;
  readonly #logInvalidLine: Log["debug"];
  #isRetired = false;
  #stopping: Promise<void> | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.process = options.process;
    this.#logInvalidLine = limitRate(options.log.debug, INVALID_LINE_RATE);
    this.#peer = new JsonRpcPeer(options.process, {
      onNotification: (method, params) => this.#onNotification(method, params),
      onRequest: (method, params, signal) => this.#onRequest(method, params, signal),
      onInvalidLine: (line, why) => this.#onInvalidLine(line, why),
    }, options.redact);
    this.#closeAfterExit();
  }

  /** Aborts when the connection is gone. */
  get closed(): AbortSignal {
    return this.#peer.closed;
  }

  /** Whether the connection is gone although {@linkcode Connection.stop} was not called. */
  get endedByItself(): boolean {
    return this.closed.aborted && this.#stopping === undefined;
  }

  get agent(): InitializedAgent {
    return this.#agent;
  }

  /**
   * Initialises the agent.
   *
   * @throws {AppError} `agent_unavailable` with the reason `not_acp` if the agent printed something else and no answer.
   *   As {@linkcode initialize} does.
   */
  async initialize(): Promise<void> {
    try {
      this.#agent = await initialize(this.#peer, this.#options);
    } catch (error) {
      const line = this.#invalidLine;
      if (line === undefined || error instanceof AppError) throw error;
      const message = `The agent's program is not an ACP agent: it printed ${JSON.stringify(line)}. ` +
        "It may need an argument, such as acp or --acp.";
      throw new AppError("agent_unavailable", message, { reason: "not_acp", cause: error });
    }
  }

  /**
   * Opens a session and configures it, after a log-in if the agent requires one.
   *
   * @throws {AppError} `agent_auth_required` if the log-in needs a person, or `agent_unavailable`.
   */
  async newSession(): Promise<AcpSession> {
    const { defaults, timeouts, log } = this.#options;
    try {
      const session = await this.#requestSession("session/new", {}, timeouts.setupMs, (result) => {
        const id = parseNewSessionResult(result).sessionId as SessionId;
        // Two conversations in one session would get each other's replies.
        if (this.#sessions.has(id) || this.#unclosed.has(id)) {
          throw new Error(`it answered session/new with the id of another session, ${id}`);
        }
        defaults.options = readOptions(parseSessionSettings(result));
        return this.#adopt(id, new SessionConfig(id, defaults.options, this.#sendChange));
      });
      this.closed.throwIfAborted();
      log.debug("session opened", { session: session.id });
      return session;
    } catch (error) {
      throw toUnavailable(error);
    }
  }

  /**
   * Resumes a closed session. A session that is open belongs to another caller and is not handed out twice.
   *
   * @returns Nothing if the session cannot be resumed, or the caller has left.
   * @throws {AppError} `agent_auth_required` if the log-in needs a person.
   */
  resumeSession(id: SessionId, signal: AbortSignal): Promise<AcpSession | undefined> {
    return this.#enqueue(id, async () => {
      const open = this.#sessions.get(id);
      if (signal.aborted || open && !open.closed.aborted) return undefined;
      await this.#release(open);
      const session = this.#reopen(id) ?? await this.#resume(id);
      if (signal.aborted) session?.close();
      return session;
    });
  }

  /** Ends a session for good, and deletes it if the agent can. Never throws. */
  deleteSession(id: SessionId): Promise<void> {
    this.#sessions.get(id)?.close();
    return this.#enqueue(id, async () => {
      // A resume that was running may have opened the session meanwhile.
      const session = this.#sessions.get(id);
      session?.close();
      await this.#release(session);
      this.#unclosed.delete(id);
      await this.#finish("session/delete", id);
    });
  }

  /** Closes each session, so that another process can resume it, once its running prompt has ended. Then stops. */
  retire(): void {
    this.#isRetired = true;
    this.#closeIdle();
  }

  #closeIdle(): void {
    const sessions = [...this.#sessions.values()];
    for (const session of sessions) if (!session.isBusy) session.close();
    if (!sessions.some(({ isBusy }) => isBusy)) this.stop();
  }

  /**
   * Stops the process: cancels the running prompts and closes its input, then as {@linkcode AgentProcess.stop} does.
   * Never throws.
   */
  stop(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  async #stop(): Promise<void> {
    for (const session of this.#sessions.values()) session.close();
    try {
      await this.process.stop(() => void this.#peer.endInput());
      await this.#peer.close("The agent was stopped.");
    } catch (error) {
      this.#options.log.error("could not stop an agent", { error });
    }
  }

  /**
   * Closes the connection after the process ended: a child of it may hold its streams open. Waits for the last output
   * of a start or of a running prompt only, because a prompt that came meanwhile would fail.
   */
  async #closeAfterExit(): Promise<void> {
    const status = await this.process.exited;
    const sessions = [...this.#sessions.values()];
    for (const session of sessions) if (!session.isBusy) session.close();
    const isAtRest = sessions.length > 0 && !sessions.some(({ isBusy }) => isBusy);
    if (isAtRest || !await settlesWithin(DRAIN_MS, untilAborted(this.closed))) {
      await this.#peer.close(`The agent ${status}.`);
    }
  }

  /** Reopens a session that the agent could not close. */
  #reopen(id: SessionId): AcpSession | undefined {
    const config = this.#unclosed.get(id);
    this.#unclosed.delete(id);
    return config && this.#adopt(id, config);
  }

  async #resume(id: SessionId): Promise<AcpSession | undefined> {
    const { resumeMethod } = this.#agent.capabilities;
    const { log, mode, defaults, timeouts } = this.#options;
    if (resumeMethod === undefined) return undefined;
    const method = `session/${resumeMethod}`;
    try {
      const session = await this.#requestSession(method, { sessionId: id }, timeouts.resumeMs, (result) => {
        const options = defaults.complete(readOptions(parseSessionSettings(result)), mode);
        return this.#adopt(id, new SessionConfig(id, options, this.#sendChange, defaults.model?.current));
      });
      // Some agents answer before they repeat the history.
      if (resumeMethod === "load") await session.untilQuiet(timeouts.afterLoad);
      return session;
    } catch (error) {
      if (error instanceof AppError) throw error;
      log.info("could not resume a session", { session: id, error: explain(error) });
      if (isTimeout(error)) await this.#finish("session/close", id);
      return undefined;
    }
  }

  /** Sends a request that makes a session, and configures the session: other settings than configured only warn. */
  async #requestSession(
    method: string,
    params: Readonly<Record<string, unknown>>,
    timeoutMs: number,
    read: (result: unknown) => AcpSession,
  ): Promise<AcpSession> {
    const { auth, sessionParams, warnings } = this.#agent;
    const session = await auth.withAuth(() =>
      this.#peer.request(method, { ...params, ...sessionParams }, { timeoutMs, read })
    );
    await session.config.configure(this.#options);
    this.#warnOfUnaskedMode(session.config);
    for (const { text } of [...warnings, ...session.config.warnings]) {
      if (this.#isNewWarning(text)) this.#options.log.warn(text);
    }
    return session;
  }

  /** Warns if the agent may act without asking, although somebody should be asked or nothing be allowed. */
  #warnOfUnaskedMode(config: SessionConfig): void {
    const { permissions, keyPermissions = [] } = this.#options;
    const strict = [permissions, ...keyPermissions].find((policy) => policy !== "allow");
    const mode = config.option("mode")?.current;
    const text = describeUnaskedMode(this.#agent.capabilities.agent?.name, mode);
    if (text === undefined || strict === undefined) return;
    const setting = mode === undefined ? "permissions" : "mode";
    config.warnings.push({ setting, name: mode ?? strict, text });
  }

  readonly #sendChange: SendChange = (method, params, read) =>
    this.#peer.request(method, params, { timeoutMs: this.#options.timeouts.resumeMs, read });

  /** Registers a session as soon as the answer is read, because updates for it may be in the next line. */
  #adopt(id: SessionId, config: SessionConfig): AcpSession {
    const { log, onUnresponsive, onPromptEnd } = this.#options;
    const session = new AcpSession(id, config, {
      ...this.#options,
      peer: this.#peer,
      promptCapabilities: this.#agent.capabilities.promptCapabilities,
      authRequired: (why) => this.#agent.auth.requiredError(why),
      onUnresponsive(why, isLost) {
        log.warn(why, { session: id });
        onUnresponsive(isLost ? id : undefined);
      },
      onPromptEnd: (answered) => {
        onPromptEnd(answered);
        if (this.#isRetired) this.#closeIdle();
        if (this.#sessions.delete(id)) this.#sessions.set(id, session);
        this.#closeOldest();
      },
      onClose: (session) => void this.#enqueue(id, () => this.#release(session)),
    });
    this.#sessions.set(id, session);
    this.#closeOldest();
    return session;
  }

  /** Ends a closed session once its cancelled prompt has ended. Does nothing if that was done. */
  async #release(session: AcpSession | undefined): Promise<void> {
    if (session?.isBusy) await session.idle;
    if (session === undefined || this.#sessions.get(session.id) !== session) return;
    this.#sessions.delete(session.id);
    // An agent that cannot close sessions goes on with this one when it is resumed.
    if (!this.#agent.capabilities.canClose) this.#unclosed.set(session.id, session.config);
    await this.#finish("session/close", session.id);
  }

  /** Closes or deletes a session at the agent, if the agent can. Never throws. */
  async #finish(method: "session/close" | "session/delete", sessionId: SessionId): Promise<void> {
    const { timeouts, log } = this.#options;
    const { canClose, canDelete } = this.#agent.capabilities;
    if (!(method === "session/close" ? canClose : canDelete)) return;
    try {
      await this.#peer.request(method, { sessionId }, { timeoutMs: timeouts.resumeMs });
    } catch (error) {
      if (!this.closed.aborted) log.debug(`${method} failed`, { session: sessionId, error: explain(error) });
    }
  }

  /**
   * Closes the sessions that were not used for the longest time, if the agent has a process for each and can resume
   * them.
   */
  #closeOldest(): void {
    const { agent, resumeMethod } = this.#agent.capabilities;
    const isLimited = PROCESS_PER_SESSION.test(agent?.name ?? "") && resumeMethod !== undefined;
    if (!isLimited || this.#options.isSessionLimitSet) return;
    const open = [...this.#sessions.values()].filter(({ closed }) => !closed.aborted);
    // A session without a prompt is warm, or about to be prompted.
    const idle = open.filter(({ isBusy, hasBeenPrompted }) => hasBeenPrompted && !isBusy);
    for (const session of idle.slice(0, Math.max(0, open.length - MAX_PROCESSES))) session.close();
  }

  /** Runs a step after the earlier steps for the same session; at once if there are none. */
  #enqueue<T>(id: SessionId, step: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(id);
    const done = before ? before.then(step) : step();
    const end = done.catch(() => {}).finally(() => {
      if (this.#queues.get(id) === end) this.#queues.delete(id);
    });
    this.#queues.set(id, end);
    return done;
  }

  #onNotification(method: string, params: unknown): void {
    if (method !== "session/update" || typeof params !== "object" || params === null) return;
    const { sessionId, update } = params as { sessionId: SessionId; update?: unknown };
    const parsed = parseSessionUpdate(update);
    try {
      // Agents announce their commands at any time, also for a session whose `session/new` is not answered yet.
      if (parsed?.sessionUpdate === "available_commands_update") {
        this.#options.commands.add(parsed.availableCommands.map(({ name }) => name));
      }
      this.#sessions.get(sessionId)?.onUpdate(parsed);
    } catch (error) {
      this.#options.log.error("could not handle a session update", { error });
    }
  }

  #onInvalidLine(line: string, why: string): void {
    const { log, onLifecycle, redact = (text) => text } = this.#options;
    const write = ++this.#invalidLines <= MAX_INVALID_WARNINGS ? log.warn : this.#logInvalidLine;
    // A line of an agent that serves may hold what was said.
    if (this.#agent !== undefined) {
      return write("skipped a line of the agent", { why, characters: line.length });
    }
    // Redact before cutting: the cut may fall within a secret.
    const start = redact(line).slice(0, INVALID_LINE_CHARS);
    onLifecycle?.({ type: "invalid_line", line: start });
    if (line.trim() !== "") this.#invalidLine ??= start.slice(0, REPORTED_CHARS).toWellFormed();
    write("skipped a line of the agent", { why, line: start });
  }

  async #onRequest(method: string, params: unknown, signal: AbortSignal): Promise<unknown> {
    switch (method) {
      case "session/request_permission": {
        const request = parseParams(parsePermissionRequest, params);
        const session = this.#sessions.get(request.sessionId as SessionId);
        return { outcome: await session?.onPermissionRequest(request, signal) ?? { outcome: "cancelled" } };
      }
      case "elicitation/create": {
        const request = parseParams(parseElicitationRequest, params);
        const session = this.#sessions.get(request.sessionId as SessionId);
        return await session?.onElicitation(request, signal) ?? { action: "cancel" };
      }
      default:
        throw new RpcError(RPC.methodNotFound, `Method not found: ${method}`);
    }
  }
}

/** Parses the parameters of a request. @throws {RpcError} that names the field. */
function parseParams<T>(parse: (params: unknown) => T, params: unknown): T {
  try {
    return parse(params);
  } catch (error) {
    throw new RpcError(RPC.invalidParams, messageOf(error));
  }
}
