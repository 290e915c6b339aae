import { assertEquals, assertMatch } from "@std/assert";
import { ClosedError } from "../../lib/acp/json_rpc.ts";
import type { DoctorAgent } from "../../lib/doctor/command.ts";
import type { AgentObservations } from "../../lib/doctor/diagnosis.ts";
import { configOf, examine, failing, SILENT_AGENT, TOLD } from "../support/harness/doctor_fixture.ts";

const BY_HAND = /^ {5}Run its command by hand, in its folder: .* such as acp or --acp\.$/;
const ITS_OWN =
  /^ {5}It speaks ACP, and what it says stands above: look at its own configuration and log-in\.$/;
/** What the port throws when the agent is gone. */
const GONE = failing("agent_unavailable", "The agent ended before it was ready.", new ClosedError("gone"));
const unusable = (why: string) => failing("agent_unavailable", `The agent could not be used: ${why}`);

const FAILURES: [
  name: string,
  describe: DoctorAgent["describe"],
  said: Partial<AgentObservations>,
  line: RegExp,
  fix: RegExp,
][] = [
  [
    "speaks to people",
    GONE,
    { stderr: ["oops"], stray: "Welcome to \u001b[1mcodex", lastStray: "Welcome to \u001b[1mcodex" },
    /^FAIL openab: writes what is no ACP: "Welcome to \\u001b\[1mcodex"\. The last that it wrote to stderr: oops$/,
    /^ {5}Does it need an argument, such as acp or --acp\? Its command and args are "codex-acp" and \["--quiet"\]\.$/,
  ],
  [
    "speaks to people, and ends",
    GONE,
    { stray: "usage:", lastStray: "no such option", how: "exited with code 2" },
    /: writes what is no ACP: "usage:", at last "no such option", and exited with code 2$/,
    /Does it need an argument/,
  ],
  [
    "does not start, with a code",
    GONE,
    { how: "exited with code 7" },
    /: ended before it answered initialize: it exited with code 7\.$/,
    BY_HAND,
  ],
  [
    "does not start, and writes to stderr",
    GONE,
    { stderr: ["one", "two"] },
    /: ended before it answered initialize\. The last that it wrote to stderr: one \/ two$/,
    BY_HAND,
  ],
  [
    "answers initialize with an error",
    unusable("Method not found"),
    { stderr: ["one"] },
    /: could not be used: Method not found\. The last that it wrote to stderr: one$/,
    BY_HAND,
  ],
  [
    "does not answer initialize",
    unusable("The agent did not answer initialize within 60 seconds."),
    {},
    /: could not be used: The agent did not answer initialize within 60 seconds\.$/,
    /by hand.*Its first start may download it/,
  ],
  [
    "speaks another version",
    failing(
      "agent_unavailable",
      "The agent speaks version 2 of the Agent Client Protocol, not 1.",
    ),
    {},
    /: could not be used: The agent speaks version 2 of the Agent Client Protocol, not 1\.$/,
    /^ {5}Install a version of it that speaks ACP 1\.$/,
  ],
  [
    "cannot be run",
    failing("agent_unavailable", 'The agent\'s program "codex-acp" could not be started: nul byte found.'),
    {},
    /: could not be used: The agent's program "codex-acp" could not be started: nul byte found\.$/,
    /^ {5}Correct its command and args: "codex-acp" and \["--quiet"\]\.$/,
  ],
  [
    "opens no session, and says why",
    unusable("no model configured"),
    { step: "session" },
    /: opened no session: no model configured$/,
    ITS_OWN,
  ],
  [
    "ends while it opens a session",
    GONE,
    { step: "session", how: "exited with code 7", lastStray: "panic: no beans", stderr: ["bye"] },
    /: ended while it opened a session: it exited with code 7\. It wrote what is no ACP: "panic: no beans"\. The last .*: bye$/,
    ITS_OWN,
  ],
  [
    "does not answer session/new",
    unusable("The agent did not answer session/new within 60 seconds."),
    { step: "session" },
    /: opened no session: The agent did not answer session\/new within 60 seconds\.$/,
    /^ {5}It speaks ACP, so its command is right\. Look at its own configuration, its log-in and its network\.$/,
  ],
  [
    "needs a log-in",
    failing("agent_auth_required", "Log in: chatgpt, api-key."),
    { step: "session", stderr: ["starting"] },
    /: was started, and opens no session before a log-in$/,
    /^ {5}Log in: chatgpt, api-key\.$/,
  ],
  [
    "ends in its log-in",
    failing("agent_auth_required", "Log in: chatgpt, api-key."),
    { step: "login", login: "api-key", how: "exited with code 9", stderr: ["bad key"] },
    /: was started, and opens no session before a log-in; it exited with code 9\. The last .* stderr: bad key$/,
    /^ {5}Log in: chatgpt, api-key\.$/,
  ],
  [
    "ends after its log-in",
    GONE,
    { step: "login", login: "api-key" },
    /: ended in its log-in\.$/,
    ITS_OWN,
  ],
  [
    "has something else wrong",
    () => Promise.reject(new TypeError("oops")),
    {},
    /^FAIL openab: could not be used: oops$/,
    BY_HAND,
  ],
];

const CONFIG = configOf({}, '[agent]\ncommand = "codex-acp"\nargs = ["--quiet"]\n');

for (const [name, describe, said, line, fix] of FAILURES) {
  Deno.test(`failedFinding: an agent that ${name}`, async () => {
    const agent = { describe, said: () => ({ ...SILENT_AGENT, ...said }) };
    const { lines, isWell } = await examine({ config: CONFIG, agent });
    assertEquals(isWell, false);
    assertMatch(lines.at(-3)!, line);
    assertMatch(lines.at(-3)!, /^FAIL openab: /);
    assertMatch(lines.at(-2)!, fix);
  });
}

Deno.test("failedFinding: an agent with MCP servers may wait for them", async () => {
  const toml = '[agent]\ncommand = "codex-acp"\n[agent.mcp_servers.fs]\ncommand = "fs"\n';
  const said = () => ({ ...SILENT_AGENT, step: "session" as const });
  for (const why of ["not answered within 60 seconds", "no such server"]) {
    const { lines } = await examine({
      config: configOf({}, toml),
      agent: { describe: unusable(why), said },
    });
    assertMatch(lines.at(-2)!, /, and at its MCP servers\.$/);
  }
});

const STEPS: [step: AgentObservations["step"], asked: string][] = [
  ["start", "initialize"],
  ["session", "session/new"],
  ["login", "authenticate, or session/new"],
];

for (const [step, asked] of STEPS) {
  Deno.test(`runDoctor: an agent that is given up at the step ${step}`, async () => {
    const { lines } = await examine({
      agentMs: 1,
      agent: {
        describe: (signal) =>
          new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
        said: () => ({ ...SILENT_AGENT, step }),
      },
    });
    assertEquals(lines.at(-3)!.endsWith(`: In 0.001 seconds it came no further than ${asked}.`), true);
  });
}

Deno.test("runDoctor: an agent that logged in with what it was given", async () => {
  const { lines } = await examine({
    agent: {
      describe: () => Promise.resolve({ ...TOLD, authMethods: ["chatgpt", "api-key"] }),
      said: () => ({ ...SILENT_AGENT, step: "login", login: "api-key" }),
    },
  });
  assertEquals(
    lines.find((line) => line.includes("opened a session")),
    "ok   openab: opened a session after a log-in with what it was given: api-key",
  );
});
