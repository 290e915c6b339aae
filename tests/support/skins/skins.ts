/**
 * The stream readers of skins, with the faults of the real ones. Each element of the input is one read of the network,
 * because half of the skins parse every read by itself.
 *
 * @module
 */

import { z } from "zod";

/** A streamed reply, as a skin understands it. */
export interface SkinResult {
  /** The text that reached the app. */
  text: string;
  /** Sentences that are spoken, without tags; one for a skin whose splitter is not modelled. */
  spoken: string[];
  /** Text that is never spoken, because no terminator follows (ChatVRM). */
  unspoken: string;
  /** The message of the exception that ended the reader, if one did. */
  died?: string;
  /** Errors that the app can show. */
  errors: string[];
  /** Errors that reach the console alone. */
  logged: string[];
}

/** Reads a whole reply. */
export type SkinReader = (reads: Iterable<Uint8Array> | readonly string[]) => SkinResult;

/** The output of a parser; `pieces` are the deltas. */
interface Output {
  pieces: string[];
  errors: string[];
  logged: string[];
}

interface Parser {
  read(bytes: Uint8Array): void;
  end?(): void;
}

/** The text that is spoken, and the rest. */
type Speech = Pick<SkinResult, "spoken" | "unspoken">;

/** A chunk as careless skins expect it. They throw a TypeError at any other. */
interface AssumedChunk {
  choices: [{ delta: { content?: string | null; tool_calls?: unknown[] | null } }];
}

/** A chunk as careful skins read it. */
interface UncertainChunk {
  choices?: { delta?: { content?: string | null; tool_calls?: unknown[] | null } | null }[] | null;
  error?: { message?: string } | null;
}

const encoder = new TextEncoder();

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function speakAll(pieces: string[]): Speech {
  const text = pieces.join("");
  return { spoken: text === "" ? [] : [text], unspoken: "" };
}

/** Creates a reader. @param death Where the exception that ends the reader goes: to the app or to the console. */
function skin(
  start: (output: Output) => Parser,
  death: "errors" | "logged" = "errors",
  speak: (pieces: string[]) => Speech = speakAll,
): SkinReader {
  return (reads) => {
    const output: Output = { pieces: [], errors: [], logged: [] };
    const parser = start(output);
    let died: string | undefined;
    try {
      for (const read of reads) parser.read(typeof read === "string" ? encoder.encode(read) : read);
      parser.end?.();
    } catch (error) {
      died = messageOf(error);
      output[death].push(died);
    }
    const { pieces, errors, logged } = output;
    const result: SkinResult = { text: pieces.join(""), ...speak(pieces), errors, logged };
    return died === undefined ? result : { ...result, died };
  };
}

/** Decodes one read by itself, which loses a character that is cut in two. */
function decodeAlone(read: Uint8Array): string {
  return new TextDecoder().decode(read);
}

/** Splits as ChatVRM, Amica and ChatdollKit do: at every `data:`. */
function cutAtData(text: string): string[] {
  return text.split("data:").filter((piece) => piece !== "");
}

function isDone(piece: string): boolean {
  return piece.trim() === "[DONE]";
}

/** Joins reads, which may end anywhere, into lines. */
function lineBuffer(lineEnd: string | RegExp): { next(bytes: Uint8Array): string[]; rest(): string } {
  const decoder = new TextDecoder();
  let rest = "";
  return {
    next(bytes) {
      rest += decoder.decode(bytes, { stream: true });
      // The "\n" of a "\r" may come with the next read.
      const pending = rest.endsWith("\r") ? "\r" : "";
      const lines = rest.slice(0, rest.length - pending.length).split(lineEnd);
      rest = (lines.pop() ?? "") + pending;
      return lines;
    },
    rest: () => rest + decoder.decode(),
  };
}

/** Reads the data of every event as the SSE specification says. */
function eventBuffer(): (bytes: Uint8Array) => string[] {
  const lines = lineBuffer(/\r\n|\n|\r/);
  let data: string[] = [];
  return (bytes) => {
    const events: string[] = [];
    for (const line of lines.next(bytes)) {
      if (line === "") {
        if (data.length > 0) events.push(data.join("\n"));
        data = [];
      }
      const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (field === "data") data.push(value);
    }
    return events;
  };
}

/**
 * Delivers the pieces of one read as a stream with a queue does: an exception empties the queue, so that the app gets
 * the first piece alone.
 */
function deliver(pieces: string[], yields: Iterable<string>): void {
  const queue: string[] = [];
  try {
    for (const piece of yields) queue.push(piece);
  } catch (error) {
    pieces.push(...queue.slice(0, 1));
    throw error;
  }
  pieces.push(...queue);
}

function* yieldChatVrm(text: string): Generator<string, void, undefined> {
  for (const part of cutAtData(text)) {
    if (isDone(part)) continue;
    const chunk: AssumedChunk = JSON.parse(part);
    const { content } = chunk.choices[0].delta;
    if (content) yield content;
  }
}

