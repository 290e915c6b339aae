/** The settings: what each is called, takes and means. The help and the README's table are made from this. @module */

import { z } from "zod";
import { PERMISSION_POLICIES } from "../acp/permission.ts";
import { SESSION_MODES } from "../conversation/resolve.ts";
import { BUSY_MODES } from "../conversation/turn_queue.ts";
import { AMBIENT_MODES } from "../events/ambient.ts";
import { URGENCIES } from "../events/wire.ts";
import { ERROR_MODES, HEARTBEATS } from "../openai/response.ts";
import { LOG_LEVELS } from "../core/log.ts";
import {
  address,
  agentName,
  command,
  hours,
  list,
  oneOf,
  optional,
  seconds,
  type Setting,
  setting,
  truth,
  variableNames,
  whole,
} from "./parsers.ts";

/** Every setting. */
const SETTINGS = {
  enabled: setting(
    "VTUBER_ENABLED",
    "",
    "`true` or `1` serves; otherwise it says what to set and exits 2",
    truth,
    "enabled",
  ),
  listen: setting(
    "GATEWAY_LISTEN",
    "127.0.0.1:8080",
    "address and port to listen on; port 0 takes a free one and prints it",
    address,
    "listen",
  ),
  authKey: setting("VTUBER_AUTH_KEY", "", "key of every route but health and the page itself", optional),
  model: setting(
    "VTUBER_DEFAULT_MODEL",
    "openab",
    "the name of the default agent, which answers where a request names none that is known; without `@`, and not `default`",
    agentName,
    "model",
  ),
  chatPath: setting(
    "VTUBER_PATH",
    "/v1/chat/completions",
    "one more path for chat completions",
    z.string().startsWith("/", "must begin with a slash"),
    "path",
  ),
  agentCommand: setting(
    "OPENAB_AGENT_COMMAND",
    "",
    "the agent, like `opencode acp`: first word the program, the rest its arguments; without this and without agents in the file, the built-in demo agent",
    command,
    "agent-command",
  ),
  agentInherit: setting(
    "OPENAB_AGENT_INHERIT_ENV",
    "",
    "names of variables to hand on to the agent, separated by commas; it gets only PATH, HOME and USER otherwise",
    variableNames,
    "agent-inherit-env",
  ),
  workingDir: setting(
    "VTUBER_WORKING_DIR",
    ".",
    "the agents' folder; `~/` is your home folder",
    z.string(),
    "working-dir",
  ),
  permissions: setting(
    "VTUBER_PERMISSIONS",
    "ask",
    "what an agent may do that asks first: `ask` lets it read, search, think and fetch, and asks whoever watches for the rest; `allow` lets it do everything; `deny` nothing",
    oneOf(PERMISSION_POLICIES),
    "permissions",
  ),
  permissionTimeout: setting(
    "VTUBER_PERMISSION_TIMEOUT_SECS",
    "60",
    "how long a person has to answer a permission request; then it is refused",
    seconds(1),
    "permission-timeout-secs",
  ),
  maxInFlight: setting(
    "VTUBER_MAX_IN_FLIGHT",
    "32",
    "turns at once; beyond it 429 with `Retry-After`",
    whole(1, 10_000),
    "max-in-flight",
  ),
  replyTimeout: setting(
    "VTUBER_REPLY_TIMEOUT_SECS",
    "180",
    "silence of the agent that ends a turn as failed (0: none)",
    seconds(0),
    "reply-timeout-secs",
  ),
  turnTimeout: setting(
    "VTUBER_TURN_TIMEOUT_SECS",
    "600",
    "longest turn (0: none)",
    seconds(0),
    "turn-timeout-secs",
  ),
  sessions: setting(
    "VTUBER_SESSIONS",
    "auto",
    "which requests are one conversation: `auto` those that go on with what was said before, or that name it; `persistent` all of one key and agent; `stateless` none but those that name it",
    oneOf(SESSION_MODES),
    "sessions",
  ),
  onBusy: setting(
    "VTUBER_ON_BUSY",
    "supersede",
    "a request whose conversation is still answering: `supersede` cancels that answer, `queue` waits for it, `reject` answers 409 with `Retry-After`",
    oneOf(BUSY_MODES),
    "on-busy",
  ),
  sessionTtl: setting(
    "VTUBER_SESSION_TTL_HOURS",
    "4",
    "how long an idle conversation keeps its session open; later it is brought back",
    hours(0.001, 500),
    "session-ttl-hours",
  ),
  maxSessions: setting(
    "VTUBER_MAX_SESSIONS",
    "10",
    "conversations whose sessions are kept open; beyond it the one that is idle longest is closed, and later brought back",
    whole(1, 10_000),
    "max-sessions",
  ),
  dataDir: setting(
    "VTUBER_DATA_DIR",
    "",
    "the folder where conversations are remembered, as hashes; `~/` is your home folder; `none` keeps nothing on disk; unset, `oab-vtuber` in the system's folder for data",
    optional,
    "data-dir",
  ),
  strictModels: setting(
    "VTUBER_STRICT_MODELS",
    "",
    "`true` answers 404 to the name of a model that no agent has; otherwise the default agent serves it",
    truth,
    "strict-models",
  ),
  heartbeat: setting(
    "VTUBER_HEARTBEAT",
    "chunk",
    "what a stream says in silence: `chunk` an empty chunk, `comment` the comment of OpenAB (some skins do not survive it), `off` nothing",
    oneOf(HEARTBEATS),
    "heartbeat",
  ),
  heartbeatEvery: setting(
    "VTUBER_HEARTBEAT_SECS",
    "10",
    "after how much silence, and how often from then on",
    seconds(0.05),
    "heartbeat-secs",
  ),
  errors: setting(
    "VTUBER_ERRORS",
    "speak",
    "a turn that fails once its stream began: `speak` says so in a sentence, `event` sends an error event",
    oneOf(ERROR_MODES),
    "errors",
  ),
  emotions: setting(
    "VTUBER_EMOTIONS",
    "",
    "words that are emotions in `[word]`, separated by commas: they replace the known ones, or add to them if the list begins with `+`",
    list,
    "emotions",
  ),
  ambientEnabled: setting(
    "VTUBER_AMBIENT_ENABLED",
    "",
    "`true` lets the character speak up by itself, when somebody is connected and no turn runs",
    truth,
    "ambient-enabled",
  ),
  ambientInterval: setting(
    "VTUBER_AMBIENT_INTERVAL_SECS",
    "1800",
    "how often it may do so",
    seconds(60),
    "ambient-interval-secs",
  ),
  ambientUrgency: setting(
    "VTUBER_AMBIENT_URGENCY",
    "normal",
    "`low`, `normal` or `high`, told with it",
    oneOf(URGENCIES),
    "ambient-urgency",
  ),
  ambientPrompt: setting(
    "VTUBER_AMBIENT_PROMPT",
    "If there is something worth telling the user now, say it in one or two short sentences, as yourself. If not, answer only [silent].",
    "what the agent is asked",
    z.string(),
    "ambient-prompt",
  ),
  ambientMode: setting(
    "VTUBER_AMBIENT_MODE",
    "agent",
    "`agent` sends what the agent says; `text` sends the prompt, as OpenAB does, to one client that posts it back, and answers that with what the agent said",
    oneOf(AMBIENT_MODES),
    "ambient-mode",
  ),
  clawd: setting(
    "VTUBER_CLAWD",
    "",
    "`true` drives a running clawd-on-desk, and lets it answer permission requests",
    truth,
    "clawd",
  ),
  character: setting(
    "VTUBER_CHARACTER",
    "",
    "who stands on the stage: a folder of pictures (`happy.png`, `neutral.webp`, ...), a `.vrm` file, or the address of either; unset, the drawn one",
    optional,
    "character",
  ),
  allowedOrigins: setting(
    "VTUBER_ALLOWED_ORIGINS",
    "",
    "origins of pages that may come without a key, separated by commas; pages of this machine always may",
    list,
    "allowed-origins",
  ),
  insecure: setting("VTUBER_INSECURE", "", "`true` serves other machines without a key", truth, "insecure"),
  shutdownGrace: setting(
    "VTUBER_SHUTDOWN_GRACE_SECS",
    "10",
    "how long running turns may go on when the program is asked to end",
    seconds(0),
    "shutdown-grace-secs",
  ),
  log: setting(
    "VTUBER_LOG",
    "info",
    "`debug`, `info`, `warn` or `error`; JSON lines unless stderr is a terminal",
    oneOf(LOG_LEVELS),
    "log",
  ),
} as const satisfies Record<string, Setting<unknown>>;

