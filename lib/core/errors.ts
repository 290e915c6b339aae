/** The one error class: a code for programs, and a message for people. @module */

/** Codes of errors, as in `error.code` of the OpenAI error envelope. */
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

/** The cause of an unusable agent, for code that has to tell the cases apart. */
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

/** Facts of an {@linkcode AppError} beside its code and message. */
export interface AppErrorOptions extends ErrorOptions {
  /** The faulty field, as a path: `messages[2].content`. */
  readonly param?: string | undefined;
  readonly reason?: ErrorReason | undefined;
  /** Seconds after which to try again. Only before the agent got the prompt. */
  readonly retryAfterSecs?: number | undefined;
  /** The agent got the prompt, so that a retry could do its work twice. */
  readonly prompted?: boolean | undefined;
  /** The name of the conversation. */
  readonly conversation?: string | undefined;
}

/**
 * An error that the caller is told.
 *
 * @example
 * ```ts
 * import { AppError } from "./errors.ts";
 * const error = new AppError("invalid_value", "\"n\" must be 1.", { param: "n" });
 * if (error.code !== "invalid_value") throw error;
 * ```
 */
export class AppError extends Error {
  override readonly name = "AppError";
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

  /** Returns the same error for a turn whose agent got the prompt. */
  afterPrompt(): AppError {
    return this.prompted ? this : this.#with({ prompted: true, retryAfterSecs: undefined });
  }

  /** Returns the same error with the name of its conversation. */
  inConversation(name: string): AppError {
    return this.#with({ conversation: name });
  }

  #with(options: AppErrorOptions): AppError {
    const { param, reason, retryAfterSecs, prompted, conversation, cause } = this;
    const own = { param, reason, retryAfterSecs, prompted, conversation, cause };
    return new AppError(this.code, this.message, { ...own, ...options });
  }
}

/** Returns the message of any thrown value. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Returns a thrown {@linkcode AppError} as it is, and makes any other thrown value one with this code. */
export function toAppError(thrown: unknown, code: ErrorCode): AppError {
  return thrown instanceof AppError ? thrown : new AppError(code, messageOf(thrown), { cause: thrown });
}
