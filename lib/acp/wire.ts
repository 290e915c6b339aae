/**
 * Parsers of what an ACP agent sends (Agent Client Protocol, version 1). Agents are older and newer than this program,
 * so only the fields that are needed are required; other malformed fields count as absent. Source:
 * `schema/v1/schema.json` of `@agentclientprotocol/sdk`, and recordings of real agents.
 *
 * @module
 */

import { firstOf } from "../core/schema.ts";
import { truncate } from "../core/text.ts";
import { spaceUnsafe } from "../core/unsafe_text.ts";
import { STOP_REASONS, TOOL_KINDS, TOOL_STATUSES } from "../turn/event.ts";
import { z } from "zod";

/** The only protocol version that this program speaks. */
export const PROTOCOL_VERSION = 1;

/** Creates a parser that throws a `TypeError` naming the message and the field. */
function parser<T>(schema: z.ZodType<T>, message: string): (value: unknown) => T {
  return (value) => {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    const issue = result.error.issues[0];
    throw new TypeError(`${message}: ${issue?.path.join(".") || "it"}: ${issue?.message ?? "is invalid"}`);
  };
}

/** Entries of a list that are kept. Kilo offers 390 models. */
const MAX_ENTRIES = 1_000;

/** A list without its malformed entries. */
function listOf<T>(entry: z.ZodType<T>, maxEntries = MAX_ENTRIES) {
  return z.array(z.unknown()).transform((entries) =>
    entries.slice(0, maxEntries).flatMap((value) => {
      const result = entry.safeParse(value);
      return result.success ? [result.data] : [];
    })
  );
}

/** An object; another value counts as an empty one. */
function lenientObject<T extends z.ZodRawShape>(shape: T) {
  const toObject = (value: unknown) => typeof value === "object" && value !== null ? value : {};
  return z.unknown().optional().transform(toObject).pipe(z.object(shape));
}

/** Longest id of a session, tool call, model, mode or option, in characters. Anything with a longer id is left out. */
const MAX_ID_CHARS = 500;
const text = z.string();
const id = text.min(1).max(MAX_ID_CHARS);
const optionalText = text.optional().catch(undefined);
const nullableText = text.nullish().catch(undefined);
/** Characters of a name for people. */
const MAX_NAME_CHARS = 200;
const label = text.transform((value) =>
  truncate(spaceUnsafe(value.slice(0, MAX_NAME_CHARS + 1)), MAX_NAME_CHARS)
).catch("").default("");
const flag = z.unknown().optional().transform((value) => value === true);
/** A capability that is offered by an object, which may be empty. */
const offered = z.unknown().optional().transform((value) =>
  value !== undefined && value !== null && value !== false
);

/** Log-in methods that are kept, and characters of each. */
const MAX_AUTH_METHODS = 50;
const MAX_AUTH_CHARS = 16 * 1024;
// Measured before it is checked: to check millions of values takes seconds.
const isShortMethod = (method: unknown) => (JSON.stringify(method) ?? "").length <= MAX_AUTH_CHARS;
const authMethod = z.unknown().refine(isShortMethod).pipe(z.object({
  id,
  name: label,
  type: optionalText,
  /** The variables of a method of type `env_var`: a list, or one name. */
  vars: listOf(z.object({ name: text, optional: flag })).catch([]).default([]),
  varName: optionalText,
  /** Arguments and variables that a method of type `terminal` adds to the agent's own start command. */
  args: z.array(text).nullish().catch(undefined),
  env: z.record(z.string(), z.string()).nullish().catch(undefined),
  _meta: z.record(z.string(), z.unknown()).nullish().catch(undefined),
}));
/** A way to log in (ACP `AuthMethod`). */
export type AuthMethod = z.infer<typeof authMethod>;

