import { assert, assertEquals } from "@std/assert";
import { isTurn, type Message, textOf } from "../../lib/conversation/message.ts";
import { Random } from "../support/harness/random.ts";
import {
  CANCELLED,
  CRASHED,
  longReply,
  MatchHarness,
  RUNNING,
  type TurnEnd,
} from "../support/harness/fingerprint_fixture.ts";
import { assistant, image, named, system, tool, user } from "../support/harness/message_fixture.ts";

const SEEDS = 1_000;

/** How a skin keeps and sends its history. */
interface Habits {
  /** Number of messages that it sends, without its persona. */
  readonly window: number;
  readonly keepsCancelled: boolean;
  readonly persona: readonly Message[];
  /** Adds a system message to each turn, which it does not keep. */
  readonly says: boolean;
  readonly kept: (reply: string) => Message[];
}

const REWRITES: readonly Habits["kept"][] = [
  (reply) => [assistant(reply)],
  (reply) => [assistant(reply.replace(/\](?! )/g, "] "))],
  (reply) => [assistant(reply.replace(/\[.*?\]\s*/g, ""))],
  (reply) => [assistant(reply.slice(0, reply.length / 2))],
  () => [],
];

function randomHabits(random: Random): Habits {
  const persona = random.pick([[], [system("Mao")], [system("Mao"), system("Be kind.")]]);
  return {
    window: random.pick([4, 5, 6, 7, 10, 40, 1_000]),
    keepsCancelled: random.below(2) === 0,
    persona,
    // Without a persona such a system message would look like one.
    says: persona.length > 0 && random.below(3) === 0,
    kept: random.pick(REWRITES),
  };
}

/**
 * Runs a conversation beside others. Each request must continue it with exactly the new turn, wherever that can be
 * known: the request has the start, or two turns, or the last reply.
 */
function converse(
  random: Random,
  habits: Habits,
  words: (turn: number) => string,
  reply: (turn: number) => string,
) {
  const harness = new MatchHarness();
  let history: Message[] = [];
  let others = 0;
  let of = -1;
  for (let turn = 0; turn < 12; turn++) {
    if (random.below(4) === 0) {
      harness.send([...habits.persona, user(`something else ${others++}`)], longReply(`o${others}`));
    }
    const request = user(words(turn));
    const kept = history.slice(Math.max(0, history.length - habits.window + 1));
    const late = habits.says ? [system(`It is ${turn} o'clock.`)] : [];
    const sent = [...habits.persona, ...kept, ...late, request];
    const isCancelled = turn > 0 && random.below(4) === 0;
    const text = reply(turn);
    const result = harness.send(sent, isCancelled ? CANCELLED : text);
    const mustContinue = turn > 0 && (kept.length === history.length || kept.filter(isTurn).length >= 2) &&
      history.some(isTurn);
    if (mustContinue) {
      assertEquals(
        [result.decision, result.conversation, result.sent],
        ["continue", of, [words(turn)]],
        `turn ${turn}`,
      );
    }
    of = result.conversation;
    if (!isCancelled) history = [...history, request, ...habits.kept(text)];
    else if (habits.keepsCancelled) history = [...history, request];
  }
}

function everySeed(run: (random: Random) => void, seeds = SEEDS): void {
  for (let seed = 1; seed <= seeds; seed++) {
    try {
      run(new Random(seed));
    } catch (error) {
      throw new Error(`Seed ${seed}`, { cause: error });
    }
  }
}

Deno.test("match: a conversation continues with exactly the new turn, whatever its skin keeps", () => {
  everySeed((random) =>
    converse(
      random,
      randomHabits(random),
      (turn) => `turn ${turn}`,
      (turn) => random.pick([longReply(turn), "ok", `no ${turn}`]),
    )
  );
});

/** Makes random messages of few words, so that many are equal. */
function randomMessages(random: Random, most: number): Message[] {
  return Array.from({ length: random.below(most + 1) }, () => {
    const text = random.pick(["hi", "go on", "yes", "", longReply(1), longReply(2)]);
    return random.pick([
      user(text),
      user(text),
      user(text, image(random.pick(["YQ==", "Yg=="]))),
      named("Ann", text),
      assistant(text),
      assistant(text),
      tool("clock", text),
      system(text),
    ]);
  });
}

