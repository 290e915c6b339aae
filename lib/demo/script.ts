/** A turn of the demo agent: how a character's agent thinks, plans, asks, works and speaks. @module */

import { setTimeout } from "node:timers/promises";

/** Delays within a turn, in milliseconds. */
export interface Pace {
  /** Delay between two tokens. */
  readonly tokenMs: number;
  /** Duration of a thought, a step or a tool. */
  readonly stepMs: number;
}

/** A block of a prompt (ACP `ContentBlock`), as far as it is read. */
export interface PromptBlock {
  readonly type: string;
  readonly text?: string;
  readonly mimeType?: string;
  readonly data?: string;
}

/** The result of `session/request_permission`, as far as it is read. */
export type PermissionResult = { readonly outcome?: { readonly optionId?: string } } | undefined;

/** One turn of the demo agent, and its way to the client. */
export interface DemoTurn {
  readonly pace: Pace;
  /** Aborts when the turn is cancelled. */
  readonly signal: AbortSignal;
  /** Sends a `session/update`. Resolves when it is written, and throws if the turn is cancelled. */
  update(update: Record<string, unknown>): Promise<void>;
  /** Asks for permission. */
  requestPermission(params: Record<string, unknown>): Promise<PermissionResult>;
}

/** Plays the scene that fits the prompt. `count` counts the turns of the session from 1. */
export async function playTurn(
  turn: DemoTurn,
  text: string,
  images: readonly PromptBlock[],
  count: number,
): Promise<void> {
  const prompt = lastMessage(text);
  if (images.length > 0) await describe(turn, images);
  else if (/\b(run|use|call) (a |the |some )?tools?\b/i.test(prompt)) await runTool(turn);
  else if (/\b(delegate|juggle|sub-?agents?)\b/i.test(prompt)) await delegate(turn);
  else if (/\bplan\b/i.test(prompt)) await plan(turn);
  else if (/\bthink\b/i.test(prompt)) {
    await think(turn, "I look thoughtful. This is what a thought looks like on the wire. ");
    await say(turn, "[curious] I thought about it, and I think I am a demo.");
  } else await greet(turn, prompt, count);
}

async function greet(turn: DemoTurn, prompt: string, count: number): Promise<void> {
  await think(turn, "Somebody speaks to me. I shall be friendly. ");
  const greeting = count > 1
    ? `[happy] We have met before: this is turn ${count}.`
    : "[happy] Hello! I am the demo agent.";
  await say(
    turn,
    `${greeting} You said: "${shorten(prompt)}". [neutral] No model thinks behind me, ` +
      "but everything else is real: the tokens, the tags, the tools. " +
      '[curious] Say "run a tool", "make a plan", "delegate" or "think", or set OPENAB_AGENT_COMMAND to meet a real agent.',
  );
}

async function describe(turn: DemoTurn, images: readonly PromptBlock[]): Promise<void> {
  const list = images.map(({ mimeType, data = "" }) =>
    `${mimeType} of about ${Math.ceil(data.length * 3 / 4096)} KiB`
  );
  const what = list.length === 1 ? "a picture" : `${list.length} pictures`;
  await think(turn, "A picture. I can tell its type and size, and nothing else. ");
  await say(
    turn,
    `[surprised] I got ${what}: ${list.join(", ")}. ` +
      "[neutral] I have no eyes behind this demo; a real agent would look at it.",
  );
}

async function plan(turn: DemoTurn): Promise<void> {
  const steps = ["Listen", "Think", "Answer"];
  for (let done = 0; done <= steps.length; done++) {
    await showPlan(turn, steps, done);
    await pause(turn);
  }
  await say(turn, "[proud] That was a plan with three steps, each of them done.");
}

async function runTool(turn: DemoTurn): Promise<void> {
  await think(turn, "They want to see a tool. I shall ask first. ");
  const steps = ["Ask for permission", "Look at the clock"];
  await showPlan(turn, steps, 0);
  const toolCallId = `clock-${crypto.randomUUID()}`;
  const tool = { toolCallId, title: "date", kind: "execute", rawInput: { command: "date -u +%H:%M" } };
  const setStatus = (status: string) =>
    turn.update({ sessionUpdate: "tool_call_update", toolCallId, status });
  await turn.update({ sessionUpdate: "tool_call", ...tool, status: "pending" });
  if (!await askPermission(turn, tool)) {
    await setStatus("failed");
    return await say(turn, "[sad] I was not permitted to look at the clock.");
  }
  await showPlan(turn, steps, 1);
  await setStatus("in_progress");
  await pause(turn);
  await setStatus("completed");
  await showPlan(turn, steps, 2);
  await say(turn, `[happy] I looked at the clock: it is ${new Date().toISOString().slice(11, 16)} UTC.`);
}

/** Runs three subagents at once, as Claude's `Task` tool does. */
async function delegate(turn: DemoTurn): Promise<void> {
  await think(turn, "That is a lot of work. I shall let others help me. ");
  const ids: string[] = [];
  for (const title of ["Read the letters", "Count the stars", "Water the plants"]) {
    const toolCallId = `task-${crypto.randomUUID()}`;
    ids.push(toolCallId);
    const task = { toolCallId, name: "Task", title, kind: "think", status: "in_progress" };
    await turn.update({ sessionUpdate: "tool_call", ...task });
    await pause(turn);
  }
  for (const toolCallId of ids) {
    await pause(turn);
    await turn.update({ sessionUpdate: "tool_call_update", toolCallId, status: "completed" });
  }
  await say(turn, "[excited] Three helpers of mine have done three things at once.");
}

async function think(turn: DemoTurn, text: string): Promise<void> {
  await stream(turn, "agent_thought_chunk", text);
  await pause(turn);
}

async function say(turn: DemoTurn, text: string): Promise<void> {
  await stream(turn, "agent_message_chunk", text);
}

async function stream(turn: DemoTurn, sessionUpdate: string, text: string): Promise<void> {
  for (const token of text.match(/\S+\s*/g) ?? []) {
    await turn.update({ sessionUpdate, content: { type: "text", text: token } });
    await pause(turn, turn.pace.tokenMs);
  }
}

/** Shows a plan whose first steps are done. */
async function showPlan(turn: DemoTurn, steps: readonly string[], done: number): Promise<void> {
  const entries = steps.map((content, index) => ({
    content,
    priority: "medium",
    status: index < done ? "completed" : index === done ? "in_progress" : "pending",
  }));
  await turn.update({ sessionUpdate: "plan", entries });
}

/** Asks for permission. Returns whether it was given. */
async function askPermission(turn: DemoTurn, toolCall: Record<string, unknown>): Promise<boolean> {
  const options = [
    { optionId: "allow", name: "Allow", kind: "allow_once" },
    { optionId: "always", name: "Always allow", kind: "allow_always" },
    { optionId: "reject", name: "Reject", kind: "reject_once" },
  ];
  const result = await turn.requestPermission({ toolCall, options });
  turn.signal.throwIfAborted();
  return ["allow", "always"].includes(result?.outcome?.optionId ?? "");
}

/** Waits for a step. */
async function pause({ pace, signal }: DemoTurn, ms = pace.stepMs): Promise<void> {
  signal.throwIfAborted();
  if (ms > 0) await setTimeout(ms, undefined, { signal });
}

/** Finds the last message of a prompt. Earlier messages are enclosed in tags. */
function lastMessage(text: string): string {
  return text.replace(/<(system|user|assistant|tool)\b[^>]*>[\s\S]*?<\/\1>/g, "").trim() || text.trim();
}

function shorten(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > 120 ? [...line].slice(0, 120).join("") + "..." : line;
}
