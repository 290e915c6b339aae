import { assertEquals, assertRejects } from "@std/assert";
import { firstOf } from "../../lib/acp/first.ts";
import { settled, soon } from "../support/harness/turn_recorder.ts";

/** What some are asked, who answer or fail when the test says so. */
class Some {
  readonly asked: string[] = [];
  readonly discarded: string[] = [];
  readonly answers: ReadonlyMap<string, PromiseWithResolvers<string>>;
  readonly answer: Promise<string>;
  readonly #over = new Map<string, AbortSignal>();

  constructor(names: string, patienceMs?: number) {
    this.answers = new Map([...names].map((name) => [name, Promise.withResolvers<string>()]));
    this.answer = firstOf({
      members: names[Symbol.iterator](),
      ask: (name, over) => {
        this.asked.push(name);
        this.#over.set(name, over);
        return this.answers.get(name)!.promise;
      },
      mayPass: (error) => (error as Error).message !== "grave",
      discard: (answer) => this.discarded.push(answer),
      patienceMs,
    });
    this.answer.catch(() => {});
  }

  /** Those whose answer is of no use any more. */
  get over(): string[] {
    return [...this.#over].flatMap(([name, { aborted }]) => aborted ? [name] : []);
  }

  /** Lets them answer (`a`), fail (`a-`) or fail gravely (`a!`), one after another. */
  async let(...steps: string[]): Promise<void> {
    for (const step of steps) {
      const { resolve, reject } = this.answers.get(step[0]!)!;
      if (step.length === 1) resolve(step);
      else reject(new Error(step.endsWith("!") ? "grave" : step));
    }
    await settled();
  }
}

const OUTCOMES: readonly {
  name: string;
  /** How often the next is asked since none answers; without it, they are waited for without end. */
  slow?: number;
  steps: string[];
  asked: string;
  answer?: string;
  error?: string;
  discarded?: string[];
}[] = [
  { name: "the first answers", steps: ["a"], asked: "a", answer: "a" },
  { name: "the first fails", steps: ["a-", "b"], asked: "ab", answer: "b" },
  { name: "all fail", steps: ["a-", "b-", "c-"], asked: "abc", error: "a-" },
  { name: "one fails gravely", steps: ["a-", "b!"], asked: "ab", error: "grave" },
  { name: "the slow one is first nevertheless", slow: 1, steps: ["a"], asked: "ab", answer: "a" },
  { name: "the next is faster", slow: 1, steps: ["b"], asked: "ab", answer: "b" },
  { name: "the last is the fastest", slow: 5, steps: ["c"], asked: "abc", answer: "c" },
  { name: "two at once", slow: 1, steps: ["b", "a"], asked: "ab", answer: "b", discarded: ["a"] },
  { name: "the slow one fails, the next answers", slow: 2, steps: ["a-", "b"], asked: "abc", answer: "b" },
  { name: "all are slow and fail", slow: 2, steps: ["b-", "c-", "a-"], asked: "abc", error: "b-" },
  {
    name: "one of two fails gravely",
    slow: 2,
    steps: ["b!", "a"],
    asked: "abc",
    error: "grave",
    discarded: ["a"],
  },
];
for (const { name, slow, steps, asked, answer, error, discarded = [] } of OUTCOMES) {
  Deno.test(`firstOf: ${name}${slow ? ", after waiting" : ""}`, async () => {
    const some = new Some("abc", slow && 0);
    // Timers of one length fire in the order in which they were set.
    for (let round = 0; round < (slow ?? 5); round++) await settled();
    await some.let(...steps);
    if (error) await assertRejects(() => soon(some.answer, "a failure"), Error, error);
    else assertEquals(await soon(some.answer, "an answer"), answer);
    assertEquals([some.asked.join(""), some.over.join("")], [asked, asked]);
    assertEquals(some.discarded, discarded);
  });
}

Deno.test("firstOf: an answer that comes long after another is discarded, a failure is nothing", async () => {
  const some = new Some("abc", 0);
  for (let round = 0; round < 3; round++) await settled();
  await some.let("b");
  await some.let("a", "c-");
  assertEquals([await some.answer, some.discarded], ["b", ["a"]]);
});
