import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { parseFrames } from "../support/harness/wire_profile.ts";
import { settled } from "../support/harness/turn_recorder.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";

const said = (role: string, content: string) => ({ role, content });
const OLD = [said("user", "An old question")];
const NEW = [...OLD, said("user", "A new question")];
const NAME = { conversation_id: "mao" };

/** How clients say that they send a request again. */
const AGAIN: readonly [how: string, first: Record<string, string>, second: Record<string, string>][] = [
  ["X-Stainless-Retry-Count", { "x-stainless-retry-count": "0" }, { "x-stainless-retry-count": "1" }],
  ["Idempotency-Key", { "idempotency-key": "k1" }, { "idempotency-key": "k1" }],
];

/** A request and the same once more, which wait for their agent until it is let. */
function waiting(app: TestApp, first: Record<string, string>, second: Record<string, string>) {
  const { promise, resolve } = Promise.withResolvers<void>();
  app.agent.openGate = promise;
  app.agent.script = saying("Yes?\n");
  const body = { ...NAME, messages: OLD };
  const hangUp = new AbortController();
  return {
    answers: [
      app.stream(body, { headers: first }),
      app.stream(body, { headers: second, signal: hangUp.signal }),
    ],
    hangUp: () => hangUp.abort(),
    open: resolve,
  };
}

for (const [how, first, second] of AGAIN) {
  for (const isGone of [false, true]) {
    const who = isGone ? "whoever sent it again has gone" : "it was sent again";
    Deno.test(`retry by ${how}: a request that waits is superseded, though ${who}`, async () => {
      await using app = startApp();
      const { answers, hangUp, open } = waiting(app, first, second);
      const newer = app.stream({ ...NAME, messages: NEW });
      if (isGone) hangUp();
      assertEquals((await errorOf(await answers[0]!)).code, "turn_cancelled");
      open();
      assertEquals(parseFrames(await (await newer).text()).text, "Yes?\n");
      assertEquals((await errorOf(await answers[1]!)).code, "turn_cancelled");
      const tag = "<user>\nAn old question\n</user>";
      assertEquals(app.agent.prompts.map(({ text }) => text.replace(tag, "An old question")), [
        "An old question\n\nA new question",
      ]);
    });
  }

  for (const end of ["forgotten", "interrupted"] as const) {
    Deno.test(`retry by ${how}: a request that waits is ${end}, and is not begun again by the one that joined it`, async () => {
      await using app = startApp();
      const { answers, open } = waiting(app, first, second);
      const stop = () =>
        end === "forgotten" ? app.conversations.forget("", "mao") : app.conversations.interrupt("mao");
      while (stop() === 0) await settled();
      for (const answer of answers) assertEquals((await errorOf(await answer)).code, "turn_cancelled");
      open();
      assertEquals([app.agent.prompts.length, app.conversations.list("").length], [
        0,
        end === "forgotten" ? 0 : 1,
      ]);
    });
  }
}

Deno.test("a request whose client has gone before it is looked at takes nobody's place", async () => {
  await using app = startApp();
  const running = await app.stream({ ...NAME, messages: OLD });
  const prompt = await app.agent.nextPrompt();
  const gone = await app.stream({ ...NAME, messages: NEW }, { signal: AbortSignal.abort() });
  assertEquals([gone.status, prompt.cancelCount], [499, 0]);
  prompt.say("Yes?\n");
  prompt.end();
  assertEquals(parseFrames(await running.text()).text, "Yes?\n");
});
