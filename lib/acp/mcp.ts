/** MCP servers, as an agent is told of them with a session. @module */

/** A name and what it is set to. */
export interface NamedValue {
  readonly name: string;
  readonly value: string;
}

/** An MCP server (ACP `McpServer`): a program that the agent starts, or an address that it connects to. */
export type McpServer =
  | {
    readonly name: string;
    readonly command: string;
    readonly args: readonly string[];
    readonly env: readonly NamedValue[];
  }
  | {
    readonly type: "http" | "sse";
    readonly name: string;
    readonly url: string;
    readonly headers: readonly NamedValue[];
  };
