/** What a setting is, and the kinds of them: how the text of each is read. @module */

import { z } from "zod";
import { DEFAULT_AGENT, isSameName } from "../turn/model_router.ts";

/** A setting. */
export interface Setting<T> {
  readonly env: string;
  /** What it is when nobody sets it, as text; `""` is unset. */
  readonly default: string;
  readonly help: string;
  readonly read: z.ZodType<T, string>;
  /** Its flag; a secret has none, since every user of a machine sees the flags of its programs. */
  readonly flag?: string;
  /** The flag needs no value. */
  readonly isSwitch?: boolean;
}

const TRUE = ["true", "1", "yes", "on"];
const FALSE = ["false", "0", "no", "off"];
/** `true` or `false`, and other words for them. */
export const truth = z.string().toLowerCase().refine(
  (text) => text === "" || TRUE.includes(text) || FALSE.includes(text),
  "must be true or false",
).transform((text) => TRUE.includes(text));
/** Any text; an empty one is none. */
export const optional = z.string().transform((text) => text === "" ? undefined : text);
/** What the default agent is called. */
export const agentName = z.string()
  .refine(
    (text) => !isSameName(text, DEFAULT_AGENT),
    `may not be ${DEFAULT_AGENT}, by which requests mean any default agent`,
  )
  .refine((text) => !text.includes("@"), "may have no @, behind which requests name a conversation");
/** Items with commas between them. */
export const list = z.string().transform((text) =>
  text.split(",").map((item) => item.trim()).filter(Boolean)
);
/** What a variable can be called; on Windows there is `ProgramFiles(x86)`. */
const VARIABLE_NAME = /^[^\s=\p{Cc}]+$/u;
/** Whether a variable can be called so. */
export function isVariableName(name: string): boolean {
  return VARIABLE_NAME.test(name);
}
/** The name of a variable. Who puts its value there too is not told it. */
export const variableName = z.string('must be a text: put it in quotes, such as "1"')
  .regex(
    VARIABLE_NAME,
    "must be the name of a variable, such as OPENAI_API_KEY: without a space, and without a = and a value",
  );
/** Names of variables with commas between them. */
export const variableNames = list.refine(
  (names) => names.every(isVariableName),
  "must be names of variables with commas between them, without a space in them, and without a = and a value",
);
/** A whole number within bounds. */
export const whole = (least: number, most: number) =>
  z.string().regex(/^\d+$/, `must be a whole number from ${least} to ${most}`).transform(Number)
    .refine((value) => value >= least && value <= most, `must be a whole number from ${least} to ${most}`);
/** Seconds, as milliseconds; a day at most. */
export const seconds = (least: number) =>
  z.string().regex(/^\d+(\.\d+)?$/, `must be a number of seconds, at least ${least}`)
    .transform((text) => Number(text) * 1000)
    .refine((ms) => ms >= least * 1000 && ms <= 86_400_000, `must be from ${least} to 86400 seconds`);
/** Hours, as milliseconds. */
export const hours = (least: number, most: number) =>
  z.string().regex(/^\d+(\.\d+)?$/, `must be a number of hours from ${least} to ${most}`)
    .transform(Number)
    .refine((value) => value >= least && value <= most, `must be from ${least} to ${most} hours`)
    .transform((value) => Math.round(value * 3_600_000));
/** One of these words. */
export const oneOf = <const T extends readonly string[]>(values: T) =>
  z.string().toLowerCase().transform((text, context): T[number] => {
    if (!values.includes(text)) {
      context.issues.push({ code: "custom", message: `must be one of ${values.join(", ")}`, input: text });
    }
    return text;
  });
/** An address and a port. */
export const address = z.string().transform((text, context) => {
  const [, bracketed, plain, port] = /^(?:\[([\da-f:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/i.exec(text) ?? [];
  const hostname = bracketed ?? plain;
  if (hostname === undefined || Number(port) > 65_535) {
    const message = "must be an address and a port, like 127.0.0.1:8080 or [::1]:8080";
    context.issues.push({ code: "custom", message, input: text });
    return z.NEVER;
  }
  return { hostname, port: Number(port) };
});
/** A program and its arguments. */
export const command = z.string().transform((text, context) => {
  const words = splitCommand(text);
  if (words === undefined) {
    context.issues.push({ code: "custom", message: "has a quote that is not closed", input: text });
  }
  return words ?? [];
});

/** A path as a person writes it: `~` at its beginning is the home folder, if there is one. */
export function expandHome(path: string, env: Readonly<Record<string, string>>): string {
  const home = env.HOME || env.USERPROFILE;
  return home && /^~(?=[\\/]|$)/.test(path) ? home + path.slice(1) : path;
}

/** A {@linkcode Setting}; one that is `true` or `false` needs no value as a flag. */
export const setting = <T>(
  env: string,
  fallback: string,
  help: string,
  read: z.ZodType<T, string>,
  flag?: string,
) => ({
  env,
  default: fallback,
  help,
  read,
  ...(flag ? { flag } : {}),
  isSwitch: read === truth as z.ZodType,
});

/** A command line in words; quotes hold a word together. `undefined` if one is not closed. */
export function splitCommand(text: string): string[] | undefined {
  const words: string[] = [];
  const pattern = /\s*((?:"[^"]*"|'[^']*'|[^\s"'])+)/gy;
  let end = 0;
  for (let match = pattern.exec(text); match; match = pattern.exec(text)) {
    words.push(match[1]!.replace(/"([^"]*)"|'([^']*)'/g, (_all, double, single) => double ?? single));
    end = pattern.lastIndex;
  }
  return text.slice(end).trim() === "" ? words : undefined;
}
