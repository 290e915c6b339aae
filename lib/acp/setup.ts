/** How an agent is set up: initialised, logged in to, its sessions opened, brought back, and configured. @module */

import type { Log } from "../ops/log.ts";
import type { SessionId } from "../turn/event.ts";
import { Failure } from "../turn/failure.ts";
import { ask, explain, isLate } from "./ask.ts";
import { type Capabilities, capabilitiesOf, usableServers } from "./capabilities.ts";
import { type Ask, Chosen } from "./chosen.ts";
import { Login } from "./login.ts";
import type { McpServer } from "./mcp.ts";
import { choicesOf } from "./models.ts";
import type { Peer } from "./peer.ts";
import { ClosedError } from "./rpc.ts";
import type { Usual } from "./usual.ts";
import {
  type InitializeResult,
  parseInitializeResult,
  parseNewSessionResult,
  parseSessionSettings,
  PROTOCOL_VERSION,
} from "./wire.ts";

/** Warnings of one agent that are remembered, so as not to be said for every session. */
const MAX_WARNED = 100;

/** How long an agent may take, in milliseconds. */
export interface AgentTimes {
  /** To answer `initialize`, `authenticate` or `session/new`, or to read a prompt: slow ones take a quarter of a minute. */
  readonly setupMs: number;
  /** To bring back a session, to end one, or to take a mode or a model. */
  readonly resumeMs: number;
  /** To take a mode or a model, if it did not answer when it was asked before; without it, as long as then. */
  readonly againMs?: number;
  /** To answer a prompt that was cancelled. */
  readonly cancelMs: number;
}
/** The usual {@linkcode AgentTimes}. */
export const AGENT_TIMES: AgentTimes = {
  setupMs: 60_000,
  resumeMs: 20_000,
  againMs: 2_000,
  cancelMs: 10_000,
};

/** How sessions are set up. */
export interface SetupOptions {
  /** The folder that sessions work in; absolute. */
  readonly cwd: string;
  /** The MCP servers that sessions are told of; those that the agent cannot use are left out. */
  readonly mcpServers?: readonly McpServer[] | undefined;
  /** The mode of every session, by its id or name. */
  readonly mode?: string | undefined;
  /** The model of every session, unless another is asked for; by its id or name. */
  readonly model?: string | undefined;
  /** This program's version, told to the agent. */
  readonly version: string;
  /** Names of the variables in the agent's environment: a log-in by variable needs no person. */
  readonly variables: ReadonlySet<string>;
  readonly log: Log;
}

/** How sessions are set up, with what is known of the agent from before. */
export interface SetupContext extends SetupOptions {
  readonly usual: Usual;
}

/** What becomes of an answer that makes a session: called before anything that the agent says behind it. */
export interface Adopt<S> {
  /** The session is there. */
  made(id: SessionId, chosen: Chosen): S;
  /** It is there, but came too late: nobody waits for it. */
  late(id: SessionId, chosen: Chosen): void;
}

/** A session that was set up. */
export interface Made<S> {
  readonly session: S;
  /** What could not be as it was configured, in words. */
  readonly warnings: readonly string[];
}

/** Sets up one running agent and its sessions. Made by {@linkcode Setup.begin}. */
export class Setup {
  readonly capabilities: Capabilities;
  readonly login: Login;
  readonly #peer: Peer;
  readonly #options: SetupContext;
  readonly #times: AgentTimes;
  readonly #place: { readonly cwd: string; readonly mcpServers: readonly McpServer[] };
  readonly #serverWarnings: readonly string[];
  readonly #warned = new Set<string>();
  /** What changes settings, of which the last request was not answered in time, nor since: each is one of a few. */
  readonly #unanswered = new Set<string>();
  /** Asks for a change of a session's settings. An answer that comes late is as good as any. */
  readonly #change: Ask = async (method, params, read) => {
    const { resumeMs, againMs = resumeMs } = this.#times;
    const answered = (result: unknown) => {
      this.#unanswered.delete(method);
      read(result);
    };
    const ms = this.#unanswered.has(method) ? againMs : resumeMs;
    try {
      await ask(this.#peer, { method, params, ms, read: answered, late: answered });
    } catch (error) {
      if (isLate(error)) this.#unanswered.add(method);
      else this.#unanswered.delete(method);
      throw error;
    }
  };

  private constructor(peer: Peer, options: SetupContext, times: AgentTimes, capabilities: Capabilities) {
    this.capabilities = capabilities;
    this.#peer = peer;
    this.#options = options;
    this.#times = times;
    const { usable, warnings } = usableServers(options.mcpServers ?? [], capabilities.mcp);
    this.#place = { cwd: options.cwd, mcpServers: usable };
    this.#serverWarnings = warnings;
    this.login = new Login({
      methods: capabilities.authMethods,
      variables: options.variables,
      log: options.log,
      authenticate: (methodId) => this.#ask("authenticate", { methodId }, times.setupMs),
    });
  }

