/** The routes of the stage: the page, its files, and the user's own character. @module */

import { accepts } from "@std/http/negotiation";
import { AppError } from "../core/errors.ts";
import type { Route } from "../http/router.ts";
import { createStageAssets } from "./assets.ts";
import type { Character } from "./character.ts";
import { vrmModule } from "./vrm_module.ts";

/** Dependencies of the stage's routes. */
export interface StageDeps {
  readonly character: Character;
  /** Returns the description of the server that `GET /` gives to programs. */
  readonly describe: () => unknown;
}

/** Makes the routes `GET /` (the page for browsers, a JSON description for programs) and `GET /stage/NAME`. */
export function stageRoutes({ character, describe }: StageDeps): Route[] {
  const assets = createStageAssets(character.origins);
  return [
    {
      path: "/",
      unversioned: true,
      open: true,
      docs: { GET: { summary: "The stage for browsers; a JSON description of the server for programs" } },
      async GET(request, context) {
        const wantsPage = accepts(request, "application/json", "text/html") === "text/html";
        const response = wantsPage ? await assets.page(request, context) : Response.json(describe());
        response.headers.append("vary", "accept");
        return response;
      },
    },
    {
      path: "/stage/*",
      open: true,
      async GET(request, { rest }) {
        if (rest === "character.json") return await character.manifest();
        if (rest.startsWith("character/")) {
          return await character.file(rest.slice("character/".length), request);
        }
        if (rest === "characters/vrm/vrm.js") return javascript(await vrmModule());
        const file = assets.file(rest, request);
        if (file === undefined) throw new AppError("not_found", `The page has no file ${rest}.`);
        return file;
      },
    },
  ];
}

function javascript(text: string | undefined): Response {
  if (text === undefined) {
    throw new AppError("not_found", "This program was built without the viewer for VRM files.");
  }
  return new Response(text, {
    headers: { "content-type": "text/javascript; charset=utf-8", "cache-control": "no-cache" },
  });
}
