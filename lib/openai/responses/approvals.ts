/** The permission requests that clients of the Responses API answer themselves. @module */

import { BoundedMap } from "../../core/bounded_map.ts";
import { AppError } from "../../core/errors.ts";
import { type Caller, requireScopes } from "../../turn/caller.ts";
import type { PermissionId, PermissionRequest, ToolCallId } from "../../turn/event.ts";
import type { PermissionBroker } from "../../turn/permission.ts";
import type { Turn } from "../../turn/turn.ts";
import { type ApprovalResponse, type HistoryItem, responseIdOf } from "./items.ts";

/** Approval requests that are known, of all callers together. The oldest go first. */
const MAX_KNOWN = 1_000;
/** The client's name, for those who watch the turn. */
const CLIENT = "responses";

/** An approval request, with which a response has ended. */
interface Approval {
  /** The id of the item. */
  readonly id: string;
  /** The caller's id. */
  readonly owner: string;
  readonly permissionId: PermissionId;
  /** Unix milliseconds. */
  readonly expiresAt: number;
  /** Characters of the detail, all of which the client has got. The words are not kept. */
  readonly detailChars: number;
  /** The approval requests of the turn so far, by their tools. */
  readonly byTool: Map<ToolCallId, string>;
  /** The turn, until somebody goes on with it or the time is over. */
  turn: Turn | undefined;
}

/** The answer of a request to an approval request, which may be unknown. */
export interface ApprovalAnswer {
  readonly response: ApprovalResponse;
  readonly approval: Approval | undefined;
  /** The path of the item in the request. */
  readonly path: string;
}

/** The approval requests of responses. */
export class Approvals {
  readonly #broker: Pick<PermissionBroker, "answer">;
  readonly #known = new BoundedMap<string, Approval>(MAX_KNOWN);

  constructor(broker: Pick<PermissionBroker, "answer">) {
    this.#broker = broker;
  }

  /** Remembers the approval request with which a response has ended. */
  add(
    { permission, byTool = new Map(), ...approval }:
      & Pick<Approval, "id" | "owner" | "turn">
      & { readonly permission: PermissionRequest; readonly byTool: Approval["byTool"] | undefined },
  ): void {
    // A turn may be large, and nobody else remembers it once it is over.
    for (const known of this.#known.values()) if (!isOpen(known)) known.turn = undefined;
    const { id: permissionId, expiresAt, detail, tool } = permission;
    byTool.set(tool.id, approval.id);
    this.#known.set(approval.id, {
      ...approval,
      ...{ permissionId, expiresAt, detailChars: detail.length, byTool },
    });
  }

  /** Cancels the turn that waits for the answer to the approval request of a response, if there is one. */
  cancel(responseId: string): void {
    for (const approval of this.#known.values()) {
      if (responseIdOf(approval.id) === responseId && isOpen(approval)) approval.turn?.cancel();
    }
  }

  /**
   * Finds the answer that a request gives: if its last item is one, the newest answer to a request that is open, or
   * else the last one. Clients repeat earlier answers in their history.
   *
   * @throws {AppError} `insufficient_scope`.
   */
  find(caller: Caller, items: readonly HistoryItem[]): ApprovalAnswer | undefined {
    if (items.at(-1)?.type !== "mcp_approval_response") return undefined;
    requireScopes(caller, ["permissions"], "An mcp_approval_response");
    const answers = items.flatMap((item, index): ApprovalAnswer[] => {
      if (item.type !== "mcp_approval_response") return [];
      const known = this.#known.get(item.approval_request_id);
      const approval = known?.owner === caller.id ? known : undefined;
      return [{ response: item, approval, path: `input[${index}]` }];
    });
    return answers.findLast(({ approval }) => approval && isOpen(approval)) ?? answers.at(-1);
  }

  /**
   * Answers the agent, unless a watcher has done so, and begins the next reply of the turn.
   *
   * @throws {AppError} `not_found` if the caller has no such approval request, `permission_resolved` if it is over,
   * `invalid_value` if the agent does not offer the answer.
   */
  answer({ response: { approval_request_id, approve }, approval, path }: ApprovalAnswer): Turn {
    if (approval === undefined) {
      const param = `${path}.approval_request_id`;
      throw new AppError("not_found", `"${param}" is unknown: there is no "${approval_request_id}".`, {
        param,
      });
    }
    const { turn, permissionId, detailChars } = approval;
    if (turn === undefined || !isOpen(approval)) {
      throw new AppError(
        "permission_resolved",
        "This approval request is over: it was answered before, its time has run out, or a newer request has ended " +
          "its turn. Send a new message.",
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
}

function isOpen({ turn, permissionId, expiresAt }: Approval): boolean {
  return turn !== undefined && turn.isAsking(permissionId) && Date.now() < expiresAt;
}

function notOffered({ code, message }: AppError, param: string): AppError {
  return new AppError(code, message, { param });
}
