// @ts-check
/** Client of `POST /v1/chat/completions`: sends a conversation and streams the reply. @module */

import { keyHeaders } from "./key.js";
import { SseReader } from "./sse.js";

/** @typedef {{ role: "user" | "assistant", content: string }} Message */

/** An error that the server reports. The status is 0 if the stream had already started. */
export class ChatError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.name = "ChatError";
    this.status = status;
  }
}

/** System message of every request. Without it, the agent would not know that it has a face and a voice. */
export const SYSTEM_PROMPT =
  "You speak through a character on a stage: your reply is shown and spoken as it comes. Show what you feel with a tag " +
  "before the sentence that it belongs to, one of: [neutral] [happy] [sad] [angry] [surprised] [curious] [excited] " +
  "[shy] [love] [smirk] [sleepy] [proud] [disgusted] [pain] [laugh] [bored]. Use few of them. Speak in short " +
  "sentences, in the language that you are spoken to. Code belongs in fenced blocks: it is shown and not spoken.";

/** Messages of a request, and characters of all of them together. */
const MAX_MESSAGES = 40;
const MAX_CHARS = 200_000;

/**
 * Returns the newest messages that fit into a request, at least one.
 *
 * @param {readonly Message[]} messages
 * @returns {Message[]}
 */
export function newestMessages(messages) {
  /** @type {Message[]} */
  const kept = [];
  let chars = 0;
  for (const message of messages.slice(-MAX_MESSAGES).reverse()) {
    chars += message.content.length;
    if (chars > MAX_CHARS && kept.length > 0) break;
    kept.unshift(message);
  }
  return kept;
}

/**
 * Sends a conversation and yields the pieces of the reply.
 *
 * @param {{ url: string | URL, key: string, session: string, messages: readonly Message[], signal: AbortSignal,
 *   fetch?: typeof globalThis.fetch }} request
 * @returns {AsyncGenerator<string, string>} Returns the finish reason, or `cut` if the connection was lost.
 * @throws {ChatError} if the server reports an error.
 * @throws {unknown} if the server cannot be reached, or the signal aborts.
 */
export async function* streamChat({ url, key, session, messages, signal, fetch = globalThis.fetch }) {
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "text/event-stream",
      "x-session-id": session,
      ...keyHeaders(key),
    },
    body: JSON.stringify({
      model: "openab",
      stream: true,
      messages: [{ role: "system", content: SYSTEM_PROMPT }, ...messages],
    }),
    signal,
  });
  if (!response.ok || response.body === null) {
    throw new ChatError(response.status, await readErrorMessage(response));
  }
  const sse = new SseReader();
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let reason = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        if (signal.aborted) throw error;
        return { done: true, value: undefined };
      });
      if (done) return reason === "" ? "cut" : reason;
      for (const data of sse.push(decoder.decode(value, { stream: true }))) {
        if (data === "[DONE]") return reason === "" ? "stop" : reason;
        const { text, finish } = parseChunk(data);
        if (finish !== undefined) reason = finish;
        if (text !== "") yield text;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * Parses one chunk of a streamed reply. Anything but a chunk has no text.
 *
 * @param {string} data
 * @returns {{ text: string, finish?: string }}
 * @throws {ChatError} if the server reports an error in the stream.
 */
export function parseChunk(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    return { text: "" };
  }
  if (typeof chunk?.error?.message === "string") throw new ChatError(0, chunk.error.message);
  const choice = chunk?.choices?.[0];
  const text = typeof choice?.delta?.content === "string" ? choice.delta.content : "";
  return typeof choice?.finish_reason === "string" ? { text, finish: choice.finish_reason } : { text };
}

/** Reads what the server says of an error. @param {Response} response */
export async function readErrorMessage(response) {
  const body = await response.json().catch(() => undefined);
  const message = body?.error?.message;
  return typeof message === "string" ? message : `The server answered ${response.status}.`;
}
