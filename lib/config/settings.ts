/**
 * The table of settings: one row for each. The configuration's type, its loader, the flags, `--help` and the tables in
 * the documents are derived from it.
 *
 * @module
 */

import { z } from "zod";
import { PERMISSION_POLICIES } from "../acp/permission.ts";
import { SESSION_MODES } from "../conversation/resolve.ts";
import { BUSY_MODES } from "../conversation/turn_queue.ts";
import { LOG_LEVELS } from "../core/log.ts";
import { AMBIENT_MODES } from "../events/ambient.ts";
import { URGENCIES } from "../events/wire.ts";
import { ERROR_MODES, HEARTBEATS } from "../openai/response.ts";
import { emotionWords } from "../turn/emotion.ts";
import {
  address,
  agentName,
  boolean,
  command,
  hours,
  list,
  oneOf,
  optionalText,
  seconds,
  variableNames,
  wholeNumber,
} from "./parsers.ts";

/** A row: how a setting is called, read and explained. */
interface Setting {
  /** The variable. The flag is its name without the first word: `VTUBER_ON_BUSY` is `--on-busy`. */
  readonly env: string;
  /** The flag, if it has another name; `null` if there is none. */
  readonly flag?: string | null;
  /** The text that counts if the setting is unset or empty. */
  readonly default?: string;
  readonly parse: z.ZodType<unknown, string>;
  /** The explanation in `--help` and the documents, as sentences. */
  readonly help: string;
}

