import { assertEquals } from "@std/assert";
import { describeUnknown, suggest } from "../../lib/config/suggest.ts";

const NAMES = ["agent", "agents", "command", "mcp_servers"];
const MEANT: [name: string, meant: string | undefined][] = [
  ["comand", "command"],
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

Deno.test("describeUnknown: a removed name is described with what to do instead", () => {
  assertEquals(
    describeUnknown("processes", NAMES),
    "has no effect: one process now serves all sessions of an agent. Take it out.",
  );
  assertEquals(describeUnknown("comand", NAMES), "is not a setting of this version. Did you mean command?");
  assertEquals(describeUnknown("timeout", NAMES), "is not a setting of this version.");
});
