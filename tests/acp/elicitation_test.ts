import { assertEquals, assertStringIncludes } from "@std/assert";
import { SessionQuestions, toQuestion } from "../../lib/acp/elicitation.ts";
import { parseElicitationRequest } from "../../lib/acp/wire.ts";
import type { Question, QuestionResolution, SessionId } from "../../lib/turn/event.ts";
import { PERMISSION_POLICIES, type PermissionPolicy } from "../../lib/turn/permission.ts";
import { QuestionBroker } from "../../lib/turn/question.ts";
import type { Json } from "../support/agents/agent_io.ts";
import { AcpHarness, PROMPT } from "../support/agents/memory_acp_agent.ts";
import { LogRecorder } from "../support/harness/json_rpc_harness.ts";
import { TurnRecorder } from "../support/harness/turn_recorder.ts";

const form = (properties: Json, more: Json = {}) => ({
  sessionId: "s",
  mode: "form",
  message: "Which branch?",
  requestedSchema: { type: "object", properties, ...more },
});
const convert = (params: unknown) => toQuestion(parseElicitationRequest(params));
const titled = [{ const: "a", title: "A" }, { const: "b", title: "B", description: "x" }];
const OPTIONS = [{ value: "a", title: "A" }, { value: "b", title: "B" }];
const base = { name: "x", title: "x", required: false };

for (
  const [name, property, field] of [
    ["a text", { type: "string" }, { ...base, type: "text" }],
    [
      "a text with limits",
      {
        type: "string",
        title: "X",
        description: "d",
        minLength: 1,
        maxLength: 5,
        default: "a",
        pattern: "(a+)+$",
      },
      { ...base, title: "X", description: "d", default: "a", type: "text", min: 1, max: 5 },
    ],
    [
      "null for what is not set",
      { type: "string", minLength: null, enum: null, oneOf: null, default: null },
      {
        ...base,
        type: "text",
      },
    ],
    ["a choice", { type: "string", enum: ["a", "b"] }, {
      ...base,
      type: "choice",
      options: [{ value: "a", title: "a" }, { value: "b", title: "b" }],
    }],
    ["a choice with titles", { type: "string", oneOf: titled }, {
      ...base,
      type: "choice",
      options: OPTIONS,
    }],
    ["choices", { type: "array", items: { type: "string", enum: ["a"] }, minItems: 1 }, {
      ...base,
      type: "choices",
      options: [{ value: "a", title: "a" }],
      min: 1,
    }],
    ["choices with titles", { type: "array", items: { anyOf: titled }, default: ["a"] }, {
      ...base,
      default: ["a"],
      type: "choices",
      options: OPTIONS,
    }],
    ["a number", { type: "number", minimum: 0, maximum: 1 }, { ...base, type: "number", min: 0, max: 1 }],
    ["a whole number", { type: "integer", default: 3 }, { ...base, default: 3, type: "integer" }],
    ["yes or no", { type: "boolean", default: false }, { ...base, default: false, type: "boolean" }],
    ["a type that is newer than this program", { type: "date-range" }, undefined],
    ["a malformed field", 7, undefined],
    ["too many options", { type: "string", enum: Array(101).fill("a") }, undefined],
    ["a strange default", { type: "string", default: { a: 1 } }, { ...base, type: "text" }],
  ] as const
) {
  Deno.test(`toQuestion: ${name}`, () => {
    const fields = convert(form({ x: property }))?.fields as unknown;
    assertEquals(fields, field === undefined ? [] : [field]);
    assertEquals(convert(form({ x: property }, { required: ["x"] })) === undefined, field === undefined);
  });
}

for (
  const [name, params] of [
    ["an unknown mode", { ...form({}), mode: "hologram" }],
    ["a page that is no page", { ...form({}), mode: "url", url: "javascript:alert(1)" }],
    ["a page without an address", { ...form({}), mode: "url" }],
    [
      "a form of 21 fields",
      form(Object.fromEntries(Array.from({ length: 21 }, (_, i) => [i, { type: "string" }]))),
    ],
  ] as const
) {
  Deno.test(`toQuestion: ${name} cannot be shown`, () => assertEquals(convert(params), undefined));
}

Deno.test("toQuestion: a page has an address, and a password is private", () => {
  const page = convert({
    sessionId: "s",
    mode: "url",
    message: "Log in",
    elicitationId: "e",
    url: "https://a.example/x",
  });
  assertEquals(page, { message: "Log in", fields: [], url: "https://a.example/x", isPrivate: false });
  for (const name of ["password", "apiKey", "api_key", "access_token", "PIN", "passphrase"]) {
    assertEquals(convert(form({ [name]: { type: "string" } }))?.isPrivate, true, name);
  }
  assertEquals(convert(form({ x: { type: "string", title: "Your secret" } }))?.isPrivate, true);
  assertEquals(convert(form({ x: { type: "string", format: "password" } }))?.isPrivate, true);
  for (const name of ["user_pin", "otp_code", "accessKey", "verificationCode", "seed_phrase"]) {
    assertEquals(convert(form({ [name]: { type: "string" } }))?.isPrivate, true, name);
  }
  const described = { type: "string", description: "Your password at example.com" };
  assertEquals(convert(form({ value: described }))?.isPrivate, true);
  const asked = (property: unknown) =>
    convert({ ...form({ value: property }), message: "Please enter your password." })?.isPrivate;
  assertEquals(asked({ type: "string" }), true);
  assertEquals(asked({ type: "integer" }), true);
  assertEquals([asked({ type: "boolean" }), asked({ type: "string", enum: ["yes", "no"] })], [false, false]);
  assertEquals(convert(form({ compass: { type: "string" }, pinned: { type: "boolean" } }))?.isPrivate, true);
  assertEquals(convert(form({ branch: { type: "string" } }))?.isPrivate, false);
});

