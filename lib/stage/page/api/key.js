// @ts-check
/** The key: where it comes from, and how the server gets it. @module */

/**
 * The key that an address carries behind its `#`, if it carries one.
 *
 * @param {string} hash
 * @returns {string | undefined}
 */
export function keyInHash(hash) {
  const found = /(?:^#|&)key=([^&]*)/.exec(hash)?.[1];
  if (found === undefined) return undefined;
  try {
    return decodeURIComponent(found);
  } catch {
    return found;
  }
}

/**
 * The headers by which the server knows who asks.
 *
 * @param {string} key Empty where there is none.
 * @returns {Record<string, string>}
 */
export function authorization(key) {
  return key === "" ? {} : { authorization: `Bearer ${key}` };
}

/**
 * The subprotocols of a WebSocket: a key goes in one of them, for a browser sends no headers there.
 *
 * @param {string} key Empty where there is none.
 */
export function protocolsOf(key) {
  if (key === "") return ["vtuber"];
  const bytes = new TextEncoder().encode(key);
  const binary = [...bytes].map((byte) => String.fromCharCode(byte)).join("");
  return ["vtuber", `bearer.${btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")}`];
}
