import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { ServedApp } from "../support/harness/served_app.ts";

const notify = async (app: TestApp, body: unknown) => {
  const response = await app.post("/v1/vtuber/notifications", body);
  assertEquals(response.status, 200);
  return await response.json();
};
const user = (content: unknown) => ({ role: "user", content });
const contentOf = async (response: Response) => (await response.json()).choices[0].message.content;

Deno.test("notifications: a text is told, and answered when it comes back, without the agent", async () => {
  await using served = ServedApp.start({ script: saying("I was asked") });
  const { app } = served;
  const socket = await served.connect("notification", "emotion");
  const said = await notify(app, { text: "[happy] Build done!", urgency: "high" });
  assertEquals(said.clients, 1);
  const { urgency } = await socket.until("notification Build done!");
  assertEquals([urgency, socket.summaries[0]], ["high", "emotion happy 1"]);
  const messages = [{ role: "system", content: "You are Mao." }, user("Hi"), user("Build done!")];
  assertEquals(await contentOf(await app.chat({ messages })), "[happy] Build done!\n");
  assertEquals(app.agent.prompts.length, 0);
  // It was told to one client, so it comes back once.
  assertEquals(await contentOf(await app.chat({ messages })), "I was asked\n");
});

Deno.test("notifications: what comes back may be in parts, and may ask for a stream", async () => {
  await using served = ServedApp.start();
  const { app } = served;
  await served.connect("notification");
  await served.connect("notification");
  await notify(app, { text: "Build done!" });
  const parts = [user([{ type: "text", text: "Build done!" }])];
  assertEquals(await contentOf(await app.chat({ messages: parts })), "Build done!\n");
  const text = await (await app.stream({ messages: [user("Build done!")] })).text();
  assertEquals(text.includes("Build done!") && text.endsWith("data: [DONE]\n\n"), true);
  assertEquals(app.agent.prompts.length, 0);
});

Deno.test("notifications: only the last message counts, and only the whole of it", async () => {
  await using served = ServedApp.start({ script: saying("I was asked") });
  const { app } = served;
  await served.connect("notification");
  await notify(app, { text: "Build done!" });
  for (const messages of [[user("Build done!"), user("Hi")], [user("Build done! Really?")]]) {
    assertEquals(await contentOf(await app.chat({ messages })), "I was asked\n");
  }
  assertEquals(await contentOf(await app.chat({ messages: [user("Build done!")] })), "Build done!\n");
});

Deno.test("notifications: nobody hears it: it is not answered either", async () => {
  await using app = startApp({ script: saying("I was asked") });
  assertEquals((await notify(app, { text: "Build done!" })).clients, 0);
  assertEquals(await contentOf(await app.chat({ messages: [user("Build done!")] })), "I was asked\n");
});

Deno.test("notifications: the agent puts it in its own words", async () => {
  await using served = ServedApp.start({ script: saying("[joy] It is ", "built!") });
  const { app } = served;
  const socket = await served.connect("notification", "emotion", "agent_state");
  assertEquals(await notify(app, { text: "Say that the build is done.", mode: "agent" }), {
    said: "It is built!",
    clients: 1,
  });
  await socket.until("notification It is built!");
  assertEquals(socket.summaries.filter((brief) => !brief.startsWith("state")), [
    "emotion joy 1",
    "notification It is built!",
  ]);
  assertEquals(app.agent.prompts.map(({ text }) => text.includes("Say that the build is done.")), [true]);
  assertEquals(await contentOf(await app.chat({ messages: [user("It is built!")] })), "[joy] It is built!\n");
});

Deno.test("notifications: the agent has nothing to say: nothing is said", async () => {
  await using served = ServedApp.start({ script: saying("[silent]") });
  const socket = await served.connect("notification");
  assertEquals(await notify(served.app, { text: "Anything?", mode: "agent" }), { said: null, clients: 0 });
  assertEquals(await socket.sync(), []);
});

Deno.test("notifications: an agent that fails is an error", async () => {
  await using app = startApp({
    script: (prompt) => prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true })),
  });
  const response = await app.post("/v1/vtuber/notifications", { text: "x", mode: "agent" });
  assertEquals((await errorOf(response)).code, "agent_crashed");
});

Deno.test("notifications: what is wrong is named", async () => {
  await using app = startApp();
  for (
    const [body, param] of [[{}, "text"], [{ text: "x", urgency: "now" }, "urgency"], ["{", null]] as const
  ) {
    const error = await errorOf(await app.post("/v1/vtuber/notifications", body));
    assertEquals([error.status, error.param], [400, param]);
  }
});

Deno.test("notifications: what was said is what the clients were told", async () => {
  await using served = ServedApp.start();
  const socket = await served.connect("notification");
  const { said } = await notify(served.app, { text: "[happy] Build done!" });
  const { text } = await socket.until("notification Build done!");
  assertEquals(said, text);
});
