import { assertEquals, assertThrows } from "@std/assert";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import { parsePart } from "../../lib/openai/content_part.ts";

const PNG = "iVBORw0KGgo=";
const URL_PNG = `data:image/png;base64,${PNG}`;
const text = { type: "text", text: "a" } as const;
const image = (mimeType = "image/png", data = PNG) => ({ type: "image", mimeType, data }) as const;
const audio = (mimeType: string, data: string) => ({ type: "audio", mimeType, data }) as const;
const sound = (data: unknown, format: unknown) => ({ type: "input_audio", input_audio: { data, format } });

const PARTS: [name: string, part: unknown, expected: ReturnType<typeof parsePart>][] = [
  ["text", text, text],
  ["empty text", { type: "text", text: "" }, { type: "text", text: "" }],
  ["input_text", { type: "input_text", text: "a" }, text],
  ["output_text", { type: "output_text", text: "a", annotations: [] }, text],
  ["refusal", { type: "refusal", refusal: "a" }, text],
  ["image_url", { type: "image_url", image_url: { url: URL_PNG, detail: "low" } }, image()],
  ["image_url as a string", { type: "image_url", image_url: URL_PNG }, image()],
  ["input_image", { type: "input_image", image_url: URL_PNG }, image()],
  ["AITuber-kit's image", { type: "image", image: URL_PNG }, image()],
  ["capitals", { type: "image", image: `DATA:IMAGE/JPEG;BASE64,${PNG}` }, image("image/jpeg")],
  [
    "parameters",
    { type: "image", image: `data:image/svg+xml;charset=utf-8;base64,${PNG}` },
    image("image/svg+xml"),
  ],
  [
    "base64 without padding",
    { type: "image", image: "data:image/png;base64,aGk" },
    image("image/png", "aGk"),
  ],
  ["wav", sound("UklGRg==", "wav"), audio("audio/wav", "UklGRg==")],
  ["mp3", sound("SUQz", "mp3"), audio("audio/mpeg", "SUQz")],
];

for (const [name, part, expected] of PARTS) {
  Deno.test(`parsePart: ${name}`, () => assertEquals(parsePart(part, "at"), expected));
}

Deno.test("parsePart: a large image", () => {
  const data = "QUJD".repeat(1_000_000);
  const part = { type: "image_url", image_url: { url: `data:image/png;base64,${data}` } };
  assertEquals(parsePart(part, "at"), image("image/png", data));
});

const url = (url: unknown) => ({ type: "image_url", image_url: { url } });
const INVALID_URLS = [
  ...["https://example.com/a.png", "http://127.0.0.1/a.png", "file:///etc/passwd", "data:image/png,abc"],
  ...["data:image/png;base64,a b c", "data:image/png;base64,aGkaG", "data:image/png;base64,-_-_"],
  ...["data:image/png;base64,YQ==YQ==", "data:image/png;base64,", `data:text/html;base64,${PNG}`, PNG],
];
const REFUSED: [code: ErrorCode, param: string, ...parts: unknown[]][] = [
  ["missing_required_parameter", "at.text", { type: "text" }],
  ["invalid_type", "at.text", { type: "text", text: 7 }, { type: "text", text: null }],
  ["unsupported_content_type", "at", { type: "file", file: { file_id: "f1" } }, { type: "constructor" }],
  ["unsupported_content_type", "at", { type: "input_file", file_id: "f1" }],
  ["invalid_value", "at.image_url.url", ...INVALID_URLS.map(url)],
  ["invalid_type", "at.image_url.url", url(7)],
  ["missing_required_parameter", "at.image_url", { type: "image_url" }, {
    type: "input_image",
    file_id: "f1",
  }],
  ["invalid_type", "at.image_url", { type: "image_url", image_url: null }],
  ["missing_required_parameter", "at.image", { type: "image" }],
  [
    "missing_required_parameter",
    "at.input_audio.format",
    { type: "input_audio" },
    sound("UklGRg==", undefined),
  ],
  ["unsupported_value", "at.input_audio.format", sound("UklGRg==", "ogg"), sound("UklGRg==", "constructor")],
  ["missing_required_parameter", "at.input_audio.data", sound(undefined, "wav")],
  ["invalid_value", "at.input_audio.data", sound("!", "wav")],
];

for (const [code, param, ...parts] of REFUSED) {
  Deno.test(`parsePart: ${code} names ${param}, as of ${JSON.stringify(parts[0]).slice(0, 60)}`, () => {
    for (const part of parts) {
      const error = assertThrows(() => parsePart(part, "at"), AppError);
      assertEquals([error.code, error.param], [code, param], error.message);
      assertEquals(error.message.includes(`"${param}"`), true, error.message);
    }
  });
}
