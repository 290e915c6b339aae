/** Decides permission requests by policy and by earlier decisions, and describes their tool calls for people. @module */

import { BoundedMap } from "../core/bounded_map.ts";
import type { Log } from "../core/log.ts";
import type {
  PermissionOption,
  PermissionQuestion,
  SessionId,
  ToolCall,
  ToolKind,
  TurnReader,
} from "../turn/event.ts";
import { chooseOption, type Decision, type PermissionBroker } from "../turn/permission.ts";
import type { UpdateTranslator } from "./update.ts";
import type { PermissionRequest } from "./wire.ts";

/** Values of `VTUBER_PERMISSIONS`. */
export const PERMISSION_POLICIES = ["ask", "allow", "deny"] as const;
/** One of {@linkcode PERMISSION_POLICIES}. */
export type PermissionPolicy = (typeof PERMISSION_POLICIES)[number];

/** The `outcome` in the result of `session/request_permission` (ACP `RequestPermissionOutcome`). */
export type PermissionOutcome =
  | { readonly outcome: "selected"; readonly optionId: string }
  | { readonly outcome: "cancelled" };

/** Kinds of tools that change nothing, so that policy `ask` allows them. */
const READS_ONLY: ReadonlySet<ToolKind> = new Set(["read", "search", "think", "fetch"]);

/** Decides what to do about a kind of tool; `ask` asks a person. */
export function evaluatePolicy(policy: PermissionPolicy, kind: ToolKind): "allow" | "reject" | "ask" {
  switch (policy) {
    case "allow":
      return "allow";
    case "deny":
      return "reject";
    case "ask":
      return READS_ONLY.has(kind) ? "allow" : "ask";
    default:
      return policy satisfies never;
  }
}

/** Converts an agent's request into a question for a person. */
export function toQuestion({ toolCall, options }: PermissionRequest, tool: ToolCall): PermissionQuestion {
  return {
    tool,
    detail: detailOf(toolCall),
    options: options.map(({ optionId, name, kind }) => ({ id: optionId, name, kind })),
  };
}

