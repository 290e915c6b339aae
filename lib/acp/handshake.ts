/** How an agent is set up: initialised, logged in to, its sessions opened, brought back, and configured. @module */

import { AppError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { PromptCapabilities } from "../turn/agent.ts";
import type { SessionId } from "../turn/event.ts";
import { AgentAuth } from "./auth.ts";
import { ClosedError, explain, isTimeout, type JsonRpcPeer, reasonOf, request } from "./json_rpc.ts";
import {
  type Ask,
  choicesOf,
  SessionConfig,
  type SessionDefaults,
  type SettingWarning,
} from "./session_config.ts";
import type { AgentLifecycleEvent } from "./lifecycle.ts";
import {
  type AuthMethod,
  type InitializeResult,
  type McpServer,
  parseInitializeResult,
  parseNewSessionResult,
  parseSessionSettings,
  PROTOCOL_VERSION,
} from "./wire.ts";

/** Warnings of one agent that are remembered, so as not to be said for every session. */
const MAX_WARNED = 100;

/** How long an agent may take, in milliseconds. */
export interface AgentTimeouts {
  /** To answer `initialize`, `authenticate` or `session/new`, or to read a prompt: slow ones take a quarter of a minute. */
  readonly setupMs: number;
  /** To bring back a session, to end one, or to take a mode or a model. */
  readonly resumeMs: number;
  /** To take a mode or a model, if it did not answer when it was asked before; without it, as long as then. */
  readonly againMs?: number;
  /** To answer a prompt that was cancelled. */
  readonly cancelMs: number;
}
/** The usual {@linkcode AgentTimeouts}. */
export const AGENT_TIMEOUTS: AgentTimeouts = {
  setupMs: 60_000,
  resumeMs: 20_000,
  againMs: 2_000,
  cancelMs: 10_000,
};

/** How sessions are set up. */
export interface HandshakeOptions {
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
  readonly onLifecycle?: ((event: AgentLifecycleEvent) => void) | undefined;
}

/** How sessions are set up, with what is known of the agent from before. */
export interface HandshakeContext extends HandshakeOptions {
  readonly usual: SessionDefaults;
}

/** What becomes of an answer that makes a session: called before anything that the agent says behind it. */
export interface SessionCallbacks<S> {
  /** The session is there. */
  made(id: SessionId, chosen: SessionConfig): S;
  /** It is there, but came too late: nobody waits for it. */
  late(id: SessionId, chosen: SessionConfig): void;
}

/** A session that was set up. */
export interface NewSession<S> {
  readonly session: S;
  /** What could not be as it was configured, in words. */
  readonly warnings: readonly SettingWarning[];
}

/** Sets up one running agent and its sessions. Made by {@linkcode Handshake.begin}. */
export class Handshake {
  readonly capabilities: Capabilities;
  readonly auth: AgentAuth;
  readonly #peer: JsonRpcPeer;
  readonly #options: HandshakeContext;
  readonly #times: AgentTimeouts;
  readonly #place: { readonly cwd: string; readonly mcpServers: readonly McpServer[] };
  readonly #serverWarnings: readonly SettingWarning[];
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
      await request(this.#peer, { method, params, timeoutMs: ms, read: answered, onLate: answered });
    } catch (error) {
      if (isTimeout(error)) this.#unanswered.add(method);
      else this.#unanswered.delete(method);
      throw error;
    }
  };

  private constructor(
    peer: JsonRpcPeer,
    options: HandshakeContext,
    times: AgentTimeouts,
    capabilities: Capabilities,
  ) {
    this.capabilities = capabilities;
    this.#peer = peer;
    this.#options = options;
    this.#times = times;
    const { usable, warnings } = usableServers(options.mcpServers ?? [], capabilities.mcpTransports);
    this.#place = { cwd: options.cwd, mcpServers: usable };
    this.#serverWarnings = warnings;
    this.auth = new AgentAuth({
      methods: capabilities.authMethods,
      variables: options.variables,
      log: options.log,
      authenticate: (methodId) => {
        options.onLifecycle?.({ type: "authenticating", methodId });
        return this.#ask("authenticate", { methodId }, times.setupMs);
      },
    });
  }

  /**
   * Initialises an agent.
   *
   * @throws {AppError} `agent_unavailable` if it does not answer as an agent of protocol version 1 does.
   */
  static async begin(peer: JsonRpcPeer, options: HandshakeContext, times: AgentTimeouts): Promise<Handshake> {
    const { version, log } = options;
    let result: InitializeResult;
    try {
      const params = {
        protocolVersion: PROTOCOL_VERSION,
        clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
        clientInfo: { name: "oab-vtuber", title: "oab-vtuber", version },
      };
      const { setupMs: ms } = times;
      result = await request(peer, {
        method: "initialize",
        params,
        timeoutMs: ms,
        read: parseInitializeResult,
      });
    } catch (error) {
      throw unavailable(error);
    }
    if (result.protocolVersion !== PROTOCOL_VERSION) {
      throw new AppError(
        "agent_unavailable",
        `The agent speaks version ${result.protocolVersion} of the Agent Client Protocol, not ${PROTOCOL_VERSION}.`,
        { reason: "protocol_version" },
      );
    }
    const capabilities = parseCapabilities(result);
    const { agent, promptCapabilities: accepts, resumeMethod: canResume } = capabilities;
    log.info("agent ready", { program: agent?.name, version: agent?.version, accepts, canResume });
    options.onLifecycle?.({ type: "ready", name: agent?.name, version: agent?.version });
    return new Handshake(peer, options, times, capabilities);
  }

  /**
   * Opens a session, and configures it.
   *
   * @throws {AppError} `agent_auth_required` with the ways to log in, or `agent_unavailable`.
   */
  async create<S>(adopt: SessionCallbacks<S>): Promise<NewSession<S>> {
    const read = <T>(use: (id: SessionId, chosen: SessionConfig) => T) => (result: unknown) => {
      const id = parseNewSessionResult(result).sessionId as SessionId;
      const choices = choicesOf(parseSessionSettings(result));
      this.#options.usual.began(choices);
      const chosen = new SessionConfig(id, choices, this.#change);
      return { id, made: use(id, chosen), chosen };
    };
    try {
      const { id, made, chosen } = await this.auth.withAuth(() =>
        request(this.#peer, {
          method: "session/new",
          params: this.#place,
          timeoutMs: this.#times.setupMs,
          read: read(adopt.made),
          onLate: attempt(read(adopt.late)),
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
   * @throws {AppError} `agent_auth_required` with the ways to log in.
   */
  async resumeSession<S>(id: SessionId, adopt: SessionCallbacks<S>): Promise<S | undefined> {
    const { resumeMethod: canResume } = this.capabilities;
    const { log, mode, usual } = this.#options;
    if (canResume === undefined) {
      log.debug("the agent brings back no sessions", { session: id });
      return undefined;
    }
    const read = <T>(use: (id: SessionId, chosen: SessionConfig) => T) => (result: unknown) => {
      const choices = usual.broughtBack(choicesOf(parseSessionSettings(result)), mode);
      const chosen = new SessionConfig(id, choices, this.#change, usual);
      return { made: use(id, chosen), chosen };
    };
    try {
      const { made, chosen } = await this.auth.withAuth(() =>
        request(this.#peer, {
          method: `session/${canResume}`,
          params: { sessionId: id, ...this.#place },
          timeoutMs: this.#times.resumeMs,
          read: read(adopt.made),
          onLate: read(adopt.late),
        })
      );
      await this.#configure(chosen);
      return made;
    } catch (error) {
      if (error instanceof AppError) throw error;
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
  async #configure(chosen: SessionConfig): Promise<readonly SettingWarning[]> {
    const { resumeMs } = this.#times;
    const over = new AbortController();
    const timer = setTimeout(
      () => over.abort(new Error(`The time for its settings, ${resumeMs / 1000} seconds, is over.`)),
      resumeMs,
    );
    const told = await chosen.configure(this.#options, over.signal).finally(() => clearTimeout(timer));
    const warnings = [...this.#serverWarnings, ...told];
    for (const warning of warnings) {
      const { text } = warning;
      if (this.#warned.has(text) || this.#warned.size >= MAX_WARNED) continue;
      this.#warned.add(text);
      this.#options.log.warn(text);
    }
    return warnings;
  }

  #ask(method: string, params: unknown, ms: number): Promise<unknown> {
    return request(this.#peer, { method, params, timeoutMs: ms, read: (result) => result });
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

function unavailable(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const message = error instanceof ClosedError
    ? "The agent ended before it was ready."
    : `The agent could not be used: ${explain(error)}`;
  return new AppError("agent_unavailable", message, { cause: error, reason: reasonOf(error) });
}

/** What an agent can do. */
export interface Capabilities {
  /** What it calls itself; the version may be empty. */
  readonly agent: { readonly name: string; readonly version: string } | undefined;
  readonly protocolVersion: number;
  readonly promptCapabilities: PromptCapabilities;
  /** The method that brings back a session: `resume` tells nothing again, `load` tells all that was said. */
  readonly resumeMethod: "resume" | "load" | undefined;
  readonly canClose: boolean;
  readonly canDelete: boolean;
  /** The kinds of MCP servers that it connects to, beside those that it starts. */
  readonly mcpTransports: { readonly http: boolean; readonly sse: boolean };
  /** The ways to log in to it. */
  readonly authMethods: readonly AuthMethod[];
}

/** Reads an agent's capabilities out of its answer to `initialize`. */
export function parseCapabilities(result: InitializeResult): Capabilities {
  const { protocolVersion, agentInfo, authMethods, agentCapabilities } = result;
  const { promptCapabilities, mcpCapabilities, sessionCapabilities, loadSession } = agentCapabilities ?? {};
  return {
    agent: agentInfo ? { name: agentInfo.name, version: agentInfo.version ?? "" } : undefined,
    protocolVersion,
    promptCapabilities: {
      image: promptCapabilities?.image ?? false,
      audio: promptCapabilities?.audio ?? false,
    },
    resumeMethod: sessionCapabilities?.resume ? "resume" : loadSession ? "load" : undefined,
    canClose: sessionCapabilities?.close ?? false,
    canDelete: sessionCapabilities?.delete ?? false,
    mcpTransports: { http: mcpCapabilities?.http ?? false, sse: mcpCapabilities?.sse ?? false },
    authMethods: authMethods ?? [],
  };
}

/** The MCP servers that an agent can be told of, and why others are left out: in words that hold no address. */
export function usableServers(
  servers: readonly McpServer[],
  mcp: Capabilities["mcpTransports"],
): { usable: McpServer[]; warnings: SettingWarning[] } {
  const usable = servers.filter((server) => !("type" in server) || mcp[server.type]);
  const warnings = servers.flatMap((server): SettingWarning[] =>
    !("type" in server) || mcp[server.type] ? [] : [{
      setting: "mcp_servers",
      name: server.name,
      text:
        `The MCP server "${server.name}" is left out: the agent does not connect to servers by ${server.type}.`,
    }]
  );
  return { usable, warnings };
}
