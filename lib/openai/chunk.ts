/** The frames of an answer: pure, and in the form that every skin's reader survives. @module */

import { isPlainAscii } from "./skin_text.ts";
import type { PlanEntry, ToolCall } from "../turn/event.ts";
import type { CompletionUsage } from "./usage.ts";

/** Why an answer ended, in OpenAI's words, and `error` for one that broke off. */
export type FinishReason = "stop" | "length" | "content_filter" | "error";

/** What is the same in every frame of an answer. */
export interface FrameHead {
  readonly id: string;
  /** Unix seconds. */
  readonly created: number;
  readonly model: string;
  /** `usage: null` stands in every frame but the last, as in OpenAI's. */
  readonly includeUsage: boolean;
}

/** The data of each event of a stream. */
export interface Frames {
  /** The first frame, if there is one before the text. */
  readonly opening: string | undefined;
  /** A frame that says nothing: the heartbeat. */
  readonly empty: string;
  text(text: string): string;
  thought(text: string): string;
  tool(tool: ToolCall): string;
  plan(entries: readonly PlanEntry[]): string;
  finish(reason: FinishReason): string;
  usage(usage: CompletionUsage): string;
}

/** What readers split at, or take for the end of a line, inside of a string. */
const UNSAFE = /data:|::|[\u2028\u2029\u0085]/g;

/** JSON in which no reader finds `data:`, `::` or a line's end that is none: they are escaped. */
export function safeJson(value: unknown): string {
  const json = JSON.stringify(value);
  UNSAFE.lastIndex = 0;
  return UNSAFE.test(json) ? json.replace(UNSAFE, escape) : json;
}

function escape(found: string): string {
  if (found === "data:") return "data\\u003a";
  if (found === "::") return "\\u003a\\u003a";
  return "\\u" + found.charCodeAt(0).toString(16).padStart(4, "0");
}

/** The frames of `POST /v1/chat/completions`: `chat.completion.chunk` objects. */
export function chatFrames(head: FrameHead): Frames {
  const { before, after, usage } = wrap("chat.completion.chunk", head);
  const frame = (delta: string, finish = "null") =>
    `${before}[{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${finish}}]${after}`;
  // The token path: what is the same in every chunk is made once.
  const [textBefore, textAfter] = frame('{"content":\0}').split("\0") as [string, string];
  return {
    opening: frame('{"role":"assistant","content":""}'),
    empty: frame("{}"),
    text: (text) => textBefore + (isPlainAscii(text) ? JSON.stringify(text) : safeJson(text)) + textAfter,
    thought: (text) => frame(`{"reasoning_content":${safeJson(text)}}`),
    tool: ({ id, title, kind, status }) =>
      frame(`{"agent":${safeJson({ type: "tool_call", tool_call_id: id, title, kind, status })}}`),
    plan: (entries) => frame(`{"agent":${safeJson({ type: "plan", entries })}}`),
    finish: (reason) => frame("{}", `"${reason}"`),
    usage,
  };
}

/** The frames of `POST /v1/completions`: `text_completion` objects; thoughts, tools and plans have no place there. */
export function textFrames(head: FrameHead): Frames {
  const { before, after, usage } = wrap("text_completion", head);
  const frame = (text: string, finish = "null") =>
    `${before}[{"index":0,"text":${text},"logprobs":null,"finish_reason":${finish}}]${after}`;
  const empty = frame('""');
  return {
    opening: undefined,
    empty,
    text: (text) => frame(safeJson(text)),
    thought: () => empty,
    tool: () => empty,
    plan: () => empty,
    finish: (reason) => frame('""', `"${reason}"`),
    usage,
  };
}

function wrap(object: string, { id, created, model, includeUsage }: FrameHead) {
  const head = safeJson({ id, object, created, model }).slice(0, -1);
  const before = `${head},"choices":`;
  return {
    before,
    after: includeUsage ? ',"usage":null}' : "}",
    usage: (usage: CompletionUsage) => `${before}[],"usage":${safeJson(usage)}}`,
  };
}
