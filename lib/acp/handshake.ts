/** Initialises an agent process: its time limits, capabilities, log-in, and the MCP servers that it can use. @module */

import { AppError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { PromptCapabilities } from "../turn/agent.ts";
import { AgentAuth } from "./auth.ts";
import { ClosedError, explain, type JsonRpcPeer, reasonOf, request } from "./json_rpc.ts";
import type { AgentLifecycleEvent } from "./lifecycle.ts";
import type { SettingWarning } from "./session_config.ts";
import {
  type AuthMethod,
  type InitializeResult,
  type McpServer,
  parseInitializeResult,
  PROTOCOL_VERSION,
} from "./wire.ts";

/** Time limits of an agent, in milliseconds. */
export interface AgentTimeouts {
  /** To answer `initialize`, `authenticate` or `session/new`, or to read a prompt. Slow agents take 15 seconds. */
  readonly setupMs: number;
  /** To resume or end a session, or to take a mode or a model. */
  readonly resumeMs: number;
  /** To take a mode or a model after the last such request timed out. Default: the same as `resumeMs`. */
  readonly againMs?: number;
  /** To answer a cancelled prompt. */
  readonly cancelMs: number;
}
/** The default {@linkcode AgentTimeouts}. */
export const AGENT_TIMEOUTS: AgentTimeouts = {
  setupMs: 60_000,
  resumeMs: 20_000,
  againMs: 2_000,
  cancelMs: 10_000,
};

/** The capabilities of an agent. */
export interface Capabilities {
  /** The agent's own name; the version may be empty. */
  readonly agent: { readonly name: string; readonly version: string } | undefined;
  readonly protocolVersion: number;
  readonly promptCapabilities: PromptCapabilities;
  /** The method that resumes a session: `session/resume` repeats nothing, `session/load` repeats the whole history. */
  readonly resumeMethod: "resume" | "load" | undefined;
  readonly canClose: boolean;
  readonly canDelete: boolean;
  /** Ways in which the agent connects to MCP servers, beside starting them. */
  readonly mcpTransports: { readonly http: boolean; readonly sse: boolean };
  readonly authMethods: readonly AuthMethod[];
}

/** Options of the handshake. */
export interface HandshakeOptions {
  /** The working directory of sessions; absolute. */
  readonly cwd: string;
  /** The MCP servers of sessions. Servers that the agent cannot use are left out with a warning. */
  readonly mcpServers?: readonly McpServer[] | undefined;
  /** This program's version, sent to the agent. */
  readonly version: string;
  /** Names of the variables in the agent's environment: a key among them allows a log-in without a person. */
  readonly variables: ReadonlySet<string>;
  readonly log: Log;
  readonly onLifecycle?: ((event: AgentLifecycleEvent) => void) | undefined;
}

/** An agent process that is ready to open sessions. */
export interface InitializedAgent {
  readonly capabilities: Capabilities;
  readonly auth: AgentAuth;
  /** Parameters of each request that opens or resumes a session. */
  readonly sessionParams: { readonly cwd: string; readonly mcpServers: readonly McpServer[] };
  /** The MCP servers that are left out. */
  readonly warnings: readonly SettingWarning[];
}

/**
 * Initialises an agent process. A log-in is made later, when the agent asks for it.
 *
 * @throws {AppError} `agent_unavailable` if the answer is not one of an ACP agent of protocol version 1.
 */
export async function initialize(
  peer: JsonRpcPeer,
  { cwd, mcpServers = [], version, variables, log, onLifecycle }: HandshakeOptions,
  timeoutMs: number,
): Promise<InitializedAgent> {
  const capabilities = await requestCapabilities(peer, version, timeoutMs);
  const { agent, promptCapabilities, resumeMethod, mcpTransports, authMethods } = capabilities;
  log.info("agent ready", {
    program: agent?.name,
    version: agent?.version,
    promptCapabilities,
    resumeMethod,
  });
  onLifecycle?.({ type: "ready", name: agent?.name, version: agent?.version });
  const auth = new AgentAuth(authMethods, variables, (methodId) => {
    log.info("logging in to the agent", { method: methodId });
    onLifecycle?.({ type: "authenticating", methodId });
    const read = (result: unknown) => result;
    return request(peer, { method: "authenticate", params: { methodId }, timeoutMs, read });
  });
  const { usable, warnings } = usableServers(mcpServers, mcpTransports);
  return { capabilities, auth, sessionParams: { cwd, mcpServers: usable }, warnings };
}

async function requestCapabilities(
  peer: JsonRpcPeer,
  version: string,
  timeoutMs: number,
): Promise<Capabilities> {
  const params = {
    protocolVersion: PROTOCOL_VERSION,
    clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
    clientInfo: { name: "oab-vtuber", title: "oab-vtuber", version },
  };
  let result: InitializeResult;
  try {
    result = await request(peer, { method: "initialize", params, timeoutMs, read: parseInitializeResult });
  } catch (error) {
    throw toUnavailable(error);
  }
  const { protocolVersion } = result;
  if (protocolVersion === PROTOCOL_VERSION) return toCapabilities(result);
  throw new AppError(
    "agent_unavailable",
    `The agent speaks version ${protocolVersion} of the Agent Client Protocol, not ${PROTOCOL_VERSION}.`,
    { reason: "protocol_version" },
  );
}

/** Turns a failed request of the start-up into an `agent_unavailable` error. */
export function toUnavailable(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const message = error instanceof ClosedError
    ? "The agent's process ended before it was ready."
    : `The agent could not be used: ${explain(error)}`;
  return new AppError("agent_unavailable", message, { cause: error, reason: reasonOf(error) });
}

/** Reads an agent's capabilities out of its answer to `initialize`. */
export function toCapabilities(result: InitializeResult): Capabilities {
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

/** Selects the MCP servers that an agent can use. The warnings name the others, without their addresses. */
export function usableServers(
  servers: readonly McpServer[],
  transports: Capabilities["mcpTransports"],
): { usable: McpServer[]; warnings: SettingWarning[] } {
  const usable: McpServer[] = [];
  const warnings: SettingWarning[] = [];
  for (const server of servers) {
    const { name } = server;
    if (!("type" in server) || transports[server.type]) usable.push(server);
    else {
      const text =
        `The MCP server "${name}" is left out: the agent does not connect to servers by ${server.type}.`;
      warnings.push({ setting: "mcp_servers", name, text });
    }
  }
  return { usable, warnings };
}
