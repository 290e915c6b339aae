/** One running agent: initialised, with its sessions. @module */

import { within } from "../ops/lifetime.ts";
import type { Log } from "../ops/log.ts";
import { aborted } from "../turn/abort.ts";
import type { Accepts } from "../turn/agent.ts";
import type { SessionId } from "../turn/event.ts";
import { Failure, messageOf } from "../turn/failure.ts";
import { loginMethod, loginNeeded } from "./login.ts";
import { ClosedError, Peer, RPC, RpcError } from "./peer.ts";
import type { PermissionDesk } from "../turn/permission.ts";
import type { PermissionPolicy } from "./permission.ts";
import type { Link } from "./process.ts";
import { AcpSession, type SessionLink } from "./session.ts";
import {
  type AuthMethod,
  type InitializeResult,
  parseInitializeResult,
  parseNewSessionResult,
  parsePermissionRequest,
  PROTOCOL_VERSION,
} from "./wire.ts";

/** Characters of a skipped line that are logged. */
const LOGGED_LINE_CHARS = 200;

/** How long what was still to be read from an ended agent, or written to it, may take, in milliseconds. */
const LAST_WORDS_MS = 500;

/** How long an agent may take, in milliseconds. */
export interface AgentTimes {
  /** To answer `initialize`, `authenticate` or `session/new`, or to read a prompt: slow ones take a quarter of a minute. */
  readonly setupMs: number;
  /** To answer a prompt that was cancelled. */
  readonly cancelMs: number;
}
/** The usual {@linkcode AgentTimes}. */
export const AGENT_TIMES: AgentTimes = { setupMs: 60_000, cancelMs: 10_000 };

/** What a connection is made of. */
export interface ConnectionOptions {
  readonly link: Link;
  /** The folder that sessions work in; absolute. */
  readonly cwd: string;
  readonly permissions: PermissionPolicy;
  readonly desk: Pick<PermissionDesk, "ask">;
  readonly version: string;
  /** Names of the variables in the agent's environment: a log-in by variable needs no person. */
  readonly variables: ReadonlySet<string>;
  readonly log: Log;
  readonly times: AgentTimes;
  /** A prompt was answered, or can no longer be. */
  promptEnded(answered: boolean): void;
  /** A session does not answer its cancelled prompt: the connection should serve no more. */
  stuck(): void;
}

