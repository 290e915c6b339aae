/** The stage's paths: the page, what it is made of, and the user's own character. @module */

import type { Handler } from "../http/router.ts";
import { AppError } from "../core/errors.ts";
import type { Character } from "./character.ts";
import { createStage } from "./assets.ts";
import { vrmModule } from "./vrm_module.ts";

/** Answers `GET /` for browsers, and `GET /stage/NAME`. */
export function stageHandlers(character: Character): { readonly page: Handler; readonly files: Handler } {
  const stage = createStage({ csp: character.origins });
  return {
    page: stage.page,
    async files(request, { rest }) {
      if (rest === "character.json") return await character.manifest();
      if (rest.startsWith("character/")) {
        return await character.file(rest.slice("character/".length), request);
      }
      if (rest === "vrm.js") return javascript(await vrmModule());
      const asset = stage.asset(rest, request);
      if (asset === undefined) throw new AppError("not_found", `The page has no file ${rest}.`);
      return asset;
    },
  };
}

function javascript(text: string | undefined): Response {
  if (text === undefined) {
    throw new AppError("not_found", "This program was made without the viewer for VRM files.");
  }
  return new Response(text, {
    headers: { "content-type": "text/javascript; charset=utf-8", "cache-control": "no-cache" },
  });
}
