/** Decides which conversation a request continues, by the user's turns: skins rewrite the replies. Pure. @module */

import {
  findReply,
  isSameReply,
  type ReplyFingerprint,
  replyPrefixDiffers,
  type TranscriptFingerprint,
  type TurnFingerprint,
} from "./fingerprint.ts";
import type { ConversationRecord, Fingerprint, TurnRecord } from "./record.ts";

/** The position of a turn that the conversation does not have. */
export const UNMATCHED = -1;
/** The position of a turn that lies before the part that is compared. */
export const SKIPPED = -2;

/** Starting points of a transcript in a conversation that are tried. Repeated words have many. */
const MAX_STARTS = 16;
/** Turns that have to match in a window without the conversation's start and last reply. */
const MIN_OVERLAP = 2;
/** Milliseconds within which two equal candidates count as used by different people. */
const TIE_WINDOW_MS = 30 * 60_000;

/** The fingerprints of a request. */
export interface MatchRequest extends TranscriptFingerprint {
  readonly owner: Fingerprint;
  readonly agent: string;
}

/** How a transcript continues a conversation. */
export interface Continuation {
  /** For each turn of the transcript its index in the conversation, {@linkcode UNMATCHED} or {@linkcode SKIPPED}. */
  readonly positions: readonly number[];
  /** The last turn was sent before and is to be sent again. */
  readonly isRetry: boolean;
  /** Answered turns of the conversation that the transcript leaves out. */
  readonly omitted?: readonly number[];
}

/** The decision about a request; the reason is for the log. */
export type Match =
  | { type: "continue"; conversation: ConversationRecord; alignment: Continuation; reason: string }
  | { type: "fork" | "new"; reason: string };

/** A transcript beside a conversation, turn by turn. */
interface Alignment extends Continuation {
  /** Number of matched turns. */
  readonly matched: number;
  /** The transcript begins where the conversation does. */
  readonly isWhole: boolean;
  /** The transcript has every turn of the conversation, but for unanswered ones. */
  readonly coversAnsweredTurns: boolean;
  /** The transcript ends with an answered turn: it asks for another reply. */
  readonly isRegenerated: boolean;
}

/** A conversation that a request may continue, and the evidence for that. */
interface Candidate {
  readonly conversation: ConversationRecord;
  readonly alignment: Continuation;
  readonly isWhole: boolean;
  readonly hasSameReply: boolean;
  /** Number of turns that match. */
  readonly matched: number;
  /** The evidence, from the strongest to the weakest. */
  readonly weights: readonly number[];
}

/**
 * Finds the conversation that a request continues, among the unnamed ones of the same key, agent and persona. A request
 * with a single turn and no distinctive reply continues none.
 */
export function match(request: MatchRequest, conversations: Iterable<ConversationRecord>): Match {
  const { turns, replies, endsWithReply } = request;
  if (turns.length < 2 && !endsWithReply && !replies.some(({ isDistinctive }) => isDistinctive)) {
    return { type: "new", reason: "the request has only its first turn" };
  }
  const candidates: Candidate[] = [];
  let fork: { readonly shared: number; readonly reason: string } | undefined;
  for (const conversation of conversations) {
    if (conversation.isNamed || conversation.owner !== request.owner) continue;
    if (conversation.agent !== request.agent || request.persona[0] !== conversation.persona[0]) continue;
    const alignment = align(request, conversation);
    const candidate = candidateOf(request, conversation, alignment);
    // A lorebook changes the later messages of the persona with every request. Then all turns and the reply have to
    // match.
    if (!isSamePersona(request, conversation)) {
      const hasReply = findReply(request, conversation.reply) !== undefined;
      if (alignment?.coversAnsweredTurns && candidate && hasReply) candidates.push(candidate);
    } else if (candidate) {
      candidates.push(candidate);
    } else if (alignment && firstReplyConflicts(request, conversation, alignment)) {
      fork ??= { shared: 0, reason: "only the first message matches, with another reply" };
    } else if (alignment && isEdit(alignment) && alignment.matched > (fork?.shared ?? 0)) {
      fork = { shared: alignment.matched, reason: "an earlier message was edited, or a reply regenerated" };
    }
  }
  // Conversations come in the order of use: of two with the same time the later one is the more recent.
  const [best, second] = candidates.toReversed().sort((a, b) =>
    compare(b.weights, a.weights) || b.conversation.usedAt - a.conversation.usedAt
  );
  if (best && second && isTie(best, second)) {
    return { type: "fork", reason: "several conversations match equally well" };
  }
  // With equally many turns, a reply that is not the candidate's speaks for the edited conversation.
  const needed = (best?.matched ?? 0) + (replies.length === 0 ? 1 : 0);
  if (fork && (best === undefined || !best.hasSameReply && fork.shared >= needed)) {
    return { type: "fork", reason: fork.reason };
  }
  if (best === undefined) return { type: "new", reason: "no conversation matches the history" };
  const { conversation, alignment } = best;
  return { type: "continue", conversation, alignment, reason: reasonOf(best) };
}

