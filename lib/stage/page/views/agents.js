// @ts-check
/** Agents that cannot be used, with the reason. @module */

import { byId, createElement } from "./dom.js";

/** Creates the list, which is empty while all agents serve. */
export function createAgents() {
  const region = byId("agents");
  /** @type {Map<string, HTMLElement>} */
  const rows = new Map();

  /** @param {{ agent: string, status: string, error?: { message: string } }} event */
  function show({ agent, status, error }) {
    rows.get(agent)?.remove();
    rows.delete(agent);
    if (status === "ready") return;
    const row = createElement("p", "problem", `The agent ${agent} cannot be used: ${error?.message ?? ""}`);
    rows.set(agent, row);
    region.append(row);
  }

  return {
    show,

    /** Shows these agents and no others. @param {readonly import("../api/event_connection.js").AgentStatus[]} events */
    keepOnly(events) {
      region.replaceChildren();
      rows.clear();
      for (const event of events) show(event);
    },
  };
}
