import { assertEquals, assertMatch } from "@std/assert";
import type { AgentLifecycleEvent } from "../../lib/acp/lifecycle.ts";
import { AppError, type ErrorReason } from "../../lib/core/errors.ts";
import {
  type AgentObservations,
  diagnose,
  NOTHING_OBSERVED,
  observe,
  tooSlow,
} from "../../lib/doctor/diagnosis.ts";
import { configOf } from "../support/harness/doctor_fixture.ts";

const BY_HAND = /^Run its command in a terminal, in its folder: .* such as acp or --acp\.$/;
const ITS_OWN = /^It speaks ACP, so its command is right\. Check its own configuration and its log-in\.$/;
const NO_ACP =
  /^Does it need an argument, such as acp or --acp\? Its start command is codex-acp with 1 argument\.$/;
const LOGIN = "Log in: chatgpt, api-key.";

function unavailable(message: string, reason?: ErrorReason): AppError {
  return new AppError("agent_unavailable", message, { reason });
}

const GONE = unavailable("The agent ended before it was ready.", "exited");
const NEEDS_LOGIN = new AppError("agent_auth_required", LOGIN);
const FAILURES: [
  error: AppError,
  observed: Partial<AgentObservations>,
  text: RegExp,
  fix: RegExp,
][] = [
  [
    GONE,
    { stderr: ["oops"], invalidLine: "Hello \u001b[1mcodex", lastInvalidLine: "Hello \u001b[1mcodex" },
    /^is not an ACP agent: it printed "Hello \\u001b\[1mcodex"\. Last lines on stderr: oops$/,
    NO_ACP,
  ],
  [
    GONE,
    { invalidLine: "usage:", lastInvalidLine: "no such option", exit: "exited with code 2" },
    /^is not an ACP agent: it printed "usage:", and last "no such option", and exited with code 2$/,
    NO_ACP,
  ],
  [GONE, { exit: "exited with code 7" }, /^exited with code 7 before it answered initialize$/, BY_HAND],
  [
    GONE,
    { stderr: ["one", "two"] },
    /^closed its output before it answered initialize\. Last lines on stderr: one \/ two$/,
    BY_HAND,
  ],
  [
    unavailable("Method not found."),
    { stderr: ["one"] },
    /^Method not found\. Last lines on stderr: one$/,
    BY_HAND,
  ],
  [
    unavailable("The agent did not answer initialize within 60 seconds.", "timeout"),
    {},
    /^The agent did not answer initialize within 60 seconds\.$/,
    /in a terminal.*The first start may download the agent/,
  ],
  [
    unavailable("The agent speaks version 2.", "protocol_version"),
    {},
    /^The agent speaks version 2\.$/,
    /^Install a version that speaks ACP 1\.$/,
  ],
  [
    unavailable("The program could not be started: nul byte found.", "program_not_started"),
    {},
    /^The program could not be started: nul byte found\.$/,
    /^Correct its command and args \(now codex-acp with 1 argument\)\.$/,
  ],
  [
    unavailable("No model is configured."),
    { step: "session" },
    /^opened no session: No model is configured\.$/,
    ITS_OWN,
  ],
  [
    GONE,
    { step: "session", exit: "exited with code 7", lastInvalidLine: "panic: no beans", stderr: ["bye"] },
    /^exited with code 7 while it opened a session\. Last line on stdout: "panic: no beans"\. Last .*: bye$/,
    ITS_OWN,
  ],
  [
    unavailable("The agent did not answer session/new.", "timeout"),
    { step: "session" },
    /^opened no session: The agent did not answer session\/new\.$/,
    /^It speaks ACP, so its command is right\. Check its own configuration, its network and its log-in\.$/,
  ],
  [
    NEEDS_LOGIN,
    { step: "session", stderr: ["starting"] },
    /^needs a log-in before it opens a session$/,
    /^Log in: chatgpt, api-key\.$/,
  ],
  [
    NEEDS_LOGIN,
    { step: "login", login: "api-key", exit: "exited with code 9", stderr: ["bad key"] },
    /^needs a log-in before it opens a session; it exited with code 9\. Last lines on stderr: bad key$/,
    /^Log in: chatgpt, api-key\.$/,
  ],
  [GONE, { step: "login", login: "api-key" }, /^closed its output during the log-in$/, ITS_OWN],
];

for (const [error, observed, text, fix] of FAILURES) {
  Deno.test(`diagnose: ${text.source}`, () => {
    const finding = diagnose(configOf().agents[0]!, error, { ...NOTHING_OBSERVED, ...observed });
    assertEquals(finding.level, "fail");
    assertMatch(finding.text, text);
    assertMatch(finding.fix!, fix);
  });
}

Deno.test("diagnose: an agent with MCP servers may wait for them", () => {
  const [agent] = configOf({}, '[agent]\ncommand = "a"\n[agent.mcp_servers.fs]\ncommand = "fs"\n').agents;
  for (const error of [unavailable("Too late.", "timeout"), unavailable("No such server.")]) {
    assertMatch(
      diagnose(agent!, error, { ...NOTHING_OBSERVED, step: "session" }).fix!,
      /, its MCP servers and/,
    );
  }
});

Deno.test("tooSlow: names the request that an agent did not get past", () => {
  assertEquals(tooSlow(1_500, "start"), "The agent did not get past initialize in 1.5 seconds.");
  assertMatch(tooSlow(1, "session"), /past session\/new in/);
  assertMatch(tooSlow(1, "login"), /past authenticate or session\/new in/);
});

const invalid = (line: string): AgentLifecycleEvent => ({ type: "invalid_line", line });
const stderr = (line: string): AgentLifecycleEvent => ({ type: "stderr", line });
const READY: AgentLifecycleEvent = { type: "ready", name: "codex", version: "1" };
const OBSERVED: [name: string, events: AgentLifecycleEvent[], observed: Partial<AgentObservations>][] = [
  ["the steps", [READY, { type: "authenticating", methodId: "key" }], { step: "login", login: "key" }],
  ["the last three lines of stderr", "1 2 3 4".split(" ").map(stderr), { stderr: ["2", "3", "4"] }],
  ["the first and the last invalid line", ["  ", "1", "2", "3"].map(invalid), {
    invalidLine: "1",
    lastInvalidLine: "3",
  }],
  ["a greeting before the first answer is harmless", [invalid("Hello"), READY], { step: "session" }],
  ["an invalid line after it is only the last", [READY, invalid("x")], {
    step: "session",
    lastInvalidLine: "x",
  }],
  ["the end of the process", [{ type: "exited", status: "exited with code 1" }], {
    exit: "exited with code 1",
  }],
  ["a long line is cut", [stderr("x".repeat(101))], { stderr: ["x".repeat(100)] }],
];

for (const [name, events, observed] of OBSERVED) {
  Deno.test(`observe: ${name}`, () => {
    assertEquals(events.reduce(observe, NOTHING_OBSERVED), { ...NOTHING_OBSERVED, ...observed });
  });
}
