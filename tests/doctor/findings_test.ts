import { assertEquals, assertMatch } from "@std/assert";
import type { AgentDescription } from "../../lib/acp/describe.ts";
import type { DoctorAgent, DoctorDeps } from "../../lib/doctor/doctor.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { configOf, examine, failing, PROGRAM, TOLD } from "./patient.ts";

const FINDINGS: [
  name: string,
  parts: Partial<DoctorDeps> & { agent?: Partial<DoctorAgent> },
  line: RegExp,
  fix: RegExp | undefined,
][] = [
  [
    "a warning of the configuration",
    { warnings: ["VTUBER_X is not a setting."] },
    /^warn VTUBER_X is not/,
    /--help/,
  ],
  [
    "not enabled",
    { config: configOf({ VTUBER_ENABLED: "" }) },
    /^warn VTUBER_ENABLED/,
    /VTUBER_ENABLED=true/,
  ],
  [
    "no key, on this machine",
    { config: configOf({ VTUBER_AUTH_KEY: "" }) },
    /^warn no key: every program/,
    /is fine/,
  ],
  [
    "no key, open to others",
    { config: configOf({ VTUBER_AUTH_KEY: "", VTUBER_INSECURE: "true", GATEWAY_LISTEN: "0.0.0.0:80" }) },
    /^warn no key: everyone who reaches this machine/,
    /^ {5}Set VTUBER_AUTH_KEY/,
  ],
  [
    "a short key",
    { config: configOf({ VTUBER_AUTH_KEY: "fifteen-chars-k" }) },
    /^warn .*less than 16/,
    /openssl/,
  ],
  [
    "an address in use",
    { listenFault: () => Promise.resolve("another program listens there") },
    /^FAIL 127\.0\.0\.1:8080 cannot be listened on: another program listens there$/,
    /GATEWAY_LISTEN/,
  ],
  [
    "an address of IPv6",
    { config: configOf({ GATEWAY_LISTEN: "[::1]:9" }) },
    /^ok {3}\[::1\]:9 is free to listen on$/,
    undefined,
  ],
  [
    "nothing kept",
    { config: configOf({ VTUBER_DATA_DIR: "none" }) },
    /^ok {3}conversations are not kept/,
    undefined,
  ],
  [
    "a file that is damaged",
    {
      checkDataDir: () => Promise.resolve({ level: "warn", text: "it was set aside", fix: "Nothing to do." }),
    },
    /^warn it was set aside$/,
    /^ {5}Nothing to do\.$/,
  ],
  [
    "a folder that cannot be looked at",
    { checkDataDir: () => Promise.reject(new Error("no such place")) },
    /^warn conversations are remembered only until the program ends: no such place$/,
    /VTUBER_DATA_DIR/,
  ],
  [
    "an address that the machine does not have",
    { listenFault: () => Promise.resolve("this machine has no such address") },
    /^FAIL 127\.0\.0\.1:8080 cannot be listened on: this machine has no such address$/,
    /^ {5}Give one that it has: /,
  ],
  [
    "a port that only administrators may use",
    { listenFault: () => Promise.resolve("only an administrator may use ports below 1024") },
    /^FAIL .*below 1024$/,
    /^ {5}Give a port from 1024 on/,
  ],
  [
    "no home folder",
    { warnings: loadConfig({ env: {} }).warnings },
    /^warn Conversations are not kept on disk/,
    /^ {5}VTUBER_DATA_DIR=none says/,
  ],
  [
    "the demo agent",
    { config: configOf({}, ""), agent: { findProgram: () => Promise.resolve(undefined) } },
    /^ok {3}openab: is the built-in demo agent/,
    undefined,
  ],
  [
    "a program that is not there",
    { agent: { findProgram: () => Promise.resolve(undefined) } },
    /^FAIL openab: its program codex-acp was not found$/,
    /Install it/,
  ],
  [
    "a program with its arguments in it",
    {
      config: configOf({}, '[agent]\ncommand = "npx -y foo acp"\n'),
      agent: { findProgram: () => Promise.resolve(undefined) },
    },
    /^FAIL openab: its program npx -y foo acp was not found$/,
    /^ {5}Arguments go into args: command = "npx", args = \["-y", "foo", "acp"\]\. If/,
  ],
  [
    "a script that nothing can run",
    { agent: { findProgram: () => Promise.resolve({ ...PROGRAM, missingInterpreter: "/bin/nosh" }) } },
    /^FAIL openab: its program \/usr\/bin\/codex-acp is run by \/bin\/nosh, as its first line says, which was not found$/,
    /^ {5}Install \/bin\/nosh, or correct the first line/,
  ],
  [
    "a program that cannot be executed",
    { agent: { findProgram: () => Promise.resolve({ ...PROGRAM, isExecutable: false }) } },
    /^FAIL openab: its program \/usr\/bin\/codex-acp is not executable$/,
    /chmod \+x "\/usr\/bin\/codex-acp"/,
  ],
  [
    "a folder that is not there",
    {
      config: configOf({ VTUBER_WORKING_DIR: "nowhere" }),
      agent: { findFolder: () => Promise.resolve(undefined) },
    },
    /^FAIL openab: its folder nowhere does not exist$/,
    /VTUBER_WORKING_DIR/,
  ],
  [
    "a folder that is a file",
    { agent: { findFolder: () => Promise.resolve({ path: "/project/file", isFolder: false }) } },
    /^FAIL openab: its folder \/project\/file is not a folder$/,
    /^ {5}Instead, give one that exists: VTUBER_WORKING_DIR/,
  ],
  [
    "an agent that speaks to people",
    {
      config: configOf({}, '[agent]\ncommand = "opencode"\nargs = ["--quiet"]\n'),
      agent: {
        describe: failing("agent_unavailable", "It ended."),
        said: () => ({ stderr: ["oops"], stray: "Welcome to \u001b[1mopencode" }),
      },
    },
    /^FAIL openab: writes what is no ACP: "Welcome to \\u001b\[1mopencode" The last that it wrote to stderr: oops$/,
    /^ {5}Does it need an argument, such as acp or --acp\? Its command and args are "opencode" and \["--quiet"\]\.$/,
  ],
  [
    "an agent that fails, and what it wrote to stderr",
    {
      agent: {
        describe: failing("agent_unavailable", "It ended."),
        said: () => ({ stderr: ["one", "two"], stray: undefined }),
      },
    },
    /^FAIL openab: could not be used: It ended\. The last that it wrote to stderr: one \/ two$/,
    /by hand/,
  ],
  [
    "a log-in",
    { agent: { describe: failing("agent_auth_required", "Log in: chatgpt, api-key.") } },
    /^FAIL openab: was started, and opens no session before a log-in$/,
    /^ {5}Log in: chatgpt, api-key\.$/,
  ],
  [
    "an agent that does not start",
    { agent: { describe: failing("agent_unavailable", "It exited with code 3.") } },
    /^FAIL openab: could not be used: It exited with code 3\.$/,
    /by hand/,
  ],
  [
    "an agent of which something else is wrong",
    { agent: { describe: () => Promise.reject(new TypeError("oops")) } },
    /^FAIL openab: could not be used: oops$/,
    /by hand/,
  ],
];
const TELLS: [name: string, told: Partial<AgentDescription>, line: RegExp, fix: RegExp | undefined][] = [
  ["no name", { agent: undefined }, /125 ms: it does not tell its name, protocol version 1$/, undefined],
  [
    "ways to log in",
    { authMethods: ["chatgpt", "key"] },
    /has one; its ways to log in: chatgpt, key$/,
    undefined,
  ],
  ["resuming", { canResume: "resume" }, /sessions come back \(session\/resume\)/, undefined],
  ["no resuming", { canResume: undefined }, /sessions do not come back: it is told again/, undefined],
  ["sounds", { accepts: { image: false, audio: true } }, /takes pictures: no, sounds: yes/, undefined],
  ["no models", { model: undefined, models: [] }, /it tells of no models$/, undefined],
  ["a model without a choice", { models: [] }, /model now: gpt-5; it offers no choice$/, undefined],
  [
    "many models",
    { model: undefined, models: Array.from({ length: 300 }, (_, n) => ({ id: `m${n}`, name: "" })) },
    /model now: not told; 300 offered: m0, m1, m2, m3, m4, \.\.\.$/,
    undefined,
  ],
  ["no modes", { mode: undefined, modes: [] }, /it tells of no modes$/, undefined],
  [
    "a warning",
    { warnings: ["the model x is unknown"] },
    /^warn openab: the model x is unknown$/,
    /config\.toml/,
  ],
  [
    "text that moves the cursor",
    { agent: { name: "a\u001b[2J\nb", version: "" } },
    /: a \[2J b, protocol/,
    undefined,
  ],
];

for (
  const [name, parts, line, fix] of [
    ...FINDINGS,
    ...TELLS.map(([name, told, ...says]): (typeof FINDINGS)[number] => [
      `an agent that tells of ${name}`,
      { agent: { describe: () => Promise.resolve({ ...TOLD, ...told }) } },
      ...says,
    ]),
  ]
) {
  Deno.test(`runDoctor: ${name}`, async () => {
    const { lines, isWell } = await examine(parts);
    const at = lines.findIndex((one) => line.test(one));
    assertEquals(at >= 0, true, lines.join("\n"));
    const isFail = lines[at]!.startsWith("FAIL");
    assertEquals(isWell, !isFail, lines.join("\n"));
    if (fix) {
      assertMatch(lines[at + 1]!, /^ {5}\S/);
      assertMatch(lines[at + 1]!, fix);
    } else {
      assertEquals(lines[at + 1]!.startsWith("  "), false);
    }
    assertMatch(lines.at(-1)!, isFail ? /1 failed\. It would not work/ : /0 failed\. (All is well|It works)/);
  });
}