const TURN_ENDS: readonly TurnEnd[] = [
  longReply(1),
  longReply(2),
  "ok",
  "[silent]",
  CANCELLED,
  CRASHED,
  RUNNING,
];

Deno.test("match: conversations of other keys, agents and personas never match", () => {
  let joined = 0;
  everySeed((random) => {
    const harness = new MatchHarness();
    const groups = new Map<number, string>();
    for (let request = 0; request < 20; request++) {
      const [owner, agent, persona] = [
        random.pick(["a", "b"]),
        random.pick(["x", "y"]),
        random.pick(["Mao", "Kai"]),
      ];
      const [words, reply] = [random.pick(["hi", "yes"]), random.pick([longReply(1), "ok"])];
      const messages = [
        system(persona),
        user("hi"),
        assistant(reply),
        user(words),
        ...randomMessages(random, 3),
      ]
        .filter((message, index) => index === 0 || message.role !== "system");
      const { conversation: of, decision } = harness.send(messages, random.pick(TURN_ENDS), { owner, agent });
      const group = [owner, agent, persona].join();
      assertEquals(groups.get(of) ?? group, group);
      groups.set(of, group);
      if (decision === "continue") joined++;
    }
  });
  assert(joined > SEEDS, `${joined} were joined`);
});

Deno.test("match: of several clients with the same words, each continues its own conversation", () => {
  everySeed((random) => {
    const harness = new MatchHarness();
    const clients = [0, 1, 2].map(() => ({
      history: [] as Message[],
      of: -1,
      keepsCancelled: random.below(2) === 0,
    }));
    for (let request = 0; request < 15; request++) {
      const one = random.pick(clients);
      const words = user(random.pick(["hi", "go on", "tell me"]));
      const isCancelled = one.history.length > 0 && random.below(4) === 0;
      const reply = longReply(request);
      const { decision, conversation: of } = harness.send(
        [...one.history, words],
        isCancelled ? random.pick([CANCELLED, RUNNING]) : reply,
      );
      if (one.history.length === 0) one.of = of;
      assertEquals([decision, of], [one.history.length === 0 ? "new" : "continue", one.of]);
      if (!isCancelled) one.history.push(words, assistant(reply));
      else if (one.keepsCancelled) one.history.push(words);
    }
  });
});

Deno.test("match: a client that continues, begins and cuts replies stays in its conversation, whatever its lorebook says", () => {
  everySeed((random) => {
    const harness = new MatchHarness();
    const history: Message[] = [];
    const [hasLore, cancels] = [random.below(2) === 0, random.below(2) === 0];
    for (let request = 0; request < 12; request++) {
      const lore = hasLore && !cancels ? [system(random.pick(["Forest.", "Night.", "Spring."]))] : [];
      const last = history.at(-1);
      const action = last?.role === "assistant" ? random.pick(["ask", "begin", "continue", "nudge"]) : "ask";
      const words = action === "ask" || action === "begin" ? [`turn ${request}`] : [];
      history.push(...words.map((each) => user(each)));
      if (action === "begin") history.push(assistant("Once upon a time"));
      const nudge = action === "nudge" ? [system("Go on.")] : [];
      const isCancelled = cancels && action === "ask" && request > 0 && random.below(3) === 0;
      const reply = random.pick([longReply(request), "ok", `no ${request}`]);
      const result = harness.send(
        [system("Mao"), ...lore, ...history, ...nudge],
        isCancelled ? CANCELLED : reply,
      );
      const decision = request === 0 ? "new" : "continue";
      assertEquals([result.decision, result.conversation, result.sent], [decision, 0, words], `${request}`);
      assert(harness.sent.length > 0);
      if (isCancelled) continue;
      const continued = action === "ask" ? undefined : history.pop();
      history.push(assistant(continued ? `${textOf(continued)} ${reply}` : reply));
    }
  }, SEEDS / 4);
});
