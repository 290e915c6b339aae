/** The page of the stage: what a browser gets at `GET /`, and the files that it loads. @module */

import type { Handler } from "../http/router.ts";
// With `?text` a module of the page is only its text here: else it would be checked as a part of this program, which
// knows no document.
import html from "./page/index.html" with { type: "text" };
import themeCss from "./page/theme.css" with { type: "text" };
import stageCss from "./page/stage.css" with { type: "text" };
import activityCss from "./page/activity.css" with { type: "text" };
import chatCss from "./page/chat.css" with { type: "text" };
import cardsCss from "./page/cards.css" with { type: "text" };
import narrowCss from "./page/narrow.css" with { type: "text" };
import icon from "./page/icon.svg" with { type: "text" };
import backoff from "./page/backoff.js?text" with { type: "text" };
import character from "./page/character.js?text" with { type: "text" };
import chat from "./page/chat.js?text" with { type: "text" };
import drawn from "./page/drawn.js?text" with { type: "text" };
import drawnBody from "./page/drawn_body.js?text" with { type: "text" };
import drawnColors from "./page/drawn_colors.js?text" with { type: "text" };
import drawnFaces from "./page/drawn_faces.js?text" with { type: "text" };
import drawnFigure from "./page/drawn_figure.js?text" with { type: "text" };
import drawnFx from "./page/drawn_fx.js?text" with { type: "text" };
import drawnHead from "./page/drawn_head.js?text" with { type: "text" };
import drawnLines from "./page/drawn_lines.js?text" with { type: "text" };
import drawnPose from "./page/drawn_pose.js?text" with { type: "text" };
import events from "./page/events.js?text" with { type: "text" };
import key from "./page/key.js?text" with { type: "text" };
import main from "./page/main.js?text" with { type: "text" };
import pageText from "./page/page_text.js?text" with { type: "text" };
import pictures from "./page/pictures.js?text" with { type: "text" };
import speech from "./page/speech.js?text" with { type: "text" };
import spring from "./page/spring.js?text" with { type: "text" };
import sse from "./page/sse.js?text" with { type: "text" };
import stageVoice from "./page/stage_voice.js?text" with { type: "text" };
import store from "./page/store.js?text" with { type: "text" };
import svg from "./page/svg.js?text" with { type: "text" };
import tags from "./page/tags.js?text" with { type: "text" };
import viewActivity from "./page/view_activity.js?text" with { type: "text" };
import viewChat from "./page/view_chat.js?text" with { type: "text" };
import viewKey from "./page/view_key.js?text" with { type: "text" };
import viewNotice from "./page/view_notice.js?text" with { type: "text" };
import viewPermission from "./page/view_permission.js?text" with { type: "text" };

/** What the page is made with. */
export interface StageOptions {
  /** Origins beyond the page's own, for a character that lives elsewhere. */
  readonly csp?: { readonly img?: readonly string[]; readonly connect?: readonly string[] };
}

/** The page and its files. */
export interface Stage {
  /** `GET /`, for browsers. */
  readonly page: Handler;
  /** `GET /stage/NAME`; undefined where the page has no such file. */
  asset(name: string, request: Request): Response | undefined;
}

/** The page's files by the name under which they are served. */
const FILES: Readonly<Record<string, string>> = {
  "theme.css": themeCss,
  "stage.css": stageCss,
  "activity.css": activityCss,
  "chat.css": chatCss,
  "cards.css": cardsCss,
  "narrow.css": narrowCss,
  "icon.svg": icon,
  "backoff.js": backoff,
  "character.js": character,
  "chat.js": chat,
  "drawn.js": drawn,
  "drawn_body.js": drawnBody,
  "drawn_colors.js": drawnColors,
  "drawn_faces.js": drawnFaces,
  "drawn_figure.js": drawnFigure,
  "drawn_fx.js": drawnFx,
  "drawn_head.js": drawnHead,
  "drawn_lines.js": drawnLines,
  "drawn_pose.js": drawnPose,
  "events.js": events,
  "key.js": key,
  "main.js": main,
  "page_text.js": pageText,
  "pictures.js": pictures,
  "speech.js": speech,
  "spring.js": spring,
  "sse.js": sse,
  "stage_voice.js": stageVoice,
  "store.js": store,
  "svg.js": svg,
  "tags.js": tags,
  "view_activity.js": viewActivity,
  "view_chat.js": viewChat,
  "view_key.js": viewKey,
  "view_notice.js": viewNotice,
  "view_permission.js": viewPermission,
};

const TYPES: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

/** Serves the page. */
export function createStage(options: StageOptions): Stage {
  const pageTag = tagOf(html);
  const tags = new Map(Object.entries(FILES).map(([name, text]) => [name, tagOf(text)]));
  return {
    page: (request) =>
      answer(request, html, pageTag, {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy(request, options),
        "referrer-policy": "no-referrer",
        // What `GET /` answers depends on who asks: browsers get the page.
        "vary": "accept, host",
      }),
    asset(name, request) {
      const text = Object.hasOwn(FILES, name) ? FILES[name] : undefined;
      if (text === undefined) return undefined;
      const type = TYPES[name.slice(name.lastIndexOf(".") + 1)] ?? "text/plain; charset=utf-8";
      return answer(request, text, tags.get(name) ?? tagOf(text), { "content-type": type });
    },
  };
}

function answer(request: Request, text: string, etag: string, headers: Record<string, string>): Response {
  const all = { ...headers, etag, "cache-control": "no-cache" };
  const known = request.headers.get("if-none-match")?.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  if (known?.includes(etag) || known?.includes("*")) return new Response(null, { status: 304, headers: all });
  return new Response(text, { headers: all });
}

/** What the page may do: load its own files and the character's, and talk to this server. */
function policy(request: Request, { csp }: StageOptions): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    ["img-src 'self' data: blob:", ...csp?.img ?? []].join(" "),
    ["connect-src 'self'", ...socketOrigins(request), ...csp?.connect ?? []].join(" "),
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'self'",
  ].join("; ");
}

/** The server's own WebSockets, which Safari before 15.4 does not count as `'self'`. */
function socketOrigins(request: Request): string[] {
  const host = request.headers.get("host") ?? new URL(request.url).host;
  return /^(\[[\da-f:.]+\]|[\w.-]+)(:\d{1,5})?$/i.test(host) ? [`ws://${host}`, `wss://${host}`] : [];
}

/** A tag that changes with the text: FNV-1a over its characters, in two halves. */
function tagOf(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x01000193;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b + code, 0x85ebca6b) ^ (b >>> 13);
  }
  const hex = (half: number) => (half >>> 0).toString(16).padStart(8, "0");
  return `"${hex(a)}${hex(b)}-${text.length.toString(16)}"`;
}
