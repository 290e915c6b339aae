/**
 * Decides which conversation a request continues, by its messages: pure. Skins send their whole history with each
 * request, or a window of it, and rewrite the replies; so the user's turns are compared.
 *
 * @module
 */

import {
  align,
  alignByLastReply,
  alignFromEnd,
  type Alignment,
  commonPrefixLength,
  compare,
  type Continuation,
  isSameTurn,
  UNMATCHED,
} from "./align.ts";
import {
  isSameReply,
  replyPrefixDiffers,
  replyPrefixMatches,
  type TranscriptFingerprint,
} from "./fingerprint.ts";
import type { ConversationRecord, Fingerprint } from "./record.ts";

/** The fingerprints of a request. */
export interface MatchRequest extends TranscriptFingerprint {
  readonly owner: Fingerprint;
  readonly agent: string;
}

/** The decision about a request; the reason is for the log. */
export type Match<C> =
  | { type: "continue"; conversation: C; alignment: Continuation; reason: string }
  | { type: "fork"; from: C; reason: string }
  | { type: "new"; reason: string };

/** A conversation that a request may continue, and the evidence for that. */
interface Candidate<C> {
  readonly conversation: C;
  readonly alignment: Continuation;
  /** The request has the last reply, which is distinctive. */
  readonly hasDistinctiveReply: boolean;
  /** The request has the last reply. */
  readonly hasSameReply: boolean;
  /** The request begins where the conversation does, and has all its answered turns. */
  readonly isWhole: boolean;
  /** Number of turns that match. */
  readonly matched: number;
  /** Turns of the conversation after the first match that the request lacks. */
  readonly missing: number;
  /** Matched turns that are answered in one of the two only. */
  readonly answerMismatches: number;
  /** The request has replies at all: some skins keep none. */
  readonly hasReplies: boolean;
}

/** The weights of the evidence, from the strongest to the weakest. */
const WEIGHTS: readonly ((candidate: Candidate<unknown>) => number)[] = [
  ({ hasDistinctiveReply }) => Number(hasDistinctiveReply),
  ({ hasReplies, answerMismatches }) => hasReplies ? -answerMismatches : 0,
  ({ matched }) => matched,
  ({ missing }) => -missing,
  ({ answerMismatches }) => -answerMismatches,
  ({ hasSameReply }) => Number(hasSameReply),
  ({ isWhole }) => Number(isWhole),
];

/** Turns that have to match in a window without the conversation's start and last reply. */
const MIN_OVERLAP = 2;
/** Milliseconds within which two equal candidates count as used by different people. */
const TIE_WINDOW_MS = 30 * 60_000;

/**
 * Finds the conversation that a request continues, among the unnamed ones of the same key, agent and persona. A request
 * with a single turn and no distinctive reply continues none.
 */
export function match<C extends ConversationRecord>(
  request: MatchRequest,
  conversations: Iterable<C>,
): Match<C> {
  const { turns, reply } = request;
  if (turns.length < 2 && !reply?.isDistinctive) {
    return { type: "new", reason: "the request has only its first turn" };
  }
  const words = new Set(turns.map(({ words }) => words));
  const candidates: Candidate<C>[] = [];
  const sameOpening: C[] = [];
  let conflicting: C | undefined;
  let edited: { readonly conversation: C; readonly shared: number } | undefined;
  for (const conversation of conversations) {
    if (conversation.isNamed || !hasSameKeyAgentAndPersona(request, conversation)) continue;
    if (!isWorthAligning(conversation, words, reply?.fingerprint)) continue;
    if (conversation.turnsBefore === 0 && conversation.turns[0]?.words === turns[0]?.words) {
      sameOpening.push(conversation);
    }
    const alignment = align(request, conversation);
    const candidate = candidateOf(request, conversation, alignment);
    if (candidate) candidates.push(candidate);
    else if (firstReplyConflicts(request, conversation, alignment)) conflicting ??= conversation;
    else {
      const shared = sharedBeforeEdit(request, conversation, alignment);
      if (shared > (edited?.shared ?? 0)) edited = { conversation, shared };
    }
  }
  // Conversations come in the order of use: of two with the same time the later one is the more recent.
  const [best, second] = candidates.toReversed().sort(byWeight);
  if (best && (mayBelongToAnother(best, sameOpening) || second && isTie(best, second))) {
    return { type: "fork", from: best.conversation, reason: "several conversations match equally well" };
  }
  if (edited && (best === undefined || prefersEdit(edited.shared, best, request))) {
    const reason = "an earlier message was edited, or a reply regenerated";
    return { type: "fork", from: edited.conversation, reason };
  }
  if (best) {
    return {
      type: "continue",
      conversation: best.conversation,
      alignment: best.alignment,
      reason: reasonOf(best),
    };
  }
  if (conflicting) {
    return { type: "fork", from: conflicting, reason: "only the first message matches, with another reply" };
  }
  return { type: "new", reason: "no conversation matches the history" };
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
  const { turns: recorded } = conversation;
  const alignment = align(transcript, conversation, true);
  if (alignment?.coversAnsweredTurns) {
    return { positions: alignment.positions, isRetry: alignment.isRetry || alignment.isRegenerated };
  }
  const newest = recorded.at(-1);
  const newestIndex = newest === undefined ? -1 : turns.findLastIndex((turn) => isSameTurn(turn, newest));
  const answered = turns.findLastIndex(({ isAnswered }) => isAnswered);
  const delivered = newestIndex >= 0 ? newestIndex + 1 : Math.min(answered + 1, turns.length - 1);
  // Positions matter here too: a turn that the record calls pending is sent now.
  const positions = alignFromEnd(turns.slice(0, delivered), recorded);
  return {
    positions: turns.map((_turn, index) => positions[index] ?? UNMATCHED),
    isRetry: newestIndex === turns.length - 1,
  };
}

