/**
 * Talks with skins, as `tests/fixtures/conversations` tells them: what a skin sends at each step, out of the history
 * that it keeps by rules of its own.
 *
 * @module
 */

/** A message as it is sent. */
export interface SkinMessage {
  role: string;
  content: unknown;
  [field: string]: unknown;
}

/** How a skin keeps what was said. */
export interface HistoryRules {
  /** Messages that it sends, the newest, with the question; all of them if nothing is said. */
  window?: number;
  /** Its user's words: `text`, `parts` without pictures, or `as sent` with them. */
  questions: "text" | "parts" | "as sent";
  /** What was answered: `as it came`, `trimmed`, with a space after each tag (`tags spaced`), or `without tags`. */
  replies: "as it came" | "trimmed" | "tags spaced" | "without tags";
  /**
   * A question without its whole answer: `kept` alone, `dropped`, kept with what was `heard` and the message that tells
   * of an interruption, or `joined` to the next one if nothing was heard of the answer.
   */
  unanswered: "kept" | "dropped" | "heard" | "joined";
  interruption?: SkinMessage;
  /** More fields of the messages that it kept, by role. */
  fields?: Record<string, Record<string, unknown>>;
}

/** A message to send; `persona` and `history` stand for what the skin has of these. */
export type Template = "persona" | "history" | SkinMessage;

/** A part of a skin that talks to the server: most have one, some have more. */
export interface SkinClient {
  path?: string;
  headers?: Record<string, string>;
  /** The system message at the start. */
  persona?: string;
  /** All of the body but the messages. */
  body: Record<string, unknown>;
  /** The messages, in one form or in several that steps choose from. `{says}` is what the user says, and so on. */
  messages: Record<string, Template[]>;
  history: HistoryRules;
}

/** How a turn ends; `later` is after the next step. `running` is superseded, `refused` never begins. */
export type Ending = "answered" | "cancelled" | "running" | "failed" | "later" | "refused";

/** What must come of a request. */
export interface Expected {
  decision: "new" | "continue" | "fork";
  /** The conversation, by a name that only the talk knows. */
  conversation: string;
  /**
   * What reaches the agent: all of it, in order. What it gets in tags begins with the tag (`<system> You are Mao.`),
   * and a picture ends with its type (`What is this? (image/jpeg)`). Empty if the request is refused.
   */
  prompt: string[];
}

/** One request. */
export interface Step {
  note?: string;
  /** Who sends it, if not the first of the skin's clients. */
  client?: string;
  /** What happens before: all is forgotten, the newest messages are dropped, or a kept message is edited. */
  before?: "restart" | { drop: number } | { edit: string; to: string };
  /** The client's system message from now on. */
  persona?: string;
  /** Which form of messages is sent, if not the client's first. */
  as?: string;
  says: string;
  /** For `{captions}`. */
  captions?: string;
  /** For `{image}`, in base64. */
  image?: string;
  headers?: Record<string, string>;
  /** Fields of the body that differ from the client's. */
  body?: Record<string, unknown>;
  /** What the agent says, as far as it comes. */
  reply: string;
  ended?: Ending;
  /** What its user heard of an answer that was interrupted. */
  heard?: string;
  /** What the skin keeps of this: `nothing`, whatever its rules say. */
  keeps?: "nothing";
  expect: Expected;
}

/** A fixture. */
export interface SkinFixture {
  skin: string;
  /** How it keeps its history. */
  source: string;
  clients: Record<string, SkinClient>;
  talks: { name: string; steps: Step[] }[];
}

/** What is posted. */
export interface SkinPost {
  path: string;
  headers: Record<string, string>;
  body: Record<string, unknown>;
}

/** Every fixture. */
export function readFixtures(): SkinFixture[] {
  const folder = new URL("../../fixtures/conversations/", import.meta.url);
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) =>
    name.endsWith(".json")
  );
  return names.sort().map((name) => JSON.parse(Deno.readTextFileSync(new URL(name, folder))));
}

/** One client of a skin, with what it remembers. */
export class SimulatedSkin {
  readonly #client: SkinClient;
  #persona: string | undefined;
  #kept: SkinMessage[] = [];
  #question: SkinMessage = { role: "user", content: "" };
  /** Words that wait to be joined to the next. */
  #waiting: string[] = [];

