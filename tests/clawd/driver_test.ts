import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { FakeClawd } from "../support/harness/fake_clawd.ts";
import { soon } from "../support/harness/turn_recorder.ts";
import {
  ask,
  Driving,
  juggling,
  LATE,
  NOTIFICATION,
  resolved,
  state,
  tool,
} from "../support/harness/clawd_fixture.ts";

const DONE = "attention Stop oab-chat";
const ALWAYS = { options: [{ option_id: "always", name: "Always allow", kind: "allow_always" }] };

Deno.test("driver: a turn is shown in order, and on change only", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  driving.take(state("thinking"), state("thinking"), tool("pending"), state("working"), tool("running"));
  driving.take(
    tool("done"),
    state("thinking"),
    tool("pending", { tool_call_id: "call-2" }),
    state("working"),
  );
  await pet.untilLogged("working PreToolUse oab-chat");
  driving.take(
    tool("done", { tool_call_id: "call-2" }),
    state("thinking"),
    state("attention"),
    state("idle"),
  );
  await pet.untilLogged(DONE);
  driving.take(NOTIFICATION);
  await pet.untilLogged("notification Notification oab");
  assertEquals(pet.log, [
    "idle SessionStart oab-chat",
    "thinking UserPromptSubmit oab-chat",
    "working PreToolUse oab-chat",
    DONE,
    "notification Notification oab",
  ]);
  assertEquals(pet.posts[2], {
    state: "working",
    event: "PreToolUse",
    session_id: "oab-chat",
    agent_id: "claude-code",
    cwd: "/home/me/project",
    tool_name: "npm test",
  });
  assertEquals(pet.sessions.get("oab-chat"), "idle");
});

Deno.test("driver: sub-agents have sessions of their own, and nothing is left of them", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  driving.take(state("thinking"), tool("pending"), juggling(2));
  await pet.until(() => pet.sessions.size === 3);
  const doing = { "oab-chat": "juggling", "oab-chat:sub1": "working", "oab-chat:sub2": "juggling" };
  assertEquals(Object.fromEntries(pet.sessions), doing);
  driving.take(state("thinking"));
  await pet.untilLogged("working SubagentStop oab-chat");
  assertEquals(Object.fromEntries(pet.sessions), { "oab-chat": "working" });
});

Deno.test("driver: long names in any script fit what the pet takes", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet, { cwd: `/home/${"資料夾📁".repeat(500)}/app` });
  const turn = { session_id: "会話🗨️".repeat(200), turn_id: "t" };
  driving.take(state("thinking", turn), tool("pending", { ...turn, tool_name: '検索する🔍\n"'.repeat(400) }));
  driving.take(juggling(2), state("attention", turn));
  await pet.until(() => pet.last?.startsWith("attention Stop") === true);
  assertEquals(pet.log.filter((line) => /^4\d\d/.test(line)), []);
  assertStringIncludes(String(pet.posts.find(({ tool_name }) => tool_name)?.tool_name), "検索する🔍");
});

Deno.test("driver: an interrupted turn shows no failure of the tools that it closes", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  driving.take(state("thinking"), tool("pending"));
  await pet.untilLogged("working PreToolUse oab-chat");
  driving.take(tool("failed"), state("idle"));
  await pet.untilLogged("idle - oab-chat");
  assert(!pet.log.some((line) => line.startsWith("error")));
});

Deno.test("driver: a failed turn is shown, and its session is idle afterwards", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  driving.take(state("thinking"), tool("pending"), tool("failed"), state("error"), state("idle"));
  await pet.untilLogged("idle - oab-chat");
  assertEquals(pet.log.slice(-2), ["error StopFailure oab-chat", "idle - oab-chat"]);
  assertEquals(pet.sessions.get("oab-chat"), "idle");
});

