/** One agent process: its JSON-RPC connection, and the sessions that it opens, resumes and ends. @module */

import { untilAborted } from "../core/abortable.ts";
import { BoundedMap } from "../core/bounded_map.ts";
import { settlesWithin } from "../core/deadline.ts";
import { AppError, messageOf } from "../core/errors.ts";
import type { Redact } from "../core/redact.ts";
import type { SessionId } from "../turn/event.ts";
import type { PermissionBroker } from "../turn/permission.ts";
import { type AgentCommands, pathExists } from "./command_guard.ts";
import {
  type AgentTimeouts,
  type Capabilities,
  type HandshakeOptions,
  initialize,
  type InitializedAgent,
  toUnavailable,
} from "./handshake.ts";
import { explain, JsonRpcPeer, request, RPC, RpcError } from "./json_rpc.ts";
import type { PermissionPolicy } from "./permission.ts";
import type { AgentProcess } from "./process.ts";
import { AcpSession } from "./session.ts";
import {
  changeSender,
  readOptions,
  type SendChange,
  SessionConfig,
  type SessionDefaults,
  type SettingWarning,
} from "./session_config.ts";
import {
  parseNewSessionResult,
  parsePermissionRequest,
  parseSessionSettings,
  parseSessionUpdate,
} from "./wire.ts";

/** Time for the last output of an ended process to be read, and for the last input to be written, in milliseconds. */
const DRAIN_MS = 500;
/** Closed sessions that stay open in an agent that cannot close them. Beyond it the oldest is not resumed from here. */
const MAX_UNCLOSED = 100;
/** Different warnings about settings that are logged per process. */
const MAX_WARNINGS = 100;

/** The settings of an agent that hold for each of its processes. */
export interface ConnectionSettings extends HandshakeOptions {
  /** The mode of every session, by id or name. */
  readonly mode?: string | undefined;
  /** The default model of every session, by id or name. */
  readonly model?: string | undefined;
  readonly permissions: PermissionPolicy;
  /** Asks a person for a permission. */
  readonly broker: Pick<PermissionBroker, "ask">;
  /** Takes secrets out of the agent's words in errors and in the log. */
  readonly redact?: Redact | undefined;
  /** The agent's home directory: `~` in a path. */
  readonly home?: string | undefined;
}

/** Dependencies of a {@linkcode Connection}. */
export interface ConnectionOptions extends ConnectionSettings {
  readonly process: AgentProcess;
  readonly timeouts: AgentTimeouts;
  /** Options of new sessions, kept from one process to the next. */
  readonly defaults: SessionDefaults;
  /** The agent's commands, kept from one process to the next. */
  readonly commands: AgentCommands;
  onInvalidLine(line: string, why: string): void;
  /** Called when a prompt was answered, or can no longer be. */
  onPromptEnd(answered: boolean): void;
  /** Called when a session does not answer its cancelled prompt: the process should serve no more. */
  onUnresponsive(): void;
}

