import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Step } from "../support/agents/scripted_agent.ts";
import { readAnswer, script, type Server, startServer } from "../support/harness/server_process.ts";
import { type Frame, get, EventStreamClient, poll, watch, type EventClient } from "../support/harness/event_client.ts";

type Json = Record<string, unknown>;

/** In no order that means anything. */
const OPTIONS = [
  { optionId: "a", name: "Always", kind: "allow_always" },
  { optionId: "n", name: "No", kind: "reject_once" },
  { optionId: "y", name: "Yes", kind: "allow_once" },
  { optionId: "x", name: "Never", kind: "reject_always" },
];
const ASKED = ["agent_state", "permission_request", "permission_resolved"];

/** The agent asks for leave to run a command. */
function ask(id = "t", command = "rm -r build", options: Json[] = OPTIONS): Step {
  const toolCall = { toolCallId: id, title: command, kind: "execute", rawInput: { command } };
  return { permission: { toolCall, options } };
}

async function asking(env: Record<string, string> = {}): Promise<Server> {
  return await startServer({ env: { VTUBER_PERMISSIONS: "ask", ...env } });
}

function named(name: string): RequestInit {
  return { headers: { "x-session-id": name } };
}

/** What the agent was answered, one for each permission that it asked for. */
function outcomes(text: string): Json[] {
  return [...text.matchAll(/permission:(\{.*?\})/g)].map((match) => JSON.parse(match[1]!));
}

async function answerOf(response: Response): Promise<ReturnType<typeof readAnswer>> {
  return readAnswer(await response.text());
}

function respond(watcher: EventClient, { request_id }: Frame, answer: Json): void {
  watcher.send({ type: "permission_response", request_id, ...answer });
}

/** What the agent received in answer to its requests. */
async function received(server: Server): Promise<Json[]> {
  const all = await server.received();
  return all.filter(({ id, method }) => `${id}`.startsWith("fake-request-") && !method)
    .map(({ result }) => (result as { outcome: Json }).outcome);
}

Deno.test("a permission is asked in full and answered over the socket, by its option or by a decision", async () => {
  await using server = await asking();
  await using watcher = await watch(server, { events: [...ASKED, "tool_status"] });
  await watcher.ask({ type: "hello", client: "overlay" }, "hello");
  const cases: [Json, string, string][] = [
    [{ option_id: "y" }, "y", "allowed"],
    [{ option_id: "x" }, "x", "rejected"],
    [{ decision: "allow" }, "y", "allowed"],
    [{ decision: "reject" }, "n", "rejected"],
    [{ decision: "deny" }, "n", "rejected"],
    [{ decision: "reject_always" }, "x", "rejected"],
    [{ decision: "allow_always" }, "a", "allowed"],
  ];
  for (const [answer, option, outcome] of cases) {
    const from = watcher.frames.length;
    const before = Math.floor(Date.now() / 1000);
    const response = await server.chat(script(ask()), {}, named(JSON.stringify(answer)));
    const request = await watcher.first("permission_request", undefined, from);
    assertEquals(request.session_id, response.headers.get("x-session-id"));
    assertEquals(request.tool, {
      tool_call_id: "t",
      tool_name: "rm -r build",
      kind: "execute",
      detail: "rm -r build",
    });
    assertEquals(
      request.options,
      OPTIONS.map(({ optionId, name, kind }) => ({ option_id: optionId, name, kind })),
    );
    const now = Date.now() / 1000;
    assert(Number.isInteger(request.expires_at), `${request.expires_at}`);
    assert(request.expires_at >= before + 59 && request.expires_at <= now + 61, `${request.expires_at}`);
    respond(watcher, request, answer);
    const resolved = await watcher.first("permission_resolved", undefined, from);
    assertEquals([resolved.request_id, resolved.outcome, resolved.option_id, resolved.by], [
      request.request_id,
      outcome,
      option,
      "overlay",
    ]);
    assertEquals([resolved.session_id, resolved.turn_id], [request.session_id, request.turn_id]);
    assertEquals(outcomes((await answerOf(response)).text), [{ outcome: "selected", optionId: option }]);
    await watcher.state("attention", from);
    // No tool call came before it: the request is the first that is heard of the tool, which then goes on.
    const frames = watcher.frames.slice(from).filter(({ turn_id }) => turn_id === request.turn_id);
    assertEquals(frames.slice(0, 7).map(({ type, state, status }) => state ?? status ?? type), [
      "thinking",
      "pending",
      "working",
      "permission_request",
      "notification",
      "permission_resolved",
      "working",
    ]);
  }
});

