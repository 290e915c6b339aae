/** What the demo agent does in a turn: how a character's agent thinks, plans, asks, works and speaks. @module */

import type { JsonRpcPeer } from "../acp/json_rpc.ts";

/** How slow the demo is, in milliseconds. */
export interface Pace {
  /** Between two tokens. */
  readonly tokenMs: number;
  /** What a thought, a step or a tool takes. */
  readonly stepMs: number;
}

/** A block of a prompt, as ACP has it. */
export interface Block {
  readonly type: string;
  readonly text?: string;
  readonly mimeType?: string;
  readonly data?: string;
}

/** What the demo does, chosen by what was said to it. */
export async function act(
  stage: DemoScript,
  text: string,
  images: readonly Block[],
  turns: number,
): Promise<void> {
  const asked = lastWords(text);
  if (images.length > 0) {
    const what = images.map(({ mimeType, data = "" }) =>
      `${mimeType} of about ${Math.ceil(data.length * 3 / 4096)} KiB`
    );
    await stage.think("A picture. I can tell its type and size, and nothing else. ");
    return await stage.say(
      `[surprised] I got ${what.length === 1 ? "a picture" : `${what.length} pictures`}: ${
        what.join(", ")
      }. ` +
        "[neutral] I have no eyes behind this demo; a real agent would look at it.",
    );
  }
  if (/\b(run|use|call) (a |the |some )?tools?\b/i.test(asked)) return await runTool(stage);
  if (/\b(delegate|juggle|sub-?agents?)\b/i.test(asked)) return await delegate(stage);
  if (/\bplan\b/i.test(asked)) {
    await stage.plan(["Listen", "Think", "Answer"]);
    return await stage.say("[proud] That was a plan with three steps, each of them done.");
  }
  if (/\bthink\b/i.test(asked)) {
    await stage.think("I look thoughtful. This is what a thought looks like on the wire. ");
    return await stage.say("[curious] I thought about it, and I think I am a demo.");
  }
  await stage.think("Somebody speaks to me. I shall be friendly. ");
  const greeting = turns > 1
    ? "[happy] We have met before: this is turn " + turns + "."
    : "[happy] Hello! I am the demo agent.";
  await stage.say(
    `${greeting} You said: "${shorten(asked)}". [neutral] No model thinks behind me, ` +
      "but everything else is real: the tokens, the tags, the tools. " +
      '[curious] Say "run a tool", "make a plan", "delegate" or "think", or set OPENAB_AGENT_COMMAND to meet a real agent.',
  );
}

async function runTool(stage: DemoScript): Promise<void> {
  await stage.think("They want to see a tool. I shall ask first. ");
  const steps = ["Ask for permission", "Look at the clock"];
  await stage.showPlan(steps, 0);
  const tool = {
    toolCallId: `clock-${crypto.randomUUID()}`,
    title: "date",
    kind: "execute",
    rawInput: { command: "date -u +%H:%M" },
  };
  await stage.update({ sessionUpdate: "tool_call", ...tool, status: "pending" });
  const allowed = await stage.ask(tool);
  if (!allowed) {
    await stage.update({ sessionUpdate: "tool_call_update", toolCallId: tool.toolCallId, status: "failed" });
    return await stage.say(
      "[sad] I was not permitted to look at the clock.",
    );
  }
  await stage.showPlan(steps, 1);
  await stage.update({
    sessionUpdate: "tool_call_update",
    toolCallId: tool.toolCallId,
    status: "in_progress",
  });
  await stage.pause();
  await stage.update({ sessionUpdate: "tool_call_update", toolCallId: tool.toolCallId, status: "completed" });
  await stage.showPlan(steps, 2);
  await stage.say(`[happy] I looked at the clock: it is ${new Date().toISOString().slice(11, 16)} UTC.`);
}

