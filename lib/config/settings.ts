/**
 * The table of settings: one row for each. The configuration's type, its loader, the flags, `--help` and the tables in
 * the documents are derived from it.
 *
 * @module
 */

import type { z } from "zod";
import { PERMISSION_POLICIES } from "../turn/permission.ts";
import { SESSION_MODES } from "../conversation/resolve.ts";
import { BUSY_MODES } from "../conversation/turn_queue.ts";
import { LOG_LEVELS } from "../core/log.ts";
import { AMBIENT_MODES } from "../events/ambient.ts";
import { URGENCIES } from "../events/wire.ts";
import { ERROR_MODES, HEARTBEATS } from "../openai/response.ts";
import { SPEECH_PROVIDERS, TRANSCRIPTION_PROVIDERS } from "../speech/config.ts";
import { emotionWords } from "../turn/emotion.ts";
import {
  address,
  agentName,
  boolean,
  command,
  hours,
  list,
  oneOf,
  optional,
  optionalText,
  seconds,
  text,
  urlPath,
  variableNames,
  wholeNumber,
} from "./parsers.ts";
import { baseUrl, upstreamKey } from "./upstreams.ts";

/** A row of the table. */
export interface Setting<T = unknown> {
  readonly group: string;
  readonly env: string;
  readonly flag: string | undefined;
  /** The flag takes no value. */
  readonly isSwitch: boolean;
  /** The text that counts if the setting is unset or empty. */
  readonly default: string;
  readonly parse: z.ZodType<T, string>;
  /** The explanation in `--help` and the documents, as sentences. */
  readonly help: string;
}

/** Begins a row. The flag is the variable without its first word: `VTUBER_ON_BUSY` is `--on-busy`. */
function setting<T>(group: string, env: string, parse: z.ZodType<T, string>, fallback = "") {
  const flag = env.replace(/^[A-Z]+_/, "").toLowerCase().replaceAll("_", "-");
  const isSwitch = Object.is(parse, boolean);
  return {
    describe: (help: string): Setting<T> => ({ group, env, flag, isSwitch, default: fallback, parse, help }),
  };
}

const AMBIENT_PROMPT =
  "If there is something worth telling the user now, say it in one or two short sentences, as yourself. " +
  "If not, answer only [silent].";

