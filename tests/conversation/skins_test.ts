import { assert, assertEquals } from "@std/assert";
import { type Log, NO_LOG } from "../../lib/core/log.ts";
import type { PromptBlock } from "../../lib/turn/agent.ts";
import { AppError } from "../../lib/core/errors.ts";
import { startApp, type TestApp } from "../support/harness/app_harness.ts";
import type { MemoryPrompt, Script } from "../support/agents/memory_agent.ts";
import {
  type Expected,
  readFixtures,
  SimulatedSkin,
  type SkinClient,
  type SkinFixture,
  type Step,
} from "../support/skins/skin_conversations.ts";
import { parseFrames } from "../support/harness/wire_profile.ts";

const SKINS = readFixtures();

/** The logged decision about a request. */
interface Decision {
  decision: unknown;
  conversation: unknown;
  reason: unknown;
}

/** A turn that is running while the next step is sent. */
interface Running {
  step: Step;
  skin: SimulatedSkin;
  prompt: MemoryPrompt;
  response: Response;
}

/** A fixture's conversation with an app. */
class FixtureRun {
  readonly #app: TestApp;
  readonly #decisions: Decision[];
  readonly #clients: Record<string, SkinClient>;
  readonly #skins = new Map<string, SimulatedSkin>();
  /** The fixture's names of conversations by their ids, and their sessions by these names. */
  readonly #names = new Map<unknown, string>();
  readonly #sessions = new Map<string, string>();
  #running: Running[] = [];

  constructor(app: TestApp, decisions: Decision[], { clients }: SkinFixture) {
    this.#app = app;
    this.#decisions = decisions;
    this.#clients = clients;
  }

  /** Sends the request of a step, checks its result, and ends the turn as the step says. */
  async send(step: Step): Promise<void> {
    const { agent } = this.#app;
    const before = this.#running;
    this.#running = [];
    const skin = this.#skinOf(step);
    const { path, headers, body } = skin.ask(step);
    const prompted = agent.prompts.length;
    agent.script = scriptOf(step);
    const failure = step.ended === "refused" ? new AppError("agent_unavailable", "Not there.") : undefined;
    agent.openError = agent.promptError = failure;
    const response = await this.#app.post(path, body, { headers });
    if (step.ended === "refused") {
      await response.body?.cancel();
      assertEquals([response.status, agent.prompts.length], [503, prompted]);
      const { decision, conversation } = this.#decisions.at(-1)!;
      assertEquals(decision, step.expect.decision);
      this.#names.set(conversation, step.expect.conversation);
      skin.interrupted("");
    } else {
      // A turn without a word is an error to the skin. Its conversation goes on.
      const status = step.reply === "" && step.ended === undefined ? 502 : 200;
      assertEquals(
        [response.status, agent.prompts.length],
        [status, prompted + 1],
        await errorText(response),
      );
      const prompt = agent.prompts.at(-1)!;
      this.#check(step.expect, response.headers.get("x-session-id"), prompt);
      await this.#end({ step, skin, prompt, response });
    }
    for (const running of before) await this.#finish(running);
  }

  /** Ends all running turns. */
  async end(): Promise<void> {
    for (const running of this.#running) await this.#finish(running);
  }

  #skinOf({ client: name = Object.keys(this.#clients)[0]! }: Step): SimulatedSkin {
    const skin = this.#skins.get(name) ?? new SimulatedSkin(this.#clients[name]!);
    this.#skins.set(name, skin);
    return skin;
  }

