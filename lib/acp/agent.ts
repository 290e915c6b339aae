/** An ACP agent: started when needed, kept warm, restarted when it dies. @module */

import type { Log } from "../ops/log.ts";
import { orAbort } from "../turn/abort.ts";
import type { Agent, AgentModel, AgentState, Session } from "../turn/agent.ts";
import type { SessionId } from "../turn/event.ts";
import { asFailure, Failure } from "../turn/failure.ts";
import type { PermissionDesk } from "../turn/permission.ts";
import { isLate } from "./ask.ts";
import { AgentCommands, pathExists } from "./command_guard.ts";
import { Connection } from "./connection.ts";
import { Deaths } from "./deaths.ts";
import { type AgentDescription, describe } from "./describe.ts";
import { Given } from "./given.ts";
import { Making } from "./making.ts";
import type { PermissionPolicy } from "./permission.ts";
import type { Link } from "./process.ts";
import type { Hide } from "./rpc.ts";
import type { AcpSession } from "./session.ts";
import { AGENT_TIMES, type AgentTimes, type SetupOptions } from "./setup.ts";
import { skippedLines } from "./skipped.ts";
import { Spare } from "./spare.ts";
import { Usual } from "./usual.ts";

/** An agent that ends sooner than this after its start, without having answered a prompt, died early. */
const EARLY_MS = 10_000;
/** How often a session is asked for when the agent dies meanwhile. */
const RESUME_ATTEMPTS = 2;

/** What an ACP agent is made of. */
export interface AcpAgentOptions extends SetupOptions {
  readonly name: string;
  /** See `Agent.program`. */
  readonly program: string;
  /** Starts it. @throws {Failure} if it cannot be started. */
  readonly launch: () => Link;
  readonly permissions: PermissionPolicy;
  /** Where a person is asked for a permission. */
  readonly desk: Pick<PermissionDesk, "ask">;
  readonly log: Log;
  /** Takes secrets out of what the agent says in errors, and of what is logged of its words. */
  readonly hide?: Hide | undefined;
  /** The agent's home directory: `~` in a path. */
  readonly home?: string | undefined;
  readonly times?: AgentTimes;
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
  readonly #links = new Set<Link>();
  readonly #connections = new Set<Connection>();
  #current: Promise<Connection> | undefined;
  #ready: Connection | undefined;
  readonly #spare: Spare<AcpSession>;
  readonly #making: Making;
  readonly #deaths: Deaths;
  /** It is in the log that no session could be made ahead, and none was made since. */
  #isWarned = false;
  readonly #given = new Given();
  readonly #usual = new Usual();
  readonly #commands = new AgentCommands();
  readonly #skipped: (line: string, why: string) => void;
  /** How long the current one took from its launch until it was ready. */
  #readyMs = 0;

  constructor(options: AcpAgentOptions) {
    this.name = options.name;
    this.program = options.program;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#deaths = new Deaths(this.#now);
    this.#making = new Making(this.#now);
    this.#spare = new Spare({
      make: () => this.#newSession(),
      failed: (error) => {
        options.log[this.#isWarned ? "debug" : "warn"]("no session could be made ahead", { error });
        this.#isWarned = true;
      },
    });
    this.#skipped = skippedLines(options.log, options.hide ?? ((text) => text), this.#now);
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
    return this.#ready !== undefined && this.#making.isUnsure(this.#ready);
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

  async open(signal?: AbortSignal): Promise<Session> {
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
  async resume(id: SessionId, signal?: AbortSignal): Promise<Session | undefined> {
    const leaving = this.#untilClosing(signal);
    return await this.#given.give(() => this.#resume(id, leaving), leaving);
  }

  /** An agent that is not running is not started for it: then what it keeps of the session is left. */
  forget(id: SessionId): void {
    this.#ready?.forget(id);
  }

  /**
   * What the agent can do, with the models and modes that it offers: starts it, opens a session and ends that again.
   *
   * @throws {Failure} as {@linkcode open} does.
   */
  async describe(signal?: AbortSignal): Promise<AgentDescription> {
    const describing = this.#connect().then((agent) => describe(agent, this.#readyMs, this.#now));
    return await orAbort(describing, this.#untilClosing(signal));
  }

  /** Ends the agent's processes at once, as far as that can be done without waiting. */
  kill(): void {
    for (const link of this.#links) link.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Failure("shutting_down", "The server is shutting down.", { retryAfterSecs: 5 }));
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
    const made = spare && await spare.catch((error) => isLate(error) ? Promise.reject(error) : undefined);
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
      if (isLate(error)) this.#retire(connection);
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
    let link: Link | undefined;
    const { cwd, home } = this.#options;
    try {
      link = this.#options.launch();
      this.#links.add(link);
      const opened: Connection = await Connection.open({
        times: AGENT_TIMES,
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
      throw asFailure(error, "agent_unavailable");
    }
  }

  #adopt(connection: Connection, link: Link, early: () => boolean): void {
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
  async #clearUp(connection: Connection, link: Link, early: boolean): Promise<void> {
    if (!this.#closing.signal.aborted) {
      if (early) await this.#diedEarly(link);
      else this.#options.log.warn("the agent ended", { stderr: link.stderrTail() });
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
  async #diedEarly(link: Link | undefined): Promise<void> {
    const nextStartMs = this.#deaths.count();
    const fields = { deaths: this.#deaths.number, nextStartMs };
    const how = link && await Promise.race([link.exited, link.stop().then(() => link.exited)]);
    this.#options.log.error("the agent died before it was of use", {
      ...fields,
      how,
      stderr: link?.stderrTail(),
    });
  }
}
