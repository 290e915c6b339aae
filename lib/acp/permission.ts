/**
 * Decides permission requests by policy and by earlier decisions, or asks a person.
 *
 * Policy `ask` allows thoughts, reads and searches inside of the working directory, and places outside of it that a
 * person has allowed in the session. A tool call that shows a command or a change always needs a person, whatever its
 * kind says.
 *
 * @module
 */

import { BoundedMap } from "../core/bounded_map.ts";
import type { Log } from "../core/log.ts";
import { cutMiddle, truncate } from "../core/text.ts";
import { escapeUnsafeInLines } from "../core/unsafe_text.ts";
import type {
  PermissionOption,
  PermissionQuestion,
  SessionId,
  ToolCall,
  ToolKind,
  TurnReader,
} from "../turn/event.ts";
import {
  chooseOption,
  type Decision,
  type PermissionBroker,
  type PermissionPolicy,
} from "../turn/permission.ts";
import type { AgentLifecycleEvent, PermissionDecision } from "./lifecycle.ts";
import { accessOf, detailOf, MAX_DETAIL_CHARS, outsidePlaces, type ToolAccess } from "./tool_access.ts";
import { isCut, type TrackedTool, type UpdateTranslator } from "./update.ts";
import type { PermissionRequest } from "./wire.ts";

/** The `outcome` in the result of `session/request_permission` (ACP `RequestPermissionOutcome`). */
export type PermissionOutcome =
  | { readonly outcome: "selected"; readonly optionId: string }
  | { readonly outcome: "cancelled" };

/** Kinds of tools that policy `ask` allows if every place that they name is allowed. */
const READS: ReadonlySet<ToolKind> = new Set(["read", "search", "fetch"]);

/** Permission requests of one session that wait for a person; further ones are refused. */
const MAX_OPEN = 10;
/** Folders and hosts of one session that a person has allowed. */
const MAX_PLACES = 1_000;
/** Characters of a title beyond which a person sees it in the detail too: some agents put the command there. */
const MAX_GLANCE_CHARS = 200;

/**
 * Converts an agent's request into a question for a person. If the agent announced the tool call as more dangerous than
 * the request shows, the question has the announcement too.
 *
 * @param announced The tool call before the request.
 * @returns The question, and whether it shows all of the tool call.
 */
function toQuestion(
  { toolCall, options }: PermissionRequest,
  tool: ToolCall,
  announced: TrackedTool | undefined,
): { readonly question: PermissionQuestion; readonly isWhole: boolean } {
  const lines = [detailOf(toolCall)];
  const title = toolCall.title ?? "";
  if (title.length > MAX_GLANCE_CHARS && !lines[0]!.includes(title)) lines.unshift(title);
  const isHidden = announced &&
    (announced.access.isUnsafe && !accessOf(toolCall).isUnsafe ||
      toolCall.kind && toolCall.kind !== tool.kind);
  if (isHidden) {
    for (const text of [announced.shown, announced.tool.title]) {
      if (text !== title && !lines.some((line) => line.includes(text))) lines.unshift(text);
    }
  }
  const detail = lines.filter((line) => line !== "").join("\n");
  return {
    question: {
      tool,
      detail: escapeUnsafeInLines(cutMiddle(detail, MAX_DETAIL_CHARS)),
      options: options.map(toOption),
    },
    isWhole: detail.length <= MAX_DETAIL_CHARS && !(isHidden && isCut(announced)),
  };
}

function toOption({ optionId, name, kind }: PermissionRequest["options"][number]): PermissionOption {
  return { id: optionId, name, kind };
}

/** Leaves only the options that reject: nobody can allow what cannot be seen. */
function onlyRejecting(question: PermissionQuestion): PermissionQuestion {
  return { ...question, options: question.options.filter(({ kind }) => kind.startsWith("reject")) };
}

/** Converts the chosen option into the answer. Without an option the request is cancelled. */
function toOutcome(option: PermissionOption | undefined): PermissionOutcome {
  return option ? { outcome: "selected", optionId: option.id } : { outcome: "cancelled" };
}

