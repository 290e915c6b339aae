// @ts-check
/** Creates SVG elements without parsing markup. @module */

const NAMESPACE = "http://www.w3.org/2000/svg";

/** @typedef {Readonly<Record<string, string | number>>} Attributes */

/**
 * Creates an SVG element.
 *
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} name
 * @param {Attributes} [attributes]
 * @param {readonly (Node | string)[]} [children]
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(name, attributes = {}, children = []) {
  const element = document.createElementNS(NAMESPACE, name);
  set(element, attributes);
  element.append(...children);
  return element;
}

/**
 * Sets the attributes that differ.
 *
 * @param {Element} element
 * @param {Attributes} attributes
 */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    const text = String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/**
 * Creates a gradient from one point to another.
 *
 * @param {string} id
 * @param {Attributes} line `x1`, `y1`, `x2`, `y2`, in the units of the drawing.
 * @param {readonly (readonly [offset: number, color: string, opacity?: number])[]} stops
 */
export function linear(id, line, stops) {
  return svg("linearGradient", { id, gradientUnits: "userSpaceOnUse", ...line }, stops.map(stop));
}

/**
 * Creates a gradient from the middle of a shape to its edge.
 *
 * @param {string} id
 * @param {readonly (readonly [offset: number, color: string, opacity?: number])[]} stops
 */
export function radial(id, stops) {
  return svg("radialGradient", { id }, stops.map(stop));
}

/** @param {readonly [offset: number, color: string, opacity?: number]} stop */
function stop([offset, color, opacity = 1]) {
  return svg("stop", { offset, "stop-color": color, "stop-opacity": opacity });
}
