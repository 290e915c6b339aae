/** The routes of the OpenAI side. @module */

import { canonicalPath, type Route } from "../http/router.ts";
import { chatHandler, type CompletionDeps } from "./chat.ts";
import { completionsHandler } from "./legacy_completions.ts";
import { modelHandler, modelsHandler } from "./models.ts";

/** The parts of the program that the OpenAI side needs. */
export interface OpenAiDeps extends CompletionDeps {
  /** One more path for chat completions. */
  readonly chatPath: string;
}

/** Creates the routes. The extra chat path hides none of them; sides whose routes come later hide it. */
export function openAiRoutes(deps: OpenAiDeps): Route[] {
  const { router, chatPath } = deps;
  const created = Math.floor(Date.now() / 1000);
  const chat = chatHandler(deps);
  const routes: Route[] = [
    {
      path: "/chat/completions",
      POST: chat,
      docs: { POST: { name: "chat", summary: "Chat with the character, as JSON or as a stream" } },
    },
    {
      path: "/completions",
      POST: completionsHandler(deps),
      docs: { POST: { name: "completions", summary: "OpenAI's older form of completions" } },
    },
    {
      path: "/models",
      GET: modelsHandler(router, created),
      docs: { GET: { name: "models", summary: "The agents and their models" } },
    },
    {
      path: "/models/*",
      GET: modelHandler(router, created),
      docs: { GET: { summary: "One agent or model" } },
    },
  ];
  const extra = canonicalPath(chatPath);
  return routes.some(({ path }) => path === extra) ? routes : [...routes, { path: extra, POST: chat }];
}
