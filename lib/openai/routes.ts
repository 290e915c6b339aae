/** The routes of the OpenAI side. @module */

import { canonicalPath, type Route } from "../http/router.ts";
import { type CompletionDeps, completionHandler } from "./chat.ts";
import { modelHandler, modelsHandler } from "./models.ts";

/** The parts of the program that the OpenAI side needs. */
export interface OpenAiDeps extends CompletionDeps {
  /** One more path for chat completions. */
  readonly chatPath: string;
}

/** Creates the routes. The extra chat path hides none of them; sides whose routes come later hide it. */
export function openAiRoutes(deps: OpenAiDeps): Route[] {
  const created = Math.floor(Date.now() / 1000);
  const chat = completionHandler(deps, "chat");
  return [
    { path: canonicalPath(deps.chatPath), POST: chat },
    {
      path: "/chat/completions",
      POST: chat,
      docs: { POST: { name: "chat", summary: "Chat with the character, as JSON or as a stream" } },
    },
    {
      path: "/completions",
      POST: completionHandler(deps, "text"),
      docs: { POST: { name: "completions", summary: "OpenAI's older form of completions" } },
    },
    {
      path: "/models",
      GET: modelsHandler(deps.router, created),
      docs: { GET: { name: "models", summary: "The agents and their models" } },
    },
    {
      path: "/models/*",
      GET: modelHandler(deps.router, created),
      docs: { GET: { summary: "One agent or model" } },
    },
  ];
}