function hasSameKeyAgentAndPersona(request: MatchRequest, conversation: ConversationRecord): boolean {
  return conversation.owner === request.owner && conversation.agent === request.agent &&
    isSamePersona(request, conversation);
}

/**
 * Whether a transcript has a conversation's persona. An open persona may have ended with system messages for the first
 * turn, which the transcript then lacks; at least one message has to remain.
 */
export function isSamePersona(
  { persona: sent }: Pick<TranscriptFingerprint, "persona">,
  { persona, isPersonaOpen }: Pick<ConversationRecord, "persona" | "isPersonaOpen">,
): boolean {
  const isShortened = isPersonaOpen && sent.length > 0 && sent.length < persona.length;
  return (sent.length === persona.length || isShortened) &&
    sent.every((fingerprint, index) => fingerprint === persona[index]);
}

/** Rules out, at little cost, a conversation that has nothing in common with a request at its start or end. */
function isWorthAligning(
  { turns, reply }: ConversationRecord,
  words: ReadonlySet<Fingerprint>,
  sentReply: Fingerprint | undefined,
): boolean {
  if (isSameReply(sentReply, reply)) return true;
  // Unanswered turns at either end may be missing in the request.
  const first = turns.findIndex(({ state }) => state === "answered");
  const last = turns.findLastIndex(({ state }) => state === "answered");
  return turns.some((turn, index) => (index <= first || index >= last) && words.has(turn.words));
}

/** Collects the evidence for a conversation; undefined if there is not enough. */
function candidateOf<C extends ConversationRecord>(
  request: MatchRequest,
  conversation: C,
  aligned: Alignment | undefined,
): Candidate<C> | undefined {
  const { turns, reply } = request;
  const { turns: recorded } = conversation;
  const byReply = alignByLastReply(request, conversation);
  const byTurns = aligned?.coversAnsweredTurns && !aligned.isRegenerated ? aligned : undefined;
  const isProven = byTurns && (byReply || isWindow(request, conversation, byTurns) ||
    byTurns.isWhole && !firstReplyConflicts(request, conversation, byTurns));
  const alignment = isProven ? byTurns : byReply;
  if (alignment === undefined) return undefined;
  const matches = alignment.positions.filter((position) => position >= 0);
  const mismatches = alignment.positions.slice(0, -1).filter((position, index) =>
    position >= 0 && turns[index]!.isAnswered !== (recorded[position]!.state === "answered")
  );
  return {
    conversation,
    alignment,
    hasDistinctiveReply: byReply !== undefined,
    hasSameReply: isSameReply(reply?.fingerprint, conversation.reply),
    isWhole: byTurns?.isWhole ?? false,
    matched: matches.length,
    missing: matches.length === 0 ? 0 : recorded.length - matches[0]! - matches.length,
    answerMismatches: mismatches.length,
    hasReplies: turns.some(({ isAnswered }) => isAnswered),
  };
}

