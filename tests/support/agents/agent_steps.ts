/** The steps of a turn of the scripted agent, and the directive in a prompt that holds them. @module */

import { isObject, type Json } from "./agent_io.ts";

/** One step of a turn. Steps run in order. */
export type Step =
  /** Sends one agent_message_chunk, which may be empty. */
  | { text: string }
  /** Sends `tokens` chunks, `delayMs` apart; 0 (the default) sends them as fast as they are read. */
  | { tokens: number; delayMs?: number; text?: string }
  /** Sends one agent_thought_chunk. */
  | { thought: string }
  /** Sends one chunk with this many characters, of this text again and again. */
  | { big: number; of?: string }
  /** Sends a tool_call; `id` is its toolCallId. */
  | { tool: { id: string } & Json }
  /** Sends a tool_call_update; `id` is its toolCallId. */
  | { toolUpdate: { id: string } & Json }
  /** Sends so many tool_calls, whose titles have this many characters. */
  | { tools: number; titleChars: number }
  /** Sends a plan with these entries. */
  | { plan: Json[] }
  /** Sends one plan with so many entries, none of which is valid. */
  | { planValues: number }
  /** Sends this session/update. */
  | { update: Json }
  /** Sends a notification; `sessionId` is added to the params. */
  | { notify: { method: string; params?: Json } }
  /** Asks for a permission and waits; then sends the text `permission:<outcome as JSON>`. */
  | { permission: { toolCall: Json; options: Json[] } & Json }
  /** Asks for so many permissions at once and waits for all; then sends the text `permissions:<answers by outcome>`. */
  | { permissions: number }
  /** Sends a request and waits; then sends the text `answer:<result as JSON>`. */
  | { request: { method: string; params?: Json } }
  /** Waits, until a cancel at most. */
  | { sleepMs: number }
  /** Waits for session/cancel. */
  | { hang: true }
  /** Waits for this file, until a cancel at most. */
  | { waitFor: string }
  /** Ignores session/cancel from here on. */
  | { ignoreCancel: true }
  /** Writes a line to stdout. */
  | { raw: string }
  /** Writes so many lines to stderr. */
  | { stderrLines: number }
  /** Sends a chunk whose line is cut at these byte offsets (negative: from its end) into separate writes. */
  | { split: string; cuts: number[] }
  /** Exits after everything is written. */
  | { exit: number }
  /** Kills itself with SIGKILL after everything is written. */
  | { kill: true }
  /** Starts a process that outlives the agent, then sends the text `pid:<n>`; `inherit` passes stdout on. */
  | { spawn: string; setsid?: boolean; inherit?: boolean }
  /** Sends the earlier prompts of this session, as a JSON array of their texts. */
  | { recall: true }
  /** Sends these environment variables as a JSON object. */
  | { env: string[] }
  /** Ends the turn with this JSON-RPC error. */
  | { error: { code: number; message: string; data?: unknown } }
  /** Ends the turn with this stopReason. */
  | { stop: string; usage?: Json; _meta?: Json }
  /** Steps that are sent behind the answer, in the same write, however the turn ends. */
  | { afterAnswer: Step[] };

/** Builds the text that makes the scripted agent run these steps, anywhere in a prompt. */
export function directive(...steps: Step[]): string {
  return `[[${JSON.stringify({ steps })}]]`;
}

/** Finds the steps of the directive in a text. */
export function findSteps(text: string): Step[] | undefined {
  const starts = positions(text, "[[");
  const ends = positions(text, "]]");
  const widest = parseSteps(text.slice((starts[0] ?? 0) + 2, ends.at(-1) ?? 0));
  if (widest !== undefined) return widest;
  // In a text with a whole conversation, the last directive counts.
  for (const start of starts.toReversed()) {
    for (const end of ends.toReversed()) {
      const steps = parseSteps(text.slice(start + 2, end));
      if (steps !== undefined) return steps;
    }
  }
  return undefined;
}

function positions(text: string, token: string): number[] {
  const found: number[] = [];
  for (let at = text.indexOf(token); at >= 0; at = text.indexOf(token, at + 1)) found.push(at);
  return found;
}

function parseSteps(json: string): Step[] | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return isObject(value) && Array.isArray(value.steps) ? value.steps as Step[] : undefined;
  } catch {
    return undefined;
  }
}
