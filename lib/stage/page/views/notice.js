// @ts-check
/** Notifications, and what the page itself has to say. @module */

import { byId, make } from "./dom.js";

const MAX_NOTICES = 4;
/** @type {Readonly<Record<string, number>>} */
const STAY_MS = { low: 8_000, normal: 14_000 };

/** The list of notifications. */
export function createNotices() {
  const region = byId("notices");
  return {
    /** @param {string} text @param {string} urgency One that is `high` stays until it is closed. */
    show(text, urgency) {
      const notice = make("div", "notice");
      notice.dataset.urgency = urgency;
      if (urgency === "high") notice.setAttribute("role", "alert");
      const close = make("button", "", "×");
      close.type = "button";
      close.setAttribute("aria-label", "Close the notification");
      close.addEventListener("click", () => {
        notice.remove();
        (region.querySelector("button") ?? byId("say")).focus();
      });
      notice.append(make("p", "", text), close);
      region.append(notice);
      while (region.children.length > MAX_NOTICES) {
        (region.querySelector('.notice:not([data-urgency="high"])') ?? region.firstElementChild)?.remove();
      }
      const stayMs = STAY_MS[urgency];
      if (stayMs !== undefined) setTimeout(() => notice.remove(), stayMs);
    },
  };
}