/**
 * Aligns a transcript with the conversation that the client names, as well as possible. Turns without a position count
 * as delivered, but for the turns since the last reply.
 */
export function alignNamed(
  transcript: TranscriptFingerprint,
  conversation: ConversationRecord,
): Continuation {
  const { turns } = transcript;
  const alignment = align(transcript, conversation, true);
  if (alignment?.coversAnsweredTurns) {
    const isRetry = alignment.isRetry || alignment.isRegenerated && !transcript.endsWithReply;
    return { positions: alignment.positions, isRetry };
  }
  const newest = conversation.turns.at(-1);
  const newestIndex = newest === undefined ? -1 : turns.findLastIndex((turn) => isSameTurn(turn, newest));
  const answered = turns.findLastIndex(({ isAnswered }) => isAnswered);
  const delivered = newestIndex >= 0 ? newestIndex + 1 : Math.min(answered + 1, turns.length - 1);
  // Positions matter here too: a turn that the record calls pending is sent now.
  const positions = alignFromEnd(turns.slice(0, delivered), conversation.turns);
  return {
    positions: turns.map((_turn, index) => positions[index] ?? UNMATCHED),
    isRetry: newestIndex >= 0 && newestIndex === turns.length - 1 && !transcript.endsWithReply,
  };
}

/**
 * Whether a transcript has a conversation's persona. An open persona may have ended with system messages for the first
 * turn, which the transcript then lacks; at least one message has to remain.
 */
function isSamePersona(
  { persona: sent }: Pick<TranscriptFingerprint, "persona">,
  { persona, isPersonaOpen }: Pick<ConversationRecord, "persona" | "isPersonaOpen">,
): boolean {
  const isShortened = isPersonaOpen && sent.length > 0 && sent.length < persona.length;
  return (sent.length === persona.length || isShortened) &&
    sent.every((fingerprint, index) => fingerprint === persona[index]);
}

/** Collects the evidence for a conversation; undefined if there is not enough. */
function candidateOf(
  request: MatchRequest,
  conversation: ConversationRecord,
  aligned: Alignment | undefined,
): Candidate | undefined {
  const reply = findReply(request, conversation.reply);
  const hasSameReply = isSameReply(reply?.fingerprint, conversation.reply);
  const byReply = reply?.isDistinctive && hasSameReply
    ? alignByLastReply(request, reply, conversation)
    : undefined;
  const byTurns = aligned?.coversAnsweredTurns && !aligned.isRegenerated ? aligned : undefined;
  const isProven = byTurns && (byReply || isWindow(byTurns) ||
    byTurns.isWhole && (reply !== undefined || !firstReplyConflicts(request, conversation, byTurns)));
  const alignment = isProven ? byTurns : byReply;
  if (alignment === undefined) return undefined;
  const matched = alignment.positions.filter((position) => position >= 0).length;
  return {
    conversation,
    alignment,
    isWhole: byTurns?.isWhole ?? false,
    hasSameReply,
    matched,
    weights: [byReply ? 1 : 0, matched, hasSameReply ? 1 : 0],
  };
}

/** Whether enough turns match in a window. Each unknown turn before the newest one takes one more match. */
function isWindow({ positions, matched }: Alignment): boolean {
  return matched >= MIN_OVERLAP + Math.max(0, positions.length - matched - 1);
}

/** Whether a request that leaves answered turns out is an edit of an earlier turn, or asks for another last reply. */
function isEdit({ isWhole, isRegenerated, matched }: Alignment): boolean {
  return isWhole || isRegenerated && matched >= MIN_OVERLAP;
}

/**
 * Whether a request has only its first message in common with a conversation, and another reply to it: many chats begin
 * with "Hello". A request with further replies has to have the same first reply.
 */
function firstReplyConflicts(
  { turns, firstReply }: MatchRequest,
  { reply }: ConversationRecord,
  { coversAnsweredTurns, isWhole, matched }: Alignment,
): boolean {
  if (!coversAnsweredTurns || !isWhole || matched !== 1) return false;
  if (replyPrefixDiffers(firstReply, reply)) return true;
  return turns.slice(1, -1).some(({ isAnswered }) => isAnswered) &&
    !isSameReply(firstReply?.fingerprint, reply);
}

function reasonOf({ alignment: { isRetry, omitted = [] }, matched, hasSameReply }: Candidate): string {
  if (isRetry) return "its last turn, which has no reply, is sent again";
  const missing = omitted.length > 0 ? `, ${omitted.length} are missing` : "";
  return `${matched} of its turns match${missing}${hasSameReply ? ", and its last reply" : ""}`;
}

/** Whether two candidates weigh the same and are not alike, so that they may belong to two people. */
function isTie(best: Candidate, second: Candidate): boolean {
  const [one, other] = [best.conversation, second.conversation];
  const areAlike = best.isWhole && second.isWhole && isSameReply(one.reply, other.reply);
  return compare(best.weights, second.weights) === 0 && !areAlike &&
    one.usedAt - other.usedAt < TIE_WINDOW_MS;
}

