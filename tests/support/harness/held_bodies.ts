/** Bodies of other keys, which leave little room for those of a test. @module */

import { holdMore, releaseBody, setBodyKey } from "../../../lib/http/body.ts";

/** Bytes of the bodies of all keys. */
const MAX_BYTES = 128 * 1024 * 1024;

/** Takes all room for bodies but these bytes, until it is disposed of. */
export function leaveRoom(bytes: number): Disposable {
  const bodies = ["one", "another"].map((key) => {
    const body = new Request("http://127.0.0.1/");
    setBodyKey(body, key);
    holdMore(body, (MAX_BYTES - bytes) / 2);
    return body;
  });
  return { [Symbol.dispose]: () => bodies.forEach(releaseBody) };
}
