import { assertEquals, assertMatch } from "@std/assert";
import { readAgentTables } from "../../lib/config/file.ts";
import { readToml } from "../../lib/config/file.ts";

const READ: [name: string, text: string, table: unknown][] = [
  ["nothing", "", {}],
  ["a table below one that comes later", "[agent.env]\nA = '1'\n[agent]\ncommand = 'a'\n", {
    agent: { env: { A: "1" }, command: "a" },
  }],
  ["names of an object's own", "[agents.toString]\na = 1\n[agents.constructor]\nb = 2\n", {
    agents: { toString: { a: 1 }, constructor: { b: 2 } },
  }],
  ["a byte order mark", "\ufeff[agent]\n", { agent: {} }],
  ["a number that is too big for others", "id = 123456789012345678901\n", { id: 123456789012345678901n }],
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
  ["lists that have no end", `x = ${"[".repeat(2_000)}`, /^line 1, column \d+: .*nested structures/],
];

for (const [name, text, fault] of FAULTS) {
  Deno.test(`readToml: ${name} is told by its place`, () => {
    assertMatch(readToml(text).fault ?? "", fault);
  });
}

/** What stands where values do. */
const HUSH = "sk-ant-hush";
const SECRETIVE: readonly string[] = [
  `[agent.env]\nKEY = ${HUSH}`,
  `[agent.env]\nKEY = "${HUSH}`,
  `[agent.env]\nKEY = '${HUSH}`,
  `[agent.env]\nKEY = """${HUSH}\nmore`,
  `[agent.env]\nKEY = "${HUSH}\\q"`,
  `[agent.env]\nKEY = "\\u${HUSH}"`,
  `[agent.env]\nKEY = "a" ${HUSH}`,
  `[agent.env]\nKEY = 12${HUSH}`,
  `[agent.env]\nKEY = 2024-01-01${HUSH}`,
  `[agent.env]\nKEY = 2024-99-99 # ${HUSH}`,
  `[agent.env]\nKEY = "${HUSH}"\nKEY = "${HUSH}"`,
  `[agent.env]\nKEY : ${HUSH}`,
  `[agent.env]\nKEY ${HUSH}`,
  `[agent.env]\nKEY == ${HUSH}`,
  `[agent.env]\nKEY = "${HUSH}\u0001"`,
  `[agent]\nenv = { KEY = ${HUSH} }`,
  `[agent]\nenv = { KEY = "${HUSH}"`,
  `[agent]\nenv = { KEY = "${HUSH}" TOKEN = "${HUSH}" }`,
  `[agent]\nargs = ["--key", ${HUSH}]`,
  `[agent]\nargs = ["--key", "${HUSH}"\n[agents.a]`,
  `[agent]\ncommand = "a"\nenv = "${HUSH}"\nargs = "${HUSH}"\ninherit_env = "${HUSH}"`,
  `[agent]\nprocesses = "${HUSH}"\npermissions = "${HUSH}"\nmcp_servers = "${HUSH}"`,
  `[agent]\nenv = ["${HUSH}"]\nargs = { a = "${HUSH}" }\ncommand = ["${HUSH}"]`,
  `[agent]\ninherit_env = ["KEY=${HUSH}", "KEY ${HUSH}", "${HUSH} "]`,
  `[agent.env]\n"KEY=${HUSH}" = ""`,
  `[agent.env]\n"KEY=${HUSH}" = 1`,
  `[agent.env]\n"KEY=${HUSH}" = "\${NOT_SET}"`,
  `[agent]\n"command = ${HUSH}" = 1\nprocesses = 0`,
  `[agent.mcp_servers.a]\ncommand = "a"\nenv = { "KEY=${HUSH}" = "" }`,
  `[agent.mcp_servers.a]\ncommand = "a"\nenv = "${HUSH}"\nargs = "${HUSH}"\ntype = "${HUSH}"`,
  `[agent.mcp_servers.a]\nurl = "${HUSH}"\nheaders = "${HUSH}"\ntype = "${HUSH}"`,
  `[agent.mcp_servers]\na = "${HUSH}"`,
  `agent = "${HUSH}"\nagents = "${HUSH}"`,
  `[agents]\na = "${HUSH}"`,
];

for (const text of SECRETIVE) {
  Deno.test(`readAgentTables: no mistake tells a value of ${JSON.stringify(text)}`, () => {
    const mistakes: string[] = [];
    const warnings: string[] = [];
    readAgentTables({ path: "my.toml", text }, {}, mistakes, warnings);
    assertEquals(mistakes.length > 0, true);
    assertEquals([...mistakes, ...warnings].filter((line) => line.includes("hush")), []);
  });
}
