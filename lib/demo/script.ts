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

/** The client at the other end of the connection. */
export interface Client {
  /** Sends a notification. Resolves when it is written. */
  notify(method: string, params: unknown): Promise<void>;
  /** Sends a request. Resolves to its result. */
  request(method: string, params: unknown): Promise<unknown>;
}

/** One turn of the demo agent, step by step. */
export class DemoScript {
  readonly #client: Client;
  readonly #sessionId: string;
  readonly #pace: Pace;
  readonly #signal: AbortSignal;

  /** @param signal Aborts when the turn is cancelled. Every step then throws. */
  constructor(client: Client, sessionId: string, pace: Pace, signal: AbortSignal) {
    this.#client = client;
    this.#sessionId = sessionId;
    this.#pace = pace;
    this.#signal = signal;
  }

  /** Plays the scene that fits the prompt. `turn` counts the turns of the session from 1. */
  async play(text: string, images: readonly PromptBlock[], turn: number): Promise<void> {
    const prompt = lastMessage(text);
    if (images.length > 0) await this.#describe(images);
    else if (/\b(run|use|call) (a |the |some )?tools?\b/i.test(prompt)) await this.#runTool();
    else if (/\b(delegate|juggle|sub-?agents?)\b/i.test(prompt)) await this.#delegate();
    else if (/\bplan\b/i.test(prompt)) await this.#plan();
    else if (/\bthink\b/i.test(prompt)) {
      await this.#think("I look thoughtful. This is what a thought looks like on the wire. ");
      await this.#say("[curious] I thought about it, and I think I am a demo.");
    } else await this.#greet(prompt, turn);
  }

  async #greet(prompt: string, turn: number): Promise<void> {
    await this.#think("Somebody speaks to me. I shall be friendly. ");
    const greeting = turn > 1
      ? `[happy] We have met before: this is turn ${turn}.`
      : "[happy] Hello! I am the demo agent.";
    await this.#say(
      `${greeting} You said: "${shorten(prompt)}". [neutral] No model thinks behind me, ` +
        "but everything else is real: the tokens, the tags, the tools. " +
        '[curious] Say "run a tool", "make a plan", "delegate" or "think", or set OPENAB_AGENT_COMMAND to meet a real agent.',
    );
  }

  async #describe(images: readonly PromptBlock[]): Promise<void> {
    const list = images.map(({ mimeType, data = "" }) =>
      `${mimeType} of about ${Math.ceil(data.length * 3 / 4096)} KiB`
    );
    const what = list.length === 1 ? "a picture" : `${list.length} pictures`;
    await this.#think("A picture. I can tell its type and size, and nothing else. ");
    await this.#say(
      `[surprised] I got ${what}: ${list.join(", ")}. ` +
        "[neutral] I have no eyes behind this demo; a real agent would look at it.",
    );
  }

  async #plan(): Promise<void> {
    const steps = ["Listen", "Think", "Answer"];
    for (let done = 0; done <= steps.length; done++) {
      await this.#showPlan(steps, done);
      await this.#pause();
    }
    await this.#say("[proud] That was a plan with three steps, each of them done.");
  }

  async #runTool(): Promise<void> {
    await this.#think("They want to see a tool. I shall ask first. ");
    const steps = ["Ask for permission", "Look at the clock"];
    await this.#showPlan(steps, 0);
    const toolCallId = `clock-${crypto.randomUUID()}`;
    const tool = { toolCallId, title: "date", kind: "execute", rawInput: { command: "date -u +%H:%M" } };
    const setStatus = (status: string) =>
      this.#update({ sessionUpdate: "tool_call_update", toolCallId, status });
    await this.#update({ sessionUpdate: "tool_call", ...tool, status: "pending" });
    if (!await this.#askPermission(tool)) {
      await setStatus("failed");
      return await this.#say("[sad] I was not permitted to look at the clock.");
    }
    await this.#showPlan(steps, 1);
    await setStatus("in_progress");
    await this.#pause();
    await setStatus("completed");
    await this.#showPlan(steps, 2);
    await this.#say(`[happy] I looked at the clock: it is ${new Date().toISOString().slice(11, 16)} UTC.`);
  }

  /** Runs three subagents at once, as Claude's `Task` tool does. */
  async #delegate(): Promise<void> {
    await this.#think("That is a lot of work. I shall let others help me. ");
    const ids: string[] = [];
    for (const title of ["Read the letters", "Count the stars", "Water the plants"]) {
      const toolCallId = `task-${crypto.randomUUID()}`;
      ids.push(toolCallId);
      const task = { toolCallId, name: "Task", title, kind: "think", status: "in_progress" };
      await this.#update({ sessionUpdate: "tool_call", ...task });
      await this.#pause();
    }
    for (const toolCallId of ids) {
      await this.#pause();
      await this.#update({ sessionUpdate: "tool_call_update", toolCallId, status: "completed" });
    }
    await this.#say("[excited] Three helpers of mine have done three things at once.");
  }

  async #think(text: string): Promise<void> {
    await this.#stream("agent_thought_chunk", text);
    await this.#pause();
  }

  async #say(text: string): Promise<void> {
    await this.#stream("agent_message_chunk", text);
  }

  async #stream(sessionUpdate: string, text: string): Promise<void> {
    for (const token of text.match(/\S+\s*/g) ?? []) {
      await this.#update({ sessionUpdate, content: { type: "text", text: token } });
      await this.#sleep(this.#pace.tokenMs);
    }
  }

  /** Shows a plan whose first steps are done. */
  async #showPlan(steps: readonly string[], done: number): Promise<void> {
    const entries = steps.map((content, index) => ({
      content,
      priority: "medium",
      status: index < done ? "completed" : index === done ? "in_progress" : "pending",
    }));
    await this.#update({ sessionUpdate: "plan", entries });
  }

  /** Asks for permission. Returns whether it was given. */
  async #askPermission(toolCall: Record<string, unknown>): Promise<boolean> {
    const result = await this.#client.request("session/request_permission", {
      sessionId: this.#sessionId,
      toolCall,
      options: [
        { optionId: "allow", name: "Allow", kind: "allow_once" },
        { optionId: "always", name: "Always allow", kind: "allow_always" },
        { optionId: "reject", name: "Reject", kind: "reject_once" },
      ],
    }) as { outcome?: { optionId?: string } } | undefined;
    this.#signal.throwIfAborted();
    return ["allow", "always"].includes(result?.outcome?.optionId ?? "");
  }

  async #pause(): Promise<void> {
    await this.#sleep(this.#pace.stepMs);
  }

  async #sleep(ms: number): Promise<void> {
    this.#signal.throwIfAborted();
    if (ms > 0) await setTimeout(ms, undefined, { signal: this.#signal });
  }

  async #update(update: Record<string, unknown>): Promise<void> {
    this.#signal.throwIfAborted();
    await this.#client.notify("session/update", { sessionId: this.#sessionId, update });
  }
}

/** Finds the last message of a prompt. Earlier messages are enclosed in tags. */
function lastMessage(text: string): string {
  return text.replace(/<(system|user|assistant|tool)\b[^>]*>[\s\S]*?<\/\1>/g, "").trim() || text.trim();
}

function shorten(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > 120 ? [...line].slice(0, 120).join("") + "..." : line;
}
