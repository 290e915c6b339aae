/** Responses of every kind in front of a real server, and what they leave in its memory. @module */

import { assertEquals } from "@std/assert";
import { freePort, heapMb } from "../support/harness/inspector.ts";
import {
  inConversation,
  script,
  type ServerProcess,
  startServer,
  until,
} from "../support/harness/server_process.ts";

/** Clients at once for each kind. */
const CLIENTS_PER_KIND = 3;
/** Responses of a chain before the next one begins. */
const CHAIN = 50;
/** Responses after which 1,000 are in memory, 1,000 are in the file, and code is compiled. */
const WARM_UP = 2_400;
/** Responses in the file, at most. */
const MAX_STORED = 1_000;
/** Largest growth of the heap after that, in megabytes. Only ids and hashes of turns may be added. */
const MAX_GROWTH_MB = 3;

const ANSWER = script({ big: 2_000 });
const PERMISSION = { toolCallId: "p", title: "Clean", kind: "execute", rawInput: { command: "rm -r build" } };
const OPTIONS = ["reject", "allow"].map((name) => ({ optionId: name, name, kind: `${name}_once` }));
const ASKS = script({ permission: { toolCall: PERMISSION, options: OPTIONS } }, { big: 2_000 });
const TOOLS = [{ type: "mcp", server_label: "openab", require_approval: "always" }];

/** What a client asks for again and again. */
interface Kind {
  readonly fields: Record<string, unknown>;
  /** Each request continues the response before it. */
  readonly isChain?: boolean;
  /** The agent asks for a permission, which the client gives. */
  readonly asks?: boolean;
}

/** Half of their responses are in the file. */
const KINDS: readonly Kind[] = [
  { fields: {} },
  { fields: { stream: true } },
  { fields: { background: true } },
  { fields: { store: false } },
  { fields: { store: true }, isChain: true },
  { fields: { store: true, background: true }, isChain: true },
  { fields: { store: true, tools: TOOLS }, asks: true },
];
/** Responses of one round of all kinds: an approval takes two. */
const PER_ROUND = (KINDS.length + 1) * CLIENTS_PER_KIND;

/**
 * Makes so many responses.
 *
 * @returns By how many megabytes the heap grew after the first 2,400.
 * @throws {Error} if a response is not as asked, or the heap grew by too much.
 */
export async function loadWithResponses(count: number): Promise<number> {
  const inspectorPort = freePort();
  await using server = await startServer({ inspectorPort, env: { VTUBER_LOG: "info" } });
  await respond(server, WARM_UP);
  const heap = await heapMb(inspectorPort);
  await respond(server, count - WARM_UP);
  // A response makes room for itself once it is written.
  await until(() => countStored(server), (stored) => stored === MAX_STORED);
  // What the last connections leave is gone a little later.
  return await until(async () => await heapMb(inspectorPort) - heap, (growth) => growth < MAX_GROWTH_MB);
}

/** Counts the responses in the file. */
async function countStored(server: ServerProcess): Promise<number> {
  const { sessions } = await server.get("/v1/vtuber/sessions");
  return sessions.reduce(
    (sum: number, session: { stored_responses: number }) => sum + session.stored_responses,
    0,
  );
}

async function respond(server: ServerProcess, count: number): Promise<void> {
  const clients = Array.from({ length: CLIENTS_PER_KIND }, () => KINDS).flat();
  const rounds = Math.ceil(count / PER_ROUND);
  await Promise.all(clients.map((kind, index) => runClient(server, kind, `client-${index}`, rounds)));
}

async function runClient(server: ServerProcess, kind: Kind, name: string, rounds: number): Promise<void> {
  const { fields, isChain, asks } = kind;
  let previous: string | undefined;
  for (let round = 0; round < rounds; round++) {
    const isStart = !isChain || round % CHAIN === 0;
    const next = isStart ? {} : { previous_response_id: previous };
    const init = isStart ? inConversation(name) : {};
    const first = await create(server, { ...fields, input: asks ? ASKS : ANSWER, ...next }, init);
    previous = first.id;
    if (!asks) continue;
    const asked = first.output.find(({ type }) => type === "mcp_approval_request");
    const input = [{ type: "mcp_approval_response", approval_request_id: asked?.id, approve: true }];
    await create(server, { ...fields, input, previous_response_id: first.id });
  }
}

/** The fields of a response that are looked at. */
interface Created {
  readonly id: string;
  readonly status: string;
  readonly output: readonly { readonly id: string; readonly type: string }[];
}

/** Makes a response, and waits for its end. */
async function create(server: ServerProcess, body: object, init?: RequestInit): Promise<Created> {
  const answer = await server.post("/v1/responses", body, init);
  const text = await answer.text();
  assertEquals(answer.status, 200, text);
  const created: Created = text.startsWith("{")
    ? JSON.parse(text)
    : JSON.parse(text.slice(text.lastIndexOf("\ndata: ") + 7)).response;
  const isRunning = ({ status }: Created) => status === "queued" || status === "in_progress";
  const ended = isRunning(created)
    ? await until<Created>(() => server.get(`/v1/responses/${created.id}`), (found) => !isRunning(found))
    : created;
  assertEquals(ended.status, "completed", JSON.stringify(ended));
  return ended;
}
