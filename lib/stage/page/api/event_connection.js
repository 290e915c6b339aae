// @ts-check
/** One connection to the server's events: a WebSocket, or server-sent events with requests for the commands. @module */

import { keyHeaders, socketProtocols } from "./key.js";
import { SseReader } from "./sse.js";

/** The name under which the page answers permissions and questions. */
const CLIENT = "stage";
/** Time between pings, and longest wait for any frame after one. */
const PING_MS = 25_000;
const PONG_MS = 15_000;
/** Longest silence of an event stream; the server sends a comment every 15 s. */
const MAX_SILENCE_MS = 40_000;

/**
 * The events that the page reads, as `.github/docs/events.md` describes them.
 *
 * @typedef {{ session_id?: string, turn_id?: string }} TurnRef
 * @typedef {import("../characters/character.js").StateDetail & { error?: { message: string } }} StateDetail
 * @typedef {TurnRef & { tool_call_id: string, tool_name: string, status: string }} Tool
 * @typedef {{ content: string, status: string }} PlanEntry
 * @typedef {{ used: number, size: number, cost?: { amount: number, currency: string } }} Usage
 * @typedef {{ agent: string, status: string, error?: { message: string } }} AgentStatus
 * @typedef {import("../views/permission.js").Request} PermissionRequest
 * @typedef {import("../views/question.js").Question} Question
 * @typedef {TurnRef & { type: "agent_state", state: string, detail?: StateDetail }} StateFrame
 * @typedef {TurnRef & { type: "emotion", tag: string, intensity?: number, at?: number }} EmotionFrame
 * @typedef {TurnRef & { type: "say", text: string }} SayFrame
 * @typedef {{ type: "tool_status" } & Tool} ToolFrame
 * @typedef {TurnRef & { type: "plan", entries?: PlanEntry[] }} PlanFrame
 * @typedef {TurnRef & { type: "usage" } & Usage} UsageFrame
 * @typedef {TurnRef & { type: "notification", text: string, urgency: string }} NotificationFrame
 * @typedef {TurnRef & { type: "agent_status" } & AgentStatus} AgentFrame
 * @typedef {TurnRef & { type: "permission_request" } & PermissionRequest} PermissionFrame
 * @typedef {TurnRef & { request_id: string, outcome: string, by: string }} PermissionEnd
 * @typedef {{ type: "permission_resolved" } & PermissionEnd} PermissionEndFrame
 * @typedef {TurnRef & { type: "question" } & Question} QuestionFrame
 * @typedef {TurnRef & { question_id: string, outcome: string, by: string }} QuestionEnd
 * @typedef {{ type: "question_resolved" } & QuestionEnd} QuestionEndFrame
 * @typedef {TurnRef & { type: "error", message: string }} ErrorFrame
 * @typedef {StateFrame | EmotionFrame | SayFrame | ToolFrame | PlanFrame | UsageFrame | NotificationFrame | AgentFrame
 *   | PermissionFrame | PermissionEndFrame | QuestionFrame | QuestionEndFrame | ErrorFrame} Frame
 */
/** @typedef {{ type: string, [field: string]: unknown }} Command */
/** @typedef {{ send: (command: Command) => void, close: () => void }} EventConnection */
/**
 * @typedef {object} ConnectionOptions
 * @property {URL} baseUrl Address of `/v1/vtuber/`.
 * @property {string} key
 * @property {readonly string[]} events Names of the events to subscribe to.
 * @property {() => void} onOpen
 * @property {(frame: Frame) => void} onFrame
 * @property {() => void} onClose Called once, if the connection fails or is lost.
 */
/** @typedef {(options: ConnectionOptions) => EventConnection} OpenConnection */

/** Opens a WebSocket. @type {OpenConnection} */
export function openEventSocket({ baseUrl, key, events, onOpen, onFrame, onClose }) {
  const url = new URL("ws", baseUrl);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, socketProtocols(key));
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let pingTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let pongTimer;
  /** @param {Command} command */
  const send = (command) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(command));
  };
  const end = () => {
    clearInterval(pingTimer);
    clearTimeout(pongTimer);
    socket.onclose = null;
    socket.close();
  };
  socket.onopen = () => {
    send({ type: "hello", client: CLIENT });
    send({ type: "subscribe", events });
    pingTimer = setInterval(() => {
      send({ type: "ping" });
      // Without any frame in time, the network is gone.
      pongTimer ??= setTimeout(() => {
        end();
        onClose();
      }, PONG_MS);
    }, PING_MS);
    onOpen();
  };
  socket.onmessage = ({ data }) => {
    clearTimeout(pongTimer);
    pongTimer = undefined;
    const frame = parseFrame(data);
    if (frame) onFrame(frame);
  };
  socket.onclose = () => {
    end();
    onClose();
  };
  return { send, close: end };
}

/** Opens a stream of server-sent events. Commands are sent as requests. @type {OpenConnection} */
export function openEventStream({ baseUrl, key, events, onOpen, onFrame, onClose }) {
  const closing = new AbortController();
  const url = new URL("events", baseUrl);
  url.searchParams.set("events", events.join(","));

  async function read() {
    // A proxy may hold the stream back.
    const opening = setTimeout(() => closing.abort(), MAX_SILENCE_MS);
    const response = await fetch(url, { headers: keyHeaders(key), signal: closing.signal })
      .finally(() => clearTimeout(opening));
    if (!response.ok || response.body === null) return;
    onOpen();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const sse = new SseReader();
    for (;;) {
      const silence = setTimeout(() => closing.abort(), MAX_SILENCE_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      for (const frame of sse.push(value).map(parseFrame)) if (frame) onFrame(frame);
    }
  }

  /** @param {Command} command */
  async function send({ type, request_id, question_id, ...body }) {
    const path = type === "permission_response"
      ? `permissions/${request_id}`
      : type === "question_response"
      ? `questions/${question_id}`
      : type;
    const response = await fetch(new URL(path, baseUrl), {
      method: "POST",
      headers: { "content-type": "application/json", ...keyHeaders(key) },
      body: JSON.stringify({ ...body, client: CLIENT }),
      signal: AbortSignal.timeout(PONG_MS),
    });
    const answer = await response.json();
    if (!response.ok) onFrame({ type: "error", message: answer?.error?.message });
  }

  // The caller gets the connection before it is told of its end.
  read().catch(() => {}).then(onClose);
  return {
    send: (command) =>
      void send(command).catch(() => onFrame({ type: "error", message: "The answer was not sent." })),
    close: () => closing.abort(),
  };
}

/** @param {unknown} data @returns {Frame | undefined} */
function parseFrame(data) {
  try {
    const frame = JSON.parse(String(data));
    return typeof frame?.type === "string" ? frame : undefined;
  } catch {
    return undefined;
  }
}
