/** The permission requests that clients of the Responses API answer themselves. @module */

import { startBackgroundTimer, type Timer } from "../../core/background_timer.ts";
import { AppError } from "../../core/errors.ts";
import { listExcess, type OwnedEntry } from "../../core/excess.ts";
import { type Caller, requireScopes } from "../../turn/caller.ts";
import type { PermissionId, PermissionRequest, ToolCallId } from "../../turn/event.ts";
import type { PermissionBroker } from "../../turn/permission.ts";
import type { Turn } from "../../turn/turn.ts";
import { type ApprovalResponse, type HistoryItem, responseIdOf } from "./items.ts";

/** Approval requests that are known, of all callers together. Beyond it, see {@linkcode listExcess}. */
const MAX_KNOWN = 1_000;
/** Turns that are kept after their end, until their client comes back. Beyond it, see {@linkcode listExcess}. */
const MAX_ENDED = 100;
/** Time for which a turn is kept after its end, in milliseconds: as long as a response in memory. */
const KEEP_MS = 3_600_000;
/** The client's name, for those who watch the turn. */
const CLIENT = "responses";

/** An approval request. A response has ended with it. */
interface Approval extends OwnedEntry {
  /** The id of the item. */
  readonly id: string;
  readonly permissionId: PermissionId;
  /** Characters of the detail, all of which the client has got. The words are not kept. */
  readonly detailChars: number;
  /** The approval requests of the turn so far, by their tools. */
  readonly byTool: ReadonlyMap<ToolCallId, string>;
  /** The turn, as long as the client can go on with it. */
  turn: Turn | undefined;
  /** Time of the clock `performance.now()`; set once the turn has ended. */
  expiresAt: number;
}

/** The answer of a request to an approval request, which may be unknown. */
export interface ApprovalAnswer {
  readonly response: ApprovalResponse;
  readonly approval: Approval | undefined;
  /** The path of the item in the request. */
  readonly path: string;
}

/** The approval requests of responses. */
export class Approvals implements Disposable {
  readonly #broker: Pick<PermissionBroker, "answer">;
  /** By their ids, oldest first. */
  readonly #known = new Map<string, Approval>();
  #expiryTimer: Timer | undefined;

  constructor(broker: Pick<PermissionBroker, "answer">) {
    this.#broker = broker;
  }

