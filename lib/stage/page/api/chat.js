// @ts-check
/** Chat completions: a conversation is sent, and its answer is read as it comes. @module */

import { authorization } from "./key.js";
import { SseReader } from "./sse.js";

/** @typedef {{ role: "user" | "assistant", content: string }} Message */

/** The server refused a request, before it answered anything. */
export class ChatError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.name = "ChatError";
    this.status = status;
  }
}

/** What the agent is told of the stage, as skins do: without it no agent would know that it has a face. */
export const STAGE_DIRECTIONS =
  "You speak through a character on a stage: your reply is shown and spoken as it comes. Show what you feel with a tag " +
  "before the sentence that it belongs to, one of: [neutral] [happy] [sad] [angry] [surprised] [curious] [excited] " +
  "[shy] [love] [smirk] [sleepy] [proud] [disgusted] [pain] [laugh] [bored]. Use few of them. Speak in short " +
  "sentences, in the language that you are spoken to. Code belongs in fenced blocks: it is shown and not spoken.";

/** Messages that are kept, and characters of all of them together. */
const MAX_MESSAGES = 40;
const MAX_CHARS = 200_000;

/**
 * The last messages that fit.
 *
 * @param {readonly Message[]} messages
 * @returns {Message[]}
 */
export function latest(messages) {
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
 * Sends a conversation, with the directions of the stage before it.
 *
 * @param {{ url: string | URL, key: string, session: string, messages: readonly Message[], signal: AbortSignal,
 *   fetch?: typeof globalThis.fetch }} request
 * @returns {AsyncGenerator<string, string>} The answer, piece by piece; at its end the reason why it ended.
 * @throws {ChatError} when it is refused, and whatever `fetch` throws.
 */
export async function* streamChat({ url, key, session, messages, signal, fetch = globalThis.fetch }) {
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "text/event-stream",
      "x-session-id": session,
      ...authorization(key),
    },
    body: JSON.stringify({
      model: "openab",
      stream: true,
      messages: [{ role: "system", content: STAGE_DIRECTIONS }, ...messages],
    }),
    signal,
  });
  if (!response.ok || response.body === null) throw new ChatError(response.status, await problemOf(response));
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
        const { text, finish } = readChunk(data);
        if (finish !== undefined) reason = finish;
        if (text !== "") yield text;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * What one event of the stream says.
 *
 * @param {string} data
 * @returns {{ text: string, finish?: string }}
 */
export function readChunk(data) {
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

/** @param {Response} response */
async function problemOf(response) {
  try {
    const { error } = await response.json();
    if (typeof error?.message === "string") return error.message;
  } catch {
    // It is no JSON: the status has to say it.
  }
  return `The server answered ${response.status}.`;
}
