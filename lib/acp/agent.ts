/** An ACP agent: started when needed, kept warm, restarted when it dies. @module */

import { abortable } from "../core/abortable.ts";
import { AppError, toAppError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Agent, AgentModel, AgentState, Session } from "../turn/agent.ts";
import type { SessionId } from "../turn/event.ts";
import type { PermissionBroker } from "../turn/permission.ts";
import { AgentCommands, pathExists } from "./command_guard.ts";
import { Connection } from "./connection.ts";
import { AGENT_TIMEOUTS, type AgentTimeouts, type Capabilities, type HandshakeOptions } from "./handshake.ts";
import { isTimeout } from "./json_rpc.ts";
import type { Redact } from "../core/redact.ts";
import { logInvalidLines } from "./ndjson.ts";
import type { PermissionPolicy } from "./permission.ts";
import type { AgentProcess } from "./process.ts";
import { RestartBackoff } from "./restart_backoff.ts";
import type { AcpSession } from "./session.ts";
import { SessionDefaults, type SettingWarning } from "./session_config.ts";
import { WarmSession } from "./warm_session.ts";

/** An agent that ends sooner than this after its start, without having answered a prompt, died early. */
const EARLY_MS = 10_000;
/** Characters of an invalid line in an {@linkcode AgentLifecycleEvent}. */
const INVALID_LINE_CHARS = 200;
/** How often a session is asked for when the agent dies meanwhile. */
const RESUME_ATTEMPTS = 2;

/** What an ACP agent is made of. */
export interface AcpAgentOptions extends HandshakeOptions {
  readonly name: string;
  /** See `Agent.program`. */
  readonly program: string;
  /** Starts it. @throws {AppError} if it cannot be started. */
  readonly launch: () => AgentProcess;
  readonly permissions: PermissionPolicy;
  /** Where a person is asked for a permission. */
  readonly broker: Pick<PermissionBroker, "ask">;
  readonly log: Log;
  /** Takes secrets out of what the agent says in errors, and of what is logged of its words. */
  readonly redact?: Redact | undefined;
  /** The agent's home directory: `~` in a path. */
  readonly home?: string | undefined;
  readonly times?: AgentTimeouts;
  readonly now?: () => number;
}

/** An agent that speaks the Agent Client Protocol. */
export class AcpAgent implements Agent {
  readonly name: string;
  readonly program: string;
  readonly #options: AcpAgentOptions;
  readonly #now: () => number;
  readonly #closing = new AbortController();
  /** All that have not ended yet: the current one, and retired ones. */
  readonly #links = new Set<AgentProcess>();
  readonly #connections = new Set<Connection>();
  #current: Promise<Connection> | undefined;
  #ready: Connection | undefined;
  readonly #spare: WarmSession<AcpSession>;
  readonly #making: SessionHealth;
  readonly #deaths: RestartBackoff;
  /** It is in the log that no session could be made ahead, and none was made since. */
  #isWarned = false;
  readonly #given = new SessionLeases();
  readonly #usual = new SessionDefaults();
  readonly #commands = new AgentCommands();
  readonly #skipped: (line: string, why: string) => void;
  /** How long the current one took from its launch until it was ready. */
  #readyMs = 0;

