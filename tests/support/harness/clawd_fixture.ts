/** Events for the pet, and a driver with a hub that publishes them. @module */

import { ClawdDriver, type ClawdOptions } from "../../../lib/clawd/driver.ts";
import type { PetTransport } from "../../../lib/clawd/wire.ts";
import type { LogFields, LogLevel } from "../../../lib/core/log.ts";
import type { VtuberEvent } from "../../../lib/events/wire.ts";
import type { PermissionAnswer } from "../../../lib/turn/permission.ts";
import type { FakeClawd } from "./fake_clawd.ts";
import { waitFor } from "./turn_recorder.ts";

const REF = { session_id: "chat", turn_id: "turn-1" };

type Of<T extends VtuberEvent["type"]> = Extract<VtuberEvent, { type: T }>;

/** A state of the turn. */
export function state(
  state: Of<"agent_state">["state"],
  more: Partial<Of<"agent_state">> = {},
): Of<"agent_state"> {
  return { type: "agent_state", ...REF, state, ...more };
}

/** A permission request. */
export function ask(
  tool: Partial<Of<"permission_request">["tool"]> = {},
  more: Partial<Of<"permission_request">> = {},
): Of<"permission_request"> {
  return {
    type: "permission_request",
    ...REF,
    request_id: "ask-1",
    options: [
      { option_id: "once", name: "Allow", kind: "allow_once" },
      { option_id: "never", name: "Reject", kind: "reject_once" },
    ],
    expires_at: 4_102_444_800,
    tool: {
      tool_call_id: "call-1",
      tool_name: "npm test",
      kind: "execute",
      detail: "npm test --all",
      ...tool,
    },
    ...more,
  };
}

/** The end of a permission request. */
export function resolved(outcome: Of<"permission_resolved">["outcome"]): Of<"permission_resolved"> {
  return { type: "permission_resolved", ...REF, request_id: "ask-1", outcome, by: "web" };
}

/** A notification. */
export const NOTIFICATION: Of<"notification"> = {
  type: "notification",
  text: "Tea is ready",
  urgency: "normal",
};

/** A driver that waits no longer than necessary, and records what it does. */
export class DriverFixture implements AsyncDisposable {
  readonly driver: ClawdDriver;
  /** The text of `runtime.json`. */
  runtime: string | undefined;
  /** Log lines: `info found clawd-on-desk`. */
  readonly logged: string[] = [];
  readonly logFields: LogFields[] = [];
  readonly answers: { id: string; answer: PermissionAnswer; by: string }[] = [];
  searches = 0;
  #pet: PetTransport | undefined;
  /** The newest state of each conversation, and the open permission requests, for a pet that subscribes late. */
  readonly #states = new Map<string | undefined, VtuberEvent>();
  readonly #requests = new Map<string, VtuberEvent>();
  #change = Promise.withResolvers<void>();

  constructor(options: Partial<ClawdOptions> = {}) {
    const record = (level: LogLevel) => (message: string, fields: LogFields = {}) => {
      this.logFields.push(fields);
      this.logged.push(`${level} ${message}`);
      this.#changed();
    };
    this.driver = new ClawdDriver({
      subscribe: (pet) => this.#subscribe(pet),
      readRuntime: () => {
        this.searches++;
        this.#changed();
        return Promise.resolve(this.runtime);
      },
      ports: [],
      log: { debug: record("debug"), info: record("info"), warn: record("warn"), error: record("error") },
      cwd: "/home/me/project",
      answer: (id, answer, by) => {
        this.answers.push({ id, answer, by });
        this.#changed();
      },
      // A response may take any time on a slow machine.
      responseMs: 60_000,
      checkMs: 1,
      retryMs: 1,
      ...options,
    });
  }

  /** Starts a driver and waits until it has found this pet. */
  static async start(pet: FakeClawd, options: Partial<ClawdOptions> = {}): Promise<DriverFixture> {
    const fixture = new DriverFixture(options);
    fixture.runtime = pet.runtime;
    fixture.driver.start();
    await fixture.until(() => fixture.isSubscribed);
    return fixture;
  }

  get isSubscribed(): boolean {
    return this.#pet !== undefined;
  }

  /** Publishes events to the pet, if it is subscribed. */
  publish(...events: VtuberEvent[]): void {
    for (const event of events) {
      if (event.type === "agent_state") this.#states.set(event.session_id, event);
      if (event.type === "permission_request") this.#requests.set(event.request_id, event);
      if (event.type === "permission_resolved") this.#requests.delete(event.request_id);
      this.#pet?.send({ event });
    }
  }

  /** The log lines above level `debug`. */
  get messages(): string[] {
    return this.logged.filter((line) => !line.startsWith("debug "));
  }

  /** Waits until the condition holds; looks after each log line, answer, search and change of the subscription. */
  async until(holds: () => boolean): Promise<void> {
    const log = () => this.logged.join(", ");
    while (!holds()) await waitFor(this.#change.promise, `the driver; so far: ${log()}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.driver[Symbol.asyncDispose]();
  }

  #subscribe(pet: PetTransport): Disposable {
    this.#pet = pet;
    for (const event of [...this.#states.values(), ...this.#requests.values()]) pet.send({ event });
    this.#changed();
    return {
      [Symbol.dispose]: () => {
        this.#pet = undefined;
        this.#changed();
      },
    };
  }

  #changed(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }
}
