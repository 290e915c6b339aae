import { assert, assertEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import { MAX_TURNS } from "../../lib/conversation/fingerprint.ts";
import { Random } from "../support/harness/random.ts";
import { longReply, MatchHarness } from "../support/harness/fingerprint_fixture.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const TURNS = 60;
const SEEDS = 12;
/** Words that all clients repeat, also as their first words. */
const SMALL_TALK = ["ok", "yes", "thanks", "hello"];
/** Conversations of one client at most: a tie starts a new one. */
const MAX_PER_CLIENT = 4;

/** The replies that a skin keeps. */
const KEPT: Readonly<Record<string, (reply: string) => Message[]>> = {
  "the first words of replies": (
    reply,
  ) => [assistant(`${reply.replace(/\[.*?\]\s*/, "").slice(0, 10)}...`)],
  "half of the replies": (reply) => [assistant(reply.slice(0, reply.length / 2))],
  "translations of replies": (reply) => [assistant(`Translated, that is ${reply.length} letters.`)],
  "no replies": () => [],
};

/** A client with a window of its history. */
class Client {
  readonly #random: Random;
  /** Percentage of turns that are small talk. */
  readonly #small: number;
  readonly #window: number;
  #messages: Message[] = [];
  #turns = 0;
  /** The words of all its turns. */
  readonly asked: string[] = [];

  constructor(random: Random, small: number, window: number) {
    this.#random = random;
    this.#small = small;
    this.#window = window;
  }

  /** Makes the next request. */
  ask(): Message[] {
    const isSmall = this.#random.below(100) < this.#small;
    const words = isSmall
      ? this.#random.pick(SMALL_TALK)
      : `question ${this.#random.below(1_000_000)} ${this.#turns++}`;
    this.asked.push(words);
    this.#messages.push(user(words));
    return [system("Mao"), ...this.#messages.slice(-this.#window)];
  }

  answered(kept: readonly Message[]): void {
    this.#messages.push(...kept);
  }
}

/** Runs several clients of one key in random turns. Returns the number of conversations. */
function converseAtOnce(
  random: Random,
  count: number,
  small: number,
  window: number,
  keep: (reply: string) => Message[],
): number {
  const harness = new MatchHarness();
  const clients = Array.from({ length: count }, () => new Client(random, small, window));
  const sentBefore = new Map<number, string[]>();
  for (let turn = 0; turn < TURNS * count; turn++) {
    const client = random.pick(clients);
    const { conversation: number, decision, sent } = harness.send(client.ask(), longReply(turn));
    const before = sentBefore.get(number) ?? [];
    if (decision === "continue") {
      const [newest] = client.asked.slice(-1);
      assertEquals(sent, [newest], `turn ${turn}`);
      assertEquals(before, client.asked.slice(-before.length - 1, -1), `turn ${turn} mixes up clients`);
    }
    sentBefore.set(number, [...before, ...sent]);
    client.answered(keep(longReply(turn)));
  }
  return sentBefore.size;
}

for (const [name, keep] of Object.entries(KEPT)) {
  for (const window of [20, 40]) {
    Deno.test(`match: windows of ${window} messages with small talk and ${name}, of one client and of several`, () => {
      for (const [count, small] of [[1, 30], [1, 100], [3, 30], [3, 100]] as const) {
        for (let seed = 1; seed <= SEEDS; seed++) {
          const became = converseAtOnce(new Random(seed), count, small, window, keep);
          assert(became <= count * MAX_PER_CLIENT, `seed ${seed}: ${became} conversations of ${count}`);
        }
      }
    });
  }

  Deno.test(`match: small windows with small talk and ${name} mix up no clients`, () => {
    for (let seed = 1; seed <= SEEDS; seed++) converseAtOnce(new Random(seed), 3, 100, 6 + seed % 4, keep);
  });
}

/** The words of a long conversation: random small talk, or all of it in turn, so that its end equals its start. */
const WORDS: Readonly<Record<string, (random: Random, turn: number) => string>> = {
  "any small talk": (random) => random.pick(SMALL_TALK),
  "small talk in turn": (_random, turn) => SMALL_TALK[turn % SMALL_TALK.length]!,
};
for (const [name, wordsOf] of Object.entries(WORDS)) {
  Deno.test(`match: a conversation of ${name} continues beyond the turns that are compared`, () => {
    const [random, harness] = [new Random(1), new MatchHarness()];
    const messages: Message[] = [];
    const conversations = new Set<number>();
    for (let turn = 0; turn < MAX_TURNS; turn++) {
      messages.push(user(wordsOf(random, turn)));
      conversations.add(harness.send(messages, longReply(turn)).conversation);
      messages.push(assistant("Well..."));
    }
    assertEquals(conversations.size, 1);
  });
}
