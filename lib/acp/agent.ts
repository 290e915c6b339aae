/** An ACP agent: started when it is needed, kept warm, restarted at once when its process ends. @module */

import { abortable, untilAborted } from "../core/abortable.ts";
import { BoundedMap } from "../core/bounded_map.ts";
import { shuttingDown } from "../core/errors.ts";
import type { Agent, AgentModel, AgentState, Session } from "../turn/agent.ts";
import type { SessionId } from "../turn/event.ts";
import { AgentCommands } from "./command_guard.ts";
import { Connection } from "./connection.ts";
import { type AgentSettings, toUnavailable } from "./handshake.ts";
import { isTimeout } from "./json_rpc.ts";
import type { AgentProcess } from "./process.ts";
import { RestartBackoff } from "./restart_backoff.ts";
import type { AcpSession } from "./session.ts";
import { SessionDefaults, type SettingWarning } from "./session_config.ts";
import type { Capabilities } from "./wire.ts";

/** Delay before the next warm session is opened, in milliseconds: first the session before it needs the agent. */
const WARM_DELAY_MS = 1_000;

/** Lost sessions that are remembered. */
const MAX_LOST = 1_000;

/** Options of an {@linkcode AcpAgent}. */
export interface AcpAgentOptions extends AgentSettings {
  readonly name: string;
  /** See `Agent.program`. */
  readonly program: string;
  /** Starts a process. @throws {AppError} if the program cannot be started. */
  readonly launch: () => AgentProcess;
  readonly now?: () => number;
}

/** The capabilities and options of an agent, as the doctor reports them. */
export interface AgentDescription extends Omit<Capabilities, "authMethods"> {
  /** Ids of the log-in methods. */
  readonly authMethods: readonly string[];
  /** Id of the model of a new session. */
  readonly model: string | undefined;
  readonly models: readonly AgentModel[];
  /** Id of the mode of a new session. */
  readonly mode: string | undefined;
  /** Ids of the modes. */
  readonly modes: readonly string[];
  /** Configured values that the agent does not take. */
  readonly warnings: readonly SettingWarning[];
  /** Time until the session was open, with the start of the process, in milliseconds. */
  readonly startedMs: number;
}

/**
 * An agent that speaks the Agent Client Protocol.
 *
 * One process serves at a time. A process that does not answer `session/new` or a cancelled prompt in time is retired:
 * it finishes the turns that run in it, and the next session starts another one, which also resumes the idle sessions.
 */
