/**
 * The skins' stream readers, with the failures of the real ones kept: what the server writes is good only if
 * all of them survive it. Every read of the network is one element of the input, because half of them parse
 * read by read.
 *
 * @module
 */

import { z } from "zod";

/** What a skin made of one streamed reply. */
export interface SkinResult {
  /** The text that reached the app. */
  text: string;
  /** Sentences said aloud, without tags; skins whose splitter is not modelled say `text` in one. */
  spoken: string[];
  /** Text that arrived and is never said, since no terminator followed it (ChatVRM). */
  unspoken: string;
  /** The message of the exception that ended the reader, if one did. */
  died?: string;
  /** Errors that the app is told of, so that it can show them. */
  errors: string[];
  /** Errors that reach a console at most. */
  logged: string[];
}

/** A whole reply, one element per network read, as a skin understands it. */
export type SkinReader = (reads: Iterable<Uint8Array> | readonly string[]) => SkinResult;

/** What a parser has handed on so far: `pieces` are the deltas as the app gets them. */
interface Output {
  pieces: string[];
  errors: string[];
  logged: string[];
}

interface Parser {
  read(bytes: Uint8Array): void;
  /** The server closed the stream. */
  end?(): void;
}

interface Voice {
  spoken: string[];
  unspoken: string;
}

/** A chunk as the less careful skins believe it to be; where it is not, they throw a TypeError. */
interface BelievedChunk {
  choices: [{ delta: { content?: string | null; tool_calls?: unknown[] | null } }];
}

/** A chunk as the careful ones take it. */
interface DoubtedChunk {
  choices?: { delta?: { content?: string | null; tool_calls?: unknown[] | null } | null }[] | null;
  error?: { message?: string } | null;
}

const encoder = new TextEncoder();

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function sayAll(pieces: string[]): Voice {
  const text = pieces.join("");
  return { spoken: text === "" ? [] : [text], unspoken: "" };
}

/** Makes a reader; `death` says where the exception that ends it goes: to the app or to the console. */
function skin(
  start: (output: Output) => Parser,
  death: "errors" | "logged" = "errors",
  say: (pieces: string[]) => Voice = sayAll,
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
    const result: SkinResult = { text: pieces.join(""), ...say(pieces), errors, logged };
    return died === undefined ? result : { ...result, died };
  };
}

/** Decodes one read by itself, so that a character cut in two is lost. */
function decodeAlone(read: Uint8Array): string {
  return new TextDecoder().decode(read);
}

/** The cut that ChatVRM, Amica and ChatdollKit make, wherever `data:` stands. */
function cutAtData(text: string): string[] {
  return text.split("data:").filter((piece) => piece !== "");
}

function isDone(piece: string): boolean {
  return piece.trim() === "[DONE]";
}

/** Whole lines out of reads that may end anywhere. */
function lineBuffer(lineEnd: string | RegExp): { next(bytes: Uint8Array): string[]; rest(): string } {
  const decoder = new TextDecoder();
  let rest = "";
  return {
    next(bytes) {
      rest += decoder.decode(bytes, { stream: true });
      const held = rest.endsWith("\r") ? "\r" : ""; // its "\n" may come with the next read
      const lines = rest.slice(0, rest.length - held.length).split(lineEnd);
      rest = (lines.pop() ?? "") + held;
      return lines;
    },
    rest: () => rest + decoder.decode(),
  };
}

/** The data of every finished event, read as the SSE specification says. */
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
 * Hands on what one read yields, as a stream with a queue does: an exception fails the stream and empties its
 * queue, so that of that read only the first piece is left, which the app was already waiting for.
 */
function handOn(pieces: string[], yields: Iterable<string>): void {
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
    const chunk: BelievedChunk = JSON.parse(part);
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
    const chunk: Partial<BelievedChunk> = JSON.parse(payload);
    const delta = chunk.choices == null || chunk.choices.length < 1 ? {} : chunk.choices[0].delta;
    yield delta.tool_calls?.length ? "" : delta.content ?? "";
  }
}

/** ChatVRM's way to speech: each delta lets at most one tag and one sentence out of the buffer. */
function sayChatVrm(pieces: string[]): Voice {
  const spoken: string[] = [];
  let buffer = "";
  for (const piece of pieces) {
    buffer += piece;
    buffer = buffer.replace(/^\[(.*?)\]/, "");
    const sentence = /^(.+[。．！？\n]|.{10,}[、,])/.exec(buffer)?.[0];
    if (sentence === undefined) continue;
    buffer = buffer.slice(sentence.length).trimStart();
    const bracketsOnly = /^[\s\p{Ps}\p{Pe}«»‹›]+$/u.test(sentence);
    const said = sentence.replace(/\[(.*?)\]/g, "").trim();
    if (said !== "" && !bracketsOnly) spoken.push(said);
  }
  return { spoken, unspoken: buffer };
}

/** pixiv/ChatVRM: each read is cut at `data:`, and a part that is no chunk ends the reply without a sign. */
export const chatVrm: SkinReader = skin(
  ({ pieces }) => ({ read: (bytes) => handOn(pieces, yieldChatVrm(decodeAlone(bytes))) }),
  "logged",
  sayChatVrm,
);

