import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { readAgentTables } from "../../lib/config/agent_table.ts";
import { type Problems, readToml, unreadable } from "../../lib/config/file.ts";

const READ: [name: string, text: string, table: unknown][] = [
  ["nothing", "", {}],
  ["a table below its own part", "[agent.env]\nA = '1'\n[agent]\ncommand = 'a'\n", {
    agent: { env: { A: "1" }, command: "a" },
  }],
  ["names that objects have", "[agents.toString]\na = 1\n[agents.constructor]\nb = 2\n", {
    agents: { toString: { a: 1 }, constructor: { b: 2 } },
  }],
  ["a byte order mark", "\ufeff[agent]\n", { agent: {} }],
  ["line ends of Windows", '[agent]\r\ncommand = "a"\r\n', { agent: { command: "a" } }],
  ["comments", '# x\n[agent] # y\ncommand = "a" # z\n', { agent: { command: "a" } }],
  ["an integer beyond 2^53", "id = 123456789012345678901\n", { id: 123456789012345678901n }],
];

for (const [name, text, table] of READ) {
  Deno.test(`readToml: ${name}`, () => {
    const { table: read, fault } = readToml(text);
    assertEquals(fault, undefined);
    assertEquals(structuredClone(read), table);
  });
}

const FAULTS: [name: string, text: string, fault: RegExp][] = [
  [
    "a text without quotes",
    "[agent.env]\nKEY = sk-ant-hush\n",
    /^line 2, column 7: invalid value \(.*quotes/,
  ],
  ["a table twice", "[agents.a]\n[agents.a]\n", /^line 2, column 2: .*already defined .*once\)$/],
  ["a key twice", "[a]\nx = 1\nx = 2\n", /^line 3, column 1: .*already defined .*once\)$/],
  ["a table that is a value", "a = 1\n[a.b]\n", /^line 2, column 2: .*already defined/],
  ["an inline table that stands alone", "{ b = 1 }\n[a]\n", /^line 1, column 1: illegal character in key$/],
  ["lists without end", `x = ${"[".repeat(2_000)}`, /^line 1, column \d+: .*nested structures/],
];

for (const [name, text, fault] of FAULTS) {
  Deno.test(`readToml: names the position of ${name}`, () => {
    assertMatch(readToml(text).fault ?? "", fault);
  });
}

/** A secret that stands where values do. */
const HUSH = "sk-ant-hush";
const ENV_TABLES = [
  `KEY = ${HUSH}`,
  `KEY = "${HUSH}`,
  `KEY = '${HUSH}`,
  `KEY = """${HUSH}\nmore`,
  `KEY = "${HUSH}\\q"`,
  `KEY = "\\u${HUSH}"`,
  `KEY = "a" ${HUSH}`,
  `KEY = 12${HUSH}`,
  `KEY = 2024-01-01${HUSH}`,
  `KEY = 2024-99-99 # ${HUSH}`,
  `KEY = "${HUSH}"\nKEY = "${HUSH}"`,
  `KEY : ${HUSH}`,
  `KEY ${HUSH}`,
  `KEY == ${HUSH}`,
  `KEY = "${HUSH}\u0001"`,
  `"KEY=${HUSH}" = ""`,
  `"KEY=${HUSH}" = 1`,
  `"KEY=${HUSH}" = "\${NOT_SET}"`,
].map((line) => `[agent.env]\n${line}`);
const AGENTS = [
  `env = { KEY = ${HUSH} }`,
  `env = { KEY = "${HUSH}"`,
  `env = { KEY = "${HUSH}" TOKEN = "${HUSH}" }`,
  `args = ["--key", ${HUSH}]`,
  `args = ["--key", "${HUSH}"\n[agents.a]`,
  `command = "a"\nenv = "${HUSH}"\nargs = "${HUSH}"\ninherit_env = "${HUSH}"`,
  `processes = "${HUSH}"\npermissions = "${HUSH}"\nmcp_servers = "${HUSH}"`,
  `env = ["${HUSH}"]\nargs = { a = "${HUSH}" }\ncommand = ["${HUSH}"]`,
  `inherit_env = ["KEY=${HUSH}", "KEY ${HUSH}", "${HUSH} "]`,
  `"command = ${HUSH}" = 1\ncommand = 7`,
].map((lines) => `[agent]\n${lines}`);
const SERVERS = [
  `command = "a"\nenv = { "KEY=${HUSH}" = "" }`,
  `command = "a"\nenv = "${HUSH}"\nargs = "${HUSH}"\ntype = "${HUSH}"`,
  `url = "${HUSH}"\nheaders = "${HUSH}"\ntype = "${HUSH}"`,
].map((lines) => `[agent.mcp_servers.a]\n${lines}`);
const OTHERS = [
  `[agent.mcp_servers]\na = "${HUSH}"`,
  `agent = "${HUSH}"\nagents = "${HUSH}"`,
  `[agents]\na = "${HUSH}"`,
];

for (const text of [...ENV_TABLES, ...AGENTS, ...SERVERS, ...OTHERS]) {
  Deno.test(`readAgentTables: no mistake or warning repeats a value of ${JSON.stringify(text)}`, () => {
    const problems: Problems = { mistakes: [], warnings: [] };
    readAgentTables({ path: "my.toml", text }, {}, problems);
    assertEquals(problems.mistakes.length > 0, true);
    assertEquals([...problems.mistakes, ...problems.warnings].filter((line) => line.includes("hush")), []);
  });
}

Deno.test("unreadable: names the setting that names the file, and the reason", async () => {
  const folder = await Deno.makeTempDir();
  const why = async (path: string) =>
    unreadable("OPENAB_CONFIG", path, await assertRejects(() => Deno.readTextFile(path)));
  try {
    const missing = `${folder}/nope.toml`;
    assertEquals(await why(missing), `OPENAB_CONFIG: ${missing} cannot be read: there is no such file.`);
    assertMatch(await why(folder), /^OPENAB_CONFIG: .* cannot be read: /);
  } finally {
    await Deno.remove(folder);
  }
});
