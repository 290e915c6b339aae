import { assertEquals, assertNotEquals } from "@std/assert";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";

/** Percent-encoded it is longer than a name may be. */
const KANA = "マオのおうちのながいながいおはなしのつづきのつづきのはなし";
const NAMES = ["マオ", KANA, "😀", "é", "Jörg – 1/2", "ñ%41"];

/** A header as programs send it that know nothing of encodings: each byte of its UTF-8 is read as a letter. */
const asBytes = (name: string) => String.fromCharCode(...new TextEncoder().encode(name));

async function idOf(answer: Promise<Response>): Promise<string> {
  const response = await answer;
  const body = await response.text();
  assertEquals(response.status, 200, body);
  return response.headers.get("x-session-id")!;
}

const sentBack = (app: TestApp, name: string) => idOf(app.chat({}, { headers: { "x-session-id": name } }));

for (const name of NAMES) {
  Deno.test(`${JSON.stringify(name)}: x-session-id of a name in the body, sent back as X-Session-Id, is the same conversation`, async () => {
    await using app = startApp({ script: saying("Hello.") });
    const id = await idOf(app.chat({ conversation_id: name }));
    assertEquals([decodeURIComponent(id), await sentBack(app, id)], [name, id]);
    assertEquals(await idOf(app.chat({ conversation_id: id })), id);
    assertEquals([app.agent.sessions.length, app.conversations.list("").length], [1, 1]);
  });

  Deno.test(`${JSON.stringify(name)}: as raw bytes in a header it is the conversation that the body names`, async () => {
    await using app = startApp({ script: saying("Hello.") });
    const id = await idOf(app.chat({ conversation_id: name }));
    for (const header of ["x-session-id", "x-hermes-session-id", "x-openclaw-session-key"]) {
      assertEquals(await idOf(app.chat({}, { headers: { [header]: asBytes(name) } })), id, header);
    }
    assertEquals(app.agent.sessions.length, 1);
  });
}

Deno.test("29 kana are a name, though they are longer percent-encoded", () => {
  assertEquals([KANA.length, encodeURIComponent(KANA).length > 256], [29, true]);
});

Deno.test("a name in other letters is as long as it is, however it is written", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const [longest, longer] = ["マ".repeat(256), "マ".repeat(257)];
  const id = await idOf(app.chat({ conversation_id: longest }));
  for (const written of [encodeURIComponent(longest), asBytes(longest)]) {
    assertEquals(await sentBack(app, written), id);
  }
  for (const written of [encodeURIComponent(longer), asBytes(longer)]) {
    const error = await errorOf(await app.chat({}, { headers: { "x-session-id": written } }));
    assertEquals([error.status, error.code, error.param], [400, "invalid_value", "X-Session-Id"]);
  }
  const error = await errorOf(await app.chat({ conversation_id: longer }));
  assertEquals([error.status, error.code, error.param], [400, "invalid_value", "conversation_id"]);
  assertEquals(app.agent.sessions.length, 1);
});

Deno.test("bytes that are no UTF-8 are a name all the same, and x-session-id names it again", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const id = await sentBack(app, "J\xf6rg");
  assertEquals(await sentBack(app, id), id);
  assertEquals([await sentBack(app, "J\xf6rg"), decodeURIComponent(id)], [id, "J\xf6rg"]);
  assertEquals(app.agent.sessions.length, 1);
  assertNotEquals(await sentBack(app, "J\xe4rg"), id);
});

Deno.test("raw bytes that come by a real port name the conversation that the body names", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const id = await idOf(app.chat({ conversation_id: KANA }));
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    (request) => app.serve(request),
  );
  const { port } = server.addr as Deno.NetAddr;
  const body = JSON.stringify({ messages: [{ role: "user", content: "Hi" }] });
  const head = [
    "POST /v1/chat/completions HTTP/1.1",
    `Host: 127.0.0.1:${port}`,
    "Content-Type: application/json",
    `Content-Length: ${body.length}`,
    `X-Session-Id: ${KANA}`,
    "Connection: close",
  ];
  using connection = await Deno.connect({ port, hostname: "127.0.0.1" });
  const writer = connection.writable.getWriter();
  await writer.write(new TextEncoder().encode([...head, "", body].join("\r\n")));
  let answer = "";
  for await (const piece of connection.readable.pipeThrough(new TextDecoderStream())) answer += piece;
  assertEquals(/^x-session-id: (.*)\r$/im.exec(answer)?.[1], id, answer);
  assertEquals(app.agent.sessions.length, 1);
});

