/** The page about events shows what the program sends and takes. The end-to-end tests compare its examples with real events. */

import { assert, assertEquals } from "@std/assert";
import { EventHub } from "../../lib/events/hub.ts";
import {
  AGENT_STATES,
  type Command,
  type CommandReply,
  EVENT_NAMES,
  EVENT_SCOPES,
  NOTIFICATION_MODES,
  parseCommand,
  URGENCIES,
} from "../../lib/events/wire.ts";
import { LOCAL_CALLER } from "../../lib/http/access.ts";
import { REQUIRED_SCOPES } from "../../lib/http/scopes.ts";
import { emotionWords } from "../../lib/turn/emotion.ts";
import {
  codeBlocks,
  firstCells,
  jsonLines,
  partOf,
  readPage,
  sectionOf,
  tableRows,
} from "../support/harness/docs.ts";

const PAGE = readPage("events");
const EVENTS = partOf(PAGE, "events");
const COMMANDS = partOf(PAGE, "commands");

/** Every command and every reply that is not an event; a new one does not compile until it is here. */
const COMMAND_NAMES: Readonly<Record<Command["type"], true>> = {
  hello: true,
  subscribe: true,
  ping: true,
  permission_response: true,
  question_response: true,
  interrupt: true,
};
const REPLY_NAMES: Readonly<Record<CommandReply["type"], true>> = {
  hello: true,
  subscribed: true,
  pong: true,
  interrupted: true,
  error: true,
};

Deno.test("events.md: explains every event, with an example", () => {
  const shown = new Set(jsonLines(EVENTS).flat().map(({ type }) => type));
  assertEquals([...shown].sort(), [...EVENT_NAMES].sort());
  for (const name of EVENT_NAMES) assert(EVENTS.includes(`**\`${name}\`**`), name);
});

Deno.test("events.md: explains every command, with an example and its reply", () => {
  const sent = new Set<string>();
  const replies = new Set<string>();
  for (const [command, ...answers] of jsonLines(COMMANDS)) {
    sent.add(parseCommand(command!.line).type);
    assert(answers.length > 0, command!.line);
    for (const { type } of answers) replies.add(type);
  }
  assertEquals([...sent].sort(), Object.keys(COMMAND_NAMES).sort());
  for (const name of sent) assert(COMMANDS.includes(`**\`${name}\`**`), name);
  const isEvent = (type: string) => (EVENT_NAMES as readonly string[]).includes(type);
  assertEquals([...replies].filter((type) => !isEvent(type)).sort(), Object.keys(REPLY_NAMES).sort());
});

Deno.test("events.md: shows the whole state, and explains every scope of the socket", () => {
  const [state] = codeBlocks(sectionOf(PAGE, "## Without a WebSocket"), "json");
  const keys = Object.keys(new EventHub().snapshot(LOCAL_CALLER));
  assertEquals(Object.keys(JSON.parse(state!.text)), ["ts", ...keys]);
  const commands = Object.keys(COMMAND_NAMES).map((name) => `ws ${name}` as keyof typeof REQUIRED_SCOPES);
  const scopes = [...Object.values(EVENT_SCOPES), ...commands.flatMap((row) => REQUIRED_SCOPES[row])];
  assertEquals(firstCells(sectionOf(PAGE, "## Scopes")).sort(), [...new Set(scopes)].sort());
  for (const [name, scope] of Object.entries(EVENT_SCOPES)) {
    const row = tableRows(sectionOf(PAGE, "## Scopes")).find(([cell]) => cell === `\`${scope}\``);
    assertEquals(row?.join().includes(`\`${name}\``), scope !== "events", name);
  }
});

Deno.test("events.md: explains every state", () => {
  assertEquals(firstCells(sectionOf(PAGE, "## States")).sort(), [...AGENT_STATES].sort());
});

Deno.test("events.md: names every emotion", () => {
  const section = sectionOf(PAGE, "## Emotions");
  const { plain, face, act } = emotionWords();
  for (const word of new Set([...plain, ...face, ...act])) {
    assert(new RegExp(`\\b${word}\\b`).test(section), word);
  }
});

Deno.test("events.md: explains every mode and urgency of a notification", () => {
  const section = sectionOf(PAGE, "## Notifications");
  for (const word of [...URGENCIES, ...NOTIFICATION_MODES]) assert(section.includes(`\`${word}\``), word);
});
