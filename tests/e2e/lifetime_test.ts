import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { makeGate } from "../support/harness/data_dir_fixture.ts";
import {
  isAlive,
  programCommand,
  readAnswer,
  script,
  startServer,
  until,
} from "../support/harness/server_process.ts";

async function run(args: readonly string[], env: Record<string, string> = {}) {
  const program = programCommand(args);
  const { code, stdout, stderr } = await new Deno.Command(program.command, {
    args: program.args,
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

Deno.test("without VTUBER_ENABLED it says what to set, and exits 2", async () => {
  const { code, out, err } = await run([], { VTUBER_ENABLED: "" });
  assertEquals([code, out], [2, ""]);
  assertStringIncludes(err, "VTUBER_ENABLED=true");
});

Deno.test("--help and --version", async () => {
  const help = await run(["--help"]);
  assertEquals(help.code, 0);
  assertStringIncludes(help.out, "OPENAB_AGENT_COMMAND");
  const version = await run(["--version"]);
  assertEquals(version.code, 0);
  assert(/^oab-vtuber \d+\.\d+\.\d+ \(/.test(version.out), version.out);
});

Deno.test("every mistake of the configuration is told at once, by its name", async () => {
  const { code, err } = await run(["--heartbeat", "loud"], {
    VTUBER_ENABLED: "true",
    GATEWAY_LISTEN: "0.0.0.0:8080",
    VTUBER_MAX_IN_FLIGHT: "many",
  });
  assertEquals(code, 2);
  for (const name of ["VTUBER_HEARTBEAT", "GATEWAY_LISTEN", "VTUBER_MAX_IN_FLIGHT", "VTUBER_AUTH_KEY"]) {
    assertStringIncludes(err, name);
  }
  const unknown = await run(["--nonsense"]);
  assertEquals(unknown.code, 2);
  assertStringIncludes(unknown.err, "--nonsense");
});

Deno.test("an address that is taken, a folder that is not there, a file that is not there", async () => {
  await using server = await startServer();
  const address = server.url.slice("http://".length);
  const taken = await run([], { VTUBER_ENABLED: "true", GATEWAY_LISTEN: address });
  assertEquals(taken.code, 1);
  assertStringIncludes(taken.err, address);
  const folder = await run([], { VTUBER_ENABLED: "true", VTUBER_WORKING_DIR: "/nowhere/at/all" });
  assertEquals(folder.code, 2);
  assertStringIncludes(folder.err, "VTUBER_WORKING_DIR");
  const file = await run(["--config", "/nowhere/config.toml"], { VTUBER_ENABLED: "true" });
  assertEquals(file.code, 2);
  assertStringIncludes(file.err, "/nowhere/config.toml");
});

Deno.test("the agent and its environment come from --config", async () => {
  const folder = await Deno.makeTempDir();
  const agent = new URL("../support/agents/scripted_agent.ts", import.meta.url).pathname;
  await Deno.writeTextFile(
    `${folder}/config.toml`,
    `[agent]
command = ${JSON.stringify(Deno.execPath())}
args = ["run", "--quiet", "--no-config", "--no-lock", "--allow-env", ${JSON.stringify(agent)}]
working_dir = ${JSON.stringify(folder)}
env = { GREETING = "\${GREETING_SOURCE} there" }
inherit_env = ["HANDED_ON"]
`,
  );
  await using server = await startServer({
    args: ["--config", `${folder}/config.toml`],
    env: {
      OPENAB_AGENT_COMMAND: "not-this-one",
      GREETING_SOURCE: "hello",
      HANDED_ON: "yes",
      KEPT_BACK: "no",
      VTUBER_AUTH_KEY: "the-secret-key",
    },
  });
  const names = ["GREETING", "HANDED_ON", "KEPT_BACK", "VTUBER_AUTH_KEY", "GREETING_SOURCE"];
  const response = await server.chat(script({ env: names }), {}, {
    headers: { authorization: "Bearer the-secret-key" },
  });
  const { text } = readAnswer(await response.text());
  assertEquals(JSON.parse(text), {
    GREETING: "hello there",
    HANDED_ON: "yes",
    KEPT_BACK: null,
    VTUBER_AUTH_KEY: null,
    GREETING_SOURCE: null,
  });
  assert(!server.log().includes("the-secret-key"));
  await Deno.remove(folder, { recursive: true });
});

Deno.test("SIGTERM: readiness goes, running turns may end, then the program ends with 0", async () => {
  await using gate = await makeGate();
  await using server = await startServer({ env: { VTUBER_SHUTDOWN_GRACE_SECS: "600" } });
  const running = await server.chat(script({ text: "I am " }, gate.step, { text: "done." }));
  server.signal("SIGTERM");
  await server.logged('"message":"shutting down"');
  const ready = await fetch(`${server.url}/readyz`);
  assertEquals([ready.status, (await ready.json()).status], [503, "draining"]);
  const refused = await server.chat("too late");
  assertEquals([refused.status, refused.headers.has("retry-after")], [503, true]);
  assertEquals((await refused.json()).error.code, "shutting_down");
  await gate.open();
  const { text, finish } = readAnswer(await running.text());
  assertEquals([text, finish], ["I am done.\n", "stop"]);
  assertEquals((await server.exited).code, 0);
});

Deno.test("SIGINT: a turn that does not end is ended properly after the grace, and nothing is left behind", async () => {
  await using server = await startServer({ env: { VTUBER_SHUTDOWN_GRACE_SECS: "0.2" } });
  const command = "sleep 1000";
  const response = await server.chat(
    script(
      { spawn: command },
      { spawn: command, setsid: true },
      // Bears no mark, and is in no group: only who looks before the agent ends finds it.
      { spawn: `env -i ${command}`, setsid: true },
      { text: "." },
      { hang: true },
    ),
  );
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let seen = "";
  while (
    readAnswer(seen.slice(0, seen.lastIndexOf("\n\n") + 2)).text.split("pid:").length < 4 ||
    !seen.includes('"."')
  ) {
    seen += (await reader.read()).value;
  }
  server.signal("SIGINT");
  for (let next = await reader.read(); !next.done; next = await reader.read()) seen += next.value;
  const { text, finish, done } = readAnswer(seen);
  assertStringIncludes(text, "shutting down");
  assertEquals([finish, done], ["error", true]);
  assertEquals((await server.exited).code, 0);
  const left = [...text.matchAll(/pid:(\d+)/g)].map((match) => Number(match[1]));
  assertEquals(left.length, 3);
  await until(() => !left.some(isAlive));
});

Deno.test("a second signal ends the program at once", async () => {
  await using server = await startServer({ env: { VTUBER_SHUTDOWN_GRACE_SECS: "600" } });
  const response = await server.chat(script({ text: "." }, { hang: true }));
  server.signal("SIGTERM");
  await server.logged('"message":"shutting down"');
  let code: number | undefined;
  server.exited.then((status) => code = status.code);
  await until(() => {
    // One right after the first counts as the same.
    if (code === undefined) server.signal("SIGTERM");
    return code !== undefined;
  });
  assertEquals(code, 1);
  await response.text().catch(() => {});
});

Deno.test("an agent that ignores everything but SIGKILL does not outlive the program", async () => {
  await using server = await startServer({ agent: { ignoreEof: true, ignoreSigterm: true } });
  const { text } = readAnswer(await (await server.chat(script({ spawn: "sleep 1000" }))).text());
  const child = Number(/pid:(\d+)/.exec(text)?.[1]);
  assert(isAlive(child));
  server.signal("SIGTERM");
  assertEquals((await server.exited).code, 0);
  await until(() => !isAlive(child));
});

Deno.test("a second signal while the agent is being ended leaves nothing behind", async () => {
  await using server = await startServer({ agent: { ignoreEof: true, ignoreSigterm: true } });
  const { text } = readAnswer(await (await server.chat(script({ spawn: "sleep 1000" }))).text());
  const child = Number(/pid:(\d+)/.exec(text)?.[1]);
  server.signal("SIGTERM");
  await server.receivedUntil((messages) => messages.some(({ eof }) => eof));
  let code: number | undefined;
  server.exited.then((status) => code = status.code);
  await until(() => {
    if (code === undefined) server.signal("SIGTERM");
    return code !== undefined;
  });
  assertEquals(code, 1);
  await until(() => !isAlive(child));
});

Deno.test("an agent that cannot be started: 503 that says why, Retry-After, and its last words in the log", async () => {
  await using server = await startServer({ agent: { dieOnStart: 3, stderr: "cannot find my head" } });
  let response: Response | undefined;
  await until(async () => {
    response = await server.chat("hello");
    const { error } = await response.json();
    assertEquals([response.status, error.code], [503, "agent_unavailable"]);
    return error.message.includes("in a row");
  });
  const wait = Number(response!.headers.get("retry-after"));
  assert(wait >= 1 && wait <= 60);
  assertEquals(response!.headers.has("x-should-retry"), false);
  assertStringIncludes(server.log(), "cannot find my head");
  const ready = await fetch(`${server.url}/readyz`);
  assertEquals([ready.status, await ready.json()], [503, {
    status: "degraded",
    checks: { "agent:openab": "failing" },
  }]);

  await using missing = await startServer({ agent: { command: "no-such-agent", args: [] } });
  const answer = await missing.chat("hello");
  assertEquals(answer.status, 503);
  assertStringIncludes((await answer.json()).error.message, "no-such-agent");
  const { status } = await (await fetch(`${missing.url}/readyz`)).json();
  assertEquals(status, "degraded");
});

Deno.test("an agent that needs a log-in: 503 that names its ways, and no retry", async () => {
  const authMethods = [{ id: "browser", name: "Log in with a browser" }];
  await using server = await startServer({ agent: { authRequired: true, authMethods } });
  const response = await server.chat("hello");
  assertEquals([response.status, response.headers.get("x-should-retry")], [503, "false"]);
  const { error } = await response.json();
  assertEquals(error.code, "agent_auth_required");
  assertStringIncludes(error.message, "browser (Log in with a browser)");
});
