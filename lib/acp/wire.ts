/**
 * Parsers of what an ACP agent sends (Agent Client Protocol, version 1). Agents are older and newer than this program, so
 * only the fields that are needed are required; other malformed fields count as absent. Source: `schema/v1/schema.json`
 * of `@agentclientprotocol/sdk`, and recordings of real agents.
 *
 * @module
 */

import { STOP_REASONS, type StopReason, TOOL_KINDS, TOOL_STATUSES, type Usage } from "../turn/event.ts";
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

/** A list without its malformed entries. */
function listOf<T>(entry: z.ZodType<T>) {
  return z.array(z.unknown()).transform((entries) =>
    entries.flatMap((value) => {
      const result = entry.safeParse(value);
      return result.success ? [result.data] : [];
    })
  );
}

const text = z.string();
const optionalText = text.optional().catch(undefined);
const nullableText = text.nullish().catch(undefined);
const label = text.catch("").default("");
const flag = z.boolean().catch(false).default(false);
/** A capability that is offered by an object, which may be empty. */
const offered = z.unknown().optional().transform((value) =>
  value !== undefined && value !== null && value !== false
);

const authMethod = z.looseObject({
  id: text,
  name: label,
  type: optionalText,
  _meta: z.record(z.string(), z.unknown()).nullish().catch(undefined),
});
/** A way to log in (ACP `AuthMethod`). */
export type AuthMethod = z.infer<typeof authMethod>;

const noPromptCapabilities = { image: false, audio: false };
const noSessionCapabilities = { close: false, resume: false, delete: false };
const noMcpCapabilities = { http: false, sse: false };
const initializeResult = z.looseObject({
  protocolVersion: z.number(),
  agentCapabilities: z.looseObject({
    loadSession: flag,
    promptCapabilities: z.looseObject({ image: flag, audio: flag })
      .catch(noPromptCapabilities).default(noPromptCapabilities),
    mcpCapabilities: z.looseObject({ http: flag, sse: flag })
      .catch(noMcpCapabilities).default(noMcpCapabilities),
    sessionCapabilities: z.looseObject({ close: offered, resume: offered, delete: offered })
      .catch(noSessionCapabilities).default(noSessionCapabilities),
  }).nullish(),
  authMethods: z.array(authMethod).nullish().catch([]),
  agentInfo: z.looseObject({ name: text, version: text.optional() }).nullish().catch(undefined),
});
/** The result of `initialize`. */
export type InitializeResult = z.infer<typeof initializeResult>;
/** Parses the result of `initialize`. @throws {TypeError} naming the field. */
export const parseInitializeResult = parser(initializeResult, "the answer to initialize");

/** Parses the result of `session/new`. @throws {TypeError} naming the field. */
export const parseNewSessionResult = parser(
  z.looseObject({ sessionId: text.min(1) }),
  "the answer to session/new",
);

/** Longest id of a model, mode or option, in characters. Entries with longer ids are skipped. */
const MAX_ID_CHARS = 500;
const id = text.min(1).max(MAX_ID_CHARS);
const optionValue = z.object({ value: id, name: label });
const configOption = z.object({
  id,
  category: nullableText,
  type: z.literal("select").default("select"),
  currentValue: optionalText,
  // Values, or groups of values.
  options: listOf(z.union([
    optionValue.transform((value) => [value]),
    z.object({ options: listOf(optionValue) }).transform(({ options }) => options),
  ])).transform((lists) => lists.flat()),
});
const configOptions = listOf(configOption).nullish().catch(undefined)
  .transform((options): readonly ConfigOption[] => options ?? []);
const sessionSettings = z.object({
  configOptions,
  modes: z.object({ currentModeId: optionalText, availableModes: listOf(z.object({ id, name: label })) })
    .nullish().catch(undefined),
  /** Removed from the protocol, but still sent by some agents. */
  models: z.object({
    currentModelId: optionalText,
    availableModels: listOf(z.object({ modelId: id, name: label })),
  }).nullish().catch(undefined),
});
/** A setting of a session with a list of values (ACP `SessionConfigOption`). */
export type ConfigOption = z.infer<typeof configOption>;
/** The settings of a session in the results of `session/new`, `session/resume` and `session/load`. */
export type SessionSettings = z.infer<typeof sessionSettings>;

