/** The routes of the stage: the page, its files, and the user's own character. @module */

import { accepts } from "@std/http/negotiation";
import type { Route } from "../http/router.ts";
import { serveAsset, servePage } from "./assets.ts";
import type { Character } from "./character.ts";

/** Folder of the character's files, below `/stage/`. */
const CHARACTER = "character/";

/** Dependencies of the stage's routes. */
export interface StageDeps {
  readonly character: Character;
  /** Returns the description of the server that `GET /` gives to programs. */
  readonly describe: () => unknown;
}

/** Makes the routes `GET /` (the page for browsers, a JSON description for programs) and `GET /stage/NAME`. */
export function stageRoutes({ character, describe }: StageDeps): Route[] {
  return [
    {
      path: "/",
      unversioned: true,
      docs: { GET: { summary: "The stage for browsers; a JSON description of the server for programs" } },
      async GET(request) {
        const wantsPage = accepts(request, "application/json", "text/html") === "text/html";
        if (wantsPage) return await servePage(request, character.origins);
        return Response.json(describe(), { headers: { vary: "accept" } });
      },
    },
    {
      path: "/stage/*",
      unversioned: true,
      async GET(request, { rest }) {
        if (rest === "character.json") return await character.manifest();
        if (rest.startsWith(CHARACTER)) return await character.file(rest.slice(CHARACTER.length), request);
        return await serveAsset(request, rest);
      },
    },
  ];
}