  constructor(client: SkinClient) {
    this.#client = client;
    this.#persona = client.persona;
  }

  /** The request of a step. */
  ask(step: Step): SkinPost {
    const { path = "/v1/chat/completions", headers, body, messages } = this.#client;
    this.#prepare(step);
    const says = [...this.#waiting, step.says].join(" ");
    this.#waiting = [];
    const template = messages[step.as ?? Object.keys(messages)[0]!];
    if (template === undefined) throw new Error(`the client has no messages called ${step.as}`);
    const sent = template.flatMap((part) => this.#fill(part, { ...step, says }));
    this.#question = { ...sent.at(-1)!, ...this.#client.history.fields?.user };
    return {
      path,
      headers: { ...headers, ...step.headers },
      body: { ...body, ...step.body, messages: sent },
    };
  }

  /** The whole answer came; its user may have heard less of it. */
  answered(reply: string, { heard, keeps }: Step): void {
    if (keeps === "nothing") return;
    if (heard !== undefined) return this.interrupted(heard);
    this.#keepQuestion();
    this.#keepReply(reply);
  }

  /** No whole answer came. */
  interrupted(heard: string): void {
    const { unanswered, interruption } = this.#client.history;
    if (unanswered === "dropped") return;
    if (unanswered === "joined" && heard === "") return void this.#waiting.push(textOf(this.#question));
    this.#keepQuestion();
    if (unanswered === "joined") this.#keepReply(heard);
    if (unanswered !== "heard") return;
    if (heard !== "") this.#keepReply(`${heard}...`);
    if (interruption) this.#kept.push(interruption);
  }

  #prepare({ before, persona }: Step): void {
    this.#persona = persona ?? this.#persona;
    if (before === "restart") {
      this.#kept = [];
      this.#waiting = [];
    } else if (before && "drop" in before) {
      this.#kept.splice(-before.drop);
    } else if (before) {
      const edited = this.#kept.find(({ content }) => content === before.edit);
      if (!edited) throw new Error(`nothing that is kept says ${before.edit}`);
      edited.content = before.to;
    }
  }

  #fill(part: Template, step: Step): SkinMessage[] {
    if (part === "persona") {
      return this.#persona === undefined ? [] : [{ role: "system", content: this.#persona }];
    }
    if (part === "history") return this.#window();
    return [filled(part, step) as SkinMessage];
  }

  #window(): SkinMessage[] {
    const { window } = this.#client.history;
    return structuredClone(window === undefined ? this.#kept : this.#kept.slice(-(window - 1)));
  }

  #keepQuestion(): void {
    const { questions } = this.#client.history;
    const { content } = this.#question;
    const kept = questions === "text"
      ? textOf(this.#question)
      : questions === "parts" && Array.isArray(content)
      ? content.filter(({ type }) => type === "text")
      : content;
    this.#kept.push({ ...this.#question, content: kept });
  }

  #keepReply(reply: string): void {
    const { replies, fields } = this.#client.history;
    this.#kept.push({ role: "assistant", content: rewritten(reply, replies), ...fields?.assistant });
  }
}

function rewritten(reply: string, how: HistoryRules["replies"]): string {
  switch (how) {
    case "as it came":
      return reply;
    case "trimmed":
      return reply.trim();
    case "tags spaced":
      return reply.replace(/\](?! )/g, "] ");
    case "without tags":
      return reply.replace(/\[[^\]]*\]\s*/g, "").replaceAll("\n", "");
    default:
      return how satisfies never;
  }
}

/** The text of a message, whichever form it has. */
function textOf({ content }: SkinMessage): string {
  if (!Array.isArray(content)) return String(content);
  return content.flatMap(({ text }) => typeof text === "string" ? [text] : []).join("\n");
}

/** A template with the words of a step in it, however deep. */
function filled(template: unknown, step: Step): unknown {
  if (typeof template === "string") {
    return template.replace(/\{(says|captions|image)\}/g, (_, name: "says" | "captions" | "image") => {
      const given = step[name];
      if (given === undefined) throw new Error(`the step has no ${name}`);
      return given;
    });
  }
  if (Array.isArray(template)) return template.map((item) => filled(item, step));
  if (typeof template !== "object" || template === null) return template;
  return Object.fromEntries(Object.entries(template).map(([key, value]) => [key, filled(value, step)]));
}
