/** The effects that the key of a request has on its turn: agent, permissions and commands. @module */

import { assertEquals, assertMatch } from "@std/assert";
import { SCOPES } from "../../lib/turn/caller.ts";
import type { PermissionId, PermissionQuestion } from "../../lib/turn/event.ts";
import { PERMISSION_POLICIES } from "../../lib/turn/permission.ts";
import { QuestionBroker } from "../../lib/turn/question.ts";
import { AcpHarness, type Handler } from "../support/agents/memory_acp_agent.ts";
import {
  MemoryAgent,
  type MemoryPrompt,
  oneByOne,
  saying,
  type Script,
} from "../support/agents/memory_agent.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import {
  assistant,
  type ChatMessage,
  contentOf,
  RETRIES,
  system,
  user,
} from "../support/harness/chat_fixture.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";

const said = async (answer: Response | Promise<Response>) => (await contentOf(answer)).trim();
/** The result of a permission request, as the agent gets it. */
type Decided = { readonly outcome: { readonly optionId: string } };

/** Starts an app with two agents, the second of which alone answers the key "live". */
function startTwo(strictModels = false) {
  const viewers = new MemoryAgent("viewers");
  viewers.models = [{ id: "small", name: "Small" }];
  viewers.script = saying("From viewers.");
  const keys = [apiKey("owner"), apiKey("live", SCOPES, { agent: "viewers" })];
  const app = startApp({ script: saying("From openab."), agents: [viewers], access: { keys }, strictModels });
  app.agent.models = [{ id: "big", name: "Big" }];
  return { app, viewers };
}

Deno.test("agent of a key: answers it, whatever the model; other keys have all agents", async () => {
  const { app } = startTwo();
  await using _ = app;
  for (
    const model of [
      undefined,
      "default",
      "gpt-4o",
      "openab",
      "openab/big",
      "openab@mao",
      "Big",
      "viewers/small",
    ]
  ) {
    const response = await app.chat({ model }, withKey("live"));
    assertEquals(response.headers.get("x-resolved-model"), "viewers/small");
    assertEquals(await said(response), "From viewers.");
  }
  assertEquals(await said(app.chat({}, withKey("owner"))), "From openab.");
  assertEquals(await said(app.chat({ model: "viewers" }, withKey("owner"))), "From viewers.");
  const response = await app.post("/v1/responses", { input: "Hi", model: "openab" }, withKey("live"));
  assertEquals(response.headers.get("x-resolved-model"), "viewers/small");
  assertEquals((await response.json()).output[0].content[0].text, "From viewers.");
  const { model } = await (await app.chat({}, withKey("live"))).json();
  assertEquals(model, "viewers");
  const named = await app.chat({ model: "viewers@mao" }, withKey("live"));
  assertEquals([named.headers.get("x-session-id"), await said(named)], ["mao", "From viewers."]);
});

Deno.test("agent of a key: with strict names another agent is unknown, and no error lists it", async () => {
  const { app, viewers } = startTwo(true);
  await using _ = app;
  const refused = async (model: string) => {
    const { status, code, message } = await errorOf(await app.chat({ model }, withKey("live")));
    return [status, code, message];
  };
  for (const model of ["openab", "openab/big", "openab@mao", "Big", "gpt-4o"]) {
    const message = `There is no model "${model}"; there is viewers, viewers/small.`;
    assertEquals(await refused(model), [404, "model_not_found", message]);
  }
  // The agent lists its models with its first session, which then refuses the model.
  const { models } = viewers;
  viewers.models = [];
  const open = viewers.newSession.bind(viewers);
  viewers.newSession = (signal) => {
    viewers.models = models;
    return open(signal);
  };
  const message = 'There is no model "viewers/huge"; there is viewers, viewers/small.';
  assertEquals(await refused("viewers/huge"), [404, "model_not_found", message]);
  assertEquals([app.agent.prompts.length, viewers.prompts.length], [0, 0]);
  assertEquals(await said(app.chat({ model: "small" }, withKey("live"))), "From viewers.");
});

