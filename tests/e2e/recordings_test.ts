/** Sessions of real agents, replayed: their replies, and their events as tests/fixtures/events holds them. */

import { assert, assertEquals } from "@std/assert";
import { pooledMap } from "@std/async/pool";
import { replayCommand } from "../support/agents/replayed_agent.ts";
import { type EventClient, type Frame, watch } from "../support/harness/event_client.ts";
import { assertGolden } from "../support/harness/golden.ts";
import {
  type Json,
  type RecordedPrompt,
  recordedPrompts,
  textOf,
} from "../support/harness/recorded_agents.ts";
import {
  inConversation,
  replyOf,
  runStep,
  type ServerProcess,
  startServer,
} from "../support/harness/server_process.ts";

const RECORDINGS = [...Deno.readDirSync(new URL("../fixtures/acp/", import.meta.url))]
  .map(({ name }) => name.replace(/\.ndjson$/, "")).sort();

type Reply = Awaited<ReturnType<typeof replyOf>>;

/**
 * Runs a prompt as the client of the recording did: answers permissions, and cancels where it cancelled.
 *
 * @returns The reply of a prompt that was not cancelled.
 */
async function play(
  server: ServerProcess,
  client: EventClient,
  { lines }: RecordedPrompt,
): Promise<Reply | undefined> {
  const from = client.frames.length;
  const fields = { stream_options: { include_usage: true, include_agent_events: true } };
  const reply = replyOf(server.chat("Please do it.", fields, inConversation("talk")));
  for (const { msg: { method, id, params } } of lines) {
    if (method !== "session/request_permission") continue;
    const { toolCallId } = params.toolCall;
    const { request_id } = await client.first(
      "permission_request",
      ({ tool }) => tool.tool_call_id === toolCallId,
      from,
    );
    const answer = lines.find(({ dir, msg }) => dir === "c2a" && msg.id === id && msg.result);
    const { optionId } = answer?.msg.result.outcome ?? {};
    if (optionId) client.send({ type: "permission_response", request_id, option_id: optionId });
  }
  const cancel = lines.findIndex(({ dir, msg }) => dir === "c2a" && msg.method === "session/cancel");
  if (cancel >= 0) {
    await untilShown(client, from, lines.slice(0, cancel).map(({ msg }) => msg.params ?? {}));
    client.send({ type: "interrupt" });
  }
  await reply;
  await client.state("idle", from);
  return cancel < 0 ? reply : undefined;
}

/** Resolves once the client has got all text and all tools of these recorded messages. */
async function untilShown(client: EventClient, from: number, params: readonly Json[]): Promise<void> {
  const length = textOf(params.flatMap(({ update }) => update ?? [])).replaceAll("`", "").length;
  const ids: string[] = params.flatMap(({ update, toolCall }) => (update ?? toolCall)?.toolCallId ?? []);
  await client.until((all) => {
    const frames = all.slice(from);
    const speech = frames.map(({ type, text }) => type === "say" ? text : "").join("");
    const tools = new Set(frames.flatMap(({ tool_call_id, tool }) => [tool_call_id, tool?.tool_call_id]));
    return speech.length >= length && ids.every((id) => tools.has(id));
  });
}

