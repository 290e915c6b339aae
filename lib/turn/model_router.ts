/** Finds the agent and the model that a request's `model` names. @module */

import { AppError } from "../core/errors.ts";
import type { Agent, AgentModel } from "./agent.ts";

/** The agent, model and conversation that a `model` names. */
export interface ModelRoute {
  readonly agent: Agent;
  /** The agent's id of the model; `undefined` is the agent's default. */
  readonly model: string | undefined;
  /** The conversation, if the name has one: `agent@conversation`. */
  readonly conversation: string | undefined;
}

/** The name that always means the default agent, in any case. */
export const DEFAULT_AGENT = "default";
/** Whether two agent names are the same to requests, which may write them in any case. */
export function isSameName(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}

/** Model names that an error message lists. */
const LISTED_MODELS = 20;

/** The agents, which are disposed of with the router. */
export class ModelRouter implements AsyncDisposable {
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

  /** Finds an agent by its exact name. */
  byName(name: string): Agent | undefined {
    return this.all.find((agent) => agent.name === name);
  }

  /** The ids of all models: each agent's name, and `agent/model` for each model that it offers. */
  get models(): string[] {
    return this.all.flatMap(({ name, models }) => [name, ...models.map(({ id }) => `${name}/${id}`)]);
  }

  /**
   * Resolves a `model`. In this order it is one of {@linkcode models}; a model's id or display name, alone or as
   * `agent/model`; an agent's name in other letters; or the default agent, because skins hard-code names such as
   * `gpt-4o`. Spaces around the name, and a `/` or `@` at its end, are ignored unless an exact match has them.
   *
   * @throws {AppError} `model_not_found` for an unknown name, if names are strict.
   */
  resolve(name: string): ModelRoute {
    const text = name.trim();
    const match = this.find(text) ?? withConversation(text, (part) => this.#byAgentOnly(part)) ??
      this.#byAgentOnly(text);
    if (match) return match;
    if (this.isStrict) throw this.notFound(name);
    return route(this.default);
  }

  /** Resolves a `model` that is certain; `undefined` if {@linkcode resolve} would have to guess. */
  find(name: string): ModelRoute | undefined {
    const text = name.trim();
    return this.#match(text) ?? withConversation(text, (part) => this.#match(part));
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

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.all.map((agent) => agent[Symbol.asyncDispose]()));
  }

  #match(name: string): ModelRoute | undefined {
    return this.#matchExactly(name) ??
      (name.endsWith("/") ? this.#matchExactly(name.slice(0, -1)) : undefined);
  }

  /** Prefers ids, of any agent, to display names. */
  #matchExactly(name: string): ModelRoute | undefined {
    if (name === "" || isSameName(name, DEFAULT_AGENT)) return route(this.default);
    const exact = this.byName(name);
    if (exact) return route(exact);
    const { owner, model } = this.#split(name);
    for (const matches of [hasId, hasDisplayName]) {
      const own = owner?.models.find((offered) => matches(offered, model));
      if (owner && own) return route(owner, own.id);
      for (const agent of this.all) {
        const offered = agent.models.find((offered) => matches(offered, name));
        if (offered) return route(agent, offered.id);
      }
    }
    const similar = this.all.find((agent) => isSameName(agent.name, name));
    return similar && route(similar);
  }

  /** Resolves `agent/model` if the agent has not listed its models yet, or does not offer this one. */
  #byAgentOnly(name: string): ModelRoute | undefined {
    const { owner, model } = this.#split(name.replace(/\/$/, ""));
    if (owner === undefined) return undefined;
    if (owner.models.length === 0) return route(owner, model);
    return this.isStrict ? undefined : route(owner);
  }

  /** Splits `agent/model` at the longest agent name, preferably one in the same letters. */
  #split(name: string): { owner: Agent | undefined; model: string } {
    const owners = this.all
      .filter((agent) => {
        const { length } = agent.name;
        return name[length] === "/" && name.length > length + 1 &&
          isSameName(name.slice(0, length), agent.name);
      })
      .toSorted((a, b) => b.name.length - a.name.length);
    const owner = owners.find((agent) => name.startsWith(agent.name)) ?? owners[0];
    return { owner, model: owner ? name.slice(owner.name.length + 1) : "" };
  }
}

function route(agent: Agent, model?: string): ModelRoute {
  return { agent, model, conversation: undefined };
}

/** Resolves `name@conversation`. Both parts may contain an `@`, so the last one that gives a known name counts. */
function withConversation(
  text: string,
  resolve: (name: string) => ModelRoute | undefined,
): ModelRoute | undefined {
  for (let at = text.lastIndexOf("@"); at >= 0; at = at > 0 ? text.lastIndexOf("@", at - 1) : -1) {
    const match = resolve(text.slice(0, at));
    if (match) return { ...match, conversation: text.slice(at + 1) || undefined };
  }
  return undefined;
}

function hasId({ id }: AgentModel, wanted: string): boolean {
  return id === wanted;
}

function hasDisplayName({ name }: AgentModel, wanted: string): boolean {
  return isSameName(name, wanted);
}
