// @ts-check
/** What every character can do, and how the page gets the one that it shows. @module */

/** @typedef {{ tool_class?: string, tool_name?: string, subagent_count?: number }} StateDetail */

/**
 * A character on the stage. It keeps the attributes `data-expression` and `data-state` of its container up to date.
 *
 * @typedef {object} Character
 * @property {(tag: string, intensity?: number) => void} express Shows an emotion, as strongly as `intensity` says
 *   (from 0 to 1). A word it does not know is `neutral`.
 * @property {(state: string, detail?: StateDetail) => void} act Shows what the agent does: the name of an
 *   `agent_state`. One that it does not know is `idle`.
 * @property {(openness: number) => void} mouth Opens the mouth, from 0 to 1.
 * @property {() => void} dispose Leaves the stage.
 */

/** @typedef {{ kind: string }} Manifest What the server tells of the character. */
/** @typedef {(container: HTMLElement, manifest: any) => Character | Promise<Character>} CreateCharacter */

/** The modules by kind; each exports `createCharacter`. */
const MODULES = Object.freeze({
  drawn: () => import("./drawn/drawn.js"),
  pictures: () => import("./pictures/pictures.js"),
  // Not part of the page's own files: it is made when the program is built.
  vrm: () => import(/** @type {string} */ ("./vrm/vrm.js")),
});

/**
 * The character that the server has, or the drawn one if that fails.
 *
 * @param {HTMLElement} container
 * @param {(problem: string) => void} tell Is told why it is not the one that was wanted.
 * @returns {Promise<Character>}
 */
export async function loadCharacter(container, tell) {
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
    tell(`The character could not be shown: ${error instanceof Error ? error.message : error}`);
  }
  return await (await MODULES.drawn()).createCharacter(container, { kind: "drawn" });
}
