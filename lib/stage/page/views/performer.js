// @ts-check
/** Makes the character perform a turn: the state of the agent, its emotions and its words. @module */

import { byId } from "./dom.js";
import { createSpeechQueue } from "./speech_queue.js";
import { stateLabel } from "./activity.js";

/** @typedef {import("../characters/character.js").StateDetail} StateDetail */

/**
 * Creates the performer.
 *
 * @param {import("../characters/character.js").Character} character
 * @param {{ setState: (state: string) => void }} activity Shows the state in words.
 */
export function createPerformer(character, activity) {
  const mood = byId("mood");
  /** The state that is shown: one of the server's, or `speaking`. */
  let state = "idle";
  /** Id of the turn that is being spoken; empty between turns. */
  let turn = "";
  /** Whether words came since the turn began or the agent last used a tool. */
  let hasSpoken = false;
  const speech = createSpeechQueue({
    onMouth: (openness) => character.mouth(openness),
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
    character.act(state === "speaking" ? "idle" : state, detail);
    activity.setState(state);
    const label = stateLabel(state);
    document.title = label === "" ? "oab-vtuber" : `${label} – oab-vtuber`;
  }

  return {
    express,

    get turn() {
      return turn;
    },

    /**
     * Shows a state of the agent. The server has no state for speaking: its state is `thinking` until the turn ends or
     * uses a tool, also while words come. The words and the states come over different connections, in any order.
     *
     * @param {string} next
     * @param {StateDetail} detail
     */
    setState(next, detail) {
      if (turn === "" || next === "working" || next === "juggling") hasSpoken = false;
      show(next === "thinking" && hasSpoken ? "speaking" : next, detail);
    },

    /** Begins to speak a turn. @param {string} id */
    beginTurn(id) {
      turn = id;
      hasSpoken = false;
      speech.begin();
    },

    /** Speaks the next piece of the turn, tags included. @param {string} piece */
    speak(piece) {
      speech.push(piece);
      if (piece.trim() === "") return;
      hasSpoken = true;
      if (state === "thinking") show("speaking", {});
    },

    /** Ends the turn that is being spoken, if any. @param {boolean} isCut Whether the rest is not spoken. */
    endTurn(isCut) {
      if (turn === "") return;
      turn = "";
      speech.end(isCut);
    },

    /** Speaks a notification, unless a turn is being spoken. @param {string} text */
    announce(text) {
      if (turn === "") speech.announce(text);
    },
  };
}
