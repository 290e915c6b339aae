/** A skin like AniCompanion, of which nothing but its chat matters; and what the agent was told by it. @module */

import { assertEquals } from "@std/assert";
import { readAnswer, script, type Server } from "../harness/server_process.ts";

/** A message of the skin's history. */
export interface Said {
  readonly role: "user" | "assistant";
  readonly content: string;
}

/** What came of a request. */
export interface Heard {
  readonly text: string;
  readonly finish: string | undefined;
  /** The conversation that it belonged to. */
  readonly conversation: string;
  readonly servedBy: string;
}

/** How a skin is set up. */
export interface TalkerOptions {
  readonly persona?: string;
  readonly model?: string;
  readonly key?: string;
  /** Messages that it sends, the newest. */
  readonly window?: number;
}

/** The persona of a skin that was given none. */
export const PERSONA = "You are Ani. Begin each sentence with a tag like [happy].";

/** Sends the persona and the newest of its history, answers kept raw with their tags, and names no conversation. */
export class Talker {
  /** What was said; a test may change it as a user would. */
  readonly history: Said[] = [];
  readonly #options: TalkerOptions;

  constructor(options: TalkerOptions = {}) {
    this.#options = options;
  }

  /** Says something, without waiting for the end of the answer. */
  begin(server: Server, content: string): Promise<Response> {
    const { persona = PERSONA, model = "hermes-agent", key, window = 40 } = this.#options;
    this.history.push({ role: "user", content });
    return server.post("/v1/chat/completions", {
      model,
      messages: [{ role: "system", content: persona }, ...this.history.slice(-window)],
      stream: true,
    }, { headers: { accept: "text/event-stream", ...key ? { authorization: `Bearer ${key}` } : {} } });
  }

  /** Hears an answer to its end, and keeps it if anything was said. */
  async hear(response: Response): Promise<Heard> {
    const body = await response.text();
    assertEquals(response.status, 200, body);
    const { text, finish, done } = readAnswer(body);
    assertEquals(done, true, body);
    if (text !== "") this.history.push({ role: "assistant", content: text });
    return {
      text,
      finish,
      conversation: response.headers.get("x-session-id") ?? "",
      servedBy: response.headers.get("x-resolved-model") ?? "",
    };
  }

  /** All that it has up to what was said last, as a session is told that has heard nothing. */
  transcript(): string {
    const last = this.history.findLastIndex(({ role }) => role === "user");
    const plain = (text: string) => text.replace(/<(?=\/?(system|user|assistant)\b)/g, "&lt;");
    const before = this.history.slice(0, last).map(({ role, content }) =>
      `<${role}>\n${plain(content)}\n</${role}>`
    );
    const persona = `<system>\n${this.#options.persona ?? PERSONA}\n</system>`;
    return [persona, ...before, this.history[last]!.content].join("\n\n");
  }

  /** Says something, and hears the whole answer. */
  async say(server: Server, content: string): Promise<Heard> {
    return await this.hear(await this.begin(server, content));
  }
}

/** What the user says in a turn, so that the fake agent answers with {@linkcode answer}. */
export function question(turn: number): string {
  return `Question ${turn}? ${script({ text: `[happy] This is ` }, { text: `my answer number ${turn}.` })}`;
}

/** What is heard then. */
export function answer(turn: number): string {
  return `[happy] This is my answer number ${turn}.\n`;
}

/** A prompt as the agent received it. */
export interface Prompted {
  readonly sessionId: string;
  /** All of its text. */
  readonly text: string;
}

/** The prompts among the messages that an agent received. */
export function promptsOf(messages: readonly Record<string, unknown>[]): Prompted[] {
  return messages.filter(({ method }) => method === "session/prompt").map(({ params }) => {
    const { sessionId, prompt } = params as { sessionId: string; prompt: { text?: string }[] };
    return { sessionId, text: prompt.map(({ text }) => text ?? "").join("\n") };
  });
}

/** A first prompt: the persona, and what the user said. */
export function opening(content: string, persona = PERSONA): string {
  return `<system>\n${persona}\n</system>\n\n${content}`;
}
