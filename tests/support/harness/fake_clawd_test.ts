import { assertEquals, assertRejects } from "@std/assert";
import { FakeClawd, type Json } from "./fake_clawd.ts";

async function send(pet: FakeClawd, path: string, body: unknown): Promise<[status: number, text: string]> {
  const response = await fetch(`http://127.0.0.1:${pet.port}${path}`, {
    method: "POST",
    headers: { connection: "close" },
    body: JSON.stringify(body),
  });
  return [response.status, await response.text()];
}

Deno.test("FakeClawd: identifies itself", async () => {
  await using pet = new FakeClawd();
  const response = await fetch(`http://127.0.0.1:${pet.port}/state`);
  assertEquals(response.headers.get("x-clawd-server"), "clawd-on-desk");
  assertEquals(await response.json(), { ok: true, app: "clawd-on-desk", port: pet.port });
  assertEquals(JSON.parse(pet.runtime).port, pet.port);
});

Deno.test("FakeClawd: accepts known states of at most 1,024 bytes", async () => {
  await using pet = new FakeClawd();
  const body = (cwd: string) => ({ state: "working", session_id: "a", cwd });
  const emptyBytes = JSON.stringify(body("")).length;
  assertEquals(await send(pet, "/state", body("x".repeat(1_024 - emptyBytes))), [200, "ok"]);
  assertEquals(await send(pet, "/state", body("x".repeat(1_025 - emptyBytes))), [
    413,
    "state payload too large",
  ]);
  assertEquals(await send(pet, "/state", { state: "dancing" }), [400, "unknown state"]);
  assertEquals(pet.log, ["working - a", "413", "400 dancing"]);
});

Deno.test("FakeClawd: keeps the states of its sessions", async () => {
  await using pet = new FakeClawd();
  const posts: [state: string, event: string, expected: string | undefined][] = [
    ["thinking", "UserPromptSubmit", "thinking"],
    ["juggling", "SubagentStart", "juggling"],
    ["working", "PreToolUse", "juggling"],
    ["notification", "PermissionRequest", "juggling"],
    ["working", "SubagentStop", "working"],
    ["error", "PostToolUseFailure", "working"],
    ["attention", "Stop", "idle"],
    ["sleeping", "SessionEnd", undefined],
  ];
  for (const [state, event, expected] of posts) {
    await send(pet, "/state", { state, event, session_id: "a" });
    assertEquals(pet.sessions.get("a"), expected, event);
  }
});

Deno.test("FakeClawd: holds a permission request until a decision, its own or the user's", async () => {
  await using pet = new FakeClawd();
  const request = {
    tool_name: "Bash",
    tool_input: {},
    session_id: "a",
    permission_suggestions: [{ type: "x" }],
  };
  const decisionOf = ([, text]: [number, string]): Json => JSON.parse(text).hookSpecificOutput.decision;
  const first = send(pet, "/permission", request);
  await pet.untilLogged("ask Bash");
  pet.decide("allow", { suggestion: 0 });
  assertEquals(decisionOf(await first), { behavior: "allow", updatedPermissions: [{ type: "x" }] });
  const second = send(pet, "/permission", request);
  await pet.untilLogged("ask Bash", 2);
  await send(pet, "/state", { state: "working", event: "PostToolUse", session_id: "b" });
  await send(pet, "/state", { state: "working", event: "PostToolUse", session_id: "a" });
  assertEquals(decisionOf(await second), { behavior: "deny", message: "User answered in terminal" });
  const passed = await send(pet, "/permission", { ...request, tool_name: "TaskCreate" });
  assertEquals(decisionOf(passed), { behavior: "allow" });
});

Deno.test("FakeClawd: notices a closed connection, and closes requests in the mode dnd", async () => {
  await using pet = new FakeClawd();
  const hangUp = new AbortController();
  const request = { method: "POST", body: '{"tool_name":"Bash"}', headers: { connection: "close" } };
  const url = `http://127.0.0.1:${pet.port}/permission`;
  const asked = assertRejects(() => fetch(url, { ...request, signal: hangUp.signal }));
  await pet.untilLogged("ask Bash");
  hangUp.abort();
  await asked;
  await pet.untilLogged("closed Bash");
  pet.dnd = true;
  await assertRejects(() => fetch(url, request), TypeError);
});
