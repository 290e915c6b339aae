/**
 * Which conversation a request goes on with, by what it says: pure. Skins send their whole history with each request,
 * or what is left of it, and rewrite the answers in it; so it is the turns of users that are compared.
 *
 * @module
 */

import {
  align,
  type Alignment,
  backwards,
  compare,
  type Continuation,
  isSameTurn,
  NEW,
  prove,
  shared,
} from "./align.ts";
import type { KnownConversation, Print } from "./memory.ts";
import { isLikeReply, isOtherReply, isSameReply, type TranscriptPrint } from "./print.ts";

/** A request as it is compared. */
export interface MatchRequest extends TranscriptPrint {
  readonly owner: Print;
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
  readonly how: Continuation;
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
  readonly odd: number;
  /** The request has answers. */
  readonly hasAnswers: boolean;
}

/** Turns that must agree, if the beginning of the conversation is not there and its last answer is not either. */
const LEAST_OVERLAP = 2;
/** Milliseconds after which one that looks alike was given up, more likely than it is somebody else's. */
const RIVAL_MS = 30 * 60_000;

/**
 * Finds the conversation that a request goes on with, among those of the same owner, agent and persona that have no
 * name. Nothing joins a request that says only one thing.
 */
export function match<C extends KnownConversation>(request: MatchRequest, known: Iterable<C>): Match<C> {
  const { turns, reply } = request;
  if (turns.length < 2 && !reply?.isProof) return { type: "new", why: "it says nothing but its first turn" };
  const words = new Set(turns.map(({ words }) => words));
  const going: Candidate<C>[] = [];
  let changed: { conversation: C; matched: number } | undefined;
  let strange: C | undefined;
  const alike: C[] = [];
  for (const conversation of known) {
    if (conversation.isNamed || !isSameSpeaker(request, conversation)) continue;
    if (!mayMatch(conversation, words, reply?.print)) continue;
    if (conversation.turnsBefore === 0 && conversation.turns[0]?.words === turns[0]?.words) {
      alike.push(conversation);
    }
    const alignment = align(request, conversation);
    const candidate = candidateOf(request, conversation, alignment);
    if (candidate) going.push(candidate);
    else if (isAnothers(request, conversation, alignment)) strange ??= conversation;
    else {
      const matched = changedFrom(request, conversation, alignment);
      if (matched > (changed?.matched ?? 0)) changed = { conversation, matched };
    }
  }
  // What is known stands in the order of use: of two that were used in the same millisecond the later goes first.
  const [best, second] = going.toReversed().sort(byWeight);
  if (best && (mayBeAnothers(best, alike) || second && areRivals(best, second))) {
    return { type: "fork", from: best.conversation, why: "several conversations begin like it" };
  }
  if (changed && (best === undefined || isRather(changed.matched, best, request))) {
    const why = "what was said and answered before is changed, or asked again";
    return { type: "fork", from: changed.conversation, why };
  }
  if (best === undefined && strange) {
    return { type: "fork", from: strange, why: "it begins like another, and was answered otherwise" };
  }
  if (best === undefined) return { type: "new", why: "its history is not known" };
  return { type: "continue", conversation: best.conversation, how: best.how, why: whyOf(best) };
}

/**
 * How a transcript goes on from the conversation that its caller names: as it fits best. A named conversation is never
 * left; what cannot be placed counts as heard, but for what was said since the last answer.
 */
export function follow(transcript: TranscriptPrint, conversation: KnownConversation): Continuation {
  const { turns } = transcript;
  const { turns: known } = conversation;
  const alignment = align(transcript, conversation, true);
  if (alignment?.isReached) {
    return { places: alignment.places, isAgain: alignment.isAgain || alignment.isRegenerated };
  }
  const last = known.at(-1);
  const seen = last === undefined ? -1 : turns.findLastIndex((turn) => isSameTurn(turn, last));
  const answered = turns.findLastIndex(({ isAnswered }) => isAnswered);
  const heard = seen >= 0 ? seen + 1 : Math.min(answered + 1, turns.length - 1);
  // What counts as heard may be known as never told: then it is told now.
  const passed = backwards(turns.slice(0, heard), known);
  return {
    places: turns.map((_turn, position) => passed[position] ?? NEW),
    isAgain: seen === turns.length - 1,
  };
}

/** Whether it is the same key, agent and persona. */
function isSameSpeaker(request: MatchRequest, conversation: KnownConversation): boolean {
  return conversation.owner === request.owner && conversation.agent === request.agent &&
    isSamePersona(request, conversation);
}

/**
 * Whether a transcript has a conversation's persona. One that is open may hold a text for the first turn only, at its
 * end; some of it must be left.
 */
export function isSamePersona(
  { persona }: Pick<TranscriptPrint, "persona">,
  conversation: Pick<KnownConversation, "persona" | "isPersonaOpen">,
): boolean {
  const told = conversation.persona;
  const isAsLong = persona.length === told.length ||
    conversation.isPersonaOpen && persona.length > 0 && persona.length < told.length;
  return isAsLong && persona.every((print, index) => print === told[index]);
}

/** Whether a look at it is worth while: there may be a thousand. It has something of the request at one of its ends. */
function mayMatch(
  { turns, reply }: KnownConversation,
  words: ReadonlySet<Print>,
  given: Print | undefined,
): boolean {
  if (isSameReply(given, reply)) return true;
  // Turns that were never answered may be missing at either end.
  const first = turns.findIndex(({ state }) => state === "answered");
  const last = turns.findLastIndex(({ state }) => state === "answered");
  return turns.some((turn, place) => (place <= first || place >= last) && words.has(turn.words));
}

