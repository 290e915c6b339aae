import { assertEquals, assertMatch } from "@std/assert";
import type { McpServer } from "../../lib/acp/wire.ts";
import { readMcpServers } from "../../lib/config/agent_table.ts";

function read(raw: unknown) {
  const mistakes: string[] = [];
  const unknown: string[] = [];
  const servers = readMcpServers(raw, "agents.codex.mcp_servers", {
    wrong: (path, what) => mistakes.push(`${path}: ${what}`),
    unknown: (path, key) => unknown.push(`${path}.${key}`),
  });
  return { servers, mistakes, unknown };
}

const FS: McpServer = { name: "fs", command: "mcp-fs", args: [], env: [] };
const WEB: McpServer = { type: "http", name: "web", url: "https://mcp.example/a", headers: [] };
const READ: [name: string, raw: unknown, servers: McpServer[]][] = [
  ["none", undefined, []],
  ["an empty list", [], []],
  ["no tables", {}, []],
  ["a program", { fs: { command: "mcp-fs" } }, [FS]],
  ["a program that says that it is one", { fs: { type: "stdio", command: "mcp-fs" } }, [FS]],
  ["a program with everything", {
    fs: { command: "mcp-fs", args: ["--root", "/w"], env: { TOKEN: "t", DEBUG: "" } },
  }, [{
    ...FS,
    args: ["--root", "/w"],
    env: [{ name: "TOKEN", value: "t" }, { name: "DEBUG", value: "" }],
  }]],
  ["an address", { web: { url: "https://mcp.example/a" } }, [WEB]],
  ["an address with everything", {
    web: { type: "sse", url: "http://127.0.0.1:1/sse", headers: { Authorization: "Bearer t" } },
  }, [{
    type: "sse",
    name: "web",
    url: "http://127.0.0.1:1/sse",
    headers: [{ name: "Authorization", value: "Bearer t" }],
  }]],
  ["a list", [{ name: "web", url: "https://mcp.example/a" }, { name: "fs", command: "mcp-fs" }], [WEB, FS]],
  ["tables, in order", { web: { url: "https://mcp.example/a" }, fs: { command: "mcp-fs" } }, [WEB, FS]],
  ["as many as there may be", Array.from({ length: 50 }, (_, n) => ({ ...FS, name: `${n}`, env: {} })), [
    ...Array.from({ length: 50 }, (_, n) => ({ ...FS, name: `${n}` })),
  ]],
];

for (const [name, raw, servers] of READ) {
  Deno.test(`readMcpServers: ${name}`, () => {
    assertEquals(read(raw), { servers, mistakes: [], unknown: [] });
  });
}

const MISTAKES: [name: string, raw: unknown, says: RegExp[]][] = [
  ["text", "mcp-fs", [/^agents\.codex\.mcp_servers: must be tables by name/]],
  ["a server that is text", { fs: "mcp-fs" }, [/^agents\.codex\.mcp_servers\.fs: must be a table/]],
  ["a server that is a list", { fs: ["mcp-fs"] }, [/^agents\.codex\.mcp_servers\.fs: must be a table/]],
  ["an empty server", { fs: {} }, [/^agents\.codex\.mcp_servers\.fs: must have a command or a url$/]],
  ["a server of both kinds", { fs: { command: "a", url: "https://a" } }, [/\.fs: .* not both$/]],
  ["a command that is a number", { fs: { command: 7 } }, [/^agents\.codex\.mcp_servers\.fs\.command: /]],
  ["an empty command", { fs: { command: "" } }, [
    /^agents\.codex\.mcp_servers\.fs\.command: may not be empty$/,
  ]],
  ["arguments that are text", { fs: { command: "a", args: "b" } }, [/\.fs\.args: /]],
  ["an argument that is a number", { fs: { command: "a", args: ["b", 1] } }, [/\.fs\.args\.1: /]],
  ["variables as ACP lists them", { fs: { command: "a", env: [{ name: "A", value: "b" }] } }, [
    /\.fs\.env: must be a table of texts by name, such as/,
  ]],
  ["a command that is a list", { fs: { command: ["npx", "a"] } }, [
    /\.fs\.command: must be a text: .*into args/,
  ]],
  ["a variable that is a number", { fs: { command: "a", env: { PORT: 1 } } }, [/\.fs\.env\.PORT: /]],
  ["a name that no variable can have", { fs: { command: "a", env: { "A=B": "x" } } }, [
    /\.fs\.env: has a name that no variable can have/,
  ]],
  [
    "names of variables, and what is no text",
    { fs: { command: "a", env: { A: 1, "B C": "x", "K=y": "z" } } },
    [
      /\.fs\.env\.A: must be a text/,
      /\.fs\.env: has 2 names that no variable can have/,
    ],
  ],
  ["a date", new Date(0), [/^agents\.codex\.mcp_servers: must be tables by name/]],
  ["a program of another type", { fs: { command: "a", type: "http" } }, [/\.fs\.type: must be "stdio"/]],
  ["an address of another type", { web: { url: "https://a", type: "stdio" } }, [
    /\.web\.type: must be "http" or "sse"/,
  ]],
  ["what is no address", { web: { url: "mcp.example" } }, [/\.web\.url: must be an address/]],
  ["an address of another kind", { web: { url: "file:///etc" } }, [/\.web\.url: must be an address/]],
  ["a header that is a number", { web: { url: "https://a", headers: { X: 1 } } }, [/\.web\.headers\.X: /]],
  ["a list without a name", [{ command: "a" }], [/^agents\.codex\.mcp_servers\.0\.name: is required/]],
  ["a list with an empty name", [{ name: "", command: "a" }], [/\.0\.name: is required/]],
  ["a list with a name twice", [{ name: "fs", command: "a" }, { name: "fs", command: "b" }], [
    /^agents\.codex\.mcp_servers\.fs: two servers have this name$/,
  ]],
  ["more than there may be", Array.from({ length: 51 }, (_, n) => ({ name: `${n}`, command: "a" })), [
    /^agents\.codex\.mcp_servers: there may be 50 at most$/,
  ]],
  ["several at once", { a: { command: 1 }, b: { url: 2 } }, [/\.a\.command: /, /\.b\.url: /]],
];

for (const [name, raw, says] of MISTAKES) {
  Deno.test(`readMcpServers: ${name} is a mistake`, () => {
    const { mistakes } = read(raw);
    assertEquals(mistakes.length, says.length, mistakes.join("\n"));
    says.forEach((pattern, at) => assertMatch(mistakes[at]!, pattern));
  });
}

Deno.test("readMcpServers: keys that no server has are told of", () => {
  const { servers, unknown } = read({
    fs: { command: "mcp-fs", cwd: "/", headers: {} },
    web: { ...WEB, headers: {}, env: {} },
  });
  assertEquals(servers, [FS, WEB]);
  assertEquals(unknown, [
    "agents.codex.mcp_servers.fs.cwd",
    "agents.codex.mcp_servers.fs.headers",
    "agents.codex.mcp_servers.web.env",
  ]);
});

Deno.test("readMcpServers: no mistake tells a value, which may be a secret", () => {
  const secret = "s3cret-token";
  const { mistakes } = read({
    a: { command: "a", args: secret },
    b: { url: secret },
    c: { url: "https://a", headers: secret, type: secret },
    d: secret,
  });
  assertEquals(mistakes.length, 5);
  assertEquals(mistakes.join().includes(secret), false);
});
