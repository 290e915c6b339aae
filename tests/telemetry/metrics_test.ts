import { assert, assertEquals, assertMatch } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { METRICS, Metrics } from "../../lib/telemetry/metrics.ts";
import { MemoryAgent, type Script } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, type TestApp, type TestAppOptions } from "../support/harness/app_harness.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { increases, parseSamples, type Sample, sampleTable } from "../support/harness/metrics_fixture.ts";
import { ServedApp } from "../support/harness/served_app.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

/** Reads the metrics of an app. */
async function scrape(app: Pick<TestApp, "get">): Promise<Map<string, number>> {
  return sampleTable(parseSamples(await (await app.get("/metrics")).text()));
}

/** Samples of the scrapes themselves, and the gauges. */
const GAUGES = Object.entries(METRICS).flatMap(([name, { type }]) => type === "gauge" ? [name] : []);
const OWN = new RegExp(`^(http_\\w+ /metrics |(${GAUGES.join("|")})( |$))`);

/** Lists the samples that an action increases, without the gauges, and the buckets and sums of histograms. */
async function changesOf(app: TestApp, act: () => Promise<unknown>): Promise<string[]> {
  const before = await scrape(app);
  await act();
  await nextTask();
  const changes = [...increases(before, await scrape(app)).keys()];
  return changes.filter((name) => !OWN.test(name) && !/_(bucket|sum)( |$)/.test(name)).sort();
}

const read = async (response: Response | Promise<Response>) => void await (await response).text();
const CHAT = "http_requests_total /v1/chat/completions POST";
const CHAT_TIME = "http_request_duration_seconds_count /v1/chat/completions POST";
const ended = (errorType: string) => [
  `gen_ai_invoke_agent_duration_seconds_count openab ${errorType}`,
  `gen_ai_server_request_duration_seconds_count invoke_agent openab ${errorType}`,
];
const FIRST_TEXT = "gen_ai_server_time_to_first_token_seconds_count invoke_agent openab";
const answered = [`${CHAT} 200`, CHAT_TIME, ...ended(""), FIRST_TEXT];

/** Has the agent do this, say something, and then end its turn. */
const doing = (act: Script): TestAppOptions => ({
  script: (prompt) => {
    act(prompt);
    prompt.say("Hi");
    prompt.end();
  },
});
const busy = async (app: TestApp, act: () => Promise<unknown>) => {
  const running = app.chat({}, { headers: { "x-session-id": "mao" } });
  const prompt = await app.agent.nextPrompt();
  await act();
  prompt.say("Hi");
  prompt.end();
  await read(running);
};

interface Case {
  readonly options?: TestAppOptions;
  readonly act: (app: TestApp) => Promise<unknown>;
  /** The samples that increase. */
  readonly samples: readonly string[];
}
const chats = (options: TestAppOptions, samples: readonly string[]): Case => ({
  options,
  act: (app) => read(app.chat()),
  samples,
});
const gets = (path: string, samples: readonly string[], method = "GET"): Case => ({
  act: (app) => read(app.send(path, { method })),
  samples,
});
const request = (route: string, method: string, status: number, code?: string) => [
  ...code ? [`http_errors_total ${code}`] : [],
  `http_request_duration_seconds_count ${route} ${method}`,
  `http_requests_total ${route} ${method} ${status}`,
];

