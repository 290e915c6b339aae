import { assertEquals } from "@std/assert";
import { parseDecision, parseRuntime } from "../../lib/clawd/wire.ts";

const RUNTIMES: [text: string, port: number | undefined][] = [
  ['{"app":"clawd-on-desk","port":23334,"ownerPid":7,"windowsProcessChain":{}}', 23334],
  ['{"app":"another","port":23334}', undefined],
  ['{"app":"clawd-on-desk"}', undefined],
  ['{"app":"clawd-on-desk","port":"23334"}', undefined],
  ['{"app":"clawd-on-desk","port":65536}', undefined],
  ['{"app":"clawd-on-desk","po', undefined],
  ["null", undefined],
];

for (const [text, port] of RUNTIMES) {
  Deno.test(`parseRuntime: ${text}`, () => assertEquals(parseRuntime(text), port));
}

function decided(decision: unknown): string {
  return JSON.stringify({ hookSpecificOutput: { hookEventName: "PermissionRequest", decision } });
}

const DECISIONS: [text: string, decision: ReturnType<typeof parseDecision>][] = [
  [decided({ behavior: "allow" }), "allow"],
  [decided({ behavior: "allow", updatedPermissions: [] }), "allow"],
  [decided({ behavior: "allow", updatedPermissions: "what" }), "allow"],
  [decided({ behavior: "allow", updatedPermissions: [{ type: "addRules" }] }), "always"],
  [decided({ behavior: "deny", updatedPermissions: [{}] }), "deny"],
  [decided({ behavior: "deny", message: "Denied via hotkey" }), "deny"],
  [decided({ behavior: "deny", message: 7 }), "deny"],
  [decided({ behavior: "deny", message: "DND enabled" }), undefined],
  [decided({ behavior: "deny", message: "Permission request too large for Clawd bubble" }), undefined],
  [decided({ behavior: "maybe" }), undefined],
  ['{"hookSpecificOutput":{"hookEventName":"Elicitation"}}', undefined],
  ["ok", undefined],
  ["", undefined],
];

for (const [text, decision] of DECISIONS) {
  Deno.test(`parseDecision: ${text || "nothing"}`, () => assertEquals(parseDecision(text), decision));
}