  /** Remembers the approval request with which a response has ended, until its turn is over and was not read on. */
  add(
    { id, owner, turn, permission, earlier = new Map() }: {
      /** The id of the item. */
      readonly id: string;
      readonly owner: string;
      readonly turn: Turn;
      readonly permission: PermissionRequest;
      /** The approval requests of the turn before this one, by their tools. */
      readonly earlier?: Approval["byTool"] | undefined;
    },
  ): void {
    const { id: permissionId, detail: { length: detailChars }, tool } = permission;
    const byTool = new Map([...earlier, [tool.id, id]]);
    const approval = { id, owner, permissionId, detailChars, byTool, turn, expiresAt: Infinity, chars: 0 };
    this.#known.set(id, approval);
    for (const { id } of listExcess(this.#known.values(), MAX_KNOWN, Infinity)) this.#known.delete(id);
    turn.ended.then(() => this.#onTurnEnd(approval));
  }

  /** Cancels the turn that waits for the answer to the approval request of a response, and forgets what it said. */
  cancel(responseId: string): void {
    for (const approval of this.#known.values()) {
      if (responseIdOf(approval.id) !== responseId || !isOpen(approval)) continue;
      approval.turn?.cancel();
      approval.turn = undefined;
    }
  }

  /** Forgets what the turns of a caller's conversation said, or of all, that nobody has read on. */
  forget(owner: string, conversation: string | undefined): void {
    for (const approval of this.#known.values()) {
      if (approval.owner !== owner) continue;
      if (conversation !== undefined && approval.turn?.conversation !== conversation) continue;
      approval.turn = undefined;
    }
  }

  /**
   * Finds the answer that a request gives, which is its last item. Clients repeat earlier answers in their history.
   *
   * @throws {AppError} `insufficient_scope`; `invalid_value` for an answer before other items whose request waits.
   */
  find(caller: Caller, items: readonly HistoryItem[]): ApprovalAnswer | undefined {
    for (const [index, item] of items.entries()) {
      if (item.type !== "mcp_approval_response") continue;
      const known = this.#known.get(item.approval_request_id);
      const approval = known?.owner === caller.id ? known : undefined;
      const path = `input[${index}]`;
      if (index === items.length - 1) {
        requireScopes(caller, ["permissions"], "An mcp_approval_response");
        return { response: item, approval, path };
      }
      if (approval && isOpen(approval)) {
        throw new AppError(
          "invalid_value",
          `"${path}" answers a request that still waits, and has to be the last item. Send what follows it with the ` +
            "next request.",
          { param: path },
        );
      }
    }
    return undefined;
  }

  /**
   * Answers the agent, unless a watcher has done so, and begins the next reply of the turn.
   *
   * @param named The response that the request continues, and the conversation that it names.
   * @throws {AppError} `not_found` if the caller has no such approval request, `permission_resolved` if it is over,
   * `invalid_value` if another response or conversation asked, or if the agent does not offer the answer.
   */
  answer(
    { response, approval, path }: ApprovalAnswer,
    { previousId, conversation }: Record<"previousId" | "conversation", string | undefined>,
  ): Turn {
    const { approval_request_id, approve } = response;
    if (approval === undefined) {
      const param = `${path}.approval_request_id`;
      throw new AppError("not_found", `"${param}" is unknown: there is no "${approval_request_id}".`, {
        param,
      });
    }
    const asking = responseIdOf(approval.id);
    if (previousId !== undefined && previousId !== asking) {
      const param = "previous_response_id";
      throw new AppError("invalid_value", `"${param}" has to be "${asking}", which asked for the approval.`, {
        param,
      });
    }
    const { turn, permissionId, detailChars } = approval;
    if (turn === undefined || !isOpen(approval)) {
      throw new AppError(
        "permission_resolved",
        "This approval request is over: it was answered before, its time has run out, or its turn was ended. " +
          "Send a new message.",
      );
    }
    if (conversation !== undefined && conversation !== turn.conversation) {
      const param = "conversation";
      throw new AppError(
        "invalid_value",
        `"${param}" has to be "${turn.conversation}", in which the approval was asked for.`,
        { param },
      );
    }
    try {
      this.#broker.answer(permissionId, { decision: approve ? "allow" : "reject", detailChars }, CLIENT);
    } catch (error) {
      // A watcher was first, or the turn has ended: the client still gets the rest of the reply.
      const isOver = error instanceof AppError &&
        (error.code === "permission_resolved" || error.code === "not_found");
      if (!isOver) throw error instanceof AppError ? notOffered(error, `${path}.approve`) : error;
    }
    approval.turn = undefined;
    turn.resumeReply();
    return turn;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#expiryTimer);
  }

  /** Keeps a turn that a watcher has answered for its client, for a while. */
  #onTurnEnd(approval: Approval): void {
    approval.expiresAt = performance.now() + KEEP_MS;
    this.#expire();
    const ended = [...this.#known.values()].filter(hasEndedTurn);
    for (const excess of listExcess(ended, MAX_ENDED, Infinity)) excess.turn = undefined;
  }

  /** Forgets the turns with which no client can go on, now and from now on. */
  #expire(): void {
    for (const known of this.#known.values()) if (!isOpen(known)) known.turn = undefined;
    const next = Math.min(...this.#known.values().filter(hasEndedTurn).map(({ expiresAt }) => expiresAt));
    clearTimeout(this.#expiryTimer);
    this.#expiryTimer = next < Infinity
      ? startBackgroundTimer(() => this.#expire(), next - performance.now())
      : undefined;
  }
}

/** Whether the client can still go on with the turn: with its answer, or after that of a watcher. */
function isOpen({ turn, permissionId, expiresAt }: Approval): boolean {
  return turn !== undefined && turn.isAsking(permissionId) && performance.now() < expiresAt;
}

/** Whether the turn has ended, and is kept. */
function hasEndedTurn({ turn, expiresAt }: Approval): boolean {
  return turn !== undefined && expiresAt < Infinity;
}

function notOffered({ code, message }: AppError, param: string): AppError {
  return new AppError(code, message, { param });
}
