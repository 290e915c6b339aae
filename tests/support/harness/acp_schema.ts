import schema from "npm:@agentclientprotocol/sdk@2.4.0/schema/v1/schema.json" with { type: "json" };
import { z } from "zod";
import { isObject, type Json } from "../agents/scripted_agent.ts";

/** The published schema of protocol version 1, as definitions by name. */
const definitions = schema.$defs as Record<string, Json>;

const validators = new Map<string, z.ZodType>();

/** What the published schema finds wrong with a value that is to be this definition; undefined if it is. */
export function wrongAs(definition: string, value: unknown): string | undefined {
  let validator = validators.get(definition);
  if (validator === undefined) {
    if (!(definition in definitions)) throw new Error(`The schema has no ${definition}`);
    validator = z.fromJSONSchema({ $defs: definitions, $ref: `#/$defs/${definition}` }) as z.ZodType;
    validators.set(definition, validator);
  }
  const result = validator.safeParse(value);
  return result.success ? undefined : `${definition}: ${result.error.message}: ${JSON.stringify(value)}`;
}

/** The definition of a method's parameters or result: the schema names the side that handles it, and the method. */
function definitionOf(side: "agent" | "client", method: string, what: RegExp): string | undefined {
  return Object.keys(definitions).find((name) =>
    what.test(name) && definitions[name]?.["x-side"] === side && definitions[name]?.["x-method"] === method
  );
}

/** Which end sent a message. */
export type Sender = "client" | "agent";

/**
 * What the published schema finds wrong with messages that one end sent. `received` are those that it got, which tell
 * what its answers are answers to.
 */
export function wrongMessages(sender: Sender, sent: readonly Json[], received: readonly Json[]): string[] {
  const handler = sender === "client" ? "agent" : "client";
  const asked = new Map(
    received.flatMap(({ id, method }) => method === undefined ? [] : [[id, String(method)]]),
  );
  return sent.flatMap((message) => {
    const { jsonrpc, id, method, params, result, error } = message;
    if (jsonrpc !== "2.0") return [`no JSON-RPC 2.0: ${JSON.stringify(message)}`];
    const wrong = (definition: string | undefined, value: unknown) => {
      const fault = definition === undefined
        ? `unknown: ${JSON.stringify(message)}`
        : wrongAs(definition, value);
      return fault === undefined ? [] : [fault];
    };
    if (typeof method === "string") {
      return [
        ...id === undefined ? [] : wrong("RequestId", id),
        ...wrong(definitionOf(handler, method, id === undefined ? /Notification$/ : /Request$/), params),
      ];
    }
    if (error !== undefined) return wrong("Error", error);
    return wrong(definitionOf(sender, asked.get(id) ?? "", /Response$/), result);
  });
}

/** The variants of `session/update` that protocol version 1 has. */
export function sessionUpdateVariants(): string[] {
  const variants = definitions.SessionUpdate?.oneOf;
  if (!Array.isArray(variants)) throw new Error("The schema has no variants of SessionUpdate");
  return variants.flatMap((variant) => {
    const properties = isObject(variant) && isObject(variant.properties) ? variant.properties : {};
    const tag = properties.sessionUpdate;
    return isObject(tag) && typeof tag.const === "string" ? [tag.const] : [];
  });
}