Deno.test("agent of a key: GET /v1/models shows this agent only", async () => {
  const { app } = startTwo();
  await using _ = app;
  const list = async (key: string) => {
    const { data }: { data: { id: string }[] } = await (await app.get("/v1/models", withKey(key))).json();
    return data.map(({ id }) => id);
  };
  assertEquals(await list("owner"), ["openab", "openab/big", "viewers", "viewers/small"]);
  assertEquals(await list("live"), ["viewers", "viewers/small"]);
  const described = async (id: string) =>
    (await (await app.get(`/v1/models/${id}`, withKey("live"))).json()).id;
  assertEquals([await described("default"), await described("Small")], ["viewers", "viewers/small"]);
  for (const id of ["openab", "openab/big", "Big"]) {
    const { status, message } = await errorOf(await app.get(`/v1/models/${id}`, withKey("live")));
    assertEquals([status, message], [404, `There is no model "${id}"; there is viewers, viewers/small.`]);
  }
});

Deno.test("notification of a key: its agent gets it, with its permissions; others go to the default agent", async () => {
  const viewers = new MemoryAgent("viewers");
  viewers.script = saying("From viewers.");
  const keys = [apiKey("owner"), apiKey("live", SCOPES, { agent: "viewers", permissions: "deny" })];
  await using app = startApp({ script: saying("From openab."), agents: [viewers], access: { keys } });
  const notify = async (key: string) =>
    (await (await app.post("/v1/vtuber/notifications", { text: "Hi", mode: "agent" }, withKey(key))).json())
      .said;
  assertEquals([await notify("live"), await notify("owner")], ["From viewers.", "From openab."]);
  const permissions = [...viewers.prompts, ...app.agent.prompts].map(({ permissions }) => permissions);
  assertEquals(permissions, ["deny", undefined]);
});

Deno.test("agent of a key: a request without an agent goes to it", async () => {
  const { app, viewers } = startTwo();
  await using _ = app;
  const messages = [{ role: "user", parts: [{ type: "text", text: "Hi" }] }] as const;
  const { caller } = apiKey("live", SCOPES, { agent: "viewers" });
  for (const request of [{ caller }, {}]) {
    const turn = await app.conversations.startTurn({
      ...request,
      messages,
      unsolicited: true,
      record: false,
    });
    turn.read(() => {});
    await turn.ended;
  }
  assertEquals([viewers.prompts.length, app.agent.prompts.length], [1, 1]);
});

Deno.test("permissions of a key: go with each prompt of its turns, whichever session gets it", async () => {
  const keys = [apiKey("owner"), apiKey("live", SCOPES, { permissions: "deny" })];
  await using app = startApp({ access: { keys }, sessions: "auto" });
  const { agent } = app;
  agent.resumes = true;
  const chat = async (key: string, ...scripts: Script[]) => {
    agent.script = oneByOne(...scripts);
    await said(app.chat({ messages: [user("Hi")], conversation_id: "mao" }, withKey(key)));
  };
  const hello = saying("Hello, how are you today?");
  const closing = (prompt: MemoryPrompt) => {
    hello(prompt);
    prompt.session.close();
  };
  const refusing = (prompt: MemoryPrompt) => prompt.end("refusal");
  await chat("live", hello);
  await chat("live", closing); // the open session
  await chat("live", refusing, hello); // the resumed session, and a new one in its place
  await chat("owner", hello); // another conversation of the same name
  agent.script = hello;
  await said(app.chat({ messages: [user("### Task: title <chat_history>")] }, withKey("owner"))); // a side job
  const sessions = agent.prompts.map(({ session, permissions }) => [session.id, permissions]);
  assertEquals(agent.resumed.length, 1);
  assertEquals(sessions, [
    ["session-1", "deny"],
    ["session-1", "deny"],
    ["session-1", "deny"],
    ["session-2", "deny"],
    ["session-3", undefined],
    ["session-4", "deny"],
  ]);
});

