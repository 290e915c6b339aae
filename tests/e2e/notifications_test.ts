/** Notifications, with a real agent and real clients. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { EventStreamClient, type Frame, watch } from "../support/harness/event_client.ts";
import { replyOf, script, type ServerProcess, testServer, until } from "../support/harness/server_process.ts";

async function notify(server: ServerProcess, body: Record<string, unknown>, init?: RequestInit) {
  return await (await server.post("/v1/vtuber/notifications", body, init)).json();
}

function summarize({ type, text, urgency, tag, state }: Frame): unknown {
  return type === "notification" ? [text, urgency] : tag ?? state;
}

testServer("notifications", {}, {
  async "without clients, the text is not answered for the agent"(server) {
    assertEquals(await notify(server, { text: "Anyone?" }), { said: "Anyone?", clients: 0 });
    assertStringIncludes((await replyOf(server.chat("Anyone?"))).text, "You said");
  },

  async "a text reaches every client that wants it, each of which can post it back once"(server) {
    await using one = await watch(server);
    await using two = await watch(server, { events: ["agent_state", "emotion", "notification"] });
    await using other = await watch(server, { events: ["agent_state"] });
    await using stream = await EventStreamClient.open(server, "events=notification");
    let prompts = (await server.prompts()).length;
    const response = await notify(server, { text: "  [happy] The build is done. ", urgency: "high" });
    assertEquals(response, { said: "The build is done.", clients: 3 });
    for (const client of [one, two]) {
      const from = client.frames.indexOf(await client.state("notification"));
      await client.state("idle", from);
      const frames = client.frames.slice(from);
      assertEquals(frames.map(summarize), ["notification", "happy", ["The build is done.", "high"], "idle"]);
      assertEquals(frames.flatMap(({ session_id, turn_id }) => session_id ?? turn_id ?? []), []);
    }
    assertEquals((await stream.until(([first]) => first)).text, "The build is done.");
    await other.ping();
    assertEquals(other.of("notification"), []);
    assertStringIncludes((await replyOf(server.chat("The build is done. Really?"))).text, "You said");
    prompts++;
    for (let client = 1; client <= 3; client++) {
      assertEquals((await replyOf(server.chat("The build is done."))).text, "[happy] The build is done.\n");
    }
    assertEquals((await server.prompts()).length, prompts);
    assertStringIncludes((await replyOf(server.chat("The build is done."))).text, "You said");
  },

  async "mode agent: clients see the agent work, then its reply as a notification"(server) {
    await using client = await watch(server, { events: ["*", "say"] });
    const text = script(
      { text: "[sad] It is " },
      { tool: { id: "t", title: "date", kind: "read" } },
      { toolUpdate: { id: "t", status: "completed" } },
      { text: "late." },
    );
    await until(async () => (await server.get("/v1/vtuber/state")).watchers === 1);
    const response = await notify(server, { text, mode: "agent", urgency: "low" });
    assertEquals(response, { said: "It is late.", clients: 1 });
    const prompts = (await server.prompts()).length;
    await client.first("notification");
    await client.state("idle", client.frames.findIndex(({ type }) => type === "notification"));
    const from = client.frames.indexOf(await client.state("thinking"));
    assertEquals(client.frames.slice(from).map(({ type, state, status }) => state ?? status ?? type), [
      ...["thinking", "pending", "working", "done", "thinking", "idle"],
      ...["notification", "emotion", "notification", "idle"],
    ]);
    assertEquals((await replyOf(server.chat("It is late."))).text, "[sad] It is late.\n");
    assertEquals((await server.prompts()).length, prompts);
  },

  async "mode agent: a hang-up cancels the turn"(server) {
    await using client = await watch(server);
    const request = new AbortController();
    const body = { text: script({ text: "It" }, { hang: true }), mode: "agent" };
    const response = notify(server, body, { signal: request.signal }).catch(() => "hung up");
    await client.state("thinking");
    request.abort();
    assertEquals(await response, "hung up");
    await server.receivedUntil((all) => all.some(({ method }) => method === "session/cancel"));
    await client.until((frames) => frames.at(-1)?.state === "idle");
    assertEquals(client.of("notification"), []);
  },
});
