/** `GET /v1/models`. @module */

import type { Handler } from "../http/router.ts";
import type { ModelRouter } from "../turn/model_router.ts";

/** A model as OpenAI describes one. */
export interface Model {
  readonly id: string;
  readonly object: "model";
  /** Unix seconds, the same at every look. */
  readonly created: number;
  readonly owned_by: string;
}

/** Lists the models: of each agent its usual one, and those that it offers, as far as it told. */
export function modelsHandler(agents: ModelRouter, created: number): Handler {
  return () => Response.json({ object: "list", data: agents.models.map((id) => describe(id, created)) });
}

/**
 * Describes what a request with this name would be served by, under the id that is listed.
 *
 * @throws {Failure} `model_not_found` for a name that means nothing, even where the default agent would serve it.
 */
export function modelHandler(agents: ModelRouter, created: number): Handler {
  return (_request, { rest }) => {
    const found = agents.find(rest);
    if (found === undefined) throw agents.notFound(rest);
    const { agent: { name }, model } = found;
    return Response.json(describe(model === undefined ? name : `${name}/${model}`, created));
  };
}

function describe(id: string, created: number): Model {
  return { id, object: "model", created, owned_by: "acp" };
}
