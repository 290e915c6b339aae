import { assertEquals } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { RunningPrompt, Session } from "../../lib/turn/agent.ts";
import { Random } from "../support/harness/random.ts";
import { Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import { AcpHarness, type MemoryAcpAgent } from "../support/agents/memory_acp_agent.ts";

const RUNS = 200;
const STEPS = 60;

/** A prompt as the agent has it. */
interface Job {
  readonly tag: string;
  readonly sessionId: string;
  readonly running: MemoryAcpAgent;
  readonly answer: PromiseWithResolvers<unknown>;
  over: boolean;
}

/** A prompt as its caller has it. */
interface Call {
  readonly tag: string;
  readonly heard: Heard;
  readonly outcome: Promise<void>;
  prompting: RunningPrompt | undefined;
}

/** Callers of an agent, and the agent, at random but the same for each seed. */
class World {
  readonly calls: Call[] = [];
  readonly overlaps: string[] = [];
  readonly house: AcpHarness;
  readonly #jobs: Job[] = [];
  readonly #sessions: Session[] = [];
  readonly #random: Random;

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.house = new AcpHarness({
      "session/prompt": ({ sessionId, prompt }, running) => {
        if (this.open.some((job) => job.running === running && job.sessionId === sessionId)) {
          this.overlaps.push(sessionId);
        }
        const tag = prompt[0]?.text ?? "";
        const job: Job = { tag, sessionId, running, answer: Promise.withResolvers(), over: false };
        this.#jobs.push(job);
        return job.answer.promise;
      },
    });
  }

  /** The prompts that the agent has not answered. */
  get open(): Job[] {
    return this.#jobs.filter((job) => !job.over && !job.running.peer.closed.aborted);
  }

  async step(): Promise<void> {
    // No death is an early one.
    this.house.nowMs += 60_000;
    await this.#act();
    for (let ticks = this.#random.below(30); ticks > 0; ticks--) await Promise.resolve();
  }

  async #act(): Promise<void> {
    const random = this.#random;
    const job = this.open[random.below(this.open.length)];
    const session = this.#sessions[random.below(this.#sessions.length)];
    switch (random.below(11)) {
      case 0:
        this.#sessions.push(await soon(this.house.agent.newSession(), "a session"));
        return;
      case 1:
      case 2:
      case 3:
        return session && this.#prompt(session);
      case 4:
      case 5:
        return job?.running.sendText(job.sessionId, `${job.tag} `);
      case 6:
        return this.#answer(job, { stopReason: "end_turn" });
      case 7:
        return this.#answer(job, new RpcError(RPC.internalError, "No."));
      case 8:
        return this.calls[random.below(this.calls.length)]?.prompting?.cancel();
      case 9:
        return random.below(4) === 0 ? session?.close() : undefined;
      case 10:
        return random.below(4) === 0 ? job?.running.exit() : undefined;
    }
  }

  #prompt(session: Session): void {
    const tag = `<${this.calls.length}>`;
    const heard = new Heard();
    const call: Call = {
      tag,
      heard,
      prompting: undefined,
      outcome: session.prompt([{ type: "text", text: tag }], heard.reader).then(
        (prompting) => {
          call.prompting = prompting;
        },
        () => assertEquals(heard.events, [], `${tag} was refused, and yet heard something`),
      ),
    };
    this.calls.push(call);
  }

  #answer(job: Job | undefined, answer: unknown): void {
    if (job === undefined) return;
    job.over = true;
    if (answer instanceof Error) job.answer.reject(answer);
    else job.answer.resolve(answer);
  }

  /** The agent answers whatever it is asked, until all calls have come to their end. */
  async end(): Promise<void> {
    let ended = false;
    const done = Promise.all(this.calls.map((call) => call.outcome)).finally(() => ended = true);
    for (let round = 0; round < 1_000 && (!ended || this.open.length > 0); round++) {
      for (const job of this.open) this.#answer(job, { stopReason: "end_turn" });
      await settled();
    }
    await soon(done, "every call");
    await this.house[Symbol.asyncDispose]();
  }

  check(): void {
    assertEquals(this.overlaps, [], "two prompts at once in one session");
    for (const { tag, heard, prompting } of this.calls) {
      const words = new Set(heard.text.split(" ").filter((word) => word !== ""));
      assertEquals([...words].filter((word) => word !== tag), [], `${tag} heard another's text`);
      if (prompting) heard.assertWhole();
    }
  }
}

Deno.test(`AcpAgent: ${RUNS} runs of callers and an agent at random: no mix-up, and every turn ends once`, async () => {
  const endings = new Map<string, number>();
  for (let seed = 1; seed <= RUNS; seed++) {
    const world = new World(seed);
    try {
      for (let step = 0; step < STEPS; step++) await world.step();
      await world.end();
      world.check();
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
    for (const { heard } of world.calls) {
      const ending = heard.briefs.at(-1) ?? "refused";
      endings.set(ending, (endings.get(ending) ?? 0) + 1);
    }
  }
  // The runs are worth something only if all of this happened often.
  for (
    const ending of [
      "end end_turn",
      "end cancelled",
      "failure agent_error",
      "failure agent_crashed",
      "refused",
    ]
  ) {
    assertEquals((endings.get(ending) ?? 0) > RUNS / 10, true, `${ending}: ${endings.get(ending)}`);
  }
});
