/** The log: JSON lines on stderr, or plain lines at a terminal. @module */

import { BoundedMap } from "./bounded_map.ts";
import { createRedactor } from "./redact.ts";

/** Levels; each includes the ones after it. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
/** One of {@linkcode LOG_LEVELS}. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** The facts beside a message. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Writes log lines, one function per level. */
export type Log = Readonly<Record<LogLevel, (message: string, fields?: LogFields) => void>>;

/** Options of {@linkcode createLog}. */
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

/** Longest line, in characters; longer ones are cut. */
const MAX_LINE_CHARS = 8 * 1024;

/** Creates a log. An error among the fields is written as its name and message. */
export function createLog(options: LogOptions): Log {
  const { secrets, write, pretty, now = () => new Date() } = options;
  const threshold = LOG_LEVELS.indexOf(options.level);
  const redact = createRedactor(secrets);
  const toLoggable = (_key: string, value: unknown): unknown => {
    if (value instanceof Error) return redact(`${value.name}: ${value.message}`);
    return typeof value === "string" ? redact(value) : value;
  };
  const writer = (level: LogLevel) => (message: string, fields: LogFields = {}) => {
    if (LOG_LEVELS.indexOf(level) < threshold) return;
    const own = { ts: now().toISOString(), level, message };
    const text = pretty
      ? plainLine(now(), level, redact(message), fields, toLoggable)
      : JSON.stringify({ ...own, ...fields, ...own }, toLoggable);
    // Redact the whole line again, because names of fields may hold a secret too.
    const line = redact(text);
    write(line.length > MAX_LINE_CHARS ? line.slice(0, MAX_LINE_CHARS) + "..." : line);
  };
  return { debug: writer("debug"), info: writer("info"), warn: writer("warn"), error: writer("error") };
}

/** A log that writes nothing. */
export const NO_LOG: Log = { debug() {}, info() {}, warn() {}, error() {} };

/**
 * Creates a function that tells new texts from repeated ones: it returns true for a text at first, and again after `ms`
 * milliseconds. It remembers `max` texts.
 */
export function createDedupe(
  ms: number,
  max: number,
  now: () => number = () => performance.now(),
): (text: string) => boolean {
  const lastSeen = new BoundedMap<string, number>(max);
  return (text) => {
    const last = lastSeen.get(text);
    if (last !== undefined && now() - last < ms) return false;
    lastSeen.set(text, now());
    return true;
  };
}

function plainLine(
  time: Date,
  level: LogLevel,
  message: string,
  fields: LogFields,
  toLoggable: (key: string, value: unknown) => unknown,
): string {
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => {
      if (typeof value !== "string") return `${name}=${JSON.stringify(value, toLoggable)}`;
      const text = String(toLoggable(name, value));
      // Only this program's own stacks may have several lines.
      return `${name}=${name === "stack" ? text : escapeControls(text)}`;
    });
  return [time.toISOString().slice(11, 23), level.padEnd(5), escapeControls(message), ...rest].join(" ");
}

/** Escapes characters that would start a line or move the cursor. */
function escapeControls(text: string): string {
  return text.replace(/\p{Cc}/gu, (char) => "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0"));
}
