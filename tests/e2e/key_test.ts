/** The command `oab-vtuber key new`, and a server with the keys that it made. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { agentCommand } from "../support/agents/scripted_agent.ts";
import { programCommand, runProgram, script, startServer } from "../support/harness/server_process.ts";

const MISTAKES: [args: string[], text: string][] = [
  [["key"], "The command is: oab-vtuber key new"],
  [["key", "nwe"], "There is no command key nwe"],
  [["key", "new", "a b"], "the name of a key has at most 64 letters"],
  [["key", "new", "a", "b"], "too many arguments"],
  [["key", "new", "a", "--scopes", "chta"], "Did you mean chat?"],
  [["key", "new", "--enabled"], "There is no flag --enabled"],
];

Deno.test("key new: mistakes are printed to stderr, with the exit code 2", async () => {
  for (const [args, text] of MISTAKES) {
    const { code, out, err } = await runProgram(args);
    assertEquals([code, out], [2, ""], args.join(" "));
    assertMatch(err, /^oab-vtuber cannot make a key:\n/);
    assertStringIncludes(err, text);
  }
  const { code, out } = await runProgram(["key", "new", "--help"]);
  assertEquals(code, 0);
  assertStringIncludes(out, "oab-vtuber key new NAME");
});

Deno.test("a key in a wrong place is in no error of the program or the doctor", async () => {
  const key = `oab_${"k".repeat(32)}`;
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/config.toml`;
    await Deno.writeTextFile(file, `[keys.${key}]\nscopes = ["chat"]\n`);
    for (
      const args of [
        [`VTUBER_AUTH_KEY=${key}`],
        ["key", "new", "a", key],
        ["--config", file],
        ["doctor", "--config", file],
      ]
    ) {
      const { code, out, err } = await runProgram(args);
      assertEquals([code > 0, (out + err).includes(key)], [true, false], args[0]);
      assertStringIncludes(out + err, "[secret]");
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a server whose output nobody reads any more serves", async () => {
  const { command, args } = programCommand(["--listen", "127.0.0.1:0"]);
  await using server = new Deno.Command(command, {
    args,
    env: { VTUBER_ENABLED: "true", VTUBER_AUTH_KEY: "", OPENAB_CONFIG: "", VTUBER_DATA_DIR: "none" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  await server.stdout.cancel();
  let log = "";
  for await (const text of server.stderr.pipeThrough(new TextDecoderStream())) {
    log += text;
    if (log.includes("agent ready")) break;
  }
  assertStringIncludes(log, "agent ready");
});

Deno.test("key new: without a name it prints one line, which a shell can take as it is", async () => {
  const { code, out, err } = await runProgram(["key", "new"]);
  assertEquals(code, 0);
  assertMatch(out, /^VTUBER_AUTH_KEY=oab_[\w-]{32}\n$/);
  assertEquals(err.includes("oab_"), false);
});

Deno.test("a server with keys of the file: each does what its scopes say, and none is printed, logged or passed on", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const overlay = await runProgram(["key", "new", "overlay", "--scopes", "events"]);
    const [key = ""] = /oab_\S+/.exec(overlay.out) ?? [];
    const table = overlay.out.slice(overlay.out.indexOf("[keys.overlay]"));
    const plain = "plain-key-of-the-bot";
    const variable = "key-in-a-variable";
    const { command, args } = agentCommand({});
    // The agent knows keys that nobody gave to it, and prints them.
    const shell = `echo 'plain-key'-of-the-bot 'key-in'-a-variable >&2; exec "$0" "$@"`;
    await Deno.writeTextFile(
      `${folder}/config.toml`,
      `${table}
[keys.bot]
key = "${plain}"
scopes = ["chat"]
[keys.phone]
key = "\${PHONE}"
scopes = ["chat", "events"]
[agents.one]
command = "/bin/sh"
args = ${JSON.stringify(["-c", shell, command, ...args])}
`,
    );
    await using server = await startServer({
      args: ["--config", `${folder}/config.toml`],
      env: { PHONE: variable, VTUBER_AUTH_KEY: "", OPENAB_AGENT_COMMAND: "" },
    });
    const banner = await server.printed("Your skin:");
    assertStringIncludes(banner, "oab-vtuber key new page --scopes chat,audio,events,permissions,operator");
    const status = async (path: string, key: string) => {
      const response = await fetch(server.url + path, { headers: { authorization: `Bearer ${key}` } });
      const body = await response.json();
      return response.ok ? response.status : body.error.code;
    };
    assertEquals(await status("/v1/vtuber/state", key), 200);
    assertEquals(await status("/v1/vtuber/sessions", key), "insufficient_scope");
    assertEquals(await status("/v1/vtuber/state", plain), "insufficient_scope");
    assertEquals(await status("/v1/vtuber/sessions", plain), 200);
    assertEquals(await status("/v1/vtuber/state", variable), 200);
    assertEquals(await status("/v1/vtuber/state", `${key}x`), "invalid_api_key");
    const reply = await server.chat(script({ env: ["PHONE"] }), {}, {
      headers: { authorization: `Bearer ${plain}` },
    });
    assertEquals(reply.status, 200);
    assertStringIncludes(await reply.text(), '\\"PHONE\\":null');
    await server.logged("[secret] [secret]");
    await server.end("SIGTERM");
    const printed = banner + server.log();
    for (const secret of [key, plain, variable]) assert(!printed.includes(secret), secret);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
