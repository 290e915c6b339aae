/** The configuration file, in OpenAB's shape. @module */

import { parse as parseToml } from "@std/toml/parse";
import { z } from "zod";
import { messageOf } from "../turn/failure.ts";

const agentTable = z.looseObject({
  command: z.string().min(1).optional(),
  args: z.array(z.string()).default([]),
  working_dir: z.string().optional(),
  env: z.record(z.string(), z.string()).default({}),
  inherit_env: z.array(z.string()).default([]),
});
const fileSchema = z.looseObject({ agent: agentTable.optional() });
const AGENT_KEYS = new Set(Object.keys(agentTable.shape));

/** The `[agent]` table. */
export type AgentTable = z.output<typeof agentTable>;

/** Reads `[agent]`, with `${NAME}` replaced by variables. Adds what is wrong to `mistakes`, what is odd to `warnings`. */
export function readAgentTable(
  file: { readonly path: string; readonly text: string },
  env: Readonly<Record<string, string>>,
  mistakes: string[],
  warnings: string[],
): AgentTable | undefined {
  let raw: unknown;
  try {
    raw = parseToml(file.text);
  } catch (error) {
    mistakes.push(`${file.path}: ${messageOf(error)}`);
    return undefined;
  }
  const expanded = expand(raw, env, (name) => mistakes.push(`${file.path}: \${${name}} is not set.`));
  const result = fileSchema.safeParse(expanded);
  if (!result.success) {
    for (const { path, message } of result.error.issues) {
      mistakes.push(`${file.path}: ${path.join(".")}: ${message}.`);
    }
    return undefined;
  }
  const { agent, agents } = result.data;
  for (const key of Object.keys(agent ?? {}).filter((key) => !AGENT_KEYS.has(key))) {
    warnings.push(`${file.path}: agent.${key} is not a setting of this version.`);
  }
  if (agents !== undefined) {
    warnings.push(`${file.path}: only [agent] is served by this version, not [agents].`);
  }
  return agent;
}

/** Puts variables in the place of `${NAME}` in every string. */
function expand(
  value: unknown,
  env: Readonly<Record<string, string>>,
  missing: (name: string) => void,
): unknown {
  if (typeof value === "string") {
    return value.replace(/\$\{(\w+)\}/g, (all, name: string) => {
      if (Object.hasOwn(env, name)) return env[name]!;
      missing(name);
      return all;
    });
  }
  if (Array.isArray(value)) return value.map((item) => expand(item, env, missing));
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, expand(item, env, missing)]));
}
