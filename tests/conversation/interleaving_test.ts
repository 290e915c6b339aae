import { assertEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import { type ConversationKey, Conversations } from "../../lib/conversation/registry.ts";
import { Failure } from "../../lib/turn/failure.ts";
import type { Turn } from "../../lib/turn/run.ts";
import { Slots } from "../../lib/turn/slots.ts";
import { MemoryAgent, type MemoryPrompt, type MemorySession } from "../fakes/memory_agent.ts";
import { Random } from "../fakes/random.ts";
import { Heard, isLast, settled, soon } from "../turn/heard.ts";
import { assistant, user } from "./said.ts";

const RUNS = 400;
const STEPS = 60;
const KEYS: readonly (ConversationKey | undefined)[] = [
  "a",
  "b",
  "c",
  undefined,
] as (ConversationKey | undefined)[];

/** An agent that minds whether it is asked two things at once in one session. */
class StrictAgent extends MemoryAgent {
  readonly overlaps: string[] = [];

  override async open(signal?: AbortSignal): Promise<MemorySession> {
    const session = await super.open(signal);
    const put = session.prompt.bind(session);
    let putting = false;
    session.prompt = async (blocks, reader) => {
      if (session.closed.aborted) throw new Failure("agent_unavailable", "The session is gone.");
      if (putting || this.running.some((prompt) => prompt.session === session)) {
        this.overlaps.push(session.id);
      }
      putting = true;
      try {
        return await put(blocks, reader);
      } finally {
        putting = false;
        if (session.closed.aborted) this.crash(session);
      }
    };
    return session;
  }

  get running(): MemoryPrompt[] {
    return this.prompts.filter((prompt) => !prompt.over);
  }

  crash(session: MemorySession): void {
    session.close();
    for (const prompt of this.running) {
      if (prompt.session === session) prompt.fail(new Failure("agent_crashed", "Gone.", { prompted: true }));
    }
  }
}

/** One request, from its start to whatever became of it. */
interface Call {
  readonly tag: string;
  readonly hangUp: AbortController;
  readonly heard: Heard;
  readonly begun: Promise<void>;
  turn: Turn | undefined;
  leave: () => void;
  left: boolean;
}

/** What callers and the agent do, at random but the same for each seed. */
class World {
  readonly agent = new StrictAgent();
  readonly slots = new Slots(4);
  readonly conversations: Conversations;
  readonly calls: Call[] = [];
  readonly #random: Random;
  readonly #transcripts = new Map<ConversationKey | undefined, Message[]>();
  #openGate = () => {};

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.agent.answersCancels = seed % 2 === 0;
    this.conversations = new Conversations({
      agent: this.agent,
      slots: this.slots,
      limits: { replyTimeoutMs: 0, turnTimeoutMs: 0 },
      log: { debug() {} },
      maxConversations: 2,
      idleMs: 3_600_000,
    });
  }

  /** One thing happens, then a little time goes by. */
  async step(): Promise<void> {
    this.#act();
    for (let ticks = this.#random.below(12); ticks > 0; ticks--) await Promise.resolve();
  }

  #act(): void {
    const random = this.#random;
    const prompt = this.agent.running[random.below(this.agent.running.length)];
    const call = this.calls[random.below(this.calls.length)];
    switch (random.below(12)) {
      case 0:
      case 1:
      case 2:
        return this.#begin(random.pick(KEYS));
      case 3:
      case 4:
        return prompt?.say(`${tagOf(prompt)} `);
      case 5:
        return prompt?.end(prompt.cancels > 0 ? "cancelled" : "end_turn");
      case 6:
        return prompt?.fail(new Failure("agent_error", "No.", { prompted: true }));
      case 7:
        return call?.leave();
      case 8:
        call?.hangUp.abort(new Error("hung up"));
        return call?.leave();
      case 9:
        return call?.turn?.fail(new Failure("agent_timeout", "Silent.", { prompted: true }));
      case 10:
        return this.#agentChanges();
      case 11:
        return prompt && this.agent.crash(prompt.session);
    }
  }

  /** It opens or takes nothing for a while, or fails to. */
  #agentChanges(): void {
    this.#openGate();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#openGate = resolve;
    const failure = new Failure("agent_unavailable", "Not now.");
    const pick = this.#random.below(6);
    this.agent.opens = pick === 0 ? promise : Promise.resolve();
    this.agent.takes = pick === 1 ? promise : Promise.resolve();
    this.agent.openFailure = pick === 2 ? failure : undefined;
    this.agent.promptFailure = pick === 3 ? failure : undefined;
  }

  #begin(conversation: ConversationKey | undefined): void {
    const tag = `<${this.calls.length}>`;
    const transcript = this.#transcripts.get(conversation) ?? [];
    this.#transcripts.set(conversation, transcript);
    transcript.push(user(tag));
    const hangUp = new AbortController();
    const request = { conversation, messages: [...transcript], record: this.#random.below(2) === 0 };
    const call: Call = {
      tag,
      hangUp,
      heard: new Heard(),
      begun: this.conversations.begin(request, hangUp.signal).then(
        (turn) => {
          call.turn = turn;
          const stop = turn.read(call.heard.reader);
          call.leave = () => {
            call.left ||= !call.heard.events.some(isLast);
            stop();
          };
          if (hangUp.signal.aborted) call.leave();
          turn.ended.then(() => {
            if (call.heard.text !== "") transcript.push(assistant(call.heard.text));
          });
        },
        () => {},
      ),
      turn: undefined,
      leave: () => {},
      left: false,
    };
    this.calls.push(call);
  }

  /** The agent comes to its senses and ends whatever runs, until nothing does. */
  async end(): Promise<void> {
    this.#openGate();
    Object.assign(this.agent, { opens: Promise.resolve(), takes: Promise.resolve() });
    let drained = false;
    const draining = this.conversations.drain().then(() => drained = true);
    for (let round = 0; round < 1_000 && !drained; round++) {
      for (const prompt of this.agent.running) {
        prompt.say(`${tagOf(prompt)} `);
        prompt.end(prompt.cancels > 0 ? "cancelled" : "end_turn");
      }
      await settled();
    }
    await soon(draining, "the drain", 1_000);
    await soon(Promise.all(this.calls.map((call) => call.begun)), "every call", 1_000);
    this.conversations.close();
  }

  /** What must hold once all has ended. */
  check(): void {
    assertEquals(this.agent.overlaps, [], "two prompts at once in one session");
    assertEquals([this.slots.used, this.conversations.running.size], [0, 0], "slots, running turns");
    assertEquals(this.agent.running.length, 0, "prompts that never ended");
    for (const session of this.agent.sessions) {
      assertEquals(session.closed.aborted, true, `${session.id} was left open`);
    }
    for (const { tag, heard, turn, left } of this.calls) {
      const words = new Set(heard.text.split(" ").filter((word) => word !== ""));
      assertEquals([...words].filter((word) => word !== tag), [], `${tag} heard another's text`);
      if (turn === undefined) assertEquals(heard.events, [], `${tag} never began`);
      else if (!left) heard.assertWhole();
    }
  }
}

/** The request that a prompt is for: the last that stands in it. */
function tagOf(prompt: MemoryPrompt): string {
  return prompt.text.match(/<\d+>/g)?.at(-1) ?? "?";
}

Deno.test(`Conversations: ${RUNS} runs of callers and an agent at random: no mix-up, no leak, all ends`, async () => {
  const seen = { begun: 0, refused: 0, heard: 0, cancelled: 0 };
  for (let seed = 1; seed <= RUNS; seed++) {
    const world = new World(seed);
    try {
      for (let step = 0; step < STEPS; step++) await world.step();
      await world.end();
      world.check();
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
    for (const { turn, heard } of world.calls) {
      turn ? seen.begun++ : seen.refused++;
      if (heard.text !== "") seen.heard++;
      if (heard.briefs.includes("end cancelled")) seen.cancelled++;
    }
  }
  // The runs are worth something only if all of this happened often.
  for (const [what, count] of Object.entries(seen)) {
    assertEquals(count > RUNS, true, `${what} only ${count} times`);
  }
});
