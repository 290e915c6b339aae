/** The docs' examples beside the running program: the client for skin authors, the events, and the doctor's report. */

import { assert, assertEquals } from "@std/assert";
import { codeBlocks, jsonLines, partOf, readPage } from "../support/harness/docs.ts";
import { type Frame, watch } from "../support/harness/event_client.ts";
import { runProgram, script, startServer, until } from "../support/harness/server_process.ts";

/** The address in the example. */
const ADDRESS = "ws://127.0.0.1:8080/";
const MAX_LINES = 20;
const PAGE = readPage("events");

/** Returns the names and types of all fields, also of nested ones. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(shapeOf);
  if (typeof value !== "object" || value === null) return typeof value;
  return Object.fromEntries(
    Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1).map(([name, field]) => [name, shapeOf(field)]),
  );
}

Deno.test("events.md: the example has at most twenty lines, and works", async () => {
  const code = codeBlocks(partOf(PAGE, "example"), "js")[0]!.text;
  assert(code.trimEnd().split("\n").length <= MAX_LINES, `more than ${MAX_LINES} lines`);
  assert(code.includes(ADDRESS), `the example does not connect to ${ADDRESS}`);
  await using server = await startServer({ agent: "demo" });
  const file = await Deno.makeTempFile({ suffix: ".js" });
  // Without a terminal, `confirm` returns false.
  const allow = "globalThis.confirm = () => true;\n";
  await Deno.writeTextFile(file, allow + code.replace(ADDRESS, server.url.replace("http", "ws") + "/"));
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--no-config", "--allow-net=127.0.0.1", file],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let printed = "";
  let hasEnded = false;
  const untilPrinted = (text: string) =>
    until(() => {
      if (hasEnded) throw new Error(`The example ended:\n${printed}`);
      return printed.includes(text);
    });
  const reading = (async () => {
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) printed += piece;
    hasEnded = true;
  })();
  try {
    await untilPrinted("body: idle");
    await (await server.chat("run a tool")).text();
    await untilPrinted("body: attention");
    await (await server.post("/v1/vtuber/notifications", { text: "[happy] The build is green!" })).text();
    await untilPrinted("speaks up: The build is green!");
  } finally {
    child.kill("SIGKILL");
    await child.status;
    await reading;
    await Deno.remove(file);
  }
  const documented = codeBlocks(PAGE, "text")[0]!.text.trim().split("\n");
  const output = printed.split("\n").map((line) => line.trim());
  // Captions begin wherever the agent's text is cut. The last line follows after a pause.
  const fixed = (lines: string[]) => lines.filter((line) => /^(body|face): /.test(line)).slice(0, 8);
  assertEquals(fixed(output), fixed(documented));
  for (const line of documented.filter((line) => line.startsWith("caption: "))) {
    assert(output.includes(line), line);
  }
});

/** Events of which the demo agent causes none. Their fields are tested in tests/events. */
const NOT_BY_DEMO_AGENT = new Set(["agent_status"]);
/** Returns events that the demo agent has none of: a question, the usage, an error. */
async function eventsOfScriptedAgent(): Promise<readonly Frame[]> {
  await using server = await startServer();
  await using client = await watch(server, { events: ["*"] });
  const usage = { sessionUpdate: "usage_update", used: 1, size: 2, cost: { amount: 0.1, currency: "USD" } };
  const properties = { branch: { type: "string", title: "Branch", enum: ["main", "next"] } };
  const params = { mode: "form", message: "Which?", requestedSchema: { properties, required: ["branch"] } };
  const reply = server.chat(script(
    { update: usage },
    { request: { method: "elicitation/create", params } },
    { error: { code: -32603, message: "quota exceeded" } },
  ));
  const { question_id } = await client.first("question");
  client.send({ type: "question_response", question_id, action: "accept", content: { branch: "main" } });
  await (await reply).text();
  await client.state("error");
  return client.frames;
}

Deno.test("events.md: the examples of events have the fields of real events", async () => {
  await using server = await startServer({ agent: "demo" });
  await using client = await watch(server, { events: ["*", "say"] });
  const reply = server.chat("run a tool");
  const { request_id } = await client.first("permission_request");
  client.send({ type: "permission_response", request_id, decision: "allow" });
  await (await reply).text();
  await (await server.post("/v1/vtuber/notifications", { text: "Hello!" })).text();
  await client.first("notification");
  await client.untilTurnEnds();
  const events = [...client.frames, ...await eventsOfScriptedAgent()];
  for (const { type, line } of jsonLines(partOf(PAGE, "events")).flat()) {
    if (NOT_BY_DEMO_AGENT.has(type)) continue;
    const real = events.filter((event) => event.type === type).map((event) => JSON.stringify(shapeOf(event)));
    const documented = JSON.stringify(shapeOf(JSON.parse(line)));
    assert(
      real.includes(documented),
      `${type}: documented as ${documented}, but sent as ${[...new Set(real)].join(" or ")}`,
    );
  }
});

Deno.test("doctor.md: the example is the doctor's report on the demo agent", async () => {
  const home = await Deno.realPath(await Deno.makeTempDir());
  // The example has these programs. The doctor finds those of this machine too.
  for (const [name, script] of [["ffmpeg", `printf ' A %s\\n' libmp3lame libopus aac flac`], ["piper", ""]]) {
    await Deno.writeTextFile(`${home}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  const { out } = await runProgram(["doctor"], {
    PATH: home,
    GATEWAY_LISTEN: "127.0.0.1:0",
    OPENAB_AGENT_COMMAND: "",
    VTUBER_DATA_DIR: `${home}/data`,
    VTUBER_WORKING_DIR: home,
  });
  await Deno.remove(home, { recursive: true });
  const report = out
    .replace(/ok {3}(?!piper)\S+ was found\. To use it.*\n(?: {5}.*\n)+/g, "")
    .replace(/^\d+ ok/m, "16 ok")
    .replace("127.0.0.1:0", "127.0.0.1:8080")
    .replace(`${home}/data`, "/home/me/.local/share/oab-vtuber")
    .replace(home, "/home/me")
    .replace(/speaks a word in \d+ ms/, "speaks a word in 630 ms")
    .replace(/started in \d+ ms/, "started in 58 ms");
  assertEquals(codeBlocks(partOf(readPage("doctor"), "doctor"))[0]!.text, report);
});