/** The name of a setting. */
type Name = keyof typeof SETTINGS;
/** What every setting was read as. */
export type Values = { readonly [N in Name]: z.output<(typeof SETTINGS)[N]["read"]> };

/** A row of the help, and of the README's table. */
export interface SettingHelp {
  readonly env: string;
  readonly flag: string | undefined;
  readonly isSwitch: boolean;
  readonly default: string;
  readonly help: string;
}

/** Every setting as a person needs it. */
export const SETTING_HELP: readonly SettingHelp[] = Object.values<Setting<unknown>>(SETTINGS).map(
  ({ env, flag, isSwitch = false, default: fallback, help }) => (
    { env, flag, isSwitch, default: fallback, help }
  ),
);

/** Reads every setting, flags before the environment; an empty one counts as unset. Adds what is wrong to `mistakes`. */
export function readSettings(
  env: Readonly<Record<string, string>>,
  flags: Readonly<Record<string, string>>,
  mistakes: string[],
): Values {
  const entries = Object.entries<Setting<unknown>>(SETTINGS).map(
    ([name, { env: variable, default: fallback, read }]) => {
      const text = flags[variable]?.trim() || env[variable]?.trim() || fallback;
      const result = read.safeParse(text);
      if (!result.success) mistakes.push(`${variable}: ${result.error.issues[0]?.message}.`);
      return [name, result.data];
    },
  );
  return Object.fromEntries(entries);
}

/** Whether a variable is a setting, or read for one. */
export function isKnown(name: string): boolean {
  return name === "OPENAB_CONFIG" || SETTING_HELP.some((setting) => setting.env === name);
}
