/** Skins and agents that act at random over one registry, and the properties that must hold whatever they do. @module */

import { assertEquals } from "@std/assert";
import { ConversationIndex } from "../../../lib/conversation/conversation.ts";
import { Fingerprinter } from "../../../lib/conversation/fingerprint.ts";
import { ConversationRegistry, type TurnRequest } from "../../../lib/conversation/registry.ts";
import { TurnBudget } from "../../../lib/conversation/turn_budget.ts";
import type { SessionMode } from "../../../lib/conversation/resolve.ts";
import type { BusyMode } from "../../../lib/conversation/turn_queue.ts";
import { AppError } from "../../../lib/core/errors.ts";
import { NO_LOG } from "../../../lib/core/log.ts";
import type { Caller } from "../../../lib/turn/caller.ts";
import { ModelRouter } from "../../../lib/turn/model_router.ts";
import type { Turn } from "../../../lib/turn/turn.ts";
import { marksIn, type MemoryPrompt, StrictAgent } from "../agents/memory_agent.ts";
import { type Question, RandomSkin } from "../skins/random_skin.ts";
import { MemoryStore } from "./memory_store.ts";
import { user } from "./message_fixture.ts";
import type { Random } from "./random.ts";
import { isLast, nextTask, TurnRecorder, waitFor } from "./turn_recorder.ts";

const SKINS = 4;
const MAX_TURNS = 4;
const MAX_SESSIONS = 2;
const NEVER_IDLE_MS = 3_600_000;

/** The rules of one run. */
export interface ModelRules {
  readonly mode: SessionMode;
  readonly onBusy: BusyMode;
  /** Every skin names its conversation. */
  readonly isNamed: boolean;
  readonly resumes: boolean;
  readonly answersCancels: boolean;
  /** Idle sessions are closed at once. */
  readonly isIdleShort: boolean;
  /** Prompts that all requests together can send. */
  readonly turnsPerDay: number;
}

/** One request, from its start to its end. */
interface Call {
  readonly question: Question;
  /** The name of the group that may share its session. */
  readonly group: string;
  readonly hangUp: AbortController;
  readonly recorder: TurnRecorder;
  readonly over: Promise<void>;
  turn: Turn | undefined;
  leave: () => void;
  hasLeft: boolean;
}

/** The run. The same seed repeats the same run. */
export class ConversationModel {
  readonly agents: readonly [StrictAgent, StrictAgent] = [new StrictAgent(), new StrictAgent("other")];
  readonly calls: Call[] = [];
  /** Turns that an interrupt cancelled. */
  interrupted = 0;
  readonly #store = new MemoryStore();
  /** The caller of all requests. */
  readonly #caller: Caller;
  readonly #registry: ConversationRegistry;
  readonly #random: Random;
  readonly #rules: ModelRules;
  readonly #skins: readonly RandomSkin[];
  /** Marks that a session may get more than once: their turn had no reply, or was sent again. */
  readonly #repeated = new Set<string>();
  /** Marks that no session has to get: an interrupt cancelled their turn before it started, or the agent died on them. */
  readonly #excused = new Set<string>();
  readonly #errors: string[] = [];
  readonly #promptNumbers = new Map<MemoryPrompt, number>();
  #openGate = () => {};
  #questions = 0;

