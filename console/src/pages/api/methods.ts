/** The methods of the server, as its own description (`rpc.discover`) has them. */

import type { Json } from "@circled/client";
import { may, type Permission, type Session } from "../../session.js";

/** A JSON Schema, as far as forms need it. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly enum?: readonly Json[];
  readonly const?: Json;
  readonly description?: string;
  readonly items?: Schema;
}

export interface Param {
  readonly name: string;
  readonly required?: boolean;
  readonly schema: Schema;
}

export interface Method {
  readonly name: string;
  readonly summary?: string;
  readonly description?: string;
  readonly params: readonly Param[];
  readonly "x-needs"?: string;
  readonly "x-scope"?: string;
}

/** The document, as far as it is used. */
export interface Api {
  readonly methods: readonly Method[];
  readonly components?: { readonly schemas?: Readonly<Record<string, Schema>> };
}

/** Reads what `rpc.discover` has returned. */
export function readApi(document: unknown): Api {
  const { methods, components } = document as Api;
  return { methods: [...methods].sort((a, b) => (a.name < b.name ? -1 : 1)), ...(components ? { components } : {}) };
}

/** How a parameter is asked for. `options`: one of these texts. */
export interface Input {
  readonly kind: "text" | "lines" | "number" | "boolean" | "choice" | "json";
  readonly options?: readonly string[];
}

const LONG = new Set(["script", "source"]);

/** Returns how a parameter is asked for. */
export function inputOf({ name, schema }: Param, api: Api): Input {
  const found = resolve(schema, api);
  if (!found) return { kind: "json" };
  const options = choicesOf(found);
  if (options) return { kind: "choice", options };
  const types = typeof found.type === "string" ? [found.type] : (found.type ?? []);
  const [type, second] = types.filter((one) => one !== "null");
  if (!type || second) return { kind: "json" };
  if (type === "string") return { kind: LONG.has(name) ? "lines" : "text" };
  if (type === "integer" || type === "number") return { kind: "number" };
  return { kind: type === "boolean" ? "boolean" : "json" };
}

/** Follows references, and leaves `null` out. */
function resolve(schema: Schema, api: Api): Schema | undefined {
  const inner = schema.anyOf?.filter(({ type }) => type !== "null");
  if (inner) return inner.length === 1 && inner[0] ? resolve(inner[0], api) : undefined;
  if (!schema.$ref) return schema;
  const target = api.components?.schemas?.[schema.$ref.replace(/^.*\//, "")];
  return target && resolve(target, api);
}

function choicesOf({ enum: values, oneOf }: Schema): string[] | undefined {
  const all = values ?? oneOf?.flatMap((one) => one.enum ?? (one.const === undefined ? [] : [one.const]));
  return all && all.length > 0 && all.every((one) => typeof one === "string") ? (all as string[]) : undefined;
}

/** Returns why the caller may not call a method; undefined if they may. */
export function whyNotCall(session: Session, method: Method): string | undefined {
  if (method.name === "authenticate")
    return "This session is logged in; as another caller, it would be another session";
  const { device, permissions } = session.me;
  const scope = method["x-scope"];
  const lacksScope = scope === "none" || (scope === "jobs" && !permissions?.includes("jobs"));
  const needs = (method["x-needs"] ?? "anyone").split(" or ").filter(isPermission);
  const rights = needs.map((need) => may(session, need));
  // A script's own rule may permit what the circle's doesn't.
  const isPermitted = method.name === "call" || rights.length === 0 || rights.some((right) => right.ok);
  const [first] = rights;
  if (!isPermitted && first && !first.ok) return first.why;
  return device && lacksScope ? "This browser's device key may not call it: log in by your own key" : undefined;
}

function isPermission(need: string): need is Permission {
  return /^(play|call|subscribe|manage|owner)$/.test(need);
}
