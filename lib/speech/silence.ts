/** A short silence in every format, for texts that have nothing to say. Pure. @module */

import { SPEECH_RATE } from "./pcm.ts";
import type { SpeechFormat } from "./text_to_speech.ts";
import { encodeWav } from "./wav.ts";

/** Length of the silence, in samples: a tenth of a second. */
const SAMPLES = SPEECH_RATE / 10;
/** A frame of 24 milliseconds (MPEG-2, layer III, 8 kbit/s, 24,000 Hz, mono): its header, and no sound. */
const MP3_FRAME_BYTES = 24;
const MP3_FRAME_HEADER = [0xff, 0xf3, 0x14, 0xc4];
const MP3_FRAMES = 5;
/** Files that ffmpeg made of a silence. */
const FILES = {
  opus:
    "T2dnUwACAAAAAAAAAAAAAAAAAAAAAENewaEBE09wdXNIZWFkAQE4AcBdAAAAAABPZ2dTAAAAAAAAAAAAAAAAAAABAAAASZW+VAEuT3B1c1RhZ3MG" +
    "AAAAZmZtcGVnAQAAABQAAABlbmNvZGVyPUxhdmMgbGlib3B1c09nZ1MABPgTAAAAAAAAAAAAAAIAAABBShkFBgcGBgYGBggL5jsjq2AICKyzDsYI" +
    "CKyzDsYICKyzDsYICKyzDsYICKyzDsY=",
  aac: "//FYQAF//AEYIAf/8VhAAX/8ARggB//xWEABf/wBGCAH//FYQAF//AEYIAc=",
  flac: "ZkxhQ4AAACIJAAkAAAALAAAMBdwA8AAACWDnCTh7JO6yjCG2DlubZjnv//hHCACyAAAAy1L/+GcIAV9WAAAAPzY=",
};

/** Makes the silence. */
export function silence(format: SpeechFormat): Uint8Array<ArrayBuffer> {
  switch (format) {
    case "mp3": {
      const bytes = new Uint8Array(MP3_FRAME_BYTES * MP3_FRAMES);
      for (let at = 0; at < bytes.length; at += MP3_FRAME_BYTES) bytes.set(MP3_FRAME_HEADER, at);
      return bytes;
    }
    case "wav":
      return encodeWav({ rate: SPEECH_RATE, samples: new Int16Array(SAMPLES) });
    case "pcm":
      return new Uint8Array(SAMPLES * Int16Array.BYTES_PER_ELEMENT);
    case "opus":
    case "aac":
    case "flac":
      return Uint8Array.fromBase64(FILES[format]);
    default:
      return format satisfies never;
  }
}
