/** What goes wrong between the two ends of a connection, as JSON-RPC and ACP tell it. @module */

/** Characters of an error's details that are told on. */
const MAX_DETAILS_CHARS = 500;

/** JSON-RPC and ACP error codes (ACP schema v1, `ErrorCode`). */
export const RPC = {
  methodNotFound: -32601,
  invalidParams: -32602,
  internalError: -32603,
  cancelled: -32800,
  authRequired: -32000,
  resourceNotFound: -32002,
} as const;

/** Takes secrets out of a text. */
export type Hide = (text: string) => string;

/** The other end answered with an error, or could not be asked. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: number;
  readonly data: unknown;

  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.code = code;
    this.data = data;
  }

  /** The message, with the details that some agents put beside it (`data.details`, or `data` itself). */
  get explanation(): string {
    const details = detailsOf(this.data);
    const more = typeof details === "string" ? details.slice(0, MAX_DETAILS_CHARS) : "";
    return more === "" || this.message.includes(more) ? this.message : `${this.message}: ${more}`;
  }
}

/** The connection is gone: the other end closed it, or it was closed here. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";
}

/** The `error` of an answer, without the secrets that it may repeat. */
export function rpcErrorOf(error: unknown, hide: Hide): RpcError {
  const { code, message, data } = error as Record<string, unknown>;
  return new RpcError(
    typeof code === "number" ? code : RPC.internalError,
    hide(typeof message === "string" ? message : JSON.stringify(error)),
    dataWithout(hide, data),
  );
}

function dataWithout(hide: Hide, data: unknown): unknown {
  if (typeof data === "string") return hide(data);
  if (typeof data !== "object" || data === null) return data;
  try {
    return JSON.parse(JSON.stringify(data), (_key, value) => typeof value === "string" ? hide(value) : value);
  } catch {
    // It is nested too deep to be looked through.
    return undefined;
  }
}

function detailsOf(data: unknown): unknown {
  return typeof data === "object" && data !== null && "details" in data ? data.details : data;
}
