/** Lays the turns of a transcript beside those of a conversation: pure. @module */

import type { ConversationRecord, TurnRecord } from "./record.ts";
import { isSameReply, type TranscriptFingerprint, type TurnFingerprint } from "./fingerprint.ts";

/** The place of a turn that the conversation does not have yet. */
export const UNMATCHED = -1;
/** The place of a turn that lies behind what is compared. */
export const SKIPPED = -2;

/** Places where a transcript is tried to begin in a conversation: the same words may come again and again. */
const MAX_STARTS = 16;

/** How a transcript goes on from a conversation. */
export interface Continuation {
  /** For each turn of the transcript which of the conversation's turns it is, or {@linkcode UNMATCHED}, or {@linkcode SKIPPED}. */
  readonly positions: readonly number[];
  /** The last turn was put before and is to be put once more. */
  readonly isRetry: boolean;
  /** The conversation's turns that the caller has left out of its transcript, though they were answered. */
  readonly omitted?: readonly number[];
}

/** A transcript beside a conversation. */
export interface Alignment extends Continuation {
  readonly matched: number;
  /** The transcript begins where the conversation does. */
  readonly isWhole: boolean;
  /** Every turn of the conversation is there, but for those that may be missing. */
  readonly coversAnsweredTurns: boolean;
  /** It asks for another answer to a turn that has one. */
  readonly isRegenerated: boolean;
  /** Something that they share was answered. */
  readonly hasAnsweredTurn: boolean;
  /** Turns of the conversation that are passed over, from where the transcript begins in it. */
  readonly missing: number;
}

/** What is compared of a conversation. */
export type Turns = Pick<ConversationRecord, "turns" | "turnsBefore" | "reply">;

/**
 * The best way to lay a transcript beside a conversation, if any of its turns fits.
 *
 * @param isNamed It is known to be this conversation: else two who only begin alike are not taken for one.
 */
export function align(
  transcript: TranscriptFingerprint,
  conversation: Turns,
  isNamed = false,
): Alignment | undefined {
  const { turns, reply } = transcript;
  const { turns: known } = conversation;
  const [first] = turns;
  // Then the caller has the last answer, and asks for no other, where the same words come again and again.
  const hasReply = isSameReply(reply?.fingerprint, conversation.reply);
  const worth = ({ coversAnsweredTurns, isRegenerated, matched, missing }: Alignment) => [
    Number(coversAnsweredTurns),
    Number(!hasReply || !isRegenerated),
    matched,
    -missing,
  ];
  let best: Alignment | undefined;
  let isStart = bothFromStart(transcript, conversation);
  let starts = 0;
  let ahead = known.filter(({ state }) => state === "answered").length;
  for (const [start, turn] of known.entries()) {
    // From farther back the end cannot be reached; only where both begin together that is of interest.
    const isNear = isStart || ahead <= turns.length;
    if (first && isNear && isSameTurn(first, turn)) {
      if (++starts > MAX_STARTS) break;
      const found = alignFrom(turns, known, start, { isWhole: isStart, isNamed });
      if (best === undefined || compare(worth(found), worth(best)) > 0) best = found;
      // Those that begin later have less in common.
      if (found.coversAnsweredTurns && found.missing === 0 && !(hasReply && found.isRegenerated)) break;
    }
    if (turn.state !== "answered") continue;
    isStart = false;
    ahead--;
  }
  return best;
}

/** How many turns from its beginning on a conversation shares with a transcript, if any of them was answered. */
export function commonPrefixLength(transcript: TranscriptFingerprint, conversation: Turns): number {
  const { turns } = transcript;
  const { turns: known } = conversation;
  const [first] = turns;
  if (first === undefined || !bothFromStart(transcript, conversation)) return 0;
  // What was never answered may be missing there.
  const end = known.findIndex(({ state }) => state === "answered") + 1;
  const starts = known.slice(0, end).flatMap((turn, start) => isSameTurn(first, turn) ? [start] : []);
  const found = starts.map((start) => alignFrom(turns, known, start, { isWhole: true, isNamed: false }));
  return Math.max(0, ...found.map(({ hasAnsweredTurn, matched }) => hasAnsweredTurn ? matched : 0));
}

/** Whether the beginnings of both are there. */
function bothFromStart(transcript: TranscriptFingerprint, conversation: Turns): boolean {
  return transcript.turnsBefore === 0 && conversation.turnsBefore === 0;
}