Deno.test("over HTTP permissions are listed and answered", async () => {
  await using server = await asking();
  // Who listens and answers by other ways is there to be asked.
  await using listener = await EventStreamClient.open(server, "events=permission_request,permission_resolved");
  const response = await server.chat(script(ask("1"), ask("2", "make")), {}, named("talk"));
  const first = await listener.until(([first]) => first);
  const { permissions } = await get(server, "/v1/vtuber/permissions");
  const { type: _, ts: __, ...request } = first;
  assertEquals(permissions, [request]);

  const post = async (path: string, body: unknown) => {
    const answer = await server.post(path, body);
    return { status: answer.status, body: await answer.json() };
  };
  const path = `/v1/vtuber/permissions/${first.request_id}`;
  for (
    const [body, param] of [
      [{}, "option_id"],
      [{ decision: "perhaps" }, "decision"],
      [{ option_id: 1 }, "option_id"],
      [{ option_id: "y", decision: "allow" }, "option_id"],
      [{ option_id: "zzz" }, "option_id"],
      [{ decision: "allow", client: 7 }, "client"],
    ] as const
  ) {
    const { status, body: { error } } = await post(path, body);
    assertEquals([status, error.param], [400, param], JSON.stringify(body));
  }
  assertEquals((await post("/v1/vtuber/permissions/no-such-request", { decision: "allow" })).status, 404);
  assertEquals((await post(path, { decision: "allow", client: "phone" })).body, {
    request_id: first.request_id,
    outcome: "allowed",
    option_id: "y",
    by: "phone",
  });
  const again = await post(path, { decision: "reject" });
  assertEquals([again.status, again.body.error.code], [409, "permission_resolved"]);
  const second = await listener.until((frames) => frames.find(({ tool }) => tool?.tool_call_id === "2"));
  const { body: refused } = await post(`/v1/vtuber/permissions/${second.request_id}`, { option_id: "n" });
  assertEquals([refused.outcome, refused.by], ["rejected", "http"]);
  assertEquals(outcomes((await answerOf(response)).text).map(({ optionId }) => optionId), ["y", "n"]);
  assertEquals(await get(server, "/v1/vtuber/permissions"), { permissions: [] });
  assertEquals(
    listener.frames.filter(({ type }) => type === "permission_resolved").map(({ by }) => by),
    ["phone", "http"],
  );
});

Deno.test("of several who answer, the first wins, and the others are told so", async () => {
  await using server = await asking();
  await using one = await watch(server, { events: ASKED });
  await using two = await watch(server, { events: ASKED });
  await using onlooker = await watch(server);
  for (let round = 0; round < 5; round++) {
    const from = [one, two, onlooker].map(({ frames }) => frames.length);
    const response = await server.chat(script(ask()));
    const request = await one.first("permission_request", undefined, from[0]);
    await two.first("permission_request", undefined, from[1]);
    const path = `/v1/vtuber/permissions/${request.request_id}`;
    respond(one, request, { decision: "allow" });
    respond(two, request, { decision: "reject" });
    const posted = await server.post(path, { decision: "reject" });
    await posted.body?.cancel();
    await one.ping();
    await two.ping();
    await onlooker.ping();
    const resolved = [one, two, onlooker].map(({ frames }, index) =>
      frames.slice(from[index]).filter(({ type }) => type === "permission_resolved").map((
        { outcome, by },
      ) => [
        outcome,
        by,
      ])
    );
    assertEquals(resolved[0]!.length, 1);
    assertEquals(resolved, [resolved[0]!, resolved[0]!, resolved[0]!]);
    const errors = [one, two].flatMap(({ frames }, index) =>
      frames.slice(from[index]).filter(({ type }) => type === "error").map(({ code }) => code)
    );
    const late = posted.status === 200 ? 2 : 1;
    assertEquals(errors, new Array(late).fill("permission_resolved"));
    const chosen = resolved[0]![0]![0] === "allowed" ? "y" : "n";
    assertEquals(outcomes((await answerOf(response)).text).map(({ optionId }) => optionId), [chosen]);
  }
});

Deno.test("who comes later can answer what is open, though whoever was asked has left", async () => {
  await using server = await asking();
  const early = await watch(server, { events: ASKED });
  const response = await server.chat(script(ask()));
  await early.first("permission_request");
  await early.close();
  await using late = await watch(server, { events: ASKED });
  const from = late.frames.length;
  const request = await late.first("permission_request");
  respond(late, request, { option_id: "y" });
  await late.first("permission_resolved", undefined, from);
  assertEquals(outcomes((await answerOf(response)).text).map(({ optionId }) => optionId), ["y"]);
});

