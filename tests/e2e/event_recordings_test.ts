/** Sessions of real agents, replayed as the agent: what watchers are told of them is what tests/fixtures/events holds. */

import { assert, assertEquals } from "@std/assert";
import { readRecording, replayCommand } from "../support/agents/replayed_agent.ts";
import { type Server, startServer } from "../support/harness/server_process.ts";
import { type Frame, watch, type EventClient } from "../support/harness/event_client.ts";

// deno-lint-ignore no-explicit-any
type Json = Record<string, any>;

/** One prompt of a recording, as far as a client has a part in it. */
interface Prompt {
  /** What was said (as watchers hear it) and done before the client cancelled it; `undefined` if it did not. */
  readonly beforeCancel: { readonly text: string; readonly ids: readonly string[] } | undefined;
  /** The options that the client chose, by tool call; none where it cancelled instead. */
  readonly chosen: ReadonlyMap<string, string | undefined>;
}

/** The prompts of a recording, in order. */
function promptsOf(recording: string): Prompt[] {
  const lines = readRecording(recording).map(({ dir, msg }) => ({ dir, msg: msg as Json }));
  const starts = lines.flatMap(({ dir, msg }, index) =>
    dir === "c2a" && msg.method === "session/prompt" ? [index] : []
  );
  return starts.map((start, index) => {
    const mine = lines.slice(start + 1, starts[index + 1]);
    const cancelled = mine.findIndex(({ dir, msg }) => dir === "c2a" && msg.method === "session/cancel");
    const before = mine.slice(0, cancelled).filter(({ dir }) => dir === "a2c").map(({ msg }) =>
      msg.params ?? {}
    );
    const asked = mine.filter(({ msg }) => msg.method === "session/request_permission").map(({ msg }) => msg);
    return {
      beforeCancel: cancelled < 0 ? undefined : {
        text: before.filter(({ update }) => update?.sessionUpdate === "agent_message_chunk")
          .map(({ update }) => update.content.text ?? "").join("").replaceAll("`", ""),
        ids: before.flatMap(({ update, toolCall }) => (update ?? toolCall)?.toolCallId ?? []),
      },
      chosen: new Map(asked.map(({ id, params }) => {
        const answer = mine.find(({ dir, msg }) => dir === "c2a" && msg.id === id && msg.result);
        return [params.toolCall.toolCallId, answer?.msg.result.outcome.optionId];
      })),
    };
  });
}

/** Has a prompt run as its recording's client did. */
async function play(server: Server, watcher: EventClient, { beforeCancel, chosen }: Prompt): Promise<void> {
  const from = watcher.frames.length;
  const init = { headers: { "x-session-id": "talk" } };
  const response = await server.chat("Please do it.", {}, init);
  const reading = response.text();
  for (const [id, option] of chosen) {
    const request = await watcher.first("permission_request", ({ tool }) => tool.tool_call_id === id, from);
    const { request_id } = request;
    if (option) watcher.send({ type: "permission_response", request_id, option_id: option });
  }
  if (beforeCancel) {
    await watcher.until((frames) => {
      const mine = frames.slice(from);
      const said = mine.map(({ type, text }) => type === "say" ? text : "").join("");
      const known = new Set(mine.flatMap(({ tool_call_id, tool }) => [tool_call_id, tool?.tool_call_id]));
      return said.length >= beforeCancel.text.length && beforeCancel.ids.every((id) => known.has(id));
    });
    watcher.send({ type: "interrupt" });
  }
  await reading;
  await watcher.state("idle", from);
}

/** The frames without what differs from run to run, one a line; what is said in a row is one. */
function golden(frames: readonly Frame[]): string {
  const turns = numbered("turn");
  const requests = numbered("request");
  const lines: Json[] = [];
  for (const { ts: _, session_id, turn_id, request_id, expires_at, ...rest } of frames) {
    assertEquals(session_id, "talk");
    const { type, ...fields } = rest;
    const last = lines.at(-1);
    if (type === "say" && last?.type === "say") last.text += fields.text;
    else {
      lines.push({
        type,
        turn: turns(turn_id),
        ...(request_id ? { request_id: requests(request_id) } : {}),
        ...fields,
      });
    }
    assertEquals(type === "permission_request", Number.isInteger(expires_at));
  }
  return lines.map((line) => JSON.stringify(line) + "\n").join("");
}

