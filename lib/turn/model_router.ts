/** The agents behind one address, and which of them a model's name means. @module */

import type { Agent, AgentModel } from "./agent.ts";
import { AppError } from "../core/errors.ts";

/** What a model's name stands for. */
export interface ModelRoute {
  readonly agent: Agent;
  /** The agent's own name for the model; without one the agent's usual model answers. */
  readonly model: string | undefined;
  /** The conversation that the name tells as well: `agent@conversation`. */
  readonly conversation: string | undefined;
}

/** The word that always means the default agent, in any capitals. */
export const DEFAULT_AGENT = "default";
/** Whether two names of agents are one to requests: capital letters make no difference. */
export function isSameName(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}

/** Names of models that an error message lists. */
const LISTED_MODELS = 20;

/** The agents. They end with it. */
export class ModelRouter implements AsyncDisposable {
  /** All of them, the default one first. */
  readonly all: readonly Agent[];
  /** The one that answers where none is named. */
  readonly default: Agent;
  /** Names that mean nothing are refused. */
  readonly isStrict: boolean;

  /** @param all At least one; the first is the default. */
  constructor(all: readonly Agent[], isStrict = false) {
    const [first] = all;
    if (first === undefined) throw new TypeError("There must be an agent.");
    this.all = all;
    this.default = first;
    this.isStrict = isStrict;
  }

  /** The agent of this name. */
  byName(name: string): Agent | undefined {
    return this.all.find((agent) => agent.name === name);
  }

  /** Ids that {@linkcode resolve} knows: of each agent, and as `agent/model` of the models that it told of. */
  get models(): string[] {
    return this.all.flatMap(({ name, models }) => [name, ...models.map(({ id }) => `${name}/${id}`)]);
  }

  /**
   * What a model's name means: an id of {@linkcode models}, or else a model's own name, alone or as `agent/name`, or else
   * the default agent, since skins hard-code names such as `gpt-4o`. Spaces around it make no difference, nor does a `/`
   * or an `@` at its end, nor do capital letters in an agent's name, unless what is written to the letter means something.
   *
   * @throws {AppError} `model_not_found` for a name that means nothing, if names are taken strictly.
   */
  resolve(wanted: string): ModelRoute {
    const found = this.find(wanted);
    if (found) return found;
    const text = wanted.trim();
    const guess = (name: string) => this.#ofAgent(name);
    const guessed = inConversation(text, guess) ?? guess(text);
    if (guessed) return guessed;
    if (this.isStrict) throw this.notFound(wanted);
    return served(this.default);
  }

  /** What a model's name is known to mean, as {@linkcode resolve} takes it; nothing for one that can only be guessed. */
  find(wanted: string): ModelRoute | undefined {
    const text = wanted.trim();
    return this.#known(text) ?? inConversation(text, (name) => this.#known(name));
  }

  /** The failure for a model that is not there. */
  notFound(wanted: string): AppError {
    const ids = this.models;
    const more = ids.length > LISTED_MODELS ? `, and ${ids.length - LISTED_MODELS} more` : "";
    const known = ids.slice(0, LISTED_MODELS).join(", ") + more;
    return new AppError("model_not_found", `There is no model "${wanted}"; there is ${known}.`, {
      param: "model",
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.all.map((agent) => agent[Symbol.asyncDispose]()));
  }

  /** What the name is known to mean, with a model behind its `/` or with none. */
  #known(wanted: string): ModelRoute | undefined {
    return this.#meant(wanted) ?? (wanted.endsWith("/") ? this.#meant(wanted.slice(0, -1)) : undefined);
  }

  /** What is meant by a name: ids first, of all agents. */
  #meant(wanted: string): ModelRoute | undefined {
    if (wanted === "" || isSameName(wanted, DEFAULT_AGENT)) return served(this.default);
    const agent = this.byName(wanted);
    if (agent) return served(agent);
    const { owner, model } = this.#split(wanted);
    for (const fits of [hasId, hasName]) {
      const own = owner?.models.find((offered) => fits(offered, model));
      if (owner && own) return served(owner, own.id);
      for (const agent of this.all) {
        const offered = agent.models.find((offered) => fits(offered, wanted));
        if (offered) return served(agent, offered.id);
      }
    }
    const alike = this.all.find(({ name }) => isSameName(name, wanted));
    return alike && served(alike);
  }

  /** A model of an agent that has not told yet which it offers, or that does not offer it: then its usual one. */
  #ofAgent(wanted: string): ModelRoute | undefined {
    const { owner, model } = this.#split(wanted.replace(/\/$/, ""));
    if (owner === undefined) return undefined;
    if (owner.models.length === 0) return served(owner, model);
    return this.isStrict ? undefined : served(owner);
  }

  /** The agent whose name it begins with, the longest one, and the rest. */
  #split(wanted: string): { owner: Agent | undefined; model: string } {
    const owners = this.all.filter(({ name: { length: end }, name }) =>
      wanted[end] === "/" && wanted.length > end + 1 && isSameName(wanted.slice(0, end), name)
    )
      .toSorted((a, b) => b.name.length - a.name.length);
    const owner = owners.find(({ name }) => wanted.startsWith(name)) ?? owners[0];
    return { owner, model: owner ? wanted.slice(owner.name.length + 1) : "" };
  }
}

function served(agent: Agent, model?: string): ModelRoute {
  return { agent, model, conversation: undefined };
}

/** What stands before an `@`, with the conversation behind it. A conversation's name may hold one, as may a model's. */
function inConversation(
  text: string,
  meaning: (name: string) => ModelRoute | undefined,
): ModelRoute | undefined {
  for (let at = text.lastIndexOf("@"); at >= 0; at = at > 0 ? text.lastIndexOf("@", at - 1) : -1) {
    const named = meaning(text.slice(0, at));
    if (named) return { ...named, conversation: text.slice(at + 1) || undefined };
  }
  return undefined;
}

function hasId({ id }: AgentModel, wanted: string): boolean {
  return id === wanted;
}

function hasName({ name }: AgentModel, wanted: string): boolean {
  return isSameName(name, wanted);
}
