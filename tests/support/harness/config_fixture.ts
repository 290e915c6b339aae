/** Configurations of a user with a home folder, from the text of a file, variables and flags. */

import { assertThrows } from "@std/assert";
import { ConfigError, type ConfigSource, loadConfig, type Loaded } from "../../../lib/config/load.ts";

export type Env = Record<string, string>;

function source(text: string, env: Env, flags: Env): ConfigSource {
  const file = text ? { path: "config.toml", text } : undefined;
  return { env: { HOME: "/home/mao", ...env }, flags, file };
}

export function load(text = "", env: Env = {}, flags: Env = {}): Loaded {
  return loadConfig(source(text, env, flags));
}

export function configError(text = "", env: Env = {}, flags: Env = {}): ConfigError {
  const error: ConfigError = assertThrows(() => load(text, env, flags), ConfigError);
  return error;
}

export function mistakesOf(text = "", env: Env = {}, flags: Env = {}): readonly string[] {
  return configError(text, env, flags).mistakes;
}
