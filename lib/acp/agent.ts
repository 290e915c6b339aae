/** An ACP agent: started when it is needed, kept warm, restarted when its process ends. @module */

import { abortable } from "../core/abortable.ts";
import { AppError, toAppError } from "../core/errors.ts";
import type { Agent, AgentModel, AgentState, Session } from "../turn/agent.ts";
import type { SessionId } from "../turn/event.ts";
import { AgentCommands } from "./command_guard.ts";
import { Connection, type ConnectionSettings } from "./connection.ts";
import { AGENT_TIMEOUTS, type AgentTimeouts, type Capabilities } from "./handshake.ts";
import { isTimeout } from "./json_rpc.ts";
import { logInvalidLines } from "./ndjson.ts";
import type { AgentProcess } from "./process.ts";
import { RestartBackoff } from "./restart_backoff.ts";
import type { AcpSession } from "./session.ts";
import { SessionDefaults, type SettingWarning } from "./session_config.ts";
import { WarmSession } from "./warm_session.ts";

/** An exit within this time of the start, without an answered prompt, is an early exit: the next start is delayed. */
const EARLY_MS = 10_000;
/** Attempts to resume a session, of which all but the first follow an exit of the process. */
const RESUME_ATTEMPTS = 2;
/** Wait for a session after which the agent is not reported as ready. Slow agents take 15 seconds. */
const OVERDUE_MS = 20_000;
/** Characters of an invalid line in a lifecycle event. */
const INVALID_LINE_CHARS = 200;

/** Options of an {@linkcode AcpAgent}. */
export interface AcpAgentOptions extends ConnectionSettings {
  readonly name: string;
  /** See `Agent.program`. */
  readonly program: string;
  /** Starts a process. @throws {AppError} if the program cannot be started. */
  readonly launch: () => AgentProcess;
  readonly timeouts?: AgentTimeouts;
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
  /** Time from the launch of the process until the session was open, in milliseconds. */
  readonly startedMs: number;
}

/** A `session/new` that was sent. */
interface SessionRequest {
  readonly connection: Connection;
  readonly number: number;
  readonly sinceMs: number;
  /** True until the session is open. */
  readonly hasFailed: boolean;
}

/**
 * An agent that speaks the Agent Client Protocol.
 *
 * One process serves at a time. A process that does not answer `session/new` or a cancelled prompt in time is retired:
 * it serves what still runs in it, and the next session starts another one.
 */
export class AcpAgent implements Agent {
  readonly name: string;
  readonly program: string;
  readonly #options: AcpAgentOptions;
  readonly #now: () => number;
  readonly #closing = new AbortController();
  /** Connections whose process has not ended: the current one, and retired ones. */
  readonly #connections = new Set<Connection>();
  #connecting: Promise<Connection> | undefined;
  /** The current connection, once it is initialised. */
  #ready: Connection | undefined;
  /** Time from the launch of the current process until it was initialised. */
  #readyMs = 0;
  readonly #warm: WarmSession<AcpSession>;
  /** Whether the log tells that no session could be opened in advance. */
  #hasWarned = false;
  #requestCount = 0;
  /** Requests for a session that have not ended, the oldest first. */
  readonly #pending = new Set<SessionRequest>();
  /** The newest request that has ended. An earlier one that ends later does not count. */
  #newest: Pick<SessionRequest, "number" | "hasFailed"> = { number: 0, hasFailed: false };
  /** The last connection that opened a new session. */
  #proven: Connection | undefined;
  readonly #backoff: RestartBackoff;
  readonly #defaults = new SessionDefaults();
  readonly #commands = new AgentCommands();
  readonly #onInvalidLine: (line: string, why: string) => void;

