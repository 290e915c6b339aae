/** What must not be seen: pure. @module */

import type { Config } from "./load.ts";

/** Characters of a text that is kept secret; shorter ones are words that stand everywhere. */
const SECRET_CHARS = 6;

/** What must not be printed or logged: the key, and whatever agents and MCP servers are given as variables, headers, addresses. */
export function secretsOf(
  { authKey, agents }: Pick<Config, "authKey" | "agents">,
  own: Readonly<Record<string, string>>,
): string[] {
  const given = agents.flatMap(({ env, inheritEnv, mcpServers }) => [
    ...Object.values(env),
    ...inheritEnv.flatMap((name) => own[name] ?? []),
    ...mcpServers.flatMap((server) =>
      "command" in server
        ? server.env.map(({ value }) => value)
        : [server.url, ...server.headers.map(({ value }) => value)]
    ),
  ]);
  return [...authKey ? [authKey] : [], ...given.filter((text) => text.length >= SECRET_CHARS)];
}
