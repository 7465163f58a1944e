/** The address of what is shown: the hash, `#/<circle>/<page>/<rest...>?query`, so it works behind any path. */

import { parseKey } from "@circled/client/address";
import { type ReadonlySignal, signal } from "@preact/signals";

/** What the address says. */
export interface Route {
  /** The circle's public key, in 66 hex digits. Without one, the page is the login. */
  readonly circle?: string;
  readonly page: string;
  /** What follows the page, decoded. */
  readonly rest: string[];
  readonly query: URLSearchParams;
}

/** Parameters for the address; those that are undefined or empty aren't in it. */
export type Query = Record<string, string | undefined>;

/** Returns what a hash says. */
export function parseHash(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [first = "", page, ...rest] = path.split("/").map(decode);
  const circle = parseKey(first);
  const route = { page: page || "overview", rest: rest.filter(Boolean), query: new URLSearchParams(query) };
  return circle ? { circle, ...route } : { ...route, page: first };
}

/** Returns the hash of a place. */
export function formatHash(circle: string | undefined, page: string, rest: string[] = [], query: Query = {}): string {
  const path = [circle, page, ...rest].filter((part) => part !== undefined).map(encodeURIComponent);
  const pairs = Object.entries(query).filter((pair): pair is [string, string] => Boolean(pair[1]));
  const text = new URLSearchParams(pairs).toString();
  return `#/${path.join("/")}${text ? `?${text}` : ""}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const current = signal(parseHash(location.hash));
addEventListener("hashchange", () => {
  current.value = parseHash(location.hash);
});

/** What the address says now. */
export const route: ReadonlySignal<Route> = current;

/** Goes to a hash, at once: the browser tells of it later. */
function go(hash: string): void {
  location.hash = hash;
  current.value = parseHash(location.hash);
}

/** Returns the link to a page of the current circle. */
export function href(page: string, rest?: string[], query?: Query): string {
  return formatHash(current.value.circle, page, rest, query);
}

/** Goes to a page of the current circle. */
export function navigate(page: string, rest?: string[], query?: Query): void {
  go(href(page, rest, query));
}

/** Goes to a circle. In the one of the address already, its page stays: a login leads to where one wanted to be. */
export function openCircle(circle: string, page = "overview"): void {
  if (current.peek().circle === circle) return;
  go(formatHash(circle, page));
}

/** Goes to the login page. */
export function openLogin(): void {
  go("#/");
}

/** Changes some of the query. The others stay, and so does the page: this makes no entry in the history. */
export function setQuery(change: Query): void {
  const { circle, page, rest, query } = current.peek();
  const hash = formatHash(circle, page, rest, { ...Object.fromEntries(query), ...change });
  if (hash === location.hash) return;
  current.value = parseHash(hash);
  replace(hash);
}

/** Has the browser show another hash. Some browsers refuse more than a few in a second: then it is shown a little later. */
function replace(hash: string): void {
  clearTimeout(retry);
  try {
    history.replaceState(history.state, "", hash);
  } catch {
    retry = setTimeout(() => replace(hash), 1000);
  }
}

let retry: ReturnType<typeof setTimeout> | undefined;