const CASES: Readonly<Record<string, Case>> = {
  "a request": gets("/v1/models", request("/v1/models", "GET", 200)),
  "another spelling of its path": gets("/api/v1/openai/v1//models/", request("/v1/models", "GET", 200)),
  "a part of the path": gets("/v1/models/nope", request("/v1/models/{id}", "GET", 404, "model_not_found")),
  "HEAD": gets("/healthz", request("/healthz", "HEAD", 200), "HEAD"),
  "a preflight": gets("/v1/models", request("/v1/models", "OPTIONS", 204), "OPTIONS"),
  "a page": gets("/stage/main.js", request("/stage/{id}", "GET", 200)),
  "an unknown path": gets("/wp-login.php", request("other", "GET", 404, "not_found")),
  "a path that is not served": gets("/v1/messages", request("other", "POST", 404, "not_found"), "POST"),
  "an unknown method": gets("/v1/models", request("/v1/models", "other", 405, "method_not_allowed"), "BREW"),
  "a body that is no JSON": {
    act: (app) => read(app.post("/v1/chat/completions", "{")),
    samples: request("/v1/chat/completions", "POST", 400, "invalid_json"),
  },
  "the extra chat path": {
    options: { chatPath: "/brain", ...doing(() => {}) },
    act: (app) => read(app.post("/brain", { messages: [{ role: "user", content: "Hi" }] })),
    samples: answered,
  },
  "a turn": chats(doing((prompt) => prompt.say("Oh. ")), answered),
  "a turn without text": {
    options: { script: (prompt) => prompt.end() },
    act: (app) => read(app.chat()),
    samples: [`${CHAT} 502`, CHAT_TIME, "http_errors_total agent_error", ...ended("empty")],
  },
  "a turn that fails": chats({
    script: (prompt) => prompt.fail(new AppError("agent_crashed", "It exited.", { prompted: true })),
  }, [`${CHAT} 502`, CHAT_TIME, "http_errors_total agent_crashed", ...ended("agent_crashed")]),
  "a refusal": chats({ script: (prompt) => prompt.end("refusal") }, [
    `${CHAT} 200`,
    CHAT_TIME,
    ...ended("refusal"),
  ]),
  "a reply that is cut": chats({
    script: (prompt) => {
      prompt.say("Hi");
      prompt.end("max_tokens");
    },
  }, answered),
  "a tool": chats(
    doing((prompt) =>
      (["pending", "in_progress", "completed"] as const).forEach((status) => prompt.tool({ status }))
    ),
    [...answered, "gen_ai_execute_tool_duration_seconds_count read "],
  ),
  "a tool that fails": chats(
    doing((prompt) =>
      (["pending", "failed"] as const).forEach((status) => prompt.tool({ kind: "execute", status }))
    ),
    [...answered, "gen_ai_execute_tool_duration_seconds_count execute failed"],
  ),
  "a tool that is reported when it is done": chats(
    doing((prompt) => prompt.tool({ status: "completed" })),
    answered,
  ),
  "tokens that the agent counted": chats(
    doing((prompt) => prompt.usage({ inputTokens: 30, outputTokens: 5 })),
    [
      ...answered,
      "gen_ai_client_token_usage_count invoke_agent acp input openab",
      "gen_ai_client_token_usage_count invoke_agent acp output openab",
    ],
  ),
  "emotions": chats(doing((prompt) => prompt.say("[happy] Hi [sad] bye")), [
    ...answered,
    "emotion_events_total",
  ]),
  "a client that hangs up": {
    async act(app) {
      const response = await app.stream();
      const prompt = await app.agent.nextPrompt();
      await response.body!.cancel();
      await prompt.cancelled;
    },
    samples: [`${CHAT} 200`, CHAT_TIME, ...ended("cancelled"), "turn_cancelled_total disconnect"],
  },
  "an interrupt": {
    async act(app) {
      const reply = app.stream();
      await app.agent.nextPrompt();
      await read(app.post("/v1/vtuber/interrupt", {}));
      await read(reply);
    },
    samples: [
      `${CHAT} 200`,
      CHAT_TIME,
      ...request("/v1/vtuber/interrupt", "POST", 200),
      ...ended("cancelled"),
      "turn_cancelled_total api",
    ],
  },
  "a stop sequence": {
    options: { script: (prompt) => prompt.say("Hi END you") },
    act: (app) => read(app.chat({ stop: "END" })),
    samples: [...answered, "turn_cancelled_total stop"],
  },
  "a newer request": {
    options: { onBusy: "supersede" },
    async act(app) {
      const mao = { headers: { "x-session-id": "mao" } };
      const first = app.stream({}, mao);
      await app.agent.nextPrompt();
      const second = app.stream({}, mao);
      const prompt = await app.agent.nextPrompt();
      prompt.say("Hi");
      prompt.end();
      await Promise.all([read(first), read(second)]);
    },
    samples: [...answered, ...ended("cancelled"), "turn_cancelled_total barge_in"],
  },
  "a request that is rejected": {
    options: { onBusy: "reject" },
    act: (app) => busy(app, () => read(app.chat({}, { headers: { "x-session-id": "mao" } }))),
    samples: [
      ...answered,
      `${CHAT} 409`,
      "http_errors_total session_busy",
      "turns_rejected_total session_busy",
    ],
  },
  "a request at the limit": {
    options: { maxInFlight: 1 },
    act: (app) => busy(app, () => read(app.chat())),
    samples: [
      ...answered,
      `${CHAT} 429`,
      "http_errors_total rate_limit_exceeded",
      "turns_rejected_total rate_limit_exceeded",
    ],
  },
  "an agent that does not start, after the head of the stream": {
    options: { headMs: 0 },
    async act(app) {
      app.agent.openError = new AppError("agent_unavailable", "It is gone.");
      const opening = Promise.withResolvers<void>();
      app.agent.openGate = opening.promise;
      const response = await app.stream();
      opening.resolve();
      await response.text();
    },
    samples: [`${CHAT} 200`, CHAT_TIME, "turns_rejected_total agent_unavailable"],
  },
  "a response, whole": {
    options: doing(() => {}),
    act: (app) => read(app.post("/v1/responses", { input: "Hi" })),
    samples: [...request("/v1/responses", "POST", 200), ...ended(""), FIRST_TEXT],
  },
  "a response in the background, and a look at it": {
    async act(app) {
      const { id } = await (await app.post("/v1/responses", { input: "Hi", background: true })).json();
      const prompt = await app.agent.nextPrompt();
      const [turn] = app.conversations.running;
      prompt.say("Hi");
      prompt.end();
      await turn!.ended;
      await read(app.get(`/v1/responses/${id}`));
    },
    samples: [
      ...request("/v1/responses", "POST", 200),
      ...request("/v1/responses/{id}", "GET", 200),
      ...ended(""),
      FIRST_TEXT,
    ],
  },
  "embeddings without a server for them": {
    act: (app) => read(app.post("/v1/embeddings", { input: "Hi" })),
    samples: [...request("/v1/embeddings", "POST", 501, "not_configured")],
  },
  "the program's own turn": {
    options: doing((prompt) => prompt.say("Hello!")),
    act: (app) => read(app.post("/v1/vtuber/notifications", { text: "Say hello", mode: "agent" })),
    samples: [...request("/v1/vtuber/notifications", "POST", 200), ...ended(""), FIRST_TEXT],
  },
};
for (const [name, { options, act, samples }] of Object.entries(CASES)) {
  Deno.test(`metrics: ${name}`, async () => {
    await using app = startApp(options);
    assertEquals(await changesOf(app, () => act(app)), [...samples].sort());
  });
}

