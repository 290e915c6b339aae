import { assertEquals, assertMatch } from "@std/assert";
import type { AgentDescription } from "../../lib/acp/agent.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { agentFindings, configFindings, type Finding, linesOf, verdictOf } from "../../lib/doctor/report.ts";
import { configOf, DESCRIPTION, KEY } from "../support/harness/doctor_fixture.ts";

function config(env: Record<string, string> = {}): Finding[] {
  return configFindings(configOf(env), [], []);
}

function description(parts: Partial<AgentDescription>): Finding[] {
  return agentFindings({ ...DESCRIPTION, ...parts });
}

/** The findings on these keys, beside the one of the owner. */
function keys(text: string, authKey = KEY): Finding[] {
  return configFindings(configOf({ VTUBER_AUTH_KEY: authKey, B_KEY: "b".repeat(20), B: "b" }, text), [], []);
}
const key = (name: string, line: string, scopes = '"chat"') =>
  `[keys.${name}]\nscopes = [${scopes}]\n${line}\n`;
const hash = (digit: string) => `key_sha256 = "${digit.padStart(64, "0")}"`;
const SHORT = key("a", 'key = "a"') + key("b", 'key = "${B}"');
const LONG = key("a", `key = "${"a".repeat(20)}"`) + key("b", 'key = "${B_KEY}"');
const HASHED = key("c", hash("1"));
const MANY = Array.from({ length: 1_000 }, (_, n) => key(`k${n}`, hash(`${n}`))).join("");
const BROAD = key("broad", hash("1"), '"chat", "events", "commands", "admin"') +
  key("narrow", hash("2"), '"chat", "events", "commands"') +
  key("wide", hash("3"), '"chat", "events", "live", "audio"');

const MODELS = Array.from({ length: 300 }, (_, n) => ({ id: `m${n}`, name: "" }));
const FINDINGS: [findings: Finding[], line: RegExp, fix?: RegExp][] = [
  [
    configFindings(undefined, ["VTUBER_LOG: must be x."], []),
    /^FAIL VTUBER_LOG: must be x\.$/,
    /^Correct it/,
  ],
  [configFindings(configOf(), [], ["VTUBER_X is not a setting."]), /^warn VTUBER_X is not/, /--help/],
  [
    configFindings(configOf(), [], loadConfig({ env: {} }).warnings),
    /^warn Conversations are not.*none/,
    /out/,
  ],
  [config({ VTUBER_ENABLED: "" }), /^warn VTUBER_ENABLED/, /VTUBER_ENABLED=true/],
  [config(), /^ok {3}VTUBER_AUTH_KEY is set and long enough$/],
  [config({ VTUBER_AUTH_KEY: "" }), /^warn there is no key: every program/, /is fine/],
  [
    config({ VTUBER_AUTH_KEY: "fifteen-chars-k" }),
    /^warn fewer than 16 characters, .*: VTUBER_AUTH_KEY$/,
    /key new/,
  ],
  [keys(SHORT, ""), /^warn fewer than 16 characters, .*: keys\.a, keys\.b$/, /key new/],
  [keys(HASHED, ""), /^ok {3}keys\.c is set and long enough$/],
  [keys(LONG + HASHED), /^ok {3}4 keys are set and long enough: VTUBER_AUTH_KEY, keys\.a, keys\.b, keys\.c$/],
  [
    keys(MANY, ""),
    /^ok {3}1000 keys are .*: keys\.k0, keys\.k1, keys\.k2, keys\.k3, keys\.k4 and 995 more$/,
  ],
  [keys(LONG + HASHED), /^warn plain keys in the file, .*: keys\.a$/, /^Put key_sha256 in their place: `oab/],
  [keys(BROAD), /^warn keys\.broad has commands and admin among its 4 scopes$/, /^Make a key of its own/],
  [description({}), /^ok {3}started in 125 ms: codex 1\.2\.3, protocol version 1$/],
  [description({ agent: undefined }), /125 ms: does not tell its name, protocol version 1$/],
  [
    description({ authMethods: ["chatgpt", "key"] }),
    /opened a session; some .*its log-in methods: chatgpt, key$/,
  ],
  [description({ resumeMethod: "resume" }), /sessions can be resumed \(session\/resume\)$/],
  [description({ resumeMethod: undefined }), /sessions cannot be resumed: a new session gets the history/],
  [description({ promptCapabilities: { image: false, audio: true } }), /accepts images: no, audio: yes/],
  [description({ models: [] }), /^ok {3}offers no model choice$/],
  [
    description({ model: undefined, models: MODELS }),
    /model: unknown; 300 offered: m0, m1, m2, m3, m4, \.\.\.$/,
  ],
  [description({}), /^ok {3}mode: ask; 2 offered: ask, code$/],
  [
    description({ warnings: [{ setting: "model", name: "x", text: "The agent has no x." }] }),
    /^warn The agent has no x\.$/,
    /^Correct model in the agent's table of config\.toml\.$/,
  ],
  [
    description({ warnings: [{ setting: "mcp_servers", name: "web", text: "The server web is left out." }] }),
    /^warn The server web is left out\.$/,
    /^Correct mcp_servers\.web in the agent's table/,
  ],
  [description({ agent: { name: "a\u001b[2J\nb\u009b\u202ec", version: "" } }), /: a \[2J b c, protocol/],
];

for (const [findings, line, fix] of FINDINGS) {
  Deno.test(`report: ${line.source}`, () => {
    const found = findings.find((finding) => line.test(linesOf(finding)[0]!));
    assertEquals(found !== undefined, true, findings.flatMap((finding) => linesOf(finding)).join("\n"));
    assertEquals(linesOf(found!).length, fix ? 2 : 1);
    if (fix) assertMatch(linesOf(found!)[1]!.replace(/^ {5}/, ""), fix);
  });
}

Deno.test("report: keys by hash, or from variables, with few scopes, are no warnings", () => {
  const fine = key("b", 'key = "${B_KEY}"') + HASHED + key("prometheus", hash("2"), '"admin"');
  assertEquals(keys(fine, "").filter(({ level }) => level !== "ok"), []);
  const levels = keys(BROAD).map(({ level }) => level);
  assertEquals(levels.filter((level) => level === "warn").length, 1);
});

Deno.test("linesOf: a finding about an agent names it, and a long line is cut", () => {
  assertEquals(linesOf({ level: "warn", text: "odd", fix: "Mend it." }, "codex"), [
    "warn codex: odd",
    "     Mend it.",
  ]);
  assertEquals(linesOf({ level: "ok", text: "x".repeat(700) }), [`ok   ${"x".repeat(600)}...`]);
});

const VERDICTS: [levels: Finding["level"][], line: string][] = [
  [["ok", "ok"], "2 ok, 0 warnings, 0 failed. All is well."],
  [["ok", "warn"], "1 ok, 1 warning, 0 failed. The program works. Read the warnings."],
  [
    ["warn", "warn", "fail"],
    "0 ok, 2 warnings, 1 failed. Correct what failed: the program does not work like this.",
  ],
];

for (const [levels, line] of VERDICTS) {
  Deno.test(`verdictOf: ${levels.join(", ")}`, () => {
    assertEquals(verdictOf(levels.map((level) => ({ level, text: "" }))), line);
  });
}
