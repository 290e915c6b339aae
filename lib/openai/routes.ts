/** The routes of the OpenAI side. @module */

import { KeyLimit } from "../http/key_limit.ts";
import { canonicalPath, type Route } from "../http/router.ts";
import { completionHandler } from "./chat.ts";
import { type EmbeddingsConfig, embeddingsHandler } from "./embeddings.ts";
import { modelHandler, modelsHandler } from "./models.ts";
import {
  MAX_TEXTS_PER_KEY,
  type SpeechDeps,
  speechHandler,
  speechModelsHandler,
  voicesHandler,
} from "./speech.ts";
import { type TranscriptionDeps, transcriptionHandler } from "./transcriptions.ts";
import { createHandler, type ResponseDeps } from "./responses/create.ts";
import { cancelHandler, deleteHandler, inputItemsHandler, retrieveHandler } from "./responses/handlers.ts";

/** The parts of the program that the OpenAI side needs. */
export interface OpenAiDeps extends ResponseDeps, SpeechDeps, TranscriptionDeps {
  /** One more path for chat completions. */
  readonly chatPath: string;
  /** The server that makes embeddings. */
  readonly embeddings: EmbeddingsConfig | undefined;
}

const NO_FILES = "Nothing is stored here: send images and audio in POST /v1/chat/completions.";
const NO_JOBS = "Nothing is trained or run later here: POST /v1/chat/completions is the chat.";
const NO_ASSISTANTS =
  "The Assistants API is not served: call POST /v1/responses, which remembers conversations.";
const NO_MEDIA = "Images and videos are not made: POST /v1/chat/completions is the chat.";

/** The endpoints to call in place of those that libraries and apps try, and of everything below them. */
const NOT_SERVED: Readonly<Record<string, string>> = {
  "/responses/compact":
    "Compaction is not served: POST /v1/responses with `previous_response_id` goes on, and agents compact by themselves.",
  "/responses/input_tokens": "Tokens are not counted beforehand: see `usage` of POST /v1/responses.",
  "/audio/translations":
    "Recordings are not translated: POST /v1/audio/transcriptions, and ask the character to translate the text.",
  "/images": NO_MEDIA,
  "/videos": NO_MEDIA,
  "/moderations": "Moderation is not served: POST /v1/chat/completions is the chat.",
  "/files": NO_FILES,
  "/uploads": NO_FILES,
  "/vector_stores": NO_FILES,
  "/containers": NO_FILES,
  "/batches": NO_JOBS,
  "/fine_tuning": NO_JOBS,
  "/evals": NO_JOBS,
  "/conversations":
    "Conversations begin by themselves: name one in `conversation` of POST /v1/responses, or in the header X-Session-Id.",
  "/assistants": NO_ASSISTANTS,
  "/threads": NO_ASSISTANTS,
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
  const texts = new KeyLimit(MAX_TEXTS_PER_KEY, "texts and replies that are spoken");
  const chat = completionHandler(deps, "chat", texts);
  return [
    ...Object.entries(NOT_SERVED).flatMap(([path, instead]) => [
      { path, instead },
      { path: `${path}/*`, instead },
    ]),
    { path: canonicalPath(deps.chatPath), aliasOf: "/chat/completions", POST: chat },
    {
      path: "/chat/completions",
      POST: chat,
      docs: { POST: { name: "chat", summary: "Chat with the character, as JSON or as a stream" } },
    },
    {
      path: "/completions",
      POST: completionHandler(deps, "text", texts),
      docs: { POST: { name: "completions", summary: "OpenAI's older form of completions" } },
    },
    {
      path: "/responses",
      POST: createHandler(deps),
      docs: {
        POST: {
          name: "responses",
          summary: "OpenAI's newer form of chat, as JSON, as a stream, or in the background",
        },
      },
    },
    {
      path: "/responses/*/cancel",
      POST: cancelHandler(deps),
      docs: { POST: { summary: "Ends a response that is being made" } },
    },
    {
      path: "/responses/*/input_items",
      GET: inputItemsHandler(deps),
      docs: { GET: { summary: "The items of the request for a response" } },
    },
    {
      path: "/responses/*",
      GET: retrieveHandler(deps),
      DELETE: deleteHandler(deps),
      docs: {
        GET: { summary: "A response that is kept, as far as it is made" },
        DELETE: { summary: "Deletes a response, and ends one that is being made" },
      },
    },
    {
      path: "/embeddings",
      POST: embeddingsHandler(deps.embeddings),
      docs: {
        POST: { name: "embeddings", summary: "Texts as vectors, made by the server of `[embeddings]`" },
      },
    },
    {
      path: "/audio/speech",
      POST: speechHandler(deps, texts),
      docs: { POST: { name: "speech", summary: "Text as speech, from its first sentence on" } },
    },
    {
      path: "/audio/voices",
      GET: voicesHandler(deps),
      docs: { GET: { summary: "The voices of the speech" } },
    },
    {
      path: "/audio/models",
      GET: speechModelsHandler(deps),
      docs: { GET: { summary: "The name of a model for the speech, for apps that want one" } },
    },
    {
      path: "/audio/transcriptions",
      POST: transcriptionHandler(deps),
      docs: {
        POST: {
          name: "transcriptions",
          summary: "The words of a recording, as text or subtitles, or streamed",
        },
      },
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
