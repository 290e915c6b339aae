/** Metrics and traces of the program with a real agent process. */

import { assert, assertEquals } from "@std/assert";
import { parseSamples, sampleTable } from "../support/harness/metrics_fixture.ts";
import { codeBlocks, readPage } from "../support/harness/docs.ts";
import { OtlpCollector } from "../support/harness/otlp_collector.ts";
import {
  inConversation,
  programCommand,
  replyOf,
  script,
  startServer,
  until,
} from "../support/harness/server_process.ts";

/** Tokens of a turn, as an agent reports them. */
const USAGE = { inputTokens: 30, outputTokens: 5, totalTokens: 35 };

Deno.test("GET /metrics: agents that exit, permission requests, tools and the event loop", async () => {
  await using server = await startServer();
  const scrape = async () => sampleTable(parseSamples(await (await fetch(`${server.url}/metrics`)).text()));
  const options = [{ optionId: "y", name: "Yes", kind: "allow_once" }];
  const steps = ["execute", "think"].map((kind) => ({
    permission: { toolCall: { toolCallId: kind, title: "ls", kind }, options },
  }));
  await replyOf(
    server.chat(script(...steps, { tool: { id: "t", kind: "edit", title: "x", status: "in_progress" } })),
  );
  const kill = { kill: true } as const;
  await replyOf(server.chat(script({ text: "Hi" }, kill)));
  const all = await until(
    scrape,
    (all) => all.get("agent_restarts_total openab") === 1 && all.get("agent_process_up openab") === 1,
  );
  for (
    const name of [
      "permission_requests_total no_client",
      "permission_requests_total allowed_by_policy",
      "gen_ai_execute_tool_duration_seconds_count edit ",
      "gen_ai_invoke_agent_duration_seconds_count openab agent_crashed",
    ]
  ) assertEquals(all.get(name), 1, name);
  await until(scrape, (all) => (all.get("event_loop_lag_seconds_count") ?? 0) > 0);
  assert(all.get("process_start_time_seconds")! * 1000 <= Date.now());
});

/** Names the trace and the span of a client. */
const traceParent = (digit: string) => ({
  headers: { traceparent: `00-${digit.repeat(32)}-${digit.repeat(16)}-01` },
});

/** An executable exports only if OTEL_DENO was set when it was compiled. */
const ignore = Deno.env.has("OAB_VTUBER_EXECUTABLE");

Deno.test("OTEL_DENO: a request, its turn and its tools are one trace, with a log line of the request", {
  ignore,
}, async () => {
  await using collector = new OtlpCollector();
  await using server = await startServer({ env: collector.env });
  const tool = (id: string, status: string) => ({ tool: { id, title: "S3CRET", kind: id, status } });
  const steps = [
    tool("read", "in_progress"),
    { toolUpdate: { id: "read", status: "failed" } },
    tool("execute", "in_progress"),
    { thought: "S3CRET" },
    { env: Object.keys(collector.env) },
    { text: "S3CRET" },
  ];
  const named = { headers: { ...traceParent("a").headers, ...inConversation("S3CRET").headers } };
  const reply = await replyOf(
    server.chat(script(...steps, { stop: "end_turn", usage: USAGE }), { user: "S3CRET" }, named),
  );
  // The agent gets none of the variables.
  const inherited = JSON.parse(reply.text.slice(0, reply.text.indexOf("}") + 1));
  assertEquals(inherited, Object.fromEntries(Object.keys(collector.env).map((name) => [name, null])));
  const span = (name: string) => collector.spans.find((span) => span.name === name);
  const turn = await until(() => span("invoke_agent openab")!);
  const request = await until(() => span("POST /v1/chat/completions")!);
  const [read, execute] = ["read", "execute"].map((kind) => span(`execute_tool ${kind}`)!);
  const spans = [request, turn, read!, execute!];
  assertEquals(spans.map(({ traceId }) => traceId), spans.map(() => "a".repeat(32)));
  assertEquals(spans.map(({ parentSpanId }) => parentSpanId), [
    "a".repeat(16),
    request.spanId,
    turn.spanId,
    turn.spanId,
  ]);
  assertEquals([turn.events, turn.status], [["prompt_taken", "first_text"], 0]);
  assertEquals([turn.attributes["gen_ai.usage.input_tokens"], turn.attributes["error.type"]], [
    30,
    undefined,
  ]);
  assertEquals([read!.attributes["error.type"], read!.status, execute!.attributes["error.type"]], [
    "failed",
    2,
    undefined,
  ]);
  assertEquals(request.attributes["http.route"], "/v1/chat/completions");
  assertEquals(JSON.stringify(spans).includes("S3CRET"), false);
  await until(() =>
    collector.logs.some(({ traceId, body }) => traceId === request.traceId && body.includes('"request"'))
  );
});

