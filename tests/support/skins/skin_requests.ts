/** The requests that skins send, as their own source code makes them. @module */

/** One request of a skin. */
export interface SkinRequest {
  /** The skin and the purpose of the request. */
  readonly name: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: Record<string, unknown>;
  readonly reads: "stream" | "json";
  /** The text of the last message. */
  readonly says: string;
}

const BEARER = { authorization: "Bearer anything" };
const ACCEPT_STREAM = { accept: "text/event-stream" };
const IMAGE_URL = "data:image/jpeg;base64,/9j/4AAQSkZJRg==";
const PERSONA = "You are Mao, a cheerful cat girl. Begin each sentence with one of [happy] [sad] [neutral].";

const system = (content = PERSONA) => ({ role: "system", content });
const user = (content: unknown) => ({ role: "user", content });
const assistant = (content: string) => ({ role: "assistant", content });
const text = (text: string) => ({ type: "text", text });
const image = { type: "image_url", image_url: { url: IMAGE_URL } };
const tool = (name: string, fields = {}) => ({ type: "function", function: { name, ...fields } });

function request(
  name: string,
  says: string,
  headers: Record<string, string>,
  body: Record<string, unknown>,
  { path = "/v1/chat/completions", reads = "stream" }: Partial<Pick<SkinRequest, "path" | "reads">> = {},
): SkinRequest {
  return { name, path, headers, body, reads, says };
}

/** Every kind of request that was observed. */
export const SKIN_REQUESTS: readonly SkinRequest[] = [
  request("AniCompanion", "What is this?", { ...ACCEPT_STREAM, ...BEARER }, {
    model: "hermes-agent",
    messages: [system(), user("Hi"), assistant("[happy] Hello!\n"), user("What is this?")],
    stream: true,
  }),
  request("AniCompanion with /v1 typed twice and no key", "Hi", ACCEPT_STREAM, {
    model: "local-model",
    messages: [user("Hi")],
    stream: true,
  }, { path: "/v1/v1/chat/completions" }),
  request("AniCompanion's screen vision and live captions", "Look at my screen.", ACCEPT_STREAM, {
    model: "hermes-agent",
    messages: [
      system(),
      system("Live captions of the last two minutes: ..."),
      user([text("Look at my screen."), image]),
    ],
    stream: true,
  }),
  request("AniCompanion's caption translator", "こんにちは", BEARER, {
    model: "hermes-agent",
    messages: [system("You are a professional subtitle translator."), user("こんにちは")],
    stream: false,
    temperature: 0.3,
  }, { reads: "json" }),
  request("AniCompanion's connection test", "Say hi", ACCEPT_STREAM, {
    model: "hermes-agent",
    messages: [system("You are a connection test. Reply with a single short word."), user("Say hi")],
    stream: true,
  }),
  request("ChatVRM", "元気？", { ...BEARER, origin: "http://localhost:3000" }, {
    model: "gpt-3.5-turbo",
    messages: [
      system(),
      user("おはよう"),
      assistant("[happy] こんにちは。[sad] おわりです。\n"),
      user("元気？"),
    ],
    stream: true,
    max_tokens: 200,
  }),
  request("ChatdollKit", '{"weather":"fine"}', BEARER, {
    model: "gpt-4o",
    temperature: 0.5,
    messages: [
      system(),
      user([text("What is the weather?")]),
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "c1", ...tool("weather", { arguments: '{"at":"Tokyo"}' }) }],
      },
      { role: "tool", tool_call_id: "c1", content: '{"weather":"fine"}' },
    ],
    frequency_penalty: 0,
    presence_penalty: 0,
    stream: true,
  }),
  request(
    "ChatdollKit in a browser, with every Inspector setting",
    "[channel:voice] And this?",
    { ...BEARER, "api-key": "anything", origin: "http://localhost:8000" },
    {
      model: "gpt-4o",
      temperature: 0.5,
      reasoning_effort: "low",
      max_tokens: 500,
      logprobs: false,
      stop: ["User:"],
      tools: [tool("weather", { parameters: { type: "object" } })],
      tool_choice: "none",
      messages: [user([text("[channel:voice] And this?"), image])],
      stream: true,
    },
  ),
  request(
    "Open-LLM-VTuber",
    "Stop.",
    { ...BEARER, "openai-organization": "z", "openai-project": "z", "x-stainless-retry-count": "0" },
    {
      messages: [
        system(),
        { ...user("Hi"), name: "Human", avatar: "" },
        { ...assistant("[joy] Hel..."), name: "Mao", avatar: "mao.png" },
        user("[Interrupted by user]"),
        user([text("Stop.")]),
      ],
      model: "openab",
      stream: true,
      temperature: 1.0,
      tools: [tool("time", { description: "", parameters: {} })],
    },
  ),
  request("AITuber-kit, which asks for no stream and names no model", "見て", {}, {
    threadId: "0b9b3d2e-6d1f-4a43-8a7e-4a4b7b1f2f10",
    messages: [user([text("見て"), { type: "image", image: IMAGE_URL }])],
  }),
  request(
    "Amica",
    "Hello",
    {
      ...BEARER,
      "http-referer": "https://amica.arbius.ai",
      "x-title": "Amica",
      origin: "http://localhost:3000",
    },
    { model: "gpt-4o", messages: [system(), user("Hello")], stream: true, max_tokens: 200 },
  ),
  request("AIRI", "Hello", { ...BEARER, origin: "http://localhost:5173" }, {
    model: "openab",
    messages: [system(), user([text("Hello")])],
    stream: true,
    stream_options: { include_usage: true },
    tools: [tool("mcp_list_tools", { strict: true, parameters: {} })],
  }),
  request("AIRI's validation", "ping", BEARER, {
    model: "openab",
    messages: [user("ping")],
    max_tokens: 1,
  }, { reads: "json" }),
];
