/** Answers that must be JSON: asked for, checked, and asked for once more if they are not. @module */

import type { Message } from "../conversation/message.ts";
import type { Aside, ConversationKey, TurnRequest } from "../conversation/registry.ts";
import type { Log } from "../ops/log.ts";
import { asFailure, Failure, messageOf } from "../turn/failure.ts";
import type { Turn } from "../turn/run.ts";
import { type Gathered, gatherTurn, openStream, type Source } from "./answer.ts";
import { type ResponseFormat, withComplaint, withInstruction } from "./format.ts";
import type { ReplyOptions } from "./reply.ts";
import { completionUsage } from "./usage.ts";

/** What is asked. */
interface Formatted {
  readonly key: ConversationKey | undefined;
  readonly messages: readonly Message[];
  readonly format: ResponseFormat;
  readonly options: ReplyOptions;
}

/** What it needs of the rest of the program. */
interface FormattedDeps {
  readonly begin: (request: TurnRequest, signal: AbortSignal) => Promise<Turn>;
  readonly openAside: () => Aside;
  readonly log: Log;
}

/**
 * Begins the turn; the answer is gathered, since what is not checked cannot be said.
 *
 * @param begin Begins the first turn, or finds it if the request was sent before.
 */
export async function formattedSource(
  { key, messages, format, options }: Formatted,
  begin: (request: TurnRequest) => Promise<Turn>,
  deps: FormattedDeps,
): Promise<Source> {
  const aside = key === undefined ? deps.openAside() : undefined;
  const conversation = key ?? aside;
  const asked = withInstruction(messages, format);

  async function gather(turn: Turn, signal: AbortSignal): Promise<Gathered> {
    using _aside = aside;
    const first = await gatherTurn(turn, options, signal);
    const why = fault(format, first.text);
    if (why === undefined) return { ...first, text: format.check(first.text) };
    deps.log.info("an answer was not the JSON that was asked for; asking once more", { why });
    await turn.ended;
    const again = withComplaint(asked, first.text, why);
    const second = await gatherTurn(
      await deps.begin({ conversation, messages: again, record: false }, signal),
      options,
      signal,
    );
    const still = fault(format, second.text);
    if (still === undefined) return { ...second, text: format.check(second.text) };
    throw new Failure(
      "invalid_output",
      `The agent did not answer with the JSON that was asked for: ${still}.`,
      {
        param: "response_format",
        prompted: true,
      },
    );
  }

  try {
    const turn = await begin({ conversation, messages: asked, record: false });
    return {
      turn,
      gather: (signal) => gather(turn, signal),
      stream(request) {
        const gone = new AbortController();
        const { response, sink } = openStream(request, () => gone.abort());
        gather(turn, gone.signal).then(({ text, ending }) => {
          sink.text(text + "\n");
          sink.end(ending);
        }, (error) => {
          const usage = completionUsage(undefined, { prompt: options.promptTokens, completion: 1 });
          const failure = asFailure(error, "internal_error");
          sink.end({ finish: "error", usage, estimated: true, failure });
        });
        return response;
      },
    };
  } catch (error) {
    aside?.[Symbol.dispose]();
    throw error;
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
