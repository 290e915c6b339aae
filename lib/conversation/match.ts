/**
 * Which conversation a request goes on with, by what it says: pure. Skins send their whole history with each request,
 * or what is left of it, and rewrite the answers in it; so it is the turns of users that are compared.
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
import type { ConversationRecord, Fingerprint } from "./record.ts";
import {
  isSameReply,
  replyPrefixDiffers,
  replyPrefixMatches,
  type TranscriptFingerprint,
} from "./fingerprint.ts";

/** A request as it is compared. */
export interface MatchRequest extends TranscriptFingerprint {
  readonly owner: Fingerprint;
  readonly agent: string;
}

/** What a request is to a conversation; `why` is for the log. */
export type Match<C> =
  | { readonly type: "continue"; readonly conversation: C; readonly how: Continuation; readonly why: string }
  | { readonly type: "fork"; readonly from: C; readonly why: string }
  | { readonly type: "new"; readonly why: string };

/** A conversation that a request may go on with, and what speaks for it. */
interface Candidate<C> {
  readonly conversation: C;
  readonly alignment: Continuation;
  /** Its last answer is there, and long enough to tell it from others. */
  readonly isProven: boolean;
  /** Its last answer is there. */
  readonly isSameReply: boolean;
  /** The request begins where it does, and has every turn of it. */
  readonly isWhole: boolean;
  readonly matched: number;
  /** Turns of it that are not in the request, though later ones are, or though it ends with them. */
  readonly missing: number;
  /** Turns of both that are answered in one and not in the other. */
  readonly answerMismatches: number;
  /** The request has answers. */
  readonly hasAnswers: boolean;
}

/** Turns that must agree, if the beginning of the conversation is not there and its last answer is not either. */
const LEAST_OVERLAP = 2;
/** Milliseconds after which one that looks alike was given up, more likely than it is somebody else's. */
const TIE_WINDOW_MS = 30 * 60_000;

/**
 * Finds the conversation that a request goes on with, among those of the same owner, agent and persona that have no
 * name. Nothing joins a request that says only one thing.
 */
export function match<C extends ConversationRecord>(request: MatchRequest, known: Iterable<C>): Match<C> {
  const { turns, reply } = request;
  if (turns.length < 2 && !reply?.isDistinctive) {
    return { type: "new", why: "it says nothing but its first turn" };
  }
  const words = new Set(turns.map(({ words }) => words));
  const candidates: Candidate<C>[] = [];
  let changed: { conversation: C; matched: number } | undefined;
  let conflicting: C | undefined;
  const sameOpening: C[] = [];
  for (const conversation of known) {
    if (conversation.isNamed || !hasSameKeyAgentAndPersona(request, conversation)) continue;
    if (!mayMatch(conversation, words, reply?.fingerprint)) continue;
    if (conversation.turnsBefore === 0 && conversation.turns[0]?.words === turns[0]?.words) {
      sameOpening.push(conversation);
    }
    const alignment = align(request, conversation);
    const candidate = candidateOf(request, conversation, alignment);
    if (candidate) candidates.push(candidate);
    else if (firstReplyConflicts(request, conversation, alignment)) conflicting ??= conversation;
    else {
      const matched = changedFrom(request, conversation, alignment);
      if (matched > (changed?.matched ?? 0)) changed = { conversation, matched };
    }
  }
  // What is known stands in the order of use: of two that were used in the same millisecond the later goes first.
  const [best, second] = candidates.toReversed().sort(byWeight);
  if (best && (mayBelongToAnother(best, sameOpening) || second && isTie(best, second))) {
    return { type: "fork", from: best.conversation, why: "several conversations begin like it" };
  }
  if (changed && (best === undefined || prefersEdit(changed.matched, best, request))) {
    const why = "what was said and answered before is changed, or asked again";
    return { type: "fork", from: changed.conversation, why };
  }
  if (best === undefined && conflicting) {
    return { type: "fork", from: conflicting, why: "it begins like another, and was answered otherwise" };
  }
  if (best === undefined) return { type: "new", why: "its history is not known" };
  return { type: "continue", conversation: best.conversation, how: best.alignment, why: whyOf(best) };
}

