/**
 * What it costs to find the conversation of a request by what it says, and to remember it: turns in this process, with
 * an agent that does nothing, beside those of the same registry without memory.
 *
 * @module
 */

import { ConversationIndex, MAX_CONVERSATIONS } from "../../lib/conversation/conversation.ts";
import { match } from "../../lib/conversation/match.ts";
import type { ConversationRecord } from "../../lib/conversation/record.ts";
import type { Message, Role } from "../../lib/conversation/message.ts";
import { Fingerprinter } from "../../lib/conversation/fingerprint.ts";
import { ConversationRegistry } from "../../lib/conversation/registry.ts";
import { openStore } from "../../lib/conversation/store.ts";
import { NO_LOG } from "../../lib/core/log.ts";
import { ModelRouter } from "../../lib/turn/model_router.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { TurnLimiter } from "../../lib/turn/turn_limiter.ts";
import { MemoryAgent, saying } from "../support/agents/memory_agent.ts";
import { milliseconds } from "./runs.ts";
import { atMost, type Row } from "./table.ts";

/** Messages that a client sends beside its persona, the newest. */
const WINDOW = 40;
/** Turns that were said before in each conversation: the first question is not in the window any more. */
const TURNS_BEFORE = WINDOW / 2;
/** Turns before those that are measured. */
const WARM_TURNS = 100;
/** Matches where all questions are alike. */
const ALIKE_MATCHES = 30;
/** What remembering may add to a turn. */
const ADDED_MS = 5;
const OWNER = "bench";
const PERSONA = "You are Ani, a cheerful companion. Begin each sentence with a tag like [happy].";

/** What is asked in a conversation at its turn. */
type Ask = (conversation: number, turn: number) => string;

/** What one turn took, in microseconds. */
interface Cost {
  readonly lasting: number;
  readonly stateless: number;
  readonly prints: number;
  readonly match: number;
  readonly store: number;
}

