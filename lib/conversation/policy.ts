/** What a user decides of conversations: which requests are one, and what a busy one does. @module */

/**
 * Which requests belong to one conversation (`VTUBER_SESSIONS`): `auto` those whose transcript goes on with it,
 * `persistent` all of one key and agent, `stateless` none. One that names its conversation always belongs to that.
 */
export const SESSION_MODES = ["auto", "persistent", "stateless"] as const;
/** One of {@linkcode SESSION_MODES}. */
export type SessionMode = (typeof SESSION_MODES)[number];

/**
 * What a request does whose conversation is busy (`VTUBER_ON_BUSY`): `supersede` cancels the turn that runs, `queue`
 * waits for its end, `reject` is refused.
 */
export const BUSY_MODES = ["supersede", "queue", "reject"] as const;
/** One of {@linkcode BUSY_MODES}. */
export type BusyMode = (typeof BUSY_MODES)[number];
