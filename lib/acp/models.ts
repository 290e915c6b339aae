/** Models and modes: what an agent offers for a session, and how it is asked for: pure. @module */

import type { AgentModel } from "../turn/agent.ts";
import type { ConfigOption, SessionSettings } from "./wire.ts";

/** Models, or modes, of one agent that are kept; kilo offers 390. */
const MAX_OFFERED = 1_000;
/** How many of them a message names. */
const MAX_NAMED = 10;

/** What can be chosen. */
export type ChoiceKind = "model" | "mode";

/** Something of a list that an agent offers. */
export type Offered = AgentModel;

/** What an agent offers of a kind, in one of the two ways in which it can be asked for. */
export interface Choice {
  readonly kind: ChoiceKind;
  /** The option that `session/set_config_option` sets; without one there is a method of its own. */
  readonly configId: string | undefined;
  /** The id of what is set now, if the agent tells. */
  readonly current: string | undefined;
  readonly offered: readonly Offered[];
}

/** What can be chosen in a session. */
export interface Choices {
  readonly model: Choice | undefined;
  /** The mode, in each of the ways in which it can be asked for. */
  readonly modes: readonly Choice[];
}

/** What an agent offers for a session. */
export function choicesOf(settings: SessionSettings): Choices {
  return { model: modelsOf(settings), modes: modesOf(settings) };
}

/** The same for a session of which is not known what is set. What was set elsewhere can be, named or not. */
export function unset({ model, modes }: Choices): Choices {
  return { model: model && unsetOne(model), modes: modes.map(unsetOne) };
}

/**
 * The models that an agent offers for a session: its option of that category, or else the older list.
 *
 * @example
 * ```ts
 * import { modelsOf } from "./models.ts";
 * import { parseSessionSettings } from "./wire.ts";
 * const models = { currentModelId: "a", availableModels: [{ modelId: "a", name: "A" }] };
 * if (modelsOf(parseSessionSettings({ models }))?.current !== "a") throw new Error("It is told.");
 * ```
 */
export function modelsOf({ configOptions, models }: SessionSettings): Choice | undefined {
  const option = optionOf("model", configOptions);
  if (option || !models) return option;
  const offered = models.availableModels.map(({ modelId, name }) => ({ id: modelId, name }));
  return choice("model", undefined, models.currentModelId, offered);
}

/** The modes that an agent offers for a session, by their own method and as an option: agents may have both. */
export function modesOf({ configOptions, modes }: SessionSettings): Choice[] {
  const own = modes ? choice("mode", undefined, modes.currentModeId, modes.availableModes) : undefined;
  return [own, optionOf("mode", configOptions)].filter((one) => one !== undefined);
}

/** The option of a kind: by its category, or where it has none by its id. */
export function optionOf(kind: ChoiceKind, options: readonly ConfigOption[]): Choice | undefined {
  const option = options.find(({ id, category }) => (category ?? id) === kind);
  if (option === undefined) return undefined;
  const offered = option.options.map(({ value, name }) => ({ id: value, name }));
  return choice(kind, option.id, option.currentValue, offered);
}

/**
 * The id of what is wanted by id, or by the name that people know it by: the very id first, then a name in whatever
 * case, then an id in another case if only one is that.
 */
export function find({ offered }: Choice, wanted: string): string | undefined {
  const lower = wanted.toLowerCase();
  const alike = offered.filter(({ id }) => id.toLowerCase() === lower);
  const found = offered.find(({ id }) => id === wanted) ??
    offered.find(({ name }) => name.toLowerCase() === lower) ??
    (alike.length === 1 ? alike[0] : undefined);
  return found?.id;
}

/** The request that sets it. */
export function requestFor(
  { kind, configId }: Choice,
  sessionId: string,
  value: string,
): { method: string; params: Readonly<Record<string, string>> } {
  if (configId !== undefined) {
    return { method: "session/set_config_option", params: { sessionId, configId, value } };
  }
  return kind === "model"
    ? { method: "session/set_model", params: { sessionId, modelId: value } }
    : { method: "session/set_mode", params: { sessionId, modeId: value } };
}

/** Why something is not chosen: that it is not offered, and what is. */
export function notOffered(kind: ChoiceKind, wanted: string, offered: readonly Offered[]): string {
  if (offered.length === 0) return `The agent has no ${kind} "${wanted}"; it names none.`;
  const named = offered.slice(0, MAX_NAMED).map(({ id }) => id).join(", ");
  const more = offered.length > MAX_NAMED ? `, and ${offered.length - MAX_NAMED} more` : "";
  return `The agent has no ${kind} "${wanted}"; it has ${named}${more}.`;
}

function unsetOne(choice: Choice): Choice {
  const { current, offered } = choice;
  const isNamed = current === undefined || offered.some(({ id }) => id === current);
  return {
    ...choice,
    current: undefined,
    offered: isNamed ? offered : [{ id: current, name: current }, ...offered],
  };
}

function choice(
  kind: ChoiceKind,
  configId: string | undefined,
  current: string | undefined,
  all: readonly Offered[],
): Choice {
  const offered = new Map<string, Offered>();
  for (const { id, name } of all) {
    if (offered.size >= MAX_OFFERED) break;
    if (!offered.has(id)) offered.set(id, { id, name: name || id });
  }
  return { kind, configId, current: current || undefined, offered: [...offered.values()] };
}
