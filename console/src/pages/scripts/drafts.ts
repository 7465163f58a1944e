/** Texts that aren't saved yet, by circle and script. They are kept in this tab, so a reload doesn't lose them. */

import { effect } from "@preact/signals";
import { forgetTexts, keepText, keptText, textNames } from "../../tab-texts.js";

/** A text that somebody has changed. */
export interface Draft {
  readonly text: string;
  /** The version that it began with; undefined for a script that the circle doesn't have yet. */
  readonly base?: string | undefined;
}

/** The scratch pad's text. It is kept as the others are, but nobody is asked about it. No script can have this name. */
export const SCRATCH = "-scratch";

const KIND = "draft:";

/** Returns the text of a script that isn't saved, if there is one. */
export function draftOf(circle: string, name: string): Draft | undefined {
  const text = keptText(circle, KIND + name);
  return text === undefined ? undefined : JSON.parse(text);
}

/** Keeps a text that isn't saved. From now on, leaving the page asks. */
export function keepDraft(circle: string, name: string, draft: Draft): void {
  keepText(circle, KIND + name, JSON.stringify(draft));
}

/** Forgets a text: it was saved, or nobody wants it. */
export function dropDraft(circle: string, name: string): void {
  forgetTexts(circle, [KIND + name]);
}

/** Returns the names of a circle's scripts with a text that isn't saved. A component that asks is rendered again on changes. */
export function draftNames(circle: string): string[] {
  const names = textNames(circle).filter((name) => name.startsWith(KIND));
  return names.map((name) => name.slice(KIND.length)).sort();
}

const ask = (event: BeforeUnloadEvent) => event.preventDefault();

// Only while it is needed: a page that asks isn't kept for the browser's back button.
effect(() => {
  const isUnsaved = textNames().some((name) => name.includes(`:${KIND}`) && !name.endsWith(`:${KIND}${SCRATCH}`));
  if (isUnsaved) addEventListener("beforeunload", ask);
  else removeEventListener("beforeunload", ask);
});
