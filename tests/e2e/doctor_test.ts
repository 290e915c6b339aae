import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { agentCommand, type ScriptedAgentOptions } from "../support/agents/scripted_agent.ts";
import { isAlive, programCommand, runProgram, startServer } from "../support/harness/server_process.ts";

/** Variables that would otherwise be taken from the machine that runs the test. */
const PLAIN = {
  VTUBER_ENABLED: "true",
  VTUBER_AUTH_KEY: "",
  GATEWAY_LISTEN: "127.0.0.1:0",
  OPENAB_AGENT_COMMAND: "",
  OPENAB_CONFIG: "",
  VTUBER_DATA_DIR: "none",
};

/** Runs the doctor, with a configuration file if there is a text for it. */
async function doctor(env: Record<string, string> = {}, toml?: string) {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  try {
    const file = `${folder}/config.toml`;
    if (toml !== undefined) await Deno.writeTextFile(file, toml);
    return await runProgram(["doctor", ...toml === undefined ? [] : ["--config", file]], {
      ...PLAIN,
      ...env,
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The table of a scripted agent. */
function table(name: string, options: ScriptedAgentOptions, more = ""): string {
  const { command, args } = agentCommand(options);
  return `[agents.${name}]\ncommand = ${JSON.stringify(command)}\nargs = ${JSON.stringify(args)}\n${more}\n`;
}

Deno.test("doctor: all is well with the demo agent", async () => {
  const { code, out, err } = await doctor({ VTUBER_AUTH_KEY: "a-key-of-twenty-chars" });
  assertEquals([code, err], [0, ""], out);
  assertMatch(out, /^ok {3}the configuration was loaded; its agents: openab$/m);
  assertMatch(out, /^ok {3}openab: is the built-in demo agent/m);
  assertMatch(out, /^ok {3}openab: opened a session/m);
  assertMatch(out, /^\d+ ok, 0 warnings, 0 failed\. All is well\.\n$/m);
  assertEquals(out.includes("a-key-of-twenty-chars"), false);
});

Deno.test("doctor: runs before anything is set", async () => {
  const { code, out } = await doctor({ VTUBER_ENABLED: "", VTUBER_NONSENSE: "1" });
  assertEquals(code, 0, out);
  assertMatch(out, /^warn VTUBER_NONSENSE is not a setting/m);
  assertMatch(out, /^warn VTUBER_ENABLED is not set/m);
  assertMatch(out, /^warn there is no key/m);
});

Deno.test("doctor: a missing program and an agent that exits, beside a good agent", async () => {
  const toml = [
    '[agents.missing]\ncommand = "no-such-agent-anywhere"\n',
    table("dying", { dieOnStart: 3 }),
    table("well", { image: true }, 'env = { TOKEN = "s3cret-token" }'),
  ].join("");
  const { code, out, err } = await doctor({}, toml);
  assertEquals(code, 1, out);
  assertMatch(out, /^FAIL missing: program no-such-agent-anywhere was not found\n {5}Install it/m);
  assertMatch(out, /^FAIL dying: exited with code 3 before it answered initialize\n {5}Run its/m);
  assertMatch(out, /^ok {3}well: program: \//m);
  assertMatch(out, /^ok {3}well: accepts images: yes, audio: no$/m);
  assertMatch(out, /, 2 failed\. /);
  assertEquals((out + err).includes("s3cret"), false);
});

Deno.test("doctor: a port that another server of this program has", async () => {
  await using server = await startServer({ agent: "demo" });
  const address = new URL(server.url).host;
  const { code, out } = await doctor({ GATEWAY_LISTEN: address });
  // The server may be the one that the user asks about.
  assertEquals(code, 0, out);
  assertStringIncludes(
    out,
    `warn ${address} is in use by another oab-vtuber\n     This is fine if`,
  );
});

Deno.test("doctor: reports a character that keeps the server from starting in the same words", async () => {
  const { code, out } = await doctor({ VTUBER_CHARACTER: "/no/such/character" });
  assertEquals(code, 1, out);
  const said = /^FAIL (VTUBER_CHARACTER: \/no\/such\/character: .*)$/m.exec(out)?.[1];
  assertMatch(out, /, 1 failed\. Correct what failed: the program does not work like this\.\n$/);
  const server = await runProgram([], { ...PLAIN, VTUBER_CHARACTER: "/no/such/character" });
  assertEquals(server.code, 2);
  assertStringIncludes(server.err, `  - ${said}\n`);
});

Deno.test("doctor: prints no secret of the environment if the configuration cannot be loaded", async () => {
  const key = "sk-s3cret-of-the-key";
  const { code, out, err } = await doctor(
    { VTUBER_AUTH_KEY: key, MY_TOKEN: "s3cret-token" },
    `[agent]
command = "sh"
args = 3
[agents.b]
command = "sh"
"s3cret-token" = "${key}"
`,
  );
  assertEquals(code, 1, out);
  assertMatch(out, /^FAIL .*agent\.args: /m);
  assertEquals((out + err).includes("s3cret"), false, out);
});

Deno.test("doctor: prints no part of a secret at the end of a line that is cut", async () => {
  const toml = `[agent]
command = "sh"
args = ["-c", 'printf "%060d%s\\n" 0 "$TOKEN"; printf "%060d%s\\n" 0 "$TOKEN" >&2']
env = { TOKEN = "${"s3cret-".repeat(30)}" }
`;
  const { out, err } = await doctor({}, toml);
  assertMatch(out, /^FAIL openab: .* is not an ACP agent: it printed "0{60}\[secret\]"/m);
  assertMatch(out, /stderr: 0{60}\[secret\]$/m);
  assertEquals((out + err).includes("s3cret"), false);
});

Deno.test("doctor: Ctrl-C ends it and the agents that it started", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const pidFile = `${folder}/agent.pid`;
    await Deno.writeTextFile(
      `${folder}/config.toml`,
      // The shell is the agent: it writes down its process id and never answers.
      `[agent]\ncommand = "sh"\nargs = ["-c", "echo $$ > ${pidFile}.new; mv ${pidFile}.new ${pidFile}; exec sleep 300"]\n`,
    );
    const program = programCommand(["doctor", "--config", `${folder}/config.toml`]);
    const child = new Deno.Command(program.command, {
      args: program.args,
      env: PLAIN,
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const output = new Response(child.stdout).text();
    let hasEnded = false;
    child.status.then(() => hasEnded = true);
    const readPid = () => Deno.readTextFile(pidFile).catch(() => undefined);
    while (!await readPid() && !hasEnded) await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill("SIGINT");
    assertEquals((await child.status).code, 1);
    assertMatch(await output, /^FAIL stopped before everything was checked$/m);
    assertEquals(isAlive(Number(await readPid())), false);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
