import { assertEquals, assertMatch } from "@std/assert";
import { banner, helpText, versionText } from "../../lib/config/help.ts";
import { loadConfig, readFlags } from "../../lib/config/load.ts";
import { newKey } from "../../lib/config/new_key.ts";
import { SETTING_HELP } from "../../lib/config/settings.ts";
import { SCOPES } from "../../lib/turn/caller.ts";

Deno.test("helpText: lists every setting below its group, with its flag, default and meaning", () => {
  const text = helpText("1.2.3");
  assertMatch(text, /^oab-vtuber 1\.2\.3 /);
  const lines = text.split("\n");
  let last = 0;
  for (const { group, env, flag, isSwitch, default: fallback, help } of SETTING_HELP) {
    const at = lines.findIndex((line) => line.trim().split(/\s/)[0] === env);
    const heading = lines.indexOf(`${group}:`);
    assertEquals(heading > 0 && at > Math.max(heading, last), true, env);
    last = at;
    if (flag) assertEquals(lines[at]!.includes(`(--${flag}${isSwitch ? "" : " VALUE"})`), true, env);
    const [explanation] = lines.slice(at + 1).join("\n").split(/\n {2}\S|\n\n/);
    const words = `${lines[at]}\n${explanation}`.replace(/\n {6}/g, " ");
    assertEquals(words.includes(` ${help}`), true, env);
    assertEquals(words.includes(` [${fallback}]`), fallback !== "", env);
  }
  for (const line of lines) assertEquals(line.length <= 100, true, line);
  for (
    const flag of [
      "--config FILE",
      "--version",
      "--help",
      "OPENAB_CONFIG",
      "demo-agent",
      "doctor",
      "key new",
      ...SCOPES,
    ]
  ) {
    assertEquals(text.includes(flag), true, flag);
  }
});

Deno.test("helpText: its three examples load", () => {
  const examples = helpText("1.2.3").match(/^ {4}(\S+=\S+ )?oab-vtuber --.*$/gm) ?? [];
  assertEquals(examples.length, 3);
  for (const example of examples) {
    const [before, line] = example.split("oab-vtuber ");
    const [, name, value] = /(\w+)=(\S+)/.exec(before!) ?? [];
    const args = [...line!.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) => quoted ?? word);
    const env: Record<string, string> = { HOME: "/home/mao", ...name && { [name]: value! } };
    assertEquals(loadConfig({ env, flags: readFlags(args).flags }).config.enabled, true);
  }
});

Deno.test("helpText: its example of a key makes one", () => {
  const [, args = ""] = /^ {4}oab-vtuber key (new \S+ --scopes \S+)$/m.exec(helpText("1.2.3")) ?? [];
  assertMatch(newKey(args.split(" "))!.text, /\nscopes = \["events"\]$/);
});

Deno.test("versionText: tells how the executable was made", () => {
  const target = "x86_64-unknown-linux-gnu";
  assertEquals(
    versionText("1.2.3", "2.9.6", { standalone: true, target }),
    `oab-vtuber 1.2.3 (executable on Deno 2.9.6, ${target})`,
  );
  assertMatch(versionText("1.2.3", "2.9.6", { standalone: false, target }), /source, run by Deno 2\.9\.6/);
});

const KEY = "s3cret-key-of-twenty";
const [AGENT] = loadConfig({ env: {} }).config.agents;
const PLAIN = { authKey: undefined, tlsCert: undefined, keys: [], model: "openab", agents: [AGENT!] };

Deno.test("banner: tells where to point a skin, and how to try the server", () => {
  const text = banner({ hostname: "127.0.0.1", port: 8123 }, PLAIN, true);
  assertMatch(text, /serves at http:\/\/127\.0\.0\.1:8123 with the built-in demo agent/);
  assertMatch(text, /base address http:\/\/127\.0\.0\.1:8123\/v1 .*API key: anything/);
  assertEquals(text.includes("Authorization"), false);
  const body = JSON.parse(/-d '(.*)'/.exec(text)![1]!);
  assertEquals(body, { model: "openab", stream: true, messages: [{ role: "user", content: "Hello!" }] });
});

Deno.test("banner: says https if there is a certificate", () => {
  const text = banner({ hostname: "127.0.0.1", port: 8123 }, { ...PLAIN, tlsCert: "cert.pem" }, true);
  assertEquals(text.match(/http:/g), null);
  assertMatch(text, /Open it: +https:\/\/127\.0\.0\.1:8123\/\n/);
});

