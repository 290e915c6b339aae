// @ts-check
/** What the agent does now: its state in words, its plan, its tools. @module */

import { byId, make, unhidden } from "./dom.js";

/** Tools that are shown; older ones that have ended leave first. */
const MAX_TOOLS = 6;
/** How long the panel stays after all has ended. */
const LINGER_MS = 12_000;

/** @type {Readonly<Record<string, string>>} */
const STATES = {
  thinking: "Thinking",
  speaking: "Speaking",
  working: "Working",
  juggling: "Working with helpers",
  attention: "Ready for you",
  notification: "Has something for you",
  error: "Something failed",
};

/** @type {Readonly<Record<string, string>>} */
const STATUSES = {
  pending: "waiting",
  running: "running",
  done: "done",
  failed: "failed",
  in_progress: "now",
  completed: "done",
};

/** Words for a state. @param {string} state */
export function stateWords(state) {
  return Object.hasOwn(STATES, state) ? STATES[state] ?? "" : "";
}

/** @param {string} text @param {string} status */
function row(text, status) {
  const item = make("li");
  const mark = make("span", "mark");
  mark.setAttribute("aria-hidden", "true");
  item.append(mark, make("span", "name", unhidden(text)), make("span", "status"));
  update(item, status);
  return item;
}

/** @param {HTMLElement} item @param {string} status */
function update(item, status) {
  item.dataset.status = status;
  const label = item.querySelector(".status");
  const words = STATUSES[status] ?? status;
  if (label && label.textContent !== words) label.textContent = words;
}

/** @param {HTMLElement} item */
function isOpen(item) {
  return /pending|running/.test(item.dataset.status ?? "");
}

/** The panel. */
export function createActivity() {
  const panel = byId("activity");
  const title = byId("activity-title");
  const plan = byId("plan");
  const planCount = byId("plan-count");
  const planEntries = byId("plan-entries");
  const tools = byId("tools");
  const list = byId("tool-list");
  /** @type {Map<string, HTMLElement>} */
  const rows = new Map();
  let state = "idle";
  let turn = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  // Where there is little room, only what runs now is shown, until somebody wants more.
  /** @param {boolean} open */
  function expand(open) {
    title.setAttribute("aria-expanded", String(open));
    panel.classList.toggle("folded", !open);
  }
  expand(!matchMedia("(max-width: 820px)").matches);
  title.addEventListener("click", () => expand(title.getAttribute("aria-expanded") !== "true"));

  function refresh() {
    const words = stateWords(state);
    title.textContent = words === "" ? "Finished" : words;
    tools.hidden = rows.size === 0;
    plan.hidden = planEntries.children.length === 0;
    panel.hidden = words === "" && tools.hidden && plan.hidden;
    clearTimeout(timer);
    if (state === "idle" && !panel.hidden) timer = setTimeout(clear, LINGER_MS);
  }

  function clear() {
    rows.clear();
    list.replaceChildren();
    planEntries.replaceChildren();
    refresh();
  }

  /** A new turn begins with an empty panel. @param {string | undefined} id */
  function follow(id) {
    if (id === undefined || id === turn) return;
    turn = id;
    if (![...rows.values()].some(isOpen)) clear();
  }

  return {
    /** @param {string} next */
    setState(next) {
      state = next;
      refresh();
    },

    /** @param {{ tool_call_id: string, tool_name: string, status: string, turn_id?: string }} tool */
    setTool({ tool_call_id, tool_name, status, turn_id }) {
      follow(turn_id);
      const known = rows.get(tool_call_id);
      if (known) {
        const name = known.querySelector(".name");
        if (name && tool_name !== "") name.textContent = unhidden(tool_name);
        update(known, status);
      } else {
        const item = row(tool_name === "" ? "Tool" : tool_name, status);
        rows.set(tool_call_id, item);
        list.append(item);
      }
      for (const [id, item] of rows) {
        if (rows.size <= MAX_TOOLS) break;
        if (isOpen(item)) continue;
        rows.delete(id);
        item.remove();
      }
      refresh();
    },

    /** @param {readonly { content: string, status: string }[]} entries @param {string | undefined} turnId */
    setPlan(entries, turnId) {
      follow(turnId);
      planEntries.replaceChildren(...entries.map(({ content, status }) => row(content, status)));
      const done = entries.filter(({ status }) => status === "completed").length;
      planCount.textContent = `${done} of ${entries.length}`;
      refresh();
      const now = planEntries.querySelector('[data-status="in_progress"]');
      if (now instanceof HTMLElement) planEntries.scrollTop = now.offsetTop;
    },

    clear,
  };
}
