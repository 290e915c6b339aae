/** Two servers with folders of their own, as behind a load balancer: a conversation that moves between them goes on. */

import { assertEquals } from "@std/assert";
import { createDataDir, createGate, type DataDir } from "../support/harness/data_dir_fixture.ts";
import { script, type ServerProcess, startServer } from "../support/harness/server_process.ts";
import { answer, ChatClient, firstPrompt, question } from "../support/skins/chat_client.ts";

const start = ({ path, agent }: DataDir) => startServer({ agent, dataDir: path });
/** The prompts in the session of the server's first prompt. */
async function promptsOf(server: ServerProcess): Promise<string[]> {
  const prompts = await server.prompts();
  return prompts.filter(({ sessionId }) => sessionId === prompts[0]?.sessionId).map(({ text }) => text);
}

const user = (text: string) => `<user>\n${text}\n</user>`;
const assistant = (text: string) => `<assistant>\n${text}\n</assistant>`;

for (const conversation of ["mao", undefined]) {
  const how = conversation === undefined ? "matched" : "named";
  Deno.test(`a ${how} conversation moves when its server is killed, and back: each agent gets each message once`, async () => {
    await using gate = await createGate();
    await using firstDir = await createDataDir();
    await using secondDir = await createDataDir();
    const client = new ChatClient({ conversation });
    const long = `Question 2? ${script({ text: "A long answer" }, gate.step, { text: " to question 2." })}`;
    {
      await using first = await start(firstDir);
      await client.send(first, question(1));
      const stream = (await client.start(first, long)).text().catch(() => "cut");
      // The end of any turn waits until everything before it is stored, also the state of the running turn.
      await new ChatClient({ persona: "You are somebody else." }).send(first, question(9));
      await first.end("SIGKILL");
      assertEquals(await stream, "cut");
    }
    await gate.open();
    await using second = await start(secondDir);
    // The client sends the request again.
    client.history.pop();
    assertEquals((await client.send(second, long)).text, "A long answer to question 2.\n");
    assertEquals((await client.send(second, question(3))).text, answer(3));
    await using first = await start(firstDir);
    assertEquals((await client.send(first, question(4))).text, answer(4));
    assertEquals((await client.send(second, question(5))).text, answer(5));

    assertEquals(await promptsOf(first), [
      firstPrompt(question(1)),
      long,
      [assistant("A long answer to question 2.\n"), user(question(3)), assistant(answer(3)), question(4)]
        .join("\n\n"),
    ]);
    assertEquals(await promptsOf(second), [
      [firstPrompt(user(question(1))), assistant(answer(1)), long].join("\n\n"),
      question(3),
      [user(question(4)), assistant(answer(4)), question(5)].join("\n\n"),
    ]);
  });
}