/** Decisions that are remembered per session. */
const MAX_DECISIONS = 100;
/** Characters of a question whose decision is remembered. A longer question is asked every time. */
const MAX_KEY_CHARS = 64 * 1024;

/**
 * The decisions of one session that a person made for always, for agents that ask again. A decision holds for the
 * identical question (kind, title, shown content and options) about another tool call: an agent may ask twice about one
 * tool call, each time for something else.
 */
export class AlwaysDecisions {
  readonly #decisions = new BoundedMap<string, { decision: Decision; toolCallId: string }>(MAX_DECISIONS);

  /** @param shown Everything that the agent shows of the tool call, compared to the last character. */
  decisionOf(question: PermissionQuestion, shown: unknown): Decision | undefined {
    const found = this.#decisions.get(questionKey(question, shown));
    return found && found.toolCallId !== question.tool.id ? found.decision : undefined;
  }

  /** Remembers a choice, if it is for always. */
  remember(question: PermissionQuestion, { kind }: PermissionOption, shown: unknown): void {
    if (kind !== "allow_always" && kind !== "reject_always") return;
    const key = questionKey(question, shown);
    if (key.length > MAX_KEY_CHARS) return;
    const decision = kind === "allow_always" ? "allow" : "reject";
    this.#decisions.set(key, { decision, toolCallId: question.tool.id });
  }
}

function questionKey({ tool, detail, options }: PermissionQuestion, shown: unknown): string {
  return JSON.stringify([tool.kind, tool.title, detail, shown, options.map(({ id, kind }) => [id, kind])]);
}

/** The turn whose agent asks. */
export interface AskingTurn {
  readonly reader: TurnReader;
  readonly permissions: PermissionPolicy;
  readonly translator: UpdateTranslator;
  /** Whether a permission was refused. */
  isRefused: boolean;
}

/** Dependencies of {@linkcode SessionPermissions}. */
export interface PermissionDeps {
  readonly broker: Pick<PermissionBroker, "ask">;
  readonly log: Log;
  readonly onLifecycle?: ((event: AgentLifecycleEvent) => void) | undefined;
  /** The session's working directory. */
  readonly cwd: string;
  readonly home?: string | undefined;
}

/** A tool call, and the options that the agent offers for it. */
type RequestedTool = Pick<PermissionQuestion, "tool" | "options">;

/** The end of the log line about a request that no person has decided. */
const ADVICE = 'the permission policy "allow" would allow it';

/** Decides the permission requests of one session. */
export class SessionPermissions {
  readonly #sessionId: SessionId;
  readonly #deps: PermissionDeps;
  readonly #always = new AlwaysDecisions();
  /** The folders and hosts that a person has allowed, each for one kind of tool. */
  readonly #places = new BoundedMap<string, true>(MAX_PLACES);
  #open = 0;

  constructor(sessionId: SessionId, deps: PermissionDeps) {
    this.#sessionId = sessionId;
    this.#deps = deps;
  }

