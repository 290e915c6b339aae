import { ConversationIndex } from "../../../lib/conversation/conversation.ts";
import type { Message } from "../../../lib/conversation/message.ts";
import { Fingerprinter } from "../../../lib/conversation/fingerprint.ts";
import { ConversationRegistry, type TurnRequest } from "../../../lib/conversation/registry.ts";
import { ModelRouter } from "../../../lib/turn/model_router.ts";
import { AppError } from "../../../lib/core/errors.ts";
import { TurnLimiter } from "../../../lib/turn/turn_limiter.ts";
import { ChanceSkin, type Question } from "../skins/random_skin.ts";
import type { MemoryPrompt } from "../agents/memory_agent.ts";
import { MemoryStore } from "./memory_store.ts";
import type { Random } from "./random.ts";
import { marksIn, StrictAgent } from "../agents/strict_agent.ts";
import { Heard, isLast, settled, soon } from "./turn_recorder.ts";
import type { Call, Held, WorldRules } from "./call_fixture.ts";

const SKINS = 4;
const SLOTS = 4;
const MAX_SESSIONS = 2;
const NEVER_IDLE_MS = 3_600_000;

/** What callers and agents do, at random but the same for each seed. */
export class World {
  readonly agents: readonly [StrictAgent, StrictAgent] = [new StrictAgent(), new StrictAgent("other")];
  readonly slots = new TurnLimiter(SLOTS);
  readonly conversations: ConversationRegistry;
  readonly calls: Call[] = [];
  /** Marks that a session may be told more than once: their turn had no answer, or was asked again. */
  readonly repeated = new Set<string>();
  /** Marks that nobody needs to know: a person stopped their turn before it began. */
  readonly #stopped = new Set<string>();
  /** What was found wrong as it happened. */
  readonly wrongs: string[] = [];
  /** Turns that were interrupted, or that could not begin for it. */
  interrupted = 0;
  readonly #prompts = new Map<MemoryPrompt, number>();
  readonly #random: Random;
  readonly #rules: WorldRules;
  readonly #skins: readonly ChanceSkin[];
  /** Whoever may come back to a conversation, as for an answer in a format. */
  readonly #holds: Held[] = [];
  #openGate = () => {};
  #numbers = 0;

  constructor(random: Random, rules: WorldRules) {
    this.#random = random;
    this.#rules = rules;
    this.#skins = Array.from({ length: SKINS }, () => new ChanceSkin(random, rules.isNamed));
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
    const store = new MemoryStore();
    this.conversations = new ConversationRegistry({
      agents: new ModelRouter(this.agents),
      index: new ConversationIndex(store),
      fingerprinter: new Fingerprinter(store.key),
      mode: rules.mode,
      onBusy: rules.onBusy,
      turnLimiter: this.slots,
      limits: { replyTimeoutMs: 0, turnTimeoutMs: 0 },
      log: { debug() {} },
      maxSessions: MAX_SESSIONS,
      idleMs: rules.isIdleShort ? 0 : NEVER_IDLE_MS,
    });
  }

  /** How many sessions were brought back. */
  get resumed(): number {
    return this.agents.reduce((sum, { resumed }) => sum + resumed.length, 0);
  }