Deno.test("driver: a long turn is refreshed before the pet takes it for over", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  driving.take(state("thinking"), tool("pending"), juggling(1));
  await pet.untilLogged("working PreToolUse oab-chat:sub1");
  for (const times of [1, 2]) {
    driving.nowMs += 4 * 60_000;
    await pet.untilLogged("juggling - oab-chat", times);
    await pet.untilLogged("working - oab-chat:sub1", times);
  }
  driving.take(state("working"), state("attention"));
  await pet.untilLogged(DONE);
  const count = pet.log.length;
  for (const probes of [pet.probes, pet.probes + 1]) {
    driving.nowMs += 60 * 60_000;
    await pet.until(() => pet.probes > probes);
  }
  assertEquals(pet.log.length, count, "what is over is not refreshed");
});

Deno.test("driver: a pet that appears later is told what is so then", async () => {
  await using driving = new Driving();
  driving.driver.start();
  driving.take(state("thinking"), tool("pending"), ask());
  await driving.until(() => driving.logged.filter((line) => line.includes("no clawd")).length >= 3);
  assertEquals(driving.driver.present, false);
  await using pet = new FakeClawd();
  driving.runtime = pet.runtime;
  await pet.untilLogged("ask Bash");
  assertEquals(driving.driver.present, true);
  assertEquals(pet.log, [
    "working PreToolUse oab-chat",
    "notification PermissionRequest oab-chat",
    "ask Bash",
  ]);
  assertEquals(driving.said, ["info found clawd-on-desk"]);
});

Deno.test("driver: a pet that goes away is said once, and found again on another port", async () => {
  const first = new FakeClawd();
  await using driving = await Driving.with(first);
  driving.take(state("thinking"), ask());
  await first.untilLogged("ask Bash");
  await first[Symbol.asyncDispose]();
  await driving.until(() => driving.said.length === 2);
  assertEquals(driving.driver.present, false);
  driving.take(tool("pending"));
  await driving.until(() => driving.logged.filter((line) => line.includes("no clawd")).length >= 3);
  await using second = new FakeClawd();
  driving.runtime = second.runtime;
  await second.untilLogged("ask Bash");
  assertEquals(second.log[0], "working PreToolUse oab-chat");
  assertEquals(driving.said, [
    "info found clawd-on-desk",
    "info lost clawd-on-desk",
    "info found clawd-on-desk",
  ]);
  assertEquals(driving.answers, []);
});

Deno.test("driver: a pet that goes away while nothing is told is missed as well", async () => {
  const pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  await pet[Symbol.asyncDispose]();
  driving.nowMs += 60_000;
  await driving.until(() => !driving.driver.present);
});

Deno.test("driver: a pet that takes no states counts as gone", async () => {
  await using pet = new FakeClawd();
  pet.isBroken = true;
  await using driving = await Driving.with(pet, { times: { retryMs: 60_000, retryMaxMs: 60_000 } });
  driving.take(state("thinking"));
  await driving.until(() => driving.said.includes("info lost clawd-on-desk"));
  assertEquals(driving.driver.present, false);
});

Deno.test("driver: what is not the pet is told nothing", async () => {
  await using other = new FakeClawd({ identity: "another" });
  await using driving = new Driving({ ports: [other.port] });
  driving.runtime = other.runtime;
  driving.take(state("thinking"), ask());
  driving.driver.start();
  await other.until(() => other.probes >= 3);
  assertEquals(driving.driver.present, false);
  assertEquals(other.log, []);
});

Deno.test("driver: without runtime.json, or with a wrong one, the pet is looked for on its ports", async () => {
  await using pet = new FakeClawd();
  const runtimes = [
    () => Promise.resolve(undefined),
    () => Promise.resolve("{"),
    () => Promise.resolve('{"app":"another","port":1}'),
    () => Promise.reject(new Error("no such file")),
    () => {
      throw new Error("no access");
    },
  ];
  for (const readRuntime of runtimes) {
    await using driving = new Driving({ ports: [pet.port], readRuntime });
    driving.driver.start();
    await driving.until(() => driving.driver.present);
  }
});

const DECISIONS = {
  allow: ["allow", {}, "allow"],
  "always, where the agent offers it": ["allow", { suggestion: 0 }, "allow_always"],
  deny: ["deny", {}, "reject"],
  "deny by a key": ["deny", { message: "Denied via hotkey" }, "reject"],
} as const;

