/**
 * Translates events into the bodies that clawd-on-desk accepts. The program imitates the hooks of Claude Code, because
 * the pet keeps its settings per agent. Source: the pet's server (0.5.10, run).
 *
 * @module
 */

import { BoundedMap } from "../core/bounded_map.ts";
import { spaceUnsafe } from "../core/unsafe_text.ts";
import type { RequestEvent, StateEvent } from "./wire.ts";

/** Largest body of `POST /state`, in bytes: 1 KiB in 0.5.10 and 16 KiB in 0.15.0. Larger bodies get a 413. */
export const MAX_STATE_BYTES = 1_024;
// A character takes at most 3 bytes, so that a body stays within the limit.
const MAX_FOLDER_CHARS = 120;
const MAX_TOOL_CHARS = 60;
const MAX_SESSION_CHARS = 48;
/** Characters of a permission's detail that the pet shows. A longer one is not sent to it. */
export const MAX_SHOWN_CHARS = 500;
/** Conversations that are followed. The pet keeps 20 sessions. */
const MAX_CONVERSATIONS = 20;

const AGENT = "claude-code";
/** The states of a conversation that the pet shows, each with the hook of Claude Code that causes it. */
const HOOKS: ReadonlyMap<string, string | undefined> = new Map([
  ["idle", undefined],
  ["thinking", "UserPromptSubmit"],
  ["working", "PreToolUse"],
  ["juggling", "SubagentStart"],
  ["notification", "PermissionRequest"],
  ["attention", "Stop"],
  ["error", "StopFailure"],
]);
/** The states of a running turn. */
const RUNNING = ["thinking", "working", "juggling", "notification"];

/** The states of all conversations, of which the pet gets the changes. It shows the most important one. */
export class PetStates {
  readonly #folder: string;
  /** By conversation. */
  readonly #shown = new BoundedMap<string, string>(MAX_CONVERSATIONS);

  /** @param folder The folder that the pet shows. */
  constructor(folder: string) {
    // The end of a path names the folder.
    this.#folder = folder.slice(-MAX_FOLDER_CHARS);
  }

  /** Encodes a state as the body of `POST /state`; `undefined` if there is nothing to post. */
  encode({ state, session_id, detail }: StateEvent): string | undefined {
    if (session_id === undefined || !HOOKS.has(state)) return undefined;
    const before = this.#shown.get(session_id) ?? "idle";
    // The agent thinks between its tools too.
    const next = state === "thinking" && RUNNING.includes(before) && before !== "thinking"
      ? "working"
      : state;
    if (next === before) return undefined;
    this.#shown.set(session_id, next);
    // Only this hook turns `juggling` into `working`.
    const hook = before === "juggling" && next === "working" ? "SubagentStop" : HOOKS.get(next);
    return this.#encode(next, hook, petSession(session_id), detail?.tool_name?.slice(0, MAX_TOOL_CHARS));
  }

  /** Encodes a notification, which belongs to no turn. */
  encodeNotification(): string {
    return this.#encode("notification", "Notification", "oab");
  }

  #encode(state: string, event: string | undefined, session_id: string, tool_name?: string): string {
    const body = { state, event, session_id, agent_id: AGENT, cwd: this.#folder, tool_name };
    return JSON.stringify(body, (_key, value) => typeof value === "string" ? plain(value) : value);
  }
}

/** Replaces control characters and lone surrogates, which would take 6 bytes each. */
function plain(text: string): string {
  return spaceUnsafe(text).toWellFormed();
}

/** Returns the pet's session of a conversation. */
function petSession(conversation: string): string {
  return `oab-${plain(conversation.slice(0, MAX_SESSION_CHARS))}`;
}

/** Encodes the body of `POST /permission`. The pet suggests "always" if the agent offers it. */
export function encodePermission({ session_id, tool, options }: RequestEvent): string {
  const [tool_name, tool_input] = petTool(tool);
  const rule = {
    type: "addRules",
    rules: [{ toolName: tool_name }],
    behavior: "allow",
    destination: "session",
  };
  return JSON.stringify({
    tool_name,
    tool_input,
    session_id: petSession(session_id),
    agent_id: AGENT,
    permission_suggestions: options.some(({ kind }) => kind === "allow_always") ? [rule] : [],
  });
}

/** Translates a tool into the tool of Claude Code that the pet shows best. */
function petTool(tool: RequestEvent["tool"]): [name: string, input: Record<string, string>] {
  const detail = (tool.detail ?? tool.tool_name).toWellFormed();
  switch (tool.kind) {
    case "execute":
      return ["Bash", { command: detail }];
    case "edit": {
      const [file_path = "", ...change] = detail.split("\n");
      return ["Edit", { file_path, change: change.join("\n") }];
    }
    case "fetch":
      return ["WebFetch", { url: detail }];
    default:
      // By their bare names, the pet allows some tools by itself (`TaskCreate`) and shows others as questions.
      return [`Tool ${tool.tool_name.slice(0, MAX_TOOL_CHARS)}`, { detail }];
  }
}