/** The settings by group and by the name that they have in the configuration. */
const SETTINGS = {
  "Server": {
    enabled: {
      env: "VTUBER_ENABLED",
      parse: boolean,
      help: "`true` starts the server. Otherwise the program prints how to start it, and exits with code 2.",
    },
    listen: {
      env: "GATEWAY_LISTEN",
      default: "127.0.0.1:8080",
      parse: address,
      help: "Address and port to listen on. Port 0 takes a free port and prints it.",
    },
    authKey: {
      env: "VTUBER_AUTH_KEY",
      // Every user of a machine sees the flags of its programs.
      flag: null,
      parse: optionalText,
      help: "API key that every request needs, except for health, readiness and the page's own files.",
    },
    allowedOrigins: {
      env: "VTUBER_ALLOWED_ORIGINS",
      parse: list,
      help: "Web origins allowed without a key, separated by commas. Pages of this machine always are.",
    },
    insecure: {
      env: "VTUBER_INSECURE",
      parse: boolean,
      help: "`true` lets other machines use the server without a key.",
    },
    chatPath: {
      env: "VTUBER_PATH",
      default: "/v1/chat/completions",
      parse: z.string().startsWith("/", "must begin with a slash"),
      help: "One more path for chat completions.",
    },
    maxInFlight: {
      env: "VTUBER_MAX_IN_FLIGHT",
      default: "32",
      parse: wholeNumber(1, 10_000),
      help: "Turns that can run at once. Further requests get status 429 with `Retry-After`.",
    },
    shutdownGraceMs: {
      env: "VTUBER_SHUTDOWN_GRACE_SECS",
      default: "10",
      parse: seconds(0),
      help: "Seconds that running turns may go on when the program is asked to end.",
    },
  },
  "Agents": {
    agentCommand: {
      env: "OPENAB_AGENT_COMMAND",
      parse: command,
      help:
        "Command that starts the agent, such as `opencode acp`. Without an agent, the demo agent answers.",
    },
    agentInheritEnv: {
      env: "OPENAB_AGENT_INHERIT_ENV",
      parse: variableNames,
      help: "Names of variables that the agent inherits, beside PATH, HOME and USER, separated by commas.",
    },
    workingDir: {
      env: "VTUBER_WORKING_DIR",
      default: ".",
      parse: z.string(),
      help: "Folder that the agents work in. `~/` is your home folder.",
    },
    model: {
      env: "VTUBER_DEFAULT_MODEL",
      flag: "model",
      default: "openab",
      parse: agentName,
      help: "Name of the default agent, which answers if a request names no other; not `default`, no `@`.",
    },
    strictModels: {
      env: "VTUBER_STRICT_MODELS",
      parse: boolean,
      help: "`true` answers an unknown model name with status 404. Otherwise the default agent answers.",
    },
  },
  "Permissions": {
    permissions: {
      env: "VTUBER_PERMISSIONS",
      default: "ask",
      parse: oneOf(PERMISSION_POLICIES),
      help:
        "Answer to an agent that asks for a permission: `ask` lets it read, search, think and fetch, and asks " +
        "connected clients about the rest; `allow` lets it do everything; `deny` nothing.",
    },
    permissionTimeoutMs: {
      env: "VTUBER_PERMISSION_TIMEOUT_SECS",
      default: "60",
      parse: seconds(1),
      help: "Seconds that a person has to answer a permission request. Then it is refused.",
    },
  },
  "Conversations": {
    sessions: {
      env: "VTUBER_SESSIONS",
      default: "auto",
      parse: oneOf(SESSION_MODES),
      help:
        "Requests that belong to one conversation: `auto` compares their history, unless they name a conversation; " +
        "`persistent` takes all requests of one key and agent; `stateless` only requests that name one.",
    },
    onBusy: {
      env: "VTUBER_ON_BUSY",
      default: "supersede",
      parse: oneOf(BUSY_MODES),
      help:
        "New request while its conversation is still answering: `supersede` cancels that answer, `queue` waits for " +
        "it, `reject` answers with status 409 and `Retry-After`.",
    },
    sessionTtlMs: {
      env: "VTUBER_SESSION_TTL_HOURS",
      default: "4",
      parse: hours(0.001, 500),
      help: "Hours that an idle conversation keeps its agent session open. A later request resumes it.",
    },
    maxSessions: {
      env: "VTUBER_MAX_SESSIONS",
      default: "10",
      parse: wholeNumber(1, 10_000),
      help: "Agent sessions that stay open. Beyond it the longest idle one is closed, and resumed later.",
    },
    dataDir: {
      env: "VTUBER_DATA_DIR",
      parse: optionalText,
      help: "Folder that remembers conversations, as hashes. `none` keeps nothing on disk. " +
        "Unset, it is `oab-vtuber` in the system's folder for data.",
    },
  },
  "Streams": {
    heartbeat: {
      env: "VTUBER_HEARTBEAT",
      default: "chunk",
      parse: oneOf(HEARTBEATS),
      help:
        "Sign of life in a silent stream: `chunk` sends an empty chunk, `comment` sends OpenAB's comment, which " +
        "breaks some skins, `off` sends nothing.",
    },
    heartbeatMs: {
      env: "VTUBER_HEARTBEAT_SECS",
      default: "10",
      parse: seconds(0.05),
      help: "Seconds of silence before the first sign of life, and between two of them.",
    },
    errors: {
      env: "VTUBER_ERRORS",
      default: "speak",
      parse: oneOf(ERROR_MODES),
      help: "Turn that fails after its stream began: `speak` says so in a sentence, `event` sends an event.",
    },
    replyTimeoutMs: {
      env: "VTUBER_REPLY_TIMEOUT_SECS",
      default: "180",
      parse: seconds(0),
      help: "Seconds that an agent can be silent in a turn before the turn fails. 0 is no limit.",
    },
    turnTimeoutMs: {
      env: "VTUBER_TURN_TIMEOUT_SECS",
      default: "600",
      parse: seconds(0),
      help: "Seconds that a turn can take before it fails. 0 is no limit.",
    },
  },
  "Character": {
    character: {
      env: "VTUBER_CHARACTER",
      parse: optionalText,
      help:
        "Character on the stage: a folder of pictures (`happy.png`, `neutral.webp`, ...), a `.vrm` file, or the " +
        "address of either. Unset, it is the drawn one.",
    },
    emotions: {
      env: "VTUBER_EMOTIONS",
      parse: list.transform(emotionWords),
      help:
        "Words that are emotions when they stand in `[word]`, separated by commas. They replace the built-in words, " +
        "or add to them if the list begins with `+`.",
    },
    clawd: {
      env: "VTUBER_CLAWD",
      parse: boolean,
      help: "`true` shows the agent's work on clawd-on-desk, which can also answer permission requests.",
    },
  },
  "Ambient": {
    ambientEnabled: {
      env: "VTUBER_AMBIENT_ENABLED",
      parse: boolean,
      help: "`true` lets the character speak up by itself, if a client is connected and no turn runs.",
    },
    ambientIntervalMs: {
      env: "VTUBER_AMBIENT_INTERVAL_SECS",
      default: "1800",
      parse: seconds(60),
      help: "Seconds between two times that the agent is asked for something to say.",
    },
    ambientPrompt: {
      env: "VTUBER_AMBIENT_PROMPT",
      default:
        "If there is something worth telling the user now, say it in one or two short sentences, as yourself. " +
        "If not, answer only [silent].",
      parse: z.string(),
      help: "Prompt that the agent gets then.",
    },
    ambientMode: {
      env: "VTUBER_AMBIENT_MODE",
      default: "agent",
      parse: oneOf(AMBIENT_MODES),
      help:
        "`agent` sends the agent's words to clients. `text` sends the prompt to one client, as OpenAB does, " +
        "which posts it back and gets the agent's words as the answer.",
    },
    ambientUrgency: {
      env: "VTUBER_AMBIENT_URGENCY",
      default: "normal",
      parse: oneOf(URGENCIES),
      help: "Urgency that clients are told: `low`, `normal` or `high`.",
    },
  },
  "Log": {
    log: {
      env: "VTUBER_LOG",
      default: "info",
      parse: oneOf(LOG_LEVELS),
      help: "Lowest level that is logged: `debug`, `info`, `warn` or `error`. JSON unless at a terminal.",
    },
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, Setting>>>>;

type Groups = typeof SETTINGS;
type Group = Groups[keyof Groups];
/** The value of a setting, found in whichever group has it. */
type Value<Name, Rows = Group> = Rows extends
  Readonly<Record<Name & string, { parse: infer Parser extends z.ZodType }>> ? z.output<Parser>
  : never;
type SettingName = { [G in keyof Groups]: keyof Groups[G] }[keyof Groups];

/** Every setting as it was read. */
export type Settings = { readonly [Name in SettingName]: Value<Name> };

/** A setting as people see it, in `--help` and in the tables of the documents. */
export interface SettingHelp {
  readonly group: string;
  readonly env: string;
  readonly flag: string | undefined;
  /** The flag takes no value. */
  readonly isSwitch: boolean;
  /** The default as text; empty if there is none. */
  readonly default: string;
  readonly help: string;
}

interface Row extends SettingHelp {
  readonly name: string;
  readonly parse: Setting["parse"];
}

const ROWS: readonly Row[] = Object.entries<Readonly<Record<string, Setting>>>(SETTINGS)
  .flatMap(([group, rows]) => Object.entries(rows).map(([name, setting]) => toRow(group, name, setting)));

function toRow(group: string, name: string, setting: Setting): Row {
  const { env, flag = flagOf(env), default: fallback = "", parse, help } = setting;
  return {
    group,
    name,
    env,
    flag: flag ?? undefined,
    isSwitch: parse === boolean,
    default: fallback,
    parse,
    help,
  };
}

function flagOf(env: string): string {
  return env.replace(/^[A-Z]+_/, "").toLowerCase().replaceAll("_", "-");
}

/** Every setting for people, group by group. */
export const SETTING_HELP: readonly SettingHelp[] = ROWS;

/**
 * Reads every setting; a flag wins over a variable, and an empty text counts as unset. A setting that cannot be read is
 * `undefined`, and named in `mistakes`.
 *
 * @param flags Values of flags by the variable that each stands for.
 */
export function readSettings(
  env: Readonly<Record<string, string>>,
  flags: Readonly<Record<string, string>>,
  mistakes: string[],
): Settings {
  const entries = ROWS.map(({ name, env: variable, default: fallback, parse }) => {
    const result = parse.safeParse(flags[variable]?.trim() || env[variable]?.trim() || fallback);
    if (!result.success) mistakes.push(`${variable}: ${result.error.issues[0]?.message}.`);
    return [name, result.data];
  });
  return Object.fromEntries(entries);
}
