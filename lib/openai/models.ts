/** `GET /v1/models`. @module */

import type { Handler } from "../http/router.ts";
import { Failure } from "../turn/failure.ts";

/** A model as OpenAI describes one. */
export interface Model {
  readonly id: string;
  readonly object: "model";
  /** Unix seconds, the same at every look. */
  readonly created: number;
  readonly owned_by: string;
}

/** Lists the models. */
export function modelsHandler(models: readonly Model[]): Handler {
  return () => Response.json({ object: "list", data: models });
}

/** Describes one model. @throws {Failure} `model_not_found`. */
export function modelHandler(models: readonly Model[]): Handler {
  return (_request, { rest }) => {
    const model = models.find(({ id }) => id === rest);
    if (model) return Response.json(model);
    const known = models.map(({ id }) => id).join(", ");
    throw new Failure("model_not_found", `There is no model "${rest}"; there is ${known}.`, {
      param: "model",
    });
  };
}
