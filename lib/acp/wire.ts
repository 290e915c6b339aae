/**
 * What is read from an ACP agent (Agent Client Protocol, version 1): checked where it comes in, and leniently, since
 * agents are newer and older than this. Source: `schema/v1/schema.json` of `@agentclientprotocol/sdk` and the answers
 * of real agents.
 *
 * @module
 */

import { STOP_REASONS, type StopReason, TOOL_KINDS, TOOL_STATUSES, type Usage } from "../turn/event.ts";
import { z } from "zod";

/** The protocol version that is spoken, exactly. */
export const PROTOCOL_VERSION = 1;

/** Reads a value, or says in one line what is wrong with it. */
function reader<T>(schema: z.ZodType<T>, what: string): (value: unknown) => T {
  return (value) => {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    const issue = result.error.issues[0];
    throw new TypeError(`${what}: ${issue?.path.join(".") || "it"}: ${issue?.message ?? "is wrong"}`);
  };
}

/** A list of which the entries are kept that can be read. */
function listOf<T>(entry: z.ZodType<T>) {
  return z.array(z.unknown()).transform((list) =>
    list.flatMap((one) => {
      const result = entry.safeParse(one);
      return result.success ? [result.data] : [];
    })
  );
}

const flag = z.boolean().catch(false).default(false);
const text = z.string();

const authMethod = z.looseObject({
  id: text,
  name: text.catch("").default(""),
  type: text.optional().catch(undefined),
  _meta: z.record(z.string(), z.unknown()).nullish().catch(undefined),
});
/** A way to log in that the agent offers. */
export type AuthMethod = z.infer<typeof authMethod>;

const noPromptCapabilities = { image: false, audio: false };
const noSessionCapabilities = { close: false, resume: false, delete: false };
const noMcpCapabilities = { http: false, sse: false };
const offered = z.unknown().optional().transform((value) =>
  value !== undefined && value !== null && value !== false
);
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
/** What an agent says of itself. */
export type InitializeResult = z.infer<typeof initializeResult>;
/** Reads the answer to `initialize`. @throws {TypeError} naming the field. */
export const parseInitializeResult = reader(initializeResult, "the answer to initialize");

/** Reads the answer to `session/new`. @throws {TypeError} naming the field. */
export const parseNewSessionResult = reader(
  z.looseObject({ sessionId: text.min(1) }),
  "the answer to session/new",
);

/** Characters of a name by which an agent is asked for something; longer ones are passed over. */
const MAX_ID_CHARS = 500;
const id = text.min(1).max(MAX_ID_CHARS);
const label = text.catch("").default("");
const value = z.object({ value: id, name: label });
const configOption = z.object({
  id,
  category: text.nullish().catch(undefined),
  type: z.literal("select").default("select"),
  currentValue: text.optional().catch(undefined),
  // Plain values, or groups of them.
  options: listOf(z.union([
    value.transform((one) => [one]),
    z.object({ options: listOf(value) }).transform(({ options }) => options),
  ])).transform((lists) => lists.flat()),
});
const configOptions = listOf(configOption).nullish().catch(undefined).transform((options) => options ?? []);
const settings = z.object({
  configOptions,
  modes: z.object({
    currentModeId: text.optional().catch(undefined),
    availableModes: listOf(z.object({ id, name: label })),
  }).nullish().catch(undefined),
  /** No longer in the protocol, and still what some agents have. */
  models: z.object({
    currentModelId: text.optional().catch(undefined),
    availableModels: listOf(z.object({ modelId: id, name: label })),
  }).nullish().catch(undefined),
});
/** Something that can be chosen for a session, out of a list. */
export type ConfigOption = z.infer<typeof configOption>;
/** What can be chosen for a session, as the answers to `session/new`, `session/resume` and `session/load` tell. */
export type SessionSettings = z.infer<typeof settings>;

/** Reads the settings in the answer to a request about a session; what cannot be read is not there. */
export function parseSessionSettings(value: unknown): SessionSettings {
  const result = settings.safeParse(value);
  return result.success ? result.data : { configOptions: [], modes: undefined, models: undefined };
}

