/** The queries that are watched: they are in the address, as JSON. */

import type { Query as Watched } from "@circled/client";
import { parse, stringify } from "@circled/client/json";
import { wrong } from "../store/text.js";

/** A query: a named script or a source, and its arguments as JSON text. */
export interface LiveQuery {
  readonly name?: string;
  readonly script?: string;
  readonly args?: string;
}

/** The most queries at once. */
export const MOST_QUERIES = 12;

/** Reads the queries of an address. What is none is left out, and so is one that is there already. */
export function readQueries(text: string | null): LiveQuery[] {
  let found: unknown;
  try {
    found = JSON.parse(text ?? "[]");
  } catch {}
  if (!Array.isArray(found)) return [];
  const areArgs = (value: unknown) => value === undefined || (typeof value === "string" && !(value && wrong(value)));
  const queries = found
    .filter((one) => one && (typeof one.name === "string" || typeof one.script === "string") && areArgs(one.args))
    .map(
      ({ name, script, args }): LiveQuery => ({
        ...(typeof name === "string" ? { name } : { script }),
        ...(args ? { args } : {}),
      }),
    );
  return [...new Map(queries.map((query) => [stringify(query), query])).values()].slice(0, MOST_QUERIES);
}

/** Returns what the address has of queries; undefined for none. */
export function writeQueries(queries: readonly LiveQuery[]): string | undefined {
  return queries.length > 0 ? stringify(queries) : undefined;
}

/** Returns the query and its arguments, as `watch` takes them. */
export function watchOf({ name, script = "", args }: LiveQuery): [query: Watched, args: unknown] {
  return [name === undefined ? { script } : { name }, args ? parse(args) : undefined];
}
