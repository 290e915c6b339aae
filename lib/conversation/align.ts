/** Aligns the turns of a transcript with those of a conversation: pure. @module */

import { isSameReply, type TranscriptFingerprint, type TurnFingerprint } from "./fingerprint.ts";
import type { ConversationRecord, TurnRecord } from "./record.ts";

/** The position of a turn that the conversation does not have. */
export const UNMATCHED = -1;
/** The position of a turn from before the part that is compared. */
export const SKIPPED = -2;

/** Starting points of a transcript in a conversation that are tried. Repeated words have many. */
const MAX_STARTS = 16;

/** How a transcript continues a conversation. */
export interface Continuation {
  /** For each turn of the transcript its index in the conversation, {@linkcode UNMATCHED} or {@linkcode SKIPPED}. */
  readonly positions: readonly number[];
  /** The last turn was sent before and is to be sent again. */
  readonly isRetry: boolean;
  /** Answered turns of the conversation that the transcript leaves out. */
  readonly omitted?: readonly number[];
}

/** A transcript beside a conversation. */
export interface Alignment extends Continuation {
  /** Number of matched turns. */
  readonly matched: number;
  /** The transcript begins where the conversation does. */
  readonly isWhole: boolean;
  /** The transcript has every turn of the conversation, but for unanswered ones. */
  readonly coversAnsweredTurns: boolean;
  /** The transcript ends with an answered turn: it asks for another reply. */
  readonly isRegenerated: boolean;
  /** At least one matched turn is answered. */
  readonly hasAnsweredTurn: boolean;
  /** Unanswered turns of the conversation between the matched ones. */
  readonly missing: number;
}

/** The part of a conversation that is compared. */
type Recorded = Pick<ConversationRecord, "turns" | "turnsBefore" | "reply">;

/**
 * Finds the best alignment of a transcript with a conversation; undefined if the first turn of the transcript occurs
 * nowhere in it.
 *
 * @param isNamed The client named the conversation. Otherwise two that merely begin alike are not taken for one.
 */
export function align(
  transcript: TranscriptFingerprint,
  conversation: Recorded,
  isNamed = false,
): Alignment | undefined {
  const { turns, reply } = transcript;
  const { turns: recorded } = conversation;
  const [first] = turns;
  if (first === undefined) return undefined;
  // A client that has the last reply asks for no other one, even if the same words come again and again.
  const hasReply = isSameReply(reply?.fingerprint, conversation.reply);
  const weigh = ({ coversAnsweredTurns, isRegenerated, matched, missing }: Alignment) => [
    Number(coversAnsweredTurns),
    Number(!hasReply || !isRegenerated),
    matched,
    -missing,
  ];
  let best: Alignment | undefined;
  let isWhole = bothFromStart(transcript, conversation);
  let starts = 0;
  let answeredAhead = recorded.filter(isAnswered).length;
  for (const [start, turn] of recorded.entries()) {
    // A start with more answered turns ahead than the transcript has cannot cover them.
    const isPromising = isWhole || answeredAhead <= turns.length;
    if (isPromising && isSameTurn(first, turn)) {
      if (++starts > MAX_STARTS) break;
      const found = alignFrom(turns, recorded, start, { isWhole, isNamed });
      if (best === undefined || compare(weigh(found), weigh(best)) > 0) best = found;
      // Later starts match fewer turns.
      if (found.coversAnsweredTurns && found.missing === 0 && !(hasReply && found.isRegenerated)) break;
    }
    if (!isAnswered(turn)) continue;
    isWhole = false;
    answeredAhead--;
  }
  return best;
}

/** Counts the turns that both have in common from the start on; 0 if none of these is answered. */
export function commonPrefixLength(
  { turns, turnsBefore }: TranscriptFingerprint,
  conversation: Recorded,
): number {
  const { turns: recorded } = conversation;
  const [first] = turns;
  if (first === undefined || !bothFromStart({ turnsBefore }, conversation)) return 0;
  // The transcript may lack the unanswered turns before the first answered one.
  const end = recorded.findIndex(isAnswered) + 1;
  const lengths = recorded.slice(0, end).map((turn, start) => {
    if (!isSameTurn(first, turn)) return 0;
    const { hasAnsweredTurn, matched } = alignFrom(turns, recorded, start, { isWhole: true, isNamed: false });
    return hasAnsweredTurn ? matched : 0;
  });
  return Math.max(0, ...lengths);
}

/**
 * Aligns a transcript whose last reply is the conversation's last reply, whatever turns the client left out: turns
 * before its window, or prompts of its own. The transcript must have a reply for each of those.
 */
