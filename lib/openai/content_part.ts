/** The parts of a message's content, as OpenAI's clients and AITuber-kit send them. @module */

import type { Part } from "../conversation/message.ts";
import { AppError } from "../core/errors.ts";

/** A part of a request, unchecked but for its type. */
export type ContentPart = { type: string; [key: string]: unknown };

const AUDIO_TYPES: ReadonlyMap<string, string> = new Map([["wav", "audio/wav"], ["mp3", "audio/mpeg"]]);

/** Parses a part. @param at The part's path in the request. @throws {AppError} that names the field. */
export function parsePart(part: ContentPart, at: string): Part {
  switch (part.type) {
    case "text":
    case "input_text":
    case "output_text":
      return { type: "text", text: stringAt(part.text, `${at}.text`) };
    case "refusal":
      return { type: "text", text: stringAt(part.refusal, `${at}.refusal`) };
    case "image_url":
    case "input_image": {
      const field = `${at}.image_url`;
      const url = (part.image_url as { url?: unknown } | null)?.url;
      return url === undefined ? parseImage(part.image_url, field) : parseImage(url, `${field}.url`);
    }
    case "image":
      return parseImage(part.image, `${at}.image`);
    case "input_audio":
      return parseAudio(part.input_audio, `${at}.input_audio`);
    default:
      throw new AppError(
        "unsupported_content_type",
        `"${at}" is of the type "${part.type}", which is not supported; send text, image_url, image or input_audio.`,
        { param: at },
      );
  }
}

/** Makes the error of a field whose value is not supported. */
export function unsupportedValue(param: string, advice: string): AppError {
  return new AppError("unsupported_value", `"${param}" is not supported. ${advice}`, { param });
}

function stringAt(value: unknown, param: string): string {
  if (typeof value === "string") return value;
  const code = value === undefined ? "missing_required_parameter" : "invalid_type";
  throw new AppError(code, `"${param}" must be a string.`, { param });
}

/** Parses `data:image/png;base64,...`. Other URLs are not fetched, because they may point into the server's network. */
function parseImage(value: unknown, param: string): Part {
  const url = stringAt(value, param);
  const comma = url.indexOf(",");
  const head = /^data:(image\/[\w.+-]+)(?:;[\w-]+=[^;,]*)*;base64$/i.exec(url.slice(0, Math.max(comma, 0)));
  const data = url.slice(comma + 1);
  if (head?.[1] && isBase64(data)) return { type: "image", mimeType: head[1].toLowerCase(), data };
  const fault = /^https?:/i.test(url)
    ? "is a remote URL, and the server fetches none"
    : "is not a base64 data URL";
  throw new AppError("invalid_value", `"${param}" ${fault}; send the image as data:image/...;base64,...`, {
    param,
  });
}

function parseAudio(value: unknown, param: string): Part {
  const { data, format } = (value ?? {}) as { data?: unknown; format?: unknown };
  const mimeType = AUDIO_TYPES.get(stringAt(format, `${param}.format`));
  if (mimeType === undefined) {
    throw unsupportedValue(`${param}.format`, `It must be one of ${[...AUDIO_TYPES.keys()].join(", ")}.`);
  }
  const base64 = stringAt(data, `${param}.data`);
  if (isBase64(base64)) return { type: "audio", mimeType, data: base64 };
  throw new AppError("invalid_value", `"${param}.data" must be base64.`, { param: `${param}.data` });
}

function isBase64(data: string): boolean {
  return data.replace(/=+$/, "").length % 4 !== 1 && /^[A-Za-z0-9+/]+={0,2}$/.test(data);
}
