import type { Message, Part, Role } from "../../../lib/conversation/message.ts";

/** One message of a transcript; strings among the parts are text. */
function message(role: Role, name: string | undefined, parts: readonly (string | Part)[]): Message {
  return {
    role,
    ...(name === undefined ? {} : { name }),
    parts: parts.map((part) => typeof part === "string" ? { type: "text", text: part } : part),
  };
}

/** A user's message. */
export const user = (...parts: (string | Part)[]): Message => message("user", undefined, parts);
/** A message of one of several users. */
export const named = (name: string, ...parts: (string | Part)[]): Message => message("user", name, parts);
/** What was answered. */
export const assistant = (...parts: string[]): Message => message("assistant", undefined, parts);
/** What the caller tells the model. */
export const system = (...parts: string[]): Message => message("system", undefined, parts);
/** What a tool gave. */
export const tool = (name: string | undefined, ...parts: string[]): Message => message("tool", name, parts);

/** An image. */
export const image = (data = "aW1hZ2U="): Part => ({ type: "image", mimeType: "image/png", data });
/** A sound. */
export const audio = (data = "c291bmQ="): Part => ({ type: "audio", mimeType: "audio/wav", data });