function* yieldXsai(lines: string[]): Generator<string, void, undefined> {
  for (const line of lines) {
    if (!line.startsWith("data:")) continue;
    const payload = line.slice("data:".length).replace(/^ /, "");
    if (payload === "[DONE]") return;
    if (payload.startsWith("{") && payload.includes('"error":')) {
      throw new Error(`Error from server: ${payload}`);
    }
    const chunk: Partial<AssumedChunk> = JSON.parse(payload);
    const delta = chunk.choices == null || chunk.choices.length < 1 ? {} : chunk.choices[0].delta;
    yield delta.tool_calls?.length ? "" : delta.content ?? "";
  }
}

/** Speaks as ChatVRM does: each delta takes at most one tag and one sentence out of the buffer. */
function speakChatVrm(pieces: string[]): Speech {
  const spoken: string[] = [];
  let buffer = "";
  for (const piece of pieces) {
    buffer += piece;
    buffer = buffer.replace(/^\[(.*?)\]/, "");
    const sentence = /^(.+[。．！？\n]|.{10,}[、,])/.exec(buffer)?.[0];
    if (sentence === undefined) continue;
    buffer = buffer.slice(sentence.length).trimStart();
    const bracketsOnly = /^[\s\p{Ps}\p{Pe}«»‹›]+$/u.test(sentence);
    const text = sentence.replace(/\[(.*?)\]/g, "").trim();
    if (text !== "" && !bracketsOnly) spoken.push(text);
  }
  return { spoken, unspoken: buffer };
}

/** pixiv/ChatVRM: splits each read at `data:`; a part that is not a chunk ends the reply without a sign. */
export const chatVrm: SkinReader = skin(
  ({ pieces }) => ({ read: (bytes) => deliver(pieces, yieldChatVrm(decodeAlone(bytes))) }),
  "logged",
  speakChatVrm,
);

/** Amica: splits as ChatVRM does; a part that does not parse stays, and spoils all later ones. */
export const amica: SkinReader = skin(({ pieces, logged }) => {
  let combined = "";
  return {
    read(bytes) {
      for (const part of cutAtData(decodeAlone(bytes))) {
        if (isDone(part) || part.startsWith(":")) continue;
        combined += part;
        try {
          const chunk: AssumedChunk = JSON.parse(combined);
          const { content } = chunk.choices[0].delta;
          combined = "";
          if (content) pieces.push(content);
        } catch (error) {
          logged.push(messageOf(error));
        }
      }
    },
  };
}, "logged");

/** The payload of a data line; empty for any other line. */
function dataOf(line: string): string {
  return line.startsWith("data:") ? line.slice("data:".length).trim() : "";
}

/** Takes the content of a payload, if it is a chunk with content. */
function readCarefully(payload: string, pieces: string[]): void {
  try {
    const chunk: UncertainChunk = JSON.parse(payload);
    const content: unknown = chunk.choices?.[0]?.delta?.content;
    if (typeof content === "string" && content !== "") pieces.push(content);
  } catch {
    return;
  }
}

/** AITuber-kit's custom API: buffers lines, and ignores everything but chunks with content. */
export const aituberKit: SkinReader = skin(({ pieces }) => {
  const lines = lineBuffer("\n");
  return { read: (bytes) => lines.next(bytes).forEach((line) => readCarefully(dataOf(line), pieces)) };
});

/** xsai 0.4.4, as in AIRI: buffers lines, does not know CR, and takes `"error":` anywhere for an error. */
export const xsai: SkinReader = skin(({ pieces }) => {
  const lines = lineBuffer("\n");
  return { read: (bytes) => deliver(pieces, yieldXsai(lines.next(bytes))) };
});

const aiSdkChunk = z.looseObject({
  id: z.string().nullish(),
  created: z.number().nullish(),
  model: z.string().nullish(),
  choices: z.array(z.object({
    delta: z.object({
      role: z.enum(["assistant", ""]).nullish(),
      content: z.string().nullish(),
      tool_calls: z.array(z.unknown()).nullish(),
    }).nullish(),
    finish_reason: z.string().nullish(),
  })),
  usage: z.looseObject({}).nullish(),
});
const aiSdkError = z.object({ error: z.looseObject({ message: z.string() }) });
const aiSdkFrame = z.union([aiSdkChunk, aiSdkError]);