/** Whether a request is a window of a conversation whose start slid out of it. */
function isWindow(
  request: MatchRequest,
  conversation: ConversationRecord,
  { positions, matched }: Alignment,
): boolean {
  // Each unknown turn before the newest one takes one more match.
  const unknown = positions.slice(0, -1).filter((position) => position === UNMATCHED).length;
  if (matched < MIN_OVERLAP + unknown) return false;
  // A request that begins as the conversation does may be an edit of it, unless it has the last reply.
  return isSameReply(request.reply?.fingerprint, conversation.reply) ||
    commonPrefixLength(request, conversation) < matched;
}

/**
 * Whether a request has only its first message in common with a conversation, and another reply to it: many chats begin
 * with "Hello". A request with further replies has to have the same first reply.
 */
function firstReplyConflicts(
  { turns, firstReply }: MatchRequest,
  { turns: recorded, reply }: ConversationRecord,
  alignment: Alignment | undefined,
): boolean {
  if (!alignment?.coversAnsweredTurns || !alignment.isWhole || alignment.matched !== 1) return false;
  // The stored reply may be a canned one, to a later turn that is still pending.
  if (recorded.slice(alignment.positions[0]! + 1).some(({ state }) => state === "pending")) return false;
  if (replyPrefixDiffers(firstReply, reply)) return true;
  return turns.slice(1, -1).some(({ isAnswered }) => isAnswered) && !replyPrefixMatches(firstReply, reply);
}

/** Counts the turns that a request shares with a conversation that it edits, or whose last reply it regenerates. */
function sharedBeforeEdit(
  request: MatchRequest,
  conversation: ConversationRecord,
  alignment: Alignment | undefined,
): number {
  const regenerated = alignment?.isRegenerated && alignment.matched >= MIN_OVERLAP ? alignment.matched : 0;
  return Math.max(regenerated, commonPrefixLength(request, conversation));
}

function reasonOf({ alignment, hasDistinctiveReply, matched }: Candidate<unknown>): string {
  const { isRetry, omitted = [] } = alignment;
  if (isRetry) return "its last turn, which has no reply, is sent again";
  const missing = omitted.length > 0 ? `, ${omitted.length} are missing` : "";
  return `${matched} of its turns match${missing}${hasDistinctiveReply ? ", and its last reply" : ""}`;
}

/** Whether a request rather edits another conversation, with which it shares so many turns, than continues this one. */
function prefersEdit(
  shared: number,
  candidate: Candidate<ConversationRecord>,
  { reply }: MatchRequest,
): boolean {
  const { conversation, hasDistinctiveReply, hasSameReply, isWhole, matched } = candidate;
  if (hasDistinctiveReply || hasSameReply) return false;
  const isContradicted = candidate.hasReplies && candidate.answerMismatches > 0 ||
    reply !== undefined && conversation.reply !== undefined;
  return shared > matched || isContradicted && (shared === matched || !isWhole && shared * 2 > matched);
}

/** Whether only one turn matches, the conversation went on after it, and another one with the same opening fits too. */
function mayBelongToAnother<C extends ConversationRecord>(
  { conversation, matched, missing, hasSameReply }: Candidate<C>,
  sameOpening: readonly C[],
): boolean {
  if (matched !== 1 || missing === 0) return false;
  return sameOpening.some((other) =>
    other !== conversation && (!hasSameReply || isSameReply(other.reply, conversation.reply))
  );
}

/** Whether two candidates weigh the same and are not alike, so that they may belong to two people. */
function isTie<C extends ConversationRecord>(best: Candidate<C>, second: Candidate<C>): boolean {
  const [one, other] = [best.conversation, second.conversation];
  const areAlike = best.isWhole && second.isWhole && isSameReply(one.reply, other.reply);
  return compareWeights(best, second) === 0 && !areAlike && one.usedAt - other.usedAt < TIE_WINDOW_MS;
}

function byWeight<C extends ConversationRecord>(a: Candidate<C>, b: Candidate<C>): number {
  return compareWeights(b, a) || b.conversation.usedAt - a.conversation.usedAt;
}

function compareWeights(a: Candidate<unknown>, b: Candidate<unknown>): number {
  const weigh = (candidate: Candidate<unknown>) => WEIGHTS.map((weight) => weight(candidate));
  return compare(weigh(a), weigh(b));
}
