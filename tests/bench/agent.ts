/**
 * An ACP agent that is never the bottleneck: many sessions over one pipe, and little work for each token. The text of a
 * prompt ends with an {@linkcode Order} as JSON on a line of its own. The agent imports nothing, so it starts fast.
 *
 * @module
 */

/** The output that a prompt asks for. Every token contains one {@linkcode MARK}. */
export interface Order {
  readonly tokens: number;
  /** Time between two tokens, each written by itself with a stamp. 0: as fast as the pipe takes them, without stamps. */
  readonly everyMs: number;
  /** Shortest time before the first token. */
  readonly firstMs: number;
  /** Position of the tokens within `everyMs`, from 0 to 1: streams with the same phase are in step. */
  readonly phase: number;
  /** Sends {@linkcode UPDATES} in turn in place of tokens. */
  readonly updates?: boolean;
  /** Sends these words in turn in place of marks and stamps. */
  readonly words?: readonly string[];
}

/** Stands once in every token, and nowhere else in a reply; a stamp may follow. The server has no rule about it. */
export const MARK = "@";
/** Stands before the second stamp of a first token: the time at which the prompt arrived. */
export const PROMPT_MARK = "^";
/** Digits of a stamp: microseconds of the wall clock, which start again after eleven days. */
export const STAMP_DIGITS = 12;

/** Returns the wall clock as a stamp, the same in all processes of a machine. */
export function stamp(): number {
  return Math.floor((performance.timeOrigin + performance.now()) * 1000) % 10 ** STAMP_DIGITS;
}

/** Updates of an agent at work: a tool, a plan and an emotion between words. */
export const UPDATES: readonly ((mark: string, call: number) => string)[] = [
  (mark, call) =>
    `{"sessionUpdate":"tool_call","toolCallId":"call-${call}","title":"Edit lib/main.ts ${mark}","kind":"edit",` +
    '"status":"in_progress"',
  ...Array(6).fill(chunk(" token")),
  (mark) =>
    '{"sessionUpdate":"plan","entries":[{"content":"Read the tests","priority":"high","status":"completed"},' +
    `{"content":"Repair them ${mark}","priority":"medium","status":"in_progress"}]`,
  ...Array(3).fill(chunk(" token")),
  chunk("[happy] token"),
  ...Array(4).fill(chunk(" token")),
  (mark, call) =>
    `{"sessionUpdate":"tool_call_update","toolCallId":"call-${call}","title":"Edited lib/main.ts ${mark}",` +
    '"status":"completed"',
  ...Array(3).fill(chunk(" token")),
];

function chunk(text: string): (mark: string) => string {
  return (mark) => `{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"${text}${mark}"}`;
}

/** Characters in one write of a flood. */
const FLOOD_CHARS = 64 * 1024;
/** Longest pause without reading while a token is due soon. */
const PAUSE_MS = 1;

interface Turn {
  readonly requestId: unknown;
  readonly everyMs: number;
  readonly sendsUpdates: boolean;
  readonly words: readonly string[] | undefined;
  /** A line up to its update. */
  readonly head: string;
  /** A line up to the text of its token. */
  readonly tokenHead: string;
  sent: number;
  left: number;
  dueAt: number;
  /** The mark and the stamp of the prompt, for the first token. */
  promptStamp: string;
}

const TOKEN_TAIL = '"}}}}\n';

const encoder = new TextEncoder();
const turns = new Map<string, Turn>();
const sleeper = new Int32Array(new SharedArrayBuffer(4));
let timer: ReturnType<typeof setTimeout> | undefined;
let isTicking = false;

function write(text: string): void {
  const bytes = encoder.encode(text);
  try {
    for (let written = 0; written < bytes.length;) written += Deno.stdout.writeSync(bytes.subarray(written));
  } catch {
    Deno.exit(0); // The client has ended.
  }
}

function answer(id: unknown, result: unknown): void {
  write(JSON.stringify({ jsonrpc: "2.0", id, result }) + "\n");
}

