// @ts-check
/** The microphone: opens it, and gives its sound frame by frame. @module */

import { FRAME_MS } from "./activity.js";

const WORKLET = new URL("capture_worklet.js", import.meta.url);
/** Contexts that have loaded the module already. @type {WeakSet<AudioContext>} */
const loaded = new WeakSet();

/** @typedef {{ close: () => void }} Microphone */

/** An error for the person: the microphone cannot be opened. */
export class MicrophoneError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "MicrophoneError";
  }
}

/**
 * Opens the microphone. The browser removes the character's voice from its sound, as far as it can.
 *
 * @param {AudioContext} context
 * @param {(frame: Float32Array) => void} onFrame Gets frames of {@linkcode FRAME_MS}.
 * @param {() => void} onLost Called when the microphone is taken away, for example unplugged.
 * @returns {Promise<Microphone>}
 * @throws {MicrophoneError}
 */
export async function openMicrophone(context, onFrame, onLost) {
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
  }).catch((error) => {
    throw new MicrophoneError(problemOf(error));
  });
  const stop = () => {
    for (const track of stream.getTracks()) track.stop();
  };
  try {
    if (!loaded.has(context)) await context.audioWorklet.addModule(WORKLET);
    loaded.add(context);
  } catch {
    stop();
    throw new MicrophoneError("The sound of the microphone cannot be read: reload the page.");
  }
  const source = context.createMediaStreamSource(stream);
  const capture = new AudioWorkletNode(context, "capture", {
    processorOptions: { frameSamples: Math.round(context.sampleRate * FRAME_MS / 1000) },
    channelCount: 1,
    channelCountMode: "explicit",
  });
  let isClosed = false;
  capture.port.onmessage = ({ data }) => {
    if (!isClosed) onFrame(data);
  };
  // Without a way to the loudspeaker, some browsers do not run it. It is silent.
  source.connect(capture).connect(context.destination);
  const close = () => {
    isClosed = true;
    source.disconnect();
    capture.disconnect();
    stop();
  };
  for (const track of stream.getTracks()) {
    track.onended = () => {
      close();
      onLost();
    };
  }
  return { close };
}

/** @param {unknown} error */
function problemOf(error) {
  switch (error instanceof Error ? error.name : "") {
    case "NotAllowedError":
      return "The browser does not give the microphone to this page: allow it in the browser's settings of the page.";
    case "NotFoundError":
      return "There is no microphone.";
    default:
      return "The microphone cannot be opened: another program may use it.";
  }
}
