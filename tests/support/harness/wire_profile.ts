/** Checks that a stream has the form that every skin survives. @module */

/** A chunk of a streamed chat completion, perhaps a broken one. */
export interface ChatChunk {
  id?: string;
  object?: string;
  created?: number;
  model?: string;
  choices?: {
    index?: number;
    delta?: { role?: string; content?: string | null; tool_calls?: unknown[] | null };
    finish_reason?: string | null;
  }[];
  usage?: Record<string, unknown> | null;
  error?: { message?: string; type?: string; param?: string | null; code?: string | null } | null;
}

/** The content of a stream, without its framing. */
export interface ParsedFrames {
  /** Every JSON frame, without `[DONE]`. */
  chunks: ChatChunk[];
  /** The content of the first choices, joined. */
  text: string;
  /** Whether `[DONE]` was the last frame. */
  done: boolean;
  /** Comment lines, without the colon. */
  comments: string[];
}

/** What the request allows beyond the default profile. */
export interface WireProfileOptions {
  /** Comments may stand between events (`VTUBER_HEARTBEAT=comment`). */
  comments?: boolean;
  /** One usage chunk with empty `choices` must follow the finish chunk (`include_usage`). */
  usage?: boolean;
}

const MAX_WRITE_BYTES = 8 * 1024;
const MAX_CONTENT_CHARS = 1_200;
const COMMON_FIELDS = {
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

type Report = (violation: string) => void;

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Splits a stream into the lines of its events. One line end too many becomes an empty first line. */
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

/** Checks the bytes of each write, and returns their text with LF alone. */
function checkWrites(writes: readonly Uint8Array[], report: Report): string {
  const strict = new TextDecoder("utf-8", { fatal: true });
  writes.forEach((write, index) => {
    const reportWrite = (what: string) => report(`write ${index + 1}: ${what}`);
    if (write.length > MAX_WRITE_BYTES) reportWrite(`${write.length} bytes, more than ${MAX_WRITE_BYTES}`);
    let text: string;
    try {
      text = strict.decode(write);
    } catch {
      return reportWrite("begins or ends inside a character");
    }
    if (text.includes("\r")) reportWrite("a CR");
    if (!text.replaceAll("\r\n", "\n").endsWith("\n\n")) reportWrite("does not end with a whole event");
  });
  const decoder = new TextDecoder();
  const text = writes.map((write) => decoder.decode(write, { stream: true })).join("") + decoder.decode();
  return text.replaceAll("\r\n", "\n");
}

/** Checks the lines of one event, and returns its payload if it has exactly one. */
function checkLines(lines: string[], options: WireProfileOptions, report: Report): string | undefined {
  const data = lines.filter((line) => line.startsWith("data:"));
  for (const line of lines) {
    const [field = ""] = line.split(":", 1);
    if (line === "") report("a blank line too many");
    else if (line.startsWith(":") && !options.comments) report("a comment");
    else if (line.startsWith(":") && lines.length > 1) report("a comment that is not alone");
    else if (!line.startsWith(":") && field !== "data") report(`a line that is not data: ${field}`);
    else if (field === "data" && !line.startsWith("data: ")) report("no space after data:");
  }
  if (data.length > 1) report(`${data.length} data lines`);
  const [line] = data;
  return data.length === 1 && line !== undefined ? payloadOf(line) : undefined;
}

/** Checks the text of a payload. */
function checkRaw(payload: string, report: Report): void {
  if (payload.includes("data:")) report("a raw data: in the payload");
  if (payload.includes("::")) report("a raw :: in the payload");
  if (/[\u0085\u2028\u2029]/.test(payload)) report("a raw U+2028, U+2029 or U+0085");
}

/** Checks one chunk by itself. */
function checkChunk(json: Record<string, unknown>, options: WireProfileOptions, report: Report): void {
  for (const key of BANNED_KEYS) {
    if (hasKey(json, key)) report(`the key ${key}`);
  }
  if (!Array.isArray(json.choices)) return report("no choices");
  if (json.choices.length === 0) {
    if (!options.usage || !isUsageOnly(json)) report("empty choices");
    return;
  }
  if (!isRecord(firstChoice(json)?.delta)) return report("no delta");
  const { content = "" } = deltaOf(json);
  if (typeof content !== "string") return report("content that is not a string");
  if (content.length > MAX_CONTENT_CHARS) {
    report(`${content.length} characters of content, more than ${MAX_CONTENT_CHARS}`);
  }
  if (!content.isWellFormed()) report("half a surrogate pair");
}

/** Checks the order of the chunks and the fields that they share. */
function checkOrder(frames: readonly Frame[], options: WireProfileOptions, report: Report): void {
  const [first] = frames;
  if (first === undefined) return report("stream: no chunk");
  const opening = deltaOf(first.json);
  if (opening.role !== "assistant" || opening.content !== "") {
    report('stream: the first chunk is not role "assistant" with content ""');
  }
  for (const [key, isValid] of Object.entries(COMMON_FIELDS)) {
    const value = first.json[key];
    if (!isValid(value)) report(`stream: ${key} is ${JSON.stringify(value)}`);
    const other = frames.find(({ json }) => json[key] !== value);
    if (other !== undefined) report(`event ${other.event}: another ${key} than in the first chunk`);
  }
  const finishes = frames.filter(({ json }) => isFinish(json));
  const usages = frames.filter(({ json }) => isUsageOnly(json));
  const [finish] = finishes;
  if (finishes.length !== 1) report(`stream: ${finishes.length} finish chunks`);
  if (options.usage && usages.length !== 1) report(`stream: ${usages.length} usage chunks`);
  if (finish === undefined) return;
  for (const { event, json } of frames) {
    if (event > finish.event && !isFinish(json) && !isUsageOnly(json)) {
      report(`event ${event}: a chunk after the finish chunk`);
    }
    if (event < finish.event && options.usage && isUsageOnly(json)) {
      report(`event ${event}: the usage chunk before the finish chunk`);
    }
  }
}

/** Checks the whole reply. */
function checkReply(text: string, report: Report): void {
  if (/^[\r\n]/.test(text)) report("reply: begins with a newline");
  else if (/^(\[[^\]\r\n]*\])+[\r\n]/.test(text.trimEnd())) {
    report("reply: a newline right after the opening tag");
  }
  if (text !== "" && !text.endsWith("\n")) report("reply: does not end with a newline");
}

