import { assertEquals } from "@std/assert";
import { type Context, type Span, type SpanOptions, trace, type Tracer } from "@opentelemetry/api";
import { AppError } from "../../lib/core/errors.ts";
import { Traces } from "../../lib/telemetry/traces.ts";
import { saying, type Script } from "../support/agents/memory_agent.ts";
import { ConversationHarness, type HarnessOptions } from "../support/harness/conversation_harness.ts";
import { user } from "../support/harness/message_fixture.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

/** Records spans, as the lines of a table: `execute_tool read failed in invoke_agent openab`. */
class SpanRecorder implements Disposable {
  readonly ended: string[] = [];
  readonly #names = new Map<Span, string>();

  constructor() {
    const startSpan = (name: string, _: SpanOptions, parent: Context) => {
      const outer = this.#names.get(trace.getSpan(parent)!);
      const words = [name];
      const span = {
        addEvent: (event: string) => void words.push(`(${event})`),
        setAttributes: (attributes: object) => void words.push(JSON.stringify(attributes)),
        setAttribute: (_: string, value: string) => void words.push(`${value}`),
        setStatus: () => void words.push("error"),
        end: () => void this.ended.push([...words, ...outer ? [`in ${outer}`] : []].join(" ")),
      } as unknown as Span;
      this.#names.set(span, name);
      return span;
    };
    trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan }) as unknown as Tracer });
  }

  [Symbol.dispose](): void {
    trace.disable();
  }
}

/** Runs a turn of an agent with this script, and lists the spans. */
async function spansOf(script: Script | undefined, options: HarnessOptions = {}): Promise<string[]> {
  using recorder = new SpanRecorder();
  const traces = new Traces("1");
  const meter = { onStart() {}, onEvent() {}, onRejected() {} };
  using harness = new ConversationHarness({ measure: (agent) => traces.traceTurn(agent, meter), ...options });
  harness.agent.script = script;
  harness.agent.answersCancels = true;
  const turn = await harness.start("mao", [user("Hi")]).catch(() => undefined);
  turn?.cancel();
  await nextTask();
  return recorder.ended;
}

const TURN = "invoke_agent openab (prompt_taken)";
const CASES: Readonly<Record<string, [script: Script | undefined, spans: string[]]>> = {
  "a reply": [saying("Hi", " there"), [`${TURN} (first_text) end_turn`]],
  "a failure": [(prompt) => prompt.fail(new AppError("agent_crashed", "It exited.")), [
    `${TURN} agent_crashed error`,
  ]],
  "a refusal": [(prompt) => prompt.end("refusal"), [`${TURN} refusal refusal error`]],
  "a cancel": [() => {}, [`${TURN} cancelled cancelled`]],
  "tools": [
    (prompt) => {
      prompt.tool({ id: "a", status: "pending" });
      prompt.tool({ id: "a", status: "in_progress" });
      prompt.tool({ id: "b", kind: "execute", status: "pending" });
      prompt.tool({ id: "b", kind: "execute", status: "failed" });
      prompt.tool({ id: "c", kind: "edit", status: "completed" });
      prompt.end();
    },
    [
      "execute_tool execute failed error in invoke_agent openab",
      "execute_tool read cancelled in invoke_agent openab",
      `${TURN} end_turn`,
    ],
  ],
  "tokens": [
    (prompt) => {
      prompt.usage({ inputTokens: 30, outputTokens: 5 });
      prompt.say("Hi");
      prompt.end();
    },
    [`${TURN} {"gen_ai.usage.input_tokens":30,"gen_ai.usage.output_tokens":5} (first_text) end_turn`],
  ],
};
for (const [name, [script, spans]] of Object.entries(CASES)) {
  Deno.test(`traces: ${name}`, async () => assertEquals(await spansOf(script), spans));
}

Deno.test("traces: a turn that does not start has a span with the code of the error", async () => {
  assertEquals(await spansOf(undefined, { maxTurns: 0 }), ["invoke_agent openab rate_limit_exceeded error"]);
});