Deno.test("a wrong answer leaves the request open", async () => {
  await using server = await asking();
  await using watcher = await watch(server, { events: ASKED });
  const onlyNo = [{ optionId: "n", name: "No", kind: "reject_once" }];
  const response = await server.chat(script(ask("t", "ls", onlyNo)));
  const request = await watcher.first("permission_request");
  for (const answer of [{ option_id: "y" }, { decision: "allow" }, { decision: "allow_always" }]) {
    const error = await watcher.ask(
      { type: "permission_response", request_id: request.request_id, ...answer },
      "error",
    );
    assertEquals(error.code, "invalid_value");
    assertStringIncludes(error.message, '"n"');
  }
  assertEquals(watcher.of("permission_resolved"), []);
  respond(watcher, request, { decision: "reject_always" });
  await watcher.first("permission_resolved");
  assertEquals(outcomes((await answerOf(response)).text).map(({ optionId }) => optionId), ["n"]);
});

Deno.test("a refusal that the agent offers no option for is a cancelled outcome", async () => {
  await using server = await asking();
  await using watcher = await watch(server, { events: ASKED });
  const onlyYes = [{ optionId: "y", name: "Yes", kind: "allow_once" }];
  const response = await server.chat(script(ask("t", "ls", onlyYes), { text: " on" }));
  respond(watcher, await watcher.first("permission_request"), { decision: "reject" });
  const { text } = await answerOf(response);
  assertEquals(outcomes(text), [{ outcome: "cancelled" }]);
  const { outcome, option_id } = watcher.of("permission_resolved")[0]!;
  assertEquals([outcome, option_id], ["rejected", undefined]);
});

Deno.test("a request that nobody answers in time is refused, and the turn goes on", async () => {
  await using server = await asking({ VTUBER_PERMISSION_TIMEOUT_SECS: "1" });
  await using watcher = await watch(server, { events: ASKED });
  const response = await server.chat(script(ask(), { text: " and on" }));
  const request = await watcher.first("permission_request");
  const { text, finish } = await answerOf(response);
  assertEquals([outcomes(text), finish], [[{ outcome: "selected", optionId: "n" }], "stop"]);
  assertStringIncludes(text, "and on");
  const { outcome, by, option_id } = await watcher.first("permission_resolved");
  assertEquals([outcome, by, option_id], ["expired", "timeout", undefined]);
  const late = await watcher.ask(
    { type: "permission_response", request_id: request.request_id, decision: "allow" },
    "error",
  );
  assertEquals(late.code, "permission_resolved");
  assertEquals((await watcher.untilTurnEnds()).map(({ state }) => state).filter(Boolean).slice(-2), [
    "attention",
    "idle",
  ]);
});

Deno.test("where nobody asked to be asked, it is refused at once; what is safe is never asked", async () => {
  await using server = await asking();
  const read = (kind: string): Step => ({
    permission: { toolCall: { toolCallId: kind, title: kind, kind }, options: OPTIONS },
  });
  const alone = await answerOf(await server.chat(script(ask())));
  assertEquals(outcomes(alone.text), [{ outcome: "selected", optionId: "n" }]);
  // These watch, but no person sits there to answer.
  await using byDefault = await watch(server);
  await using _listener = await EventStreamClient.open(server);
  await using other = await watch(server, { events: ["agent_state", "permission_resolved"] });
  await using gone = await watch(server, { events: ["permission_request"] });
  await gone.subscribe(["agent_state"]);
  const unasked = await answerOf(await server.chat(script(ask())));
  assertEquals(outcomes(unasked.text), [{ outcome: "selected", optionId: "n" }]);
  await using asked = await watch(server, { events: ["*"] });
  const safe = await answerOf(
    await server.chat(script(read("read"), read("search"), read("think"), read("fetch"))),
  );
  assertEquals(outcomes(safe.text).map(({ optionId }) => optionId), ["y", "y", "y", "y"]);
  for (const watcher of [byDefault, other, gone, asked]) {
    await watcher.ping();
    assertEquals([watcher.of("permission_request"), watcher.of("permission_resolved")], [[], []]);
    assert(!watcher.states.includes("notification"));
  }
});