/** Checks a whole stream, one element per write. @returns The violations. */
export function checkWireProfile(writes: readonly Uint8Array[], options: WireProfileOptions = {}): string[] {
  const violations: string[] = [];
  const report: Report = (violation) => violations.push(violation);
  const frames: Frame[] = [];
  const done: number[] = [];
  let lastData = 0;
  splitEvents(checkWrites(writes, report)).forEach((lines, index) => {
    const event = index + 1;
    const reportEvent: Report = (what) => report(`event ${event}: ${what}`);
    const payload = checkLines(lines, options, reportEvent);
    if (payload === undefined) return;
    lastData = event;
    if (payload === "[DONE]") {
      done.push(event);
      return;
    }
    checkRaw(payload, reportEvent);
    let json: unknown;
    try {
      json = JSON.parse(payload);
    } catch {
      return reportEvent("not JSON");
    }
    if (!isRecord(json)) return reportEvent("not a JSON object");
    checkChunk(json, options, reportEvent);
    frames.push({ event, json });
  });
  checkOrder(frames, options, report);
  if (done.length !== 1) report(`stream: ${done.length} [DONE] frames`);
  else if (done[0] !== lastData) report("stream: [DONE] is not the last frame");
  checkReply(frames.map(({ json }) => contentOf(json)).join(""), report);
  return violations;
}

/** Parses a stream without checking it. @throws {SyntaxError} at a frame that is not JSON. */
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
