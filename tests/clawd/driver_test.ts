import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { ClawdOptions } from "../../lib/clawd/driver.ts";
import { AppError } from "../../lib/core/errors.ts";
import {
  ask,
  DriverFixture,
  juggling,
  LATE,
  NOTIFICATION,
  resolved,
  state,
  tool,
} from "../support/harness/clawd_fixture.ts";
import { FakeClawd } from "../support/harness/fake_clawd.ts";
import { waitFor } from "../support/harness/turn_recorder.ts";

const STARTED = ["idle SessionStart oab-chat", "thinking UserPromptSubmit oab-chat"];
const WORKING = "working PreToolUse oab-chat";
const ASKING = "notification PermissionRequest oab-chat";
const DONE = "attention Stop oab-chat";
const ALWAYS = { options: [{ option_id: "always", name: "Always allow", kind: "allow_always" }] };

/** Tests a driver that has found a pet. */
function test(
  name: string,
  run: (fixture: DriverFixture, pet: FakeClawd) => Promise<void>,
  options: Partial<ClawdOptions> = {},
): void {
  Deno.test(`ClawdDriver: ${name}`, async () => {
    await using pet = new FakeClawd();
    await using fixture = await DriverFixture.start(pet, options);
    await run(fixture, pet);
  });
}

