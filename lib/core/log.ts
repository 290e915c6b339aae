/** The log: JSON lines on stderr, or plain lines where a person reads. @module */

import { createRedactor } from "./redact.ts";

/** How much is said; each level includes those after it. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
/** One of {@linkcode LOG_LEVELS}. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What is known beside the message. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Says what happens. */
export type Log = Readonly<Record<LogLevel, (message: string, fields?: LogFields) => void>>;

/** How a log is made. */
export interface LogOptions {
  readonly level: LogLevel;
  /** Plain lines instead of JSON. */
  readonly pretty: boolean;
  /** Strings that never appear in the log, such as keys. */
  readonly secrets: readonly string[];
  readonly write: (line: string) => void;
  /** The time, for tests. */
  readonly now?: () => Date;
}

/** Characters of one line; what is beyond is cut. */
const MAX_LINE_CHARS = 8 * 1024;

/** Makes a log. Errors among the fields are written as their message. */
export function createLog(options: LogOptions): Log {
  const { secrets, write, pretty, now = () => new Date() } = options;
  const threshold = LOG_LEVELS.indexOf(options.level);
  const redact = createRedactor(secrets);
  const shown = (_key: string, value: unknown): unknown => {
    if (value instanceof Error) return redact(`${value.name}: ${value.message}`);
    return typeof value === "string" ? redact(value) : value;
  };
  const say = (level: LogLevel) => (message: string, fields: LogFields = {}) => {
    if (LOG_LEVELS.indexOf(level) < threshold) return;
    const own = { ts: now().toISOString(), level, message };
    const said = pretty
      ? plain(now(), level, redact(message), fields, shown)
      : JSON.stringify({ ...own, ...fields, ...own }, shown);
    // Names of fields too.
    const line = redact(said);
    write(line.length > MAX_LINE_CHARS ? line.slice(0, MAX_LINE_CHARS) + "..." : line);
  };
  return { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") };
}

/**
 * Tells what was said lately from what was not: the function is true for a text the first time, and again once `ms`
 * milliseconds have passed. It keeps no more than `max` texts in mind.
 */
export function createDedupe(
  ms: number,
  max: number,
  now: () => number = () => performance.now(),
): (text: string) => boolean {
  const said = new Map<string, number>();
  return (text) => {
    const last = said.get(text);
    if (last !== undefined && now() - last < ms) return false;
    said.delete(text);
    said.set(text, now());
    for (const oldest of said.keys()) {
      if (said.size <= max) break;
      said.delete(oldest);
    }
    return true;
  };
}

/** A log that says nothing. */
export const NO_LOG: Log = { debug() {}, info() {}, warn() {}, error() {} };

function plain(
  time: Date,
  level: LogLevel,
  message: string,
  fields: LogFields,
  shown: (key: string, value: unknown) => unknown,
): string {
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => {
      if (typeof value !== "string") return `${name}=${JSON.stringify(value, shown)}`;
      const text = String(shown(name, value));
      // Only a stack has lines that are ours.
      return `${name}=${name === "stack" ? text : oneLine(text)}`;
    });
  return [time.toISOString().slice(11, 23), level.padEnd(5), oneLine(message), ...rest].join(" ");
}

/** Text that moves no cursor and makes no line of its own. */
function oneLine(text: string): string {
  return text.replace(/\p{Cc}/gu, (char) => "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0"));
}
