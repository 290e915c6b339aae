import schema from "npm:@agentclientprotocol/sdk@2.4.0/schema/v1/schema.json" with { type: "json" };
import { z } from "zod";
import { isObject, type Json } from "../agents/agent_io.ts";

/** The published schema of protocol version 1, as definitions by name. */
const definitions = schema.$defs as Record<string, Json>;

const validators = new Map<string, z.ZodType>();

/** Describes how a value violates a definition of the published schema; undefined if it does not. */
export function schemaViolation(definition: string, value: unknown): string | undefined {
  let validator = validators.get(definition);
  if (validator === undefined) {
    if (!(definition in definitions)) throw new Error(`The schema has no ${definition}`);
    validator = z.fromJSONSchema({ $defs: definitions, $ref: `#/$defs/${definition}` }) as z.ZodType;
    validators.set(definition, validator);
  }
  const result = validator.safeParse(value);
  return result.success ? undefined : `${definition}: ${result.error.message}: ${JSON.stringify(value)}`;
}

/** Finds the definition of a method's parameters or result, by the side that handles the method. */
function definitionOf(side: "agent" | "client", method: string, what: RegExp): string | undefined {
  return Object.keys(definitions).find((name) =>
    what.test(name) && definitions[name]?.["x-side"] === side && definitions[name]?.["x-method"] === method
  );
}

/** The end that sent a message. */
export type Sender = "client" | "agent";

/** Describes how the messages of one end violate the published schema. @param received The requests that it answers. */
export function schemaViolations(sender: Sender, sent: readonly Json[], received: readonly Json[]): string[] {
  const handler = sender === "client" ? "agent" : "client";
  const requests = new Map(
    received.flatMap(({ id, method }) => method === undefined ? [] : [[id, String(method)]]),
  );
  return sent.flatMap((message) => {
    const { jsonrpc, id, method, params, result, error } = message;
    if (jsonrpc !== "2.0") return [`not JSON-RPC 2.0: ${JSON.stringify(message)}`];
    const check = (definition: string | undefined, value: unknown) => {
      const violation = definition === undefined
        ? `unknown: ${JSON.stringify(message)}`
        : schemaViolation(definition, value);
      return violation === undefined ? [] : [violation];
    };
    if (typeof method === "string") {
      return [
        ...id === undefined ? [] : check("RequestId", id),
        ...check(definitionOf(handler, method, id === undefined ? /Notification$/ : /Request$/), params),
      ];
    }
    if (error !== undefined) return check("Error", error);
    return check(definitionOf(sender, requests.get(id) ?? "", /Response$/), result);
  });
}

/** Lists the variants of `session/update` in protocol version 1. */
export function sessionUpdateVariants(): string[] {
  const variants = definitions.SessionUpdate?.oneOf;
  if (!Array.isArray(variants)) throw new Error("The schema has no variants of SessionUpdate");
  return variants.flatMap((variant) => {
    const properties = isObject(variant) && isObject(variant.properties) ? variant.properties : {};
    const tag = properties.sessionUpdate;
    return isObject(tag) && typeof tag.const === "string" ? [tag.const] : [];
  });
}
