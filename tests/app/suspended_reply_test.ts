/** A reply that is suspended for an approval: who ends the wait, and what the client's later requests get. */

import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import type { ResponseObject } from "../../lib/openai/responses/events.ts";
import { approval, askedIn, Asking, PATH, responseOf, textOf } from "../support/harness/approval_fixture.ts";
import type { Turn } from "../../lib/turn/turn.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { withKey } from "../support/harness/key_fixture.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

/** Longer than the time of a permission, and than that of a rest that nobody fetches, in milliseconds. */
const PERMISSION_MS = 60_100;
const KEEP_MS = 3_600_100;

/** A reply that waits for the approval of its agent's request. */
interface Waiting {
  readonly asking: Asking;
  readonly first: ResponseObject;
  readonly turn: Turn;
  readonly clock: FakeClock;
}

const endTurn = ({ turn }: Waiting) => turn.ended;
const send = ({ asking, first }: Waiting, method: string, path = "") =>
  asking.app.send(`${PATH}/${first.id}${path}`, { method, ...withKey("one") }).then((answer) =>
    answer.text()
  );
const answer = ({ asking, first }: Waiting) => asking.post({ input: [approval(askedIn(first)!.id)] });
const nextMessage = ({ asking, first }: Waiting) =>
  asking.post({ input: "And?", previous_response_id: first.id });

/** The text of a response, or the code of the error. */
async function resultOf(answer: Promise<Response>): Promise<string> {
  const response = await answer;
  if (response.status === 200) return textOf(await responseOf(response));
  return (await response.json()).error.code;
}

const SAME_SESSION = "Next. in the same session";

/**
 * Each row is a history, the outcomes that the agent got, the result of the client's answer that follows, and that of a
 * message with `previous_response_id` in its place.
 */
const HISTORIES: [
  name: string,
  outcomes: string[],
  late: string,
  message: string,
  steps: ((waiting: Waiting) => unknown)[],
][] = [
  ["nothing", ["allow"], "Then allow.", SAME_SESSION, []],
  ["a watcher's rejection", ["reject"], "Then reject.", SAME_SESSION, [
    ({ asking }) => asking.watcherAnswers("reject"),
    endTurn,
  ]],
  ["a watcher's answer, and the end of the turn", ["allow"], "Then allow.", SAME_SESSION, [
    ({ asking }) => asking.watcherAnswers("allow"),
    endTurn,
  ]],
  [
    "a watcher's answer, and the time of the permission while the agent works",
    ["allow"],
    "Then allow.",
    SAME_SESSION,
    [
      async ({ asking, clock }) => {
        const { promise, resolve } = Promise.withResolvers<void>();
        asking.work = promise;
        asking.watcherAnswers("allow");
        clock.advance(PERMISSION_MS);
        await nextTask();
        resolve();
      },
      endTurn,
    ],
  ],
  [
    "a watcher's answer, and more than an hour",
    ["allow"],
    "permission_resolved",
    "previous_response_not_found",
    [
      ({ asking }) => asking.watcherAnswers("allow"),
      endTurn,
      ({ clock }) => clock.advance(KEEP_MS),
    ],
  ],
  [
    "a watcher's answer, the end of the turn, and DELETE",
    ["allow"],
    "permission_resolved",
    "previous_response_not_found",
    [
      ({ asking }) => asking.watcherAnswers("allow"),
      endTurn,
      (waiting) => send(waiting, "DELETE"),
    ],
  ],
  [
    "a watcher's answer, and the end of its conversation",
    ["allow"],
    "permission_resolved",
    "previous_response_not_found",
    [
      ({ asking }) => asking.watcherAnswers("allow"),
      endTurn,
      ({ asking, turn }) =>
        asking.app.send(`/v1/vtuber/sessions/${turn.conversation}`, { method: "DELETE", ...withKey("one") })
          .then((answer) => answer.text()),
    ],
  ],
  ["the client's answer", ["allow"], "permission_resolved", "Next. in a new session", [
    (waiting) => resultOf(answer(waiting)),
  ]],
  ["the time of the permission", ["reject"], "permission_resolved", SAME_SESSION, [
    ({ clock }) => clock.advance(PERMISSION_MS),
    endTurn,
  ]],
  ["DELETE", ["cancelled"], "permission_resolved", "previous_response_not_found", [
    (waiting) => send(waiting, "DELETE"),
    endTurn,
  ]],
  ["cancel", ["cancelled"], "permission_resolved", SAME_SESSION, [
    (waiting) => send(waiting, "POST", "/cancel"),
    endTurn,
  ]],
  ["a newer message", ["cancelled"], "permission_resolved", "Next. in a new session", [
    (waiting) => resultOf(nextMessage(waiting)),
  ]],
  ["the failure of its turn", ["cancelled"], "agent_timeout", SAME_SESSION, [
    ({ turn }) => turn.fail(new AppError("agent_timeout", "Too long.")),
    endTurn,
  ]],
  ["the shutdown", ["cancelled"], "shutting_down", "shutting_down", [
    ({ asking }) => asking.app.conversations.fail(new AppError("shutting_down", "Bye.")),
    endTurn,
  ]],
];

/** Plays a history. */
async function play(steps: ((waiting: Waiting) => unknown)[], act: (waiting: Waiting) => Promise<void>) {
  using clock = new FakeClock();
  await using asking = new Asking();
  const first = await asking.ask();
  const [turn] = asking.app.conversations.running;
  const waiting = { asking, clock, first, turn: turn! };
  for (const step of steps) await step(waiting);
  await act(waiting);
}

for (const [name, outcomes, late, message, steps] of HISTORIES) {
  Deno.test(`suspended reply: after ${name}, the client's answer gets: ${late}`, async () => {
    await play(steps, async (waiting) => {
      assertEquals([await resultOf(answer(waiting)), waiting.asking.outcomes], [late, outcomes]);
    });
  });

  Deno.test(`suspended reply: after ${name}, the client's next message gets: ${message}`, async () => {
    await play(steps, async (waiting) => {
      const result = await resultOf(nextMessage(waiting));
      const prompts = waiting.asking.agent.running.received.filter(({ method }) =>
        method === "session/prompt"
      );
      const sessions = new Set(prompts.map(({ params }) => params.sessionId)).size;
      const where = sessions === 1 ? "the same session" : "a new session";
      assertEquals(result === "Next." ? `${result} in ${where}` : result, message);
    });
  });
}
