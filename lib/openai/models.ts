/** `GET /v1/models`. @module */

import type { Handler } from "../http/router.ts";
import { type Agents, DEFAULT_AGENT, sameName } from "../turn/agents.ts";

/** A model as OpenAI describes one. */
export interface Model {
  readonly id: string;
  readonly object: "model";
  /** Unix seconds, the same at every look. */
  readonly created: number;
  readonly owned_by: string;
}

/** Lists the models: of each agent its usual one, and those that it offers, as far as it told. */
export function modelsHandler(agents: Agents, created: number): Handler {
  return () => Response.json({ object: "list", data: modelsOf(agents, created) });
}

/** Describes one model; `default` is the default agent. @throws {Failure} `model_not_found`. */
export function modelHandler(agents: Agents, created: number): Handler {
  return (_request, { rest }) => {
    const wanted = sameName(rest, DEFAULT_AGENT) ? agents.default.name : rest;
    const model = modelsOf(agents, created).find(({ id }) => id === wanted);
    if (model) return Response.json(model);
    throw agents.notFound(rest);
  };
}

function modelsOf({ models }: Agents, created: number): Model[] {
  return models.map((id) => ({ id, object: "model", created, owned_by: "acp" }));
}
