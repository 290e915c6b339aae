/** A chat client that, like AniCompanion, sends its whole history and names its conversation only if asked. @module */

import { assertEquals } from "@std/assert";
import { readAnswer, script, type ServerProcess } from "../harness/server_process.ts";

/** A message of the history. */
export interface ChatMessage {
  readonly role: "user" | "assistant";
  readonly content: string;
}

/** A reply that was read to its end. */
export interface ChatReply {
  readonly text: string;
  readonly finish: string | undefined;
  /** The `x-session-id` of the response. */
  readonly conversation: string;
  /** The `x-resolved-model` of the response. */
  readonly model: string;
}

/** Settings of a client. */
export interface ChatClientOptions {
  readonly persona?: string;
  readonly model?: string;
  readonly key?: string;
  /** Names the conversation in a header. */
  readonly conversation?: string;
  readonly history?: readonly ChatMessage[];
}

/** The default persona. */
export const PERSONA = "You are Ani. Begin each sentence with a tag like [happy].";
/** Messages that a request holds at most, without the persona. */
const WINDOW = 40;

/** Sends the persona and the newest messages, and keeps replies with their emotion tags. */
export class ChatClient {
  readonly history: ChatMessage[];
  readonly #persona: string;
  readonly #model: string;
  readonly #headers: Record<string, string>;

  constructor(options: ChatClientOptions = {}) {
    const { persona = PERSONA, model = "hermes-agent", key, conversation, history = [] } = options;
    this.#persona = persona;
    this.#model = model;
    this.#headers = {
      accept: "text/event-stream",
      ...key === undefined ? {} : { authorization: `Bearer ${key}` },
      ...conversation === undefined ? {} : { "x-session-id": conversation },
    };
    this.history = [...history];
  }

  /** Sends a message and resolves with the response's head. */
  start(server: ServerProcess, content: string): Promise<Response> {
    this.history.push({ role: "user", content });
    return server.post("/v1/chat/completions", {
      model: this.#model,
      messages: [{ role: "system", content: this.#persona }, ...this.history.slice(-WINDOW)],
      stream: true,
    }, { headers: this.#headers });
  }

  /** Reads a reply to its end and adds it to the history, unless it is empty. */
  async read(response: Response): Promise<ChatReply> {
    const body = await response.text();
    assertEquals(response.status, 200, body);
    const { text, finish, done } = readAnswer(body);
    assertEquals(done, true, body);
    if (text !== "") this.history.push({ role: "assistant", content: text });
    return {
      text,
      finish,
      conversation: response.headers.get("x-session-id") ?? "",
      model: response.headers.get("x-resolved-model") ?? "",
    };
  }

  /** Sends a message and reads the reply. */
  async send(server: ServerProcess, content: string): Promise<ChatReply> {
    return await this.read(await this.start(server, content));
  }

  /** The prompt that a new session gets for the last user message: the persona and the whole history. */
  transcript(): string {
    const last = this.history.findLastIndex(({ role }) => role === "user");
    const escaped = (text: string) => text.replace(/<(?=\/?(system|user|assistant)\b)/g, "&lt;");
    const before = this.history.slice(0, last).map(({ role, content }) =>
      `<${role}>\n${escaped(content)}\n</${role}>`
    );
    return [`<system>\n${this.#persona}\n</system>`, ...before, this.history[last]!.content].join("\n\n");
  }
}

/** The message of a turn, to which the scripted agent replies with {@linkcode answer}. */
export function question(turn: number): string {
  return `Question ${turn}? ${script({ text: `[happy] This is ` }, { text: `my answer number ${turn}.` })}`;
}

/** The reply of a turn. */
export function answer(turn: number): string {
  return `[happy] This is my answer number ${turn}.\n`;
}

/** The first prompt of a conversation: the persona and the message. */
export function firstPrompt(content: string, persona = PERSONA): string {
  return `<system>\n${persona}\n</system>\n\n${content}`;
}
