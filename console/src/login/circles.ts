/** The circles that were used in this browser: public keys and how one has logged in, nothing secret. */

import { signal } from "@preact/signals";
import { keep, kept } from "../local.js";
import type { LoginKind } from "../session.js";

/** A circle that was used. */
export interface UsedCircle {
  readonly pk: string;
  readonly login: LoginKind;
  /** The caller's public key. */
  readonly caller: string;
  /** Which wallet it was, as EIP-6963 names it. */
  readonly wallet?: string | undefined;
  /** True once the user has logged out: then it isn't opened without a click. */
  readonly out?: boolean;
}

/** How many are kept. */
const MOST = 20;

/** The circles, the newest first. */
export const circles = signal<readonly UsedCircle[]>(read());

function read(): UsedCircle[] {
  try {
    const list: unknown = JSON.parse(kept("circles") ?? "[]");
    return Array.isArray(list)
      ? list.filter((one) => typeof one?.pk === "string" && typeof one.caller === "string")
      : [];
  } catch {
    return [];
  }
}

function set(list: readonly UsedCircle[]): void {
  circles.value = list;
  keep("circles", JSON.stringify(list));
}

// Another tab may have changed it.
addEventListener("storage", () => {
  circles.value = read();
});

/** Puts a circle at the top of the list. */
export function rememberCircle(circle: UsedCircle): void {
  set([circle, ...circles.peek().filter(({ pk }) => pk !== circle.pk)].slice(0, MOST));
}

/** Takes a circle off the list. */
export function forgetCircle(pk: string): void {
  set(circles.peek().filter((one) => one.pk !== pk));
}

/** Notes that this browser doesn't keep a key any more: its circles take its file. */
export function markForgotten(caller: string): void {
  const isBy = (one: UsedCircle) => one.login === "kept" && one.caller === caller;
  set(circles.peek().map((one) => (isBy(one) ? { ...one, login: "file" } : one)));
}

/** Notes that the user has logged out of a circle. */
export function markOut(pk: string): void {
  set(circles.peek().map((one) => (one.pk === pk ? { ...one, out: true } : one)));
}