test("posts a turn in order, and changes only", async (fixture, pet) => {
  const next = { tool_call_id: "call-2" };
  fixture.publish(state("thinking"), state("thinking"), tool("pending"), state("working"), tool("running"));
  fixture.publish(tool("done"), state("thinking"), tool("pending", next), state("working"));
  await pet.untilLogged(WORKING);
  fixture.publish(tool("done", next), state("thinking"), state("attention"), state("idle"));
  await pet.untilLogged(DONE);
  fixture.publish(NOTIFICATION);
  await pet.untilLogged("notification Notification oab");
  assertEquals(pet.log, [...STARTED, WORKING, DONE, "notification Notification oab"]);
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

test("gives each sub-agent a session, and ends it", async (fixture, pet) => {
  fixture.publish(state("thinking"), tool("pending"), juggling(2));
  await pet.until(() => pet.sessions.size === 3);
  const states = { "oab-chat": "juggling", "oab-chat:sub1": "working", "oab-chat:sub2": "juggling" };
  assertEquals(Object.fromEntries(pet.sessions), states);
  fixture.publish(state("thinking"));
  await pet.untilLogged("working SubagentStop oab-chat");
  assertEquals(Object.fromEntries(pet.sessions), { "oab-chat": "working" });
});

test("fits long names in any script into the pet's limits", async (fixture, pet) => {
  const turn = { session_id: "会話🗨️".repeat(200), turn_id: "t" };
  fixture.publish(
    state("thinking", turn),
    tool("pending", { ...turn, tool_name: '検索する🔍\n"'.repeat(400) }),
  );
  fixture.publish(juggling(2), state("attention", turn));
  await pet.until(() => pet.last?.startsWith("attention Stop") === true);
  assertEquals(pet.log.filter((line) => /^4\d\d/.test(line)), []);
  assertStringIncludes(String(pet.posts.find(({ tool_name }) => tool_name)?.tool_name), "検索する🔍");
}, { cwd: `/home/${"資料夾📁".repeat(500)}/app` });

test("shows no failure of the tools that an interrupt closes", async (fixture, pet) => {
  fixture.publish(state("thinking"), tool("pending"));
  await pet.untilLogged(WORKING);
  fixture.publish(tool("failed"), state("idle"));
  await pet.untilLogged("idle - oab-chat");
  assert(!pet.log.some((line) => line.startsWith("error")));
});

test("shows a failed turn, whose session is idle afterwards", async (fixture, pet) => {
  fixture.publish(state("thinking"), tool("pending"), tool("failed"), state("error"), state("idle"));
  await pet.untilLogged("idle - oab-chat");
  assertEquals(pet.log.slice(-2), ["error StopFailure oab-chat", "idle - oab-chat"]);
  assertEquals(pet.sessions.get("oab-chat"), "idle");
});

test("refreshes a long turn before the pet's timeout of 5 minutes, until it ends", async (fixture, pet) => {
  fixture.publish(state("thinking"), tool("pending"), juggling(1));
  await pet.untilLogged("working PreToolUse oab-chat:sub1");
  for (const times of [1, 2]) {
    fixture.nowMs += 4 * 60_000;
    await pet.untilLogged("juggling - oab-chat", times);
    await pet.untilLogged("working - oab-chat:sub1", times);
  }
  fixture.publish(state("working"), state("attention"));
  await pet.untilLogged(DONE);
  const count = pet.log.length;
  for (const probes of [pet.probes, pet.probes + 1]) {
    fixture.nowMs += 60 * 60_000;
    await pet.until(() => pet.probes > probes);
  }
  assertEquals(pet.log.length, count, "an ended turn is not refreshed");
});

const searches = (fixture: DriverFixture) =>
  fixture.logged.filter((line) => line.includes("no clawd")).length;

Deno.test("ClawdDriver: shows a pet that starts late the running turn and its open request", async () => {
  await using fixture = new DriverFixture();
  fixture.driver.start();
  fixture.publish(
    state("thinking"),
    tool("pending"),
    state("working", { detail: { tool_name: "npm test" } }),
  );
  fixture.publish(ask());
  await fixture.until(() => searches(fixture) >= 3);
  assertEquals(fixture.canAnswer, false);
  await using pet = new FakeClawd();
  fixture.runtime = pet.runtime;
  await pet.untilLogged("ask Bash");
  assertEquals(fixture.canAnswer, true);
  assertEquals(pet.log, [...STARTED, WORKING, ASKING, "ask Bash"]);
  assertEquals(fixture.messages, ["info found clawd-on-desk"]);
});

Deno.test("ClawdDriver: logs a lost pet once, and finds it again on another port", async () => {
  const first = new FakeClawd();
  await using fixture = await DriverFixture.start(first);
  fixture.publish(state("thinking"), ask());
  await first.untilLogged("ask Bash");
  await first[Symbol.asyncDispose]();
  await fixture.until(() => fixture.messages.length === 2);
  assertEquals(fixture.canAnswer, false);
  fixture.publish(state("working"));
  await fixture.until(() => searches(fixture) >= 3);
  await using second = new FakeClawd();
  fixture.runtime = second.runtime;
  await second.untilLogged("ask Bash");
  assertEquals(second.log.slice(0, 3), [...STARTED, WORKING]);
  const [found, lost] = ["info found clawd-on-desk", "info lost clawd-on-desk"];
  assertEquals(fixture.messages, [found, lost, found] as string[]);
  assertEquals(fixture.answers, []);
});

Deno.test("ClawdDriver: notices a lost pet while there is nothing to post", async () => {
  const pet = new FakeClawd();
  await using fixture = await DriverFixture.start(pet);
  await pet[Symbol.asyncDispose]();
  await fixture.until(() => !fixture.canAnswer);
});

test("takes a pet that answers no state for lost", async (fixture, pet) => {
  pet.isBroken = true;
  fixture.publish(state("thinking"));
  await fixture.until(() => fixture.messages.includes("info lost clawd-on-desk"));
  assertEquals(fixture.canAnswer, false);
}, { retryMs: 60_000 });

Deno.test("ClawdDriver: posts nothing to another program on the pet's port", async () => {
  await using other = new FakeClawd({ identity: "another" });
  await using fixture = new DriverFixture({ ports: [other.port] });
  fixture.runtime = other.runtime;
  fixture.publish(state("thinking"), ask());
  fixture.driver.start();
  await other.until(() => other.probes >= 3);
  assertEquals([fixture.isSubscribed, other.log], [false, []]);
});

Deno.test("ClawdDriver: searches the pet's ports if runtime.json is missing or wrong", async () => {
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
    await using fixture = new DriverFixture({ ports: [pet.port], readRuntime });
    fixture.driver.start();
    await fixture.until(() => fixture.isSubscribed);
  }
});

const DECISIONS = {
  allow: ["allow", {}, "allow"],
  "always, if the agent offers it": ["allow", { suggestion: 0 }, "allow_always"],
  deny: ["deny", {}, "reject"],
  "deny by a hotkey": ["deny", { message: "Denied via hotkey" }, "reject"],
} as const;
for (const [name, [behavior, options, decision]] of Object.entries(DECISIONS)) {
  test(`forwards the decision of the pet's user: ${name}`, async (fixture, pet) => {
    fixture.publish(state("thinking"), tool("pending"), ask(ALWAYS), state("notification"));
    await pet.untilLogged("ask Bash");
    pet.decide(behavior, options);
    await fixture.until(() => fixture.answers.length > 0);
    assertEquals(fixture.answers, [{ id: "ask-1", answer: { decision }, by: "clawd-on-desk" }]);
    fixture.publish(resolved("allowed", { by: "clawd-on-desk" }), state("working"), tool("done"));
    fixture.publish(state("attention"));
    await pet.untilLogged(DONE);
    assertEquals(pet.bubbles.map(({ state }) => state), [behavior]);
    assertEquals(pet.log.slice(-3), ["ask Bash", WORKING, DONE]);
  });
}

test("ignores a decision that is too late", async (fixture, pet) => {
  fixture.publish(state("thinking"), ask());
  await pet.untilLogged("ask Bash");
  pet.decide("allow");
  await fixture.until(() => fixture.logged.some((line) => line.includes("too late")));
  fixture.publish(state("attention"));
  await pet.untilLogged(DONE);
}, {
  answer: () => {
    throw new AppError("permission_resolved", "This permission request was answered before.");
  },
});

for (const outcome of ["allowed", "rejected", "expired", "cancelled"] as const) {
  test(
    `withdraws a request that is ${outcome} elsewhere before it posts the next state`,
    async (fixture, pet) => {
      fixture.publish(state("thinking"), tool("pending"), ask());
      await pet.untilLogged("ask Bash");
      fixture.publish(resolved(outcome), tool("failed"), state("attention"));
      await pet.untilLogged(DONE);
      await pet.untilLogged("closed Bash");
      assert(pet.log.indexOf("closed Bash") < pet.log.indexOf(DONE), pet.log.join(", "));
      assertEquals(pet.bubbles.map(({ state }) => state), ["closed"]);
      assertEquals([fixture.answers, fixture.canAnswer], [[], true]);
    },
  );
}

test("does not show a request that is resolved before", async (fixture, pet) => {
  fixture.publish(state("thinking"), ask(), resolved("allowed"), state("attention"));
  await pet.untilLogged(DONE);
  assertEquals(pet.bubbles, []);
});

test("withdraws an expired request by itself", async (fixture, pet) => {
  fixture.publish(state("thinking"), ask({ expires_at: fixture.nowMs / 1000 }));
  await pet.until(() => pet.bubbles.every(({ state }) => state === "closed"));
  fixture.publish(ask({ request_id: "ask-2", expires_at: LATE }));
  await pet.until(() => pet.bubbles.some(({ state }) => state === "open"));
  assertEquals(fixture.answers, []);
});

test('takes a pet in the mode "do not disturb" for unable to answer for a minute', async (fixture, pet) => {
  pet.dnd = true;
  fixture.publish(state("thinking"), ask());
  await fixture.until(() => fixture.logged.includes("debug clawd-on-desk did not ask its user"));
  await pet.untilLogged("dnd");
  assertEquals([fixture.canAnswer, fixture.answers], [false, []]);
  assertEquals(fixture.messages, ["info found clawd-on-desk"], "the pet is not lost");
  fixture.publish(resolved("expired"), state("attention"));
  await pet.untilLogged(DONE);
  fixture.nowMs += 60_000;
  assertEquals(fixture.canAnswer, true);
});

test("takes no automatic denial for an answer, and the next decision for one", async (fixture, pet) => {
  fixture.publish(state("thinking"), ask());
  await pet.untilLogged("ask Bash");
  const { probes } = pet;
  pet.decide("deny", { message: "DND enabled" });
  await pet.until(() => pet.probes > probes && !fixture.canAnswer);
  assertEquals(fixture.answers, []);
  fixture.publish(ask({ request_id: "ask-2" }));
  await pet.untilLogged("ask Bash", 2);
  pet.decide("allow");
  await fixture.until(() => fixture.answers.length > 0);
  assertEquals(fixture.canAnswer, true);
});

test("shows at most 12 requests", async (fixture, pet) => {
  for (const session_id of ["a", "b", "c"]) {
    fixture.publish(state("thinking", { session_id }));
    for (let n = 0; n < 8; n++) fixture.publish(ask({ session_id, request_id: `${session_id}-${n}` }));
  }
  fixture.publish(NOTIFICATION);
  await pet.untilLogged("notification Notification oab");
  await pet.until(() => pet.bubbles.length === 12);
});

test("withdraws its requests and ends its sessions when it stops", async (fixture, pet) => {
  fixture.publish(state("thinking"), juggling(1), ask());
  await pet.untilLogged("ask Bash");
  await fixture[Symbol.asyncDispose]();
  await pet.untilLogged("closed Bash");
  assertEquals(pet.log.slice(-2), ["sleeping SessionEnd oab-chat:sub1", "sleeping SessionEnd oab-chat"]);
  assertEquals(pet.sessions.size, 0);
});

Deno.test("ClawdDriver: stops at once, whatever it is doing", async () => {
  await using pet = new FakeClawd();
  const idle = new DriverFixture();
  await idle[Symbol.asyncDispose]();
  idle.driver.start();
  const searching = new DriverFixture();
  searching.runtime = pet.runtime;
  searching.driver.start();
  await searching[Symbol.asyncDispose]();
  await searching[Symbol.asyncDispose]();
  searching.publish(state("thinking"));
  const posting = await DriverFixture.start(pet);
  posting.publish(state("thinking"), tool("pending"), ask(), state("attention"));
  await posting[Symbol.asyncDispose]();
  const gone = new FakeClawd();
  const unanswered = await DriverFixture.start(gone);
  await gone[Symbol.asyncDispose]();
  unanswered.publish(state("thinking"));
  await unanswered[Symbol.asyncDispose]();
});

Deno.test("ClawdDriver: waits for a program that never answers only for a while", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connections: Deno.Conn[] = [];
  const accepted = Promise.withResolvers<void>();
  const accepting = (async () => {
    for await (const connection of listener) {
      connections.push(connection);
      accepted.resolve();
    }
  })().catch(() => {});
  const fixture = new DriverFixture({ ports: [listener.addr.port], responseMs: 1 });
  fixture.driver.start();
  await waitFor(accepted.promise, "a connection");
  await fixture.until(() => searches(fixture) > 0);
  await waitFor(fixture[Symbol.asyncDispose](), "the end");
  listener.close();
  await accepting;
  for (const connection of connections) connection.close();
});

test("survives malformed and unknown events", async (fixture, pet) => {
  for (const type of ["permission_request", "later", "say"]) fixture.publish({ type });
  fixture.publish(state("thinking"), state("attention"));
  await pet.untilLogged(DONE);
});

test("logs nothing of what a tool does", async (fixture, pet) => {
  const secret = { detail: "echo SECRET", tool_name: "SECRET" };
  fixture.publish(state("thinking"), tool("pending"), ask({ tool: secret }));
  await pet.untilLogged("ask Bash");
  pet.decide("deny", { message: "DND enabled" });
  pet.dnd = true;
  fixture.publish(resolved("expired"), ask({ request_id: "ask-2", tool: secret }));
  await pet.untilLogged("dnd");
  pet.isBroken = true;
  fixture.publish(state("error"), state("idle"));
  await fixture.until(() => fixture.messages.includes("info lost clawd-on-desk"));
  assert(!JSON.stringify([fixture.logged, fixture.logFields]).includes("SECRET"));
});
