/**
 * Generates parts of the docs from the code: the tables of settings, errors, endpoints, commands and scopes, and the
 * doctor's example.
 * `deno task docs` writes them between `<!-- name -->` and `<!-- /name -->`; with `--check` it writes nothing, and fails
 * if a page would change.
 *
 * @module
 */

import { loadConfig } from "../lib/config/load.ts";
import { SETTING_HELP } from "../lib/config/settings.ts";
import { ERROR_STATUS, type ErrorCode } from "../lib/core/errors.ts";
import { NO_LOG } from "../lib/core/log.ts";
import { checkRequirements } from "../lib/doctor/checks.ts";
import { agentFindings, configFindings, linesOf, ok, verdictOf } from "../lib/doctor/report.ts";
import { providerLines } from "../lib/doctor/voice_check.ts";
import { listEndpoints } from "../lib/http/router.ts";
import { REQUIRED_SCOPES, requiredScopes } from "../lib/http/scopes.ts";
import { openServer } from "../lib/server.ts";
import { METRICS } from "../lib/telemetry/metrics.ts";
import { type Scope, SCOPES } from "../lib/turn/caller.ts";
import project from "../deno.json" with { type: "json" };
import { ERROR_DOCS } from "./error_docs.ts";

/** The folder of the pages. */
export const PAGES = new URL("../.github/docs/", import.meta.url);

/** The generated part of a page. */
interface Part {
  readonly page: string;
  /** The name in the markers. */
  readonly name: string;
  readonly generate: () => string | Promise<string>;
}

/** Every generated part. */
export const PARTS: readonly Part[] = [
  { page: "configuration.md", name: "settings", generate: settingsTables },
  { page: "errors.md", name: "errors", generate: errorsTable },
  { page: "http-api.md", name: "endpoints", generate: endpointsTable },
  { page: "events.md", name: "command-scopes", generate: commandsTable },
  { page: "keys.md", name: "scopes", generate: scopesTable },
  { page: "doctor.md", name: "doctor", generate: doctorExample },
  { page: "watching.md", name: "metrics", generate: metricsTable },
];

/**
 * Replaces the text between the markers of a part.
 *
 * @throws {Error} if the page does not have the markers once, in order.
 */
export function replacePart(page: string, name: string, content: string): string {
  const [before, inside, ...more] = page.split(`<!-- ${name} -->`);
  const [, after, ...rest] = inside?.split(`<!-- /${name} -->`) ?? [];
  if (before === undefined || after === undefined || more.length + rest.length > 0) {
    throw new Error(`The page needs <!-- ${name} --> and <!-- /${name} -->, once and in this order.`);
  }
  return `${before}<!-- ${name} -->\n\n${content}\n\n<!-- /${name} -->${after}`;
}

/** Formats a Markdown table as `deno fmt` does: each column as wide as its widest cell. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    `| ${widths.map((width, column) => (row[column] ?? "").padEnd(width)).join(" | ")} |`;
  const [first, ...others] = cells.map(line);
  return [first, line(widths.map((width) => "-".repeat(width))), ...others].join("\n");
}

/** Lists the settings: a heading and a table for each group. */
function settingsTables(): string {
  const groups = Map.groupBy(SETTING_HELP, ({ group }) => group);
  return [...groups].map(([group, settings]) => {
    const rows = settings.map(({ env, flag, isSwitch, default: fallback, help }) => [
      code(env),
      flag === undefined ? "" : code(`--${flag}${isSwitch ? "" : " VALUE"}`),
      fallback === "" ? "" : code(fallback),
      help,
    ]);
    return `### ${group}\n\n${markdownTable(["variable", "flag", "default", "meaning"], rows)}`;
  }).join("\n\n");
}

/** Lists the errors by status. */
function errorsTable(): string {
  const rows = Object.entries(ERROR_STATUS).map(([name, status]) => {
    const [meaning, fix] = ERROR_DOCS[name as ErrorCode];
    return [code(name), String(status), meaning, fix];
  });
  return markdownTable(["code", "status", "meaning", "what to do"], rows);
}

/** Lists the endpoints of a server, which is put together but not started. */
async function endpointsTable(): Promise<string> {
  const { config } = loadConfig({ env: { VTUBER_DATA_DIR: "none" } });
  const machine = { own: {}, windows: false, programFolders: [] };
  await using server = await openServer(config, { ...machine, version: project.version, log: NO_LOG });
  const rows = listEndpoints(server.routes).map(({ route, method, path, summary }) => [
    code(`${method} ${path}`),
    scopesCell(requiredScopes(route, method)),
    summary,
  ]);
  return markdownTable(["endpoint", "scope", "purpose"], rows);
}

