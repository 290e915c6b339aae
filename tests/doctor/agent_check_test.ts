import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import type { AgentDeps } from "../../lib/acp/create_agent.ts";
import type { AgentLifecycleEvent } from "../../lib/acp/lifecycle.ts";
import { NO_LOG } from "../../lib/core/log.ts";
import { checkAgent, logInAtTerminal } from "../../lib/doctor/agent_check.ts";
import { linesOf } from "../../lib/doctor/report.ts";
import { agentCommand } from "../support/agents/scripted_agent.ts";
import { createDataDir } from "../support/harness/data_dir_fixture.ts";
import { configOf } from "../support/harness/doctor_fixture.ts";

type Command = Readonly<{ command: string; args: readonly string[] }>;

function shell(script: string): Command {
  return { command: "sh", args: ["-c", script] };
}

const DEPS: AgentDeps = {
  own: Deno.env.toObject(),
  windows: Deno.build.os === "windows",
  broker: { ask: () => Promise.resolve(undefined) },
  version: "0.0.0",
  log: NO_LOG,
};

const FOREVER = new AbortController().signal;

/** Checks the agent that this command starts. @returns The lines of the report. */
async function check(
  { command, args }: Command,
  limits: Parameters<typeof checkAgent>[3] = {},
  signal = FOREVER,
  onLifecycle?: AgentDeps["onLifecycle"],
): Promise<string> {
  const config = { ...configOf().agents[0]!, command, args, workingDir: "/" };
  const findings = await checkAgent(config, { ...DEPS, onLifecycle }, signal, limits);
  return findings.flatMap((finding) => linesOf(finding)).join("\n");
}

Deno.test("checkAgent: describes an agent, also one that prints a greeting first", async () => {
  const { command, args } = agentCommand({ image: true, authMethods: ["key"] });
  const greeting = { command: "sh", args: ["-c", 'echo Welcome; exec "$@"', "sh", command, ...args] };
  for (const start of [{ command, args }, greeting]) {
    const report = await check(start);
    assertMatch(report, /^ok {3}program: \/.*\nok {3}folder: \/\nok {3}started in \d+ ms: .*version 1$/m);
    assertMatch(
      report,
      /^ok {3}opened a session; .*log-in methods: key\nok {3}accepts images: yes, audio: no$/m,
    );
    assertEquals(report.includes("FAIL"), false);
  }
});

Deno.test("checkAgent: does not start an agent whose program is missing", async () => {
  const report = await check({ command: "no-such-agent", args: [] });
  assertMatch(report, /^FAIL program no-such-agent was not found\n {5}Install it/);
  assertEquals(report.includes("started"), false);
});

const READY = `read l; echo '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":1}}'; read l`;
const REFUSES = `${READY}; echo '{"jsonrpc":"2.0","id":1,"error":{"message":"no beans"}}'; read l`;
const FAILURES: [name: string, start: Command, report: RegExp][] = [
  [
    "ends at once",
    shell("echo bye >&2; exit 3"),
    /^FAIL exited with code 3 before it answered initialize\. Last lines on stderr: bye\n {5}Run its command/m,
  ],
  [
    "ends after many lines on stderr",
    shell("seq 4 >&2; printf '%0101d' 0 >&2"),
    /^FAIL .* initialize\. Last lines on stderr: 3 \/ 4 \/ 0{100}$/m,
  ],
  [
    "prints control characters",
    shell("printf '\\n  \\nHello \\033[1mcodex\\nmore\\n'; echo oops >&2"),
    /^FAIL .* not an ACP agent: it printed "Hello \\u001b\[1mcodex"\..* Last lines on stderr: oops$/m,
  ],
  ["ends by a signal", shell("kill -SEGV $$"), /^FAIL was ended by SIGSEGV before/m],
  [
    "prints its usage and ends",
    shell("echo usage: agent acp"),
    /^FAIL The agent's program is not an ACP agent: it printed "usage: agent acp"\..*\n {5}Correct its command and/m,
  ],
  [
    "ends while it opens a session",
    shell(`echo Welcome; ${READY}; echo panic; exit 7`),
    /^FAIL exited with code 7 while it opened a session\n {5}It speaks ACP/m,
  ],
  [
    "refuses a session",
    shell(`echo warning >&2; ${REFUSES}`),
    /^FAIL .*no beans\. Last lines on stderr: warning\n {5}It speaks ACP, so its command is right\. /m,
  ],
  [
    "asks for a log-in",
    agentCommand({ authRequired: true, authMethods: ["chatgpt"], stderr: "starting" }),
    /^FAIL needs a log-in before it opens a session\n {5}.*chatgpt/m,
  ],
  [
    "speaks another version",
    agentCommand({ protocolVersion: 2 }),
    /^FAIL .*version 2.*\n {5}Install a version/m,
  ],
  [
    "cannot be started",
    { command: "sh", args: ["a\0b"] },
    /^FAIL .*could not be started.*\n {5}Correct its/m,
  ],
];