/**
 * How a transcript goes on from the conversation that its caller names: as it fits best. A named conversation is never
 * left; what cannot be placed counts as heard, but for what was said since the last answer.
 */
export function alignNamed(
  transcript: TranscriptFingerprint,
  conversation: ConversationRecord,
): Continuation {
  const { turns } = transcript;
  const { turns: known } = conversation;
  const alignment = align(transcript, conversation, true);
  if (alignment?.coversAnsweredTurns) {
    return { positions: alignment.positions, isRetry: alignment.isRetry || alignment.isRegenerated };
  }
  const last = known.at(-1);
  const seen = last === undefined ? -1 : turns.findLastIndex((turn) => isSameTurn(turn, last));
  const answered = turns.findLastIndex(({ isAnswered }) => isAnswered);
  const heard = seen >= 0 ? seen + 1 : Math.min(answered + 1, turns.length - 1);
  // What counts as heard may be known as never told: then it is told now.
  const passed = alignFromEnd(turns.slice(0, heard), known);
  return {
    positions: turns.map((_turn, position) => passed[position] ?? UNMATCHED),
    isRetry: seen === turns.length - 1,
  };
}

/** Whether it is the same key, agent and persona. */
function hasSameKeyAgentAndPersona(request: MatchRequest, conversation: ConversationRecord): boolean {
  return conversation.owner === request.owner && conversation.agent === request.agent &&
    isSamePersona(request, conversation);
}

/**
 * Whether a transcript has a conversation's persona. One that is open may hold a text for the first turn only, at its
 * end; some of it must be left.
 */
export function isSamePersona(
  { persona }: Pick<TranscriptFingerprint, "persona">,
  conversation: Pick<ConversationRecord, "persona" | "isPersonaOpen">,
): boolean {
  const told = conversation.persona;
  const isAsLong = persona.length === told.length ||
    conversation.isPersonaOpen && persona.length > 0 && persona.length < told.length;
  return isAsLong && persona.every((print, index) => print === told[index]);
}

/** Whether a look at it is worth while: there may be a thousand. It has something of the request at one of its ends. */
function mayMatch(
  { turns, reply }: ConversationRecord,
  words: ReadonlySet<Fingerprint>,
  given: Fingerprint | undefined,
): boolean {
  if (isSameReply(given, reply)) return true;
  // Turns that were never answered may be missing at either end.
  const first = turns.findIndex(({ state }) => state === "answered");
  const last = turns.findLastIndex(({ state }) => state === "answered");
  return turns.some((turn, place) => (place <= first || place >= last) && words.has(turn.words));
}

/** What speaks for a conversation, if it is enough. */
function candidateOf<C extends ConversationRecord>(
  request: MatchRequest,
  conversation: C,
  alignment: Alignment | undefined,
): Candidate<C> | undefined {
  const { turns, reply } = request;
  const proof = alignByLastReply(request, conversation);
  const isFit = alignment !== undefined && alignment.coversAnsweredTurns && !alignment.isRegenerated;
  const isBegun = isFit && alignment.isWhole && !firstReplyConflicts(request, conversation, alignment);
  const how = isFit && (isBegun || isWindow(request, conversation, alignment) || proof) ? alignment : proof;
  if (how === undefined) return undefined;
  const { turns: known } = conversation;
  const matched = how.positions.filter((place) => place >= 0);
  const odd = how.positions.slice(0, -1).filter((place, position) =>
    place >= 0 && turns[position]!.isAnswered !== (known[place]!.state === "answered")
  );
  return {
    conversation,
    alignment: how,
    isProven: proof !== undefined,
    isSameReply: isSameReply(reply?.fingerprint, conversation.reply),
    isWhole: isFit && alignment.isWhole,
    matched: matched.length,
    missing: matched.length === 0 ? 0 : known.length - matched[0]! - matched.length,
    answerMismatches: odd.length,
    // Skins that keep no answers at all tell little by that.
    hasAnswers: turns.some(({ isAnswered }) => isAnswered),
  };
}

