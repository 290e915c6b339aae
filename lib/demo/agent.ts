/**
 * The built-in demo agent: a real ACP agent over stdin and stdout that needs no key and no network. It has no model
 * behind it and says so; what it shows is what the character does while an agent thinks, plans, asks and works.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { act, type Block, DemoScript, type Pace, sleep, update } from "./script.ts";
import { JsonRpcPeer, type PeerStreams } from "../acp/json_rpc.ts";
import { RPC, RpcError } from "../acp/json_rpc.ts";

/** How slow the demo is, in milliseconds. */
export interface DemoOptions extends Pace {
  /** Before it answers `initialize`: agents need a while to start. */
  readonly startMs: number;
  /** Before it answers `session/new`. */
  readonly sessionMs: number;
}

/** The usual {@linkcode DemoOptions}: about as fast as a model. */
export const DEMO_OPTIONS: DemoOptions = { tokenMs: 25, stepMs: 400, startMs: 0, sessionMs: 0 };

/** Sessions that are remembered; beyond it the one that was closed first is forgotten, or else the oldest. */
const MAX_SESSIONS = 1_000;
/** Turns of a session that are remembered. */
const MAX_TURNS = 100;

interface DemoTurn {
  readonly asked: string;
  said: string;
}
interface DemoSession {
  readonly id: string;
  readonly turns: DemoTurn[];
  /** A closed one is remembered, and can be brought back. */
  isOpen: boolean;
  cancel: AbortController | undefined;
}

/** Serves ACP over the streams until the client closes them. */
export async function serveDemo(streams: PeerStreams, options: DemoOptions = DEMO_OPTIONS): Promise<void> {
  const sessions = new Map<string, DemoSession>();
  const known = (params: unknown): DemoSession => {
    const id = (params as { sessionId?: unknown } | null)?.sessionId;
    const session = sessions.get(id as string);
    if (session === undefined) throw new RpcError(RPC.resourceNotFound, `There is no session ${id}.`);
    return session;
  };
  const open = (params: unknown): DemoSession => {
    const session = known(params);
    if (!session.isOpen) throw new RpcError(RPC.resourceNotFound, `The session ${session.id} is closed.`);
    return session;
  };
  const peer: JsonRpcPeer = new JsonRpcPeer(streams, {
    onInvalidLine() {},
    onNotification(method, params) {
      if (method === "session/cancel") {
        sessions.get((params as { sessionId?: string } | undefined)?.sessionId ?? "")?.cancel?.abort();
      }
    },
    async onRequest(method, params) {
      switch (method) {
        case "initialize":
          await sleep(options.startMs);
          return INITIALIZED;
        case "session/new": {
          await sleep(options.sessionMs);
          const id = `demo-${crypto.randomUUID()}`;
          sessions.set(id, { id, turns: [], isOpen: true, cancel: undefined });
          if (sessions.size > MAX_SESSIONS) forgetOldest(sessions);
          return { sessionId: id };
        }
        case "session/load":
          replay(peer, known(params));
          known(params).isOpen = true;
          return {};
        case "session/resume":
          known(params).isOpen = true;
          return {};
        case "session/close": {
          const session = open(params);
          session.cancel?.abort();
          session.isOpen = false;
          // The map's order is the order of closing.
          sessions.delete(session.id);
          sessions.set(session.id, session);
          return {};
        }
        case "session/delete": {
          const session = known(params);
          session.cancel?.abort();
          sessions.delete(session.id);
          return {};
        }
        case "session/prompt":
          return await prompt(peer, open(params), (params as { prompt: Block[] }).prompt, options);
        default:
          throw new RpcError(RPC.methodNotFound, `Method not found: ${method}`);
      }
    },
  });
  await new Promise<void>((resolve) =>
    peer.closed.addEventListener("abort", () => resolve(), { once: true })
  );
  for (const session of sessions.values()) session.cancel?.abort();
  await peer.close();
}

const INITIALIZED = {
  protocolVersion: 1,
  agentInfo: { name: "oab-vtuber-demo", title: "Demo agent", version: "1" },
  agentCapabilities: {
    loadSession: true,
    promptCapabilities: { image: true, audio: false, embeddedContext: false },
    sessionCapabilities: { close: {}, resume: {}, delete: {} },
  },
  authMethods: [],
};

function forgetOldest(sessions: Map<string, DemoSession>): void {
  const oldest = sessions.values().find(({ isOpen }) => !isOpen) ?? sessions.values().next().value;
  if (oldest) sessions.delete(oldest.id);
}

/** `session/load`: what was said, as updates, before it is answered. */
function replay(peer: JsonRpcPeer, { id, turns }: DemoSession): void {
  for (const { asked, said } of turns) {
    update(peer, id, { sessionUpdate: "user_message_chunk", content: { type: "text", text: asked } });
    update(peer, id, { sessionUpdate: "agent_message_chunk", content: { type: "text", text: said } });
  }
}

async function prompt(
  peer: JsonRpcPeer,
  session: DemoSession,
  blocks: readonly Block[],
  options: DemoOptions,
): Promise<{ stopReason: string }> {
  if (session.cancel) throw new RpcError(RPC.invalidParams, "A prompt is running in this session.");
  const cancel = session.cancel = new AbortController();
  const text = blocks.map((block) => block.text ?? "").join("\n");
  const turn: DemoTurn = { asked: text, said: "" };
  session.turns.push(turn);
  if (session.turns.length > MAX_TURNS) session.turns.shift();
  const stage = new DemoScript(peer, session.id, turn, cancel.signal, options);
  try {
    await act(stage, text, blocks.filter(({ type }) => type === "image"), session.turns.length);
    return { stopReason: "end_turn" };
  } catch (error) {
    if (!cancel.signal.aborted) throw error;
    return { stopReason: "cancelled" };
  } finally {
    session.cancel = undefined;
  }
}

/** Runs the demo agent as a program: `demo-agent [--token-ms N] [--step-ms N] [--start-ms N] [--session-ms N]`. */
export async function runDemo(args: readonly string[]): Promise<void> {
  const number = { type: "string" } as const;
  const { values } = parseArgs({
    args: [...args],
    options: { "token-ms": number, "step-ms": number, "start-ms": number, "session-ms": number },
    strict: true,
  });
  const ms = (value: string | undefined, fallback: number) => value === undefined ? fallback : Number(value);
  await serveDemo({ readable: Deno.stdin.readable, writable: Deno.stdout.writable }, {
    tokenMs: ms(values["token-ms"], DEMO_OPTIONS.tokenMs),
    stepMs: ms(values["step-ms"], DEMO_OPTIONS.stepMs),
    startMs: ms(values["start-ms"], DEMO_OPTIONS.startMs),
    sessionMs: ms(values["session-ms"], DEMO_OPTIONS.sessionMs),
  });
}

if (import.meta.main) await runDemo(Deno.args);