export function alignByLastReply(
  { turns, reply }: TranscriptFingerprint,
  { turns: recorded, turnsBefore, reply: lastReply }: Recorded,
): Continuation | undefined {
  if (!reply?.isDistinctive || !isSameReply(reply.fingerprint, lastReply)) return undefined;
  const earlier = turns.filter(({ index }) => index < reply.index);
  const end = recorded.findLastIndex(isAnswered) + 1;
  // Without any turn the reply may be a greeting that a skin shows to everyone.
  if (earlier.length === 0 && end === 0) return undefined;
  const positions = alignFromEnd(earlier, recorded.slice(0, end));
  if (positions.includes(SKIPPED) && turnsBefore === 0) return undefined;
  const last = positions.at(-1) ?? SKIPPED;
  const repliesNeeded = recorded.filter((turn, index) => isAnswered(turn) && index >= last).length;
  if (earlier.length > 0 && reply.run < repliesNeeded) return undefined;
  // Turns before the window are not left out; a hidden opening that is the only turn is.
  const start = positions[0] ?? (turnsBefore + recorded.length === 1 ? 0 : recorded.length);
  const omitted = recorded.flatMap((turn, index) =>
    isAnswered(turn) && index >= start && !positions.includes(index) ? [index] : []
  );
  let from = end;
  const later = turns.slice(earlier.length).map((turn) => {
    const index = recorded.findIndex((other, index) => index >= from && isSameTurn(turn, other));
    from = index < 0 ? recorded.length : index + 1;
    return index < 0 ? UNMATCHED : index;
  });
  return { positions: [...positions, ...later], isRetry: later.at(-1) !== UNMATCHED, omitted };
}

/** Finds the positions of turns from the last one backwards, preferably with the same state; the rest is skipped. */
export function alignFromEnd(turns: readonly TurnFingerprint[], recorded: readonly TurnRecord[]): number[] {
  let end = recorded.length;
  const lastBefore = (turn: TurnFingerprint, needsAnswer: boolean) => {
    for (let index = end - 1; index >= 0; index--) {
      const other = recorded[index]!;
      if (isSameTurn(turn, other) && (!needsAnswer || isAnswered(other))) return index;
    }
    return SKIPPED;
  };
  return turns.toReversed().map((turn) => {
    const answered = turn.isAnswered ? lastBefore(turn, true) : SKIPPED;
    end = answered === SKIPPED ? lastBefore(turn, false) : answered;
    return end;
  }).reverse();
}

/** Aligns both from a starting point on. The transcript may lack unanswered turns, which only some skins keep. */
function alignFrom(
  turns: readonly TurnFingerprint[],
  recorded: readonly TurnRecord[],
  start: number,
  { isWhole, isNamed }: { isWhole: boolean; isNamed: boolean },
): Alignment {
  const positions: number[] = [];
  let index = start;
  for (; index < recorded.length && positions.length < turns.length; index++) {
    const turn = recorded[index]!;
    if (isSameTurn(turns[positions.length]!, turn)) positions.push(index);
    else if (isAnswered(turn)) break;
  }
  const matched = positions.length;
  const missing = index - start - matched;
  const hasAnsweredTurn = positions.some((position) => isAnswered(recorded[position]!));
  const isComplete = missing === 0 && index === recorded.length;
  const coversAnsweredTurns = !recorded.slice(index).some(isAnswered) &&
    (isNamed || hasAnsweredTurn || isComplete);
  const isRepeated = coversAnsweredTurns && matched === turns.length;
  const last = recorded[positions.at(-1)!]!;
  const isOpen = !isAnswered(last) || turns.at(-1)!.media !== "" && last.media === "";
  while (positions.length < turns.length) positions.push(UNMATCHED);
  return {
    positions,
    matched,
    isWhole,
    coversAnsweredTurns,
    hasAnsweredTurn,
    missing,
    isRetry: isRepeated && isOpen,
    isRegenerated: isRepeated && !isOpen,
  };
}

function bothFromStart(
  one: { readonly turnsBefore: number },
  other: { readonly turnsBefore: number },
): boolean {
  return one.turnsBefore === 0 && other.turnsBefore === 0;
}

function isAnswered({ state }: TurnRecord): boolean {
  return state === "answered";
}

/** Whether both have the same words, and no different images: skins drop these from their history. */
export function isSameTurn(turn: TurnFingerprint, recorded: TurnRecord): boolean {
  return turn.words === recorded.words &&
    (turn.media === "" || recorded.media === "" || turn.media === recorded.media);
}

/** Compares two lists of the same length by their first different items. */
export function compare(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    if (value !== b[index]) return value - b[index]!;
  }
  return 0;
}
