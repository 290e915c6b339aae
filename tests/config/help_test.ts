import { assertEquals, assertMatch } from "@std/assert";
import { banner, helpText, versionText } from "../../lib/config/help.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { isKnown, SETTING_HELP } from "../../lib/config/settings.ts";

/** What OpenAB and the plan promise under these names. */
const PROMISED = [
  "VTUBER_ENABLED",
  "GATEWAY_LISTEN",
  "VTUBER_AUTH_KEY",
  "VTUBER_DEFAULT_MODEL",
  "VTUBER_PATH",
  "OPENAB_AGENT_COMMAND",
  "VTUBER_WORKING_DIR",
  "VTUBER_MAX_IN_FLIGHT",
  "VTUBER_REPLY_TIMEOUT_SECS",
  "VTUBER_TURN_TIMEOUT_SECS",
  "VTUBER_HEARTBEAT",
  "VTUBER_HEARTBEAT_SECS",
  "VTUBER_ERRORS",
  "VTUBER_ALLOWED_ORIGINS",
  "VTUBER_INSECURE",
  "VTUBER_PERMISSIONS",
  "VTUBER_LOG",
  "VTUBER_SESSIONS",
  "VTUBER_ON_BUSY",
  "VTUBER_DATA_DIR",
  "VTUBER_SESSION_TTL_HOURS",
  "VTUBER_MAX_SESSIONS",
  "VTUBER_STRICT_MODELS",
];

Deno.test("SETTING_HELP: what was promised is there", () => {
  const names = SETTING_HELP.map(({ env }) => env);
  assertEquals(PROMISED.filter((name) => !names.includes(name)), []);
  assertEquals(PROMISED.filter((name) => !isKnown(name)), []);
  assertEquals(isKnown("OPENAB_CONFIG"), true);
  assertEquals(isKnown("VTUBER_NOPE"), false);
});

Deno.test("SETTING_HELP: names and flags are unique, and every setting says what it is for", () => {
  const names = SETTING_HELP.map(({ env }) => env);
  const flags = SETTING_HELP.flatMap(({ flag }) => flag ?? []);
  assertEquals(new Set(names).size, names.length);
  assertEquals(new Set(flags).size, flags.length);
  for (const { help } of SETTING_HELP) assertEquals(help.length > 10, true);
  for (const flag of flags) assertMatch(flag, /^[a-z]+(-[a-z]+)*$/);
});

Deno.test("SETTING_HELP: the key has no flag, since every user of a machine sees those", () => {
  assertEquals(SETTING_HELP.find(({ env }) => env === "VTUBER_AUTH_KEY")?.flag, undefined);
});

Deno.test("SETTING_HELP: switches are those that are true or false", () => {
  assertEquals(SETTING_HELP.filter(({ isSwitch }) => isSwitch).map(({ env }) => env).sort(), [
    "VTUBER_AMBIENT_ENABLED",
    "VTUBER_CLAWD",
    "VTUBER_ENABLED",
    "VTUBER_INSECURE",
    "VTUBER_STRICT_MODELS",
  ]);
});

Deno.test("helpText: lists every setting with its flag, default and meaning", () => {
  const text = helpText("1.2.3");
  assertMatch(text, /^oab-vtuber 1\.2\.3: /);
  const lines = text.split("\n");
  for (const { env, flag, isSwitch, default: fallback, help } of SETTING_HELP) {
    const at = lines.findIndex((line) => line.trim().split(/\s/)[0] === env);
    assertEquals(at >= 0, true, env);
    if (flag) assertEquals(lines[at]!.includes(`(--${flag}${isSwitch ? "" : " VALUE"})`), true, env);
    if (fallback) assertEquals(lines[at]!.endsWith(`[${fallback}]`), true, env);
    assertEquals(lines[at + 1]!.trim(), help);
  }
  for (const flag of ["--config FILE", "--version", "--help", "OPENAB_CONFIG", "demo-agent", "doctor"]) {
    assertEquals(text.includes(flag), true, flag);
  }
});

