/** The modes in which agents act without asking for permissions, so that `ask` and `deny` do not hold. Pure. @module */

/** The modes of a known agent. */
interface AgentModes {
  /** Matches the name that the agent tells (ACP `agentInfo.name`). */
  readonly name: RegExp;
  /** Ids of the modes in which it asks before it runs a command or changes a file. Empty: in none. */
  readonly asking: readonly string[];
}

/**
 * Agents that were run; the first match counts. Agents and modes that are not listed are not known to skip questions.
 */
const AGENTS: readonly AgentModes[] = [
  { name: /\bcodex\b/i, asking: ["read-only"] },
  { name: /\bclaude\b/i, asking: ["default", "plan"] },
  { name: /\b(gemini|qwen)\b/i, asking: ["default", "plan"] },
  { name: /^pi(-acp)?$/i, asking: [] },
];

/**
 * Says that an agent may act without asking in its present mode, and what to set instead.
 *
 * @param agent The name that the agent tells.
 * @param mode The id of the session's mode, if the agent has modes.
 */
export function describeUnaskedMode(agent: string | undefined, mode: string | undefined): string | undefined {
  const known = agent === undefined ? undefined : AGENTS.find(({ name }) => name.test(agent));
  if (known === undefined) return undefined;
  const [first] = known.asking;
  if (first === undefined) {
    return `${agent} never asks for permissions: it does everything, whatever the permission policy is.`;
  }
  if (mode === undefined || known.asking.includes(mode)) return undefined;
  return `${agent} may act without asking in its mode "${mode}", whatever the permission policy is. ` +
    `In the mode "${first}" it asks.`;
}
