/** Parsers of settings: each turns the text of a variable or flag into a value, or says what the text must be. @module */

import { z } from "zod";
import { escapeUnsafe } from "../core/unsafe_text.ts";
import { DEFAULT_AGENT, isSameName } from "../turn/model_router.ts";

const TRUE = ["true", "1", "yes", "on"];
const FALSE = ["false", "0", "no", "off", ""];
/** A switch, off if the text is empty. */
export const boolean = z.string().toLowerCase()
  .refine((text) => TRUE.includes(text) || FALSE.includes(text), "must be true or false")
  .transform((text) => TRUE.includes(text));

/** Any text. */
export const text = z.string();

/** Any text; `undefined` if it is empty. */
export const optionalText = text.transform((text) => text || undefined);

/** A text that another parser reads; `undefined` if it is empty. */
export const optional = <T>(parser: z.ZodType<T, string | undefined>) => optionalText.pipe(parser.optional());

/** The path of an address. */
export const urlPath = text.startsWith("/", "must begin with a slash");

/** Items separated by commas. */
export const list = text.transform((text): readonly string[] =>
  text.split(",").map((item) => item.trim()).filter(Boolean)
);

/** The name of the default agent. */
export const agentName = text
  .refine(
    (text) => !isSameName(text, DEFAULT_AGENT),
    `cannot be ${DEFAULT_AGENT}, because requests use that name for whichever agent is the default`,
  )
  .refine(
    (text) => !text.includes("@"),
    "cannot contain an @, because requests name a conversation behind it",
  )
  .refine((text) => escapeUnsafe(text) === text, "cannot contain control characters");

/** Reports whether a variable can have this name; Windows has `ProgramFiles(x86)`. */
export function isVariableName(name: string): boolean {
  return /^[^\s=\p{Cc}]+$/u.test(name);
}

/** Names of variables separated by commas. The message never repeats them, because users put values there by mistake. */
export const variableNames = list.refine(
  (names) => names.every(isVariableName),
  "must be names of variables separated by commas, without spaces and without = and a value",
);

/** A whole number within bounds. */
export const wholeNumber = (min: number, max: number) => {
  const message = `must be a whole number from ${min} to ${max}`;
  return text.regex(/^\d+$/, message).transform(Number)
    .refine((value) => value >= min && value <= max, message);
};

/** A number of this unit within bounds, in milliseconds. */
const duration = (unit: "seconds" | "hours", msPerUnit: number, min: number, max: number) => {
  const message = `must be a number of ${unit} from ${min} to ${max}`;
  return text.regex(/^\d+(\.\d+)?$/, message).transform(Number)
    .refine((value) => value >= min && value <= max, message)
    .transform((value) => Math.round(value * msPerUnit));
};

/** Seconds, as milliseconds; at most a day. */
export const seconds = (min: number) => duration("seconds", 1_000, min, 86_400);

/** Hours, as milliseconds. */
export const hours = (min: number, max: number) => duration("hours", 3_600_000, min, max);

/** One of these words, in capital or small letters. */
export const oneOf = <const T extends readonly string[]>(words: T) =>
  text.toLowerCase().pipe(z.enum(words, `must be one of ${words.join(", ")}`));

/** A host and a port. */
export const address = text.transform((text, context) => {
  const [, bracketed, plain, port] = /^(?:\[([\da-f:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/i.exec(text) ?? [];
  const hostname = bracketed ?? plain;
  if (hostname === undefined || Number(port) > 65_535) {
    context.addIssue("must be an address and a port, like 127.0.0.1:8080 or [::1]:8080");
    return z.NEVER;
  }
  return { hostname, port: Number(port) };
});

/** A program and its arguments, see {@linkcode splitCommand}. */
export const command = text.transform((text, context) => {
  const words = splitCommand(text);
  if (words === undefined) context.addIssue("has a quote that is not closed");
  return words ?? [];
});

/** Splits a command line into words; quotes hold a word together. Returns `undefined` if a quote is not closed. */
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

/** Replaces a `~` at the start of a path with the home folder, if there is one. */
export function expandHome(path: string, env: Readonly<Record<string, string>>): string {
  const home = env.HOME || env.USERPROFILE;
  return home && /^~(?=[\\/]|$)/.test(path) ? home + path.slice(1) : path;
}
