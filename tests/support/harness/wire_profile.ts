/**
 * The stream profile that every skin survives, as a checker of what the server wrote.
 *
 * @module
 */

/** A streamed chat completion chunk, loosely: a test may meet a broken one. */
export interface ChatChunk {
  id?: string;
  object?: string;
  created?: number;
  model?: string;
  choices?: ChatChunkChoice[];
  usage?: Record<string, unknown> | null;
  error?: { message?: string; type?: string; param?: string | null; code?: string | null } | null;
}

/** One choice of a chunk. */
export interface ChatChunkChoice {
  index?: number;
  delta?: { role?: string; content?: string | null; tool_calls?: unknown[] | null };
  finish_reason?: string | null;
}

/** What a stream said, once its framing is taken off. */
export interface ParsedFrames {
  /** Every JSON frame, in order; `[DONE]` is not one. */
  chunks: ChatChunk[];
  /** The content of the first choices, joined. */
  text: string;
  /** Whether `[DONE]` was the last frame. */
  done: boolean;
  /** Comment lines, without the colon. */
  comments: string[];
}

/** What the request allowed beyond the default profile. */
export interface WireProfileOptions {
  /** Comments may stand between events (`VTUBER_HEARTBEAT=comment`). */
  comments?: boolean;
  /** One usage chunk with empty `choices` must follow the finish chunk (`include_usage`). */
  usage?: boolean;
}

const MAX_WRITE_BYTES = 8 * 1024;
const MAX_CONTENT_CHARS = 1_200;
const SAME_IN_ALL = {
  id: (value: unknown) => typeof value === "string" && value !== "",
  object: (value: unknown) => value === "chat.completion.chunk",
  created: (value: unknown) => Number.isSafeInteger(value),
  model: (value: unknown) => typeof value === "string",
} as const;
const BANNED_KEYS = ["error", "tool_calls"] as const;

/** A JSON frame and the number of its event, counted from 1. */
interface Frame {
  event: number;
  json: Record<string, unknown>;
}

type Complain = (violation: string) => void;

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The lines of each event; a line end too many shows as an empty line in front. */
function splitEvents(text: string): string[][] {
  const blocks = text.split("\n\n");
  if (blocks.at(-1) === "") blocks.pop();
  return blocks.map((block) => block.split("\n"));
}

function payloadOf(line: string): string {
  return line.slice("data:".length).replace(/^ /, "");
}

function firstChoice(json: Record<string, unknown>): Record<string, unknown> | undefined {
  const first: unknown = Array.isArray(json.choices) ? json.choices[0] : undefined;
  return isRecord(first) ? first : undefined;
}

function deltaOf(json: Record<string, unknown>): Record<string, unknown> {
  const delta = firstChoice(json)?.delta;
  return isRecord(delta) ? delta : {};
}

function contentOf(json: Record<string, unknown>): string {
  const { content } = deltaOf(json);
  return typeof content === "string" ? content : "";
}

function isFinish(json: Record<string, unknown>): boolean {
  const reason = firstChoice(json)?.finish_reason;
  return reason !== undefined && reason !== null;
}

function isUsageOnly(json: Record<string, unknown>): boolean {
  return Array.isArray(json.choices) && json.choices.length === 0 && isRecord(json.usage);
}

function hasKey(value: unknown, key: string): boolean {
  if (Array.isArray(value)) return value.some((item) => hasKey(item, key));
  return isRecord(value) &&
    (Object.hasOwn(value, key) || Object.values(value).some((item) => hasKey(item, key)));
}

/** Checks the bytes of each write and returns all of them as text, with LF only. */
function checkWrites(writes: readonly Uint8Array[], complain: Complain): string {
  const strict = new TextDecoder("utf-8", { fatal: true });
  writes.forEach((write, index) => {
    const say = (what: string) => complain(`write ${index + 1}: ${what}`);
    if (write.length > MAX_WRITE_BYTES) say(`${write.length} bytes, more than ${MAX_WRITE_BYTES}`);
    let text: string;
    try {
      text = strict.decode(write);
    } catch {
      return say("begins or ends inside a character");
    }
    if (text.includes("\r")) say("a CR");
    if (!text.replaceAll("\r\n", "\n").endsWith("\n\n")) say("does not end with a whole event");
  });
  const decoder = new TextDecoder();
  const text = writes.map((write) => decoder.decode(write, { stream: true })).join("") + decoder.decode();
  return text.replaceAll("\r\n", "\n");
}

/** Checks the lines of one event and returns its payload, if it has exactly one. */
function checkLines(lines: string[], options: WireProfileOptions, complain: Complain): string | undefined {
  const data = lines.filter((line) => line.startsWith("data:"));
  for (const line of lines) {
    const [field = ""] = line.split(":", 1);
    if (line === "") complain("a blank line too many");
    else if (line.startsWith(":") && !options.comments) complain("a comment");
    else if (line.startsWith(":") && lines.length > 1) complain("a comment that is not alone");
    else if (!line.startsWith(":") && field !== "data") complain(`a line that is not data: ${field}`);
    else if (field === "data" && !line.startsWith("data: ")) complain("no space after data:");
  }
  if (data.length > 1) complain(`${data.length} data lines`);
  const [line] = data;
  return data.length === 1 && line !== undefined ? payloadOf(line) : undefined;
}

