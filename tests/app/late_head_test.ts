import { assertEquals, assertMatch } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { saying } from "../support/agents/memory_agent.ts";
import {
  errorOf,
  startApp,
  type TestApp,
  type TestAppOptions,
  WriteReader,
} from "../support/harness/app_harness.ts";
import { readStream, user } from "../support/harness/chat_fixture.ts";
import { parseFrames } from "../support/harness/wire_profile.ts";

const KEY = { headers: { "idempotency-key": "k1" } };

/** An app whose agent opens no session until `open` is called, and whose streams wait 1 ms for that. */
function startSlow(options: TestAppOptions = {}): { app: TestApp; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const app = startApp({ headMs: 1, ...options });
  app.agent.openGate = promise;
  return { app, open: resolve };
}

Deno.test("late head: a stream begins before its turn, and its heart beats meanwhile", async () => {
  const { app, open } = startSlow({ heartbeatMs: 1 });
  await using _app = app;
  app.agent.script = saying("[happy] Hello.\n");
  const response = await app.stream({ conversation_id: "mao", n: 2 });
  const names = ["x-session-id", "x-resolved-model", "x-vtuber-ignored"];
  assertEquals(names.map((name) => response.headers.get(name)), ["mao", null, "n"]);
  await using writes = new WriteReader(response);
  const text = [await writes.next(), await writes.next(), await writes.next()].join("");
  assertEquals(app.agent.prompts.length, 0);
  open();
  const { chunks, text: reply, done } = parseFrames(text + await writes.rest());
  assertEquals([chunks[0]?.choices?.[0]?.delta, reply, done], [
    { role: "assistant", content: "" },
    "[happy] Hello.\n",
    true,
  ]);
});

Deno.test("late head: a turn that cannot start is a failure in the stream, and runs when it is sent again", async () => {
  for (const errors of ["speak", "event"] as const) {
    const { app, open } = startSlow({ errors });
    await using _app = app;
    const response = await app.stream({}, KEY);
    app.agent.openError = new AppError("agent_unavailable", "It broke.");
    open();
    const text = await response.text();
    if (errors === "speak") {
      assertMatch(parseFrames(text).text, /^Sorry, my agent cannot be reached/);
      assertMatch(text, /"finish_reason":"error"/);
    } else {
      assertEquals(parseFrames(text).chunks.at(-1)?.error?.code, "agent_unavailable");
    }
    app.agent.openError = undefined;
    app.agent.script = saying("Hello.\n");
    assertEquals((await readStream(app.stream({}, KEY))).text, "Hello.\n");
    assertEquals(app.agent.prompts.length, 1);
  }
});

Deno.test("late head: a request that is superseded before its turn ends without a word", async () => {
  const { app, open } = startSlow();
  await using _app = app;
  const first = await app.stream({ conversation_id: "mao" });
  const second = app.stream({ conversation_id: "mao", messages: [user("Stop!")] });
  const { text, finish } = await readStream(first);
  assertEquals([text, finish], ["", "error"]);
  app.agent.script = saying("Yes?\n");
  open();
  assertEquals((await readStream(second)).text, "Yes?\n");
});

Deno.test("late head: a response that is not streamed waits for its status", async () => {
  const { app, open } = startSlow();
  await using _app = app;
  const answer = app.chat();
  const beginning = await app.stream();
  app.agent.openError = new AppError("agent_unavailable", "It broke.");
  open();
  assertEquals((await errorOf(await answer)).status, 503);
  await beginning.text();
});

Deno.test("late head: a client that hangs up before its turn prompts no agent", async () => {
  const { app, open } = startSlow();
  await using _app = app;
  const hangUp = new AbortController();
  const response = await app.stream({}, { signal: hangUp.signal });
  hangUp.abort();
  await response.text();
  open();
  assertEquals(app.agent.prompts.length, 0);
});

Deno.test("late head: a turn that begins after its client has hung up is cancelled", async () => {
  const { app, open } = startSlow();
  await using _app = app;
  const response = await app.stream();
  await response.body!.cancel();
  open();
  await (await app.agent.nextPrompt()).cancelled;
});