/** The settings by the name that they have in the configuration. */
const SETTINGS = {
  enabled: setting("Server", "VTUBER_ENABLED", boolean)
    .describe(
      "`true` starts the server. Otherwise the program prints how to start it, and exits with code 2.",
    ),
  listen: setting("Server", "GATEWAY_LISTEN", address, "127.0.0.1:8080")
    .describe("Address and port to listen on. Port 0 takes a free port and prints it."),
  tlsCert: setting("Server", "VTUBER_TLS_CERT", optionalText).describe(
    "File of the certificate (PEM), with which the server speaks https. It needs `VTUBER_TLS_KEY` too.",
  ),
  tlsKey: setting("Server", "VTUBER_TLS_KEY", optionalText)
    .describe("File of the certificate's private key (PEM), without a password."),
  authKey: {
    ...setting("Server", "VTUBER_AUTH_KEY", optionalText)
      .describe(
        "API key of the owner, with every scope but `commands`. Once it or a `[keys.NAME]` is set, every request " +
          "needs a key, except for health, readiness and the page's own files.",
      ),
    // Every user of a machine sees the flags of its programs.
    flag: undefined,
  },
  allowedOrigins: setting("Server", "VTUBER_ALLOWED_ORIGINS", list)
    .describe("Web origins allowed without a key, separated by commas. Pages of this machine always are."),
  insecure: setting("Server", "VTUBER_INSECURE", boolean)
    .describe("`true` lets other machines use the server without a key."),
  chatPath: setting("Server", "VTUBER_PATH", urlPath, "/v1/chat/completions")
    .describe("One more path for chat completions."),
  maxInFlight: setting("Server", "VTUBER_MAX_IN_FLIGHT", wholeNumber(1, 10_000), "32")
    .describe("Turns that can run at once. Further requests get status 429 with `Retry-After`."),
  shutdownGraceMs: setting("Server", "VTUBER_SHUTDOWN_GRACE_SECS", seconds(0), "10")
    .describe("Seconds that running turns may go on when the program is asked to end."),

  agentCommand: setting("Agents", "OPENAB_AGENT_COMMAND", command)
    .describe("Command that starts the agent, such as `opencode acp`. Without it, the demo agent answers."),
  agentInheritEnv: setting("Agents", "OPENAB_AGENT_INHERIT_ENV", variableNames)
    .describe("Names of variables that the agent inherits beside PATH, HOME and USER, separated by commas."),
  agentStartMs: setting("Agents", "VTUBER_AGENT_START_SECS", seconds(1), "180")
    .describe(
      "Seconds that an agent can take to start, and again to open a session. Then it is started anew.",
    ),
  workingDir: setting("Agents", "VTUBER_WORKING_DIR", text, ".")
    .describe("Folder that the agents work in. `~/` is your home folder."),
  model: {
    ...setting("Agents", "VTUBER_DEFAULT_MODEL", agentName, "openab")
      .describe(
        "Name of the default agent, which answers if a request names no other; not `default`, no `@`.",
      ),
    flag: "model",
  },
  strictModels: setting("Agents", "VTUBER_STRICT_MODELS", boolean)
    .describe("`true` answers an unknown model name with status 404, instead of with the default agent."),

  permissions: setting("Permissions", "VTUBER_PERMISSIONS", oneOf(PERMISSION_POLICIES), "ask").describe(
    "Answer to an agent that asks for a permission: `ask` lets it think, and read and search its folder, and asks " +
      "connected clients about the rest; `allow` lets it do everything; `deny` nothing.",
  ),
  permissionTimeoutMs: setting("Permissions", "VTUBER_PERMISSION_TIMEOUT_SECS", seconds(1), "60")
    .describe("Seconds that a person has to answer a permission request. Then it is refused."),

  sessions: setting("Conversations", "VTUBER_SESSIONS", oneOf(SESSION_MODES), "auto").describe(
    "Requests that belong to one conversation: `auto` compares their history, unless they name a conversation; " +
      "`persistent` takes all requests of one key and agent; `stateless` only requests that name one.",
  ),
  onBusy: setting("Conversations", "VTUBER_ON_BUSY", oneOf(BUSY_MODES), "supersede").describe(
    "New request while its conversation is still answering: `supersede` cancels that answer, `queue` waits for " +
      "it, `reject` answers with status 409 and `Retry-After`.",
  ),
  sessionTtlMs: setting("Conversations", "VTUBER_SESSION_TTL_HOURS", hours(0.001, 500), "4")
    .describe("Hours that an idle conversation keeps its agent session open. A later request resumes it."),
  maxSessions: setting("Conversations", "VTUBER_MAX_SESSIONS", wholeNumber(1, 10_000), "10")
    .describe(
      "Agent sessions that stay open. Beyond it the longest idle one is closed, and resumed later. Unset, an agent " +
        "with a process for each session (Claude, pi) keeps 4.",
    ),
  dataDir: setting("Conversations", "VTUBER_DATA_DIR", optionalText).describe(
    "Folder that remembers conversations, as hashes, and responses with `store: true`, as text. `none` keeps " +
      "nothing on disk. " +
      "Unset, it is `oab-vtuber` in the system's folder for data.",
  ),

  heartbeat: setting("Streams", "VTUBER_HEARTBEAT", oneOf(HEARTBEATS), "chunk").describe(
    "Sign of life in a silent stream: `chunk` sends an empty chunk, `comment` sends OpenAB's comment, which " +
      "breaks some skins, `off` sends nothing.",
  ),
  heartbeatMs: setting("Streams", "VTUBER_HEARTBEAT_SECS", seconds(0.05), "10")
    .describe("Seconds of silence before the first sign of life, and between two of them."),
  errors: setting("Streams", "VTUBER_ERRORS", oneOf(ERROR_MODES), "speak")
    .describe(
      "Turn that fails after its stream began: `speak` says so in a sentence, `event` sends an event.",
    ),
  replyTimeoutMs: setting("Streams", "VTUBER_REPLY_TIMEOUT_SECS", seconds(0), "180")
    .describe("Seconds that an agent can be silent in a turn before the turn fails. 0 is no limit."),
  turnTimeoutMs: setting("Streams", "VTUBER_TURN_TIMEOUT_SECS", seconds(0), "600")
    .describe("Seconds that a turn can take before it fails. 0 is no limit."),

  character: setting("Character", "VTUBER_CHARACTER", optionalText).describe(
    "Character on the stage: a folder of pictures (`happy.png`, `neutral.webp`, ...), a `.vrm` file, or the " +
      "address of either. Unset, it is the drawn one.",
  ),
  emotions: setting("Character", "VTUBER_EMOTIONS", list.transform(emotionWords)).describe(
    "Words that are emotions when they stand in `[word]`, separated by commas. They replace the built-in words, " +
      "or add to them if the list begins with `+`.",
  ),
  clawd: setting("Character", "VTUBER_CLAWD", boolean)
    .describe("`true` shows the agent's work on clawd-on-desk, which can also answer permission requests."),

  ambientEnabled: setting("Ambient", "VTUBER_AMBIENT_ENABLED", boolean)
    .describe("`true` lets the character speak up by itself, if a client is connected and no turn runs."),
  ambientIntervalMs: setting("Ambient", "VTUBER_AMBIENT_INTERVAL_SECS", seconds(60), "1800")
    .describe("Seconds between two times that the agent is asked for something to say."),
  ambientPrompt: setting("Ambient", "VTUBER_AMBIENT_PROMPT", text, AMBIENT_PROMPT)
    .describe("Prompt that asks the agent for something to say."),
  ambientMode: setting("Ambient", "VTUBER_AMBIENT_MODE", oneOf(AMBIENT_MODES), "agent").describe(
    "`agent` sends the agent's words to clients. `text` sends the prompt to one client, as OpenAB does, " +
      "which posts it back and gets the agent's words as the answer.",
  ),
  ambientUrgency: setting("Ambient", "VTUBER_AMBIENT_URGENCY", oneOf(URGENCIES), "normal")
    .describe("Urgency that clients are told: `low`, `normal` or `high`."),

  speechProvider: setting("Voice", "VTUBER_SPEECH_PROVIDER", optional(oneOf(SPEECH_PROVIDERS))).describe(
    "Provider that speaks: `builtin`, `command`, `upstream` or `off`. Unset, it is the one whose command or address " +
      "is set, and otherwise `builtin`.",
  ),
  speechCommand: setting("Voice", "VTUBER_SPEECH_COMMAND", command)
    .describe("Program that speaks, such as `espeak-ng --stdin --stdout`. It gets text, and returns WAV."),
  speechBaseUrl: setting("Voice", "VTUBER_SPEECH_BASE_URL", optional(baseUrl))
    .describe("Address of an OpenAI-compatible server that speaks, such as `http://127.0.0.1:8880/v1`."),
  speechKey: {
    ...setting("Voice", "VTUBER_SPEECH_KEY", optional(upstreamKey)).describe("Key of that server."),
    flag: undefined,
  },
  speechModel: setting("Voice", "VTUBER_SPEECH_MODEL", optionalText)
    .describe("Model of that server. Unset, the client names it."),
  speechVoices: setting("Voice", "VTUBER_SPEECH_VOICES", list).describe(
    "Voices of the command or the server that clients can name, separated by commas; the first is the default.",
  ),
  transcriptionProvider: setting(
    "Voice",
    "VTUBER_TRANSCRIPTION_PROVIDER",
    optional(oneOf(TRANSCRIPTION_PROVIDERS)),
  ).describe(
    "Provider that transcribes recordings: `command`, `upstream` or `off`. Unset, it is the one whose command or " +
      "address is set, and otherwise `off`.",
  ),
  transcriptionCommand: setting("Voice", "VTUBER_TRANSCRIPTION_COMMAND", command)
    .describe("Program that transcribes a recording. It gets WAV, and returns text."),
  transcriptionBaseUrl: setting("Voice", "VTUBER_TRANSCRIPTION_BASE_URL", optional(baseUrl))
    .describe("Address of an OpenAI-compatible server that transcribes recordings."),
  transcriptionKey: {
    ...setting("Voice", "VTUBER_TRANSCRIPTION_KEY", optional(upstreamKey)).describe("Key of that server."),
    flag: undefined,
  },
  transcriptionModel: setting("Voice", "VTUBER_TRANSCRIPTION_MODEL", optionalText)
    .describe("Model of that server. Unset, the client names it."),

  log: setting("Log", "VTUBER_LOG", oneOf(LOG_LEVELS), "info")
    .describe("Lowest level that is logged: `debug`, `info`, `warn` or `error`. JSON unless at a terminal."),
};

/** Every setting as it was read. */
export type Settings = {
  readonly [Name in keyof typeof SETTINGS]: z.output<(typeof SETTINGS)[Name]["parse"]>;
};

/** Every setting for people, group by group. */
export const SETTING_HELP: readonly Setting[] = Object.values(SETTINGS);

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
  const entries = Object.entries<Setting>(SETTINGS).map(
    ([name, { env: variable, default: fallback, parse }]) => {
      const { data, error } = parse.safeParse(flags[variable]?.trim() || env[variable]?.trim() || fallback);
      if (error) mistakes.push(`${variable}: ${error.issues[0]?.message}.`);
      return [name, data];
    },
  );
  return Object.fromEntries(entries);
}