for (const [name, [behavior, options, decision]] of Object.entries(DECISIONS)) {
  Deno.test(`driver: a permission is answered at the pet: ${name}`, async () => {
    await using pet = new FakeClawd();
    await using driving = await Driving.with(pet);
    driving.take(state("thinking"), tool("pending"), ask(ALWAYS), state("notification"));
    await pet.untilLogged("ask Bash");
    pet.decide(behavior, options);
    await driving.until(() => driving.answers.length > 0);
    assertEquals(driving.answers, [{ id: "ask-1", answer: { decision }, by: "clawd-on-desk" }]);
    driving.take(
      resolved("allowed", { by: "clawd-on-desk" }),
      state("working"),
      tool("done"),
      state("attention"),
    );
    await pet.untilLogged(DONE);
    assertEquals(pet.bubbles.map(({ state }) => state), [behavior]);
    assertEquals(pet.log.slice(-3), ["ask Bash", "working PreToolUse oab-chat", DONE]);
  });
}

Deno.test("driver: an answer that comes too late changes nothing", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet, {
    answer: () => {
      throw new AppError("permission_resolved", "This permission request was answered before.");
    },
  });
  driving.take(state("thinking"), ask());
  await pet.untilLogged("ask Bash");
  pet.decide("allow");
  await driving.until(() => driving.logged.some((line) => line.includes("too late")));
  driving.take(state("attention"));
  await pet.untilLogged(DONE);
});

for (const outcome of ["allowed", "rejected", "expired", "cancelled"] as const) {
  Deno.test(`driver: a permission that is ${outcome} elsewhere goes before the pet takes a state for the answer`, async () => {
    await using pet = new FakeClawd();
    await using driving = await Driving.with(pet);
    driving.take(state("thinking"), tool("pending"), ask());
    await pet.untilLogged("ask Bash");
    driving.take(resolved(outcome), tool("failed"), state("attention"));
    await pet.untilLogged(DONE);
    await pet.untilLogged("closed Bash");
    assert(pet.log.indexOf("closed Bash") < pet.log.indexOf(DONE), pet.log.join(", "));
    assertEquals(pet.bubbles.map(({ state }) => state), ["closed"]);
    assertEquals(driving.answers, []);
    assertEquals(driving.driver.present, true);
  });
}

Deno.test("driver: a permission that is answered before it is shown is not shown", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  driving.take(state("thinking"), ask(), resolved("allowed"), state("attention"));
  await pet.untilLogged(DONE);
  assertEquals(pet.bubbles, []);
});

Deno.test("driver: a permission that expires goes, though nobody says so", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  driving.take(state("thinking"), ask({ expires_at: driving.nowMs / 1000 }));
  await pet.until(() => pet.bubbles.every(({ state }) => state === "closed"));
  driving.take(ask({ request_id: "ask-2", expires_at: LATE }));
  await pet.until(() => pet.bubbles.some(({ state }) => state === "open"));
  assertEquals(driving.answers, []);
});

Deno.test("driver: a pet that is not to disturb gives no answer, and counts as nobody for a while", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  pet.dnd = true;
  driving.take(state("thinking"), ask());
  await driving.until(() => driving.logged.includes("debug the pet did not ask"));
  await pet.untilLogged("dnd");
  assertEquals([driving.driver.present, driving.answers], [false, []]);
  assertEquals(driving.said, ["info found clawd-on-desk"], "it is not lost");
  driving.take(resolved("expired"), state("attention"));
  await pet.untilLogged(DONE);
  driving.nowMs += 60_000;
  assertEquals(driving.driver.present, true);
});

Deno.test("driver: what the pet refuses by itself is nobody's answer", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  driving.take(state("thinking"), ask());
  await pet.untilLogged("ask Bash");
  const { probes } = pet;
  pet.decide("deny", { message: "DND enabled" });
  await pet.until(() => pet.probes > probes);
  assertEquals([driving.driver.present, driving.answers], [false, []]);
});