/** Agents of its own work for it, as Claude's `Task` does; it waits until the last of them is done. */
async function delegate(stage: DemoScript): Promise<void> {
  await stage.think("That is a lot of work. I shall let others help me. ");
  const tasks = ["Read the letters", "Count the stars", "Water the plants"].map((title) => ({
    toolCallId: `task-${crypto.randomUUID()}`,
    name: "Task",
    title,
    kind: "think",
  }));
  for (const task of tasks) {
    await stage.update({ sessionUpdate: "tool_call", ...task, status: "in_progress" });
    await stage.pause();
  }
  for (const { toolCallId } of tasks) {
    await stage.pause();
    await stage.update({ sessionUpdate: "tool_call_update", toolCallId, status: "completed" });
  }
  await stage.say("[excited] Three helpers of mine have done three things at once.");
}

/** What was said last: a transcript before it stands in tags. */
function lastWords(text: string): string {
  return text.replace(/<(system|user|assistant|tool)\b[^>]*>[\s\S]*?<\/\1>/g, "").trim() || text.trim();
}

function shorten(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > 120 ? [...line].slice(0, 120).join("") + "..." : line;
}

/** What was said so far in a turn. */
export interface Spoken {
  said: string;
}

/** One turn, played to the client. Every step throws once the turn is cancelled. */
export class DemoScript {
  readonly #peer: JsonRpcPeer;
  readonly #sessionId: string;
  readonly #turn: Spoken;
  readonly #signal: AbortSignal;
  readonly #pace: Pace;

  constructor(peer: JsonRpcPeer, sessionId: string, turn: Spoken, signal: AbortSignal, pace: Pace) {
    this.#peer = peer;
    this.#sessionId = sessionId;
    this.#turn = turn;
    this.#signal = signal;
    this.#pace = pace;
  }

  async update(content: Record<string, unknown>): Promise<void> {
    this.#signal.throwIfAborted();
    update(this.#peer, this.#sessionId, content);
    await Promise.resolve();
  }

  async pause(): Promise<void> {
    await sleep(this.#pace.stepMs, this.#signal);
  }

  async think(text: string): Promise<void> {
    await this.#stream("agent_thought_chunk", text);
    await this.pause();
  }

  async say(text: string): Promise<void> {
    await this.#stream("agent_message_chunk", text);
  }

  /** Shows a plan, and goes through it. */
  async plan(steps: readonly string[]): Promise<void> {
    for (let done = 0; done <= steps.length; done++) {
      await this.showPlan(steps, done);
      await this.pause();
    }
  }

  /** Shows a plan of which so many steps are done. */
  async showPlan(steps: readonly string[], done: number): Promise<void> {
    const entries = steps.map((content, index) => ({
      content,
      priority: "medium",
      status: index < done ? "completed" : index === done ? "in_progress" : "pending",
    }));
    await this.update({ sessionUpdate: "plan", entries });
  }

  /** Asks for a permission, and tells whether it was given. */
  async ask(toolCall: Record<string, unknown>): Promise<boolean> {
    const answer = await this.#peer.request("session/request_permission", {
      sessionId: this.#sessionId,
      toolCall,
      options: [
        { optionId: "allow", name: "Allow", kind: "allow_once" },
        { optionId: "always", name: "Always allow", kind: "allow_always" },
        { optionId: "reject", name: "Reject", kind: "reject_once" },
      ],
    }) as { outcome?: { optionId?: string } };
    this.#signal.throwIfAborted();
    return answer.outcome?.optionId === "allow" || answer.outcome?.optionId === "always";
  }

  async #stream(sessionUpdate: string, text: string): Promise<void> {
    for (const token of text.match(/\S+\s*|\s+/g) ?? []) {
      if (sessionUpdate === "agent_message_chunk") this.#turn.said += token;
      await this.update({ sessionUpdate, content: { type: "text", text: token } });
      await sleep(this.#pace.tokenMs, this.#signal);
    }
  }
}

/** Sends a `session/update`. */
export function update(peer: JsonRpcPeer, sessionId: string, content: Record<string, unknown>): void {
  peer.notify("session/update", { sessionId, update: content });
}

/** Waits, unless the signal aborts: then its reason is thrown. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  if (ms <= 0) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}
