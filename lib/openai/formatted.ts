/** Answers that must be JSON: asked for, checked, and asked for once more if they are not. @module */

import type { Hold } from "../conversation/hold.ts";
import type { TurnRequest } from "../conversation/registry.ts";
import type { Log } from "../ops/log.ts";
import { orAbort } from "../turn/abort.ts";
import { asFailure, Failure, messageOf } from "../turn/failure.ts";
import { turnAbandoned } from "../turn/replay.ts";
import type { Turn } from "../turn/run.ts";
import { type Gathered, gatherTurn, openStream, type Source } from "./answer.ts";
import { type ResponseFormat, withComplaint, withInstruction } from "./format.ts";
import type { ReplyOptions } from "./reply.ts";
import { completionUsage } from "./usage.ts";

/** What is asked. */
interface Formatted {
  readonly asked: TurnRequest;
  readonly format: ResponseFormat;
  readonly options: ReplyOptions;
}

/** What it needs of the rest of the program. */
interface FormattedDeps {
  readonly begin: (request: TurnRequest, signal: AbortSignal) => Promise<Turn>;
  readonly hold: () => Hold;
  readonly log: Log;
}

/** An answer that several requests wait for: the same one, sent again. */
interface Shared {
  readonly answer: Promise<Gathered>;
  /** Aborted when nobody waits for it any more. */
  readonly gone: AbortController;
  waiting: number;
}

/** The answers by their first turn: a request that is sent again finds that, and with it what came of it. */
const sharedAnswers = new WeakMap<Turn, Shared>();

/**
 * Begins the turn; the answer is gathered, since what is not checked cannot be said.
 *
 * @param begin Begins the first turn, or finds it if the request was sent before.
 */
export async function formattedSource(
  formatted: Formatted,
  begin: (request: TurnRequest) => Promise<Turn>,
  deps: FormattedDeps,
): Promise<Source> {
  const { format, options } = formatted;
  using stack = new DisposableStack();
  const hold = stack.use(deps.hold());
  const asked = { ...formatted.asked, hold, messages: withInstruction(formatted.asked.messages, format) };
  const turn = await begin(asked);
  const owned = stack.move();

  async function answer(signal: AbortSignal): Promise<Gathered> {
    using _owned = owned;
    let given: string | undefined;
    try {
      const gathered = await checkedAnswer(signal);
      given = gathered.text;
      return gathered;
    } finally {
      hold.gave(given);
    }
  }

  async function checkedAnswer(signal: AbortSignal): Promise<Gathered> {
    const first = await gatherTurn(turn, options, signal);
    const why = fault(format, first.text);
    if (why === undefined) return { ...first, text: format.check(first.text) };
    // Why is not logged: it may repeat what the agent said.
    deps.log.info("an answer was not the JSON that was asked for; asking once more");
    await turn.ended;
    const messages = withComplaint(asked.messages, first.text, why);
    const next = await deps.begin({ ...asked, conversation: hold, messages }, signal).catch((error) => {
      // The first turn reached the agent: nobody should send it all again.
      throw error instanceof Failure ? error.afterPrompt() : error;
    });
    const second = await gatherTurn(next, options, signal);
    const still = fault(format, second.text);
    if (still === undefined) return { ...second, text: format.check(second.text) };
    throw new Failure(
      "invalid_output",
      `The agent did not answer with the JSON that was asked for: ${still}.`,
      { param: "response_format", prompted: true },
    );
  }

  const gather = (signal: AbortSignal) => share(turn, answer, signal);
  return {
    turn,
    gather,
    stream(request) {
      const gone = new AbortController();
      const { response, sink } = openStream(request, () => gone.abort());
      gather(gone.signal).then(({ text, ending }) => {
        sink.text(text);
        sink.end({ ...ending, tail: "\n" });
      }, (error) => {
        const usage = completionUsage(undefined, { prompt: options.promptTokens, completion: 1 });
        const failure = asFailure(error, "internal_error");
        sink.end({ finish: "error", usage, estimated: true, failure, tail: "" });
      });
      return response;
    },
  };
}

/** Waits for the turn's answer, which is made once; who leaves last ends it. */
async function share(
  turn: Turn,
  make: (signal: AbortSignal) => Promise<Gathered>,
  signal: AbortSignal,
): Promise<Gathered> {
  let shared = sharedAnswers.get(turn);
  if (shared === undefined) {
    const gone = new AbortController();
    shared = { answer: make(gone.signal), gone, waiting: 0 };
    sharedAnswers.set(turn, shared);
  }
  shared.waiting++;
  try {
    return await orAbort(shared.answer, signal);
  } finally {
    if (--shared.waiting === 0) shared.gone.abort(turnAbandoned());
  }
}

/** What is wrong with a reply, if anything. */
function fault(format: ResponseFormat, reply: string): string | undefined {
  try {
    format.check(reply);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