/**
 * Finds the best alignment of a transcript with a conversation; undefined if the first turn of the transcript occurs
 * nowhere in it.
 *
 * @param isNamed The client named the conversation. Otherwise two that merely begin alike are not taken for one.
 */
function align(
  transcript: TranscriptFingerprint,
  conversation: ConversationRecord,
  isNamed = false,
): Alignment | undefined {
  const { turns, turnsBefore } = transcript;
  const { turns: recorded, turnsBefore: recordedBefore } = conversation;
  const [first] = turns;
  if (first === undefined) return undefined;
  let best: Alignment | undefined;
  let isWhole = turnsBefore === 0 && recordedBefore === 0;
  let starts = 0;
  let answeredAhead = recorded.filter(isAnswered).length;
  for (const [start, turn] of recorded.entries()) {
    // A start with more answered turns ahead than the transcript has cannot cover them.
    const isPromising = isWhole || answeredAhead <= turns.length;
    if (isPromising && isSameTurn(first, turn)) {
      if (++starts > MAX_STARTS) break;
      const found = alignFrom(transcript, conversation, start, isWhole, isNamed);
      // Later starts match fewer turns.
      if (found.coversAnsweredTurns) return found;
      if (best === undefined || found.matched > best.matched) best = found;
    }
    if (!isAnswered(turn)) continue;
    isWhole = false;
    answeredAhead--;
  }
  return best;
}

/** Aligns both from a starting point on. The transcript may lack unanswered turns, which only some skins keep. */
function alignFrom(
  transcript: TranscriptFingerprint,
  { turns: recorded, reply }: ConversationRecord,
  start: number,
  isWhole: boolean,
  isNamed: boolean,
): Alignment {
  const { turns, endsWithReply } = transcript;
  const positions: number[] = [];
  let index = start;
  for (; index < recorded.length && positions.length < turns.length; index++) {
    const turn = recorded[index]!;
    const sent = turns[positions.length]!;
    // No agent here calls the client's tools, so that such a turn was answered elsewhere.
    const isElsewhere = !isNamed && sent.hasToolCall && isAnswered(turn);
    if (isSameTurn(sent, turn) && !isElsewhere) positions.push(index);
    else if (isAnswered(turn)) break;
  }
  const matched = positions.length;
  const isComplete = matched === recorded.length - start;
  const coversAnsweredTurns = !recorded.slice(index).some(isAnswered) &&
    (isNamed || isComplete || positions.some((position) => isAnswered(recorded[position]!)));
  const isRepeated = coversAnsweredTurns && matched === turns.length;
  const last = recorded[positions.at(-1) ?? start]!;
  const isContinued = endsWithReply && (findReply(transcript, reply)?.index ?? -1) > turns.at(-1)!.index;
  const isOpen = !isAnswered(last) || turns.at(-1)!.media !== "" && last.media === "";
  while (positions.length < turns.length) positions.push(UNMATCHED);
  return {
    positions,
    matched,
    isWhole,
    coversAnsweredTurns,
    isRetry: isRepeated && isOpen && !endsWithReply,
    isRegenerated: isRepeated && !isOpen && !isContinued,
  };
}

/**
 * Aligns a transcript whose last reply is the conversation's last reply, whatever turns the client left out: turns
 * before its window, or prompts of its own.
 */
function alignByLastReply(
  { turns }: TranscriptFingerprint,
  reply: ReplyFingerprint,
  { turns: recorded, turnsBefore }: ConversationRecord,
): Continuation | undefined {
  const earlier = turns.filter(({ index }) => index < reply.index);
  const positions = alignFromEnd(earlier, recorded.slice(0, recorded.findLastIndex(isAnswered) + 1));
  if (positions.includes(SKIPPED) && turnsBefore === 0) return undefined;
  // Turns before the window are not left out; a hidden opening that is the only turn is.
  const start = positions[0] ?? (turnsBefore + recorded.length === 1 ? 0 : recorded.length);
  const omitted = recorded.flatMap((turn, index) =>
    isAnswered(turn) && index >= start && !positions.includes(index) ? [index] : []
  );
  return { positions: turns.map((_turn, index) => positions[index] ?? UNMATCHED), isRetry: false, omitted };
}

/**
 * Finds the positions of turns from the last one backwards. The first that is not found is skipped, and all before it.
 */
function alignFromEnd(turns: readonly TurnFingerprint[], recorded: readonly TurnRecord[]): number[] {
  let end = recorded.length;
  return turns.toReversed().map((turn) => {
    const found = recorded.slice(0, Math.max(0, end)).findLastIndex((other) => isSameTurn(turn, other));
    return end = found < 0 ? SKIPPED : found;
  }).reverse();
}

function isAnswered({ state }: TurnRecord): boolean {
  return state === "answered";
}

/** Whether both have the same words, and no different images: skins drop these from their history. */
function isSameTurn(turn: TurnFingerprint, recorded: TurnRecord): boolean {
  return turn.words === recorded.words &&
    (turn.media === "" || recorded.media === "" || turn.media === recorded.media);
}

/** Compares two lists of the same length by their first different items. */
function compare(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    if (value !== b[index]) return value - b[index]!;
  }
  return 0;
}
