/** The command line. @module */

import { parseArgs, type ParseArgsConfig } from "node:util";
import { SETTING_HELP } from "./settings.ts";

/** What the command line says. */
export interface Flags {
  /** Values by the variable that each flag stands for. */
  readonly flags: Readonly<Record<string, string>>;
  readonly help: boolean;
  readonly version: boolean;
  /** Path of the configuration file. */
  readonly config: string | undefined;
}

/** Reads the arguments. @throws {TypeError} that names a flag which is not known or lacks its value. */
export function readFlags(args: readonly string[]): Flags {
  const options: NonNullable<ParseArgsConfig["options"]> = {
    help: { type: "boolean", short: "h" },
    version: { type: "boolean", short: "V" },
    config: { type: "string" },
  };
  const variables = new Map<string, string>();
  for (const { flag, env, isSwitch } of SETTING_HELP) {
    if (flag === undefined) continue;
    options[flag] = { type: isSwitch ? "boolean" : "string" };
    variables.set(flag, env);
  }
  const { values } = parseArgs({ args: [...args], options, strict: true });
  const { help, version, config, ...others } = values;
  const flags = Object.entries(others).map(([name, value]) => [variables.get(name), String(value)]);
  return {
    flags: Object.fromEntries(flags),
    help: help === true,
    version: version === true,
    config: typeof config === "string" ? config : undefined,
  };
}
