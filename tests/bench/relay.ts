/**
 * The smallest program that does the server's job: chat completions in front, an ACP agent behind, nothing checked,
 * refused, watched or cancelled with care. What the server costs is measured against it.
 *
 * `relay.ts PROGRAM [ARGUMENT...]` starts that agent, and prints the port that it listens on.
 *
 * @module
 */

import { openPipe } from "./pipe.ts";

type Output = ReadableStreamDefaultController<Uint8Array>;

const encoder = new TextEncoder();
const sinks = new Map<string, (text: string) => void>();
const agent = openPipe(Deno.args, (sessionId, { sessionUpdate, content }) => {
  if (sessionUpdate !== "agent_message_chunk" || typeof content?.text !== "string") return;
  sinks.get(sessionId)?.(content.text);
});

async function complete(http: Request): Promise<Response> {
  const { messages, model } = await http.json();
  const { sessionId } = await agent.request("session/new", { cwd: Deno.cwd(), mcpServers: [] });
  const head = { id: `chatcmpl-${sessionId}`, object: "chat.completion.chunk", created: 0, model };
  const before = `data: ${JSON.stringify(head).slice(0, -1)},"choices":[{"index":0,"delta":{"content":`;
  const after = '},"logprobs":null,"finish_reason":null}]}\n\n';
  const body = new ReadableStream<Uint8Array>({
    start(output: Output) {
      sinks.set(sessionId, (text) => output.enqueue(encoder.encode(before + JSON.stringify(text) + after)));
      const prompt = [{ type: "text", text: messages.at(-1).content }];
      agent.call("session/prompt", { sessionId, prompt }, () => {
        if (!sinks.delete(sessionId)) return;
        output.enqueue(encoder.encode("data: [DONE]\n\n"));
        output.close();
      });
    },
    cancel() {
      sinks.delete(sessionId);
      agent.send({ jsonrpc: "2.0", method: "session/cancel", params: { sessionId } });
    },
  });
  return new Response(body, {
    headers: { "content-type": "text/event-stream", "cache-control": "no-cache" },
  });
}

Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.log(`http://127.0.0.1:${port}`),
}, (http) => http.method === "POST" ? complete(http) : new Response("ok"));
