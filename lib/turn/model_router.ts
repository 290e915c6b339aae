/** Finds the agent and the model that a request's `model` names. @module */

import { AppError } from "../core/errors.ts";
import type { Agent, AgentModel } from "./agent.ts";
import type { Caller } from "./caller.ts";

/** The agent, model and conversation that a `model` names. */
export interface ModelRoute {
  readonly agent: Agent;
  /** The agent's id of the model; `undefined` is the agent's default. */
  readonly model?: string | undefined;
  /** The conversation, if the name has one: `agent@conversation`. */
  readonly conversation?: string | undefined;
}

/** The name that always means the default agent, in any case. */
export const DEFAULT_AGENT = "default";
/** Whether two agent names are the same to requests, which may write them in any case. */
export function isSameName(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}

/** The names of a model, in the order of preference. */
const MODEL_NAMES: readonly ((agent: Agent, model: AgentModel) => string)[] = [
  (agent, { id }) => `${agent.name}/${id}`,
  (_, { id }) => id,
  (agent, { name }) => `${agent.name}/${name}`,
  (_, { name }) => name,
];
/** Model names that an error message lists. */
const LISTED_MODELS = 20;

/** The agents, by the names of their models. */
export class ModelRouter {
  /** All agents, the default one first. */
  readonly all: readonly Agent[];
  /** The agent of requests that name none. */
  readonly default: Agent;
  /** Whether unknown names are refused. */
  readonly isStrict: boolean;

  /** @param all One agent or more; the first is the default. */
  constructor(all: readonly Agent[], isStrict = false) {
    const [first] = all;
    if (first === undefined) throw new TypeError("There must be an agent.");
    this.all = all;
    this.default = first;
    this.isStrict = isStrict;
  }

  /**
   * Returns the router for a caller's requests. If only one agent answers the caller, the router knows no other.
   *
   * @throws {TypeError} if there is no such agent.
   */
  for(caller: Pick<Caller, "agent"> | undefined): ModelRouter {
    if (caller?.agent === undefined) return this;
    const agent = this.byName(caller.agent);
    if (agent === undefined) throw new TypeError(`There is no agent "${caller.agent}".`);
    return new ModelRouter([agent], this.isStrict);
  }

  /** Finds an agent by its exact name. */
  byName(name: string): Agent | undefined {
    return this.all.find((agent) => agent.name === name);
  }

  /** The ids of all models: each agent's name, and `agent/model` for each model that it offers. */
  get models(): string[] {
    return this.all.flatMap(({ name, models }) => [name, ...models.map(({ id }) => `${name}/${id}`)]);
  }

  /**
   * Resolves a `model`: a name that {@linkcode find} knows; `agent/model` of an agent that lists no models; else the
   * default agent, because skins hard-code names such as `gpt-4o`. Spaces around the name are ignored.
   *
   * @throws {AppError} `model_not_found` for an unknown name, if names are strict.
   */
  resolve(name: string): ModelRoute {
    const known = this.find(name);
    if (known) return known;
    const [whole, ...shorter] = readings(name.trim());
    const guess = firstRoute([...shorter, whole!], (part) => this.#byAgentOnly(part));
    if (guess) return guess;
    if (this.isStrict) throw this.notFound(name);
    return { agent: this.default };
  }

  /**
   * Resolves a `model` that is certain; `undefined` if {@linkcode resolve} would have to guess. Such a name is an
   * agent's name, or the id or display name of a model, alone or as `agent/model`, in any case.
   */
  find(name: string): ModelRoute | undefined {
    return firstRoute(readings(name.trim()), (part) => this.#match(part));
  }

  /** Makes the error of an unknown model. */
  notFound(name: string): AppError {
    const ids = this.models;
    const more = ids.length > LISTED_MODELS ? `, and ${ids.length - LISTED_MODELS} more` : "";
    const listed = ids.slice(0, LISTED_MODELS).join(", ") + more;
    return new AppError("model_not_found", `There is no model "${name}"; there is ${listed}.`, {
      param: "model",
    });
  }

  /** Prefers an agent's name to a model, an id to a display name, and the same letters to another case. */
  #match(name: string): ModelRoute | undefined {
    if (name === "" || isSameName(name, DEFAULT_AGENT)) return { agent: this.default };
    for (const isSame of [Object.is, isSameName]) {
      const agent = this.all.find((agent) => isSame(agent.name, name));
      if (agent) return { agent };
      for (const nameOf of MODEL_NAMES) {
        for (const agent of this.all) {
          const model = agent.models.find((model) => isSame(nameOf(agent, model), name));
          if (model) return { agent, model: model.id };
        }
      }
    }
    return undefined;
  }

  /** Resolves `agent/model` if the agent has not listed its models yet, or does not offer this one. */
  #byAgentOnly(name: string): ModelRoute | undefined {
    const agent = this.all.find((agent) =>
      isSameName(`${agent.name}/`, name.slice(0, agent.name.length + 1))
    );
    if (agent === undefined) return undefined;
    if (agent.models.length === 0) return { agent, model: name.slice(agent.name.length + 1) || undefined };
    return this.isStrict ? undefined : { agent };
  }
}

/** Lists the ways to read `name@conversation`, the longest name first: both parts may contain an `@`. */
function readings(text: string): { name: string; conversation: string | undefined }[] {
  const parts = text.split("@");
  return parts.map((_, index) => {
    const end = parts.length - index;
    return { name: parts.slice(0, end).join("@"), conversation: parts.slice(end).join("@") || undefined };
  });
}

function firstRoute(
  all: ReturnType<typeof readings>,
  routeOf: (name: string) => ModelRoute | undefined,
): ModelRoute | undefined {
  for (const { name, conversation } of all) {
    const route = routeOf(name);
    if (route) return { ...route, conversation };
  }
  return undefined;
}
