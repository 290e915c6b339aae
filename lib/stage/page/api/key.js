// @ts-check
/** The server's key: in the address of the page, in request headers, in a WebSocket handshake. @module */

/**
 * Reads the key from the fragment of an address, such as `#key=secret`.
 *
 * @param {string} hash
 * @returns {string | undefined}
 */
export function keyFromHash(hash) {
  const encoded = /(?:^#|&)key=([^&]*)/.exec(hash)?.[1];
  if (encoded === undefined) return undefined;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}

/**
 * Returns the headers that carry a key. An empty key needs none.
 *
 * @param {string} key
 * @returns {Record<string, string>}
 */
export function keyHeaders(key) {
  return key === "" ? {} : { authorization: `Bearer ${key}` };
}

/**
 * Returns the subprotocols of a WebSocket. The key is one of them, because browsers send no headers of a page there.
 *
 * @param {string} key Empty for none.
 */
export function socketProtocols(key) {
  if (key === "") return ["vtuber"];
  const bytes = new TextEncoder().encode(key);
  const binary = [...bytes].map((byte) => String.fromCharCode(byte)).join("");
  return ["vtuber", `bearer.${btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")}`];
}
