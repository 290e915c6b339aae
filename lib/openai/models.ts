/** `GET /v1/models` and `GET /v1/models/{id}`. @module */

import type { Handler } from "../http/router.ts";
import type { ModelRouter } from "../turn/model_router.ts";

/**
 * Lists the agents that answer the caller, and the models that they have reported.
 *
 * @param created Unix seconds, the same in each response.
 */
export function modelsHandler(agents: ModelRouter, created: number): Handler {
  return (_request, { caller }) => {
    const data = agents.for(caller).models.map((id) => describe(id, created));
    return Response.json({ object: "list", data });
  };
}

/**
 * Describes the model that a chat request with this name gets, under its listed id. An unknown name is an error even if
 * chat requests fall back to the default agent.
 */
export function modelHandler(agents: ModelRouter, created: number): Handler {
  return (_request, { rest, caller }) => {
    const router = agents.for(caller);
    const route = router.find(rest);
    if (route === undefined) throw router.notFound(rest);
    const { agent: { name }, model } = route;
    return Response.json(describe(model === undefined ? name : `${name}/${model}`, created));
  };
}

function describe(id: string, created: number) {
  return { id, object: "model", created, owned_by: "acp" };
}
