/** What the program prints for people: its help, its version, and where to point a skin. Pure. @module */

import { isLoopback } from "../http/access.ts";
import type { Config } from "./load.ts";
import { SETTING_HELP } from "./settings.ts";

/** `--help`. */
export function helpText(version: string): string {
  const settings = SETTING_HELP.flatMap(({ env, flag, isSwitch, default: fallback, help }) => [
    `  ${env}${flag ? `  (--${flag}${isSwitch ? "" : " VALUE"})` : ""}${fallback ? `  [${fallback}]` : ""}`,
    `      ${help}`,
  ]);
  return `oab-vtuber ${version}: gives a character app a coding agent as its brain.

Usage:
  VTUBER_ENABLED=true oab-vtuber [flags]      serve
  oab-vtuber doctor [flags]                   checks the configuration and its agents, and says how to fix them
  oab-vtuber demo-agent                       the built-in ACP agent, over stdin and stdout

Flags:
  --config FILE   configuration file with [agent] and [agents.NAME] tables, as OpenAB's (or OPENAB_CONFIG)
  --version, -V   what this is
  --help, -h      this text

Settings, as variables (or flags, which win):
${settings.join("\n")}`;
}

/** `--version`: also how the executable was made, since not every way is fit for a release. */
export function versionText(
  version: string,
  deno: string,
  build: { readonly standalone: boolean; readonly target: string },
): string {
  const how = build.standalone ? `executable on Deno ${deno}` : `source, run by Deno ${deno}`;
  return `oab-vtuber ${version} (${how}, ${build.target})`;
}

/** What is printed once the server listens. The key is in the link to the page only, where no server sees it. */
export function banner(
  address: { readonly hostname: string; readonly port: number },
  config: Pick<Config, "authKey" | "model" | "agents">,
): string {
  const host = address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname;
  const here = ["0.0.0.0", "[::]"].includes(host) ? "127.0.0.1" : host;
  const url = `http://${here}:${address.port}`;
  const key = config.authKey ? ' -H "Authorization: Bearer $VTUBER_AUTH_KEY"' : "";
  const body = JSON.stringify({
    model: config.model,
    stream: true,
    messages: [{ role: "user", content: "Hello!" }],
  });
  const [agent, ...others] = config.agents;
  const program = agent?.command ?? "the built-in demo agent (set OPENAB_AGENT_COMMAND for a real one)";
  const agents = others.length === 0
    ? ""
    : `\n  Agents:      ${config.model} (the default), ${others.map(({ name }) => name).join(", ")}`;
  const open = isLoopback(address.hostname) ? "" : `\n  Listening on ${host}: other machines reach it too.`;
  return `oab-vtuber serves at ${url} with ${program}${open}

  Open it:     ${url}/${config.authKey ? `#key=${encodeURIComponent(config.authKey)}` : ""}
  Try it:      curl -N ${url}/v1/chat/completions${key} -H "content-type: application/json" -d '${body}'
  Your skin:   base address ${url}/v1 (or ${url}, where it adds /v1 itself), any model name, API key: ${
    config.authKey ? "your VTUBER_AUTH_KEY" : "anything"
  }${agents}
`;
}
