/** One running agent: initialised, with its sessions. @module */

import { settlesWithin } from "../core/deadline.ts";
import type { Log } from "../core/log.ts";
import { untilAborted } from "../core/abortable.ts";
import type { SessionId } from "../turn/event.ts";
import { messageOf } from "../core/errors.ts";
import type { PermissionBroker } from "../turn/permission.ts";
import type { Capabilities } from "./handshake.ts";
import type { SessionConfig } from "./session_config.ts";
import type { AgentCommands } from "./command_guard.ts";
import { JsonRpcPeer } from "./json_rpc.ts";
import type { PermissionPolicy } from "./permission.ts";
import type { AgentProcess } from "./process.ts";
import { RPC, RpcError } from "./json_rpc.ts";
import type { Redact } from "../core/redact.ts";
import { AcpSession, type SessionDeps } from "./session.ts";
import { type AgentTimeouts, Handshake, type HandshakeContext, type NewSession } from "./handshake.ts";
import { parsePermissionRequest, parseSessionUpdate } from "./wire.ts";

/** How long what was still to be read from an ended agent, or written to it, may take, in milliseconds. */
const LAST_WORDS_MS = 500;

/** Sessions that live on in an agent that closes none; beyond it the oldest is no longer known. */
const MAX_LEFT = 100;

/** What a connection is made of. */
export interface ConnectionOptions extends HandshakeContext {
  readonly link: AgentProcess;
  readonly permissions: PermissionPolicy;
  readonly broker: Pick<PermissionBroker, "ask">;
  readonly log: Log;
  readonly times: AgentTimeouts;
  /** The commands of the agent, kept from one of its processes to the next. */
  readonly commands: AgentCommands;
  /** Whether a path exists, seen from the working directory. */
  pathExists(path: string): boolean;
  /** Takes secrets out of the agent's errors. */
  readonly redact?: Redact | undefined;
  /** The agent said something that cannot be read; `why` says in which way. */
  skipped(line: string, why: string): void;
  /** A prompt was answered, or can no longer be. */
  promptEnded(answered: boolean): void;
  /** A session does not answer its cancelled prompt: the connection should serve no more. */
  stuck(): void;
}