Deno.test("a turn that is cancelled withdraws its request, whoever cancels it", async () => {
  await using server = await asking();
  await using watcher = await watch(server, { events: ASKED });
  const ways: Record<string, (client: AbortController) => void | Promise<void>> = {
    "hang-up": (client) => client.abort(),
    interrupt: () => watcher.send({ type: "interrupt" }),
    superseded: async () => {
      await (await server.chat(script({ text: "newer" }), {}, named("superseded"))).text();
    },
  };
  for (const [index, [name, cancel]] of Object.entries(ways).entries()) {
    const client = new AbortController();
    const from = watcher.frames.length;
    const init = { ...named(name), signal: client.signal };
    const response = await server.chat(script(ask(name, name), { text: "never" }), {}, init);
    const answer = response.text().catch(() => "hung up");
    const request = await watcher.first("permission_request", undefined, from);
    await cancel(client);
    const { request_id, outcome, by } = await watcher.first("permission_resolved", undefined, from);
    assertEquals([request_id, outcome, by], [request.request_id, "cancelled", "turn"], name);
    await watcher.state("idle", from);
    const all = await server.receivedUntil((all) =>
      all.filter(({ id, method }) => `${id}`.startsWith("fake-request-") && !method).length > index
    );
    assertEquals((await received(server)).at(-1), { outcome: "cancelled" }, name);
    const cancelled = all.findLastIndex(({ method }) => method === "session/cancel");
    const answered = all.findLastIndex(({ id }) => `${id}`.startsWith("fake-request-"));
    assert(cancelled >= 0 && cancelled < answered, "the agent hears first why");
    assert(!(await answer).includes("never"));
    assertEquals(await get(server, "/v1/vtuber/permissions"), { permissions: [] });
    const late = await watcher.ask({ type: "permission_response", request_id, decision: "allow" }, "error");
    assertEquals(late.code, "permission_resolved");
  }
});

Deno.test({
  name: "an agent that dies with an open request fails its turn, and the request is withdrawn",
  ignore: Deno.build.os !== "linux",
  fn: agentDies,
});

async function agentDies(): Promise<void> {
  await using server = await asking();
  await using watcher = await watch(server, { events: ASKED });
  const response = await server.chat(script(ask()));
  const { request_id } = await watcher.first("permission_request");
  Deno.kill(await childOf(server.pid), "SIGKILL");
  const { outcome, by } = await watcher.first("permission_resolved");
  assertEquals([outcome, by], ["cancelled", "turn"]);
  const { finish, done } = await answerOf(response);
  assertEquals([finish, done], ["error", true]);
  const frames = await watcher.untilTurnEnds();
  assertEquals(frames.map(({ state }) => state).filter(Boolean).slice(-2), ["error", "idle"]);
  const late = await watcher.ask({ type: "permission_response", request_id, decision: "allow" }, "error");
  assertEquals(late.code, "permission_resolved");
}

/** The one process that this one started. */
async function childOf(pid: number): Promise<number> {
  const children: number[] = [];
  for await (const { name } of Deno.readDir(`/proc/${pid}/task`)) {
    const list = await Deno.readTextFile(`/proc/${pid}/task/${name}/children`).catch(() => "");
    children.push(...list.split(/\s+/).filter(Boolean).map(Number));
  }
  assertEquals(children.length, 1);
  return children[0]!;
}

Deno.test("while a person thinks, the stream has its heartbeat, and the agent's silence is not counted", async () => {
  await using server = await asking({ VTUBER_HEARTBEAT_SECS: "0.1", VTUBER_REPLY_TIMEOUT_SECS: "2" });
  await using watcher = await watch(server, { events: ASKED });
  const response = await server.chat(script(ask(), { text: " and on" }));
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let seen = "";
  // Three times as long as an agent may be silent, which is longer than a slow machine is.
  while (seen.split('"delta":{}').length <= 60) {
    const { done, value } = await reader.read();
    assert(!done, seen);
    seen += value;
  }
  respond(watcher, await watcher.first("permission_request"), { decision: "allow" });
  for (let next = await reader.read(); !next.done; next = await reader.read()) seen += next.value;
  const { text, finish } = readAnswer(seen);
  assertEquals([outcomes(text).length, text.includes("and on"), finish], [1, true, "stop"]);

  // Once it is answered, the agent's silence counts again.
  const from = watcher.frames.length;
  const silent = await server.chat(script(ask("2"), { hang: true }));
  respond(watcher, await watcher.first("permission_request", undefined, from), { decision: "allow" });
  assertEquals((await answerOf(silent)).finish, "error");
});