Deno.test("banner: the key is only in the link to the page; arguments and variables of the agent are nowhere", () => {
  const agent = { ...AGENT!, command: "codex-acp", args: ["--token", "hidden"], env: { TOKEN: "hidden" } };
  const text = banner({ hostname: "0.0.0.0", port: 8080 }, { ...PLAIN, authKey: KEY, agents: [agent] }, true);
  assertEquals(text.split(KEY).length, 2);
  assertMatch(text, new RegExp(`http://127\\.0\\.0\\.1:8080/#key=${KEY}\n`));
  assertEquals(text.includes("hidden"), false);
  assertMatch(text, /-H "Authorization: Bearer \$VTUBER_AUTH_KEY"/);
  assertMatch(text, /with codex-acp with 2 arguments\n/);
  assertMatch(text, /API key: your VTUBER_AUTH_KEY/);
  const encoded = banner({ hostname: "127.0.0.1", port: 80 }, { ...PLAIN, authKey: "a b#c/\u00e9%" }, true);
  const link = new URL(/http:\S+#key=\S+/.exec(encoded)![0]);
  assertEquals([link.pathname, decodeURIComponent(link.hash)], ["/", "#key=a b#c/\u00e9%"]);
});

const LISTEN = { hostname: "127.0.0.1", port: 80 };
const NAMED = loadConfig({
  env: {},
  file: { path: "config.toml", text: `[keys.overlay]\nkey = "${KEY}"\nscopes = ["events"]\n` },
}).config.keys;

Deno.test("banner: with keys of the file only, it tells how to log in on the page, and has no key", () => {
  const text = banner(LISTEN, { ...PLAIN, keys: NAMED }, true);
  assertEquals(text.includes(KEY), false);
  assertMatch(text, /Open it: +http:\/\/127\.0\.0\.1:80\/ +The page asks for a key/);
  const [, args = ""] = /oab-vtuber key (new page --scopes \S+)$/m.exec(text) ?? [];
  assertMatch(newKey(args.split(" "))!.text, /\["chat", "audio", "events", "permissions", "operator"\]$/);
  assertMatch(text, /-H "Authorization: Bearer \$KEY"/);
  assertMatch(text, /API key: one of \[keys\.NAME\]\n/);
});

Deno.test("banner: outside of a terminal, it may be a log, and has no key", () => {
  const text = banner(LISTEN, { ...PLAIN, authKey: KEY, keys: NAMED }, false);
  assertEquals(text.includes(KEY), false);
  assertMatch(
    text,
    /Open it: +http:\/\/127\.0\.0\.1:80\/ +The page asks for a key, such as your VTUBER_AUTH_KEY\.\n/,
  );
});

Deno.test("banner: with both kinds of keys, the link has the key of the owner, and a skin gets its own", () => {
  const text = banner(LISTEN, { ...PLAIN, authKey: "owner", keys: NAMED }, true);
  assertEquals(text.includes(KEY), false);
  assertMatch(text, /Open it: +http:\/\/127\.0\.0\.1:80\/#key=owner\n/);
  assertMatch(text, /API key: one of \[keys\.NAME\], or your VTUBER_AUTH_KEY\n/);
});

Deno.test("banner: names every agent if there are several, the default one first", () => {
  const agents = ["codex", "claude", "goose"].map((name) => ({ ...AGENT!, name, command: `${name}-acp` }));
  const text = banner({ hostname: "127.0.0.1", port: 80 }, { ...PLAIN, model: "codex", agents }, true);
  assertMatch(text, /serves at \S+ with codex-acp\n/);
  assertMatch(text, /\n {2}Agents: +codex \(the default\), claude, goose\n/);
  assertEquals(banner({ hostname: "127.0.0.1", port: 80 }, PLAIN, true).includes("Agents:"), false);
});

const PLACES: [hostname: string, url: string, open: boolean][] = [
  ["localhost", "http://localhost:80", false],
  ["::1", "http://[::1]:80", false],
  ["::", "http://127.0.0.1:80", true],
  ["192.168.1.2", "http://192.168.1.2:80", true],
];

for (const [hostname, url, open] of PLACES) {
  Deno.test(`banner: on ${hostname}`, () => {
    const text = banner({ hostname, port: 80 }, PLAIN, true);
    assertEquals(text.includes(`serves at ${url} `), true, text);
    assertEquals(text.includes("other machines reach it too"), open);
  });
}