/** A connection to one agent process, usable once {@linkcode Connection.initialize} has resolved. */
export class Connection {
  readonly process: AgentProcess;
  readonly #options: ConnectionOptions;
  readonly #peer: JsonRpcPeer;
  #agent!: InitializedAgent;
  readonly #logged = new Set<string>();
  readonly #sessions = new Map<SessionId, AcpSession>();
  readonly #unresponsive = new Set<AcpSession>();
  /** The end of the queue of each session that is being resumed or ended. Each step has a time limit. */
  readonly #queues = new Map<SessionId, Promise<void>>();
  readonly #unclosed = new BoundedMap<SessionId, SessionConfig>(MAX_UNCLOSED);
  readonly #sendChange: SendChange;
  #hasAnswered = false;
  #isRetired = false;
  #stopping: Promise<void> | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.process = options.process;
    this.#peer = new JsonRpcPeer(options.process, {
      onNotification: (method, params) => this.#onNotification(method, params),
      onRequest: (method, params, signal) => this.#onRequest(method, params, signal),
      onInvalidLine: (line, why) => options.onInvalidLine(line, why),
    }, options.redact);
    this.#sendChange = changeSender(this.#peer, options.timeouts.resumeMs, options.timeouts.againMs);
    this.#closeAfterExit();
  }

  /** Aborts when the connection is gone. */
  get closed(): AbortSignal {
    return this.#peer.closed;
  }

  get capabilities(): Capabilities {
    return this.#agent.capabilities;
  }

  /** The configured MCP servers that the agent cannot use. */
  get warnings(): readonly SettingWarning[] {
    return this.#agent.warnings;
  }

  /** Whether a prompt was answered. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /**
   * Initialises the agent.
   *
   * @throws {AppError} `agent_unavailable` if the agent does not answer as one of protocol version 1 does.
   */
  async initialize(): Promise<void> {
    this.#agent = await initialize(this.#peer, this.#options, this.#options.timeouts.setupMs);
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
        const options = readOptions(parseSessionSettings(result));
        defaults.learn(options);
        return { id, config: new SessionConfig(id, options, this.#sendChange) };
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
   * @returns Nothing if the session cannot be resumed in time.
   * @throws {AppError} `agent_auth_required` if the log-in needs a person. The signal's reason if it aborts.
   */
  async resumeSession(id: SessionId, signal: AbortSignal): Promise<AcpSession | undefined> {
    const turn = Promise.withResolvers<void>();
    let isLate = false;
    const resuming = this.#enqueue(id, async () => {
      turn.resolve();
      return isLate ? undefined : await this.#resume(id, signal);
    });
    if (await settlesWithin(this.#options.timeouts.resumeMs, turn.promise)) return await resuming;
    isLate = true;
    return undefined;
  }

  /** Ends a session for good, and deletes it if the agent can. Never throws. */
  deleteSession(id: SessionId): Promise<void> {
    this.#sessions.get(id)?.close();
    return this.#enqueue(id, async () => {
      const session = this.#sessions.get(id);
      if (session) await this.#endNow(session);
      this.#unclosed.delete(id);
      if (this.capabilities.canDelete) await this.#finish("session/delete", id);
    });
  }

  /** Stops once the running prompts have ended. Unresponsive sessions are not waited for. */
  retire(): void {
    this.#isRetired = true;
    this.#stopIfDone();
  }

  /** Stops the process: cancels the running prompts and closes its input, then as {@linkcode AgentProcess.stop} does. */
  stop(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  async #stop(): Promise<void> {
    for (const session of this.#sessions.values()) session.close();
    let inputEnded = Promise.resolve();
    await this.process.stop(() => {
      // Not awaited: a process that does not read would block the stop.
      inputEnded = this.#peer.endInput();
    });
    await this.#peer.close("The agent was stopped.");
    await settlesWithin(DRAIN_MS, inputEnded);
  }

  /** Closes the connection some time after the process ended: a child of it may hold its streams open. */
  async #closeAfterExit(): Promise<void> {
    const status = await this.process.exited;
    if (!await settlesWithin(DRAIN_MS, untilAborted(this.closed))) {
      await this.#peer.close(`The agent ${status}.`);
    }
  }

  #stopIfDone(): void {
    if (!this.#isRetired) return;
    for (const session of this.#sessions.values()) {
      if (session.isBusy && !this.#unresponsive.has(session)) return;
    }
    this.stop().catch((error) => this.#options.log.error("could not stop an agent", { error }));
  }

  async #resume(id: SessionId, signal: AbortSignal): Promise<AcpSession | undefined> {
    signal.throwIfAborted();
    if (this.#sessions.has(id)) return undefined;
    const unclosed = this.#unclosed.get(id);
    if (unclosed) {
      this.#unclosed.delete(id);
      return this.#adopt(id, unclosed);
    }
    const session = await this.#requestResume(id);
    if (session === undefined || !signal.aborted) return session;
    // The caller has left. The next caller already waits in the queue, so the session is ended before that one's turn.
    await this.#endNow(session);
    throw signal.reason;
  }

  async #requestResume(id: SessionId): Promise<AcpSession | undefined> {
    const { resumeMethod } = this.capabilities;
    const { log, mode, defaults, timeouts } = this.#options;
    if (resumeMethod === undefined) {
      log.debug("the agent does not resume sessions", { session: id });
      return undefined;
    }
    try {
      const method = `session/${resumeMethod}`;
      return await this.#requestSession(method, { sessionId: id }, timeouts.resumeMs, (result) => {
        const options = defaults.complete(readOptions(parseSessionSettings(result)), mode);
        return { id, config: new SessionConfig(id, options, this.#sendChange, defaults) };
      });
    } catch (error) {
      if (error instanceof AppError) throw error;
      log.info("could not resume a session", { session: id, error: explain(error) });
      return undefined;
    }
  }

  /** Sends a request that makes a session, and configures the session. A session that comes too late is ended. */
  async #requestSession(
    method: string,
    params: Readonly<Record<string, unknown>>,
    timeoutMs: number,
    read: (result: unknown) => { readonly id: SessionId; readonly config: SessionConfig },
  ): Promise<AcpSession> {
    const session = await this.#agent.auth.withAuth(() =>
      request(this.#peer, {
        method,
        params: { ...params, ...this.#agent.sessionParams },
        timeoutMs,
        read: (result) => {
          const { id, config } = read(result);
          return this.#adopt(id, config);
        },
        onLate: (result) => this.#endLate(() => read(result)),
      })
    );
    await this.#configure(session);
    return session;
  }

  #endLate(read: () => { readonly id: SessionId; readonly config: SessionConfig }): void {
    try {
      const { id, config } = read();
      this.#enqueue(id, async () => {
        if (!this.#sessions.has(id)) await this.#endAtAgent(id, config);
      });
    } catch {
      // An answer that cannot be read made no session.
    }
  }

  /** Registers a session as soon as the answer is read, because updates for it may be in the next line. */
  #adopt(id: SessionId, config: SessionConfig): AcpSession {
    const { permissions, broker, log, timeouts, commands, cwd, home, defaults } = this.#options;
    const session = new AcpSession(id, config, {
      peer: this.#peer,
      promptCapabilities: this.capabilities.promptCapabilities,
      permissions,
      broker,
      log,
      commands,
      pathExists: (path) => pathExists(path, cwd, home),
      promptTimeoutMs: timeouts.setupMs,
      cancelGraceMs: timeouts.cancelMs,
      authRequired: (why) => this.#agent.auth.requiredError(why),
      onUnresponsive: (session, why) => {
        log.warn(why, { session: id });
        this.#unresponsive.add(session);
        this.#options.onUnresponsive();
        this.#stopIfDone();
      },
      onPromptEnd: (session, answered) => {
        this.#unresponsive.delete(session);
        this.#hasAnswered ||= answered;
        this.#options.onPromptEnd(answered);
        this.#stopIfDone();
      },
      onClose: (session) => void this.#enqueue(id, () => this.#release(session)),
    });
    this.#sessions.set(id, session);
    const models = config.option("model")?.values ?? [];
    if (models.length > 0) defaults.models = models;
    return session;
  }

  /** Sets the configured mode and model. A session with other settings is better than none, so a failure only warns. */
  async #configure({ config }: AcpSession): Promise<void> {
    const { timeouts, log } = this.#options;
    await config.configure(this.#options, timeouts.resumeMs);
    for (const { text } of [...this.warnings, ...config.warnings]) {
      if (this.#logged.has(text) || this.#logged.size >= MAX_WARNINGS) continue;
      this.#logged.add(text);
      log.warn(text);
    }
  }

  /** Ends a session within the current step of its queue. */
  async #endNow(session: AcpSession): Promise<void> {
    const released = this.#release(session);
    session.close();
    await released;
  }

  /** Ends a closed session once its last prompt has ended. */
  async #release(session: AcpSession): Promise<void> {
    if (session.isBusy) await session.idle;
    if (this.#sessions.get(session.id) !== session) return;
    this.#sessions.delete(session.id);
    await this.#endAtAgent(session.id, session.config);
  }

  /** Closes a session at the agent. An agent that cannot close sessions goes on with it when it is resumed. */
  async #endAtAgent(id: SessionId, config: SessionConfig): Promise<void> {
    if (this.capabilities.canClose) await this.#finish("session/close", id);
    else this.#unclosed.set(id, config);
  }

  /** Closes or deletes a session at the agent. Never throws. */
  async #finish(method: "session/close" | "session/delete", sessionId: SessionId): Promise<void> {
    const { timeouts, log } = this.#options;
    try {
      await this.#send(method, { sessionId }, timeouts.resumeMs);
    } catch (error) {
      if (!this.closed.aborted) log.debug(`${method} failed`, { session: sessionId, error: explain(error) });
    }
  }

  #send(method: string, params: unknown, timeoutMs: number): Promise<unknown> {
    return request(this.#peer, { method, params, timeoutMs, read: (result) => result });
  }

  /** Runs a step after the earlier steps for the same session; at once if there are none. */
  #enqueue<T>(id: SessionId, step: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(id);
    const done = before ? before.then(step) : step();
    const end: Promise<void> = done.then(() => {}, () => {}).then(() => {
      if (this.#queues.get(id) === end) this.#queues.delete(id);
    });
    this.#queues.set(id, end);
    return done;
  }

  #onNotification(method: string, params: unknown): void {
    if (method !== "session/update" || typeof params !== "object" || params === null) return;
    const { sessionId, update } = params as { sessionId?: SessionId; update?: unknown };
    if (typeof update !== "object" || update === null) return;
    try {
      this.#learnCommands(update);
      this.#sessions.get(sessionId as SessionId)?.onUpdate(update);
    } catch (error) {
      this.#options.log.error("could not handle a session update", { error });
    }
  }

  /** Agents announce their commands at any time, also for a session whose `session/new` is not answered yet. */
  #learnCommands(update: object): void {
    if ((update as { sessionUpdate?: unknown }).sessionUpdate !== "available_commands_update") return;
    const parsed = parseSessionUpdate(update);
    if (parsed?.sessionUpdate !== "available_commands_update") return;
    this.#options.commands.add(parsed.availableCommands.map(({ name }) => name));
  }

  #onRequest(method: string, params: unknown, signal: AbortSignal): unknown {
    if (method !== "session/request_permission") {
      throw new RpcError(RPC.methodNotFound, `Method not found: ${method}`);
    }
    let permission;
    try {
      permission = parsePermissionRequest(params);
    } catch (error) {
      throw new RpcError(RPC.invalidParams, messageOf(error));
    }
    const session = this.#sessions.get(permission.sessionId as SessionId);
    const outcome = session?.onPermissionRequest(permission, signal) ?? { outcome: "cancelled" };
    return outcome instanceof Promise ? outcome.then((outcome) => ({ outcome })) : { outcome };
  }
}
