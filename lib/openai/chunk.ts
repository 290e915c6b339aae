/** Encodes replies, streamed in the form that every skin's reader survives, or whole. Pure. @module */

import type { TurnEvent } from "../turn/event.ts";
import type { CompletionUsage } from "./usage.ts";

/** OpenAI's finish reasons, and `error` for a reply that broke off. */
export type FinishReason = "stop" | "length" | "content_filter" | "error";

/** An event beside the text, for clients that ask for agent events. */
export type AgentEvent = Extract<TurnEvent, { type: "thought" | "tool" | "plan" }>;

/** The fields that all frames of a reply share. */
export interface FrameHead {
  readonly id: string;
  /** Unix seconds. */
  readonly created: number;
  readonly model: string;
  /** Puts `usage: null` into every frame but the last, as OpenAI does. */
  readonly includeUsage: boolean;
}

/** OpenAI's `message.audio`. */
export interface SpokenMessage {
  readonly id: string;
  /** Base64. */
  readonly data: string;
  /** Unix seconds. */
  readonly expires_at: number;
  readonly transcript: string;
}

/** Encodes each part of a streamed reply as the data of an event, and a whole reply as the body of a response. */
export interface Frames {
  /** The frame before the text. */
  readonly opening: string | undefined;
  /** A frame without text: the heartbeat. */
  readonly empty: string;
  /** @param isPlain As `scanPlain` finds: the text needs no escape. */
  text(text: string, isPlain?: boolean): string;
  agentEvent(event: AgentEvent): string;
  finish(reason: FinishReason): string;
  usage(usage: CompletionUsage): string;
  /** @param audio The sound of the text, in chat: the message then has no other text. */
  body(text: string, finish: FinishReason, usage: CompletionUsage, audio?: SpokenMessage): unknown;
}

/**
 * Text inside a JSON string at which a skin's reader splits an event or ends a line: many split at `data:`, ChatdollKit
 * in a browser at `::`, and Swift's line reader at the three separators.
 */
const UNSAFE = /data:|::|[\u2028\u2029\u0085]/g;

const escape = (char: string) => "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0");

/** Encodes a value as JSON in which no skin's reader finds `data:`, `::` or a line end. */
export function safeJson(value: unknown): string {
  const json = JSON.stringify(value);
  // A search costs less than a replacement without a match.
  return json.search(UNSAFE) < 0 ? json : json.replace(UNSAFE, (match) => match.replace(/[^a-z]/g, escape));
}

/** Creates the frames of `POST /v1/chat/completions`: `chat.completion.chunk` objects. */
export function chatFrames(head: FrameHead): Frames {
  const { frame, ...common } = createFrames(
    "chat.completion.chunk",
    head,
    '"delta":{}',
    '"delta":{"content":\0}',
  );
  return {
    ...common,
    opening: frame('"delta":{"role":"assistant","content":""}'),
    agentEvent(event) {
      switch (event.type) {
        case "thought":
          return frame(`"delta":{"reasoning_content":${safeJson(event.text)}}`);
        case "tool": {
          const { id, title, kind, status } = event.tool;
          const tool = { type: "tool_call", tool_call_id: id, title, kind, status };
          return frame(`"delta":{"agent":${safeJson(tool)}}`);
        }
        case "plan":
          return frame(`"delta":{"agent":${safeJson({ type: "plan", entries: event.entries })}}`);
        default:
          return event satisfies never;
      }
    },
    body(text, finish, usage, audio) {
      const { id, created, model } = head;
      const refusal = finish === "content_filter" ? text || "The agent refused to answer." : null;
      const message = { role: "assistant", content: audio ? null : text, refusal, ...audio && { audio } };
      const choices = [{ index: 0, message, logprobs: null, finish_reason: finish }];
      return { id, object: "chat.completion", created, model, system_fingerprint: null, choices, usage };
    },
  };
}

/** The frames of a reply with sound. Its text is the transcript of the sound. */
export interface SpokenFrames extends Frames {
  /** @param base64 A piece of the sound. */
  sound(base64: string): string;
  /** The frame after the last sound. */
  readonly expiry: string;
}

/** A sound of which a later request can name the id. */
export interface ReplySound {
  readonly id: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** Creates the frames of a reply with sound: OpenAI's `delta.audio` and `message.audio`. */
export function spokenFrames(head: FrameHead, { id, expiresAt }: ReplySound): SpokenFrames {
  const start = `"delta":{"audio":{"id":${safeJson(id)},`;
  const { frame, ...common } = createFrames(
    "chat.completion.chunk",
    head,
    '"delta":{}',
    `${start}"transcript":\0}}`,
  );
  return {
    ...chatFrames(head),
    ...common,
    sound: (base64) => frame(`${start}"data":"${base64}"}}`),
    expiry: frame(`${start}"expires_at":${expiresAt}}}`),
  };
}

/** Creates the frames of `POST /v1/completions`: `text_completion` objects, which have no room for agent events. */
export function textFrames(head: FrameHead): Frames {
  const { frame: _, ...common } = createFrames("text_completion", head, '"text":""', '"text":\0');
  return {
    ...common,
    opening: undefined,
    agentEvent: () => common.empty,
    body(text, finish, usage) {
      const { id, created, model } = head;
      const choices = [{ index: 0, text, logprobs: null, finish_reason: finish }];
      return { id, object: "text_completion", created, model, choices, usage };
    },
  };
}

/** Creates the frames that both forms share. @param textPayload The payload of a text frame, with `\0` for the text. */
function createFrames(
  object: string,
  { id, created, model, includeUsage }: FrameHead,
  emptyPayload: string,
  textPayload: string,
) {
  const before = `${safeJson({ id, object, created, model }).slice(0, -1)},"choices":`;
  const after = includeUsage ? ',"usage":null}' : "}";
  const frame = (payload: string, finish = "null") =>
    `${before}[{"index":0,${payload},"logprobs":null,"finish_reason":${finish}}]${after}`;
  // The constant parts are made once, because this is the token path.
  const [start, end] = frame(textPayload).split("\0") as [string, string];
  return {
    frame,
    empty: frame(emptyPayload),
    text: (text: string, isPlain = false) => start + (isPlain ? `"${text}"` : safeJson(text)) + end,
    finish: (reason: FinishReason) => frame(emptyPayload, `"${reason}"`),
    usage: (usage: CompletionUsage) => `${before}[],"usage":${safeJson(usage)}}`,
  };
}
