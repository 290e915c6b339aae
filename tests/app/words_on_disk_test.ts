import { assert, assertEquals } from "@std/assert";
import { openStore } from "../../lib/conversation/store.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { startApp, type TestApp } from "../support/harness/app_harness.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";
import { TranscriptsFixture } from "../support/harness/transcripts_fixture.ts";

const QUESTION = "Wherefore art thou";
const REPLY = "Deny thy father";
const IMAGE = btoa("a picture of a balcony, with roses");

const messages = [
  { role: "system", content: `You know: ${QUESTION}` },
  {
    role: "user",
    content: [
      { type: "text", text: QUESTION },
      { type: "image_url", image_url: { url: `data:image/png;base64,${IMAGE}` } },
    ],
  },
];

/** Asks for a response with this field. */
function respond(app: TestApp, store?: boolean, more: Record<string, unknown> = {}): Promise<string> {
  const content = [
    { type: "input_text", text: QUESTION },
    { type: "input_image", image_url: `data:image/png;base64,${IMAGE}` },
  ];
  return body(app.post("/v1/responses", { input: [{ role: "user", content }], store, ...more }));
}

type Send = (app: TestApp) => Promise<unknown>;
const body = (response: Promise<Response>) => response.then((response) => response.text());
const UNSTORED: readonly [name: string, send: Send][] = [
  ["a chat", (app) => body(app.chat({ messages }))],
  ["a chat with store true", (app) => body(app.chat({ messages, store: true }))],
  ["a stream", (app) => body(app.stream({ messages, conversation_id: "mao" }))],
  ["a repeated chat", (app) => {
    const options = { headers: { "idempotency-key": "one" } };
    return body(app.chat({ messages }, options)).then(() => body(app.chat({ messages }, options)));
  }],
  ["a completion", (app) => body(app.post("/v1/completions", { prompt: QUESTION }))],
  ["a notification", (app) => body(app.post("/v1/vtuber/notifications", { text: QUESTION, mode: "agent" }))],
  ["a response", (app) => respond(app)],
  ["a response with store false", (app) => respond(app, false)],
  ["a response in the background", (app) => respond(app, undefined, { background: true })],
];

async function startWithFiles(fixture: TranscriptsFixture): Promise<TestApp> {
  const transcripts = await fixture.open();
  const store = await openStore(fixture.folder, { warn() {} });
  return startApp({ sessions: "auto", script: saying(REPLY), store, transcripts });
}

const WORDS = [QUESTION, REPLY, IMAGE];

for (const [name, send] of UNSTORED) {
  Deno.test(`words on disk: none of ${name}, neither while the program runs nor after it`, async () => {
    using fixture = new TranscriptsFixture();
    {
      await using app = await startWithFiles(fixture);
      await send(app);
      assertEquals(WORDS.filter((words) => fixture.has(words)), []);
    }
    assertEquals(WORDS.filter((words) => fixture.has(words)), []);
    assertEquals(fixture.files(), ["conversations.db"]);
  });
}

Deno.test("words on disk: those of a response with store true", async () => {
  using fixture = new TranscriptsFixture();
  {
    await using app = await startWithFiles(fixture);
    await respond(app, true);
    // The file is written a moment later, with others.
    while (!fixture.has(REPLY)) await nextTask();
    assert(WORDS.every((words) => fixture.has(words)));
  }
  assertEquals(fixture.files(), ["conversations.db", "transcripts.db"]);
  assert(WORDS.every((words) => fixture.has(words)));
  assertEquals(fixture.warnings, []);
});