/** Parses the settings in the result of a request about a session. Malformed settings count as absent. */
export function parseSessionSettings(value: unknown): SessionSettings {
  const result = sessionSettings.safeParse(value);
  return result.success ? result.data : { configOptions: [], modes: undefined, models: undefined };
}

const count = z.number().nonnegative().nullish().catch(undefined).transform((value) => value ?? 0);
const promptResult = z.looseObject({
  stopReason: z.enum(STOP_REASONS).catch("end_turn"),
  usage: z.looseObject({
    inputTokens: count,
    outputTokens: count,
    thoughtTokens: count,
    cachedReadTokens: count,
  }).nullish().catch(undefined),
  /** Gemini counts here. */
  _meta: z.looseObject({
    quota: z.looseObject({ token_count: z.looseObject({ input_tokens: count, output_tokens: count }) }),
  }).nullish().catch(undefined),
});
const readPromptResult = parser(promptResult, "the answer to session/prompt");

/**
 * Parses the result of `session/prompt`. The usage is `undefined` if the agent counted no tokens.
 *
 * @throws {TypeError} if the result is not an object.
 */
export function parsePromptResult(value: unknown): { stopReason: StopReason; usage: Usage | undefined } {
  const { stopReason, usage, _meta } = readPromptResult(value);
  const quota = _meta?.quota.token_count;
  const inputTokens = usage?.inputTokens || quota?.input_tokens || 0;
  const outputTokens = usage?.outputTokens || quota?.output_tokens || 0;
  if (inputTokens + outputTokens === 0) return { stopReason, usage: undefined };
  const { thoughtTokens = 0, cachedReadTokens = 0 } = usage ?? {};
  return { stopReason, usage: { inputTokens, outputTokens, thoughtTokens, cachedTokens: cachedReadTokens } };
}

const toolFields = {
  toolCallId: text.min(1),
  title: nullableText,
  kind: z.enum(TOOL_KINDS).nullish().catch("other"),
  status: z.enum(TOOL_STATUSES).nullish().catch(undefined),
  name: nullableText,
  rawInput: z.unknown().optional(),
  /** Claude names its tool here. */
  _meta: z.looseObject({ claudeCode: z.looseObject({ toolName: text.optional() }).optional() })
    .nullish().catch(undefined),
};
const content = z.looseObject({ type: text, text: optionalText });
const planEntry = z.looseObject({
  content: text,
  priority: z.enum(["high", "medium", "low"]).catch("medium"),
  status: z.enum(["pending", "in_progress", "completed"]).catch("pending"),
});
const sessionUpdate = z.discriminatedUnion("sessionUpdate", [
  z.looseObject({ sessionUpdate: z.literal(["agent_message_chunk", "agent_thought_chunk"]), content }),
  z.looseObject({ sessionUpdate: z.literal(["tool_call", "tool_call_update"]), ...toolFields }),
  z.looseObject({ sessionUpdate: z.literal("plan"), entries: z.array(planEntry) }),
  z.looseObject({
    sessionUpdate: z.literal("available_commands_update"),
    availableCommands: listOf(z.object({ name: text })).catch([]),
  }),
  z.looseObject({ sessionUpdate: z.literal("config_option_update"), configOptions }),
  // Not used: replayed history, modes, titles, context size, notices and housekeeping.
  z.looseObject({
    sessionUpdate: z.literal([
      "user_message_chunk",
      "current_mode_update",
      "session_info_update",
      "usage_update",
      "notice",
      "compaction_update",
      "compaction_summary_chunk",
    ]),
  }),
]);
/** The `update` of a `session/update` notification. */
export type SessionUpdate = z.infer<typeof sessionUpdate>;
/** The fields of a tool call that are read. */
export type ToolFields = z.infer<z.ZodObject<typeof toolFields>>;

/** Parses the `update` of a `session/update`. Returns `undefined` for unknown and malformed updates. */
export function parseSessionUpdate(value: unknown): SessionUpdate | undefined {
  const result = sessionUpdate.safeParse(value);
  return result.success ? result.data : undefined;
}

const permissionRequest = z.looseObject({
  sessionId: text,
  toolCall: z.looseObject(toolFields),
  options: z.array(z.looseObject({ optionId: text, name: text.catch(""), kind: text })),
});
/** The parameters of `session/request_permission`. */
export type PermissionRequest = z.infer<typeof permissionRequest>;
/** Parses the parameters of `session/request_permission`. @throws {TypeError} naming the field. */
export const parsePermissionRequest = parser(permissionRequest, "session/request_permission");

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
