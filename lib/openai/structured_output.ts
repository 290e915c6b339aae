/** `response_format` and `text.format`: ask the agent for JSON, and take the JSON out of its reply. @module */

import { z } from "zod";
import type { Message } from "../conversation/message.ts";
import { BoundedMap } from "../core/bounded_map.ts";
import { AppError } from "../core/errors.ts";
import { shapeFault } from "../http/json_body.ts";
import { checkJson } from "./json_schema.ts";
import { LEADING_TAGS } from "./skin_text.ts";

/** Longest schema, in characters. */
const MAX_SCHEMA_CHARS = 64 * 1024;
const INSTRUCTION =
  "Answer with one JSON object and nothing else: no fence, no words around it, no [emotion] tags.";

/** The fields that ask for JSON, each with the field of its schema: in chat, and in a response. */
const SCHEMA_FIELDS = {
  "response_format": "response_format.json_schema.schema",
  "text.format": "text.format.schema",
} as const;
type FormatField = keyof typeof SCHEMA_FIELDS;

/** The JSON that a reply must be. */
export interface ResponseFormat {
  /** The field of the request, for errors. */
  readonly field: FormatField;
  /** System text for the agent. */
  readonly instruction: string;
  /** Without a schema, the reply must be any object. */
  readonly schema?: Record<string, unknown>;
  /** The client wants the schema to constrain the model. */
  readonly isStrict?: boolean;
}

const type = z.enum(["text", "json_object", "json_schema"]);
const jsonSchema = z.object({
  name: z.string(),
  schema: z.record(z.string(), z.unknown()).optional(),
  strict: z.unknown().optional(),
});
const chatFormat = z.object({ type, json_schema: jsonSchema.optional() })
  .transform(({ type, json_schema }) => ({ type, ...json_schema }));
const textFormat = z.discriminatedUnion("type", [
  z.object({ type: type.exclude(["json_schema"]) }),
  jsonSchema.extend({ type: z.literal("json_schema") }),
]);
type WireFormat = { type: z.infer<typeof type> } & Partial<z.infer<typeof jsonSchema>>;
const FORMATS: Readonly<Record<FormatField, z.ZodType<WireFormat>>> = {
  "response_format": chatFormat,
  "text.format": textFormat,
};

/** Parses the field; `undefined` for plain text. @throws {AppError} that names the field. */
export function parseFormat(
  value: unknown,
  field: FormatField = "response_format",
): ResponseFormat | undefined {
  if (value === undefined || value === null) return undefined;
  const { data, error } = FORMATS[field].safeParse(value);
  if (error) {
    const param = [field, ...error.issues[0]?.path ?? []].join(".");
    throw new AppError(
      "unsupported_value",
      `"${param}" is wrong: the type must be text, json_object or json_schema, the last with a name and a schema.`,
      { param },
    );
  }
  switch (data.type) {
    case "text":
      return undefined;
    case "json_object":
      return { field, instruction: INSTRUCTION };
    case "json_schema":
      return { ...schemaFormat(field, data.schema), isStrict: data.strict === true };
    default:
      return data.type satisfies never;
  }
}

function schemaFormat(field: FormatField, schema: Record<string, unknown> | undefined): ResponseFormat {
  const param = SCHEMA_FIELDS[field];
  if (schema === undefined) {
    throw new AppError("missing_required_parameter", `"${param}" is required.`, { param });
  }
  const text = JSON.stringify(schema);
  if (text.length > MAX_SCHEMA_CHARS) {
    throw invalidSchema(field, `is longer than ${MAX_SCHEMA_CHARS} characters.`);
  }
  return { field, instruction: `${INSTRUCTION} It must fit this JSON schema: ${text}`, schema };
}

/** The instructions of usable schemas, the newest 50: clients send one schema again and again. */
const usable = new BoundedMap<string, true>(50);

/** Checks that replies can be checked against the schema. @throws {AppError} that names the field. */
export async function requireUsableSchema(
  { field, schema, instruction }: ResponseFormat,
  signal: AbortSignal,
): Promise<void> {
  if (schema === undefined || usable.has(instruction)) return;
  const fault = (await checkJson({ schema }, signal)).schema;
  if (fault !== undefined) throw invalidSchema(field, `cannot be used: ${fault}.`);
  usable.set(instruction, true);
}

function invalidSchema(field: FormatField, fault: string): AppError {
  const param = SCHEMA_FIELDS[field];
  return new AppError("invalid_value", `"${param}" ${fault}`, { param });
}

/** Inserts the instruction before the last user message. */
export function withInstruction(messages: readonly Message[], { instruction }: ResponseFormat): Message[] {
  const last = messages.findLastIndex((message) => message.role === "user");
  const added: Message = { role: "system", parts: [{ type: "text", text: instruction }], isAdded: true };
  return messages.toSpliced(last < 0 ? messages.length : last, 0, added);
}

/**
 * Takes the JSON out of a reply, from its first bracket to its last. A persona may ask for an emotion tag before it.
 *
 * @param isCancelled The turn was cancelled, so the reply may be incomplete.
 * @throws {AppError} `invalid_output` if the reply does not match the format, `turn_cancelled` if it was cut off; the
 * signal's reason if it aborts.
 */
export async function extractJson(
  { field, schema }: ResponseFormat,
  reply: string,
  isCancelled: boolean,
  signal: AbortSignal,
): Promise<string> {
  const bare = reply.replace(LEADING_TAGS, "");
  const end = Math.max(bare.lastIndexOf("}"), bare.lastIndexOf("]"));
  const json = bare.slice(Math.max(0, bare.search(/[[{]/)), end + 1);
  const fault = syntaxFault(json, schema === undefined) ??
    (schema && (await checkJson({ schema, json }, signal)).json);
  if (fault === undefined) return json;
  throw isCancelled
    ? new AppError("turn_cancelled", "The turn was cancelled before its reply was complete.", {
      prompted: true,
    })
    : new AppError("invalid_output", `The agent did not answer with the JSON that was asked for: ${fault}.`, {
      param: field,
      prompted: true,
    });
}

function syntaxFault(json: string, mustBeObject: boolean): string | undefined {
  if (json === "") return "it holds no JSON";
  const shape = shapeFault(json);
  if (shape !== undefined) return `it ${shape}`;
  try {
    JSON.parse(json);
  } catch {
    return "it is not valid JSON";
  }
  return mustBeObject && !json.startsWith("{") ? "it is no object" : undefined;
}
