/** The README's example for skin authors, run as it stands there; and its examples of events, beside real ones. */

import { assert, assertEquals } from "@std/assert";
import { startServer, until } from "../support/harness/server_process.ts";

const README = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
/** Where the README's server is. */
const ADDRESS = "ws://127.0.0.1:8080/";
const MAX_LINES = 20;

/** The example, as it stands in the README. */
function example(): string {
  const [, code] = /<!-- example -->\s*```js\n([\s\S]*?)```\s*<!-- \/example -->/.exec(README) ?? [];
  if (code === undefined) {
    throw new Error("README.md has no example between <!-- example --> and <!-- /example -->");
  }
  return code;
}

/** The README's examples of events. */
function examples(): Record<string, unknown>[] {
  const [, after = ""] = README.split("<!-- events -->");
  const [part = ""] = after.split("<!-- /events -->");
  return [...part.matchAll(/```jsonl\n([\s\S]*?)```/g)].flatMap(([, lines = ""]) =>
    lines.trim().split("\n").map((line) => JSON.parse(line))
  );
}

/** The names of the fields, also of those inside. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(shapeOf);
  if (typeof value !== "object" || value === null) return typeof value;
  return Object.fromEntries(
    Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1).map(([name, field]) => [name, shapeOf(field)]),
  );
}

Deno.test("the README's example has at most twenty lines, and works", async () => {
  const code = example();
  assert(code.trimEnd().split("\n").length <= MAX_LINES, `more than ${MAX_LINES} lines`);
  assert(code.includes(ADDRESS), `it does not connect to ${ADDRESS}`);
  await using server = await startServer({ agent: "demo" });
  const file = await Deno.makeTempFile({ suffix: ".js" });
  // A terminal would ask its user; everything else is as it stands.
  const yes = "globalThis.confirm = () => true;\n";
  await Deno.writeTextFile(file, yes + code.replace(ADDRESS, server.url.replace("http", "ws") + "/"));
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--no-config", "--allow-net=127.0.0.1", file],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let printed = "";
  let ended = false;
  const says = (text: string) =>
    until(() => {
      if (ended) throw new Error(`The example ended:\n${printed}`);
      return printed.includes(text);
    });
  const reading = (async () => {
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) printed += piece;
    ended = true;
  })();
  try {
    await says("body: idle");
    await (await server.chat("run a tool")).text();
    await says("body: attention");
    await (await server.post("/v1/vtuber/notifications", { text: "[happy] The build is green!" })).text();
    await says("speaks up: The build is green!");
  } finally {
    child.kill("SIGKILL");
    await child.status;
    await reading;
    await Deno.remove(file);
  }
  const bodies = printed.split("\n").filter((line) => line.startsWith("body: ")).map((line) => line.trim());
  assertEquals(bodies.slice(0, 7), [
    "body: idle",
    "body: thinking",
    "body: working date",
    "body: notification date",
    "body: working date",
    "body: thinking",
    "body: attention",
  ]);
  assert(printed.includes("face: happy"));
  assert(printed.includes("caption: looked"));
});

Deno.test("the README's examples of events have the fields of real ones", async () => {
  await using server = await startServer({ agent: "demo" });
  const socket = new WebSocket(server.url.replace("http", "ws") + "/v1/vtuber/ws");
  const told: Record<string, unknown>[] = [];
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    told.push(event);
    if (event.type !== "permission_request") return;
    const { type: _, request_id } = event;
    socket.send(JSON.stringify({ type: "permission_response", request_id, decision: "allow" }));
  };
  const closed = new Promise((resolve) => socket.onclose = resolve);
  await new Promise((resolve) => socket.onopen = resolve);
  socket.send(JSON.stringify({ type: "subscribe", events: ["*", "say"] }));
  await until(() => told.some(({ type }) => type === "subscribed"));
  await (await server.chat("run a tool")).text();
  await (await server.post("/v1/vtuber/notifications", { text: "Hello!" })).text();
  await until(() =>
    told.some(({ type, turn_id, state }) => type === "agent_state" && turn_id && state === "idle")
  );
  // A pong comes behind all that was told before.
  socket.send(JSON.stringify({ type: "ping" }));
  await until(() => told.some(({ type }) => type === "pong"));
  socket.close();
  await closed;
  for (const shown of examples()) {
    const real = told.filter(({ type }) => type === shown.type).map((event) =>
      JSON.stringify(shapeOf(event))
    );
    const shape = JSON.stringify(shapeOf(shown));
    assert(
      real.includes(shape),
      `${shown.type}: the README shows ${shape}, but it is ${[...new Set(real)].join(" or ")}`,
    );
  }
});