  constructor(options: AcpAgentOptions) {
    this.name = options.name;
    this.program = options.program;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#deaths = new RestartBackoff(this.#now);
    this.#making = new SessionHealth(this.#now);
    this.#spare = new WarmSession({
      make: () => this.#newSession(),
      failed: (error) => {
        options.log[this.#isWarned ? "debug" : "warn"]("no session could be made ahead", { error });
        this.#isWarned = true;
      },
    });
    const { log, onLifecycle, redact = (text) => text } = options;
    const logInvalid = logInvalidLines(log, redact, this.#now);
    this.#skipped = (line, why) => {
      // Redact before cutting: the cut may fall within a secret.
      onLifecycle?.({ type: "invalid_line", line: redact(line).slice(0, INVALID_LINE_CHARS) });
      logInvalid(line, why);
    };
  }

  get state(): AgentState {
    if (this.#closing.signal.aborted) return "closed";
    if (this.#making.isFailing) return "failing";
    if (this.#ready) return this.#making.isStarting(this.#ready) ? "starting" : "ready";
    if (this.#deaths.number > 0) return "failing";
    return this.#current ? "starting" : "idle";
  }

  /** It runs, but may not make a session, or not soon. */
  get isUnsure(): boolean {
    return this.#ready !== undefined && this.#making.isUnhealthy(this.#ready);
  }

  /** It was asked for a session that is not there yet. */
  get isMaking(): boolean {
    return this.#ready !== undefined && this.#making.isMaking(this.#ready);
  }

  /** Starts the agent and makes a session ahead of need, so that the first turn waits for neither. */
  warm(): void {
    this.#spare.make();
  }

  get models(): readonly AgentModel[] {
    return this.#usual.models;
  }

  /** How many sessions are in use, or about to be. */
  get openSessions(): number {
    return this.#given.number;
  }

  async newSession(signal?: AbortSignal): Promise<Session> {
    let asked: Promise<Connection> | undefined;
    const make = () => {
      const making = this.#open();
      asked = this.#current;
      return making;
    };
    // From a process that was given up meanwhile it may never come.
    const keep = (making: Promise<AcpSession>) => asked === this.#current && this.#spare.keep(making);
    return await this.#given.give(make, this.#untilClosing(signal), keep);
  }

  /** Starts the agent if it is not running: only it can tell whether it knows the session. */
  async resumeSession(id: SessionId, signal?: AbortSignal): Promise<Session | undefined> {
    const leaving = this.#untilClosing(signal);
    return await this.#given.give(() => this.#resume(id, leaving), leaving);
  }

  /** An agent that is not running is not started for it: then what it keeps of the session is left. */
  deleteSession(id: SessionId): void {
    this.#ready?.forget(id);
  }

  /**
   * What the agent can do, with the models and modes that it offers: starts it, opens a session and ends that again.
   *
   * @throws {AppError} as {@linkcode newSession} does.
   */
  async describe(signal?: AbortSignal): Promise<AgentDescription> {
    const describing = this.#connect().then((agent) => describe(agent, this.#readyMs, this.#now));
    return await abortable(describing, this.#untilClosing(signal));
  }

  /** Ends the agent's processes at once, as far as that can be done without waiting. */
  kill(): void {
    for (const link of this.#links) link.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new AppError("shutting_down", "The server is shutting down.", { retryAfterSecs: 5 }));
    this.#spare.end();
    await Promise.all([...this.#connections].map((connection) => connection.stop()));
    // One that is still starting has no connection yet.
    await Promise.all([...this.#links].map((link) => link.stop()));
    await this.#current?.catch(() => {});
  }

  #untilClosing(signal: AbortSignal | undefined): AbortSignal {
    const closing = this.#closing.signal;
    return signal ? AbortSignal.any([signal, closing]) : closing;
  }

  async #open(): Promise<AcpSession> {
    const spare = this.#spare.take();
    // Without one it is started at once, and no longer idle when the next is asked for.
    const made = spare && await spare.catch((error) => isTimeout(error) ? Promise.reject(error) : undefined);
    const isUsable = made !== undefined && !made.closed.aborted;
    const session = isUsable ? made : await this.#newSession();
    this.#spare.makeSoon();
    return session;
  }

  async #resume(id: SessionId, leaving: AbortSignal): Promise<AcpSession | undefined> {
    // An agent may die unnoticed between two turns: its successor may know the session.
    for (let attempt = 1; attempt <= RESUME_ATTEMPTS; attempt++) {
      const connection = await this.#connect();
      // Whatever comes of it: only a new session proves that the agent can make one.
      const session = await connection.resume(id, leaving).finally(() => this.#spare.makeSoon());
      if (session && !session.closed.aborted) return session;
      if (!connection.closed.aborted) break;
    }
    return undefined;
  }

  /** An agent that does not answer in time is asked for no more: the next one comes from a new process. */
  async #newSession(): Promise<AcpSession> {
    const connection = await this.#connect();
    try {
      const { session } = await this.#making.from(connection, () => connection.newSession());
      this.#isWarned = false;
      return session;
    } catch (error) {
      if (isTimeout(error)) this.#retire(connection);
      throw error;
    }
  }

  #connect(): Promise<Connection> {
    const connecting = this.#current ??= this.#start();
    connecting.catch(() => {
      if (this.#current === connecting) this.#current = undefined;
    });
    return connecting;
  }

  async #start(): Promise<Connection> {
    await this.#deaths.wait(this.#closing.signal);
    this.#closing.signal.throwIfAborted();
    const startedAt = this.#now();
    let answered = false;
    let link: AgentProcess | undefined;
    const { cwd, home } = this.#options;
    try {
      link = this.#options.launch();
      this.#links.add(link);
      const opened: Connection = await Connection.open({
        times: AGENT_TIMEOUTS,
        ...this.#options,
        link,
        usual: this.#usual,
        commands: this.#commands,
        pathExists: (path) => pathExists(path, cwd, home),
        skipped: this.#skipped,
        promptEnded: (ok) => {
          answered ||= ok;
          if (ok) this.#deaths.forget();
          // One that makes no more sessions may go on well with those that it has: it is not asked at each turn.
          if (this.#ready === opened && !this.#making.isFailing) this.#spare.make();
        },
        stuck: () => this.#retire(opened),
      });
      this.#readyMs = this.#now() - startedAt;
      this.#adopt(opened, link, () => !answered && this.#now() - startedAt < EARLY_MS);
      return opened;
    } catch (error) {
      if (link) this.#links.delete(link);
      if (!this.#closing.signal.aborted) await this.#diedEarly(link);
      throw toAppError(error, "agent_unavailable");
    }
  }

  #adopt(connection: Connection, link: AgentProcess, early: () => boolean): void {
    this.#ready = connection;
    this.#connections.add(connection);
    const gone = () => {
      this.#leave(connection);
      this.#clearUp(connection, link, early()).catch((error) =>
        this.#options.log.error("clearing up after an agent failed", { error })
      );
    };
    if (connection.closed.aborted) gone();
    else connection.closed.addEventListener("abort", gone, { once: true });
  }

  /** Also after it died by itself: what it started may live on. */
  async #clearUp(connection: Connection, link: AgentProcess, early: boolean): Promise<void> {
    if (!this.#closing.signal.aborted) {
      if (early) await this.#diedEarly(link);
      else {
        this.#options.log.warn("the agent ended", { stderr: link.stderrTail() });
        await this.#exitOf(link);
      }
    }
    await connection.stop();
    this.#connections.delete(connection);
    this.#links.delete(link);
  }

  /** A new one is started for what comes; this one serves what runs. */
  #retire(connection: Connection): void {
    this.#leave(connection);
    connection.retire();
  }

  #leave(connection: Connection): void {
    if (this.#ready !== connection) return;
    this.#ready = undefined;
    this.#current = undefined;
    this.#spare.drop();
  }

  /** Counts the death at once, so that the next start waits; says it once it is known how it died. */
  async #diedEarly(link: AgentProcess | undefined): Promise<void> {
    const nextStartMs = this.#deaths.count();
    const fields = { deaths: this.#deaths.number, nextStartMs };
    const how = await this.#exitOf(link);
    this.#options.log.error("the agent died before it was of use", {
      ...fields,
      how,
      stderr: link?.stderrTail(),
    });
  }

  /** Waits for the end of a process whose connection closed, and reports it if the process ended by itself. */
  async #exitOf(link: AgentProcess | undefined): Promise<string | undefined> {
    if (link === undefined) return undefined;
    const status = await Promise.race([link.exited, link.stop().then(() => link.exited)]);
    if (!link.wasSignalled) this.#options.onLifecycle?.({ type: "exited", status });
    return status;
  }
}

