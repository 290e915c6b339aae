/** The one error class: what went wrong, in a word a program can read and a sentence a person can. @module */

/** What can go wrong. The words are the `code` of the OpenAI error envelope. */
export const ERROR_CODES = [
  "invalid_json",
  "invalid_type",
  "invalid_value",
  "missing_required_parameter",
  "unsupported_parameter",
  "unsupported_value",
  "unsupported_content_type",
  "unsupported_media_type",
  "invalid_output",
  "invalid_api_key",
  "origin_not_allowed",
  "host_not_allowed",
  "not_found",
  "model_not_found",
  "method_not_allowed",
  "request_timeout",
  "idempotency_key_conflict",
  "turn_cancelled",
  "permission_resolved",
  "session_busy",
  "upgrade_required",
  "body_too_large",
  "rate_limit_exceeded",
  "internal_error",
  "agent_error",
  "agent_crashed",
  "agent_cancelled",
  "agent_auth_required",
  "agent_unavailable",
  "shutting_down",
  "agent_timeout",
] as const;
/** One of {@linkcode ERROR_CODES}. */
export type ErrorCode = (typeof ERROR_CODES)[number];

/** Why an agent cannot be used, for code that has to tell the cases apart. */
export type ErrorReason =
  /** The program was not found, or its working directory does not exist. */
  | "program_not_found"
  /** The program could not be started. */
  | "program_not_started"
  /** The agent speaks another version of ACP. */
  | "protocol_version"
  /** The agent did not answer in time. */
  | "timeout"
  /** The agent's process ended. */
  | "exited";

/** What a {@linkcode AppError} may say beside its code and message. */
export interface AppErrorOptions extends ErrorOptions {
  /** The field at fault, as a path: `messages[2].content`. */
  readonly param?: string | undefined;
  readonly reason?: ErrorReason | undefined;
  /** When to come back, in seconds. Only before the agent was prompted. */
  readonly retryAfterSecs?: number | undefined;
  /** The prompt had reached the agent: running it again could do its work twice. */
  readonly prompted?: boolean | undefined;
  /** The name of the conversation in which it happened. */
  readonly conversation?: string | undefined;
}

/**
 * Something went wrong that the caller should hear of.
 *
 * @example
 * ```ts
 * import { Failure } from "./errors.ts";
 * const failure = new Failure("invalid_value", "\"n\" must be 1.", { param: "n" });
 * if (failure.code !== "invalid_value") throw failure;
 * ```
 */
export class AppError extends Error {
  override readonly name = "Failure";
  readonly code: ErrorCode;
  readonly param: string | undefined;
  readonly reason: ErrorReason | undefined;
  readonly retryAfterSecs: number | undefined;
  readonly prompted: boolean;
  readonly conversation: string | undefined;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.param = options.param;
    this.reason = options.reason;
    this.retryAfterSecs = options.retryAfterSecs;
    this.prompted = options.prompted ?? false;
    this.conversation = options.conversation;
  }

  /** The same failure, of a turn whose prompt had reached the agent. */
  afterPrompt(): AppError {
    return this.prompted ? this : this.#with({ prompted: true, retryAfterSecs: undefined });
  }

  /** The same failure, in this conversation. */
  inConversation(name: string): AppError {
    return this.#with({ conversation: name });
  }

  #with(options: AppErrorOptions): AppError {
    const { param, reason, retryAfterSecs, prompted: prompted, conversation, cause } = this;
    return new AppError(this.code, this.message, {
      param,
      reason,
      retryAfterSecs,
      prompted,
      conversation,
      cause,
      ...options,
    });
  }
}

/** The message of whatever was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Whatever was thrown, as a {@linkcode AppError}: itself if it is one, else with this code. */
export function toAppError(thrown: unknown, code: ErrorCode): AppError {
  return thrown instanceof AppError ? thrown : new AppError(code, messageOf(thrown), { cause: thrown });
}
