/** The official client checks the events of every response, strictly; the AI SDK checks its failures. */

import { assert, assertEquals } from "@std/assert";
import { createOpenAI } from "npm:@ai-sdk/openai@4.0.118";
import OpenAI from "npm:openai@7.55.0";
import { AppError, ERROR_STATUS, type ErrorCode } from "../../../lib/core/errors.ts";
import type { ResponseObject } from "../../../lib/openai/responses/events.ts";
import {
  type PlanEntry,
  STOP_REASONS,
  TOOL_STATUSES,
  type ToolCallId,
  type TurnEvent,
} from "../../../lib/turn/event.ts";
import { Random } from "../../support/harness/random.ts";
import {
  ask,
  buildResponse,
  ECHO,
  END,
  openResponse,
  say,
  think,
  tool,
} from "../../support/harness/response_fixture.ts";

type ClientEvent = OpenAI.Responses.ResponseStreamEvent;

/** Reads a stream with the client's strict reader. @returns The response that the client finds, and its events. */
async function readWithClient(data: readonly string[]) {
  const body = data.map((event) => `data: ${event}\n\n`).join("");
  const headers = { "content-type": "text/event-stream" };
  const client = new OpenAI({
    apiKey: "any",
    baseURL: "http://localhost/v1",
    maxRetries: 0,
    fetch: () => Promise.resolve(new Response(body, { headers })),
  });
  const stream = client.responses.stream({ model: "openab", input: "Hi" });
  const events: ClientEvent[] = [];
  stream.on("event", (event) => events.push(event));
  return { final: await stream.finalResponse(), events };
}

/** Removes what the client adds to a response. */
function asWritten(response: object): unknown {
  const added = ["output_text", "output_parsed", "parsed"];
  return JSON.parse(JSON.stringify(response, (key, value) => added.includes(key) ? undefined : value));
}

async function assertAccepted(data: readonly string[], response: ResponseObject, name: string) {
  const { final, events } = await readWithClient(data);
  assertEquals(asWritten(final), response, name);
  assertEquals(events.length, data.length, name);
  return { final, events };
}

const PLAN: PlanEntry[] = [{ content: "Look", priority: "high", status: "pending" }];
const FAILURE = new AppError("agent_timeout", "The agent was silent for too long.");
const TURNS: [
  name: string,
  status: ResponseObject["status"],
  text: string,
  turn: TurnEvent[],
  maxTokens?: number,
][] = [
  ["text", "completed", "[joy] Hello.", [say("[joy] "), say("Hello."), END]],
  ["text, a tool and text", "completed", "Look.Done.", [
    ...[say("Look."), tool("pending"), tool("in_progress"), tool("completed"), say("Done."), END],
  ]],
  ["tools that overlap a message", "completed", "ab", [
    ...[
      tool("pending"),
      say("a"),
      tool("pending", { id: "t2" as ToolCallId }),
      tool("failed"),
      say("b"),
      END,
    ],
  ]],
  ["thoughts", "completed", "Hi.", [think("Hm."), say("Hi."), think("So."), END]],
  ["a plan", "completed", "Hi.", [
    think("Hm."),
    { type: "plan", entries: PLAN },
    think("So."),
    say("Hi."),
    END,
  ]],
  ["a cut reply", "incomplete", "One.", [say("One. "), say("Two is long.")], 2],
  ["a refusal", "incomplete", "", [{ type: "end", reason: "refusal" }]],
  ["a refusal in words", "incomplete", "No.", [say("No."), { type: "end", reason: "refusal" }]],
  ["a failure", "failed", "Half", [say("Half"), tool("pending"), { type: "failure", failure: FAILURE }]],
  ["a failure without items", "failed", "", [{ type: "failure", failure: FAILURE }]],
  ["a cancelled turn", "cancelled", "On", [say("On"), { type: "end", reason: "cancelled" }]],
  ["an empty turn", "failed", "", [{ type: "end", reason: "end_turn", isEmpty: true }]],
  ["no text", "completed", "", [tool("completed"), END]],
  ["an approval request", "completed", "May I?", [say("May I?"), tool("pending"), ask("rm -r build")]],
];

for (const [name, status, text, turn, maxTokens] of TURNS) {
  Deno.test(`openai SDK: responses.stream() accepts ${name}`, async () => {
    const { data, response } = buildResponse(turn, {}, maxTokens);
    const { final } = await assertAccepted(data, response, name);
    assertEquals([final.status, final.output_text.trimEnd()], [status, text]);
  });
}

Deno.test("openai SDK: responses.stream() accepts a background response and a silence", async () => {
  const { data, builder, read } = openResponse({ echo: { ...ECHO, background: true } });
  builder.keepAlive();
  read(say("Hi."));
  builder.keepAlive();
  read(END);
  const { events } = await assertAccepted(data, builder.toResponse(), "background");
  assertEquals(events.map(({ type }) => type).slice(0, 4), [
    ...["response.created", "response.queued", "keepalive", "response.in_progress"] as const,
  ] as string[] as ClientEvent["type"][]);
});

/** The model of the AI SDK, whose server answers with this body. */
function aiModel(body: BodyInit, type: string) {
  const fetch = () => Promise.resolve(new Response(body, { headers: { "content-type": type } }));
  return createOpenAI({ apiKey: "any", baseURL: "http://localhost/v1", fetch }).responses("openab");
}

