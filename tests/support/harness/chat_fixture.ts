/** Messages of chat requests, and what their responses say. @module */

import { assertEquals } from "@std/assert";
import { type Log, LOG_LEVELS } from "../../../lib/core/log.ts";
import { type ChatChunk, checkWireProfile, parseFrames, type WireProfileOptions } from "./wire_profile.ts";

/** A message as OpenAI's clients send it. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

export const system = (content: string): ChatMessage => ({ role: "system", content });
export const user = (content: string): ChatMessage => ({ role: "user", content });
export const assistant = (content: string): ChatMessage => ({ role: "assistant", content });

/** The two ways in which clients mark a request that they send again: headers of the first and of the second try. */
export const RETRIES: readonly [
  how: string,
  first: Record<string, string>,
  second: Record<string, string>,
][] = [
  ["X-Stainless-Retry-Count", { "x-stainless-retry-count": "0" }, { "x-stainless-retry-count": "1" }],
  ["Idempotency-Key", { "idempotency-key": "k1" }, { "idempotency-key": "k1" }],
];

/** A log that keeps all lines. */
export function recordingLog(): { readonly log: Log; readonly lines: readonly string[] } {
  const lines: string[] = [];
  const keep = (message: string, fields: Readonly<Record<string, unknown>> = {}) => {
    lines.push([message, ...Object.values(fields).map(String)].join(" "));
  };
  return { log: Object.fromEntries(LOG_LEVELS.map((level) => [level, keep])) as Log, lines };
}

/** The content of a response that is not streamed. */
export async function contentOf(answer: Response | Promise<Response>): Promise<string> {
  const response = await answer;
  const body = await response.text();
  assertEquals(response.status, 200, body);
  return JSON.parse(body).choices[0].message.content;
}

/** A stream that was read to its end. */
export interface StreamedReply {
  readonly text: string;
  readonly chunks: readonly ChatChunk[];
  readonly finish: string | null | undefined;
}

/** Reads a stream to its end, and checks that every skin survives it. */
export async function readStream(
  answer: Response | Promise<Response>,
  options: WireProfileOptions = {},
): Promise<StreamedReply> {
  const writes: Uint8Array[] = [];
  for await (const write of (await answer).body ?? []) writes.push(write);
  assertEquals(checkWireProfile(writes, options), []);
  const { text, chunks } = parseFrames(await new Response(new Blob(writes as BlobPart[])).text());
  return {
    text,
    chunks,
    finish: chunks.findLast(({ choices }) => choices?.length)?.choices?.[0]?.finish_reason,
  };
}

/** The text of a stream. */
export async function streamedText(answer: Response | Promise<Response>): Promise<string> {
  return (await readStream(answer)).text;
}