Deno.test("versionText: says how it was made", () => {
  const target = "x86_64-unknown-linux-gnu";
  assertEquals(
    versionText("1.2.3", "2.9.6", { standalone: true, target }),
    `oab-vtuber 1.2.3 (executable on Deno 2.9.6, ${target})`,
  );
  assertMatch(versionText("1.2.3", "2.9.6", { standalone: false, target }), /source, run by Deno 2\.9\.6/);
});

const KEY = "s3cret-key-of-twenty";
const [AGENT] = loadConfig({ env: {} }).config.agents;
const PLAIN = { authKey: undefined, model: "openab", agents: [AGENT!] };

Deno.test("banner: says where to point a skin, and how to try it", () => {
  const text = banner({ hostname: "127.0.0.1", port: 8123 }, PLAIN);
  assertMatch(text, /serves at http:\/\/127\.0\.0\.1:8123 with the built-in demo agent/);
  assertMatch(text, /base address http:\/\/127\.0\.0\.1:8123\/v1 /);
  assertMatch(text, /API key: anything/);
  assertEquals(text.includes("Authorization"), false);
  assertEquals(text.includes("other machines"), false);
  const body = JSON.parse(/-d '(.*)'/.exec(text)![1]!);
  assertEquals(body, { model: "openab", stream: true, messages: [{ role: "user", content: "Hello!" }] });
});

Deno.test("banner: the key is in the link to the page and nowhere else, the agent's secrets nowhere", () => {
  const agent = { ...AGENT!, command: "codex-acp", args: ["--token", "hidden"], env: { TOKEN: "hidden" } };
  const text = banner({ hostname: "0.0.0.0", port: 8080 }, { ...PLAIN, authKey: KEY, agents: [agent] });
  assertEquals(text.split(KEY).length, 2);
  assertMatch(text, new RegExp(`http://127\\.0\\.0\\.1:8080/#key=${KEY}\n`));
  assertEquals(text.includes("hidden"), false);
  assertMatch(text, /-H "Authorization: Bearer \$VTUBER_AUTH_KEY"/);
  assertMatch(text, /with codex-acp/);
  assertMatch(text, /API key: your VTUBER_AUTH_KEY/);
});

Deno.test("banner: names every agent where there are several, the default one first", () => {
  const agents = ["codex", "claude", "goose"].map((name) => ({ ...AGENT!, name, command: `${name}-acp` }));
  const text = banner({ hostname: "127.0.0.1", port: 80 }, { ...PLAIN, model: "codex", agents });
  assertMatch(text, /serves at \S+ with codex-acp\n/);
  assertMatch(text, /\n {2}Agents: +codex \(the default\), claude, goose\n/);
  assertEquals(banner({ hostname: "127.0.0.1", port: 80 }, PLAIN).includes("Agents:"), false);
});

Deno.test("banner: the key in the link is encoded as an address needs it", () => {
  const text = banner({ hostname: "127.0.0.1", port: 80 }, { ...PLAIN, authKey: "a b#c/\u00e9%" });
  const link = new URL(/http:\S+#key=\S+/.exec(text)![0]);
  assertEquals([link.pathname, decodeURIComponent(link.hash)], ["/", "#key=a b#c/\u00e9%"]);
});

const PLACES: [hostname: string, url: string, open: boolean][] = [
  ["127.0.0.1", "http://127.0.0.1:80", false],
  ["localhost", "http://localhost:80", false],
  ["::1", "http://[::1]:80", false],
  ["0.0.0.0", "http://127.0.0.1:80", true],
  ["::", "http://127.0.0.1:80", true],
  ["192.168.1.2", "http://192.168.1.2:80", true],
  ["2001:db8::1", "http://[2001:db8::1]:80", true],
];

for (const [hostname, url, open] of PLACES) {
  Deno.test(`banner: on ${hostname}`, () => {
    const text = banner({ hostname, port: 80 }, PLAIN);
    assertEquals(text.includes(`serves at ${url} `), true, text);
    assertEquals(text.includes("other machines reach it too"), open);
  });
}
