// @ts-check
/** Makes the character perform a turn: the state of the agent, its emotions and its words. @module */

import { byId } from "./dom.js";
import { createSpeechQueue } from "./speech_queue.js";
import { stateLabel } from "./activity.js";

/** @typedef {import("../characters/character.js").StateDetail} StateDetail */

/**
 * States of the server in which a character is posed, for the states of this page.
 *
 * @type {Readonly<Record<string, string>>}
 */
const POSES = { speaking: "idle", waiting: "thinking" };
/** Turns that are remembered. */
const MAX_KNOWN = 100;

/**
 * Creates the performer.
 *
 * @param {import("../characters/character.js").Character} character
 * @param {{ setState: (state: string) => void, clear: () => void }} activity Shows the state in words.
 * @param {Pick<Parameters<typeof createSpeechQueue>[0], "voices" | "onReadingChange" | "onProblem">} voice
 */
export function createPerformer(character, activity, voice) {
  const mood = byId("mood");
  /** The state that is shown: one of the server's, `speaking` or `waiting`. */
  let state = "idle";
  /** Id of the turn that is performed; empty between turns. */
  let turn = "";
  /** Id of the turn that was cut off: its late words are not spoken. */
  let cutTurn = "";
  /** Ids of the turns that were performed. @type {Set<string>} */
  const known = new Set();
  /** Whether words of the turn came. */
  let hasWords = false;
  /** Whether words came since the turn began or the agent last used a tool. */
  let hasSpoken = false;
  const speech = createSpeechQueue({
    ...voice,
    onMouth: (openness) => character.mouth(openness),
    onEmotion: express,
    onFinished: () => express("neutral", 1),
  });

  /** @param {string} tag @param {number} intensity From 0 to 1. */
  function express(tag, intensity) {
    character.express(tag, intensity);
    const description = tag === "neutral" ? "" : `The character looks ${tag}.`;
    if (mood.textContent !== description) mood.textContent = description;
  }

  /** @param {string} next @param {StateDetail} detail */
  function show(next, detail) {
    state = next;
    character.act(POSES[state] ?? state, detail);
    activity.setState(state);
    const label = stateLabel(state);
    document.title = label === "" ? "oab-vtuber" : `${label} – oab-vtuber`;
  }

  /** Begins to speak, if these are the first words of a turn that was not cut off. @param {string} id */
  function takesWords(id) {
    if (id !== turn) return false;
    if (!hasWords) speech.begin();
    hasWords = true;
    return true;
  }

  return {
    /** Shows an emotion at once. */
    express,

    get turn() {
      return turn;
    },

    /** The engine whose voice sounds at this moment: `server`, `browser`, or empty. */
    get voiceEngine() {
      return speech.engine;
    },

    /** Whether a voice reads the reply. */
    get isReading() {
      return speech.isReading;
    },

    /**
     * Begins to perform a turn that runs. If several run, the newest is performed, and an older
     * turn only when the newest has ended.
     *
     * @param {string} id
     */
    enterTurn(id) {
      if (id === turn || id === cutTurn || turn !== "" && known.has(id)) return;
      known.add(id);
      for (const oldest of known) if (known.size > MAX_KNOWN) known.delete(oldest);
      turn = id;
      hasWords = false;
      hasSpoken = false;
      activity.clear();
    },

    /**
     * Shows a state of the agent. The server has no state for speaking: its state is `thinking` until the turn ends or
     * uses a tool, also while words come. `detail.waiting` says that the agent waits for its model.
     *
     * @param {string} next
     * @param {StateDetail} detail
     */
    setState(next, detail) {
      if (turn === "" || next === "working" || next === "juggling") hasSpoken = false;
      if (next !== "thinking") show(next, detail);
      else show(detail.waiting ? "waiting" : hasSpoken ? "speaking" : next, detail);
    },

    /** Speaks the next piece of a turn. @param {string} id @param {string} piece */
    speak(id, piece) {
      if (!takesWords(id)) return;
      speech.push(piece);
      if (piece.trim() === "") return;
      hasSpoken = true;
      if (state === "thinking" || state === "waiting") show("speaking", {});
    },

    /**
     * Shows an emotion when the voice has come to it.
     *
     * @param {string} id @param {string} tag @param {number} intensity
     * @param {number} at Characters of the turn's speech before the emotion.
     */
    expressAt(id, tag, intensity, at) {
      if (takesWords(id)) speech.express(tag, intensity, at);
    },

    /** Ends a turn; the rest of its words is still spoken. @param {string} id */
    endTurn(id) {
      if (id !== turn) return;
      turn = "";
      if (hasWords) speech.end(false);
    },

    /** Ends the turn that is performed, if any; the rest of its words is not spoken. */
    cut() {
      if (turn !== "") cutTurn = turn;
      turn = "";
      speech.end(true);
    },

    /** Speaks a notification, unless a turn is being spoken. @param {string} text */
    announce(text) {
      if (turn === "") speech.announce(text);
    },
  };
}