/** Amica: cut as in ChatVRM, but what does not parse stays, and spoils every part after it. */
export const amica: SkinReader = skin(({ pieces, logged }) => {
  let combined = "";
  return {
    read(bytes) {
      for (const part of cutAtData(decodeAlone(bytes))) {
        if (isDone(part) || part.startsWith(":")) continue;
        combined += part;
        try {
          const chunk: BelievedChunk = JSON.parse(combined);
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

/** AITuber-kit's custom API: buffered lines; what is not a chunk with content is passed over in silence. */
export const aituberKit: SkinReader = skin(({ pieces }) => {
  const lines = lineBuffer("\n");
  return {
    read(bytes) {
      for (const line of lines.next(bytes)) {
        const payload = line.startsWith("data:") ? line.slice("data:".length).trim() : "";
        if (payload === "" || payload === "[DONE]") continue;
        try {
          const chunk: DoubtedChunk = JSON.parse(payload);
          const content = chunk.choices?.[0]?.delta?.content;
          if (content) pieces.push(content);
        } catch {
          continue;
        }
      }
    },
  };
});

/** xsai 0.4.4, as in AIRI: buffered lines, but no CR is taken, and `"error":` anywhere is an error. */
export const xsai: SkinReader = skin(({ pieces }) => {
  const lines = lineBuffer("\n");
  return { read: (bytes) => handOn(pieces, yieldXsai(lines.next(bytes))) };
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

/** AI SDK's openai-compatible provider: strict about each event's shape, and goes on after a wrong one. */
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
        } else if ("error" in frame.data) { // the key is enough, even with null in it
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

/** openai-js in a careful loop: reads SSE by the book and throws on an `error` that is not null. */
export const openaiJs: SkinReader = skin(({ pieces }) => {
  const events = eventBuffer();
  let done = false;
  return {
    read(bytes) {
      for (const data of events(bytes)) {
        done ||= data.startsWith("[DONE]");
        if (done) continue;
        const chunk: DoubtedChunk = JSON.parse(data);
        if (chunk.error) throw new Error(chunk.error.message ?? JSON.stringify(chunk.error));
        const content = chunk.choices?.[0]?.delta?.content;
        if (content) pieces.push(content);
      }
    },
  };
});

/** The ten-line client of every tutorial: good framing, but `choices[0].delta.content` unguarded. */
export const naive: SkinReader = skin(({ pieces }) => {
  const events = eventBuffer();
  return {
    read(bytes) {
      for (const data of events(bytes)) {
        if (data === "[DONE]") continue;
        const chunk: BelievedChunk = JSON.parse(data);
        const { content } = chunk.choices[0].delta;
        if (content) pieces.push(content);
      }
    },
  };
});

/** One part of a read in ChatdollKit: what it cannot use is logged and left out. */
function takeChatdollPart(part: string, { pieces, logged }: Output): void {
  if (part.trim() === "") return;
  let chunk: DoubtedChunk;
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

/** ChatdollKit (Unity): cut as in ChatVRM, and any `tool_calls` but null hides the content beside it. */
export const chatdollKit: SkinReader = skin((output) => ({
  read(bytes) {
    for (const part of cutAtData(decodeAlone(bytes))) {
      if (!isDone(part)) takeChatdollPart(part, output);
    }
  },
}), "logged");

/** ChatdollKit in a browser: a read travels behind `<session>::`, so what follows its own `::` is gone. */
export const chatdollKitWebGl: SkinReader = skin((output) => {
  let done = false;
  return {
    read(bytes) {
      if (done) return;
      const [kept = ""] = decodeAlone(bytes).split("::");
      for (const part of cutAtData(kept)) {
        done = isDone(part);
        if (done) return;
        takeChatdollPart(part, output);
      }
      done = kept === "";
    },
  };
}, "logged");

/** AniCompanion: lines as Swift cuts them (at U+2028 too); what carries no content is ignored. */
export const aniCompanion: SkinReader = skin(({ pieces }) => {
  const lines = lineBuffer(/\r\n|[\n\v\f\r\u0085\u2028\u2029]/);
  let done = false;
  const take = (line: string) => {
    const payload = line.startsWith("data:") ? line.slice("data:".length).trim() : "";
    done ||= payload === "[DONE]";
    if (done || payload === "") return;
    try {
      const chunk: DoubtedChunk = JSON.parse(payload);
      const content: unknown = chunk.choices?.[0]?.delta?.content;
      if (typeof content === "string" && content !== "") pieces.push(content);
    } catch {
      return;
    }
  };
  return {
    read: (bytes) => lines.next(bytes).forEach(take),
    end: () => take(lines.rest()),
  };
});

/** Every reader by name, to run one reply through all of them. */
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

/** The name of a modelled skin. */
export type SkinName = keyof typeof SKINS;

function* replay(reads: Iterable<Uint8Array>, failure?: Error): Generator<Uint8Array, void, undefined> {
  yield* reads;
  if (failure !== undefined) throw failure;
}

/** Reads a live reply, each network read by itself; a status other than 200 or a cut line kills it. */
export async function readLive(
  reader: SkinReader,
  source: Response | ReadableStream<Uint8Array>,
): Promise<SkinResult> {
  const body = source instanceof Response ? source.body : source;
  if (source instanceof Response && source.status !== 200) {
    await body?.cancel();
    return reader(replay([], new Error(`HTTP ${source.status}`)));
  }
  const reads: Uint8Array[] = [];
  try {
    for await (const read of body ?? []) reads.push(read);
  } catch (error) {
    return reader(replay(reads, new Error(messageOf(error), { cause: error })));
  }
  return reader(reads);
}
