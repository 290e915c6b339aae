/** The log: JSON lines on stderr, or plain lines at a terminal. @module */

import { BoundedMap } from "./bounded_map.ts";
import { escapeUnsafe } from "./unsafe_text.ts";
import { createRedactor, type Redact } from "./redact.ts";

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
}

/** Longest line, in characters; longer ones are cut. */
const MAX_LINE_CHARS = 8 * 1024;

/** Creates a log. An error among the fields is written as its name and message. */
export function createLog({ level: lowest, pretty, secrets, write }: LogOptions): Log {
  const redact = createRedactor(secrets);
  const format = pretty ? plainLine : jsonLine;
  const writer = (level: LogLevel) => (message: string, fields: LogFields = {}) => {
    if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(lowest)) return;
    const line = format(new Date().toISOString(), level, message, fields, redact);
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

/**
 * Limits a function that writes log lines to `max` lines in `ms` milliseconds, for a source that may write any number.
 * One more line says that others are left out.
 */
export function limitRate(
  write: Log[LogLevel],
  { max, ms }: { readonly max: number; readonly ms: number },
  now: () => number = () => performance.now(),
): Log[LogLevel] {
  let startedAt = -Infinity;
  let lines = 0;
  return (message, fields) => {
    if (now() - startedAt >= ms) {
      startedAt = now();
      lines = 0;
    }
    lines++;
    if (lines <= max) write(message, fields);
    else if (lines === max + 1) write(`${message}: further lines are left out for ${ms / 1000} seconds`);
  };
}

function jsonLine(ts: string, level: LogLevel, message: string, fields: LogFields, redact: Redact): string {
  const own = { ts, level, message };
  return escapeUnsafe(redact(JSON.stringify({ ...own, ...fields, ...own }, withErrors)));
}

function plainLine(ts: string, level: LogLevel, message: string, fields: LogFields, redact: Redact): string {
  const { stack, ...others } = fields;
  const line = [ts.slice(11, 23), level.padEnd(5), message];
  for (const [name, value] of Object.entries(others)) {
    if (value === undefined) continue;
    line.push(`${name}=${typeof value === "string" ? value : JSON.stringify(value, withErrors)}`);
  }
  // Redact first, because a secret may have a character that is escaped.
  const escaped = escapeUnsafe(redact(line.join(" ")));
  // Only this program's own stacks may have several lines.
  return stack === undefined
    ? escaped
    : `${escaped} stack=${redact(String(stack)).split("\n").map(escapeUnsafe).join("\n")}`;
}

function withErrors(_key: string, value: unknown): unknown {
  return value instanceof Error ? `${value.name}: ${value.message}` : value;
}
