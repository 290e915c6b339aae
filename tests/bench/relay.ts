/**
 * The smallest program that does the server's job: chat completions in front, an ACP agent behind, nothing checked,
 * refused, watched or cancelled with care. What the server costs is measured against it.
 *
 * `relay.ts PROGRAM [ARGUMENT...]` starts that agent, and prints the port that it listens on.
 *
 * @module
 */

type Settle = (result: { sessionId: string }) => void;
type Output = ReadableStreamDefaultController<Uint8Array>;

const [program = "", ...args] = Deno.args;
const agent = new Deno.Command(program, { args, stdin: "piped", stdout: "piped" }).spawn();
const writer = agent.stdin.getWriter();
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const pending = new Map<number, Settle>();
const sinks = new Map<string, (text: string) => void>();
let nextId = 0;
let unsent = "";
let sending = false;

/** One write is in flight; what comes meanwhile goes out joined. */
async function send(message: unknown): Promise<void> {
  unsent += JSON.stringify(message) + "\n";
  if (sending) return;
  sending = true;
  while (unsent !== "") {
    const text = unsent;
    unsent = "";
    await writer.write(encoder.encode(text));
  }
  sending = false;
}

function call(method: string, params: unknown, settle: Settle): void {
  const id = nextId++;
  pending.set(id, settle);
  send({ jsonrpc: "2.0", id, method, params });
}

function request(method: string, params: unknown): Promise<{ sessionId: string }> {
  return new Promise((resolve) => call(method, params, resolve));
}

function receive(line: string): void {
  const { id, method, params, result } = JSON.parse(line);
  if (method === undefined) {
    pending.get(id)?.(result);
    pending.delete(id);
    return;
  }
  if (method !== "session/update") return;
  const { sessionUpdate, content } = params.update;
  if (sessionUpdate !== "agent_message_chunk" || content?.type !== "text") return;
  if (typeof content.text === "string") sinks.get(params.sessionId)?.(content.text);
}

async function listen(): Promise<void> {
  const reader = agent.stdout.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(64 * 1024);
  let begun = "";
  for (;;) {
    const { value, done } = await reader.read(new Uint8Array(buffer));
    if (done || value === undefined) return;
    buffer = value.buffer;
    const text = decoder.decode(value, { stream: true });
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      receive(begun + text.slice(start, end));
      begun = "";
      start = end + 1;
    }
    begun += text.slice(start);
  }
}

async function complete(http: Request): Promise<Response> {
  const { messages, model } = await http.json();
  const { sessionId } = await request("session/new", { cwd: Deno.cwd(), mcpServers: [] });
  const head = { id: `chatcmpl-${sessionId}`, object: "chat.completion.chunk", created: 0, model };
  const before = `data: ${JSON.stringify(head).slice(0, -1)},"choices":[{"index":0,"delta":{"content":`;
  const after = '},"logprobs":null,"finish_reason":null}]}\n\n';
  const body = new ReadableStream<Uint8Array>({
    start(output: Output) {
      sinks.set(sessionId, (text) => output.enqueue(encoder.encode(before + JSON.stringify(text) + after)));
      const prompt = [{ type: "text", text: messages.at(-1).content }];
      call("session/prompt", { sessionId, prompt }, () => {
        if (!sinks.delete(sessionId)) return;
        output.enqueue(encoder.encode("data: [DONE]\n\n"));
        output.close();
      });
    },
    cancel() {
      sinks.delete(sessionId);
      send({ jsonrpc: "2.0", method: "session/cancel", params: { sessionId } });
    },
  });
  return new Response(body, {
    headers: { "content-type": "text/event-stream", "cache-control": "no-cache" },
  });
}

listen();
request("initialize", { protocolVersion: 1, clientCapabilities: {} });
Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.log(`http://127.0.0.1:${port}`),
}, (http) => http.method === "POST" ? complete(http) : new Response("ok"));