const count = z.number().nonnegative().nullish().catch(undefined).transform((value) => value ?? 0);
const usage = z.looseObject({
  inputTokens: count,
  outputTokens: count,
  thoughtTokens: count,
  cachedReadTokens: count,
});
/** Gemini's own: `_meta.quota.token_count`. */
const quota = z.looseObject({
  quota: z.looseObject({ token_count: z.looseObject({ input_tokens: count, output_tokens: count }) }),
});
const promptResult = z.looseObject({
  stopReason: z.enum(STOP_REASONS).catch("end_turn"),
  usage: usage.nullish().catch(undefined),
  _meta: quota.nullish().catch(undefined),
});

/** Reads the answer to `session/prompt`; usage only where the agent counted something. */
export function parsePromptResult(value: unknown): { stopReason: StopReason; usage: Usage | undefined } {
  const { stopReason, usage, _meta } = readPromptResult(value);
  const tokens = _meta?.quota.token_count;
  const counted: Usage = {
    inputTokens: usage?.inputTokens || tokens?.input_tokens || 0,
    outputTokens: usage?.outputTokens || tokens?.output_tokens || 0,
    thoughtTokens: usage?.thoughtTokens ?? 0,
    cachedTokens: usage?.cachedReadTokens ?? 0,
  };
  return { stopReason, usage: counted.inputTokens + counted.outputTokens > 0 ? counted : undefined };
}
const readPromptResult = reader(promptResult, "the answer to session/prompt");

const contentBlock = z.looseObject({ type: text, text: text.optional().catch(undefined) });
const kind = z.enum(TOOL_KINDS).nullish().catch("other");
const status = z.enum(TOOL_STATUSES).nullish().catch(undefined);
const toolFields = {
  toolCallId: text.min(1),
  title: text.nullish().catch(undefined),
  kind,
  status,
  name: text.nullish().catch(undefined),
  rawInput: z.unknown().optional(),
  /** Claude's own. */
  _meta: z.looseObject({ claudeCode: z.looseObject({ toolName: text.optional() }).optional() })
    .nullish().catch(undefined),
};
const planEntry = z.looseObject({
  content: text,
  priority: z.enum(["high", "medium", "low"]).catch("medium"),
  status: z.enum(["pending", "in_progress", "completed"]).catch("pending"),
});
const chunk = { content: contentBlock };
const anything = <T extends string>(sessionUpdate: T) =>
  z.looseObject({ sessionUpdate: z.literal(sessionUpdate) });
const sessionUpdate = z.discriminatedUnion("sessionUpdate", [
  z.looseObject({ sessionUpdate: z.literal("agent_message_chunk"), ...chunk }),
  z.looseObject({ sessionUpdate: z.literal("agent_thought_chunk"), ...chunk }),
  z.looseObject({ sessionUpdate: z.literal("tool_call"), ...toolFields }),
  z.looseObject({ sessionUpdate: z.literal("tool_call_update"), ...toolFields }),
  z.looseObject({ sessionUpdate: z.literal("plan"), entries: z.array(planEntry) }),
  anything("user_message_chunk"),
  z.looseObject({
    sessionUpdate: z.literal("available_commands_update"),
    availableCommands: listOf(z.object({ name: text })).catch([]),
  }),
  anything("current_mode_update"),
  z.looseObject({ sessionUpdate: z.literal("config_option_update"), configOptions }),
  anything("session_info_update"),
  anything("usage_update"),
  anything("notice"),
  anything("compaction_update"),
  anything("compaction_summary_chunk"),
]);
/** One `session/update` of protocol version 1. */
export type SessionUpdate = z.infer<typeof sessionUpdate>;

/** Reads the `update` of a `session/update`, or `undefined` for one that this does not know. */
export function parseSessionUpdate(value: unknown): SessionUpdate | undefined {
  const result = sessionUpdate.safeParse(value);
  return result.success ? result.data : undefined;
}

const permissionRequest = z.looseObject({
  sessionId: text,
  toolCall: z.looseObject(toolFields),
  options: z.array(z.looseObject({ optionId: text, name: text.catch(""), kind: text })),
});
/** What an agent asks before it uses a tool. */
export type PermissionRequest = z.infer<typeof permissionRequest>;
/** Reads `session/request_permission`. @throws {TypeError} naming the field. */
export const parsePermissionRequest = reader(permissionRequest, "session/request_permission");

/** A name and what it is set to. */
export interface NamedValue {
  readonly name: string;
  readonly value: string;
}

/** An MCP server (ACP `McpServer`): a program that the agent starts, or an address that it connects to. */
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