/** AI SDK's openai-compatible provider: reports an event of the wrong shape, and goes on. */
export const aiSdk: SkinReader = skin(({ pieces, errors }) => {
  const events = eventBuffer();
  let finished = false;
  const report = (error: string) => {
    finished = true;
    errors.push(error);
  };
  return {
    read(bytes) {
      for (const data of events(bytes)) {
        if (data === "[DONE]") continue;
        let json: unknown;
        try {
          json = JSON.parse(data);
        } catch (error) {
          report(`JSONParseError: ${messageOf(error)}`);
          continue;
        }
        const frame = aiSdkFrame.safeParse(json);
        if (!frame.success) {
          report(`TypeValidationError: ${data}`);
        } else if ("error" in frame.data) {
          // The key is enough, even with null.
          report(JSON.stringify(frame.data.error));
        } else {
          const [choice] = frame.data.choices;
          if (choice?.finish_reason != null) finished = true;
          if (choice?.delta?.content) pieces.push(choice.delta.content);
        }
      }
    },
    end() {
      if (!finished) errors.push("Response stream ended without a finish reason.");
    },
  };
});

/** openai-js in a careful loop: reads SSE by the specification, and throws at an `error` that is not null. */
export const openaiJs: SkinReader = skin(({ pieces }) => {
  const events = eventBuffer();
  let done = false;
  return {
    read(bytes) {
      for (const data of events(bytes)) {
        done ||= data.startsWith("[DONE]");
        if (done) continue;
        const chunk: UncertainChunk = JSON.parse(data);
        if (chunk.error) throw new Error(chunk.error.message ?? JSON.stringify(chunk.error));
        const content = chunk.choices?.[0]?.delta?.content;
        if (content) pieces.push(content);
      }
    },
  };
});

/** The client of every tutorial: reads SSE well, but takes `choices[0].delta.content` for granted. */
export const naive: SkinReader = skin(({ pieces }) => {
  const events = eventBuffer();
  return {
    read(bytes) {
      for (const data of events(bytes)) {
        if (data === "[DONE]") continue;
        const chunk: AssumedChunk = JSON.parse(data);
        const { content } = chunk.choices[0].delta;
        if (content) pieces.push(content);
      }
    },
  };
});

/** Reads one part as ChatdollKit does: logs and ignores anything but a chunk. */
function readChatdollPart(part: string, { pieces, logged }: Output): void {
  if (part.trim() === "") return;
  let chunk: UncertainChunk;
  try {
    chunk = JSON.parse(part);
  } catch {
    logged.push(`Deserialize error: ${part}`);
    return;
  }
  if (chunk.choices == null) {
    logged.push(`Empty choices error: ${part}`);
    return;
  }
  const delta = chunk.choices[0]?.delta;
  if (delta?.content && delta.tool_calls == null) pieces.push(delta.content);
}

/** ChatdollKit (Unity): splits as ChatVRM does; any `tool_calls` but null hides the content beside it. */
export const chatdollKit: SkinReader = skin((output) => ({
  read(bytes) {
    for (const part of cutAtData(decodeAlone(bytes))) {
      if (!isDone(part)) readChatdollPart(part, output);
    }
  },
}), "logged");

/** ChatdollKit in a browser: passes a read on behind `<session>::`, and loses all that follows a `::` in it. */
export const chatdollKitWebGl: SkinReader = skin((output) => {
  let done = false;
  return {
    read(bytes) {
      if (done) return;
      const [kept = ""] = decodeAlone(bytes).split("::");
      for (const part of cutAtData(kept)) {
        done = isDone(part);
        if (done) return;
        readChatdollPart(part, output);
      }
      done = kept === "";
    },
  };
}, "logged");

/** AniCompanion: splits lines as Swift does, at U+2028 too, and ignores lines without content. */
export const aniCompanion: SkinReader = skin(({ pieces }) => {
  const lines = lineBuffer(/\r\n|[\n\v\f\r\u0085\u2028\u2029]/);
  let done = false;
  const readLine = (line: string) => {
    const payload = dataOf(line);
    done ||= payload === "[DONE]";
    if (!done) readCarefully(payload, pieces);
  };
  return {
    read: (bytes) => lines.next(bytes).forEach(readLine),
    end: () => readLine(lines.rest()),
  };
});

/** Every reader by name. */
export const SKINS = {
  chatVrm,
  amica,
  aituberKit,
  xsai,
  aiSdk,
  openaiJs,
  chatdollKit,
  chatdollKitWebGl,
  aniCompanion,
  naive,
} as const satisfies Record<string, SkinReader>;

/** The name of a skin. */
export type SkinName = keyof typeof SKINS;

function* replay(reads: Iterable<Uint8Array>, failure: unknown): Generator<Uint8Array, void, undefined> {
  yield* reads;
  if (failure !== undefined) throw failure;
}

/** Reads a response, each network read by itself. A broken connection ends the reader. */
export async function readLive(reader: SkinReader, { body }: Response): Promise<SkinResult> {
  const reads: Uint8Array[] = [];
  let failure: unknown;
  try {
    for await (const read of body!) reads.push(read);
  } catch (error) {
    failure = error;
  }
  return reader(replay(reads, failure));
}
