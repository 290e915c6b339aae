import { assertEquals, assertMatch } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { contentOf } from "../support/harness/chat_fixture.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { MAX_HEALTH_MS, Stopwatch } from "../support/harness/health_monitor.ts";
import { cpuMicros } from "../support/harness/inspector.ts";
import { until } from "../support/harness/server_process.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const MIB = new Uint8Array(1024 ** 2).fill(0x20);
const CHAT = '{"messages":[{"role":"user","content":"Hi"}]}';

/** Posts a request whose body goes on with 19 MiB of spaces, and then stays open until it is ended. */
function postOpen(
  app: TestApp,
  json = CHAT,
  path = "/v1/chat/completions",
  key = "a",
): { sent: Promise<void>; end: () => void; answer: Promise<Response> } {
  const sent = Promise.withResolvers<void>();
  let [mebibytes, end] = [0, () => {}];
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new TextEncoder().encode(json)),
    pull(controller) {
      if (mebibytes++ < 19) return controller.enqueue(MIB);
      end = () => controller.close();
      sent.resolve();
    },
  }, { highWaterMark: 0 });
  const headers = { "content-type": "application/json", authorization: `Bearer ${key}` };
  const answer = app.send(path, { method: "POST", headers, body });
  return { sent: sent.promise, end: () => end(), answer };
}

Deno.test("bodies: more than 96 MiB of a key or 128 MiB of all are refused, until other requests are answered", async () => {
  const access = { keys: [apiKey("a"), apiKey("b")] };
  await using app = startApp({ script: saying("Hello."), access });
  const post = (key: string) => postOpen(app, CHAT, undefined, key);
  const open = Array.from({ length: 5 }, () => post("a"));
  await Promise.all(open.map(({ sent }) => sent));
  const refuses = async (key: string) => {
    const refused = await post(key).answer;
    assertEquals([refused.status, refused.headers.get("retry-after")], [503, "5"]);
    const { code, message } = await errorOf(refused);
    assertEquals(code, "server_overloaded");
    assertMatch(message, /busy with large requests/);
  };
  await refuses("a");
  open.push(post("b"));
  await open.at(-1)!.sent;
  await refuses("b");
  for (const key of ["a", "b"]) {
    assertEquals(await contentOf(app.chat({}, withKey(key))), "Hello.\n", "a small request is served");
  }
  for (const { end, answer } of open) {
    end();
    assertEquals(await contentOf(answer), "Hello.\n");
  }
  const served = Array.from({ length: 5 }, () => post("b"));
  await Promise.all(served.map(({ sent }) => sent));
  for (const { end, answer } of served) {
    end();
    assertEquals(await contentOf(answer), "Hello.\n");
  }
});

const EARLY: Readonly<Record<string, [path: string, json: string]>> = {
  "one whose stream began": ["/v1/chat/completions", CHAT.replace("{", '{"stream":true,')],
  "one of a response in the background": ["/v1/responses", '{"input":"Hi","background":true}'],
};
for (const [name, [path, json]] of Object.entries(EARLY)) {
  Deno.test(`bodies: ${name} before its turn is held until the agent has the prompt`, async () => {
    const gate = Promise.withResolvers<void>();
    await using app = startApp({ script: saying("Hello."), headMs: 1 });
    app.agent.openGate = gate.promise;
    const answers: Response[] = [];
    for (let body = 0; body < 5; body++) {
      const open = postOpen(app, json, path);
      await open.sent;
      open.end();
      answers.push(await open.answer);
    }
    assertEquals((await postOpen(app).answer).status, 503);
    gate.resolve();
    for (const answer of answers) await answer.text();
    while (app.agent.prompts.length < answers.length) await nextTask();
    const served = await until(async () => {
      const open = postOpen(app);
      const refused = await Promise.race([open.answer, open.sent]);
      await refused?.text();
      return refused ? undefined : open;
    });
    served!.end();
    assertEquals(await contentOf(served!.answer), "Hello.\n");
  });
}

const many = (count: number, make: (index: number) => string) =>
  Array.from({ length: count }, (_, index) => make(index)).join();
const HOSTILE: [name: string, body: string][] = [
  ["600,000 unknown keys", `{${many(600_000, (index) => `"unknown-key-${index}":1`)},"messages":[]}`],
  [
    "400,000 parts",
    `{"messages":[{"role":"user","content":[${many(400_000, () => '{"type":"text","text":"a"}')}]}]}`,
  ],
  ["20,000 messages", `{"messages":[${many(20_000, () => '{"role":"user","content":"a"}')}]}`],
  ["19 million characters of text", `{"messages":[{"role":"user","content":"${"$a ".repeat(6_500_000)}"}]}`],
  ["20,000 parts", `{"messages":[{"role":"user","content":[${many(20_000, () => '"a"')}]}]}`],
];
for (const [name, body] of HOSTILE) {
  Deno.test(`bodies: ${name} are refused at once`, async () => {
    await using app = startApp({ script: saying("Hello.") });
    const watch = new Stopwatch(() => {
      const micros = cpuMicros("thread-self");
      return micros === undefined ? undefined : micros / 1000;
    });
    const { status } = await errorOf(await app.post("/v1/chat/completions", body));
    const ms = watch.elapsedMs;
    assertEquals([status, ms < MAX_HEALTH_MS], [400, true], `${ms} ms`);
  });
}

Deno.test("bodies: 40,000 unknown keys are ignored", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const body = `{${many(40_000, (index) => `"unknown-key-${index}":1`)},${CHAT.slice(1)}`;
  assertEquals(await contentOf(app.post("/v1/chat/completions", body)), "Hello.\n");
});
