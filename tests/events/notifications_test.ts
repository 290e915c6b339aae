import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { ServedApp } from "../support/harness/served_app.ts";

const user = (content: unknown) => ({ role: "user", content });

async function notify(app: TestApp, body: unknown) {
  const response = await app.post("/v1/vtuber/notifications", body);
  assertEquals(response.status, 200);
  return await response.json();
}

async function chat(app: TestApp, ...messages: unknown[]): Promise<string> {
  const response = await app.chat({ messages });
  return (await response.json()).choices[0].message.content;
}

Deno.test("notifications: a text reaches the clients, and is its own reply once when a client posts it back", async () => {
  await using served = ServedApp.start({ script: saying("From the agent") });
  const { app } = served;
  const client = await served.connect("notification", "emotion");
  const response = await notify(app, { text: "[happy] Build done!", urgency: "high" });
  const { urgency, text } = await client.until("notification Build done!");
  assertEquals(response, { said: text, clients: 1 });
  assertEquals([urgency, client.summaries[0]], ["high", "emotion happy 1"]);
  const messages = [{ role: "system", content: "You are Mao." }, user("Hi"), user("Build done!")];
  assertEquals(await chat(app, ...messages), "[happy] Build done!\n");
  assertEquals(app.agent.prompts.length, 0);
  assertEquals(await chat(app, ...messages), "From the agent\n");
});

Deno.test("notifications: a client can post the text back in parts, or ask for a stream", async () => {
  await using served = ServedApp.start();
  const { app } = served;
  await served.connect("notification");
  await served.connect("notification");
  await notify(app, { text: "Build done!" });
  assertEquals(await chat(app, user([{ type: "text", text: "Build done!" }])), "Build done!\n");
  const text = await (await app.stream({ messages: [user("Build done!")] })).text();
  assertEquals(text.includes("Build done!") && text.endsWith("data: [DONE]\n\n"), true);
  assertEquals(app.agent.prompts.length, 0);
});

Deno.test("notifications: only a last message that is the whole text counts", async () => {
  await using served = ServedApp.start({ script: saying("From the agent") });
  const { app } = served;
  await served.connect("notification");
  await notify(app, { text: "Build done!" });
  assertEquals(await chat(app, user("Build done!"), user("Hi")), "From the agent\n");
  assertEquals(await chat(app, user("Build done! Really?")), "From the agent\n");
  assertEquals(await chat(app, user("Build done!")), "Build done!\n");
});

Deno.test("notifications: without clients, the text is no reply", async () => {
  await using app = startApp({ script: saying("From the agent") });
  assertEquals((await notify(app, { text: "Build done!" })).clients, 0);
  assertEquals(await chat(app, user("Build done!")), "From the agent\n");
});

Deno.test("notifications: in mode agent, the agent's reply is announced", async () => {
  await using served = ServedApp.start({ script: saying("[joy] It is ", "built!") });
  const { app } = served;
  const client = await served.connect("notification", "emotion");
  const response = await notify(app, { text: "Say that the build is done.", mode: "agent" });
  assertEquals(response, { said: "It is built!", clients: 1 });
  await client.until("notification It is built!");
  assertEquals(client.summaries, ["emotion joy 1", "notification It is built!"]);
  assertEquals(app.agent.prompts.map(({ text }) => text.includes("Say that the build is done.")), [true]);
  assertEquals(await chat(app, user("It is built!")), "[joy] It is built!\n");
});

Deno.test("notifications: a silent reply is not announced", async () => {
  await using served = ServedApp.start({ script: saying("[silent]") });
  const client = await served.connect("notification");
  assertEquals(await notify(served.app, { text: "Anything?", mode: "agent" }), { said: null, clients: 0 });
  assertEquals(await client.sync(), []);
});

Deno.test("notifications: a failed turn is an error", async () => {
  await using app = startApp({
    script: (prompt) => prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true })),
  });
  const response = await app.post("/v1/vtuber/notifications", { text: "x", mode: "agent" });
  assertEquals((await errorOf(response)).code, "agent_crashed");
});

for (
  const [body, param] of [[{}, "text"], [{ text: "x", urgency: "now" }, "urgency"], ["{", null]] as const
) {
  Deno.test(`notifications: ${JSON.stringify(body)} is an error that names the field`, async () => {
    await using app = startApp();
    const error = await errorOf(await app.post("/v1/vtuber/notifications", body));
    assertEquals([error.status, error.param], [400, param]);
  });
}
