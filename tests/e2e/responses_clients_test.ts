/** Libraries that call the Responses API by default, in front of a real server. Each keeps a history of its own. */

import { assert, assertEquals } from "@std/assert";
import { createOpenAI } from "npm:@ai-sdk/openai@4.0.118";
import { type BaseMessage, HumanMessage } from "npm:@langchain/core@1.4.0/messages";
import { ChatOpenAI } from "npm:@langchain/openai@1.6.0";
import {
  Agent,
  handoff,
  hostedMcpTool,
  MemorySession,
  type Model,
  OpenAIProvider,
  Runner,
  type RunState,
  Usage,
} from "npm:@openai/agents@0.20.0";
import { generateObject, generateText, type ModelMessage, streamText } from "npm:ai@7.0.173";
import { z } from "zod";
import { codeBlocks, readPage, sectionOf } from "../support/harness/docs.ts";
import {
  askingToClean,
  script,
  type ServerProcess,
  startServer,
  testServer,
} from "../support/harness/server_process.ts";

/** The versions of the libraries that clients.md imports. */
const LIBRARIES: Readonly<Record<string, string>> = {
  "openai": "openai@7.55.0",
  "@ai-sdk/openai": "@ai-sdk/openai@4.0.118",
  "@langchain/openai": "@langchain/openai@1.6.0",
  "@openai/agents": "@openai/agents@0.20.0",
  "ai": "ai@7.0.173",
};

/** Sends a message, with the earlier ones in the client's own way, and resolves to the text of the reply. */
type Say = (text: string) => Promise<string>;

const mood = z.object({ mood: z.string() });
const SAY_MOOD = script({ text: '```json\n{"mood": "happy"}\n```' });
const WORK = [
  { thought: "let me see" },
  { text: "Look. " },
  { tool: { id: "t", title: "look", kind: "read", status: "pending" } },
  { toolUpdate: { id: "t", status: "completed" } },
  { text: "Done." },
];

/** Checks that three turns are one session of the agent, which gets each message once. */
async function converse(server: ServerProcess, say: Say): Promise<void> {
  const before = (await server.prompts()).length;
  const replies = [
    await say(`one ${script({ text: "First." })}`),
    await say(`two ${script(...WORK)}`),
    await say(`three ${script({ text: "Third." })}`),
  ];
  assertEquals(replies, ["First.", "Look. Done.", "Third."]);
  const prompts = (await server.prompts()).slice(before);
  assertEquals(prompts.map(({ text }) => text.match(/\b(one|two|three)\b/g)), [["one"], ["two"], ["three"]]);
  assertEquals(new Set(prompts.map(({ sessionId }) => sessionId)).size, 1);
}

function aiModel({ url }: ServerProcess) {
  return createOpenAI({ baseURL: `${url}/v1`, apiKey: "anything" })("openab");
}

testServer("AI SDK with @ai-sdk/openai", {}, {
  async "generateText"(server) {
    const messages: ModelMessage[] = [];
    await converse(server, async (content) => {
      messages.push({ role: "user", content });
      const { text, responseMessages } = await generateText({ model: aiModel(server), messages });
      messages.push(...responseMessages);
      return text;
    });
  },

  async "streamText, with tools and thoughts"(server) {
    const messages: ModelMessage[] = [];
    const shown: string[] = [];
    await converse(server, async (content) => {
      messages.push({ role: "user", content });
      const { stream, responseMessages } = streamText({ model: aiModel(server), messages });
      let text = "";
      for await (const part of stream) {
        if (part.type === "text-delta") text += part.text;
        if (part.type === "reasoning-delta") shown.push(part.text);
        if (part.type === "tool-call") shown.push(part.toolName);
      }
      messages.push(...await responseMessages);
      return text;
    });
    assertEquals(shown, ["let me see", "mcp.look"]);
  },

  async "generateObject"(server) {
    const { object } = await generateObject({ model: aiModel(server), schema: mood, prompt: SAY_MOOD });
    assertEquals(object, { mood: "happy" });
  },
});

function runnerFor({ url }: ServerProcess): Runner {
  const modelProvider = new OpenAIProvider({ baseURL: `${url}/v1`, apiKey: "anything" });
  return new Runner({ modelProvider, tracingDisabled: true });
}

const mao = new Agent({ name: "Mao", instructions: "Be brief.", model: "openab" });

