import { assertEquals, assertMatch } from "@std/assert";
import { openStore } from "../../lib/conversation/store.ts";
import {
  checkAddress,
  checkCharacter,
  checkDataDir,
  checkEmbeddings,
  checkRequirements,
  checkTls,
  findProgram,
} from "../../lib/doctor/checks.ts";
import { linesOf } from "../../lib/doctor/report.ts";
import { makeCertificate } from "../support/harness/certificate.ts";
import { createVrm } from "../support/harness/vrm_file.ts";
import { configOf } from "../support/harness/doctor_fixture.ts";
import { embed, FakeUpstream, type UpstreamScript } from "../support/harness/fake_upstream.ts";

const LOOPBACK = { hostname: "127.0.0.1", port: 0 };

/** Runs a test in a new folder, given as an absolute path without links. */
async function inFolder(test: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.realPath(await Deno.makeTempDir());
  try {
    await test(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("checkAddress: a free address, and an address of another machine", async () => {
  assertEquals(await checkAddress({ hostname: "::1", port: 0 }), {
    level: "ok",
    text: "[::1]:0 is free to listen on",
  });
  const { level, text, fix } = await checkAddress({ hostname: "192.0.2.1", port: 0 });
  assertEquals(level, "fail");
  assertMatch(`${text} ${fix}`, /^192.0.2.1:0 cannot be listened on: .* choose another .*GATEWAY_LISTEN/);
});

function endless(): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1024).fill(32)) });
}

const SERVERS: [name: string, answer: () => Response, level: string][] = [
  ["this program", () => Response.json({ name: "oab-vtuber", version: "1" }), "warn"],
  ["another program", () => Response.json({ name: "other" }), "fail"],
  ["a program that never ends its answer", () => new Response(endless()), "fail"],
];

for (const [name, answer, level] of SERVERS) {
  Deno.test(`checkAddress: the address of ${name}`, async () => {
    await using server = Deno.serve({ ...LOOPBACK, onListen() {} }, answer);
    assertEquals((await checkAddress({ ...LOOPBACK, port: server.addr.port })).level, level);
  });
}

Deno.test("checkAddress: the address of this program behind https, with a certificate that nobody trusts", async () => {
  await inFolder(async (root) => {
    const [cert, key] = await Promise.all(
      Object.values(await makeCertificate(root)).map((path) => Deno.readTextFile(path)),
    );
    await using server = Deno.serve(
      { ...LOOPBACK, cert: cert!, key: key!, onListen() {} },
      () => Response.json({ name: "oab-vtuber", version: "1" }),
    );
    assertEquals((await checkAddress({ ...LOOPBACK, port: server.addr.port })).level, "warn");
  });
});

Deno.test("checkAddress: the address of a program that does not speak HTTP", async () => {
  using listener = Deno.listen(LOOPBACK);
  const serving = (async () => {
    for await (const connection of listener) connection.close();
  })();
  assertEquals((await checkAddress({ ...LOOPBACK, port: listener.addr.port })).level, "fail");
  listener.close();
  await serving;
});

Deno.test("checkCharacter: a folder that does not exist", async () => {
  const { level, text, fix } = await checkCharacter("/no/such/folder");
  assertEquals(level, "fail");
  assertMatch(`${text} ${fix}`, /^VTUBER_CHARACTER: \/no\/such\/folder.* Correct it, or take it out/);
});

const VRM = createVrm("1.0");
/** The bytes of a model with this text in place of its JSON. */
function withJson(json: string): Uint8Array {
  const bytes = new TextEncoder().encode(json);
  const header = new Uint32Array([0x46546c67, 2, 20 + bytes.length, bytes.length, 0x4e4f534a]);
  return new Uint8Array([...new Uint8Array(header.buffer), ...bytes]);
}
const MODELS: [name: string, bytes: Uint8Array, fault?: RegExp][] = [
  ["VRM 1.0", VRM],
  ["VRM 0.x", createVrm("0.x")],
  [
    "a page in place of the model",
    new TextEncoder().encode("<!doctype html>Not found"),
    /no binary glTF file$/,
  ],
  ["an empty file", new Uint8Array(), /no binary glTF file$/],
  ["glTF 1", Uint8Array.from(VRM, (byte, at) => at === 4 ? 1 : byte), /no binary glTF 2\.0 file$/],
  ["a download that broke off", VRM.slice(0, -1), /cut off: it has \d+ of \d+ bytes$/],
  [
    "a model that is no VRM",
    withJson('{"asset":{"version":"2.0"}}'),
    /without the extension VRM or VRMC_vrm$/,
  ],
  ["JSON that is damaged", withJson('{"asset"'), /no VRM model: .*JSON/],
];

