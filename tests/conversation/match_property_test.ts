import { assert, assertEquals } from "@std/assert";
import { SKIPPED, UNMATCHED } from "../../lib/conversation/align.ts";
import { match, type MatchRequest } from "../../lib/conversation/match.ts";
import { isTurn, type Message } from "../../lib/conversation/message.ts";
import { Fingerprinter } from "../../lib/conversation/fingerprint.ts";
import { Random } from "../support/harness/random.ts";
import {
  CANCELLED,
  CRASHED,
  FINGERPRINTER,
  longReply,
  MatchHarness,
  RUNNING,
  type TurnEnd,
} from "../support/harness/fingerprint_fixture.ts";
import { assistant, image, named, system, tool, user } from "../support/harness/message_fixture.ts";

const SEEDS = 1_000;

/** What a skin may do with what was said. */
interface Habits {
  /** How many messages it sends, without its persona. */
  readonly window: number;
  readonly keepsCancelled: boolean;
  readonly persona: readonly Message[];
  /** Text for each turn, which it does not keep. */
  readonly says: boolean;
  readonly kept: (answer: string) => Message[];
}

const REWRITINGS: readonly Habits["kept"][] = [
  (answer) => [assistant(answer)],
  (answer) => [assistant(answer.replace(/\](?! )/g, "] "))],
  (answer) => [assistant(answer.replace(/\[.*?\]\s*/g, ""))],
  (answer) => [assistant(answer.slice(0, answer.length / 2))],
  () => [],
];

function anyHabits(random: Random): Habits {
  const persona = random.pick([[], [system("Mao")], [system("Mao"), system("Be kind.")]]);
  return {
    window: random.pick([4, 5, 6, 7, 10, 40, 1_000]),
    keepsCancelled: random.below(2) === 0,
    persona,
    // Without a persona, nobody knows what is none.
    says: persona.length > 0 && random.below(3) === 0,
    kept: random.pick(REWRITINGS),
  };
}

/**
 * A talk in a harness where others talk as well. Each request must go on with its own conversation and bring exactly the
 * new turn, wherever that can be told: the beginning is there, or two turns, or the last answer.
 */
function talkOn(
  random: Random,
  habits: Habits,
  words: (turn: number) => string,
  answer: (turn: number) => string,
) {
  const room = new MatchHarness();
  let said: Message[] = [];
  let others = 0;
  let of = -1;
  for (let turn = 0; turn < 12; turn++) {
    if (random.below(4) === 0) {
      room.send([...habits.persona, user(`something else ${others++}`)], longReply(`o${others}`));
    }
    const asked = user(words(turn));
    const kept = said.slice(Math.max(0, said.length - habits.window + 1));
    const late = habits.says ? [system(`It is ${turn} o'clock.`)] : [];
    const sent = [...habits.persona, ...kept, ...late, asked];
    const isCancelled = turn > 0 && random.below(4) === 0;
    const answered = answer(turn);
    const result = room.send(sent, isCancelled ? CANCELLED : answered);
    const isOwed = turn > 0 && (kept.length === said.length || kept.filter(isTurn).length >= 2) &&
      said.some(isTurn);
    if (isOwed) {
      assertEquals(
        [result.decision, result.conversation, result.sent],
        ["continue", of, [words(turn)]],
        `turn ${turn}`,
      );
    }
    of = result.conversation;
    if (!isCancelled) said = [...said, asked, ...habits.kept(answered)];
    else if (habits.keepsCancelled) said = [...said, asked];
  }
}

function everySeed(run: (random: Random) => void): void {
  for (let seed = 1; seed <= SEEDS; seed++) {
    try {
      run(new Random(seed));
    } catch (error) {
      throw new Error(`Seed ${seed}`, { cause: error });
    }
  }
}

Deno.test("match: a talk goes on with exactly the new turn, whatever its skin keeps of it", () => {
  everySeed((random) =>
    talkOn(
      random,
      anyHabits(random),
      (turn) => `turn ${turn}`,
      (turn) => random.pick([longReply(turn), "ok", `no ${turn}`]),
    )
  );
});

Deno.test("match: a talk of the same words goes on, as long as the whole of it is there", () => {
  everySeed((random) => {
    const habits = { ...anyHabits(random), window: 1_000, keepsCancelled: true };
    const words = Array.from({ length: 12 }, () => random.pick(["go on", "yes", "and?"]));
    talkOn(random, habits, (turn) => words[turn]!, () => "ok");
  });
});

