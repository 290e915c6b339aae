// @ts-check
/** The panel that shows the agent's state in words, and the plan and the tools of one turn. @module */

import { byId, createElement, escapeInvisible } from "./dom.js";

/** Tools that are listed, the newest first. The oldest finished ones are removed first. */
const MAX_TOOLS = 30;
/** Time until the panel disappears after the agent has finished. */
const SHOWN_AFTER_END_MS = 12_000;

/** @type {ReadonlyMap<string, string>} */
const STATE_LABELS = new Map([
  ["thinking", "Thinking"],
  ["speaking", "Speaking"],
  ["waiting", "Still waiting for the model"],
  ["working", "Working"],
  ["juggling", "Working with helpers"],
  ["attention", "Ready for you"],
  ["notification", "Has something for you"],
  ["error", "Something failed"],
]);

/** Labels of the statuses of tools and plan entries. @type {ReadonlyMap<string, string>} */
const STATUS_LABELS = new Map([
  ["pending", "waiting"],
  ["running", "running"],
  ["done", "done"],
  ["failed", "failed"],
  ["in_progress", "now"],
  ["completed", "done"],
]);

/** Returns the label of a state; empty for `idle`. @param {string} state */
export function stateLabel(state) {
  return STATE_LABELS.get(state) ?? "";
}

/**
 * Describes the agent's context in tokens, and what the session has cost.
 *
 * @param {number} used @param {number} size @param {{ amount: number, currency: string } | undefined} cost
 */
function usageLabel(used, size, cost) {
  const count = new Intl.NumberFormat([], { notation: "compact" });
  const share = size > 0 ? ` (${Math.round(100 * used / size)} %)` : "";
  const label = `Context: ${count.format(used)} of ${count.format(size)} tokens${share}`;
  return cost ? `${label}, cost: ${cost.amount.toFixed(2)} ${cost.currency}` : label;
}

/** @param {string} text @param {string} status */
function createRow(text, status) {
  const row = createElement("li");
  const mark = createElement("span", "mark");
  mark.setAttribute("aria-hidden", "true");
  row.append(mark, createElement("span", "name", escapeInvisible(text)), createElement("span", "status"));
  setStatus(row, status);
  return row;
}

/** @param {HTMLElement} row @param {string} status */
function setStatus(row, status) {
  row.dataset.status = status;
  const label = row.querySelector(".status");
  const text = STATUS_LABELS.get(status) ?? status;
  if (label && label.textContent !== text) label.textContent = text;
}

/** @param {HTMLElement} row */
function isOpen(row) {
  return /pending|running/.test(row.dataset.status ?? "");
}

/** Creates the panel. */
export function createActivity() {
  const panel = byId("activity");
  const title = byId("activity-title");
  const plan = byId("plan");
  const planCount = byId("plan-count");
  const planEntries = byId("plan-entries");
  const tools = byId("tools");
  const toolList = byId("tool-list");
  const usage = byId("usage");
  /** Rows of the tools by tool call id. @type {Map<string, HTMLElement>} */
  const rows = new Map();
  let state = "idle";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let clearTimer;

  /** Expands or folds the panel. A folded panel lists only what runs now. @param {boolean} isExpanded */
  function expand(isExpanded) {
    title.setAttribute("aria-expanded", String(isExpanded));
    panel.classList.toggle("folded", !isExpanded);
  }
  expand(!matchMedia("(max-width: 820px)").matches);
  title.addEventListener("click", () => expand(title.getAttribute("aria-expanded") !== "true"));

  function refresh() {
    const label = stateLabel(state);
    title.textContent = label === "" ? "Finished" : label;
    tools.hidden = rows.size === 0;
    plan.hidden = planEntries.children.length === 0;
    panel.hidden = label === "" && tools.hidden && plan.hidden;
    clearTimeout(clearTimer);
    if (state === "idle" && !panel.hidden) clearTimer = setTimeout(clear, SHOWN_AFTER_END_MS);
  }

  /** Removes the plan and the tools: a new turn begins. */
  function clear() {
    rows.clear();
    toolList.replaceChildren();
    planEntries.replaceChildren();
    usage.hidden = true;
    refresh();
  }

  return {
    clear,

    /** @param {string} next */
    setState(next) {
      state = next;
      refresh();
    },

    /** @param {{ tool_call_id: string, tool_name: string, status: string }} tool */
    setTool({ tool_call_id, tool_name, status }) {
      const row = rows.get(tool_call_id);
      if (row) {
        const name = row.querySelector(".name");
        if (name && tool_name !== "") name.textContent = escapeInvisible(tool_name);
        setStatus(row, status);
      } else {
        const added = createRow(tool_name === "" ? "Tool" : tool_name, status);
        rows.set(tool_call_id, added);
        toolList.prepend(added);
      }
      for (const [id, oldest] of rows) {
        if (rows.size <= MAX_TOOLS) break;
        if (isOpen(oldest)) continue;
        rows.delete(id);
        oldest.remove();
      }
      refresh();
    },

    /** @param {{ used: number, size: number, cost?: { amount: number, currency: string } }} usage */
    setUsage({ used, size, cost }) {
      usage.textContent = usageLabel(used, size, cost);
      usage.hidden = false;
    },

    /** @param {readonly { content: string, status: string }[]} entries */
    setPlan(entries) {
      planEntries.replaceChildren(...entries.map(({ content, status }) => createRow(content, status)));
      const done = entries.filter(({ status }) => status === "completed").length;
      planCount.textContent = `${done} of ${entries.length}`;
      refresh();
      const current = planEntries.querySelector('[data-status="in_progress"]');
      if (current instanceof HTMLElement) planEntries.scrollTop = current.offsetTop;
    },
  };
}