/** Counts what is handed out: one session for each request that waits, and those that are not closed yet. */
export class SessionLeases {
  readonly #open = new Set<AcpSession>();
  #coming = 0;

  /** How many are in use, or about to be. */
  get number(): number {
    return this.#open.size + this.#coming;
  }

  /**
   * Hands out a session. If nobody waits for it any more it is closed when it comes, unless it is kept.
   *
   * @param keep Gets what nobody waits for any more; tells whether it is kept.
   * @throws What `make` throws; the signal's reason if it aborts.
   */
  async give<T extends AcpSession | undefined>(
    make: () => Promise<T>,
    leaving: AbortSignal,
    keep?: (making: Promise<T>) => boolean,
  ): Promise<T> {
    leaving.throwIfAborted();
    this.#coming++;
    const making = make();
    try {
      const session = await abortable(making, leaving);
      if (session) this.#count(session);
      return session;
    } catch (error) {
      if (leaving.aborted && !keep?.(making)) making.then((session) => session?.close(), () => {});
      throw error;
    } finally {
      this.#coming--;
    }
  }

  #count(session: AcpSession): void {
    if (session.closed.aborted) return;
    this.#open.add(session);
    session.closed.addEventListener("abort", () => this.#open.delete(session), { once: true });
  }
}

/** A process that lets a session wait longer than this, in milliseconds, is asked after others, or beside them. */
export const SLOW_MS = 2_000;
/** One that lets it wait longer than this is no longer said to be ready: slow ones take a quarter of a minute. */
const OVERDUE_MS = 20_000;

