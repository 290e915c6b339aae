/** Callers and an agent that act at random, the same for each seed: no mix-up of turns, and no session is used twice. */

import { assert, assertEquals } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { RunningPrompt, Session } from "../../lib/turn/agent.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import {
  AcpHarness,
  type Handler,
  type MemoryAcpAgent,
  withCapabilities,
} from "../support/agents/memory_acp_agent.ts";
import { Random } from "../support/harness/random.ts";
import { nextTask, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";

const RUNS = 200;

/** One run with one seed. */
interface RandomRun {
  readonly harness: AcpHarness;
  /** Numbers of outcomes: a test is worth something only if each happens often. */
  readonly outcomes: ReadonlyMap<string, number>;
  step(): Promise<void>;
  end(): Promise<void>;
}

/** Runs all seeds, and checks that each of the outcomes happened more than `often` times. */
async function runSeeds(
  create: (random: Random) => RandomRun,
  steps: number,
  often: number,
  expected: readonly string[],
): Promise<void> {
  const total = new Map<string, number>();
  for (let seed = 1; seed <= RUNS; seed++) {
    const run = create(new Random(seed));
    try {
      for (let step = 0; step < steps; step++) {
        // Later than an early exit, so that no start is delayed.
        run.harness.nowMs += 60_000;
        await run.step();
      }
      await run.end();
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
    for (const [outcome, count] of run.outcomes) total.set(outcome, (total.get(outcome) ?? 0) + count);
  }
  for (const outcome of expected) {
    assert((total.get(outcome) ?? 0) > often, `${outcome}: ${total.get(outcome)}`);
  }
}

/** Lets up to `most` microtasks pass. */
async function passTicks(random: Random, most: number): Promise<void> {
  for (let ticks = random.below(most); ticks > 0; ticks--) await Promise.resolve();
}

/** A prompt at the agent. */
interface AgentPrompt {
  readonly sessionId: string;
  readonly tag: string;
  readonly running: MemoryAcpAgent;
  readonly answer: PromiseWithResolvers<unknown>;
  isAnswered: boolean;
}

/** A prompt at its caller. */
interface Call {
  readonly tag: string;
  readonly heard: TurnRecorder;
  readonly outcome: Promise<void>;
  prompt: RunningPrompt | undefined;
}

/** Callers that prompt, cancel and close, and an agent that answers, fails and exits. */
class PromptRun implements RandomRun {
  readonly harness: AcpHarness;
  readonly outcomes = new Map<string, number>();
  readonly #random: Random;
  readonly #prompts: AgentPrompt[] = [];
  readonly #sessions: Session[] = [];
  readonly #calls: Call[] = [];
  readonly #overlaps: string[] = [];

  constructor(random: Random) {
    this.#random = random;
    this.harness = new AcpHarness({
      "session/prompt": ({ sessionId, prompt }, running) => {
        const isSame = (open: AgentPrompt) => open.running === running && open.sessionId === sessionId;
        if (this.#open.some(isSame)) this.#overlaps.push(sessionId);
        const answer = Promise.withResolvers<unknown>();
        this.#prompts.push({ tag: prompt[0]?.text ?? "", sessionId, running, answer, isAnswered: false });
        return answer.promise;
      },
    });
  }

  get #open(): AgentPrompt[] {
    return this.#prompts.filter(({ isAnswered, running }) => !isAnswered && !running.peer.closed.aborted);
  }

  async step(): Promise<void> {
    await this.#act();
    await passTicks(this.#random, 30);
  }

  async #act(): Promise<void> {
    const random = this.#random;
    const open = this.#open[random.below(this.#open.length)];
    const session = this.#sessions[random.below(this.#sessions.length)];
    switch (random.below(11)) {
      case 0:
        this.#sessions.push(await waitFor(this.harness.agent.newSession(), "a session"));
        return;
      case 1:
      case 2:
      case 3:
        return session && this.#prompt(session);
      case 4:
      case 5:
        return open?.running.sendText(open.sessionId, `${open.tag} `);
      case 6:
        return this.#answer(open, { stopReason: "end_turn" });
      case 7:
        return this.#answer(open, new RpcError(RPC.internalError, "No."));
      case 8:
        return this.#calls[random.below(this.#calls.length)]?.prompt?.cancel();
      case 9:
        return random.below(4) === 0 ? session?.close() : undefined;
      case 10:
        return random.below(4) === 0 ? open?.running.exit() : undefined;
    }
  }

  #prompt(session: Session): void {
    const tag = `<${this.#calls.length}>`;
    const heard = new TurnRecorder();
    const call: Call = {
      tag,
      heard,
      prompt: undefined,
      outcome: session.prompt([{ type: "text", text: tag }], heard.reader).then(
        (prompt) => {
          call.prompt = prompt;
        },
        () => assertEquals(heard.events, [], `${tag} was refused, but got an event`),
      ),
    };
    this.#calls.push(call);
  }

  #answer(prompt: AgentPrompt | undefined, answer: unknown): void {
    if (prompt === undefined) return;
    prompt.isAnswered = true;
    if (answer instanceof Error) prompt.answer.reject(answer);
    else prompt.answer.resolve(answer);
  }

  /** Answers every prompt until all calls have ended, and checks them. */
  async end(): Promise<void> {
    let hasEnded = false;
    const calls = Promise.all(this.#calls.map(({ outcome }) => outcome)).finally(() => hasEnded = true);
    for (let round = 0; round < 1_000 && (!hasEnded || this.#open.length > 0); round++) {
      for (const prompt of this.#open) this.#answer(prompt, { stopReason: "end_turn" });
      await nextTask();
    }
    await waitFor(calls, "every call");
    await this.harness[Symbol.asyncDispose]();
    assertEquals(this.#overlaps, [], "two prompts at once in one session");
    for (const { tag, heard, prompt } of this.#calls) {
      const words = new Set(heard.text.split(" ").filter((word) => word !== ""));
      assertEquals([...words].filter((word) => word !== tag), [], `${tag} got another turn's text`);
      if (prompt) heard.assertComplete();
      const last = heard.summaries.at(-1) ?? "refused";
      this.outcomes.set(last, (this.outcomes.get(last) ?? 0) + 1);
    }
  }
}

Deno.test(`AcpAgent: ${RUNS} random runs of prompts: no turn gets another's text, and each ends once`, async () => {
  const outcomes = [
    "end end_turn",
    "end cancelled",
    "failure agent_error",
    "failure agent_crashed",
    "refused",
  ];
  await runSeeds((random) => new PromptRun(random), 60, RUNS / 10, outcomes);
});

/** Callers that open, close, resume and delete sessions, and an agent that reports what it should not be asked. */
class SessionRun implements RandomRun {
  readonly harness: AcpHarness;
  readonly outcomes = new Map<string, number>();
  readonly #canClose: boolean;
  readonly #random: Random;
  readonly #faults: string[] = [];
  /** Sessions that the agent stores, whichever of its processes runs. */
  readonly #stored = new Set<string>();
  readonly #open = new Map<MemoryAcpAgent, Set<string>>();
  readonly #held = new Map<SessionId, Session>();
  readonly #ids: SessionId[] = [];
  /** Sessions that the agent was to delete, but cannot: they stay open there, and are not requested again. */
  readonly #undeletable = new Set<SessionId>();
  readonly #calls: Promise<void>[] = [];
  #created = 0;

  constructor(random: Random, canClose: boolean) {
    this.#canClose = canClose;
    this.#random = random;
    this.harness = new AcpHarness({
      "initialize": withCapabilities({
        loadSession: true,
        sessionCapabilities: canClose ? { close: {}, delete: {} } : {},
      }),
      "session/new": this.#slowly((open) => {
        const sessionId = `s${this.#created++}`;
        open.add(sessionId);
        this.#stored.add(sessionId);
        return { sessionId };
      }),
      "session/load": this.#slowly((open, id) => {
        if (open.has(id)) this.#faults.push(`loads ${id}, which is open`);
        if (!this.#stored.has(id)) throw new RpcError(RPC.resourceNotFound, "No such session");
        open.add(id);
        return {};
      }),
      "session/close": this.#slowly((open, id) => {
        if (!open.delete(id)) this.#faults.push(`closes ${id}, which is not open`);
        return {};
      }),
      "session/delete": this.#slowly((open, id) => {
        if (open.has(id)) this.#faults.push(`deletes ${id}, which is open`);
        this.#stored.delete(id);
        return {};
      }),
    });
  }

  async step(): Promise<void> {
    const random = this.#random;
    const { agent, starts } = this.harness;
    const id = this.#ids[random.below(this.#ids.length)];
    switch (random.below(9)) {
      case 0:
        this.#track("open", agent.newSession(this.#maybeAborting()));
        break;
      case 1:
      case 2:
      case 3:
        if (id) this.#track("resume", agent.resumeSession(id, this.#maybeAborting()));
        break;
      case 4:
      case 5:
      case 6:
        if (id) this.#close(id);
        break;
      case 7:
        if (id && random.below(4) === 0) {
          this.#held.delete(id);
          agent.deleteSession(id);
          if (!this.#canClose) {
            this.#undeletable.add(id);
            this.#ids.splice(this.#ids.indexOf(id), 1);
          }
        }
        break;
      case 8:
        if (random.below(6) === 0) starts.at(-1)?.exit();
    }
    await passTicks(random, 20);
  }

  /** Closes every session, and checks that the agent has closed them too. */
  async end(): Promise<void> {
    await waitFor(Promise.all(this.#calls), "every call");
    for (const id of [...this.#held.keys()]) this.#close(id);
    for (let round = 0; round < 4; round++) await nextTask();
    const last = this.harness.starts.at(-1);
    if (this.#canClose && last && !last.peer.closed.aborted) {
      const open = [...this.#open.get(last) ?? []].filter((id) => this.#ids.includes(id as SessionId));
      this.#faults.push(...open.map((id) => `${id} stays open`));
    }
    await this.harness[Symbol.asyncDispose]();
    assertEquals(this.#faults, []);
  }

  #track(what: string, opening: Promise<Session | undefined>): void {
    this.#calls.push(opening.then((session) => {
      this.#count(session ? what : `no ${what}`);
      if (!session || session.closed.aborted) return;
      const { id, closed } = session;
      if (this.#held.has(id)) this.#faults.push(`${id} was handed out twice`);
      this.#held.set(id, session);
      closed.addEventListener("abort", () => {
        if (this.#held.get(id) === session) this.#held.delete(id);
      });
      if (!this.#ids.includes(id) && !this.#undeletable.has(id)) this.#ids.push(id);
    }, () => this.#count(`${what} failed`)));
  }

  #close(id: SessionId): void {
    const session = this.#held.get(id);
    this.#held.delete(id);
    session?.close();
  }

  #slowly(answer: (open: Set<string>, id: string) => unknown): Handler {
    return async ({ sessionId }, running) => {
      const open = this.#open.get(running) ?? new Set();
      this.#open.set(running, open);
      await passTicks(this.#random, 15);
      const result = answer(open, sessionId);
      await passTicks(this.#random, 15);
      return result;
    };
  }

  #maybeAborting(): AbortSignal | undefined {
    if (this.#random.below(3) > 0) return undefined;
    const controller = new AbortController();
    passTicks(this.#random, 60).then(() => controller.abort(new Error("hung up")));
    return controller.signal;
  }

  #count(outcome: string): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }
}

for (const canClose of [true, false]) {
  const name = canClose ? "closes sessions" : "closes none";
  Deno.test(`AcpAgent: ${RUNS} random runs of sessions, by an agent that ${name}: none is used twice`, async () => {
    const outcomes = ["open", "resume", "no resume", "resume failed"];
    await runSeeds((random) => new SessionRun(random, canClose), 40, RUNS / 5, outcomes);
  });
}