/** What speaks for a conversation, if it is enough. */
function candidateOf<C extends KnownConversation>(
  request: MatchRequest,
  conversation: C,
  alignment: Alignment | undefined,
): Candidate<C> | undefined {
  const { turns, reply } = request;
  const proof = prove(request, conversation);
  const isFit = alignment !== undefined && alignment.isReached && !alignment.isRegenerated;
  const isBegun = isFit && alignment.isWhole && !isAnothers(request, conversation, alignment);
  const how = isFit && (isBegun || isWindow(request, conversation, alignment) || proof) ? alignment : proof;
  if (how === undefined) return undefined;
  const { turns: known } = conversation;
  const matched = how.places.filter((place) => place >= 0);
  const odd = how.places.slice(0, -1).filter((place, position) =>
    place >= 0 && turns[position]!.isAnswered !== (known[place]!.state === "answered")
  );
  return {
    conversation,
    how,
    isProven: proof !== undefined,
    isSameReply: isSameReply(reply?.print, conversation.reply),
    isWhole: isFit && alignment.isWhole,
    matched: matched.length,
    missing: matched.length === 0 ? 0 : known.length - matched[0]! - matched.length,
    odd: odd.length,
    // Skins that keep no answers at all tell little by that.
    hasAnswers: turns.some(({ isAnswered }) => isAnswered),
  };
}

/** Whether a request is what is left of a conversation whose beginning slid out of it. */
function isWindow(
  request: MatchRequest,
  conversation: KnownConversation,
  { places, matched }: Alignment,
): boolean {
  // For each turn that the conversation knows nothing of, beside the newest, one more must agree.
  const strange = places.slice(0, -1).filter((place) => place === NEW).length;
  if (matched < LEAST_OVERLAP + strange) return false;
  // What begins as the conversation does may be an edit of it, unless it has its last answer.
  return isSameReply(request.reply?.print, conversation.reply) || shared(request, conversation) < matched;
}

/**
 * Whether a request, which has no more of a conversation than its opening, had another answer to it: everybody says
 * hello. One that went on elsewhere must have this answer.
 */
function isAnothers(
  { turns, firstReply }: MatchRequest,
  { turns: known, reply }: KnownConversation,
  alignment: Alignment | undefined,
): boolean {
  if (!alignment?.isReached || !alignment.isWhole || alignment.matched !== 1) return false;
  // Of what was asked since another answer may be kept, one that was prepared.
  if (known.slice(alignment.places[0]! + 1).some(({ state }) => state === "asked")) return false;
  if (isOtherReply(firstReply, reply)) return true;
  return turns.slice(1, -1).some(({ isAnswered }) => isAnswered) && !isLikeReply(firstReply, reply);
}

/** How many turns a request shares with a conversation that it changes: from its beginning on, or to its end. */
function changedFrom(
  request: MatchRequest,
  conversation: KnownConversation,
  alignment: Alignment | undefined,
): number {
  const asked = alignment?.isRegenerated && alignment.matched >= LEAST_OVERLAP ? alignment.matched : 0;
  return Math.max(asked, shared(request, conversation));
}

function whyOf({ how: { isAgain, left = [] }, isProven, matched }: Candidate<unknown>): string {
  if (isAgain) return "its last turn, which has no answer, is asked again";
  const missing = left.length > 0 ? `, though ${left.length} are not` : "";
  return `${matched} of its turns are there${missing}${isProven ? ", and its last answer" : ""}`;
}

/**
 * Whether a request rather changes another conversation, with which it shares so many turns, than it goes on with this
 * one: others may begin alike.
 */
function isRather(
  shared: number,
  candidate: Candidate<KnownConversation>,
  { reply }: MatchRequest,
): boolean {
  const { conversation, isProven, isWhole, matched, odd, hasAnswers } = candidate;
  if (isProven || candidate.isSameReply) return false;
  const isContradicted = hasAnswers && odd > 0 || reply !== undefined && conversation.reply !== undefined;
  return shared > matched || isContradicted && (shared === matched || !isWhole && shared * 2 > matched);
}

/** Whether it has a turn more than the request, and others began in the same way: it may be theirs. */
function mayBeAnothers<C extends KnownConversation>(
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
function areRivals<C extends KnownConversation>(best: Candidate<C>, second: Candidate<C>): boolean {
  const [one, other] = [best.conversation, second.conversation];
  const isEqual = best.isWhole && second.isWhole && isSameReply(one.reply, other.reply);
  return compare(weightOf(best), weightOf(second)) === 0 && !isEqual && one.usedAt - other.usedAt < RIVAL_MS;
}

function byWeight<C extends KnownConversation>(a: Candidate<C>, b: Candidate<C>): number {
  return compare(weightOf(b), weightOf(a)) || b.conversation.usedAt - a.conversation.usedAt;
}

/** From the weightiest to the least. */
function weightOf(candidate: Candidate<unknown>): number[] {
  const { isProven, odd, hasAnswers, matched, missing, isWhole } = candidate;
  return [
    Number(isProven),
    hasAnswers ? -odd : 0,
    matched,
    -missing,
    -odd,
    Number(candidate.isSameReply),
    Number(isWhole),
  ];
}
