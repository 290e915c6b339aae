/** Recorded agents that are asked more often than they were when they were recorded. @module */

import { readRecording, type RecordedLine } from "../agents/replayed_agent.ts";

type Message = Readonly<Record<string, unknown>>;

/** A recording whose first turn is there so many times; `change` may change what was said in it. */
export function repeated(
  recording: string,
  times: number,
  change: (message: Message) => unknown = (message) => message,
): string {
  const lines = readRecording(recording);
  const { start, end } = firstTurn(lines);
  const turns = Array.from({ length: times }, () => lines.slice(start, end)).flat();
  return [...lines.slice(0, start), ...turns, ...lines.slice(end)]
    .map((line) => JSON.stringify({ ...line, msg: change(line.msg as Message) })).join("\n");
}

/** What is said in the first turn of a recording. */
export function spoken(recording: string): string {
  const lines = readRecording(recording);
  const { start, end } = firstTurn(lines);
  return lines.slice(start, end).map(({ dir, msg }) => {
    const { params } = msg as { params?: { update?: { sessionUpdate: string; content: { text: string } } } };
    const update = params?.update;
    return dir === "a2c" && update?.sessionUpdate === "agent_message_chunk" ? update.content.text : "";
  }).join("");
}

/** A change: the agent brings sessions back by `session/load` only. */
export function withoutResume(message: Message): unknown {
  const { result } = message as { result?: { agentCapabilities?: { sessionCapabilities?: Message } } };
  const capabilities = result?.agentCapabilities;
  if (capabilities === undefined) return message;
  const { resume: _, ...sessionCapabilities } = capabilities.sessionCapabilities ?? {};
  return { ...message, result: { ...result, agentCapabilities: { ...capabilities, sessionCapabilities } } };
}

/** Where the first turn is: from its prompt to the answer. */
function firstTurn(recording: readonly RecordedLine[]): { start: number; end: number } {
  const lines = recording.map(({ dir, msg }) => ({ dir, ...msg as { id?: unknown; method?: string } }));
  const start = lines.findIndex(({ dir, method }) => dir === "c2a" && method === "session/prompt");
  const answered = lines.findIndex(({ dir, id, method }, index) =>
    index > start && dir === "a2c" && id === lines[start]!.id && method === undefined
  );
  return { start, end: answered + 1 };
}