/** Asserts that a reply has the recorded text, every tool with its end, and the agent's usage. */
function assertReply(
  reply: Reply,
  { answer, text, updates }: RecordedPrompt,
): void {
  const { chunks, finish, done } = reply;
  if (answer.error) return assertEquals([finish, done], ["error", true]);
  assertEquals([reply.text.trim(), finish, done], [text.trim(), "stop", true]);
  assert(reply.text.endsWith("\n"));
  const tools = new Map(
    chunks.flatMap(({ choices }) => choices).map(({ delta }) => delta?.agent)
      .filter((agent) => agent?.type === "tool_call").map((agent) => [agent.tool_call_id, agent.status]),
  );
  for (const { toolCallId } of updates) assert(toolCallId === undefined || tools.has(toolCallId), toolCallId);
  for (const status of tools.values()) assert(status === "completed" || status === "failed", status);
  const { usage } = chunks.at(-1)!;
  assert(usage.prompt_tokens > 0 && usage.completion_tokens > 0);
  assertEquals(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  const { inputTokens, cachedReadTokens = 0, cachedWriteTokens = 0 } = answer.result.usage ?? {};
  if (inputTokens) assertEquals(usage.prompt_tokens, inputTokens + cachedReadTokens + cachedWriteTokens);
}

/** Formats frames without the fields that differ in each run, a line each; joins speech that follows speech. */
function format(frames: readonly Frame[]): string {
  const turns = numbered("turn");
  const requests = numbered("request");
  const lines: Json[] = [];
  for (const { ts: _, session_id, turn_id, request_id, expires_at, type, ...fields } of frames) {
    assertEquals(session_id, "talk");
    assertEquals(type === "permission_request", Number.isInteger(expires_at));
    const last = lines.at(-1);
    if (type === "say" && last?.type === "say") last.text += fields.text;
    else {
      const request = request_id ? { request_id: requests(request_id) } : {};
      lines.push({ type, turn: turns(turn_id), ...request, ...fields });
    }
  }
  return lines.map((line) => JSON.stringify(line) + "\n").join("");
}

function numbered(word: string): (id: string) => string {
  const names = new Map<string, string>();
  return (id) => names.getOrInsertComputed(id, () => `${word} ${names.size + 1}`);
}

/** Asserts the rules that hold for the frames of every turn, whatever its agent does. */
function assertRules(frames: readonly Frame[]): void {
  const states = frames.filter(({ type }) => type === "agent_state");
  for (const [index, { state, detail }] of states.entries()) {
    const before = states[index - 1];
    const repeats = before?.state === state && before?.detail?.subagent_count === detail?.subagent_count;
    assert(!repeats, `${state} is repeated`);
  }
  for (const turn of Map.groupBy(frames, ({ turn_id }) => turn_id).values()) {
    assertEquals([turn[0]!.state, turn.at(-1)!.state], ["thinking", "idle"]);
    assertEquals(turn.filter(({ state }) => state === "idle").length, 1);
    const statuses = turn.filter(({ type }) => type === "tool_status");
    for (const [id, ofTool] of Map.groupBy(statuses, ({ tool_call_id }) => tool_call_id)) {
      const phases = ofTool.map(({ status }) => status === "done" || status === "failed" ? "end" : "start");
      assert(["start end", "end"].includes(phases.join(" ")), `${id}: ${phases.join(" ")}`);
    }
    const idsOf = (type: string) =>
      turn.filter((frame) => frame.type === type).map(({ request_id }) => request_id);
    assertEquals(idsOf("permission_resolved"), idsOf("permission_request"));
    for (const { tool_call_id } of turn.filter(({ status }) => status === "done")) {
      const request = turn.findLast(({ tool }) => tool?.tool_call_id === tool_call_id)?.request_id;
      const outcome = turn.find(({ request_id, outcome }) => request_id === request && outcome)?.outcome;
      assert(request === undefined || outcome === "allowed", `${tool_call_id} is done, but was ${outcome}`);
    }
  }
}

async function replay(recording: string): Promise<void> {
  // The replay waits for each recorded cancel, however long the test takes.
  const agent = replayCommand(recording, { cancelWaitMs: 600_000 });
  await using server = await startServer({ agent, env: { VTUBER_PERMISSIONS: "ask" } });
  await using client = await watch(server, { events: ["*", "say"] });
  await client.ask({ type: "hello", client: "test" }, "hello");
  for (const prompt of recordedPrompts(recording)) {
    const reply = await play(server, client, prompt);
    // The prompts of `claude-parallel` overlap, so their replies are not replayed whole.
    if (reply && recording !== "claude-parallel") assertReply(reply, prompt);
  }
  const frames = client.frames.filter(({ turn_id }) => turn_id);
  await assertGolden(`${recording}.jsonl`, format(frames), "events");
  assertRules(frames);
}

Deno.test("recordings: replies as recorded, and events as in the golden files", async (t) => {
  // Some run at once, because each waits for seconds until its last state has been shown.
  await Array.fromAsync(pooledMap(4, RECORDINGS, (name: string) => runStep(t, name, () => replay(name))));
});

Deno.test("every recording has a golden file of events, and every golden file a recording", () => {
  const goldens = [...Deno.readDirSync(new URL("../fixtures/events/", import.meta.url))]
    .map(({ name }) => name.replace(/\.jsonl$/, "")).sort();
  assertEquals(goldens, RECORDINGS);
});

for (const recording of ["claude-llmfail", "gemini-llmfail"]) {
  Deno.test(`${recording}: a failed model is a 502 without retry`, async () => {
    await using server = await startServer({ agent: replayCommand(recording) });
    const response = await server.chat("Fail, please.", { stream: false });
    assertEquals([response.status, response.headers.get("x-should-retry")], [502, "false"]);
    assertEquals((await response.json()).error.code, "agent_error");
  });
}

for (const recording of ["claude-cancel", "gemini-cancel", "codex2-cancel"]) {
  Deno.test(`${recording}: a hang-up cancels the turn, and the next turn runs to its end`, async () => {
    await using server = await startServer({ agent: replayCommand(recording) });
    const first = await server.chat("Go on for ever.");
    const reader = first.body!.getReader();
    await reader.read();
    await reader.cancel();
    assertEquals((await replyOf(server.chat("And now?"))).done, true);
  });
}