/** Any messages at all, of few words, so that much is alike. */
function anyMessages(random: Random, most: number): Message[] {
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

const ENDINGS: readonly TurnEnd[] = [
  longReply(1),
  longReply(2),
  "ok",
  "[silent]",
  CANCELLED,
  CRASHED,
  RUNNING,
];

/** A harness where anything was said, by whom the seed says. */
function anyRoom(random: Random): MatchHarness {
  const room = new MatchHarness();
  for (let asked = 0; asked < 12; asked++) {
    const owner = random.pick(["a", "b"]);
    const agent = random.pick(["openab", "coder"]);
    const persona = [system(random.pick(["Mao", "Kai"]))];
    room.send([...persona, user("hi"), ...anyMessages(random, 6)], random.pick(ENDINGS), { owner, agent });
  }
  return room;
}

Deno.test("match: no other's conversation is ever joined, nor another agent's or persona's", () => {
  let joined = 0;
  everySeed((random) => {
    const room = new MatchHarness();
    const groups = new Map<number, string>();
    for (let asked = 0; asked < 20; asked++) {
      const [owner, agent, persona] = [
        random.pick(["a", "b"]),
        random.pick(["x", "y"]),
        random.pick(["Mao", "Kai"]),
      ];
      const [words, answer] = [random.pick(["hi", "yes"]), random.pick([longReply(1), "ok"])];
      const messages = [
        system(persona),
        user("hi"),
        assistant(answer),
        user(words),
        ...anyMessages(random, 3),
      ]
        .filter((message, index) => index === 0 || message.role !== "system");
      const { conversation: of, decision } = room.send(messages, random.pick(ENDINGS), { owner, agent });
      const group = [owner, agent, persona].join();
      assertEquals(groups.get(of) ?? group, group);
      groups.set(of, group);
      if (decision === "continue") joined++;
    }
  });
  assert(joined > SEEDS, `${joined} were joined`);
});

Deno.test("match: every turn is passed, or known, or new, in that order, and counted once", () => {
  everySeed((random) => {
    const room = anyRoom(random);
    for (let asked = 0; asked < 5; asked++) {
      const asking = { owner: "a", name: random.pick([undefined, "mao"]) };
      const messages = [system("Mao"), ...anyMessages(random, 8)];
      const { transcript, alignment: { positions, omitted = [] }, conversation } = room.resolve(
        messages,
        asking,
      )!;
      const kinds = positions.map((place) => place === SKIPPED ? "P" : place === UNMATCHED ? "N" : "K").join(
        "",
      );
      assert(kinds.length === transcript.turns.length && /^P*K*N*$/.test(kinds), kinds);
      const kept = positions.filter((place) => place >= 0);
      assertEquals(kept, [...new Set(kept)].sort((a, b) => a - b));
      assertEquals(omitted.filter((place) => kept.includes(place)), []);
      for (const [position, place] of positions.entries()) {
        if (place >= 0) assertEquals(transcript.turns[position]!.words, conversation!.turns[place]!.words);
      }
      const before = conversation?.turns.length ?? 0;
      const { sent: news } = room.send(messages, "ok", asking);
      assertEquals(news.length > 0, kinds.length > 0);
      if (conversation) assertEquals(conversation.turns.length - before, kinds.replace(/[^N]/g, "").length);
    }
  });
});

Deno.test("match: it is the same at every look, and throws at nothing", () => {
  everySeed((random) => {
    const room = anyRoom(random);
    const messages = [system("Mao"), ...anyMessages(random, 10)];
    const request: MatchRequest = {
      ...FINGERPRINTER.transcript(messages),
      owner: FINGERPRINTER.fingerprint("owner", "a"),
      agent: "openab",
    };
    const one = match(request, room.index.all);
    assertEquals(match(structuredClone(request), room.index.all), one);
    assertEquals(match(request, []).type, "new");
    match({ ...request, turns: [] }, room.index.all);
  });
});

Deno.test("match: what was printed with another key is nobody's", () => {
  const other = new Fingerprinter(new Uint8Array(32).fill(1));
  everySeed((random) => {
    const room = new MatchHarness();
    const messages = [user("hi"), assistant(longReply(1)), user("go on"), ...anyMessages(random, 4)];
    room.send(messages.slice(0, 3), longReply(2));
    const owner = FINGERPRINTER.fingerprint("owner", "");
    assertEquals(
      match({ ...other.transcript(messages), owner, agent: "openab" }, room.index.all).type,
      "new",
    );
  });
});

Deno.test("match: of several who say the same, each goes on with the one that answered them", () => {
  everySeed((random) => {
    const room = new MatchHarness();
    const talks = [0, 1, 2].map(() => ({
      said: [] as Message[],
      of: -1,
      keepsCancelled: random.below(2) === 0,
    }));
    for (let asked = 0; asked < 15; asked++) {
      const one = random.pick(talks);
      const words = user(random.pick(["hi", "go on", "tell me"]));
      const isCancelled = one.said.length > 0 && random.below(4) === 0;
      const answer = longReply(asked);
      const { decision, conversation: of } = room.send(
        [...one.said, words],
        isCancelled ? random.pick([CANCELLED, RUNNING]) : answer,
      );
      if (one.said.length === 0) one.of = of;
      assertEquals([decision, of], [one.said.length === 0 ? "new" : "continue", one.of]);
      if (!isCancelled) one.said.push(words, assistant(answer));
      else if (one.keepsCancelled) one.said.push(words);
    }
  });
});