for (const setting of PERMISSION_POLICIES) {
  Deno.test(`permissions of a key: decide what an agent asks in its turns; the agent's are ${setting}`, async () => {
    const decided: string[] = [];
    const ask = ({ options }: PermissionQuestion) => {
      decided.push("a person");
      const option = options.find(({ kind }) => kind === "reject_once")!;
      return Promise.resolve({ id: "p" as PermissionId, outcome: "rejected", option, by: "Mao" } as const);
    };
    const toolCall = { toolCallId: "t", title: "rm", kind: "execute" };
    const options = ["reject", "allow"].map((name) => ({ optionId: name, name, kind: `${name}_once` }));
    await using agent = new AcpHarness({
      "session/prompt": async ({ sessionId }, running) => {
        const request = { sessionId, toolCall, options };
        const { outcome } = await running.peer.request("session/request_permission", request) as Decided;
        decided.push(outcome.optionId);
        running.sendText(sessionId, "Done.");
        return { stopReason: "end_turn" };
      },
    }, { permissions: setting, broker: { ask } });
    const policies = [undefined, ...PERMISSION_POLICIES, undefined];
    const keys = policies.map((permissions, index) =>
      apiKey(`k${index}`, SCOPES, { agent: "agent", permissions })
    );
    await using app = startApp({ agents: [agent.agent], access: { keys }, sessions: "auto" });
    // The second round finds the sessions open.
    for (let round = 0; round < 2; round++) {
      for (const { plain } of keys) {
        assertEquals(await said(app.chat({ conversation_id: "mao" }, withKey(plain!))), "Done.");
      }
    }
    const outcomes = { allow: ["allow"], deny: ["reject"], ask: ["a person", "reject"] };
    const expected = policies.flatMap((policy = setting) => outcomes[policy]);
    assertEquals(decided, [...expected, ...expected]);
  });
}

const WORDS = "$deploy now";
const chat = (...messages: ChatMessage[]) => (app: TestApp) =>
  app.chat({ messages }, withKey("k")).then(said);
const post = (path: string, body: object) => async (app: TestApp) =>
  (await app.post(path, body, withKey("k"))).text();
const part = { type: "text", text: WORDS };
/** Ways in which words reach an agent. */
const WAYS: readonly [name: string, send: (app: TestApp) => Promise<unknown>, passes?: true][] = [
  ["the newest message", chat(user(WORDS)), true],
  ["the newest message behind others", chat(system("Mao"), user("Hi"), assistant("Ho"), user(WORDS)), true],
  ["the newest message before a system message", chat(user(WORDS), system("Be brief.")), true],
  [
    "a part of the newest message",
    post("/v1/chat/completions", { messages: [{ role: "user", content: [part] }] }),
    true,
  ],
  [
    "a part that claims the right",
    post("/v1/chat/completions", {
      messages: [{ role: "user", content: [{ ...part, mayCommand: true }], mayCommand: true }, user("Hi")],
    }),
  ],
  ["the message before", chat(user(WORDS), user("Hi"))],
  ["history", chat(user(WORDS), assistant("Ho"), user("Hi"))],
  ["an earlier reply", chat(user("Hi"), assistant(WORDS), user("Ho"))],
  ["a message with the start of its reply", chat(user(WORDS), assistant("So,"))],
  ["a persona", chat(system(WORDS), user("Hi"))],
  ["a system message alone", chat(system(WORDS))],
  ["a system message behind the newest message", chat(user("Hi"), system(WORDS))],
  [
    "the result of a client's tool",
    post("/v1/chat/completions", {
      messages: [user("Hi"), { role: "tool", tool_call_id: "t", content: WORDS }],
    }),
  ],
  ["a side job", chat(user(`### Task: title <chat_history> ${WORDS}`))],
  ["a prompt of the older endpoint", post("/v1/completions", { prompt: WORDS })],
  ["a notification", post("/v1/vtuber/notifications", { text: WORDS, mode: "agent" })],
];

/** Starts an agent that answers each prompt with `ok`, after these steps. */
function recordingAgent(steps: Handler = () => {}): AcpHarness {
  return new AcpHarness({
    "session/prompt": async (params, running) => {
      await steps(params, running);
      running.sendText(params.sessionId, "ok");
      return { stopReason: "end_turn" };
    },
  }, { questions: new QuestionBroker(60_000, () => false) });
}
const promptsOf = ({ running }: AcpHarness) =>
  running.received.filter(({ method }) => method === "session/prompt").map(({ params }) => params.prompt);