function numbered(word: string): (id: string) => string {
  const known = new Map<string, string>();
  return (id) => known.getOrInsertComputed(id, () => `${word} ${known.size + 1}`);
}

async function assertGolden(name: string, text: string): Promise<void> {
  const file = new URL(`../fixtures/events/${name}.jsonl`, import.meta.url);
  if (Deno.env.get("UPDATE_GOLDEN")) return await Deno.writeTextFile(file, text);
  const golden = await Deno.readTextFile(file);
  assertEquals(text, golden.replaceAll("\r\n", "\n"), `${name} differs; UPDATE_GOLDEN=1 writes it anew`);
}

/** What holds for every turn, whatever the agent does in it. */
function assertProper(frames: readonly Frame[]): void {
  assertEquals(frames.at(-1)!.state, "idle");
  const shown = frames.filter(({ type }) => type === "agent_state");
  for (const [index, { state, detail }] of shown.entries()) {
    const before = shown[index - 1];
    const same = before?.state === state && before?.detail?.subagent_count === detail?.subagent_count;
    assert(!same, `${state} is told twice`);
  }
  for (const turn of Map.groupBy(frames, ({ turn_id }) => turn_id).values()) {
    assertEquals([turn[0]!.state, turn.at(-1)!.state], ["thinking", "idle"]);
    assertEquals(turn.filter(({ state }) => state === "idle").length, 1, "it comes to rest once");
    const tools = Map.groupBy(
      turn.filter(({ type }) => type === "tool_status"),
      ({ tool_call_id }) => tool_call_id,
    );
    for (const [id, statuses] of tools) {
      const told = statuses.map(({ status }) => status === "done" || status === "failed" ? "end" : "start");
      assert(["start end", "end"].includes(told.join(" ")), `${id}: ${told.join(" ")}`);
    }
    const asked = turn.filter(({ type }) => type === "permission_request").map(({ request_id }) =>
      request_id
    );
    const resolved = turn.filter(({ type }) => type === "permission_resolved").map(({ request_id }) =>
      request_id
    );
    assertEquals(resolved, asked, "each request ends");
    for (const { tool_call_id } of turn.filter(({ status }) => status === "done")) {
      const last = turn.findLast(({ tool }) => tool?.tool_call_id === tool_call_id)?.request_id;
      const outcome = turn.find((frame) => frame.request_id === last && frame.outcome)?.outcome;
      assert(
        last === undefined || outcome === "allowed",
        `${tool_call_id} was ${outcome}, and is told as done`,
      );
    }
  }
}

const RECORDINGS = [...Deno.readDirSync(new URL("../fixtures/acp/", import.meta.url))]
  .map(({ name }) => name.replace(/\.ndjson$/, "")).sort();

for (const recording of RECORDINGS) {
  Deno.test(`${recording}: watchers are told what the golden file holds`, async () => {
    const env = { VTUBER_PERMISSIONS: "ask" };
    // It is always cancelled where its recording was, however long that takes.
    const agent = replayCommand(recording, { cancelWaitMs: 600_000 });
    await using server = await startServer({ agent, env });
    await using watcher = await watch(server, { events: ["*", "say"] });
    await watcher.ask({ type: "hello", client: "test" }, "hello");
    for (const prompt of promptsOf(recording)) await play(server, watcher, prompt);
    const frames = watcher.frames.filter(({ turn_id }) => turn_id);
    await assertGolden(recording, golden(frames));
    assertProper(frames);
  });
}

Deno.test("there is a golden file for each recording, and no other", () => {
  const goldens = [...Deno.readDirSync(new URL("../fixtures/events/", import.meta.url))]
    .map(({ name }) => name.replace(/\.jsonl$/, "")).sort();
  assertEquals(goldens, RECORDINGS);
});