for (const [name, start, report] of FAILURES) {
  Deno.test(`checkAgent: an agent that ${name}`, async () => assertMatch(await check(start), report));
}

Deno.test("checkAgent: an agent that prints only lines that are not ACP is given up early", async () => {
  const report = await check(shell("echo; echo Welcome; echo again; exec sleep 300"), { notAcpMs: 1 });
  assertMatch(report, /^FAIL .* is not an ACP agent: it printed "Welcome"\. It may need an argument/m);
});

Deno.test("checkAgent: an agent that never opens a session is given up", async () => {
  const report = await check(agentCommand({ startDelayMs: 600_000 }), { agentMs: 1 });
  assertMatch(report, /^FAIL The agent opened no session in 0\.001 seconds\.\n {5}Run its command/m);
});

Deno.test("checkAgent: ends the agent and throws if it is asked to end", async () => {
  const stop = new AbortController();
  const onLifecycle = (event: AgentLifecycleEvent) => {
    if (event.type === "stderr") stop.abort(new Error("Enough."));
  };
  const checking = check(shell("echo here >&2; exec sleep 300"), {}, stop.signal, onLifecycle);
  await assertRejects(() => checking, Error, "Enough.");
});

const METHOD = { id: "tty", name: "Log in", type: "terminal", args: ["login"], env: { KIND: "new" } };
Deno.test("checkAgent: tells that it can log in at a terminal, and which method needs one", async () => {
  await using folder = await createDataDir();
  const log = `${folder.path}/agent.jsonl`;
  const command = agentCommand({ log, authRequired: true, authMethods: ["a", METHOD] });
  const found = await checkAgent({ ...configOf().agents[0]!, ...command }, {
    ...DEPS,
    canLogInAtTerminal: true,
  }, FOREVER);
  assertEquals(found.at(-1)?.logIn?.args, ["login"]);
  assertStringIncludes(await Deno.readTextFile(log), '"auth":{"terminal":true}');
});

Deno.test("logInAtTerminal: runs the agent's command with what the method adds, in the agent's environment", async () => {
  const script =
    'test "$*" = "--quiet login" && test "$KIND" = new && test -z "$VTUBER_LOG" && test "$PWD" = /';
  const { command, args } = shell(script);
  const config = {
    ...configOf().agents[0]!,
    command,
    args: [...args, "sh", "--quiet"],
    workingDir: "/",
    env: { KIND: "old" },
  };
  const deps = { ...DEPS, own: { ...DEPS.own, VTUBER_LOG: "debug" } };
  const method = { ...METHOD, vars: [] };
  assertEquals(await logInAtTerminal(config, deps, method, FOREVER), true);
  assertEquals(await logInAtTerminal(config, deps, { ...method, args: [] }, FOREVER), false);
});
