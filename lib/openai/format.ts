/** `response_format`: asking an agent for JSON, and checking that it is. @module */

import { z } from "zod";
import type { Message } from "../conversation/message.ts";
import { Failure, messageOf } from "../turn/failure.ts";

/** Characters of a schema that is accepted. */
const MAX_SCHEMA_CHARS = 64 * 1024;
/** What a persona may have asked for before everything: `[happy]`. */
const LEADING_TAGS = /^(?:\s*\[[A-Za-z][\w:.,\- ]{0,31}\])+/;

/** A reply that must be JSON. */
export interface ResponseFormat {
  /** What the agent is told. */
  readonly instruction: string;
  /** The JSON of a reply, without the fence or words around it. @throws {Error} saying what is wrong with it. */
  check(reply: string): string;
}

const formatSchema = z.looseObject({
  type: z.enum(["text", "json_object", "json_schema"]),
  json_schema: z.looseObject({ name: z.string(), schema: z.record(z.string(), z.unknown()).optional() })
    .optional(),
});

/** Reads the field; `undefined` for plain text. @throws {Failure} that names the field. */
export function parseFormat(value: unknown): ResponseFormat | undefined {
  if (value === undefined || value === null) return undefined;
  const param = "response_format";
  const result = formatSchema.safeParse(value);
  if (!result.success) {
    const at = [param, ...result.error.issues[0]?.path ?? []].join(".");
    throw new Failure(
      "unsupported_value",
      `"${at}" is wrong: the type must be text, json_object or json_schema, the last with a name and a schema.`,
      { param: at },
    );
  }
  switch (result.data.type) {
    case "text":
      return undefined;
    case "json_object":
      return {
        instruction: INSTRUCTION,
        check: (reply) => checkJson(reply, z.record(z.string(), z.unknown())),
      };
    case "json_schema":
      return schemaFormat(result.data.json_schema?.schema);
    default:
      return result.data.type satisfies never;
  }
}

/** The messages with the instruction, said right before what the user said last. */
export function withInstruction(messages: readonly Message[], { instruction }: ResponseFormat): Message[] {
  const last = messages.findLastIndex((message) => message.role === "user");
  const said: Message = { role: "system", parts: [{ type: "text", text: instruction }], isAdded: true };
  return [...messages.slice(0, last), said, ...messages.slice(last)];
}

/** The messages after a reply that was not as asked, with what is wrong with it. */
export function withComplaint(messages: readonly Message[], reply: string, why: string): Message[] {
  const text = `That is not what was asked for: ${why}. Answer again, with the JSON and nothing else.`;
  return [
    ...messages,
    { role: "assistant", parts: [{ type: "text", text: reply }] },
    { role: "user", parts: [{ type: "text", text }] },
  ];
}

const INSTRUCTION =
  "Answer with one JSON object and nothing else: no fence, no words around it, no [emotion] tags.";

function schemaFormat(schema: Record<string, unknown> | undefined): ResponseFormat {
  const param = "response_format.json_schema.schema";
  if (schema === undefined) {
    throw new Failure("missing_required_parameter", `"${param}" is required.`, { param });
  }
  const text = JSON.stringify(schema);
  if (text.length > MAX_SCHEMA_CHARS) {
    throw new Failure("invalid_value", `"${param}" is longer than ${MAX_SCHEMA_CHARS} characters.`, {
      param,
    });
  }
  let compiled: z.ZodType;
  try {
    compiled = z.fromJSONSchema(schema);
  } catch (error) {
    throw new Failure("invalid_value", `"${param}" cannot be used: ${messageOf(error)}`, { param });
  }
  return {
    instruction: `${INSTRUCTION} It must fit this JSON schema: ${text}`,
    check: (reply) => checkJson(reply, compiled),
  };
}

/** The JSON of the reply: from its first bracket to its last, but for emotion tags before it. */
function checkJson(reply: string, schema: z.ZodType): string {
  const bare = isJson(reply) ? reply : reply.replace(LEADING_TAGS, "");
  const start = bare.search(/[[{]/);
  const end = Math.max(bare.lastIndexOf("}"), bare.lastIndexOf("]"));
  if (start < 0 || end < start) throw new Error("it holds no JSON");
  const json = bare.slice(start, end + 1);
  if (!isJson(json)) throw new Error("it is not valid JSON");
  const result = schema.safeParse(JSON.parse(json));
  if (result.success) return json;
  const issue = result.error.issues[0];
  throw new Error(`${issue?.path.join(".") || "it"}: ${issue?.message}`);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