  #check(expected: Expected, id: string | null, prompt: MemoryPrompt): void {
    const { decision, conversation, reason } = this.#decisions.at(-1)!;
    const isOther = !new Set(this.#sessions.values()).has(prompt.session.id);
    if (expected.decision === "side_job") {
      const isRefusing = prompt.permissions === "deny";
      assertEquals<unknown>(
        { decision, conversation: "none", prompt: splitPrompt(prompt.blocks), isOther, isRefusing },
        { ...expected, isOther: true, isRefusing: true },
      );
      return;
    }
    assertEquals(conversation, id);
    const isKnown = this.#names.has(id);
    const name = this.#names.get(id) ?? expected.conversation;
    assertEquals<unknown>(
      { decision, conversation: isKnown ? name : `${name}, new`, prompt: splitPrompt(prompt.blocks) },
      {
        ...expected,
        conversation: expected.decision === "continue"
          ? expected.conversation
          : `${expected.conversation}, new`,
      },
      `the reason was: ${reason}`,
    );
    assertEquals(this.#sessions.get(name) ?? prompt.session.id, prompt.session.id);
    assert(isKnown || isOther, "the session of another conversation");
    this.#names.set(id, name);
    this.#sessions.set(name, prompt.session.id);
  }

  async #end(turn: Running): Promise<void> {
    const { step, skin, prompt, response } = turn;
    if (step.ended === "cancelled") {
      await response.body!.cancel();
      await prompt.cancelled;
      skin.interrupted(step.heard ?? step.reply);
    } else if (step.ended === "running") {
      skin.interrupted(step.heard ?? step.reply);
      this.#running.push(turn);
    } else if (step.ended === "later") {
      this.#running.push(turn);
    } else {
      skin.answered(response.ok ? await readReply(response) : "", step);
    }
  }

  /** Ends a running turn, unless the next step superseded it. */
  async #finish({ step, skin, prompt, response }: Running): Promise<void> {
    if (step.ended === "later") {
      prompt.end();
      skin.answered(await readReply(response), step);
    } else {
      await prompt.cancelled;
      await response.text();
    }
  }
}

function scriptOf({ reply, ended = "answered" }: Step): Script {
  return (prompt) => {
    if (reply !== "") prompt.say(reply);
    if (ended === "answered") prompt.end();
    if (ended === "failed") prompt.fail(new AppError("agent_error", "It went wrong.", { prompted: true }));
  };
}

/** Reads the reply as the skin does. */
async function readReply(response: Response): Promise<string> {
  const text = await response.text();
  const isWhole = response.headers.get("content-type")?.startsWith("application/json");
  return isWhole ? JSON.parse(text).choices[0].message.content : parseFrames(text).text;
}

async function errorText(response: Response): Promise<string | undefined> {
  return response.status === 200 ? undefined : await response.text();
}

/** Splits a prompt into messages: in tags with their role, or the user's newest words as they are. */
function splitPrompt(blocks: readonly PromptBlock[]): string[] {
  const text = blocks.map((block) => block.type === "text" ? block.text : ` (${block.mimeType})`).join("");
  const messages =
    /<(system|user|assistant|tool)( name="[^"]*")?>\n([^]*?)\n<\/\1>|(?<=^|\n\n)(?!<)[^]+?(?=$|\n\n)/g;
  return Array.from(
    text.matchAll(messages),
    ([all, role, name = "", words]) => role === undefined ? all : `<${role}${name}> ${words!.trimEnd()}`,
  );
}

for (const skin of SKINS) {
  for (const { name, steps } of skin.talks) {
    Deno.test(`${skin.skin}: ${name}`, async (test) => {
      const decisions: Decision[] = [];
      const log: Log = {
        ...NO_LOG,
        debug(message, { decision, conversation, reason } = {}) {
          if (message === "conversation") decisions.push({ decision, conversation, reason });
        },
        info(message, { conversation, reason } = {}) {
          if (message === "a request is no part of a chat") {
            decisions.push({ decision: "side_job", conversation, reason });
          }
        },
      };
      await using app = startApp({ sessions: "auto", log });
      const run = new FixtureRun(app, decisions, skin);
      for (const [index, step] of steps.entries()) {
        const what = `${index + 1}: ${step.says}${step.note ? ` (${step.note})` : ""}`;
        if (!await test.step(what, () => run.send(step))) return;
      }
      await run.end();
    });
  }
}
