import { assertEquals } from "@std/assert";
import { suggest } from "../../lib/config/suggest.ts";

const NAMES = ["agent", "agents", "command", "mcp_servers", "mode", "model"];
const MEANT: [name: string, meant: string | undefined][] = [
  ["comand", "command"],
  ["modle", "model"],
  ["modes", "mode"],
  ["commandd", "command"],
  ["commant", "command"],
  ["agnet", "agent"],
  ["Agents", "agents"],
  ["mcpServers", "mcp_servers"],
  ["mcp-server", "mcp_servers"],
  ["events", undefined],
  ["agenda", undefined],
  ["cron", undefined],
  ["", undefined],
];

for (const [name, meant] of MEANT) {
  Deno.test(`suggest: ${JSON.stringify(name)} ${meant ? `is probably ${meant}` : "is nothing known"}`, () => {
    assertEquals(suggest(name, NAMES), meant);
  });
}