/** Converts the chosen option into the answer. Without an option the request is cancelled. */
export function toOutcome(option: PermissionOption | undefined): PermissionOutcome {
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

function questionKey({ tool, options }: PermissionQuestion, shown: unknown): string {
  return JSON.stringify([tool.kind, tool.title, shown, options.map(({ id, kind }) => [id, kind])]);
}

/** The turn whose agent asks. */
export interface AskingTurn {
  readonly reader: TurnReader;
  readonly translator: UpdateTranslator;
  /** Whether a permission was refused. */
  isRefused: boolean;
}

/** Dependencies of {@linkcode SessionPermissions}. */
export interface PermissionDeps {
  readonly permissions: PermissionPolicy;
  readonly broker: Pick<PermissionBroker, "ask">;
  readonly log: Log;
}

/** Decides the permission requests of one session. */
export class SessionPermissions {
  readonly #sessionId: SessionId;
  readonly #deps: PermissionDeps;
  readonly #always = new AlwaysDecisions();

  constructor(sessionId: SessionId, deps: PermissionDeps) {
    this.#sessionId = sessionId;
    this.#deps = deps;
  }

  /**
   * Decides a request: by the policy, by an earlier decision for always, or by asking a person.
   *
   * @param signal Aborts when the agent withdraws the request, or with the reason `"turn"` when the turn ends.
   */
  async decide(
    request: PermissionRequest,
    turn: AskingTurn,
    signal: AbortSignal,
  ): Promise<PermissionOutcome> {
    const { tool, isChanged } = turn.translator.upsertTool(request.toolCall);
    if (isChanged) turn.reader({ type: "tool", tool });
    const question = toQuestion(request, tool);
    const policy = evaluatePolicy(this.#deps.permissions, tool.kind);
    if (policy === "ask") return await this.#ask(question, request.toolCall, turn, signal);
    if (policy === "reject") this.#refuse(turn, tool, "the permissions setting is deny");
    return toOutcome(chooseOption(question.options, policy));
  }

  /** Answers as a person decided for the whole session, or asks a person. */
  async #ask(
    question: PermissionQuestion,
    { rawInput, content, locations }: PermissionRequest["toolCall"],
    turn: AskingTurn,
    signal: AbortSignal,
  ): Promise<PermissionOutcome> {
    const { tool, options } = question;
    const shown = [rawInput, content, locations];
    const earlier = this.#always.decisionOf(question, shown);
    if (earlier === "reject") this.#refuse(turn, tool, "a person rejected it for the whole session");
    if (earlier) return toOutcome(chooseOption(options, earlier));

    const resolution = await this.#deps.broker.ask(question, turn.reader, signal);
    if (resolution === undefined) {
      const why =
        "no client can answer, or too many requests are open; VTUBER_PERMISSIONS=allow would allow it";
      this.#refuse(turn, tool, why);
      return toOutcome(chooseOption(options, "reject"));
    }
    const { outcome, option, isOnce, by } = resolution;
    switch (outcome) {
      case "cancelled":
        return { outcome: "cancelled" };
      case "expired":
        this.#refuse(turn, tool, "nobody answered in time; VTUBER_PERMISSIONS=allow would allow it");
        break;
      case "rejected":
        this.#refuse(turn, tool, `rejected by ${by}`);
        break;
      case "allowed":
        this.#deps.log.info("allowed a permission", { ...this.#logFields(tool), by });
        break;
      default:
        return outcome satisfies never;
    }
    if (option && !isOnce) this.#always.remember(question, option, shown);
    return toOutcome(option ?? chooseOption(options, "reject"));
  }

  #refuse(turn: AskingTurn, tool: ToolCall, why: string): void {
    turn.isRefused = true;
    turn.translator.markRefused(tool.id);
    this.#deps.log.info(`refused a permission: ${why}`, this.#logFields(tool));
  }

  #logFields({ title, kind }: ToolCall): Record<string, unknown> {
    return { tool: title, kind, session: this.#sessionId };
  }
}

/** Characters of a description of a tool call. */
const MAX_DETAIL_CHARS = 4_000;

/**
 * Describes what a tool call would do, as far as the agent shows it: the command and address in `rawInput`, the changes
 * and texts in `content` (types `diff` and `content`), and the paths in `locations`.
 */
export function detailOf(toolCall: Readonly<Record<string, unknown>>): string {
  const { rawInput, content, locations } = toolCall;
  const command = field(rawInput, "command");
  const lines = [Array.isArray(command) ? command.join(" ") : command];
  for (const item of Array.isArray(content) ? content : []) {
    if (field(item, "type") === "diff") {
      lines.push(
        field(item, "path"),
        signed("-", field(item, "oldText")),
        signed("+", field(item, "newText")),
      );
    } else lines.push(field(field(item, "content"), "text"));
  }
  for (const location of Array.isArray(locations) ? locations : []) {
    const path = field(location, "path");
    if (!lines.includes(path)) lines.push(path);
  }
  lines.push(field(rawInput, "url"));
  const texts = lines.filter((line) => typeof line === "string" && line !== "");
  if (texts.length === 0) texts.push(inputText(rawInput));
  const detail = texts.join("\n");
  return detail.length > MAX_DETAIL_CHARS ? detail.slice(0, MAX_DETAIL_CHARS).toWellFormed() + "..." : detail;
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** Formats the lines of a change, each with a sign. */
function signed(sign: "-" | "+", text: unknown): string {
  if (typeof text !== "string" || text === "") return "";
  return text.replace(/\n$/, "").split("\n").map((line) => `${sign} ${line}`).join("\n");
}

/** Formats the input of a tool whose fields are not known. */
function inputText(rawInput: unknown): string {
  if (typeof rawInput === "string") return rawInput;
  if (rawInput === undefined || rawInput === null) return "";
  const text = JSON.stringify(rawInput);
  return text === "{}" || text === "[]" ? "" : text;
}