/** Answers a question with this resolution. */
async function resultOf(
  resolution: Partial<QuestionResolution> | undefined,
  params: unknown = form({ x: { type: "string" } }),
  permissions: PermissionPolicy = "ask",
) {
  const asked: Question[] = [];
  const { log, entries } = new LogRecorder();
  const questions = new SessionQuestions("s" as SessionId, {
    log,
    questions: {
      ask(question) {
        asked.push(question);
        return Promise.resolve(resolution && { id: "q", by: "Mao", ...resolution } as QuestionResolution);
      },
    },
  });
  const request = parseElicitationRequest(params);
  const turn = { reader: () => {}, permissions };
  const result = await questions.ask(request, turn, (text) => `> ${text}`, new AbortController().signal);
  return {
    result: result as unknown,
    asked: asked.length,
    logged: entries.map(({ message }) => message).join(),
  };
}

Deno.test("SessionQuestions: converts every end of a question", async () => {
  const content = { x: "/init", y: ["/a"] };
  const { result, logged } = await resultOf({ outcome: "answered", content });
  assertEquals(result, { action: "accept", content });
  assertStringIncludes(logged, "a question of the agent was answered");
  assertEquals((await resultOf({ outcome: "answered", content, by: "chat" })).result, {
    action: "accept",
    content: { x: "> /init", y: ["/a"] },
  });
  const choice = { type: "string", enum: ["/usr/bin", "/bin"] };
  const chosen = await resultOf(
    { outcome: "answered", content: { x: "/bin" }, by: "chat" },
    form({ x: choice }),
  );
  assertEquals(chosen.result, { action: "accept", content: { x: "/bin" } });
  assertEquals((await resultOf({ outcome: "declined" })).result, { action: "decline" });
  for (const outcome of ["expired", "cancelled"] as const) {
    assertEquals((await resultOf({ outcome })).result, { action: "cancel" });
  }
  assertEquals((await resultOf(undefined)).result, { action: "cancel" });
  const strange = await resultOf({ outcome: "declined" }, { ...form({}), mode: "hologram" });
  assertEquals([strange.result, strange.asked], [{ action: "cancel" }, 0]);
});

Deno.test("AcpSession: a question of the agent is offered, asked and answered within the turn", async () => {
  const questions = new QuestionBroker(60_000, () => true);
  const events = new TurnRecorder();
  const answers: unknown[] = [];
  const params = (sessionId?: string) => ({ ...form({ branch: { type: "string" } }), sessionId });
  await using harness = new AcpHarness({
    "session/prompt": async ({ sessionId }, running) => {
      answers.push(await running.peer.request("elicitation/create", params(sessionId)));
      answers.push(await running.peer.request("elicitation/create", params("another")));
      answers.push(await running.peer.request("elicitation/create", params()));
      answers.push(await running.peer.request("elicitation/create", 7).catch(({ code }) => code));
      return { stopReason: "end_turn" };
    },
  }, { questions });
  const session = await harness.agent.newSession();
  const { clientCapabilities } = harness.running.received[0]!.params as unknown as Json;
  assertEquals((clientCapabilities as Json).elicitation, { form: {}, url: {} });
  await session.prompt(PROMPT, events.reader);
  const event = await events.until(({ type }) => type === "question");
  if (event.type === "question") event.request.answerInWords?.("/next");
  assertEquals(await events.lastSummary(), "end end_turn");
  assertEquals(events.summaries.slice(0, 2), ["question Which branch?", "question answered by chat"]);
  const cancel = { action: "cancel" };
  assertEquals(answers, [{ action: "accept", content: { branch: "> /next" } }, cancel, cancel, -32602]);
});

/** An agent that asks a question in its only prompt. */
function askingAgent(stopReason: string, permissions: PermissionPolicy = "ask") {
  const answers: unknown[] = [];
  const harness = new AcpHarness({
    "session/prompt": async ({ sessionId }, running) => {
      const params = { ...form({ x: { type: "string" } }), sessionId };
      answers.push(await running.peer.request("elicitation/create", params));
      return { stopReason };
    },
  }, { permissions, questions: new QuestionBroker(60_000, () => true) });
  return { harness, answers, events: new TurnRecorder() };
}

Deno.test("AcpSession: a question ends with its turn", async () => {
  const { harness, answers, events } = askingAgent("cancelled");
  await using _ = harness;
  const prompt = await (await harness.agent.newSession()).prompt(PROMPT, events.reader);
  await events.until(({ type }) => type === "question");
  prompt.cancel();
  assertEquals(await events.lastSummary(), "end cancelled");
  assertEquals([answers, events.summaries[1]], [[{ action: "cancel" }], "question cancelled by turn"]);
});

for (const setting of PERMISSION_POLICIES) {
  Deno.test(`AcpSession: a prompt with the policy deny asks nobody, whatever the setting; here ${setting}`, async () => {
    const { harness, answers, events } = askingAgent("end_turn", setting);
    await using _ = harness;
    const session = await harness.agent.newSession();
    await session.prompt(PROMPT, events.reader, "deny");
    assertEquals(await events.lastSummary(), "end end_turn");
    assertEquals([answers, events.summaries.length], [[{ action: "cancel" }], 1]);
  });
}

Deno.test("SessionQuestions: deny asks nobody, allow and ask do", async () => {
  for (const policy of PERMISSION_POLICIES) {
    const { result, asked, logged } = await resultOf({ outcome: "declined" }, undefined, policy);
    const isDenied = policy === "deny";
    assertEquals([result, asked], isDenied ? [{ action: "cancel" }, 0] : [{ action: "decline" }, 1]);
    assertEquals(logged.includes("the turn's permission policy is deny"), isDenied);
  }
});