interface AwaitedSession {
  readonly process: object;
  readonly sinceMs: number;
}

/** The sessions that are asked of an agent, whichever of its processes makes them. A process is any object. */
export class SessionHealth {
  readonly #now: () => number;
  /** Those that are not there yet, the oldest first: one for each request, for as long as the agent may take at most. */
  readonly #awaited = new Set<AwaitedSession>();
  readonly #proven = new WeakSet<object>();
  #asked = 0;
  #newest = { number: 0, failed: false };

  constructor(now: () => number) {
    this.#now = now;
  }

  /** What came of the newest session that is no longer awaited is that it was not made. */
  get isFailing(): boolean {
    return this.#newest.failed;
  }

  /** The process has made no session yet, or lets one wait for too long. */
  isStarting(process: object): boolean {
    return !this.#proven.has(process) || this.#waitedMs(process) > OVERDUE_MS;
  }

  /** Another process may be faster: this one has made no session yet, failed to, or lets one wait. */
  isUnhealthy(process: object): boolean {
    return this.isFailing || !this.#proven.has(process) || this.#waitedMs(process) > SLOW_MS;
  }

  /** The process was asked for a session that is not there yet. */
  isMaking(process: object): boolean {
    return this.#oldest(process) !== undefined;
  }

  /** Asks a process for a session. @throws What `ask` throws. */
  async from<T>(process: object, ask: () => Promise<T>): Promise<T> {
    const number = ++this.#asked;
    const awaited = { process, sinceMs: this.#now() };
    this.#awaited.add(awaited);
    let failed = true;
    try {
      const session = await ask();
      this.#proven.add(process);
      failed = false;
      return session;
    } finally {
      this.#awaited.delete(awaited);
      if (number > this.#newest.number) this.#newest = { number, failed };
    }
  }

  #waitedMs(process: object): number {
    const oldest = this.#oldest(process);
    return oldest ? this.#now() - oldest.sinceMs : 0;
  }

  #oldest(process: object): AwaitedSession | undefined {
    return this.#awaited.values().find((awaited) => awaited.process === process);
  }
}

/** What an agent can do, with what it offers for a session and what of its configuration it does not take. */
export interface AgentDescription extends Omit<Capabilities, "authMethods"> {
  /** The ids of its ways to log in. */
  readonly authMethods: readonly string[];
  /** The id of the model of a new session. */
  readonly model: string | undefined;
  readonly models: readonly AgentModel[];
  /** The id of the mode of a new session. */
  readonly mode: string | undefined;
  /** The ids of its modes. */
  readonly modes: readonly string[];
  readonly warnings: readonly SettingWarning[];
  /** How long it took from its launch until the session was open, in milliseconds. */
  readonly startedMs: number;
}

/**
 * Opens a session, looks at it, and ends it again.
 *
 * @param readyMs How long it took from the agent's launch until it was ready.
 * @throws {Failure} as opening a session does.
 */
export async function describe(
  connection: Connection,
  readyMs: number,
  now: () => number,
): Promise<AgentDescription> {
  const asked = now();
  const { session, warnings } = await connection.newSession();
  const startedMs = readyMs + now() - asked;
  const { id, config: chosen } = session;
  const { authMethods, ...capabilities } = connection.capabilities;
  const { model, models, mode } = chosen;
  await connection.forget(id);
  return {
    ...capabilities,
    authMethods: authMethods.map(({ id }) => id),
    model,
    models,
    mode,
    modes: chosen.modes.map(({ id }) => id),
    warnings,
    startedMs,
  };
}
