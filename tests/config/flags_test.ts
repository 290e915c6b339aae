import { assertEquals, assertThrows } from "@std/assert";
import { type Flags, readFlags } from "../../lib/config/load.ts";
import { SETTING_HELP } from "../../lib/config/settings.ts";

const NONE: Flags = { flags: {}, help: false, version: false, config: undefined };

const READ: [args: string[], expected: Partial<Flags>][] = [
  [[], {}],
  [["--help"], { help: true }],
  [["-h"], { help: true }],
  [["--version"], { version: true }],
  [["-V"], { version: true }],
  [["--config", "a.toml"], { config: "a.toml" }],
  [["--config=a b.toml"], { config: "a b.toml" }],
  [["--enabled"], { flags: { VTUBER_ENABLED: "true" } }],
  [["--insecure", "--listen", "[::1]:0"], { flags: { VTUBER_INSECURE: "true", GATEWAY_LISTEN: "[::1]:0" } }],
  [["--agent-command", "opencode acp", "--model=mao"], {
    flags: { OPENAB_AGENT_COMMAND: "opencode acp", VTUBER_DEFAULT_MODEL: "mao" },
  }],
  [["--model", "a", "--model", "b"], { flags: { VTUBER_DEFAULT_MODEL: "b" } }],
  [["--model="], { flags: { VTUBER_DEFAULT_MODEL: "" } }],
];

for (const [args, expected] of READ) {
  Deno.test(`readFlags: ${args.join(" ") || "nothing"}`, () => {
    assertEquals(readFlags(args), { ...NONE, ...expected });
  });
}

const WRONG: string[][] = [
  ["--nope"],
  ["--listen"],
  ["--enabled=yes"],
  ["--auth-key", "x"],
  ["serve"],
  ["-x"],
  ["--__proto__", "x"],
];

for (const args of WRONG) {
  Deno.test(`readFlags: ${args.join(" ")} is a mistake`, () => {
    assertThrows(() => readFlags(args), TypeError);
  });
}

Deno.test("readFlags: every setting with a flag can be set by it", () => {
  for (const { flag, env, isSwitch } of SETTING_HELP) {
    if (flag === undefined) continue;
    const args = isSwitch ? [`--${flag}`] : [`--${flag}`, "x"];
    assertEquals(readFlags(args).flags, { [env]: isSwitch ? "true" : "x" });
  }
});
