/**
 * What is sent to clawd-on-desk, within its limits. Source of the names and limits: its server, run (0.5.10).
 *
 * @module
 */

import type { AskEvent } from "./wire.ts";

/** Bytes of a body of `POST /state`; what is longer is refused with 413. */
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

/** Why a state is posted, in the words of Claude Code's hooks. A refresh has no reason. */
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

/** What one of the pet's sessions does from now on. */
export interface StateBody {
  readonly state: PetMood;
  readonly event?: HookEvent | undefined;
  readonly session_id: string;
  readonly tool_name?: string | undefined;
}

/** The pet keeps its settings by agent; this is the one whose hooks are spoken here, and what it assumes unasked. */
const AGENT = "claude-code";

// Each is measured as it stands in JSON; with all names and the longest words they make fewer than 950 bytes.
const MAX_FOLDER_BYTES = 460;
const MAX_TOOL_BYTES = 240;
const MAX_SESSION_CHARS = 48;

/** Characters of what a permission bubble shows; the pet itself shows the first 500. */
const MAX_DETAIL_CHARS = 16_000;

/** The body of `POST /state`: at most {@linkcode MAX_STATE_BYTES}, whatever the names are. */
export function stateText({ state, event, session_id, tool_name }: StateBody, folder: string): string {
  return JSON.stringify({
    state,
    event,
    session_id,
    agent_id: AGENT,
    cwd: clipStart(folder, MAX_FOLDER_BYTES),
    tool_name: tool_name === undefined ? undefined : clip(tool_name, MAX_TOOL_BYTES),
  });
}

/** The body of `POST /permission`; the pet suggests "always" where the agent offers it. */
export function permissionText({ tool, options }: AskEvent, sessionId: string): string {
  const { tool_name, tool_input } = toolOf(tool);
  const always = options.some(({ kind }) => kind === "allow_always");
  return JSON.stringify({
    tool_name,
    tool_input,
    session_id: sessionId,
    agent_id: AGENT,
    permission_suggestions: always
      ? [{
        type: "addRules",
        rules: [{ toolName: tool_name }],
        behavior: "allow",
        destination: "session",
      }]
      : [],
  });
}

/** A tool as the pet shows it best: it knows the tools of Claude Code, and which part of their input matters. */
function toolOf(tool: AskEvent["tool"]): { tool_name: string; tool_input: Record<string, string> } {
  const detail = (tool.detail ?? tool.tool_name).slice(0, MAX_DETAIL_CHARS).toWellFormed();
  const [first = "", ...rest] = detail.split("\n");
  switch (tool.kind) {
    case "execute":
      return { tool_name: "Bash", tool_input: { command: detail } };
    case "edit":
      return {
        tool_name: "Edit",
        tool_input: { file_path: first, ...(rest.length > 0 ? { change: rest.join("\n") } : {}) },
      };
    case "fetch":
      return { tool_name: "WebFetch", tool_input: { url: /^https?:\S+/m.exec(detail)?.[0] ?? detail } };
    default:
      return { tool_name: plainName(tool.tool_name), tool_input: { detail } };
  }
}

/**
 * A name that the pet has no rule for: it allows some tools of Claude Code by itself (`TaskCreate`) and shows others as
 * questions (`AskUserQuestion`), by their bare name. Tools of MCP servers have no such rules, and a form of their own.
 */
function plainName(name: string): string {
  const clipped = clip(name.trim() || "a tool", MAX_TOOL_BYTES);
  return /^\w+$/.test(clipped) && !/^mcp__/i.test(clipped) ? `Tool ${clipped}` : clipped;
}

/** The pet's name for a conversation: short, plain, and its own for each. */
export function sessionIdOf(conversation: string): string {
  const plain = conversation.replace(/[^\w.-]/g, "_");
  if (plain === conversation && plain.length <= MAX_SESSION_CHARS) return `oab-${plain}`;
  // Names are made shorter and plainer, so what tells them apart is added.
  return `oab-${plain.slice(0, MAX_SESSION_CHARS - 9)}-${hash(conversation).toString(16).padStart(8, "0")}`;
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return value;
}

/** Made when a name is too long for the first time: it takes 10 ms. */
let graphemes: Intl.Segmenter | undefined;
const ENCODER = new TextEncoder();
const ELLIPSIS = "…";

/** Bytes of a text in JSON, without its quotes. */
function sizeOf(text: string): number {
  return ENCODER.encode(JSON.stringify(text)).length - 2;
}

/** The text, or as much of its start as fits; never half of a character. */
export function clip(text: string, maxBytes: number): string {
  if (text.length <= maxBytes && sizeOf(text) <= maxBytes) return text;
  // Each unit takes a byte at least.
  return fitting(segmentsOf(text.slice(0, maxBytes)), maxBytes).join("") + ELLIPSIS;
}

/** The text, or as much of its end as fits: of a path, that is where its name is. */
export function clipStart(text: string, maxBytes: number): string {
  if (text.length <= maxBytes && sizeOf(text) <= maxBytes) return text;
  const segments = segmentsOf(text.slice(-maxBytes)).reverse();
  return ELLIPSIS + fitting(segments, maxBytes).reverse().join("");
}

function segmentsOf(text: string): Intl.SegmentData[] {
  graphemes ??= new Intl.Segmenter();
  return [...graphemes.segment(text)];
}

function fitting(segments: readonly Intl.SegmentData[], maxBytes: number): string[] {
  let left = maxBytes - sizeOf(ELLIPSIS);
  const kept: string[] = [];
  for (const { segment } of segments) {
    left -= sizeOf(segment);
    if (left < 0) break;
    kept.push(segment);
  }
  return kept;
}