  get #running(): MemoryPrompt[] {
    return this.agents.flatMap(({ running }) => running);
  }

  /** One thing happens, then a little time goes by. */
  async step(): Promise<void> {
    this.#act();
    if (this.#rules.isIdleShort && this.#random.below(20) === 0) await settled();
    for (let ticks = this.#random.below(12); ticks > 0; ticks--) await Promise.resolve();
  }

  #act(): void {
    const random = this.#random;
    const running = this.#running;
    const prompt = running[random.below(running.length)];
    const call = this.calls[random.below(this.calls.length)];
    switch (random.below(17)) {
      case 0:
      case 1:
      case 2:
        return this.#ask(random.pick(this.#skins));
      case 3:
      case 4:
        return prompt && this.#say(prompt);
      case 5:
      case 6:
      case 7:
        return prompt && this.#end(prompt);
      case 8:
        return prompt?.fail(new AppError("agent_error", "No.", { prompted: true }));
      case 9:
        return call?.leave();
      case 10:
        call?.hangUp.abort(new Error("hung up"));
        return call?.leave();
      case 11:
        return call?.turn?.fail(new AppError("agent_timeout", "Silent.", { prompted: true }));
      case 12:
        return this.#agentChanges(random.pick(this.agents));
      case 13:
        return this.#crash(random.pick(this.agents));
      case 14:
        return this.#forget(random.pick(this.#skins));
      case 15:
        return this.#askElsewhere();
      case 16:
        return this.#interrupt(call?.turn?.conversation);
    }
  }

  /** A person stops one conversation, or all. What had not begun is over, whatever else becomes of it. */
  #interrupt(conversation: string | undefined): void {
    const waiting = this.calls.filter(({ turn }) => turn === undefined);
    const count = this.conversations.interrupt(this.#random.below(4) > 0 ? conversation : undefined);
    this.interrupted += count;
    if (count > 0) { for (const { question } of waiting) this.#stopped.add(question.mark); }
  }

  /** A piece of an answer: it tells the prompt and the question that it belongs to. */
  #say(prompt: MemoryPrompt): void {
    const number = this.#prompts.get(prompt) ?? this.#prompts.size;
    this.#prompts.set(prompt, number);
    prompt.say(`p${number}x${marksIn(prompt.text).findLast((mark) => mark[0] === "q")} `);
  }

  #end(prompt: MemoryPrompt): void {
    // Long enough to be known again, most of the time.
    for (let words = this.#random.below(5); words > 0; words--) this.#say(prompt);
    prompt.end(prompt.cancels > 0 && this.#random.below(4) > 0 ? "cancelled" : "end_turn");
  }

  /** It opens or takes nothing for a while, or fails to. */
  #agentChanges(agent: StrictAgent): void {
    this.#openGate();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#openGate = resolve;
    const failure = new AppError("agent_unavailable", "Not now.");
    const pick = this.#random.below(6);
    agent.opens = pick === 0 ? promise : Promise.resolve();
    agent.takes = pick === 1 ? promise : Promise.resolve();
    agent.openFailure = pick === 2 ? failure : undefined;
    agent.promptFailure = pick === 3 ? failure : undefined;
  }

  /** One of its sessions dies, whether a turn runs in it or not. */
  #crash(agent: StrictAgent): void {
    const open = agent.sessions.filter(({ closed }) => !closed.aborted);
    const session = open[this.#random.below(open.length)];
    if (session) agent.crash(session);
  }

  #forget({ owner }: ChanceSkin): void {
    const known = this.conversations.list(owner);
    this.conversations.forget(owner, known[this.#random.below(known.length + 1)]?.id);
  }

  #ask(skin: ChanceSkin): void {
    const question = skin.ask(this.#numbers++);
    // Where several talk in one conversation, what nobody can place is rather told twice than not at all.
    if (!skin.isAlone) { for (const mark of question.needs) this.repeated.add(mark); }
    const { messages } = question;
    const circle = this.#circleOf(skin);
    const agent = this.agents[skin.agent]!;
    const conversation = { owner: skin.owner, name: skin.name };
    const hold = this.#random.below(8) === 0 ? this.conversations.hold() : undefined;
    if (hold) this.#holds.push({ hold, circle, agent, messages });
    const call = this.#begin({ conversation, hold, messages }, question, circle, agent);
    call.over.then(() => {
      const isAnswered = call.heard.briefs.includes("end end_turn");
      if (isAnswered) skin.answered(question, call.heard.text);
      else skin.unanswered(question, call.heard.text);
    });
  }

  /** Those who may share a session. */
  #circleOf({ owner, agent, name, persona }: ChanceSkin): string {
    const { mode } = this.#rules;
    const same = name ?? (mode === "auto" ? persona : mode === "persistent" ? "" : this.calls.length);
    return [owner, agent, same].join(" ");
  }

  /** A prompt in no conversation, or in one that is held. */
  #askElsewhere(): void {
    const mark = `q${this.#numbers++}q`;
    const messages = (before: readonly Message[]): Message[] => [
      ...before,
      { role: "user", parts: [{ type: "text", text: mark }] },
    ];
    const question = { messages: messages([]), mark, needs: [mark], isAgain: false };
    const pick = this.#random.below(4);
    const held = this.#holds[this.#random.below(this.#holds.length)];
    if (pick === 0) {
      const circle = `alone ${this.calls.length}`;
      this.#begin({ messages: question.messages }, question, circle, this.agents[0]);
    } else if (pick === 1) {
      const hold = this.conversations.hold();
      const circle = `hold ${this.calls.length}`;
      this.#holds.push({ hold, circle, agent: this.agents[0], messages: [] });
      this.#begin({ conversation: hold, messages: question.messages }, question, circle, this.agents[0]);
    } else if (held && pick === 2) {
      this.#holds.splice(this.#holds.indexOf(held), 1);
      held.hold[Symbol.dispose]();
    } else if (held) {
      // A fresh session is told all of it, and once more by the next that asks.
      for (const { parts: [part] } of held.messages) {
        if (part?.type === "text") { for (const mark of marksIn(part.text)) this.repeated.add(mark); }
      }
      const answer: Message = { role: "assistant", parts: [{ type: "text", text: "?" }] };
      this.#begin(
        {
          conversation: held.hold,
          hold: this.#random.pick([held.hold, undefined]),
          messages: messages([...held.messages, answer]),
        },
        question,
        held.circle,
        held.agent,
      );
    }
  }

  #begin(
    request: Pick<TurnRequest, "conversation" | "hold" | "messages">,
    question: Question,
    circle: string,
    agent: StrictAgent,
  ): Call {
    const hangUp = new AbortController();
    const record = this.#random.below(2) === 0;
    const begins = this.conversations.startTurn({ ...request, agent, record }, hangUp.signal);
    const heard = new Heard();
    if (question.isAgain) this.repeated.add(question.mark);
    const call: Call = {
      question,
      circle,
      agent,
      hangUp,
      heard,
      over: begins.then(async (turn) => {
        call.turn = turn;
        const stop = turn.read(heard.reader);
        call.leave = () => {
          call.isLeft ||= !heard.events.some(isLast);
          stop();
        };
        if (hangUp.signal.aborted) call.leave();
        await turn.ended;
        this.#checkTold(call);
      }, (error) => {
        if (error instanceof AppError && error.message.includes("interrupted")) {
          this.#stopped.add(question.mark);
        }
      }),
      turn: undefined,
      leave: () => {},
      isLeft: false,
    };
    this.calls.push(call);
    return call;
  }

  /** Whoever answered knew all that was asked before. */
  #checkTold({ question, heard, turn, agent }: Call): void {
    if (!heard.briefs.includes("end end_turn")) {
      // It was told what others had left unsaid, too.
      const prompts = agent.prompts.map(({ text }) => marksIn(text)).filter((marks) =>
        marks.includes(question.mark)
      );
      for (const mark of [...question.needs, ...prompts.flat()]) this.repeated.add(mark);
      return;
    }
    const told = agent.told.get(turn!.sessionId);
    const lost = question.needs.filter((mark) => !told?.has(mark) && !this.#stopped.has(mark));
    if (lost.length > 0) this.wrongs.push(`${question.mark} was answered by one who never heard ${lost}`);
  }

  /** The agents come to their senses and end whatever runs, until nothing does. */
  async end(): Promise<void> {
    this.#openGate();
    for (const agent of this.agents) {
      Object.assign(agent, { opens: Promise.resolve(), takes: Promise.resolve() });
    }
    for (const { hold } of this.#holds) hold[Symbol.dispose]();
    let isDrained = false;
    const draining = this.conversations.drain().then(() => isDrained = true);
    for (let round = 0; round < 1_000 && !isDrained; round++) {
      for (const prompt of this.#running) this.#end(prompt);
      for (let ticks = 0; ticks < 40 && !isDrained; ticks++) await Promise.resolve();
    }
    await soon(draining, "the drain", 1_000);
    await soon(Promise.all(this.calls.map(({ over }) => over)), "every call", 1_000);
    this.conversations.close();
  }
}