const initializeResult = z.object({
  protocolVersion: z.number(),
  agentCapabilities: lenientObject({
    loadSession: flag,
    promptCapabilities: lenientObject({ image: flag, audio: flag }),
    mcpCapabilities: lenientObject({ http: flag, sse: flag }),
    sessionCapabilities: lenientObject({ close: offered, resume: offered, delete: offered }),
  }),
  authMethods: listOf(authMethod, MAX_AUTH_METHODS).catch([]).default([]),
  agentInfo: z.object({ name: text.transform((value) => truncate(value, MAX_NAME_CHARS)), version: label })
    .optional().catch(undefined),
}).transform(({ protocolVersion, agentCapabilities, authMethods, agentInfo }) => {
  const { loadSession, promptCapabilities, mcpCapabilities, sessionCapabilities } = agentCapabilities;
  // `session/resume` repeats nothing, `session/load` repeats the whole history.
  const loadMethod = loadSession ? "load" as const : undefined;
  return {
    agent: agentInfo,
    protocolVersion,
    promptCapabilities,
    resumeMethod: sessionCapabilities.resume ? "resume" as const : loadMethod,
    canClose: sessionCapabilities.close,
    canDelete: sessionCapabilities.delete,
    /** Ways in which the agent connects to MCP servers, beside starting them. */
    mcpTransports: mcpCapabilities,
    authMethods,
  };
});
/** The capabilities of an agent, out of the result of `initialize`. */
export type Capabilities = Readonly<z.infer<typeof initializeResult>>;
/** Parses the result of `initialize`. @throws {TypeError} naming the field. */
export const parseInitializeResult = parser(initializeResult, "the answer to initialize");

/** Parses the result of `session/new`. @throws {TypeError} naming the field. */
export const parseNewSessionResult = parser(z.object({ sessionId: id }), "the answer to session/new");

const toValue = (id: string, name: string) => ({ id, name: name || id });
const optionValue = z.object({ value: id, name: label }).transform(({ value, name }) => toValue(value, name));
const shortText = text.max(MAX_ID_CHARS).nullish().catch(undefined);
const current = shortText.transform((value) => value || undefined);
const configOption = z.object({
  id,
  category: shortText,
  type: z.literal("select").default("select"),
  currentValue: current,
  // Values, or groups of values.
  options: listOf(z.union([
    optionValue.transform((value) => [value]),
    z.object({ options: listOf(optionValue) }).transform(({ options }) => options),
  ])),
}).transform(({ id, category, currentValue, options }) => ({
  id,
  category,
  current: currentValue,
  values: options.flat().slice(0, MAX_ENTRIES),
}));
const modes = z.object({
  currentModeId: current,
  availableModes: listOf(z.object({ id, name: label })),
}).transform(({ currentModeId, availableModes }) => ({
  current: currentModeId,
  values: availableModes.map(({ id, name }) => toValue(id, name)),
}));
const models = z.object({
  currentModelId: current,
  availableModels: listOf(z.object({ modelId: id, name: label })),
}).transform(({ currentModelId, availableModels }) => ({
  current: currentModelId,
  values: availableModels.map(({ modelId, name }) => toValue(modelId, name)),
}));
const sessionSettings = lenientObject({
  configOptions: listOf(configOption).catch([]).default([]),
  modes: modes.optional().catch(undefined),
  /** Removed from the protocol, but still sent by some agents. */
  models: models.optional().catch(undefined),
});
/** The settings of a session in the results of `session/new`, `session/resume` and `session/load`. */
export type SessionSettings = z.infer<typeof sessionSettings>;
/** Parses the settings in the result of a request about a session. Malformed settings count as absent. */
export const parseSessionSettings = parser(sessionSettings, "the settings of a session");

