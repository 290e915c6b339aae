/**
 * An ACP agent that is never the bottleneck: many sessions over one pipe, as little work a token as can be. A prompt's
 * text ends with an {@linkcode Order} as JSON, on a line of its own. It imports nothing, so that it starts fast.
 *
 * `agent.ts [START_MS [SESSION_MS]]` takes so long to answer `initialize`, and `session/new`.
 *
 * @module
 */

/** What a prompt asks for. Every token has one {@linkcode MARK} in it. */
export interface Order {
  readonly tokens: number;
  /** Time between two tokens, each written by itself and stamped; 0 is as fast as the pipe takes them. */
  readonly everyMs: number;
  /** Time before the first, at the least. */
  readonly firstMs: number;
  /** Where in `everyMs` tokens fall due, from 0 to 1: streams of the same phase are in step. */
  readonly phase: number;
  /** Each {@linkcode ACTS} in turn takes the place of a token. */
  readonly acts?: boolean;
  /** The first token says which session answers, as {@linkcode servedIn} reads it; not of a flood. */
  readonly tells?: boolean;
}

/** The sessions of an agent, as one of its answers tells. */
export interface Served {
  /** Which one answers; the first that was opened is 1. */
  readonly session: number;
  /** How many were opened so far. */
  readonly opened: number;
  /** How often one was brought back. */
  readonly broughtBack: number;
}

/** What an answer tells of the agent's sessions; nothing if it was not asked to. */
export function servedIn(text: string): Served | undefined {
  const [, session, opened, broughtBack] = /session (\d+) of (\d+), (\d+) brought back/.exec(text) ?? [];
  if (session === undefined) return undefined;
  return { session: Number(session), opened: Number(opened), broughtBack: Number(broughtBack) };
}

/**
 * Stands in every token, and in each act where it can, and nowhere else in an answer; a stamp may follow. No character
 * that the server looks for in a text, as few tokens have one of those.
 */
export const MARK = "@";
/** Stands before the second stamp of a first token: when the prompt came. */
export const ASKED_MARK = "^";
/** Digits of a stamp: microseconds of the wall clock. */
export const STAMP_DIGITS = 12;

/** The wall clock in microseconds, the same for every process of this machine; it begins anew after eleven days. */
export function stamp(): number {
  return Math.floor((performance.timeOrigin + performance.now()) * 1000) % 10 ** STAMP_DIGITS;
}

/** What an agent at work does over and over: a tool, a plan and an emotion between its words. */
export const ACTS: readonly ((mark: string, call: number) => string)[] = [
  (mark, call) =>
    `{"sessionUpdate":"tool_call","toolCallId":"call-${call}","title":"Edit lib/main.ts ${mark}","kind":"edit",` +
    '"status":"in_progress"',
  ...Array(6).fill(word(" token")),
  (mark) =>
    '{"sessionUpdate":"plan","entries":[{"content":"Read the tests","priority":"high","status":"completed"},' +
    `{"content":"Mend them ${mark}","priority":"medium","status":"in_progress"}]`,
  ...Array(3).fill(word(" token")),
  word("[happy] token"),
  ...Array(4).fill(word(" token")),
  (mark, call) =>
    `{"sessionUpdate":"tool_call_update","toolCallId":"call-${call}","title":"Edited lib/main.ts ${mark}",` +
    '"status":"completed"',
  ...Array(3).fill(word(" token")),
];

function word(text: string): (mark: string) => string {
  return (mark) => `{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"${text}${mark}"}`;
}

/** Characters that are written in one go when tokens are wanted as fast as can be. */
const FLOOD_CHARS = 64 * 1024;
/** The longest time in which nothing is read, while tokens are due soon. */
const DOZE_MS = 1;

interface Turn {
  readonly requestId: unknown;
  readonly everyMs: number;
  readonly acts: boolean;
  /** A line, up to what is done. */
  readonly head: string;
  /** A token's line, up to its text and from there. */
  readonly before: string;
  done: number;
  left: number;
  due: number;
  /** When the prompt came; told with the first token. */
  askedAt: string;
  /** What the first token says beside. */
  told: string;
}

const encoder = new TextEncoder();
const turns = new Map<string, Turn>();
const pause = new Int32Array(new SharedArrayBuffer(4));
let timer: ReturnType<typeof setTimeout> | undefined;
let ticking = false;
/** When it has started. */
let readyAt = 0;
let opened = 0;
let broughtBack = 0;

const AFTER = '"}}}}\n';

function write(text: string): void {
  const bytes = encoder.encode(text);
  try {
    for (let written = 0; written < bytes.length;) written += Deno.stdout.writeSync(bytes.subarray(written));
  } catch {
    Deno.exit(0); // nobody reads any more
  }
}

function answer(id: unknown, result: unknown): void {
  write(JSON.stringify({ jsonrpc: "2.0", id, result }) + "\n");
}

function answerIn(ms: number, id: unknown, result: unknown): void {
  if (ms > 0) setTimeout(answer, ms, id, result);
  else answer(id, result);
}