/** Checks what a payload may not contain as raw text, whatever it means as JSON. */
function checkRaw(payload: string, complain: Complain): void {
  if (payload.includes("data:")) complain("a raw data: in the payload");
  if (payload.includes("::")) complain("a raw :: in the payload");
  if (/[\u0085\u2028\u2029]/.test(payload)) complain("a raw U+2028, U+2029 or U+0085");
}

/** Checks one JSON frame by itself. */
function checkChunk(json: Record<string, unknown>, options: WireProfileOptions, complain: Complain): void {
  for (const key of BANNED_KEYS) {
    if (hasKey(json, key)) complain(`the key ${key}`);
  }
  if (!Array.isArray(json.choices)) return complain("no choices");
  if (json.choices.length === 0) {
    if (!options.usage || !isUsageOnly(json)) complain("empty choices");
    return;
  }
  if (!isRecord(firstChoice(json)?.delta)) return complain("no delta");
  const { content = "" } = deltaOf(json);
  if (typeof content !== "string") return complain("content that is not a string");
  if (content.length > MAX_CONTENT_CHARS) {
    complain(`${content.length} characters of content, more than ${MAX_CONTENT_CHARS}`);
  }
  if (!content.isWellFormed()) complain("half a surrogate pair");
}

/** Checks what only the order of the frames shows. */
function checkOrder(frames: readonly Frame[], options: WireProfileOptions, complain: Complain): void {
  const [first] = frames;
  if (first === undefined) return complain("stream: no chunk");
  const opening = deltaOf(first.json);
  if (opening.role !== "assistant" || opening.content !== "") {
    complain('stream: the first chunk is not role "assistant" with content ""');
  }
  for (const [key, isRight] of Object.entries(SAME_IN_ALL)) {
    const value = first.json[key];
    if (!isRight(value)) complain(`stream: ${key} is ${JSON.stringify(value)}`);
    const odd = frames.find(({ json }) => json[key] !== value);
    if (odd !== undefined) complain(`event ${odd.event}: another ${key} than in the first chunk`);
  }
  const finishes = frames.filter(({ json }) => isFinish(json));
  const usages = frames.filter(({ json }) => isUsageOnly(json));
  const [finish] = finishes;
  if (finishes.length !== 1) complain(`stream: ${finishes.length} finish chunks`);
  if (options.usage && usages.length !== 1) complain(`stream: ${usages.length} usage chunks`);
  if (finish === undefined) return;
  for (const { event, json } of frames) {
    if (event > finish.event && !isFinish(json) && !isUsageOnly(json)) {
      complain(`event ${event}: a chunk after the finish chunk`);
    }
    if (event < finish.event && options.usage && isUsageOnly(json)) {
      complain(`event ${event}: the usage chunk before the finish chunk`);
    }
  }
}

/** Checks the reply as a whole. */
function checkReply(text: string, complain: Complain): void {
  if (/^[\r\n]/.test(text)) complain("reply: begins with a newline");
  else if (/^(\[[^\]\r\n]*\])+[\r\n]/.test(text.trimEnd())) {
    complain("reply: a newline right after the opening tag");
  }
  if (text !== "" && !text.endsWith("\n")) complain("reply: does not end with a newline");
}

/** Checks a whole stream, one element per write; an empty list means that every skin survives it. */
export function checkWireProfile(writes: readonly Uint8Array[], options: WireProfileOptions = {}): string[] {
  const violations: string[] = [];
  const complain: Complain = (violation) => violations.push(violation);
  const frames: Frame[] = [];
  const done: number[] = [];
  let lastData = 0;
  splitEvents(checkWrites(writes, complain)).forEach((lines, index) => {
    const event = index + 1;
    const say: Complain = (what) => complain(`event ${event}: ${what}`);
    const payload = checkLines(lines, options, say);
    if (payload === undefined) return;
    lastData = event;
    if (payload === "[DONE]") {
      done.push(event);
      return;
    }
    checkRaw(payload, say);
    let json: unknown;
    try {
      json = JSON.parse(payload);
    } catch {
      return say("not JSON");
    }
    if (!isRecord(json)) return say("not a JSON object");
    checkChunk(json, options, say);
    frames.push({ event, json });
  });
  checkOrder(frames, options, complain);
  if (done.length !== 1) complain(`stream: ${done.length} [DONE] frames`);
  else if (done[0] !== lastData) complain("stream: [DONE] is not the last frame");
  checkReply(frames.map(({ json }) => contentOf(json)).join(""), complain);
  return violations;
}

/** Takes the framing off a stream without judging it; throws a SyntaxError where a frame is not JSON. */
export function parseFrames(source: Uint8Array | string): ParsedFrames {
  const text = typeof source === "string" ? source : new TextDecoder().decode(source);
  const lines = text.split(/\r\n|\n|\r/);
  const payloads = lines.filter((line) => line.startsWith("data:")).map((line) => payloadOf(line).trim());
  const chunks = payloads.filter((payload) => payload !== "[DONE]")
    .map((payload): ChatChunk => JSON.parse(payload));
  return {
    chunks,
    text: chunks.map((chunk) => chunk.choices?.[0]?.delta?.content ?? "").join(""),
    done: payloads.at(-1) === "[DONE]",
    comments: lines.filter((line) => line.startsWith(":")).map((line) => line.slice(1).trim()),
  };
}