const PROMPT = { prompt: [{ role: "user" as const, content: [{ type: "text" as const, text: "Hi" }] }] };
/** The errors whose code of OpenAI's is another than `server_error`, by status. */
const OPENAI_CODES: Readonly<Record<number, string>> = {
  400: "invalid_prompt",
  404: "invalid_prompt",
  429: "rate_limit_exceeded",
};

for (const [code, httpStatus] of Object.entries(ERROR_STATUS)) {
  if (code === "turn_cancelled") continue;
  Deno.test(`response.error: of ${code}, the clients read a code of OpenAI's and the type`, async () => {
    const failure = new AppError(code as ErrorCode, "It broke.", { param: "input" });
    const { data, response } = buildResponse([say("Half"), { type: "failure", failure }]);
    const { final } = await readWithClient(data);
    const error: OpenAI.Responses.ResponseError = response.error!;
    const expected = OPENAI_CODES[httpStatus] ?? "server_error";
    assertEquals(error, {
      code: expected as typeof error.code,
      type: code,
      message: "It broke.",
      param: "input",
    });
    assertEquals(final.error, error);

    const body = data.map((event) => `data: ${event}\n\n`).join("");
    const { stream } = await aiModel(body, "text/event-stream").doStream(PROMPT);
    const errors = (await Array.fromAsync(stream)).flatMap((part) =>
      part.type === "error" ? [part.error] : []
    );
    const read = errors.map((error) => [(error as Error).message, (error as { code: unknown }).code]);
    assertEquals(read, [["It broke.", expected]]);
    const whole = aiModel(JSON.stringify(response), "application/json").doGenerate(PROMPT);
    assertEquals(await whole.then(() => "no error", ({ name, message }) => [name, message]), [
      "AI_APICallError",
      "It broke.",
    ]);
  });
}

const PIECES = [
  "Hello",
  " ",
  "\n",
  "[joy] ",
  "。",
  "data:",
  "::",
  "\u2028",
  "😀",
  "\ud83d",
  "\ude00",
  "\r",
  '"',
  "x".repeat(400),
];

function randomEvent(random: Random): TurnEvent {
  const id = `t${random.below(4)}` as ToolCallId;
  switch (random.below(8)) {
    case 0:
      return think(random.text(PIECES, 4));
    case 1:
    case 2:
    case 3:
      return tool(random.pick(TOOL_STATUSES), { id, title: random.pick(["", "Look", "a\nb"]) });
    case 4:
      return { type: "plan", entries: PLAN.slice(random.below(2)) };
    default:
      return say(random.text(PIECES, 4));
  }
}

function randomEnd(random: Random): TurnEvent {
  switch (random.below(5)) {
    case 0:
      return { type: "failure", failure: FAILURE };
    case 1:
      return ask("rm -r build");
    case 2:
      return { type: "end", reason: random.pick(STOP_REASONS) };
    default:
      return END;
  }
}

/** Lists the types of the events in the golden files. */
function goldenTypes(): Set<string> {
  const folder = new URL("../../fixtures/openai/responses/", import.meta.url);
  const texts = [...Deno.readDirSync(folder)].map(({ name }) => Deno.readTextFileSync(new URL(name, folder)));
  return new Set(texts.flatMap((text) => text.trim().split("\n").map((line) => JSON.parse(line).type)));
}

Deno.test("openai SDK: responses.stream() accepts any turn, and its pieces are the response", async () => {
  const golden = goldenTypes();
  const sent = new Set<string>();
  for (let seed = 0; seed < 300; seed++) {
    const random = new Random(seed);
    const { data, builder, read } = openResponse({}, random.once(5) ? 1 + random.below(200) : undefined);
    for (let count = random.below(30); count > 0; count--) {
      if (random.once(10)) builder.keepAlive();
      read(randomEvent(random));
    }
    read(randomEnd(random));
    const response = builder.toResponse();
    const { events } = await assertAccepted(data, response, `seed ${seed}`);
    for (const { type } of events) sent.add(type);

    assertEquals(events.map((event) => (event as { sequence_number: number }).sequence_number), [
      ...data.keys(),
    ]);
    const pieces = new Map<string, string>();
    for (const event of events) {
      if (
        event.type !== "response.output_text.delta" && event.type !== "response.reasoning_summary_text.delta"
      ) {
        continue;
      }
      assert(event.delta !== "" && event.delta.isWellFormed() && event.delta.length <= 341, `seed ${seed}`);
      pieces.set(event.item_id, (pieces.get(event.item_id) ?? "") + event.delta);
    }
    for (const item of response.output) {
      if (item.type !== "mcp_approval_request") assert(item.status !== "in_progress", `seed ${seed}`);
      if (item.type === "reasoning") {
        assertEquals(pieces.get(item.id), item.summary.map(({ text }) => text).join(""), `seed ${seed}`);
      } else if (item.type === "message") {
        const text = item.content.map((part) => part.type === "refusal" ? "" : part.text).join("");
        assertEquals(pieces.get(item.id) ?? "", text, `seed ${seed}`);
      }
    }
    for (const event of data) {
      assert(!/data:|::|[\n\r\u0085\u2028\u2029]/.test(event), `seed ${seed}: ${event}`);
    }
  }
  assertEquals([...sent].filter((type) => !golden.has(type)), []);
});
