/** One agent process: its JSON-RPC connection, and the sessions that it opens, resumes and ends. @module */

import { untilAborted } from "../core/abortable.ts";
import { BoundedMap } from "../core/bounded_map.ts";
import { settlesWithin } from "../core/deadline.ts";
import { AppError, messageOf } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Redact } from "../core/redact.ts";
import type { SessionId } from "../turn/event.ts";
import type { PermissionBroker } from "../turn/permission.ts";
import { AgentAuth } from "./auth.ts";
import type { AgentCommands } from "./command_guard.ts";
import {
  type AgentTimeouts,
  type Capabilities,
  initialize,
  toUnavailable,
  usableServers,
} from "./handshake.ts";
import { explain, isTimeout, JsonRpcPeer, request, RPC, RpcError } from "./json_rpc.ts";
import type { AgentLifecycleEvent } from "./lifecycle.ts";
import type { PermissionPolicy } from "./permission.ts";
import type { AgentProcess } from "./process.ts";
import { AcpSession, type SessionDeps } from "./session.ts";
import {
  readOptions,
  type SendChange,
  SessionConfig,
  type SessionDefaults,
  type SettingWarning,
} from "./session_config.ts";
import {
  type McpServer,
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
export interface ConnectionSettings {
  /** The working directory of sessions; absolute. */
  readonly cwd: string;
  /** The MCP servers of sessions. Servers that the agent cannot use are left out with a warning. */
  readonly mcpServers?: readonly McpServer[] | undefined;
  /** The mode of every session, by id or name. */
  readonly mode?: string | undefined;
  /** The default model of every session, by id or name. */
  readonly model?: string | undefined;
  /** This program's version, sent to the agent. */
  readonly version: string;
  /** Names of the variables in the agent's environment: a key among them allows a log-in without a person. */
  readonly variables: ReadonlySet<string>;
  readonly permissions: PermissionPolicy;
  /** Asks a person for a permission. */
  readonly broker: Pick<PermissionBroker, "ask">;
  readonly log: Log;
  readonly onLifecycle?: ((event: AgentLifecycleEvent) => void) | undefined;
  /** Takes secrets out of the agent's words in errors and in the log. */
  readonly redact?: Redact | undefined;
}

/** Dependencies of a {@linkcode Connection}. */
export interface ConnectionOptions extends ConnectionSettings {
  readonly process: AgentProcess;
  readonly timeouts: AgentTimeouts;
  /** Options of new sessions, kept from one process to the next. */
  readonly defaults: SessionDefaults;
  /** The agent's commands, kept from one process to the next. */
  readonly commands: AgentCommands;
  /** Whether a path exists, relative to the working directory. */
  pathExists(path: string): boolean;
  now(): number;
  onInvalidLine(line: string, why: string): void;
  /** Called when a prompt was answered, or can no longer be. */
  onPromptEnd(answered: boolean): void;
  /** Called when a session does not answer its cancelled prompt: the process should serve no more. */
  onUnresponsive(): void;
}

/** A new session, with the settings that could not be as configured. */
export interface NewSession {
  readonly session: AcpSession;
  readonly warnings: readonly SettingWarning[];
}

/** A connection to one agent process, usable once {@linkcode Connection.initialize} has resolved. */
export class Connection {
  readonly process: AgentProcess;
  readonly #options: ConnectionOptions;
  readonly #peer: JsonRpcPeer;
  #capabilities!: Capabilities;
  #auth!: AgentAuth;
  /** The parameters of `session/new`, which also `session/resume` and `session/load` have. */
  #sessionParams!: { readonly cwd: string; readonly mcpServers: readonly McpServer[] };
  #serverWarnings: readonly SettingWarning[] = [];
  readonly #logged = new Set<string>();
  readonly #sessions = new Map<SessionId, AcpSession>();
  readonly #unresponsive = new Set<AcpSession>();
  /** The end of the queue of each session that is being resumed or ended. Each step has a time limit. */
  readonly #queues = new Map<SessionId, Promise<void>>();
  readonly #unclosed = new BoundedMap<SessionId, SessionConfig>(MAX_UNCLOSED);
  /** When each open `session/new` was sent, the oldest first. */
  readonly #opening = new Set<{ readonly sinceMs: number }>();
  /** Methods that change a session, of which the last request was not answered. */
  readonly #unanswered = new Set<string>();
  #hasOpened = false;
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
    this.#closeAfterExit();
  }

  /** Aborts when the connection is gone. */
  get closed(): AbortSignal {
    return this.#peer.closed;
  }

  get capabilities(): Capabilities {
    return this.#capabilities;
  }

  /** Whether a session was opened. */
  get hasOpened(): boolean {
    return this.#hasOpened;
  }

  /** Whether a prompt was answered. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** Whether the connection serves only what still runs. */
  get isRetired(): boolean {
    return this.#isRetired;
  }

  /** How long the oldest open `session/new` has been waiting, in milliseconds. */
  get openingMs(): number {
    const [oldest] = this.#opening;
    return oldest ? this.#options.now() - oldest.sinceMs : 0;
  }

  /**
   * Initialises the agent.
   *
   * @throws {AppError} `agent_unavailable` if the agent does not answer as one of protocol version 1 does.
   */
  async initialize(): Promise<void> {
    const { version, timeouts, cwd, mcpServers, variables, log, onLifecycle } = this.#options;
    const capabilities = await initialize(this.#peer, version, timeouts.setupMs);
    const { agent, promptCapabilities, resumeMethod, mcpTransports, authMethods } = capabilities;
    this.#capabilities = capabilities;
    const { usable, warnings } = usableServers(mcpServers ?? [], mcpTransports);
    this.#sessionParams = { cwd, mcpServers: usable };
    this.#serverWarnings = warnings;
    this.#auth = new AgentAuth({
      methods: authMethods,
      variables,
      log,
      onLifecycle,
      authenticate: (methodId) => this.#send("authenticate", { methodId }, timeouts.setupMs),
    });
    log.info("agent ready", {
      program: agent?.name,
      version: agent?.version,
      promptCapabilities,
      resumeMethod,
    });
    onLifecycle?.({ type: "ready", name: agent?.name, version: agent?.version });
  }

  /**
   * Opens a session and configures it, after a log-in if the agent requires one.
   *
   * @throws {AppError} `agent_auth_required` if the log-in needs a person, or `agent_unavailable`.
   */
  async newSession(): Promise<NewSession> {
    const { defaults, timeouts, log, now } = this.#options;
    const opening = { sinceMs: now() };
    this.#opening.add(opening);
    const read = (result: unknown) => {
      const id = parseNewSessionResult(result).sessionId as SessionId;
      const options = readOptions(parseSessionSettings(result));
      defaults.learn(options);
      return { id, config: new SessionConfig(id, options, this.#change) };
    };
    try {
      const session = await this.#auth.withAuth(() =>
        request(this.#peer, {
          method: "session/new",
          params: this.#sessionParams,
          timeoutMs: timeouts.setupMs,
          read: (result) => {
            const { id, config } = read(result);
            return this.#adopt(id, config);
          },
          onLate: (result) => {
            try {
              if (this.#capabilities.canClose) this.#finish("session/close", read(result).id);
            } catch {
              // An answer that cannot be read opened no session.
            }
          },
        })
      );
      const warnings = await this.#configure(session);
      this.closed.throwIfAborted();
      this.#hasOpened = true;
      log.debug("session opened", { session: session.id });
      return { session, warnings };
    } catch (error) {
      throw toUnavailable(error);
    } finally {
      this.#opening.delete(opening);
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
      if (this.#capabilities.canDelete) await this.#finish("session/delete", id);
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
    const { resumeMethod } = this.#capabilities;
    const { log, mode, defaults, timeouts } = this.#options;
    if (resumeMethod === undefined) {
      log.debug("the agent does not resume sessions", { session: id });
      return undefined;
    }
    const read = (result: unknown) => {
      const options = defaults.complete(readOptions(parseSessionSettings(result)), mode);
      return new SessionConfig(id, options, this.#change, defaults);
    };
    try {
      const session = await this.#auth.withAuth(() =>
        request(this.#peer, {
          method: `session/${resumeMethod}`,
          params: { sessionId: id, ...this.#sessionParams },
          timeoutMs: timeouts.resumeMs,
          read: (result) => this.#adopt(id, read(result)),
          onLate: (result) => {
            const config = read(result);
            this.#enqueue(id, async () => {
              if (!this.#sessions.has(id)) await this.#endAtAgent(id, config);
            });
          },
        })
      );
      await this.#configure(session);
      return session;
    } catch (error) {
      if (error instanceof AppError) throw error;
      log.info("could not resume a session", { session: id, error: explain(error) });
      return undefined;
    }
  }

  /** Registers a session as soon as the answer is read, because updates for it may be in the next line. */
  #adopt(id: SessionId, config: SessionConfig): AcpSession {
    const session = new AcpSession(id, config, this.#sessionDeps());
    this.#sessions.set(id, session);
    if (config.models.length > 0) this.#options.defaults.models = config.models;
    return session;
  }

  #sessionDeps(): SessionDeps {
    const { permissions, broker, log, timeouts, commands, pathExists, onPromptEnd, onUnresponsive } =
      this.#options;
    return {
      peer: this.#peer,
      promptCapabilities: this.#capabilities.promptCapabilities,
      permissions,
      broker,
      log,
      commands,
      pathExists,
      promptTimeoutMs: timeouts.setupMs,
      cancelGraceMs: timeouts.cancelMs,
      authRequired: (why) => this.#auth.requiredError(why),
      onUnresponsive: (session, why) => {
        log.warn(why, { session: session.id });
        this.#unresponsive.add(session);
        onUnresponsive();
        this.#stopIfDone();
      },
      onPromptEnd: (session, answered) => {
        this.#unresponsive.delete(session);
        this.#hasAnswered ||= answered;
        onPromptEnd(answered);
        this.#stopIfDone();
      },
      onClose: (session) => {
        this.#enqueue(session.id, () => this.#release(session));
      },
    };
  }

  /** Sets the configured mode and model. A session with other settings is better than none, so a failure only warns. */
  async #configure({ config }: AcpSession): Promise<readonly SettingWarning[]> {
    const { timeouts: { resumeMs }, log } = this.#options;
    const timeout = new AbortController();
    const timer = setTimeout(
      () => timeout.abort(new Error(`The settings took longer than ${resumeMs / 1000} seconds.`)),
      resumeMs,
    );
    const rejected = await config.configure(this.#options, timeout.signal).finally(() => clearTimeout(timer));
    const warnings = [...this.#serverWarnings, ...rejected];
    for (const { text } of warnings) {
      if (this.#logged.has(text) || this.#logged.size >= MAX_WARNINGS) continue;
      this.#logged.add(text);
      log.warn(text);
    }
    return warnings;
  }

  /** Sends a change of a session. A late answer is as good as one in time, but the next change waits less for it. */
  readonly #change: SendChange = async (method, params, read) => {
    const { resumeMs, againMs = resumeMs } = this.#options.timeouts;
    const onAnswer = (result: unknown) => {
      this.#unanswered.delete(method);
      read(result);
    };
    const timeoutMs = this.#unanswered.has(method) ? againMs : resumeMs;
    try {
      await request(this.#peer, { method, params, timeoutMs, read: onAnswer, onLate: onAnswer });
    } catch (error) {
      if (isTimeout(error)) this.#unanswered.add(method);
      else this.#unanswered.delete(method);
      throw error;
    }
  };

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
    if (this.#capabilities.canClose) await this.#finish("session/close", id);
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
