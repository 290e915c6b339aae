/** The bodies that clawd-on-desk accepts, within its limits. Source: its server (0.5.10, run). @module */

import type { RequestEvent } from "./wire.ts";

/** Largest body of `POST /state`, in bytes: 1 KiB in 0.5.10 and 16 KiB in 0.15.0. Larger bodies get a 413. */
export const MAX_STATE_BYTES = 1_024;

/** The states of the pet that are used. */
export type PetMood =
  | "idle"
  | "thinking"
  | "working"
  | "juggling"
  | "attention"
  | "notification"
  | "error"
  | "sleeping";

/** The reason for a state, by the names of Claude Code's hooks. A refresh has none. */
export type HookEvent =
  | "SessionStart"
  | "UserPromptSubmit"
  | "PreToolUse"
  | "PostToolUse"
  | "PostToolUseFailure"
  | "SubagentStart"
  | "SubagentStop"
  | "PermissionRequest"
  | "Notification"
  | "Stop"
  | "StopFailure"
  | "SessionEnd";

/** The new state of a session. */
export interface StateBody {
  readonly state: PetMood;
  readonly event?: HookEvent | undefined;
  readonly session_id: string;
  readonly tool_name?: string | undefined;
}

/** The agent whose hooks this program imitates. The pet keeps its settings per agent, and assumes this one by default. */
const AGENT = "claude-code";

// Sizes within JSON. With the longest state, event and session, a body stays under 950 bytes.
const MAX_FOLDER_BYTES = 460;
const MAX_TOOL_BYTES = 240;
const MAX_SESSION_CHARS = 48;
/** Hexadecimal digits of a 32-bit hash. */
const HASH_CHARS = 8;

/** Characters of a permission's detail. The pet shows the first 500. */
const MAX_DETAIL_CHARS = 16_000;

/** Encodes the body of `POST /state`, in at most {@linkcode MAX_STATE_BYTES}. */
export function encodeState({ state, event, session_id, tool_name }: StateBody, folder: string): string {
  return JSON.stringify({
    state,
    event,
    session_id,
    agent_id: AGENT,
    // The end of a path names the folder.
    cwd: truncate(folder, MAX_FOLDER_BYTES, "end"),
    tool_name: tool_name === undefined ? undefined : truncate(tool_name, MAX_TOOL_BYTES),
  });
}

/** Encodes the body of `POST /permission`. The pet suggests "always" if the agent offers it. */
export function encodePermission({ tool, options }: RequestEvent, sessionId: string): string {
  const { tool_name, tool_input } = petTool(tool);
  const offersAlways = options.some(({ kind }) => kind === "allow_always");
  const rule = {
    type: "addRules",
    rules: [{ toolName: tool_name }],
    behavior: "allow",
    destination: "session",
  };
  return JSON.stringify({
    tool_name,
    tool_input,
    session_id: sessionId,
    agent_id: AGENT,
    permission_suggestions: offersAlways ? [rule] : [],
  });
}

/** Translates a tool into the tool of Claude Code that the pet shows best. */
function petTool(tool: RequestEvent["tool"]): { tool_name: string; tool_input: Record<string, string> } {
  const detail = (tool.detail ?? tool.tool_name).slice(0, MAX_DETAIL_CHARS).toWellFormed();
  switch (tool.kind) {
    case "execute":
      return { tool_name: "Bash", tool_input: { command: detail } };
    case "edit": {
      const [file_path = "", ...change] = detail.split("\n");
      return {
        tool_name: "Edit",
        tool_input: { file_path, ...(change.length > 0 ? { change: change.join("\n") } : {}) },
      };
    }
    case "fetch":
      return { tool_name: "WebFetch", tool_input: { url: /^https?:\S+/m.exec(detail)?.[0] ?? detail } };
    default:
      return { tool_name: plainToolName(tool.tool_name), tool_input: { detail } };
  }
}

/**
 * Returns a name that the pet has no rule for. By their bare names, the pet allows some tools of Claude Code by itself
 * (`TaskCreate`) and shows others as questions (`AskUserQuestion`). It has no rules for tools of MCP servers.
 */
function plainToolName(name: string): string {
  const short = truncate(name.trim() || "a tool", MAX_TOOL_BYTES);
  return /^\w+$/.test(short) && !/^mcp__/i.test(short) ? `Tool ${short}` : short;
}

/** Returns the pet's session id for a conversation: short, of plain characters, and unique. */
export function petSessionId(conversation: string): string {
  const plain = conversation.replace(/[^\w.-]/g, "_");
  if (plain === conversation && plain.length <= MAX_SESSION_CHARS) return `oab-${plain}`;
  const hash = fnv1a(conversation).toString(16).padStart(HASH_CHARS, "0");
  return `oab-${plain.slice(0, MAX_SESSION_CHARS - HASH_CHARS - 1)}-${hash}`;
}

function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return hash;
}

/** Created on first use, because that takes 10 ms. */
let segmenter: Intl.Segmenter | undefined;
const ENCODER = new TextEncoder();
const ELLIPSIS = "…";

/** Returns the text, or as much of one end as fits into `maxBytes` of JSON. Never splits a character. */
export function truncate(text: string, maxBytes: number, keep: "start" | "end" = "start"): string {
  if (text.length <= maxBytes && jsonBytes(text) <= maxBytes) return text;
  segmenter ??= new Intl.Segmenter();
  const near = keep === "start" ? text.slice(0, maxBytes) : text.slice(-maxBytes);
  const segments = Array.from(segmenter.segment(near), ({ segment }) => segment);
  if (keep === "end") segments.reverse();
  let left = maxBytes - jsonBytes(ELLIPSIS);
  const end = segments.findIndex((segment) => (left -= jsonBytes(segment)) < 0);
  const kept = segments.slice(0, end < 0 ? segments.length : end);
  return keep === "start" ? kept.join("") + ELLIPSIS : ELLIPSIS + kept.reverse().join("");
}

/** Counts the bytes of a text in JSON, without its quotes. */
function jsonBytes(text: string): number {
  return ENCODER.encode(JSON.stringify(text)).length - 2;
}