for (const [name, bytes, fault] of MODELS) {
  Deno.test(`checkCharacter: ${name} is ${fault ? "refused" : "fine"}`, async () => {
    await inFolder(async (root) => {
      await Deno.writeFile(`${root}/mao.vrm`, bytes);
      const { level, text } = await checkCharacter(`${root}/mao.vrm`);
      assertEquals(level, fault ? "fail" : "ok");
      assertMatch(text, fault ?? /can be shown$/);
    });
  });
}

Deno.test("checkCharacter: an address is left to the page", async () => {
  assertEquals(
    (await checkCharacter("https://example.com/mao.vrm")).text,
    "VTUBER_CHARACTER is an address, which the page will load",
  );
});

Deno.test("checkDataDir: nothing kept, a new folder, a damaged one, and one that cannot be made", async () => {
  assertEquals(await checkDataDir(undefined), { level: "ok", text: "conversations are not kept on disk" });
  await inFolder(async (root) => {
    const folder = `${root}/memory`;
    const ok = { level: "ok", text: `conversations are remembered in ${folder}: 0 so far` } as const;
    assertEquals(await checkDataDir(folder), ok);
    for await (const { name } of Deno.readDir(folder)) {
      if (name.endsWith(".db")) await Deno.writeTextFile(`${folder}/${name}`, "no database".repeat(1000));
    }
    const damaged = await checkDataDir(folder);
    assertEquals(damaged.level, "warn");
    assertMatch(damaged.text, /damaged/);
    assertEquals(await checkDataDir(folder), ok);
    await Deno.writeTextFile(`${root}/file`, "");
    const { level, text } = await checkDataDir(`${root}/file/memory`);
    assertEquals(level, "warn");
    assertMatch(text, /^conversations are remembered only until the program ends: .*file\/memory/);
  });
});

Deno.test("checkDataDir: turns_per_day needs the folder for itself", async () => {
  const { keys } = configOf({}, `[keys.a]\nkey = "0123456789abcdef"\nscopes = ["chat"]\nturns_per_day = 1\n`);
  await inFolder(async (root) => {
    const folder = `${root}/memory`;
    assertEquals((await checkDataDir(folder, keys)).level, "ok");
    {
      using _server = await openStore(folder, { warn() {} });
      const running = /^conversations are remembered in .*, which a running server uses/;
      const findings = [await checkDataDir(folder), await checkDataDir(folder, keys)];
      assertEquals(findings.map(({ level }) => level), ["ok", "warn"]);
      for (const { text } of findings) assertMatch(text, running);
    }
    await Deno.writeTextFile(`${root}/file`, "");
    const { level, text } = await checkDataDir(`${root}/file/memory`, keys);
    assertEquals(level, "fail");
    assertMatch(text, /^turns_per_day cannot be counted: /);
  });
});

Deno.test("findProgram: finds a program like the system does", async () => {
  await inFolder(async (root) => {
    await Deno.mkdir(`${root}/one`);
    await Deno.mkdir(`${root}/two/dir`, { recursive: true });
    await Deno.writeTextFile(`${root}/one/plain`, "", { mode: 0o644 });
    await Deno.writeTextFile(`${root}/two/plain`, "", { mode: 0o755 });
    await Deno.writeTextFile(`${root}/two/tool.CMD`, "", { mode: 0o644 });
    const unix = { cwd: root, env: { PATH: `${root}/none:${root}/one::two:${root}/two` }, windows: false };
    const cases: [command: string, path: string | undefined][] = [
      ["plain", `${root}/two/plain`],
      ["dir", undefined],
      ["nowhere", undefined],
      ["two/plain", `${root}/two/plain`],
      ["./one/plain", undefined],
      [`${root}/two/plain`, `${root}/two/plain`],
    ];
    for (const [command, path] of cases) assertEquals(await findProgram({ ...unix, command }), path, command);
    assertEquals(await findProgram({ ...unix, env: {}, command: "plain" }), undefined);
    const env = { PATH: `${root}/one;${root}/two`, PATHEXT: ".EXE;.CMD" };
    assertEquals(
      await findProgram({ cwd: root, env, windows: true, command: "tool" }),
      `${root}/two/tool.CMD`,
    );
  });
});

