import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { startApp } from "../support/harness/app_harness.ts";

/** What the agent makes of a notification, and what is said of it. */
const ANSWERS: readonly [answer: string, said: string | null][] = [
  ["[silent]", null],
  ["[neutral] [silent].", null],
  ["(says nothing)", null],
  ["[silent] (looks away)", null],
  ["(smiles) Good morning!", "(smiles) Good morning!"],
  ["[silent] is what I am not.", "[silent] is what I am not."],
];

for (const [answer, said] of ANSWERS) {
  Deno.test(`a notification of which the agent makes ${JSON.stringify(answer)} is ${said === null ? "not " : ""}said`, async () => {
    await using app = startApp({ script: saying(answer) });
    const heard: string[] = [];
    app.hub.subscribe({ send: (text) => void heard.push(JSON.stringify(text)), backlog: 0, close() {} });
    const response = await app.post("/v1/vtuber/notifications", { text: "It is morning.", mode: "agent" });
    assertEquals(await response.json(), { said, clients: said === null ? 0 : 1 });
    assertEquals(heard.some((text) => text.includes("notification")), said !== null);
  });
}
