/** Hears what an agent writes, and how far it comes, out of what is logged of it. @module */

import type { Log, LogFields } from "../core/log.ts";
import type { AgentObservations } from "./diagnosis.ts";

/** Lines of an agent's stderr that are told when it fails. */
const STDERR_LINES = 3;
/** Agents are asked to end by it: who ended so did not end by itself. */
const ASKED_TO_END = "was ended by SIGTERM";

/** Listens to one agent. */
export interface Ear {
  /** What the agent is to be given as its log. */
  readonly log: Log;
  /** What was heard so far. */
  readonly said: AgentObservations;
  /** Called once, at the first line that is no ACP, if the agent is not ready by then. */
  onStray(): void;
  onReady(): void;
}

/** Begins to listen; what is logged goes on to `log`. */
export function listen(log: Log): Ear {
  const stderr: string[] = [];
  const heard: { -readonly [K in keyof AgentObservations]: AgentObservations[K] } = {
    step: "start",
    login: undefined,
    how: undefined,
    stderr,
    stray: undefined,
    lastStray: undefined,
  };
  const hear = (message: string, fields: LogFields = {}) => {
    const line = textIn(fields.line);
    switch (message) {
      case "agent ready":
        heard.step = "session";
        // It speaks ACP: what it said before was only a greeting.
        heard.stray = heard.lastStray = undefined;
        return ear.onReady();
      case "logging in to the agent":
        heard.step = "login";
        heard.login = textIn(fields.method);
        return;
      case "the agent died before it was of use":
        if (fields.how !== ASKED_TO_END) heard.how = textIn(fields.how);
        return;
      case "agent stderr":
        if (line !== undefined) stderr.push(line);
        if (stderr.length > STDERR_LINES) stderr.shift();
        return;
      case "skipped a line of the agent":
        if (line !== undefined && line.trim() !== "") hearStray(line);
    }
  };
  const hearStray = (line: string) => {
    heard.lastStray = line;
    if (heard.step !== "start" || heard.stray !== undefined) return;
    heard.stray = line;
    ear.onStray();
  };
  const both = (level: keyof Log) => (message: string, fields?: LogFields) => {
    hear(message, fields);
    log[level](message, fields);
  };
  const ear: Ear = {
    log: { debug: both("debug"), info: both("info"), warn: both("warn"), error: both("error") },
    get said() {
      return { ...heard, stderr: [...stderr] };
    },
    onStray() {},
    onReady() {},
  };
  return ear;
}

function textIn(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