/** A connection to one agent process. Made by {@linkcode Connection.open}. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #peer: JsonRpcPeer;
  readonly #sessions = new Map<SessionId, AcpSession>();
  readonly #stuck = new Set<AcpSession>();
  /** What is done about sessions that are closed: one thing after another for each, all of them limited in time. */
  readonly #lines = new Map<SessionId, Promise<void>>();
  /** Sessions that were closed here, but not by the agent, which cannot. */
  readonly #left = new Map<SessionId, SessionConfig>();
  #setup!: Handshake;
  #retired = false;
  #stopping: Promise<void> | undefined;

  private constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#peer = new JsonRpcPeer(options.link, {
      onNotification: (method, params) => this.#notified(method, params),
      onRequest: (method, params, signal) => this.#asked(method, params, signal),
      onInvalidLine: (line, why) => options.skipped(line, why),
    }, options.redact);
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
      connection.#setup = await Handshake.begin(connection.#peer, options, options.times);
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

  /** What the agent can do. */
  get capabilities(): Capabilities {
    return this.#setup.capabilities;
  }

  /**
   * Opens a session, logging in if the agent asks for it and that needs no person.
   *
   * @throws {Failure} `agent_auth_required` with the ways to log in, or `agent_unavailable`.
   */
  newSession(): Promise<NewSession<AcpSession>> {
    return this.#setup.create({
      made: (id, chosen) => this.#adopt(id, chosen),
      late: (id) => {
        if (this.capabilities.canClose) this.#setup.finish("session/close", id);
      },
    });
  }

  /**
   * Brings back a session that was closed. One that is open is somebody's: it is given to nobody else.
   *
   * @returns Nothing if that cannot be done in time.
   * @throws {Failure} `agent_auth_required`; the signal's reason if it has aborted.
   */
  async resume(id: SessionId, signal: AbortSignal): Promise<AcpSession | undefined> {
    const turn = Promise.withResolvers<void>();
    let isLate = false;
    const coming = this.#inLine(id, async () => {
      turn.resolve();
      return isLate ? undefined : await this.#bringBack(id, signal);
    });
    if (await settlesWithin(this.#options.times.resumeMs, turn.promise)) return await coming;
    isLate = true;
    return undefined;
  }

  /** Ends a session for good: it is deleted where the agent can do that. Never throws. */
  forget(id: SessionId): Promise<void> {
    this.#sessions.get(id)?.close();
    return this.#inLine(id, async () => {
      const session = this.#sessions.get(id);
      if (session) await this.#endNow(session);
      this.#left.delete(id);
      if (this.capabilities.canDelete) await this.#setup.finish("session/delete", id);
    });
  }

  /** Serves what is running and then ends; sessions that do not answer are not waited for. */
  retire(): void {
    this.#retired = true;
    this.#stopIfDone();
  }

  /** Ends the agent: cancels what is running, closes its input, then as {@linkcode AgentProcess.stop} does. */
  stop(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  async #stop(): Promise<void> {
    for (const session of this.#sessions.values()) session.close();
    let ended = Promise.resolve();
    // Not waited for: an agent that does not read would hold it up.
    await this.#options.link.stop(() => {
      ended = this.#peer.endInput();
    });
    await this.#peer.close("The agent was stopped.");
    await settlesWithin(LAST_WORDS_MS, ended);
  }

  /** A process that the agent started may hold its streams open when it is gone: its last words are not waited for. */
  async #closeAfterExit(): Promise<void> {
    const how = await this.#options.link.exited;
    if (!await settlesWithin(LAST_WORDS_MS, untilAborted(this.closed))) {
      await this.#peer.close(`The agent ${how}.`);
    }
  }

  #stopIfDone(): void {
    if (!this.#retired) return;
    for (const session of this.#sessions.values()) {
      if (session.isBusy && !this.#stuck.has(session)) return;
    }
    this.stop().catch((error) => this.#options.log.error("stopping an agent failed", { error }));
  }

  #sessionLink(): SessionDeps {
    const { permissions, broker, log, times, commands, pathExists } = this.#options;
    return {
      peer: this.#peer,
      promptCapabilities: this.capabilities.promptCapabilities,
      permissions,
      broker,
      log,
      commands,
      pathExists,
      promptTimeoutMs: times.setupMs,
      cancelGraceMs: times.cancelMs,
      authRequired: (why) => this.#setup.auth.needed(why),
      onUnresponsive: (session, why) => {
        log.warn(why, { session: session.id });
        this.#stuck.add(session);
        this.#options.stuck();
        this.#stopIfDone();
      },
      onPromptEnd: (session, answered) => {
        this.#stuck.delete(session);
        this.#options.promptEnded(answered);
        this.#stopIfDone();
      },
      onClose: (session) => {
        this.#inLine(session.id, () => this.#leave(session));
      },
    };
  }

  #adopt(id: SessionId, chosen: SessionConfig): AcpSession {
    const session = new AcpSession(id, chosen, this.#sessionLink());
    this.#sessions.set(id, session);
    if (chosen.models.length > 0) this.#options.usual.models = chosen.models;
    return session;
  }

  async #bringBack(id: SessionId, signal: AbortSignal): Promise<AcpSession | undefined> {
    signal.throwIfAborted();
    if (this.#sessions.has(id)) return undefined;
    const left = this.#left.get(id);
    if (left) {
      this.#left.delete(id);
      return this.#adopt(id, left);
    }
    const session = await this.#setup.resumeSession(id, {
      made: (id, chosen) => this.#adopt(id, chosen),
      late: (id, chosen) => {
        this.#inLine(id, async () => {
          if (!this.#sessions.has(id)) await this.#end(id, chosen);
        });
      },
    });
    if (session === undefined || !signal.aborted) return session;
    // Whoever waited has gone. Who comes next stands in line already: it is ended before their turn.
    await this.#endNow(session);
    throw signal.reason;
  }

  /** Closes a session in the place of the line where this is called. */
  async #endNow(session: AcpSession): Promise<void> {
    const ended = this.#leave(session);
    session.close();
    await ended;
  }

  /** Lets a closed session go, once its last prompt has ended. */
  async #leave(session: AcpSession): Promise<void> {
    if (session.isBusy) await session.idle;
    if (this.#sessions.get(session.id) !== session) return;
    this.#sessions.delete(session.id);
    await this.#end(session.id, session.config);
  }

  /** Lets the agent end a session; one that cannot goes on with it when it is asked for. */
  async #end(id: SessionId, chosen: SessionConfig): Promise<void> {
    if (this.capabilities.canClose) return await this.#setup.finish("session/close", id);
    this.#left.set(id, chosen);
    for (const oldest of this.#left.keys()) {
      if (this.#left.size <= MAX_LEFT) break;
      this.#left.delete(oldest);
    }
  }

  /** Does it when all that was to be done about this session before is done; at once if that is nothing. */
  #inLine<T>(id: SessionId, job: () => Promise<T>): Promise<T> {
    const before = this.#lines.get(id);
    const done = before ? before.then(job) : job();
    const line: Promise<void> = done.then(() => {}, () => {}).then(() => {
      if (this.#lines.get(id) === line) this.#lines.delete(id);
    });
    this.#lines.set(id, line);
    return done;
  }

  #notified(method: string, params: unknown): void {
    if (method !== "session/update" || typeof params !== "object" || params === null) return;
    const { sessionId, update } = params as { sessionId?: SessionId; update?: unknown };
    if (typeof update !== "object" || update === null) return;
    try {
      this.#learnCommands(update);
      this.#sessions.get(sessionId as SessionId)?.onUpdate(update);
    } catch (error) {
      this.#options.log.error("an update could not be handled", { error });
    }
  }

  /** Agents announce their commands at any time, also for a session whose `session/new` is not answered yet. */
  #learnCommands(update: object): void {
    if ((update as { sessionUpdate?: unknown }).sessionUpdate !== "available_commands_update") return;
    const known = parseSessionUpdate(update);
    if (known?.sessionUpdate !== "available_commands_update") return;
    this.#options.commands.add(known.availableCommands.map(({ name }) => name));
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
    const outcome =
      this.#sessions.get(request.sessionId as SessionId)?.onPermissionRequest(request, signal) ??
        { outcome: "cancelled" };
    return outcome instanceof Promise ? outcome.then((outcome) => ({ outcome })) : { outcome };
  }
}
