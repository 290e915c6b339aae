// @ts-check
/** Asks for the key. @module */

import { byId } from "./dom.js";

/**
 * The form, which is shown when the server lets nobody in without a key.
 *
 * @param {(key: string) => void} use
 */
export function createKeyForm(use) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("key"));
  const field = /** @type {HTMLInputElement} */ (byId("key-field"));
  const wrong = byId("key-wrong");

  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = field.value.trim();
    if (key === "") return;
    dialog.close();
    field.value = "";
    use(key);
  });
  // Without a key there is nothing behind the form.
  dialog.addEventListener("cancel", (event) => event.preventDefault());

  return {
    /** @param {boolean} wasWrong Whether there was a key, and the server did not take it. */
    ask(wasWrong) {
      wrong.textContent = wasWrong ? "The server does not take this key." : "";
      if (!dialog.open) dialog.showModal();
      field.focus();
    },
    close() {
      if (dialog.open) dialog.close();
    },
  };
}