/** Whether a request is what is left of a conversation whose beginning slid out of it. */
function isWindow(
  request: MatchRequest,
  conversation: ConversationRecord,
  { positions, matched }: Alignment,
): boolean {
  // For each turn that the conversation knows nothing of, beside the newest, one more must agree.
  const strange = positions.slice(0, -1).filter((place) => place === UNMATCHED).length;
  if (matched < LEAST_OVERLAP + strange) return false;
  // What begins as the conversation does may be an edit of it, unless it has its last answer.
  return isSameReply(request.reply?.fingerprint, conversation.reply) ||
    commonPrefixLength(request, conversation) < matched;
}

/**
 * Whether a request, which has no more of a conversation than its opening, had another answer to it: everybody says
 * hello. One that went on elsewhere must have this answer.
 */
function firstReplyConflicts(
  { turns, firstReply }: MatchRequest,
  { turns: known, reply }: ConversationRecord,
  alignment: Alignment | undefined,
): boolean {
  if (!alignment?.coversAnsweredTurns || !alignment.isWhole || alignment.matched !== 1) return false;
  // Of what was asked since another answer may be kept, one that was prepared.
  if (known.slice(alignment.positions[0]! + 1).some(({ state }) => state === "pending")) return false;
  if (replyPrefixDiffers(firstReply, reply)) return true;
  return turns.slice(1, -1).some(({ isAnswered }) => isAnswered) && !replyPrefixMatches(firstReply, reply);
}

/** How many turns a request shares with a conversation that it changes: from its beginning on, or to its end. */
function changedFrom(
  request: MatchRequest,
  conversation: ConversationRecord,
  alignment: Alignment | undefined,
): number {
  const asked = alignment?.isRegenerated && alignment.matched >= LEAST_OVERLAP ? alignment.matched : 0;
  return Math.max(asked, commonPrefixLength(request, conversation));
}

function whyOf({ alignment: { isRetry, omitted = [] }, isProven, matched }: Candidate<unknown>): string {
  if (isRetry) return "its last turn, which has no answer, is asked again";
  const missing = omitted.length > 0 ? `, though ${omitted.length} are not` : "";
  return `${matched} of its turns are there${missing}${isProven ? ", and its last answer" : ""}`;
}

/**
 * Whether a request rather changes another conversation, with which it shares so many turns, than it goes on with this
 * one: others may begin alike.
 */
function prefersEdit(
  shared: number,
  candidate: Candidate<ConversationRecord>,
  { reply }: MatchRequest,
): boolean {
  const { conversation, isProven, isWhole, matched, answerMismatches, hasAnswers } = candidate;
  if (isProven || candidate.isSameReply) return false;
  const isContradicted = hasAnswers && answerMismatches > 0 ||
    reply !== undefined && conversation.reply !== undefined;
  return shared > matched || isContradicted && (shared === matched || !isWhole && shared * 2 > matched);
}

/** Whether it has a turn more than the request, and others began in the same way: it may be theirs. */
function mayBelongToAnother<C extends ConversationRecord>(
  candidate: Candidate<C>,
  alike: readonly C[],
): boolean {
  const { conversation, matched, missing } = candidate;
  if (matched !== 1 || missing === 0) return false;
  return alike.some((other) =>
    other !== conversation && (!candidate.isSameReply || isSameReply(other.reply, conversation.reply))
  );
}

/**
 * Whether nothing tells which of two is meant: they may be of two people who began alike. Where all that was said is
 * there, and was the same, it does not matter which it is.
 */
function isTie<C extends ConversationRecord>(best: Candidate<C>, second: Candidate<C>): boolean {
  const [one, other] = [best.conversation, second.conversation];
  const isEqual = best.isWhole && second.isWhole && isSameReply(one.reply, other.reply);
  return compare(weightOf(best), weightOf(second)) === 0 && !isEqual &&
    one.usedAt - other.usedAt < TIE_WINDOW_MS;
}

function byWeight<C extends ConversationRecord>(a: Candidate<C>, b: Candidate<C>): number {
  return compare(weightOf(b), weightOf(a)) || b.conversation.usedAt - a.conversation.usedAt;
}

/** From the weightiest to the least. */
function weightOf(candidate: Candidate<unknown>): number[] {
  const { isProven, answerMismatches, hasAnswers, matched, missing, isWhole } = candidate;
  return [
    Number(isProven),
    hasAnswers ? -answerMismatches : 0,
    matched,
    -missing,
    -answerMismatches,
    Number(candidate.isSameReply),
    Number(isWhole),
  ];
}
