/** The routes of the OpenAI side. @module */

import { canonicalPath, type Route } from "../http/router.ts";
import { type CompletionDeps, completionHandler } from "./chat.ts";
import { modelHandler, modelsHandler } from "./models.ts";

/** The parts of the program that the OpenAI side needs. */
export interface OpenAiDeps extends CompletionDeps {
  /** One more path for chat completions. */
  readonly chatPath: string;
}

/** The endpoints to call in place of OpenAI's endpoints that libraries and apps try by default. */
const NOT_SERVED: Readonly<Record<string, string>> = {
  "/responses":
    "The Responses API is not served: call POST /v1/chat/completions, in the AI SDK with provider.chat().",
  "/embeddings":
    "An agent makes no embeddings: use another server for them. POST /v1/chat/completions is the chat.",
  "/audio/speech": "Speech is not served: let your app speak the text of POST /v1/chat/completions.",
  "/audio/transcriptions":
    "Speech is not recognized: send text, or `input_audio` to POST /v1/chat/completions.",
  "/images/generations": "Images are not made: POST /v1/chat/completions is the chat.",
  "/moderations": "Moderation is not served: POST /v1/chat/completions is the chat.",
  "/messages": "Anthropic's API is not served: call POST /v1/chat/completions.",
  "/realtime": "The Realtime API is not served: call POST /v1/chat/completions.",
  "/api/chat":
    "Ollama's API is not served: call POST /v1/chat/completions, with the OpenAI setting of your app.",
  "/api/generate":
    "Ollama's API is not served: call POST /v1/chat/completions, with the OpenAI setting of your app.",
  "/api/tags": "Ollama's API is not served: call GET /v1/models, with the OpenAI setting of your app.",
};

/** Creates the routes. The extra chat path hides none of them; sides whose routes come later hide it. */
export function openAiRoutes(deps: OpenAiDeps): Route[] {
  const created = Math.floor(Date.now() / 1000);
  const chat = completionHandler(deps, "chat");
  return [
    ...Object.entries(NOT_SERVED).map(([path, instead]) => ({ path, instead })),
    { path: canonicalPath(deps.chatPath), aliasOf: "/chat/completions", POST: chat },
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
