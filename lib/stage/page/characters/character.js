// @ts-check
/** The interface of a character, and the loader of the one that the server names. @module */

/** @typedef {{ tool_class?: string, tool_name?: string, subagent_count?: number, waiting?: boolean }} StateDetail */

/**
 * A character on the stage. It keeps the attributes `data-expression` and `data-state` of its container up to date.
 *
 * @typedef {object} Character
 * @property {(tag: string, intensity?: number) => void} express Shows an emotion with an intensity from 0 to 1. An
 *   unknown tag is `neutral`.
 * @property {(state: string, detail?: StateDetail) => void} act Shows the agent's state, named as in `agent_state`. An
 *   unknown state is `idle`.
 * @property {(openness: number) => void} mouth Opens the mouth, from 0 to 1.
 * @property {() => void} dispose Removes the character from the page.
 */

/** @typedef {{ kind: string }} Manifest Body of `GET /stage/character.json`. */
/** @typedef {(container: HTMLElement, manifest: Manifest) => Character | Promise<Character>} CreateCharacter */

/** Imports the module of a kind of character. Each exports `createCharacter`. */
const MODULES = Object.freeze({
  drawn: () => import("./drawn/drawn.js"),
  pictures: () => import("./pictures/pictures.js"),
  // The server makes this module from `vrm.ts` and its libraries.
  vrm: () => import(/** @type {string} */ ("./vrm/vrm.js")),
});

/**
 * Loads the server's character, or the drawn one if that fails.
 *
 * @param {HTMLElement} container
 * @param {(problem: string) => void} onProblem
 * @returns {Promise<Character>}
 */
export async function loadCharacter(container, onProblem) {
  try {
    const response = await fetch("stage/character.json");
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    /** @type {Manifest} */
    const manifest = await response.json();
    const { kind } = manifest;
    if (kind !== "drawn") {
      if (!Object.hasOwn(MODULES, kind)) throw new Error(`this page does not know the kind ${kind}`);
      const module = await MODULES[/** @type {keyof typeof MODULES} */ (kind)]();
      return await /** @type {{ createCharacter: CreateCharacter }} */ (module).createCharacter(
        container,
        manifest,
      );
    }
  } catch (error) {
    container.replaceChildren();
    onProblem(`The character could not be shown: ${error instanceof Error ? error.message : error}`);
  }
  return await (await MODULES.drawn()).createCharacter(container, { kind: "drawn" });
}
