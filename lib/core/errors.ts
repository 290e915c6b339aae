/** The one error class: a code for programs, and a message for people. @module */

/** HTTP status of every error, by its code: `error.code` of the OpenAI error envelope. */
export const ERROR_STATUS = {
  invalid_json: 400,
  invalid_type: 400,
  invalid_value: 400,
  missing_required_parameter: 400,
  previous_response_not_found: 400,
  unsupported_parameter: 400,
  unsupported_value: 400,
  unsupported_content_type: 400,
  unsupported_media_type: 415,
  invalid_api_key: 401,
  origin_not_allowed: 403,
  host_not_allowed: 403,
  insufficient_scope: 403,
  not_found: 404,
  model_not_found: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  idempotency_key_conflict: 409,
  turn_cancelled: 409,
  permission_resolved: 409,
  session_busy: 409,
  body_too_large: 413,
  invalid_output: 422,
  upgrade_required: 426,
  insufficient_quota: 429,
  rate_limit_exceeded: 429,
  internal_error: 500,
  not_configured: 501,
  agent_error: 502,
  agent_crashed: 502,
  agent_cancelled: 502,
  upstream_error: 502,
  upstream_unavailable: 502,
  upstream_auth_required: 502,
  agent_auth_required: 503,
  agent_unavailable: 503,
  server_overloaded: 503,
  shutting_down: 503,
  agent_timeout: 504,
  upstream_timeout: 504,
} as const;
/** Tells programs the kind of an error. */
export type ErrorCode = keyof typeof ERROR_STATUS;

/** The cause of an unusable agent, for code that has to tell the cases apart. */
export type ErrorReason =
  | "program_not_found"
  | "program_not_started"
  | "protocol_version"
  /** The agent printed something that is no ACP, and did not answer. */
  | "not_acp"
  | "timeout"
  | "exited"
  /** The agent reports a missing log-in, a used-up quota, an unknown model, or a fault of its model's provider. */
  | "login"
  | "quota"
  | "model"
  | "provider"
  | "unknown";

/** An error that the caller is told. */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;
  /** The faulty field, as a path: `messages[2].content`. */
  readonly param?: string | undefined;
  readonly reason?: ErrorReason | undefined;
  /** The status of an upstream that refuses a request, in place of that of the code. */
  readonly status?: number | undefined;
  /** Seconds after which to try again. Only before the agent got the prompt. */
  readonly retryAfterSecs?: number | undefined;
  /** The agent got the prompt, so that a retry could do its work twice. */
  readonly prompted: boolean = false;
  /** The name of the conversation. */
  readonly conversation?: string | undefined;

  constructor(code: ErrorCode, message: string, { cause, ...facts }: AppErrorOptions = {}) {
    super(message, { cause });
    this.code = code;
    Object.assign(this, facts);
  }

  /** Returns the same error for a turn whose agent got the prompt. */
  afterPrompt(): AppError {
    return this.prompted ? this : this.#with({ prompted: true, retryAfterSecs: undefined });
  }

  /** Returns the same error about a field, unless it names one already. */
  inField(param: string): AppError {
    return this.param === undefined ? this.#with({ param }) : this;
  }

  /** Returns the same error with the name of its conversation. */
  inConversation(name: string): AppError {
    return this.#with({ conversation: name });
  }

  #with(facts: AppErrorOptions): AppError {
    return new AppError(this.code, this.message, { ...this, cause: this.cause, ...facts });
  }
}

/** Facts of an {@linkcode AppError} beside its code and message. */
export type AppErrorOptions =
  & ErrorOptions
  & Partial<Pick<AppError, "param" | "reason" | "status" | "retryAfterSecs" | "prompted" | "conversation">>;

/** Returns the message of any thrown value. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Returns a thrown {@linkcode AppError} as it is, and makes any other thrown value one with this code. */
export function toAppError(thrown: unknown, code: ErrorCode): AppError {
  return thrown instanceof AppError ? thrown : new AppError(code, messageOf(thrown), { cause: thrown });
}

/** Creates the error of requests that come, wait or run while the server shuts down. */
export function shuttingDown(): AppError {
  return new AppError("shutting_down", "The server is shutting down.", { retryAfterSecs: 5 });
}