  /**
   * Initialises an agent.
   *
   * @throws {Failure} `agent_unavailable` if it does not answer as an agent of protocol version 1 does.
   */
  static async begin(peer: Peer, options: SetupContext, times: AgentTimes): Promise<Setup> {
    const { version, log } = options;
    let result: InitializeResult;
    try {
      const params = {
        protocolVersion: PROTOCOL_VERSION,
        clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
        clientInfo: { name: "oab-vtuber", title: "oab-vtuber", version },
      };
      const { setupMs: ms } = times;
      result = await ask(peer, { method: "initialize", params, ms, read: parseInitializeResult });
    } catch (error) {
      throw unavailable(error);
    }
    if (result.protocolVersion !== PROTOCOL_VERSION) {
      throw new Failure(
        "agent_unavailable",
        `The agent speaks version ${result.protocolVersion} of the Agent Client Protocol, not ${PROTOCOL_VERSION}.`,
      );
    }
    const capabilities = capabilitiesOf(result);
    const { agent, accepts, canResume } = capabilities;
    log.info("agent ready", { program: agent?.name, version: agent?.version, accepts, canResume });
    return new Setup(peer, options, times, capabilities);
  }

  /**
   * Opens a session, and configures it.
   *
   * @throws {Failure} `agent_auth_required` with the ways to log in, or `agent_unavailable`.
   */
  async create<S>(adopt: Adopt<S>): Promise<Made<S>> {
    const read = <T>(use: (id: SessionId, chosen: Chosen) => T) => (result: unknown) => {
      const id = parseNewSessionResult(result).sessionId as SessionId;
      const choices = choicesOf(parseSessionSettings(result));
      this.#options.usual.began(choices);
      const chosen = new Chosen(id, choices, this.#change);
      return { id, made: use(id, chosen), chosen };
    };
    try {
      const { id, made, chosen } = await this.login.around(() =>
        ask(this.#peer, {
          method: "session/new",
          params: this.#place,
          ms: this.#times.setupMs,
          read: read(adopt.made),
          late: attempt(read(adopt.late)),
        })
      );
      const warnings = await this.#configure(chosen);
      this.#peer.closed.throwIfAborted();
      this.#options.log.debug("a session was made", { session: id });
      return { session: made, warnings };
    } catch (error) {
      throw unavailable(error);
    }
  }

  /**
   * Brings back a session, and configures it.
   *
   * @returns Nothing if the agent cannot, does not know it, or does not say so in time.
   * @throws {Failure} `agent_auth_required` with the ways to log in.
   */
  async bringBack<S>(id: SessionId, adopt: Adopt<S>): Promise<S | undefined> {
    const { canResume } = this.capabilities;
    const { log, mode, usual } = this.#options;
    if (canResume === undefined) {
      log.debug("the agent brings back no sessions", { session: id });
      return undefined;
    }
    const read = <T>(use: (id: SessionId, chosen: Chosen) => T) => (result: unknown) => {
      const choices = usual.broughtBack(choicesOf(parseSessionSettings(result)), mode);
      const chosen = new Chosen(id, choices, this.#change, usual);
      return { made: use(id, chosen), chosen };
    };
    try {
      const { made, chosen } = await this.login.around(() =>
        ask(this.#peer, {
          method: `session/${canResume}`,
          params: { sessionId: id, ...this.#place },
          ms: this.#times.resumeMs,
          read: read(adopt.made),
          late: read(adopt.late),
        })
      );
      await this.#configure(chosen);
      return made;
    } catch (error) {
      if (error instanceof Failure) throw error;
      log.info("a session could not be brought back", { session: id, error: explain(error) });
      return undefined;
    }
  }

  /** Asks the agent to end a session, or to delete it. Never throws; an agent that does not answer is not waited for. */
  async finish(method: "session/close" | "session/delete", sessionId: SessionId): Promise<void> {
    try {
      await this.#ask(method, { sessionId }, this.#times.resumeMs);
    } catch (error) {
      if (this.#peer.closed.aborted) return;
      this.#options.log.debug(`${method} failed`, { session: sessionId, error: explain(error) });
    }
  }

  /** What cannot be set is a warning: a session of another mode is better than none. */
  async #configure(chosen: Chosen): Promise<readonly string[]> {
    const { resumeMs } = this.#times;
    const over = new AbortController();
    const timer = setTimeout(
      () => over.abort(new Error(`The time for its settings, ${resumeMs / 1000} seconds, is over.`)),
      resumeMs,
    );
    const told = await chosen.configure(this.#options, over.signal).finally(() => clearTimeout(timer));
    const warnings = [...this.#serverWarnings, ...told];
    for (const warning of warnings) {
      if (this.#warned.has(warning) || this.#warned.size >= MAX_WARNED) continue;
      this.#warned.add(warning);
      this.#options.log.warn(warning);
    }
    return warnings;
  }

  #ask(method: string, params: unknown, ms: number): Promise<unknown> {
    return ask(this.#peer, { method, params, ms, read: (result) => result });
  }
}

/** An answer that came too late may also be none. */
function attempt(read: (result: unknown) => unknown): (result: unknown) => void {
  return (result) => {
    try {
      read(result);
    } catch {
      // There is nothing to end.
    }
  };
}

function unavailable(error: unknown): Failure {
  if (error instanceof Failure) return error;
  const message = error instanceof ClosedError
    ? "The agent ended before it was ready."
    : `The agent could not be used: ${explain(error)}`;
  return new Failure("agent_unavailable", message, { cause: error });
}
