/** Events of the hub, and a driver to take them. @module */

import type { VtuberEvent } from "../../../lib/events/wire.ts";
import { ClawdDriver, type ClawdOptions } from "../../../lib/clawd/driver.ts";
import type { LogFields, LogLevel } from "../../../lib/core/log.ts";
import type { PermissionAnswer } from "../../../lib/turn/permission.ts";
import type { FakeClawd } from "./fake_clawd.ts";
import { soon } from "./turn_recorder.ts";

const ABOUT = { session_id: "chat", turn_id: "turn-1" };

type Of<T extends VtuberEvent["type"]> = Extract<VtuberEvent, { type: T }>;

/** What the agent does. */
export function state(
  state: Of<"agent_state">["state"],
  more: Partial<Of<"agent_state">> = {},
): Of<"agent_state"> {
  return { type: "agent_state", ...ABOUT, state, ...more };
}

/** Sub-agents work. */
export function juggling(subagent_count: number): Of<"agent_state"> {
  return state("juggling", { detail: { subagent_count } });
}

/** A tool begins or ends. */
export function tool(
  status: Of<"tool_status">["status"],
  more: Partial<Of<"tool_status">> = {},
): Of<"tool_status"> {
  return {
    type: "tool_status",
    ...ABOUT,
    tool_call_id: "call-1",
    tool_name: "npm test",
    kind: "execute",
    status,
    ...more,
  };
}

/** 2100, in unix seconds. */
export const LATE = 4_102_444_800;

/** The agent asks. */
export function ask(
  more: Partial<Omit<Of<"permission_request">, "tool">> & {
    tool?: Partial<Of<"permission_request">["tool"]>;
  } = {},
): Of<"permission_request"> {
  const { tool = {}, ...rest } = more;
  return {
    type: "permission_request",
    ...ABOUT,
    request_id: "ask-1",
    options: [
      { option_id: "once", name: "Allow", kind: "allow_once" },
      { option_id: "never", name: "Reject", kind: "reject_once" },
    ],
    expires_at: LATE,
    ...rest,
    tool: {
      tool_call_id: "call-1",
      tool_name: "npm test",
      kind: "execute",
      detail: "npm test --all",
      ...tool,
    },
  };
}

/** It asks no longer. */
export function resolved(
  outcome: Of<"permission_resolved">["outcome"],
  more: Partial<Of<"permission_resolved">> = {},
): Of<"permission_resolved"> {
  return { type: "permission_resolved", ...ABOUT, request_id: "ask-1", outcome, by: "web", ...more };
}

/** Something is said. */
export const NOTIFICATION: Of<"notification"> = {
  type: "notification",
  text: "Tea is ready",
  urgency: "normal",
};

/** So long that a pet which answers is never given up, however slow the machine. */
const PATIENT = { probeMs: 60_000, postMs: 60_000, farewellMs: 60_000 };

/** A driver that waits for nothing longer than it must, and what came of it. */
export class Driving implements AsyncDisposable {
  readonly driver: ClawdDriver;
  /** The time, which a test may move. */
  nowMs = 1_700_000_000_000;
  /** What its `runtime.json` says. */
  runtime: string | undefined;
  /** What was logged: `info found clawd-on-desk`. */
  readonly logged: string[] = [];
  /** What was logged beside it. */
  readonly details: LogFields[] = [];
  readonly answers: { id: string; answer: PermissionAnswer; by: string }[] = [];
  #told = Promise.withResolvers<void>();

  constructor(options: Partial<ClawdOptions> = {}) {
    const kept = (level: LogLevel) => (message: string, fields: LogFields = {}) => {
      this.details.push(fields);
      this.logged.push(`${level} ${message}`);
      this.#tell();
    };
    this.driver = new ClawdDriver({
      readRuntime: () => Promise.resolve(this.runtime),
      ports: [],
      log: { debug: kept("debug"), info: kept("info"), warn: kept("warn"), error: kept("error") },
      now: () => this.nowMs,
      cwd: "/home/me/project",
      answer: (id, answer, by) => {
        this.answers.push({ id, answer, by });
        this.#tell();
      },
      ...options,
      times: { ...PATIENT, lookMs: 1, retryMs: 1, retryMaxMs: 1, ...options.times },
    });
  }

  /** A driver that has found this pet. */
  static async with(pet: FakeClawd, options: Partial<ClawdOptions> = {}): Promise<Driving> {
    const driving = new Driving(options);
    driving.runtime = pet.runtime;
    driving.driver.start();
    await driving.until(() => driving.driver.present);
    return driving;
  }

  /** The driver takes these. */
  take(...events: VtuberEvent[]): void {
    for (const event of events) this.driver.take(event);
  }

  /** What was logged for people. */
  get said(): string[] {
    return this.logged.filter((line) => !line.startsWith("debug "));
  }

  /** Resolves when it is so; looks after each thing that is logged or answered. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await soon(this.#told.promise, "what the driver says").catch(this.#tellWhy);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.driver[Symbol.asyncDispose]();
  }

  readonly #tellWhy = (error: unknown) => {
    throw new Error(`${(error as Error).message}; so far: ${this.logged.join(", ")}`);
  };

  #tell(): void {
    this.#told.resolve();
    this.#told = Promise.withResolvers();
  }
}