/** Lists the commands of the event socket with their scopes. */
function commandsTable(): string {
  const rows = Object.entries(REQUIRED_SCOPES).flatMap(([row, required]) => {
    const name = row.startsWith("ws ") ? row.slice("ws ".length) : undefined;
    return name === undefined ? [] : [[code(name), scopesCell(required)]];
  });
  return markdownTable(["command", "scope"], rows);
}

function scopesCell(required: ReturnType<typeof requiredScopes>): string {
  if (required === "open") return "no key";
  return required.length === 0 ? "any key" : required.map(code).join(" and ");
}

/** The rights that each scope gives. */
const SCOPE_DOCS: Readonly<Record<Scope, string>> = {
  chat: "talk: start turns, and list and forget the conversations of the key",
  audio: "speak and listen",
  embeddings: "get embeddings",
  events: "watch: the state, emotions, tools and speech of the turns of every key",
  permissions: "see and answer what agents ask people: permissions and questions",
  operator: "interrupt turns, and with `chat` make the character say something",
  live: "bring in the chat of a live stream",
  commands:
    "give an agent its own commands, such as `/compact`, in the newest message of a request of the key",
  admin: "read the metrics of the server",
};

/** Lists the scopes. */
function scopesTable(): string {
  const needed: readonly Scope[] = [
    "commands",
    ...Object.values(REQUIRED_SCOPES).flatMap((required) => required === "open" ? [] : required),
  ];
  const rows = SCOPES.map((scope) => [
    code(scope),
    SCOPE_DOCS[scope] + (needed.includes(scope) ? "" : " (nothing needs it in this version)"),
  ]);
  return markdownTable(["scope", "its keys can"], rows);
}

/** Lists the metrics. */
function metricsTable(): string {
  const rows = Object.entries(METRICS).map(([name, metric]) => [
    code(name),
    metric.type,
    "labels" in metric ? metric.labels.map(code).join(", ") : "",
    metric.help,
  ]);
  return markdownTable(["metric", "type", "labels", "meaning"], rows);
}

/** Shows the doctor's report on the demo agent, and on an agent whose program is missing. */
async function doctorExample(): Promise<string> {
  const { config } = loadConfig({ env: { HOME: "/home/me", VTUBER_ENABLED: "true" } });
  const agent = { ...config.agents[0]!, workingDir: "/" };
  const machine = { own: {}, windows: false };
  const general = [
    ...configFindings(config, [], []),
    ok("127.0.0.1:8080 is free to listen on"),
    ok(`conversations are remembered in ${config.dataDir}: 0 so far`),
    ok("ffmpeg makes mp3, opus, aac, flac, and decodes recordings"),
    ok("speech: the built-in voice speaks a word in 630 ms"),
    { ...ok("piper was found. To use it, in config.toml:"), lines: providerLines("piper") },
    ok("transcription: not configured"),
  ];
  const [program] = await checkRequirements(agent, machine);
  const own = [program!, ok("folder: /home/me"), ...agentFindings(DEMO_AGENT)];
  const [missing] = await checkRequirements({ ...agent, command: "codex-acp" }, machine);
  return [
    "```text",
    ...general.flatMap((finding) => linesOf(finding)),
    ...own.flatMap((finding) => linesOf(finding, "openab")),
    verdictOf([...general, ...own]),
    "```",
    "",
    "An agent whose program is missing:",
    "",
    "```text",
    ...linesOf(missing!, "codex"),
    "```",
  ].join("\n");
}

/** The demo agent, as it describes itself. */
const DEMO_AGENT: Parameters<typeof agentFindings>[0] = {
  agent: { name: "oab-vtuber-demo", version: "1" },
  protocolVersion: 1,
  promptCapabilities: { image: true, audio: false },
  resumeMethod: "resume",
  canClose: true,
  canDelete: true,
  mcpTransports: { http: false, sse: false },
  authMethods: [],
  model: undefined,
  models: [],
  mode: undefined,
  modes: [],
  warnings: [],
  startedMs: 58,
};

function code(text: string): string {
  return `\`${text}\``;
}

/** Updates every page, or with `checkOnly` none. @returns The pages that change. */
async function updatePages(checkOnly: boolean): Promise<string[]> {
  const changed: string[] = [];
  for (const { page, name, generate } of PARTS) {
    const url = new URL(page, PAGES);
    const text = await Deno.readTextFile(url);
    const updated = replacePart(text, name, await generate());
    if (updated === text) continue;
    changed.push(page);
    if (!checkOnly) await Deno.writeTextFile(url, updated);
  }
  return changed;
}

if (import.meta.main) {
  const checkOnly = Deno.args.includes("--check");
  const changed = await updatePages(checkOnly);
  for (const page of changed) {
    console.log(checkOnly ? `${page} is not up to date: run deno task docs` : `${page} was updated`);
  }
  if (checkOnly && changed.length > 0) Deno.exit(1);
}