Deno.test("metrics: the gauges follow running turns, sessions, streams, sockets and agents", async () => {
  await using served = ServedApp.start({
    sessions: "auto",
    onBusy: "queue",
    agents: [new MemoryAgent("codex")],
  });
  const { app } = served;
  const gauges = async () => {
    const all = await scrape(app);
    return ["turns_in_flight", "turns_queued", "sessions_open", "sse_streams", "ws_clients vtuber"]
      .map((name) => all.get(name) ?? 0);
  };
  const [, , , streams, sockets] = await gauges();
  const since = async () =>
    (await gauges()).map((value, index) => value - (index === 3 ? streams! : index === 4 ? sockets! : 0));
  assertEquals(await since(), [0, 0, 0, 0, 0]);
  const client = await served.connect();
  const { prompt, reply } = await served.startChat();
  const second = app.stream({}, { headers: { "x-session-id": "mao" } });
  await nextTask();
  assertEquals(await since(), [1, 1, 1, 1, 1]);
  prompt.end();
  await reply.rest();
  (await app.agent.nextPrompt()).end();
  await read(second);
  await client.close();
  await nextTask();
  assertEquals(await since(), [0, 0, 1, 0, 0]);
  app.agent.state = "failing";
  const all = await scrape(app);
  assertEquals(["openab", "codex"].map((agent) => all.get(`agent_process_up ${agent}`)), [0, 1]);
});

