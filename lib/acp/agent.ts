/** An ACP agent: started when needed, kept warm, restarted when it dies. @module */

import type { Log } from "../ops/log.ts";
import { orAbort } from "../turn/abort.ts";
import type { Agent, AgentState, Session } from "../turn/agent.ts";
import { asFailure, Failure } from "../turn/failure.ts";
import type { PermissionDesk } from "../turn/permission.ts";
import { AGENT_TIMES, type AgentTimes, Connection } from "./connection.ts";
import type { PermissionPolicy } from "./permission.ts";
import type { Link } from "./process.ts";
import type { AcpSession } from "./session.ts";

/** An agent that ends sooner than this after its start, without having answered a prompt, died early. */
const EARLY_MS = 10_000;
/** Early deaths in a row after which requests are refused until the wait is over, instead of waiting. */
const FAILING_DEATHS = 3;
/** The wait before the first restart after an early death; doubled by each further one. */
const FIRST_WAIT_MS = 500;
/** The longest wait. */
const MAX_WAIT_MS = 30_000;
/** When the next spare session is made, if no turn ends before: not while the first one needs the agent most. */
const SPARE_DELAY_MS = 1_000;

/** What an ACP agent is made of. */
export interface AcpAgentOptions {
  readonly name: string;
  /** Starts it. @throws {Failure} if it cannot be started. */
  readonly launch: () => Link;
  /** The folder that sessions work in; absolute. */
  readonly cwd: string;
  readonly permissions: PermissionPolicy;
  /** Where a person is asked for a permission. */
  readonly desk: Pick<PermissionDesk, "ask">;
  /** This program's version, told to the agent. */
  readonly version: string;
  /** Names of the variables in the agent's environment. */
  readonly variables: ReadonlySet<string>;
  readonly log: Log;
  readonly times?: AgentTimes;
  readonly now?: () => number;
}

/** An agent that speaks the Agent Client Protocol. */
export class AcpAgent implements Agent {
  readonly name: string;
  readonly #options: AcpAgentOptions;
  readonly #now: () => number;
  readonly #closing = new AbortController();
  /** All that have not ended yet: the current one, and retired ones. */
  readonly #links = new Set<Link>();
  readonly #connections = new Set<Connection>();
  #current: Promise<Connection> | undefined;
  #ready: Connection | undefined;
  #spare: Promise<AcpSession> | undefined;
  #spareTimer: ReturnType<typeof setTimeout> | undefined;
  #deaths = 0;
  #notBefore = 0;

  constructor(options: AcpAgentOptions) {
    this.name = options.name;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  get state(): AgentState {
    if (this.#closing.signal.aborted) return "closed";
    if (this.#ready) return "ready";
    if (this.#deaths >= FAILING_DEATHS) return "failing";
    return this.#current ? "starting" : "idle";
  }

  /** Starts the agent and makes a session ahead of need, so that the first turn waits for neither. */
  warm(): void {
    this.#makeSpare();
  }

  async open(signal?: AbortSignal): Promise<Session> {
    const closing = this.#closing.signal;
    const opening = this.#open();
    try {
      return await orAbort(opening, signal ? AbortSignal.any([signal, closing]) : closing);
    } catch (error) {
      // Nobody waits for it any more.
      opening.then((session) => session.close(), () => {});
      throw error;
    }
  }

  /** Ends the agent's processes at once, as far as that can be done without waiting. */
  kill(): void {
    for (const link of this.#links) link.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(shuttingDown());
    clearTimeout(this.#spareTimer);
    await Promise.all([...this.#connections].map((connection) => connection.stop()));
    // One that is still starting has no connection yet.
    await Promise.all([...this.#links].map((link) => link.stop()));
    await this.#current?.catch(() => {});
  }

  async #open(): Promise<AcpSession> {
    const spare = this.#spare;
    this.#spare = undefined;
    const made = await spare?.catch(() => undefined);
    const session = made && !made.closed.aborted ? made : await (await this.#connect()).newSession();
    this.#makeSpareSoon();
    return session;
  }

  #makeSpareSoon(): void {
    if (this.#closing.signal.aborted) return;
    this.#spareTimer ??= setTimeout(() => this.#makeSpare(), SPARE_DELAY_MS);
  }

  #makeSpare(): void {
    clearTimeout(this.#spareTimer);
    this.#spareTimer = undefined;
    if (this.#spare || this.#closing.signal.aborted) return;
    const spare = this.#connect().then((connection) => connection.newSession());
    this.#spare = spare;
    spare.catch((error) => {
      if (this.#spare === spare) this.#spare = undefined;
      if (!this.#closing.signal.aborted) {
        this.#options.log.warn("no session could be made ahead", { error });
      }
    });
  }

  #connect(): Promise<Connection> {
    const connecting = this.#current ??= this.#start();
    connecting.catch(() => {
      if (this.#current === connecting) this.#current = undefined;
    });
    return connecting;
  }

  async #start(): Promise<Connection> {
    await this.#waitAfterDeath();
    this.#closing.signal.throwIfAborted();
    const { cwd, permissions, desk, version, variables, log, times = AGENT_TIMES } = this.#options;
    const startedAt = this.#now();
    let answered = false;
    let link: Link | undefined;
    try {
      link = this.#options.launch();
      this.#links.add(link);
      const opened: Connection = await Connection.open({
        link,
        cwd,
        permissions,
        desk,
        version,
        variables,
        log,
        times,
        promptEnded: (ok) => {
          answered ||= ok;
          if (ok) this.#deaths = 0;
          if (this.#ready === opened) this.#makeSpare();
        },
        stuck: () => this.#retire(opened),
      });
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
      else this.#options.log.warn("the agent ended", { agent: this.name, stderr: link.stderrTail() });
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
    this.#spare = undefined;
  }

  /** Counts the death at once, so that the next start waits; says it once it is known how it died. */
  async #diedEarly(link: Link | undefined): Promise<void> {
    this.#deaths++;
    const waitMs = Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.#deaths - 1));
    this.#notBefore = this.#now() + waitMs;
    const { name: agent } = this;
    const fields = { agent, deaths: this.#deaths, nextStartMs: waitMs };
    const how = link && await Promise.race([link.exited, link.stop().then(() => link.exited)]);
    this.#options.log.error("the agent died before it was of use", {
      ...fields,
      how,
      stderr: link?.stderrTail(),
    });
  }

  async #waitAfterDeath(): Promise<void> {
    const waitMs = this.#notBefore - this.#now();
    if (waitMs <= 0) return;
    if (this.#deaths >= FAILING_DEATHS) {
      const retryAfterSecs = Math.ceil(waitMs / 1000);
      throw new Failure(
        "agent_unavailable",
        `The agent died ${this.#deaths} times in a row before it was of use; see this program's log. ` +
          `It is started again in ${retryAfterSecs} seconds at the earliest.`,
        { retryAfterSecs },
      );
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, waitMs);
    await orAbort(promise, this.#closing.signal).finally(() => clearTimeout(timer));
  }
}

function shuttingDown(): Failure {
  return new Failure("shutting_down", "The server is shutting down.", { retryAfterSecs: 5 });
}
