/** Initialises an agent process: its settings, capabilities, log-in, and the MCP servers that it can use. @module */

import { AppError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Redact } from "../core/redact.ts";
import type { PermissionBroker } from "../turn/permission.ts";
import type { QuestionBroker } from "../turn/question.ts";
import { AgentAuth } from "./auth.ts";
import { ClosedError, explain, type JsonRpcPeer, reasonOf, RpcError } from "./json_rpc.ts";
import type { QuietTimes } from "./late_updates.ts";
import type { AgentLifecycleEvent } from "./lifecycle.ts";
import type { PermissionPolicy } from "../turn/permission.ts";
import { classifyProviderError } from "./provider_error.ts";
import type { SettingWarning } from "./session_config.ts";
import { type Capabilities, type McpServer, parseInitializeResult, PROTOCOL_VERSION } from "./wire.ts";

/** Time limits of an agent, in milliseconds. */
export interface AgentTimeouts {
  /** To answer `initialize`, `authenticate` or `session/new`. Slow agents take more than a minute. */
  readonly setupMs: number;
  /** To read a prompt. */
  readonly readMs: number;
  /** To resume or end a session, or to take a mode or a model. */
  readonly resumeMs: number;
  /** To answer a cancelled prompt. After that the prompt counts as cancelled, and its session is given up. */
  readonly cancelMs: number;
  /** After the answer to a prompt, for its last updates. */
  readonly afterPrompt: QuietTimes;
  /** After the answer to `session/load`, for the rest of the history. */
  readonly afterLoad: QuietTimes;
}
/** The {@linkcode AgentTimeouts} that are no setting. */
export const AGENT_TIMEOUTS: Omit<AgentTimeouts, "setupMs"> = {
  readMs: 60_000,
  resumeMs: 20_000,
  cancelMs: 5_000,
  afterPrompt: { silenceMs: 60, maxMs: 200 },
  afterLoad: { silenceMs: 300, maxMs: 5_000 },
};

/** The settings of an agent that hold for each of its processes and sessions. */
export interface AgentSettings {
  /** The working directory of sessions; absolute. */
  readonly cwd: string;
  /** The agent's home directory: `~` in a path. */
  readonly home?: string | undefined;
  /** MCP servers of each session. Servers that the agent cannot use are left out with a warning. */
  readonly mcpServers: readonly McpServer[];
  /** The mode of each session, by the agent's id or name. Default: the agent's choice. */
  readonly mode?: string | undefined;
  /** The model of each session, by the agent's id or name. Default: the agent's choice. */
  readonly model?: string | undefined;
  readonly permissions: PermissionPolicy;
  /** The policies of the keys that have their own, for the turns of these keys. */
  readonly keyPermissions?: readonly PermissionPolicy[] | undefined;
  /** See `AgentConfig.isSessionLimitSet`. */
  readonly isSessionLimitSet?: boolean;
  readonly broker: Pick<PermissionBroker, "ask">;
  /** Asks people what the agent wants to know. Without it every question is cancelled. */
  readonly questions?: Pick<QuestionBroker, "ask"> | undefined;
  /** Whether the caller can run a log-in of the agent in a terminal. */
  readonly canLogInAtTerminal?: boolean | undefined;
  /** This program's version. */
  readonly version: string;
  /** Names of the variables in the agent's environment: a key among them allows a log-in without a person. */
  readonly variables: ReadonlySet<string>;
  readonly log: Log;
  readonly onLifecycle?: ((event: AgentLifecycleEvent) => void) | undefined;
  /** Takes secrets out of the agent's words in errors and in the log. */
  readonly redact?: Redact | undefined;
  readonly timeouts: AgentTimeouts;
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
 * @throws {AppError} `agent_unavailable` if the agent speaks another protocol version than 1. As `JsonRpcPeer.request`
 *   does.
 */
export async function initialize(peer: JsonRpcPeer, settings: AgentSettings): Promise<InitializedAgent> {
  const { cwd, mcpServers, version, variables, log, onLifecycle, timeouts: { setupMs: timeoutMs } } =
    settings;
  const params = {
    protocolVersion: PROTOCOL_VERSION,
    clientCapabilities: {
      fs: { readTextFile: false, writeTextFile: false },
      terminal: false,
      elicitation: { form: {}, url: {} },
      ...settings.canLogInAtTerminal && { auth: { terminal: true } },
    },
    clientInfo: { name: "oab-vtuber", title: "oab-vtuber", version },
  };
  const capabilities = await peer.request("initialize", params, { timeoutMs, read: parseInitializeResult });
  const { agent, protocolVersion, promptCapabilities, resumeMethod, authMethods } = capabilities;
  if (protocolVersion !== PROTOCOL_VERSION) {
    const message =
      `The agent speaks version ${protocolVersion} of the Agent Client Protocol, not ${PROTOCOL_VERSION}.`;
    throw new AppError("agent_unavailable", message, { reason: "protocol_version" });
  }
  log.info("agent ready", {
    program: agent?.name,
    version: agent?.version,
    promptCapabilities,
    resumeMethod,
  });
  onLifecycle?.({ type: "ready", capabilities });
  const auth = new AgentAuth(authMethods, variables, async (methodId) => {
    log.info("logging in to the agent", { method: methodId });
    onLifecycle?.({ type: "authenticating", methodId });
    await peer.request("authenticate", { methodId }, { timeoutMs });
  });
  const warn = (server: McpServer) => warningOf(server, capabilities.mcpTransports);
  const usable = mcpServers.filter((server) => warn(server) === undefined);
  const warnings = mcpServers.map(warn).filter((warning) => warning !== undefined);
  return { capabilities, auth, sessionParams: { cwd, mcpServers: usable }, warnings };
}

/** Turns a failed request of the start-up into an `agent_unavailable` error. */
export function toUnavailable(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const message = error instanceof ClosedError
    ? "The agent's process ended before it was ready."
    : `The agent could not be used: ${explain(error)}`;
  const reason = error instanceof RpcError ? classifyProviderError(explain(error)) : reasonOf(error);
  return new AppError("agent_unavailable", message, { cause: error, reason });
}

/** Explains why an agent cannot use an MCP server, without its address. */
function warningOf(server: McpServer, transports: Capabilities["mcpTransports"]): SettingWarning | undefined {
  if (!("type" in server) || transports[server.type]) return undefined;
  const { name, type } = server;
  const text = `The MCP server "${name}" is left out: the agent does not connect to servers by ${type}.`;
  return { setting: "mcp_servers", name, text };
}
