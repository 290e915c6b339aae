import { assert, assertEquals } from "@std/assert";
import type { ClawdOptions } from "../../lib/clawd/driver.ts";
import { AppError } from "../../lib/core/errors.ts";
import { ask, DriverFixture, NOTIFICATION, resolved, state } from "../support/harness/clawd_fixture.ts";
import { FakeClawd, type Json } from "../support/harness/fake_clawd.ts";
import { waitFor } from "../support/harness/turn_recorder.ts";

const THINKING = "thinking UserPromptSubmit oab-chat";
const DONE = "attention Stop oab-chat";
const [FOUND, LOST] = ["info found clawd-on-desk", "info lost clawd-on-desk"];

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

test("posts the changes of a turn and notifications, in order", async (fixture, pet) => {
  fixture.publish(state("thinking"), state("working", { detail: { tool_name: "npm test" } }));
  fixture.publish(state("thinking"), state("attention"), NOTIFICATION);
  await pet.untilLogged("notification Notification oab");
  const working = "working PreToolUse oab-chat";
  assertEquals(pet.log, [THINKING, working, DONE, "notification Notification oab"]);
  assertEquals(pet.posts[1], {
    state: "working",
    event: "PreToolUse",
    session_id: "oab-chat",
    agent_id: "claude-code",
    cwd: "/home/me/project",
    tool_name: "npm test",
  });
});

Deno.test("ClawdDriver: shows a pet that starts late the running turn and its open request", async () => {
  await using fixture = new DriverFixture();
  fixture.driver.start();
  fixture.publish(state("thinking"), state("notification"), ask());
  await fixture.until(() => fixture.searches >= 3);
  await using pet = new FakeClawd();
  fixture.runtime = pet.runtime;
  await pet.until(() => pet.log.length === 2);
  assertEquals(pet.log.sort(), ["ask Bash", "notification PermissionRequest oab-chat"]);
  assertEquals(fixture.messages, [FOUND]);
});

Deno.test("ClawdDriver: logs a lost pet once, and finds it again on another port", async () => {
  const first = new FakeClawd();
  await using fixture = await DriverFixture.start(first);
  fixture.publish(state("thinking"), ask());
  await first.untilLogged("ask Bash");
  await first[Symbol.asyncDispose]();
  await fixture.until(() => !fixture.isSubscribed);
  await using second = new FakeClawd();
  fixture.runtime = second.runtime;
  await second.untilLogged("ask Bash");
  await second.untilLogged(THINKING);
  assertEquals([fixture.messages, fixture.answers], [[FOUND, LOST, FOUND], []]);
});

Deno.test("ClawdDriver: takes a pet that answers no state for lost", async () => {
  const pet = new FakeClawd();
  await using fixture = await DriverFixture.start(pet, { checkMs: 60_000, retryMs: 60_000 });
  await pet[Symbol.asyncDispose]();
  fixture.publish(state("thinking"));
  await fixture.until(() => fixture.messages.includes(LOST!));
});

Deno.test("ClawdDriver: posts nothing to another program on the pet's port", async () => {
  await using other = new FakeClawd("another");
  await using fixture = new DriverFixture({ ports: [other.port] });
  fixture.runtime = other.runtime;
  fixture.publish(state("thinking"), ask());
  fixture.driver.start();
  await other.until(() => other.probes >= 3);
  assertEquals([fixture.isSubscribed, other.log], [false, []]);
});

Deno.test("ClawdDriver: searches the pet's ports if runtime.json is missing or wrong", async () => {
  await using pet = new FakeClawd();
  for (const runtime of [undefined, "{", '{"app":"another","port":1}']) {
    await using fixture = new DriverFixture({ ports: [pet.port] });
    fixture.runtime = runtime;
    fixture.driver.start();
    await fixture.until(() => fixture.isSubscribed);
  }
});

