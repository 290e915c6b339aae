/**
 * The smallest program that tells watchers what an agent does: each of {@linkcode ACTS} as the frames that the server
 * makes of it, and each frame in a plain loop over the sockets.
 *
 * `broadcast.ts PROGRAM [ARGUMENT...]` starts that agent, and prints the port that it listens on.
 *
 * @module
 */

import { openPipe, type Update } from "./pipe.ts";

const TAG = /^\[(\w+)\]/;

const sockets = new Set<WebSocket>();
const agent = openPipe(Deno.args, (sessionId, update) => {
  const about = turns.get(sessionId);
  if (about) act(update, about);
});
const turns = new Map<string, Record<string, unknown>>();

function act({ sessionUpdate, content, entries, toolCallId, title }: Update, about: object): void {
  switch (sessionUpdate) {
    case "agent_message_chunk": {
      const text = String(content?.text);
      const tag = TAG.exec(text);
      if (tag) tell("emotion", { ...about, tag: tag[1], intensity: 1 });
      return tell("say", { ...about, text: tag ? text.slice(tag[0].length) : text });
    }
    case "tool_call":
      tell("tool_status", {
        ...about,
        tool_call_id: toolCallId,
        tool_name: title,
        kind: "edit",
        status: "running",
      });
      return tell("agent_state", {
        ...about,
        state: "working",
        detail: { tool_class: "coding", tool_name: title },
      });
    case "tool_call_update":
      tell("tool_status", {
        ...about,
        tool_call_id: toolCallId,
        tool_name: title,
        kind: "edit",
        status: "done",
      });
      return tell("agent_state", { ...about, state: "thinking" });
    case "plan":
      return tell("plan", { ...about, entries });
  }
}

function tell(type: string, fields: object): void {
  const frame = JSON.stringify({ type, ts: Math.floor(Date.now() / 1000), ...fields });
  for (const socket of sockets) socket.send(frame);
}

async function complete(http: Request): Promise<Response> {
  const { messages } = await http.json();
  const { sessionId } = await agent.request("session/new", { cwd: Deno.cwd(), mcpServers: [] });
  const about = { session_id: sessionId, turn_id: crypto.randomUUID() };
  turns.set(sessionId, about);
  tell("agent_state", { ...about, state: "thinking" });
  await agent.request("session/prompt", {
    sessionId,
    prompt: [{ type: "text", text: messages.at(-1).content }],
  });
  turns.delete(sessionId);
  tell("agent_state", { ...about, state: "attention" });
  return Response.json({});
}

function watch(http: Request): Response {
  const { socket, response } = Deno.upgradeWebSocket(http, { idleTimeout: 30 });
  socket.onopen = () => sockets.add(socket);
  socket.onmessage = () => socket.send('{"type":"subscribed"}');
  socket.onclose = socket.onerror = () => sockets.delete(socket);
  return response;
}

Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.log(`http://127.0.0.1:${port}`),
}, (http) => {
  if (http.headers.has("upgrade")) return watch(http);
  return http.method === "POST" ? complete(http) : new Response("ok");
});
