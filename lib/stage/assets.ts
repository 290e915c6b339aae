/** The stage's page: `GET /` for browsers, and the files that the page loads from `/stage/`. @module */

import { createHash } from "node:crypto";
import { ifNoneMatch } from "@std/http/etag";
import type { Handler } from "../http/router.ts";
// The query `?text` keeps the page's modules out of the type check of this program, which knows no DOM.
import html from "./page/index.html" with { type: "text" };
import themeCss from "./page/css/theme.css" with { type: "text" };
import stageCss from "./page/css/stage.css" with { type: "text" };
import activityCss from "./page/css/activity.css" with { type: "text" };
import chatCss from "./page/css/chat.css" with { type: "text" };
import cardsCss from "./page/css/cards.css" with { type: "text" };
import narrowCss from "./page/css/responsive.css" with { type: "text" };
import icon from "./page/icon.svg" with { type: "text" };
import backoff from "./page/api/backoff.js?text" with { type: "text" };
import character from "./page/characters/character.js?text" with { type: "text" };
import chat from "./page/api/chat.js?text" with { type: "text" };
import drawn from "./page/characters/drawn/drawn.js?text" with { type: "text" };
import drawnBody from "./page/characters/drawn/body.js?text" with { type: "text" };
import drawnColors from "./page/characters/drawn/colors.js?text" with { type: "text" };
import drawnFaces from "./page/characters/drawn/faces.js?text" with { type: "text" };
import drawnFigure from "./page/characters/drawn/figure.js?text" with { type: "text" };
import drawnFx from "./page/characters/drawn/effects.js?text" with { type: "text" };
import drawnHead from "./page/characters/drawn/head.js?text" with { type: "text" };
import drawnLines from "./page/characters/drawn/lines.js?text" with { type: "text" };
import drawnPose from "./page/characters/drawn/pose.js?text" with { type: "text" };
import events from "./page/api/events.js?text" with { type: "text" };
import key from "./page/api/key.js?text" with { type: "text" };
import main from "./page/main.js?text" with { type: "text" };
import pageText from "./page/views/dom.js?text" with { type: "text" };
import pictures from "./page/characters/pictures/pictures.js?text" with { type: "text" };
import speech from "./page/views/speech.js?text" with { type: "text" };
import spring from "./page/characters/spring.js?text" with { type: "text" };
import sse from "./page/api/sse.js?text" with { type: "text" };
import stageVoice from "./page/views/speech_queue.js?text" with { type: "text" };
import store from "./page/api/storage.js?text" with { type: "text" };
import svg from "./page/characters/drawn/svg.js?text" with { type: "text" };
import tags from "./page/views/tags.js?text" with { type: "text" };
import viewActivity from "./page/views/activity.js?text" with { type: "text" };
import viewChat from "./page/views/chat.js?text" with { type: "text" };
import viewKey from "./page/views/key.js?text" with { type: "text" };
import viewNotice from "./page/views/notice.js?text" with { type: "text" };
import viewPermission from "./page/views/permission.js?text" with { type: "text" };

/** Origins beside the page's own that its Content Security Policy allows, for a character on another server. */
export interface CharacterOrigins {
  readonly img: readonly string[];
  readonly connect: readonly string[];
}

/** The page and its files. */
export interface StageAssets {
  /** Answers `GET /` for browsers. */
  readonly page: Handler;
  /** Answers `GET /stage/NAME`; `undefined` if the page has no such file. */
  file(name: string, request: Request): Response | undefined;
}

/** The page's files by the name under which they are served. */
const FILES: Readonly<Record<string, string>> = {
  "css/theme.css": themeCss,
  "css/stage.css": stageCss,
  "css/activity.css": activityCss,
  "css/chat.css": chatCss,
  "css/cards.css": cardsCss,
  "css/responsive.css": narrowCss,
  "icon.svg": icon,
  "api/backoff.js": backoff,
  "characters/character.js": character,
  "api/chat.js": chat,
  "characters/drawn/drawn.js": drawn,
  "characters/drawn/body.js": drawnBody,
  "characters/drawn/colors.js": drawnColors,
  "characters/drawn/faces.js": drawnFaces,
  "characters/drawn/figure.js": drawnFigure,
  "characters/drawn/effects.js": drawnFx,
  "characters/drawn/head.js": drawnHead,
  "characters/drawn/lines.js": drawnLines,
  "characters/drawn/pose.js": drawnPose,
  "api/events.js": events,
  "api/key.js": key,
  "main.js": main,
  "views/dom.js": pageText,
  "characters/pictures/pictures.js": pictures,
  "views/speech.js": speech,
  "characters/spring.js": spring,
  "api/sse.js": sse,
  "views/speech_queue.js": stageVoice,
  "api/storage.js": store,
  "characters/drawn/svg.js": svg,
  "views/tags.js": tags,
  "views/activity.js": viewActivity,
  "views/chat.js": viewChat,
  "views/key.js": viewKey,
  "views/notice.js": viewNotice,
  "views/permission.js": viewPermission,
};

const TYPES: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

/** Creates the page. */
export function createStageAssets(origins: CharacterOrigins = { img: [], connect: [] }): StageAssets {
  const pageTag = etagOf(html);
  const etags = new Map(Object.entries(FILES).map(([name, text]) => [name, etagOf(text)]));
  return {
    page: (request) =>
      respond(request, html, pageTag, {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": contentSecurityPolicy(request, origins),
        "referrer-policy": "no-referrer",
        // `GET /` answers programs with JSON, and the policy names the host.
        "vary": "accept, host",
      }),
    file(name, request) {
      const etag = etags.get(name);
      if (etag === undefined) return undefined;
      const type = TYPES[name.slice(name.lastIndexOf(".") + 1)]!;
      return respond(request, FILES[name]!, etag, { "content-type": type });
    },
  };
}

function respond(request: Request, text: string, etag: string, headers: Record<string, string>): Response {
  const all = { ...headers, etag, "cache-control": "no-cache" };
  if (!ifNoneMatch(request.headers.get("if-none-match"), etag)) {
    return new Response(null, { status: 304, headers: all });
  }
  return new Response(text, { headers: all });
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

function etagOf(text: string): string {
  return `"${createHash("sha256").update(text).digest("hex").slice(0, 32)}"`;
}
