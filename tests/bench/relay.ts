/**
 * The smallest program that does the server's work, as the measure of what the server costs: an ACP agent behind chat
 * completions and a WebSocket of events, without checks, limits, history or careful cancellation.
 *
 * `relay.ts PROGRAM [ARGUMENT...]` starts that agent and prints its own address. A streamed request gets the text of its
 * turn. Any other request runs a turn whose events go to all sockets, as the frames that the server sends.
 *
 * @module
 */

/** An update of the agent, as far as it is read. */
interface Update {
  readonly sessionUpdate: string;
  readonly content?: { readonly text?: unknown };
  readonly [field: string]: unknown;
}

type Settle = (result: { sessionId: string }) => void;

const TAG = /^\[(\w+)\]/;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** Readers of updates, by session. */
const readers = new Map<string, (update: Update) => void>();
const sockets = new Set<WebSocket>();

const [program = "", ...args] = Deno.args;
const agent = new Deno.Command(program, { args, stdin: "piped", stdout: "piped" }).spawn();
const stdin = agent.stdin.getWriter();
const pending = new Map<number, Settle>();
let nextId = 0;
let unsent = "";
let isSending = false;

/** Sends a message. One write is in flight; the messages that follow meanwhile are joined. */
async function send(message: unknown): Promise<void> {
  unsent += JSON.stringify(message) + "\n";
  if (isSending) return;
  isSending = true;
  while (unsent !== "") {
    const text = unsent;
    unsent = "";
    await stdin.write(encoder.encode(text));
  }
  isSending = false;
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
  } else if (method === "session/update") {
    readers.get(params.sessionId)?.(params.update);
  }
}

async function readAgent(): Promise<void> {
  const reader = agent.stdout.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(64 * 1024);
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read(new Uint8Array(buffer));
    if (done || value === undefined) return;
    buffer = value.buffer;
    const text = decoder.decode(value, { stream: true });
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      receive(rest + text.slice(start, end));
      rest = "";
      start = end + 1;
    }
    rest += text.slice(start);
  }
}

interface ChatRequest {
  readonly model: string;
  readonly stream?: boolean;
  readonly messages: readonly { readonly content: string }[];
}

function promptOf({ messages }: ChatRequest, sessionId: string) {
  return { sessionId, prompt: [{ type: "text", text: messages.at(-1)!.content }] };
}

function streamTurn(chat: ChatRequest, sessionId: string): Response {
  const { model } = chat;
  const head = { id: `chatcmpl-${sessionId}`, object: "chat.completion.chunk", created: 0, model };
  const before = `data: ${JSON.stringify(head).slice(0, -1)},"choices":[{"index":0,"delta":{"content":`;
  const after = '},"logprobs":null,"finish_reason":null}]}\n\n';
  const body = new ReadableStream<Uint8Array>({
    start(output) {
      readers.set(sessionId, ({ sessionUpdate, content }) => {
        if (sessionUpdate !== "agent_message_chunk" || typeof content?.text !== "string") return;
        output.enqueue(encoder.encode(before + JSON.stringify(content.text) + after));
      });
      call("session/prompt", promptOf(chat, sessionId), () => {
        if (!readers.delete(sessionId)) return;
        output.enqueue(encoder.encode("data: [DONE]\n\n"));
        output.close();
      });
    },
    cancel() {
      readers.delete(sessionId);
      send({ jsonrpc: "2.0", method: "session/cancel", params: { sessionId } });
    },
  });
  return new Response(body, {
    headers: { "content-type": "text/event-stream", "cache-control": "no-cache" },
  });
}

async function broadcastTurn(chat: ChatRequest, sessionId: string): Promise<Response> {
  const ids = { session_id: sessionId, turn_id: crypto.randomUUID() };
  readers.set(sessionId, (update) => broadcastUpdate(update, ids));
  broadcast("agent_state", { ...ids, state: "thinking" });
  await request("session/prompt", promptOf(chat, sessionId));
  readers.delete(sessionId);
  broadcast("agent_state", { ...ids, state: "attention" });
  return Response.json({});
}

function broadcastUpdate({ sessionUpdate, content, entries, toolCallId, title }: Update, ids: object): void {
  const tool = { ...ids, tool_call_id: toolCallId, tool_name: title, kind: "edit" };
  switch (sessionUpdate) {
    case "agent_message_chunk": {
      const text = String(content?.text);
      const tag = TAG.exec(text);
      if (tag) broadcast("emotion", { ...ids, tag: tag[1], intensity: 1 });
      return broadcast("say", { ...ids, text: tag ? text.slice(tag[0].length) : text });
    }
    case "tool_call": {
      broadcast("tool_status", { ...tool, status: "running" });
      const detail = { tool_class: "coding", tool_name: title };
      return broadcast("agent_state", { ...ids, state: "working", detail });
    }
    case "tool_call_update":
      broadcast("tool_status", { ...tool, status: "done" });
      return broadcast("agent_state", { ...ids, state: "thinking" });
    case "plan":
      return broadcast("plan", { ...ids, entries });
  }
}

function broadcast(type: string, fields: object): void {
  const frame = JSON.stringify({ type, ts: Math.floor(Date.now() / 1000), ...fields });
  for (const socket of sockets) socket.send(frame);
}

async function speak({ headers, body, signal }: Request): Promise<Response> {
  const url = `${Deno.env.get("VTUBER_SPEECH_BASE_URL")}/v1/audio/speech`;
  const sound = await fetch(url, { method: "POST", headers, body, signal });
  return new Response(sound.body, { headers: sound.headers });
}

function watch(http: Request): Response {
  const { socket, response } = Deno.upgradeWebSocket(http, { idleTimeout: 30 });
  socket.onopen = () => sockets.add(socket);
  socket.onmessage = () => socket.send('{"type":"subscribed"}');
  socket.onclose = socket.onerror = () => sockets.delete(socket);
  return response;
}

readAgent();
request("initialize", { protocolVersion: 1, clientCapabilities: {} });
Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.log(`http://127.0.0.1:${port}`),
}, async (http) => {
  if (http.headers.has("upgrade")) return watch(http);
  if (http.method !== "POST") return new Response("ok");
  if (http.url.endsWith("/audio/speech")) return await speak(http);
  const chat: ChatRequest = await http.json();
  const { sessionId } = await request("session/new", { cwd: Deno.cwd(), mcpServers: [] });
  return chat.stream ? streamTurn(chat, sessionId) : await broadcastTurn(chat, sessionId);
});
