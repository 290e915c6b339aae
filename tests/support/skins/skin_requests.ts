/** The requests that skins really send, as their own source code makes them. @module */

/** One request of a skin. */
export interface SkinRequest {
  /** The skin, and what it asks for. */
  name: string;
  path: string;
  headers: Record<string, string>;
  body: Record<string, unknown>;
  /** What it reads: a stream, or one JSON object. */
  reads: "stream" | "json";
  /** What its user said last. */
  says: string;
}

const BEARER = { authorization: "Bearer anything" };
const JPEG = "data:image/jpeg;base64,/9j/4AAQSkZJRg==";
const PERSONA = "You are Mao, a cheerful cat girl. Begin each sentence with one of [happy] [sad] [neutral].";

/** Every kind of request that was seen. */
export const SKIN_REQUESTS: readonly SkinRequest[] = [
  {
    name: "AniCompanion",
    path: "/v1/chat/completions",
    headers: { accept: "text/event-stream", ...BEARER },
    body: {
      model: "hermes-agent",
      messages: [
        { role: "system", content: PERSONA },
        { role: "user", content: "Hi" },
        { role: "assistant", content: "[happy] Hello!\n" },
        { role: "user", content: "What is this?" },
      ],
      stream: true,
    },
    reads: "stream",
    says: "What is this?",
  },
  {
    name: "AniCompanion with /v1 typed twice and no key",
    path: "/v1/v1/chat/completions",
    headers: { accept: "text/event-stream" },
    body: { model: "local-model", messages: [{ role: "user", content: "Hi" }], stream: true },
    reads: "stream",
    says: "Hi",
  },
  {
    name: "AniCompanion's screen vision and live captions",
    path: "/v1/chat/completions",
    headers: { accept: "text/event-stream" },
    body: {
      model: "hermes-agent",
      messages: [
        { role: "system", content: PERSONA },
        { role: "system", content: "Live captions of the last two minutes: ..." },
        {
          role: "user",
          content: [
            { type: "text", text: "Look at my screen." },
            { type: "image_url", image_url: { url: JPEG } },
          ],
        },
      ],
      stream: true,
    },
    reads: "stream",
    says: "Look at my screen.",
  },
  {
    name: "AniCompanion's caption translator",
    path: "/v1/chat/completions",
    headers: BEARER,
    body: {
      model: "hermes-agent",
      messages: [
        { role: "system", content: "You are a professional subtitle translator." },
        { role: "user", content: "こんにちは" },
      ],
      stream: false,
      temperature: 0.3,
    },
    reads: "json",
    says: "こんにちは",
  },
  {
    name: "AniCompanion's connection test",
    path: "/v1/chat/completions",
    headers: { accept: "text/event-stream" },
    body: {
      model: "hermes-agent",
      messages: [
        { role: "system", content: "You are a connection test. Reply with a single short word." },
        { role: "user", content: "Say hi" },
      ],
      stream: true,
    },
    reads: "stream",
    says: "Say hi",
  },
  {
    name: "ChatVRM",
    path: "/v1/chat/completions",
    headers: { ...BEARER, origin: "http://localhost:3000" },
    body: {
      model: "gpt-3.5-turbo",
      messages: [
        { role: "system", content: PERSONA },
        { role: "user", content: "おはよう" },
        { role: "assistant", content: "[happy] こんにちは。[sad] おわりです。\n" },
        { role: "user", content: "元気？" },
      ],
      stream: true,
      max_tokens: 200,
    },
    reads: "stream",
    says: "元気？",
  },
  {
    name: "ChatdollKit",
    path: "/v1/chat/completions",
    headers: BEARER,
    body: {
      model: "gpt-4o",
      temperature: 0.5,
      messages: [
        { role: "system", content: PERSONA },
        { role: "user", content: [{ type: "text", text: "What is the weather?" }] },
        {
          role: "assistant",
          content: null,
          tool_calls: [{
            id: "c1",
            type: "function",
            function: { name: "weather", arguments: '{"at":"Tokyo"}' },
          }],
        },
        { role: "tool", tool_call_id: "c1", content: '{"weather":"fine"}' },
      ],
      frequency_penalty: 0,
      presence_penalty: 0,
      stream: true,
    },
    reads: "stream",
    says: '{"weather":"fine"}',
  },
  {
    name: "ChatdollKit in a browser, with all that its Inspector offers",
    path: "/v1/chat/completions",
    headers: { ...BEARER, "api-key": "anything", origin: "http://localhost:8000" },
    body: {
      model: "gpt-4o",
      temperature: 0.5,
      reasoning_effort: "low",
      max_tokens: 500,
      logprobs: false,
      stop: ["User:"],
      tools: [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }],
      tool_choice: "none",
      messages: [{
        role: "user",
        content: [
          { type: "text", text: "[channel:voice] And this?" },
          { type: "image_url", image_url: { url: JPEG } },
        ],
      }],
      stream: true,
    },
    reads: "stream",
    says: "[channel:voice] And this?",
  },
  {
    name: "Open-LLM-VTuber",
    path: "/v1/chat/completions",
    headers: { ...BEARER, "openai-organization": "z", "openai-project": "z", "x-stainless-retry-count": "0" },
    body: {
      messages: [
        { role: "system", content: PERSONA },
        { role: "user", content: "Hi", name: "Human", avatar: "" },
        { role: "assistant", content: "[joy] Hel...", name: "Mao", avatar: "mao.png" },
        { role: "user", content: "[Interrupted by user]" },
        { role: "user", content: [{ type: "text", text: "Stop." }] },
      ],
      model: "openab",
      stream: true,
      temperature: 1.0,
      tools: [{ type: "function", function: { name: "time", description: "", parameters: {} } }],
    },
    reads: "stream",
    says: "Stop.",
  },
  {
    name: "AITuber-kit, which neither asks for a stream nor names a model",
    path: "/v1/chat/completions",
    headers: {},
    body: {
      threadId: "0b9b3d2e-6d1f-4a43-8a7e-4a4b7b1f2f10",
      messages: [
        { role: "user", content: [{ type: "text", text: "見て" }, { type: "image", image: JPEG }] },
      ],
    },
    reads: "stream",
    says: "見て",
  },
  {
    name: "Amica",
    path: "/v1/chat/completions",
    headers: {
      ...BEARER,
      "http-referer": "https://amica.arbius.ai",
      "x-title": "Amica",
      origin: "http://localhost:3000",
    },
    body: {
      model: "gpt-4o",
      messages: [{ role: "system", content: PERSONA }, { role: "user", content: "Hello" }],
      stream: true,
      max_tokens: 200,
    },
    reads: "stream",
    says: "Hello",
  },
  {
    name: "AIRI",
    path: "/v1/chat/completions",
    headers: { ...BEARER, origin: "http://localhost:5173" },
    body: {
      model: "openab",
      messages: [
        { role: "system", content: PERSONA },
        { role: "user", content: [{ type: "text", text: "Hello" }] },
      ],
      stream: true,
      stream_options: { include_usage: true },
      tools: [{ type: "function", function: { name: "mcp_list_tools", strict: true, parameters: {} } }],
    },
    reads: "stream",
    says: "Hello",
  },
  {
    name: "AIRI's validation",
    path: "/v1/chat/completions",
    headers: BEARER,
    body: { model: "openab", messages: [{ role: "user", content: "ping" }], max_tokens: 1 },
    reads: "json",
    says: "ping",
  },
];