Deno.test(
  "OTEL_DENO: a turn that waits for an earlier one belongs to its own request",
  { ignore },
  async () => {
    await using collector = new OtlpCollector();
    const env = { ...collector.env, VTUBER_ON_BUSY: "queue" };
    await using server = await startServer({ env });
    const mao = (digit: string) => ({
      headers: { ...traceParent(digit).headers, ...inConversation("mao").headers },
    });
    const file = await Deno.makeTempFile();
    await Deno.remove(file);
    const first = server.chat(script({ waitFor: file }, { text: "Hi" }), {}, mao("a"));
    await server.receivedTimes("session/prompt", 1);
    const second = server.chat(script({ error: { code: -32000, message: "S3CRET" } }), {}, mao("b"));
    await server.logged('"conversation","decision":"continue"');
    await Deno.writeTextFile(file, "");
    await Promise.all([replyOf(first), replyOf(second)]);
    await Deno.remove(file);
    const turns = () => collector.spans.filter(({ name }) => name === "invoke_agent openab");
    await until(() => turns().length === 2);
    const requests = () => collector.spans.filter(({ name }) => name === "POST /v1/chat/completions");
    await until(() => requests().length === 2);
    for (const [index, digit] of ["a", "b"].entries()) {
      const turn = turns()[index]!;
      assertEquals(turn.traceId, digit.repeat(32));
      assertEquals(turn.parentSpanId, requests().find(({ traceId }) => traceId === turn.traceId)!.spanId);
    }
    assertEquals(turns().map(({ status }) => status), [0, 2]);
  },
);

Deno.test("OTEL_DENO: a new key is printed, but not exported", { ignore }, async () => {
  await using collector = new OtlpCollector();
  const { command, args } = programCommand(["key", "new"]);
  const { stdout } = await new Deno.Command(command, { args, env: collector.env, stdin: "null" }).output();
  const [, key = ""] = new TextDecoder().decode(stdout).trim().split("=");
  assert(key.startsWith("oab_"));
  await until(() => collector.logs.some(({ body }) => body.includes("keep it to yourself")));
  assertEquals(collector.text.includes(key), false);
});

Deno.test("watching.md: its collector prints a trace", { ignore }, async () => {
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  const code = codeBlocks(readPage("watching"), "ts")[0]!.text;
  await Deno.writeTextFile(
    file,
    code.replace("port: 4318", "port: 0, onListen: ({ port }) => console.log({ port })"),
  );
  const collector = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-config", "--allow-net", file],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let printed = "";
  const reading = (async () => {
    for await (const piece of collector.stdout.pipeThrough(new TextDecoderStream())) printed += piece;
  })();
  try {
    const port = await until(() => /port: (\d+)/.exec(printed)?.[1]);
    const env = {
      OTEL_DENO: "true",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_BSP_SCHEDULE_DELAY: "50",
    };
    await using server = await startServer({ agent: "demo", env });
    await replyOf(server.chat("run a tool"));
    const names = (text: string) =>
      [...text.matchAll(/^[0-9a-f]{8} \d+ (.+)$/gm)].map(([, name]) => name).sort();
    const documented = names(codeBlocks(readPage("watching"), "text").at(-1)!.text);
    await until(() => names(printed).length >= documented.length);
    assertEquals(names(printed), documented);
  } finally {
    collector.kill("SIGKILL");
    await collector.status;
    await reading;
    await Deno.remove(file);
  }
});