const DECISIONS = {
  allow: ["allow", {}, "allow"],
  "always, if the agent offers it": ["allow", { always: true }, "allow_always"],
  deny: ["deny", {}, "reject"],
} as const;
const OPTIONS = { options: [{ option_id: "always", name: "Always allow", kind: "allow_always" as const }] };
for (const [name, [behavior, choice, decision]] of Object.entries(DECISIONS)) {
  test(`forwards the decision of the pet's user: ${name}`, async (fixture, pet) => {
    fixture.publish(ask({}, OPTIONS));
    await pet.untilLogged("ask Bash");
    pet.decide(behavior, choice);
    await fixture.until(() => fixture.answers.length > 0);
    assertEquals(fixture.answers, [{ id: "ask-1", answer: { decision }, by: "clawd-on-desk" }]);
  });
}

test("ignores a decision that is too late", async (fixture, pet) => {
  fixture.publish(ask());
  await pet.untilLogged("ask Bash");
  pet.decide("allow");
  await fixture.until(() => fixture.logged.some((line) => line.includes("has no answer")));
  fixture.publish(state("attention"));
  await pet.untilLogged(DONE);
}, {
  answer: () => {
    throw new AppError("permission_resolved", "This permission request was answered before.");
  },
});

test("withdraws a request that is resolved elsewhere", async (fixture, pet) => {
  fixture.publish(ask());
  await pet.untilLogged("ask Bash");
  fixture.publish(resolved("rejected"), state("attention"));
  await pet.untilLogged("closed Bash");
  await pet.untilLogged(DONE);
  assertEquals(fixture.answers, []);
});

test(
  'keeps a pet in the mode "do not disturb", and takes no automatic denial for an answer',
  async (fixture, pet) => {
    pet.dnd = true;
    fixture.publish(ask());
    const closed = () => fixture.logged.filter((line) => line.includes("has no answer")).length;
    await fixture.until(() => closed() === 1);
    pet.dnd = false;
    fixture.publish(ask());
    await pet.untilLogged("ask Bash");
    pet.decide("deny", { message: "DND enabled" });
    fixture.publish(state("attention"));
    await pet.untilLogged(DONE);
    assertEquals([fixture.answers, fixture.messages], [[], [FOUND]]);
  },
);

test("shows no request whose command it would cut", async (fixture, pet) => {
  fixture.publish(
    ask({ detail: "x".repeat(501) }),
    ask({ detail: "x".repeat(500) }, { request_id: "ask-2" }),
  );
  await pet.untilLogged("ask Bash");
  assertEquals(pet.bubbles.map(({ body }) => (body.tool_input as Json).command), ["x".repeat(500)]);
});

test("shows at most 12 requests", async (fixture, pet) => {
  for (let n = 0; n < 24; n++) fixture.publish(ask({}, { request_id: `${n}` }));
  await pet.until(() => pet.bubbles.length === 12);
  fixture.publish(NOTIFICATION);
  await pet.untilLogged("notification Notification oab");
  assertEquals(pet.bubbles.length, 12);
});

test("withdraws its requests when it stops", async (fixture, pet) => {
  fixture.publish(ask());
  await pet.untilLogged("ask Bash");
  await fixture[Symbol.asyncDispose]();
  await pet.untilLogged("closed Bash");
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
  const posting = await DriverFixture.start(pet);
  posting.publish(state("thinking"), ask(), state("attention"));
  await posting[Symbol.asyncDispose]();
});

Deno.test("ClawdDriver: waits for a program that never answers only for a while", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connections: Deno.Conn[] = [];
  const accepting = (async () => {
    for await (const connection of listener) connections.push(connection);
  })().catch(() => {});
  const fixture = new DriverFixture({ ports: [listener.addr.port], responseMs: 1 });
  fixture.driver.start();
  await fixture.until(() => fixture.searches > 1);
  await waitFor(fixture[Symbol.asyncDispose](), "the end");
  listener.close();
  await accepting;
  for (const connection of connections) connection.close();
});

test("logs nothing of what a tool does", async (fixture, pet) => {
  const secret = { detail: "echo SECRET", tool_name: "SECRET" };
  fixture.publish(state("working", { detail: { tool_name: "SECRET" } }), ask(secret));
  await pet.untilLogged("ask Bash");
  pet.dnd = true;
  fixture.publish(resolved("expired"), ask(secret, { request_id: "ask-2" }));
  await pet.untilLogged("dnd");
  await fixture.until(() => fixture.logged.filter((line) => line.includes("has no answer")).length === 2);
  assert(!JSON.stringify([fixture.logged, fixture.logFields]).includes("SECRET"));
});