Deno.test("driver: an answer of the pet makes it somebody again", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  driving.take(state("thinking"), ask());
  await pet.untilLogged("ask Bash");
  pet.decide("deny", { message: "DND enabled" });
  await pet.until(() => !driving.driver.present);
  driving.take(ask({ request_id: "ask-2" }));
  await pet.untilLogged("ask Bash", 2);
  pet.decide("allow");
  await driving.until(() => driving.answers.length > 0);
  assertEquals(driving.driver.present, true);
});

Deno.test("driver: more permissions than the pet should show are asked elsewhere only", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  for (const session_id of ["a", "b", "c"]) {
    driving.take(state("thinking", { session_id }));
    for (let n = 0; n < 8; n++) driving.take(ask({ session_id, request_id: `${session_id}-${n}` }));
  }
  driving.take(NOTIFICATION);
  await pet.untilLogged("notification Notification oab");
  await pet.until(() => pet.bubbles.length === 12);
});

Deno.test("driver: when it stops it closes what it asked, and ends its sessions", async () => {
  await using pet = new FakeClawd();
  {
    await using driving = await Driving.with(pet);
    driving.take(state("thinking"), juggling(1), ask());
    await pet.untilLogged("ask Bash");
  }
  await pet.untilLogged("closed Bash");
  assertEquals(pet.log.slice(-2), ["sleeping SessionEnd oab-chat:sub1", "sleeping SessionEnd oab-chat"]);
  assertEquals(pet.sessions.size, 0);
});

Deno.test("driver: it stops at once, wherever it is", async () => {
  await using pet = new FakeClawd();
  const idle = new Driving();
  await idle[Symbol.asyncDispose]();
  idle.driver.start();
  const looking = new Driving();
  looking.runtime = pet.runtime;
  looking.driver.start();
  await looking[Symbol.asyncDispose]();
  await looking[Symbol.asyncDispose]();
  looking.take(state("thinking"));
  const telling = await Driving.with(pet);
  telling.take(state("thinking"), tool("pending"), ask(), state("attention"));
  await telling[Symbol.asyncDispose]();
  const gone = new FakeClawd();
  const left = await Driving.with(gone);
  await gone[Symbol.asyncDispose]();
  left.take(state("thinking"));
  await left[Symbol.asyncDispose]();
});

Deno.test("driver: a pet that never answers holds nothing up for long", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connections: Deno.Conn[] = [];
  const accepted = Promise.withResolvers<void>();
  const accepting = (async () => {
    for await (const connection of listener) {
      connections.push(connection);
      accepted.resolve();
    }
  })().catch(() => {});
  const driving = new Driving({ ports: [listener.addr.port], times: { probeMs: 1 } });
  driving.driver.start();
  await soon(accepted.promise, "a connection");
  await driving.until(() => driving.logged.some((line) => line.includes("no clawd")));
  await soon(driving[Symbol.asyncDispose](), "the end");
  listener.close();
  await accepting;
  for (const connection of connections) connection.close();
});

Deno.test("driver: events that are not what they should be break nothing", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  const wrong = [{ type: "permission_request", session_id: "a", turn_id: "b" }, { type: "later" }, {
    type: "say",
  }];
  for (const event of wrong) driving.driver.take(event);
  driving.take(state("thinking"), state("attention"));
  await pet.untilLogged(DONE);
});

Deno.test("driver: nothing that it logs tells what a tool does", async () => {
  await using pet = new FakeClawd();
  await using driving = await Driving.with(pet);
  driving.take(
    state("thinking"),
    tool("pending"),
    ask({ tool: { detail: "echo SECRET", tool_name: "SECRET" } }),
  );
  await pet.untilLogged("ask Bash");
  pet.decide("deny", { message: "DND enabled" });
  pet.dnd = true;
  driving.take(resolved("expired"), ask({ request_id: "ask-2", tool: { detail: "SECRET" } }));
  await pet.untilLogged("dnd");
  pet.isBroken = true;
  driving.take(state("error"), state("idle"));
  await driving.until(() => driving.said.includes("info lost clawd-on-desk"));
  assert(!JSON.stringify([driving.logged, driving.details]).includes("SECRET"));
});
