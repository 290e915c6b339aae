import { assertEquals, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import type { Json } from "../support/agents/agent_io.ts";
import { appErrorOf, nextTask } from "../support/harness/turn_recorder.ts";
import { ScriptedAgentHarness } from "../support/harness/agent_process_harness.ts";
import { rawAgent } from "../support/harness/json_rpc_harness.ts";
import {
  AcpHarness,
  exits,
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
const RESUMES = withCapabilities({ sessionCapabilities: { close: {}, resume: {} } });

/** Handlers of an agent with a config option for the model. */
function withOption(more: Readonly<Record<string, Handler>> = {}): Record<string, Handler> {
  return {
    "initialize": RESUMES,
    "session/new": (_params, running) => ({
      sessionId: `session-${running.nextSession++}`,
      configOptions: option("a"),
    }),
    "session/set_config_option": ({ value }) => ({ configOptions: option(value) }),
    ...more,
  };
}

for (const by of ["option", "set_model", "both"] as const) {
  Deno.test(`AcpSession.setModel: sets a model by ${by}, another one, and the default`, async () => {
    await using harness = new ScriptedAgentHarness({ models: { ids: ["a", "b", "c"], by } });
    assertEquals(harness.agent.models, []);
    const session = await harness.agent.newSession();
    assertEquals(harness.agent.models, ["a", "b", "c"].map((id) => ({ id, name: `Model ${id}` })));
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
      harness.received.flatMap(({ method, params }) =>
        String(method).startsWith("session/set") ? [[method, params]] : []
      ),
      sent,
    );
  });
}

Deno.test("AcpSession.setModel: rejects a model that is not offered, and names some that are", async () => {
  await using harness = new AcpHarness(withOption());
  const session = await harness.agent.newSession();
  const failure = await appErrorOf(session.setModel("Model x"));
  assertEquals([failure.code, failure.param, failure.prompted], ["model_not_found", "model", false]);
  assertStringIncludes(failure.message, "a, b, c");
  assertEquals(harness.running.count("session/set_config_option"), 0);
});

Deno.test("AcpSession.setModel: an agent that offers no models has only its default", async () => {
  await using harness = new AcpHarness();
  const session = await harness.agent.newSession();
  await session.setModel(undefined);
  assertEquals((await appErrorOf(session.setModel("a"))).code, "model_not_found");
  assertEquals([session.model, harness.agent.models], [undefined, []]);
});

Deno.test("AcpSession.setModel: the options in the answer tell the current model", async () => {
  await using harness = new AcpHarness(withOption({
    "session/set_config_option": () => ({ configOptions: option("c") }),
  }));
  const session = await harness.agent.newSession();
  await session.setModel("b");
  assertEquals(session.model, "c");
});

Deno.test("AcpSession.setModel: a change that is not answered in time is an agent_error", async () => {
  await using harness = new AcpHarness(withOption({ "session/set_config_option": neverAnswers }), {
    timeouts: { setupMs: 60_000, resumeMs: 10, cancelMs: 60_000 },
  });
  const session = await harness.agent.newSession();
  const failure = await appErrorOf(session.setModel("b"));
  assertEquals(failure.code, "agent_error");
  assertEquals(
    failure.message,
    'The agent did not confirm the model "b": ' +
      "The agent did not answer session/set_config_option within 0.01 seconds.",
  );
});

Deno.test("AcpSession.setModel: fails if the session is closed or its process exits", async () => {
  await using harness = new AcpHarness(withOption({
    "session/set_config_option": exits,
  }));
  const session = await harness.agent.newSession();
  assertEquals((await appErrorOf(session.setModel("b"))).code, "agent_unavailable");
  assertEquals((await appErrorOf(session.setModel("a"))).code, "agent_unavailable");
});

Deno.test("AcpSession.setModel: without a model it returns to the configured one", async () => {
  await using harness = new AcpHarness(withOption(), { model: "Model b" });
  const session = await harness.agent.newSession();
  assertEquals(session.model, "b");
  await session.setModel("c");
  await session.setModel(undefined);
  assertEquals(session.model, "b");
});

const DEFAULTS: readonly { name: string; model?: string; answer: Json; expected: string | undefined }[] = [
  { name: "the agent's own", answer: { configOptions: option("c") }, expected: "a" },
  { name: "the configured one", model: "b", answer: { configOptions: option("c") }, expected: "b" },
  { name: "the agent's own, if resume tells no options", answer: {}, expected: "a" },
  { name: "the configured one, if resume tells no options", model: "b", answer: {}, expected: "b" },
];
for (const { name, model, answer, expected } of DEFAULTS) {
  Deno.test(`AcpSession.setModel: in a resumed session the default is ${name}`, async () => {
    await using harness = new AcpHarness(withOption({ "session/resume": () => answer }), { model });
    (await harness.agent.newSession()).close();
    const session = await harness.agent.resumeSession("session-1" as SessionId);
    await session?.setModel(undefined);
    assertEquals(session?.model, expected);
  });
}

Deno.test("AcpSession.model: follows config_option_update, in a turn and outside", async () => {
  await using harness = new AcpHarness(withOption({
    "session/prompt": ({ sessionId }, running) => {
      running.update(sessionId, { sessionUpdate: "config_option_update", configOptions: option("b") });
      return { stopReason: "end_turn" };
    },
  }));
  const session = await harness.agent.newSession();
  harness.running.update(session.id, { sessionUpdate: "config_option_update", configOptions: option("c") });
  await nextTask();
  assertEquals(session.model, "c");
  await new Promise<void>((resolve) => session.prompt(PROMPT, ({ type }) => type === "end" && resolve()));
  assertEquals(session.model, "b");
  for (const configOptions of [[], "nonsense", undefined]) {
    harness.running.update(session.id, { sessionUpdate: "config_option_update", configOptions });
    await nextTask();
    assertEquals(session.model, "b");
  }
});

Deno.test("AcpSession.model: an update in the same write as the session/new answer is newer", async () => {
  const { agent, remote } = rawAgent();
  await using _agent = agent;
  const opening = agent.newSession();
  await remote.send({ id: (await remote.receive())?.id, result: { protocolVersion: 1 } });
  const update = { sessionUpdate: "config_option_update", configOptions: option("b") };
  await remote.send(
    { id: (await remote.receive())?.id, result: { sessionId: "s", configOptions: option("a") } },
    { method: "session/update", params: { sessionId: "s", update } },
  );
  assertEquals((await opening).model, "b");
});

Deno.test("AcpSession.setModel: a refusal is an agent_error, and leaves the model as it was", async () => {
  let isRefusing = true;
  await using harness = new AcpHarness(withOption({
    "session/set_config_option": ({ value }) => {
      if (isRefusing) throw new RpcError(RPC.internalError, "No credit.");
      return { configOptions: option(value) };
    },
  }));
  const session = await harness.agent.newSession();
  const failure = await appErrorOf(session.setModel("b"));
  assertEquals(failure.code, "agent_error");
  assertStringIncludes(failure.message, "No credit.");
  await session.setModel("a");
  await session.setModel(undefined);
  assertEquals(harness.running.count("session/set_config_option"), 1);
  isRefusing = false;
  await session.setModel("b");
  assertEquals(session.model, "b");
});

Deno.test("AcpSession.setModel: a session resumed by a new process returns to the default model", async () => {
  let current = "a";
  await using harness = new AcpHarness(withOption({
    "session/set_config_option": ({ value }) => {
      current = value;
      return { configOptions: option(value) };
    },
    "session/resume": () => ({ configOptions: option(current) }),
  }));
  const session = await harness.agent.newSession();
  await session.setModel("b");
  harness.nowMs = 60_000;
  harness.running.exit();
  await nextTask();
  const resumed = await harness.agent.resumeSession(session.id);
  assertEquals([harness.starts.length, resumed?.model], [2, "b"]);
  await resumed?.setModel(undefined);
  assertEquals([resumed?.model, current], ["a", "a"]);
});
