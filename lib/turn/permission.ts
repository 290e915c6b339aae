/**
 * Permissions that a person gives or refuses: the agent's question, open until somebody answers it, its time is over or
 * its turn has ended. Whoever answers first, wins.
 *
 * @module
 */

import type { ToolCall, TurnReader } from "./event.ts";
import { AppError } from "../core/errors.ts";

/** Identifies a permission request. */
export type PermissionId = string & { readonly brand: "PermissionId" };

/** An answer that the agent offers. `kind` is ACP's `PermissionOptionKind`, or a word that is newer than this. */
export interface PermissionOption {
  readonly id: string;
  readonly name: string;
  readonly kind: string;
}

/** What an agent asks. */
export interface PermissionQuestion {
  readonly tool: ToolCall;
  /** What the tool would do, as far as the agent shows it: the command, the change, the files. Perhaps empty. */
  readonly detail: string;
  readonly options: readonly PermissionOption[];
}

/** A question that waits for an answer. */
export interface PermissionRequest extends PermissionQuestion {
  readonly id: PermissionId;
  /** When it counts as refused, in milliseconds since 1970. */
  readonly expiresAt: number;
}

/** What became of a request: `expired` and `cancelled` were answered by nobody. */
export type PermissionOutcome = "allowed" | "rejected" | "expired" | "cancelled";

/** How a request ended. */
export interface PermissionResolution {
  readonly id: PermissionId;
  readonly outcome: PermissionOutcome;
  /** The option that was chosen, if one was. */
  readonly option?: PermissionOption;
  /** It was asked for once, though the agent offers it for always only. */
  readonly isOnce?: true;
  /** Who answered, by the name they gave; `timeout`, `turn` (it ends) or `agent` (it asks no longer) where nobody did. */
  readonly by: string;
}

/** What a person may say instead of naming an option. */
export const DECISIONS = ["allow", "allow_always", "reject", "reject_always"] as const;
/** One of {@linkcode DECISIONS}. */
export type Decision = (typeof DECISIONS)[number];

/** An answer: one of the agent's options, or a decision that one is chosen for. */
export type PermissionAnswer = { readonly optionId: string } | { readonly decision: Decision };

/** The option kinds to choose for a decision, best first. */
const CHOICES: Readonly<Record<Decision, readonly string[]>> = {
  allow: ["allow_once", "allow_always"],
  allow_always: ["allow_always", "allow_once"],
  reject: ["reject_once", "reject_always"],
  reject_always: ["reject_always", "reject_once"],
};

/** The option that fits a decision best: by its kind, never by its position. */
export function chooseOption(
  options: readonly PermissionOption[],
  decision: Decision,
): PermissionOption | undefined {
  for (const kind of CHOICES[decision]) {
    const option = options.find((option) => option.kind === kind);
    if (option) return option;
  }
  return undefined;
}

/** Requests that are open at once; what is asked beyond it is refused. */
const MAX_OPEN = 100;
/** Resolved requests that are remembered, to tell who answers too late from who answers nothing. */
const MAX_RESOLVED = 200;

/** What a desk is made of. */
export interface PermissionBrokerOptions {
  /** How long a request waits for its answer, in milliseconds. */
  readonly timeoutMs: number;
  /** Whether somebody is there to ask. */
  readonly canAnyoneAnswer: () => boolean;
  /** The time in milliseconds since 1970, for tests. */
  readonly now?: () => number;
}

interface Open {
  readonly request: PermissionRequest;
  readonly settle: (resolution: PermissionResolution) => void;
}

/** Where agents ask and people answer. */
export class PermissionBroker {
  readonly #options: PermissionBrokerOptions;
  readonly #now: () => number;
  readonly #open = new Map<PermissionId, Open>();
  readonly #resolved = new Set<PermissionId>();

  constructor(options: PermissionBrokerOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /**
   * Asks whoever is there, and tells `tell` that it was asked and, before this resolves, how it ended. Nothing is told
   * when nobody is there to ask.
   *
   * @param signal The request is withdrawn at once, and ends as `cancelled`; the reason `"turn"` says that its turn ends.
   * @returns How it ended, or `undefined` if nobody could be asked.
   */
  async ask(
    question: PermissionQuestion,
    tell: TurnReader,
    signal: AbortSignal,
  ): Promise<PermissionResolution | undefined> {
    if (this.#open.size >= MAX_OPEN || !this.#options.canAnyoneAnswer()) return undefined;
    const { timeoutMs } = this.#options;
    const id = crypto.randomUUID() as PermissionId;
    const request: PermissionRequest = { ...question, id, expiresAt: this.#now() + timeoutMs };
    const { promise, resolve } = Promise.withResolvers<PermissionResolution>();
    const settle = (resolution: PermissionResolution) => {
      if (!this.#open.delete(id)) return;
      clearTimeout(timer);
      signal.removeEventListener("abort", withdraw);
      this.#remember(id);
      tell({ type: "permission_resolved", resolution });
      resolve(resolution);
    };
    const withdraw = () =>
      settle({ id, outcome: "cancelled", by: signal.reason === "turn" ? "turn" : "agent" });
    const timer = setTimeout(() => settle({ id, outcome: "expired", by: "timeout" }), timeoutMs);
    this.#open.set(id, { request, settle });
    tell({ type: "permission", request });
    if (signal.aborted) withdraw();
    else signal.addEventListener("abort", withdraw, { once: true });
    return await promise;
  }

  /**
   * Answers a request.
   *
   * @param by Who answers, for those who watch.
   * @throws {AppError} `permission_resolved` if it is too late, `not_found` if there is no such request, `invalid_value`
   * if the agent does not offer that.
   */
  answer(id: string, answer: PermissionAnswer, by: string): PermissionResolution {
    const open = this.#open.get(id as PermissionId);
    if (open === undefined) {
      if (this.#resolved.has(id as PermissionId)) {
        throw new AppError(
          "permission_resolved",
          "This permission request was answered or withdrawn before.",
        );
      }
      throw new AppError("not_found", `There is no permission request ${id}.`);
    }
    const { options } = open.request;
    const option = "optionId" in answer
      ? options.find((option) => option.id === answer.optionId)
      : chooseOption(options, answer.decision);
    if (option === undefined && ("optionId" in answer || answer.decision.startsWith("allow"))) {
      const offered = options.map((option) => JSON.stringify(option.id)).join(", ");
      throw new AppError("invalid_value", `The agent does not offer that, only the option_ids ${offered}.`, {
        param: "optionId" in answer ? "option_id" : "decision",
      });
    }
    const resolution: PermissionResolution = {
      id: open.request.id,
      outcome: option?.kind.startsWith("allow") ? "allowed" : "rejected",
      ...(option ? { option } : {}),
      ...("decision" in answer && option && !answer.decision.endsWith("_always") &&
          option.kind.endsWith("_always")
        ? { isOnce: true }
        : {}),
      by,
    };
    open.settle(resolution);
    return resolution;
  }

  #remember(id: PermissionId): void {
    this.#resolved.add(id);
    for (const oldest of this.#resolved) {
      if (this.#resolved.size <= MAX_RESOLVED) break;
      this.#resolved.delete(oldest);
    }
  }
}
