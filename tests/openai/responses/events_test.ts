import { assertEquals, assertMatch } from "@std/assert";
import { AppError } from "../../../lib/core/errors.ts";
import { failedReply } from "../../../lib/openai/reply_reader.ts";
import { MAX_REPLY_CHARS, ResponseBuilder, type ResponseHead } from "../../../lib/openai/responses/events.ts";
import type { McpCall, OutputItem } from "../../../lib/openai/responses/items.ts";
import type { PlanEntry, ToolCallId, TurnEvent } from "../../../lib/turn/event.ts";
import { assertGolden } from "../../support/harness/golden.ts";
import {
  ask,
  buildResponse,
  ECHO,
  END,
  HEAD,
  openResponse,
  readerOf,
  say,
  think,
  tool,
} from "../../support/harness/response_fixture.ts";

const CRASH = new AppError("agent_crashed", "The agent's process ended in the middle of the turn.");
const PLAN: PlanEntry[] = [
  { content: "Look", priority: "high", status: "completed" },
  { content: "Try\nit", priority: "low", status: "in_progress" },
  { content: "Tell", priority: "low", status: "pending" },
];
const USAGE = { inputTokens: 12, outputTokens: 5, thoughtTokens: 2, cachedTokens: 3 };

const GOLDEN: [name: string, turn: TurnEvent[], facts?: Partial<ResponseHead>, maxTokens?: number][] = [
  ["text", [say("[joy] Hello"), say(', "you".\n'), { type: "usage", usage: USAGE }, END]],
  ["tool", [say("Let me look."), tool("pending"), tool("completed"), say("\n"), say("Done."), END]],
  ["thoughts", [think("Hm."), think(" So."), say("Hi."), think("Again."), END]],
  ["plan", [think("Hm."), { type: "plan", entries: PLAN }, say("Hi."), END]],
  ["failed_tool", [tool("in_progress"), tool("failed", { title: "", kind: "fetch" }), END]],
  ["length", [say("One. Two. "), say("Three is long.")], {}, 3],
  ["failure", [say("Half"), tool("in_progress"), { type: "failure", failure: CRASH }]],
  ["failure_without_items", [{ type: "failure", failure: CRASH }]],
  ["refusal", [{ type: "end", reason: "refusal" }]],
  ["refusal_in_words", [say("I will not."), { type: "end", reason: "refusal" }]],
  ["cancelled", [say("On and"), { type: "end", reason: "cancelled" }]],
  ["empty", [END]],
  ["approval", [say("May I?"), tool("pending"), ask("rm -r build")]],
  [
    "approved",
    [tool("in_progress"), tool("completed"), say("Gone."), END],
    {
      approvals: new Map([["t1" as ToolCallId, "mcpr_1_2"]]),
      conversation: "mao",
      echo: { ...ECHO, previous_response_id: "resp_1", metadata: { a: "b" }, instructions: "Be kind." },
    },
  ],
];

for (const [name, turn, facts, maxTokens] of GOLDEN) {
  Deno.test(`ResponseBuilder: the events of ${name} are as in the golden file`, async () => {
    const { data } = buildResponse(turn, facts, maxTokens);
    await assertGolden(`${name}.txt`, data.map((event) => event + "\n").join(""), "openai/responses");
  });
}

Deno.test("ResponseBuilder: the events of a background response and of a silence", async () => {
  const { data, builder, read } = openResponse({ echo: { ...ECHO, background: true } });
  assertEquals(builder.toResponse().status, "queued");
  builder.keepAlive();
  builder.start();
  builder.start();
  read(say("Hi."));
  builder.keepAlive();
  read(END);
  builder.keepAlive();
  await assertGolden("background.txt", data.map((event) => event + "\n").join(""), "openai/responses");
});

Deno.test("ResponseBuilder: shows the response so far, and does not change what it showed", () => {
  const { builder, read } = openResponse();
  builder.start();
  const shown = [builder.toResponse()];
  for (const event of [think("Hm."), think(" So."), tool("pending"), say("He"), say("llo"), END]) {
    read(event);
    shown.push(builder.toResponse());
  }
  const brief = shown.map(({ status, output }) => [status, ...output.map(wordsOf)]);
  assertEquals(brief, [
    ["in_progress"],
    ["in_progress", "Hm."],
    ["in_progress", "Hm. So."],
    ["in_progress", "Hm. So.", "Read README.md in_progress"],
    ["in_progress", "Hm. So.", "Read README.md in_progress", "He"],
    ["in_progress", "Hm. So.", "Read README.md in_progress", "Hello"],
    ["completed", "Hm. So.", "Read README.md incomplete", "Hello"],
  ]);
});

function wordsOf(item: OutputItem): string {
  switch (item.type) {
    case "message":
      return item.content.map((part) => part.type === "refusal" ? part.refusal : part.text).join("|");
    case "reasoning":
      return item.summary.map(({ text }) => text).join("|");
    default:
      return item.type === "mcp_call" ? `${item.name} ${item.status}` : item.name;
  }
}

/** The words of each item of a turn. */
function itemsOf(...turn: TurnEvent[]): string[] {
  return buildResponse(turn).response.output.map(wordsOf);
}