Deno.test("checkRequirements: the program in the agent's environment, its folder, and what is missing", async () => {
  await inFolder(async (root) => {
    await Deno.writeTextFile(`${root}/tool`, "", { mode: 0o755 });
    await Deno.symlink(root, `${root}/link`);
    const check = async (command: string, folder: string, more = "") => {
      const table = `[agent]\ncommand = "${command}"\nworking_dir = "${folder}"\n${more}`;
      const own = { HERE: "1", EMPTY: " " };
      const found = await checkRequirements(configOf({}, table).agents[0]!, { own, windows: false });
      return found.flatMap((finding) => linesOf(finding));
    };
    const more = `
inherit_env = ["HERE", "NOWHERE", "EMPTY", "GIVEN"]
env = { GIVEN = "1", PATH = "${root}/none:${root}:/bin:/usr/bin" }
[agent.mcp_servers.good]
command = "sh"
[agent.mcp_servers.missing]
command = "no-such-mcp-program"
[agent.mcp_servers.other_path]
command = "sh"
env = { PATH = "/no/such/folder" }
[agent.mcp_servers.web]
url = "https://mcp.example/"
`;
    assertEquals(await check("tool", `${root}/link`, more), [
      `ok   program: ${root}/tool`,
      `ok   folder: ${root}`,
      "warn inherit_env names NOWHERE, which is not set here",
      "     Set it before you start the program.",
      "warn inherit_env names EMPTY, which is not set here",
      "     Set it before you start the program.",
      "warn MCP server missing: program no-such-mcp-program was not found",
      "     Install it, or give its whole path: mcp_servers.missing.command in config.toml.",
      "warn MCP server other_path: program sh was not found",
      "     Install it, or give its whole path: mcp_servers.other_path.command in config.toml.",
    ]);
    for (const folder of [`${root}/tool`, `${root}/nowhere`]) {
      assertEquals((await check("npx -y foo token-x", folder)).slice(0, 3), [
        "FAIL program npx with 3 arguments was not found",
        '     Put the arguments into args, with command = "npx".',
        `FAIL folder ${folder} does not exist`,
      ]);
    }
    const [demo] = await checkRequirements(configOf({}, "").agents[0]!, { own: {}, windows: false });
    assertMatch(demo!.text, /^is the built-in demo agent/);
  });
});

const refusing = (status: number, message?: string): UpstreamScript => () =>
  message ? Response.json({ error: { message } }, { status }) : new Response(null, { status });
const FIX = "Correct [embeddings] in config.toml, or start its server.";
const EMBEDDINGS: [name: string, model: string | undefined, script: UpstreamScript, text: string][] = [
  ["a server that works", "nomic", embed(), "the server answers with 3 numbers"],
  [
    "clients that name the model",
    undefined,
    refusing(400, "No model."),
    "the server answers; its clients name the model",
  ],
  ["an unknown model", "nomic", refusing(404, "No model nomic."), "No model nomic."],
  ["a server that fails", undefined, refusing(500, "No."), "The embeddings server failed (status 500): No."],
  [
    "a wrong key",
    "nomic",
    refusing(401),
    "The embeddings server refuses the key: correct key of [embeddings] in config.toml (status 401).",
  ],
  [
    "an answer that is no list",
    "nomic",
    () => Response.json({}),
    "The embeddings server gives a wrong answer: data.",
  ],
];
for (const [name, model, script, text] of EMBEDDINGS) {
  Deno.test(`checkEmbeddings: ${name}`, async () => {
    await using upstream = new FakeUpstream(script);
    const config = { baseUrl: upstream.url, key: "sk-1", model };
    const finding = await checkEmbeddings(config, new AbortController().signal);
    assertEquals(
      finding,
      text.startsWith("the server")
        ? { level: "ok", text: `embeddings: ${text}` }
        : { level: "warn", text: `embeddings do not work: ${text}`, fix: FIX },
    );
    assertEquals(upstream.call.body, { model: model ?? "", input: "hello" });
  });
}

Deno.test("checkEmbeddings: a server that cannot be reached, with the system's reason", async () => {
  const listener = Deno.listen(LOOPBACK);
  const serving = (async () => {
    for await (const connection of listener) connection.close();
  })();
  const config = { baseUrl: `http://127.0.0.1:${listener.addr.port}`, key: undefined, model: "nomic" };
  const { level, text } = await checkEmbeddings(config, new AbortController().signal);
  assertEquals(level, "warn");
  assertMatch(
    text,
    /cannot be reached: check base_url of \[embeddings\] in config.toml. error sending request/,
  );
  listener.close();
  await serving;
});

Deno.test("checkTls: a certificate that fits, one that is too old, and files that cannot be used", async () => {
  await inFolder(async (root) => {
    const { cert, key } = await makeCertificate(root);
    const other = await makeCertificate(root, "other");
    const [today, nextWeek] = [Date.now(), Date.now() + 7 * 86_400_000];
    const cases: [nowMs: number, key: string, level: string, text: RegExp][] = [
      [today, key, "ok", /^https can be spoken: the certificate is valid until /],
      [nextWeek, key, "fail", /^VTUBER_TLS_CERT: the certificate was valid until /],
      [today, other.key, "fail", /cannot be used together/],
    ];
    for (const [nowMs, tlsKey, level, text] of cases) {
      const finding = await checkTls({ tlsCert: cert, tlsKey }, nowMs);
      assertEquals(finding.level, level);
      assertMatch(finding.text, text);
    }
  });
});