/** Measures so many turns, each of another conversation than the one before. */
export async function matching(turns: number): Promise<Row[]> {
  const folder = await Deno.makeTempDir({ prefix: "oab-vtuber-bench-" });
  try {
    const costs = (await measure(folder, WARM_TURNS + turns)).slice(WARM_TURNS);
    const row = (figure: string, cost: (cost: Cost) => number, part: number, limit?: number): Row => ({
      figure: `${figure}, p${part * 100}, ms`,
      server: milliseconds(costs.map(cost), part),
      digits: 2,
      ...limit === undefined ? {} : { target: atMost(limit, "ms") },
    });
    const added = `${WINDOW} messages, ${MAX_CONVERSATIONS.toLocaleString("en")} conversations: memory adds`;
    return [
      row(added, ({ lasting, stateless }) => lasting - stateless, 0.5, ADDED_MS),
      row(added, ({ lasting, stateless }) => lasting - stateless, 0.99),
      ...[0.5, 0.99].flatMap((part) => [
        row("- prints of the transcript", ({ prints }) => prints, part),
        row("- matching", ({ match }) => match, part),
        row("- one write of two", ({ store }) => store, part),
      ]),
      {
        figure: "- matching where all questions are alike, p50, ms",
        server: milliseconds(matchAlike(), 0.5),
        digits: 2,
      },
    ];
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

async function measure(folder: string, turns: number): Promise<Cost[]> {
  using store = await openStore(folder, NO_LOG);
  const printer = new Fingerprinter(store.key);
  const agent = new MemoryAgent();
  agent.resumes = true;
  agent.script = saying("[happy] That is a long story.");
  for (let i = 0; i < MAX_CONVERSATIONS; i++) store.save(knownOf(i, printer, agent));
  const memory = new ConversationIndex(store);
  const registry = (mode: "auto" | "stateless") =>
    new ConversationRegistry({
      agents: new ModelRouter([agent]),
      index: memory,
      fingerprinter: printer,
      mode,
      onBusy: "supersede",
      turnLimiter: new TurnLimiter(1),
      limits: { replyTimeoutMs: 0, turnTimeoutMs: 0 },
      log: NO_LOG,
      maxSessions: 10,
      idleMs: 60_000,
    });
  const lasting = registry("auto");
  const stateless = registry("stateless");
  const owner = printer.fingerprint("owner", OWNER);
  const costs: Cost[] = [];
  for (let i = 0; i < turns; i++) {
    const messages = asked(i);
    const { value: transcript, micros: prints } = timed(() => printer.transcript(messages));
    const request = { ...transcript, owner, agent: agent.name };
    const { value: found, micros: matched } = timed(() => match(request, memory.all));
    if (found.type !== "continue") throw new Error(`a conversation was not known again: ${found.reason}`);
    costs.push({
      stateless: await turn(stateless, messages),
      lasting: await turn(lasting, messages),
      prints,
      match: matched,
      store: timed(() => store.save(found.conversation)).micros,
    });
    agent.prompts.length = agent.sessions.length = 0;
  }
  lasting.close();
  return costs;
}

/** Matching where everybody asks the same over and over: there is nothing that tells conversations apart. */
function matchAlike(): number[] {
  const printer = new Fingerprinter(new Uint8Array(32));
  const agent = new MemoryAgent();
  const alike = () => "What do you see now?";
  const known = Array.from({ length: MAX_CONVERSATIONS }, (_, i) => knownOf(i, printer, agent, alike));
  const owner = printer.fingerprint("owner", OWNER);
  const request = { ...printer.transcript(asked(0, alike)), owner, agent: agent.name };
  return Array.from({ length: ALIKE_MATCHES }, () => timed(() => match(request, known)).micros);
}

/** A whole turn: how many microseconds it took. */
async function turn(conversations: ConversationRegistry, messages: readonly Message[]): Promise<number> {
  const startedAt = performance.now();
  const turn = await conversations.startTurn({ conversation: { owner: OWNER }, messages, record: false });
  await turn.ended;
  return (performance.now() - startedAt) * 1000;
}

function timed<T>(work: () => T): { value: T; micros: number } {
  const startedAt = performance.now();
  const value = work();
  return { value, micros: (performance.now() - startedAt) * 1000 };
}

/** A conversation as it is remembered before its next turn. */
function knownOf(
  conversation: number,
  printer: Fingerprinter,
  { name, program }: MemoryAgent,
  ask: Ask = question,
): ConversationRecord {
  const { persona, turns } = printer.transcript(said(conversation, ask));
  return {
    id: `conv_${conversation}`,
    owner: printer.fingerprint("owner", OWNER),
    agent: name,
    program: printer.fingerprint("program", program),
    isNamed: false,
    persona,
    isPersonaOpen: false,
    turns: turns.map(({ words, media }) => ({ words, media, state: "answered" })),
    turnsBefore: 0,
    reply: printer.reply(answer(conversation, TURNS_BEFORE - 1)),
    sessionId: `session-${conversation}` as SessionId,
    createdAt: conversation,
    usedAt: conversation,
  };
}

/** What a client sends: its persona, and of what was said what fits into its window, with a new question. */
function asked(conversation: number, ask: Ask = question): Message[] {
  const all = [...said(conversation, ask), message("user", ask(conversation, TURNS_BEFORE))];
  return [all[0]!, ...all.slice(-WINDOW)];
}

function said(conversation: number, ask: Ask): Message[] {
  return [
    message("system", PERSONA),
    ...Array.from({ length: TURNS_BEFORE }, (_, turn) => [
      message("user", ask(conversation, turn)),
      message("assistant", answer(conversation, turn)),
    ]).flat(),
  ];
}

/** All conversations begin alike, as those do that a client opens with a greeting of its own. */
function question(conversation: number, turn: number): string {
  return turn < 2
    ? `Hello there, this is greeting ${turn}`
    : `Tell me fact ${turn} of subject ${conversation}`;
}

function answer(conversation: number, turn: number): string {
  return `[happy] What I know of it is fact ${turn} of subject ${conversation}, in a sentence or two.`;
}

function message(role: Role, text: string): Message {
  return { role, parts: [{ type: "text", text }] };
}
