import { assert, assertEquals } from "@std/assert";
import { SPEECH_RATE } from "../../lib/speech/pcm.ts";
import { parseWav } from "../../lib/speech/wav.ts";
import { testServer } from "../support/harness/server_process.ts";

const TEXT = "Good morning. How do you do? I am fine.";

testServer("the program speaks with the voice inside", { agent: "demo" }, {
  "in sentences, as WAV": async (server) => {
    const response = await server.post("/v1/audio/speech", {
      model: "tts-1",
      voice: "alloy",
      input: TEXT,
      response_format: "wav",
    });
    assertEquals([response.status, response.headers.get("content-type")], [200, "audio/wav"]);
    const { rate, samples } = parseWav(await response.bytes());
    assertEquals(rate, SPEECH_RATE);
    const secs = samples.length / rate;
    assert(secs > 2 && secs < 6, `${secs} s`);
    assert(samples.some((sample) => sample > 3_000));
  },
  "but in no other script": async (server) => {
    const response = await server.post("/v1/audio/speech", { input: "你好，世界", response_format: "wav" });
    const { error } = await response.json();
    assertEquals([response.status, error.code, error.param], [400, "unsupported_value", "input"]);
  },
  "with the voices that it lists": async (server) => {
    const { voices } = await server.get("/v1/audio/voices");
    assertEquals(voices.map(({ id }: { id: string }) => id), ["slt", "rms", "awb", "kal16"]);
  },
});
