/** Texts that aren't saved yet, by circle and script. They are kept in this tab, so a reload doesn't lose them. */

import { signal } from "@preact/signals";

/** A text that somebody has changed. */
export interface Draft {
  readonly text: string;
  /** The version that it began with; undefined for a script that the circle doesn't have yet. */
  readonly base?: string | undefined;
}

/** The scratch pad's text. It is kept as the others are, but nobody is asked about it. No script can have this name. */
export const SCRATCH = "-scratch";

const PREFIX = "circled-console:draft:";
/** What isn't kept by the browser, because it keeps nothing, or has no more room. */
const inMemory = new Map<string, Draft>();
const changes = signal(0);

function keyOf(circle: string, name: string): string {
  return `${PREFIX}${circle}:${name}`;
}

/** Returns the text of a script that isn't saved, if there is one. */
export function draftOf(circle: string, name: string): Draft | undefined {
  const key = keyOf(circle, name);
  const kept = inMemory.get(key);
  if (kept) return kept;
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}

/** Keeps a text that isn't saved. From now on, leaving the page asks. */
export function keepDraft(circle: string, name: string, draft: Draft): void {
  const key = keyOf(circle, name);
  const isNew = !draftOf(circle, name);
  try {
    sessionStorage.setItem(key, JSON.stringify(draft));
    inMemory.delete(key);
  } catch {
    inMemory.set(key, draft);
  }
  if (isNew) onChanged();
}

/** Forgets a text: it was saved, or nobody wants it. */
export function dropDraft(circle: string, name: string): void {
  const key = keyOf(circle, name);
  inMemory.delete(key);
  try {
    sessionStorage.removeItem(key);
  } catch {}
  onChanged();
}

/** Returns the names of a circle's scripts with a text that isn't saved. A component that asks is rendered again on changes. */
export function draftNames(circle: string): string[] {
  changes.value;
  return keys()
    .filter((key) => key.startsWith(keyOf(circle, "")))
    .map((key) => key.slice(keyOf(circle, "").length))
    .sort();
}

function keys(): string[] {
  let kept: string[] = [];
  try {
    kept = Object.keys(sessionStorage).filter((key) => key.startsWith(PREFIX));
  } catch {}
  return [...new Set([...kept, ...inMemory.keys()])];
}

const ask = (event: BeforeUnloadEvent) => event.preventDefault();

function onChanged(): void {
  changes.value++;
  // Only while it is needed: a page that asks isn't kept for the browser's back button.
  const isUnsaved = keys().some((key) => !key.endsWith(`:${SCRATCH}`));
  if (isUnsaved) addEventListener("beforeunload", ask);
  else removeEventListener("beforeunload", ask);
}
onChanged();