const ITEMS: [name: string, turn: TurnEvent[], items: string[]][] = [
  [
    "text after the update of a known tool goes on",
    [tool("pending"), say("a"), tool("completed"), say("b")],
    [
      "Read README.md completed",
      "ab",
    ],
  ],
  ["a tool that is complete at once", [tool("completed")], ["Read README.md completed"]],
  ["updates after the end of a tool", [tool("failed"), tool("completed"), tool("pending")], [
    "Read README.md failed",
  ]],
  ["the newest title counts", [tool("pending", { title: "Read" }), tool("completed")], [
    "Read README.md completed",
  ]],
  ["a title in lines", [tool("completed", { title: " a\nb\u202e " })], ["a b completed"]],
  ["a long title", [tool("completed", { title: "x".repeat(300) })], ["x".repeat(200) + "... completed"]],
  ["blank text makes no message", [say(" \n"), tool("completed"), say("\n"), think(" ")], [
    "Read README.md completed",
  ]],
  ["blank text begins the next message", [say("a"), tool("completed"), say("\n"), say("b")], [
    "a",
    "Read README.md completed",
    "\nb",
  ]],
  ["an unchanged plan is shown once", [{ type: "plan", entries: PLAN }, { type: "plan", entries: PLAN }], [
    "[x] Look\n[-] Try it\n[ ] Tell",
  ]],
  ["an empty plan is not shown", [{ type: "plan", entries: [] }], []],
  ["plans and thoughts share an item", [think("a"), { type: "plan", entries: PLAN.slice(2) }, think("b")], [
    "a|[ ] Tell|b",
  ]],
  ["a surrogate pair in two thoughts", [think("\ud83d"), think("\ude00")], ["😀"]],
  ["half a surrogate pair in a thought", [think("\ude00a")], ["\ufffda"]],
];
for (const [name, turn, items] of ITEMS) {
  Deno.test(`ResponseBuilder: ${name}`, () => assertEquals(itemsOf(...turn, END), items));
}

Deno.test("ResponseBuilder: a message keeps the tail of its reply, but for the line end of skins", () => {
  assertEquals(itemsOf(say("a\ud83d"), END), ["a\ufffd"]);
  assertEquals(itemsOf(say("a"), END), ["a"]);
});

Deno.test("ResponseBuilder: a long reply ends as too long, the same in its events and its object", () => {
  const piece = say("あ".repeat(1024));
  const { data, response } = buildResponse(Array(300).fill(piece));
  assertEquals([response.status, response.incomplete_details], ["incomplete", {
    reason: "max_output_tokens",
  }]);
  assertEquals(wordsOf(response.output[0]!).length, MAX_REPLY_CHARS);
  const deltas = data.map((event) => JSON.parse(event)).filter(({ type }) => type.endsWith("text.delta"));
  assertEquals(deltas.map(({ delta }) => delta).join(""), wordsOf(response.output[0]!));
});

Deno.test("ResponseBuilder: after 1,000 items only text goes on", () => {
  const turn = Array.from({ length: 1_100 }, (_, index) => [
    tool("completed", { id: `t${index}` as ToolCallId }),
    think("Hm."),
    say("a"),
  ]).flat();
  const { output } = buildResponse([...turn, END]).response;
  const last = output.at(-1)!;
  assertMatch(wordsOf(last), /^a{800,}$/);
  assertEquals(output.length < 1_001, true);
});

Deno.test("ResponseBuilder: thoughts and plans beyond 256 KiB are not shown", () => {
  const long = think("x".repeat(200 * 1024));
  assertEquals(
    itemsOf(long, long, think("y"), { type: "plan", entries: PLAN }, END).join("").length,
    200 * 1024,
  );
});

Deno.test("ResponseBuilder: a failure without words has no item, whether the turn began or not", () => {
  assertEquals(buildResponse([{ type: "failure", failure: CRASH }]).response.output, []);
  const { data, builder } = openResponse();
  builder.sink.end(failedReply(new AppError("agent_unavailable", "No agent."), 12));
  const { status, output, error, usage } = builder.toResponse();
  assertEquals([status, output, error?.type, usage], ["failed", [], "agent_unavailable", null]);
  assertEquals(data.map((event) => JSON.parse(event).type), ["response.created", "response.failed"]);
});

Deno.test("ResponseBuilder: cancelled before its turn, it ends and takes nothing more", () => {
  const { data, builder, read } = openResponse({ echo: { ...ECHO, background: true } });
  builder.cancel();
  const ended = [...data];
  [say("a"), think("b"), tool("pending"), ask("c"), END].forEach(read);
  builder.start();
  builder.cancel();
  assertEquals([data, builder.toResponse().status, builder.isOver], [ended, "cancelled", true]);
});

Deno.test("ResponseBuilder: a turn that was cancelled as a failure is no error", () => {
  const failure = new AppError("turn_cancelled", "The turn was cancelled.");
  const { status, error } = buildResponse([{ type: "failure", failure }]).response;
  assertEquals([status, error], ["cancelled", null]);
});

Deno.test("ResponseBuilder: an approval request has the whole detail", () => {
  const detail = "rm -r build\n".repeat(5_000);
  const { output, usage } = buildResponse([say("May I?"), ask(detail)]).response;
  const { arguments: json, name } = output[1] as McpCall;
  assertEquals(JSON.parse(json), { kind: "execute", title: "rm -r build", detail });
  assertEquals([name, usage?.input_tokens, usage!.output_tokens > 0], ["rm -r build", 12, true]);
});

Deno.test("ResponseBuilder: without events it builds the same response", () => {
  for (const [name, turn, facts, maxTokens] of GOLDEN) {
    const builder = new ResponseBuilder({ ...HEAD, ...facts });
    builder.start();
    turn.forEach(readerOf(builder, maxTokens));
    assertEquals(builder.toResponse(), buildResponse(turn, facts, maxTokens).response, name);
  }
});