  /**
   * Decides a request: by the policy of the turn, by an earlier decision of a person, or by asking a person.
   *
   * @param signal Aborts when the agent withdraws the request, or with the reason `"turn"` when the turn ends.
   */
  async decide(
    request: PermissionRequest,
    turn: AskingTurn,
    signal: AbortSignal,
  ): Promise<PermissionOutcome> {
    const announced = turn.translator.find(request.toolCall.toolCallId);
    const { tool, access } = turn.translator.upsertTool(request.toolCall);
    if (tool !== announced?.tool) turn.reader({ type: "tool", tool });
    const decided = { tool, options: request.options.map(toOption) };
    if (turn.permissions === "allow") return this.#allow(decided, "the turn's permission policy is allow");
    if (turn.permissions === "deny") {
      return this.#refuse(decided, turn, "the turn's permission policy is deny");
    }

    const places = this.#placesOf(tool, access);
    const reason = this.#reasonToAllow(tool, access, places);
    const canAllowOnce = decided.options.some(({ kind }) => kind === "allow_once");
    if (reason !== undefined && canAllowOnce) return this.#allow(decided, reason);

    const { question, isWhole } = toQuestion(request, tool, announced);
    const { rawInput, content, locations } = request.toolCall;
    const shown = [rawInput, content, locations];
    const earlier = this.#always.decisionOf(question, shown);
    if (earlier === "allow") return this.#allow(question, "a person allowed it for the whole session");
    if (earlier) return this.#refuse(question, turn, "a person rejected it for the whole session");
    if (this.#open >= MAX_OPEN) {
      return this.#refuse(question, turn, `${MAX_OPEN} requests of this turn wait for an answer`);
    }
    this.#open++;
    const asked = isWhole ? question : onlyRejecting(question);
    const resolution = await this.#deps.broker.ask(asked, turn.reader, signal).finally(() => this.#open--);
    if (resolution === undefined) {
      const why = `no client can answer, or too many requests are open; ${ADVICE}`;
      return this.#refuse(question, turn, why, "no_client");
    }
    const { outcome, option, isOnce, by } = resolution;
    if (option && !isOnce) this.#always.remember(question, option, shown);
    switch (outcome) {
      case "cancelled":
        this.#report(outcome);
        return { outcome: "cancelled" };
      case "expired":
        return this.#refuse(question, turn, `nobody answered in time; ${ADVICE}`, outcome);
      case "rejected":
        return this.#refuse(question, turn, `rejected by ${by}`, outcome, option);
      case "allowed":
        for (const place of places ?? []) this.#places.set(place, true);
        return this.#allow(question, `allowed by ${by}`, outcome, option);
      default:
        return outcome satisfies never;
    }
  }

  /** Lists the folders and hosts that a reading tool names, beside the working directory. */
  #placesOf({ kind }: ToolCall, access: ToolAccess): string[] | undefined {
    if (access.isUnsafe || !READS.has(kind)) return undefined;
    const places = outsidePlaces(access, this.#deps.cwd, this.#deps.home);
    // A page is never inside of the working directory.
    if (kind === "fetch" && !places?.some((place) => place.startsWith("host "))) return undefined;
    return places?.map((place) => `${kind} ${place}`);
  }

  /** Returns why policy `ask` allows a tool call without a person; `undefined` if a person has to decide. */
  #reasonToAllow(
    { kind }: ToolCall,
    { isUnsafe }: ToolAccess,
    places: readonly string[] | undefined,
  ): string | undefined {
    if (kind === "think" && !isUnsafe) return "thinking changes nothing";
    if (places?.length === 0) return "it reads inside of the working directory";
    const isAllowed = places?.every((place) => this.#places.has(place));
    return isAllowed ? `a person allowed ${places!.join(", ")} in this session` : undefined;
  }

  #allow(
    { tool, options }: RequestedTool,
    why: string,
    decision: PermissionDecision = "allowed_by_policy",
    option?: PermissionOption,
  ): PermissionOutcome {
    this.#report(decision);
    this.#deps.log.info(`allowed a permission: ${why}`, this.#logFields(tool));
    return toOutcome(option ?? chooseOption(options, "allow"));
  }

  #refuse(
    { tool, options }: RequestedTool,
    turn: AskingTurn,
    why: string,
    decision: PermissionDecision = "rejected_by_policy",
    option?: PermissionOption,
  ): PermissionOutcome {
    this.#report(decision);
    turn.isRefused = true;
    turn.translator.markRefused(tool.id);
    this.#deps.log.info(`refused a permission: ${why}`, this.#logFields(tool));
    return toOutcome(option ?? chooseOption(options, "reject"));
  }

  #report(decision: PermissionDecision): void {
    this.#deps.onLifecycle?.({ type: "permission", decision });
  }

  #logFields({ title, kind }: ToolCall): Record<string, unknown> {
    return { tool: truncate(title, MAX_GLANCE_CHARS), kind, session: this.#sessionId };
  }
}