/** Sends requests of many kinds. */
async function exercise(app: TestApp): Promise<void> {
  app.agent.script = (prompt) => {
    prompt.tool({ status: "in_progress" });
    prompt.tool({ status: "completed" });
    prompt.say("[happy] Hi");
    prompt.usage({ inputTokens: 30, outputTokens: 5 });
    prompt.end();
  };
  await Promise.all([
    ...["/", "/health", "/v1/models", "/nope", "/v1/vtuber/state", "/stage/main.js"].map((path) =>
      read(app.get(path))
    ),
    ...[{}, { stream: true }, { stop: "Hi" }].map((body) => read(app.chat(body))),
    read(app.post("/v1/completions", { prompt: "Hi" })),
    read(app.post("/v1/chat/completions", "{")),
  ]);
}

Deno.test("GET /metrics: every metric is described once, and histograms are cumulative and consistent", async () => {
  await using app = startApp();
  await exercise(app);
  const response = await app.get("/metrics");
  assertEquals(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  const text = await response.text();
  for (const [name, { type }] of Object.entries(METRICS)) {
    assertEquals(text.match(new RegExp(`^# HELP ${name} \\S.*$`, "gm"))?.length, 1, name);
    assertEquals(text.match(new RegExp(`^# TYPE ${name} .*$`, "gm")), [`# TYPE ${name} ${type}`]);
  }
  assert(text.endsWith("\n"));
  const samples = parseSamples(text);
  const withoutBound = ({ labels: { le: _, ...labels } }: Sample) => JSON.stringify(labels);
  let histograms = 0;
  for (const [name, metric] of Object.entries(METRICS)) {
    const names = samples.filter((sample) => sample.name === name || sample.name.startsWith(`${name}_`));
    if (metric.type !== "histogram") {
      const known = "labels" in metric ? metric.labels : [];
      for (const { labels, value } of names) {
        assertEquals([Object.keys(labels), value >= 0], [[...known], true]);
      }
      continue;
    }
    for (const series of Map.groupBy(names, withoutBound).values()) {
      histograms++;
      const buckets = series.filter((sample) => sample.name === `${name}_bucket`);
      const [sum, count] = ["sum", "count"].map((part) =>
        series.find((sample) => sample.name === `${name}_${part}`)!.value
      );
      assertEquals(buckets.map(({ labels }) => labels.le), [...metric.buckets.map(String), "+Inf"], name);
      const counts = buckets.map(({ value }) => value);
      assertEquals(counts, counts.toSorted((one, other) => one - other), name);
      assertEquals([counts.at(-1), count! > 0, sum! > 0], [count, true, true], name);
      assertEquals(series.length, buckets.length + 2);
    }
  }
  assert(histograms >= 10, `${histograms} histograms`);
});

Deno.test("GET /metrics: tokens, build and memory", async () => {
  await using app = startApp();
  await exercise(app);
  const all = await scrape(app);
  assertEquals(all.get("gen_ai_client_token_usage_sum invoke_agent acp input openab"), 4 * 30);
  assertEquals(all.get("gen_ai_client_token_usage_bucket invoke_agent acp output openab 16"), 4);
  assertEquals(all.get("gen_ai_client_token_usage_bucket invoke_agent acp output openab 4"), 0);
  assertEquals(all.get(`build_info 1.2.3 ${Deno.version.deno}`), 1);
  assert(all.get("process_resident_memory_bytes")! > 1_000_000);
  assertEquals(all.get("agent_restarts_total openab"), 0);
});

Deno.test("GET /metrics: HEAD has its headers and no body", async () => {
  await using served = ServedApp.start();
  const head = await fetch(served.url + "/metrics", { method: "HEAD" });
  assertEquals([head.status, await head.text()], [200, ""]);
  assertEquals(head.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  assertMatch(head.headers.get("content-length")!, /^\d{4,}$/);
});

Deno.test("GET /metrics: needs the scope admin", async () => {
  await using app = startApp({
    access: { keys: [apiKey("prometheus", ["admin"]), apiKey("skin", ["chat", "operator"])] },
  });
  const statusOf = async (key?: string) => {
    const response = await app.get("/metrics", key ? withKey(key) : {});
    await response.text();
    return response.status;
  };
  assertEquals([await statusOf("prometheus"), await statusOf("skin"), await statusOf()], [200, 403, 401]);
  await using open = startApp({ access: { insecure: true } });
  const { code, message } = await errorOf(await open.get("/metrics", { from: "192.168.1.7" }));
  assertEquals([code, message.includes('"admin"')], ["insufficient_scope", true]);
});

Deno.test("metrics: no number of paths, methods, models, tools, names or keys makes them grow, nor do words get in", async () => {
  await using app = startApp({ sessions: "auto", access: { keys: [apiKey("k3yword", ["chat", "admin"])] } });
  const key = withKey("k3yword").headers;
  const hostile = (number: number) => `h0stile-${number}"}\\`;
  app.agent.script = (prompt) => {
    const word = hostile(app.agent.prompts.length);
    for (const status of ["pending", "completed"] as const) {
      prompt.tool({ id: word, kind: "other", title: word, status });
    }
    prompt.say(word);
    prompt.end();
  };
  const send = async (number: number) => {
    const word = encodeURIComponent(hostile(number));
    const address = `10.${number >> 8}.${number & 255}.1`;
    await read(app.send(`/${word}`, { method: `M${number}`, headers: key }));
    await read(app.send(`/v1/models/${word}?token=${word}`, { headers: key }));
    await read(app.send("/v1/models", { headers: { authorization: `Bearer ${word}` } }, address));
    await read(app.chat({ model: word, user: word }, { headers: { ...key, "x-session-id": word } }));
  };
  const responses = async (number: number) => {
    const word = encodeURIComponent(hostile(number));
    for (const path of [word, `${word}/input_items`]) {
      await read(app.send(`/v1/responses/${path}`, { headers: key }));
    }
    await read(app.post(`/v1/responses/${word}/cancel`, {}, { headers: key }));
    await read(app.send(`/v1/responses/${word}`, { method: "DELETE", headers: key }));
    await read(app.post("/v1/responses", { input: word, conversation: word, model: word }, { headers: key }));
  };
  const text = async () => await (await app.get("/metrics", { headers: key })).text();
  await send(0);
  await responses(0);
  await text();
  const first = await text();
  for (let number = 1; number < 1_000; number++) await send(number);
  for (let number = 1; number < 100; number++) await responses(number);
  const last = await text();
  assertEquals(last.split("\n").length, first.split("\n").length);
  assertEquals(/h0stile|k3yword|M\d/.test(last), false);
  const all = sampleTable(parseSamples(last));
  assertEquals(all.get("http_requests_total other other 404"), 1_000);
  assertEquals(all.get("gen_ai_execute_tool_duration_seconds_count other "), 1_100);
});

Deno.test("event_loop_lag_seconds: counts how late a timer is", () => {
  using clock = new FakeClock();
  const metrics = new Metrics([], "1");
  const watching = metrics.watchEventLoop();
  for (const ms of [1_000, 1_200, 4_000]) clock.advance(ms);
  watching[Symbol.dispose]();
  assertEquals(clock.waits, []);
  const gauges = { turns_in_flight: 0, turns_queued: 0, sessions_open: 0, sse_streams: 0 };
  const all = sampleTable(parseSamples(metrics.write({ ...gauges, agent_process_up: [], ws_clients: [] })));
  const bucket = (bound: string) => all.get(`event_loop_lag_seconds_bucket ${bound}`);
  assertEquals([bucket("0.1"), bucket("0.25"), bucket("1"), bucket("+Inf")], [1, 2, 2, 3]);
});