const count = z.number().nonnegative().catch(0).default(0);
const promptResult = z.object({
  stopReason: z.enum(STOP_REASONS).catch("end_turn"),
  usage: lenientObject({
    inputTokens: count,
    outputTokens: count,
    thoughtTokens: count,
    cachedReadTokens: count,
  }),
  /** Gemini counts here. */
  _meta: lenientObject({
    quota: lenientObject({ token_count: lenientObject({ input_tokens: count, output_tokens: count }) }),
  }),
}).transform(({ stopReason, usage: { cachedReadTokens: cachedTokens, ...usage }, _meta }) => {
  const { input_tokens, output_tokens } = _meta.quota.token_count;
  const inputTokens = usage.inputTokens || input_tokens;
  const outputTokens = usage.outputTokens || output_tokens;
  const hasCounts = inputTokens + outputTokens > 0;
  return { stopReason, usage: hasCounts ? { ...usage, inputTokens, outputTokens, cachedTokens } : undefined };
});
/** The result of `session/prompt`. The usage is `undefined` if the agent counted no tokens. */
export type PromptResult = z.infer<typeof promptResult>;
/** Parses the result of `session/prompt`. @throws {TypeError} if the result is not an object. */
export const parsePromptResult = parser(promptResult, "the answer to session/prompt");

const toolFields = {
  toolCallId: id,
  title: nullableText,
  kind: z.enum(TOOL_KINDS).nullish().catch("other"),
  status: z.enum(TOOL_STATUSES).nullish().catch(undefined),
  name: nullableText,
  rawInput: z.unknown().optional(),
  content: z.unknown().optional(),
  locations: z.unknown().optional(),
  /** Claude names its tool here. */
  _meta: lenientObject({ claudeCode: lenientObject({ toolName: optionalText }) }),
};
const content = z.object({ type: text, text: optionalText });
/** Commands of one announcement that are kept: more than the command guard remembers, so that it knows of the rest. */
const MAX_COMMANDS = 20_000;
/** Entries of a plan that are kept, and characters of each. */
const MAX_PLAN_ENTRIES = 100;
const MAX_ENTRY_CHARS = 500;
const planEntry = z.object({
  content: text.transform((value) => truncate(value, MAX_ENTRY_CHARS)),
  priority: z.enum(["high", "medium", "low"]).catch("medium"),
  status: z.enum(["pending", "in_progress", "completed"]).catch("pending"),
});
/** Characters of a currency or another unit of a cost. */
const MAX_UNIT_CHARS = 20;
const sessionUpdate = z.discriminatedUnion("sessionUpdate", [
  z.object({
    sessionUpdate: z.literal(["agent_message_chunk", "agent_thought_chunk"]),
    content,
    /** Not every agent tells which message a chunk belongs to. */
    messageId: id.optional().catch(undefined),
  }),
  z.object({ sessionUpdate: z.literal(["tool_call", "tool_call_update"]), ...toolFields }),
  z.object({
    sessionUpdate: z.literal("plan"),
    entries: firstOf(planEntry, MAX_PLAN_ENTRIES),
  }),
  z.object({
    sessionUpdate: z.literal("available_commands_update"),
    availableCommands: listOf(z.object({ name: text.max(MAX_ID_CHARS) }), MAX_COMMANDS).catch([]).default([]),
  }),
  z.object({
    sessionUpdate: z.literal("usage_update"),
    used: count,
    size: count,
    cost: z.object({ amount: z.number().nonnegative(), currency: text.min(1).max(MAX_UNIT_CHARS) }).nullish()
      .catch(undefined),
  }),
  z.object({
    sessionUpdate: z.literal("config_option_update"),
    configOptions: listOf(configOption).catch([]).default([]),
  }),
]);
/** The `update` of a `session/update` notification, of the variants that are used. */
export type SessionUpdate = z.infer<typeof sessionUpdate>;
/** The fields of a tool call that are read. */
export type ToolFields = z.infer<z.ZodObject<typeof toolFields>>;

/** Parses the `update` of a `session/update`. Returns `undefined` for unused and malformed updates. */
export function parseSessionUpdate(value: unknown): SessionUpdate | undefined {
  return isTextChunk(value) ? value as SessionUpdate : sessionUpdate.safeParse(value).data;
}

