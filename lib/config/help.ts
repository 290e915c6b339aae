/** Texts for the terminal: the help, the version, and the banner that tells where to point a skin. Pure. @module */

import type { AppError } from "../core/errors.ts";
import { escapeUnsafe } from "../core/unsafe_text.ts";
import { isLoopback } from "../http/access.ts";
import { type Scope, SCOPES } from "../turn/caller.ts";
import type { Config } from "./load.ts";
import { DEFAULT_SCOPES } from "./new_key.ts";
import { type Setting, SETTING_HELP } from "./settings.ts";

/** The scopes for everything that the page offers: chat, voice, captions, answers to permissions, and a stop button. */
const PAGE_SCOPES: readonly Scope[] = ["chat", "audio", "events", "permissions", "operator"];
/** Characters of a line of `--help` beside its indentation. */
const HELP_COLUMNS = 93;

/** Returns the text of `--help`. */
export function helpText(version: string): string {
  const groups = Map.groupBy(SETTING_HELP, ({ group }) => group);
  const settings = [...groups].map(([group, rows]) =>
    [`${group}:`, ...rows.flatMap(settingLines)].join("\n")
  );
  return `oab-vtuber ${version} gives a character app (a "skin") a coding agent as its brain.

Usage:
  oab-vtuber [flags]            serve
  oab-vtuber doctor [flags]     check the configuration, try its agents, and say what to correct
  oab-vtuber key new            make the key of the owner, as a line for the environment
  oab-vtuber key new NAME [--scopes LIST]
                                make a key for one program, as a table for the configuration file
  oab-vtuber demo-agent         run the built-in demo agent, which speaks ACP over stdin and stdout

Examples:
  Serve on this machine with the demo agent:
    oab-vtuber --enabled
  Serve with an agent of your own:
    oab-vtuber --enabled --agent-command "opencode acp" --working-dir ~/project
  Serve other machines, which need the key that \`oab-vtuber key new\` prints:
    VTUBER_AUTH_KEY=oab_... oab-vtuber --enabled --listen 0.0.0.0:8080
  Make a key with which an overlay can only watch:
    oab-vtuber key new overlay --scopes events

Flags:
  --config FILE                 configuration file with [agent] or [agents.NAME], as OpenAB's, and
                                [keys.NAME] (or the variable OPENAB_CONFIG)
  --scopes LIST                 scopes of a new key, separated by commas [${DEFAULT_SCOPES}]:
                                ${SCOPES.slice(0, 5).join(", ")},
                                ${SCOPES.slice(5).join(", ")}
  --version, -V                 print the version
  --licenses                    print the licences of the software in the program
  --help, -h                    print this text

Settings: each is a variable, and a flag in parentheses, which wins. Defaults are in brackets.

${settings.join("\n\n")}`;
}

function settingLines({ env, flag, isSwitch, default: fallback, help }: Setting): string[] {
  const flagText = flag ? `  (--${flag}${isSwitch ? "" : " VALUE"})` : "";
  const text = fallback ? `${help} [${fallback}]` : help;
  const lines = text.match(new RegExp(`\\S.{0,${HELP_COLUMNS}}(?= |$)`, "g")) ?? [];
  return [`  ${env}${flagText}`, ...lines.map((line) => `      ${line}`)];
}

/** Returns the text of `--version`. It tells how the executable was made, because not every way is fit for a release. */
export function versionText(
  version: string,
  deno: string,
  build: { readonly standalone: boolean; readonly target: string },
): string {
  const kind = build.standalone ? `executable on Deno ${deno}` : `source, run by Deno ${deno}`;
  return `oab-vtuber ${version} (${kind}, ${build.target})`;
}

/** Describes how an agent is started. The arguments are only counted, because they may hold secrets. */
export function describeCommand(command: string, args: readonly string[]): string {
  if (args.length === 0) return command;
  return `${command} with ${args.length} ${args.length === 1 ? "argument" : "arguments"}`;
}

/** Formats an address; `here` is for a program of this machine, to which an address of every network means loopback. */
export function addressText(
  { hostname, port }: { readonly hostname: string; readonly port: number },
  here = false,
): string {
  const host = here && ["0.0.0.0", "::"].includes(hostname) ? "127.0.0.1" : hostname;
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/**
 * Returns the banner of a server that listens. The key of the owner is at most in the link to the page, in the part that
 * a browser does not send.
 *
 * @param isTerminal Only a person reads the banner; otherwise it may end in a log, and has no key.
 */
export function banner(
  address: { readonly hostname: string; readonly port: number },
  config: Pick<Config, "authKey" | "keys" | "model" | "agents" | "tlsCert">,
  isTerminal: boolean,
): string {
  const { authKey, keys } = config;
  const url = `${config.tlsCert ? "https" : "http"}://${addressText(address, true)}`;
  const [variable, skinKey] = authKey !== undefined
    ? [
      "$VTUBER_AUTH_KEY",
      keys.length > 0 ? "one of [keys.NAME], or your VTUBER_AUTH_KEY" : "your VTUBER_AUTH_KEY",
    ]
    : keys.length > 0
    ? ["$KEY", "one of [keys.NAME]"]
    : [undefined, "anything"];
  const header = variable ? ` -H "Authorization: Bearer ${variable}"` : "";
  const body = JSON.stringify({
    model: config.model,
    stream: true,
    messages: [{ role: "user", content: "Hello!" }],
  });
  const [agent, ...others] = config.agents;
  const program = agent?.command === undefined
    ? "the built-in demo agent (set OPENAB_AGENT_COMMAND for a real one)"
    : describeCommand(agent.command, agent.args);
  const agents = others.length === 0
    ? ""
    : `\n  Agents:      ${config.model} (the default), ${others.map(({ name }) => name).join(", ")}`;
  const open = isLoopback(address.hostname)
    ? ""
    : `\n  Listening on ${addressText(address)}: other machines reach it too.`;
  return `oab-vtuber serves at ${url} with ${program}${open}

  Open it:     ${url}/${pageKey(config, isTerminal)}
  Try it:      curl -N ${url}/v1/chat/completions${header} -H "content-type: application/json" -d '${body}'
  Your skin:   base address ${url}/v1 (or ${url}, if it adds /v1 itself), any model name, API key: ${skinKey}${agents}
`;
}

/** Returns the part of the link to the page that logs in, or says where its key comes from. */
function pageKey({ authKey, keys }: Pick<Config, "authKey" | "keys">, isTerminal: boolean): string {
  if (authKey !== undefined && !isTerminal) return "  The page asks for a key, such as your VTUBER_AUTH_KEY.";
  if (authKey !== undefined) return `#key=${encodeURIComponent(authKey)}`;
  if (keys.length === 0) return "";
  return `  The page asks for a key. To make a key for the page:
               oab-vtuber key new page --scopes ${PAGE_SCOPES.join(",")}`;
}

/** Returns the text below the banner about an agent that cannot be used. */
export function unavailableText(agent: string, { message }: AppError): string {
  return `  The agent ${agent} cannot answer: ${escapeUnsafe(message)}
  Until it can, every message gets an error. \`oab-vtuber doctor\`, with the same settings, says more.
`;
}