  constructor(random: Random, rules: ModelRules) {
    this.#random = random;
    this.#rules = rules;
    this.#caller = { id: "keys.bot", scopes: new Set(["chat"]), turnsPerDay: rules.turnsPerDay };
    this.#skins = Array.from({ length: SKINS }, () => new RandomSkin(random, rules.isNamed));
    for (const skin of this.#skins) {
      const others = this.#skins.filter((other) => other !== skin && other.owner === skin.owner);
      const isShared = rules.mode === "persistent" || rules.isNamed;
      skin.isAlone = !isShared ||
        !others.some(({ agent, name }) => agent === skin.agent && name === skin.name);
    }
    for (const agent of this.agents) {
      agent.answersCancels = rules.answersCancels;
      agent.resumes = rules.resumes;
    }
    const store = this.#store;
    this.#registry = new ConversationRegistry({
      agents: new ModelRouter(this.agents),
      index: new ConversationIndex(store),
      fingerprinter: new Fingerprinter(store.key),
      mode: rules.mode,
      onBusy: rules.onBusy,
      maxTurns: MAX_TURNS,
      budget: new TurnBudget({ counts: store.turnCounts, log: NO_LOG, now: () => 0 }),
      limits: { replyTimeoutMs: 0, turnTimeoutMs: 0 },
      log: NO_LOG,
      maxSessions: MAX_SESSIONS,
      idleMs: rules.isIdleShort ? 1 : NEVER_IDLE_MS,
    });
  }

  /** The prompts that were counted. */
  get counted(): number {
    return this.#store.counts.get(this.#caller.id)?.count ?? 0;
  }

  /** Number of sessions that were resumed. */
  get resumed(): number {
    return this.agents.reduce((sum, { resumed }) => sum + resumed.length, 0);
  }

  get #running(): MemoryPrompt[] {
    return this.agents.flatMap(({ running }) => running);
  }

  /** Acts once, then lets a little time go by. */
  async step(): Promise<void> {
    this.#act();
    if (this.#rules.isIdleShort && this.#random.below(20) === 0) await nextTask();
    for (let ticks = this.#random.below(12); ticks > 0; ticks--) await Promise.resolve();
  }

  #act(): void {
    const random = this.#random;
    const running = this.#running;
    const prompt = running[random.below(running.length)];
    const call = this.calls[random.below(this.calls.length)];
    const actions: readonly (readonly [weight: number, act: () => void])[] = [
      [3, () => this.#ask(random.pick(this.#skins))],
      [2, () => prompt && this.#say(prompt)],
      [3, () => prompt && this.#end(prompt)],
      [1, () => prompt?.fail(new AppError("agent_error", "No.", { prompted: true }))],
      [1, () => call?.leave()],
      [1, () => {
        call?.hangUp.abort(new Error("hung up"));
        call?.leave();
      }],
      [1, () => call?.turn?.fail(new AppError("agent_timeout", "Silent.", { prompted: true }))],
      [1, () => this.#changeAgent(random.pick(this.agents))],
      [1, () => this.#crash(random.pick(this.agents))],
      [1, () => this.#forget(random.pick(this.#skins))],
      [1, () => this.#askAlone()],
      [1, () => this.#interrupt(call?.turn?.conversation)],
    ];
    random.pick(actions.flatMap(([weight, act]) => Array.from({ length: weight }, () => act)))();
  }

  /** Interrupts one conversation, or all. A waiting turn is over, whatever else becomes of it. */
  #interrupt(conversation: string | undefined): void {
    const waiting = this.calls.filter(({ turn }) => turn === undefined);
    const count = this.#registry.interrupt(this.#random.below(4) > 0 ? conversation : undefined);
    this.interrupted += count;
    if (count > 0) { for (const { question } of waiting) this.#excused.add(question.mark); }
  }

  /** Says a word that names its prompt and its question. */
  #say(prompt: MemoryPrompt): void {
    const number = this.#promptNumbers.get(prompt) ?? this.#promptNumbers.size;
    this.#promptNumbers.set(prompt, number);
    prompt.say(`p${number}x${marksIn(prompt.text).findLast((mark) => mark[0] === "q")} `);
  }

  #end(prompt: MemoryPrompt): void {
    // Most replies are long enough to be distinctive.
    for (let words = this.#random.below(5); words > 0; words--) this.#say(prompt);
    prompt.end(prompt.cancelCount > 0 && this.#random.below(4) > 0 ? "cancelled" : "end_turn");
  }

  /** Makes an agent block or fail for a while. */
  #changeAgent(agent: StrictAgent): void {
    this.#openGate();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#openGate = resolve;
    const failure = new AppError("agent_unavailable", "Not now.");
    const pick = this.#random.below(6);
    agent.openGate = pick === 0 ? promise : Promise.resolve();
    agent.promptGate = pick === 1 ? promise : Promise.resolve();
    agent.openError = pick === 2 ? failure : undefined;
    agent.promptError = pick === 3 ? failure : undefined;
  }

  #crash(agent: StrictAgent): void {
    const open = agent.sessions.filter(({ closed }) => !closed.aborted);
    const session = open[this.#random.below(open.length)];
    if (session) agent.crash(session);
  }

  #forget({ owner }: RandomSkin): void {
    const listed = this.#registry.list(owner);
    this.#registry.forget(owner, listed[this.#random.below(listed.length + 1)]?.id);
  }

  #ask(skin: RandomSkin): void {
    const question = skin.ask(this.#questions++);
    // In a shared conversation a message without a position is rather sent twice than not at all.
    if (!skin.isAlone) { for (const mark of question.requiredMarks) this.#repeated.add(mark); }
    const agent = this.agents[skin.agent]!;
    const conversation = { owner: skin.owner, name: skin.name };
    const call = this.#start({ conversation, agent }, question, this.#groupOf(skin));
    call.over.then(() => {
      if (isAnswered(call)) skin.answered(question, call.recorder.text);
      else skin.unanswered(question, call.recorder.text);
    });
  }

  #groupOf({ owner, agent, name, persona }: RandomSkin): string {
    const { mode } = this.#rules;
    const conversation = name ??
      (mode === "auto" ? persona : mode === "persistent" ? "" : this.calls.length);
    return [owner, agent, conversation].join(" ");
  }

  /** Prompts the default agent in no conversation. */
  #askAlone(): void {
    const mark = `q${this.#questions++}q`;
    const question = { messages: [user(mark)], mark, requiredMarks: [mark], isRetry: false };
    this.#start({ agent: this.agents[0] }, question, `alone ${this.calls.length}`);
  }

  #start(request: Pick<TurnRequest, "conversation" | "agent">, question: Question, group: string): Call {
    const hangUp = new AbortController();
    const recorder = new TurnRecorder();
    const { messages } = question;
    const record = this.#random.below(2) === 0;
    const started = this.#registry.startTurn(
      { ...request, caller: this.#caller, messages, record },
      hangUp.signal,
    );
    if (question.isRetry) this.#repeated.add(question.mark);
    const call: Call = {
      question,
      group,
      hangUp,
      recorder,
      over: started.then(async (turn) => {
        call.turn = turn;
        const stop = turn.read(recorder.reader);
        call.leave = () => {
          call.hasLeft ||= !recorder.events.some(isLast);
          stop();
        };
        if (hangUp.signal.aborted) call.leave();
        await turn.ended;
        this.#checkDelivered(call, request.agent as StrictAgent);
      }, (error) => {
        if (error instanceof AppError && error.message.includes("interrupted")) {
          this.#excused.add(question.mark);
        }
      }),
      turn: undefined,
      leave: () => {},
      hasLeft: false,
    };
    this.calls.push(call);
    return call;
  }

  /** Checks that a session that replied had every earlier message. */
  #checkDelivered(call: Call, agent: StrictAgent): void {
    const { question, turn, recorder } = call;
    if (!isAnswered(call)) {
      // The prompt may have had undelivered messages of others, too.
      const prompts = agent.prompts.map(({ text }) => marksIn(text)).filter((marks) =>
        marks.includes(question.mark)
      );
      for (const mark of [...question.requiredMarks, ...prompts.flat()]) this.#repeated.add(mark);
      if (recorder.summaries.at(-1) !== "failure agent_crashed") return;
      for (const mark of prompts.flat()) {
        const times = agent.prompts.filter(({ text }) => marksIn(text).includes(mark)).length;
        if (times > 1) this.#excused.add(mark);
      }
      return;
    }
    const delivered = agent.receivedMarks.get(turn!.sessionId);
    const lost = question.requiredMarks.filter((mark) => !delivered?.has(mark) && !this.#excused.has(mark));
    if (lost.length > 0) this.#errors.push(`the session that answered ${question.mark} never got ${lost}`);
  }

  /** Unblocks the agents and ends all turns. */
  async end(): Promise<void> {
    this.#openGate();
    for (const agent of this.agents) {
      Object.assign(agent, { openGate: Promise.resolve(), promptGate: Promise.resolve() });
    }
    let isDrained = false;
    const draining = this.#registry.drain().then(() => isDrained = true);
    for (let round = 0; round < 1_000 && !isDrained; round++) {
      for (const prompt of this.#running) this.#end(prompt);
      for (let ticks = 0; ticks < 40 && !isDrained; ticks++) await Promise.resolve();
    }
    await waitFor(draining, "the drain", 1_000);
    await waitFor(Promise.all(this.calls.map(({ over }) => over)), "every call", 1_000);
    this.#registry.close();
  }

  /** Checks the properties, after the end. */
  check(): void {
    assertEquals(this.#errors, []);
    const prompts = this.agents.reduce((sum, { prompts }) => sum + prompts.length, 0);
    assertEquals(this.counted, prompts, "counted prompts");
    assertEquals(prompts <= this.#rules.turnsPerDay, true, `${prompts} prompts`);
    assertEquals([this.#registry.runningCount, this.#registry.running.size], [0, 0], "slots, running turns");
    for (const agent of this.agents) {
      assertEquals(agent.overlaps, [], "two prompts at once in one session");
      assertEquals(agent.running.length, 0, "prompts that never ended");
      const open = agent.sessions.filter(({ closed }) => !closed.aborted).map(({ id }) => id);
      assertEquals(open, [], "sessions that were left open");
      for (const [id, delivered] of agent.receivedMarks) {
        const twice = [...delivered].filter(([mark, count]) =>
          mark[0] === "q" && count > 1 && !this.#repeated.has(mark)
        );
        assertEquals(twice, [], `${id} got a message twice`);
      }
    }
    const groups = new Map<string, string>();
    const turns = new Map<string, Turn>();
    for (const { turn, group, recorder, hasLeft, question: { mark } } of this.calls) {
      const words = new Set(recorder.text.split(" ").filter((word) => word !== ""));
      assertEquals([...words].filter((word) => !word.endsWith(`x${mark}`)), [], `${mark} got another's text`);
      assertEquals(words.size <= 1, true, `${mark} got the text of two prompts: ${[...words]}`);
      if (turn === undefined) {
        assertEquals(recorder.events, [], `${mark} never started`);
        continue;
      }
      assertEquals(groups.get(turn.sessionId) ?? group, group, `${turn.sessionId} serves two groups`);
      groups.set(turn.sessionId, group);
      for (const word of words) {
        assertEquals(turns.get(word) ?? turn, turn, `two turns got ${word}`);
        turns.set(word, turn);
      }
      if (!hasLeft) recorder.assertComplete();
    }
  }
}

function isAnswered({ recorder }: Call): boolean {
  return recorder.summaries.includes("end end_turn");
}
