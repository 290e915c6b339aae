import { assertEquals, assertNotEquals } from "@std/assert";
import { oneByOne, saying } from "../support/agents/memory_agent.ts";
import { parseFrames } from "../support/harness/wire_profile.ts";
import { errorOf, type SendOptions, startApp } from "../support/harness/app_harness.ts";

type Tries = readonly [first: Record<string, string>, again: Record<string, string>];
/** How clients say that they send a request again. */
const RETRIES: Tries = [{ "x-stainless-retry-count": "0" }, { "x-stainless-retry-count": "1" }];
const KEYS: Tries = [{ "idempotency-key": "k1" }, { "idempotency-key": "k1" }];

/** The names that are not in the body: each makes of the same body a request of its own. */
const NAMES: readonly [how: string, headers: (name: string) => Record<string, string>][] = [
  ["X-Session-Id", (name) => ({ "x-session-id": name })],
  ["X-Hermes-Session-Id", (name) => ({ "x-hermes-session-id": name })],
  ["x-openclaw-session-key", (name) => ({ "x-openclaw-session-key": name })],
];

const sentWith = (...headers: Record<string, string>[]): SendOptions => ({
  headers: Object.assign({}, ...headers),
});

async function contentOf(response: Response): Promise<string> {
  assertEquals(response.status, 200);
  const { choices: [choice] } = await response.json();
  return choice.message.content;
}

for (const [how, named] of NAMES) {
  Deno.test(`retry: the same body in a conversation that ${how} names otherwise is another request`, async () => {
    await using app = startApp({ script: oneByOne(saying("Hi Ann."), saying("Hi Bob.")) });
    const [first, again] = RETRIES;
    const ann = await app.chat({}, sentWith(first, named("ann")));
    assertEquals(await contentOf(ann), "Hi Ann.\n");
    const bob = await app.chat({}, sentWith(again, named("bob")));
    assertEquals([await contentOf(bob), bob.headers.get("x-session-id")], ["Hi Bob.\n", "bob"]);
    for (const [name, answer] of [["ann", "Hi Ann.\n"], ["bob", "Hi Bob.\n"]] as const) {
      const response = await app.chat({}, sentWith(again, named(name)));
      assertEquals([await contentOf(response), response.headers.get("x-session-id")], [answer, name]);
    }
    assertEquals([app.agent.prompts.length, app.agent.sessions.length], [2, 2]);
  });

  Deno.test(`idempotency key: the same body in a conversation that ${how} names otherwise is refused`, async () => {
    await using app = startApp({ script: saying("Hi Ann.") });
    const [first, again] = KEYS;
    assertEquals(await contentOf(await app.chat({}, sentWith(first, named("ann")))), "Hi Ann.\n");
    for (const options of [sentWith(again, named("bob")), sentWith(again)]) {
      const response = await app.chat({}, options);
      const error = await errorOf(response);
      assertEquals([error.status, error.code], [409, "idempotency_key_conflict"]);
      assertEquals(response.headers.get("x-should-retry"), "false");
    }
    assertEquals(await contentOf(await app.chat({}, sentWith(again, named("ann")))), "Hi Ann.\n");
    assertEquals(app.agent.prompts.length, 1);
  });
}

Deno.test("retry: a turn that runs in one conversation is not joined from another", async () => {
  await using app = startApp();
  const [first, again] = RETRIES;
  const ann = await app.stream({}, sentWith(first, { "x-session-id": "ann" }));
  const hers = await app.agent.nextPrompt();
  const bob = await app.stream({}, sentWith(again, { "x-session-id": "bob" }));
  const his = await app.agent.nextPrompt();
  assertNotEquals(his.session, hers.session);
  hers.say("Hi Ann.\n");
  his.say("Hi Bob.\n");
  for (const prompt of [hers, his]) prompt.end();
  assertEquals(parseFrames(await ann.text()).text, "Hi Ann.\n");
  assertEquals(parseFrames(await bob.text()).text, "Hi Bob.\n");
});

