/**
 * Classifies errors of a model's provider, which agents report in words of their own. No other code reads the text of
 * an error. Sources of the strings: recordings of agents with failing providers, and their public bug reports.
 *
 * @module
 */

/** The cause of a provider's error. `provider`: the provider itself fails, so that a later try may succeed. */
export type ProviderErrorKind = "login" | "quota" | "model" | "provider" | "unknown";

const KEY = "(api|access|auth|oauth|refresh)[ -_]?(key|token)";
/** Known strings (regular expressions, in any case), by cause. */
const KNOWN: Readonly<Record<Exclude<ProviderErrorKind, "unknown">, readonly string[]>> = {
  quota: [
    "quota",
    "rate.?limit",
    "usage limit",
    "limit reached",
    "(hit|reached|exceed(s|ed)?) (your|the|my|its) (\\S+ )?limit",
    "too many requests",
    "resource.?(has been )?exhausted",
    "insufficient.?(balance|credits?|funds)",
    "credit balance",
    "out of (\\S+ )?(credits?|usage)",
    "billing",
    "payment required",
    status("402|429"),
  ],
  login: [
    "\\b(log|sign)(g?ed)?[ -]?(in|out)\\b(?! [/~])",
    "authenticat(e|ion)",
    "unauthori[sz]ed",
    `${KEY}s?\\b.{0,40}(invalid|missing|expired|incorrect|not valid|not set|required)`,
    `(invalid|missing|expired|incorrect|no) (\\S+ )?${KEY}`,
    "token (has )?expired",
    "credentials",
    status("401"),
  ],
  model: [
    "\\bmodels?\\b.{0,80}(not (found|exist|supported|available|allowed)|doesn't exist|unavailable|deprecated|denied)",
    "(unknown|invalid|unsupported|no such|issue with the selected) model",
    "model.?not.?found",
  ],
  provider: [
    "overloaded",
    "internal server error",
    "bad gateway",
    "gateway time-?out",
    "service unavailable",
    "temporarily unavailable",
    "upstream",
    "econn\\w+|enotfound|etimedout|eai_again",
    "fetch failed",
    "network error",
    "socket hang up",
    "connection (error|refused|reset|closed|failed)",
    "stream (error|disconnected|closed|ended)",
    "api.?error",
    "timed? ?out",
    status("400|403|404|408|5\\d\\d"),
  ],
};
/** The causes in this order: when a quota is used up, providers also answer with 401, 403 and 404. */
const PATTERNS = (["quota", "login", "model", "provider"] as const)
  .map((kind) => [kind, new RegExp(KNOWN[kind].join("|"), "i")] as const);

/** Makes the pattern of a status code of HTTP: `status 429`, `"code":429`, `API Error: 429`. */
function status(codes: string): string {
  return `\\b(status|code|http|error)\\W{0,4}(code\\W{0,4})?(${codes})\\b`;
}

/** Characters of an error text that are examined. */
const MAX_CHARS = 4_000;

/**
 * Classifies the text of an error.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { classifyProviderError } from "./provider_error.ts";
 * assertEquals(classifyProviderError("Invalid API key · Please run /login"), "login");
 * assertEquals(classifyProviderError("quota exceeded: try again tomorrow"), "quota");
 * ```
 */
export function classifyProviderError(text: string): ProviderErrorKind {
  const start = text.slice(0, MAX_CHARS);
  return PATTERNS.find(([, pattern]) => pattern.test(start))?.[0] ?? "unknown";
}

/**
 * Finds the sentence in an error text. Gemini sends the provider's JSON: `{"error":{"code":429,"message":"..."}}`, at
 * times with words before it, or with JSON in its message.
 */
export function plainMessage(text: string): string {
  const start = text.indexOf("{");
  if (start < 0 || !text.trimEnd().endsWith("}")) return text;
  try {
    const { error, message } = JSON.parse(text.slice(start)) as { error?: unknown; message?: unknown };
    const found = typeof error === "object"
      ? (error as { message?: unknown } | null)?.message
      : error ?? message;
    return typeof found === "string" && found !== "" ? text.slice(0, start) + plainMessage(found) : text;
  } catch {
    return text;
  }
}