function stampText(): string {
  return String(stamp()).padStart(STAMP_DIGITS, "0");
}

/** Writes what is due and schedules the next call: tokens are due at any time, not at a timer's ticks. */
function tick(): void {
  isTicking = false;
  const now = performance.now();
  let next = Infinity;
  const floods: [string, Turn][] = [];
  for (const entry of turns) {
    const [sessionId, turn] = entry;
    if (turn.dueAt > now) {
      next = Math.min(next, turn.dueAt);
    } else if (turn.everyMs === 0) {
      floods.push(entry);
    } else {
      for (; turn.left > 0 && turn.dueAt <= now; turn.left--, turn.dueAt += turn.everyMs) {
        write(nextLine(turn, "", stampText() + turn.promptStamp));
        turn.promptStamp = "";
      }
      if (turn.left === 0) end(sessionId, turn, "end_turn");
      else next = Math.min(next, turn.dueAt);
    }
  }
  if (floods.length > 0) {
    flood(floods);
    next = 0;
  }
  if (next < Infinity) schedule(next - performance.now());
}

function nextLine(turn: Turn, text: string, stamps: string): string {
  if (turn.words) return turn.tokenHead + turn.words[turn.sent++ % turn.words.length] + TOKEN_TAIL;
  if (!turn.sendsUpdates) return turn.tokenHead + text + MARK + stamps + TOKEN_TAIL;
  const index = turn.sent++;
  const update = UPDATES[index % UPDATES.length]!(MARK + stamps, Math.floor(index / UPDATES.length));
  return turn.head + update + "}}}\n";
}

/** Writes rounds of one token for each turn, so that one read holds tokens of many sessions. */
function flood(floods: [string, Turn][]): void {
  let text = "";
  let hasMore = true;
  while (hasMore && text.length < FLOOD_CHARS) {
    hasMore = false;
    for (const [, turn] of floods) {
      if (turn.left === 0) continue;
      turn.left--;
      hasMore = true;
      text += nextLine(turn, " token", "");
    }
  }
  write(text);
  for (const [sessionId, turn] of floods) if (turn.left === 0) end(sessionId, turn, "end_turn");
}

function schedule(waitMs: number): void {
  if (isTicking) return;
  clearTimeout(timer);
  if (waitMs > 20 * PAUSE_MS) {
    timer = setTimeout(tick, waitMs - 10 * PAUSE_MS);
    return;
  }
  isTicking = true;
  setImmediate(() => {
    if (waitMs > 0) Atomics.wait(sleeper, 0, 0, Math.min(waitMs, PAUSE_MS));
    tick();
  });
}

function end(sessionId: string, turn: Turn, stopReason: string): void {
  turns.delete(sessionId);
  answer(turn.requestId, { stopReason });
}

function receive(line: string): void {
  const { id, method, params } = JSON.parse(line);
  switch (method) {
    case "initialize":
      return answer(id, {
        protocolVersion: 1,
        agentCapabilities: { sessionCapabilities: { close: {}, resume: {} } },
        agentInfo: { name: "bench-agent", version: "1" },
      });
    case "session/new":
      return answer(id, { sessionId: crypto.randomUUID() });
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
  const { tokens, everyMs, firstMs, phase, updates = false, words } = order;
  const earliest = performance.now() + firstMs;
  const offset = everyMs > 0 ? (earliest - phase * everyMs) % everyMs : 0;
  const head = `{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"${sessionId}","update":`;
  turns.set(sessionId, {
    requestId,
    everyMs,
    sendsUpdates: updates,
    words,
    head,
    tokenHead: head + '{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"',
    sent: 0,
    left: tokens,
    dueAt: offset > 0 ? earliest + everyMs - offset : earliest,
    promptStamp: PROMPT_MARK + stampText(),
  });
  schedule(0);
}

if (import.meta.main) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of Deno.stdin.readable) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) receive(line);
  }
  Deno.exit(0);
}