const FAILURES: readonly [code: ErrorCode, status: number][] = [
  ["agent_crashed", 502],
  ["agent_error", 502],
  ["agent_timeout", 504],
];
/** What is asked for: the answer gathered, streamed, or gathered to be checked. */
const FORMS: readonly [form: string, body: Record<string, unknown>][] = [
  ["whole", {}],
  ["streamed", { stream: true }],
  ["checked", { response_format: { type: "json_object" } }],
];

for (const [form, body] of FORMS) {
  for (const [code, status] of FAILURES) {
    Deno.test(`x-session-id: of an answer, ${form}, that failed with ${code} before anything was said`, async () => {
      for (const name of [undefined, "mao", KANA]) {
        await using app = startApp({ sessions: "auto" });
        const ids: (string | undefined)[] = [];
        app.agent.script = (prompt) => {
          ids.push(...[...app.index.all].map(({ id }) => id));
          prompt.fail(new AppError(code, "No.", { prompted: true }));
        };
        const response = await app.chat({ ...body, conversation_id: name });
        const error = await errorOf(response);
        assertEquals([error.status, error.code], [status, code]);
        assertEquals([response.headers.get("x-session-id")], ids);
        if (name !== undefined) assertEquals(decodeURIComponent(ids[0]!), name);
      }
    });
  }
}

Deno.test("x-session-id: of a gathered answer that failed after some words", async () => {
  await using app = startApp();
  const answer = app.chat({ conversation_id: "mao" });
  const prompt = await app.agent.nextPrompt();
  prompt.say("On my way");
  prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true }));
  const response = await answer;
  assertEquals([response.status, response.headers.get("x-session-id")], [502, "mao"]);
  await response.body?.cancel();
});

Deno.test("x-session-id: of a request that is refused because its conversation is busy", async () => {
  for (const name of ["mao", KANA, undefined]) {
    await using app = startApp({ sessions: "auto", onBusy: "reject" });
    const running = await app.stream({ conversation_id: name });
    const id = running.headers.get("x-session-id")!;
    const said = ["Hi", "Stop!"].map((content) => ({ role: "user", content }));
    for (const stream of [true, false]) {
      for (const asked of [{ conversation_id: name, messages: said }, { conversation_id: id }]) {
        const refused = await app.chat({ ...asked, stream });
        assertEquals((await errorOf(refused)).code, "session_busy");
        assertEquals(refused.headers.get("x-session-id"), id);
      }
    }
    (await app.agent.nextPrompt()).end();
    await running.text();
  }
});

Deno.test("x-session-id: of a request that is refused because too many wait in its conversation", async () => {
  await using app = startApp({ onBusy: "queue" });
  const name = { conversation_id: "mao" };
  const running = await app.stream(name);
  const others = Array.from({ length: 9 }, () => app.stream(name));
  const refused = await Promise.race(others);
  assertEquals((await errorOf(refused)).code, "session_busy");
  assertEquals(refused.headers.get("x-session-id"), "mao");
  app.agent.script = saying("Yes.\n");
  app.agent.prompts[0]!.end();
  await running.text();
  for (const other of await Promise.all(others)) if (other !== refused) await other.text();
});

Deno.test("x-session-id: of a request that waits, and is passed by a newer one of its conversation", async () => {
  for (const name of ["mao", KANA]) {
    await using app = startApp();
    app.agent.answersCancels = false;
    const running = await app.stream({ conversation_id: name });
    const prompt = await app.agent.nextPrompt();
    const passed = app.stream({ conversation_id: name });
    await prompt.cancelled;
    const last = app.stream({ conversation_id: name });
    const response = await passed;
    assertEquals((await errorOf(response)).code, "turn_cancelled");
    assertEquals(response.headers.get("x-session-id"), running.headers.get("x-session-id"));
    prompt.end("cancelled");
    (await app.agent.nextPrompt()).end();
    for (const answer of [running, await last]) await answer.text();
  }
});