  constructor(options: AcpAgentOptions) {
    const { name, program, log, onLifecycle, redact = (text) => text } = options;
    this.name = name;
    this.program = program;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#backoff = new RestartBackoff(this.#now);
    this.#warm = new WarmSession({
      open: () => this.#requestSession(),
      onFailure: (error) => {
        log[this.#hasWarned ? "debug" : "warn"]("could not open a session in advance", { error });
        this.#hasWarned = true;
      },
    });
    const logInvalid = logInvalidLines(log, redact, this.#now);
    this.#onInvalidLine = (line, why) => {
      // Redact before cutting: the cut may fall within a secret.
      onLifecycle?.({ type: "invalid_line", line: redact(line).slice(0, INVALID_LINE_CHARS) });
      logInvalid(line, why);
    };
  }

  get state(): AgentState {
    if (this.#closing.signal.aborted) return "closed";
    if (this.#newest.hasFailed) return "failing";
    if (this.#ready) return this.#ready === this.#proven && !this.#isOverdue ? "ready" : "starting";
    if (this.#backoff.exits > 0) return "failing";
    return this.#connecting ? "starting" : "idle";
  }

  get models(): readonly AgentModel[] {
    return this.#defaults.models;
  }

  warm(): void {
    this.#warm.open();
  }

  async newSession(signal?: AbortSignal): Promise<Session> {
    const leaving = this.#untilClosing(signal);
    leaving.throwIfAborted();
    const opening = this.#openSession();
    const connecting = this.#connecting;
    // A session of a process that was retired meanwhile may never come, so it is not kept.
    const keep = () => connecting === this.#connecting && this.#warm.keep(opening);
    return await handOver(opening, leaving, keep);
  }

  /** Starts the agent if it is not running, because only the agent knows whether it has the session. */
  async resumeSession(id: SessionId, signal?: AbortSignal): Promise<Session | undefined> {
    const leaving = this.#untilClosing(signal);
    leaving.throwIfAborted();
    return await handOver(this.#resumeSession(id, leaving), leaving);
  }

  /** Does nothing while the agent is not running. */
  deleteSession(id: SessionId): void {
    this.#ready?.deleteSession(id);
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
    this.#closing.abort(new AppError("shutting_down", "The server is shutting down.", { retryAfterSecs: 5 }));
    this.#warm[Symbol.dispose]();
    await Promise.all([...this.#connections].map((connection) => connection.stop()));
    await this.#connecting?.catch(() => {});
  }

  #untilClosing(signal: AbortSignal | undefined): AbortSignal {
    const closing = this.#closing.signal;
    return signal ? AbortSignal.any([signal, closing]) : closing;
  }

  /** Takes the warm session, or requests another one if there is none that serves. */
  async #openSession(): Promise<AcpSession> {
    const warm = this.#warm.take();
    // After a timeout the agent would let a second request wait as long.
    const taken = warm && await warm.catch((error) => isTimeout(error) ? Promise.reject(error) : undefined);
    const session = taken && !taken.closed.aborted ? taken : await this.#requestSession();
    this.#warm.openSoon();
    return session;
  }

  async #requestSession(): Promise<AcpSession> {
    const connection = await this.#connect();
    const request = { connection, number: ++this.#requestCount, sinceMs: this.#now(), hasFailed: true };
    this.#pending.add(request);
    try {
      const session = await connection.newSession();
      request.hasFailed = false;
      this.#proven = connection;
      this.#hasWarned = false;
      return session;
    } catch (error) {
      if (isTimeout(error)) this.#retire(connection);
      throw error;
    } finally {
      this.#pending.delete(request);
      if (request.number > this.#newest.number) this.#newest = request;
    }
  }

  get #isOverdue(): boolean {
    const oldest = this.#pending.values().find(({ connection }) => connection === this.#ready);
    return oldest !== undefined && this.#now() - oldest.sinceMs > OVERDUE_MS;
  }

  async #resumeSession(id: SessionId, leaving: AbortSignal): Promise<AcpSession | undefined> {
    for (let attempt = 1; attempt <= RESUME_ATTEMPTS; attempt++) {
      const connection = await this.#connect();
      // Only a new session proves that the agent can open one.
      const session = await connection.resumeSession(id, leaving).finally(() => this.#warm.openSoon());
      if (session && !session.closed.aborted) return session;
      // The process may have ended unnoticed between two turns: its successor may know the session.
      if (!connection.closed.aborted) break;
    }
    return undefined;
  }

  async #describe(): Promise<AgentDescription> {
    const connection = await this.#connect();
    const readyMs = this.#readyMs;
    const openedAtMs = this.#now();
    const { id, config } = await connection.newSession();
    const startedMs = readyMs + this.#now() - openedAtMs;
    const { authMethods, ...capabilities } = connection.capabilities;
    const [model, mode] = [config.option("model"), config.option("mode")];
    await connection.deleteSession(id);
    return {
      ...capabilities,
      authMethods: authMethods.map(({ id }) => id),
      model: model?.current,
      models: model?.values ?? [],
      mode: mode?.current,
      modes: mode?.values.map(({ id }) => id) ?? [],
      warnings: [...connection.warnings, ...config.warnings],
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
    await this.#backoff.wait(this.#closing.signal);
    this.#closing.signal.throwIfAborted();
    const startedAtMs = this.#now();
    let connection: Connection | undefined;
    try {
      connection = this.#open(this.#options.launch());
      await connection.initialize();
    } catch (error) {
      if (!this.#closing.signal.aborted) await this.#onExit(connection, true);
      await this.#end(connection);
      throw toAppError(error, "agent_unavailable");
    }
    this.#readyMs = this.#now() - startedAtMs;
    this.#ready = connection;
    this.#watch(connection, startedAtMs);
    return connection;
  }

  #open(process: AgentProcess): Connection {
    const connection: Connection = new Connection({
      timeouts: AGENT_TIMEOUTS,
      ...this.#options,
      process,
      defaults: this.#defaults,
      commands: this.#commands,
      onInvalidLine: this.#onInvalidLine,
      onPromptEnd: (answered) => {
        if (answered) this.#backoff.reset();
        // An agent that opens no further session is not asked for one after each turn.
        if (this.#ready === connection && !this.#newest.hasFailed) this.#warm.open();
      },
      onUnresponsive: () => this.#retire(connection),
    });
    this.#connections.add(connection);
    return connection;
  }

  /** Cleans up after a connection once it is closed, also if the process ended by itself: its children may still run. */
  #watch(connection: Connection, startedAtMs: number): void {
    const onClosed = async () => {
      const isEarly = !connection.hasAnswered && this.#now() - startedAtMs < EARLY_MS;
      const isRetired = this.#ready !== connection;
      this.#leave(connection);
      try {
        if (!this.#closing.signal.aborted) await this.#onExit(connection, isEarly, isRetired);
        await this.#end(connection);
      } catch (error) {
        this.#options.log.error("could not clean up after an agent", { error });
      }
    };
    if (connection.closed.aborted) onClosed();
    else connection.closed.addEventListener("abort", onClosed, { once: true });
  }

  async #end(connection: Connection | undefined): Promise<void> {
    if (connection === undefined) return;
    await connection.stop();
    this.#connections.delete(connection);
  }

  /** Lets a connection serve only what still runs in it. */
  #retire(connection: Connection): void {
    this.#leave(connection);
    connection.retire();
  }

  #leave(connection: Connection): void {
    if (this.#ready !== connection) return;
    this.#ready = undefined;
    this.#connecting = undefined;
    this.#warm.drop();
  }

  /**
   * Logs how a process ended, and emits `exited` if it ended by itself. An early exit is counted at once, so that the
   * next start waits.
   */
  async #onExit(connection: Connection | undefined, isEarly: boolean, isRetired = false): Promise<void> {
    const { log, onLifecycle } = this.#options;
    const backoff = isEarly && { nextStartMs: this.#backoff.count(), exits: this.#backoff.exits };
    const process = connection?.process;
    const endedByItself = connection?.closed.aborted && !isRetired;
    const status = await Promise.race([process?.exited, connection?.stop().then(() => process?.exited)]);
    if (status !== undefined && endedByItself && !process?.wasSignalled) {
      onLifecycle?.({ type: "exited", status });
    }
    const fields = { ...backoff, status, stderr: process?.stderrTail() };
    if (isEarly) log.error("agent exited during start-up", fields);
    else log.warn("agent exited", fields);
  }
}

/**
 * Waits for a session on behalf of a caller. If the caller leaves first, the session is kept by `keep`, or closed when
 * it comes.
 *
 * @throws The signal's reason if the caller leaves.
 */
async function handOver<T extends AcpSession | undefined>(
  opening: Promise<T>,
  leaving: AbortSignal,
  keep: () => boolean = () => false,
): Promise<T> {
  try {
    return await abortable(opening, leaving);
  } catch (error) {
    if (leaving.aborted && !keep()) opening.then((session) => session?.close(), () => {});
    throw error;
  }
}
