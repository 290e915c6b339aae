// @ts-check
/** Client of the server's voice and of its recognizer. @module */

import { readErrorMessage } from "./chat.js";
import { keyHeaders } from "./key.js";

/** Longest wait for what the server can do, and for its list of voices. */
const ASK_TIMEOUT_MS = 8_000;
/** Longest wait for the words of a recording. */
const TRANSCRIBE_TIMEOUT_MS = 90_000;

/** OpenAI's usual models, for an upstream that wants a model although the server's owner has set none. */
const SPEECH_MODEL = "tts-1";
const TRANSCRIPTION_MODEL = "whisper-1";

/** An error that the server reports, for the person. */
export class SpeechError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "SpeechError";
  }
}

/** Asks the server whether it has a voice and a recognizer. @returns {Promise<{ speech: boolean, transcription: boolean }>} */
export async function fetchAbilities() {
  try {
    const response = await fetch(document.baseURI, {
      headers: { accept: "application/json" },
      signal: AbortSignal.timeout(ASK_TIMEOUT_MS),
    });
    const { speech, transcription } = await response.json();
    return { speech: speech === true, transcription: transcription === true };
  } catch {
    return { speech: false, transcription: false };
  }
}

/**
 * Lists the voices of the server.
 *
 * @param {string} key
 * @returns {Promise<{ id: string, name: string, language: string }[]>}
 */
export async function fetchVoices(key) {
  try {
    const response = await fetch(audioUrl("voices"), {
      headers: keyHeaders(key),
      signal: AbortSignal.timeout(ASK_TIMEOUT_MS),
    });
    const { voices } = await response.json();
    if (!response.ok || !Array.isArray(voices)) return [];
    return voices.filter(({ id }) => typeof id === "string").map(({ id, name, language }) => ({
      id,
      name: typeof name === "string" ? name : id,
      language: typeof language === "string" ? language : "",
    }));
  } catch {
    return [];
  }
}

/**
 * Lets the server speak a sentence: 16-bit samples of one channel, 24,000 in a second.
 *
 * @param {string} key @param {string} text @param {string} voice @param {AbortSignal} signal
 * @throws {SpeechError} if the server reports an error.
 */
export async function requestSpeech(key, text, voice, signal) {
  const response = await fetch(audioUrl("speech"), {
    method: "POST",
    headers: { "content-type": "application/json", ...keyHeaders(key) },
    body: JSON.stringify({ model: SPEECH_MODEL, input: text, voice, response_format: "pcm" }),
    signal,
  });
  if (!response.ok || response.body === null) throw new SpeechError(await readErrorMessage(response));
  return response.body;
}

/**
 * Lets the server transcribe a recording.
 *
 * @param {string} key @param {Blob} recording A WAV file.
 * @returns {Promise<string>}
 * @throws {SpeechError} if the server reports an error, or cannot be reached.
 */
export async function transcribe(key, recording) {
  const form = new FormData();
  form.set("model", TRANSCRIPTION_MODEL);
  form.set("file", recording, "speech.wav");
  form.set("response_format", "json");
  const response = await fetch(audioUrl("transcriptions"), {
    method: "POST",
    headers: keyHeaders(key),
    body: form,
    signal: AbortSignal.timeout(TRANSCRIBE_TIMEOUT_MS),
  }).catch(() => {
    throw new SpeechError("The server cannot be reached: it did not hear you.");
  });
  if (!response.ok) throw new SpeechError(await readErrorMessage(response));
  const { text } = await response.json();
  return typeof text === "string" ? text.trim() : "";
}

/** @param {string} path */
function audioUrl(path) {
  return new URL(`v1/audio/${path}`, document.baseURI);
}
