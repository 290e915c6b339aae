/**
 * Conversations of skins from `tests/fixtures/conversations`: the request that a skin sends at each step, made of the
 * history that it keeps by its own rules.
 *
 * @module
 */

/** A message of a request body. */
export interface SkinMessage {
  role: string;
  content: unknown;
  [field: string]: unknown;
}

/** How a skin keeps its history. */
export interface HistoryRules {
  /** Number of newest messages that it sends, with the question; by default all. */
  window?: number;
  /** How it keeps the user's messages: as `text`, as `parts` without images, or `as sent`. */
  questions: "text" | "parts" | "as sent";
  /** How it keeps replies: `as it came`, `trimmed`, with a space after each tag (`tags spaced`), or `without tags`. */
  replies: "as it came" | "trimmed" | "tags spaced" | "without tags";
  /**
   * A question without its whole answer: `kept` alone, `dropped`, kept with what was `heard` and the message that tells
   * of an interruption, or `joined` to the next one if nothing was heard of the answer.
   */
  unanswered: "kept" | "dropped" | "heard" | "joined";
  interruption?: SkinMessage;
  /** Additional fields of kept messages, by role. */
  fields?: Record<string, Record<string, unknown>>;
}

/** A message to send, or the skin's `persona` or `history`. */
export type Template = "persona" | "history" | SkinMessage;

/** A client of the server. Some skins have several. */
export interface SkinClient {
  path?: string;
  headers?: Record<string, string>;
  /** The system message at the start. */
  persona?: string;
  /** The body without the messages. */
  body: Record<string, unknown>;
  /** The forms of the messages that steps choose from. `{says}` stands for the user's words. */
  messages: Record<string, Template[]>;
  history: HistoryRules;
}

/** How a turn ends: `later` means after the next step, `running` is superseded, `refused` never starts. */
export type TurnEnd = "answered" | "cancelled" | "running" | "failed" | "later" | "refused";

/** The expected result of a request. */
export interface Expected {
  decision: "new" | "continue" | "fork" | "side_job";
  /** The conversation's name within the fixture; a side job has none. */
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
  /** The sending client; by default the first one. */
  client?: string;
  /** The change before the request: a restart, dropped newest messages, or an edited message. */
  before?: "restart" | { drop: number } | { edit: string; to: string };
  /** The history that the skin has now: other characters' lines, edits, and the start of a reply. */
  history?: SkinMessage[];
  /** The client's system message from now on. */
  persona?: string;
  /** The form of the messages; by default the first one. */
  as?: string;
  says: string;
  /** For `{captions}`. */
  captions?: string;
  /** For `{image}`, in base64. */
  image?: string;
  headers?: Record<string, string>;
  /** Fields of the body that differ from the client's. */
  body?: Record<string, unknown>;
  /** The agent's text. */
  reply: string;
  ended?: TurnEnd;
  /** The part of an interrupted reply that the user heard. */
  heard?: string;
  /** Keeps nothing of this step, whatever the rules are. */
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

/** A request of a skin. */
export interface SkinPost {
  path: string;
  headers: Record<string, string>;
  body: Record<string, unknown>;
}

/** Reads all fixtures. */
export function readFixtures(): SkinFixture[] {
  const folder = new URL("../../fixtures/conversations/", import.meta.url);
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) =>
    name.endsWith(".json")
  );
  return names.sort().map((name) => JSON.parse(Deno.readTextFileSync(new URL(name, folder))));
}

/** A client of a skin, with its history. */
export class SimulatedSkin {
  readonly #client: SkinClient;
  #persona: string | undefined;
  #kept: SkinMessage[] = [];
  #question: SkinMessage = { role: "user", content: "" };
  /** Words that are joined to the next question. */
  #joined: string[] = [];

  constructor(client: SkinClient) {
    this.#client = client;
    this.#persona = client.persona;
  }

  /** Makes the request of a step. */
  ask(step: Step): SkinPost {
    const { path = "/v1/chat/completions", headers, body, messages } = this.#client;
    this.#prepare(step);
    const says = [...this.#joined, step.says].join(" ");
    this.#joined = [];
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

  /** Keeps a complete reply, or the part that the user heard. */
  answered(reply: string, { heard, keeps }: Step): void {
    if (keeps === "nothing") return;
    if (heard !== undefined) return this.interrupted(heard);
    this.#keepQuestion();
    this.#keepReply(reply);
  }

  /** Keeps a question without a complete reply. */
  interrupted(heard: string): void {
    const { unanswered, interruption } = this.#client.history;
    if (unanswered === "dropped") return;
    if (unanswered === "joined" && heard === "") return void this.#joined.push(textOf(this.#question));
    this.#keepQuestion();
    if (unanswered === "joined") this.#keepReply(heard);
    if (unanswered !== "heard") return;
    if (heard !== "") this.#keepReply(`${heard}...`);
    if (interruption) this.#kept.push(interruption);
  }

  #prepare({ before, persona, history }: Step): void {
    this.#persona = persona ?? this.#persona;
    this.#kept = structuredClone(history ?? this.#kept);
    if (before === "restart") {
      this.#kept = [];
      this.#joined = [];
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
    return [fill(part, step) as SkinMessage];
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

/** Returns the text of a message, in either form. */
function textOf({ content }: SkinMessage): string {
  if (!Array.isArray(content)) return String(content);
  return content.flatMap(({ text }) => typeof text === "string" ? [text] : []).join("\n");
}

/** Fills the words of a step into a template. */
function fill(template: unknown, step: Step): unknown {
  if (typeof template === "string") {
    return template.replace(/\{(says|captions|image)\}/g, (_, name: "says" | "captions" | "image") => {
      const value = step[name];
      if (value === undefined) throw new Error(`the step has no ${name}`);
      return value;
    });
  }
  if (Array.isArray(template)) return template.map((item) => fill(item, step));
  if (typeof template !== "object" || template === null) return template;
  return Object.fromEntries(Object.entries(template).map(([key, value]) => [key, fill(value, step)]));
}
