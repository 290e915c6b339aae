// @ts-check
/** Runs in the audio thread: sends the sound of the microphone to the page, frame by frame. @module */

/* The types of this thread are not those of the page. */
const scope = /** @type {any} */ (globalThis);

scope.registerProcessor(
  "capture",
  class extends scope.AudioWorkletProcessor {
    /** @param {{ processorOptions: { frameSamples: number } }} options */
    constructor(options) {
      super(options);
      this.frame = new Float32Array(options.processorOptions.frameSamples);
      this.filled = 0;
    }

    /** @param {Float32Array[][]} inputs */
    process(inputs) {
      for (const sample of inputs[0]?.[0] ?? []) {
        this.frame[this.filled++] = sample;
        if (this.filled < this.frame.length) continue;
        this.port.postMessage(this.frame);
        this.filled = 0;
      }
      return true;
    }
  },
);