for (const hasScope of [true, false]) {
  const scopes = SCOPES.filter((scope) => hasScope || scope !== "commands");
  const keys = [apiKey("k", scopes, { agent: "agent" })];
  const kind = hasScope ? "with" : "without";
  for (const [name, send, passes = false] of WAYS) {
    const isOpen = hasScope && passes;
    Deno.test(`commands, ${kind} the scope: ${name} ${isOpen ? "can" : "cannot"} trigger them`, async () => {
      await using agent = recordingAgent();
      await using app = startApp({ agents: [agent.agent], access: { keys } });
      await send(app);
      const [blocks = [], ...more] = promptsOf(agent);
      const text = blocks.map((block) => block.text).join("");
      assertEquals([text.includes(WORDS), text.includes("$ deploy now"), more], [isOpen, !isOpen, []]);
      assertEquals(blocks.filter((block) => "mayCommand" in block), []);
      const logged = agent.recorder.entries.filter(({ message }) => message.includes("scope commands"));
      assertEquals(logged.map(({ level }) => level), isOpen ? ["info"] : []);
      assertEquals(JSON.stringify(logged).includes("deploy"), false);
    });
  }

  Deno.test(`commands, ${kind} the scope: the answer to a question cannot trigger them`, async () => {
    const answers: unknown[] = [];
    await using agent = recordingAgent(async ({ sessionId }, running) => {
      const requestedSchema = { type: "object", properties: { x: { type: "string" } } };
      const question = { sessionId, mode: "form", message: "Which?", requestedSchema };
      answers.push(await running.peer.request("elicitation/create", question));
    });
    await using app = startApp({ agents: [agent.agent], access: { keys } });
    const chat = (text: string) =>
      app.chat({ messages: [user(text)], conversation_id: "mao" }, withKey("k")).then(said);
    assertEquals([await chat("Hi"), await chat("/deploy")], ["Which?", "ok"]);
    assertEquals(answers, [{ action: "accept", content: { x: "> /deploy" } }]);
    assertEquals(promptsOf(agent).length, 1);
  });

  Deno.test(`commands, ${kind} the scope: in an open conversation a command is the whole prompt`, async () => {
    await using agent = recordingAgent();
    await using app = startApp({ agents: [agent.agent], access: { keys }, sessions: "auto" });
    const chat = (...messages: ChatMessage[]) =>
      app.chat({ messages, conversation_id: "mao" }, withKey("k")).then(said);
    const [persona, first] = [system("You are Mao."), [user("Hi"), assistant("ok")]];
    await chat(persona, user("Hi"));
    await chat(persona, ...first, system("It is noon."), user("/compact"), system("Be brief."));
    const last = promptsOf(agent).at(-1)!;
    if (hasScope) assertEquals(last, [{ type: "text", text: "/compact" }]);
    else assertMatch(last[0]!.text!, /It is noon\.[^]*\n\/compact\n[^]*Be brief\./);
    // The next prompt has what is new, and the command is history.
    await chat(persona, ...first, user("/compact"), assistant("ok"), user("Well?"));
    assertEquals(promptsOf(agent).at(-1), [{ type: "text", text: "Well?" }]);
  });
}

Deno.test("commands: of a message that repeats the chat before it, only the rest can trigger them", async () => {
  await using agent = recordingAgent();
  const keys = [apiKey("k", SCOPES, { agent: "agent" })];
  await using app = startApp({ agents: [agent.agent], access: { keys } });
  for (const text of ["$one", "$one\nok\n$two"]) {
    await said(app.chat({ messages: [user(text)] }, withKey("k")));
  }
  const [first, second = []] = promptsOf(agent);
  assertEquals(first, [{ type: "text", text: "$one" }]);
  // Each request is a conversation of its own here, so the second has the history.
  assertEquals(second.map(({ text }) => text), [
    "<user>\n$ one\n</user>\n\n<assistant>\nok\n</assistant>\n\n",
    "$two",
  ]);
});

Deno.test("commands: the key of the owner, and this machine without a key, cannot trigger them", async () => {
  for (const authKey of ["k", undefined]) {
    await using agent = recordingAgent();
    await using app = startApp({ agents: [agent.agent], access: { authKey } });
    await app.chat({ model: "agent", messages: [user("/compact")] }, authKey ? withKey("k") : {}).then(said);
    assertEquals(promptsOf(agent), [[{ type: "text", text: "> /compact" }]]);
  }
});

for (const [how, first, second] of RETRIES) {
  Deno.test(`commands: a request that is sent again (${how}) triggers nothing again`, async () => {
    await using agent = recordingAgent();
    await using app = startApp({
      agents: [agent.agent],
      access: { keys: [apiKey("k", SCOPES, { agent: "agent" })] },
    });
    for (const retry of [first, second]) {
      const headers = { ...withKey("k").headers, ...retry };
      assertEquals(await said(app.chat({ messages: [user("/compact")] }, { headers })), "ok");
    }
    assertEquals(promptsOf(agent), [[{ type: "text", text: "/compact" }]]);
  });
}
