/** Sessions of real agents, replayed as the agent: what they said comes out as correct chunks. */

import { assert, assertEquals } from "@std/assert";
import { readRecording, replayCommand } from "../support/agents/replayed_agent.ts";
import { readAnswer, startServer } from "../support/harness/server_process.ts";

interface Update {
  sessionUpdate: string;
  content?: { type: string; text?: string };
  toolCallId?: string;
}

type Json = Record<string, unknown>;

/** What was recorded between the first prompt and its answer. */
function firstTurn(recording: string): Update[] {
  const lines = readRecording(recording).map(({ dir, msg }) => ({ dir, msg: msg as Json }));
  const start = lines.findIndex(({ dir, msg }) => dir === "c2a" && msg.method === "session/prompt");
  const id = lines[start]!.msg.id;
  const end = lines.findIndex(({ dir, msg }, index) =>
    index > start && dir === "a2c" && msg.id === id && !msg.method
  );
  return lines.slice(start, end)
    .filter(({ dir, msg }) => dir === "a2c" && msg.method === "session/update")
    .map(({ msg }) => (msg.params as { update: Update }).update);
}

function spoken(updates: readonly Update[]): string {
  return updates.filter((update) => update.sessionUpdate === "agent_message_chunk")
    .map((update) => update.content?.text ?? "").join("");
}

for (
  const recording of [
    "claude-tools",
    "gemini-tools",
    "codex2-tools",
    "claude-reject",
    "gemini-reject",
    "claude-load",
    "codex2-load",
  ]
) {
  Deno.test(`${recording}: text, tools and usage come out as recorded`, async () => {
    const env = { VTUBER_PERMISSIONS: recording.endsWith("reject") ? "deny" : "allow" };
    await using server = await startServer({ agent: replayCommand(recording), env });
    const updates = firstTurn(recording);
    const response = await server.chat("Please do it.", {
      stream_options: { include_usage: true, include_agent_events: true },
    });
    const { chunks, text, finish, done } = readAnswer(await response.text());
    assertEquals([text.trim(), finish, done], [spoken(updates).trim(), "stop", true]);
    assert(text.endsWith("\n"));

    const tools = new Map(
      chunks.flatMap((chunk) => chunk.choices).map((choice) => choice.delta?.agent)
        .filter((agent) => agent?.type === "tool_call").map((agent) => [agent.tool_call_id, agent.status]),
    );
    const announced = updates.flatMap(({ toolCallId }) => toolCallId ? [toolCallId] : []);
    for (const id of announced) assert(tools.has(id), id);
    for (const status of tools.values()) assert(status === "completed" || status === "failed", status);

    const { usage } = chunks.at(-1)!;
    assert(usage.prompt_tokens > 0 && usage.completion_tokens > 0);
    assertEquals(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    if (!recording.endsWith("load")) assertEquals(usage.prompt_tokens % 1_000, 0, "the agent's own number");
  });
}

for (const recording of ["claude-llmfail", "gemini-llmfail"]) {
  Deno.test(`${recording}: a model that fails is told as an error`, async () => {
    await using server = await startServer({ agent: replayCommand(recording) });
    const response = await server.chat("Fail, please.", { stream: false });
    assertEquals([response.status, response.headers.get("x-should-retry")], [502, "false"]);
    assertEquals((await response.json()).error.code, "agent_error");
  });
}

for (const recording of ["claude-cancel", "gemini-cancel", "codex2-cancel"]) {
  Deno.test(`${recording}: a turn that is hung up is cancelled, and the next one is its own`, async () => {
    await using server = await startServer({ agent: replayCommand(recording) });
    const first = await server.chat("Go on for ever.");
    const reader = first.body!.getReader();
    await reader.read();
    await reader.cancel();
    const answer = readAnswer(await (await server.chat("And now?")).text());
    assertEquals(answer.done, true);
  });
}
