/** The parts of a message's content, as OpenAI's clients and AITuber-kit send them. @module */

import type { Part } from "../conversation/message.ts";
import { AppError, type ErrorCode } from "../core/errors.ts";

/** Longest type of a part that a message shows. */
export const MAX_TYPE_CHARS = 40;
const AUDIO_TYPES: ReadonlyMap<unknown, string> = new Map([["wav", "audio/wav"], ["mp3", "audio/mpeg"]]);

/** Parses a part. @param at The part's path in the request. @throws {AppError} that names the field. */
export function parsePart(value: unknown, at: string): Part {
  if (typeof value === "string") return { type: "text", text: value };
  const part: Readonly<Record<string, unknown>> = Object(value);
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
      const { url } = Object(part.image_url);
      return url === undefined ? parseImage(part.image_url, field) : parseImage(url, `${field}.url`);
    }
    case "image":
      return parseImage(part.image, `${at}.image`);
    case "input_audio":
      return parseAudio(part.input_audio, `${at}.input_audio`);
    default:
      throw invalid(
        at,
        `has the unsupported type "${stringAt(part.type, `${at}.type`).slice(0, MAX_TYPE_CHARS)}"; ` +
          "send text or images or audio",
        "unsupported_content_type",
      );
  }
}

function invalid(param: string, fault: string, code: ErrorCode = "invalid_value"): AppError {
  return new AppError(code, `"${param}" ${fault}.`, { param });
}

function stringAt(value: unknown, param: string): string {
  if (typeof value === "string") return value;
  throw invalid(
    param,
    "must be a string",
    value === undefined ? "missing_required_parameter" : "invalid_type",
  );
}

/** Parses `data:image/png;base64,...`. Other URLs are not fetched, because they may point into the server's network. */
function parseImage(value: unknown, param: string): Part {
  const url = stringAt(value, param);
  const comma = url.indexOf(",");
  const head = /^data:(image\/[\w.+-]+)(?:;[\w-]+=[^;,]*)*;base64$/i.exec(url.slice(0, Math.max(comma, 0)));
  const data = url.slice(comma + 1);
  if (head?.[1] && isBase64(data)) return { type: "image", mimeType: head[1].toLowerCase(), data };
  throw invalid(param, "must be data:image/...;base64,... because the server fetches none");
}

function parseAudio(value: unknown, param: string): Part {
  const { data, format } = Object(value);
  const mimeType = AUDIO_TYPES.get(stringAt(format, `${param}.format`));
  if (mimeType === undefined) {
    throw invalid(
      `${param}.format`,
      `must be one of ${[...AUDIO_TYPES.keys()].join(", ")}`,
      "unsupported_value",
    );
  }
  const base64 = stringAt(data, `${param}.data`);
  if (isBase64(base64)) return { type: "audio", mimeType, data: base64 };
  throw invalid(`${param}.data`, "must be base64");
}

function isBase64(data: string): boolean {
  return data.replace(/=+$/, "").length % 4 !== 1 && /^[A-Za-z0-9+/]+={0,2}$/.test(data);
}