/** A session's number is the first eight digits of its id. */
function sessionIdOf(session: number): string {
  return session.toString(16).padStart(8, "0") + crypto.randomUUID().slice(8);
}

function stampText(): string {
  return String(stamp()).padStart(STAMP_DIGITS, "0");
}

/** Writes what is due and plans the next look: tokens fall due at any time, not at a timer's ticks. */
function tick(): void {
  ticking = false;
  const now = performance.now();
  let next = Infinity;
  const flooding: [string, Turn][] = [];
  for (const entry of turns) {
    const [sessionId, turn] = entry;
    if (turn.due > now) {
      next = Math.min(next, turn.due);
    } else if (turn.everyMs === 0) {
      flooding.push(entry);
    } else {
      for (; turn.left > 0 && turn.due <= now; turn.left--, turn.due += turn.everyMs) {
        write(nextLine(turn, turn.told, stampText() + turn.askedAt));
        turn.told = turn.askedAt = "";
      }
      if (turn.left === 0) end(sessionId, turn, "end_turn");
      else next = Math.min(next, turn.due);
    }
  }
  if (flooding.length > 0) {
    flood(flooding);
    next = 0;
  }
  if (next < Infinity) plan(next - performance.now());
}

/** Behind its mark a stamp may follow. */
function nextLine(turn: Turn, text: string, stamps: string): string {
  if (!turn.acts) return turn.before + text + MARK + stamps + AFTER;
  const at = turn.done++;
  return turn.head + ACTS[at % ACTS.length]!(MARK + stamps, Math.floor(at / ACTS.length)) + "}}}\n";
}

/** A round of tokens is one of each turn, so that what is read at once holds many sessions. */
function flood(flooding: [string, Turn][]): void {
  let text = "";
  let some = true;
  while (some && text.length < FLOOD_CHARS) {
    some = false;
    for (const [, turn] of flooding) {
      if (turn.left === 0) continue;
      turn.left--;
      some = true;
      text += nextLine(turn, " token", "");
    }
  }
  write(text);
  for (const [sessionId, turn] of flooding) if (turn.left === 0) end(sessionId, turn, "end_turn");
}

function plan(waitMs: number): void {
  if (ticking) return;
  clearTimeout(timer);
  if (waitMs > 20 * DOZE_MS) {
    timer = setTimeout(tick, waitMs - 10 * DOZE_MS);
    return;
  }
  ticking = true;
  setImmediate(() => {
    if (waitMs > 0) Atomics.wait(pause, 0, 0, Math.min(waitMs, DOZE_MS));
    tick();
  });
}

function end(sessionId: string, turn: Turn, stopReason: string): void {
  turns.delete(sessionId);
  answer(turn.requestId, { stopReason });
}

function receive(line: string, [startMs = 0, sessionMs = 0]: readonly number[]): void {
  const { id, method, params } = JSON.parse(line);
  switch (method) {
    case "initialize":
      readyAt = performance.now() + startMs;
      return answerIn(startMs, id, {
        protocolVersion: 1,
        agentCapabilities: { sessionCapabilities: { close: {}, resume: {} } },
        agentInfo: { name: "bench-agent", version: "1" },
      });
    case "session/new":
      return answerIn(Math.max(0, readyAt - performance.now()) + sessionMs, id, {
        sessionId: sessionIdOf(++opened),
      });
    case "session/resume":
      broughtBack++;
      return answer(id, {});
    case "session/prompt": {
      const { text } = params.prompt.at(-1);
      return prompt(id, params.sessionId, JSON.parse(text.slice(text.lastIndexOf("\n") + 1)));
    }
    case "session/cancel": {
      const turn = turns.get(params.sessionId);
      if (turn) end(params.sessionId, turn, "cancelled");
      return;
    }
    default:
      if (id !== undefined) answer(id, {});
  }
}

function prompt(requestId: unknown, sessionId: string, order: Order): void {
  const { tokens, everyMs, firstMs, phase, acts = false, tells = false } = order;
  const earliest = performance.now() + firstMs;
  const late = everyMs > 0 ? (earliest - phase * everyMs) % everyMs : 0;
  const head = `{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"${sessionId}","update":`;
  turns.set(sessionId, {
    requestId,
    everyMs,
    acts,
    head,
    before: head + '{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"',
    done: 0,
    left: tokens,
    due: late > 0 ? earliest + everyMs - late : earliest,
    askedAt: ASKED_MARK + stampText(),
    told: tells
      ? `session ${parseInt(sessionId.slice(0, 8), 16)} of ${opened}, ${broughtBack} brought back `
      : "",
  });
  plan(0);
}

if (import.meta.main) {
  const delays = Deno.args.map(Number);
  const decoder = new TextDecoder();
  let begun = "";
  for await (const bytes of Deno.stdin.readable) {
    const lines = (begun + decoder.decode(bytes, { stream: true })).split("\n");
    begun = lines.pop() ?? "";
    for (const line of lines) receive(line, delays);
  }
  Deno.exit(0);
}
