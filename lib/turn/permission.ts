/** Asks people for permission. @module */

import { AppError } from "../core/errors.ts";
import type {
  PermissionId,
  PermissionOption,
  PermissionQuestion,
  PermissionResolution,
  TurnReader,
} from "./event.ts";
import { OpenRequests } from "./open_requests.ts";

/** Values of `VTUBER_PERMISSIONS`: how permission requests are decided. */
export const PERMISSION_POLICIES = ["ask", "allow", "deny"] as const;
/** One of {@linkcode PERMISSION_POLICIES}. */
export type PermissionPolicy = (typeof PERMISSION_POLICIES)[number];

/** Answers that a person can give without naming one of the agent's options. */
export const DECISIONS = ["allow", "allow_always", "reject", "reject_always"] as const;
/** One of {@linkcode DECISIONS}. */
export type Decision = (typeof DECISIONS)[number];

/** A person's answer: one of the agent's options, or a decision for which {@linkcode chooseOption} finds the option. */
export type PermissionAnswer = ({ readonly optionId: string } | { readonly decision: Decision }) & {
  /** The length of the detail that the person has seen. Needed to allow a request with a long detail. */
  readonly detailChars?: number | undefined;
};

/** Characters of a detail that are shown at a glance. A longer one has to be seen whole before it can be allowed. */
export const MAX_GLANCE_CHARS = 4_000;

/**
 * Chooses the option that fits a decision best: by its kind, never by its position. If the agent offers only the other
 * duration (`allow_always` for `allow`), that one is chosen.
 */
export function chooseOption(
  options: readonly PermissionOption[],
  decision: Decision,
): PermissionOption | undefined {
  const verb = decision.replace("_always", "");
  const kinds = [`${verb}_once`, `${verb}_always`];
  if (verb !== decision) kinds.reverse();
  return options.find(({ kind }) => kind === kinds[0]) ?? options.find(({ kind }) => kind === kinds[1]);
}

/** Takes questions from agents and answers from people. */
export class PermissionBroker {
  readonly #canAnyoneAnswer: () => boolean;
  readonly #requests: OpenRequests<PermissionId, PermissionQuestion, PermissionResolution>;

  /**
   * @param timeoutMs Longest wait for an answer, in milliseconds.
   * @param canAnyoneAnswer Whether a client is connected that can answer.
   */
  constructor(timeoutMs: number, canAnyoneAnswer: () => boolean) {
    this.#requests = new OpenRequests("permission request", timeoutMs);
    this.#canAnyoneAnswer = canAnyoneAnswer;
  }

  /**
   * Opens a request and waits for its end. Sends `permission` and, before it resolves, `permission_resolved` to
   * `reader`.
   *
   * @param signal As {@linkcode OpenRequests.wait} takes it.
   * @returns The resolution, or `undefined`, without any event, if nobody can answer (neither a client nor the readers
   * of the reply) or too many requests are open.
   */
  async ask(
    question: PermissionQuestion,
    reader: TurnReader,
    signal: AbortSignal,
  ): Promise<PermissionResolution | undefined> {
    const canAnswer = reader.answersPermissions?.() || this.#canAnyoneAnswer();
    if (this.#requests.isFull || !canAnswer) return undefined;
    return await this.#requests.wait(question, {
      onOpen: (id, expiresAt) => reader({ type: "permission", request: { ...question, id, expiresAt } }),
      onResolved: (resolution) => reader({ type: "permission_resolved", resolution }),
    }, signal);
  }

  /**
   * Answers a request.
   *
   * @param by The client's name, for the other clients.
   * @throws {AppError} `permission_resolved` if the answer is too late, `not_found` if there is no such request,
   * `invalid_value` if the agent does not offer this answer, or if it allows a long detail that was not seen whole.
   */
  answer(requestId: string, answer: PermissionAnswer, by: string): PermissionResolution {
    const id = requestId as PermissionId;
    const { options, detail } = this.#requests.get(id);
    const option = "optionId" in answer
      ? options.find((option) => option.id === answer.optionId)
      : chooseOption(options, answer.decision);
    // A rejection needs no option: the request then ends as cancelled for the agent.
    const needsOption = "optionId" in answer || answer.decision.startsWith("allow");
    if (option === undefined && needsOption) {
      const offered = options.map((option) => JSON.stringify(option.id)).join(", ");
      throw new AppError(
        "invalid_value",
        `The agent does not offer this answer. Its options are: ${offered || "none"}.`,
        { param: "optionId" in answer ? "option_id" : "decision" },
      );
    }
    const isLong = detail.length > MAX_GLANCE_CHARS;
    if (isLong && option && !option.kind.startsWith("reject") && answer.detailChars !== detail.length) {
      throw new AppError(
        "invalid_value",
        `The detail has ${detail.length} characters. To allow the request, show all of them (GET ` +
          `/v1/vtuber/permissions/${id}), and send "detail_chars": ${detail.length} with the answer.`,
        { param: "detail_chars" },
      );
    }
    const isOnce = "decision" in answer && !answer.decision.endsWith("_always") &&
      option?.kind.endsWith("_always");
    const resolution: PermissionResolution = {
      id,
      outcome: option?.kind.startsWith("allow") ? "allowed" : "rejected",
      ...(option ? { option } : {}),
      ...(isOnce ? { isOnce } : {}),
      by,
    };
    this.#requests.resolve(resolution);
    return resolution;
  }
}