/** Goes along both at once. A turn that was never answered may be missing: some skins keep it, others do not. */
function alignFrom(
  turns: readonly TurnFingerprint[],
  known: readonly TurnRecord[],
  start: number,
  { isWhole, isNamed }: { isWhole: boolean; isNamed: boolean },
): Alignment {
  const places: number[] = [];
  let at = start;
  for (; at < known.length && places.length < turns.length; at++) {
    const turn = known[at]!;
    if (isSameTurn(turns[places.length]!, turn)) places.push(at);
    else if (turn.state === "answered") break;
  }
  const matched = places.length;
  const isAnswered = places.some((place) => known[place]!.state === "answered");
  const missing = at - start - matched;
  const isMissing = missing > 0 || at < known.length;
  const isReached = known.slice(at).every(({ state }) => state !== "answered") &&
    (isNamed || isAnswered || !isMissing);
  const isRepeated = isReached && matched === turns.length;
  const last = known[places.at(-1)!]!;
  const isOpen = last.state !== "answered" || turns.at(-1)!.media !== "" && last.media === "";
  while (places.length < turns.length) places.push(UNMATCHED);
  return {
    positions: places,
    matched,
    isWhole,
    coversAnsweredTurns: isReached,
    hasAnsweredTurn: isAnswered,
    missing,
    isRetry: isRepeated && isOpen,
    isRegenerated: isRepeated && !isOpen,
  };
}

/**
 * How a transcript goes on whose last answer is the conversation's last, whatever turns the caller has left out: those
 * beyond its window, or prompts that it made itself. There must be an answer for each of those that it left out.
 */
export function alignByLastReply(
  { turns, reply }: TranscriptFingerprint,
  conversation: Turns,
): Continuation | undefined {
  const { turns: known, turnsBefore } = conversation;
  if (!reply?.isDistinctive || !isSameReply(reply.fingerprint, conversation.reply)) return undefined;
  const heard = turns.filter(({ index }) => index < reply.index);
  const end = known.findLastIndex(({ state }) => state === "answered") + 1;
  // Then it may be a greeting, which a skin gives everybody: no agent answered anything.
  if (heard.length === 0 && end === 0) return undefined;
  const places = alignFromEnd(heard, known.slice(0, end));
  if (places.includes(SKIPPED) && turnsBefore === 0) return undefined;
  const last = places.at(-1) ?? SKIPPED;
  const answers = known.filter(({ state }, place) => state === "answered" && place >= last).length;
  if (heard.length > 0 && reply.run < answers) return undefined;
  // What lies before a window is not left out, but for an opening that is all there is.
  const from = places[0] ?? (turnsBefore + known.length === 1 ? 0 : known.length);
  const left = known.flatMap(({ state }, place) =>
    state === "answered" && place >= from && !places.includes(place) ? [place] : []
  );
  // What was asked since has no answer.
  let at = end;
  const since = turns.slice(heard.length).map((turn) => {
    const place = known.findIndex((known, place) => place >= at && isSameTurn(turn, known));
    at = place < 0 ? known.length : place + 1;
    return place < 0 ? UNMATCHED : place;
  });
  return { positions: [...places, ...since], isRetry: since.at(-1) !== UNMATCHED, omitted: left };
}

/** The places of the turns, looked for from the end, best where they have an answer too; the rest is passed. */
export function alignFromEnd(turns: readonly TurnFingerprint[], known: readonly TurnRecord[]): number[] {
  let at = known.length;
  const lastOf = (turn: TurnFingerprint, isAnswered: boolean) => {
    for (let place = at - 1; place >= 0; place--) {
      const same = known[place]!;
      if (isSameTurn(turn, same) && (!isAnswered || same.state === "answered")) return place;
    }
    return SKIPPED;
  };
  return turns.toReversed().map((turn) => {
    const answered = turn.isAnswered ? lastOf(turn, true) : SKIPPED;
    at = answered === SKIPPED ? lastOf(turn, false) : answered;
    return at;
  }).reverse();
}

/** The same words, and no other pictures: skins leave those out of what they keep. */
export function isSameTurn(turn: TurnFingerprint, known: TurnRecord): boolean {
  return turn.words === known.words &&
    (turn.media === "" || known.media === "" || turn.media === known.media);
}

/** Compares lists of the same length, the first that differs deciding. */
export function compare(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    if (value !== b[index]) return value - b[index]!;
  }
  return 0;
}
