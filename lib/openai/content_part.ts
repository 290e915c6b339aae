/** Parts of a message's content as OpenAI's clients send them, and AITuber-kit. @module */

import type { Part } from "../conversation/message.ts";
import { AppError, type ErrorCode } from "../core/errors.ts";

/** A part as it came. */
export type ContentPart = { type: string; [key: string]: unknown };

/** Reads a part; `at` is where it stands. @throws {AppError} that names the field and says what to do. */
export function toPart(part: ContentPart, at: string): Part {
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
      return url === undefined
        ? toImage(stringAt(part.image_url, field), field)
        : toImage(stringAt(url, `${field}.url`), `${field}.url`);
    }
    case "image":
      return toImage(stringAt(part.image, `${at}.image`), `${at}.image`);
    case "input_audio":
      return toAudio(part.input_audio, `${at}.input_audio`);
    default:
      throw new AppError(
        "unsupported_content_type",
        `"${at}" is of the type "${part.type}", which is not known here; ` +
          "send text, image_url, image or input_audio.",
        { param: at },
      );
  }
}

function stringAt(value: unknown, param: string): string {
  if (typeof value === "string") return value;
  const code: ErrorCode = value === undefined ? "missing_required_parameter" : "invalid_type";
  throw new AppError(code, `"${param}" must be a string.`, { param });
}

/** `data:image/png;base64,...`; other addresses are never fetched, since they could be anything that we can reach. */
function toImage(url: string, param: string): Part {
  const comma = url.indexOf(",");
  const head = /^data:(image\/[\w.+-]+)(?:;[\w-]+=[^;,]*)*;base64$/i.exec(url.slice(0, Math.max(comma, 0)));
  const data = url.slice(comma + 1);
  if (head?.[1] && isBase64(data)) return { type: "image", mimeType: head[1].toLowerCase(), data };
  throw new AppError(
    "invalid_value",
    /^https?:/i.test(url)
      ? `"${param}" is a remote address, and those are not fetched; send the image as data:image/...;base64,...`
      : `"${param}" must be data:image/...;base64,... with the image in base64.`,
    { param },
  );
}

const AUDIO_TYPES = new Map([["wav", "audio/wav"], ["mp3", "audio/mpeg"]]);

function toAudio(value: unknown, param: string): Part {
  const { data, format } = (value ?? {}) as { data?: unknown; format?: unknown };
  const mimeType = AUDIO_TYPES.get(stringAt(format, `${param}.format`));
  if (mimeType === undefined) {
    throw unsupported(`${param}.format`, `It must be one of ${[...AUDIO_TYPES.keys()].join(", ")}.`);
  }
  const base64 = stringAt(data, `${param}.data`);
  if (!isBase64(base64)) {
    throw new AppError("invalid_value", `"${param}.data" must be base64.`, { param: `${param}.data` });
  }
  return { type: "audio", mimeType, data: base64 };
}

function isBase64(data: string): boolean {
  return data.replace(/=+$/, "").length % 4 !== 1 && /^[A-Za-z0-9+/]+={0,2}$/.test(data);
}

/** The failure for a value that is not supported. */
export function unsupported(param: string, what: string): AppError {
  return new AppError("unsupported_value", `"${param}" is not supported. ${what}`, { param });
}
