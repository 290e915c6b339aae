import { assertEquals, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { Session } from "../../lib/turn/agent.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import type { Json } from "../support/agents/scripted_agent.ts";
import { failureOf, settled } from "../support/harness/turn_recorder.ts";
import { ScriptedAgentHarness } from "../support/harness/agent_process_harness.ts";
import { rawAgent } from "../support/harness/json_rpc_harness.ts";
import {
  AcpHarness,
  type Handler,
  neverAnswers,
  PROMPT,
  withCapabilities,
} from "../support/agents/memory_acp_agent.ts";

const option = (currentValue: string) => [{
  id: "model",
  name: "Model",
  category: "model",
  type: "select",
  currentValue,
  options: ["a", "b", "c"].map((value) => ({ value, name: `Model ${value}` })),
}];
const ABLE = withCapabilities({ sessionCapabilities: { close: {}, resume: {} } });

/** An agent with an option for its model. */
function withOption(more: Readonly<Record<string, Handler>> = {}): Record<string, Handler> {
  return {
    "initialize": ABLE,
    "session/new": (_params, running) => ({
      sessionId: `session-${running.nextSession++}`,
      configOptions: option("a"),
    }),
    "session/set_config_option": ({ value }) => ({ configOptions: option(value) }),
    ...more,
  };
}

for (const by of ["option", "set_model", "both"] as const) {
  Deno.test(`AcpSession.choose: a model by ${by}, another, and back`, async () => {
    await using house = new ScriptedAgentHarness({ models: { ids: ["a", "b", "c"], by } });
    assertEquals(house.agent.models, []);
    const session = await house.agent.newSession();
    assertEquals(house.agent.models, ["a", "b", "c"].map((id) => ({ id, name: `Model ${id}` })));
    assertEquals(session.model, "a");
    for (const model of ["a", "b", "b", "c", undefined, undefined, "a"]) {
      await session.setModel(model);
      assertEquals(session.model, model ?? "a");
    }
    const sent = by === "set_model"
      ? ["b", "c", "a"].map((modelId) => ["session/set_model", { sessionId: session.id, modelId }])
      : ["b", "c", "a"].map((
        value,
      ) => ["session/set_config_option", { sessionId: session.id, configId: "model", value }]);
    assertEquals(
      house.received.flatMap(({ method, params }) =>
        String(method).startsWith("session/set") ? [[method, params]] : []
      ),
      sent,
    );
  });
}

Deno.test("AcpSession.choose: a model that is not offered is refused here, and some are named", async () => {
  await using house = new AcpHarness(withOption());
  const session = await house.agent.newSession();
  const failure = await failureOf(session.setModel("Model b"));
  assertEquals([failure.code, failure.param, failure.prompted], ["model_not_found", "model", false]);
  assertStringIncludes(failure.message, "a, b, c");
  assertEquals(house.running.count("session/set_config_option"), 0);
});

Deno.test("AcpSession.choose: an agent that tells no models has only its own", async () => {
  await using house = new AcpHarness();
  const session = await house.agent.newSession();
  await session.setModel(undefined);
  assertEquals((await failureOf(session.setModel("a"))).code, "model_not_found");
  assertEquals([session.model, house.agent.models], [undefined, []]);
});

Deno.test("AcpSession.choose: what the agent refuses is its error, and the model stays", async () => {
  await using house = new AcpHarness(withOption({
    "session/set_config_option": () => Promise.reject(new RpcError(RPC.internalError, "No credit.")),
  }));
  const session = await house.agent.newSession();
  const failure = await failureOf(session.setModel("b"));
  assertEquals([failure.code, session.model], ["agent_error", "a"]);
  assertStringIncludes(failure.message, "No credit.");
});

Deno.test("AcpSession.choose: what the agent answers is what is set", async () => {
  await using house = new AcpHarness(withOption({
    "session/set_config_option": () => ({ configOptions: option("c") }),
  }));
  const session = await house.agent.newSession();
  await session.setModel("b");
  assertEquals(session.model, "c");
});

Deno.test("AcpSession.choose: an agent that does not answer is not waited for", async () => {
  await using house = new AcpHarness(withOption({ "session/set_config_option": neverAnswers }), {
    timeouts: { setupMs: 60_000, resumeMs: 10, cancelMs: 60_000 },
  });
  const session = await house.agent.newSession();
  const failure = await failureOf(session.setModel("b"));
  assertEquals(failure.code, "agent_error");
  assertEquals(
    failure.message,
    'The agent did not confirm the model "b": ' +
      "The agent did not answer session/set_config_option within 0.01 seconds.",
  );
});

Deno.test("AcpSession.choose: one that did not answer is not waited for as long again, until it does", async () => {
  const answers: (() => void)[] = [];
  const timeouts = { setupMs: 60_000, resumeMs: 2, againMs: 1, cancelMs: 60_000 };
  await using house = new AcpHarness(
    withOption({
      "session/set_config_option": ({ value }) =>
        new Promise((resolve) => answers.push(() => resolve({ configOptions: option(value) }))),
    }),
    { timeouts },
  );
  const [session, other] = [await house.agent.newSession(), await house.agent.newSession()];
  const within = async (asked: Session) => {
    const { message } = await failureOf(asked.setModel("b"));
    return /within ([\d.]+) seconds/.exec(message)?.[1];
  };
  assertEquals([await within(session), await within(session), await within(other)], [
    "0.002",
    "0.001",
    "0.001",
  ]);
  await house.running.waitFor("session/set_config_option", 3);
  answers[0]?.();
  await settled();
  assertEquals(await within(other), "0.002");
});

Deno.test("AcpSession.choose: a session that is closed, or whose agent dies, has no more models", async () => {
  await using house = new AcpHarness(withOption({
    "session/set_config_option": (params, running) => {
      running.exit();
      return neverAnswers(params, running);
    },
  }));
  const session = await house.agent.newSession();
  assertEquals((await failureOf(session.setModel("b"))).code, "agent_unavailable");
  assertEquals((await failureOf(session.setModel("a"))).code, "agent_unavailable");
});

Deno.test("AcpSession.choose: choices are made one after another", async () => {
  const answers: (() => void)[] = [];
  await using house = new AcpHarness(withOption({
    "session/set_config_option": ({ value }) =>
      new Promise((resolve) => answers.push(() => resolve({ configOptions: option(value) }))),
  }));
  const session = await house.agent.newSession();
  const choosing = [session.setModel("b"), session.setModel("a")];
  for (const count of [1, 2]) {
    await house.running.waitFor("session/set_config_option", count);
    await settled();
    assertEquals(answers.length, count);
    answers.at(-1)?.();
  }
  await Promise.all(choosing);
  assertEquals(session.model, "a");
});

Deno.test("AcpSession.choose: without a model, the configured one answers again", async () => {
  await using house = new AcpHarness(withOption(), { model: "Model b" });
  const session = await house.agent.newSession();
  assertEquals(session.model, "b");
  await session.setModel("c");
  await session.setModel(undefined);
  assertEquals(session.model, "b");
});

const RESUMED: readonly { name: string; model?: string; told: Json; usual: string | undefined }[] = [
  { name: "the agent's own", told: { configOptions: option("c") }, usual: "a" },
  { name: "the configured one", model: "b", told: { configOptions: option("c") }, usual: "b" },
  { name: "the agent's own, where it tells none", told: {}, usual: "a" },
  { name: "the configured one, where it tells none", model: "b", told: {}, usual: "b" },
];
for (const { name, model, told, usual } of RESUMED) {
  Deno.test(`AcpSession.choose: without a model, after the session was brought back: ${name}`, async () => {
    await using house = new AcpHarness(withOption({ "session/resume": () => told }), { model });
    (await house.agent.newSession()).close();
    const session = await house.agent.resumeSession("session-1" as SessionId);
    await session?.setModel(undefined);
    assertEquals(session?.model, usual);
  });
}

Deno.test("AcpSession.model: as the agent tells it, in a turn and outside of one", async () => {
  await using house = new AcpHarness(withOption({
    "session/prompt": ({ sessionId }, running) => {
      running.update(sessionId, { sessionUpdate: "config_option_update", configOptions: option("b") });
      return { stopReason: "end_turn" };
    },
  }));
  const session = await house.agent.newSession();
  house.running.update(session.id, { sessionUpdate: "config_option_update", configOptions: option("c") });
  await settled();
  assertEquals(session.model, "c");
  await new Promise<void>((resolve) => session.prompt(PROMPT, ({ type }) => type === "end" && resolve()));
  assertEquals(session.model, "b");
  for (const configOptions of [[], "nonsense", undefined]) {
    house.running.update(session.id, { sessionUpdate: "config_option_update", configOptions });
    await settled();
    assertEquals(session.model, "b");
  }
});

Deno.test("AcpSession.model: what is told behind the answer that makes the session, in one go, is newer", async () => {
  const { agent, end } = rawAgent();
  await using _agent = agent;
  const opening = agent.newSession();
  await end.send({ id: (await end.receive())?.id, result: { protocolVersion: 1 } });
  const update = { sessionUpdate: "config_option_update", configOptions: option("b") };
  await end.send(
    { id: (await end.receive())?.id, result: { sessionId: "s", configOptions: option("a") } },
    { method: "session/update", params: { sessionId: "s", update } },
  );
  assertEquals((await opening).model, "b");
});

/** An agent that answers the choice of a model when the test says so. */
function slowly(by: "option" | "set_model"): {
  handlers: Record<string, Handler>;
  method: string;
  answers: (() => void)[];
} {
  const answers: (() => void)[] = [];
  const later = (result: Json) => new Promise((resolve) => answers.push(() => resolve(result)));
  if (by === "option") {
    const handlers = withOption({
      "session/set_config_option": ({ value }) => later({ configOptions: option(value) }),
    });
    return { handlers, method: "session/set_config_option", answers };
  }
  const availableModels = ["a", "b", "c"].map((modelId) => ({ modelId, name: modelId }));
  const handlers: Record<string, Handler> = {
    "session/new": () => ({ sessionId: "s", models: { currentModelId: "a", availableModels } }),
    "session/set_model": () => later({}),
  };
  return { handlers, method: "session/set_model", answers };
}
const HASTY = { setupMs: 60_000, resumeMs: 20, cancelMs: 60_000 };

for (const by of ["option", "set_model"] as const) {
  Deno.test(`AcpSession.choose: an answer that comes late is as good as any: by ${by}`, async () => {
    const { handlers, method, answers } = slowly(by);
    await using house = new AcpHarness(handlers, { timeouts: HASTY });
    const session = await house.agent.newSession();
    await failureOf(session.setModel("b"));
    assertEquals(session.model, undefined, "it is not known whether it was taken");
    answers[0]?.();
    await settled();
    assertEquals(session.model, "b");
    const back = session.setModel(undefined);
    await house.running.waitFor(method, 2);
    answers[1]?.();
    await back;
    assertEquals(session.model, "a");
  });

  Deno.test(`AcpSession.choose: what may have been taken is asked for again: by ${by}`, async () => {
    const { handlers, method, answers } = slowly(by);
    await using house = new AcpHarness(handlers, { timeouts: HASTY });
    const session = await house.agent.newSession();
    await failureOf(session.setModel("b"));
    const back = session.setModel(undefined);
    await house.running.waitFor(method, 2);
    answers[1]?.();
    await back;
    assertEquals(session.model, "a");
    answers[0]?.();
    await settled();
    // The option tells what is set; the answer to the method tells nothing.
    assertEquals(session.model, by === "option" ? "b" : undefined);
  });
}

Deno.test("AcpSession.choose: a refusal leaves the model as it was", async () => {
  let refuses = true;
  await using house = new AcpHarness(withOption({
    "session/set_config_option": ({ value }) => {
      if (refuses) throw new RpcError(RPC.internalError, "No credit.");
      return { configOptions: option(value) };
    },
  }));
  const session = await house.agent.newSession();
  await failureOf(session.setModel("b"));
  await session.setModel("a");
  await session.setModel(undefined);
  assertEquals(house.running.count("session/set_config_option"), 1);
  refuses = false;
  await session.setModel("b");
  assertEquals(session.model, "b");
});

Deno.test("AcpSession.choose: a session that a new process brings back returns to the agent's own model", async () => {
  let kept = "a";
  await using house = new AcpHarness(withOption({
    "session/set_config_option": ({ value }) => {
      kept = value;
      return { configOptions: option(value) };
    },
    "session/resume": () => ({ configOptions: option(kept) }),
  }));
  const session = await house.agent.newSession();
  await session.setModel("b");
  house.nowMs = 60_000;
  house.running.exit();
  await settled();
  const again = await house.agent.resumeSession(session.id);
  assertEquals([house.starts.length, again?.model], [2, "b"]);
  await again?.setModel(undefined);
  assertEquals([again?.model, kept], ["a", "a"]);
});
