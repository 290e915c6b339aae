/** `response_format`: asking an agent for JSON, and checking that it is. @module */

import type { PrivateConversation } from "../conversation/private_conversation.ts";
import type { Message } from "../conversation/message.ts";
import type { TurnRequest } from "../conversation/registry.ts";
import { abortable } from "../core/abortable.ts";
import { AppError, messageOf, toAppError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { turnAbandonedError } from "../turn/idempotency.ts";
import type { Turn } from "../turn/turn.ts";
import type { ReplyOptions } from "./reply_reader.ts";
import { type CollectedReply, collectReply, openStream, type ReplySource } from "./response.ts";
import { completionUsage } from "./usage.ts";
import { z } from "zod";

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

/** Reads the field; `undefined` for plain text. @throws {AppError} that names the field. */
export function parseFormat(value: unknown): ResponseFormat | undefined {
  if (value === undefined || value === null) return undefined;
  const param = "response_format";
  const result = formatSchema.safeParse(value);
  if (!result.success) {
    const at = [param, ...result.error.issues[0]?.path ?? []].join(".");
    throw new AppError(
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
export function withCorrection(messages: readonly Message[], reply: string, why: string): Message[] {
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
    throw new AppError("missing_required_parameter", `"${param}" is required.`, { param });
  }
  const text = JSON.stringify(schema);
  if (text.length > MAX_SCHEMA_CHARS) {
    throw new AppError("invalid_value", `"${param}" is longer than ${MAX_SCHEMA_CHARS} characters.`, {
      param,
    });
  }
  let compiled: z.ZodType;
  try {
    compiled = z.fromJSONSchema(schema);
  } catch (error) {
    throw new AppError("invalid_value", `"${param}" cannot be used: ${messageOf(error)}`, { param });
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

/** What is asked. */
interface Formatted {
  readonly asked: TurnRequest;
  readonly format: ResponseFormat;
  readonly options: ReplyOptions;
}

/** What it needs of the rest of the program. */
interface FormattedDeps {
  readonly startTurn: (request: TurnRequest, signal: AbortSignal) => Promise<Turn>;
  readonly hold: () => PrivateConversation;
  readonly log: Log;
}

/** An answer that several requests wait for: the same one, sent again. */
interface Shared {
  readonly answer: Promise<CollectedReply>;
  /** Aborted when nobody waits for it any more. */
  readonly gone: AbortController;
  waiting: number;
}

/** The answers by their first turn: a request that is sent again finds that, and with it what came of it. */
const sharedAnswers = new WeakMap<Turn, Shared>();

/**
 * Begins the turn; the answer is gathered, since what is not checked cannot be said.
 *
 * @param begin Begins the first turn, or finds it if the request was sent before.
 */
export async function formattedSource(
  formatted: Formatted,
  begin: (request: TurnRequest) => Promise<Turn>,
  deps: FormattedDeps,
): Promise<ReplySource> {
  const { format, options } = formatted;
  using stack = new DisposableStack();
  const hold = stack.use(deps.hold());
  const asked = { ...formatted.asked, hold, messages: withInstruction(formatted.asked.messages, format) };
  const turn = await begin(asked);
  const owned = stack.move();

  async function answer(signal: AbortSignal): Promise<CollectedReply> {
    using _owned = owned;
    let given: string | undefined;
    try {
      const gathered = await checkedAnswer(signal);
      given = gathered.text;
      return gathered;
    } finally {
      hold.gave(given);
    }
  }

  async function checkedAnswer(signal: AbortSignal): Promise<CollectedReply> {
    const first = await collectReply(turn, options, signal);
    const why = fault(format, first.text);
    if (why === undefined) return { ...first, text: format.check(first.text) };
    // Why is not logged: it may repeat what the agent said.
    deps.log.info("an answer was not the JSON that was asked for; asking once more");
    await turn.ended;
    const messages = withCorrection(asked.messages, first.text, why);
    const next = await deps.startTurn({ ...asked, conversation: hold, messages }, signal).catch((error) => {
      // The first turn reached the agent: nobody should send it all again.
      throw error instanceof AppError ? error.afterPrompt() : error;
    });
    const second = await collectReply(next, options, signal);
    const still = fault(format, second.text);
    if (still === undefined) return { ...second, text: format.check(second.text) };
    throw new AppError(
      "invalid_output",
      `The agent did not answer with the JSON that was asked for: ${still}.`,
      { param: "response_format", prompted: true },
    );
  }

  const gather = (signal: AbortSignal) => share(turn, answer, signal);
  return {
    turn,
    collect: gather,
    stream(request) {
      const gone = new AbortController();
      const { response, sink } = openStream(request, () => gone.abort());
      gather(gone.signal).then(({ text, end }) => {
        sink.text(text);
        sink.end({ ...end, tail: "\n" });
      }, (error) => {
        const usage = completionUsage(undefined, { prompt: options.promptTokens, completion: 1 });
        const failure = toAppError(error, "internal_error");
        sink.end({ finish: "error", usage, estimated: true, failure, tail: "" });
      });
      return response;
    },
  };
}

/** Waits for the turn's answer, which is made once; who leaves last ends it. */
async function share(
  turn: Turn,
  make: (signal: AbortSignal) => Promise<CollectedReply>,
  signal: AbortSignal,
): Promise<CollectedReply> {
  let shared = sharedAnswers.get(turn);
  if (shared === undefined) {
    const gone = new AbortController();
    shared = { answer: make(gone.signal), gone, waiting: 0 };
    sharedAnswers.set(turn, shared);
  }
  shared.waiting++;
  try {
    return await abortable(shared.answer, signal);
  } finally {
    if (--shared.waiting === 0) shared.gone.abort(turnAbandonedError());
  }
}

/** What is wrong with a reply, if anything. */
function fault(format: ResponseFormat, reply: string): string | undefined {
  try {
    format.check(reply);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
