/** What an agent can do, as it says when it is initialised: pure. @module */

import type { Accepts } from "../turn/agent.ts";
import type { McpServer } from "./mcp.ts";
import type { AuthMethod, InitializeResult } from "./wire.ts";

/** What an agent can do. */
export interface Capabilities {
  /** What it calls itself; the version may be empty. */
  readonly agent: { readonly name: string; readonly version: string } | undefined;
  readonly protocolVersion: number;
  readonly accepts: Accepts;
  /** The method that brings back a session: `resume` tells nothing again, `load` tells all that was said. */
  readonly canResume: "resume" | "load" | undefined;
  readonly canClose: boolean;
  readonly canDelete: boolean;
  /** The kinds of MCP servers that it connects to, beside those that it starts. */
  readonly mcp: { readonly http: boolean; readonly sse: boolean };
  /** The ways to log in to it. */
  readonly authMethods: readonly AuthMethod[];
}

/** Reads an agent's capabilities out of its answer to `initialize`. */
export function capabilitiesOf(result: InitializeResult): Capabilities {
  const { protocolVersion, agentInfo, authMethods, agentCapabilities } = result;
  const { promptCapabilities, mcpCapabilities, sessionCapabilities, loadSession } = agentCapabilities ?? {};
  return {
    agent: agentInfo ? { name: agentInfo.name, version: agentInfo.version ?? "" } : undefined,
    protocolVersion,
    accepts: { image: promptCapabilities?.image ?? false, audio: promptCapabilities?.audio ?? false },
    canResume: sessionCapabilities?.resume ? "resume" : loadSession ? "load" : undefined,
    canClose: sessionCapabilities?.close ?? false,
    canDelete: sessionCapabilities?.delete ?? false,
    mcp: { http: mcpCapabilities?.http ?? false, sse: mcpCapabilities?.sse ?? false },
    authMethods: authMethods ?? [],
  };
}

/** The MCP servers that an agent can be told of, and why others are left out: in words that hold no address. */
export function usableServers(
  servers: readonly McpServer[],
  mcp: Capabilities["mcp"],
): { usable: McpServer[]; warnings: string[] } {
  const usable = servers.filter((server) => !("type" in server) || mcp[server.type]);
  const warnings = servers.flatMap((server) =>
    !("type" in server) || mcp[server.type] ? [] : [
      `The MCP server "${server.name}" is left out: the agent does not connect to servers by ${server.type}.`,
    ]
  );
  return { usable, warnings };
}
