/** The page about conversations: each way to name, list and forget one is tried as it is written there. */

import { assert, assertEquals } from "@std/assert";
import { dataDirOf } from "../../lib/config/load.ts";
import { SESSION_MODES } from "../../lib/conversation/resolve.ts";
import { BUSY_MODES } from "../../lib/conversation/turn_queue.ts";
import { startApp, type TestApp } from "../support/harness/app_harness.ts";
import { codeBlocks, firstCells, partOf, readPage, sectionOf } from "../support/harness/docs.ts";
import { saying } from "../support/agents/memory_agent.ts";

const PAGE = readPage("conversations");

function startTestApp(): TestApp {
  return startApp({ sessions: "auto", script: saying("Hello.") });
}

/** Sends a chat request that names its conversation in these ways. @returns The name that the response has. */
async function nameOf(app: TestApp, ...names: [way: string, name: string][]): Promise<string | null> {
  const headers: Record<string, string> = {};
  const body: Record<string, unknown> = {};
  for (const [way, name] of names) {
    const text = way.replace("mao", name);
    const [header = "", value = ""] = text.split(": ");
    if (text.startsWith("{")) Object.assign(body, JSON.parse(text));
    else headers[header] = value;
  }
  const response = await app.chat(body, { headers });
  await response.body?.cancel();
  return response.headers.get("x-session-id");
}

Deno.test("conversations.md: each way to name a conversation works, and the first of two counts", async () => {
  await using app = startTestApp();
  const ways = firstCells(partOf(PAGE, "names"));
  assert(ways.length > 0);
  for (const [at, way] of ways.entries()) {
    assertEquals(await nameOf(app, [way, "kai"]), "kai", way);
    const next = ways[at + 1];
    if (next) {
      assertEquals(await nameOf(app, [next, "second"], [way, "first"]), "first", `${way} and ${next}`);
    }
  }
});

Deno.test("conversations.md: the example of the list has the fields of a real one", async () => {
  await using app = startTestApp();
  await (await app.chat()).body?.cancel();
  const real = await (await app.get("/v1/vtuber/sessions")).json();
  const example = JSON.parse(codeBlocks(partOf(PAGE, "sessions"))[0]!.text);
  assertEquals(Object.keys(example), Object.keys(real));
  for (const session of example.sessions) assertEquals(Object.keys(session), Object.keys(real.sessions[0]));
});

Deno.test("conversations.md: each command that forgets a conversation works", async () => {
  await using app = startTestApp();
  const commands = [...PAGE.matchAll(/^curl -X DELETE "?http:\/\/[\d.:]+(\S+?)"?$/gm)];
  assertEquals(commands.length, 3);
  for (const [command, path = ""] of commands) {
    await (await app.chat({ conversation_id: "mao" })).text();
    const response = await app.send(path, { method: "DELETE" });
    assertEquals(await response.text(), '{"forgotten":1}', command);
    assertEquals(await (await app.get("/v1/vtuber/sessions")).json(), { sessions: [] }, command);
  }
});

Deno.test("conversations.md: explains every value of VTUBER_SESSIONS and VTUBER_ON_BUSY", () => {
  for (
    const [heading, values] of [["## VTUBER_SESSIONS", SESSION_MODES], [
      "## VTUBER_ON_BUSY",
      BUSY_MODES,
    ]] as const
  ) {
    const cells = firstCells(sectionOf(PAGE, heading)).map((cell) => cell.split(" ")[0]);
    assertEquals(cells.sort(), [...values].sort());
  }
});

Deno.test("conversations.md: names the data directory of every system", () => {
  for (const os of ["linux", "darwin", "windows"]) {
    const folder = dataDirOf(undefined, os, { HOME: "~", LOCALAPPDATA: "%LOCALAPPDATA%" });
    assert(PAGE.includes(`\`${folder}\``), folder);
  }
});
