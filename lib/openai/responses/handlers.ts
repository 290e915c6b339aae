/** The endpoints of responses that are kept: each is for its caller only. @module */

import { AppError } from "../../core/errors.ts";
import type { Handler } from "../../http/router.ts";
import type { ResponseDeps } from "./create.ts";
import { cannotStream } from "./event_log.ts";
import { listInputItems } from "./items.ts";

/** Items of a page: the default, and the most. */
const PAGE_ITEMS = 20;
const MAX_PAGE_ITEMS = 100;

type Deps = Pick<ResponseDeps, "responses" | "approvals">;

/** Creates the handler of `GET /v1/responses/{id}`, which also streams a response in the background again. */
export function retrieveHandler({ responses, stream }: Pick<ResponseDeps, "responses" | "stream">): Handler {
  return ({ url }, { rest: id, caller }) => {
    const { response, events } = responses.require(caller.id, id);
    const { searchParams } = new URL(url);
    if (searchParams.get("stream") !== "true") return Response.json(response);
    if (events === undefined) {
      throw cannotStream("it was not made in the background, or is no longer in memory");
    }
    const startingAfter = searchParams.get("starting_after");
    const after = startingAfter === null ? -1 : Number(startingAfter);
    if (startingAfter === "" || !(Number.isSafeInteger(after) && after >= -1)) {
      throw invalid("starting_after", "must be the sequence_number of an event");
    }
    return events.stream(after, stream);
  };
}

/** Creates the handler of `DELETE /v1/responses/{id}`. */
export function deleteHandler({ responses, approvals }: Deps): Handler {
  return async (_, { rest: id, caller }) => {
    await responses.delete(caller.id, id);
    approvals.cancel(id);
    return Response.json({ id, object: "response.deleted", deleted: true });
  };
}

/**
 * Creates the handler of `POST /v1/responses/{id}/cancel`. A response that has ended stays as it is. If its turn waits
 * for an approval, the turn ends.
 */
export function cancelHandler({ responses, approvals }: Deps): Handler {
  return (_, { rest: id, caller }) => {
    responses.require(caller.id, id).cancel();
    approvals.cancel(id);
    return Response.json(responses.require(caller.id, id).response);
  };
}

/** Creates the handler of `GET /v1/responses/{id}/input_items`. */
export function inputItemsHandler({ responses }: Pick<Deps, "responses">): Handler {
  return ({ url }, { rest: id, caller }) => {
    const { searchParams } = new URL(url);
    const order = searchParams.get("order") ?? "desc";
    if (order !== "asc" && order !== "desc") throw invalid("order", "must be asc or desc");
    const limit = Number(searchParams.get("limit") ?? PAGE_ITEMS);
    if (!(Number.isInteger(limit) && limit >= 1 && limit <= MAX_PAGE_ITEMS)) {
      throw invalid("limit", `must be a number from 1 to ${MAX_PAGE_ITEMS}`);
    }
    const items = listInputItems(responses.require(caller.id, id).input, id);
    if (order === "desc") items.reverse();
    const after = searchParams.get("after");
    const before = after === null ? -1 : items.findIndex((item) => item.id === after);
    if (after !== null && before < 0) throw invalid("after", "is the id of no item of this response");
    const data = items.slice(before + 1, before + 1 + limit);
    return Response.json({
      object: "list",
      data,
      first_id: data.at(0)?.id ?? null,
      last_id: data.at(-1)?.id ?? null,
      has_more: before + 1 + limit < items.length,
    });
  };
}

function invalid(param: string, fault: string): AppError {
  return new AppError("invalid_value", `"${param}" ${fault}.`, { param });
}