/** A connection to one agent process. Made by {@linkcode Connection.open}. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #peer: Peer;
  readonly #sessions = new Map<string, AcpSession>();
  readonly #stuck = new Set<AcpSession>();
  #accepts: Accepts = { image: false, audio: false };
  #closesSessions = false;
  #authMethods: readonly AuthMethod[] = [];
  #login: Promise<void> | undefined;
  #retired = false;
  #stopping: Promise<void> | undefined;

  private constructor(options: ConnectionOptions) {
    this.#options = options;
    const { log } = options;
    this.#peer = new Peer(options.link, {
      notification: (method, params) => this.#notified(method, params),
      request: (method, params, signal) => this.#asked(method, params, signal),
      garbage: (line, why) =>
        log.warn("skipped a line of the agent", { why, line: line.slice(0, LOGGED_LINE_CHARS) }),
    });
    this.#closeAfterExit();
  }

  /**
   * Connects to an agent and initialises it.
   *
   * @throws {Failure} `agent_unavailable` if it does not answer as an agent of protocol version 1 does.
   */
  static async open(options: ConnectionOptions): Promise<Connection> {
    const connection = new Connection(options);
    try {
      await connection.#initialize();
    } catch (error) {
      await connection.stop();
      throw error;
    }
    return connection;
  }

  /** Aborts when the agent is gone. */
  get closed(): AbortSignal {
    return this.#peer.closed;
  }

  /**
   * Opens a session, logging in if the agent asks for it and that needs no person.
   *
   * @throws {Failure} `agent_auth_required` with the ways to log in, or `agent_unavailable`.
   */
  async newSession(): Promise<AcpSession> {
    const open = async () => {
      const params = { cwd: this.#options.cwd, mcpServers: [] };
      return parseNewSessionResult(await this.#setUp("session/new", params)).sessionId as SessionId;
    };
    const id = await open().catch(async (error) => {
      if (!asksForLogin(error)) throw this.#unavailable(error);
      await (this.#login ??= this.#logIn());
      return await open().catch((error) => {
        this.#login = undefined;
        throw asksForLogin(error) ? loginNeeded(this.#authMethods) : this.#unavailable(error);
      });
    });
    const session = new AcpSession(id, this.#sessionLink());
    this.#sessions.set(id, session);
    return session;
  }

  /** Serves what is running and then ends; sessions that do not answer are not waited for. */
  retire(): void {
    this.#retired = true;
    this.#stopIfDone();
  }

  /** Ends the agent: cancels what is running, closes its input, then as {@linkcode Link.stop} does. */
  stop(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  /** Ends the agent at once. */
  kill(): void {
    this.#options.link.kill();
  }

  async #stop(): Promise<void> {
    for (const session of this.#sessions.values()) session.close();
    let ended = Promise.resolve();
    // Not waited for: an agent that does not read would hold it up.
    await this.#options.link.stop(() => {
      ended = this.#peer.endInput();
    });
    await this.#peer.close("The agent was stopped.");
    await within(LAST_WORDS_MS, ended);
  }

  /** A process that the agent started may hold its streams open when it is gone: its last words are not waited for. */
  async #closeAfterExit(): Promise<void> {
    const how = await this.#options.link.exited;
    if (!await within(LAST_WORDS_MS, aborted(this.closed))) await this.#peer.close(`The agent ${how}.`);
  }

  #stopIfDone(): void {
    if (!this.#retired) return;
    for (const session of this.#sessions.values()) {
      if (session.busy && !this.#stuck.has(session)) return;
    }
    this.stop().catch((error) => this.#options.log.error("stopping an agent failed", { error }));
  }

  async #initialize(): Promise<void> {
    const { log, version } = this.#options;
    let result: InitializeResult;
    try {
      result = parseInitializeResult(
        await this.#setUp("initialize", {
          protocolVersion: PROTOCOL_VERSION,
          clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
          clientInfo: { name: "oab-vtuber", title: "oab-vtuber", version },
        }),
      );
    } catch (error) {
      throw this.#unavailable(error);
    }
    if (result.protocolVersion !== PROTOCOL_VERSION) {
      throw new Failure(
        "agent_unavailable",
        `The agent speaks version ${result.protocolVersion} of the Agent Client Protocol, not ${PROTOCOL_VERSION}.`,
      );
    }
    const capabilities = result.agentCapabilities;
    this.#accepts = {
      image: capabilities?.promptCapabilities.image ?? false,
      audio: capabilities?.promptCapabilities.audio ?? false,
    };
    this.#closesSessions = capabilities?.sessionCapabilities.close ?? false;
    this.#authMethods = result.authMethods ?? [];
    log.info("agent ready", {
      agent: result.agentInfo?.name,
      version: result.agentInfo?.version,
      accepts: this.#accepts,
    });
  }

  async #logIn(): Promise<void> {
    const method = loginMethod(this.#authMethods, this.#options.variables);
    if (method === undefined) {
      this.#login = undefined;
      throw loginNeeded(this.#authMethods);
    }
    this.#options.log.info("logging in to the agent", { method: method.id });
    try {
      await this.#setUp("authenticate", { methodId: method.id });
    } catch (error) {
      this.#login = undefined;
      throw loginNeeded(this.#authMethods, explain(error));
    }
  }

  /** A request that an agent should answer soon. */
  async #setUp(method: string, params: unknown): Promise<unknown> {
    const { setupMs } = this.#options.times;
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => reject(new Error(`The agent did not answer ${method} within ${setupMs / 1000} seconds.`)),
      setupMs,
    );
    try {
      return await Promise.race([this.#peer.request(method, params), promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  #unavailable(error: unknown): Failure {
    if (error instanceof Failure) return error;
    const message = error instanceof ClosedError
      ? "The agent ended before it was ready."
      : `The agent could not be used: ${explain(error)}`;
    return new Failure("agent_unavailable", message, { cause: error });
  }

  #sessionLink(): SessionLink {
    const { permissions, desk, log, times } = this.#options;
    return {
      peer: this.#peer,
      accepts: this.#accepts,
      permissions,
      desk,
      log,
      promptMs: times.setupMs,
      cancelGraceMs: times.cancelMs,
      loginNeeded: (why) => loginNeeded(this.#authMethods, why),
      stuck: (session, why) => {
        log.warn(why, { session: session.id });
        this.#stuck.add(session);
        this.#options.stuck();
        this.#stopIfDone();
      },
      promptEnded: (session, answered) => {
        this.#stuck.delete(session);
        if (session.closed.aborted) this.#forget(session);
        this.#options.promptEnded(answered);
        this.#stopIfDone();
      },
      closed: (session) => {
        if (!session.busy) this.#forget(session);
      },
    };
  }

  #forget(session: AcpSession): void {
    if (!this.#sessions.delete(session.id) || !this.#closesSessions) return;
    this.#peer.request("session/close", { sessionId: session.id }).catch((error) => {
      if (!this.closed.aborted) this.#options.log.debug("closing a session failed", { error });
    });
  }

  #notified(method: string, params: unknown): void {
    if (method !== "session/update" || typeof params !== "object" || params === null) return;
    const { sessionId, update } = params as { sessionId?: string; update?: unknown };
    if (typeof update !== "object" || update === null) return;
    try {
      this.#sessions.get(sessionId as string)?.update(update);
    } catch (error) {
      this.#options.log.error("an update could not be handled", { error });
    }
  }

  /** What it gives is the answer, and so is what it throws. */
  #asked(method: string, params: unknown, signal: AbortSignal): unknown {
    if (method !== "session/request_permission") {
      throw new RpcError(RPC.methodNotFound, `Method not found: ${method}`);
    }
    let request;
    try {
      request = parsePermissionRequest(params);
    } catch (error) {
      throw new RpcError(RPC.invalidParams, messageOf(error));
    }
    const outcome = this.#sessions.get(request.sessionId)?.permission(request, signal) ??
      { outcome: "cancelled" };
    return outcome instanceof Promise ? outcome.then((outcome) => ({ outcome })) : { outcome };
  }
}

function explain(error: unknown): string {
  return error instanceof RpcError ? error.explanation : messageOf(error);
}

function asksForLogin(error: unknown): boolean {
  return error instanceof RpcError && error.code === RPC.authRequired;
}
