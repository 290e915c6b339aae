/** Reads recordings of real agents, and makes recordings with more turns than were recorded. @module */

import { readRecording } from "../agents/replayed_agent.ts";

// deno-lint-ignore no-explicit-any
export type Json = Record<string, any>;

/** One message of a recording, from the client (`c2a`) or from the agent (`a2c`). */
interface RecordedMessage {
  readonly dir: string;
  readonly msg: Json;
}

/** A recorded prompt. */
export interface RecordedPrompt {
  /** All lines behind the prompt, up to the next prompt. */
  readonly lines: readonly RecordedMessage[];
  /** The updates of its session, up to its answer. */
  readonly updates: readonly Json[];
  /** The text of its session, up to its answer. */
  readonly text: string;
  /** The answer: a result with a stop reason, or an error. */
  readonly answer: Json;
}

/** Reads the prompts of a recording, in order. */
export function recordedPrompts(recording: string): RecordedPrompt[] {
  const all = readRecording(recording) as unknown as RecordedMessage[];
  const starts = promptIndexes(all);
  return starts.map((start, index) => {
    const { sessionId } = all[start]!.msg.params;
    const end = answerIndex(all, start);
    const updates = all.slice(start, end).flatMap(({ dir, msg }) =>
      dir === "a2c" && msg.method === "session/update" && msg.params.sessionId === sessionId
        ? [msg.params.update]
        : []
    );
    const lines = all.slice(start + 1, starts[index + 1]);
    return { lines, updates, text: textOf(updates), answer: all[end]!.msg };
  });
}

/** Joins the texts of agent_message_chunk updates. */
export function textOf(updates: readonly Json[]): string {
  return updates.map(({ sessionUpdate, content }) =>
    sessionUpdate === "agent_message_chunk" ? content.text ?? "" : ""
  ).join("");
}

/** Returns the text of the first recorded turn. */
export function replyIn(recording: string): string {
  return recordedPrompts(recording)[0]!.text;
}

/** Returns a recording in which the first turn stands several times; `change` may replace messages. */
export function repeatedRecording(
  recording: string,
  times: number,
  change: (message: Json) => unknown = (message) => message,
): string {
  const lines = readRecording(recording);
  const all = lines as unknown as RecordedMessage[];
  const start = promptIndexes(all)[0]!;
  const end = answerIndex(all, start) + 1;
  // As from an agent, each turn has messages of its own.
  const turns = Array.from(
    { length: times },
    (_, turn) =>
      lines.slice(start, end).map((line) =>
        JSON.parse(JSON.stringify(line).replaceAll('"messageId":"', `"messageId":"${turn}-`))
      ),
  ).flat();
  return [...lines.slice(0, start), ...turns, ...lines.slice(end)]
    .map((line) => JSON.stringify({ ...line, msg: change(line.msg as Json) })).join("\n");
}

/** A change for {@linkcode repeatedRecording}: the agent offers `session/load`, but not `session/resume`. */
export function withoutResume(message: Json): unknown {
  const capabilities = message.result?.agentCapabilities;
  if (capabilities === undefined) return message;
  const { resume: _, ...sessionCapabilities } = capabilities.sessionCapabilities ?? {};
  return {
    ...message,
    result: { ...message.result, agentCapabilities: { ...capabilities, sessionCapabilities } },
  };
}

function promptIndexes(lines: readonly RecordedMessage[]): number[] {
  return lines.flatMap(({ dir, msg }, index) =>
    dir === "c2a" && msg.method === "session/prompt" ? [index] : []
  );
}

function answerIndex(lines: readonly RecordedMessage[], prompt: number): number {
  const { id } = lines[prompt]!.msg;
  return lines.findIndex(({ dir, msg }, index) =>
    index > prompt && dir === "a2c" && msg.id === id && msg.method === undefined
  );
}