Deno.test("two requests for one tool call are two questions", async () => {
  await using server = await asking();
  await using watcher = await watch(server, { events: [...ASKED, "tool_status"] });
  const response = await server.chat(script(
    { tool: { id: "t", title: "bash", kind: "execute", status: "pending", rawInput: {} } },
    { toolUpdate: { id: "t", title: "cat /etc/hosts", status: "in_progress" } },
    ask("t", "read outside of the folder"),
    ask("t", "cat /etc/hosts"),
    ask("t", "cat /etc/hosts"),
    { toolUpdate: { id: "t", status: "completed" } },
  ));
  for (const [index, answer] of [{ option_id: "a" }, { option_id: "a" }, { option_id: "n" }].entries()) {
    const request = await watcher.until((frames) =>
      frames.filter(({ type }) => type === "permission_request")[index]
    );
    respond(watcher, request, answer);
  }
  const { text } = await answerOf(response);
  assertEquals(outcomes(text).map(({ optionId }) => optionId), ["a", "a", "n"]);
  const frames = await watcher.untilTurnEnds();
  assertEquals(new Set(watcher.of("permission_request").map(({ request_id }) => request_id)).size, 3);
  assertEquals(frames.filter(({ type }) => type === "tool_status").map(({ status }) => status), [
    "pending",
    "done",
  ]);
});

Deno.test("what is allowed for always is not asked again in its conversation, but in another", async () => {
  await using server = await asking();
  await using watcher = await watch(server, { events: ASKED });
  const turn = async (session: string, id: string, command: string, answer?: Json) => {
    const from = watcher.frames.length;
    const response = await server.chat(script(ask(id, command)), {}, named(session));
    if (answer) respond(watcher, await watcher.first("permission_request", undefined, from), answer);
    const { text } = await answerOf(response);
    await watcher.ping();
    const asked = watcher.frames.slice(from).filter(({ type }) => type === "permission_request").length;
    return [asked, outcomes(text)[0]?.optionId];
  };
  assertEquals(await turn("talk", "1", "make", { decision: "allow_always" }), [1, "a"]);
  assertEquals(await turn("talk", "2", "make"), [0, "y"]);
  assertEquals(await turn("talk", "3", "make install", { decision: "reject_always" }), [1, "x"]);
  assertEquals(await turn("talk", "4", "make install"), [0, "n"]);
  assertEquals(await turn("talk", "5", "make"), [0, "y"]);
  assertEquals(await turn("talk", "6", "make all", { decision: "allow" }), [1, "y"]);
  assertEquals(await turn("talk", "7", "make all", { decision: "reject" }), [1, "n"], "once is once");
  assertEquals(await turn("other", "1", "make", { decision: "reject" }), [1, "n"]);
});

Deno.test("a tool that was refused, and that the agent never speaks of again, is not told as done", async () => {
  await using server = await asking();
  await using watcher = await watch(server, { events: [...ASKED, "tool_status"] });
  const response = await server.chat(script(ask(), { text: " Then not." }));
  respond(watcher, await watcher.first("permission_request"), { decision: "reject" });
  await response.text();
  await watcher.untilTurnEnds();
  assertEquals(watcher.of("tool_status").map(({ status }) => status), ["pending", "failed"]);
});

Deno.test("a request shows the whole command, also where the agent shows it only as the tool's title", async () => {
  await using server = await asking();
  await using watcher = await watch(server, { events: ASKED });
  const title = `echo ${"-".repeat(300)} && rm -r build`;
  const toolCall = { toolCallId: "t", title, kind: "execute", content: [] };
  const response = await server.chat(script({ permission: { toolCall, options: OPTIONS } }));
  const request = await watcher.first("permission_request");
  respond(watcher, request, { decision: "reject" });
  await response.text();
  assertStringIncludes(`${request.tool.tool_name}\n${request.tool.detail}`, title);
});

Deno.test("requests of two conversations are open side by side", async () => {
  await using server = await asking();
  await using watcher = await watch(server, { events: ASKED });
  const one = await server.chat(script(ask("1", "one")), {}, named("one"));
  const two = await server.chat(script(ask("2", "two")), {}, named("two"));
  const requests = await watcher.until((frames) => {
    const found = frames.filter(({ type }) => type === "permission_request");
    return found.length === 2 && found;
  });
  const ofSession = (name: string) => requests.find(({ session_id }) => session_id === name)!;
  assertEquals((await get(server, "/v1/vtuber/permissions")).permissions.length, 2);
  respond(watcher, ofSession("two"), { decision: "reject" });
  assertEquals(outcomes((await answerOf(two)).text).map(({ optionId }) => optionId), ["n"]);
  const { state } = await poll(
    () => get(server, "/v1/vtuber/state"),
    ({ sessions }) => sessions.length === 1,
  );
  assertEquals(state, "notification", "the other still waits");
  respond(watcher, ofSession("one"), { decision: "allow" });
  assertEquals(outcomes((await answerOf(one)).text).map(({ optionId }) => optionId), ["y"]);
  await watcher.untilTurnEnds("one");
});