/** Recognises a piece of text without a schema, because most updates are one. */
function isTextChunk(value: unknown): boolean {
  const { sessionUpdate, content, messageId } = (value ?? {}) as {
    sessionUpdate?: unknown;
    content?: { type?: unknown; text?: unknown };
    messageId?: unknown;
  };
  return (sessionUpdate === "agent_message_chunk" || sessionUpdate === "agent_thought_chunk") &&
    content?.type === "text" && typeof content.text === "string" &&
    (messageId === undefined ||
      typeof messageId === "string" && messageId !== "" && messageId.length <= MAX_ID_CHARS);
}

/** Options of a permission request that are kept. */
const MAX_OPTIONS = 20;
const permissionOption = z.object({ optionId: id, name: label, kind: id });
const permissionRequest = z.object({
  sessionId: text,
  toolCall: z.object(toolFields),
  options: firstOf(permissionOption, MAX_OPTIONS),
});
/** The parameters of `session/request_permission`. */
export type PermissionRequest = z.infer<typeof permissionRequest>;
/** Parses the parameters of `session/request_permission`. @throws {TypeError} naming the field. */
export const parsePermissionRequest = parser(permissionRequest, "session/request_permission");

/** The first fields of an object; another value counts as an empty one. */
const firstFields = z.unknown().optional().transform((value): Record<string, unknown> => {
  const fields = typeof value === "object" && value !== null ? Object.entries(value) : [];
  return Object.fromEntries(fields.slice(0, MAX_ENTRIES));
});
const elicitationRequest = z.object({
  sessionId: optionalText,
  message: text,
  mode: text,
  url: optionalText,
  requestedSchema: lenientObject({
    properties: firstFields,
    required: listOf(text).nullish().catch([]),
  }),
});
/** The parameters of `elicitation/create`. Without a session it belongs to another request, such as a log-in. */
export type ElicitationRequest = z.infer<typeof elicitationRequest>;
/** Parses the parameters of `elicitation/create`. @throws {TypeError} naming the field. */
export const parseElicitationRequest = parser(elicitationRequest, "elicitation/create");

const enumOption = z.object({ const: id, title: label });
const enumOptions = {
  enum: listOf(id).nullish().catch(undefined),
  oneOf: listOf(enumOption).nullish().catch(undefined),
  anyOf: listOf(enumOption).nullish().catch(undefined),
};
const bound = z.number().nullish().catch(undefined);
const elicitationProperty = z.object({
  type: z.enum(["string", "number", "integer", "boolean", "array"]),
  title: label,
  description: text.transform((value) => truncate(value, MAX_ENTRY_CHARS)).nullish().catch(undefined),
  default: z.unknown().optional(),
  format: nullableText,
  ...enumOptions,
  items: lenientObject(enumOptions),
  minLength: bound,
  maxLength: bound,
  minimum: bound,
  maximum: bound,
  minItems: bound,
  maxItems: bound,
});
/** A field of the form of `elicitation/create` (ACP `ElicitationPropertySchema`). */
export type ElicitationProperty = z.infer<typeof elicitationProperty>;
/** Parses a field of a form. Returns `undefined` for a malformed one, or one of a newer type. */
export function parseElicitationProperty(value: unknown): ElicitationProperty | undefined {
  return elicitationProperty.safeParse(value).data;
}

/** An environment variable or HTTP header (ACP `EnvVariable`, `HttpHeader`). */
export interface NamedValue {
  readonly name: string;
  readonly value: string;
}

/** An MCP server for the agent (ACP `McpServer`): a program to start, or an address to connect to. */
export type McpServer =
  | {
    readonly name: string;
    readonly command: string;
    readonly args: readonly string[];
    readonly env: readonly NamedValue[];
  }
  | {
    readonly type: "http" | "sse";
    readonly name: string;
    readonly url: string;
    readonly headers: readonly NamedValue[];
  };