testServer("@openai/agents", {}, {
  async "a stream, with tools and thoughts"(server) {
    const runner = runnerFor(server);
    const session = new MemorySession();
    const shown: string[] = [];
    await converse(server, async (input) => {
      const result = await runner.run(mao, input, { stream: true, session });
      let text = "";
      for await (const event of result) {
        if (event.type === "raw_model_stream_event" && event.data.type === "output_text_delta") {
          text += event.data.delta;
        }
        if (event.type === "run_item_stream_event") shown.push(event.name);
      }
      return text;
    });
    assertEquals(shown, [
      "message_output_created",
      ...["reasoning_item_created", "message_output_created", "tool_called", "message_output_created"],
      "message_output_created",
    ]);
  },

  async "previousResponseId"(server) {
    const runner = runnerFor(server);
    let previousResponseId: string | undefined;
    await converse(server, async (input) => {
      const result = await runner.run(mao, input, { previousResponseId });
      previousResponseId = result.lastResponseId;
      return result.newItems.map((item) => item.type === "message_output_item" ? item.content : "").join("");
    });
  },

  async "an output type"(server) {
    const agent = new Agent({ name: "Mao", model: "openab", outputType: mood });
    assertEquals((await runnerFor(server).run(agent, SAY_MOOD)).finalOutput, { mood: "happy" });
  },

  async "approvals, as the person decides"(server) {
    const asks = askingToClean();
    const tools = [
      hostedMcpTool({ serverLabel: "openab", serverUrl: "any", requireApproval: "always" }),
    ];
    const agent = new Agent({ name: "Mao", model: "openab", tools });
    const runner = runnerFor(server);
    const before = (await server.prompts()).length;
    for (const isAllowed of [true, false]) {
      for (const isStreamed of [true, false]) {
        const run = async (input: string | RunState<unknown, typeof agent>) => {
          if (!isStreamed) return await runner.run(agent, input);
          const result = await runner.run(agent, input, { stream: true });
          await result.completed;
          return result;
        };
        const { state, interruptions: [asked] } = await run(asks);
        assertEquals(asked?.name, "Clean");
        assert(JSON.stringify(asked!.rawItem).includes("rm -r build"));
        if (isAllowed) state.approve(asked!);
        else state.reject(asked!);
        const { newItems, interruptions } = await run(state);
        const said = newItems.map((item) => item.type === "message_output_item" ? item.content : "").join("");
        assert(said.includes(`"optionId":"${isAllowed ? "allow" : "reject"}"`), said);
        assert(said.startsWith("Let me.") && said.endsWith("Done."), said);
        assertEquals(interruptions, []);
      }
    }
    assertEquals((await server.prompts()).length, before + 4);
  },

  async "a hand-off from another model"(server) {
    const frontDesk = new Agent({ name: "Front desk", model: handingOff(), handoffs: [handoff(mao)] });
    const runner = runnerFor(server);
    const first = await runner.run(frontDesk, `one ${script({ text: "It is done." })}`);
    assertEquals([first.finalOutput, first.lastAgent], ["It is done.", mao]);

    const two = { role: "user" as const, content: `two ${script({ text: "That too." })}` };
    const second = await runner.run(mao, [...first.history, two]);
    assertEquals(second.finalOutput, "That too.");
    const [before, after] = (await server.prompts()).slice(-2);
    assertEquals([after!.sessionId, /\bone\b/.test(after!.text)], [before!.sessionId, false]);
  },
});

/** Scripts a model that hands every request off to the first agent it may. */
function handingOff(): Model {
  return {
    getResponse: ({ handoffs: [agent] }) =>
      Promise.resolve({
        usage: new Usage(),
        output: [{ type: "function_call", callId: "call_1", name: agent!.toolName, arguments: "{}" }],
      }),
    getStreamedResponse() {
      throw new Error("not streamed");
    },
  };
}

function chatModel({ url }: ServerProcess): ChatOpenAI {
  return new ChatOpenAI({
    ...{ model: "openab", apiKey: "anything", useResponsesApi: true },
    configuration: { baseURL: `${url}/v1` },
  });
}

testServer("LangChain with useResponsesApi", {}, {
  async "invoke"(server) {
    const messages: BaseMessage[] = [];
    await converse(server, async (content) => {
      messages.push(new HumanMessage(content));
      const reply = await chatModel(server).invoke(messages);
      messages.push(reply);
      return reply.text;
    });
  },

  async "stream"(server) {
    const messages: BaseMessage[] = [];
    await converse(server, async (content) => {
      messages.push(new HumanMessage(content));
      const chunks = await Array.fromAsync(await chatModel(server).stream(messages));
      const reply = chunks.reduce((whole, chunk) => whole.concat(chunk));
      messages.push(reply);
      return reply.text;
    });
  },

  async "withStructuredOutput"(server) {
    const model = chatModel(server).withStructuredOutput(mood);
    assertEquals(await model.invoke(SAY_MOOD), { mood: "happy" });
  },
});

Deno.test("clients.md: the example of each library is a conversation with the agent", async () => {
  await using server = await startServer();
  const page = readPage("clients");
  const libraries = ["OpenAI's client", "the AI SDK", "OpenAI's Agents SDK", "LangChain"];
  for (const library of libraries) {
    const { text } = codeBlocks(sectionOf(page, `## Use it from ${library}`), "ts")[0]!;
    const code = text.replace("http://127.0.0.1:8080", server.url)
      .replaceAll(/ from "(.+)";/g, (_, name) => ` from "npm:${LIBRARIES[name]}";`);
    const before = (await server.get("/v1/vtuber/sessions")).sessions.length;
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--quiet", "--no-config", "--no-lock", "--ext=ts", code],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).output();
    assert(success, `${library}:\n${new TextDecoder().decode(stderr)}`);
    const { sessions } = await server.get("/v1/vtuber/sessions");
    assertEquals([sessions.length - before, sessions[0].turns], [1, 2], library);
  }
});