Deno.test("retry: the same name in another header is the same request", async () => {
  await using app = startApp({ script: saying("Hi Ann.") });
  const [first, again] = RETRIES;
  assertEquals(await contentOf(await app.chat({}, sentWith(first, { "x-session-id": "ann" }))), "Hi Ann.\n");
  const other = sentWith(again, { "x-hermes-session-id": "ann" });
  assertEquals(await contentOf(await app.chat({}, other)), "Hi Ann.\n");
  assertEquals(app.agent.prompts.length, 1);
});

const PATH = "/v1/vtuber/sessions";

for (const [how, [first, again]] of [["a retry count", RETRIES], ["an idempotency key", KEYS]] as const) {
  for (const path of [`${PATH}/ann`, `${PATH}?id=ann`, `${PATH}?all=true`]) {
    Deno.test(`DELETE ${path}: a request that is sent again with ${how} is not told what is forgotten`, async () => {
      await using app = startApp({
        script: oneByOne(saying("One."), saying("Two."), saying("Three.")),
      });
      const ann = { conversation_id: "ann" };
      assertEquals(await contentOf(await app.chat(ann, sentWith(first))), "One.\n");
      assertEquals(await contentOf(await app.chat(ann, sentWith(again))), "One.\n");
      assertEquals((await app.send(path, { method: "DELETE" })).status, 200);
      const anew = await app.chat(ann, sentWith(again));
      assertEquals([await contentOf(anew), anew.headers.get("x-session-id")], ["Two.\n", "ann"]);
      assertEquals(await contentOf(await app.chat(ann, sentWith(again))), "Two.\n");
      assertEquals([app.agent.prompts.length, app.agent.sessions.length], [2, 2]);
    });
  }

  Deno.test(`DELETE sessions: of others what was answered is still told, with ${how}`, async () => {
    await using app = startApp({ script: oneByOne(saying("Hi Ann."), saying("Hi Bob.")) });
    const [ann, bob] = [{ conversation_id: "ann" }, { conversation_id: "bob" }];
    const bobs = (headers: Record<string, string>) =>
      sentWith(headers, "idempotency-key" in headers ? { "idempotency-key": "k2" } : {});
    assertEquals(await contentOf(await app.chat(ann, sentWith(first))), "Hi Ann.\n");
    assertEquals(await contentOf(await app.chat(bob, bobs(first))), "Hi Bob.\n");
    assertEquals((await app.send(`${PATH}/ann`, { method: "DELETE" })).status, 200);
    assertEquals(await contentOf(await app.chat(bob, bobs(again))), "Hi Bob.\n");
    assertEquals(app.agent.prompts.length, 2);
  });
}

Deno.test("DELETE sessions: what was answered in a conversation that nobody named is not told again", async () => {
  await using app = startApp({
    script: oneByOne(saying("One, and a long one."), saying("Two.")),
    sessions: "auto",
  });
  const [first, again] = KEYS;
  const response = await app.chat({}, sentWith(first));
  const id = response.headers.get("x-session-id");
  assertEquals(await contentOf(response), "One, and a long one.\n");
  assertEquals((await app.send(`${PATH}/${id}`, { method: "DELETE" })).status, 200);
  assertEquals(await contentOf(await app.chat({}, sentWith(again))), "Two.\n");
});

Deno.test("DELETE sessions: a turn that it cancels is not begun anew by a request that is sent again while it ends", async () => {
  await using app = startApp();
  app.agent.answersCancels = false;
  const [first, again] = KEYS;
  const ann = { conversation_id: "ann" };
  const running = await app.stream(ann, sentWith(first));
  const prompt = await app.agent.nextPrompt();
  prompt.say("Half.\n");
  assertEquals((await app.send(`${PATH}/ann`, { method: "DELETE" })).status, 200);
  const joined = await app.stream(ann, sentWith(again));
  prompt.end("cancelled");
  for (const response of [running, joined]) {
    assertEquals(parseFrames(await response.text()).text, "Half.\n");
  }
  assertEquals([prompt.cancelCount, app.agent.prompts.length], [1, 1]);
});
