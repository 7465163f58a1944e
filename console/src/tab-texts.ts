/** Texts that this tab keeps by circle and name, so that a reload doesn't lose them. Logging out forgets them. */

import { signal } from "@preact/signals";
import { PLACE } from "./local.js";

const PREFIX = `${PLACE}:text:`;
/** The texts that the browser doesn't keep, because it keeps nothing, or has no more room. */
const inMemory = new Map<string, string>();
const changes = signal(0);

function keyOf(circle: string, name: string): string {
  return `${PREFIX}${circle}:${name}`;
}

/** Returns the text that is kept under a name. */
export function keptText(circle: string, name: string): string | undefined {
  const key = keyOf(circle, name);
  try {
    return inMemory.get(key) ?? sessionStorage.getItem(key) ?? undefined;
  } catch {
    return undefined;
  }
}

/** Keeps a text under a name. */
export function keepText(circle: string, name: string, text: string): void {
  const key = keyOf(circle, name);
  const isNew = keptText(circle, name) === undefined;
  try {
    sessionStorage.setItem(key, text);
    inMemory.delete(key);
  } catch {
    inMemory.set(key, text);
  }
  if (isNew) changes.value++;
}

/** Forgets what is kept under some names of a circle; by default, under all of them. */
export function forgetTexts(circle: string, names = textNames(circle)): void {
  for (const name of names) {
    inMemory.delete(keyOf(circle, name));
    try {
      sessionStorage.removeItem(keyOf(circle, name));
    } catch {}
  }
  changes.value++;
}

/** Returns the names of a circle's texts, or of all circles' with the circle before them. Who asks is told of changes. */
export function textNames(circle?: string): string[] {
  changes.value;
  const start = circle === undefined ? PREFIX : keyOf(circle, "");
  let kept: string[] = [];
  try {
    kept = Object.keys(sessionStorage);
  } catch {}
  const keys = new Set([...kept, ...inMemory.keys()]);
  return [...keys].filter((key) => key.startsWith(start)).map((key) => key.slice(start.length));
}
