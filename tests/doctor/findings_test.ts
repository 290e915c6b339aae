import { assertEquals, assertMatch } from "@std/assert";
import type { AgentDescription } from "../../lib/acp/agent.ts";
import type { DoctorAgent, DoctorDeps } from "../../lib/doctor/command.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { configOf, examine, PROGRAM, TOLD } from "../support/harness/doctor_fixture.ts";

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
    "an address that a server of this program has",
    { listenFault: () => Promise.resolve("an oab-vtuber runs there already") },
    /^warn 127\.0\.0\.1:8080 cannot be listened on: an oab-vtuber runs there already$/,
    /^ {5}That is fine if it is the one that you ask about\. If not, end it, or give another address/,
  ],
  [
    "an address of which something else is wrong",
    { listenFault: () => Promise.resolve("no such host") },
    /^FAIL 127\.0\.0\.1:8080 cannot be listened on: no such host$/,
    /^ {5}Give another address: GATEWAY_LISTEN or --listen\.$/,
  ],
  [
    "a character",
    { config: configOf({ VTUBER_CHARACTER: "/mao" }) },
    /^ok {3}VTUBER_CHARACTER can be shown$/,
    undefined,
  ],
  [
    "a character that cannot be shown",
    {
      config: configOf({ VTUBER_CHARACTER: "/mao" }),
      checkCharacter: (where) =>
        Promise.reject(new Error(`VTUBER_CHARACTER: ${where}: there is no such folder.`)),
    },
    /^FAIL VTUBER_CHARACTER: \/mao: there is no such folder\.$/,
    /^ {5}Correct it, or take it out/,
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
    "a variable that is not set",
    { agent: { unset: ["ANTHROPIC_API_KEY"] } },
    /^warn openab: inherit_env names ANTHROPIC_API_KEY, which is not set here$/,
    /^ {5}Set it before you start the program\.$/,
  ],
  [
    "an MCP server whose program is not there",
    {
      agent: {
        findServers: () => Promise.resolve([{ name: "files", command: "fs-mcp", program: undefined }]),
      },
    },
    /^warn openab: its MCP server files: the program fs-mcp was not found$/,
    /^ {5}Install it, or give its whole path: mcp_servers\.files\.command in config\.toml\.$/,
  ],
  [
    "an MCP server whose program cannot be executed",
    {
      agent: {
        findServers: () =>
          Promise.resolve([{ name: "fs", command: "fs", program: { path: "/bin/fs", isExecutable: false } }]),
      },
    },
    /^warn openab: its MCP server fs: the program \/bin\/fs is not executable$/,
    /chmod \+x "\/bin\/fs"/,
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
];
const TELLS: [name: string, told: Partial<AgentDescription>, line: RegExp, fix: RegExp | undefined][] = [
  ["no name", { agent: undefined }, /125 ms: it does not tell its name, protocol version 1$/, undefined],
  [
    "ways to log in",
    { authMethods: ["chatgpt", "key"] },
    /opened a session without asking for a log-in \(some .* first message\); its ways to log in: chatgpt, key$/,
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
    "a model that it does not have",
    { warnings: ['The agent has no model "x"; it names none.'] },
    /^warn openab: The agent has no model "x"; it names none\.$/,
    /^ {5}Correct model in its table of config\.toml; what it offers stands above\.$/,
  ],
  [
    "a mode that it does not take",
    { warnings: ['The agent did not take the mode "model": no.'] },
    /^warn openab: The agent did not take the mode/,
    /^ {5}Correct mode in its table/,
  ],
  [
    "an MCP server that it does not connect to",
    { warnings: ['The MCP server "web" is left out: the agent does not connect to servers by sse.'] },
    /^warn openab: The MCP server "web" is left out/,
    /^ {5}Correct mcp_servers\.web in its table/,
  ],
  ["something else", { warnings: ["odd"] }, /^warn openab: odd$/, /Correct model, mode or mcp_servers in/],
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
