/** Answers that say nothing. @module */

/** Tags alone, such as `[silent]`, or one remark in brackets: AniCompanion's signs for an answer that is none. */
const SILENT = /^(?:\[[^\]\n]*\][\s.]*)*(?:\([^()]*\)\s*)?$/;

/** Whether an answer says nothing. A skin that knows these signs forgets the question as well. */
export function isSilent(reply: string): boolean {
  return SILENT.test(reply.trim());
}
