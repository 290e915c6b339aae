// @ts-check
/** Notifications, of the server and of the page itself. @module */

import { byId, createElement } from "./dom.js";

const MAX_NOTICES = 4;
/** Time until a notice disappears; a `high` one stays until it is closed. @type {Readonly<Record<string, number>>} */
const SHOWN_MS = { low: 8_000, normal: 14_000 };

/** Creates the list of notices. */
export function createNotices() {
  const region = byId("notices");
  return {
    /** @param {string} text @param {string} urgency `low`, `normal` or `high`. */
    show(text, urgency) {
      const notice = createElement("div", "notice");
      notice.dataset.urgency = urgency;
      if (urgency === "high") notice.setAttribute("role", "alert");
      const close = createElement("button", "", "×");
      close.type = "button";
      close.setAttribute("aria-label", "Close the notification");
      close.addEventListener("click", () => {
        notice.remove();
        (region.querySelector("button") ?? byId("say")).focus();
      });
      notice.append(createElement("p", "", text), close);
      region.append(notice);
      while (region.children.length > MAX_NOTICES) {
        (region.querySelector('.notice:not([data-urgency="high"])') ?? region.firstElementChild)?.remove();
      }
      const shownMs = SHOWN_MS[urgency];
      if (shownMs !== undefined) setTimeout(() => notice.remove(), shownMs);
    },
  };
}