export class AcpAgent implements Agent {
  readonly name: string;
  readonly program: string;
  readonly #options: AcpAgentOptions;
  readonly #now: () => number;
  readonly #closing = new AbortController();
  readonly #backoff: RestartBackoff;
  readonly #defaults = new SessionDefaults();
  readonly #commands = new AgentCommands();
  /** Connections whose process has not ended: the current one, and retired ones. */
  readonly #connections = new Set<Connection>();
  /** Sessions whose cancelled prompt the agent did not end. They are never resumed. */
  readonly #lost = new BoundedMap<SessionId, true>(MAX_LOST);
  #connecting: Promise<Connection> | undefined;
  /** The current connection, once it is initialised. */
  #current: Connection | undefined;
  /** The last connection that opened a new session. */
  #proven: Connection | undefined;
  /** Whether the last `session/new` failed. */
  #hasFailed = false;
  /** A session that is open, or being opened, ahead of need. */
  #warm: Promise<AcpSession> | undefined;
  #warmTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: AcpAgentOptions) {
    this.name = options.name;
    this.program = options.program;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#backoff = new RestartBackoff(this.#now);
  }

  get state(): AgentState {
    if (this.#closing.signal.aborted) return "closed";
    if (this.#hasFailed) return "failing";
    if (this.#current) return this.#current === this.#proven ? "ready" : "starting";
    if (this.#backoff.exits > 0) return "failing";
    return this.#connecting ? "starting" : "idle";
  }

  get models(): readonly AgentModel[] {
    return this.#defaults.model?.values ?? [];
  }

  warm(): void {
    clearTimeout(this.#warmTimer);
    if (this.#warm === undefined && !this.#closing.signal.aborted) this.#keepWarm(this.#requestSession());
  }

  async newSession(signal?: AbortSignal): Promise<Session> {
    return await this.#handOver(() => this.#openSession(), signal, (opening) => {
      const isFree = this.#warm === undefined && !this.#closing.signal.aborted;
      if (isFree) this.#keepWarm(opening);
      return isFree;
    });
  }

  /** Starts the agent if it is not running, because only the agent knows whether it has the session. */
  async resumeSession(id: SessionId, signal?: AbortSignal): Promise<Session | undefined> {
    return await this.#handOver((leaving) => this.#resumeSession(id, leaving), signal, () => false);
  }

  /** Does nothing while the agent is not running. */
  deleteSession(id: SessionId): void {
    this.#current?.deleteSession(id);
  }

  /**
   * Describes what the agent can do and offers: starts it, opens a session and ends that session.
   *
   * @throws {AppError} as {@linkcode newSession} does.
   */
  async describe(signal?: AbortSignal): Promise<AgentDescription> {
    return await abortable(this.#describe(), this.#untilClosing(signal));
  }

  /** Kills the agent's processes without waiting. */
  kill(): void {
    for (const { process } of this.#connections) process.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(shuttingDown());
    clearTimeout(this.#warmTimer);
    await Promise.all([...this.#connections].map((connection) => connection.stop()));
    await this.#connecting?.catch(() => {});
  }

  #untilClosing(signal: AbortSignal | undefined): AbortSignal {
    const closing = this.#closing.signal;
    return signal ? AbortSignal.any([signal, closing]) : closing;
  }

  #keepWarm(session: Promise<AcpSession>): void {
    this.#warm = session;
    session.catch((error) => {
      if (this.#warm === session) this.#warm = undefined;
      if (!this.#closing.signal.aborted) {
        this.#options.log.warn("could not open a session in advance", { error });
      }
    });
  }

  #warmSoon(): void {
    clearTimeout(this.#warmTimer);
    if (!this.#closing.signal.aborted) this.#warmTimer = setTimeout(() => this.warm(), WARM_DELAY_MS);
  }

  /** Takes the warm session, or requests one if there is none or its process has ended. */
  async #openSession(): Promise<AcpSession> {
    const warm = this.#warm;
    this.#warm = undefined;
    // A caller that waited for a timeout once does not wait for a second one.
    const taken = await warm?.catch((error) => isTimeout(error) ? Promise.reject(error) : undefined);
    const session = taken && !taken.closed.aborted ? taken : await this.#requestSession();
    this.#warmSoon();
    return session;
  }

  async #requestSession(connecting = this.#connect()): Promise<AcpSession> {
    const connection = await connecting;
    try {
      const session = await connection.newSession();
      this.#proven = connection;
      this.#hasFailed = false;
      this.#options.onLifecycle?.({ type: "serving" });
      return session;
    } catch (error) {
      // A process that has ended or was retired meanwhile says nothing about the next one.
      if (this.#current === connection) this.#hasFailed = true;
      if (isTimeout(error)) this.#retire(connection);
      this.#reportUnavailable(error);
      throw error;
    }
  }

  async #resumeSession(id: SessionId, leaving: AbortSignal): Promise<AcpSession | undefined> {
    if (this.#lost.has(id)) return undefined;
    const connection = await this.#connect();
    const session = await connection.resumeSession(id, leaving);
    // A resumed session does not prove that the agent can open new ones. The warm session will.
    this.#warmSoon();
    return session?.closed.aborted ? undefined : session;
  }

  async #describe(): Promise<AgentDescription> {
    const startedAtMs = this.#now();
    const connecting = this.#connect();
    const { id, config } = await this.#requestSession(connecting);
    const startedMs = this.#now() - startedAtMs;
    const connection = await connecting;
    const { capabilities: { authMethods, ...capabilities }, warnings } = connection.agent;
    const [model, mode] = [config.option("model"), config.option("mode")];
    await connection.deleteSession(id);
    return {
      ...capabilities,
      authMethods: authMethods.map(({ id }) => id),
      model: model?.current,
      models: model?.values ?? [],
      mode: mode?.current,
      modes: mode?.values.map(({ id }) => id) ?? [],
      warnings: [...warnings, ...config.warnings],
      startedMs,
    };
  }

  #connect(): Promise<Connection> {
    const connecting = this.#connecting ??= this.#start();
    connecting.catch(() => {
      if (this.#connecting === connecting) this.#connecting = undefined;
    });
    return connecting;
  }

  async #start(): Promise<Connection> {
    await this.#backoff.waitForStart(this.#closing.signal);
    let connection: Connection | undefined;
    try {
      connection = this.#open(this.#options.launch());
      await connection.initialize();
      this.#backoff.markReady();
    } catch (error) {
      await this.#onEnd(connection, true, error);
      this.#reportUnavailable(error);
      throw toUnavailable(error);
    }
    this.#current = connection;
    this.#cleanUp(connection);
    return connection;
  }

  #reportUnavailable(error: unknown): void {
    if (this.#closing.signal.aborted) return;
    this.#options.onLifecycle?.({ type: "unavailable", error: toUnavailable(error) });
  }

  #open(process: AgentProcess): Connection {
    const connection: Connection = new Connection({
      ...this.#options,
      process,
      defaults: this.#defaults,
      commands: this.#commands,
      onPromptEnd: (answered) => {
        // A process that is retired says nothing about the one that was started since.
        if (this.#current !== connection) return;
        if (answered) this.#backoff.reset();
        this.#warmIfUsable();
      },
      onUnresponsive: (lost) => {
        if (lost !== undefined) this.#lost.set(lost, true);
        this.#retire(connection);
        this.#warmIfUsable();
      },
    });
    this.#connections.add(connection);
    return connection;
  }

  /** Cleans up once a connection is closed, also if its process ended by itself: its children may still run. */
  async #cleanUp(connection: Connection): Promise<void> {
    await untilAborted(connection.closed);
    const isEarly = this.#current === connection && this.#backoff.isEarly;
    this.#forget(connection);
    await this.#onEnd(connection, isEarly);
    this.#warmIfUsable();
  }

  /** Starts the agent at once, because the next request would wait for that, but not if it opens no sessions. */
  #warmIfUsable(): void {
    if (!this.#hasFailed) this.warm();
  }

  /** Lets a connection finish only the turns that run in it. */
  #retire(connection: Connection): void {
    this.#forget(connection);
    connection.retire();
  }

  #forget(connection: Connection): void {
    if (this.#current !== connection) return;
    this.#current = undefined;
    this.#connecting = undefined;
    this.#warm = undefined;
  }

  /**
   * Counts an early exit, so that the next start waits, ends what is left of the process, and logs its end.
   *
   * @param error Why the agent could not be started.
   */
  async #onEnd(connection: Connection | undefined, isEarly: boolean, error?: unknown): Promise<void> {
    const { log, onLifecycle } = this.#options;
    const wasClosing = this.#closing.signal.aborted;
    const endedByItself = connection?.endedByItself;
    const backoff = isEarly && !wasClosing &&
      { nextStartMs: this.#backoff.count(), exits: this.#backoff.exits };
    await connection?.stop();
    if (connection) this.#connections.delete(connection);
    if (wasClosing) return;
    if (connection === undefined) return log.error("could not start the agent", { ...backoff, error });
    const status = await connection.process.exited;
    if (endedByItself) onLifecycle?.({ type: "exited", status });
    const fields = { ...backoff, status, error, stderr: connection.process.stderrTail() };
    if (isEarly) log.error("agent exited during start-up", fields);
    else log.warn("agent exited", fields);
  }

  /**
   * Waits for a session on behalf of a caller. If the caller leaves first, the session is kept by `keep`, or closed
   * when it comes.
   *
   * @throws The signal's reason if the caller leaves.
   */
  async #handOver<T extends AcpSession | undefined>(
    open: (leaving: AbortSignal) => Promise<T>,
    signal: AbortSignal | undefined,
    keep: (opening: Promise<T>) => boolean,
  ): Promise<T> {
    const leaving = this.#untilClosing(signal);
    leaving.throwIfAborted();
    const opening = open(leaving);
    try {
      return await abortable(opening, leaving);
    } catch (error) {
      if (leaving.aborted && !keep(opening)) opening.then((session) => session?.close(), () => {});
      throw error;
    }
  }
}
