// @ts-check
/** The dialog that asks for the key. @module */

import { byId } from "./dom.js";

/**
 * Creates the dialog.
 *
 * @param {(key: string) => void} onSubmit
 */
export function createKeyForm(onSubmit) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("key"));
  const field = /** @type {HTMLInputElement} */ (byId("key-field"));
  const problem = byId("key-wrong");

  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = field.value.trim();
    if (key === "") return;
    dialog.close();
    field.value = "";
    onSubmit(key);
  });
  // Keep the dialog open on Escape, because the page does nothing without a key.
  dialog.addEventListener("cancel", (event) => event.preventDefault());

  return {
    /** @param {string} why Why the last key does not serve; empty if there is none. */
    open(why) {
      problem.textContent = why;
      if (!dialog.open) dialog.showModal();
      field.focus();
    },
    close() {
      if (dialog.open) dialog.close();
    },
  };
}
