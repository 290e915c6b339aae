/** The page and its files, embedded in the program. @module */

import { eTag, ifNoneMatch } from "@std/http/etag";
import { AppError } from "../core/errors.ts";
import { vrmModule } from "./vrm_module.ts";
// The query `?text` keeps the page's modules out of the type check of this program, which has no DOM types.
import html from "./page/index.html" with { type: "text" };
import apiChat from "./page/api/chat.js?text" with { type: "text" };
import apiEvents from "./page/api/events.js?text" with { type: "text" };
import apiKey from "./page/api/key.js?text" with { type: "text" };
import apiSse from "./page/api/sse.js?text" with { type: "text" };
import apiStorage from "./page/api/storage.js?text" with { type: "text" };
import character from "./page/characters/character.js?text" with { type: "text" };
import drawnBody from "./page/characters/drawn/body.js?text" with { type: "text" };
import drawnColors from "./page/characters/drawn/colors.js?text" with { type: "text" };
import drawn from "./page/characters/drawn/drawn.js?text" with { type: "text" };
import drawnEffects from "./page/characters/drawn/effects.js?text" with { type: "text" };
import drawnFaces from "./page/characters/drawn/faces.js?text" with { type: "text" };
import drawnFigure from "./page/characters/drawn/figure.js?text" with { type: "text" };
import drawnHead from "./page/characters/drawn/head.js?text" with { type: "text" };
import drawnLines from "./page/characters/drawn/lines.js?text" with { type: "text" };
import drawnPose from "./page/characters/drawn/pose.js?text" with { type: "text" };
import drawnSpring from "./page/characters/drawn/spring.js?text" with { type: "text" };
import drawnSvg from "./page/characters/drawn/svg.js?text" with { type: "text" };
import pictures from "./page/characters/pictures/pictures.js?text" with { type: "text" };
import conversation from "./page/conversation.js?text" with { type: "text" };
import chatCss from "./page/css/chat.css" with { type: "text" };
import responsiveCss from "./page/css/responsive.css" with { type: "text" };
import stageCss from "./page/css/stage.css" with { type: "text" };
import themeCss from "./page/css/theme.css" with { type: "text" };
import icon from "./page/icon.svg" with { type: "text" };
import main from "./page/main.js?text" with { type: "text" };
import viewsActivity from "./page/views/activity.js?text" with { type: "text" };
import viewsBar from "./page/views/bar.js?text" with { type: "text" };
import viewsChat from "./page/views/chat.js?text" with { type: "text" };
import viewsDom from "./page/views/dom.js?text" with { type: "text" };
import viewsKeyForm from "./page/views/key_form.js?text" with { type: "text" };
import viewsNotice from "./page/views/notice.js?text" with { type: "text" };
import viewsPerformer from "./page/views/performer.js?text" with { type: "text" };
import viewsPermission from "./page/views/permission.js?text" with { type: "text" };
import viewsSpeech from "./page/views/speech.js?text" with { type: "text" };
import viewsSpeechQueue from "./page/views/speech_queue.js?text" with { type: "text" };
import viewsTags from "./page/views/tags.js?text" with { type: "text" };

/** The files by their path below `/stage/`. */
const FILES: Readonly<Record<string, string>> = {
  "api/chat.js": apiChat,
  "api/events.js": apiEvents,
  "api/key.js": apiKey,
  "api/sse.js": apiSse,
  "api/storage.js": apiStorage,
  "characters/character.js": character,
  "characters/drawn/body.js": drawnBody,
  "characters/drawn/colors.js": drawnColors,
  "characters/drawn/drawn.js": drawn,
  "characters/drawn/effects.js": drawnEffects,
  "characters/drawn/faces.js": drawnFaces,
  "characters/drawn/figure.js": drawnFigure,
  "characters/drawn/head.js": drawnHead,
  "characters/drawn/lines.js": drawnLines,
  "characters/drawn/pose.js": drawnPose,
  "characters/drawn/spring.js": drawnSpring,
  "characters/drawn/svg.js": drawnSvg,
  "characters/pictures/pictures.js": pictures,
  "conversation.js": conversation,
  "css/chat.css": chatCss,
  "css/responsive.css": responsiveCss,
  "css/stage.css": stageCss,
  "css/theme.css": themeCss,
  "icon.svg": icon,
  "main.js": main,
  "views/activity.js": viewsActivity,
  "views/bar.js": viewsBar,
  "views/chat.js": viewsChat,
  "views/dom.js": viewsDom,
  "views/key_form.js": viewsKeyForm,
  "views/notice.js": viewsNotice,
  "views/performer.js": viewsPerformer,
  "views/permission.js": viewsPermission,
  "views/speech.js": viewsSpeech,
  "views/speech_queue.js": viewsSpeechQueue,
  "views/tags.js": viewsTags,
};

const TYPES: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

/** Origins of a character on another server, which the page's Content Security Policy has to allow. */
export interface CharacterOrigins {
  readonly img: readonly string[];
  readonly connect: readonly string[];
}

/** Answers `GET /` for browsers. */
export async function servePage(request: Request, origins: CharacterOrigins): Promise<Response> {
  return await respond(request, html, {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": contentSecurityPolicy(request, origins),
    "referrer-policy": "no-referrer",
    // `GET /` answers programs with JSON, and the policy names the host.
    "vary": "accept, host",
  });
}

/** Answers `GET /stage/NAME`. @throws {AppError} `not_found`. */
export async function serveAsset(request: Request, name: string): Promise<Response> {
  const isVrm = name === "characters/vrm/vrm.js";
  const text = isVrm ? await vrmModule() : Object.hasOwn(FILES, name) ? FILES[name] : undefined;
  if (text === undefined) throw new AppError("not_found", `The page has no file ${name}.`);
  return await respond(request, text, { "content-type": TYPES[name.slice(name.lastIndexOf(".") + 1)]! });
}

async function respond(request: Request, text: string, headers: Record<string, string>): Promise<Response> {
  const etag = await eTag(text);
  const all = { ...headers, etag, "cache-control": "no-cache" };
  return ifNoneMatch(request.headers.get("if-none-match"), etag)
    ? new Response(text, { headers: all })
    : new Response(null, { status: 304, headers: all });
}

/** Allows the page its own files, the character's origins and connections to this server. */
function contentSecurityPolicy(request: Request, { img, connect }: CharacterOrigins): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    ["img-src 'self' data: blob:", ...img].join(" "),
    ["connect-src 'self'", ...socketOrigins(request), ...connect].join(" "),
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'self'",
  ].join("; ");
}

/** Returns the server's own WebSocket origins: Safari before 15.4 does not count them as `'self'`. */
function socketOrigins(request: Request): string[] {
  const host = request.headers.get("host") ?? new URL(request.url).host;
  return /^(\[[\da-f:.]+\]|[\w.-]+)(:\d{1,5})?$/i.test(host) ? [`ws://${host}`, `wss://${host}`] : [];
}
