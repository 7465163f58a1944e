/** Parameters as JSON text, and as the fields of a form. */

import type { Json } from "@circled/client";
import { parse, stringify } from "@circled/client/json";
import { wrong } from "../store/text.js";
import { type Api, type Input, inputOf, type Method } from "./methods.js";

/** The texts of a form's fields, by their names. */
export type Fields = Readonly<Record<string, string>>;

/** Returns the parameters of a text; an error if it is no JSON object. */
export function readParams(text: string): { [name: string]: Json } | Error {
  if (!text.trim()) return {};
  const fault = wrong(text);
  if (fault) return new Error(fault);
  const params = parse(text);
  const isObject = params !== null && typeof params === "object" && !Array.isArray(params);
  return isObject ? params : new Error('parameters are an object: { "name": value }');
}

/** Returns the texts of the fields for parameters. */
export function toFields(params: { [name: string]: Json }, method: Method, api: Api): Fields {
  const fields: Record<string, string> = {};
  for (const param of method.params) {
    const value = params[param.name];
    if (value === undefined) continue;
    const isText = typeof value === "string" && inputOf(param, api).kind !== "json";
    fields[param.name] = isText ? value : stringify(value);
  }
  return fields;
}

/** Returns what is wrong with a field. */
export function faultOf(text: string, { kind }: Input): string | undefined {
  if (!text.trim()) return undefined;
  if (kind === "number") return /^-?\d+$/.test(text.trim()) ? undefined : "A whole number is needed";
  return kind === "json" ? wrong(text) : undefined;
}

/** Returns the parameters of a form as JSON text. Empty fields are left out. */
export function fromFields(fields: Fields, method: Method, api: Api): string {
  const members: string[] = [];
  for (const param of method.params) {
    const text = fields[param.name] ?? "";
    const { kind } = inputOf(param, api);
    const isText = kind === "text" || kind === "lines" || kind === "choice";
    if (!text) continue;
    members.push(`${JSON.stringify(param.name)}: ${isText ? JSON.stringify(text) : text.trim()}`);
  }
  return members.length > 0 ? `{ ${members.join(", ")} }` : "";
}
